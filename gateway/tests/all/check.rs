//! Forward auth, asked as proxies ask it.

use crate::support::{request, until, Answer, Gateway, Redis, Scratch};

pub const RULES: &str = include_str!("../../examples/rules.yaml");

pub fn start(redis: &Redis, rules: &str, settings: &[(&str, &str)]) -> Gateway {
    let scratch = Scratch::new();
    std::fs::remove_dir(scratch.0.join("config")).unwrap();
    start_in(scratch, redis, rules, settings)
}

/// With descriptors beside the rules.
pub fn start_with(
    redis: &Redis,
    rules: &str,
    descriptors: &str,
    settings: &[(&str, &str)],
) -> Gateway {
    let scratch = Scratch::new();
    scratch.write("config/config.yaml", descriptors);
    start_in(scratch, redis, rules, settings)
}

fn start_in(scratch: Scratch, redis: &Redis, rules: &str, settings: &[(&str, &str)]) -> Gateway {
    scratch.write("rules.yaml", rules);
    let file = scratch.0.join("rules.yaml");
    let mut settings = settings.to_vec();
    settings.push(("RULES_FILE", file.to_str().unwrap()));
    let gateway = Gateway::start_in(scratch, redis.port, &settings);
    until("the gateway is healthy", || {
        gateway.get("/healthcheck").status == 200
    });
    gateway
}

fn ask(gateway: &Gateway, uri: &str, more: &[(&str, &str)]) -> Answer {
    let mut headers = vec![
        ("X-Original-Method", "GET"),
        ("X-Original-Host", "example.org"),
        ("X-Original-URI", uri),
        ("X-Real-IP", "192.0.2.7"),
    ];
    headers.retain(|(name, _)| !more.iter().any(|(other, _)| other == name));
    headers.extend_from_slice(more);
    request(gateway.http, "GET", "/check", &headers, "").unwrap()
}

#[test]
fn allowed_denied_and_listed() {
    let redis = Redis::start();
    let gateway = start(&redis, RULES, &[]);
    let first = ask(&gateway, "/login", &[]);
    assert_eq!(
        (first.status, first.header("RateLimit-Policy")),
        (200, Some("\"login\";q=3;w=3600"))
    );
    assert!(first
        .header("RateLimit")
        .unwrap()
        .starts_with("\"login\";r=2;t="));
    // However the path is spelt.
    assert_eq!(
        [
            ask(&gateway, "//login", &[]).status,
            ask(&gateway, "/x/../%6cogin", &[]).status
        ],
        [200, 200]
    );
    let denied = ask(&gateway, "/login", &[]);
    assert_eq!(denied.status, 429);
    let wait: u32 = denied.header("Retry-After").unwrap().parse().unwrap();
    assert!((3_500..=3_600).contains(&wait), "{wait}");
    assert!(denied
        .header("RateLimit")
        .unwrap()
        .starts_with("\"login\";r=0;t="));
    // nginx asks for 403, and tells by Retry-After.
    let nginx = ask(&gateway, "/login", &[("X-Denied-Status", "403")]);
    assert_eq!(
        (nginx.status, nginx.header("Retry-After").is_some()),
        (403, true)
    );
    assert_eq!(
        ask(&gateway, "/login", &[("X-Real-IP", "192.0.2.8")]).status,
        200
    );
    // Whatever else it says, and however a service may read it: neither a way past a limit nor past a denial.
    for uri in [
        "/login?next=https://example.org/healthz",
        "/login/",
        "/login;jsessionid=1",
        "/x/..;/login",
        "/x%2f..%2flogin",
    ] {
        assert_eq!(ask(&gateway, uri, &[]).status, 429, "{uri}");
    }
    assert_eq!(ask(&gateway, "/login#/../healthz", &[]).status, 400);
    assert_eq!(ask(&gateway, "/x%2f..%2fadmin%2fx", &[]).status, 403);
    assert_eq!(ask(&gateway, "/caf\u{e9}", &[]).status, 200);
    let admin = ask(&gateway, "/admin/x", &[]);
    assert_eq!((admin.status, admin.header("Retry-After")), (403, None));
    assert_eq!(ask(&gateway, "/healthz", &[]).status, 200);
    let _: i64 = redis.ask(&["RL.DENY", "ADD", "bad-addresses", "198.51.100.0/24"]);
    assert_eq!(
        ask(&gateway, "/login", &[("X-Real-IP", "198.51.100.9")]).status,
        403
    );
    assert_eq!(
        gateway.metric("ratelimit_gateway_rule_requests{rule=\"login\",result=\"denied\"}"),
        Some(8)
    );
}

#[test]
fn what_the_proxy_does_not_say_is_not_guessed() {
    let redis = Redis::start();
    let gateway = start(&redis, RULES, &[]);
    for (name, value) in [
        ("X-Real-IP", "none"),
        ("X-Real-IP", ""),
        ("X-Denied-Status", "200"),
    ] {
        assert_eq!(
            ask(&gateway, "/login", &[(name, value)]).status,
            400,
            "{name}: {value}"
        );
    }
    let twice = [("X-Real-IP", "192.0.2.1"), ("X-Real-IP", "192.0.2.2")];
    assert_eq!(ask(&gateway, "/login", &twice).status, 400);
    assert_eq!(
        request(
            gateway.http,
            "GET",
            "/check",
            &[("X-Real-IP", "192.0.2.1")],
            ""
        )
        .unwrap()
        .status,
        400
    );
    let long = format!("/{}", "x".repeat(20_000));
    assert_eq!(ask(&gateway, &long, &[]).status, 200);
}

#[test]
fn a_shadow_lets_all_in_and_counts() {
    let redis = Redis::start();
    let gateway = start(&redis, RULES, &[("RULES_SHADOW", "true")]);
    assert_eq!(
        [0; 5].map(|_| ask(&gateway, "/login", &[]).status),
        [200; 5]
    );
    assert_eq!(ask(&gateway, "/admin/x", &[]).status, 200);
    let would = |rule: &str| {
        gateway.metric(&format!(
            "ratelimit_gateway_rule_requests{{rule=\"{rule}\",result=\"would_deny\"}}"
        ))
    };
    assert_eq!((would("login"), would("admin")), (Some(2), Some(1)));
}

#[test]
fn several_rules_are_charged_all_or_none() {
    let redis = Redis::start();
    let rules = "
request: original
client_address: {header: X-Real-IP}
rules:
  - {name: narrow, match: {path: /a}, key: [ip], limit: 1, window: 1d}
  - {name: wide, key: [ip], limit: 3, window: 1d}
";
    let gateway = start(&redis, rules, &[]);
    assert_eq!(
        ["/a", "/a", "/a", "/b", "/b", "/b"].map(|uri| ask(&gateway, uri, &[]).status),
        [200, 429, 429, 200, 200, 429]
    );
}

/// What only counts is the shadow of what binds: the server counts what it would have denied, and it charges with the others.
#[test]
fn a_rule_that_only_counts_is_a_shadow_at_the_server() {
    let redis = Redis::start();
    let rules = "
request: original
client_address: {header: X-Real-IP}
rules:
  - {name: tried, action: log, key: [ip], limit: 1, window: 1d}
  - {name: blocks, action: log, key: [ip], limit: 1, window: 1d, block: 1h}
  - {name: lists, action: log, key: [ip], limit: 9, window: 1d, deny: nobody}
  - {name: binds, match: {path: /a}, key: [ip], limit: 3, window: 1d, deny: bad}
";
    let gateway = start(&redis, rules, &[]);
    assert_eq!(
        [0; 4].map(|_| ask(&gateway, "/a", &[]).status),
        [200, 200, 200, 429]
    );
    let info: String = redis.ask(&["INFO", "ratelimit"]);
    // The second and the third; what is denied by others is not judged.
    assert!(info.contains("ratelimit_shadow_denied:2"), "{info}");
    let count = |rule: &str, result: &str| {
        gateway.metric(&format!(
            "ratelimit_gateway_rule_requests{{rule=\"{rule}\",result=\"{result}\"}}"
        ))
    };
    assert_eq!(
        (count("tried", "allowed"), count("tried", "would_deny")),
        (Some(1), Some(3))
    );
    assert_eq!(
        count("blocks", "would_deny"),
        Some(3),
        "by itself, as a block is no shadow's"
    );
    // A deny list is the rule's that names it.
    let _: i64 = redis.ask(&["RL.DENY", "ADD", "bad", "198.51.100.9"]);
    let listed = ask(&gateway, "/a", &[("X-Real-IP", "198.51.100.9")]);
    assert_eq!(
        (listed.status, count("tried", "would_deny")),
        (403, Some(3))
    );
    // Where nothing binds, each is asked by itself.
    assert_eq!(ask(&gateway, "/b", &[]).status, 200);
    assert_eq!(count("tried", "would_deny"), Some(4));
}

#[test]
fn open_and_closed_are_each_rules_own() {
    let mut redis = Redis::start();
    let gateway = start(&redis, RULES, &[]);
    let key = [("X-Api-Key", "k")];
    assert_eq!(ask(&gateway, "/api/x", &key).status, 200);
    redis.process.0.kill().unwrap();
    redis.process.0.wait().unwrap();
    until("closed", || ask(&gateway, "/login", &[]).status == 503);
    assert_eq!(
        ask(&gateway, "/login", &[]).header("Retry-After"),
        Some("1")
    );
    assert_eq!(
        [
            ask(&gateway, "/api/x", &key).status,
            ask(&gateway, "/other", &[]).status
        ],
        [200, 200]
    );
    // What a proxy does not take for a gateway that is away.
    let asked =
        ["403", "429"].map(|status| ask(&gateway, "/login", &[("X-Denied-Status", status)]).status);
    assert_eq!(asked, [403, 429]);
}

#[test]
fn bad_rules_keep_the_old_ones() {
    let redis = Redis::start();
    let gateway = start(&redis, RULES, &[]);
    gateway.scratch.write(
        "rules.yaml",
        "request: original\nclient_address: none\nrules: [{name: x, limt: 5}]\n",
    );
    until("the bad file is seen", || {
        gateway.metric("ratelimit_gateway_rules_errors") == Some(1)
    });
    assert_eq!(ask(&gateway, "/admin/x", &[]).status, 403);
    gateway.scratch.write(
        "rules.yaml",
        "request: original\nclient_address: none\nrules: []\n",
    );
    until("the good file is seen", || {
        gateway.metric("ratelimit_gateway_rules_errors") == Some(0)
    });
    assert_eq!(ask(&gateway, "/admin/x", &[]).status, 200);
}
