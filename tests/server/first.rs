//! Windows that begin with the first charge: `5h@first`. On a real server whose clock is the test's.

use crate::support::{aof, pair, Clock, Reply, Server};

/// A midnight.
const START_MS: u64 = 1_700_006_400_000;
const HOUR_MS: i64 = 3_600_000;

#[track_caller]
fn five(server: &Server, line: &str) -> Vec<i64> {
    let reply = server.call(line);
    assert!(!reply.is_error(), "{line}: {reply:?}");
    reply.array()[..5].iter().map(Reply::int).collect()
}

#[test]
fn a_quota_of_five_hours_begins_when_its_user_does() {
    let Some((clock, server)) = Clock::started(START_MS) else {
        return;
    };
    let line = "RL.FIXED agent 3 5h@first";
    assert_eq!(
        five(&server, "RL.PEEK FIXED agent 3 5h@first COST 0"),
        [1, 3, 3, 0, 0]
    );
    clock.step(77_777);
    assert_eq!(
        five(&server, &format!("{line} COST 2")),
        [1, 3, 1, 0, 5 * HOUR_MS]
    );
    clock.step(2 * HOUR_MS);
    assert_eq!(five(&server, line), [1, 3, 0, 0, 3 * HOUR_MS]);
    assert_eq!(five(&server, line), [0, 3, 0, 3 * HOUR_MS, 3 * HOUR_MS]);
    clock.step(3 * HOUR_MS - 1);
    assert_eq!(five(&server, line), [0, 3, 0, 1, 1]);
    clock.step(1);
    assert_eq!(
        five(&server, "RL.PEEK FIXED agent 3 5h@first COST 0"),
        [1, 3, 3, 0, 0]
    );
    clock.step(HOUR_MS);
    assert_eq!(five(&server, line), [1, 3, 2, 0, 5 * HOUR_MS]);
    // All given back, none is running.
    assert_eq!(five(&server, &format!("{line} COST -1")), [1, 3, 3, 0, 0]);
    clock.step(HOUR_MS);
    assert_eq!(five(&server, line), [1, 3, 2, 0, 5 * HOUR_MS]);
}

#[test]
fn a_charge_of_an_earlier_time_begins_its_window_then() {
    let Some((clock, server)) = Clock::started(START_MS) else {
        return;
    };
    let at = START_MS;
    clock.step(2 * HOUR_MS);
    let line = format!("RL.FIXED k 9 5h@first AT {at}");
    assert_eq!(five(&server, &line), [1, 9, 8, 0, 3 * HOUR_MS]);
    clock.step(3 * HOUR_MS);
    assert_eq!(
        five(&server, "RL.FIXED k 9 5h@first")[2..],
        [8, 0, 5 * HOUR_MS]
    );
    // It is over; in the one that is running it counts no more, and is given back nothing.
    assert_eq!(five(&server, &format!("{line} COST 3"))[2], 8);
    assert_eq!(five(&server, &format!("{line} COST -1"))[2], 8);
    // Before the begin of the one that is running, and still counted.
    let before = at + 4 * 3_600_000;
    assert_eq!(
        five(
            &server,
            &format!("RL.FIXED k 9 5h@first COST 3 AT {before}")
        )[2],
        5
    );
}

#[test]
fn a_clock_that_steps_back_leaves_it_no_longer_than_it_is() {
    let Some((clock, server)) = Clock::started(START_MS) else {
        return;
    };
    let line = "RL.FIXED k 1 5h@first";
    five(&server, line);
    clock.step(-HOUR_MS);
    assert_eq!(five(&server, line), [0, 1, 0, 5 * HOUR_MS, 5 * HOUR_MS]);
    clock.step(5 * HOUR_MS);
    assert_eq!(five(&server, line)[0], 1);
}

#[test]
fn it_is_another_window_than_the_plain_one_and_is_kept() {
    let Some((clock, server)) = Clock::started(START_MS) else {
        return;
    };
    five(&server, "RL.FIXED k 5 5h@first 5 5h 5 1w@FIRST COST 2");
    clock.step(1_000);
    let windows = |server: &Server| -> Vec<String> {
        let info = server.call("RL.INFO k");
        let limits = info.field("limits").array();
        limits
            .iter()
            .map(|limit| limit.field("window").text())
            .collect()
    };
    assert_eq!(windows(&server), ["5h@first", "5h", "7d@first"]);
    let digest = server.digest();
    server.ok("DEBUG RELOAD");
    assert_eq!(server.digest(), digest, "reloaded");
    aof::await_writes(&server);
    server.ok("DEBUG LOADAOF");
    assert_eq!(server.digest(), digest, "from the AOF");
    assert_eq!(windows(&server), ["5h@first", "5h", "7d@first"]);
}

#[test]
fn a_replica_has_the_window_that_its_primary_began() {
    let clock = Clock::at(START_MS);
    if clock.server(&[]).is_none() {
        return;
    }
    let (primary, replica) = pair::of(|lines| clock.server(lines).unwrap());
    five(&primary, "RL.FIXED k 5 5h@first");
    clock.step(1_000);
    five(&primary, "RL.FIXED k 5 5h@first");
    pair::assert_equal(&primary, &replica);
    assert_eq!(
        five(&replica, "RL.PEEK FIXED k 5 5h@first COST 0")[4],
        5 * HOUR_MS - 1_000
    );
}

#[test]
fn what_has_no_length_of_its_own_is_refused_and_so_are_regions() {
    let Some((_clock, server)) = Clock::started(START_MS) else {
        return;
    };
    for (line, says) in [
        ("RL.FIXED k 5 1mo@first", "1mo@1 begins on the 1st"),
        (
            "RL.FIXED k 5 1y@first",
            "must be a duration before its @first",
        ),
        ("RL.SLIDING k 5 5h@first", "are for FIXED"),
    ] {
        let error = server.call(line);
        assert!(error.error().contains(says), "{line}: {error:?}");
    }
    server.ok("CONFIG SET ratelimit.region here");
    for line in [
        "RL.FIXED k 5 5h@first",
        "RL.PEEK FIXED k 5 5h@first",
        "RL.ALL 1 k FIXED 5 5h@first",
    ] {
        let error = server.call(line);
        assert!(error.error().contains("regions"), "{line}: {error:?}");
    }
    assert_eq!(server.call("DBSIZE"), Reply::Int(0));
}
