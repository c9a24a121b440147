//! A key that is shut for a while.

use super::{Limiter, Readings, State};
use crate::core::algorithm::meter::Allocations;
use crate::core::limit::Algorithm;

/// A block, and the limiter that it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// The block.
    pub block: Block,
    /// Not one that is blocked.
    pub limiter: Limiter,
}

/// How long a key is shut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// When it ends, in Unix milliseconds.
    pub until_ms: u64,
    /// For how long it was given.
    pub length_ms: u64,
    /// The how manieth it is, of those not forgotten; 1 for the first.
    pub strikes: u32,
}

impl Block {
    /// Milliseconds that are left of it: never more than it was given, wherever the clock went.
    pub fn left_ms(&self, now_ms: u64) -> u64 {
        self.until_ms.saturating_sub(now_ms).min(self.length_ms)
    }

    /// Whether the key has been out of it for as long as it lasted.
    pub fn is_forgotten(&self, now_ms: u64) -> bool {
        now_ms >= self.forgotten_at_ms()
    }

    /// When it is forgotten.
    pub fn forgotten_at_ms(&self) -> u64 {
        self.until_ms + self.length_ms
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

impl State for Blocked {
    fn algorithm(&self) -> Algorithm {
        self.limiter.algorithm()
    }

    fn reading(&self, now_ms: u64) -> Readings {
        self.limiter.reading(now_ms)
    }

    fn unused_at_ms(&self) -> u64 {
        self.limiter
            .unused_at_ms()
            .max(self.block.forgotten_at_ms())
    }

    fn expires_ms(&self) -> u64 {
        let forgotten_ms = self.block.forgotten_at_ms() + 1_000;
        self.limiter.expires_ms().max(forgotten_ms)
    }

    fn visit_allocations(&mut self, visitor: &mut impl Allocations) {
        self.limiter.held().visit_allocations(visitor);
        self.limiter.visit_box(visitor);
    }

    fn heap_bytes(&self) -> usize {
        self.limiter.bytes()
    }
}
