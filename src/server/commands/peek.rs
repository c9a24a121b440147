//! `RL.PEEK`: what the command would answer now. Reads, and leaves no trace.

use super::{limiter_of, look_up};
use crate::core::error::Error;
use crate::core::limit::Algorithm;
use crate::core::limiter::{Hit, Limiter};
use crate::core::request::{self, Verb};
use crate::server::raw::{now_ms, Call};
use crate::server::{config, reply};
use std::mem::ManuallyDrop;

/// `RL.PEEK FIXED|SLIDING|BUCKET key limits... [options]`
pub fn peek(call: &Call) -> Result<(), Error> {
    const ALGORITHM: usize = 1;
    const KEY: usize = 2;
    const FIRST_LIMIT: usize = 3;
    let args = call.args();
    let algorithm = args
        .get(ALGORITHM)
        .and_then(|name| Algorithm::parse(name))
        .ok_or(Error::Algorithm { at: ALGORITHM })?;
    let words = args.get(FIRST_LIMIT..).unwrap_or_default();
    let mut request = request::parse(algorithm, Verb::Peek, words, FIRST_LIMIT)?;
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
        let decision = Limiter::peek(state.as_ref(), &hit, now_ms)?;
        reply::decision(call, &decision, request.deny.is_some());
    }
    Ok(())
}
