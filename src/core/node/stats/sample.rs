//! Which hits are looked at more closely, where to look at each would cost too much.
//!
//! A hit without a name costs some 20 instructions here, and its place in a [`super::top`] list would cost some 3,000. So one
//! in [`EVERY`] is entered there, and stands for as many. Which ones is drawn at random: a fixed step would see one caller
//! of 128 who come in turn, and no other. The first [`EXACT`] are all entered, so that a quiet server shows what was.
//!
//! What a list then says of `n` hits of an identifier is right on average, and off by `sqrt(127 n)` as the standard deviation:
//! 1,130 for 10,000 hits, 3,560 for 100,000, beside the error that the list itself has.

/// One in so many.
pub const EVERY: u64 = 128;
/// How many are entered to begin with.
pub const EXACT: u32 = 1_000;

/// Draws a sample.
#[derive(Debug)]
pub struct Sample {
    /// Hits to pass over.
    skip: u64,
    exact: u32,
    state: u64,
}

impl Sample {
    /// `seed` should be random, so that nobody can tell which hits are drawn.
    pub fn new(seed: u64) -> Self {
        Self {
            skip: 0,
            exact: EXACT,
            state: seed | 1,
        }
    }

    /// For how many hits this one stands, or `None` where it is passed over.
    #[inline(always)]
    pub fn draw(&mut self) -> Option<u64> {
        match self.skip.checked_sub(1) {
            Some(skip) => {
                self.skip = skip;
                None
            }
            None => Some(self.next()),
        }
    }

    #[cold]
    fn next(&mut self) -> u64 {
        if let Some(exact) = self.exact.checked_sub(1) {
            self.exact = exact;
            return 1;
        }
        // Xorshift (Marsaglia 2003), of which the upper bits are the better ones. Passes over 0 ..= 254, 127 on average.
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.skip = (self.state >> 32) % (2 * EVERY - 1);
        EVERY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Callers that come in turn, in whatever rhythm, are each found as often as they come.
    #[test]
    fn a_rhythm_of_callers_does_not_hide_any() {
        for callers in [1, 2, 7, 8, 16, 128] {
            let mut sample = Sample::new(0x5eed);
            let mut counts = vec![0; callers];
            let hits = 100_000 * callers;
            for hit in 0..hits {
                counts[hit % callers] += sample.draw().unwrap_or(0);
            }
            for count in counts {
                // 100,000 each, and six standard deviations of 3,560.
                assert!((78_000..=122_000).contains(&count), "{callers}: {count}");
            }
        }
    }

    #[test]
    fn no_more_than_254_hits_are_passed_over() {
        let mut sample = Sample::new(0x5eed);
        let (mut passed, mut most) = (0, 0);
        for _ in 0..1_000_000 {
            passed = if sample.draw().is_some() {
                0
            } else {
                passed + 1
            };
            most = most.max(passed);
        }
        assert_eq!(most, 254);
    }

    /// The published Xorshift with the shifts 13, 7 and 17, from 1 on.
    #[test]
    fn what_is_passed_over_goes_by_the_published_generator() {
        let mut sample = Sample {
            exact: 0,
            ..Sample::new(1)
        };
        for state in [
            1_082_269_761,
            1_152_992_998_833_853_505,
            11_177_516_664_432_764_457,
            17_678_023_832_001_937_445,
        ] {
            assert_eq!(sample.next(), EVERY);
            assert_eq!((sample.state, sample.skip), (state, (state >> 32) % 255));
        }
    }

    #[test]
    fn the_first_hits_are_all_entered() {
        let mut sample = Sample::new(1);
        assert!((0..EXACT).all(|_| sample.draw() == Some(1)));
        let drawn = (0..80_000).filter_map(|_| sample.draw()).count();
        assert!((500..750).contains(&drawn), "{drawn}");
    }
}
