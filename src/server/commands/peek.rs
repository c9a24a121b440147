//! `RL.PEEK`: what the command would answer now. Reads, and leaves no trace.

use super::look_up::{look_up, Listed};
use super::options::{rare, HitWindows};
use crate::core::error::Error;
use crate::core::limit::Algorithm;
use crate::core::quote::{self, Change, Hit, HitOptions, Nexts, Quote};
use crate::core::request::{self, Rarity, Request, Verb};
use crate::server::raw::{now_ms, Args, Call, Keys};
use crate::server::slot::Slot;
use crate::server::{config, reply};

/// Which argument the key is.
const KEY: usize = 2;

/// `RL.PEEK FIXED|SLIDING|BUCKET|LEASE key limits... [options]`
pub fn peek(call: &Call, keys: &mut Keys) -> Result<(), Error> {
    const ALGORITHM: usize = 1;
    let Some(algorithm) = Algorithm::parse(call.arg(ALGORITHM)) else {
        return Err(Error::Algorithm { at: ALGORITHM });
    };
    match algorithm {
        Algorithm::Fixed => ask(call, keys, Algorithm::Fixed),
        Algorithm::Sliding => ask(call, keys, Algorithm::Sliding),
        Algorithm::Bucket => ask(call, keys, Algorithm::Bucket),
        Algorithm::Lease => ask(call, keys, Algorithm::Lease),
    }
}

/// Inlined for each algorithm, as a hit is: a path of its own need not choose.
#[inline(always)]
pub fn ask(call: &Call, keys: &mut Keys, algorithm: Algorithm) -> Result<(), Error> {
    const FIRST_LIMIT: usize = 3;
    let mut words = Args::new();
    call.read_args(FIRST_LIMIT, &mut words);
    let mut request = Request::default();
    request::parse_into(&mut request, algorithm, Verb::Peek, &words, FIRST_LIMIT)?;
    let now_ms = now_ms();
    let Request { clause, options } = &mut request;
    let listed = look_up(algorithm, clause, options.deny, now_ms)?;
    if request.clause.rarity == Rarity::Usual && !config::REGION.is_set() {
        let lease = HitOptions::of(request.clause.id);
        let rare = match algorithm {
            Algorithm::Lease => &lease,
            _ => &HitOptions::NONE,
        };
        return answer(
            call,
            keys,
            algorithm,
            &request,
            rare,
            listed.as_ref(),
            now_ms,
        );
    }
    let mut windows = HitWindows::default();
    let Request { clause, options } = &request;
    let rare = rare(algorithm, clause, options, now_ms, &mut windows)?;
    answer(
        call,
        keys,
        algorithm,
        &request,
        &rare,
        listed.as_ref(),
        now_ms,
    )
}

#[inline(always)]
fn answer(
    call: &Call,
    keys: &mut Keys,
    algorithm: Algorithm,
    request: &Request,
    rare: &HitOptions,
    listed: Option<&Listed>,
    now_ms: u64,
) -> Result<(), Error> {
    let hit = Hit {
        algorithm,
        limits: &request.clause.limits,
        cost: request.clause.cost,
        force: false,
        log_size: config::sliding_entries(),
        options: rare,
    };
    let slot = match keys.open_to_read(KEY) {
        Some(key) => Some(Slot::of(key)?),
        None => None,
    };
    let held = slot.as_ref().and_then(Slot::held);
    let mut quote = Quote::default();
    quote::quote(held, &hit, now_ms, listed.is_none(), &mut quote)?;
    if listed.is_some() {
        quote.change = Change::None;
    }
    let mut nexts = Nexts::new();
    if request.options.next {
        nexts = quote::nexts(held, &hit, &quote, now_ms)?;
    }
    match listed {
        Some(listed) => reply::deny_listed(call, &quote, request, &nexts, listed),
        None if request.clause.rarity == Rarity::Rare => {
            reply::rare_quote(call, &quote, request, &nexts, now_ms);
        }
        None => reply::quote(call, &quote, &request.options, false),
    }
    Ok(())
}
