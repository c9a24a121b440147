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
use ratelimit::core::bytes::varint;
use ratelimit::core::codec::{self, Effect};
use ratelimit::core::duration::{self, Human};
use ratelimit::core::limit::{Algorithm, Limit, Limits, MAX_COUNT, MAX_LIMITS, MAX_TIME_MS};
use ratelimit::core::limiter::{Change, Hit, Limiter};
use ratelimit::core::node::deny::{Bounds, Lists, Net, Seed, Until, Value, Values};
use ratelimit::core::node::policy::{self, Policies, Policy, Setting, Temporary};
use ratelimit::core::node::stats::{self, Outcome, Stats};
use ratelimit::core::node::{encode_rename, Bounds as NodeBounds, Node, Part, Sender};
use ratelimit::core::request::{self, Request, Verb};

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

/// One to eight limits, no two of one window.
fn limits(random: &mut Random, algorithm: Algorithm) -> Limits {
    let count = if random.one_in(2) {
        1
    } else {
        1 + random.below(MAX_LIMITS)
    };
    let mut limits = Limits::new();
    while limits.len() < count {
        let window_ms = 1 + number(random) % duration::MAX_MS;
        let (limit, refill) = (
            number(random) % (MAX_COUNT + 1),
            1 + number(random) % MAX_COUNT,
        );
        let limit = match algorithm {
            Algorithm::Bucket => Limit::bucket(limit, refill, window_ms),
            Algorithm::Fixed | Algorithm::Sliding => Limit::window(limit, window_ms),
        };
        if limits.iter().all(|other| other.window_ms() != window_ms) {
            limits.push(limit.expect("within the bounds"));
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

/// A limiter as hits leave it, at times that mostly go forward.
fn state(random: &mut Random) -> Option<Limiter> {
    let algorithm = algorithm(random);
    let mut limits = limits(random, algorithm);
    let entries = *random.pick(&[8, 9, 16, 128]);
    let mut state = None;
    let mut now_ms = time_ms(random);
    let most = if random.one_in(10) { 40 } else { 6 };
    for _ in 0..random.below(most) {
        if random.one_in(8) {
            limits = self::limits(random, algorithm);
        }
        let hit = Hit {
            algorithm,
            limits: &limits,
            cost: cost(random) % 100,
            force: random.one_in(2),
            entries,
        };
        // A refusal leaves the state as it was.
        let _ = Limiter::hit(&mut state, &hit, now_ms);
        now_ms = if random.one_in(20) {
            time_ms(random)
        } else {
            now_ms + number(random) % limits[0].window_ms()
        };
    }
    state
}

/// What must hold of any state, whatever is asked of it at any time.
fn assert_state_holds(random: &mut Random, state: &Limiter) {
    let encoded = codec::encode_state(state);
    assert_eq!(
        codec::decode_state(&encoded).as_ref(),
        Some(state),
        "decode(encode(state))"
    );
    let (now_ms, algorithm) = (time_ms(random), state.algorithm());
    let asked = if random.one_in(2) {
        state.limits()
    } else {
        limits(random, algorithm)
    };
    let _ = (state.reading(now_ms), state.expires_ms(), state.bytes());
    let hit = Hit {
        algorithm,
        limits: &asked,
        cost: cost(random),
        force: random.one_in(4),
        entries: 128,
    };
    let peeked = Limiter::peek(Some(state), &hit, now_ms);
    let mut after = Some(state.clone());
    match Limiter::hit(&mut after, &hit, now_ms) {
        Err(_) => assert_eq!(after.as_ref(), Some(state), "a refused hit changes nothing"),
        Ok((decision, change)) => {
            assert_eq!(decision.verdicts().len(), asked.len());
            for (verdict, limit) in decision.verdicts().iter().zip(&asked) {
                assert_eq!(verdict.limit, limit.limit());
                assert!(verdict.remaining() <= verdict.limit, "{verdict:?}");
            }
            if !hit.force {
                assert_eq!(
                    peeked.expect("a peek is refused where a hit is").allowed(),
                    decision.allowed()
                );
            }
            if change == Change::None {
                assert_eq!(after.as_ref(), Some(state), "nothing was changed");
            }
            if change == Change::Charged {
                let mut replica = Some(state.clone());
                Limiter::charge(&mut replica, &hit, now_ms)
                    .expect("what was charged here is charged there");
                assert_eq!(replica, after, "a replica makes the same of it");
            }
        }
    }
    if let Some(after) = after {
        assert_eq!(
            codec::decode_state(&codec::encode_state(&after)),
            Some(after)
        );
    }
}

#[test]
fn payloads() {
    fuzz("codec", 100_000, |random| {
        let mut payload = match random.below(4) {
            0 => bytes(random, 64),
            1 => {
                let algorithm = algorithm(random);
                let limits = limits(random, algorithm);
                let hit = Hit {
                    algorithm,
                    limits: &limits,
                    cost: cost(random),
                    force: true,
                    entries: 128,
                };
                codec::encode_charge(&hit, time_ms(random)).to_vec()
            }
            _ => state(random).map_or(Vec::new(), |state| codec::encode_state(&state)),
        };
        mutate(random, &mut payload);
        match codec::decode(&payload) {
            None => {}
            Some(Effect::State(state)) => {
                assert_eq!(
                    codec::encode_state(&state),
                    payload,
                    "a state has one encoding"
                );
                assert_state_holds(random, &state);
            }
            Some(Effect::Charge(charge)) => {
                assert_eq!(
                    *codec::encode_charge(&charge.hit(), charge.now_ms),
                    payload,
                    "a charge has one encoding"
                );
                let mut state = state(random);
                let before = state.clone();
                match Limiter::charge(&mut state, &charge.hit(), charge.now_ms) {
                    Err(_) => assert_eq!(state, before, "a refused charge changes nothing"),
                    Ok(_) => {
                        if let Some(state) = &state {
                            assert_state_holds(random, state);
                        }
                    }
                }
            }
        }
    });
}

/// Words that the grammar knows, words at its bounds, and words that it does not know.
fn word(random: &mut Random) -> Vec<u8> {
    const KNOWN: [&str; 20] = [
        "COST",
        "cost",
        "FORCE",
        "force",
        "POLICY",
        "DENY",
        "deny",
        "FIXED",
        "1",
        "0",
        "5",
        "60s",
        "1d",
        "15m",
        "500ms",
        "3660d",
        "-1",
        "",
        "9007199254740991",
        "9007199254740992",
    ];
    const UNITS: [&str; 9] = ["", "ms", "s", "m", "h", "d", "w", "S", "x"];
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

/// The words of a valid call, in some order.
fn call(random: &mut Random, algorithm: Algorithm) -> Vec<Vec<u8>> {
    let mut words = limit_words(&limits(random, algorithm), algorithm);
    if random.one_in(2) {
        words.extend([b"COST".to_vec(), cost(random).to_string().into_bytes()]);
    }
    if random.one_in(4) {
        words.push(b"Force".to_vec());
    }
    if random.one_in(4) {
        words.extend([b"policy".to_vec(), bytes(random, 130)]);
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
        words.push(Human(limit.window_ms()).to_string().into_bytes());
    }
    words
}

/// A request, written down in one order.
fn request_words(request: &Request, algorithm: Algorithm) -> Vec<Vec<u8>> {
    let mut words = limit_words(&request.limits, algorithm);
    words.extend([b"COST".to_vec(), request.cost.to_string().into_bytes()]);
    if request.force {
        words.push(b"FORCE".to_vec());
    }
    if let Some(policy) = request.policy {
        words.extend([b"POLICY".to_vec(), policy.to_vec()]);
    }
    if let Some(deny) = request.deny {
        words.extend([b"DENY".to_vec(), deny.list.to_vec()]);
        words.extend(deny.values.iter().map(|value| value.to_vec()));
    }
    words
}

#[test]
fn requests() {
    fuzz("request grammar", 200_000, |random| {
        let algorithm = algorithm(random);
        let mut words = match random.below(3) {
            0 => (0..random.below(12)).map(|_| word(random)).collect(),
            _ => call(random, algorithm),
        };
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
        let verb = *random.pick(&[Verb::Charge, Verb::Peek]);
        let args: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        match request::parse(algorithm, verb, &args, 2) {
            Err(error) => {
                let text = error.to_string();
                assert!(text.starts_with("ERR argument "), "{text}");
            }
            Ok(request) => {
                assert!((1..=MAX_LIMITS).contains(&request.limits.len()));
                assert!(request.cost.unsigned_abs() <= MAX_COUNT);
                assert!(verb == Verb::Charge || !request.force);
                let again = request_words(&request, algorithm);
                let again: Vec<&[u8]> = again.iter().map(Vec::as_slice).collect();
                assert_eq!(
                    request::parse(algorithm, verb, &again, 2).as_ref(),
                    Ok(&request),
                    "what it wrote down"
                );
            }
        }
        if let Ok(limits) = request::parse_limits(algorithm, &args, 2) {
            let whole =
                request::parse(algorithm, verb, &args, 2).expect("limits alone are a request");
            assert_eq!(limits, whole.limits);
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
    match random.below(3) {
        0 => Setting::Temporary(Temporary {
            policy,
            ends_ms: 1 + time_ms(random) % MAX_TIME_MS,
        }),
        _ => Setting::Lasting(policy),
    }
}

#[test]
fn policies() {
    fuzz("policies", 100_000, |random| {
        let mut policies = Policies::new(100, hashing());
        for _ in 0..random.below(5) {
            let algorithm = algorithm(random);
            let (name, setting) = (name(random), setting(random, algorithm));
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
                Until::at(1 + time_ms(random))
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
            stats.count_listed(&user);
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
