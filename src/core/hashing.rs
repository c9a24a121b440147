//! The hashing of tables that live in one process and are seen by nobody else: seeded at random when it is first asked for, so
//! that no client can tell which of its words collide.

use ahash::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::LazyLock;

static SEEDED: LazyLock<RandomState> = LazyLock::new(|| {
    // The standard library's seed comes from the operating system.
    let system = std::hash::RandomState::new();
    let [a, b, c, d] = [0_u8, 1, 2, 3].map(|index| system.hash_one(index));
    #[cfg(target_family = "wasm")]
    let a = a ^ HOST.load(std::sync::atomic::Ordering::Relaxed);
    RandomState::with_seeds(a, b, c, d)
});

/// WebAssembly has no operating system, and the standard library's seed is always the same there.
#[cfg(target_family = "wasm")]
static HOST: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

/// Takes what the host of a WebAssembly instance has drawn, before anything is hashed. (Elsewhere nothing is needed of it.)
pub fn seed_from_host(_seed: u64) {
    #[cfg(target_family = "wasm")]
    HOST.store(_seed, std::sync::atomic::Ordering::Relaxed);
}

/// For a map that hashes by itself.
pub fn seeded() -> RandomState {
    SEEDED.clone()
}

/// The hash of a word.
#[inline]
pub fn hash(word: &[u8]) -> u64 {
    // (By the slice's own hash its length would be hashed apart, which this does anyway.)
    let mut hasher = SEEDED.build_hasher();
    hasher.write(word);
    hasher.finish()
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
