//! The wing that decides: pure functions of `(state, limits, cost, now_ms)`.
//!
//! Integers only; checked, saturating or widened to `u128` where a bound is named; nothing here can panic on what a
//! client sends.
#![forbid(unsafe_code)]

pub mod algorithm;
pub mod bytes;
pub mod calendar;
pub mod codec;
pub mod decision;
pub mod duration;
pub mod error;
pub mod hashing;
pub mod limit;
pub mod limiter;
pub mod node;
pub mod numbered;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod places;
#[cfg(test)]
mod properties;
pub mod quote;
#[cfg(test)]
mod random;
pub mod region;
pub mod request;
pub mod span;
pub mod throttle;
pub mod zone;
