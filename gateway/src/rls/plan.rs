//! What a request asks of Redis.

use std::collections::HashSet;
use std::sync::Arc;

use envoy_types::pb::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use envoy_types::pb::envoy::service::ratelimit::v3::RateLimitRequest;

use crate::call::{self, Answer, Call, Clause, Verdict, CLAUSES};
use crate::config::{Config, Match, Rule, Unit};
use crate::key::Key;
use crate::limits::{Algorithm, Limits};
use crate::settings::Settings;
use crate::stats::{self, Stats};

pub struct Plan {
    pub calls: Vec<Call>,
    /// One per descriptor of the request.
    pub parts: Vec<Part>,
}

pub struct Part {
    pub matched: Option<Match>,
    pub unlimited: bool,
    pub hits: u64,
    pub force: bool,
    pub stats: Option<Arc<stats::Limit>>,
    pub verdict: Option<Verdict>,
    /// Which call, and which clause of it, answers for this one.
    asked: Option<(usize, usize)>,
}

impl Part {
    fn rule(&self) -> Option<&Rule> {
        self.matched.as_ref().map(|matched| matched.rule.as_ref())
    }
}

impl Plan {
    pub fn of(
        request: &RateLimitRequest,
        config: &Config,
        settings: &Settings,
        stats: &Stats,
        cluster: bool,
    ) -> Self {
        let mut parts: Vec<Part> = request
            .descriptors
            .iter()
            .map(|descriptor| part(request, descriptor, config, stats))
            .collect();
        replace(&mut parts);
        let mut plan = Self {
            calls: Vec::new(),
            parts: Vec::new(),
        };
        // Of a cluster, one call is one key's: others may lie on other nodes.
        let together = settings.all_or_nothing && !cluster;
        // What binds first: what only counts is its shadow.
        let binds = |part: &Part| {
            let modes = part.rule().map(|rule| rule.shadow_mode || rule.quota_mode);
            modes == Some(false) && !settings.quota_mode
        };
        let binding: Vec<bool> = parts.iter().map(binds).collect();
        let those = |turn| binding.iter().enumerate().filter(move |one| *one.1 == turn);
        for (i, binds) in those(true).chain(those(false)) {
            let (Some(part), Some(descriptor)) = (parts.get_mut(i), request.descriptors.get(i))
            else {
                continue;
            };
            let is_shadow = !binds;
            let Some((matched, limits)) = part
                .matched
                .as_ref()
                .and_then(|m| m.rule.limits.as_ref().map(|l| (m, l)))
            else {
                continue;
            };
            let entries: Vec<_> = descriptor
                .entries
                .iter()
                .map(|entry| (entry.key.as_str(), entry.value.as_str()))
                .collect();
            let clause = clause(
                &request.domain,
                &entries,
                matched,
                limits,
                settings,
                cost(descriptor, part.hits),
                is_shadow,
            );
            let deny = limits.deny.as_ref().and_then(|list| {
                call::lookup(list, entries.iter().map(|entry| entry.1.to_owned()))
            });
            part.force = part.force && clause.cost > 0;
            part.stats = Some(stats.limit(&matched.metric));
            part.asked = Some(plan.place(clause, part.force, deny, together));
        }
        plan.parts = parts;
        plan
    }

    /// Puts a clause into a call: of those that bind together, as many as fit into one, with their shadows; else into one of
    /// its own.
    fn place(
        &mut self,
        clause: Clause,
        force: bool,
        deny: Option<(String, Vec<String>)>,
        together: bool,
    ) -> (usize, usize) {
        let free = |call: &Call| {
            call.force == force
                && call.deny == deny
                && call.clauses.len() < CLAUSES
                && call.clauses.iter().all(|other| other.key != clause.key)
                && call.clauses.iter().any(|other| !other.is_shadow)
        };
        if together && (!clause.is_shadow || (clause.can_be_shadow() && !force)) {
            if let Some(i) = self.calls.iter().position(free) {
                if let Some(call) = self.calls.get_mut(i) {
                    call.clauses.push(clause);
                    return (i, call.clauses.len() - 1);
                }
            }
        }
        self.calls.push(Call {
            clauses: vec![clause],
            force,
            deny,
        });
        (self.calls.len() - 1, 0)
    }

    pub fn take(&mut self, answers: &[Answer]) {
        for part in &mut self.parts {
            let Some((call, clause)) = part.asked else {
                continue;
            };
            let Some(answer) = answers.get(call) else {
                continue;
            };
            part.verdict = answer.verdicts.get(clause).copied();
            if answer.listed.is_some() {
                // On the deny list: denied, whatever the limit says.
                part.verdict = Some(Verdict {
                    allowed: false,
                    remaining: 0,
                    ..answer.verdict
                });
            }
        }
    }
}

fn part(
    request: &RateLimitRequest,
    descriptor: &RateLimitDescriptor,
    config: &Config,
    stats: &Stats,
) -> Part {
    let addend = descriptor.hits_addend.as_ref().map(|addend| addend.value);
    let hits = addend.unwrap_or_else(|| u64::from(request.hits_addend.max(1)));
    // What was told to count is counted even where it does not fit: tokens that are reported once they have been used.
    let force =
        (addend.is_some() || request.hits_addend > 1) && hits > 0 && !descriptor.is_negative_hits;
    let entries: Vec<_> = descriptor
        .entries
        .iter()
        .map(|entry| (entry.key.as_str(), entry.value.as_str()))
        .collect();
    let matched = if !config.knows(&request.domain) {
        stats.domain_not_found(&request.domain).add(1);
        None
    } else {
        match &descriptor.limit {
            Some(limit) => overridden(
                &request.domain,
                &entries,
                limit.requests_per_unit,
                limit.unit,
            ),
            None => config.find(&request.domain, &entries),
        }
    };
    Part {
        matched,
        unlimited: false,
        hits,
        force,
        stats: None,
        verdict: None,
        asked: None,
    }
}

/// The limit that the request itself brings: it takes the configuration's place, and has no shadow.
fn overridden(
    domain: &str,
    entries: &[(&str, &str)],
    requests_per_unit: u32,
    unit: i32,
) -> Option<Match> {
    let unit = Unit::numbered(unit)?;
    let mut metric = vec![domain.to_owned()];
    for (key, value) in entries {
        metric.push(if value.is_empty() {
            (*key).to_owned()
        } else {
            format!("{key}_{value}")
        });
    }
    let rule = Rule {
        full_key: String::new(),
        limits: Some(Arc::new(Limits::one(
            Algorithm::Fixed,
            u64::from(requests_per_unit),
            unit.window(),
        ))),
        requests_per_unit,
        unit,
        shadow_mode: false,
        quota_mode: false,
        name: String::new(),
        replaces: Vec::new(),
        detailed_metric: false,
    };
    Some(Match {
        rule: Arc::new(rule),
        metric,
        patterns: vec![None; entries.len()],
        metadata: None,
    })
}

/// Drops limits whose name another limit of this request replaces, and marks the unlimited.
fn replace(parts: &mut [Part]) {
    let replaced: HashSet<String> = parts
        .iter()
        .filter_map(Part::rule)
        .flat_map(|rule| rule.replaces.iter().cloned())
        .collect();
    for part in parts {
        let Some(rule) = part.rule() else { continue };
        if rule.limits.is_none() {
            part.unlimited = true;
            part.matched = None;
        } else if !rule.name.is_empty() && replaced.contains(&rule.name) {
            part.matched = None;
        }
    }
}

fn cost(descriptor: &RateLimitDescriptor, hits: u64) -> i64 {
    let hits = i64::try_from(hits).unwrap_or(i64::MAX);
    if descriptor.is_negative_hits {
        -hits
    } else {
        hits
    }
}

fn clause(
    domain: &str,
    entries: &[(&str, &str)],
    matched: &Match,
    limits: &Arc<Limits>,
    settings: &Settings,
    cost: i64,
    is_shadow: bool,
) -> Clause {
    let mut key = Key::new(&settings.key_prefix, limits.algorithm, domain);
    for (i, (name, value)) in entries.iter().enumerate() {
        match matched.patterns.get(i).and_then(Option::as_ref) {
            Some(pattern) => key.pattern(name, pattern),
            None => key.pair(name, value),
        }
    }
    let value = |name: &str| {
        entries
            .iter()
            .find(|entry| entry.0 == name)
            .map(|entry| entry.1)
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
        cost,
        is_shadow,
    }
}
