//! A server whose memory is full: limiters that exist go on counting, what would make a new key is refused, where the
//! server would refuse SET.

use crate::support::{aof, Reply, Server};

/// For each algorithm, limits of 5 in a month.
const FIVE_A_MONTH: [(&str, &str); 3] = [
    ("FIXED", "5 30d"),
    ("SLIDING", "5 30d"),
    ("BUCKET", "5 5 30d"),
];

/// From here on nothing fits any more, and nothing is evicted.
fn fill(server: &Server) {
    server.ok("CONFIG SET maxmemory-policy noeviction");
    server.ok("CONFIG SET maxmemory 1000");
}

fn assert_oom(reply: &Reply, what: &str) {
    assert!(reply.error().starts_with("OOM "), "{what}: {reply:?}");
}

#[test]
fn limiters_that_exist_go_on_counting_and_new_ones_are_refused() {
    let server = Server::start();
    for (algorithm, limits) in FIVE_A_MONTH {
        server.decide(&format!("RL.{algorithm} {algorithm} {limits}"));
    }
    fill(&server);
    assert_oom(&server.call("SET new value"), "SET");
    for (algorithm, limits) in FIVE_A_MONTH {
        let hit = |key: &str, more: &str| format!("RL.{algorithm} {key} {limits} {more}");
        assert_eq!(server.decide(&hit(algorithm, "COST 3")).remaining, 1);
        assert_eq!(server.decide(&hit(algorithm, "COST -2")).remaining, 3);
        assert!(!server.decide(&hit(algorithm, "COST 4")).allowed);
        server.decide(&hit(algorithm, "COST 9 FORCE"));

        for more in ["", "COST 5", "COST 6 FORCE"] {
            assert_oom(&server.call(&hit("new", more)), &hit("new", more));
        }
        // What makes no key is answered as ever.
        assert!(!server.decide(&hit("new", "COST 6")).allowed);
        assert!(server.decide(&hit("new", "COST 0")).allowed);
        assert!(server.decide(&hit("new", "COST -1")).allowed);
        let peek = format!("RL.PEEK {algorithm} new {limits}");
        assert!(server.decide(&peek).allowed);
        assert!(!server.call(&format!("RL.INFO {algorithm}")).is_error());
        assert_eq!(server.call("EXISTS new").int(), 0);
    }
    server.ok("CONFIG SET maxmemory 0");
    assert!(server.decide("RL.FIXED new 5 30d").allowed);
}

/// An attack is on, memory is full, and that is the very hour in which somebody is to be blocked.
#[test]
fn policies_and_deny_lists_can_be_changed() {
    let server = Server::start();
    server.decide("RL.FIXED k 5 30d");
    fill(&server);
    assert_eq!(server.call("RL.DENY ADD list 192.0.2.1").int(), 1);
    let denied = server.decide("RL.FIXED k 5 30d DENY list 192.0.2.1");
    assert!(!denied.allowed);
    let denied = server.decide("RL.FIXED new 5 30d DENY list 192.0.2.1");
    assert!(!denied.allowed, "a hit that makes no key");
    server.ok("RL.POLICY SET policy FIXED 1 30d");
    assert!(!server.decide("RL.FIXED k 5 30d POLICY policy").allowed);
    assert_eq!(server.call("RL.POLICY DEL policy").int(), 1);
    assert_eq!(server.call("RL.DENY DEL list 192.0.2.1").int(), 1);
}

/// What another node has accepted is never refused, and a file is loaded whole.
#[test]
fn effects_are_never_refused() {
    let mut server = Server::with(&["appendonly yes", "appendfsync always"]);
    server.decide("RL.FIXED k 5 30d COST 2");
    let effect = aof::commands(&server)
        .into_iter()
        .find(|command| command[0].eq_ignore_ascii_case(b"RL.APPLY"))
        .unwrap();
    fill(&server);
    assert_eq!(
        server.call_bytes(&[b"RL.APPLY", b"new", &effect[2]]).text(),
        "OK"
    );
    server.ok("CONFIG REWRITE");
    let digest = server.digest();
    server.kill();
    server.start_again().unwrap();
    assert_eq!(server.digest(), digest);
    assert_oom(&server.call("RL.FIXED newer 5 30d"), "a hit");
}

/// With an eviction policy a full server makes room, for a limiter as for any key. Memory may be over its bound all the
/// same while a transaction or a script runs that has written before; what counts is how it was when that began.
#[test]
fn where_the_server_evicts_new_keys_are_allowed_as_set_would_be() {
    let server = Server::with(&["maxmemory-policy allkeys-lru"]);
    let most = server.info_number("memory", "used_memory") + 3_000_000;
    server.ok(&format!("CONFIG SET maxmemory {most}"));
    let evicted = || server.info_number("stats", "evicted_keys");
    let fill = |i| format!("SETRANGE fill:{i} 200 x");
    let fills: Vec<String> = (0..40_000).map(fill).collect();
    server.bulk(&fills);
    assert!(evicted() > 0, "it is full");

    for i in 0..50 {
        let (first, second) = (format!("v:{i}"), format!("w:{i}"));
        server.ok("MULTI");
        server.call(&format!("SETRANGE {first} 300000 x"));
        server.call(&format!("RL.FIXED {second} 5 30d"));
        server.call(&format!("SET {second}:too value"));
        let replies = server.call("EXEC");
        let replies = replies.array();
        assert_eq!(replies[1].decision().remaining, 4, "{replies:?}");
        assert_eq!(replies[2].text(), "OK");
    }
    let large = "redis.call('SETRANGE', KEYS[1], 300000, 'x')";
    let hit = "return redis.call('RL.FIXED', KEYS[2], 5, '30d')";
    for i in 0..50 {
        let reply = server.call(&format!("EVAL \"{large} {hit}\" 2 s:{i} t:{i}"));
        assert_eq!(reply.decision().remaining, 4);
    }
    for i in 0..300 {
        assert!(server.decide(&format!("RL.SLIDING new:{i} 5 30d")).allowed);
    }
}

/// A script is not stopped half-way where SET would not be.
#[test]
fn a_script_that_has_written_or_allows_it_makes_new_keys_as_set_would() {
    let server = Server::start();
    server.ok("SET x 1");
    fill(&server);
    for command in ["'SET', KEYS[1], 'v'", "'RL.FIXED', KEYS[1], 5, '30d'"] {
        let written = format!("redis.call('DEL', 'x') return redis.call({command})");
        let reply = server.call(&format!("EVAL \"{written}\" 1 after:{}", command.len()));
        assert!(!reply.is_error(), "{command}: {reply:?}");

        let allows = format!("#!lua flags=allow-oom\\nreturn redis.call({command})");
        let reply = server.call(&format!("EVAL \"{allows}\" 1 allows:{}", command.len()));
        assert!(!reply.is_error(), "{command}: {reply:?}");

        let does_not = format!("#!lua\\nreturn redis.call({command})");
        let reply = server.call(&format!("EVAL \"{does_not}\" 1 not:{}", command.len()));
        assert_oom(&reply, command);
    }
    assert_eq!(server.call("DBSIZE").int(), 4);
}

/// What the server had let in before it was full is run, but for new keys.
#[test]
fn a_transaction_from_before_counts_what_exists_and_makes_no_new_key() {
    let server = Server::start();
    server.decide("RL.FIXED k 5 30d");
    let mut other = server.connect();
    other.ok("MULTI");
    other.call("RL.FIXED k 5 30d");
    other.call("RL.FIXED new 5 30d");
    fill(&server);
    let late = server
        .connect()
        .bulk(&["MULTI".into(), "RL.FIXED k 5 30d".into()]);
    if late[1].is_error() {
        assert_oom(&late[1], "Redis 7.0 then queues nothing any more");
    }
    let replies = other.call("EXEC");
    let replies = replies.array();
    assert_eq!(replies[0].decision().remaining, 3);
    assert_oom(&replies[1], "a new key");
    assert_eq!(server.decide("RL.FIXED k 5 30d").remaining, 2);
}
