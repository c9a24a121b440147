//! The share rule on a key, and a reset that is over, by example.

use super::super::{hit, HitOptions};
use super::*;
use crate::core::limit::Limit;
use crate::core::limiter::regional::{merge, reset, Merging, Payload};
use crate::core::limiter::{Form, Left};

/// The first millisecond of an hour and of two turns, neither of which is the region's.
const NOW_MS: u64 = 7_200_000;
const HOUR_MS: u64 = 3_600_000;
const TURN_MS: u64 = 1_000;
/// A half for each of two regions.
const SHARE: Share = Share {
    regions: 2,
    rank: 1,
    acknowledged_ms: 0,
    heard_ms: 0,
    retry_ms: 70,
};

fn region(name: &str) -> Region {
    Region::parse(name.as_bytes()).unwrap()
}

/// A region; eu is the one that has a share.
fn here(name: &str) -> LocalRegion {
    LocalRegion {
        region: region(name),
        term: 0,
        due: 0,
        share: (name == "eu").then_some(SHARE),
    }
}

/// What a hit in a region is answered: whether it fits, what is taken, and each limit's wait.
fn call(
    state: &mut Option<Limiter>,
    asked: Hit,
    name: &str,
    now_ms: u64,
) -> (bool, i64, Vec<Retry>) {
    let options = HitOptions {
        here: Some(here(name)),
        ..*asked.options
    };
    let asked = Hit {
        options: &options,
        ..asked
    };
    let quoted = hit(state, &asked, now_ms).unwrap();
    let verdicts = quoted.decision.verdicts().iter();
    let waits = verdicts.map(|verdict| {
        assert_eq!(verdict.allowed, verdict.retry == Retry::After(0));
        verdict.retry
    });
    (quoted.fits, quoted.taken, waits.collect())
}

/// What eu holds takes over what us does.
fn receive(here: &mut Option<Limiter>, there: Option<Limiter>, now_ms: u64) {
    let sent = there.unwrap().regional().unwrap().export(None, now_ms);
    let payload = Payload {
        sender: region("us"),
        copy: sent.unwrap(),
    };
    let setting = Merging {
        now_ms,
        debt_ms: 0,
        log_size: 128,
    };
    let held = &mut here.as_mut().unwrap().held();
    let merged = merge(Some(held), &payload, setting, region("eu"));
    assert!(merged.unwrap().1.news);
}

fn waits(waits_ms: &[u64]) -> Vec<Retry> {
    waits_ms.iter().copied().map(Retry::After).collect()
}

#[test]
fn a_region_may_use_its_share_and_no_more_until_it_is_acknowledged() {
    let limits = [Limit::window(100, HOUR_MS).unwrap()];
    let asked = |cost| Hit::new(Algorithm::Fixed, &limits, cost);
    let mut state = None;
    let denied = (false, 0, waits(&[70]));
    let waits_for_its_turn = (false, 0, waits(&[TURN_MS + 70]));
    assert_eq!(
        call(&mut state, asked(51), "eu", NOW_MS),
        waits_for_its_turn
    );
    assert_eq!(state, None, "a denied hit makes no key");
    let (fits, ..) = call(&mut state, asked(50), "eu", NOW_MS);
    assert!(fits && state.is_some());
    assert_eq!(call(&mut state, asked(1), "eu", NOW_MS), denied);
    assert!(call(&mut state, asked(0), "eu", NOW_MS).0);
    assert!(call(&mut state, asked(-1), "eu", NOW_MS).0);
    assert!(call(&mut state, asked(1), "eu", NOW_MS).0);
    // Above the limit itself it waits for the window to end.
    let full = call(&mut state, asked(51), "eu", NOW_MS);
    assert_eq!(full, (false, 0, waits(&[HOUR_MS])));
}

#[test]
fn a_part_is_taken_of_a_share() {
    let limits = [Limit::window(100, HOUR_MS).unwrap()];
    let taken = |min| {
        let options = HitOptions {
            min: Some(min),
            ..HitOptions::NONE
        };
        let asked = Hit {
            options: &options,
            ..Hit::new(Algorithm::Fixed, &limits, 60)
        };
        call(&mut None, asked, "eu", NOW_MS)
    };
    assert_eq!(taken(1), (true, 50, waits(&[0])));
    assert_eq!(taken(50), (true, 50, waits(&[0])));
    assert_eq!(taken(51), (false, 0, waits(&[TURN_MS + 70])));
}

#[test]
fn a_settlement_and_a_reserved_turn_are_not_held_by_a_share() {
    let windows = [Limit::window(100, HOUR_MS).unwrap()];
    let buckets = [Limit::bucket(100, 1, 1_000).unwrap()];
    let settled = HitOptions {
        at_ms: Some(NOW_MS),
        ..HitOptions::NONE
    };
    let reserved = HitOptions {
        reserve_ms: Some(1_000),
        ..HitOptions::NONE
    };
    for (algorithm, limits, options) in [
        (Algorithm::Fixed, &windows, &settled),
        (Algorithm::Bucket, &buckets, &reserved),
    ] {
        let asked = Hit {
            options,
            ..Hit::new(algorithm, limits, 60)
        };
        assert!(call(&mut None, asked, "eu", NOW_MS).0, "{algorithm:?}");
        let plain = Hit::new(algorithm, limits, 60);
        assert!(!call(&mut None, plain, "eu", NOW_MS).0, "{algorithm:?}");
    }
}

#[test]
fn only_a_limit_whose_share_is_too_small_holds_a_hit() {
    let hour = |limit| Limit::window(limit, HOUR_MS).unwrap();
    let limits = [hour(22), Limit::window(20, 60_000).unwrap()];
    for (cost, min) in [(11, None), (15, Some(11))] {
        let options = HitOptions {
            min,
            ..HitOptions::NONE
        };
        let asked = Hit {
            options: &options,
            ..Hit::new(Algorithm::Fixed, &limits, cost)
        };
        let held = call(&mut None, asked, "eu", NOW_MS);
        assert_eq!(
            (held.0, held.2),
            (false, waits(&[0, TURN_MS + 70])),
            "{cost}"
        );
    }
}

#[test]
fn all_that_is_recent_counts_of_a_bucket_as_nobody_can_say_whose_the_level_is() {
    let limits = [Limit::bucket(100, 1, 1_000).unwrap()];
    let asked = |cost| Hit::new(Algorithm::Bucket, &limits, cost);
    let (mut here, mut there) = (None, None);
    assert!(call(&mut here, asked(40), "eu", NOW_MS).0);
    assert!(call(&mut there, asked(40), "us", NOW_MS).0);
    receive(&mut here, there, NOW_MS);
    // Of 80 half is regained, and 20 of the rest may be this region's: 40 are counted, and 10 of its 50 are left.
    let later_ms = NOW_MS + 40_000;
    assert!(!call(&mut here.clone(), asked(11), "eu", later_ms).0);
    assert!(call(&mut here, asked(10), "eu", later_ms).0);
}

#[test]
fn what_was_charged_in_a_window_that_is_over_takes_nothing_of_a_share() {
    let limits = [Limit::window(100, HOUR_MS).unwrap()];
    let asked = |cost| Hit::new(Algorithm::Fixed, &limits, cost);
    let (mut here, mut there) = (None, None);
    assert!(call(&mut here, asked(50), "eu", NOW_MS).0);
    let next_ms = NOW_MS + HOUR_MS;
    assert!(call(&mut there, asked(30), "us", next_ms).0);
    receive(&mut here, there, next_ms);
    // Of the 70 that are left, half. The 50 are not acknowledged, but do not count any more.
    assert!(!call(&mut here.clone(), asked(36), "eu", next_ms).0);
    assert!(call(&mut here, asked(35), "eu", next_ms).0);
}

#[test]
fn a_share_holds_a_hit_that_others_deny_too() {
    let limits = [Limit::window(100, HOUR_MS).unwrap()];
    let mut state = None;
    let full = Hit::new(Algorithm::Fixed, &limits, 50);
    assert!(call(&mut state, full, "eu", NOW_MS).0);
    let options = HitOptions {
        here: Some(here("eu")),
        ..HitOptions::NONE
    };
    let asked = Hit {
        options: &options,
        ..Hit::new(Algorithm::Fixed, &limits, 1)
    };
    let held = state.as_mut().map(Limiter::held);
    let mut quoted = Quote::default();
    super::super::quote(
        held.as_ref().map(Form::by_ref),
        &asked,
        NOW_MS,
        false,
        &mut quoted,
    )
    .unwrap();
    assert!(!quoted.fits && !quoted.decision.allowed());
}

#[test]
fn a_reset_is_remembered_until_nothing_before_it_counts_anywhere() {
    let limits = [Limit::window(100, HOUR_MS).unwrap()];
    let asked = Hit::new(Algorithm::Fixed, &limits, 1);
    let mut state = None;
    call(&mut state, asked, "us", NOW_MS);
    let held = &mut state.as_mut().unwrap().held();
    assert!(matches!(reset(held, NOW_MS + 5, NOW_MS + 9), Left::Same));
    let end_ms = NOW_MS + HOUR_MS;
    for (now_ms, remembered) in [
        (NOW_MS + 9, (NOW_MS + 5, end_ms)),
        (end_ms - 1, (NOW_MS + 5, end_ms)),
        (end_ms, (0, 0)),
    ] {
        call(&mut state, asked, "us", now_ms);
        let Some(Form::SharedFixed(shared)) = &state else {
            panic!("it is of fixed windows");
        };
        assert_eq!((shared.reset_ms, shared.remembers_ms), remembered);
    }
}

#[test]
fn no_change_makes_no_key() {
    let limits = [Limit::window(100, HOUR_MS).unwrap()];
    let options = HitOptions {
        here: Some(LocalRegion {
            region: region("eu"),
            term: 0,
            due: 0,
            share: None,
        }),
        ..HitOptions::NONE
    };
    let asked = Hit {
        options: &options,
        ..Hit::new(Algorithm::Fixed, &limits, 1)
    };
    let made = super::super::commit(None, &asked, Change::None, NOW_MS);
    assert_eq!(made, Ok(None));
}
