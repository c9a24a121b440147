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
//! * **At an earlier time.** A unit of debt is a unit of debt, whoever made it, so giving back what was charged at `t` is
//!   right exactly as long as it has not been forgiven: while the bucket has not been full since `t`. It notes since when it
//!   has not been full ([`Stamped`]), from its first stamped charge on; a refund of an earlier charge gives back nothing, one
//!   of a later charge up to what is used. Bound: let `m` be charged at `t` and settled to the true cost `n`. Where the bucket
//!   would have been full in between, had `n` been charged at `t`, the refill that it would have missed is kept, `m - n`
//!   units at the most: so at any time at most `m - n` units more are there than in that bucket, and never more than `C`. (Of
//!   several, the sum of those since that bucket was full last.)
//!   A charge is always one of now, as what was not used at `t` has been there for others since.
//! * **Reserved.** A charge that does not fit yet is a debt: `v` rises above `C * I`, and `wait(C - n)` before the charge is
//!   when the caller's turn comes. Turns come one after another, as each sees the debts before it. By the milliseconds in
//!   which they act, the first and the last included, no interval has more than `C` and what refills in it: a turn is rounded
//!   up to a whole millisecond, and what refills in the rest of it is not lost. What that asks of a bucket whose places are
//!   given back, or of several limits of which one makes the caller wait longest: [`super::reserved`].
//! * Bounds: `v < 2^53 * 2^39 = 2^92` and `(now - t) * r < 2^53 * 2^53 = 2^106`, both within `u128`.
//!
//! ```
//! use ratelimit::core::algorithm::{bucket::Bucket, meter::{Ask, Meter}};
//! use ratelimit::core::{calendar::Window, limit::Limit};
//! let limit = &Limit::bucket(10, 1, 1_000).unwrap(); // 10 tokens, 1 a second
//! let at = |now_ms| Ask { limit, now_ms, window: Window::default(), id: b"" };
//! let mut bucket: Bucket = Bucket::unused(limit, 0);
//! bucket.charge(&at(5_000), 10, 5_000);
//! assert_eq!(bucket.used(&at(5_999)), 10); // 9.001 tokens are still out
//! assert_eq!(bucket.used(&at(6_000)), 9);
//! assert_eq!(bucket.wait(&at(6_500), 7), 1_500); // until 3 tokens are there
//! assert_eq!(bucket.wait(&at(6_500), 0), 8_500); // until it is full
//! ```

use super::meter::{Ask, Meter};
use crate::core::calendar::Window;
use crate::core::limit::{Algorithm, Limit, MAX_COUNT, MAX_TIME_MS};
use crate::core::span::Span;
use std::fmt::Debug;

/// Tokens taken from one bucket and not yet regained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket<S: Since = ()> {
    pub(in crate::core) capacity: u64,
    pub(in crate::core) refill: u64,
    pub(in crate::core) interval: Span,
    /// `v / I`, whole tokens.
    pub(in crate::core) tokens: u64,
    /// `v mod I`.
    pub(in crate::core) fraction: u64,
    pub(in crate::core) at_ms: u64,
    /// Since when it has not been full.
    pub(in crate::core) since: S,
}

/// A bucket that notes since when it has not been full.
pub type Stamped = Bucket<SinceMs>;

/// Since when a bucket has not been full, as far as anybody has noted.
pub trait Since: Copy + Debug + Eq + 'static {
    /// Of a bucket of which nothing is used.
    const UNUSED: Self;

    /// Whether what was charged at `at_ms` has not been forgiven since.
    fn is_owed(self, at_ms: u64, now_ms: u64) -> bool;

    /// Notes a charge, of a bucket that was full until then or was not.
    fn note(&mut self, was_full: bool, now_ms: u64);
}

/// Nobody has noted anything.
impl Since for () {
    const UNUSED: Self = ();

    #[inline(always)]
    fn is_owed(self, at_ms: u64, now_ms: u64) -> bool {
        at_ms >= now_ms
    }

    #[inline(always)]
    fn note(&mut self, _was_full: bool, _now_ms: u64) {}
}

/// Since then, in Unix milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SinceMs(pub u64);

impl Since for SinceMs {
    const UNUSED: Self = Self(0);

    fn is_owed(self, at_ms: u64, now_ms: u64) -> bool {
        at_ms >= self.0.min(now_ms) // the clock may have stepped back
    }

    fn note(&mut self, was_full: bool, now_ms: u64) {
        self.0 = if was_full { now_ms } else { self.0.min(now_ms) };
    }
}

impl Bucket {
    /// The same, of which nobody has noted anything until now.
    pub(in crate::core) fn stamped(&self, now_ms: u64) -> Stamped {
        Bucket {
            capacity: self.capacity,
            refill: self.refill,
            interval: self.interval,
            tokens: self.tokens,
            fraction: self.fraction,
            at_ms: self.at_ms,
            since: SinceMs(now_ms),
        }
    }

    /// One that takes `left_ms` to be full.
    pub(in crate::core) fn filling(limit: &Limit, left_ms: u64, now_ms: u64) -> Self {
        let mut bucket = Self {
            at_ms: now_ms,
            ..Self::unused(limit, 0)
        };
        let level = u128::from(left_ms) * u128::from(limit.refill());
        (bucket.tokens, bucket.fraction) = bucket.split(level.min(bucket.units(MAX_COUNT)));
        bucket
    }
}

impl<S: Since> Bucket<S> {
    fn rate(&self, limit: &Limit) -> u64 {
        self.refill.max(limit.refill())
    }

    pub(super) fn units(&self, tokens: u64) -> u128 {
        u128::from(tokens) * u128::from(self.interval.ms())
    }

    /// `v(now)`.
    fn level(&self, limit: &Limit, now_ms: u64) -> u128 {
        let regained = u128::from(now_ms.saturating_sub(self.at_ms)) * u128::from(self.rate(limit));
        self.level_then().saturating_sub(regained)
    }

    /// `v(t)`.
    #[inline(always)]
    pub(in crate::core) fn level_then(&self) -> u128 {
        self.units(self.tokens) + u128::from(self.fraction)
    }

    /// `v(now)` at a rate that the caller says, in units.
    pub(super) fn drained(&self, now_ms: u64, rate: u64) -> u128 {
        let regained = u128::from(now_ms.saturating_sub(self.at_ms)) * u128::from(rate);
        self.level_then().saturating_sub(regained)
    }

    /// Makes `v` what it is said to be now, in units.
    pub(super) fn set_level(&mut self, level: u128, now_ms: u64) {
        (self.tokens, self.fraction) = self.split(level);
        self.at_ms = now_ms;
    }

    /// Whole tokens and the units over them.
    pub(super) fn split(&self, level: u128) -> (u64, u64) {
        divide(level, self.interval.ms())
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
pub(super) fn divide_up(level: u128, by: u64) -> u64 {
    let (quotient, remainder) = divide(level, by);
    quotient.saturating_add(u64::from(remainder > 0))
}

/// The one place where a `u128` becomes a `u64`: it saturates.
fn narrow(value: u128) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

impl<S: Since> Meter for Bucket<S> {
    const ALGORITHM: Algorithm = Algorithm::Bucket;

    fn unused(limit: &Limit, _log_size: u16) -> Self {
        Self {
            capacity: limit.limit(),
            refill: limit.refill(),
            interval: limit.span(),
            tokens: 0,
            fraction: 0,
            at_ms: 0,
            since: S::UNUSED,
        }
    }

    fn span(&self) -> Span {
        self.interval
    }

    fn limit(&self) -> Option<Limit> {
        Limit::bucket(self.capacity, self.refill, self.interval.ms())
    }

    #[inline(always)]
    fn used(&self, ask: &Ask) -> u64 {
        let (tokens, fraction) = self.split(self.level(ask.limit, ask.now_ms));
        tokens + u64::from(fraction > 0)
    }

    #[inline(always)]
    fn wait(&self, ask: &Ask, target: u64) -> u64 {
        let excess = self
            .level(ask.limit, ask.now_ms)
            .saturating_sub(self.units(target));
        divide_up(excess, self.rate(ask.limit)).min(MAX_TIME_MS)
    }

    #[inline(always)]
    fn reset_after(this: Option<&Self>, ask: &Ask, cost: u64) -> u64 {
        let before = this.map_or(0, |bucket| bucket.level(ask.limit, ask.now_ms));
        let added = u128::from(cost) * u128::from(ask.limit.span().ms());
        divide_up(before + added, ask.limit.refill()).min(MAX_TIME_MS)
    }

    fn refundable(&self, ask: &Ask, at_ms: u64) -> u64 {
        if self.since.is_owed(at_ms, ask.now_ms) {
            self.used(ask)
        } else {
            0
        }
    }

    #[inline(always)]
    fn charge(&mut self, ask: &Ask, cost: i64, at_ms: u64) {
        let level = self.level(ask.limit, ask.now_ms);
        let amount = self.units(cost.unsigned_abs());
        let charged = if cost >= 0 {
            level + amount
        } else if self.since.is_owed(at_ms, ask.now_ms) {
            level.saturating_sub(amount)
        } else {
            level
        };
        (self.tokens, self.fraction) = self.split(charged.min(self.units(MAX_COUNT)));
        self.capacity = ask.limit.limit();
        self.refill = ask.limit.refill();
        self.at_ms = ask.now_ms;
        self.since.note(level == 0, ask.now_ms);
    }

    fn is_unused(&self, now_ms: u64) -> bool {
        // One that was given back in full is so too where the clock has stepped back.
        (self.tokens == 0 && self.fraction == 0) || self.unused_at_ms() <= now_ms
    }

    fn charged_ms(&self) -> u64 {
        self.at_ms
    }

    fn unused_at_ms(&self) -> u64 {
        self.at_ms + divide_up(self.level_then(), self.refill).min(MAX_TIME_MS)
    }

    fn rewind(&mut self, now_ms: u64, _window: Option<Window>) {
        self.at_ms = now_ms;
        self.since.note(false, now_ms);
    }
}
