//! `CL.THROTTLE`, for applications that speak to redis-cell: there only where the operator asks for it.

use crate::support::resp::Connection;
use crate::support::{self, aof, pair, Clock, Reply, Server};
use std::path::{Path, PathBuf};
use std::process::Command;

const YES: &str = "ratelimit.cl-throttle yes";

fn throttle(server: &Server, words: &str) -> Vec<i64> {
    server.call(&format!("CL.THROTTLE {words}")).ints()
}

fn is_unknown(server: &Server) -> bool {
    let reply = server.call("CL.THROTTLE k 15 30 60");
    matches!(&reply, Reply::Error(text) if text.contains("unknown command"))
}

#[test]
fn it_is_there_only_where_it_was_asked_for() {
    assert!(is_unknown(&Server::start()));
    assert!(is_unknown(&Server::with_module_arguments(
        "cl-throttle no",
        &[]
    )));
    for server in [
        Server::with(&[YES]),
        Server::with_module_arguments("cl-throttle yes", &[]),
        Server::with_module_arguments("sliding-entries 64 cl-throttle YES", &[]),
    ] {
        assert_eq!(throttle(&server, "k 15 30 60"), [0, 16, 15, -1, 2]);
        let setting = server.call("CONFIG GET ratelimit.cl-throttle");
        assert_eq!(setting.field("ratelimit.cl-throttle").text(), "yes");
        // The server has no way to take a command back, so it does not say that it did.
        assert!(server
            .call("CONFIG SET ratelimit.cl-throttle no")
            .is_error());
    }
}

#[test]
fn loadex_asks_for_it_and_a_rewrite_keeps_it() {
    let mut server = Server::without_module(&[]);
    let module = support::server::module();
    server.ok(&format!(
        "MODULE LOADEX \"{}\" CONFIG {YES}",
        module.display()
    ));
    assert_eq!(throttle(&server, "k 15 30 60"), [0, 16, 15, -1, 2]);
    server.ok("CONFIG REWRITE");
    server.kill();
    server.start_again().unwrap();
    assert_eq!(throttle(&server, "k 15 30 60"), [0, 16, 15, -1, 2]);
}

#[test]
fn another_word_than_yes_or_no_is_refused_with_a_reason() {
    for word in ["1", "maybe", "\"\""] {
        let refusal = Server::try_with_module_arguments(&format!("cl-throttle {word}"), &[]);
        let Err(refusal) = refusal else {
            panic!("{word} was accepted");
        };
        let reason = "cl-throttle must be yes or no";
        assert!(refusal.log.contains(reason), "{word}: {}", refusal.log);
    }
}

/// A module called redis-cell that has the command; which directory to remove afterwards.
fn cell() -> (PathBuf, PathBuf) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/cell.c");
    let dir = support::server::new_dir();
    let library = dir.join("cell.so");
    let compiled = Command::new("cc")
        .args(["-O1", "-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .status();
    assert!(compiled.expect("cc, Rust's linker, is there").success());
    (library, dir)
}

/// Whoever has it keeps it: the load fails and says why, and the server goes on as it was. Without the argument both are
/// loaded, and the command stays the other's.
#[test]
fn where_another_module_has_it_the_load_is_refused_with_a_reason() {
    let (cell, dir) = cell();
    let load_cell = format!("loadmodule \"{}\"", cell.display());
    let reason = "another module has CL.THROTTLE: unload that one, or leave cl-throttle out";

    let server = Server::without_module(&[&load_cell]);
    let load = format!("MODULE LOADEX \"{}\"", support::server::module().display());
    for asked in [format!("CONFIG {YES}"), "ARGS cl-throttle yes".to_owned()] {
        let before = server.log().len();
        assert!(
            server.call(&format!("{load} {asked}")).is_error(),
            "{asked}"
        );
        let logged = server.log().split_off(before);
        assert!(logged.contains(reason), "{asked}: {logged}");
        assert_eq!(server.call("CL.THROTTLE k 15 30 60").int(), 42, "{asked}");
        let hit = server.call("RL.FIXED k 5 30d");
        assert!(hit.error().contains("unknown command"), "{hit:?}");
    }
    server.ok(&load);
    assert_eq!(server.call("CL.THROTTLE k 15 30 60").int(), 42);
    assert!(server.decide("RL.FIXED k 5 30d").allowed);

    // At a start the server ends, as it does for any module that does not load.
    let mut server = Server::without_module(&[&load_cell]);
    let file = server.dir().join("redis.conf");
    let ours = format!(
        "loadmodule \"{}\" cl-throttle yes\n",
        support::server::module().display()
    );
    std::fs::write(&file, std::fs::read_to_string(&file).unwrap() + &ours).unwrap();
    server.kill();
    let refusal = server.start_again().unwrap_err();
    assert!(refusal.log.contains(reason), "{}", refusal.log);
    std::fs::remove_dir_all(dir).unwrap();
}

/// The same key by both commands.
#[test]
fn it_shares_its_state_with_the_bucket() {
    let Some(server) = Clock::at(1_700_000_000_000).server(&[YES]) else {
        return;
    };
    assert_eq!(throttle(&server, "k 15 30 60 10"), [0, 16, 6, -1, 20]);
    assert_eq!(
        server.call("RL.BUCKET k 16 30 60s COST 4").ints(),
        [1, 16, 2, 0, 28_000]
    );
    assert_eq!(throttle(&server, "k 15 30 60 0"), [0, 16, 2, -1, 28]);
    assert_eq!(throttle(&server, "k 15 30 60 3"), [1, 16, 2, 2, 28]);
    assert_eq!(throttle(&server, "k 15 30 60 17"), [1, 16, 2, -1, 28]);
    assert_eq!(throttle(&server, "k 15 30 60 -1"), [0, 16, 3, -1, 26]);
    let limits = server.call("RL.INFO k").field("limits").clone();
    assert_eq!(limits.array()[0].field("interval").text(), "1m");
    assert!(server.call("PTTL k").int() >= 26_000);
}

#[test]
fn a_caller_that_waits_as_long_as_it_was_told_gets_through() {
    let clock = Clock::at(1_700_000_000_999);
    let Some(server) = clock.server(&[YES]) else {
        return;
    };
    for words in ["a 0 7 1", "b 4 3 10 5", "c 1 1000 7 2"] {
        assert_eq!(throttle(&server, words)[0], 0, "{words}");
        clock.step(1);
        let denied = throttle(&server, words);
        assert_eq!(denied[0], 1, "{words}");
        clock.step(denied[3] * 1_000);
        assert_eq!(throttle(&server, words)[0], 0, "{words}: {denied:?}");
    }
}

#[test]
fn what_it_does_not_understand_is_refused_and_changes_nothing() {
    let server = Server::with(&[YES]);
    server.ok("SET text 1");
    server.decide("RL.SLIDING sliding 5 30d");
    for (call, reason) in [
        ("CL.THROTTLE k 15 30", "ERR wrong number of arguments"),
        ("CL.THROTTLE k x 30 60", "ERR argument 2 (max_burst)"),
        ("CL.THROTTLE k 15 0 60", "ERR argument 3 (count)"),
        ("CL.THROTTLE k 15 30 0", "ERR argument 4 (period)"),
        ("CL.THROTTLE k 15 30 60 many", "ERR argument 5 (quantity)"),
        ("CL.THROTTLE k 15 30 60 1 1", "ERR unexpected argument 6"),
        (
            "CL.THROTTLE text 15 30 60",
            "WRONGTYPE the key holds a string",
        ),
        (
            "CL.THROTTLE sliding 15 30 60",
            "WRONGTYPE the key holds a sliding limiter",
        ),
    ] {
        let before = server.digest();
        let reply = server.call(call);
        assert!(reply.error().starts_with(reason), "{call}: {reply:?}");
        assert_eq!(server.digest(), before, "{call}");
    }
}

/// The effect travels, as a bucket's does: neither a replica nor an AOF needs the command.
#[test]
fn a_replica_and_an_aof_need_not_know_it() {
    let lines = [YES, "appendonly yes", "appendfsync always"];
    let mut primary = Server::with(&[&pair::PRIMARY[..], &lines].concat());
    let replica = pair::replica_of(&primary, Server::with);
    assert_eq!(throttle(&primary, "k 2 3 86400"), [0, 3, 2, -1, 28_800]);
    assert_eq!(throttle(&primary, "k 2 3 86400 2")[..3], [0, 3, 0]);
    assert_eq!(throttle(&primary, "k 2 3 86400")[..3], [1, 3, 0]);
    assert_eq!(throttle(&primary, "k 2 3 86400 0")[..3], [0, 3, 0]);
    let commands = aof::commands(&primary);
    let names: Vec<_> = commands.iter().map(|command| command[0].clone()).collect();
    assert_eq!(
        names,
        [b"rl.apply", b"rl.apply"],
        "and nothing of the denied one"
    );
    pair::assert_equal(&primary, &replica);
    let digest = primary.digest_value("k");
    primary.kill();
    primary.start_again().unwrap();
    assert_eq!(primary.digest_value("k"), digest);
}

/// As redis-cell leaves it: a string, the time in nanoseconds at which nothing is used any more, which is when it expires.
fn leave_behind(server: &Server, key: &str, tat_ms: u64) {
    server.ok(&format!("SET {key} {tat_ms}000000 PXAT {tat_ms}"));
}

#[test]
fn a_key_that_redis_cell_left_goes_on_with_what_was_used() {
    let clock = Clock::at(1_700_000_000_000);
    let lines = [
        &[YES, "appendonly yes", "appendfsync always"],
        &pair::PRIMARY[..],
    ]
    .concat();
    let Some(mut server) = clock.server(&lines) else {
        return;
    };
    let Some(replica) = clock.server(&[&format!("replicaof 127.0.0.1 {}", server.port())]) else {
        return;
    };
    support::eventually("the replica is in sync", || {
        replica.info_field("replication", "master_link_status") == "up"
    });
    leave_behind(&server, "half", clock.now_ms() + 16_000);
    leave_behind(&server, "full", clock.now_ms() + 32_000);
    leave_behind(&server, "looked-at", clock.now_ms() + 500);
    assert_eq!(throttle(&server, "half 15 30 60"), [0, 16, 7, -1, 18]);
    assert_eq!(throttle(&server, "full 15 30 60"), [1, 16, 0, 2, 32]);
    assert_eq!(
        throttle(&server, "looked-at 15 30 60 0"),
        [0, 16, 15, -1, 1]
    );
    for key in ["half", "full", "looked-at"] {
        assert_eq!(
            server.call(&format!("TYPE {key}")).text(),
            "ratelimit",
            "{key}"
        );
        assert!(server.call(&format!("PTTL {key}")).int() >= 500, "{key}");
    }
    pair::assert_equal(&server, &replica);
    let digest = server.digest();
    server.kill();
    server.start_again().unwrap();
    assert_eq!(server.digest(), digest);
    clock.step(2_000);
    assert_eq!(throttle(&server, "full 15 30 60"), [0, 16, 0, -1, 32]);
}

/// A counter, a time, a session: whatever has not its own end in it stays, and the call is refused.
#[test]
fn any_other_string_is_left_alone() {
    let server = Server::with(&[YES]);
    let later_ms = server.now_ms() + 86_400_000;
    server.ok("SET counter 5");
    server.ok(&format!("SET lasting {later_ms}000000"));
    server.ok(&format!(
        "SET shorter {later_ms}000000 PXAT {}",
        later_ms - 60_000
    ));
    server.ok(&format!("SET milliseconds {later_ms} PXAT {later_ms}"));
    server.ok(&format!("SET text {later_ms}000000x PXAT {later_ms}"));
    let digest = server.digest();
    for key in ["counter", "lasting", "shorter", "milliseconds", "text"] {
        let reply = server.call(&format!("CL.THROTTLE {key} 15 30 60"));
        assert!(
            reply
                .error()
                .starts_with("WRONGTYPE the key holds a string"),
            "{reply:?}"
        );
    }
    assert_eq!(server.digest(), digest);
}

#[test]
fn it_counts_in_the_statistics_and_a_denial_is_an_event() {
    let server = Server::with(&[YES, "notify-keyspace-events Ed"]);
    let mut listener = Connection::open(server.port()).unwrap();
    listener.call("SUBSCRIBE __keyevent@0__:rl.denied").unwrap();
    throttle(&server, "k 0 1 86400");
    throttle(&server, "k 0 1 86400 0"); // a look counts nowhere
    throttle(&server, "k 0 1 86400");
    let event = listener.receive().unwrap();
    assert_eq!(event.texts(), ["message", "__keyevent@0__:rl.denied", "k"]);
    let stats = server.call("RL.STATS GET");
    let bucket = stats.field("algorithms").field("bucket");
    assert_eq!(bucket.field("allowed").int(), 1);
    assert_eq!(bucket.field("denied").int(), 1);
}

#[test]
fn where_memory_is_full_what_is_there_goes_on_counting() {
    let server = Server::with(&[YES]);
    throttle(&server, "old 15 30 60");
    server.ok("CONFIG SET maxmemory-policy noeviction");
    server.ok("CONFIG SET maxmemory 1000");
    assert_eq!(throttle(&server, "old 15 30 60 5")[0], 0);
    let refused = server.call("CL.THROTTLE new 15 30 60");
    assert!(refused.error().starts_with("OOM "), "{refused:?}");
    assert_eq!(throttle(&server, "new 15 30 60 17")[0], 1);
}

#[test]
fn the_server_knows_its_arguments_and_its_key() {
    let server = Server::with(&[YES]);
    let docs = server.call("COMMAND DOCS cl.throttle");
    let docs = docs.field("cl.throttle");
    assert_eq!(docs.field("module").text(), "ratelimit");
    let arguments = docs.field("arguments").array().iter();
    let names: Vec<String> = arguments
        .map(|argument| argument.field("name").text())
        .collect();
    assert_eq!(names, ["key", "max_burst", "count", "period", "quantity"]);
    let info = server.call("COMMAND INFO cl.throttle");
    assert_eq!(info.array()[0].array()[1].int(), -5);
    let keys = server.call("COMMAND GETKEYS CL.THROTTLE user:1 15 30 60");
    assert_eq!(keys.texts(), ["user:1"]);
    server.ok("ACL SETUSER app on nopass ~own:* +cl.throttle");
    let mut app = server.connect();
    app.ok("AUTH app any");
    assert_eq!(app.call("CL.THROTTLE own:k 15 30 60").ints()[0], 0);
    let refused = app.call("CL.THROTTLE other:k 15 30 60");
    assert!(refused.error().starts_with("NOPERM"), "{refused:?}");
}
