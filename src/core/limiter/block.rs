//! For how long a key is shut: by a hit that it denied, or by order.

use std::num::NonZero;

/// A key that is shut until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shut {
    /// When it ends, in Unix milliseconds.
    pub until_ms: u64,
    /// For how long it was given.
    pub length_ms: u64,
}

/// What a denied hit has started: one of a ladder, of which each may be longer than the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// When it ends, in Unix milliseconds.
    pub until_ms: u64,
    /// For how long it was given.
    pub length_ms: u64,
    /// Its ordinal among those not forgotten; 1 for the first.
    pub strikes: NonZero<u32>,
}

impl Shut {
    /// Milliseconds that are left of it: never more than it was given, wherever the clock went.
    pub fn left_ms(&self, now_ms: u64) -> u64 {
        self.until_ms.saturating_sub(now_ms).min(self.length_ms)
    }

    /// Whether nothing is left of it.
    pub fn is_over(&self, now_ms: u64) -> bool {
        now_ms >= self.until_ms
    }

    /// Whether it has more left than it was given: the clock has stepped back.
    pub(in crate::core) fn is_ahead(&self, now_ms: u64) -> bool {
        self.until_ms.saturating_sub(now_ms) > self.length_ms
    }

    /// Leaves it no more than it was given.
    pub(in crate::core) fn rewind(&mut self, now_ms: u64) {
        self.until_ms = self.until_ms.min(now_ms + self.length_ms);
    }
}

impl Block {
    /// How it shuts the key.
    pub fn shut(&self) -> Shut {
        Shut {
            until_ms: self.until_ms,
            length_ms: self.length_ms,
        }
    }

    /// See [`Shut::left_ms`].
    pub fn left_ms(&self, now_ms: u64) -> u64 {
        self.shut().left_ms(now_ms)
    }

    /// Whether the key has been out of it for as long as it lasted.
    pub fn is_forgotten(&self, now_ms: u64) -> bool {
        now_ms >= self.forgotten_at_ms()
    }

    /// When it is forgotten.
    pub fn forgotten_at_ms(&self) -> u64 {
        self.until_ms + self.length_ms
    }

    /// Leaves it no more than it was given.
    pub(in crate::core) fn rewind(&mut self, now_ms: u64) {
        let mut shut = self.shut();
        shut.rewind(now_ms);
        self.until_ms = shut.until_ms;
    }
}
