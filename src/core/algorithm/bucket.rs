//! Token bucket: starts full, loses what is charged, refills all the time and not in steps.
//!
//! # The maths
//!
//! | symbol | meaning |
//! |---|---|
//! | `C` | capacity, in tokens |
//! | `R / I` | refill: `R` tokens every `I` ms |
//! | `v` | what has been used and not yet regained, in units of `1/I` token: an integer, so nothing is ever rounded |
//! | `t` | when `v` was last written |
//!
//! * One token is `I` units and one millisecond regains `R` units. So `v(now) = max(0, v - (now - t) * r)` is exact,
//!   whatever the numbers: no float, no remainder that is lost, no drift. `now < t` (the clock stepped back) counts
//!   as no time passed.
//! * `used(now) = ceil(v(now) / I)`. A cost is whole tokens, so `cost <= C - v/I` and `cost <= C - used` say the same.
//! * A charge of `n` sets `v = max(0, v(now) + n * I)`, `t = now` and remembers `R`.
//! * `wait(target)`: 0 if `v(now) <= target * I`, else `ceil((v(now) - target * I) / r)`.
//! * `r = max(R of the last charge, R of this call)`. A denied hit writes nothing, so the time since the last charge
//!   must be priced at one rate; this one lets a raised rate act at once, never takes back what a lowered rate had
//!   already given, and never runs slower than the key's TTL, which was set at the remembered rate.
//! * Bounds: `v < 2^53 * 2^39 = 2^92` and `(now - t) * r < 2^53 * 2^53 = 2^106`, both within `u128`.
//!
//! ```
//! use ratelimit::core::{algorithm::bucket::Bucket, limit::Limit, limiter::Meter};
//! let limit = Limit::bucket(10, 1, 1_000).unwrap(); // 10 tokens, 1 a second
//! let mut bucket = Bucket::unused(&limit, 0);
//! bucket.charge(&limit, 10, 5_000);
//! assert_eq!(bucket.used(&limit, 5_999), 10); // 9.001 tokens are still out
//! assert_eq!(bucket.used(&limit, 6_000), 9);
//! assert_eq!(bucket.wait(&limit, 7, 6_500), 1_500); // until 3 tokens are there
//! assert_eq!(bucket.wait(&limit, 0, 6_500), 8_500); // until it is full
//! ```

use crate::core::limit::{Algorithm, Limit, MAX_COUNT, MAX_TIME_MS};
use crate::core::limiter::{Limiter, Meter, Meters};

/// Tokens taken from one bucket and not yet regained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    pub(in crate::core) capacity: u64,
    pub(in crate::core) refill: u64,
    pub(in crate::core) interval_ms: u64,
    /// `v / I`, whole tokens.
    pub(in crate::core) tokens: u64,
    /// `v mod I`.
    pub(in crate::core) fraction: u64,
    pub(in crate::core) at_ms: u64,
}

impl Bucket {
    fn rate(&self, limit: &Limit) -> u64 {
        self.refill.max(limit.refill())
    }

    fn units(&self, tokens: u64) -> u128 {
        u128::from(tokens) * u128::from(self.interval_ms)
    }

    /// `v(now)`.
    fn level(&self, limit: &Limit, now_ms: u64) -> u128 {
        let regained = u128::from(now_ms.saturating_sub(self.at_ms)) * u128::from(self.rate(limit));
        (self.units(self.tokens) + u128::from(self.fraction)).saturating_sub(regained)
    }

    /// Whole tokens and the units over them.
    fn split(&self, level: u128) -> (u64, u64) {
        divide(level, self.interval_ms)
    }
}

/// Quotient and remainder. A level is a `u128` by its bounds, and a `u64` nearly always: dividing that is one
/// instruction, where a `u128` takes some sixty. The quotient saturates, which no level within the bounds above reaches.
#[inline]
fn divide(level: u128, by: u64) -> (u64, u64) {
    let by = by.max(1); // `max(1)` only tells the compiler what the bounds say
    match u64::try_from(level) {
        Ok(level) => (level / by, level % by),
        Err(_) => {
            let by = u128::from(by);
            (narrow(level / by), narrow(level % by))
        }
    }
}

/// [`divide`], rounded up.
#[inline]
fn divide_up(level: u128, by: u64) -> u64 {
    let (quotient, remainder) = divide(level, by);
    quotient.saturating_add(u64::from(remainder > 0))
}

/// The one place where a `u128` becomes a `u64`: it saturates.
fn narrow(value: u128) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

impl Meter for Bucket {
    const ALGORITHM: Algorithm = Algorithm::Bucket;

    fn unused(limit: &Limit, _entries: u16) -> Self {
        Self {
            capacity: limit.limit(),
            refill: limit.refill(),
            interval_ms: limit.window_ms(),
            tokens: 0,
            fraction: 0,
            at_ms: 0,
        }
    }

    fn window_ms(&self) -> u64 {
        self.interval_ms
    }

    fn limit(&self) -> Option<Limit> {
        Limit::bucket(self.capacity, self.refill, self.interval_ms)
    }

    fn used(&self, limit: &Limit, now_ms: u64) -> u64 {
        let (tokens, fraction) = self.split(self.level(limit, now_ms));
        tokens + u64::from(fraction > 0)
    }

    fn wait(&self, limit: &Limit, target: u64, now_ms: u64) -> u64 {
        let excess = self.level(limit, now_ms).saturating_sub(self.units(target));
        divide_up(excess, self.rate(limit)).min(MAX_TIME_MS)
    }

    fn charge(&mut self, limit: &Limit, cost: i64, now_ms: u64) {
        let level = self.level(limit, now_ms);
        let charged = if cost < 0 {
            level.saturating_sub(self.units(cost.unsigned_abs()))
        } else {
            level + self.units(cost.unsigned_abs())
        };
        (self.tokens, self.fraction) = self.split(charged.min(self.units(MAX_COUNT)));
        self.capacity = limit.limit();
        self.refill = limit.refill();
        self.at_ms = now_ms;
    }

    fn unused_at_ms(&self) -> u64 {
        let level = self.units(self.tokens) + u128::from(self.fraction);
        self.at_ms + divide_up(level, self.refill).min(MAX_TIME_MS)
    }

    fn charged_ms(&self) -> u64 {
        self.at_ms
    }

    fn rewind(&mut self, now_ms: u64) {
        self.at_ms = now_ms;
    }

    fn wrap(meters: Box<Meters<Self>>) -> Limiter {
        Limiter::Bucket(meters)
    }

    fn of(limiter: &Limiter) -> Option<&Meters<Self>> {
        match limiter {
            Limiter::Bucket(meters) => Some(meters),
            _ => None,
        }
    }

    fn of_mut(limiter: &mut Limiter) -> Option<&mut Meters<Self>> {
        match limiter {
            Limiter::Bucket(meters) => Some(meters),
            _ => None,
        }
    }
}
