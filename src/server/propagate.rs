//! How an effect reaches replicas and the AOF: one internal command, `RL.APPLY key payload [id]`.
//!
//! ```text
//! primary                                       replica, AOF, new owner of a slot
//! RL.SLIDING login:alice 5 15m                  RL.APPLY login:alice <charge: 1 at 1700000000123, 5 per 900000 ms>
//! the same, with ID req-7                       RL.APPLY login:alice <the same, remembered for 600000 ms> req-7
//! the same, of region eu                        RL.APPLY login:alice <the same, eu's>
//! RL.BUCKET pace 1 1 10s RESERVE 1m             RL.APPLY pace <the same: a place at 1700000010123, its stamp>
//! RL.MERGE login:alice <parts>                  RL.APPLY login:alice <merge: parts, at 1700000000123>
//! RL.RESET login:alice                          RL.APPLY login:alice <reset: until 1700000000123>
//! the same, with a shadow                       this, and RL.APPLY login:alice <shadow: 1 at 1700000000123, 3 per 900000 ms>
//! RL.RELEASE jobs req-77                        RL.APPLY jobs <release: req-77 at 1700000000456>
//! RL.BLOCK up:openai 30s                        RL.APPLY up:openai <order: 30 s, at 1700000000456>
//! a block begins, a clock has stepped back      RL.APPLY login:alice <state>
//! redis-cell's key is taken over                DEL login:alice, RL.APPLY login:alice <state>
//! AOF rewrite, slot migration                   RL.APPLY login:alice <state>
//! ```
//!
//! A charge carries its time and its resolved limits, so it makes the same state wherever and whenever it is applied:
//! on a replica with another clock, or from an AOF hours later. A denied hit and a peek have no effect, and so nothing
//! is sent.

use super::raw::{Key, Word};
use crate::core::codec::{self, EffectBytes};
use crate::core::limiter::LimiterRef;
use crate::core::quote::{Change, Hit, Once};
use std::ffi::CStr;

/// The internal command.
pub const APPLY: &CStr = c"rl.apply";

/// Tells watchers and tracking clients, and sends on that the key holds this, and not what it held before.
pub fn replacement(key: &Key, held: Option<LimiterRef>) {
    key.replicate_delete();
    if let Some(held) = held {
        key.replicate(APPLY, &codec::encode_state(held));
    }
    key.signal_modified();
}

/// Sends on what has changed of the meters of limits that are tried.
#[cold]
pub fn shadow(key: &Key, held: LimiterRef, hit: &Hit, change: Change, now_ms: u64) {
    match change {
        Change::Charge(cost) => key.replicate(APPLY, &codec::encode_shadow(hit, cost, now_ms)),
        _ => key.replicate(APPLY, &codec::encode_state(held)),
    }
}

/// Tells watchers and tracking clients, and sends the effect on.
#[inline(always)]
pub fn commit(key: &Key, held: LimiterRef, hit: &Hit, change: Change, now_ms: u64) {
    match change {
        Change::None => return,
        Change::Charge(cost) => {
            let is_renewed = hit.options.here.is_some() && held.is_renewed();
            let mut bytes = EffectBytes::default();
            bytes.charge(hit, cost, now_ms, is_renewed);
            key.replicate(APPLY, &bytes);
        }
        Change::Reserve(_) | Change::Once(_) => commit_place(key, held, hit, change, now_ms),
        Change::Rewind | Change::Block { .. } => key.replicate(APPLY, &codec::encode_state(held)),
    }
    key.signal_modified();
}

/// The same, of a hit that asks for nothing rare but its id, which is this word of the call. (It goes along as it came: in the
/// payload it would be copied twice, and as a rule make it longer than the server keeps in one piece.)
#[inline(always)]
pub fn once(key: &Key, hit: &Hit, id: Word, once: &Once, now_ms: u64) {
    let mut bytes = EffectBytes::default();
    bytes.usual_once(hit, once, now_ms);
    key.replicate_with_word(APPLY, &bytes, id);
    key.signal_modified();
}

#[cold]
fn commit_place(key: &Key, held: LimiterRef, hit: &Hit, change: Change, now_ms: u64) {
    let is_renewed = hit.options.here.is_some() && held.is_renewed();
    let mut bytes = EffectBytes::default();
    bytes.change(hit, change, now_ms, is_renewed);
    match change {
        Change::Once(_) => key.replicate_with(APPLY, &bytes, hit.options.id),
        _ => key.replicate(APPLY, &bytes),
    }
}
