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
//! leases   dense, in no order                     7: (req-77, 3 units, 12:00:05)
//! order    places in `leases`, by (end, id)       [4, 7, 0, ...]       who ends next, and the canonical order
//! index    hash of the id -> place                finds a holder among thousands
//! ```

use super::meter::{Allocations, Ask, Meter};
use crate::core::calendar::Window;
use crate::core::hashing::hash;
use crate::core::limit::{Algorithm, Limit};
use crate::core::span::Span;
use hashbrown::HashTable;
use smallvec::SmallVec;

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
    pub cost: u64,
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
}

/// The leases of one key.
#[derive(Clone, Debug)]
pub struct Leases {
    pub(in crate::core) limit: u64,
    pub(in crate::core) span: Span,
    /// The sum of the units, ended leases included.
    held: u64,
    /// When the newest was given.
    charged_ms: u64,
    leases: SmallVec<[Lease; 1]>,
    order: SmallVec<[u16; 4]>,
    /// From the hashes of ids to places.
    index: HashTable<u16>,
}

impl PartialEq for Leases {
    fn eq(&self, other: &Self) -> bool {
        (self.limit, self.span) == (other.limit, other.span) && self.sorted().eq(other.sorted())
    }
}

impl Eq for Leases {}

/// A place in a list of [`MAX_LEASES`] at the most.
fn place(index: usize) -> u16 {
    u16::try_from(index).unwrap_or(u16::MAX)
}

impl Leases {
    /// By end, then id.
    pub fn sorted(&self) -> impl Iterator<Item = &Lease> {
        self.order
            .iter()
            .filter_map(|at| self.leases.get(usize::from(*at)))
    }

    /// How many there are, ended ones included.
    pub fn len(&self) -> usize {
        self.leases.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    fn find(&self, id: &[u8]) -> Option<u16> {
        if self.leases.is_empty() || id.is_empty() {
            return None;
        }
        let is_it = |at: &u16| {
            self.leases
                .get(usize::from(*at))
                .is_some_and(|lease| *lease.id == *id)
        };
        self.index.find(hash(id), is_it).copied()
    }

    /// Whether there is a lease of this id, ended or not.
    pub(in crate::core) fn has(&self, id: &[u8]) -> bool {
        self.find(id).is_some()
    }

    /// What a holder holds now.
    fn holds(&self, id: &[u8], now_ms: u64) -> Option<&Lease> {
        let lease = self.leases.get(usize::from(self.find(id)?))?;
        (lease.ends_ms > now_ms).then_some(lease)
    }

    fn at(&self, at: u16) -> Option<&Lease> {
        self.leases.get(usize::from(at))
    }

    /// Where a lease stands, or would stand, in the order: usually the one that was given last ends last.
    fn rank(&self, ends_ms: u64, id: &[u8]) -> usize {
        let is_before = |at: &u16| {
            self.at(*at).is_some_and(|lease| {
                lease.ends_ms < ends_ms || lease.ends_ms == ends_ms && *lease.id < *id
            })
        };
        if self.order.last().is_none_or(is_before) {
            return self.order.len();
        }
        self.order.partition_point(is_before)
    }

    /// Puts the lease at a place into the order.
    fn rank_in(&mut self, at: u16) {
        let rank = self.at(at).map(|lease| self.rank(lease.ends_ms, &lease.id));
        self.order.insert(rank.unwrap_or(0), at);
    }

    /// Takes the lease at a place out of the order.
    fn rank_out(&mut self, at: u16) {
        let rank = self.at(at).map(|lease| self.rank(lease.ends_ms, &lease.id));
        if let Some(rank) = rank.filter(|rank| self.order.get(*rank) == Some(&at)) {
            self.order.remove(rank);
        }
    }

    /// Adds a lease whose id none has.
    pub(in crate::core) fn insert(&mut self, lease: Lease) {
        let at = place(self.leases.len());
        self.held += lease.cost;
        self.charged_ms = self
            .charged_ms
            .max(lease.ends_ms.saturating_sub(lease.ttl_ms));
        let hashed = hash(&lease.id);
        self.leases.push(lease);
        self.rank_in(at);
        let leases = &self.leases;
        self.index.insert_unique(hashed, at, |at| {
            leases
                .get(usize::from(*at))
                .map_or(0, |lease| hash(&lease.id))
        });
    }

    /// Gives the lease at a place other units and another end.
    fn renew(&mut self, at: u16, cost: u64, now_ms: u64, ttl_ms: u64) {
        self.rank_out(at);
        if let Some(lease) = self.leases.get_mut(usize::from(at)) {
            self.held = self.held - lease.cost + cost;
            (lease.cost, lease.ends_ms, lease.ttl_ms) = (cost, now_ms + ttl_ms, ttl_ms);
        }
        self.rank_in(at);
        self.charged_ms = self.charged_ms.max(now_ms);
    }

    /// Takes out the lease at a place.
    fn remove(&mut self, at: u16) {
        self.rank_out(at);
        let Some(lease) = self.at(at) else {
            return;
        };
        let (hashed, cost) = (hash(&lease.id), lease.cost);
        let is_newest = lease.ends_ms.saturating_sub(lease.ttl_ms) == self.charged_ms;
        if let Ok(entry) = self.index.find_entry(hashed, |other| *other == at) {
            entry.remove();
        }
        // The last one takes its place.
        let last = place(self.leases.len() - 1);
        if let Some(moved) = self.at(last).filter(|_| last != at) {
            let rank = self.rank(moved.ends_ms, &moved.id);
            let hashed = hash(&moved.id);
            if let Some(place) = self.order.get_mut(rank) {
                *place = at;
            }
            if let Some(place) = self.index.find_mut(hashed, |other| *other == last) {
                *place = at;
            }
        }
        self.leases.swap_remove(usize::from(at));
        self.held -= cost;
        if is_newest {
            self.charged_ms = self.newest_ms();
        }
    }

    fn newest_ms(&self) -> u64 {
        let given = self
            .leases
            .iter()
            .map(|lease| lease.ends_ms.saturating_sub(lease.ttl_ms));
        given.max().unwrap_or(0)
    }

    /// Takes out the leases that have ended.
    fn end(&mut self, now_ms: u64) {
        while let Some(at) = self.order.first().copied() {
            let ended = self
                .leases
                .get(usize::from(at))
                .is_none_or(|lease| lease.ends_ms <= now_ms);
            if !ended {
                break;
            }
            self.remove(at);
        }
    }

    /// Takes out the leases of these ids, and those that have ended. How many of the ids held anything.
    pub fn release<'a>(&mut self, ids: impl Iterator<Item = &'a [u8]>, now_ms: u64) -> usize {
        self.end(now_ms);
        let mut released = 0;
        for id in ids {
            if let Some(at) = self.find(id) {
                self.remove(at);
                released += 1;
            }
        }
        released
    }

    /// How many of these ids hold anything.
    pub fn count_held<'a>(&self, ids: impl Iterator<Item = &'a [u8]>, now_ms: u64) -> usize {
        let mut is_seen = vec![false; self.leases.len()];
        for id in ids {
            let held = self.holds(id, now_ms).and_then(|_| self.find(id));
            let place = held.and_then(|at| is_seen.get_mut(usize::from(at)));
            if let Some(place) = place {
                *place = true;
            }
        }
        is_seen.into_iter().filter(|is_seen| *is_seen).count()
    }

    /// When it ends, seen from `now_ms`: never more left than it was given.
    fn ends_ms(lease: &Lease, now_ms: u64) -> u64 {
        lease.ends_ms.min(now_ms.saturating_add(lease.ttl_ms))
    }
}

impl Meter for Leases {
    const ALGORITHM: Algorithm = Algorithm::Lease;

    fn unused(limit: &Limit, _log_size: u16) -> Self {
        Self {
            limit: limit.limit(),
            span: limit.span(),
            held: 0,
            charged_ms: 0,
            leases: SmallVec::new(),
            order: SmallVec::new(),
            index: HashTable::new(),
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
        self.sorted()
            .take_while(|lease| lease.ends_ms <= ask.now_ms)
            .fold(self.held, |held, lease| held - lease.cost)
    }

    fn own(&self, ask: &Ask) -> u64 {
        self.holds(ask.id, ask.now_ms).map_or(0, |lease| lease.cost)
    }

    fn wait(&self, ask: &Ask, target: u64) -> u64 {
        let mut held = self.used(ask) - self.own(ask);
        if held <= target {
            return 0;
        }
        let others = |lease: &&Lease| lease.ends_ms > ask.now_ms && *lease.id != *ask.id;
        let end = |lease: &Lease| (Self::ends_ms(lease, ask.now_ms), lease.cost);
        let mut until = |mut ends: &mut dyn Iterator<Item = (u64, u64)>| {
            let last = (&mut ends).find(|(_, cost)| {
                held = held.saturating_sub(*cost);
                held <= target
            });
            last.map_or(0, |(ends_ms, _)| ends_ms - ask.now_ms)
        };
        if self.is_ahead(ask.now_ms, None) {
            let mut ends: Vec<_> = self.sorted().filter(others).map(end).collect();
            ends.sort_unstable();
            until(&mut ends.into_iter())
        } else {
            until(&mut self.sorted().filter(others).map(end))
        }
    }

    fn reset(&self, ask: &Ask) -> u64 {
        let last_ms = if self.is_ahead(ask.now_ms, None) {
            self.leases
                .iter()
                .map(|lease| Self::ends_ms(lease, ask.now_ms))
                .max()
        } else {
            let last = self
                .order
                .last()
                .and_then(|at| self.leases.get(usize::from(*at)));
            last.map(|lease| lease.ends_ms)
        };
        last_ms.unwrap_or(0).saturating_sub(ask.now_ms)
    }

    fn reset_after(this: Option<&Self>, ask: &Ask, _cost: u64) -> u64 {
        let given_ms = ask.limit.window_ms();
        let Some(leases) = this else {
            return given_ms;
        };
        let last_ms = if leases.is_ahead(ask.now_ms, None) {
            let others = leases.leases.iter().filter(|lease| *lease.id != *ask.id);
            others.map(|lease| Self::ends_ms(lease, ask.now_ms)).max()
        } else {
            let mut newest = leases
                .order
                .iter()
                .rev()
                .filter_map(|at| leases.leases.get(usize::from(*at)));
            newest
                .find(|lease| *lease.id != *ask.id)
                .map(|lease| lease.ends_ms)
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
        let Ok(cost @ 1..) = u64::try_from(cost) else {
            return;
        };
        let ttl_ms = ask.limit.window_ms();
        match self.find(ask.id) {
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
        self.charged_ms
    }

    fn unused_at_ms(&self) -> u64 {
        let last = self
            .order
            .last()
            .and_then(|at| self.leases.get(usize::from(*at)));
        last.map_or(0, |lease| lease.ends_ms)
    }

    fn rewind(&mut self, now_ms: u64, _window: Option<Window>) {
        if self.charged_ms <= now_ms {
            return;
        }
        for lease in &mut self.leases {
            lease.ends_ms = Self::ends_ms(lease, now_ms);
        }
        let leases = &self.leases;
        self.order.sort_unstable_by_key(|at| {
            leases
                .get(usize::from(*at))
                .map(|lease| (lease.ends_ms, &*lease.id))
        });
        self.charged_ms = self.newest_ms();
    }

    fn is_full(&self, ask: &Ask) -> bool {
        let ended = self
            .sorted()
            .take_while(|lease| lease.ends_ms <= ask.now_ms)
            .count();
        self.leases.len() - ended >= MAX_LEASES && self.holds(ask.id, ask.now_ms).is_none()
    }

    fn heap_bytes(&self) -> usize {
        let ids = self.leases.iter().filter(|lease| lease.id.spilled());
        let leases = if self.leases.spilled() {
            self.leases.capacity()
        } else {
            0
        };
        let order = if self.order.spilled() {
            self.order.capacity()
        } else {
            0
        };
        leases * size_of::<Lease>()
            + order * size_of::<u16>()
            + self.index.allocation_size()
            + ids.map(|lease| lease.id.capacity()).sum::<usize>()
    }

    fn visit_allocations(&mut self, visitor: &mut impl Allocations) {
        for lease in &mut self.leases {
            visitor.visit(&mut lease.id);
        }
        visitor.visit(&mut self.leases);
        visitor.visit(&mut self.order);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let lease = held(&limit(5), &[(b"a", 1, 100)]).sorted().next().cloned();
        let left = |now_ms| lease.as_ref().unwrap().left_ms(now_ms);
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
}
