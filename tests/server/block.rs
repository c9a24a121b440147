//! `BLOCK`: a key that is shut for a while once it has denied, on a real server whose clock is the test's.

use crate::support::{aof, eventually, pair, Clock, Reply, Server};

/// A midnight.
const START_MS: u64 = 1_700_006_400_000;
const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Five in a quarter of an hour under each algorithm.
const LIMITERS: [&str; 3] = [
    "RL.SLIDING k 5 15m",
    "RL.FIXED k 5 15m",
    "RL.BUCKET k 5 5 15m",
];

/// Whether it is allowed, what is left, and for how long it has to wait.
#[track_caller]
fn call(server: &Server, line: &str) -> (i64, i64, i64) {
    let reply = server.call(line);
    assert!(!reply.is_error(), "{line}: {reply:?}");
    let five = reply.array();
    (five[0].int(), five[2].int(), five[3].int())
}

/// Uses a limiter up: the last one is denied.
#[track_caller]
fn use_up(server: &Server, line: &str) -> i64 {
    for left in (0..5).rev() {
        assert_eq!(call(server, line), (1, left, 0), "{line}");
    }
    let (allowed, left, wait) = call(server, line);
    assert_eq!((allowed, left), (0, 0), "{line}");
    wait
}

#[test]
fn a_block_ends_to_the_millisecond_and_the_limit_starts_anew() {
    let Some((clock, server)) = Clock::started(START_MS) else {
        return;
    };
    for limiter in LIMITERS {
        clock.set(START_MS);
        let line = format!("{limiter} BLOCK 1h 1d");
        assert_eq!(use_up(&server, &line), HOUR_MS);
        // Calls without the clause meet it too, and so does every cost that is not negative.
        clock.step(1);
        for options in ["", " COST 0", " COST 5", " BLOCK 3h", " MIN 1"] {
            let line = format!("{limiter}{options}");
            assert_eq!(call(&server, &line), (0, 0, HOUR_MS - 1), "{line}");
        }
        let peek = format!("RL.PEEK {}", limiter.strip_prefix("RL.").unwrap());
        assert_eq!(call(&server, &peek), (0, 0, HOUR_MS - 1));
        clock.set(START_MS);
        clock.step(HOUR_MS - 1);
        assert_eq!(call(&server, &line), (0, 0, 1));
        clock.step(1);
        assert_eq!(call(&server, &line), (1, 4, 0), "{line}");
        server.call("DEL k");
    }
}

#[test]
fn each_block_is_longer_until_it_is_forgotten() {
    let Some((clock, server)) = Clock::started(START_MS) else {
        return;
    };
    for limiter in LIMITERS {
        clock.set(START_MS);
        let line = format!("{limiter} BLOCK 1h 1d");
        for length in [HOUR_MS, DAY_MS, DAY_MS, DAY_MS] {
            assert_eq!(use_up(&server, &line), length, "{line}");
            clock.step(length);
        }
        // Out of the last for one millisecond less than it lasted: remembered.
        clock.step(DAY_MS - 1);
        assert_eq!(use_up(&server, &line), DAY_MS, "{line}");
        clock.step(2 * DAY_MS);
        assert_eq!(use_up(&server, &line), HOUR_MS, "forgotten: {line}");
        // A lasting usage outlives the memory of a block.
        clock.step(2 * HOUR_MS);
        assert_eq!(call(&server, &line), (1, 4, 0));
        assert_eq!(server.call("RL.INFO k").get("block"), None);
        server.call("DEL k");
    }
}

#[test]
fn only_a_denial_of_what_could_have_fitted_starts_a_block() {
    let Some((_clock, server)) = Clock::started(START_MS) else {
        return;
    };
    for limiter in LIMITERS {
        assert_eq!(
            call(&server, &format!("{limiter} COST 6 BLOCK 1h")),
            (0, 5, -1)
        );
        assert_eq!(server.call("EXISTS k").int(), 0);
        assert_eq!(call(&server, &format!("{limiter} COST 3 BLOCK 1h")).0, 1);
        assert_eq!(
            call(&server, &format!("{limiter} COST 6 BLOCK 1h")),
            (0, 2, -1)
        );
        let peek = format!(
            "RL.PEEK {} COST 3 BLOCK 1h",
            limiter.strip_prefix("RL.").unwrap()
        );
        assert_eq!(
            call(&server, &peek),
            (0, 0, HOUR_MS),
            "what it would be told"
        );
        assert_eq!(
            server.call("RL.INFO k").get("block"),
            None,
            "a peek starts none"
        );
        assert_eq!(
            call(&server, &format!("{limiter} COST 4 FORCE BLOCK 1h")).0,
            0
        );
        assert_eq!(call(&server, &format!("{limiter} COST 0 BLOCK 1h")).0, 0);
        assert_eq!(call(&server, &format!("{limiter} COST -1 BLOCK 1h")).0, 1);
        assert_eq!(server.call("RL.INFO k").get("block"), None, "{limiter}");
        // A deny list's denial is not the key's.
        server.call("RL.DENY ADD bad v");
        let listed = server.call(&format!("{limiter} BLOCK 1h DENY bad v"));
        assert_eq!(listed.array()[5], Reply::Text(b"v".to_vec()));
        assert_eq!(server.call("RL.INFO k").get("block"), None, "{limiter}");
        // The least did not fit: that is a denial.
        assert_eq!(
            call(&server, &format!("{limiter} COST 9 MIN 5 BLOCK 1h")).2,
            HOUR_MS
        );
        server.call("DEL k");
    }
}

#[test]
fn the_limits_that_denied_start_anew_and_the_others_keep_what_they_have() {
    let Some((clock, server)) = Clock::started(START_MS) else {
        return;
    };
    let line = "RL.SLIDING k 2 1m 10 1d BLOCK 10s";
    for _ in 0..2 {
        assert_eq!(server.call(line).array()[0], Reply::Int(1));
    }
    assert_eq!(call(&server, line), (0, 0, 10_000));
    // A longer wait of a limit goes first, and what can never be.
    assert_eq!(
        call(&server, "RL.SLIDING k 9 1m 10 1d COST 9"),
        (0, 0, DAY_MS)
    );
    assert_eq!(call(&server, "RL.SLIDING k 2 1m 10 1d COST 11"), (0, 0, -1));
    clock.step(10_000);
    let after = server.call("RL.SLIDING k 2 1m 10 1d");
    let each: Vec<i64> = after.array()[5]
        .array()
        .iter()
        .map(|each| each.ints()[2])
        .collect();
    assert_eq!(each, [1, 7]);
}

#[test]
fn force_charges_and_a_refund_gives_back_during_a_block() {
    let Some((clock, server)) = Clock::started(START_MS) else {
        return;
    };
    for limiter in LIMITERS {
        clock.set(START_MS);
        let line = format!("{limiter} BLOCK 1m");
        assert_eq!(use_up(&server, &line), MINUTE_MS);
        clock.step(MINUTE_MS - 1);
        let forced = format!("{limiter} COST 2 FORCE");
        assert_eq!(call(&server, &forced), (0, 0, 1));
        // The same once more would have to wait for the limit, too.
        assert!(call(&server, &forced).2 > 1, "{limiter}");
        let refund = call(&server, &format!("{limiter} COST -1"));
        assert_eq!(refund.0, 1, "refunds are let through");
        clock.step(1);
        assert_eq!(call(&server, limiter), (1, 1, 0), "3 were used: {limiter}");
        server.call("DEL k");
    }
}

#[test]
fn deleting_the_key_lifts_the_block_and_its_ttl_outlives_it() {
    let Some((clock, server)) = Clock::started(START_MS) else {
        return;
    };
    let line = "RL.FIXED k 5 1s BLOCK 1h";
    assert_eq!(use_up(&server, line), HOUR_MS);
    let info = server.call("RL.INFO k");
    let block = info.field("block");
    assert_eq!(block.field("left_ms").int(), HOUR_MS);
    assert_eq!(block.field("nth").int(), 1);
    assert_eq!(block.field("forgotten_after_ms").int(), 2 * HOUR_MS);
    assert!(server.call("PTTL k").int() >= 2 * HOUR_MS);
    assert_eq!(server.call("DEL k").int(), 1);
    assert_eq!(call(&server, line), (1, 4, 0));
    // PERSIST or EXPIRE in between do not end it.
    server.call("DEL k");
    use_up(&server, line);
    server.call("PERSIST k");
    clock.step(HOUR_MS - 1);
    assert_eq!(call(&server, line), (0, 0, 1));
}

#[test]
fn what_a_blocked_key_denies_writes_nothing_and_touches_no_watcher() {
    let Some((clock, server)) = Clock::started(START_MS) else {
        return;
    };
    let line = "RL.SLIDING k 5 15m BLOCK 1h";
    use_up(&server, line);
    let writes = aof::commands(&server).len();
    assert_eq!(writes, 6, "five hits and the block");
    let state = server.digest();
    let expires = server.call("PEXPIRETIME k");
    server.ok("WATCH k");
    let mut other = server.connect();
    for second in 0..50 {
        clock.step(1_000);
        let wait = HOUR_MS - (second + 1) * 1_000;
        let denied = other.call(line).ints();
        assert_eq!((denied[0], denied[3]), (0, wait));
        other.call("RL.PEEK SLIDING k 5 15m");
    }
    server.ok("MULTI");
    server.call("PING");
    assert_eq!(server.call("EXEC").array().len(), 1, "not aborted");
    assert_eq!(server.digest(), state);
    assert_eq!(server.call("PEXPIRETIME k"), expires);
    assert_eq!(aof::commands(&server).len(), writes);
    // Its start did touch them.
    server.call("DEL k");
    server.call("RL.SLIDING k 5 15m COST 5");
    server.ok("WATCH k");
    other.call(line);
    server.ok("MULTI");
    server.call("PING");
    assert_eq!(server.call("EXEC"), Reply::Nil);
}

#[test]
fn a_block_outlives_its_primary() {
    let clock = Clock::at(START_MS);
    if clock.server(&[]).is_none() {
        return;
    }
    let (mut primary, replica) = pair::of(|lines| clock.server(lines).unwrap());
    let line = "RL.SLIDING k 5 15m BLOCK 1h 1d";
    assert_eq!(use_up(&primary, line), HOUR_MS);
    clock.step(HOUR_MS / 2);
    pair::assert_equal(&primary, &replica);
    primary.kill();
    replica.ok("REPLICAOF NO ONE");
    assert_eq!(call(&replica, line), (0, 0, HOUR_MS / 2));
    clock.step(HOUR_MS / 2);
    assert_eq!(
        use_up(&replica, line),
        DAY_MS,
        "it knows that it was the first"
    );
}

#[test]
fn an_append_only_file_that_is_replayed_after_the_end_of_a_block_shuts_nobody() {
    let Some((clock, mut server)) = Clock::started(START_MS) else {
        return;
    };
    let line = "RL.SLIDING k 5 15m BLOCK 1h 1d";
    use_up(&server, line);
    let digest = server.digest_value("k");
    aof::await_writes(&server);
    server.kill();
    clock.step(HOUR_MS - 1);
    server.start_again().unwrap();
    assert_eq!(server.digest_value("k"), digest);
    assert_eq!(call(&server, line), (0, 0, 1));
    server.kill();
    clock.step(1);
    server.start_again().unwrap();
    assert_eq!(server.digest_value("k"), digest);
    assert_eq!(use_up(&server, line), DAY_MS);
    // Rewritten, reloaded, dumped and restored.
    let digest = server.digest_value("k");
    aof::rewrite(&server);
    server.ok("DEBUG LOADAOF");
    server.ok("DEBUG RELOAD");
    server.call("COPY k copy");
    assert_eq!(server.digest_value("k"), digest);
    assert_eq!(server.digest_value("copy"), digest);
    assert_eq!(call(&server, "RL.SLIDING copy 5 15m"), (0, 0, DAY_MS));
    // Long after it is forgotten, the key is gone.
    clock.step(3 * DAY_MS);
    eventually("the key has expired", || server.call("EXISTS k").int() == 0);
}

/// The window that denied is emptied, and what is left of it must be read again.
#[test]
fn a_block_on_a_calendar_window_can_be_saved_and_replicated() {
    let clock = Clock::at(START_MS);
    if clock.server(&[]).is_none() {
        return;
    }
    let (primary, replica) = pair::of(|lines| {
        clock
            .server(&[&["appendonly yes"], lines].concat())
            .unwrap()
    });
    let line = "RL.FIXED k 1 1mo@15,Europe/Berlin 5 1h BLOCK 1h";
    assert_eq!(call(&primary, line).0, 1);
    assert_eq!(call(&primary, line), (0, 0, HOUR_MS));
    pair::assert_equal(&primary, &replica);
    let digest = primary.digest();
    primary.ok("DEBUG RELOAD");
    aof::await_writes(&primary);
    primary.ok("DEBUG LOADAOF");
    assert_eq!(primary.digest(), digest);
    clock.step(HOUR_MS);
    assert_eq!(call(&primary, line).0, 1, "the month has started anew");
    pair::assert_equal(&primary, &replica);
}

#[test]
fn a_clock_that_steps_back_leaves_a_block_no_longer_than_it_was_given() {
    let Some((clock, server)) = Clock::started(START_MS) else {
        return;
    };
    let line = "RL.SLIDING k 5 15m BLOCK 1h 1d";
    use_up(&server, line);
    clock.step(-10 * DAY_MS);
    let writes = aof::commands(&server).len();
    assert_eq!(call(&server, line), (0, 0, HOUR_MS));
    assert_eq!(
        aof::commands(&server).len(),
        writes + 1,
        "its end is moved, once"
    );
    clock.step(1);
    assert_eq!(call(&server, line), (0, 0, HOUR_MS - 1));
    assert_eq!(aof::commands(&server).len(), writes + 1);
    clock.step(HOUR_MS - 1);
    assert_eq!(call(&server, line), (1, 4, 0));
    let digest = server.digest();
    aof::await_writes(&server);
    server.ok("DEBUG LOADAOF");
    assert_eq!(server.digest(), digest);
}

#[test]
fn a_block_is_said_rightly_or_refused() {
    let Some((_clock, server)) = Clock::started(START_MS) else {
        return;
    };
    for (options, says) in [
        ("BLOCK", "argument 5 is missing"),
        ("BLOCK FORCE", "argument 5 (duration)"),
        ("BLOCK 0s", "argument 5 (duration)"),
        ("BLOCK 60", "argument 5 (duration) needs a unit"),
        ("BLOCK 1s 2x", "argument 6 (duration)"),
        ("BLOCK 3661d", "argument 5 (duration)"),
        ("BLOCK 1mo", "argument 5 (duration)"),
        (
            "BLOCK 1s 2s 3s 4s 5s 6s 7s 8s 9s",
            "too many durations (maximum 8)",
        ),
        ("BLOCK 1s BLOCK 1s", "repeats BLOCK"),
    ] {
        let error = server.call(&format!("RL.FIXED k 5 1m {options}"));
        assert!(error.error().contains(says), "{options}: {error:?}");
    }
    for line in [
        "RL.LEASE k 5 1m id BLOCK 1s",
        "RL.ALL 1 k LEASE 5 1m id BLOCK 1s",
    ] {
        let error = server.call(line);
        assert!(
            error.error().contains("BLOCK does not go with a lease"),
            "{error:?}"
        );
    }
    assert_eq!(server.call("EXISTS k").int(), 0);
    let most = "RL.FIXED k 5 1m BLOCK 1s 2s 3s 4s 5s 6s 7s 8s COST 5";
    assert_eq!(call(&server, most), (1, 0, 0));
}

#[test]
fn of_several_keys_each_that_denies_is_shut() {
    let Some((clock, server)) = Clock::started(START_MS) else {
        return;
    };
    let line = "RL.ALL 3 a b c FIXED 1 1h BLOCK 2h SLIDING 9 1h BLOCK 3h FIXED 1 1h";
    assert_eq!(call(&server, line).0, 1);
    let writes = aof::commands(&server).len();
    let denied = server.call(line);
    assert_eq!(denied.array()[0], Reply::Int(0));
    assert_eq!(denied.array()[3], Reply::Int(2 * HOUR_MS));
    assert_eq!(denied.array().last(), Some(&Reply::Int(1)), "a binds");
    assert_eq!(aof::commands(&server).len(), writes + 1, "a's block");
    assert_eq!(call(&server, "RL.PEEK FIXED a 1 1h"), (0, 0, 2 * HOUR_MS));
    assert_eq!(
        call(&server, "RL.PEEK SLIDING b 9 1h"),
        (1, 7, 0),
        "b let it through"
    );
    assert_eq!(
        server.call("RL.INFO c").get("block"),
        None,
        "c says no BLOCK"
    );
    clock.step(2 * HOUR_MS);
    assert_eq!(call(&server, line).0, 1);
}
