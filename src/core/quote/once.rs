//! A hit with an id: the first is remembered, and a repeat is answered from what is.

use super::{Asked, Change, Hit, HitOptions, Place, Quote};
use crate::core::decision::Retry;
use crate::core::error::Error;
use crate::core::limiter::ids::{self, Bounds, Known};
use crate::core::limiter::{Form, Limiter, LimiterMut, LimiterRef, Noted};
use crate::core::quote::regional::LocalRegion;

/// By what a repeat of a hit is known. (It goes beside the hit and not in it: then a hit that says nothing else has the options
/// that no hit has, which the compiler knows.)
#[derive(Clone, Copy, Debug)]
pub struct Id<'a> {
    /// 1 ..= [`MAX_ID_BYTES`](crate::core::algorithm::lease::MAX_ID_BYTES) bytes.
    pub bytes: &'a [u8],
    /// How many such the key remembers, and for how long.
    pub bounds: Bounds,
}

/// What is remembered of a hit, and what makes room for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Once {
    /// Units that are charged, or given back; 0 where there was nothing to give back.
    pub cost: i64,
    /// By what the id is looked up.
    pub mark: u16,
    /// For how long it is remembered.
    pub ttl_ms: u32,
    /// How many of the oldest ids are dropped, beside those that have ended.
    pub drops: u16,
    /// Whether it fitted.
    pub is_allowed: bool,
    /// Whether usage that lies in the future is moved to the present, though nothing is charged.
    pub rewinds: bool,
    /// With RESERVE: for how long it is to wait.
    pub wait_ms: Option<u64>,
    /// The place that is reserved.
    pub place: Option<Place>,
}

impl Change {
    /// What of it is made to usage.
    #[inline(always)]
    pub(super) fn of_usage(&self) -> Self {
        match self {
            Change::Once(Once { rewinds: true, .. }) => Change::Rewind,
            Change::Once(Once {
                place: Some(place), ..
            }) => Change::Reserve(*place),
            Change::Once(Once { cost: 0, .. }) => Change::None,
            Change::Once(Once { cost, .. }) => Change::Charge(*cost),
            usage => *usage,
        }
    }
}

/// [`super::quote()`], compiled for a hit with an id.
///
/// # Errors
/// As [`super::quote()`]'s.
#[inline(always)]
pub fn quote_once(
    state: Option<LimiterRef<'_>>,
    hit: &Hit,
    id: Option<Id>,
    now_ms: u64,
    rest_allows: bool,
    quote: &mut Quote,
) -> Result<(), Error> {
    let (state, notes) = match state {
        Some(Form::Noted(noted)) => {
            let state = noted.limiter.as_ref().map(Form::by_ref);
            (state, Some(&noted.notes))
        }
        state => (state, None),
    };
    let asked = Asked {
        state,
        notes,
        rest_allows,
    };
    let Some(id) = id else {
        return super::quote_usage(asked, hit, now_ms, quote);
    };
    let mark = ids::mark(id.bytes);
    // (An effect names no bounds. It was no repeat where it was made, and what it charges is judged, whoever made it up.)
    if let (Some(notes), 1..) = (notes, id.bounds.most) {
        if let Some(known) = notes.ids.find(id.bytes, mark, now_ms) {
            return repeat(state, &known, hit, now_ms, quote);
        }
    }
    super::quote_usage(asked, hit, now_ms, quote)?;
    remember(asked, hit, id.bounds, mark, now_ms, quote);
    Ok(())
}

/// [`super::commit`] of what [`quote_once`] said.
///
/// # Errors
/// As [`super::commit`]'s.
#[inline(always)]
pub fn commit_once(
    state: Option<&mut LimiterMut<'_>>,
    hit: &Hit,
    id: &[u8],
    change: &Change,
    now_ms: u64,
) -> Result<Option<Limiter>, Error> {
    match state {
        Some(Form::Noted(noted)) => super::change_noted(noted, hit, id, change, now_ms),
        state => super::commit_first_note(state, hit, id, *change, now_ms),
    }
}

/// Has a quote remember its hit, where that changes usage; and where it found nothing to give back, as its retry would take
/// what others have used since.
#[inline(always)]
fn remember(asked: Asked, hit: &Hit, bounds: Bounds, mark: u16, now_ms: u64, quote: &mut Quote) {
    let finds_nothing = hit.cost < 0
        && hit.at_ms() > 0 // AT 0 never gives back
        && (asked.rest_allows || hit.force)
        && asked.state.is_some();
    let cost = match quote.change {
        Change::Charge(_) | Change::Reserve(_) => quote.change.cost(),
        Change::None | Change::Rewind if finds_nothing => 0,
        _ => return,
    };
    let may_wait = hit.options.reserve_ms.is_some() && cost > 0;
    let wait_ms = match may_wait.then(|| quote.decision.longest_wait()) {
        Some(Retry::After(ms)) => Some(ms),
        _ => None,
    };
    let drops = match asked.notes {
        Some(notes) => notes.ids.drops(bounds.most, now_ms),
        None => 0,
    };
    quote.change = Change::Once(Once {
        cost,
        mark,
        ttl_ms: u32::try_from(bounds.ttl_ms).unwrap_or(u32::MAX),
        drops: u16::try_from(drops).unwrap_or(u16::MAX),
        is_allowed: quote.fits,
        rewinds: matches!(quote.change, Change::Rewind),
        wait_ms,
        place: match quote.change {
            Change::Reserve(place) => Some(place),
            _ => None,
        },
    });
}

/// Notes what [`remember`] said, of a key whose usage has been changed. A place that was reserved and is given back is
/// forgotten: who asks for one again is to have one.
#[inline(always)]
pub(super) fn note(noted: &mut Noted, hit: &Hit, id: &[u8], change: &Change, now_ms: u64) {
    let ids = &mut noted.notes.ids;
    if let Change::Once(once) = change {
        let at_ms = hit.options.at_ms.map(|at_ms| at_ms.min(now_ms));
        let stamp_ms = at_ms.or((once.cost > 0).then_some(now_ms));
        let known = Known {
            noted_ms: now_ms,
            ttl_ms: u64::from(once.ttl_ms),
            is_allowed: once.is_allowed,
            taken: u64::try_from(once.cost).unwrap_or(0),
            stamp_ms: once
                .place
                .map_or(stamp_ms.unwrap_or(0), |place| place.stamp_ms),
            wait_ms: once.wait_ms,
        };
        ids.note(id, once.mark, &known, usize::from(once.drops));
    }
    if let Some(at_ms) = hit.options.at_ms.filter(|_| change.cost() < 0) {
        let given_back = change.cost().unsigned_abs();
        ids.forget(|known| {
            known.wait_ms.is_some() && known.stamp_ms == at_ms && known.taken <= given_back
        });
    }
}

/// Answers a hit that the key has had: as that was answered, with what remains now. Neither its cost nor its limits have to
/// be those of the first, and no block is asked; what it would wait for is as if it were another.
#[cold]
pub(super) fn repeat(
    state: Option<LimiterRef<'_>>,
    known: &Known,
    hit: &Hit,
    now_ms: u64,
    quote: &mut Quote,
) -> Result<(), Error> {
    let asked = Asked {
        state,
        notes: None,
        rest_allows: false,
    };
    let options = HitOptions {
        windows: hit.options.windows,
        here: hit.options.here.map(|here| LocalRegion {
            share: None,
            ..here
        }),
        ..HitOptions::NONE
    };
    let probe = Hit {
        cost: hit.cost.max(0),
        force: false,
        options: &options,
        ..*hit
    };
    super::quote_usage(asked, &probe, now_ms, quote)?;
    for verdict in &mut quote.decision.verdicts {
        if known.is_allowed {
            verdict.retry = Retry::After(known.wait_left_ms(now_ms));
        }
        verdict.allowed = known.is_allowed;
    }
    quote.change = Change::None;
    quote.fits = known.is_allowed;
    quote.taken = i64::try_from(known.taken).unwrap_or(i64::MAX);
    quote.repeats = Some(known.stamp_ms);
    Ok(())
}
