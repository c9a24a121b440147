//! `RL.ALL`, `RL.PEEKALL`: one decision over several keys. All are quoted; if all let the call through, or it is forced, all
//! are charged, else none is.

use super::hit::DENIED;
use super::look_up::{look_up_all, Listed};
use crate::core::error::Error;
use crate::core::limit::{Algorithm, MAX_KEYS};
use crate::core::node::stats::Outcome;
use crate::core::quote::{self, Few, Hit, Quote, Rare, Windows};
use crate::core::request::{numkeys, parse_all, All, Clause, Verb};
use crate::server::raw::{now_ms, Args, Call, Key};
use crate::server::slot::Slot;
use crate::server::{config, regions, registry, reply, zones};

const NUMKEYS: usize = 1;
const FIRST_KEY: usize = 2;

/// `RL.ALL numkeys key [key ...] clause [clause ...] [options]`
pub fn all(call: &Call) -> Result<(), Error> {
    decide(call, Verb::Charge)
}

/// `RL.PEEKALL numkeys key [key ...] clause [clause ...] [DENY list value [value ...]]`
pub fn peek_all(call: &Call) -> Result<(), Error> {
    decide(call, Verb::Peek)
}

fn decide(call: &Call, verb: Verb) -> Result<(), Error> {
    let mut words = Args::new();
    call.read_args(NUMKEYS, &mut words);
    if call.asks_for_keys() {
        let keys = numkeys(&words).unwrap_or(0); // what is refused has none
        (FIRST_KEY..FIRST_KEY + keys).for_each(|index| call.tell_key(index));
        return Ok(());
    }
    let mut all = parse_all(verb, &words, NUMKEYS)?;
    let now_ms = now_ms();
    let clauses = all
        .clauses
        .iter_mut()
        .map(|(algorithm, clause)| (*algorithm, clause));
    let listed = look_up_all(clauses, all.options.deny, now_ms)?;
    let windows: Few<Windows> = all
        .clauses
        .iter()
        .map(|(_, clause)| zones::windows(&clause.limits, now_ms))
        .collect::<Result<_, _>>()?;
    let rares = rares(&all, &windows, now_ms);
    let hits = hits(&all, &rares);
    let mut slots = open(call, verb, all.keys.len())?;
    let held = |index: usize| slots.get(index)?.as_ref()?.held();
    let quotes = quote::quote_all(held, &hits, listed.is_some(), now_ms)?;
    if verb == Verb::Charge {
        let mut changes = slots.iter().zip(&quotes);
        if changes.any(|(slot, quote)| {
            slot.as_ref()
                .is_some_and(|slot| slot.is_refused(call, quote.change))
        }) {
            return Err(Error::OutOfMemory);
        }
        for ((slot, hit), quote) in slots.iter_mut().zip(&hits).zip(&quotes) {
            if let Some(slot) = slot {
                slot.commit(hit, quote.change, now_ms)?;
            }
        }
    }
    reply::all(call, &quotes, &hits, &all.options, listed.as_ref(), now_ms);
    if verb == Verb::Charge {
        tell(slots, &quotes, &all, listed.as_ref(), now_ms);
    }
    Ok(())
}

/// What few hits say, for each clause.
fn rares<'a>(all: &'a All, windows: &'a [Windows], now_ms: u64) -> Few<Rare<'a>> {
    let options = &all.options;
    let rare = |((algorithm, clause), windows): (&'a (Algorithm, Clause), &'a Windows)| Rare {
        windows,
        at_ms: options.at_ms,
        stamp: options.stamp && *algorithm == Algorithm::Bucket,
        block_ms: &clause.block_ms,
        id: clause.id,
        here: regions::here(*algorithm, now_ms),
        ..Rare::NONE
    };
    all.clauses.iter().zip(windows).map(rare).collect()
}

fn hits<'a>(all: &'a All, rares: &'a [Rare<'a>]) -> Few<Hit<'a>> {
    let hit = |((algorithm, clause), rare): (&'a (Algorithm, Clause), &'a Rare<'a>)| Hit {
        algorithm: *algorithm,
        limits: &clause.limits,
        cost: clause.cost,
        force: all.options.force,
        log_size: config::sliding_entries(),
        rare,
    };
    all.clauses.iter().zip(rares).map(hit).collect()
}

/// Opens every key; a peek finds no slot where there is no key.
fn open<'a>(call: &Call<'a>, verb: Verb, keys: usize) -> Result<Few<Option<Slot<'a>>>, Error> {
    let open = |index: usize| -> Option<Key<'a>> {
        match verb {
            Verb::Charge => call.open_to_write(FIRST_KEY + index),
            Verb::Peek => call.open_to_read(FIRST_KEY + index),
        }
    };
    (0..keys.min(MAX_KEYS))
        .map(|index| open(index).map(Slot::of).transpose())
        .collect()
}

/// Publishes and counts, once every key is closed.
fn tell(
    slots: Few<Option<Slot>>,
    quotes: &[Quote],
    all: &All,
    listed: Option<&Listed>,
    now_ms: u64,
) {
    let is_allowed = quotes.iter().all(|quote| quote.fits);
    let outcome = |quote: &Quote| match listed {
        Some(_) => Some(Outcome::DenyListed),
        None if !quote.fits => Some(Outcome::Denied),
        None if is_allowed || all.options.force => Some(Outcome::Allowed),
        None => None,
    };
    let closed: Few<_> = slots
        .into_iter()
        .map(|slot| slot.map(Slot::close))
        .collect();
    for (key, quote) in closed.iter().zip(quotes) {
        if let (Some(key), Some(Outcome::Denied | Outcome::DenyListed)) = (key, outcome(quote)) {
            key.notify(DENIED);
        }
    }
    if let (Some(listed), true) = (
        listed,
        all.clauses.iter().any(|(_, clause)| clause.cost > 0),
    ) {
        registry::node(|node| node.stats.count_listed(&listed.read_as));
    }
    let clauses = all.keys.iter().zip(&all.clauses).zip(quotes);
    for ((key, (algorithm, clause)), quote) in clauses {
        if let (Some(outcome), 1..) = (outcome(quote), clause.cost) {
            let name = clause.policies.last().copied();
            registry::node(|node| node.count(name, || key, *algorithm, outcome, now_ms));
        }
    }
}
