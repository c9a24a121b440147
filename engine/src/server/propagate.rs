//! Where effects go: nowhere. There are neither replicas nor an AOF.

use super::raw::{Key, Word};
use crate::core::limiter::LimiterRef;
use crate::core::quote::{Change, Hit, Once};
use std::ffi::CStr;

/// The internal command that would carry them.
pub const APPLY: &CStr = c"rl.apply";

/// Of limits that are tried.
pub fn shadow(_: &Key, _: LimiterRef, _: &Hit, _: Change, _: u64) {}

/// Of a hit.
#[inline(always)]
pub fn commit(_: &Key, _: LimiterRef, _: &Hit, _: Change, _: u64) {}

/// Of a hit with an id.
#[inline(always)]
pub fn once(_: &Key, _: &Hit, _: Word, _: &Once, _: u64) {}
