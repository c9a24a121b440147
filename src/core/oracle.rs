//! The oracle: what the algorithms and the clauses promise, in the slowest and most obvious way, and seeded random traces
//! on which the real ones must answer the same.
//!
//! * Fixed: the window that was charged last, and what is counted in it.
//! * Sliding: a list of (time, cost), neither bounded nor merged.
//! * Bucket: the list of everything that ever happened to it, replayed from an unused bucket for every question, in
//!   exact rationals (numerators over the interval).
//! * Lease: a list of holders.
//! * ID: a list of the hits that had one.
//!
//! Nothing here is shared with what it judges but the types of question and answer, and where the calendar's windows
//! begin, which has tests of its own.

use super::algorithm::log::{MAX_ENTRIES, MIN_ENTRIES};
use super::algorithm::meter::Place;
use super::calendar::{self, Window};
use super::codec::{self, Effect};
use super::decision::{Retry, Verdict};
use super::duration;
use super::error::Error;
use super::limit::{Algorithm, Limit, Limits, MAX_COUNT, MAX_LIMITS, MAX_TIME_MS, MAX_WINDOWS};
use super::limiter::block::Block;
use super::limiter::ids::{self, Known};
use super::limiter::{noted, Left, Limiter};
use super::quote::regional::LocalRegion;
use super::quote::{self, Change, Hit, HitOptions, Once, Quote, Windows};
use super::random::{rounds, Random};
use super::region::origin::Region;
use super::span::{Span, Unit};
use super::zone::Kind;
use jiff::tz::{Offset, TimeZone};
use std::num::NonZero;
use std::panic::{catch_unwind, AssertUnwindSafe};

/// One call.
#[derive(Clone, Debug)]
pub struct Step {
    pub algorithm: Algorithm,
    pub now_ms: u64,
    pub limits: Limits,
    pub cost: i64,
    pub force: bool,
    pub log_size: u16,
    pub at_ms: Option<u64>,
    pub stamp: bool,
    pub min: Option<u64>,
    pub reserve_ms: Option<u64>,
    pub block_ms: Vec<u64>,
    /// Of a call of several keys: it never binds.
    pub is_shadow: bool,
    pub id: Vec<u8>,
    pub ids: ids::Bounds,
    /// Which region the server is.
    pub region: Option<Region>,
    /// The calendar's windows of the limits at `now_ms`; see [`Step::at`].
    pub windows: Windows,
    /// The same at `at_ms`, where that is later.
    pub at_windows: Windows,
    /// Before the call, the key is shut by order for so long; 0 lifts any block.
    pub order_ms: Option<u64>,
    /// Only asks.
    pub peek: bool,
    /// Gives the lease back, and does nothing else.
    pub release: bool,
}

impl Step {
    /// The hit that it is.
    pub fn hit<R>(&self, then: impl FnOnce(&Hit) -> R) -> R {
        then(&Hit {
            algorithm: self.algorithm,
            limits: &self.limits,
            cost: self.cost,
            force: self.force,
            log_size: self.log_size,
            options: &HitOptions {
                windows: &self.windows,
                at_windows: &self.at_windows,
                at_ms: self.at_ms,
                stamp: self.stamp,
                min: self.min,
                reserve_ms: self.reserve_ms,
                block_ms: &self.block_ms,
                is_shadow: self.is_shadow,
                tried: None,
                id: &self.id,
                ids: self.ids,
                drops_unnamed: false,
                here: self.region.map(|region| LocalRegion {
                    region,
                    term: 0,
                    due: 0,
                    share: None,
                }),
            },
        })
    }

    /// Makes the order that goes before it.
    pub fn order(&self, state: &mut Option<Limiter>) {
        if let Some(length_ms) = self.order_ms {
            order(state, length_ms, self.now_ms);
        }
    }

    /// What it would be answered.
    pub fn ask(&self, state: &mut Option<Limiter>) -> Result<Quote, Error> {
        self.hit(|hit| quote::peek(state.as_mut(), hit, self.now_ms))
    }

    /// Makes it.
    pub fn make(&self, state: &mut Option<Limiter>) -> Result<Quote, Error> {
        self.hit(|hit| quote::hit(state, hit, self.now_ms))
    }

    /// The bytes of the effect that it has, where it makes this change.
    pub fn effect(&self, change: Change) -> Vec<u8> {
        self.hit(|hit| codec::encode_change(hit, change, self.now_ms, false).to_vec())
    }

    /// Whether it is charged once.
    pub fn is_once(&self) -> bool {
        self.algorithm != Algorithm::Lease && !self.id.is_empty()
    }

    /// The id that goes beside its effect.
    pub fn id_beside(&self) -> Option<&[u8]> {
        self.is_once().then_some(&*self.id)
    }

    /// The same call, which may count again.
    pub fn without_id(&self) -> Self {
        let mut step = self.clone();
        if step.is_once() {
            step.id.clear();
        }
        step
    }

    /// The same call at another time.
    pub fn at(&self, now_ms: u64) -> Self {
        let mut step = self.clone();
        step.now_ms = now_ms;
        step.resolve();
        step
    }

    /// The same call of other limits.
    pub fn of(&self, limits: Limits) -> Self {
        let mut step = Self {
            limits,
            ..self.clone()
        };
        step.resolve();
        step
    }

    /// Asks the calendar, as the server does for a hit.
    fn resolve(&mut self) {
        let spans = self.limits.iter().map(Limit::span);
        self.windows = if spans.clone().all(|span| span.plain_ms().is_some()) {
            Windows::new()
        } else {
            spans
                .clone()
                .map(|span| {
                    // A charge of an earlier time begins a window then, where it still counts.
                    let ms = span.first_ms().unwrap_or(0);
                    let at_ms = self.at_ms.filter(|at_ms| *at_ms > 0).unwrap_or(MAX_TIME_MS);
                    match at_ms.min(self.now_ms) {
                        at_ms if at_ms + ms > self.now_ms => resolved(span, at_ms),
                        _ => resolved(span, self.now_ms),
                    }
                })
                .collect()
        };
        self.at_windows = match self.at_ms {
            Some(at_ms) if (self.now_ms + 1..=CALENDAR_ENDS_MS).contains(&at_ms) => {
                spans.map(|span| resolved(span, at_ms)).collect()
            }
            _ => Windows::new(),
        };
    }
}

/// The window of a calendar's span at a time; one that a charge would begin, where none is running.
pub fn resolved(span: Span, now_ms: u64) -> Window {
    if let Some(ms) = span.first_ms() {
        return Window {
            start_ms: now_ms,
            end_ms: now_ms + ms,
        };
    }
    let Some(calendar) = span.as_calendar() else {
        return Window::default();
    };
    let zone = match calendar.zone.kind() {
        Kind::Offset(minutes) => TimeZone::fixed(Offset::from_seconds(minutes * 60).unwrap()),
        Kind::Name(name) => TimeZone::get(name).unwrap(),
    };
    calendar::window(&calendar, &zone, now_ms).unwrap()
}

/// How long a limit's window is, about.
fn about_ms(limit: &Limit) -> u64 {
    const DAY_MS: u64 = 86_400_000;
    let Some(calendar) = limit.span().as_calendar() else {
        return limit.span().first_ms().unwrap_or(limit.window_ms());
    };
    let days = match calendar.unit {
        Unit::Day => 1,
        Unit::Week => 7,
        Unit::Month => 30,
        Unit::Year => 365,
    };
    days * u64::from(calendar.count) * DAY_MS
}

/// Windows of the calendar: each unit, days to begin on, offsets and zones.
const CALENDAR: [&str; 25] = [
    "1w",
    "2w",
    "1w@thu",
    "1w@sun,America/New_York",
    "1mo",
    "3mo",
    "1y",
    "1mo@15",
    "1mo@31",
    "1mo@30,Africa/Cairo",
    "1d@+02:00",
    "1d@-09:30",
    "1d@Europe/Berlin",
    "1d@America/Sao_Paulo",
    "3d@Asia/Kathmandu",
    "1d@America/St_Johns",
    "1y@Pacific/Apia",
    "3mo@+05:45",
    "1d@05:00,Europe/Berlin",
    "1mo@15,13:45",
    "1w@thu,18:00,+02:00",
    "1y@02:30,America/New_York",
    "5h@first",
    "7d@first",
    "1ms@first",
];
/// Past it, a trace that has the calendar's windows does not go: the year 2200.
const CALENDAR_ENDS_MS: u64 = 7_258_118_400_000;

/// How long the windows of one trace are.
#[derive(Clone, Copy, PartialEq)]
enum Scale {
    Milliseconds,
    Seconds,
    Hours,
    Days,
    Any,
    Calendar,
}

fn window_ms(random: &mut Random, scale: Scale) -> u64 {
    match scale {
        Scale::Milliseconds => random.from(1, 20),
        Scale::Seconds => random.from(100, 10_000),
        Scale::Hours | Scale::Calendar => random.from(1, 24) * 3_600_000,
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

/// Other numbers for a window.
fn limit(random: &mut Random, algorithm: Algorithm, span: Span) -> Limit {
    let amount = amount(random);
    match algorithm {
        Algorithm::Fixed | Algorithm::Sliding | Algorithm::Lease => Limit::spanning(amount, span),
        Algorithm::Bucket => {
            let refill = match random.below(10) {
                0..=6 => random.from(1, 30),
                7 => 1,
                8 => random.magnitude(MAX_COUNT).max(1),
                _ => MAX_COUNT - random.below(3),
            };
            Limit::bucket(amount, refill, span.plain_ms().unwrap())
        }
    }
    .unwrap()
}

fn span(random: &mut Random, scale: Scale) -> Span {
    if scale == Scale::Calendar && random.percent(70) {
        return Span::parse(random.pick(&CALENDAR).as_bytes()).unwrap();
    }
    Span::plain(window_ms(random, scale)).unwrap()
}

/// Adds a limit of a window that no other has; where chance finds none, leaves the limits as they are.
fn add_limit(random: &mut Random, algorithm: Algorithm, scale: Scale, limits: &mut Limits) {
    let span = span(random, scale);
    let is_new = limits.iter().all(|other| other.span() != span);
    if is_new && limits.len() < MAX_LIMITS {
        let place = random.index(limits.len() + 1);
        limits.insert(place, limit(random, algorithm, span));
    }
}

fn change_limits(random: &mut Random, algorithm: Algorithm, scale: Scale, limits: &mut Limits) {
    let place = random.index(limits.len());
    if algorithm == Algorithm::Lease {
        let span = match random.percent(50) {
            true => span(random, scale),
            false => limits[place].span(),
        };
        limits[place] = limit(random, algorithm, span);
        return;
    }
    match random.below(10) {
        0..=4 => limits[place] = limit(random, algorithm, limits[place].span()),
        5..=6 if limits.len() > 1 => drop(limits.remove(place)),
        7 => limits.swap(place, 0),
        _ => add_limit(random, algorithm, scale, limits),
    }
}

/// Limits drawn anew: so windows are left unnamed, up to more than a key may have.
fn other_limits(random: &mut Random, algorithm: Algorithm, scale: Scale) -> Limits {
    let count = match algorithm {
        Algorithm::Lease => 1,
        _ => random.pick(&[1, 1, 2, 3, 8]),
    };
    let mut limits = Limits::new();
    for _ in 0..3 * count {
        if limits.len() < count {
            add_limit(random, algorithm, scale, &mut limits);
        }
    }
    limits
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

fn next_ms(random: &mut Random, limits: &Limits, now_ms: u64, last_ms: u64) -> u64 {
    let limit = &limits[random.index(limits.len())];
    let window_ms = about_ms(limit);
    let forward = match random.below(100) {
        0..=24 => 0,
        25..=34 => 1,
        35..=54 => random.from(0, window_ms / 8),
        55..=74 => random.from(0, window_ms),
        75..=79 => window_ms - 1,
        80..=83 => window_ms,
        // Where the next fixed window starts.
        84..=85 if limit.span().plain_ms().is_none() => {
            resolved(limit.span(), now_ms).end_ms - now_ms
        }
        84..=85 => window_ms - now_ms % window_ms,
        86..=89 => random.from(0, 3 * window_ms),
        90 => random.magnitude(MAX_TIME_MS),
        91..=93 => return now_ms.saturating_sub(1),
        94..=97 => return now_ms.saturating_sub(random.from(0, 2 * window_ms)),
        98 => return now_ms.saturating_sub(random.magnitude(MAX_TIME_MS)),
        _ => return now_ms.saturating_sub(window_ms),
    };
    (now_ms + forward).min(last_ms)
}

/// What a settlement may name: the time of an earlier call, most often, or any other.
fn charge_time(random: &mut Random, step: &Step, earlier: &[Step]) -> u64 {
    let window_ms = about_ms(&step.limits[random.index(step.limits.len())]);
    let ago = |ms: u64| step.now_ms.saturating_sub(ms);
    match random.below(20) {
        0..=10 if !earlier.is_empty() => earlier[random.index(earlier.len())].now_ms,
        0..=13 => ago(random.from(0, window_ms)),
        14 => ago(window_ms),
        15 => ago(window_ms - 1),
        16 => ago(random.below(3)),
        17 => 0,
        18 => ago(random.magnitude(MAX_TIME_MS)),
        _ => (step.now_ms + random.from(0, window_ms)).min(MAX_TIME_MS),
    }
}

/// Clauses that few calls have, as the grammar lets them stand together.
fn add_clauses(random: &mut Random, step: &mut Step, earlier: &[Step]) {
    if step.algorithm == Algorithm::Lease {
        return;
    }
    let window_ms = about_ms(&step.limits[0]);
    step.stamp = random.percent(30) && step.algorithm == Algorithm::Bucket;
    if step.algorithm == Algorithm::Bucket && random.percent(25) {
        step.force = false;
        let longest_ms = random
            .pick(&[window_ms, 8 * window_ms])
            .min(duration::MAX_MS);
        step.reserve_ms = Some(random.from(1, longest_ms));
        return;
    }
    if random.percent(40) {
        step.at_ms = Some(charge_time(random, step, earlier));
    }
    if random.percent(20) && !step.force {
        let most = u64::try_from(step.cost).unwrap_or(0).max(1);
        step.min = Some(random.from(1, most.min(20)));
    }
}

/// A random trace: 20 to 32 calls on one key.
pub fn trace(random: &mut Random, algorithm: Algorithm) -> Vec<Step> {
    let scale = match algorithm {
        Algorithm::Fixed if random.percent(35) => Scale::Calendar,
        _ => random.pick(&[
            Scale::Milliseconds,
            Scale::Milliseconds,
            Scale::Seconds,
            Scale::Hours,
            Scale::Days,
            Scale::Any,
        ]),
    };
    trace_of(random, algorithm, scale)
}

fn trace_of(random: &mut Random, algorithm: Algorithm, scale: Scale) -> Vec<Step> {
    let mut limits = Limits::new();
    let count = match algorithm {
        Algorithm::Lease => 1,
        _ => random.pick(&[1, 1, 1, 1, 2, 2, 3, 4, 6, 8]),
    };
    for _ in 0..3 * count {
        if limits.len() < count {
            add_limit(random, algorithm, scale, &mut limits);
        }
    }
    let last_ms = match scale {
        Scale::Calendar => CALENDAR_ENDS_MS,
        _ => MAX_TIME_MS,
    };
    let mut now_ms = match random.below(10) {
        0 => 0,
        1 => last_ms - random.magnitude(last_ms),
        _ => random.from(1_600_000_000_000, 1_900_000_000_000),
    };
    let steps = random.from(20, 32);
    // A log as long as the trace is never merged.
    let log_size = random.pick(&[u16::try_from(steps).unwrap(), MAX_ENTRIES]);
    let (changes, draws) = random.pick(&[(15, 0), (15, 0), (15, 10), (0, 60)]);
    let clauses = random.pick(&[0, 0, 50, 90]);
    let blocks = random.pick(&[0, 0, 0, 50]);
    let orders = random.pick(&[0, 0, 0, 15]);
    let repeats = random.pick(&[0, 0, 40, 80]);
    let mut trace: Vec<Step> = Vec::new();
    for _ in 0..steps {
        if random.percent(changes) {
            change_limits(random, algorithm, scale, &mut limits);
        }
        if random.percent(draws) {
            limits = other_limits(random, algorithm, scale);
        }
        now_ms = next_ms(random, &limits, now_ms, last_ms);
        let mut step = Step {
            algorithm,
            now_ms,
            limits: limits.clone(),
            cost: cost(random, &limits),
            force: random.percent(10),
            log_size,
            at_ms: None,
            stamp: false,
            min: None,
            reserve_ms: None,
            block_ms: Vec::new(),
            is_shadow: false,
            id: Vec::new(),
            ids: ids::Bounds::DEFAULT,
            region: None,
            windows: Windows::new(),
            at_windows: Windows::new(),
            order_ms: None,
            peek: random.percent(10),
            release: false,
        };
        if random.percent(clauses) {
            add_clauses(random, &mut step, &trace);
        }
        if algorithm == Algorithm::Lease {
            step.id = vec![random.pick(b"abcdef")];
            step.cost = step.cost.abs();
            step.force = false;
            step.release = random.percent(10);
            step.peek &= !step.release;
        } else if random.percent(blocks) && step.reserve_ms.is_none() {
            let longest_ms = (2 * about_ms(&limits[0])).min(duration::MAX_MS);
            let lengths = 0..random.from(1, 3);
            step.block_ms = lengths.map(|_| random.from(1, longest_ms)).collect();
        }
        if random.percent(orders) {
            let longest_ms = (2 * about_ms(&limits[0])).min(duration::MAX_MS);
            let length_ms = random.from(1, longest_ms);
            step.order_ms = Some(random.pick(&[0, length_ms, length_ms, length_ms]));
        }
        if random.percent(repeats) && !step.is_once() && algorithm != Algorithm::Lease {
            step.id = vec![random.pick(b"abcdefgh")];
            step.ids = ids::Bounds {
                most: random.pick(&[1, 2, 4, ids::DEFAULT_IDS]),
                ttl_ms: random.from(1, (2 * about_ms(&limits[0])).min(ids::MAX_TTL_MS)),
            };
        }
        step.resolve();
        trace.push(step);
    }
    trace
}

/// The same calls on a log that has to merge early.
pub fn with_log_size(mut steps: Vec<Step>, log_size: u16) -> Vec<Step> {
    for step in &mut steps {
        step.log_size = log_size;
    }
    steps
}

/// One limit of a call.
#[derive(Clone, Copy)]
struct Look<'a> {
    limit: &'a Limit,
    /// The fixed window that the clock is in; `None` where only the calendar could say.
    current: Option<Window>,
    id: &'a [u8],
    /// Whether the server is one of several regions.
    in_region: bool,
    now_ms: u64,
}

impl<'a> Look<'a> {
    /// As RL.INFO looks.
    fn inspecting(limit: &'a Limit, now_ms: u64) -> Self {
        Self {
            limit,
            current: limit.span().plain_ms().map(|ms| aligned(ms, now_ms)),
            id: &[],
            in_region: false,
            now_ms,
        }
    }

    fn window_ms(&self) -> u64 {
        self.limit.window_ms()
    }

    /// What is used of a bucket now.
    fn flow(&self, visits: &[Visit]) -> Flow {
        let mut flow = Flow::of(visits, self.window_ms());
        flow.pass(self.now_ms, self.limit.refill(), self.in_region);
        flow
    }

    /// Whether its window begins with the first charge.
    fn is_first(&self) -> bool {
        self.limit.span().first_ms().is_some()
    }

    /// The fixed window now; where only the calendar could say, one as long as another that begins now.
    fn current_for(&self, window: &Window) -> Window {
        let current = self.current.filter(|_| !self.is_first());
        current.unwrap_or(Window {
            start_ms: self.now_ms,
            end_ms: self.now_ms + (window.end_ms - window.start_ms),
        })
    }
}

fn aligned(window_ms: u64, now_ms: u64) -> Window {
    let start_ms = now_ms / window_ms * window_ms;
    Window {
        start_ms,
        end_ms: start_ms + window_ms,
    }
}

/// What is used of one limit.
#[derive(Clone, Debug)]
enum Usage {
    /// The window that was charged last, and what is counted in it.
    Fixed(Option<(Window, u64)>),
    /// (time, cost), oldest first.
    Sliding(Vec<(u64, u64)>),
    /// Everything that happened, oldest first; and since when it has not been full, if that is noted.
    Bucket(Vec<Visit>, Option<u64>),
    /// Who holds something.
    Lease(Vec<Holder>),
}

/// The bucket was charged, or its clock was set back (that is a visit of cost 0).
#[derive(Clone, Copy, Debug)]
struct Visit {
    at_ms: u64,
    cost: i64,
    capacity: u64,
    refill: u64,
    /// The time that a refund named.
    named_ms: u64,
    /// What was reserved.
    place: Option<Place>,
    in_region: bool,
}

/// What is used of a bucket, and promised, in units of 1/interval token.
#[derive(Clone, Copy, Debug, Default)]
struct Flow {
    level: i128,
    promised: i128,
    /// Until the last who has a place acts.
    ahead_ms: u64,
    at_ms: u64,
    refill: u64,
    /// The place reserved last, while it can be given back.
    stamp_ms: u64,
    last: i128,
}

impl Flow {
    /// After all that happened.
    fn of(visits: &[Visit], interval_ms: u64) -> Self {
        let mut flow = Self::default();
        for visit in visits {
            flow.pass(visit.at_ms, visit.refill, visit.in_region);
            flow.visit(visit, i128::from(interval_ms));
        }
        flow
    }

    /// Those who have a place drain at the rate that they were promised; what comes behind them, at the better one.
    fn pass(&mut self, now_ms: u64, refill: u64, in_region: bool) {
        let passed_ms = now_ms.saturating_sub(self.at_ms);
        let theirs_ms = if in_region {
            0
        } else {
            passed_ms.min(self.ahead_ms)
        };
        let behind_ms = passed_ms - theirs_ms;
        let drained = i128::from(theirs_ms) * i128::from(self.refill)
            + i128::from(behind_ms) * i128::from(refill.max(self.refill));
        self.level = (self.level - drained).max(0);
        self.promised = (self.promised - drained).max(0);
        self.ahead_ms = self.ahead_ms.saturating_sub(passed_ms);
        self.at_ms = now_ms;
        self.settle();
    }

    fn settle(&mut self) {
        if self.ahead_ms == 0 {
            (self.promised, self.last) = (0, 0);
        }
    }

    /// How long until at most so much is used, where it drains behind those who have a place at this rate.
    fn wait_ms(&self, target: i128, refill: u64, in_region: bool) -> u64 {
        let ceil = |units: i128, refill: u64| {
            let refill = i128::from(refill.max(1));
            u64::try_from(units / refill + i128::from(units % refill > 0)).unwrap_or(u64::MAX)
        };
        let excess = (self.level - target).max(0);
        let ahead_ms = if in_region { 0 } else { self.ahead_ms };
        let theirs = i128::from(ahead_ms) * i128::from(self.refill);
        let wait_ms = match excess - theirs {
            ..0 => ceil(excess, self.refill),
            behind => ahead_ms.saturating_add(ceil(behind, refill.max(self.refill))),
        };
        wait_ms.min(MAX_TIME_MS)
    }

    fn visit(&mut self, visit: &Visit, interval: i128) {
        let (cost, capacity) = (i128::from(visit.cost), i128::from(visit.capacity));
        let is_ahead = self.ahead_ms > 0;
        let mut is_lifted = false;
        if visit.in_region {
            self.ahead_ms = 0;
            self.settle();
            self.level = (self.level + cost * interval).max(0);
        } else if let Some(place) = visit.place {
            let wait_ms = place.acts_ms - visit.at_ms;
            let target = (capacity - cost) * interval;
            let is_own = self.wait_ms(target, visit.refill, false) == wait_ms;
            is_lifted = wait_ms >= self.ahead_ms;
            let more = i128::from(visit.refill) - i128::from(self.refill);
            if is_lifted && more > 0 {
                // As much as makes the same at the end of those who have a place.
                let theirs = i128::from(self.ahead_ms) * i128::from(self.refill);
                let more = i128::from(self.ahead_ms) * more;
                self.level = self.level.max(theirs) + more;
                self.promised = self.promised.max(theirs) + more;
            }
            let rate = if is_lifted {
                visit.refill
            } else {
                visit.refill.min(self.refill)
            };
            let turn = match is_own {
                true => (self.level - target).max(0),
                false => i128::from(wait_ms) * i128::from(rate),
            };
            if is_ahead || wait_ms > 0 {
                self.promised = self.promised.max(turn) + cost * interval;
            }
            self.level = (self.level + cost * interval).max(self.promised);
            self.ahead_ms = self.ahead_ms.max(wait_ms);
            let is_last = place.stamp_ms < MAX_TIME_MS;
            self.stamp_ms = place.stamp_ms;
            self.last = if is_last { cost * interval } else { 0 };
        } else if cost > 0 {
            self.level += cost * interval;
            if is_ahead && self.level <= capacity * interval {
                self.promised += cost * interval;
            }
            if visit.at_ms == self.stamp_ms {
                self.last = 0;
            }
        } else if cost < 0 {
            if visit.named_ms == self.stamp_ms {
                let freed = self.last.min(-cost * interval);
                (self.promised, self.last) = ((self.promised - freed).max(0), 0);
            }
            self.level = (self.level + cost * interval).max(self.promised);
        }
        let most = i128::from(MAX_COUNT) * interval;
        self.level = self.level.min(most);
        self.promised = self.promised.min(self.level);
        self.settle();
        self.refill = match is_ahead && !is_lifted && !visit.in_region {
            true => visit.refill.min(self.refill),
            false => visit.refill,
        };
    }
}

#[derive(Clone, Debug)]
struct Holder {
    id: Vec<u8>,
    cost: u64,
    ends_ms: u64,
    ttl_ms: u64,
}

impl Holder {
    /// Never more left than it was given.
    fn ends_ms(&self, now_ms: u64) -> u64 {
        self.ends_ms.min(now_ms + self.ttl_ms)
    }
}

impl Usage {
    fn unused(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Fixed => Usage::Fixed(None),
            Algorithm::Sliding => Usage::Sliding(Vec::new()),
            Algorithm::Bucket => Usage::Bucket(Vec::new(), None),
            Algorithm::Lease => Usage::Lease(Vec::new()),
        }
    }

    /// The fixed window that the clock is in: one of which something is used ends when it was said to.
    fn current(&self, look: Look) -> Option<Window> {
        match self {
            Usage::Fixed(Some((window, 1..))) if window.contains(look.now_ms) => Some(*window),
            // It never lasts longer than it is long.
            Usage::Fixed(Some((window, 1..)))
                if look.is_first() && window.start_ms > look.now_ms =>
            {
                Some(look.current_for(window))
            }
            _ => look.current,
        }
    }

    /// The fixed window that binds, and what is counted in it: the one charged last, while it lasts or where it begins one
    /// window ahead at the most; one further ahead is moved to now's.
    fn binds(&self, look: Look) -> (Window, u64) {
        let Usage::Fixed(charged) = self else {
            return (Window::default(), 0);
        };
        match (charged, self.current(look)) {
            (None | Some((_, 0)), current) => (current.unwrap_or_default(), 0),
            (Some((window, used)), None) if look.now_ms < window.end_ms => (*window, *used),
            (Some((window, _)), None) => (*window, 0),
            (Some((window, used)), Some(current)) => {
                if window.end_ms <= look.now_ms {
                    (current, 0) // one that was moved may end within the calendar's own
                } else if window.start_ms > current.end_ms
                    || look.is_first() && window.start_ms > look.now_ms
                {
                    (current, *used)
                } else if window.start_ms >= current.start_ms {
                    (*window, *used)
                } else {
                    (current, 0)
                }
            }
        }
    }

    /// Units that are used, rounded up.
    fn used(&self, look: Look) -> u64 {
        let now_ms = look.now_ms;
        match self {
            Usage::Fixed(_) => self.binds(look).1,
            Usage::Sliding(log) => log
                .iter()
                .filter(|(at_ms, _)| at_ms.min(&now_ms) + look.window_ms() > now_ms)
                .map(|(_, cost)| cost)
                .sum(),
            Usage::Bucket(visits, _) => {
                let level = look.flow(visits).level;
                let interval = i128::from(look.window_ms());
                let whole = level / interval + i128::from(level % interval > 0);
                u64::try_from(whole).unwrap()
            }
            Usage::Lease(holders) => {
                let live = holders.iter().filter(|holder| holder.ends_ms > now_ms);
                live.map(|holder| holder.cost).sum()
            }
        }
    }

    /// What the asker holds itself.
    fn own(&self, look: Look) -> u64 {
        let Usage::Lease(holders) = self else {
            return 0;
        };
        let mut live = holders.iter().filter(|holder| holder.ends_ms > look.now_ms);
        live.find(|holder| holder.id == look.id)
            .map_or(0, |holder| holder.cost)
    }

    /// Milliseconds until others than the asker use at most `target`.
    fn wait(&self, look: Look, target: u64) -> u64 {
        let mut settled = self.clone();
        settled.rewind(look);
        if let Usage::Lease(holders) = &mut settled {
            holders.retain(|holder| holder.id != look.id);
        }
        settled.until(look, target)
    }

    /// Milliseconds until nothing is used.
    fn reset(&self, look: Look) -> u64 {
        let mut settled = self.clone();
        settled.rewind(look);
        settled.until(look, 0)
    }

    fn until(&self, look: Look, target: u64) -> u64 {
        let now_ms = look.now_ms;
        let ends: Vec<u64> = match self {
            Usage::Fixed(_) => {
                let (window, used) = self.binds(look);
                return if used <= target {
                    0
                } else {
                    window.end_ms - now_ms
                };
            }
            Usage::Sliding(log) => log
                .iter()
                .map(|(at_ms, _)| at_ms + look.window_ms())
                .collect(),
            Usage::Lease(holders) => holders.iter().map(|holder| holder.ends_ms).collect(),
            Usage::Bucket(visits, _) => {
                let target = i128::from(target) * i128::from(look.window_ms());
                let refill = look.limit.refill();
                return look.flow(visits).wait_ms(target, refill, look.in_region);
            }
        };
        let later = ends.into_iter().filter(|end_ms| *end_ms > now_ms);
        let mut due: Vec<u64> = std::iter::once(now_ms).chain(later).collect();
        due.sort_unstable();
        let due_ms = due.into_iter().find(|at_ms| {
            self.used(Look {
                now_ms: *at_ms,
                ..look
            }) <= target
        });
        due_ms.unwrap() - now_ms
    }

    /// Whether something lies too far ahead of the clock.
    fn is_ahead(&self, look: Look) -> bool {
        match self {
            Usage::Fixed(None | Some((_, 0))) => false,
            Usage::Fixed(Some((window, _))) if look.is_first() => window.start_ms > look.now_ms,
            Usage::Fixed(Some((window, _))) => window.start_ms > look.current_for(window).end_ms,
            Usage::Sliding(log) => log.iter().any(|(at_ms, _)| *at_ms > look.now_ms),
            Usage::Bucket(visits, _) => visits.last().is_some_and(|last| last.at_ms > look.now_ms),
            Usage::Lease(holders) => holders
                .iter()
                .any(|holder| holder.ends_ms > holder.ends_ms(look.now_ms)),
        }
    }

    /// Whether anybody waits for a place of a bucket.
    fn has_places(&self, look: Look) -> bool {
        match self {
            Usage::Bucket(visits, _) => {
                look.flow(visits).ahead_ms > 0 || self.ends_ms(look).is_some()
            }
            _ => false,
        }
    }

    /// The limit of the last charge; of a bucket in which places are ahead, at the rate that they were promised at.
    fn keeps(&self, look: Look) -> Limit {
        let limit = look.limit;
        match self {
            Usage::Bucket(visits, _) => {
                let refill = Flow::of(visits, look.window_ms()).refill;
                Limit::bucket(limit.limit(), refill, look.window_ms()).unwrap()
            }
            _ => *limit,
        }
    }

    /// Of a bucket of several regions: when the last act of those who wait is due, which is later than that of any charge.
    fn ends_ms(&self, look: Look) -> Option<u64> {
        let Usage::Bucket(visits, since_ms) = self else {
            return None;
        };
        let at_ms = visits.last().filter(|_| look.in_region)?.at_ms;
        let ends_ms = match Flow::of(visits, look.window_ms()).ahead_ms {
            0 => since_ms.filter(|since_ms| *since_ms > at_ms)?,
            ahead_ms => (at_ms + ahead_ms).min(MAX_TIME_MS),
        };
        let ends_ms = ends_ms - at_ms.saturating_sub(look.now_ms);
        (ends_ms > look.now_ms).then_some(ends_ms)
    }

    /// Takes what was charged later than now as charged now.
    fn rewind(&mut self, look: Look) {
        if !self.is_ahead(look) {
            return;
        }
        let now_ms = look.now_ms;
        let ends_ms = self.ends_ms(look);
        match self {
            Usage::Fixed(charged) => {
                if let Some((window, _)) = charged {
                    *window = look.current_for(window);
                }
            }
            Usage::Sliding(log) => {
                for (at_ms, _) in log {
                    *at_ms = (*at_ms).min(now_ms);
                }
            }
            Usage::Bucket(visits, since_ms) => {
                let moved = ends_ms.or(since_ms.map(|since_ms| since_ms.min(now_ms)));
                if let Some(last) = visits.last().copied() {
                    visits.push(Visit {
                        at_ms: now_ms,
                        cost: 0,
                        place: None,
                        in_region: look.in_region,
                        ..last
                    });
                }
                *since_ms = moved;
            }
            Usage::Lease(holders) => {
                for holder in holders {
                    holder.ends_ms = holder.ends_ms(now_ms);
                }
            }
        }
    }

    /// For how many milliseconds more a charge of `at_ms` is counted: 0 where it no longer is.
    fn counts_ms(&self, look: Look, at_ms: u64) -> u64 {
        let now_ms = look.now_ms;
        match self {
            Usage::Fixed(_) if look.is_first() => {
                let ms = look.limit.span().first_ms().unwrap();
                (at_ms + ms).saturating_sub(now_ms)
            }
            Usage::Fixed(_) => {
                let mut current = self.current(look).unwrap();
                let (binds, _) = self.binds(look);
                // One that stays ahead may begin within the calendar's own, where it was moved.
                if binds.contains(at_ms) && at_ms > now_ms {
                    return binds.end_ms - now_ms;
                }
                if binds.start_ms > now_ms && at_ms < binds.start_ms {
                    current.end_ms = current.end_ms.min(binds.start_ms);
                }
                match at_ms {
                    _ if at_ms.min(now_ms) < current.start_ms => 0,
                    _ if at_ms < current.end_ms => current.end_ms - now_ms,
                    // As one of now, until the window that it names is over.
                    _ => match look.limit.span().plain_ms() {
                        Some(ms) => aligned(ms, at_ms).end_ms - now_ms,
                        None if at_ms > CALENDAR_ENDS_MS => u64::MAX,
                        None => resolved(look.limit.span(), at_ms).end_ms - now_ms,
                    },
                }
            }
            Usage::Sliding(_) => (at_ms + look.window_ms()).saturating_sub(now_ms),
            Usage::Bucket(..) | Usage::Lease(_) => u64::MAX,
        }
    }

    /// How much a refund of what was charged at `at_ms` may give back: what of it may still be counted.
    fn refundable(&self, look: Look, at_ms: u64) -> u64 {
        let mut settled = self.clone();
        settled.rewind(look);
        let (used, now_ms) = (settled.used(look), look.now_ms);
        let is_counted = match &settled {
            _ if at_ms >= now_ms => true,
            Usage::Fixed(_) => at_ms >= settled.current(look).unwrap().start_ms,
            Usage::Sliding(log) => {
                let counted = log.iter().filter(|(time_ms, _)| {
                    time_ms + look.window_ms() > now_ms && *time_ms <= at_ms
                });
                return counted.map(|(_, cost)| cost).sum();
            }
            Usage::Bucket(_, since_ms) => since_ms.is_some_and(|since_ms| at_ms >= since_ms),
            Usage::Lease(_) => false,
        };
        if let (Usage::Bucket(visits, _), true) = (&settled, is_counted) {
            if settled.ends_ms(look).is_some() {
                return 0;
            }
            let flow = look.flow(visits);
            let last = if at_ms == flow.stamp_ms { flow.last } else { 0 };
            let freed = flow.level - (flow.promised - last).max(0);
            let interval = i128::from(look.window_ms());
            return u64::try_from(freed / interval + i128::from(freed % interval > 0)).unwrap();
        }
        if is_counted {
            used
        } else {
            0
        }
    }

    fn charge(&mut self, look: Look, cost: i64, at_ms: u64, place: Option<Place>) {
        let now_ms = look.now_ms;
        let is_due = if cost < 0 {
            self.refundable(look, at_ms) > 0
        } else {
            self.counts_ms(look, at_ms) > 0
        };
        let cost = if is_due { cost } else { 0 };
        self.rewind(look);
        let is_full = self.used(look) == 0;
        let ends_ms = self.ends_ms(look);
        match self {
            Usage::Fixed(_) => {
                let (window, used) = self.binds(look);
                let used = used.cast_signed().saturating_add(cost).max(0);
                *self = Usage::Fixed(Some((window, used.cast_unsigned())));
            }
            Usage::Sliding(log) => {
                log.retain(|(time_ms, _)| time_ms + look.window_ms() > now_ms);
                if cost > 0 {
                    log.push((at_ms.min(now_ms), cost.cast_unsigned()));
                    log.sort_by_key(|(time_ms, _)| *time_ms);
                }
                let mut back = cost.min(0).unsigned_abs();
                for (time_ms, entry) in log.iter_mut().rev() {
                    if *time_ms <= at_ms {
                        let part = back.min(*entry);
                        *entry -= part;
                        back -= part;
                    }
                }
                log.retain(|(_, entry)| *entry > 0);
            }
            Usage::Bucket(visits, since_ms) => {
                visits.push(Visit {
                    at_ms: now_ms,
                    cost,
                    capacity: look.limit.limit(),
                    refill: look.limit.refill(),
                    named_ms: at_ms,
                    place,
                    in_region: look.in_region,
                });
                if is_full && since_ms.is_some() {
                    *since_ms = Some(now_ms);
                }
                if let (true, Some(since_ms)) = (look.in_region, since_ms) {
                    let acts_ms = place.map_or(0, |place| place.acts_ms);
                    let acts_ms = if acts_ms > now_ms { acts_ms } else { 0 };
                    *since_ms = ends_ms.unwrap_or(*since_ms).max(acts_ms).min(MAX_TIME_MS);
                }
            }
            Usage::Lease(holders) => {
                let ttl_ms = look.window_ms();
                holders.retain(|holder| holder.ends_ms > now_ms && holder.id != look.id);
                holders.push(Holder {
                    id: look.id.to_vec(),
                    cost: cost.unsigned_abs(),
                    ends_ms: now_ms + ttl_ms,
                    ttl_ms,
                });
            }
        }
    }
}

/// One key.
#[derive(Clone, Default)]
pub struct Model {
    /// The limits of the last charge and what is used of each, and behind them the windows that others use; `None` where
    /// there is no key.
    meters: Option<Vec<(Limit, Usage)>>,
    block: Option<Block>,
    /// The block by order: when it ends, and for how long it was given.
    shut: Option<(u64, u64)>,
    /// The hits that had an id, in their order.
    ids: Vec<(Vec<u8>, Known)>,
    /// Whether its buckets note since when they have not been full.
    is_noting: bool,
}

/// What the model answers.
#[derive(Clone, Debug)]
pub struct Answer {
    pub verdicts: Vec<Verdict>,
    pub fits: bool,
    pub taken: i64,
    pub change: Change,
    pub repeats: Option<u64>,
}

impl Answer {
    fn lets_through(&self) -> bool {
        self.fits || self.repeats.is_some()
    }
}

impl Model {
    fn usage(&self, algorithm: Algorithm, limit: &Limit) -> Usage {
        let found = self
            .meters
            .iter()
            .flatten()
            .find(|(other, _)| algorithm == Algorithm::Lease || other.span() == limit.span());
        match (found, algorithm) {
            (Some((_, usage)), _) => usage.clone(),
            (None, Algorithm::Bucket) if self.is_noting => Usage::Bucket(Vec::new(), Some(0)),
            (None, _) => Usage::unused(algorithm),
        }
    }

    fn looks<'a>(step: &'a Step) -> Vec<Look<'a>> {
        let look = |(index, limit): (usize, &'a Limit)| {
            let mut look = Look::inspecting(limit, step.now_ms);
            look.current = look.current.or(step.windows.get(index).copied());
            look.id = &step.id;
            look.in_region = step.region.is_some();
            look
        };
        step.limits.iter().enumerate().map(look).collect()
    }

    /// How to look at a meter, whether or not the call names it.
    fn look_at<'a>(step: &'a Step, limit: &'a Limit) -> Look<'a> {
        let named = Self::looks(step)
            .into_iter()
            .find(|look| look.limit.span() == limit.span());
        Look {
            limit,
            in_region: step.region.is_some(),
            ..named.unwrap_or(Look::inspecting(limit, step.now_ms))
        }
    }

    /// Whether a window of the calendar that the step does not name lies too far ahead.
    fn is_unnamed_ahead(&self, step: &Step) -> bool {
        self.meters.iter().flatten().any(|(limit, usage)| {
            let look = Self::look_at(step, limit);
            look.current.is_none() && usage.is_ahead(look)
        })
    }

    /// Makes what was charged later than now count as charged now.
    pub fn rewind(&mut self, step: &Step) {
        for (limit, usage) in self.meters.iter_mut().flatten() {
            usage.rewind(Self::look_at(step, limit));
        }
        self.settle_notes(step.now_ms);
    }

    /// Of a block no more is left than was given, and one that is forgotten is gone, as is one by order that is over; so of ids,
    /// the oldest first.
    fn settle_notes(&mut self, now_ms: u64) {
        for (_, known) in &mut self.ids {
            known.noted_ms = known.noted_ms.min(now_ms);
        }
        let ended = self.ended(now_ms);
        self.ids.drain(..ended);
        self.shut = self.shut.filter(|(until_ms, _)| now_ms < *until_ms);
        if let Some((until_ms, length_ms)) = &mut self.shut {
            *until_ms = (*until_ms).min(now_ms + *length_ms);
        }
        self.block = self.block(now_ms);
        if let Some(block) = &mut self.block {
            block.until_ms = block.until_ms.min(now_ms + block.length_ms);
        }
    }

    fn is_ahead(&self, step: &Step) -> bool {
        let mut meters = self.meters.iter().flatten();
        let is_block_ahead = |block: &Block| block.until_ms > step.now_ms + block.length_ms;
        meters.any(|(limit, usage)| usage.is_ahead(Self::look_at(step, limit)))
            || self.block.as_ref().is_some_and(is_block_ahead)
            || self
                .shut
                .is_some_and(|(until_ms, length_ms)| until_ms > step.now_ms + length_ms)
            || self
                .ids
                .iter()
                .any(|(_, known)| known.noted_ms > step.now_ms)
    }

    /// How many of the oldest ids have ended.
    fn ended(&self, now_ms: u64) -> usize {
        let mut ids = self.ids.iter();
        ids.position(|(_, known)| known.noted_ms + known.ttl_ms > now_ms)
            .unwrap_or(self.ids.len())
    }

    /// What is remembered of an id.
    fn known(&self, id: &[u8], now_ms: u64) -> Option<&Known> {
        let mut newest = self.ids.iter().rev();
        let is_live = |known: &Known| known.noted_ms + known.ttl_ms > now_ms;
        let found = newest.find(|(its, known)| its == id && is_live(known));
        found.map(|(_, known)| known)
    }

    /// Answers a hit that the key has had.
    fn repeat(&self, step: &Step, known: &Known) -> Answer {
        let (looks, cost) = (Self::looks(step), step.cost.max(0).unsigned_abs());
        let told_ms = known.wait_ms.unwrap_or(0);
        let left_ms = (known.noted_ms + told_ms).saturating_sub(step.now_ms);
        let usage = |look: &Look| self.usage(step.algorithm, look.limit);
        let fits_now = |look: &Look| usage(look).used(*look) + cost <= look.limit.limit();
        let fits = looks.iter().all(fits_now);
        let verdict = |look: &Look| Verdict {
            allowed: known.is_allowed,
            limit: look.limit.limit(),
            used: usage(look).used(*look),
            retry: match look.limit.limit().checked_sub(cost) {
                _ if known.is_allowed => Retry::After(left_ms.min(told_ms)),
                _ if fits => Retry::After(0),
                Some(target) => Retry::After(usage(look).wait(*look, target)),
                None => Retry::Never,
            },
            reset_after_ms: usage(look).reset(*look),
        };
        Answer {
            verdicts: looks.iter().map(verdict).collect(),
            fits: known.is_allowed,
            taken: known.taken.cast_signed(),
            change: Change::None,
            repeats: Some(known.stamp_ms),
        }
    }

    /// Answers a call as [`Model::judge`] does, or as the key has answered it.
    pub fn quote(&self, step: &Step, others: bool) -> Option<(Answer, Model)> {
        let known = self.known(&step.id, step.now_ms);
        if let Some(known) = known.filter(|_| step.is_once()) {
            let probe = Step {
                cost: 0,
                force: false,
                at_ms: None,
                ..step.clone()
            };
            self.judge(&probe, false)?; // there may be too many windows to say anything of these
            return Some((self.repeat(step, known), self.clone()));
        }
        let (mut answer, mut next) = self.judge(step, others)?;
        let at_ms = step.at_ms.map(|at_ms| at_ms.min(step.now_ms));
        let finds_nothing = step.cost < 0
            && step.at_ms != Some(0)
            && (others || step.force)
            && self.meters.is_some();
        let cost = match answer.change {
            Change::Charge(_) | Change::Reserve(_) => Some(answer.change.cost()),
            Change::None | Change::Rewind if finds_nothing => Some(0),
            _ => None,
        };
        if let Some(cost) = cost.filter(|_| step.is_once()) {
            let longest = answer.verdicts.iter().map(|verdict| verdict.retry).max();
            let wait_ms = match longest {
                Some(Retry::After(ms)) if step.reserve_ms.is_some() && cost > 0 => Some(ms),
                _ => None,
            };
            let place = match answer.change {
                Change::Reserve(place) => Some(place),
                _ => None,
            };
            let ended = self.ended(step.now_ms);
            let drops = (self.ids.len() - ended + 1).saturating_sub(step.ids.most);
            let known = Known {
                noted_ms: step.now_ms,
                ttl_ms: step.ids.ttl_ms,
                is_allowed: answer.fits,
                taken: cost.max(0).unsigned_abs(),
                stamp_ms: match at_ms {
                    _ if place.is_some() => place.map_or(0, |place| place.stamp_ms),
                    Some(at_ms) => at_ms,
                    None if cost > 0 => step.now_ms,
                    None => 0,
                },
                wait_ms,
            };
            next.settle_notes(step.now_ms);
            next.ids.drain(..drops);
            next.ids.push((step.id.clone(), known));
            next.settle_notes(step.now_ms); // one that had ended may be the oldest now
            answer.change = Change::Once(Once {
                cost,
                mark: ids::mark(&step.id),
                ttl_ms: u32::try_from(step.ids.ttl_ms).unwrap(),
                drops: u16::try_from(drops).unwrap(),
                is_allowed: answer.fits,
                rewinds: answer.change == Change::Rewind,
                wait_ms,
                place,
            });
        }
        // A place that is given back is forgotten.
        if let (Some(given_back @ ..0), Some(stamp_ms)) = (cost, step.at_ms) {
            next.ids.retain(|(_, known)| {
                let is_whole = known.taken <= given_back.unsigned_abs();
                known.wait_ms.is_none() || known.stamp_ms != stamp_ms || !is_whole
            });
        }
        Some((answer, next))
    }

    /// From its first stamped change on, or its first place, a bucket notes since when it has not been full.
    fn note(&mut self, step: &Step, has_place: bool) {
        if (step.stamp || has_place) && !self.is_noting {
            self.is_noting = true;
            for (_, usage) in self.meters.iter_mut().flatten() {
                if let Usage::Bucket(_, since_ms) = usage {
                    *since_ms = Some(step.now_ms);
                }
            }
        }
    }

    /// Charges whether or not it fits.
    pub fn charge(&mut self, step: &Step, cost: i64, place: Option<Place>) {
        self.note(step, place.is_some());
        let at_ms = step.at_ms.unwrap_or(MAX_TIME_MS);
        let mut meters = Vec::new();
        for look in Self::looks(step) {
            let mut usage = self.usage(step.algorithm, look.limit);
            usage.charge(look, cost, at_ms, place);
            meters.push((usage.keeps(look), usage));
        }
        if step.algorithm != Algorithm::Lease {
            for (limit, mut usage) in self.meters.take().into_iter().flatten() {
                let is_named = step.limits.iter().any(|named| named.span() == limit.span());
                if !is_named && is_in_use(&limit, &usage, step.now_ms) {
                    let look = Look {
                        in_region: step.region.is_some(),
                        ..Look::inspecting(&limit, step.now_ms)
                    };
                    usage.rewind(look);
                    meters.push((limit, usage));
                }
            }
        }
        self.meters = Some(meters);
        self.settle_notes(step.now_ms);
    }

    /// Answers a call that counts whatever its id, where everything else that it asks lets it through or not, and says what the
    /// key is after it; `None` where it is an error.
    fn judge(&self, step: &Step, others: bool) -> Option<(Answer, Model)> {
        let (looks, now_ms) = (Self::looks(step), step.now_ms);
        let (cost, is_charge) = (step.cost.unsigned_abs(), step.cost > 0);
        // A window that begins with the first charge is one server's.
        if step.region.is_some() && looks.iter().any(Look::is_first) {
            return None;
        }
        let usage = |look: &Look| self.usage(step.algorithm, look.limit);
        // Too many windows.
        if let (Some(meters), true) = (&self.meters, step.algorithm != Algorithm::Lease) {
            let is_named =
                |limit: &Limit| step.limits.iter().any(|named| named.span() == limit.span());
            let is_new =
                |named: &Limit| meters.iter().all(|(limit, _)| limit.span() != named.span());
            let kept = meters
                .iter()
                .filter(|(limit, usage)| !is_named(limit) && is_in_use(limit, usage, now_ms))
                .count();
            if step.limits.iter().any(is_new) && kept + step.limits.len() > MAX_WINDOWS {
                return None;
            }
        }
        let counts_ms = |look: &Look| match step.at_ms {
            Some(0) => 0,
            Some(at_ms) => usage(look).counts_ms(*look, at_ms),
            None => u64::MAX,
        };
        let is_late = |look: &Look| counts_ms(look) == 0;
        let after = |look: &Look| usage(look).used(*look) - usage(look).own(*look) + cost;
        let fits_limit = |look: &Look| {
            let is_renewal = is_charge && cost <= usage(look).own(*look);
            step.cost < 0 || after(look) <= look.limit.limit() || is_renewal || is_late(look)
        };
        let mut fits = looks.iter().all(fits_limit);
        let is_past_count = |look: &Look| is_charge && !is_late(look) && after(look) > MAX_COUNT;
        if step.force && looks.iter().any(is_past_count) {
            return None;
        }
        let (mut needed, mut taken) = (cost, step.cost);
        let mut turns: Vec<Retry> = Vec::new();
        if let (Some(min), true, false) = (step.min, is_charge, fits) {
            needed = min;
            let counted = looks.iter().filter(|look| !is_late(look));
            let room =
                counted.map(|look| look.limit.limit().saturating_sub(usage(look).used(*look)));
            let room = room.min().unwrap_or(cost).min(cost);
            if room >= min {
                (fits, taken) = (true, room.cast_signed());
            }
        }
        if let (Some(reserve_ms), true) = (step.reserve_ms, is_charge) {
            turns = looks
                .iter()
                .map(|look| match look.limit.limit().checked_sub(cost) {
                    Some(target) => Retry::After(usage(look).wait(*look, target)),
                    None => Retry::Never,
                })
                .collect();
            fits |= *turns.iter().max().unwrap() <= Retry::After(reserve_ms);
            if fits && looks.iter().any(is_past_count) {
                return None;
            }
        }
        let left_ms = self.left_ms(now_ms);
        let is_renewed = |look: &Look| is_charge && cost <= usage(look).own(*look);
        let is_shut = left_ms > 0 && step.cost >= 0 && !looks.iter().any(is_renewed);
        fits &= !is_shut;
        if !(fits && others || step.force) {
            taken = 0;
        }
        let is_effective = match step.at_ms {
            None => is_charge || looks.iter().any(|look| usage(look).used(*look) > 0),
            Some(0) => false,
            Some(_) if is_charge => !looks.iter().all(is_late),
            Some(at_ms) => looks
                .iter()
                .any(|look| usage(look).refundable(*look, at_ms) > 0),
        };
        let mut next = self.clone();
        let mut change = Change::None;
        if taken != 0 && is_effective {
            let place = self.place(step, &turns, fits);
            next.charge(step, taken, place);
            change = place.map_or(Change::Charge(taken), Change::Reserve);
        } else {
            taken = 0;
            if self.is_ahead(step) {
                if self.meters.is_some() {
                    next.note(step, false);
                }
                next.rewind(step);
                change = Change::Rewind;
            }
        }
        let mut verdicts: Vec<Verdict> = Vec::new();
        for (index, look) in looks.iter().enumerate() {
            let usage = next.usage(step.algorithm, look.limit);
            let retry = match (look.limit.limit().checked_sub(needed), counts_ms(look)) {
                // What is charged though others deny is asked about as it is asked for once more.
                _ if fits && (others || change != Change::Charge(taken) || taken < 0) => {
                    turns.get(index).copied().unwrap_or(Retry::After(0))
                }
                (None, u64::MAX) => Retry::Never,
                (None, counts_ms) => Retry::After(counts_ms),
                (Some(target), counts_ms) => {
                    // A reserved turn may come later.
                    let wait_ms = usage.wait(*look, target).min(counts_ms);
                    let reserve_ms = step.reserve_ms.filter(|_| is_charge).unwrap_or(0);
                    Retry::After(wait_ms.saturating_sub(reserve_ms))
                }
            };
            verdicts.push(Verdict {
                allowed: retry == Retry::After(0) || (fits && step.reserve_ms.is_some()),
                limit: look.limit.limit(),
                used: usage.used(*look),
                retry,
                reset_after_ms: usage.reset(*look),
            });
        }
        if is_shut {
            shut(&mut verdicts, left_ms);
        }
        let could_fit = step.limits.iter().all(|limit| needed <= limit.limit());
        let starts = !step.block_ms.is_empty() && is_charge && !step.force && could_fit;
        if starts && !fits && !is_shut {
            let last = self
                .block
                .filter(|block| now_ms < block.until_ms + block.length_ms);
            let strikes = last.map_or(1, |block| block.strikes.get() + 1);
            let nth = usize::try_from(strikes).unwrap().min(step.block_ms.len());
            let strikes = NonZero::new(strikes).unwrap();
            let length_ms = step.block_ms[nth - 1];
            let block = Block {
                until_ms: now_ms + length_ms,
                length_ms,
                strikes,
            };
            next.note(step, false);
            next.rewind(step);
            next.block = Some(block);
            let mut emptied = 0;
            for (index, look) in looks.iter().enumerate() {
                if verdicts[index].allowed {
                    continue;
                }
                emptied |= 1 << index;
                let meters = next.meters.iter_mut().flatten();
                for (limit, usage) in meters.filter(|(limit, _)| limit.span() == look.limit.span())
                {
                    usage.charge(*look, -MAX_COUNT.cast_signed(), MAX_TIME_MS, None);
                    *limit = usage.keeps(*look);
                }
                verdicts[index].used = 0;
                verdicts[index].retry = Retry::After(0);
                verdicts[index].reset_after_ms = 0;
                let usage = next.usage(step.algorithm, look.limit);
                if usage.has_places(*look) {
                    let target = look.limit.limit() - needed;
                    verdicts[index].used = usage.used(*look);
                    verdicts[index].retry = Retry::After(usage.wait(*look, target));
                    verdicts[index].reset_after_ms = usage.reset(*look);
                }
            }
            shut(&mut verdicts, length_ms);
            change = Change::Block { block, emptied };
        }
        let answer = Answer {
            verdicts,
            fits,
            taken,
            change,
            repeats: None,
        };
        Some((answer, next))
    }

    /// The place that a hit reserves, if it waits for its turn, or somebody else may have the stamp of now. Each has a stamp
    /// of its own.
    fn place(&self, step: &Step, turns: &[Retry], fits: bool) -> Option<Place> {
        let (Some(Retry::After(wait_ms)), true) = (turns.iter().max(), fits) else {
            return None;
        };
        let stamped = self.meters.iter().flatten().filter_map(|(limit, usage)| {
            let Usage::Bucket(visits, _) = usage else {
                return None;
            };
            let stamp_ms = match step.region {
                None => Flow::of(visits, limit.window_ms()).stamp_ms,
                Some(_) => 0,
            };
            Some(visits.last()?.at_ms.max(stamp_ms))
        });
        let free_ms = stamped.max().map_or(0, |stamp_ms| stamp_ms + 1);
        let stamp_ms = free_ms.max(step.now_ms).min(MAX_TIME_MS);
        let is_place = *wait_ms > 0 || (step.stamp && stamp_ms > step.now_ms);
        is_place.then_some(Place {
            cost: step.cost.unsigned_abs(),
            acts_ms: step.now_ms + wait_ms,
            stamp_ms,
        })
    }

    /// In how many milliseconds more of each limit will remain than an answer says, which left this: once less is used than
    /// was, or than the limit where that is less, and any block is over.
    fn nexts(&self, step: &Step, answer: &Answer) -> Vec<Retry> {
        let left_ms = self.left_ms(step.now_ms);
        let next = |(look, verdict): (Look, &Verdict)| {
            let usage = self.usage(step.algorithm, look.limit);
            match (verdict.used.min(verdict.limit), verdict.used) {
                (_, 0) => Retry::After(0),
                (0, _) => Retry::Never,
                (said, _) => {
                    let look = Look { id: &[], ..look };
                    Retry::After(usage.wait(look, said - 1).max(left_ms))
                }
            }
        };
        let looks = Self::looks(step).into_iter();
        looks.zip(&answer.verdicts).map(next).collect()
    }

    /// Answers a call, and becomes what the key is after it.
    pub fn hit(&mut self, step: &Step) -> Option<Answer> {
        let (answer, next) = self.quote(step, true)?;
        *self = next;
        Some(answer)
    }

    /// Gives a lease back. Whether it was held.
    fn release(&mut self, step: &Step) -> bool {
        let Some((_, Usage::Lease(holders))) = self.meters.iter_mut().flatten().next() else {
            return false;
        };
        let is_live = |holder: &Holder| holder.ends_ms > step.now_ms;
        let is_held = holders
            .iter()
            .any(|holder| holder.id == step.id && is_live(holder));
        if is_held {
            holders.retain(|holder| is_live(holder) && holder.id != step.id);
            if holders.is_empty() {
                self.meters = None;
                let left_ms = self.left_ms(step.now_ms);
                self.shut = self.shut.filter(|_| left_ms > 0);
            }
        }
        is_held
    }

    /// Per window: the limit, what is used, milliseconds until nothing is, and how many instants were charged that still
    /// count.
    pub fn reading(&self, now_ms: u64) -> Vec<(Limit, u64, u64, Option<usize>)> {
        let read = |(limit, usage): &(Limit, Usage)| {
            let look = Look::inspecting(limit, now_ms);
            let instants = match usage {
                Usage::Sliding(log) => {
                    let mut instants: Vec<u64> = log.iter().map(|entry| entry.0).collect();
                    instants.retain(|at_ms| at_ms.min(&now_ms) + limit.window_ms() > now_ms);
                    instants.dedup();
                    Some(instants.len())
                }
                _ => None,
            };
            (*limit, usage.used(look), usage.reset(look), instants)
        };
        self.meters.iter().flatten().map(read).collect()
    }

    /// Shuts the key by order, or lifts what shuts it.
    fn order(&mut self, length_ms: u64, now_ms: u64) {
        if length_ms == 0 {
            (self.block, self.shut) = (None, None);
            return;
        }
        let given =
            |(until_ms, length_ms): (u64, u64)| (until_ms.min(now_ms + length_ms), length_ms);
        let ordered = (now_ms + length_ms, length_ms);
        let before = self.shut.map(given);
        self.shut = before
            .filter(|before| before.0 > ordered.0)
            .or(Some(ordered));
    }

    /// For how long any block shuts the key.
    fn left_ms(&self, now_ms: u64) -> u64 {
        let block = self.block.map(|block| (block.until_ms, block.length_ms));
        let left_ms =
            |(until_ms, length_ms): (u64, u64)| until_ms.saturating_sub(now_ms).min(length_ms);
        let left_ms = |block: Option<(u64, u64)>| block.map_or(0, left_ms);
        left_ms(block).max(left_ms(self.shut))
    }

    /// The block, until it is forgotten.
    fn block(&self, now_ms: u64) -> Option<Block> {
        self.block
            .filter(|block| now_ms < block.until_ms + block.length_ms)
    }
}

/// Whether anything of a window that a call does not name is used.
fn is_in_use(limit: &Limit, usage: &Usage, now_ms: u64) -> bool {
    // Seen at the bucket's own rate: the caller's is that of other windows.
    usage.used(Look::inspecting(limit, now_ms)) > 0
}

/// Within a block nothing remains, and its end comes first.
fn shut(verdicts: &mut [Verdict], left_ms: u64) {
    for verdict in verdicts {
        verdict.allowed = false;
        verdict.used = verdict.used.max(verdict.limit);
        verdict.retry = verdict.retry.max(Retry::After(left_ms));
    }
}

/// Denied: the longest wait, never first. Allowed: the least remaining. The first of equals.
pub fn binding(verdicts: &[Verdict]) -> Verdict {
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

/// The bytes of a state.
pub fn encoded(state: &mut Option<Limiter>) -> Option<Vec<u8>> {
    state
        .as_mut()
        .map(|limiter| codec::encode_state(limiter.by_ref()))
}

/// Gives a lease back, as RL.RELEASE does. Whether it was held.
pub fn release(state: &mut Option<Limiter>, id: &[u8], now_ms: u64) -> bool {
    let Some(limiter) = state else {
        return false;
    };
    let mut held = limiter.held();
    let Some(leases) = held.leases() else {
        assert_eq!(held.algorithm(), None);
        return false;
    };
    let released = leases.release(&[id], now_ms);
    assert!(released <= 1);
    if released > 0 && leases.is_empty() && !held.clear_usage(now_ms) {
        *state = None;
    }
    released > 0
}

/// Shuts a key by order, as RL.BLOCK does. Whether that has changed anything.
pub fn order(state: &mut Option<Limiter>, length_ms: u64, now_ms: u64) -> bool {
    let mut held = state.as_mut().map(Limiter::held);
    let left = noted::order(held.as_mut(), length_ms, now_ms);
    let is_changed = left.is_some();
    match left {
        None | Some(Left::Same) => {}
        Some(Left::Nothing) => *state = None,
        Some(Left::Other(limiter)) => *state = Some(limiter),
    }
    is_changed
}

/// The same, of a primary and by its effect of a replica.
pub fn replicate_order(
    primary: &mut Option<Limiter>,
    replica: &mut Option<Limiter>,
    step: &Step,
) -> Result<(), String> {
    let Some(length_ms) = step.order_ms else {
        return Ok(());
    };
    let before = encoded(primary);
    if !order(primary, length_ms, step.now_ms) {
        let is_same = before == encoded(primary);
        return is_same
            .then_some(())
            .ok_or("an order in silence".to_owned());
    }
    let sent = codec::encode_order(length_ms, step.now_ms);
    match codec::decode(&sent, None) {
        Some(Effect::Order { length_ms, now_ms }) if order(replica, length_ms, now_ms) => Ok(()),
        other => Err(format!("{sent:?} is {other:?}")),
    }
}

/// Makes of a replica what the primary's effect makes of it.
pub fn replicate(
    primary: &mut Option<Limiter>,
    replica: &mut Option<Limiter>,
    step: &Step,
    change: Change,
) -> Result<(), String> {
    match change {
        Change::None => {}
        Change::Charge(_) | Change::Reserve(_) | Change::Once(_) => {
            let sent = step.effect(change);
            let Some(Effect::Charge(charge)) = codec::decode(&sent, step.id_beside()) else {
                return Err(format!("{sent:?} is no charge"));
            };
            let options = charge.options();
            let hit = charge.hit(&options);
            let again = codec::encode_change(&hit, charge.change(), charge.now_ms, false);
            if *again != *sent {
                return Err(format!("{sent:?} is written again as {:?}", &*again));
            }
            quote::peek(replica.as_mut(), &hit, charge.now_ms)
                .and_then(|_| quote::apply(replica, &hit, charge.change(), charge.now_ms))
                .map_err(|error| format!("a replica refuses {sent:?}: {error}"))?;
        }
        Change::Rewind | Change::Block { .. } => {
            let sent = encoded(primary).unwrap();
            *replica = codec::decode_state(&sent);
            if replica.is_none() {
                return Err(format!("{primary:?} is not read back from {sent:?}"));
            }
        }
    }
    Ok(())
}

/// Walks a trace with the limiter, with a replica and with the model; says where they first differ.
fn compare(steps: &[Step]) -> Result<(), String> {
    let mut state: Option<Limiter> = None;
    let mut replica: Option<Limiter> = None;
    let mut model = Model::default();
    let (mut earliest_ms, mut latest_ms, mut longest_ms) = (u64::MAX, 0, 0);
    let (mut was_given_back, mut is_past) = (false, false);
    for (index, step) in steps.iter().enumerate() {
        // Other regions are told of what was given back until its window is over, so that binds where the clock steps back.
        if step.region.is_some() && was_given_back && step.now_ms < latest_ms {
            return Ok(());
        }
        // A region knows of no act past the last millisecond that is counted.
        is_past |= step
            .reserve_ms
            .is_some_and(|reserve_ms| step.now_ms + reserve_ms > MAX_TIME_MS);
        if step.region.is_some() && is_past {
            return Ok(());
        }
        // What of the calendar's is moved unnamed counts, with regions, until the calendar's own window is over.
        if step.region.is_some() && model.is_unnamed_ahead(step) {
            return Ok(());
        }
        let differs = |what: &str, got: String, expected: String| {
            Err(format!(
                "step {index}: {what}\n     got {got}\nexpected {expected}"
            ))
        };
        if let Err(why) = replicate_order(&mut state, &mut replica, step) {
            return differs("order", why, "a copy".to_owned());
        }
        if let Some(length_ms) = step.order_ms {
            model.order(length_ms, step.now_ms);
        }
        if step.release {
            let got = release(&mut state, &step.id, step.now_ms);
            release(&mut replica, &step.id, step.now_ms);
            let expected = model.release(step);
            if got != expected {
                return differs("release", got.to_string(), expected.to_string());
            }
        } else {
            let mut next = model.clone();
            let expected = next.hit(step);
            let got = step.ask(&mut state);
            if let (Ok(quoted), Some(answer), 0) = (&got, &expected, index % 4) {
                let held = state.as_ref().map(|limiter| limiter.by_ref());
                let nexts = step.hit(|hit| quote::nexts(held, hit, quoted, step.now_ms));
                let (got, expected) = (nexts.unwrap().to_vec(), next.nexts(step, answer));
                if got != expected && quoted.decision.verdicts() == answer.verdicts {
                    return differs("next", format!("{got:?}"), format!("{expected:?}"));
                }
            }
            if !step.peek {
                model = next;
            }
            match (got, expected) {
                (Err(_), None) => {}
                // A window that was given back is one of the key's as long as others are told.
                (Err(Error::TooManyWindows), Some(_)) if step.region.is_some() => return Ok(()),
                (Ok(quoted), Some(answer)) => {
                    let verdicts = quoted.decision.verdicts();
                    if verdicts != answer.verdicts {
                        return differs(
                            "verdicts",
                            format!("{verdicts:?}"),
                            format!("{:?}", answer.verdicts),
                        );
                    }
                    let bound = quoted.decision.binding().copied();
                    if bound != Some(binding(&answer.verdicts)) {
                        return differs("binding", format!("{bound:?}"), format!("{answer:?}"));
                    }
                    let got = (
                        quoted.fits,
                        quoted.decision.allowed(),
                        quoted.taken,
                        quoted.change,
                        quoted.repeats,
                    );
                    let expected = (
                        answer.fits,
                        answer.fits,
                        answer.taken,
                        answer.change,
                        answer.repeats,
                    );
                    if got != expected {
                        return differs("outcome", format!("{got:?}"), format!("{expected:?}"));
                    }
                    if !step.peek {
                        was_given_back |= quoted.change.cost() < 0
                            || matches!(quoted.change, Change::Block { .. });
                        let before = (quoted.change == Change::None).then(|| encoded(&mut state));
                        step.hit(|hit| quote::apply(&mut state, hit, quoted.change, step.now_ms))
                            .unwrap();
                        if before.is_some_and(|before| before != encoded(&mut state)) {
                            return differs("state", "changed".to_owned(), "unchanged".to_owned());
                        }
                        if let Err(why) = replicate(&mut state, &mut replica, step, quoted.change) {
                            return differs("replica", why, "a copy".to_owned());
                        }
                    }
                }
                (got, expected) => {
                    return differs("error", format!("{got:?}"), format!("{expected:?}"));
                }
            }
        }
        let (bytes, copied) = (encoded(&mut state), encoded(&mut replica));
        if bytes != copied {
            return differs("replica", format!("{replica:?}"), format!("{state:?}"));
        }
        let expected = model.reading(step.now_ms);
        let Some(limiter) = &mut state else {
            if !expected.is_empty() {
                return differs("reading", "none".to_owned(), format!("{expected:?}"));
            }
            continue;
        };
        let held = limiter.held();
        let reading: Vec<_> = held
            .reading(step.now_ms)
            .into_iter()
            .map(|read| {
                let entries = read.log.map(|(entries, _)| usize::from(entries));
                (read.limit, read.used, read.reset_after_ms, entries)
            })
            .collect();
        let of_use = |reading: &[(Limit, u64, u64, Option<usize>)]| match step.region {
            None => reading.to_vec(),
            // What was given back is told to others until its window is over.
            Some(_) => reading.iter().filter(|read| read.1 > 0).copied().collect(),
        };
        if of_use(&reading) != of_use(&expected) {
            return differs("reading", format!("{reading:?}"), format!("{expected:?}"));
        }
        let (block, expected_block) = (held.block(step.now_ms), model.block(step.now_ms));
        if block != expected_block {
            return differs("block", format!("{block:?}"), format!("{expected_block:?}"));
        }
        let shut = held.shut(step.now_ms);
        let shut = shut.map(|shut| (shut.until_ms, shut.length_ms));
        let expected_shut = model.shut.filter(|(until_ms, _)| step.now_ms < *until_ms);
        if shut != expected_shut {
            return differs("shut", format!("{shut:?}"), format!("{expected_shut:?}"));
        }
        let open_ms = shut.map_or(0, |(until_ms, _)| until_ms);
        if held.expires_ms() < open_ms {
            return differs(
                "TTL",
                format!("{}", held.expires_ms()),
                format!("{open_ms}"),
            );
        }
        let ids = held.notes().map_or(0, |notes| notes.ids.count(step.now_ms));
        let ends = model.ids.iter().map(|(_, known)| known.ends_ms());
        let expected_ids = ends
            .clone()
            .filter(|ends_ms| *ends_ms > step.now_ms)
            .count();
        if ids != expected_ids {
            return differs("ids", format!("{ids}"), format!("{expected_ids}"));
        }
        // The key outlives its usage, its ids and its block, by no more than an eighth of the time from the first charge on, or a
        // second: unless the clock has stepped back, or nothing is used, or something for longer than time is counted.
        let forgotten_ms = block.map_or(0, |block| block.forgotten_at_ms() - step.now_ms);
        let forgotten_ms = forgotten_ms.max(ends.max().unwrap_or(0).saturating_sub(step.now_ms));
        let used_ms = expected.iter().map(|read| read.2).max().unwrap_or(0);
        let unused_at_ms = step.now_ms + used_ms.max(forgotten_ms);
        (earliest_ms, latest_ms) = (earliest_ms.min(step.now_ms), latest_ms.max(step.now_ms));
        longest_ms = step
            .limits
            .iter()
            .map(about_ms)
            .chain(step.is_once().then_some(step.ids.ttl_ms))
            .max()
            .max(Some(longest_ms))
            .unwrap();
        if let (1.., ..=MAX_TIME_MS) = (used_ms.max(forgotten_ms), unused_at_ms) {
            let expires_ms = held.expires_ms();
            let span_ms = unused_at_ms - earliest_ms;
            // The calendar's windows are longer at times than they are about.
            let slack_ms = (longest_ms + longest_ms / 8).max(span_ms).max(8_000) / 8 + 1;
            // What was given back is told to other regions until its window is over.
            let bounded = step.region.is_some()
                || expires_ms <= unused_at_ms.max(latest_ms).max(open_ms) + slack_ms;
            if expires_ms <= unused_at_ms || !(bounded || latest_ms > step.now_ms) {
                return differs("TTL", format!("{expires_ms}"), format!("{unused_at_ms}"));
            }
        }
    }
    Ok(())
}

/// Leaves out steps, windows and clauses as long as `fails` finds the rest wrong.
fn shrink(mut steps: Vec<Step>, fails: impl Fn(&[Step]) -> bool) -> Vec<Step> {
    loop {
        let without_a_step = (0..steps.len()).rev().map(|index| {
            let mut fewer = steps.clone();
            fewer.remove(index);
            fewer
        });
        let windows = steps.iter().flat_map(|step| &step.limits).map(Limit::span);
        let without_a_window = windows.map(|span| {
            let mut fewer = steps.clone();
            for step in &mut fewer {
                step.limits.retain(|limit| limit.span() != span);
                step.resolve();
            }
            fewer
        });
        let without_a_clause = (0..steps.len()).flat_map(|index| {
            let simpler: [fn(&mut Step) -> bool; 8] = [
                |step| step.order_ms.take().is_some(),
                |step| step.at_ms.take().is_some(),
                |step| step.min.take().is_some(),
                |step| step.reserve_ms.take().is_some(),
                |step| std::mem::take(&mut step.stamp),
                |step| std::mem::take(&mut step.force),
                |step| step.is_once() && !std::mem::take(&mut step.id).is_empty(),
                |step| !std::mem::take(&mut step.block_ms).is_empty(),
            ];
            let steps = &steps;
            simpler.into_iter().filter_map(move |simpler| {
                let mut fewer = steps.clone();
                simpler(&mut fewer[index]).then_some(fewer)
            })
        });
        let whole =
            |steps: &[Step]| !steps.is_empty() && steps.iter().all(|step| !step.limits.is_empty());
        let shorter = without_a_step
            .chain(without_a_window)
            .chain(without_a_clause)
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
    for seed in 0..rounds(traces) {
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
                " {}/{}:{}",
                limit.limit(),
                limit.refill(),
                limit.span().text()
            )
        };
        let limits: String = step.limits.iter().map(limit).collect();
        let verb = match (step.peek, step.release) {
            (true, _) => "peek",
            (_, true) => "release",
            _ => "hit",
        };
        let mut line = format!(
            "{index}: at {} {verb}{limits} COST {}",
            step.now_ms, step.cost
        );
        let mut add = |is: bool, what: String| {
            if is {
                line += &what;
            }
        };
        add(
            step.order_ms.is_some(),
            format!(" after {:?}", step.order_ms),
        );
        add(step.force, " FORCE".to_owned());
        add(step.stamp, " STAMP".to_owned());
        add(step.at_ms.is_some(), format!(" AT {:?}", step.at_ms));
        add(step.min.is_some(), format!(" MIN {:?}", step.min));
        add(
            step.reserve_ms.is_some(),
            format!(" RESERVE {:?}", step.reserve_ms),
        );
        add(
            !step.block_ms.is_empty(),
            format!(" BLOCK {:?}", step.block_ms),
        );
        add(!step.id.is_empty(), format!(" id {:?}", step.id));
        line + &format!(", N = {}\n", step.log_size)
    };
    steps.iter().enumerate().map(line).collect()
}

/// Traces per algorithm.
const TRACES: u64 = 100_000;

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

/// What several regions share counts as it does without regions, as long as there is one; also where it was set later.
/// A bucket of theirs always notes since when it has not been full.
fn in_a_region(random: &mut Random, mut steps: Vec<Step>) -> Vec<Step> {
    for step in &mut steps {
        step.stamp |= step.algorithm == Algorithm::Bucket;
    }
    let some = random.below(steps.len() as u64);
    let before = random.pick(&[0, some]);
    for step in steps.iter_mut().skip(usize::try_from(before).unwrap()) {
        step.region = Region::parse(b"here");
    }
    steps
}

#[test]
fn fixed_in_a_region_alone_answers_as_its_oracle() {
    for_traces(Algorithm::Fixed, TRACES / 4, in_a_region, compare);
}

#[test]
fn sliding_in_a_region_alone_answers_as_its_oracle() {
    for_traces(Algorithm::Sliding, TRACES / 4, in_a_region, compare);
}

#[test]
fn bucket_in_a_region_alone_answers_as_its_oracle() {
    for_traces(Algorithm::Bucket, TRACES / 4, in_a_region, compare);
}

#[test]
fn lease_answers_as_its_oracle() {
    for_traces(Algorithm::Lease, TRACES, |_, steps| steps, compare);
}

#[test]
fn past_n_entries_sliding_never_counts_less_than_its_oracle() {
    let merging = |_: &mut Random, steps| with_log_size(steps, MIN_ENTRIES);
    for_traces(Algorithm::Sliding, TRACES / 2, merging, |steps| {
        let mut state: Option<Limiter> = None;
        let mut model = Model::default();
        for (index, step) in steps.iter().enumerate() {
            let change = step.make(&mut state).map(|quoted| quoted.change);
            match change.unwrap_or(Change::None) {
                Change::Rewind | Change::Once(Once { rewinds: true, .. }) => model.rewind(step),
                // What is emptied is another thing where more is counted.
                Change::Block { .. } => return Ok(()),
                change if change.cost() != 0 => model.charge(step, change.cost(), None),
                _ => {}
            }
            let mut readings = state
                .iter_mut()
                .flat_map(|limiter| limiter.held().reading(step.now_ms));
            for (limit, used, reset_after_ms, _) in model.reading(step.now_ms) {
                // What is counted late may stand where its oracle has drained.
                let read = readings.find(|read| read.limit == limit);
                let is_sound = read.is_some_and(|read| {
                    let (entries, capacity) = read.log.unwrap();
                    read.used >= used
                        && read.reset_after_ms >= reset_after_ms
                        && entries <= capacity
                        && capacity == MIN_ENTRIES
                });
                if !is_sound {
                    return Err(format!("step {index}: {read:?}, but {used} of {limit:?} are used, {reset_after_ms} ms"));
                }
            }
        }
        Ok(())
    });
}

/// Several keys and what is asked of them in one call.
mod several {
    use super::*;

    /// One call of some keys.
    struct Call {
        /// Which keys, and what of each; all at one time, forced or not, as of one time.
        steps: Vec<(usize, Step)>,
        is_listed: bool,
    }

    /// A few calls of up to sixteen keys.
    fn calls(random: &mut Random) -> Vec<Call> {
        let keys = random.pick(&[1, 2, 2, 3, 3, 5, 16]);
        let traces: Vec<Vec<Step>> = (0..keys)
            .map(|_| {
                let algorithm = random.pick(&Algorithm::ALL);
                let scale = match algorithm {
                    Algorithm::Fixed => random.pick(&[Scale::Days, Scale::Calendar]),
                    _ => random.pick(&[Scale::Hours, Scale::Days]),
                };
                trace_of(random, algorithm, scale)
            })
            .collect();
        let mut now_ms = random.from(1_600_000_000_000, 1_900_000_000_000);
        let mut earlier_ms = vec![now_ms];
        (0..8)
            .map(|index| {
                let first = &traces[random.index(keys)][index];
                now_ms = next_ms(random, &first.limits, now_ms, CALENDAR_ENDS_MS);
                let at_ms = random.pick(&earlier_ms);
                earlier_ms.push(now_ms);
                let mut order: Vec<usize> = (0..keys).collect();
                order.rotate_left(random.index(keys));
                order.truncate(random.index(keys) + 1);
                let (force, stamp) = (random.percent(15), random.percent(20));
                let id: &[u8] = random.pick(&[&b""[..], b"", b"a", b"b"]);
                let at_ms = Some(at_ms).filter(|_| random.percent(20));
                let is_lease = |key: &usize| traces[*key][0].algorithm == Algorithm::Lease;
                let has_lease = order.iter().any(is_lease);
                // The first binds, so that one does.
                let shadows: Vec<usize> = order.iter().skip(1).copied().collect();
                let shadows: Vec<usize> =
                    shadows.into_iter().filter(|_| random.percent(25)).collect();
                let step = |key: usize| {
                    let mut step = traces[key][index].at(now_ms);
                    (step.min, step.reserve_ms) = (None, None);
                    (step.peek, step.release) = (false, false);
                    step.force = force && !has_lease;
                    step.at_ms = at_ms.filter(|_| !has_lease);
                    step.resolve();
                    step.stamp = stamp && step.algorithm == Algorithm::Bucket;
                    let may_shadow = step.block_ms.is_empty() && step.algorithm != Algorithm::Lease;
                    step.is_shadow = may_shadow && shadows.contains(&key);
                    if step.algorithm != Algorithm::Lease {
                        step.id = id.to_vec();
                    }
                    (key, step)
                };
                let mut steps: Vec<_> = order.into_iter().map(step).collect();
                let turn = random.index(steps.len());
                steps.rotate_left(turn);
                Call {
                    steps,
                    is_listed: random.percent(5),
                }
            })
            .collect()
    }

    /// What of a step is asked, where a deny list has stopped the call.
    fn asked(step: &Step) -> Step {
        Step {
            force: false,
            block_ms: Vec::new(),
            ..step.clone()
        }
    }

    /// What the model says of each key, and what it is afterwards; `None` where any of them is an error.
    fn expected(models: &[Model], call: &Call) -> Option<Vec<(Answer, Model)>> {
        let quote = |(key, step): &(usize, Step), others| {
            if call.is_listed {
                let (mut answer, _) = models[*key].quote(&asked(step), false)?;
                answer.change = Change::None;
                return Some((answer, models[*key].clone()));
            }
            models[*key].quote(step, others)
        };
        let alone: Option<Vec<_>> = call.steps.iter().map(|step| quote(step, true)).collect();
        let alone = alone?;
        let fits = alone.iter().map(|(answer, _)| answer.lets_through());
        let fits: Vec<bool> = fits.collect();
        if call.is_listed || all_fit(&alone, call) {
            return Some(alone);
        }
        call.steps
            .iter()
            .zip(fits)
            .map(|(step, fits)| quote(step, !fits))
            .collect()
    }

    /// Whether every key that binds lets the call through.
    fn all_fit(answers: &[(Answer, Model)], call: &Call) -> bool {
        let keys = answers.iter().zip(&call.steps);
        let mut binding = keys.filter(|(_, (_, step))| !step.is_shadow);
        binding.all(|((answer, _), _)| answer.lets_through())
    }

    /// Which key binds, and its verdict: of those that deny the longest wait; if none does, the least left for its cost.
    fn binds(answers: &[(Answer, Model)], call: &Call) -> (usize, Verdict) {
        let takes = |place: usize| call.steps[place].1.is_once();
        let is_repeat = |place: usize| answers[place].0.repeats.is_some();
        let binds = |place: usize| !call.steps[place].1.is_shadow;
        let mut taking = (0..answers.len()).filter(|place| binds(*place) && takes(*place));
        let is_all = taking.all(is_repeat);
        let all: Vec<(usize, Verdict)> = answers
            .iter()
            .map(|(answer, _)| binding(&answer.verdicts))
            .enumerate()
            .filter(|(place, _)| binds(*place) && (is_all || !is_repeat(*place)))
            .collect();
        let denied: Vec<_> = all.iter().filter(|(_, verdict)| !verdict.allowed).collect();
        if let Some(longest) = denied.iter().map(|(_, verdict)| verdict.retry).max() {
            return **denied
                .iter()
                .find(|(_, verdict)| verdict.retry == longest)
                .unwrap();
        }
        let least = |(place, verdict): &(usize, Verdict)| {
            let cost = call.steps[*place].1.cost.max(1);
            let share = |other: &(usize, Verdict)| {
                let other_cost = call.steps[other.0].1.cost.max(1);
                u128::from(other.1.remaining()) * u128::from(cost.unsigned_abs())
                    >= u128::from(verdict.remaining()) * u128::from(other_cost.unsigned_abs())
            };
            all.iter().all(share)
        };
        *all.iter().find(|each| least(each)).unwrap()
    }

    /// What each key says, and which binds.
    type Quotes = (Vec<Quote>, Option<(usize, Verdict)>);

    /// What RL.ALL does, but for opening keys and telling anybody.
    fn quote_all(states: &mut [Option<Limiter>], call: &Call) -> Result<Quotes, Error> {
        let all_options: Vec<HitOptions> = call
            .steps
            .iter()
            .map(|(_, step)| HitOptions {
                windows: &step.windows,
                at_windows: &step.at_windows,
                at_ms: step.at_ms,
                stamp: step.stamp,
                block_ms: &step.block_ms,
                is_shadow: step.is_shadow,
                id: &step.id,
                ids: step.ids,
                ..HitOptions::NONE
            })
            .collect();
        let hits: Vec<Hit> = call
            .steps
            .iter()
            .zip(&all_options)
            .map(|((_, step), options)| Hit {
                algorithm: step.algorithm,
                limits: &step.limits,
                cost: step.cost,
                force: step.force,
                log_size: step.log_size,
                options,
            })
            .collect();
        let mut owned: Vec<Option<Limiter>> = call
            .steps
            .iter()
            .map(|(key, _)| states[*key].clone())
            .collect();
        let held: Vec<_> = owned
            .iter_mut()
            .map(|state| state.as_mut().map(Limiter::held))
            .collect();
        let now_ms = call.steps[0].1.now_ms;
        let ask = |place: usize, hit: &Hit, others: bool, quoted: &mut Quote| {
            quote::quote(
                held[place].as_ref().map(|held| held.by_ref()),
                hit,
                now_ms,
                others,
                quoted,
            )
        };
        let mut quotes = quote::PerKey::new();
        quote::quote_all(ask, &hits, call.is_listed, &mut quotes)?;
        let binds = quote::binding(&quotes, &hits);
        Ok((quotes.into_vec(), binds))
    }

    fn check(seed: u64) -> Result<u64, String> {
        let mut random = Random(seed);
        let calls = calls(&mut random);
        let mut states: Vec<Option<Limiter>> = vec![None; 16];
        let mut models: Vec<Model> = vec![Model::default(); 16];
        for (index, call) in calls.iter().enumerate() {
            for (key, step) in &call.steps {
                step.order(&mut states[*key]);
                if let Some(length_ms) = step.order_ms {
                    models[*key].order(length_ms, step.now_ms);
                }
            }
            let steps: Vec<Step> = call.steps.iter().map(|(_, step)| step.clone()).collect();
            let wrong = |what: String| {
                Err(format!(
                    "call {index}, listed {}: {what}\n{}",
                    call.is_listed,
                    story(&steps)
                ))
            };
            let (quotes, bound) = match (quote_all(&mut states, call), expected(&models, call)) {
                (Err(_), None) => continue, // and nothing is changed anywhere
                (Ok(got), Some(answers)) => {
                    for (quoted, (answer, _)) in got.0.iter().zip(&answers) {
                        let same = quoted.decision.verdicts() == answer.verdicts
                            && quoted.fits == answer.fits
                            && quoted.repeats == answer.repeats
                            && quoted.change == answer.change
                            && (quoted.taken == answer.taken || call.is_listed);
                        if !same {
                            return wrong(format!("{quoted:?}, expected {answer:?}"));
                        }
                    }
                    let expected = binds(&answers, call);
                    if got.1 != Some(expected) {
                        return wrong(format!("binds {:?}, expected {expected:?}", got.1));
                    }
                    let charges = |(answer, _): &(Answer, Model)| answer.change.cost() != 0;
                    let all_fit = all_fit(&answers, call);
                    if !(all_fit || steps[0].force) && answers.iter().any(charges) {
                        return wrong("charged a part".to_owned());
                    }
                    for ((key, _), (_, next)) in call.steps.iter().zip(answers) {
                        models[*key] = next;
                    }
                    got
                }
                (got, expected) => {
                    let expected = expected.map(|answers| answers.len());
                    return wrong(format!("{got:?}, expected {expected:?}"));
                }
            };
            for ((key, step), quoted) in call.steps.iter().zip(&quotes) {
                let state = &mut states[*key];
                step.hit(|hit| quote::apply(state, hit, quoted.change, step.now_ms))
                    .unwrap();
                let expected: Vec<_> = models[*key].reading(step.now_ms);
                let reading = state
                    .iter_mut()
                    .flat_map(|limiter| limiter.held().reading(step.now_ms));
                let reading: Vec<_> = reading
                    .map(|read| {
                        let entries = read.log.map(|(entries, _)| usize::from(entries));
                        (read.limit, read.used, read.reset_after_ms, entries)
                    })
                    .collect();
                if reading != expected {
                    return wrong(format!("key {key}: {reading:?}, expected {expected:?}"));
                }
            }
            // Denied a millisecond before the promised time, and allowed at it. (A renewal above a limit that was lowered is
            // allowed only while the lease lasts.)
            let is_renewal = steps.iter().any(|step| step.algorithm == Algorithm::Lease);
            let lets_through = |quotes: &[Quote], call: &Call| {
                let mut keys = quotes.iter().zip(&call.steps);
                keys.all(|(quoted, (_, step))| quoted.fits || step.is_shadow)
            };
            if steps.iter().any(Step::is_once) {
                continue; // once an id has ended, its key denies too
            }
            let is_denied = !lets_through(&quotes, call);
            if let (true, Some((_, verdict)), false) = (is_denied, bound, call.is_listed) {
                let Retry::After(wait_ms @ 1..=1_000_000_000_000) = verdict.retry else {
                    continue;
                };
                let mut allows = |wait_ms: u64| {
                    let unforced = |(key, step): &(usize, Step)| {
                        let mut step = step.at(step.now_ms + wait_ms);
                        step.force = false;
                        (*key, step)
                    };
                    let later = Call {
                        steps: call.steps.iter().map(unforced).collect(),
                        is_listed: false,
                    };
                    let (quotes, _) = quote_all(&mut states, &later).unwrap();
                    lets_through(&quotes, &later)
                };
                if allows(wait_ms - 1) || (!allows(wait_ms) && !is_renewal) {
                    return wrong(format!("not exact: {verdict:?}"));
                }
            }
        }
        Ok(calls.len() as u64)
    }

    #[test]
    fn a_call_of_several_keys_answers_as_its_oracle() {
        let mut calls = 0;
        for seed in 0.. {
            let checked = catch_unwind(|| check(seed)).unwrap_or(Err("a panic".to_owned()));
            calls += checked.unwrap_or_else(|why| panic!("seed {seed}: {why}"));
            if calls >= 100_000 {
                break;
            }
        }
    }
}
