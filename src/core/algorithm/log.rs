//! The log of a sliding window: what was charged and when, as bytes.
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

use crate::core::bytes::varint;
use smallvec::SmallVec;

/// The fewest and the most entries that a log may be configured to hold, and what it holds if nobody says.
pub const MIN_ENTRIES: u16 = 8;
/// See [`MIN_ENTRIES`].
pub const MAX_ENTRIES: u16 = 4096;
/// See [`MIN_ENTRIES`].
pub const DEFAULT_ENTRIES: u16 = 128;

/// Of a log that is full, one in so many entries goes at once: enough to share the walk among as many hits, few enough to admit
/// what the default size promises.
const SHARE: u16 = 25;
/// So many pairs of a log of the default size are merged at once.
const USUAL: usize = (DEFAULT_ENTRIES / SHARE) as usize;

/// Entries, oldest first, each later than the one before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The sum of the costs.
    pub(in crate::core) used: u64,
    /// What the gap of the first entry is counted from.
    pub(in crate::core) origin_ms: u64,
    /// When the last entry was charged.
    pub(in crate::core) last_ms: u64,
    /// The bytes of the entries: a few of them inline.
    pub(in crate::core) bytes: SmallVec<[u8; 16]>,
    /// How many there are.
    pub(in crate::core) entries: u16,
    /// The most there may be.
    pub(in crate::core) capacity: u16,
    /// How many bytes the last entry takes.
    pub(in crate::core) last_bytes: u8,
}

/// One entry as it is read from the log.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub(super) gap: u64,
    pub(super) cost: u64,
    /// How many bytes it takes.
    bytes: usize,
}

impl Entry {
    /// Reads the entry at the start of `log`; `None` where there is no whole one in canonical form.
    #[inline]
    fn read(log: &[u8]) -> Option<Self> {
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

    /// What it costs to make one of it and the next: the units of both times the time that they stand for.
    fn price(self, next: Self) -> u64 {
        (self.cost + next.cost).saturating_mul(self.gap + next.gap)
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

/// Two neighbours that may become one entry.
struct Pair {
    /// Where they start and end in the log's bytes.
    start: usize,
    end: usize,
    /// Of both.
    gap: u64,
    cost: u64,
    price: u64,
}

impl Pair {
    fn new(start: usize, before: Entry, entry: Entry) -> Self {
        Self {
            start,
            end: start + before.bytes + entry.bytes,
            gap: before.gap + entry.gap,
            cost: before.cost + entry.cost,
            price: before.price(entry),
        }
    }
}

/// The entries of a log with their times, oldest first.
pub(super) struct Entries<'a> {
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

impl Log {
    /// No entry, and room for so many.
    pub(super) fn new(capacity: u16) -> Self {
        Self {
            used: 0,
            origin_ms: 0,
            last_ms: 0,
            bytes: SmallVec::new(),
            entries: 0,
            capacity: capacity.clamp(MIN_ENTRIES, MAX_ENTRIES),
            last_bytes: 0,
        }
    }

    /// A log that was written elsewhere; `None` where it is not one.
    pub(in crate::core) fn read(bytes: &[u8], origin_ms: u64, capacity: u16) -> Option<Self> {
        let kept = Self::audit(bytes, origin_ms)?;
        let is_sound = (MIN_ENTRIES..=MAX_ENTRIES).contains(&capacity) && kept.entries <= capacity;
        is_sound.then(|| Self {
            used: kept.used,
            origin_ms,
            last_ms: kept.last_ms,
            bytes: SmallVec::from_slice(bytes),
            entries: kept.entries,
            capacity,
            last_bytes: kept.last_bytes,
        })
    }

    /// When the first entry was charged; of an empty log, what it remembers.
    pub(in crate::core) fn first_ms(&self) -> u64 {
        self.entries()
            .next()
            .map_or(self.last_ms, |(at_ms, _)| at_ms)
    }

    /// The times and costs, oldest first.
    pub(super) fn entries(&self) -> Entries<'_> {
        Entries {
            log: &self.bytes,
            at_ms: self.origin_ms,
        }
    }

    /// The units that count in a window that ends now; an entry later than now counts as one of now.
    #[inline(always)]
    pub(super) fn used_at(&self, window_ms: u64, now_ms: u64) -> u64 {
        let mut used = self.used;
        for (at_ms, entry) in self.entries() {
            if at_ms.min(now_ms) + window_ms > now_ms {
                break;
            }
            used -= entry.cost;
        }
        used
    }

    /// Drops the entries that have left a window.
    pub(super) fn evict(&mut self, window_ms: u64, now_ms: u64) {
        if self.last_ms + window_ms <= now_ms {
            return self.clear();
        }
        let (mut bytes, mut gone, mut used, mut origin_ms) = (0, 0, 0, self.origin_ms);
        for (at_ms, entry) in self.entries() {
            if at_ms + window_ms > now_ms {
                break;
            }
            bytes += entry.bytes;
            gone += 1;
            used += entry.cost;
            origin_ms = at_ms;
        }
        if gone > 0 {
            self.bytes.drain(..bytes);
            self.entries -= gone;
            self.used -= used;
            self.origin_ms = origin_ms;
        }
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.entries = 0;
        self.used = 0;
        self.last_ms = self.origin_ms; // all that its bytes say
        self.last_bytes = 0;
    }

    /// Keeps the first `entries`, which take `bytes`, sum up to `used` and end at `last_ms`; forgets the others.
    fn keep(&mut self, kept: Kept) {
        self.bytes.truncate(kept.bytes);
        self.entries = kept.entries;
        self.used = kept.used;
        self.last_ms = kept.last_ms;
        self.last_bytes = kept.last_bytes;
    }

    /// What the entries at or before `at_ms` sum up to.
    pub(super) fn used_until(&self, at_ms: u64) -> u64 {
        self.entries()
            .take_while(|(time_ms, _)| *time_ms <= at_ms)
            .map(|(_, entry)| entry.cost)
            .sum()
    }

    /// Adds `cost` at `at_ms`, which may lie before the last entry.
    pub(super) fn insert(&mut self, cost: u64, at_ms: u64) {
        let later = self.split_off(at_ms);
        self.append(cost, at_ms);
        self.append_all(&later);
    }

    /// Takes `cost` from the entries at or before `at_ms`, the newest of them first.
    pub(super) fn give_back_until(&mut self, cost: u64, at_ms: u64) {
        let later = self.split_off(at_ms);
        self.give_back(cost);
        self.append_all(&later);
    }

    /// Cuts off the entries later than `at_ms`, and returns their times and costs.
    fn split_off(&mut self, at_ms: u64) -> Vec<(u64, u64)> {
        let mut kept = Kept::none(self.origin_ms);
        let mut later = Vec::new();
        for (time_ms, entry) in self.entries() {
            if time_ms > at_ms {
                later.push((time_ms, entry.cost));
            } else {
                kept.add(time_ms, entry);
            }
        }
        self.keep(kept);
        later
    }

    fn append_all(&mut self, entries: &[(u64, u64)]) {
        for (at_ms, cost) in entries {
            self.append(*cost, *at_ms);
        }
        self.bound(self.capacity);
    }

    /// Makes the entries later than `now_ms` one of `now_ms`.
    pub(super) fn rewind(&mut self, now_ms: u64) {
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

    /// Appends `cost` at `at_ms`, which is not earlier than the last entry.
    pub(super) fn append(&mut self, cost: u64, at_ms: u64) {
        self.used += cost;
        if self.entries == 0 {
            self.origin_ms = at_ms;
            self.last_ms = at_ms;
        }
        let (mut gap, mut cost) = (at_ms - self.last_ms, cost);
        if gap == 0 && self.entries > 0 {
            let last = self.bytes.len() - usize::from(self.last_bytes);
            if let Some(shared) = Entry::read(self.bytes.get(last..).unwrap_or_default()) {
                gap = shared.gap;
                cost += shared.cost;
            }
            self.bytes.truncate(last);
            self.entries -= 1;
        }
        self.write(gap, cost);
        self.entries += 1;
        self.last_ms = at_ms;
    }

    /// Writes an entry behind the others.
    #[inline]
    fn write(&mut self, gap: u64, cost: u64) {
        let bytes = Entry::write(gap, cost);
        self.last_bytes = byte_count(bytes.len());
        self.make_room(bytes.len());
        self.bytes.extend_from_slice(&bytes);
    }

    /// Makes room for so many bytes more, by an eighth at a time: twice as much would be more than the rest of a key.
    #[inline]
    fn make_room(&mut self, more: usize) {
        let needed = self.bytes.len() + more;
        if needed > self.bytes.capacity() {
            self.bytes.grow((needed + needed / 8).next_multiple_of(16));
        }
    }

    /// Sees to it that there are so many entries at the most. Where there are more, a [`SHARE`] goes, so that the next charges find
    /// room.
    pub(super) fn bound(&mut self, most: u16) {
        while self.entries > most {
            self.merge((most / SHARE).max(1));
        }
    }

    /// Makes one entry of two neighbours, of so many pairs that are cheapest to merge.
    pub(super) fn merge(&mut self, pairs: u16) {
        // From the last to the first, so that no place changes before its turn.
        for pair in self.cheapest(pairs).iter().rev() {
            let bytes = Entry::write(pair.gap, pair.cost);
            if pair.end == self.bytes.len() {
                self.last_bytes = byte_count(bytes.len());
            }
            self.bytes.drain(pair.start..pair.end);
            self.make_room(bytes.len());
            self.bytes.insert_from_slice(pair.start, &bytes);
            self.entries -= 1;
        }
    }

    /// So many pairs that are cheap to merge, the oldest first: each takes the place of the dearest so far, unless it shares an
    /// entry with another. So there are as many as asked for wherever the log has them, and of one it is the cheapest.
    fn cheapest(&self, most: u16) -> SmallVec<[Pair; USUAL]> {
        let mut pairs: SmallVec<[Pair; USUAL]> = SmallVec::new();
        let mut entries = self.entries().map(|(_, entry)| entry);
        let Some(mut before) = entries.next() else {
            return pairs;
        };
        let mut start = 0;
        let mut dearest = None; // where there are so many: its price and place
        let mut free = 0; // where one may start
        for entry in entries {
            let pair = Pair::new(start, before, entry);
            start += before.bytes;
            before = entry;
            if pair.start < free || dearest.is_some_and(|(bound, _)| pair.price >= bound) {
                continue;
            }
            if let Some((_, place)) = dearest {
                pairs.remove(place);
            }
            free = pair.end;
            pairs.push(pair);
            if pairs.len() >= usize::from(most) {
                dearest = pairs.iter().map(|pair| pair.price).zip(0..).max();
                if dearest.is_some_and(|(_, place)| place + 1 == pairs.len()) {
                    free = 0; // a cheaper one would take its place
                }
            }
        }
        pairs
    }

    /// Takes `cost` from the newest entries.
    pub(super) fn give_back(&mut self, cost: u64) {
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
    fn audit(log: &[u8], origin_ms: u64) -> Option<Kept> {
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
struct Kept {
    bytes: usize,
    entries: u16,
    used: u64,
    last_ms: u64,
    last_bytes: u8,
}

impl Kept {
    fn none(origin_ms: u64) -> Self {
        Self {
            bytes: 0,
            entries: 0,
            used: 0,
            last_ms: origin_ms,
            last_bytes: 0,
        }
    }

    fn add(&mut self, at_ms: u64, entry: Entry) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn log(entries: &[(u64, u64)]) -> Log {
        let mut log = Log::new(MIN_ENTRIES);
        for (at_ms, cost) in entries {
            log.append(*cost, *at_ms);
        }
        log
    }

    fn entries(log: &Log) -> Vec<(u64, u64)> {
        let entries = log.entries();
        entries.map(|(at_ms, entry)| (at_ms, entry.cost)).collect()
    }

    #[test]
    fn a_cost_of_one_is_not_written() {
        assert!(Log::read(&[3, 2], 10, MIN_ENTRIES).is_some());
        assert!(Log::read(&[3, 1], 10, MIN_ENTRIES).is_none());
    }

    /// The price is units times the time from the entry before them to the later one; of equals, the oldest go.
    #[test]
    fn the_pair_that_is_cheapest_to_merge_becomes_the_later_one() {
        for (before, after) in [
            (
                vec![(0, 50), (10, 1), (20, 10), (30, 4), (40, 4)],
                vec![(0, 50), (10, 1), (20, 10), (40, 8)],
            ),
            (
                vec![(0, 1), (100, 1), (101, 30), (105, 2), (110, 2)],
                vec![(0, 1), (100, 1), (101, 30), (110, 4)],
            ),
            (
                vec![(0, 1), (20, 1), (30, 1), (40, 1)],
                vec![(20, 2), (30, 1), (40, 1)],
            ),
        ] {
            let mut merged = log(&before);
            merged.merge(1);
            assert_eq!(entries(&merged), after, "{before:?}");
        }
    }

    #[test]
    fn several_pairs_are_merged_in_one_walk_the_cheapest_first() {
        let times = [0, 100, 110, 210, 215, 315, 318, 418, 420, 600];
        let merged = |pairs| {
            let mut merged = log(&times.map(|at_ms| (at_ms, 1)));
            let used = merged.used;
            merged.merge(pairs);
            let bytes = merged.bytes.to_vec();
            assert_eq!(
                Log::read(&bytes, 0, merged.capacity + 2),
                Some(Log {
                    capacity: merged.capacity + 2,
                    ..merged.clone()
                })
            );
            assert_eq!(merged.used, used);
            entries(&merged)
        };
        // Both gaps, twice: 200, 220, 220, 210, 210, 206, 206, 204, 364. The third of 220 and 210 gives way to the first of 206,
        // which 204 shares an entry with.
        assert_eq!(
            merged(3),
            [
                (100, 2),
                (110, 1),
                (210, 1),
                (315, 2),
                (418, 2),
                (420, 1),
                (600, 1)
            ]
        );
        let one = [110, 210, 215, 315, 318, 418, 420, 600].map(|at_ms| (at_ms, 1));
        assert_eq!(merged(1), [&[(100, 2)], one.as_slice()].concat());
        // More pairs than there are, each entry in one.
        assert_eq!(
            merged(40),
            [(100, 2), (210, 2), (315, 2), (418, 2), (600, 2)]
        );
    }

    #[test]
    fn a_full_log_stays_full_when_an_earlier_charge_comes_in() {
        let mut log = log(&[10, 20, 30, 40, 50, 60, 70].map(|at_ms| (at_ms, 1)));
        log.insert(1, 35);
        assert_eq!(log.entries, MIN_ENTRIES);
        log.insert(1, 45);
        assert_eq!((log.entries, log.used), (MIN_ENTRIES, 9));
    }
}
