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
    let cost = match random.below(12) {
        0..=5 => String::new(),
        6..=9 => format!(" COST {}", random.within(-5..=20)),
        10 => format!(" COST {}", random.within(0..=9_007_199_254_740_991)),
        _ => " COST 0".to_string(),
    };
    if random.one_in(20) {
        return format!("RL.PEEK {algorithm} k:{key}{limits}{cost}");
    }
    let force = if random.one_in(10) { " FORCE" } else { "" };
    format!("RL.{algorithm} k:{key}{limits}{cost}{force}")
}

/// `count` random calls.
pub fn calls(random: &mut Random, windows: &[&str], count: usize) -> Vec<String> {
    (0..count).map(|_| call(random, windows)).collect()
}
