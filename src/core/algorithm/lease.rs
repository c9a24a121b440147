//! Leases: at most so many units held at once, each for a time, or until it is given back.
//!
//! # The maths
//!
//! | symbol | meaning |
//! |---|---|
//! | `L` | the limit |
//! | `(i, n_i, e_i)` | the leases: id, units, end |
//!
//! * A lease counts while `now < e_i`, so a holder that crashed costs its units until then and no longer.
//!   `used(now)` is the sum of the `n_i` that count.
//! * Acquiring `n` units under the id `j` for `T`: allowed iff `used(now) - n_j + n <= L`, where `n_j` is what `j` holds
//!   already, or iff `0 < n <= n_j`: a renewal of no more is always allowed, also above a limit that was lowered since. It
//!   sets `(n_j, e_j) = (n, now + T)`.
//! * `wait(target)`: until so many of the other leases have ended by themselves, soonest first, that at most `target` is
//!   held. `reset`: until the last has ended.
//! * A lease never has more left than it was given: where the clock has stepped back, so that `e_i - now > T_i`, it ends at
//!   `now + T_i`.
//! * Bounds: 4,096 leases; `sum n <= 2^53 - 1` (the caller checks).
//!
//! # The layout
//!
//! ```text
//! places   a lease, or the next vacant place            7: (req-77, 3 units, 12:00:05)
//! index    hash of the id -> place                      finds a holder among thousands
//! ends     (end, place), ascending                      who ends next: (12:00:01, 4) (12:00:03, 7) (12:00:05, 7)
//! ```
//!
//! Whoever renews or gives back a lease leaves its end behind, as `(12:00:03, 7)` above: an end counts only where the lease
//! at its place has just this one. So nobody searches for it, and it goes when it is in the way: as the first or the last, or
//! when there is no room for another.

use super::meter::{spilled_bytes, Allocations, Ask, Meter};
use crate::core::calendar::Window;
use crate::core::hashing::hash;
use crate::core::limit::{Algorithm, Limit};
use crate::core::span::Span;
use hashbrown::HashTable;
use smallvec::SmallVec;
use std::cell::Cell;
use std::num::NonZero;

/// The most leases of one key.
pub const MAX_LEASES: usize = 4_096;
/// The longest id, in bytes.
pub const MAX_ID_BYTES: usize = 64;

/// Units that somebody holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Who: 1 ..= [`MAX_ID_BYTES`] bytes.
    pub id: SmallVec<[u8; 16]>,
    /// How many.
    pub cost: NonZero<u64>,
    /// Until when, in Unix milliseconds.
    pub ends_ms: u64,
    /// For how long it was given.
    pub ttl_ms: u64,
}

impl Lease {
    /// Milliseconds that are left of it: never more than it was given.
    pub fn left_ms(&self, now_ms: u64) -> u64 {
        self.ends_ms.saturating_sub(now_ms).min(self.ttl_ms)
    }

    /// When it was given.
    fn given_ms(&self) -> u64 {
        self.ends_ms.saturating_sub(self.ttl_ms)
    }

    /// When it ends, seen from `now_ms`: never more left than it was given.
    fn ends_from(&self, now_ms: u64) -> u64 {
        self.ends_ms.min(now_ms.saturating_add(self.ttl_ms))
    }
}

/// Where a lease is, or was: then, the next place that is vacant.
#[derive(Clone, Debug)]
enum Entry {
    Held(Lease),
    Vacant(u16),
}

const _: () = assert!(size_of::<Entry>() == size_of::<Lease>());

/// No place: there are [`MAX_LEASES`] at the most.
const NOWHERE: u16 = u16::MAX;

/// When the lease at a place ends, or once was to end.
type End = (u64, u16);

/// The leases of one key.
#[derive(Clone, Debug)]
pub struct Leases {
    pub(in crate::core) limit: u64,
    pub(in crate::core) span: Span,
    /// The sum of the units, ended leases included.
    held: u64,
    /// No lease that is held was given later.
    given_by_ms: u64,
    places: SmallVec<[Entry; 1]>,
    /// From the hashes of ids to places.
    index: HashTable<u16>,
    /// In force from [`Leases::first`] on. Of each lease its own; the first and the last are some lease's.
    ends: SmallVec<[End; 1]>,
    first: u16,
    /// The first vacant place.
    vacant: u16,
    /// Where the id last asked for was found: a hit asks when it is quoted and again when it is charged.
    found: Cell<u16>,
}

impl PartialEq for Leases {
    fn eq(&self, other: &Self) -> bool {
        (self.limit, self.span) == (other.limit, other.span) && self.sorted() == other.sorted()
    }
}

impl Eq for Leases {}

impl Leases {
    /// By end, then id.
    pub fn sorted(&self) -> Vec<&Lease> {
        let mut leases: Vec<_> = self.by_end().collect();
        leases.sort_by_key(|lease| (lease.ends_ms, &lease.id));
        leases
    }

    /// By end.
    fn by_end(&self) -> impl DoubleEndedIterator<Item = &Lease> {
        self.ends().iter().filter_map(|end| self.of(end))
    }

    /// Those that have ended.
    fn ended(&self, now_ms: u64) -> impl Iterator<Item = &Lease> {
        let ended = self.ends().iter();
        let ended = ended.take_while(move |(ends_ms, _)| *ends_ms <= now_ms);
        ended.filter_map(|end| self.of(end))
    }

    fn ends(&self) -> &[End] {
        self.ends.get(usize::from(self.first)..).unwrap_or_default()
    }

    /// The lease that an end is of, if there still is one that ends just then.
    fn of(&self, (ends_ms, at): &End) -> Option<&Lease> {
        self.at(*at).filter(|lease| lease.ends_ms == *ends_ms)
    }

    fn at(&self, at: u16) -> Option<&Lease> {
        match self.places.get(usize::from(at)) {
            Some(Entry::Held(lease)) => Some(lease),
            _ => None,
        }
    }

    /// In no order.
    fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.places.iter().filter_map(|place| match place {
            Entry::Held(lease) => Some(lease),
            Entry::Vacant(_) => None,
        })
    }

    /// How many there are, ended ones included.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    fn is_of(&self, at: u16, id: &[u8]) -> bool {
        self.at(at).is_some_and(|lease| *lease.id == *id)
    }

    fn find(&self, id: &[u8]) -> Option<u16> {
        let at = *self.index.find(hash(id), |at| self.is_of(*at, id))?;
        self.found.set(at);
        Some(at)
    }

    /// The same, of an id that most likely was found last.
    fn find_again(&self, id: &[u8]) -> Option<u16> {
        let found = Some(self.found.get()).filter(|at| self.is_of(*at, id));
        found.or_else(|| self.find(id))
    }

    /// Whether there is a lease of this id, ended or not.
    pub(in crate::core) fn has(&self, id: &[u8]) -> bool {
        self.find(id).is_some()
    }

    /// What a holder holds now.
    fn holds(&self, id: &[u8], now_ms: u64) -> Option<&Lease> {
        let lease = self.at(self.find(id)?)?;
        (lease.ends_ms > now_ms).then_some(lease)
    }

    /// Adds a lease whose id none has.
    pub(in crate::core) fn insert(&mut self, lease: Lease) {
        let (hashed, ends_ms) = (hash(&lease.id), lease.ends_ms);
        self.held += lease.cost.get();
        self.given_by_ms = self.given_by_ms.max(lease.given_ms());
        let at = self.settle(lease);
        let places = &self.places;
        self.index
            .insert_unique(hashed, at, |at| match places.get(usize::from(*at)) {
                Some(Entry::Held(lease)) => hash(&lease.id),
                _ => 0, // no vacant place is in it
            });
        self.note_end((ends_ms, at));
    }

    /// Puts a lease into a vacant place, or a new one.
    fn settle(&mut self, lease: Lease) -> u16 {
        let at = self.vacant;
        match self.places.get_mut(usize::from(at)) {
            Some(place) => {
                if let Entry::Vacant(next) = *place {
                    self.vacant = next;
                }
                *place = Entry::Held(lease);
                at
            }
            None => {
                let at = self.places.len();
                self.places.push(Entry::Held(lease));
                u16::try_from(at).unwrap_or(NOWHERE)
            }
        }
    }

    /// Gives the lease at a place other units and another end.
    fn renew(&mut self, at: u16, cost: NonZero<u64>, now_ms: u64, ttl_ms: u64) {
        let Some(Entry::Held(lease)) = self.places.get_mut(usize::from(at)) else {
            return;
        };
        self.held = self.held - lease.cost.get() + cost.get();
        (lease.cost, lease.ends_ms, lease.ttl_ms) = (cost, now_ms + ttl_ms, ttl_ms);
        self.given_by_ms = self.given_by_ms.max(now_ms);
        self.note_end((now_ms + ttl_ms, at));
    }

    /// Takes out the lease at a place.
    fn remove(&mut self, at: u16) {
        let Some(place @ Entry::Held(_)) = self.places.get_mut(usize::from(at)) else {
            return;
        };
        let vacant = Entry::Vacant(std::mem::replace(&mut self.vacant, at));
        if let Entry::Held(lease) = std::mem::replace(place, vacant) {
            self.held -= lease.cost.get();
            if let Ok(entry) = self.index.find_entry(hash(&lease.id), |other| *other == at) {
                entry.remove();
            }
        }
        self.trim();
    }

    /// Notes when the lease at a place ends: usually the one that was given last ends last.
    fn note_end(&mut self, end: End) {
        if self.ends.len() == self.ends.capacity() {
            self.make_room();
        }
        if self.ends.last().is_none_or(|last| *last < end) {
            self.ends.push(end);
        } else {
            let rank = self.rank(&end);
            if self.ends.get(rank) != Some(&end) {
                self.ends.insert(rank, end);
            }
        }
        self.trim();
    }

    /// Where an end stands, or would stand: looked for from the last one back, in steps that double, as most are late.
    fn rank(&self, end: &End) -> usize {
        let first = usize::from(self.first);
        let (mut low, mut high, mut step) = (self.ends.len(), self.ends.len(), 1);
        while low > first {
            low = low.saturating_sub(step).max(first);
            if self.ends.get(low).is_some_and(|at| at < end) {
                break;
            }
            (high, step) = (low, 2 * step);
        }
        let ends = self.ends.get(low..high).unwrap_or_default();
        low + ends.partition_point(|at| at < end)
    }

    /// Drops what is first or last and no lease's end.
    fn trim(&mut self) {
        while self.ends.last().is_some_and(|end| self.of(end).is_none()) {
            self.ends.pop();
        }
        while let Some(end) = self.ends.get(usize::from(self.first)) {
            if self.of(end).is_some() {
                return;
            }
            self.first += 1;
        }
        self.first = 0; // no lease is left, and so no end
    }

    /// Drops what is no lease's end, if that is a quarter: else there will be room for twice as many. (One lease has just
    /// come to need an end.)
    fn make_room(&mut self) {
        let needless = self.ends.len() + 1 - self.len();
        if 4 * needless >= self.ends.len() {
            let mut ends = std::mem::take(&mut self.ends);
            ends.drain(..usize::from(self.first));
            ends.retain(|end| self.of(end).is_some());
            (self.ends, self.first) = (ends, 0);
        }
    }

    /// Takes out the leases that have ended.
    fn end(&mut self, now_ms: u64) {
        while let Some((_, at)) = self.ends().first().filter(|end| end.0 <= now_ms) {
            self.remove(*at);
        }
    }

    /// Takes out the leases of these ids, and those that have ended. How many of the ids held anything: where none did,
    /// nothing is changed.
    pub fn release(&mut self, ids: &[&[u8]], now_ms: u64) -> usize {
        if !ids.iter().any(|id| self.holds(id, now_ms).is_some()) {
            return 0;
        }
        self.end(now_ms);
        let mut released = 0;
        for id in ids {
            if let Some(at) = self.find_again(id) {
                self.remove(at);
                released += 1;
            }
        }
        released
    }
}

impl Meter for Leases {
    const ALGORITHM: Algorithm = Algorithm::Lease;

    fn unused(limit: &Limit, _log_size: u16) -> Self {
        Self {
            limit: limit.limit(),
            span: limit.span(),
            held: 0,
            given_by_ms: 0,
            places: SmallVec::new(),
            index: HashTable::new(),
            ends: SmallVec::new(),
            first: 0,
            vacant: NOWHERE,
            found: Cell::new(NOWHERE),
        }
    }

    fn span(&self) -> Span {
        self.span
    }

    fn is_for(&self, _limit: &Limit) -> bool {
        true // whatever their times to live, they hold units of one limit
    }

    fn limit(&self) -> Option<Limit> {
        Limit::spanning(self.limit, self.span)
    }

    fn used(&self, ask: &Ask) -> u64 {
        self.ended(ask.now_ms)
            .fold(self.held, |held, lease| held - lease.cost.get())
    }

    fn own(&self, ask: &Ask) -> u64 {
        self.holds(ask.id, ask.now_ms)
            .map_or(0, |lease| lease.cost.get())
    }

    fn wait(&self, ask: &Ask, target: u64) -> u64 {
        let mut held = self.used(ask) - self.own(ask);
        if held <= target {
            return 0;
        }
        let others = |lease: &&Lease| lease.ends_ms > ask.now_ms && *lease.id != *ask.id;
        let end = |lease: &Lease| (lease.ends_from(ask.now_ms), lease.cost.get());
        let mut until = |mut ends: &mut dyn Iterator<Item = (u64, u64)>| {
            let last = (&mut ends).find(|(_, cost)| {
                held = held.saturating_sub(*cost);
                held <= target
            });
            last.map_or(0, |(ends_ms, _)| ends_ms - ask.now_ms)
        };
        if self.is_ahead(ask.now_ms, None) {
            let mut ends: Vec<_> = self.leases().filter(others).map(end).collect();
            ends.sort_unstable();
            until(&mut ends.into_iter())
        } else {
            until(&mut self.by_end().filter(others).map(end))
        }
    }

    fn reset(&self, ask: &Ask) -> u64 {
        let last_ms = if self.is_ahead(ask.now_ms, None) {
            let ends = self.leases().map(|lease| lease.ends_from(ask.now_ms));
            ends.max().unwrap_or(0)
        } else {
            self.unused_at_ms()
        };
        last_ms.saturating_sub(ask.now_ms)
    }

    fn reset_after(this: Option<&Self>, ask: &Ask, _cost: u64) -> u64 {
        let given_ms = ask.limit.window_ms();
        let ends_later = |leases: &&Self| leases.unused_at_ms() > ask.now_ms + given_ms;
        let Some(leases) = this.filter(ends_later) else {
            return given_ms;
        };
        let is_other = |lease: &&Lease| *lease.id != *ask.id;
        let last_ms = if leases.is_ahead(ask.now_ms, None) {
            let others = leases.leases().filter(is_other);
            others.map(|lease| lease.ends_from(ask.now_ms)).max()
        } else {
            let last = leases.by_end().rev().find(is_other);
            last.map(|lease| lease.ends_ms)
        };
        last_ms
            .unwrap_or(0)
            .saturating_sub(ask.now_ms)
            .max(given_ms)
    }

    fn refundable(&self, _ask: &Ask, _at_ms: u64) -> u64 {
        0 // a lease is released, not refunded
    }

    fn charge(&mut self, ask: &Ask, cost: i64, _at_ms: u64) {
        self.limit = ask.limit.limit();
        self.span = ask.limit.span();
        self.rewind(ask.now_ms, None);
        self.end(ask.now_ms);
        let Some(cost) = u64::try_from(cost).ok().and_then(NonZero::new) else {
            return;
        };
        let ttl_ms = ask.limit.window_ms();
        match self.find_again(ask.id) {
            Some(at) => self.renew(at, cost, ask.now_ms, ttl_ms),
            None => self.insert(Lease {
                id: SmallVec::from_slice(ask.id),
                cost,
                ends_ms: ask.now_ms + ttl_ms,
                ttl_ms,
            }),
        }
    }

    fn is_unused(&self, now_ms: u64) -> bool {
        self.unused_at_ms() <= now_ms
    }

    fn charged_ms(&self) -> u64 {
        self.leases().map(Lease::given_ms).max().unwrap_or(0)
    }

    fn unused_at_ms(&self) -> u64 {
        self.ends.last().map_or(0, |last| last.0)
    }

    /// Usually no lease was ever given later than now, and then none has to be looked at.
    fn is_ahead(&self, now_ms: u64, _window: Option<Window>) -> bool {
        self.given_by_ms > now_ms && self.charged_ms() > now_ms
    }

    fn rewind(&mut self, now_ms: u64, _window: Option<Window>) {
        if self.given_by_ms <= now_ms {
            return;
        }
        let mut ends = std::mem::take(&mut self.ends);
        ends.clear();
        for (place, at) in self.places.iter_mut().zip(0..) {
            if let Entry::Held(lease) = place {
                lease.ends_ms = lease.ends_from(now_ms);
                ends.push((lease.ends_ms, at));
            }
        }
        ends.sort_unstable();
        (self.ends, self.first) = (ends, 0);
        self.given_by_ms = self.charged_ms();
    }

    fn is_full(&self, ask: &Ask) -> bool {
        self.len() >= MAX_LEASES
            && self.len() - self.ended(ask.now_ms).count() >= MAX_LEASES
            && self.holds(ask.id, ask.now_ms).is_none()
    }

    fn heap_bytes(&self) -> usize {
        let ids = self.leases().map(|lease| spilled_bytes(&lease.id));
        spilled_bytes(&self.places)
            + spilled_bytes(&self.ends)
            + self.index.allocation_size()
            + ids.sum::<usize>()
    }

    fn visit_allocations(&mut self, visitor: &mut impl Allocations) {
        for place in &mut self.places {
            if let Entry::Held(lease) = place {
                visitor.visit(&mut lease.id);
            }
        }
        visitor.visit(&mut self.places);
        visitor.visit(&mut self.ends);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::limit::MAX_COUNT;
    use crate::core::random::Random;
    use std::collections::BTreeMap;

    fn held(limit: &Limit, leases: &[(&[u8], u64, u64)]) -> Leases {
        let mut held = Leases::unused(limit, 0);
        for (id, cost, now_ms) in leases {
            let (id, now_ms) = (*id, *now_ms);
            let ask = Ask {
                limit,
                window: Window::default(),
                id,
                now_ms,
            };
            held.charge(&ask, i64::try_from(*cost).unwrap(), now_ms);
        }
        held
    }

    fn limit(limit: u64) -> Limit {
        Limit::window(limit, 1_000).unwrap()
    }

    #[test]
    fn keys_are_equal_where_limits_and_leases_are() {
        let one = held(&limit(5), &[(b"a", 1, 100)]);
        assert_eq!(one, held(&limit(5), &[(b"a", 1, 100)]));
        assert_ne!(one, held(&limit(6), &[(b"a", 1, 100)]));
        assert_ne!(one, held(&limit(5), &[(b"b", 1, 100)]));
    }

    #[test]
    fn a_lease_never_has_more_left_than_it_was_given() {
        let leases = held(&limit(5), &[(b"a", 1, 100)]);
        let left = |now_ms| leases.sorted()[0].left_ms(now_ms);
        assert_eq!([0, 100, 600, 1_100].map(left), [1_000, 1_000, 500, 0]);
    }

    #[test]
    fn who_fits_does_not_wait() {
        let leases = held(&limit(5), &[(b"a", 2, 100), (b"b", 1, 200)]);
        let limit = &limit(5);
        let ask = Ask {
            limit,
            window: Window::default(),
            id: b"c",
            now_ms: 300,
        };
        let wait = |target| leases.wait(&ask, target);
        assert_eq!([4, 3, 2, 1, 0].map(wait), [0, 0, 800, 800, 900]);
    }

    #[test]
    fn a_key_is_unused_from_its_last_end_on() {
        let leases = held(&limit(5), &[(b"a", 2, 100), (b"b", 1, 200)]);
        let is_unused = |now_ms| leases.is_unused(now_ms);
        assert_eq!([1_199, 1_200, 1_201].map(is_unused), [false, true, true]);
    }

    /// Every lease has its end in the order, and the first and the last end are some lease's.
    fn assert_ordered(leases: &Leases) {
        let ends = leases.ends();
        assert!(ends.is_sorted_by(|before, after| before < after));
        for end in [ends.first(), ends.last()].into_iter().flatten() {
            assert!(leases.of(end).is_some());
        }
        let counts = [leases.leases().count(), leases.by_end().count()];
        assert_eq!(counts, [leases.len(); 2]);
        for lease in leases.leases() {
            assert_eq!(leases.at(leases.find(&lease.id).unwrap()), Some(lease));
        }
        let most = leases.places.len().max(1);
        assert!(leases.ends.capacity() <= 4 * most, "what is needless goes");
    }

    #[test]
    fn leases_come_are_renewed_and_go_and_none_is_lost() {
        for seed in 0..30 {
            let random = &mut Random(seed);
            let ids = 1 + random.below(60);
            let mut leases = Leases::unused(&limit(MAX_COUNT), 0);
            let mut expected: BTreeMap<[u8; 8], Lease> = BTreeMap::new();
            let mut now_ms = 1_000;
            for _ in 0..2_000 {
                now_ms += random.below(4) * random.below(10);
                if random.one_in(500) {
                    now_ms -= now_ms.min(100);
                }
                let id = random.below(ids).to_le_bytes();
                let ttl_ms = random.pick(&[5, 20, 1_000, 1_000]);
                if random.one_in(4) {
                    let holds = |lease: &Lease| lease.ends_ms > now_ms;
                    let is_held = expected.get(&id).is_some_and(holds);
                    assert_eq!(leases.release(&[&id], now_ms), usize::from(is_held));
                    if is_held {
                        expected.remove(&id);
                        expected.retain(|_, lease| holds(lease));
                    }
                } else {
                    let lease = Lease {
                        id: SmallVec::from_slice(&id),
                        cost: NonZero::new(1 + random.below(9)).unwrap(),
                        ends_ms: now_ms + ttl_ms,
                        ttl_ms,
                    };
                    let ask = Ask {
                        limit: &Limit::window(MAX_COUNT, ttl_ms).unwrap(),
                        window: Window::default(),
                        id: &id,
                        now_ms,
                    };
                    leases.charge(&ask, lease.cost.get().cast_signed(), now_ms);
                    expected.insert(id, lease);
                    for lease in expected.values_mut() {
                        lease.ends_ms = lease.ends_from(now_ms);
                    }
                    expected.retain(|_, lease| lease.ends_ms > now_ms);
                }
                assert_ordered(&leases);
                let mut sorted: Vec<_> = expected.values().collect();
                sorted.sort_by_key(|lease| (lease.ends_ms, &lease.id));
                assert_eq!(leases.sorted(), sorted);
            }
        }
    }
}
