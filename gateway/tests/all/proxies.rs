//! The examples' configurations, in the real proxies.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::check;
use crate::support::{free_port, request, until, Answer, Gateway, Process, Redis, Scratch};

/// The service behind the proxies: it answers 200 to everything.
fn service() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream));
        }
    });
    port
}

fn serve(mut stream: TcpStream) {
    let mut head = Vec::new();
    let mut byte = [0; 1];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let _ = stream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\nservice\n");
}

fn proxies() -> PathBuf {
    std::env::var_os("RATELIMIT_PROXIES")
        .map(PathBuf::from)
        .expect("RATELIMIT_PROXIES: where scripts/setup-gateway put them")
}

fn command(name: &str) -> Command {
    let mut command = Command::new(proxies().join("usr").join(name));
    command.env(
        "LD_LIBRARY_PATH",
        proxies().join("usr/lib/x86_64-linux-gnu"),
    );
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// An example with the ports of this test in place of its own.
fn example(text: &str, gateway: &Gateway, front: u16, service: u16) -> String {
    let ports = [
        ("8080", gateway.http),
        ("8081", gateway.grpc),
        ("8000", front),
        ("3000", service),
    ];
    let (mut out, mut changed) = (text.to_owned(), false);
    for (from, to) in ports {
        for before in ["127.0.0.1:", "http://:", "port_value: "] {
            let replaced = out.replace(&format!("{before}{from}"), &format!("{before}{to}"));
            changed |= replaced != out;
            out = replaced;
        }
    }
    assert!(changed);
    out
}

struct Front {
    port: u16,
    gateway: Gateway,
    redis: Redis,
    _process: Process,
    _scratch: Scratch,
}

/// A gateway by these rules, and a proxy by this example in front of it.
fn front(rules: &str, text: &str, run: impl Fn(&Scratch, &str) -> Command) -> Front {
    front_on(free_port(), rules, text, run)
}

fn front_on(port: u16, rules: &str, text: &str, run: impl Fn(&Scratch, &str) -> Command) -> Front {
    let redis = Redis::start();
    let gateway = check::start(&redis, rules, &[]);
    behind_on(port, redis, gateway, text, run)
}

fn behind_on(
    port: u16,
    redis: Redis,
    gateway: Gateway,
    text: &str,
    run: impl Fn(&Scratch, &str) -> Command,
) -> Front {
    let scratch = Scratch::new();
    let service = service();
    let process = Process::start(&mut run(&scratch, &example(text, &gateway, port, service)));
    let front = Front {
        port,
        gateway,
        redis,
        _process: process,
        _scratch: scratch,
    };
    until("the proxy answers", || {
        front
            .try_get("/healthz", &[])
            .is_ok_and(|answer| answer.status == 200)
    });
    front
}

impl Front {
    fn try_get(&self, path: &str, headers: &[(&str, &str)]) -> std::io::Result<Answer> {
        request(self.port, "GET", path, headers, "")
    }

    fn get(&self, path: &str) -> Answer {
        self.try_get(path, &[]).unwrap()
    }

    /// What every proxy's client must see, by the examples' rules.
    fn exercise(&self) {
        let first = self.exercise_limits();
        assert!(
            first
                .header("RateLimit")
                .is_some_and(|field| field.starts_with("\"login\";r=2")),
            "{}",
            first.head
        );
    }

    /// The same, but what an allowed answer tells: the first one is given back.
    fn exercise_limits(&self) -> Answer {
        let first = self.get("/login");
        assert_eq!(
            (first.status, first.body.contains("service")),
            (200, true),
            "{}",
            first.head
        );
        assert_eq!(
            [self.get("/login").status, self.get("/login").status],
            [200, 200]
        );
        let denied = self.get("/login");
        assert_eq!(denied.status, 429, "{}", denied.head);
        assert!(
            denied
                .header("Retry-After")
                .is_some_and(|wait| wait.parse::<u32>().is_ok_and(|n| n > 0)),
            "{}",
            denied.head
        );
        assert!(
            denied
                .header("RateLimit")
                .is_some_and(|field| field.starts_with("\"login\";r=0")),
            "{}",
            denied.head
        );
        // What a client says of itself is not believed.
        for forged in [
            ("X-Real-IP", "192.0.2.9"),
            ("X-Forwarded-For", "192.0.2.9"),
            ("X-Forwarded-Uri", "/healthz"),
            ("X-Original-URI", "/healthz"),
        ] {
            assert_eq!(
                self.try_get("/login", &[forged]).unwrap().status,
                429,
                "{forged:?}"
            );
        }
        assert_eq!(self.get("/admin/x").status, 403);
        let _: i64 = self
            .redis
            .ask(&["RL.DENY", "ADD", "bad-addresses", "127.0.0.0/8"]);
        assert_eq!(self.get("/login").status, 403);
        first
    }

    /// Redis away: a rule that is closed denies, also where the proxy lets all pass if the gateway is away; one that is
    /// open does not.
    fn without_redis(&mut self) {
        self.redis.process.0.kill().unwrap();
        self.redis.process.0.wait().unwrap();
        until("a closed rule denies", || {
            let closed = self.get("/login");
            assert_ne!(closed.status, 200, "{}", closed.head);
            [429, 503].contains(&closed.status)
        });
        assert_eq!(self.get("/api/x").status, 200);
    }

    fn away(&mut self, expected: &[u16]) {
        self.without_redis();
        self.gone(expected);
    }

    fn gone(&mut self, expected: &[u16]) {
        self.gateway.process.0.kill().unwrap();
        self.gateway.process.0.wait().unwrap();
        until("the proxy sees that the gateway is away", || {
            let status = self.get("/login").status;
            expected.contains(&status)
        });
    }
}

fn nginx(scratch: &Scratch, text: &str) -> Command {
    let main = format!(
        "daemon off; master_process off; pid {0}/pid; error_log {0}/error.log; events {{}}\nhttp {{ access_log off;\n\
         client_body_temp_path {0}; proxy_temp_path {0}; fastcgi_temp_path {0}; uwsgi_temp_path {0}; scgi_temp_path {0};\n{text}}}\n",
        scratch.0.display()
    );
    scratch.write("nginx.conf", &main);
    let mut command = command("sbin/nginx");
    command
        .arg("-p")
        .arg(&scratch.0)
        .arg("-e")
        .arg(scratch.0.join("error.log"))
        .arg("-c")
        .arg(scratch.0.join("nginx.conf"));
    command
}

#[test]
fn nginx_asks_by_auth_request() {
    let text = include_str!("../../examples/nginx.conf");
    let mut open = front(check::RULES, text, nginx);
    open.exercise();
    open.away(&[200]);
    let without: String = text
        .lines()
        .filter(|line| !line.contains("@open;") && !line.contains("intercept"))
        .map(|l| format!("{l}\n"))
        .collect();
    front(check::RULES, &without, nginx).away(&[500]);
}

fn caddy(scratch: &Scratch, text: &str) -> Command {
    scratch.write("Caddyfile", &format!("{{\n\tadmin off\n}}\n{text}"));
    let mut command = command("bin/caddy");
    command
        .env("HOME", &scratch.0)
        .args(["run", "--adapter", "caddyfile", "--config"])
        .arg(scratch.0.join("Caddyfile"));
    command
}

#[test]
fn caddy_asks_by_forward_auth() {
    let rules = check::RULES.replace("request: original", "request: forwarded");
    let text = include_str!("../../examples/Caddyfile");
    let mut open = front(&rules, text, caddy);
    open.exercise();
    open.away(&[200]);
    let (before, behind) = text.split_once("\t# A gateway that is away").unwrap();
    let without = format!("{before}{}", behind.split_once("\n\t}\n").unwrap().1);
    front(&rules, &without, caddy).away(&[502]);
}

#[test]
fn traefik_asks_by_forward_auth() {
    let rules = check::RULES
        .replace("request: original", "request: forwarded")
        .replace("header: X-Real-IP", "header: X-Forwarded-For");
    let port = free_port();
    let mut closed = front_on(
        port,
        &rules,
        include_str!("../../examples/traefik.yaml"),
        |scratch, text| {
            scratch.write("dynamic.yaml", text);
            let mut command = command("bin/traefik");
            command
                .args([
                    "--global.checknewversion=false",
                    "--global.sendanonymoususage=false",
                ])
                .arg(format!("--entrypoints.web.address=127.0.0.1:{port}"))
                .arg(format!(
                    "--providers.file.filename={}/dynamic.yaml",
                    scratch.0.display()
                ));
            command
        },
    );
    closed.exercise_limits();
    closed.away(&[500]);
}

fn haproxy(scratch: &Scratch, text: &str) -> Command {
    scratch.write("haproxy.cfg", text);
    scratch.write(
        "ratelimit.lua",
        include_str!("../../examples/ratelimit.lua"),
    );
    let mut command = command("sbin/haproxy");
    command
        .current_dir(&scratch.0)
        .args(["-f", "haproxy.cfg", "-db"]);
    command
}

#[test]
fn haproxy_asks_by_lua() {
    let text = include_str!("../../examples/haproxy.cfg");
    let mut open = front(check::RULES, text, haproxy);
    open.exercise();
    open.away(&[200]);
    front(
        check::RULES,
        &text.replace("RATELIMIT_FAIL open", "RATELIMIT_FAIL closed"),
        haproxy,
    )
    .away(&[503]);
}

fn envoy(scratch: &Scratch, text: &str) -> Command {
    scratch.write("envoy.yaml", text);
    let mut command = command("bin/envoy");
    command
        .args(["--disable-hot-restart", "--concurrency", "1", "-c"])
        .arg(scratch.0.join("envoy.yaml"));
    command
}

#[test]
fn envoy_asks_by_ext_authz_over_grpc() {
    let rules = check::RULES
        .replace("request: original", "request: path")
        .replace("{header: X-Real-IP}", "peer");
    let text = include_str!("../../examples/envoy-ext-authz.yaml");
    let mut open = front(&rules, text, envoy);
    open.exercise();
    open.away(&[200]);
    front(
        &rules,
        &text.replace("failure_mode_allow: true", "failure_mode_allow: false"),
        envoy,
    )
    .away(&[403]);
}

#[test]
fn envoy_asks_by_ext_authz_over_http() {
    let rules = check::RULES.replace("request: original", "request: path");
    let text = include_str!("../../examples/envoy-ext-authz-http.yaml");
    let mut open = front(&rules, text, envoy);
    open.exercise();
    open.away(&[200]);
    front(
        &rules,
        &text.replace("failure_mode_allow: true", "failure_mode_allow: false"),
        envoy,
    )
    .away(&[403]);
}

#[test]
fn envoy_asks_the_rate_limit_service() {
    let redis = Redis::start();
    let gateway = Gateway::start(&redis, include_str!("../../examples/descriptors.yaml"), &[]);
    let mut open = behind_on(
        free_port(),
        redis,
        gateway,
        include_str!("../../examples/envoy-ratelimit.yaml"),
        envoy,
    );
    let answers: Vec<Answer> = (0..4).map(|_| open.get("/login")).collect();
    assert_eq!(
        answers
            .iter()
            .map(|answer| answer.status)
            .collect::<Vec<_>>(),
        [200, 200, 200, 429]
    );
    assert_eq!(
        answers[0].header("x-ratelimit-remaining"),
        Some("2"),
        "{}",
        answers[0].head
    );
    assert_eq!(open.get("/other").status, 200);
    open.gone(&[200]);
}
