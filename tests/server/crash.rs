//! Servers that are killed under load, and servers whose disk is full: what was acknowledged is there afterwards, and
//! nothing else.
//!
//! A round kills one server twice, with SIGKILL. Its seed chooses the sync policy, the preamble, whether a rewrite or a
//! snapshot is under way, and the moment. `CRASH_ROUNDS=` runs more rounds, `SEED=` others; `--nocapture` shows each.
//!
//! SIGKILL takes the process and leaves the operating system, so what had been written to a file stays, synced or not.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::resp::Connection;
use crate::support::{self, eventually, Random, Reply, Server};

const CLIENTS: usize = 4;
/// Limiters of each client; nobody else hits them.
const KEYS: usize = 40;
/// Hits that a client sends before it waits for their answers.
const PIPELINE: usize = 8;
/// Never reached, so that every hit is admitted.
const LIMIT: i64 = 1_000_000_000_000;

/// One hit that a client sent.
struct Sent {
    key: usize,
    cost: i64,
    /// When its answer came.
    acknowledged: Option<Instant>,
}

/// The arguments of a limiter; every algorithm has a third of them.
fn limiter(client: usize, key: usize) -> String {
    match key % 3 {
        0 => format!("FIXED c{client}:{key} {LIMIT} 3660d"),
        1 => format!("SLIDING c{client}:{key} {LIMIT} 365d"),
        _ => format!("BUCKET c{client}:{key} {LIMIT} 1 3660d"),
    }
}

/// Hits random limiters until the server is gone.
fn hit_until_killed(
    mut connection: Connection,
    client: usize,
    seed: u64,
    answered: &AtomicUsize,
) -> Vec<Sent> {
    let mut random = Random::new(seed);
    let mut sent: Vec<Sent> = Vec::new();
    loop {
        let from = sent.len();
        for _ in 0..PIPELINE {
            let (key, cost) = (random.below(KEYS), random.within(1..=9));
            sent.push(Sent {
                key,
                cost,
                acknowledged: None,
            });
            if connection
                .send(&format!("RL.{} COST {cost}", limiter(client, key)))
                .is_err()
            {
                return sent;
            }
        }
        for hit in &mut sent[from..] {
            match connection.receive() {
                Ok(Reply::Array(five)) => assert_eq!(five[0], Reply::Int(1)),
                Ok(other) => panic!("{other:?}"),
                Err(_) => return sent,
            }
            hit.acknowledged = Some(Instant::now());
            answered.fetch_add(1, SeqCst);
        }
    }
}

/// What each of a client's limiters has used.
fn used(server: &Server, client: usize) -> Vec<i64> {
    let mut connection = Connection::open(server.port()).unwrap();
    let mut peek = |key| {
        connection
            .call(&format!("RL.PEEK {} COST 0", limiter(client, key)))
            .unwrap()
    };
    (0..KEYS).map(|key| LIMIT - peek(key).ints()[2]).collect()
}

/// Finds how many of a client's hits are in `after`, which must be the first so many on top of `before`; none where
/// there is no such number.
fn survivors(before: &[i64], sent: &[Sent], after: &[i64]) -> Option<usize> {
    let mut sums = before.to_vec();
    for (count, hit) in sent.iter().enumerate() {
        if sums == after {
            return Some(count);
        }
        sums[hit.key] += hit.cost;
    }
    (sums == after).then_some(sent.len())
}

/// How long before the kill the oldest acknowledged hit was answered that is lost.
fn lost(sent: &[Sent], survivors: usize, killed: Instant) -> Option<Duration> {
    let oldest = sent.get(survivors)?.acknowledged?;
    Some(killed.saturating_duration_since(oldest))
}

/// With `everysec` a sync begins once a second; while one is under way, the server holds writes back for up to two
/// seconds (flushAppendOnlyFile in its aof.c).
const EVERYSEC_LOSS: Duration = Duration::from_secs(2);
/// How old the clock may be by which it measures them (serverCron, ten times a second).
const TICK: Duration = Duration::from_millis(100);

/// The longest time that all clients waited for any answer: as long as the server, or all of the machine, stood still.
fn standstill(sent: &[Vec<Sent>], killed: Instant) -> Duration {
    let acknowledged = sent.iter().flatten().filter_map(|hit| hit.acknowledged);
    let mut moments: Vec<Instant> = acknowledged.chain([killed]).collect();
    moments.sort_unstable();
    let gaps = moments.windows(2).map(|pair| pair[1] - pair[0]);
    gaps.max().unwrap_or_default()
}

/// What a round saw.
#[derive(Default)]
struct Seen {
    acknowledged: usize,
    lost: usize,
    oldest_lost: Duration,
    killed_in_child: usize,
}

fn round(random: &mut Random) -> Seen {
    let sync = *random.pick(&["always", "everysec"]);
    let preamble = *random.pick(&["yes", "no"]);
    let event = *random.pick(&["", "BGREWRITEAOF", "BGSAVE"]);
    print!("appendfsync {sync}, preamble {preamble}, {event}: ");
    let mut server = Server::with(&[
        "appendonly yes",
        &format!("appendfsync {sync}"),
        &format!("aof-use-rdb-preamble {preamble}"),
        // A rewrite and a snapshot last long enough to be killed in.
        "rdb-key-save-delay 1000",
    ]);
    let mut seen = Seen::default();
    for generation in 0..2 {
        let policy = format!("RL.POLICY SET policy FIXED {generation} 1d");
        server.ok(&policy);
        server.call(&format!("RL.DENY ADD list 192.0.2.{generation} TTL 90d"));
        let registered = Instant::now();
        let before: Vec<Vec<i64>> = (0..CLIENTS).map(|client| used(&server, client)).collect();

        let answered = AtomicUsize::new(0);
        let seed = random.next();
        let (until_event, until_kill) = (random.below(1500), random.below(1500));
        // All are connected before the first one hits: the server may be killed before a thread of theirs begins.
        let connections: Vec<_> = (0..CLIENTS)
            .map(|_| Connection::open(server.port()).unwrap())
            .collect();
        let (sent, killed) = thread::scope(|scope| {
            let clients: Vec<_> = connections
                .into_iter()
                .enumerate()
                .map(|(client, connection)| {
                    let answered = &answered;
                    scope.spawn(move || {
                        hit_until_killed(connection, client, seed ^ client as u64, answered)
                    })
                })
                .collect();
            eventually("hits are answered", || answered.load(SeqCst) >= until_event);
            if !event.is_empty() {
                server.call(event);
            }
            eventually("hits are answered", || {
                answered.load(SeqCst) >= until_event + until_kill
            });
            if sync == "everysec" && generation == 0 {
                // Long enough for most of the hits to be older than what may be lost.
                eventually("time passes", || registered.elapsed() > 2 * EVERYSEC_LOSS);
            }
            let in_child = ["aof_rewrite_in_progress", "rdb_bgsave_in_progress"]
                .iter()
                .any(|field| server.info_number("persistence", field) == 1);
            seen.killed_in_child += usize::from(in_child);
            let killed = Instant::now();
            server.kill();
            let sent: Vec<Vec<Sent>> = clients
                .into_iter()
                .map(|client| client.join().unwrap())
                .collect();
            (sent, killed)
        });

        let standstill = standstill(&sent, killed);
        server
            .start_again()
            .expect("it starts on what the crash left");
        for client in 0..CLIENTS {
            let (before, sent, after) = (&before[client], &sent[client], used(&server, client));
            let survivors = survivors(before, sent, &after).unwrap_or_else(|| {
                panic!("client {client}: not the first so many of its hits: {before:?} {after:?}")
            });
            let acknowledged = sent.iter().filter(|hit| hit.acknowledged.is_some()).count();
            seen.acknowledged += acknowledged;
            seen.lost += acknowledged.saturating_sub(survivors);
            if let Some(age) = lost(sent, survivors, killed) {
                assert_ne!(
                    sync, "always",
                    "client {client}: {survivors} of {acknowledged} hits are there"
                );
                assert!(
                    age <= EVERYSEC_LOSS + TICK + standstill,
                    "client {client}: a hit was lost {age:?} after its answer"
                );
                seen.oldest_lost = seen.oldest_lost.max(age);
            }
        }
        if sync == "always" || killed - registered > EVERYSEC_LOSS {
            let limits = server.call("RL.POLICY GET policy").texts();
            assert_eq!(limits, ["fixed", &generation.to_string(), "1d"]);
            let denied = server.call("RL.DENY HAS list 192.0.2.0 192.0.2.1").ints();
            assert_eq!(denied, [1, generation]);
        }
    }
    println!(
        "{} acknowledged, {} of them lost",
        seen.acknowledged, seen.lost
    );
    seen
}

#[test]
fn a_killed_server_comes_back_with_what_it_acknowledged() {
    let rounds = std::env::var("CRASH_ROUNDS")
        .map_or(5, |text| text.parse().expect("CRASH_ROUNDS is a number"));
    let mut random = Random::new(501);
    let mut total = Seen::default();
    for number in 1..=rounds {
        print!("round {number}: ");
        let seen = round(&mut random);
        total.acknowledged += seen.acknowledged;
        total.lost += seen.lost;
        total.oldest_lost = total.oldest_lost.max(seen.oldest_lost);
        total.killed_in_child += seen.killed_in_child;
    }
    println!(
        "{rounds} rounds, {} kills ({} of them during a rewrite or a snapshot), {} hits acknowledged, {} lost, the oldest {:.3} s before the kill",
        2 * rounds, total.killed_in_child, total.acknowledged, total.lost, total.oldest_lost.as_secs_f64(),
    );
}

/// A small file system of its own.
struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    const BYTES: usize = 4 << 20;

    /// None where this machine lets nobody mount.
    fn mount() -> Option<Self> {
        let path = support::server::new_dir();
        let size = format!("size={}", Self::BYTES);
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(&path)
            .output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(SmallDisk { path });
        }
        std::fs::remove_dir(&path).unwrap();
        support::skipped("a full disk (no tmpfs can be mounted here)");
        None
    }

    fn ballast(&self) -> PathBuf {
        self.path.join("ballast")
    }

    /// Leaves nothing free but `bytes`.
    fn fill_but(&self, bytes: usize) {
        // Writing ends where the disk is full; then it is cut back.
        let _ = std::fs::write(self.ballast(), vec![0; Self::BYTES]);
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(self.ballast())
            .unwrap();
        let length = file.metadata().unwrap().len();
        file.set_len(length - u64::try_from(bytes).unwrap())
            .unwrap();
    }

    fn free(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }

    /// A server that keeps its files here, but for its log.
    fn server(&self, lines: &[&str]) -> Server {
        let (dir, log) = (
            format!("dir \"{}\"", self.path.display()),
            format!("logfile \"{}.log\"", self.path.display()),
        );
        Server::with(&[&[dir.as_str(), log.as_str()], lines].concat())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount")
            .arg("--lazy")
            .arg(&self.path)
            .status();
        let _ = std::fs::remove_dir(&self.path);
        let _ = std::fs::remove_file(Path::new(&format!("{}.log", self.path.display())));
    }
}

fn charge(connection: &mut Connection, key: usize) -> std::io::Result<Reply> {
    connection.call(&format!("RL.{}", limiter(0, key)))
}

/// Charges the limiters in turn until one is not charged. Returns what was admitted of each, and the answer.
fn charge_until_refused(server: &Server, admitted: &mut [i64]) -> std::io::Result<Reply> {
    let mut connection = Connection::open(server.port()).unwrap();
    let mut key = 0;
    loop {
        match charge(&mut connection, key)? {
            Reply::Array(five) if five[0] == Reply::Int(1) => admitted[key] += 1,
            refusal => return Ok(refusal),
        }
        key = (key + 1) % KEYS;
    }
}

/// The server says MISCONF to a hit, charges nothing and still answers peeks.
fn assert_refuses(server: &Server, refusal: &Reply, admitted: &[i64]) {
    assert!(refusal.error().starts_with("MISCONF"), "{refusal:?}");
    assert_eq!(used(server, 0), admitted, "a refused hit charges nothing");
}

#[test]
fn a_full_disk_under_the_aof_refuses_hits_until_there_is_room() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let mut server = disk.server(&[
        "appendonly yes",
        "appendfsync everysec",
        "auto-aof-rewrite-percentage 0",
    ]);
    let mut admitted = vec![0; KEYS];
    disk.fill_but(64 << 10);
    let refusal = charge_until_refused(&server, &mut admitted).expect("the server stays");
    // The hit whose write failed was answered before the failure was known; from then on nothing is charged.
    assert_refuses(&server, &refusal, &admitted);
    disk.free();
    let mut connection = Connection::open(server.port()).unwrap();
    eventually("there is room again", || {
        !charge(&mut connection, 0).unwrap().is_error()
    });
    admitted[0] += 1;
    assert_eq!(used(&server, 0), admitted);
    server.ok("CONFIG SET appendfsync always");
    charge(&mut connection, 1).unwrap();
    admitted[1] += 1;
    server.kill();
    server.start_again().expect("the file is whole");
    assert_eq!(used(&server, 0), admitted);
}

#[test]
fn a_full_disk_under_an_aof_that_always_syncs_loses_no_answer() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let mut server = disk.server(&[
        "appendonly yes",
        "appendfsync always",
        "auto-aof-rewrite-percentage 0",
    ]);
    let mut admitted = vec![0; KEYS];
    disk.fill_but(64 << 10);
    // The server cannot promise what it cannot write, and ends.
    charge_until_refused(&server, &mut admitted).expect_err("the server ends without an answer");
    server.kill();
    disk.free();
    server
        .start_again()
        .expect("a file that ends early is cut back");
    let mut unanswered: Vec<i64> = used(&server, 0)
        .iter()
        .zip(&admitted)
        .map(|(used, admitted)| used - admitted)
        .collect();
    unanswered.sort_unstable();
    // The last hit may have been written whole and not been answered.
    assert!(
        unanswered[..KEYS - 1].iter().all(|more| *more == 0) && unanswered[KEYS - 1] <= 1,
        "{unanswered:?}"
    );
}

#[test]
fn a_full_disk_under_a_snapshot_refuses_hits_until_one_succeeds() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    // A save point, so that the server cares about failed snapshots; one that is never reached.
    let mut server = disk.server(&["save 1000000 1000000"]);
    let mut admitted = vec![0; KEYS];
    let mut connection = Connection::open(server.port()).unwrap();
    for _ in 0..200 {
        for (key, admitted) in admitted.iter_mut().enumerate() {
            *admitted += charge(&mut connection, key).unwrap().ints()[0];
        }
    }
    let snapshot = |expected: &str| {
        server.call("BGSAVE");
        eventually("the snapshot ends", || {
            server.info_number("persistence", "rdb_bgsave_in_progress") == 0
        });
        assert_eq!(
            server.info_field("persistence", "rdb_last_bgsave_status"),
            expected
        );
    };
    disk.fill_but(0);
    snapshot("err");
    let refusal = charge_until_refused(&server, &mut admitted).expect("the server stays");
    assert_refuses(&server, &refusal, &admitted);
    disk.free();
    snapshot("ok");
    admitted[0] += charge(&mut connection, 0).unwrap().ints()[0];
    snapshot("ok");
    server.kill();
    server.start_again().expect("the snapshot is whole");
    assert_eq!(used(&server, 0), admitted);
}
