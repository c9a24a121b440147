//! How long an entry holds.

use crate::core::node::ends::Ends;

/// How long an entry holds. The order is by which lasts longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Until {
    /// Until it ends.
    At(Ends),
    /// Permanent.
    Forever,
}

impl Until {
    /// Up to a millisecond since the Unix epoch: see [`Ends::at`].
    pub fn at(at_ms: u64) -> Self {
        Self::At(Ends::at(at_ms))
    }

    /// Whether the entry still counts.
    #[inline]
    pub fn holds(self, now_ms: u64) -> bool {
        match self {
            Self::At(ends) => ends.holds(now_ms),
            Self::Forever => true,
        }
    }

    /// The milliseconds left; `None` for ever.
    pub fn left_ms(self, now_ms: u64) -> Option<u64> {
        match self {
            Self::At(ends) => Some(ends.left_ms(now_ms)),
            Self::Forever => None,
        }
    }

    /// The millisecond since the Unix epoch at which it ends; `None` for never.
    pub fn ends_ms(self) -> Option<u64> {
        match self {
            Self::At(ends) => Some(ends.at_ms()),
            Self::Forever => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_holding_is_the_greater() {
        assert!(Until::Forever > Until::at(u64::MAX));
        assert!(Until::at(2) > Until::at(1));
        assert!(Until::at(10).holds(9));
        assert!(!Until::at(10).holds(10));
    }
}
