//! redis-cell's `CL.THROTTLE`, on our bucket: what its words mean here, and how its reply is worked out.
//!
//! ```text
//! CL.THROTTLE key max_burst count period [quantity]
//! RL.BUCKET   key <max_burst + 1> <count> <period>s [COST quantity]      the same state, the same decision
//! ```
//!
//! | word | here |
//! |---|---|
//! | `max_burst` | capacity less 1: so many come at once on top of the one that is always let through; -1 denies everything |
//! | `count`, `period` | `count` tokens refill every `period` seconds, continuously |
//! | `quantity` | the cost, 1 unless said; 0 only looks; a negative one gives back, to full at the most |
//!
//! | reply | redis-cell's GCRA | here |
//! |---|---|---|
//! | limited | 0 allowed, 1 limited | the same |
//! | limit | `max_burst + 1` | the same |
//! | remaining | `(limit * T - (TAT - now)) / T`, rounded down | whole tokens left: the same number |
//! | retry_after | seconds, -1 where allowed, and where the quantity is larger than the limit | the same, rounded up |
//! | reset_after | `TAT - now` in seconds | when the bucket is full again: the same instant, rounded up |
//!
//! GCRA and a token bucket that refills continuously are one algorithm: with `T = period / count` the time of one token, the
//! theoretical arrival time `TAT` is when the bucket will be full again. What differs is arithmetic, and never in the
//! caller's favour: redis-cell cuts `T` to whole nanoseconds, so that it refills a little too fast, and drops what is less
//! than a millisecond before it rounds a wait up to seconds, so that it may say a second too little. Here nothing is cut.
//!
//! **Keys that redis-cell left** are strings: `TAT` in nanoseconds, and they expire at that time. One is taken over with what is
//! used of it, as `TAT - now` is the time in which that refills. No other string is touched: none has its own end in it.
//!
//! Where a live key is asked with another period, redis-cell goes on from its `TAT`; here that is another limit, unused so
//! far, as [`super::span`] says.

use super::algorithm::bucket::Bucket;
use super::decision::{Retry, Verdict};
use super::duration::MAX_MS;
use super::error::Error;
use super::limit::{Limit, MAX_COUNT};
use super::limiter::{Limiter, MeterForm, Meters};
use smallvec::smallvec;

/// A call's words, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throttle {
    /// The bucket.
    pub limit: Limit,
    /// What is taken of it, within ±[`MAX_COUNT`].
    pub quantity: i64,
}

/// The words behind the key, as errors name them.
const WORDS: &str = "CL.THROTTLE key max_burst count period [quantity]";
#[allow(clippy::cast_possible_wrap, reason = "2^53 - 1")]
const MOST: i64 = MAX_COUNT as i64;
#[allow(clippy::cast_possible_wrap, reason = "ten years")]
const LONGEST_S: i64 = (MAX_MS / 1_000) as i64;

/// Reads everything behind the key. `at` is the place of the first of `args` on the command line, for error texts.
///
/// # Errors
/// What is wrong with the first word that is.
pub fn parse(args: &[&[u8]], at: usize) -> Result<Throttle, Error> {
    let word = |place: usize, what, least, most| {
        let at = at + place;
        let expected = WORDS;
        let word = args.get(place).ok_or(Error::Incomplete { at, expected })?;
        let number = integer(word).filter(|number| (least..=most).contains(number));
        number.ok_or(Error::Range {
            at,
            what,
            least,
            most,
        })
    };
    let max_burst = word(0, "max_burst", -1, MOST - 1)?;
    let count = word(1, "count", 1, MOST)?;
    let period_s = word(2, "period", 1, LONGEST_S)?;
    let quantity = match args.len() {
        ..=3 => 1,
        4 => word(3, "quantity", -MOST, MOST)?,
        _ => {
            return Err(Error::Unexpected {
                at: at + 4,
                expected: WORDS,
            })
        }
    };
    let limit = Limit::bucket(
        (max_burst + 1).unsigned_abs(),
        count.unsigned_abs(),
        period_s.unsigned_abs() * 1_000,
    );
    // Every number has been checked above, so this is only how the type says it.
    let limit = limit.ok_or(Error::Incomplete {
        at,
        expected: WORDS,
    })?;
    Ok(Throttle { limit, quantity })
}

/// When what redis-cell left in a key is used up, in Unix milliseconds: `None` where a string is not redis-cell's.
pub fn left_behind(text: &[u8], expires_ms: Option<u64>) -> Option<u64> {
    /// The server rounds, and reads its clock a little before or after redis-cell does.
    const APART_MS: u64 = 10_000;
    let tat_ns: u64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    let tat_ms = tat_ns.div_ceil(1_000_000);
    (tat_ms.abs_diff(expires_ms?) <= APART_MS).then_some(tat_ms)
}

impl Throttle {
    /// A bucket that is full again at `tat_ms`; `None` where it is full already.
    pub fn filling_until(&self, tat_ms: u64, now_ms: u64) -> Option<Limiter> {
        let left_ms = tat_ms.checked_sub(now_ms).filter(|left_ms| *left_ms > 0)?;
        let bucket = Bucket::filling(&self.limit, left_ms, now_ms);
        Some(Bucket::wrap(Meters(smallvec![bucket])))
    }
}

/// As redis-cell reads it: with a plus sign or leading zeros too.
fn integer(word: &[u8]) -> Option<i64> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// The five integers.
pub fn reply(verdict: &Verdict) -> [i64; 5] {
    let retry_after_s = match verdict.retry {
        Retry::After(ms) if !verdict.allowed => seconds(ms),
        _ => -1,
    };
    [
        i64::from(!verdict.allowed),
        whole(verdict.limit),
        whole(verdict.remaining()),
        retry_after_s,
        seconds(verdict.reset_after_ms),
    ]
}

/// Whole seconds, never too early.
fn seconds(ms: u64) -> i64 {
    whole(ms.div_ceil(1_000))
}

/// A number within this project's bounds, which are far below 2^63.
fn whole(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
