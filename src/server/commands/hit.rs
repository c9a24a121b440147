//! `RL.FIXED`, `RL.SLIDING`, `RL.BUCKET`: the hot path.

use super::{limiter_of, look_up, store, KEY};
use crate::core::decision::Decision;
use crate::core::error::Error;
use crate::core::limit::Algorithm;
use crate::core::limiter::{Change, Hit, Limiter};
use crate::core::node::stats::Outcome;
use crate::core::request::{self, Request, Verb};
use crate::server::raw::{now_ms, Args, Call};
use crate::server::{config, propagate, registry, reply, ttl};
use std::ffi::CStr;

/// The keyspace event of a hit that is denied.
const DENIED: &CStr = c"rl.denied";

/// `RL.FIXED key limit window [limit window ...] [options]`
pub fn fixed(call: &Call) -> Result<(), Error> {
    hit(call, Algorithm::Fixed)
}

/// `RL.SLIDING key limit window [limit window ...] [options]`
pub fn sliding(call: &Call) -> Result<(), Error> {
    hit(call, Algorithm::Sliding)
}

/// `RL.BUCKET key capacity refill interval [capacity refill interval ...] [options]`
pub fn bucket(call: &Call) -> Result<(), Error> {
    hit(call, Algorithm::Bucket)
}

/// Inlined, as is everything below that is marked so: each command names its algorithm, so the compiler writes three paths
/// that need not choose. (As one path it took 300 instructions more, a quarter of what is ours.)
#[inline(always)]
fn hit(call: &Call, algorithm: Algorithm) -> Result<(), Error> {
    const FIRST_LIMIT: usize = KEY + 1;
    let mut words = Args::new();
    call.read_args(FIRST_LIMIT, &mut words);
    let mut request = Request::default();
    request::parse_into(&mut request, algorithm, Verb::Charge, &words, FIRST_LIMIT)?;
    let now_ms = now_ms();
    let listed = look_up(&mut request, algorithm, now_ms)?;
    let Some(mut key) = call.open_to_write(KEY) else {
        return Ok(()); // the server's arity check sees to it that there is a key
    };
    let hit = Hit {
        algorithm,
        limits: &request.limits,
        cost: request.cost,
        force: request.force,
        entries: config::sliding_entries(),
    };
    let mut state = limiter_of(&key)?;
    let outcome = if let Some(listed) = &listed {
        reply::deny_listed(
            call,
            Limiter::standing(state.as_ref(), &hit, now_ms)?,
            listed,
        );
        Outcome::DenyListed
    } else {
        let is_new = state.is_none();
        let mut decision = Decision::default();
        let change = Limiter::decide(&mut state, &hit, now_ms, &mut decision)?;
        if change != Change::None {
            if is_new {
                state = store(&mut key, state)?;
            }
            if let Some(limiter) = state.as_ref() {
                ttl::keep(&mut key, limiter);
                propagate::commit(&key, limiter, change, &hit, now_ms);
            }
        }
        reply::decision(call, &decision, request.deny.is_some());
        if decision.allowed() {
            Outcome::Allowed
        } else {
            Outcome::Denied
        }
    };
    if outcome != Outcome::Allowed {
        key.notify(DENIED);
    }
    if hit.cost > 0 {
        let identifier = || call.arg(KEY);
        registry::node(|node| {
            node.count(request.policy, identifier, algorithm, outcome, now_ms);
            if let Some(listed) = &listed {
                node.stats.count_listed(&listed.read_as);
            }
        });
    }
    Ok(())
}
