//! `RL.NODE`: the internal command that carries a part of the node; see [`crate::core::node`].

use super::audit;
use crate::core::error::Error;
use crate::core::node::{Part, Sender};
use crate::server::raw::{now_ms, Call};
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
    let subject = match part {
        Part::Policies | Part::Setting => "policies",
        Part::Entries | Part::Rename => "deny lists",
        Part::Stats => "statistics",
    };
    audit::changed(
        call,
        subject.to_owned(),
        "set by RL.NODE, sent",
        String::new(),
    );
    // A client's statistics are told as this server tells its own: see `Node::apply`.
    if part != Part::Stats || is_replayed {
        call.replicate_verbatim();
    }
    call.reply_simple(c"OK");
    Ok(())
}
