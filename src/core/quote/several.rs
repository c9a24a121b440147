//! Calls of several keys: a hit each, charged to all or to none.

use super::{Change, Hit, Quote};
use crate::core::decision::Verdict;
use crate::core::error::Error;
use smallvec::SmallVec;

/// As many keys as most calls have on the stack, more on the heap.
pub type PerKey<T> = SmallVec<[T; 5]>;

/// Answers a call of several keys, a hit each: first as if all the others let the call through; where one does not, those
/// that do once more: nothing is charged, or, where the call is forced, what is charged has to be waited for, too. A shadow
/// stops none of them, and is charged with them where it fits.
/// `is_listed` says that a deny list has stopped it: then nothing is charged, and each says how it stands. `quote` answers for
/// the key at a place, as [`super::quote()`] does: one key after another, so that no two need be open. The quotes are put into
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
    let takes_it = |(_, hit): &(&Quote, &Hit)| hit.id().is_some() && !hit.options.is_shadow;
    let mut taking = quotes.iter().zip(hits).filter(takes_it);
    let has_had = |(quoted, _): (&Quote, &Hit)| quoted.repeats.is_some();
    taking.next().is_some_and(has_had) && taking.all(has_had)
}
