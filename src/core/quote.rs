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
//! A hit with an id that the key remembers is quoted apart, in [`once`]: nothing is judged, and nothing changes.

use super::algorithm::bucket::{Bucket, Stamped};
use super::algorithm::fixed::{Dated, Fixed};
use super::algorithm::lease::Leases;
use super::algorithm::meter::{Ask, Meter, Place};
use super::algorithm::reserved::Reserved;
use super::algorithm::sliding::Sliding;
use super::calendar::Window;
use super::decision::{Decision, Retry, Verdict};
use super::error::Error;
use super::limit::{Algorithm, Limit, MAX_COUNT, MAX_LIMITS, MAX_TIME_MS, MAX_WINDOWS};
use super::limiter::block::Block;
use super::limiter::ids::Bounds;
use super::limiter::{
    Form, Limiter, LimiterMut, LimiterRef, MeterForm, Meters, Noted, Notes, Store,
};
use arrayvec::ArrayVec;
use regional::{commit_regional, quote_regional, LocalRegion};
use shadow::Tried;
use smallvec::SmallVec;
use std::num::NonZero;

mod once;
pub mod regional;
pub mod shadow;

pub use once::{commit_once, quote_once, Once};

/// What a hit asks of one key.
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
    pub const NONE: Self = Self {
        windows: &[],
        at_windows: &[],
        at_ms: None,
        stamp: false,
        min: None,
        reserve_ms: None,
        block_ms: &[],
        is_shadow: false,
        tried: None,
        id: &[],
        ids: Bounds::DEFAULT,
        drops_unnamed: false,
        here: None,
    };

    /// None of it but whose lease it is.
    #[inline(always)]
    pub fn of(id: &'a [u8]) -> Self {
        Self { id, ..Self::NONE }
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

    /// Whether it is charged once.
    #[inline(always)]
    fn is_once(&self) -> bool {
        self.algorithm != Algorithm::Lease && !self.options.id.is_empty()
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

/// Makes of one meter what a change makes of it that charges all of a call's.
trait Take: Meter {
    fn take(&mut self, ask: &Ask, change: Change, at_ms: u64) {
        match change {
            Change::Reserve(place) => self.reserve(ask, &place),
            _ => self.charge(ask, change.cost(), at_ms),
        }
    }
}

impl<M: Meter> Take for M {}

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
    if hit.is_once() || matches!(state, Some(Form::Noted(_))) {
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
    quote_once(state, hit, now_ms, rest_allows, quote)
}

/// As many keys as most calls have on the stack, more on the heap.
pub type PerKey<T> = SmallVec<[T; 5]>;

/// Answers a call of several keys, a hit each: first as if all the others let the call through; where one does not, those
/// that do once more: nothing is charged, or, where the call is forced, what is charged has to be waited for, too. A shadow
/// stops none of them, and is charged with them where it fits.
/// `is_listed` says that a deny list has stopped it: then nothing is charged, and each says how it stands. `quote` answers for
/// the key at a place, as [`quote()`] does: one key after another, so that no two need be open. The quotes are put into
/// `quotes`, which is empty. Returns whether the call is charged.
///
/// # Errors
/// Those of `quote`, of any key.
#[inline(always)]
pub fn quote_all(
    mut quote: impl FnMut(usize, &Hit, bool, &mut Quote) -> Result<(), Error>,
    hits: &[Hit],
    is_listed: bool,
    quotes: &mut PerKey<Quote>,
) -> Result<bool, Error> {
    quotes.extend(hits.iter().map(|_| Quote::default()));
    for (index, (hit, quoted)) in hits.iter().zip(&mut *quotes).enumerate() {
        if is_listed {
            quote(index, &hit.as_probe(), false, quoted)?;
            quoted.change = Change::None;
        } else {
            quote(index, hit, true, quoted)?;
        }
    }
    let all_fit = all_fit(quotes, hits);
    if !is_listed && !all_fit {
        for (index, (hit, quoted)) in hits.iter().zip(quotes).enumerate() {
            if quoted.lets_through() {
                quote(index, hit, false, quoted)?;
            }
        }
    }
    let is_charged = all_fit || hits.iter().any(|hit| hit.force);
    Ok(is_charged && !is_listed)
}

/// Whether every hit that binds is let through by its key.
#[inline(always)]
pub fn all_fit(quotes: &[Quote], hits: &[Hit]) -> bool {
    let mut keys = quotes.iter().zip(hits);
    keys.all(|(quoted, hit)| quoted.lets_through() || hit.options.is_shadow)
}

/// The limit that binds of several keys', and the place of its key. Denied: the longest wait, of the keys that deny, or that a
/// forced call has filled. Allowed: the least that is left for the cost of its key. No shadow's, nor that of a key that has had
/// the hit, unless each has.
pub fn binding(quotes: &[Quote], hits: &[Hit]) -> Option<(usize, Verdict)> {
    let is_repeat = is_repeat(quotes, hits);
    let keys = quotes.iter().zip(hits).enumerate();
    let keys = keys.filter(|(_, (quoted, hit))| {
        !hit.options.is_shadow && (is_repeat || quoted.repeats.is_none())
    });
    let is_denied = keys.clone().any(|(_, (quoted, _))| !quoted.fits);
    let bindings = keys.filter_map(|(place, (quoted, hit))| {
        let cost = u128::from(u64::try_from(hit.cost).unwrap_or(0).max(1));
        let verdict = quoted.decision.binding()?;
        (verdict.allowed != is_denied).then_some((place, verdict, cost))
    });
    let tightest = bindings.reduce(|binds, other| {
        let is_tighter = if is_denied {
            other.1.retry > binds.1.retry
        } else {
            u128::from(other.1.remaining()) * binds.2 < u128::from(binds.1.remaining()) * other.2
        };
        if is_tighter {
            other
        } else {
            binds
        }
    });
    tightest.map(|(place, verdict, _)| (place, *verdict))
}

/// Whether every key that takes the call's id, and binds, has had the hit.
pub fn is_repeat(quotes: &[Quote], hits: &[Hit]) -> bool {
    let takes_it = |(_, hit): &(&Quote, &Hit)| hit.is_once() && !hit.options.is_shadow;
    let mut taking = quotes.iter().zip(hits).filter(takes_it);
    let has_had = |(quoted, _): (&Quote, &Hit)| quoted.repeats.is_some();
    taking.next().is_some_and(has_had) && taking.all(has_had)
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
        (Some(Form::Noted(noted)), _) => commit_noted(noted, hit, change, now_ms),
        (state, Change::Block { .. } | Change::Once(_)) => {
            commit_first_note(state, hit, change, now_ms)
        }
        (state, _) => commit_usage(state, hit, change, now_ms),
    }
}

#[cold]
fn commit_noted(
    noted: &mut Noted,
    hit: &Hit,
    change: Change,
    now_ms: u64,
) -> Result<Option<Limiter>, Error> {
    change_noted(noted, hit, &change, now_ms)
}

/// A key that has noted nothing yet.
#[cold]
fn commit_first_note(
    state: Option<&mut LimiterMut<'_>>,
    hit: &Hit,
    change: Change,
    now_ms: u64,
) -> Result<Option<Limiter>, Error> {
    if state.is_none() && change.cost() == 0 {
        return Ok(None); // the key has gone since, and with it what was to be changed
    }
    let mut noted = Noted::of(state.map(|held| held.to_limiter()));
    commit_noted(&mut noted, hit, change, now_ms)?;
    Ok(Some(Limiter::Noted(Box::new(noted))))
}

/// A key that notes something beside its usage, or is to.
#[inline(always)]
fn change_noted(
    noted: &mut Noted,
    hit: &Hit,
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
    once::note(noted, hit, change, now_ms);
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

impl<M: Meter> Meters<M> {
    #[inline(always)]
    pub(super) fn quote(
        meters: &[M],
        notes: Option<&Notes>,
        rest_allows: bool,
        hit: &Hit,
        now_ms: u64,
        quote: &mut Quote,
    ) -> Result<(), Error> {
        let own = Self::measure(meters, hit, rest_allows, now_ms, quote)?;
        let mut needed = hit.cost.unsigned_abs(); // what has to fit
        if !quote.fits && hit.cost > 0 {
            if let Some(min) = hit.options.min {
                needed = min;
                Self::take_part(meters, hit, min, now_ms, quote);
            } else if let (Some(reserve_ms), true) = (hit.options.reserve_ms, rest_allows) {
                Self::reserve(meters, hit, reserve_ms, now_ms, quote)?;
            }
        }
        // What is given back goes on, and so does a lease that is renewed for no more than it holds.
        let goes_on = hit.cost < 0 || (1..=own).contains(&hit.cost.unsigned_abs());
        let shut_ms = match notes {
            Some(notes) if !goes_on => notes.left_ms(now_ms),
            _ => 0,
        };
        if shut_ms > 0 {
            quote.fits = false;
        }
        let lets_through = quote.fits && rest_allows;
        if !(lets_through || hit.force) {
            quote.taken = 0;
        }
        quote.change = Change::None;
        if quote.taken != 0 && Self::is_changed(meters, hit, now_ms, quote) {
            quote.change = Change::Charge(quote.taken);
            if hit.options.reserve_ms.is_some() && hit.cost > 0 {
                Self::take_place(meters, hit, now_ms, quote);
            }
            Self::judge_after(meters, hit, own, rest_allows, now_ms, quote);
        } else {
            quote.taken = 0;
            let is_ahead = Self::is_ahead(meters, hit, now_ms);
            if is_ahead || notes.is_some_and(|notes| notes.is_ahead(now_ms)) {
                quote.change = Change::Rewind;
            }
            Self::judge_before(meters, hit, needed, now_ms, quote);
        }
        if hit.options.reserve_ms.is_some() && hit.cost > 0 {
            Self::judge_turns(meters, hit, now_ms, quote);
        }
        if hit.options.at_ms.is_some() && !lets_through {
            Self::judge_late(meters, hit, now_ms, quote);
        }
        if shut_ms > 0 {
            Self::shut(shut_ms, quote);
        } else if !(quote.fits || hit.force || hit.options.block_ms.is_empty())
            && hit.cost > 0
            && rest_allows
        {
            Self::start_block(meters, notes, hit, needed, now_ms, quote);
        }
        Ok(())
    }

    /// Notes what is used of every limit, and whether the cost fits them all. Returns what of the usage is the asker's own:
    /// of leases, which have one limit.
    #[inline(always)]
    fn measure(
        meters: &[M],
        hit: &Hit,
        rest_allows: bool,
        now_ms: u64,
        quote: &mut Quote,
    ) -> Result<u64, Error> {
        let cost = hit.cost.unsigned_abs();
        let mut own = 0;
        let mut fits = true;
        let mut is_in_order = true;
        quote.decision.verdicts.clear();
        for (index, limit) in hit.limits.iter().enumerate() {
            let ask = hit.ask(index, limit, now_ms);
            let meter = Self::find(meters, index, limit);
            // (A closure is called here, where a match is not.)
            let used = match meter {
                Some(meter) => {
                    own = meter.own(&ask);
                    meter.used(&ask)
                }
                None => 0,
            };
            let after = used.saturating_sub(own).saturating_add(cost);
            let is_late =
                hit.options.at_ms.is_some() && Self::counts_ms(meter, &ask, index, hit) == 0;
            // What is given back always fits, or a debt could never be reduced; so does what is renewed, and what would
            // not be counted.
            fits &= hit.cost < 0 || after <= limit.limit() || (cost > 0 && cost <= own) || is_late;
            if hit.force && hit.cost > 0 && after > MAX_COUNT && !is_late {
                return Err(Error::Overflow);
            }
            if hit.cost > 0 && rest_allows && meter.is_some_and(|meter| meter.is_full(&ask)) {
                return Err(Error::TooManyLeases);
            }
            is_in_order &= meter.is_some();
            quote.decision.verdicts.push(Verdict {
                allowed: true,
                limit: limit.limit(),
                used,
                retry: Retry::After(0),
                reset_after_ms: 0,
            });
        }
        if !is_in_order {
            Self::check_windows(meters, hit, now_ms)?;
        }
        quote.fits = fits;
        quote.taken = hit.cost;
        Ok(own)
    }

    /// Whether the windows that are in use leave room for those that the hit adds.
    fn check_windows(meters: &[M], hit: &Hit, now_ms: u64) -> Result<(), Error> {
        let kept = meters
            .iter()
            .filter(|meter| !hit.limits.iter().any(|limit| meter.is_for(limit)))
            .filter(|meter| !meter.is_unused(now_ms))
            .count();
        if kept + hit.limits.len() > MAX_WINDOWS {
            return Err(Error::TooManyWindows);
        }
        Ok(())
    }

    /// For how many milliseconds more the hit counts, by a limit: 0 where it no longer does.
    #[cold]
    fn counts_ms(meter: Option<&M>, ask: &Ask, index: usize, hit: &Hit) -> u64 {
        let counts_ms = match hit.options.at_ms {
            None => u64::MAX,
            Some(0) => 0, // the stamp of a hit that was denied
            Some(at_ms) => M::counts_ms(meter, ask, at_ms),
        };
        match hit.options.at_windows.get(index) {
            Some(later) if counts_ms == u64::MAX && later.end_ms > 0 => later.end_ms - ask.now_ms,
            _ => counts_ms,
        }
    }

    /// As much of the cost as fits every limit that it counts by, if that is enough.
    #[cold]
    fn take_part(meters: &[M], hit: &Hit, min: u64, now_ms: u64, quote: &mut Quote) {
        let mut room = hit.cost.unsigned_abs();
        for (index, (limit, verdict)) in hit.limits.iter().zip(&quote.decision.verdicts).enumerate()
        {
            let meter = Self::find(meters, index, limit);
            if Self::counts_ms(meter, &hit.ask(index, limit, now_ms), index, hit) > 0 {
                room = room.min(verdict.remaining());
            }
        }
        if room >= min {
            quote.fits = true;
            quote.taken = i64::try_from(room).unwrap_or(i64::MAX);
        }
    }

    /// Lets through what will fit soon enough.
    #[cold]
    fn reserve(
        meters: &[M],
        hit: &Hit,
        reserve_ms: u64,
        now_ms: u64,
        quote: &mut Quote,
    ) -> Result<(), Error> {
        let mut turn_ms = 0;
        let mut most = 0;
        for (index, (limit, verdict)) in hit.limits.iter().zip(&quote.decision.verdicts).enumerate()
        {
            match Self::turn(meters, hit, index, limit, now_ms) {
                Retry::After(ms) => turn_ms = turn_ms.max(ms),
                Retry::Never => return Ok(()),
            }
            most = most.max(verdict.used.saturating_add(hit.cost.unsigned_abs()));
        }
        quote.fits = turn_ms <= reserve_ms;
        if quote.fits && most > MAX_COUNT {
            return Err(Error::Overflow);
        }
        Ok(())
    }

    /// Where the turn is yet to come, what is charged is a place that can be given back; and where stamps have run ahead of the
    /// clock, or another was given now.
    #[cold]
    fn take_place(meters: &[M], hit: &Hit, now_ms: u64, quote: &mut Quote) {
        let turn = |(index, limit)| Self::turn(meters, hit, index, limit, now_ms);
        let turns = hit.limits.iter().enumerate().map(turn);
        let Some(Retry::After(wait_ms)) = turns.max() else {
            return;
        };
        let stamped_ms = meters.iter().map(M::stamped_ms).max();
        let free_ms = stamped_ms.map_or(0, |stamped_ms| stamped_ms + 1);
        let stamp_ms = free_ms.max(now_ms).min(MAX_TIME_MS);
        if wait_ms > 0 || (hit.options.stamp && stamp_ms > now_ms) {
            quote.change = Change::Reserve(Place {
                cost: hit.cost.unsigned_abs(),
                acts_ms: now_ms + wait_ms,
                stamp_ms,
            });
        }
    }

    /// When a cost fits one limit, if nothing else happens.
    fn turn(meters: &[M], hit: &Hit, index: usize, limit: &Limit, now_ms: u64) -> Retry {
        let meter = Self::find(meters, index, limit);
        let ask = hit.ask(index, limit, now_ms);
        match limit.limit().checked_sub(hit.cost.unsigned_abs()) {
            Some(target) => Retry::After(meter.map_or(0, |meter| meter.wait(&ask, target))),
            None => Retry::Never,
        }
    }

    /// Says when a reserved hit's turn comes; denied, when it would be soon enough.
    #[cold]
    fn judge_turns(meters: &[M], hit: &Hit, now_ms: u64, quote: &mut Quote) {
        let late_ms = if quote.fits {
            0
        } else {
            hit.options.reserve_ms.unwrap_or(0)
        };
        let verdicts = hit.limits.iter().zip(&mut quote.decision.verdicts);
        for (index, (limit, verdict)) in verdicts.enumerate() {
            verdict.retry = match Self::turn(meters, hit, index, limit, now_ms) {
                Retry::After(ms) => Retry::After(ms.saturating_sub(late_ms)),
                Retry::Never => Retry::Never,
            };
            verdict.allowed = quote.fits || verdict.retry == Retry::After(0);
        }
    }

    /// Of a denied hit of an earlier time: by when it would no longer count, it would be allowed, and not charged.
    #[cold]
    fn judge_late(meters: &[M], hit: &Hit, now_ms: u64, quote: &mut Quote) {
        let verdicts = hit.limits.iter().zip(&mut quote.decision.verdicts);
        for (index, (limit, verdict)) in verdicts.enumerate() {
            let meter = Self::find(meters, index, limit);
            let counts_ms = Self::counts_ms(meter, &hit.ask(index, limit, now_ms), index, hit);
            if counts_ms < u64::MAX {
                verdict.retry = verdict.retry.min(Retry::After(counts_ms));
                verdict.allowed = verdict.retry == Retry::After(0);
            }
        }
    }

    /// Whether charging what is taken would change anything: a refund on an unused limit is a no-op, and so is what no
    /// longer counts.
    #[inline(always)]
    fn is_changed(meters: &[M], hit: &Hit, now_ms: u64, quote: &Quote) -> bool {
        let at_ms = hit.at_ms();
        if hit.options.at_ms.is_none() {
            return hit.cost > 0
                || quote
                    .decision
                    .verdicts
                    .iter()
                    .any(|verdict| verdict.used > 0);
        }
        let mut limits = hit.limits.iter().enumerate();
        at_ms > 0
            && limits.any(|(index, limit)| {
                let ask = hit.ask(index, limit, now_ms);
                let meter = Self::find(meters, index, limit);
                if hit.cost > 0 {
                    Self::counts_ms(meter, &ask, index, hit) > 0
                } else {
                    meter.is_some_and(|meter| meter.refundable(&ask, at_ms) > 0)
                }
            })
    }

    /// What each limit says of a hit that charges nothing.
    #[inline(always)]
    fn judge_before(meters: &[M], hit: &Hit, needed: u64, now_ms: u64, quote: &mut Quote) {
        let fits = quote.fits;
        let verdicts = hit.limits.iter().zip(&mut quote.decision.verdicts);
        for (index, (limit, verdict)) in verdicts.enumerate() {
            let meter = Self::find(meters, index, limit);
            let ask = hit.ask(index, limit, now_ms);
            if fits {
                verdict.reset_after_ms = match meter {
                    Some(meter) => meter.reset(&ask),
                    None => 0,
                };
            } else {
                verdict.wait(meter, &ask, needed);
            }
        }
    }

    /// What each limit says once the hit is charged.
    #[inline(always)]
    fn judge_after(
        meters: &[M],
        hit: &Hit,
        own: u64,
        rest_allows: bool,
        now_ms: u64,
        quote: &mut Quote,
    ) {
        if hit.options.at_ms.is_some()
            || quote.taken < 0
            || hit.options.reserve_ms.is_some()
            || !(quote.fits && rest_allows)
        {
            return Self::judge_clones(meters, hit, rest_allows, now_ms, quote);
        }
        let cost = quote.taken.unsigned_abs();
        let verdicts = hit.limits.iter().zip(&mut quote.decision.verdicts);
        for (index, (limit, verdict)) in verdicts.enumerate() {
            let meter = Self::find(meters, index, limit);
            let ask = hit.ask(index, limit, now_ms);
            verdict.used = verdict.used.saturating_sub(own).saturating_add(cost);
            verdict.reset_after_ms = M::reset_after(meter, &ask, cost);
        }
    }

    /// The same, of a hit whose effect is not known without making it.
    #[cold]
    fn judge_clones(meters: &[M], hit: &Hit, rest_allows: bool, now_ms: u64, quote: &mut Quote) {
        let fits = quote.fits && rest_allows || hit.cost < 0;
        let verdicts = hit.limits.iter().zip(&mut quote.decision.verdicts);
        for (index, (limit, verdict)) in verdicts.enumerate() {
            let ask = hit.ask(index, limit, now_ms);
            let found = Self::find(meters, index, limit).cloned();
            let mut meter = found.unwrap_or_else(|| M::unused(limit, hit.log_size));
            meter.take(&ask, quote.change, hit.at_ms());
            verdict.used = meter.used(&ask);
            // A forced hit that did not fit, here or on another key, may have filled a limit that it did fit: then that one has
            // to be waited for, too.
            if fits {
                verdict.reset_after_ms = meter.reset(&ask);
            } else {
                verdict.wait(Some(&meter), &ask, hit.cost.unsigned_abs());
            }
        }
    }

    /// What each limit says within a block.
    #[cold]
    fn shut(left_ms: u64, quote: &mut Quote) {
        for verdict in &mut quote.decision.verdicts {
            verdict.allowed = false;
            verdict.retry = verdict.retry.max(Retry::After(left_ms));
            verdict.used = verdict.used.max(verdict.limit); // nothing remains
        }
    }

    /// What gives back all that is used.
    const ALL: i64 = -MAX_COUNT.cast_signed();

    /// Shuts the key, if the hit could have fitted: the limits that denied start anew.
    #[cold]
    fn start_block(
        meters: &[M],
        notes: Option<&Notes>,
        hit: &Hit,
        needed: u64,
        now_ms: u64,
        quote: &mut Quote,
    ) {
        if hit.limits.iter().any(|limit| needed > limit.limit()) {
            return;
        }
        let before = notes.and_then(|notes| notes.block);
        let before = before.filter(|block| !block.is_forgotten(now_ms));
        let passed = before.map_or(0, |block| block.strikes.get());
        let strikes = NonZero::<u32>::MIN.saturating_add(passed);
        let nth = usize::try_from(passed).unwrap_or(usize::MAX);
        let length_ms = hit
            .options
            .block_ms
            .get(nth)
            .or(hit.options.block_ms.last());
        let length_ms = length_ms.copied().unwrap_or(0);
        let mut emptied = 0;
        let verdicts = hit.limits.iter().zip(&mut quote.decision.verdicts);
        for (bit, (limit, verdict)) in verdicts.enumerate() {
            if verdict.allowed {
                continue;
            }
            emptied |= 1 << bit;
            (verdict.used, verdict.retry, verdict.reset_after_ms) = (0, Retry::After(0), 0);
            let meter = Self::find(meters, bit, limit);
            if let Some(meter) = meter.filter(|meter| meter.reserved_ms(now_ms) > 0) {
                // No block recalls a place.
                let (mut left, ask) = (meter.clone(), hit.ask(bit, limit, now_ms));
                left.charge(&ask, Self::ALL, u64::MAX);
                verdict.used = left.used(&ask);
                verdict.wait(Some(&left), &ask, needed);
            }
        }
        Self::shut(length_ms, quote);
        let until_ms = now_ms + length_ms;
        let block = Block {
            until_ms,
            length_ms,
            strikes,
        };
        quote.change = Change::Block { block, emptied };
    }

    /// Whether anything lies too far in the future.
    #[inline(always)]
    fn is_ahead(meters: &[M], hit: &Hit, now_ms: u64) -> bool {
        let mut meters = meters.iter();
        meters.any(|meter| meter.is_ahead(now_ms, Self::window_of(meter, hit)))
    }

    /// The calendar's window of a meter now, where the hit names it.
    #[inline(always)]
    fn window_of(meter: &M, hit: &Hit) -> Option<Window> {
        let windows = hit.options.windows.iter();
        let mut named = hit.limits.iter().zip(windows);
        named
            .find(|(limit, _)| meter.is_for(limit))
            .map(|(_, window)| *window)
    }

    #[inline(always)]
    fn change(&mut self, hit: &Hit, change: Change, now_ms: u64) {
        match change {
            Change::None | Change::Once(_) => {} // see `Change::of_usage`
            Change::Charge(cost) => self.charge(hit, cost, now_ms),
            Change::Reserve(place) => self.charge_place(hit, &place, now_ms),
            Change::Rewind => self.rewind(hit, now_ms),
            Change::Block { emptied, .. } => self.empty_limits(hit, emptied, now_ms),
        }
    }

    /// Charges every limit, and adopts the limits' numbers.
    #[inline(always)]
    fn charge(&mut self, hit: &Hit, cost: i64, now_ms: u64) {
        self.put_in_order(hit, now_ms);
        for (index, (limit, meter)) in hit.limits.iter().zip(&mut self.0).enumerate() {
            meter.charge(&hit.ask(index, limit, now_ms), cost, hit.at_ms());
        }
    }

    /// Charges a place to every limit.
    #[cold]
    fn charge_place(&mut self, hit: &Hit, place: &Place, now_ms: u64) {
        self.put_in_order(hit, now_ms);
        for (index, (limit, meter)) in hit.limits.iter().zip(&mut self.0).enumerate() {
            meter.reserve(&hit.ask(index, limit, now_ms), place);
        }
    }

    /// Sees to it that the first meters are those of the limits, in their order.
    #[inline(always)]
    fn put_in_order(&mut self, hit: &Hit, now_ms: u64) {
        let is_in_order = self.0.len() == hit.limits.len()
            && hit
                .limits
                .iter()
                .zip(&self.0)
                .all(|(limit, meter)| meter.is_for(limit));
        if !is_in_order {
            self.arrange(hit, now_ms);
        }
    }

    /// One meter per limit, in the order of the limits: those there are, and new ones. Behind them, the meters that the hit
    /// does not name, as long as anything of them is used; what of it lies ahead of the clock is moved to the present.
    #[cold]
    fn arrange(&mut self, hit: &Hit, now_ms: u64) {
        // A limiter keeps the log size that it was created with, also for the windows that join it later.
        let log_size = self.0.iter().find_map(|meter| meter.log(0));
        let log_size = log_size.map_or(hit.log_size, |(_, capacity)| capacity);
        let mut old = std::mem::take(&mut self.0);
        let mut take = |limit: &Limit| {
            let at = old.iter().position(|meter| meter.is_for(limit));
            at.map_or_else(|| M::unused(limit, log_size), |at| old.remove(at))
        };
        self.0 = hit.limits.iter().map(&mut take).collect();
        if !hit.options.drops_unnamed {
            let mut rest = Self(old);
            rest.0.retain(|meter| !meter.is_unused(now_ms));
            rest.rewind(hit, now_ms);
            self.0.append(&mut rest.0);
        }
    }

    #[cold]
    fn rewind(&mut self, hit: &Hit, now_ms: u64) {
        for meter in &mut self.0 {
            let window = Self::window_of(meter, hit);
            if meter.is_ahead(now_ms, window) {
                meter.rewind(now_ms, window);
            }
        }
    }

    /// Gives back all that is used of some limits.
    #[cold]
    fn empty_limits(&mut self, hit: &Hit, emptied: u8, now_ms: u64) {
        self.each_emptied(hit, emptied, now_ms, |meter, ask| {
            meter.charge(ask, Self::ALL, u64::MAX);
        });
    }

    /// Moves to the present what lies ahead of it, and has the meters of some limits emptied.
    fn each_emptied(&mut self, hit: &Hit, emptied: u8, now_ms: u64, empty: impl Fn(&mut M, &Ask)) {
        self.rewind(hit, now_ms);
        for (bit, limit) in hit.limits.iter().enumerate() {
            let meter = self.0.iter_mut().find(|meter| meter.is_for(limit));
            if let (Some(meter), 1) = (meter, (emptied >> bit) & 1) {
                empty(meter, &hit.ask(bit, limit, now_ms));
            }
        }
    }
}

impl Verdict {
    /// When a cost that did not fit will, by this limit alone, and when nothing is used.
    #[inline(always)]
    fn wait<M: Meter>(&mut self, meter: Option<&M>, ask: &Ask, needed: u64) {
        let target = self.limit.checked_sub(needed);
        let (wait_ms, reset_after_ms) = match meter {
            Some(meter) => meter.wait_and_reset(ask, target.unwrap_or(0)),
            None => (0, 0),
        };
        self.reset_after_ms = reset_after_ms;
        self.retry = match target {
            Some(_) => Retry::After(wait_ms),
            None => Retry::Never,
        };
        self.allowed = self.retry == Retry::After(0);
    }
}

/// Per limit, in how many milliseconds more of it will remain than a quote says.
pub type Nexts = ArrayVec<Retry, MAX_LIMITS>;

/// What `NEXT` asks of a hit that was quoted on a state, and is not committed yet: 0 where nothing is used. More remains once
/// a unit more than remains would fit, which is when a hit of so much on what the key will be says.
///
/// # Errors
/// As [`quote`]'s.
#[cold]
pub fn nexts(
    state: Option<LimiterRef<'_>>,
    hit: &Hit,
    quoted: &Quote,
    now_ms: u64,
) -> Result<Nexts, Error> {
    let mut after = state.map(|limiter| limiter.to_limiter());
    apply(&mut after, hit, quoted.change, now_ms)?;
    let held = after.as_ref().map(|limiter| limiter.by_ref());
    let mut nexts = Nexts::new();
    let mut probed = Quote::default();
    for (index, (limit, verdict)) in hit
        .limits
        .iter()
        .zip(quoted.decision.verdicts())
        .enumerate()
    {
        if verdict.used == 0 {
            nexts.push(Retry::After(0));
            continue;
        }
        let window = hit.options.windows.get(index).copied();
        let windows: Windows = window.into_iter().collect();
        let options = HitOptions {
            windows: &windows,
            here: hit.options.here.map(|here| LocalRegion {
                share: None,
                ..here
            }),
            ..HitOptions::NONE
        };
        let probe = Hit {
            limits: std::slice::from_ref(limit),
            cost: i64::try_from(verdict.remaining() + 1).unwrap_or(i64::MAX),
            force: false,
            options: &options,
            ..*hit
        };
        quote(held, &probe, now_ms, false, &mut probed)?;
        nexts.push(probed.decision.longest_wait());
    }
    Ok(nexts)
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
