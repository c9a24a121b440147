//! Replies, written value by value: no intermediate tree, nothing allocated.

use super::commands::Listed;
use super::raw::Call;
use crate::core::decision::{Decision, Retry, Verdict};
use crate::core::duration::Human;
use crate::core::limit::Algorithm;
use crate::core::limiter::{Limiter, Reading};

/// Five integers; with several limits one more element, an array of one such array per limit; and where the call had a
/// DENY clause (`looked_up`), a last one, nil: no value was in the list.
pub fn decision(call: &Call, decision: &Decision, looked_up: bool) {
    let Some(binding) = decision.binding() else {
        return call.reply_null(); // a decision is never empty: the grammar asks for a limit
    };
    let verdicts = decision.verdicts();
    let several = verdicts.len() > 1;
    call.reply_array(5 + usize::from(several) + usize::from(looked_up));
    verdict(call, binding);
    if several {
        each_verdict(call, verdicts);
    }
    if looked_up {
        call.reply_null();
    }
}

/// The same, where a value was in the deny list: denied for as long as the entry holds, whatever the limits say of
/// themselves; the last element is the value.
pub fn deny_listed(call: &Call, standing: Decision, listed: &Listed) {
    let Some(binding) = standing.binding() else {
        return call.reply_null();
    };
    let verdicts = standing.verdicts();
    let several = verdicts.len() > 1;
    call.reply_array(6 + usize::from(several));
    let retry = listed.left_ms.map_or(Retry::Never, Retry::After);
    verdict(
        call,
        &Verdict {
            allowed: false,
            retry,
            ..*binding
        },
    );
    if several {
        each_verdict(call, verdicts);
    }
    call.reply_bytes(listed.value);
}

fn each_verdict(call: &Call, verdicts: &[Verdict]) {
    call.reply_array(verdicts.len());
    for each in verdicts {
        call.reply_array(5);
        verdict(call, each);
    }
}

#[inline(always)]
fn verdict(call: &Call, verdict: &Verdict) {
    call.reply_integer(i64::from(verdict.allowed));
    call.reply_count(verdict.limit);
    call.reply_count(verdict.remaining());
    match verdict.retry {
        Retry::After(ms) => call.reply_count(ms),
        Retry::Never => call.reply_integer(-1),
    }
    call.reply_count(verdict.reset_after_ms);
}

/// A map: the algorithm, and an array with one map per limit.
pub fn limiter(call: &Call, limiter: &Limiter, now_ms: u64) {
    let readings = limiter.reading(now_ms);
    call.reply_map(2);
    call.reply_bytes(b"algorithm");
    call.reply_bytes(limiter.algorithm().name().as_bytes());
    call.reply_bytes(b"limits");
    call.reply_array(readings.len());
    for each in &readings {
        reading(call, limiter.algorithm(), each);
    }
}

fn reading(call: &Call, algorithm: Algorithm, reading: &Reading) {
    let limit = &reading.limit;
    let window = Human(limit.window_ms()).to_string();
    let is_bucket = algorithm == Algorithm::Bucket;
    let fields = 5 + usize::from(is_bucket) + 2 * usize::from(reading.log.is_some());
    let count = |name: &str, value: u64| {
        call.reply_bytes(name.as_bytes());
        call.reply_count(value);
    };
    call.reply_map(fields);
    count("limit", limit.limit());
    if is_bucket {
        count("refill", limit.refill());
        call.reply_bytes(b"interval");
    } else {
        call.reply_bytes(b"window");
    }
    call.reply_bytes(window.as_bytes());
    count("used", reading.used);
    count("remaining", limit.limit().saturating_sub(reading.used));
    count("reset_after_ms", reading.reset_after_ms);
    if let Some((entries, capacity)) = reading.log {
        count("entries", u64::from(entries));
        count("capacity", u64::from(capacity));
    }
}
