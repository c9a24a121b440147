//! A real server whose wall clock is ours: it answers to the millisecond what the core decides, however the clock jumps.
//!
//! The core is compared with slow models elsewhere; this compares the server with the core: one reading of the clock per
//! command, the reply's shape, the TTL, and that a key that Redis has expired was not missed. `CLOCK_TRACES=` runs more.

#![cfg(not(feature = "server"))] // with it, the crate brings the server's allocator
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests, helpers and all"
)]

#[path = "support/resp.rs"]
mod resp;
mod support;

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use ratelimit::core::decision::{Decision, Retry, Verdict};
use ratelimit::core::duration::Human;
use ratelimit::core::limit::{Algorithm, Limit, Limits};
use ratelimit::core::limiter::{Hit, Limiter};
use resp::Connection;
use support::{Random, Reply, Server};

const SECOND_MS: u64 = 1_000;
const DAY_MS: u64 = 86_400 * SECOND_MS;
/// Windows from a millisecond to 90 days.
const WINDOWS_MS: [u64; 10] = [
    1,
    7,
    100,
    SECOND_MS,
    10 * SECOND_MS,
    60 * SECOND_MS,
    3_600 * SECOND_MS,
    DAY_MS,
    30 * DAY_MS,
    90 * DAY_MS,
];

/// A wall clock in a file; see `support/clock.c`.
struct Clock {
    dir: PathBuf,
    file: std::fs::File,
    now_ms: u64,
}

impl Clock {
    fn at(now_ms: u64) -> Self {
        let dir = support::server::new_dir();
        let file = std::fs::File::create(dir.join("now")).unwrap();
        let mut clock = Clock { dir, file, now_ms };
        clock.set(now_ms);
        clock
    }

    fn set(&mut self, now_ms: u64) {
        self.file.write_all_at(&now_ms.to_ne_bytes(), 0).unwrap();
        self.now_ms = now_ms;
    }

    /// Makes the servers that this process starts go by this clock.
    fn govern_servers(&self) {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/clock.c");
        let library = self.dir.join("clock.so");
        let compiled = Command::new("cc")
            .args(["-O1", "-shared", "-fPIC", "-o"])
            .args([&library, &source])
            .status();
        assert!(compiled.expect("cc, Rust's linker, is there").success());
        let server = std::env::var("RATELIMIT_SERVER").unwrap_or("redis-server".to_string());
        let (library, file) = (library.display(), self.dir.join("now"));
        std::env::set_var(
            "RATELIMIT_SERVER",
            format!(
                "env LD_PRELOAD={library} CLOCK_FILE={} {server}",
                file.display()
            ),
        );
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn limits(random: &mut Random, algorithm: Algorithm) -> Limits {
    let mut limits = Limits::new();
    let first = random.below(WINDOWS_MS.len());
    let count = if random.one_in(2) {
        1
    } else {
        1 + random.below(3)
    };
    for place in 0..count {
        let window_ms = WINDOWS_MS[(first + place) % WINDOWS_MS.len()];
        let limit = u64::try_from(random.within(0..=20)).unwrap();
        let refill = u64::try_from(random.within(1..=20)).unwrap();
        let limit = match algorithm {
            Algorithm::Bucket => Limit::bucket(limit, refill, window_ms),
            Algorithm::Fixed | Algorithm::Sliding => Limit::window(limit, window_ms),
        };
        limits.push(limit.unwrap());
    }
    limits
}

/// Where the clock goes next: nowhere, on a little, to the moment that was promised, around the end of a window, or
/// anywhere within half a year, back too.
fn next_ms(random: &mut Random, clock: &Clock, limits: &Limits, retry_ms: u64) -> u64 {
    let window_ms = limits[random.below(limits.len())].window_ms();
    let some = |random: &mut Random, most: u64| random.next() % (most + 1);
    match random.below(12) {
        0..=2 => clock.now_ms,
        3 | 4 => clock.now_ms + some(random, 3),
        5 | 6 => clock.now_ms + retry_ms,
        7 => clock.now_ms + retry_ms.saturating_sub(1),
        8 => clock.now_ms + window_ms - 1 + some(random, 2),
        9 => clock.now_ms + some(random, 2 * window_ms),
        10 => clock.now_ms - some(random, window_ms.min(180 * DAY_MS)),
        _ => clock.now_ms - 180 * DAY_MS + some(random, 360 * DAY_MS),
    }
}

/// The command line of a hit or a peek.
fn line(key: &str, hit: &Hit, is_peek: bool) -> String {
    let algorithm = hit.algorithm.name();
    let mut line = match is_peek {
        true => format!("RL.PEEK {algorithm} {key}"),
        false => format!("RL.{algorithm} {key}"),
    };
    for limit in hit.limits {
        line += &match hit.algorithm {
            Algorithm::Bucket => format!(" {} {}", limit.limit(), limit.refill()),
            Algorithm::Fixed | Algorithm::Sliding => format!(" {}", limit.limit()),
        };
        line += &format!(" {}", Human(limit.window_ms()));
    }
    line += &format!(" COST {}", hit.cost);
    line + if hit.force { " FORCE" } else { "" }
}

fn five(verdict: &Verdict) -> Vec<Reply> {
    let int = |number: u64| Reply::Int(i64::try_from(number).unwrap());
    vec![
        Reply::Int(i64::from(verdict.allowed)),
        int(verdict.limit),
        int(verdict.remaining()),
        match verdict.retry {
            Retry::After(ms) => int(ms),
            Retry::Never => Reply::Int(-1),
        },
        int(verdict.reset_after_ms),
    ]
}

/// The reply that the contract draws.
fn reply(decision: &Decision) -> Reply {
    let mut reply = five(decision.binding().unwrap());
    if decision.verdicts().len() > 1 {
        let each = decision.verdicts().iter().map(five).map(Reply::Array);
        reply.push(Reply::Array(each.collect()));
    }
    Reply::Array(reply)
}

#[test]
fn a_server_answers_what_the_core_decides_however_the_clock_jumps() {
    let traces = std::env::var("CLOCK_TRACES").map_or(150, |text| text.parse().expect("a number"));
    let mut random = Random::new(90);
    // 2023-11-14 22:13:20 UTC, far enough from either end.
    let mut clock = Clock::at(1_700_000_000_000);
    clock.govern_servers();
    let server = Server::start();
    let mut connection = Connection::open(server.port()).unwrap();
    if connection.call("TIME").unwrap().array()[1].text() != "0" {
        support::skipped(
            "this server reads the wall clock now and then, and counts on from there (Valkey 9)",
        );
        return;
    }
    let (mut admitted, mut denied, mut expired) = (0, 0, 0);
    for trace in 0..traces {
        clock.set(1_700_000_000_000 + random.next() % (1_000 * DAY_MS));
        let key = format!("trace:{trace}");
        let algorithm = *random.pick(&Algorithm::ALL);
        let mut asked = limits(&mut random, algorithm);
        // What the key holds, and when Redis takes it away.
        let mut state: Option<Limiter> = None;
        let mut expires_ms = u64::MAX;
        let mut story = String::new();
        for _ in 0..60 {
            if random.one_in(15) {
                asked = limits(&mut random, algorithm);
            }
            if clock.now_ms > expires_ms && state.take().is_some() {
                expired += 1;
            }
            let hit = Hit {
                algorithm,
                limits: &asked,
                cost: match random.below(6) {
                    0 => random.within(-5..=0),
                    1 => random.within(2..=25),
                    _ => 1,
                },
                force: random.one_in(12),
                entries: 128,
            };
            let is_peek = !hit.force && random.one_in(6);
            let line = line(&key, &hit, is_peek);
            story += &format!("at {}: {line}\n", clock.now_ms);
            let decided = if is_peek {
                Limiter::peek(state.as_ref(), &hit, clock.now_ms)
            } else {
                Limiter::hit(&mut state, &hit, clock.now_ms).map(|(decision, _)| decision)
            };
            let answered = connection.call(&line).unwrap();
            let mut retry_ms = 0;
            match decided {
                Err(error) => assert_eq!(answered, Reply::Error(error.to_string()), "{story}"),
                Ok(decision) => {
                    assert_eq!(answered, reply(&decision), "{story}");
                    admitted += usize::from(decision.allowed());
                    denied += usize::from(!decision.allowed());
                    let retries = decision.verdicts().iter().map(|verdict| verdict.retry);
                    retry_ms = retries
                        .map(|retry| match retry {
                            Retry::After(ms) => ms,
                            Retry::Never => 0,
                        })
                        .max()
                        .unwrap();
                    // The TTL outlives what is used, and there is one wherever there is a key.
                    let at = connection
                        .call(&format!("PEXPIRETIME {key}"))
                        .unwrap()
                        .int();
                    assert_eq!(at == -2, state.is_none(), "{at} {state:?}\n{story}");
                    expires_ms = u64::try_from(at).unwrap_or(u64::MAX);
                    if let (Some(state), false) = (&state, is_peek) {
                        let readings = state.reading(clock.now_ms);
                        let reset_ms = readings.iter().map(|reading| reading.reset_after_ms).max();
                        assert!(
                            expires_ms >= clock.now_ms + reset_ms.unwrap(),
                            "{at}\n{story}"
                        );
                    }
                }
            }
            // Whatever the jumps made of the key, it can be saved and read again.
            if random.one_in(200) {
                let reloaded = connection.call("DEBUG RELOAD").unwrap();
                assert_eq!(reloaded, Reply::Text(b"OK".to_vec()), "{story}");
            }
            let next = next_ms(&mut random, &clock, &asked, retry_ms);
            clock.set(next);
        }
    }
    println!(
        "{traces} traces: {admitted} admitted, {denied} denied, {expired} keys expired on the way"
    );
    assert!(admitted > 0 && denied > 0 && expired > 0);
}
