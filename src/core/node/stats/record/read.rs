//! Reading what was saved, and records: all is read before anything changes.

use super::Mode;
use crate::core::bytes::source::Source;
use crate::core::error::MAX_NAME_BYTES;
use crate::core::node::stats::form::Form;
use crate::core::node::stats::named::{Chain, ListsChange, Named};
use crate::core::node::stats::series::Series;
use crate::core::node::stats::top::Top;
use crate::core::node::stats::{IdentifierLists, PerAlgorithm, Stats, MOST_NAMES, OTHER};
use std::collections::BTreeSet;

/// What was saved or recorded, and can be applied here.
struct Read<'a> {
    everything_forgotten: bool,
    forgotten: BTreeSet<&'a [u8]>,
    totals: Option<Totals>,
    names: Vec<Name<'a>>,
}

struct Totals {
    mode: Mode,
    series: Vec<Series>,
    lists: ListsChange,
    listed: Option<Top>,
}

struct Name<'a> {
    name: &'a [u8],
    mode: Mode,
    series: Series,
    lists: ListsChange,
    chain: Option<Box<Chain>>,
}

impl Mode {
    fn read(source: &mut Source) -> Option<Self> {
        let modes = [Mode::Absent, Mode::Follows, Mode::Whole];
        modes.get(usize::from(source.byte()?)).copied()
    }
}

impl Stats {
    /// Replaces everything by what [`Stats::encode`] wrote, perhaps under other bounds: all of it is kept. Whether it did:
    /// bytes that cannot have been written so are refused, and leave everything as it was.
    #[must_use]
    pub fn load(&mut self, bytes: &[u8]) -> bool {
        let mut loaded = Self::new(self.bounds, self.hashing.clone());
        loaded.epoch = self.epoch + 1;
        let is_loaded = loaded.take(bytes, false);
        if is_loaded {
            *self = loaded;
        }
        is_loaded
    }

    /// Applies a record. Whether it did: bytes that are none, or that cannot follow on what is here, are refused, and leave
    /// everything as it was.
    #[must_use]
    pub fn apply_record(&mut self, bytes: &[u8]) -> bool {
        self.take(bytes, true)
    }

    fn take(&mut self, bytes: &[u8], is_record: bool) -> bool {
        let mut source = Source(bytes);
        let form = Form::read(&mut source, is_record);
        let read = form.and_then(|form| self.read(&mut source, form));
        read.map(|read| self.apply(read)).is_some()
    }

    fn apply(&mut self, read: Read) {
        if read.everything_forgotten {
            self.forget(None);
        }
        for name in read.forgotten {
            self.forget(Some(name));
        }
        if let Some(totals) = read.totals {
            self.apply_totals(totals);
        }
        for change in read.names {
            let index = self.index_to_count(change.name);
            if let Some(named) = self.named.get_mut(index) {
                if change.mode == Mode::Whole {
                    named.lists = IdentifierLists::default();
                }
                named.whole = false;
                named.series = change.series;
                named.chain = change.chain;
                change.lists.apply(&mut named.lists);
            }
        }
    }

    fn apply_totals(&mut self, totals: Totals) {
        if totals.mode == Mode::Whole {
            self.algorithms = PerAlgorithm::default();
            self.unnamed = IdentifierLists::default();
            self.listed = Top::default();
        }
        for (series, changed) in self.algorithms.iter_mut().zip(totals.series) {
            *series = changed;
        }
        totals.lists.apply(&mut self.unnamed);
        if let Some(listed) = totals.listed {
            self.listed = listed;
        }
        self.unwritten.totals_whole = false;
    }

    fn read<'a>(&self, source: &mut Source<'a>, form: Form) -> Option<Read<'a>> {
        let (mut everything_forgotten, mut forgotten) = (false, BTreeSet::new());
        let mode = if !form.is_record {
            Mode::Whole
        } else if form.is_first() {
            everything_forgotten = source.count(1)? == 1;
            for _ in 0..source.count(MOST_NAMES + 1)? {
                let name = source.name_after(forgotten.last().copied(), MAX_NAME_BYTES)?;
                forgotten.insert(name);
            }
            match source.count(1)? {
                0 => Mode::Absent,
                _ => Mode::of(everything_forgotten),
            }
        } else {
            Mode::read(source)?
        };
        let totals = match mode {
            Mode::Absent => None,
            _ => Some(self.read_totals(source, mode, form)?),
        };
        let stays = |name| !everything_forgotten && !forgotten.contains(name);
        let gone = forgotten.iter().filter(|name| self.name(name).is_some());
        let mut names_len = match everything_forgotten {
            false => self.names.len() - gone.count(),
            true => 0,
        };
        // One more than the most: `other`, where it is there or comes.
        let mut others = usize::from(stays(OTHER) && self.name(OTHER).is_some());
        let new = Named::new([].into());
        let (mut names, mut seen) = (Vec::new(), BTreeSet::new());
        for _ in 0..source.count(MOST_NAMES + 1)? {
            // What is saved is sorted.
            let previous = seen.last().copied().filter(|_| !form.is_record);
            let name = source.name_after(previous, MAX_NAME_BYTES)?;
            let named = self.name(name).filter(|_| stays(name));
            names_len += usize::from(named.is_none());
            others += usize::from(named.is_none() && name == OTHER);
            let mode = match form.is_record && !form.is_first() {
                true => Mode::read(source)?,
                false => Mode::of(named.is_none()),
            };
            if !seen.insert(name) || mode == Mode::Absent {
                return None;
            }
            let named = named.filter(|_| mode == Mode::Follows).unwrap_or(&new);
            let series = named.series.read(source, form)?;
            let hits = series.counts();
            let hashing = &self.hashing;
            names.push(Name {
                name,
                mode,
                lists: named.lists.read(source, form, Some(hits), hashing)?,
                chain: Chain::read(source, form, hits)?,
                series,
            });
        }
        let sound = source.0.is_empty() && names_len - others <= MOST_NAMES;
        sound.then_some(Read {
            everything_forgotten,
            forgotten,
            totals,
            names,
        })
    }

    fn read_totals(&self, source: &mut Source, mode: Mode, form: Form) -> Option<Totals> {
        let new = Self::new(self.bounds, self.hashing.clone());
        let own = if mode == Mode::Whole { &new } else { self };
        let mut totals = Totals {
            mode,
            series: Vec::new(),
            lists: ListsChange::default(),
            listed: None,
        };
        let algorithms = form.algorithms(source)?;
        for series in own.algorithms.iter().take(algorithms) {
            totals.series.push(series.read(source, form)?);
        }
        if !form.is_first() {
            // A sample may stand for more hits than there were.
            totals.lists = own.unnamed.read(source, form, None, &self.hashing)?;
            totals.listed = own.listed.read(source, form, u64::MAX, &self.hashing)?;
        }
        Some(totals)
    }
}
