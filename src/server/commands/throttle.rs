//! `CL.THROTTLE`: redis-cell's command, for applications that speak it already.

use super::hit::DENIED;
use super::KEY;
use crate::core::error::Error;
use crate::core::limit::Algorithm;
use crate::core::node::stats::Outcome;
use crate::core::quote::{self, Hit, Quote};
use crate::core::throttle;
use crate::server::raw::{now_ms, Args, Call};
use crate::server::registry;
use crate::server::slot::Slot;

/// `CL.THROTTLE key max_burst count period [quantity]`
pub fn throttle(call: &Call) -> Result<(), Error> {
    const FIRST_WORD: usize = KEY + 1;
    let mut words = Args::new();
    call.read_args(FIRST_WORD, &mut words);
    let asked = throttle::parse(&words, FIRST_WORD)?;
    let now_ms = now_ms();
    let Some(key) = call.open_to_write(KEY) else {
        return Ok(()); // the server's arity check sees to it that there is a key
    };
    let mut slot = Slot::of(key)?;
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
    let key = slot.close();
    let outcome = if quote.fits {
        Outcome::Allowed
    } else {
        key.notify(DENIED);
        Outcome::Denied
    };
    if asked.quantity > 0 {
        registry::node(|node| {
            node.count(None, || call.arg(KEY), Algorithm::Bucket, outcome, now_ms);
        });
    }
    Ok(())
}
