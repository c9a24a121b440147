//! Replies, written value by value: no intermediate tree, nothing allocated.

use super::commands::Listed;
use super::raw::Call;
use crate::core::algorithm::lease::Leases;
use crate::core::decision::{Decision, Retry, Verdict};
use crate::core::limit::Algorithm;
use crate::core::limiter::{LimiterMut, Reading};
use crate::core::quote::{self, Change, Hit, Nexts, Once, Quote};
use crate::core::region::origin::Region;
use crate::core::request::{Options, Request};

/// Five integers, with NEXT six, and then, each where its cause is there: several limits, an array of one such array per limit;
/// ID, whether it was a repeat; MIN, what was taken; STAMP, the time of the charge; DENY, nil, as no value was in the list.
#[inline(always)]
pub fn quote(call: &Call, quote: &Quote, options: &Options, is_once: bool) {
    let extras = usize::from(is_once) + usize::from(options.deny.is_some());
    decision(call, &quote.decision, None, extras);
    if is_once {
        call.reply_integer(i64::from(quote.repeats.is_some()));
    }
    if options.deny.is_some() {
        call.reply_null();
    }
}

/// The same, of a call that may ask for anything.
#[cold]
pub fn rare_quote(call: &Call, quote: &Quote, request: &Request, nexts: &Nexts, now_ms: u64) {
    let Request { clause, options } = request;
    let (has_id, has_min) = (!options.id.is_empty(), clause.min.is_some());
    let asked = [has_id, has_min, options.stamp, options.deny.is_some()];
    let extras = asked.into_iter().filter(|is| *is).count();
    let nexts = options.next.then_some(nexts);
    decision(call, &quote.decision, nexts, extras);
    if has_id {
        call.reply_integer(i64::from(quote.repeats.is_some()));
    }
    if has_min {
        call.reply_count(u64::try_from(quote.taken).unwrap_or(0));
    }
    if options.stamp {
        let is_settled = clause.cost <= 0 && quote.fits;
        let first_ms = || match quote.change {
            Change::Reserve(place)
            | Change::Once(Once {
                place: Some(place), ..
            }) => place.stamp_ms,
            _ => stamp(options, quote.taken > 0, is_settled, now_ms),
        };
        call.reply_count(quote.repeats.unwrap_or_else(first_ms));
    }
    if options.deny.is_some() {
        call.reply_null();
    }
}

/// The time at which a charge counts: the one that was named, or now, where that is earlier; 0 where nothing was charged. A
/// settlement that was allowed and charged nothing more leaves the charge that it settles where it was.
fn stamp(options: &Options, is_charged: bool, is_settled: bool, now_ms: u64) -> u64 {
    match options.at_ms {
        Some(at_ms) if is_charged || is_settled => at_ms.min(now_ms),
        None if is_charged => now_ms,
        _ => 0,
    }
}

/// The same, where a value was in the deny list: denied for as long as the entry holds, whatever the limits say of
/// themselves; nothing is taken; the last element is the value.
pub fn deny_listed(
    call: &Call,
    standing: &Quote,
    request: &Request,
    nexts: &Nexts,
    listed: &Listed,
) {
    let Request { clause, options } = request;
    let nexts = options.next.then_some(nexts);
    let Some(binding) = standing.decision.binding() else {
        return call.reply_null(); // a decision is never empty: the grammar asks for a limit
    };
    let verdicts = standing.decision.verdicts();
    let several = usize::from(verdicts.len() > 1);
    let asked = [!options.id.is_empty(), clause.min.is_some(), options.stamp];
    let extras = 1 + asked.into_iter().filter(|is| *is).count();
    let next = next_of(&standing.decision, binding, nexts);
    call.reply_array(5 + usize::from(next.is_some()) + several + extras);
    verdict(call, &listed_verdict(binding, listed), next);
    if several > 0 {
        each_verdict(call, verdicts, nexts);
    }
    for _ in 1..extras {
        call.reply_integer(0); // no repeat, nothing taken, charged at no time
    }
    call.reply_bytes(listed.value);
}

fn listed_verdict(standing: &Verdict, listed: &Listed) -> Verdict {
    Verdict {
        allowed: false,
        retry: listed.left_ms.map_or(Retry::Never, Retry::After),
        ..*standing
    }
}

/// Of a call of several keys: the five integers of the limit that binds; one reply per key; the number, from 1, of the key
/// that binds, 0 where a deny list has stopped the call; and as above whether it was a repeat, the time of the charge and the
/// value listed. Of a shadow nothing but its own reply.
pub fn all(
    call: &Call,
    quotes: &[Quote],
    hits: &[Hit],
    options: &Options,
    nexts: &[Nexts],
    listed: Option<&Listed>,
    now_ms: u64,
) {
    let Some((place, binding)) = quote::binding(quotes, hits) else {
        return call.reply_null(); // there is always a key
    };
    let next = match (quotes.get(place), nexts.get(place)) {
        (Some(quote), Some(nexts)) => next_of(&quote.decision, &binding, Some(nexts)),
        _ => None,
    };
    let has_id = !options.id.is_empty();
    let extras = [
        next.is_some(),
        has_id,
        options.stamp,
        options.deny.is_some(),
    ];
    call.reply_array(7 + extras.into_iter().filter(|is| *is).count());
    match listed {
        None => verdict(call, &binding, next),
        Some(listed) => verdict(call, &listed_verdict(&binding, listed), next),
    }
    call.reply_array(quotes.len());
    for (place, quote) in quotes.iter().enumerate() {
        decision(call, &quote.decision, nexts.get(place), 0);
    }
    call.reply_count(if listed.is_some() {
        0
    } else {
        place as u64 + 1
    });
    let is_repeat = has_id && listed.is_none() && quote::is_repeat(quotes, hits);
    if has_id {
        call.reply_integer(i64::from(is_repeat));
    }
    if options.stamp && is_repeat {
        let stamps = quotes.iter().filter_map(|quote| quote.repeats);
        call.reply_count(stamps.max().unwrap_or(0));
    } else if options.stamp {
        let clauses = hits.iter().zip(quotes);
        let mut binding = clauses.filter(|(hit, _)| !hit.options.is_shadow);
        let mut firsts = binding.clone().filter(|(_, quote)| quote.repeats.is_none());
        let is_charged = listed.is_none() && firsts.any(|(_, quote)| quote.taken > 0);
        let is_settled =
            listed.is_none() && binding.all(|(hit, quote)| hit.cost <= 0 && quote.fits);
        call.reply_count(stamp(options, is_charged, is_settled, now_ms));
    }
    match (options.deny, listed) {
        (None, _) => {}
        (Some(_), None) => call.reply_null(),
        (Some(_), Some(listed)) => call.reply_bytes(listed.value),
    }
}

/// Five integers and, with several limits, one more element; so many more will follow.
#[inline(always)]
fn decision(call: &Call, decision: &Decision, nexts: Option<&Nexts>, extras: usize) {
    let Some(binding) = decision.binding() else {
        return call.reply_null(); // a decision is never empty: the grammar asks for a limit
    };
    let verdicts = decision.verdicts();
    let several = verdicts.len() > 1;
    let next = next_of(decision, binding, nexts);
    call.reply_array(5 + usize::from(next.is_some()) + usize::from(several) + extras);
    if several {
        let binding = Verdict {
            retry: decision.longest_wait(),
            ..*binding
        };
        verdict(call, &binding, next);
        each_verdict(call, verdicts, nexts);
    } else {
        verdict(call, binding, next);
    }
}

/// When more of the limit that binds will remain, where that is asked for.
#[inline(always)]
fn next_of(decision: &Decision, binding: &Verdict, nexts: Option<&Nexts>) -> Option<Retry> {
    let nexts = nexts?;
    let mut verdicts = decision.verdicts().iter();
    let place = verdicts.position(|verdict| verdict == binding)?;
    nexts.get(place).copied()
}

fn each_verdict(call: &Call, verdicts: &[Verdict], nexts: Option<&Nexts>) {
    call.reply_array(verdicts.len());
    for (place, each) in verdicts.iter().enumerate() {
        let next = nexts.and_then(|nexts| nexts.get(place)).copied();
        call.reply_array(5 + usize::from(next.is_some()));
        verdict(call, each, next);
    }
}

/// Five integers, or six.
#[inline(always)]
fn verdict(call: &Call, verdict: &Verdict, next: Option<Retry>) {
    call.reply_integer(i64::from(verdict.allowed));
    call.reply_count(verdict.limit);
    call.reply_count(verdict.remaining());
    retry(call, verdict.retry);
    call.reply_count(verdict.reset_after_ms);
    if let Some(next) = next {
        retry(call, next);
    }
}

#[inline(always)]
fn retry(call: &Call, retry: Retry) {
    match retry {
        Retry::After(ms) => call.reply_count(ms),
        Retry::Never => call.reply_integer(-1),
    }
}

/// A map: the algorithm, nil where nothing has been used yet; an array with one map per window; of leases their list; of a key
/// that is or was blocked its block; of one that is shut by order that; what limits that are tried on it have let through, as
/// its own limits; and how many ids of hits it remembers.
pub fn limiter(call: &Call, held: &mut LimiterMut, now_ms: u64) {
    let algorithm = held.algorithm();
    let readings = held.reading(now_ms);
    let block = held.block(now_ms);
    let shut = held.shut(now_ms);
    let shadow = held.notes().and_then(|notes| notes.shadow.0.as_ref());
    let shadow = shadow.map(|limiter| limiter.reading(now_ms));
    let shadow = shadow.filter(|shadow| shadow.iter().any(|each| each.used > 0));
    let ids = held.notes().map_or(0, |notes| notes.ids.count(now_ms));
    let notes = [block.is_some(), shut.is_some(), shadow.is_some(), ids > 0];
    let notes = notes.into_iter().filter(|is| *is).count();
    call.reply_map(2 + usize::from(held.leases().is_some()) + notes);
    call.reply_bytes(b"algorithm");
    match algorithm {
        Some(algorithm) => call.reply_bytes(algorithm.name().as_bytes()),
        None => call.reply_null(),
    }
    call.reply_bytes(b"limits");
    call.reply_array(readings.len());
    let regions = held.regional().map(|regional| regional.regions(now_ms));
    for (place, each) in readings.iter().enumerate() {
        let regions = regions.as_ref().and_then(|regions| regions.get(place));
        if let Some(algorithm) = algorithm {
            reading(call, algorithm, each, regions.map(Vec::as_slice));
        }
    }
    if let Some(leases) = held.leases() {
        each_lease(call, leases, now_ms);
    }
    if let Some(block) = block {
        call.reply_bytes(b"block");
        call.reply_map(3);
        count(call, "left_ms", block.left_ms(now_ms));
        count(call, "nth", u64::from(block.strikes.get()));
        count(
            call,
            "forgotten_after_ms",
            block.forgotten_at_ms().saturating_sub(now_ms),
        );
    }
    if let Some(shut) = shut {
        call.reply_bytes(b"block_by_order");
        call.reply_map(1);
        count(call, "left_ms", shut.left_ms(now_ms));
    }
    if let (Some(shadow), Some(algorithm)) = (shadow, algorithm) {
        call.reply_bytes(b"shadow");
        call.reply_array(shadow.len());
        for each in &shadow {
            reading(call, algorithm, each, None);
        }
    }
    if ids > 0 {
        count(call, "ids", ids as u64);
    }
}

/// Who holds what, and for how long, soonest end first.
fn each_lease(call: &Call, leases: &Leases, now_ms: u64) {
    let mut held = leases.sorted();
    held.retain(|lease| lease.ends_ms > now_ms);
    call.reply_bytes(b"leases");
    call.reply_array(held.len());
    for lease in held {
        call.reply_map(3);
        call.reply_bytes(b"id");
        call.reply_bytes(&lease.id);
        count(call, "cost", lease.cost.get());
        count(call, "ends_after_ms", lease.left_ms(now_ms));
    }
}

fn count(call: &Call, name: &str, value: u64) {
    call.reply_bytes(name.as_bytes());
    call.reply_count(value);
}

fn reading(
    call: &Call,
    algorithm: Algorithm,
    reading: &Reading,
    regions: Option<&[(Region, u64)]>,
) {
    let limit = &reading.limit;
    let name = match algorithm {
        Algorithm::Fixed | Algorithm::Sliding => "window",
        Algorithm::Bucket => "interval",
        Algorithm::Lease => "ttl",
    };
    let is_bucket = algorithm == Algorithm::Bucket;
    let logs = 2 * usize::from(reading.log.is_some());
    let has_places = reading.reserved_ms > 0;
    let more = [is_bucket, has_places, regions.is_some()];
    let more = more.into_iter().filter(|is| *is).count();
    call.reply_map(5 + logs + more);
    count(call, "limit", limit.limit());
    if is_bucket {
        count(call, "refill", limit.refill());
    }
    call.reply_bytes(name.as_bytes());
    call.reply_bytes(limit.window_text(algorithm).as_bytes());
    count(call, "used", reading.used);
    count(
        call,
        "remaining",
        limit.limit().saturating_sub(reading.used),
    );
    count(call, "reset_after_ms", reading.reset_after_ms);
    if has_places {
        count(call, "reserved_ms", reading.reserved_ms);
    }
    if let Some((entries, capacity)) = reading.log {
        count(call, "entries", u64::from(entries));
        count(call, "capacity", u64::from(capacity));
    }
    if let Some(regions) = regions {
        call.reply_bytes(b"regions");
        call.reply_array(regions.len());
        for (region, used) in regions {
            call.reply_array(2);
            call.reply_bytes(region.to_string().as_bytes());
            call.reply_count(*used);
        }
    }
}
