//! `RL.RELEASE`: leases that are given back.

use super::KEY;
use crate::core::algorithm::lease::MAX_ID_BYTES;
use crate::core::codec;
use crate::core::error::Error;
use crate::core::limit::Algorithm;
use crate::core::request;
use crate::server::propagate::APPLY;
use crate::server::raw::{now_ms, Call, Keys};
use crate::server::slot::Slot;

/// `RL.RELEASE key id [id ...]`: how many were held.
pub fn release(call: &Call, keys: &mut Keys) -> Result<(), Error> {
    const FIRST_ID: usize = KEY + 1;
    let args = call.args();
    let ids = args.get(FIRST_ID..).unwrap_or_default();
    request::at_most_words(ids, FIRST_ID, "ids")?;
    let is_id = |id: &&[u8]| (1..=MAX_ID_BYTES).contains(&id.len());
    if let Some(index) = ids.iter().position(|id| !is_id(id)) {
        return Err(Error::Id {
            at: FIRST_ID + index,
        });
    }
    let now_ms = now_ms();
    let Some(key) = keys.open_to_write(KEY) else {
        return Ok(()); // the server's arity check sees to it that there is a key
    };
    let mut slot = Slot::of(key)?;
    let released = slot.release(ids, now_ms)?;
    if released > 0 {
        slot.key()
            .replicate(APPLY, &codec::encode_release(ids, now_ms));
        slot.key().signal_modified();
    }
    call.reply_count(released as u64);
    Ok(())
}

impl Slot<'_> {
    /// Gives leases back; a key whose last lease is gone goes with it. How many of these ids held anything.
    pub fn release(&mut self, ids: &[&[u8]], now_ms: u64) -> Result<usize, Error> {
        let Some(mut held) = self.held_mut() else {
            return Ok(0);
        };
        let asked = Algorithm::Lease;
        let holds = held.algorithm().unwrap_or(asked);
        let Some(leases) = held.leases() else {
            return match holds {
                Algorithm::Lease => Ok(0), // it is shut, and nothing has been used yet
                _ => Err(Error::HoldsAlgorithm { holds, asked }),
            };
        };
        let released = leases.release(ids, now_ms);
        if released > 0 && leases.is_empty() {
            if !held.clear_usage(now_ms) {
                self.delete();
            }
        } else if released > 0 {
            self.keep_ttl();
        }
        Ok(released)
    }
}
