//! `RL.APPLY`: the internal command that carries state; see [`crate::server::propagate`].
//!
//! Anyone may send it, so it checks everything; what it accepts is no more than the sender could have done by RESTORE.

use super::{limiter_of, store, KEY};
use crate::core::codec::{self, Effect};
use crate::core::error::Error;
use crate::core::limiter::{Change, Limiter};
use crate::server::raw::Call;
use crate::server::ttl;
use std::mem::ManuallyDrop;

/// `RL.APPLY key payload`
pub fn apply(call: &Call) -> Result<(), Error> {
    const PAYLOAD: usize = 2;
    let args = call.args();
    let payload = args.get(PAYLOAD).copied().unwrap_or_default();
    let effect = codec::decode(payload).ok_or(Error::Payload { at: PAYLOAD })?;
    let Some(mut key) = call.open_to_write(KEY) else {
        return Ok(()); // the server's arity check sees to it that there is a key
    };
    let mut state = limiter_of(&key)?;
    let mut is_new = state.is_none();
    let mut ends_ms = None;
    let change = match effect {
        Effect::State(limiter) => {
            // Takes the place of what was there, but not of its TTL: where it was sent, that has stayed too.
            is_new = true;
            ends_ms = key.expires_ms();
            state = ManuallyDrop::new(Some(limiter));
            Change::Rewound
        }
        Effect::Charge(charge) => Limiter::charge(&mut state, &charge.hit(), charge.now_ms)?,
    };
    if change != Change::None {
        if is_new {
            state = store(&mut key, state)?;
            if let Some(ends_ms) = ends_ms {
                key.expire_at(ends_ms);
            }
        }
        if let Some(limiter) = state.as_ref() {
            ttl::keep(&mut key, limiter);
        }
        key.signal_modified();
        call.replicate_verbatim();
    }
    call.reply_simple(c"OK");
    Ok(())
}
