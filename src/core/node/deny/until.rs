//! How long an entry holds.

use crate::core::limit::MAX_TIME_MS;
use std::num::NonZeroU64;

/// How long an entry holds. The order is by which lasts longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Until {
    /// Up to, and not including, this millisecond since the Unix epoch: 1 ..= [`MAX_TIME_MS`].
    At(NonZeroU64),
    /// Permanent.
    Forever,
}

impl Until {
    /// Up to a millisecond since the Unix epoch.
    pub fn at(expires_at_ms: u64) -> Self {
        Self::At(NonZeroU64::new(expires_at_ms.min(MAX_TIME_MS)).unwrap_or(NonZeroU64::MIN))
    }

    /// Whether the entry still counts.
    pub fn holds(self, now_ms: u64) -> bool {
        match self {
            Self::At(expires_at_ms) => now_ms < expires_at_ms.get(),
            Self::Forever => true,
        }
    }

    /// The instant it ends, in milliseconds since the Unix epoch; `None` for never.
    pub fn expires_at_ms(self) -> Option<u64> {
        match self {
            Self::At(expires_at_ms) => Some(expires_at_ms.get()),
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
        assert_eq!(Until::at(0), Until::at(1));
        assert!(Until::at(10).holds(9));
        assert!(!Until::at(10).holds(10));
        assert_eq!(Until::at(u64::MAX).expires_at_ms(), Some(MAX_TIME_MS));
    }
}
