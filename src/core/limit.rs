//! A validated limit, and every bound of the project's numbers.

use super::duration;
use smallvec::SmallVec;

/// The largest limit, cost and usage: 2^53 - 1, the largest integer that a JavaScript client reads exactly.
pub const MAX_COUNT: u64 = (1 << 53) - 1;
/// The latest instant, in milliseconds since the Unix epoch, and the longest wait that is reported: 285,000 years.
/// A wait that would be longer (a bucket of 2^53 tokens that regains one in ten years) is reported as this.
pub const MAX_TIME_MS: u64 = (1 << 53) - 1;
/// Limits in one call, and so on one key.
pub const MAX_LIMITS: usize = 8;

/// How usage is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// Windows aligned to the Unix epoch: [`super::algorithm::fixed`].
    Fixed,
    /// A rolling window: [`super::algorithm::sliding`].
    Sliding,
    /// A token bucket: [`super::algorithm::bucket`].
    Bucket,
}

impl Algorithm {
    /// Every algorithm, in the order of their codes in encodings and statistics.
    pub const ALL: [Algorithm; 3] = [Algorithm::Fixed, Algorithm::Sliding, Algorithm::Bucket];

    /// Lower case, as RL.INFO says it.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Fixed => "fixed",
            Algorithm::Sliding => "sliding",
            Algorithm::Bucket => "bucket",
        }
    }

    /// Reads a name in any case.
    pub fn parse(text: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| text.eq_ignore_ascii_case(algorithm.name().as_bytes()))
    }
}

/// How much may be used, and how fast usage goes away.
///
/// One shape serves the three algorithms: a window of `window_ms` gives its whole `limit` back every `window_ms`, so
/// there `refill` equals `limit`; a bucket regains `refill` tokens every `window_ms` (its interval), up to `limit` (its
/// capacity).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    limit: u64,
    refill: u64,
    window_ms: u64,
}

impl Limit {
    /// `limit` units in each window of `window_ms`. `None` where a number is out of bounds.
    pub fn window(limit: u64, window_ms: u64) -> Option<Self> {
        let ok = limit <= MAX_COUNT && (duration::MIN_MS..=duration::MAX_MS).contains(&window_ms);
        ok.then_some(Self {
            limit,
            refill: limit,
            window_ms,
        })
    }

    /// `capacity` tokens that refill by `refill` every `interval_ms`. `None` where a number is out of bounds: a refill
    /// of 0 is one, as what never goes away has no end to report and no TTL to set.
    pub fn bucket(capacity: u64, refill: u64, interval_ms: u64) -> Option<Self> {
        let window = Self::window(capacity, interval_ms)?;
        (1..=MAX_COUNT)
            .contains(&refill)
            .then_some(Self { refill, ..window })
    }

    /// How much may be used: units, or a bucket's capacity in tokens. 0 ..= [`MAX_COUNT`].
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// What comes back every [`Limit::window_ms`]: tokens. 0 ..= [`MAX_COUNT`], and never 0 for a bucket.
    pub fn refill(&self) -> u64 {
        self.refill
    }

    /// The window, or a bucket's interval: [`duration::MIN_MS`] ..= [`duration::MAX_MS`].
    pub fn window_ms(&self) -> u64 {
        self.window_ms
    }
}

/// The limits of one call, in the order asked; never on the heap.
pub type Limits = SmallVec<[Limit; MAX_LIMITS]>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_held() {
        assert!(Limit::window(0, 1).is_some());
        assert!(Limit::window(MAX_COUNT, duration::MAX_MS).is_some());
        assert!(Limit::window(MAX_COUNT + 1, 1).is_none());
        assert!(Limit::window(1, 0).is_none());
        assert!(Limit::window(1, duration::MAX_MS + 1).is_none());
        assert!(Limit::bucket(1, 0, 1).is_none());
        assert!(Limit::bucket(1, MAX_COUNT + 1, 1).is_none());
        assert!(Limit::bucket(0, MAX_COUNT, 1).is_some());
    }

    #[test]
    fn names_are_read_in_any_case() {
        assert_eq!(Algorithm::parse(b"SlIdInG"), Some(Algorithm::Sliding));
        assert_eq!(Algorithm::parse(b"gcra"), None);
    }
}
