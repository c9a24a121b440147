//! Windows that begin where the calendar says, on a real server whose clock is the test's: what they are called, where they
//! end, and that whoever has the state needs no calendar.

use std::path::PathBuf;

use crate::support::{self, aof, pair, payload, Clock, Reply, Server};

/// A time such as `2026-10-03T12:00:00Z`, in Unix milliseconds.
fn at(text: &str) -> u64 {
    let time: jiff::Timestamp = text.parse().unwrap();
    u64::try_from(time.as_millisecond()).unwrap()
}

fn started(now: &str) -> Option<(Clock, Server)> {
    let clock = Clock::at(at(now));
    let server = clock.server(&["appendonly yes", "appendfsync always"])?;
    Some((clock, server))
}

#[track_caller]
fn five(server: &Server, line: &str) -> Vec<i64> {
    let reply = server.call(line);
    assert!(!reply.is_error(), "{line}: {reply:?}");
    reply.array()[..5].iter().map(Reply::int).collect()
}

/// The windows that a key has.
fn windows(server: &Server, key: &str) -> Vec<String> {
    let info = server.call(&format!("RL.INFO {key}"));
    let limits = info.field("limits").array();
    limits
        .iter()
        .map(|limit| limit.field("window").text())
        .collect()
}

#[test]
fn a_month_is_a_month() {
    let Some((clock, server)) = started("2026-10-03T12:00:00Z") else {
        return;
    };
    let line = "RL.FIXED plan 1000 1mo COST 900";
    assert_eq!(five(&server, line)[..3], [1, 1000, 100]);
    clock.set(at("2026-10-31T12:00:00Z"));
    let left = 12 * 3_600_000;
    assert_eq!(five(&server, line), [0, 1000, 100, left, left]);
    clock.set(at("2026-11-01T00:00:00Z") - 1);
    assert_eq!(five(&server, line), [0, 1000, 100, 1, 1]);
    clock.set(at("2026-11-01T00:00:00Z"));
    assert_eq!(five(&server, line)[..3], [1, 1000, 100]);
    // A refund of October's gives November nothing.
    let october = at("2026-10-31T12:00:00Z");
    let refund = format!("RL.FIXED plan 1000 1mo COST -900 AT {october}");
    assert_eq!(five(&server, &refund)[2], 100);
}

#[test]
fn a_window_ends_where_the_calendar_says() {
    let Some((clock, server)) = started("2026-10-03T12:00:00Z") else {
        return;
    };
    for (now, window, end) in [
        ("2026-10-03T12:00:00Z", "1w", "2026-10-05T00:00:00Z"),
        ("2026-10-03T12:00:00Z", "1w@thu", "2026-10-08T00:00:00Z"),
        ("2026-10-03T12:00:00Z", "1mo", "2026-11-01T00:00:00Z"),
        ("2026-10-03T12:00:00Z", "3mo", "2027-01-01T00:00:00Z"),
        ("2026-10-03T12:00:00Z", "1y", "2027-01-01T00:00:00Z"),
        (
            "2026-10-03T12:00:00Z",
            "1mo@15,Europe/Berlin",
            "2026-10-14T22:00:00Z",
        ),
        ("2026-10-03T12:00:00Z", "1d@+02:00", "2026-10-03T22:00:00Z"),
        (
            "2026-10-03T12:00:00Z",
            "1d@05:00,Europe/Berlin",
            "2026-10-04T03:00:00Z",
        ),
        // The days on which the clocks of Berlin are set: at 02:00 on, and at 03:00 back.
        (
            "2026-03-28T12:00:00Z",
            "1d@02:30,Europe/Berlin",
            "2026-03-29T01:00:00Z",
        ),
        (
            "2026-10-24T12:00:00Z",
            "1d@02:30,Europe/Berlin",
            "2026-10-25T00:30:00Z",
        ),
        (
            "2026-10-03T12:00:00Z",
            "1mo@15,13:45",
            "2026-10-15T13:45:00Z",
        ),
        (
            "2026-10-03T12:00:00Z",
            "1w@thu,18:00,+02:00",
            "2026-10-08T16:00:00Z",
        ),
        (
            "2026-10-03T12:00:00Z",
            "1d@Asia/Kathmandu",
            "2026-10-03T18:15:00Z",
        ),
        (
            "2026-10-03T12:00:00Z",
            "1y@America/St_Johns",
            "2027-01-01T03:30:00Z",
        ),
        // The months that have no 31st.
        ("2026-02-10T00:00:00Z", "1mo@31", "2026-02-28T00:00:00Z"),
        ("2026-02-28T00:00:00Z", "1mo@31", "2026-03-31T00:00:00Z"),
        ("2028-02-10T00:00:00Z", "1mo@31", "2028-02-29T00:00:00Z"),
        // The days of 23 and 25 hours.
        (
            "2026-03-28T23:00:00Z",
            "1d@Europe/Berlin",
            "2026-03-29T22:00:00Z",
        ),
        (
            "2026-10-24T22:00:00Z",
            "1d@Europe/Berlin",
            "2026-10-25T23:00:00Z",
        ),
        // Clocks that are set forward over midnight: the day begins at one o'clock.
        (
            "2026-04-23T23:00:00Z",
            "1d@Africa/Cairo",
            "2026-04-24T21:00:00Z",
        ),
        (
            "2026-04-22T22:00:00Z",
            "1d@Africa/Cairo",
            "2026-04-23T22:00:00Z",
        ),
    ] {
        server.call("DEL k");
        clock.set(at(now));
        let line = format!("RL.FIXED k 1 {window}");
        let left = i64::try_from(at(end) - at(now)).unwrap();
        assert_eq!(five(&server, &line), [1, 1, 0, 0, left], "{now} {window}");
        assert!(server.call("PTTL k").int() >= left);
        clock.set(at(end) - 1);
        assert_eq!(five(&server, &line), [0, 1, 0, 1, 1], "{now} {window}");
        clock.set(at(end));
        assert_eq!(five(&server, &line)[..3], [1, 1, 0], "{now} {window}");
    }
}

#[test]
fn one_window_has_one_name() {
    let Some((_clock, server)) = started("2026-10-03T12:00:00Z") else {
        return;
    };
    for (key, texts, canonical) in [
        ("a", &["1d", "24h", "1D@UTC", "1d@+00:00"][..], "1d"),
        ("b", &["1w", "1W@MON", "1w@mon,UTC"], "1w"),
        ("c", &["1mo", "1MO@1", "1mo@1,UTC"], "1mo"),
        ("d", &["7d", "168h"], "7d"),
        ("e", &["1d@Europe/Berlin"], "1d@Europe/Berlin"),
        (
            "f",
            &["1w@sun,America/New_York", "1W@SUN,America/New_York"],
            "1w@sun,America/New_York",
        ),
    ] {
        for (used, text) in texts.iter().enumerate() {
            let left = 9 - i64::try_from(used).unwrap();
            assert_eq!(
                five(&server, &format!("RL.FIXED {key} 10 {text}"))[2],
                left,
                "{text}"
            );
        }
        assert_eq!(windows(&server, key), [canonical]);
        let policy = format!("RL.POLICY SET {key} FIXED 10 {}", texts[texts.len() - 1]);
        server.ok(&policy);
        let got = server.call(&format!("RL.POLICY GET {key}")).texts();
        assert!(got.contains(&canonical.to_string()), "{policy}: {got:?}");
    }
    // These are three, and each counts for itself.
    for (place, window) in ["30d", "1mo", "1mo@15"].iter().enumerate() {
        assert_eq!(
            five(&server, &format!("RL.FIXED k 10 {window} COST 9"))[2],
            1,
            "{place}"
        );
    }
    assert_eq!(windows(&server, "k").len(), 3);
    let twice = server.call("RL.FIXED k 10 1mo 5 1mo@1,UTC");
    assert!(twice.error().contains("must differ"), "{twice:?}");
}

#[test]
fn a_policy_may_say_calendar_windows() {
    let Some((clock, server)) = started("2026-10-03T12:00:00Z") else {
        return;
    };
    server.ok("RL.POLICY SET plan FIXED 1000 1mo@15,Europe/Berlin 100 1d@Europe/Berlin");
    let line = "RL.FIXED acme 5 1h POLICY plan";
    let reply = server.call(&format!("{line} COST 60"));
    let each: Vec<Vec<i64>> = reply.array()[5].array().iter().map(Reply::ints).collect();
    assert_eq!((each[0][2], each[1][2]), (940, 40), "{reply:?}");
    assert_eq!(
        windows(&server, "acme"),
        ["1mo@15,Europe/Berlin", "1d@Europe/Berlin"]
    );
    clock.set(at("2026-10-03T22:00:00Z"));
    let reply = server.call(&format!("{line} COST 60"));
    let each: Vec<Vec<i64>> = reply.array()[5].array().iter().map(Reply::ints).collect();
    assert_eq!(
        (each[0][2], each[1][2]),
        (880, 40),
        "Berlin's next day: {reply:?}"
    );
    let peek = server.call("RL.PEEK FIXED acme 5 1h POLICY plan COST 0");
    assert_eq!(peek.array()[5].array()[0].ints()[2], 880);
    // In several keys, too.
    let both = server.call("RL.ALL 2 acme umbrella FIXED 5 1h POLICY plan SLIDING 5 1h");
    assert_eq!(both.array()[0], Reply::Int(1));
    server.ok("DEBUG LOADAOF");
    let got = server.call("RL.POLICY GET plan").texts();
    assert!(got.contains(&"1mo@15,Europe/Berlin".to_string()), "{got:?}");
}

#[test]
fn what_is_no_calendar_window_says_what_to_write() {
    let Some((_clock, server)) = started("2026-10-03T12:00:00Z") else {
        return;
    };
    for (line, says) in [
        (
            "RL.FIXED k 5 1M@15",
            "must say mo for months: m is for minutes",
        ),
        ("RL.FIXED k 5 2mo", "must be 1mo, 3mo or 1y"),
        ("RL.FIXED k 5 2y", "must be 1mo, 3mo or 1y"),
        ("RL.FIXED k 5 1h@Europe/Berlin", "must count d, w, mo or y"),
        ("RL.FIXED k 5 1mo@32", "day of the month from 1 to 31"),
        ("RL.FIXED k 5 3mo@15", "must have no day"),
        ("RL.FIXED k 5 1w@15", "weekday"),
        ("RL.FIXED k 5 1d@5:00", "HH:MM"),
        ("RL.FIXED k 5 24h@05:00", "must count d, w, mo or y"),
        ("RL.FIXED k 5 1d@localtime", "no such time zone: localtime"),
        (
            "RL.FIXED k 5 1d@posixrules",
            "no such time zone: posixrules",
        ),
        ("RL.FIXED k 5 1d@../../etc/passwd", "after its @"),
        ("RL.FIXED k 5 1d@+25:00", "after its @"),
        ("RL.SLIDING k 5 1mo", "calendar windows are for FIXED"),
        ("RL.BUCKET k 5 1 1mo", "interval"),
        ("RL.LEASE k 5 1mo id", "ttl"),
        (
            "RL.FIXED k 5 1d@Europe/Nowhere",
            "no such time zone: Europe/Nowhere",
        ),
        (
            "RL.FIXED k 5 1d@europe/berlin",
            "no such time zone: europe/berlin",
        ),
        (
            "RL.PEEK FIXED k 5 1d@Mars/Olympus",
            "no such time zone: Mars/Olympus",
        ),
        (
            "RL.ALL 2 a k FIXED 5 1h FIXED 5 1d@Mars/Olympus",
            "no such time zone",
        ),
    ] {
        let error = server.call(line);
        assert!(error.error().starts_with("ERR "), "{line}: {error:?}");
        assert!(error.error().contains(says), "{line}: {error:?}");
    }
    assert_eq!(server.call("DBSIZE").int(), 0);
}

/// A server that finds no time zone database on its machine.
fn without_zones(clock: &Clock, lines: &[&str]) -> Option<Server> {
    let empty: PathBuf = support::server::new_dir();
    let server = clock.server_in(&vec![("TZDIR", empty.clone())], lines);
    let _ = std::fs::remove_dir_all(empty);
    server
}

#[test]
fn a_replica_needs_no_calendar() {
    let clock = Clock::at(at("2026-10-03T12:00:00Z"));
    // Its clock is years off, and it has no time zones.
    let elsewhen = Clock::at(at("2031-01-01T00:00:00Z"));
    let Some(primary) = clock.server(&pair::PRIMARY) else {
        return;
    };
    let replica = pair::replica_of(&primary, |lines| without_zones(&elsewhen, lines).unwrap());
    let spans = [
        "1mo",
        "1mo@31",
        "1d@Europe/Berlin",
        "1w",
        "1y@Pacific/Apia",
        "1h",
        "3mo@-05:00",
    ];
    for day in 0..120_u64 {
        clock.step(86_400_000 / 3 * 2);
        for (place, span) in spans.iter().enumerate() {
            let other = spans[(place + 2) % spans.len()];
            let key = day % 4;
            let cost = 1 + day % 3;
            let line = format!("RL.FIXED k:{key} 20 {span} 70 {other} COST {cost}");
            assert!(!primary.call(&line).is_error(), "{line}");
        }
        primary.call(&format!("RL.FIXED k:{} 20 1mo COST -2", day % 4));
        if day % 30 == 7 {
            clock.step(-86_400_000 * 45);
        }
    }
    pair::assert_equal(&primary, &replica);
    elsewhen.set(clock.now_ms());
    assert_eq!(windows(&primary, "k:0"), windows(&replica, "k:0"));
}

#[test]
fn without_a_database_of_the_machines_the_one_that_is_built_in_answers() {
    let clock = Clock::at(at("2026-10-25T12:00:00Z"));
    let Some(server) = without_zones(&clock, &[]) else {
        return;
    };
    assert_eq!(
        five(&server, "RL.FIXED k 5 1d@Europe/Berlin")[4],
        11 * 3_600_000
    );
}

#[test]
fn a_key_with_calendar_windows_is_kept_whole() {
    let Some((clock, mut server)) = started("2026-10-03T12:00:00Z") else {
        return;
    };
    let line = "RL.FIXED k 9 1mo@15,Europe/Berlin 5 1w 7 1h COST 2";
    server.call(line);
    let digest = server.digest_value("k");
    server.ok("DEBUG RELOAD");
    assert_eq!(server.digest_value("k"), digest, "RDB");
    server.ok("DEBUG LOADAOF");
    assert_eq!(server.digest_value("k"), digest, "AOF");
    aof::rewrite(&server);
    server.ok("CONFIG SET aof-use-rdb-preamble no");
    aof::rewrite(&server);
    server.ok("DEBUG LOADAOF");
    assert_eq!(server.digest_value("k"), digest, "AOF, rewritten");
    server.call("COPY k copy");
    assert_eq!(server.digest_value("copy"), digest, "COPY");
    // On another server, which has no time zones and another time.
    let elsewhen = Clock::at(at("2026-10-09T00:00:00Z"));
    let other = without_zones(&elsewhen, &[]).unwrap();
    let dump = server.call("DUMP k");
    let ends = server.call("PEXPIRETIME k").int().to_string();
    other.call_bytes(&[b"RESTORE", b"k", ends.as_bytes(), dump.bytes(), b"ABSTTL"]);
    assert_eq!(other.digest_value("k"), digest, "RESTORE");
    assert_eq!(windows(&other, "k"), windows(&server, "k"));
    // Killed and started again days later: the week is over, the month is not.
    server.kill();
    clock.set(at("2026-10-07T12:00:00Z"));
    server.start_again().unwrap();
    let reply = server.call(line);
    let each: Vec<i64> = reply.array()[5]
        .array()
        .iter()
        .map(|each| each.ints()[2])
        .collect();
    assert_eq!(each, [5, 3, 5]);
}

/// Every place of `from` in some bytes says `to`.
fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut out = bytes.to_vec();
    let mut places = 0;
    for at in 0..=out.len() - from.len() {
        if out[at..].starts_with(from) {
            out[at..at + from.len()].copy_from_slice(to);
            places += 1;
        }
    }
    assert!(places > 0, "it says {}", String::from_utf8_lossy(from));
    out
}

#[test]
fn a_zone_that_a_node_does_not_know_is_refused_at_the_hit_and_at_no_load() {
    let Some((_clock, server)) = started("2026-10-03T12:00:00Z") else {
        return;
    };
    let (berlin, olympus) = (&b"Europe/Berlin"[..], &b"Mars/Olympus1"[..]);
    server.call("RL.FIXED berlin 5 1d@Europe/Berlin");
    let dump = server.call("DUMP berlin");
    let value = replaced(payload::value(dump.bytes()), berlin, olympus);
    let restored = payload::with_value(dump.bytes(), &value);
    let effect = aof::commands(&server).pop().unwrap();
    let effect = replaced(&effect[2], berlin, olympus);
    let ok = Reply::Text(b"OK".to_vec());
    assert_eq!(
        server.call_bytes(&[b"RESTORE", b"restored", b"0", &restored]),
        ok
    );
    assert_eq!(server.call_bytes(&[b"RL.APPLY", b"applied", &effect]), ok);
    for key in ["restored", "applied"] {
        assert_eq!(windows(&server, key), ["1d@Mars/Olympus1"]);
        let error = server.call(&format!("RL.FIXED {key} 5 1d@Mars/Olympus1"));
        assert!(
            error.error().contains("no such time zone: Mars/Olympus1"),
            "{error:?}"
        );
        // Whoever names another window is not kept from it, and the strange one stays.
        assert_eq!(five(&server, &format!("RL.FIXED {key} 5 1h"))[2], 4);
        assert_eq!(windows(&server, key), ["1h", "1d@Mars/Olympus1"]);
    }
    let digest = server.digest();
    server.ok("DEBUG RELOAD");
    server.ok("DEBUG LOADAOF");
    server.ok("CONFIG SET aof-use-rdb-preamble no");
    aof::rewrite(&server);
    server.ok("DEBUG LOADAOF");
    assert_eq!(server.digest(), digest);
}
