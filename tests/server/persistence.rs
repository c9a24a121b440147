//! What a crash leaves: RDB and AOF, killed with SIGKILL and started again.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::support::{aof, eventually, traffic, Random, Reply, Server};

/// Every key with the instant it expires at, in the order of names.
fn expiries(server: &Server) -> Vec<(String, i64)> {
    let mut keys = server.call("KEYS *").texts();
    keys.sort();
    keys.into_iter()
        .map(|key| {
            let at = server.call(&format!("PEXPIRETIME {key}")).int();
            (key, at)
        })
        .collect()
}

/// What RL.INFO tells of every key, in the order of names, but for what the clock changes.
fn held(server: &Server) -> Vec<Reply> {
    let mut keys = server.call("KEYS *").texts();
    keys.sort();
    keys.iter()
        .map(|key| without_times(server.call(&format!("RL.INFO {key}"))))
        .collect()
}

/// An RL.INFO without what the clock changes: times, and what a bucket regains.
fn without_times(info: Reply) -> Reply {
    match info {
        Reply::Map(pairs) if pairs.iter().any(|(name, _)| name.text() == "refill") => Reply::Map(
            pairs
                .into_iter()
                .filter(|(name, _)| {
                    ["limit", "capacity", "refill", "interval"].contains(&name.text().as_str())
                })
                .collect(),
        ),
        Reply::Map(pairs) => Reply::Map(
            pairs
                .into_iter()
                .filter(|(name, _)| name.text() != "reset_after_ms")
                .map(|(name, value)| (name, without_times(value)))
                .collect(),
        ),
        Reply::Array(elements) => Reply::Array(elements.into_iter().map(without_times).collect()),
        other => other,
    }
}

/// Sends random calls and demands that they left something behind.
fn send_traffic(server: &Server, random: &mut Random, count: usize) {
    for reply in server.bulk(&traffic::calls(random, &traffic::LONG_WINDOWS, count)) {
        if let Reply::Error(text) = &reply {
            assert!(
                text.starts_with("WRONGTYPE") || text.contains("cost"),
                "{text}"
            );
        }
    }
    assert!(server.call("DBSIZE").int() > 50);
}

fn wall_clock_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

#[test]
fn an_rdb_brings_back_the_same_state() {
    let mut random = Random::new(2);
    for compression in ["yes", "no"] {
        let mut server = Server::with(&[&format!("rdbcompression {compression}")]);
        send_traffic(&server, &mut random, 5_000);
        server.ok("SAVE");
        let before = (server.digest(), expiries(&server), held(&server));
        assert!(
            before.1.iter().all(|(_, at)| *at > 0),
            "a key without a TTL: {:?}",
            before.1
        );
        server.kill();
        server.start_again().unwrap();
        assert_eq!((server.digest(), expiries(&server), held(&server)), before);
    }
}

#[test]
fn a_reload_keeps_the_digest() {
    let server = Server::with(&["appendonly yes"]);
    send_traffic(&server, &mut Random::new(3), 3_000);
    let digest = server.digest();
    server.ok("DEBUG RELOAD");
    assert_eq!(server.digest(), digest);
    server.ok("DEBUG LOADAOF");
    assert_eq!(server.digest(), digest);
}

/// The four ways to keep an AOF, each with a rewrite under traffic and a tail after it.
fn an_aof_brings_back_the_same_state(fsync: &str, preamble: &str, seed: u64) {
    let mut random = Random::new(seed);
    let mut server = Server::with(&[
        "appendonly yes",
        &format!("appendfsync {fsync}"),
        &format!("aof-use-rdb-preamble {preamble}"),
    ]);
    for rewrite in [false, true, true] {
        send_traffic(&server, &mut random, 2_000);
        if rewrite {
            server.call("BGREWRITEAOF");
            send_traffic(&server, &mut random, 500);
            aof::await_rewrite(&server);
            send_traffic(&server, &mut random, 500);
        }
        aof::await_writes(&server);
        let before = (server.digest(), held(&server));
        server.kill();
        server.start_again().unwrap();
        assert_eq!(
            (server.digest(), held(&server)),
            before,
            "rewrite: {rewrite}"
        );
        for (key, at) in expiries(&server) {
            assert!(at > 0, "{key} is without a TTL");
        }
    }
}

#[test]
fn aof_everysec_with_preamble() {
    an_aof_brings_back_the_same_state("everysec", "yes", 4);
}

#[test]
fn aof_everysec_without_preamble() {
    an_aof_brings_back_the_same_state("everysec", "no", 5);
}

#[test]
fn aof_always_with_preamble() {
    an_aof_brings_back_the_same_state("always", "yes", 6);
}

#[test]
fn aof_always_without_preamble() {
    an_aof_brings_back_the_same_state("always", "no", 7);
}

#[test]
fn with_appendfsync_always_every_answered_hit_survives() {
    let mut server = Server::with(&["appendonly yes", "appendfsync always"]);
    for (command, limits) in [
        ("FIXED", "1000 30d"),
        ("SLIDING", "1000 30d"),
        ("BUCKET", "1000 1 3660d"),
    ] {
        let hits: Vec<String> = (0..200)
            .map(|_| format!("RL.{command} {command} {limits}"))
            .collect();
        server.bulk(&hits);
        server.kill();
        server.start_again().unwrap();
        let peek = server.decide(&format!("RL.PEEK {command} {command} {limits} COST 0"));
        assert_eq!(peek.remaining, 800, "{command}");
    }
}

/// Usage in windows that ended while the server was down must not be charged to the windows that run now.
#[test]
fn what_ended_while_the_server_was_down_charges_nothing() {
    for lines in [
        &["appendonly yes", "aof-use-rdb-preamble yes"][..],
        &["appendonly yes", "aof-use-rdb-preamble no"][..],
        &["save 3600 1"][..],
    ] {
        let keeps_aof = lines[0].starts_with("appendonly");
        // The file as the hits wrote it, and as a rewrite or a snapshot wrote it.
        for rewritten in if keeps_aof {
            &[false, true][..]
        } else {
            &[true][..]
        } {
            let mut server = Server::with(lines);
            // The month-long limit keeps the second key alive; it must not keep the short one's usage.
            let calls = [
                ("FIXED", "f", "5 200ms"),
                ("FIXED", "f2", "5 200ms 90 30d"),
                ("SLIDING", "s", "5 200ms"),
                ("SLIDING", "s2", "5 200ms 90 30d"),
                ("BUCKET", "b", "5 5 200ms"),
                ("BUCKET", "b2", "5 5 200ms 90 1 30d"),
            ];
            let mut end = 0;
            for (command, key, limits) in calls {
                for cost in ["COST 5", "COST 7 FORCE"] {
                    let hit = server.decide(&format!("RL.{command} {key} {limits} {cost}"));
                    let reset = hit
                        .each
                        .first()
                        .map_or(hit.reset_after_ms, |short| short.reset_after_ms);
                    end = end.max(server.now_ms() + reset);
                }
            }
            match (keeps_aof, rewritten) {
                (true, true) => {
                    aof::rewrite(&server);
                }
                (true, false) => {}
                (false, _) => server.ok("SAVE"),
            }
            if keeps_aof {
                aof::await_writes(&server);
            }
            server.kill();
            eventually("the windows end", || wall_clock_ms() > end);
            server.start_again().unwrap();
            for (command, key, limits) in calls {
                let hit = server.decide(&format!("RL.PEEK {command} {key} {limits} COST 0"));
                let short = hit.each.first().unwrap_or(&hit.verdict);
                assert_eq!(
                    (short.remaining, short.reset_after_ms),
                    (5, 0),
                    "{command} {key} {lines:?}"
                );
                if let Some(long) = hit.each.get(1) {
                    assert_eq!(
                        long.remaining, 78,
                        "{command} {key}: the long window goes on"
                    );
                }
                let full = server.decide(&format!("RL.{command} {key} {limits} COST 5"));
                assert!(full.allowed, "{command} {key}: {full:?}");
            }
        }
    }
}

#[test]
fn only_effects_are_written_and_only_when_something_changed() {
    let server = Server::with(&["appendonly yes", "appendfsync always"]);
    for (command, limits) in [
        ("FIXED", "2 30d"),
        ("SLIDING", "2 30d"),
        ("BUCKET", "2 1 30d"),
    ] {
        let before = aof::commands(&server).len();
        server.decide(&format!("RL.{command} {command} {limits}"));
        server.decide(&format!("RL.{command} {command} {limits} COST 1"));
        for line in [
            format!("RL.{command} {command} {limits}"),
            format!("RL.{command} {command} {limits} COST 3"),
            format!("RL.{command} {command} {limits} COST 0"),
            format!("RL.PEEK {command} {command} {limits}"),
            format!("RL.INFO {command}"),
            format!("RL.{command} {command} x 30d"),
        ] {
            server.call(&line);
        }
        let written = aof::commands(&server).split_off(before);
        assert_eq!(written.len(), 2, "{written:?}");
        for words in written {
            assert_eq!(words.len(), 3, "RL.APPLY key payload");
            assert!(words[0].eq_ignore_ascii_case(b"RL.APPLY"));
            assert_eq!(words[1], command.as_bytes());
        }
    }
}

#[test]
fn every_database_keeps_its_own() {
    let mut server = Server::with(&["appendonly yes", "appendfsync always"]);
    server.decide("RL.FIXED k 9 30d COST 1");
    server.ok("SELECT 5");
    server.decide("RL.FIXED k 9 30d COST 3");
    server.ok("SELECT 9");
    server.decide("RL.SLIDING k 9 30d COST 5");
    server.kill();
    server.start_again().unwrap();
    assert_eq!(server.decide("RL.PEEK FIXED k 9 30d COST 0").remaining, 8);
    server.ok("SELECT 5");
    assert_eq!(server.decide("RL.PEEK FIXED k 9 30d COST 0").remaining, 6);
    server.ok("SELECT 9");
    assert_eq!(server.decide("RL.PEEK SLIDING k 9 30d COST 0").remaining, 4);
}

/// A payload may hold CRLF, NUL and every other byte; the key too.
#[test]
fn keys_of_any_bytes_are_kept() {
    let mut server = Server::with(&[
        "appendonly yes",
        "appendfsync always",
        "aof-use-rdb-preamble no",
    ]);
    let mut random = Random::new(8);
    let keys: Vec<Vec<u8>> = (0..50)
        .map(|_| (0..1 + random.below(20)).map(|_| random.byte()).collect())
        .chain([b"\r\n*1\0".to_vec()])
        .collect();
    for key in &keys {
        server
            .call_bytes(&[b"RL.SLIDING", key, b"10", b"30d", b"COST", b"13", b"FORCE"])
            .decision();
    }
    let digest = server.digest();
    for rewrite in [false, true] {
        if rewrite {
            aof::rewrite(&server);
        }
        server.kill();
        server.start_again().unwrap();
        assert_eq!(server.digest(), digest, "rewritten: {rewrite}");
    }
}

/// What DEBUG RELOAD saves and loads, the AOF may not have yet: it is written there afterwards, also where nothing adds to
/// it any more.
#[test]
fn statistics_that_a_reload_went_over_are_in_the_aof() {
    let mut server = Server::with(&["appendonly yes", "appendfsync always"]);
    let counted = |server: &Server, name: &str| {
        let counts = server.info_field("ratelimit", name);
        counts.starts_with("allowed=1,")
    };
    // In one turn of the server's, so that nothing of the hit is written in between.
    let mut stream = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    stream
        .write_all(b"RL.SLIDING k 2 30d POLICY before\r\nDEBUG RELOAD\r\nQUIT\r\n")
        .unwrap();
    let mut replies = String::new();
    stream.read_to_string(&mut replies).unwrap();
    assert!(replies.ends_with("+OK\r\n+OK\r\n"), "{replies}");
    assert!(counted(&server, "ratelimit_name_before"));
    server.decide("RL.FIXED f 2 30d POLICY after");
    eventually("the AOF has what came after", || {
        let records = aof::statistics(&server);
        let mut payloads = records.iter().map(|record| &record[1]);
        payloads.any(|payload| payload.windows(5).any(|word| word == b"after"))
    });
    server.kill();
    server.start_again().unwrap();
    for name in ["after", "before"] {
        assert!(
            counted(&server, &format!("ratelimit_name_{name}")),
            "{name}: {:?}",
            server.info("ratelimit")
        );
    }
}
