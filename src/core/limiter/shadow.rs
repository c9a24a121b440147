//! What limits that are tried on a key have let through: RL.POLICY SHADOW.
//!
//! They have meters of their own, beside the key's usage: charged with what they would have let through, they say what the
//! same hits would have been answered if these limits bound. (On the key's own meters, a bucket of half the size would drain
//! at the main rate, and say nothing where a third of all hits would be denied.)

use super::{Form, Limiter, Meters, Store};
use crate::core::limit::MAX_LIMITS;

/// The most meters: those of one policy. Of others, those charged last are kept.
pub const MAX_METERS: usize = MAX_LIMITS;

/// The meters; none where nothing is tried, or nothing of it is used any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shadow(pub Option<Limiter>);

impl Shadow {
    /// Whether a limiter can be one: made of meters, not too many, not of leases, and nothing noted beside it.
    pub fn can_be(limiter: &Limiter) -> bool {
        meters(limiter).is_some_and(|meters| meters <= MAX_METERS)
    }

    /// Forgets meters that are not used any more, and those that are too many.
    #[inline]
    pub fn settle(&mut self, now_ms: u64) {
        if self.0.is_some() {
            self.settle_meters(now_ms);
        }
    }

    #[cold]
    fn settle_meters(&mut self, now_ms: u64) {
        let unused = |limiter: &mut Limiter| limiter.unused_at_ms() <= now_ms;
        if self.0.take_if(unused).is_some() {
            return;
        }
        if let Some(limiter) = &mut self.0 {
            if meters(limiter) > Some(MAX_METERS) {
                truncate(limiter);
            }
        }
    }
}

fn meters(limiter: &Limiter) -> Option<usize> {
    match limiter {
        Form::Fixed(store) => Some(store.view().len()),
        Form::Sliding(store) => Some(store.view().len()),
        Form::Bucket(store) => Some(store.view().len()),
        Form::Dated(meters) => Some(meters.0.len()),
        Form::Stamped(meters) => Some(meters.0.len()),
        // (A place that is reserved is a debt here: nobody waits for it.)
        _ => None,
    }
}

/// Drops all but the meters that were charged last: they stand first.
fn truncate(limiter: &mut Limiter) {
    fn truncate<M>(Meters(meters): &mut Meters<M>) {
        meters.truncate(MAX_METERS);
    }
    match limiter {
        Form::Fixed(store) => truncate(store.many()),
        Form::Sliding(store) => truncate(store.many()),
        Form::Bucket(store) => truncate(store.many()),
        Form::Dated(meters) => truncate(meters),
        Form::Stamped(meters) => truncate(meters),
        _ => {}
    }
}
