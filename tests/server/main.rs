//! The module on real servers, one concern a module: `RATELIMIT_MODULE=$(scripts/build) cargo test
//! --no-default-features --test server deny::` runs one of them.
//!
//! Some compare the server with the core itself, so this is built without the server wing, whose allocator works only
//! inside a server.
#![cfg(not(feature = "server"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop at the first surprise"
)]

#[path = "../support/mod.rs"]
mod support;

mod all;
mod all_oracle;
mod block;
mod block_by_order;
mod calendar_windows;
mod cl_throttle;
mod clock;
mod cluster;
mod commands;
mod concurrency;
mod configuration;
mod crash;
mod deny;
mod deny_sync;
mod first;
mod hostile;
mod ids;
mod integration;
mod keyspace;
mod lease;
mod memory_full;
mod next;
mod persistence;
mod places;
mod policies;
mod probe;
mod readme;
mod regions;
mod regions_known;
mod registration;
mod replication;
mod resharding;
mod settling;
mod shadow;
mod stats;
mod top;
mod windows;
