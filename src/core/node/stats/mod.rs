//! Who was allowed and who was denied, in bounded memory.
//!
//! Every hit counts for its algorithm; the totals are the sum of these. A hit with a policy's name counts for the name
//! too: its hits, and its identifiers (the key's name) in three lists, the most allowed, the most denied, and those that a
//! shadow would have denied most. Hits without a name have such lists of their own, from a [`sample`]; and there is one of the
//! values that deny lists caught.
//!
//! | what | bound | bytes at most |
//! |---|---|---|
//! | [`series`]: one series, by the hour and by the day | 200 hours and 96 days with traffic | 12 KiB |
//! | [`top`]: the three lists of a name | [`Bounds::identifiers`] each, `k` (rounded up to a power of two here) | `3 * k * 235`: 44 KiB for 64 |
//! | names | those of policies; [`Bounds::names`] others, and [`OTHER`] | 1 KiB each, the above not counted |
//!
//! A policy's name always has a place. What callers make up shares [`Bounds::names`] places, and past these counts under
//! [`OTHER`]. What has changed can be written down bit by bit: [`record`].

mod form;
mod named;
pub mod recent;
pub mod record;
pub mod sample;
pub mod series;
pub mod top;

use crate::core::error::MAX_NAME_BYTES;
use crate::core::limit::Algorithm;
use crate::core::node::map_bytes;
use ahash::RandomState;
pub use named::{Chain, IdentifierLists, Named};
use record::Unwritten;
use sample::Sample;
use series::{Counts, Row, Series, HOUR_MS};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use top::{Frequent, Top, DEFAULT_IDENTIFIERS};

/// Names that are no policy's, if not configured.
pub const DEFAULT_NAMES: usize = 1_000;
/// The most of them. A name can take 57 KiB, with the default of identifiers, so this is already 0.5 GiB at the worst.
pub const MAX_NAMES: usize = 10_000;
/// The most names that are, or were, a policy's: then those of policies that are gone make room.
pub const MAX_POLICY_NAMES: usize = crate::core::limit::MAX_POLICIES;
/// Where names past the bound count. A policy of this very name shares it.
pub const OTHER: &[u8] = b"other";

/// The most names that there are, [`OTHER`] not counted.
const MOST_NAMES: usize = MAX_NAMES + MAX_POLICY_NAMES;
/// A series for each of [`Algorithm::ALL`].
type PerAlgorithm = [Series; Algorithm::ALL.len()];

/// What became of a hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It fitted.
    Allowed,
    /// It was over a limit.
    Denied,
    /// It was in a deny list.
    DenyListed,
    /// It was allowed, and a shadow would have denied it: counted beside [`Outcome::Allowed`].
    ShadowDenied,
}

impl Outcome {
    /// All, in the order in which they are told and saved.
    pub const ALL: [Self; 4] = [
        Self::Allowed,
        Self::Denied,
        Self::DenyListed,
        Self::ShadowDenied,
    ];

    /// Its name in replies.
    pub fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::DenyListed => "deny_listed",
            Self::ShadowDenied => "shadow_denied",
        }
    }
}

/// How much is kept. What is there already stays when a bound is lowered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Names that are no policy's, `other` not counted: 0 ..= [`MAX_NAMES`]; more is taken as the most.
    pub names: usize,
    /// Identifiers in each list: [`top::MIN_IDENTIFIERS`] ..= [`top::MAX_IDENTIFIERS`]; what is out of it is taken as the nearest.
    pub identifiers: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            names: DEFAULT_NAMES,
            identifiers: DEFAULT_IDENTIFIERS,
        }
    }
}

/// The place of a policy's name in the statistics: found once, used for many hits. See [`Stats::renew`].
///
/// A reset, a load and new bounds make every slot stale. A default one is stale from the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NameSlot {
    /// [`Stats::epoch`] when it was handed out.
    epoch: u64,
    index: usize,
}

/// The statistics of a node.
///
/// ```
/// use ratelimit::core::limit::Algorithm;
/// use ratelimit::core::node::stats::{Bounds, Outcome, NameSlot, Stats};
///
/// let mut stats = Stats::new(Bounds::default(), ahash::RandomState::with_seeds(1, 2, 3, 4));
/// let now_ms = 1_700_000_000_000;
/// stats.count_unnamed(|| b"user:7", Algorithm::Fixed, Outcome::Allowed, now_ms);
///
/// let slot = stats.renew(NameSlot::default(), b"login", |_| true);
/// stats.count_named(slot, b"user:7", Algorithm::Bucket, Outcome::Denied, now_ms);
///
/// assert_eq!(stats.total().of(Outcome::Allowed), 1);
/// let login = stats.name(b"login").unwrap();
/// assert_eq!(login.series().counts().of(Outcome::Denied), 1);
/// assert_eq!(login.lists().most(Outcome::Denied)[0].identifier, b"user:7");
/// ```
#[derive(Debug)]
pub struct Stats {
    bounds: Bounds,
    hashing: RandomState,
    /// Goes up whenever slots become stale. From 1, as a default slot has 0.
    epoch: u64,
    algorithms: PerAlgorithm,
    /// Which of the hits that have no name are looked at more closely.
    sample: Sample,
    /// The identifiers of these.
    unnamed: IdentifierLists,
    /// Values that deny lists caught.
    listed: Top,
    named: Vec<Named>,
    /// Each name's index in `named`.
    names: HashMap<Rc<[u8]>, usize, RandomState>,
    /// How many of them are, or were, a policy's.
    policy_names: usize,
    unwritten: Unwritten,
}

impl Stats {
    /// Nothing counted yet. `hashing` should be seeded at random, so that no client can tell which names collide.
    pub fn new(bounds: Bounds, hashing: RandomState) -> Self {
        Self {
            bounds,
            hashing: hashing.clone(),
            epoch: 1,
            algorithms: Default::default(),
            sample: Sample::new(hashing.hash_one(0_u8)),
            unnamed: IdentifierLists::default(),
            listed: Top::default(),
            named: Vec::new(),
            names: HashMap::with_hasher(hashing),
            policy_names: 0,
            unwritten: Unwritten::default(),
        }
    }

    /// Takes new bounds from the next hit on.
    pub fn set_bounds(&mut self, bounds: Bounds) {
        if bounds != self.bounds {
            self.bounds = bounds;
            self.epoch += 1; // a name that counts under `other` may now have room
        }
    }

    /// Counts a hit that names no policy. `identifier` is asked for only where the hit is in the sample.
    #[inline(always)]
    pub fn count_unnamed<'a>(
        &mut self,
        identifier: impl FnOnce() -> &'a [u8],
        algorithm: Algorithm,
        outcome: Outcome,
        now_ms: u64,
    ) {
        self.count(algorithm, outcome, now_ms);
        if let Some(hits) = self.sample.draw() {
            self.count_sample(identifier(), outcome, hits, now_ms / HOUR_MS);
        }
    }

    #[cold]
    fn count_sample(&mut self, identifier: &[u8], outcome: Outcome, hits: u64, hour: u64) {
        let k = self.bounds.identifiers;
        if let Some(top) = self.unnamed.of(outcome) {
            top.count(identifier, hits, hour, k, &self.hashing);
        }
    }

    /// Counts a value that a deny list caught, beside the hit that it was caught by.
    pub fn count_listed(&mut self, value: &[u8], now_ms: u64) {
        let (hour, k) = (now_ms / HOUR_MS, self.bounds.identifiers);
        self.listed.count(value, 1, hour, k, &self.hashing);
        self.unwritten.totals = true;
    }

    /// Counts a hit on `identifier` that names a policy. Under a stale slot it counts for `other`, never for a wrong name.
    #[inline]
    pub fn count_named(
        &mut self,
        slot: NameSlot,
        identifier: &[u8],
        algorithm: Algorithm,
        outcome: Outcome,
        now_ms: u64,
    ) {
        self.count(algorithm, outcome, now_ms);
        self.count_under(slot, identifier, outcome, now_ms);
    }

    /// Counts a hit that was counted by [`Stats::count_named`], under the last name of its call, under one in front of that.
    pub fn count_in_front(
        &mut self,
        slot: NameSlot,
        last: &[u8],
        identifier: &[u8],
        outcome: Outcome,
        now_ms: u64,
    ) {
        let Some(named) = self.count_under(slot, identifier, outcome, now_ms) else {
            return;
        };
        let is_name = (1..=MAX_NAME_BYTES).contains(&last.len());
        named.count_before(if is_name { last } else { OTHER }, outcome);
    }

    #[inline(always)]
    fn count_under(
        &mut self,
        slot: NameSlot,
        identifier: &[u8],
        outcome: Outcome,
        now_ms: u64,
    ) -> Option<&mut Named> {
        let slot = if slot.epoch == self.epoch {
            slot
        } else {
            self.slot(OTHER)
        };
        let named = self.named.get_mut(slot.index)?;
        if !named.unwritten {
            named.unwritten = true;
            self.unwritten.names.push_back(slot.index);
        }
        let (hour, k) = (now_ms / HOUR_MS, self.bounds.identifiers);
        named.series.count(outcome, hour);
        if let Some(top) = named.lists.of(outcome) {
            top.count(identifier, 1, hour, k, &self.hashing);
        }
        Some(named)
    }

    #[inline(always)]
    fn count(&mut self, algorithm: Algorithm, outcome: Outcome, now_ms: u64) {
        if let Some(series) = self.algorithms.get_mut(algorithm as usize) {
            series.count(outcome, now_ms / HOUR_MS);
        }
        self.unwritten.totals = true;
    }

    /// `slot` itself, or where it is stale the slot of a policy's name, which always has a place. The caller keeps what it
    /// gets, beside the policy, and gives it back for the next hit. `is_policy` tells of a name whether there is such a
    /// policy.
    #[inline]
    pub fn renew(
        &mut self,
        slot: NameSlot,
        name: &[u8],
        is_policy: impl Fn(&[u8]) -> bool,
    ) -> NameSlot {
        if slot.epoch == self.epoch {
            slot
        } else {
            self.policy_slot(name, is_policy)
        }
    }

    #[cold]
    fn policy_slot(&mut self, name: &[u8], is_policy: impl Fn(&[u8]) -> bool) -> NameSlot {
        let own = self.name(name);
        let is_new = own.is_none_or(|named| !named.is_policy);
        let no_place = own.is_none() && self.names_apart() >= MOST_NAMES;
        if is_new && (no_place || self.policy_names >= MAX_POLICY_NAMES) {
            let gone = |named: &&Named| (no_place || named.is_policy) && !is_policy(&named.name);
            let gone = self.named.iter().find(gone);
            if let Some(name) = gone.map(|named| Rc::clone(&named.name)) {
                self.forget(Some(&name));
            }
        }
        let is_name = (1..=MAX_NAME_BYTES).contains(&name.len());
        if !is_name || (is_new && self.policy_names >= MAX_POLICY_NAMES) {
            return self.slot(OTHER);
        }
        let index = self.index_to_count(name);
        if let Some(named) = self.named.get_mut(index) {
            self.policy_names += usize::from(!named.is_policy);
            named.is_policy = true;
        }
        NameSlot {
            epoch: self.epoch,
            index,
        }
    }

    /// The slot of a name that is no policy's: one hash look-up. A new name is entered; past the bound, and for a name that
    /// no policy can have (none, or more than [`MAX_NAME_BYTES`] bytes), it is that of `other`.
    pub fn slot(&mut self, name: &[u8]) -> NameSlot {
        let index = match self.names.get(name) {
            Some(index) => *index,
            None => self.enter(name),
        };
        NameSlot {
            epoch: self.epoch,
            index,
        }
    }

    #[cold]
    fn enter(&mut self, name: &[u8]) -> usize {
        let made_up = self.names_apart() - self.policy_names;
        let room = made_up < self.bounds.names.min(MAX_NAMES);
        let name = if room && (1..=MAX_NAME_BYTES).contains(&name.len()) {
            name
        } else {
            OTHER
        };
        self.index_to_count(name)
    }

    /// A name's index, which is entered where it is new.
    fn index_to_count(&mut self, name: &[u8]) -> usize {
        if let Some(index) = self.names.get(name) {
            return *index;
        }
        let (index, name) = (self.named.len(), Rc::from(name));
        self.names.insert(Rc::clone(&name), index);
        self.named.push(Named::new(name));
        index
    }

    /// All hits since the last reset.
    pub fn total(&self) -> Counts {
        self.algorithms
            .iter()
            .fold(Counts::default(), |sum, series| sum.plus(series.counts()))
    }

    /// All hits by the hour, as [`Series::hours`].
    pub fn total_hours(&self, now_ms: u64) -> Vec<Row> {
        self.total_rows(|series| series.hours(now_ms))
    }

    /// All hits by the day, as [`Series::days`].
    pub fn total_days(&self, now_ms: u64) -> Vec<Row> {
        self.total_rows(|series| series.days(now_ms))
    }

    fn total_rows(&self, rows: impl Fn(&Series) -> Vec<Row>) -> Vec<Row> {
        let mut sums: BTreeMap<u64, Counts> = BTreeMap::new();
        for row in self.algorithms.iter().flat_map(rows) {
            let sum = sums.entry(row.number).or_default();
            *sum = sum.plus(row.counts);
        }
        let sums = sums.into_iter();
        sums.map(|(number, counts)| Row { number, counts })
            .collect()
    }

    /// The hits of one algorithm, with or without a name.
    pub fn algorithm(&self, algorithm: Algorithm) -> &Series {
        let [first, ..] = &self.algorithms;
        self.algorithms.get(algorithm as usize).unwrap_or(first)
    }

    /// Who had the hits without a name: from a [`sample`].
    pub fn unnamed(&self) -> &IdentifierLists {
        &self.unnamed
    }

    /// The values that deny lists caught most often, most first.
    pub fn most_deny_listed(&self) -> Vec<Frequent<'_>> {
        self.listed.list()
    }

    /// Whether nothing has been counted since the last reset.
    pub fn is_empty(&self) -> bool {
        self.total() == Counts::default() && self.names.is_empty()
    }

    /// The hits without a name: all but those of names, each once. A name that was reset leaves its hits here.
    pub fn unnamed_counts(&self) -> Counts {
        let own = |named: &Named| {
            let twice = named.chain().map(|chain| chain.counts);
            named.series.counts().minus(twice.unwrap_or_default())
        };
        let named = self.named.iter().map(own);
        self.total()
            .minus(named.fold(Counts::default(), Counts::plus))
    }

    /// Every name, sorted.
    pub fn names(&self) -> Vec<&[u8]> {
        let mut names: Vec<_> = self.names.keys().map(|name| &**name).collect();
        names.sort_unstable();
        names
    }

    /// How many names there are.
    pub fn names_len(&self) -> usize {
        self.names.len()
    }

    /// How many names there are beside [`OTHER`], for which there is always room. (Where a policy has that name it is one of
    /// the policies' names.)
    fn names_apart(&self) -> usize {
        let other = self.name(OTHER);
        self.names.len() - usize::from(other.is_some_and(|other| !other.is_policy))
    }

    /// What was counted for a name.
    pub fn name(&self, name: &[u8]) -> Option<&Named> {
        self.named.get(*self.names.get(name)?)
    }

    /// Forgets everything, or one name. Whether there was such a name; `true` for everything. The totals keep what a name
    /// has added to them.
    ///
    /// No record tells of it: whoever follows the records must be told apart from them, and forget the same.
    pub fn reset(&mut self, name: Option<&[u8]>) -> bool {
        self.forget(name)
    }

    fn forget(&mut self, name: Option<&[u8]>) -> bool {
        let Some(name) = name else {
            let epoch = self.epoch + 1;
            *self = Self {
                epoch,
                ..Self::new(self.bounds, self.hashing.clone())
            };
            return true;
        };
        let Some(index) = self.names.remove(name) else {
            return false;
        };
        let gone = self.named.swap_remove(index);
        self.policy_names -= usize::from(gone.is_policy);
        if let Some(moved) = self.named.get(index) {
            self.names.insert(Rc::clone(&moved.name), index);
        }
        self.unwritten.renumber(&self.named);
        self.epoch += 1;
        true
    }

    /// Bytes in use, without the allocator's own. The map of names does not show how large it is after a name was reset:
    /// then it may take 50 bytes a name more.
    pub fn memory_bytes(&self) -> usize {
        let series = self.algorithms.iter().map(Series::heap_bytes);
        let named = self.named.iter().map(Named::heap_bytes);
        // A shared name has two counters before it.
        let names = self
            .names
            .keys()
            .map(|name| 2 * size_of::<usize>() + name.len());
        size_of::<Self>()
            + map_bytes(&self.names)
            + self.named.capacity() * size_of::<Named>()
            + self.unwritten.heap_bytes()
            + self.unnamed.heap_bytes()
            + self.listed.heap_bytes()
            + series.chain(named).chain(names).sum::<usize>()
    }

    /// Tells which names are policies', after a load, which does not know.
    pub fn mark_policies(&mut self, is_policy: impl Fn(&[u8]) -> bool) {
        for named in &mut self.named {
            named.is_policy = is_policy(&named.name);
        }
        self.policy_names = self.named.iter().filter(|named| named.is_policy).count();
    }
}

#[cfg(test)]
pub(super) mod tests;
