//! What was counted lately: in the hour of the latest hit, and in the hour before that one.
//!
//! ```text
//!   13:00        14:00        15:00        16:00
//!     │   before   │    hits    │            │      at 14:xx: (hits, before)     at 15:xx: (0, hits)     later: (0, 0)
//!                       ▲ hour
//! ```

use crate::core::bytes::source::Source;
use crate::core::bytes::varint;

/// Hits of one identifier, by the hour, of two hours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recent {
    /// Since the Unix epoch, UTC.
    hour: u64,
    hits: u64,
    before: u64,
}

impl Recent {
    /// Before the first hit, which comes in `hour`.
    pub(super) fn of(hour: u64) -> Self {
        Self {
            hour,
            ..Self::default()
        }
    }

    /// Counts `hits`, one at least.
    #[inline]
    pub(super) fn count(&mut self, hits: u64, hour: u64) {
        if self.hour != hour {
            self.turn(hour);
        }
        self.hits = self.hits.saturating_add(hits);
    }

    /// A clock that is set back by less than an hour counts in the hour that it was in.
    #[cold]
    fn turn(&mut self, hour: u64) {
        if hour.checked_add(1) == Some(self.hour) {
            return;
        }
        let is_next = self.hour.checked_add(1) == Some(hour);
        *self = Self {
            hour,
            hits: 0,
            before: if is_next { self.hits } else { 0 },
        };
    }

    /// What was counted in `hour`, and in the one before it.
    pub fn at(&self, hour: u64) -> (u64, u64) {
        if self.hour == hour || hour.checked_add(1) == Some(self.hour) {
            (self.hits, self.before)
        } else if self.hour.checked_add(1) == Some(hour) {
            (0, self.hits)
        } else {
            (0, 0)
        }
    }

    /// Whether these can be some of a counter's certain hits. (A count that is the largest number may have been more.)
    pub(super) fn is_of(&self, count: u64, max_error: u64) -> bool {
        let both = self.hits.saturating_add(self.before);
        let is_some = self.hits > 0 || *self == Self::default();
        is_some && (both <= count.saturating_sub(max_error) || count == u64::MAX)
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        for number in [self.hour, self.hits, self.before] {
            varint::write(out, number);
        }
    }

    pub(super) fn read(source: &mut Source) -> Option<Self> {
        Some(Self {
            hour: source.number()?,
            hits: source.number()?,
            before: source.number()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(hits: &[(u64, u64)]) -> Recent {
        let mut recent = Recent::default();
        for (hour, hits) in hits {
            recent.count(*hits, *hour);
        }
        recent
    }

    #[test]
    fn two_hours_are_told() {
        for (hits, at, told) in [
            (&[][..], 7, (0, 0)),
            (&[(7, 2), (7, 3)], 7, (5, 0)),
            (&[(7, 2), (7, 3)], 8, (0, 5)),
            (&[(7, 2), (7, 3)], 9, (0, 0)),
            (&[(7, 2), (8, 3)], 8, (3, 2)),
            (&[(7, 2), (8, 3)], 9, (0, 3)),
            (&[(7, 2), (9, 3)], 9, (3, 0)),
            (&[(7, 2), (8, 3), (9, 4)], 9, (4, 3)),
            (&[(0, 2)], 0, (2, 0)),
            (&[(u64::MAX, 2)], u64::MAX, (2, 0)),
            (&[(u64::MAX, 2)], 0, (0, 0)),
            (&[(7, u64::MAX), (7, 1)], 7, (u64::MAX, 0)),
        ] {
            assert_eq!(of(hits).at(at), told, "{hits:?} at {at}");
        }
    }

    /// A step back across the hour loses nothing; one by more begins anew, or it would count as new for as long.
    #[test]
    fn a_clock_is_set_back() {
        assert_eq!(of(&[(7, 2), (8, 3), (7, 4)]).at(7), (7, 2));
        assert_eq!(of(&[(7, 2), (8, 3), (7, 4)]).at(8), (7, 2));
        assert_eq!(of(&[(900, 2), (7, 4)]).at(7), (4, 0));
        assert_eq!(of(&[(900, 2)]).at(7), (0, 0));
    }

    #[test]
    fn what_cannot_have_been_counted_is_none_of_a_counters() {
        for (hour, hits, before, is_sound) in [
            (0, 0, 0, true),
            (7, 3, 2, true),
            (7, 4, 2, false), // more than the certain ones
            (7, 0, 2, false), // an hour begins with a hit
            (7, u64::MAX, u64::MAX, false),
        ] {
            let recent = Recent { hour, hits, before };
            assert_eq!(recent.is_of(9, 4), is_sound, "{recent:?}");
        }
        let recent = of(&[(7, u64::MAX), (8, u64::MAX)]);
        assert!(recent.is_of(u64::MAX, 4));
    }
}
