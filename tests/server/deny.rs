//! Deny lists: RL.DENY, the DENY clause, and what a list of the real size takes.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::support::node::{assert_equal, assert_error, crash, pair, values, Node};
use crate::support::{aof, eventually, node, Random, Reply, Server, DEADLINE};

#[test]
fn add_has_del_list_and_drop() {
    let server = Server::start();
    assert_eq!(server.call("RL.DENY LIST"), Reply::Map(Vec::new()));
    assert_eq!(
        server
            .call("RL.DENY ADD bad 192.0.2.7 10.0.0.0/8 alice 192.0.2.7")
            .int(),
        3
    );
    assert_eq!(
        server.call("RL.DENY ADD bad alice bob").int(),
        1,
        "how many are new"
    );
    assert_eq!(server.call("RL.DENY ADD also 2001:db8::/32").int(), 1);
    assert_eq!(
        server
            .call("RL.DENY HAS bad alice 10.1.2.3 10.0.0.0/9 10.0.0.0/7 carol 192.0.2.7/32")
            .ints(),
        [1, 1, 1, 0, 0, 1]
    );
    assert_eq!(server.call("RL.DENY HAS absent alice bob").ints(), [0, 0]);
    let sizes = server.call("RL.DENY LIST");
    let Reply::Map(pairs) = &sizes else {
        panic!("a map: {sizes:?}");
    };
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(name, size)| (name.text(), size.int()))
        .collect();
    assert_eq!(
        pairs,
        [("also".to_string(), 1), ("bad".to_string(), 4)],
        "sorted"
    );
    let flat = server.connect_with(&["-2"]).call("RL.DENY LIST");
    assert_eq!((flat.array().len(), flat.field("bad").int()), (4, 4));

    // Only the very entry goes, and a list goes with its last.
    assert_eq!(server.call("RL.DENY DEL bad 10.1.2.3 carol").int(), 0);
    assert_eq!(
        server.call("RL.DENY DEL bad 10.0.0.0/8 alice alice").int(),
        2
    );
    assert_eq!(
        server.call("RL.DENY HAS bad alice 10.1.2.3 bob").ints(),
        [0, 0, 1]
    );
    assert_eq!(server.call("RL.DENY DEL also 2001:DB8::/32").int(), 1);
    assert_eq!(server.call("RL.DENY LIST").texts(), ["bad"]);
    assert_eq!(server.call("RL.DENY DEL absent alice").int(), 0);
    assert_eq!(server.call("RL.DENY DROP bad").int(), 1);
    assert_eq!(server.call("RL.DENY DROP bad").int(), 0);
    assert_eq!(server.call("RL.DENY LIST"), Reply::Map(Vec::new()));
}

#[test]
fn every_form_of_an_address_is_one_value() {
    let server = Server::start();
    assert_eq!(
        server
            .call("RL.DENY ADD l ::ffff:192.0.2.7 192.0.2.7 ::FFFF:C000:207 192.0.2.7/32")
            .int(),
        1
    );
    assert_eq!(
        server
            .call("RL.DENY ADD l 2001:DB8:0:0::1 2001:db8::1/128")
            .int(),
        1
    );
    assert_eq!(server.call("RL.DENY ADD l ::ffff:10.0.0.0/104").int(), 1);
    let held: BTreeSet<_> = ["192.0.2.7", "2001:db8::1", "10.0.0.0/8"]
        .map(String::from)
        .into();
    assert_eq!(values(&server, "l"), held);
    assert_eq!(
        server.call("RL.DENY HAS l 192.0.2.7 ::ffff:c000:0207 2001:0db8::0001 10.9.9.9 ::ffff:10.9.9.9 010.9.9.9").ints(),
        [1, 1, 1, 1, 1, 0]
    );
}

/// As sockets and proxies hand addresses over: with a port, in brackets, with a zone, with spaces.
#[test]
fn an_address_is_denied_as_it_arrives() {
    let server = Server::start();
    server.call("RL.DENY ADD bad 192.0.2.0/24 2001:db8::1 fe80::/10 alice");
    for value in [
        "192.0.2.7:443",
        "[2001:db8::1]:443",
        "[2001:db8::1]",
        "fe80::1%eth0",
        "[fe80::1%eth0]:8080",
        " 192.0.2.7",
        "192.0.2.7 ",
        "[::ffff:192.0.2.7]:443",
        "::ffff:192.0.2.7:443",
    ] {
        let has = server.call_bytes(&[b"RL.DENY", b"HAS", b"bad", value.as_bytes()]);
        assert_eq!(has.ints(), [1], "{value}");
        for command in [&[&b"RL.FIXED"[..]][..], &[b"RL.PEEK", b"FIXED"]] {
            let rest: [&[u8]; 6] = [b"k", b"5", b"1h", b"DENY", b"bad", value.as_bytes()];
            let reply = server.call_bytes(&[command, &rest].concat());
            assert_eq!(reply.array()[0].int(), 0, "{value}");
            assert_eq!(reply.array()[5].text(), value, "as the caller wrote it");
        }
    }
    for value in ["192.0.3.7:443", "[2001:db8::2]:443", " alice", "alice:443"] {
        let has = server.call_bytes(&[b"RL.DENY", b"HAS", b"bad", value.as_bytes()]);
        assert_eq!(has.ints(), [0], "{value}");
    }
}

/// `(call, what its error says)`
const REFUSED: [(&str, &[&str]); 27] = [
    (
        "ADD bad 10.0.0.1/8",
        &["argument 3", "the range would be 10.0.0.0/8"],
    ),
    (
        "ADD bad x 010.0.0.1",
        &["argument 4", "looks like an IP address"],
    ),
    (
        "ADD bad x y 256.1.1.1",
        &["argument 5", "looks like an IP address"],
    ),
    (
        "ADD bad 1.2.3.4/33",
        &["argument 3", "looks like an address range"],
    ),
    ("ADD bad :::1", &["argument 3", "looks like an IP address"]),
    (
        "ADD bad x 192.0.2.7:443",
        &["argument 4 (value)", "a port", "write 192.0.2.7"],
    ),
    (
        "ADD bad [2001:DB8::1]:443",
        &["argument 3 (value)", "brackets", "write 2001:db8::1"],
    ),
    (
        "ADD bad fe80::1%eth0",
        &["argument 3 (value)", "a zone", "write fe80::1"],
    ),
    (
        "ADD bad \" 10.0.0.0/8\"",
        &["argument 3 (value)", "spaces", "write 10.0.0.0/8"],
    ),
    ("ADD bad 256.1.1.1:80", &["argument 3", "looks like an IP"]),
    ("ADD bad \"\"", &["argument 3", "empty"]),
    ("ADD \"\" x", &["argument 2", "1 to 128 bytes"]),
    ("ADD bad x TTL 60", &["argument 5 (ttl)", "needs a unit"]),
    (
        "ADD bad x TTL 0s",
        &["argument 5 (ttl)", "from 1ms to 3660d"],
    ),
    (
        "ADD bad x TTL -5s",
        &["argument 5 (ttl)", "positive integer and a unit"],
    ),
    ("ADD bad", &["wrong number of arguments"]),
    ("DEL bad", &["wrong number of arguments"]),
    ("HAS bad", &["wrong number of arguments"]),
    ("ENTRIES bad", &["wrong number of arguments"]),
    (
        "ENTRIES bad first",
        &["argument 3 (cursor)", "must be 0 or the cursor"],
    ),
    (
        "ENTRIES bad -1",
        &["argument 3 (cursor)", "must be 0 or the cursor"],
    ),
    (
        "ENTRIES bad 0 COUNT 0",
        &["COUNT", "integer from 1 to 10000"],
    ),
    ("ENTRIES bad 0 LIMIT 5", &["argument 4", "COUNT"]),
    (
        "RENAME absent bad",
        &["argument 2 (list)", "no such deny list"],
    ),
    ("RENAME bad \"\"", &["argument 3", "1 to 128 bytes"]),
    ("LIST bad", &["wrong number of arguments"]),
    ("CLEAR bad", &["unknown subcommand"]),
];

#[test]
fn what_is_refused_says_why_and_changes_nothing() {
    let server = Server::start();
    server.call("RL.DENY ADD bad 192.0.2.1 alice");
    let before = Node::of(&server);
    let mut unlike = Vec::new();
    for (call, says) in REFUSED {
        let reply = server.call(&format!("RL.DENY {call}"));
        let text = reply.error();
        if !text.starts_with("ERR ") || !says.iter().all(|part| text.contains(part)) {
            unlike.push(format!("{call}: {text} (expected: {says:?})"));
        }
        assert_eq!(Node::of(&server), before, "{call}");
    }
    assert_eq!(unlike, [""; 0]);
    let long = [b'x'; 129];
    let reply = server.call_bytes(&[b"RL.DENY", b"ADD", &long, b"x"]);
    assert_error(&reply, &["1 to 128 bytes"]);
    let long = [b'x'; 1025];
    let reply = server.call_bytes(&[b"RL.DENY", b"ADD", b"bad", b"y", &long]);
    assert_error(&reply, &["longer than 1024 bytes"]);
    assert_eq!(Node::of(&server), before);
}

/// TTL without a value before it, or without a duration behind it, is a slip that would deny nobody, or for ever.
#[test]
fn a_ttl_that_lacks_a_word_is_refused() {
    let server = Server::start();
    for line in [
        "RL.DENY ADD l TTL 5s",
        "RL.DENY ADD l 192.0.2.1 TTL",
        "RL.DENY ADD l 192.0.2.1 ttl",
    ] {
        let reply = server.call(line);
        assert!(
            reply.is_error(),
            "{line}: {reply:?}, now {:?}",
            values(&server, "l")
        );
    }
    assert_eq!(server.call("RL.DENY LIST"), Reply::Map(Vec::new()));
}

#[test]
fn values_and_names_are_any_bytes() {
    let server = Server::start();
    let value = b"\x00\xff\r\n \"";
    for list in [&b"\x00\xff\r\n"[..], &[0xfe; 128]] {
        let add: &[&[u8]] = &[b"RL.DENY", b"ADD", list, value];
        assert_eq!(server.call_bytes(add).int(), 1);
        let has: &[&[u8]] = &[b"RL.DENY", b"HAS", list, value, b"\x00"];
        assert_eq!(server.call_bytes(has).ints(), [1, 0]);
        let hit: &[&[u8]] = &[b"RL.FIXED", b"k", b"5", b"1h", b"DENY", list, b"x", value];
        assert_eq!(server.call_bytes(hit).array()[5].bytes(), value);
        let held: Vec<_> = node::entries(&server, list).into_keys().collect();
        assert_eq!(held, [value.to_vec()]);
    }
}

#[test]
fn entries_lists_all_by_cursor() {
    let server = Server::start();
    let lines: Vec<String> = (0..30)
        .map(|i| {
            let words: Vec<String> = (0..100)
                .map(|j| format!("198.18.{i}.{j} text:{i}:{j}"))
                .collect();
            format!("RL.DENY ADD big {}", words.join(" "))
        })
        .collect();
    for reply in server.bulk(&lines) {
        assert_eq!(reply.int(), 200);
    }
    for count in [1, 10, 100, 10_000] {
        let (mut cursor, mut seen, mut pages) = ("0".to_string(), BTreeSet::new(), 0);
        loop {
            let reply = server.call(&format!("RL.DENY ENTRIES big {cursor} COUNT {count}"));
            let [next, page] = reply.array() else {
                panic!("a cursor and a page: {reply:?}");
            };
            for pair in page.array().chunks(2) {
                assert!(seen.insert(pair[0].text()), "{:?} twice", pair[0]);
                assert_eq!(pair[1].int(), -1);
            }
            pages += 1;
            cursor = next.text();
            if cursor == "0" {
                break;
            }
            assert!(pages <= 7_000, "it ends");
        }
        assert_eq!(seen.len(), 6_000, "COUNT {count}");
        assert!(count < 10_000 || pages == 1);
        assert!(count > 100 || pages > 20, "{pages} pages of about {count}");
    }
    assert_eq!(
        server.call("RL.DENY ENTRIES absent 0").array()[1],
        Reply::Array(Vec::new())
    );
}

#[test]
fn a_ttl_ends_and_the_last_add_decides() {
    let server = Server::start();
    assert_eq!(server.call("RL.DENY ADD l 192.0.2.2 ttl 1h").int(), 1);
    let left = retry(&server, "192.0.2.2");
    assert!((3_500_000..=3_600_000).contains(&left), "{left}");
    assert_eq!(
        server.call("RL.DENY ADD l 192.0.2.1 alice TTL 20ms").int(),
        2
    );
    eventually("it ends", || {
        server.call("RL.DENY HAS l 192.0.2.1 alice").ints() == [0, 0]
    });
    assert_eq!(server.decide_listed("RL.FIXED k 5 1h DENY l alice"), None);
    eventually("and is swept away", || {
        server.call("RL.DENY LIST").field("l").int() == 1
    });

    // A later ADD without a TTL makes it permanent; with one, temporary again.
    assert_eq!(server.call("RL.DENY ADD l 192.0.2.2").int(), 0);
    assert_eq!(retry(&server, "192.0.2.2"), -1);
    assert_eq!(server.call("RL.DENY ADD l 192.0.2.2 TTL 2h").int(), 0);
    let left = retry(&server, "192.0.2.2");
    assert!((7_100_000..=7_200_000).contains(&left), "{left}");
    // Of several entries that cover it, the one that holds longest.
    server.call("RL.DENY ADD l 192.0.2.0/24 TTL 5h");
    assert!(retry(&server, "192.0.2.2") > 17_000_000);
    server.call("RL.DENY ADD l 192.0.0.0/16");
    assert_eq!(retry(&server, "192.0.2.2"), -1);
}

fn retry(server: &Server, value: &str) -> i64 {
    server
        .call(&format!("RL.PEEK FIXED k 5 1h DENY l {value}"))
        .array()[3]
        .int()
}

/// The last element of a decision with a DENY clause.
trait Listed {
    fn decide_listed(&self, line: &str) -> Option<String>;
}

impl Listed for Server {
    fn decide_listed(&self, line: &str) -> Option<String> {
        let reply = self.call(line);
        match reply.array().last().unwrap() {
            Reply::Nil => None,
            listed => Some(listed.text()),
        }
    }
}

#[test]
fn the_clause_denies_before_the_limits_and_charges_nothing() {
    let server = Server::start();
    server.call("RL.DENY ADD bad 192.0.2.0/24 alice");
    for (command, limits) in [
        ("FIXED", "3 30d"),
        ("SLIDING", "3 30d"),
        ("BUCKET", "3 1 3660d"),
    ] {
        let (key, digest) = (format!("k:{command}"), server.digest());
        let listed = server.call(&format!("RL.{command} {key} {limits} DENY bad 192.0.2.9"));
        assert_eq!(
            listed.array()[..5],
            [0, 3, 3, -1, 0].map(Reply::Int),
            "{command}"
        );
        assert_eq!(
            listed.array()[5].text(),
            "192.0.2.9",
            "as the caller wrote it"
        );
        assert_eq!(server.digest(), digest, "{command}: no key came into being");
        // Not in the list: as without the clause, and a nil.
        let hit = format!("RL.{command} {key} {limits}");
        let free = server.call(&format!("{hit} DENY bad 198.51.100.1 bob"));
        assert_eq!(free.array()[..4], [1, 3, 2, 0].map(Reply::Int), "{command}");
        assert_eq!(free.array()[5..], [Reply::Nil]);
        // FORCE and a refund do not get round it.
        let digest = server.digest();
        for option in ["FORCE", "COST -1", "COST 2 FORCE", "COST 0"] {
            let listed = server.call(&format!(
                "{hit} {option} DENY bad bob ::ffff:192.0.2.1 alice"
            ));
            assert_eq!(
                listed.array()[0..4],
                [0, 3, 2, -1].map(Reply::Int),
                "{option}"
            );
            assert_eq!(
                listed.array()[5].text(),
                "::ffff:192.0.2.1",
                "the first that is found"
            );
        }
        assert_eq!(server.digest(), digest);
        // PEEK answers the same.
        let peek = server.call(&format!("RL.PEEK {command} {key} {limits} DENY bad alice"));
        assert_eq!(
            (peek.array()[0].int(), peek.array()[5].text()),
            (0, "alice".to_string())
        );
        let peek = server.call(&format!("RL.PEEK {command} {key} {limits} DENY bad bob"));
        assert_eq!((peek.array()[0].int(), &peek.array()[5]), (1, &Reply::Nil));
        // A full limiter's denial, too, ends with a nil.
        server.decide(&format!("{hit} COST 2"));
        let full = server.call(&format!("{hit} DENY bad bob"));
        assert_eq!(
            (full.array()[0].int(), full.array()[5..].to_vec()),
            (0, vec![Reply::Nil])
        );
    }
}

#[test]
fn with_several_limits_the_value_comes_last() {
    let server = Server::start();
    server.call("RL.DENY ADD bad alice TTL 1h");
    let listed = server.call("RL.SLIDING k 3 30d 5 60d COST 2 DENY bad alice");
    let elements = listed.array();
    assert_eq!(elements.len(), 7);
    assert_eq!(elements[..3], [0, 3, 3].map(Reply::Int));
    assert!(
        (3_500_000..=3_600_000).contains(&elements[3].int()),
        "{listed:?}"
    );
    assert_eq!(elements[5].array().len(), 2);
    assert_eq!(elements[5].array()[1].array()[1..3], [5, 5].map(Reply::Int));
    assert_eq!(elements[6].text(), "alice");
    let free = server.call("RL.SLIDING k 3 30d 5 60d COST 2 DENY bad bob");
    assert_eq!(free.array().len(), 7);
    assert_eq!(
        free.array()[5].array()[1].array()[..3],
        [1, 5, 3].map(Reply::Int)
    );
    assert_eq!(free.array()[6], Reply::Nil);
    // With a policy: its limits are shown.
    server.ok("RL.POLICY SET p SLIDING 4 30d 6 60d 9 90d");
    let listed = server.call("RL.SLIDING k 3 30d POLICY p DENY bad x alice");
    assert_eq!(
        (listed.array()[1].int(), listed.array()[5].array().len()),
        (4, 3)
    );
    assert_eq!(listed.array()[6].text(), "alice");
}

#[test]
fn the_clause_needs_a_list_and_a_value_and_takes_the_rest_of_the_line() {
    let server = Server::start();
    for (line, says) in [
        (
            "RL.FIXED k 5 1h DENY",
            &["argument 5 is missing", "deny list"][..],
        ),
        (
            "RL.FIXED k 5 1h DENY l",
            &["argument 6 is missing", "a value"],
        ),
        (
            "RL.FIXED k 5 1h DENY \"\" x",
            &["argument 5 (deny list)", "from 1 to 128 bytes"],
        ),
        (
            "RL.PEEK FIXED k 5 1h DENY l",
            &["argument 7 is missing", "a value"],
        ),
    ] {
        assert_error(&server.call(line), says);
    }
    assert_eq!(server.call("DBSIZE").int(), 0);
    server.call("RL.DENY ADD l COST FORCE");
    assert_eq!(
        server
            .decide_listed("RL.FIXED k 5 1h DENY l x COST 3")
            .as_deref(),
        Some("COST")
    );
    assert_eq!(
        server.decide_listed("RL.FIXED k 5 1h COST 3 DENY absent COST"),
        None
    );
    // A key of another kind is an error, listed or not.
    server.ok("SET text x");
    let reply = server.call("RL.FIXED text 5 1h DENY l COST");
    assert!(reply.error().starts_with("WRONGTYPE"), "{reply:?}");
}

#[test]
fn a_rename_swaps_a_list_in() {
    let server = Server::start();
    server.call("RL.DENY ADD live 192.0.2.1 192.0.2.2");
    server.call("RL.DENY ADD staging 192.0.2.2 192.0.2.3");
    server.ok("RL.DENY RENAME staging live");
    assert_eq!(
        server
            .call("RL.DENY HAS live 192.0.2.1 192.0.2.2 192.0.2.3")
            .ints(),
        [0, 1, 1]
    );
    assert_eq!(server.call("RL.DENY LIST").texts(), ["live"]);
    server.ok("RL.DENY RENAME live live");
    server.ok("RL.DENY RENAME live other");
    assert_eq!(server.call("RL.DENY LIST").texts(), ["other"]);
}

#[test]
fn the_bounds_are_configurable_and_a_call_past_them_adds_nothing() {
    let server = Server::with(&["ratelimit.deny-lists 2", "ratelimit.deny-entries 4"]);
    server.call("RL.DENY ADD a 192.0.2.1 192.0.2.2 192.0.2.3");
    assert_error(
        &server.call("RL.DENY ADD a 192.0.2.4 192.0.2.5"),
        &["too many entries", "maximum 4"],
    );
    assert_eq!(
        server.call("RL.DENY LIST").field("a").int(),
        3,
        "all or nothing"
    );
    assert_eq!(server.call("RL.DENY ADD b x").int(), 1);
    assert_eq!(
        server.call("RL.DENY ADD a 192.0.2.1 192.0.2.2").int(),
        0,
        "nothing new, no refusal"
    );
    assert_error(&server.call("RL.DENY ADD c y"), &["too many", "maximum"]);
    server.ok("CONFIG SET ratelimit.deny-entries 6 ratelimit.deny-text-bytes 3");
    assert_error(
        &server.call("RL.DENY ADD c y"),
        &["too many deny lists", "maximum 2"],
    );
    assert_error(
        &server.call("RL.DENY ADD b xyz"),
        &["too much text", "maximum 3"],
    );
    assert_eq!(server.call("RL.DENY ADD b yz 192.0.2.1").int(), 2);
    // Room is made by what goes: a dropped list, an entry that has ended.
    assert_eq!(server.call("RL.DENY DROP a").int(), 1);
    assert_eq!(server.call("RL.DENY ADD c 192.0.2.1 TTL 1ms").int(), 1);
    server.ok("CONFIG SET ratelimit.deny-entries 4");
    eventually("room is made", || {
        !server.call("RL.DENY ADD b 192.0.2.9").is_error()
    });
    assert_eq!(values(&server, "b").len(), 4);
    for (setting, refused) in [
        ("deny-lists", "-1"),
        ("deny-lists", "10001"),
        ("deny-entries", "100000001"),
        ("deny-text-bytes", "-5"),
    ] {
        let reply = server.call(&format!("CONFIG SET ratelimit.{setting} {refused}"));
        assert!(reply.is_error(), "{setting} {refused}");
    }
}

/// A replica and a server that starts on its own file take what was accepted under other bounds.
#[test]
fn lower_bounds_elsewhere_lose_no_entry() {
    let lower = [
        "ratelimit.deny-lists 1",
        "ratelimit.deny-entries 1",
        "ratelimit.deny-text-bytes 1",
    ];
    let (primary, replica) = pair(&[], &lower);
    for line in [
        "RL.DENY ADD a 192.0.2.1 192.0.2.2 alice",
        "RL.DENY ADD b bob TTL 30d",
        "RL.DENY RENAME b c",
    ] {
        assert!(!primary.call(line).is_error(), "{line}");
    }
    assert_equal(&primary, &replica);
    for preamble in ["yes", "no"] {
        let preamble = format!("aof-use-rdb-preamble {preamble}");
        let lines = [&lower[..], &["appendonly yes", &preamble]].concat();
        let mut server = Server::with(&lines);
        server.ok("CONFIG SET ratelimit.deny-lists 9 ratelimit.deny-entries 9 ratelimit.deny-text-bytes 99");
        server.call("RL.DENY ADD a 192.0.2.1 192.0.2.2 alice");
        aof::rewrite(&server);
        server.call("RL.DENY ADD b bob");
        let before = Node::of(&server);
        assert_eq!(before.entries.len(), 2);
        crash(&mut server);
        assert_eq!(Node::of(&server), before, "{preamble}");
    }
}

/// A TTL is sent on as the instant at which it ends, so what is read hours later ends when it was to end.
#[test]
fn a_ttl_ends_at_its_time_whoever_holds_it() {
    let (primary, replica) = pair(&["appendonly yes", "appendfsync always"], &[]);
    let mut primary = primary;
    primary.call("RL.DENY ADD l 192.0.2.1 alice TTL 30d");
    assert_equal(&primary, &replica);
    primary.call("RL.DENY ADD l 192.0.2.9 TTL 200ms");
    drop(replica);
    primary.kill();
    std::thread::sleep(Duration::from_millis(250)); // it ends while nobody is there
    primary.start_again().unwrap();
    assert_eq!(
        primary
            .call("RL.DENY HAS l 192.0.2.1 alice 192.0.2.9")
            .ints(),
        [1, 1, 0]
    );
    let left = retry(&primary, "alice");
    assert!(
        (30 * 86_400_000 - 60_000..30 * 86_400_000).contains(&left),
        "{left}"
    );
}

/// A connection that listens to keyspace events; redis-cli's mixes words of its own in between.
struct Listener(UnixStream);

impl Listener {
    fn to(server: &Server) -> Self {
        let mut stream = UnixStream::connect(server.dir().join("socket")).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(b"PSUBSCRIBE __key*__:*\r\n").unwrap();
        let mut listener = Listener(stream);
        listener.read_until("psubscribe");
        listener
    }

    fn read_until(&mut self, end: &str) -> String {
        let mut text = Vec::new();
        let mut byte = [0];
        while !text.ends_with(end.as_bytes()) {
            self.0.read_exact(&mut byte).expect("the server tells more");
            text.push(byte[0]);
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    /// How many `rl.denied` events it heard until now.
    fn denied(&mut self, server: &Server) -> usize {
        server.call("PUBLISH __keyevent@0__:that_is all.of.it");
        self.read_until("all.of.it")
            .matches("__keyevent@0__:rl.denied")
            .count()
    }
}

#[test]
fn a_denied_hit_is_a_keyspace_event_where_one_asks_for_it() {
    let server = Server::start();
    server.call("RL.DENY ADD l alice");
    let mut listener = Listener::to(&server);
    let hits = || {
        for line in [
            "RL.FIXED f 900 30d",                 // allowed
            "RL.FIXED f 0 30d",                   // 1
            "RL.SLIDING s 0 30d",                 // 2
            "RL.BUCKET b 0 1 30d",                // 3
            "RL.FIXED f 0 30d FORCE",             // 4: charged, and over the limit
            "RL.FIXED f 9 30d DENY l bob alice",  // 5
            "RL.FIXED f 900 30d DENY l bob COST", // allowed
            "RL.PEEK FIXED f 0 30d",              // a peek is no hit
            "RL.PEEK FIXED f 9 30d DENY l alice",
            "RL.FIXED f nonsense",
        ] {
            server.call(line);
        }
    };
    hits();
    assert_eq!(listener.denied(&server), 0, "off unless asked for");
    for classes in ["E$", "Eg"] {
        server.ok(&format!("CONFIG SET notify-keyspace-events {classes}"));
        hits();
        assert_eq!(listener.denied(&server), 0, "{classes}");
    }
    server.ok("CONFIG SET notify-keyspace-events Ed");
    hits();
    assert_eq!(listener.denied(&server), 5);
    server.call("EVAL \"return redis.call('RL.FIXED', KEYS[1], 0, '30d')\" 1 f");
    assert_eq!(listener.denied(&server), 1);
    server.ok("CONFIG SET notify-keyspace-events \"\"");
    hits();
    assert_eq!(listener.denied(&server), 0);
}

/// Half a million addresses and ten thousand ranges, as a real list has, in chunks of a thousand.
#[test]
fn a_list_of_the_real_size_takes_little_memory() {
    const ADDRESSES: usize = 500_000;
    const RANGES: usize = 10_000;
    let (primary, replica) = pair(&["slowlog-log-slower-than 0", "slowlog-max-len 1000"], &[]);
    let mut random = Random::new(23);
    let mut addresses = BTreeSet::new();
    while addresses.len() < ADDRESSES {
        addresses.insert(u32::try_from(random.next() >> 32).unwrap());
    }
    let mut ranges = BTreeSet::new();
    while ranges.len() < RANGES {
        let length = u32::try_from(random.within(16..=28)).unwrap();
        let base = u32::try_from(random.next() >> 32).unwrap();
        ranges.insert((base >> (32 - length) << (32 - length), length));
    }
    let dotted = |address: u32| std::net::Ipv4Addr::from(address).to_string();
    let addresses: Vec<String> = addresses.into_iter().map(dotted).collect();
    let ranges: Vec<String> = ranges
        .into_iter()
        .map(|(base, length)| format!("{}/{length}", dotted(base)))
        .collect();
    let add = |values: &[String]| format!("RL.DENY ADD ipsum {}", values.join(" "));
    let memory = || primary.info_number("ratelimit", "ratelimit_memory_bytes");

    let before = memory();
    let lines: Vec<String> = addresses.chunks(1_000).map(add).collect();
    for reply in primary.bulk(&lines) {
        assert_eq!(reply.int(), 1_000);
    }
    let per_address = (memory() - before) as f64 / ADDRESSES as f64;
    assert!(
        (4.0..=32.0).contains(&per_address),
        "{per_address} bytes an address"
    );
    let lines: Vec<String> = ranges.chunks(1_000).map(add).collect();
    for reply in primary.bulk(&lines) {
        assert_eq!(reply.int(), 1_000);
    }
    // A figure to report, not to assert: it depends on the machine.
    let slowlog = primary.call("SLOWLOG GET -1");
    let of = |entry: &Reply| {
        let words = entry.array()[3].texts();
        (
            entry.array()[2].int(),
            words[..words.len().min(2)].join(" "),
        )
    };
    let slowest = slowlog.array().iter().map(of).max().unwrap();
    println!("{per_address:.1} bytes an address; the slowest command in us: {slowest:?}");

    assert_eq!(primary.call("RL.DENY LIST").field("ipsum").int(), 510_000);
    assert_eq!(
        primary.info_number("ratelimit", "ratelimit_deny_entries"),
        510_000
    );
    for value in addresses
        .iter()
        .step_by(5_003)
        .chain(ranges.iter().step_by(503))
    {
        assert_eq!(
            primary.call(&format!("RL.DENY HAS ipsum {value}")).ints(),
            [1],
            "{value}"
        );
    }
    assert!(primary.call("WAIT 1 60000").int() >= 1);
    let expected: BTreeSet<String> = addresses.iter().chain(&ranges).cloned().collect();
    assert!(
        values(&replica, "ipsum") == expected,
        "the replica holds the very same"
    );
    primary.ok("DEBUG RELOAD");
    assert!(values(&primary, "ipsum") == expected, "so does an RDB");
    // Given up, it is freed, little by little.
    assert_eq!(primary.call("RL.DENY DROP ipsum").int(), 1);
    eventually("its memory is given back", || memory() < before + 100_000);
}
