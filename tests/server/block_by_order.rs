//! `RL.BLOCK`: a key that is shut by order, on a real server whose clock is the test's.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;

use crate::support::{aof, eventually, pair, Clock, Reply, Server};

/// A midnight.
const START_MS: u64 = 1_700_006_400_000;
const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;

/// Five in a quarter of an hour under each algorithm, of a key each.
const LIMITERS: [(&str, &str); 3] = [
    ("SLIDING s", "5 15m"),
    ("FIXED f", "5 15m"),
    ("BUCKET b", "5 5 15m"),
];

/// Whether it is allowed, what is left, and for how long it has to wait.
#[track_caller]
fn call(server: &Server, line: &str) -> (i64, i64, i64) {
    let reply = server.call(line);
    assert!(!reply.is_error(), "{line}: {reply:?}");
    let five = reply.array();
    (five[0].int(), five[2].int(), five[3].int())
}

#[track_caller]
fn block(server: &Server, key: &str, duration: &str) -> i64 {
    server.call(&format!("RL.BLOCK {key} {duration}")).int()
}

#[test]
fn a_key_is_shut_to_the_millisecond_and_keeps_what_it_has_used() {
    let Some((clock, server)) = Clock::started(START_MS) else {
        return;
    };
    for (limiter, limits) in LIMITERS {
        clock.set(START_MS);
        let (line, key) = (
            format!("RL.{limiter} {limits}"),
            limiter.split_once(' ').unwrap().1,
        );
        assert_eq!(call(&server, &format!("{line} COST 2")), (1, 3, 0));
        assert_eq!(block(&server, key, "30s"), 30_000);
        clock.step(1);
        for options in ["", " COST 0", " COST 3", " MIN 1", " BLOCK 3h"] {
            let line = format!("{line}{options}");
            assert_eq!(call(&server, &line), (0, 0, 29_999), "{line}");
        }
        let peek = format!("RL.PEEK {limiter} {limits}");
        assert_eq!(call(&server, &peek), (0, 0, 29_999));
        assert_eq!(call(&server, &format!("{line} COST 6")).2, -1, "never");
        let info = server.call(&format!("RL.INFO {key}"));
        assert_eq!(info.field("block_by_order").field("left_ms").int(), 29_999);
        assert_eq!(info.get("block"), None, "no rung of the ladder");
        assert_eq!(info.field("limits").array()[0].field("used").int(), 2);
        // What is forced is charged, and what is given back is given back.
        assert_eq!(call(&server, &format!("{line} COST 2 FORCE")).0, 0);
        assert_eq!(call(&server, &format!("{line} COST -1")).0, 1);
        clock.set(START_MS);
        clock.step(29_999);
        assert_eq!(call(&server, &peek), (0, 0, 1));
        clock.step(1);
        assert_eq!(call(&server, &peek), (1, 1, 0), "3 are used");
        assert_eq!(call(&server, &line), (1, 1, 0), "{line}");
        let info = server.call(&format!("RL.INFO {key}"));
        assert_eq!(info.get("block_by_order"), None);
    }
}

#[test]
fn the_later_end_wins_and_0_lifts_whatever_block_there_is() {
    let Some((clock, server)) = Clock::started(START_MS) else {
        return;
    };
    let line = "RL.SLIDING k 1 1s";
    assert_eq!(block(&server, "k", "0"), 0, "nothing to lift");
    assert_eq!(server.call("EXISTS k").int(), 0);
    call(&server, line);
    assert_eq!(block(&server, "k", "1h"), HOUR_MS);
    assert_eq!(block(&server, "k", "1m"), HOUR_MS, "an earlier end");
    clock.step(HOUR_MS / 2);
    assert_eq!(block(&server, "k", "1h"), HOUR_MS, "a later end");
    assert_eq!(block(&server, "k", "0"), 0);
    assert_eq!(call(&server, line), (1, 0, 0));
    assert!(
        server.call("PTTL k").int() <= 3_000,
        "a key of a second's window"
    );

    // The ladder's block has an end of its own: the longer of both holds, and an order is no rung of it.
    let climb = "RL.SLIDING k 1 1s BLOCK 1m 1h";
    assert_eq!(call(&server, climb), (0, 0, MINUTE_MS));
    assert_eq!(block(&server, "k", "10s"), MINUTE_MS);
    assert_eq!(block(&server, "k", "2m"), 2 * MINUTE_MS);
    let info = server.call("RL.INFO k");
    assert_eq!(info.field("block").field("nth").int(), 1);
    clock.step(2 * MINUTE_MS - 1);
    assert_eq!(
        call(&server, climb),
        (0, 0, 1),
        "no new rung while it is shut"
    );
    // (Nor is the first remembered: the key has been out of it for as long as it lasted, but for a millisecond.)
    assert_eq!(call(&server, "RL.SLIDING k 1 1s"), (0, 0, 1));
    assert_eq!(block(&server, "k", "0"), 0);
    assert_eq!(server.call("RL.INFO k").get("block"), None);
    assert_eq!(call(&server, climb), (1, 0, 0));
    assert_eq!(
        call(&server, climb),
        (0, 0, MINUTE_MS),
        "the first rung again"
    );
    assert_eq!(server.call("DEL k").int(), 1);
    assert_eq!(call(&server, climb), (1, 0, 0));
}

#[test]
fn an_absent_key_becomes_one_that_holds_a_block_alone_and_goes_with_it() {
    let Some((clock, server)) = Clock::started(START_MS) else {
        return;
    };
    assert_eq!(block(&server, "up:openai", "30s"), 30_000);
    assert_eq!(server.call("PTTL up:openai").int(), 30_000);
    assert!(server.call("MEMORY USAGE up:openai").int() > 0);
    let info = server.call("RL.INFO up:openai");
    assert_eq!(info.field("algorithm"), &Reply::Nil);
    assert_eq!(info.field("limits"), &Reply::Array(Vec::new()));
    assert_eq!(info.field("block_by_order").field("left_ms").int(), 30_000);
    // Every algorithm's calls meet it, and it becomes none of theirs.
    for limits in [
        "FIXED up:openai 9 1m",
        "SLIDING up:openai 9 1m 90 1h",
        "BUCKET up:openai 9 9 1m",
        "LEASE up:openai 9 1m id",
    ] {
        let shut = (0, 0, 30_000);
        assert_eq!(call(&server, &format!("RL.{limits}")), shut, "{limits}");
        assert_eq!(
            call(&server, &format!("RL.PEEK {limits}")),
            shut,
            "{limits}"
        );
    }
    assert_eq!(call(&server, "RL.FIXED up:openai 9 1mo"), (0, 0, 30_000));
    assert_eq!(
        call(&server, "RL.BUCKET up:openai 9 9 1m RESERVE 1h"),
        (0, 0, 30_000)
    );
    assert_eq!(
        call(&server, "RL.FIXED up:openai 9 1m COST -2").0,
        1,
        "a refund"
    );
    assert_eq!(server.call("RL.RELEASE up:openai id").int(), 0);
    let with_next = server.call("RL.PEEK FIXED up:openai 9 1m NEXT").ints();
    assert_eq!(with_next, [0, 9, 0, 30_000, 0, 30_000]);
    // Of several keys, it is the one that binds, and the others are not charged.
    for verb in ["RL.ALL", "RL.PEEKALL"] {
        let all = server.call(&format!("{verb} 2 user up:openai FIXED 5 1h BUCKET 9 9 1m"));
        let all = all.array();
        assert_eq!(all[..4], [0, 9, 0, 30_000].map(Reply::Int));
        assert_eq!(all[6].int(), 2, "the key that binds");
    }
    assert_eq!(server.call("EXISTS user").int(), 0);
    // What is forced is charged, beside the block.
    assert_eq!(call(&server, "RL.FIXED up:openai 9 1m COST 2 FORCE").0, 0);
    assert!(server
        .call("RL.SLIDING up:openai 9 1m")
        .error()
        .starts_with("WRONGTYPE"));
    assert_eq!(block(&server, "up:openai", "0"), 0);
    assert_eq!(call(&server, "RL.FIXED up:openai 9 1m"), (1, 6, 0));

    block(&server, "alone", "30s");
    clock.step(29_999);
    assert_eq!(server.call("EXISTS alone").int(), 1);
    clock.step(2);
    eventually("the key has gone with its block", || {
        server.call("EXISTS alone").int() == 0
    });
    block(&server, "alone", "30s");
    assert_eq!(block(&server, "alone", "0"), 0);
    assert_eq!(
        server.call("EXISTS alone").int(),
        0,
        "nothing is left of it"
    );
}

#[test]
fn new_leases_are_stopped_and_those_held_go_on() {
    let Some((clock, mut server)) = Clock::started(START_MS) else {
        return;
    };
    assert_eq!(call(&server, "RL.LEASE jobs 3 1h a"), (1, 2, 0));
    assert_eq!(call(&server, "RL.LEASE jobs 3 1h b"), (1, 1, 0));
    assert_eq!(block(&server, "jobs", "1m"), MINUTE_MS);
    assert_eq!(call(&server, "RL.LEASE jobs 3 1h c"), (0, 0, MINUTE_MS));
    assert_eq!(
        call(&server, "RL.PEEK LEASE jobs 3 1h c COST 0"),
        (0, 0, MINUTE_MS)
    );
    assert_eq!(call(&server, "RL.LEASE jobs 3 2h a").0, 1, "a renewal");
    assert_eq!(call(&server, "RL.PEEK LEASE jobs 3 1h b").0, 1);
    assert_eq!(server.call("RL.RELEASE jobs a").int(), 1);
    assert_eq!(
        call(&server, "RL.LEASE jobs 3 1h a").0,
        0,
        "it is none's now"
    );
    assert_eq!(server.call("RL.RELEASE jobs a b").int(), 1);
    // The last is released: the key stays for as long as it is shut.
    assert_eq!(server.call("EXISTS jobs").int(), 1);
    assert_eq!(call(&server, "RL.LEASE jobs 3 1h a"), (0, 0, MINUTE_MS));
    assert_eq!(call(&server, "RL.FIXED jobs 3 1h"), (0, 0, MINUTE_MS));
    let digest = server.digest_value("jobs");
    server.kill();
    server.start_again().unwrap();
    assert_eq!(server.digest_value("jobs"), digest);
    clock.step(MINUTE_MS);
    assert_eq!(call(&server, "RL.LEASE jobs 3 1h a"), (1, 2, 0));
    assert_eq!(server.call("RL.RELEASE jobs a").int(), 1);
    assert_eq!(server.call("EXISTS jobs").int(), 0);
}

#[test]
fn a_clock_that_steps_back_leaves_no_more_than_was_given() {
    let Some((clock, server)) = Clock::started(START_MS) else {
        return;
    };
    for key in ["alone", "used"] {
        clock.set(START_MS);
        server.call("RL.SLIDING used 5 15m");
        assert_eq!(block(&server, key, "30s"), 30_000);
        clock.step(-HOUR_MS);
        let line = format!("RL.SLIDING {key} 5 15m");
        assert_eq!(call(&server, &line), (0, 0, 30_000));
        clock.step(29_999);
        assert_eq!(
            call(&server, &line),
            (0, 0, 1),
            "moved to the present: {key}"
        );
        assert_eq!(block(&server, key, "1ms"), 1);
        clock.step(1);
        assert_eq!(call(&server, &line).0, 1);
    }
    // An order moves what it finds.
    assert_eq!(block(&server, "k", "30s"), 30_000);
    clock.step(-HOUR_MS);
    assert_eq!(block(&server, "k", "10s"), 30_000);
    clock.step(30_000);
    assert_eq!(call(&server, "RL.FIXED k 5 15m").0, 1);
}

#[test]
fn an_order_writes_once_and_what_it_denies_writes_nothing() {
    let Some((_clock, mut server)) = Clock::started(START_MS) else {
        return;
    };
    server.ok("WATCH k");
    let mut other = server.connect();
    assert_eq!(other.call("RL.BLOCK k 1h").int(), HOUR_MS);
    server.ok("MULTI");
    server.call("PING");
    assert_eq!(server.call("EXEC"), Reply::Nil, "the watcher hears of it");
    let writes = aof::commands(&server).len();
    let (digest, expires) = (server.digest(), server.call("PEXPIRETIME k"));
    for line in [
        "RL.BLOCK k 1m",
        "RL.BLOCK k 1h",
        "RL.BLOCK absent 0",
        "RL.FIXED k 5 1m",
        "RL.LEASE k 5 1m id",
        "RL.RELEASE k id",
        "RL.FIXED k 5 1m COST -1",
    ] {
        assert!(!server.call(line).is_error(), "{line}");
    }
    assert_eq!(aof::commands(&server).len(), writes);
    assert_eq!(server.digest(), digest);
    assert_eq!(server.call("PEXPIRETIME k"), expires);
    let effect = aof::commands(&server).pop().unwrap();
    assert!(effect[0].eq_ignore_ascii_case(b"RL.APPLY"), "{effect:?}");
    // Lifting is an effect too, also where the key goes.
    assert_eq!(block(&server, "k", "0"), 0);
    assert_eq!(aof::commands(&server).len(), writes + 1);
    server.kill();
    server.start_again().unwrap();
    assert_eq!(server.call("DBSIZE").int(), 0);
}

#[test]
fn it_outlives_its_primary() {
    let clock = Clock::at(START_MS);
    if clock.server(&[]).is_none() {
        return;
    }
    let (mut primary, replica) = pair::of(|lines| clock.server(lines).unwrap());
    primary.call("RL.BUCKET used 5 5 15m COST 2");
    primary.call("RL.LEASE jobs 5 1h a");
    for key in ["alone", "used", "jobs", "lifted", "gone"] {
        assert_eq!(block(&primary, key, "1h"), HOUR_MS);
    }
    primary.call("RL.FIXED lifted 5 15m FORCE");
    block(&primary, "lifted", "0");
    block(&primary, "gone", "0");
    assert_eq!(primary.call("RL.RELEASE jobs a").int(), 1);
    clock.step(HOUR_MS / 2);
    block(&primary, "used", "45m");
    pair::assert_equal(&primary, &replica);
    assert!(replica
        .call("RL.BLOCK alone 2h")
        .error()
        .starts_with("READONLY"));
    assert_eq!(
        call(&replica, "RL.PEEK FIXED alone 5 15m"),
        (0, 0, HOUR_MS / 2)
    );
    primary.kill();
    replica.ok("REPLICAOF NO ONE");
    for (line, left) in [
        ("RL.SLIDING alone 5 15m", HOUR_MS / 2),
        ("RL.BUCKET used 5 5 15m", 45 * MINUTE_MS),
        ("RL.LEASE jobs 5 1h a", HOUR_MS / 2),
    ] {
        assert_eq!(call(&replica, line), (0, 0, left), "{line}");
    }
    assert_eq!(replica.call("EXISTS gone").int(), 0);
    clock.step(HOUR_MS);
    assert_eq!(call(&replica, "RL.BUCKET used 5 5 15m"), (1, 4, 0));
}

#[test]
fn files_copies_and_dumps_carry_it() {
    let Some((clock, mut server)) = Clock::started(START_MS) else {
        return;
    };
    server.call("RL.SLIDING used 1 15m");
    server.call("RL.SLIDING used 1 15m BLOCK 1m 1h");
    for key in ["used", "alone"] {
        block(&server, key, "1h");
    }
    let digests = |server: &Server| ["used", "alone"].map(|key| server.digest_value(key));
    let before = digests(&server);
    aof::await_writes(&server);
    server.kill();
    clock.step(HOUR_MS - 1);
    server.start_again().unwrap();
    assert_eq!(digests(&server), before, "an AOF that is replayed later");
    aof::rewrite(&server);
    server.ok("DEBUG LOADAOF");
    assert_eq!(digests(&server), before, "an AOF rewritten");
    server.ok("DEBUG RELOAD");
    assert_eq!(digests(&server), before, "an RDB file");
    for (key, digest) in ["used", "alone"].into_iter().zip(before) {
        assert_eq!(call(&server, &format!("RL.SLIDING {key} 5 15m")), (0, 0, 1));
        server.call(&format!("COPY {key} copied"));
        assert_eq!(server.digest_value("copied"), digest, "COPY");
        server.call("RENAME copied renamed");
        assert_eq!(server.digest_value("renamed"), digest, "RENAME");
        let ends = server.call("PEXPIRETIME renamed").int().to_string();
        assert!(ends.parse::<i64>().unwrap() > 0, "it has a TTL");
        let dump = server.call("DUMP renamed");
        server.call_bytes(&[
            b"RESTORE",
            b"restored",
            ends.as_bytes(),
            dump.bytes(),
            b"ABSTTL",
        ]);
        assert_eq!(server.digest_value("restored"), digest, "RESTORE");
        assert_eq!(call(&server, "RL.SLIDING restored 5 15m"), (0, 0, 1));
        server.call("DEL renamed restored");
    }
    clock.step(1);
    assert_eq!(call(&server, "RL.SLIDING used 5 15m").0, 1);
}

#[test]
fn what_is_said_wrongly_is_refused_and_changes_nothing() {
    let server = Server::start();
    server.ok("SET text value");
    for (line, expected) in [
        ("RL.BLOCK", "ERR wrong number of arguments"),
        ("RL.BLOCK k", "ERR wrong number of arguments"),
        ("RL.BLOCK k 30s 1h", "ERR wrong number of arguments"),
        (
            "RL.BLOCK k 30",
            "ERR argument 2 (duration, or 0 to lift a block) needs a unit",
        ),
        (
            "RL.BLOCK k 0s",
            "ERR argument 2 (duration, or 0 to lift a block) must be",
        ),
        (
            "RL.BLOCK k -1s",
            "ERR argument 2 (duration, or 0 to lift a block) must be",
        ),
        (
            "RL.BLOCK k 00",
            "ERR argument 2 (duration, or 0 to lift a block) ",
        ),
        (
            "RL.BLOCK k soon",
            "ERR argument 2 (duration, or 0 to lift a block) must be",
        ),
        (
            "RL.BLOCK k 3661d",
            "ERR argument 2 (duration, or 0 to lift a block) must be from 1ms to 3660d",
        ),
        (
            "RL.BLOCK k 1mo",
            "ERR argument 2 (duration, or 0 to lift a block) must be",
        ),
        ("RL.BLOCK text 30s", "WRONGTYPE"),
        ("RL.BLOCK text 0", "WRONGTYPE"),
    ] {
        let reply = server.call(line);
        assert!(reply.error().starts_with(expected), "{line}: {reply:?}");
    }
    assert_eq!(server.call("DBSIZE").int(), 1);
    assert_eq!(server.call("RL.BLOCK k 3660d").int(), 3660 * 86_400_000);
    server.ok("ACL SETUSER worker on nopass ~up:* -@all +rl.block");
    let mut worker = server.connect();
    assert!(!worker.call("AUTH worker any").is_error());
    assert_eq!(worker.call("RL.BLOCK up:openai 30s").int(), 30_000);
    assert!(worker
        .call("RL.BLOCK other 30s")
        .error()
        .starts_with("NOPERM"));
}

#[test]
fn where_memory_is_full_what_exists_is_shut_and_a_new_key_is_refused() {
    let server = Server::start();
    server.call("RL.FIXED k 5 30d");
    server.ok("CONFIG SET maxmemory-policy noeviction");
    server.ok("CONFIG SET maxmemory 1000");
    assert_eq!(block(&server, "k", "1h"), HOUR_MS);
    assert_eq!(block(&server, "k", "0"), 0);
    assert_eq!(block(&server, "new", "0"), 0, "what makes no key");
    let refused = server.call("RL.BLOCK new 1h");
    assert!(refused.error().starts_with("OOM "), "{refused:?}");
    assert_eq!(server.call("EXISTS new").int(), 0);
}

/// A provider says `Retry-After: 30` to one of twenty that share its key.
#[test]
fn twenty_workers_share_a_key_and_when_one_is_told_to_wait_none_calls_before() {
    const WORKERS: usize = 20;
    let Some((clock, server)) = Clock::started(START_MS) else {
        return;
    };
    let is_told = AtomicBool::new(false);
    /// Asks so many times; how often it was let through though it had been told, and what it was told to wait.
    fn ask(server: &Server, is_told: &AtomicBool, times: usize) -> (usize, Vec<i64>) {
        let mut connection = server.connect();
        let (mut early, mut waits) = (0, Vec::new());
        for _ in 0..times {
            let was_told = is_told.load(SeqCst);
            let five = connection
                .call("RL.BUCKET up:openai 100000 100000 1s")
                .ints();
            early += usize::from(was_told && five[0] == 1);
            if five[0] == 0 {
                waits.push(five[3]);
            }
        }
        (early, waits)
    }
    let all = |told: bool| {
        thread::scope(|scope| {
            let workers: Vec<_> = (0..WORKERS)
                .map(|_| scope.spawn(|| ask(&server, &is_told, 200)))
                .collect();
            if told {
                let mut provider = server.connect();
                assert_eq!(provider.call("RL.BLOCK up:openai 30s").int(), 30_000);
                is_told.store(true, SeqCst);
            }
            let results = workers.into_iter().map(|worker| worker.join().unwrap());
            results.fold((0, Vec::new()), |mut sum, (early, waits)| {
                sum.0 += early;
                sum.1.extend(waits);
                sum
            })
        })
    };
    assert_eq!(all(false), (0, Vec::new()), "all are let through");
    let (early, waits) = all(true);
    assert_eq!(early, 0);
    assert!(waits.iter().all(|wait| *wait == 30_000), "{waits:?}");
    clock.step(29_999);
    assert_eq!(
        all(false),
        (0, vec![1; WORKERS * 200]),
        "a millisecond before"
    );
    clock.step(1);
    is_told.store(false, SeqCst);
    assert_eq!(all(false), (0, Vec::new()), "all go on");
}
