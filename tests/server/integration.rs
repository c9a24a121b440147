//! The commands inside what a server offers: transactions, scripts, functions, ACLs, memory limits, replicas, RESP2 and
//! RESP3, a cluster.

use crate::support::server::free_port;
use crate::support::{eventually, Reply, Server};

const FIVE_A_MONTH: [(&str, &str); 3] = [
    ("FIXED", "5 30d"),
    ("SLIDING", "5 30d"),
    ("BUCKET", "5 5 30d"),
];

#[test]
fn a_transaction_runs_hits_one_after_another() {
    let server = Server::start();
    for (algorithm, limits) in FIVE_A_MONTH {
        server.ok("MULTI");
        for cost in [4, 2, 1, 1] {
            let queued = server.call(&format!("RL.{algorithm} {algorithm} {limits} COST {cost}"));
            assert_eq!(queued.text(), "QUEUED");
        }
        let replies = server.call("EXEC");
        let allowed: Vec<bool> = replies
            .array()
            .iter()
            .map(|reply| reply.decision().allowed)
            .collect();
        assert_eq!(allowed, [true, false, true, false], "{algorithm}");
    }
}

#[test]
fn a_refusal_inside_a_transaction_leaves_the_other_hits() {
    let server = Server::start();
    server.ok("MULTI");
    for line in [
        "RL.FIXED k 5 30d",
        "RL.SLIDING k 5 30d",
        "RL.FIXED k 5 60",
        "RL.FIXED k 5 30d",
    ] {
        server.call(line);
    }
    let replies = server.call("EXEC");
    let replies = replies.array();
    assert!(replies[1].error().starts_with("WRONGTYPE"));
    assert!(replies[2].error().starts_with("ERR"));
    assert_eq!(replies[3].decision().remaining, 3);
}

/// WATCH sees exactly the calls that change something.
#[test]
fn only_a_change_aborts_who_watches() {
    let server = Server::start();
    let mut watcher = server.connect();
    for (algorithm, limits) in FIVE_A_MONTH {
        let call = |key: &str, cost: i64| {
            server.decide(&format!("RL.{algorithm} {key} {limits} COST {cost}"))
        };
        let key = algorithm;
        call(key, 4);
        for (cost, changes) in [
            (2, false),
            (6, false),
            (0, false),
            (1, true),
            (1, false),
            (-1, true),
        ] {
            watcher.ok(&format!("WATCH {key}"));
            call(key, cost);
            watcher.ok("MULTI");
            watcher.call("PING");
            let aborted = watcher.call("EXEC") == Reply::Nil;
            assert_eq!(aborted, changes, "{algorithm} COST {cost}");
        }
        let absent = format!("{algorithm}:absent");
        for (cost, changes) in [(6, false), (0, false), (-1, false), (1, true)] {
            watcher.ok(&format!("WATCH {absent}"));
            call(&absent, cost);
            watcher.ok("MULTI");
            watcher.call("PING");
            let aborted = watcher.call("EXEC") == Reply::Nil;
            assert_eq!(aborted, changes, "{algorithm} COST {cost} on an absent key");
        }
    }
}

#[test]
fn lua_gets_the_integers() {
    let server = Server::start();
    for (algorithm, limits) in FIVE_A_MONTH {
        let arguments = limits.replace(' ', "','");
        let script =
            format!("return redis.call('RL.{algorithm}', KEYS[1], '{arguments}', 'COST', ARGV[1])");
        let first = server
            .call(&format!("EVAL \"{script}\" 1 {algorithm} 4"))
            .decision();
        assert_eq!((first.allowed, first.limit, first.remaining), (true, 5, 1));
        let denied = server
            .call(&format!("EVAL \"{script}\" 1 {algorithm} 2"))
            .decision();
        assert_eq!((denied.allowed, denied.remaining), (false, 1));
        assert!(denied.retry_after_ms > 0);
        let sum = format!("local r = redis.call('RL.PEEK', '{algorithm}', KEYS[1], '{arguments}'); return r[1] + r[2]");
        assert_eq!(
            server
                .call(&format!("EVAL_RO \"{sum}\" 1 {algorithm}"))
                .int(),
            6
        );
        let error = server.call(&format!("EVAL_RO \"{script}\" 1 {algorithm} 1"));
        assert!(
            error.error().contains("Write commands are not allowed"),
            "{error:?}"
        );
        let refused = format!("return redis.pcall('RL.{algorithm}', KEYS[1], 'x').err and 1 or 0");
        assert_eq!(
            server
                .call(&format!("EVAL \"{refused}\" 1 {algorithm}"))
                .int(),
            1
        );
    }
}

#[test]
fn functions_get_the_integers() {
    let server = Server::start();
    let library = "#!lua name=limits\\nredis.register_function('take', function(keys, args) \
        return redis.call('RL.SLIDING', keys[1], args[1], args[2]) end)\\n\
        redis.register_function{function_name='look', flags={'no-writes'}, callback=function(keys, args) \
        return redis.call('RL.PEEK', 'SLIDING', keys[1], args[1], args[2]) end}";
    assert_eq!(
        server.call(&format!("FUNCTION LOAD \"{library}\"")).text(),
        "limits"
    );
    assert_eq!(server.call("FCALL take 1 k 2 30d").decision().remaining, 1);
    assert_eq!(server.call("FCALL take 1 k 2 30d").decision().remaining, 0);
    assert!(!server.call("FCALL take 1 k 2 30d").decision().allowed);
    assert!(!server.call("FCALL_RO look 1 k 2 30d").decision().allowed);
}

#[test]
fn an_acl_user_does_what_the_rules_say() {
    let server = Server::start();
    server.ok("ACL SETUSER limited on >secret ~rl:* -@all +rl.fixed");
    let mut limited =
        server.connect_with(&["--user", "limited", "--pass", "secret", "--no-auth-warning"]);
    assert!(limited.decide("RL.FIXED rl:a 5 30d").allowed);
    for line in [
        "RL.FIXED other 5 30d",
        "RL.SLIDING rl:b 5 30d",
        "RL.PEEK FIXED rl:a 5 30d",
        "RL.INFO rl:a",
        "GET rl:a",
    ] {
        assert!(limited.call(line).error().starts_with("NOPERM"), "{line}");
    }
    assert_eq!(server.call("KEYS *").texts(), ["rl:a"]);
    // The key of a peek is its second argument, and reading is enough for it.
    server.ok("ACL SETUSER viewer on >secret %R~rl:* -@all +rl.peek +rl.fixed +rl.info");
    let mut viewer =
        server.connect_with(&["--user", "viewer", "--pass", "secret", "--no-auth-warning"]);
    assert!(viewer.decide("RL.PEEK FIXED rl:a 5 30d").allowed);
    assert!(!viewer.call("RL.INFO rl:a").is_error());
    for line in [
        "RL.FIXED rl:a 5 30d",
        "RL.PEEK FIXED other 5 30d",
        "RL.INFO other",
    ] {
        assert!(viewer.call(line).error().starts_with("NOPERM"), "{line}");
    }
    assert_eq!(
        server.call("ACL DRYRUN limited RL.FIXED rl:a 5 30d").text(),
        "OK"
    );
}

/// With an eviction policy, limiters make room as any other key that has a TTL.
#[test]
fn limiters_can_be_evicted() {
    let server = Server::with(&["maxmemory-policy volatile-ttl"]);
    let limit = server.info_number("memory", "used_memory") + 2_000_000;
    server.ok(&format!("CONFIG SET maxmemory {limit}"));
    let hits: Vec<String> = (0..30_000)
        .map(|i| format!("RL.SLIDING k:{i} 5 30d 9 60d"))
        .collect();
    for reply in server.bulk(&hits) {
        assert!(reply.decision().allowed);
    }
    assert!(server.info_number("stats", "evicted_keys") > 0);
    assert!(server.call("DBSIZE").int() > 0);
}

#[test]
fn a_replica_looks_and_does_not_charge() {
    let primary = Server::with(&["repl-diskless-sync-delay 0"]);
    let replica = Server::with(&[&format!("replicaof 127.0.0.1 {}", primary.port())]);
    primary.decide("RL.FIXED k 5 30d COST 2");
    eventually("the replica has the key", || {
        replica.info_field("replication", "master_link_status") == "up"
            && replica.call("EXISTS k").int() == 1
    });
    assert_eq!(replica.decide("RL.PEEK FIXED k 5 30d").remaining, 2);
    assert_eq!(replica.call("RL.INFO k").field("algorithm").text(), "fixed");
    for line in [
        "RL.FIXED k 5 30d",
        "RL.SLIDING new 5 30d",
        "RL.BUCKET new 5 1 30d",
        "RL.FIXED k 5 30d COST 0",
    ] {
        assert!(replica.call(line).error().starts_with("READONLY"), "{line}");
    }
    assert_eq!(replica.digest(), primary.digest());
}

#[test]
fn both_protocols_answer_one_shape() {
    let server = Server::start();
    let mut resp2 = server.connect_with(&["-2"]);
    let mut resp3 = server.connect_with(&["-3"]);
    assert!(matches!(resp2.call("CONFIG GET port"), Reply::Array(_)));
    assert!(matches!(resp3.call("CONFIG GET port"), Reply::Map(_)));
    for (algorithm, limits) in FIVE_A_MONTH {
        let more = limits.replace("30d", "60d");
        for (place, limits) in [limits.to_string(), format!("{limits} {more}")]
            .iter()
            .enumerate()
        {
            let key = format!("{algorithm}:{place}");
            resp2.decide(&format!("RL.{algorithm} {key} {limits} COST 2"));
            let hits = [2, 3].map(|protocol| {
                let client = if protocol == 2 {
                    &mut resp2
                } else {
                    &mut resp3
                };
                [
                    client.call(&format!("RL.{algorithm} {key} {limits} COST 9")),
                    client.call(&format!("RL.PEEK {algorithm} {key} {limits} COST 0")),
                ]
            });
            for (old, new) in hits[0].iter().zip(&hits[1]) {
                let (old, new) = (old.decision(), new.decision());
                assert_eq!(
                    (old.allowed, old.limit, old.remaining),
                    (new.allowed, new.limit, new.remaining)
                );
                assert_eq!(old.each.len(), new.each.len());
            }
            let (flat, map) = (
                resp2.call(&format!("RL.INFO {key}")),
                resp3.call(&format!("RL.INFO {key}")),
            );
            assert!(matches!(flat, Reply::Array(_)), "{flat:?}");
            let Reply::Map(pairs) = &map else {
                panic!("a map in RESP3: {map:?}");
            };
            // The same names in the same order, as a flat array.
            let names: Vec<String> = pairs.iter().map(|(name, _)| name.text()).collect();
            let flat_names: Vec<String> = flat.array().iter().step_by(2).map(Reply::text).collect();
            assert_eq!(names, flat_names);
            assert_eq!(flat.field("algorithm"), map.field("algorithm"));
        }
    }
    assert_eq!(resp2.call("RL.INFO absent"), Reply::Nil);
    assert_eq!(resp3.call("RL.INFO absent"), Reply::Nil);
    assert_eq!(
        resp2.call("RL.FIXED k 5 60").error(),
        resp3.call("RL.FIXED k 5 60").error()
    );
}

/// A cluster of two nodes: the lower half of the slots is on the first, the upper half on the second.
fn cluster() -> [Server; 2] {
    let bus = [free_port(), free_port()];
    let node = |bus: u16| {
        Server::with(&[
            "cluster-enabled yes",
            "cluster-require-full-coverage no",
            "cluster-node-timeout 60000", // none is taken for dead, however busy the machine is
            &format!("cluster-port {bus}"),
        ])
    };
    let nodes = bus.map(node);
    nodes[0].ok("CLUSTER ADDSLOTSRANGE 0 8191");
    nodes[1].ok("CLUSTER ADDSLOTSRANGE 8192 16383");
    nodes[0].ok("CLUSTER SET-CONFIG-EPOCH 1");
    nodes[1].ok("CLUSTER SET-CONFIG-EPOCH 2");
    nodes[0].ok(&format!(
        "CLUSTER MEET 127.0.0.1 {} {}",
        nodes[1].port(),
        bus[1]
    ));
    eventually("both nodes know all slots", || {
        nodes.iter().all(|node| {
            let info = node.print(&["CLUSTER", "INFO"]);
            info.contains("cluster_state:ok") && info.contains("cluster_slots_ok:16384")
        })
    });
    nodes
}

#[test]
fn a_cluster_routes_by_the_one_key() {
    let nodes = cluster();
    let slot = |key: &str| nodes[0].call(&format!("CLUSTER KEYSLOT {key}")).int();
    let mut owned = [0, 0];
    for number in 0..20 {
        for (algorithm, limits) in FIVE_A_MONTH {
            let key = format!("{{user:{number}}}:{algorithm}");
            let slot = slot(&key);
            let owner = usize::from(slot >= 8192);
            owned[owner] += 1;
            for line in [
                format!("RL.{algorithm} {key} {limits}"),
                format!("RL.PEEK {algorithm} {key} {limits}"),
                format!("RL.INFO {key}"),
            ] {
                assert!(!nodes[owner].call(&line).is_error(), "{line}");
                let moved = nodes[1 - owner].call(&line);
                let expected = format!("MOVED {slot} 127.0.0.1:{}", nodes[owner].port());
                assert_eq!(moved.error(), expected, "{line}");
            }
        }
    }
    assert!(owned.iter().all(|keys| *keys > 0), "{owned:?}");
}

#[test]
fn a_slot_moves_with_its_limiters() {
    let [from, to] = cluster();
    let key = (0..)
        .map(|i| format!("user:{i}"))
        .find(|key| from.call(&format!("CLUSTER KEYSLOT {key}")).int() < 8192)
        .unwrap();
    let slot = from.call(&format!("CLUSTER KEYSLOT {key}")).int();
    let ids = [&from, &to].map(|node| node.call("CLUSTER MYID").text());
    let keys: Vec<String> = FIVE_A_MONTH
        .iter()
        .map(|(algorithm, _)| format!("{algorithm}{{{key}}}"))
        .collect();
    for ((algorithm, limits), key) in FIVE_A_MONTH.iter().zip(&keys) {
        from.decide(&format!("RL.{algorithm} {key} {limits} COST 3"));
    }
    let digests: Vec<String> = keys.iter().map(|key| from.digest_value(key)).collect();
    to.ok(&format!("CLUSTER SETSLOT {slot} IMPORTING {}", ids[0]));
    from.ok(&format!("CLUSTER SETSLOT {slot} MIGRATING {}", ids[1]));
    from.ok(&format!(
        "MIGRATE 127.0.0.1 {} \"\" 0 10000 KEYS {}",
        to.port(),
        keys.join(" ")
    ));
    // Half way: the old owner sends who asks to the new one.
    let line = format!("RL.PEEK FIXED {} 5 30d COST 0", keys[0]);
    assert!(from
        .call(&line)
        .error()
        .starts_with(&format!("ASK {slot} ")));
    to.ok("ASKING");
    assert_eq!(to.decide(&line).remaining, 2);
    to.ok(&format!("CLUSTER SETSLOT {slot} NODE {}", ids[1]));
    from.ok(&format!("CLUSTER SETSLOT {slot} NODE {}", ids[1]));
    for (((algorithm, limits), key), digest) in FIVE_A_MONTH.iter().zip(&keys).zip(digests) {
        assert_eq!(to.digest_value(key), digest, "{algorithm}");
        assert!(to.call(&format!("PTTL {key}")).int() > 0);
        let line = format!("RL.{algorithm} {key} {limits}");
        assert_eq!(to.decide(&line).remaining, 1);
        assert!(from
            .call(&line)
            .error()
            .starts_with(&format!("MOVED {slot} ")));
    }
}
