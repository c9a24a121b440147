//! The path of a hit asks for no memory: not to parse, not to decide, not to encode the effect.

use crate::counting;
use ratelimit::core::codec;
use ratelimit::core::error::Error;
use ratelimit::core::limit::Algorithm;
use ratelimit::core::limiter::Limiter;
use ratelimit::core::quote::{self, Change, Hit, Quote};
use ratelimit::core::request::{self, Clause, Request, Verb};

/// What the hits of a run came to.
#[derive(Default)]
struct Outcomes {
    allowed: u32,
    denied: u32,
    /// Allocations on the way.
    allocations: usize,
}

/// The hit of a request that asks for nothing rare.
fn hit_of<'a>(algorithm: Algorithm, request: &'a Request) -> Hit<'a> {
    Hit {
        force: request.options.force,
        ..Hit::new(algorithm, &request.clause.limits, request.clause.cost)
    }
}

/// Sends hits of these arguments, a hundred a second: first for a while unobserved, so that the key exists and its log
/// has its size, and then counted.
fn run(algorithm: Algorithm, line: &str) -> Result<Outcomes, Error> {
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    let mut state: Option<Limiter> = None;
    let mut outcomes = Outcomes::default();
    for turn in 0..9_000_u64 {
        let now_ms = 1_700_000_000_000 + turn * 10;
        let before = counting::calls();
        let request = request::parse(algorithm, Verb::Charge, &words, 2)?;
        let hit = hit_of(algorithm, &request);
        let mut quoted = Quote::default();
        let mut held = state.as_mut().map(Limiter::held);
        quote::quote(
            held.as_ref().map(|held| held.by_ref()),
            &hit,
            now_ms,
            true,
            &mut quoted,
        )?;
        let made = quote::commit(held.as_mut(), &hit, quoted.change, now_ms)?;
        let bytes = match quoted.change {
            Change::Charge(cost) => codec::encode_charge(&hit, cost, now_ms).len(),
            _ => 0,
        };
        let decision = quoted.decision;
        let allowed = decision.allowed();
        let binding = decision.binding().map(|verdict| verdict.allowed);
        let allocations = counting::calls() - before;
        assert_eq!((binding, bytes > 0), (Some(allowed), allowed));
        state = made.or(state);
        // By then a log has the room that it needs: the gaps of its entries grow as they are merged.
        if turn >= 6_000 {
            outcomes.allowed += u32::from(allowed);
            outcomes.denied += u32::from(!allowed);
            outcomes.allocations += allocations;
        }
    }
    Ok(outcomes)
}

#[test]
fn a_hit_on_a_key_that_exists_allocates_nothing() {
    for (algorithm, line) in [
        (Algorithm::Fixed, "50 1s"),
        (Algorithm::Fixed, "50 1s 2000 1m 9007199254740991 1d COST 1"),
        (Algorithm::Sliding, "50 1s"),
        (Algorithm::Sliding, "300 5s"), // past 128 entries: merging
        (Algorithm::Sliding, "50 1s 400 10s 1000000 1d"),
        (Algorithm::Bucket, "50 50 1s"),
        (
            Algorithm::Fixed,
            "50 1s POLICY a POLICY b POLICY c POLICY d",
        ),
        (
            Algorithm::Bucket,
            "50 50 1s 2000 9007199254740991 1m 9007199254740991 1000 1d",
        ),
    ] {
        let outcomes = run(algorithm, line).unwrap();
        assert!(
            outcomes.allowed > 500 && outcomes.denied > 500,
            "{algorithm:?} {line}: {} allowed",
            outcomes.allowed
        );
        assert_eq!(outcomes.allocations, 0, "{algorithm:?} {line}");
    }
}

/// The largest numbers there are, in each of eight limits.
#[test]
fn the_longest_charge_allocates_nothing_and_is_whole() {
    let line: String = (1..=8)
        .map(|n| {
            format!(
                "9007199254740991 9007199254740991 {}ms ",
                316_224_000_001_u64 - n
            )
        })
        .collect();
    let line = format!("{line}COST -9007199254740991 FORCE");
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    let parse = || request::parse(Algorithm::Bucket, Verb::Charge, &words, 2).unwrap();
    parse(); // what is set up once, by the first call of all, is not of this one
    let before = counting::calls();
    let request = parse();
    let hit = hit_of(Algorithm::Bucket, &request);
    let bytes = codec::encode_charge(&hit, hit.cost, 9_007_199_254_740_991);
    assert_eq!(counting::calls(), before);
    match codec::decode(&bytes, None) {
        Some(codec::Effect::Charge(charge)) => {
            let Clause { limits, cost, .. } = request.clause;
            assert_eq!((charge.limits, charge.cost), (limits, cost))
        }
        other => panic!("{other:?}"),
    }
}

/// What the zeros above stand on: an allocation is seen.
#[test]
fn the_first_hit_of_a_key_allocates_once() {
    let words = [b"5".as_slice(), b"1s"];
    let request = request::parse(Algorithm::Fixed, Verb::Charge, &words, 2).unwrap();
    let hit = hit_of(Algorithm::Fixed, &request);
    quote::hit(&mut None, &hit, 1_700_000_000_000).unwrap(); // the limit has its number, which its first key asks for
    let (mut state, before) = (None, counting::calls());
    quote::hit(&mut state, &hit, 1_700_000_000_000).unwrap();
    assert_eq!(counting::calls() - before, 1);
}
