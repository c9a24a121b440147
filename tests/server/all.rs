//! One decision over several keys: charged to all or to none, on real servers.

use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::support::resp::Connection;
use crate::support::{aof, eventually, pair, traffic, Clock, Random, Reply, Server};

/// A midnight.
const START_MS: u64 = 1_700_006_400_000;

fn unix_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_millis()).unwrap()
}

/// The five integers of the limit that binds.
#[track_caller]
fn five(reply: &Reply) -> Vec<i64> {
    assert!(!reply.is_error(), "{reply:?}");
    reply.array()[..5].iter().map(Reply::int).collect()
}

/// One reply per key.
fn each(reply: &Reply) -> &[Reply] {
    reply.array()[5].array()
}

/// The number of the key that binds.
fn binds(reply: &Reply) -> i64 {
    reply.array()[6].int()
}

#[test]
fn all_are_charged_or_none() {
    let Some(server) = Clock::at(START_MS).server(&[]) else {
        return;
    };
    let line = "RL.ALL 3 {acme}:rpm {acme}:tpm {acme}:par \
                SLIDING 500 1m SLIDING 2000 1m COST 1500 LEASE 10 2m req-77";
    let reply = server.call(line);
    assert_eq!(
        five(&reply),
        [1, 2000, 500, 0, 60_000],
        "500 of 1500 are less than 499 of 1"
    );
    assert_eq!(binds(&reply), 2);
    let expected = [
        [1, 500, 499, 0, 60_000],
        [1, 2000, 500, 0, 60_000],
        [1, 10, 9, 0, 120_000],
    ];
    let answered: Vec<Vec<i64>> = each(&reply).iter().map(Reply::ints).collect();
    assert_eq!(answered, expected);
    let state = server.digest();
    let peek = line
        .replace("RL.ALL", "RL.PEEKALL")
        .replace("req-77", "req-78");
    assert_eq!(five(&server.call(&peek)), [0, 2000, 500, 60_000, 60_000]);
    let denied = server.call(&line.replace("req-77", "req-78"));
    assert_eq!(five(&denied), [0, 2000, 500, 60_000, 60_000]);
    assert_eq!(binds(&denied), 2);
    // The others would have let it through, and say how they stand: uncharged.
    let answered: Vec<Vec<i64>> = each(&denied).iter().map(Reply::ints).collect();
    assert_eq!(
        answered,
        [
            [1, 500, 499, 0, 60_000],
            [0, 2000, 500, 60_000, 60_000],
            [1, 10, 9, 0, 120_000]
        ]
    );
    assert_eq!(server.digest(), state);
    // Denied by two: the longest wait binds, and never is the longest.
    let never = server
        .call("RL.ALL 2 {acme}:tpm {acme}:rpm SLIDING 2000 1m COST 501 SLIDING 500 1m COST 501");
    assert_eq!((five(&never)[3], binds(&never)), (-1, 2));
    // FORCE charges them all.
    let forced = server
        .call("RL.ALL 2 {acme}:tpm {acme}:rpm SLIDING 2000 1m COST 501 SLIDING 500 1m FORCE STAMP");
    assert_eq!((five(&forced)[0], binds(&forced)), (0, 1));
    assert_eq!(forced.array()[7].int(), i64::try_from(START_MS).unwrap());
    assert_eq!(
        server
            .call("RL.PEEK SLIDING {acme}:rpm 500 1m COST 0")
            .ints()[2],
        498
    );
}

#[test]
fn the_reply_has_its_places() {
    let Some(server) = Clock::at(START_MS).server(&[]) else {
        return;
    };
    let now = i64::try_from(START_MS).unwrap();
    let line =
        "RL.ALL 2 a b FIXED 5 1m 9 1h COST 2 SLIDING 5 1m AT 1700006399999 STAMP DENY bad x y";
    server.call("RL.DENY ADD bad z");
    let reply = server.call(line);
    assert_eq!(reply.array().len(), 9, "{reply:?}");
    assert_eq!(each(&reply)[0].array().len(), 6, "a has two limits");
    assert_eq!(each(&reply)[1].array().len(), 5);
    assert_eq!(
        reply.array()[7],
        Reply::Int(now - 1),
        "STAMP answers what AT says"
    );
    assert_eq!(reply.array()[8], Reply::Nil);
    assert_eq!(
        server.call("EXISTS a").int(),
        0,
        "a's windows had not begun"
    );
    assert_eq!(server.call("EXISTS b").int(), 1);
    let state = server.digest();
    let listed = server.call("RL.ALL 2 a b FIXED 5 1m SLIDING 5 1m STAMP DENY bad x z");
    assert_eq!((listed.array()[0].int(), listed.array()[3].int()), (0, -1));
    assert_eq!(binds(&listed), 0);
    assert_eq!(listed.array()[7], Reply::Int(0));
    assert_eq!(listed.array()[8], Reply::Text(b"z".to_vec()));
    assert_eq!(server.digest(), state);
    let peeked = server.call("RL.PEEKALL 2 a b FIXED 5 1m SLIDING 5 1m DENY bad z");
    assert_eq!(binds(&peeked), 0);
    // One key is a list of one.
    let one = server.call("RL.ALL 1 c FIXED 5 1m");
    assert_eq!((each(&one).len(), binds(&one)), (1, 1));
    // RESP2 has the same shape.
    let mut plain = Connection::open(server.port()).unwrap();
    let plain = plain.call("RL.PEEKALL 1 c FIXED 5 1m COST 0").unwrap();
    assert_eq!(plain, server.call("RL.PEEKALL 1 c FIXED 5 1m COST 0"));
}

#[test]
fn the_wait_of_a_denied_call_is_exact() {
    let clock = Clock::at(START_MS);
    let Some(server) = clock.server(&[]) else {
        return;
    };
    let mut random = Random::new(77);
    let (mut waited, mut never) = (0, 0);
    for round in 0..400 {
        clock.step(random.within(0..=100_000));
        let keys = 1 + random.below(4);
        let mut line = format!("{keys}");
        for key in 0..keys {
            line += &format!(" r{}:{key}", round / 20);
        }
        for key in 0..keys {
            let window = ["900ms", "7s", "1m", "10m"][random.below(4)];
            let limit = random.within(1..=6);
            line += &match key {
                0 => format!(" FIXED {limit} {window}"),
                1 => format!(" SLIDING {limit} {window} 7 1h"),
                2 => format!(" BUCKET {limit} {} {window}", random.within(1..=3)),
                _ => format!(" LEASE {limit} {window} id{}", random.below(9)),
            };
            line += &format!(" COST {}", random.within(1..=4));
        }
        let reply = server.call(&format!("RL.ALL {line}"));
        let [allowed, .., wait, _] = five(&reply)[..] else {
            panic!("{reply:?}");
        };
        match (allowed, wait) {
            (1, wait) => assert_eq!(wait, 0),
            (_, -1) => never += 1,
            (_, wait) => {
                let now_ms = clock.now_ms();
                clock.step(wait - 1);
                let early = server.call(&format!("RL.PEEKALL {line}"));
                assert_eq!(
                    (five(&early)[0], five(&early)[3]),
                    (0, 1),
                    "{line}: {reply:?}"
                );
                clock.step(1);
                let late = server.call(&format!("RL.PEEKALL {line}"));
                assert_eq!(five(&late)[0], 1, "{line}: {reply:?} {late:?}");
                clock.set(now_ms);
                waited += 1;
            }
        }
    }
    assert!(waited > 50 && never > 5, "{waited} {never}");
}

#[test]
fn a_call_is_one_transaction_with_one_effect_per_changed_key() {
    let server = Server::with(&["appendonly yes", "appendfsync always"]);
    let names = |commands: Vec<aof::Command>| -> Vec<String> {
        let word = |word: &Vec<u8>| String::from_utf8_lossy(word).to_lowercase();
        let name = |command: &aof::Command| match command.get(1) {
            Some(key) if word(&command[0]) == "rl.apply" => word(key),
            _ => word(&command[0]),
        };
        commands.iter().map(name).collect()
    };
    let mut known = 0;
    let mut new = |line: &str| {
        assert!(!server.call(line).is_error(), "{line}");
        let commands = aof::commands(&server);
        let new = names(commands[known..].to_vec());
        known = commands.len();
        new
    };
    let three = "RL.ALL 3 a b c FIXED 2 30d SLIDING 5 30d 9 60d BUCKET 5 1 30d";
    assert_eq!(new(three), ["multi", "a", "b", "c", "exec"]);
    // A free hit changes nothing.
    let two = "RL.ALL 3 a b c FIXED 2 30d COST 0 SLIDING 5 30d 9 60d BUCKET 5 1 30d";
    assert_eq!(new(two), ["multi", "b", "c", "exec"]);
    assert_eq!(new("RL.ALL 2 a d FIXED 2 30d COST 0 LEASE 5 1h id"), ["d"]);
    assert_eq!(new(three), ["multi", "a", "b", "c", "exec"]);
    assert_eq!(new(three), [""; 0], "denied");
    assert_eq!(new(&three.replace("ALL", "PEEKALL")), [""; 0]);
    assert_eq!(
        new(&format!("{three} FORCE")),
        ["multi", "a", "b", "c", "exec"]
    );
    let back = "RL.ALL 2 b a SLIDING 5 30d COST -1 FIXED 2 30d COST -9";
    assert_eq!(new(back), ["multi", "b", "a", "exec"]);
    // Within a script and a transaction, all of it is one.
    let script = "EVAL \"redis.call('RL.ALL','2','a','b','FIXED','9','30d','FIXED','9','60d') return 1\" 2 a b";
    assert!(
        server.call(script).error().contains("WRONGTYPE"),
        "b is sliding"
    );
    let script = "EVAL \"redis.call('RL.ALL','2','a','e','FIXED','9','30d','FIXED','9','30d') \
                  return redis.call('RL.FIXED','f','9','30d')\" 3 a e f";
    assert_eq!(new(script), ["multi", "a", "e", "f", "exec"]);
    server.ok("MULTI");
    for line in [
        "RL.ALL 2 a e FIXED 9 30d FIXED 9 30d",
        "RL.ALL 2 f e FIXED 9 30d FIXED 9 30d",
    ] {
        assert_eq!(server.call(line).text(), "QUEUED");
    }
    assert_eq!(new("EXEC"), ["multi", "a", "e", "f", "e", "exec"]);
    let digest = server.digest();
    server.ok("DEBUG LOADAOF");
    assert_eq!(server.digest(), digest);
}

/// Keys that all connections use, by their limits. Some deny early, some late, one never.
const SHARED: [&str; 6] = [
    "FIXED 2000 30d",
    "SLIDING 4000 30d 6000 60d",
    "BUCKET 3000 1 3660d",
    "FIXED 5000 60d",
    "SLIDING 1000000 365d",
    "BUCKET 1000000 1 3660d",
];

/// What a connection was answered: what it has charged to each key, and whether it holds a lease.
#[derive(Default)]
struct Answered {
    charged: [i64; SHARED.len()],
    lease: bool,
    allowed: usize,
    denied: usize,
}

/// One call of one key or of some: what is charged to which, and the line.
fn shared_call(
    random: &mut Random,
    worker: u64,
    own: &Answered,
) -> (Vec<(usize, i64)>, bool, String) {
    let mut places: Vec<usize> = (0..SHARED.len()).collect();
    places.rotate_left(random.below(SHARED.len()));
    places.truncate(1 + random.below(SHARED.len()));
    let charge = |place: usize| {
        // Of what was charged by itself, so that never less than nothing is used.
        let is_refund = random.one_in(6) && own.charged[place] >= 5;
        let cost = if is_refund {
            -random.within(1..=5)
        } else {
            random.within(0..=5)
        };
        (place, cost)
    };
    let charges: Vec<(usize, i64)> = places.into_iter().map(charge).collect();
    let mut keys: Vec<String> = charges
        .iter()
        .map(|(place, _)| format!("s{place}"))
        .collect();
    let mut clauses: Vec<String> = charges
        .iter()
        .map(|(place, cost)| format!("{} COST {cost}", SHARED[*place]))
        .collect();
    if charges.len() == 1 && random.one_in(2) {
        let (algorithm, rest) = clauses[0].split_once(' ').unwrap();
        return (charges, false, format!("RL.{algorithm} {} {rest}", keys[0]));
    }
    let has_lease = random.one_in(3);
    if has_lease {
        keys.push("lease".to_string());
        clauses.push(format!("LEASE 20 1h w{worker}"));
    }
    let force = if !has_lease && random.one_in(20) {
        " FORCE"
    } else {
        ""
    };
    let (count, keys, clauses) = (keys.len(), keys.join(" "), clauses.join(" "));
    (
        charges,
        has_lease,
        format!("RL.ALL {count} {keys} {clauses}{force}"),
    )
}

#[test]
fn a_forced_call_gives_back_also_where_another_key_is_over_its_limit() {
    let server = Server::start();
    server.call("RL.FIXED full 1 30d");
    server.call("RL.FIXED used 5 30d COST 5");
    let reply = server.call("RL.ALL 2 full used FIXED 1 30d FIXED 5 30d COST -3 FORCE");
    assert_eq!(five(&reply)[0], 0, "{reply:?}");
    let used = |key: &str| {
        let info = server.call(&format!("RL.INFO {key}"));
        info.field("limits").array()[0].field("used").int()
    };
    assert_eq!((used("full"), used("used")), (2, 2));
}

/// Fifty connections, single commands and calls of several keys on the same keys: each key holds the sum of what its callers
/// were told was charged, and nothing of a call that was denied.
#[test]
fn fifty_connections_charge_all_or_none() {
    let server = Server::start();
    let port = server.port();
    let answered: Vec<Answered> = thread::scope(|scope| {
        let workers: Vec<_> = (0..50)
            .map(|worker| {
                scope.spawn(move || {
                    let mut connection = Connection::open(port).unwrap();
                    let mut random = Random::from_seed(worker);
                    let mut own = Answered::default();
                    for _ in 0..400 {
                        if own.lease && random.one_in(4) {
                            let line = format!("RL.RELEASE lease w{worker}");
                            assert_eq!(connection.call(&line).unwrap(), Reply::Int(1));
                            own.lease = false;
                        }
                        let (charges, has_lease, line) = shared_call(&mut random, worker, &own);
                        let is_allowed = five(&connection.call(&line).unwrap())[0] == 1;
                        own.allowed += usize::from(is_allowed);
                        own.denied += usize::from(!is_allowed);
                        if is_allowed || line.ends_with("FORCE") {
                            charges
                                .iter()
                                .for_each(|(place, cost)| own.charged[*place] += cost);
                            own.lease |= has_lease;
                        }
                    }
                    own
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap())
            .collect()
    });
    for place in 0..SHARED.len() {
        let info = server.call(&format!("RL.INFO s{place}"));
        let charged: i64 = answered.iter().map(|own| own.charged[place]).sum();
        for limit in info.field("limits").array() {
            assert_eq!(limit.field("used").int(), charged, "s{place}: {info:?}");
        }
    }
    let held = match server.call("RL.INFO lease") {
        Reply::Nil => 0,
        info => info.field("leases").array().len(),
    };
    assert_eq!(held, answered.iter().filter(|own| own.lease).count());
    let allowed: usize = answered.iter().map(|own| own.allowed).sum();
    let denied: usize = answered.iter().map(|own| own.denied).sum();
    assert!(allowed > 2_000 && denied > 2_000, "{allowed} {denied}");
}

#[test]
fn after_a_hundred_thousand_mixed_calls_a_replica_and_a_replay_hold_the_same() {
    /// Calls that a connection sends at once.
    const BATCH: usize = 20;
    for windows in [&traffic::ALL_WINDOWS[..], &traffic::LONG_WINDOWS] {
        let (primary, replica) = pair::of(|lines| {
            Server::with(&[&["appendonly yes", "appendfsync everysec"], lines].concat())
        });
        let port = primary.port();
        let (decided, refused) = (AtomicI64::new(0), AtomicI64::new(0));
        thread::scope(|scope| {
            for worker in 0..50 {
                let (decided, refused) = (&decided, &refused);
                scope.spawn(move || {
                    let mut connection = Connection::open(port).unwrap();
                    let mut random = Random::from_seed(worker + 1_000);
                    for _ in 0..100 {
                        let now_ms = unix_ms();
                        let lines: Vec<String> = (0..BATCH)
                            .map(|_| match random.below(3) {
                                0 => traffic::call(&mut random, windows),
                                _ => traffic::rare_call(&mut random, windows, now_ms),
                            })
                            .collect();
                        lines.iter().for_each(|line| connection.send(line).unwrap());
                        for line in &lines {
                            let count = match connection.receive().unwrap() {
                                Reply::Error(error) => {
                                    let known = [
                                        "WRONGTYPE",
                                        "ERR cost would take",
                                        "ERR too many windows",
                                    ];
                                    let is_known =
                                        known.iter().any(|known| error.starts_with(known));
                                    assert!(is_known, "{line}: {error}");
                                    refused
                                }
                                _ => decided,
                            };
                            count.fetch_add(1, SeqCst);
                        }
                    }
                });
            }
        });
        let (decided, refused) = (decided.into_inner(), refused.into_inner());
        assert_eq!(decided + refused, 100_000);
        assert!(decided > 90_000, "{decided} decided, {refused} refused");
        pair::assert_equal(&primary, &replica);
        if windows.len() == traffic::LONG_WINDOWS.len() {
            // Blocks of a few milliseconds end, and their keys do not; but those that an order alone has shut go with it.
            for key in ["k", "l", "b"]
                .iter()
                .flat_map(|kind| (0..9).map(move |n| format!("{kind}:{n}")))
            {
                let stays = || !(0..=10_000).contains(&primary.call(&format!("PTTL {key}")).int());
                eventually("a key that is shut for a second is gone", stays);
            }
            let digest = primary.digest();
            aof::await_writes(&primary);
            primary.ok("DEBUG LOADAOF");
            assert_eq!(primary.digest(), digest, "replayed");
            primary.ok("DEBUG RELOAD");
            assert_eq!(primary.digest(), digest, "reloaded");
        }
    }
}

/// The ends of all commands of a file in RESP: where it may have been cut between two of them.
fn ends(bytes: &[u8]) -> Vec<usize> {
    let number = |from: usize| -> (usize, usize) {
        let length = bytes[from..]
            .iter()
            .position(|byte| *byte == b'\r')
            .unwrap();
        let text = std::str::from_utf8(&bytes[from + 1..from + length]).unwrap();
        (text.parse().unwrap(), from + length + 2)
    };
    let (mut at, mut ends) = (0, Vec::new());
    while at < bytes.len() {
        if bytes[at] == b'#' {
            at += bytes[at..].iter().position(|byte| *byte == b'\n').unwrap() + 1;
            continue;
        }
        let (words, mut next) = number(at);
        for _ in 0..words {
            let (length, word) = number(next);
            next = word + length + 2;
        }
        at = next;
        ends.push(at);
    }
    ends
}

/// A server may be killed, or its machine, with any part of its last write in the file.
#[test]
fn an_aof_that_is_cut_anywhere_never_has_half_a_call() {
    let mut server = Server::with(&[
        "appendonly yes",
        "appendfsync always",
        "auto-aof-rewrite-percentage 0",
        "aof-load-truncated yes",
    ]);
    let [many, two] = [
        "FIXED 9 3660d SLIDING 9 365d BUCKET 9 1 3660d LEASE 9 365d",
        "FIXED 9 3660d SLIDING 9 365d",
    ];
    server.call(&format!("RL.ALL 4 a b c l {many} one"));
    let whole = server.call(&format!("RL.ALL 4 a b c l {many} two"));
    assert_eq!(five(&whole)[0], 1);
    let script =
        "redis.call('RL.ALL','2',KEYS[1],KEYS[2],'FIXED','9','3660d','SLIDING','9','365d') \
                  redis.call('RL.LEASE',KEYS[4],'9','365d','three') \
                  return redis.call('RL.BUCKET',KEYS[3],'9','1','3660d')[1]";
    assert_eq!(
        server.call(&format!("EVAL \"{script}\" 4 a b c l")).int(),
        1
    );
    server.ok("MULTI");
    server.call("RL.BUCKET c 9 1 3660d");
    server.call(&format!("RL.ALL 2 a b {two}"));
    server.call("RL.LEASE l 9 365d four");
    assert_eq!(server.call("EXEC").array().len(), 3);
    let digest = server.digest();
    server.kill();
    let file = server.dir().join("appendonlydir/appendonly.aof.1.incr.aof");
    let bytes = std::fs::read(&file).unwrap();
    let ends = ends(&bytes);
    assert_eq!(*ends.last().unwrap(), bytes.len());
    // Between two commands, and within the one that follows.
    let within = ends.windows(2).map(|two| two[0] + (two[1] - two[0]) / 2);
    let mut cuts: Vec<usize> = ends.iter().copied().chain(within).collect();
    cuts.sort_unstable();
    let mut seen = Vec::new();
    for cut in cuts {
        std::fs::write(&file, &bytes[..cut]).unwrap();
        server.start_again().unwrap();
        let held = ["a", "b", "c", "l"].map(|key| match server.call(&format!("RL.INFO {key}")) {
            Reply::Nil => 0,
            info => info.field("limits").array()[0].field("used").int(),
        });
        assert_eq!(held, [held[0]; 4], "{cut} of {} bytes", bytes.len());
        seen.push(held[0]);
        if cut == bytes.len() {
            assert_eq!(server.digest(), digest);
        }
        server.kill();
    }
    assert!(seen.is_sorted(), "{seen:?}");
    seen.dedup();
    assert_eq!(seen, [0, 1, 2, 3, 4]);
}

/// Charges the same to three keys by one call, by two calls of a script and by two of a transaction, until the server is
/// gone: what was answered, each.
fn charge_until_killed(port: u16, worker: usize) -> [i64; 3] {
    let mut answered = [0; 3];
    let mut connection = Connection::open(port).unwrap();
    let clauses = "FIXED 9000000 3660d BUCKET 9000000 1 3660d SLIDING 9000000 365d";
    // Without a space, as a connection splits a line there.
    let script = "redis.call('RL.ALL','2',KEYS[1],KEYS[2],'FIXED','9000000','3660d','FIXED','9000000','3660d');\
                  return{redis.call('RL.FIXED',KEYS[3],'9000000','3660d')}";
    loop {
        let mut one = || -> std::io::Result<usize> {
            Ok(match worker % 3 {
                0 => {
                    connection.call(&format!(
                        "RL.ALL 3 a:{worker} b:{worker} c:{worker} {clauses}"
                    ))?;
                    0
                }
                1 => {
                    let reply = connection
                        .call(&format!("EVAL {script} 3 a:{worker} b:{worker} c:{worker}"))?;
                    assert!(!reply.is_error(), "{reply:?}");
                    1
                }
                _ => {
                    connection.call("MULTI")?;
                    let two = "FIXED 9000000 3660d FIXED 9000000 3660d";
                    connection.call(&format!("RL.ALL 2 a:{worker} b:{worker} {two}"))?;
                    connection.call(&format!("RL.FIXED c:{worker} 9000000 3660d"))?;
                    connection.call("EXEC")?;
                    2
                }
            })
        };
        match one() {
            Ok(kind) => answered[kind] += 1,
            Err(_) => return answered,
        }
    }
}

#[test]
fn a_server_that_is_killed_never_has_half_a_call() {
    let mut server = Server::with(&["appendonly yes", "appendfsync always"]);
    let mut before = [0; 6];
    for round in 0..5 {
        let port = server.port();
        let workers: Vec<_> = (0..6)
            .map(|worker| thread::spawn(move || charge_until_killed(port, worker)))
            .collect();
        let all = |server: &Server| server.info_number("stats", "total_commands_processed");
        let start = all(&server);
        eventually("there is some traffic", || {
            all(&server) > start + 400 + 300 * round
        });
        server.kill();
        let answered: Vec<i64> = workers
            .into_iter()
            .map(|worker| worker.join().unwrap().iter().sum())
            .collect();
        server.start_again().unwrap();
        for (worker, answered) in answered.into_iter().enumerate() {
            let used = |key: &str| -> i64 {
                let info = server.call(&format!("RL.INFO {key}:{worker}"));
                match info {
                    Reply::Nil => 0,
                    info => info.field("limits").array()[0].field("used").int(),
                }
            };
            let (a, b, c) = (used("a"), used("b"), used("c"));
            assert_eq!((a, a), (b, c), "worker {worker}, round {round}");
            let new = a - before[worker];
            assert!(
                new == answered || new == answered + 1,
                "{new} of {answered} answered"
            );
            before[worker] = a;
        }
    }
}

#[test]
fn one_key_out_of_reach_refuses_all() {
    let server = Server::start();
    server.ok("ACL SETUSER app on nopass ~app:* %R~read:* +@all");
    let mut app = server.connect_with(&["--user", "app", "--pass", "x", "--no-auth-warning"]);
    let mut call = |line: &str| app.call(line);
    assert!(!call("RL.ALL 2 app:a app:b FIXED 5 30d FIXED 5 30d").is_error());
    let state = server.digest();
    for line in [
        "RL.ALL 2 app:a other FIXED 5 30d FIXED 5 30d",
        "RL.ALL 2 other app:a FIXED 5 30d FIXED 5 30d",
        "RL.ALL 2 app:a read:b FIXED 5 30d FIXED 5 30d",
        "RL.PEEKALL 2 app:a other FIXED 5 30d FIXED 5 30d",
        "RL.RELEASE other id",
        "RL.LEASE other 5 30d id",
    ] {
        let error = call(line);
        assert!(error.error().starts_with("NOPERM"), "{line}: {error:?}");
    }
    assert!(!call("RL.PEEKALL 2 app:a read:b FIXED 5 30d FIXED 5 30d").is_error());
    // Where the server finds no keys, it checks no rights: then there must be no call.
    for numkeys in [
        "+2",
        "02",
        "18446744073709551618",
        "-2",
        "0",
        "2.0",
        " 2",
        "4294967298",
    ] {
        let error = call(&format!(
            "RL.ALL \"{numkeys}\" other secret FIXED 5 30d FIXED 5 30d"
        ));
        assert!(error.is_error(), "{numkeys}: {error:?}");
    }
    assert_eq!(server.digest(), state);
    assert_eq!(server.call("EXISTS other secret").int(), 0);
}

#[test]
fn where_memory_is_full_one_new_key_refuses_the_call() {
    let server = Server::start();
    server.call("RL.FIXED a 5 30d");
    server.call("RL.SLIDING b 5 30d");
    server.call("RL.LEASE l 1 30d a");
    server.ok("CONFIG SET maxmemory-policy noeviction");
    server.ok("CONFIG SET maxmemory 1000");
    let state = server.digest();
    for line in [
        "RL.ALL 2 a new FIXED 5 30d FIXED 5 30d",
        "RL.ALL 3 new a b FIXED 5 30d FIXED 5 30d SLIDING 5 30d",
        "RL.ALL 2 a new FIXED 5 30d LEASE 5 30d id",
        "RL.ALL 2 a new FIXED 5 30d FIXED 0 30d FORCE",
        "RL.LEASE new 5 30d id",
    ] {
        let error = server.call(line);
        assert!(error.error().starts_with("OOM "), "{line}: {error:?}");
    }
    assert_eq!(server.digest(), state);
    // Denied is denied, and what makes no key goes on.
    assert_eq!(
        five(&server.call("RL.ALL 2 a new FIXED 5 30d COST 5 FIXED 5 30d"))[0],
        0
    );
    assert_eq!(
        five(&server.call("RL.ALL 2 a new FIXED 5 30d FIXED 5 30d COST 0"))[0],
        1
    );
    assert_eq!(
        five(&server.call("RL.ALL 2 a b FIXED 5 30d SLIDING 5 30d"))[0],
        1
    );
    assert_eq!(five(&server.call("RL.LEASE l 2 30d b"))[0], 1);
    assert_eq!(server.call("RL.RELEASE l a").int(), 1);
    // A block is the key's own, and a denied hit on a new key would make one.
    assert_eq!(
        five(&server.call("RL.ALL 1 a FIXED 3 30d COST 3 BLOCK 1h"))[0],
        0
    );
    assert_eq!(server.call("EXISTS new").int(), 0);
}

#[test]
fn what_another_key_holds_refuses_the_call_and_nothing_is_charged() {
    let server = Server::start();
    server.call("RL.FIXED a 5 30d");
    server.call("SET string v");
    let state = server.digest();
    for line in [
        "RL.ALL 2 a string FIXED 5 30d FIXED 5 30d",
        "RL.ALL 3 new new2 string FIXED 5 30d SLIDING 5 30d FIXED 5 30d",
        "RL.ALL 2 new a FIXED 5 30d SLIDING 5 30d",
        "RL.ALL 2 new a FIXED 5 30d LEASE 5 30d id FORCE",
        "RL.ALL 2 new a FIXED 5 30d SLIDING 5 30d COST 0",
        "RL.PEEKALL 2 new a FIXED 5 30d SLIDING 5 30d",
        "RL.PEEKALL 2 a string FIXED 5 30d FIXED 5 30d",
    ] {
        let error = server.call(line);
        let is_known = error.error().starts_with("WRONGTYPE ") || error.error().contains("a lease");
        assert!(is_known, "{line}: {error:?}");
    }
    // Usage that is not counted any more, in the second key alone.
    let most = 9_007_199_254_740_991_i64;
    server.call(&format!("RL.FIXED b {most} 30d COST {most}"));
    let state_b = server.digest();
    let error = server.call("RL.ALL 2 a b FIXED 5 30d FIXED 5 30d FORCE");
    assert!(
        error.error().starts_with("ERR cost would take"),
        "{error:?}"
    );
    assert_eq!(server.digest(), state_b);
    server.call("DEL b");
    assert_eq!(server.digest(), state);
}

#[test]
fn numkeys_and_options_are_in_their_places_or_refused() {
    let server = Server::start();
    let two = "FIXED 5 30d FIXED 5 30d";
    let numkeys = "argument 1 (numkeys) must be an integer from 1 to 16";
    let many: Vec<String> = (0..17).map(|key| format!("k{key}")).collect();
    let many = format!("RL.ALL 17 {} {}", many.join(" "), "FIXED 5 30d ".repeat(17));
    for (line, says) in [
        (format!("RL.ALL 0 {two} x"), numkeys),
        (format!("RL.ALL -1 a b {two}"), numkeys),
        (many, numkeys),
        (format!("RL.ALL 9223372036854775807 a b {two}"), numkeys),
        (format!("RL.ALL 9223372036854775808 a b {two}"), numkeys),
        (format!("RL.ALL +2 a b {two}"), numkeys),
        (format!("RL.ALL 02 a b {two}"), numkeys),
        (format!("RL.ALL x a b {two}"), numkeys),
        (format!("RL.ALL \"\" a b {two}"), numkeys),
        (format!("RL.ALL 2\\0 a b {two}"), numkeys),
        ("RL.ALL 16 a FIXED 5 30d x".into(), numkeys),
        (format!("RL.ALL 3 a b c {two}"), "argument 11 is missing"),
        (format!("RL.ALL 1 a {two}"), "more clauses than keys"),
        (
            "RL.ALL 2 a FIXED 5 30d x".into(),
            "argument 4 must be FIXED, SLIDING, BUCKET or LEASE",
        ),
        (
            format!("RL.ALL 2 a a {two}"),
            "argument 3 (key) repeats a key",
        ),
        (
            "RL.ALL 2 a b FIXED 5 30d GCRA 5 30d".into(),
            "argument 7 must be",
        ),
        (
            "RL.ALL 2 a b FIXED 5 30d FORCE FIXED 5 30d".into(),
            "FORCE applies to the whole call",
        ),
        (
            "RL.ALL 2 a b FIXED 5 30d STAMP FIXED 5 30d".into(),
            "STAMP applies to the whole call",
        ),
        (
            "RL.ALL 2 a b FIXED 5 30d AT 5 FIXED 5 30d".into(),
            "AT applies to the whole call",
        ),
        (
            "RL.ALL 2 a b FIXED 5 30d DENY l FIXED 5 30d".into(),
            "DENY applies to the whole call",
        ),
        (
            format!("RL.ALL 2 a b {two} FORCE COST 2"),
            "COST belongs to a clause",
        ),
        (
            format!("RL.ALL 2 a b {two} STAMP POLICY p"),
            "POLICY belongs to a clause",
        ),
        (
            format!("RL.ALL 2 a b {two} FORCE BLOCK 1s"),
            "BLOCK belongs to a clause",
        ),
        (
            format!("RL.ALL 2 a b {two} MIN 1"),
            "MIN does not go with several keys",
        ),
        (
            format!("RL.ALL 2 a b {two} RESERVE 1s"),
            "RESERVE does not go with several keys",
        ),
        (format!("RL.ALL 2 a b {two} COST 1 COST 1"), "repeats COST"),
        (format!("RL.ALL 2 a b {two} FORCE FORCE"), "repeats FORCE"),
        (format!("RL.ALL 2 a b {two} DENY"), "is missing"),
        (format!("RL.ALL 2 a b {two} DENY l"), "is missing"),
        (
            "RL.ALL 2 a b FIXED 5 30d LEASE 5 1m id AT 5".into(),
            "AT does not go with a lease",
        ),
        (
            "RL.ALL 2 a b LEASE 5 1m id FIXED 5 30d FORCE".into(),
            "FORCE does not go with a lease",
        ),
        (
            "RL.ALL 2 a b LEASE 5 1m id COST -1 FIXED 5 30d".into(),
            "a lease is given back",
        ),
        (
            format!("RL.PEEKALL 2 a b {two} FORCE"),
            "FORCE does not go with a peek",
        ),
        (
            format!("RL.PEEKALL 2 a b {two} AT 5"),
            "AT does not go with a peek",
        ),
        (
            format!("RL.PEEKALL 2 a b {two} STAMP"),
            "STAMP does not go with a peek",
        ),
        (
            "RL.ALL 2 a b FIXED 5".into(),
            "argument 6 is missing: expected window",
        ),
        (
            "RL.ALL 1 a FIXED 5 60".into(),
            "argument 5 (window) needs a unit",
        ),
    ] {
        let error = server.call(&line);
        assert!(error.error().starts_with("ERR "), "{line}: {error:?}");
        assert!(error.error().contains(says), "{line}: {error:?}");
    }
    assert_eq!(server.call("DBSIZE").int(), 0);
    // A key may be called as a clause is, and be of any bytes.
    assert!(!server
        .call("RL.ALL 2 FIXED COST FIXED 5 30d SLIDING 5 30d")
        .is_error());
    assert_eq!(server.call("EXISTS FIXED COST").int(), 2);
    let odd: [&[u8]; 7] = [
        b"RL.ALL",
        b"1",
        &[0, 255, 10],
        b"fixed",
        b"5",
        b"30d",
        b"stamp",
    ];
    assert_eq!(server.call_bytes(&odd).array()[0], Reply::Int(1));
}

#[test]
fn the_server_knows_the_keys() {
    let server = Server::start();
    for (line, keys) in [
        (
            "RL.ALL 2 a b FIXED 5 1h SLIDING 5 1h DENY list c",
            &["a", "b"][..],
        ),
        (
            "RL.PEEKALL 3 a b c FIXED 5 1h SLIDING 5 1h FIXED 5 1h",
            &["a", "b", "c"],
        ),
        ("RL.LEASE a 5 1h id", &["a"]),
        ("RL.RELEASE a id id2", &["a"]),
        ("RL.PEEK LEASE a 5 1h id", &["a"]),
    ] {
        assert_eq!(
            server.call(&format!("COMMAND GETKEYS {line}")).texts(),
            keys,
            "{line}"
        );
    }
    let info = server.call("COMMAND INFO rl.all rl.peekall rl.lease rl.release");
    let flags: Vec<Vec<String>> = info
        .array()
        .iter()
        .map(|one| one.array()[2].texts())
        .collect();
    for (flags, kind) in flags.iter().zip(["write", "readonly", "write", "write"]) {
        let has = |flag: &str| flags.iter().any(|other| other == flag);
        assert!(has(kind) && has("fast") && !has("denyoom"), "{flags:?}");
    }
    let docs = server.call("COMMAND DOCS rl.all rl.peekall rl.lease rl.release rl.fixed rl.bucket");
    for (name, words) in [
        (
            "rl.all",
            &[
                "numkeys", "FIXED", "SLIDING", "BUCKET", "LEASE", "COST", "POLICY", "BLOCK",
                "FORCE", "AT", "STAMP", "DENY",
            ][..],
        ),
        ("rl.peekall", &["numkeys", "LEASE", "DENY"]),
        ("rl.lease", &["ttl", "id", "COST", "POLICY", "DENY"]),
        ("rl.release", &["id"]),
        ("rl.fixed", &["MIN", "FORCE", "AT", "STAMP", "BLOCK"]),
        ("rl.bucket", &["RESERVE", "MIN", "BLOCK"]),
    ] {
        let doc = docs.field(name);
        assert!(!doc.field("summary").text().is_empty());
        let texts = doc.field("arguments").texts();
        for word in words {
            assert!(
                texts.iter().any(|text| text == word),
                "{name} has {word}: {texts:?}"
            );
        }
    }
    let peek = docs.field("rl.peekall").field("arguments").texts();
    for word in ["FORCE", "AT", "STAMP"] {
        assert!(!peek.iter().any(|text| text == word), "{peek:?}");
    }
}

#[test]
fn in_a_cluster_the_keys_share_a_slot() {
    let server = Server::with(&["cluster-enabled yes"]);
    server.ok("CLUSTER ADDSLOTSRANGE 0 16383");
    eventually("it serves", || {
        server
            .print(&["CLUSTER", "INFO"])
            .contains("cluster_state:ok")
    });
    let two = "FIXED 5 30d FIXED 5 30d";
    assert_eq!(
        five(&server.call(&format!("RL.ALL 2 {{acme}}:a {{acme}}:b {two}")))[0],
        1
    );
    for verb in ["RL.ALL", "RL.PEEKALL"] {
        let error = server.call(&format!("{verb} 2 {{acme}}:a {{umbrella}}:b {two}"));
        assert!(error.error().starts_with("CROSSSLOT"), "{error:?}");
    }
    assert_eq!(server.call("DBSIZE").int(), 2);
    // A slot that is another's is not counted here.
    server.ok("CLUSTER DELSLOTS 5538");
    server.ok("CONFIG SET cluster-require-full-coverage no");
    for line in [
        "RL.ALL 1 {umbrella}:b FIXED 5 30d",
        "RL.PEEKALL 1 {umbrella}:b FIXED 5 30d",
        "RL.LEASE {umbrella}:b 5 1m id",
        "RL.RELEASE {umbrella}:b id",
    ] {
        eventually(
            line,
            || matches!(server.call(line), Reply::Error(error) if error.starts_with("CLUSTERDOWN Hash slot not served")),
        );
    }
    assert_eq!(server.call("DBSIZE").int(), 2);
}

#[test]
fn each_clause_is_counted_under_its_name() {
    let server = Server::start();
    server.ok("RL.POLICY SET rpm FIXED 2 30d");
    server.ok("RL.POLICY SET tpm SLIDING 100 30d");
    server.call("RL.DENY ADD bad v");
    let counts = |name: &str| {
        let stats = server.call(&format!("RL.STATS GET {name}"));
        ["allowed", "denied", "deny_listed"].map(|what| stats.field(what).int())
    };
    let line = "RL.ALL 2 a b FIXED 9 1h POLICY rpm SLIDING 9 1h COST 40 POLICY tpm";
    assert_eq!(five(&server.call(line))[0], 1);
    assert_eq!((counts("rpm"), counts("tpm")), ([1, 0, 0], [1, 0, 0]));
    // One does not fit: it counts as denied, the other not at all.
    assert_eq!(five(&server.call(&line.replace("40", "99")))[0], 0);
    assert_eq!((counts("rpm"), counts("tpm")), ([1, 0, 0], [1, 1, 0]));
    assert_eq!(five(&server.call(&format!("{line} DENY bad v")))[0], 0);
    assert_eq!((counts("rpm"), counts("tpm")), ([1, 0, 1], [1, 1, 1]));
    // Nothing asked, nothing counted.
    server.call(&line.replace("40", "0"));
    assert_eq!((counts("rpm"), counts("tpm")), ([2, 0, 1], [1, 1, 1]));
    server.call("RL.PEEKALL 2 a b FIXED 9 1h POLICY rpm SLIDING 9 1h POLICY tpm");
    assert_eq!((counts("rpm"), counts("tpm")), ([2, 0, 1], [1, 1, 1]));
    // Forced: what did not fit is denied, what did is allowed.
    assert_eq!(five(&server.call(&format!("{line} FORCE")))[0], 0);
    assert_eq!((counts("rpm"), counts("tpm")), ([2, 1, 1], [2, 1, 1]));
    // Of several names, the last.
    server.call("RL.ALL 1 c FIXED 9 1h POLICY acme POLICY rpm");
    assert_eq!(counts("rpm"), [3, 1, 1]);
}

#[test]
fn a_replica_answers_a_peek_and_a_script_may_ask() {
    let (primary, replica) = pair::of(Server::with);
    primary.call("RL.ALL 2 a b FIXED 5 30d SLIDING 5 30d COST 2");
    pair::wait_for(&replica, &primary);
    let peek = "RL.PEEKALL 2 a b FIXED 5 30d SLIDING 5 30d COST 4";
    let answered = replica.call(peek);
    assert_eq!((five(&answered)[0], binds(&answered)), (0, 2));
    let refused = replica.call("RL.ALL 2 a b FIXED 5 30d SLIDING 5 30d");
    assert!(refused.error().starts_with("READONLY"), "{refused:?}");
    let read_only = "EVAL_RO \"return redis.call('RL.PEEKALL','1','a','FIXED','5','30d')[3]\" 1 a";
    assert_eq!(primary.call(read_only).int(), 3);
    let read_only = "EVAL_RO \"return redis.call('RL.ALL','1','a','FIXED','5','30d')[3]\" 1 a";
    assert!(primary.call(read_only).is_error());
    // A watcher is told of what was charged, and of nothing else.
    primary.ok("WATCH a");
    primary
        .connect()
        .call("RL.ALL 2 a b FIXED 5 30d SLIDING 5 30d COST 4");
    primary.ok("MULTI");
    primary.call("PING");
    assert_eq!(primary.call("EXEC").array().len(), 1);
    primary.ok("WATCH a");
    primary
        .connect()
        .call("RL.ALL 2 a b FIXED 5 30d SLIDING 5 30d");
    primary.ok("MULTI");
    primary.call("PING");
    assert_eq!(primary.call("EXEC"), Reply::Nil);
}
