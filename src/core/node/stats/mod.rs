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

pub mod recent;
pub mod record;
pub mod sample;
pub mod series;
pub mod top;

use crate::core::bytes::source::Source;
use crate::core::bytes::varint;
use crate::core::bytes::varint::write_string;
use crate::core::error::MAX_NAME_BYTES;
use crate::core::limit::Algorithm;
use ahash::RandomState;
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
/// The first byte of an encoding.
const VERSION: u8 = 3;
/// The second version: of 90 days by the hour, and without shadows.
const VERSION_2: u8 = 2;
/// The first version: of three algorithms, and without the lists of hits that have no name.
const VERSION_1: u8 = 1;
/// How many algorithms the first version knew.
const ALGORITHMS_1: usize = 3;

/// Reads a series, as the version at hand has it.
type ReadSeries = fn(&mut Source) -> Option<Series>;

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

/// Of the hits of a name, those of calls that name another behind it, such as `POLICY api:acme POLICY api`: they count under
/// that name too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The last name of the latest such call.
    pub last: Box<[u8]>,
    /// How many.
    pub counts: Counts,
}

/// What is counted for a name.
#[derive(Debug)]
pub struct Named {
    name: Rc<[u8]>,
    series: Series,
    lists: IdentifierLists,
    /// In a box, as most have none.
    chain: Option<Box<Chain>>,
    /// Whether it is, or was, a policy's: then it is not one of [`Bounds::names`].
    is_policy: bool,
    /// Whether it is among [`Unwritten::names`].
    unwritten: bool,
    /// Whether the next record has all of it.
    whole: bool,
}

impl Named {
    fn new(name: Rc<[u8]>) -> Self {
        Self {
            name,
            series: Series::default(),
            lists: IdentifierLists::default(),
            chain: None,
            is_policy: false,
            unwritten: false,
            whole: true,
        }
    }

    /// Its hits: in all, by the hour and by the day.
    pub fn series(&self) -> &Series {
        &self.series
    }

    /// Who had them.
    pub fn lists(&self) -> &IdentifierLists {
        &self.lists
    }

    /// Which of its hits count under another name too.
    pub fn chain(&self) -> Option<&Chain> {
        self.chain.as_deref()
    }

    fn heap_bytes(&self) -> usize {
        let chain = self.chain();
        let chain = chain.map_or(0, |chain| size_of::<Chain>() + chain.last.len());
        self.series.heap_bytes() + self.lists.heap_bytes() + chain
    }

    fn write_chain(&self, out: &mut Vec<u8>) {
        match self.chain() {
            None => write_string(out, b""),
            Some(chain) => {
                write_string(out, &chain.last);
                chain.counts.encode(out);
            }
        }
    }
}

impl Chain {
    /// What [`Named::write_chain`] wrote of a name with so many hits.
    fn read(source: &mut Source, hits: Counts) -> Option<Option<Box<Self>>> {
        let length = source.count(MAX_NAME_BYTES)?;
        let last = source.take(length)?;
        if last.is_empty() {
            return Some(None);
        }
        let counts = Counts::decode(source)?;
        let last = last.into();
        let chain = counts.is_within(hits).then_some(Self { last, counts })?;
        Some(Some(Box::new(chain)))
    }
}

/// The identifiers that had an outcome most often, most first.
#[derive(Debug, Default)]
pub struct IdentifierLists {
    allowed: Top,
    denied: Top,
    shadow_denied: Top,
}

impl IdentifierLists {
    /// Those most often allowed.
    pub fn most_allowed(&self) -> Vec<Frequent<'_>> {
        self.allowed.list()
    }

    /// Those most often denied. What a deny list caught is not among them.
    pub fn most_denied(&self) -> Vec<Frequent<'_>> {
        self.denied.list()
    }

    /// Those that a shadow would have denied most often.
    pub fn most_shadow_denied(&self) -> Vec<Frequent<'_>> {
        self.shadow_denied.list()
    }

    fn of(&mut self, outcome: Outcome) -> Option<&mut Top> {
        match outcome {
            Outcome::Allowed => Some(&mut self.allowed),
            Outcome::Denied => Some(&mut self.denied),
            Outcome::ShadowDenied => Some(&mut self.shadow_denied),
            Outcome::DenyListed => None,
        }
    }

    /// In the order in which they are saved.
    fn each(&self) -> [&Top; 3] {
        [&self.allowed, &self.denied, &self.shadow_denied]
    }

    fn each_mut(&mut self) -> [&mut Top; 3] {
        [&mut self.allowed, &mut self.denied, &mut self.shadow_denied]
    }

    /// How many of them a version has, and whether these tell what came lately.
    fn of_version(version: u8) -> (usize, bool) {
        match version {
            VERSION => (3, true),
            _ => (2, false),
        }
    }

    /// How many hits each of them is of, where these were counted.
    fn hits(counts: Counts) -> [u64; 3] {
        [counts.allowed, counts.denied, counts.shadow_denied]
    }

    fn heap_bytes(&self) -> usize {
        self.each().into_iter().map(Top::heap_bytes).sum()
    }
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
/// assert_eq!(stats.total().allowed, 1);
/// let login = stats.name(b"login").unwrap();
/// assert_eq!(login.series().counts().denied, 1);
/// assert_eq!(login.lists().most_denied()[0].identifier, b"user:7");
/// ```
#[derive(Debug)]
pub struct Stats {
    bounds: Bounds,
    hashing: RandomState,
    /// Goes up whenever slots become stale. From 1, as a default slot has 0.
    epoch: u64,
    algorithms: PerAlgorithm,
    /// Identifiers of the hits that have no name.
    unnamed: Unnamed,
    /// Values that deny lists caught.
    listed: Top,
    named: Vec<Named>,
    /// Each name's index in `named`.
    names: HashMap<Rc<[u8]>, usize, RandomState>,
    /// How many of them are, or were, a policy's.
    policy_names: usize,
    unwritten: Unwritten,
}

/// Identifiers of the hits that have no name, from a sample.
#[derive(Debug)]
struct Unnamed {
    sample: Sample,
    lists: IdentifierLists,
}

impl Stats {
    /// Nothing counted yet. `hashing` should be seeded at random, so that no client can tell which names collide.
    pub fn new(bounds: Bounds, hashing: RandomState) -> Self {
        Self {
            bounds,
            hashing: hashing.clone(),
            epoch: 1,
            algorithms: Default::default(),
            unnamed: Unnamed {
                sample: Sample::new(hashing.hash_one(0_u8)),
                lists: IdentifierLists::default(),
            },
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
        if let Some(hits) = self.unnamed.sample.draw() {
            self.count_sample(identifier(), outcome, hits, now_ms / HOUR_MS);
        }
    }

    #[cold]
    fn count_sample(&mut self, identifier: &[u8], outcome: Outcome, hits: u64, hour: u64) {
        let k = self.bounds.identifiers;
        if let Some(top) = self.unnamed.lists.of(outcome) {
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
        let last = if (1..=MAX_NAME_BYTES).contains(&last.len()) {
            last
        } else {
            OTHER
        };
        let chain = named.chain.get_or_insert_with(|| {
            let counts = Counts::default();
            Box::new(Chain {
                last: last.into(),
                counts,
            })
        });
        if *chain.last != *last {
            chain.last = last.into();
        }
        chain.counts.count(outcome);
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
        let index = match self.names.get(name) {
            Some(index) => *index,
            None => self.add(Named::new(name.into())),
        };
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
        &self.unnamed.lists
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
            + self.unnamed.lists.heap_bytes()
            + self.listed.heap_bytes()
            + series.chain(named).chain(names).sum::<usize>()
    }

    /// Everything, as bytes: the same for equal statistics, whatever order they came about in.
    ///
    /// A version byte; how many algorithms there are, and their series; the lists of hits without a name, and that of values
    /// that were caught; the number of names; for each name, sorted, itself, its series, its lists, and its chain: the last
    /// name, and its counts, or no byte of a name and no counts. Lengths and numbers are varints
    /// ([`crate::core::bytes::varint`]).
    ///
    /// The second version had hours and no days, no shadows, no chains, and nothing of the last hours in a list. The first had
    /// the series of three algorithms, without their number, and no lists before the names.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        varint::write(&mut out, self.algorithms.len() as u64);
        for series in &self.algorithms {
            series.encode(&mut out);
        }
        for top in self.unnamed.lists.each() {
            top.encode(&mut out);
        }
        self.listed.encode(&mut out);
        varint::write(&mut out, self.names.len() as u64);
        for name in self.names() {
            let Some(named) = self.name(name) else {
                continue;
            };
            write_string(&mut out, name);
            named.series.encode(&mut out);
            for top in named.lists.each() {
                top.encode(&mut out);
            }
            named.write_chain(&mut out);
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
        let mut loaded = Self::new(self.bounds, self.hashing.clone());
        loaded.epoch = self.epoch + 1;
        loaded.unwritten.totals_whole = false;
        let version = source.byte()?;
        let series: ReadSeries = match version {
            VERSION => Series::decode,
            VERSION_1 | VERSION_2 => Series::decode_2,
            _ => return None,
        };
        let algorithms = match version {
            VERSION_1 => ALGORITHMS_1,
            _ => source.count(loaded.algorithms.len())?,
        };
        for own in loaded.algorithms.iter_mut().take(algorithms) {
            *own = series(&mut source)?;
        }
        if version != VERSION_1 {
            let any = [u64::MAX; 3]; // a sample, of however many
            loaded.unnamed.lists = self.decode_lists(&mut source, version, any)?;
            let has_recent = version == VERSION;
            loaded.listed = Top::decode(&mut source, has_recent, u64::MAX, &self.hashing)?;
        }
        let mut previous = None;
        for _ in 0..source.count(MOST_NAMES + 1)? {
            let name = source.name_after(previous, MAX_NAME_BYTES)?;
            previous = Some(name);
            let series = series(&mut source)?;
            let hits = IdentifierLists::hits(series.counts());
            let lists = self.decode_lists(&mut source, version, hits)?;
            let chain = match version {
                VERSION => Chain::read(&mut source, series.counts())?,
                _ => None,
            };
            loaded.add(Named {
                series,
                lists,
                chain,
                whole: false,
                ..Named::new(name.into())
            });
        }
        let sound = source.0.is_empty() && loaded.names_apart() <= MOST_NAMES;
        sound.then_some(loaded)
    }

    /// [`IdentifierLists::each`] that a version has, each of a stream of at most so many hits.
    fn decode_lists(
        &self,
        source: &mut Source,
        version: u8,
        hits: [u64; 3],
    ) -> Option<IdentifierLists> {
        let (lists, has_recent) = IdentifierLists::of_version(version);
        let mut read = IdentifierLists::default();
        for (top, hits) in read.each_mut().into_iter().zip(hits).take(lists) {
            *top = Top::decode(source, has_recent, hits, &self.hashing)?;
        }
        Some(read)
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
