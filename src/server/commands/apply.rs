//! `RL.APPLY`: the internal command that carries state; see [`crate::server::propagate`].
//!
//! Whoever sends it, it checks everything; what it accepts is no more than the sender could have done by RESTORE.

use super::KEY;
use crate::core::codec::{self, Effect};
use crate::core::error::Error;
use crate::server::raw::{now_ms, Args, Call, Keys};
use crate::server::slot::Slot;

/// `RL.APPLY key payload [id]`
pub fn apply(call: &Call, keys: &mut Keys) -> Result<(), Error> {
    const PAYLOAD: usize = 2;
    let mut words = Args::new();
    call.read_args(PAYLOAD, &mut words);
    let (payload, id) = match words[..] {
        [payload] => (payload, None),
        [payload, id] => (payload, Some(id)),
        _ => return Err(Error::Payload { at: PAYLOAD }),
    };
    let effect = codec::decode(payload, id).ok_or(Error::Payload { at: PAYLOAD })?;
    let Some(key) = keys.open_to_write(KEY) else {
        return Ok(()); // the server's arity check sees to it that there is a key
    };
    let mut slot = Slot::of(key)?;
    match effect {
        Effect::State(limiter) => {
            slot.put(limiter);
            slot.keep_ttl();
            slot.note_change(now_ms());
        }
        Effect::Charge(charge) => {
            slot.apply(
                &charge.hit(&charge.options()),
                charge.change(),
                charge.now_ms,
            )?;
            slot.note_change(charge.now_ms);
        }
        Effect::Shadow(charge) => {
            let options = charge.options();
            slot.apply_shadow(&charge.hit(&options), charge.change(), charge.now_ms)?;
        }
        Effect::Merge {
            setting,
            own,
            payload,
        } => {
            slot.merge(&payload, setting, own)?;
        }
        Effect::Reset { now_ms, reset_ms } => {
            slot.reset(reset_ms, now_ms);
            slot.note_change(now_ms);
        }
        Effect::Order { length_ms, now_ms } => {
            slot.order(length_ms, now_ms);
        }
        Effect::Release { ids, now_ms } => {
            let ids: Vec<&[u8]> = ids.iter().map(|id| &**id).collect();
            slot.release(&ids, now_ms)?;
        }
    }
    slot.key().signal_modified();
    call.replicate_verbatim();
    call.reply_simple(c"OK");
    Ok(())
}
