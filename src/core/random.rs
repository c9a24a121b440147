//! Seeded randomness for the tests.

/// How often to try something, of so many times in the whole gate: a tenth where a quick answer is wanted (`make check`).
pub fn rounds(all: u64) -> u64 {
    match std::env::var_os("QUICK") {
        Some(quick) if !quick.is_empty() => all / 10,
        _ => all,
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): every seed is a good one.
#[derive(Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 .. bound; what a remainder favours is far below what any test could see.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn from(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// A place in a slice of `len`.
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap()
    }

    pub fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    pub fn pick<T: Clone>(&mut self, choice: &[T]) -> T {
        choice[self.index(choice.len())].clone()
    }

    /// 0 ..= bound, every order of magnitude as likely as any other.
    pub fn magnitude(&mut self, bound: u64) -> u64 {
        let bits = self.below(u64::from(64 - bound.leading_zeros()) + 1);
        let value = if bits == 0 {
            0
        } else {
            self.next() >> (64 - bits)
        };
        value.min(bound)
    }

    pub fn sign(&mut self) -> i64 {
        self.pick(&[1, -1])
    }
}
