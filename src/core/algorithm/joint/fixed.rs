//! Fixed windows of several regions.
//!
//! # The maths
//!
//! A part is `(s, P, N)`: a window's start, what its origin has charged in it and what it has given back. Starts are a chain;
//! `(P, N)` with the greater of each is a lattice; the lexicographic product of a chain and a lattice is a lattice. So the
//! merge (the later start; of one start the maxima) is idempotent, commutative and associative.
//!
//! * All regions mean the same windows, as these are aligned to the epoch or the calendar. `used` is the sum of `P - N` over
//!   the parts of the window in force, and of one that has begun elsewhere already (another clock is ahead), never below 0: two
//!   regions may give the same units back at once. The credit ends with the window.
//! * Where regions have other time zone databases, a calendar window is the one that most of it lies in, and ends with the
//!   latest.
//! * `wait(target)`: until enough windows have ended.
//! * A part whose window is over is gone. One further ahead than the next window is not taken.
//! * `P` and `N` only grow: `N` up to `2^62`, `P` up to `2^63`. A window in which so much was charged and given back is full.

use super::super::fixed::{aligned, counts_ms};
use super::super::meter::{spilled_bytes, Allocations, Ask, Meter};
use super::counter::Counter;
use super::{Joint, Part, Parts, Received};
use crate::core::calendar::Window;
use crate::core::limit::{Algorithm, Limit, MAX_COUNT};
use crate::core::region::origin::{Origin, Region};
use crate::core::span::Span;

/// What one origin has used of one window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedPart {
    pub(in crate::core) origin: Origin,
    pub(in crate::core) start_ms: u64,
    pub(in crate::core) end_ms: u64,
    pub(in crate::core) counter: Counter,
}

/// Usage of several regions within one window, which may be the calendar's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JointFixed {
    pub(in crate::core) span: Span,
    pub(in crate::core) limit: u64,
    pub(in crate::core) parts: Parts<FixedPart>,
}

impl Part for FixedPart {
    fn begin(origin: Origin) -> Self {
        Self {
            origin,
            start_ms: 0,
            end_ms: 1,
            counter: Counter::default(),
        }
    }

    fn origin(&self) -> Origin {
        self.origin
    }

    fn set_origin(&mut self, origin: Origin) {
        self.origin = origin;
    }

    fn absorb(&mut self, copy: &Self) -> bool {
        let before = self.clone();
        if copy.start_ms > self.start_ms {
            *self = copy.clone();
        } else if copy.start_ms == self.start_ms {
            self.end_ms = self.end_ms.max(copy.end_ms);
            self.counter.absorb(&copy.counter);
        }
        *self != before
    }

    fn fold(&mut self, earlier: &Self) {
        if earlier.start_ms == self.start_ms {
            self.counter.fold(&earlier.counter);
        } else if earlier.start_ms > self.start_ms {
            let origin = self.origin;
            *self = earlier.clone();
            self.origin = origin;
        }
    }
}

impl FixedPart {
    fn window(&self) -> Window {
        Window {
            start_ms: self.start_ms,
            end_ms: self.end_ms,
        }
    }

    fn is_empty(&self) -> bool {
        self.counter.is_empty()
    }

    /// Whether it is of this window, or of the next.
    fn is_of(&self, window: Window) -> bool {
        let middle_ms = window.start_ms + (window.end_ms - window.start_ms) / 2;
        self.end_ms > middle_ms && self.start_ms <= window.end_ms
    }

    fn is_ahead(&self, now_ms: u64) -> bool {
        self.start_ms > now_ms + (self.end_ms - self.start_ms)
    }
}

/// `P - N` of a part.
fn net(part: &FixedPart) -> i128 {
    i128::from(part.counter.charged) - i128::from(part.counter.given)
}

/// Such a sum as a number of units.
fn units(net: i128) -> u64 {
    u64::try_from(net.max(0)).map_or(MAX_COUNT, |units| units.min(MAX_COUNT))
}

/// The units that some parts have used.
fn sum<'a>(parts: impl Iterator<Item = (&'a FixedPart, u64)>) -> u64 {
    units(parts.map(|(part, _)| net(part)).sum())
}

impl JointFixed {
    /// The window in force: a calendar's that has begun ends when it was said to.
    fn current(&self, ask: &Ask) -> Window {
        if let Some(span_ms) = ask.limit.span().plain_ms() {
            return aligned(span_ms, ask.now_ms);
        }
        let parts = self.parts.list.iter();
        let in_force = parts.filter(|part| !part.is_empty() && part.window().contains(ask.now_ms));
        let latest = in_force.max_by_key(|part| part.end_ms);
        latest.map_or(ask.window, FixedPart::window)
    }

    /// The window now: the aligned one, the one that the calendar says, or, where nobody asks it as nobody names the window,
    /// one as long as a part's that begins now.
    fn now(&self, part: &FixedPart, now_ms: u64, window: Option<Window>) -> Window {
        let named = self.span.plain_ms().map(|ms| aligned(ms, now_ms));
        named.or(window).unwrap_or(Window {
            start_ms: now_ms,
            end_ms: now_ms + (part.end_ms - part.start_ms),
        })
    }

    /// Drops others' parts whose windows are over.
    fn evict(&mut self, now_ms: u64) {
        let own = self.parts.own;
        let is_over = |part: &FixedPart| part.end_ms <= now_ms && Some(part.origin) != own;
        if self.parts.list.iter().any(is_over) {
            self.parts.retain(|part| !is_over(part));
        }
    }

    /// The parts that count, and when each no longer does. What this server itself has charged in a window that lies too
    /// far ahead was charged before its clock stepped back, and counts as charged now.
    fn counted(&self, current: Window) -> impl Iterator<Item = (&FixedPart, u64)> {
        let own = self.parts.own;
        self.parts.list.iter().filter_map(move |part| {
            if part.is_of(current) {
                Some((part, part.end_ms.max(current.end_ms)))
            } else {
                let is_own = Some(part.origin) == own && part.start_ms > current.end_ms;
                is_own.then_some((part, current.end_ms))
            }
        })
    }
}

impl Meter for JointFixed {
    const ALGORITHM: Algorithm = Algorithm::Fixed;

    fn unused(limit: &Limit, _log_size: u16) -> Self {
        Self {
            span: limit.span(),
            limit: limit.limit(),
            parts: Parts::none(),
        }
    }

    fn span(&self) -> Span {
        self.span
    }

    fn limit(&self) -> Option<Limit> {
        Limit::spanning(self.limit, self.span)
    }

    fn used(&self, ask: &Ask) -> u64 {
        sum(self.counted(self.current(ask)))
    }

    fn wait(&self, ask: &Ask, target: u64) -> u64 {
        let current = self.current(ask);
        if sum(self.counted(current)) <= target {
            return 0;
        }
        let ends = self.counted(current).map(|(_, end_ms)| end_ms);
        let enough =
            |at_ms: &u64| sum(self.counted(current).filter(|(_, end_ms)| end_ms > at_ms)) <= target;
        let at_ms = ends.filter(enough).min().unwrap_or(ask.now_ms);
        at_ms.saturating_sub(ask.now_ms)
    }

    fn reset_after(this: Option<&Self>, ask: &Ask, _cost: u64) -> u64 {
        let Some(joint) = this else {
            let window = ask
                .limit
                .span()
                .plain_ms()
                .map(|ms| aligned(ms, ask.now_ms));
            return window
                .unwrap_or(ask.window)
                .end_ms
                .saturating_sub(ask.now_ms);
        };
        let current = joint.current(ask);
        let counted = joint.counted(current);
        let counted = counted.filter(|(part, _)| !part.is_empty());
        let latest_ms = counted
            .map(|(_, end_ms)| end_ms)
            .fold(current.end_ms, u64::max);
        latest_ms.saturating_sub(ask.now_ms)
    }

    fn refundable(&self, ask: &Ask, at_ms: u64) -> u64 {
        let current = self.current(ask);
        // Where this server's clock has stepped back over the start of its part, what it charges now counts there.
        let own = self.parts.own;
        let is_ahead = |part: &FixedPart| Some(part.origin) == own && part.start_ms > ask.now_ms;
        let starts_ms = |part: &FixedPart| match part.start_ms {
            later_ms if part.is_of(current) && !is_ahead(part) => later_ms.max(current.start_ms),
            _ => current.start_ms,
        };
        let is_due = |part: &FixedPart| at_ms >= ask.now_ms || at_ms >= starts_ms(part);
        sum(self.counted(current).filter(|(part, _)| is_due(part)))
    }

    fn counts_ms(this: Option<&Self>, ask: &Ask, at_ms: u64) -> u64 {
        let current = match (this, ask.limit.span().plain_ms()) {
            (_, Some(span_ms)) => aligned(span_ms, ask.now_ms),
            (Some(joint), None) => joint.current(ask),
            (None, None) => ask.window,
        };
        counts_ms(current, ask.limit.span(), at_ms, ask.now_ms)
    }

    fn charge(&mut self, ask: &Ask, cost: i64, at_ms: u64) {
        let current = self.current(ask);
        let refundable = match cost {
            ..0 => self.refundable(ask, at_ms),
            _ => 0,
        };
        self.limit = ask.limit.limit();
        let own = self.parts.own();
        if own.is_some_and(|own| own.start_ms > current.start_ms) {
            self.rewind(ask.now_ms, Some(current)); // which looks whether it is too far ahead
        }
        let is_due = at_ms >= current.start_ms;
        let Some(own) = self.parts.own_mut(ask.now_ms) else {
            return;
        };
        // A clock that has stepped back over the start of the own window leaves it in force.
        if own.start_ms < current.start_ms || own.is_empty() {
            let (Window { start_ms, end_ms }, origin) = (current, own.origin);
            *own = FixedPart::begin(origin);
            (own.start_ms, own.end_ms) = (start_ms, end_ms);
        }
        if cost < 0 {
            let given = cost.unsigned_abs().min(refundable);
            own.counter.give_back(given);
        } else if is_due {
            own.counter.charge(cost.unsigned_abs());
        }
        self.evict(ask.now_ms);
    }

    fn is_unused(&self, now_ms: u64) -> bool {
        self.parts
            .list
            .iter()
            .all(|part| part.is_empty() || part.end_ms <= now_ms)
    }

    fn known_window(&self, now_ms: u64) -> Window {
        if let Some(own) = self.parts.own().filter(|_| self.is_ahead(now_ms, None)) {
            return self.now(own, now_ms, None);
        }
        let later = self.parts.list.iter().map(|part| part.start_ms);
        let next_ms = later.filter(|start_ms| *start_ms > now_ms).min();
        Window {
            start_ms: now_ms,
            end_ms: next_ms.unwrap_or(now_ms + 1),
        }
    }

    fn charged_ms(&self) -> u64 {
        let starts = self.parts.list.iter().map(|part| part.start_ms);
        starts.max().unwrap_or(0)
    }

    fn unused_at_ms(&self) -> u64 {
        let used = self.parts.list.iter().filter(|part| !part.is_empty());
        used.map(|part| part.end_ms).max().unwrap_or(0)
    }

    fn span_ms(&self) -> u64 {
        let lengths = self
            .parts
            .list
            .iter()
            .map(|part| part.end_ms - part.start_ms);
        lengths.max().unwrap_or(0)
    }

    fn is_ahead(&self, now_ms: u64, window: Option<Window>) -> bool {
        let Some(own) = self.parts.own() else {
            return false;
        };
        !own.is_empty() && own.start_ms > self.now(own, now_ms, window).end_ms
    }

    fn rewind(&mut self, now_ms: u64, window: Option<Window>) {
        if !self.is_ahead(now_ms, window) {
            return;
        }
        // Its start cannot fall: others would go by the later one. So it goes on as another origin.
        let (Some(origin), Some(own)) = (self.parts.own, self.parts.own().cloned()) else {
            return;
        };
        let to = self.now(&own, now_ms, window);
        self.parts.retain(|part| part.origin != origin);
        self.parts.begin(origin.region, now_ms, origin.began_ms);
        if let Some(part) = self.parts.own_mut(now_ms) {
            (part.start_ms, part.end_ms) = (to.start_ms, to.end_ms);
            part.counter = own.counter;
        }
    }

    fn heap_bytes(&self) -> usize {
        spilled_bytes(&self.parts.list)
    }

    fn visit_allocations(&mut self, visitor: &mut impl Allocations) {
        visitor.visit(&mut self.parts.list);
    }
}

impl Joint for JointFixed {
    type Part = FixedPart;

    fn parts(&self) -> &Parts<FixedPart> {
        &self.parts
    }

    fn parts_mut(&mut self) -> &mut Parts<FixedPart> {
        &mut self.parts
    }

    fn merge(&mut self, copy: &Self, _debt_ms: u64, now_ms: u64) -> Received {
        let mut received = Received::default();
        for part in &copy.parts.list {
            if part.is_ahead(now_ms) {
                received.refused += 1;
            } else if part.end_ms > now_ms {
                // Windows that are over make room.
                if self.parts.list.len() >= super::MAX_PARTS - 1 {
                    self.evict(now_ms);
                }
                received.add(self.parts.receive(part, !part.is_empty()));
            }
        }
        received
    }

    fn forget(&mut self, reset_ms: u64, _now_ms: u64) {
        self.parts.retain(|part| part.origin.began_ms > reset_ms);
    }

    fn export(&self, sends: impl Fn(Region) -> bool, now_ms: u64) -> Option<Self> {
        let mut copy = self.clone();
        copy.parts.own = None;
        copy.parts
            .list
            .retain(|part| sends(part.origin.region) && part.end_ms > now_ms && !part.is_empty());
        (!copy.parts.list.is_empty()).then_some(copy)
    }

    fn empty_own(&mut self, ask: &Ask) {
        self.limit = ask.limit.limit();
        let current = self.current(ask);
        let Some(region) = self.parts.own.map(|own| own.region) else {
            return;
        };
        let parts = self.parts.list.iter_mut();
        for part in parts.filter(|part| part.origin.region == region && part.is_of(current)) {
            part.counter.give_back_all();
        }
    }

    fn view(&self, region: Region, ask: &Ask) -> (u64, u64) {
        let (mut all, mut own) = (0, 0);
        for (part, _) in self.counted(self.current(ask)) {
            let net = net(part);
            all += net;
            own += if part.origin.region == region { net } else { 0 };
        }
        (units(all), units(own))
    }

    fn forgets_ms(&self, reset_ms: u64) -> u64 {
        let end_ms = match self.span.plain_ms() {
            Some(span_ms) => aligned(span_ms, reset_ms).end_ms,
            None => reset_ms,
        };
        end_ms.max(self.unused_at_ms())
    }
}
