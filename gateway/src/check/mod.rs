//! Forward auth: a proxy asks whether a request may pass, and the rules say so.

mod answer;
mod grpc;
pub mod http;

use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

pub use answer::{Answer, Denial};

use crate::call::{self, Call, Clause, CLAUSES};
use crate::decide::Decider;
use crate::reload;
use crate::rules::request::Request;
use crate::rules::{self, Rule, Rules};
use crate::seldom::Seldom;
use crate::stats::Stats;

pub struct Check {
    decider: Arc<Decider>,
    stats: Arc<Stats>,
    prefix: String,
    rules: RwLock<Option<Arc<Rules>>>,
    refusals: Seldom,
}

impl Check {
    pub fn new(decider: Arc<Decider>, stats: Arc<Stats>, prefix: String) -> Self {
        Self {
            decider,
            stats,
            prefix,
            rules: RwLock::new(None),
            refusals: Seldom::default(),
        }
    }

    /// A check that has no answer: the proxy has not said who asks, or what for.
    pub fn refused(&self, error: &str) {
        self.stats.check_refused.add(1);
        self.refusals
            .warn(format_args!("a check that cannot be answered: {error}"));
    }

    pub fn rules(&self) -> Option<Arc<Rules>> {
        self.rules
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub async fn check(&self, rules: &Rules, request: &Request) -> Answer {
        let began = Instant::now();
        let answer = self.judge(rules, request).await;
        self.stats.check.record(began.elapsed());
        answer
    }

    async fn judge(&self, rules: &Rules, request: &Request) -> Answer {
        let verdict = rules.judge(request, &self.prefix);
        if let Some(rule) = verdict.denied {
            self.stats
                .rule(
                    &rule.name,
                    if rules.shadow { "would_deny" } else { "denied" },
                )
                .add(1);
            if !rules.shadow {
                return Answer::denied(Denial::Rule, rule, None);
            }
        }
        let plan = Plan::of(
            verdict.limits,
            verdict.logs,
            request,
            self.decider.store().is_cluster,
        );
        if plan.calls.is_empty() {
            return Answer::default();
        }
        match self.decider.decide(&plan.calls).await {
            Ok(answers) => self.answer(&plan, &answers),
            Err(failure) => {
                // What only counts never closes. One rule that is closed does.
                let closed = plan.parts.iter().find(|part| part.binds && !part.rule.open);
                match closed {
                    None => {
                        self.stats.failed_open.add(1);
                        Answer::default()
                    }
                    Some(part) => {
                        self.stats.failed_closed.add(1);
                        tracing::debug!("closed by the rule {}: {failure}", part.rule.name);
                        Answer::unavailable()
                    }
                }
            }
        }
    }

    fn answer(&self, plan: &Plan<'_>, answers: &[call::Answer]) -> Answer {
        let mut out = Answer::default();
        for part in &plan.parts {
            let Some(answer) = answers.get(part.call) else {
                continue;
            };
            let Some(verdict) = answer.verdicts.get(part.clause).copied() else {
                continue;
            };
            // A shadow among others asks no deny list: what is found is theirs.
            let is_listed = answer.listed.is_some() && (part.binds || part.clause == 0);
            let allowed = verdict.allowed && !is_listed;
            let what = match (allowed, part.binds) {
                (true, _) => "allowed",
                (false, true) => "denied",
                (false, false) => "would_deny",
            };
            self.stats.rule(&part.rule.name, what).add(1);
            if !part.binds {
                continue;
            }
            if answer.listed.is_some() {
                out = out.worse(Answer::denied(
                    Denial::Listed,
                    part.rule,
                    Some(answer.verdict),
                ));
            } else if allowed {
                out = out.worse(Answer::allowed(part.rule, verdict));
            } else {
                out = out.worse(Answer::denied(Denial::Limit, part.rule, Some(verdict)));
            }
        }
        out
    }
}

struct Plan<'a> {
    calls: Vec<Call>,
    parts: Vec<Part<'a>>,
}

struct Part<'a> {
    rule: &'a Rule,
    binds: bool,
    call: usize,
    clause: usize,
}

impl<'a> Plan<'a> {
    /// All limits that bind are one call: charged all or none. What only counts is its shadow, where there is one and it
    /// asks no deny list; else it has calls of its own.
    fn of(
        limits: Vec<(&'a Rule, Clause)>,
        logs: Vec<(&'a Rule, Clause)>,
        request: &Request,
        cluster: bool,
    ) -> Self {
        let mut plan = Self {
            calls: Vec::new(),
            parts: Vec::new(),
        };
        let binding = limits
            .into_iter()
            .map(|(rule, clause)| (rule, clause, true));
        for (rule, clause, binds) in
            binding.chain(logs.into_iter().map(|(rule, clause)| (rule, clause, false)))
        {
            let deny = rule.deny(request);
            let has_binding = plan.parts.iter().any(|part| part.binds);
            let together = plan.calls.first_mut().filter(|call| {
                let fits = if binds {
                    call.deny.is_none() || deny.is_none() || call.deny == deny
                } else {
                    has_binding && deny.is_none() && clause.can_be_shadow()
                };
                fits && !cluster && call.clauses.len() < CLAUSES
            });
            let (call, clause) = match together {
                Some(call) => {
                    call.clauses.push(clause);
                    call.deny = call.deny.take().or(deny);
                    (0, call.clauses.len() - 1)
                }
                None => {
                    plan.calls.push(Call {
                        clauses: vec![clause],
                        force: false,
                        deny,
                    });
                    (plan.calls.len() - 1, 0)
                }
            };
            plan.parts.push(Part {
                rule,
                binds,
                call,
                clause,
            });
        }
        plan
    }
}

/// Looks whether rules.yaml has changed, and loads it. A bad file leaves the old rules in force.
pub struct Loader {
    pub check: Arc<Check>,
    pub path: PathBuf,
    pub shadow: bool,
    pub seen: Option<Result<reload::State, String>>,
}

impl Loader {
    /// Whether there are rules.
    pub async fn look(&mut self) -> bool {
        let (path, shadow, before) = (self.path.clone(), self.shadow, self.seen.clone());
        let looked = tokio::task::spawn_blocking(move || {
            let now = reload::one(&path);
            if before.as_ref() == Some(&now) {
                return None;
            }
            let rules = now
                .clone()
                .and_then(|state| reload::read(&state, &path))
                .and_then(|files| {
                    let text = files
                        .first()
                        .map(|file| file.1.as_str())
                        .unwrap_or_default();
                    rules::load(text, shadow)
                        .map_err(|fault| format!("{}: {fault}", path.display()))
                });
            Some((now, rules))
        })
        .await;
        let stats = &self.check.stats;
        if let Ok(Some((now, rules))) = looked {
            self.seen = Some(now);
            match rules {
                Ok(rules) => {
                    stats.config_load_success.add(1);
                    stats.rules_errors_now.store(0, Relaxed);
                    tracing::info!("loaded {} rules", rules.rules.len());
                    self.check.decider.forget();
                    *self
                        .check
                        .rules
                        .write()
                        .unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(rules));
                }
                Err(error) => {
                    stats.config_load_error.add(1);
                    stats.rules_errors_now.store(1, Relaxed);
                    let kept = if self.check.rules().is_some() {
                        "the last ones stay in force"
                    } else {
                        "there are none"
                    };
                    tracing::error!("cannot load the rules: {error} ({kept})");
                }
            }
        }
        self.check.rules().is_some()
    }
}
