//! `RL.POLICY`: limits by name, which go before the limits that a call brings along.

use super::audit::{changed, note};
use super::words::{self, split_ttl};
use crate::core::error::Error;
use crate::core::limit::Algorithm;
use crate::core::node::ends::Ends;
use crate::core::node::policy::{
    self, Held, Policy, Setting, ShadowPolicy, Temporary, NAME_AT as NAME,
};
use crate::core::node::Part;
use crate::core::request;
use crate::server::config;
use crate::server::raw::{now_ms, Call};
use crate::server::registry::{self, NODE};
use crate::server::zones;

/// `RL.POLICY SET name FIXED|SLIDING|BUCKET|LEASE limits... [TTL duration]`
pub fn set(call: &Call) -> Result<(), Error> {
    let args = call.args();
    let now_ms = now_ms();
    let (policy, ends) = read_policy(&args, now_ms)?;
    let setting = match ends {
        None => Setting::Lasting(policy),
        Some(ends) => Setting::Temporary(Temporary { policy, ends }),
    };
    put(call, "set", setting, now_ms)
}

/// `RL.POLICY SHADOW name FIXED|SLIDING|BUCKET limits... [TTL duration]`, and `RL.POLICY SHADOW name OFF`: how many there were.
pub fn shadow(call: &Call) -> Result<(), Error> {
    let args = call.args();
    let now_ms = now_ms();
    if let [_, _, name, off] = args[..] {
        if off.eq_ignore_ascii_case(b"OFF") {
            end_shadow(call, name, now_ms);
            return Ok(());
        }
    }
    let algorithm = args.get(ALGORITHM).and_then(|word| Algorithm::parse(word));
    if matches!(algorithm, None | Some(Algorithm::Lease)) {
        return Err(Error::ShadowAlgorithm { at: ALGORITHM });
    }
    let (policy, ends) = read_policy(&args, now_ms)?;
    if config::REGION.is_set() {
        return Err(Error::ShadowInRegion);
    }
    let setting = Setting::Shadow(ShadowPolicy { policy, ends });
    put(call, "shadow set", setting, now_ms)
}

fn end_shadow(call: &Call, name: &[u8], now_ms: u64) {
    end_due(now_ms);
    let before = held(name);
    let ended = registry::node(|node| node.policies.end_shadow(name, now_ms));
    if ended.is_some() {
        log_change(call, "shadow off", name, &before, &held(name), now_ms);
        call.replicate_verbatim();
    }
    call.reply_count(u64::from(ended.is_some()));
}

/// What stands under a name now.
fn held(name: &[u8]) -> Held {
    registry::node(|node| node.policies.get(name).cloned().unwrap_or_default())
}

/// Sets a policy or a shadow: here, in the log, and wherever this node's data is kept.
fn put(call: &Call, what: &str, mut setting: Setting, now_ms: u64) -> Result<(), Error> {
    let name = call.arg(NAME);
    end_due(now_ms);
    if call.is_replayed() {
        setting.read_as_first_version();
    } else {
        zones::check(setting.policy().limits())?;
    }
    let before = held(name);
    registry::node(|node| {
        if call.is_replayed() {
            // As an earlier version has sent it: what was accepted there is not refused here.
            node.policies.put(name, setting.clone(), now_ms);
            return Ok(());
        }
        node.policies.set_max(config::policies());
        node.policies.set(name, setting.clone(), now_ms)
    })?;
    log_change(call, what, name, &before, &held(name), now_ms);
    let payload = policy::encode_setting(name, &setting);
    call.replicate(NODE, &Part::Setting.payload(&payload));
    call.reply_simple(c"OK");
    Ok(())
}

/// Where SET and SHADOW have the algorithm on their command line.
const ALGORITHM: usize = 3;

/// The policy, and when it ends.
fn read_policy(args: &[&[u8]], now_ms: u64) -> Result<(Policy, Option<Ends>), Error> {
    const FIRST_LIMIT: usize = ALGORITHM + 1;
    let algorithm = args
        .get(ALGORITHM)
        .and_then(|name| Algorithm::parse(name))
        .ok_or(Error::Algorithm { at: ALGORITHM })?;
    let limits = args.get(FIRST_LIMIT..).unwrap_or_default();
    let (limits, ttl_ms) = split_ttl(limits, args.len())?;
    let limits = request::parse_limits(algorithm, limits, FIRST_LIMIT)?;
    // The grammar gives nothing but sound limits, so this is only how the type says it.
    let policy = Policy::new(algorithm, limits).ok_or(Error::Algorithm { at: ALGORITHM })?;
    Ok((policy, ttl_ms.map(|ttl_ms| Ends::after(now_ms, ttl_ms))))
}

/// `RL.POLICY GET name`: what SET takes behind the name, with what is left of a TTL, and behind that what is back then; where
/// it has a shadow, `SHADOW` and an array of what that takes; last, where calls of another algorithm have passed the policy
/// over, `MISMATCHES` and how many; nil where there is no such policy.
pub fn get(call: &Call) -> Result<(), Error> {
    let name = call.arg(NAME);
    let now_ms = now_ms();
    registry::node(|node| match node.policies.get(name) {
        Some(held) if held.is_current(now_ms) => {
            reply(call, held, node.policies.mismatches_of(name), now_ms);
        }
        _ => call.reply_null(),
    });
    Ok(())
}

/// `RL.POLICY DEL name [name ...]`: how many there were.
pub fn del(call: &Call) -> Result<(), Error> {
    let args = call.args();
    let now_ms = now_ms();
    end_due(now_ms);
    let mut deleted = 0;
    for name in args.iter().skip(NAME) {
        let before = registry::node(|node| node.policies.del(name, now_ms));
        let before = before.filter(|held| held.is_current(now_ms));
        if let Some(before) = before {
            log_change(call, "deleted", name, &before, &Held::default(), now_ms);
            deleted += 1;
        }
    }
    if deleted > 0 {
        call.replicate_verbatim();
    }
    call.reply_count(deleted);
    Ok(())
}

/// `RL.POLICY LIST`: a map of every policy, sorted by name, each as GET replies it, without its mismatches.
pub fn list(call: &Call) -> Result<(), Error> {
    let now_ms = now_ms();
    registry::node(|node| reply_map(call, &node.policies.list(now_ms), now_ms));
    Ok(())
}

/// `RL.POLICY SCAN cursor [COUNT n]`: the next cursor, and a part of what LIST replies, in no order.
pub fn scan(call: &Call) -> Result<(), Error> {
    const CURSOR: usize = 2;
    const MAX_COUNT: usize = 1_000;
    let (cursor, count) = words::scan(&call.args(), CURSOR, MAX_COUNT)?;
    let now_ms = now_ms();
    registry::node(|node| {
        let (next, policies) = node.policies.scan(cursor, count, now_ms);
        call.reply_array(2);
        call.reply_bytes(next.to_string().as_bytes());
        reply_map(call, &policies, now_ms);
    });
    Ok(())
}

fn reply_map(call: &Call, policies: &[(&[u8], &Held)], now_ms: u64) {
    call.reply_map(policies.len());
    for (name, held) in policies {
        call.reply_bytes(name);
        reply(call, held, 0, now_ms);
    }
}

fn reply(call: &Call, held: &Held, mismatches: u64, now_ms: u64) {
    let lasting = held.lasting().map(Policy::words);
    let shadow = held.shadow(now_ms);
    let more = 2 * (usize::from(shadow.is_some()) + usize::from(mismatches > 0));
    match held.temporary(now_ms) {
        None => reply_words(call, &lasting.unwrap_or_default(), more),
        Some(temporary) => {
            let words = words_of(&temporary.policy, Some(temporary.ends), now_ms);
            reply_words(call, &words, 1 + more);
            match lasting {
                Some(lasting) => reply_words(call, &lasting, 0),
                None => call.reply_null(),
            }
        }
    }
    if let Some(shadow) = shadow {
        call.reply_bytes(b"SHADOW");
        reply_words(call, &words_of(&shadow.policy, shadow.ends, now_ms), 0);
    }
    if mismatches > 0 {
        call.reply_bytes(b"MISMATCHES");
        call.reply_count(mismatches);
    }
}

/// The words that SET and SHADOW take, with what is left of a TTL.
fn words_of(policy: &Policy, ends: Option<Ends>, now_ms: u64) -> Vec<String> {
    let mut words = policy.words();
    if let Some(ends) = ends {
        words.extend(["TTL".to_owned(), format!("{}ms", ends.left_ms(now_ms))]);
    }
    words
}

/// An array of words, and of `more` elements that follow.
fn reply_words(call: &Call, words: &[String], more: usize) {
    call.reply_array(words.len() + more);
    for word in words {
        call.reply_bytes(word.as_bytes());
    }
}

/// Notes who, what, from, to.
fn log_change(call: &Call, what: &str, name: &[u8], before: &Held, after: &Held, now_ms: u64) {
    let [before, after] = [before, after].map(|held| describe(held, now_ms));
    let detail = format!("from {before} to {after}");
    changed(call, subject(name), what, detail);
}

fn subject(name: &[u8]) -> String {
    format!("policy '{}'", String::from_utf8_lossy(name))
}

/// Forgets the policies and shadows whose TTL is over, and notes each.
pub fn end_due(now_ms: u64) {
    for ended in registry::node(|node| node.policies.end(now_ms)) {
        let (nobody, subject) = (String::new(), subject(&ended.name));
        let was = ended.policy.words().join(" ");
        if ended.is_shadow {
            note(nobody, subject, "shadow ended", was);
            continue;
        }
        let back = ended.lasting.as_ref().map(Policy::words);
        let back = back.map_or("none".to_owned(), |words| words.join(" "));
        note(nobody, subject, "ended", format!("from {was} to {back}"));
    }
}

fn describe(held: &Held, now_ms: u64) -> String {
    let lasting = held.lasting().map(|policy| policy.words().join(" "));
    let lasting = lasting.unwrap_or_else(|| "none".to_owned());
    let mut text = match held.temporary(now_ms) {
        None => lasting,
        Some(temporary) => format!(
            "{} for {} ms before {lasting}",
            temporary.policy.words().join(" "),
            temporary.ends.left_ms(now_ms)
        ),
    };
    if let Some(shadow) = held.shadow(now_ms) {
        text += &format!(" with shadow {}", shadow.policy.words().join(" "));
        if let Some(ends) = shadow.ends {
            text += &format!(" for {} ms", ends.left_ms(now_ms));
        }
    }
    text
}
