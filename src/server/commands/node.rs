//! `RL.NODE`: the internal command that carries a part of the node; see [`crate::core::node`].

use crate::core::error::Error;
use crate::core::node::{Part, Sender};
use crate::server::raw::{notice, now_ms, Call};
use crate::server::registry;

/// `RL.NODE payload`
pub fn node(call: &Call) -> Result<(), Error> {
    const PAYLOAD: usize = 1;
    let args = call.args();
    let payload = args.get(PAYLOAD).copied().unwrap_or_default();
    let is_replayed = call.is_replayed();
    let bounds = registry::bounds();
    let sender = if is_replayed {
        Sender::Peer
    } else {
        Sender::Client(&bounds)
    };
    let part = registry::node(|node| node.apply(payload, sender, now_ms()))?;
    let changed = match part {
        Part::Policies | Part::Setting => "policies",
        Part::Entries | Part::Rename => "deny lists",
        Part::Stats => "statistics",
    };
    if !is_replayed {
        let sender = call.sender();
        notice(&format!(
            "ratelimit: {changed} set by RL.NODE, sent by {sender}"
        ));
    }
    // A client's statistics are told as this server tells its own: see `Node::apply`.
    if part != Part::Stats || is_replayed {
        call.replicate_verbatim();
    }
    call.reply_simple(c"OK");
    Ok(())
}
