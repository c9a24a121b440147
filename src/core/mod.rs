//! The wing that decides: pure functions of `(state, limits, cost, now_ms)`.
//!
//! Integers only; checked, saturating or widened to `u128` where a bound is named; nothing here can panic on what a
//! client sends.
#![forbid(unsafe_code)]

pub mod bucket;
pub mod codec;
pub mod decision;
pub mod deny;
pub mod duration;
pub mod error;
pub mod fixed;
pub mod limit;
pub mod limiter;
#[cfg(test)]
mod oracle;
pub mod policy;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod random;
pub mod request;
pub mod sliding;
mod source;
pub mod stats;
pub mod varint;
