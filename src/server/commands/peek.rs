//! `RL.PEEK`: what the command would answer now. Reads, and leaves no trace.

use super::{limiter_of, look_up};
use crate::core::decision::Decision;
use crate::core::error::Error;
use crate::core::limit::Algorithm;
use crate::core::limiter::{Hit, Limiter};
use crate::core::request::{self, Request, Verb};
use crate::server::raw::{now_ms, Args, Call};
use crate::server::{config, reply};
use std::mem::ManuallyDrop;

/// `RL.PEEK FIXED|SLIDING|BUCKET key limits... [options]`
pub fn peek(call: &Call) -> Result<(), Error> {
    const ALGORITHM: usize = 1;
    const KEY: usize = 2;
    const FIRST_LIMIT: usize = 3;
    let algorithm =
        Algorithm::parse(call.arg(ALGORITHM)).ok_or(Error::Algorithm { at: ALGORITHM })?;
    let mut words = Args::new();
    call.read_args(FIRST_LIMIT, &mut words);
    let mut request = Request::default();
    request::parse_into(&mut request, algorithm, Verb::Peek, &words, FIRST_LIMIT)?;
    let now_ms = now_ms();
    let listed = look_up(&mut request, algorithm, now_ms)?;
    let hit = Hit {
        algorithm,
        limits: &request.limits,
        cost: request.cost,
        force: false,
        entries: config::sliding_entries(),
    };
    let key = call.open_to_read(KEY);
    let state = match &key {
        Some(key) => limiter_of(key)?,
        None => ManuallyDrop::new(None),
    };
    if let Some(listed) = &listed {
        reply::deny_listed(
            call,
            Limiter::standing(state.as_ref(), &hit, now_ms)?,
            listed,
        );
    } else {
        let mut decision = Decision::default();
        Limiter::foresee(state.as_ref(), &hit, now_ms, &mut decision)?;
        reply::decision(call, &decision, request.deny.is_some());
    }
    Ok(())
}
