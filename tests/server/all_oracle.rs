//! Calls over several keys on a real server, against the core, which has an oracle of its own (`src/core/oracle.rs`), and
//! against policies and deny lists that are looked up in the most obvious way: every field of every reply must be the same.
//!
//! So what stands between the core and a client is held too: the grammar, the look-ups, opening and closing keys, the reply.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::support::resp::Connection;
use crate::support::{Clock, Random, Reply};
use ratelimit::core::decision::{Retry, Verdict};
use ratelimit::core::duration;
use ratelimit::core::limit::{Algorithm, Limit, Limits};
use ratelimit::core::limiter::Limiter;
use ratelimit::core::quote::{self, Hit, HitOptions, Quote};

const CALLS: usize = 100_000;
/// Calls that are sent at once, at one time.
const BATCH: usize = 25;
const KEYS: usize = 32;
/// Names of policies; each is of the algorithm that its number says, as each key is.
const NAMES: usize = 12;
/// A midnight.
const START_MS: u64 = 1_700_006_400_000;
const WINDOWS: [&str; 6] = ["50ms", "900ms", "7s", "1m", "1h", "1d"];
const VALUES: [&str; 7] = [
    "mallory",
    "trent",
    "192.0.2.7",
    "192.0.2.99:443",
    "198.51.100.1",
    "[2001:db8::1]:80",
    "2001:db8:ffff::2",
];
const ENTRIES: [&str; 5] = [
    "mallory",
    "192.0.2.7",
    "192.0.2.0/25",
    "2001:db8::/48",
    "peggy",
];

fn algorithm(number: usize) -> Algorithm {
    Algorithm::ALL[number % 4]
}

fn limit(random: &mut Random, algorithm: Algorithm, window: &str) -> Limit {
    let amount = u64::try_from(random.within(0..=40)).unwrap();
    let window_ms = duration::parse(window.as_bytes()).unwrap();
    match algorithm {
        Algorithm::Bucket => {
            let refill = u64::try_from(random.within(1..=20)).unwrap();
            Limit::bucket(amount, refill, window_ms).unwrap()
        }
        _ => Limit::window(amount, window_ms).unwrap(),
    }
}

/// Limits, and the words that say them.
fn limits(random: &mut Random, algorithm: Algorithm) -> (Limits, String) {
    let count = match algorithm {
        Algorithm::Lease => 1,
        _ => 1 + random.below(3),
    };
    let first = random.below(WINDOWS.len());
    let (mut limits, mut words) = (Limits::new(), String::new());
    for place in 0..count {
        let window = WINDOWS[(first + place) % WINDOWS.len()];
        let limit = limit(random, algorithm, window);
        words += &match algorithm {
            Algorithm::Bucket => format!(" {} {} {window}", limit.limit(), limit.refill()),
            _ => format!(" {} {window}", limit.limit()),
        };
        limits.push(limit);
    }
    (limits, words)
}

/// A policy: for good, and in front of it for a time.
#[derive(Default)]
struct Policy {
    lasting: Option<Limits>,
    temporary: Option<(Limits, u64)>,
}

impl Policy {
    fn in_force(&self, now_ms: u64) -> Option<&Limits> {
        match &self.temporary {
            Some((limits, ends_ms)) if now_ms < *ends_ms => Some(limits),
            _ => self.lasting.as_ref(),
        }
    }
}

/// Whether an entry of a deny list is what a caller sent: as it is written, or as the address that it is.
fn denies(entry: &str, value: &str) -> bool {
    let host = match value.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap(),
        None if value.matches(':').count() == 1 => value.split(':').next().unwrap(),
        None => value,
    };
    let Ok(address) = host.parse::<IpAddr>() else {
        return entry == value;
    };
    let (base, bits) = entry.split_once('/').unwrap_or((entry, ""));
    match (address, base.parse::<IpAddr>()) {
        (IpAddr::V4(address), Ok(IpAddr::V4(base))) => {
            let bits: u32 = bits.parse().unwrap_or(32);
            (address.to_bits() ^ base.to_bits()) >> (32 - bits) == 0
        }
        (IpAddr::V6(address), Ok(IpAddr::V6(base))) => {
            let bits: u32 = bits.parse().unwrap_or(128);
            (address.to_bits() ^ base.to_bits()) >> (128 - bits) == 0
        }
        _ => false,
    }
}

/// What the server must hold.
#[derive(Default)]
struct Model {
    limiters: Vec<Option<Limiter>>,
    policies: BTreeMap<usize, Policy>,
    /// When each entry of the one list ends.
    list: BTreeMap<&'static str, Option<u64>>,
}

/// One clause of a call.
struct Clause {
    key: usize,
    algorithm: Algorithm,
    limits: Limits,
    policies: Vec<usize>,
    cost: i64,
    block_ms: Vec<u64>,
    is_shadow: bool,
    id: String,
}

/// One call, and what it says.
struct Call {
    line: String,
    clauses: Vec<Clause>,
    is_peek: bool,
    force: bool,
    at_ms: Option<u64>,
    stamp: bool,
    deny: Option<Vec<&'static str>>,
}

fn call(random: &mut Random, now_ms: u64) -> Call {
    let count = *random.pick(&[1, 1, 2, 2, 3, 3, 3, 5, 8, 16]);
    let first = random.below(KEYS);
    let step = *random.pick(&[1, 3, 5, 7]); // so no key is asked twice
    let is_peek = random.one_in(10);
    let binds = random.below(count); // one at least does
    let (mut keys, mut words) = (String::new(), String::new());
    let mut clauses = Vec::new();
    for place in 0..count {
        let key = (first + place * step) % KEYS;
        let is_other = random.one_in(400);
        let algorithm = algorithm(key + usize::from(is_other));
        let (limits, said) = limits(random, algorithm);
        keys += &format!(" k{key}");
        words += &format!(" {}{said}", algorithm.name());
        let mut clause = Clause {
            key,
            algorithm,
            limits,
            policies: Vec::new(),
            cost: 1,
            block_ms: Vec::new(),
            is_shadow: false,
            id: String::new(),
        };
        if algorithm == Algorithm::Lease {
            clause.id = format!("id{}", random.below(9));
            words += &format!(" {}", clause.id);
        }
        if random.one_in(2) {
            let least = if algorithm == Algorithm::Lease { 0 } else { -6 };
            clause.cost = random.within(least..=12);
            words += &format!(" COST {}", clause.cost);
        }
        for _ in 0..*random.pick(&[0, 0, 0, 1, 2, 4]) {
            // Of its own algorithm, but for a mistake now and then.
            let own = Algorithm::ALL.iter().position(|one| *one == algorithm);
            let name = 4 * random.below(NAMES / 4) + own.unwrap();
            let name = (name + usize::from(random.one_in(400))) % NAMES;
            clause.policies.push(name);
            words += &format!(" POLICY p{name}");
        }
        if algorithm != Algorithm::Lease && random.one_in(8) {
            words += " BLOCK";
            for _ in 0..1 + random.below(3) {
                let block_ms = random.within(1..=90_000);
                clause.block_ms.push(u64::try_from(block_ms).unwrap());
                words += &format!(" {block_ms}ms");
            }
        } else if algorithm != Algorithm::Lease && binds != place && random.one_in(5) {
            clause.is_shadow = true;
            words += " SHADOW";
        }
        clauses.push(clause);
    }
    let has_lease = clauses
        .iter()
        .any(|clause| clause.algorithm == Algorithm::Lease);
    let may_settle = !has_lease && !is_peek;
    let force = may_settle && random.one_in(6);
    let stamp = !is_peek && random.one_in(4);
    let at_ms = (may_settle && random.one_in(4)).then(|| {
        let ago = u64::try_from(random.within(0..=120_000)).unwrap();
        *random.pick(&[0, now_ms - ago, now_ms, now_ms + ago])
    });
    if force {
        words += " FORCE";
    }
    if let Some(at_ms) = at_ms {
        words += &format!(" AT {at_ms}");
    }
    if stamp {
        words += " STAMP";
    }
    let deny = random.one_in(3).then(|| {
        let values: Vec<&str> = (0..1 + random.below(3))
            .map(|_| *random.pick(&VALUES))
            .collect();
        words += &format!(" DENY list {}", values.join(" "));
        values
    });
    let verb = if is_peek { "RL.PEEKALL" } else { "RL.ALL" };
    Call {
        line: format!("{verb} {count}{keys}{words}"),
        clauses,
        is_peek,
        force,
        at_ms,
        stamp,
        deny,
    }
}

fn ints(verdict: &Verdict, retry: Retry, allowed: bool) -> Vec<Reply> {
    let retry_ms = match retry {
        Retry::After(ms) => i64::try_from(ms).unwrap(),
        Retry::Never => -1,
    };
    let int = |count: u64| i64::try_from(count).unwrap();
    [
        i64::from(allowed),
        int(verdict.limit),
        int(verdict.remaining()),
        retry_ms,
        int(verdict.reset_after_ms),
    ]
    .map(Reply::Int)
    .to_vec()
}

fn own(verdict: &Verdict) -> Vec<Reply> {
    ints(verdict, verdict.retry, verdict.allowed)
}

/// The reply of one key: five integers, and with several limits five of each.
fn each(quoted: &Quote) -> Reply {
    let mut reply = own(quoted.decision.binding().unwrap());
    let verdicts = quoted.decision.verdicts();
    if verdicts.len() > 1 {
        let all = verdicts.iter().map(|one| Reply::Array(own(one)));
        reply.push(Reply::Array(all.collect()));
    }
    Reply::Array(reply)
}

impl Model {
    /// What the call is answered; `None` is an error. Changes what it changes.
    fn answer(&mut self, call: &Call, now_ms: u64) -> Option<Reply> {
        let mut in_force = Vec::new();
        for clause in &call.clauses {
            // (One of another algorithm is passed over.)
            let mut own = clause.policies.iter();
            let held = own.find_map(|name| {
                let limits = self.policies.get(name)?.in_force(now_ms)?;
                (algorithm(*name) == clause.algorithm).then(|| limits.clone())
            });
            in_force.push(held.unwrap_or_else(|| clause.limits.clone()));
        }
        let listed = call.deny.as_ref().and_then(|values| {
            values.iter().find_map(|value| {
                let holds = |ends_ms: &Option<u64>| ends_ms.is_none_or(|ends_ms| now_ms < ends_ms);
                let mut ends = self.list.iter().filter(|(_, ends_ms)| holds(ends_ms));
                // What covers an address the longest counts.
                let found: Vec<_> = ends
                    .by_ref()
                    .filter(|(entry, _)| denies(entry, value))
                    .map(|(_, ends_ms)| ends_ms.unwrap_or(u64::MAX))
                    .collect();
                Some((*value, *found.iter().max()?))
            })
        });
        let all_options: Vec<HitOptions> = call
            .clauses
            .iter()
            .map(|clause| HitOptions {
                at_ms: call.at_ms,
                stamp: call.stamp && clause.algorithm == Algorithm::Bucket,
                block_ms: &clause.block_ms,
                is_shadow: clause.is_shadow,
                id: clause.id.as_bytes(),
                ..HitOptions::NONE
            })
            .collect();
        let hits: Vec<Hit> = call
            .clauses
            .iter()
            .zip(&all_options)
            .zip(&in_force)
            .map(|((clause, options), limits)| Hit {
                force: call.force,
                options,
                ..Hit::new(clause.algorithm, limits, clause.cost)
            })
            .collect();
        let mut owned: Vec<Option<Limiter>> = call
            .clauses
            .iter()
            .map(|clause| self.limiters[clause.key].clone())
            .collect();
        let held: Vec<_> = owned
            .iter_mut()
            .map(|limiter| limiter.as_mut().map(Limiter::held))
            .collect();
        let mut quotes = quote::PerKey::new();
        let ask = |place: usize, hit: &Hit, others: bool, quoted: &mut Quote| {
            quote::quote(
                held[place].as_ref().map(|held| held.by_ref()),
                hit,
                now_ms,
                others,
                quoted,
            )
        };
        quote::quote_all(ask, &hits, listed.is_some(), &mut quotes).ok()?;
        let (place, binds) = quote::binding(&quotes, &hits).unwrap();
        let mut reply = match listed {
            None => own(&binds),
            Some((_, u64::MAX)) => ints(&binds, Retry::Never, false),
            Some((_, ends_ms)) => ints(&binds, Retry::After(ends_ms - now_ms), false),
        };
        reply.push(Reply::Array(quotes.iter().map(each).collect()));
        let number = i64::try_from(place + 1).unwrap();
        reply.push(Reply::Int(if listed.is_some() { 0 } else { number }));
        if call.stamp {
            let clauses = hits.iter().zip(&quotes);
            let mut binding = clauses.filter(|(hit, _)| !hit.options.is_shadow);
            let is_charged =
                listed.is_none() && binding.clone().any(|(_, quoted)| quoted.taken > 0);
            let settles = |(hit, quoted): (&Hit, &Quote)| hit.cost <= 0 && quoted.fits;
            let is_settled = call.at_ms.is_some() && listed.is_none() && binding.all(settles);
            let at_ms = call.at_ms.unwrap_or(now_ms).min(now_ms);
            let charged_ms = if is_charged || is_settled { at_ms } else { 0 };
            reply.push(Reply::Int(i64::try_from(charged_ms).unwrap()));
        }
        if call.deny.is_some() {
            let value = listed.map(|(value, _)| Reply::Text(value.as_bytes().to_vec()));
            reply.push(value.unwrap_or(Reply::Nil));
        }
        if !call.is_peek {
            for ((clause, hit), quoted) in call.clauses.iter().zip(&hits).zip(&quotes) {
                let limiter = &mut self.limiters[clause.key];
                quote::apply(limiter, hit, quoted.change, now_ms).unwrap();
            }
        }
        Some(Reply::Array(reply))
    }

    /// Changes a policy or the deny list, here; the line does so on the server.
    fn change(&mut self, random: &mut Random, now_ms: u64) -> String {
        let ttl_ms = random.within(1..=600_000);
        let ends_ms = now_ms + u64::try_from(ttl_ms).unwrap();
        let name = random.below(NAMES);
        match random.below(6) {
            0 => {
                self.policies.remove(&name);
                format!("RL.POLICY DEL p{name}")
            }
            1 | 2 => {
                let (limits, words) = limits(random, algorithm(name));
                let policy = Policy {
                    lasting: Some(limits),
                    temporary: None,
                };
                self.policies.insert(name, policy);
                format!("RL.POLICY SET p{name} {}{words}", algorithm(name).name())
            }
            3 => {
                let (limits, words) = limits(random, algorithm(name));
                self.policies.entry(name).or_default().temporary = Some((limits, ends_ms));
                let algorithm = algorithm(name).name();
                format!("RL.POLICY SET p{name} {algorithm}{words} TTL {ttl_ms}ms")
            }
            4 => {
                let entry = *random.pick(&ENTRIES);
                self.list.remove(entry);
                format!("RL.DENY DEL list {entry}")
            }
            _ => {
                let entry = *random.pick(&ENTRIES);
                let is_lasting = random.one_in(2);
                self.list.insert(entry, (!is_lasting).then_some(ends_ms));
                let ttl = if is_lasting {
                    String::new()
                } else {
                    format!(" TTL {ttl_ms}ms")
                };
                format!("RL.DENY ADD list {entry}{ttl}")
            }
        }
    }
}

#[test]
fn a_hundred_thousand_calls_are_answered_as_the_core_says_in_every_field() {
    let clock = Clock::at(START_MS);
    let Some(server) = clock.server(&[]) else {
        return;
    };
    let mut connection = Connection::open(server.port()).unwrap();
    let mut random = Random::new(14);
    let mut model = Model {
        limiters: vec![None; KEYS],
        ..Model::default()
    };
    let (mut refused, mut denied, mut listed) = (0, 0, 0);
    for _ in 0..CALLS / BATCH {
        clock.step(*random.pick(&[0, 1, 40, 900, 9_000, 70_000, 4_000_000]));
        let now_ms = clock.now_ms();
        if random.one_in(3) {
            let line = model.change(&mut random, now_ms);
            let reply = connection.call(&line).unwrap();
            assert!(!reply.is_error(), "{line}: {reply:?}");
        }
        let calls: Vec<Call> = (0..BATCH).map(|_| call(&mut random, now_ms)).collect();
        for call in &calls {
            connection.send(&call.line).unwrap();
        }
        for call in &calls {
            let reply = connection.receive().unwrap();
            match model.answer(call, now_ms) {
                None => {
                    assert!(reply.is_error(), "{now_ms} {}: {reply:?}", call.line);
                    refused += 1;
                }
                Some(expected) => {
                    assert_eq!(reply, expected, "{now_ms} {}", call.line);
                    denied += usize::from(reply.array()[0] == Reply::Int(0));
                    listed += usize::from(reply.array()[6] == Reply::Int(0));
                }
            }
        }
    }
    println!("{denied} denied, {listed} of them by the list, {refused} refused");
    assert!(refused > 500 && listed > 5_000, "{refused} {listed}");
    assert!(denied - listed > 20_000 && denied < 90_000, "{denied}");
}
