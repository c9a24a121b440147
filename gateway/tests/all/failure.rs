//! Redis away, too much at once, and the end.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{request, until, Gateway, Redis, Scratch};

const CONFIG: &str =
    "domain: d\ndescriptors:\n  - key: k\n    rate_limit: {unit: day, requests_per_unit: 2}\n";

#[test]
fn redis_away_is_told_at_once_and_it_comes_back() {
    let mut redis = Redis::start();
    let gateway = Gateway::start(
        &redis,
        CONFIG,
        &[("REDIS_HEALTH_CHECK_ACTIVE_CONNECTION", "true")],
    );
    let open = Gateway::start(&redis, CONFIG, &[("FAILURE_MODE", "open")]);
    let closed = Gateway::start(&redis, CONFIG, &[("FAILURE_MODE", "closed")]);
    assert_eq!(gateway.hit("d", "k", "x").status, 200);
    let port = redis.port;
    redis.process.0.kill().unwrap();
    redis.process.0.wait().unwrap();
    until("it is told", || gateway.hit("d", "k", "x").status == 503);
    until("it is not healthy", || {
        gateway.get("/healthcheck").status == 500
    });
    until("open", || {
        open.metric("ratelimit_gateway_failed_open") > Some(0)
            || open.hit("d", "k", "x").status != 200
    });
    until("closed", || closed.hit("d", "k", "y").status == 429);
    assert_eq!(open.hit("d", "k", "x").status, 200);
    assert!(closed.metric("ratelimit_gateway_failed_closed") > Some(0));
    // Far less than the deadline of ten seconds: nothing waits for a connection.
    let began = Instant::now();
    for _ in 0..50 {
        assert_eq!(gateway.hit("d", "k", "x").status, 503);
    }
    assert!(
        began.elapsed() < Duration::from_secs(9),
        "{:?}",
        began.elapsed()
    );
    let redis = Redis::start_on(port);
    until("it is back", || gateway.hit("d", "k", "z").status == 200);
    until("it is healthy again", || {
        gateway.get("/healthcheck").status == 200
    });
    drop(redis);
}

#[test]
fn a_server_that_hangs_costs_no_more_than_the_deadline() {
    let redis = Redis::start();
    let gateway = Gateway::start(
        &redis,
        CONFIG,
        &[("REDIS_TIMEOUT", "300ms"), ("MAX_IN_FLIGHT", "8")],
    );
    redis.process.signal("STOP");
    let began = Instant::now();
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..40)
            .map(|_| scope.spawn(|| gateway.hit("d", "k", "x").status))
            .collect();
        asked
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(statuses.iter().all(|status| *status == 503), "{statuses:?}");
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
    assert!(
        gateway.metric("ratelimit_gateway_unavailable") > Some(0),
        "more than eight were not let in"
    );
    redis.process.signal("CONT");
    until("it is back", || gateway.hit("d", "k", "y").status == 200);
    // Each request of those forty was sent once at most.
    let hits: Vec<i64> = redis.ask(&["RL.PEEK", "FIXED", "f/d/k=x", "1000", "1d"]);
    assert!(1_000 - hits[2] <= 40, "{hits:?}");
}

#[test]
fn who_is_denied_is_known_until_then() {
    let redis = Redis::start();
    let gateway = Gateway::start(&redis, CONFIG, &[("LOCAL_CACHE_SIZE_IN_BYTES", "1000000")]);
    assert_eq!(
        [0; 3].map(|_| gateway.hit("d", "k", "x").status),
        [200, 200, 429]
    );
    let before: String = redis.ask(&["INFO", "commandstats"]);
    assert_eq!([0; 5].map(|_| gateway.hit("d", "k", "x").status), [429; 5]);
    let after: String = redis.ask(&["INFO", "commandstats"]);
    let calls = |info: &str| {
        info.lines()
            .find(|line| line.contains("rl.fixed"))
            .map(str::to_owned)
    };
    assert_eq!(calls(&before), calls(&after), "Redis was not asked");
    assert_eq!(
        gateway.metric(
            "ratelimit_service_rate_limit_over_limit_with_local_cache{domain=\"d\",key1=\"k\"}"
        ),
        Some(5)
    );
    assert_eq!(gateway.hit("d", "k", "y").status, 200);
}

#[test]
fn a_request_of_any_size_is_answered() {
    let redis = Redis::start();
    let gateway = Gateway::start(&redis, CONFIG, &[]);
    let long = "x".repeat(100_000);
    assert_eq!(gateway.hit("d", "k", &long).status, 200);
    assert_eq!(gateway.hit("d", "k", &"x".repeat(300_000)).status, 413);
    let keys: Vec<String> = redis.ask(&["KEYS", "*"]);
    assert!(keys.iter().all(|key| key.len() < 200), "{keys:?}");
    let many: Vec<_> = (0..300)
        .map(|i| json!({ "entries": [{ "key": "k", "value": i.to_string() }] }))
        .collect();
    assert_eq!(
        gateway
            .json(&json!({ "domain": "d", "descriptors": many }))
            .status,
        400
    );
    let nested = "[".repeat(100_000);
    assert_eq!(
        request(gateway.http, "POST", "/json", &[], &nested)
            .unwrap()
            .status,
        400
    );
    assert_eq!(gateway.get("/healthcheck").status, 200);
}

#[test]
fn without_a_configuration_it_is_not_healthy_and_says_why() {
    let redis = Redis::start();
    let scratch = Scratch::new();
    scratch.write("config/bad.yaml", "descriptors: []\n");
    let gateway = Gateway::start_in(scratch, redis.port, &[]);
    assert_eq!(gateway.get("/healthcheck").status, 500);
    let answer = gateway.hit("d", "k", "x");
    assert_eq!(
        (
            answer.status,
            answer.body.contains("no rate limit configuration loaded")
        ),
        (400, true)
    );
}

#[test]
fn a_termination_finishes_what_has_begun() {
    let redis = Redis::start();
    let mut gateway = Gateway::start(&redis, CONFIG, &[("REDIS_TIMEOUT", "30s")]);
    redis.process.signal("STOP");
    let status = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| gateway.hit("d", "k", "x").status);
        std::thread::sleep(Duration::from_millis(500));
        gateway.process.signal("TERM");
        until("nobody new is let in", || {
            request(gateway.http, "GET", "/healthcheck", &[], "").is_err()
        });
        redis.process.signal("CONT");
        waiting.join().unwrap()
    });
    assert_eq!(status, 200);
    assert!(gateway.process.0.wait().unwrap().success());
}
