//! `RL.STATS`: who was allowed and who was denied.

use crate::core::error::Error;
use crate::core::limit::Algorithm;
use crate::core::node::stats::hours::{Counts, Hour, HOUR_MS};
use crate::core::node::stats::top::Frequent;
use crate::server::journal;
use crate::server::raw::{now_ms, Call};
use crate::server::registry::{self, Registry};

/// `RL.STATS [name]` and `RL.STATS RESET [name]`
pub fn stats(call: &Call) -> Result<(), Error> {
    let args = call.args();
    let now_ms = now_ms();
    match args.get(1..).unwrap_or_default() {
        [] => registry::with(|registry| totals(call, registry, now_ms)),
        [reset] if reset.eq_ignore_ascii_case(b"RESET") => {
            forget(call, None);
            call.reply_integer(1);
        }
        [reset, name] if reset.eq_ignore_ascii_case(b"RESET") => {
            let was_there = forget(call, Some(name));
            call.reply_integer(i64::from(was_there));
        }
        [name] => registry::with(|registry| named(call, registry, name, now_ms)),
        _ => return Err(Error::Stats { at: 2 }),
    }
    Ok(())
}

fn forget(call: &Call, name: Option<&[u8]>) -> bool {
    let (was_there, is_first) =
        registry::with(|registry| (registry.stats.reset(name), registry.written.note()));
    if is_first {
        journal::begin_turn(call);
    }
    was_there
}

/// The totals, per algorithm and by the hour, and the names that there are.
fn totals(call: &Call, registry: &Registry, now_ms: u64) {
    let stats = &registry.stats;
    call.reply_map(6);
    counts(call, stats.total());
    call.reply_bytes(b"algorithms");
    call.reply_map(Algorithm::ALL.len());
    for algorithm in Algorithm::ALL {
        call.reply_bytes(algorithm.name().as_bytes());
        call.reply_map(3);
        counts(call, stats.algorithm(algorithm).counts());
    }
    call.reply_bytes(b"names");
    let names = stats.names();
    call.reply_array(names.len());
    for name in names {
        call.reply_bytes(name);
    }
    hours(call, &stats.total_hours(now_ms));
}

/// What was counted under a name; nil where nothing was.
fn named(call: &Call, registry: &Registry, name: &[u8], now_ms: u64) {
    let Some(named) = registry.stats.name(name) else {
        return call.reply_null();
    };
    call.reply_map(6);
    counts(call, named.series().counts());
    identifiers(call, b"most_allowed", &named.most_allowed());
    identifiers(call, b"most_denied", &named.most_denied());
    hours(call, &named.series().hours(now_ms));
}

/// Three entries of a map.
fn counts(call: &Call, counts: Counts) {
    for (name, count) in [
        ("allowed", counts.allowed),
        ("denied", counts.denied),
        ("deny_listed", counts.deny_listed),
    ] {
        call.reply_bytes(name.as_bytes());
        call.reply_count(count);
    }
}

/// An entry of a map: per identifier the identifier, its count, and by how much that may be too high.
fn identifiers(call: &Call, name: &[u8], identifiers: &[Frequent]) {
    call.reply_bytes(name);
    call.reply_array(identifiers.len());
    for each in identifiers {
        call.reply_array(3);
        call.reply_bytes(each.identifier);
        call.reply_count(each.count);
        call.reply_count(each.max_error);
    }
}

/// An entry of a map: per hour with traffic, oldest first, its start in Unix seconds and the three counts.
fn hours(call: &Call, hours: &[Hour]) {
    call.reply_bytes(b"hours");
    call.reply_array(hours.len());
    for each in hours {
        call.reply_array(4);
        call.reply_count(each.hour.saturating_mul(HOUR_MS / 1_000));
        call.reply_count(each.counts.allowed);
        call.reply_count(each.counts.denied);
        call.reply_count(each.counts.deny_listed);
    }
}
