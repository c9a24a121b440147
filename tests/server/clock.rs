//! A real server whose wall clock is ours: it answers to the millisecond what the core decides, however the clock jumps.
//!
//! The core is compared with slow models elsewhere; this compares the server with the core: one reading of the clock per
//! command, the reply's shape, the TTL, and that a key that Redis has expired was not missed. `CLOCK_TRACES=` runs more.

use crate::support::resp::Connection;
use crate::support::{Clock, Random, Reply};
use ratelimit::core::calendar;
use ratelimit::core::decision::{Retry, Verdict};
use ratelimit::core::duration::Human;
use ratelimit::core::limit::{Algorithm, Limit, Limits};
use ratelimit::core::limiter::Limiter;
use ratelimit::core::quote::{self, Change, Hit, HitOptions, Quote, Windows};
use ratelimit::core::span::Span;

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
/// Windows of the calendar.
const CALENDAR: [&str; 6] = [
    "1w",
    "1mo",
    "1mo@31,Asia/Kathmandu",
    "1d@Europe/Berlin",
    "3mo@-05:00",
    "1y@Pacific/Apia",
];

fn some(random: &mut Random, most: u64) -> u64 {
    random.next() % (most + 1)
}

fn limits(random: &mut Random, algorithm: Algorithm) -> Limits {
    let mut limits = Limits::new();
    let first = random.below(WINDOWS_MS.len());
    let count = match algorithm {
        Algorithm::Lease => 1,
        _ if random.one_in(2) => 1,
        _ => 1 + random.below(3),
    };
    for place in 0..count {
        let window_ms = WINDOWS_MS[(first + place) % WINDOWS_MS.len()];
        let limit = some(random, 20);
        let limit = match algorithm {
            Algorithm::Bucket => Limit::bucket(limit, 1 + some(random, 19), window_ms),
            Algorithm::Fixed if place == 0 && random.one_in(2) => {
                let text = random.pick(&CALENDAR);
                Limit::spanning(limit, Span::parse(text.as_bytes()).unwrap())
            }
            _ => Limit::window(limit, window_ms),
        };
        limits.push(limit.unwrap());
    }
    limits
}

/// The calendar's windows now, as the server finds them.
fn windows(limits: &Limits, now_ms: u64) -> Windows {
    if limits.iter().all(|limit| limit.span().plain_ms().is_some()) {
        return Windows::new();
    }
    let window = |limit: &Limit| {
        let calendar = limit.span().as_calendar()?;
        let zone = match calendar.zone.to_string() {
            name if name == "-05:00" => jiff::tz::TimeZone::fixed(jiff::tz::offset(-5)),
            name => jiff::tz::TimeZone::get(&name).unwrap(),
        };
        calendar::window(&calendar, &zone, now_ms)
    };
    limits
        .iter()
        .map(|limit| window(limit).unwrap_or_default())
        .collect()
}

/// A number of milliseconds that is about as long as a window.
fn span_ms(limit: &Limit) -> u64 {
    match limit.window_ms() {
        0 => 30 * DAY_MS,
        ms => ms,
    }
}

/// Where the clock goes next: nowhere, on a little, to the moment that was promised, around the end of a window, or
/// anywhere within half a year, back too.
fn next_ms(random: &mut Random, now_ms: u64, limits: &Limits, retry_ms: u64) -> u64 {
    let window_ms = span_ms(&limits[random.below(limits.len())]);
    match random.below(12) {
        0..=2 => now_ms,
        3 | 4 => now_ms + some(random, 3),
        5 | 6 => now_ms + retry_ms,
        7 => now_ms + retry_ms.saturating_sub(1),
        8 => now_ms + window_ms - 1 + some(random, 2),
        9 => now_ms + some(random, 2 * window_ms),
        10 => now_ms - some(random, window_ms.min(180 * DAY_MS)),
        _ => now_ms - 180 * DAY_MS + some(random, 360 * DAY_MS),
    }
}

/// What few hits say, with room for it.
#[derive(Default)]
struct Asked {
    is_peek: bool,
    stamp: bool,
    at_ms: Option<u64>,
    min: Option<u64>,
    reserve_ms: Option<u64>,
    block_ms: Vec<u64>,
    id: String,
}

impl Asked {
    fn random(random: &mut Random, hit: &Hit, stamps: &[u64], now_ms: u64) -> Self {
        let mut asked = Asked::default();
        let window_ms = span_ms(&hit.limits[0]);
        asked.is_peek = !hit.force && random.one_in(6);
        if hit.algorithm == Algorithm::Lease {
            asked.id = format!("id{}", random.below(6));
            return asked;
        }
        if !hit.force && hit.cost > 0 && random.one_in(8) {
            asked.min = Some(1 + some(random, hit.cost.unsigned_abs() - 1));
        }
        if random.one_in(6) {
            asked.block_ms = (0..=random.below(3))
                .map(|_| 1 + some(random, 3 * window_ms))
                .collect();
            asked
                .block_ms
                .iter_mut()
                .for_each(|ms| *ms = (*ms).min(90 * DAY_MS));
        }
        if asked.is_peek {
            return asked;
        }
        asked.stamp = random.one_in(4);
        if random.one_in(4) {
            asked.id = format!("id{}", random.below(6)); // some are repeats
        }
        if random.one_in(5) {
            asked.at_ms = Some(match random.below(8) {
                0 => 0,
                1 => now_ms + some(random, window_ms),
                2 | 3 => now_ms - some(random, window_ms + window_ms / 4).min(now_ms),
                _ => stamps.last().copied().unwrap_or(now_ms),
            });
        }
        let is_alone = asked.min.is_none() && asked.block_ms.is_empty() && asked.at_ms.is_none();
        if hit.algorithm == Algorithm::Bucket && !hit.force && is_alone && random.one_in(2) {
            asked.reserve_ms = Some(1 + some(random, 2 * window_ms));
        }
        asked
    }

    /// The command line.
    fn line(&self, key: &str, hit: &Hit) -> String {
        let algorithm = hit.algorithm.name();
        let mut line = match self.is_peek {
            true => format!("RL.PEEK {algorithm} {key}"),
            false => format!("RL.{algorithm} {key}"),
        };
        for limit in hit.limits {
            line += &format!(" {}", limit.limit());
            if hit.algorithm == Algorithm::Bucket {
                line += &format!(" {}", limit.refill());
            }
            line += &format!(" {}", limit.window_text(hit.algorithm));
        }
        if hit.algorithm == Algorithm::Lease {
            line += &format!(" {}", self.id);
        }
        line += &format!(" COST {}", hit.cost);
        let duration = |ms: u64| Human::new(ms).to_string();
        line += if hit.force { " FORCE" } else { "" };
        line += if self.stamp { " STAMP" } else { "" };
        let has_id = hit.algorithm != Algorithm::Lease && !self.id.is_empty();
        line += &match has_id {
            true => format!(" ID {}", self.id),
            false => String::new(),
        };
        line += &self
            .at_ms
            .map_or(String::new(), |at_ms| format!(" AT {at_ms}"));
        line += &self.min.map_or(String::new(), |min| format!(" MIN {min}"));
        line += &self
            .reserve_ms
            .map_or(String::new(), |ms| format!(" RESERVE {}", duration(ms)));
        if !self.block_ms.is_empty() {
            line += " BLOCK";
            self.block_ms
                .iter()
                .for_each(|ms| line += &format!(" {}", duration(*ms)));
        }
        line
    }

    /// The reply that the contract draws.
    fn reply(&self, quote: &Quote, hit: &Hit, now_ms: u64) -> Reply {
        let decision = &quote.decision;
        let mut reply = five(&Verdict {
            retry: decision.longest_wait(),
            ..*decision.binding().unwrap()
        });
        if decision.verdicts().len() > 1 {
            let each = decision.verdicts().iter().map(five).map(Reply::Array);
            reply.push(Reply::Array(each.collect()));
        }
        if hit.algorithm != Algorithm::Lease && !self.id.is_empty() {
            reply.push(Reply::Int(i64::from(quote.repeats.is_some())));
        }
        if self.min.is_some() {
            reply.push(Reply::Int(quote.taken.max(0)));
        }
        if self.stamp {
            // What was charged, or settled: a cost of 0 or less that is let through.
            let is_settled = hit.cost <= 0 && quote.fits && self.at_ms.is_some();
            let place = match quote.change {
                Change::Reserve(place) => Some(place),
                Change::Once(once) => once.place,
                _ => None,
            };
            let stamp = match (quote.repeats, place) {
                (Some(stamp_ms), _) => stamp_ms,
                (None, Some(place)) => place.stamp_ms, // each place has one of its own
                (None, None) if quote.taken > 0 || is_settled => {
                    self.at_ms.unwrap_or(now_ms).min(now_ms)
                }
                (None, None) => 0,
            };
            reply.push(Reply::Int(i64::try_from(stamp).unwrap()));
        }
        Reply::Array(reply)
    }
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

#[test]
fn a_server_answers_what_the_core_decides_however_the_clock_jumps() {
    let traces = std::env::var("CLOCK_TRACES").map_or(150, |text| text.parse().expect("a number"));
    let mut random = Random::new(90);
    // 2023-11-14 22:13:20 UTC, far enough from either end.
    let clock = Clock::at(1_700_000_000_000);
    let Some(server) = clock.server(&[]) else {
        return;
    };
    let mut connection = Connection::open(server.port()).unwrap();
    let (mut admitted, mut denied, mut expired, mut refused) = (0, 0, 0, 0);
    for trace in 0..traces {
        clock.set(1_700_000_000_000 + random.next() % (1_000 * DAY_MS));
        let key = format!("trace:{trace}");
        let algorithm = *random.pick(&Algorithm::ALL);
        let mut asked_limits = limits(&mut random, algorithm);
        // What the key holds, and when Redis takes it away.
        let mut state: Option<Limiter> = None;
        let mut expires_ms = u64::MAX;
        let mut story = String::new();
        let mut stamps = Vec::new();
        for _ in 0..60 {
            if random.one_in(15) {
                asked_limits = limits(&mut random, algorithm);
            }
            let now_ms = clock.now_ms();
            if now_ms > expires_ms && state.take().is_some() {
                expired += 1;
            }
            let is_lease = algorithm == Algorithm::Lease;
            let mut hit = Hit::new(algorithm, &asked_limits, 1);
            hit.cost = match random.below(6) {
                0 => random.within(if is_lease { 0 } else { -5 }..=0),
                1 => random.within(2..=25),
                _ => 1,
            };
            hit.force = !is_lease && random.one_in(12);
            let asked = Asked::random(&mut random, &hit, &stamps, now_ms);
            let later_ms = asked.at_ms.filter(|at_ms| *at_ms > now_ms);
            let at_windows = later_ms.map(|at_ms| windows(&asked_limits, at_ms));
            let at_windows = at_windows.unwrap_or_default();
            let windows = windows(&asked_limits, now_ms);
            let options = HitOptions {
                windows: &windows,
                at_windows: &at_windows,
                at_ms: asked.at_ms,
                stamp: asked.stamp && algorithm == Algorithm::Bucket,
                min: asked.min,
                reserve_ms: asked.reserve_ms,
                block_ms: &asked.block_ms,
                id: asked.id.as_bytes(),
                ..HitOptions::NONE
            };
            hit.options = &options;
            let line = asked.line(&key, &hit);
            story += &format!("at {now_ms}: {line}\n");
            let decided = if asked.is_peek {
                quote::peek(state.as_mut(), &hit, now_ms)
            } else {
                quote::hit(&mut state, &hit, now_ms)
            };
            let answered = connection.call(&line).unwrap();
            let mut retry_ms = 0;
            match decided {
                Err(error) => {
                    assert_eq!(answered, Reply::Error(error.to_string()), "{story}");
                    refused += 1;
                }
                Ok(quote) => {
                    assert_eq!(answered, asked.reply(&quote, &hit, now_ms), "{story}");
                    admitted += usize::from(quote.fits);
                    denied += usize::from(!quote.fits);
                    if quote.taken > 0 {
                        stamps.push(now_ms);
                    }
                    if let Retry::After(ms) = quote.decision.longest_wait() {
                        retry_ms = ms;
                    }
                    // The TTL outlives what is used, and there is one wherever there is a key.
                    let at = connection
                        .call(&format!("PEXPIRETIME {key}"))
                        .unwrap()
                        .int();
                    assert_eq!(at == -2, state.is_none(), "{at} {state:?}\n{story}");
                    expires_ms = u64::try_from(at).unwrap_or(u64::MAX);
                    if let Some(state) = state.as_mut().filter(|_| !asked.is_peek) {
                        let readings = state.held().reading(now_ms);
                        let reset_ms = readings.iter().map(|reading| reading.reset_after_ms).max();
                        assert!(expires_ms >= now_ms + reset_ms.unwrap(), "{at}\n{story}");
                    }
                }
            }
            // Whatever the jumps made of the key, it can be saved and read again.
            if random.one_in(200) {
                let reloaded = connection.call("DEBUG RELOAD").unwrap();
                assert_eq!(reloaded, Reply::Text(b"OK".to_vec()), "{story}");
            }
            clock.set(next_ms(&mut random, now_ms, &asked_limits, retry_ms));
        }
    }
    println!(
        "{traces} traces: {admitted} admitted, {denied} denied, {refused} refused, \
         {expired} keys expired on the way"
    );
    assert!(admitted > 0 && denied > 0 && expired > 0);
}
