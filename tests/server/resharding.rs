//! Calls over several keys, leases and policies while slots change their owner: key by key, as a whole, by a failover.
//!
//! The callers know what each of their keys must hold, and compare it with every reply. `CLUSTER_LONG=1` moves slots more
//! often; `--nocapture` shows the figures.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::cluster::{slot, Client, Cluster, Outcome};
use crate::support::resp::Connection;
use crate::support::{self, aof, cli, eventually, Random, Reply, Server};

/// No node is taken for dead while slots move, however busy the machine is.
const PATIENT: Duration = Duration::from_secs(15);
/// Long enough for a busy machine, short enough for a test to wait for.
const NODE_TIMEOUT: Duration = Duration::from_secs(5);
/// For so long a node tries to take over, as it was asked to: Redis gives it 5 s.
const TAKEOVER: Duration = Duration::from_secs(6);

const POLICY: &str = "RL.POLICY SET tokens SLIDING 2000000 1d";
const TOKENS: i64 = 2_000_000;
/// Few enough for calls to be denied.
const REQUESTS: i64 = 200;
const JOBS: usize = 6;
/// Ids that ask for a job.
const WORKERS: usize = 10;

/// How often slots change their owner.
fn moves() -> usize {
    if std::env::var_os("CLUSTER_LONG").is_some() {
        500
    } else {
        10
    }
}

/// The keys of one tag, and what they must hold.
#[derive(Debug)]
struct Tenant {
    tag: String,
    tokens: i64,
    requests: i64,
    jobs: BTreeSet<usize>,
    /// Calls that were admitted under the policy.
    admitted: i64,
    /// Whether its last key is shut by order, which holds nothing else.
    is_shut: bool,
    /// How many requests came with an id of their own.
    ids: usize,
}

impl Tenant {
    fn new(tag: String) -> Self {
        Tenant {
            tag,
            tokens: 0,
            requests: 0,
            jobs: BTreeSet::new(),
            admitted: 0,
            is_shut: false,
            ids: 0,
        }
    }

    /// Tenants whose keys are in these slots.
    fn within(slots: std::ops::Range<usize>, count: usize) -> Vec<Self> {
        (0..)
            .map(|number| format!("{{tenant{number}}}"))
            .filter(|tag| slots.contains(&slot(tag)))
            .take(count)
            .map(Tenant::new)
            .collect()
    }

    fn keys(&self) -> [String; 3] {
        ["tokens", "requests", "jobs"].map(|name| format!("{}:{name}", self.tag))
    }

    fn shut(&self) -> String {
        format!("{}:shut", self.tag)
    }

    fn all(&self, verb: &str, id: usize) -> String {
        let keys = self.keys().join(" ");
        format!("{verb} 3 {keys} SLIDING 1000 1d POLICY tokens FIXED {REQUESTS} 3660d LEASE {JOBS} 1d id{id}")
    }

    fn remaining(&self) -> [i64; 3] {
        let jobs = i64::try_from(JOBS - self.jobs.len()).unwrap();
        [
            TOKENS - self.tokens,
            (REQUESTS - self.requests).max(0),
            jobs,
        ]
    }

    fn has_job_for(&self, id: usize) -> bool {
        self.jobs.contains(&id) || self.jobs.len() < JOBS
    }

    /// Makes one call of any kind, and compares the reply with what it must be.
    fn call(&mut self, random: &mut Random, mut send: impl FnMut(&str, &str) -> Reply) {
        let [tokens, requests, jobs] = self.keys();
        let id = random.below(WORKERS);
        match random.below(12) {
            0 => {
                let freed = send(&jobs, &format!("RL.RELEASE {jobs} id{id}"));
                assert_eq!(freed.int(), i64::from(self.jobs.remove(&id)), "{self:?}");
            }
            1 => {
                let reply = send(
                    &tokens,
                    &format!("RL.SLIDING {tokens} 1000 1d POLICY tokens COST 3"),
                );
                self.tokens += 3;
                self.admitted += 1;
                let left = self.remaining()[0];
                assert_eq!(reply.ints()[..3], [1, TOKENS, left], "{self:?}");
            }
            2 => {
                let hit = format!("RL.FIXED {requests} {REQUESTS} 3660d COST -5");
                let reply = send(&requests, &hit);
                self.requests = (self.requests - 5).max(0);
                let left = self.remaining()[1];
                assert_eq!(reply.ints()[..3], [1, REQUESTS, left], "{self:?}");
            }
            3 => {
                let reply = send(&jobs, &format!("RL.LEASE {jobs} {JOBS} 1d id{id}"));
                let fits = self.has_job_for(id);
                if fits {
                    self.jobs.insert(id);
                }
                let left = self.remaining()[2];
                assert_eq!(
                    [reply.ints()[0], reply.ints()[2]],
                    [i64::from(fits), left],
                    "{self:?}"
                );
            }
            4 => {
                let shut = self.shut();
                let is_shut = random.one_in(2);
                let duration = if is_shut { "1d" } else { "0" };
                let left = send(&shut, &format!("RL.BLOCK {shut} {duration}")).int();
                assert_eq!(left > 0, is_shut, "{self:?}");
                self.is_shut = is_shut;
            }
            5 => {
                let shut = self.shut();
                let reply = send(&shut, &format!("RL.BUCKET {shut} 5 5 1d COST 0"));
                assert_eq!(reply.ints()[0], i64::from(!self.is_shut), "{self:?}");
            }
            6 => {
                // The first of an id, or one that is sent again, perhaps to another node than the first.
                let is_repeat = self.ids > 0 && random.one_in(2);
                let number = self.ids - usize::from(is_repeat);
                let hit = format!("RL.FIXED {requests} {REQUESTS} 3660d FORCE ID req-{number}");
                let fits = is_repeat || self.requests < REQUESTS;
                if !is_repeat {
                    self.ids += 1;
                    self.requests += 1;
                }
                let reply = send(&requests, &hit).ints();
                let left = self.remaining()[1];
                assert_eq!(reply[1..3], [REQUESTS, left], "{self:?}");
                assert!(is_repeat || reply[0] == i64::from(fits), "{self:?}");
                assert_eq!(reply[5], i64::from(is_repeat), "{self:?}");
            }
            _ => {
                let reply = send(&tokens, &self.all("RL.ALL", id));
                let fits = [true, self.requests < REQUESTS, self.has_job_for(id)];
                let all_fit = fits == [true; 3];
                if all_fit {
                    self.tokens += 1;
                    self.admitted += 1;
                    self.requests += 1;
                    self.jobs.insert(id);
                }
                assert!(!reply.is_error(), "{reply:?}, {self:?}");
                assert_eq!(reply.array()[0].int(), i64::from(all_fit), "{self:?}");
                self.assert_each(&reply, fits);
            }
        }
    }

    /// Demands the reply of each key.
    fn assert_each(&self, reply: &Reply, fits: [bool; 3]) {
        let each = reply.array()[5].array();
        for (key, fits) in fits.into_iter().enumerate() {
            let five = each[key].ints();
            let expected = [i64::from(fits), self.remaining()[key]];
            assert_eq!([five[0], five[2]], expected, "key {key} of {self:?}");
        }
    }

    /// Demands that the keys hold what they must.
    fn assert_holds(&self, client: &mut Client) {
        let exists = ask(client, &self.shut(), &format!("EXISTS {}", self.shut()));
        assert_eq!(exists.int(), i64::from(self.is_shut), "{self:?}");
        let keys = self.keys();
        let used = [self.tokens, self.requests];
        for (key, used) in keys.iter().zip(used) {
            let info = ask(client, key, &format!("RL.INFO {key}"));
            let counted = match &info {
                Reply::Nil => 0,
                info => info.field("limits").array()[0].field("used").int(),
            };
            assert_eq!(counted, used, "{key}: {info:?}");
        }
        let info = ask(client, &keys[2], &format!("RL.INFO {}", keys[2]));
        let held: BTreeSet<String> = match &info {
            Reply::Nil => BTreeSet::new(),
            info => {
                let leases = info.field("leases").array().iter();
                leases.map(|lease| lease.field("id").text()).collect()
            }
        };
        let expected = self.jobs.iter().map(|id| format!("id{id}")).collect();
        assert_eq!(held, expected, "{}", keys[2]);
    }
}

/// The cluster's answer.
fn ask(client: &mut Client, key: &str, line: &str) -> Reply {
    match client.call(key, line) {
        Outcome::Answered(reply) => reply,
        other => panic!("{line}: {other:?}"),
    }
}

/// What callers met, all together.
#[derive(Default)]
struct Met {
    calls: AtomicUsize,
    redirections: AtomicUsize,
    /// Calls whose keys were in two places.
    try_again: AtomicUsize,
    stop: AtomicBool,
}

/// Calls for these tenants until it is told to stop.
fn run_caller(seed: u64, tenants: &mut [Tenant], seeds: Vec<u16>, met: &Met) {
    let mut random = Random::new(seed);
    let mut client = Client::new(seeds);
    while !met.stop.load(SeqCst) {
        let tenant = random.below(tenants.len());
        tenants[tenant].call(&mut random, |key, line| {
            let mut reply = None;
            eventually("the keys are in one place", || {
                let answer = ask(&mut client, key, line);
                let again = matches!(&answer, Reply::Error(text) if text.starts_with("TRYAGAIN"));
                met.try_again.fetch_add(usize::from(again), SeqCst);
                reply = Some(answer);
                !again
            });
            reply.unwrap()
        });
        met.calls.fetch_add(1, SeqCst);
    }
    met.redirections.fetch_add(client.redirections, SeqCst);
}

/// Callers for all tenants, as long as `work` takes; then every key must hold what they were answered, on replicas too.
fn under_load(cluster: &Cluster, tenants: &mut [Tenant], work: impl FnOnce(&Met)) {
    /// Ends the load also where the work fails.
    struct Stop<'met>(&'met Met);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.stop.store(true, SeqCst);
        }
    }
    let met = Met::default();
    let seeds = cluster.primaries();
    let began = Instant::now();
    thread::scope(|scope| {
        for (number, part) in tenants.chunks_mut(8).enumerate() {
            let (seeds, met) = (seeds.clone(), &met);
            scope.spawn(move || run_caller(9000 + number as u64, part, seeds, met));
        }
        let _stop = Stop(&met);
        work(&met);
    });
    println!(
        "{} calls in {:.1} s; {} redirections, {} TRYAGAIN",
        met.calls.load(SeqCst),
        began.elapsed().as_secs_f64(),
        met.redirections.load(SeqCst),
        met.try_again.load(SeqCst),
    );
    let mut client = Client::new(seeds);
    for tenant in tenants.iter() {
        tenant.assert_holds(&mut client);
    }
    for port in cluster.primaries() {
        assert_replica_agrees(cluster, port);
    }
}

fn await_calls(met: &Met, count: usize) {
    let before = met.calls.load(SeqCst);
    eventually("calls are answered", || {
        met.calls.load(SeqCst) >= before + count
    });
}

fn assert_replica_agrees(cluster: &Cluster, primary: u16) {
    let replica = cluster.server(cluster.replica_of(primary));
    eventually("a replica holds what its primary holds", || {
        replica.digest() == cluster.server(primary).digest()
    });
}

fn set_policy(cluster: &Cluster) {
    for port in cluster.primaries() {
        cluster.server(port).ok(POLICY);
    }
}

/// CLUSTER SETSLOT. Valkey refuses where a replica did not confirm in time, and changes nothing.
fn set_slot(server: &Server, arguments: &str) {
    eventually(arguments, || {
        let reply = server.call(&format!("CLUSTER SETSLOT {arguments}"));
        let is_late = matches!(&reply, Reply::Error(text) if text.starts_with("NOREPLICAS"));
        assert!(!reply.is_error() || is_late, "{arguments}: {reply:?}");
        !is_late
    });
}

/// A slot that moves key by key.
struct Move<'cluster> {
    slot: usize,
    source: &'cluster Server,
    target: &'cluster Server,
    source_id: String,
    target_id: String,
}

impl<'cluster> Move<'cluster> {
    fn begin(cluster: &'cluster Cluster, slot: usize, source: u16, target: u16) -> Self {
        let this = Move {
            slot,
            source: cluster.server(source),
            target: cluster.server(target),
            source_id: cluster.find(source).id,
            target_id: cluster.find(target).id,
        };
        set_slot(this.target, &format!("{slot} IMPORTING {}", this.source_id));
        set_slot(this.source, &format!("{slot} MIGRATING {}", this.target_id));
        this
    }

    fn key(&self, key: &str) {
        let port = self.target.port();
        let line = format!("MIGRATE 127.0.0.1 {port} {key} 0 10000");
        let moved = self.source.call(&line);
        // A lease that was released meanwhile leaves no key.
        assert!(
            matches!(&moved, Reply::Text(said) if said == b"OK" || said == b"NOKEY"),
            "{moved:?}"
        );
    }

    /// Moves the keys that are left, one by one, and gives the slot to its new owner.
    fn end(self) {
        let Move { slot, .. } = self;
        loop {
            let left = self
                .source
                .call(&format!("CLUSTER GETKEYSINSLOT {slot} 100"));
            if left.array().is_empty() {
                break;
            }
            left.array().iter().for_each(|key| self.key(&key.text()));
        }
        for server in [self.target, self.source] {
            set_slot(server, &format!("{slot} NODE {}", self.target_id));
        }
    }
}

/// A call after ASKING.
fn asking(server: &Server, line: &str) -> Reply {
    let mut connection = Connection::open(server.port()).unwrap();
    assert!(!connection.call("ASKING").unwrap().is_error());
    connection.call(line).unwrap()
}

/// What `redis-cli -c` prints of a call that it sends to this node.
fn following(server: &Server, line: &str) -> String {
    let output = cli::command()
        .args(["-c", "-p", &server.port().to_string()])
        .args(line.split_whitespace())
        .stdin(Stdio::null())
        .output()
        .expect("redis-cli starts");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_call_whose_keys_are_in_two_places_is_refused_and_charges_nothing() {
    let cluster = Cluster::start(PATIENT);
    set_policy(&cluster);
    let [source, target, _] = cluster.primaries()[..] else {
        panic!("three primaries")
    };
    let mut client = Client::new(vec![source]);
    let first = client.first_slot(source);
    let mut tenant = Tenant::within(first..first + 1000, 1).remove(0);
    let slot = slot(&tenant.tag);
    let keys = tenant.keys();
    let charge = |tenant: &mut Tenant, id: usize, call: &mut dyn FnMut(&str) -> Reply| {
        let reply = call(&tenant.all("RL.ALL", id));
        tenant.tokens += 1;
        tenant.requests += 1;
        tenant.jobs.insert(id);
        assert!(!reply.is_error(), "{reply:?}");
        assert_eq!(reply.array()[0].int(), 1, "{reply:?}");
        tenant.assert_each(&reply, [true; 3]);
    };
    let on = |server: &Server| {
        let mut connection = Connection::open(server.port()).unwrap();
        move |line: &str| connection.call(line).unwrap()
    };
    let (at_source, at_target) = (cluster.server(source), cluster.server(target));
    charge(&mut tenant, 1, &mut on(at_source));
    charge(&mut tenant, 2, &mut on(at_source));

    let moving = Move::begin(&cluster, slot, source, target);
    charge(&mut tenant, 3, &mut on(at_source));
    for moved in &keys[..2] {
        moving.key(moved);
        let digests = [at_source.digest(), at_target.digest()];
        for verb in ["RL.ALL", "RL.PEEKALL"] {
            let line = tenant.all(verb, 4);
            let refusal = on(at_source)(&line);
            // A server may send the caller on to the new owner, which has them not all either.
            assert!(
                ["TRYAGAIN", "ASK "]
                    .iter()
                    .any(|code| refusal.error().starts_with(code)),
                "{refusal:?}"
            );
            let refusal = asking(at_target, &line);
            assert!(refusal.error().starts_with("TRYAGAIN"), "{refusal:?}");
            let refusal = on(at_target)(&line);
            assert!(refusal.error().starts_with("MOVED"), "{refusal:?}");
            let refusal = ask(&mut client, &keys[0], &line);
            assert!(refusal.error().starts_with("TRYAGAIN"), "{refusal:?}");
        }
        assert_eq!([at_source.digest(), at_target.digest()], digests);
    }
    // One key alone is served where it is.
    let hit = format!("RL.SLIDING {} 1000 1d POLICY tokens", keys[0]);
    let reply = on(at_source)(&hit);
    assert!(reply.error().starts_with("ASK "), "{reply:?}");
    assert_eq!(ask(&mut client, &keys[0], &hit).ints()[0], 1);
    tenant.tokens += 1;
    let renewal = format!("RL.LEASE {} {JOBS} 1d id3", keys[2]);
    assert_eq!(on(at_source)(&renewal).ints()[0], 1);

    // All are there: the new owner serves whoever was sent by the old one.
    moving.key(&keys[2]);
    let refusal = on(at_source)(&tenant.all("RL.ALL", 4));
    assert!(refusal.error().starts_with("ASK "), "{refusal:?}");
    charge(&mut tenant, 4, &mut |line| asking(at_target, line));
    charge(&mut tenant, 5, &mut |line| ask(&mut client, &keys[0], line));

    moving.end();
    let refusal = on(at_source)(&tenant.all("RL.ALL", 6));
    assert!(refusal.error().starts_with("MOVED"), "{refusal:?}");
    charge(&mut tenant, 6, &mut on(at_target));
    let followed = client.redirections;
    // All six jobs are taken: renewed by who has one, denied to others.
    charge(&mut tenant, 1, &mut |line| ask(&mut client, &keys[0], line));
    assert!(client.redirections > followed, "it followed MOVED");
    let denied = ask(&mut client, &keys[0], &tenant.all("RL.ALL", 7));
    assert_eq!(denied.array()[0].int(), 0, "{denied:?}");
    tenant.assert_each(&denied, [true, true, false]);
    let printed = following(at_source, &tenant.all("RL.ALL", 2));
    tenant.tokens += 1;
    tenant.requests += 1;
    assert!(printed.starts_with("1\n"), "{printed}");
    tenant.assert_holds(&mut client);
    assert_eq!(at_source.call("DBSIZE").int(), 0);
    for port in [source, target] {
        assert_replica_agrees(&cluster, port);
    }
}

#[test]
fn slots_that_move_key_by_key_under_calls_over_several_keys_lose_and_invent_nothing() {
    let cluster = Cluster::start(PATIENT);
    set_policy(&cluster);
    let [first, second, _] = cluster.primaries()[..] else {
        panic!("three primaries")
    };
    let start = Client::new(vec![first]).first_slot(first);
    let mut tenants = Tenant::within(start..start + 1000, 32);
    let slots: BTreeSet<usize> = tenants.iter().map(|tenant| slot(&tenant.tag)).collect();
    under_load(&cluster, &mut tenants, |met| {
        await_calls(met, 500);
        let rounds = moves() / 5;
        for round in 0..rounds {
            let ends = [first, second];
            for slot in &slots {
                let (source, target) = (ends[round % 2], ends[(round + 1) % 2]);
                Move::begin(&cluster, *slot, source, target).end();
            }
            await_calls(met, 100);
        }
        println!("key by key: {} moves of a slot", rounds * slots.len());
    });
}

/// What the server says of its migrations: how many have succeeded that it began itself, and whether all have ended.
fn migrations(server: &Server) -> (usize, bool) {
    let all = server.call("CLUSTER GETSLOTMIGRATIONS");
    let states: Vec<(String, String)> = all
        .array()
        .iter()
        .map(|one| (one.field("operation").text(), one.field("state").text()))
        .collect();
    let failed = states
        .iter()
        .any(|(_, state)| state == "failed" || state == "cancelled");
    assert!(!failed, "{all:?}\n{}", server.log());
    let succeeded = states
        .iter()
        .filter(|(operation, state)| operation == "EXPORT" && state == "success");
    let have_ended = states.iter().all(|(_, state)| state == "success");
    (succeeded.count(), have_ended)
}

/// Valkey 9 and later.
#[test]
fn slots_that_migrate_as_a_whole_again_and_again_lose_and_invent_nothing() {
    let mut cluster = Cluster::with(PATIENT, &["appendonly yes"]);
    let [first, second, third] = cluster.primaries()[..] else {
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
    for node in &cluster.nodes {
        node.ok("CONFIG SET cluster-slot-migration-log-max-len 10000");
    }
    set_policy(&cluster);
    let start = Client::new(vec![first]).first_slot(first);
    let end = start + 99;
    let mut tenants = Tenant::within(start..end + 1, 32);
    under_load(&cluster, &mut tenants, |met| {
        await_calls(met, 500);
        let began = Instant::now();
        for number in 0..moves() {
            let ends = [first, second];
            let (source, target) = (ends[number % 2], ends[(number + 1) % 2]);
            let (source, id) = (cluster.server(source), cluster.find(target).id);
            let (before, _) = migrations(source);
            source.ok(&format!(
                "CLUSTER MIGRATESLOTS SLOTSRANGE {start} {end} NODE {id}"
            ));
            eventually("the slots have moved", || {
                migrations(source).0 == before + 1 && migrations(cluster.server(target)).1
            });
            await_calls(met, 20);
        }
        println!(
            "as a whole: {} migrations of 100 slots, none failed, in {:.1} s",
            moves(),
            began.elapsed().as_secs_f64()
        );
    });
    // Each node counted what it decided: together no more and no less than what the keys hold.
    let named = |port: u16| {
        let stats = cluster.server(port).call("RL.STATS GET tokens");
        [
            stats.field("allowed").int(),
            stats.field("denied").int(),
            stats.field("deny_listed").int(),
        ]
    };
    let [one, other] = [named(first), named(second)];
    println!("counted under the policy: {one:?}, {other:?}");
    assert!(one[0] > 0 && other[0] > 0);
    let admitted: i64 = tenants.iter().map(|tenant| tenant.admitted).sum();
    assert_eq!(one[0] + other[0], admitted);
    assert_eq!([one[1], one[2], other[1], other[2]], [0; 4]);
    assert_eq!(cluster.server(third).call("DBSIZE").int(), 0);

    // And the AOF holds the same.
    for port in [first, second] {
        let server = cluster.server_mut(port);
        let digest = server.digest();
        aof::await_writes(server);
        server.kill();
        eventually("its ports are free", || match server.start_again() {
            Ok(()) => true,
            Err(refusal) if refusal.log.contains("in use") => false,
            Err(refusal) => panic!("{refusal:?}"),
        });
        assert_eq!(server.digest(), digest);
    }
    cluster.await_serving();
    let mut client = Client::new(vec![first, second]);
    for tenant in &tenants {
        tenant.assert_holds(&mut client);
    }
}

/// Has a replica take over. One that does not come to it in time, on a busy machine, is asked again.
fn take_over(cluster: &Cluster, replica: u16) {
    let mut asked: Option<Instant> = None;
    eventually("all know that the replica took over", || {
        let is_seen = |node: &&Server| cluster.find_by(node, replica).is_primary;
        let server = cluster.server(replica);
        if !is_seen(&server) && asked.is_none_or(|asked| asked.elapsed() > TAKEOVER) {
            server.ok("CLUSTER FAILOVER");
            asked = Some(Instant::now());
        }
        cluster.living().iter().all(is_seen)
    });
}

#[test]
fn a_promoted_replica_holds_the_same_and_goes_on_counting() {
    let mut cluster = Cluster::start(NODE_TIMEOUT);
    set_policy(&cluster);
    let primary = cluster.primaries()[0];
    let replica = cluster.replica_of(primary);
    let start = Client::new(vec![primary]).first_slot(primary);
    let mut tenants = Tenant::within(start..start + 1000, 16);

    // As an administrator asks for it: not one call is lost, the leases are who held them.
    under_load(&cluster, &mut tenants, |met| {
        for port in [replica, primary] {
            await_calls(met, 1000);
            let other = if port == replica { primary } else { replica };
            // It ignores the request of one that it does not know for its replica yet.
            eventually("the primary knows its replica", || {
                let server = cluster.server(other);
                cluster.find_by(server, port).primary == cluster.find_by(server, other).id
            });
            cluster.await_serving();
            take_over(&cluster, port);
            eventually("all know the replica that the primary came to be", || {
                cluster
                    .living()
                    .iter()
                    .all(|node| !cluster.find_by(node, other).is_primary)
            });
            cluster.await_serving();
        }
        await_calls(met, 1000);
    });

    // By the primary's death.
    let digest = cluster.server(primary).digest();
    let digests = |server: &Server| -> Vec<String> {
        let keys = tenants.iter().flat_map(Tenant::keys);
        keys.map(|key| server.digest_value(&key)).collect()
    };
    let of_keys = digests(cluster.server(primary));
    cluster.server_mut(primary).kill();
    eventually("the replica takes over", || {
        cluster.find(replica).is_primary
    });
    assert_eq!(cluster.server(replica).digest(), digest);
    assert_eq!(digests(cluster.server(replica)), of_keys);
    cluster.await_serving();
    let mut client = Client::new(cluster.primaries());
    let mut random = Random::new(77);
    for tenant in &mut tenants {
        for _ in 0..100 {
            tenant.call(&mut random, |key, line| ask(&mut client, key, line));
        }
        tenant.assert_holds(&mut client);
    }
}
