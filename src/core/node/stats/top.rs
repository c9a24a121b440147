//! The most frequent identifiers of a stream, in bounded memory: Space-Saving.
//!
//! Source: A. Metwally, D. Agrawal, A. El Abbadi, "Efficient computation of frequent and top-k elements in data streams",
//! ICDT 2005.
//!
//! There are `k` counters. A hit of a tracked identifier adds 1 to its counter. A hit of any other takes over the counter
//! with the smallest count, `m`: the newcomer starts at `m + 1`, as it may have come up to `m` times before without being
//! tracked, and `m` is noted as its `max_error`.
//!
//! After `N` hits (the paper's lemmas 3 and 4, theorems 1 and 2):
//!
//! * a counter is never too low, and too high by at most its own `max_error`: `true <= count <= true + max_error`;
//! * `max_error <= N / k`: the `k` counts add up to `N`, so the smallest is at most the `k`-th part of it;
//! * an identifier that came more than `N / k` times is tracked. With 64 counters: whoever makes more than 1.6 % of the hits.
//!
//! Where `k` was changed on the way, the smallest `k` there was holds in the place of `k`.
//!
//! ```text
//!  hash(identifier) ─▶ heads ─▶ counters      identifier, max_error; never move; chained by hash
//!                                  ▲ │ rank
//!                             slot │ ▼
//!                                ranks        counts, largest first
//! ```
//!
//! A hit usually changes one count by 1, so `ranks` stays sorted when the counter first changes places with the first one of
//! equal count: a binary search over at most `k`, and none at all where no neighbour has the same count. Nothing is allocated,
//! but for a newcomer whose identifier is longer than any that its counter held.
//!
//! A hit may also stand for several (where only a sample is counted): then `N` is the sum of what they stand for.
//!
//! A counter also has what it counted lately ([`Recent`]): a newcomer's begins at 0, so it is never too high, and too low only
//! by what came before it was tracked.

use super::form::Form;
use super::recent::Recent;
use crate::core::bytes::source::Source;
use crate::core::bytes::varint;
use crate::core::bytes::varint::write_string;
use ahash::RandomState;
use smallvec::SmallVec;
use std::cmp::Reverse;

/// The fewest counters: with less, one identifier in eight is a coincidence.
pub const MIN_IDENTIFIERS: usize = 8;
/// Counters for each of a name's two lists (most allowed, most denied) if not configured: whoever makes 1.6 % of the hits
/// is found, and a list fits on a screen.
pub const DEFAULT_IDENTIFIERS: usize = 64;
/// The most counters: 0.1 % of the hits. More would be a log, not a list of the few that matter. Below 2^16 - 1, the end of a chain.
pub const MAX_IDENTIFIERS: usize = 1024;
/// An identifier is kept whole up to this many bytes.
pub const WHOLE_IDENTIFIER: usize = 128;
/// What a longer identifier is kept as: its first 128 bytes, `~`, and 16 hex digits.
pub const SHORTENED_IDENTIFIER: usize = WHOLE_IDENTIFIER + 1 + 16;

/// The end of a chain: an index that no counter has.
const NONE: u16 = u16::MAX;
/// The first size of [`Top::heads`].
const FIRST_HEADS: usize = 8;

/// An identifier and how often it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frequent<'a> {
    /// A key's name; one of more than [`WHOLE_IDENTIFIER`] bytes is shortened to [`SHORTENED_IDENTIFIER`].
    pub identifier: &'a [u8],
    /// Hits, `max_error` too many at most.
    pub count: u64,
    /// `count - max_error` hits are certain.
    pub max_error: u64,
    /// Those of them that came lately.
    pub recent: Recent,
}

impl<'a> Frequent<'a> {
    /// Where it stands in a list: the largest count first, equal ones by identifier.
    fn place(&self) -> (Reverse<u64>, &'a [u8]) {
        (Reverse(self.count), self.identifier)
    }
}

#[derive(Debug)]
struct Counter {
    hash: u64,
    max_error: u64,
    recent: Recent,
    identifier: Vec<u8>,
    /// Where in `ranks` its count is.
    rank: u16,
    /// The next counter of the same chain, or [`NONE`].
    next: u16,
    /// Whether it has changed since a record ([`super::record`]) had it.
    unwritten: bool,
}

#[derive(Clone, Copy, Debug)]
struct Rank {
    count: u64,
    /// Which of `counters` this is the count of.
    slot: u16,
}

/// The sketch of one stream.
#[derive(Debug, Default)]
pub(super) struct Top {
    counters: Vec<Counter>,
    /// As long as `counters`, largest count first.
    ranks: Vec<Rank>,
    /// The first counter of each chain; a power of two, at least as long as `counters`.
    heads: Vec<u16>,
    /// How often an identifier that is not tracked may have come: the last count that was taken over. No count is smaller.
    floor: u64,
}

impl Top {
    /// Counts `hits` hits of `identifier` in `hour`, with `k` counters.
    #[inline]
    pub(super) fn count(
        &mut self,
        identifier: &[u8],
        hits: u64,
        hour: u64,
        k: usize,
        hashing: &RandomState,
    ) {
        if identifier.len() <= WHOLE_IDENTIFIER {
            self.add(identifier, hits, hour, k, hashing);
        } else {
            self.add(&shorten(identifier), hits, hour, k, hashing);
        }
    }

    fn add(&mut self, identifier: &[u8], hits: u64, hour: u64, k: usize, hashing: &RandomState) {
        let hash = hashing.hash_one(identifier);
        let slot = match self.find(hash, identifier) {
            Some(slot) => slot,
            None => self.admit(hash, identifier, hour, k),
        };
        self.raise(slot, hits, hour);
    }

    /// The tracked identifiers, largest count first, equal ones by identifier.
    pub(super) fn list(&self) -> Vec<Frequent<'_>> {
        self.list_of(|_, _| true)
    }

    /// Those of [`Top::list`] whose counter and count are wanted.
    fn list_of(&self, wanted: impl Fn(&Counter, u64) -> bool) -> Vec<Frequent<'_>> {
        let mut list: Vec<_> = self
            .ranks
            .iter()
            .filter_map(|rank| {
                let counter = self.counters.get(usize::from(rank.slot))?;
                wanted(counter, rank.count).then_some(Frequent {
                    identifier: &counter.identifier,
                    count: rank.count,
                    max_error: counter.max_error,
                    recent: counter.recent,
                })
            })
            .collect();
        list.sort_unstable_by_key(Frequent::place);
        list
    }

    /// Heap bytes.
    pub(super) fn heap_bytes(&self) -> usize {
        let identifiers: usize = self
            .counters
            .iter()
            .map(|counter| counter.identifier.capacity())
            .sum();
        identifiers
            + self.counters.capacity() * size_of::<Counter>()
            + self.ranks.capacity() * size_of::<Rank>()
            + self.heads.capacity() * size_of::<u16>()
    }

    /// The counter of `identifier`.
    fn find(&self, hash: u64, identifier: &[u8]) -> Option<u16> {
        let mut slot = self.heads.get(self.chain(hash)).copied()?;
        while let Some(counter) = self.counters.get(usize::from(slot)) {
            if counter.hash == hash && counter.identifier == identifier {
                return Some(slot);
            }
            slot = counter.next;
        }
        None
    }

    /// A counter for an identifier that has none, at the smallest count that it may have come before.
    fn admit(&mut self, hash: u64, identifier: &[u8], hour: u64, k: usize) -> u16 {
        let full = self.ranks.len() >= k.clamp(MIN_IDENTIFIERS, MAX_IDENTIFIERS);
        let Some(smallest) = self.ranks.last().filter(|_| full).copied() else {
            let newcomer = Frequent {
                identifier,
                count: self.floor,
                max_error: self.floor,
                recent: Recent::of(hour),
            };
            return self.push(hash, newcomer);
        };
        self.floor = smallest.count;
        self.unlink(smallest.slot);
        if let Some(counter) = self.counters.get_mut(usize::from(smallest.slot)) {
            counter.hash = hash;
            counter.max_error = smallest.count;
            counter.recent = Recent::of(hour);
            counter.identifier.clear();
            counter.identifier.reserve_exact(identifier.len());
            counter.identifier.extend_from_slice(identifier);
        }
        self.link(smallest.slot);
        smallest.slot
    }

    /// A new counter behind all the others: its count must not be larger than theirs.
    fn push(&mut self, hash: u64, entry: Frequent) -> u16 {
        let slot = u16::try_from(self.counters.len()).unwrap_or(NONE);
        self.counters.push(Counter {
            hash,
            max_error: entry.max_error,
            recent: entry.recent,
            identifier: entry.identifier.to_vec(),
            rank: slot,
            next: NONE,
            unwritten: false,
        });
        self.ranks.push(Rank {
            count: entry.count,
            slot,
        });
        if self.counters.len() > self.heads.len() {
            let heads = (self.heads.len() * 2).max(FIRST_HEADS);
            self.heads.clear();
            self.heads.resize(heads, NONE);
            for slot in 0..=slot {
                self.link(slot);
            }
        } else {
            self.link(slot);
        }
        slot
    }

    /// Adds to a count.
    fn raise(&mut self, slot: u16, hits: u64, hour: u64) {
        let Some(counter) = self.counters.get_mut(usize::from(slot)) else {
            return;
        };
        counter.unwritten = true;
        counter.recent.count(hits, hour);
        let place = usize::from(counter.rank);
        let Some((above, [own, ..])) = self.ranks.split_at_mut_checked(place) else {
            return;
        };
        let (before, count) = (own.count, own.count.saturating_add(hits));
        own.count = count;
        // Most counts are far from their neighbour's: then the order stays.
        if above.last().is_none_or(|next| next.count >= count) {
            return;
        }
        let first = above.partition_point(|higher| higher.count >= count);
        let Some(passed) = self.ranks.get_mut(first..=place) else {
            return;
        };
        // Of equal counts it does not matter which stands where: then two change places, and the others stay.
        if passed.first().is_some_and(|rank| rank.count == before) {
            passed.swap(0, place - first);
            self.settle(first);
            self.settle(place);
        } else {
            passed.rotate_right(1);
            (first..=place).for_each(|place| self.settle(place));
        }
    }

    /// Tells the counter whose count is at a place where that is.
    fn settle(&mut self, place: usize) {
        let slot = self.ranks.get(place).map(|rank| usize::from(rank.slot));
        if let Some(counter) = slot.and_then(|slot| self.counters.get_mut(slot)) {
            counter.rank = u16::try_from(place).unwrap_or(NONE);
        }
    }

    /// Which of `heads` a hash belongs to.
    fn chain(&self, hash: u64) -> usize {
        let [low, high, ..] = hash.to_le_bytes();
        usize::from(u16::from_le_bytes([low, high])) & self.heads.len().wrapping_sub(1)
    }

    /// Puts a counter at the front of its chain.
    fn link(&mut self, slot: u16) {
        let Some(hash) = self.counters.get(usize::from(slot)).map(|it| it.hash) else {
            return;
        };
        let chain = self.chain(hash);
        if let (Some(head), Some(counter)) = (
            self.heads.get_mut(chain),
            self.counters.get_mut(usize::from(slot)),
        ) {
            counter.next = std::mem::replace(head, slot);
        }
    }

    /// Takes a counter out of its chain.
    fn unlink(&mut self, slot: u16) {
        let Some((hash, next)) = self
            .counters
            .get(usize::from(slot))
            .map(|it| (it.hash, it.next))
        else {
            return;
        };
        let chain = self.chain(hash);
        let Some(head) = self.heads.get_mut(chain) else {
            return;
        };
        if *head == slot {
            *head = next;
            return;
        }
        let mut before = *head;
        while let Some(counter) = self.counters.get_mut(usize::from(before)) {
            if counter.next == slot {
                counter.next = next;
                return;
            }
            before = counter.next;
        }
    }

    /// Appends: the floor, the number of identifiers, and for each of [`Top::list`] its count, its max_error, what came
    /// lately, and itself.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        write(self.floor, &self.list(), out);
    }

    /// Lets the next record have all of it.
    pub(super) fn forget_written(&mut self) {
        for counter in &mut self.counters {
            counter.unwritten = true;
        }
    }

    /// Appends what has changed since the last time, as [`Top::write`] does: the counters that have, and if any has, all
    /// those whose count is the floor, too.
    ///
    /// By the latter [`Top::read`] knows whose counters were taken over: that only happens to the smallest count, which
    /// becomes the floor. So they are those up to the floor that are not here.
    pub(super) fn write_change(&mut self, out: &mut Vec<u8>) {
        let any = self.counters.iter().any(|counter| counter.unwritten);
        let wanted = |counter: &Counter, count| counter.unwritten || (any && count == self.floor);
        write(self.floor, &self.list_of(wanted), out);
        for counter in &mut self.counters {
            counter.unwritten = false;
        }
    }

    /// What that which was written of a stream of at most `hits` makes of this one; the inner `None` is that it stays as it is.
    #[allow(clippy::option_option, reason = "refused, or nothing to do")]
    pub(super) fn read(
        &self,
        source: &mut Source,
        form: Form,
        hits: u64,
        hashing: &RandomState,
    ) -> Option<Option<Self>> {
        let (floor, mut list) = read(source, form)?;
        if list.is_empty() && floor == self.floor {
            return Some(None);
        }
        let mut told: Vec<_> = list.iter().map(|entry| entry.identifier).collect();
        told.sort_unstable();
        let stays = self.list_of(|counter, count| {
            count > floor && told.binary_search(&counter.identifier.as_slice()).is_err()
        });
        list.extend(stays);
        list.sort_unstable_by_key(Frequent::place);
        Self::build(floor, &list, hits, hashing).map(Some)
    }

    /// The sketch of a stream of at most `hits` whose list this is, if there can be one.
    fn build(floor: u64, list: &[Frequent], hits: u64, hashing: &RandomState) -> Option<Self> {
        let mut top = Self {
            floor,
            ..Self::default()
        };
        let mut certain: u64 = 0;
        for entry in list {
            let hash = hashing.hash_one(entry.identifier);
            let sound = (floor..=hits).contains(&entry.count)
                && (entry.max_error < entry.count || entry.count == u64::MAX)
                && entry.max_error <= floor
                && entry.recent.is_of(entry.count, entry.max_error)
                && top.find(hash, entry.identifier).is_none();
            if !sound {
                return None;
            }
            certain = certain.saturating_add(entry.count - entry.max_error);
            top.push(hash, *entry);
        }
        let tracked = !list.is_empty() || floor == 0;
        (list.len() <= MAX_IDENTIFIERS && tracked && certain <= hits).then_some(top)
    }
}

/// Appends a floor and a list.
fn write(floor: u64, list: &[Frequent], out: &mut Vec<u8>) {
    varint::write(out, floor);
    varint::write(out, list.len() as u64);
    for entry in list {
        varint::write(out, entry.count);
        varint::write(out, entry.max_error);
        entry.recent.write(out);
        write_string(out, entry.identifier);
    }
}

/// Reads what [`write`] wrote, or an earlier version, which had nothing recent: the list is in order, and of identifiers that
/// there can be.
fn read<'a>(source: &mut Source<'a>, form: Form) -> Option<(u64, Vec<Frequent<'a>>)> {
    let floor = source.number()?;
    let mut list: Vec<Frequent> = Vec::new();
    for _ in 0..source.count(MAX_IDENTIFIERS)? {
        let entry = Frequent {
            count: source.number()?,
            max_error: source.number()?,
            recent: match form.is_newest() {
                true => Recent::read(source)?,
                false => Recent::default(),
            },
            identifier: source.string(SHORTENED_IDENTIFIER)?,
        };
        let length = entry.identifier.len();
        let known = length <= WHOLE_IDENTIFIER || is_shortened(entry.identifier);
        let in_order = list.last().is_none_or(|last| last.place() < entry.place());
        if !(known && in_order) {
            return None;
        }
        list.push(entry);
    }
    Some((floor, list))
}

/// A long identifier's stand-in: its first 128 bytes, `~`, and the FNV-1a hash of all of it in 16 hex digits. Longer than
/// any identifier that is kept whole, so that the two are never mistaken. The hash (G. Fowler, L. C. Noll, K.-P. Vo:
/// offset basis 14695981039346656037, prime 1099511628211) is the same on every machine, as it is saved.
fn shorten(identifier: &[u8]) -> SmallVec<[u8; SHORTENED_IDENTIFIER]> {
    let hash = identifier
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    let hex = |nibble: u8| match nibble {
        0..=9 => b'0' + nibble,
        _ => b'a' + (nibble - 10),
    };
    let mut short = SmallVec::new();
    short.extend_from_slice(identifier.get(..WHOLE_IDENTIFIER).unwrap_or(identifier));
    short.push(b'~');
    for byte in hash.to_be_bytes() {
        short.push(hex(byte >> 4));
        short.push(hex(byte & 0xf));
    }
    short
}

/// The beginning of a long identifier, which is all that is known of it; `None` where all of it is known.
pub fn beginning(identifier: &[u8]) -> Option<&[u8]> {
    let beginning = identifier.get(..WHOLE_IDENTIFIER);
    beginning.filter(|_| is_shortened(identifier))
}

/// Whether [`shorten`] could have made this.
fn is_shortened(identifier: &[u8]) -> bool {
    matches!(identifier.split_at_checked(WHOLE_IDENTIFIER), Some((_, [b'~', hex @ ..]))
        if hex.len() == 16 && hex.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')))
}

#[cfg(test)]
mod tests;
