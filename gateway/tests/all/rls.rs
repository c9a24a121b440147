//! In place of envoyproxy/ratelimit.

use envoy_types::pb::envoy::extensions::common::ratelimit::v3::{
    rate_limit_descriptor::Entry, RateLimitDescriptor,
};
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::Code;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use envoy_types::pb::envoy::service::ratelimit::v3::RateLimitRequest;
use envoy_types::pb::google::protobuf::UInt64Value;
use serde_json::{json, Value};

use crate::support::{request, until, Gateway, Redis};

const CONFIG: &str = "
domain: d
descriptors:
  - key: three
    rate_limit: {unit: day, requests_per_unit: 3}
  - key: one
    rate_limit: {unit: day, requests_per_unit: 1}
  - key: none
    rate_limit: {unit: day, requests_per_unit: 0}
  - key: free
    rate_limit: {unlimited: true}
  - key: shadow
    shadow_mode: true
    rate_limit: {unit: day, requests_per_unit: 1}
  - {key: quota, value: a, quota_mode: true, rate_limit: {unit: day, requests_per_unit: 1}}
  - {key: quota, value: b, quota_mode: true, rate_limit: {unit: day, requests_per_unit: 2}}
  - key: general
    rate_limit: {unit: day, requests_per_unit: 1, name: general}
  - key: special
    rate_limit: {unit: day, requests_per_unit: 2, replaces: [{name: general}]}
  - key: files
    value: a*
    share_threshold: true
    rate_limit: {unit: day, requests_per_unit: 2}
  - key: login
    rate_limit:
      algorithm: sliding
      limits: [{requests_per_unit: 2, window: 10m}, {requests_per_unit: 100, unit: day}]
      block: [1h]
      policy: ['login:{login}', login]
      deny: bad
";

fn descriptors(gateway: &Gateway, pairs: &[(&str, &str)]) -> Value {
    let descriptors: Vec<Value> = pairs
        .iter()
        .map(|(k, v)| json!({ "entries": [{ "key": k, "value": v }] }))
        .collect();
    gateway
        .json(&json!({ "domain": "d", "descriptors": descriptors }))
        .json()
}

fn codes(answer: &Value) -> Vec<&str> {
    answer["statuses"]
        .as_array()
        .unwrap()
        .iter()
        .map(|status| status["code"].as_str().unwrap())
        .collect()
}

#[test]
fn descriptors_over_json() {
    let redis = Redis::start();
    let gateway = Gateway::start(&redis, CONFIG, &[]);
    for (remaining, status) in [
        (json!(2), 200),
        (json!(1), 200),
        (Value::Null, 200),
        (Value::Null, 429),
    ] {
        let answer = gateway.hit("d", "three", "x");
        assert_eq!(
            (
                answer.status,
                &answer.json()["statuses"][0]["limitRemaining"]
            ),
            (status, &remaining)
        );
    }
    assert_eq!(
        gateway.hit("d", "three", "y").status,
        200,
        "another value, another counter"
    );
    assert_eq!(gateway.hit("d", "none", "x").status, 429);
    let free = gateway.hit("d", "free", "x").json();
    assert_eq!(free["statuses"][0]["limitRemaining"], json!(u32::MAX));
    assert_eq!(gateway.hit("d", "unknown", "x").status, 200);
    assert_eq!(gateway.hit("other", "three", "x").status, 200);
    assert_eq!(
        gateway.metric("ratelimit_service_rate_limit_domain_not_found{domain=\"other\"}"),
        Some(1)
    );
    assert_eq!(gateway.hit("", "three", "x").status, 400);
    assert_eq!(gateway.json(&json!({ "domain": "d" })).status, 400);
    assert_eq!(
        request(gateway.http, "POST", "/json", &[], "no json")
            .unwrap()
            .status,
        400
    );
    // A shadow answers OK, and is counted.
    assert_eq!(
        [
            gateway.hit("d", "shadow", "x").status,
            gateway.hit("d", "shadow", "x").status
        ],
        [200, 200]
    );
    assert_eq!(
        gateway.metric("ratelimit_service_rate_limit_shadow_mode{domain=\"d\",key1=\"shadow\"}"),
        Some(1)
    );
    // Over only when all quotas are.
    assert_eq!(
        descriptors(&gateway, &[("quota", "a"), ("quota", "b")])["overallCode"],
        "OK"
    );
    assert_eq!(
        codes(&descriptors(&gateway, &[("quota", "a"), ("quota", "b")])),
        ["OVER_LIMIT", "OK"]
    );
    assert_eq!(
        descriptors(&gateway, &[("quota", "a"), ("quota", "b")])["overallCode"],
        "OVER_LIMIT"
    );
    // The special limit replaces the general one in this request.
    assert_eq!(
        codes(&descriptors(
            &gateway,
            &[("general", "x"), ("special", "x")]
        )),
        ["OK", "OK"]
    );
    assert_eq!(
        codes(&descriptors(
            &gateway,
            &[("general", "x"), ("special", "x")]
        )),
        ["OK", "OK"]
    );
    assert_eq!(codes(&descriptors(&gateway, &[("general", "x")])), ["OK"]);
    // One counter for all that the pattern matches.
    assert_eq!(
        ["a1", "a2", "a3"].map(|value| gateway.hit("d", "files", value).status),
        [200, 200, 429]
    );
}

#[test]
fn tokens_that_were_used_are_counted_also_where_they_do_not_fit() {
    let redis = Redis::start();
    let gateway = Gateway::start(&redis, CONFIG, &[]);
    let ask = |addend: u64, negative: bool| {
        let entries = json!([{ "key": "three", "value": "tokens" }]);
        let descriptor =
            json!({ "entries": entries, "hitsAddend": addend, "isNegativeHits": negative });
        gateway
            .json(&json!({ "domain": "d", "descriptors": [descriptor] }))
            .status
    };
    assert_eq!(ask(0, false), 200);
    assert_eq!(ask(50, false), 429);
    assert_eq!(ask(0, false), 429, "a look sees the debt");
    assert_eq!(ask(48, true), 200);
    assert_eq!(ask(0, false), 200, "what is given back is free again");
    assert_eq!(
        [ask(1, false), ask(0, false), ask(1, false)],
        [200, 200, 429]
    );
}

#[test]
fn more_than_can_be_counted_is_over_the_limit() {
    let redis = Redis::start();
    let settings = [
        ("FAILURE_MODE", "open"),
        ("STOP_CACHE_KEY_INCREMENT_WHEN_OVERLIMIT", "true"),
    ];
    let gateway = Gateway::start(&redis, CONFIG, &settings);
    let most = 1_u64 << 53;
    let descriptor = |key: &str, addend: u64| json!({ "entries": [{ "key": key, "value": "tokens" }], "hitsAddend": addend });
    let ask = |descriptors: Value| {
        gateway
            .json(&json!({ "domain": "d", "descriptors": descriptors }))
            .status
    };
    for _ in 0..3 {
        assert_eq!(ask(json!([descriptor("three", most)])), 429);
        assert_eq!(ask(json!([descriptor("three", u64::MAX)])), 429);
        let both = json!([descriptor("three", 2), descriptor("one", 1)]);
        assert_eq!(ask(both), 429);
    }
    assert_eq!(ask(json!([descriptor("three", 0)])), 429);
    assert_eq!(
        gateway.metric("ratelimit_service_should_rate_limit_error{err_type=\"redis_error\"}"),
        Some(0)
    );
}

#[test]
fn all_or_nothing() {
    let redis = Redis::start();
    let each = Gateway::start(&redis, CONFIG, &[]);
    let pairs = [("one", "e"), ("three", "e")];
    let left = |answer: &Value| answer["statuses"][1]["limitRemaining"].clone();
    let answers: Vec<Value> = (0..2).map(|_| descriptors(&each, &pairs)).collect();
    assert_eq!(
        (codes(&answers[1]), left(&answers[1])),
        (vec!["OVER_LIMIT", "OK"], json!(1))
    );
    let together = Gateway::start(
        &redis,
        CONFIG,
        &[("STOP_CACHE_KEY_INCREMENT_WHEN_OVERLIMIT", "true")],
    );
    let pairs = [
        ("one", "t"),
        ("three", "t"),
        ("three", "t"),
        ("shadow", "t"),
    ];
    let answers: Vec<Value> = (0..2).map(|_| descriptors(&together, &pairs)).collect();
    // Nothing is charged; a key that is named twice is asked twice; what is in shadow mode is the others' shadow.
    assert_eq!(
        (codes(&answers[1]), left(&answers[1])),
        (vec!["OVER_LIMIT", "OK", "OK", "OK"], json!(1))
    );
}

#[test]
fn our_own_words_in_the_same_file() {
    let redis = Redis::start();
    let gateway = Gateway::start(&redis, CONFIG, &[]);
    assert_eq!(
        [0; 3].map(|_| gateway.hit("d", "login", "joe").status),
        [200, 200, 429]
    );
    let blocked = gateway.hit("d", "login", "joe").json();
    let until: u64 = blocked["statuses"][0]["durationUntilReset"]
        .as_str()
        .unwrap()
        .trim_end_matches('s')
        .parse()
        .unwrap();
    assert!(
        (3_000..=3_600).contains(&until),
        "the block's hour: {until}"
    );
    let () = redis.ask(&["RL.POLICY", "SET", "login:gold", "SLIDING", "5", "10m"]);
    assert_eq!(
        [0; 6].map(|_| gateway.hit("d", "login", "gold").status),
        [200, 200, 200, 200, 200, 429]
    );
    let _: i64 = redis.ask(&["RL.DENY", "ADD", "bad", "mallory"]);
    assert_eq!(gateway.hit("d", "login", "mallory").status, 429);
    let _: i64 = redis.ask(&["RL.DENY", "DEL", "bad", "mallory"]);
    assert_eq!(gateway.hit("d", "login", "mallory").status, 200);
    // What no deny list can hold is looked up in none: it is limited as any other.
    for value in ["", &"x".repeat(100_000)] {
        assert_eq!(
            [0; 3].map(|_| gateway.hit("d", "login", value).status),
            [200, 200, 429]
        );
    }
}

#[test]
fn a_bad_file_keeps_the_old_configuration() {
    let redis = Redis::start();
    let gateway = Gateway::start(&redis, CONFIG, &[]);
    gateway.scratch.write(
        "config/config.yaml",
        "domain: d\ndescriptors:\n  - key: three\n    ratelimit: {}\n",
    );
    until("the bad file is seen", || {
        gateway.metric("ratelimit_service_config_load_error") == Some(1)
    });
    assert_eq!(gateway.metric("ratelimit_gateway_config_errors"), Some(1));
    assert_eq!(gateway.hit("d", "none", "x").status, 429);
    gateway.scratch.write("config/config.yaml", "domain: d\ndescriptors:\n  - key: none\n    rate_limit: {unit: day, requests_per_unit: 1}\n");
    until("the good file is seen", || {
        gateway.metric("ratelimit_service_config_load_success") == Some(2)
    });
    assert_eq!(gateway.hit("d", "none", "x").status, 200);
}

#[test]
fn headers_and_metadata_where_they_are_asked_for() {
    let redis = Redis::start();
    let config = "domain: d\ndescriptors:\n  - key: k\n    metadata: {plan: gold}\n    rate_limit: {unit: day, requests_per_unit: 9}\n";
    let settings = [
        ("LIMIT_RESPONSE_HEADERS_ENABLED", "true"),
        ("RESPONSE_DYNAMIC_METADATA", "true"),
    ];
    let gateway = Gateway::start(&redis, config, &settings);
    let answer = gateway.hit("d", "k", "v").json();
    assert_eq!(
        answer["responseHeadersToAdd"][0],
        json!({ "key": "RateLimit-Limit", "value": "9" })
    );
    assert_eq!(
        answer["responseHeadersToAdd"][1],
        json!({ "key": "RateLimit-Remaining", "value": "8" })
    );
    assert_eq!(
        answer["dynamicMetadata"]["metadata"],
        json!({ "plan": "gold" })
    );
    assert_eq!(
        answer["dynamicMetadata"]["descriptors"][0]["entries"][0],
        "k=v"
    );
}

#[test]
fn the_same_over_grpc() {
    let redis = Redis::start();
    let gateway = Gateway::start(&redis, CONFIG, &[]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut client =
            RateLimitServiceClient::connect(format!("http://127.0.0.1:{}", gateway.grpc))
                .await
                .unwrap();
        let entry = Entry {
            key: "three".into(),
            value: "grpc".into(),
        };
        let descriptor = RateLimitDescriptor {
            entries: vec![entry],
            ..RateLimitDescriptor::default()
        };
        let request = RateLimitRequest {
            domain: "d".into(),
            descriptors: vec![descriptor.clone()],
            ..RateLimitRequest::default()
        };
        for expected in [Code::Ok, Code::Ok, Code::Ok, Code::OverLimit] {
            let answer = client
                .should_rate_limit(request.clone())
                .await
                .unwrap()
                .into_inner();
            assert_eq!(answer.overall_code(), expected);
        }
        let back = RateLimitDescriptor {
            hits_addend: Some(UInt64Value { value: 1 }),
            is_negative_hits: true,
            ..descriptor
        };
        let refund = RateLimitRequest {
            descriptors: vec![back],
            ..request.clone()
        };
        assert_eq!(
            client
                .should_rate_limit(refund)
                .await
                .unwrap()
                .into_inner()
                .statuses[0]
                .limit_remaining,
            1
        );
        let empty = client
            .should_rate_limit(RateLimitRequest::default())
            .await
            .unwrap_err();
        assert_eq!(empty.message(), "rate limit domain must not be empty");
    });
}
