//! What is known of other regions: nothing. There are none.

use super::raw::Key;
use crate::core::limit::Algorithm;
use crate::core::limiter::regional::Local;
use crate::core::quote::regional::LocalRegion;

/// Which region this one is.
#[inline(always)]
pub const fn here(_: Algorithm, _: u64) -> Option<LocalRegion> {
    None
}

/// Notes that a key has changed.
pub fn note(_: &Key, _: &mut Local, _: u64) {}
