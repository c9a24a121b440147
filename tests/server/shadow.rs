//! Limits that are tried before they bind, on real servers: a clause of RL.ALL that says SHADOW, and RL.POLICY SHADOW.

use crate::support::node::crash;
use crate::support::resp::Connection;
use crate::support::{aof, pair, Clock, Random, Reply, Server};

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

/// A server, one whose policy has a shadow, and one where the shadow's limits bind.
struct Three {
    clock: Clock,
    connections: [Connection; 3],
    servers: [Server; 3],
}

impl Three {
    fn of(algorithm: &str, limit: &str, half: &str) -> Option<Self> {
        let clock = Clock::at(START_MS);
        let servers = [clock.server(&[])?, clock.server(&[])?, clock.server(&[])?];
        for (server, limit) in servers.iter().zip([limit, limit, half]) {
            server.ok(&format!("RL.POLICY SET api {algorithm} {limit}"));
        }
        servers[1].ok(&format!("RL.POLICY SHADOW api {algorithm} {half}"));
        let open = |server: &Server| Connection::open(server.port()).unwrap();
        let connections = servers.each_ref().map(open);
        Some(Self {
            clock,
            connections,
            servers,
        })
    }

    /// Makes a call on each. The first two answer the same, whatever the shadow says.
    fn call(&mut self, line: &str) {
        for connection in &mut self.connections {
            connection.send(line).unwrap();
        }
        let replies = self.connections.each_mut().map(|it| it.receive().unwrap());
        assert_eq!(replies[0], replies[1], "{line}");
        assert!(!replies[2].is_error(), "{line}: {:?}", replies[2]);
    }

    /// How many were denied by the first, would have been by the shadow, and were by the third.
    fn denied(&self) -> [i64; 3] {
        let count = |server: &Server, what| server.call("RL.STATS GET api").field(what).int();
        let [plain, shadow, half] = &self.servers;
        assert_eq!(count(plain, "denied"), count(shadow, "denied"));
        assert_eq!(count(plain, "allowed"), count(shadow, "allowed"));
        [
            count(plain, "denied"),
            count(shadow, "shadow_denied"),
            count(half, "denied"),
        ]
    }

    /// Ten thousand hits on forty keys.
    fn hits(&mut self, algorithm: &str, limits: &str, costs: i64, steps_ms: &[i64]) {
        let mut random = Random::new(5);
        for _ in 0..10_000 {
            self.clock.step(*random.pick(steps_ms));
            let (key, cost) = (random.below(40), random.within(1..=costs));
            self.call(&format!(
                "RL.{algorithm} k{key} {limits} COST {cost} POLICY api"
            ));
        }
    }
}

#[test]
fn what_a_shadow_would_deny_is_what_is_denied_where_it_binds() {
    for (algorithm, limit, half) in [
        ("FIXED", "100 10s", "50 10s"),
        ("SLIDING", "120 10s", "60 10s"),
        ("BUCKET", "120 60 10s", "60 30 10s"),
    ] {
        let Some(mut three) = Three::of(algorithm, limit, half) else {
            return;
        };
        // Some 25 hits of a cost of 2 on each key within ten seconds: half of the limit is too little, all of it never.
        three.hits(algorithm, limit, 3, &[0, 5, 10, 20, 15]);
        let [denied, shadow_denied, half_denied] = three.denied();
        assert_eq!(denied, 0, "{algorithm}");
        assert!(shadow_denied > 100, "{algorithm}: {shadow_denied}");
        assert_eq!(shadow_denied, half_denied, "{algorithm}");
    }
}

/// Where the key's own limits deny too, what they deny is not judged. Of fixed and sliding windows, a hit of cost 1 that is
/// over the limit is over half of it: denied and shadow_denied are together what is denied where half binds. A bucket regains
/// in fractions, and twice as fast as half of one: it may be short of a hit that half of one has.
#[test]
fn what_both_deny_is_what_is_denied_where_the_shadow_binds() {
    for (algorithm, limit, half) in [
        ("FIXED", "20 10s", "10 10s"),
        ("SLIDING", "20 10s", "10 10s"),
        ("BUCKET", "20 20 10s", "10 10 10s"),
    ] {
        let Some(mut three) = Three::of(algorithm, limit, half) else {
            return;
        };
        three.hits(algorithm, limit, 1, &[0, 5, 10, 20, 15]);
        let [denied, shadow_denied, half_denied] = three.denied();
        println!("{algorithm}: {denied} denied, {shadow_denied} by the shadow; {half_denied} where it binds");
        assert!(denied > 500 && shadow_denied > 500, "{algorithm}");
        let apart = (denied + shadow_denied - half_denied).abs();
        let most = if algorithm == "BUCKET" {
            half_denied / 50
        } else {
            0
        };
        assert!(apart <= most, "{algorithm}: {apart} of {half_denied}");
        // Then it binds, with what the key has used.
        let line = format!("RL.PEEK {algorithm} k7 9 1s COST 0 POLICY api").replace("9 1s", limit);
        let used = 20 - three.servers[1].call(&line).ints()[2];
        three.servers[1].ok(&format!("RL.POLICY SET api {algorithm} {half}"));
        let now = three.servers[1].call(&line).ints();
        assert_eq!(now[1..3], [10, (10 - used).max(0)], "{algorithm}");
    }
}

/// The words of a policy, and those of its shadow.
fn shown(server: &Server, name: &str) -> (Vec<String>, Vec<String>) {
    let reply = server.call(&format!("RL.POLICY GET {name}"));
    let words = reply.array();
    let at = words
        .iter()
        .position(|word| *word == Reply::Text(b"SHADOW".to_vec()));
    let at = at.unwrap_or(words.len());
    let own = words[..at].iter().flat_map(Reply::texts).collect();
    let shadow = words.get(at + 1).map(Reply::texts);
    (own, shadow.unwrap_or_default())
}

fn would_deny(server: &Server, name: &str) -> i64 {
    let stats = server.call(&format!("RL.STATS GET {name}"));
    stats.get("shadow_denied").map_or(0, Reply::int)
}

#[test]
fn a_shadow_stands_beside_its_policy_until_it_is_off() {
    let server = Server::start();
    server.ok("RL.POLICY SHADOW login FIXED 1 30d");
    assert_eq!(
        shown(&server, "login"),
        (vec![], vec!["fixed".into(), "1".into(), "30d".into()])
    );
    // Beside the calls' own limits, where there is no policy.
    for _ in 0..3 {
        assert_eq!(server.call("RL.FIXED a 5 30d POLICY login").ints()[1], 5);
    }
    assert_eq!(would_deny(&server, "login"), 2);
    server.ok("RL.POLICY SET login FIXED 9 30d");
    server.ok("RL.POLICY SET login FIXED 4 30d TTL 1h");
    assert_eq!(
        server.call("RL.FIXED a 5 30d POLICY login").ints()[..3],
        [1, 4, 0]
    );
    assert_eq!(would_deny(&server, "login"), 3);
    let (own, shadow) = shown(&server, "login");
    assert_eq!(
        (own[0].as_str(), own[1].as_str(), shadow[1].as_str()),
        ("fixed", "4", "1")
    );
    let list = server.call("RL.POLICY LIST");
    assert!(list.texts().contains(&"SHADOW".to_owned()), "{list:?}");
    let scan = server.call("RL.POLICY SCAN 0");
    assert!(scan.texts().contains(&"SHADOW".to_owned()), "{scan:?}");
    // It may be another at any time, and of another algorithm than the calls': then it is passed over.
    server.ok("RL.POLICY SHADOW login SLIDING 0 30d TTL 1h");
    let (_, shadow) = shown(&server, "login");
    assert_eq!(shadow[..4], ["sliding", "0", "30d", "TTL"]);
    server.call("RL.FIXED b 5 30d POLICY login");
    assert_eq!(would_deny(&server, "login"), 3);
    assert_eq!(server.call("RL.POLICY SHADOW login OFF").int(), 1);
    assert_eq!(server.call("RL.POLICY SHADOW login OFF").int(), 0);
    assert_eq!(shown(&server, "login").1, Vec::<String>::new());
    // DEL takes it along; alone, it is a policy's name as well.
    server.ok("RL.POLICY SHADOW login FIXED 0 1h");
    assert_eq!(server.call("RL.POLICY DEL login").int(), 1);
    assert_eq!(server.call("RL.POLICY GET login"), Reply::Nil);
    server.ok("RL.POLICY SHADOW login FIXED 0 1h");
    assert_eq!(server.call("RL.POLICY DEL login").int(), 1);
    let log = server.log();
    for line in [
        "policy 'login' shadow set by",
        "from none to none with shadow fixed 1 30d",
        "policy 'login' shadow off by",
        "with shadow sliding 0 30d for 3",
    ] {
        assert!(log.contains(line), "{line}");
    }
}

#[test]
fn of_a_chain_the_first_shadow_of_the_calls_algorithm_counts() {
    let server = Server::start();
    server.ok("RL.POLICY SHADOW api:acme SLIDING 0 30d");
    server.ok("RL.POLICY SHADOW api FIXED 2 30d");
    server.ok("RL.POLICY SET api:acme FIXED 9 30d");
    for _ in 0..5 {
        let reply = server.call("RL.FIXED k 5 30d POLICY api:none POLICY api:acme POLICY api");
        assert_eq!(reply.ints()[1], 9);
    }
    assert_eq!(
        (would_deny(&server, "api:acme"), would_deny(&server, "api")),
        (3, 3),
        "wherever the hits count"
    );
    server.ok("RL.POLICY SHADOW api:acme FIXED 0 30d");
    server.call("RL.FIXED k 5 30d POLICY api:acme POLICY api");
    assert_eq!(
        would_deny(&server, "api"),
        4,
        "counted under the last name, as all is"
    );
}

#[test]
fn only_hits_that_are_let_through_are_judged() {
    let server = Server::start();
    server.ok("RL.POLICY SHADOW p FIXED 1 30d");
    server.call("RL.FIXED k 2 30d POLICY p COST 2");
    assert_eq!(would_deny(&server, "p"), 1);
    for line in [
        "RL.FIXED k 2 30d POLICY p",
        "RL.FIXED k 2 30d POLICY p FORCE",
        "RL.FIXED k 9 30d POLICY p COST 0",
        "RL.PEEK FIXED k 9 30d POLICY p",
        "RL.FIXED k 9 30d POLICY p COST -1",
        "RL.FIXED k 2 30d POLICY p BLOCK 1d",
        "RL.FIXED k 9 30d POLICY p",
        "RL.FIXED k 9 30d POLICY p FORCE",
        "RL.ALL 2 k l FIXED 9 30d POLICY p FIXED 0 30d",
    ] {
        assert!(!server.call(line).is_error(), "{line}");
        assert_eq!(would_deny(&server, "p"), 1, "{line}");
    }
    // In a call of several keys each is judged by its own.
    server.ok("RL.POLICY SHADOW q SLIDING 1 30d");
    for _ in 0..2 {
        server.call("RL.ALL 2 m n FIXED 9 30d POLICY p SLIDING 9 30d COST 2 POLICY q");
    }
    assert_eq!((would_deny(&server, "p"), would_deny(&server, "q")), (2, 2));
    // A clause that says so itself counts there too.
    server.call("RL.ALL 2 x y FIXED 9 30d FIXED 0 30d POLICY r SHADOW");
    assert_eq!(would_deny(&server, "r"), 1);
    let total = server.call("RL.STATS GET");
    assert_eq!(total.field("shadow_denied").int(), 5);
    assert_eq!(
        server.info_number("ratelimit", "ratelimit_shadow_denied"),
        5
    );
    let most = server
        .call("RL.STATS GET q")
        .field("most_shadow_denied")
        .array()[0]
        .clone();
    assert_eq!(
        (most.array()[0].text(), most.array()[1].int()),
        ("n".to_owned(), 2)
    );
}

#[test]
fn what_cannot_be_a_shadow_is_refused() {
    let server = Server::start();
    for (line, text) in [
        (
            "RL.POLICY SHADOW p LEASE 5 1m",
            "ERR argument 3 must be FIXED, SLIDING, BUCKET or OFF",
        ),
        ("RL.POLICY SHADOW p OFF 1", "ERR argument 3"),
        ("RL.POLICY SHADOW p ON", "ERR argument 3"),
        ("RL.POLICY SHADOW p FIXED 5", "ERR argument 5 is missing"),
        (
            "RL.POLICY SHADOW p FIXED 5 1m TTL",
            "ERR argument 7 is missing",
        ),
        ("RL.POLICY SHADOW p", "ERR wrong number of arguments"),
        ("RL.POLICY SHADOW p FIXED 5 1d@Mars/Base", "ERR"),
    ] {
        let reply = server.call(line);
        assert!(reply.error().starts_with(text), "{line}: {reply:?}");
    }
    assert_eq!(server.call("RL.POLICY GET p"), Reply::Nil);
    server.ok("CONFIG SET ratelimit.region eu");
    let reply = server.call("RL.POLICY SHADOW p FIXED 5 1m");
    assert!(reply.error().contains("ratelimit.region"), "{reply:?}");
}

#[test]
fn replicas_restarts_and_copies_have_a_shadow_and_what_it_has_let_through() {
    let (primary, replica) = pair::of(Server::with);
    for (algorithm, limits, tried) in [
        ("FIXED", "9 30d", "2 30d 3 1w"),
        ("FIXED", "9 1mo", "2 1mo@15"),
        ("SLIDING", "9 30d", "2 20d"),
        ("BUCKET", "9 1 30d", "3 1 30d"),
    ] {
        primary.call("RL.POLICY DEL p");
        primary.ok(&format!("RL.POLICY SHADOW p {algorithm} {tried}"));
        for cost in [1, 1, 1, -1, 2, 1] {
            primary.call(
                &format!("RL.{algorithm} {algorithm}{tried} {limits} COST {cost} POLICY p STAMP")
                    .replacen(tried, &tried.replace(' ', "-"), 1),
            );
        }
    }
    pair::wait_for(&replica, &primary);
    pair::assert_equal(&primary, &replica);
    assert_eq!(shown(&replica, "p"), shown(&primary, "p"));
    let keys = primary.call("KEYS *").texts();
    assert_eq!(keys.len(), 4);
    for key in &keys {
        let shadow = primary.call(&format!("RL.INFO {key}"));
        assert!(
            shadow.field("shadow").array()[0].field("used").int() > 0,
            "{shadow:?}"
        );
        primary.call(&format!("COPY {key} {key}:copy"));
        assert_eq!(
            primary.digest_value(key),
            primary.digest_value(&format!("{key}:copy"))
        );
    }
    for lines in [&["appendonly yes", "aof-use-rdb-preamble no"][..], &[]] {
        let mut server = Server::with(lines);
        server.ok("RL.POLICY SHADOW p FIXED 2 30d");
        server.ok("RL.POLICY SHADOW q FIXED 2 30d TTL 1d");
        for _ in 0..4 {
            server.call("RL.FIXED k 9 30d POLICY p");
        }
        if lines.is_empty() {
            server.ok("SAVE");
        }
        let digest = server.digest();
        crash(&mut server);
        assert_eq!(server.digest(), digest);
        assert_eq!(shown(&server, "p").1, ["fixed", "2", "30d"]);
        assert_eq!(shown(&server, "q").1.len(), 5);
        if !lines.is_empty() {
            aof::rewrite(&server);
            crash(&mut server);
            assert_eq!(server.digest(), digest);
            assert_eq!(shown(&server, "p").1, ["fixed", "2", "30d"]);
        }
    }
}

#[test]
fn what_a_shadow_has_let_through_goes_once_nothing_of_it_is_used() {
    let clock = Clock::at(START_MS);
    let (Some(server), Some(without)) = (clock.server(&[]), clock.server(&[])) else {
        return;
    };
    server.ok("RL.POLICY SHADOW p SLIDING 5 2h");
    for _ in 0..3 {
        for server in [&server, &without] {
            server.call("RL.SLIDING k 9 1h POLICY p");
        }
    }
    assert_ne!(server.digest_value("k"), without.digest_value("k"));
    // The TTL covers it.
    assert!(server.call("PTTL k").int() > 7_200_000);
    assert_eq!(server.call("RL.POLICY SHADOW p OFF").int(), 1);
    for step_ms in [3_500_000, 3_600_000] {
        clock.step(step_ms);
        for server in [&server, &without] {
            server.call("RL.SLIDING k 9 1h POLICY p");
        }
    }
    clock.step(200_000);
    for server in [&server, &without] {
        server.call("RL.SLIDING k 9 1h POLICY p");
    }
    assert_eq!(server.digest_value("k"), without.digest_value("k"));
    let info = server.call("RL.INFO k");
    assert!(info.get("shadow").is_none(), "{info:?}");
}
