//! The commands: the module's own files, without those that only a server needs.

use super::raw::{Call, Keys};
use crate::core::error::Error;
use crate::core::limit::Algorithm;

#[path = "../../../src/server/commands/all.rs"]
mod all;
mod audit;
#[path = "../../../src/server/commands/block.rs"]
mod block;
#[path = "../../../src/server/commands/deny.rs"]
pub mod deny;
#[allow(
    dead_code,
    reason = "a server has a path for each algorithm, this is one for all"
)]
#[path = "../../../src/server/commands/hit.rs"]
mod hit;
#[path = "../../../src/server/commands/info.rs"]
mod info;
#[path = "../../../src/server/commands/lease.rs"]
mod lease;
#[path = "../../../src/server/commands/look_up.rs"]
mod look_up;
#[path = "../../../src/server/commands/options.rs"]
mod options;
#[allow(dead_code, reason = "as of hits")]
#[path = "../../../src/server/commands/peek.rs"]
mod peek;
#[path = "../../../src/server/commands/policy.rs"]
pub mod policy;
#[path = "../../../src/server/commands/stats.rs"]
pub mod stats;
#[path = "../../../src/server/commands/words.rs"]
mod words;

pub use all::{all, peek_all};
pub use block::block;
pub use info::info;
pub use lease::release;
pub use look_up::Listed;

/// Which argument the key is.
const KEY: usize = 1;

/// A hit by any algorithm: one path for them all, where the module has one for each. It is the smaller for it.
#[inline(never)]
pub fn hit(call: &Call, keys: &mut Keys, algorithm: Algorithm) -> Result<(), Error> {
    hit::hit(call, keys, algorithm)
}

/// `RL.PEEK`, likewise.
#[inline(never)]
pub fn peek(call: &Call, keys: &mut Keys) -> Result<(), Error> {
    const ALGORITHM: usize = 1;
    let algorithm = Algorithm::parse(call.arg(ALGORITHM));
    let algorithm = algorithm.ok_or(Error::Algorithm { at: ALGORITHM })?;
    peek::ask(call, keys, algorithm)
}
