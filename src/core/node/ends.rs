//! When something that was given a time to live ends: a temporary policy, an entry of a deny list.
//!
//! Both the instant and the time given are kept, as a lease keeps them. The instant makes all servers agree; the time given
//! bounds what is left after the clock was stepped back: what was given an hour never has more than an hour left.

use crate::core::limit::MAX_TIME_MS;
use std::num::NonZeroU32;

/// When something ends. The order is by which lasts longer.
///
/// Twelve bytes, aligned to four, so that an IPv4 address with its end takes 16: from the top a 1, 53 bits of the instant and
/// 42 of the time given, 0 where that is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ends {
    top: NonZeroU32,
    rest: [u32; 2],
}

/// The bits of the time given: 139 years.
const TTL_BITS: u32 = 42;

impl Ends {
    /// At that millisecond since the Unix epoch, brought within 1 ..= [`MAX_TIME_MS`]. The time given is not known, as in
    /// what an earlier version wrote: nothing is bounded.
    pub fn at(at_ms: u64) -> Self {
        Self::given(at_ms, u64::MAX)
    }

    /// `ttl_ms` from now.
    pub fn after(now_ms: u64, ttl_ms: u64) -> Self {
        Self::given(now_ms.saturating_add(ttl_ms), ttl_ms)
    }

    /// At that millisecond, given `ttl_ms`. A time that reaches back to the epoch, or more than 139 years, is none.
    pub fn given(at_ms: u64, ttl_ms: u64) -> Self {
        let at_ms = at_ms.clamp(1, MAX_TIME_MS);
        let is_known = ttl_ms < at_ms && ttl_ms >> TTL_BITS == 0;
        let ttl_ms = if is_known { ttl_ms.max(1) } else { 0 };
        let bits = 1 << 95 | u128::from(at_ms) << TTL_BITS | u128::from(ttl_ms);
        let word = |shift: u32| u32::try_from(bits >> shift & 0xffff_ffff).unwrap_or(u32::MAX);
        Self {
            top: NonZeroU32::new(word(64)).unwrap_or(NonZeroU32::MAX),
            rest: [word(32), word(0)],
        }
    }

    /// What was written as its [`Ends::at_ms`] and [`Ends::ttl_ms`]; `None` where nothing has these.
    pub fn read(at_ms: u64, ttl_ms: Option<u64>) -> Option<Self> {
        let ends = Self::given(at_ms, ttl_ms.unwrap_or(u64::MAX));
        (ends.at_ms() == at_ms && ends.ttl_ms() == ttl_ms).then_some(ends)
    }

    fn bits(self) -> u128 {
        let [middle, low] = self.rest.map(u128::from);
        u128::from(self.top.get()) << 64 | middle << 32 | low
    }

    /// The first millisecond since the Unix epoch at which it counts no more: 1 ..= [`MAX_TIME_MS`].
    #[inline]
    pub fn at_ms(self) -> u64 {
        let at_ms = self.bits() >> TTL_BITS & ((1 << 53) - 1);
        u64::try_from(at_ms).unwrap_or(MAX_TIME_MS)
    }

    /// The time it was given: 1 .. [`Ends::at_ms`]; `None` where it is not known.
    pub fn ttl_ms(self) -> Option<u64> {
        let ttl_ms = self.bits() & ((1 << TTL_BITS) - 1);
        u64::try_from(ttl_ms).ok().filter(|ttl_ms| *ttl_ms > 0)
    }

    /// Whether it still counts.
    #[inline]
    pub fn holds(self, now_ms: u64) -> bool {
        now_ms < self.at_ms()
    }

    /// The milliseconds left, no more than were given.
    pub fn left_ms(self, now_ms: u64) -> u64 {
        let left_ms = self.at_ms().saturating_sub(now_ms);
        self.ttl_ms().map_or(left_ms, |ttl_ms| left_ms.min(ttl_ms))
    }

    /// The same, or earlier where more would be left than was given: the clock was stepped back.
    pub fn moved_to(self, now_ms: u64) -> Self {
        match self.ttl_ms() {
            Some(ttl_ms) if self.left_ms(now_ms) < self.at_ms().saturating_sub(now_ms) => {
                Self::after(now_ms, ttl_ms)
            }
            _ => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_is_more_left_than_was_given() {
        let ends = Ends::after(10_000, 100);
        assert_eq!((ends.at_ms(), ends.ttl_ms()), (10_100, Some(100)));
        for (now_ms, left_ms) in [
            (0, 100),
            (9_999, 100),
            (10_000, 100),
            (10_001, 99),
            (10_100, 0),
        ] {
            assert_eq!(ends.left_ms(now_ms), left_ms);
            let moved = ends.moved_to(now_ms);
            assert_eq!(moved.at_ms(), 10_100.min(now_ms + 100));
            assert_eq!(moved.holds(now_ms), now_ms < 10_100);
        }
    }

    #[test]
    fn where_the_time_given_is_not_known_nothing_moves() {
        let ends = Ends::at(10_000);
        assert_eq!((ends.ttl_ms(), ends.left_ms(1)), (None, 9_999));
        assert_eq!(ends.moved_to(1), ends);
        assert_eq!(Ends::given(10_000, 10_000), ends);
        assert_eq!(Ends::at(0), Ends::at(1));
        assert_eq!(Ends::at(u64::MAX).at_ms(), MAX_TIME_MS);
        assert_eq!(Ends::after(u64::MAX, 5).ttl_ms(), Some(5));
        assert_eq!(Ends::given(MAX_TIME_MS, 1 << TTL_BITS).ttl_ms(), None);
        let most = (1 << TTL_BITS) - 1;
        let longest = Ends::given(MAX_TIME_MS, most);
        assert_eq!(
            (longest.at_ms(), longest.ttl_ms()),
            (MAX_TIME_MS, Some(most))
        );
        assert!(Ends::at(2) > Ends::given(1, 1) && longest > Ends::at(MAX_TIME_MS - 1));
        assert_eq!(size_of::<Option<(u32, Ends)>>(), 16);
    }
}
