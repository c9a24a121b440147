//! The limits in use on this node, each once and by a number, so that a key's state need not spell out its own: 16 bytes of
//! a fixed window's 32, 24 of a bucket's 48.
//!
//! ```text
//! key -> state { number 7 | used, start }          number 7 -> 100 a minute
//! key -> state { number 7 | used, start } -------------^
//! ```
//!
//! The table only grows, as a number that a state holds must keep its meaning. So it is bounded, [`MAX_NUMBERED`], and a state
//! whose limit has no number spells it out. That costs memory and nothing else: no decision, encoding or digest knows of
//! numbers.

use super::hashing;
use super::span::Span;
use ahash::RandomState;
use hashbrown::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{LazyLock, Mutex, PoisonError};

/// A number takes so many bits; 0 is none.
pub const BITS: u32 = 14;
/// How many limits may have a number.
pub const MAX_NUMBERED: usize = (1 << BITS) - 1;

const MASK: u64 = (1 << BITS) - 1;

/// What a number stands for: units, what of them comes back, and when.
pub type Numbers = (u64, u64, Span);

/// Limits by number, and numbers by limit.
pub struct LimitInterner {
    /// A row is written once, before anybody has its number, and never again.
    rows: [[AtomicU64; 3]; MAX_NUMBERED + 1],
    given: LazyLock<Mutex<HashMap<Numbers, u64, RandomState>>>,
    /// The number last asked for: keys that are loaded or begun one after the other often have the same limit.
    last: AtomicU64,
}

/// This node's.
pub static INTERNER: LimitInterner = LimitInterner::new();

impl LimitInterner {
    pub(super) const fn new() -> Self {
        Self {
            rows: [const { [const { AtomicU64::new(0) }; 3] }; MAX_NUMBERED + 1],
            given: LazyLock::new(|| Mutex::new(HashMap::with_hasher(hashing::seeded()))),
            last: AtomicU64::new(0),
        }
    }

    /// What a number stands for; only its lowest [`BITS`] count.
    #[inline(always)]
    pub fn numbers(&self, number: u64) -> Numbers {
        match self.rows.get((number & MASK) as usize) {
            Some([limit, refill, span]) => {
                let [limit, refill, span] =
                    [limit, refill, span].map(|number| number.load(Relaxed));
                (limit, refill, Span::from_bits(span))
            }
            None => (0, 0, Span::from_bits(0)), // no number is past the mask
        }
    }

    /// The number of a limit, which it is given if there is one left. `likely` is one that it may have: that is looked at
    /// first.
    #[inline(always)]
    pub fn number(&self, of: Numbers, likely: u64) -> Option<u64> {
        self.is(of, likely & MASK).or_else(|| self.look_up(of))
    }

    /// This number, if it is that of this limit. (It is not 0, whose row stands for no limit, as none has a window of 0.)
    #[inline(always)]
    fn is(&self, of: Numbers, number: u64) -> Option<u64> {
        (self.numbers(number) == of).then_some(number)
    }

    #[cold]
    fn look_up(&self, of: Numbers) -> Option<u64> {
        let last = self.is(of, self.last.load(Relaxed));
        let number = last.or_else(|| self.given(of))?;
        self.last.store(number, Relaxed);
        Some(number)
    }

    fn given(&self, of: Numbers) -> Option<u64> {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = given.get(&of) {
            return Some(*number);
        }
        let number = given.len() + 1;
        let (limit, refill, span) = of;
        let numbers = [limit, refill, span.bits()];
        // Whoever gets the number in another thread gets it by a lock, this one or his own.
        for (place, number) in self.rows.get(number)?.iter().zip(numbers) {
            place.store(number, Relaxed);
        }
        let number = number as u64;
        given.insert(of, number);
        Some(number)
    }

    /// How many limits have a number: [`MAX_NUMBERED`] at most.
    pub fn count(&self) -> usize {
        let given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        given.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static LIMITS: LimitInterner = LimitInterner::new();

    #[test]
    fn a_limit_has_one_number_and_a_number_one_limit() {
        let span = Span::plain(123_457).unwrap();
        let limits = [(5, 5, span), (6, 6, span), (5, 6, span)];
        let given = limits.map(|limit| LIMITS.number(limit, 0).unwrap());
        assert_eq!(given, [1, 2, 3]);
        for (limit, given) in limits.into_iter().zip(given) {
            let elsewhere = given | 1 << BITS; // what stands above its bits is not looked at
            assert_eq!(
                [given, elsewhere].map(|number| LIMITS.numbers(number)),
                [limit; 2]
            );
            for likely in [0, 1, 2, 3, elsewhere, MASK] {
                assert_eq!(LIMITS.number(limit, likely), Some(given));
            }
        }
        assert_eq!(LIMITS.count(), 3);
    }

    #[test]
    fn a_full_table_gives_no_number_and_keeps_those_that_it_gave() {
        static FULL: LimitInterner = LimitInterner::new();
        let limit = |units: u64| (units, units, Span::plain(1_000).unwrap());
        for number in 1..=MAX_NUMBERED as u64 {
            assert_eq!(FULL.number(limit(number), 0), Some(number));
        }
        assert_eq!(FULL.number(limit(0), 0), None);
        assert_eq!(FULL.number(limit(7), 0), Some(7));
        let last = MAX_NUMBERED as u64;
        for likely in [1 << BITS, last | 1 << BITS] {
            assert_eq!(FULL.number(limit(last), likely), Some(last));
        }
        assert_eq!((FULL.count(), FULL.numbers(7)), (MAX_NUMBERED, limit(7)));
    }
}
