//! A limiter as a key among keys: copied, dumped, moved, renamed, expired, measured, freed.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::support::{self, aof, eventually, traffic, Random, Server};

/// One limiter of each kind: `(algorithm, limits, cost of a first hit)`.
const LIMITERS: [(&str, &str); 6] = [
    ("FIXED", "10 30d"),
    ("SLIDING", "10 30d"),
    ("BUCKET", "10 1 30d"),
    ("FIXED", "10 30d 20 60d"),
    ("SLIDING", "10 30d 20 60d"),
    ("BUCKET", "10 1 30d 20 1 60d"),
];

/// What is left under `key` of the first of `limits`.
fn remaining(server: &Server, algorithm: &str, key: &str, limits: &str) -> i64 {
    let peek = server.decide(&format!("RL.PEEK {algorithm} {key} {limits} COST 0"));
    peek.each.first().unwrap_or(&peek.verdict).remaining
}

#[test]
fn a_copy_is_equal_and_lives_its_own_life() {
    let server = Server::start();
    for (algorithm, limits) in LIMITERS {
        server.ok("FLUSHALL");
        server.decide(&format!("RL.{algorithm} a {limits} COST 4"));
        assert_eq!(server.call("COPY a b").int(), 1);
        assert_eq!(server.digest_value("a"), server.digest_value("b"));
        assert_eq!(server.call("PEXPIRETIME a"), server.call("PEXPIRETIME b"));
        server.decide(&format!("RL.{algorithm} b {limits} COST 5"));
        assert_ne!(server.digest_value("a"), server.digest_value("b"));
        assert_eq!(remaining(&server, algorithm, "a", limits), 6);
        assert_eq!(remaining(&server, algorithm, "b", limits), 1);
        server.call("DEL a");
        assert_eq!(remaining(&server, algorithm, "b", limits), 1);
        assert_eq!(server.call("COPY b c DB 3").int(), 1);
    }
}

#[test]
fn a_dump_is_restored_to_the_same_state() {
    let server = Server::start();
    for (algorithm, limits) in LIMITERS {
        server.ok("FLUSHALL");
        server.decide(&format!("RL.{algorithm} a {limits} COST 4"));
        let expires = server.call("PEXPIRETIME a").int();
        let dump = server.call("DUMP a");
        let ttl = expires.to_string();
        let reply = server.call_bytes(&[b"RESTORE", b"b", ttl.as_bytes(), dump.bytes(), b"ABSTTL"]);
        assert_eq!(reply.text(), "OK");
        assert_eq!(server.digest_value("a"), server.digest_value("b"));
        assert_eq!(server.call("PEXPIRETIME b").int(), expires);
        assert_eq!(server.call("DUMP b"), dump);
        assert_eq!(remaining(&server, algorithm, "b", limits), 6);
    }
}

#[test]
fn random_states_survive_copy_and_restore() {
    let server = Server::start();
    let mut random = Random::new(12);
    server.bulk(&traffic::calls(&mut random, &traffic::LONG_WINDOWS, 5_000));
    for key in server.call("KEYS *").texts() {
        let digest = server.digest_value(&key);
        let dump = server.call(&format!("DUMP {key}"));
        // The server's digest of a value also says whether it has a TTL.
        server.call_bytes(&[
            b"RESTORE",
            b"restored",
            b"1000000",
            dump.bytes(),
            b"REPLACE",
        ]);
        assert_eq!(server.digest_value("restored"), digest, "{key}");
        server.call(&format!("COPY {key} copied REPLACE"));
        assert_eq!(server.digest_value("copied"), digest, "{key}");
    }
}

#[test]
fn migrate_moves_a_limiter_with_its_ttl() {
    let (from, to) = (Server::start(), Server::start());
    for (algorithm, limits) in LIMITERS {
        to.ok("FLUSHALL");
        from.decide(&format!("RL.{algorithm} k {limits} COST 4"));
        let (digest, expires) = (from.digest_value("k"), from.call("PEXPIRETIME k").int());
        from.ok(&format!("MIGRATE 127.0.0.1 {} k 0 10000", to.port()));
        assert_eq!(from.call("EXISTS k").int(), 0);
        assert_eq!(to.digest_value("k"), digest);
        // MIGRATE sends what is left, so the way there is added.
        assert!(to.call("PEXPIRETIME k").int() >= expires);
        assert_eq!(
            to.decide(&format!("RL.{algorithm} k {limits}")).remaining,
            5
        );
    }
}

#[test]
fn rename_and_move_keep_state_and_ttl() {
    let server = Server::start();
    for (algorithm, limits) in LIMITERS {
        server.ok("FLUSHALL");
        server.decide(&format!("RL.{algorithm} a {limits} COST 4"));
        let (digest, expires) = (server.digest_value("a"), server.call("PEXPIRETIME a"));
        server.ok("RENAME a b");
        assert_eq!(server.digest_value("b"), digest);
        assert_eq!(server.call("PEXPIRETIME b"), expires);
        assert_eq!(server.call("MOVE b 7").int(), 1);
        server.ok("SELECT 7");
        assert_eq!(server.digest_value("b"), digest);
        assert_eq!(server.call("PEXPIRETIME b"), expires);
        assert_eq!(remaining(&server, algorithm, "b", limits), 6);
        server.ok("SELECT 0");
    }
}

#[test]
fn the_digest_tells_states_apart_and_nothing_else() {
    let server = Server::start();
    let mut seen = BTreeSet::new();
    for (algorithm, limits) in LIMITERS {
        for cost in [1, 2, 3] {
            server.call("DEL k");
            server.decide(&format!("RL.{algorithm} k {limits} COST {cost}"));
            let digest = server.digest_value("k");
            assert!(digest.bytes().any(|byte| byte != b'0'), "no digest");
            assert!(
                seen.insert(digest.clone()),
                "two states, one digest: {algorithm} {limits} {cost}"
            );
            server.call("RL.INFO k");
            assert_eq!(
                server.digest_value("k"),
                digest,
                "reading does not change it"
            );
        }
    }
}

/// Every key has a TTL, no earlier than when nothing is used any more, whatever is called.
#[test]
fn a_key_always_outlives_what_is_used() {
    let server = Server::start();
    let mut random = Random::new(13);
    for _ in 0..6_000 {
        let line = traffic::call(&mut random, &traffic::ALL_WINDOWS);
        let before = server.now_ms();
        let reply = server.call(&line);
        // A peek answers what would be, so it says nothing of the key.
        if reply.is_error() || line.starts_with("RL.PEEK") {
            continue;
        }
        let key = line.split(' ').find(|word| word.starts_with("k:")).unwrap();
        let expires = server.call(&format!("PEXPIRETIME {key}")).int();
        let decision = reply.decision();
        let reset = decision
            .each
            .iter()
            .map(|verdict| verdict.reset_after_ms)
            .max();
        let reset = reset
            .unwrap_or(decision.reset_after_ms)
            .max(decision.reset_after_ms);
        // -2: no key, so nothing may be used, unless what was used has ended since.
        if expires == -2 {
            assert!(
                server.now_ms() >= before + reset,
                "{line}: {decision:?}, but there is no key"
            );
        } else {
            assert!(
                expires >= before + reset,
                "{line}: {decision:?} at {before}, expires at {expires}"
            );
        }
    }
}

/// A TTL that a client takes away or shortens is put right by the next hit that is charged.
#[test]
fn a_ttl_that_is_taken_away_or_too_short_is_put_right() {
    let mut server = Server::with(&["appendonly yes", "appendfsync always"]);
    for (algorithm, limits) in LIMITERS {
        let dump =
            |server: &Server, key: &str| server.call(&format!("DUMP {key}")).bytes().to_vec();
        let restore = |server: &Server, ttl: &str, dump: &[u8]| {
            let reply = server.call_bytes(&[b"RESTORE", b"k", ttl.as_bytes(), dump, b"REPLACE"]);
            assert_eq!(reply.text(), "OK");
        };
        for meddle in [
            "PERSIST k",
            "PEXPIRE k 100000",
            "RESTORE 0",
            "RESTORE 100000",
        ] {
            server.call("DEL k");
            let before = server.now_ms();
            let hit = server.decide(&format!("RL.{algorithm} k {limits} COST 2"));
            let reset = hit.each.iter().map(|verdict| verdict.reset_after_ms).max();
            let end = before + reset.unwrap_or(hit.reset_after_ms);
            match meddle.strip_prefix("RESTORE ") {
                Some(ttl) => restore(&server, ttl, &dump(&server, "k")),
                None => assert_eq!(server.call(meddle).int(), 1),
            }
            server.decide(&format!("RL.{algorithm} k {limits} COST 1"));
            let expires = server.call("PEXPIRETIME k").int();
            assert!(
                expires >= end,
                "{meddle}: {algorithm} {limits}: {expires}, in use until {end}"
            );
        }
        server.call(&format!("RENAME k {}:{}", algorithm, limits.len()));
    }
    // The file holds each PERSIST and EXPIRE as it was sent.
    let (digest, keys) = (server.digest(), server.call("DBSIZE"));
    server.kill();
    server.start_again().unwrap();
    assert_eq!((server.digest(), server.call("DBSIZE")), (digest, keys));
    for key in server.call("KEYS *").texts() {
        assert!(server.call(&format!("PTTL {key}")).int() > 0, "{key}");
    }
}

/// The state that a clock's backward step makes travels whole; the key's TTL stays where the step was, so it must stay
/// where the state arrives.
#[test]
fn a_state_that_arrives_leaves_a_ttl_that_is_late_enough() {
    const LATE_MS: i64 = 9_000_000_000_000;
    let server = Server::with(&["appendonly yes", "aof-use-rdb-preamble no"]);
    server.decide("RL.SLIDING key 5 1d");
    aof::rewrite(&server);
    let state = aof::base_commands(&server)
        .into_iter()
        .find(|command| command[0].eq_ignore_ascii_case(b"RL.APPLY"))
        .unwrap();
    let state: Vec<&[u8]> = state.iter().map(Vec::as_slice).collect();

    server.call(&format!("PEXPIREAT key {LATE_MS}"));
    assert_eq!(server.call_bytes(&state).text(), "OK");
    assert_eq!(server.call("PEXPIRETIME key").int(), LATE_MS);

    server.call("PEXPIRE key 60000");
    assert_eq!(server.call_bytes(&state).text(), "OK");
    assert!(
        server.call("PTTL key").int() > 86_000_000,
        "one that is too early is put right"
    );
}

/// Correctness does not depend on the TTL: a key that outlives its windows has nothing used.
#[test]
fn a_key_with_a_longer_ttl_still_ends_its_windows() {
    let server = Server::start();
    for (algorithm, limits) in [
        ("FIXED", "5 100ms"),
        ("SLIDING", "5 100ms"),
        ("BUCKET", "5 5 100ms"),
    ] {
        eventually("the TTL is changed before the key ends", || {
            server.decide(&format!("RL.{algorithm} k {limits} COST 9 FORCE"));
            server.call("PEXPIRE k 100000000").int() == 1
        });
        eventually("nothing is used any more", || {
            remaining(&server, algorithm, "k", limits) == 5
        });
        assert!(
            server.call("PTTL k").int() > 90_000_000,
            "a peek does not touch it"
        );
        assert!(
            server
                .decide(&format!("RL.{algorithm} k {limits} COST 5"))
                .allowed
        );
        assert!(server.call("PTTL k").int() > 0);
        server.call("DEL k");
    }
}

#[test]
fn expired_keys_go_away() {
    let server = Server::start();
    for (algorithm, limits) in [
        ("FIXED", "5 50ms"),
        ("SLIDING", "5 50ms"),
        ("BUCKET", "5 5 50ms"),
    ] {
        server.decide(&format!("RL.{algorithm} {algorithm} {limits} COST 3"));
    }
    eventually("the database is empty", || server.call("DBSIZE").int() == 0);
}

/// A hot key must not pay for a new TTL on each hit. Each hit is in a millisecond of its own, so a TTL that followed
/// each hit would have as many values as there are hits.
#[test]
fn a_hot_key_keeps_its_ttl() {
    let server = Server::start();
    for (algorithm, limits) in [
        ("FIXED", "1000 1h"),
        ("SLIDING", "1000 1h"),
        ("BUCKET", "1000 1000 1h"),
    ] {
        let mut expiries = BTreeSet::new();
        for _ in 0..100 {
            let last = server.now_ms();
            eventually("the next millisecond", || server.now_ms() > last);
            assert!(
                server
                    .decide(&format!("RL.{algorithm} {algorithm} {limits}"))
                    .allowed
            );
            expiries.insert(server.call(&format!("PEXPIRETIME {algorithm}")).int());
        }
        assert!(
            expiries.len() <= 20,
            "{algorithm}: {} TTLs in 100 hits",
            expiries.len()
        );
    }
}

#[test]
fn memory_usage_counts_what_a_key_holds() {
    let server = Server::start();
    let usage = |key: &str| server.call(&format!("MEMORY USAGE {key}")).int();
    for (algorithm, limits) in LIMITERS {
        server.call("DEL k");
        server.decide(&format!("RL.{algorithm} k {limits}"));
        let bytes = usage("k");
        assert!(
            (16..2_000).contains(&bytes),
            "{algorithm} {limits}: {bytes}"
        );
    }
    server.ok("CONFIG SET ratelimit.sliding-entries 64");
    server.decide("RL.SLIDING log 1000000 30d");
    let one = usage("log");
    let entries = || {
        server.call("RL.INFO log").field("limits").array()[0]
            .field("entries")
            .int()
    };
    eventually("the log is full", || {
        server.decide("RL.SLIDING log 1000000 30d");
        entries() == 64
    });
    let full = usage("log");
    assert!(full > one, "64 entries take more than one: {one}, {full}");
    server.bulk(&vec!["RL.SLIDING log 1000000 30d".to_string(); 5_000]);
    // An entry is a time and a cost: 16 bytes at the most.
    let most = one + 64 * 16;
    assert!(
        usage("log") <= most,
        "bounded by its entries: {one}, {full}, {}",
        usage("log")
    );
}

/// What was allocated is given back, whichever way the keys go.
#[test]
fn freed_keys_give_their_memory_back() {
    let server = Server::with(&["ratelimit.sliding-entries 4096"]);
    let fill = || {
        let mut random = Random::new(14);
        let lines: Vec<String> = (0..10_000)
            .map(|i| {
                let (algorithm, limits) = *random.pick(&LIMITERS);
                format!(
                    "RL.{algorithm} {algorithm}:{}:{} {limits} FORCE",
                    limits.len(),
                    i % 2_000
                )
            })
            .collect();
        server.bulk(&lines);
        server.bulk(&vec!["RL.SLIDING big 100000 30d".to_string(); 10_000]);
    };
    let used = || {
        server.disconnect();
        server.info_number("memory", "used_memory")
    };
    fill();
    server.ok("FLUSHALL SYNC");
    let empty = used();
    for free in [
        "FLUSHALL ASYNC",
        "FLUSHDB SYNC",
        "UNLINK",
        "DEL",
        "RENAME",
        "COPY",
    ] {
        fill();
        let full = used();
        assert!(full > empty + 400_000, "{free}: {empty} then {full}");
        match free {
            "UNLINK" | "DEL" => {
                let keys = server.call("KEYS *").texts();
                let removed = server.call(&format!("{free} {}", keys.join(" "))).int();
                assert_eq!(removed, i64::try_from(keys.len()).unwrap());
            }
            // Overwritten by another key.
            "RENAME" | "COPY" => {
                server.decide("RL.FIXED small 10 30d");
                for key in server
                    .call("KEYS *:*")
                    .texts()
                    .iter()
                    .chain(["big".to_string()].iter())
                {
                    match free {
                        "COPY" => {
                            assert_eq!(server.call(&format!("COPY small {key} REPLACE")).int(), 1)
                        }
                        _ => {
                            server.ok(&format!("RENAME {key} small"));
                        }
                    }
                }
                server.ok("FLUSHALL SYNC");
            }
            _ => server.ok(free),
        }
        assert_eq!(server.call("DBSIZE").int(), 0);
        eventually(&format!("{free} gives the memory back"), || {
            used() < empty + 100_000
        });
    }
}

/// A server whose active defragmentation goes on as long as there is anything to gain. `None` where it has none, as it is
/// built on an allocator of the system's.
fn defragmenting(lines: &[&str]) -> Option<Server> {
    let server = Server::with(lines);
    for line in [
        "active-defrag-ignore-bytes 1",
        "active-defrag-threshold-lower 0",
        "active-defrag-cycle-min 60",
        "active-defrag-cycle-max 75",
        "hz 100",
    ] {
        server.ok(&format!("CONFIG SET {line}"));
    }
    let support::Reply::Error(text) = server.call("CONFIG SET activedefrag yes") else {
        server.ok("CONFIG SET activedefrag no");
        return Some(server);
    };
    assert!(text.contains("cannot be enabled"), "{text}");
    support::skipped(
        "active defragmentation: this server cannot (`scripts/matrix valkey-8.1-defrag` builds one that can)",
    );
    None
}

/// Makes holes between the keys of `names`, all but each seventh of which go, and has them closed. The values are most of
/// what there is: as long as they stay where they are, so do most holes.
fn assert_holes_are_closed(server: &Server, names: &[String]) {
    let gone = names.iter().enumerate().filter(|(index, _)| index % 7 != 0);
    let gone: Vec<String> = gone.map(|(_, name)| format!("DEL {name}")).collect();
    server.bulk(&gone);
    let fragmented = || server.info_number("memory", "allocator_frag_bytes");
    let digest = server.digest();
    let mut before = 0;
    eventually("the server sees the holes", || {
        let (last, now) = (before, fragmented());
        before = now;
        now > 1_000_000 && now == last
    });
    server.ok("CONFIG SET activedefrag yes");
    eventually("most of the holes are closed", || fragmented() < before / 2);
    assert!(server.info_number("stats", "active_defrag_hits") > 0);
    assert_eq!(server.digest(), digest);
    server.ok("CONFIG SET activedefrag no");
}

#[test]
fn defragmentation_moves_limiters_unharmed() {
    const LIMITERS: [(&str, &str); 3] = [
        ("SLIDING", "10 30d"),
        (
            "FIXED",
            "10 30d 11 31d 12 32d 13 33d 14 34d 15 35d 16 36d 17 37d",
        ),
        (
            "BUCKET",
            "10 1 30d 11 1 31d 12 1 32d 13 1 33d 14 1 34d 15 1 35d",
        ),
    ];
    let Some(server) = defragmenting(&[]) else {
        return;
    };
    let names: Vec<String> = (0..60_000).map(|index| format!("k:{index}")).collect();
    let hit = |index: usize| {
        let (algorithm, limits) = LIMITERS[index % LIMITERS.len()];
        format!("RL.{algorithm} {} {limits}", names[index])
    };
    server.bulk(&(0..names.len()).map(hit).collect::<Vec<_>>());
    assert_holes_are_closed(&server, &names);
    for index in (0..names.len()).step_by(7).take(600) {
        let decision = server.decide(&hit(index));
        let verdict = decision.each.first().unwrap_or(&decision.verdict);
        assert_eq!(verdict.remaining, 8, "{}", hit(index));
    }
}

#[test]
fn defragmentation_moves_sliding_logs_unharmed() {
    const ENTRIES: i64 = 512;
    let Some(server) = defragmenting(&["ratelimit.sliding-entries 512"]) else {
        return;
    };
    eventually("the log is full", || {
        server.decide("RL.SLIDING log 1000000 30d");
        let limits = server.call("RL.INFO log").field("limits").clone();
        limits.array()[0].field("entries").int() == ENTRIES
    });
    let names: Vec<String> = (0..15_000).map(|index| format!("copy:{index}")).collect();
    let copy = |name: &String| format!("COPY log {name}");
    server.bulk(&names.iter().map(copy).collect::<Vec<_>>());
    let digest = server.digest_value("log");
    assert_holes_are_closed(&server, &names);
    for name in names.iter().step_by(7) {
        assert_eq!(server.digest_value(name), digest);
    }
}

/// A server with a module that deletes keys upon keyspace events: `tests/support/deletes.c`.
fn with_deletes(arguments: &str) -> Server {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/deletes.c");
    let dir = support::server::new_dir();
    let library = dir.join("deletes.so");
    let compiled = Command::new("cc")
        .args(["-O1", "-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .status();
    assert!(compiled.expect("cc, Rust's linker, is there").success());
    let load = format!("loadmodule \"{}\" {arguments}", library.display());
    let server = Server::with(&[&load]);
    std::fs::remove_dir_all(dir).unwrap();
    server
}

/// A key is closed before its event is notified, as whoever hears of it may delete it. (That nothing of it is touched
/// afterwards is what `scripts/memcheck` sees.)
#[test]
fn a_subscriber_may_delete_the_key_that_it_is_told_of() {
    let server = with_deletes("");
    for (algorithm, limits) in LIMITERS {
        let hit = format!("RL.{algorithm} k {limits}");
        assert!(server.decide(&format!("{hit} COST 10")).allowed);
        assert!(!server.decide(&hit).allowed, "{hit}");
        assert_eq!(server.call("EXISTS k").int(), 0, "the subscriber was told");
        // A denied hit that has nothing to delete, and one that was charged.
        assert!(!server.decide(&format!("{hit} COST 11")).allowed);
        assert!(!server.decide(&format!("{hit} COST 11 FORCE")).allowed);
        assert_eq!(server.call("EXISTS k").int(), 0);
    }
}

/// What each key of a call of several answers, `(allowed, remaining)`.
fn each(reply: &support::Reply) -> Vec<(i64, i64)> {
    let each = reply.array()[5].array().iter();
    each.map(|key| (key.array()[0].int(), key.array()[2].int()))
        .collect()
}

/// Lets the key expire, and leaves it there for whoever opens it next.
fn let_expire(server: &Server, key: &str) {
    server.ok("DEBUG SET-ACTIVE-EXPIRE 0");
    let now_ms = || {
        let time = server.call("TIME");
        let part = |place: usize| time.array()[place].text().parse::<u64>().unwrap();
        part(0) * 1_000 + part(1) / 1_000
    };
    assert_eq!(server.call(&format!("PEXPIRE {key} 5")).int(), 1); // from the server's own now: never in the past
    let ends_ms = now_ms() + 5;
    eventually("the key is past its end", || now_ms() > ends_ms);
}

/// To open a key is to run whoever has subscribed to `expired`, `keymiss` or `new`. What is charged is charged to what the
/// keys hold then.
#[test]
fn a_subscriber_may_delete_a_key_of_a_call_while_another_is_opened() {
    for (algorithm, limits) in LIMITERS {
        let several = limits.replace("10 ", "1000 ").replace("20 ", "2000 ");
        let clauses = format!("{algorithm} {several} {algorithm} {several}");
        let charge = |server: &Server, key: &str| {
            assert!(
                server
                    .decide(&format!("RL.{algorithm} {key} {several} COST 8"))
                    .allowed
            );
        };
        let used = |server: &Server| 1_000 - remaining(server, algorithm, "a", &several);

        let server = with_deletes("expired a");
        charge(&server, "a");
        charge(&server, "b");
        let_expire(&server, "b");
        let reply = server.call(&format!("RL.ALL 2 a b {clauses}"));
        assert_eq!(each(&reply), [(1, 991), (1, 999)], "{clauses}");
        assert_eq!(used(&server), 1, "it was deleted, then charged");

        charge(&server, "b");
        let_expire(&server, "b");
        let reply = server.call(&format!("RL.PEEKALL 2 a b {clauses}"));
        assert_eq!(each(&reply), [(1, 998), (1, 999)], "{clauses}");
        assert_eq!(used(&server), 0);

        // One that fits and is asked again, as another does not: by then it is gone.
        charge(&server, "a");
        charge(&server, "c");
        charge(&server, "b");
        let_expire(&server, "b");
        let denied = format!("{clauses} COST 993 {algorithm} {several}");
        let reply = server.call(&format!("RL.ALL 3 a c b {denied}"));
        assert_eq!(each(&reply), [(1, 1_000), (0, 992), (1, 1_000)], "{denied}");

        let server = with_deletes("keymiss a");
        charge(&server, "a");
        let reply = server.call(&format!("RL.PEEKALL 2 a b {clauses}"));
        assert_eq!(each(&reply), [(1, 991), (1, 999)], "{clauses}");
        assert_eq!(used(&server), 0);

        let server = with_deletes("new a");
        charge(&server, "a");
        let reply = server.call(&format!("RL.ALL 2 b a {clauses}"));
        assert_eq!(each(&reply), [(1, 999), (1, 991)], "{clauses}");
        assert_eq!(used(&server), 1, "it was deleted, then charged");
        let reply = server.call(&format!("RL.ALL 2 c a {clauses} COST 993 FORCE"));
        assert_eq!(each(&reply)[0].0, 1, "{clauses}");
        assert_eq!(used(&server), 993, "{clauses}");
    }
}

/// Who watches a key hears of an effect that arrives as of a hit.
#[test]
fn an_effect_that_arrives_breaks_a_watch() {
    let server = Server::with(&["appendonly yes", "appendfsync always"]);
    server.decide("RL.FIXED k 9 30d");
    let effect = aof::commands(&server).pop().unwrap();
    let effect: Vec<&[u8]> = effect.iter().map(Vec::as_slice).collect();
    let mut watcher = server.connect();
    for expected in [true, false] {
        watcher.ok("WATCH k");
        if !expected {
            assert_eq!(server.call_bytes(&effect).text(), "OK");
        }
        watcher.ok("MULTI");
        watcher.call("EXISTS k");
        let done = watcher.call("EXEC");
        assert_eq!(done != support::Reply::Nil, expected, "{done:?}");
    }
}

/// What only looks does not make a key look used: an eviction policy goes by that. (With a log factor of 0 each use counts.)
#[test]
fn looking_leaves_no_trace_for_eviction() {
    let server = Server::with(&["maxmemory-policy allkeys-lfu", "lfu-log-factor 0"]);
    for (algorithm, limits) in LIMITERS {
        server.ok("FLUSHALL");
        server.decide(&format!("RL.{algorithm} k {limits}"));
        let frequency = || server.call("OBJECT FREQ k").int();
        let created = frequency();
        for _ in 0..10 {
            server.decide(&format!("RL.PEEK {algorithm} k {limits}"));
            server.call("RL.INFO k");
        }
        assert_eq!(frequency(), created, "{algorithm} {limits}");
        server.decide(&format!("RL.{algorithm} k {limits}"));
        assert!(frequency() > created, "a hit is a use");
    }
}

/// The TTL that is set goes past the moment when nothing is used any more by an eighth of the window, so that the hits of
/// so long a time need not move it.
#[test]
fn a_ttl_leaves_room_for_later_hits() {
    const HOUR_MS: i64 = 3_600_000;
    let server = Server::start();
    for (algorithm, limits) in [("FIXED", "5 1h"), ("SLIDING", "5 1h"), ("BUCKET", "5 5 1h")] {
        let before = server.now_ms();
        let hit = server.decide(&format!("RL.{algorithm} {algorithm} {limits}"));
        let unused = before + hit.reset_after_ms;
        let expires = server.call(&format!("PEXPIRETIME {algorithm}")).int();
        assert!(
            expires >= unused + HOUR_MS / 8 - 1,
            "{algorithm}: unused at {unused}, expires at {expires}"
        );
    }
}

/// Limits beyond those that a key holds in place are in memory of their own.
#[test]
fn memory_usage_counts_every_limit() {
    const LIMITS: [&str; 8] = [
        "1 1d", "2 2d", "3 3d", "4 4d", "5 5d", "6 6d", "7 7d", "8 8d",
    ];
    let server = Server::start();
    for algorithm in ["FIXED", "SLIDING"] {
        let usage = |count: usize| {
            let key = format!("{algorithm}:{}", count);
            let limits = LIMITS[..count].join(" ");
            server.decide(&format!("RL.{algorithm} {key} {limits}"));
            server.call(&format!("MEMORY USAGE {key}")).int()
        };
        let (one, eight) = (usage(1), usage(8));
        assert!(
            eight >= one + 7 * 8,
            "{algorithm}: {one} bytes for one limit, {eight} for eight"
        );
    }
}
