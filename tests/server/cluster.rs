//! A real cluster under load: a primary that is killed, slots that move, nodes that come and go.
//!
//! Ten thousand identifiers are hit by eight clients that follow redirections. Each client notes what was answered, so
//! that what was admitted can be compared with the limit, identifier by identifier. `CLUSTER_LONG=1` runs every phase
//! for longer and moves more slots; `--nocapture` shows the figures.

use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::support::cluster::{Client, Cluster, Outcome};
use crate::support::resp::Connection;
use crate::support::{self, eventually, Random, Reply, Server};

const CONNECTIONS: usize = 8;
const IDENTIFIERS: usize = 10_000;
/// Every identifier's limit, in a window that does not end while a test runs: more than the load uses, so that hits are
/// admitted until it ends.
const LIMIT: i64 = 2000;
/// Long enough for a busy machine, short enough for a test to wait for.
const NODE_TIMEOUT: Duration = Duration::from_secs(3);

fn is_long() -> bool {
    std::env::var_os("CLUSTER_LONG").is_some()
}

/// How long the load runs between two events.
fn phase() -> Duration {
    Duration::from_secs(if is_long() { 20 } else { 1 })
}

/// How many slots are moved at a time.
fn slots_to_move() -> usize {
    if is_long() {
        2000
    } else {
        150
    }
}

fn key(identifier: usize) -> String {
    format!("id:{identifier}")
}

/// The arguments of an identifier: every algorithm has a third of them.
fn limiter(identifier: usize) -> (&'static str, String) {
    match identifier % 3 {
        0 => ("FIXED", format!("{} {LIMIT} 3660d", key(identifier))),
        1 => ("SLIDING", format!("{} {LIMIT} 1d", key(identifier))),
        _ => ("BUCKET", format!("{} {LIMIT} 1 3660d", key(identifier))),
    }
}

fn hit(identifier: usize) -> String {
    let (algorithm, arguments) = limiter(identifier);
    format!("RL.{algorithm} {arguments}")
}

fn peek(identifier: usize) -> String {
    let (algorithm, arguments) = limiter(identifier);
    format!("RL.PEEK {algorithm} {arguments}")
}

/// What the clients share.
struct Tally {
    /// For each identifier: hits that were answered as admitted.
    admitted: Vec<AtomicI64>,
    /// For each identifier: hits whose connection broke before the answer.
    unknown: Vec<AtomicI64>,
    hits: AtomicUsize,
    redirections: AtomicUsize,
    /// Hits that found a dead node or a cluster that is down.
    unserved: AtomicUsize,
    /// Answers that were no decisions.
    surprises: Mutex<Vec<String>>,
    stop: AtomicBool,
    hold: AtomicBool,
    holding: AtomicUsize,
}

impl Tally {
    fn admitted(&self) -> Vec<i64> {
        self.admitted
            .iter()
            .map(|count| count.load(SeqCst))
            .collect()
    }

    /// Hits an identifier, and says whether that was answered as admitted.
    fn hit(&self, client: &mut Client, identifier: usize, cost: i64) -> Option<bool> {
        let hit = format!("{} COST {cost}", hit(identifier));
        match client.call(&key(identifier), &hit) {
            Outcome::Answered(Reply::Array(five)) => {
                self.hits.fetch_add(1, SeqCst);
                let allowed = five[0] == Reply::Int(1);
                if allowed {
                    self.admitted[identifier].fetch_add(cost, SeqCst);
                }
                Some(allowed)
            }
            Outcome::Answered(other) => {
                self.surprises.lock().unwrap().push(format!("{other:?}"));
                None
            }
            Outcome::Unknown => {
                self.unknown[identifier].fetch_add(1, SeqCst);
                None
            }
            Outcome::Unserved => {
                self.unserved.fetch_add(1, SeqCst);
                None
            }
        }
    }
}

/// Clients that hit random identifiers until they are told to stop.
struct Load {
    tally: Arc<Tally>,
    clients: Vec<JoinHandle<()>>,
    seeds: Vec<u16>,
    began: Instant,
}

impl Load {
    fn start(cluster: &Cluster) -> Self {
        let counts = || (0..IDENTIFIERS).map(|_| AtomicI64::new(0)).collect();
        let tally = Arc::new(Tally {
            admitted: counts(),
            unknown: counts(),
            hits: AtomicUsize::new(0),
            redirections: AtomicUsize::new(0),
            unserved: AtomicUsize::new(0),
            surprises: Mutex::new(Vec::new()),
            stop: AtomicBool::new(false),
            hold: AtomicBool::new(false),
            holding: AtomicUsize::new(0),
        });
        let seeds = cluster.primaries();
        let clients = (0..CONNECTIONS)
            .map(|number| {
                let (tally, seeds) = (tally.clone(), seeds.clone());
                thread::spawn(move || run_client(number, seeds, &tally))
            })
            .collect();
        Load {
            tally,
            clients,
            seeds,
            began: Instant::now(),
        }
    }

    /// Holds every client between two hits while `look` runs; then each asks for the map of the slots anew.
    fn hold<T>(&self, look: impl FnOnce() -> T) -> T {
        self.tally.hold.store(true, SeqCst);
        eventually("every client holds", || {
            self.tally.holding.load(SeqCst) == CONNECTIONS
        });
        let seen = look();
        self.tally.hold.store(false, SeqCst);
        eventually("every client goes on", || {
            self.tally.holding.load(SeqCst) == 0
        });
        seen
    }

    /// Waits until the clients have got `count` more answers.
    fn await_hits(&self, count: usize) {
        let before = self.tally.hits.load(SeqCst);
        eventually("hits are answered", || {
            self.tally.hits.load(SeqCst) >= before + count
        });
    }

    fn stop(self) -> Arc<Tally> {
        let Load {
            tally,
            clients,
            seeds,
            began,
        } = self;
        tally.stop.store(true, SeqCst);
        for client in clients {
            client.join().expect("a client ends without a panic");
        }
        let hits = tally.hits.load(SeqCst);
        println!(
            "load: {hits} hits answered, {:.0} a second, from {CONNECTIONS} connections",
            hits as f64 / began.elapsed().as_secs_f64()
        );
        drain(&tally, &seeds);
        tally
    }
}

fn run_client(number: usize, seeds: Vec<u16>, tally: &Tally) {
    let mut random = Random::new(7000 + number as u64);
    let mut client = Client::new(seeds);
    while !tally.stop.load(SeqCst) {
        if tally.hold.load(SeqCst) {
            tally.holding.fetch_add(1, SeqCst);
            eventually("the hold ends", || !tally.hold.load(SeqCst));
            client.refresh();
            tally.holding.fetch_sub(1, SeqCst);
        }
        tally.hit(&mut client, random.below(IDENTIFIERS), 1);
    }
    tally.redirections.fetch_add(client.redirections, SeqCst);
}

/// Uses up what is left of every identifier: afterwards each has used its limit, and denies.
fn drain(tally: &Tally, seeds: &[u16]) {
    thread::scope(|scope| {
        for number in 0..CONNECTIONS {
            scope.spawn(move || {
                let mut client = Client::new(seeds.to_vec());
                for identifier in (number..IDENTIFIERS).step_by(CONNECTIONS) {
                    let left = remaining(&mut client, identifier);
                    assert_eq!(tally.hit(&mut client, identifier, left), Some(true));
                    assert_eq!(tally.hit(&mut client, identifier, 1), Some(false));
                }
            });
        }
    });
}

/// What is left of an identifier's limit.
fn remaining(client: &mut Client, identifier: usize) -> i64 {
    let peek = format!("{} COST 0", peek(identifier));
    match client.call(&key(identifier), &peek) {
        Outcome::Answered(Reply::Array(five)) => five[2].int(),
        other => panic!("{other:?}"),
    }
}

/// Nothing is stuck: what denies now does so for its window's sake, and a fresh window admits.
fn assert_nothing_stuck(cluster: &Cluster) {
    let mut client = Client::new(cluster.primaries());
    for identifier in 0..IDENTIFIERS {
        let window_ms: i64 = if identifier % 3 == 1 {
            86_400_000
        } else {
            3660 * 86_400_000
        };
        let Outcome::Answered(reply) = client.call(&key(identifier), &peek(identifier)) else {
            panic!("no answer")
        };
        let [0, LIMIT, 0, retry_ms, reset_ms] = reply.ints()[..] else {
            panic!("{reply:?}")
        };
        let full_ms = if identifier % 3 == 2 {
            window_ms * LIMIT
        } else {
            window_ms
        };
        assert!(
            (1..=window_ms).contains(&retry_ms) && (1..=full_ms).contains(&reset_ms),
            "{reply:?}"
        );
    }
}

/// The digests of a primary and its replica become equal.
fn assert_replicas_agree(cluster: &Cluster) {
    for port in cluster.primaries() {
        let replica = cluster.server(cluster.replica_of(port));
        eventually("a replica holds what its primary holds", || {
            replica.digest() == cluster.server(port).digest()
        });
    }
}

fn send_signal(pid: &str, signal: &str) {
    // The shell's own: the program is not everywhere.
    let status = Command::new("sh")
        .args(["-c", &format!("kill {signal} {pid}")])
        .status();
    assert!(status.expect("there is a shell").success());
}

/// What a replica knows of the identifiers that its primary served: units used.
fn used_on_replica(replica: &Server, identifiers: &[usize]) -> Vec<i64> {
    let mut connection = Connection::open(replica.port()).unwrap();
    assert_eq!(
        connection.call("READONLY").unwrap(),
        Reply::Text(b"OK".to_vec())
    );
    let peek = |identifier: &usize| {
        connection
            .call(&format!("{} COST 0", peek(*identifier)))
            .unwrap()
    };
    identifiers
        .iter()
        .map(peek)
        .map(|reply| LIMIT - reply.ints()[2])
        .collect()
}

/// Kills a primary during the load and lets its replica take over. Returns, for each identifier, how many admitted hits
/// the replica had not got. `stalled`: the replica receives nothing for the primary's last five hundred hits.
fn fail_over(cluster: &mut Cluster, load: &Load, primary: u16, stalled: bool) -> Vec<i64> {
    let replica = cluster.replica_of(primary);
    let map = Client::new(vec![primary]);
    let identifiers: Vec<usize> = (0..IDENTIFIERS)
        .filter(|identifier| map.serving(&key(*identifier)) == primary)
        .collect();
    cluster
        .server(replica)
        .ok("CONFIG SET cluster-replica-no-failover yes");
    let process = cluster.server(replica).info_field("server", "process_id");
    if stalled {
        send_signal(&process, "-STOP");
        cluster.server(primary).call("CLIENT KILL TYPE replica");
        load.await_hits(1500);
    }
    let killed = Instant::now();
    cluster.server_mut(primary).kill();
    let (admitted, used) = load.hold(|| {
        if stalled {
            send_signal(&process, "-CONT");
        }
        (
            load.tally.admitted(),
            used_on_replica(cluster.server(replica), &identifiers),
        )
    });
    cluster
        .server(replica)
        .ok("CONFIG SET cluster-replica-no-failover no");
    eventually("the replica takes over", || {
        cluster.find(replica).is_primary
    });
    println!(
        "failover: the replica took over {:.1} s after the kill",
        killed.elapsed().as_secs_f64()
    );

    let mut lost = vec![0; IDENTIFIERS];
    for (identifier, used) in identifiers.into_iter().zip(used) {
        lost[identifier] = (admitted[identifier] - used).max(0);
    }
    lost
}

#[test]
fn a_failover_admits_at_most_what_replication_had_not_carried() {
    let mut cluster = Cluster::start(NODE_TIMEOUT);
    let load = Load::start(&cluster);
    let victims = cluster.primaries();
    thread::sleep(phase());
    let lost = fail_over(&mut cluster, &load, victims[0], false);
    thread::sleep(phase());
    let lost_while_stalled = fail_over(&mut cluster, &load, victims[1], true);
    cluster.await_serving();
    thread::sleep(phase());
    let tally = load.stop();

    let sum = |counts: &[i64]| counts.iter().sum::<i64>();
    let unknown: Vec<i64> = tally
        .unknown
        .iter()
        .map(|count| count.load(SeqCst))
        .collect();
    let excess: Vec<i64> = tally
        .admitted()
        .iter()
        .map(|admitted| (admitted - LIMIT).max(0))
        .collect();
    println!(
        "not replicated at the kill: {} hits; with the replica stalled: {}",
        sum(&lost),
        sum(&lost_while_stalled)
    );
    println!(
        "admitted beyond the limits: {}, at most {} of one identifier; unanswered: {}",
        sum(&excess),
        excess.iter().max().unwrap(),
        sum(&unknown)
    );
    for (identifier, admitted) in tally.admitted().into_iter().enumerate() {
        let most = LIMIT + lost[identifier] + lost_while_stalled[identifier];
        let least = LIMIT - unknown[identifier];
        assert!(
            (least..=most).contains(&admitted),
            "{}: {admitted}, not {least}..={most}",
            key(identifier)
        );
    }
    assert_eq!(*tally.surprises.lock().unwrap(), Vec::<String>::new());
    assert!(
        sum(&lost_while_stalled) > 0,
        "the stalled replica was to miss something"
    );
    assert_nothing_stuck(&cluster);

    // The killed primary comes back as a replica of the one that took over, without a trace of its own.
    for victim in &victims[..2] {
        // A connection that somebody else opened meanwhile may have been given its port.
        let victim = cluster.server_mut(*victim);
        eventually("its ports are free", || match victim.start_again() {
            Ok(()) => true,
            Err(refusal) if refusal.log.contains("in use") => false,
            Err(refusal) => panic!("an empty node did not start: {refusal:?}"),
        });
    }
    cluster.await_serving();
    for victim in &victims[..2] {
        eventually("it is a replica", || !cluster.find(*victim).is_primary);
    }
    assert_replicas_agree(&cluster);
}

/// Every identifier was admitted exactly its limit, and all that clients met were redirections.
fn assert_exact(cluster: &Cluster, tally: &Tally) {
    for (identifier, admitted) in tally.admitted().into_iter().enumerate() {
        assert_eq!(admitted, LIMIT, "{}", key(identifier));
    }
    assert!(tally.unknown.iter().all(|count| count.load(SeqCst) == 0));
    assert_eq!(*tally.surprises.lock().unwrap(), Vec::<String>::new());
    assert_eq!(tally.unserved.load(SeqCst), 0, "a slot was not served");
    assert!(
        tally.redirections.load(SeqCst) > 0,
        "slots were to move under the load"
    );
    println!("redirections followed: {}", tally.redirections.load(SeqCst));
    assert_nothing_stuck(cluster);
    assert_replicas_agree(cluster);
}

/// No node is taken for dead while slots move, however busy the machine is. News travel within half of it.
const PATIENT: Duration = Duration::from_secs(15);

#[test]
fn slots_that_move_and_nodes_that_come_and_go_cost_nothing() {
    let mut cluster = Cluster::start(PATIENT);
    let load = Load::start(&cluster);
    let [first, second, third] = cluster.primaries()[..] else {
        panic!("three primaries")
    };
    thread::sleep(phase());

    let began = Instant::now();
    cluster.reshard(first, second, slots_to_move());
    println!(
        "reshard: {} slots in {:.1} s",
        slots_to_move(),
        began.elapsed().as_secs_f64()
    );

    let added = cluster.add_node(PATIENT);
    cluster.reshard(third, added, slots_to_move());
    thread::sleep(phase());
    cluster.reshard(added, first, slots_to_move());
    // A client with an old map would ask the removed node, as it would in any cluster.
    load.hold(|| ());
    let id = cluster.find(added).id;
    cluster.manage(&["del-node", &format!("127.0.0.1:{first}"), &id]);
    let tally = load.stop();
    cluster.nodes.pop();
    cluster.await_serving();
    assert_exact(&cluster, &tally);
}

/// Valkey 9 and later: a range of slots moves as a whole, as commands, while the source goes on serving.
#[test]
fn an_atomic_slot_migration_costs_nothing() {
    let cluster = Cluster::start(PATIENT);
    let [first, second, _] = cluster.primaries()[..] else {
        panic!("three primaries")
    };
    if cluster
        .server(first)
        .call("CLUSTER GETSLOTMIGRATIONS")
        .is_error()
    {
        support::skipped("this server has no atomic slot migration");
        return;
    }
    let load = Load::start(&cluster);
    thread::sleep(phase());
    let target = cluster.find(second).id;
    let start = Client::new(vec![first]).first_slot(first);
    let end = start + slots_to_move() - 1;
    let command = format!("CLUSTER MIGRATESLOTS SLOTSRANGE {start} {end} NODE {target}");
    let began = Instant::now();
    cluster.server(first).ok(&command);
    eventually("the slots have moved", || {
        let migrations = cluster
            .server(first)
            .print(&["CLUSTER", "GETSLOTMIGRATIONS"]);
        assert!(!migrations.contains("failed"), "{migrations}");
        migrations.contains("success")
    });
    println!(
        "atomic migration: {} slots in {:.1} s",
        slots_to_move(),
        began.elapsed().as_secs_f64()
    );
    cluster.await_serving();
    thread::sleep(phase());
    let tally = load.stop();
    assert_exact(&cluster, &tally);
}
