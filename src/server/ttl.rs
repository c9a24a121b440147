//! Keeps a TTL on every key that a command changes: never earlier than the moment when nothing is used any more.
//!
//! It is looked up at each charge, as somebody may have said PERSIST or EXPIRE in between, and set only where it has come
//! to be too early: then some way past that moment ([`Limiter::expires_ms`]), so that a hot key does not pay for a new TTL
//! at each hit. What is set follows from the state alone, so a replica that applies the same effects sets the same.
//!
//! (Keyspace events would tell of a PERSIST without a look-up, but to subscribe to them costs every DEL, EXPIRE and
//! SET with a TTL on the server 900 instructions or more, whosever keys they are.)
//!
//! The TTL is housekeeping. No decision depends on it.

use super::raw::Key;
use crate::core::limiter::Limiter;

/// Sees to the TTL of a key whose limiter has changed.
pub fn keep(key: &mut Key, limiter: &Limiter) {
    let unused_at_ms = limiter.unused_at_ms();
    if key
        .expires_ms()
        .is_none_or(|ends_ms| ends_ms < unused_at_ms)
    {
        key.expire_at(limiter.expires_ms());
    }
}
