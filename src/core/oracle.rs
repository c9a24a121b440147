//! The oracle: what the three algorithms promise, in the slowest and most obvious way, and seeded random traces on which
//! the real ones must answer the same.
//!
//! * Fixed: a map from a window's start to what was counted in it.
//! * Sliding: a list of (time, cost), neither bounded nor merged.
//! * Bucket: the list of everything that ever happened to it, replayed from an unused bucket for every question, in
//!   exact rationals (numerators over the interval).
//!
//! Nothing here is shared with what it judges but the types of question and answer.

use super::algorithm::sliding::{MAX_ENTRIES, MIN_ENTRIES};
use super::decision::{Retry, Verdict};
use super::duration;
use super::limit::{Algorithm, Limit, Limits, MAX_COUNT, MAX_LIMITS, MAX_TIME_MS};
use super::limiter::{Change, Hit, Limiter};
use super::random::Random;
use std::collections::BTreeMap;
use std::panic::{catch_unwind, AssertUnwindSafe};

/// One call.
#[derive(Clone, Debug)]
pub struct Step {
    pub algorithm: Algorithm,
    pub now_ms: u64,
    pub limits: Limits,
    pub cost: i64,
    pub force: bool,
    pub entries: u16,
    /// Only asks.
    pub peek: bool,
}

impl Step {
    pub fn hit(&self) -> Hit<'_> {
        Hit {
            algorithm: self.algorithm,
            limits: &self.limits,
            cost: self.cost,
            force: self.force,
            entries: self.entries,
        }
    }
}

/// How long the windows of one trace are.
#[derive(Clone, Copy)]
enum Scale {
    Milliseconds,
    Seconds,
    Hours,
    Days,
    Any,
}

fn window_ms(random: &mut Random, scale: Scale) -> u64 {
    match scale {
        Scale::Milliseconds => random.from(1, 20),
        Scale::Seconds => random.from(100, 10_000),
        Scale::Hours => random.from(1, 24) * 3_600_000,
        Scale::Days => random.from(1, 40) * 86_400_000 + random.pick(&[0, 0, 0, 1, 777]),
        Scale::Any => {
            let any = random.magnitude(duration::MAX_MS).max(1);
            random.pick(&[any, any, any, 1, duration::MAX_MS])
        }
    }
}

fn amount(random: &mut Random) -> u64 {
    match random.below(20) {
        0..=14 => random.below(31),
        15..=16 => random.below(1_000),
        17..=18 => random.magnitude(MAX_COUNT),
        _ => MAX_COUNT - random.below(3),
    }
}

fn limit(random: &mut Random, algorithm: Algorithm, window_ms: u64) -> Limit {
    let amount = amount(random);
    match algorithm {
        Algorithm::Fixed | Algorithm::Sliding => Limit::window(amount, window_ms),
        Algorithm::Bucket => {
            let refill = match random.below(10) {
                0..=6 => random.from(1, 30),
                7 => 1,
                8 => random.magnitude(MAX_COUNT).max(1),
                _ => MAX_COUNT - random.below(3),
            };
            Limit::bucket(amount, refill, window_ms)
        }
    }
    .unwrap()
}

/// Adds a limit of a window that no other has; where chance finds none, leaves the limits as they are.
fn add_limit(random: &mut Random, algorithm: Algorithm, scale: Scale, limits: &mut Limits) {
    let window_ms = window_ms(random, scale);
    let is_new = limits.iter().all(|other| other.window_ms() != window_ms);
    if is_new && limits.len() < MAX_LIMITS {
        let place = random.index(limits.len() + 1);
        limits.insert(place, limit(random, algorithm, window_ms));
    }
}

fn change_limits(random: &mut Random, algorithm: Algorithm, scale: Scale, limits: &mut Limits) {
    let place = random.index(limits.len());
    match random.below(10) {
        0..=4 => limits[place] = limit(random, algorithm, limits[place].window_ms()),
        5..=6 if limits.len() > 1 => drop(limits.remove(place)),
        7 => limits.swap(place, 0),
        _ => add_limit(random, algorithm, scale, limits),
    }
}

fn cost(random: &mut Random, limits: &Limits) -> i64 {
    let limit = limits[random.index(limits.len())].limit().cast_signed();
    match random.below(20) {
        0..=12 => random.below(26).cast_signed() - 5,
        13..=14 => 1,
        15 => 0,
        16..=17 => (limit + random.below(3).cast_signed() - 1).min(MAX_COUNT.cast_signed()),
        18 => random.magnitude(MAX_COUNT).cast_signed() * random.sign(),
        _ => (MAX_COUNT - random.below(3)).cast_signed() * random.sign(),
    }
}

fn next_ms(random: &mut Random, limits: &Limits, now_ms: u64) -> u64 {
    let window_ms = limits[random.index(limits.len())].window_ms();
    let forward = match random.below(100) {
        0..=24 => 0,
        25..=34 => 1,
        35..=54 => random.from(0, window_ms / 8),
        55..=74 => random.from(0, window_ms),
        75..=79 => window_ms - 1,
        80..=83 => window_ms,
        84..=85 => window_ms - now_ms % window_ms, // where the next fixed window starts
        86..=89 => random.from(0, 3 * window_ms),
        90 => random.magnitude(MAX_TIME_MS),
        91..=93 => return now_ms.saturating_sub(1),
        94..=97 => return now_ms.saturating_sub(random.from(0, 2 * window_ms)),
        98 => return now_ms.saturating_sub(random.magnitude(MAX_TIME_MS)),
        _ => return now_ms.saturating_sub(window_ms),
    };
    (now_ms + forward).min(MAX_TIME_MS)
}

/// A random trace: 20 to 32 calls on one key.
pub fn trace(random: &mut Random, algorithm: Algorithm) -> Vec<Step> {
    let scale = random.pick(&[
        Scale::Milliseconds,
        Scale::Milliseconds,
        Scale::Seconds,
        Scale::Hours,
        Scale::Days,
        Scale::Any,
    ]);
    let mut limits = Limits::new();
    let count = random.pick(&[1, 1, 1, 1, 2, 2, 3, 4, 6, 8]);
    for _ in 0..3 * count {
        if limits.len() < count {
            add_limit(random, algorithm, scale, &mut limits);
        }
    }
    let mut now_ms = match random.below(10) {
        0 => 0,
        1 => MAX_TIME_MS - random.magnitude(MAX_TIME_MS),
        _ => random.from(1_600_000_000_000, 1_900_000_000_000),
    };
    let steps = random.from(20, 32);
    // A log as long as the trace is never merged.
    let entries = random.pick(&[u16::try_from(steps).unwrap(), MAX_ENTRIES]);
    (0..steps)
        .map(|_| {
            if random.percent(15) {
                change_limits(random, algorithm, scale, &mut limits);
            }
            now_ms = next_ms(random, &limits, now_ms);
            Step {
                algorithm,
                now_ms,
                limits: limits.clone(),
                cost: cost(random, &limits),
                force: random.percent(10),
                entries,
                peek: random.percent(10),
            }
        })
        .collect()
}

/// The same calls on a log that has to merge early.
pub fn with_entries(mut steps: Vec<Step>, entries: u16) -> Vec<Step> {
    for step in &mut steps {
        step.entries = entries;
    }
    steps
}

/// What is used of one limit.
#[derive(Clone)]
enum Usage {
    /// Window start -> counted.
    Fixed(BTreeMap<u64, u64>),
    /// (time, cost), oldest first.
    Sliding(Vec<(u64, u64)>),
    /// Everything that happened, oldest first.
    Bucket(Vec<Visit>),
}

/// The bucket was charged, or its clock was set back (that is a visit of cost 0).
#[derive(Clone, Copy)]
struct Visit {
    at_ms: u64,
    cost: i64,
    refill: u64,
}

impl Usage {
    fn unused(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Fixed => Usage::Fixed(BTreeMap::new()),
            Algorithm::Sliding => Usage::Sliding(Vec::new()),
            Algorithm::Bucket => Usage::Bucket(Vec::new()),
        }
    }

    /// Units that are used, rounded up.
    fn used(&self, limit: &Limit, now_ms: u64) -> u64 {
        let window_ms = limit.window_ms();
        match self {
            // What was counted in a later window is held against this one: the clock stepped back.
            Usage::Fixed(windows) => windows
                .range(window_start(limit, now_ms)..)
                .map(|w| w.1)
                .sum(),
            Usage::Sliding(log) => log
                .iter()
                .filter(|(at_ms, _)| at_ms.min(&now_ms) + window_ms > now_ms)
                .map(|(_, cost)| cost)
                .sum(),
            Usage::Bucket(visits) => {
                let level = level(visits, limit, now_ms);
                let interval = i128::from(window_ms);
                let whole = level / interval + i128::from(level % interval > 0);
                u64::try_from(whole).unwrap()
            }
        }
    }

    /// Milliseconds until at most `target` is used.
    fn wait(&self, limit: &Limit, target: u64, now_ms: u64) -> u64 {
        let mut settled = self.clone();
        settled.rewind(limit, now_ms);
        let ends: Vec<u64> = match &settled {
            Usage::Fixed(_) => vec![window_start(limit, now_ms) + limit.window_ms()],
            Usage::Sliding(log) => log
                .iter()
                .map(|(at_ms, _)| at_ms + limit.window_ms())
                .collect(),
            Usage::Bucket(visits) => {
                let excess = level(visits, limit, now_ms)
                    - i128::from(target) * i128::from(limit.window_ms());
                let rate = rate(visits, limit);
                let wait = excess.max(0) / rate + i128::from(excess.max(0) % rate > 0);
                return u64::try_from(wait).unwrap_or(u64::MAX).min(MAX_TIME_MS);
            }
        };
        let later = ends.into_iter().filter(|end_ms| *end_ms > now_ms);
        let due_ms = std::iter::once(now_ms)
            .chain(later)
            .find(|at_ms| settled.used(limit, *at_ms) <= target);
        due_ms.unwrap() - now_ms
    }

    /// Takes what was charged later than `now_ms` as charged now. True if there was any.
    fn rewind(&mut self, limit: &Limit, now_ms: u64) -> bool {
        match self {
            Usage::Fixed(windows) => {
                let later = windows.split_off(&(now_ms + 1));
                for used in later.values() {
                    *windows.entry(window_start(limit, now_ms)).or_default() += used;
                }
                !later.is_empty()
            }
            Usage::Sliding(log) => {
                let is_ahead = log.iter().any(|(at_ms, _)| *at_ms > now_ms);
                for (at_ms, _) in log {
                    *at_ms = (*at_ms).min(now_ms);
                }
                is_ahead
            }
            Usage::Bucket(visits) => match visits.last().copied() {
                Some(last) if last.at_ms > now_ms => {
                    visits.push(Visit {
                        at_ms: now_ms,
                        cost: 0,
                        refill: last.refill,
                    });
                    true
                }
                _ => false,
            },
        }
    }

    fn charge(&mut self, limit: &Limit, cost: i64, now_ms: u64) {
        let before = self.used(limit, now_ms);
        self.rewind(limit, now_ms);
        match self {
            Usage::Fixed(windows) => {
                // A window that has ended is forgotten, whatever the clock says later.
                let used = before.cast_signed().saturating_add(cost).max(0);
                *windows = BTreeMap::from([(window_start(limit, now_ms), used.cast_unsigned())]);
            }
            Usage::Sliding(log) => {
                log.retain(|(at_ms, _)| at_ms + limit.window_ms() > now_ms);
                if cost > 0 {
                    log.push((now_ms, cost.cast_unsigned()));
                }
                let mut back = cost.min(0).unsigned_abs();
                while let Some((at_ms, newest)) = log.pop() {
                    if newest > back {
                        log.push((at_ms, newest - back));
                        break;
                    }
                    back -= newest;
                }
            }
            Usage::Bucket(visits) => visits.push(Visit {
                at_ms: now_ms,
                cost,
                refill: limit.refill(),
            }),
        }
    }
}

fn window_start(limit: &Limit, now_ms: u64) -> u64 {
    now_ms / limit.window_ms() * limit.window_ms()
}

/// Units a millisecond: the time since the last visit is priced at the better of its rate and of this call's.
fn rate(visits: &[Visit], limit: &Limit) -> i128 {
    let last = visits.last().map_or(0, |visit| visit.refill);
    i128::from(last.max(limit.refill()))
}

/// What is used, in units of 1/interval token.
fn level(visits: &[Visit], limit: &Limit, now_ms: u64) -> i128 {
    let refill = |level: i128, since: &Visit, until_ms: u64, refill: u64| {
        let passed_ms = until_ms.saturating_sub(since.at_ms);
        (level - i128::from(passed_ms) * i128::from(refill.max(since.refill))).max(0)
    };
    let mut level = 0;
    let mut before: Option<&Visit> = None;
    for visit in visits {
        if let Some(before) = before {
            level = refill(level, before, visit.at_ms, visit.refill);
        }
        level = (level + i128::from(visit.cost) * i128::from(limit.window_ms())).max(0);
        before = Some(visit);
    }
    before.map_or(0, |before| refill(level, before, now_ms, limit.refill()))
}

/// One key.
#[derive(Clone, Default)]
pub struct Model {
    /// The limits of the last charge and what is used of each; `None` where there is no key.
    meters: Option<Vec<(Limit, Usage)>>,
}

/// What the model answers.
pub struct Answer {
    pub verdicts: Vec<Verdict>,
    pub allowed: bool,
    pub binding: Verdict,
    pub change: Change,
}

impl Model {
    fn usage(&self, algorithm: Algorithm, limit: &Limit) -> Usage {
        self.meters
            .iter()
            .flatten()
            .find(|(other, _)| other.window_ms() == limit.window_ms())
            .map_or(Usage::unused(algorithm), |(_, usage)| usage.clone())
    }

    pub fn used(&self, step: &Step, limit: &Limit) -> u64 {
        self.usage(step.algorithm, limit).used(limit, step.now_ms)
    }

    /// Charges whether or not it fits.
    pub fn charge(&mut self, step: &Step) {
        let charged = step.limits.iter().map(|limit| {
            let mut usage = self.usage(step.algorithm, limit);
            usage.charge(limit, step.cost, step.now_ms);
            (*limit, usage)
        });
        self.meters = Some(charged.collect());
    }

    /// Takes what was charged later than `now_ms` as charged now. True if there was any.
    pub fn rewind(&mut self, now_ms: u64) -> bool {
        let mut is_ahead = false;
        for (limit, usage) in self.meters.iter_mut().flatten() {
            is_ahead |= usage.rewind(limit, now_ms);
        }
        is_ahead
    }

    /// Answers a call and charges it, if it is to be charged; `None` where usage would grow past what is counted.
    pub fn hit(&mut self, step: &Step) -> Option<Answer> {
        let is_allowed = |limit: &Limit| {
            step.cost < 0 || self.used(step, limit) + step.cost.unsigned_abs() <= limit.limit()
        };
        let all = step.limits.iter().all(is_allowed);
        let overflows = |limit: &Limit| {
            step.cost > 0 && self.used(step, limit) + step.cost.unsigned_abs() > MAX_COUNT
        };
        if step.force && step.limits.iter().any(overflows) {
            return None;
        }
        // Of nothing, nothing can be given back.
        let is_used = step.limits.iter().any(|limit| self.used(step, limit) > 0);
        let something = step.cost > 0 || (step.cost < 0 && is_used);
        let mut change = Change::None;
        if something && (all || step.force) {
            self.charge(step);
            change = Change::Charged;
        } else if self.rewind(step.now_ms) {
            change = Change::Rewound;
        }
        let verdict = |limit: &Limit| self.verdict(step, limit, all);
        let verdicts: Vec<Verdict> = step.limits.iter().map(verdict).collect();
        Some(Answer {
            binding: binding(&verdicts),
            verdicts,
            allowed: all,
            change,
        })
    }

    /// What one limit says after the hit, which `allowed` says whether all of them allowed. A forced hit that was denied
    /// may fill a limit that it had fitted: then that limit has to be waited for, too.
    fn verdict(&self, step: &Step, limit: &Limit, allowed: bool) -> Verdict {
        let usage = self.usage(step.algorithm, limit);
        let cost = step.cost.unsigned_abs();
        let retry = if allowed {
            Retry::After(0)
        } else if cost > limit.limit() {
            Retry::Never
        } else {
            Retry::After(usage.wait(limit, limit.limit() - cost, step.now_ms))
        };
        Verdict {
            allowed: retry == Retry::After(0),
            limit: limit.limit(),
            used: usage.used(limit, step.now_ms),
            retry,
            reset_after_ms: usage.wait(limit, 0, step.now_ms),
        }
    }

    fn is_ahead(&self, now_ms: u64) -> bool {
        let mut meters = self.meters.iter().flatten();
        meters.any(|(_, usage)| match usage {
            Usage::Fixed(windows) => windows.keys().any(|start_ms| *start_ms > now_ms),
            Usage::Sliding(log) => log.iter().any(|(at_ms, _)| *at_ms > now_ms),
            Usage::Bucket(visits) => visits.last().is_some_and(|last| last.at_ms > now_ms),
        })
    }

    /// Per limit of the last charge: the limit, what is used, milliseconds until nothing is, and how many instants were
    /// charged that still count.
    fn reading(&self, now_ms: u64) -> Vec<(Limit, u64, u64, Option<usize>)> {
        let read = |(limit, usage): &(Limit, Usage)| {
            let instants = match usage {
                Usage::Sliding(log) => {
                    let mut instants: Vec<u64> = log.iter().map(|entry| entry.0).collect();
                    instants.retain(|at_ms| at_ms.min(&now_ms) + limit.window_ms() > now_ms);
                    instants.dedup();
                    Some(instants.len())
                }
                _ => None,
            };
            let used = usage.used(limit, now_ms);
            (*limit, used, usage.wait(limit, 0, now_ms), instants)
        };
        self.meters.iter().flatten().map(read).collect()
    }
}

/// Denied: the longest wait, never first. Allowed: the least remaining. The first of equals.
fn binding(verdicts: &[Verdict]) -> Verdict {
    let mut denied = verdicts.iter().filter(|verdict| !verdict.allowed);
    if let Some(never) = denied.clone().find(|verdict| verdict.retry == Retry::Never) {
        return *never;
    }
    if let Some(longest) = denied.clone().map(|verdict| verdict.retry).max() {
        return *denied.find(|verdict| verdict.retry == longest).unwrap();
    }
    let least = verdicts.iter().map(Verdict::remaining).min().unwrap();
    *verdicts
        .iter()
        .find(|verdict| verdict.remaining() == least)
        .unwrap()
}

/// Walks a trace with the limiter and with the model; says where they first differ.
fn compare(steps: &[Step]) -> Result<(), String> {
    let mut state: Option<Limiter> = None;
    let mut model = Model::default();
    let mut latest_ms = 0;
    let mut changed_ms = 0;
    for (index, step) in steps.iter().enumerate() {
        let hit = step.hit();
        let (got, expected) = if step.peek {
            let asked = Limiter::peek(state.as_ref(), &hit, step.now_ms);
            (
                asked.map(|decision| (decision, None)),
                model.clone().hit(step),
            )
        } else {
            let done = Limiter::hit(&mut state, &hit, step.now_ms);
            let done = done.map(|(decision, change)| (decision, Some(change)));
            (done, model.hit(step))
        };
        let differs = |what: &str, got: String, expected: String| {
            Err(format!(
                "step {index}: {what}\n     got {got}\nexpected {expected}"
            ))
        };
        match (got, expected) {
            (Err(_), None) => {}
            (Ok((decision, change)), Some(answer)) => {
                let verdicts = decision.verdicts();
                if verdicts != answer.verdicts {
                    return differs(
                        "verdicts",
                        format!("{verdicts:?}"),
                        format!("{:?}", answer.verdicts),
                    );
                }
                let (binding, allowed) = (decision.binding().copied(), decision.allowed());
                if (binding, allowed) != (Some(answer.binding), answer.allowed) {
                    return differs(
                        "binding",
                        format!("{binding:?}"),
                        format!("{:?}", answer.binding),
                    );
                }
                if change.is_some_and(|change| change != answer.change) {
                    return differs(
                        "change",
                        format!("{change:?}"),
                        format!("{:?}", answer.change),
                    );
                }
                if change.is_some_and(|change| change != Change::None) {
                    changed_ms = step.now_ms;
                }
            }
            (got, expected) => {
                let expected = expected.map(|answer| answer.verdicts);
                return differs("error", format!("{got:?}"), format!("{expected:?}"));
            }
        }
        let reading: Vec<_> = state
            .iter()
            .flat_map(|limiter| limiter.reading(step.now_ms))
            .map(|read| {
                let entries = read.log.map(|(entries, _)| usize::from(entries));
                (read.limit, read.used, read.reset_after_ms, entries)
            })
            .collect();
        let expected = model.reading(step.now_ms);
        if reading != expected {
            return differs("reading", format!("{reading:?}"), format!("{expected:?}"));
        }
        // The key outlives its usage, by no more than an eighth of the time from the last charge on, or a second: unless the clock has stepped back, or nothing is
        // used, or something for longer than time is counted.
        let longest_ms = expected.iter().map(|read| read.2).max().unwrap_or(0);
        let unused_at_ms = step.now_ms + longest_ms;
        latest_ms = latest_ms.max(step.now_ms);
        if let (Some(limiter), 1.., ..=MAX_TIME_MS) = (&state, longest_ms, unused_at_ms) {
            let windows = expected.iter().map(|read| read.0.window_ms());
            let span_ms = unused_at_ms.saturating_sub(changed_ms);
            let slack_ms = windows.max().unwrap_or(0).max(span_ms).max(8_000) / 8 + 1;
            let expires_ms = limiter.expires_ms();
            let bounded = expires_ms <= unused_at_ms.max(latest_ms) + slack_ms;
            if expires_ms <= unused_at_ms || !(bounded || model.is_ahead(step.now_ms)) {
                return differs("TTL", format!("{expires_ms}"), format!("{unused_at_ms}"));
            }
        }
    }
    Ok(())
}

/// Leaves out steps and windows as long as `fails` finds the rest wrong.
fn shrink(mut steps: Vec<Step>, fails: impl Fn(&[Step]) -> bool) -> Vec<Step> {
    loop {
        let without_a_step = (0..steps.len()).rev().map(|index| {
            let mut fewer = steps.clone();
            fewer.remove(index);
            fewer
        });
        let windows = steps
            .iter()
            .flat_map(|step| &step.limits)
            .map(Limit::window_ms);
        let without_a_window = windows.map(|window_ms| {
            let mut fewer = steps.clone();
            for step in &mut fewer {
                step.limits.retain(|limit| limit.window_ms() != window_ms);
            }
            fewer
        });
        let whole =
            |steps: &[Step]| !steps.is_empty() && steps.iter().all(|step| !step.limits.is_empty());
        let shorter = without_a_step
            .chain(without_a_window)
            .find(|fewer| whole(fewer) && fails(fewer));
        match shorter {
            Some(fewer) => steps = fewer,
            None => return steps,
        }
    }
}

/// Runs `check` on `traces` random traces; on the first that fails or panics, says the seed and the shortest trace that
/// does so.
pub fn for_traces(
    algorithm: Algorithm,
    traces: u64,
    prepare: impl Fn(&mut Random, Vec<Step>) -> Vec<Step>,
    check: impl Fn(&[Step]) -> Result<(), String>,
) {
    let check = |steps: &[Step]| {
        let checked = catch_unwind(AssertUnwindSafe(|| check(steps)));
        checked.unwrap_or_else(|_| Err("a panic".to_owned()))
    };
    for seed in 0..traces {
        let mut random = Random(seed);
        let steps = trace(&mut random, algorithm);
        let steps = prepare(&mut random, steps);
        if check(&steps).is_err() {
            let steps = shrink(steps, |steps| check(steps).is_err());
            let why = check(&steps).unwrap_err();
            let story = story(&steps);
            panic!("{algorithm:?}, seed {seed}: {why}\nof the trace\n{story}");
        }
    }
}

/// A trace, a line a step.
fn story(steps: &[Step]) -> String {
    let line = |(index, step): (usize, &Step)| {
        let limit = |limit: &Limit| {
            format!(
                " {}/{}:{}ms",
                limit.limit(),
                limit.refill(),
                limit.window_ms()
            )
        };
        let limits: String = step.limits.iter().map(limit).collect();
        let force = if step.force { " FORCE" } else { "" };
        let verb = if step.peek { "peek" } else { "hit" };
        format!(
            "{index}: at {} {verb}{limits} COST {}{force}, N = {}\n",
            step.now_ms, step.cost, step.entries
        )
    };
    steps.iter().enumerate().map(line).collect()
}

/// Traces per algorithm.
const TRACES: u64 = 110_000;

#[test]
fn fixed_answers_as_its_oracle() {
    for_traces(Algorithm::Fixed, TRACES, |_, steps| steps, compare);
}

#[test]
fn sliding_answers_as_its_oracle_up_to_n_entries() {
    for_traces(Algorithm::Sliding, TRACES, |_, steps| steps, compare);
}

#[test]
fn bucket_answers_as_its_oracle() {
    for_traces(Algorithm::Bucket, TRACES, |_, steps| steps, compare);
}

#[test]
fn past_n_entries_sliding_never_counts_less_than_its_oracle() {
    let merging = |_: &mut Random, steps| with_entries(steps, MIN_ENTRIES);
    for_traces(Algorithm::Sliding, TRACES / 2, merging, |steps| {
        let mut state: Option<Limiter> = None;
        let mut model = Model::default();
        for (index, step) in steps.iter().enumerate() {
            let hit = step.hit();
            match Limiter::hit(&mut state, &hit, step.now_ms) {
                Ok((_, Change::Charged)) => model.charge(step),
                Ok((_, Change::Rewound)) => drop(model.rewind(step.now_ms)),
                Ok((_, Change::None)) | Err(_) => {}
            }
            let readings = state
                .iter()
                .flat_map(|limiter| limiter.reading(step.now_ms));
            for (read, (limit, used, reset_after_ms, _)) in readings.zip(model.reading(step.now_ms))
            {
                let counted = read.limit == limit
                    && read.used >= used
                    && read.reset_after_ms >= reset_after_ms;
                let bounded = read.log.is_some_and(|(entries, capacity)| {
                    entries <= capacity && capacity == MIN_ENTRIES
                });
                if !counted || !bounded {
                    return Err(format!("step {index}: {read:?}, but {used} of {limit:?} are used, {reset_after_ms} ms"));
                }
            }
        }
        Ok(())
    });
}
