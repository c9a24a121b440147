//! Servers that a test starts and that end with it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{json, Value};

/// Far more than a loaded machine needs.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(
            began.elapsed() < PATIENCE,
            "not within {PATIENCE:?}: {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// A directory of a test's own, removed with it.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "ratelimit-gateway-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(path.join("config")).unwrap();
        Self(path)
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.0.join(name);
        let new = path.with_extension("new");
        std::fs::write(&new, text).unwrap();
        // Renamed, so that nobody reads half of it; a name without config/ in front, so that it is never taken for one.
        let aside = self.0.join("aside");
        std::fs::rename(&new, &aside).unwrap();
        std::fs::rename(&aside, &path).unwrap();
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A process that ends with its test.
pub struct Process(pub Child);

impl Process {
    pub fn start(command: &mut Command) -> Self {
        let program = command.get_program().to_owned();
        Self(
            command
                .spawn()
                .unwrap_or_else(|error| panic!("{}: {error}", program.display())),
        )
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([format!("-{name}"), self.0.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub struct Redis {
    pub port: u16,
    pub process: Process,
    /// Its own, so that none starts with what another has left.
    _directory: Scratch,
}

impl Redis {
    pub fn start() -> Self {
        Self::start_on(free_port())
    }

    pub fn start_on(port: u16) -> Self {
        Self::with_module(port, &[])
    }

    pub fn start_with(words: &[&str]) -> Self {
        Self::with_module(free_port(), words)
    }

    fn with_module(port: u16, words: &[&str]) -> Self {
        let module =
            std::env::var("RATELIMIT_MODULE").expect("RATELIMIT_MODULE must name the built module");
        let module = std::fs::canonicalize(module).unwrap();
        let module = module.to_str().unwrap();
        let text = port.to_string();
        let own = [
            "--port",
            &text,
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--repl-diskless-sync-delay",
            "0",
            "--loadmodule",
            module,
        ];
        Self::run(port, &[&own[..], words].concat())
    }

    /// A server by these words, which say its port, too.
    pub fn run(port: u16, words: &[&str]) -> Self {
        let server = std::env::var("RATELIMIT_SERVER").unwrap_or_else(|_| "redis-server".into());
        let directory = Scratch::new();
        let mut command = Command::new(server);
        command.current_dir(&directory.0).args(words);
        let process = Process::start(command.stdout(Stdio::null()));
        let redis = Self {
            port,
            process,
            _directory: directory,
        };
        until("Redis answers", || redis.try_connect().is_ok());
        redis
    }

    fn try_connect(&self) -> redis::RedisResult<redis::Connection> {
        let client = redis::Client::open(("127.0.0.1", self.port))?;
        let mut connection = client.get_connection()?;
        redis::cmd("PING").query::<String>(&mut connection)?;
        Ok(connection)
    }

    pub fn ask<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        self.try_ask(words).unwrap()
    }

    /// For a server that a sentinel gives another role: then it closes the connections of its clients.
    pub fn try_ask<T: redis::FromRedisValue>(&self, words: &[&str]) -> redis::RedisResult<T> {
        let (name, rest) = words.split_first().unwrap();
        redis::cmd(name).arg(rest).query(&mut self.try_connect()?)
    }
}

pub struct Gateway {
    pub process: Process,
    pub http: u16,
    pub grpc: u16,
    pub debug: u16,
    pub scratch: Scratch,
}

pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(k, _)| k.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.trim())
    }
}

impl Gateway {
    pub fn command(scratch: &Path, redis_port: u16, settings: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ratelimit-gateway"));
        command
            .env_clear()
            .env("HOST", "127.0.0.1")
            .env("PORT", "0")
            .env("GRPC_HOST", "127.0.0.1")
            .env("GRPC_PORT", "0")
            .env("DEBUG_HOST", "127.0.0.1")
            .env("DEBUG_PORT", "0")
            .env("RUNTIME_ROOT", scratch)
            .env("REDIS_SOCKET_TYPE", "tcp")
            .env("REDIS_URL", format!("127.0.0.1:{redis_port}"))
            // The machine may be loaded: what is tested is the answer, not its time.
            .env("REDIS_TIMEOUT", "10s")
            .envs(settings.iter().copied());
        command
    }

    /// Starts the gateway with one configuration file, and waits until it is healthy.
    pub fn start(redis: &Redis, config: &str, settings: &[(&str, &str)]) -> Self {
        let scratch = Scratch::new();
        scratch.write("config/config.yaml", config);
        let gateway = Self::start_in(scratch, redis.port, settings);
        until("the gateway is healthy", || {
            gateway.get("/healthcheck").status == 200
        });
        gateway
    }

    pub fn start_in(scratch: Scratch, redis_port: u16, settings: &[(&str, &str)]) -> Self {
        let command = Self::command(&scratch.0, redis_port, settings);
        Self::start_by(command, scratch)
    }

    /// The same, its log in a file.
    pub fn start_logging(
        redis: &Redis,
        config: &str,
        settings: &[(&str, &str)],
        log: &Path,
    ) -> Self {
        let scratch = Scratch::new();
        scratch.write("config/config.yaml", config);
        let gateway = Self::start_in_logging(scratch, redis.port, settings, log);
        until("the gateway is healthy", || {
            gateway.get("/healthcheck").status == 200
        });
        gateway
    }

    pub fn start_in_logging(
        scratch: Scratch,
        port: u16,
        settings: &[(&str, &str)],
        log: &Path,
    ) -> Self {
        let mut command = Self::command(&scratch.0, port, settings);
        command.stderr(std::fs::File::create(log).unwrap());
        Self::start_by(command, scratch)
    }

    fn start_by(mut command: Command, scratch: Scratch) -> Self {
        let mut process = Process::start(command.stdout(Stdio::piped()));
        let mut line = String::new();
        BufReader::new(process.0.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let port = |name: &str| {
            let behind = line
                .split(&format!("{name} "))
                .nth(1)
                .unwrap_or_else(|| panic!("no {name} in: {line}"));
            behind
                .trim()
                .split(',')
                .next()
                .unwrap()
                .parse()
                .unwrap_or(0)
        };
        Self {
            http: port("HTTP"),
            grpc: port("gRPC"),
            debug: port("debug"),
            process,
            scratch,
        }
    }

    /// Bytes of memory that it has now.
    pub fn memory(&self) -> usize {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.process.0.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: usize = line
            .unwrap()
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .unwrap();
        kib << 10
    }

    pub fn get(&self, path: &str) -> Answer {
        request(self.http, "GET", path, &[], "").unwrap()
    }

    pub fn json(&self, body: &Value) -> Answer {
        request(
            self.http,
            "POST",
            "/json",
            &[("Content-Type", "application/json")],
            &body.to_string(),
        )
        .unwrap()
    }

    /// One descriptor of one entry, by /json.
    pub fn hit(&self, domain: &str, key: &str, value: &str) -> Answer {
        self.json(&json!({ "domain": domain, "descriptors": [{ "entries": [{ "key": key, "value": value }] }] }))
    }

    pub fn metric(&self, line: &str) -> Option<u64> {
        let body = request(self.debug, "GET", "/metrics", &[], "")
            .unwrap()
            .body;
        body.lines()
            .find_map(|l| l.strip_prefix(line)?.trim().parse().ok())
    }
}

/// One request over HTTP/1.1, answered whole.
pub fn request(
    port: u16,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n",
        body.len()
    );
    if !headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("host"))
    {
        head.push_str("Host: example.test\r\n");
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n{body}").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or(0);
    Ok(Answer {
        status,
        head: head.to_owned(),
        body: body.to_owned(),
    })
}
