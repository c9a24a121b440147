//! The gateway as it runs: the real binary, asked as its callers ask it, with a real Redis behind it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may stop at the first surprise"
)]

mod abuse;
mod check;
mod failure;
mod integration;
mod load;
mod metrics;
mod outage;
mod proxies;
mod rls;
mod support;
mod tls;
