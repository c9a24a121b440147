//! The engine in your own process: the module's commands, words in and replies out, without a server.
//!
//! It is no second implementation. `core` and the files of `commands` are the module's own, compiled once more; what differs
//! is the host beneath them. The module's is a Redis or Valkey server, this one's is a map of keys and a clock that the caller
//! gives:
//!
//! | what the commands stand on | in the module | here |
//! |---|---|---|
//! | arguments, replies, open keys | `src/server/raw` | [`server`]`::raw`, RESP2 in a buffer |
//! | keys and their TTL | the server | `store` |
//! | the clock | the server's | the caller's, per call |
//! | policies, deny lists, statistics | one of each server | one of each [`Engine`] |
//! | settings | `CONFIG` | `server::config`, fixed |
//! | replicas, the AOF, regions, keyspace events, logs | | none |
//!
//! So a reply is the module's, byte for byte, which `tests/engine.rs` holds against a real server.
//!
//! [`wasm`] is the same for a host that loads it as WebAssembly.
//!
//! # What is bounded
//!
//! Keys, by [`Options::max_keys`]: when it is full, keys that have expired make room, and where none has, a call that would make
//! a new key is refused with `OOM`; those that are there go on. A key's name, by [`MAX_NAME_BYTES`]; what it holds, as in the
//! module. Policies, deny lists and statistics, by `server::config`.

#[path = "../../src/core/mod.rs"]
pub mod core;
mod engine;
mod server;
mod store;
pub mod wasm;

pub use engine::{Engine, Options, DEFAULT_MAX_KEYS, MAX_NAME_BYTES};
