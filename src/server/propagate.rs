//! How an effect reaches replicas and the AOF: one internal command, `RL.APPLY key payload`.
//!
//! ```text
//! primary                                       replica, AOF, new owner of a slot
//! RL.SLIDING login:alice 5 15m                  RL.APPLY login:alice <charge: 1 at 1700000000123, 5 per 900000 ms>
//! AOF rewrite, slot migration                   RL.APPLY login:alice <state>
//! ```
//!
//! A charge carries its time and its resolved limits, so it makes the same state wherever and whenever it is applied:
//! on a replica with another clock, or from an AOF hours later. A denied hit and a peek have no effect, and so nothing
//! is sent.

use super::raw::Key;
use crate::core::codec;
use crate::core::limiter::{Change, Hit, Limiter};
use std::ffi::CStr;

/// The internal command.
pub const APPLY: &CStr = c"rl.apply";

/// Tells watchers and tracking clients, and sends the effect on.
pub fn commit(key: &Key, limiter: &Limiter, change: Change, hit: &Hit, now_ms: u64) {
    match change {
        Change::None => return,
        Change::Charged => key.replicate(APPLY, &codec::encode_charge(hit, now_ms)),
        Change::Rewound => key.replicate(APPLY, &codec::encode_state(limiter)),
    }
    key.signal_modified();
}
