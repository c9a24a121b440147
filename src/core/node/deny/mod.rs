//! Deny lists: named sets of addresses, ranges and texts, checked before any limit is.
//!
//! One idea a file: `address` says what a value is, `table` is the set or map that everything lies in, `key` what lies
//! there, `until` and `entries` add the time to live, `ranges` matches addresses, `list` is one list, `encoding` its bytes,
//! and here is the registry of lists with its bounds.
//!
//! * A list comes into being with its first entry and is gone with its last. To check a list that is not there is to
//!   check an empty one.
//! * The last ADD of a value says how long it holds, as SET does: without a time, for ever.
//! * An entry that has expired never matches. It still counts (in sizes and against the bounds) until it is removed: by
//!   [`Lists::sweep`], which the server calls from time to time, or when an ADD finds no room.
//! * A call does all that it was asked or, with an error, nothing.

mod address;
mod encoding;
mod entries;
mod key;
mod list;
mod never;
mod ranges;
mod table;
#[cfg(test)]
mod tests;
mod until;

pub use address::{Net, Value};
pub use encoding::measure;
pub use key::Seed;
pub use never::Never;
pub use until::Until;

use crate::core::error::{Error, MAX_NAME_BYTES};
use list::List;

/// Where RL.DENY has the list's name on its command line.
pub const NAME_AT: usize = 2;
/// Where it has the first value, and RENAME the new name.
pub const FIRST_VALUE_AT: usize = 3;

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

/// The values of an ADD, each once and in order.
#[derive(Clone, Debug)]
pub struct Values<'a>(Vec<Value<'a>>);

impl<'a> Values<'a> {
    /// Reads the values of a call, of which [`FIRST_VALUE_AT`] is the first's place.
    pub fn read(texts: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, Error> {
        let mut values = Vec::new();
        for (index, text) in texts.into_iter().enumerate() {
            values.push(Value::parse_new(text, FIRST_VALUE_AT + index)?);
        }
        values.sort_unstable();
        values.dedup();
        Ok(Self(values))
    }

    /// What adding them to a list makes of it: an encoding of lists, for [`Lists::merge`].
    pub fn encode(&self, name: &[u8], until: Until) -> Vec<u8> {
        encoding::encode_values(name, &self.0, until)
    }
}

/// What an ADD has made of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Added {
    /// How many values were not in it before.
    pub new: usize,
    /// How many were not in it before for as long.
    pub changed: usize,
}

/// A value that was found in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// Which value of the call, from 0.
    pub index: usize,
    /// What it was read as: its canonical text.
    pub value: Vec<u8>,
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
    changed_ms: u64,
}

/// What there is to say of a list without going through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// How many entries it holds, with those that have expired and are not yet removed.
    pub entries: usize,
    /// What its permanent entries are: the sum of a hash of each, as the doc of `List::fingerprint` has it.
    pub fingerprint: u64,
    /// When it was changed last, in milliseconds since the Unix epoch; 0 where that was before it was loaded. That an entry
    /// expires is no change.
    pub changed_ms: u64,
}

impl Summary {
    fn of(named: &Named) -> Self {
        Self {
            entries: named.list.len(),
            fingerprint: named.list.fingerprint(),
            changed_ms: named.changed_ms,
        }
    }
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
    never: Never,
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
            never: Never::default(),
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

    /// Where the list of that name is, which is changed now, made where there is none. The caller adds an entry.
    fn position_to_add(&mut self, name: &[u8], now_ms: u64) -> usize {
        let at = self.position(name).unwrap_or_else(|at| {
            let named = Named {
                name: name.into(),
                list: List::default(),
                changed_ms: now_ms,
            };
            self.lists.insert(at, named);
            at
        });
        self.touch(at, now_ms);
        at
    }

    /// Notes that a list is changed now.
    fn touch(&mut self, at: usize, now_ms: u64) {
        if let Some(named) = self.lists.get_mut(at) {
            named.changed_ms = now_ms;
        }
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

    /// Adds values to a list. `until` holds for all of them, those that were in it too.
    pub fn add(
        &mut self,
        name: &[u8],
        values: &Values,
        until: Until,
        now_ms: u64,
        bounds: &Bounds,
    ) -> Result<Added, Error> {
        check_name(name, NAME_AT)?;
        let values = values.0.as_slice();
        if values.is_empty() {
            return Ok(Added::default());
        }
        // However often lists are filled and dropped between two sweeps: more is freed than is added.
        self.free_dropped(values.len() * 4);
        if self.check_room(name, values, bounds).is_err() {
            self.sweep(now_ms, MAKE_ROOM_SLOTS);
            self.check_room(name, values, bounds)?;
        }
        let at = self.position_to_add(name, now_ms);
        let added = self.change(at, |list, seed| {
            let mut added = Added::default();
            for value in values.iter().copied() {
                let before = list.get(value, seed);
                let holds = before.is_some_and(|before| before.holds(now_ms));
                added.new += usize::from(!holds);
                added.changed += usize::from(before != Some(until));
                list.put(value, until, seed);
            }
            added
        });
        Ok(added.unwrap_or_default())
    }

    /// Whether these values, each once, fit.
    fn check_room(&self, name: &[u8], values: &[Value<'_>], bounds: &Bounds) -> Result<(), Error> {
        let list = self.list(name);
        let lists = usize::from(list.is_none());
        let (mut entries, mut text_bytes) = (0, 0);
        for value in values {
            if list.and_then(|list| list.get(*value, self.seed)).is_none() {
                entries += 1;
                text_bytes += value.text_bytes();
            }
        }
        self.check_more(
            &Bounds {
                lists,
                entries,
                text_bytes,
            },
            bounds,
        )
    }

    /// Whether so much more fits.
    pub fn check_more(&self, more: &Bounds, bounds: &Bounds) -> Result<(), Error> {
        if more.lists > 0 && self.lists.len() + more.lists > bounds.lists {
            return Err(Error::TooManyLists { max: bounds.lists });
        }
        let (entries, text_bytes) = (more.entries, more.text_bytes);
        // What adds nothing is never refused, even where a bound was lowered under what is there.
        if entries > 0 && self.entries + entries > bounds.entries {
            return Err(Error::TooManyEntries {
                max: bounds.entries,
                have: self.entries,
                adding: entries,
            });
        }
        if text_bytes > 0 && self.text_bytes + text_bytes > bounds.text_bytes {
            return Err(Error::TooMuchText {
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
        let removed = removed.unwrap_or(0);
        if let (true, Ok(at)) = (removed > 0, self.position(name)) {
            self.touch(at, now_ms);
        }
        removed
    }

    /// Whether each value is denied, and how long, read as by [`Lists::first_match`]. A range is denied where one entry covers
    /// all of it.
    pub fn has<'a>(
        &self,
        name: &[u8],
        values: impl IntoIterator<Item = &'a [u8]>,
        now_ms: u64,
    ) -> Vec<Option<Until>> {
        let list = self.list(name);
        values
            .into_iter()
            .map(|text| Some(self.find(list?, text, now_ms)?.1))
            .collect()
    }

    /// What of a list a value is denied as, and how long: nothing that is never denied, though an entry may be there from
    /// before, from a file or from a primary of other settings.
    #[inline]
    fn find<'a>(&self, list: &List, text: &'a [u8], now_ms: u64) -> Option<(Value<'a>, Until)> {
        let found = list.find_text(text, self.seed, now_ms)?;
        self.never.touched_by(found.0).is_none().then_some(found)
    }

    /// Says anew what is never denied. Entries stay, and match nothing of it.
    pub fn set_never(&mut self, never: Never) {
        self.never = never;
    }

    /// Refuses values that are, cover, or are covered by what is never denied. `at` is the place of the first.
    pub fn check_never(&self, texts: &[&[u8]], at: usize) -> Result<(), Error> {
        for (index, text) in texts.iter().enumerate() {
            if let Some(place) = self.never.touched_by(Value::parse(text)) {
                let at = at + index;
                return Err(Error::NeverDenied { at, place });
            }
        }
        Ok(())
    }

    /// The same of an encoding.
    pub fn check_never_in(&self, bytes: &[u8], at: usize) -> Result<(), Error> {
        match encoding::find(bytes, |value| self.never.touched_by(value)) {
            Some(place) => Err(Error::NeverDenied { at, place }),
            None => Ok(()),
        }
    }

    /// The first of the values that is denied. A value is looked up as it is written first, and then, where it is an address
    /// as it arrives in the wild, as that address: see [`Value::parse_arrived`].
    pub fn first_match<'a>(
        &self,
        name: &[u8],
        values: impl IntoIterator<Item = &'a [u8]>,
        now_ms: u64,
    ) -> Option<Match> {
        let list = self.list(name)?;
        values.into_iter().enumerate().find_map(|(index, text)| {
            let (value, until) = self.find(list, text, now_ms)?;
            let value = match value {
                // As most are written: four numbers.
                Value::V4(_) if text.iter().all(|b| matches!(b, b'0'..=b'9' | b'.')) => text.into(),
                value => value.into(),
            };
            Some(Match {
                index,
                value,
                until,
            })
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

    /// Every list's name and what there is to say of it, sorted by name.
    pub fn summaries(&self) -> impl Iterator<Item = (&[u8], Summary)> {
        let lists = self.lists.iter();
        lists.map(|named| (named.name.as_ref(), Summary::of(named)))
    }

    /// How many entries the list of that name holds.
    pub fn size(&self, name: &[u8]) -> usize {
        self.list(name).map_or(0, List::len)
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
    pub fn rename(&mut self, old: &[u8], new: &[u8], now_ms: u64) -> Result<(), Error> {
        check_name(new, FIRST_VALUE_AT)?;
        let no_such_list = Error::NoSuchList { at: NAME_AT };
        let at = self.position(old).map_err(|_| no_such_list)?;
        if old == new {
            return Ok(());
        }
        let mut named = self.lists.remove(at);
        self.drop_list(new);
        named.name = new.into();
        named.changed_ms = now_ms;
        let at = self.position(new).unwrap_or_else(|at| at);
        self.lists.insert(at, named);
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

fn check_name(name: &[u8], at: usize) -> Result<(), Error> {
    if (1..=MAX_NAME_BYTES).contains(&name.len()) {
        Ok(())
    } else {
        Err(Error::Name { at, what: "list" })
    }
}
