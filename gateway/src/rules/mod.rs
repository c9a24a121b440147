//! Rules as a firewall has them: in order; whom a rule means, what it counts by, what it does.

pub mod explain;
mod load;
mod matching;
pub mod request;

use std::sync::Arc;

pub use load::load;

use crate::call::{self, Clause};
use crate::key::Key;
use crate::limits::Limits;
use matching::{Match, Reading};
use request::{Client, Request};

/// How the proxy says what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// X-Forwarded-Method, -Host, -Uri, as Caddy and Traefik set them.
    Forwarded,
    /// X-Original-Method, -Host, -URI, as the examples for nginx and HAProxy set them.
    Original,
    /// The check's own method, host and path, as Envoy sends it.
    Path,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Allowed, and no further rule is asked.
    Allow,
    /// Denied, and nothing is charged.
    Deny,
    Limit(Arc<Limits>),
    /// Counted, never binding.
    Log(Arc<Limits>),
}

/// A part of what a rule counts by.
#[derive(Clone, Debug, PartialEq)]
pub enum KeyPart {
    Ip { bits: u8 },
    Method,
    Host,
    Path,
    Header(String),
    Query(String),
    Cookie(String),
    Claim(String),
}

#[derive(Debug)]
pub struct Rule {
    pub name: String,
    pub when: Match,
    pub key: Vec<KeyPart>,
    pub action: Action,
    pub cost: i64,
    /// Whether requests pass while Redis cannot be asked.
    pub open: bool,
}

#[derive(Debug)]
pub struct Rules {
    pub source: Source,
    pub client: Client,
    pub rules: Vec<Rule>,
    /// All of it only counts.
    pub shadow: bool,
}

/// What the rules make of a request, before anybody is asked.
#[derive(Debug, Default)]
pub struct Verdict<'a> {
    /// The rule that denies outright, or would.
    pub denied: Option<&'a Rule>,
    pub limits: Vec<(&'a Rule, Clause)>,
    pub logs: Vec<(&'a Rule, Clause)>,
}

impl Rules {
    pub fn judge(&self, request: &Request, prefix: &str) -> Verdict<'_> {
        let mut verdict = Verdict::default();
        for rule in self.rules.iter().filter(|rule| rule.holds(request)) {
            match &rule.action {
                Action::Allow => break,
                Action::Deny => {
                    verdict.denied = Some(rule);
                    break;
                }
                Action::Limit(limits) => verdict
                    .limits
                    .push((rule, rule.clause(request, limits, prefix))),
                Action::Log(limits) => verdict
                    .logs
                    .push((rule, rule.clause(request, limits, prefix))),
            }
        }
        verdict
    }
}

impl Rule {
    pub fn holds(&self, request: &Request) -> bool {
        let reading = match self.action {
            Action::Allow => Reading::All,
            Action::Deny | Action::Limit(_) | Action::Log(_) => Reading::Any,
        };
        self.when.holds(request, reading)
    }

    pub fn limits(&self) -> Option<&Arc<Limits>> {
        match &self.action {
            Action::Limit(limits) | Action::Log(limits) => Some(limits),
            Action::Allow | Action::Deny => None,
        }
    }

    fn clause(&self, request: &Request, limits: &Arc<Limits>, prefix: &str) -> Clause {
        let mut key = Key::new(prefix, limits.algorithm, "rules");
        key.pair("rule", &self.name);
        for part in &self.key {
            let name = part.name();
            // Who does not say shares one counter: leaving a field out is no way past a limit.
            match part.value(request) {
                Some(value) => key.pair(&name, &value),
                None => key.pattern(&name, "none"),
            }
        }
        let values: Vec<(String, Option<String>)> = self
            .key
            .iter()
            .map(|part| (part.name(), part.value(request)))
            .collect();
        let value = |name: &str| {
            values
                .iter()
                .find(|pair| pair.0 == name)
                .and_then(|pair| pair.1.as_deref())
        };
        let policies = limits
            .policies
            .iter()
            .filter_map(|policy| policy.fill(value))
            .collect();
        Clause {
            key: key.finish(),
            limits: Arc::clone(limits),
            policies,
            cost: self.cost,
            is_shadow: matches!(self.action, Action::Log(_)),
        }
    }

    /// The rule's deny list, and what is looked up in it: each part of the key, an address whole.
    pub fn deny(&self, request: &Request) -> Option<(String, Vec<String>)> {
        let list = self.limits()?.deny.clone()?;
        let values: Vec<String> = self
            .key
            .iter()
            .filter_map(|part| match part {
                KeyPart::Ip { .. } => request.address.map(|address| address.to_string()),
                part => part.value(request),
            })
            .collect();
        call::lookup(&list, values)
    }
}

impl KeyPart {
    pub fn name(&self) -> String {
        match self {
            Self::Ip { .. } => "ip".into(),
            Self::Method => "method".into(),
            Self::Host => "host".into(),
            Self::Path => "path".into(),
            Self::Header(name) => format!("header:{name}"),
            Self::Query(name) => format!("query:{name}"),
            Self::Cookie(name) => format!("cookie:{name}"),
            Self::Claim(name) => format!("jwt:{name}"),
        }
    }

    fn value(&self, request: &Request) -> Option<String> {
        match self {
            Self::Ip { bits } => request
                .address
                .map(|address| request::network(address, *bits)),
            Self::Method => Some(request.method.clone()),
            Self::Host => Some(request.host.clone()),
            Self::Path => Some(match request.path.trim_end_matches('/') {
                "" => "/".to_owned(),
                path => path.to_owned(),
            }),
            Self::Header(name) => request.header(name),
            Self::Query(name) => request.query(name),
            Self::Cookie(name) => request.cookie(name),
            Self::Claim(name) => request.claim(name),
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
