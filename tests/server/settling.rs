//! What is reserved and settled later, by the time of its charge: `AT`, `STAMP`; what is taken in part: `MIN`; and what is
//! taken in turn: `RESERVE`. On a real server whose clock is the test's.

use std::thread;

use crate::support::resp::Connection;
use crate::support::{aof, pair, Clock, Reply, Server};

/// A midnight.
const START_MS: u64 = 1_700_006_400_000;
/// `START_MS`, as replies say it.
const STAMP: i64 = 1_700_006_400_000;

/// What is left after a call, which must be allowed.
#[track_caller]
fn left(server: &Server, line: &str) -> i64 {
    let reply = server.call(line);
    assert_eq!(reply.array()[0], Reply::Int(1), "{line}: {reply:?}");
    reply.array()[2].int()
}

/// The wait of a call that is denied.
#[track_caller]
fn wait(server: &Server, line: &str) -> i64 {
    let reply = server.call(line);
    assert_eq!(reply.array()[0], Reply::Int(0), "{line}: {reply:?}");
    reply.array()[3].int()
}

/// The last element.
#[track_caller]
fn last(server: &Server, line: &str) -> i64 {
    let reply = server.call(line);
    reply.array().last().unwrap().int()
}

/// What the AOF and a dump make of the keys.
fn assert_kept(server: &Server) {
    let digest = server.digest();
    server.ok("DEBUG RELOAD");
    assert_eq!(server.digest(), digest, "reloaded");
    aof::await_writes(server);
    server.ok("DEBUG LOADAOF");
    assert_eq!(server.digest(), digest, "replayed");
}

#[test]
fn a_settlement_gives_back_only_what_is_still_counted_of_its_charge() {
    let Some((clock, server)) = Clock::started(START_MS) else {
        return;
    };
    for (limiter, expected) in [
        ("RL.SLIDING k 1000 60s", 100),
        ("RL.FIXED k 1000 60s", 100),
        ("RL.BUCKET k 1000 1000 1m", 166),
    ] {
        clock.set(START_MS);
        assert_eq!(last(&server, &format!("{limiter} COST 800 STAMP")), STAMP);
        clock.set(START_MS + 61_000);
        assert_eq!(left(&server, &format!("{limiter} COST 900")), 100);
        clock.set(START_MS + 65_000);
        let settled = left(&server, &format!("{limiter} COST -700 AT {STAMP}"));
        assert_eq!(settled, expected, "{limiter}");
        assert_kept(&server);
        server.call("DEL k");
    }
    // A day's budget, reserved ten seconds before midnight.
    clock.set(START_MS - 10_000);
    let stamp = last(&server, "RL.FIXED day 1000 1d COST 800 STAMP");
    assert_eq!(stamp, STAMP - 10_000);
    clock.set(START_MS + 5_000);
    assert_eq!(left(&server, "RL.FIXED day 1000 1d COST 900"), 100);
    clock.set(START_MS + 10_000);
    let settled = left(
        &server,
        &format!("RL.FIXED day 1000 1d COST -700 AT {stamp}"),
    );
    assert_eq!(settled, 100);
}

#[test]
fn what_one_gives_back_leaves_the_others_charge_where_it_is() {
    let Some((clock, server)) = Clock::started(START_MS) else {
        return;
    };
    let limiter = "RL.SLIDING k 2 60s";
    assert_eq!(last(&server, &format!("{limiter} STAMP")), STAMP);
    clock.set(START_MS + 50_000);
    assert_eq!(left(&server, limiter), 0);
    clock.set(START_MS + 51_000);
    assert_eq!(left(&server, &format!("{limiter} COST -1 AT {STAMP}")), 1);
    assert_kept(&server);
    clock.set(START_MS + 60_001);
    assert_eq!(left(&server, limiter), 0);
    assert_eq!(wait(&server, limiter), 49_999, "B leaves at 110 s");
}

#[test]
fn within_its_time_a_settlement_gives_back_the_difference() {
    let Some((clock, server)) = Clock::started(START_MS) else {
        return;
    };
    for limiter in [
        "RL.SLIDING k 1000 1h",
        "RL.FIXED k 1000 1h",
        "RL.BUCKET k 1000 1 1h",
    ] {
        clock.set(START_MS);
        assert_eq!(last(&server, &format!("{limiter} COST 800 STAMP")), STAMP);
        clock.step(2_000);
        assert_eq!(left(&server, &format!("{limiter} COST 100")), 100);
        let line = format!("{limiter} COST -700 AT {STAMP} STAMP");
        let settled = server.call(&line).ints();
        assert_eq!((settled[2], settled[5]), (800, STAMP), "{line}");
        // It used more than it reserved.
        let more = server
            .call(&format!("{limiter} COST 50 AT {STAMP} STAMP"))
            .ints();
        assert_eq!((more[0], more[2], more[5]), (1, 750, STAMP), "{line}");
        // More than fits is judged as any cost is; FORCE charges it all the same.
        let over = server
            .call(&format!("{limiter} COST 800 AT {STAMP}"))
            .ints();
        assert_eq!((over[0], over[2]), (0, 750), "{over:?}");
        let forced = server
            .call(&format!("{limiter} COST 800 AT {STAMP} FORCE"))
            .ints();
        assert_eq!((forced[0], forced[2]), (0, 0), "{forced:?}");
        assert_kept(&server);
        server.call("DEL k");
    }
}

#[test]
fn settling_what_was_denied_changes_nothing() {
    let Some((clock, server)) = Clock::started(START_MS) else {
        return;
    };
    for limiter in [
        "RL.SLIDING k 10 1h",
        "RL.FIXED k 10 1h",
        "RL.BUCKET k 10 1 1h",
    ] {
        assert_eq!(left(&server, &format!("{limiter} COST 8")), 2);
        let denied = server.call(&format!("{limiter} COST 5 STAMP")).ints();
        assert_eq!((denied[0], denied[5]), (0, 0), "{denied:?}");
        let (state, writes) = (server.digest(), aof::commands(&server).len());
        for cost in ["-5", "-1", "5", "2"] {
            let line = format!("{limiter} COST {cost} AT 0 STAMP");
            let settled = server.call(&line).ints();
            assert_eq!((settled[2], settled[5]), (2, 0), "{line}");
        }
        assert_eq!(server.digest(), state, "{limiter}");
        assert_eq!(aof::commands(&server).len(), writes, "nothing is written");
        clock.step(1);
        server.call("DEL k");
    }
    // Of a key that is not there, nothing can be given back, and none comes to be.
    assert_eq!(
        left(&server, &format!("RL.FIXED none 10 1h COST -5 AT {STAMP}")),
        10
    );
    assert_eq!(server.call("EXISTS none").int(), 0);
}

#[test]
fn a_time_that_is_yet_to_come_counts_as_now() {
    let Some((clock, server)) = Clock::started(START_MS) else {
        return;
    };
    let later = STAMP + 3_600_000;
    for limiter in ["RL.SLIDING k 10 1m", "RL.FIXED k 10 1m"] {
        clock.set(START_MS);
        let charged = server
            .call(&format!("{limiter} COST 10 AT {later} STAMP"))
            .ints();
        let now = i64::try_from(START_MS).unwrap();
        assert_eq!(charged, [1, 10, 0, 0, 60_000, now], "when it was charged");
        clock.set(START_MS + 60_000);
        assert_eq!(left(&server, limiter), 9, "the window is over");
        server.call("DEL k");
    }
    clock.set(START_MS);
    assert_eq!(
        left(&server, &format!("RL.BUCKET b 10 10 1m COST 10 AT {later}")),
        0
    );
    assert_eq!(
        left(&server, &format!("RL.BUCKET b 10 10 1m COST -4 AT {later}")),
        4
    );
    for at in ["-1", "x", "1.5", "9007199254740992", "+1", ""] {
        let error = server.call(&format!("RL.FIXED e 10 1m AT \"{at}\""));
        assert!(
            error.error().contains("argument 5 (unix-ms)"),
            "{at}: {error:?}"
        );
    }
    assert_eq!(server.call("EXISTS e").int(), 0);
}

#[test]
fn a_settlement_goes_limit_by_limit() {
    let Some((clock, server)) = Clock::started(START_MS) else {
        return;
    };
    // 50 of the old minute and of the hour, both still counted by the hour alone.
    for limiter in ["RL.FIXED k 100 1m 100 1h", "RL.SLIDING k 100 1m 100 1h"] {
        clock.set(START_MS + 59_000);
        let stamp = last(&server, &format!("{limiter} COST 50 STAMP"));
        clock.set(START_MS + 119_500);
        left(&server, &format!("{limiter} COST 30"));
        let line = format!("{limiter} COST -40 AT {stamp}");
        let settled = server.call(&line);
        let each: Vec<i64> = settled.array()[5]
            .array()
            .iter()
            .map(|each| each.ints()[2])
            .collect();
        assert_eq!(each, [70, 60], "{line}");
        assert_kept(&server);
        // A cost that came late: the minute counts it no more, the hour does.
        let line = format!("{limiter} COST 20 AT {stamp}");
        let late = server.call(&line);
        let each: Vec<i64> = late.array()[5]
            .array()
            .iter()
            .map(|each| each.ints()[2])
            .collect();
        assert_eq!(each, [70, 40], "{line}");
        assert_kept(&server);
        server.call("DEL k");
    }
}

#[test]
fn a_cost_that_counts_no_more_is_allowed_and_not_charged() {
    let Some((clock, server)) = Clock::started(START_MS) else {
        return;
    };
    for limiter in ["RL.FIXED k 10 1m", "RL.SLIDING k 10 1m"] {
        clock.set(START_MS + 120_000);
        assert_eq!(left(&server, &format!("{limiter} COST 10")), 0);
        let state = server.digest();
        assert_eq!(left(&server, &format!("{limiter} COST 10 AT {STAMP}")), 0);
        assert_eq!(server.digest(), state);
        server.call("DEL k");
        assert_eq!(left(&server, &format!("{limiter} COST 10 AT {STAMP}")), 10);
        assert_eq!(server.call("EXISTS k").int(), 0, "{limiter}");
    }
    // A sliding window counts it from then on, not from now on.
    clock.set(START_MS + 40_000);
    left(&server, &format!("RL.SLIDING s 10 1m COST 10 AT {STAMP}"));
    assert_eq!(wait(&server, "RL.SLIDING s 10 1m"), 20_000);
    clock.set(START_MS + 60_000);
    assert_eq!(left(&server, "RL.SLIDING s 10 1m"), 9);
}

#[test]
fn a_bucket_gives_back_nothing_of_before_its_first_stamp() {
    let Some((clock, server)) = Clock::started(START_MS) else {
        return;
    };
    let limiter = "RL.BUCKET k 10 1 1h";
    assert_eq!(left(&server, &format!("{limiter} COST 5")), 5);
    clock.step(1_000);
    let unstamped = format!("{limiter} COST -5 AT {STAMP}");
    assert_eq!(left(&server, &unstamped), 5, "nobody noted since when");
    assert_eq!(last(&server, &format!("{limiter} STAMP")), STAMP + 1_000);
    assert_eq!(left(&server, &unstamped), 4);
    let stamped = format!("{limiter} COST -5 AT {}", STAMP + 1_000);
    assert_eq!(left(&server, &stamped), 9);
    assert_kept(&server);
}

#[test]
fn as_much_is_taken_as_fits_and_the_least_at_least() {
    let Some((clock, server)) = Clock::started(START_MS) else {
        return;
    };
    for limiter in [
        "RL.SLIDING k 100 1m",
        "RL.FIXED k 100 1m",
        "RL.BUCKET k 100 100 1m",
    ] {
        clock.set(START_MS);
        left(&server, &format!("{limiter} COST 70"));
        let part = format!("{limiter} COST 50 MIN 1");
        let peek = format!("RL.PEEK {}", part.strip_prefix("RL.").unwrap());
        let asked = server.call(&peek).ints();
        let taken = server.call(&part).ints();
        assert_eq!(asked, taken, "{peek}");
        assert_eq!(
            (taken[0], taken[2], taken[3], taken[5]),
            (1, 0, 0, 30),
            "{part}"
        );
        let denied = server.call(&format!("{part} STAMP")).ints();
        assert_eq!((denied[0], denied[5], denied[6]), (0, 0, 0), "{denied:?}");
        // Until the least fits, not all of it; and to the millisecond.
        let least = format!("{limiter} COST 50 MIN 20");
        let ms = u64::try_from(wait(&server, &least)).unwrap();
        assert_eq!(
            ms,
            if limiter.contains("BUCKET") {
                12_000
            } else {
                60_000
            }
        );
        clock.set(START_MS + ms - 1);
        assert_eq!(wait(&server, &least), 1);
        clock.set(START_MS + ms);
        let expected = if limiter.contains("BUCKET") { 20 } else { 50 };
        let taken = server.call(&format!("{least} STAMP")).ints();
        assert_eq!((taken[0], taken[5]), (1, expected), "{taken:?}");
        assert_eq!(taken[6], STAMP + i64::try_from(ms).unwrap());
        assert_kept(&server);
        server.call("DEL k");
    }
    // All limits give the same, as much as the tightest has.
    let taken = server.call("RL.FIXED m 5 1m 3 1h COST 9 MIN 2");
    assert_eq!(taken.array()[6], Reply::Int(3), "{taken:?}");
    let each: Vec<i64> = taken.array()[5]
        .array()
        .iter()
        .map(|each| each.ints()[2])
        .collect();
    assert_eq!(each, [2, 0]);
    // A cost that came out as nothing is no error.
    for cost in ["0", "-2"] {
        let nothing = server
            .call(&format!("RL.FIXED n 5 1m COST {cost} MIN 3"))
            .ints();
        assert_eq!((nothing[0], nothing[5]), (1, 0), "{nothing:?}");
    }
    for (options, says) in [
        (
            "COST 5 MIN 6",
            "argument 7 (min) must be an integer from 1 to the cost",
        ),
        (
            "MIN 2",
            "argument 5 (min) must be an integer from 1 to the cost",
        ),
        ("COST 5 MIN 0", "argument 7 (min)"),
        ("COST 5 MIN -1", "argument 7 (min)"),
        ("COST 5 MIN x", "argument 7 (min)"),
        ("COST 5 MIN", "argument 7 is missing"),
        ("COST 5 MIN 1 MIN 1", "repeats MIN"),
        ("COST 5 MIN 1 FORCE", "MIN does not go with FORCE"),
    ] {
        let error = server.call(&format!("RL.FIXED n 5 1m {options}"));
        assert!(error.error().contains(says), "{options}: {error:?}");
    }
    assert_eq!(server.call("EXISTS n").int(), 0);
}

#[test]
fn twenty_workers_that_ask_at_once_are_served_in_turn() {
    let Some((clock, server)) = Clock::started(START_MS) else {
        return;
    };
    let port = server.port();
    let line = "RL.BUCKET q 1 1 100ms RESERVE 5s";
    let workers: Vec<_> = (0..20)
        .map(|_| {
            thread::spawn(move || {
                let mut connection = Connection::open(port).unwrap();
                connection.call(line).unwrap().ints()
            })
        })
        .collect();
    let mut waits: Vec<i64> = workers
        .into_iter()
        .map(|worker| {
            let five = worker.join().unwrap();
            assert_eq!((five[0], five[1], five[2]), (1, 1, 0), "{five:?}");
            five[3]
        })
        .collect();
    waits.sort_unstable();
    assert_eq!(waits, (0..20).map(|turn| turn * 100).collect::<Vec<_>>());
    assert_eq!(server.call("EXISTS q").int(), 1);
    assert_eq!(aof::commands(&server).len(), 20, "one command each");
    assert_kept(&server);
    // One at a time, in the order in which they ask.
    for turn in 20..30 {
        assert_eq!(server.call(line).ints()[3], turn * 100);
    }
    // Half a token later the next one waits half as long less.
    clock.step(50);
    assert_eq!(server.call(line).ints()[3], 2_950);
}

#[test]
fn who_would_wait_too_long_is_told_when_to_ask_again() {
    let Some((clock, server)) = Clock::started(START_MS) else {
        return;
    };
    let line = "RL.BUCKET q 1 1 100ms RESERVE 1s";
    for turn in 0..=10 {
        assert_eq!(server.call(line).ints()[..1], [1], "{turn}");
    }
    let state = server.digest();
    let denied = server.call(line).ints();
    assert_eq!((denied[0], denied[3]), (0, 100), "{denied:?}");
    assert_eq!(server.digest(), state, "nothing is charged");
    clock.step(99);
    assert_eq!(wait(&server, line), 1);
    clock.step(1);
    let served = server.call(line).ints();
    assert_eq!((served[0], served[3]), (1, 1_000), "{served:?}");
    // What can never be served is not reserved.
    let never = server
        .call("RL.BUCKET q 1 1 100ms COST 2 RESERVE 100d")
        .ints();
    assert_eq!((never[0], never[3]), (0, -1), "{never:?}");
    // Several limits: the longest turn, and both are charged.
    let both = "RL.BUCKET b 2 1 100ms 1 1 1s RESERVE 1m";
    let turns: Vec<i64> = (0..4).map(|_| server.call(both).array()[3].int()).collect();
    assert_eq!(turns, [0, 1_000, 2_000, 3_000]);
    assert_kept(&server);
    // Nothing to take, nothing to wait for.
    let nothing = server
        .call("RL.BUCKET q 1 1 100ms COST 0 RESERVE 1s")
        .ints();
    assert_eq!(nothing[0], 0, "in debt: {nothing:?}");
    assert_eq!(
        server
            .call("RL.BUCKET new 1 1 1s COST -1 RESERVE 1s")
            .ints()[3],
        0
    );
}

#[test]
fn a_reservation_stands_alone() {
    let Some((_clock, server)) = Clock::started(START_MS) else {
        return;
    };
    for (line, says) in [
        (
            "RL.BUCKET k 5 1 1s RESERVE 1s FORCE",
            "RESERVE does not go with FORCE",
        ),
        (
            "RL.BUCKET k 5 1 1s AT 5 RESERVE 1s",
            "RESERVE does not go with AT",
        ),
        (
            "RL.BUCKET k 5 1 1s RESERVE 1s MIN 1",
            "RESERVE does not go with MIN",
        ),
        (
            "RL.BUCKET k 5 1 1s BLOCK 1s RESERVE 1s",
            "RESERVE does not go with BLOCK",
        ),
        ("RL.FIXED k 5 1s RESERVE 1s", "RESERVE does not go with"),
        ("RL.SLIDING k 5 1s RESERVE 1s", "RESERVE does not go with"),
        ("RL.LEASE k 5 1s id RESERVE 1s", "RESERVE does not go with"),
        (
            "RL.PEEK BUCKET k 5 1 1s RESERVE 1s",
            "RESERVE does not go with",
        ),
        (
            "RL.ALL 1 k BUCKET 5 1 1s RESERVE 1s",
            "RESERVE does not go with",
        ),
        (
            "RL.BUCKET k 5 1 1s RESERVE 60",
            "argument 6 (max-wait) needs a unit",
        ),
        (
            "RL.BUCKET k 5 1 1s RESERVE 0s",
            "argument 6 (max-wait) must be",
        ),
        ("RL.BUCKET k 5 1 1s RESERVE", "argument 6 is missing"),
        ("RL.PEEK FIXED k 5 1s AT 5", "AT does not go with"),
        ("RL.PEEK FIXED k 5 1s STAMP", "STAMP does not go with"),
        ("RL.PEEK FIXED k 5 1s FORCE", "FORCE does not go with"),
        ("RL.LEASE k 5 1s id AT 5", "AT does not go with a lease"),
        ("RL.LEASE k 5 1s id STAMP", "STAMP does not go with a lease"),
        ("RL.FIXED k 5 1s STAMP STAMP", "repeats STAMP"),
        ("RL.FIXED k 5 1s AT 1 AT 1", "repeats AT"),
    ] {
        let error = server.call(line);
        assert!(
            error.error().starts_with("ERR argument "),
            "{line}: {error:?}"
        );
        assert!(error.error().contains(says), "{line}: {error:?}");
    }
    assert_eq!(server.call("EXISTS k").int(), 0);
}

#[test]
fn a_replica_settles_as_its_primary_did() {
    let clock = Clock::at(START_MS);
    if clock.server(&[]).is_none() {
        return;
    }
    // Its own clock is a day off, and it does not ask it.
    let other = Clock::at(START_MS - 86_400_000);
    let primary = clock.server(&pair::PRIMARY).unwrap();
    let replica = pair::replica_of(&primary, |lines| other.server(lines).unwrap());
    for second in 0..200_u64 {
        clock.set(START_MS + second * 700);
        let (key, cost) = (second % 5, 1 + second % 7);
        let stamp = (START_MS + second.saturating_sub(9) * 700).to_string();
        for line in [
            format!("RL.SLIDING s:{key} 40 1m COST {cost} STAMP"),
            format!("RL.SLIDING s:{key} 40 1m COST -2 AT {stamp}"),
            format!("RL.FIXED f:{key} 40 1m 90 1h COST {cost} AT {stamp}"),
            format!("RL.FIXED f:{key} 40 1m 90 1h COST -{cost} AT {stamp}"),
            format!("RL.BUCKET b:{key} 40 20 1m COST {cost} STAMP"),
            format!("RL.BUCKET b:{key} 40 20 1m COST -1 AT {stamp}"),
            format!("RL.BUCKET r:{key} 4 1 1s COST 2 RESERVE 5s"),
            format!("RL.SLIDING m:{key} 9 20s COST 5 MIN 1"),
        ] {
            let reply = primary.call(&line);
            assert!(!reply.is_error(), "{line}: {reply:?}");
        }
    }
    pair::assert_equal(&primary, &replica);
}

#[test]
fn a_hit_that_was_not_charged_has_no_stamp() {
    let Some((_clock, server)) = Clock::started(START_MS) else {
        return;
    };
    assert_eq!(left(&server, "RL.FIXED r 1000 1d COST 900"), 100);
    let at = format!("AT {STAMP}");
    assert_eq!(
        last(&server, &format!("RL.FIXED r 1000 1d COST 500 {at} STAMP")),
        0
    );
    let two = "RL.ALL 2 r s FIXED 1000 1d COST 500 FIXED 1000 1d";
    assert_eq!(last(&server, &format!("{two} {at} STAMP")), 0);
    server.call("RL.DENY ADD bots mallory");
    for call in ["RL.FIXED r 1000 1d", "RL.ALL 1 r FIXED 1000 1d"] {
        let reply = server.call(&format!("{call} {at} STAMP DENY bots mallory"));
        let stamp = &reply.array()[reply.array().len() - 2];
        assert_eq!(*stamp, Reply::Int(0), "{call}");
    }
    // Of yesterday nothing is charged any more; what is settled keeps its time; a time to come is now's.
    let yesterday = STAMP - 1;
    assert_eq!(
        last(&server, &format!("RL.FIXED r 1000 1d AT {yesterday} STAMP")),
        0
    );
    assert_eq!(
        last(&server, &format!("RL.FIXED r 1000 1d COST -1 {at} STAMP")),
        STAMP
    );
    assert_eq!(
        last(
            &server,
            &format!("RL.FIXED r 1000 1d AT {} STAMP", STAMP + 9)
        ),
        STAMP
    );
    let taken = server.call(&format!("RL.FIXED r 1000 1d COST 50 MIN 1 AT {yesterday}"));
    assert_eq!(taken.array()[5], Reply::Int(0));
}

#[test]
fn a_forced_call_says_when_every_key_that_it_has_filled_lets_it_through() {
    let Some((clock, server)) = Clock::started(START_MS) else {
        return;
    };
    server.call("RL.FIXED y 3 1m COST 2");
    clock.step(1_000);
    let call = "RL.ALL 2 x y FIXED 5 1d COST 4 FIXED 3 1m COST 2";
    let reply = server.call(&format!("{call} FORCE"));
    let reply = reply.array();
    assert_eq!(reply[0], Reply::Int(0));
    assert_eq!(reply[3], Reply::Int(86_399_000));
    assert_eq!(reply[6], Reply::Int(1));
    clock.step(86_398_999);
    assert_eq!(server.call(call).array()[0], Reply::Int(0));
    clock.step(1);
    assert_eq!(server.call(call).array()[0], Reply::Int(1));
}

#[test]
fn a_key_of_limit_0_denies_also_where_a_deny_list_does() {
    let Some((_clock, server)) = Clock::started(START_MS) else {
        return;
    };
    server.call("RL.DENY ADD bots mallory");
    let reply = server.call("RL.ALL 2 a b FIXED 0 1m FIXED 5 1m DENY bots mallory");
    let rows: Vec<i64> = reply.array()[5]
        .array()
        .iter()
        .map(|row| row.array()[0].int())
        .collect();
    assert_eq!(rows, [0, 1]);
    let reply = server.call("RL.FIXED a 0 1m 5 1h DENY bots mallory");
    let rows: Vec<i64> = reply.array()[5]
        .array()
        .iter()
        .map(|row| row.array()[0].int())
        .collect();
    assert_eq!(rows, [0, 1]);
    assert_eq!(server.call("EXISTS a b"), Reply::Int(0));
}
