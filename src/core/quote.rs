//! A hit, in two halves: [`quote`] says what it would be answered and what it would change, and changes nothing; [`commit`]
//! makes that change, and decides nothing.
//!
//! ```text
//! a hit          quote, commit
//! a peek         quote, which nobody commits
//! several keys   quotes; if all let it through, or it is forced, commits; else quotes that say so
//! a replica      commit alone, of the change that its primary quoted
//! ```
//!
//! A hit is charged to every limit or to none, and a hit that charges nothing changes nothing, with two exceptions. Where the
//! clock has stepped back, so that usage or a block lies too far in the future, it moves that to the present: without it,
//! every such hit would have to judge anew how long ago "later than now" was, and a key would stay locked for as long as the
//! clock had stepped. And with BLOCK, a hit that is denied starts a block.
//!
//! A hit with an id that the key remembers is quoted apart, in `once`: nothing is judged, and nothing changes.
//!
//! ```text
//! once       a hit with an id       several   a call of several keys     regional  a key that regions share
//! meters     one key's limits       next      NEXT                       shadow    limits that are tried
//! ```

use super::algorithm::bucket::{Bucket, Stamped};
use super::algorithm::fixed::{Dated, Fixed};
use super::algorithm::lease::Leases;
use super::algorithm::meter::{Ask, Meter, Place};
use super::algorithm::reserved::Reserved;
use super::algorithm::sliding::Sliding;
use super::calendar::Window;
use super::decision::Decision;
use super::error::Error;
use super::limit::{Algorithm, Limit, MAX_LIMITS};
use super::limiter::block::Block;
use super::limiter::ids::Bounds;
use super::limiter::{
    Form, Limiter, LimiterMut, LimiterRef, MeterForm, Meters, Noted, Notes, Store,
};
use arrayvec::ArrayVec;
use regional::{commit_regional, quote_regional, LocalRegion};
use shadow::Tried;

mod meters;
mod next;
mod once;
pub mod regional;
mod several;
pub mod shadow;

pub use next::{nexts, Nexts};
pub use once::{commit_once, quote_once, Id, Once};
pub use several::{all_fit, binding, is_repeat, quote_all, PerKey};

/// What a hit asks of one key.
#[derive(Clone, Copy, Debug)]
pub struct Hit<'a> {
    /// How to count.
    pub algorithm: Algorithm,
    /// One to [`super::limit::MAX_LIMITS`] limits, no two of one window.
    pub limits: &'a [Limit],
    /// Units to charge; negative to give back. Within ±[`MAX_COUNT`](super::limit::MAX_COUNT).
    pub cost: i64,
    /// Charge even what does not fit.
    pub force: bool,
    /// The log size of a sliding limiter that this hit creates.
    pub log_size: u16,
    /// What few hits ask for.
    pub options: &'a HitOptions<'a>,
}

/// What few hits ask for.
#[derive(Clone, Copy, Debug)]
pub struct HitOptions<'a> {
    /// Where there is a calendar window: for each limit its window now, of which only the calendar's say anything.
    pub windows: &'a [Window],
    /// The same at `at_ms`, where that lies later than now: only the answer needs them.
    pub at_windows: &'a [Window],
    /// When the hit counts as charged, in Unix milliseconds; now, where it lies later.
    pub at_ms: Option<u64>,
    /// The charge will be settled by its time: of a bucket, that is noted.
    pub stamp: bool,
    /// Take as much as fits, this at the least.
    pub min: Option<u64>,
    /// Take what will fit within so many milliseconds.
    pub reserve_ms: Option<u64>,
    /// How long the key is shut when it denies this hit: for the first time, the second ..
    pub block_ms: &'a [u64],
    /// Of several keys' hits: it stops none of the others.
    pub is_shadow: bool,
    /// Limits that are tried beside its own.
    pub tried: Option<Tried<'a>>,
    /// Whose lease it is; of the other algorithms, by what a repeat is known, or nothing where it may count again.
    pub id: &'a [u8],
    /// How many such a key remembers, and for how long.
    pub ids: Bounds,
    /// Windows that the hit does not name are dropped, used or not: the effects of the first version do that.
    pub drops_unnamed: bool,
    /// Where several regions share limits: which this one is.
    pub here: Option<LocalRegion>,
}

impl<'a> HitOptions<'a> {
    /// None of it.
    pub const NONE: Self = Self::of(&[]);

    /// None of it but whose lease it is. (Field by field: to take the others from a constant copies what an absent one would
    /// have held, too.)
    #[inline(always)]
    pub const fn of(id: &'a [u8]) -> Self {
        Self {
            windows: &[],
            at_windows: &[],
            at_ms: None,
            stamp: false,
            min: None,
            reserve_ms: None,
            block_ms: &[],
            is_shadow: false,
            tried: None,
            id,
            ids: Bounds::DEFAULT,
            drops_unnamed: false,
            here: None,
        }
    }
}

impl<'a> Hit<'a> {
    /// A hit that asks for nothing rare.
    pub fn new(algorithm: Algorithm, limits: &'a [Limit], cost: i64) -> Self {
        Self {
            algorithm,
            limits,
            cost,
            force: false,
            log_size: super::algorithm::log::DEFAULT_ENTRIES,
            options: &HitOptions::NONE,
        }
    }

    /// The same, asking only: what it would be answered, if nothing else stopped it.
    pub fn as_probe(&self) -> Self {
        Self {
            force: false,
            ..*self
        }
    }

    #[inline(always)]
    fn ask<'b>(&'b self, index: usize, limit: &'b Limit, now_ms: u64) -> Ask<'b> {
        Ask {
            limit,
            window: self.options.windows.get(index).copied().unwrap_or_default(),
            id: self.options.id,
            now_ms,
        }
    }

    /// By what a repeat of it is known, where it is charged once.
    #[inline(always)]
    fn id(&self) -> Option<Id<'a>> {
        let is_once = self.algorithm != Algorithm::Lease && !self.options.id.is_empty();
        is_once.then_some(Id {
            bytes: self.options.id,
            bounds: self.options.ids,
        })
    }

    /// When it counts as charged.
    #[inline(always)]
    fn at_ms(&self) -> u64 {
        self.options.at_ms.unwrap_or(u64::MAX)
    }
}

/// What a hit is answered, and what it changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quote {
    /// What each limit says.
    pub decision: Decision,
    /// Whether this key lets the hit through, whatever others say.
    pub fits: bool,
    /// What it takes: the cost, or with MIN what of it fits; 0 where it is denied, or changes nothing.
    pub taken: i64,
    /// What [`commit`] is to do.
    pub change: Change,
    /// Of a repeat of what the key remembers: when that counts as charged, as STAMP says it. Then [`Quote::fits`] and
    /// [`Quote::taken`] are what that hit was answered.
    pub repeats: Option<u64>,
}

impl Quote {
    /// Whether the key, for its part, lets a call of several through: it lets the hit through, or has had it.
    pub fn lets_through(&self) -> bool {
        self.fits || self.repeats.is_some()
    }
}

/// A change of what a key holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Change {
    /// Nothing at all.
    #[default]
    None,
    /// So many units are charged, or given back.
    Charge(i64),
    /// A place is reserved, and charged.
    Reserve(Place),
    /// The same as any of these, of a hit with an id, which is remembered.
    Once(Once),
    /// Usage that lies in the future is moved to the present.
    Rewind,
    /// A block begins, and the limits that denied start anew.
    Block {
        /// The block.
        block: Block,
        /// Which limits, by place, as bits.
        emptied: u8,
    },
}

impl Change {
    /// Whether there is none.
    #[inline(always)]
    pub fn is_none(&self) -> bool {
        matches!(self, Change::None)
    }

    /// Units that it charges, or gives back.
    pub fn cost(&self) -> i64 {
        match self {
            Change::Charge(cost) => *cost,
            Change::Reserve(place) => place.cost.cast_signed(),
            Change::Once(once) => once.cost,
            Change::None | Change::Rewind | Change::Block { .. } => 0,
        }
    }
}

/// Answers a hit on what a key holds; `None` is an absent key. `rest_allows` says whether everything else that the hit asks lets
/// it through: other keys, the deny list. The quote is written to where the caller wants it, as it is too large to hand
/// around; it is a default one, or one that is done with.
///
/// # Errors
/// A key of another algorithm, more usage than is counted, more windows or leases than a key has.
#[inline(always)]
pub fn quote(
    state: Option<LimiterRef<'_>>,
    hit: &Hit,
    now_ms: u64,
    rest_allows: bool,
    quote: &mut Quote,
) -> Result<(), Error> {
    if hit.id().is_some() || matches!(state, Some(Form::Noted(_))) {
        return quote_noted(state, hit, now_ms, rest_allows, quote);
    }
    let asked = Asked {
        state,
        notes: None,
        rest_allows,
    };
    quote_usage(asked, hit, now_ms, quote)
}

/// As all that is marked so, one for all callers in WebAssembly, where size counts for more.
#[cfg_attr(not(target_family = "wasm"), inline(always))]
fn quote_usage(asked: Asked, hit: &Hit, now_ms: u64, quote: &mut Quote) -> Result<(), Error> {
    if hit.options.here.is_some() || asked.state.is_some_and(|held| held.is_shared()) {
        quote_regional(asked, hit, now_ms, quote)
    } else {
        quote_form(asked, hit, now_ms, quote)
    }
}

/// A key that notes something, or is to.
#[cold]
fn quote_noted(
    state: Option<LimiterRef<'_>>,
    hit: &Hit,
    now_ms: u64,
    rest_allows: bool,
    quote: &mut Quote,
) -> Result<(), Error> {
    quote_once(state, hit, hit.id(), now_ms, rest_allows, quote)
}

#[cfg_attr(not(target_family = "wasm"), inline(always))]
fn quote_form(asked: Asked, hit: &Hit, now_ms: u64, out: &mut Quote) -> Result<(), Error> {
    let needs_upgrade = needs_upgrade(hit, asked.state);
    match hit.algorithm {
        Algorithm::Fixed if needs_upgrade => asked.quote::<Dated>(hit, now_ms, out),
        Algorithm::Fixed => asked.quote::<Fixed>(hit, now_ms, out),
        Algorithm::Sliding => asked.quote::<Sliding>(hit, now_ms, out),
        Algorithm::Bucket if needs_upgrade => quote_wide_bucket(asked, hit, now_ms, out),
        Algorithm::Bucket => asked.quote::<Bucket>(hit, now_ms, out),
        Algorithm::Lease => asked.quote::<Leases>(hit, now_ms, out),
    }
}

/// As [`quote_form`], of a bucket that keeps more than its level.
#[cold]
fn quote_wide_bucket(asked: Asked, hit: &Hit, now_ms: u64, out: &mut Quote) -> Result<(), Error> {
    match asked.state {
        Some(Form::Reserved(_)) => asked.quote::<Reserved>(hit, now_ms, out),
        _ if hit.options.reserve_ms.is_some() => asked.quote::<Reserved>(hit, now_ms, out),
        _ => asked.quote::<Stamped>(hit, now_ms, out),
    }
}

/// Whether the hit needs, or the key has, a wider one of its algorithm's forms.
#[inline(always)]
fn needs_upgrade(hit: &Hit, state: Option<LimiterRef>) -> bool {
    match hit.algorithm {
        Algorithm::Fixed => {
            !hit.options.windows.is_empty() || matches!(state, Some(Form::Dated(_)))
        }
        Algorithm::Bucket => {
            let is_plain = matches!(state, None | Some(Form::Bucket(_)));
            !is_plain || hit.options.stamp || hit.options.reserve_ms.is_some()
        }
        Algorithm::Sliding | Algorithm::Lease => false,
    }
}

/// Makes the change that [`quote`] said, of the same state, hit and time: the same always makes the same. What is returned
/// takes the place of what the key held; where nothing is, the state has been changed in place.
#[cfg_attr(not(target_family = "wasm"), inline(always))]
pub fn commit(
    state: Option<&mut LimiterMut<'_>>,
    hit: &Hit,
    change: Change,
    now_ms: u64,
) -> Result<Option<Limiter>, Error> {
    if change.is_none() {
        return Ok(None);
    }
    match (state, change) {
        (Some(Form::Noted(noted)), _) => commit_noted(noted, hit, hit.options.id, change, now_ms),
        (state, Change::Block { .. } | Change::Once(_)) => {
            commit_first_note(state, hit, hit.options.id, change, now_ms)
        }
        (state, _) => commit_usage(state, hit, change, now_ms),
    }
}

#[cold]
fn commit_noted(
    noted: &mut Noted,
    hit: &Hit,
    id: &[u8],
    change: Change,
    now_ms: u64,
) -> Result<Option<Limiter>, Error> {
    change_noted(noted, hit, id, &change, now_ms)
}

/// A key that has noted nothing yet.
#[cold]
fn commit_first_note(
    state: Option<&mut LimiterMut<'_>>,
    hit: &Hit,
    id: &[u8],
    change: Change,
    now_ms: u64,
) -> Result<Option<Limiter>, Error> {
    if state.is_none() && change.cost() == 0 {
        return Ok(None); // the key has gone since, and with it what was to be changed
    }
    let mut noted = Noted::of(state.map(|held| held.to_limiter()));
    commit_noted(&mut noted, hit, id, change, now_ms)?;
    Ok(Some(Limiter::Noted(Box::new(noted))))
}

/// A key that notes something beside its usage, or is to.
#[inline(always)]
fn change_noted(
    noted: &mut Noted,
    hit: &Hit,
    id: &[u8],
    change: &Change,
    now_ms: u64,
) -> Result<Option<Limiter>, Error> {
    let mut held = noted.limiter.as_mut().map(Limiter::held);
    let usage = change.of_usage();
    if !usage.is_none() {
        if let Some(limiter) = commit_usage(held.as_mut(), hit, usage, now_ms)? {
            noted.limiter = Some(limiter);
        }
    }
    let is_of_usage = matches!(change, Change::Block { .. } | Change::Once(_));
    if is_of_usage && noted.limiter.is_none() {
        return Ok(None); // what was used has gone since: only an order's block is left
    }
    noted.notes.rewind(now_ms);
    if let Change::Block { block, .. } = change {
        noted.notes.block = Some(*block); // in place of the last
    }
    once::note(noted, hit, id, change, now_ms);
    Ok(noted.forget(now_ms))
}

#[inline(always)]
fn commit_usage(
    state: Option<&mut LimiterMut<'_>>,
    hit: &Hit,
    change: Change,
    now_ms: u64,
) -> Result<Option<Limiter>, Error> {
    match state {
        // The key has gone since, and with it what was to be changed.
        None if !matches!(change, Change::Charge(_) | Change::Reserve(_)) => Ok(None),
        Some(ref held) if held.is_shared() => commit_regional(state, hit, change, now_ms),
        _ if hit.options.here.is_some() => commit_regional(state, hit, change, now_ms),
        _ => commit_meters(state, hit, change, now_ms),
    }
}

#[inline(always)]
fn commit_meters(
    state: Option<&mut LimiterMut<'_>>,
    hit: &Hit,
    change: Change,
    now_ms: u64,
) -> Result<Option<Limiter>, Error> {
    let needs_upgrade = needs_upgrade(hit, state.as_ref().map(|held| held.by_ref()));
    match hit.algorithm {
        Algorithm::Fixed if needs_upgrade => commit_form::<Dated>(state, hit, change, now_ms),
        Algorithm::Fixed => commit_form::<Fixed>(state, hit, change, now_ms),
        Algorithm::Sliding => commit_form::<Sliding>(state, hit, change, now_ms),
        Algorithm::Bucket if needs_upgrade || matches!(change, Change::Reserve(_)) => {
            commit_wide_bucket(state, hit, change, now_ms)
        }
        Algorithm::Bucket => commit_form::<Bucket>(state, hit, change, now_ms),
        Algorithm::Lease => commit_form::<Leases>(state, hit, change, now_ms),
    }
}

/// As [`commit_form`], of a bucket that keeps, or is to keep, more than its level.
#[cold]
fn commit_wide_bucket(
    state: Option<&mut LimiterMut<'_>>,
    hit: &Hit,
    change: Change,
    now_ms: u64,
) -> Result<Option<Limiter>, Error> {
    match (&state, change) {
        (Some(Form::Reserved(_)), _) | (_, Change::Reserve(_)) => {
            commit_form::<Reserved>(state, hit, change, now_ms)
        }
        (Some(Form::Stamped(_)), _) => commit_form::<Stamped>(state, hit, change, now_ms),
        _ if hit.options.stamp => commit_form::<Stamped>(state, hit, change, now_ms),
        _ => commit_form::<Bucket>(state, hit, change, now_ms),
    }
}

#[inline(always)]
fn commit_form<M: MeterForm>(
    state: Option<&mut LimiterMut<'_>>,
    hit: &Hit,
    change: Change,
    now_ms: u64,
) -> Result<Option<Limiter>, Error> {
    let Some(held) = state else {
        let mut meters = Meters::<M>::empty();
        meters.change(hit, change, now_ms);
        return Ok(Some(M::wrap(meters)));
    };
    if let Some(store) = M::of_mut(held) {
        if let (Change::Charge(cost), [limit]) = (change, hit.limits) {
            if let Some(mut meter) = store.one().filter(|meter| meter.is_for(limit)) {
                meter.charge(&hit.ask(0, limit, now_ms), cost, hit.at_ms());
                store.put(meter);
                return Ok(None);
            }
        }
        store.many().change(hit, change, now_ms);
        store.settle();
        return Ok(None);
    }
    let copied = M::of(held.by_ref()).map(|store| store.map(M::clone));
    let copied = copied.or_else(|| M::upgrade(held.by_ref(), hit.origin(now_ms)));
    let mut meters = copied.ok_or_else(|| other_algorithm::<M>(held.by_ref()))?;
    meters.change(hit, change, now_ms);
    Ok(Some(M::wrap(meters)))
}

#[cold]
fn other_algorithm<M: Meter>(held: LimiterRef) -> Error {
    let asked = M::ALGORITHM;
    let holds = held.algorithm().unwrap_or(asked);
    Error::HoldsAlgorithm { holds, asked }
}

/// What a hit is quoted on.
#[derive(Clone, Copy)]
struct Asked<'a> {
    state: Option<LimiterRef<'a>>,
    notes: Option<&'a Notes>,
    rest_allows: bool,
}

impl Asked<'_> {
    #[inline(always)]
    fn quote<M: MeterForm>(&self, hit: &Hit, now_ms: u64, quote: &mut Quote) -> Result<(), Error> {
        let Some(held) = self.state else {
            return Meters::<M>::quote(&[], self.notes, self.rest_allows, hit, now_ms, quote);
        };
        if let Some(store) = M::of(held) {
            if let (Some(meter), [limit]) = (store.one(), hit.limits) {
                return self.quote_one(&meter, limit, hit, now_ms, quote);
            }
            let meters = &store.view();
            // (Of the others, hardly one that is alone is not packed.)
            if matches!(M::ALGORITHM, Algorithm::Sliding | Algorithm::Lease) {
                if let ([meter], [limit]) = (&**meters, hit.limits) {
                    return self.quote_one(meter, limit, hit, now_ms, quote);
                }
            }
            return Meters::quote(meters, self.notes, self.rest_allows, hit, now_ms, quote);
        }
        let upgraded = M::upgrade(held, hit.origin(now_ms));
        let upgraded = upgraded.ok_or_else(|| other_algorithm::<M>(held))?;
        Meters::quote(
            &upgraded.0,
            self.notes,
            self.rest_allows,
            hit,
            now_ms,
            quote,
        )
    }

    /// The usual key and hit have one window: this is compiled for them, each loop being one round.
    #[inline(always)]
    fn quote_one<M: MeterForm>(
        &self,
        meter: &M,
        limit: &Limit,
        hit: &Hit,
        now_ms: u64,
        quote: &mut Quote,
    ) -> Result<(), Error> {
        let (meters, limits) = (std::slice::from_ref(meter), std::slice::from_ref(limit));
        let hit = &Hit { limits, ..*hit };
        Meters::quote(meters, self.notes, self.rest_allows, hit, now_ms, quote)
    }
}

/// [`quote`] where nobody counts instructions.
///
/// # Errors
/// As [`quote`]'s.
pub fn peek(state: Option<&mut Limiter>, hit: &Hit, now_ms: u64) -> Result<Quote, Error> {
    let mut quoted = Quote::default();
    let held = state.map(|limiter| limiter.by_ref());
    quote(held, hit, now_ms, true, &mut quoted)?;
    Ok(quoted)
}

/// [`quote`] and [`commit`] of one key that somebody owns. `None` is an absent key, which comes into being with its first
/// charge.
///
/// # Errors
/// As [`quote`]'s; then nothing is changed.
pub fn hit(state: &mut Option<Limiter>, hit: &Hit, now_ms: u64) -> Result<Quote, Error> {
    let quoted = peek(state.as_mut(), hit, now_ms)?;
    apply(state, hit, quoted.change, now_ms)?;
    Ok(quoted)
}

/// [`commit`] of one key that somebody owns.
///
/// # Errors
/// A key of another algorithm; then nothing is changed.
pub fn apply(
    state: &mut Option<Limiter>,
    hit: &Hit,
    change: Change,
    now_ms: u64,
) -> Result<(), Error> {
    if change.is_none() {
        return Ok(());
    }
    let mut held = state.as_mut().map(Limiter::held);
    let replacement = commit(held.as_mut(), hit, change, now_ms)?;
    if let Some(limiter) = replacement {
        *state = Some(limiter);
    }
    Ok(())
}

/// The windows of a clause's limits.
pub type Windows = ArrayVec<Window, MAX_LIMITS>;

#[cfg(test)]
mod tests;
