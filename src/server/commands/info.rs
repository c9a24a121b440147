//! `RL.INFO key`: what the key holds.

use super::{limiter_of, KEY};
use crate::core::error::Error;
use crate::server::raw::{now_ms, Call};
use crate::server::reply;

/// `RL.INFO key`
pub fn info(call: &Call) -> Result<(), Error> {
    let key = call.open_to_read(KEY);
    let state = key.as_ref().map(limiter_of).transpose()?;
    match state.as_ref().and_then(|state| state.as_ref()) {
        Some(limiter) => reply::limiter(call, limiter, now_ms()),
        None => call.reply_null(),
    }
    Ok(())
}
