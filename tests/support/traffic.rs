//! Mixed random calls, as a fleet with a careless configuration would send them.

use super::Random;

/// Windows that end while a test runs, and windows that do not.
pub const ALL_WINDOWS: [&str; 7] = ["20ms", "100ms", "1s", "1m", "1h", "7d", "30d"];
/// Windows that do not end while a test runs.
pub const LONG_WINDOWS: [&str; 4] = ["7d", "30d", "91d", "400d"];

/// Keys that [`call`] uses: `k:0` .. A key's number says its algorithm.
pub const KEYS: usize = 150;

/// The name of a key's algorithm.
pub fn algorithm(key: usize) -> &'static str {
    ["FIXED", "SLIDING", "BUCKET"][key % 3]
}

/// One random call: every algorithm, one to three limits that change from call to call, refunds, free hits, huge
/// costs, FORCE, peeks, a key of another algorithm now and then.
pub fn call(random: &mut Random, windows: &[&str]) -> String {
    let key = random.below(KEYS);
    let algorithm = if random.one_in(100) {
        algorithm(key + 1)
    } else {
        algorithm(key)
    };
    let (limits, cost) = (limits(random, algorithm, windows), cost(random));
    if random.one_in(20) {
        return format!("RL.PEEK {algorithm} k:{key}{limits}{cost}");
    }
    let force = if random.one_in(10) { " FORCE" } else { "" };
    format!("RL.{algorithm} k:{key}{limits}{cost}{force}")
}

/// One to three limits.
fn limits(random: &mut Random, algorithm: &str, windows: &[&str]) -> String {
    let mut limits = String::new();
    let first = random.below(windows.len());
    // Neighbours in the table are distinct windows.
    for place in 0..1 + random.below(3).min(windows.len() - 1) {
        let window = windows[(first + place) % windows.len()];
        let limit = random.within(0..=60);
        if algorithm == "BUCKET" {
            limits += &format!(" {limit} {} {window}", random.within(1..=50));
        } else {
            limits += &format!(" {limit} {window}");
        }
    }
    limits
}

fn cost(random: &mut Random) -> String {
    match random.below(12) {
        0..=5 => String::new(),
        6..=9 => format!(" COST {}", random.within(-5..=20)),
        10 => format!(" COST {}", random.within(0..=9_007_199_254_740_991)),
        _ => " COST 0".to_string(),
    }
}

/// One random call of what few callers say: of one key or of several, with leases, blocks of either kind, calendar windows, parts, turns
/// and settlements of what was charged up to a minute before `now_ms`.
pub fn rare_call(random: &mut Random, windows: &[&str], now_ms: i64) -> String {
    if random.one_in(30) {
        let key = ["k", "l", "b"][random.below(3)];
        let duration = ["0", "3ms", "1s", "1h"][random.below(4)];
        return format!("RL.BLOCK {key}:{} {duration}", random.below(9));
    }
    if random.one_in(12) {
        return format!(
            "RL.RELEASE l:{} {} {}",
            random.below(9),
            random.below(30),
            random.below(30)
        );
    }
    let charges = !random.one_in(20);
    let mut options = String::new();
    if charges && random.one_in(5) {
        options += &format!(
            " AT {}",
            [0, now_ms - random.within(0..=60_000), now_ms][random.below(3)]
        );
    }
    if charges && random.one_in(3) {
        options += " STAMP";
    }
    if charges && random.one_in(10) {
        options += " FORCE";
    }
    let id = match charges && random.one_in(3) {
        true => format!(" ID {}", random.below(200)),
        false => String::new(),
    };
    if random.one_in(3) {
        options += &id;
        let key = random.below(KEYS);
        let algorithm = algorithm(key);
        let limits = limits(random, algorithm, windows);
        options += match random.below(8) {
            0 if charges && algorithm == "BUCKET" => {
                return format!("RL.BUCKET k:{key}{limits} COST 3 RESERVE 1h{id}")
            }
            1 if !options.contains("FORCE") => " COST 9 MIN 2",
            2 => " BLOCK 10ms 1s 1h",
            _ => "",
        };
        let verb = if charges { "RL." } else { "RL.PEEK " };
        return format!("{verb}{algorithm} k:{key}{limits}{options}");
    }
    let mut keys = String::new();
    let mut clauses = String::new();
    let (first, count) = (random.below(KEYS), 1 + random.below(5));
    // Neither time nor FORCE goes with a lease.
    let mut may_lease = !options.contains("AT ") && !options.contains("FORCE");
    for place in 0..count {
        let key = (first + place * 7) % KEYS;
        if may_lease && random.one_in(4) {
            may_lease = false; // a key once in a call
            keys += &format!(" l:{}", random.below(9));
            clauses += &format!(
                " LEASE {} {} {}",
                random.within(1..=20),
                random.pick(windows),
                random.below(30)
            );
            clauses += if random.one_in(2) { "" } else { " COST 2" };
            continue;
        }
        keys += &format!(" k:{key}");
        let algorithm = algorithm(key);
        clauses += &format!(" {algorithm}{}", limits(random, algorithm, windows));
        clauses += if algorithm == "FIXED" && random.one_in(3) {
            " 50 1mo@15,Europe/Berlin"
        } else {
            ""
        };
        clauses += &cost(random);
        clauses += if random.one_in(12) {
            " BLOCK 5ms 1m"
        } else {
            ""
        };
    }
    if keys.contains(" k:") {
        options += &id; // leases alone have ids of their own
    }
    let verb = if charges { "RL.ALL" } else { "RL.PEEKALL" };
    format!("{verb} {count}{keys}{clauses}{options}")
}

/// `count` random calls.
pub fn calls(random: &mut Random, windows: &[&str], count: usize) -> Vec<String> {
    (0..count).map(|_| call(random, windows)).collect()
}
