//! `RL.FIXED`, `RL.SLIDING`, `RL.BUCKET`, `RL.LEASE`: the hot path.

use super::look_up::{look_up, Listed};
use super::options::{rare, HitWindows};
use super::KEY;
use crate::core::error::Error;
use crate::core::limit::Algorithm;
use crate::core::node::stats::Outcome;
use crate::core::quote::{self, Change, Hit, HitOptions, Id, Nexts, Quote};
use crate::core::request::{self, Rarity, Request, Verb};
use crate::server::raw::{now_ms, Args, Call, Keys};
use crate::server::slot::Slot;
use crate::server::{config, registry, reply};
use std::ffi::CStr;

/// The keyspace event of a hit that is denied.
pub const DENIED: &CStr = c"rl.denied";

/// The keyspace event of a hit that is let through, and that a shadow would have denied.
pub const SHADOW_DENIED: &CStr = c"rl.shadow_denied";

/// `RL.FIXED key limit window [limit window ...] [options]`
pub fn fixed(call: &Call, keys: &mut Keys) -> Result<(), Error> {
    hit(call, keys, Algorithm::Fixed)
}

/// `RL.SLIDING key limit window [limit window ...] [options]`
pub fn sliding(call: &Call, keys: &mut Keys) -> Result<(), Error> {
    hit(call, keys, Algorithm::Sliding)
}

/// `RL.BUCKET key capacity refill interval [capacity refill interval ...] [options]`
pub fn bucket(call: &Call, keys: &mut Keys) -> Result<(), Error> {
    hit(call, keys, Algorithm::Bucket)
}

/// `RL.LEASE key limit ttl id [options]`
pub fn lease(call: &Call, keys: &mut Keys) -> Result<(), Error> {
    hit(call, keys, Algorithm::Lease)
}

/// Inlined, as is everything here that is marked so: each command names its algorithm, so the compiler writes a path for
/// each that need not choose. (As one path it took 300 instructions more, a quarter of what is ours.)
#[inline(always)]
pub fn hit(call: &Call, keys: &mut Keys, algorithm: Algorithm) -> Result<(), Error> {
    const FIRST_LIMIT: usize = KEY + 1;
    let mut words = Args::new();
    call.read_args(FIRST_LIMIT, &mut words);
    let mut request = Request::default();
    request::parse_into(&mut request, algorithm, Verb::Charge, &words, FIRST_LIMIT)?;
    let now_ms = now_ms();
    let Request { clause, options } = &mut request;
    let listed = look_up(algorithm, clause, options.deny, now_ms)?;
    let listed = listed.as_ref();
    if request.clause.rarity > Rarity::Usual || config::REGION.is_set() {
        // (What is downloaded does without: the path that serves any call serves these.)
        let is_once = request.clause.rarity == Rarity::Once && !cfg!(target_family = "wasm");
        return if is_once && !config::REGION.is_set() {
            let none = &HitOptions::NONE;
            run::<false, true>(call, keys, algorithm, &request, none, listed, now_ms)
        } else {
            rare_hit(call, keys, algorithm, &request, listed, now_ms)
        };
    }
    let lease = HitOptions::of(request.clause.id);
    let rare = match algorithm {
        Algorithm::Lease => &lease,
        _ => &HitOptions::NONE,
    };
    run::<false, false>(call, keys, algorithm, &request, rare, listed, now_ms)
}

/// The same, of a call that says what few calls do.
#[cold]
fn rare_hit(
    call: &Call,
    keys: &mut Keys,
    algorithm: Algorithm,
    request: &Request,
    listed: Option<&Listed>,
    now_ms: u64,
) -> Result<(), Error> {
    let Request { clause, options } = request;
    let mut windows = HitWindows::default();
    let rare = rare(algorithm, clause, options, now_ms, &mut windows)?;
    run::<true, false>(call, keys, algorithm, request, &rare, listed, now_ms)
}

/// `IS_ONCE`: of a call that says an id, and nothing else that few do.
#[inline(always)]
fn run<const IS_RARE: bool, const IS_ONCE: bool>(
    call: &Call,
    keys: &mut Keys,
    algorithm: Algorithm,
    request: &Request,
    rare: &HitOptions,
    listed: Option<&Listed>,
    now_ms: u64,
) -> Result<(), Error> {
    let Request { clause, options } = request;
    let Some(key) = keys.open_to_write(KEY) else {
        return Ok(()); // the server's arity check sees to it that there is a key
    };
    let mut slot = Slot::of(key)?;
    let hit = Hit {
        algorithm,
        limits: &clause.limits,
        cost: clause.cost,
        force: options.force,
        log_size: config::sliding_entries(),
        options: rare,
    };
    let id = IS_ONCE.then(|| Id {
        bytes: options.id,
        bounds: config::ids(),
    });
    let mut quote = Quote::default();
    let mut nexts = Nexts::new();
    let mut is_shadow_denied = false;
    let outcome = if let Some(listed) = listed {
        let probe = hit.as_probe();
        if IS_ONCE {
            quote::quote_once(slot.held(), &probe, id, now_ms, false, &mut quote)?;
        } else {
            quote::quote(slot.held(), &probe, now_ms, false, &mut quote)?;
        }
        quote.change = Change::None;
        if IS_RARE && options.next {
            nexts = quote::nexts(slot.held(), &probe, &quote, now_ms)?;
        }
        reply::deny_listed(call, &quote, request, &nexts, listed);
        Outcome::DenyListed
    } else {
        if IS_ONCE {
            quote::quote_once(slot.held(), &hit, id, now_ms, true, &mut quote)?;
        } else {
            quote::quote(slot.held(), &hit, now_ms, true, &mut quote)?;
        }
        if IS_RARE && options.next {
            nexts = quote::nexts(slot.held(), &hit, &quote, now_ms)?;
        }
        if slot.is_refused(call, quote.change) {
            return Err(Error::OutOfMemory);
        }
        if IS_ONCE {
            let (id, at) = (options.id, options.id_at);
            let expected = "the hit's id";
            let word = call.word(at).ok_or(Error::Incomplete { at, expected })?;
            slot.commit_once(&hit, id, word, &quote.change, now_ms)?;
        } else {
            slot.commit(&hit, quote.change, now_ms)?;
        }
        if let (true, Some(tried)) = (IS_RARE, &rare.tried) {
            is_shadow_denied = slot.try_on(&hit, tried, quote.change, now_ms)?;
            is_shadow_denied &= quote.fits;
        }
        if IS_RARE {
            reply::rare_quote(call, &quote, request, &nexts, now_ms);
        } else {
            reply::quote(call, &quote, options, IS_ONCE);
        }
        if (IS_RARE || IS_ONCE) && quote.repeats.is_some() {
            return Ok(()); // it was counted when it was charged
        }
        if quote.fits {
            Outcome::Allowed
        } else {
            Outcome::Denied
        }
    };
    drop(slot); // whoever hears of it may delete the key
    if outcome != Outcome::Allowed {
        keys.notify(KEY, DENIED);
    }
    if IS_RARE && is_shadow_denied {
        keys.notify(KEY, SHADOW_DENIED);
    }
    if clause.cost > 0 {
        let names = &clause.policies;
        registry::node(|node| {
            node.count(names, || call.arg(KEY), algorithm, outcome, now_ms);
            if IS_RARE && is_shadow_denied {
                let outcome = Outcome::ShadowDenied;
                node.count(names, || call.arg(KEY), algorithm, outcome, now_ms);
            }
            if let Some(listed) = listed {
                node.stats.count_listed(&listed.read_as, now_ms);
            }
        });
    }
    Ok(())
}
