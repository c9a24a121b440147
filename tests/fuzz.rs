//! Fuzzing in the process, on stable Rust: random bytes, and valid input that was mutated, against what must hold.
//!
//! Each target runs a fixed number of executions, or `FUZZ_SECONDS=` seconds. Every execution has a seed of its own:
//! where one fails it is printed, and `FUZZ_SEED=` runs that one alone.

#![cfg(not(feature = "server"))] // with it, the crate brings the server's allocator
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests, helpers and all"
)]

#[allow(dead_code, reason = "this file uses a part of it")]
#[path = "support/random.rs"]
mod random;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use random::Random;
use ratelimit::core::bytes::source::Source;
use ratelimit::core::bytes::varint;
use ratelimit::core::calendar::Window;
use ratelimit::core::codec::{self, Charge, Effect};
use ratelimit::core::duration::{self, Human};
use ratelimit::core::error::Error;
use ratelimit::core::limit::{Algorithm, Limit, Limits, MAX_COUNT, MAX_LIMITS, MAX_TIME_MS};
use ratelimit::core::limiter::ids::{mark, Bounds as IdBounds, MAX_TTL_MS};
use ratelimit::core::limiter::regional::{self, Merging, Payload};
use ratelimit::core::limiter::{noted, Left, Limiter};
use ratelimit::core::node::deny::{Bounds, Lists, Net, Seed, Until, Value, Values};
use ratelimit::core::node::ends::Ends;
use ratelimit::core::node::policy::{self, Policies, Policy, Setting, ShadowPolicy, Temporary};
use ratelimit::core::node::stats::{self, Outcome, Stats};
use ratelimit::core::node::{encode_rename, Bounds as NodeBounds, Node, Part, Sender};
use ratelimit::core::quote::regional::LocalRegion;
use ratelimit::core::quote::shadow;
use ratelimit::core::quote::{self, Change, Hit, HitOptions, Once, Quote, Windows};
use ratelimit::core::region::origin::Region;
use ratelimit::core::request::{self, Clause, Options, Request, Verb};
use ratelimit::core::span::Span;

/// Runs `execute` again and again, each time with randomness of its own.
fn fuzz(target: &str, executions: u64, mut execute: impl FnMut(&mut Random)) {
    let number = |name| {
        std::env::var(name)
            .ok()
            .map(|text| text.parse::<u64>().expect("a number"))
    };
    if let Some(seed) = number("FUZZ_SEED") {
        return execute(&mut Random::from_seed(seed));
    }
    let seconds = number("FUZZ_SECONDS").map(Duration::from_secs);
    let begun = Instant::now();
    let mut seeds = Random::new(0x5eed);
    let mut done = 0;
    while match seconds {
        None => done < executions,
        Some(seconds) => done % 1024 != 0 || begun.elapsed() < seconds,
    } {
        let running = Running {
            target,
            seed: seeds.next(),
        };
        execute(&mut Random::from_seed(running.seed));
        done += 1;
    }
    let took = begun.elapsed().as_secs_f64();
    println!(
        "{target}: {done} executions in {took:.0} s, {:.0} a second",
        done as f64 / took
    );
}

/// Tells which execution it was that panicked.
struct Running<'a> {
    target: &'a str,
    seed: u64,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "{}: FUZZ_SEED={} runs this execution again",
                self.target, self.seed
            );
        }
    }
}

/// Random bytes, few or many.
fn bytes(random: &mut Random, most: usize) -> Vec<u8> {
    let most = if random.one_in(8) { most } else { most.min(12) };
    let count = random.below(most + 1);
    (0..count).map(|_| random.byte()).collect()
}

/// Numbers at the bounds that code has, and some others.
fn number(random: &mut Random) -> u64 {
    let exponent = random.below(64);
    let near = random.within(-2..=2);
    match random.below(4) {
        0 => u64::try_from(random.within(0..=20)).unwrap(),
        1 => (1_u64 << exponent).wrapping_add_signed(near),
        2 => *random.pick(&[
            0,
            MAX_COUNT,
            MAX_COUNT + 1,
            duration::MAX_MS,
            duration::MAX_MS + 1,
            MAX_TIME_MS,
            u64::MAX,
        ]),
        _ => random.next() >> exponent,
    }
}

/// Changes bytes a little: a bit, a byte, an insertion, a deletion, a cut, a repetition, a number written over.
fn mutate(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..random.below(4) {
        let at = random.below(bytes.len() + 1);
        let end = at + random.below(bytes.len() - at + 1).min(8);
        match random.below(8) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, random.byte()),
            2 => drop(bytes.drain(at..end)),
            3 => {
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
            4 => {
                let mut varint = Vec::new();
                varint::write(&mut varint, number(random));
                bytes.splice(at..end, varint);
            }
            _ if at < bytes.len() => {
                bytes[at] = if random.one_in(2) {
                    random.byte()
                } else {
                    bytes[at] ^ (1 << random.below(8))
                }
            }
            _ => {}
        }
    }
}

fn algorithm(random: &mut Random) -> Algorithm {
    *random.pick(&Algorithm::ALL)
}

/// A window that only FIXED may have.
fn calendar_span(random: &mut Random) -> Span {
    let text = random.pick(&[
        "1w",
        "2w@sun",
        "1mo",
        "1mo@31,Asia/Kathmandu",
        "3mo@-09:30",
        "1y",
        "5d@Europe/Berlin",
        "1d@05:00,Europe/Berlin",
        "1w@thu,18:00",
        "5h@first",
        "3660d@Mars/Olympus_Mons",
    ]);
    Span::parse_canonical(text.as_bytes()).expect("a window")
}

/// One to eight limits, no two of one window; of a lease one.
fn limits(random: &mut Random, algorithm: Algorithm) -> Limits {
    let count = if random.one_in(2) || algorithm == Algorithm::Lease {
        1
    } else {
        1 + random.below(MAX_LIMITS)
    };
    let mut limits = Limits::new();
    while limits.len() < count {
        let window_ms = 1 + number(random) % duration::MAX_MS;
        let (amount, refill) = (
            number(random) % (MAX_COUNT + 1),
            1 + number(random) % MAX_COUNT,
        );
        let limit = match algorithm {
            Algorithm::Bucket => Limit::bucket(amount, refill, window_ms),
            Algorithm::Fixed if random.one_in(6) => Limit::spanning(amount, calendar_span(random)),
            _ => Limit::window(amount, window_ms),
        };
        let limit = limit.expect("within the bounds");
        if limits.iter().all(|other| other.span() != limit.span()) {
            limits.push(limit);
        }
    }
    limits
}

fn cost(random: &mut Random) -> i64 {
    let cost = i64::try_from(number(random) % (MAX_COUNT + 1)).unwrap();
    if random.one_in(4) {
        -cost
    } else {
        cost
    }
}

fn time_ms(random: &mut Random) -> u64 {
    number(random) % (MAX_TIME_MS / 2)
}

/// A hit with everything that it may ask for, whether or not the grammar lets it stand together.
struct Call {
    algorithm: Algorithm,
    limits: Limits,
    windows: Windows,
    cost: i64,
    force: bool,
    log_size: u16,
    at_ms: Option<u64>,
    stamp: bool,
    min: Option<u64>,
    reserve_ms: Option<u64>,
    block_ms: Vec<u64>,
    id: Vec<u8>,
    ids: IdBounds,
    now_ms: u64,
}

impl Call {
    fn new(random: &mut Random, algorithm: Algorithm, limits: Limits, now_ms: u64) -> Self {
        let is_bucket = algorithm == Algorithm::Bucket;
        let is_lease = algorithm == Algorithm::Lease;
        let maybe = |random: &mut Random| !is_lease && random.one_in(4);
        let any_ms = |random: &mut Random| 1 + number(random) % duration::MAX_MS;
        let cost = cost(random);
        let mut call = Self {
            algorithm,
            limits,
            windows: Windows::new(),
            cost: if is_lease { cost.abs() } else { cost },
            force: maybe(random),
            log_size: *random.pick(&[8, 9, 16, 128]),
            at_ms: maybe(random).then(|| time_ms(random)),
            stamp: is_bucket && random.one_in(3),
            min: maybe(random).then(|| 1 + number(random) % MAX_COUNT),
            reserve_ms: (is_bucket && random.one_in(4)).then(|| any_ms(random)),
            block_ms: Vec::new(),
            id: if is_lease { id(random, 64) } else { Vec::new() },
            ids: IdBounds {
                most: *random.pick(&[1, 3, 64]),
                ttl_ms: 1 + number(random) % MAX_TTL_MS,
            },
            now_ms,
        };
        if maybe(random) {
            call.id = vec![*random.pick(b"abc"); *random.pick(&[1, 1, 1, 64])]; // some come again
        }
        if maybe(random) {
            call.block_ms = (0..=random.below(3)).map(|_| any_ms(random)).collect();
        }
        if call.reserve_ms.is_some() {
            // The grammar refuses these beside RESERVE.
            (call.force, call.at_ms, call.min) = (false, None, None);
            call.block_ms.clear();
        }
        let is_calendar = |limit: &Limit| limit.span().plain_ms().is_none();
        if call.limits.iter().any(is_calendar) {
            let window = |limit: &Limit| {
                let before_ms = number(random) % (duration::MAX_MS / 2);
                if is_calendar(limit) {
                    Window {
                        start_ms: now_ms.saturating_sub(before_ms),
                        end_ms: now_ms + 1 + number(random) % (duration::MAX_MS / 2),
                    }
                } else {
                    Window::default()
                }
            };
            call.windows = call.limits.iter().map(window).collect();
        }
        call
    }

    fn hit<R>(&self, then: impl FnOnce(&Hit) -> R) -> R {
        then(&Hit {
            algorithm: self.algorithm,
            limits: &self.limits,
            cost: self.cost,
            force: self.force,
            log_size: self.log_size,
            options: &HitOptions {
                windows: &self.windows,
                at_windows: &[],
                at_ms: self.at_ms,
                stamp: self.stamp,
                min: self.min,
                reserve_ms: self.reserve_ms,
                block_ms: &self.block_ms,
                is_shadow: false,
                tried: None,
                id: &self.id,
                ids: self.ids,
                drops_unnamed: false,
                here: None,
            },
        })
    }

    fn make(&self, state: &mut Option<Limiter>) -> Result<Quote, Error> {
        self.hit(|hit| quote::hit(state, hit, self.now_ms))
    }

    /// The bytes of its effect, had it been charged.
    fn id_beside(&self) -> Option<&[u8]> {
        let is_once = self.algorithm != Algorithm::Lease && !self.id.is_empty();
        is_once.then_some(&*self.id)
    }

    fn effect(&self, change: Change) -> Vec<u8> {
        self.hit(|hit| codec::encode_change(hit, change, self.now_ms, false).to_vec())
    }
}

/// 1 to `most` bytes.
fn id(random: &mut Random, most: usize) -> Vec<u8> {
    let mut name = bytes(random, most);
    name.push(random.byte());
    name.truncate(most);
    name
}

/// A limiter as hits leave it, at times that mostly go forward.
fn state(random: &mut Random) -> Option<Limiter> {
    let algorithm = algorithm(random);
    let mut limits = limits(random, algorithm);
    let mut state = None;
    let mut now_ms = time_ms(random);
    let most = if random.one_in(10) { 40 } else { 6 };
    for _ in 0..random.below(most) {
        if random.one_in(8) {
            limits = self::limits(random, algorithm);
        }
        let mut call = Call::new(random, algorithm, limits.clone(), now_ms);
        call.cost %= 100;
        call.force |=
            random.one_in(2) && algorithm != Algorithm::Lease && call.reserve_ms.is_none();
        // A refusal leaves the state as it was.
        let _ = call.make(&mut state);
        if random.one_in(20) {
            order(&mut state, *random.pick(&[0, 1, 60_000]), now_ms);
        }
        let window_ms = limits[0].span().plain_ms().unwrap_or(86_400_000);
        now_ms = if random.one_in(20) {
            time_ms(random)
        } else {
            now_ms + number(random) % window_ms
        };
    }
    state
}

/// Shuts a key by order, or lifts what shuts it.
fn order(state: &mut Option<Limiter>, length_ms: u64, now_ms: u64) {
    let mut held = state.as_mut().map(Limiter::held);
    match noted::order(held.as_mut(), length_ms, now_ms) {
        None | Some(Left::Same) => {}
        Some(Left::Nothing) => *state = None,
        Some(Left::Other(limiter)) => *state = Some(limiter),
    }
}

fn encoded(limiter: &Limiter) -> Vec<u8> {
    codec::encode_state(limiter.by_ref())
}

/// What must hold of any state, whatever is asked of it at any time.
fn assert_state_holds(random: &mut Random, state: &Limiter) {
    let bytes = encoded(state);
    assert_eq!(
        codec::decode_state(&bytes).as_ref(),
        Some(state),
        "decode(encode(state))"
    );
    let mut owned = Some(state.clone());
    let held = owned.as_mut().expect("it is there").held();
    let (now_ms, algorithm) = (
        time_ms(random),
        held.algorithm().unwrap_or(Algorithm::Fixed),
    );
    let asked = match held.limits() {
        named if !named.is_empty() && random.one_in(2) => named,
        _ => limits(random, algorithm), // (a key that is shut by order alone names none)
    };
    let _ = (held.reading(now_ms), held.block(now_ms), held.bytes());
    assert!(held.expires_ms() >= held.unused_at_ms());
    assert!(held.notes().is_some() || held.expires_ms() > held.unused_at_ms());
    let call = Call::new(random, algorithm, asked, now_ms);
    let peeked = call.hit(|hit| quote::peek(owned.as_mut(), hit, now_ms));
    let done = call.make(&mut owned);
    assert_eq!(peeked, done, "a peek answers as the hit does");
    let after = owned.expect("a hit deletes nothing");
    match done {
        Err(_) => assert_eq!(&after, state, "a refused hit changes nothing"),
        Ok(quoted) => {
            let verdicts = quoted.decision.verdicts();
            assert_eq!(verdicts.len(), call.limits.len());
            for (verdict, limit) in verdicts.iter().zip(&call.limits) {
                assert_eq!(verdict.limit, limit.limit());
                assert!(verdict.remaining() <= verdict.limit, "{verdict:?}");
            }
            if quoted.change == Change::None {
                assert_eq!(&after, state, "nothing was changed");
            }
            if quoted.change.cost() != 0 || matches!(quoted.change, Change::Once(_)) {
                let sent = call.effect(quoted.change);
                let Some(Effect::Charge(charge)) = codec::decode(&sent, call.id_beside()) else {
                    panic!("{sent:?} is no charge");
                };
                let mut replica = Some(state.clone());
                apply(&mut replica, &charge).expect("what was charged here is charged there");
                assert_eq!(
                    replica.as_ref(),
                    Some(&after),
                    "a replica makes the same of it"
                );
            }
        }
    }
    assert_eq!(codec::decode_state(&encoded(&after)), Some(after));
}

/// What RL.APPLY makes of a charge.
fn apply(state: &mut Option<Limiter>, charge: &Charge) -> Result<(), Error> {
    let rare = charge.options();
    let hit = charge.hit(&rare);
    quote::peek(state.as_mut(), &hit, charge.now_ms)?;
    quote::apply(state, &hit, charge.change(), charge.now_ms)
}

/// A charge as the first version wrote it.
fn first_charge(random: &mut Random) -> Vec<u8> {
    let algorithm = *random.pick(&Algorithm::ALL[..3]);
    let limits = limits(random, algorithm);
    let mut out = vec![1, 1, algorithm as u8];
    varint::write(&mut out, time_ms(random));
    varint::write(&mut out, varint::zigzag(cost(random)));
    varint::write(&mut out, 128);
    varint::write(&mut out, limits.len() as u64);
    for limit in &limits {
        limit.write(algorithm, &mut out);
    }
    out
}

fn region(random: &mut Random) -> Region {
    Region::parse(random.pick(&["eu", "us", "ap", "sa-east1"]).as_bytes()).unwrap()
}

/// A limiter as charges of several regions leave it.
fn regional_state(random: &mut Random, algorithm: Algorithm, now_ms: u64) -> Option<Limiter> {
    let limits = limits(random, algorithm);
    let mut state = None;
    for _ in 0..1 + random.below(5) {
        let here = Some(LocalRegion {
            region: region(random),
            term: if random.one_in(3) { u64::MAX } else { 0 },
            due: 0,
            share: None,
        });
        let windows = Call::new(random, algorithm, limits.clone(), now_ms)
            .windows
            .clone();
        let rare = HitOptions {
            windows: &windows,
            here,
            ..HitOptions::NONE
        };
        let mut hit = Hit::new(algorithm, &limits, cost(random) % 100);
        (hit.force, hit.options) = (true, &rare);
        let _ = quote::hit(&mut state, &hit, now_ms);
    }
    state
}

fn sent(random: &mut Random) -> Vec<u8> {
    let algorithm = *random.pick(&Algorithm::ALL[..3]);
    let now_ms = time_ms(random);
    let sender = region(random);
    let state = regional_state(random, algorithm, now_ms);
    let Some(mut state) = state else {
        return Vec::new();
    };
    if random.one_in(4) {
        regional::reset(&mut state.held(), now_ms, now_ms);
    }
    let copy = state.regional().and_then(|held| held.export(None, now_ms));
    copy.map_or(Vec::new(), |copy| {
        codec::encode_parts(&Payload { sender, copy })
    })
}

/// Merges on any state: it stays one, and the same merge again is no news.
fn merge(random: &mut Random, parts: &Payload, setting: Merging, own: Region) {
    let algorithm = parts.copy.algorithm().expect("it counts");
    let mut state = match random.below(3) {
        0 => None,
        1 => state(random),
        _ => regional_state(random, algorithm, setting.now_ms),
    };
    let before = state.clone();
    let mut held = state.as_mut().map(Limiter::held);
    match regional::merge(held.as_mut(), parts, setting, own) {
        Err(_) => assert_eq!(state, before, "a refused merge changes nothing"),
        Ok((limiter, received)) => {
            let mut state = limiter.or(state);
            if !received.news {
                return assert_eq!(state, before, "no news, no change");
            }
            let mut held = state.as_mut().map(Limiter::held);
            let again = regional::merge(held.as_mut(), parts, setting, own)
                .unwrap()
                .1;
            assert!(!again.news, "known is known");
            assert_state_holds(random, &state.expect("news make a key"));
        }
    }
}

#[test]
fn parts_of_other_regions() {
    fuzz("parts", 20_000, |random| {
        let mut payload = sent(random);
        mutate(random, &mut payload);
        if let Some(parts) = codec::decode_parts(&payload) {
            assert_eq!(
                codec::encode_parts(&parts),
                payload,
                "parts have one encoding"
            );
            let setting = Merging {
                now_ms: time_ms(random),
                debt_ms: 10_000,
                log_size: 128,
            };
            let own = region(random);
            merge(random, &parts, setting, own);
        }
    });
}

#[test]
fn payloads() {
    fuzz("codec", 100_000, |random| {
        let mut payload = match random.below(8) {
            0 | 1 => bytes(random, 64),
            2 => {
                let (algorithm, now_ms) = (algorithm(random), time_ms(random));
                let limits = limits(random, algorithm);
                let call = Call::new(random, algorithm, limits, now_ms);
                let once = Once {
                    cost: call.cost,
                    mark: mark(&call.id),
                    ttl_ms: u32::try_from(call.ids.ttl_ms).unwrap(),
                    drops: u16::try_from(random.below(5)).unwrap(),
                    is_allowed: !call.force,
                    rewinds: call.cost == 0 && call.stamp,
                    wait_ms: call.reserve_ms,
                    place: None,
                };
                call.effect(if call.id_beside().is_some() {
                    Change::Once(once)
                } else {
                    Change::Charge(call.cost)
                })
            }
            3 => first_charge(random),
            4 if random.one_in(2) => {
                let length_ms = *random.pick(&[0, 1, 30_000, 3660 * 86_400_000]);
                codec::encode_order(length_ms, time_ms(random))
            }
            4 => {
                let ids: Vec<Vec<u8>> = (0..random.below(4)).map(|_| id(random, 64)).collect();
                let ids: Vec<&[u8]> = ids.iter().map(Vec::as_slice).collect();
                codec::encode_release(&ids, time_ms(random))
            }
            _ => state(random).map_or(Vec::new(), |state| encoded(&state)),
        };
        mutate(random, &mut payload);
        let beside = id(random, 65);
        let read = codec::decode(&payload, None);
        match read.or_else(|| codec::decode(&payload, Some(&beside))) {
            None => {}
            Some(Effect::State(state)) => {
                assert_eq!(encoded(&state), payload, "a state has one encoding");
                assert_state_holds(random, &state);
            }
            Some(Effect::Charge(charge)) => {
                if !charge.drops_unnamed {
                    let (rare, change) = (charge.options(), charge.change());
                    let (hit, now_ms) = (charge.hit(&rare), charge.now_ms);
                    let is_renewed = charge.here.is_some_and(|here| here.term > 0);
                    let again = codec::encode_change(&hit, change, now_ms, is_renewed);
                    assert_eq!(*again, payload, "a charge has one encoding");
                }
                let mut state = state(random);
                let before = state.clone();
                match apply(&mut state, &charge) {
                    Err(_) => assert_eq!(state, before, "a refused charge changes nothing"),
                    Ok(()) => match state {
                        Some(state) => assert_state_holds(random, &state),
                        // What gave nothing back is remembered where there is a key.
                        None => assert!(charge.once.is_some_and(|once| once.cost == 0)),
                    },
                }
            }
            Some(Effect::Shadow(charge)) => {
                let rare = charge.options();
                let (hit, now_ms) = (charge.hit(&rare), charge.now_ms);
                let again = codec::encode_shadow(&hit, charge.cost, now_ms);
                assert_eq!(again, payload, "a shadow's charge has one encoding");
                let Some(mut state) = state(random) else {
                    return;
                };
                let held = &mut state.held();
                if shadow::quote(held, &hit, now_ms).is_ok() {
                    let noted = shadow::commit(held, &hit, charge.change(), now_ms).unwrap();
                    assert_state_holds(random, &noted.unwrap_or(state));
                }
            }
            Some(Effect::Merge {
                setting,
                own,
                payload: parts,
            }) => {
                let again = codec::encode_merge(&codec::encode_parts(&parts), setting, own);
                assert_eq!(again, payload, "a merge has one encoding");
                merge(random, &parts, setting, own);
            }
            Some(Effect::Reset { now_ms, reset_ms }) => {
                assert_eq!(codec::encode_reset(reset_ms, now_ms), payload);
            }
            Some(Effect::Order { length_ms, now_ms }) => {
                let again = codec::encode_order(length_ms, now_ms);
                assert_eq!(again, payload, "an order has one encoding");
                let mut state = state(random);
                order(&mut state, length_ms, now_ms);
                let notes = state.as_ref().and_then(|state| state.notes());
                let left_ms = notes.map_or(0, |notes| notes.left_ms(now_ms));
                assert!(left_ms >= length_ms, "it is shut");
                assert!(length_ms > 0 || left_ms == 0, "or open");
                if let Some(state) = &state {
                    assert_state_holds(random, state);
                }
            }
            Some(Effect::Release { ids, now_ms }) => {
                let ids: Vec<&[u8]> = ids.iter().map(|id| &**id).collect();
                let again = codec::encode_release(&ids, now_ms);
                assert_eq!(again, payload, "a release has one encoding");
                let Some(mut state) = state(random) else {
                    return;
                };
                if let Some(leases) = state.held().leases() {
                    let held = leases
                        .sorted()
                        .into_iter()
                        .filter(|lease| lease.ends_ms > now_ms && ids.contains(&&*lease.id));
                    let held = held.count();
                    assert_eq!(leases.release(&ids, now_ms), held);
                    assert_eq!(leases.release(&ids, now_ms), 0);
                    assert_state_holds(random, &state);
                }
            }
        }
    });
}

/// Texts of windows, or nearly.
#[test]
fn windows() {
    fuzz("windows", 300_000, |random| {
        let unit = *random.pick(&["d", "w", "mo", "y", "D", "MO", "h", "m"]);
        let day = *random.pick(&[
            "", "15", "31", "32", "thu", "SUN", "+05:45", "UTC", "01", "05:00", "24:00", "First",
        ]);
        let time = *random.pick(&["", "", ",00:00", ",23:59", ",9:00"]);
        let zone = *random.pick(&[
            "",
            ",UTC",
            ",-18:00",
            ",+18:01",
            ",Europe/Berlin",
            ",Nowhere",
        ]);
        let count = *random.pick(&[0, 1, 1, 1, 2, 3, 12, 522, 523, 3660, 3661]);
        let at = if random.one_in(2) { "@" } else { "" };
        let mut text = format!("{count}{unit}{at}{day}{time}{zone}").into_bytes();
        mutate(random, &mut text);
        let Ok(span) = Span::parse(&text) else {
            return;
        };
        let canonical = span.text();
        assert_eq!(Span::parse(canonical.as_bytes()), Ok(span), "{canonical}");
        assert_eq!(Span::parse_canonical(canonical.as_bytes()), Some(span));
        let is_canonical = canonical.as_bytes() == text;
        assert_eq!(Span::parse_canonical(&text).is_some(), is_canonical);
        let limit = Limit::spanning(5, span).expect("within the bounds");
        let mut bytes = Vec::new();
        limit.write(Algorithm::Fixed, &mut bytes);
        assert_eq!(
            Limit::read(Algorithm::Fixed, &mut Source(&bytes)),
            Some(limit)
        );
    });
}

/// Words that the grammar knows, words at its bounds, and words that it does not know.
fn word(random: &mut Random) -> Vec<u8> {
    const KNOWN: [&str; 40] = [
        "COST",
        "cost",
        "FORCE",
        "force",
        "POLICY",
        "DENY",
        "deny",
        "MIN",
        "AT",
        "STAMP",
        "NEXT",
        "RESERVE",
        "BLOCK",
        "FIXED",
        "sliding",
        "Bucket",
        "LEASE",
        "1",
        "0",
        "5",
        "16",
        "60s",
        "1d",
        "15m",
        "500ms",
        "3660d",
        "1w",
        "1mo@15",
        "3mo@+02:00",
        "1y@Europe/Berlin",
        "1d@05:00",
        "1mo@15,13:45,+02:00",
        "1d@24:00",
        "5h@first",
        "1mo@first",
        "2y",
        "-1",
        "",
        "9007199254740991",
        "9007199254740992",
    ];
    const UNITS: [&str; 11] = ["", "ms", "s", "m", "h", "d", "w", "mo", "y", "S", "x"];
    let mut word = match random.below(8) {
        0..=3 => random.pick(&KNOWN).as_bytes().to_vec(),
        4 => number(random).to_string().into_bytes(),
        5 => format!("{}{}", number(random), random.pick(&UNITS)).into_bytes(),
        6 => cost(random).to_string().into_bytes(),
        _ => bytes(random, 200),
    };
    if random.one_in(10) {
        mutate(random, &mut word);
    }
    word
}

/// The words of a valid clause, or nearly, in some order.
fn clause(random: &mut Random, algorithm: Algorithm) -> Vec<Vec<u8>> {
    let mut words = limit_words(&limits(random, algorithm), algorithm);
    if algorithm == Algorithm::Lease {
        words.push(id(random, 70));
    }
    let duration_of = |random: &mut Random| {
        Human::new(1 + number(random) % duration::MAX_MS)
            .to_string()
            .into_bytes()
    };
    if random.one_in(2) {
        words.extend([b"COST".to_vec(), cost(random).to_string().into_bytes()]);
    }
    for _ in 0..random.below(3) {
        words.extend([b"policy".to_vec(), bytes(random, 130)]);
    }
    if random.one_in(6) {
        words.extend([b"MIN".to_vec(), number(random).to_string().into_bytes()]);
    }
    if random.one_in(6) {
        words.extend([b"Reserve".to_vec(), duration_of(random)]);
    }
    if random.one_in(6) {
        words.push(b"BLOCK".to_vec());
        words.extend((0..random.below(10)).map(|_| duration_of(random)));
    }
    words
}

/// The words of a whole call's options.
fn options(random: &mut Random) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    if random.one_in(4) {
        words.push(b"Force".to_vec());
    }
    if random.one_in(4) {
        words.push(b"stamp".to_vec());
    }
    if random.one_in(4) {
        words.extend([b"Id".to_vec(), bytes(random, 70)]);
    }
    if random.one_in(4) {
        words.extend([b"at".to_vec(), number(random).to_string().into_bytes()]);
    }
    if random.one_in(4) {
        words.extend([b"DENY".to_vec(), b"list".to_vec(), bytes(random, 40)]);
    }
    words
}

fn limit_words(limits: &Limits, algorithm: Algorithm) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    for limit in limits {
        words.push(limit.limit().to_string().into_bytes());
        if algorithm == Algorithm::Bucket {
            words.push(limit.refill().to_string().into_bytes());
        }
        words.push(limit.window_text(algorithm).as_bytes().to_vec());
    }
    words
}

/// A clause, written down in one order.
fn clause_words(clause: &Clause, algorithm: Algorithm) -> Vec<Vec<u8>> {
    let mut words = limit_words(&clause.limits, algorithm);
    if algorithm == Algorithm::Lease {
        words.push(clause.id.to_vec());
    }
    words.extend([b"COST".to_vec(), clause.cost.to_string().into_bytes()]);
    for policy in &clause.policies {
        words.extend([b"POLICY".to_vec(), policy.to_vec()]);
    }
    if let Some(min) = clause.min {
        words.extend([b"MIN".to_vec(), min.to_string().into_bytes()]);
    }
    let duration_of = |ms: &u64| Human::new(*ms).to_string().into_bytes();
    if let Some(ms) = clause.reserve_ms {
        words.extend([b"RESERVE".to_vec(), duration_of(&ms)]);
    }
    if !clause.block_ms.is_empty() {
        words.push(b"BLOCK".to_vec());
        words.extend(clause.block_ms.iter().map(duration_of));
    }
    words
}

fn options_words(options: &Options) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    if options.force {
        words.push(b"FORCE".to_vec());
    }
    if options.stamp {
        words.push(b"STAMP".to_vec());
    }
    if options.next {
        words.push(b"NEXT".to_vec());
    }
    if !options.id.is_empty() {
        words.extend([b"ID".to_vec(), options.id.to_vec()]);
    }
    if let Some(at_ms) = options.at_ms {
        words.extend([b"AT".to_vec(), at_ms.to_string().into_bytes()]);
    }
    if let Some(deny) = options.deny {
        words.extend([b"DENY".to_vec(), deny.list.to_vec()]);
        words.extend(deny.values.iter().map(|value| value.to_vec()));
    }
    words
}

/// Changes a few words, or their order.
fn scramble(random: &mut Random, words: &mut Vec<Vec<u8>>) {
    for _ in 0..random.below(3) {
        let at = random.below(words.len() + 1);
        match random.below(4) {
            0 => words.insert(at, word(random)),
            1 if at < words.len() => drop(words.remove(at)),
            2 if at < words.len() => words[at] = word(random),
            3 if at < words.len() => {
                let other = random.below(words.len());
                words.swap(at, other);
            }
            _ => {}
        }
    }
}

fn assert_clause(clause: &Clause) {
    assert!((1..=MAX_LIMITS).contains(&clause.limits.len()));
    assert!(clause.cost.unsigned_abs() <= MAX_COUNT);
}

/// Forgets where the id stands, once it was seen to stand there: in other words it stands elsewhere.
fn take_place(options: &mut Options, words: &[&[u8]], first: usize) {
    let at = std::mem::take(&mut options.id_at);
    let word = at.checked_sub(first).map_or(&[][..], |at| words[at]);
    assert_eq!(word, options.id);
}

#[test]
fn requests() {
    fuzz("request grammar", 200_000, |random| {
        let algorithm = algorithm(random);
        let mut words = match random.below(3) {
            0 => (0..random.below(12)).map(|_| word(random)).collect(),
            _ => [clause(random, algorithm), options(random)].concat(),
        };
        scramble(random, &mut words);
        let verb = *random.pick(&[Verb::Charge, Verb::Peek]);
        let args: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        match request::parse(algorithm, verb, &args, 2) {
            Err(error) => {
                let text = error.to_string();
                assert!(text.starts_with("ERR argument "), "{text}");
            }
            Ok(mut request) => {
                let Request { clause, options } = &request;
                assert_clause(clause);
                assert!(verb == Verb::Charge || !options.force);
                let again = [clause_words(clause, algorithm), options_words(options)].concat();
                let again: Vec<&[u8]> = again.iter().map(Vec::as_slice).collect();
                let read = request::parse(algorithm, verb, &again, 2);
                let mut read = read.expect("what it wrote down");
                take_place(&mut request.options, &args, 2);
                take_place(&mut read.options, &again, 2);
                assert_eq!(read, request, "what it wrote down");
            }
        }
        if let Ok(limits) = request::parse_limits(algorithm, &args, 2) {
            assert!((1..=MAX_LIMITS).contains(&limits.len()));
            if algorithm != Algorithm::Lease {
                let whole = request::parse(algorithm, verb, &args, 2);
                let whole = whole.expect("limits alone are a request");
                assert_eq!(limits, whole.clause.limits);
            }
        }
    });
}

#[test]
fn requests_of_several_keys() {
    fuzz("grammar of several keys", 100_000, |random| {
        let count = *random.pick(&[0, 1, 1, 2, 3, 16, 17]);
        let mut words = vec![count.to_string().into_bytes()];
        words.extend((0..count).map(|key| format!("key{key}").into_bytes()));
        for _ in 0..count {
            let algorithm = algorithm(random);
            words.push(algorithm.name().as_bytes().to_vec());
            words.extend(clause(random, algorithm));
        }
        words.extend(options(random));
        scramble(random, &mut words);
        let verb = *random.pick(&[Verb::Charge, Verb::Peek]);
        let args: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        let read = request::parse_all(verb, &args, 1);
        match read {
            Err(error) => {
                let text = error.to_string();
                assert!(text.starts_with("ERR argument "), "{text}");
            }
            Ok(mut all) => {
                assert!((1..=ratelimit::core::limit::MAX_KEYS).contains(&all.keys.len()));
                assert_eq!(all.keys.len(), all.clauses.len());
                let mut again = vec![all.keys.len().to_string().into_bytes()];
                again.extend(all.keys.iter().map(|key| key.to_vec()));
                for (algorithm, clause) in &all.clauses {
                    assert_clause(clause);
                    again.push(algorithm.name().as_bytes().to_vec());
                    again.extend(clause_words(clause, *algorithm));
                }
                again.extend(options_words(&all.options));
                let again: Vec<&[u8]> = again.iter().map(Vec::as_slice).collect();
                let mut read = request::parse_all(verb, &again, 1).expect("what it wrote down");
                take_place(&mut all.options, &args, 1);
                take_place(&mut read.options, &again, 1);
                assert_eq!(format!("{read:?}"), format!("{all:?}"));
            }
        }
    });
}

/// Texts that are addresses or ranges, or nearly.
fn address(random: &mut Random) -> Vec<u8> {
    let v4 = Ipv4Addr::from_bits(
        u32::try_from(random.next() >> 32).unwrap() << *random.pick(&[0, 0, 8, 16, 24]),
    );
    let high = u128::from(random.next()) << 64;
    let v6 = Ipv6Addr::from_bits(match random.below(4) {
        0 => high,
        1 => u128::from(random.next() >> random.below(64)),
        2 => 0xffff_0000_0000 | u128::from(v4.to_bits()),
        _ => high | u128::from(random.next()),
    });
    let mut text = match random.below(6) {
        0 | 1 => v4.to_string(),
        2 | 3 => v6.to_string(),
        // Without the short forms.
        4 => v6.segments().map(|part| format!("{part:x}")).join(":"),
        _ => format!(
            "{}:{v4}",
            v6.segments()[..6]
                .iter()
                .map(|part| format!("{part:X}"))
                .collect::<Vec<_>>()
                .join(":")
        ),
    };
    if random.one_in(2) {
        text += &format!("/{}", random.below(131));
    }
    let mut text = text.into_bytes();
    match random.below(4) {
        0 => mutate(random, &mut text),
        1 => {
            let at = random.below(text.len());
            text[at] = *random.pick(b"0123456789abcdefABCDEF.:/ %x");
        }
        _ => {}
    }
    text
}

/// What the standard library makes of it: an address, or a range of one.
fn expected(text: &[u8]) -> Option<(IpAddr, Option<u8>)> {
    let text = std::str::from_utf8(text).ok()?;
    match text.split_once('/') {
        None => Some((text.parse().ok()?, None)),
        Some((address, length)) => {
            let plain = length == "0" || !length.starts_with('0');
            let digits = length.bytes().all(|byte| byte.is_ascii_digit());
            Some((
                address.parse().ok()?,
                Some(length.parse().ok().filter(|_| plain && digits)?),
            ))
        }
    }
}

#[test]
fn addresses() {
    fuzz("deny addresses", 500_000, |random| {
        let text = if random.one_in(8) {
            bytes(random, 60)
        } else {
            address(random)
        };
        let value = Value::parse(&text);
        let model = expected(&text).and_then(|(address, length)| {
            let (bits, width) = match address {
                IpAddr::V4(v4) => (u128::from(v4.to_bits()) << 96, 32),
                IpAddr::V6(v6) => (v6.to_bits(), 128),
            };
            let length = length.unwrap_or(width);
            let host = u128::MAX.checked_shr(length.into()).unwrap_or(0);
            if length > width || bits & host != 0 {
                return None;
            }
            Some(match address {
                IpAddr::V4(v4) => Value::V4(Net {
                    length,
                    base: v4.to_bits(),
                }),
                IpAddr::V6(v6) => match (v6.to_ipv4_mapped(), length.checked_sub(96)) {
                    (Some(v4), Some(length)) => Value::V4(Net {
                        length,
                        base: v4.to_bits(),
                    }),
                    _ => Value::V6(Net {
                        length,
                        base: v6.to_bits(),
                    }),
                },
            })
        });
        let shown = String::from_utf8_lossy(&text);
        assert_eq!(value, model.unwrap_or(Value::Text(&text)), "{shown}");
        let written = Vec::<u8>::from(value);
        assert_eq!(Value::parse(&written), value, "{shown}: what it wrote down");
        match Value::parse_new(&text, 3) {
            Ok(new) => {
                assert_eq!(new, value, "{shown}");
                let arrived = Value::parse_arrived(&text);
                let is_address = !matches!(value, Value::Text(_));
                assert!(is_address || arrived.is_none(), "{shown}: a trap");
            }
            Err(why) => {
                assert!(
                    matches!(value, Value::Text(_)),
                    "{shown}: an address that {why}"
                );
                assert!(!why.to_string().is_empty());
            }
        }
        // An address with a port, in brackets, with a zone, or with spaces around it is that address.
        if let (true, Ok(plain)) = (!text.contains(&b'/'), std::str::from_utf8(&text)) {
            if let (Ok(address), false) = (plain.parse::<IpAddr>(), shown.contains('%')) {
                let dressed = match random.below(6) {
                    0 => format!(" {plain}\r\n"),
                    1 => format!("[{plain}]"),
                    2 => format!("[{plain}]:{}", random.below(65_536)),
                    3 if address.is_ipv4() => format!("{plain}:{}", random.below(65_536)),
                    4 if address.is_ipv6() => format!("{plain}%eth{}", random.below(9)),
                    _ => format!("\t[{plain}%{}]:1 ", random.below(9)),
                };
                assert_eq!(Value::parse_arrived(dressed.as_bytes()), Some(value));
                assert!(
                    Value::parse_new(dressed.as_bytes(), 3).is_err(),
                    "{dressed}"
                );
                assert_eq!(
                    Value::parse(dressed.as_bytes()),
                    Value::Text(dressed.as_bytes())
                );
            }
        }
    });
}

fn name(random: &mut Random) -> Vec<u8> {
    let mut name = bytes(random, 128);
    name.push(random.byte());
    name.truncate(128);
    name
}

fn hashing() -> ahash::RandomState {
    ahash::RandomState::with_seeds(1, 2, 3, 4)
}

fn setting(random: &mut Random, algorithm: Algorithm) -> Setting {
    let policy = Policy::new(algorithm, limits(random, algorithm)).expect("valid limits");
    let ends = Ends::given(1 + time_ms(random) % MAX_TIME_MS, 1 + time_ms(random));
    match random.below(4) {
        0 => Setting::Temporary(Temporary { policy, ends }),
        1 if algorithm != Algorithm::Lease => Setting::Shadow(ShadowPolicy {
            policy,
            ends: random.one_in(2).then_some(ends),
        }),
        _ => Setting::Lasting(policy),
    }
}

#[test]
fn policies() {
    fuzz("policies", 100_000, |random| {
        let mut policies = Policies::new(100, hashing());
        let names = [name(random), name(random)];
        for _ in 0..random.below(5) {
            let algorithm = algorithm(random);
            let name = match random.below(3) {
                place @ 0..=1 => names[place].clone(),
                _ => name(random),
            };
            let setting = setting(random, algorithm);
            // One of another algorithm is refused.
            let _ = policies.set(&name, setting, 0);
        }
        let whole = policies.encode(0);
        let mut bytes = if random.one_in(8) {
            bytes(random, 64)
        } else {
            whole.clone()
        };
        mutate(random, &mut bytes);
        if policies.load(&bytes) {
            let encoded = policies.encode(0);
            if bytes[0] == 2 {
                assert_eq!(encoded, bytes, "policies have one encoding");
            }
            let fingerprint = policies.fingerprint();
            assert!(policies.load(&encoded), "what it wrote itself");
            assert_eq!(policies.fingerprint(), fingerprint);
            let now_ms = time_ms(random);
            policies.end(now_ms);
            assert_eq!(policies.len(), policies.list(now_ms).len());
        } else {
            assert_eq!(policies.encode(0), whole, "refused bytes change nothing");
        }
        let algorithm = algorithm(random);
        let mut bytes = policy::encode_setting(&name(random), &setting(random, algorithm));
        mutate(random, &mut bytes);
        if let Some((name, setting)) = policy::decode_setting(&bytes) {
            assert_eq!(policy::encode_setting(name, &setting), bytes);
        }
    });
}

#[test]
fn deny_lists() {
    fuzz("deny lists", 100_000, |random| {
        let mut lists = Lists::new(Seed(random.next()));
        for _ in 0..random.below(4) {
            let name = name(random);
            let values: Vec<Vec<u8>> = (0..1 + random.below(4)).map(|_| address(random)).collect();
            let until = if random.one_in(2) {
                Until::Forever
            } else {
                Until::At(Ends::given(1 + time_ms(random), 1 + time_ms(random)))
            };
            // Some values only look like addresses: then none is added.
            if let Ok(values) = Values::read(values.iter().map(Vec::as_slice)) {
                lists
                    .add(&name, &values, until, 0, &Bounds::NONE)
                    .expect("there is room");
            }
        }
        let whole = lists.encode(0);
        let mut bytes = if random.one_in(8) {
            bytes(random, 64)
        } else {
            whole.clone()
        };
        mutate(random, &mut bytes);
        match Lists::decode(&bytes, Seed(random.next())) {
            Some(decoded) => {
                let again =
                    Lists::decode(&decoded.encode(0), Seed(0)).expect("what it wrote itself");
                assert_eq!(
                    again.encode(0),
                    decoded.encode(0),
                    "lists have one encoding, whatever the seed"
                );
                assert!(again.summaries().eq(decoded.summaries()));
                assert_eq!(decoded.encode(0), bytes, "lists have one encoding");
                let _ = (decoded.memory_bytes(), decoded.encode(time_ms(random)));
            }
            None => {
                assert!(!lists.merge(&bytes, 0));
                assert_eq!(lists.encode(0), whole, "refused bytes change nothing");
            }
        }
    });
}

/// A payload of RL.NODE, by whomever: refused, with nothing changed, or applied, and then all there is can be saved, and told
/// to another node.
#[test]
fn parts_of_the_node() {
    fuzz("parts of the node", 30_000, |random| {
        let bounds = NodeBounds {
            policies: 10,
            deny: Bounds {
                lists: 5,
                entries: 50,
                text_bytes: 500,
            },
            stats: stats::Bounds {
                names: 2,
                identifiers: 8,
            },
        };
        let mut node = Node::new(&bounds, [1, 2, 3, random.next()]);
        let mut now_ms = time_ms(random) % 4_000_000_000_000;
        for _ in 0..random.below(6) {
            traffic(random, &mut node.stats, &mut now_ms);
            let mut payload = match random.below(6) {
                0 => bytes(random, 64),
                1 => Part::Policies.payload(&node.policies.encode(now_ms)),
                2 => {
                    let algorithm = algorithm(random);
                    let setting = setting(random, algorithm);
                    Part::Setting.payload(&policy::encode_setting(&name(random), &setting))
                }
                3 => {
                    let value = address(random);
                    match Values::read([value.as_slice()]) {
                        Ok(values) => {
                            Part::Entries.payload(&values.encode(&name(random), Until::Forever))
                        }
                        Err(_) => continue,
                    }
                }
                4 => Part::Rename.payload(&encode_rename(&name(random), &name(random))),
                _ => node.next_record().unwrap_or_default(),
            };
            mutate(random, &mut payload);
            let before = node.encode(0);
            let sender = match random.below(2) {
                0 => Sender::Peer,
                _ => Sender::Client(&bounds),
            };
            if node.apply(&payload, sender, now_ms).is_err() {
                assert_eq!(node.encode(0), before, "refused bytes change nothing");
            }
        }
        let [policies, deny, stats] = node.encode(0);
        let mut loaded = Node::new(&bounds, [5; 4]);
        assert!(loaded.load([&policies, &deny, &stats]), "it can be saved");
        let mut follower = Node::new(&bounds, [6; 4]);
        let mut follow = |payload: &[u8]| {
            let applied = follower.apply(payload, Sender::Peer, now_ms);
            assert!(applied.is_ok(), "what is told is taken");
        };
        node.parts(0, |payload| follow(&payload));
        node.stats.write_anew();
        while let Some(payload) = node.next_record() {
            follow(&payload);
        }
        assert_eq!(follower.encode(0), node.encode(0));
    });
}

/// Some traffic on `stats`.
fn traffic(random: &mut Random, stats: &mut Stats, now_ms: &mut u64) {
    let most = if random.one_in(8) { 60 } else { 8 };
    for _ in 0..random.below(most) {
        let outcome = *random.pick(&[Outcome::Allowed, Outcome::Denied, Outcome::DenyListed]);
        let algorithm = algorithm(random);
        if random.one_in(3) {
            let user = [b'u', random.byte() % 16];
            stats.count_unnamed(|| &user, algorithm, outcome, *now_ms);
            stats.count_listed(&user, *now_ms);
        } else {
            let slot = stats.slot(random.pick::<&[u8]>(&[b"api", b"login", b"past the bound"]));
            stats.count_named(
                slot,
                &[b'u', random.byte() % 16],
                algorithm,
                outcome,
                *now_ms,
            );
        }
        *now_ms += u64::from(random.byte()) * 60_000;
    }
}

/// Statistics under small bounds.
fn small_stats() -> Stats {
    let bounds = stats::Bounds {
        names: 2,
        identifiers: 8,
    };
    Stats::new(bounds, hashing())
}

#[test]
fn statistics() {
    fuzz("statistics", 50_000, |random| {
        let mut stats = small_stats();
        let mut now_ms = time_ms(random) % 4_000_000_000_000;
        traffic(random, &mut stats, &mut now_ms);
        let whole = stats.encode();
        let mut bytes = if random.one_in(8) {
            bytes(random, 64)
        } else {
            whole.clone()
        };
        mutate(random, &mut bytes);
        if stats.load(&bytes) {
            let encoded = stats.encode();
            let now = [2, u8::try_from(Algorithm::ALL.len()).unwrap()];
            if bytes.starts_with(&now) {
                assert_eq!(encoded, bytes, "statistics have one encoding");
            }
            assert!(stats.load(&encoded), "what it wrote itself");
            let _ = (
                stats.total(),
                stats.total_hours(now_ms),
                stats.memory_bytes(),
            );
        } else {
            assert_eq!(stats.encode(), whole, "refused bytes change nothing");
        }
    });
}

/// A record of statistics, sent by whomever: it is taken, and what comes of it can be saved and loaded; or it is refused.
#[test]
fn records_of_statistics() {
    fuzz("records of statistics", 50_000, |random| {
        let (mut stats, mut copy) = (small_stats(), small_stats());
        let mut now_ms = time_ms(random) % 4_000_000_000_000;
        let mut record = vec![1];
        for _ in 0..=random.below(3) {
            traffic(random, &mut stats, &mut now_ms);
            match random.below(8) {
                0 => _ = stats.reset(None),
                1 => _ = stats.reset(Some(b"api")),
                2 => traffic(random, &mut copy, &mut now_ms),
                3 => stats.write_anew(),
                _ => {}
            }
            let bytes = usize::from(random.byte());
            record = stats.next_record(bytes).unwrap_or_default();
            if random.one_in(2) {
                let _ = copy.apply_record(&record);
            }
        }
        if random.one_in(8) {
            record = bytes(random, 64);
        }
        mutate(random, &mut record);
        let before = copy.encode();
        if copy.apply_record(&record) {
            let after = copy.encode();
            let mut loaded = small_stats();
            assert!(loaded.load(&after), "what was taken can be loaded");
            assert_eq!(loaded.encode(), after);
            let _ = (copy.total_hours(now_ms), copy.memory_bytes());
            traffic(random, &mut copy, &mut now_ms);
            let mut follower = small_stats();
            copy.write_anew();
            while let Some(record) = copy.next_record(100) {
                assert!(follower.apply_record(&record), "what was written is taken");
            }
            assert_eq!(follower.encode(), copy.encode());
        } else {
            assert_eq!(copy.encode(), before, "refused bytes change nothing");
        }
    });
}
