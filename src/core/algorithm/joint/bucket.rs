//! Token buckets of several regions: one level, and an upper bound for it from each.
//!
//! # The maths
//!
//! What refills while a bucket is full is lost, and how much is lost depends on *when* tokens were taken. So a sum of what
//! each region has taken does not say the level, and neither do buckets of their own, refilled at the whole rate or a part.
//! A log of what was taken when has no end under overload. What works is the level itself, with what it is a level of:
//!
//! | symbol | meaning |
//! |---|---|
//! | `v` at `t` | the level, as of one bucket: see [`super::super::bucket`] |
//! | `A = P - N` | per origin, what it has taken and given back in all: `P` and `N` only grow |
//! | `drain(v, d)` | `max(0, v - r d)` |
//!
//! On a copy `(A', v', t')`, at `now`:
//!
//! ```text
//! news = what it knows of A and this one does not            olds = what this one knows and it does not
//! v := min( drain(v, now - t) + news,  drain(v', now - t') + olds )      A := the greater of each      t := now
//! ```
//!
//! * *Safe.* Every `v` is at least the level of an exact bucket that got what is known at its true times: adding late is never
//!   less than adding in time, as `drain(x) + a >= drain(x + a)`. Both arguments are such bounds, and so is the lesser.
//! * *A lattice.* With `phi = v - sum A` the merge is the greater on `A` and the lesser on `phi`: a product of two chains.
//! * *Converges.* After the last charge and one exchange `A` is equal everywhere; then news and olds are 0 and `v` is the
//!   minimum; equal now is equal for ever.
//! * *Error.* `v` is at most the refill of a message's age above the exact level.
//! * *Refunds*: news and olds are of `P - N`, floored at 0. A refund is counted in whole tokens. Never below the exact
//!   bucket by more than was given back; associative but for the floors, which convergence does not need.
//! * *After a partition* the truth may be a debt of all that was admitted too much, and an exact bucket would lock everybody
//!   out for as long as the partition was. Windows forget; so does this: merging lifts `v` to `K = C + max(C, r * 10 s)` at the
//!   most, unless one of the two stood higher.
//! * *Reserved places*: who gives one up leaves it empty. While any is ahead, a refund gives nothing back, of whatever: the level
//!   is everybody's, and a promised level ([`super::super::reserved`]) would be this copy's alone.
//! * Where `v` is 0 when something is taken, all before is drained, and the others' parts go: what comes of them again is news,
//!   and the lesser of the two bounds is still the other's level.
//!
//! The own part says what to send; the level is everybody's, so a copy has all parts, always.

use super::super::bucket::{SinceMs, Stamped};
use super::super::meter::{spilled_bytes, Allocations, Ask, Meter, Place};
use super::counter::Counter;
use super::{Joint, Part, Parts, Received};
use crate::core::calendar::Window;
use crate::core::limit::{Algorithm, Limit, MAX_COUNT, MAX_TIME_MS};
use crate::core::region::origin::{Origin, Region};
use crate::core::span::Span;

/// What one origin has taken, in whole tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketPart {
    pub(in crate::core) origin: Origin,
    pub(in crate::core) counter: Counter,
}

/// Tokens taken by several regions and not yet regained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JointBucket {
    pub(in crate::core) bucket: Stamped,
    pub(in crate::core) parts: Parts<BucketPart>,
}

impl Part for BucketPart {
    fn begin(origin: Origin) -> Self {
        Self {
            origin,
            counter: Counter::default(),
        }
    }

    fn origin(&self) -> Origin {
        self.origin
    }

    fn set_origin(&mut self, origin: Origin) {
        self.origin = origin;
    }

    fn absorb(&mut self, copy: &Self) -> bool {
        let before = self.counter;
        self.counter.absorb(&copy.counter);
        before != self.counter
    }

    fn fold(&mut self, earlier: &Self) {
        self.counter.fold(&earlier.counter);
    }
}

/// What one list of parts has more than another: charged, and given back.
fn more(these: &Parts<BucketPart>, those: &Parts<BucketPart>) -> (u128, u128) {
    let (mut charged, mut given) = (0, 0);
    for part in &these.list {
        let other = those.list.iter().find(|other| other.origin == part.origin);
        let has = other.map_or(Counter::default(), |other| other.counter);
        charged += u128::from(part.counter.charged.saturating_sub(has.charged));
        given += u128::from(part.counter.given.saturating_sub(has.given));
    }
    (charged, given)
}

impl JointBucket {
    fn interval_ms(&self) -> u128 {
        u128::from(self.bucket.interval.ms())
    }

    /// The level at its own rate, in units of `1 / I` token.
    fn level(&self, now_ms: u64) -> u128 {
        self.bucket.drained(now_ms, self.bucket.refill)
    }

    fn taken(&self) -> u128 {
        let net = |part: &BucketPart| u128::from(part.counter.net());
        self.parts.list.iter().map(net).sum()
    }

    /// When the last act of those who wait for their turn here is due, where any are ahead. (A bucket cannot have been full
    /// until later than its last charge, so a `since` that is later says this.)
    fn ends_ms(&self, now_ms: u64) -> Option<u64> {
        let (since_ms, at_ms) = (self.bucket.since.0, self.bucket.at_ms);
        let moved_ms = at_ms.saturating_sub(now_ms); // the clock may have stepped back
        (since_ms > at_ms.max(now_ms)).then(|| since_ms - moved_ms)
    }

    fn set_level(&mut self, level: u128, now_ms: u64) {
        let most = u128::from(MAX_COUNT) * self.interval_ms();
        let since_ms = self.bucket.since.0.min(now_ms);
        self.bucket.since.0 = self.ends_ms(now_ms).unwrap_or(since_ms);
        self.bucket.set_level(level.min(most), now_ms);
    }
}

impl Meter for JointBucket {
    const ALGORITHM: Algorithm = Algorithm::Bucket;

    fn unused(limit: &Limit, log_size: u16) -> Self {
        Self {
            bucket: Stamped::unused(limit, log_size),
            parts: Parts::none(),
        }
    }

    fn span(&self) -> Span {
        self.bucket.interval
    }

    fn limit(&self) -> Option<Limit> {
        self.bucket.limit()
    }

    fn used(&self, ask: &Ask) -> u64 {
        self.bucket.used(ask)
    }

    fn wait(&self, ask: &Ask, target: u64) -> u64 {
        self.bucket.wait(ask, target)
    }

    fn reset_after(this: Option<&Self>, ask: &Ask, cost: u64) -> u64 {
        Stamped::reset_after(this.map(|joint| &joint.bucket), ask, cost)
    }

    fn refundable(&self, ask: &Ask, at_ms: u64) -> u64 {
        match self.ends_ms(ask.now_ms) {
            Some(_) => 0,
            None => self.bucket.refundable(ask, at_ms),
        }
    }

    fn charge(&mut self, ask: &Ask, cost: i64, at_ms: u64) {
        let drained = |joint: &Self| {
            let rate = joint.bucket.refill.max(ask.limit.refill());
            joint.bucket.drained(ask.now_ms, rate)
        };
        let before = drained(self);
        let ends_ms = self.ends_ms(ask.now_ms);
        let is_theirs = cost < 0 && ends_ms.is_some();
        let cost = if is_theirs { 0 } else { cost };
        self.bucket.charge(ask, cost, at_ms);
        if let Some(ends_ms) = ends_ms {
            self.bucket.since.0 = ends_ms;
        }
        if before == 0 {
            let own = self.parts.own;
            self.parts.retain(|part| Some(part.origin) == own);
        }
        let given = match cost {
            ..0 => before.saturating_sub(drained(self)) / self.interval_ms().max(1),
            _ => 0,
        };
        if let Some(own) = self.parts.own_mut(ask.now_ms) {
            if cost >= 0 {
                own.counter.charge(cost.unsigned_abs());
            } else {
                own.counter
                    .give_back(u64::try_from(given).unwrap_or(MAX_COUNT));
            }
        }
    }

    fn reserve(&mut self, ask: &Ask, place: &Place) {
        self.charge(ask, place.cost.cast_signed(), u64::MAX);
        if place.acts_ms > ask.now_ms {
            let since_ms = self.bucket.since.0.max(place.acts_ms);
            self.bucket.since.0 = since_ms.min(MAX_TIME_MS);
        }
    }

    fn is_unused(&self, now_ms: u64) -> bool {
        self.bucket.is_unused(now_ms)
    }

    fn charged_ms(&self) -> u64 {
        self.bucket.charged_ms()
    }

    fn unused_at_ms(&self) -> u64 {
        self.bucket.unused_at_ms()
    }

    fn reserved_ms(&self, now_ms: u64) -> u64 {
        self.ends_ms(now_ms).map_or(0, |ends_ms| ends_ms - now_ms)
    }

    fn rewind(&mut self, now_ms: u64, window: Option<Window>) {
        let ends_ms = self.ends_ms(now_ms);
        self.bucket.rewind(now_ms, window);
        if let Some(ends_ms) = ends_ms {
            self.bucket.since.0 = ends_ms;
        }
    }

    fn heap_bytes(&self) -> usize {
        spilled_bytes(&self.parts.list)
    }

    fn visit_allocations(&mut self, visitor: &mut impl Allocations) {
        visitor.visit(&mut self.parts.list);
    }
}

impl Joint for JointBucket {
    type Part = BucketPart;

    fn parts(&self) -> &Parts<BucketPart> {
        &self.parts
    }

    fn parts_mut(&mut self) -> &mut Parts<BucketPart> {
        &mut self.parts
    }

    fn merge(&mut self, copy: &Self, debt_ms: u64, now_ms: u64) -> Received {
        let mut received = Received::default();
        let rate = self.bucket.refill;
        let (mine, theirs) = (self.level(now_ms), copy.bucket.drained(now_ms, rate));
        let add = |level: u128, (charged, given): (u128, u128)| {
            let level = level.saturating_add(charged * self.interval_ms());
            level.saturating_sub(given * self.interval_ms())
        };
        let news = add(mine, more(&copy.parts, &self.parts));
        let olds = add(theirs, more(&self.parts, &copy.parts));
        let capacity = u128::from(self.bucket.capacity) * self.interval_ms();
        let most = capacity + capacity.max(u128::from(rate) * u128::from(debt_ms));
        let level = news.min(olds).min(most.max(mine).max(theirs));
        for part in &copy.parts.list {
            received.add(self.parts.receive(part, true));
        }
        received.news |= level != mine;
        if received.news {
            if mine == 0 {
                self.bucket.since.0 = now_ms;
            }
            self.set_level(level, now_ms);
        }
        received
    }

    fn forget(&mut self, reset_ms: u64, now_ms: u64) {
        let before = self.parts.list.len();
        self.parts.retain(|part| part.origin.began_ms > reset_ms);
        if self.parts.list.len() < before {
            let most = self.taken() * self.interval_ms();
            self.set_level(self.level(now_ms).min(most), now_ms);
        }
    }

    fn export(&self, _sends: impl Fn(Region) -> bool, _now_ms: u64) -> Option<Self> {
        let mut copy = self.clone();
        copy.parts.own = None;
        copy.parts.list.retain(|part| part.origin.region.is_named());
        copy.bucket.since = SinceMs(0);
        (!copy.parts.list.is_empty()).then_some(copy)
    }

    fn empty_own(&mut self, ask: &Ask) {
        let Some(own) = self.parts.own() else { return };
        let net = own.counter.net().min(MAX_COUNT);
        self.charge(ask, -net.cast_signed(), u64::MAX);
    }

    /// The level, in proportion to what each region has taken since the bucket was full, as far as that is known.
    fn view(&self, region: Region, ask: &Ask) -> (u64, u64) {
        let parts = self.parts.list.iter();
        let of_region = parts.filter(|part| part.origin.region == region);
        let taken: u128 = of_region.map(|part| u128::from(part.counter.net())).sum();
        let used = self.used(ask);
        let all = self.taken().max(1);
        let own = u128::from(used) * taken / all;
        (used, u64::try_from(own).unwrap_or(MAX_COUNT))
    }

    fn forgets_ms(&self, reset_ms: u64) -> u64 {
        let rate = u128::from(self.bucket.refill.max(1));
        let full_ms = u128::from(self.bucket.capacity) * self.interval_ms() / rate;
        let ms = u64::try_from(2 * full_ms + 10_000).unwrap_or(MAX_TIME_MS);
        self.unused_at_ms()
            .max(reset_ms.saturating_add(ms))
            .min(MAX_TIME_MS)
    }
}
