//! The commands, one by one: what they answer, and what they refuse.

use std::time::Instant;

use crate::support::reply::Verdict;
use crate::support::{eventually, Random, Reply, Server, DEADLINE};

/// The longest time that a window of `30d` still runs.
const MONTH_MS: i64 = 30 * 86_400_000;

/// The same limiter under each algorithm: `(command, its limits: 5 in a month)`.
const FIVE_A_MONTH: [(&str, &str); 3] = [
    ("RL.FIXED", "5 30d"),
    ("RL.SLIDING", "5 30d"),
    ("RL.BUCKET", "5 5 30d"),
];

#[test]
fn a_fixed_window_counts_down_and_ends_with_the_epochs_window() {
    let server = Server::start();
    for used in 1..=5 {
        let before = server.now_ms();
        let decision = server.decide("RL.FIXED k 5 30d");
        let after = server.now_ms();
        assert!(decision.allowed);
        assert_eq!(decision.limit, 5);
        assert_eq!(decision.remaining, 5 - used);
        let end = before + decision.reset_after_ms;
        let window_end = (before / MONTH_MS + 1) * MONTH_MS;
        assert!(end <= window_end && window_end <= after + decision.reset_after_ms);
    }
    let denied = server.decide("RL.FIXED k 5 30d");
    assert!(!denied.allowed);
    assert_eq!(denied.remaining, 0);
    assert_eq!(denied.retry_after_ms, denied.reset_after_ms);
    assert!(denied.each.is_empty(), "one limit has no sixth element");
}

#[test]
fn a_sliding_window_frees_a_hit_one_window_after_it() {
    let server = Server::start();
    let before = server.now_ms();
    let first = server.decide("RL.SLIDING k 2 30d COST 2");
    let after = server.now_ms();
    assert_eq!(
        first.verdict,
        Verdict {
            allowed: true,
            limit: 2,
            remaining: 0,
            retry_after_ms: 0,
            reset_after_ms: MONTH_MS
        }
    );
    let asked = server.now_ms();
    let denied = server.decide("RL.SLIDING k 2 30d");
    assert!(!denied.allowed);
    assert!(denied.retry_after_ms <= after + MONTH_MS - asked);
    assert!(denied.retry_after_ms >= before + MONTH_MS - server.now_ms());
    assert_eq!(denied.retry_after_ms, denied.reset_after_ms);
}

#[test]
fn a_bucket_starts_full_and_regains_continuously() {
    let server = Server::start();
    // One token an hour.
    let first = server.decide("RL.BUCKET k 10 24 1d COST 10");
    assert_eq!(
        first.verdict,
        Verdict {
            allowed: true,
            limit: 10,
            remaining: 0,
            retry_after_ms: 0,
            reset_after_ms: 36_000_000
        }
    );
    let denied = server.decide("RL.BUCKET k 10 24 1d COST 3");
    assert!(!denied.allowed);
    let wait = 3 * 3_600_000;
    assert!(
        denied.retry_after_ms <= wait && denied.retry_after_ms > wait - 60_000,
        "{denied:?}"
    );
}

/// The promise of `retry_after_ms` on a running server: every peek that was surely before the promised instant is
/// denied, every peek that was surely at it or after is allowed.
#[test]
fn what_is_denied_is_allowed_at_the_promised_millisecond_and_not_before() {
    let server = Server::start();
    for (command, limits) in [
        ("FIXED", "3 150ms"),
        ("SLIDING", "3 150ms"),
        ("BUCKET", "3 1 100ms"),
        ("FIXED", "3 150ms 4 170ms"),
        ("SLIDING", "3 150ms 3 190ms"),
        ("BUCKET", "3 1 100ms 4 2 170ms"),
    ] {
        let mut peeks_denied = 0;
        // On a busy machine a round may be without a peek that is early enough.
        let start = Instant::now();
        for round in 0.. {
            if round >= 5 && peeks_denied > 0 {
                break;
            }
            assert!(
                start.elapsed() < DEADLINE,
                "{command} {limits}: no peek was early enough"
            );
            let key = format!("{command}:{limits}:{round}").replace(' ', "-");
            // Without FORCE a fixed window could end between the two hits, and nothing would be denied.
            let (before, denied, after) = loop {
                server.decide(&format!("RL.{command} {key} {limits} COST 3"));
                let before = server.now_ms();
                let hit = server.decide(&format!("RL.{command} {key} {limits} COST 2"));
                let after = server.now_ms();
                if !hit.allowed {
                    break (before, hit, after);
                }
            };
            let mut peeks_allowed = 0;
            eventually("the promised instant passes", || {
                let peek_before = server.now_ms();
                let peek = server.decide(&format!("RL.PEEK {command} {key} {limits} COST 2"));
                let peek_after = server.now_ms();
                if peek_after < before + denied.retry_after_ms {
                    assert!(
                        !peek.allowed,
                        "{key}: allowed too early: {denied:?} then {peek:?}"
                    );
                    peeks_denied += 1;
                }
                // A fixed window is aligned to the epoch: the next ones are no less free.
                if peek_before >= after + denied.retry_after_ms {
                    assert!(
                        peek.allowed,
                        "{key}: denied too late: {denied:?} then {peek:?}"
                    );
                    peeks_allowed += 1;
                }
                peeks_allowed > 0
            });
        }
    }
}

#[test]
fn a_denied_hit_changes_nothing() {
    let server = Server::start();
    for (command, limits) in FIVE_A_MONTH {
        server.ok("FLUSHALL");
        server.decide(&format!("{command} k {limits} COST 4"));
        let state = server.digest_value("k");
        let expires = server.call("PEXPIRETIME k");
        for cost in ["2", "5", "6", "9007199254740991"] {
            assert!(
                !server
                    .decide(&format!("{command} k {limits} COST {cost}"))
                    .allowed,
                "{cost}"
            );
        }
        assert_eq!(server.digest_value("k"), state, "{command}");
        assert_eq!(server.call("PEXPIRETIME k"), expires, "{command}");
        assert_eq!(server.decide(&format!("{command} k {limits}")).remaining, 0);
    }
}

#[test]
fn a_denied_hit_creates_nothing() {
    let server = Server::start();
    for (command, _) in FIVE_A_MONTH {
        let limits = if command == "RL.BUCKET" {
            "0 1 30d"
        } else {
            "0 30d"
        };
        let denied = server.decide(&format!("{command} k {limits}"));
        assert_eq!(
            denied.verdict,
            Verdict {
                allowed: false,
                limit: 0,
                remaining: 0,
                retry_after_ms: -1,
                reset_after_ms: 0
            },
            "a limit of 0 denies everything"
        );
        assert_eq!(server.call("EXISTS k").int(), 0);
    }
}

#[test]
fn a_cost_beyond_the_limit_never_fits_and_says_so() {
    let server = Server::start();
    for (command, limits) in FIVE_A_MONTH {
        let never = server.decide(&format!("{command} {command} {limits} COST 6"));
        assert!(!never.allowed);
        assert_eq!(never.retry_after_ms, -1);
        assert_eq!(never.remaining, 5);
        let later = server.decide(&format!("{command} {command} {limits} COST 5"));
        assert!(later.allowed);
        let wait = server.decide(&format!("{command} {command} {limits} COST 5"));
        assert!(wait.retry_after_ms > 0, "not now is not never: {wait:?}");
    }
}

#[test]
fn cost_zero_charges_nothing() {
    let server = Server::start();
    for (command, limits) in FIVE_A_MONTH {
        let free = server.decide(&format!("{command} {command} {limits} COST 0"));
        assert!(free.allowed);
        assert_eq!((free.remaining, free.reset_after_ms), (5, 0));
        assert_eq!(server.call(&format!("EXISTS {command}")).int(), 0);
        server.decide(&format!("{command} {command} {limits} COST 5"));
        let state = server.digest_value(command);
        let full = server.decide(&format!("{command} {command} {limits} COST 0"));
        assert!(
            full.allowed,
            "nothing always fits where usage is within the limit: {full:?}"
        );
        assert_eq!(full.remaining, 0);
        assert_eq!(server.digest_value(command), state);
    }
}

#[test]
fn a_refund_gives_back_and_never_more_than_was_used() {
    let server = Server::start();
    for (command, limits) in FIVE_A_MONTH {
        server.decide(&format!("{command} {command} {limits} COST 4"));
        let refund = server.decide(&format!("{command} {command} {limits} COST -3"));
        assert!(refund.allowed);
        assert_eq!(refund.remaining, 4);
        let beyond = server.decide(&format!("{command} {command} {limits} COST -100"));
        assert!(beyond.allowed);
        assert_eq!((beyond.remaining, beyond.reset_after_ms), (5, 0));
        let full = server.decide(&format!("{command} {command} {limits} COST 5"));
        assert!(full.allowed);
        assert!(
            !server
                .decide(&format!("{command} {command} {limits}"))
                .allowed
        );
    }
}

#[test]
fn force_charges_what_does_not_fit_and_leaves_a_debt() {
    let server = Server::start();
    for (command, limits) in FIVE_A_MONTH {
        let fits = server.decide(&format!("{command} {command} {limits} FORCE COST 4"));
        assert!(fits.allowed, "what fits is allowed, forced or not");
        let forced = server.decide(&format!("{command} {command} {limits} COST 8 FORCE"));
        assert!(!forced.allowed);
        assert_eq!(forced.remaining, 0);
        // 12 of 5 are used: to be allowed one more, 8 must go.
        let refund = server.decide(&format!("{command} {command} {limits} COST -7"));
        assert_eq!(refund.remaining, 0, "the debt is worked off first");
        assert!(
            !server
                .decide(&format!("{command} {command} {limits}"))
                .allowed
        );
        assert_eq!(
            server
                .decide(&format!("{command} {command} {limits} COST -1"))
                .remaining,
            1
        );
        assert!(
            server
                .decide(&format!("{command} {command} {limits}"))
                .allowed
        );
    }
}

#[test]
fn several_limits_are_all_charged_or_none() {
    let server = Server::start();
    for (command, limits) in [
        ("RL.FIXED", "3 30d 10 60d"),
        ("RL.SLIDING", "3 30d 10 60d"),
        ("RL.BUCKET", "3 1 30d 10 1 60d"),
    ] {
        let first = server.decide(&format!("{command} {command} {limits} COST 2"));
        assert!(first.allowed);
        assert_eq!(
            (first.limit, first.remaining),
            (3, 1),
            "allowed: the least remaining binds"
        );
        assert_eq!(first.each.len(), 2);
        assert_eq!((first.each[0].limit, first.each[0].remaining), (3, 1));
        assert_eq!((first.each[1].limit, first.each[1].remaining), (10, 8));
        let state = server.digest_value(command);
        let denied = server.decide(&format!("{command} {command} {limits} COST 2"));
        assert!(!denied.allowed);
        assert_eq!(denied.limit, 3);
        assert_eq!(
            (denied.each[0].allowed, denied.each[1].allowed),
            (false, true)
        );
        assert_eq!(
            denied.each[1].remaining, 8,
            "what fitted was not charged either"
        );
        assert_eq!(server.digest_value(command), state);
    }
}

#[test]
fn the_longest_wait_binds_and_never_comes_first() {
    let server = Server::start();
    server.decide("RL.SLIDING k 2 30d 3 60d COST 2");
    let both = server.decide("RL.SLIDING k 2 30d 3 60d COST 2");
    assert_eq!(
        (both.limit, both.each[0].allowed, both.each[1].allowed),
        (3, false, false)
    );
    assert!(both.retry_after_ms > MONTH_MS);
    assert_eq!(both.verdict, both.each[1]);
    let never = server.decide("RL.SLIDING k 2 30d 3 60d COST 3");
    assert_eq!(
        (never.limit, never.retry_after_ms),
        (2, -1),
        "never is the longest wait: {never:?}"
    );
    assert_eq!(never.verdict, never.each[0]);
}

#[test]
fn eight_limits_in_one_call_answer_in_the_order_asked() {
    let server = Server::start();
    for (command, refill) in [("RL.FIXED", ""), ("RL.SLIDING", ""), ("RL.BUCKET", "1 ")] {
        let limits: Vec<String> = (1..=8)
            .rev()
            .map(|n| format!("{} {refill}{n}d", n * 10))
            .collect();
        let decision = server.decide(&format!("{command} {command} {}", limits.join(" ")));
        let asked: Vec<i64> = (1..=8).rev().map(|n| n * 10).collect();
        assert_eq!(
            decision
                .each
                .iter()
                .map(|verdict| verdict.limit)
                .collect::<Vec<_>>(),
            asked
        );
        assert_eq!((decision.limit, decision.remaining), (10, 9));
    }
}

#[test]
fn changed_limits_apply_from_the_next_hit_and_usage_is_kept() {
    let server = Server::start();
    for (command, refill) in [("RL.FIXED", ""), ("RL.SLIDING", ""), ("RL.BUCKET", "1 ")] {
        let limit = |count: i64| format!("{command} {command} {count} {refill}30d");
        assert_eq!(server.decide(&format!("{} COST 8", limit(10))).remaining, 2);
        let raised = server.decide(&format!("{} COST 5", limit(20)));
        assert!(raised.allowed, "raising a limit never denies: {raised:?}");
        assert_eq!(raised.remaining, 7);
        let lowered = server.decide(&limit(5));
        assert!(!lowered.allowed);
        assert_eq!((lowered.limit, lowered.remaining), (5, 0));
        assert_eq!(
            server.decide(&format!("{} COST 0", limit(20))).remaining,
            7,
            "usage is kept"
        );
    }
}

#[test]
fn a_new_window_starts_unused_and_a_window_no_longer_named_keeps_its_usage() {
    let server = Server::start();
    for (command, refill) in [("RL.FIXED", ""), ("RL.SLIDING", ""), ("RL.BUCKET", "1 ")] {
        let call = |limits: &[(i64, &str)]| {
            let limits: Vec<String> = limits
                .iter()
                .map(|(count, window)| format!("{count} {refill}{window}"))
                .collect();
            server.decide(&format!("{command} {command} {}", limits.join(" ")))
        };
        assert_eq!(call(&[(10, "30d")]).remaining, 9);
        let both = call(&[(10, "60d"), (10, "30d")]);
        assert_eq!(
            (both.each[0].remaining, both.each[1].remaining),
            (9, 8),
            "matched by window, not by place"
        );
        assert_eq!(call(&[(10, "60d")]).remaining, 8, "30d is not charged");
        let again = call(&[(10, "30d"), (10, "60d")]);
        assert_eq!(
            (again.each[0].remaining, again.each[1].remaining),
            (7, 7),
            "30d has kept what it had"
        );
    }
}

#[test]
fn options_come_in_any_order_and_case() {
    let server = Server::start();
    let lines = [
        "RL.FIXED k 5 30d COST 2 FORCE",
        "RL.FIXED k 5 30d FORCE COST 2",
        "rl.fixed k 5 30D cost 2 force",
        "Rl.Fixed k 5 30d FoRcE cOsT 2",
    ];
    for (calls, line) in lines.iter().enumerate() {
        let decision = server.decide(line);
        let used = 2 * (i64::try_from(calls).unwrap() + 1);
        assert_eq!(decision.remaining, (5 - used).max(0), "{line}");
    }
    for algorithm in ["FIXED", "fixed", "Fixed"] {
        assert_eq!(
            server
                .decide(&format!("RL.PEEK {algorithm} k 10 30d cost 1"))
                .remaining,
            1
        );
    }
}

#[test]
fn every_unit_of_a_duration_is_read() {
    let server = Server::start();
    for (window, ms) in [
        ("1000ms", 1000),
        ("10s", 10_000),
        ("15m", 900_000),
        ("1h", 3_600_000),
        ("30d", MONTH_MS),
        ("4w", 28 * 86_400_000),
        ("3660d", 3660 * 86_400_000),
    ] {
        let decision = server.decide(&format!("RL.SLIDING {window} 5 {window}"));
        assert_eq!(decision.reset_after_ms, ms, "{window}");
    }
}

#[test]
fn the_largest_limit_is_exact() {
    let server = Server::start();
    let most = 9_007_199_254_740_991_i64;
    for (command, limits) in [
        ("RL.FIXED", format!("{most} 30d")),
        ("RL.SLIDING", format!("{most} 30d")),
        ("RL.BUCKET", format!("{most} 1 30d")),
    ] {
        let first = server.decide(&format!("{command} {command} {limits}"));
        assert_eq!((first.limit, first.remaining), (most, most - 1));
        let rest = server.decide(&format!("{command} {command} {limits} COST {}", most - 1));
        assert_eq!((rest.allowed, rest.remaining), (true, 0));
        assert!(
            !server
                .decide(&format!("{command} {command} {limits}"))
                .allowed
        );
    }
}

/// A peek answers, for every cost, what the command then answers. Windows of a month: no window ends between the two.
#[test]
fn a_peek_says_what_the_command_would_and_leaves_no_trace() {
    let server = Server::start();
    let mut random = Random::new(1);
    for (command, limits) in [
        ("FIXED", "50 30d"),
        ("SLIDING", "50 30d"),
        ("BUCKET", "50 1 30d"),
        ("FIXED", "50 30d 70 60d"),
        ("SLIDING", "50 30d 70 60d"),
        ("BUCKET", "50 1 30d 70 1 60d"),
    ] {
        server.ok("FLUSHALL");
        let peeked = server.decide(&format!("RL.PEEK {command} k {limits}"));
        assert!(peeked.allowed);
        assert_eq!(peeked.remaining, 49, "what is left after this hit");
        assert_eq!(server.call("EXISTS k").int(), 0, "a peek creates nothing");
        for _ in 0..60 {
            let cost = random.within(-3..=12);
            let state = server.call("DEBUG DIGEST");
            let peek = server.decide(&format!("RL.PEEK {command} k {limits} COST {cost}"));
            assert_eq!(server.call("DEBUG DIGEST"), state);
            let hit = server.decide(&format!("RL.{command} k {limits} COST {cost}"));
            assert_eq!(
                (
                    peek.allowed,
                    peek.limit,
                    peek.remaining,
                    peek.retry_after_ms == -1
                ),
                (
                    hit.allowed,
                    hit.limit,
                    hit.remaining,
                    hit.retry_after_ms == -1
                ),
                "cost {cost}: {peek:?} then {hit:?}"
            );
        }
    }
}

#[test]
fn a_peek_does_not_touch_the_ttl_or_the_watchers() {
    let server = Server::start();
    server.decide("RL.FIXED k 5 30d");
    server.call("PEXPIRE k 777777777");
    let expires = server.call("PEXPIRETIME k");
    server.ok("WATCH k");
    server.connect().decide("RL.PEEK FIXED k 5 30d");
    server.ok("MULTI");
    server.call("PING");
    assert_eq!(server.call("EXEC").array().len(), 1, "not aborted");
    assert_eq!(server.call("PEXPIRETIME k"), expires);
}

#[test]
fn deleting_the_key_resets_the_identifier() {
    let server = Server::start();
    for (command, limits) in FIVE_A_MONTH {
        server.decide(&format!("{command} {command} {limits} COST 5"));
        assert_eq!(server.call(&format!("DEL {command}")).int(), 1);
        assert_eq!(
            server
                .decide(&format!("{command} {command} {limits}"))
                .remaining,
            4
        );
    }
}

#[test]
fn info_tells_what_a_key_holds() {
    let server = Server::start();
    assert_eq!(server.call("RL.INFO nothing"), Reply::Nil);
    for (command, limits, algorithm) in [
        ("RL.FIXED", "10 30d 20 60d", "fixed"),
        ("RL.SLIDING", "10 30d 20 60d", "sliding"),
        ("RL.BUCKET", "10 1 30d 20 2 60d", "bucket"),
    ] {
        let hit = server.decide(&format!("{command} {command} {limits} COST 3"));
        let info = server.call(&format!("RL.INFO {command}"));
        assert!(matches!(info, Reply::Map(_)), "a map in RESP3: {info:?}");
        assert_eq!(info.field("algorithm").text(), algorithm);
        let held = info.field("limits").array();
        assert_eq!(held.len(), 2);
        for (i, (limit, verdict)) in held.iter().zip(&hit.each).enumerate() {
            let place = i64::try_from(i).unwrap() + 1;
            assert_eq!(limit.field("limit").int(), 10 * place);
            assert_eq!(limit.field("used").int(), 3);
            assert_eq!(limit.field("remaining").int(), verdict.remaining);
            let reset = limit.field("reset_after_ms").int();
            assert!(reset <= verdict.reset_after_ms && reset > verdict.reset_after_ms - 60_000);
            let duration = format!("{}d", 30 * place);
            if algorithm == "bucket" {
                assert_eq!(limit.field("refill").int(), place);
                assert_eq!(limit.field("interval").text(), duration);
            } else {
                assert_eq!(limit.field("window").text(), duration);
            }
            if algorithm == "sliding" {
                assert_eq!(limit.field("entries").int(), 1);
                assert_eq!(limit.field("capacity").int(), 128);
            }
        }
    }
}

#[test]
fn info_leaves_no_trace() {
    let server = Server::start();
    server.decide("RL.SLIDING k 5 30d");
    let state = server.digest();
    let expires = server.call("PEXPIRETIME k");
    server.call("RL.INFO k");
    assert_eq!(server.digest(), state);
    assert_eq!(server.call("PEXPIRETIME k"), expires);
}

#[test]
fn another_type_under_the_key_is_refused_both_ways() {
    let server = Server::start();
    for (create, kind) in [
        ("SET other v", "string"),
        ("RPUSH other v", "list"),
        ("SADD other v", "set"),
        ("ZADD other 1 v", "sorted set"),
        ("HSET other f v", "hash"),
        ("XADD other * f v", "stream"),
    ] {
        server.call("DEL other");
        server.call(create);
        let state = server.digest();
        for line in [
            "RL.FIXED other 5 30d",
            "RL.FIXED other 5 30d FORCE",
            "RL.FIXED other 0 30d",
            "RL.FIXED other 5 30d COST 0",
            "RL.FIXED other 5 30d COST -1",
            "RL.SLIDING other 5 30d",
            "RL.BUCKET other 5 1 30d",
            "RL.PEEK FIXED other 5 30d",
            "RL.INFO other",
        ] {
            let error = server.call(line);
            assert!(error.error().starts_with("WRONGTYPE "), "{line}: {error:?}");
            assert!(
                error.error().contains(kind),
                "{line} names what the key holds, a {kind}: {error:?}"
            );
        }
        assert_eq!(server.digest(), state);
    }
    server.decide("RL.FIXED limiter 5 30d");
    let state = server.digest();
    for line in [
        "GET limiter",
        "INCR limiter",
        "LPUSH limiter v",
        "HGETALL limiter",
        "APPEND limiter v",
    ] {
        assert!(
            server.call(line).error().starts_with("WRONGTYPE "),
            "{line}"
        );
    }
    assert_eq!(server.digest(), state);
}

#[test]
fn another_algorithm_under_the_key_is_refused() {
    let server = Server::start();
    for (holder, limits) in FIVE_A_MONTH {
        let holds = holder.strip_prefix("RL.").unwrap().to_lowercase();
        server.decide(&format!("{holder} {holder} {limits}"));
        let state = server.digest();
        for (command, limits) in FIVE_A_MONTH {
            if command == holder {
                continue;
            }
            let algorithm = command.strip_prefix("RL.").unwrap();
            for line in [
                format!("{command} {holder} {limits}"),
                format!("{command} {holder} {limits} FORCE"),
                format!("{command} {holder} {limits} COST 0"),
                format!("{command} {holder} {limits} COST -1"),
                format!("{command} {holder} {limits} COST 1000"),
                format!("RL.PEEK {algorithm} {holder} {limits}"),
            ] {
                let error = server.call(&line);
                assert!(error.error().starts_with("WRONGTYPE "), "{line}: {error:?}");
                assert!(
                    error.error().contains(&holds),
                    "{line} names what the key holds: {error:?}"
                );
            }
        }
        assert_eq!(server.digest(), state);
    }
}

/// Each refusal names the argument and what it should have been, and leaves the key as it was.
#[test]
fn what_is_refused_is_named_and_changes_nothing() {
    let server = Server::start();
    let integer = "integer from 0 to 9007199254740991";
    let cases: &[(&str, &[&str])] = &[
        ("RL.FIXED", &["wrong number of arguments"]),
        ("RL.FIXED k", &["wrong number of arguments"]),
        ("RL.FIXED k 5", &["wrong number of arguments"]),
        ("RL.INFO", &["wrong number of arguments"]),
        ("RL.INFO k k", &["wrong number of arguments"]),
        ("RL.PEEK FIXED k 5", &["wrong number of arguments"]),
        ("RL.BUCKET k 5 1", &["wrong number of arguments"]),
        ("RL.FIXED k five 30d", &["limit", integer]),
        ("RL.FIXED k -1 30d", &["limit", integer]),
        ("RL.FIXED k +5 30d", &["limit", integer]),
        ("RL.FIXED k 5.0 30d", &["limit", integer]),
        ("RL.FIXED k \" 5\" 30d", &["limit", integer]),
        ("RL.FIXED k \"\" 30d", &["limit", integer]),
        ("RL.FIXED k 9007199254740992 30d", &["limit", integer]),
        (
            "RL.FIXED k 99999999999999999999999 30d",
            &["limit", integer],
        ),
        ("RL.FIXED k 0x10 30d", &["limit", integer]),
        (
            "RL.SLIDING k 5 60",
            &["window", "needs a unit, such as 60s or 500ms"],
        ),
        ("RL.SLIDING k 5 0s", &["window", "1ms", "3660d"]),
        ("RL.SLIDING k 5 3661d", &["window", "1ms", "3660d"]),
        ("RL.SLIDING k 5 -1s", &["window", "positive integer"]),
        ("RL.SLIDING k 5 1.5s", &["window", "positive integer"]),
        ("RL.SLIDING k 5 \"1 s\"", &["window", "unit"]),
        (
            "RL.SLIDING k 5 1y",
            &["window", "calendar windows are for FIXED"],
        ),
        ("RL.FIXED k 5 2y", &["window", "1mo, 3mo or 1y"]),
        ("RL.SLIDING k 5 s", &["window", "unit"]),
        ("RL.SLIDING k 5 \"\"", &["window", "unit"]),
        (
            "RL.SLIDING k 5 99999999999999999999999w",
            &["window", "3660d"],
        ),
        ("RL.BUCKET k x 1 30d", &["capacity", integer]),
        ("RL.BUCKET k 5 x 30d", &["refill", "integer"]),
        ("RL.BUCKET k 5 0 30d", &["refill", "1"]),
        (
            "RL.BUCKET k 5 1 60",
            &["interval", "needs a unit, such as 60s or 500ms"],
        ),
        ("RL.FIXED k 5 30d 6", &["window"]),
        ("RL.BUCKET k 5 1 30d 6", &["refill"]),
        ("RL.BUCKET k 5 1 30d 6 1", &["interval"]),
        ("RL.FIXED k 5 30d 6 30d", &["window", "differ"]),
        ("RL.FIXED k 5 30d 6 720h", &["window", "differ"]),
        ("RL.BUCKET k 5 1 30d 6 2 30d", &["interval", "differ"]),
        (
            "RL.FIXED k 1 1d 1 2d 1 3d 1 4d 1 5d 1 6d 1 7d 1 8d 1 9d",
            &["too many limits (maximum 8)"],
        ),
        ("RL.FIXED k 5 30d COST", &["cost"]),
        ("RL.FIXED k 5 30d COST x", &["cost", "integer"]),
        ("RL.FIXED k 5 30d COST 1.5", &["cost", "integer"]),
        ("RL.FIXED k 5 30d COST \"\"", &["cost", "integer"]),
        ("RL.FIXED k 5 30d COST FORCE", &["cost", "integer"]),
        ("RL.FIXED k 5 30d COST 1 COST 1", &["cost"]),
        ("RL.FIXED k 5 30d FORCE FORCE", &["force"]),
        ("RL.FIXED k 5 30d FORCED", &["COST", "FORCE"]),
        ("RL.FIXED k 5 30d FORCE 6 60d", &["COST", "FORCE"]),
        ("RL.FIXED k 5 30d COST 1 6 60d", &["COST", "FORCE"]),
        ("RL.PEEK GCRA k 5 30d", &["FIXED", "SLIDING", "BUCKET"]),
        ("RL.PEEK \"\" k 5 30d", &["FIXED", "SLIDING", "BUCKET"]),
        ("RL.PEEK FIXED k 5 30d FORCE", &["FORCE"]),
        ("RL.PEEK FIXED k 5 60", &["window", "needs a unit"]),
        ("RL.PEEK BUCKET k 5 30d COST 1", &["refill"]),
    ];
    for key_exists in [false, true] {
        if key_exists {
            server.decide("RL.FIXED k 5 30d COST 2");
        }
        let state = server.digest();
        let expires = server.call("PEXPIRETIME k");
        for (line, needles) in cases {
            let reply = server.call(line);
            let text = reply.error();
            assert!(text.starts_with("ERR "), "{line}: {text}");
            for needle in *needles {
                assert!(
                    text.to_lowercase().contains(&needle.to_lowercase()),
                    "{line} should say {needle:?}, says {text:?}"
                );
            }
        }
        assert_eq!(server.digest(), state);
        assert_eq!(server.call("PEXPIRETIME k"), expires);
    }
}
