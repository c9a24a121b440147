//! What belongs to a node and not to a key, as a client sees it; and the pairs and restarts that must keep it.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::{aof, eventually, Random, Reply, Server};

/// When an entry of a deny list ends, in Unix milliseconds: somewhere within, as the clock was read before and after.
#[derive(Clone, Copy, Debug)]
pub enum Ends {
    Never,
    Within(i64, i64),
}

impl PartialEq for Ends {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Ends::Never, Ends::Never) => true,
            (Ends::Within(a, b), Ends::Within(c, d)) => a <= d && c <= b,
            _ => false,
        }
    }
}

/// Policies and deny lists, all of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub policies: Reply,
    pub sizes: Reply,
    pub entries: BTreeMap<Vec<u8>, BTreeMap<Vec<u8>, Ends>>,
}

impl Node {
    /// What the server says that it holds.
    pub fn of(server: &Server) -> Self {
        let sizes = server.call("RL.DENY LIST");
        let Reply::Map(lists) = &sizes else {
            panic!("sizes are a map: {sizes:?}");
        };
        let entries = lists
            .iter()
            .map(|(name, _)| (name.bytes().to_vec(), entries(server, name.bytes())))
            .collect();
        Node {
            policies: server.call("RL.POLICY LIST"),
            sizes,
            entries,
        }
    }

    /// Whether there is neither a policy nor a deny list.
    pub fn is_empty(&self) -> bool {
        self.policies == Reply::Map(Vec::new()) && self.sizes == Reply::Map(Vec::new())
    }
}

/// A whole deny list, by its cursor.
pub fn entries(server: &Server, list: &[u8]) -> BTreeMap<Vec<u8>, Ends> {
    let mut found = BTreeMap::new();
    let mut cursor = b"0".to_vec();
    loop {
        let before = server.now_ms();
        let reply = server.call_bytes(&[b"RL.DENY", b"ENTRIES", list, &cursor, b"COUNT", b"1000"]);
        let after = server.now_ms();
        let [next, page] = reply.array() else {
            panic!("a cursor and a page: {reply:?}");
        };
        for pair in page.array().chunks(2) {
            let ends = match pair[1].int() {
                -1 => Ends::Never,
                left => Ends::Within(before + left, after + left),
            };
            found.insert(pair[0].bytes().to_vec(), ends);
        }
        cursor = next.bytes().to_vec();
        if cursor == b"0" {
            return found;
        }
    }
}

/// The texts of a whole deny list.
pub fn values(server: &Server, list: &str) -> BTreeSet<String> {
    entries(server, list.as_bytes())
        .into_keys()
        .map(|value| String::from_utf8_lossy(&value).into_owned())
        .collect()
}

/// Something of everything: policies of each algorithm, a list of each kind of value with and without a TTL, statistics.
pub fn fill(server: &Server) {
    for line in [
        "RL.POLICY SET login SLIDING 5 15m 20 1d",
        "RL.POLICY SET api FIXED 9007199254740991 1h",
        "RL.POLICY SET llm BUCKET 100 10 1s 1000 1 1m",
        "RL.POLICY SET \"\\x00\\xff name\" FIXED 0 1ms",
    ] {
        server.ok(line);
    }
    for (line, added) in [
        (
            "RL.DENY ADD bad 192.0.2.7 198.51.100.0/24 2001:db8::/32 alice \"\\x00\\xff\"",
            5,
        ),
        ("RL.DENY ADD bad 203.0.113.9 bob TTL 30d", 2),
        ("RL.DENY ADD other 192.0.2.7", 1),
    ] {
        assert_eq!(server.call(line).int(), added, "{line}");
    }
    for line in [
        "RL.SLIDING user:1 1 1h POLICY login",
        "RL.FIXED user:4 1 1h POLICY api",
        "RL.FIXED user:2 0 1h",
        "RL.FIXED user:3 1 1h POLICY api DENY bad alice",
    ] {
        assert!(!server.call(line).is_error(), "{line}");
    }
}

/// A thousand administrative calls and more of the same: most are taken, some are refused.
pub fn administrative_calls(random: &mut Random, count: usize) -> Vec<String> {
    (0..count).map(|_| administrative_call(random)).collect()
}

fn administrative_call(random: &mut Random) -> String {
    let list = format!("list:{}", random.below(6));
    match random.below(20) {
        0..=3 => {
            let limits = match random.below(4) {
                0 => format!("FIXED {} 1h {} 1d", random.below(9), random.below(99)),
                1 => format!("SLIDING {} {}s", random.below(9), 1 + random.below(9)),
                2 => format!("BUCKET {} {} 1s", random.below(9), random.below(3)),
                _ => "FIXED 5 60".to_string(), // refused
            };
            format!("RL.POLICY SET policy:{} {limits}", random.below(30))
        }
        4 => format!(
            "RL.POLICY DEL policy:{} policy:{}",
            random.below(30),
            random.below(30)
        ),
        5 => format!("RL.DENY RENAME {list} list:{}", random.below(6)),
        6 => format!("RL.DENY DROP {list}"),
        7..=9 => format!("RL.DENY DEL {list} {} {}", value(random), value(random)),
        _ => {
            let values: Vec<String> = (0..1 + random.below(20)).map(|_| value(random)).collect();
            let ttl = match random.below(6) {
                0 => " TTL 1ms",
                1 => " TTL 20ms",
                2 => " TTL 30d",
                _ => "",
            };
            format!("RL.DENY ADD {list} {}{ttl}", values.join(" "))
        }
    }
}

/// A value of few, so that calls meet: addresses, ranges, texts, and now and then what is refused.
fn value(random: &mut Random) -> String {
    match random.below(40) {
        0 => "10.0.0.1/8".to_string(),
        1..=12 => format!("192.0.2.{}", random.below(100)),
        13..=18 => format!("2001:db8::{:x}", random.below(100)),
        19..=22 => format!("10.{}.0.0/16", random.below(30)),
        23..=25 => format!("2001:db8:{:x}::/48", random.below(30)),
        26..=28 => format!("::ffff:192.0.2.{}", random.below(100)),
        29..=32 => format!("\"\\x{:02x}\\x00\"", random.below(40)),
        _ => format!("user:{}", random.below(60)),
    }
}

/// A pair. The replica stops on any error in the stream, so an effect that it refuses fails the test.
pub fn pair(primary_lines: &[&str], replica_lines: &[&str]) -> (Server, Server) {
    let primary = Server::with(&[&["repl-diskless-sync-delay 0"], primary_lines].concat());
    let replica = replica_of(&primary, replica_lines);
    (primary, replica)
}

/// A replica, in sync.
pub fn replica_of(primary: &Server, lines: &[&str]) -> Server {
    let follow = format!("replicaof 127.0.0.1 {}", primary.port());
    let own: &[&str] = &[
        &follow,
        "propagation-error-behavior panic",
        "repl-diskless-sync-delay 0",
    ];
    let replica = Server::with(&[own, lines].concat());
    wait_for_link(&replica);
    replica
}

/// Waits until the replica is in sync.
pub fn wait_for_link(replica: &Server) {
    eventually("the replica is in sync", || {
        replica.info_field("replication", "master_link_status") == "up"
    });
}

/// Waits until the replica holds what the primary holds.
pub fn assert_equal(primary: &Server, replica: &Server) {
    wait_for_link(replica);
    // By WAIT: a ping of the primary's would move its offset between two questions.
    assert!(
        primary.call("WAIT 1 60000").int() >= 1,
        "the replica follows"
    );
    // An entry that has ended is still counted by LIST until it is swept, on each in its own time.
    eventually("both hold the same", || {
        Node::of(primary) == Node::of(replica)
    });
}

/// The server is killed and starts again on what it left.
pub fn crash(server: &mut Server) {
    if server.info_field("persistence", "aof_enabled") != "0" {
        await_statistics(server);
        aof::await_writes(server);
    }
    server.kill();
    server.start_again().expect("it starts on what it left");
}

/// Waits until replicas and the AOF were told of every hit: statistics follow within a second.
pub fn await_statistics(server: &Server) {
    eventually("the statistics are told", || {
        server.info_number("ratelimit", "ratelimit_stats_unwritten") == 0
    });
}

/// Demands an error that begins so and says all of this.
pub fn assert_error(reply: &Reply, parts: &[&str]) {
    let text = reply.error();
    assert!(text.starts_with("ERR "), "{text}");
    for part in parts {
        assert!(text.contains(part), "{text:?} does not say {part:?}");
    }
}
