//! What one key holds: one algorithm and, per window, what has been used.
//!
//! ```text
//! key "login:alice" -> Limiter::Sliding -> Meters [ Sliding { 15m .. }, Sliding { 1d .. } ]
//!                      the form             one meter per window: those of the last charge first, in its order
//! ```
//!
//! A form is an algorithm and what of it has to be kept. Most keys have the plain one; a key grows into another when
//! something needs it, by a charge that says so in its effect, so that every copy of the key does:
//!
//! | form | counts by | keeps besides |
//! |---|---|---|
//! | `Fixed`, `Sliding`, `Bucket`, `Lease` | their algorithm | |
//! | `Dated` | fixed windows, the calendar's among them | where each window ends |
//! | `Stamped` | token bucket | since when each has not been full |
//! | `Blocked` | any of the others | a block: until when, how long, the how manieth |
//! | `Regional` | windows or token bucket | what each region has used: [`regional`] |
//!
//! This is the one file that lists them.

use super::algorithm::bucket::{Bucket, Stamped};
use super::algorithm::fixed::{Dated, Fixed};
use super::algorithm::lease::Leases;
use super::algorithm::meter::{Allocations, Ask, Meter};
use super::algorithm::sliding::Sliding;
use super::limit::{Algorithm, Limit, Limits, MAX_LIMITS};
use regional::Regional;
use smallvec::SmallVec;

pub mod regional;

/// The meters of one key, one per window.
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
    /// See [`super::algorithm::lease`].
    Lease(Box<Meters<Leases>>),
    /// Fixed windows, some of which may be the calendar's.
    Dated(Box<Meters<Dated>>),
    /// Token buckets that can be settled by time.
    Stamped(Box<Meters<Stamped>>),
    /// One of the others that has been blocked.
    Blocked(Box<Blocked>),
    /// What several regions share.
    Regional(Box<Regional>),
}

/// A limiter that somebody else owns.
#[derive(Debug)]
#[allow(missing_docs, reason = "they are the forms of a limiter")]
pub enum Held<'a> {
    Fixed(&'a mut Meters<Fixed>),
    Sliding(&'a mut Meters<Sliding>),
    Bucket(&'a mut Meters<Bucket>),
    Lease(&'a mut Meters<Leases>),
    Dated(&'a mut Meters<Dated>),
    Stamped(&'a mut Meters<Stamped>),
    Blocked(&'a mut Blocked),
    Regional(&'a mut Regional),
}

/// A block, and the limiter that it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// The block.
    pub block: Block,
    /// Not one that is blocked.
    pub limiter: Limiter,
}

/// How long a key is shut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// When it ends, in Unix milliseconds.
    pub until_ms: u64,
    /// For how long it was given.
    pub length_ms: u64,
    /// The how manieth it is, of those not forgotten; 1 for the first.
    pub strikes: u32,
}

impl Block {
    /// Milliseconds that are left of it: never more than it was given, wherever the clock went.
    pub fn left_ms(&self, now_ms: u64) -> u64 {
        self.until_ms.saturating_sub(now_ms).min(self.length_ms)
    }

    /// Whether the key has been out of it for as long as it lasted.
    pub fn is_forgotten(&self, now_ms: u64) -> bool {
        now_ms >= self.forgotten_at_ms()
    }

    /// When it is forgotten.
    pub fn forgotten_at_ms(&self) -> u64 {
        self.until_ms + self.length_ms
    }

    /// Whether it has more left than it was given: the clock has stepped back.
    pub(super) fn is_ahead(&self, now_ms: u64) -> bool {
        self.until_ms.saturating_sub(now_ms) > self.length_ms
    }

    /// Leaves it no more than it was given.
    pub(super) fn rewind(&mut self, now_ms: u64) {
        self.until_ms = self.until_ms.min(now_ms + self.length_ms);
    }
}

/// A meter that a limiter may have: which of the forms is a list of them.
pub trait Kept: Meter {
    /// Meters of this kind as a limiter.
    fn wrap(meters: Box<Meters<Self>>) -> Limiter;

    /// The meters of a limiter that has them.
    fn of<'a>(held: &'a Held<'_>) -> Option<&'a Meters<Self>>;

    /// As [`Kept::of`], to change them.
    fn of_mut<'a>(held: &'a mut Held<'_>) -> Option<&'a mut Meters<Self>>;

    /// The meters of a limiter of the narrower form, as these.
    fn widen(_held: &Held<'_>, _now_ms: u64) -> Option<Meters<Self>> {
        None
    }
}

impl Kept for Fixed {
    fn wrap(meters: Box<Meters<Self>>) -> Limiter {
        Limiter::Fixed(meters)
    }

    fn of<'a>(held: &'a Held<'_>) -> Option<&'a Meters<Self>> {
        match held {
            Held::Fixed(meters) => Some(meters),
            _ => None,
        }
    }

    fn of_mut<'a>(held: &'a mut Held<'_>) -> Option<&'a mut Meters<Self>> {
        match held {
            Held::Fixed(meters) => Some(meters),
            _ => None,
        }
    }
}

impl Kept for Sliding {
    fn wrap(meters: Box<Meters<Self>>) -> Limiter {
        Limiter::Sliding(meters)
    }

    fn of<'a>(held: &'a Held<'_>) -> Option<&'a Meters<Self>> {
        match held {
            Held::Sliding(meters) => Some(meters),
            _ => None,
        }
    }

    fn of_mut<'a>(held: &'a mut Held<'_>) -> Option<&'a mut Meters<Self>> {
        match held {
            Held::Sliding(meters) => Some(meters),
            _ => None,
        }
    }
}

impl Kept for Bucket {
    fn wrap(meters: Box<Meters<Self>>) -> Limiter {
        Limiter::Bucket(meters)
    }

    fn of<'a>(held: &'a Held<'_>) -> Option<&'a Meters<Self>> {
        match held {
            Held::Bucket(meters) => Some(meters),
            _ => None,
        }
    }

    fn of_mut<'a>(held: &'a mut Held<'_>) -> Option<&'a mut Meters<Self>> {
        match held {
            Held::Bucket(meters) => Some(meters),
            _ => None,
        }
    }
}

impl Kept for Leases {
    fn wrap(meters: Box<Meters<Self>>) -> Limiter {
        Limiter::Lease(meters)
    }

    fn of<'a>(held: &'a Held<'_>) -> Option<&'a Meters<Self>> {
        match held {
            Held::Lease(meters) => Some(meters),
            _ => None,
        }
    }

    fn of_mut<'a>(held: &'a mut Held<'_>) -> Option<&'a mut Meters<Self>> {
        match held {
            Held::Lease(meters) => Some(meters),
            _ => None,
        }
    }
}

impl Kept for Dated {
    fn wrap(meters: Box<Meters<Self>>) -> Limiter {
        Limiter::Dated(meters)
    }

    fn of<'a>(held: &'a Held<'_>) -> Option<&'a Meters<Self>> {
        match held {
            Held::Dated(meters) => Some(meters),
            _ => None,
        }
    }

    fn of_mut<'a>(held: &'a mut Held<'_>) -> Option<&'a mut Meters<Self>> {
        match held {
            Held::Dated(meters) => Some(meters),
            _ => None,
        }
    }

    fn widen(held: &Held<'_>, _now_ms: u64) -> Option<Meters<Self>> {
        Some(Fixed::of(held)?.map(Dated::from))
    }
}

impl Kept for Stamped {
    fn wrap(meters: Box<Meters<Self>>) -> Limiter {
        Limiter::Stamped(meters)
    }

    fn of<'a>(held: &'a Held<'_>) -> Option<&'a Meters<Self>> {
        match held {
            Held::Stamped(meters) => Some(meters),
            _ => None,
        }
    }

    fn of_mut<'a>(held: &'a mut Held<'_>) -> Option<&'a mut Meters<Self>> {
        match held {
            Held::Stamped(meters) => Some(meters),
            _ => None,
        }
    }

    fn widen(held: &Held<'_>, now_ms: u64) -> Option<Meters<Self>> {
        let begin = |bucket| Stamped::begin(bucket, now_ms);
        Some(Bucket::of(held)?.map(begin))
    }
}

/// What a limiter says of one of its windows when it is inspected.
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

impl<M: Meter> Meters<M> {
    pub(super) fn empty() -> Self {
        Self(SmallVec::new())
    }

    /// A meter for each of these.
    pub(super) fn map<'a, N>(&'a self, meter: impl Fn(&'a M) -> N) -> Meters<N> {
        Meters(self.0.iter().map(meter).collect())
    }

    /// The meter of a limit; usually they stand in the order asked.
    #[inline(always)]
    pub(super) fn find<'a>(meters: &'a [M], index: usize, limit: &Limit) -> Option<&'a M> {
        match meters.get(index) {
            Some(meter) if meter.is_for(limit) => Some(meter),
            _ => meters.iter().find(|meter| meter.is_for(limit)),
        }
    }

    fn reading(&self, now_ms: u64) -> SmallVec<[Reading; 1]> {
        self.0
            .iter()
            .filter_map(|meter| {
                let limit = meter.limit()?;
                let ask = Ask {
                    limit: &limit,
                    window: meter.known_window(now_ms),
                    id: &[],
                    now_ms,
                };
                Some(Reading {
                    limit,
                    used: meter.used(&ask),
                    reset_after_ms: meter.reset(&ask),
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
            let span_ms = unused_at_ms
                .saturating_sub(meter.charged_ms())
                .max(meter.span_ms());
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
        size_of::<Self>() + self.heap_bytes()
    }

    fn heap_bytes(&self) -> usize {
        let spilled = if self.0.spilled() {
            self.0.capacity() * size_of::<M>()
        } else {
            0
        };
        spilled + self.0.iter().map(M::heap_bytes).sum::<usize>()
    }
}

impl Limiter {
    /// Itself, to look at or to change.
    pub fn held(&mut self) -> Held<'_> {
        match self {
            Limiter::Fixed(meters) => Held::Fixed(meters),
            Limiter::Sliding(meters) => Held::Sliding(meters),
            Limiter::Bucket(meters) => Held::Bucket(meters),
            Limiter::Lease(meters) => Held::Lease(meters),
            Limiter::Dated(meters) => Held::Dated(meters),
            Limiter::Stamped(meters) => Held::Stamped(meters),
            Limiter::Blocked(blocked) => Held::Blocked(blocked),
            Limiter::Regional(regional) => Held::Regional(regional),
        }
    }
}

impl Held<'_> {
    /// Which algorithm it counts by.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Held::Fixed(_) | Held::Dated(_) => Algorithm::Fixed,
            Held::Sliding(_) => Algorithm::Sliding,
            Held::Bucket(_) | Held::Stamped(_) => Algorithm::Bucket,
            Held::Lease(_) => Algorithm::Lease,
            Held::Blocked(blocked) => match &blocked.limiter {
                Limiter::Fixed(_) | Limiter::Dated(_) => Algorithm::Fixed,
                Limiter::Sliding(_) => Algorithm::Sliding,
                Limiter::Bucket(_) | Limiter::Stamped(_) => Algorithm::Bucket,
                Limiter::Lease(_) | Limiter::Blocked(_) => Algorithm::Lease,
                Limiter::Regional(regional) => regional.body.algorithm(),
            },
            Held::Regional(regional) => regional.body.algorithm(),
        }
    }

    /// A copy that owns what it has.
    pub fn to_limiter(&self) -> Limiter {
        match self {
            Held::Fixed(meters) => Limiter::Fixed(Box::new(Meters::clone(meters))),
            Held::Sliding(meters) => Limiter::Sliding(Box::new(Meters::clone(meters))),
            Held::Bucket(meters) => Limiter::Bucket(Box::new(Meters::clone(meters))),
            Held::Lease(meters) => Limiter::Lease(Box::new(Meters::clone(meters))),
            Held::Dated(meters) => Limiter::Dated(Box::new(Meters::clone(meters))),
            Held::Stamped(meters) => Limiter::Stamped(Box::new(Meters::clone(meters))),
            Held::Blocked(blocked) => Limiter::Blocked(Box::new(Blocked::clone(blocked))),
            Held::Regional(regional) => Limiter::Regional(Box::new(Regional::clone(regional))),
        }
    }

    /// Whether its last charge began a new origin in the place of another run's.
    pub fn is_renewed(&self) -> bool {
        match self {
            Held::Regional(regional) => regional.local.renewed,
            Held::Blocked(blocked) => match &blocked.limiter {
                Limiter::Regional(regional) => regional.local.renewed,
                _ => false,
            },
            _ => false,
        }
    }

    /// What several regions share of it, if they do.
    pub fn regional(&mut self) -> Option<&mut Regional> {
        match self {
            Held::Regional(regional) => Some(regional),
            Held::Blocked(blocked) => match &mut blocked.limiter {
                Limiter::Regional(regional) => Some(regional),
                _ => None,
            },
            _ => None,
        }
    }

    /// The block that it is in, or was in and has not forgotten.
    pub fn block(&self, now_ms: u64) -> Option<Block> {
        match self {
            Held::Blocked(blocked) => {
                Some(blocked.block).filter(|block| !block.is_forgotten(now_ms))
            }
            _ => None,
        }
    }

    /// Its leases, if it is of that algorithm.
    pub fn leases(&mut self) -> Option<&mut Leases> {
        match self {
            Held::Lease(meters) => meters.0.first_mut(),
            _ => None,
        }
    }

    /// What it holds, window by window, those of the last charge first, in its order.
    pub fn reading(&mut self, now_ms: u64) -> SmallVec<[Reading; 1]> {
        match self {
            Held::Fixed(meters) => meters.reading(now_ms),
            Held::Sliding(meters) => meters.reading(now_ms),
            Held::Bucket(meters) => meters.reading(now_ms),
            Held::Lease(meters) => meters.reading(now_ms),
            Held::Dated(meters) => meters.reading(now_ms),
            Held::Stamped(meters) => meters.reading(now_ms),
            Held::Blocked(blocked) => blocked.limiter.held().reading(now_ms),
            Held::Regional(regional) => regional.reading(now_ms),
        }
    }

    /// When nothing is used any more, of any window, if nothing else happens, and no block is remembered: a function of the
    /// state alone.
    pub fn unused_at_ms(&mut self) -> u64 {
        match self {
            Held::Fixed(meters) => meters.unused_at_ms(),
            Held::Sliding(meters) => meters.unused_at_ms(),
            Held::Bucket(meters) => meters.unused_at_ms(),
            Held::Lease(meters) => meters.unused_at_ms(),
            Held::Dated(meters) => meters.unused_at_ms(),
            Held::Stamped(meters) => meters.unused_at_ms(),
            Held::Blocked(blocked) => {
                let unused_at_ms = blocked.limiter.held().unused_at_ms();
                unused_at_ms.max(blocked.block.forgotten_at_ms())
            }
            Held::Regional(regional) => regional.unused_at_ms(),
        }
    }

    /// When its key is to expire: past [`Held::unused_at_ms`], by an eighth of the window or of the time from the last charge
    /// to there, and a second at least, so that the TTL need not be moved at each hit. A function of the state alone.
    pub fn expires_ms(&mut self) -> u64 {
        match self {
            Held::Fixed(meters) => meters.expires_ms(),
            Held::Sliding(meters) => meters.expires_ms(),
            Held::Bucket(meters) => meters.expires_ms(),
            Held::Lease(meters) => meters.expires_ms(),
            Held::Dated(meters) => meters.expires_ms(),
            Held::Stamped(meters) => meters.expires_ms(),
            Held::Blocked(blocked) => {
                let expires_ms = blocked.limiter.held().expires_ms();
                expires_ms.max(blocked.block.forgotten_at_ms() + 1_000)
            }
            Held::Regional(regional) => regional.expires_ms(),
        }
    }

    /// Shows every vector that may be allocated.
    pub fn visit_allocations(&mut self, visitor: &mut impl Allocations) {
        match self {
            Held::Fixed(meters) => meters.visit_allocations(visitor),
            Held::Sliding(meters) => meters.visit_allocations(visitor),
            Held::Bucket(meters) => meters.visit_allocations(visitor),
            Held::Lease(meters) => meters.visit_allocations(visitor),
            Held::Dated(meters) => meters.visit_allocations(visitor),
            Held::Stamped(meters) => meters.visit_allocations(visitor),
            Held::Blocked(blocked) => blocked.limiter.held().visit_allocations(visitor),
            Held::Regional(regional) => regional.visit_allocations(visitor),
        }
    }

    /// The bytes it occupies.
    pub fn bytes(&mut self) -> usize {
        match self {
            Held::Fixed(meters) => meters.bytes(),
            Held::Sliding(meters) => meters.bytes(),
            Held::Bucket(meters) => meters.bytes(),
            Held::Lease(meters) => meters.bytes(),
            Held::Dated(meters) => meters.bytes(),
            Held::Stamped(meters) => meters.bytes(),
            Held::Blocked(blocked) => size_of::<Blocked>() + blocked.limiter.held().bytes(),
            Held::Regional(regional) => regional.bytes(),
        }
    }

    /// The limits of the last charge, and perhaps of windows that others use: as many as a clause may have.
    pub fn limits(&mut self) -> Limits {
        let readings = self.reading(0);
        readings
            .iter()
            .map(|reading| reading.limit)
            .take(MAX_LIMITS)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::calendar::Window;
    use crate::core::span::Span;

    /// What a key costs: these are the allocator's size classes that the figures in the README stand on.
    #[test]
    fn a_limiter_of_one_limit_is_small() {
        assert_eq!(size_of::<Meters<Fixed>>(), 40);
        assert_eq!(size_of::<Meters<Bucket>>(), 56);
        assert_eq!(size_of::<Meters<Sliding>>(), 80);
        assert_eq!(size_of::<Meters<Dated>>(), 48);
        assert_eq!(size_of::<Meters<Stamped>>(), 64);
    }

    #[test]
    fn a_key_expires_an_eighth_of_its_time_after_nothing_is_used() {
        let hour = |limit| Limit::window(limit, 3_600_000).unwrap();
        let bucket = Limit::bucket(10, 10, 3_600_000).unwrap();
        let week = Limit::spanning(9, Span::parse(b"1w@thu").unwrap()).unwrap();
        fn ask(limit: &Limit) -> Ask<'_> {
            let window = Window {
                start_ms: 1_000_000,
                end_ms: 9_000_000,
            };
            Ask {
                limit,
                window,
                id: b"a",
                now_ms: 7_200_000,
            }
        }
        fn expires<M: Kept>(ask: Ask) -> (u64, u64) {
            let mut meter = M::unused(ask.limit, 8);
            meter.charge(&ask, 1, ask.now_ms);
            let mut limiter = M::wrap(Box::new(Meters(SmallVec::from_elem(meter, 1))));
            let mut held = limiter.held();
            (held.unused_at_ms(), held.expires_ms())
        }
        let minutes = |minutes: u64| 7_200_000 + minutes * 60_000;
        let full = (minutes(60), minutes(60) + 450_000);
        assert_eq!(expires::<Fixed>(ask(&hour(5))), full);
        assert_eq!(expires::<Sliding>(ask(&hour(5))), full);
        assert_eq!(expires::<Leases>(ask(&hour(5))), full);
        // A bucket outlives its regaining by an eighth of its interval.
        let regained = (minutes(6), minutes(6) + 450_000);
        assert_eq!(expires::<Bucket>(ask(&bucket)), regained);
        assert_eq!(expires::<Stamped>(ask(&bucket)), regained);
        assert_eq!(expires::<Dated>(ask(&week)), (9_000_000, 10_000_000));
        // One of which all was given back is nobody's, and yet outlives its start by an eighth of the window.
        let mut dated = Dated::unused(&week, 8);
        dated.charge(&ask(&week), 1, 7_200_000);
        dated.charge(&ask(&week), -1, 7_200_000);
        let mut given_back = Dated::wrap(Box::new(Meters(SmallVec::from_elem(dated, 1))));
        let held = &mut given_back.held();
        assert_eq!(
            (held.unused_at_ms(), held.expires_ms()),
            (1_000_000, 2_000_000)
        );
        let second = Limit::window(5, 1_000).unwrap();
        let short = (7_201_000, 7_202_000); // a second at least
        assert_eq!(expires::<Fixed>(ask(&second)), short);
    }

    #[test]
    fn a_blocked_key_expires_a_second_after_its_block_is_forgotten() {
        let block = Block {
            until_ms: 5_000,
            length_ms: 4_000,
            strikes: 1,
        };
        let limiter = Limiter::Fixed(Box::new(Meters::empty()));
        let mut blocked = Limiter::Blocked(Box::new(Blocked { block, limiter }));
        assert_eq!(blocked.held().expires_ms(), 10_000);
    }
}
