//! What the core says of its memory, against an allocator that counts: `cargo test --no-default-features --test memory`.
#![cfg(not(feature = "server"))] // with it, the crate brings the server's allocator
#![allow(clippy::expect_used, reason = "a test that panics has failed")]

mod allocation;
mod counting;
mod deny;
mod limiter;
mod stats;
