//! `RL.BLOCK`: a key that is shut by order.

use super::KEY;
use crate::core::codec;
use crate::core::error::Error;
use crate::core::limiter::noted;
use crate::core::request;
use crate::server::propagate::APPLY;
use crate::server::raw::{now_ms, Call, Keys};
use crate::server::slot::Slot;

/// `RL.BLOCK key duration`: for how many milliseconds more the key is shut.
pub fn block(call: &Call, keys: &mut Keys) -> Result<(), Error> {
    const DURATION: usize = KEY + 1;
    let length_ms = request::block_duration(call.arg(DURATION), DURATION)?;
    let now_ms = now_ms();
    let Some(key) = keys.open_to_write(KEY) else {
        return Ok(()); // the server's arity check sees to it that there is a key
    };
    let mut slot = Slot::of(key)?;
    if length_ms > 0 && slot.held().is_none() && call.refuses_new_keys() {
        return Err(Error::OutOfMemory);
    }
    if slot.order(length_ms, now_ms) {
        slot.key()
            .replicate(APPLY, &codec::encode_order(length_ms, now_ms));
        slot.key().signal_modified();
    }
    let held = slot.held();
    let notes = held.as_ref().and_then(|held| held.notes());
    call.reply_count(notes.map_or(0, |notes| notes.left_ms(now_ms)));
    Ok(())
}

impl Slot<'_> {
    /// Shuts the key for so long from then on; 0 lifts whatever block there is. Whether that has changed anything.
    pub fn order(&mut self, length_ms: u64, now_ms: u64) -> bool {
        let left = noted::order(self.held_mut().as_mut(), length_ms, now_ms);
        let is_changed = left.is_some();
        if let Some(left) = left {
            self.leave(left);
            if length_ms == 0 {
                self.renew_ttl(); // a block may have lasted for longer than what is used does
            }
        }
        is_changed
    }
}
