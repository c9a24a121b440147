//! What several regions share of one key, by example.

use super::*;
use crate::core::algorithm::fixed::Fixed;
use crate::core::algorithm::meter::Meter;
use crate::core::calendar::Window;
use crate::core::limit::Algorithm;
use crate::core::limiter::{Block, Noted};
use crate::core::limiter::{MeterForm, State};
use crate::core::quote::{self, Hit};
use std::num::NonZero;

/// Half a second into a window of 1 s.
const NOW_MS: u64 = 1_000_000_500;
const END_MS: u64 = 1_000_001_000;
const SETTING: Merging = Merging {
    now_ms: NOW_MS,
    debt_ms: 10_000,
    log_size: 128,
};

fn region(name: &str) -> Region {
    Region::parse(name.as_bytes()).unwrap()
}

fn window(limit: u64, window_ms: u64) -> Limit {
    Limit::window(limit, window_ms).unwrap()
}

/// What regions have charged now, each as of a beginning: the last of them is this one.
fn used<J: SharedForm>(limits: &[Limit], parts: &[(&str, u64, i64)]) -> Shared<J> {
    let meter = |limit: &Limit| {
        let mut meter = J::unused(limit, 128);
        for (name, began_ms, cost) in parts {
            let window = Window::default();
            let ask = Ask {
                limit,
                window,
                id: &[],
                now_ms: NOW_MS,
            };
            meter.parts_mut().own = None;
            meter.parts_mut().begin(region(name), *began_ms, 0);
            meter.charge(&ask, *cost, NOW_MS);
        }
        meter
    };
    let mut shared = Shared::begin(NOW_MS);
    shared.meters = Meters(limits.iter().map(meter).collect());
    shared
}

fn fixed(limits: &[Limit], parts: &[(&str, u64, i64)]) -> Shared<JointFixed> {
    used(limits, parts)
}

/// What is received of this as region eu.
fn received(into: &mut Shared<JointFixed>, from: &Shared<JointFixed>) -> Received {
    into.merge(from, SETTING, region("eu"))
}

fn taken(news: bool, own_news: bool, refused: u64) -> Received {
    Received {
        news,
        own_news,
        refused,
    }
}

#[test]
fn what_each_region_has_used_is_told_window_by_window() {
    let limits = [window(100, 1_000), window(1_000, 60_000)];
    let parts = [("eu", 1, 3), ("us", 1, 4), ("us", 2, 5)];
    let both = vec![(region("eu"), 3), (region("us"), 9)];
    assert_eq!(fixed(&limits, &parts).regions(NOW_MS), [both.clone(), both]);
    let later = fixed(&limits, &parts).regions(END_MS);
    assert_eq!(later[0], [(region("eu"), 0), (region("us"), 0)]);
}

#[test]
fn a_region_is_worth_sending_from_a_percentage_of_any_limit_on() {
    let limits = [window(200, 1_000), window(9_000, 60_000)];
    let regional = fixed(&limits, &[("us", 1, 200), ("eu", 1, 4)]);
    let has = |percent| regional.has_used(region("eu"), percent, NOW_MS);
    assert_eq!([0, 1, 2, 3].map(has), [true, true, true, false]);
    assert!(!regional.has_used(region("eu"), 1, END_MS + 59_000));
    let unused = fixed(&[], &[]);
    assert!(unused.has_used(region("eu"), 0, NOW_MS));
    assert!(!unused.has_used(region("eu"), 1, NOW_MS));
    let reset = Shared {
        reset_ms: 1,
        ..unused
    };
    assert!(reset.has_used(region("eu"), 1, NOW_MS), "a reset is sent");
}

#[test]
fn a_region_sends_its_own_or_all_but_what_is_nobody_s() {
    let limits = [window(100, 1_000)];
    let mut regional = fixed(&limits, &[("eu", 1, 3), ("us", 1, 4)]);
    let meters = &mut regional.meters;
    let mut nobody_s = meters.0[0].parts.list[0].clone();
    nobody_s.origin.region = Region::UNNAMED;
    meters.0[0].parts.insert(nobody_s);
    let sent = |shared: &Shared<JointFixed>, of, now_ms| {
        let copy = shared.export(of, now_ms)?;
        Some(copy.regional()?.regions(now_ms).concat())
    };
    let (eu, us) = ((region("eu"), 3), (region("us"), 4));
    assert_eq!(sent(&regional, None, NOW_MS), Some(vec![eu, us]));
    assert_eq!(sent(&regional, Some(eu.0), NOW_MS), Some(vec![eu]));
    assert_eq!(sent(&regional, Some(Region::UNNAMED), NOW_MS), None);
    assert_eq!(sent(&regional, None, END_MS), None, "nothing counts");
    regional.reset_ms = 1;
    assert_eq!(sent(&regional, None, END_MS), Some(vec![]), "but a reset");
}

#[test]
fn what_is_new_of_a_region_s_own_is_told_apart() {
    let limits = [window(100, 1_000), window(1_000, 60_000)];
    let [eu, us] = [("eu", 1, 3), ("us", 1, 4)];
    // Of windows that are known here, and of ones that are not.
    for known in [&limits[..], &[]] {
        let here = || fixed(known, &[("eu", 2, 1)]);
        let others = fixed(&limits, &[us]);
        assert_eq!(received(&mut here(), &others), taken(true, false, 0));
        let own = fixed(&limits, &[us, eu]);
        let mut merged = here();
        assert_eq!(received(&mut merged, &own), taken(true, true, 0));
        assert_eq!(received(&mut merged, &own), taken(false, false, 0));
    }
}

#[test]
fn an_origin_from_a_clock_that_is_too_far_ahead_is_refused() {
    let limits = [window(100, 1_000)];
    let most_ms = NOW_MS + MAX_AHEAD_MS;
    let copy = fixed(&limits, &[("ap", most_ms, 3), ("us", most_ms + 1, 4)]);
    let mut here = fixed(&limits, &[("eu", 1, 1)]);
    assert_eq!(received(&mut here, &copy), taken(true, false, 1));
    let both = [(region("ap"), 3), (region("eu"), 1)];
    assert_eq!(here.regions(NOW_MS).concat(), both);
    // So is a window that does not come next, whether its limit is known here or not.
    let mut ahead = fixed(&limits, &[("us", 1, 4)]);
    let part = &mut ahead.meters.0[0].parts.list[0];
    (part.start_ms, part.end_ms) = (END_MS + 1_000, END_MS + 2_000);
    for known in [&limits[..], &[]] {
        let mut here = fixed(known, &[("eu", 1, 1)]);
        assert_eq!(received(&mut here, &ahead), taken(false, false, 1));
    }
}

#[test]
fn a_seventeenth_window_is_refused() {
    let limits: Vec<_> = (1..=17)
        .map(|minutes| window(9, minutes * 60_000))
        .collect();
    let mut here = fixed(&limits[..15], &[("eu", 1, 1)]);
    let copy = fixed(&limits[15..], &[("us", 1, 1)]);
    assert_eq!(received(&mut here, &copy), taken(true, false, 1));
    assert_eq!(here.regions(NOW_MS).len(), MAX_WINDOWS);
    assert_eq!(here.reading(NOW_MS)[15].limit, limits[15]);
}

#[test]
fn a_later_reset_is_taken_over_unless_it_is_too_far_ahead() {
    let limits = [window(100, 1_000)];
    let nothing = |reset_ms| Shared {
        reset_ms,
        ..fixed(&[], &[])
    };
    let most_ms = NOW_MS + MAX_AHEAD_MS;
    for (reset_ms, expected, is_taken) in [
        (9, taken(false, false, 0), false),
        (10, taken(false, false, 0), false),
        (11, taken(true, false, 0), true),
        (most_ms, taken(true, false, 0), true),
        (most_ms + 1, taken(false, false, 1), false),
        (most_ms + 9, taken(false, false, 1), false),
    ] {
        let mut here = fixed(&limits, &[("eu", 11, 3)]);
        here.reset_ms = 10;
        assert_eq!(received(&mut here, &nothing(reset_ms)), expected);
        let now_ms = if is_taken { reset_ms } else { 10 };
        assert_eq!(here.reset_ms, now_ms, "{reset_ms}");
        let left = if is_taken { 0 } else { 1 };
        assert_eq!(here.regions(NOW_MS).concat().len(), left, "{reset_ms}");
    }
}

#[test]
fn a_reset_lies_after_all_that_has_begun_and_is_remembered_until_nothing_of_it_counts() {
    let limits = [window(100, 1_000), window(100, 60_000)];
    let mut regional = fixed(&limits, &[("us", NOW_MS + 5, 3), ("eu", NOW_MS - 9, 4)]);
    assert_eq!(regional.reset_at_ms(NOW_MS), NOW_MS + 5);
    assert_eq!(regional.reset_at_ms(NOW_MS + 6), NOW_MS + 6);
    regional.reset_ms = NOW_MS + 7;
    assert_eq!(regional.reset_at_ms(NOW_MS + 6), NOW_MS + 7);
    assert_eq!(regional.reset_at_ms(u64::MAX), MAX_TIME_MS);
    regional.reset_ms = 0;
    // Of two windows, until the end of the later.
    let minute_ends_ms = NOW_MS.next_multiple_of(60_000);
    regional.reset(NOW_MS + 4, NOW_MS);
    assert_eq!(regional.reset_ms, NOW_MS + 4);
    assert_eq!(regional.remembers_ms, minute_ends_ms);
    assert_eq!(regional.regions(NOW_MS)[0], [(region("us"), 3)]);
    assert!(!regional.is_unused(NOW_MS));
    regional.reset(NOW_MS + 5, NOW_MS);
    assert!(regional.regions(NOW_MS).concat().is_empty());
    assert!(!regional.is_unused(minute_ends_ms - 1));
    assert!(regional.is_unused(minute_ends_ms));
    assert_eq!(regional.unused_at_ms(), minute_ends_ms);
    assert_eq!(regional.expires_ms(), minute_ends_ms + 1_000);
    // What is used is so when no reset is remembered, too.
    let regional = fixed(&limits, &[("eu", 1, 3)]);
    assert!(!regional.is_unused(NOW_MS));
    assert_eq!(regional.unused_at_ms(), minute_ends_ms);
    assert_eq!(fixed(&[], &[]).expires_ms(), 1, "a key has a TTL, always");
}

#[test]
fn two_keys_are_the_same_where_usage_and_reset_are() {
    let limits = [window(100, 1_000)];
    let regional = fixed(&limits, &[("eu", 1, 3)]);
    let mut other = regional.clone();
    (other.local.entry, other.local.renewed) = (9, true);
    assert_eq!(regional, other);
    assert_ne!(regional, fixed(&limits, &[("eu", 1, 4)]));
    let remembers = Shared {
        remembers_ms: 1,
        ..regional.clone()
    };
    assert_ne!(regional, remembers);
}

#[test]
fn what_is_sent_makes_a_key_where_there_is_none() {
    fn sent<J: SharedForm>(limit: Limit, cost: i64) -> Limiter {
        J::keep(used(&[limit], &[("us", 1, cost)]))
    }
    let bucket = Limit::bucket(9, 1, 1_000).unwrap();
    for (copy, holds) in [
        (sent::<JointFixed>(window(9, 1_000), 3), 3),
        (sent::<JointSliding>(window(9, 1_000), 4), 4),
        (sent::<JointBucket>(bucket, 5), 5),
    ] {
        let payload = Payload {
            sender: region("us"),
            copy,
        };
        let (made, received) = merge(None, &payload, SETTING, region("eu")).unwrap();
        assert_eq!(received, taken(true, false, 0));
        assert_eq!(made.unwrap().held().reading(NOW_MS)[0].used, holds);
    }
}

/// Tokens are whole in a region's part: what is begun is a token.
#[test]
fn a_bucket_becomes_a_region_s_with_the_tokens_it_has_out() {
    let limits = [Limit::bucket(10, 1, 1_000).unwrap()];
    let mut state = None;
    quote::hit(&mut state, &Hit::new(Algorithm::Bucket, &limits, 3), NOW_MS).unwrap();
    let mut state = state.unwrap();
    let mut charged = |now_ms| {
        let Form::Bucket(meters) = &mut state.held() else {
            panic!("it is a bucket");
        };
        meters.many().0[0].charge(
            &Ask {
                limit: &limits[0],
                window: Window::default(),
                id: &[],
                now_ms,
            },
            0,
            now_ms,
        );
        let origin = Origin {
            region: region("eu"),
            began_ms: now_ms,
        };
        let joint = JointBucket::upgrade(Form::Bucket(&**meters), origin).unwrap();
        joint.0[0].parts.list[0].counter.charged
    };
    assert_eq!(charged(NOW_MS), 3);
    assert_eq!(charged(NOW_MS + 999), 3);
    assert_eq!(charged(NOW_MS + 1_000), 2);
    assert_eq!(charged(NOW_MS + 1_001), 2);
}

#[test]
fn a_blocked_key_says_what_regions_share_of_it() {
    let limiter = |renewed| {
        let mut regional = fixed(&[window(9, 1_000)], &[("eu", 1, 3)]);
        regional.local.renewed = renewed;
        JointFixed::keep(regional)
    };
    let blocked = |limiter| {
        let block = Block {
            until_ms: 2,
            length_ms: 1,
            strikes: NonZero::<u32>::MIN,
        };
        let mut noted = Noted::of(Some(limiter));
        noted.notes.block = Some(block);
        Limiter::Noted(Box::new(noted))
    };
    for renewed in [false, true] {
        assert_eq!(limiter(renewed).is_renewed(), renewed);
        assert_eq!(blocked(limiter(renewed)).is_renewed(), renewed);
    }
    assert!(limiter(false).regional().is_some());
    assert!(blocked(limiter(false)).regional().is_some());
    let plain = || <Fixed>::wrap(Meters::empty());
    for other in [plain(), blocked(plain())] {
        assert!(other.regional().is_none() && !other.is_renewed());
    }
}
