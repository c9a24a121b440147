//! Limits that are tried before they bind: a clause of RL.ALL that says SHADOW, on real servers.

use crate::support::resp::Connection;
use crate::support::{pair, Clock, Random, Reply, Server};

/// A midnight.
const START_MS: u64 = 1_700_006_400_000;

fn counts(server: &Server, name: &str) -> [i64; 3] {
    let stats = server.call(&format!("RL.STATS GET {name}"));
    ["allowed", "denied", "deny_listed"].map(|what| stats.field(what).int())
}

/// The five integers of the call.
fn five(reply: &Reply) -> Vec<i64> {
    reply.array()[..5].iter().map(Reply::int).collect()
}

/// The reply of the key at a place.
fn own(reply: &Reply, place: usize) -> Vec<i64> {
    let each = reply.array()[5].array();
    each[place].ints()
}

#[test]
fn a_shadow_says_what_it_would_have_said_and_decides_nothing() {
    let Some(server) = Clock::at(START_MS).server(&[]) else {
        return;
    };
    let line = "RL.ALL 2 {k}:bind {k}:try FIXED 5 1h FIXED 2 1h SHADOW";
    for used in 1..=5 {
        let reply = server.call(line);
        assert_eq!(five(&reply), [1, 5, 5 - used, 0, 3_600_000]);
        assert_eq!(reply.array()[6].int(), 1, "the first binds");
        let expected = match used {
            1 | 2 => [1, 2, 2 - used, 0, 3_600_000],
            _ => [0, 2, 0, 3_600_000, 3_600_000],
        };
        assert_eq!(own(&reply, 1), expected);
    }
    // Where the call is denied, the shadow is not charged either, and says how it stands.
    let state = server.digest();
    let reply = server.call("RL.ALL 2 {k}:try2 {k}:bind FIXED 2 1h SHADOW FIXED 5 1h");
    assert_eq!(five(&reply), [0, 5, 0, 3_600_000, 3_600_000]);
    assert_eq!(reply.array()[6].int(), 2);
    assert_eq!(own(&reply, 0), [1, 2, 2, 0, 0]);
    assert_eq!(server.digest(), state);
    // Without the word it binds, with what it has counted.
    let reply = server.call("RL.ALL 2 {k}:new {k}:try FIXED 5 1h FIXED 3 1h");
    assert_eq!(five(&reply), [1, 3, 0, 0, 3_600_000]);
    let peek = server.call("RL.PEEKALL 2 {k}:new {k}:try FIXED 5 1h FIXED 3 1h SHADOW");
    assert_eq!(five(&peek), [1, 5, 3, 0, 3_600_000]);
    assert_eq!(own(&peek, 1)[0], 0);
    // FORCE charges a shadow too, as it would one that binds; refunds give back.
    server.call("RL.ALL 2 {k}:new {k}:try FIXED 5 1h FIXED 3 1h COST 4 SHADOW FORCE");
    let used = |server: &Server| server.call("RL.PEEK FIXED {k}:try 9 1h COST 0").ints()[2];
    assert_eq!(used(&server), 2);
    server.call("RL.ALL 2 {k}:new {k}:try FIXED 5 1h COST -1 FIXED 3 1h COST -3 SHADOW");
    assert_eq!(used(&server), 5);
    // The deny list stops all.
    assert_eq!(server.call("RL.DENY ADD bad v").int(), 1);
    let reply = server.call("RL.ALL 2 {k}:new {k}:try FIXED 5 1h FIXED 3 1h SHADOW DENY bad v");
    assert_eq!((five(&reply)[0], reply.array()[6].int()), (0, 0));
    assert_eq!(used(&server), 5);
}

#[test]
fn with_a_shadow_a_call_is_answered_as_without() {
    let clock = Clock::at(START_MS);
    let Some(server) = clock.server(&[]) else {
        return;
    };
    let mut connection = Connection::open(server.port()).unwrap();
    let mut random = Random::new(77);
    let (mut denied, mut would) = (0, 0);
    for _ in 0..10_000 {
        clock.step(*random.pick(&[0, 0, 3, 40, 700]));
        let key = random.below(5);
        let cost = random.within(-1..=6);
        let line = |name: &str| {
            format!("2 {{k}}:{name}:{key} {{k}}:{name}b:{key} SLIDING 20 10s COST {cost} FIXED 9 7s 300 1m")
        };
        let end = random.pick(&["", " STAMP", " FORCE", " NEXT", " STAMP NEXT"]);
        let without = line("a");
        let shadow = random.pick(&["FIXED 2 1s", "SLIDING 3 5s", "BUCKET 2 1 1s"]);
        let kind = shadow.chars().next().unwrap();
        let with = line("b").replacen('2', &format!("3 {{k}}:shadow{kind}:{key}"), 1);
        let with = with.replacen("SLIDING 20", &format!("{shadow} SHADOW SLIDING 20"), 1);
        let without = connection.call(&format!("RL.ALL {without}{end}")).unwrap();
        let with = connection.call(&format!("RL.ALL {with}{end}")).unwrap();
        let (without, with) = (without.array(), with.array());
        let keys = 5 + usize::from(end.contains("NEXT"));
        assert_eq!(with[..keys], without[..keys]);
        let shadow = with[keys].array()[0].array();
        assert_eq!(with[keys].array()[1..], *without[keys].array());
        assert_eq!(with[keys + 1].int() - 1, without[keys + 1].int());
        assert_eq!(with[keys + 2..], without[keys + 2..]);
        denied += usize::from(with[0].int() == 0);
        would += usize::from(with[0].int() == 1 && shadow[0].int() == 0);
    }
    assert!(denied > 1_000 && would > 100, "{denied} {would}");
}

#[test]
fn a_shadow_is_counted_where_it_fits_and_shows_no_denial() {
    let server = Server::start();
    server.ok("RL.POLICY SET bind FIXED 3 30d");
    server.ok("RL.POLICY SET try FIXED 1 30d");
    let line = "RL.ALL 2 a b FIXED 9 1h POLICY bind FIXED 9 1h POLICY try SHADOW";
    for _ in 0..4 {
        server.call(line);
    }
    assert_eq!(counts(&server, "bind"), [3, 1, 0]);
    assert_eq!(counts(&server, "try"), [1, 0, 0]);
}

#[test]
fn a_replica_and_a_restart_hold_what_a_shadow_has_counted() {
    let (primary, replica) = pair::of(Server::with);
    for _ in 0..5 {
        primary.call(
            "RL.ALL 3 {k}a {k}b {k}c FIXED 4 30d SLIDING 2 30d SHADOW BUCKET 3 1 30d COST 2 SHADOW",
        );
    }
    pair::wait_for(&replica, &primary);
    pair::assert_equal(&primary, &replica);
    let peek = replica.call("RL.PEEKALL 3 {k}a {k}b {k}c FIXED 4 30d COST 0 SLIDING 2 30d SHADOW BUCKET 3 1 30d COST 2 SHADOW");
    assert_eq!(own(&peek, 0)[2], 0);
    assert_eq!((own(&peek, 1)[2], own(&peek, 2)[2]), (0, 1));
}
