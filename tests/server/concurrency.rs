//! Fifty connections at once: no window admits more than its limit, no bucket more than it holds and regains.

use crate::support::{Cli, Decision, Reply, Server};

const CONNECTIONS: usize = 50;

/// Connects fifty clients, waits until each is answered, lets all send `lines` at once, and returns all decisions.
fn hammer(server: &Server, lines: &[String]) -> Vec<Decision> {
    let mut clients: Vec<Cli> = (0..CONNECTIONS).map(|_| server.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.call("PING").text(), "PONG");
    }
    std::thread::scope(|scope| {
        let running: Vec<_> = clients
            .iter_mut()
            .map(|client| scope.spawn(|| client.bulk(lines)))
            .collect();
        running
            .into_iter()
            .flat_map(|client| client.join().expect("a client's thread"))
            .map(|reply: Reply| reply.decision())
            .collect()
    })
}

fn allowed(decisions: &[Decision]) -> i64 {
    i64::try_from(decisions.iter().filter(|decision| decision.allowed).count()).unwrap()
}

#[test]
fn a_window_admits_exactly_its_limit() {
    let server = Server::start();
    for (command, limits, cost, expected) in [
        ("RL.FIXED", "1000 30d", 1, 1000),
        ("RL.SLIDING", "1000 1h", 1, 1000),
        ("RL.FIXED", "1000 30d", 3, 333),
        ("RL.SLIDING", "1000 1h", 3, 333),
        ("RL.FIXED", "2000 60d 700 30d", 1, 700),
        ("RL.SLIDING", "2000 2h 700 1h", 1, 700),
    ] {
        let key = format!("{command}:{limits}:{cost}").replace(' ', "-");
        let lines = vec![format!("{command} {key} {limits} COST {cost}"); 100];
        let decisions = hammer(&server, &lines);
        assert_eq!(decisions.len(), 100 * CONNECTIONS);
        assert_eq!(allowed(&decisions), expected, "{key}");
        // Each admission left a different remainder: none was counted twice or lost.
        let mut left: Vec<i64> = decisions
            .iter()
            .filter(|decision| decision.allowed)
            .map(|decision| decision.remaining)
            .collect();
        left.sort_unstable();
        left.dedup();
        assert_eq!(i64::try_from(left.len()).unwrap(), expected, "{key}");
    }
}

#[test]
fn a_bucket_admits_what_it_holds_and_regains_and_no_more() {
    let server = Server::start();
    for (capacity, refill, interval_ms) in [(1000, 1, 3_600_000), (300, 500, 1_000), (10, 1, 3)] {
        let key = format!("b:{capacity}");
        let lines = vec![format!("RL.BUCKET {key} {capacity} {refill} {interval_ms}ms"); 100];
        let before = server.now_ms();
        let admitted = allowed(&hammer(&server, &lines));
        // Both clocks are rounded down to the millisecond: at most one more has passed.
        let elapsed = server.now_ms() + 1 - before;
        let most = capacity + refill * elapsed / interval_ms;
        assert!(
            admitted <= most,
            "{admitted} of at most {most} in {elapsed} ms"
        );
        let asked = i64::try_from(100 * CONNECTIONS).unwrap();
        assert!(
            admitted >= capacity.min(asked),
            "{admitted} of at least {capacity}"
        );
    }
}

/// In no interval as long as the window: each hit is bracketed by the server's clock, so that intervals which are
/// surely shorter than the window are known.
#[test]
fn no_rolling_window_admits_more_than_the_limit() {
    const LIMIT: usize = 40;
    const WINDOW_MS: i64 = 100;
    let server = Server::start();
    let line = format!("RL.SLIDING k {LIMIT} {WINDOW_MS}ms");
    let mut lines = Vec::new();
    for _ in 0..800 {
        lines.extend(["TIME".to_string(), line.clone()]);
    }
    lines.push("TIME".to_string());
    let mut clients: Vec<Cli> = (0..10).map(|_| server.connect()).collect();
    let mut admitted: Vec<(i64, i64)> = std::thread::scope(|scope| {
        let running: Vec<_> = clients
            .iter_mut()
            .map(|client| scope.spawn(|| brackets(&client.bulk(&lines))))
            .collect();
        running
            .into_iter()
            .flat_map(|client| client.join().expect("a client's thread"))
            .collect()
    });
    admitted.sort_unstable();
    assert!(
        admitted.len() > LIMIT,
        "{} hits admitted in all",
        admitted.len()
    );
    for (first, (from, _)) in admitted.iter().enumerate() {
        let within = admitted[first..]
            .iter()
            .filter(|(_, to)| to - from < WINDOW_MS)
            .count();
        assert!(
            within <= LIMIT,
            "{within} admitted within {WINDOW_MS} ms from {from}"
        );
    }
}

/// The admitted hits of one client: the clock, in milliseconds, at or before each and at or after each.
fn brackets(replies: &[Reply]) -> Vec<(i64, i64)> {
    let clock = |reply: &Reply| -> i64 {
        let parts: Vec<i64> = reply
            .texts()
            .iter()
            .map(|part| part.parse().expect("a number"))
            .collect();
        parts[0] * 1000 + parts[1] / 1000
    };
    replies
        .windows(3)
        .step_by(2)
        .filter(|three| three[1].decision().allowed)
        .map(|three| (clock(&three[0]), clock(&three[2])))
        .collect()
}

/// Refunds and forced charges from all sides: what is used at the end is the sum of what was charged.
#[test]
fn charges_and_refunds_add_up() {
    let server = Server::start();
    for (command, limits) in [
        ("FIXED", "100000 30d"),
        ("SLIDING", "100000 30d"),
        ("BUCKET", "100000 1 3660d"),
    ] {
        let mut lines = Vec::new();
        for _ in 0..30 {
            lines.push(format!("RL.{command} {command} {limits} COST 7"));
            lines.push(format!("RL.{command} {command} {limits} COST -5"));
            lines.push(format!("RL.{command} {command} {limits} COST 3 FORCE"));
        }
        let decisions = hammer(&server, &lines);
        assert!(decisions.iter().all(|decision| decision.allowed));
        let left = server
            .decide(&format!("RL.PEEK {command} {command} {limits} COST 0"))
            .remaining;
        assert_eq!(
            100_000 - left,
            30 * 5 * i64::try_from(CONNECTIONS).unwrap(),
            "{command}"
        );
    }
}
