//! Statistics: RL.STATS, INFO, and what keeps them.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::node::{assert_error, await_statistics, crash, pair, replica_of};
use crate::support::{aof, eventually, node, Random, Reply, Server};

/// Allowed, denied, deny-listed.
fn counts(stats: &Reply) -> [i64; 3] {
    ["allowed", "denied", "deny_listed"].map(|name| stats.field(name).int())
}

fn total(server: &Server) -> [i64; 3] {
    counts(&server.call("RL.STATS GET"))
}

fn named(server: &Server, name: &str) -> [i64; 3] {
    counts(&server.call(&format!("RL.STATS GET {name}")))
}

/// `(identifier, count, by how much that may be too high)`
fn identifiers(server: &Server, name: &str, kind: &str) -> Vec<(String, i64, i64)> {
    let stats = server.call(&format!("RL.STATS GET {name}"));
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
    let stats = server.call("RL.STATS GET");
    assert_eq!(counts(&stats), [3 + 3 + 1, 3 + 2 + 2 + 2, 4 + 1]);
    let algorithms = stats.field("algorithms");
    assert_eq!(counts(algorithms.field("sliding")), [3, 3, 4]);
    assert_eq!(counts(algorithms.field("fixed")), [3, 4, 0]);
    assert_eq!(counts(algorithms.field("bucket")), [1, 2, 1]);
    assert_eq!(stats.field("names").texts(), ["absent", "login"], "sorted");
    assert_eq!(named(&server, "login"), [3, 3, 4]);
    assert_eq!(named(&server, "absent"), [3, 2, 0]);
    assert_eq!(server.call("RL.STATS GET nobody"), Reply::Nil);

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
    // In this hour or, where it has just begun, in the one before it.
    let recently = |name: &str, kind: &str| -> Vec<(String, i64)> {
        identifiers(&server, name, kind)
            .into_iter()
            .map(|(identifier, this, before)| (identifier, this + before))
            .collect()
    };
    let of = |name: &str, hits| (name.to_string(), hits);
    assert_eq!(
        recently("login", "recently_allowed"),
        [of("u:1", 2), of("u:2", 1)]
    );
    assert_eq!(recently("login", "recently_denied"), [of("u:1", 3)]);
    assert_eq!(recently("login", "recently_shadow_denied"), []);
    // In RESP2, flat arrays.
    let mut flat = server.connect_with(&["-2"]);
    assert_eq!(counts(&flat.call("RL.STATS GET")), counts(&stats));
    assert_eq!(counts(&flat.call("RL.STATS GET login")), [3, 3, 4]);
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
        "RL.SLIDING text 2 30d POLICY p",
        "RL.INFO k",
    ] {
        server.call(line);
    }
    assert_eq!(total(&server), [0, 0, 0]);
    assert_eq!(
        server.call("RL.STATS GET").field("names"),
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
fn hits_are_counted_by_the_hour_and_by_the_day() {
    let server = Server::start();
    let begin = server.now_ms() / 1000;
    for i in 0..30 {
        hit(&server, &format!("RL.FIXED f:{} 3 30d POLICY p", i % 5));
        hit(&server, "RL.BUCKET b 2 1 3660d");
    }
    let end = server.now_ms() / 1000;
    for (line, sums) in [
        ("RL.STATS GET", [15 + 2, 15 + 28, 0]),
        ("RL.STATS GET p", [15, 15, 0]),
    ] {
        let stats = server.call(line);
        for (kind, seconds) in [("hours", 3_600), ("days", 86_400)] {
            let rows = stats.field(kind).array();
            let rows: Vec<Vec<i64>> = rows.iter().map(Reply::ints).collect();
            assert!(
                (1..=2).contains(&rows.len()),
                "it may have turned: {rows:?}"
            );
            for row in &rows {
                assert_eq!(row.len(), 1 + 4, "{rows:?}");
                assert_eq!(row[0] % seconds, 0, "a start in Unix seconds: {rows:?}");
                assert!((begin - seconds..=end).contains(&row[0]), "{rows:?}");
                assert_eq!(row[4], 0, "there is no shadow");
            }
            assert!(
                rows.windows(2).all(|pair| pair[0][0] < pair[1][0]),
                "oldest first"
            );
            for (place, sum) in sums.into_iter().enumerate() {
                let found: i64 = rows.iter().map(|row| row[1 + place]).sum();
                assert_eq!(found, sum, "{line} {rows:?}");
            }
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
    assert_eq!(server.call("RL.STATS GET a"), Reply::Nil);
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
    let stats = server.call("RL.STATS GET");
    assert_eq!(stats.field("names"), &Reply::Array(Vec::new()));
    assert_eq!(stats.field("hours"), &Reply::Array(Vec::new()));
    assert_eq!(stats.field("days"), &Reply::Array(Vec::new()));
    assert_eq!(server.call("RL.STATS GET b"), Reply::Nil);
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
    let before = server.call("RL.STATS GET").over_the_hour();
    for (line, says) in [
        (
            "RL.STATS GET a b",
            &["argument 3", "RL.STATS GET [name]"][..],
        ),
        (
            "RL.STATS RESET a b",
            &["argument 3", "RL.STATS RESET [name]"],
        ),
        ("RL.STATS", &["wrong number of arguments"]),
        ("RL.STATS a", &["unknown subcommand"]),
    ] {
        assert_error(&server.call(line), says);
        assert_eq!(server.call("RL.STATS GET").over_the_hour(), before);
    }
}

#[test]
fn names_past_the_bound_count_as_other() {
    let server = Server::with(&["ratelimit.stats-names 2"]);
    for name in ["a", "b", "c", "d", "a"] {
        hit(&server, &format!("RL.FIXED k:{name} 1 30d POLICY {name}"));
    }
    assert_eq!(
        server.call("RL.STATS GET").field("names").texts(),
        ["a", "b", "other"]
    );
    assert_eq!(named(&server, "a"), [1, 1, 0]);
    assert_eq!(named(&server, "other"), [2, 0, 0]);
    assert_eq!(server.call("RL.STATS GET c"), Reply::Nil);
    assert_eq!(total(&server), [4, 1, 0]);
    // A policy's name has a place of its own.
    server.ok("RL.POLICY SET e FIXED 1 30d");
    hit(&server, "RL.FIXED k:e 9 30d POLICY e");
    assert_eq!(named(&server, "e"), [1, 0, 0]);
    assert_eq!(named(&server, "other"), [2, 0, 0]);
    server.ok("CONFIG SET ratelimit.stats-names 3");
    eventually("there is room", || {
        hit(&server, "RL.FIXED k:c 9 30d POLICY c");
        server.call("RL.STATS GET c") != Reply::Nil
    });
    assert_eq!(
        server.call("RL.STATS GET").field("names").texts(),
        ["a", "b", "c", "e", "other"]
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
    // Each name: 2 lists of 16 at 235 bytes at most, a series, itself.
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
    assert_eq!(replica.call("RL.STATS GET nobody"), Reply::Nil);
    let stats = |server: &Server| {
        let odd = server.call_bytes(&[b"RL.STATS", b"GET", b"\x00\xff"]);
        (
            server.call("RL.STATS GET").over_the_hour(),
            server.call("RL.STATS GET p").over_the_hour(),
            odd.over_the_hour(),
        )
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
    drop(replica);
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
    let total = server.call("RL.STATS GET");
    let names = total.field("names").array().iter();
    let named: Vec<Reply> = names
        .map(|name| server.call_bytes(&[b"RL.STATS", b"GET", name.bytes()]))
        .collect();
    let all = [vec![total], named].concat();
    all.into_iter().map(Reply::over_the_hour).collect()
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

/// With and without a rewrite, and whether its file begins as an RDB or not: what was counted is there but for the last
/// second, whether the server was killed or shut down.
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
                await_statistics(&server);
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
    assert!(aof::statistics(&server).is_empty());
    server.ok("CLIENT UNPAUSE");
    eventually("it is written", || !aof::statistics(&server).is_empty());
    let before = everything(&server);
    assert_eq!(before.len(), 3);
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
    let seconds = usize::try_from(begin.elapsed().as_secs()).unwrap() + 2;
    // A record a second, of one name and of the totals: 64 identifiers in each of their lists.
    let records = aof::statistics(&server);
    assert!(
        !records.is_empty() && records.len() <= seconds * 10 / 9,
        "{seconds} s: {}",
        records.len()
    );
    assert!(records.iter().all(|record| record[1].len() < 5 * 64 * 30));
    let size = server.info_number("persistence", "aof_current_size");
    assert!(
        size < 20_000 * i64::try_from(seconds).unwrap(),
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

/// Waits until the replica has what the primary has.
fn assert_follows(primary: &Server, replica: &Server) {
    await_statistics(primary);
    assert!(primary.call("WAIT 1 60000").int() >= 1);
    assert_eq!(everything(replica), everything(primary));
}

/// Hit by hit a replica is sent what the hits charge; what they count once a second, and little of it.
#[test]
fn a_replica_follows_the_statistics() {
    let (primary, replica) = pair(&["repl-ping-replica-period 3600"], &[]);
    let mut random = Random::new(43);
    primary.call("RL.DENY ADD bad f:7");
    for round in 0..4 {
        for reply in primary.bulk(&hits(&mut random, 500)) {
            assert!(matches!(reply, Reply::Array(_)), "{reply:?}");
        }
        match round {
            1 => assert_eq!(primary.call("RL.STATS RESET p:2").int(), 1),
            2 => assert_eq!(primary.call("RL.STATS RESET").int(), 1),
            _ => {}
        }
        assert_follows(&primary, &replica);
    }
    let begin = primary.info_number("replication", "master_repl_offset");
    let started = std::time::Instant::now();
    for reply in primary.bulk(&vec!["RL.FIXED k 0 1h POLICY p".to_string(); 20_000]) {
        assert_eq!(reply.array()[0].int(), 0);
    }
    assert_follows(&primary, &replica);
    let seconds = i64::try_from(started.elapsed().as_secs()).unwrap() + 2;
    let sent = primary.info_number("replication", "master_repl_offset") - begin;
    assert!(sent < seconds * 20_000, "{sent} bytes in {seconds} s");
}

/// A failover, and then a restart of the new primary: nothing is lost but the last second, which the test waits for.
#[test]
fn a_promoted_replica_has_the_statistics_and_a_restart_keeps_them() {
    let aof = ["appendonly yes", "appendfsync always"];
    let (mut primary, replica) = pair(&aof, &aof);
    let mut replica = replica;
    for _ in 0..200 {
        hit(&primary, "RL.FIXED k 100 1h POLICY p");
    }
    assert_follows(&primary, &replica);
    let before = everything(&primary);
    primary.kill();
    replica.ok("REPLICAOF NO ONE");
    assert_eq!(everything(&replica), before);
    hit(&replica, "RL.FIXED k 100 1h POLICY p");
    assert_eq!(named(&replica, "p"), [100, 101, 0]);
    replica.ok("CONFIG REWRITE");
    let before = everything(&replica);
    crash(&mut replica);
    assert_eq!(everything(&replica), before);
}

/// The old primary comes back as a replica, by a partial resynchronisation, with hits that it never told: it ends as the new
/// primary is, and no record is refused.
#[test]
fn an_old_primary_that_follows_the_new_one_ends_as_it_is() {
    let (primary, replica) = pair(
        &[
            "repl-ping-replica-period 3600",
            "propagation-error-behavior panic",
        ],
        &["repl-ping-replica-period 3600"],
    );
    for _ in 0..20 {
        hit(&primary, "RL.FIXED k 10 1h POLICY p");
    }
    assert_follows(&primary, &replica);
    // Denied hits write nothing, and no clock ticks between these and the change of roles: they are in no stream.
    primary.ok("MULTI");
    for _ in 0..30 {
        primary.call("RL.FIXED k 10 1h POLICY p");
    }
    primary.call(&format!("REPLICAOF 127.0.0.1 {}", replica.port()));
    replica.ok("REPLICAOF NO ONE");
    primary.call("EXEC");
    node::wait_for_link(&primary);
    assert_eq!(replica.info_number("stats", "sync_full"), 0);
    hit(&replica, "RL.FIXED k 10 1h POLICY p");
    eventually("it is told", || {
        replica.info_number("ratelimit", "ratelimit_stats_unwritten") == 0
    });
    assert!(replica.call("WAIT 1 60000").int() >= 1);
    assert_eq!(named(&replica, "p"), [10, 11, 0]);
    assert_eq!(everything(&primary), everything(&replica));
}

/// RESET is a write: a replica takes it from its primary alone, and a script that may only read does not get through.
#[test]
fn a_reset_is_a_write() {
    let (primary, replica) = pair(&[], &[]);
    hit(&primary, "RL.FIXED k 1 30d POLICY p");
    assert_follows(&primary, &replica);
    let refused = replica.call("RL.STATS RESET");
    assert!(refused.error().starts_with("READONLY"), "{refused:?}");
    let script = "EVAL \"#!lua flags=no-writes\\nreturn redis.call('RL.STATS', 'RESET')\" 0";
    assert!(primary.call(script).is_error());
    let script = "EVAL_RO \"return redis.call('RL.STATS', 'RESET')\" 0";
    assert!(primary.call(script).is_error());
    assert_eq!(named(&primary, "p"), [1, 0, 0]);
    assert_eq!(primary.call("RL.STATS RESET p").int(), 1);
    assert_follows(&primary, &replica);
    assert_eq!(replica.call("RL.STATS GET p"), Reply::Nil);
    assert_eq!(total(&replica), [1, 0, 0]);
    primary.ok("ACL SETUSER reader on >secret ~* -@all +rl.stats|get");
    let mut reader = primary.connect();
    reader.ok("AUTH reader secret");
    assert_eq!(counts(&reader.call("RL.STATS GET")), [1, 0, 0]);
    let refused = reader.call("RL.STATS RESET");
    assert!(refused.error().starts_with("NOPERM"), "{refused:?}");
}

/// What a replica was sent is in its own AOF.
#[test]
fn the_aof_of_a_replica_keeps_its_statistics() {
    let (primary, _) = pair(&[], &[]);
    hit(&primary, "RL.FIXED k 1 30d POLICY p");
    hit(&primary, "RL.FIXED k 1 30d POLICY q");
    let mut late = replica_of(&primary, &["appendonly yes", "appendfsync always"]);
    aof::await_rewrite(&late);
    assert_eq!(primary.call("RL.STATS RESET p").int(), 1);
    hit(&primary, "RL.FIXED k 1 30d POLICY q");
    await_statistics(&primary);
    assert!(primary.call("WAIT 1 60000").int() >= 1);
    let before = everything(&primary);
    assert_eq!(everything(&late), before);
    drop(primary);
    late.ok("REPLICAOF NO ONE");
    late.ok("CONFIG REWRITE");
    crash(&mut late);
    assert_eq!(everything(&late), before);
}

/// Many made-up names leave a policy's own its place.
#[test]
fn made_up_names_take_no_policys_place() {
    let server = Server::start();
    let lines: Vec<String> = (0..1_500)
        .map(|name| format!("RL.FIXED k 9 1h POLICY made.up:{name}"))
        .collect();
    server.bulk(&lines);
    server.ok("RL.POLICY SET login FIXED 5 1h");
    hit(&server, "RL.FIXED login:alice 9 1h POLICY login");
    assert_eq!(named(&server, "login"), [1, 0, 0]);
    let other = named(&server, "other");
    assert_eq!(other[0] + other[1], 500);
}

/// The lists under the totals: of hits without a name, and of the values that deny lists caught.
#[test]
fn the_totals_list_who_hit_without_a_name_and_what_was_deny_listed() {
    let server = Server::start();
    server.call("RL.DENY ADD bad 192.0.2.0/24 evil");
    for line in [
        "RL.FIXED user:1 2 1h",
        "RL.FIXED user:1 2 1h",
        "RL.SLIDING user:2 0 1h",
        "RL.FIXED named 2 1h POLICY p",
        "RL.FIXED x 2 1h DENY bad [::ffff:192.0.2.7]:443",
        "RL.FIXED x 2 1h DENY bad 192.0.2.7",
        "RL.FIXED x 2 1h POLICY p DENY bad evil",
        "RL.PEEK FIXED x 2 1h DENY bad evil",
    ] {
        hit(&server, line);
    }
    let lists = |stats: &Reply| {
        ["most_allowed", "most_denied", "most_deny_listed"].map(|kind| {
            let list = stats.field(kind).array().iter();
            let list = list.map(|one| (one.array()[0].text(), one.array()[1].int()));
            list.collect::<Vec<_>>()
        })
    };
    let one = |name: &str, count| (name.to_string(), count);
    assert_eq!(
        lists(&server.call("RL.STATS GET")),
        [
            vec![one("user:1", 2)],
            vec![one("user:2", 1)],
            vec![one("192.0.2.7", 2), one("evil", 1)],
        ]
    );
    assert_eq!(server.call("RL.STATS RESET").int(), 1);
    let empty: [Vec<(String, i64)>; 3] = Default::default();
    assert_eq!(lists(&server.call("RL.STATS GET")), empty);
}

/// A tenant sees its own identifiers, and no other's; nobody sees any where the server knows no user.
#[test]
fn a_caller_sees_only_identifiers_that_its_acl_lets_it_read() {
    let server = Server::start();
    server.call("RL.DENY ADD bad evil");
    let long = format!("a:{}", "x".repeat(200));
    for key in ["a:1", "b:2", "c:3", &long] {
        hit(&server, &format!("RL.FIXED {key} 9 1h"));
        hit(&server, &format!("RL.FIXED {key} 9 1h POLICY p"));
    }
    hit(&server, "RL.FIXED a:1 9 1h DENY bad evil");
    let seen = |stats: &Reply, kind: &str| {
        let list = stats.field(kind).array().iter();
        let mut list: Vec<_> = list.map(|one| one.array()[0].text()).collect();
        list.sort();
        list.iter()
            .map(|name| name.chars().take(3).collect::<String>())
            .collect::<Vec<_>>()
    };
    for (name, rules, sees, values) in [
        ("all", "~* +@all", &["a:1", "a:x", "b:2", "c:3"][..], 1),
        ("tenant", "~a:* +rl.stats", &["a:1", "a:x"], 0),
        ("reads", "%R~b:* ~other +rl.stats|get", &["b:2"], 0),
        ("writes", "%W~b:* +rl.stats", &[], 0),
        ("exact", "~a:1 ~*0 +rl.stats +rl.deny|entries", &["a:1"], 1),
        ("selector", "+rl.stats (~c:* +rl.fixed)", &["c:3"], 0),
        ("none", "+rl.stats +rl.deny|has", &[], 0),
    ] {
        server.ok(&format!("ACL SETUSER {name} on >secret -@all {rules}"));
        let mut caller = server.connect();
        caller.ok(&format!("AUTH {name} secret"));
        for line in ["RL.STATS GET", "RL.STATS GET p"] {
            let stats = caller.call(line);
            assert_eq!(counts(&stats)[0], if line.ends_with('p') { 4 } else { 8 });
            assert_eq!(seen(&stats, "most_allowed"), sees, "{name}: {line}");
        }
        let stats = caller.call("RL.STATS GET");
        assert_eq!(
            stats.field("most_deny_listed").array().len(),
            values,
            "{name}"
        );
    }
    let script = "EVAL \"return redis.call('RL.STATS', 'GET', 'p')[10]\" 0";
    assert_eq!(server.call(script), Reply::Array(Vec::new()));
}

/// A record by hand: applied, and what the AOF has of it is what this server tells by itself, so that it loads.
#[test]
fn a_record_sent_by_hand_leaves_an_aof_that_loads() {
    let lines = [
        "appendonly yes",
        "appendfsync always",
        "propagation-error-behavior panic",
    ];
    let mut server = Server::with(&lines);
    let source = Server::with(&lines);
    for _ in 0..30 {
        hit(&source, "RL.FIXED k 9 1h POLICY p");
    }
    await_statistics(&source);
    let records = aof::statistics(&source);
    // Some hits that the file does not have yet, and a record that follows on them.
    let send = |record: &aof::Command| {
        let words: Vec<&[u8]> = record.iter().map(Vec::as_slice).collect();
        server.call_bytes(&words)
    };
    for record in &records {
        hit(&server, "RL.FIXED k 9 1h POLICY p");
        assert_eq!(send(record).text(), "OK");
        hit(&server, "RL.FIXED k 9 1h POLICY p");
    }
    for part in [
        &b"S"[..],
        b"Sx",
        b"S\x02",
        b"",
        b"X",
        b"P",
        b"p",
        b"A\x01\x01",
    ] {
        let refused = server.call_bytes(&[b"RL.NODE", part]);
        assert_error(&refused, &["argument 1 (payload)"]);
    }
    let before = everything(&server);
    crash(&mut server);
    assert_eq!(everything(&server), before);
    let log = std::fs::read_to_string(server.dir().join("log")).unwrap();
    assert!(!log.contains("CRITICAL"), "{log}");
}

#[test]
fn info_tells_totals_names_lists_and_memory() {
    let server = Server::start();
    let number = |field: &str| server.info_number("ratelimit", &format!("ratelimit_{field}"));
    for field in [
        "allowed",
        "denied",
        "deny_listed",
        "shadow_denied",
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
        "ratelimit_fixed:allowed=1,denied=1,deny_listed=1,shadow_denied=0",
        "ratelimit_sliding:allowed=1,denied=0,deny_listed=0,shadow_denied=0",
        "ratelimit_bucket:allowed=0,denied=0,deny_listed=0,shadow_denied=0",
    ] {
        assert!(
            info.iter().any(|other| other == line),
            "no line {line}: {info:#?}"
        );
    }
    for (name, value) in [
        ("bad", "entries=7,fingerprint="),
        ("other", "entries=1,fingerprint="),
        ("login", "allowed=1,denied=0,deny_listed=0,shadow_denied=0"),
    ] {
        let told = |line: &String| {
            line.starts_with("ratelimit_") && line.contains(&format!("{name}:{value}"))
        };
        assert!(info.iter().any(told), "{name}: {info:#?}");
    }
    assert_eq!(
        server.info_field("ratelimit", "ratelimit_version"),
        env!("CARGO_PKG_VERSION")
    );
    // What scripts/build was told, or found; unknown where cargo was asked, or there is no repository.
    let commit = server.info_field("ratelimit", "ratelimit_commit");
    let hex = commit.trim_end_matches("-changed");
    let is_hash = hex.len() == 40 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(is_hash || hex == "unknown", "{commit}");
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

/// Nodes that hold the same say the same, whatever the order it came in; and a difference is seen.
#[test]
fn fingerprints_are_those_of_the_contents() {
    let (one, other) = (Server::start(), Server::start());
    let field = |server: &Server, field: &str| server.info_field("ratelimit", field);
    let list = |server: &Server| {
        let list = field(server, "ratelimit_list_bad");
        let fingerprint = list
            .split(',')
            .find(|part| part.starts_with("fingerprint="));
        fingerprint.unwrap().to_string()
    };
    let policies = |server: &Server| field(server, "ratelimit_policies_fingerprint");
    assert_eq!(policies(&one), "e3b0c44298fc1c14", "SHA-256 of nothing");
    assert_eq!(field(&one, "ratelimit_policies_changed_ms"), "0");
    one.ok("RL.POLICY SET login SLIDING 5 15m");
    one.ok("RL.POLICY SET api BUCKET 100 10 1s");
    other.ok("RL.POLICY SET api BUCKET 100 10 1000ms");
    assert_ne!(policies(&one), policies(&other));
    other.ok("RL.POLICY SET login SLIDING 5 900s");
    other.ok("RL.POLICY SET login SLIDING 1 900s TTL 1h");
    // printf '3:api bucket 100 10 1s\n5:login sliding 5 15m\n' | sha256sum
    assert_eq!(policies(&one), "241388b1617049e2");
    assert_eq!(policies(&other), policies(&one));
    assert!(
        field(&one, "ratelimit_policies_changed_ms")
            .parse::<i64>()
            .unwrap()
            > 1
    );

    one.call("RL.DENY ADD bad 10.0.0.0/8 alice 2001:db8::1");
    other.call("RL.DENY ADD bad 2001:db8:0::1 eve");
    other.call("RL.DENY ADD bad bob TTL 1h");
    assert_ne!(list(&one), list(&other));
    other.call("RL.DENY ADD staging alice 10.0.0.0/8 2001:db8::1");
    other.ok("RL.DENY RENAME staging bad");
    assert_eq!(list(&one), list(&other));
    one.ok("DEBUG RELOAD");
    assert_eq!(list(&one), list(&other));
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
    assert_eq!(fields.len(), 22 + 2 * 9, "{fields:?}");
}

/// A customer's policy in front of everybody's: both rows tell what became of its hits, and the totals tell of each hit once.
#[test]
fn a_hit_counts_under_the_policy_in_force_and_under_the_last_name() {
    let (primary, replica) = pair(&[], &[]);
    primary.ok("RL.POLICY SET api FIXED 100 30d");
    primary.ok("RL.POLICY SET api:acme FIXED 2 30d");
    primary.ok("RL.POLICY SHADOW tried FIXED 1 30d");
    primary.ok("RL.POLICY SET wrong SLIDING 1 30d");
    for line in [
        "RL.FIXED acme 9 30d POLICY absent POLICY wrong POLICY api:acme POLICY api",
        "RL.FIXED other 9 30d POLICY api:other POLICY api",
        "RL.FIXED alone 9 30d POLICY api",
        "RL.FIXED nameless 9 30d",
        "RL.FIXED twice 9 30d POLICY api:acme POLICY api:acme",
        "RL.ALL 1 all FIXED 9 30d POLICY api:acme POLICY api",
        "RL.FIXED with 9 30d POLICY tried POLICY api",
    ] {
        for _ in 0..3 {
            hit(&primary, line);
        }
    }
    let expected = |server: &Server| {
        let named = |name| named(server, name);
        assert_eq!(named("api:acme"), [6, 3, 0]);
        assert_eq!(named("api"), [2 + 3 + 3 + 2 + 3, 1 + 1, 0]);
        assert_eq!(named("tried"), [3, 0, 0], "it judges, if only beside");
        let shadowed = server.call("RL.STATS GET tried");
        assert_eq!(shadowed.field("shadow_denied").int(), 2);
        assert_eq!(total(server), [3 + 2 + 2 + 3 + 3 + 2 + 3, 3, 0]);
        for name in ["absent", "wrong", "api:other"] {
            assert_eq!(server.call(&format!("RL.STATS GET {name}")), Reply::Nil);
        }
        assert_eq!(
            identifiers(server, "api:acme", "most_denied"),
            [("acme", 1, 0), ("all", 1, 0), ("twice", 1, 0)].map(|(name, count, error)| (
                name.to_string(),
                count,
                error
            ))
        );
        let field = |name: &str| server.info_field("ratelimit", &format!("ratelimit_{name}"));
        assert_eq!(
            field("name_api%3aacme"),
            "allowed=6,denied=3,deny_listed=0,shadow_denied=0,before=api"
        );
        assert_eq!(
            field("name_tried"),
            "allowed=3,denied=0,deny_listed=0,shadow_denied=2,before=api"
        );
        assert!(!field("name_api").contains("before"));
        assert_eq!(
            field("unnamed"),
            "allowed=3,denied=0,deny_listed=0,shadow_denied=0"
        );
    };
    expected(&primary);
    await_statistics(&primary);
    eventually("the replica has them", || {
        total(&replica) == total(&primary)
    });
    expected(&replica);
    primary.ok("DEBUG RELOAD");
    expected(&primary);
}
