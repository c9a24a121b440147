//! `RL.INFO key`: what the key holds.

use super::KEY;
use crate::core::error::Error;
use crate::server::raw::{now_ms, Call};
use crate::server::reply;
use crate::server::slot::Slot;

/// `RL.INFO key`
pub fn info(call: &Call) -> Result<(), Error> {
    let mut slot = call.open_to_read(KEY).map(Slot::of).transpose()?;
    match slot.as_mut().and_then(Slot::held_mut) {
        Some(held) => reply::limiter(call, held, now_ms()),
        None => call.reply_null(),
    }
    Ok(())
}
