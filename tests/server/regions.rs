//! One limit over several regions: servers whose changes the test itself carries.

use crate::support::node::crash;
use crate::support::pair::{self, assert_equal};
use crate::support::{aof, eventually, Random, Reply, Server};

const NAMES: [&str; 3] = ["eu", "us", "ap"];

pub(super) fn region(name: &str, lines: &[&str]) -> Server {
    let own = format!("ratelimit.region {name}");
    Server::with(&[&[own.as_str()], lines].concat())
}

/// Without the share rule, so that what is admitted is what fits.
fn regions(count: usize) -> Vec<Server> {
    let lines = ["ratelimit.region-share no"];
    NAMES[..count]
        .iter()
        .map(|name| region(name, &lines))
        .collect()
}

/// Keys, and what of each is to be merged.
pub(super) type Sent = Vec<(Vec<u8>, Vec<u8>)>;

/// Keys and what to merge into them, as a reader at `cursor` is handed.
pub(super) fn changes(from: &Server, cursor: &mut String) -> (i64, Sent) {
    let reply = from.call(&format!("RL.CHANGES {cursor}"));
    let [next, until, sent, _] = reply.array() else {
        panic!("{reply:?}");
    };
    *cursor = next.text();
    let sent = sent.array().chunks(2);
    let sent = sent.map(|pair| (pair[0].bytes().to_vec(), pair[1].bytes().to_vec()));
    (until.int(), sent.collect())
}

/// Everything that a reader is handed, a pass and what has changed since.
pub(super) fn everything(from: &Server, cursor: &mut String) -> (i64, Sent) {
    let mut all = Vec::new();
    loop {
        let (until, sent) = changes(from, cursor);
        let is_over = sent.is_empty() && until > 0;
        all.extend(sent);
        if is_over {
            return (until, all);
        }
    }
}

pub(super) fn merge(to: &Server, key: &[u8], payload: &[u8]) -> Reply {
    to.call_bytes(&[b"RL.MERGE", key, payload])
}

/// Carries everything from one to another, once.
pub(super) fn carry(from: &Server, to: &Server) {
    let mut cursor = "0".to_string();
    for (key, payload) in everything(from, &mut cursor).1 {
        let reply = merge(to, &key, &payload);
        assert!([0, 1].contains(&reply.int()), "{reply:?}");
    }
}

fn carry_all(servers: &[Server]) {
    for _ in 0..2 {
        for from in 0..servers.len() {
            for to in (0..servers.len()).filter(|to| *to != from) {
                carry(&servers[from], &servers[to]);
            }
        }
    }
}

fn limit(server: &Server, key: &str, place: usize) -> Reply {
    let info = server.call(&format!("RL.INFO {key}"));
    info.field("limits").array()[place].clone()
}

pub(super) fn used(server: &Server, key: &str) -> i64 {
    limit(server, key, 0).field("used").int()
}

/// What each region has used, by name.
pub(super) fn by_region(server: &Server, key: &str) -> Vec<(String, i64)> {
    let limit = limit(server, key, 0);
    let pairs = limit.field("regions").array();
    pairs
        .iter()
        .map(|pair| (pair.array()[0].text(), pair.array()[1].int()))
        .collect()
}

pub(super) const LIMITS: [(&str, &str); 3] = [
    ("FIXED", "10 30d"),
    ("SLIDING", "10 30d"),
    ("BUCKET", "10 1 30d"),
];

#[test]
fn what_one_region_has_used_another_counts() {
    let servers = regions(2);
    let [eu, us] = [&servers[0], &servers[1]];
    for (command, limits) in LIMITS {
        assert!(
            eu.decide(&format!("RL.{command} {command} {limits} COST 7"))
                .allowed
        );
        carry(eu, us);
        let answer = us.decide(&format!("RL.{command} {command} {limits} COST 2"));
        assert!(
            answer.allowed && answer.remaining == 1,
            "{command}: {answer:?}"
        );
        let answer = us.decide(&format!("RL.{command} {command} {limits} COST 2"));
        assert!(!answer.allowed, "{command}");
        assert!(us.call(&format!("PTTL {command}")).int() > 0, "{command}");
        carry(us, eu);
        assert_eq!(used(eu, command), 9);
        let mine = by_region(eu, command);
        assert_eq!(
            mine,
            [("eu".to_string(), 7), ("us".to_string(), 2)],
            "{command}"
        );
        assert_eq!(by_region(us, command), mine);
        let peek = format!("RL.PEEK {command} {command} {limits} COST 2");
        assert!(!eu.decide(&peek).allowed);
    }
    let reply = eu.call("RL.ALL 2 FIXED SLIDING FIXED 10 30d SLIDING 10 30d COST 2");
    assert_eq!(
        reply.array()[0].int(),
        0,
        "one that does not fit denies all: {reply:?}"
    );
    assert_eq!(
        eu.call("RL.ALL 2 FIXED SLIDING FIXED 10 30d SLIDING 10 30d")
            .array()[0]
            .int(),
        1
    );
    carry(eu, us);
    assert_eq!([used(us, "FIXED"), used(us, "SLIDING")], [10, 10]);
}

#[test]
fn after_loss_doubling_and_reordering_all_hold_the_same() {
    let servers = regions(3);
    let mut random = Random::new(13);
    let mut cursors: Vec<Vec<String>> = vec![vec!["0".to_string(); 3]; 3];
    let mut wires: Vec<(usize, Vec<u8>, Vec<u8>)> = Vec::new();
    for _ in 0..30 {
        for (at, server) in servers.iter().enumerate() {
            let lines: Vec<String> = (0..20)
                .map(|_| {
                    let (command, _) = *random.pick(&LIMITS);
                    let limits = match command {
                        "BUCKET" => "1000 1000 1h",
                        _ => "1000 1d 5000 30d",
                    };
                    let cost = *random.pick(&["1", "3", "9", "-2"]);
                    let key = random.below(4);
                    format!("RL.{command} {command}:{key} {limits} COST {cost}")
                })
                .collect();
            for reply in server.bulk(&lines) {
                assert!(!reply.is_error(), "{reply:?}");
            }
            for to in (0..3).filter(|to| *to != at) {
                let (_, sent) = changes(server, &mut cursors[at][to]);
                for (key, payload) in sent {
                    match random.below(4) {
                        0 => {} // lost
                        1 => {
                            wires.push((to, key.clone(), payload.clone()));
                            wires.push((to, key, payload));
                        }
                        _ => wires.push((to, key, payload)),
                    }
                }
            }
        }
        while wires.len() > 20 {
            let (to, key, payload) = wires.swap_remove(random.below(wires.len()));
            assert!(!merge(&servers[to], &key, &payload).is_error());
        }
    }
    carry_all(&servers);
    let mut keys = servers[0].call("KEYS *").texts();
    keys.sort();
    assert_eq!(keys.len(), 12);
    for key in keys {
        let all: Vec<_> = servers
            .iter()
            .map(|server| by_region(server, &key))
            .collect();
        assert_eq!(all[0], all[1], "{key}");
        assert_eq!(all[0], all[2], "{key}");
        // Known is known.
        let mut cursor = "0".to_string();
        for (key, payload) in everything(&servers[0], &mut cursor).1 {
            assert_eq!(merge(&servers[1], &key, &payload).int(), 0);
        }
    }
}

#[test]
fn replicas_and_the_aof_hold_what_the_primary_holds() {
    let us = region("us", &["ratelimit.region-share no"]);
    let lines = [
        "ratelimit.region eu",
        "ratelimit.region-share no",
        "appendonly yes",
    ];
    let start = |own: &[&str]| Server::with(&[own, &lines].concat());
    let mut eu = start(&pair::PRIMARY);
    // A replica with another name, and one that has none, compute the same.
    let replica = pair::replica_of(&eu, Server::with);
    let mut random = Random::new(14);
    for round in 0..20 {
        for (command, limits) in LIMITS {
            for server in [&eu, &us] {
                let cost = random.pick(&["1", "2", "-1", "4"]);
                let key = random.below(3);
                let line = format!("RL.{command} {command}:{key} {limits} COST {cost}");
                assert!(!server.call(&line).is_error());
            }
        }
        carry(&us, &eu);
        carry(&eu, &us);
        if round % 7 == 3 {
            assert!(eu.call("RL.RESET FIXED:0 SLIDING:1 BUCKET:2").int() <= 3);
        }
        eu.call("RL.SLIDING blocked 1 30d BLOCK 1h");
    }
    assert_equal(&eu, &replica);
    assert!(!eu.call("KEYS *").texts().is_empty());
    let digest = eu.digest();
    crash(&mut eu);
    assert_eq!(eu.digest(), digest, "from the AOF");
    eu.ok("DEBUG RELOAD");
    assert_eq!(eu.digest(), digest, "from an RDB file");
    aof::rewrite(&eu);
    crash(&mut eu);
    assert_eq!(eu.digest(), digest, "from a rewritten AOF");
}

#[test]
fn a_reset_is_for_all_regions() {
    let servers = regions(3);
    for (command, limits) in LIMITS {
        for server in &servers {
            server.decide(&format!("RL.{command} {command} {limits} COST 2"));
        }
    }
    carry_all(&servers);
    let mut before = "0".to_string();
    let old = everything(&servers[2], &mut before).1;
    assert_eq!(
        servers[0].call("RL.RESET FIXED SLIDING BUCKET none").int(),
        3
    );
    carry_all(&servers);
    for (command, limits) in LIMITS {
        for server in &servers {
            let peek = server.decide(&format!("RL.PEEK {command} {command} {limits} COST 0"));
            assert_eq!(peek.remaining, 10, "{command}");
        }
    }
    // What was sent before brings nothing back.
    for (key, payload) in old {
        merge(&servers[1], &key, &payload);
    }
    for (command, limits) in LIMITS {
        let peek = format!("RL.PEEK {command} {command} {limits} COST 0");
        assert_eq!(servers[1].decide(&peek).remaining, 10, "{command}");
        assert!(
            servers[1]
                .decide(&format!("RL.{command} {command} {limits} COST 3"))
                .allowed
        );
    }
    carry_all(&servers);
    for (command, _) in LIMITS {
        assert_eq!(used(&servers[0], command), 3, "{command}");
    }
}

#[test]
fn what_a_region_has_lost_comes_back_from_the_others_and_nothing_is_hidden() {
    let servers = regions(2);
    let [eu, us] = [&servers[0], &servers[1]];
    for (command, limits) in LIMITS {
        eu.decide(&format!("RL.{command} {command} {limits} COST 6"));
    }
    carry(eu, us);
    // Evicted, or a replica was promoted that did not have it.
    eu.ok("FLUSHALL");
    for (command, limits) in LIMITS {
        eu.decide(&format!("RL.{command} {command} {limits} COST 2"));
    }
    carry(eu, us);
    for (command, _) in LIMITS {
        assert_eq!(
            used(us, command),
            8,
            "{command}: smaller numbers are not hidden"
        );
    }
    carry(us, eu);
    for (command, _) in LIMITS {
        assert_eq!(used(eu, command), 8, "{command}");
        assert_eq!(by_region(eu, command), [("eu".to_string(), 8)]);
    }
    // News of what is its own is told.
    assert!(eu
        .info_field("ratelimit", "ratelimit_region_eu")
        .contains("news=3"));
}

#[test]
fn a_promoted_replica_goes_on_as_a_new_origin() {
    let lines = ["ratelimit.region eu", "ratelimit.region-share no"];
    let (primary, replica) = pair::of(|own| Server::with(&[own, &lines].concat()));
    let us = region("us", &["ratelimit.region-share no"]);
    for (command, limits) in LIMITS {
        primary.decide(&format!("RL.{command} {command} {limits} COST 3"));
    }
    assert_equal(&primary, &replica);
    // The last of the old primary's, which only the other region has heard of.
    replica.ok("REPLICAOF NO ONE");
    for (command, limits) in LIMITS {
        primary.decide(&format!("RL.{command} {command} {limits} COST 2"));
        replica.decide(&format!("RL.{command} {command} {limits} COST 2"));
    }
    carry(&primary, &us);
    carry(&replica, &us);
    carry(&us, &replica);
    for (command, _) in LIMITS {
        assert_eq!(used(&us, command), 7, "{command}");
        assert_eq!(used(&replica, command), 7, "{command}");
    }
}

#[test]
fn what_a_key_had_used_before_a_region_was_set_is_the_regions_own() {
    let servers = [Server::start(), region("us", &[])];
    let [eu, us] = &servers;
    for (command, limits) in LIMITS {
        eu.decide(&format!("RL.{command} {command} {limits} COST 4"));
    }
    eu.ok("CONFIG SET ratelimit.region eu");
    eu.ok("CONFIG SET ratelimit.region-share no");
    for (command, limits) in LIMITS {
        eu.decide(&format!("RL.{command} {command} {limits}"));
    }
    carry(eu, us);
    for (command, limits) in LIMITS {
        assert_eq!(by_region(us, command), [("eu".to_string(), 5)], "{command}");
        // Without a region it goes on, and with another it is another's.
        eu.ok("CONFIG SET ratelimit.region \"\"");
        assert!(
            eu.decide(&format!("RL.{command} {command} {limits}"))
                .allowed
        );
        eu.ok("CONFIG SET ratelimit.region ap");
        assert_eq!(
            eu.decide(&format!("RL.{command} {command} {limits}"))
                .remaining,
            3
        );
        eu.ok("CONFIG SET ratelimit.region eu");
    }
}

pub(super) fn heard(server: &Server, from: &str, until_ms: i64, of: &str, echo_ms: i64) {
    server.ok(&format!("RL.HEARD {from} {until_ms} {of} {echo_ms}"));
}

#[test]
fn a_share_of_what_is_left_may_be_used_before_others_have_heard() {
    let eu = region("eu", &[]);
    for (command, limits) in [
        ("FIXED", "100 30d"),
        ("SLIDING", "100 30d"),
        ("BUCKET", "100 1 30d"),
    ] {
        let line = format!("RL.{command} {command} {limits}");
        heard(&eu, "us", 1, "eu", eu.now_ms() - 1);
        let replies = eu.bulk(&vec![line.clone(); 100]);
        let allowed = replies
            .iter()
            .filter(|reply| reply.decision().allowed)
            .count();
        assert_eq!(allowed, 50, "{command}: half of what was left");
        let denied = eu.decide(&line);
        assert!(
            denied.remaining == 50 && denied.retry_after_ms > 0,
            "{denied:?}"
        );
        assert!(
            !eu.decide(&format!("RL.PEEK {command} {command} {limits}"))
                .allowed
        );
        // Forced and settled hits are not held, and refunds are not.
        assert!(!eu.decide(&format!("{line} FORCE")).allowed);
        assert!(eu.decide(&format!("{line} COST -1")).allowed);
        // It has heard of them: half of the other half, and so on.
        eventually("a later millisecond", || {
            heard(&eu, "us", 2, "eu", eu.now_ms() - 1);
            eu.decide(&line).allowed
        });
    }
    let info = eu.info_field("ratelimit", "ratelimit_region_us");
    assert!(
        info.starts_with("heard_ms_ago=") && info.contains("echo_ms_ago="),
        "{info}"
    );
    eu.ok("CONFIG SET ratelimit.region-share no");
    let replies = eu.bulk(&vec!["RL.FIXED other 100 30d".to_string(); 101]);
    assert_eq!(
        replies
            .iter()
            .filter(|reply| reply.decision().allowed)
            .count(),
        100
    );
}

#[test]
fn cut_off_a_strict_region_keeps_to_its_share_until_the_other_is_forgotten() {
    let eu = region("eu", &["ratelimit.region-share strict"]);
    heard(&eu, "us", 1, "eu", eu.now_ms() - 1);
    let all = |key: &str| {
        let replies = eu.bulk(&vec![format!("RL.FIXED {key} 100 30d"); 100]);
        replies
            .iter()
            .filter(|reply| reply.decision().allowed)
            .count()
    };
    assert_eq!(all("a"), 50);
    assert_eq!(eu.call("RL.REGION FORGET us").int(), 1);
    assert_eq!(eu.call("RL.REGION FORGET us").int(), 0);
    assert_eq!(all("a"), 50);
    assert_eq!(all("b"), 100);
}

#[test]
fn without_a_region_nothing_is_different() {
    let server = Server::start();
    for line in [
        "RL.CHANGES 0",
        "RL.MERGE k payload",
        "RL.HEARD us 1",
        "RL.REGION LIST",
        "RL.REGION FORGET us",
        "RL.RESET k",
    ] {
        assert_eq!(
            server.call(line).error(),
            "ERR no region is set: expected CONFIG SET ratelimit.region",
            "{line}"
        );
    }
    server.decide("RL.FIXED k 5 30d");
    let info = server.call("RL.INFO k");
    assert!(info.field("limits").array()[0].get("regions").is_none());
    let fields = server.info("ratelimit");
    assert!(
        !fields.iter().any(|field| field.contains("region")),
        "{fields:?}"
    );
    let set = server.call("CONFIG SET ratelimit.region Europe");
    assert!(
        set.error().contains("1 to 8 bytes of a-z, 0-9 and -"),
        "{set:?}"
    );
    assert!(server
        .call("CONFIG SET ratelimit.region-share maybe")
        .is_error());
    assert_eq!(
        server.call("CONFIG GET ratelimit.region-share").texts()[1],
        "open"
    );
}

#[test]
fn errors_say_what_was_expected_and_change_nothing() {
    let servers = regions(2);
    let [eu, us] = [&servers[0], &servers[1]];
    eu.decide("RL.FIXED k 5 30d");
    let mut cursor = "0".to_string();
    let (_, sent) = everything(eu, &mut cursor);
    let [(key, payload)] = &sent[..] else {
        panic!("one key: {sent:?}");
    };
    us.decide("RL.SLIDING k 5 30d");
    let refused = merge(us, key, payload);
    assert!(
        refused
            .error()
            .starts_with("WRONGTYPE the key holds a sliding limiter"),
        "{refused:?}"
    );
    us.ok("SET s text");
    assert!(merge(us, b"s", payload).error().starts_with("WRONGTYPE"));
    assert!(us.call("RL.RESET k s").error().starts_with("WRONGTYPE"));
    assert_eq!(used(us, "k"), 1, "all or nothing");
    let text = "ERR argument 2 (payload) must be what RL.CHANGES of another region returned";
    assert_eq!(merge(us, b"k", b"nonsense").error(), text);
    for (line, part) in [
        ("RL.HEARD US 1", "argument 1 (region)"),
        ("RL.HEARD us x", "argument 2 (until-ms)"),
        (
            "RL.HEARD us 1 eu",
            "argument 4 is missing: expected echo-ms",
        ),
        ("RL.HEARD us 1 eu -1", "argument 4 (echo-ms)"),
        ("RL.CHANGES x", "argument 1 (cursor)"),
        ("RL.CHANGES 0 COUNT 0", "argument 2 must be COUNT"),
        ("RL.REGION FORGET toolongname", "argument 2 (region)"),
    ] {
        let refused = us.call(line);
        assert!(refused.error().contains(part), "{line}: {refused:?}");
    }
    // Memory is full: a key that is there takes what is sent, a new one is refused.
    us.decide("RL.FIXED there 5 30d");
    us.ok("CONFIG SET maxmemory 1");
    let full = merge(us, b"new", payload);
    assert!(full.error().starts_with("OOM"), "{full:?}");
    assert_eq!(merge(us, b"there", payload).int(), 1);
    us.ok("CONFIG SET maxmemory 0");
    assert_eq!(used(us, "there"), 2);
    assert_eq!(us.call("EXISTS new").int(), 0);
}

#[test]
fn payloads_that_were_tampered_with_are_refused_or_merged() {
    let servers = regions(2);
    let [eu, us] = [&servers[0], &servers[1]];
    eu.decide("RL.FIXED f 5 30d 7 1mo");
    eu.decide("RL.SLIDING s 5 30d 7 60d COST 2");
    eu.decide("RL.BUCKET b 5 1 30d");
    us.decide("RL.FIXED f 5 30d");
    let mut cursor = "0".to_string();
    let (_, sent) = everything(eu, &mut cursor);
    assert_eq!(sent.len(), 3);
    let mut random = Random::new(15);
    let mut client = us.connect();
    let mut taken = 0;
    for _ in 0..10_000 {
        let (key, payload) = random.pick(&sent).clone();
        let mut payload = payload;
        for _ in 0..1 + random.below(3) {
            let at = random.below(payload.len());
            match random.below(4) {
                0 => payload[at] ^= 1 << random.below(8),
                1 => payload[at] = random.byte(),
                2 => payload.truncate(at),
                _ => payload.insert(at, random.byte()),
            }
            if payload.is_empty() {
                break;
            }
        }
        let reply = client.call_bytes(&[b"RL.MERGE", &key, &payload]);
        match reply {
            Reply::Error(text) => assert!(
                text.starts_with("ERR argument 2") || text.starts_with("WRONGTYPE"),
                "{text}"
            ),
            reply => taken += reply.int(),
        }
    }
    assert!(taken > 0);
    // It is all sound: it can be told, saved, loaded and charged.
    let digest = us.digest();
    us.ok("DEBUG RELOAD");
    assert_eq!(us.digest(), digest);
    for key in ["f", "s", "b"] {
        us.call(&format!("RL.INFO {key}"));
        us.call(&format!("MEMORY USAGE {key}"));
    }
    assert!(!us.call("RL.FIXED f 5 30d").is_error());
    carry(us, eu);
}

#[test]
fn a_reader_is_handed_each_key_once_and_what_it_came_too_late_for_by_a_pass() {
    let eu = region(
        "eu",
        &["ratelimit.region-changes 1000", "ratelimit.region-share no"],
    );
    let mut cursor = "0".to_string();
    let (until, sent) = everything(&eu, &mut cursor);
    assert!(sent.is_empty() && until > 0);
    for _ in 0..50 {
        eu.decide("RL.FIXED a 1000 30d");
    }
    let (_, sent) = changes(&eu, &mut cursor);
    assert_eq!(sent.len(), 1, "one entry for fifty hits");
    assert!(changes(&eu, &mut cursor).1.is_empty());
    eu.decide("RL.FIXED a 1000 30d");
    assert_eq!(changes(&eu, &mut cursor).1.len(), 1);
    // What is denied, peeked or merged is no change.
    eu.decide("RL.FIXED a 1000 30d COST 5000");
    assert!(changes(&eu, &mut cursor).1.is_empty());
    let late = cursor.clone();
    let lines: Vec<String> = (0..3_000)
        .map(|key| format!("RL.FIXED k:{key} 10 30d"))
        .collect();
    eu.bulk(&lines);
    let mut cursor = late;
    let (_, sent) = everything(&eu, &mut cursor);
    let mut keys: Vec<_> = sent.into_iter().map(|(key, _)| key).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 3_001);
    assert!(eu.info_number("ratelimit", "ratelimit_changes_lost") >= 2_000);
    // A cursor of another run of the server.
    let mut cursor = "123-4".to_string();
    assert_eq!(everything(&eu, &mut cursor).1.len(), 3_001);
    // Below the quiet threshold nothing is sent but by a pass.
    eu.ok("CONFIG SET ratelimit.region-quiet 50");
    eu.decide("RL.FIXED quiet 10 30d COST 4");
    assert!(changes(&eu, &mut cursor).1.is_empty());
    eu.decide("RL.FIXED quiet 10 30d");
    assert_eq!(changes(&eu, &mut cursor).1.len(), 1);
}

#[test]
fn leases_and_blocks_are_the_regions_own() {
    let servers = regions(2);
    let [eu, us] = [&servers[0], &servers[1]];
    eu.decide("RL.LEASE jobs 2 1h id");
    for _ in 0..4 {
        eu.decide("RL.SLIDING login 2 1h BLOCK 1h");
    }
    carry(eu, us);
    assert_eq!(us.call("EXISTS jobs").int(), 0);
    assert!(us.decide("RL.SLIDING login 2 1h").allowed);
    carry(us, eu);
    assert!(!eu.decide("RL.SLIDING login 2 1h").allowed, "blocked");
    assert_eq!(eu.call("RL.RESET login jobs").int(), 2);
    assert!(eu.decide("RL.SLIDING login 2 1h").allowed);
}

#[test]
fn a_block_by_order_is_the_regions_own() {
    let servers = regions(2);
    let [eu, us] = [&servers[0], &servers[1]];
    eu.decide("RL.SLIDING shared 5 1h");
    for key in ["shared", "alone"] {
        assert!(eu.call(&format!("RL.BLOCK {key} 1h")).int() > 0);
    }
    carry(eu, us);
    assert_eq!(us.call("EXISTS alone").int(), 0);
    assert_eq!(us.decide("RL.SLIDING shared 5 1h COST 2").remaining, 2);
    us.decide("RL.SLIDING alone 5 1h");
    carry(us, eu);
    // What others use is counted behind the block.
    for (key, used) in [("shared", 3), ("alone", 1)] {
        let line = format!("RL.SLIDING {key} 5 1h");
        assert!(!eu.decide(&line).allowed, "{key} is shut");
        let info = eu.call(&format!("RL.INFO {key}"));
        assert_eq!(info.field("limits").array()[0].field("used").int(), used);
        let digest = eu.digest_value(key);
        eu.ok("DEBUG RELOAD");
        assert_eq!(eu.digest_value(key), digest);
        assert_eq!(eu.call(&format!("RL.BLOCK {key} 0")).int(), 0);
        assert_eq!(eu.decide(&line).remaining, 4 - used);
    }
    assert!(eu.call("RL.BLOCK shared 1h").int() > 0);
    assert_eq!(eu.call("RL.RESET shared").int(), 1);
    assert!(
        eu.decide("RL.SLIDING shared 5 1h").allowed,
        "all is forgotten"
    );
}

#[test]
fn calendar_windows_are_shared_too() {
    let servers = regions(2);
    let [eu, us] = [&servers[0], &servers[1]];
    eu.decide("RL.FIXED m 10 1mo@Europe/Berlin COST 6");
    carry(eu, us);
    let answer = us.decide("RL.FIXED m 10 1mo@Europe/Berlin COST 6");
    assert!(!answer.allowed && answer.remaining == 4, "{answer:?}");
    assert!(us.decide("RL.FIXED m 10 1mo@Europe/Berlin COST 4").allowed);
    carry(us, eu);
    assert_eq!(used(eu, "m"), 10);
}

#[test]
fn asking_for_the_settings_leaves_nothing_behind() {
    let server = Server::with(&["ratelimit.region eu"]);
    let asked = |times: usize| {
        let replies = server.bulk(&vec!["CONFIG GET ratelimit.region".to_owned(); times]);
        assert!(replies.iter().all(|reply| *reply == replies[0]));
        server.info_number("memory", "used_memory")
    };
    asked(1_000);
    let before = asked(1_000);
    let after = asked(20_000);
    assert!(after - before < 200_000, "{before} bytes, then {after}");
}

#[test]
fn of_seventeen_regions_a_key_holds_what_it_has_room_for_and_the_rest_is_counted() {
    let sender = region("r00", &["ratelimit.region-share no"]);
    let us = region("us", &["ratelimit.region-share no"]);
    for (command, limits) in LIMITS {
        us.decide(&format!("RL.{command} {command} {limits} COST 1"));
    }
    for number in 0..17 {
        sender.ok("FLUSHALL");
        sender.ok(&format!("CONFIG SET ratelimit.region r{number:02}"));
        for (command, limits) in LIMITS {
            sender.decide(&format!("RL.{command} {command} {limits} COST 1"));
        }
        carry(&sender, &us);
    }
    for (command, _) in LIMITS {
        let named = by_region(&us, command);
        assert_eq!(named.len(), 16, "{command}: {named:?}");
        assert!(named.contains(&("us".to_string(), 1)), "{named:?}");
        // More than the limit is known to be used, so nothing is admitted.
        let limits = LIMITS.iter().find(|(name, _)| *name == command).unwrap().1;
        assert!(
            !us.decide(&format!("RL.{command} {command} {limits}"))
                .allowed
        );
    }
    for number in 0..17 {
        let field = format!("ratelimit_region_r{number:02}");
        let told = us.info_field("ratelimit", &field);
        // (Of a bucket, the level is taken over all the same.)
        let expected = match number {
            0..15 => "news=3,refused=0",
            _ => "refused=3",
        };
        assert!(told.ends_with(expected), "{field}: {told}");
    }
}

#[test]
fn two_primaries_of_one_name_are_seen_in_info() {
    let lines = ["ratelimit.region-share no"];
    let servers = [region("eu", &lines), region("eu", &lines)];
    for (server, cost) in servers.iter().zip([2, 3]) {
        for (command, limits) in LIMITS {
            server.decide(&format!("RL.{command} {command} {limits} COST {cost}"));
        }
        let fields = server.info("ratelimit");
        let name = "ratelimit_region_eu:";
        assert!(!fields.iter().any(|field| field.starts_with(name)));
    }
    carry_all(&servers);
    for server in &servers {
        let told = server.info_field("ratelimit", "ratelimit_region_eu");
        assert!(told.contains("news=3"), "{told}");
        // Nothing of either is hidden, as each began by itself.
        for (command, _) in LIMITS {
            assert_eq!(by_region(server, command), [("eu".to_string(), 5)]);
        }
    }
}
