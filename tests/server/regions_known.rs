//! Of which regions a server takes what they have used, and to whom it tells what its keys hold.

use super::regions::{by_region, changes, everything, heard, merge, region, used, LIMITS};
use crate::support::node::crash;
use crate::support::pair::{self, assert_equal};
use crate::support::{eventually, Reply, Server};

const NOT_LISTED: &str = "ERR ratelimit.regions does not list 'evil'";

fn known(server: &Server) -> String {
    let settings = server.call("CONFIG GET ratelimit.regions");
    settings.field("ratelimit.regions").text()
}

fn hit_all(server: &Server, cost: u32) {
    for (command, limits) in LIMITS {
        server.decide(&format!("RL.{command} {command} {limits} COST {cost}"));
    }
}

#[test]
fn a_region_that_is_not_listed_is_refused() {
    let eu = region("eu", &["ratelimit.regions eu us"]);
    let evil = region("evil", &[]);
    hit_all(&evil, 9);
    let (_, sent) = everything(&evil, &mut "0".to_string());
    assert_eq!(sent.len(), 3);
    for (key, payload) in &sent {
        assert_eq!(merge(&eu, key, payload).error(), NOT_LISTED);
    }
    for (line, refused) in [
        ("RL.HEARD evil 1 eu 1", NOT_LISTED),
        ("RL.HEARD us 1 eu 1 evil 1", NOT_LISTED),
        ("RL.REGION FORGET evil", NOT_LISTED),
        (
            "RL.REGION FORGET us",
            "ERR ratelimit.regions lists 'us': take it out there",
        ),
    ] {
        assert_eq!(eu.call(line).error(), refused, "{line}");
    }
    assert_eq!(eu.call("DBSIZE").int(), 0);
    let told = eu.info("ratelimit").join("\n");
    assert!(!told.contains("evil"), "{told}");
    assert!(
        told.contains("ratelimit_region_us:heard_ms_ago=-1"),
        "listed and not heard: {told}"
    );
    // Once it is listed, and no longer when it is not.
    eu.ok("CONFIG SET ratelimit.regions \"us evil\"");
    for (key, payload) in &sent {
        assert_eq!(merge(&eu, key, payload).int(), 1);
    }
    heard(&eu, "evil", 1, "eu", 1);
    eu.ok("CONFIG SET ratelimit.regions us");
    let (key, payload) = &sent[0];
    assert_eq!(merge(&eu, key, payload).error(), NOT_LISTED);
    let told = eu.info("ratelimit").join("\n");
    assert!(!told.contains("region_evil"), "{told}");
}

#[test]
fn made_up_regions_leave_nothing_behind() {
    let eu = region("eu", &["ratelimit.regions us"]);
    let mut stranger = region("x", &[]);
    for number in 0..40 {
        stranger.ok(&format!("CONFIG SET ratelimit.region x{number}"));
        stranger.decide(&format!("RL.FIXED login:victim:{number} 5 30d COST 5"));
        let (_, sent) = everything(&stranger, &mut "0".to_string());
        for (key, payload) in sent {
            let reply = merge(&eu, &key, &payload);
            assert!(reply.error().contains("does not list 'x"), "{reply:?}");
        }
    }
    stranger.kill();
    assert_eq!(eu.call("DBSIZE").int(), 0);
    let Reply::Map(list) = eu.call("RL.REGION LIST") else {
        panic!("a map")
    };
    assert_eq!(list.len(), 1, "{list:?}");
}

/// A region that is known may pass on what strangers have told it.
#[test]
fn of_what_a_known_region_passes_on_a_strangers_part_is_left_out() {
    let eu = Server::with(
        &[
            &pair::PRIMARY[..],
            &["ratelimit.region eu", "ratelimit.regions eu us"],
        ]
        .concat(),
    );
    let replica = pair::replica_of(&eu, Server::with);
    let us = region("us", &["ratelimit.region-share no"]);
    let evil = region("evil", &[]);
    hit_all(&evil, 7);
    for (key, payload) in everything(&evil, &mut "0".to_string()).1 {
        assert_eq!(merge(&us, &key, &payload).int(), 1);
    }
    hit_all(&us, 2);
    hit_all(&eu, 1);
    for (key, payload) in everything(&us, &mut "0".to_string()).1 {
        merge(&eu, &key, &payload);
    }
    for (command, _) in LIMITS {
        let mine = [("eu".to_string(), 1), ("us".to_string(), 2)];
        assert_eq!(by_region(&eu, command), mine, "{command}");
        assert_eq!(used(&eu, command), 3, "{command}");
    }
    let told = eu.info_field("ratelimit", "ratelimit_region_us");
    assert!(told.ends_with("refused=3"), "{told}");
    let log = eu.log();
    let said = log.matches("us has sent what 'evil' has used").count();
    assert_eq!(said, 1, "{log}");
    assert_equal(&eu, &replica);
}

#[test]
fn the_regions_are_listed_at_load_and_at_runtime() {
    let server = Server::with_module_arguments("region eu regions us,ap", &[]);
    assert_eq!(known(&server), "ap us");
    let server = region("eu", &["ratelimit.regions \"us ap, us\""]);
    assert_eq!(known(&server), "ap us");
    let many: Vec<String> = (0..17).map(|number| format!("r{number}")).collect();
    for refused in ["US", "eu;us", "toolongname", &many.join(" ")] {
        let reply = server.call(&format!("CONFIG SET ratelimit.regions \"{refused}\""));
        let text = "at most 16 names of regions between spaces or commas";
        assert!(reply.error().contains(text), "{refused}: {reply:?}");
        assert_eq!(known(&server), "ap us", "{refused}");
    }
    server.ok(&format!(
        "CONFIG SET ratelimit.regions \"{}\"",
        many[1..].join(" ")
    ));
    server.ok("CONFIG SET ratelimit.regions \"\"");
    assert_eq!(known(&server), "");
    let refusal = Server::try_with_module_arguments("regions EU", &[]);
    let log = refusal.err().unwrap().log;
    assert!(
        log.contains("ratelimit: regions: expected at most 16"),
        "{log}"
    );
}

#[test]
fn the_log_says_that_any_region_is_taken() {
    const SAID: &str = "ratelimit.regions is empty";
    let listed = region("eu", &["ratelimit.regions us"]);
    let alone = Server::start();
    let any = region("eu", &[]);
    assert_eq!(any.log().matches(SAID).count(), 1);
    for server in [&listed, &alone] {
        assert!(!server.log().contains(SAID));
    }
    listed.ok("CONFIG SET ratelimit.regions \"\"");
    alone.ok("CONFIG SET ratelimit.region eu");
    for server in [&listed, &alone] {
        eventually("it is said", || server.log().contains(SAID));
    }
}

#[test]
fn strict_keeps_its_share_from_the_start() {
    let lines = [
        "ratelimit.regions eu us ap",
        "ratelimit.region-share strict",
        "appendonly yes",
    ];
    let mut eu = region("eu", &lines);
    let all = |eu: &Server, key: &str| {
        let replies = eu.bulk(&vec![format!("RL.FIXED {key} 90 30d"); 90]);
        let allowed = replies.iter().filter(|reply| reply.decision().allowed);
        allowed.count()
    };
    assert_eq!(all(&eu, "a"), 30);
    heard(&eu, "us", 1, "eu", eu.now_ms());
    assert_eq!(all(&eu, "b"), 30, "one more is heard, and it is as many");
    crash(&mut eu);
    assert_eq!([all(&eu, "a"), all(&eu, "c")], [0, 30]);
    eu.ok("CONFIG SET ratelimit.regions \"eu us\"");
    assert_eq!(all(&eu, "d"), 45);
}

#[test]
fn whoever_may_read_some_keys_is_told_of_those_alone() {
    let eu = region("eu", &[]);
    eu.ok("ACL SETUSER some on >secret resetkeys %R~public:* %W~secret:* -@all +rl.changes");
    eu.ok("ACL SETUSER none on >secret resetkeys -@all +rl.changes");
    let hit = |key: &str| eu.decide(&format!("RL.FIXED {key} 5 30d"));
    for key in ["public:a", "secret:a", "public:b", "other"] {
        hit(key);
    }
    let mut some = eu.connect();
    some.ok("AUTH some secret");
    let mut none = eu.connect();
    none.ok("AUTH none secret");
    let told = |reply: &Reply| {
        let reply = reply.array();
        let pairs = reply[2].array().chunks(2);
        let mut keys: Vec<String> = pairs.map(|pair| pair[0].text()).collect();
        keys.sort();
        (reply[0].text(), keys, reply[3].int())
    };
    // A pass.
    let (mut cursor, keys, withheld) = told(&some.call("RL.CHANGES 0"));
    assert_eq!(
        (keys, withheld),
        (vec!["public:a".into(), "public:b".into()], 2)
    );
    let (mut nobodys, keys, withheld) = told(&none.call("RL.CHANGES 0"));
    assert_eq!((keys, withheld), (vec![], 4));
    // What has changed since.
    for key in ["secret:a", "public:b"] {
        hit(key);
    }
    let keys;
    (cursor, keys, _) = told(&some.call(&format!("RL.CHANGES {cursor}")));
    assert_eq!(keys, ["public:b"]);
    let withheld;
    (nobodys, _, withheld) = told(&none.call(&format!("RL.CHANGES {nobodys}")));
    assert_eq!(withheld, 2);
    assert_eq!(told(&some.call(&format!("RL.CHANGES {cursor}"))).2, 0);
    assert_eq!(told(&none.call(&format!("RL.CHANGES {nobodys}"))).2, 0);
    // Whoever may read all is told of all.
    let (_, sent) = changes(&eu, &mut "0".to_string());
    assert_eq!(sent.len(), 4);
    // A script has nobody's rights.
    let refused = eu.call("EVAL \"return redis.call('RL.CHANGES', '0')\" 0");
    assert!(refused.error().contains("only a client"), "{refused:?}");
}

/// Where module commands are in categories at all: on Redis 7.2 and Valkey 8, and newer.
#[test]
fn what_has_changed_is_not_among_what_everybody_may_read() {
    let eu = region("eu", &[]);
    let info = eu.call("COMMAND INFO RL.CHANGES");
    assert!(!format!("{info:?}").contains("readonly"), "{info:?}");
    assert!(!format!("{info:?}").contains("@read"), "{info:?}");
    eu.ok("ACL SETUSER reader on >secret ~* +@read -@dangerous");
    let mut reader = eu.connect();
    reader.ok("AUTH reader secret");
    let refused = reader.call("RL.CHANGES 0");
    assert!(refused.error().starts_with("NOPERM"), "{refused:?}");
    let read = eu.call("ACL CAT read").texts();
    assert!(!read.contains(&"rl.changes".to_string()), "{read:?}");
}
