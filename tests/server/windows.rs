//! Several windows on one key, named by callers that do not know of each other, and a clock that steps back over the
//! boundary of one: nobody's limit is ever switched off.

use crate::support::{self, aof, pair, Clock, Server};

/// A midnight.
const START_MS: u64 = 1_700_006_400_000;

/// Whether it is let through: 1 or 0.
#[track_caller]
fn allowed(server: &Server, line: &str) -> i64 {
    let reply = server.call(line);
    assert!(!reply.is_error(), "{line}: {reply:?}");
    reply.array()[0].int()
}

/// `(window or interval, used)` of a key.
fn windows(server: &Server, key: &str) -> Vec<(String, i64)> {
    let info = server.call(&format!("RL.INFO {key}"));
    let limits = info.field("limits").array();
    let window = |limit: &support::Reply| {
        let name = limit
            .get("window")
            .unwrap_or_else(|| limit.field("interval"));
        (name.text(), limit.field("used").int())
    };
    limits.iter().map(window).collect()
}

#[test]
fn callers_with_different_windows_each_meet_their_own_limit() {
    let Some((clock, server)) = Clock::started(START_MS) else {
        return;
    };
    server.ok("RL.POLICY SET fleet SLIDING 3 10m");
    for (one, other, most) in [
        ("RL.SLIDING k 5 1h", "RL.SLIDING k 5 2h", 10),
        ("RL.FIXED k 5 1h", "RL.FIXED k 5 2h", 10),
        ("RL.BUCKET k 5 1 365d", "RL.BUCKET k 5 1 366d", 10),
        ("RL.SLIDING k 5 1h", "RL.SLIDING k 5 1h POLICY fleet", 8),
        ("RL.FIXED k 5 1d", "RL.FIXED k 5 1mo", 10),
    ] {
        clock.set(START_MS);
        let mut admitted = 0;
        for _ in 0..500 {
            clock.step(1);
            admitted += allowed(&server, one) + allowed(&server, other);
        }
        assert_eq!(admitted, most, "{one} and {other}");
        server.call("DEL k");
    }
}

#[test]
fn a_deploy_that_is_half_rolled_out_keeps_both_limits() {
    let Some((clock, server)) = Clock::started(START_MS) else {
        return;
    };
    // A hundred a minute becomes fifty in half a minute.
    let (old, new) = ("RL.SLIDING k 100 60s", "RL.SLIDING k 50 30s");
    let admitted: i64 = (0..200).map(|_| allowed(&server, old)).sum();
    assert_eq!(admitted, 100);
    let (mut by_old, mut by_new) = (0, 0);
    for _ in 0..290 {
        clock.step(100);
        by_new += allowed(&server, new);
        by_old += allowed(&server, old);
    }
    assert_eq!((by_old, by_new), (0, 50), "29 seconds later");
    assert_eq!(
        windows(&server, "k"),
        [("30s".into(), 50), ("1m".into(), 100)]
    );
    // Once nothing of the old window is used any more, the next charge forgets it.
    clock.step(31_000);
    assert_eq!(allowed(&server, new), 1);
    assert_eq!(windows(&server, "k"), [("30s".into(), 1)]);
}

#[test]
fn a_forced_hit_on_another_window_wipes_nothing() {
    let Some((_clock, server)) = Clock::started(START_MS) else {
        return;
    };
    for algorithm in ["FIXED", "SLIDING"] {
        assert_eq!(
            allowed(&server, &format!("RL.{algorithm} w 5 1h COST 5")),
            1
        );
        assert_eq!(allowed(&server, &format!("RL.{algorithm} w 0 2h FORCE")), 0);
        assert_eq!(
            allowed(&server, &format!("RL.{algorithm} w 9 2h COST -1")),
            1
        );
        assert_eq!(allowed(&server, &format!("RL.{algorithm} w 5 1h")), 0);
        assert_eq!(windows(&server, "w"), [("2h".into(), 0), ("1h".into(), 5)]);
        server.call("DEL w");
    }
}

#[test]
fn a_key_has_sixteen_windows_in_use_and_not_one_more() {
    let clock = Clock::at(START_MS);
    if clock.server(&[]).is_none() {
        return;
    }
    let (primary, replica) = pair::of(|lines| {
        clock
            .server(&[&["appendonly yes"], lines].concat())
            .unwrap()
    });
    for algorithm in ["FIXED", "SLIDING"] {
        for days in 1..=16 {
            assert_eq!(allowed(&primary, &format!("RL.{algorithm} k 5 {days}d")), 1);
        }
        let digest = primary.digest();
        for line in [
            format!("RL.{algorithm} k 5 17d"),
            format!("RL.{algorithm} k 5 17d FORCE"),
            format!("RL.{algorithm} k 5 1d 5 17d"),
            format!("RL.ALL 2 new k FIXED 5 1d {algorithm} 5 17d"),
        ] {
            let error = primary.call(&line);
            assert!(
                error.error().starts_with("ERR too many windows in use"),
                "{line}: {error:?}"
            );
        }
        assert_eq!(primary.digest(), digest);
        assert_eq!(windows(&primary, "k").len(), 16);
        assert_eq!(allowed(&primary, &format!("RL.{algorithm} k 5 16d")), 1);
        // A window that is drained makes room.
        clock.step(86_400_000);
        assert_eq!(allowed(&primary, &format!("RL.{algorithm} k 5 17d")), 1);
        let kept = windows(&primary, "k");
        assert_eq!(kept[0], ("17d".to_string(), 1));
        assert!(kept.iter().all(|(window, _)| window != "1d"), "{kept:?}");
        pair::assert_equal(&primary, &replica);
        let digest = primary.digest();
        primary.ok("DEBUG RELOAD");
        aof::await_writes(&primary);
        primary.ok("DEBUG LOADAOF");
        assert_eq!(primary.digest(), digest);
        primary.call("DEL k");
        clock.set(START_MS);
    }
}

/// A clock that goes to and fro over the boundary of a window: each of the two windows admits its limit, once.
#[test]
fn steps_back_over_a_boundary_never_admit_more_than_the_limit() {
    let Some((clock, server)) = Clock::started(START_MS) else {
        return;
    };
    for window in ["60s", "1h", "1d@+00:00", "1w", "1mo", "1d@Europe/Berlin"] {
        // Mondays, first days of a month, and Berlin's midnight an hour before UTC's.
        let boundary_ms = match window {
            "1mo" => 1_701_388_800_000,
            "1w" => 1_700_438_400_000,
            "1d@Europe/Berlin" => START_MS - 3_600_000,
            _ => START_MS,
        };
        for back in [1, 7, 59_999] {
            let line = format!("RL.FIXED k 5 {window}");
            let mut admitted = [0, 0];
            for step in 0..20 {
                let is_after = step % 2;
                clock.set(boundary_ms - back * (1 - is_after));
                for _ in 0..7 {
                    let let_through = allowed(&server, &line);
                    admitted[usize::try_from(is_after).unwrap()] += let_through;
                }
            }
            assert_eq!(admitted, [5, 5], "{window}, {back} ms");
            let digest = server.digest();
            aof::await_writes(&server);
            server.ok("DEBUG LOADAOF");
            assert_eq!(server.digest(), digest);
            server.call("DEL k");
        }
    }
}

/// Far back: usage is moved to now's window, so nobody is shut out for longer than two windows.
#[test]
fn a_long_step_back_locks_no_key_for_longer_than_two_windows() {
    let Some((clock, server)) = Clock::started(START_MS) else {
        return;
    };
    for (line, most_ms) in [
        ("RL.FIXED k 5 1h", 2 * 3_600_000),
        ("RL.SLIDING k 5 1h", 3_600_000),
        ("RL.BUCKET k 5 5 1h", 3_600_000),
        ("RL.FIXED k 5 1mo", 62 * 86_400_000_i64),
    ] {
        clock.set(START_MS);
        for _ in 0..5 {
            assert_eq!(allowed(&server, line), 1);
        }
        clock.step(-400 * 86_400_000);
        let denied = server.call(line).ints();
        assert_eq!(denied[0], 0, "not forgotten: {line}");
        assert!(denied[3] <= most_ms, "{line}: {denied:?}");
        clock.step(denied[3] - 1);
        assert_eq!(allowed(&server, line), 0);
        clock.step(1);
        assert_eq!(allowed(&server, line), 1);
        server.call("DEL k");
    }
}
