//! `RL.DENY`: lists of addresses, ranges and texts that are denied before any limit is looked at.

use super::audit::changed;
use super::words::{scan, split_ttl};
use crate::core::error::Error;
use crate::core::node::deny::{Until, Values, FIRST_VALUE_AT as FIRST_VALUE, NAME_AT as LIST};
use crate::core::node::ends::Ends;
use crate::core::node::{encode_rename, Part};
use crate::core::request;
use crate::server::config;
use crate::server::raw::{now_ms, Call};
use crate::server::registry::{self, NODE};

/// The most values of one ADD or DEL, which administrators send in batches: some ten milliseconds.
const MAX_VALUES: usize = 10_000;

fn bound_values(values: &[&[u8]]) -> Result<(), Error> {
    match values.len() <= MAX_VALUES {
        true => Ok(()),
        false => Err(Error::TooMany {
            at: FIRST_VALUE + MAX_VALUES,
            what: "values",
            max: MAX_VALUES,
        }),
    }
}

/// `RL.DENY ADD list value [value ...] [TTL duration]`: how many were not in it before.
pub fn add(call: &Call) -> Result<(), Error> {
    let args = call.args();
    let list = call.arg(LIST);
    let now_ms = now_ms();
    let values = args.get(FIRST_VALUE..).unwrap_or_default();
    let (values, ttl_ms) = split_ttl(values, args.len())?;
    let until = ttl_ms.map_or(Until::Forever, |ttl_ms| {
        Until::At(Ends::after(now_ms, ttl_ms))
    });
    if values.is_empty() {
        let (at, expected) = (FIRST_VALUE, "a value");
        return Err(Error::Incomplete { at, expected });
    }
    bound_values(values)?;
    let read = Values::read(values.iter().copied())?;
    let bounds = config::deny_bounds();
    let is_replayed = call.is_replayed();
    let added = registry::node(|node| {
        if !is_replayed {
            node.deny.check_never(values, FIRST_VALUE)?;
        }
        node.deny.add(list, &read, until, now_ms, &bounds)
    })?;
    // What is sent on is the entries with the time at which they end.
    call.replicate(NODE, &Part::Entries.payload(&read.encode(list, until)));
    if added.changed > 0 {
        let left = until.left_ms(now_ms);
        let left = left.map_or("ever".to_owned(), |left_ms| format!("{left_ms} ms"));
        let what = format!("{} added for {left}", added.changed);
        log_change(call, list, &what, values);
    }
    call.reply_count(added.new as u64);
    Ok(())
}

/// `RL.DENY DEL list value [value ...]`: how many were in it.
pub fn del(call: &Call) -> Result<(), Error> {
    let args = call.args();
    let list = call.arg(LIST);
    let values = args.get(FIRST_VALUE..).unwrap_or_default();
    if !call.is_replayed() {
        bound_values(values)?;
    }
    let texts = values.iter().copied();
    let removed = registry::node(|node| node.deny.del(list, texts, now_ms()));
    if removed > 0 {
        call.replicate_verbatim();
        log_change(call, list, &format!("{removed} deleted"), values);
    }
    call.reply_count(removed as u64);
    Ok(())
}

/// `RL.DENY HAS list value [value ...]`: 1 or 0 for each value.
pub fn has(call: &Call) -> Result<(), Error> {
    let args = call.args();
    let list = call.arg(LIST);
    let values = args.get(FIRST_VALUE..).unwrap_or_default();
    request::at_most_words(values, FIRST_VALUE, "values")?;
    let values = values.iter().copied();
    let found = registry::node(|node| node.deny.has(list, values, now_ms()));
    call.reply_array(found.len());
    for until in found {
        call.reply_integer(i64::from(until.is_some()));
    }
    Ok(())
}

/// `RL.DENY ENTRIES list cursor [COUNT n]`: the next cursor, and value after value with what is left of its TTL in
/// milliseconds, -1 where it is permanent.
pub fn entries(call: &Call) -> Result<(), Error> {
    const CURSOR: usize = 3;
    /// More in one reply would keep the server from other clients for milliseconds.
    const MAX_COUNT: usize = 10_000;
    let list = call.arg(LIST);
    let (cursor, count) = scan(&call.args(), CURSOR, MAX_COUNT)?;
    let now_ms = now_ms();
    let (next, entries) = registry::node(|node| node.deny.entries(list, cursor, count, now_ms));
    call.reply_array(2);
    call.reply_bytes(next.to_string().as_bytes());
    call.reply_array(2 * entries.len());
    for entry in entries {
        call.reply_bytes(&entry.value);
        match entry.until.left_ms(now_ms) {
            Some(left_ms) => call.reply_count(left_ms),
            None => call.reply_integer(-1),
        }
    }
    Ok(())
}

/// `RL.DENY LIST`: a map from each list's name, sorted, to how many entries it has.
pub fn list(call: &Call) -> Result<(), Error> {
    registry::node(|node| {
        let lists: Vec<_> = node.deny.summaries().collect();
        call.reply_map(lists.len());
        for (name, list) in lists {
            call.reply_bytes(name);
            call.reply_count(list.entries as u64);
        }
    });
    Ok(())
}

/// `RL.DENY RENAME list newlist`: in place of the list that has the name; no check sees anything in between.
pub fn rename(call: &Call) -> Result<(), Error> {
    let (old, new) = (call.arg(LIST), call.arg(LIST + 1));
    let (moved, replaced) = registry::node(|node| {
        let sizes = (node.deny.size(old), node.deny.size(new));
        node.deny.rename(old, new, now_ms())?;
        Ok::<_, Error>(sizes)
    })?;
    if old != new {
        let new = String::from_utf8_lossy(new);
        let what = format!("renamed to '{new}', {moved} entries in place of {replaced}");
        log_change(call, old, &what, &[]);
    }
    call.replicate(NODE, &Part::Rename.payload(&encode_rename(old, new)));
    call.reply_simple(c"OK");
    Ok(())
}

/// `RL.DENY DROP list`: 1 if there was one.
pub fn drop_list(call: &Call) -> Result<(), Error> {
    let list = call.arg(LIST);
    let (entries, dropped) =
        registry::node(|node| (node.deny.size(list), node.deny.drop_list(list)));
    if dropped {
        call.replicate_verbatim();
        log_change(call, list, &format!("dropped, {entries} entries"), &[]);
    }
    call.reply_integer(i64::from(dropped));
    Ok(())
}

/// Notes which list, who, what, and the first few of the values that the call names.
fn log_change(call: &Call, list: &[u8], what: &str, values: &[&[u8]]) {
    const MOST_VALUES: usize = 5;
    const MOST_BYTES: usize = 64;
    if call.is_replayed() {
        return; // the server that has accepted it has said so
    }
    let subject = format!("deny list '{}'", String::from_utf8_lossy(list));
    let mut detail = what.to_owned();
    for (place, value) in values.iter().take(MOST_VALUES).enumerate() {
        let shown = value.get(..MOST_BYTES).unwrap_or(value);
        detail.push_str(if place == 0 { ": '" } else { ", '" });
        detail.push_str(&String::from_utf8_lossy(shown));
        detail.push_str(if shown.len() < value.len() {
            "...'"
        } else {
            "'"
        });
    }
    if let more @ 1.. = values.len().saturating_sub(MOST_VALUES) {
        detail.push_str(&format!(" and {more} more"));
    }
    changed(call, subject, "changed", detail);
}
