//! `ID`: a hit is charged once, however often it is sent.

use crate::support::random::Random;
use crate::support::resp::Connection;
use crate::support::{aof, eventually, pair, Clock, Reply, Server};

/// A midnight.
const START_MS: u64 = 1_700_006_400_000;
/// `START_MS`, as replies say it.
const STAMP: i64 = 1_700_006_400_000;

#[track_caller]
fn ints(server: &Server, line: &str) -> Vec<i64> {
    let reply = server.call(line);
    assert!(!reply.is_error(), "{line}: {reply:?}");
    let nested = |reply: &Reply| matches!(reply, Reply::Array(_) | Reply::Nil | Reply::Text(_));
    let flat = reply.array().iter().filter(|each| !nested(each));
    flat.map(Reply::int).collect()
}

/// What has been counted on a key of one window.
fn used(server: &Server, key: &str) -> i64 {
    let info = server.call(&format!("RL.INFO {key}"));
    info.field("limits").array()[0].field("used").int()
}

#[test]
fn a_repeat_is_answered_as_the_hit_was_and_writes_nothing() {
    let Some((clock, server)) = Clock::started(START_MS) else {
        return;
    };
    for limiter in [
        "RL.FIXED k 10 1h",
        "RL.SLIDING k 10 1h",
        "RL.BUCKET k 10 10 1h",
    ] {
        clock.set(START_MS);
        assert_eq!(
            ints(&server, &format!("{limiter} COST 4 ID a"))[..3],
            [1, 10, 6]
        );
        assert_eq!(
            server.call(&format!("{limiter} ID b")).array()[5],
            Reply::Int(0)
        );
        clock.step(1_000);
        let written = aof::commands(&server);
        for line in ["COST 4 ID a", "ID a COST 100", "COST -4 ID a", "FORCE ID a"] {
            let reply = ints(&server, &format!("{limiter} {line}"));
            assert_eq!(
                (reply[0], reply[2], reply[5]),
                (1, 5, 1),
                "{limiter} {line}"
            );
        }
        assert_eq!(aof::commands(&server), written);
        assert_eq!(server.call("RL.INFO k").field("ids").int(), 2);
        // The rest come in their order.
        let line = format!("{limiter} MIN 1 STAMP NEXT ID a DENY none x");
        let reply = server.call(&line);
        let reply = reply.array();
        assert_eq!(reply.len(), 10, "{line}: {reply:?}");
        assert_eq!(
            reply[6..],
            [Reply::Int(1), Reply::Int(4), Reply::Int(STAMP), Reply::Nil]
        );
        server.call("DEL k");
        assert_eq!(
            server.call(&format!("{limiter} ID a")).array()[5],
            Reply::Int(0)
        );
        server.call("DEL k");
    }
}

#[test]
fn a_repeat_counts_in_no_statistics() {
    let server = Server::start();
    for _ in 0..5 {
        server.call("RL.FIXED k 10 1h POLICY api ID a");
        server.call("RL.FIXED full 1 1h COST 2 FORCE POLICY api ID a");
        server.call("RL.ALL 2 k other FIXED 10 1h POLICY api FIXED 10 1h POLICY api ID a");
    }
    let total = |field| server.info_number("ratelimit_stats", &format!("ratelimit_{field}"));
    // `k` and `other` once each, and the forced one, which did not fit.
    assert_eq!((total("allowed"), total("denied")), (2, 1));
}

#[test]
fn the_deny_list_is_asked_about_a_repeat_all_the_same() {
    let server = Server::start();
    server.call("RL.DENY ADD bots 192.0.2.7");
    let line = "RL.FIXED k 10 1h STAMP MIN 1 ID a DENY bots";
    assert_eq!(
        server.call(&format!("{line} 192.0.2.8")).array()[5],
        Reply::Int(0)
    );
    let listed = server.call(&format!("{line} 192.0.2.7"));
    let listed = listed.array();
    assert_eq!((&listed[0], listed[2].int()), (&Reply::Int(0), 9));
    assert_eq!(listed[5..8], [Reply::Int(0), Reply::Int(0), Reply::Int(0)]);
    assert_eq!(listed[8].text(), "192.0.2.7");
    assert_eq!(
        server.call(&format!("{line} 192.0.2.8")).array()[5],
        Reply::Int(1)
    );
}

#[test]
fn of_several_keys_those_that_have_had_the_call_are_not_charged_and_do_not_bind() {
    let Some((clock, server)) = Clock::started(START_MS) else {
        return;
    };
    let call =
        "RL.ALL 3 user org job FIXED 10 1h COST 2 SLIDING 100 1h COST 2 LEASE 2 1m j1 STAMP ID r1";
    let element = |reply: &Reply, place: usize| reply.array()[place].int();
    server.call("RL.FIXED user 10 1h COST 8 ID r1");
    clock.step(1_000);
    let first = server.call(call);
    // `user` has nothing to say; `org` is charged, and binds.
    assert_eq!(
        [0, 1, 6, 7, 8].map(|place| element(&first, place)),
        [1, 2, 3, 0, STAMP + 1_000]
    );
    assert_eq!((used(&server, "user"), used(&server, "org")), (8, 2));
    clock.step(1_000);
    let again = server.call(call);
    assert_eq!(element(&again, 7), 1);
    assert_eq!(element(&again, 8), STAMP + 1_000);
    assert_eq!((used(&server, "user"), used(&server, "org")), (8, 2));
    // What has not had the call may deny it.
    server.call("RL.FIXED full 1 1h");
    let denied = server.call("RL.ALL 2 org full SLIDING 100 1h COST 2 FIXED 1 1h ID r1");
    assert_eq!([0, 6, 7].map(|place| element(&denied, place)), [0, 2, 0]);
    assert_eq!(used(&server, "org"), 2);
    let error = server.call("RL.ALL 1 job LEASE 2 1m j1 ID r1");
    assert_eq!(
        error.error(),
        "ERR argument 7: ID does not go with a lease, which has an id of its own"
    );
}

#[test]
fn ids_are_saved_replayed_copied_and_kept_by_the_ttl() {
    let Some((clock, server)) = Clock::started(START_MS) else {
        return;
    };
    for line in [
        "RL.FIXED f 10 1s ID a",
        "RL.SLIDING s 10 1s COST 2 FORCE ID a",
        "RL.BUCKET b 1 1 10s RESERVE 1m ID x",
        "RL.BUCKET b 1 1 10s RESERVE 1m STAMP ID a",
        "RL.FIXED d 10 1mo@15,Europe/Berlin ID a",
        "RL.FIXED l 10 1s BLOCK 1h ID a",
        "RL.FIXED l 10 1s COST 10 BLOCK 1h ID b",
        "RL.FIXED r 10 1h ID x",
        "RL.FIXED r 10 1h COST -1 ID y",
        "RL.FIXED r 10 1h COST -1 ID a",
    ] {
        let reply = server.call(line);
        assert!(!reply.is_error(), "{line}: {reply:?}");
    }
    let digest = server.digest();
    server.ok("DEBUG RELOAD");
    assert_eq!(server.digest(), digest, "reloaded");
    aof::await_writes(&server);
    server.ok("DEBUG LOADAOF");
    assert_eq!(server.digest(), digest, "replayed");
    aof::rewrite(&server);
    server.ok("DEBUG LOADAOF");
    assert_eq!(server.digest(), digest, "rewritten");
    clock.step(5_000); // most windows are over, and no key is gone
    for (key, line) in [
        ("f", "RL.FIXED {} 10 1s"),
        ("s", "RL.SLIDING {} 10 1s"),
        ("b", "RL.BUCKET {} 1 1 10s RESERVE 1m"),
        ("d", "RL.FIXED {} 10 1mo@15,Europe/Berlin"),
        ("l", "RL.FIXED {} 10 1s"),
        ("r", "RL.FIXED {} 10 1h COST -1"),
    ] {
        assert_eq!(server.call(&format!("COPY {key} copy REPLACE")).int(), 1);
        for key in [key, "copy"] {
            let reply = server.call(&format!("{} ID a", line.replace("{}", key)));
            assert_eq!(reply.array()[5], Reply::Int(1), "{key}: {reply:?}");
        }
        if key == "b" {
            let wait = server.call("RL.BUCKET b 1 1 10s RESERVE 1m ID a").array()[3].int();
            assert_eq!(wait, 5_000);
        }
        assert!(server.call(&format!("PTTL {key}")).int() > 594_000, "{key}");
    }
}

#[test]
fn an_id_is_remembered_as_long_and_as_often_as_the_settings_say() {
    let Some((clock, server)) = Clock::started(START_MS) else {
        return;
    };
    assert_eq!(server.call("CONFIG GET ratelimit.id*").texts().len(), 4);
    server.ok("CONFIG SET ratelimit.ids 2 ratelimit.id-ttl 90S");
    assert_eq!(server.call("CONFIG GET ratelimit.id-ttl").texts()[1], "90s");
    for refused in [
        "ids 0",
        "ids 4097",
        "id-ttl 999ms",
        "id-ttl 25h",
        "id-ttl 600",
        "id-ttl x",
    ] {
        assert!(server
            .call(&format!("CONFIG SET ratelimit.{refused}"))
            .is_error());
    }
    let is_repeat = |id: &str| server.call(&format!("RL.FIXED k 100 1d ID {id}")).array()[5].int();
    assert_eq!(
        ["a", "b", "a", "c", "a", "c"].map(is_repeat),
        [0, 0, 1, 0, 0, 1]
    );
    clock.step(89_999);
    assert_eq!(["a", "c"].map(is_repeat), [1, 1]);
    clock.step(1);
    assert_eq!(["a", "c"].map(is_repeat), [0, 0]);
    // After a step back of the clock, no longer than that.
    clock.step(-3_600_000);
    assert_eq!(is_repeat("a"), 1);
    server.call("RL.FIXED k 100 1d");
    clock.step(90_000);
    assert_eq!(is_repeat("a"), 0);
}

#[test]
fn nodes_with_other_settings_agree_on_what_is_remembered() {
    let lines = ["appendonly yes"];
    let (primary, replica) = pair::of(|more| Server::with(&[&lines[..], more].concat()));
    replica.ok("CONFIG SET ratelimit.ids 4 ratelimit.id-ttl 1d");
    primary.ok("CONFIG SET ratelimit.ids 9 ratelimit.id-ttl 1s");
    let mut random = Random::new(26);
    for round in 0..3_000 {
        let cost = random.within(-1..=2);
        let key = random.below(5);
        primary.call(&format!(
            "RL.SLIDING k:{key} 1000000 1h COST {cost} ID {}",
            random.below(25)
        ));
        if round % 1_000 == 500 {
            primary.ok("CONFIG SET ratelimit.ids 3 ratelimit.id-ttl 10m");
        }
    }
    pair::assert_equal(&primary, &replica);
    replica.ok("REPLICAOF NO ONE");
    for key in 0..5 {
        let ids = |server: &Server| server.call(&format!("RL.INFO k:{key}")).field("ids").int();
        assert_eq!(ids(&primary), ids(&replica));
        assert!(ids(&replica) <= 3);
    }
}

#[test]
fn a_thousand_hits_sent_again_over_breaking_connections_and_a_failover_count_once() {
    let (mut primary, replica) = pair::of(Server::with);
    primary.ok("CONFIG SET ratelimit.ids 200");
    replica.ok("CONFIG SET ratelimit.ids 200");
    let mut random = Random::new(1_000);
    // Who sends gives each hit some tries, a few hits at a time, in any order.
    let mut waiting: Vec<(usize, usize)> = Vec::new();
    let mut next = 0;
    let mut port = primary.port();
    let mut connection = Connection::open(port).unwrap();
    let mut firsts = 0;
    while next < 1_000 || !waiting.is_empty() {
        if next < 1_000 && waiting.len() < 20 {
            waiting.push((next, 1 + random.below(5)));
            next += 1;
            if next == 500 {
                // The primary is killed; whoever sends cannot know which of its last hits had been counted.
                pair::wait_for(&replica, &primary);
                primary.kill();
                replica.ok("REPLICAOF NO ONE");
                port = replica.port();
                connection = Connection::open(port).unwrap();
            }
        }
        let place = random.below(waiting.len());
        let (hit, left) = waiting[place];
        let line = format!("RL.FIXED k 1000000 30d ID 7c2f4a52-0b1e-4c57-9d55-{hit:012}");
        connection.send(&line).unwrap();
        if random.one_in(3) {
            connection = Connection::open(port).unwrap(); // the reply is lost
        } else {
            firsts += usize::from(connection.receive().unwrap().array()[5] == Reply::Int(0));
        }
        match left {
            1 => drop(waiting.swap_remove(place)),
            _ => waiting[place].1 -= 1,
        }
    }
    // A hit that was sent last on a connection that broke may still be on its way.
    eventually("each is counted once", || used(&replica, "k") == 1_000);
    assert!(firsts <= 1_000, "{firsts}");
}

#[test]
fn a_settlement_sent_twice_gives_back_once() {
    let server = Server::start();
    for limiter in [
        "RL.FIXED k 1000 1h",
        "RL.SLIDING k 1000 1h",
        "RL.BUCKET k 1000 1 30d",
    ] {
        let reserved = server.call(&format!("{limiter} COST 500 STAMP ID call"));
        let stamp = reserved.array()[6].int();
        server.call(&format!("{limiter} COST 300"));
        for is_repeat in [0, 1, 1] {
            let line = format!("{limiter} COST -100 AT {stamp} FORCE ID call-done");
            assert_eq!(server.call(&line).array()[5], Reply::Int(is_repeat));
            assert_eq!(used(&server, "k"), 700);
        }
        server.call("DEL k");
    }
}

#[test]
fn ids_that_somebody_makes_up_let_no_hit_through_uncharged() {
    let server = Server::start();
    let mut made_up = server.connect();
    let mut charged = 0;
    for batch in 0..100_u64 {
        let lines: Vec<String> = (0..1_000)
            .map(|number| {
                let id = batch * 1_000 + number;
                match number % 4 {
                    0 => format!("RL.FIXED k 1000000000 30d ID {id}"),
                    1 => format!("RL.FIXED k 1000000000 30d ID {id:064}"),
                    2 => format!("RL.FIXED k 1000000000 30d ID order-{id}"),
                    _ => format!("RL.FIXED k 1000000000 30d ID {:016x}", id * 0x1_0001),
                }
            })
            .collect();
        for reply in made_up.bulk(&lines) {
            assert_eq!(reply.array()[5], Reply::Int(0));
            charged += 1;
        }
        let ours = format!("RL.FIXED k 1000000000 30d ID 018f-{batch}");
        assert_eq!(server.call(&ours).array()[5], Reply::Int(0));
        assert_eq!(server.call(&ours).array()[5], Reply::Int(1));
        charged += 1;
    }
    assert_eq!(used(&server, "k"), charged);
    assert_eq!(server.call("RL.INFO k").field("ids").int(), 64);
}

#[test]
fn of_several_regions_the_one_that_charged_a_hit_knows_it() {
    let [eu, us] = ["eu", "us"].map(|region| {
        let server = Server::start();
        server.ok(&format!("CONFIG SET ratelimit.region {region}"));
        server
    });
    let line = "RL.SLIDING k 100 1h ID a";
    for (server, is_repeat) in [(&eu, 0), (&us, 0), (&eu, 1), (&us, 1)] {
        assert_eq!(server.call(line).array()[5], Reply::Int(is_repeat));
    }
    let digest = eu.digest();
    eu.ok("DEBUG RELOAD");
    assert_eq!(eu.digest(), digest);
    assert_eq!(eu.call(line).array()[5], Reply::Int(1));
    // A reset forgets what was used, and who used it.
    let reset = eu.call("RL.RESET k");
    assert!(!reset.is_error(), "{reset:?}");
    assert_eq!(eu.call(line).array()[5], Reply::Int(0));
}
