//! `RL.ALL`, `RL.PEEKALL`: one decision over several keys. All are quoted; if all let the call through, or it is forced, all
//! are charged, else none is.

use super::hit::DENIED;
use super::look_up::{look_up_all, Listed};
use crate::core::error::Error;
use crate::core::limit::Algorithm;
use crate::core::node::stats::Outcome;
use crate::core::quote::{self, Few, Hit, Quote, Rare, Windows};
use crate::core::request::{numkeys, parse_all_into, All, Clause, Options, Verb};
use crate::server::raw::{now_ms, Args, Call};
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
    let mut all = All::default();
    parse_all_into(&mut all, verb, &words, NUMKEYS)?;
    let now_ms = now_ms();
    let listed = if needs_look_up(&all) {
        let clauses = all.clauses.iter_mut();
        let clauses = clauses.map(|(algorithm, clause)| (*algorithm, clause));
        look_up_all(clauses, all.options.deny, now_ms)?
    } else {
        None
    };
    let mut windows: Few<Windows> = Few::new();
    let mut rares: Few<Rare> = Few::new();
    let is_rare = |(algorithm, clause): &(Algorithm, Clause)| {
        clause.is_rare || *algorithm == Algorithm::Lease
    };
    if all.clauses.iter().any(is_rare) || config::REGION.is_set() {
        read_windows(&all, now_ms, &mut windows)?;
        rares.extend(
            all.clauses
                .iter()
                .zip(&windows)
                .map(|(clause, windows)| rare(clause, windows, &all.options, now_ms)),
        );
    }
    let mut hits: Few<Hit> = Few::new();
    for (index, (algorithm, clause)) in all.clauses.iter().enumerate() {
        hits.push(Hit {
            algorithm: *algorithm,
            limits: &clause.limits,
            cost: clause.cost,
            force: all.options.force,
            log_size: config::sliding_entries(),
            rare: rares.get(index).unwrap_or(&Rare::NONE),
        });
    }
    let mut slots: Few<Option<Slot>> = Few::new();
    for index in 0..all.keys.len() {
        slots.push(open(call, verb, index)?);
    }
    let mut quotes: Few<Quote> = Few::new();
    let held = |index: usize| slots.get(index)?.as_ref()?.held();
    quote::quote_all(held, &hits, listed.is_some(), now_ms, &mut quotes)?;
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
        tell(&mut slots, &quotes, &all, listed.as_ref(), now_ms);
    }
    Ok(())
}

/// Whether the call names a policy or a deny list.
fn needs_look_up(all: &All) -> bool {
    let mut clauses = all.clauses.iter();
    all.options.deny.is_some() || clauses.any(|(_, clause)| !clause.policies.is_empty())
}

#[cold]
fn read_windows(all: &All, now_ms: u64, out: &mut Few<Windows>) -> Result<(), Error> {
    for (_, clause) in &all.clauses {
        let mut windows = Windows::new();
        zones::windows(&clause.limits, now_ms, &mut windows)?;
        out.push(windows);
    }
    Ok(())
}

/// What few hits say, of one clause.
fn rare<'a>(
    (algorithm, clause): &'a (Algorithm, Clause),
    windows: &'a Windows,
    options: &Options,
    now_ms: u64,
) -> Rare<'a> {
    Rare {
        windows,
        at_ms: options.at_ms,
        stamp: options.stamp && *algorithm == Algorithm::Bucket,
        block_ms: &clause.block_ms,
        id: clause.id,
        here: regions::here(*algorithm, now_ms),
        ..Rare::NONE
    }
}

/// Opens the key at a place; a peek finds no slot where there is no key.
fn open<'a>(call: &Call<'a>, verb: Verb, index: usize) -> Result<Option<Slot<'a>>, Error> {
    let key = match verb {
        Verb::Charge => call.open_to_write(FIRST_KEY + index),
        Verb::Peek => call.open_to_read(FIRST_KEY + index),
    };
    key.map(Slot::of).transpose()
}

/// Publishes and counts, once every key is closed.
fn tell(
    slots: &mut Few<Option<Slot>>,
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
    let closed: Few<_> = slots.drain(..).map(|slot| slot.map(Slot::close)).collect();
    for (key, quote) in closed.iter().zip(quotes) {
        if let (Some(key), Some(Outcome::Denied | Outcome::DenyListed)) = (key, outcome(quote)) {
            key.notify(DENIED);
        }
    }
    registry::node(|node| {
        let mut clauses = all.clauses.iter();
        if let (Some(listed), true) = (listed, clauses.any(|(_, clause)| clause.cost > 0)) {
            node.stats.count_listed(&listed.read_as);
        }
        let clauses = all.keys.iter().zip(&all.clauses).zip(quotes);
        for ((key, (algorithm, clause)), quote) in clauses {
            if let (Some(outcome), 1..) = (outcome(quote), clause.cost) {
                let name = clause.policies.last().copied();
                node.count(name, || key, *algorithm, outcome, now_ms);
            }
        }
    });
}
