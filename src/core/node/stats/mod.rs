//! Who was allowed and who was denied, in bounded memory.
//!
//! Every hit counts for its algorithm; the totals are the sum of the three. A hit with a policy's name counts for the name
//! too: its hits, and its identifiers (the key's name) in two lists, the most allowed and the most denied.
//!
//! | what | bound | bytes at most |
//! |---|---|---|
//! | [`hours`]: one series of 90 days | 2160 hours with traffic | 86 KiB; some 15 KiB at 10,000 hits an hour |
//! | [`top`]: the two lists of a name | [`Bounds::identifiers`] each, `k` (rounded up to a power of two here) | `2 * k * 211`: 27 KiB for 64 |
//! | names | [`Bounds::names`], and `other` | 0.6 KiB each, the above not counted |
//!
//! Names past the bound count under `other`. What has changed can be written to a log, bit by bit: [`journal`].

pub mod hours;
pub mod journal;
pub mod top;

use crate::core::bytes::source::{write_string, Source};
use crate::core::bytes::varint;
use crate::core::error::MAX_NAME_BYTES;
use crate::core::limit::Algorithm;
use ahash::RandomState;
use hours::{Counts, Hour, Series, HOUR_MS};
use journal::Unwritten;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use top::{Frequent, Top, DEFAULT_IDENTIFIERS};

/// Names if not configured: as many as policies.
pub const DEFAULT_NAMES: usize = 1_000;
/// The most names. A name can take 0.1 MiB, so this is already 1 GiB at the worst.
pub const MAX_NAMES: usize = 10_000;
/// Where names past the bound count. A policy of this very name shares it.
pub const OTHER: &[u8] = b"other";

/// The first byte of an encoding: 1, the only one so far.
const VERSION: u8 = 1;

/// What became of a hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It fitted.
    Allowed,
    /// It was over a limit.
    Denied,
    /// It was in a deny list.
    DenyListed,
}

/// How much is kept. What is there already stays when a bound is lowered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Names, `other` not counted: 0 ..= [`MAX_NAMES`]; more is taken as the most.
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

/// A name's place in the statistics: found once, used for many hits. See [`Stats::renew`].
///
/// A reset, a load and new bounds make every slot stale. A default one is stale from the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// [`Stats::epoch`] when it was handed out.
    epoch: u64,
    index: usize,
}

/// What is counted for a name.
#[derive(Debug)]
pub struct Named {
    name: Rc<[u8]>,
    series: Series,
    allowed: Top,
    denied: Top,
    /// Whether it is among [`Unwritten::names`].
    unwritten: bool,
}

impl Named {
    fn new(name: Rc<[u8]>) -> Self {
        Self {
            name,
            series: Series::default(),
            allowed: Top::default(),
            denied: Top::default(),
            unwritten: false,
        }
    }

    /// Its hits, in all and by the hour.
    pub fn series(&self) -> &Series {
        &self.series
    }

    /// The identifiers most often allowed, most first.
    pub fn most_allowed(&self) -> Vec<Frequent<'_>> {
        self.allowed.list()
    }

    /// The identifiers most often denied, most first. What a deny list caught is not among them.
    pub fn most_denied(&self) -> Vec<Frequent<'_>> {
        self.denied.list()
    }

    fn heap_bytes(&self) -> usize {
        self.series.heap_bytes() + self.allowed.heap_bytes() + self.denied.heap_bytes()
    }
}

/// The statistics of a node.
///
/// ```
/// use ratelimit::core::limit::Algorithm;
/// use ratelimit::core::node::stats::{Bounds, Outcome, Slot, Stats};
///
/// let mut stats = Stats::new(Bounds::default(), ahash::RandomState::with_seeds(1, 2, 3, 4));
/// let now_ms = 1_700_000_000_000;
/// stats.count(Algorithm::Fixed, Outcome::Allowed, now_ms);
///
/// let slot = stats.renew(Slot::default(), b"login");
/// stats.count_named(slot, b"user:7", Algorithm::Bucket, Outcome::Denied, now_ms);
///
/// assert_eq!(stats.total().allowed, 1);
/// let login = stats.name(b"login").unwrap();
/// assert_eq!(login.series().counts().denied, 1);
/// assert_eq!(login.most_denied()[0].identifier, b"user:7");
/// ```
#[derive(Debug)]
pub struct Stats {
    bounds: Bounds,
    hashing: RandomState,
    /// Goes up whenever slots become stale. From 1, as a default slot has 0.
    epoch: u64,
    /// In the order of [`Algorithm::ALL`].
    algorithms: [Series; 3],
    named: Vec<Named>,
    /// Each name's index in `named`.
    names: HashMap<Rc<[u8]>, usize, RandomState>,
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
            named: Vec::new(),
            names: HashMap::with_hasher(hashing),
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

    /// Counts a hit that names no policy.
    #[inline]
    pub fn count(&mut self, algorithm: Algorithm, outcome: Outcome, now_ms: u64) {
        let [fixed, sliding, bucket] = &mut self.algorithms;
        let series = match algorithm {
            Algorithm::Fixed => fixed,
            Algorithm::Sliding => sliding,
            Algorithm::Bucket | Algorithm::Lease => bucket,
        };
        series.count(outcome, now_ms / HOUR_MS);
        self.unwritten.algorithms = true;
    }

    /// Counts a hit on `identifier` that names a policy. Under a stale slot it counts for `other`, never for a wrong name.
    #[inline]
    pub fn count_named(
        &mut self,
        slot: Slot,
        identifier: &[u8],
        algorithm: Algorithm,
        outcome: Outcome,
        now_ms: u64,
    ) {
        self.count(algorithm, outcome, now_ms);
        let slot = self.renew(slot, OTHER);
        let Some(named) = self.named.get_mut(slot.index) else {
            return;
        };
        if !named.unwritten {
            named.unwritten = true;
            self.unwritten.names.push_back(slot.index);
        }
        named.series.count(outcome, now_ms / HOUR_MS);
        let top = match outcome {
            Outcome::Allowed => &mut named.allowed,
            Outcome::Denied => &mut named.denied,
            Outcome::DenyListed => return,
        };
        top.count(identifier, self.bounds.identifiers, &self.hashing);
    }

    /// `slot` itself, or where it is stale the slot of `name`. The caller keeps what it gets, beside the policy, and gives it
    /// back for the next hit:
    /// `policy.slot = stats.renew(policy.slot, name)`.
    #[inline]
    pub fn renew(&mut self, slot: Slot, name: &[u8]) -> Slot {
        if slot.epoch == self.epoch {
            slot
        } else {
            self.slot(name)
        }
    }

    /// The slot of a name: one hash look-up. A new name is entered; past the bound, and for a name that no policy can have
    /// (none, or more than [`MAX_NAME_BYTES`] bytes), it is that of `other`.
    pub fn slot(&mut self, name: &[u8]) -> Slot {
        let index = match self.names.get(name) {
            Some(index) => *index,
            None => self.enter(name),
        };
        Slot {
            epoch: self.epoch,
            index,
        }
    }

    #[cold]
    fn enter(&mut self, name: &[u8]) -> usize {
        let room = self.named_apart() < self.bounds.names.min(MAX_NAMES);
        let name = if room && (1..=MAX_NAME_BYTES).contains(&name.len()) {
            name
        } else {
            OTHER
        };
        match self.names.get(name) {
            Some(index) => *index,
            None => self.add(Named::new(name.into())),
        }
    }

    fn add(&mut self, named: Named) -> usize {
        let index = self.named.len();
        self.names.insert(Rc::clone(&named.name), index);
        self.named.push(named);
        index
    }

    /// All hits since the last reset.
    pub fn total(&self) -> Counts {
        self.algorithms
            .iter()
            .fold(Counts::default(), |sum, series| sum.plus(series.counts()))
    }

    /// All hits by the hour, as [`Series::hours`].
    pub fn total_hours(&self, now_ms: u64) -> Vec<Hour> {
        let mut sums: BTreeMap<u64, Counts> = BTreeMap::new();
        for hour in self
            .algorithms
            .iter()
            .flat_map(|series| series.hours(now_ms))
        {
            let sum = sums.entry(hour.hour).or_default();
            *sum = sum.plus(hour.counts);
        }
        sums.into_iter()
            .map(|(hour, counts)| Hour { hour, counts })
            .collect()
    }

    /// The hits of one algorithm, with or without a name.
    pub fn algorithm(&self, algorithm: Algorithm) -> &Series {
        let [fixed, sliding, bucket] = &self.algorithms;
        match algorithm {
            Algorithm::Fixed => fixed,
            Algorithm::Sliding => sliding,
            Algorithm::Bucket | Algorithm::Lease => bucket,
        }
    }

    /// Whether nothing has been counted since the last reset.
    pub fn is_empty(&self) -> bool {
        self.total() == Counts::default() && self.names.is_empty()
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

    /// How many names there are beside [`OTHER`], for which there is always room.
    fn named_apart(&self) -> usize {
        self.names.len() - usize::from(self.names.contains_key(OTHER))
    }

    /// What was counted for a name.
    pub fn name(&self, name: &[u8]) -> Option<&Named> {
        self.named.get(*self.names.get(name)?)
    }

    /// Forgets everything, or one name. Whether there was such a name; `true` for everything. The totals keep what a name
    /// has added to them.
    pub fn reset(&mut self, name: Option<&[u8]>) -> bool {
        let was_there = self.forget(name);
        match name {
            None => self.unwritten.everything_forgotten(),
            Some(name) if was_there => {
                self.unwritten.forgotten.insert(name.into());
                if self.unwritten.forgotten.len() > MAX_NAMES {
                    self.begin_journal(); // nobody writes; this takes no more memory, and says the same
                }
            }
            Some(_) => {}
        }
        was_there
    }

    fn forget(&mut self, name: Option<&[u8]>) -> bool {
        let Some(name) = name else {
            self.algorithms = Default::default();
            self.named = Vec::new();
            self.names = HashMap::with_hasher(self.hashing.clone());
            self.unwritten.names.clear();
            self.epoch += 1;
            return true;
        };
        let Some(index) = self.names.remove(name) else {
            return false;
        };
        self.named.swap_remove(index);
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
        // std's table has a power of two of places, 8/7 of the capacity, with a control byte for each.
        let places = match self.names.capacity() {
            0 => 0,
            capacity => (capacity * 8 / 7).next_power_of_two(),
        };
        let series = self.algorithms.iter().map(Series::heap_bytes);
        let named = self.named.iter().map(Named::heap_bytes);
        // A shared name has two counters before it.
        let names = self
            .names
            .keys()
            .map(|name| 2 * size_of::<usize>() + name.len());
        size_of::<Self>()
            + places * (size_of::<(Rc<[u8]>, usize)>() + 1)
            + self.named.capacity() * size_of::<Named>()
            + self.unwritten.heap_bytes()
            + series.chain(named).chain(names).sum::<usize>()
    }

    /// Everything, as bytes: the same for equal statistics, whatever order they came about in.
    ///
    /// A version byte; the three algorithms' series; the number of names; for each name, sorted, itself, its series, and its
    /// two lists. Lengths and numbers are varints ([`crate::core::bytes::varint`]).
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        for series in &self.algorithms {
            series.encode(&mut out);
        }
        varint::write(&mut out, self.names.len() as u64);
        for name in self.names() {
            let Some(named) = self.name(name) else {
                continue;
            };
            write_string(&mut out, name);
            named.series.encode(&mut out);
            named.allowed.encode(&mut out);
            named.denied.encode(&mut out);
        }
        out
    }

    /// Replaces everything by what [`Stats::encode`] wrote, perhaps under other bounds: all of it is kept. Whether it did:
    /// bytes that cannot have been written so are refused, and leave everything as it was.
    #[must_use]
    pub fn load(&mut self, bytes: &[u8]) -> bool {
        let Some(loaded) = self.decode(bytes) else {
            return false;
        };
        *self = loaded;
        true
    }

    fn decode(&self, bytes: &[u8]) -> Option<Self> {
        let mut source = Source(bytes);
        if source.byte()? != VERSION {
            return None;
        }
        let mut loaded = Self::new(self.bounds, self.hashing.clone());
        loaded.epoch = self.epoch + 1;
        for series in &mut loaded.algorithms {
            *series = Series::decode(&mut source)?;
        }
        let mut previous = None;
        for _ in 0..source.count(MAX_NAMES + 1)? {
            let name = source.name_after(previous, MAX_NAME_BYTES)?;
            previous = Some(name);
            let series = Series::decode(&mut source)?;
            let counts = series.counts();
            loaded.add(Named {
                series,
                allowed: Top::decode(&mut source, counts.allowed, &self.hashing)?,
                denied: Top::decode(&mut source, counts.denied, &self.hashing)?,
                ..Named::new(name.into())
            });
        }
        let sound = source.0.is_empty() && loaded.named_apart() <= MAX_NAMES;
        sound.then_some(loaded)
    }
}

#[cfg(test)]
pub(super) mod tests;
