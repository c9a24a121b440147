//! A token bucket in which places are reserved ahead: what one caller gives back brings no other's place forward, nor
//! gives it to two.
//!
//! # The maths
//!
//! Giving back what was charged is right as long as a unit of debt is a unit of debt ([`super::bucket`]). Of places it is not:
//! with places at 0, 10 and 20 s and one token per 10 s, who gives up the one at 10 s leaves a gap at 10 s, and the level says
//! that the next caller may act at 20 s, as another was told. So beside its level the bucket keeps what it has promised:
//!
//! | symbol | meaning |
//! |---|---|
//! | `v`, `t`, `C`, `R / I` | as of any bucket |
//! | `p` | the promised level: the least `v` at which all that were promised an instant still find room at theirs |
//! | `a` | how long from `t` until the last of them acts; from then on `p` is 0, as all have acted |
//!
//! * A place of cost `n` whose turn is `e / r` away (`e = v - (C - n I)`; where another limit of the call makes the caller wait
//!   longer, `e = wait * r`) acts when `p` has drained by `e`: `p = max(p, e) + n I`, `v = max(v + n I, p)`, `a = max(a, wait)`.
//! * Whoever is let through at once while places are ahead is one more act: `p` rises by the cost, too. A debt that FORCE makes
//!   is none: it is in `v` alone.
//! * A refund takes `v` down to `p` at the least. Before all have acted, `AT` the stamp of the place that was reserved last it
//!   takes up to that place's cost off `p` first; then no place is the last until the next is reserved. So it frees the part
//!   behind which nobody stands, and an earlier place that is given up stays empty.
//! * Stamps say which place is meant, so those of one key's places differ: the next free millisecond. They may run ahead of the
//!   clock.
//! * While places are ahead they drain at the rate that they were promised at. A call's higher rate counts behind the last of
//!   them; the first place that is reserved there makes it the bucket's, and what is used is then said at the new rate: as
//!   much of it as makes the same at the end of those places. A lower one is the bucket's at once, as ever: that makes later.
//! * `a` counts from `t`, so where the clock steps back, the places move with the level.
//! * `p <= v` always, and `p + n I` of what is admitted is `<= C I` where it acts, so the acts that were promised and not given
//!   back obey the bucket's law: `core/places.rs` tries that.
//!
//! A key has this form from its first place on that has to be waited for.

use super::bucket::{divide_up, Since, SinceMs, Stamped};
use super::meter::{Ask, Meter, Place};
use crate::core::calendar::Window;
use crate::core::limit::{Algorithm, Limit, MAX_COUNT, MAX_TIME_MS};
use crate::core::span::Span;

/// A bucket that keeps what it has promised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reserved {
    pub(in crate::core) bucket: Stamped,
    /// `p` at the time of the last charge: whole tokens, and units over them.
    pub(in crate::core) promised: (u64, u64),
    /// `a`.
    pub(in crate::core) ahead_ms: u64,
    /// The stamp of the place that was reserved last.
    pub(in crate::core) stamp_ms: u64,
    /// Its cost; 0 where it was given back, or no place is ahead.
    pub(in crate::core) last: u64,
}

/// What is used and promised at a moment, in units.
#[derive(Clone, Copy)]
struct Standing {
    level: u128,
    promised: u128,
    ahead_ms: u64,
}

impl Reserved {
    /// A bucket in which nobody has a place.
    pub(in crate::core) fn begin(bucket: Stamped) -> Self {
        Self {
            bucket,
            promised: (0, 0),
            ahead_ms: 0,
            stamp_ms: 0,
            last: 0,
        }
    }

    /// As several regions share it: see [`super::joint::bucket`].
    pub(in crate::core) fn as_of_regions(&self, now_ms: u64) -> Stamped {
        let at_ms = self.bucket.at_ms;
        let ends_ms = (at_ms + self.ahead_ms).min(MAX_TIME_MS);
        let mut bucket = self.bucket.clone();
        if self.reserved_ms(now_ms) > 0 && ends_ms > at_ms {
            bucket.since = SinceMs(ends_ms);
        }
        bucket
    }

    /// `p` at the time of the last charge.
    pub(in crate::core) fn promised(&self) -> u128 {
        self.bucket.units(self.promised.0) + u128::from(self.promised.1)
    }

    /// The rate behind the last place.
    fn rate(&self, limit: &Limit) -> u64 {
        self.bucket.refill.max(limit.refill())
    }

    fn standing(&self, ask: &Ask) -> Standing {
        let bucket = &self.bucket;
        let passed_ms = ask.now_ms.saturating_sub(bucket.at_ms);
        let ahead_ms = self.ahead_ms.saturating_sub(passed_ms);
        let theirs_ms = passed_ms.min(self.ahead_ms);
        let regained = u128::from(theirs_ms) * u128::from(bucket.refill)
            + u128::from(passed_ms - theirs_ms) * u128::from(self.rate(ask.limit));
        let promised = match ahead_ms {
            0 => 0,
            _ => self.promised().saturating_sub(regained),
        };
        Standing {
            level: bucket.level_then().saturating_sub(regained),
            promised,
            ahead_ms,
        }
    }

    /// Makes it what it is said to be now.
    fn put(&mut self, standing: Standing, ask: &Ask) {
        let bucket = &mut self.bucket;
        let level = standing.level.min(bucket.units(MAX_COUNT));
        bucket.set_level(level, ask.now_ms);
        bucket.capacity = ask.limit.limit();
        self.promised = bucket.split(standing.promised.min(level));
        self.ahead_ms = standing.ahead_ms;
        if standing.ahead_ms == 0 {
            (self.promised, self.last) = ((0, 0), 0);
        }
    }

    /// Units that must drain until no more than `target` tokens are used, and how long that takes.
    fn until(&self, standing: &Standing, ask: &Ask, target: u64) -> (u128, u64) {
        let bucket = &self.bucket;
        let excess = standing.level.saturating_sub(bucket.units(target));
        let theirs = u128::from(standing.ahead_ms) * u128::from(bucket.refill);
        let wait_ms = match excess.checked_sub(theirs) {
            None => divide_up(excess, bucket.refill),
            Some(behind) => standing
                .ahead_ms
                .saturating_add(divide_up(behind, self.rate(ask.limit))),
        };
        (excess, wait_ms.min(MAX_TIME_MS))
    }
}

impl Meter for Reserved {
    const ALGORITHM: Algorithm = Algorithm::Bucket;

    fn unused(limit: &Limit, log_size: u16) -> Self {
        Self::begin(Stamped::unused(limit, log_size))
    }

    fn span(&self) -> Span {
        self.bucket.interval
    }

    fn limit(&self) -> Option<Limit> {
        self.bucket.limit()
    }

    fn used(&self, ask: &Ask) -> u64 {
        divide_up(self.standing(ask).level, self.span().ms())
    }

    fn wait(&self, ask: &Ask, target: u64) -> u64 {
        self.until(&self.standing(ask), ask, target).1
    }

    fn reset_after(this: Option<&Self>, ask: &Ask, cost: u64) -> u64 {
        let mut after = this.map_or_else(|| Self::unused(ask.limit, 0), Self::clone);
        after.charge(ask, cost.cast_signed(), ask.now_ms);
        after.reset(ask)
    }

    fn refundable(&self, ask: &Ask, at_ms: u64) -> u64 {
        if !self.bucket.since.is_owed(at_ms, ask.now_ms) {
            return 0;
        }
        let standing = self.standing(ask);
        let last = if at_ms == self.stamp_ms { self.last } else { 0 };
        let kept = standing.promised.saturating_sub(self.bucket.units(last));
        divide_up(standing.level - kept, self.span().ms())
    }

    fn charge(&mut self, ask: &Ask, cost: i64, at_ms: u64) {
        let mut standing = self.standing(ask);
        self.bucket.since.note(standing.level == 0, ask.now_ms);
        let bucket = &self.bucket;
        let amount = bucket.units(cost.unsigned_abs());
        let is_ahead = standing.ahead_ms > 0;
        if cost >= 0 {
            let after = standing.level + amount;
            if is_ahead && after <= bucket.units(ask.limit.limit()) {
                standing.promised += amount;
            }
            standing.level = after;
            if ask.now_ms == self.stamp_ms {
                self.last = 0; // whoever has this stamp, too, is not to give that place back
            }
        } else if at_ms >= self.bucket.since.0 {
            if is_ahead && at_ms == self.stamp_ms {
                let last = bucket.units(self.last).min(amount);
                standing.promised = standing.promised.saturating_sub(last);
                self.last = 0;
            }
            let left = standing.level.saturating_sub(amount);
            standing.level = left.max(standing.promised);
        }
        self.put(standing, ask);
        let refill = &mut self.bucket.refill;
        *refill = if is_ahead {
            ask.limit.refill().min(*refill)
        } else {
            ask.limit.refill()
        };
    }

    fn reserve(&mut self, ask: &Ask, place: &Place) {
        let mut standing = self.standing(ask);
        self.bucket.since.note(standing.level == 0, ask.now_ms);
        let wait_ms = place.acts_ms.saturating_sub(ask.now_ms);
        let target = ask.limit.limit().saturating_sub(place.cost);
        let own_ms = self.until(&standing, ask, target).1;
        let (refill, ahead_ms) = (self.bucket.refill, standing.ahead_ms);
        let rate = self.rate(ask.limit);
        let is_behind = wait_ms >= ahead_ms;
        if is_behind && rate > refill {
            // Said at the new rate, by which it must be the same at the end of the places before.
            let theirs = |rate: u64| u128::from(ahead_ms) * u128::from(rate);
            let say = |level: u128| level.saturating_sub(theirs(refill)) + theirs(rate);
            standing.level = say(standing.level);
            standing.promised = say(standing.promised);
        }
        self.bucket.refill = match ask.limit.refill() {
            lower if lower < refill || is_behind => lower,
            _ => refill,
        };
        let bucket = &self.bucket;
        let turn = if own_ms >= wait_ms {
            standing.level.saturating_sub(bucket.units(target))
        } else {
            u128::from(wait_ms) * u128::from(bucket.refill)
        };
        let amount = bucket.units(place.cost);
        if wait_ms > 0 || ahead_ms > 0 {
            standing.promised = standing.promised.max(turn) + amount;
        }
        standing.level = (standing.level + amount).max(standing.promised);
        standing.ahead_ms = ahead_ms.max(wait_ms);
        self.stamp_ms = place.stamp_ms;
        self.last = match place.stamp_ms {
            MAX_TIME_MS.. => 0, // there is no later one: others may have it
            _ => place.cost,
        };
        self.put(standing, ask);
    }

    fn is_unused(&self, now_ms: u64) -> bool {
        self.bucket.is_unused(now_ms)
    }

    fn charged_ms(&self) -> u64 {
        self.bucket.charged_ms()
    }

    fn stamped_ms(&self) -> u64 {
        self.bucket.charged_ms().max(self.stamp_ms)
    }

    fn reserved_ms(&self, now_ms: u64) -> u64 {
        let passed_ms = now_ms.saturating_sub(self.bucket.at_ms);
        self.ahead_ms.saturating_sub(passed_ms)
    }

    fn unused_at_ms(&self) -> u64 {
        self.bucket.unused_at_ms()
    }

    fn rewind(&mut self, now_ms: u64, window: Option<Window>) {
        self.bucket.rewind(now_ms, window);
    }
}
