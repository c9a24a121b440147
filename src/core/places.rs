//! What a bucket promises to those who reserve a place: over the acts that were promised and not given back, its own law
//! holds, whoever gives back what.
//!
//! The oracle is a bucket that is charged when somebody acts: it knows nothing of reservations, levels or stamps.

use super::limit::{Algorithm, Limit, Limits};
use super::limiter::Limiter;
use super::quote::{self, Change, Hit, HitOptions, Quote};
use super::random::{rounds, Random};
use std::collections::BTreeMap;

/// Somebody who was let through, and acts.
#[derive(Clone, Debug)]
struct Act {
    /// When, by a clock that never steps back.
    at_ms: u64,
    cost: u64,
    /// In which call it was promised, and the limits of that call.
    call: usize,
    limits: Limits,
    /// What the key went by until then.
    before: Limits,
    /// By which its holder gives it back.
    stamp_ms: u64,
    /// A debt that was forced is none.
    is_forced: bool,
    /// Whether it waited for its turn.
    is_place: bool,
}

/// One key, and what its callers were told.
struct History {
    random: Random,
    limits: Limits,
    state: Option<Limiter>,
    /// The server's clock, and one that never steps back.
    now_ms: u64,
    true_ms: u64,
    acts: Vec<Act>,
    /// The limits of every call.
    calls: Vec<Limits>,
    /// What others than the holders of places that were yet to act have given back, by interval, in tokens.
    given_back: BTreeMap<u64, u64>,
}

impl History {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let count = random.pick(&[1, 1, 1, 2, 3]);
        let scale_ms = random.pick(&[1, 10, 1_000]);
        let mut limits = Limits::new();
        for place in 0..count {
            let interval_ms = scale_ms * random.from(1, 20) + place;
            let capacity = random.pick(&[1, 1, 2, 5, 10]);
            let refill = random.pick(&[1, 1, 2, 7]);
            if limits
                .iter()
                .all(|other: &Limit| other.window_ms() != interval_ms)
            {
                limits.push(Limit::bucket(capacity, refill, interval_ms).unwrap());
            }
        }
        Self {
            random,
            limits,
            state: None,
            now_ms: 1_700_000_000_000,
            true_ms: 0,
            acts: Vec::new(),
            calls: Vec::new(),
            given_back: BTreeMap::new(),
        }
    }

    /// The limits of most calls, or some of them.
    fn any_limits(&mut self) -> Limits {
        let mut limits = self.limits.clone();
        if limits.len() > 1 && self.random.percent(10) {
            limits.remove(self.random.index(limits.len()));
        }
        limits
    }

    fn call(&mut self, limits: Limits, cost: i64, force: bool, options: &HitOptions) -> Quote {
        let hit = Hit {
            force,
            options,
            ..Hit::new(Algorithm::Bucket, &limits, cost)
        };
        let quote = quote::hit(&mut self.state, &hit, self.now_ms).unwrap();
        self.calls.push(limits);
        quote
    }

    /// Somebody wants to act: at once, in turn, or whatever it does to others.
    fn take(&mut self) {
        let most = self.limits.iter().map(Limit::limit).min().unwrap();
        let any = self.random.from(1, most);
        let cost = self.random.pick(&[1, 1, most, any]);
        let (is_place, force) = match self.random.below(10) {
            0..=6 => (true, false),
            7..=8 => (false, false),
            _ => (false, true),
        };
        let options = HitOptions {
            reserve_ms: is_place.then_some(1_000_000),
            stamp: true,
            ..HitOptions::NONE
        };
        let before = self.state.as_ref().map(|state| state.limits());
        let limits = self.any_limits();
        let quote = self.call(limits, cost.cast_signed(), force, &options);
        if !quote.fits && !force {
            return;
        }
        let (wait_ms, stamp_ms) = match quote.change {
            Change::Reserve(place) => (place.acts_ms - self.now_ms, place.stamp_ms),
            _ => (0, self.now_ms),
        };
        self.acts.push(Act {
            at_ms: self.true_ms + wait_ms,
            cost,
            call: self.calls.len() - 1,
            limits: self.calls.last().unwrap().clone(),
            before: before.unwrap_or_default(),
            stamp_ms,
            is_forced: !quote.fits,
            is_place: wait_ms > 0,
        });
    }

    /// Somebody gives back what he was let through with, or a part. Strictly: only who has yet to act.
    fn give_back(&mut self, is_strict: bool) {
        let true_ms = self.true_ms;
        let may = |act: &Act| act.at_ms > true_ms && act.is_place || !is_strict;
        let places: Vec<usize> = (0..self.acts.len())
            .filter(|place| may(&self.acts[*place]) && self.acts[*place].cost > 0)
            .collect();
        let Some(recent) = places.last().copied() else {
            return;
        };
        let any = self.random.pick(&places);
        let place = self.random.pick(&[recent, any]);
        let act = self.acts[place].clone();
        let cost = match self.random.percent(75) {
            true => act.cost,
            false => self.random.from(1, act.cost),
        };
        let options = HitOptions {
            at_ms: self.random.percent(80).then_some(act.stamp_ms),
            ..HitOptions::NONE
        };
        // Of the limits that it was charged to, at what they are now.
        let is_of = |limit: &&Limit| act.limits.iter().any(|of| of.span() == limit.span());
        let limits = self.limits.iter().filter(is_of).copied().collect();
        self.call(limits, -cost.cast_signed(), false, &options);
        if act.is_place && act.at_ms > true_ms {
            self.acts[place].cost -= cost;
        } else {
            for limit in &act.limits {
                *self.given_back.entry(limit.window_ms()).or_default() += cost;
            }
            if act.is_forced {
                self.acts[place].cost -= cost;
            }
        }
    }

    fn change_limits(&mut self) {
        let place = self.random.index(self.limits.len());
        let limit = self.limits[place];
        let factor = self.random.pick(&[2, 3]);
        let (more, less) = (limit.refill() * factor, (limit.refill() / factor).max(1));
        let refill = self.random.pick(&[more, less]);
        let any = self.random.from(1, 12);
        let capacity = self.random.pick(&[limit.limit(), limit.limit(), any]);
        self.limits[place] = Limit::bucket(capacity, refill.min(1_000), limit.window_ms()).unwrap();
    }

    fn pass(&mut self, steps_back: bool) {
        let interval_ms = self.limits[0].window_ms();
        let ms = match self.random.below(10) {
            0..=5 => 0,
            6 => 1,
            7..=8 => self.random.from(0, 2 * interval_ms),
            _ => self.random.from(0, 20 * interval_ms),
        };
        if steps_back && self.random.percent(10) {
            self.now_ms -= ms;
        } else {
            self.now_ms += ms;
            self.true_ms += ms;
        }
    }

    /// Charges a bucket when somebody acts. `None` where it would have let everybody through.
    fn broken(&self) -> Option<String> {
        let mut intervals: Vec<u64> = self.limits.iter().map(Limit::window_ms).collect();
        intervals.sort_unstable();
        for interval_ms in intervals {
            let of = |limits: &Limits| {
                let mut limits = limits.iter();
                limits
                    .find(|limit| limit.window_ms() == interval_ms)
                    .copied()
            };
            let acts = self
                .acts
                .iter()
                .filter(|act| !act.is_forced && act.cost > 0);
            let mut acts: Vec<&Act> = acts.filter(|act| of(&act.limits).is_some()).collect();
            acts.sort_by_key(|act| act.at_ms);
            let limits = self.calls.iter().filter_map(of);
            let capacity = limits.clone().map(|limit| limit.limit()).max().unwrap_or(0);
            // A turn is rounded up to a whole millisecond, and what refills in the rest of it is not lost.
            let rest = u128::from(limits.map(|limit| limit.refill()).max().unwrap_or(0));
            let given_back = self.given_back.get(&interval_ms).copied().unwrap_or(0);
            let most = u128::from(capacity + given_back) * u128::from(interval_ms);
            let mut level = 0_u128;
            let mut before: Option<&Act> = None;
            for act in acts {
                if let Some(before) = before {
                    // The best rate of those in force meanwhile, as of any bucket.
                    let (first, last) = (before.call.min(act.call), before.call.max(act.call));
                    let between = self.calls[first..=last].iter().filter_map(of);
                    let stored = [of(&before.before), of(&act.before)];
                    let rates = between.chain(stored.into_iter().flatten());
                    let rate = rates.map(|limit| limit.refill()).max().unwrap();
                    let regained = u128::from(act.at_ms - before.at_ms) * u128::from(rate);
                    level = level.saturating_sub(regained);
                }
                level += u128::from(act.cost) * u128::from(interval_ms);
                if level > most + rest {
                    return Some(format!(
                        "of {interval_ms} ms, at {act:?}: {level} of {most}"
                    ));
                }
                before = Some(act);
            }
        }
        None
    }
}

/// In how many of so many histories the bucket's law is broken; the first of them.
fn breaks(histories: u64, kind: impl Fn(&mut History)) -> Option<String> {
    let broken = |seed| {
        let mut history = History::new(seed);
        kind(&mut history);
        Some(format!("seed {seed}: {}", history.broken()?))
    };
    (0..histories).find_map(broken)
}

fn acts_obey_the_law(is_strict: bool, changes_limits: bool, steps_back: bool) {
    let broken = breaks(rounds(3_000), |history| {
        for _ in 0..60 {
            history.pass(steps_back);
            match history.random.below(10) {
                0..=2 => history.give_back(is_strict),
                3 if changes_limits && history.random.percent(40) => history.change_limits(),
                _ => history.take(),
            }
        }
    });
    assert_eq!(broken, None);
}

#[test]
fn places_that_are_given_back_are_given_to_one_caller_at_the_most() {
    acts_obey_the_law(true, false, false);
}

#[test]
fn places_that_are_given_back_are_given_to_one_caller_whatever_the_limits_and_the_clock_do() {
    acts_obey_the_law(true, true, false);
    acts_obey_the_law(true, false, true);
    acts_obey_the_law(true, true, true);
}

#[test]
fn what_is_given_back_after_its_act_or_beside_a_debt_admits_no_more_than_that() {
    acts_obey_the_law(false, false, false);
    acts_obey_the_law(false, true, true);
}
