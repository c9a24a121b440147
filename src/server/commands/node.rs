//! `RL.NODE`: the internal command that carries what belongs to the node; see [`crate::server::registry`].

use crate::core::error::Error;
use crate::server::raw::Call;
use crate::server::registry::{self, Part, NODE};

/// `RL.NODE payload`
pub fn node(call: &Call) -> Result<(), Error> {
    const PAYLOAD: usize = 1;
    let args = call.args();
    let payload = args.get(PAYLOAD).copied().unwrap_or_default();
    match registry::with(|registry| registry.apply(payload)) {
        None => return Err(Error::Payload { at: PAYLOAD }),
        Some(Part::Stats) => call.append_to_aof(NODE, payload), // replicas are sent no statistics
        Some(_) => call.replicate_verbatim(),
    }
    call.reply_simple(c"OK");
    Ok(())
}
