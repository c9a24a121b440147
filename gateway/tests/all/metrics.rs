//! The dashboard and the alerts, on a real Prometheus that reads a real gateway.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::check;
use crate::support::{free_port, request, until, Process, Redis, Scratch};

const DASHBOARD: &str = include_str!("../../prometheus/dashboard.json");
const RULES: &str = include_str!("../../prometheus/rules.yml");
const CONFIG: &str =
    "domain: d\ndescriptors:\n  - key: k\n    rate_limit: {unit: day, requests_per_unit: 2}\n";

fn program(name: &str) -> PathBuf {
    std::env::var_os("RATELIMIT_PROMETHEUS")
        .map(|directory| PathBuf::from(directory).join(name))
        .expect("RATELIMIT_PROMETHEUS: where scripts/setup-ops prometheus put it")
}

fn files() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("prometheus")
}

#[test]
fn the_alerts_fire_when_they_should() {
    let tested = Command::new(program("promtool"))
        .args(["test", "rules"])
        .arg(files().join("rules.test.yml"))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&tested.stdout);
    assert!(tested.status.success(), "{told}");
    let tests = std::fs::read_to_string(files().join("rules.test.yml")).unwrap();
    for (name, _) in alerts() {
        assert!(
            tests.contains(&format!("alertname: {name}\n")),
            "{name} has no test"
        );
    }
}

/// Each alert, and its expression without the line with the threshold.
fn alerts() -> Vec<(String, String)> {
    let alerts: Vec<_> = RULES
        .split("- alert: ")
        .skip(1)
        .map(|text| {
            let (name, rest) = text.split_once('\n').unwrap();
            let (_, rest) = rest.split_once("expr: |\n").unwrap();
            let lines: Vec<&str> = rest
                .lines()
                .take_while(|l| l.starts_with("          "))
                .collect();
            let (threshold, expression) = lines.split_last().unwrap();
            assert!(
                threshold.trim().starts_with(['<', '>']),
                "{name}: {threshold}"
            );
            (name.to_owned(), expression.join("\n"))
        })
        .collect();
    assert!(alerts.len() > 5);
    alerts
}

fn panels() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut out = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"]
                .as_str()
                .unwrap()
                .replace("$__rate_interval", "1m")
                .replace("$job", ".*")
                .replace("$instance", ".*");
            assert!(!expression.contains('$'), "{expression}");
            out.push((panel["title"].as_str().unwrap().to_owned(), expression));
        }
    }
    out
}

#[test]
fn every_panel_and_every_alert_reads_data() {
    let redis = Redis::start();
    let gateway = check::start_with(&redis, check::RULES, CONFIG, &[]);
    assert_eq!(
        [0; 3].map(|_| gateway.hit("d", "k", "x").status),
        [200, 200, 429]
    );
    let asked = [
        ("X-Original-Method", "GET"),
        ("X-Original-Host", "h"),
        ("X-Original-URI", "/login"),
        ("X-Real-IP", "192.0.2.7"),
    ];
    let status = request(gateway.http, "GET", "/check", &asked, "")
        .unwrap()
        .status;
    assert_eq!(status, 200);

    let scratch = Scratch::new();
    let port = free_port();
    scratch.write(
        "prometheus.yml",
        &format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [{}]\nscrape_configs:\n  \
             - job_name: gateway\n    static_configs: [{{targets: ['127.0.0.1:{}']}}]\n",
            files().join("rules.yml").display(),
            gateway.debug
        ),
    );
    let mut command = Command::new(program("prometheus"));
    command
        .arg(format!(
            "--config.file={}",
            scratch.0.join("prometheus.yml").display()
        ))
        .arg(format!(
            "--storage.tsdb.path={}",
            scratch.0.join("tsdb").display()
        ))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let _prometheus = Process::start(&mut command);
    until("Prometheus is ready", || {
        request(port, "GET", "/-/ready", &[], "").is_ok_and(|answer| answer.status == 200)
    });
    for (name, expression) in panels().into_iter().chain(alerts()) {
        let escaped: String = expression
            .bytes()
            .map(|byte| format!("%{byte:02x}"))
            .collect();
        let path = format!("/api/v1/query?query={escaped}");
        until(&format!("{name} has data: {expression}"), || {
            let answer = request(port, "GET", &path, &[], "").unwrap();
            assert_eq!(answer.status, 200, "{expression}");
            // (Its body may come in chunks.)
            !answer.body.contains("\"result\":[]")
        });
    }
}
