//! Which limit a request's descriptor meets, and under which name it is counted.

use std::borrow::Cow;
use std::fmt::Write;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::{Config, Entry, Level, Rule, Wildcard};

/// A limit that a descriptor meets.
#[derive(Clone, Debug)]
pub struct Match {
    pub rule: Arc<Rule>,
    /// What its statistics are called.
    pub metric: Vec<String>,
    /// By entry, the pattern that takes its value's place in the key.
    pub patterns: Vec<Option<String>>,
    pub metadata: Option<Arc<Map<String, Value>>>,
}

impl Wildcard {
    /// Each star stands for any text, also for none.
    fn matches(&self, value: &str) -> bool {
        let [first, middle @ .., last] = self.parts.as_slice() else {
            return self.parts.first().is_some_and(|only| only == value);
        };
        let Some(mut rest) = value
            .strip_prefix(first.as_str())
            .and_then(|rest| rest.strip_suffix(last.as_str()))
        else {
            return false;
        };
        for part in middle {
            match rest.split_once(part.as_str()) {
                Some((_, behind)) => rest = behind,
                None => return false,
            }
        }
        true
    }
}

impl Config {
    pub fn knows(&self, domain: &str) -> bool {
        self.domains.contains_key(domain)
    }

    /// The limit of a descriptor: as deep in the configuration as the descriptor has entries.
    pub fn find(&self, domain: &str, entries: &[(&str, &str)]) -> Option<Match> {
        let mut level = self.domains.get(domain)?;
        let mut patterns: Vec<Option<String>> = vec![None; entries.len()];
        let mut found: Option<&Entry> = None;
        let mut enhanced = Vec::with_capacity(1 + entries.len());
        enhanced.push(domain.to_owned());
        let mut whole = String::new();
        for (i, (key, value)) in entries.iter().enumerate() {
            whole.clear();
            let _ = write!(whole, "{key}_{value}");
            let step = level.step(key, &whole);
            let Some((entry, how)) = step else {
                push(&mut enhanced, key, "");
                break;
            };
            let shared = match how {
                How::Wildcard(_) => entry.shared.as_deref().map(|pattern| behind(pattern, key)),
                How::Exact | How::Bare => None,
            };
            let shown: Cow<'_, str> = match (&shared, how) {
                (Some(pattern), _) => Cow::Owned(pattern.clone()),
                (None, How::Wildcard(pattern)) if !entry.value_to_metric => {
                    Cow::Owned(behind(pattern, key))
                }
                (None, How::Bare) if !entry.value_to_metric => Cow::Borrowed(""),
                _ => Cow::Borrowed(*value),
            };
            push(&mut enhanced, key, &shown);
            if let Some(slot) = patterns.get_mut(i) {
                *slot = shared;
            }
            if i + 1 == entries.len() {
                found = Some(entry);
            }
            if entry.level.children.is_empty() {
                break;
            }
            level = &entry.level;
        }
        let entry = found?;
        let rule = Arc::clone(entry.rule.as_ref()?);
        let metric = match (rule.detailed_metric, patterns.iter().any(Option::is_some)) {
            (true, true) => {
                let mut out = vec![domain.to_owned()];
                for ((key, value), pattern) in entries.iter().zip(&patterns) {
                    push(&mut out, key, pattern.as_deref().unwrap_or(value));
                }
                out
            }
            (true, false) => {
                let pairs = entries.iter().map(|(key, value)| format!("{key}_{value}"));
                std::iter::once(domain.to_owned()).chain(pairs).collect()
            }
            (false, _) => enhanced,
        };
        Some(Match {
            rule,
            metric,
            patterns,
            metadata: entry.metadata.clone(),
        })
    }
}

#[derive(Clone, Copy)]
enum How<'a> {
    Exact,
    Wildcard(&'a str),
    Bare,
}

impl Level {
    /// Exactly `key_value`, else the first pattern that matches it, else the bare key.
    fn step(&self, key: &str, whole: &str) -> Option<(&Entry, How<'_>)> {
        if let Some(entry) = self.children.get(whole) {
            return Some((entry, How::Exact));
        }
        if let Some(wildcard) = self
            .wildcards
            .iter()
            .find(|wildcard| wildcard.matches(whole))
        {
            return self
                .children
                .get(&wildcard.key)
                .map(|entry| (entry.as_ref(), How::Wildcard(&wildcard.key)));
        }
        self.children
            .get(key)
            .map(|entry| (entry.as_ref(), How::Bare))
    }
}

fn push(out: &mut Vec<String>, key: &str, value: &str) {
    out.push(if value.is_empty() {
        key.to_owned()
    } else {
        format!("{key}_{value}")
    });
}

/// The value's part of a `key_value` pattern.
fn behind(pattern: &str, key: &str) -> String {
    pattern
        .strip_prefix(key)
        .and_then(|rest| rest.strip_prefix('_'))
        .unwrap_or(pattern)
        .to_owned()
}

#[cfg(test)]
#[path = "lookup_tests.rs"]
mod tests;
