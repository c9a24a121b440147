//! `ratelimit deny sync`, run against real servers as cron would run it.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use crate::support::node::values;
use crate::support::{eventually, node, server, Server};

fn command(arguments: &[&str]) -> Command {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/ops/ratelimit");
    let mut command = Command::new(script);
    command.args(["deny", "sync"]);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .env_remove("REDISCLI_AUTH")
        .env("no_proxy", "127.0.0.1");
    command
}

/// What it said, and the status that it ended with.
fn run(arguments: &[&str]) -> (i32, String) {
    told(&command(arguments).output().expect("deny-sync starts"))
}

fn told(output: &Output) -> (i32, String) {
    assert!(
        output.stdout.is_empty(),
        "it talks on standard error: {output:?}"
    );
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!text.contains("Traceback"), "{text}");
    (output.status.code().expect("it ends by itself"), text)
}

fn sync(server: &Server, options: &[&str], list: &str, source: &str) -> (i32, String) {
    let socket = server.dir().join("socket");
    let own = ["-s", socket.to_str().unwrap()];
    run(&[&own, options, &[list, source]].concat())
}

/// A file in the server's directory, gone with it.
fn file(server: &Server, name: &str, text: &[u8]) -> String {
    let path: PathBuf = server.dir().join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_string()
}

fn set(values: &[&str]) -> BTreeSet<String> {
    values.iter().map(|value| (*value).to_string()).collect()
}

/// The names of all deny lists but for the notes about others.
fn lists(server: &Server) -> Vec<String> {
    let mut names = server.call("RL.DENY LIST").texts();
    names.retain(|name| !name.ends_with(".synced"));
    names
}

const LIST: &[u8] = b"# IPsum: the number behind an address says how many lists have it
#
192.0.2.1\t10
192.0.2.2\t3
198.51.100.7 1

2001:DB8::1\t2
10.0.0.0/8
203.0.113.0/24 ; a comment of the other kind
::ffff:192.0.2.1
192.0.2.3\r
";

#[test]
fn a_file_becomes_the_list() {
    let server = Server::start();
    server.call("RL.DENY ADD bad 192.0.2.99 192.0.2.1");
    server.call("RL.DENY ADD other alice");
    let source = file(&server, "ipsum.txt", LIST);
    let all = set(&[
        "192.0.2.1",
        "192.0.2.2",
        "192.0.2.3",
        "198.51.100.7",
        "2001:db8::1",
        "10.0.0.0/8",
        "203.0.113.0/24",
    ]);
    // Twice, as it ends the same.
    for _ in 0..2 {
        let (status, text) = sync(&server, &[], "bad", &source);
        assert_eq!(status, 0, "{text}");
        assert!(text.contains("bad holds 7 entries"), "{text}");
        assert!(
            !text.contains("skipped") && !text.contains('\r') && !text.contains('#'),
            "quiet: {text:?}"
        );
        assert_eq!(values(&server, "bad"), all);
        assert_eq!(values(&server, "other"), set(&["alice"]));
        assert_eq!(lists(&server), ["bad", "other"], "no staging list is left");
    }
    // What the source does not hold any more is gone; a list that is not there comes into being.
    let (status, text) = sync(&server, &["--min-count", "3"], "bad", &source);
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("left out 2 of a count below 3"), "{text}");
    let without = &all - &set(&["198.51.100.7", "2001:db8::1"]);
    assert_eq!(values(&server, "bad"), without);
    assert_eq!(sync(&server, &[], "a new one", &source).0, 0);
    assert_eq!(values(&server, "a new one"), all);
}

#[test]
fn bad_lines_are_skipped_and_reported() {
    let server = Server::start();
    let source = file(
        &server,
        "list",
        b"192.0.2.1\n<html>\n010.0.0.1\n10.0.0.1/8\n10.0.0.0/255.0.0.0\n192.0.2.4/08\nfe80::1%eth0\n\
          192.0.2.5 many\n192.0.2.6 3 x\n192.0.2.7 -3\n\xff\xfe\x1b[2J\n192.0.2.256\nalice\n192.0.2.2\n",
    );
    let (status, text) = sync(&server, &[], "bad", &source);
    assert_eq!(status, 0, "{text}");
    assert_eq!(values(&server, "bad"), set(&["192.0.2.1", "192.0.2.2"]));
    assert!(
        text.contains("12 lines are no address and no range, and were skipped"),
        "{text}"
    );
    for line in ["line 2\n", "line 3\n", "line 6\n", "and 7 more"] {
        assert!(text.contains(line), "{line}: {text}");
    }
    // Cron mails what is written here, and a source may have led to what is nobody's business: none of it is shown.
    for secret in ["html", "010.0.0.1", "many", "alice", "\x1b"] {
        assert!(!text.contains(secret), "{secret}: {text:?}");
    }
}

/// On a terminal, the one who looks for the fault sees the lines, made harmless.
#[test]
fn a_terminal_shows_bad_lines_without_their_escape_sequences() {
    let server = Server::start();
    let source = file(&server, "hostile", b"192.0.2.1\n<html>\xff\x1b[2J\n");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/ops/ratelimit");
    let line = format!(
        "exec '{script}' deny sync -s '{}' bad '{source}'",
        server.dir().join("socket").display()
    );
    let output = Command::new("script")
        .args(["--quiet", "--return", "--command", &line, "/dev/null"])
        .stdin(Stdio::null())
        .output()
        .expect("script(1) is part of every Debian");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("line 2: <html>"), "{text:?}");
    assert!(!text.contains("\x1b[2J"), "{text:?}");
}

#[test]
fn a_list_may_cover_only_so_much_in_all() {
    let server = Server::start();
    server.call("RL.DENY ADD bad 192.0.2.1");
    let every_eighth: String = (0..256).map(|n| format!("{n}.0.0.0/8\n")).collect();
    let sixth: String = (0..16).map(|n| format!("2{n:x}00::/19\n")).collect();
    let five = "10.0.0.0/8\n11.0.0.0/8\n12.0.0.0/8\n13.0.0.0/8\n14.0.0.0/8\n192.0.2.1\n";
    for (options, lines, refused) in [
        (&[][..], every_eighth.as_str(), Some("100 % of all IPv4")),
        (
            &[],
            "10.0.0.0/8\n10.0.0.0/9\n10.1.0.0/16\n192.0.2.1\n",
            None,
        ), // one address counts once
        (&[], five, None),
        (&["--max-share", "1.9"], five, Some("1.95 % of all IPv4")),
        (&["--max-share", "100"], every_eighth.as_str(), None),
        (
            &["--max-share", "0.01"],
            sixth.as_str(),
            Some("of all IPv6"),
        ),
    ] {
        server.call("RL.DENY DROP bad");
        server.call("RL.DENY ADD bad 192.0.2.1");
        let source = file(&server, "list", lines.as_bytes());
        let options = [options, &["--max-growth", "1000000"]].concat();
        let (status, text) = sync(&server, &options, "bad", &source);
        match refused {
            Some(why) => {
                assert_eq!(status, 3, "{text}");
                assert!(text.contains(why) && text.contains("--max-share"), "{text}");
                assert_eq!(values(&server, "bad"), set(&["192.0.2.1"]));
            }
            None => assert_eq!(status, 0, "{text}"),
        }
    }
}

#[test]
fn a_list_may_grow_only_so_much_from_one_run_to_the_next() {
    let server = Server::start();
    let lines = |count: usize| -> String {
        (0..count)
            .map(|n| format!("198.18.{}.{}\n", n / 256, n % 256))
            .collect()
    };
    for (options, count, is_refused) in [
        (&[][..], 100, false), // it was empty
        (&[], 10_000, true),
        (&[], 501, true),
        (&[], 500, false),
        (&["--max-growth", "2000"], 10_000, false),
        (&["--max-shrink", "100"], 2, false),
        (&[], 102, false), // a hundred more are let through
        (&["--max-growth", "0"], 203, true),
    ] {
        let source = file(&server, "list", lines(count).as_bytes());
        let (status, text) = sync(&server, options, "bad", &source);
        assert_eq!(status, if is_refused { 3 } else { 0 }, "{count}: {text}");
        assert_eq!(text.contains("--max-growth"), is_refused, "{text}");
    }
}

/// It is told by itself, and not by its place in a command of a thousand.
#[test]
fn what_the_server_never_denies_refuses_the_source_and_is_named() {
    let server = Server::start();
    server.call("RL.DENY ADD bad 192.0.2.1");
    server.ok("CONFIG SET ratelimit.never-deny \"loopback 198.18.4.200\"");
    let lines: String = (0..1_500)
        .map(|n| format!("198.18.{}.{}\n", n / 256, n % 256))
        .collect();
    let source = file(&server, "list", lines.as_bytes());
    let options = &["--max-growth", "1000000"];
    let (status, text) = sync(&server, options, "bad", &source);
    assert_eq!(status, 3, "{text}");
    assert!(text.contains(": 198.18.4.200 must not be denied"), "{text}");
    assert!(text.contains("value 2 of ratelimit.never-deny"), "{text}");
    assert_eq!(values(&server, "bad"), set(&["192.0.2.1"]));
    assert_eq!(lists(&server), ["bad"]);
    let options = [&options[..], &["--never", "198.18.4.200"]].concat();
    let (status, text) = sync(&server, &options, "bad", &source);
    assert_eq!(status, 0, "{text}");
    assert_eq!(values(&server, "bad").len(), 1_499);
}

#[test]
fn an_empty_source_empties_the_list_only_where_that_is_meant() {
    let server = Server::start();
    server.call("RL.DENY ADD bad 192.0.2.1");
    for (name, text) in [
        ("empty", &b""[..]),
        ("comments", b"# none\n\n"),
        ("page", b"<html>\n404\n"),
    ] {
        let source = file(&server, name, text);
        let (status, text) = sync(&server, &[], "bad", &source);
        assert_eq!(status, 3, "{text}");
        assert!(text.contains("the list stays as it was"), "{text}");
        assert_eq!(values(&server, "bad"), set(&["192.0.2.1"]));
    }
    let source = file(&server, "low", b"192.0.2.2\t1\n");
    assert_eq!(sync(&server, &["--min-count", "2"], "bad", &source).0, 3);
    assert_eq!(values(&server, "bad"), set(&["192.0.2.1"]));
    assert_eq!(
        sync(
            &server,
            &["--min-count", "2", "--allow-empty"],
            "bad",
            &source
        )
        .0,
        0
    );
    assert_eq!(lists(&server), [""; 0]);
    assert_eq!(
        sync(&server, &["--allow-empty"], "bad", "/dev/null").0,
        0,
        "also where there is none"
    );
}

#[test]
fn what_fails_leaves_the_list_as_it_was() {
    let server = Server::start();
    server.call("RL.DENY ADD bad 192.0.2.1");
    let source = file(&server, "list", b"192.0.2.2\n192.0.2.3\n");
    let unchanged = || {
        assert_eq!(values(&server, "bad"), set(&["192.0.2.1"]));
        assert_eq!(lists(&server), ["bad"]);
    };
    // Wrong usage.
    for arguments in [
        &["bad"][..],
        &["bad", &source, "--no-such-option"],
        &["", &source],
        &["bad", &source, "-s", "x", "--cluster"],
    ] {
        let (status, text) = run(arguments);
        assert_eq!(status, 2, "{arguments:?}: {text}");
    }
    // No such file; no such server; no module there.
    let (status, text) = sync(&server, &[], "bad", "/no/such/file");
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("cannot read /no/such/file"), "{text}");
    let (status, text) = run(&["-p", &server::free_port().to_string(), "bad", &source]);
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("Connection refused"), "{text}");
    let bare = Server::without_module(&[]);
    let (status, text) = sync(&bare, &[], "bad", &source);
    assert_eq!(status, 1, "{text}");
    assert!(
        text.contains("the server has no rate limiting module"),
        "{text}"
    );
    unchanged();
    // No room: the list counts twice while it is replaced.
    server.ok("CONFIG SET ratelimit.deny-entries 2");
    let (status, text) = sync(&server, &[], "bad", &source);
    assert_eq!(status, 1, "{text}");
    assert!(
        text.contains("too many entries") && text.contains("ratelimit.deny-entries"),
        "{text}"
    );
    unchanged();
    // Checked only.
    server.ok("CONFIG SET ratelimit.deny-entries 100");
    assert_eq!(sync(&server, &["--dry-run"], "bad", &source).0, 0);
    unchanged();
    // A replica takes no orders.
    let replica = node::replica_of(&server, &[]);
    let (status, text) = sync(&replica, &[], "bad", &source);
    assert_eq!(status, 1, "{text}");
    assert!(
        text.contains("READONLY") && text.contains("name its primary"),
        "{text}"
    );
    unchanged();
}

#[test]
fn help_says_it_all() {
    let output = command(&["--help"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8_lossy(&output.stdout);
    for word in [
        "--min-count",
        "--allow-empty",
        "--cluster",
        "--user",
        "REDISCLI_AUTH",
        "exit status",
        "--tls",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[test]
fn a_password_comes_from_the_environment() {
    let server = Server::start();
    server.ok(
        "ACL SETUSER syncer on >other -@all +ping +rl.deny|add +rl.deny|rename +rl.deny|drop +rl.deny|list",
    );
    server.ok("ACL SETUSER default resetpass >secret");
    let source = file(&server, "list", b"192.0.2.2\n");
    let socket = server.dir().join("socket");
    let own = ["-s", socket.to_str().unwrap()];
    let with = |password: Option<&str>, options: &[&str]| {
        let mut command = command(&[&own, options, &["bad", &source]].concat());
        if let Some(password) = password {
            command.env("REDISCLI_AUTH", password);
        }
        told(&command.output().unwrap())
    };
    for (status, password, options) in [
        (1, None, &[][..]),
        (1, Some("wrong"), &[]),
        (0, Some("secret"), &[]),
        (1, Some("secret"), &["--user", "syncer"]),
        (0, Some("other"), &["--user", "syncer"]), // with no more rights than it needs
    ] {
        let (is, text) = with(password, options);
        assert_eq!(is, status, "{password:?} {options:?}: {text}");
        assert!(
            !text.contains("secret") && !text.contains("other"),
            "{text}"
        );
        assert_eq!(
            server.call("RL.DENY DROP bad").int(),
            i64::from(status == 0)
        );
        assert_eq!(lists(&server), [""; 0]);
    }
    server.ok("ACL SETUSER default nopass"); // so that it can be ended
}

/// Answers one request with these bytes, and closes.
fn serve(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/ipsum.txt", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        let _ = stream.read(&mut request);
        let _ = stream.write_all(answer.as_bytes());
    });
    url
}

#[test]
fn a_url_becomes_the_list_if_all_of_it_arrives() {
    let server = Server::start();
    let url = serve("HTTP/1.0 200 OK\r\nContent-Length: 22\r\n\r\n192.0.2.1\t5\n192.0.2.2\n");
    let (status, text) = sync(&server, &[], "bad", &url);
    assert_eq!(status, 0, "{text}");
    let held = set(&["192.0.2.1", "192.0.2.2"]);
    assert_eq!(values(&server, "bad"), held);
    for answer in [
        "HTTP/1.0 404 Not Found\r\nContent-Length: 10\r\n\r\n192.0.2.3\n",
        "HTTP/1.0 200 OK\r\nContent-Length: 5000\r\n\r\n192.0.2.3\n", // cut off
        "no web server\r\n\r\n",
        "",
    ] {
        let (status, text) = sync(&server, &[], "bad", &serve(answer));
        assert_eq!(status, 1, "{answer}: {text}");
        assert!(text.contains("cannot read http://"), "{text}");
        assert_eq!(values(&server, "bad"), held);
    }
}

#[test]
fn standard_input_is_a_source() {
    let server = Server::start();
    let socket = server.dir().join("socket");
    let mut child = command(&["-s", socket.to_str().unwrap(), "bad", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"\xef\xbb\xbf192.0.2.1\r\n192.0.2.2")
        .unwrap();
    let (status, text) = told(&child.wait_with_output().unwrap());
    assert_eq!(status, 0, "{text}");
    assert_eq!(values(&server, "bad"), set(&["192.0.2.1", "192.0.2.2"]));
}

/// `count` addresses of a network, one a line.
fn many(first_octet: u8, count: usize) -> Vec<u8> {
    let line = |i: usize| format!("{first_octet}.{}.{}.{}\n", i >> 16, i >> 8 & 255, i & 255);
    (0..count).map(line).collect::<String>().into_bytes()
}

#[test]
fn no_check_sees_half_a_list() {
    const COUNT: usize = 30_000;
    let server = Server::start();
    let sources = [
        file(&server, "a", &many(11, COUNT)),
        file(&server, "b", &many(12, COUNT)),
    ];
    assert_eq!(sync(&server, &[], "bad", &sources[0]).0, 0);
    let last = format!(
        "{}.{}.{}",
        (COUNT - 1) >> 16,
        (COUNT - 1) >> 8 & 255,
        (COUNT - 1) & 255
    );
    let question = format!("RL.DENY HAS bad 11.0.0.0 11.{last} 12.0.0.0 12.{last}");
    let mut seen = BTreeSet::new();
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            for round in 1..=6 {
                let (status, text) = sync(&server, &[], "bad", &sources[round % 2]);
                assert_eq!(status, 0, "{text}");
            }
        });
        let mut cli = server.connect();
        while !worker.is_finished() {
            let answer = cli.call(&question).ints();
            assert!(
                answer == [1, 1, 0, 0] || answer == [0, 0, 1, 1],
                "{answer:?}"
            );
            seen.insert(answer);
        }
    });
    assert_eq!(seen.len(), 2, "it was looked at while the lists changed");
    assert_eq!(lists(&server), ["bad"]);
}

#[test]
fn ended_in_the_middle_it_leaves_nothing_behind() {
    let server = Server::start();
    server.call("RL.DENY ADD bad 192.0.2.1");
    let source = file(&server, "list", &many(11, 400_000));
    let socket = server.dir().join("socket");
    for signal in ["TERM", "INT", "HUP"] {
        let socket = socket.to_str().unwrap();
        let grows = ["--max-growth", "1000000000"];
        let child = command(&["-s", socket, grows[0], grows[1], "bad", &source])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        eventually("it is loading", || lists(&server).len() == 2);
        // It gets no further until it has the signal.
        server.ok("CLIENT PAUSE 60000 WRITE");
        let kill = format!("kill -s {signal} {}", child.id());
        let shell = |line: &str| Command::new("sh").args(["-c", line]).spawn().unwrap();
        assert!(shell(&kill).wait().unwrap().success());
        // And again, as somebody impatient would, until it is gone.
        let mut again = shell(&format!("while {kill} 2>&-; do :; done"));
        server.ok("CLIENT UNPAUSE");
        let (status, text) = told(&child.wait_with_output().unwrap());
        assert_eq!(status, 1, "{signal}: {text}");
        assert!(text.contains("the list stays as it was"), "{text}");
        assert!(!text.contains("Traceback"), "{text}");
        again.wait().unwrap();
        assert_eq!(lists(&server), ["bad"], "{signal}");
        assert_eq!(values(&server, "bad"), set(&["192.0.2.1"]));
    }
    // What a run left behind that could not clean up, a later one removes; but not what another is at work on.
    let young = format!("bad.staging.{}.1", server.now_ms() / 1000);
    for name in [
        "bad.staging.1700000000.1",
        &young,
        "bad.staging.mine",
        "worse.staging.1700000000.1",
    ] {
        server.call(&format!("RL.DENY ADD {name} x"));
    }
    let source = file(&server, "short", b"192.0.2.2\n");
    let (status, text) = sync(&server, &[], "bad", &source);
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("removed bad.staging.1700000000.1"), "{text}");
    let mut left = vec![
        "bad".to_string(),
        young,
        "bad.staging.mine".into(),
        "worse.staging.1700000000.1".into(),
    ];
    left.sort();
    assert_eq!(lists(&server), left);
}

#[test]
fn on_a_terminal_it_shows_how_far_it_is() {
    let server = Server::start();
    let source = file(&server, "list", &many(11, 20_000));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/ops/ratelimit");
    let line = format!(
        "exec '{script}' deny sync -s '{}' bad '{source}'",
        server.dir().join("socket").display()
    );
    // script(1) runs it on a terminal of its own.
    let output = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .env("SHELL", "/bin/sh")
        .stdin(Stdio::null())
        .output()
        .expect("script(1) is part of every Debian");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("100 %  20000/20000"), "{text:?}");
    assert!(text.contains("[####"), "{text:?}");
    assert!(text.contains("bad holds 20000 entries"), "{text:?}");
}

#[test]
fn when_its_terminal_is_gone_it_leaves_nothing_behind() {
    let server = Server::start();
    let source = file(&server, "list", &many(11, 400_000));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/ops/ratelimit");
    let line = format!(
        "exec '{script}' deny sync -s '{}' bad '{source}'",
        server.dir().join("socket").display()
    );
    let mut terminal = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .env("SHELL", "/bin/sh")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("script(1) is part of every Debian");
    eventually("it is loading", || lists(&server).len() == 1);
    // It gets no further until its terminal is gone.
    server.ok("CLIENT PAUSE 60000 WRITE");
    terminal.kill().unwrap();
    terminal.wait().unwrap();
    server.ok("CLIENT UNPAUSE");
    eventually("the staging list is removed", || lists(&server).is_empty());
    assert_eq!(values(&server, "bad"), set(&[]), "and was not swapped in");
}

#[test]
fn in_a_cluster_every_primary_gets_it_or_none() {
    // The bus is on a port of its own, as the usual one (the port and 10,000) may be none.
    let node = || {
        let bus = format!("cluster-port {}", server::free_port());
        // None is taken for dead, however busy the machine is.
        Server::with(&["cluster-enabled yes", "cluster-node-timeout 60000", &bus])
    };
    let nodes = [node(), node(), node()];
    nodes[0].ok("CLUSTER ADDSLOTSRANGE 0 8191");
    nodes[1].ok("CLUSTER ADDSLOTSRANGE 8192 16383");
    for other in &nodes[1..] {
        let bus = other.call("CONFIG GET cluster-port").texts()[1].clone();
        nodes[0].ok(&format!("CLUSTER MEET 127.0.0.1 {} {bus}", other.port()));
    }
    let knows = |node: &Server, text: &str| {
        let info = node.print(&["CLUSTER", "INFO"]);
        info.lines().any(|line| line.trim_end() == text)
    };
    for node in &nodes {
        eventually("the cluster is formed", || {
            knows(node, "cluster_state:ok") && knows(node, "cluster_known_nodes:3")
        });
    }
    let first = nodes[0].call("CLUSTER MYID").text();
    nodes[2].ok(&format!("CLUSTER REPLICATE {first}"));
    for node in &nodes {
        eventually("one is a replica", || {
            let nodes = node.print(&["CLUSTER", "NODES"]);
            nodes.lines().filter(|line| line.contains("master")).count() == 2
        });
    }
    let source = file(&nodes[0], "list", b"192.0.2.1\n192.0.2.2\n");
    // Named by whichever node, the replica too.
    for (round, node) in nodes.iter().enumerate() {
        let list = format!("bad:{round}");
        let (status, text) = run(&["--cluster", "-p", &node.port().to_string(), &list, &source]);
        assert_eq!(status, 0, "{text}");
        for node in &nodes {
            eventually("each holds it", || {
                values(node, &list) == set(&["192.0.2.1", "192.0.2.2"])
            });
            assert_eq!(lists(node).len(), round + 1);
        }
    }
    // One that cannot take it: none does.
    nodes[1].ok("CONFIG SET ratelimit.deny-entries 7");
    let source = file(&nodes[0], "other", b"198.51.100.1\n198.51.100.2\n");
    let (status, text) = run(&[
        "--cluster",
        "-p",
        &nodes[0].port().to_string(),
        "bad:0",
        &source,
    ]);
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("too many entries"), "{text}");
    for node in &nodes[..2] {
        assert_eq!(values(node, "bad:0"), set(&["192.0.2.1", "192.0.2.2"]));
        assert_eq!(lists(node).len(), 3);
    }
}

/// The one entry of the note about a list.
fn note(server: &Server, list: &str) -> String {
    let mut texts = values(server, &format!("{list}.synced")).into_iter();
    let text = texts.next().expect("a note");
    assert_eq!(texts.next(), None, "one entry");
    text
}

#[test]
fn a_note_says_when_a_list_was_replaced_and_from_what() {
    let server = Server::start();
    let source = file(&server, "list", b"192.0.2.1\n192.0.2.2\n");
    let before = server.now_ms() / 1000;
    assert_eq!(sync(&server, &[], "bad", &source).0, 0);
    let first = note(&server, "bad");
    let words: Vec<&str> = first.split(' ').collect();
    let at: i64 = words[1].strip_prefix("at=").unwrap().parse().unwrap();
    assert!((before..=server.now_ms() / 1000).contains(&at), "{first}");
    assert_eq!(words[2], "entries=2");
    assert_eq!(words[3], format!("source={source}"));
    // What fails leaves the note as it was.
    assert_eq!(sync(&server, &[], "bad", "/dev/null").0, 3);
    assert_eq!(note(&server, "bad"), first);
    // From a URL: no user, no password, no query.
    let url = serve("HTTP/1.0 200 OK\r\n\r\n192.0.2.1\n");
    let secret = url.replace("http://", "http://me:hidden@") + "?token=hidden";
    let (status, text) = sync(&server, &[], "bad", &secret);
    assert_eq!(status, 0, "{text}");
    let second = note(&server, "bad");
    assert!(
        second.ends_with(&format!("entries=1 source={url}")),
        "{second}"
    );
    assert_eq!(run(&["bad.synced", &source]).0, 2, "a note is no list");
}

#[test]
fn a_range_that_is_too_wide_refuses_the_source() {
    let server = Server::start();
    server.call("RL.DENY ADD bad 192.0.2.1");
    for (options, line, is_refused) in [
        (&[][..], "0.0.0.0/0", true),
        (&[], "64.0.0.0/7", true),
        (&[], "10.0.0.0/8", false),
        (&[], "::/0", true),
        (&[], "2000::/18", true),
        (&[], "2001:2000::/19", false),
        (&[], "::ffff:0:0/96", true), // all of IPv4, in IPv6's words
        (&["--widest", "/16"], "10.0.0.0/15", true),
        (&["--widest", "/16,/32"], "2001::/31", true),
        (&["--widest", "/16,/32"], "2001:db8::/32", false),
        (
            &["--widest", "0,0", "--max-share", "100"],
            "0.0.0.0/0",
            false,
        ),
    ] {
        server.call("RL.DENY DROP bad");
        server.call("RL.DENY ADD bad 192.0.2.1");
        let source = file(&server, "list", format!("192.0.2.2\n{line}\n").as_bytes());
        let (status, text) = sync(&server, options, "bad", &source);
        if is_refused {
            assert_eq!(status, 3, "{line}: {text}");
            assert!(
                text.contains(&format!("line 2: {line}")) || line.contains("ffff"),
                "{text}"
            );
            assert!(text.contains("--widest"), "{text}");
            assert_eq!(values(&server, "bad"), set(&["192.0.2.1"]));
        } else {
            assert_eq!(status, 0, "{line}: {text}");
            assert_eq!(values(&server, "bad"), set(&["192.0.2.2", line]));
        }
    }
}

#[test]
fn what_touches_a_range_of_the_never_list_is_left_out() {
    let server = Server::start();
    let source = file(
        &server,
        "list",
        b"192.0.2.1\n198.51.100.7\n198.51.96.0/20\n198.51.100.128/25\n2001:db8::7\n2001:db8::/32\n203.0.113.9\n::ffff:198.51.100.9\n",
    );
    let never = [
        "--never",
        "198.51.100.0/24",
        "--never",
        "2001:db8::/64",
        "--never",
        "203.0.113.9",
    ];
    let (status, text) = sync(&server, &never, "bad", &source);
    assert_eq!(status, 0, "{text}");
    assert_eq!(values(&server, "bad"), set(&["192.0.2.1"]));
    assert!(
        text.contains("left out 7 that touch a range that is never denied"),
        "{text}"
    );
    assert!(text.contains("line 3: 198.51.96.0/20"), "{text}");
    let (status, text) = sync(&server, &["--never", "10.0.0.1/8"], "bad", &source);
    assert_eq!(status, 2, "{text}");
}

#[test]
fn a_source_that_shrank_is_not_believed() {
    let server = Server::start();
    let all = file(&server, "all", &many(11, 100));
    assert_eq!(sync(&server, &[], "bad", &all).0, 0);
    let before = values(&server, "bad");
    let fewer = |count| file(&server, "fewer", &many(11, count));
    let (status, text) = sync(&server, &[], "bad", &fewer(49));
    assert_eq!(status, 3, "{text}");
    assert!(
        text.contains("from 100 to 49 entries") && text.contains("--max-shrink"),
        "{text}"
    );
    assert_eq!(values(&server, "bad"), before);
    assert_eq!(
        sync(&server, &["--max-shrink", "10"], "bad", &fewer(89)).0,
        3
    );
    assert_eq!(
        sync(&server, &["--max-shrink", "10"], "bad", &fewer(90)).0,
        0
    );
    assert_eq!(sync(&server, &[], "bad", &fewer(45)).0, 0);
    assert_eq!(
        sync(&server, &["--max-shrink", "100"], "bad", &fewer(1)).0,
        0
    );
    assert_eq!(lists(&server), ["bad"], "no staging list is left");
}

/// Answers one request by bytes without an end.
fn serve_endlessly() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/list", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n");
        while stream.write_all(&[b'#'; 4096]).is_ok() {}
    });
    url
}

#[test]
fn a_body_beyond_the_bound_is_refused() {
    let server = Server::start();
    server.call("RL.DENY ADD bad 192.0.2.1");
    let big = file(&server, "big", b"192.0.2.2\n192.0.2.3\n");
    for (options, source) in [
        (&[][..], serve_endlessly()),
        (&["--max-bytes", "19"], big.clone()),
        (&[], "/dev/zero".to_string()),
    ] {
        let (status, text) = sync(&server, options, "bad", &source);
        assert_eq!(status, 1, "{text}");
        assert!(text.contains("--max-bytes"), "{text}");
        assert_eq!(values(&server, "bad"), set(&["192.0.2.1"]));
    }
    assert_eq!(sync(&server, &["--max-bytes", "20"], "bad", &big).0, 0);
    // One that drips is as endless as one that floods.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/list", silent.local_addr().unwrap());
    let (status, text) = sync(&server, &["--timeout", "1"], "bad", &url);
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("not there within 1 s"), "{text}");
}

#[test]
fn other_schemes_are_refused_also_after_a_redirect() {
    let server = Server::start();
    server.call("RL.DENY ADD bad 192.0.2.1");
    let source = file(&server, "list", b"192.0.2.2\n");
    for other in [
        "ftp://127.0.0.1/list",
        "data://x/192.0.2.9",
        "gopher://127.0.0.1/",
    ] {
        let (status, text) = sync(&server, &[], "bad", other);
        assert_eq!(status, 2, "{text}");
        assert!(text.contains("neither http, https nor file"), "{text}");
    }
    for to in [
        format!("file://{source}"),
        "ftp://127.0.0.1/list".into(),
        "data:,192.0.2.9".into(),
    ] {
        let answer = format!("HTTP/1.0 302 Found\r\nLocation: {to}\r\n\r\n");
        let (status, text) = sync(&server, &[], "bad", &serve(answer.leak()));
        assert_eq!(status, 1, "{text}");
        assert!(text.contains("it redirects to"), "{text}");
    }
    assert_eq!(values(&server, "bad"), set(&["192.0.2.1"]));
    let there = serve("HTTP/1.0 200 OK\r\n\r\n192.0.2.3\n");
    let answer = format!("HTTP/1.0 302 Found\r\nLocation: {there}\r\n\r\n");
    let (status, text) = sync(&server, &[], "bad", &serve(answer.leak()));
    assert_eq!(status, 0, "{text}");
    assert_eq!(values(&server, "bad"), set(&["192.0.2.3"]));
    assert_eq!(sync(&server, &[], "bad", &format!("file://{source}")).0, 0);
    assert_eq!(values(&server, "bad"), set(&["192.0.2.2"]));
}

/// Answers one request by a redirect to a second port, and tells what that one was sent.
fn redirected() -> (String, std::thread::JoinHandle<String>) {
    let second = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = format!("http://{}/", second.local_addr().unwrap());
    let answer = format!("HTTP/1.0 302 Found\r\nLocation: {to}\r\n\r\n");
    let sent = std::thread::spawn(move || {
        let (mut stream, _) = second.accept().unwrap();
        let mut request = [0; 4096];
        let count = stream.read(&mut request).unwrap();
        let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n192.0.2.1\n");
        String::from_utf8_lossy(&request[..count]).into_owned()
    });
    (serve(answer.leak()), sent)
}

#[test]
fn a_password_in_a_url_is_never_shown_and_goes_to_no_other_host() {
    let server = Server::start();
    let port = server::free_port();
    for url in [
        format!("http://me:hunter2@127.0.0.1:{port}/x?key=hunter2"),
        "http://me:hunter2@127.0.0.1:hunter2/x".to_string(),
        "http://me:hunter2@[::1/x".to_string(),
        "http://me:hunter2@/x".to_string(),
        "https://me:hunter2@127.0.0.1:1/".to_string(),
    ] {
        let (status, text) = sync(&server, &[], "bad", &url);
        assert!(status == 1 || status == 2, "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
    let (url, sent) = redirected();
    let (status, text) = sync(
        &server,
        &[],
        "bad",
        &url.replace("http://", "http://me:hunter2@"),
    );
    assert_eq!(status, 0, "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    let sent = sent.join().unwrap();
    assert!(!sent.contains("Authorization"), "{sent}");
}

#[test]
fn no_escape_sequence_reaches_the_terminal() {
    // A server that answers whatever is asked by an error with one in it.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"-ERR \x1b]0;owned\x07\x1b[2J\r\n");
        }
    });
    let server = Server::start();
    let source = file(&server, "list", b"192.0.2.1\n");
    let (status, text) = run(&["-p", &port, "bad", &source]);
    assert_eq!(status, 1, "{text:?}");
    assert!(
        text.contains("\\x1b]0;owned") && !text.contains('\x1b') && !text.contains('\x07'),
        "{text:?}"
    );
    let (_, text) = run(&["bad", "/no/such/\x1b[2J"]);
    assert!(
        text.contains("cannot read") && !text.contains('\x1b'),
        "{text:?}"
    );
    let answer = "HTTP/1.0 404 \x1b[2J\r\n\r\n";
    let (_, text) = sync(&server, &[], "bad", &serve(answer));
    assert!(text.contains("404") && !text.contains('\x1b'), "{text:?}");
}
