//! Statistics in the AOF, so that a restart finds them: records of [`crate::core::stats::journal`], as `RL.NODE S..`.
//!
//! ```text
//! turn of the event loop    commands: hits ──▶ RL.APPLY key ..        each hit that charged something
//!                           then:              RL.NODE S..            the statistics, if a hit named a policy
//!                           AOF written, replies sent
//! tick of the clock                            RL.NODE S..            the statistics, once a second at most
//! ```
//!
//! So what is answered is in the AOF, as hits are: who is limited, and under which name. The totals of hits without a name
//! follow by the clock, as a denied hit is to write nothing. And a flood must not fill a disk: records are limited, by a
//! token bucket of bytes. What is over the limit is left to the clock, and no more than that can be lost by a crash.
//!
//! Replicas are sent nothing: they have their primary's statistics as of the last full synchronisation.

use super::raw::{now_ms, Call};
use super::registry::{self, Part, Registry, NODE, RECORD_BYTES};
use crate::core::limit::{Algorithm, Limit};
use crate::core::limiter::{Hit, Limiter};
use redis_module::raw;
use std::ffi::c_void;

/// Bytes of records at once: some thousand, of a turn with a hit or two each.
const BURST_BYTES: u64 = 1 << 20;
/// Bytes of records a second in the long run: dozens, or one of all that has changed of many names.
const BYTES_PER_SECOND: u64 = 8 << 10;
/// What a record takes in the AOF beside its payload: `*2 $7 rl.node $len`, and perhaps a `SELECT`.
const FRAME_BYTES: usize = 50;

/// Milliseconds between two records, where no name has anything new.
const TOTALS_MS: u64 = 1_000;

/// What was written lately.
#[derive(Default)]
pub struct Written {
    /// How many bytes: a bucket, as a client's.
    bytes: Option<Limiter>,
    /// When last.
    at_ms: u64,
}

impl Written {
    /// Charges `bytes`, whether or not they fit. Whether there is room for more.
    fn charge(&mut self, bytes: usize, now_ms: u64) -> bool {
        let Some(limit) = Limit::bucket(BURST_BYTES, BYTES_PER_SECOND, 1_000) else {
            return false; // the constants are a limit
        };
        let hit = Hit {
            algorithm: Algorithm::Bucket,
            limits: &[limit],
            cost: i64::try_from(bytes).unwrap_or(i64::MAX),
            force: true,
            entries: 0,
        };
        let decided = Limiter::hit(&mut self.bytes, &hit, now_ms);
        decided.is_ok_and(|(decision, _)| {
            let verdict = decision.binding();
            verdict.is_some_and(|verdict| verdict.remaining() > 0)
        })
    }
}

/// The statistics are to be written once this turn has run its commands.
#[cold]
pub fn begin_turn(call: &Call) {
    if call.may_append_to_aof() {
        call.defer(end_turn);
    }
}

unsafe extern "C" fn end_turn(ctx: *mut raw::RedisModuleCtx, _data: *mut c_void) {
    // SAFETY: the server's own context, in a callback that has not returned yet.
    write(&unsafe { Call::in_callback(ctx) });
}

/// The clock has ticked.
pub fn tick(call: &Call) {
    let is_due = registry::with(|registry| {
        !registry.stats.names_are_written()
            || now_ms().abs_diff(registry.written.at_ms) >= TOTALS_MS
    });
    if is_due {
        write(call);
    }
}

/// Writes what there is to write, as far as it may be.
///
/// One record, as the server would put a second one into a transaction with it, and send that to replicas too: empty.
fn write(call: &Call) {
    if !call.may_append_to_aof() {
        return;
    }
    if let Some(payload) = registry::with(|registry| next(registry, now_ms())) {
        call.append_to_aof(NODE, &payload);
    }
}

fn next(registry: &mut Registry, now_ms: u64) -> Option<Vec<u8>> {
    let Registry { stats, written, .. } = registry;
    if !written.charge(0, now_ms) {
        return None;
    }
    let payload = Part::Stats.payload(&stats.next_record(RECORD_BYTES)?);
    written.charge(payload.len() + FRAME_BYTES, now_ms);
    written.at_ms = now_ms;
    Some(payload)
}
