//! A real server with the module loaded, in its own directory, on its own socket and port; gone when dropped.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::{cli, eventually, Cli, Decision, Reply, DEADLINE};

/// A running server. Several threads may use one; each call through it takes the one built-in connection.
pub struct Server {
    dir: PathBuf,
    port: u16,
    child: Child,
    cli: Mutex<Option<Cli>>,
    environment: Environment,
}

/// Variables that a server is started with, beside the test's own.
pub type Environment = Vec<(&'static str, PathBuf)>;

/// A server that ended by itself instead of starting.
#[derive(Debug)]
pub struct Refusal {
    /// How it ended: with a code, or by a signal.
    pub status: ExitStatus,
    /// What it logged.
    pub log: String,
}

impl Server {
    /// A server with nothing but the module.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// A server with these lines in its configuration file.
    pub fn with(lines: &[&str]) -> Self {
        Self::with_module_arguments("", lines)
    }

    /// A server whose module is loaded with `arguments`.
    pub fn with_module_arguments(arguments: &str, lines: &[&str]) -> Self {
        Self::try_with_module_arguments(arguments, lines)
            .unwrap_or_else(|refusal| panic!("the server did not start: {refusal:?}"))
    }

    /// A server whose module is loaded with `arguments`, where it accepts them.
    pub fn try_with_module_arguments(arguments: &str, lines: &[&str]) -> Result<Self, Refusal> {
        Self::try_in(&Environment::new(), arguments, lines)
    }

    /// The same, started with these variables.
    pub fn try_in(
        environment: &Environment,
        arguments: &str,
        lines: &[&str],
    ) -> Result<Self, Refusal> {
        let load = format!("loadmodule \"{}\" {arguments}", module().display());
        Self::launch(environment, &[&[load.as_str()], lines].concat())
    }

    /// A server with another build of the module.
    pub fn with_module(module: &Path, lines: &[&str]) -> Self {
        let load = format!("loadmodule \"{}\"", module.display());
        Self::launch(&Environment::new(), &[&[load.as_str()], lines].concat())
            .unwrap_or_else(|refusal| panic!("the server did not start: {refusal:?}"))
    }

    /// A server without the module.
    pub fn without_module(lines: &[&str]) -> Self {
        Self::launch(&Environment::new(), lines)
            .unwrap_or_else(|refusal| panic!("no server: {refusal:?}"))
    }

    fn launch(environment: &Environment, lines: &[&str]) -> Result<Self, Refusal> {
        await_a_day_that_lasts();
        // Another process may take a port between its choice and its use; then another is chosen.
        let mut launched = Self::launch_on(free_port(), environment, lines);
        for _ in 0..4 {
            match &launched {
                Err(refusal) if refusal.log.contains("in use") => {
                    launched = Self::launch_on(free_port(), environment, lines);
                }
                _ => break,
            }
        }
        launched
    }

    fn launch_on(port: u16, environment: &Environment, lines: &[&str]) -> Result<Self, Refusal> {
        let dir = new_dir();
        // A histogram for each command that is called would look like a leak.
        let base = format!(
            "dir \"{}\"\nport {port}\nbind 127.0.0.1\nunixsocket \"{}\"\nlogfile log\nsave \"\"\n\
             enable-debug-command yes\nenable-module-command yes\nlatency-tracking no\n",
            dir.display(),
            dir.join("socket").display(),
        );
        std::fs::write(dir.join("redis.conf"), base + &lines.join("\n") + "\n")
            .expect("a configuration file");
        match launch(&dir, environment) {
            Ok(child) => Ok(Server {
                dir,
                port,
                child,
                cli: Mutex::new(None),
                environment: environment.clone(),
            }),
            Err(refusal) => {
                let _ = std::fs::remove_dir_all(&dir);
                Err(refusal)
            }
        }
    }

    /// Sends a line as a person types it in redis-cli, and waits for the reply.
    pub fn call(&self, line: &str) -> Reply {
        self.with_cli(|cli| cli.call(line))
    }

    /// Sends arguments of any bytes, and waits for the reply.
    pub fn call_bytes(&self, arguments: &[&[u8]]) -> Reply {
        self.with_cli(|cli| cli.call_bytes(arguments))
    }

    /// A call that is answered by a decision.
    pub fn decide(&self, line: &str) -> Decision {
        self.with_cli(|cli| cli.decide(line))
    }

    /// Sends many lines, each answered by one reply.
    pub fn bulk(&self, lines: &[String]) -> Vec<Reply> {
        self.with_cli(|cli| cli.bulk(lines))
    }

    /// A call that is answered by OK.
    pub fn ok(&self, line: &str) {
        self.with_cli(|cli| cli.ok(line));
    }

    fn with_cli<T>(&self, talk: impl FnOnce(&mut Cli) -> T) -> T {
        let mut guard: MutexGuard<Option<Cli>> =
            self.cli.lock().unwrap_or_else(PoisonError::into_inner);
        talk(guard.get_or_insert_with(|| self.connect()))
    }

    /// Another connection, in RESP3 (the form that `--json` asks for).
    pub fn connect(&self) -> Cli {
        self.connect_with(&[])
    }

    /// Another connection, with options of redis-cli's own.
    pub fn connect_with(&self, options: &[&str]) -> Cli {
        Cli::connect(&self.dir.join("socket"), options)
    }

    /// What a one-shot redis-cli prints: for replies such as INFO's, which it prints as they are.
    pub fn print(&self, arguments: &[&str]) -> String {
        let output = cli::command()
            .arg("-s")
            .arg(self.dir.join("socket"))
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("redis-cli starts");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A section of INFO, as its lines without CR.
    pub fn info(&self, section: &str) -> Vec<String> {
        self.print(&["INFO", section])
            .lines()
            .map(|line| line.trim_end().to_string())
            .collect()
    }

    /// One field of INFO; "" where the server has none of that name.
    pub fn info_field(&self, section: &str, field: &str) -> String {
        let found = self.info(section).into_iter().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            (name == field).then(|| value.to_string())
        });
        found.unwrap_or_default()
    }

    /// One numeric field of INFO; a field that is not there fails the test.
    pub fn info_number(&self, section: &str, field: &str) -> i64 {
        let text = self.info_field(section, field);
        text.parse()
            .unwrap_or_else(|_| panic!("INFO {section} has no number {field}: {text:?}"))
    }

    /// Times that each command was called since the last CONFIG RESETSTAT: `(lower-case name, calls)`.
    pub fn command_calls(&self) -> Vec<(String, i64)> {
        self.info("commandstats")
            .iter()
            .filter_map(|line| {
                let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
                let calls = rest.split(',').next()?.parse().ok()?;
                Some((name.to_lowercase(), calls))
            })
            .collect()
    }

    /// The server's clock now, in whole milliseconds rounded down.
    pub fn now_ms(&self) -> i64 {
        let time = self.call("TIME");
        let [seconds, micros] = time.array() else {
            panic!("not a time: {time:?}");
        };
        let number = |reply: &Reply| -> i64 { reply.text().parse().expect("a number") };
        number(seconds) * 1000 + number(micros) / 1000
    }

    /// `DEBUG DIGEST`: of the whole data set.
    pub fn digest(&self) -> String {
        self.call("DEBUG DIGEST").text()
    }

    /// `DEBUG DIGEST-VALUE` of one key.
    pub fn digest_value(&self, key: &str) -> String {
        self.call(&format!("DEBUG DIGEST-VALUE {key}")).array()[0].text()
    }

    /// Redis's version (Valkey: the Redis version that it says it is compatible with), as (major, minor).
    pub fn version(&self) -> (u32, u32) {
        let text = self.info_field("server", "redis_version");
        let mut parts = text.split('.').map(|part| part.parse().unwrap_or(0));
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
    }

    /// The server's own directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends the server at once, as a crash of the machine's process would: SIGKILL, nothing is saved.
    pub fn kill(&mut self) {
        self.disconnect();
        let _ = self.child.kill();
        self.child.wait().expect("the server was started here");
    }

    /// Waits until the server has ended by itself, and tells how.
    pub fn wait_for_end(&mut self) -> ExitStatus {
        self.disconnect();
        let mut ended = None;
        eventually("the server ends", || {
            ended = self.child.try_wait().expect("the server was started here");
            ended.is_some()
        });
        ended.expect("it has ended")
    }

    /// Starts the server that has ended again on what it left in its directory.
    pub fn start_again(&mut self) -> Result<(), Refusal> {
        self.child = launch(&self.dir, &self.environment)?;
        Ok(())
    }

    /// Starts the killed server again on a damaged RDB, and tells whether it did start. A crash fails the test.
    ///
    /// Once Redis has logged that it refuses the file, it runs its own `redis-check-rdb` before it exits. On a file that
    /// ends inside a module's value that check does not end (seen with 7.0), so the server is not waited for but killed.
    pub fn starts_on_damaged_rdb(&mut self) -> bool {
        self.child = spawn(&self.dir, &self.environment);
        let start = Instant::now();
        loop {
            let status = self.child.try_wait().expect("the server was started here");
            let log = read_log(&self.dir);
            assert!(!log.contains("BUG REPORT"), "the server crashed:\n{log}");
            if log.contains("RDB reading") {
                self.kill();
                return false;
            }
            if let Some(status) = status {
                // Not a damage that Redis words as one; but never a signal.
                assert!(status.code().is_some(), "{status}:\n{log}");
                return false;
            }
            if answers_ping(&self.dir.join("socket")) {
                return true;
            }
            assert!(
                start.elapsed() < DEADLINE,
                "neither started nor refused:\n{log}"
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Closes the built-in connection, and with it the server's buffers for it; the next call opens another.
    pub fn disconnect(&self) {
        *self.cli.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// What the server has logged since it was started last.
    pub fn log(&self) -> String {
        read_log(&self.dir)
    }

    /// The end of the log.
    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let status = self.child.try_wait();
            eprintln!(
                "the server's status: {status:?}, its log:\n{}",
                self.log_tail()
            );
        }
        self.disconnect();
        if matches!(self.child.try_wait(), Ok(None)) {
            self.print(&["SHUTDOWN", "NOSAVE"]);
            let start = Instant::now();
            while matches!(self.child.try_wait(), Ok(None))
                && start.elapsed() < Duration::from_secs(5)
            {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        // The answer to a server that did not follow SHUTDOWN; harmless for one that did.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// The command line in the environment variable `name`, else `default`.
pub fn command_from(name: &str, default: &str) -> Command {
    let line = std::env::var(name).unwrap_or_else(|_| default.to_string());
    let mut words = line.split_whitespace();
    let program = words.next().unwrap_or(default);
    let mut command = Command::new(program);
    command.args(words);
    command
}

/// A directory that was not there. One may have been left behind by a killed process that had the number of this one.
pub fn new_dir() -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    // The path of a Unix socket in it may be 107 bytes long.
    let mut root = std::env::temp_dir();
    if root.as_os_str().len() > 60 {
        root = PathBuf::from("/tmp");
    }
    loop {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = root.join(format!("ratelimit-{}-{count}", std::process::id()));
        match std::fs::create_dir(&dir) {
            Ok(()) => return dir,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => panic!("a directory for a test, {}: {error}", dir.display()),
        }
    }
}

/// A port that nobody listens on, another one at each call. Not one of those that the system gives to connections: with
/// such a port, a server that is started again may find it taken, and whoever connects to one that is down may be given
/// that very port, and meet itself.
pub fn free_port() -> u16 {
    static NEXT: OnceLock<AtomicUsize> = OnceLock::new();
    const FIRST: u16 = 10_000;
    let given = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let end = given.ok().and_then(|range| {
        let first: u16 = range.split_whitespace().next()?.parse().ok()?;
        (first >= 2 * FIRST).then_some(first)
    });
    let Some(end) = end else {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        return listener.local_addr().expect("an address").port();
    };
    // Tests that run at the same time begin at places of their own.
    let next = NEXT.get_or_init(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let nanos = now.expect("a clock past 1970").subsec_nanos();
        AtomicUsize::new(usize::try_from(nanos).expect("32 bits") + std::process::id() as usize)
    });
    let count = usize::from(end - FIRST);
    for _ in 0..count {
        let place = next.fetch_add(1, Ordering::Relaxed) % count;
        let port = FIRST + u16::try_from(place).expect("less than a port");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port from {FIRST} to {end} is free");
}

/// Windows of days end at midnight UTC, and a test counts on its own not to: none begins in a day's last minute.
fn await_a_day_that_lasts() {
    const DAY: u64 = 86_400;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let left = DAY - now.expect("a clock past 1970").as_secs() % DAY;
    if left <= 60 {
        std::thread::sleep(Duration::from_secs(left));
    }
}

/// The module's path. Fails with what to do where it has not been built.
pub fn module() -> PathBuf {
    let path = match std::env::var_os("RATELIMIT_MODULE") {
        Some(path) => PathBuf::from(path),
        None => {
            let root = Path::new(env!("CARGO_MANIFEST_DIR"));
            let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
            root.join(target).join("release").join("libratelimit.so")
        }
    };
    let path = path.canonicalize().unwrap_or(path);
    assert!(
        path.is_file(),
        "no module at {}: build it with `cargo build --release`, or name it in RATELIMIT_MODULE",
        path.display()
    );
    path
}

/// Starts a server on `dir/redis.conf`.
fn spawn(dir: &Path, environment: &Environment) -> Child {
    let _ = std::fs::remove_file(dir.join("socket"));
    // Each start has a log of its own.
    let _ = std::fs::remove_file(dir.join("log"));
    command_from("RATELIMIT_SERVER", "redis-server")
        .arg(dir.join("redis.conf"))
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the server's program is installed")
}

/// Starts a server on `dir/redis.conf` and waits until it answers PING.
fn launch(dir: &Path, environment: &Environment) -> Result<Child, Refusal> {
    let mut child = spawn(dir, environment);
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("the server was started here") {
            let log = read_log(dir);
            return Err(Refusal { status, log });
        }
        if answers_ping(&dir.join("socket")) {
            return Ok(child);
        }
        if start.elapsed() > DEADLINE {
            let _ = child.kill();
        }
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// Whether the server has loaded its data and answers. Not by redis-cli, which would wait for a server that hangs.
fn answers_ping(socket: &Path) -> bool {
    let answer = || -> std::io::Result<[u8; 5]> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"PING\r\n")?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    };
    answer().is_ok_and(|answer| &answer == b"+PONG")
}

fn read_log(dir: &Path) -> String {
    let bytes = std::fs::read(dir.join("log")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}
