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
//! | `Reserved` | token bucket | the same, and what each has promised to those who wait |
//! | `Noted` | any of the others, or none yet | what is no usage, as a block or ids: [`noted`] |
//! | `SharedFixed`, `SharedSliding`, `SharedBucket` | windows or token bucket | what each region has used: [`regional`] |
//!
//! [`form`] lists them, once, and has what does the same with each. Here is what a form has to say of itself, [`State`], and
//! what one has to that is made of meters, [`MeterForm`].

use super::algorithm::bucket::{Bucket, Stamped};
use super::algorithm::fixed::{Dated, Fixed};
use super::algorithm::joint::bucket::JointBucket;
use super::algorithm::joint::fixed::JointFixed;
use super::algorithm::joint::sliding::JointSliding;
use super::algorithm::lease::Leases;
use super::algorithm::meter::{Allocations, Ask, Meter};
use super::algorithm::reserved::Reserved;
use super::algorithm::sliding::Sliding;
use super::limit::{Algorithm, Limit, Limits, MAX_LIMITS};
use super::region::origin::Origin;
use form::{each, each_form, HEADER};
use packed::MaybePacked;
use regional::{Regional, Shared};
use smallvec::SmallVec;
use std::fmt::Debug;
use std::ops::Deref;

pub mod block;
pub mod form;
pub mod ids;
pub mod noted;
pub mod packed;
pub mod regional;
pub mod shadow;

pub use block::{Block, Shut};
pub use form::{Form, Hold, Limiter, LimiterMut, LimiterRef};
pub use ids::Ids;
pub use noted::{Noted, Notes};
pub use shadow::Shadow;

/// What a change that is no charge leaves of a key.
#[derive(Debug)]
pub enum Left {
    /// Nothing: the key goes.
    Nothing,
    /// The same, changed in place.
    Same,
    /// This.
    Other(Limiter),
}

/// The meters of one key, one per window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meters<M>(pub(super) SmallVec<[M; 1]>);

/// What a form keeps, and has to say of it.
pub trait State: Clone + Debug + Eq + 'static {
    /// Which algorithm it counts by; `None` where it has not counted yet.
    fn algorithm(&self) -> Option<Algorithm>;

    /// What it holds, window by window, those of the last charge first, in its order.
    fn reading(&self, now_ms: u64) -> Readings;

    /// When nothing is used any more, of any window, if nothing else happens, and nothing is noted: a function of the state
    /// alone.
    fn unused_at_ms(&self) -> u64;

    /// When its key is to expire: past [`State::unused_at_ms`], by an eighth of the window or of the time from the last charge
    /// to there, and a second at least, so that the TTL need not be moved at each hit. A function of the state alone.
    fn expires_ms(&self) -> u64;

    /// Shows every allocation below its own.
    fn visit_allocations(&mut self, visitor: &mut impl Allocations);

    /// Bytes allocated beyond its own.
    fn heap_bytes(&self) -> usize;

    /// What several regions share of it, if they do.
    fn regional(&self) -> Option<&dyn Regional> {
        None
    }

    /// As [`State::regional`], to change it.
    fn regional_mut(&mut self) -> Option<&mut dyn Regional> {
        None
    }
}

/// What a limiter says of its windows.
pub type Readings = SmallVec<[Reading; 1]>;

/// What a limiter says of one of its windows when it is inspected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The limit of the last charge.
    pub limit: Limit,
    /// Whole units that are used, rounded up.
    pub used: u64,
    /// Milliseconds until nothing is used any more.
    pub reset_after_ms: u64,
    /// Milliseconds until the last of those who have reserved a place acts; 0 where nobody has.
    pub reserved_ms: u64,
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

fn reading<M: Meter>(meters: &[M], now_ms: u64) -> Readings {
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
            reserved_ms: meter.reserved_ms(now_ms),
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
    meters.iter().map(expires_ms).max().unwrap_or(1) // a key has a TTL, always
}

/// How a key keeps its meters of one kind.
pub trait Store: Clone + Debug + Eq + 'static {
    /// What they are.
    type Meter: Meter;

    /// These, kept.
    fn of(meters: Meters<Self::Meter>) -> Self;

    /// A meter for each of these.
    fn map<N>(&self, meter: impl Fn(&Self::Meter) -> N) -> Meters<N> {
        Meters(self.view().iter().map(meter).collect())
    }

    /// The meters.
    fn view(&self) -> impl Deref<Target = [Self::Meter]>;

    /// The only meter, where it is kept packed.
    #[inline(always)]
    fn one(&self) -> Option<Self::Meter> {
        None
    }

    /// Keeps what [`Store::one`] gave, changed. (A closure that changes it in place would be called, not inlined.)
    #[inline(always)]
    fn put(&mut self, _meter: Self::Meter) {} // where there is none, none is given

    /// The meters, to be changed, and then [`Store::settle`]d.
    fn many(&mut self) -> &mut Meters<Self::Meter>;

    /// Packs them again, if that can be.
    #[inline(always)]
    fn settle(&mut self) {}

    /// Shows every allocation below its own.
    fn visit_meters(&mut self, visitor: &mut impl Allocations);

    /// Bytes allocated beyond its own.
    fn meter_bytes(&self) -> usize;

    /// Until when it has to be remembered though nothing is used; 0: no longer.
    #[inline(always)]
    fn remembers_ms(&self) -> u64 {
        0
    }

    /// Itself, if it is what several regions share.
    fn shared(&self) -> Option<&dyn Regional> {
        None
    }

    /// As [`Store::shared`], to change it.
    fn shared_mut(&mut self) -> Option<&mut dyn Regional> {
        None
    }
}

/// A form that keeps meters, and what their kind of store has besides.
impl<S: Store> State for S {
    fn algorithm(&self) -> Option<Algorithm> {
        Some(S::Meter::ALGORITHM)
    }

    fn reading(&self, now_ms: u64) -> Readings {
        reading(&self.view(), now_ms)
    }

    #[inline(always)]
    fn unused_at_ms(&self) -> u64 {
        unused_at_ms(&self.view()).max(self.remembers_ms())
    }

    fn expires_ms(&self) -> u64 {
        let remembers_ms = self.remembers_ms();
        let outlives_ms = if remembers_ms > 0 { 1_000 } else { 0 };
        expires_ms(&self.view()).max(remembers_ms + outlives_ms)
    }

    fn visit_allocations(&mut self, visitor: &mut impl Allocations) {
        self.visit_meters(visitor);
    }

    fn heap_bytes(&self) -> usize {
        self.meter_bytes()
    }

    fn regional(&self) -> Option<&dyn Regional> {
        self.shared()
    }

    fn regional_mut(&mut self) -> Option<&mut dyn Regional> {
        self.shared_mut()
    }
}

/// A meter of which a form is made.
pub trait MeterForm: Meter {
    /// How a key keeps them.
    type Store: Store<Meter = Self>;

    /// What a key keeps of them as a limiter.
    fn keep(store: Self::Store) -> Limiter;

    /// Meters of this kind as a limiter.
    #[inline(always)]
    fn wrap(meters: Meters<Self>) -> Limiter {
        Self::keep(Self::Store::of(meters))
    }

    /// What a limiter keeps of them, if it is theirs.
    fn of<'a>(limiter: LimiterRef<'a>) -> Option<&'a Self::Store>;

    /// As [`MeterForm::of`], to change them.
    fn of_mut<'a>(limiter: &'a mut LimiterMut<'_>) -> Option<&'a mut Self::Store>;

    /// The meters of a limiter of the narrower form, as these; where that notes it, of whom and since when.
    fn upgrade(limiter: LimiterRef, origin: Origin) -> Option<Meters<Self>>;
}

macro_rules! meter_forms {
    ($($meter:ty: $form:ident($store:ty), $upgrade:expr;)*) => {$(
        impl MeterForm for $meter {
            type Store = $store;

            #[inline(always)]
            fn keep(store: $store) -> Limiter {
                Limiter::$form(store.into())
            }

            #[inline(always)]
            fn of<'a>(limiter: LimiterRef<'a>) -> Option<&'a $store> {
                match limiter {
                    Form::$form(store) => Some(store),
                    _ => None,
                }
            }

            #[inline(always)]
            fn of_mut<'a>(limiter: &'a mut LimiterMut<'_>) -> Option<&'a mut $store> {
                match limiter {
                    Form::$form(store) => Some(store),
                    _ => None,
                }
            }

            fn upgrade(limiter: LimiterRef, origin: Origin) -> Option<Meters<Self>> {
                let upgrade: fn(LimiterRef, Origin) -> Option<Meters<Self>> = $upgrade;
                upgrade(limiter, origin)
            }
        }
    )*};
}

meter_forms! {
    Fixed: Fixed(MaybePacked<Fixed>), |_, _| None;
    Sliding: Sliding(MaybePacked<Sliding>), |_, _| None;
    Bucket: Bucket(MaybePacked<Bucket>), |_, _| None;
    Leases: Lease(Meters<Leases>), |_, _| None;
    Dated: Dated(Meters<Dated>), |limiter, _| {
        Some(<Fixed>::of(limiter)?.map(|fixed| Dated::from(fixed)))
    };
    Stamped: Stamped(Meters<Stamped>), |limiter, origin| {
        Some(<Bucket>::of(limiter)?.map(|bucket| bucket.stamped(origin.began_ms)))
    };
    Reserved: Reserved(Meters<Reserved>), |limiter, origin| {
        let stamped = match limiter {
            Form::Stamped(stamped) => stamped.clone(),
            _ => Stamped::upgrade(limiter, origin)?,
        };
        Some(Meters(stamped.0.into_iter().map(Reserved::begin).collect()))
    };
    JointFixed: SharedFixed(Shared<JointFixed>), JointFixed::upgrade_from;
    JointSliding: SharedSliding(Shared<JointSliding>), JointSliding::upgrade_from;
    JointBucket: SharedBucket(Shared<JointBucket>), JointBucket::upgrade_from;
}

impl<H: Hold> Form<H> {
    /// Which algorithm it counts by; `None` where nothing has been used yet.
    pub fn algorithm(&self) -> Option<Algorithm> {
        each!(self, state => state.algorithm())
    }

    /// Whether all that it holds is what several regions share.
    #[inline(always)]
    pub fn is_shared(&self) -> bool {
        matches!(
            self,
            Form::SharedFixed(_) | Form::SharedSliding(_) | Form::SharedBucket(_)
        )
    }

    /// What several regions share of it, if they do.
    pub fn regional(&self) -> Option<&dyn Regional> {
        each!(self, state => state.regional())
    }

    /// What is kept beside it.
    pub fn notes(&self) -> Option<&Notes> {
        match self {
            Form::Noted(noted) => Some(&noted.notes),
            _ => None,
        }
    }

    /// Whether its last charge began a new origin in the place of another run's.
    pub fn is_renewed(&self) -> bool {
        self.regional()
            .is_some_and(|regional| regional.local().renewed)
    }

    /// The block that it is in, or was in and has not forgotten.
    pub fn block(&self, now_ms: u64) -> Option<Block> {
        let block = self.notes()?.block;
        block.filter(|block| !block.is_forgotten(now_ms))
    }

    /// The block by order that it is in.
    pub fn shut(&self, now_ms: u64) -> Option<Shut> {
        self.notes()?.shut.filter(|shut| !shut.is_over(now_ms))
    }

    /// See [`State::reading`].
    pub fn reading(&self, now_ms: u64) -> Readings {
        each!(self, state => state.reading(now_ms))
    }

    /// See [`State::unused_at_ms`].
    pub fn unused_at_ms(&self) -> u64 {
        each!(self, state => state.unused_at_ms())
    }

    /// See [`State::expires_ms`].
    pub fn expires_ms(&self) -> u64 {
        each!(self, state => state.expires_ms())
    }

    /// The bytes it occupies.
    pub fn bytes(&self) -> usize {
        let header = if self.code() < HEADER {
            0
        } else {
            size_of::<u64>()
        };
        header + each!(self, state => size_of_val(&**state) + state.heap_bytes())
    }

    /// The limits of the last charge, and perhaps of windows that others use: as many as a clause may have.
    pub fn limits(&self) -> Limits {
        let readings = self.reading(0);
        readings
            .iter()
            .map(|reading| reading.limit)
            .take(MAX_LIMITS)
            .collect()
    }
}

impl Limiter {
    /// As [`Form::regional`], to change it.
    pub fn regional_mut(&mut self) -> Option<&mut dyn Regional> {
        each!(self, state => state.regional_mut())
    }
}

impl LimiterMut<'_> {
    /// As [`Form::regional`], to change it.
    pub fn regional_mut(&mut self) -> Option<&mut dyn Regional> {
        each!(self, state => state.regional_mut())
    }

    /// Its leases, if it is of that algorithm.
    pub fn leases(&mut self) -> Option<&mut Leases> {
        match self {
            Form::Lease(meters) => meters.0.first_mut(),
            Form::Noted(noted) => match &mut noted.limiter {
                Some(Form::Lease(meters)) => meters.0.first_mut(),
                _ => None,
            },
            _ => None,
        }
    }

    /// Forgets what has been used. Whether the key stays all the same, as it is shut.
    pub fn clear_usage(&mut self, now_ms: u64) -> bool {
        match self {
            Form::Noted(noted) if noted.notes.left_ms(now_ms) > 0 => {
                noted.limiter = None;
                true
            }
            _ => false,
        }
    }

    /// Shows everything that may be allocated below the form's own box.
    pub fn visit_allocations(&mut self, visitor: &mut impl Allocations) {
        each!(self, state => state.visit_allocations(visitor));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::calendar::Window;
    use crate::core::span::Span;
    use std::num::NonZero;

    /// What a key costs: these are the allocator's size classes that the figures in the README stand on.
    #[test]
    fn a_limiter_of_one_limit_is_small() {
        assert_eq!(size_of::<MaybePacked<Fixed>>(), 16);
        assert_eq!(size_of::<MaybePacked<Bucket>>(), 16);
        assert_eq!(size_of::<MaybePacked<Sliding>>(), 32);
        assert_eq!(size_of::<Meters<Sliding>>(), 80);
        assert_eq!(size_of::<Meters<Dated>>(), 48);
        assert_eq!(size_of::<Meters<Stamped>>(), 64);
        assert_eq!(size_of::<Meters<Reserved>>(), 104);
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
        fn expires<M: MeterForm>(ask: Ask) -> (u64, u64) {
            let mut meter = M::unused(ask.limit, 8);
            meter.charge(&ask, 1, ask.now_ms);
            let mut limiter = M::wrap(Meters(SmallVec::from_elem(meter, 1)));
            let held = limiter.held();
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
        assert_eq!(expires::<Reserved>(ask(&bucket)), regained);
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
            strikes: NonZero::<u32>::MIN,
        };
        let mut noted = Noted::of(Some(<Fixed>::wrap(Meters::empty())));
        noted.notes.block = Some(block);
        assert_eq!(Limiter::Noted(Box::new(noted)).expires_ms(), 10_000);
    }
}
