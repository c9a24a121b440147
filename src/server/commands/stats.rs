//! `RL.STATS`: who was allowed and who was denied.

use super::audit;
use crate::core::error::Error;
use crate::core::limit::Algorithm;
use crate::core::node::stats::series::{Counts, Row, DAY_MS, HOUR_MS};
use crate::core::node::stats::top::{self, Frequent};
use crate::core::node::stats::{IdentifierLists, Outcome, Stats};
use crate::server::raw::{now_ms, Call, User};
use crate::server::registry;
use std::cmp::Reverse;

const NAME: usize = 2;

/// The name, if there is one, and nothing behind it.
fn name_of<'a>(args: &[&'a [u8]], expected: &'static str) -> Result<Option<&'a [u8]>, Error> {
    let at = NAME + 1;
    match args.get(at) {
        None => Ok(args.get(NAME).copied()),
        Some(_) => Err(Error::Unexpected { at, expected }),
    }
}

/// `RL.STATS GET [name]`
pub fn get(call: &Call) -> Result<(), Error> {
    let name = name_of(&call.args(), "RL.STATS GET [name]")?;
    let caller = call.user();
    let now_ms = now_ms();
    registry::node(|node| match name {
        None => totals(call, &node.stats, caller.as_ref(), now_ms),
        Some(name) => named(call, &node.stats, name, caller.as_ref(), now_ms),
    });
    Ok(())
}

/// `RL.STATS RESET [name]`: 1 if there was such a name; 1 for everything.
pub fn reset(call: &Call) -> Result<(), Error> {
    let name = name_of(&call.args(), "RL.STATS RESET [name]")?;
    let was_there = registry::node(|node| node.stats.reset(name));
    if was_there {
        call.replicate_verbatim();
        let name = name.map(String::from_utf8_lossy);
        let what = name.map_or("all".to_owned(), |name| format!("those of '{name}'"));
        audit::changed(call, "statistics".to_owned(), "reset", what);
    }
    call.reply_integer(i64::from(was_there));
    Ok(())
}

/// The totals, per algorithm, by the hour and by the day, the names that there are, and who hit without one.
fn totals(call: &Call, stats: &Stats, caller: Option<&User>, now_ms: u64) {
    call.reply_map(16);
    counts(call, stats.total());
    call.reply_bytes(b"algorithms");
    call.reply_map(Algorithm::ALL.len());
    for algorithm in Algorithm::ALL {
        call.reply_bytes(algorithm.name().as_bytes());
        call.reply_map(4);
        counts(call, stats.algorithm(algorithm).counts());
    }
    call.reply_bytes(b"names");
    let names = stats.names();
    call.reply_array(names.len());
    for name in names {
        call.reply_bytes(name);
    }
    let may_see_values =
        caller.is_some_and(|user| user.may_send(&["RL.DENY", "ENTRIES", "list", "0"]));
    let mut values = stats.most_deny_listed();
    values.retain(|_| may_see_values);
    lists(call, stats.unnamed(), caller, now_ms);
    frequent(call, Outcome::DenyListed, &values, now_ms);
    rows(call, b"hours", &stats.total_hours(now_ms), HOUR_MS);
    rows(call, b"days", &stats.total_days(now_ms), DAY_MS);
}

/// What was counted under a name; nil where nothing was.
fn named(call: &Call, stats: &Stats, name: &[u8], caller: Option<&User>, now_ms: u64) {
    let Some(named) = stats.name(name) else {
        return call.reply_null();
    };
    call.reply_map(12);
    let series = named.series();
    counts(call, series.counts());
    lists(call, named.lists(), caller, now_ms);
    rows(call, b"hours", &series.hours(now_ms), HOUR_MS);
    rows(call, b"days", &series.days(now_ms), DAY_MS);
}

/// Those identifiers, which are keys' names, that the caller may read. Of a long one only the beginning is known: then
/// whatever may follow must be readable, as far as two endings can tell.
fn seen<'a>(caller: Option<&User>, mut identifiers: Vec<Frequent<'a>>) -> Vec<Frequent<'a>> {
    identifiers.retain(|one| {
        caller.is_some_and(|user| {
            let beginning = top::beginning(one.identifier);
            user.may_read(one.identifier)
                && beginning.is_none_or(|known| user.may_read(&[known, b"\0"].concat()))
        })
    });
    identifiers
}

/// Four entries of a map.
fn counts(call: &Call, counts: Counts) {
    for (name, count) in counts.named() {
        call.reply_bytes(name.as_bytes());
        call.reply_count(count);
    }
}

/// Six entries of a map: who had which outcome most often, and most lately, of whom the caller may see.
fn lists(call: &Call, lists: &IdentifierLists, caller: Option<&User>, now_ms: u64) {
    for outcome in IdentifierLists::OUTCOMES {
        frequent(call, outcome, &seen(caller, lists.most(outcome)), now_ms);
    }
}

/// Two entries of a map: per identifier or value the same, its count, and by how much that may be too high; and of those with a
/// hit in this hour or the one before it, the same, and the hits in each; most first.
fn frequent(call: &Call, outcome: Outcome, frequent: &[Frequent], now_ms: u64) {
    let hour = now_ms / HOUR_MS;
    let most = frequent
        .iter()
        .map(|each| (each.identifier, (each.count, each.max_error)));
    let mut recent: Vec<_> = frequent
        .iter()
        .map(|each| (each.identifier, each.recent.at(hour)))
        .filter(|(_, hits)| *hits != (0, 0))
        .collect();
    recent.sort_unstable_by_key(|(identifier, (this, before))| {
        (Reverse(this.saturating_add(*before)), *identifier)
    });
    for (when, list) in [("most", most.collect()), ("recently", recent)] {
        call.reply_bytes(format!("{when}_{}", outcome.name()).as_bytes());
        call.reply_array(list.len());
        for (identifier, (one, other)) in list {
            call.reply_array(3);
            call.reply_bytes(identifier);
            call.reply_count(one);
            call.reply_count(other);
        }
    }
}

/// An entry of a map: per hour or day with traffic, oldest first, its start in Unix seconds and the four counts.
fn rows(call: &Call, name: &[u8], rows: &[Row], length_ms: u64) {
    call.reply_bytes(name);
    call.reply_array(rows.len());
    for row in rows {
        call.reply_array(5);
        call.reply_count(row.number.saturating_mul(length_ms / 1_000));
        for (_, count) in row.counts.named() {
            call.reply_count(count);
        }
    }
}
