//! Limits that are tried: judged and counted beside those of the hit, and never binding.
//!
//! ```text
//! a hit is charged      its cost is asked of the tried limits' own meters (limiter/shadow): where it fits, it is charged
//!                       there too; where it does not, it would have been denied
//! it is given back      there too
//! it is denied, or in a block, or changes nothing      they are not asked
//! ```
//!
//! What the key uses is neither read nor changed.

use super::{Change, Hit, HitOptions};
use crate::core::calendar::Window;
use crate::core::error::Error;
use crate::core::limit::Limit;
use crate::core::limiter::{Form, Limiter, LimiterMut, Noted};

/// Limits that are tried on a key.
#[derive(Clone, Copy, Debug)]
pub struct Tried<'a> {
    /// As a hit's.
    pub limits: &'a [Limit],
    /// As a hit's.
    pub windows: &'a [Window],
}

/// What the tried limits say of a hit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// Whether they would have denied what the hit's own limits let through.
    pub denies: bool,
    /// What is changed of their meters.
    pub change: Change,
}

impl Tried<'_> {
    /// What is asked of them by a hit that charges so much.
    pub fn hit<R>(&self, hit: &Hit, taken: i64, then: impl FnOnce(&Hit) -> R) -> R {
        let options = HitOptions {
            windows: self.windows,
            at_ms: hit.options.at_ms,
            stamp: hit.options.stamp,
            min: hit.options.min,
            reserve_ms: hit.options.reserve_ms,
            ..HitOptions::NONE
        };
        then(&Hit {
            limits: self.limits,
            cost: taken,
            options: &options,
            ..*hit
        })
    }
}

/// Answers what the tried limits are asked, of a key that exists.
///
/// # Errors
/// A key of another algorithm, more usage than is counted.
#[cold]
pub fn quote(held: &mut LimiterMut, hit: &Hit, now_ms: u64) -> Result<Judged, Error> {
    if let Some(holds) = held.algorithm().filter(|holds| *holds != hit.algorithm) {
        let asked = hit.algorithm;
        return Err(Error::HoldsAlgorithm { holds, asked });
    }
    let meters = match held {
        Form::Noted(noted) => noted.notes.shadow.0.as_mut(),
        _ => None,
    };
    let quoted = super::peek(meters, hit, now_ms)?;
    Ok(Judged {
        denies: !quoted.fits,
        change: match quoted.change {
            // What is reserved is a debt: nobody waits for its turn, or gives the place back.
            Change::Reserve(_) => Change::Charge(quoted.change.cost()),
            change => change,
        },
    })
}

/// Makes the change that [`quote`] said. What is returned takes the place of what the key held; where nothing is, that has
/// been changed in place.
///
/// # Errors
/// Meters of another algorithm.
#[cold]
pub fn commit(
    held: &mut LimiterMut,
    hit: &Hit,
    change: Change,
    now_ms: u64,
) -> Result<Option<Limiter>, Error> {
    if let Form::Noted(noted) = held {
        change_meters(noted, hit, change, now_ms)?;
        return Ok(noted.forget(now_ms));
    }
    let mut noted = Noted::of(Some(held.to_limiter()));
    change_meters(&mut noted, hit, change, now_ms)?;
    let has_notes = !noted.notes.is_empty();
    Ok(has_notes.then(|| Limiter::Noted(Box::new(noted))))
}

fn change_meters(noted: &mut Noted, hit: &Hit, change: Change, now_ms: u64) -> Result<(), Error> {
    let shadow = &mut noted.notes.shadow;
    super::apply(&mut shadow.0, hit, change, now_ms)?;
    shadow.settle(now_ms);
    Ok(())
}

#[cfg(test)]
mod tests;
