//! The parts by example, each test named after what it shows.

use super::bucket::{BucketPart, JointBucket};
use super::counter::Counter;
use super::fixed::{FixedPart, JointFixed};
use super::sliding::{JointSliding, SlidingPart, SENT};
use super::tests::{ask, region, FOR_EVER_MS};
use super::*;
use crate::core::calendar::Window;
use crate::core::limit::{Limit, MAX_COUNT};
use crate::core::span::Span;

const WINDOW_MS: u64 = 1_000;

/// A window of 1 s that regions have used: origin, start of the window, units.
fn used_by_regions(parts: &[(Origin, u64, u64)]) -> JointFixed {
    let mut joint = JointFixed::unused(&per_second(100), 128);
    for (origin, start_ms, charged) in parts {
        joint.parts.insert(FixedPart {
            origin: *origin,
            start_ms: *start_ms,
            end_ms: start_ms + WINDOW_MS,
            counter: Counter::of(*charged),
        });
    }
    joint
}

fn per_second(limit: u64) -> Limit {
    Limit::window(limit, WINDOW_MS).unwrap()
}

fn origin(number: usize, began_ms: u64) -> Origin {
    let region = region(number);
    Origin { region, began_ms }
}

#[test]
fn what_a_region_has_used_is_a_part_of_what_all_have() {
    let (old, new, other) = (origin(1, 1), origin(1, 2), origin(2, 1));
    let joint = used_by_regions(&[
        (old, 5_000, 3),
        (new, 5_000, 4),
        (other, 5_000, 9),
        (origin(3, 1), 4_000, 50),
    ]);
    let limit = per_second(100);
    let ask = ask(&limit, 5_500);
    assert_eq!(joint.view(region(1), &ask), (16, 7));
    assert_eq!(joint.view(region(2), &ask), (16, 9));
    assert_eq!(joint.view(region(3), &ask), (16, 0), "its window is over");
    assert_eq!(joint.used_by(region(1), &ask), 7);
    assert_eq!(joint.used(&ask), 16);
}

#[test]
fn a_window_that_has_begun_elsewhere_counts_and_is_waited_for() {
    // Another clock is ahead, by more or by less than half of a window.
    let joint = used_by_regions(&[(origin(1, 1), 5_000, 30), (origin(2, 1), 6_000, 40)]);
    let limit = per_second(100);
    let ask = ask(&limit, 5_900);
    assert_eq!(joint.used(&ask), 70);
    assert_eq!(joint.wait(&ask, 70), 0);
    assert_eq!(joint.wait(&ask, 69), 100, "the window of this clock ends");
    assert_eq!(joint.wait(&ask, 40), 100);
    assert_eq!(joint.wait(&ask, 39), 1_100, "and then the other's");
    assert_eq!((joint.reset(&ask), joint.unused_at_ms()), (1_100, 7_000));
    assert_eq!((joint.charged_ms(), joint.span_ms()), (6_000, WINDOW_MS));
}

#[test]
fn a_window_that_is_over_or_too_far_ahead_is_not_taken() {
    let now_ms = 5_500;
    let merged = |start_ms| {
        let mut joint = used_by_regions(&[(origin(1, 1), 5_000, 1)]);
        let received = joint.merge(&used_by_regions(&[(origin(2, 1), start_ms, 1)]), 0, now_ms);
        (received.news, received.refused, joint.parts.list.len())
    };
    assert_eq!(merged(4_000), (false, 0, 1));
    assert_eq!(merged(4_500), (false, 0, 1), "it ends now");
    assert_eq!(merged(5_000), (true, 0, 2));
    assert_eq!(merged(6_000), (true, 0, 2));
    assert_eq!(merged(6_500), (true, 0, 2));
    assert_eq!(merged(6_501), (false, 1, 1));
}

#[test]
fn windows_that_are_over_make_room() {
    let others = |count: usize, start_ms: u64| {
        (0..count).map(move |number| (origin(number + 1, 1), start_ms, 1))
    };
    let over: Vec<_> = others(MAX_PARTS - 1, 4_000).collect();
    let mut joint = used_by_regions(&over);
    let copy = used_by_regions(&[(origin(0, 1), 5_000, 7)]);
    assert!(joint.merge(&copy, 0, 5_500).news);
    assert_eq!(joint, copy, "the others are gone");
    // What still counts stays, and whom there is no room for is told of.
    let mut joint = used_by_regions(&others(MAX_PARTS - 1, 5_000).collect::<Vec<_>>());
    let received = joint.merge(&copy, 0, 5_500);
    assert_eq!((received.news, received.refused), (false, 1));
    assert_eq!(joint.parts.list.len(), MAX_PARTS - 1);
}

#[test]
fn a_reset_forgets_what_had_begun() {
    let all = [
        (origin(1, 10), 5_000, 1),
        (origin(1, 11), 5_000, 2),
        (origin(2, 9), 5_000, 4),
    ];
    let mut joint = used_by_regions(&all);
    joint.forget(10, 5_500);
    assert_eq!(joint, used_by_regions(&all[1..2]));
    assert_eq!(joint.forgets_ms(5_500), 6_000, "a window of then is over");
    assert_eq!(joint.forgets_ms(3_500), 6_000, "and so is what is here");
}

#[test]
fn what_counts_no_more_is_not_sent() {
    let (own, other) = (origin(1, 1), origin(2, 1));
    let joint = used_by_regions(&[(own, 5_000, 3), (other, 5_000, 4), (origin(3, 1), 5_000, 0)]);
    let sent = |sends: fn(Region) -> bool, now_ms| {
        let copy = joint.export(sends, now_ms)?;
        assert_eq!(copy.parts.own, None);
        Some(
            copy.parts
                .list
                .iter()
                .map(|part| part.origin)
                .collect::<Vec<_>>(),
        )
    };
    assert_eq!(sent(|_| true, 5_999), Some(vec![own, other]));
    assert_eq!(sent(|of| of == region(1), 5_999), Some(vec![own]));
    assert_eq!(sent(|of| of == region(3), 5_999), None);
    assert_eq!(sent(|_| true, 6_000), None);
}

#[test]
fn an_origin_that_is_added_to_a_later_one_keeps_the_later_window() {
    let folded = |earlier: (u64, u64), later: (u64, u64)| {
        let part = |began_ms, (start_ms, charged)| {
            used_by_regions(&[(origin(1, began_ms), start_ms, charged)])
                .parts
                .list[0]
                .clone()
        };
        let mut part_of_later = part(2, later);
        part_of_later.fold(&part(1, earlier));
        assert_eq!(part_of_later.origin, origin(1, 2));
        (
            part_of_later.start_ms,
            part_of_later.end_ms,
            part_of_later.counter.charged,
        )
    };
    assert_eq!(folded((5_000, 3), (5_000, 4)), (5_000, 6_000, 7));
    assert_eq!(folded((4_000, 3), (5_000, 4)), (5_000, 6_000, 4));
    assert_eq!(folded((5_000, 3), (4_000, 4)), (5_000, 6_000, 3));
}

#[test]
fn what_was_used_before_a_region_was_set_is_that_region_s() {
    let limit = per_second(100);
    let mut joint = JointFixed::unused(&limit, 128);
    joint.charge(&ask(&limit, 5_500), 3, u64::MAX);
    joint.parts.begin(region(1), 5_600, 0);
    joint.charge(&ask(&limit, 5_600), 4, u64::MAX);
    assert_eq!(joint.view(region(1), &ask(&limit, 5_600)), (7, 7));
    assert_eq!(joint.parts.list.len(), 1);
    assert_eq!(joint.parts.own, Some(origin(1, 5_600)));
    // One that begins again begins later, also than what was reset.
    joint.parts.own = None;
    joint.parts.begin(region(1), 5_600, 0);
    assert_eq!(joint.parts.own, Some(origin(1, 5_601)));
    joint.parts.own = None;
    joint.parts.begin(region(1), 5_600, 9_000);
    assert_eq!(joint.parts.own, Some(origin(1, 9_001)));
}

/// A rolling window of 1 s, of which regions have used so much each, at one time.
fn slid_by_regions(parts: &[(Origin, u64, u64)]) -> JointSliding {
    let mut joint = JointSliding::unused(&per_second(100), 128);
    for (origin, at_ms, charged) in parts {
        let mut part = SlidingPart::begin(*origin);
        part.log.append(*charged, *at_ms);
        part.stamp = (*at_ms, 0);
        joint.parts.insert(part);
    }
    joint
}

#[test]
fn what_a_region_has_used_of_a_rolling_window() {
    let joint = slid_by_regions(&[(origin(1, 1), 5_000, 3), (origin(2, 1), 5_400, 4)]);
    let limit = per_second(100);
    let ask = |now_ms| ask(&limit, now_ms);
    assert_eq!(joint.view(region(1), &ask(5_500)), (7, 3));
    assert_eq!(joint.view(region(2), &ask(5_999)), (7, 4));
    assert_eq!(joint.view(region(1), &ask(6_000)), (4, 0));
    assert_eq!(
        (joint.wait(&ask(5_500), 4), joint.reset(&ask(5_500))),
        (500, 900)
    );
    assert_eq!(joint.forgets_ms(5_300), 6_400, "what is here is over");
    assert_eq!(joint.forgets_ms(5_500), 6_500, "what was used then is");
}

#[test]
fn a_rolling_window_forgets_what_had_begun_and_sends_what_counts() {
    let all = [
        (origin(1, 10), 5_000, 1),
        (origin(1, 11), 5_100, 2),
        (origin(2, 9), 5_200, 4),
    ];
    let mut joint = slid_by_regions(&all);
    let sent = |joint: &JointSliding, now_ms| {
        let copy = joint.export(|_| true, now_ms);
        copy.map_or(0, |copy| {
            copy.parts.list.iter().map(|part| part.log.used).sum()
        })
    };
    assert_eq!(
        (
            sent(&joint, 5_999),
            sent(&joint, 6_000),
            sent(&joint, 6_199)
        ),
        (7, 6, 4)
    );
    assert_eq!(sent(&joint, 6_200), 0);
    joint.forget(10, 5_500);
    assert_eq!(joint, slid_by_regions(&all[1..2]));
}

#[test]
fn what_is_too_far_ahead_of_the_clock_is_not_taken_of_a_rolling_window() {
    let now_ms = 5_000;
    let merged = |at_ms| {
        let mut joint = slid_by_regions(&[(origin(1, 1), 5_000, 1)]);
        let received = joint.merge(&slid_by_regions(&[(origin(2, 1), at_ms, 2)]), 0, now_ms);
        let last_ms = joint.parts.list.last().unwrap().log.last_ms;
        (
            received.news,
            received.refused,
            joint.parts.list.len(),
            last_ms,
        )
    };
    assert_eq!(merged(4_000), (false, 0, 1, 5_000), "it has left");
    assert_eq!(merged(4_001), (true, 0, 2, 4_001));
    assert_eq!(
        merged(now_ms + MAX_AHEAD_MS),
        (true, 0, 2, 5_000),
        "it counts as of now"
    );
    assert_eq!(merged(now_ms + MAX_AHEAD_MS + 1), (false, 1, 1, 5_000));
}

/// A bucket of which regions have taken so much each.
fn taken_by_regions(parts: &[(Origin, u64)], level: u64, now_ms: u64) -> JointBucket {
    let limit = bucket_of_a_hundred();
    let mut joint = JointBucket::unused(&limit, 128);
    for (origin, charged) in parts {
        let (origin, counter) = (*origin, Counter::of(*charged));
        joint.parts.insert(BucketPart { origin, counter });
    }
    joint.bucket.set_level(u128::from(level) * 1_000, now_ms);
    joint
}

#[test]
fn a_level_is_divided_as_it_was_taken() {
    let limit = bucket_of_a_hundred();
    let parts = [(origin(1, 1), 30), (origin(2, 1), 10), (origin(2, 2), 20)];
    let joint = taken_by_regions(&parts, 40, 5_000);
    assert_eq!(joint.view(region(1), &ask(&limit, 5_000)), (40, 20));
    assert_eq!(joint.view(region(2), &ask(&limit, 5_000)), (40, 20));
    assert_eq!(joint.view(region(1), &ask(&limit, 7_000)), (20, 10));
    assert_eq!(joint.view(region(3), &ask(&limit, 5_000)), (40, 0));
}

#[test]
fn a_bucket_forgets_what_had_begun_and_holds_no_more_than_the_rest_has_taken() {
    let parts = [(origin(1, 10), 30), (origin(1, 11), 5), (origin(2, 9), 20)];
    let mut joint = taken_by_regions(&parts, 40, 5_000);
    joint.forget(10, 5_000);
    assert_eq!(joint, taken_by_regions(&parts[1..2], 5, 5_000));
    joint.forget(10, 5_000);
    assert_eq!(joint, taken_by_regions(&parts[1..2], 5, 5_000));
    // Twice as long as a whole bucket takes, and the longest that a debt may be owed.
    assert_eq!(joint.forgets_ms(5_000), 5_000 + 2 * 10_000 + 10_000);
    let debt = taken_by_regions(&parts, 900, 5_000);
    assert_eq!(
        debt.forgets_ms(5_000),
        95_000,
        "and as long as anything is used"
    );
}

/// A bucket of 100 that regains 10 a second.
fn bucket_of_a_hundred() -> Limit {
    Limit::bucket(100, 10, 1_000).unwrap()
}

#[test]
fn what_is_received_adds_up() {
    let received = |is, refused| Received {
        news: is,
        own_news: is,
        refused,
    };
    let mut all = received(false, 0);
    for (is, refused) in [(false, 1), (true, 2), (true, 3), (false, 4)] {
        all.add(received(is, refused));
    }
    assert_eq!(all, received(true, 10));
}

#[test]
fn usage_of_no_region_becomes_that_of_the_one_that_is_set() {
    fn becomes<J: Joint>(limit: &Limit) {
        let mut joint = J::unused(limit, 128);
        joint.charge(&ask(limit, 5_500), 3, u64::MAX);
        joint.parts_mut().begin(region(1), 5_500, 0);
        let origins: Vec<_> = joint.parts().list.iter().map(Part::origin).collect();
        assert_eq!(origins, [origin(1, 5_500)]);
        assert_eq!(joint.view(region(1), &ask(limit, 5_500)), (3, 3));
    }
    becomes::<JointFixed>(&per_second(100));
    becomes::<JointSliding>(&per_second(100));
    becomes::<JointBucket>(&bucket_of_a_hundred());
}

#[test]
fn an_origin_that_is_added_to_the_next_leaves_it_what_it_has_used() {
    fn adds<J: Joint>(limit: &Limit) {
        let ask = ask(limit, 5_500);
        let mut here = J::unused(limit, 128);
        for began_ms in 1..=20 {
            let mut there = J::unused(limit, 128);
            there.parts_mut().begin(region(1), began_ms, 0);
            there.charge(&ask, 2, u64::MAX);
            here.merge(&there, FOR_EVER_MS, 5_500);
        }
        assert_eq!(here.view(region(1), &ask), (40, 40));
        let origins: Vec<_> = here.parts().list.iter().map(Part::origin).collect();
        let kept: Vec<_> = (6..=20).map(|began_ms| origin(1, began_ms)).collect();
        assert_eq!(origins, kept, "fifteen, and room for the own one");
    }
    adds::<JointFixed>(&per_second(100));
    adds::<JointSliding>(&per_second(100));
    adds::<JointBucket>(&bucket_of_a_hundred());
}

#[test]
fn a_region_that_begins_anew_among_sixteen_origins_goes_on_with_its_own() {
    // Of all other regions there is one, so what this one has used before goes into what it uses now.
    let others = (0..MAX_PARTS).filter(|number| *number != 5);
    let mut parts: Vec<_> = others.map(|number| (origin(number, 1), 5_000, 1)).collect();
    parts.push((origin(5, 2), 5_000, 40));
    let mut joint = used_by_regions(&parts);
    joint.parts.begin(region(5), 3, 0);
    assert_eq!(joint.parts.list.len(), MAX_PARTS);
    assert_eq!(joint.parts.own().unwrap().counter, Counter::of(40));
    let limit = per_second(100);
    assert_eq!(joint.view(region(5), &ask(&limit, 5_500)), (55, 40));
    // Where there are two of its own already, the first of them goes into the second.
    let others = (0..MAX_PARTS - 1).filter(|number| *number != 5);
    let mut parts: Vec<_> = others.map(|number| (origin(number, 1), 5_000, 1)).collect();
    parts.extend([(origin(5, 1), 5_000, 20), (origin(5, 2), 5_000, 30)]);
    let mut joint = used_by_regions(&parts);
    joint.parts.begin(region(5), 3, 0);
    let own = joint.parts.list.iter();
    let own: Vec<_> = own.filter(|part| part.origin.region == region(5)).collect();
    assert_eq!(joint.parts.list.len(), MAX_PARTS);
    assert_eq!(
        (own[0].origin, own[0].counter),
        (origin(5, 2), Counter::of(50))
    );
    assert_eq!(
        (own[1].origin, own[1].counter),
        (origin(5, 3), Counter::of(0))
    );
}

#[test]
fn a_region_that_begins_where_time_ends_goes_on_with_what_began_there() {
    let last = origin(1, MAX_TIME_MS);
    let mut joint = used_by_regions(&[(last, 5_000, 3)]);
    joint.parts.begin(region(1), 5_500, 0);
    assert_eq!(joint.parts.own, Some(last));
    assert_eq!(
        joint.parts.list,
        used_by_regions(&[(last, 5_000, 3)]).parts.list
    );
}

#[test]
fn what_is_over_goes_with_the_next_charge() {
    let limit = per_second(100);
    let mut joint = used_by_regions(&[(origin(1, 1), 5_000, 3), (origin(2, 1), 5_000, 4)]);
    joint.parts.own = Some(origin(1, 1));
    joint.charge(&ask(&limit, 5_999), 1, u64::MAX);
    assert_eq!(joint.parts.list.len(), 2);
    joint.charge(&ask(&limit, 6_000), 2, u64::MAX);
    assert_eq!(
        joint.parts.list,
        used_by_regions(&[(origin(1, 1), 6_000, 2)]).parts.list
    );
}

#[test]
fn a_calendar_window_that_has_begun_ends_when_it_was_said_to() {
    let month = Limit::spanning(100, Span::parse(b"1mo").unwrap()).unwrap();
    let mut joint = JointFixed::unused(&month, 128);
    joint.parts.insert(FixedPart {
        origin: origin(1, 1),
        start_ms: 0,
        end_ms: 9_000,
        counter: Counter::of(7),
    });
    // By this server's time zone database it had ended before.
    let ask = |now_ms| Ask {
        window: Window {
            start_ms: 8_000,
            end_ms: 16_000,
        },
        ..ask(&month, now_ms)
    };
    let seen = |now_ms| (joint.used(&ask(now_ms)), joint.reset(&ask(now_ms)));
    assert_eq!(seen(8_999), (7, 1));
    assert_eq!(seen(9_000), (0, 0));
}

#[test]
fn a_window_is_known_to_last_until_the_next_begins() {
    let joint = used_by_regions(&[(origin(1, 1), 5_000, 3), (origin(2, 1), 6_000, 4)]);
    for (start_ms, end_ms) in [
        (4_000, 5_000),
        (5_000, 6_000),
        (5_999, 6_000),
        (6_000, 6_001),
    ] {
        let window = Window { start_ms, end_ms };
        assert_eq!(joint.known_window(start_ms), window);
    }
}

#[test]
fn another_region_s_window_that_is_used_is_waited_for_by_a_charge() {
    let limit = per_second(100);
    let reset_after = |charged| {
        let joint = used_by_regions(&[(origin(1, 1), 5_000, 3), (origin(2, 1), 6_000, charged)]);
        JointFixed::reset_after(Some(&joint), &ask(&limit, 5_500), 1)
    };
    assert_eq!((reset_after(0), reset_after(4)), (500, 1_500));
}

#[test]
fn a_clock_that_stepped_back_moves_what_is_its_own_and_nobody_else_s() {
    let limit = per_second(100);
    let mut joint = used_by_regions(&[(origin(1, 1), 9_000, 3), (origin(2, 1), 5_000, 4)]);
    joint.parts.own = Some(origin(1, 1));
    joint.rewind(5_500, None);
    let moved = [(origin(1, 5_500), 5_000, 3), (origin(2, 1), 5_000, 4)];
    assert_eq!(joint.parts.list, used_by_regions(&moved).parts.list);
    assert_eq!(joint.view(region(1), &ask(&limit, 5_500)), (7, 3));
}

#[test]
fn a_region_gives_back_its_own_of_this_window() {
    let limit = per_second(100);
    let parts = [
        (origin(1, 1), 4_000, 5),
        (origin(1, 2), 5_000, 3),
        (origin(2, 1), 5_000, 9),
    ];
    let mut joint = used_by_regions(&parts);
    joint.parts.own = Some(origin(1, 2));
    joint.empty_own(&ask(&limit, 5_500));
    let given: Vec<_> = joint
        .parts
        .list
        .iter()
        .map(|part| part.counter.given)
        .collect();
    assert_eq!(given, [0, 3, 0]);
}

#[test]
fn every_change_of_a_log_is_news_also_within_a_millisecond() {
    let limit = per_second(100);
    let (mut here, mut there) = (slid_by_regions(&[]), slid_by_regions(&[]));
    here.parts.begin(region(1), 5_000, 0);
    for nth in 0..3 {
        here.charge(&ask(&limit, 5_000), 1, u64::MAX);
        assert_eq!(here.parts.own().unwrap().stamp, (5_000, nth));
        let copy = here.export(|_| true, 5_000).unwrap();
        assert!(there.merge(&copy, 0, 5_000).news);
        assert_eq!(there.used(&ask(&limit, 5_000)), nth + 1);
    }
}

#[test]
fn a_refund_of_now_is_of_what_is_later_too() {
    let limit = per_second(100);
    let mut joint = slid_by_regions(&[(origin(1, 1), 5_900, 3)]);
    joint.parts.own = Some(origin(1, 1));
    assert_eq!(joint.refundable(&ask(&limit, 5_500), 5_500), 3);
    assert_eq!(joint.refundable(&ask(&limit, 5_500), 5_499), 0);
    let mut joint = used_by_regions(&[(origin(1, 1), 6_000, 3)]);
    joint.parts.own = Some(origin(1, 1));
    assert_eq!(joint.refundable(&ask(&limit, 5_500), 5_500), 3);
    // What is charged now counts there, too, as the clock has stepped back.
    assert_eq!(joint.refundable(&ask(&limit, 5_500), 5_000), 3);
    assert_eq!(joint.refundable(&ask(&limit, 5_500), 4_999), 0);
}

#[test]
fn a_log_of_a_region_has_as_many_entries_as_it_may() {
    let limit = per_second(100);
    let mut joint = JointSliding::unused(&limit, 8);
    let entries = (0..10).map(|charge| {
        joint.charge(&ask(&limit, 5_000 + charge), 1, u64::MAX);
        joint.parts.own().unwrap().log.entries
    });
    assert_eq!(entries.collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7, 8, 8, 8]);
    assert_eq!(joint.used(&ask(&limit, 5_010)), 10);
    assert_eq!(joint.unused_at_ms(), 6_009);
    joint.charge(&ask(&limit, 5_010), -10, u64::MAX);
    assert_eq!(joint.unused_at_ms(), 0, "all is given back");
}

#[test]
fn logs_that_are_over_make_room() {
    let over = (1..MAX_PARTS).map(|number| (origin(number, 1), 4_000, 1));
    let mut joint = slid_by_regions(&over.collect::<Vec<_>>());
    let copy = slid_by_regions(&[(origin(0, 1), 5_000, 7)]);
    assert!(joint.merge(&copy, 0, 5_000).news);
    assert_eq!(joint.parts.list.len(), 1);
    assert_eq!(joint.used(&ask(&per_second(100), 5_000)), 7);
}

#[test]
fn a_log_is_sent_in_pieces_of_a_window() {
    let limit = Limit::window(100, 3_200).unwrap();
    let sent = |times_ms: &[u64], now_ms| -> Vec<(u64, u64)> {
        let mut joint = JointSliding::unused(&limit, 128);
        let mut part = SlidingPart::begin(origin(1, 1));
        for at_ms in times_ms {
            part.log.append(1, *at_ms);
        }
        joint.parts.insert(part);
        let copy = joint.export(|_| true, now_ms).unwrap();
        let entries = copy.parts.list[0].log.entries();
        entries.map(|(at_ms, entry)| (at_ms, entry.cost)).collect()
    };
    // Each of 100 ms, at its latest time.
    let four = [5_000, 5_050, 5_099, 5_100];
    assert_eq!(sent(&four, 5_100), [(5_099, 3), (5_100, 1)]);
    // 31 whole ones and a part of one at either end.
    let mut all = vec![10_099];
    all.extend((0..32).map(|piece| 10_150 + 100 * piece));
    assert_eq!(sent(&all, 13_250).len(), usize::from(SENT));
    // Those of a clock that was ahead may be more.
    all.extend([13_350, 13_450]);
    let sent = sent(&all, 10_100);
    assert_eq!(sent.len(), usize::from(SENT));
    assert_eq!(sent.iter().map(|(_, cost)| cost).sum::<u64>(), 35);
}

/// The level of two copies merged, in tokens.
fn merged(here: &JointBucket, there: &JointBucket, debt_ms: u64) -> u64 {
    let (mut here, limit) = (here.clone(), bucket_of_a_hundred());
    here.merge(there, debt_ms, 5_000);
    here.used(&ask(&limit, 5_000))
}

#[test]
fn a_level_takes_over_what_was_taken_and_given_back_elsewhere() {
    let used = |number, charged, given| {
        let level = charged - given;
        let mut joint = taken_by_regions(&[(origin(number, 1), charged)], level, 5_000);
        joint.parts.list[0].counter.given = given;
        joint
    };
    assert_eq!(merged(&used(1, 30, 0), &used(2, 40, 0), 0), 70);
    // Both have given back: either's bound would be higher if it did not count what the other has.
    let (here, there) = (used(1, 30, 5), used(2, 40, 15));
    assert_eq!(merged(&here, &there, 0), 50);
    assert_eq!(merged(&there, &here, 0), 50);
}

#[test]
fn a_debt_that_merging_makes_is_bounded_and_one_that_was_there_is_not() {
    let at_levels = |here: u64, there: u64, debt_ms| {
        let here = taken_by_regions(&[(origin(1, 1), here)], here, 5_000);
        let there = taken_by_regions(&[(origin(2, 1), there)], there, 5_000);
        merged(&here, &there, debt_ms)
    };
    assert_eq!(at_levels(150, 150, 5_000), 200, "twice the capacity");
    assert_eq!(
        at_levels(250, 250, 20_000),
        300,
        "or what refills in so long"
    );
    assert_eq!(at_levels(250, 450, 20_000), 450);
    assert_eq!(at_levels(0, MAX_COUNT, 20_000), MAX_COUNT);
}

#[test]
fn a_reset_of_nobody_here_leaves_the_level() {
    // What others have taken is not known any more.
    let parts = [(origin(1, 11), 30)];
    let mut joint = taken_by_regions(&parts, 40, 5_000);
    joint.forget(10, 5_000);
    assert_eq!(joint, taken_by_regions(&parts, 40, 5_000));
}
