//! Statistics: RL.STATS, INFO, and what keeps them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests, helpers and all"
)]

#[path = "support/node.rs"]
mod node;
mod support;

use std::collections::{BTreeMap, BTreeSet};

use node::{assert_error, crash, pair, replica_of};
use support::{aof, eventually, Random, Reply, Server};

/// Allowed, denied, deny-listed.
fn counts(stats: &Reply) -> [i64; 3] {
    ["allowed", "denied", "deny_listed"].map(|name| stats.field(name).int())
}

fn total(server: &Server) -> [i64; 3] {
    counts(&server.call("RL.STATS"))
}

fn named(server: &Server, name: &str) -> [i64; 3] {
    counts(&server.call(&format!("RL.STATS {name}")))
}

/// `(identifier, count, by how much that may be too high)`
fn identifiers(server: &Server, name: &str, kind: &str) -> Vec<(String, i64, i64)> {
    let stats = server.call(&format!("RL.STATS {name}"));
    let list = stats.field(kind).array().iter().map(|one| {
        let [identifier, count, error] = one.array() else {
            panic!("three elements: {one:?}");
        };
        (identifier.text(), count.int(), error.int())
    });
    list.collect()
}

/// Sends a line that must be answered by a decision.
fn hit(server: &Server, line: &str) {
    let reply = server.call(line);
    assert!(matches!(reply, Reply::Array(_)), "{line}: {reply:?}");
}

#[test]
fn hits_are_counted_in_total_by_algorithm_and_by_policy() {
    let server = Server::start();
    server.call("RL.DENY ADD bad alice");
    server.ok("RL.POLICY SET login SLIDING 2 30d");
    assert_eq!(total(&server), [0, 0, 0]);
    for (line, times) in [
        ("RL.SLIDING u:1 9 30d POLICY login", 5), // 2 allowed, 3 denied
        ("RL.SLIDING u:2 9 30d POLICY login", 1), // 1 allowed
        ("RL.SLIDING u:3 9 30d POLICY login DENY bad alice", 4), // 4 deny-listed
        ("RL.FIXED f 3 30d POLICY absent", 5),    // 3 allowed, 2 denied: counted under the name
        ("RL.FIXED f 3 30d", 2),                  // 2 denied, no name
        ("RL.BUCKET b 1 1 3660d COST 1 DENY bad bob", 2), // 1 allowed, 1 denied
        ("RL.BUCKET b 1 1 3660d COST 5 FORCE", 1), // charged, but it did not fit
        ("RL.BUCKET b 1 1 3660d DENY bad alice", 1), // 1 deny-listed
    ] {
        for _ in 0..times {
            hit(&server, line);
        }
    }
    let stats = server.call("RL.STATS");
    assert_eq!(counts(&stats), [3 + 3 + 1, 3 + 2 + 2 + 2, 4 + 1]);
    let algorithms = stats.field("algorithms");
    assert_eq!(counts(algorithms.field("sliding")), [3, 3, 4]);
    assert_eq!(counts(algorithms.field("fixed")), [3, 4, 0]);
    assert_eq!(counts(algorithms.field("bucket")), [1, 2, 1]);
    assert_eq!(stats.field("names").texts(), ["absent", "login"], "sorted");
    assert_eq!(named(&server, "login"), [3, 3, 4]);
    assert_eq!(named(&server, "absent"), [3, 2, 0]);
    assert_eq!(server.call("RL.STATS nobody"), Reply::Nil);

    let one = |name: &str, count| (name.to_string(), count, 0);
    assert_eq!(
        identifiers(&server, "login", "most_allowed"),
        [one("u:1", 2), one("u:2", 1)]
    );
    assert_eq!(
        identifiers(&server, "login", "most_denied"),
        [one("u:1", 3)],
        "but not the deny-listed"
    );
    assert_eq!(identifiers(&server, "absent", "most_denied"), [one("f", 2)]);
    // In RESP2, flat arrays.
    let mut flat = server.connect_with(&["-2"]);
    assert_eq!(counts(&flat.call("RL.STATS")), counts(&stats));
    assert_eq!(counts(&flat.call("RL.STATS login")), [3, 3, 4]);
}

#[test]
fn what_is_no_hit_is_not_counted() {
    let server = Server::start();
    server.ok("RL.POLICY SET p FIXED 2 30d");
    server.ok("SET text x");
    for line in [
        "RL.PEEK FIXED k 2 30d POLICY p",
        "RL.PEEK FIXED k 2 30d COST 5",
        "RL.FIXED k 2 30d POLICY p COST 0",
        "RL.FIXED k 2 30d COST -1",
        "RL.FIXED k nonsense",
        "RL.FIXED text 2 30d POLICY p",
        "RL.SLIDING k 2 30d POLICY p",
        "RL.INFO k",
    ] {
        server.call(line);
    }
    assert_eq!(total(&server), [0, 0, 0]);
    assert_eq!(
        server.call("RL.STATS").field("names"),
        &Reply::Array(Vec::new())
    );
    // A hit counts once, whatever it costs, and however it comes.
    hit(&server, "RL.FIXED k 100 30d COST 50");
    server.ok("MULTI");
    server.call("RL.FIXED k 100 30d POLICY p");
    server.call("EXEC");
    server.call("EVAL \"return redis.call('RL.FIXED', KEYS[1], 9, '30d', 'POLICY', 'p')\" 1 k2");
    assert_eq!(total(&server), [2, 1, 0]);
    assert_eq!(named(&server, "p"), [1, 1, 0]);
}

#[test]
fn hits_are_counted_by_the_hour() {
    let server = Server::start();
    let begin = server.now_ms() / 1000;
    for i in 0..30 {
        hit(&server, &format!("RL.FIXED f:{} 3 30d POLICY p", i % 5));
        hit(&server, "RL.BUCKET b 2 1 3660d");
    }
    let end = server.now_ms() / 1000;
    for (line, sums) in [
        ("RL.STATS", [15 + 2, 15 + 28, 0]),
        ("RL.STATS p", [15, 15, 0]),
    ] {
        let stats = server.call(line);
        let hours: Vec<Vec<i64>> = stats
            .field("hours")
            .array()
            .iter()
            .map(Reply::ints)
            .collect();
        assert!(
            (1..=2).contains(&hours.len()),
            "the hour may have turned once: {hours:?}"
        );
        for hour in &hours {
            assert_eq!(
                hour[0] % 3600,
                0,
                "an hour's start in Unix seconds: {hours:?}"
            );
            assert!((begin - 3600..=end).contains(&hour[0]), "{hours:?}");
        }
        assert!(
            hours.windows(2).all(|pair| pair[0][0] < pair[1][0]),
            "oldest first"
        );
        for (place, sum) in sums.into_iter().enumerate() {
            let found: i64 = hours.iter().map(|hour| hour[1 + place]).sum();
            assert_eq!(found, sum, "{line} {hours:?}");
        }
    }
}

#[test]
fn a_reset_forgets_all_or_one_name() {
    let server = Server::start();
    for name in ["a", "b", "a"] {
        hit(&server, &format!("RL.FIXED k:{name} 1 30d POLICY {name}"));
    }
    assert_eq!(server.call("RL.STATS RESET absent").int(), 0);
    assert_eq!(server.call("RL.STATS reset a").int(), 1);
    assert_eq!(server.call("RL.STATS a"), Reply::Nil);
    assert_eq!(named(&server, "b"), [1, 0, 0]);
    assert_eq!(
        total(&server),
        [2, 1, 0],
        "the totals keep what the name has added"
    );
    // It is counted anew, whether or not there is a policy of that name.
    server.ok("RL.POLICY SET b FIXED 9 30d");
    hit(&server, "RL.FIXED k:b 1 30d POLICY b");
    assert_eq!(server.call("RL.STATS RESET b").int(), 1);
    hit(&server, "RL.FIXED k:b 1 30d POLICY b");
    hit(&server, "RL.FIXED k:a 9 30d POLICY a");
    assert_eq!(
        (named(&server, "a"), named(&server, "b")),
        ([1, 0, 0], [1, 0, 0])
    );
    assert_eq!(server.call("RL.STATS RESET").int(), 1);
    assert_eq!(total(&server), [0, 0, 0]);
    let stats = server.call("RL.STATS");
    assert_eq!(stats.field("names"), &Reply::Array(Vec::new()));
    assert_eq!(stats.field("hours"), &Reply::Array(Vec::new()));
    assert_eq!(server.call("RL.STATS b"), Reply::Nil);
    hit(&server, "RL.FIXED k:b 9 30d POLICY b");
    assert_eq!(
        (named(&server, "b"), total(&server)),
        ([1, 0, 0], [1, 0, 0])
    );
    assert_eq!(
        server.call("RL.POLICY GET b").array().len(),
        3,
        "the policy itself stays"
    );
}

#[test]
fn what_is_refused_says_what_was_expected() {
    let server = Server::start();
    hit(&server, "RL.FIXED k 1 30d POLICY a");
    let before = server.call("RL.STATS");
    for line in ["RL.STATS a b", "RL.STATS RESET a b", "RL.STATS a RESET"] {
        assert_error(
            &server.call(line),
            &["argument", "RL.STATS [name]", "RESET [name]"],
        );
        assert_eq!(server.call("RL.STATS"), before);
    }
}

#[test]
fn names_past_the_bound_count_as_other() {
    let server = Server::with(&["ratelimit.stats-names 2"]);
    for name in ["a", "b", "c", "d", "a"] {
        hit(&server, &format!("RL.FIXED k:{name} 1 30d POLICY {name}"));
    }
    assert_eq!(
        server.call("RL.STATS").field("names").texts(),
        ["a", "b", "other"]
    );
    assert_eq!(named(&server, "a"), [1, 1, 0]);
    assert_eq!(named(&server, "other"), [2, 0, 0]);
    assert_eq!(server.call("RL.STATS c"), Reply::Nil);
    assert_eq!(total(&server), [4, 1, 0]);
    // A policy's name is no different.
    server.ok("RL.POLICY SET e FIXED 1 30d");
    hit(&server, "RL.FIXED k:e 9 30d POLICY e");
    assert_eq!(named(&server, "other"), [3, 0, 0]);
    server.ok("CONFIG SET ratelimit.stats-names 3");
    eventually("there is room", || {
        hit(&server, "RL.FIXED k:e 9 30d POLICY e");
        server.call("RL.STATS e") != Reply::Nil
    });
    assert_eq!(
        server.call("RL.STATS").field("names").texts(),
        ["a", "b", "e", "other"]
    );
    for refused in ["-1", "10001"] {
        let reply = server.call(&format!("CONFIG SET ratelimit.stats-names {refused}"));
        assert!(reply.is_error(), "{refused}");
    }
}

/// Many names and many identifiers take what the bounds say and no more.
#[test]
fn memory_is_bounded() {
    let server = Server::with(&["ratelimit.stats-names 20", "ratelimit.stats-identifiers 16"]);
    let mut random = Random::new(30);
    let mut memory = Vec::new();
    for _ in 0..3 {
        let lines: Vec<String> = (0..10_000)
            .map(|_| {
                let key = format!("{:0>100}", random.next());
                format!(
                    "RL.FIXED {key} {} 1s POLICY p:{}",
                    random.below(2),
                    random.below(40)
                )
            })
            .collect();
        for reply in server.bulk(&lines) {
            assert!(matches!(reply, Reply::Array(_)), "{reply:?}");
        }
        memory.push(server.info_number("ratelimit", "ratelimit_memory_bytes"));
    }
    assert_eq!(server.info_number("ratelimit", "ratelimit_names"), 21);
    // Each name: 2 lists of 16 at 211 bytes at most, a series, itself.
    assert!(
        memory.iter().all(|bytes| *bytes < 21 * 12_000 + 100_000),
        "{memory:?}"
    );
    assert!(
        memory[2] < memory[0] * 11 / 10,
        "it does not grow with traffic: {memory:?}"
    );
}

#[test]
fn the_most_frequent_are_found_among_many() {
    const HEAVY: usize = 10;
    let server = Server::start();
    let mut random = Random::new(31);
    let mut exact: BTreeMap<String, i64> = BTreeMap::new();
    let lines: Vec<String> = (0..40_000)
        .map(|_| {
            // Half of the traffic is ten callers', the other half is of thousands.
            let key = if random.one_in(2) {
                format!("heavy:{}", random.below(HEAVY))
            } else {
                format!("light:{}", random.below(5_000))
            };
            *exact.entry(key.clone()).or_default() += 1;
            format!("RL.FIXED {key} 0 30d POLICY p")
        })
        .collect();
    for reply in server.bulk(&lines) {
        assert_eq!(reply.array()[0], Reply::Int(0));
    }
    let top = identifiers(&server, "p", "most_denied");
    assert!((HEAVY..=64).contains(&top.len()), "{}", top.len());
    assert!(
        top.windows(2).all(|pair| pair[0].1 >= pair[1].1),
        "most first: {top:?}"
    );
    let first: BTreeSet<&str> = top[..HEAVY]
        .iter()
        .map(|(name, _, _)| name.as_str())
        .collect();
    assert!(
        first.iter().all(|name| name.starts_with("heavy:")),
        "{top:?}"
    );
    assert_eq!(first.len(), HEAVY);
    for (name, count, error) in &top {
        let is = exact[name];
        assert!(
            (count - error..=*count).contains(&is),
            "{name}: {is}, told {count} - {error}"
        );
    }
    assert_eq!(identifiers(&server, "p", "most_allowed"), []);
    assert_eq!(named(&server, "p"), [0, 40_000, 0]);
}

#[test]
fn an_rdb_keeps_statistics_and_a_full_sync_sends_them() {
    let (primary, replica) = pair(&[], &[]);
    let mut primary = primary;
    for line in [
        "RL.FIXED k 1 30d POLICY p",
        "RL.FIXED k 1 30d POLICY p",
        "RL.SLIDING s 1 30d POLICY \"\\x00\\xff\"",
    ] {
        hit(&primary, line);
    }
    // Hit by hit, a replica is told nothing; nor does it count what it applies.
    assert!(primary.call("WAIT 1 60000").int() >= 1);
    assert_eq!(replica.call("DBSIZE").int(), 2);
    assert_eq!(total(&replica), [0, 0, 0]);
    let stats = |server: &Server| {
        let odd = server.call_bytes(&[b"RL.STATS", b"\x00\xff"]);
        (server.call("RL.STATS"), server.call("RL.STATS p"), odd)
    };
    let before = stats(&primary);
    assert_eq!(counts(&before.2), [1, 0, 0]);
    let late = replica_of(&primary, &[]);
    assert_eq!(stats(&late), before);
    late.ok("REPLICAOF NO ONE");
    hit(&late, "RL.FIXED k 1 30d POLICY p");
    assert_eq!(named(&late, "p"), [1, 2, 0], "a promoted one counts on");

    eventually("the snapshot for the replica is done", || {
        primary.info_number("persistence", "rdb_bgsave_in_progress") == 0
    });
    primary.ok("SAVE");
    crash(&mut primary);
    assert_eq!(stats(&primary), before);
    hit(&primary, "RL.FIXED k 1 30d POLICY p");
    assert_eq!(named(&primary, "p"), [1, 2, 0]);
    assert_eq!(
        identifiers(&primary, "p", "most_denied"),
        [("k".to_string(), 2, 0)]
    );
}

/// What every RL.STATS says.
fn everything(server: &Server) -> Vec<Reply> {
    let total = server.call("RL.STATS");
    let names = total.field("names").array().iter();
    let named: Vec<Reply> = names
        .map(|name| server.call_bytes(&[b"RL.STATS", name.bytes()]))
        .collect();
    [vec![total], named].concat()
}

/// Hits of some names, of which the last has one.
fn hits(random: &mut Random, count: usize) -> Vec<String> {
    let mut lines: Vec<String> = (0..count)
        .map(|_| {
            let key = random.below(300);
            match random.below(6) {
                0 => format!("RL.BUCKET b:{key} 2 1 1h"),
                1 => format!("RL.FIXED f:{key} 3 1h POLICY p:{} DENY bad f:7", key % 3),
                _ => format!("RL.SLIDING s:{key} 3 1h POLICY p:{}", key % 5),
            }
        })
        .collect();
    lines.push("RL.FIXED last 1 1h POLICY \"\\x00\\xff\"".to_string());
    lines
}

/// With and without a rewrite, and whether its file begins as an RDB or not: what was answered is there, whether the server
/// was killed or shut down.
#[test]
fn an_aof_keeps_statistics() {
    for preamble in ["yes", "no"] {
        let mut random = Random::new(40);
        let mut server = Server::with(&[
            "appendonly yes",
            "appendfsync always",
            &format!("aof-use-rdb-preamble {preamble}"),
        ]);
        server.call("RL.DENY ADD bad f:7");
        for round in 0..8 {
            for reply in server.bulk(&hits(&mut random, 1_000)) {
                assert!(matches!(reply, Reply::Array(_)), "{reply:?}");
            }
            match round {
                1 | 4 => aof::rewrite(&server),
                2 => assert_eq!(server.call("RL.STATS RESET p:2").int(), 1),
                3 => {
                    hit(&server, "RL.SLIDING s:1 3 1h POLICY p:2");
                    assert_eq!(server.call("RL.STATS RESET p:3").int(), 1);
                    hit(&server, "RL.SLIDING s:1 3 1h POLICY p:2");
                }
                6 => assert_eq!(server.call("RL.STATS RESET").int(), 1),
                _ => {}
            }
            let before = everything(&server);
            assert_eq!(before.len(), [7, 7, 6, 6, 7, 7, 1, 7][round]);
            if round % 2 == 0 {
                crash(&mut server);
            } else {
                server.print(&["SHUTDOWN", "NOSAVE"]);
                assert!(server.wait_for_end().success());
                server.start_again().unwrap();
            }
            assert_eq!(
                everything(&server),
                before,
                "preamble {preamble}, round {round}"
            );
        }
    }
}

/// The totals of hits without a name follow by the clock: until then the hits write what they charge, and no more.
#[test]
fn an_aof_comes_to_keep_the_totals_of_hits_without_a_name() {
    let mut server = Server::with(&["appendonly yes", "appendfsync always"]);
    for _ in 0..50 {
        hit(&server, "RL.FIXED k 0 1h");
    }
    let before = everything(&server);
    let size = || aof::statistics(&server).len();
    eventually("they are written", || size() > 0);
    eventually("all of them", || {
        let last = aof::statistics(&server).pop().unwrap();
        last[1][..].windows(2).any(|pair| pair == [0, 50])
    });
    assert!(size() < 25, "not hit by hit");
    crash(&mut server);
    assert_eq!(everything(&server), before);
}

/// Where an AOF is begun while the server runs, it has what was counted before, and after.
#[test]
fn an_aof_that_is_turned_on_keeps_statistics() {
    for preamble in ["yes", "no"] {
        let preamble = format!("aof-use-rdb-preamble {preamble}");
        let mut server = Server::with(&["appendfsync always", &preamble]);
        hit(&server, "RL.FIXED k 1 1h POLICY before");
        server.ok("CONFIG SET appendonly yes");
        hit(&server, "RL.FIXED k 1 1h POLICY after");
        aof::await_rewrite(&server);
        hit(&server, "RL.FIXED k 1 1h POLICY later");
        let before = everything(&server);
        assert_eq!(before.len(), 4);
        eventually("the AOF has all of it", || {
            let written = aof::statistics(&server).concat().concat();
            let has = |name: &[u8]| written.windows(name.len()).any(|bytes| bytes == name);
            has(b"after") && has(b"later")
        });
        server.ok("CONFIG REWRITE");
        crash(&mut server);
        assert_eq!(everything(&server), before, "{preamble}");
    }
}

/// While clients are paused, as for a failover, nothing may be sent on: the server would abort.
#[test]
fn a_pause_of_clients_delays_what_is_written() {
    let mut server = Server::with(&[
        "appendonly yes",
        "appendfsync always",
        "aof-use-rdb-preamble no",
    ]);
    server.ok("RL.POLICY SET p FIXED 1 1h");
    hit(&server, "RL.FIXED k 9 1h POLICY p");
    hit(&server, "RL.FIXED k 9 1h POLICY q");
    server.ok("CLIENT PAUSE 600000 WRITE");
    aof::rewrite(&server);
    assert_eq!(server.call("RL.STATS RESET q").int(), 1);
    assert!(aof::statistics(&server).is_empty());
    server.ok("CLIENT UNPAUSE");
    eventually("it is written", || !aof::statistics(&server).is_empty());
    let before = everything(&server);
    assert_eq!(before.len(), 2);
    crash(&mut server);
    assert_eq!(everything(&server), before);
    assert_eq!(server.call("RL.POLICY LIST").field("p").texts().len(), 3);
}

/// A flood of denied hits must not fill the disk.
#[test]
fn a_flood_writes_little() {
    let server = Server::with(&["appendonly yes", "appendfsync no"]);
    let begin = std::time::Instant::now();
    let mut random = Random::new(41);
    let mut hits = 0;
    // One after the other, each in a turn of its own: many more than may be written so.
    while hits < 40_000 {
        for _ in 0..1_000 {
            let line = format!("RL.FIXED key:{} 0 1h POLICY p", random.below(5_000));
            hit(&server, &line);
        }
        hits += 1_000;
    }
    let seconds = i64::try_from(begin.elapsed().as_secs()).unwrap() + 1;
    let size = server.info_number("persistence", "aof_current_size");
    assert!(size > 1 << 19, "it is a flood: {size}");
    // Of one name the clock's records are small: 64 identifiers, and their frames.
    assert!(
        size < (1 << 20) + seconds * ((4 << 10) + 2_000),
        "{size} bytes in {seconds} s"
    );
    assert_eq!(named(&server, "p"), [0, hits, 0]);
}

/// What comes right after a rewrite has begun has nothing to follow on in the rewritten file, where that has keys only.
#[test]
fn hits_while_a_rewrite_begins_are_kept() {
    for preamble in ["yes", "no"] {
        let mut server = Server::with(&[
            "appendonly yes",
            "appendfsync always",
            "propagation-error-behavior panic",
            &format!("aof-use-rdb-preamble {preamble}"),
        ]);
        for _ in 0..5 {
            let mut lines = vec!["RL.FIXED k 2 1h POLICY p".to_string(); 9];
            lines.insert(3, "BGREWRITEAOF".to_string());
            server.bulk(&lines);
            aof::await_rewrite(&server);
            hit(&server, "RL.FIXED k 2 1h POLICY p");
            let before = everything(&server);
            crash(&mut server);
            assert_eq!(everything(&server), before, "preamble {preamble}");
        }
        assert_eq!(named(&server, "p"), [2, 48, 0]);
    }
}

/// What DEBUG RELOAD saves and loads, the AOF may not have yet.
#[test]
fn a_reload_keeps_statistics() {
    let mut server = Server::with(&["appendonly yes", "appendfsync always"]);
    hit(&server, "RL.FIXED k 2 1h POLICY p");
    let mut lines = vec![
        "RL.FIXED k 2 1h".to_string(),
        "RL.FIXED k 2 1h POLICY p".to_string(),
    ];
    lines.push("DEBUG RELOAD".to_string());
    server.bulk(&lines);
    hit(&server, "RL.FIXED k 2 1h POLICY p");
    let before = everything(&server);
    assert_eq!(
        (total(&server), named(&server, "p")),
        ([2, 2, 0], [1, 2, 0])
    );
    crash(&mut server);
    assert_eq!(everything(&server), before);
}

/// Neither its primary's statistics nor the room that they take is sent to a replica.
#[test]
fn a_replica_is_sent_no_statistics() {
    let (primary, replica) = pair(
        &["appendonly yes", "repl-ping-replica-period 3600"],
        &["appendonly yes"],
    );
    hit(&primary, "RL.FIXED k 1 1h POLICY p");
    assert!(primary.call("WAIT 1 60000").int() >= 1);
    let offset = || primary.info_number("replication", "master_repl_offset");
    let begin = offset();
    for _ in 0..100 {
        hit(&primary, "RL.FIXED k 1 1h POLICY p");
    }
    primary.call("RL.STATS RESET p");
    hit(&primary, "RL.FIXED k 1 1h POLICY p");
    eventually("the AOF has them", || !aof::statistics(&primary).is_empty());
    let record = aof::statistics(&primary).pop().unwrap();
    let words: Vec<&[u8]> = record.iter().map(Vec::as_slice).collect();
    assert_eq!(primary.call_bytes(&words).text(), "OK");
    assert_eq!(offset(), begin);
    assert_eq!(total(&replica), [0, 0, 0]);
}

#[test]
fn a_replica_may_be_asked_and_reset_for_itself() {
    let (primary, _) = pair(&[], &[]);
    hit(&primary, "RL.FIXED k 1 30d POLICY p");
    let late = replica_of(&primary, &[]);
    assert_eq!(named(&late, "p"), [1, 0, 0]);
    assert_eq!(late.call("RL.STATS RESET").int(), 1);
    assert_eq!((total(&late), total(&primary)), ([0, 0, 0], [1, 0, 0]));
}

/// What a replica was sent, and what it was told itself, is in its own AOF.
#[test]
fn the_aof_of_a_replica_keeps_its_statistics() {
    let (primary, _) = pair(&[], &[]);
    hit(&primary, "RL.FIXED k 1 30d POLICY p");
    hit(&primary, "RL.FIXED k 1 30d POLICY q");
    let mut late = replica_of(&primary, &["appendonly yes", "appendfsync always"]);
    aof::await_rewrite(&late);
    assert_eq!(late.call("RL.STATS RESET p").int(), 1);
    late.ok("REPLICAOF NO ONE");
    hit(&late, "RL.FIXED k 1 30d POLICY q");
    let before = everything(&late);
    assert_eq!(before.len(), 2);
    late.ok("CONFIG REWRITE");
    crash(&mut late);
    assert_eq!(everything(&late), before);
}

#[test]
fn info_tells_totals_names_lists_and_memory() {
    let server = Server::start();
    let number = |field: &str| server.info_number("ratelimit", &format!("ratelimit_{field}"));
    for field in [
        "allowed",
        "denied",
        "deny_listed",
        "policies",
        "deny_lists",
        "deny_entries",
        "names",
    ] {
        assert_eq!(number(field), 0, "{field}");
    }
    let empty = number("memory_bytes");
    node::fill(&server); // 1 sliding, 2 fixed of which 1 denied, 1 deny-listed
    assert_eq!(["allowed", "denied", "deny_listed"].map(number), [2, 1, 1]);
    assert_eq!(
        ["policies", "deny_lists", "deny_entries"].map(number),
        [4, 2, 8]
    );
    assert_eq!(number("names"), 2);
    assert!(number("memory_bytes") > empty);
    let info = server.info("ratelimit");
    for line in [
        "# ratelimit_stats",
        "# ratelimit_deny",
        "# ratelimit_names",
        "ratelimit_fixed:allowed=1,denied=1,deny_listed=1",
        "ratelimit_sliding:allowed=1,denied=0,deny_listed=0",
        "ratelimit_bucket:allowed=0,denied=0,deny_listed=0",
    ] {
        assert!(
            info.iter().any(|other| other == line),
            "no line {line}: {info:#?}"
        );
    }
    for (name, value) in [
        ("bad", "7"),
        ("other", "1"),
        ("login", "allowed=1,denied=0,deny_listed=0"),
    ] {
        let told = |line: &String| {
            line.starts_with("ratelimit_") && line.ends_with(&format!("{name}:{value}"))
        };
        assert!(info.iter().any(told), "{name}: {info:#?}");
    }
    assert_eq!(
        server.info_field("ratelimit", "ratelimit_version"),
        env!("CARGO_PKG_VERSION")
    );
    // In the sections that exporters ask for.
    for section in ["modules", "everything"] {
        assert!(
            server
                .info(section)
                .contains(&"ratelimit_policies:4".to_string()),
            "{section}"
        );
    }
}

/// Whatever clients call their policies and lists, a reader of INFO finds each field once, and line by line.
#[test]
fn no_name_can_forge_a_field_of_info() {
    let server = Server::start();
    hit(&server, "RL.FIXED k 5 30d POLICY login");
    for name in [
        "login",
        "version",
        "allowed",
        "memory_bytes",
        "names",
        "a:b=c,d",
        "a\\r\\nrole:x",
        "\\x00\\xff",
        "%0a",
    ] {
        assert_eq!(server.call(&format!("RL.DENY ADD \"{name}\" x")).int(), 1);
        hit(&server, &format!("RL.FIXED k 5 30d POLICY \"{name}\""));
    }
    let mut fields = BTreeSet::new();
    let mut twice = Vec::new();
    for line in server.info("ratelimit") {
        if line.is_empty() || line.starts_with("# ratelimit_") {
            continue;
        }
        let (field, value) = line
            .split_once(':')
            .unwrap_or_else(|| panic!("not a field: {line:?}"));
        assert!(field.starts_with("ratelimit_"), "{line:?}");
        assert!(!value.contains(':') && !value.is_empty(), "{line:?}");
        if !fields.insert(field.to_string()) {
            twice.push(line);
        }
    }
    assert_eq!(twice, [""; 0], "fields that are there twice");
    assert_eq!(fields.len(), 12 + 2 * 9, "{fields:?}");
}
