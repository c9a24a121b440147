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
use small::{Small, Store};
use smallvec::SmallVec;

pub mod regional;
pub mod small;

/// The meters of one key, one per window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meters<M>(pub(super) SmallVec<[M; 1]>);

/// What one key holds. An absent key means that nothing is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Limiter {
    /// See [`super::algorithm::fixed`].
    Fixed(Box<Small<Fixed>>),
    /// See [`super::algorithm::sliding`].
    Sliding(Box<Small<Sliding>>),
    /// See [`super::algorithm::bucket`].
    Bucket(Box<Small<Bucket>>),
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
    Fixed(&'a mut Small<Fixed>),
    Sliding(&'a mut Small<Sliding>),
    Bucket(&'a mut Small<Bucket>),
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
    /// How a key keeps them.
    type Store: Store<Self>;

    /// Meters of this kind as a limiter.
    fn wrap(meters: Meters<Self>) -> Limiter;

    /// What a limiter keeps of them, if it is theirs.
    fn of<'a>(held: &'a Held<'_>) -> Option<&'a Self::Store>;

    /// As [`Kept::of`], to change them.
    fn of_mut<'a>(held: &'a mut Held<'_>) -> Option<&'a mut Self::Store>;

    /// The meters of a limiter of the narrower form, as these.
    fn widen(held: &Held<'_>, now_ms: u64) -> Option<Meters<Self>>;
}

macro_rules! kept {
    ($($meter:ty: $form:ident, $store:ty, $widen:expr;)*) => {$(
        impl Kept for $meter {
            type Store = $store;

            #[inline(always)]
            fn wrap(meters: Meters<Self>) -> Limiter {
                Limiter::$form(Box::new(<$store>::of(meters)))
            }

            #[inline(always)]
            fn of<'a>(held: &'a Held<'_>) -> Option<&'a $store> {
                match held {
                    Held::$form(store) => Some(store),
                    _ => None,
                }
            }

            #[inline(always)]
            fn of_mut<'a>(held: &'a mut Held<'_>) -> Option<&'a mut $store> {
                match held {
                    Held::$form(store) => Some(store),
                    _ => None,
                }
            }

            fn widen(held: &Held<'_>, now_ms: u64) -> Option<Meters<Self>> {
                let widen: fn(&Held<'_>, u64) -> Option<Meters<Self>> = $widen;
                widen(held, now_ms)
            }
        }
    )*};
}

kept! {
    Fixed: Fixed, Small<Fixed>, |_, _| None;
    Sliding: Sliding, Small<Sliding>, |_, _| None;
    Bucket: Bucket, Small<Bucket>, |_, _| None;
    Leases: Lease, Meters<Leases>, |_, _| None;
    Dated: Dated, Meters<Dated>, |held, _| Some(Fixed::of(held)?.map(|fixed| Dated::from(fixed)));
    Stamped: Stamped, Meters<Stamped>, |held, now_ms| {
        Some(Bucket::of(held)?.map(|bucket| Stamped::begin(bucket, now_ms)))
    };
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

    /// The meter of a limit; usually they stand in the order asked.
    #[inline(always)]
    pub(super) fn find<'a>(meters: &'a [M], index: usize, limit: &Limit) -> Option<&'a M> {
        match meters.get(index) {
            Some(meter) if meter.is_for(limit) => Some(meter),
            _ => meters.iter().find(|meter| meter.is_for(limit)),
        }
    }
}

fn reading<M: Meter>(meters: &[M], now_ms: u64) -> SmallVec<[Reading; 1]> {
    let reading = |meter: &M| {
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
    };
    meters.iter().filter_map(reading).collect()
}

#[inline(always)]
fn unused_at_ms<M: Meter>(meters: &[M]) -> u64 {
    meters.iter().map(M::unused_at_ms).max().unwrap_or(0)
}

fn expires_ms<M: Meter>(meters: &[M]) -> u64 {
    let expires_ms = |meter: &M| {
        let unused_at_ms = meter.unused_at_ms();
        let span_ms = unused_at_ms
            .saturating_sub(meter.charged_ms())
            .max(meter.span_ms());
        unused_at_ms + (span_ms / 8).max(1_000)
    };
    meters.iter().map(expires_ms).max().unwrap_or(0)
}

/// Does the same with what is kept of the meters, whatever the form; and something else with the forms that have none of
/// their own.
macro_rules! each {
    ($held:expr, $store:ident => $each:expr, $blocked:ident => $shut:expr, $regional:ident => $shared:expr $(,)?) => {
        match $held {
            Held::Fixed($store) => $each,
            Held::Sliding($store) => $each,
            Held::Bucket($store) => $each,
            Held::Lease($store) => $each,
            Held::Dated($store) => $each,
            Held::Stamped($store) => $each,
            Held::Blocked($blocked) => $shut,
            Held::Regional($regional) => $shared,
        }
    };
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
            Held::Fixed(store) => Limiter::Fixed(Box::new(Small::clone(store))),
            Held::Sliding(store) => Limiter::Sliding(Box::new(Small::clone(store))),
            Held::Bucket(store) => Limiter::Bucket(Box::new(Small::clone(store))),
            Held::Lease(store) => Limiter::Lease(Box::new(Meters::clone(store))),
            Held::Dated(store) => Limiter::Dated(Box::new(Meters::clone(store))),
            Held::Stamped(store) => Limiter::Stamped(Box::new(Meters::clone(store))),
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
        each!(
            self,
            store => reading(&store.view(), now_ms),
            blocked => blocked.limiter.held().reading(now_ms),
            regional => regional.reading(now_ms),
        )
    }

    /// When nothing is used any more, of any window, if nothing else happens, and no block is remembered: a function of the
    /// state alone.
    pub fn unused_at_ms(&mut self) -> u64 {
        each!(
            self,
            store => unused_at_ms(&store.view()),
            blocked => {
                let unused_at_ms = blocked.limiter.held().unused_at_ms();
                unused_at_ms.max(blocked.block.forgotten_at_ms())
            },
            regional => regional.unused_at_ms(),
        )
    }

    /// When its key is to expire: past [`Held::unused_at_ms`], by an eighth of the window or of the time from the last charge
    /// to there, and a second at least, so that the TTL need not be moved at each hit. A function of the state alone.
    pub fn expires_ms(&mut self) -> u64 {
        each!(
            self,
            store => expires_ms(&store.view()),
            blocked => {
                let expires_ms = blocked.limiter.held().expires_ms();
                expires_ms.max(blocked.block.forgotten_at_ms() + 1_000)
            },
            regional => regional.expires_ms(),
        )
    }

    /// Shows everything that may be allocated below the form's own box.
    pub fn visit_allocations(&mut self, visitor: &mut impl Allocations) {
        each!(
            self,
            store => store.visit_allocations(visitor),
            blocked => blocked.limiter.held().visit_allocations(visitor),
            regional => regional.visit_allocations(visitor),
        );
    }

    /// The bytes it occupies.
    pub fn bytes(&mut self) -> usize {
        each!(
            self,
            store => size_of_val(&**store) + store.heap_bytes(),
            blocked => size_of::<Blocked>() + blocked.limiter.held().bytes(),
            regional => regional.bytes(),
        )
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
        assert_eq!(size_of::<Small<Fixed>>(), 16);
        assert_eq!(size_of::<Small<Bucket>>(), 16);
        assert_eq!(size_of::<Small<Sliding>>(), 32);
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
            let mut limiter = M::wrap(Meters(SmallVec::from_elem(meter, 1)));
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
        let mut given_back = Dated::wrap(Meters(SmallVec::from_elem(dated, 1)));
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
        let limiter = Fixed::wrap(Meters::empty());
        let mut blocked = Limiter::Blocked(Box::new(Blocked { block, limiter }));
        assert_eq!(blocked.held().expires_ms(), 10_000);
    }
}
