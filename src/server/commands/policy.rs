//! `RL.POLICY`: limits by name, which go before the limits that a call brings along.

use crate::core::error::Error;
use crate::core::limit::Algorithm;
use crate::core::node::policy::{Policy, Refused, MAX_POLICIES};
use crate::core::request;
use crate::server::config;
use crate::server::raw::Call;
use crate::server::registry;

const NAME: usize = 2;

/// `RL.POLICY SET name FIXED|SLIDING|BUCKET limits...`
pub fn set(call: &Call) -> Result<(), String> {
    let (name, policy) = read_policy(call).map_err(|error| error.to_string())?;
    // What a primary or a file has accepted under its own bound is not refused under this one.
    let max = if call.is_replayed() {
        MAX_POLICIES
    } else {
        config::policies()
    };
    let set = registry::with(|registry| {
        registry.policies.set_max(max);
        registry.policies.set(&name, policy)
    });
    set.map_err(|refused| match refused {
        Refused::Name => Error::Name {
            at: NAME,
            what: "name",
        }
        .to_string(),
        Refused::Full { .. } => refused.to_string(),
    })?;
    call.replicate_verbatim();
    call.reply_simple(c"OK");
    Ok(())
}

fn read_policy(call: &Call) -> Result<(Vec<u8>, Policy), Error> {
    const ALGORITHM: usize = 3;
    const FIRST_LIMIT: usize = 4;
    let args = call.args();
    let algorithm = args
        .get(ALGORITHM)
        .and_then(|name| Algorithm::parse(name))
        .ok_or(Error::Algorithm { at: ALGORITHM })?;
    let limits = request::parse_limits(
        algorithm,
        args.get(FIRST_LIMIT..).unwrap_or_default(),
        FIRST_LIMIT,
    )?;
    // The grammar gives nothing but sound limits, so this is only how the type says it.
    let policy = Policy::new(algorithm, limits).ok_or(Error::Algorithm { at: ALGORITHM })?;
    Ok((args.get(NAME).copied().unwrap_or_default().to_vec(), policy))
}

/// `RL.POLICY GET name`: what SET takes behind the name, or nil.
pub fn get(call: &Call) -> Result<(), Error> {
    let args = call.args();
    let name = args.get(NAME).copied().unwrap_or_default();
    match registry::with(|registry| registry.policies.get(name).cloned()) {
        Some(policy) => reply(call, &policy),
        None => call.reply_null(),
    }
    Ok(())
}

/// `RL.POLICY DEL name [name ...]`: how many there were.
pub fn del(call: &Call) -> Result<(), Error> {
    let args = call.args();
    let names = args.iter().skip(NAME);
    let deleted =
        registry::with(|registry| names.filter(|name| registry.policies.del(name)).count());
    if deleted > 0 {
        call.replicate_verbatim();
    }
    call.reply_count(deleted as u64);
    Ok(())
}

/// `RL.POLICY LIST`: a map of every policy, sorted by name.
pub fn list(call: &Call) -> Result<(), Error> {
    registry::with(|registry| {
        let policies = registry.policies.list();
        call.reply_map(policies.len());
        for (name, policy) in policies {
            call.reply_bytes(name);
            reply(call, policy);
        }
    });
    Ok(())
}

/// The algorithm and the limits, as words that SET reads.
fn reply(call: &Call, policy: &Policy) {
    let is_bucket = policy.algorithm() == Algorithm::Bucket;
    let words = if is_bucket { 3 } else { 2 };
    call.reply_array(1 + words * policy.limits().len());
    call.reply_bytes(policy.algorithm().name().as_bytes());
    for limit in policy.limits() {
        call.reply_bytes(limit.limit().to_string().as_bytes());
        if is_bucket {
            call.reply_bytes(limit.refill().to_string().as_bytes());
        }
        call.reply_bytes(limit.window_text(policy.algorithm()).as_bytes());
    }
}
