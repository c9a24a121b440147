//! Sliding window: in no interval as long as the window is more than the limit ever admitted.
//!
//! # The maths
//!
//! | symbol | meaning |
//! |---|---|
//! | `W` | the window, in ms |
//! | `L` | the limit |
//! | `(t_1, n_1) .. (t_k, n_k)` | the log: what was charged and when, oldest first, `t` strictly rising |
//! | `N` | the most entries that the log may hold |
//!
//! * An entry counts while `now - t < W`, so at `t + W` it has left. `used(now)` is the sum of the `n` that count.
//! * A charge of `n > 0` drops what has left and appends `(now, n)`; charges of one millisecond share an entry.
//!   A charge of `n < 0` takes from the newest entries: it undoes what was charged last.
//! * `wait(target)`: the oldest entries leave first, so it is `t_i + W - now` for the first `i` after which at most
//!   `target` is left; for `target = 0` that is the newest entry.
//! * **Bounded memory.** Where a charge makes `N + 1` entries, one pair of neighbours becomes one entry
//!   `(t_(i+1), n_i + n_(i+1))`: the pair with the least `(n_i + n_(i+1)) * (t_(i+1) - t_(i-1))`, the units of the
//!   merged entry times the time that it stands for. Late, never early: past `N` the log may deny a little more than an
//!   exact one, and never admits more. Up to `N` entries it is exact.
//!   (Priced at what the one merge costs, `n_i * (t_(i+1) - t_i)`, the newest entry swallows hit after hit, each of
//!   which is cheap: that admitted 97 % where this admits 99 %.)
//!   Under a steady overload the log settles on entries of about `L / N`, each of which is late by about the time that
//!   as many hits take to arrive: what is lost is about `1 / N` of the admissions.
//! * An entry later than `now` (the clock stepped back) counts as one of `now`.
//! * Bounds: `sum n <= 2^53 - 1` (the caller checks before it charges), `t + W < 2^54`.
//!
//! # The bytes
//!
//! ```text
//! origin_ms     entry 1                entry 2                 ...    entry k
//! |             |                      |                              |            last_ms
//! +-- gap 1 --> | gap, single? | cost  | gap, single? | cost   ...    | gap, single? | cost
//! ```
//!
//! A log is a byte string: per entry a varint of `gap * 2 + (cost != 1)`, the gap in ms since the entry before it, and
//! then a varint of the cost unless it is 1. A hit of cost 1 some seconds after the last takes two bytes, and a limiter
//! with a few hits needs no second allocation. The same bytes are what an RDB file and a replica receive.
//!
//! ```
//! use ratelimit::core::{limit::Limit, algorithm::sliding::Sliding, limiter::Meter};
//! let limit = Limit::window(3, 10_000).unwrap(); // 3 in any 10 s
//! let mut sliding = Sliding::unused(&limit, 128);
//! for now_ms in [1_000, 4_000, 4_000] {
//!     sliding.charge(&limit, 1, now_ms);
//! }
//! assert_eq!(sliding.used(&limit, 10_999), 3);
//! assert_eq!(sliding.wait(&limit, 2, 10_999), 1); // the hit of 1_000 leaves at 11_000
//! assert_eq!(sliding.used(&limit, 11_000), 2);
//! assert_eq!(sliding.wait(&limit, 0, 11_000), 3_000);
//! ```

use crate::core::bytes::varint;
use crate::core::limit::{Algorithm, Limit};
use crate::core::limiter::{Allocations, Limiter, Meter, Meters};
use smallvec::SmallVec;

/// The fewest and the most entries that a log may be configured to hold, and what it holds if nobody says.
pub const MIN_ENTRIES: u16 = 8;
/// See [`MIN_ENTRIES`].
pub const MAX_ENTRIES: u16 = 4096;
/// See [`MIN_ENTRIES`].
pub const DEFAULT_ENTRIES: u16 = 128;

/// A log's bytes: the short ones inline.
pub(in crate::core) type Log = SmallVec<[u8; 16]>;

/// What was charged within one rolling window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sliding {
    pub(in crate::core) window_ms: u64,
    pub(in crate::core) limit: u64,
    /// The sum of the costs in the log.
    pub(in crate::core) used: u64,
    /// What the gap of the first entry is counted from.
    pub(in crate::core) origin_ms: u64,
    /// When the last entry was charged.
    pub(in crate::core) last_ms: u64,
    /// Entries in the log.
    pub(in crate::core) entries: u16,
    /// The most entries that the log may hold.
    pub(in crate::core) capacity: u16,
    /// How many bytes the last entry takes.
    pub(in crate::core) last_bytes: u8,
    pub(in crate::core) log: Log,
}

/// One entry as it is read from the log.
#[derive(Clone, Copy)]
pub(in crate::core) struct Entry {
    pub(in crate::core) gap: u64,
    pub(in crate::core) cost: u64,
    /// How many bytes it takes.
    pub(in crate::core) bytes: usize,
}

impl Entry {
    /// Reads the entry at the start of `log`; `None` where there is no whole one in canonical form.
    #[inline]
    pub(in crate::core) fn read(log: &[u8]) -> Option<Self> {
        let (head, bytes) = varint::read(log)?;
        if head & 1 == 0 {
            return Some(Self {
                gap: head >> 1,
                cost: 1,
                bytes,
            });
        }
        let (cost, more) = varint::read(log.get(bytes..)?)?;
        (cost > 1).then_some(Self {
            gap: head >> 1,
            cost,
            bytes: bytes + more,
        })
    }

    /// The bytes of an entry.
    fn write(gap: u64, cost: u64) -> SmallVec<[u8; 2 * varint::MAX_BYTES]> {
        let mut bytes = SmallVec::new();
        if cost == 1 {
            varint::write(&mut bytes, gap << 1);
        } else {
            varint::write(&mut bytes, (gap << 1) | 1);
            varint::write(&mut bytes, cost);
        }
        bytes
    }
}

/// The entries of a log with their times, oldest first.
struct Entries<'a> {
    log: &'a [u8],
    /// The time of the entry before.
    at_ms: u64,
}

impl Iterator for Entries<'_> {
    /// When it was charged, and the entry.
    type Item = (u64, Entry);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let entry = Entry::read(self.log)?;
        self.log = self.log.get(entry.bytes..)?;
        self.at_ms += entry.gap;
        Some((self.at_ms, entry))
    }
}

impl Sliding {
    fn entries(&self) -> Entries<'_> {
        Entries {
            log: &self.log,
            at_ms: self.origin_ms,
        }
    }

    /// When an entry of `at_ms` leaves, seen from `now_ms`.
    fn leaves_ms(&self, at_ms: u64, now_ms: u64) -> u64 {
        at_ms.min(now_ms) + self.window_ms
    }

    /// Drops the entries that have left.
    fn evict(&mut self, now_ms: u64) {
        if self.last_ms + self.window_ms <= now_ms {
            return self.clear();
        }
        let (mut bytes, mut gone, mut used, mut origin_ms) = (0, 0, 0, self.origin_ms);
        for (at_ms, entry) in self.entries() {
            if at_ms + self.window_ms > now_ms {
                break;
            }
            bytes += entry.bytes;
            gone += 1;
            used += entry.cost;
            origin_ms = at_ms;
        }
        if gone > 0 {
            self.log.drain(..bytes);
            self.entries -= gone;
            self.used -= used;
            self.origin_ms = origin_ms;
        }
    }

    fn clear(&mut self) {
        self.log.clear();
        self.entries = 0;
        self.used = 0;
        self.last_bytes = 0;
    }

    /// Keeps the first `entries`, which take `bytes`, sum up to `used` and end at `last_ms`; forgets the others.
    fn keep(&mut self, kept: Kept) {
        self.log.truncate(kept.bytes);
        self.entries = kept.entries;
        self.used = kept.used;
        self.last_ms = kept.last_ms;
        self.last_bytes = kept.last_bytes;
    }

    /// Appends `cost` at `at_ms`, which is not earlier than the last entry.
    fn append(&mut self, cost: u64, at_ms: u64) {
        self.used += cost;
        if self.entries == 0 {
            self.origin_ms = at_ms;
            self.last_ms = at_ms;
        }
        let (mut gap, mut cost) = (at_ms - self.last_ms, cost);
        if gap == 0 && self.entries > 0 {
            let last = self.log.len() - usize::from(self.last_bytes);
            if let Some(shared) = Entry::read(self.log.get(last..).unwrap_or_default()) {
                gap = shared.gap;
                cost += shared.cost;
            }
            self.log.truncate(last);
            self.entries -= 1;
        }
        let bytes = Entry::write(gap, cost);
        self.last_bytes = byte_count(bytes.len());
        self.log.extend_from_slice(&bytes);
        self.entries += 1;
        self.last_ms = at_ms;
    }

    /// Makes one entry of the pair of neighbours that are cheapest to merge.
    fn merge(&mut self) {
        let mut cheapest = (u64::MAX, 0, None);
        let mut older: Option<(usize, Entry)> = None;
        let mut at = 0;
        for (_, entry) in self.entries() {
            if let Some((start, before)) = older {
                let (units, span_ms) = (before.cost + entry.cost, before.gap + entry.gap);
                let price = units.saturating_mul(span_ms);
                if price < cheapest.0 || cheapest.2.is_none() {
                    cheapest = (price, start, Some((before, entry)));
                }
            }
            older = Some((at, entry));
            at += entry.bytes;
        }
        let (_, start, Some((before, entry))) = cheapest else {
            return;
        };
        let merged = Entry::write(before.gap + entry.gap, before.cost + entry.cost);
        let end = start + before.bytes + entry.bytes;
        if end == self.log.len() {
            self.last_bytes = byte_count(merged.len());
        }
        self.log.drain(start..end);
        self.log.insert_from_slice(start, &merged);
        self.entries -= 1;
    }

    /// Takes `cost` from the newest entries.
    fn give_back(&mut self, cost: u64) {
        let target = self.used.saturating_sub(cost);
        let mut kept = Kept::none(self.origin_ms);
        let mut part = None;
        for (at_ms, entry) in self.entries() {
            if kept.used + entry.cost > target {
                part = Some((target - kept.used, at_ms));
                break;
            }
            kept.add(at_ms, entry);
        }
        self.keep(kept);
        if let Some((cost @ 1.., at_ms)) = part {
            self.append(cost, at_ms);
        }
    }

    /// What a log's bytes amount to, read and checked entry by entry; `None` where they are not a canonical log.
    pub(in crate::core) fn audit(log: &[u8], origin_ms: u64) -> Option<Kept> {
        let mut kept = Kept::none(origin_ms);
        while kept.bytes < log.len() {
            let entry = Entry::read(log.get(kept.bytes..)?)?;
            if entry.gap == 0 && kept.entries > 0 {
                return None; // charges of one millisecond share an entry
            }
            let at_ms = kept.last_ms.checked_add(entry.gap)?;
            kept.used.checked_add(entry.cost)?;
            kept.entries.checked_add(1)?;
            kept.add(at_ms, entry);
        }
        Some(kept)
    }
}

/// The front part of a log, measured.
pub(in crate::core) struct Kept {
    pub(in crate::core) bytes: usize,
    pub(in crate::core) entries: u16,
    pub(in crate::core) used: u64,
    pub(in crate::core) first_ms: u64,
    pub(in crate::core) last_ms: u64,
    pub(in crate::core) last_bytes: u8,
}

impl Kept {
    fn none(origin_ms: u64) -> Self {
        Self {
            bytes: 0,
            entries: 0,
            used: 0,
            first_ms: origin_ms,
            last_ms: origin_ms,
            last_bytes: 0,
        }
    }

    fn add(&mut self, at_ms: u64, entry: Entry) {
        if self.entries == 0 {
            self.first_ms = at_ms;
        }
        self.bytes += entry.bytes;
        self.entries += 1;
        self.used += entry.cost;
        self.last_ms = at_ms;
        self.last_bytes = byte_count(entry.bytes);
    }
}

/// An entry's length: at most two varints, so it always fits.
fn byte_count(bytes: usize) -> u8 {
    u8::try_from(bytes).unwrap_or(u8::MAX)
}

impl Meter for Sliding {
    const ALGORITHM: Algorithm = Algorithm::Sliding;

    fn unused(limit: &Limit, entries: u16) -> Self {
        Self {
            window_ms: limit.window_ms(),
            limit: limit.limit(),
            used: 0,
            origin_ms: 0,
            last_ms: 0,
            entries: 0,
            capacity: entries.clamp(MIN_ENTRIES, MAX_ENTRIES),
            last_bytes: 0,
            log: Log::new(),
        }
    }

    fn window_ms(&self) -> u64 {
        self.window_ms
    }

    fn limit(&self) -> Option<Limit> {
        Limit::window(self.limit, self.window_ms)
    }

    fn log(&self, now_ms: u64) -> Option<(u16, u16)> {
        let gone = self
            .entries()
            .take_while(|(at_ms, _)| self.leaves_ms(*at_ms, now_ms) <= now_ms)
            .fold(0, |gone: u16, _| gone.saturating_add(1));
        Some((self.entries - gone, self.capacity))
    }

    fn used(&self, _limit: &Limit, now_ms: u64) -> u64 {
        self.entries()
            .take_while(|(at_ms, _)| self.leaves_ms(*at_ms, now_ms) <= now_ms)
            .fold(self.used, |used, (_, entry)| used - entry.cost)
    }

    fn wait(&self, _limit: &Limit, target: u64, now_ms: u64) -> u64 {
        let mut used = self.used;
        let mut leaves_ms = now_ms;
        if target == 0 && used > 0 {
            leaves_ms = self.leaves_ms(self.last_ms, now_ms); // the newest entry, without walking to it
        } else {
            for (at_ms, entry) in self.entries() {
                if used <= target {
                    break;
                }
                used -= entry.cost;
                leaves_ms = self.leaves_ms(at_ms, now_ms);
            }
        }
        leaves_ms.saturating_sub(now_ms)
    }

    fn charge(&mut self, limit: &Limit, cost: i64, now_ms: u64) {
        self.limit = limit.limit();
        self.rewind(now_ms);
        self.evict(now_ms);
        let amount = cost.unsigned_abs();
        if cost < 0 {
            self.give_back(amount);
        } else if cost > 0 {
            self.append(amount, now_ms);
            if self.entries > self.capacity {
                self.merge();
            }
        }
    }

    fn unused_at_ms(&self) -> u64 {
        self.charged_ms() + if self.used > 0 { self.window_ms } else { 0 }
    }

    fn charged_ms(&self) -> u64 {
        // What an emptied log remembers is no usage, so it lies ahead of nobody.
        if self.entries == 0 {
            0
        } else {
            self.last_ms
        }
    }

    fn rewind(&mut self, now_ms: u64) {
        if !self.is_ahead(now_ms) {
            return;
        }
        let used = self.used;
        let mut kept = Kept::none(self.origin_ms);
        for (at_ms, entry) in self.entries() {
            if at_ms > now_ms {
                break;
            }
            kept.add(at_ms, entry);
        }
        self.keep(kept);
        self.append(used - self.used, now_ms);
    }

    fn heap_bytes(&self) -> usize {
        if self.log.spilled() {
            self.log.capacity()
        } else {
            0
        }
    }

    fn visit_allocations(&mut self, visitor: &mut impl Allocations) {
        visitor.visit(&mut self.log);
    }

    fn wrap(meters: Box<Meters<Self>>) -> Limiter {
        Limiter::Sliding(meters)
    }

    fn of(limiter: &Limiter) -> Option<&Meters<Self>> {
        match limiter {
            Limiter::Sliding(meters) => Some(meters),
            _ => None,
        }
    }

    fn of_mut(limiter: &mut Limiter) -> Option<&mut Meters<Self>> {
        match limiter {
            Limiter::Sliding(meters) => Some(meters),
            _ => None,
        }
    }
}
