//! What belongs to the node and not to a key: policies, deny lists, statistics.

pub mod deny;
pub mod policy;
pub mod stats;
