//! The commands, one file a family. Each reads as one sentence: parse, look the key up, decide, store, propagate, reply.

mod all;
mod apply;
mod audit;
mod block;
pub mod deny;
mod hit;
mod info;
mod lease;
mod look_up;
mod node;
mod options;
mod peek;
pub mod policy;
#[cfg(feature = "probe")]
pub mod probe;
pub mod region;
pub mod stats;
mod throttle;
mod words;

pub use all::{all, peek_all};
pub use apply::apply;
pub use audit::audit;
pub use block::block;
pub use hit::{bucket, fixed, lease, sliding};
pub use info::info;
pub use lease::release;
pub use look_up::Listed;
pub use node::node;
pub use peek::peek;
pub use throttle::throttle;

/// Which argument the key is.
const KEY: usize = 1;
