//! The hashing of tables that live in one process and are seen by nobody else: seeded at random when it is first asked for, so
//! that no client can tell which of its words collide.

use ahash::RandomState;
use std::hash::BuildHasher;
use std::sync::LazyLock;

static SEEDED: LazyLock<RandomState> = LazyLock::new(|| {
    // The standard library's seed comes from the operating system.
    let system = std::hash::RandomState::new();
    let [a, b, c, d] = [0_u8, 1, 2, 3].map(|index| system.hash_one(index));
    RandomState::with_seeds(a, b, c, d)
});

/// For a map that hashes by itself.
pub fn seeded() -> RandomState {
    SEEDED.clone()
}

/// The hash of a word.
#[inline]
pub fn hash(word: &[u8]) -> u64 {
    SEEDED.hash_one(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_told_apart_and_the_same_one_is_known_again() {
        assert_eq!(hash(b"a"), hash(b"a"));
        assert_ne!(hash(b"a"), hash(b"b"));
    }
}
