use axum::http::HeaderMap;

use super::*;
use crate::call::Call;

const FILE: &str = "
request: forwarded
client_address: {header: X-Real-IP}
rules:
  - name: health
    match: {path: /healthz}
    action: allow
  - name: admin
    match: {path: {prefix: /admin/}, not: {ip: 10.0.0.0/8}}
    action: deny
  - name: login
    match: {method: POST, path: /login}
    key: [ip]
    limits: [{limit: 5, window: 15m}, {limit: 20, window: 1d}]
    block: [15m, 1h]
    deny: bad
  - name: canary
    key: [{header: X-Api-Key}]
    limit: 10
    window: 1s
    algorithm: bucket
    burst: 50
    action: log
  - name: api
    match: {path: {prefix: /api/}}
    key: [{header: X-Api-Key}, path]
    limit: 100
    window: 1m
    cost: 2
    policy: ['api:{header:x-api-key}', api]
    on_failure: open
";

fn request(method: &str, uri: &str, address: &str) -> Request {
    let mut headers = HeaderMap::new();
    headers.insert("x-api-key", "k 1".parse().unwrap());
    Request::new(method, "example.org", uri, headers, address.parse().ok()).unwrap()
}

#[test]
fn rules_are_asked_in_order() {
    let rules = load(FILE, false).unwrap();
    let judge = |method: &str, uri: &str, address: &str| {
        let verdict = rules.judge(&request(method, uri, address), "");
        let names = |list: &[(&Rule, Clause)]| {
            list.iter()
                .map(|(rule, _)| rule.name.clone())
                .collect::<Vec<_>>()
        };
        (
            verdict.denied.map(|rule| rule.name.clone()),
            names(&verdict.limits),
            names(&verdict.logs),
        )
    };
    assert_eq!(judge("GET", "/healthz", "1.2.3.4"), (None, vec![], vec![]));
    assert_eq!(
        judge("GET", "/admin/x", "1.2.3.4").0.as_deref(),
        Some("admin")
    );
    assert_eq!(
        judge("GET", "/x/../admin//x", "1.2.3.4").0.as_deref(),
        Some("admin")
    );
    assert_eq!(
        judge("GET", "/admin/x", "10.2.3.4"),
        (None, vec![], vec!["canary".into()])
    );
    assert_eq!(
        judge("POST", "/login", "1.2.3.4"),
        (None, vec!["login".into()], vec!["canary".into()])
    );
    assert_eq!(judge("GET", "/api/x", "1.2.3.4").1, ["api"]);
}

#[test]
fn a_clause_says_all_of_its_rule() {
    let rules = load(FILE, false).unwrap();
    let mut request = request("GET", "/api/x", "1.2.3.4");
    let command = |request: &Request| {
        let verdict = rules.judge(request, "gw:");
        let clauses = verdict
            .limits
            .into_iter()
            .map(|(_, clause)| clause)
            .collect();
        let packed = Call {
            clauses,
            ..Call::default()
        }
        .command()
        .get_packed_command();
        let text = String::from_utf8(packed).unwrap();
        text.split("\r\n")
            .filter(|word| !word.starts_with(['*', '$']))
            .collect::<Vec<_>>()
            .join(" ")
            .trim()
            .to_owned()
    };
    assert_eq!(
        command(&request),
        "RL.SLIDING gw:s/rules/rule=api/header:x-api-key=k%201/path=%2fapi%2fx 100 1m COST 2 POLICY api:k 1 POLICY api"
    );
    // Who leaves the field out shares a counter, and it is not that of anybody who wrote something.
    request.headers.clear();
    assert!(
        command(&request).starts_with("RL.SLIDING gw:s/rules/rule=api/header:x-api-key=*none/"),
        "{}",
        command(&request)
    );
}

#[test]
fn a_whole_file_may_only_count() {
    let rules = load(FILE, true).unwrap();
    let request = request("POST", "/login", "1.2.3.4");
    let verdict = rules.judge(&request, "");
    assert!(rules.shadow && verdict.limits.is_empty() && verdict.logs.len() == 2);
}

#[test]
fn faults_say_where_and_what() {
    let with = |rule: &str| {
        load(
            &format!("request: path\nclient_address: none\nrules:\n  - {rule}\n"),
            false,
        )
        .unwrap_err()
        .to_string()
    };
    for (rule, expected) in [
        ("{key: []}", "line 4, column 5: a rule must have a name"),
        ("{name: a b}", "a name is 1 to 64"),
        (
            "{name: a, action: block}",
            "action must be allow, log, deny or limit",
        ),
        ("{name: a, action: deny, limit: 5}", "unknown word 'limit'"),
        ("{name: a, limit: 5, window: 1m}", "key is missing"),
        (
            "{name: a, key: [ip], limit: 5, window: 1m}",
            "client_address is none",
        ),
        (
            "{name: a, key: [session], limit: 5, window: 1m}",
            "line 4, column 21: expected ip, method",
        ),
        ("{name: a, key: [], limit: 5}", "window is missing"),
        (
            "{name: a, key: [], limit: 5, window: 1m, cost: 0}",
            "cost must be",
        ),
        (
            "{name: a, key: [], limit: 5, window: 1m, on_failure: ask}",
            "on_failure must be",
        ),
        (
            "{name: a, key: [], limit: 5, window: 1m, typo: 1}",
            "unknown word 'typo'",
        ),
        (
            "{name: a, match: {path: {regex: '['}}, key: [], limit: 5, window: 1m}",
            "invalid regex",
        ),
    ] {
        let fault = with(rule);
        assert!(fault.contains(expected), "{rule}: {fault}");
    }
    assert!(load("request: path\nrules: []\n", false)
        .unwrap_err()
        .text
        .contains("client_address is missing"));
    assert!(load("client_address: peer\nrules: []\n", false)
        .unwrap_err()
        .text
        .contains("request is missing"));
}
