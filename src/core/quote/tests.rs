//! The clauses by example, each test named after what it shows. The oracles try them in all combinations.

use super::*;
use crate::core::codec;
use crate::core::decision::{Retry, Verdict};
use crate::core::region::origin::Region;
use crate::core::request::{self, Verb};

mod ids;

/// One key, and calls as a client writes them, `FIXED 5 1s COST 2`, at times in milliseconds.
#[derive(Default)]
struct Key {
    state: Option<Limiter>,
    windows: Vec<Window>,
    here: Option<LocalRegion>,
    ids: Option<Bounds>,
}

impl Key {
    fn call(&mut self, now_ms: u64, line: &str) -> Result<Quote, Error> {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let algorithm = Algorithm::parse(words[0]).unwrap();
        let request = request::parse(algorithm, Verb::Charge, &words[1..], 2)?;
        let (clause, options) = (&request.clause, &request.options);
        let rare = HitOptions {
            at_windows: &[],
            windows: &self.windows,
            at_ms: options.at_ms,
            stamp: options.stamp && algorithm == Algorithm::Bucket,
            min: clause.min,
            reserve_ms: clause.reserve_ms,
            block_ms: &clause.block_ms,
            is_shadow: clause.is_shadow,
            tried: None,
            id: match algorithm {
                Algorithm::Lease => clause.id,
                _ => options.id,
            },
            ids: self.ids.unwrap_or(Bounds::DEFAULT),
            drops_unnamed: false,
            here: self.here,
        };
        let asked = Hit {
            force: options.force,
            options: &rare,
            ..Hit::new(algorithm, &clause.limits, clause.cost)
        };
        let quoted = hit(&mut self.state, &asked, now_ms)?;
        // Whatever it has become is read back.
        if let Some(limiter) = &mut self.state {
            let bytes = codec::encode_state(limiter.by_ref());
            assert_eq!(codec::decode_state(&bytes).as_ref(), Some(&*limiter));
        }
        Ok(quoted)
    }

    /// Allowed, remaining, retry after (-1: never), reset after: of the limit that binds.
    fn ask(&mut self, now_ms: u64, line: &str) -> (bool, u64, i64, u64) {
        let quoted = self.call(now_ms, line).unwrap();
        let verdict = quoted.decision.binding().unwrap();
        let retry = match quoted.decision.longest_wait() {
            Retry::After(ms) => ms.cast_signed(),
            Retry::Never => -1,
        };
        (
            quoted.fits,
            verdict.remaining(),
            retry,
            verdict.reset_after_ms,
        )
    }

    fn fits(&mut self, now_ms: u64, line: &str) -> bool {
        self.call(now_ms, line).unwrap().fits
    }

    fn remaining(&mut self, now_ms: u64, line: &str) -> u64 {
        self.ask(now_ms, line).1
    }

    fn release(&mut self, now_ms: u64, ids: &[&[u8]]) -> usize {
        let mut held = self.state.as_mut().unwrap().held();
        held.leases().unwrap().release(ids, now_ms)
    }
}

const S: u64 = 1_000;
const DAY: u64 = 86_400_000;

#[test]
fn a_refund_as_of_its_charge_gives_back_only_what_of_it_is_counted() {
    // A reserves 800 at 0 s, B 900 at 61 s, A settles at 65 s: its charge has left the window.
    let mut key = Key::default();
    assert!(key.fits(S, "SLIDING 1000 60s COST 800"));
    assert!(key.fits(62 * S, "SLIDING 1000 60s COST 900"));
    assert_eq!(
        key.remaining(66 * S, "SLIDING 1000 60s COST -700 AT 1000"),
        100
    );
    // A budget of a day: what was reserved yesterday is not given back today.
    let mut key = Key::default();
    let (before, after) = (DAY - 10 * S, DAY + 10 * S);
    assert!(key.fits(before, "FIXED 1000 1d COST 800"));
    assert!(key.fits(after, "FIXED 1000 1d COST 900"));
    let settles = format!("FIXED 1000 1d COST -700 AT {before}");
    assert_eq!(key.remaining(after, &settles), 100);
    // A bucket that has been full since.
    let mut key = Key::default();
    let bucket = "BUCKET 1000 1000 1m STAMP";
    assert!(key.fits(S, &format!("{bucket} COST 800")));
    assert!(key.fits(62 * S, &format!("{bucket} COST 900")));
    assert_eq!(
        key.remaining(66 * S, &format!("{bucket} COST -700 AT 1000")),
        166
    );
    // And one that has not.
    let mut key = Key::default();
    assert!(key.fits(S, &format!("{bucket} COST 800")));
    assert_eq!(
        key.remaining(4 * S, &format!("{bucket} COST -700 AT 1000")),
        950
    );
    // Another's later charge is not touched.
    let mut key = Key::default();
    for now_ms in [S, 51 * S] {
        assert!(key.fits(now_ms, "SLIDING 2 60s"));
    }
    assert_eq!(key.remaining(52 * S, "SLIDING 2 60s COST -1 AT 1000"), 1);
    assert_eq!(key.remaining(61 * S + 1, "SLIDING 2 60s COST 0"), 1);
}

#[test]
fn a_settlement_of_a_hit_that_was_denied_changes_nothing() {
    for limit in ["FIXED 5 1h", "SLIDING 5 1h", "BUCKET 5 1 1h STAMP"] {
        let mut key = Key::default();
        key.call(100 * S, &format!("{limit} COST 5")).unwrap();
        for settles in [
            "COST -3 AT 0",
            "COST 3 AT 0",
            "COST 9 AT 0 BLOCK 1h",
            "COST 9 AT 0 FORCE",
        ] {
            let quoted = key.call(101 * S, &format!("{limit} {settles}")).unwrap();
            assert_eq!(
                (quoted.fits, quoted.change),
                (true, Change::None),
                "{limit} {settles}"
            );
            assert_eq!(quoted.decision.verdicts()[0].remaining(), 0);
        }
    }
}

#[test]
fn a_denied_charge_of_an_earlier_time_says_when_it_would_count_no_more() {
    let mut key = Key::default();
    assert!(key.fits(100 * S, "SLIDING 5 60s COST 5"));
    // Charged at 70 s it counts until 130 s, and what is in its way until 160 s.
    let settles = "SLIDING 5 60s COST 2 AT 70000";
    assert_eq!(key.ask(110 * S, settles), (false, 0, 20_000, 50_000));
    assert!(!key.fits(130 * S - 1, settles));
    let late = key.call(130 * S, settles).unwrap();
    assert_eq!((late.fits, late.change), (true, Change::None));
    // As much as never fits does so, too.
    assert_eq!(key.ask(110 * S, "SLIDING 5 60s COST 9 AT 70000").2, 20_000);
    assert_eq!(key.ask(110 * S, "SLIDING 5 60s COST 9").2, -1);
}

#[test]
fn a_part_is_taken_of_the_limits_by_which_it_counts() {
    let mut key = Key::default();
    assert!(key.fits(S, "FIXED 100 1m COST 70"));
    let quoted = key.call(2 * S, "FIXED 100 1m COST 50 MIN 1").unwrap();
    assert_eq!((quoted.fits, quoted.taken), (true, 30));
    let quoted = key.call(2 * S, "FIXED 100 1m COST 50 MIN 1").unwrap();
    assert_eq!((quoted.fits, quoted.taken), (false, 0));
    assert_eq!(
        key.ask(2 * S, "FIXED 100 1m COST 50 MIN 1"),
        (false, 0, 58_000, 58_000)
    );
    assert_eq!(key.ask(2 * S, "FIXED 100 1m COST 500 MIN 101").2, -1);
    // By the minute it counts no more, so a minute that is used up is not in its way.
    let mut key = Key::default();
    assert!(key.fits(61 * S, "FIXED 5 1m 10 1h COST 5"));
    let quoted = key
        .call(62 * S, "FIXED 5 1m 10 1h COST 9 MIN 2 AT 1000")
        .unwrap();
    assert_eq!((quoted.fits, quoted.taken), (true, 5));
}

#[test]
fn workers_are_served_one_after_another_with_one_command_each() {
    let mut key = Key::default();
    for turn in 0..20 {
        let (fits, _, wait_ms, _) = key.ask(S, "BUCKET 1 1 100ms RESERVE 5s");
        assert_eq!((fits, wait_ms), (true, 100 * turn));
    }
    // The 21st would wait longer than it wants to, and is told when it would not.
    assert_eq!(
        key.ask(S, "BUCKET 1 1 100ms RESERVE 1s"),
        (false, 0, 1_000, 2_000)
    );
    assert!(!key.fits(2 * S - 1, "BUCKET 1 1 100ms RESERVE 1s"));
    assert_eq!(key.ask(2 * S, "BUCKET 1 1 100ms RESERVE 1s").2, 1_000);
    assert_eq!(key.ask(2 * S, "BUCKET 1 1 100ms COST 2 RESERVE 1s").2, -1);
}

#[test]
fn a_reservation_that_is_denied_is_no_overflow() {
    let mut key = Key::default();
    assert!(!key.fits(
        S,
        "BUCKET 5 9007199254740991 1d COST 9007199254740991 FORCE"
    ));
    let denied = key
        .call(S, "BUCKET 5 9007199254740991 1d RESERVE 1ms")
        .unwrap();
    assert_eq!((denied.fits, denied.change), (false, Change::None));
    let overflow = key.call(S, "BUCKET 5 9007199254740991 1d RESERVE 2d");
    assert_eq!(overflow, Err(Error::Overflow));
}

#[test]
fn what_is_reserved_may_be_as_much_as_there_can_be() {
    let mut key = Key::default();
    assert!(!key.fits(
        S,
        "BUCKET 5 9007199254740991 1d COST 9007199254740990 FORCE"
    ));
    assert!(key.fits(S, "BUCKET 5 9007199254740991 1d RESERVE 2d"));
    let overflow = key.call(S, "BUCKET 5 9007199254740991 1d RESERVE 2d");
    assert_eq!(overflow, Err(Error::Overflow));
}

/// As where a region's name has been taken out of the configuration since.
#[test]
fn a_block_of_what_regions_share_holds_also_for_who_is_none_of_them() {
    let mut key = Key {
        here: Some(LocalRegion {
            region: Region::parse(b"eu").unwrap(),
            term: 0,
            due: 0,
            share: None,
        }),
        ..Key::default()
    };
    assert!(key.fits(S, "FIXED 1 1h BLOCK 10s"));
    assert!(!key.fits(S, "FIXED 1 1h BLOCK 10s"));
    key.here = None;
    assert_eq!(key.ask(2 * S, "FIXED 1 1h").2, 9_000);
    assert!(key.fits(11 * S, "FIXED 1 1h"));
}

#[test]
fn a_block_lasts_to_the_millisecond_and_grows_and_is_forgotten() {
    let line = "SLIDING 2 15m BLOCK 1h 1d";
    let mut key = Key::default();
    let hour = 3_600 * S;
    let try_out = |key: &mut Key, now_ms: u64| {
        assert!(key.fits(now_ms, line) && key.fits(now_ms, line));
        key.ask(now_ms, line)
    };
    assert_eq!(try_out(&mut key, S), (false, 0, 3_600_000, 0));
    // Nothing is counted in it, for nobody, and nothing is changed.
    for plain in ["SLIDING 2 15m", "SLIDING 2 15m COST 0", "SLIDING 100 1m"] {
        let denied = key.call(S + hour - 1, plain).unwrap();
        assert_eq!(
            (denied.fits, denied.change),
            (false, Change::None),
            "{plain}"
        );
        assert_eq!(denied.decision.longest_wait(), Retry::After(1));
    }
    // The limits start anew after it. The second is longer, and so is the third.
    let second = S + hour;
    assert_eq!(try_out(&mut key, second).2, 86_400_000);
    let third = second + DAY + DAY - 1;
    assert_eq!(try_out(&mut key, third).2, 86_400_000);
    let block = key.state.as_mut().unwrap().held().block(third).unwrap();
    assert_eq!((block.strikes.get(), block.until_ms), (3, third + DAY));
    // Out of it for as long as it lasted: forgotten.
    let fourth = third + DAY + DAY;
    assert_eq!(try_out(&mut key, fourth).2, 3_600_000);
}

#[test]
fn only_a_hit_that_could_have_fitted_starts_a_block() {
    let mut key = Key::default();
    assert_eq!(key.ask(S, "FIXED 5 1m COST 6 BLOCK 1h").2, -1);
    assert!(key.fits(S, "FIXED 5 1m COST 5 BLOCK 1h"));
    // Nor does one that is forced.
    assert!(!key.fits(S, "FIXED 5 1m FORCE BLOCK 1h"));
    assert!(key.state.as_mut().unwrap().held().block(S).is_none());
    assert_eq!(key.ask(S, "FIXED 5 1m BLOCK 1h").2, 3_600_000);
    // Within a block a forced hit charges, and a refund gives back.
    let forced = key.call(2 * S, "FIXED 5 1m COST 3 FORCE").unwrap();
    assert_eq!((forced.fits, forced.change), (false, Change::Charge(3)));
    let refund = key.call(2 * S, "FIXED 5 1m COST -1").unwrap();
    assert_eq!((refund.fits, refund.change), (true, Change::Charge(-1)));
    let used = key.state.as_mut().unwrap().held().reading(2 * S)[0].used;
    assert_eq!(used, 2);
}

#[test]
fn a_block_empties_the_limits_that_denied_and_no_other() {
    let mut key = Key::default();
    assert!(key.fits(S, "FIXED 2 1m 100 1h COST 2"));
    assert!(!key.fits(S, "FIXED 2 1m 100 1h COST 1 BLOCK 5s"));
    let quoted = key.call(6 * S, "FIXED 2 1m 100 1h COST 0").unwrap();
    let remaining: Vec<u64> = quoted
        .decision
        .verdicts()
        .iter()
        .map(Verdict::remaining)
        .collect();
    assert_eq!(remaining, [2, 98]);
}

#[test]
fn a_calendar_window_that_a_block_has_emptied_is_read_back() {
    let mut key = Key {
        windows: vec![Window {
            start_ms: 0,
            end_ms: 31 * DAY,
        }],
        ..Key::default()
    };
    assert!(key.fits(S, "FIXED 2 1mo COST 2"));
    assert_eq!(key.ask(S, "FIXED 2 1mo BLOCK 1h"), (false, 0, 3_600_000, 0));
    assert_eq!(key.remaining(S + 3_600 * S, "FIXED 2 1mo"), 1);
}

#[test]
fn a_bucket_is_settled_also_where_the_clock_has_stepped_back() {
    let mut key = Key::default();
    assert!(key.fits(100 * S, "BUCKET 10 1 1h STAMP COST 4"));
    // Charged after the step, and settled a second later.
    assert!(key.fits(50 * S, "BUCKET 10 1 1h STAMP COST 4"));
    assert_eq!(key.remaining(51 * S, "BUCKET 10 1 1h COST -3 AT 50000"), 5);
}

#[test]
fn a_bucket_that_was_given_back_in_full_is_dropped_wherever_the_clock_is() {
    let mut key = Key::default();
    assert!(key.fits(100 * S, "BUCKET 10 1 1h COST 4"));
    assert!(key.fits(100 * S, "BUCKET 10 1 1h COST -4"));
    assert!(key.fits(50 * S, "BUCKET 10 1 2h"));
    assert_eq!(key.state.as_mut().unwrap().held().reading(50 * S).len(), 1);
}

#[test]
fn a_window_that_a_call_does_not_name_keeps_what_it_has_counted() {
    let mut key = Key::default();
    for _ in 0..5 {
        assert!(key.fits(S, "SLIDING 5 1h"));
        assert!(key.fits(S, "SLIDING 5 2h"));
    }
    assert!(!key.fits(S, "SLIDING 5 1h") && !key.fits(S, "SLIDING 5 2h"));
    // Until none of it is used any more; then it is gone with the next charge.
    assert_eq!(key.state.as_mut().unwrap().held().reading(S).len(), 2);
    assert!(key.fits(2 * 3_600 * S, "SLIDING 9 1h COST 1"));
    assert!(key.fits(3 * 3_600 * S + S, "SLIDING 9 1h COST 1"));
    assert_eq!(
        key.state
            .as_mut()
            .unwrap()
            .held()
            .reading(3 * 3_600 * S)
            .len(),
        1
    );
}

#[test]
fn a_key_has_sixteen_windows_in_use_and_no_more() {
    let mut key = Key::default();
    for hours in 1..=16 {
        assert!(key.fits(S, &format!("FIXED 5 {hours}h")));
    }
    let before = key.state.clone();
    assert_eq!(key.call(S, "FIXED 5 17h"), Err(Error::TooManyWindows));
    assert_eq!(key.state, before);
    assert!(key.fits(S, "FIXED 5 16h"), "those that are there go on");
    assert!(key.fits(3_600 * S, "FIXED 5 17h"), "and one has drained");
}

#[test]
fn a_fixed_window_admits_no_more_than_twice_its_limit_over_a_clock_that_steps() {
    let mut key = Key::default();
    let mut admitted = 0;
    for _ in 0..10 {
        for now_ms in [60 * S - 1, 60 * S] {
            for _ in 0..10 {
                admitted += u32::from(key.fits(now_ms, "FIXED 5 1m"));
            }
        }
    }
    assert_eq!(admitted, 10, "five of each of two windows");
}

#[test]
fn a_lease_ends_at_its_ttl_to_the_millisecond() {
    let mut key = Key::default();
    assert!(key.fits(S, "LEASE 2 10s a") && key.fits(3 * S, "LEASE 2 10s b"));
    assert_eq!(key.ask(4 * S, "LEASE 2 10s c"), (false, 0, 7_000, 9_000));
    assert!(!key.fits(11 * S - 1, "LEASE 2 10s c"));
    assert!(key.fits(11 * S, "LEASE 2 10s c"));
    // A late release of what has ended frees nobody else's.
    assert_eq!(key.release(11 * S, &[b"a"]), 0);
    assert!(!key.fits(11 * S, "LEASE 2 10s d"));
    assert_eq!(key.release(11 * S, &[b"b", b"c", b"c", b"x"]), 2);
}

#[test]
fn a_renewal_of_no_more_is_always_allowed_and_a_denied_one_leaves_the_lease() {
    let mut key = Key::default();
    assert!(key.fits(S, "LEASE 10 10s a COST 6") && key.fits(S, "LEASE 10 10s b COST 4"));
    assert!(
        key.fits(2 * S, "LEASE 3 10s a COST 6"),
        "above a limit that was lowered"
    );
    assert!(!key.fits(3 * S, "LEASE 10 20s a COST 7"));
    let mut held = key.state.as_mut().unwrap().held();
    let leases = held.leases().unwrap();
    let lease = leases.sorted()[1];
    assert_eq!(
        (&*lease.id, lease.cost.get(), lease.ends_ms),
        (b"a".as_slice(), 6, 12 * S)
    );
    assert!(
        key.fits(3 * S, "LEASE 10 1s a COST 1"),
        "and it is set anew"
    );
    assert_eq!(key.ask(3 * S, "LEASE 10 1s c COST 0"), (true, 5, 0, 8_000));
}

#[test]
fn a_key_has_4096_leases_and_no_more() {
    let mut key = Key::default();
    let mut hit_id = |now_ms: u64, id: u64, cost: i64| {
        let limits = [Limit::window(100_000, 10 * S).unwrap()];
        let id = id.to_be_bytes();
        let rare = HitOptions {
            id: &id,
            ..HitOptions::NONE
        };
        let asked = Hit {
            options: &rare,
            ..Hit::new(Algorithm::Lease, &limits, cost)
        };
        hit(&mut key.state, &asked, now_ms).map(|quoted| quoted.fits)
    };
    for id in 0..4_096 {
        assert_eq!(hit_id(S + id, id, 1), Ok(true));
    }
    assert_eq!(hit_id(6 * S, 4_096, 1), Err(Error::TooManyLeases));
    assert_eq!(hit_id(6 * S, 4_096, 0), Ok(true), "to ask is none more");
    assert_eq!(hit_id(6 * S, 77, 1), Ok(true), "nor is a renewal");
    assert_eq!(hit_id(11 * S, 4_096, 1), Ok(true), "and one has ended");
}

#[test]
fn nothing_has_more_left_than_it_was_given_after_a_clock_step() {
    let mut key = Key::default();
    assert!(key.fits(100 * S, "LEASE 1 10s a"));
    assert_eq!(key.ask(50 * S, "LEASE 1 10s b"), (false, 0, 10_000, 10_000));
    assert!(key.fits(60 * S, "LEASE 1 10s b"));
    let mut key = Key::default();
    assert!(key.fits(100 * S, "FIXED 1 1h BLOCK 10s"));
    assert!(!key.fits(100 * S, "FIXED 1 1h BLOCK 10s"));
    assert_eq!(key.ask(50 * S, "FIXED 1 1h").2, 10_000);
    assert!(key.fits(60 * S, "FIXED 1 1h"));
}

#[test]
fn a_charge_that_counts_no_more_takes_nothing() {
    let mut key = Key::default();
    assert!(key.fits(61 * S, "FIXED 100 1m COST 5"));
    let quoted = key
        .call(62 * S, "FIXED 100 1m COST 50 MIN 1 AT 1000")
        .unwrap();
    assert_eq!(
        (quoted.fits, quoted.taken, quoted.change),
        (true, 0, Change::None)
    );
}

#[test]
fn a_charge_of_a_window_to_come_is_let_through_once_that_is_over() {
    const H: u64 = 3_600 * S;
    let mut key = Key::default();
    let later = "FIXED 5 1h COST 9 AT 50401000"; // 14:00:01
    assert_eq!(key.ask(12 * H + S, later).2, (3 * H - S).cast_signed());
    assert!(!key.fits(15 * H - 1, later));
    assert!(key.fits(15 * H, later));
}

#[test]
fn a_hit_moves_every_window_that_lies_ahead_of_the_clock() {
    // Others' windows, by another hit, let through or denied: a day, two days of a bucket, a week of the calendar's.
    const NOW: u64 = 100 * DAY;
    for (algorithm, limits) in [
        ("FIXED", ["5 1d", "5 1h"]),
        ("SLIDING", ["5 1d", "5 1h"]),
        ("BUCKET", ["5 5 1d", "5 5 1h"]),
    ] {
        for cost in ["COST 1", "COST 9"] {
            let mut key = Key::default();
            let [theirs, own] = limits;
            assert!(key.fits(NOW, &format!("{algorithm} {theirs} COST 5")));
            key.fits(NOW - 50 * DAY, &format!("{algorithm} {own} {cost}"));
            let over = NOW - 48 * DAY;
            assert!(
                key.fits(over, &format!("{algorithm} {theirs} COST 5")),
                "{algorithm} {cost}"
            );
        }
    }
    for cost in ["COST 1", "COST 9"] {
        let week = Window {
            start_ms: NOW,
            end_ms: NOW + 7 * DAY,
        };
        let mut key = Key::default();
        key.windows.push(week);
        assert!(key.fits(NOW, "FIXED 5 1w COST 5"));
        key.windows.clear();
        key.fits(NOW - 50 * DAY, &format!("FIXED 5 1h {cost}"));
        let reset_ms = |key: &mut Key, now_ms| {
            let readings = key.state.as_mut().unwrap().held().reading(now_ms);
            let week = readings.iter().find(|one| one.limit.window_ms() == 0);
            week.map(|week| (week.used, week.reset_after_ms))
        };
        assert_eq!(
            reset_ms(&mut key, NOW - 50 * DAY),
            Some((5, 7 * DAY)),
            "{cost}"
        );
        assert_eq!(reset_ms(&mut key, NOW - 43 * DAY), Some((0, 0)), "{cost}");
    }
}

#[test]
fn a_window_of_which_nothing_is_used_does_not_stay_ahead() {
    const H: u64 = 3_600 * S;
    let mut key = Key::default();
    assert!(key.fits(13 * H + 300 * S, "FIXED 5 1h COST 3"));
    assert!(key.fits(13 * H + 300 * S, "FIXED 5 1h COST -3"));
    // Five minutes before the window ended, after a step back.
    let (.., reset_ms) = key.ask(13 * H - 300 * S, "FIXED 5 1h");
    assert_eq!(reset_ms, 300 * S);
}

#[test]
fn what_is_charged_while_a_window_stays_ahead_is_given_back_as_of_its_time() {
    const H: u64 = 3_600 * S;
    let mut key = Key::default();
    assert!(key.fits(13 * H, "FIXED 9 1h COST 3"));
    let stamp = 13 * H - 600 * S;
    assert_eq!(key.remaining(stamp, "FIXED 9 1h COST 4"), 2);
    let settles = format!("FIXED 9 1h COST -4 AT {stamp}");
    assert_eq!(key.remaining(stamp + 1, &settles), 6);
}
