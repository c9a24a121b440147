//! `RL.ALL`, `RL.PEEKALL`: one decision over several keys. All are quoted; if all let the call through, or it is forced, all
//! are charged, else none is. A clause that says SHADOW decides nothing: it is charged where the others are and it fits.

use super::hit::{DENIED, SHADOW_DENIED};
use super::look_up::{look_up_all, Listed};
use super::options::{rare, HitWindows};
use crate::core::error::Error;
use crate::core::limit::Algorithm;
use crate::core::node::stats::Outcome;
use crate::core::quote::{self, Hit, HitOptions, Nexts, PerKey, Quote};
use crate::core::request::{numkeys, parse_all_into, All, Clause, Rarity, Verb};
use crate::server::raw::{now_ms, Args, Call, Keys};
use crate::server::slot::Slot;
use crate::server::{config, registry, reply};

const NUMKEYS: usize = 1;
const FIRST_KEY: usize = 2;

/// `RL.ALL numkeys key [key ...] clause [clause ...] [options]`
pub fn all(call: &Call, keys: &mut Keys) -> Result<(), Error> {
    decide(call, keys, Verb::Charge)
}

/// `RL.PEEKALL numkeys key [key ...] clause [clause ...] [DENY list value [value ...]]`
pub fn peek_all(call: &Call, keys: &mut Keys) -> Result<(), Error> {
    decide(call, keys, Verb::Peek)
}

fn decide(call: &Call, keys: &mut Keys, verb: Verb) -> Result<(), Error> {
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
    let mut windows: PerKey<HitWindows> = PerKey::new();
    let mut rares: PerKey<HitOptions> = PerKey::new();
    if all.clauses.iter().any(is_rare) || config::REGION.is_set() {
        windows.resize_with(all.clauses.len(), HitWindows::default);
        for ((algorithm, clause), windows) in all.clauses.iter().zip(&mut windows) {
            rares.push(rare(*algorithm, clause, &all.options, now_ms, windows)?);
        }
    }
    let mut hits: PerKey<Hit> = PerKey::new();
    for (index, (algorithm, clause)) in all.clauses.iter().enumerate() {
        hits.push(Hit {
            algorithm: *algorithm,
            limits: &clause.limits,
            cost: clause.cost,
            force: all.options.force,
            log_size: config::sliding_entries(),
            options: rares.get(index).unwrap_or(&HitOptions::NONE),
        });
    }
    let mut quotes: PerKey<Quote> = PerKey::new();
    let mut would_deny = 0;
    let mut nexts: PerKey<Nexts> = PerKey::new();
    let asked = Asked {
        hits: &hits,
        is_listed: listed.is_some(),
        is_next: all.options.next,
        now_ms,
    };
    match verb {
        Verb::Charge => {
            charge(call, keys, asked, &mut quotes, &mut nexts)?;
            would_deny = try_on(keys, &hits, &quotes, now_ms)?;
        }
        Verb::Peek => peek(keys, asked, &mut quotes, &mut nexts)?,
    }
    reply::all(
        call,
        &quotes,
        &hits,
        &all.options,
        &nexts,
        listed.as_ref(),
        now_ms,
    );
    if verb == Verb::Charge {
        let answered = Answered {
            hits: &hits,
            quotes: &quotes,
            would_deny,
        };
        tell(keys, answered, &all, listed.as_ref(), now_ms);
    }
    Ok(())
}

/// What is asked of all keys.
#[derive(Clone, Copy)]
struct Asked<'a> {
    hits: &'a [Hit<'a>],
    is_listed: bool,
    is_next: bool,
    now_ms: u64,
}

/// Quotes the call of each key, and commits what is quoted.
///
/// A module that hears of a key that is opened or made may change others, between their quote and their commit: what the
/// commit then finds is changed as if it had been so after the call.
fn charge(
    call: &Call,
    keys: &mut Keys,
    asked: Asked,
    quotes: &mut PerKey<Quote>,
    nexts: &mut PerKey<Nexts>,
) -> Result<(), Error> {
    let Asked {
        hits,
        is_listed,
        is_next,
        now_ms,
    } = asked;
    let mut makes_keys = false;
    let ask = |place: usize, hit: &Hit, rest_allows: bool, quoted: &mut Quote| {
        let Some(key) = keys.open_to_write(FIRST_KEY + place) else {
            return Ok(()); // the grammar sees to it that there is a key
        };
        let slot = Slot::of(key)?;
        quote::quote(slot.held(), hit, now_ms, rest_allows, quoted)?;
        makes_keys |= slot.held().is_none() && !quoted.change.is_none();
        Ok(())
    };
    let is_charged = quote::quote_all(ask, hits, is_listed, quotes)?;
    if is_charged && makes_keys && call.refuses_new_keys() {
        return Err(Error::OutOfMemory);
    }
    if is_next {
        for (place, (hit, quoted)) in hits.iter().zip(&*quotes).enumerate() {
            let slot = keys.open_to_write(FIRST_KEY + place).map(Slot::of);
            let slot = slot.transpose()?;
            let held = slot.as_ref().and_then(Slot::held);
            nexts.push(quote::nexts(held, hit, quoted, now_ms)?);
        }
    }
    for (place, (hit, quoted)) in hits.iter().zip(quotes).enumerate() {
        if quoted.change.is_none() {
            continue;
        }
        // (One that has come to hold something else since is not ours to change.)
        let key = keys.open_to_write(FIRST_KEY + place);
        if let Some(Ok(mut slot)) = key.map(Slot::of) {
            slot.commit(hit, quoted.change, now_ms).ok();
        }
    }
    Ok(())
}

/// Has each key judged by the limits that are tried on it, once the call is charged. Which of them would have denied it, by
/// place, as bits.
fn try_on(keys: &mut Keys, hits: &[Hit], quotes: &[Quote], now_ms: u64) -> Result<u16, Error> {
    let mut would_deny = 0;
    for (place, (hit, quoted)) in hits.iter().zip(quotes).enumerate() {
        let Some(tried) = &hit.options.tried else {
            continue;
        };
        if quoted.change.is_none() {
            continue;
        }
        let key = keys.open_to_write(FIRST_KEY + place);
        if let Some(Ok(mut slot)) = key.map(Slot::of) {
            if slot.try_on(hit, tried, quoted.change, now_ms)? {
                would_deny |= 1 << place;
            }
        }
    }
    Ok(would_deny)
}

/// Quotes the call of each key.
fn peek(
    keys: &mut Keys,
    asked: Asked,
    quotes: &mut PerKey<Quote>,
    nexts: &mut PerKey<Nexts>,
) -> Result<(), Error> {
    let Asked {
        hits,
        is_listed,
        is_next,
        now_ms,
    } = asked;
    let ask = |place: usize, hit: &Hit, rest_allows: bool, quoted: &mut Quote| {
        let key = keys.open_to_read(FIRST_KEY + place);
        let slot = key.map(Slot::of).transpose()?;
        let held = slot.as_ref().and_then(Slot::held);
        quote::quote(held, hit, now_ms, rest_allows, quoted)
    };
    quote::quote_all(ask, hits, is_listed, quotes)?;
    if is_next {
        for (place, (hit, quoted)) in hits.iter().zip(&*quotes).enumerate() {
            let slot = keys.open_to_read(FIRST_KEY + place).map(Slot::of);
            let slot = slot.transpose()?;
            let held = slot.as_ref().and_then(Slot::held);
            nexts.push(quote::nexts(held, hit, quoted, now_ms)?);
        }
    }
    Ok(())
}

/// Whether a clause says what few hits do.
fn is_rare((algorithm, clause): &(Algorithm, Clause)) -> bool {
    clause.rarity > Rarity::Usual || *algorithm == Algorithm::Lease
}

/// Whether the call names a policy or a deny list.
fn needs_look_up(all: &All) -> bool {
    let mut clauses = all.clauses.iter();
    all.options.deny.is_some() || clauses.any(|(_, clause)| !clause.policies.is_empty())
}

/// What all keys have answered.
#[derive(Clone, Copy)]
struct Answered<'a> {
    hits: &'a [Hit<'a>],
    quotes: &'a [Quote],
    /// Which of them are denied by what is tried on them, by place, as bits.
    would_deny: u16,
}

/// Publishes and counts.
fn tell(keys: &mut Keys, answered: Answered, all: &All, listed: Option<&Listed>, now_ms: u64) {
    let Answered {
        hits,
        quotes,
        would_deny,
    } = answered;
    let is_allowed = quote::all_fit(quotes, hits);
    let is_shadow_denied = |place: usize, quote: &Quote, is_shadow: bool| {
        let is_denied = match is_shadow && !quote.fits {
            true => listed.is_none(),
            false => quote.fits && would_deny >> place & 1 > 0,
        };
        is_denied && is_allowed
    };
    let outcome = |quote: &Quote, is_shadow: bool| match listed {
        Some(_) if is_shadow => None,
        Some(_) => Some(Outcome::DenyListed),
        None if quote.repeats.is_some() => None, // it was counted when it was charged
        None if !quote.fits && !is_shadow => Some(Outcome::Denied),
        None if quote.fits && (is_allowed || all.options.force) => Some(Outcome::Allowed),
        None => None,
    };
    for (place, (quote, hit)) in quotes.iter().zip(hits).enumerate() {
        let is_shadow = hit.options.is_shadow;
        if let Some(Outcome::Denied | Outcome::DenyListed) = outcome(quote, is_shadow) {
            keys.notify(FIRST_KEY + place, DENIED);
        }
        if is_shadow_denied(place, quote, is_shadow) {
            keys.notify(FIRST_KEY + place, SHADOW_DENIED);
        }
    }
    registry::node(|node| {
        let mut clauses = all.clauses.iter();
        if let (Some(listed), true) = (listed, clauses.any(|(_, clause)| clause.cost > 0)) {
            node.stats.count_listed(&listed.read_as, now_ms);
        }
        let clauses = all.keys.iter().zip(&all.clauses).zip(quotes);
        for (place, ((key, (algorithm, clause)), quote)) in clauses.enumerate() {
            let would = is_shadow_denied(place, quote, clause.is_shadow);
            let would = would.then_some(Outcome::ShadowDenied);
            let outcomes = [outcome(quote, clause.is_shadow), would];
            for outcome in outcomes.into_iter().flatten().filter(|_| clause.cost > 0) {
                node.count(&clause.policies, || key, *algorithm, outcome, now_ms);
            }
        }
    });
}
