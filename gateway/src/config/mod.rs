//! The configuration of envoyproxy/ratelimit, with extra words of ours in it: domains, in them descriptors, in them
//! descriptors again, some with a limit.

mod check;
mod load;
mod lookup;

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value};

pub use load::load;
pub use lookup::Match;

use crate::limits::Limits;

/// `second` to `year`, as the service's protocol numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Unknown = 0,
    Second = 1,
    Minute = 2,
    Hour = 3,
    Day = 4,
    Month = 5,
    Year = 6,
    Week = 7,
}

impl Unit {
    const ALL: [(Self, &'static str, &'static str, u64); 7] = [
        (Self::Second, "SECOND", "1s", 1),
        (Self::Minute, "MINUTE", "1m", 60),
        (Self::Hour, "HOUR", "1h", 3_600),
        (Self::Day, "DAY", "1d", 86_400),
        // A week is seven days and a month thirty, counted from the epoch: not the calendar's.
        (Self::Week, "WEEK", "7d", 7 * 86_400),
        (Self::Month, "MONTH", "30d", 30 * 86_400),
        (Self::Year, "YEAR", "365d", 365 * 86_400),
    ];

    pub fn of(name: &str) -> Option<Self> {
        let name = name.to_ascii_uppercase();
        Self::ALL.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    pub fn numbered(number: i32) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|row| row.0 as i32 == number)
            .map(|row| row.0)
    }

    fn row(self) -> Option<&'static (Self, &'static str, &'static str, u64)> {
        Self::ALL.iter().find(|row| row.0 == self)
    }

    pub fn name(self) -> &'static str {
        self.row().map_or("UNKNOWN", |row| row.1)
    }

    pub fn window(self) -> &'static str {
        self.row().map_or("1s", |row| row.2)
    }

    pub fn seconds(self) -> Option<u64> {
        self.row().map(|row| row.3)
    }
}

/// A limit of the configuration, and what its answer says of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    pub full_key: String,
    /// None where it is unlimited.
    pub limits: Option<Arc<Limits>>,
    pub requests_per_unit: u32,
    pub unit: Unit,
    pub shadow_mode: bool,
    pub quota_mode: bool,
    pub name: String,
    pub replaces: Vec<String>,
    pub detailed_metric: bool,
}

#[derive(Debug, Default)]
struct Level {
    children: HashMap<String, Arc<Entry>>,
    /// In the file's order: the first that matches counts.
    wildcards: Vec<Wildcard>,
}

/// A `key_value` with stars, taken apart at them.
#[derive(Debug)]
struct Wildcard {
    key: String,
    parts: Vec<String>,
}

#[derive(Debug, Default)]
struct Entry {
    rule: Option<Arc<Rule>>,
    level: Level,
    value_to_metric: bool,
    /// The pattern that takes the value's place in the key.
    shared: Option<String>,
    metadata: Option<Arc<Map<String, Value>>>,
}

#[derive(Debug, Default)]
pub struct Config {
    domains: HashMap<String, Level>,
}

impl Config {
    pub fn is_empty(&self) -> bool {
        self.domains.is_empty()
    }

    /// Every limit, one a line, sorted: what `/rlconfig` shows.
    pub fn dump(&self) -> String {
        fn walk(level: &Level, out: &mut Vec<String>) {
            for entry in level.children.values() {
                if let Some(rule) = &entry.rule {
                    let limits = rule
                        .limits
                        .as_ref()
                        .map_or_else(|| "unlimited".into(), |limits| limits.describe());
                    out.push(format!(
                        "{}: unit={} requests_per_unit={}, shadow_mode: {}, quota_mode: {}, limits: {limits}\n",
                        rule.full_key,
                        rule.unit.name(),
                        rule.requests_per_unit,
                        rule.shadow_mode,
                        rule.quota_mode,
                    ));
                }
                walk(&entry.level, out);
            }
        }
        let mut out = Vec::new();
        for level in self.domains.values() {
            walk(level, &mut out);
        }
        out.sort();
        out.concat()
    }
}
