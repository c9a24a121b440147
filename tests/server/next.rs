//! `NEXT`: when more of a limit will remain. On a real server whose clock is the test's.

use crate::support::{Clock, Reply, Server};

/// A midnight.
const START_MS: u64 = 1_700_006_400_000;

fn started() -> Option<(Clock, Server)> {
    let clock = Clock::at(START_MS);
    let server = clock.server(&[])?;
    Some((clock, server))
}

/// The sixth number.
#[track_caller]
fn next(server: &Server, line: &str) -> i64 {
    let reply = server.call(&format!("{line} NEXT"));
    reply.array()[5].int()
}

#[test]
fn more_remains_when_the_first_hit_leaves_and_not_when_the_last_does() {
    let Some((clock, server)) = started() else {
        return;
    };
    assert_eq!(next(&server, "RL.PEEK SLIDING k 2 4s COST 0"), 0);
    assert_eq!(next(&server, "RL.SLIDING k 2 4s"), 4_000);
    clock.step(2_000);
    assert_eq!(next(&server, "RL.SLIDING k 2 4s"), 2_000);
    clock.step(500);
    assert_eq!(next(&server, "RL.SLIDING k 2 4s"), 1_500);
    assert_eq!(next(&server, "RL.PEEK SLIDING k 2 4s"), 1_500);
    assert_eq!(next(&server, "RL.SLIDING k 0 4s"), -1);
}

#[test]
fn a_bucket_regains_one_and_a_window_all_at_once() {
    let Some((clock, server)) = started() else {
        return;
    };
    assert_eq!(next(&server, "RL.BUCKET b 10 1 1s COST 10"), 1_000);
    clock.step(250);
    assert_eq!(next(&server, "RL.PEEK BUCKET b 10 1 1s COST 0"), 750);
    // A debt has to be worked off first.
    assert_eq!(next(&server, "RL.BUCKET b 10 1 1s COST 5 FORCE"), 5_750);
    assert_eq!(next(&server, "RL.FIXED f 10 1h COST 3"), 3_599_750);
    assert_eq!(
        next(&server, "RL.FIXED f 10 1mo@Europe/Berlin COST 3 STAMP"),
        1_378_799_750
    );
}

#[test]
fn leases_and_blocks_end_first() {
    let Some((clock, server)) = started() else {
        return;
    };
    assert_eq!(next(&server, "RL.LEASE l 2 10s a"), 10_000);
    clock.step(1_000);
    assert_eq!(next(&server, "RL.LEASE l 2 10s b"), 9_000);
    assert_eq!(
        next(&server, "RL.LEASE l 1 10s c"),
        10_000,
        "of a limit of one, two are held"
    );
    server.call("RL.SLIDING s 1 5m BLOCK 1h");
    assert_eq!(next(&server, "RL.SLIDING s 1 5m BLOCK 1h"), 3_600_000);
    assert_eq!(next(&server, "RL.PEEK SLIDING s 1 5m"), 3_600_000);
}

#[test]
fn every_five_is_a_six() {
    let Some((_clock, server)) = started() else {
        return;
    };
    let lengths = |line: &str| -> Vec<usize> {
        let reply = server.call(line);
        let rows = reply.array()[6].array();
        std::iter::once(reply.array().len())
            .chain(rows.iter().map(|row| row.array().len()))
            .collect()
    };
    assert_eq!(lengths("RL.FIXED k 5 1m 9 1h NEXT"), [7, 6, 6]);
    assert_eq!(lengths("RL.PEEK FIXED k 5 1m 9 1h NEXT MIN 1"), [8, 6, 6]);
    server.call("RL.DENY ADD bots mallory");
    assert_eq!(
        lengths("RL.FIXED k 5 1m 9 1h NEXT DENY bots mallory"),
        [8, 6, 6]
    );
    let two = "2 a b FIXED 5 1m SLIDING 5 1m 9 1h COST 2 NEXT";
    assert_eq!(lengths(&format!("RL.ALL {two}")), [8, 6, 7]);
    assert_eq!(lengths(&format!("RL.PEEKALL {two}")), [8, 6, 7]);
    assert_eq!(
        lengths(&format!("RL.ALL {two} DENY bots mallory")),
        [9, 6, 7]
    );
    // The limit that binds says when more of it remains.
    let reply = server.call(&format!("RL.PEEKALL {two}"));
    assert_eq!(reply.array()[5], Reply::Int(60_000));
    let error = server.call("RL.ALL 2 a b FIXED 5 1m NEXT FIXED 5 1m");
    assert!(
        error.error().contains("NEXT applies to the whole call"),
        "{error:?}"
    );
}
