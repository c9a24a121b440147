//! What one key holds: one algorithm and, per limit, what has been used.
//!
//! ```text
//! key "login:alice" -> Limiter::Sliding -> Meters [ Sliding { 15m .. }, Sliding { 1d .. } ]
//!                      the algorithm                one meter per limit, in the order of the last charge
//! ```
//!
//! A hit is decided first and charged afterwards, to every limit or to none; a hit that charges nothing changes nothing.
//! There is one exception: where the clock has stepped back, so that the usage lies in the future, it moves that usage to
//! the present. Without it, every such hit would have to judge anew how long ago "later than now" was, and a key would stay
//! locked for as long as the clock had stepped.

use super::algorithm::{bucket::Bucket, fixed::Fixed, sliding::Sliding};
use super::decision::{Decision, Retry, Verdict};
use super::error::Error;
use super::limit::{Algorithm, Limit, Limits, MAX_COUNT};
use smallvec::{Array, SmallVec};
use std::borrow::Borrow;

/// Counts what is used of one limit. The three algorithms are the three implementations; all that differs between them
/// is how usage fades.
pub trait Meter: Clone {
    /// Which algorithm this is.
    const ALGORITHM: Algorithm;

    /// A meter on which nothing is used. `entries` bounds the log of a sliding window.
    fn unused(limit: &Limit, entries: u16) -> Self;

    /// The window or interval by which a call's limit finds its meter.
    fn window_ms(&self) -> u64;

    /// The limit of the last charge.
    fn limit(&self) -> Option<Limit>;

    /// Whole units that are used at `now_ms`, rounded up. Never rises as `now_ms` does.
    fn used(&self, limit: &Limit, now_ms: u64) -> u64;

    /// Milliseconds until at most `target` units are used, if nothing else happens: exact, and rounded up.
    fn wait(&self, limit: &Limit, target: u64, now_ms: u64) -> u64;

    /// Adds `cost` units, or takes them off, down to nothing used. `used + cost` must not exceed [`MAX_COUNT`].
    fn charge(&mut self, limit: &Limit, cost: i64, now_ms: u64);

    /// When it was charged last (a fixed window: the start of the window that was).
    fn charged_ms(&self) -> u64;

    /// When nothing is used any more, if nothing else happens: a function of the meter alone.
    fn unused_at_ms(&self) -> u64;

    /// Whether usage was charged later than `now_ms`: the clock has stepped back.
    fn is_ahead(&self, now_ms: u64) -> bool {
        self.charged_ms() > now_ms
    }

    /// Makes what was charged later than `now_ms` count as charged at `now_ms`.
    fn rewind(&mut self, now_ms: u64);

    /// Entries in the log and the most it may hold, where the algorithm keeps one.
    fn log(&self, _now_ms: u64) -> Option<(u16, u16)> {
        None
    }

    /// Bytes allocated beyond the meter itself.
    fn heap_bytes(&self) -> usize {
        0
    }

    /// Shows every vector of the meter that may be allocated.
    fn visit_allocations(&mut self, _visitor: &mut impl Allocations) {}

    /// Meters of this algorithm as a limiter.
    fn wrap(meters: Box<Meters<Self>>) -> Limiter;

    /// The meters of a limiter that is of this algorithm.
    fn of(limiter: &Limiter) -> Option<&Meters<Self>>;

    /// As [`Meter::of`], to change them.
    fn of_mut(limiter: &mut Limiter) -> Option<&mut Meters<Self>>;
}

/// Who is shown the vectors that a limiter may have allocated, so as to move their buffers.
pub trait Allocations {
    /// One of them; it holds the same elements afterwards.
    fn visit<A: Array>(&mut self, vec: &mut SmallVec<A>);
}

/// The meters of one key, one per limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meters<M>(pub(super) SmallVec<[M; 1]>);

/// What one key holds. An absent key means that nothing is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Limiter {
    /// See [`super::algorithm::fixed`].
    Fixed(Box<Meters<Fixed>>),
    /// See [`super::algorithm::sliding`].
    Sliding(Box<Meters<Sliding>>),
    /// See [`super::algorithm::bucket`].
    Bucket(Box<Meters<Bucket>>),
}

/// What a hit asks for.
#[derive(Clone, Copy, Debug)]
pub struct Hit<'a> {
    /// How to count.
    pub algorithm: Algorithm,
    /// One to [`super::limit::MAX_LIMITS`] limits, no two of one window.
    pub limits: &'a [Limit],
    /// Units to charge; negative to give back. Within ±[`MAX_COUNT`].
    pub cost: i64,
    /// Charge even what does not fit.
    pub force: bool,
    /// The log size of a sliding limiter that this hit creates.
    pub entries: u16,
}

/// What a hit did to the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing at all.
    None,
    /// The cost was charged, as [`Limiter::charge`] would.
    Charged,
    /// The clock had stepped back, and the usage was moved to the present.
    Rewound,
}

impl<M: Meter> Meters<M> {
    fn empty() -> Self {
        Self(SmallVec::new())
    }

    /// The meter of a limit; usually they stand in the order asked.
    fn find(&self, index: usize, limit: &Limit) -> Option<&M> {
        match self.0.get(index) {
            Some(meter) if meter.window_ms() == limit.window_ms() => Some(meter),
            _ => self
                .0
                .iter()
                .find(|meter| meter.window_ms() == limit.window_ms()),
        }
    }

    /// Notes what is used of every limit, and tells whether the cost fits them all.
    #[inline(always)]
    fn measure(
        this: Option<&Self>,
        hit: &Hit,
        now_ms: u64,
        decision: &mut Decision,
    ) -> Result<bool, Error> {
        let cost = hit.cost.unsigned_abs();
        let mut fits = true;
        decision.verdicts.clear();
        for (index, limit) in hit.limits.iter().enumerate() {
            let used = this
                .and_then(|meters| meters.find(index, limit))
                .map_or(0, |meter| meter.used(limit, now_ms));
            // What is given back always fits, or a debt could never be reduced.
            fits &= hit.cost < 0 || used.saturating_add(cost) <= limit.limit();
            if hit.force && hit.cost > 0 && used.saturating_add(cost) > MAX_COUNT {
                return Err(Error::Overflow);
            }
            decision.verdicts.push(Verdict {
                allowed: true,
                limit: limit.limit(),
                used,
                retry: Retry::After(0),
                reset_after_ms: 0,
            });
        }
        Ok(fits)
    }

    /// Charges every limit, adopts the limits' numbers and forgets the meters that no limit names any more.
    fn charge(&mut self, limits: &[Limit], cost: i64, entries: u16, now_ms: u64) {
        let in_order = self.0.len() == limits.len()
            && limits
                .iter()
                .zip(&self.0)
                .all(|(limit, meter)| meter.window_ms() == limit.window_ms());
        if !in_order {
            self.arrange(limits, entries);
        }
        for (limit, meter) in limits.iter().zip(&mut self.0) {
            meter.charge(limit, cost, now_ms);
        }
    }

    /// One meter per limit, in the order of the limits: those there are, and new ones.
    #[cold]
    fn arrange(&mut self, limits: &[Limit], entries: u16) {
        // A limiter keeps the log size that it was created with, also for the windows that join it later.
        let entries = self
            .0
            .iter()
            .find_map(|meter| meter.log(0))
            .map_or(entries, |(_, capacity)| capacity);
        let mut old = std::mem::take(&mut self.0);
        self.0 = limits
            .iter()
            .map(|limit| {
                old.iter()
                    .position(|meter| meter.window_ms() == limit.window_ms())
                    .map_or_else(|| M::unused(limit, entries), |index| old.swap_remove(index))
            })
            .collect();
    }

    /// Whether charging the cost is called for, and would change anything: of nothing, nothing can be given back.
    fn is_charged(hit: &Hit, fits: bool, decision: &Decision) -> bool {
        if hit.cost > 0 {
            return hit.force || fits;
        }
        hit.cost < 0 && decision.verdicts.iter().any(|verdict| verdict.used > 0)
    }

    /// What each limit says of times, given its meter after the hit. A forced hit that did not fit may have filled a limit
    /// that it did fit: then that one has to be waited for, too.
    #[inline(always)]
    fn judge<B: Borrow<M>>(
        after: impl Fn(usize, &Limit) -> Option<B>,
        hit: &Hit,
        fits: bool,
        now_ms: u64,
        decision: &mut Decision,
    ) {
        let verdicts = hit.limits.iter().zip(&mut decision.verdicts);
        for (index, (limit, verdict)) in verdicts.enumerate() {
            let meter = after(index, limit);
            let wait = |target| {
                let meter = meter.as_ref().map(B::borrow);
                meter.map_or(0, |meter: &M| meter.wait(limit, target, now_ms))
            };
            verdict.reset_after_ms = wait(0);
            if !fits {
                verdict.retry = match limit.limit().checked_sub(hit.cost.unsigned_abs()) {
                    Some(target) => Retry::After(wait(target)),
                    None => Retry::Never,
                };
                verdict.allowed = verdict.retry == Retry::After(0);
            }
        }
    }

    /// What is used after a charge: by every algorithm, whole units are added and taken off as they are.
    #[inline(always)]
    fn add(cost: i64, decision: &mut Decision) {
        for verdict in &mut decision.verdicts {
            verdict.used = verdict.used.saturating_add_signed(cost);
        }
    }

    #[inline(always)]
    fn hit(
        state: &mut Option<Limiter>,
        hit: &Hit,
        now_ms: u64,
        decision: &mut Decision,
    ) -> Result<Change, Error> {
        let meters = Self::held(state.as_ref())?;
        let fits = Self::measure(meters, hit, now_ms, decision)?;
        let mut change = Change::None;
        if Self::is_charged(hit, fits, decision) {
            let limiter = state.get_or_insert_with(|| M::wrap(Box::new(Self::empty())));
            if let Some(meters) = M::of_mut(limiter) {
                meters.charge(hit.limits, hit.cost, hit.entries, now_ms);
                Self::add(hit.cost, decision);
                change = Change::Charged;
            }
        } else if meters.is_some_and(|meters| meters.is_ahead(now_ms)) {
            if let Some(meters) = state.as_mut().and_then(M::of_mut) {
                meters.rewind(now_ms);
                change = Change::Rewound;
            }
        }
        let meters = state.as_ref().and_then(M::of);
        let after = |index, limit: &Limit| meters?.find(index, limit);
        Self::judge(after, hit, fits, now_ms, decision);
        Ok(change)
    }

    #[inline(always)]
    fn peek(
        state: Option<&Limiter>,
        hit: &Hit,
        now_ms: u64,
        decision: &mut Decision,
    ) -> Result<(), Error> {
        let meters = Self::held(state)?;
        let fits = Self::measure(meters, hit, now_ms, decision)?;
        let found = |index, limit: &Limit| meters?.find(index, limit);
        if Self::is_charged(hit, fits, decision) {
            let after = |index, limit: &Limit| {
                let found = found(index, limit).cloned();
                let mut meter = found.unwrap_or_else(|| M::unused(limit, hit.entries));
                meter.charge(limit, hit.cost, now_ms);
                Some(meter)
            };
            Self::add(hit.cost, decision);
            Self::judge(after, hit, fits, now_ms, decision);
        } else {
            Self::judge(found, hit, fits, now_ms, decision);
        }
        Ok(())
    }

    /// The meters that a state holds, if they are of this algorithm.
    fn held(state: Option<&Limiter>) -> Result<Option<&Self>, Error> {
        match state {
            None => Ok(None),
            Some(limiter) => M::of(limiter).map(Some).ok_or(Error::HoldsAlgorithm {
                holds: limiter.algorithm(),
                asked: M::ALGORITHM,
            }),
        }
    }

    fn is_ahead(&self, now_ms: u64) -> bool {
        self.0.iter().any(|meter| meter.is_ahead(now_ms))
    }

    fn rewind(&mut self, now_ms: u64) {
        for meter in self.0.iter_mut().filter(|meter| meter.is_ahead(now_ms)) {
            meter.rewind(now_ms);
        }
    }

    fn reading(&self, now_ms: u64) -> SmallVec<[Reading; 1]> {
        self.0
            .iter()
            .filter_map(|meter| {
                let limit = meter.limit()?;
                Some(Reading {
                    limit,
                    used: meter.used(&limit, now_ms),
                    reset_after_ms: meter.wait(&limit, 0, now_ms),
                    log: meter.log(now_ms),
                })
            })
            .collect()
    }

    fn unused_at_ms(&self) -> u64 {
        self.0.iter().map(M::unused_at_ms).max().unwrap_or(0)
    }

    fn expires_ms(&self) -> u64 {
        let expires_ms = |meter: &M| {
            let unused_at_ms = meter.unused_at_ms();
            let span_ms = (unused_at_ms - meter.charged_ms()).max(meter.window_ms());
            unused_at_ms + (span_ms / 8).max(1_000)
        };
        self.0.iter().map(expires_ms).max().unwrap_or(0)
    }

    fn visit_allocations(&mut self, visitor: &mut impl Allocations) {
        for meter in &mut self.0 {
            meter.visit_allocations(visitor);
        }
        visitor.visit(&mut self.0);
    }

    fn bytes(&self) -> usize {
        let spilled = if self.0.spilled() {
            self.0.capacity() * size_of::<M>()
        } else {
            0
        };
        size_of::<Self>() + spilled + self.0.iter().map(M::heap_bytes).sum::<usize>()
    }
}

/// What a limiter says of one of its limits when it is inspected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The limit of the last charge.
    pub limit: Limit,
    /// Whole units that are used, rounded up.
    pub used: u64,
    /// Milliseconds until nothing is used any more.
    pub reset_after_ms: u64,
    /// Entries in the log of a sliding window, and the most it may hold.
    pub log: Option<(u16, u16)>,
}

impl Limiter {
    /// Which algorithm it counts by.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Limiter::Fixed(_) => Algorithm::Fixed,
            Limiter::Sliding(_) => Algorithm::Sliding,
            Limiter::Bucket(_) => Algorithm::Bucket,
        }
    }

    /// Decides a hit and charges it, to all limits or to none. A state of `None` is an absent key: it comes into being
    /// with the first charge. The decision is written to where the caller wants it, as it is too large to hand around.
    #[inline(always)]
    pub fn decide(
        state: &mut Option<Limiter>,
        hit: &Hit,
        now_ms: u64,
        decision: &mut Decision,
    ) -> Result<Change, Error> {
        match hit.algorithm {
            Algorithm::Fixed => Meters::<Fixed>::hit(state, hit, now_ms, decision),
            Algorithm::Sliding => Meters::<Sliding>::hit(state, hit, now_ms, decision),
            Algorithm::Bucket => Meters::<Bucket>::hit(state, hit, now_ms, decision),
        }
    }

    /// [`Limiter::decide`] where nobody counts instructions.
    pub fn hit(
        state: &mut Option<Limiter>,
        hit: &Hit,
        now_ms: u64,
    ) -> Result<(Decision, Change), Error> {
        let mut decision = Decision::default();
        let change = Self::decide(state, hit, now_ms, &mut decision)?;
        Ok((decision, change))
    }

    /// What [`Limiter::decide`] would decide, with nothing changed.
    #[inline(always)]
    pub fn foresee(
        state: Option<&Limiter>,
        hit: &Hit,
        now_ms: u64,
        decision: &mut Decision,
    ) -> Result<(), Error> {
        match hit.algorithm {
            Algorithm::Fixed => Meters::<Fixed>::peek(state, hit, now_ms, decision),
            Algorithm::Sliding => Meters::<Sliding>::peek(state, hit, now_ms, decision),
            Algorithm::Bucket => Meters::<Bucket>::peek(state, hit, now_ms, decision),
        }
    }

    /// [`Limiter::foresee`] where nobody counts instructions.
    pub fn peek(state: Option<&Limiter>, hit: &Hit, now_ms: u64) -> Result<Decision, Error> {
        let mut decision = Decision::default();
        Self::foresee(state, hit, now_ms, &mut decision)?;
        Ok(decision)
    }

    /// How the limits stand, with nothing charged: what a hit that a deny list has stopped is told of them.
    pub fn standing(state: Option<&Limiter>, hit: &Hit, now_ms: u64) -> Result<Decision, Error> {
        let nothing = Hit {
            cost: 0,
            force: false,
            ..*hit
        };
        Self::peek(state, &nothing, now_ms)
    }

    /// Charges without asking whether it fits: what a replica does with the effect of a hit that its primary decided.
    /// The same state, limits, cost and time always make the same state.
    pub fn charge(state: &mut Option<Limiter>, hit: &Hit, now_ms: u64) -> Result<Change, Error> {
        let forced = Hit {
            force: true,
            ..*hit
        };
        Self::hit(state, &forced, now_ms).map(|(_, change)| change)
    }

    /// What it holds, limit by limit, in the order of the last charge.
    pub fn reading(&self, now_ms: u64) -> SmallVec<[Reading; 1]> {
        match self {
            Limiter::Fixed(meters) => meters.reading(now_ms),
            Limiter::Sliding(meters) => meters.reading(now_ms),
            Limiter::Bucket(meters) => meters.reading(now_ms),
        }
    }

    /// When nothing is used any more, of any limit, if nothing else happens: a function of the state alone.
    pub fn unused_at_ms(&self) -> u64 {
        match self {
            Limiter::Fixed(meters) => meters.unused_at_ms(),
            Limiter::Sliding(meters) => meters.unused_at_ms(),
            Limiter::Bucket(meters) => meters.unused_at_ms(),
        }
    }

    /// When its key is to expire: past [`Limiter::unused_at_ms`], by an eighth of the window or of the time from the last
    /// charge to there, and a second at least, so that the TTL need not be moved at each hit. A function of the state
    /// alone.
    pub fn expires_ms(&self) -> u64 {
        match self {
            Limiter::Fixed(meters) => meters.expires_ms(),
            Limiter::Sliding(meters) => meters.expires_ms(),
            Limiter::Bucket(meters) => meters.expires_ms(),
        }
    }

    /// Shows every vector that may be allocated.
    pub fn visit_allocations(&mut self, visitor: &mut impl Allocations) {
        match self {
            Limiter::Fixed(meters) => meters.visit_allocations(visitor),
            Limiter::Sliding(meters) => meters.visit_allocations(visitor),
            Limiter::Bucket(meters) => meters.visit_allocations(visitor),
        }
    }

    /// The bytes it occupies.
    pub fn bytes(&self) -> usize {
        match self {
            Limiter::Fixed(meters) => meters.bytes(),
            Limiter::Sliding(meters) => meters.bytes(),
            Limiter::Bucket(meters) => meters.bytes(),
        }
    }

    /// The limits of the last charge.
    pub fn limits(&self) -> Limits {
        let readings = self.reading(0);
        readings.iter().map(|reading| reading.limit).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After a backward step, whoever asks first is told the truth, also if nothing is charged.
    #[test]
    fn a_hit_that_charges_nothing_keeps_its_promise_after_a_backward_step() {
        const STEP_MS: u64 = 3_600_000;
        let window = Limit::window(5, 10_000).unwrap();
        let bucket = Limit::bucket(5, 5, 10_000).unwrap();
        for (algorithm, limit) in Algorithm::ALL.into_iter().zip([window, window, bucket]) {
            let hit = |cost| Hit {
                algorithm,
                limits: std::slice::from_ref(&limit),
                cost,
                force: false,
                entries: 128,
            };
            let (mut state, now_ms) = (None, 1_700_000_000_000);
            Limiter::hit(&mut state, &hit(5), now_ms).unwrap();
            let now_ms = now_ms - STEP_MS;
            let (asked, change) = Limiter::hit(&mut state, &hit(0), now_ms).unwrap();
            assert_eq!(change, Change::Rewound, "{algorithm:?}");
            let reset_after_ms = asked.binding().unwrap().reset_after_ms;
            assert_eq!(reset_after_ms, 10_000, "{algorithm:?}");
            let (after, _) = Limiter::hit(&mut state, &hit(5), now_ms + reset_after_ms).unwrap();
            assert!(after.allowed(), "{algorithm:?}: {after:?}");
        }
    }

    /// What a key costs: these are the allocator's size classes that the figures in the README stand on.
    #[test]
    fn a_limiter_of_one_limit_is_small() {
        assert_eq!(size_of::<Meters<Fixed>>(), 40);
        assert_eq!(size_of::<Meters<Bucket>>(), 56);
        assert_eq!(size_of::<Meters<Sliding>>(), 80);
    }
}
