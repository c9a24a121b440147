//! `RL.AUDIT`: who has changed what lately; and the one way by which a change gets there, and into the server's log.

use super::words::DEFAULT_COUNT;
use crate::core::error::Error;
use crate::core::node::audit::{Change, MAX_CHANGES};
use crate::core::request;
use crate::server::raw::{notice, now_ms, Call};
use crate::server::registry;

/// `RL.AUDIT [COUNT n]`: newest first, when in Unix milliseconds, by whom, what, and what was done with it.
pub fn audit(call: &Call) -> Result<(), Error> {
    let args = call.args();
    let behind = args.get(1..).unwrap_or_default();
    let count = request::scan_count(behind, 1, DEFAULT_COUNT, MAX_CHANGES)?;
    registry::node(|node| {
        let latest = node.audit.latest(count);
        call.reply_array(latest.len());
        for change in latest {
            let mut done = change.done.clone();
            if !change.detail.is_empty() {
                done.push_str(": ");
                done.push_str(&change.detail);
            }
            call.reply_array(4);
            call.reply_count(change.at_ms);
            for text in [&change.by, &change.subject, &done] {
                call.reply_bytes(text.as_bytes());
            }
        }
    });
    Ok(())
}

/// Notes what a client has changed. What comes from a primary or a file is not new: the server that has accepted it has said so.
pub fn changed(call: &Call, subject: String, done: &str, detail: String) {
    if !call.is_replayed() {
        note(call.sender(), subject, done, detail);
    }
}

/// Notes a change, of which nobody may be the cause.
pub fn note(by: String, subject: String, done: &str, detail: String) {
    let change = Change {
        at_ms: now_ms(),
        by,
        subject,
        done: done.to_owned(),
        detail,
    };
    notice(&format!("ratelimit: {change}"));
    registry::node(|node| node.audit.add(change));
}
