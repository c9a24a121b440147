//! How many hits had which outcome: since the last reset, by the UTC hour for 8 days, and by the UTC day for 90.
//!
//! ```text
//!                                             ┌▶ counts   since the last reset
//! hit ──▶ open   one add ──▶ hour is over ────┼▶ hours    sorted rows
//!                (or somebody reads)          └▶ days     sorted rows
//! ```
//!
//! A row is a plain hour or day with traffic. Rows go when there is no room for another, never by the clock: then the one
//! farthest from the newcomer goes. A clock that runs ahead and is set back leaves rows that are the farthest from all that
//! come later, and so the first to go, and what was counted before is still there.

use super::form::Form;
use super::Outcome;
use crate::core::bytes::source::Source;
use crate::core::bytes::varint;

/// An hour in milliseconds. Hour `h` is `h * HOUR_MS ..` since the Unix epoch.
pub const HOUR_MS: u64 = 3_600_000;
/// A day in milliseconds. Day `d` is `d * DAY_MS ..` since the Unix epoch.
pub const DAY_MS: u64 = 24 * HOUR_MS;
/// How many hours are told of: 8 days, so that each hour can be compared with that of a week ago.
pub const TOLD_HOURS: u64 = 8 * 24;
/// How many days are told of: a quarter, so that a month can be compared with the one before.
pub const TOLD_DAYS: u64 = 90;
/// Room for hours: for as many more, a clock that runs ahead pushes none out that is told of.
const MAX_HOURS: usize = 200;
/// Room for days.
const MAX_DAYS: usize = 96;
/// The most hours in a series of the first two versions, which had 90 days of them.
const MAX_HOURS_2: usize = 90 * 24;

/// Hits by outcome, in the order of [`Outcome::ALL`]. They saturate at 2^64 - 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([u64; Outcome::ALL.len()]);

impl Counts {
    /// How many hits had an outcome.
    pub fn of(self, outcome: Outcome) -> u64 {
        self.0.get(outcome as usize).copied().unwrap_or(0)
    }

    /// Each with its outcome's name, in the order in which they are told and saved.
    pub fn named(self) -> impl Iterator<Item = (&'static str, u64)> {
        Outcome::ALL.map(Outcome::name).into_iter().zip(self.0)
    }

    #[inline]
    pub(super) fn count(&mut self, outcome: Outcome) {
        if let Some(count) = self.0.get_mut(outcome as usize) {
            *count = count.saturating_add(1);
        }
    }

    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        self.with(other, u64::saturating_add)
    }

    /// These without others.
    pub fn minus(self, other: Self) -> Self {
        self.with(other, u64::saturating_sub)
    }

    fn with(mut self, other: Self, combine: impl Fn(u64, u64) -> u64) -> Self {
        for (own, other) in self.0.iter_mut().zip(other.0) {
            *own = combine(*own, other);
        }
        self
    }

    pub(super) fn is_within(self, bound: Self) -> bool {
        let mut pairs = self.0.into_iter().zip(bound.0);
        pairs.all(|(count, bound)| count <= bound)
    }

    pub(super) fn write(self, out: &mut Vec<u8>) {
        for count in self.0 {
            varint::write(out, count);
        }
    }

    /// Reads what [`Counts::write`] wrote. The first versions had no last outcome.
    pub(super) fn read(source: &mut Source, form: Form) -> Option<Self> {
        let mut counts = Self::default();
        for count in counts.0.iter_mut().take(form.outcomes(Outcome::ALL.len())) {
            *count = source.number()?;
        }
        Some(counts)
    }
}

/// The hits of one hour or day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// Hours or days since the Unix epoch, UTC.
    pub number: u64,
    /// What was counted in it.
    pub counts: Counts,
}

/// Counts since the last reset, by the hour, and by the day.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// The hits of `hour` that are not yet in the others.
    open: Counts,
    hour: u64,
    counts: Counts,
    hours: Rows<MAX_HOURS>,
    days: Rows<MAX_DAYS>,
}

impl Series {
    /// Counts one hit in `hour`.
    #[inline]
    pub(super) fn count(&mut self, outcome: Outcome, hour: u64) {
        if self.hour != hour {
            self.turn(hour);
        }
        self.open.count(outcome);
    }

    #[cold]
    fn turn(&mut self, hour: u64) {
        self.settle();
        self.hour = hour;
    }

    fn settle(&mut self) {
        let open = std::mem::take(&mut self.open);
        if open != Counts::default() {
            self.counts = self.counts.plus(open);
            self.hours.add(self.hour, open);
            self.days.add(self.hour / 24, open);
        }
    }

    fn settled(&self) -> Self {
        let mut settled = self.clone();
        settled.settle();
        settled
    }

    /// Everything since the last reset.
    pub fn counts(&self) -> Counts {
        self.counts.plus(self.open)
    }

    /// The hours with traffic of the 8 days up to `now_ms`, in order, and any later ones: there are some only where the clock
    /// was set back.
    pub fn hours(&self, now_ms: u64) -> Vec<Row> {
        self.settled().hours.told(now_ms / HOUR_MS, TOLD_HOURS)
    }

    /// The days with traffic of the 90 up to `now_ms`, as [`Series::hours`].
    pub fn days(&self, now_ms: u64) -> Vec<Row> {
        self.settled().days.told(now_ms / DAY_MS, TOLD_DAYS)
    }

    /// Heap bytes.
    pub(super) fn heap_bytes(&self) -> usize {
        (self.hours.rows.capacity() + self.days.rows.capacity()) * size_of::<Row>()
    }

    /// Whether no hit is in more rows than one of each kind.
    fn is_sound(&self) -> bool {
        self.hours.sum().is_within(self.counts) && self.days.sum().is_within(self.counts)
    }

    /// Appends: the counts, the hours and the days.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let settled = self.settled();
        settled.counts.write(out);
        settled.hours.write(0, out);
        settled.days.write(0, out);
    }

    /// Lets the next record have all of it.
    pub(super) fn forget_written(&mut self) {
        self.hours.unwritten = 0;
        self.days.unwritten = 0;
    }

    /// Appends what has changed since the last time: the counts, and of hours and days one from which on they are given, and
    /// those, as [`Series::write`] does.
    pub(super) fn write_change(&mut self, out: &mut Vec<u8>) {
        self.settle();
        self.counts.write(out);
        self.hours.write_change(out);
        self.days.write_change(out);
    }

    /// What that which was written makes of this one, if it can follow on it: nothing that was counted is taken back.
    pub(super) fn read(&self, source: &mut Source, form: Form) -> Option<Self> {
        let own = self.settled();
        let counts = Counts::read(source, form)?;
        let read = if form.is_newest() {
            Self {
                counts,
                hours: own.hours.read(source, form)?,
                days: own.days.read(source, form)?,
                ..Self::default()
            }
        } else {
            own.read_hours(counts, source, form)?
        };
        let follows = own.counts.is_within(counts) && read.is_sound();
        follows.then_some(read)
    }

    /// The first two versions had hours alone: those before `first` are gone, those before `from` stay, and the others are
    /// read. The days of what is read are what its hours add up to.
    fn read_hours(&self, counts: Counts, source: &mut Source, form: Form) -> Option<Self> {
        let [first, from] = [form.start(source)?, form.start(source)?];
        let mut hours: Vec<Row> = self.hours.rows.clone();
        hours.retain(|row| (first..from).contains(&row.number));
        let mut next = 0;
        for _ in 0..source.count(MAX_HOURS_2)? {
            let row = Row::read(source, &mut next, form)?;
            if row.number < first.max(from) {
                return None;
            }
            hours.push(row);
        }
        let mut read = Self {
            counts,
            ..Self::default()
        };
        let first_day = from / 24;
        for row in self.days.rows.iter().filter(|row| row.number < first_day) {
            read.days.add(row.number, row.counts);
        }
        for row in hours {
            read.hours.add(row.number, row.counts);
            if row.number / 24 >= first_day {
                read.days.add(row.number / 24, row.counts);
            }
        }
        Some(read)
    }
}

/// Hours or days with traffic, in order, and at most `MAX` of them.
#[derive(Clone, Debug, Default)]
struct Rows<const MAX: usize> {
    rows: Vec<Row>,
    /// The records ([`super::record`]) may lack something of this row and of those after it, but of none before.
    unwritten: u64,
}

impl<const MAX: usize> Rows<MAX> {
    /// Adds hits to a row, for which the farthest one makes room.
    fn add(&mut self, number: u64, counts: Counts) {
        self.unwritten = self.unwritten.min(number);
        let place = |rows: &[Row]| rows.binary_search_by_key(&number, |row| row.number);
        if let Some(row) = place(&self.rows).ok().and_then(|at| self.rows.get_mut(at)) {
            row.counts = row.counts.plus(counts);
            return;
        }
        let distance = |end: Option<&Row>| end.map(|row| row.number.abs_diff(number));
        if self.rows.len() < MAX {
            self.grow();
        } else if distance(self.rows.first()) >= distance(self.rows.last()) {
            self.rows.remove(0);
        } else {
            self.rows.pop();
        }
        let at = place(&self.rows).unwrap_or_else(|at| at);
        self.rows.insert(at, Row { number, counts });
    }

    /// Makes room for a row: doubles, and never holds more than `MAX`.
    fn grow(&mut self) {
        let length = self.rows.len();
        if length == self.rows.capacity() {
            self.rows.reserve_exact(length.max(4).min(MAX - length));
        }
    }

    fn sum(&self) -> Counts {
        let counts = self.rows.iter().map(|row| row.counts);
        counts.fold(Counts::default(), Counts::plus)
    }

    fn told(mut self, now: u64, told: u64) -> Vec<Row> {
        self.rows
            .retain(|row| row.number.saturating_add(told) > now);
        self.rows
    }

    /// Appends the rows from `from` on: how many, and of each its distance from the number after the one before it (the
    /// first: from `from`), and its counts.
    fn write(&self, from: u64, out: &mut Vec<u8>) {
        let rows = self.rows.iter().filter(|row| row.number >= from);
        varint::write(out, rows.clone().count() as u64);
        let mut next = from;
        for row in rows {
            varint::write(out, row.number - next);
            row.counts.write(out);
            next = row.number + 1;
        }
    }

    /// Appends the rows that records lack, behind the number from which on these are all.
    fn write_change(&mut self, out: &mut Vec<u8>) {
        varint::write(out, self.unwritten);
        self.write(self.unwritten, out);
        self.unwritten = self.rows.last().map_or(0, |last| last.number + 1);
    }

    /// Reads what was written, behind the rows that are here and before it. The first make room for it.
    fn read(&self, source: &mut Source, form: Form) -> Option<Self> {
        let from = form.start(source)?;
        let new = source.count(MAX)?;
        let stay = self.rows.partition_point(|row| row.number < from);
        let stay = self.rows.get((stay + new).saturating_sub(MAX)..stay)?;
        let mut rows = Vec::with_capacity(stay.len() + new);
        rows.extend_from_slice(stay);
        let mut next = from;
        for _ in 0..new {
            rows.push(Row::read(source, &mut next, form)?);
        }
        Some(Self {
            rows,
            unwritten: next,
        })
    }
}

impl Row {
    /// Reads a row with traffic, `next` or later, and moves `next` behind it.
    fn read(source: &mut Source, next: &mut u64, form: Form) -> Option<Self> {
        let number = next.checked_add(source.number()?)?;
        *next = number.checked_add(1)?;
        let counts = Counts::read(source, form)?;
        (counts != Counts::default()).then_some(Self { number, counts })
    }
}

#[cfg(test)]
mod tests;
