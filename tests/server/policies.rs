//! Policies: RL.POLICY, the POLICY clause, and what keeps them.

use crate::support::node::{
    administrative_calls, assert_equal, assert_error, crash, fill, pair, replica_of,
};
use crate::support::node::{wait_for_link, Node};
use crate::support::{self, aof, eventually, node, Clock, Random, Reply, Server};

fn texts(words: &[&str]) -> Reply {
    Reply::Array(
        words
            .iter()
            .map(|word| Reply::Text(word.as_bytes().to_vec()))
            .collect(),
    )
}

#[test]
fn set_get_list_and_del() {
    let server = Server::start();
    assert_eq!(server.call("RL.POLICY GET login"), Reply::Nil);
    assert_eq!(server.call("RL.POLICY LIST"), Reply::Map(Vec::new()));
    for (line, words) in [
        ("login SLIDING 5 15m", &["sliding", "5", "15m"][..]),
        (
            "api fixed 100 60s 1000 24h",
            &["fixed", "100", "1m", "1000", "1d"],
        ),
        (
            "llm Bucket 10 1 500ms 0 1 1d",
            &["bucket", "10", "1", "500ms", "0", "1", "1d"],
        ),
    ] {
        let name = line.split(' ').next().unwrap();
        server.ok(&format!("RL.POLICY SET {line}"));
        let held = server.call(&format!("RL.POLICY GET {name}"));
        assert_eq!(held, texts(words));
        // What GET returns is what SET takes.
        server.ok(&format!("RL.POLICY SET {name} {}", held.texts().join(" ")));
        assert_eq!(server.call(&format!("RL.POLICY GET {name}")), held);
    }
    let list = server.call("RL.POLICY LIST");
    let Reply::Map(pairs) = &list else {
        panic!("a map: {list:?}");
    };
    let names: Vec<_> = pairs.iter().map(|(name, _)| name.text()).collect();
    assert_eq!(names, ["api", "llm", "login"], "sorted");
    assert_eq!(list.field("login"), &texts(&["sliding", "5", "15m"]));
    // In RESP2, a flat array.
    let flat = server.connect_with(&["-2"]).call("RL.POLICY LIST");
    assert_eq!(flat.array().len(), 6);
    assert_eq!(flat.field("login"), &texts(&["sliding", "5", "15m"]));

    assert_eq!(server.call("RL.POLICY DEL absent").int(), 0);
    assert_eq!(server.call("RL.POLICY DEL api absent llm api").int(), 2);
    assert_eq!(
        server.call("RL.POLICY LIST").texts(),
        ["login", "sliding", "5", "15m"]
    );
}

#[test]
fn names_are_any_bytes_up_to_a_length() {
    let server = Server::start();
    let longest = [0xffu8; 128];
    for name in [&b"\x00\xff\r\n"[..], &longest, b"a b", "\u{e9}".as_bytes()] {
        let set: &[&[u8]] = &[b"RL.POLICY", b"SET", name, b"FIXED", b"3", b"1h"];
        assert_eq!(server.call_bytes(set).text(), "OK");
        let get = server.call_bytes(&[b"RL.POLICY", b"GET", name]);
        assert_eq!(get, texts(&["fixed", "3", "1h"]));
        let hit: &[&[u8]] = &[
            b"RL.FIXED",
            b"k",
            b"9",
            b"1h",
            b"POLICY",
            name,
            b"COST",
            b"0",
        ];
        assert_eq!(server.call_bytes(hit).decision().limit, 3);
    }
    let before = Node::of(&server);
    for name in [&b""[..], &[b'x'; 129]] {
        let set: &[&[u8]] = &[b"RL.POLICY", b"SET", name, b"FIXED", b"3", b"1h"];
        assert_error(
            &server.call_bytes(set),
            &["argument 2 (name)", "from 1 to 128 bytes"],
        );
        let hit: &[&[u8]] = &[b"RL.FIXED", b"k", b"9", b"1h", b"POLICY", name];
        assert_error(
            &server.call_bytes(hit),
            &["argument 5 (policy)", "from 1 to 128 bytes"],
        );
        assert_eq!(server.call_bytes(&[b"RL.POLICY", b"GET", name]), Reply::Nil);
        assert_eq!(server.call_bytes(&[b"RL.POLICY", b"DEL", name]).int(), 0);
    }
    assert_eq!(Node::of(&server), before);
}

/// `(call, what its error says)`
const REFUSED: [(&str, &[&str]); 23] = [
    (
        "SET p NONE 5 60s",
        &["argument 3 (algorithm)", "FIXED, SLIDING, BUCKET or LEASE"],
    ),
    ("SET p FIXED 5 60", &["argument 5 (window)", "needs a unit"]),
    (
        "SET p SLIDING 5 1mo",
        &["argument 5 (window)", "must be a duration"],
    ),
    (
        "SET p FIXED 5 0s",
        &["argument 5 (window)", "from 1ms to 3660d"],
    ),
    (
        "SET p FIXED 5 3661d",
        &["argument 5 (window)", "from 1ms to 3660d"],
    ),
    (
        "SET p FIXED -1 60s",
        &["argument 4 (limit)", "from 0 to 9007199254740991"],
    ),
    (
        "SET p FIXED 9007199254740992 60s",
        &["argument 4 (limit)", "from 0 to 9007199254740991"],
    ),
    ("SET p FIXED five 60s", &["argument 4 (limit)", "integer"]),
    ("SET p FIXED 5 60s 6", &["argument 7", "expected window"]),
    (
        "SET p FIXED 5 60s 6 1m",
        &["argument 7 (window)", "must differ"],
    ),
    ("SET p FIXED 5 60s COST 1", &["argument 6", "only limits"]),
    ("SET p BUCKET 5 1", &["argument 6", "expected interval"]),
    (
        "SET p BUCKET 5 0 1s",
        &["argument 5 (refill)", "from 1 to 9007199254740991"],
    ),
    ("SET p BUCKET 5 60s 1s", &["argument 5 (refill)", "integer"]),
    (
        "SET p SLIDING 5 1h TTL 5",
        &["argument 7 (ttl)", "needs a unit"],
    ),
    ("SET p SLIDING 5 1h TTL", &["argument 7 is missing", "TTL"]),
    (
        "SET p SLIDING 5 1h COST 1 TTL 1h",
        &["argument 6", "only limits"],
    ),
    (
        "SET p BUCKET 5 1 1s",
        &["sliding limiters", "delete it before"],
    ),
    (
        "SET p FIXED 1 1s 1 2s 1 3s 1 4s 1 5s 1 6s 1 7s 1 8s 1 9s",
        &["argument 20", "maximum 8"],
    ),
    ("SET p FIXED 5", &["wrong number of arguments"]),
    ("GET", &["wrong number of arguments"]),
    ("LIST p", &["wrong number of arguments"]),
    ("CHANGE p", &["unknown subcommand"]),
];

#[test]
fn what_is_refused_says_why_and_changes_nothing() {
    let server = Server::start();
    for name in ["p", "q"] {
        server.ok(&format!("RL.POLICY SET {name} SLIDING 5 15m"));
        let before = Node::of(&server);
        for (call, says) in REFUSED {
            let call = call.replacen(" p ", &format!(" {name} "), 1);
            assert_error(&server.call(&format!("RL.POLICY {call}")), says);
            assert_eq!(Node::of(&server), before, "{call}");
        }
    }
}

#[test]
fn a_policy_replaces_the_limits_of_each_command_and_the_calls_own_are_the_fallback() {
    let server = Server::start();
    for (command, own, policy, limit) in [
        ("FIXED", "9 30d", "3 30d", 3),
        ("SLIDING", "9 30d", "3 30d", 3),
        ("BUCKET", "9 1 3660d", "3 1 3660d", 3),
    ] {
        let hit = format!("RL.{command} {command} {own} POLICY {command}");
        let peek = format!("RL.PEEK {command} {command} {own} POLICY {command}");
        // Without the policy, the call's own.
        assert_eq!(server.decide(&hit).limit, 9);
        assert_eq!(server.decide(&peek).limit, 9);
        // With it, the very next hit; what was used is kept.
        server.ok(&format!("RL.POLICY SET {command} {command} {policy}"));
        let now = server.decide(&peek);
        assert_eq!((now.limit, now.remaining), (limit, 1), "{command}");
        let now = server.decide(&hit);
        assert_eq!((now.limit, now.remaining), (limit, 1), "{command}");
        assert!(server.decide(&hit).allowed);
        assert!(!server.decide(&hit).allowed);
        assert!(!server.decide(&peek).allowed);
        // A limit of 0 stops everyone; a higher one lets them on.
        let (_, window) = policy.split_once(' ').unwrap();
        server.ok(&format!("RL.POLICY SET {command} {command} 0 {}", window));
        let stopped = server.decide(&hit);
        assert_eq!(
            (stopped.allowed, stopped.limit, stopped.retry_after_ms),
            (false, 0, -1)
        );
        server.ok(&format!("RL.POLICY SET {command} {command} 100 {}", window));
        assert_eq!(
            server.decide(&hit).remaining,
            96,
            "{command}: usage is kept"
        );
        // Without it again, the call's own.
        assert_eq!(server.call(&format!("RL.POLICY DEL {command}")).int(), 1);
        assert_eq!(server.decide(&hit).remaining, 4, "{command}");
    }
}

#[test]
fn a_policy_may_have_other_windows_and_more_limits_than_the_call() {
    let server = Server::start();
    server.ok("RL.POLICY SET p SLIDING 5 30d 8 60d");
    let decision = server.decide("RL.SLIDING k 100 1h POLICY p COST 2");
    assert_eq!((decision.limit, decision.remaining), (5, 3));
    let limits: Vec<_> = decision
        .each
        .iter()
        .map(|each| (each.limit, each.remaining))
        .collect();
    assert_eq!(limits, [(5, 3), (8, 6)]);
    server.ok("RL.POLICY SET p SLIDING 9 60d");
    let decision = server.decide("RL.SLIDING k 100 1h 200 2h POLICY p");
    assert_eq!(
        (decision.limit, decision.remaining),
        (9, 6),
        "matched by window"
    );
    assert_eq!(decision.each, []);
    // Options in any order and any case; FORCE and COST apply to the policy's limits.
    let forced = server.decide("RL.SLIDING k 100 1h policy p cost 50 force");
    assert!(!forced.allowed);
    assert_eq!(
        server
            .decide("RL.SLIDING k 100 1h COST 0 POLICY p")
            .remaining,
        0
    );
}

/// What GET says of a policy that ends: its words, what is left, and the words of what is back then.
fn with_ttl(server: &Server, name: &str) -> (Vec<String>, i64, Reply) {
    let held = server.call(&format!("RL.POLICY GET {name}"));
    let [words @ .., ttl, left, lasting] = held.array() else {
        panic!("a policy that ends: {held:?}");
    };
    assert_eq!(ttl.text(), "TTL");
    let left = left.text();
    let left = left.strip_suffix("ms").expect("milliseconds");
    let words = words.iter().map(Reply::text).collect();
    (words, left.parse().unwrap(), lasting.clone())
}

#[test]
fn a_policy_with_a_ttl_stands_in_front_of_the_lasting_one() {
    let server = Server::start();
    let limit = || server.decide("RL.SLIDING k 9 1h COST 0 POLICY login").limit;
    server.ok("RL.POLICY SET login SLIDING 5 15m");
    server.ok("RL.POLICY SET login sliding 1 15m ttl 1h");
    assert_eq!(limit(), 1);
    let (words, left, lasting) = with_ttl(&server, "login");
    assert_eq!(words, ["sliding", "1", "15m"]);
    assert!((3_500_000..=3_600_000).contains(&left), "{left}");
    assert_eq!(lasting, texts(&["sliding", "5", "15m"]));
    // What GET says in front of the lasting one is what SET takes.
    server.ok(&format!(
        "RL.POLICY SET login {} TTL {left}ms",
        words.join(" ")
    ));
    let listed = server.call("RL.POLICY LIST");
    assert_eq!(listed.field("login").array().len(), 6);
    // It ends by itself; nobody has to look.
    server.ok("RL.POLICY SET login SLIDING 2 15m TTL 30ms");
    eventually("the lasting one is back", || limit() == 5);
    assert_eq!(
        server.call("RL.POLICY GET login"),
        texts(&["sliding", "5", "15m"])
    );
    // Without one behind it, nothing is left.
    server.ok("RL.POLICY SET incident SLIDING 2 15m TTL 30ms");
    eventually("it ends", || {
        server.call("RL.POLICY GET incident") == Reply::Nil
    });
    assert_eq!(server.call("RL.POLICY DEL incident").int(), 0);
    server.ok("RL.POLICY SET incident FIXED 2 15m TTL 1h");
    assert_eq!(with_ttl(&server, "incident").2, Reply::Nil);
    // SET without a TTL ends it, DEL removes both.
    server.ok("RL.POLICY SET login SLIDING 3 15m TTL 1h");
    server.ok("RL.POLICY SET login SLIDING 7 15m");
    assert_eq!(limit(), 7);
    server.ok("RL.POLICY SET login SLIDING 3 15m TTL 1h");
    assert_eq!(server.call("RL.POLICY DEL login").int(), 1);
    assert_eq!(limit(), 9);
    // Of another algorithm, neither may stand in front nor take the place.
    for line in ["FIXED 1 1h", "FIXED 1 1h TTL 1h"] {
        server.ok("RL.POLICY SET login SLIDING 7 15m");
        let refused = server.call(&format!("RL.POLICY SET login {line}"));
        assert_error(&refused, &["sliding limiters", "delete it"]);
        assert_eq!(limit(), 7);
    }
    assert_eq!(server.call("RL.POLICY DEL login").int(), 1);
    server.ok("RL.POLICY SET login FIXED 1 1h");
}

/// By file, by replica, and hours later: it ends when it was to end, and the lasting one is back.
#[test]
fn a_policy_with_a_ttl_ends_at_its_time_whoever_holds_it() {
    for preamble in ["yes", "no"] {
        let lines = [
            "appendonly yes",
            "appendfsync always",
            &format!("aof-use-rdb-preamble {preamble}"),
        ];
        let (mut primary, replica) = pair(&lines, &[]);
        primary.ok("RL.POLICY SET p FIXED 5 1h");
        primary.ok("RL.POLICY SET p FIXED 1 1h TTL 30d");
        primary.ok("RL.POLICY SET q FIXED 1 1h TTL 30d");
        primary.ok("RL.POLICY SET gone FIXED 1 1h TTL 200ms");
        let ends = |server: &Server, name| server.now_ms() + with_ttl(server, name).1;
        let month = 30 * 86_400_000;
        let of = ends(&primary, "p") - primary.now_ms();
        assert!((month - 60_000..=month).contains(&of), "{of}");
        let at = ends(&primary, "p");
        assert!(primary.call("WAIT 1 60000").int() >= 1);
        for round in 0..3 {
            for server in [&primary, &replica] {
                assert!((ends(server, "p") - at).abs() < 5_000, "the very instant");
                assert_eq!(with_ttl(server, "p").2, texts(&["fixed", "5", "1h"]));
                assert_eq!(with_ttl(server, "q").2, Reply::Nil);
            }
            match round {
                0 => crash(&mut primary),
                1 => {
                    aof::rewrite(&primary);
                    crash(&mut primary);
                }
                _ => primary.ok("DEBUG RELOAD"),
            }
            wait_for_link(&replica);
        }
        for server in [&primary, &replica] {
            eventually("what has ended is gone", || {
                server.call("RL.POLICY GET gone") == Reply::Nil
            });
        }
        let late = replica_of(&primary, &[]);
        assert!((ends(&late, "p") - at).abs() < 5_000);
    }
}

/// The old version sent SET on as it was called, and let it change a policy's algorithm: such a file loads.
#[test]
fn an_aof_of_the_first_version_may_change_a_policys_algorithm() {
    let mut server = Server::with(&["appendonly yes", "appendfsync always"]);
    server.ok("SET x 1");
    aof::await_writes(&server);
    server.kill();
    let dir = server.dir().join("appendonlydir");
    let files = std::fs::read_dir(&dir)
        .unwrap()
        .map(|file| file.unwrap().path());
    let incr = files.filter(|path| path.to_string_lossy().contains(".incr."));
    let incr = incr.max().unwrap();
    let mut bytes = std::fs::read(&incr).unwrap();
    for algorithm in ["FIXED", "SLIDING"] {
        let words = ["RL.POLICY", "SET", "p", algorithm, "5", "1h"];
        bytes.extend(format!("*{}\r\n", words.len()).bytes());
        for word in words {
            bytes.extend(format!("${}\r\n{word}\r\n", word.len()).bytes());
        }
    }
    std::fs::write(&incr, bytes).unwrap();
    server.start_again().unwrap();
    assert_eq!(
        server.call("RL.POLICY GET p"),
        texts(&["sliding", "5", "1h"])
    );
}

/// Who, what, from, to: one line a change, whatever the name is made of.
#[test]
fn each_change_of_a_policy_is_a_line_in_the_log() {
    let (primary, replica) = pair(&[], &[]);
    primary.ok("ACL SETUSER ops on >secret +@all ~*");
    let mut ops = primary.connect();
    ops.ok("AUTH ops secret");
    ops.ok("RL.POLICY SET login SLIDING 5 15m");
    ops.ok("RL.POLICY SET login SLIDING 1 15m TTL 20ms");
    eventually("it has ended", || {
        primary.call("RL.POLICY GET login").array().len() == 3
    });
    primary.call("EVAL \"return redis.call('RL.POLICY', 'DEL', 'login', 'absent')\" 0");
    let odd: &[&[u8]] = &[
        b"RL.POLICY",
        b"SET",
        b"%s%n\r\n# forged\x00",
        b"FIXED",
        b"3",
        b"1h",
    ];
    assert_eq!(primary.call_bytes(odd).text(), "OK");
    assert!(primary.call("RL.POLICY SET login SLIDING x 15m").is_error());
    let changes = |server: &Server| {
        let log = std::fs::read_to_string(server.dir().join("log")).unwrap();
        let lines = log
            .lines()
            .filter(|line| line.contains("ratelimit: policy"));
        lines.map(str::to_string).collect::<Vec<_>>()
    };
    eventually("the end is logged", || {
        changes(&primary)
            .iter()
            .any(|line| line.contains("' ended: "))
    });
    let log = changes(&primary);
    let has = |parts: &[&str]| {
        let found = log
            .iter()
            .any(|line| parts.iter().all(|part| line.contains(part)));
        assert!(found, "{parts:?} in {log:#?}");
    };
    has(&["'login' set by user 'ops'", "from none to sliding 5 15m"]);
    has(&[
        "'ops'",
        "from sliding 5 15m to sliding 1 15m for ",
        "before sliding 5 15m",
    ]);
    has(&["'login' ended: from sliding 1 15m to sliding 5 15m"]);
    has(&["'login' deleted by a script or a module", "to none"]);
    has(&[
        "'%s%n\\x0d\\x0a# forged\\x00' set by user 'default'",
        "to fixed 3 1h",
    ]);
    assert_eq!(log.len(), 5, "{log:#?}");
    // A replica is told the outcome; it says what ends there.
    assert_equal(&primary, &replica);
    assert!(changes(&replica).iter().all(|line| line.contains("ended")));
}

/// Who, which list, what, how many, the first few values: one line a change, whatever the values are made of.
#[test]
fn each_change_of_a_deny_list_and_each_reset_is_a_line_in_the_log() {
    let (primary, replica) = pair(&[], &[]);
    primary.ok("ACL SETUSER ops on >secret +@all ~*");
    let mut ops = primary.connect();
    ops.ok("AUTH ops secret");
    let lines = |server: &Server| {
        let log = std::fs::read_to_string(server.dir().join("log")).unwrap();
        let lines = log
            .lines()
            .filter(|line| line.contains("changed by") || line.contains("reset by"));
        lines.map(str::to_string).collect::<Vec<_>>()
    };
    let long = "x".repeat(200);
    let told_long = format!("'{}...'", "x".repeat(64));
    let changes: [(&str, &[&str]); 10] = [
        (
            "RL.DENY ADD bad 192.0.2.7 alice TTL 1h",
            &[
                "list 'bad'",
                "user 'ops'",
                "2 added for 3600000 ms: '192.0.2.7', 'alice'",
            ],
        ),
        (
            "RL.DENY ADD bad alice TTL 2h",
            &["1 added for 7200000 ms: 'alice'"],
        ),
        (
            "RL.DENY ADD bad a b c d e f g",
            &["7 added for ever: 'a', 'b', 'c', 'd', 'e' and 2 more"],
        ),
        (
            &format!("RL.DENY ADD bad {long}"),
            &["1 added for ever: ", &told_long],
        ),
        ("RL.DENY DEL bad a zed", &["1 deleted: 'a', 'zed'"]),
        ("RL.DENY ADD worse z", &["list 'worse'"]),
        (
            "RL.DENY RENAME bad worse",
            &["list 'bad'", "renamed to 'worse', 9 entries in place of 1"],
        ),
        (
            "RL.DENY DROP worse",
            &["list 'worse'", "dropped, 9 entries"],
        ),
        (
            "RL.STATS RESET",
            &["statistics reset by user 'ops'", ": all"],
        ),
        (
            "EVAL \"return redis.call('RL.DENY', 'ADD', 'bad', '%s%n\\\\r\\\\n# forged')\" 0",
            &[
                "by a script or a module",
                "1 added for ever: '%s%n\\x0d\\x0a# forged'",
            ],
        ),
    ];
    for (place, (line, parts)) in changes.iter().enumerate() {
        let reply = ops.call(line);
        assert!(!reply.is_error(), "{line}: {reply:?}");
        let told = lines(&primary);
        assert_eq!(told.len(), place + 1, "{line}: {told:#?}");
        for part in *parts {
            assert!(told[place].contains(part), "{part} in {}", told[place]);
        }
    }
    // What changes nothing says nothing.
    let told = lines(&primary).len();
    for line in [
        "RL.DENY DEL bad zed",
        "RL.DENY DROP none",
        "RL.STATS RESET none",
        "RL.DENY HAS bad a",
        "RL.DENY RENAME bad bad",
    ] {
        ops.call(line);
    }
    ops.call_bytes(&[b"RL.DENY", b"ADD", b"bad", b"%s%n\r\n# forged"]);
    assert_eq!(lines(&primary).len(), told, "{:#?}", lines(&primary));
    assert_equal(&primary, &replica);
    assert_eq!(lines(&replica), [""; 0]);
    // A client may read them, newest first, each as it was; and nobody to whom that was not given.
    let now_ms = || primary.now_ms();
    let before = now_ms();
    ops.ok("RL.POLICY SET login SLIDING 5 15m");
    let audit = |server: &Server, line: &str| server.call(line).array().to_vec();
    let newest = audit(&primary, "RL.AUDIT COUNT 1");
    let [change] = &newest[..] else {
        panic!("one: {newest:?}");
    };
    let [at, by, what, done] = change.array() else {
        panic!("four elements: {change:?}");
    };
    assert!((before..=now_ms()).contains(&at.int()));
    assert!(by.text().starts_with("user 'ops' at "), "{by:?}");
    assert_eq!(what.text(), "policy 'login'");
    assert_eq!(done.text(), "set: from none to sliding 5 15m");
    let all = audit(&primary, "RL.AUDIT");
    assert_eq!(all.len(), told + 1);
    assert_eq!(
        all[1].array()[3].text(),
        "changed: 1 added for ever: '%s%n\r\n# forged'"
    );
    assert_eq!(audit(&replica, "RL.AUDIT"), []);
    for line in [
        "RL.AUDIT COUNT 0",
        "RL.AUDIT COUNT 1001",
        "RL.AUDIT 5",
        "RL.AUDIT COUNT",
    ] {
        assert_error(&primary.call(line), &["COUNT"]);
    }
    primary.ok("ACL SETUSER reader on >secret +@read ~*");
    let mut reader = primary.connect();
    reader.ok("AUTH reader secret");
    let refused = reader.call("RL.AUDIT");
    assert!(refused.error().starts_with("NOPERM"), "{refused:?}");
}

/// Then the next of the chain counts, at last the call's own limits: nothing is unlimited, and nothing stops.
#[test]
fn a_policy_of_another_algorithm_is_passed_over_loudly() {
    let server = Server::start();
    server.ok("RL.POLICY SET wrong BUCKET 5 1 1d");
    server.ok("RL.POLICY SET right FIXED 7 30d");
    server.ok("RL.POLICY SET never SLIDING 1 30d TTL 1h");
    let info = |field| server.info_field("ratelimit", field);
    assert_eq!(info("ratelimit_policy_mismatches"), "0");
    // Each with how many policies it passes over, and the limit that it is held by.
    let mut passed_over = 0;
    for (line, more, limit) in [
        ("RL.FIXED k 3 30d POLICY right POLICY wrong", 0, 7),
        ("RL.FIXED k 3 30d POLICY wrong POLICY right", 1, 7),
        ("RL.FIXED k 3 30d POLICY wrong POLICY none", 1, 3),
        ("RL.FIXED k 3 30d POLICY wrong POLICY never", 2, 3),
        ("RL.SLIDING s 9 30d POLICY wrong", 1, 9),
        ("RL.LEASE l 4 1h id POLICY wrong", 1, 4),
        ("RL.PEEK FIXED k 3 30d POLICY wrong POLICY right", 1, 7),
    ] {
        let reply = server.call(line);
        assert_eq!(reply.array()[1].int(), limit, "{line}: {reply:?}");
        passed_over += more;
        let counted = info("ratelimit_policy_mismatches");
        assert_eq!(counted, passed_over.to_string(), "{line}");
    }
    for (line, limits) in [
        (
            "RL.ALL 2 k s FIXED 3 30d POLICY wrong SLIDING 9 30d POLICY never",
            [3, 1],
        ),
        (
            "RL.PEEKALL 2 k s FIXED 3 30d POLICY wrong SLIDING 9 30d",
            [3, 9],
        ),
    ] {
        let reply = server.call(line);
        let is = [0, 1].map(|key| reply.array()[5].array()[key].array()[1].int());
        assert_eq!(is, limits, "{line}: {reply:?}");
        passed_over += 1;
    }
    assert_eq!(info("ratelimit_policy_mismatches"), passed_over.to_string());
    assert_eq!(info("ratelimit_policy_mismatched"), "name_wrong");
    // GET says how often, LIST does not.
    let words = server.call("RL.POLICY GET wrong");
    assert_eq!(words.array()[4].text(), "MISMATCHES");
    assert_eq!(words.array()[5].int(), passed_over - 1);
    let words = server.call("RL.POLICY GET never");
    let left = words.array()[4].text();
    let left_ms: u64 = left.strip_suffix("ms").unwrap().parse().unwrap();
    assert!((1..=3_600_000).contains(&left_ms), "{words:?}");
    assert_eq!(words.array()[5], Reply::Nil);
    assert_eq!(
        (words.array()[6].text(), words.array()[7].int()),
        ("MISMATCHES".to_owned(), 1)
    );
    assert_eq!(
        server.call("RL.POLICY LIST").field("wrong").array().len(),
        4
    );
    // One line in a minute.
    let log = std::fs::read_to_string(server.dir().join("log")).unwrap();
    let mut told = log.lines().filter(|line| line.contains("pass it over"));
    let line = told.next().unwrap();
    assert!(
        line.contains("policy 'wrong' is bucket, but fixed calls name it"),
        "{line}"
    );
    assert_eq!(told.next(), None);
    // Denied by the call's own limit: the wrong policy lets nothing through.
    assert!(server.decide("RL.FIXED tight 1 30d POLICY wrong").allowed);
    assert!(!server.decide("RL.FIXED tight 1 30d POLICY wrong").allowed);
    let before = server.digest();
    // The call's own arguments must be sound, whether or not the policy goes before them.
    server.ok("RL.POLICY SET f FIXED 5 30d");
    assert_error(
        &server.call("RL.FIXED k 5 POLICY f"),
        &["argument 3", "window"],
    );
    assert_error(
        &server.call("RL.FIXED k 5 30d POLICY"),
        &["argument 5 is missing", "policy"],
    );
    assert_error(
        &server.call("RL.FIXED k 5 30d POLICY f POLICY f POLICY f POLICY f POLICY f"),
        &["argument 12", "policies", "maximum 4"],
    );
    assert_eq!(server.digest(), before);
}

#[test]
fn the_bound_is_configurable_and_refuses_new_names_only() {
    let server = Server::with(&["ratelimit.policies 2"]);
    server.ok("RL.POLICY SET a FIXED 1 1h");
    server.ok("RL.POLICY SET b FIXED 1 1h");
    let full = server.call("RL.POLICY SET c FIXED 1 1h");
    assert_error(&full, &["too many policies", "maximum 2"]);
    server.ok("RL.POLICY SET a FIXED 2 1h");
    assert_eq!(server.call("RL.POLICY LIST").texts().len(), 8);
    assert_eq!(server.info_number("ratelimit", "ratelimit_policies"), 2);
    server.ok("CONFIG SET ratelimit.policies 3");
    eventually("the bound is raised", || {
        !server.call("RL.POLICY SET c FIXED 1 1h").is_error()
    });
    server.ok("CONFIG SET ratelimit.policies 0");
    eventually("the bound is lowered", || {
        let refused = server.call("RL.POLICY SET d FIXED 1 1h").is_error();
        server.call("RL.POLICY DEL d");
        refused
    });
    server.ok("RL.POLICY SET a FIXED 3 1h");
    assert_eq!(
        server.call("RL.POLICY GET c"),
        texts(&["fixed", "1", "1h"]),
        "what is there stays"
    );
    for refused in ["-1", "10001", "many"] {
        let reply = server.call(&format!("CONFIG SET ratelimit.policies {refused}"));
        assert!(reply.is_error(), "{refused}");
    }
}

/// What a replica was told to keep it keeps, whatever its own bound; so does a server that starts on its own file.
#[test]
fn a_lower_bound_elsewhere_loses_no_policy() {
    let (primary, replica) = pair(&[], &["ratelimit.policies 1"]);
    for name in ["a", "b", "c"] {
        primary.ok(&format!("RL.POLICY SET {name} FIXED 1 1h"));
    }
    assert_equal(&primary, &replica);

    for preamble in ["yes", "no"] {
        let mut server = Server::with(&[
            "appendonly yes",
            &format!("aof-use-rdb-preamble {preamble}"),
            "ratelimit.policies 1",
        ]);
        server.ok("CONFIG SET ratelimit.policies 3");
        for name in ["a", "b", "c"] {
            eventually("the bound is raised", || {
                !server
                    .call(&format!("RL.POLICY SET {name} FIXED 1 1h"))
                    .is_error()
            });
        }
        let before = Node::of(&server);
        crash(&mut server);
        assert_eq!(Node::of(&server), before, "preamble {preamble}");
    }
}

#[test]
fn flushing_the_keys_leaves_the_node_its_own() {
    let (primary, replica) = pair(&[], &[]);
    fill(&primary);
    let (before, stats) = (
        Node::of(&primary),
        primary.call("RL.STATS GET").over_the_hour(),
    );
    for line in ["FLUSHALL", "FLUSHDB", "FLUSHALL ASYNC"] {
        primary.decide("RL.FIXED k 5 30d COST 0");
        primary.ok(line);
        assert_eq!(Node::of(&primary), before, "{line}");
        assert_eq!(
            primary.call("RL.STATS GET").over_the_hour(),
            stats,
            "{line}"
        );
        assert_equal(&primary, &replica);
    }
    assert_eq!(Node::of(&replica), before);
}

#[test]
fn a_restart_on_an_rdb_keeps_everything() {
    let mut server = Server::start();
    fill(&server);
    server.bulk(&administrative_calls(&mut Random::new(20), 300));
    server.call("RL.DENY ADD short.lived 192.0.2.1 TTL 1ms");
    server.ok("SAVE");
    let (before, stats) = (Node::of(&server), named_stats(&server));
    assert!(stats.iter().all(|one| *one != Reply::Nil), "{stats:?}");
    crash(&mut server);
    same_node(&server, &before);
    assert_eq!(named_stats(&server), stats);

    // Also as the server does by itself, and when there is not one key.
    server.ok("FLUSHALL");
    server.ok("SAVE");
    crash(&mut server);
    same_node(&server, &before);
    server.ok("DEBUG RELOAD");
    same_node(&server, &before);
    assert_eq!(named_stats(&server), stats);
}

fn named_stats(server: &Server) -> Vec<Reply> {
    ["RL.STATS GET", "RL.STATS GET login", "RL.STATS GET api"]
        .map(|line| server.call(line).over_the_hour())
        .to_vec()
}

/// It holds what it held, but for entries that have ended since.
fn same_node(server: &Server, before: &Node) {
    let now = Node::of(server);
    assert_eq!(now.policies, before.policies);
    for (list, entries) in &before.entries {
        for (value, ends) in entries {
            let found = now.entries.get(list).and_then(|entries| entries.get(value));
            let has_ended = matches!(ends, node::Ends::Within(_, at) if *at <= server.now_ms());
            assert!(
                found == Some(ends) || has_ended,
                "{list:?} {value:?}: {found:?}, was {ends:?}"
            );
        }
    }
    for (list, entries) in &now.entries {
        for value in entries.keys() {
            assert!(
                before.entries[list].contains_key(value),
                "{list:?} {value:?} is back"
            );
        }
    }
}

/// A tail without a rewrite, a rewrite, a tail behind it, and a second rewrite: each survives SIGKILL.
fn an_aof_keeps_everything(preamble: &str) {
    let mut random = Random::new(21);
    let mut server = Server::with(&[
        "appendonly yes",
        "appendfsync always",
        &format!("aof-use-rdb-preamble {preamble}"),
    ]);
    fill(&server);
    for (round, rewrites) in [0, 1, 1, 2].into_iter().enumerate() {
        server.bulk(&administrative_calls(&mut random, 200));
        for _ in 0..rewrites {
            server.decide("RL.SLIDING user:1 1 1h POLICY login");
            server.decide("RL.FIXED user:4 1 1h POLICY api");
            aof::rewrite(&server);
            server.bulk(&administrative_calls(&mut random, 100));
        }
        let (before, stats) = (Node::of(&server), named_stats(&server));
        assert!(!before.is_empty());
        crash(&mut server);
        same_node(&server, &before);
        assert_eq!(named_stats(&server), stats, "round {round}");
    }
    let before = Node::of(&server);
    server.ok("DEBUG LOADAOF");
    same_node(&server, &before);
}

#[test]
fn an_aof_with_the_preamble_keeps_everything() {
    an_aof_keeps_everything("yes");
}

#[test]
fn an_aof_without_the_preamble_keeps_everything() {
    an_aof_keeps_everything("no");
}

/// The first file of an AOF that is switched on while the server runs.
#[test]
fn an_aof_that_is_switched_on_later_keeps_everything() {
    for preamble in ["yes", "no"] {
        let mut server = Server::with(&[&format!("aof-use-rdb-preamble {preamble}")]);
        fill(&server);
        server.ok("CONFIG SET appendonly yes");
        server.ok("RL.POLICY SET late FIXED 7 1h");
        eventually("the first file is written", || {
            server.info_field("persistence", "aof_rewrite_in_progress") == "0"
                && server.info_field("persistence", "aof_rewrite_scheduled") == "0"
                && server.info_field("persistence", "aof_enabled") == "1"
        });
        server.ok("RL.POLICY SET later FIXED 8 1h");
        let before = Node::of(&server);
        server.ok("CONFIG REWRITE");
        crash(&mut server);
        same_node(&server, &before);
    }
}

#[test]
fn an_emptied_node_stays_empty_over_an_aof() {
    for preamble in ["yes", "no"] {
        let mut server = Server::with(&[
            "appendonly yes",
            "appendfsync always",
            &format!("aof-use-rdb-preamble {preamble}"),
        ]);
        fill(&server);
        aof::rewrite(&server);
        let names = server.call("RL.POLICY LIST");
        let Reply::Map(policies) = names else {
            panic!("a map");
        };
        for (name, _) in policies {
            let del = server.call_bytes(&[b"RL.POLICY", b"DEL", name.bytes()]);
            assert_eq!(del.int(), 1);
        }
        for list in ["bad", "other"] {
            assert_eq!(server.call(&format!("RL.DENY DROP {list}")).int(), 1);
        }
        crash(&mut server);
        assert!(Node::of(&server).is_empty(), "preamble {preamble}");
        aof::rewrite(&server);
        crash(&mut server);
        assert!(Node::of(&server).is_empty(), "preamble {preamble}");
    }
}

#[test]
fn a_replica_holds_what_its_primary_holds_after_a_thousand_calls() {
    let (primary, replica) = pair(&[], &[]);
    let behind = replica_of(&replica, &[]);
    let mut random = Random::new(22);
    for _ in 0..4 {
        let replies = primary.bulk(&administrative_calls(&mut random, 250));
        let refused = replies.iter().filter(|reply| reply.is_error()).count();
        assert!(
            (10..200).contains(&refused),
            "most calls are taken, some are not: {refused}"
        );
        assert_equal(&primary, &replica);
        assert!(!Node::of(&primary).is_empty());
    }
    eventually("the replica behind it too", || {
        Node::of(&primary) == Node::of(&behind)
    });
    // And one that joins now.
    let late = replica_of(&primary, &["repl-diskless-load swapdb"]);
    eventually("a late one too", || Node::of(&primary) == Node::of(&late));
    assert_eq!(
        primary.info_number("stats", "sync_full"),
        2,
        "no link ever broke"
    );
    let log = std::fs::read_to_string(replica.dir().join("log")).unwrap();
    assert!(!log.contains("== CRITICAL =="), "{log}");
}

#[test]
fn a_full_sync_makes_the_replica_equal_also_where_the_primary_has_nothing() {
    for load in ["disabled", "swapdb"] {
        let primary = Server::with(&["repl-diskless-sync-delay 0"]);
        let replica = Server::with(&[&format!("repl-diskless-load {load}")]);
        fill(&replica);
        assert!(!Node::of(&replica).is_empty());
        replica.ok(&format!("REPLICAOF 127.0.0.1 {}", primary.port()));
        wait_for_link(&replica);
        assert!(
            Node::of(&replica).is_empty(),
            "{load}: {:?}",
            Node::of(&replica)
        );
        assert_eq!(replica.call("RL.STATS GET").field("allowed").int(), 0);

        // And where it has something else, statistics with it.
        replica.ok("REPLICAOF NO ONE");
        fill(&replica);
        primary.ok("RL.POLICY SET its.own FIXED 1 1h");
        primary.decide("RL.FIXED k 5 1h POLICY its.own");
        replica.ok(&format!("REPLICAOF 127.0.0.1 {}", primary.port()));
        wait_for_link(&replica);
        assert_equal(&primary, &replica);
        assert_eq!(
            replica.call("RL.POLICY LIST").texts(),
            ["its.own", "fixed", "1", "1h"]
        );
        assert_eq!(replica.call("RL.STATS GET"), primary.call("RL.STATS GET"));
        assert_eq!(
            replica.call("RL.STATS GET its.own"),
            primary.call("RL.STATS GET its.own")
        );
    }
}

#[test]
fn a_partial_sync_brings_what_was_missed() {
    let (primary, replica) = pair(&["repl-backlog-size 10mb"], &[]);
    fill(&primary);
    assert_equal(&primary, &replica);
    for round in 0..3 {
        // The link is cut and the changes are made in one go, so the replica cannot have them by the old link.
        primary.ok("MULTI");
        primary.call("CLIENT KILL TYPE replica");
        primary.call(&format!("RL.POLICY SET missed:{round} FIXED {round} 1h"));
        primary.call(&format!(
            "RL.DENY ADD missed 192.0.2.{round} text:{round} TTL 30d"
        ));
        primary.call("RL.POLICY DEL login");
        primary.call("RL.DENY RENAME missed met");
        let replies = primary.call("EXEC");
        assert!(!replies.array().iter().any(Reply::is_error), "{replies:?}");
        assert_equal(&primary, &replica);
    }
    assert_eq!(primary.info_number("stats", "sync_full"), 1);
    assert!(primary.info_number("stats", "sync_partial_ok") >= 3);
}

#[test]
fn a_promoted_replica_goes_on_with_policies_and_lists() {
    let (mut primary, replica) = pair(&[], &[]);
    fill(&primary);
    assert_equal(&primary, &replica);
    // A replica takes no orders but its primary's.
    for line in [
        "RL.POLICY SET mine FIXED 1 1h",
        "RL.POLICY DEL login",
        "RL.DENY ADD bad 192.0.2.99",
        "RL.DENY DEL bad alice",
        "RL.DENY RENAME bad worse",
        "RL.DENY DROP bad",
    ] {
        let reply = replica.call(line);
        assert!(reply.error().starts_with("READONLY"), "{line}: {reply:?}");
    }
    assert_equal(&primary, &replica);
    // What reads, a replica answers.
    assert_eq!(
        replica
            .decide("RL.PEEK SLIDING new 9 1h POLICY login")
            .limit,
        5
    );
    let before = Node::of(&primary);
    primary.kill();
    replica.ok("REPLICAOF NO ONE");
    assert_eq!(Node::of(&replica), before);
    assert_eq!(replica.decide("RL.SLIDING new 9 1h POLICY login").limit, 5);
    assert_eq!(
        replica.call("RL.FIXED new2 9 1h DENY bad alice").array()[0].int(),
        0
    );
    replica.ok("RL.POLICY SET login SLIDING 6 15m");
    assert_eq!(replica.decide("RL.SLIDING new 9 1h POLICY login").limit, 6);
}

/// A replica that keeps an AOF writes a new one after each full sync.
#[test]
fn the_aof_of_a_replica_holds_the_node_too() {
    for preamble in ["yes", "no"] {
        let primary = Server::with(&["repl-diskless-sync-delay 0"]);
        fill(&primary);
        let mut replica = replica_of(
            &primary,
            &[
                "appendonly yes",
                &format!("aof-use-rdb-preamble {preamble}"),
            ],
        );
        primary.ok("RL.POLICY SET late FIXED 7 1h");
        assert_equal(&primary, &replica);
        eventually("the new file is written", || {
            replica.info_number("persistence", "aof_rewrite_in_progress") == 0
                && replica.info_number("persistence", "aof_rewrite_scheduled") == 0
        });
        let before = Node::of(&primary);
        // Its primary is gone, so what it has after the crash it has from its file.
        drop(primary);
        crash(&mut replica);
        assert_eq!(Node::of(&replica), before, "preamble {preamble}");
    }
}

#[test]
fn transactions_and_scripts_change_and_replicate_all_or_in_order() {
    let (primary, replica) = pair(&[], &[]);
    for line in [
        "MULTI",
        "RL.POLICY SET p FIXED 5 30d",
        "RL.DENY ADD l 192.0.2.1 alice",
        "RL.FIXED k 9 30d POLICY p DENY l 192.0.2.9",
        "RL.POLICY SET p FIXED 3 30d",
        "RL.FIXED k 9 30d POLICY p DENY l 192.0.2.9",
        "RL.DENY RENAME l m",
        "RL.FIXED k 9 30d POLICY p DENY m alice",
        "RL.POLICY GET p",
        "RL.DENY LIST",
    ] {
        let reply = primary.call(line);
        assert!(!reply.is_error(), "{line}: {reply:?}");
    }
    let replies = primary.call("EXEC");
    let replies = replies.array();
    assert_eq!(replies[2].array()[1..3], [Reply::Int(5), Reply::Int(4)]);
    assert_eq!(replies[4].array()[1..3], [Reply::Int(3), Reply::Int(1)]);
    assert_eq!(replies[6].array()[5].text(), "alice");
    assert_eq!(replies[7], texts(&["fixed", "3", "30d"]));
    assert_equal(&primary, &replica);

    let script = "redis.call('RL.POLICY', 'SET', 'q', 'BUCKET', 5, 1, '1s'); \
        redis.call('RL.DENY', 'ADD', 'm', '198.51.100.0/24', 'TTL', '30d'); \
        redis.call('RL.DENY', 'DEL', 'm', 'alice'); \
        return redis.call('RL.BUCKET', KEYS[1], 9, 9, '1s', 'POLICY', 'q', 'DENY', 'm', '198.51.100.7')";
    let reply = primary.call(&format!("EVAL \"{script}\" 1 b"));
    assert_eq!(reply.array()[1], Reply::Int(5));
    assert_eq!(reply.array()[5].text(), "198.51.100.7");
    assert_equal(&primary, &replica);
    assert_eq!(replica.call("RL.DENY LIST").texts(), ["m"]);
    // What a discarded transaction asked for is not done.
    primary.ok("MULTI");
    primary.call("RL.POLICY DEL p");
    primary.ok("DISCARD");
    assert_eq!(
        primary.call("RL.POLICY GET p"),
        texts(&["fixed", "3", "30d"])
    );
}

/// In the very hour when it is full: policies and lists have bounds of their own.
#[test]
fn with_memory_full_policies_and_lists_can_be_changed() {
    let server = Server::with(&["maxmemory-policy noeviction"]);
    server.ok("RL.POLICY SET login SLIDING 5 15m");
    server.ok("CONFIG SET maxmemory 1");
    assert!(server.call("SET x 1").error().starts_with("OOM"));
    server.ok("RL.POLICY SET login SLIDING 1 15m TTL 1h");
    assert_eq!(server.call("RL.DENY ADD bad 192.0.2.7 alice").int(), 2);
    server.ok("RL.DENY RENAME bad worse");
    assert_eq!(server.call("RL.STATS RESET").int(), 1);
    assert_eq!(server.call("RL.POLICY DEL login").int(), 1);
}

/// ACL rules name subcommands; whoever may not change a policy may still be given what reads it.
#[test]
fn acl_rules_name_subcommands() {
    let server = Server::start();
    fill(&server);
    server.ok("ACL SETUSER reader on >secret ~* resetchannels -@all +rl.policy|get +rl.deny|has +rl.stats|get");
    server.ok("ACL SETUSER limited on >secret ~* -@all +rl.fixed +rl.policy -rl.policy|set -rl.policy|del");
    let mut reader = server.connect();
    reader.ok("AUTH reader secret");
    assert_eq!(
        reader.call("RL.POLICY GET login").array()[0].text(),
        "sliding"
    );
    assert_eq!(reader.call("RL.DENY HAS bad alice").ints(), [1]);
    assert!(!reader.call("RL.STATS GET").is_error());
    for line in [
        "RL.POLICY SET login SLIDING 9 1h",
        "RL.POLICY DEL login",
        "RL.POLICY LIST",
        "RL.DENY ADD bad x",
        "RL.DENY DROP bad",
        "RL.NODE x",
        "RL.FIXED k 5 1h",
    ] {
        let reply = reader.call(line);
        assert!(reply.error().starts_with("NOPERM"), "{line}: {reply:?}");
    }
    let mut limited = server.connect();
    limited.ok("AUTH limited secret");
    assert_eq!(
        limited.decide("RL.FIXED k 5 1h POLICY api").limit,
        9_007_199_254_740_991
    );
    assert!(!limited.call("RL.POLICY LIST").is_error());
    for line in ["RL.POLICY SET api FIXED 1 1h", "RL.POLICY DEL api"] {
        let reply = limited.call(line);
        assert!(reply.error().starts_with("NOPERM"), "{line}: {reply:?}");
    }
}

/// Where the server lets a module have ACL categories (Redis 7.2, Valkey 8), what writes is for administrators.
#[test]
fn acl_categories_keep_writes_for_administrators() {
    let server = Server::start();
    let commands = |category: &str| server.call(&format!("ACL CAT {category}")).texts();
    let has_categories = commands("write").iter().any(|name| name == "rl.fixed");
    let writes = [
        "rl.policy|set",
        "rl.policy|shadow",
        "rl.policy|del",
        "rl.deny|add",
        "rl.deny|del",
        "rl.deny|rename",
        "rl.deny|drop",
        "rl.stats|reset",
    ];
    for category in ["admin", "dangerous", "write"] {
        for name in writes {
            let is_in = commands(category).iter().any(|other| other == name);
            assert_eq!(is_in, has_categories, "{name} in @{category}");
        }
    }
    for name in [
        "rl.policy|get",
        "rl.policy|list",
        "rl.deny|has",
        "rl.deny|entries",
        "rl.deny|list",
        "rl.stats|get",
    ] {
        assert_eq!(
            commands("read").iter().any(|other| other == name),
            has_categories,
            "{name}"
        );
        assert!(
            !commands("admin").iter().any(|other| other == name),
            "{name}"
        );
    }
}

/// A command that has something sent on is sent on itself: a BGREWRITEAOF must not, or each restart and each replica
/// would rewrite.
#[test]
fn a_rewrite_is_not_sent_on_itself() {
    let server = Server::with(&["appendonly yes", "aof-use-rdb-preamble no"]);
    fill(&server);
    aof::rewrite(&server);
    server.ok("RL.POLICY SET last FIXED 1 1h");
    let written = [aof::commands(&server), aof::base_commands(&server)].concat();
    let written = String::from_utf8_lossy(&written.concat().concat()).to_lowercase();
    assert!(
        written.contains("rl.node") && written.contains("last"),
        "{written}"
    );
    assert!(!written.contains("bgrewriteaof"), "{written}");
}

/// An hour is an hour, whatever the clock does: also for what was read from a file, and on a replica.
#[test]
fn a_clock_that_was_stepped_back_gives_nothing_more_than_it_was_given() {
    const HOUR_MS: i64 = 3_600_000;
    let clock = Clock::at(1_700_000_000_000);
    if clock.server(&[]).is_none() {
        return;
    }
    let own = ["appendonly yes", "aof-use-rdb-preamble no"];
    let (primary, replica) =
        support::pair::of(|lines| clock.server(&[lines, &own].concat()).expect("a server"));
    let servers = [&primary, &replica];
    primary.ok("RL.POLICY SET p FIXED 5 1d");
    primary.ok("RL.POLICY SET p FIXED 1 1d TTL 1h");
    let added = primary.call("RL.DENY ADD l 192.0.2.0/24 alice TTL 1h");
    assert_eq!(added.int(), 2);
    // What is left of the entry and of the policy, in this order.
    let left_ms = |server: &Server| {
        let policy = server.call("RL.POLICY GET p");
        let denied = server.call("RL.PEEK FIXED k 5 1d DENY l alice");
        // (nil where it has not arrived)
        let ttl = match &policy {
            Reply::Array(words) => words.get(4).map(Reply::text),
            _ => None,
        };
        let ttl = ttl.map(|text| text.trim_end_matches("ms").parse().expect("milliseconds"));
        [denied.array()[3].int(), ttl.unwrap_or(0)]
    };
    for server in servers {
        eventually("the replica has it", || left_ms(server) == [HOUR_MS; 2]);
    }
    // All have looked at the clock once they have swept this away.
    let have_ticked = || {
        primary.call("RL.DENY ADD passing x TTL 1ms");
        clock.step(1);
        for server in servers {
            let swept = || server.call("RL.DENY LIST").get("passing").is_none();
            eventually("the server has looked at the clock", swept);
        }
    };

    clock.step(-24 * HOUR_MS);
    for server in servers {
        assert_eq!(left_ms(server), [HOUR_MS; 2]);
    }
    have_ticked();
    // From the file, which has yesterday's instants.
    primary.ok("DEBUG LOADAOF");
    assert_eq!(left_ms(&primary), [HOUR_MS; 2]);
    primary.ok("DEBUG RELOAD");
    assert_eq!(left_ms(&primary), [HOUR_MS; 2]);
    have_ticked();
    clock.step(HOUR_MS - 5);
    for server in servers {
        let left_ms = left_ms(server);
        assert!(
            left_ms.iter().all(|left_ms| (1..=5).contains(left_ms)),
            "{left_ms:?}"
        );
    }
    clock.step(5);
    for server in servers {
        assert_eq!(left_ms(server), [0; 2]);
    }
}

/// A server with many policies is not kept from its other clients by one who lists them.
#[test]
fn a_scan_lists_policies_in_parts() {
    let server = Server::with(&["ratelimit.policies 2000"]);
    let lines: Vec<String> = (0..1_500)
        .map(|n| format!("RL.POLICY SET p{n} FIXED {n} 1h"))
        .collect();
    server.bulk(&lines);
    server.ok("RL.POLICY SET p7 FIXED 1 1h TTL 1d");
    for count in ["", " COUNT 1", " count 1000"] {
        let (mut cursor, mut seen) = ("0".to_owned(), std::collections::BTreeMap::new());
        loop {
            let reply = server.call(&format!("RL.POLICY SCAN {cursor}{count}"));
            let [next, part] = reply.array() else {
                panic!("{reply:?}")
            };
            let Reply::Map(pairs) = part else {
                panic!("{part:?}")
            };
            seen.extend(
                pairs
                    .iter()
                    .map(|(name, words)| (name.text(), words.clone())),
            );
            cursor = next.text();
            if cursor == "0" {
                break;
            }
        }
        assert_eq!(seen.len(), 1_500);
        assert_eq!(seen["p9"], texts(&["fixed", "9", "1h"]));
        assert_eq!(seen["p7"].array().len(), 6);
    }
    for (line, parts) in [
        ("RL.POLICY SCAN x", ["argument 2", "cursor"]),
        ("RL.POLICY SCAN -1", ["argument 2", "cursor"]),
        ("RL.POLICY SCAN 0 COUNT 0", ["argument 3", "1 to 1000"]),
        ("RL.POLICY SCAN 0 COUNT 1001", ["argument 3", "1 to 1000"]),
    ] {
        assert_error(&server.call(line), &parts);
    }
}

/// The words of one call are bounded, so that none keeps the server from its other clients.
#[test]
fn a_call_names_so_many_ids_and_values_and_no_more() {
    let server = Server::start();
    let words = |most: usize| vec!["x"; most].join(" ");
    for (call, most) in [
        ("RL.RELEASE key", 1_024),
        ("RL.FIXED key 5 1h DENY list", 1_024),
        ("RL.PEEK FIXED key 5 1h DENY list", 1_024),
        ("RL.ALL 1 key FIXED 5 1h DENY list", 1_024),
        ("RL.DENY HAS list", 1_024),
        ("RL.DENY ADD list", 10_000),
        ("RL.DENY DEL list", 10_000),
    ] {
        let reply = server.call(&format!("{call} {}", words(most)));
        assert!(!reply.is_error(), "{call}: {reply:?}");
        let before = (server.digest(), server.call("RL.DENY LIST"));
        let reply = server.call(&format!("{call} {}", words(most + 1)));
        let at = format!("argument {}", call.split(' ').count() + most);
        let maximum = format!("maximum {most}");
        assert_error(&reply, &[&at, "too many", &maximum]);
        assert_eq!((server.digest(), server.call("RL.DENY LIST")), before);
    }
}
