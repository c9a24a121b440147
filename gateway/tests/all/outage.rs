//! Under load: Redis away, a primary that fails over, files that change, the end.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use crate::load::Load;
use crate::support::{free_port, request, until, Gateway, Redis, Scratch};

const CONFIG: &str =
    "domain: d\ndescriptors:\n  - key: k\n    rate_limit: {unit: day, requests_per_unit: 4000000}\n";
const AT_ONCE: u64 = 64;
const SLACK: Duration = Duration::from_secs(15);

/// How long Redis is away: RATELIMIT_AWAY_SECONDS, for a longer look than the gate has time for.
fn away() -> Duration {
    let seconds = std::env::var("RATELIMIT_AWAY_SECONDS").map_or(2, |text| text.parse().unwrap());
    Duration::from_secs(seconds)
}

/// What was counted for these values.
fn counted(redis: &Redis, values: u64) -> u64 {
    let used = |value| {
        let key = format!("f/d/k={value}");
        let state: Vec<i64> = redis.ask(&["RL.PEEK", "FIXED", &key, "4000000", "1d", "COST", "0"]);
        u64::try_from(4_000_000 - state[2]).unwrap()
    };
    (0..values).map(used).sum()
}

#[test]
fn redis_that_hangs_under_load_is_told_of_in_time_and_comes_back() {
    let redis = Redis::start();
    let gateway = Gateway::start(&redis, CONFIG, &[("REDIS_TIMEOUT", "300ms")]);
    let load = Load::start(gateway.grpc, AT_ONCE, 10);
    load.until_more_pass("some pass", 500);
    let before = gateway.memory();
    redis.process.signal("STOP");
    load.until_more_fail("those under way are told", AT_ONCE);
    std::thread::sleep(away());
    load.until_more_fail("others are told, too", 1_000);
    let grown = gateway.memory().saturating_sub(before);
    redis.process.signal("CONT");
    load.until_more_pass("they pass again", 500);
    let slowest = load.slowest();
    let seen = load.finish();
    assert_eq!(*seen.surprises.lock().unwrap(), [""; 0]);
    assert!(slowest < SLACK, "{slowest:?}");
    // Megabytes, were what nobody waits for kept.
    assert!(grown < 32 << 20, "{grown} bytes more");
    // Each is sent once at most, and all that were let through are counted.
    let (ok, unavailable) = (seen.ok.load(SeqCst), seen.unavailable.load(SeqCst));
    let counted = counted(&redis, 10);
    assert!(
        (ok..=ok + unavailable).contains(&counted),
        "{ok} passed, {unavailable} failed, {counted} counted"
    );
}

#[test]
fn redis_that_is_gone_under_load_is_told_of_at_once_and_comes_back() {
    let mut redis = Redis::start();
    let log = Scratch::new();
    let gateway = Gateway::start_logging(&redis, CONFIG, &[], &log.0.join("log"));
    let load = Load::start(gateway.grpc, AT_ONCE, 10);
    load.until_more_pass("some pass", 500);
    let before = gateway.memory();
    redis.process.0.kill().unwrap();
    redis.process.0.wait().unwrap();
    std::thread::sleep(away());
    load.until_more_fail("they are told", 5_000);
    let grown = gateway.memory().saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes more");
    let redis = Redis::start_on(redis.port);
    load.until_more_pass("they pass again", 500);
    let slowest = load.slowest();
    let seen = load.finish();
    assert_eq!(*seen.surprises.lock().unwrap(), [""; 0]);
    // The deadline is ten seconds: nobody waits for a connection.
    assert!(slowest < Duration::from_secs(9), "{slowest:?}");
    let lines = std::fs::read_to_string(log.0.join("log")).unwrap();
    let lines = lines.lines().count();
    let failed = usize::try_from(seen.unavailable.load(SeqCst)).unwrap();
    assert!(lines > 0 && lines < failed / 10, "{lines} lines of log");
    drop(redis);
}

#[test]
fn files_that_change_under_load_lose_nothing() {
    let redis = Redis::start();
    let gateway = Gateway::start(&redis, CONFIG, &[]);
    let load = Load::start(gateway.grpc, AT_ONCE, 10);
    let reloads = |name: &str| gateway.metric(&format!("ratelimit_service_config_load_{name}"));
    for round in 0..2 {
        let (good, bad) = (reloads("success"), reloads("error"));
        let more = format!(
            "{CONFIG}  - key: more{round}\n    rate_limit: {{unit: day, requests_per_unit: 1}}\n"
        );
        gateway.scratch.write("config/config.yaml", &more);
        until("the change is seen", || reloads("success") > good);
        gateway
            .scratch
            .write("config/config.yaml", "domain: d\ndescriptors: [5]\n");
        until("the fault is seen", || reloads("error") > bad);
        load.until_more_pass("they pass", 100);
    }
    let seen = load.finish();
    assert_eq!(*seen.surprises.lock().unwrap(), [""; 0]);
    assert_eq!(
        (seen.unavailable.load(SeqCst), seen.over.load(SeqCst)),
        (0, 0)
    );
    assert_eq!(counted(&redis, 10), seen.ok.load(SeqCst));
    assert_eq!(gateway.hit("d", "more1", "x").status, 200);
    assert_eq!(gateway.hit("d", "more1", "x").status, 429);
}

#[test]
fn a_termination_under_load_answers_all_that_it_charged() {
    let redis = Redis::start();
    let mut gateway = Gateway::start(&redis, CONFIG, &[]);
    let load = Load::start(gateway.grpc, AT_ONCE, 10);
    load.until_more_pass("some pass", 1_000);
    gateway.process.signal("TERM");
    assert!(gateway.process.0.wait().unwrap().success());
    assert!(request(gateway.http, "GET", "/healthcheck", &[], "").is_err());
    load.until_more_fail("there is nobody", AT_ONCE);
    let seen = load.finish();
    assert_eq!(*seen.surprises.lock().unwrap(), [""; 0]);
    assert_eq!(counted(&redis, 10), seen.ok.load(SeqCst));
}

#[test]
fn a_promoted_replica_is_found_by_the_sentinels() {
    let primary = Redis::start();
    let mut replica = Redis::start();
    let () = replica.ask(&["REPLICAOF", "127.0.0.1", &primary.port.to_string()]);
    until("the replica follows", || {
        let info: String = replica.ask(&["INFO", "replication"]);
        info.contains("master_link_status:up")
    });
    let scratch = Scratch::new();
    let port = free_port();
    scratch.write(
        "sentinel.conf",
        &format!(
            "port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {} 1\n\
             sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 1000\n",
            primary.port
        ),
    );
    let sentinel = Redis::run(
        port,
        &[
            scratch.0.join("sentinel.conf").to_str().unwrap(),
            "--sentinel",
        ],
    );
    until("the sentinel knows the replica", || {
        let replicas: Vec<redis::Value> = sentinel.ask(&["SENTINEL", "REPLICAS", "main"]);
        replicas.len() == 1
    });
    let url = format!("main,127.0.0.1:{port}");
    let settings = [("REDIS_TYPE", "SENTINEL"), ("REDIS_URL", url.as_str())];
    let gateway = Gateway::start(&primary, CONFIG, &settings);
    let load = Load::start(gateway.grpc, AT_ONCE, 10);
    load.until_more_pass("some pass", 500);

    // By order: the old primary lives on, and says that it is none.
    let () = sentinel.ask(&["SENTINEL", "FAILOVER", "main"]);
    until("the replica is promoted", || {
        let at: Vec<String> = sentinel.ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main"]);
        at[1] == replica.port.to_string()
    });
    // As the sentinel does, after its ten seconds.
    until("the old primary follows", || {
        let order = ["REPLICAOF", "127.0.0.1", &replica.port.to_string()];
        primary.try_ask::<()>(&order).is_ok()
    });
    load.until_more_pass("they pass at the promoted one", 500);
    until("it has synchronised", || {
        let info = primary.try_ask::<String>(&["INFO", "replication"]);
        info.is_ok_and(|info| info.contains("master_link_status:up"))
    });
    // And back, by death. Sentinel takes a new order only some time after the last.
    replica.process.0.kill().unwrap();
    replica.process.0.wait().unwrap();
    until("the first is primary again", || is_primary(&primary));
    load.until_more_pass("they pass there", 500);
    let seen = load.finish();
    assert_eq!(*seen.surprises.lock().unwrap(), [""; 0]);
    assert_eq!(seen.over.load(SeqCst), 0);
    assert!(counted(&primary, 10) >= 500);
}

fn is_primary(redis: &Redis) -> bool {
    let info = redis.try_ask::<String>(&["INFO", "replication"]);
    info.is_ok_and(|info| info.contains("role:master"))
}

#[test]
fn a_cluster_that_fails_over_is_followed() {
    let buses: Vec<String> = (0..4).map(|_| free_port().to_string()).collect();
    let nodes: Vec<Redis> = buses
        .iter()
        .map(|bus| {
            Redis::start_with(&[
                "--cluster-enabled",
                "yes",
                "--cluster-port",
                bus,
                "--cluster-node-timeout",
                "1000",
                "--cluster-replica-validity-factor",
                "0",
            ])
        })
        .collect();
    for (node, (first, last)) in
        nodes
            .iter()
            .zip([("0", "5000"), ("5001", "11000"), ("11001", "16383")])
    {
        let () = node.ask(&["CLUSTER", "ADDSLOTSRANGE", first, last]);
    }
    for (node, bus) in nodes.iter().zip(&buses).skip(1) {
        let () = nodes[0].ask(&["CLUSTER", "MEET", "127.0.0.1", &node.port.to_string(), bus]);
    }
    let told = |node: &Redis, word: &str| -> String { node.ask(&["CLUSTER", word]) };
    until("the nodes know each other", || {
        nodes
            .iter()
            .all(|node| told(node, "INFO").contains("cluster_known_nodes:4"))
    });
    let first = told(&nodes[0], "MYID");
    let () = nodes[3].ask(&["CLUSTER", "REPLICATE", &first]);
    until("all slots are served and the replica follows", || {
        let info: String = nodes[3].ask(&["INFO", "replication"]);
        nodes
            .iter()
            .all(|node| told(node, "INFO").contains("cluster_state:ok"))
            && info.contains("master_link_status:up")
    });

    // Of the three, one is named: the others are found.
    let url = format!("127.0.0.1:{},127.0.0.1:{}", nodes[1].port, nodes[0].port);
    let settings = [
        ("REDIS_TYPE", "CLUSTER"),
        ("REDIS_URL", url.as_str()),
        ("REDIS_TIMEOUT", "1s"),
    ];
    let gateway = Gateway::start(&nodes[1], CONFIG, &settings);
    let load = Load::start(gateway.grpc, AT_ONCE, 100);
    load.until_more_pass("some pass", 1_000);
    // It hangs: its connections are not closed, and it tells nobody who serves its slots now.
    nodes[0].process.signal("STOP");
    until("the replica is promoted", || is_primary(&nodes[3]));
    // Keys of all nodes, one after the other, and none of them fails.
    until("all pass again", || {
        (0..100).all(|i| gateway.hit("d", "k", &i.to_string()).status == 200)
    });
    let dbsize: i64 = nodes[3].ask(&["DBSIZE"]);
    assert!(dbsize > 0, "the promoted one holds keys");
    let slowest = load.slowest();
    let seen = load.finish();
    assert_eq!(*seen.surprises.lock().unwrap(), [""; 0]);
    assert_eq!(seen.over.load(SeqCst), 0);
    assert!(slowest < SLACK, "{slowest:?}");
}
