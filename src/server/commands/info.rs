//! `RL.INFO key`: what the key holds.

use super::KEY;
use crate::core::error::Error;
use crate::server::raw::{now_ms, Call, Keys};
use crate::server::reply;
use crate::server::slot::Slot;

/// `RL.INFO key`
pub fn info(call: &Call, keys: &mut Keys) -> Result<(), Error> {
    let mut slot = keys.open_to_read(KEY).map(Slot::of).transpose()?;
    match slot.as_mut().and_then(Slot::held_mut) {
        Some(mut held) => reply::limiter(call, &mut held, now_ms()),
        None => call.reply_null(),
    }
    Ok(())
}
