//! `CONFIG GET/SET ratelimit.*`, load arguments and the configuration file.

use crate::support::{self, Reply, Server};

fn sliding_entries(server: &Server) -> String {
    server
        .call("CONFIG GET ratelimit.sliding-entries")
        .field("ratelimit.sliding-entries")
        .text()
}

/// How many entries the sliding limiter under `key` may hold.
fn capacity(server: &Server, key: &str) -> i64 {
    server
        .call(&format!("RL.INFO {key}"))
        .field("limits")
        .array()[0]
        .field("capacity")
        .int()
}

#[test]
fn sliding_entries_has_its_default_and_bounds() {
    let server = Server::start();
    assert_eq!(sliding_entries(&server), "128");
    for refused in ["7", "4097", "0", "-1", "many", "", "9223372036854775808"] {
        let reply = server.call(&format!(
            "CONFIG SET ratelimit.sliding-entries \"{refused}\""
        ));
        assert!(reply.is_error(), "{refused}: {reply:?}");
        assert_eq!(sliding_entries(&server), "128", "{refused}");
    }
    for accepted in ["8", "4096", "1000"] {
        server.ok(&format!("CONFIG SET ratelimit.sliding-entries {accepted}"));
        assert_eq!(sliding_entries(&server), accepted);
    }
}

#[test]
fn every_setting_is_found_under_the_modules_name() {
    let server = Server::start();
    let Reply::Map(settings) = server.call("CONFIG GET ratelimit.*") else {
        panic!("settings are a map");
    };
    assert!(
        settings
            .iter()
            .any(|(name, _)| name.text() == "ratelimit.sliding-entries"),
        "{settings:?}"
    );
    // What is said once, when the module is loaded: cl_throttle.rs.
    let may_change = |(name, _): &(Reply, Reply)| name.text() != "ratelimit.cl-throttle";
    for (name, value) in settings.into_iter().filter(may_change) {
        server.ok(&format!("CONFIG SET {} \"{}\"", name.text(), value.text()));
    }
}

#[test]
fn a_limiter_takes_the_setting_when_it_is_created() {
    let server = Server::start();
    server.decide("RL.SLIDING before 5 30d");
    server.ok("CONFIG SET ratelimit.sliding-entries 8");
    server.decide("RL.SLIDING after 5 30d");
    server.decide("RL.SLIDING before 5 30d");
    assert_eq!(capacity(&server, "before"), 128);
    assert_eq!(capacity(&server, "after"), 8);
}

/// Hits of one millisecond share an entry, so it takes as many milliseconds as entries to fill a limiter.
#[test]
fn a_limiter_never_holds_more_entries_than_its_capacity() {
    let server = Server::start();
    server.ok("CONFIG SET ratelimit.sliding-entries 8");
    support::eventually("the limiter is full", || {
        server.decide("RL.SLIDING k 1000000 30d");
        let info = server.call("RL.INFO k");
        let entries = info.field("limits").array()[0].field("entries").int();
        assert!(entries <= 8, "{info:?}");
        entries == 8
    });
    let used = server.call("RL.INFO k").field("limits").array()[0]
        .field("used")
        .int();
    let hits: Vec<String> = (0..2000)
        .map(|_| "RL.SLIDING k 1000000 30d".to_string())
        .collect();
    server.bulk(&hits);
    let info = server.call("RL.INFO k");
    assert!(info.field("limits").array()[0].field("entries").int() <= 8);
    assert_eq!(
        info.field("limits").array()[0].field("used").int(),
        used + 2000,
        "merged, not lost"
    );
}

#[test]
fn load_arguments_set_it() {
    let server = Server::with_module_arguments("sliding-entries 64", &[]);
    assert_eq!(sliding_entries(&server), "64");
}

#[test]
fn load_arguments_that_make_no_sense_are_refused_with_a_reason() {
    for (arguments, reason) in [
        ("sliding-entries 7", "from 8 to 4096"),
        ("sliding-entries 4097", "from 8 to 4096"),
        ("sliding-entries many", "integer"),
        ("sliding-entries", "a name and a value"),
        ("64", "a name and a value"),
        ("slidingentries 64", "sliding-entries"),
    ] {
        let Err(refusal) = Server::try_with_module_arguments(arguments, &[]) else {
            panic!("{arguments:?} was accepted");
        };
        assert!(
            refusal.status.code().is_some(),
            "{arguments:?}: a signal: {refusal:?}"
        );
        assert!(
            refusal.log.contains(reason),
            "{arguments:?}: {}",
            refusal.log
        );
    }
}

#[test]
fn the_configuration_file_sets_it_and_a_rewrite_keeps_it() {
    let mut server = Server::with(&["ratelimit.sliding-entries 32"]);
    assert_eq!(sliding_entries(&server), "32");
    server.ok("CONFIG SET ratelimit.sliding-entries 48");
    server.ok("CONFIG REWRITE");
    server.kill();
    server.start_again().unwrap();
    assert_eq!(sliding_entries(&server), "48");
}

#[test]
fn loadex_sets_it() {
    let server = Server::without_module(&[]);
    let module = support::server::module();
    server.ok(&format!(
        "MODULE LOADEX \"{}\" CONFIG ratelimit.sliding-entries 16",
        module.display()
    ));
    assert_eq!(sliding_entries(&server), "16");
}

/// Whatever MODULE LOADEX is refused for, the server goes on without the module, and loads it at the next try.
#[test]
fn a_loadex_that_is_refused_loads_nothing_and_the_next_one_works() {
    let server = Server::without_module(&[]);
    let load = format!("MODULE LOADEX \"{}\"", support::server::module().display());
    for (arguments, reason) in [
        ("CONFIG ratelimit.policies abc", "ratelimit.policies"),
        ("CONFIG ratelimit.policies 10001", "between 0 and 10000"),
        ("CONFIG ratelimit.policies -1", "between 0 and 10000"),
        (
            "CONFIG ratelimit.nosuch 1",
            "expected ratelimit.sliding-entries",
        ),
        (
            "CONFIG nosuch.policies 1",
            "expected ratelimit.sliding-entries",
        ),
        (
            "CONFIG ratelimit.policies 7 CONFIG ratelimit.nosuch 1",
            "expected ratelimit.sliding-entries",
        ),
        ("ARGS policies abc", "from 0 to 10000"),
        ("CONFIG ratelimit.policies 7 ARGS nosuch 1", "'nosuch'"),
    ] {
        let before = server.log().len();
        let refused = server.call(&format!("{load} {arguments}"));
        assert!(refused.is_error(), "{arguments}: {refused:?}");
        let logged = server.log().split_off(before);
        assert!(logged.contains(reason), "{arguments}: {logged}");
        let modules = server.call("MODULE LIST");
        let names = modules.array().iter();
        let names: Vec<String> = names.map(|module| module.field("name").text()).collect();
        assert!(
            names.iter().all(|name| !name.starts_with("ratelimit")),
            "{arguments}: {names:?}"
        );
        let unknown = server.call("RL.FIXED k 5 30d");
        assert!(unknown.error().contains("unknown command"), "{unknown:?}");
        // Nothing that the module subscribed to may be left: the server's clock would call it.
        let ticks = server.info_number("server", "uptime_in_seconds");
        if arguments.contains("ARGS nosuch") {
            support::eventually("a second has passed", || {
                server.info_number("server", "uptime_in_seconds") > ticks
            });
        }
    }
    server.ok(&format!(
        "{load} CONFIG ratelimit.sliding-entries 16 ARGS policies 3"
    ));
    assert_eq!(sliding_entries(&server), "16");
    assert!(server.decide("RL.FIXED k 5 30d").allowed);
    for name in ["a", "b", "c"] {
        server.ok(&format!("RL.POLICY SET {name} FIXED 5 30d"));
    }
    assert!(server.call("RL.POLICY SET d FIXED 5 30d").is_error());
}

/// Also where it has settings of others beside it, as long as they have a module.
#[test]
fn a_file_with_a_setting_that_there_is_not_is_refused() {
    for lines in [
        &["ratelimit.policies abc"][..],
        &["ratelimit.policies 10001"],
        &["ratelimit.nosuch 1"],
    ] {
        let Err(refusal) = Server::try_with_module_arguments("", lines) else {
            panic!("{lines:?} was accepted");
        };
        assert_eq!(refusal.status.code(), Some(1), "{lines:?}: {refusal:?}");
    }
}

fn never_deny(server: &Server) -> String {
    let reply = server.call("CONFIG GET ratelimit.never-deny");
    reply.field("ratelimit.never-deny").text()
}

/// Nothing that anybody adds, and nothing that was there before, denies what the operator has named.
#[test]
fn what_is_never_denied_is_refused_and_does_not_match() {
    let server = Server::start();
    assert_eq!(never_deny(&server), "");
    server.call("RL.DENY ADD l 10.0.0.0/8 2001:db8::/32 admin mallory");
    let denied = |server: &Server| {
        let values = "RL.DENY HAS l 10.1.2.3 10.9.9.9 [2001:db8::7]:443 admin mallory 10.0.0.0/8";
        server.call(values).ints()
    };
    assert_eq!(denied(&server), [1; 6]);
    let named = "10.1.0.0/16 2001:db8::7 admin";
    server.ok(&format!("CONFIG SET ratelimit.never-deny \"{named}\""));
    assert_eq!(never_deny(&server), named);
    // A range with something protected in it is not denied as a whole.
    assert_eq!(denied(&server), [0, 1, 0, 0, 1, 0]);
    let reply = server.call("RL.FIXED k 5 1h DENY l admin 10.1.2.3:99 10.9.9.9");
    assert_eq!(reply.array()[5].text(), "10.9.9.9");
    for (values, argument, place) in [
        ("10.1.2.3", 3, 1),
        ("192.0.2.1 0.0.0.0/0", 4, 1),
        ("::/0", 3, 2),
        ("a b admin", 5, 3),
    ] {
        let before = server.call("RL.DENY LIST");
        let reply = server.call(&format!("RL.DENY ADD new {values} TTL 1h"));
        let error = reply.error();
        assert!(error.contains(&format!("argument {argument}")), "{error}");
        assert!(
            error.contains(&format!("value {place} of ratelimit.never-deny")),
            "{error}"
        );
        assert_eq!(server.call("RL.DENY LIST"), before);
    }
    assert_eq!(server.call("RL.DENY ADD new 192.0.2.1").int(), 1);
    assert_eq!(server.call("RL.DENY DEL l admin").int(), 1);
    // What is no value is refused, and leaves what there is.
    for refused in ["10.0.0.1/8", "1.2.3.400", "[::1]:443"] {
        let reply = server.call(&format!(
            "CONFIG SET ratelimit.never-deny \"::1 {refused}\""
        ));
        assert!(reply.is_error(), "{reply:?}");
        assert_eq!(never_deny(&server), named);
    }
    let nul: &[&[u8]] = &[b"CONFIG", b"SET", b"ratelimit.never-deny", b"a\0b"];
    server.call_bytes(nul);
    assert_eq!(never_deny(&server), named);
    server.ok(&format!("CONFIG SET ratelimit.never-deny \"{named}\""));
    // Ranges that everybody means by a word.
    server.ok("CONFIG SET ratelimit.never-deny \"admin loopback private\"");
    for (value, place) in [("127.0.0.1", 2), ("10.0.0.0/8", 3), ("fd00::1", 3)] {
        let reply = server.call(&format!("RL.DENY ADD new {value}"));
        let told = format!("value {place} of ratelimit.never-deny");
        assert!(reply.error().contains(&told), "{reply:?}");
    }
    server.ok(&format!("CONFIG SET ratelimit.never-deny \"{named}\""));
    // Entries are kept: what is no longer protected is denied again.
    server.ok("DEBUG RELOAD");
    assert_eq!(denied(&server), [0, 1, 0, 0, 1, 0]);
    server.ok("CONFIG SET ratelimit.never-deny \"\"");
    assert_eq!(denied(&server), [1, 1, 1, 0, 1, 1]);
}

#[test]
fn never_deny_is_a_load_argument_and_a_line_of_the_configuration_file() {
    let line = "ratelimit.never-deny \"127.0.0.0/8 ::1\"";
    let argument = "never-deny \"127.0.0.0/8 ::1\"";
    for server in [
        Server::with(&[line]),
        Server::with_module_arguments(argument, &[]),
    ] {
        assert_eq!(never_deny(&server), "127.0.0.0/8 ::1");
        assert!(server.call("RL.DENY ADD l 127.0.0.1").is_error());
        assert_eq!(server.call("RL.DENY ADD l 192.0.2.1").int(), 1);
    }
    let refused = Server::try_with_module_arguments("never-deny 1.2.3.400", &[]);
    assert!(refused.is_err());
}

/// A bound holds from the very next call on.
#[test]
fn without_names_of_their_own_all_count_as_other() {
    let server = Server::start();
    let lines: Vec<String> = (0..1_000)
        .map(|n| format!("RL.FIXED k 5 1h POLICY made-up-{n}"))
        .collect();
    server.ok("CONFIG SET ratelimit.stats-names 0");
    server.bulk(&lines);
    assert_eq!(
        server.call("RL.STATS GET").field("names").texts(),
        ["other"]
    );
    for server in [
        Server::with(&["ratelimit.stats-names 0"]),
        Server::with_module_arguments("stats-names 0", &[]),
    ] {
        server.bulk(&lines);
        assert_eq!(
            server.call("RL.STATS GET").field("names").texts(),
            ["other"]
        );
    }
}
