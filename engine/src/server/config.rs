//! The settings: those that a server has by default, but for the bounds of what a process of its own should not hold.

use crate::core::algorithm::log::DEFAULT_ENTRIES;
use crate::core::limiter::ids::Bounds;
use crate::core::node::policy::DEFAULT_POLICIES;
use crate::core::node::stats::top::DEFAULT_IDENTIFIERS;
use crate::core::node::{deny, stats};
use crate::core::region::origin::Region;

/// Which region this is: none.
pub const REGION: NoRegion = NoRegion;

/// See [`REGION`].
pub struct NoRegion;

impl NoRegion {
    /// No.
    pub const fn is_set(&self) -> bool {
        false
    }

    /// None.
    #[allow(dead_code, reason = "asked by what only regions need")]
    pub const fn get(&self) -> Option<Region> {
        None
    }
}

/// The most entries in the log of a sliding limiter.
pub const fn sliding_entries() -> u16 {
    DEFAULT_ENTRIES
}

/// How many ids of hits a key remembers, and for how long.
pub const fn ids() -> Bounds {
    Bounds::DEFAULT
}

/// How many policies there may be.
pub const fn policies() -> usize {
    DEFAULT_POLICIES
}

/// The bounds of deny lists.
pub const fn deny_bounds() -> deny::Bounds {
    deny::Bounds {
        lists: 100,
        entries: 100_000,
        text_bytes: 4 << 20,
    }
}

/// The bounds of statistics.
pub const fn stats_bounds() -> stats::Bounds {
    stats::Bounds {
        names: 100,
        identifiers: DEFAULT_IDENTIFIERS,
    }
}
