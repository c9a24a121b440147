//! What a replica receives, and that it holds what the primary holds.

use crate::support::pair::{self, assert_equal, offset, wait_for};
use crate::support::{traffic, Random, Reply, Server};

/// A pair of a primary with these lines in its configuration, and a replica.
fn pair(primary_lines: &[&str]) -> (Server, Server) {
    let primary = Server::with(&[&pair::PRIMARY, primary_lines].concat());
    let replica = replica_of(&primary, &[]);
    (primary, replica)
}

fn replica_of(primary: &Server, lines: &[&str]) -> Server {
    pair::replica_of(primary, |own| Server::with(&[own, lines].concat()))
}

/// Commands of the module that the server ran since the last CONFIG RESETSTAT, but for the statistics, which follow once a
/// second.
fn effects(server: &Server) -> Vec<(String, i64)> {
    let mut calls = server.command_calls();
    calls.retain(|(name, _)| name.starts_with("rl.") && name != "rl.node");
    calls
}

#[test]
fn after_a_hundred_thousand_mixed_calls_the_digests_are_equal() {
    let (primary, replica) = pair(&[]);
    replica.ok("CONFIG RESETSTAT");
    let mut random = Random::new(9);
    for _ in 0..10 {
        let replies = primary.bulk(&traffic::calls(&mut random, &traffic::ALL_WINDOWS, 10_000));
        let decided = replies
            .iter()
            .filter(|reply| matches!(reply, Reply::Array(_)))
            .count();
        assert!(decided > 9_000, "most calls are decided: {decided}");
        assert_equal(&primary, &replica);
    }
    let allowed_elsewhere = [
        // The stream's own, and what ends a key.
        "select",
        "ping",
        "replconf",
        "del",
        "unlink",
        "multi",
        "exec",
        // What the test itself asks.
        "info",
        "debug",
        "keys",
        "config|resetstat",
        "config|get",
        "command|docs",
        "hello",
        "client|setinfo",
    ];
    let calls = replica.command_calls();
    for (name, _) in &calls {
        assert!(
            ["rl.apply", "rl.node"].contains(&name.as_str())
                || allowed_elsewhere.contains(&name.as_str()),
            "the replica ran {name}: {calls:?}"
        );
    }
    let [(_, applied)] = effects(&replica)[..] else {
        panic!("only the internal command: {calls:?}");
    };
    assert!(applied > 10_000, "{applied}");
    assert_eq!(
        replica.info_number("replication", "master_sync_in_progress"),
        0
    );
    assert_eq!(
        primary.info_number("stats", "sync_full"),
        1,
        "the link never broke"
    );
}

/// Each change is one internal command, whatever the number of limits.
#[test]
fn a_change_is_one_command() {
    let (primary, replica) = pair(&[]);
    replica.ok("CONFIG RESETSTAT");
    let mut changes = 0;
    for round in 0..20 {
        for line in [
            "RL.FIXED f 1000 30d".to_string(),
            "RL.SLIDING s 1000 30d 1000 60d".to_string(),
            "RL.BUCKET b 1000 1 30d 1000 1 60d 1000 2 90d".to_string(),
            format!("RL.SLIDING s:{round} 10 30d COST 20 FORCE"),
            format!("RL.SLIDING s:{round} 10 30d COST -1"),
        ] {
            primary.decide(&line);
            changes += 1;
        }
    }
    assert_equal(&primary, &replica);
    assert_eq!(effects(&replica), [("rl.apply".to_string(), changes)]);
}

#[test]
fn what_changes_nothing_sends_nothing() {
    let (primary, replica) = pair(&[]);
    for (command, limits) in [
        ("FIXED", "2 30d"),
        ("SLIDING", "2 30d"),
        ("BUCKET", "2 1 30d"),
    ] {
        primary.decide(&format!("RL.{command} {command} {limits} COST 2"));
        wait_for(&replica, &primary);
        replica.ok("CONFIG RESETSTAT");
        // A key whose usage was given back: there is nothing more to give back.
        primary.decide(&format!("RL.{command} unused:{command} {limits}"));
        primary.decide(&format!("RL.{command} unused:{command} {limits} COST -1"));
        wait_for(&replica, &primary);
        replica.ok("CONFIG RESETSTAT");
        let quiet = || {
            let before = offset(&primary);
            for line in [
                format!("RL.{command} {command} {limits}"),
                format!("RL.{command} {command} {limits} COST 1000"),
                format!("RL.{command} {command} {limits} COST 0"),
                format!("RL.{command} absent {limits} COST 3"),
                format!("RL.{command} absent {limits} COST 0"),
                format!("RL.{command} absent {limits} COST -3"),
                format!("RL.{command} unused:{command} {limits} COST -3"),
                format!("RL.PEEK {command} {command} {limits}"),
                format!("RL.PEEK {command} absent {limits}"),
                format!("RL.{command} {command} nonsense"),
                format!("RL.INFO {command}"),
            ] {
                for _ in 0..20 {
                    primary.call(&line);
                }
            }
            offset(&primary) == before
        };
        // The server's own pings and acknowledgement requests are rare: one of a few tries is without.
        assert!(
            (0..4).any(|_| quiet()),
            "{command}: something was propagated"
        );
        assert_eq!(effects(&replica), []);
    }
}

#[test]
fn a_promoted_replica_goes_on_where_the_primary_was() {
    let (primary, replica) = pair(&[]);
    for (command, limits) in [
        ("FIXED", "5 30d"),
        ("SLIDING", "5 30d"),
        ("BUCKET", "5 1 30d"),
    ] {
        primary.decide(&format!("RL.{command} {command} {limits} COST 3"));
        primary.decide(&format!("RL.{command} {command}:full {limits} COST 5"));
        primary.decide(&format!(
            "RL.{command} {command}:debt {limits} COST 50 FORCE"
        ));
    }
    assert_equal(&primary, &replica);
    replica.ok("REPLICAOF NO ONE");
    for (command, limits) in [
        ("FIXED", "5 30d"),
        ("SLIDING", "5 30d"),
        ("BUCKET", "5 1 30d"),
    ] {
        assert_eq!(
            replica
                .decide(&format!("RL.{command} {command} {limits}"))
                .remaining,
            1
        );
        assert!(
            !replica
                .decide(&format!("RL.{command} {command}:full {limits}"))
                .allowed
        );
        assert!(
            !replica
                .decide(&format!("RL.{command} {command}:debt {limits}"))
                .allowed
        );
        for key in ["", ":full", ":debt"] {
            assert!(replica.call(&format!("PTTL {command}{key}")).int() > 0);
        }
    }
}

#[test]
fn a_replica_that_joins_late_or_behind_another_holds_the_same() {
    let (primary, replica) = pair(&[]);
    let mut random = Random::new(10);
    primary.bulk(&traffic::calls(&mut random, &traffic::ALL_WINDOWS, 5_000));
    let late = replica_of(&primary, &["repl-diskless-load swapdb"]);
    let behind = replica_of(&replica, &[]);
    primary.bulk(&traffic::calls(&mut random, &traffic::ALL_WINDOWS, 5_000));
    assert_equal(&primary, &replica);
    assert_equal(&primary, &late);
    assert_equal(&primary, &behind);
}

#[test]
fn a_replica_with_other_settings_holds_the_same() {
    let (primary, replica) = pair(&["ratelimit.sliding-entries 16"]);
    assert_eq!(
        replica.call("CONFIG GET ratelimit.sliding-entries").texts()[1],
        "128"
    );
    let hits: Vec<String> = (0..3_000)
        .map(|i| format!("RL.SLIDING s:{} 1000 1s", i % 3))
        .collect();
    primary.bulk(&hits);
    assert_equal(&primary, &replica);
}

#[test]
fn transactions_and_scripts_send_the_same_effects() {
    let (primary, replica) = pair(&[]);
    replica.ok("CONFIG RESETSTAT");
    primary.ok("MULTI");
    for line in [
        "RL.FIXED f 5 30d",
        "RL.FIXED f 0 30d",
        "RL.SLIDING s 5 30d",
        "RL.BUCKET b 5 1 30d",
    ] {
        assert_eq!(primary.call(line).text(), "QUEUED");
    }
    primary.call("EXEC");
    primary.call("EVAL \"for i = 1, 10 do redis.call('RL.SLIDING', KEYS[1], 5, '30d') end\" 1 s");
    assert_equal(&primary, &replica);
    let calls = effects(&replica);
    assert_eq!(calls.len(), 1, "{calls:?}");
    assert_eq!(
        calls[0],
        ("rl.apply".to_string(), 3 + 4),
        "denied hits send nothing"
    );
}

#[test]
fn a_ttl_that_a_client_takes_away_is_put_right_on_both() {
    let (primary, replica) = pair(&[]);
    for (command, limits) in [
        ("FIXED", "5 30d"),
        ("SLIDING", "5 30d"),
        ("BUCKET", "5 1 30d"),
    ] {
        for meddle in ["PERSIST", "PEXPIRE 1000"] {
            let (verb, ttl) = meddle.split_once(' ').unwrap_or((meddle, ""));
            primary.decide(&format!("RL.{command} {command}:{verb} {limits}"));
            primary.call(&format!("{verb} {command}:{verb} {ttl}"));
            primary.decide(&format!("RL.{command} {command}:{verb} {limits}"));
        }
    }
    assert_equal(&primary, &replica);
    for key in primary.call("KEYS *").texts() {
        let ask = format!("PEXPIRETIME {key}");
        assert!(
            primary.call(&ask).int() > primary.now_ms() + 60_000,
            "{key}"
        );
        assert_eq!(primary.call(&ask), replica.call(&ask), "{key}");
    }
}

#[test]
fn every_key_of_a_replica_has_a_ttl_that_is_long_enough() {
    let (primary, replica) = pair(&[]);
    primary.bulk(&traffic::calls(
        &mut Random::new(11),
        &traffic::LONG_WINDOWS,
        3_000,
    ));
    assert_equal(&primary, &replica);
    for key in replica.call("KEYS *").texts() {
        let now = replica.now_ms();
        let info = replica.call(&format!("RL.INFO {key}"));
        let expires = replica.call(&format!("PEXPIRETIME {key}")).int();
        for limit in info.field("limits").array() {
            let end = now + limit.field("reset_after_ms").int();
            assert!(
                expires >= end,
                "{key} expires at {expires}, is in use until {end}"
            );
        }
    }
}
