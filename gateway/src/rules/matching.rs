//! Whether a request is one that a rule means.

use ipnet::IpNet;
use regex::{Regex, RegexBuilder};

use super::request::{self, Request};
use crate::limits::one_or_many;
use crate::yaml::{Fault, Node};

/// Bytes that a regular expression may be compiled to.
const REGEX_BYTES: usize = 1 << 20;

/// Every one of them must hold; none holds always.
#[derive(Debug, Default)]
pub struct Match(Vec<Condition>);

#[derive(Debug)]
enum Condition {
    Path(Vec<Pattern>),
    Text(Part, Vec<Pattern>),
    Address(Vec<IpNet>),
    Not(Match),
    Any(Vec<Match>),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    Method,
    Host,
    UserAgent,
    Header(String),
    Query(String),
    Cookie(String),
}

impl Part {
    fn of(&self, request: &Request) -> Option<String> {
        match self {
            Self::Method => Some(request.method.clone()),
            Self::Host => Some(request.host.clone()),
            Self::UserAgent => request.header("user-agent"),
            Self::Header(name) => request.header(name),
            Self::Query(name) => request.query(name),
            Self::Cookie(name) => request.cookie(name),
        }
    }
}

#[derive(Debug)]
enum Pattern {
    /// It is there, whatever it is.
    Present,
    Exact(String),
    Prefix(String),
    Regex(Regex),
}

impl Pattern {
    fn holds(&self, value: Option<&str>) -> bool {
        let Some(value) = value else { return false };
        match self {
            Self::Present => true,
            Self::Exact(text) => value == text,
            Self::Prefix(text) => value.starts_with(text.as_str()),
            Self::Regex(regex) => regex.is_match(value),
        }
    }

    /// Many services answer `/login/` as `/login`.
    fn holds_for_path(&self, path: &str) -> bool {
        match self {
            Self::Exact(text) => path.trim_end_matches('/') == text.trim_end_matches('/'),
            pattern => pattern.holds(Some(path)),
        }
    }
}

/// A path that services read in different ways: whether one way that a match holds by is enough, or all must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// What limits or denies acts where the service might read it so.
    Any,
    /// What lets through acts where every service reads it so.
    All,
}

impl Reading {
    fn other(self) -> Self {
        match self {
            Self::Any => Self::All,
            Self::All => Self::Any,
        }
    }
}

impl Match {
    pub fn read(node: &Node) -> Result<Self, Fault> {
        let entries = node
            .map()
            .ok_or_else(|| node.fault("match must be a map: path, method, host, header, ..."))?;
        let mut conditions = Vec::new();
        for (key, value) in entries {
            conditions.extend(match key.text().unwrap_or_default() {
                "method" => vec![Condition::Text(Part::Method, patterns(value, str::to_ascii_uppercase)?)],
                "host" => vec![Condition::Text(Part::Host, patterns(value, str::to_ascii_lowercase)?)],
                "path" => vec![Condition::Path(patterns(value, request::pattern)?)],
                "user_agent" => vec![Condition::Text(Part::UserAgent, patterns(value, str::to_owned)?)],
                "header" => named(value, |name| Part::Header(name.to_ascii_lowercase()))?,
                "query" => named(value, |name| Part::Query(name.to_owned()))?,
                "cookie" => named(value, |name| Part::Cookie(name.to_owned()))?,
                "ip" => vec![Condition::Address(networks(value)?)],
                "not" => vec![Condition::Not(Self::read(value)?)],
                "any" => {
                    let list = value.list().filter(|list| !list.is_empty());
                    let list = list.ok_or_else(|| value.fault("any must be a list of matches"))?;
                    vec![Condition::Any(list.iter().map(Self::read).collect::<Result<_, _>>()?)]
                }
                other => {
                    return Err(key.fault(format!(
                        "unknown match '{other}': expected method, host, path, user_agent, header, query, cookie, ip, not or any"
                    )))
                }
            });
        }
        Ok(Self(conditions))
    }

    pub fn holds(&self, request: &Request, reading: Reading) -> bool {
        self.0.iter().all(|condition| match condition {
            Condition::Path(patterns) => {
                let holds = |path| patterns.iter().any(|pattern| pattern.holds_for_path(path));
                match reading {
                    Reading::Any => request.paths().any(holds),
                    Reading::All => request.paths().all(holds),
                }
            }
            Condition::Text(part, patterns) => {
                let value = part.of(request);
                patterns
                    .iter()
                    .any(|pattern| pattern.holds(value.as_deref()))
            }
            Condition::Address(networks) => request
                .address
                .is_some_and(|address| networks.iter().any(|network| network.contains(&address))),
            Condition::Not(inner) => !inner.holds(request, reading.other()),
            Condition::Any(groups) => groups.iter().any(|group| group.holds(request, reading)),
        })
    }

    pub fn asks_for_address(&self) -> bool {
        self.0.iter().any(|condition| match condition {
            Condition::Path(_) | Condition::Text(..) => false,
            Condition::Address(_) => true,
            Condition::Not(inner) => inner.asks_for_address(),
            Condition::Any(groups) => groups.iter().any(Self::asks_for_address),
        })
    }
}

/// `{X-Plan: gold}`: a pattern for each name.
fn named(node: &Node, part: impl Fn(&str) -> Part) -> Result<Vec<Condition>, Fault> {
    let entries = node.map().filter(|entries| !entries.is_empty());
    let entries = entries.ok_or_else(|| {
        node.fault("expected a map of names and patterns, such as {X-Plan: gold}")
    })?;
    entries
        .iter()
        .map(|(name, value)| {
            Ok(Condition::Text(
                part(name.text().unwrap_or_default()),
                patterns(value, str::to_owned)?,
            ))
        })
        .collect()
}

/// One pattern or a list of them: `text`, `{exact: text}`, `{prefix: text}`, `{glob: text}`, `{regex: text}`,
/// `{present: true}`.
fn patterns(node: &Node, form: impl Fn(&str) -> String) -> Result<Vec<Pattern>, Fault> {
    one_or_many(node)
        .iter()
        .map(|node| pattern(node, &form))
        .collect()
}

fn pattern(node: &Node, form: &impl Fn(&str) -> String) -> Result<Pattern, Fault> {
    let expected =
        "expected a text, or one of {exact: }, {prefix: }, {glob: }, {regex: }, {present: true}";
    let Some([(kind, value)]) = node.map() else {
        return match node.text() {
            Some(text) if !text.is_empty() => Ok(Pattern::Exact(form(text))),
            _ => Err(node.fault(expected)),
        };
    };
    let text = value
        .text()
        .filter(|text| !text.is_empty())
        .ok_or_else(|| value.fault("expected a text"))?;
    match kind.text() {
        Some("exact") => Ok(Pattern::Exact(form(text))),
        Some("prefix") => Ok(Pattern::Prefix(form(text))),
        Some("glob") => compile(value, &glob(&form(text))),
        Some("regex") => compile(value, text),
        Some("present") if value.boolean() == Some(true) => Ok(Pattern::Present),
        _ => Err(kind.fault(expected)),
    }
}

/// Matching takes time in proportion to the text, whatever the expression.
fn compile(node: &Node, text: &str) -> Result<Pattern, Fault> {
    let regex = RegexBuilder::new(text).size_limit(REGEX_BYTES).build();
    regex.map(Pattern::Regex).map_err(|error| {
        let text = error.to_string();
        node.fault(format!(
            "invalid regex: {}",
            text.lines()
                .last()
                .unwrap_or_default()
                .trim_start_matches("error: ")
        ))
    })
}

/// `*` stands for anything but a slash, `**` for anything, `?` for one sign.
fn glob(text: &str) -> String {
    let mut out = String::from("^");
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '*' if rest.next_if_eq(&'*').is_some() => out.push_str("(?s:.*)"),
            '*' => out.push_str("[^/]*"),
            '?' => out.push_str("[^/]"),
            c => out.push_str(&regex::escape(&c.to_string())),
        }
    }
    out + "$"
}

pub fn networks(node: &Node) -> Result<Vec<IpNet>, Fault> {
    one_or_many(node)
        .iter()
        .map(|node| {
            let text = node.text().unwrap_or_default();
            let address = text.parse::<std::net::IpAddr>().ok().map(IpNet::from);
            text.parse::<IpNet>()
                .ok()
                .or(address)
                .map(|net| net.trunc())
                .ok_or_else(|| {
                    node.fault(format!(
                        "'{}' is no address and no network, such as 10.0.0.0/8",
                        node.brief()
                    ))
                })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml;

    fn holds_by(text: &str, uri: &str, reading: Reading) -> bool {
        let mut headers = axum::http::HeaderMap::new();
        headers.insert("x-plan", "gold".parse().unwrap());
        let request = Request::new(
            "POST",
            "api.example.org",
            uri,
            headers,
            "192.0.2.7".parse().ok(),
        );
        Match::read(&yaml::read(text).unwrap())
            .unwrap()
            .holds(&request.unwrap(), reading)
    }

    fn holds(text: &str, uri: &str) -> bool {
        holds_by(text, uri, Reading::Any)
    }

    #[test]
    fn a_path_that_can_be_read_in_two_ways() {
        for (text, uri, any, all) in [
            ("path: /login", "/x%2f..%2flogin", true, false),
            ("path: /login", "/x/..;/login;a=b", true, false),
            ("path: /login", "/login%2f..%2fhealthz", false, false),
            (
                "path: {prefix: /login}",
                "/login%2f..%2fhealthz",
                true,
                false,
            ),
            ("path: /healthz", "/login%2f..%2fhealthz", true, false),
            ("not: {path: /login}", "/x%2f..%2flogin", true, false),
            ("not: {path: /login}", "/login", false, false),
            ("any: [{path: /a%2fb}]", "/a%2Fb", true, false),
        ] {
            let seen = (
                holds_by(text, uri, Reading::Any),
                holds_by(text, uri, Reading::All),
            );
            assert_eq!(seen, (any, all), "{text} {uri}");
        }
    }

    #[test]
    fn conditions() {
        for (text, uri, expected) in [
            ("{}", "/", true),
            ("path: /login", "/login?x=1", true),
            ("path: /login", "/login/", true),
            ("path: /login", "/login/x", false),
            ("path: [/a, {prefix: /api/}]", "/api/x", true),
            ("path: {glob: '/u/*/posts'}", "/u/7/posts", true),
            ("path: {glob: '/u/*/posts'}", "/u/7/8/posts", false),
            ("path: {glob: '/u/**'}", "/u/7/8/posts", true),
            ("path: {glob: '/a.b'}", "/axb", false),
            ("path: {regex: '^/v[0-9]+/'}", "/v12/x", true),
            ("method: [get, post]", "/", true),
            ("method: get", "/", false),
            ("host: {glob: '*.example.org'}", "/", true),
            ("header: {X-Plan: gold}", "/", true),
            (
                "header: {X-Plan: {present: true}, X-None: {present: true}}",
                "/",
                false,
            ),
            ("query: {a: '1'}", "/?b=2&a=1", true),
            ("ip: [10.0.0.0/8, 192.0.2.0/24]", "/", true),
            ("not: {ip: 192.0.2.7}", "/", false),
            ("any: [{path: /x}, {method: post, path: /y}]", "/y", true),
            ("any: [{path: /x}, {method: get, path: /y}]", "/y", false),
        ] {
            assert_eq!(holds(text, uri), expected, "{text} {uri}");
        }
    }

    #[test]
    fn faults_say_where_and_what() {
        for (text, expected) in [
            ("{paht: /x}", "line 1, column 2: unknown match 'paht'"),
            (
                "path: {regex: '('}",
                "line 1, column 15: invalid regex: unclosed group",
            ),
            ("path: {start: x}", "expected a text, or one of"),
            ("ip: 10.0.0.0/99", "is no address"),
            ("any: []", "any must be a list"),
            ("path: {regex: '(a{1000}){1000}'}", "invalid regex"),
        ] {
            let fault = Match::read(&yaml::read(text).unwrap())
                .unwrap_err()
                .to_string();
            assert!(fault.contains(expected), "{text}: {fault}");
        }
    }
}
