//! Deny lists: named sets of addresses, ranges and texts, checked before any limit is.
//!
//! One idea a file: `address` says what a value is, `table` is the set or map that everything lies in, `key` what lies
//! there, `until` and `entries` add the time to live, `ranges` matches addresses, `list` is one list, `codec` its bytes,
//! and here is the registry of lists with its bounds.
//!
//! * A list comes into being with its first entry and is gone with its last. To check a list that is not there is to
//!   check an empty one.
//! * The last ADD of a value says how long it holds, as SET does: without a time, for ever.
//! * An entry that has expired never matches. It still counts (in sizes and against the bounds) until it is removed: by
//!   [`Lists::sweep`], which the server calls from time to time, or when an ADD finds no room.
//! * A call does all that it was asked or, with an error, nothing.

mod address;
mod codec;
mod entries;
mod key;
mod list;
mod ranges;
mod table;
#[cfg(test)]
mod tests;
mod until;

pub use address::{Net, Value, ValueError, MAX_VALUE_BYTES};
pub use codec::CodecError;
pub use key::Seed;
pub use until::Until;

use list::List;
use std::fmt;

/// The longest name of a list, in bytes.
pub const MAX_NAME_BYTES: usize = 128;

/// How many slots a call looks at that has to make room: well under a millisecond's work for each 100,000.
const MAKE_ROOM_SLOTS: usize = 400_000;

/// How much all lists together may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// How many lists.
    pub lists: usize,
    /// How many entries.
    pub entries: usize,
    /// How many bytes of text: of the entries that are neither addresses nor ranges, whose size `entries` bounds.
    pub text_bytes: usize,
}

impl Bounds {
    /// No bounds: for what another server has accepted, under its own.
    pub const NONE: Self = Self {
        lists: usize::MAX,
        entries: usize::MAX,
        text_bytes: usize::MAX,
    };
}

/// Why a call was refused. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DenyError {
    /// A list's name is empty or longer than [`MAX_NAME_BYTES`].
    Name,
    /// The value at `index` (from 0) cannot be added.
    Value {
        /// Which value of the call, from 0.
        index: usize,
        /// What is wrong with it.
        why: ValueError,
    },
    /// There is no list of that name.
    NoSuchList,
    /// One list more than allowed.
    TooManyLists {
        /// The bound.
        max: usize,
    },
    /// More entries than allowed.
    TooManyEntries {
        /// The bound.
        max: usize,
        /// What all lists hold.
        have: usize,
        /// What the call would have added.
        adding: usize,
    },
    /// More bytes of text than allowed.
    TooManyBytes {
        /// The bound.
        max: usize,
        /// What all lists hold.
        have: usize,
        /// What the call would have added.
        adding: usize,
    },
}

impl fmt::Display for DenyError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => write!(
                out,
                "the name of a deny list must have 1 to {MAX_NAME_BYTES} bytes"
            ),
            Self::Value { index, why } => write!(out, "value {} {why}", index + 1),
            Self::NoSuchList => write!(out, "no such deny list"),
            Self::TooManyLists { max } => write!(out, "too many deny lists: at most {max}"),
            Self::TooManyEntries { max, have, adding } => {
                write!(
                    out,
                    "too many entries in deny lists: {have} and {adding} more, at most {max}"
                )
            }
            Self::TooManyBytes { max, have, adding } => {
                write!(
                    out,
                    "too much text in deny lists: {have} bytes and {adding} more, at most {max}"
                )
            }
        }
    }
}

/// A value that was found in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    /// Which value of the call, from 0.
    pub index: usize,
    /// How long it is denied: of several entries that cover it, as long as the longest.
    pub until: Until,
}

/// An entry, as listed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The canonical text of the value.
    pub value: Vec<u8>,
    /// How long it holds.
    pub until: Until,
}

#[derive(Debug)]
struct Named {
    name: Box<[u8]>,
    list: List,
}

/// Every deny list of a server.
#[derive(Debug)]
pub struct Lists {
    /// Sorted by name.
    lists: Vec<Named>,
    /// Of all lists.
    entries: usize,
    /// Of all lists.
    text_bytes: usize,
    /// Dropped lists, not yet freed.
    graveyard: Vec<List>,
    /// The list and the shard at which the next sweep begins.
    sweep_from: (usize, usize),
    seed: Seed,
}

impl Lists {
    /// No list. The seed should differ between servers; nothing that is encoded or sorted depends on it.
    pub fn new(seed: Seed) -> Self {
        Self {
            lists: Vec::new(),
            entries: 0,
            text_bytes: 0,
            graveyard: Vec::new(),
            sweep_from: (0, 0),
            seed,
        }
    }

    fn position(&self, name: &[u8]) -> Result<usize, usize> {
        self.lists
            .binary_search_by(|named| named.name.as_ref().cmp(name))
    }

    fn list(&self, name: &[u8]) -> Option<&List> {
        let named = self.lists.get(self.position(name).ok()?)?;
        Some(&named.list)
    }

    /// Where the list of that name is, made where there is none. The caller adds an entry.
    fn position_or_new(&mut self, name: &[u8]) -> usize {
        self.position(name).unwrap_or_else(|at| {
            self.lists.insert(
                at,
                Named {
                    name: name.into(),
                    list: List::default(),
                },
            );
            at
        })
    }

    /// Changes a list and counts what that made of it; an empty one goes.
    fn change<T>(&mut self, at: usize, change: impl FnOnce(&mut List, Seed) -> T) -> Option<T> {
        let list = &mut self.lists.get_mut(at)?.list;
        let (entries, text_bytes) = (list.len(), list.text_bytes());
        let result = change(list, self.seed);
        let is_empty = list.len() == 0;
        self.entries = self.entries - entries + list.len();
        self.text_bytes = self.text_bytes - text_bytes + list.text_bytes();
        if is_empty {
            self.lists.remove(at);
        }
        Some(result)
    }

    /// Adds values to a list, and returns how many were not in it before. `until` holds for all of them, those that were
    /// in it too.
    pub fn add<'a>(
        &mut self,
        name: &[u8],
        values: impl IntoIterator<Item = &'a [u8]>,
        until: Until,
        now_ms: u64,
        bounds: &Bounds,
    ) -> Result<usize, DenyError> {
        check_name(name)?;
        let mut parsed = Vec::new();
        for (index, text) in values.into_iter().enumerate() {
            parsed.push(Value::parse_new(text).map_err(|why| DenyError::Value { index, why })?);
        }
        if parsed.is_empty() {
            return Ok(0);
        }
        parsed.sort_unstable();
        parsed.dedup();
        // However often lists are filled and dropped between two sweeps: more is freed than is added.
        self.free_dropped(parsed.len() * 4);
        if self.check_room(name, &parsed, bounds).is_err() {
            self.sweep(now_ms, MAKE_ROOM_SLOTS);
            self.check_room(name, &parsed, bounds)?;
        }
        let at = self.position_or_new(name);
        let added = self.change(at, |list, seed| {
            let mut added = 0;
            for value in parsed {
                let holds = list
                    .get(value, seed)
                    .is_some_and(|until| until.holds(now_ms));
                added += usize::from(!holds);
                list.put(value, until, seed);
            }
            added
        });
        Ok(added.unwrap_or(0))
    }

    /// Whether these values, each once, fit.
    fn check_room(
        &self,
        name: &[u8],
        values: &[Value<'_>],
        bounds: &Bounds,
    ) -> Result<(), DenyError> {
        let list = self.list(name);
        if list.is_none() && self.lists.len() >= bounds.lists {
            return Err(DenyError::TooManyLists { max: bounds.lists });
        }
        let (mut entries, mut text_bytes) = (0, 0);
        for value in values {
            if list.and_then(|list| list.get(*value, self.seed)).is_none() {
                entries += 1;
                if let Value::Text(text) = value {
                    text_bytes += text.len();
                }
            }
        }
        // What adds nothing is never refused, even where a bound was lowered under what is there.
        if entries > 0 && self.entries + entries > bounds.entries {
            return Err(DenyError::TooManyEntries {
                max: bounds.entries,
                have: self.entries,
                adding: entries,
            });
        }
        if text_bytes > 0 && self.text_bytes + text_bytes > bounds.text_bytes {
            return Err(DenyError::TooManyBytes {
                max: bounds.text_bytes,
                have: self.text_bytes,
                adding: text_bytes,
            });
        }
        Ok(())
    }

    /// Takes values out of a list, and returns how many were in it. Only the very entry goes: to remove an address does
    /// not touch a range that covers it.
    pub fn del<'a>(
        &mut self,
        name: &[u8],
        values: impl IntoIterator<Item = &'a [u8]>,
        now_ms: u64,
    ) -> usize {
        let Ok(at) = self.position(name) else {
            return 0;
        };
        let removed = self.change(at, |list, seed| {
            let mut removed = 0;
            for value in values.into_iter().map(Value::parse) {
                if let Some(until) = list.get(value, seed) {
                    list.remove(value, seed);
                    removed += usize::from(until.holds(now_ms));
                }
            }
            removed
        });
        removed.unwrap_or(0)
    }

    /// Whether each value is denied, and how long. A range is denied where one entry covers all of it.
    pub fn has<'a>(
        &self,
        name: &[u8],
        values: impl IntoIterator<Item = &'a [u8]>,
        now_ms: u64,
    ) -> Vec<Option<Until>> {
        let list = self.list(name);
        values
            .into_iter()
            .map(|text| list?.find(Value::parse(text), self.seed, now_ms))
            .collect()
    }

    /// The first of the values that is denied.
    pub fn first_match<'a>(
        &self,
        name: &[u8],
        values: impl IntoIterator<Item = &'a [u8]>,
        now_ms: u64,
    ) -> Option<Match> {
        let list = self.list(name)?;
        values.into_iter().enumerate().find_map(|(index, text)| {
            let until = list.find(Value::parse(text), self.seed, now_ms)?;
            Some(Match { index, until })
        })
    }

    /// Lists about `count` entries from `cursor` on, and the cursor to go on from; 0 begins, and 0 ends. As SCAN:
    /// * an entry that is in the list during the whole scan is listed, whatever else is added, removed, or given another
    ///   time meanwhile; and once only, if nobody removes and adds it;
    /// * an entry that is added or removed meanwhile may be listed or not;
    /// * a cursor is good on the server that gave it, until that restarts. It is less than 2^53.
    ///
    /// Expired entries are left out, so that a call may return fewer than `count`, or none, before the end.
    pub fn entries(
        &self,
        name: &[u8],
        cursor: u64,
        count: usize,
        now_ms: u64,
    ) -> (u64, Vec<Entry>) {
        let mut entries = Vec::new();
        let next = self.list(name).map_or(0, |list| {
            list.scan(cursor, count, self.seed, |value, until| {
                if until.holds(now_ms) {
                    entries.push(Entry {
                        value: value.into(),
                        until,
                    });
                }
            })
        });
        (next, entries)
    }

    /// Every list's name and how many entries it holds, sorted by name.
    pub fn sizes(&self) -> impl Iterator<Item = (&[u8], usize)> {
        self.lists
            .iter()
            .map(|named| (named.name.as_ref(), named.list.len()))
    }

    /// How many entries all lists hold.
    pub fn len(&self) -> usize {
        self.entries
    }

    /// Whether there is no list.
    pub fn is_empty(&self) -> bool {
        self.lists.is_empty()
    }

    /// Gives a list another name, in place of the list that has it. No check in between sees anything but one or the
    /// other. Moves no entry, however large the lists are.
    pub fn rename(&mut self, old: &[u8], new: &[u8]) -> Result<(), DenyError> {
        check_name(new)?;
        let at = self.position(old).map_err(|_| DenyError::NoSuchList)?;
        if old == new {
            return Ok(());
        }
        let Named { list, .. } = self.lists.remove(at);
        match self.position(new) {
            Ok(at) => {
                if let Some(named) = self.lists.get_mut(at) {
                    let replaced = std::mem::replace(&mut named.list, list);
                    self.bury(replaced);
                }
            }
            Err(at) => self.lists.insert(
                at,
                Named {
                    name: new.into(),
                    list,
                },
            ),
        }
        Ok(())
    }

    /// Removes a list. Whether there was one.
    pub fn drop_list(&mut self, name: &[u8]) -> bool {
        let Ok(at) = self.position(name) else {
            return false;
        };
        let Named { list, .. } = self.lists.remove(at);
        self.bury(list);
        true
    }

    /// A large list of texts would take long to free at once, so [`Lists::sweep`] does it in slices.
    fn bury(&mut self, list: List) {
        self.entries -= list.len();
        self.text_bytes -= list.text_bytes();
        self.graveyard.push(list);
        self.free_dropped(10_000);
    }

    /// Frees about `budget` slots of dropped lists, and returns what is left of it.
    fn free_dropped(&mut self, mut budget: usize) -> usize {
        while budget > 0 {
            let Some(list) = self.graveyard.last_mut() else {
                break;
            };
            match list.dismantle() {
                Some(slots) => budget = budget.saturating_sub(slots),
                None => drop(self.graveyard.pop()),
            }
        }
        budget
    }

    /// Frees dropped lists and removes expired entries, each call going on where the last one stopped. Looks at about
    /// `budget` slots (a shard, of 4,096 keys or a 256th of a table, is always done whole), and returns how many entries
    /// have gone.
    pub fn sweep(&mut self, now_ms: u64, budget: usize) -> usize {
        let before = self.entries;
        let mut budget = self.free_dropped(budget);
        // Each list once, the one begun in the middle again, and the step from the last to the first: a call with nothing
        // to do ends.
        for _ in 0..self.lists.len() + 2 {
            if budget == 0 {
                break;
            }
            let (at, shard) = self.sweep_from;
            let lists = self.lists.len();
            let next = self.change(at, |list, seed| {
                list.sweep(seed, now_ms, shard, &mut budget)
            });
            let is_gone = self.lists.len() < lists;
            self.sweep_from = match next {
                Some(Some(shard)) if !is_gone => (at, shard),
                Some(_) if is_gone => (at, 0),
                Some(_) => (at + 1, 0),
                None => (0, 0),
            };
        }
        before - self.entries
    }

    /// Everything that is allocated for deny lists, in bytes, dropped lists that are not yet freed included.
    pub fn memory_bytes(&self) -> usize {
        let named: usize = self
            .lists
            .iter()
            .map(|named| named.name.len() + named.list.memory_bytes())
            .sum();
        let dropped: usize = self.graveyard.iter().map(List::memory_bytes).sum();
        named
            + dropped
            + self.lists.capacity() * size_of::<Named>()
            + self.graveyard.capacity() * size_of::<List>()
    }
}

fn check_name(name: &[u8]) -> Result<(), DenyError> {
    if (1..=MAX_NAME_BYTES).contains(&name.len()) {
        Ok(())
    } else {
        Err(DenyError::Name)
    }
}
