//! Places that are reserved and given back: nobody's turn moves, and no two are told the same instant. On a real server whose
//! clock is the test's.

use crate::support::{aof, pair, Clock, Server};

const START_MS: u64 = 1_700_006_400_000;
const LINE: &str = "RL.BUCKET q 1 1 10s RESERVE 1h STAMP";

/// The wait that a caller is told, and the stamp of its place.
#[track_caller]
fn reserve(server: &Server) -> (i64, i64) {
    let reply = server.call(LINE).ints();
    assert_eq!(reply[0], 1, "{reply:?}");
    (reply[3], reply[5])
}

#[track_caller]
fn give_back(server: &Server, stamp: i64) {
    let line = format!("RL.BUCKET q 1 1 10s COST -1 AT {stamp}");
    assert_eq!(server.call(&line).ints()[0], 1, "{line}");
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
fn an_earlier_place_that_is_given_back_stays_empty_and_the_last_is_free_again() {
    let Some((clock, server)) = Clock::started(START_MS) else {
        return;
    };
    let (_, a) = reserve(&server);
    let (b_waits, b) = reserve(&server);
    let (d_waits, d) = reserve(&server);
    assert_eq!((b_waits, d_waits), (10_000, 20_000));
    assert!(a < b && b < d, "each has a stamp of its own");
    give_back(&server, b);
    assert_kept(&server);
    let (e_waits, e) = reserve(&server);
    assert_eq!(e_waits, 30_000, "20 s is D's");
    give_back(&server, e);
    assert_eq!(reserve(&server).0, 30_000, "E's place was free again");
    give_back(&server, e); // once
    assert_eq!(reserve(&server).0, 40_000);
    give_back(&server, a); // it has acted, and others wait
    assert_eq!(reserve(&server).0, 50_000);
    // A refund that names no time moves nobody either.
    server.call("RL.BUCKET q 1 1 10s COST -3");
    assert_eq!(reserve(&server).0, 60_000);
    let info = server.call("RL.INFO q");
    let reading = &info.field("limits").array()[0];
    assert_eq!(reading.field("reserved_ms").int(), 60_000);
    assert_kept(&server);
    // Once all have acted, a refund is as ever.
    clock.step(60_000);
    assert_eq!(server.call("RL.BUCKET q 1 1 10s").ints()[0], 0);
    server.call("RL.BUCKET q 1 1 10s COST -1");
    assert_eq!(server.call("RL.BUCKET q 1 1 10s").ints()[0], 1);
}

#[test]
fn of_a_hundred_places_half_are_given_back_and_no_instant_is_told_to_two() {
    let Some((_clock, server)) = Clock::started(START_MS) else {
        return;
    };
    let mut places: Vec<(i64, i64)> = (0..100).map(|_| reserve(&server)).collect();
    let given: Vec<(i64, i64)> = places.iter().skip(1).step_by(2).copied().collect();
    places.retain(|place| !given.contains(place));
    for (_, stamp) in &given {
        give_back(&server, *stamp);
    }
    places.extend((0..50).map(|_| reserve(&server)));
    let mut acts: Vec<i64> = places.iter().map(|place| place.0).collect();
    acts.sort_unstable();
    let is_apart = acts.windows(2).all(|pair| pair[1] - pair[0] >= 10_000);
    assert!(is_apart, "{acts:?}");
    assert_kept(&server);
}

#[test]
fn a_debt_that_was_forced_is_given_back_as_ever_and_no_place_moves() {
    let Some((_clock, server)) = Clock::started(START_MS) else {
        return;
    };
    assert_eq!(server.call("RL.BUCKET q 1 1 10s COST 5 FORCE").ints()[0], 0);
    assert_eq!(reserve(&server).0, 50_000);
    server.call("RL.BUCKET q 1 1 10s COST 5 FORCE");
    assert_eq!(reserve(&server).0, 110_000);
    server.call("RL.BUCKET q 1 1 10s COST -50");
    assert_eq!(reserve(&server).0, 120_000, "behind the place at 110 s");
}

#[test]
fn a_raised_refill_counts_behind_those_who_have_a_place() {
    let Some((_clock, server)) = Clock::started(START_MS) else {
        return;
    };
    reserve(&server);
    assert_eq!(reserve(&server).0, 10_000);
    for waits in [15_000, 20_000] {
        let line = "RL.BUCKET q 1 2 10s RESERVE 1h STAMP";
        assert_eq!(server.call(line).ints()[3], waits);
    }
    assert_kept(&server);
}

#[test]
fn a_replica_reserves_and_gives_back_as_its_primary_did() {
    let clock = Clock::at(START_MS);
    if clock.server(&[]).is_none() {
        return;
    }
    let other = Clock::at(START_MS - 86_400_000);
    let primary = clock.server(&pair::PRIMARY).unwrap();
    let replica = pair::replica_of(&primary, |lines| other.server(lines).unwrap());
    let mut stamps = Vec::new();
    for turn in 0..300_usize {
        if turn % 3 == 0 {
            clock.step(7);
        }
        let (key, refill) = (turn % 5, 1 + turn % 2);
        let line = format!("RL.BUCKET k:{key} 2 {refill} 20ms 9 5 1s RESERVE 5s STAMP");
        let reply = primary.call(&line);
        assert!(!reply.is_error(), "{line}: {reply:?}");
        stamps.push((key, reply.array().last().unwrap().int()));
        let (key, stamp) = stamps[turn - turn % 4];
        let line = format!("RL.BUCKET k:{key} 2 1 20ms 9 5 1s COST -1 AT {stamp}");
        assert!(!primary.call(&line).is_error(), "{line}");
    }
    pair::assert_equal(&primary, &replica);
}
