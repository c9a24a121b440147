//! What stands for the server's wing: the commands are the module's files, and so is what they share; the rest has the names
//! that they use, on an engine's own keys.

pub mod commands;
mod config;
pub mod data_type;
mod propagate;
pub mod raw;
mod regions;
pub mod registry;
#[path = "../../../src/server/reply.rs"]
mod reply;
#[allow(
    dead_code,
    reason = "it also applies effects, of which there are none here"
)]
#[path = "../../../src/server/slot.rs"]
mod slot;
#[path = "../../../src/server/zones.rs"]
mod zones;
