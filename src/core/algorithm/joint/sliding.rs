//! Sliding windows of several regions.
//!
//! # The maths
//!
//! A part is a log with a stamp, written by its origin alone: a register that the later stamp wins, so again a chain per
//! origin. The union of the logs *is* the joint log: once all is delivered it decides exactly as one limiter would, but for
//! what sending makes coarser.
//!
//! * A copy that is sent has at most [`SENT`] entries: those of one 32nd of the window become one, at the time of the latest.
//!   Late, never early.
//! * A stamp is the time of the change, and the how manieth of that millisecond. It never falls.
//! * An entry later than now was charged by a clock that is ahead: it is taken as one of now.
//! * A refund takes from the own log alone: what was charged last here. (To take from another's, entries below zero at its
//!   times would be needed.)
//! * An emptied log stays until nothing that it has emptied could count: an older copy of it may still be on its way.

use super::super::log::{Entries, Log, DEFAULT_ENTRIES, MAX_ENTRIES};
use super::super::meter::{spilled_bytes, Allocations, Ask, Meter};
use super::super::sliding::Sliding;
use super::{Joint, Part, Parts, Received, MAX_AHEAD_MS};
use crate::core::calendar::Window;
use crate::core::limit::{Algorithm, Limit, MAX_COUNT};
use crate::core::region::origin::{Origin, Region};
use crate::core::span::Span;
use smallvec::SmallVec;

/// A window is sent in so many pieces, and there may be a part of one at either end.
const PIECES: u64 = 32;
/// The most entries of a log that is sent.
pub const SENT: u16 = 33;

/// When, and how much.
type Charged = (u64, u64);

/// What one origin has used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlidingPart {
    pub(in crate::core) origin: Origin,
    /// When it was changed last, and the how manieth change of that millisecond that was.
    pub(in crate::core) stamp: (u64, u64),
    pub(in crate::core) log: Log,
}

/// What several regions have charged within one rolling window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JointSliding {
    pub(in crate::core) span: Span,
    pub(in crate::core) limit: u64,
    /// Entries of the own log.
    pub(in crate::core) capacity: u16,
    pub(in crate::core) parts: Parts<SlidingPart>,
}

/// How many entries a log may have here that is not written here: as many as the own one, which it may have been.
pub(in crate::core) fn most_entries(capacity: u16) -> u16 {
    capacity.clamp(SENT, MAX_ENTRIES)
}

impl Part for SlidingPart {
    fn begin(origin: Origin) -> Self {
        Self {
            origin,
            stamp: (0, 0),
            log: Log::new(DEFAULT_ENTRIES),
        }
    }

    fn origin(&self) -> Origin {
        self.origin
    }

    fn set_origin(&mut self, origin: Origin) {
        self.origin = origin;
    }

    fn absorb(&mut self, copy: &Self) -> bool {
        let is_later = copy.stamp > self.stamp;
        if is_later {
            *self = copy.clone();
        }
        is_later
    }

    fn fold(&mut self, earlier: &Self) {
        self.stamp = self.stamp.max(earlier.stamp);
        for (at_ms, entry) in earlier.log.entries() {
            self.log.insert(entry.cost, at_ms);
        }
    }
}

impl SlidingPart {
    fn used(&self, span_ms: u64, now_ms: u64) -> u64 {
        self.log.used_at(span_ms, now_ms)
    }

    /// Whether nothing of it counts, nor of any older copy.
    fn is_gone(&self, span_ms: u64, now_ms: u64) -> bool {
        self.log.entries == 0 && self.stamp.0 + span_ms <= now_ms
    }

    fn stamp(&mut self, now_ms: u64) {
        self.stamp = match self.stamp {
            (at_ms, nth) if at_ms >= now_ms => (at_ms, nth + 1),
            _ => (now_ms, 0),
        };
    }
}

impl JointSliding {
    fn span_ms(&self) -> u64 {
        self.span.ms()
    }

    /// Drops what has left the window, and others' parts of which nothing counts.
    fn evict(&mut self, now_ms: u64) {
        let (span_ms, own) = (self.span.ms(), self.parts.own);
        for part in &mut self.parts.list {
            part.log.evict(span_ms, now_ms);
        }
        self.parts
            .retain(|part| Some(part.origin) == own || !part.is_gone(span_ms, now_ms));
    }
}

impl Meter for JointSliding {
    const ALGORITHM: Algorithm = Algorithm::Sliding;

    fn unused(limit: &Limit, log_size: u16) -> Self {
        Self {
            span: limit.span(),
            limit: limit.limit(),
            capacity: Log::new(log_size).capacity,
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
        let parts = self.parts.list.iter();
        let used: u128 = parts
            .map(|part| u128::from(part.used(self.span_ms(), ask.now_ms)))
            .sum();
        u64::try_from(used).map_or(MAX_COUNT, |used| used.min(MAX_COUNT))
    }

    fn wait(&self, ask: &Ask, target: u64) -> u64 {
        let (now_ms, span_ms) = (ask.now_ms, self.span_ms());
        let parts = self.parts.list.iter();
        let mut used: u128 = parts.map(|part| u128::from(part.log.used)).sum();
        let mut leaves_ms = now_ms;
        // The oldest entry of all logs leaves first.
        let mut logs: SmallVec<[(Option<Charged>, Entries); 4]> = SmallVec::new();
        let next = |entries: &mut Entries| entries.next().map(|(at_ms, entry)| (at_ms, entry.cost));
        for part in &self.parts.list {
            let mut entries = part.log.entries();
            logs.push((next(&mut entries), entries));
        }
        while used > u128::from(target) {
            let heads = logs.iter_mut().filter(|(head, _)| head.is_some());
            let Some((head, entries)) = heads.min_by_key(|(head, _)| *head) else {
                break;
            };
            if let Some((at_ms, cost)) = *head {
                used -= u128::from(cost);
                leaves_ms = at_ms.min(now_ms) + span_ms;
            }
            *head = next(entries);
        }
        leaves_ms.saturating_sub(now_ms)
    }

    fn reset_after(_this: Option<&Self>, ask: &Ask, cost: u64) -> u64 {
        Sliding::reset_after(None, ask, cost)
    }

    fn refundable(&self, ask: &Ask, at_ms: u64) -> u64 {
        let Some(own) = self.parts.own() else {
            return 0;
        };
        let used = own.used(self.span_ms(), ask.now_ms);
        if at_ms >= ask.now_ms {
            return used;
        }
        let gone = own.log.used - used;
        own.log.used_until(at_ms).saturating_sub(gone)
    }

    fn counts_ms(_this: Option<&Self>, ask: &Ask, at_ms: u64) -> u64 {
        Sliding::counts_ms(None, ask, at_ms)
    }

    fn charge(&mut self, ask: &Ask, cost: i64, at_ms: u64) {
        let (now_ms, capacity) = (ask.now_ms, self.capacity);
        self.limit = ask.limit.limit();
        self.rewind(now_ms, None);
        self.evict(now_ms);
        let counts = Self::counts_ms(None, ask, at_ms) > 0;
        let Some(own) = self.parts.own_mut(now_ms) else {
            return;
        };
        own.log.capacity = most_entries(capacity);
        let amount = cost.unsigned_abs();
        match (cost.signum(), at_ms >= now_ms) {
            (1, true) => own.log.append(amount, now_ms),
            (1, false) if counts => own.log.insert(amount, at_ms),
            (-1, true) => own.log.give_back(amount),
            (-1, false) => own.log.give_back_until(amount, at_ms),
            _ => {}
        }
        own.log.bound(capacity);
        own.stamp(now_ms);
    }

    fn is_unused(&self, now_ms: u64) -> bool {
        let parts = self.parts.list.iter();
        parts
            .map(|part| &part.log)
            .all(|log| log.entries == 0 || log.last_ms + self.span_ms() <= now_ms)
    }

    fn charged_ms(&self) -> u64 {
        let own = self.parts.own().filter(|own| own.log.entries > 0);
        own.map_or(0, |own| own.log.last_ms)
    }

    fn unused_at_ms(&self) -> u64 {
        let logs = self.parts.list.iter().map(|part| &part.log);
        let ends = logs
            .filter(|log| log.used > 0)
            .map(|log| log.last_ms + self.span_ms());
        ends.max().unwrap_or(0)
    }

    fn rewind(&mut self, now_ms: u64, _window: Option<Window>) {
        if self.charged_ms() > now_ms {
            if let Some(own) = self.parts.own_mut(now_ms) {
                own.log.rewind(now_ms);
                own.stamp(now_ms);
            }
        }
    }

    fn log(&self, now_ms: u64) -> Option<(u16, u16)> {
        let mut counted: u16 = 0;
        for part in &self.parts.list {
            let entries = part.log.entries();
            let left = entries.filter(|(at_ms, _)| at_ms.min(&now_ms) + self.span_ms() > now_ms);
            counted = left.fold(counted, |counted, _| counted.saturating_add(1));
        }
        Some((counted, self.capacity))
    }

    fn heap_bytes(&self) -> usize {
        let logs = self.parts.list.iter().map(|part| &part.log.bytes);
        spilled_bytes(&self.parts.list) + logs.map(spilled_bytes).sum::<usize>()
    }

    fn visit_allocations(&mut self, visitor: &mut impl Allocations) {
        for part in &mut self.parts.list {
            visitor.visit(&mut part.log.bytes);
        }
        visitor.visit(&mut self.parts.list);
    }
}

impl Joint for JointSliding {
    type Part = SlidingPart;

    fn parts(&self) -> &Parts<SlidingPart> {
        &self.parts
    }

    fn parts_mut(&mut self) -> &mut Parts<SlidingPart> {
        &mut self.parts
    }

    fn merge(&mut self, copy: &Self, _debt_ms: u64, now_ms: u64) -> Received {
        let mut received = Received::default();
        let span_ms = self.span_ms();
        for part in &copy.parts.list {
            if part.stamp.0 > now_ms + MAX_AHEAD_MS {
                received.refused += 1;
                continue;
            }
            let mut part = part.clone();
            part.log.capacity = most_entries(self.capacity);
            if part.log.entries > 0 && part.log.last_ms > now_ms {
                part.log.rewind(now_ms);
            }
            part.log.evict(span_ms, now_ms);
            if part.is_gone(span_ms, now_ms) {
                continue;
            }
            if self.parts.list.len() >= super::MAX_PARTS - 1 {
                self.evict(now_ms);
            }
            received.add(self.parts.receive(&part, true));
        }
        received
    }

    fn forget(&mut self, reset_ms: u64, _now_ms: u64) {
        self.parts.retain(|part| part.origin.began_ms > reset_ms);
    }

    fn export(&self, sends: impl Fn(Region) -> bool, now_ms: u64) -> Option<Self> {
        let span_ms = self.span_ms();
        let mut copy = Self {
            parts: Parts::none(),
            ..self.clone()
        };
        let width_ms = span_ms.div_ceil(PIECES).max(1);
        for part in self
            .parts
            .list
            .iter()
            .filter(|part| sends(part.origin.region))
        {
            let mut log = Log::new(most_entries(self.capacity));
            let mut open: Option<(u64, u64)> = None;
            for (at_ms, entry) in part.log.entries() {
                if at_ms.min(now_ms) + span_ms <= now_ms {
                    continue;
                }
                open = match open {
                    Some((last_ms, cost)) if last_ms / width_ms == at_ms / width_ms => {
                        Some((at_ms, cost + entry.cost))
                    }
                    Some((last_ms, cost)) => {
                        log.append(cost, last_ms);
                        Some((at_ms, entry.cost))
                    }
                    None => Some((at_ms, entry.cost)),
                };
            }
            if let Some((last_ms, cost)) = open {
                log.append(cost, last_ms);
            }
            while log.entries > SENT {
                log.merge(1);
            }
            let part = SlidingPart {
                log,
                ..part.clone()
            };
            if !part.is_gone(span_ms, now_ms) {
                copy.parts.list.push(part);
            }
        }
        (!copy.parts.list.is_empty()).then_some(copy)
    }

    fn empty_own(&mut self, ask: &Ask) {
        self.limit = ask.limit.limit();
        let Some(region) = self.parts.own.map(|own| own.region) else {
            return;
        };
        let parts = self.parts.list.iter_mut();
        for part in parts.filter(|part| part.origin.region == region) {
            part.log.clear();
            part.stamp(ask.now_ms);
        }
    }

    fn view(&self, region: Region, ask: &Ask) -> (u64, u64) {
        let parts = self.parts.list.iter();
        let of_region = parts.filter(|part| part.origin.region == region);
        let used = of_region.map(|part| part.used(self.span_ms(), ask.now_ms));
        let own = used.fold(0, u64::saturating_add).min(MAX_COUNT);
        (self.used(ask), own)
    }

    fn forgets_ms(&self, reset_ms: u64) -> u64 {
        self.unused_at_ms().max(reset_ms + self.span_ms())
    }
}
