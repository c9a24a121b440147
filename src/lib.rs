//! Rate limiting as native Redis commands.
//!
//! The house has two wings, and the compiler holds the wall between them:
//!
//! * [`core`] decides. It has no clock, no I/O, no globals, no `unsafe` and no server type: it is given
//!   `(state, limits, cost, now_ms)` and answers with a decision. It builds and tests without Redis:
//!   `cargo test --no-default-features`.
//! * `server` speaks to Redis. It exists only with the (default) feature `server`: it reads arguments, finds the key,
//!   asks `core`, stores, propagates and replies.

pub mod core;
#[cfg(feature = "server")]
mod server;
