//! Seeded randomness: SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).

/// A sequence that its seed repeats. The seed is printed when the test fails; `SEED=` in the environment sets it.
pub struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    /// `seed` unless the environment names another.
    pub fn new(seed: u64) -> Self {
        let seed = match std::env::var("SEED") {
            Ok(text) => text.parse().expect("SEED is an unsigned integer"),
            Err(_) => seed,
        };
        Self::from_seed(seed)
    }

    /// `seed`, whatever the environment says.
    pub fn from_seed(seed: u64) -> Self {
        Random { seed, state: seed }
    }

    /// 64 random bits.
    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// An index below `count`.
    pub fn below(&mut self, count: usize) -> usize {
        let count = u64::try_from(count).expect("a usize fits 64 bits");
        usize::try_from(self.next() % count).expect("less than a usize")
    }

    /// A number within `range`.
    pub fn within(&mut self, range: std::ops::RangeInclusive<i64>) -> i64 {
        let (low, high) = (i128::from(*range.start()), i128::from(*range.end()));
        let offset = i128::from(self.next()) % (high - low + 1);
        i64::try_from(low + offset).expect("within the range")
    }

    /// One of `choices`.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    /// True once in `count` times.
    pub fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    /// A random byte.
    pub fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}

impl Drop for Random {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("repeat with SEED={}", self.seed);
        }
    }
}
