//! How statistics reach replicas and the AOF, and everything of the node an AOF that was begun anew.
//!
//! ```text
//! each second         RL.NODE S..        what has changed in the statistics: to replicas and the AOF
//! a rewrite without   the server has opened a new file, and its child writes the keys into the one before it
//! an RDB preamble     then:              RL.NODE P.. A.. to the AOF, and S.. to replicas too
//! ```
//!
//! From the event of the server's clock alone, never in the turn of a command: a denied hit is to write nothing, and a flood
//! must not fill a disk or a link. A record has some 64 KiB at the most ([`crate::core::node::RECORD_BYTES`]).
//!
//! A server that comes to be a primary tells everything anew, as those who follow it from now on may have heard more, or
//! other things, from the one before.

use super::raw::{now_ms, Call};
use super::registry::{self, Registry, NODE};

/// Milliseconds between two records: with the clock's own step no more than a second.
const RECORD_MS: u64 = 900;

/// The clock has ticked.
pub fn tick(call: &Call) {
    // While clients are paused, as for a failover, nothing may be sent: the server would abort. The clock comes back to it.
    if !call.may_send() {
        return;
    }
    let is_primary = call.is_primary();
    let (parts, record) = registry::with(|registry| {
        let became_primary = is_primary && !registry.told.was_primary;
        registry.told.was_primary = is_primary;
        if became_primary {
            registry.node.stats.write_anew();
        }
        let now_ms = now_ms();
        if std::mem::take(&mut registry.told.lacks_everything) {
            return everything(registry, now_ms);
        }
        let is_due = now_ms.abs_diff(registry.told.at_ms) >= RECORD_MS;
        let record = (is_primary && is_due).then(|| registry.node.next_record());
        let record = record.flatten();
        if record.is_some() {
            registry.told.at_ms = now_ms;
        }
        (Vec::new(), record.into_iter().collect())
    });
    send(call, &parts, &record);
}

/// The parts of the node, and all records of its statistics.
fn everything(registry: &mut Registry, now_ms: u64) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let node = &mut registry.node;
    let mut parts = Vec::new();
    if node.is_empty() {
        return (parts, Vec::new());
    }
    node.parts(now_ms, |part| parts.push(part));
    node.stats.write_anew();
    let records = std::iter::from_fn(|| node.next_record()).collect();
    (parts, records)
}

fn send(call: &Call, parts: &[Vec<u8>], records: &[Vec<u8>]) {
    for part in parts {
        call.append_to_aof(NODE, part);
    }
    for record in records {
        call.replicate(NODE, record);
    }
}

/// A rewrite without an RDB preamble has begun: the file that it writes will have keys only, the one that the server has
/// opened to follow it has nothing yet.
///
/// Not now: this may be within a BGREWRITEAOF, and a command that has something sent on is sent on itself. At the end of the
/// turn, the server cannot have replaced the old files yet; where clients are paused by then, the clock comes back to it.
pub fn begin_file(call: &Call) {
    registry::with(|registry| registry.told.lacks_everything = true);
    call.defer(tick);
}
