//! `ID` by example.

use super::*;

/// What a call is answered, of a repeat what the first was.
fn answer(key: &mut Key, now_ms: u64, line: &str) -> (bool, u64, bool) {
    let quoted = key.call(now_ms, line).unwrap();
    let remaining = quoted.decision.binding().unwrap().remaining();
    (quoted.fits, remaining, quoted.repeats.is_some())
}

#[test]
fn a_hit_is_charged_once_and_its_repeat_says_what_remains_now() {
    for limit in ["FIXED 10 1h", "SLIDING 10 1h", "BUCKET 10 1 1h"] {
        let mut key = Key::default();
        let mut ask = |line: &str| answer(&mut key, S, &format!("{limit} {line}"));
        assert_eq!(ask("COST 4 ID a"), (true, 6, false));
        assert_eq!(ask("COST 4 ID a"), (true, 6, true));
        assert_eq!(ask("COST 6"), (true, 0, false));
        assert_eq!(ask("COST 4 ID a"), (true, 0, true));
        assert_eq!(ask("COST 4 ID b"), (false, 0, false));
        // A cost that would not fit, or would give back, is no other answer.
        assert_eq!(ask("COST 400 ID a"), (true, 0, true));
        assert_eq!(ask("COST -4 ID a"), (true, 0, true));
    }
}

#[test]
fn a_denied_hit_is_not_remembered() {
    let mut key = Key::default();
    assert_eq!(answer(&mut key, 0, "FIXED 1 1s ID a"), (true, 0, false));
    assert_eq!(answer(&mut key, 0, "FIXED 1 1s ID b"), (false, 0, false));
    assert_eq!(answer(&mut key, S, "FIXED 1 1s ID b"), (true, 0, false));
}

#[test]
fn a_forced_hit_is_repeated_as_it_was_answered() {
    let mut key = Key::default();
    let line = "FIXED 10 1h COST 12 FORCE ID a";
    assert_eq!(answer(&mut key, S, line), (false, 0, false));
    // It would fit neither now nor ever.
    assert_eq!(key.ask(2 * S, line), (false, 0, -1, 3_598 * S));
    let smaller = "FIXED 10 1h COST 2 FORCE ID a";
    assert_eq!(key.ask(2 * S, smaller), (false, 0, 3_598_000, 3_598 * S));
    assert_eq!(answer(&mut key, 2 * S, smaller), (false, 0, true));
}

#[test]
fn an_id_ends_and_the_oldest_make_room() {
    let ids = Some(Bounds {
        most: 2,
        ttl_ms: 10 * S,
    });
    let mut key = Key {
        ids,
        ..Key::default()
    };
    let mut is_repeat =
        |now_ms, id: &str| answer(&mut key, now_ms, &format!("FIXED 99 1h ID {id}")).2;
    assert!(!is_repeat(0, "a"));
    assert!(!is_repeat(S, "b"));
    assert!(is_repeat(S, "a"));
    assert!(!is_repeat(2 * S, "c"));
    assert!(!is_repeat(3 * S, "a")); // it was dropped, and is charged again
    assert!(is_repeat(11 * S, "c"));
    assert!(!is_repeat(12 * S, "c"));
}

#[test]
fn a_settlement_sent_twice_gives_back_once() {
    let mut key = Key::default();
    assert!(key.fits(S, "FIXED 100 1h COST 50 STAMP ID call-1"));
    let settles = "FIXED 100 1h COST -20 AT 1000 ID call-1-done";
    assert_eq!(key.remaining(2 * S, settles), 70);
    assert!(key.fits(2 * S, "FIXED 100 1h COST 30"));
    assert_eq!(answer(&mut key, 3 * S, settles), (true, 40, true));
    // One that found nothing to give back takes nothing of others' later.
    let mut key = Key::default();
    let refund = "FIXED 100 1h COST -5 ID r";
    assert_eq!(answer(&mut key, 0, refund), (true, 100, false)); // where there is no key, there is nothing to remember it by
    assert!(key.state.is_none());
    assert!(key.fits(0, "FIXED 100 1h COST 5"));
    assert!(key.fits(0, "FIXED 100 1h COST -5"));
    assert_eq!(answer(&mut key, 0, refund), (true, 100, false));
    assert!(key.fits(0, "FIXED 100 1h COST 5"));
    assert_eq!(answer(&mut key, 0, refund), (true, 95, true));
    // AT 0 never gives anything back.
    assert!(!answer(&mut key, 0, "FIXED 100 1h COST -5 AT 0 ID s").2);
    assert!(!answer(&mut key, 0, "FIXED 100 1h COST -5 AT 0 ID s").2);
}

#[test]
fn a_repeat_says_what_was_taken_and_when_and_what_is_left_of_the_wait() {
    let mut key = Key::default();
    let line = "FIXED 10 1h COST 20 MIN 5 ID a";
    assert_eq!(key.call(S, line).unwrap().taken, 10);
    let again = key.call(9 * S, line).unwrap();
    assert_eq!((again.taken, again.repeats), (10, Some(S)));
    let mut key = Key::default();
    assert_eq!(
        key.call(9 * S, "FIXED 9 1h AT 1000 ID a").unwrap().repeats,
        None
    );
    assert_eq!(key.call(9 * S, "FIXED 9 1h ID a").unwrap().repeats, Some(S));
    let mut key = Key::default();
    let line = "BUCKET 1 1 10s RESERVE 1m ID";
    assert_eq!(key.ask(0, &format!("{line} a")), (true, 0, 0, 10 * S));
    assert_eq!(key.ask(0, &format!("{line} b")), (true, 0, 10_000, 20 * S));
    assert_eq!(
        key.ask(4 * S, &format!("{line} b")),
        (true, 0, 6_000, 16 * S)
    );
    assert_eq!(key.ask(14 * S, &format!("{line} b")), (true, 0, 0, 6 * S));
}

#[test]
fn a_place_that_is_given_back_is_forgotten() {
    let mut key = Key::default();
    let line = "BUCKET 1 1 10s RESERVE 1m STAMP ID";
    assert!(key.fits(0, &format!("{line} a")));
    assert_eq!(key.ask(S, &format!("{line} b")).2, 9_000);
    assert!(key.fits(2 * S, "BUCKET 1 1 10s COST -1 AT 1000"));
    assert!(!answer(&mut key, 3 * S, &format!("{line} b")).2);
    assert!(answer(&mut key, 3 * S, &format!("{line} b")).2);
}

#[test]
fn no_block_is_asked_about_a_repeat() {
    let mut key = Key::default();
    let line = "FIXED 1 1h BLOCK 1h ID";
    assert!(key.fits(0, &format!("{line} a")));
    assert!(!key.fits(0, &format!("{line} b")));
    assert_eq!(answer(&mut key, 0, &format!("{line} a")), (true, 1, true));
    assert_eq!(answer(&mut key, 0, &format!("{line} c")), (false, 0, false));
}

#[test]
fn a_key_without_ids_is_of_its_plain_form_again() {
    let mut key = Key {
        ids: Some(Bounds { most: 3, ttl_ms: S }),
        ..Key::default()
    };
    assert!(key.fits(0, "FIXED 9 1h ID a"));
    let noted = |key: &Key| key.state.as_ref().unwrap().notes().is_some();
    assert!(noted(&key));
    assert!(key.fits(999, "FIXED 9 1h"));
    assert!(noted(&key));
    assert!(key.fits(S, "FIXED 9 1h"));
    assert!(!noted(&key));
}

#[test]
fn a_key_that_has_had_the_call_does_not_bind_it() {
    let (mut one, mut other) = (Key::default(), Key::default());
    let hour = [Limit::window(9, 3_600 * S).unwrap()];
    let id = HitOptions {
        id: b"a",
        ..HitOptions::NONE
    };
    let hit = Hit {
        options: &id,
        ..Hit::new(Algorithm::Fixed, &hour, 3)
    };
    assert!(one.fits(0, "FIXED 9 1h COST 8 ID a"));
    let call = |one: &mut Key, other: &mut Key| {
        let mut quotes = PerKey::new();
        let states = [one.state.clone(), other.state.clone()];
        let ask = |place: usize, hit: &Hit, rest_allows: bool, quoted: &mut Quote| {
            let held = states[place].as_ref().map(|limiter| limiter.by_ref());
            quote(held, hit, 0, rest_allows, quoted)
        };
        let hits = [hit, hit];
        let is_charged = quote_all(ask, &hits, false, &mut quotes).unwrap();
        for (key, quoted) in [one, other].into_iter().zip(&quotes) {
            apply(&mut key.state, &hit, quoted.change, 0).unwrap();
        }
        let (place, verdict) = binding(&quotes, &hits).unwrap();
        (
            is_charged,
            is_repeat(&quotes, &hits),
            place,
            verdict.allowed,
            verdict.remaining(),
        )
    };
    assert_eq!(call(&mut one, &mut other), (true, false, 1, true, 6));
    assert_eq!(call(&mut one, &mut other), (true, true, 0, true, 1));
    // One that has not had it, and denies it, stops the call.
    let mut full = Key::default();
    assert!(full.fits(0, "FIXED 9 1h COST 9"));
    assert_eq!(call(&mut one, &mut full), (false, false, 1, false, 0));
}
