//! `CL.THROTTLE`: redis-cell's command, for applications that speak it already.

use super::hit::DENIED;
use super::KEY;
use crate::core::error::Error;
use crate::core::limit::Algorithm;
use crate::core::node::stats::Outcome;
use crate::core::quote::{self, Hit, Quote};
use crate::core::throttle::{self, Throttle};
use crate::server::raw::{now_ms, Args, Call, Key, Keys};
use crate::server::slot::Slot;
use crate::server::{propagate, registry};

/// `CL.THROTTLE key max_burst count period [quantity]`
pub fn throttle(call: &Call, keys: &mut Keys) -> Result<(), Error> {
    const FIRST_WORD: usize = KEY + 1;
    let mut words = Args::new();
    call.read_args(FIRST_WORD, &mut words);
    let asked = throttle::parse(&words, FIRST_WORD)?;
    let now_ms = now_ms();
    let Some(key) = keys.open_to_write(KEY) else {
        return Ok(()); // the server's arity check sees to it that there is a key
    };
    let mut slot = open(key, &asked, now_ms)?;
    let limits = [asked.limit];
    let hit = Hit::new(Algorithm::Bucket, &limits, asked.quantity);
    let mut quote = Quote::default();
    quote::quote(slot.held(), &hit, now_ms, true, &mut quote)?;
    if slot.is_refused(call, quote.change) {
        return Err(Error::OutOfMemory);
    }
    slot.commit(&hit, quote.change, now_ms)?;
    if let Some(verdict) = quote.decision.binding() {
        let integers = throttle::reply(verdict);
        call.reply_array(integers.len());
        for integer in integers {
            call.reply_integer(integer);
        }
    }
    drop(slot); // whoever hears of it may delete the key
    let outcome = if quote.fits {
        Outcome::Allowed
    } else {
        keys.notify(KEY, DENIED);
        Outcome::Denied
    };
    if asked.quantity > 0 {
        registry::node(|node| {
            node.count(&[], || call.arg(KEY), Algorithm::Bucket, outcome, now_ms);
        });
    }
    Ok(())
}

/// What the key holds; of one that redis-cell left, what that means here, from now on and for every copy of the key.
fn open<'key>(mut key: Key<'key>, asked: &Throttle, now_ms: u64) -> Result<Slot<'key>, Error> {
    let left_behind = key
        .text()
        .and_then(|text| throttle::left_behind(text, key.expires_ms()));
    let Some(tat_ms) = left_behind else {
        return Slot::of(key);
    };
    key.delete();
    let mut slot = Slot::of(key)?;
    if let Some(limiter) = asked.filling_until(tat_ms, now_ms) {
        slot.put(limiter);
        slot.keep_ttl();
    }
    propagate::replacement(slot.key(), slot.held());
    Ok(slot)
}
