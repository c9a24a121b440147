//! The module with the feature `probe`, and the one without it, which is the one to give away.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::support::resp::Connection;
use crate::support::{Reply, Server};

/// The module with the feature: `RATELIMIT_PROBE_MODULE`, else it is built here.
fn probe() -> &'static Path {
    static PROBE: OnceLock<PathBuf> = OnceLock::new();
    PROBE.get_or_init(|| {
        std::env::var_os("RATELIMIT_PROBE_MODULE").map_or_else(build_probe, PathBuf::from)
    })
}

fn build_probe() -> PathBuf {
    let built = Command::new("scripts/build")
        .arg("--probe")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("scripts/build starts");
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "no module to test: {said}");
    PathBuf::from(String::from_utf8_lossy(&built.stdout).trim_end())
}

/// The line that panics, from 1.
fn panicking_line() -> usize {
    let source = include_str!("../../src/server/commands/probe.rs");
    let line = source.lines().position(|line| line.contains("panic!("));
    1 + line.expect("a line that panics")
}

/// The log says where, and the server has ended as of an abort: nothing has unwound into it, and nothing goes on in it.
#[test]
fn a_panic_is_logged_with_its_place_and_takes_with_it_nothing_that_was_acknowledged() {
    const SIGABRT: i32 = 6;
    let lines = [
        "appendonly yes",
        "appendfsync always",
        // The test of the memory that ends a server's crash report crashes in its turn (seen with Valkey 9.1).
        "crash-memcheck-enabled no",
    ];
    let mut server = Server::with_module(probe(), &lines);
    for left in [4, 3, 2] {
        assert_eq!(server.decide("RL.FIXED k 5 3660d").remaining, left);
    }
    server.ok("RL.POLICY SET policy SLIDING 3 15m");
    assert_eq!(server.call("RL.DENY ADD list 192.0.2.1").int(), 1);
    let digest = server.digest();

    let mut connection = Connection::open(server.port()).unwrap();
    let answer = connection.call("RL.PANIC");
    assert!(answer.is_err(), "nobody is left to answer: {answer:?}");
    let status = server.wait_for_end();
    let log = server.log();
    assert_eq!(status.signal(), Some(SIGABRT), "{status}:\n{log}");
    let place = format!("src/server/commands/probe.rs:{}:", panicking_line());
    let said = format!("ratelimit panicked: panicked at {place}");
    assert!(log.contains(&said), "not logged: {said}\n{log}");

    server.start_again().expect("it starts on what is there");
    assert_eq!(server.digest(), digest);
    assert_eq!(server.decide("RL.FIXED k 5 3660d").remaining, 1);
    assert_eq!(
        server.call("RL.POLICY GET policy").texts(),
        ["sliding", "3", "15m"]
    );
    assert_eq!(server.call("RL.DENY HAS list 192.0.2.1").ints(), [1]);
}

/// As RL.FIXED replies to the same words, in the numbers of its own.
#[test]
fn the_empty_command_replies_in_the_shape_of_a_hit() {
    let server = Server::with_module(probe(), &[]);
    for (words, each, looked_up) in [
        ("k", 0, false),
        ("k 1000000 1h", 0, false),
        ("k 1000000 1h DENY list 192.0.2.1", 0, true),
        ("k 1000000 1h 2000000 1d 3000000 30d", 3, false),
    ] {
        let empty = server.decide(&format!("RL.EMPTY {words}"));
        assert_eq!(empty.each.len(), each, "{words}");
        assert_eq!(empty.found, looked_up.then_some(Reply::Nil), "{words}");
        if words != "k" {
            let hit = server.decide(&format!("RL.FIXED {words}"));
            assert_eq!(
                (hit.each.len(), &hit.found),
                (each, &empty.found),
                "{words}"
            );
            assert_eq!(server.call("DEL k").int(), 1);
        }
        assert_eq!(server.call("DBSIZE").int(), 0);
    }
    // The server does around it what it does around a hit.
    let flags_and_keys = |name: &str| {
        let info = server.call(&format!("COMMAND INFO {name}"));
        info.array()[0].array()[2..7].to_vec()
    };
    assert_eq!(flags_and_keys("rl.empty"), flags_and_keys("rl.fixed"));
}

#[test]
fn a_release_knows_neither_command() {
    let server = Server::start();
    for line in ["RL.EMPTY k 5 1m", "RL.PANIC"] {
        let answer = server.call(line);
        let error = answer.error();
        assert!(error.starts_with("ERR unknown command"), "{line}: {error}");
    }
    let names = server.call("COMMAND LIST FILTERBY MODULE ratelimit");
    let names = names.texts().join(" ").to_lowercase();
    assert!(names.contains("rl.fixed"), "{names}");
    assert!(
        !names.contains("rl.empty") && !names.contains("rl.panic"),
        "{names}"
    );
}
