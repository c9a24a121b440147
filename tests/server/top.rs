//! `ratelimit top`, as the person on call runs it.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};

use crate::support::{eventually, server, Server};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/ops/ratelimit");

fn run(arguments: &[&str], columns: usize) -> (i32, String, String) {
    let mut command = Command::new(SCRIPT);
    command.arg("top");
    command
        .args(arguments)
        .stdin(Stdio::null())
        .env("COLUMNS", columns.to_string())
        .env_remove("REDISCLI_AUTH");
    let output = command.output().expect("top starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let errors = text(&output.stderr);
    assert!(!errors.contains("Traceback"), "{errors}");
    (output.status.code().unwrap(), text(&output.stdout), errors)
}

/// One picture of the server.
fn picture(server: &Server, columns: usize) -> String {
    let socket = server.dir().join("socket");
    let arguments = [
        "-s",
        socket.to_str().unwrap(),
        "--once",
        "--interval",
        "0.1",
    ];
    let (status, text, errors) = run(&arguments, columns);
    assert_eq!((status, errors.as_str()), (0, ""), "{text}");
    text
}

/// The words of the one line that begins so.
fn line(picture: &str, first: &str) -> Vec<String> {
    let mut lines = picture.lines().filter(|line| line.starts_with(first));
    let line = lines
        .next()
        .unwrap_or_else(|| panic!("no line {first:?}:\n{picture}"));
    line.split_whitespace().map(str::to_string).collect()
}

fn traffic(server: &Server) {
    server.call("RL.DENY ADD bad mallory");
    for (times, hit) in [
        (7, "RL.SLIDING user:7 2 30d POLICY login"),
        (1, "RL.SLIDING user:8 2 30d POLICY login"),
        (3, "RL.FIXED key:1 9 30d POLICY api DENY bad mallory"),
        (2, "RL.FIXED key:1 9 30d"),
        (4, "RL.BUCKET b 3 1 3660d POLICY \"\\x1b[2J\\xff\""),
    ] {
        for _ in 0..times {
            assert!(!server.call(hit).is_error());
        }
    }
}

#[test]
fn one_picture_shows_totals_policies_and_offenders() {
    let server = Server::start();
    traffic(&server);
    let picture = picture(&server, 120);
    // Nobody hits it while it looks, so the rates are 0; behind them are the totals.
    for (first, counts) in [
        ("all ", ["8", "6", "3"]),
        ("sliding ", ["3", "5", "0"]),
        ("fixed ", ["2", "0", "3"]),
        ("bucket ", ["3", "1", "0"]),
        ("login ", ["3", "5", "0"]),
        ("api ", ["0", "0", "3"]),
        ("(no policy) ", ["2", "0", "0"]),
    ] {
        let words = line(&picture, first);
        let numbers = &words[words.len() - 6..];
        assert_eq!(numbers[..3], ["0", "0", "0"], "{first}: {picture}");
        assert_eq!(numbers[3..], counts, "{first}: {picture}");
    }
    let (_, offenders) = picture.split_once("MOST DENIED").unwrap();
    let (denied, allowed) = offenders.split_once("MOST ALLOWED").unwrap();
    assert_eq!(line(denied, "login"), ["login", "user:7", "0", "5"]);
    assert!(!denied.contains("user:8"), "{denied}");
    assert!(allowed.contains("user:8"), "{allowed}");
    assert!(
        !picture.contains('\x1b'),
        "a name is no command to the terminal: {picture:?}"
    );
    assert!(picture.contains("\\x1b[2J"), "{picture}");
}

#[test]
fn rates_are_what_happened_in_between() {
    let server = Server::start();
    traffic(&server);
    let socket = server.dir().join("socket");
    let text = std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let arguments = [
                "-s",
                socket.to_str().unwrap(),
                "--once",
                "--interval",
                "0.5",
            ];
            run(&arguments, 120).1
        });
        let mut cli = server.connect();
        while !looking.is_finished() {
            cli.decide("RL.SLIDING user:9 0 30d POLICY login");
        }
        looking.join().unwrap()
    });
    let words = line(&text, "login ");
    let rates = &words[1..4];
    assert_eq!((rates[0].as_str(), rates[2].as_str()), ("0", "0"), "{text}");
    assert_ne!(rates[1], "0", "{text}");
    let (_, offenders) = text.split_once("MOST DENIED").unwrap();
    let first = offenders.lines().nth(1).unwrap();
    assert!(
        first.contains("user:9"),
        "who is denied now comes first: {text}"
    );
}

#[test]
fn it_fits_the_width() {
    let server = Server::start();
    traffic(&server);
    let long = "k".repeat(300);
    server.call(&format!("RL.FIXED {long} 0 1h POLICY {}", "p".repeat(128)));
    for columns in [40, 60, 80, 100, 200] {
        let picture = picture(&server, columns);
        for line in picture.lines() {
            assert!(line.chars().count() <= columns, "{columns}: {line:?}");
        }
        assert!(
            picture.contains("login") && picture.contains("denied/s"),
            "{picture}"
        );
    }
}

#[test]
fn a_server_without_hits_is_no_error() {
    let server = Server::start();
    let picture = picture(&server, 100);
    assert_eq!(line(&picture, "all ")[1..], ["0"; 6]);
    assert!(!picture.contains("POLICY"), "{picture}");
}

#[test]
fn what_cannot_be_is_said() {
    let (status, _, errors) = run(&["-p", &server::free_port().to_string(), "--once"], 100);
    assert_eq!(status, 1, "{errors}");
    assert!(errors.contains("Connection refused"), "{errors}");
    let bare = Server::without_module(&[]);
    let (status, _, errors) = run(&["-p", &bare.port().to_string(), "--once"], 100);
    assert_eq!(status, 1, "{errors}");
    assert!(errors.contains("no rate limiting module"), "{errors}");
    let (status, _, errors) = run(&["-p", &bare.port().to_string()], 100);
    assert_eq!(status, 2, "{errors}");
    assert!(errors.contains("use --once"), "{errors}");
}

/// A terminal of its own, by script(1), in which a shell runs `line`.
fn terminal(line: &str) -> Child {
    Command::new("script")
        .args(["-qec", line, "/dev/null"])
        .env("TERM", "xterm")
        .env("SHELL", "/bin/sh")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script(1) is part of every Debian")
}

/// Reads on until `what` is on the screen.
fn read_until(what: &str, from: &mut impl Read, screen: &mut String) {
    let mut bytes = [0; 4096];
    while !screen.contains(what) {
        let count = from.read(&mut bytes).unwrap();
        assert!(count > 0, "it ended before {what:?}: {screen:?}");
        screen.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
}

#[test]
fn ctrl_c_gives_the_terminal_back() {
    let mut server = Server::start();
    traffic(&server);
    // In the shell's place: Ctrl-C is for all of the terminal, and a shell that waits may end by it, status and all.
    let mut child = terminal(&format!(
        "exec '{SCRIPT}' top --interval 0.1 -s '{}'",
        server.dir().join("socket").display()
    ));
    let mut stdout = child.stdout.take().unwrap();
    let mut screen = String::new();
    read_until("user:7", &mut stdout, &mut screen);
    assert!(screen.starts_with("\x1b[?1049h\x1b[?25l"), "{screen:?}");
    // A server that goes away is said, and one that comes back is shown again.
    server.kill();
    read_until("NO ANSWER", &mut stdout, &mut screen);
    server.start_again().unwrap();
    screen.clear();
    read_until("every 0.1 s", &mut stdout, &mut screen);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"\x03").unwrap();
    read_until("\x1b[?25h\x1b[?1049l", &mut stdout, &mut screen);
    // Somebody impatient presses it again; by then it may be gone, and script(1) too.
    let _ = stdin.write_all(b"\x03");
    drop(stdin);
    stdout.read_to_string(&mut screen).unwrap();
    let status = child.wait().unwrap();
    assert!(status.success(), "{status}: {screen:?}");
    let after = screen.rsplit("\x1b[?1049l").next().unwrap();
    assert_eq!(after.trim_matches(['\r', '\n', '^', 'C']), "", "{screen:?}");
}

#[test]
fn a_terminal_that_is_gone_ends_it_without_a_complaint() {
    let server = Server::start();
    traffic(&server);
    let [status, errors] = ["status", "errors"].map(|name| server.dir().join(name));
    let mut child = terminal(&format!(
        "trap '' HUP; '{SCRIPT}' top --interval 0.1 -s '{}' 2>'{}'; echo $? >'{}'",
        server.dir().join("socket").display(),
        errors.display(),
        status.display()
    ));
    let mut screen = String::new();
    read_until("user:7", child.stdout.as_mut().unwrap(), &mut screen);
    child.kill().unwrap();
    child.wait().unwrap();
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    eventually("it ends", || read(&status).ends_with('\n'));
    assert_eq!(
        (read(&status).as_str(), read(&errors).as_str()),
        ("0\n", "")
    );
}

#[test]
fn q_ends_it() {
    let server = Server::start();
    traffic(&server);
    let line = format!(
        "exec '{SCRIPT}' top --interval 3600 --server 127.0.0.1:{}",
        server.port()
    );
    let mut child = terminal(&line);
    let mut stdout = child.stdout.take().unwrap();
    let mut screen = String::new();
    read_until("user:7", &mut stdout, &mut screen);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"xq").unwrap();
    stdout.read_to_string(&mut screen).unwrap();
    assert!(screen.ends_with("\x1b[?25h\x1b[?1049l"), "{screen:?}");
    assert!(child.wait().unwrap().success());
}

#[test]
fn the_port_may_come_from_the_environment() {
    let server = Server::start();
    let output = Command::new(SCRIPT)
        .arg("top")
        .args(["--once", "--interval", "0.1"])
        .env("PORT", server.port().to_string())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains(&format!("127.0.0.1:{}", server.port())),
        "{text}"
    );
    let (status, _, errors) = run(&["--once", "-p", "70000"], 100);
    assert_eq!(status, 2, "{errors}");
    assert!(errors.contains("'70000' is not a port"), "{errors}");
}

#[test]
fn several_servers_are_added_up_and_one_that_is_gone_is_said() {
    let servers = [Server::start(), Server::start()];
    for server in &servers {
        traffic(server);
    }
    let gone = format!("127.0.0.1:{}", server::free_port());
    let named: Vec<String> = servers
        .iter()
        .map(|server| format!("127.0.0.1:{}", server.port()))
        .collect();
    let both = [
        "--server",
        &named[0],
        "--server",
        &named[1],
        "--once",
        "--interval",
        "0.1",
    ];
    let (status, text, errors) = run(&both, 120);
    assert_eq!((status, errors.as_str()), (0, ""));
    for (first, counts) in [
        ("all ", ["16", "12", "6"]),
        ("login ", ["6", "10", "0"]),
        ("(no policy) ", ["4", "0", "0"]),
    ] {
        let words = line(&text, first);
        assert_eq!(words[words.len() - 3..], counts, "{first}: {text}");
    }
    let (_, denied) = text.split_once("MOST DENIED").unwrap();
    assert_eq!(line(denied, "login"), ["login", "user:7", "0", "10"]);
    let (status, text, errors) = run(&[&both[..], &["--server", &gone]].concat(), 200);
    assert_eq!((status, errors.as_str()), (0, ""));
    assert!(
        text.contains(&format!("NO ANSWER: {gone}: Connection refused")),
        "{text}"
    );
    assert_eq!(line(&text, "all ")[4..], ["16", "12", "6"]);
}

#[test]
fn a_thousand_names_are_not_a_thousand_calls() {
    let server = Server::start();
    server.ok("CONFIG SET ratelimit.stats-names 2000");
    let hits: Vec<String> = (0..1000)
        .map(|i| format!("RL.FIXED key:{i} {} 30d POLICY name:{i}", i % 2))
        .collect();
    server.bulk(&hits);
    server.bulk(&[hits[500].clone(), hits[500].clone()]);
    server.ok("CONFIG RESETSTAT");
    let text = picture(&server, 120);
    assert!(text.contains("more"), "{text}");
    let (_, denied) = text.split_once("MOST DENIED").unwrap();
    assert!(
        denied.lines().nth(1).unwrap().starts_with("name:500"),
        "the worst comes first: {denied}"
    );
    let calls = server.command_calls();
    let of = |name: &str| {
        let named = calls
            .iter()
            .filter(|(command, _)| command.starts_with(name));
        named.map(|(_, calls)| calls).sum::<i64>()
    };
    assert!(of("rl.stats") <= 100, "{calls:?}");
    assert!(of("info") <= 3, "{calls:?}");
}
