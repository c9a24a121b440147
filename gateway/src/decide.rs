//! From calls to answers: who is known to be denied, how many may wait, how long, and what was counted on the way.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Semaphore;

use crate::call::{Answer, Call, Clause, Verdict};
use crate::denied::Denied;
use crate::seldom::Seldom;
use crate::stats::Stats;
use crate::store::{Failure, Store};

pub struct Decider {
    store: Store,
    denied: Denied,
    in_flight: Semaphore,
    stats: Arc<Stats>,
    failures: Seldom,
}

impl Decider {
    pub fn new(store: Store, cache_bytes: usize, in_flight: usize, stats: Arc<Stats>) -> Self {
        let in_flight = Semaphore::new(in_flight.min(Semaphore::MAX_PERMITS));
        Self {
            store,
            denied: Denied::new(cache_bytes),
            in_flight,
            stats,
            failures: Seldom::default(),
        }
    }

    /// What is known of who is denied was said of limits that may be others now.
    pub fn forget(&self) {
        self.denied.clear();
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    /// One answer per call, or why there are none. All calls travel together.
    pub async fn decide(&self, calls: &[Call]) -> Result<Vec<Answer>, Failure> {
        let (now, era) = (Instant::now(), self.denied.era());
        let plans: Vec<Plan> = calls.iter().map(|call| self.plan(call, now)).collect();
        let commands: Vec<_> = plans
            .iter()
            .filter_map(|plan| plan.sent.as_ref())
            .map(|sent| sent.command())
            .collect();
        let values = if commands.is_empty() {
            Vec::new()
        } else {
            // A place, or none: nobody queues for one.
            let Ok(_place) = self.in_flight.try_acquire() else {
                self.stats.unavailable.add(1);
                return Err(Failure("too many requests wait for Redis".into()));
            };
            self.store
                .ask(commands)
                .await
                .inspect_err(|failure| self.failed(failure))?
        };
        let mut values = values.into_iter();
        let mut answers = Vec::with_capacity(plans.len());
        for plan in plans {
            let answer = match &plan.sent {
                None => Answer::default(),
                Some(sent) => {
                    let read = values
                        .next()
                        .ok_or_else(|| "an answer is missing".to_owned())
                        .and_then(|value| sent.answer(&value));
                    let answer = read
                        .map_err(Failure)
                        .inspect_err(|failure| self.failed(failure))?;
                    self.keep(sent, &answer, now, era);
                    answer
                }
            };
            answers.push(plan.complete(answer));
        }
        Ok(answers)
    }

    fn failed(&self, failure: &Failure) {
        self.stats.redis_error.add(1);
        self.failures.warn(failure);
    }

    /// What is asked of a call: all of it, or, where it is known that it is denied, how the rest of it stands.
    fn plan<'a>(&self, call: &'a Call, now: Instant) -> Plan<'a> {
        // What a shadow would deny denies nothing.
        let known = |clause: &Clause| match call.force || clause.is_shadow {
            true => None,
            false => self.denied.get(&clause.key, clause.cost, now),
        };
        if call.clauses.iter().all(|clause| known(clause).is_none()) {
            return Plan {
                known: Vec::new(),
                sent: Some(Cow::Borrowed(call)),
            };
        }
        let known: Vec<Option<Verdict>> = call.clauses.iter().map(known).collect();
        let mut rest = call.clone();
        rest.clauses = call
            .clauses
            .iter()
            .zip(&known)
            .filter(|(_, known)| known.is_none())
            .map(|(clause, _)| clause.clone())
            .collect();
        for clause in &mut rest.clauses {
            clause.cost = 0;
        }
        Plan {
            known,
            sent: (!rest.clauses.is_empty()).then_some(Cow::Owned(rest)),
        }
    }

    fn keep(&self, sent: &Call, answer: &Answer, now: Instant, era: u64) {
        // What a deny list or a force says is not the key's.
        if sent.force || answer.listed.is_some() {
            return;
        }
        let told = sent.clauses.iter().zip(&answer.verdicts);
        for (clause, verdict) in told.filter(|(clause, _)| !clause.is_shadow) {
            self.denied
                .put(&clause.key, clause.cost, *verdict, now, era);
        }
    }
}

struct Plan<'a> {
    /// One per clause, or none at all where nothing is known.
    known: Vec<Option<Verdict>>,
    sent: Option<Cow<'a, Call>>,
}

impl Plan<'_> {
    fn complete(self, answer: Answer) -> Answer {
        if self.known.is_empty() {
            return answer;
        }
        let mut asked = answer.verdicts.into_iter();
        let verdicts: Vec<Verdict> = self
            .known
            .iter()
            .map(|known| known.or_else(|| asked.next()).unwrap_or_default())
            .collect();
        let verdict = self
            .known
            .into_iter()
            .flatten()
            .max_by_key(|known| known.retry_after)
            .unwrap_or(answer.verdict);
        Answer {
            verdicts,
            verdict,
            listed: answer.listed,
        }
    }
}
