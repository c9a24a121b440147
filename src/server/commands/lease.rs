//! `RL.RELEASE`: leases that are given back.

use super::KEY;
use crate::core::algorithm::lease::MAX_ID_BYTES;
use crate::core::codec;
use crate::core::error::Error;
use crate::core::limit::Algorithm;
use crate::server::propagate::APPLY;
use crate::server::raw::{now_ms, Call};
use crate::server::slot::Slot;

/// `RL.RELEASE key id [id ...]`: how many were held.
pub fn release(call: &Call) -> Result<(), Error> {
    const FIRST_ID: usize = KEY + 1;
    let args = call.args();
    let ids = args.get(FIRST_ID..).unwrap_or_default();
    let is_id = |id: &&[u8]| (1..=MAX_ID_BYTES).contains(&id.len());
    if let Some(index) = ids.iter().position(|id| !is_id(id)) {
        return Err(Error::Id {
            at: FIRST_ID + index,
        });
    }
    let now_ms = now_ms();
    let Some(key) = call.open_to_write(KEY) else {
        return Ok(()); // the server's arity check sees to it that there is a key
    };
    let mut slot = Slot::of(key)?;
    let held = slot.count_held(ids, now_ms)?;
    if held > 0 {
        slot.release(ids, now_ms);
        slot.key()
            .replicate(APPLY, &codec::encode_release(ids, now_ms));
        slot.key().signal_modified();
    }
    call.reply_count(held as u64);
    Ok(())
}

impl Slot<'_> {
    /// How many of these leases are held.
    fn count_held(&mut self, ids: &[&[u8]], now_ms: u64) -> Result<usize, Error> {
        let Some(held) = self.held_mut() else {
            return Ok(0);
        };
        let holds = held.algorithm();
        let leases = held.leases().ok_or(Error::HoldsAlgorithm {
            holds,
            asked: Algorithm::Lease,
        })?;
        Ok(leases.count_held(ids.iter().copied(), now_ms))
    }

    /// Gives leases back; a key whose last lease is gone goes with it.
    pub fn release(&mut self, ids: &[&[u8]], now_ms: u64) {
        let Some(leases) = self.held_mut().and_then(|held| held.leases()) else {
            return;
        };
        leases.release(ids.iter().copied(), now_ms);
        if leases.is_empty() {
            self.delete();
        }
    }
}
