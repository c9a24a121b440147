//! What a client or a broken disk may send to do harm: every input is answered, refused where it makes no sense, and
//! the server goes on, no larger than before.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::mpsc::channel;
use std::thread;

use crate::support::cli::quote;
use crate::support::resp::Connection;
use crate::support::{self, aof, eventually, payload, Random, Reply, Server, DEADLINE};

/// A growth of the server's memory that is noise: buffers, statistics of errors. A leak of a few bytes a call is more.
const NOISE_BYTES: i64 = 150_000;

/// Each command with its arguments, the key second.
const LINES: [&[&str]; 16] = [
    &["RL.FIXED", "k", "5", "30d", "COST", "1", "FORCE"],
    &[
        "RL.FIXED", "k", "5", "30d", "6", "60d", "FORCE", "COST", "-1",
    ],
    &["RL.SLIDING", "k", "5", "30d", "COST", "1", "FORCE"],
    &["RL.SLIDING", "k", "5", "30d", "6", "60d"],
    &["RL.BUCKET", "k", "5", "1", "30d", "COST", "2", "FORCE"],
    &["RL.PEEK", "SLIDING", "k", "5", "30d", "COST", "1"],
    &["RL.INFO", "k"],
    &["RL.APPLY", "k", "payload"],
    &[
        "RL.FIXED",
        "month",
        "5",
        "1mo@15,Europe/Berlin",
        "6",
        "1w@thu",
        "COST",
        "3",
        "MIN",
        "2",
    ],
    &[
        "RL.SLIDING",
        "settled",
        "5",
        "30d",
        "AT",
        "1700000000000",
        "STAMP",
        "BLOCK",
        "1s",
        "2s",
    ],
    &["RL.BUCKET", "turns", "5", "1", "30d", "RESERVE", "1h"],
    &["RL.LEASE", "held", "5", "30d", "id", "COST", "1"],
    &["RL.RELEASE", "held", "id", "id2"],
    &["RL.BLOCK", "shut", "30d"],
    &[
        "RL.ALL", "2", "a", "b", "SLIDING", "5", "30d", "FIXED", "5", "30d", "COST", "2", "FORCE",
        "AT", "5", "STAMP",
    ],
    &[
        "RL.PEEKALL",
        "2",
        "a",
        "c",
        "SLIDING",
        "5",
        "30d",
        "LEASE",
        "5",
        "30d",
        "id",
    ],
];

fn strange_values() -> Vec<Vec<u8>> {
    let mut values: Vec<Vec<u8>> = [
        "",
        " ",
        "\0",
        "\r\n",
        "-",
        "+",
        "0",
        "-0",
        "00",
        "-1",
        "1e3",
        "1.0",
        "nan",
        "inf",
        "0x1f",
        "٣",
        "5\0",
        " 5",
        "5 ",
        "9223372036854775807",
        "-9223372036854775808",
        "9223372036854775808",
        "-9223372036854775809",
        "18446744073709551615",
        "18446744073709551616",
        "9007199254740991",
        "9007199254740992",
        "-9007199254740991",
        "-9007199254740992",
        "4294967296",
        "2147483648",
        "9223372036854775807ms",
        "9223372036854775807w",
        "18446744073709551616ms",
        "316224000000ms",
        "316224000001ms",
        "1ms",
        "3660d",
        "-1ms",
        "0ms",
        "ms",
        "d",
        "5 30d",
        "COST",
        "FORCE",
        "POLICY",
        "DENY",
        "FIXED",
        "RL.FIXED",
        "%s%n%d",
        "$5",
        "*1",
        "{",
        "{}",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    values.extend([
        b"\xff".to_vec(),
        b"\xff\xfe\x00\x80".to_vec(),
        b"\xc3\x28".to_vec(),
        b"COST\xff".to_vec(),
        b"30\xffd".to_vec(),
    ]);
    values.push(vec![b'9'; 5_000]);
    values.push(vec![b'a'; 100_000]);
    values.push((0..=255).collect());
    values
}

/// A refusal or a decision (or what RL.INFO and RL.APPLY answer), never anything else.
fn assert_answered(line: &str, reply: &Reply) {
    let shown: String = line.chars().take(400).collect();
    match reply {
        Reply::Error(text) => assert!(
            text.starts_with("ERR ") || text.starts_with("WRONGTYPE "),
            "{shown}: {text}"
        ),
        Reply::Array(elements) => {
            let five: Vec<i64> = elements[..5].iter().map(Reply::int).collect();
            assert!(matches!(five[0], 0 | 1), "{shown}: {five:?}");
            assert!((0..=five[1]).contains(&five[2]), "{shown}: {five:?}");
            assert!(five[3] >= -1 && five[4] >= 0, "{shown}: {five:?}");
            assert!(five[0] == 1 || five[3] != 0, "{shown}: {five:?}");
        }
        // How many were released, or what is left of a block: 3660 days at the most.
        Reply::Int(count) => assert!((0..=316_224_000_000).contains(count), "{shown}: {count}"),
        Reply::Nil | Reply::Map(_) | Reply::Text(_) => {}
        other => panic!("{shown}: {other:?}"),
    }
}

/// Sends every line with a PING behind it, and demands an answer to both.
fn assert_survives(server: &Server, lines: &[String]) {
    let with_pings: Vec<String> = lines
        .iter()
        .flat_map(|line| [line.clone(), "PING".to_string()])
        .collect();
    let replies = server.bulk(&with_pings);
    for (line, pair) in lines.iter().zip(replies.chunks_exact(2)) {
        assert_answered(line, &pair[0]);
        assert_eq!(
            pair[1].text(),
            "PONG",
            "after {}",
            line.chars().take(400).collect::<String>()
        );
    }
}

/// Runs `round` once to fill what fills once, then again: the second time the memory must not have grown.
fn assert_no_growth(server: &Server, mut round: impl FnMut()) {
    let used = || {
        server.ok("FLUSHALL SYNC");
        server.info_number("memory", "used_memory")
    };
    round();
    let before = used();
    round();
    let after = used();
    assert!(
        after < before + NOISE_BYTES,
        "memory grew from {before} to {after}"
    );
}

fn line_of(arguments: &[Vec<u8>]) -> String {
    let quoted: Vec<String> = arguments.iter().map(|argument| quote(argument)).collect();
    quoted.join(" ")
}

#[test]
fn strange_values_in_every_place() {
    let server = Server::start();
    let mut lines = Vec::new();
    for line in LINES {
        for place in 1..line.len() {
            for value in strange_values() {
                let mut arguments: Vec<Vec<u8>> =
                    line.iter().map(|word| word.as_bytes().to_vec()).collect();
                arguments[place] = value;
                lines.push(line_of(&arguments));
            }
        }
    }
    assert_no_growth(&server, || assert_survives(&server, &lines));
}

#[test]
fn keys_of_any_bytes_are_limited_like_any_other() {
    let server = Server::start();
    let mut keys = strange_values();
    keys.retain(|key| !key.is_empty());
    keys.push(Vec::new());
    for key in keys {
        for left in [1, 0] {
            let hit = server
                .call_bytes(&[b"RL.SLIDING", &key, b"2", b"30d"])
                .decision();
            assert_eq!((hit.allowed, hit.remaining), (true, left));
        }
        assert!(
            !server
                .call_bytes(&[b"RL.SLIDING", &key, b"2", b"30d"])
                .decision()
                .allowed
        );
        assert_eq!(
            server
                .call_bytes(&[b"RL.INFO", &key])
                .field("algorithm")
                .text(),
            "sliding"
        );
        assert_eq!(server.call_bytes(&[b"DEL", &key]).int(), 1);
    }
}

#[test]
fn random_words_in_random_order() {
    let server = Server::start();
    let mut random = Random::new(15);
    let words = [
        "5",
        "30d",
        "60d",
        "1",
        "0",
        "-5",
        "20",
        "COST",
        "cost",
        "FORCE",
        "FIXED",
        "SLIDING",
        "BUCKET",
        "1ms",
        "9007199254740991",
        "9007199254740992",
        "-9223372036854775808",
        "9223372036854775807",
        "",
        "\0",
        "POLICY",
        "DENY",
        "60",
        "AT",
        "STAMP",
        "MIN",
        "BLOCK",
        "RESERVE",
        "LEASE",
        "1mo",
        "1d@Europe/Berlin",
    ];
    let commands = [
        "RL.FIXED",
        "RL.SLIDING",
        "RL.BUCKET",
        "RL.LEASE",
        "RL.ALL",
        "RL.PEEKALL",
        "RL.PEEK",
        "RL.INFO",
        "RL.APPLY",
    ];
    let mut lines = Vec::new();
    for _ in 0..15_000 {
        let command = *random.pick(&commands);
        let mut arguments = vec![command.as_bytes().to_vec()];
        if command == "RL.PEEK" {
            arguments.push(
                random
                    .pick(&["FIXED", "SLIDING", "BUCKET", "LEASE"])
                    .as_bytes()
                    .to_vec(),
            );
        }
        if command.ends_with("ALL") {
            arguments.push(b"2".to_vec());
            arguments.push(b"k:other".to_vec());
        }
        arguments.push(format!("k:{}", random.below(9)).into_bytes());
        for _ in 0..random.below(12) {
            let mut word = random.pick(&words).as_bytes().to_vec();
            if random.one_in(20) && !word.is_empty() {
                let place = random.below(word.len());
                word[place] = random.byte();
            }
            arguments.push(word);
        }
        lines.push(line_of(&arguments));
    }
    assert_no_growth(&server, || assert_survives(&server, &lines));
}

#[test]
fn ten_thousand_arguments() {
    let server = Server::start();
    let many = |unit: &str| vec![unit; 10_000 / unit.split(' ').count()].join(" ");
    let lines = [
        format!("RL.FIXED k {}", many("5 30d")),
        format!("RL.SLIDING k {}", many("5 30d")),
        format!("RL.BUCKET k {}", many("5 1 30d")),
        format!("RL.FIXED k 5 30d {}", many("COST 1")),
        format!("RL.FIXED k 5 30d {}", many("FORCE")),
        format!("RL.PEEK FIXED k {}", many("5 30d")),
        format!("RL.PEEK BUCKET k {}", many("x")),
        format!("RL.INFO {}", many("k")),
        format!("RL.APPLY {}", many("k")),
        format!("RL.FIXED {}", many("\"\"")),
        format!("RL.FIXED k 5 30d DENY l {}", many("v")),
    ];
    for line in &lines[..10] {
        assert!(
            server.call(line).is_error(),
            "{}",
            line.chars().take(40).collect::<String>()
        );
    }
    assert_no_growth(&server, || assert_survives(&server, &lines));
    assert_eq!(server.call("EXISTS k").int(), 0);
}

/// Usage can be forced up to the largest number that is counted and no further; what would go past it is refused whole.
#[test]
fn usage_does_not_overflow() {
    let server = Server::start();
    let most = 9_007_199_254_740_991_i64;
    for (algorithm, limits) in [
        ("FIXED", "5 30d"),
        ("SLIDING", "5 30d"),
        ("BUCKET", "5 1 30d"),
    ] {
        let force = |cost: i64| {
            server.call(&format!(
                "RL.{algorithm} {algorithm} {limits} COST {cost} FORCE"
            ))
        };
        assert!(!force(most).decision().allowed);
        let state = server.digest_value(algorithm);
        for cost in [most, most / 2, 5] {
            assert!(
                force(cost).error().starts_with("ERR "),
                "{algorithm} {cost}"
            );
            assert_eq!(server.digest_value(algorithm), state);
        }
        let wait = server.decide(&format!("RL.PEEK {algorithm} {algorithm} {limits}"));
        assert!(
            wait.retry_after_ms > 0 && wait.reset_after_ms > 0,
            "{wait:?}"
        );
        let freed = server.decide(&format!("RL.{algorithm} {algorithm} {limits} COST -{most}"));
        assert_eq!(freed.remaining, 5);
    }
}

#[test]
fn the_longest_waits_are_numbers() {
    let server = Server::start();
    // 2^53 - 1 tokens, one every ten years.
    let hit = server.decide("RL.BUCKET k 9007199254740991 1 3660d COST 9007199254740991");
    assert!(hit.allowed && hit.reset_after_ms > 0);
    let denied = server.decide("RL.BUCKET k 9007199254740991 1 3660d COST 9007199254740991");
    assert!(!denied.allowed && denied.retry_after_ms > 0);
    assert!(server.call("PTTL k").int() > 0);
    // The fastest bucket there is.
    let fast =
        server.decide("RL.BUCKET fast 9007199254740991 9007199254740991 1ms COST 9007199254740991");
    assert!(fast.allowed && fast.reset_after_ms <= 1);
}

/// The dumps of limiters of every kind, short and long.
fn dumps(server: &Server) -> Vec<Vec<u8>> {
    for line in [
        "RL.FIXED f 5 30d",
        "RL.FIXED f8 1 1d 2 2d 3 3d 4 4d 5 5d 6 6d 7 7d 9007199254740991 3660d COST 3 FORCE",
        "RL.SLIDING s 5 30d",
        "RL.SLIDING s2 5000 30d 9007199254740991 3660d",
        "RL.BUCKET b 5 1 30d",
        "RL.BUCKET b3 5 1 30d 9007199254740991 1 3660d 7 9007199254740991 1ms",
    ] {
        server.decide(line);
    }
    for _ in 0..300 {
        server.decide("RL.SLIDING s2 5000 30d 9007199254740991 3660d COST 2");
    }
    ["f", "f8", "s", "s2", "b", "b3"]
        .iter()
        .map(|key| server.call(&format!("DUMP {key}")).bytes().to_vec())
        .collect()
}

/// Changes a few bytes of `bytes` from `start` on: another value, one bit, an insertion, a removal, a cut.
fn mutate(random: &mut Random, bytes: &[u8], start: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..1 + random.below(3) {
        if bytes.len() <= start {
            break;
        }
        let place = start + random.below(bytes.len() - start);
        match random.below(8) {
            0 => bytes[place] = 0xff,
            1 => bytes[place] = 0,
            2 => bytes[place] = random.byte(),
            3 => bytes.insert(place, random.byte()),
            4 => {
                bytes.remove(place);
            }
            5 => bytes.truncate(place),
            _ => bytes[place] ^= 1 << random.below(8),
        }
    }
    bytes
}

/// What was restored, if anything was, is used, measured, written and freed without harm.
fn uses_of(key: &str) -> Vec<String> {
    [
        "RL.FIXED {} 5 30d FORCE",
        "RL.SLIDING {} 5 30d 6 60d COST 3",
        "RL.SLIDING {} 5000 30d 9007199254740991 3660d COST -1",
        "RL.BUCKET {} 5 1 30d COST 2",
        "RL.PEEK FIXED {} 5 30d",
        "RL.INFO {}",
    ]
    .iter()
    .map(|line| line.replace("{}", key))
    .collect()
}

/// The first bytes of a DUMP are the type and the module's id (9 bytes, a 64-bit length): the server's own. What
/// follows is the module's.
const MODULE_VALUE_STARTS: usize = 10;

#[test]
fn mutated_dumps_are_refused_or_harmless() {
    let server = Server::start();
    let dumps = dumps(&server);
    let mut random = Random::new(16);
    let mut payloads = Vec::new();
    for dump in &dumps {
        for _ in 0..2_000 {
            let value = mutate(&mut random, payload::value(dump), MODULE_VALUE_STARTS);
            payloads.push(payload::with_value(dump, &value));
        }
    }
    let mut accepted = 0;
    assert_no_growth(&server, || {
        let mut lines = Vec::new();
        for payload in &payloads {
            lines.push(format!("RESTORE m 0 {} REPLACE", quote(payload)));
            lines.extend(uses_of("m"));
            lines.extend(
                [
                    "MEMORY USAGE m",
                    "DUMP m",
                    "DEBUG DIGEST-VALUE m",
                    "COPY m n",
                    "UNLINK m n",
                    "PING",
                ]
                .map(str::to_string),
            );
        }
        let replies = server.bulk(&lines);
        accepted = 0;
        for (payload, replies) in payloads.iter().zip(replies.chunks_exact(13)) {
            match &replies[0] {
                Reply::Text(ok) => {
                    assert_eq!(ok, b"OK");
                    accepted += 1;
                }
                Reply::Error(text) => assert!(text.contains("Bad data format"), "{text}"),
                other => panic!("{other:?}"),
            }
            for (line, reply) in uses_of("m").iter().zip(&replies[1..]) {
                assert_answered(line, reply);
            }
            assert_eq!(replies[12].text(), "PONG", "after {payload:02x?}");
        }
    });
    assert!(accepted > 0, "some mutations are other valid states");
    assert!(
        accepted < payloads.len() / 2,
        "most are refused: {accepted} of {} were not",
        payloads.len()
    );
    // What was accepted must also be kept and read again, but for what has expired.
    let lines: Vec<String> = payloads
        .iter()
        .enumerate()
        .map(|(i, payload)| format!("RESTORE m:{i} 0 {}", quote(payload)))
        .collect();
    server.bulk(&lines);
    let digests = |keys: &[String]| -> Vec<String> {
        keys.iter().map(|key| server.digest_value(key)).collect()
    };
    let keys = server.call("KEYS *").texts();
    let before = digests(&keys);
    server.ok("DEBUG RELOAD");
    let after = digests(&keys);
    let mut kept = 0;
    for ((key, before), after) in keys.iter().zip(before).zip(after) {
        if server.call(&format!("EXISTS {key}")).int() == 1 {
            kept += 1;
            assert_eq!(before, after, "{key}");
        }
    }
    assert!(kept > 100, "{kept} of {}", keys.len());
}

#[test]
fn dumps_cut_at_every_byte_are_refused() {
    let server = Server::start();
    for dump in dumps(&server) {
        let value = payload::value(&dump);
        // Redis reads on into the version that follows the value, whose second byte looks like a value's end: two bytes
        // less are another value, which may well make sense.
        for length in (1..value.len()).filter(|length| *length != value.len() - 2) {
            let cut = payload::with_value(&dump, &value[..length]);
            let reply = server.call_bytes(&[b"RESTORE", b"cut", b"0", &cut]);
            assert!(
                reply.is_error(),
                "cut at {length} of {}: {reply:?}",
                value.len()
            );
        }
        let whole = payload::with_value(&dump, value);
        assert_eq!(whole, dump, "the CRC is the server's");
    }
    assert_eq!(server.call("EXISTS cut").int(), 0);
    assert_eq!(server.call("PING").text(), "PONG");
}

#[test]
fn mutated_effects_are_refused_or_harmless() {
    let server = Server::with(&["appendonly yes"]);
    dumps(&server);
    server.ok("CONFIG SET aof-use-rdb-preamble no");
    let mut effects = aof::commands(&server);
    // The rewritten file has the other form: whole states.
    aof::rewrite(&server);
    effects.extend(aof::base_commands(&server));
    server.ok("CONFIG SET appendonly no");
    effects.retain(|words| words[0].eq_ignore_ascii_case(b"RL.APPLY"));
    assert!(effects.len() > 300, "{}", effects.len());
    let mut random = Random::new(17);
    let payloads: Vec<Vec<u8>> = (0..12_000)
        .map(|_| {
            let effect = random.pick(&effects);
            mutate(&mut random, &effect[2], 0)
        })
        .collect();
    assert_no_growth(&server, || {
        let mut lines = Vec::new();
        for payload in &payloads {
            lines.push(format!("RL.APPLY m {}", quote(payload)));
            lines.extend(uses_of("m"));
            lines.push("PTTL m".to_string());
            // Half of them meet the state that others left.
            lines.push(
                if payload.len() % 2 == 0 {
                    "DEL m"
                } else {
                    "PING"
                }
                .to_string(),
            );
        }
        let replies = server.bulk(&lines);
        for (payload, replies) in payloads.iter().zip(replies.chunks_exact(9)) {
            assert_answered("RL.APPLY", &replies[0]);
            for (line, reply) in uses_of("m").iter().zip(&replies[1..]) {
                assert_answered(line, reply);
            }
            assert_ne!(
                replies[7].int(),
                -1,
                "a key without a TTL after {payload:02x?}"
            );
        }
        assert_eq!(server.call("PING").text(), "PONG");
    });
}

/// The internal command validates whoever sends it: also what it is sent for.
#[test]
fn effects_do_not_touch_other_types() {
    let server = Server::with(&["appendonly yes", "appendfsync always"]);
    server.decide("RL.FIXED f 5 30d");
    let effect = aof::commands(&server).pop().unwrap();
    server.ok("SET string v");
    let reply = server.call_bytes(&[b"RL.APPLY", b"string", &effect[2]]);
    assert!(reply.error().starts_with("WRONGTYPE "), "{reply:?}");
    assert_eq!(server.call("GET string").text(), "v");
    for payload in ["", "\0", "x"] {
        let reply = server.call_bytes(&[b"RL.APPLY", b"f", payload.as_bytes()]);
        assert!(reply.error().starts_with("ERR "), "{reply:?}");
    }
    assert_eq!(server.decide("RL.PEEK FIXED f 5 30d COST 0").remaining, 4);
}

/// A server that finds a damaged file does not start, as with Redis's own types; it never crashes.
#[test]
fn an_rdb_cut_at_every_byte_is_refused() {
    let mut server = Server::with(&["rdbchecksum no", "rdbcompression no"]);
    for line in [
        "RL.FIXED f 5 30d",
        "RL.SLIDING s 5 30d COST 2",
        "RL.BUCKET b 5 1 30d 6 2 60d",
    ] {
        server.decide(line);
    }
    server.ok("SAVE");
    let digest = server.digest();
    server.kill();
    let path = server.dir().join("dump.rdb");
    let whole = std::fs::read(&path).unwrap();
    // From the first byte after the header that every file has.
    for length in 9..whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        assert!(
            !server.starts_on_damaged_rdb(),
            "the server started on {length} of {} bytes",
            whole.len()
        );
    }
    std::fs::write(&path, &whole).unwrap();
    server.start_again().unwrap();
    assert_eq!(server.digest(), digest);
}

#[test]
fn an_rdb_with_mutated_values_is_refused_or_harmless() {
    let mut server = Server::with(&["rdbchecksum no", "rdbcompression no"]);
    let values: Vec<Vec<u8>> = dumps(&server)
        .iter()
        .map(|dump| payload::value(dump)[MODULE_VALUE_STARTS..].to_vec())
        .collect();
    server.ok("SAVE");
    server.kill();
    let path = server.dir().join("dump.rdb");
    let whole = std::fs::read(&path).unwrap();
    let mut random = Random::new(18);
    let (mut started, mut refused) = (0, 0);
    for _ in 0..120 {
        let value = random.pick(&values);
        let at = whole
            .windows(value.len())
            .position(|bytes| bytes == value)
            .expect("the dumped value is in the file");
        let mutated = mutate(&mut random, value, 0);
        let file = [&whole[..at], &mutated, &whole[at + value.len()..]].concat();
        std::fs::write(&path, file).unwrap();
        if server.starts_on_damaged_rdb() {
            started += 1;
            for key in ["f", "f8", "s", "s2", "b", "b3"] {
                assert_survives(&server, &uses_of(key));
            }
            server.kill();
        } else {
            refused += 1;
        }
    }
    assert!(refused > 0, "{started} started, {refused} refused");
    std::fs::write(&path, &whole).unwrap();
    server.start_again().unwrap();
}

/// A charge of 1 to a fixed window, as `RL.APPLY` takes it: see `tests/golden/fixed-charge.hex`.
const CHARGE: &[u8] = b"\x01\x01\x00\xfb\xd0\x95\xff\xbc\x31\x02\x08\x01\x64\x80\xdd\xdb\x01";

/// Calls that are wrong, each in its own way, whatever [`write_for`] puts in the place of the angle brackets. Keys, the
/// policy and the list are those that [`a_million_malformed_calls_cost_no_memory_and_no_other_client_an_answer`] makes.
const MALFORMED: &[&str] = &[
    // Too few words or too many, and names of nothing.
    "RL.FIXED",
    "RL.FIXED <key>",
    "RL.FIXED <key> 5",
    "RL.SLIDING <key> 5",
    "RL.BUCKET <key> 5 1",
    "RL.PEEK",
    "RL.PEEK FIXED <key> 5",
    "RL.INFO",
    "RL.INFO <key> <key>",
    "RL.APPLY <key>",
    "RL.APPLY <key> <junk> <junk>",
    "RL.NODE",
    "RL.NODE <junk> <junk>",
    "RL.POLICY",
    "RL.POLICY <junk>",
    "RL.POLICY SET policy FIXED 5",
    "RL.POLICY SHADOW policy",
    "RL.POLICY SHADOW policy FIXED 5",
    "RL.POLICY SHADOW policy LEASE 5 1m",
    "RL.POLICY GET",
    "RL.POLICY DEL",
    "RL.POLICY LIST <key>",
    "RL.POLICY SCAN",
    "RL.DENY",
    "RL.DENY <junk> list",
    "RL.DENY ADD list",
    "RL.DENY DEL list",
    "RL.DENY HAS list",
    "RL.DENY ENTRIES list",
    "RL.DENY RENAME list",
    "RL.DENY DROP",
    "RL.DENY DROP list <key>",
    "RL.DENY LIST <key>",
    "RL.STATS RESET <key> <key>",
    "RL.STATS GET <key> <key>",
    "RL.STATS <junk> <key>",
    "RL.AUDIT <junk>",
    "RL.AUDIT COUNT <number>",
    "RL.<junk> <key> 5 1m",
    // Numbers.
    "RL.FIXED <key> <number> 1m",
    "RL.FIXED <key> -1 1m",
    "RL.FIXED <key> 9007199254740992 1m",
    "RL.SLIDING <key> <number> 1m",
    "RL.SLIDING <key> 5 1m <number> 2m",
    "RL.SLIDING <key> 5 1m COST <number>",
    "RL.BUCKET <key> <number> 1 1m",
    "RL.BUCKET <key> 5 <number> 1m",
    "RL.BUCKET <key> 5 0 1m",
    "RL.BUCKET <key> 5 1 1m COST 9007199254740992",
    "RL.PEEK FIXED <key> <number> 1m",
    "RL.POLICY SET policy FIXED <number> 1m",
    "RL.POLICY SET policy BUCKET 5 1m",
    "RL.DENY ENTRIES list <number>",
    "RL.DENY ENTRIES list -1",
    "RL.DENY ENTRIES list 0 COUNT <number>",
    "RL.DENY ENTRIES list 0 COUNT 10001",
    // Durations.
    "RL.FIXED <key> 5 <time>",
    "RL.SLIDING <key> 5 1m 6 <time>",
    "RL.BUCKET <key> 5 1 <time>",
    "RL.PEEK BUCKET <key> 5 1 <time>",
    "RL.POLICY SET policy SLIDING 5 <time>",
    "RL.DENY ADD list <key> TTL <time>",
    "RL.DENY ADD list <key> TTL",
    "RL.DENY ADD list TTL 1m",
    // Options and what is in them.
    "RL.FIXED <key> 5 1m <junk>",
    "RL.FIXED <key> 5 1m COST",
    "RL.FIXED <key> 5 1m COST 1 COST 1",
    "RL.SLIDING <key> 5 1m FORCE FORCE",
    "RL.SLIDING <key> 5 1m 6 60s",
    "RL.SLIDING <key> 1 1s 2 2s 3 3s 4 4s 5 5s 6 6s 7 7s 8 8s 9 9s",
    "RL.BUCKET <key> 5 1 1m FORCE POLICY",
    "RL.PEEK <junk> <key> 5 1m",
    "RL.PEEK SLIDING <key> 5 1m FORCE",
    "RL.FIXED <key> 5 1m POLICY <long>",
    "RL.FIXED <key> 5 1m DENY",
    "RL.FIXED <key> 5 1m DENY list",
    "RL.FIXED <key> 5 1m DENY <long> 192.0.2.1",
    "RL.FIXED <key> 5 1m AT <number>",
    "RL.FIXED <key> 5 1m STAMP STAMP",
    "RL.FIXED <key> 5 1d@<junk>",
    "RL.SLIDING <key> 5 1m COST 5 MIN <number>",
    "RL.SLIDING <key> 5 1m COST 5 MIN 6",
    "RL.SLIDING <key> 5 1m RESERVE 1s",
    "RL.SLIDING <key> 5 1m BLOCK",
    "RL.SLIDING <key> 5 1m BLOCK 1s <time>",
    "RL.BUCKET <key> 5 1 1m RESERVE <time>",
    "RL.BUCKET <key> 5 1 1m RESERVE 1s FORCE",
    "RL.PEEK BUCKET <key> 5 1 1m STAMP",
    // Leases, and several keys.
    "RL.LEASE <key> <number> 1m id",
    "RL.LEASE <key> 5 <time> id",
    "RL.LEASE <key> 5 1m <long>",
    "RL.LEASE <key> 5 1m id COST -1",
    "RL.LEASE <key> 5 1m id <junk>",
    "RL.LEASE fixed 5 1m id",
    "RL.RELEASE <key> <long>",
    "RL.BLOCK <key> <time>",
    "RL.BLOCK <key> <number>",
    "RL.BLOCK <key> 1m <junk>",
    "RL.RELEASE sliding id",
    "RL.ALL <number> <key> other FIXED 5 1m FIXED 5 1m",
    "RL.ALL 17 <key> other FIXED 5 1m FIXED 5 1m",
    "RL.ALL 2 <key> other FIXED 5 1m <junk>",
    "RL.ALL 2 <key> other FIXED 5 1m FIXED 5 <time>",
    "RL.ALL 2 <key> string FIXED 5 1m FIXED 5 1m",
    "RL.ALL 2 fixed <key> SLIDING 5 1m FIXED 5 1m",
    "RL.ALL 2 fixed fixed FIXED 5 3660d FIXED 5 3660d",
    "RL.ALL 1 <key> FIXED 5 1m FORCE COST 1",
    "RL.PEEKALL 1 <key> FIXED 5 1m FORCE",
    "RL.PEEKALL 2 fixed <key> FIXED 5 3660d <junk> 5 1m",
    // Policies and deny lists.
    "RL.POLICY SET policy <junk> 5 1m",
    "RL.POLICY SET policy FIXED 5 1m COST 1",
    "RL.POLICY SET <long> FIXED 5 1m",
    "RL.DENY ADD <long> 192.0.2.2",
    "RL.DENY ADD list 192.0.2.2 300.1.1.1",
    "RL.DENY ADD list <key> 10.0.0.1/8",
    "RL.DENY RENAME nobody other",
    "RL.DENY RENAME list <long>",
    // What keys do not hold.
    "RL.FIXED string 5 1m",
    "RL.SLIDING fixed 5 1m",
    "RL.BUCKET sliding 5 1 1m",
    "RL.FIXED bucket 5 1m",
    "RL.PEEK FIXED string 5 1m",
    "RL.PEEK SLIDING bucket 5 1m",
    "RL.INFO string",
    "RL.APPLY string <charge>",
    "RL.APPLY sliding <charge>",
    // What the server and its replicas say to each other.
    "RL.APPLY <key> <junk>",
    "RL.APPLY fixed <cut>",
    "RL.NODE <junk>",
    "RL.NODE P<junk>",
    "RL.NODE A<junk>",
    "RL.NODE R<junk>",
    "RL.NODE S<junk>",
];

/// Appends something that is what the angle brackets say.
fn write_for(name: &str, random: &mut Random, out: &mut Vec<u8>) {
    const NUMBERS: [&str; 13] = [
        "",
        "x",
        "1.5",
        "1e3",
        " 5",
        "5 ",
        "05",
        "-0",
        "+5",
        "0x1f",
        "nan",
        "٣",
        "99999999999999999999",
    ];
    const TIMES: [&str; 12] = [
        "",
        "60",
        "0s",
        "-1s",
        "1.5s",
        "m",
        "1 m",
        "2y",
        "2mo",
        "1M@15",
        "3661d",
        "99999999999999999999ms",
    ];
    match name {
        "key" => write_bytes(random, 24, out),
        "junk" => {
            // No word and no payload starts so.
            out.push(0xff);
            write_bytes(random, 40, out);
        }
        "number" => out.extend_from_slice(random.pick(&NUMBERS).as_bytes()),
        "time" => out.extend_from_slice(random.pick(&TIMES).as_bytes()),
        "long" => out.resize(out.len() + 129 + random.below(300), b'n'),
        "charge" => out.extend_from_slice(CHARGE),
        "cut" => {
            // Of any length but its own: the one byte that may be too many is the first of a next charge.
            let length = random.below(CHARGE.len() + 1);
            let length = length + usize::from(length == CHARGE.len());
            out.extend(CHARGE.iter().cycle().take(length));
        }
        other => panic!("nothing is {other}"),
    }
}

/// Appends less than `most` bytes, any.
fn write_bytes(random: &mut Random, most: usize, out: &mut Vec<u8>) {
    out.extend((0..random.below(most)).map(|_| random.byte()));
}

/// Appends one of [`MALFORMED`], as the protocol has it.
fn write_malformed(random: &mut Random, out: &mut Vec<u8>) {
    let line = random.pick(MALFORMED);
    let mut word = Vec::new();
    write!(out, "*{}\r\n", line.split(' ').count()).unwrap();
    for part in line.split(' ') {
        word.clear();
        match part.strip_suffix('>').and_then(|part| part.split_once('<')) {
            None => word.extend_from_slice(part.as_bytes()),
            Some((start, name)) => {
                word.extend_from_slice(start.as_bytes());
                write_for(name, random, &mut word);
            }
        }
        write!(out, "${}\r\n", word.len()).unwrap();
        out.extend_from_slice(&word);
        out.extend_from_slice(b"\r\n");
    }
}

/// Sends `count` malformed calls on one connection and demands an error for each, while `hit` goes on and on.
///
/// A portion is sent once the one before the last is answered, so that few answers wait in the server, and once one more
/// hit is, so that none of these waits for the end of the flood.
fn flood(server: &Server, count: usize, mut hit: impl FnMut()) {
    const SEED: u64 = 19;
    const PORTION: usize = 10_000;
    let mut stream = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut answers = BufReader::new(stream.try_clone().unwrap());
    thread::scope(|scope| {
        let (portion_answered, portions) = channel();
        let (hit_answered, hits) = channel();
        scope.spawn(move || {
            let mut random = Random::new(SEED);
            for portion in 0..count / PORTION {
                if portion >= 2 {
                    portions.recv().expect("a portion is answered");
                }
                hits.try_iter().for_each(drop);
                hits.recv().expect("another client is answered");
                let mut calls = Vec::new();
                for _ in 0..PORTION {
                    write_malformed(&mut random, &mut calls);
                }
                stream.write_all(&calls).unwrap();
            }
            stream.write_all(b"PING\r\n").unwrap();
        });
        let answered = scope.spawn(move || {
            let mut line = Vec::new();
            for place in 0..count {
                line.clear();
                answers.read_until(b'\n', &mut line).unwrap();
                assert!(
                    line.starts_with(b"-ERR ") || line.starts_with(b"-WRONGTYPE "),
                    "call {place}, {:?}: {:?}",
                    malformed(SEED, place),
                    String::from_utf8_lossy(&line)
                );
                if (place + 1) % PORTION == 0 {
                    let _ = portion_answered.send(()); // nobody waits for the last ones
                }
            }
            line.clear();
            answers.read_until(b'\n', &mut line).unwrap();
            assert_eq!(line, b"+PONG\r\n", "one answer each");
        });
        while !answered.is_finished() {
            hit();
            let _ = hit_answered.send(());
        }
    });
}

/// The malformed call at `place` of those that a seed makes.
fn malformed(seed: u64, place: usize) -> String {
    let mut random = Random::new(seed);
    let mut call = Vec::new();
    for _ in 0..=place {
        call.clear();
        write_malformed(&mut random, &mut call);
    }
    call.escape_ascii().to_string()
}

#[test]
fn a_million_malformed_calls_cost_no_memory_and_no_other_client_an_answer() {
    const LIMIT: i64 = 1_000_000_000;
    /// What the buffers of the connections that stay may come to.
    const BUFFERS_BYTES: i64 = 65_536;
    // A log of slow calls would keep what was sent.
    let server = Server::with(&["slowlog-log-slower-than -1"]);
    server.ok("SET string value");
    server.decide("RL.FIXED fixed 5 3660d");
    server.decide("RL.SLIDING sliding 5 3660d");
    server.decide("RL.BUCKET bucket 5 1 3660d");
    server.ok("RL.POLICY SET policy FIXED 5 3660d");
    server.call("RL.DENY ADD list 192.0.2.1");
    let accepted = server.call_bytes(&[b"RL.APPLY", b"other", CHARGE]);
    assert_eq!(accepted.text(), "OK", "it is a charge, until it is cut");
    server.call("DEL other");

    let mut client = Connection::open(server.port()).unwrap();
    let mut hits = 0;
    let mut hit = || {
        hits += 1;
        let answer = client.call(&format!("RL.FIXED hits {LIMIT} 3660d"));
        let hit = answer.unwrap().decision();
        assert_eq!((hit.allowed, hit.remaining), (true, LIMIT - hits));
    };
    let state = || {
        let node = ["RL.POLICY LIST", "RL.DENY LIST", "DBSIZE"].map(|line| server.call(line));
        let keys = ["string", "fixed", "sliding", "bucket"].map(|key| server.digest_value(key));
        (node, keys)
    };
    let clients = || server.info_number("clients", "connected_clients");
    let used = || server.info_number("memory", "used_memory");

    hit();
    let (state_before, clients_before) = (state(), clients());
    let mut flood = |calls| {
        flood(&server, calls, &mut hit);
        eventually("its connection is gone", || clients() <= clients_before);
    };
    flood(20_000); // fills what fills once, such as the count of each error code
    let used_before = used();
    flood(1_000_000);
    eventually(
        &format!("no more memory is used than the {used_before} bytes of before"),
        || used() <= used_before + BUFFERS_BYTES,
    );

    assert_eq!(state(), state_before);
    let peek = server.decide(&format!("RL.PEEK FIXED hits {LIMIT} 3660d COST 0"));
    assert_eq!(LIMIT - peek.remaining, hits);
    let stats = server.call("RL.STATS GET");
    assert_eq!(stats.field("allowed").int(), 3 + hits, "and no other hit");
    assert_eq!(stats.field("denied").int(), 0);
}

/// A load argument is repeated in the log, as text: nothing in it is a format, an end or a line of its own.
#[test]
fn load_arguments_of_any_bytes_are_one_line_of_the_log() {
    const ARGUMENTS: [(&[u8], &str); 8] = [
        (b"%s%s%s%s%s%s%s%s", "'%s%s%s%s%s%s%s%s'"),
        (b"%n%n%n%n", "'%n%n%n%n'"),
        (b"%p %x", "'%p %x'"),
        (b"a\0b", "'a\\x00b'"),
        (
            b"a\r\n1:M 01 Jan 2026 00:00:00.000 * forged",
            "'a\\x0d\\x0a1:M 01 Jan 2026 00:00:00.000 * forged'",
        ),
        (b"\x1b[31m", "'\\x1b[31m'"),
        (b"\xff\xc3\xa9", "\\xc3\\xa9'"),
        (b"", "''"),
    ];
    let module = support::server::module();
    let path = module.to_str().unwrap();
    let server = Server::without_module(&[]);
    for (argument, logged) in ARGUMENTS {
        let refused = server.call_bytes(&[b"MODULE", b"LOAD", path.as_bytes(), argument, b"1"]);
        assert!(refused.is_error(), "{logged}: {refused:?}");
        let log = server.log();
        let mut lines = log
            .lines()
            .filter(|line| line.contains("no setting is named"));
        let line = lines.next_back().unwrap_or_default();
        assert!(line.contains(logged), "{logged} is not in {line}");
        assert!(!log.lines().any(|line| line.starts_with("1:M 01 Jan")));
    }
    let long = vec![b'x'; 100_000];
    assert!(server
        .call_bytes(&[b"MODULE", b"LOAD", path.as_bytes(), &long, b"1"])
        .is_error());
    assert!(server.log().contains("xxx..."));
    server.ok(&format!("MODULE LOAD \"{path}\" policies 9"));

    for (argument, logged) in ARGUMENTS {
        let quoted: String = argument.iter().map(|b| format!("\\x{b:02x}")).collect();
        let refused = Server::try_with_module_arguments(&format!("\"{quoted}\" 1"), &[]);
        let Err(refusal) = refused else {
            panic!("{logged} was accepted");
        };
        assert_eq!(refusal.status.code(), Some(1), "{logged}: {refusal:?}");
        let log = &refusal.log;
        let mut lines = log
            .lines()
            .filter(|line| line.contains("no setting is named"));
        let line = lines.next_back().unwrap_or_default();
        assert!(line.contains(logged), "{logged} is not in {line}");
        assert!(!log.lines().any(|line| line.starts_with("1:M 01 Jan")));
    }
}

/// What belongs to the node is refused whole where it cannot have been written so, as a key's value is: half a registry
/// would be limits that nobody set.
#[test]
fn an_rdb_with_a_damaged_registry_is_refused() {
    const POLICY: &[u8] = b"a-policy-by-name";
    const LIST: &[u8] = b"a-list-by-name";
    let lines = ["rdbchecksum no", "rdbcompression no"];
    let mut server = Server::with(&lines);
    server.ok("RL.POLICY SET a-policy-by-name FIXED 5 1h");
    assert_eq!(server.call("RL.DENY ADD a-list-by-name 192.0.2.1").int(), 1);
    server.ok("SAVE");
    server.kill();
    let path = server.dir().join("dump.rdb");
    let sound = std::fs::read(&path).unwrap();
    for name in [POLICY, LIST] {
        let at = sound.windows(name.len()).position(|bytes| bytes == name);
        let length = at.expect("the file names it") - 1;
        let mut damaged = sound.clone();
        assert_eq!(usize::from(damaged[length]), name.len());
        damaged[length] = 0;
        std::fs::write(&path, damaged).unwrap();
        let started = server.starts_on_damaged_rdb();
        assert!(!started, "it started without {}", name.escape_ascii());
    }
    std::fs::write(&path, sound).unwrap();
    server.start_again().unwrap();
    assert!(!server.call("RL.POLICY GET a-policy-by-name").is_error());
}
