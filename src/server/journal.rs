//! What belongs to the node, in the AOF, so that a restart finds it: as payloads of `RL.NODE` that no replica is sent.
//!
//! ```text
//! turn of the event loop    commands: hits ──▶ RL.APPLY key ..    each hit that charged something
//!                           then:              RL.NODE S..        the statistics, if a hit named a policy
//! each second                                  RL.NODE S..        the statistics, if there is anything new
//! a rewrite without         the server has opened a new file, and its child writes the keys into the one before it
//! an RDB preamble           then:              RL.NODE P.. A.. S..  everything
//! ```
//!
//! Statistics: records of [`crate::core::node::stats::journal`]. The one of a turn is in the file before the replies of the turn
//! are sent, where the server runs commands, timers and writes in this order; with I/O threads, or after a pause of clients,
//! it may follow at once after them. But a denied hit is to write nothing, and a flood must not fill a disk: the records of
//! turns are limited, by a token bucket of bytes, those of the clock to [`RECORD_BYTES`] each. Hits without a policy's name
//! wait for the clock.

use super::raw::{now_ms, Call};
use super::registry::{self, Part, Registry, NODE, RECORD_BYTES};
use crate::core::limit::{Algorithm, Limit};
use crate::core::limiter::Limiter;
use crate::core::quote::{self, Hit};

/// Bytes of turns' records at once: some thousand, of a hit or two each.
const BURST_BYTES: u64 = 1 << 20;
/// Bytes of turns' records a second in the long run: dozens.
const BYTES_PER_SECOND: u64 = 4 << 10;
/// What a record takes in the AOF beside its payload: `*2 $7 rl.node $len`, and perhaps a `SELECT`.
const FRAME_BYTES: usize = 50;

/// Milliseconds between two of the clock's records.
const CLOCK_MS: u64 = 1_000;

/// What was written lately, and what is to come.
#[derive(Default)]
pub struct Written {
    /// Bytes of turns' records: a bucket, as a client's.
    bytes: Option<Limiter>,
    /// When the clock's record was written.
    at_ms: u64,
    /// Whether a record is coming that will have what hits with a name change now: this turn's, or the clock's.
    is_coming: bool,
    /// Whether a file has been begun that has nothing of the node yet.
    lacks_everything: bool,
}

impl Written {
    /// Something has changed that is to be written at once. Whether that is the first in this turn: then
    /// [`begin_turn`] follows.
    #[inline]
    pub fn note(&mut self) -> bool {
        !std::mem::replace(&mut self.is_coming, true)
    }

    /// Charges `bytes`, whether or not they fit. Whether there is room for more.
    fn charge(&mut self, bytes: usize, now_ms: u64) -> bool {
        let Some(limit) = Limit::bucket(BURST_BYTES, BYTES_PER_SECOND, 1_000) else {
            return false; // the constants are a limit
        };
        let limits = [limit];
        let cost = i64::try_from(bytes).unwrap_or(i64::MAX);
        let hit = Hit {
            force: true,
            ..Hit::new(Algorithm::Bucket, &limits, cost)
        };
        let decided = quote::hit(&mut self.bytes, &hit, now_ms);
        decided.is_ok_and(|quote| {
            let verdict = quote.decision.binding();
            verdict.is_some_and(|verdict| verdict.remaining() > 0)
        })
    }
}

/// What has changed is to be written once this turn has run its commands.
#[cold]
pub fn begin_turn(call: &Call) {
    if call.may_append_to_aof() {
        call.defer(end_turn);
    }
}

fn end_turn(call: &Call) {
    write(call, |registry| {
        let now_ms = now_ms();
        let has_room = registry.written.charge(0, now_ms);
        let record = has_room.then(|| next(registry)).flatten();
        if let Some(record) = &record {
            registry.written.charge(record.len() + FRAME_BYTES, now_ms);
        }
        record
    });
}

/// The clock has ticked.
pub fn tick(call: &Call) {
    write(call, |registry| {
        let now_ms = now_ms();
        let is_due = now_ms.abs_diff(registry.written.at_ms) >= CLOCK_MS;
        let record = is_due.then(|| next(registry)).flatten();
        if record.is_some() {
            registry.written.at_ms = now_ms;
        }
        record
    });
}

/// A rewrite without an RDB preamble has begun: the file that it writes will have keys only, the one that the server has
/// opened to follow it has nothing yet.
///
/// Not now: this may be within a BGREWRITEAOF, and a command that has something sent on is sent on itself. At the end of the
/// turn, the server cannot have replaced the old files yet.
pub fn begin_file(call: &Call) {
    registry::with(|registry| registry.written.lacks_everything = true);
    begin_turn(call);
}

/// Writes what the file lacks: everything, or else a `record`.
///
/// Never while clients are paused, as the server would abort: the clock comes back to it. And one record, as the server puts
/// several payloads into a transaction, and sends a replica that, too: empty.
fn write(call: &Call, record: impl FnOnce(&mut Registry) -> Option<Vec<u8>>) {
    if !call.may_append_to_aof() {
        return;
    }
    let mut payloads = Vec::new();
    registry::with(|registry| {
        if std::mem::take(&mut registry.written.lacks_everything) {
            if !registry.is_empty() {
                registry.payloads(now_ms(), |payload| payloads.push(payload));
            }
            registry.written.is_coming = false;
        } else {
            payloads.extend(record(registry));
        }
    });
    for payload in payloads {
        call.append_to_aof(NODE, &payload);
    }
}

fn next(registry: &mut Registry) -> Option<Vec<u8>> {
    registry.written.is_coming = false;
    let record = registry.stats.next_record(RECORD_BYTES)?;
    Some(Part::Stats.payload(&record))
}
