//! What a key is limited to, in the server's words: the algorithm, its limits, and what goes with them.

use jiff::tz;
use ratelimit::core::limit::{self, MAX_COUNT};
use ratelimit::core::request::{self, Verb};
use ratelimit::core::zone::Kind;

use crate::yaml::{Fault, Node};

/// Names of one POLICY chain.
const POLICIES: usize = 4;
/// The largest limit that the server counts.
pub const LARGEST: u64 = MAX_COUNT;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    Fixed,
    Sliding,
    Bucket,
}

impl Algorithm {
    pub fn of(node: &Node) -> Result<Self, Fault> {
        match node.text().map(str::to_ascii_lowercase).as_deref() {
            Some("fixed") => Ok(Self::Fixed),
            Some("sliding") => Ok(Self::Sliding),
            Some("bucket") => Ok(Self::Bucket),
            _ => Err(node.fault(format!(
                "invalid algorithm '{}': expected fixed, sliding or bucket",
                node.brief()
            ))),
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Fixed => "FIXED",
            Self::Sliding => "SLIDING",
            Self::Bucket => "BUCKET",
        }
    }

    fn of_the_server(self) -> limit::Algorithm {
        match self {
            Self::Fixed => limit::Algorithm::Fixed,
            Self::Sliding => limit::Algorithm::Sliding,
            Self::Bucket => limit::Algorithm::Bucket,
        }
    }

    /// What its keys begin with: a key holds one algorithm, so a changed one takes another key.
    pub fn letter(self) -> char {
        match self {
            Self::Fixed => 'f',
            Self::Sliding => 's',
            Self::Bucket => 'b',
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Limit {
    pub amount: u64,
    pub window: String,
    /// A bucket's capacity, where it is not the amount.
    pub burst: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    pub algorithm: Algorithm,
    pub limits: Vec<Limit>,
    pub block: Vec<String>,
    pub policies: Vec<Template>,
    pub deny: Option<String>,
}

impl Limits {
    pub fn one(algorithm: Algorithm, amount: u64, window: &str) -> Self {
        let limit = Limit {
            amount,
            window: window.to_owned(),
            burst: None,
        };
        Self {
            algorithm,
            limits: vec![limit],
            block: Vec::new(),
            policies: Vec::new(),
            deny: None,
        }
    }

    /// Reads the command as the server will: what it would refuse at each request is refused here, once.
    pub fn check(&self, node: &Node) -> Result<(), Fault> {
        if self.algorithm != Algorithm::Bucket && self.limits.iter().any(|l| l.burst.is_some()) {
            return Err(node.fault("burst is a bucket's: set algorithm: bucket"));
        }
        if self.limits.is_empty() {
            return Err(node.fault("expected at least one limit"));
        }
        let mut words = Vec::new();
        self.words(&mut words);
        if !self.block.is_empty() {
            words.push("BLOCK".to_owned());
            words.extend(self.block.iter().cloned());
        }
        let bytes: Vec<&[u8]> = words.iter().map(String::as_bytes).collect();
        let algorithm = self.algorithm.of_the_server();
        // Behind the command's name and the key.
        let error = match request::parse(algorithm, Verb::Charge, &bytes, 2) {
            Ok(request) => match request.clause.limits.iter().find_map(unknown_zone) {
                None => return Ok(()),
                Some(name) => format!("no such time zone: {name}"),
            },
            Err(error) => error.to_string().trim_start_matches("ERR ").to_owned(),
        };
        Err(node.fault(format!(
            "RL.{} KEY {}: {error}",
            self.algorithm.word(),
            words.join(" ")
        )))
    }

    pub fn words(&self, out: &mut Vec<String>) {
        for limit in &self.limits {
            if self.algorithm == Algorithm::Bucket {
                out.push(limit.burst.unwrap_or(limit.amount).to_string());
            }
            out.push(limit.amount.to_string());
            out.push(limit.window.clone());
        }
    }

    /// `100 per 1m, 1000 per 1h, sliding`: for people.
    pub fn describe(&self) -> String {
        let mut out: Vec<String> = self
            .limits
            .iter()
            .map(|l| format!("{} per {}", l.amount, l.window))
            .collect();
        out.push(self.algorithm.word().to_ascii_lowercase());
        out.join(", ")
    }
}

/// The name of a limit's time zone, where nobody knows it.
fn unknown_zone(limit: &limit::Limit) -> Option<&'static str> {
    match limit.span().as_calendar()?.zone.kind() {
        Kind::Name(name) => tz::db().get(name).is_err().then_some(name),
        Kind::Offset(_) => None,
    }
}

/// A duration as the server reads it: `500ms`, `10s`, `5m`, `1h`, `7d`, `1w`, `1mo`, `1y`, with `@` and where it begins for
/// a calendar's. What lies behind the `@` is the server's to judge.
pub fn duration(node: &Node) -> Result<String, Fault> {
    let text = node.text().unwrap_or_default().trim();
    let (plain, anchor) = text
        .split_once('@')
        .map_or((text, None), |(plain, anchor)| (plain, Some(anchor)));
    let digits = plain.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = plain.split_at_checked(digits).unwrap_or((plain, ""));
    let unit = unit.to_ascii_lowercase();
    let known = matches!(
        unit.as_str(),
        "ms" | "s" | "m" | "h" | "d" | "w" | "mo" | "y"
    );
    let anchored = anchor.is_none_or(|a| {
        !a.is_empty()
            && a.len() <= 64
            && a.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"+-:,/_".contains(&b))
    });
    if number.parse::<u64>().is_ok_and(|n| n > 0) && known && anchored {
        return Ok(anchor.map_or_else(
            || format!("{number}{unit}"),
            |a| format!("{number}{unit}@{a}"),
        ));
    }
    Err(node.fault(format!(
        "invalid duration '{}': expected a number and a unit, such as 500ms, 10s, 5m, 1h, 7d",
        node.brief()
    )))
}

pub fn amount(node: &Node) -> Result<u64, Fault> {
    match node.integer() {
        Some(n) if n <= LARGEST => Ok(n),
        _ => Err(node.fault(format!(
            "'{}' is not a whole number from 0 to {LARGEST}",
            node.brief()
        ))),
    }
}

/// `block: 15m` or `block: [15m, 1h, 1d]`.
pub fn block(node: &Node) -> Result<Vec<String>, Fault> {
    one_or_many(node).iter().map(duration).collect()
}

/// `policy: api` or `policy: ["api:{key}", api]`.
pub fn policies(node: &Node) -> Result<Vec<Template>, Fault> {
    let names = one_or_many(node)
        .iter()
        .map(Template::of)
        .collect::<Result<Vec<_>, _>>()?;
    if names.is_empty() || names.len() > POLICIES {
        return Err(node.fault(format!("policy takes 1 to {POLICIES} names")));
    }
    Ok(names)
}

pub fn list_name(node: &Node) -> Result<String, Fault> {
    match node.text() {
        Some(text) if !text.is_empty() && text.len() <= 64 => Ok(text.to_owned()),
        _ => Err(node.fault("expected the name of a deny list: 1 to 64 bytes")),
    }
}

pub fn one_or_many(node: &Node) -> &[Node] {
    node.list()
        .filter(|list| !list.is_empty())
        .unwrap_or(std::slice::from_ref(node))
}

/// A name with places for values: `api:{plan}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Part {
    Text(String),
    Place(String),
}

impl Template {
    pub fn of(node: &Node) -> Result<Self, Fault> {
        let text = node.text().unwrap_or_default();
        if text.is_empty() || text.len() > 64 {
            return Err(node.fault("expected a policy's name: 1 to 64 bytes"));
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('{') {
            let Some((name, after)) = behind.split_once('}') else {
                return Err(node.fault(format!("'{text}': a {{ without its }}")));
            };
            parts.push(Part::Text(before.to_owned()));
            parts.push(Part::Place(name.to_owned()));
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Self(parts))
    }

    /// The name with its values; none where one is missing or it gets longer than a policy's name may be, so that the
    /// next name of the chain, or the configured limits, count.
    pub fn fill<'a>(&self, value: impl Fn(&str) -> Option<&'a str>) -> Option<String> {
        let mut out = String::new();
        for part in &self.0 {
            out.push_str(match part {
                Part::Text(text) => text,
                Part::Place(name) => value(name).filter(|v| !v.is_empty())?,
            });
        }
        (out.len() <= 64).then_some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml;

    #[test]
    fn durations() {
        for (text, read) in [
            ("5m", Some("5m")),
            ("10S", Some("10s")),
            ("1mo@15,Europe/Berlin", Some("1mo@15,Europe/Berlin")),
        ] {
            assert_eq!(duration(&yaml::read(text).unwrap()).ok().as_deref(), read);
        }
        for text in ["5", "0s", "-1s", "1 m", "5 minutes", "1h@", "1h@a b", "''"] {
            assert!(duration(&yaml::read(text).unwrap()).is_err(), "{text}");
        }
    }

    /// What the server would answer each request with an error for, it is told of once.
    #[test]
    fn a_limit_is_read_as_the_server_reads_it() {
        let check = |algorithm, rows: &[(u64, &str)], block: &[&str]| {
            let row = |(amount, window): &(u64, &str)| Limit {
                amount: *amount,
                window: (*window).to_owned(),
                burst: None,
            };
            let mut limits = Limits::one(algorithm, 1, "1s");
            limits.limits = rows.iter().map(row).collect();
            limits.block = block.iter().map(|d| (*d).to_owned()).collect();
            let fault = limits.check(&yaml::read("x").unwrap()).err()?;
            Some(fault.to_string())
        };
        use Algorithm::{Bucket, Fixed, Sliding};
        for (algorithm, rows, block) in [
            (
                Fixed,
                &[(0, "1m"), (5, "1mo@15,Europe/Berlin")][..],
                &[][..],
            ),
            (Sliding, &[(5, "3660d"), (9, "1w")], &["15m", "1h"]),
            (Bucket, &[(1, "1ms")], &[]),
        ] {
            assert_eq!(check(algorithm, rows, block), None, "{rows:?}");
        }
        for (algorithm, rows, block, told) in [
            (
                Sliding,
                &[(5, "1mo")][..],
                &[][..],
                "line 1, column 1: RL.SLIDING KEY 5 1mo: argument 3 (window) must be a duration",
            ),
            (
                Sliding,
                &[(5, "30m"), (6, "1800s")],
                &[],
                "must differ from the window of every other limit",
            ),
            (Sliding, &[(5, "3661d")], &[], "must be from 1ms to 3660d"),
            (Fixed, &[(5, "7mo")], &[], "no other number of months"),
            (
                Fixed,
                &[(5, "1d@Nowhere/Land")],
                &[],
                "no such time zone: Nowhere/Land",
            ),
            (
                Bucket,
                &[(0, "1m")],
                &[],
                "argument 3 (refill) must be an integer from 1",
            ),
            (Fixed, &[(5, "1m")], &["1mo"], "(duration) must be"),
            (Fixed, &[(5, "1m"); 9], &[], ""),
            (Fixed, &[], &[], ""),
            (Fixed, &[(5, "1m")], &["1m"; 9], ""),
        ] {
            let fault = check(algorithm, rows, block);
            assert!(
                fault.as_ref().is_some_and(|f| f.contains(told)),
                "{rows:?}: {fault:?}"
            );
        }
    }

    #[test]
    fn a_policy_whose_value_is_missing_is_left_out() {
        let policy = Template::of(&yaml::read("'api:{plan}'").unwrap()).unwrap();
        assert_eq!(
            policy
                .fill(|name| (name == "plan").then_some("gold"))
                .as_deref(),
            Some("api:gold")
        );
        assert_eq!(policy.fill(|_| None), None);
        assert_eq!(policy.fill(|_| Some(&*"x".repeat(65).leak())), None);
    }
}
