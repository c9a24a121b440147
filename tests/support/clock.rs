//! A wall clock that is the test's: servers that are started on it see no other.

use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use super::server::{new_dir, Environment};
use super::{skipped, Reply, Server};

/// A wall clock in a file; see `clock.c`. It stands still until it is set.
pub struct Clock {
    dir: PathBuf,
    file: std::fs::File,
    now_ms: AtomicU64,
}

impl Clock {
    /// A clock that says so many Unix milliseconds.
    pub fn at(now_ms: u64) -> Self {
        let dir = new_dir();
        let file = std::fs::File::create(dir.join("now")).expect("a file in a new directory");
        let source = dir.join("clock.c");
        std::fs::write(&source, include_str!("clock.c")).expect("a new directory");
        let compiled = Command::new("cc")
            .args(["-O1", "-shared", "-fPIC", "-o"])
            .args([&dir.join("clock.so"), &source])
            .status();
        assert!(compiled.expect("cc, Rust's linker, is there").success());
        let clock = Clock {
            dir,
            file,
            now_ms: AtomicU64::new(now_ms),
        };
        clock.set(now_ms);
        clock
    }

    /// What it says.
    pub fn now_ms(&self) -> u64 {
        self.now_ms.load(SeqCst)
    }

    /// Sets it.
    pub fn set(&self, now_ms: u64) {
        let written = self.file.write_all_at(&now_ms.to_ne_bytes(), 0);
        written.expect("a file that is open");
        self.now_ms.store(now_ms, SeqCst);
    }

    /// Sets it on, or back.
    pub fn step(&self, ms: i64) {
        self.set(self.now_ms().checked_add_signed(ms).expect("a time"));
    }

    /// A server that goes by this clock; none, and the test says so, where a server does not.
    pub fn server(&self, lines: &[&str]) -> Option<Server> {
        self.server_in(&Environment::new(), lines)
    }

    /// A clock that says so, and a server that goes by it and writes an AOF at each call; none as of [`Clock::server`].
    pub fn started(now_ms: u64) -> Option<(Self, Server)> {
        let clock = Self::at(now_ms);
        let server = clock.server(&["appendonly yes", "appendfsync always"])?;
        Some((clock, server))
    }

    /// As [`Clock::server`], started with more variables.
    pub fn server_in(&self, environment: &Environment, lines: &[&str]) -> Option<Server> {
        let mut environment = environment.clone();
        environment.push(("LD_PRELOAD", self.dir.join("clock.so")));
        environment.push(("CLOCK_FILE", self.dir.join("now")));
        // A transfer to a replica that waits for others would wait for a clock that stands still.
        let lines = [&["repl-diskless-sync-delay 0"], lines].concat();
        let server = Server::try_in(&environment, "", &lines)
            .unwrap_or_else(|refusal| panic!("the server did not start: {refusal:?}"));
        let time = server.call("TIME");
        if time.array()[1] != Reply::Text((self.now_ms() % 1_000 * 1_000).to_string().into()) {
            skipped("this server reads the wall clock now and then, and counts on from there (Valkey 9)");
            return None;
        }
        Some(server)
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
