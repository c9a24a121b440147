//! What a key holds, as a pointer: `slot`, which is the module's, borrows it from its host for as long as the key is open.

use crate::core::limiter::{Limiter, LimiterMut};
use std::ptr::NonNull;

/// A limiter that the store keeps.
pub type Raw = NonNull<Limiter>;

/// Owns what a key holds.
#[derive(Debug)]
pub struct Value(Raw);

impl Value {
    /// # Safety
    /// 1. [`into_raw`] made it, and nobody else owns it.
    pub unsafe fn of(raw: Raw) -> Self {
        Self(raw)
    }

    /// What it owns, to borrow from.
    pub fn raw(&self) -> Raw {
        self.0
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        // SAFETY: `into_raw` made it, and this alone owns it.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

/// The type. There is no other here.
pub struct Handle;

/// See [`Handle`].
pub fn handle() -> Handle {
    Handle
}

/// A limiter as what the store keeps.
pub fn into_raw(limiter: Limiter) -> Raw {
    NonNull::from(Box::leak(Box::new(limiter)))
}

/// # Safety
/// 1. [`into_raw`] made it, and it lives for `'a`.
/// 2. Nobody else borrows from it meanwhile.
pub unsafe fn held<'a>(mut value: Raw) -> LimiterMut<'a> {
    // SAFETY: by 1 and 2.
    unsafe { value.as_mut() }.held()
}
