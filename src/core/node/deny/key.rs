//! How addresses and texts become the keys of a [`super::table`], and are read back.
//!
//! An address is not hashed but mixed, by a bijection: the key is its own hash, a comparison is one of integers, and a
//! slot holds nothing but the address.

use super::address::Family;
use super::table::{halves, Key};
use std::cmp::Ordering;
use std::ops::BitOr;

/// What makes the hashes of one server unlike those of another, so that nobody can prepare values that collide.
#[derive(Clone, Copy, Debug)]
pub struct Seed(pub u64);

impl Seed {
    fn low32(self) -> u32 {
        u32::try_from(self.0 & 0xffff_ffff).unwrap_or(0)
    }
}

/// A bijection that spreads, so that a key can be its own hash and be read back from it. The xor-shift by half the width
/// undoes itself, and `factor` has an inverse, as it is odd.
fn mix32(mut x: u32, factor: u32) -> u32 {
    x = (x ^ x >> 16).wrapping_mul(factor);
    x = (x ^ x >> 16).wrapping_mul(factor);
    x ^ x >> 16
}

/// [`mix32`] for 64 bits.
fn mix64(mut x: u64, factor: u64) -> u64 {
    x = (x ^ x >> 32).wrapping_mul(factor);
    x = (x ^ x >> 32).wrapping_mul(factor);
    x ^ x >> 32
}

// The factors, and their inverses modulo 2^32 and 2^64.
const FACTOR_32: u32 = 0x045d_9f3b;
const INVERSE_32: u32 = 0x119d_e1f3;
const FACTOR_64: u64 = 0xd6e8_feb8_6659_fd93;
const INVERSE_64: u64 = 0xcfee_444d_8b59_a89b;

/// What an address family has to say.
pub trait Address: Family + Default + BitOr<Output = Self> {
    /// How many bits an address has.
    const BITS: u8;
    /// How many bits name a block: see [`super::ranges`].
    const BLOCK: u8;
    /// The bits of the lengths that are not found through blocks: 0 ..= BLOCK, and BITS.
    const OUTSIDE_BLOCKS: Self;
    /// The form in a table.
    type Key: Key + Copy;
    /// A length as one bit of a word: bit `length`, but bit 0 for [`Address::BITS`].
    fn bit(length: u8) -> Self;
    /// To the form in a table.
    fn seal(self, seed: Seed) -> Self::Key;
    /// And back.
    fn open(key: Self::Key, seed: Seed) -> Self;
}

/// A mixed IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyV4(u32);

impl Key for KeyV4 {
    fn hash(&self) -> u64 {
        u64::from(self.0) << 32
    }
}

impl Address for u32 {
    const BITS: u8 = 32;
    const BLOCK: u8 = 16;
    const OUTSIDE_BLOCKS: Self = 0x1_ffff;
    type Key = KeyV4;
    fn bit(length: u8) -> Self {
        1 << (length % 32)
    }
    fn seal(self, seed: Seed) -> KeyV4 {
        KeyV4(mix32(self ^ seed.low32(), FACTOR_32))
    }
    fn open(key: KeyV4, seed: Seed) -> Self {
        mix32(key.0, INVERSE_32) ^ seed.low32()
    }
}

/// An IPv6 address: a hash of both halves, which hides the high one, and the low one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyV6 {
    hash: u64,
    low: u64,
}

impl Key for KeyV6 {
    fn hash(&self) -> u64 {
        self.hash
    }
}

impl Address for u128 {
    const BITS: u8 = 128;
    const BLOCK: u8 = 32;
    const OUTSIDE_BLOCKS: Self = 0x1_ffff_ffff;
    type Key = KeyV6;
    fn bit(length: u8) -> Self {
        1 << (length % 128)
    }
    fn seal(self, seed: Seed) -> KeyV6 {
        let (high, low) = halves(self);
        KeyV6 {
            hash: mix64(high ^ mix64(low ^ seed.0, FACTOR_64), FACTOR_64),
            low,
        }
    }
    fn open(key: KeyV6, seed: Seed) -> Self {
        let high = mix64(key.hash, INVERSE_64) ^ mix64(key.low ^ seed.0, FACTOR_64);
        u128::from(high) << 64 | u128::from(key.low)
    }
}

/// A text with its hash.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text {
    hash: u64,
    bytes: Box<[u8]>,
}

impl Text {
    /// A text as a key.
    pub fn new(bytes: &[u8], seed: Seed) -> Self {
        Self {
            hash: Self::hash_of(bytes, seed),
            bytes: bytes.into(),
        }
    }

    /// How this key compares with a text and its hash.
    pub fn order(&self, hash: u64, bytes: &[u8]) -> Ordering {
        self.hash
            .cmp(&hash)
            .then_with(|| self.bytes.as_ref().cmp(bytes))
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The hash of a text.
    pub fn hash_of(bytes: &[u8], seed: Seed) -> u64 {
        ahash::RandomState::with_seeds(seed.0, FACTOR_64, INVERSE_64, !seed.0).hash_one(bytes)
    }
}

impl Key for Text {
    fn hash(&self) -> u64 {
        self.hash
    }
    fn heap_bytes(&self) -> usize {
        self.bytes.len()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// One of the IPv6 addresses that all have one hash under a seed.
    pub fn colliding(low: u64, seed: Seed) -> u128 {
        let high = mix64(low ^ seed.0, FACTOR_64) ^ 0x2001;
        u128::from(high) << 64 | u128::from(low)
    }

    #[test]
    fn a_seed_decides_where_an_ipv4_address_stands() {
        let key = |seed| 0xc000_0207_u32.seal(Seed(seed)).hash();
        let keys = BTreeSet::from([0, 1, 2, 1 << 40 | 3, 1 << 40 | 4].map(key));
        assert_eq!(keys.len(), 5);
        assert_eq!(key(1 << 40 | 1), key(1)); // its lower half
    }

    #[test]
    fn factors_have_their_inverses() {
        assert_eq!(FACTOR_32.wrapping_mul(INVERSE_32), 1);
        assert_eq!(FACTOR_64.wrapping_mul(INVERSE_64), 1);
    }

    #[test]
    fn keys_are_read_back() {
        for seed in [Seed(0), Seed(u64::MAX), Seed(0x0123_4567_89ab_cdef)] {
            let mut address = 1_u128;
            for _ in 0..1_000 {
                address = address
                    .wrapping_mul(0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645)
                    .rotate_left(17);
                assert_eq!(u128::open(address.seal(seed), seed), address);
                let address = u32::try_from(address >> 96).unwrap();
                assert_eq!(u32::open(address.seal(seed), seed), address);
            }
        }
    }

    /// What is like in practice: runs of addresses, and networks that differ in the leading bits only.
    #[test]
    fn neighbours_are_spread() {
        let buckets = |hashes: &mut dyn Iterator<Item = u64>| {
            let mut counts = [0_u32; 256];
            for hash in hashes {
                counts[usize::try_from(hash >> 56).unwrap()] += 1;
            }
            *counts.iter().max().unwrap()
        };
        let seed = Seed(7);
        // 65,536 keys in 256 buckets: 256 each; 400 is nine standard deviations away.
        assert!(buckets(&mut (0..65_536_u32).map(|n| (0x0a00_0000 + n).seal(seed).hash())) < 400);
        assert!(buckets(&mut (0..65_536_u32).map(|n| (n << 16).seal(seed).hash())) < 400);
        assert!(buckets(&mut (0..65_536_u32).map(|n| (n << 8).seal(seed).hash())) < 400);
        for shift in [0, 32, 64, 80, 112] {
            assert!(buckets(&mut (0..65_536_u128).map(|n| (n << shift).seal(seed).hash())) < 400);
        }
    }
}
