//! Leases: units that are held, end by themselves, and are given back; on a real server whose clock is the test's.

use std::thread;

use crate::support::resp::Connection;
use crate::support::{aof, eventually, pair, payload, Clock, Random, Reply, Server};

/// A midnight.
const START_MS: u64 = 1_700_006_400_000;

#[track_caller]
fn five(server: &Server, line: &str) -> Vec<i64> {
    let reply = server.call(line);
    assert!(!reply.is_error(), "{line}: {reply:?}");
    reply.array()[..5].iter().map(Reply::int).collect()
}

/// Who holds what, and for how long.
fn held(server: &Server, key: &str) -> Vec<(Vec<u8>, i64, i64)> {
    let info = server.call(&format!("RL.INFO {key}"));
    if info == Reply::Nil {
        return Vec::new();
    }
    let lease = |lease: &Reply| {
        let id = lease.field("id").bytes().to_vec();
        (
            id,
            lease.field("cost").int(),
            lease.field("ends_after_ms").int(),
        )
    };
    info.field("leases").array().iter().map(lease).collect()
}

#[test]
fn a_holder_that_crashed_frees_its_units_at_the_end_of_its_ttl() {
    let Some((clock, server)) = Clock::started(START_MS) else {
        return;
    };
    assert_eq!(
        five(&server, "RL.LEASE jobs 3 2m a COST 2"),
        [1, 3, 1, 0, 120_000]
    );
    clock.step(30_000);
    assert_eq!(five(&server, "RL.LEASE jobs 3 2m b"), [1, 3, 0, 0, 120_000]);
    assert_eq!(
        five(&server, "RL.LEASE jobs 3 2m c"),
        [0, 3, 0, 90_000, 120_000]
    );
    assert_eq!(
        five(&server, "RL.PEEK LEASE jobs 3 2m c"),
        [0, 3, 0, 90_000, 120_000]
    );
    assert_eq!(
        five(&server, "RL.LEASE jobs 3 2m c COST 3"),
        [0, 3, 0, 120_000, 120_000]
    );
    assert_eq!(
        five(&server, "RL.LEASE jobs 3 2m c COST 4"),
        [0, 3, 0, -1, 120_000]
    );
    assert!(server.call("PTTL jobs").int() >= 120_000);
    clock.step(89_999);
    assert_eq!(five(&server, "RL.LEASE jobs 3 2m c")[..4], [0, 3, 0, 1]);
    clock.step(1);
    assert_eq!(five(&server, "RL.LEASE jobs 3 2m c"), [1, 3, 1, 0, 120_000]);
    let ids: Vec<_> = held(&server, "jobs")
        .into_iter()
        .map(|(id, ..)| id)
        .collect();
    assert_eq!(ids, [b"b", b"c"]);
}

#[test]
fn a_late_release_frees_nobody_elses() {
    let Some((clock, server)) = Clock::started(START_MS) else {
        return;
    };
    five(&server, "RL.LEASE jobs 1 10s slow");
    clock.step(10_000);
    assert_eq!(five(&server, "RL.LEASE jobs 1 10s next")[0], 1);
    let state = server.digest();
    let writes = aof::commands(&server).len();
    assert_eq!(server.call("RL.RELEASE jobs slow").int(), 0);
    assert_eq!(server.call("RL.RELEASE jobs nobody").int(), 0);
    assert_eq!(server.call("RL.RELEASE none nobody").int(), 0);
    assert_eq!(server.digest(), state);
    assert_eq!(aof::commands(&server).len(), writes, "nothing is written");
    // Nor does a key go that never had a lease, which no hit leaves behind.
    let dump = server.call("DUMP jobs");
    let type_and_module = &payload::value(dump.bytes())[..10];
    let string = [5, 7, 2, 3, 1, 1, 0x90, 0x4e, 0, 0]; // of 7 bytes: leases, of one limit: 1, 10 s, and none is held
    let none = payload::with_value(dump.bytes(), &[type_and_module, &string].concat());
    let restored = server.call_bytes(&[b"RESTORE", b"empty", b"0", &none]);
    assert!(!restored.is_error(), "{restored:?}");
    assert_eq!(server.call("RL.RELEASE empty nobody").int(), 0);
    assert_eq!(server.call("EXISTS empty").int(), 1);
    assert_eq!(five(&server, "RL.LEASE jobs 1 10s third")[0], 0);
    // The id of one that ended may be taken again.
    assert_eq!(server.call("RL.RELEASE jobs next").int(), 1);
    assert_eq!(five(&server, "RL.LEASE jobs 1 10s slow")[0], 1);
}

#[test]
fn the_same_id_renews() {
    let Some((clock, server)) = Clock::started(START_MS) else {
        return;
    };
    five(&server, "RL.LEASE jobs 3 1m a COST 2");
    five(&server, "RL.LEASE jobs 3 1m b COST 1");
    clock.step(40_000);
    // Its own units do not count against it; cost and ttl are set anew.
    assert_eq!(
        five(&server, "RL.LEASE jobs 3 2m a COST 2"),
        [1, 3, 0, 0, 120_000]
    );
    assert_eq!(
        held(&server, "jobs"),
        [(b"b".to_vec(), 1, 20_000), (b"a".to_vec(), 2, 120_000)]
    );
    // A renewal that is denied leaves it as it was.
    assert_eq!(
        five(&server, "RL.LEASE jobs 3 5m a COST 3")[..4],
        [0, 3, 0, 20_000]
    );
    assert_eq!(
        held(&server, "jobs"),
        [(b"b".to_vec(), 1, 20_000), (b"a".to_vec(), 2, 120_000)]
    );
    // The same or a smaller cost renews above a limit that was lowered.
    assert_eq!(five(&server, "RL.LEASE jobs 1 1m a COST 2")[..3], [1, 1, 0]);
    assert_eq!(five(&server, "RL.LEASE jobs 0 1m a COST 1")[..3], [1, 0, 0]);
    assert_eq!(five(&server, "RL.LEASE jobs 1 1m c")[..3], [0, 1, 0]);
    // Nothing asks only.
    let state = server.digest();
    assert_eq!(five(&server, "RL.LEASE jobs 5 9m a COST 0")[..3], [1, 5, 3]);
    assert_eq!(server.digest(), state);
    // Once it has ended, it is no renewal.
    clock.step(60_000);
    assert_eq!(
        five(&server, "RL.LEASE jobs 0 1m a COST 1")[..4],
        [0, 0, 0, -1]
    );
}

#[test]
fn a_renewal_that_comes_too_late_takes_nobody_elses() {
    let Some((clock, server)) = Clock::started(START_MS) else {
        return;
    };
    let renewal = "RL.LEASE jobs 1 10s slow";
    let other = "RL.LEASE jobs 1 10s next";
    assert_eq!(five(&server, renewal)[0], 1);
    // In its last millisecond it is renewed, whoever waits.
    clock.step(9_999);
    assert_eq!(five(&server, other)[..4], [0, 1, 0, 1]);
    assert_eq!(five(&server, renewal), [1, 1, 0, 0, 10_000]);
    assert_eq!(five(&server, other)[..4], [0, 1, 0, 10_000]);
    // A millisecond later the first to ask has it.
    clock.step(10_000);
    assert_eq!(five(&server, other)[0], 1);
    assert_eq!(five(&server, renewal)[..4], [0, 1, 0, 10_000]);
    let both = "RL.ALL 2 jobs hits LEASE 1 10s slow FIXED 5 30d";
    assert_eq!(five(&server, both)[..4], [0, 1, 0, 10_000]);
    assert_eq!(server.call("RL.RELEASE jobs slow").int(), 0);
    assert_eq!(held(&server, "jobs"), [(b"next".to_vec(), 1, 10_000)]);
    assert_eq!(server.call("EXISTS hits").int(), 0);
}

#[test]
fn what_is_said_wrongly_is_refused() {
    let Some((_clock, server)) = Clock::started(START_MS) else {
        return;
    };
    let long = "i".repeat(65);
    for (line, says) in [
        (
            "RL.LEASE k 5 1m id COST -1",
            "a lease is given back by RL.RELEASE",
        ),
        ("RL.LEASE k 5 1m id FORCE", "FORCE does not go with a lease"),
        ("RL.LEASE k 5 1m id MIN 1", "MIN does not go with a lease"),
        (
            "RL.LEASE k 5 1m \"\"",
            "argument 4 (id) must be from 1 to 64 bytes",
        ),
        (
            &format!("RL.LEASE k 5 1m {long}"),
            "argument 4 (id) must be from 1 to 64 bytes",
        ),
        ("RL.LEASE k 5 60 id", "argument 3 (ttl)"),
        ("RL.LEASE k x 1m id", "argument 2 (limit)"),
        ("RL.LEASE k 5 1m id 6 2m id", "argument 5"),
        ("RL.RELEASE k \"\"", "argument 2 (id)"),
        (&format!("RL.RELEASE k id {long}"), "argument 3 (id)"),
        ("RL.LEASE k 5 1m", "wrong number"),
        ("RL.RELEASE k", "wrong number"),
    ] {
        let error = server.call(line);
        assert!(error.error().contains(says), "{line}: {error:?}");
    }
    assert_eq!(server.call("EXISTS k").int(), 0);
    // Words of the grammar are ids as any other.
    for id in ["FIXED", "COST", "5", "DENY"] {
        assert_eq!(five(&server, &format!("RL.LEASE words 9 1m {id}"))[0], 1);
    }
    assert_eq!(
        server.call("RL.RELEASE words FIXED COST 5 DENY DENY").int(),
        4
    );
    server.call("SET string v");
    server.call("RL.FIXED fixed 5 1h");
    for line in [
        "RL.LEASE string 5 1m id",
        "RL.RELEASE string id",
        "RL.LEASE fixed 5 1m id",
        "RL.RELEASE fixed id",
    ] {
        assert!(
            server.call(line).error().starts_with("WRONGTYPE "),
            "{line}"
        );
    }
    server.call("RL.LEASE lease 5 1m id");
    assert!(server
        .call("RL.FIXED lease 5 1m")
        .error()
        .contains("holds a lease limiter"));
}

#[test]
fn an_id_is_any_bytes() {
    let Some((_clock, server)) = Clock::started(START_MS) else {
        return;
    };
    let mut ids: Vec<Vec<u8>> = (0..=255_u8).map(|byte| vec![byte]).collect();
    ids.extend([
        vec![0; 64],
        vec![255; 64],
        b"a\r\nb".to_vec(),
        (0..64).collect(),
    ]);
    for id in &ids {
        let reply = server.call_bytes(&[b"RL.LEASE", b"k", b"1000", b"1m", id]);
        assert_eq!(reply.array()[0], Reply::Int(1), "{id:?}");
    }
    let digest = server.digest_value("k");
    server.ok("DEBUG RELOAD");
    server.ok("DEBUG LOADAOF");
    aof::rewrite(&server);
    server.ok("DEBUG LOADAOF");
    assert_eq!(server.digest_value("k"), digest);
    for (released, id) in ids.iter().enumerate() {
        assert_eq!(server.call("EXISTS k").int(), 1, "{released}");
        assert_eq!(
            server.call_bytes(&[b"RL.RELEASE", b"k", id]).int(),
            1,
            "{id:?}"
        );
        assert_eq!(
            server.call_bytes(&[b"RL.RELEASE", b"k", id]).int(),
            0,
            "{id:?}"
        );
    }
    assert_eq!(
        server.call("EXISTS k").int(),
        0,
        "the last one was released"
    );
}

#[test]
fn a_key_has_4096_leases_and_not_one_more() {
    let Some((clock, server)) = Clock::started(START_MS) else {
        return;
    };
    let lines: Vec<String> = (0..4_096)
        .map(|id| format!("RL.LEASE k 9999 1m id{id}"))
        .collect();
    for reply in server.bulk(&lines) {
        assert_eq!(reply.array()[0], Reply::Int(1), "{reply:?}");
    }
    let digest = server.digest_value("k");
    let error = server.call("RL.LEASE k 9999 1m another");
    assert_eq!(
        error.error(),
        "ERR too many leases on this key (maximum 4096)"
    );
    let error = server.call("RL.ALL 2 new k FIXED 5 1h LEASE 9999 1m another");
    assert_eq!(
        error.error(),
        "ERR too many leases on this key (maximum 4096)"
    );
    assert_eq!(server.call("EXISTS new").int(), 0);
    assert_eq!(server.digest_value("k"), digest);
    assert_eq!(
        five(&server, "RL.LEASE k 9999 1m id7")[0],
        1,
        "a renewal adds none"
    );
    assert_eq!(server.call("RL.RELEASE k id8").int(), 1);
    assert_eq!(five(&server, "RL.LEASE k 9999 2m another")[0], 1);
    server.ok("DEBUG RELOAD");
    // Those that ended make room.
    clock.step(60_000);
    assert_eq!(five(&server, "RL.LEASE k 9999 1m more")[2], 9_997);
    assert_eq!(held(&server, "k").len(), 2);
}

#[test]
fn a_release_on_the_primary_deletes_the_key_on_the_replica() {
    let clock = Clock::at(START_MS);
    let elsewhen = Clock::at(START_MS + 86_400_000);
    let Some(mut primary) = clock.server(&pair::PRIMARY) else {
        return;
    };
    let replica = pair::replica_of(&primary, |lines| elsewhen.server(lines).unwrap());
    five(&primary, "RL.LEASE jobs 3 2m a");
    five(&primary, "RL.LEASE jobs 3 3m b");
    pair::assert_equal(&primary, &replica);
    assert_eq!(primary.call("RL.RELEASE jobs a b c").int(), 2);
    pair::wait_for(&replica, &primary);
    assert_eq!(
        (primary.call("DBSIZE").int(), replica.call("DBSIZE").int()),
        (0, 0)
    );
    let denied = replica.call("RL.LEASE jobs 3 2m a");
    assert!(denied.error().starts_with("READONLY"), "{denied:?}");
    // Renewals, ends and releases, then the primary is gone.
    let mut random = Random::new(14);
    for _ in 0..2_000 {
        clock.step(random.within(0..=3_000));
        let (key, id) = (random.below(3), random.below(12));
        let line = match random.below(4) {
            0 => format!("RL.RELEASE k:{key} {id} {}", random.below(12)),
            _ => format!(
                "RL.LEASE k:{key} 20 {}s {id} COST {}",
                random.within(1..=30),
                random.within(0..=4)
            ),
        };
        assert!(!primary.call(&line).is_error(), "{line}");
    }
    for key in 0..3 {
        five(&primary, &format!("RL.LEASE k:{key} 20 1h last"));
    }
    elsewhen.set(clock.now_ms());
    pair::assert_equal(&primary, &replica);
    let before: Vec<_> = (0..3)
        .map(|key| held(&primary, &format!("k:{key}")))
        .collect();
    primary.kill();
    replica.ok("REPLICAOF NO ONE");
    let after: Vec<_> = (0..3)
        .map(|key| held(&replica, &format!("k:{key}")))
        .collect();
    assert_eq!(before, after);
    assert_eq!(replica.call("RL.RELEASE k:0 last").int(), 1);
}

#[test]
fn a_clock_that_steps_back_leaves_no_lease_more_than_it_was_given() {
    let Some((clock, server)) = Clock::started(START_MS) else {
        return;
    };
    five(&server, "RL.LEASE jobs 2 1m a");
    five(&server, "RL.LEASE jobs 2 5m b");
    clock.step(-86_400_000);
    let writes = aof::commands(&server).len();
    assert_eq!(
        five(&server, "RL.LEASE jobs 2 1m c"),
        [0, 2, 0, 60_000, 300_000]
    );
    assert_eq!(
        aof::commands(&server).len(),
        writes + 1,
        "their ends are moved, once"
    );
    clock.step(1);
    assert_eq!(
        five(&server, "RL.LEASE jobs 2 1m c"),
        [0, 2, 0, 59_999, 299_999]
    );
    assert_eq!(aof::commands(&server).len(), writes + 1);
    let digest = server.digest();
    aof::await_writes(&server);
    server.ok("DEBUG LOADAOF");
    assert_eq!(server.digest(), digest);
    assert_eq!(server.call("RL.RELEASE jobs a").int(), 1);
    clock.step(299_999);
    assert_eq!(held(&server, "jobs"), []);
    // The TTL is as it was set, which is late enough.
    clock.step(2 * 86_400_000);
    eventually("the key has expired", || {
        server.call("EXISTS jobs").int() == 0
    });
}

#[test]
fn a_policy_and_a_deny_list_govern_leases() {
    let Some((clock, server)) = Clock::started(START_MS) else {
        return;
    };
    server.ok("RL.POLICY SET gpu LEASE 1 10m");
    assert_eq!(
        five(&server, "RL.LEASE gpus 99 1s a POLICY gpu"),
        [1, 1, 0, 0, 600_000]
    );
    assert_eq!(
        five(&server, "RL.LEASE gpus 99 1s b POLICY gpu")[..4],
        [0, 1, 0, 600_000]
    );
    assert_eq!(
        five(&server, "RL.LEASE gpus 99 1s b POLICY none")[..3],
        [1, 99, 97]
    );
    // Other algorithms pass it over.
    assert_eq!(five(&server, "RL.FIXED f 5 1h POLICY gpu")[..3], [1, 5, 4]);
    // A deny list stops a renewal, and no release.
    server.call("RL.DENY ADD bad mallory");
    let listed = server.call("RL.LEASE gpus 99 1h a DENY bad mallory");
    assert_eq!((listed.array()[0].int(), listed.array()[3].int()), (0, -1));
    assert_eq!(listed.array()[5], Reply::Text(b"mallory".to_vec()));
    clock.step(1_000);
    assert_eq!(held(&server, "gpus"), [(b"a".to_vec(), 1, 599_000)]);
    assert_eq!(server.call("RL.RELEASE gpus a").int(), 1);
    // Counted as any hit is; asking and releasing are not.
    five(&server, "RL.LEASE gpus 99 1s a COST 0 POLICY gpu");
    let stats = server.call("RL.STATS GET gpu");
    let counts = ["allowed", "denied"].map(|name| stats.field(name).int());
    assert_eq!(counts, [2, 1], "{stats:?}");
}

#[test]
fn fifty_connections_never_hold_more_than_the_limit() {
    let server = Server::start();
    let port = server.port();
    let workers: Vec<_> = (0..50)
        .map(|worker| {
            thread::spawn(move || {
                let mut connection = Connection::open(port).unwrap();
                let mut most = 0;
                for round in 0..40 {
                    let id = format!("w{worker}-{round}");
                    let five = connection
                        .call(&format!("RL.LEASE pool 7 1h {id}"))
                        .unwrap()
                        .ints();
                    most = most.max(7 - five[2]);
                    assert!(five[2] >= 0 && five[2] <= 7, "{five:?}");
                    if five[0] == 1 {
                        let released = connection.call(&format!("RL.RELEASE pool {id}")).unwrap();
                        assert_eq!(released, Reply::Int(1));
                    }
                }
                most
            })
        })
        .collect();
    for worker in workers {
        assert!(worker.join().unwrap() <= 7);
    }
    assert_eq!(server.call("EXISTS pool").int(), 0, "all were given back");
}

/// Five connections for each id take, renew and give back one and the same lease.
#[test]
fn connections_that_share_ids_hold_each_once_and_never_more_than_the_limit() {
    const LIMIT: i64 = 12;
    const IDS: usize = 10;
    let server = Server::start();
    let port = server.port();
    let (denied, released): (usize, usize) = thread::scope(|scope| {
        let workers: Vec<_> = (0..50)
            .map(|worker| {
                scope.spawn(move || {
                    let mut connection = Connection::open(port).unwrap();
                    let mut random = Random::from_seed(worker);
                    let id = usize::try_from(worker).unwrap() % IDS;
                    let (mut denied, mut released) = (0, 0);
                    for _ in 0..100 {
                        if random.one_in(4) {
                            let line = format!("RL.RELEASE pool id{id}");
                            released += match connection.call(&line).unwrap() {
                                Reply::Int(freed @ 0..=1) => usize::from(freed == 1),
                                other => panic!("{other:?}"),
                            };
                            continue;
                        }
                        let cost = random.within(1..=3);
                        let line = format!("RL.LEASE pool {LIMIT} 1h id{id} COST {cost}");
                        let five = connection.call(&line).unwrap().ints();
                        assert!((0..=LIMIT).contains(&five[2]), "{five:?}");
                        // Of a limit that is not near, so that more than the other would be seen.
                        let peek = connection.call("RL.PEEK LEASE pool 1000 1h x COST 0");
                        let held = 1_000 - peek.unwrap().ints()[2];
                        assert!(held <= LIMIT, "{held} are held");
                        denied += usize::from(five[0] == 0);
                    }
                    (denied, released)
                })
            })
            .collect();
        let counts = workers.into_iter().map(|worker| worker.join().unwrap());
        counts.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    });
    assert!(denied > 50 && released > 50, "{denied} {released}");
    let leases = held(&server, "pool");
    let costs: i64 = leases.iter().map(|(_, cost, _)| cost).sum();
    assert!(costs <= LIMIT, "{leases:?}");
    let left = five(&server, &format!("RL.LEASE pool {LIMIT} 1h another COST 0"))[2];
    assert_eq!(left, LIMIT - costs, "{leases:?}");
    let ids: Vec<String> = (0..IDS).map(|id| format!("id{id}")).collect();
    let freed = server.call(&format!("RL.RELEASE pool {}", ids.join(" ")));
    assert_eq!(freed.int(), i64::try_from(leases.len()).unwrap());
    assert_eq!(server.call("EXISTS pool").int(), 0);
}

#[test]
fn a_release_leaves_the_other_leases_their_time() {
    let Some((clock, server)) = Clock::started(START_MS) else {
        return;
    };
    five(&server, "RL.LEASE key 5 1h a");
    five(&server, "RL.LEASE key 5 1h b");
    assert_eq!(server.call("PEXPIRE key 1000"), Reply::Int(1));
    assert_eq!(server.call("RL.RELEASE key a"), Reply::Int(1));
    clock.step(2_000);
    assert_eq!(held(&server, "key").len(), 1);
}
