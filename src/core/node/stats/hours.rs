//! How many hits were allowed, denied and deny-listed: since the start, and by the UTC hour for 90 days.
//!
//! ```text
//!            counts   everything since the last reset
//! hit ──▶ {
//!            open     the hour of the last hit, as plain integers   ◀── one compare, one add
//!
//!            closed   the other hours with traffic, packed          ◀── touched when the hour changes
//! ```
//!
//! The other hours are packed: a quiet one takes 4 bytes, one with some 10,000 hits 7 or 8, none more than 40, where plain
//! integers take 32. An hour without traffic takes none. Time that goes forward appends at one end and drops at the other;
//! only after a step back is everything unpacked and packed again (some 0.1 ms for 90 days).
//!
//! Clock steps: a hit counts in the hour of the instant that it is given. Hours that are 90 days or more away from it, on
//! either side, are dropped then, so neither a step forward nor one back leaves anything behind for ever.

use super::Outcome;
use crate::core::bytes::source::Source;
use crate::core::bytes::varint;

/// An hour in milliseconds. Hour `h` is `h * HOUR_MS ..` since the Unix epoch.
pub const HOUR_MS: u64 = 3_600_000;
/// Hours kept: 90 days, a quarter, so that a month can be compared with the one before.
pub const KEPT_HOURS: usize = 90 * 24;
/// [`KEPT_HOURS`] as a distance between two hours.
const KEPT: u64 = KEPT_HOURS as u64;
/// The most bytes that an hour takes: its distance and three counts.
const MAX_HOUR_BYTES: usize = 4 * varint::MAX_BYTES;
/// The last hour that a time in milliseconds can fall into.
const LAST_HOUR: u64 = u64::MAX / HOUR_MS;

/// Hits by outcome. They saturate at 2^64 - 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Let through.
    pub allowed: u64,
    /// Over a limit.
    pub denied: u64,
    /// Found in a deny list, before any limit was looked at. Not part of `denied`.
    pub deny_listed: u64,
}

impl Counts {
    fn count(&mut self, outcome: Outcome) {
        let counter = match outcome {
            Outcome::Allowed => &mut self.allowed,
            Outcome::Denied => &mut self.denied,
            Outcome::DenyListed => &mut self.deny_listed,
        };
        *counter = counter.saturating_add(1);
    }

    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        Self {
            allowed: self.allowed.saturating_add(other.allowed),
            denied: self.denied.saturating_add(other.denied),
            deny_listed: self.deny_listed.saturating_add(other.deny_listed),
        }
    }

    fn within(self, bound: Self) -> bool {
        self.each()
            .into_iter()
            .zip(bound.each())
            .all(|(count, bound)| count <= bound)
    }

    fn each(self) -> [u64; 3] {
        [self.allowed, self.denied, self.deny_listed]
    }

    fn encode(self, out: &mut Vec<u8>) {
        for count in self.each() {
            varint::write(out, count);
        }
    }

    fn decode(source: &mut Source) -> Option<Self> {
        Some(Self {
            allowed: source.number()?,
            denied: source.number()?,
            deny_listed: source.number()?,
        })
    }
}

/// The hits of one hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hour {
    /// Hours since the Unix epoch, UTC.
    pub hour: u64,
    /// What was counted in it.
    pub counts: Counts,
}

/// Counts since the last reset, and by the hour.
#[derive(Debug, Default)]
pub struct Series {
    counts: Counts,
    open: Hour,
    /// The hours with traffic but `open`.
    closed: Packed,
    /// The records ([`super::record`]) may lack something of this hour and of those after it, but of none before. Never
    /// after `open`.
    unwritten: u64,
}

/// What [`Series::write_change`] wrote.
pub(super) struct SeriesChange {
    counts: Counts,
    /// There is no traffic before it.
    first: u64,
    /// All hours with traffic from here on are in `hours`.
    from: u64,
    hours: Vec<Hour>,
}

impl SeriesChange {
    /// Since the last reset.
    pub(super) fn counts(&self) -> Counts {
        self.counts
    }
}

impl Series {
    /// Counts one hit in `hour`.
    #[inline]
    pub(super) fn count(&mut self, outcome: Outcome, hour: u64) {
        if self.open.hour != hour {
            self.turn(hour);
        }
        self.counts.count(outcome);
        self.open.counts.count(outcome);
    }

    /// Everything since the last reset.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The hours with traffic in the 90 days up to `now_ms`, in order. Hours after `now_ms` are among them: there are some
    /// only where the clock was set back.
    pub fn hours(&self, now_ms: u64) -> Vec<Hour> {
        let mut hours = self.all();
        hours.retain(|hour| hour.hour.saturating_add(KEPT) > now_ms / HOUR_MS);
        hours
    }

    /// Heap bytes.
    pub(super) fn heap_bytes(&self) -> usize {
        self.closed.bytes.capacity()
    }

    /// Makes `hour` the open one.
    #[cold]
    fn turn(&mut self, hour: u64) {
        if self.open.hour < self.closed.end || hour < self.open.hour {
            return self.step_back(hour);
        }
        if let Some(open) = self.opened() {
            self.closed.push(open);
        }
        self.closed.drop_before(hour.saturating_sub(KEPT - 1));
        self.open = Hour {
            hour,
            counts: Counts::default(),
        };
    }

    /// Makes `hour` the open one where the clock was set back, and so some hours are later than others that come.
    fn step_back(&mut self, hour: u64) {
        let mut hours = self.all();
        hours.retain(|kept| kept.hour.abs_diff(hour) < KEPT);
        self.open = match hours.binary_search_by_key(&hour, |kept| kept.hour) {
            Ok(at) => hours.remove(at),
            Err(_) => Hour {
                hour,
                counts: Counts::default(),
            },
        };
        // There are hours on both sides now, and so perhaps too many: the farthest go.
        while hours.len() >= KEPT_HOURS {
            let distance = |end: Option<&Hour>| end.map(|end| end.hour.abs_diff(hour));
            if distance(hours.first()) > distance(hours.last()) {
                hours.remove(0);
            } else {
                hours.pop();
            }
        }
        self.closed = Packed::new(&hours);
        self.unwritten = 0;
    }

    /// Every hour with traffic, in order.
    fn all(&self) -> Vec<Hour> {
        let mut hours: Vec<Hour> = self.closed.hours().collect();
        if let Some(open) = self.opened() {
            let at = hours.partition_point(|hour| hour.hour < open.hour);
            hours.insert(at, open);
        }
        hours
    }

    /// Appends: the counts, the number of hours, and for each its distance from the hour after the one before it (the
    /// first: from 0) and its counts.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let hours = self.all();
        self.counts.encode(out);
        varint::write(out, hours.len() as u64);
        out.extend_from_slice(&Packed::new(&hours).bytes);
    }

    /// Reads what [`Series::encode`] wrote.
    pub(super) fn decode(source: &mut Source) -> Option<Self> {
        let counts = Counts::decode(source)?;
        let mut hours = read_hours(source)?;
        let fit = sum(&hours).within(counts);
        let open = hours.pop().unwrap_or_default();
        fit.then(|| Self {
            counts,
            open,
            closed: Packed::new(&hours),
            unwritten: open.hour,
        })
    }

    /// Lets the next record have all of it.
    pub(super) fn forget_written(&mut self) {
        self.unwritten = 0;
    }

    /// Appends what has changed since the last time: the counts, the first hour with traffic, an hour from which on hours
    /// are given, and those, as [`Series::encode`] does.
    pub(super) fn write_change(&mut self, out: &mut Vec<u8>) {
        let from = self.unwritten;
        let hours = self.since(from);
        let first = self.closed.hours().next().into_iter().chain(self.opened());
        let first = first.map(|hour| hour.hour).min().unwrap_or(from);
        self.counts.encode(out);
        varint::write(out, first);
        varint::write(out, from);
        varint::write(out, hours.len() as u64);
        out.extend_from_slice(&Packed::new(&hours).bytes);
        self.unwritten = self.open.hour;
    }

    /// Reads what [`Series::write_change`] wrote, if it can follow on what is here: nothing that was counted is taken back,
    /// and there are not too many hours.
    pub(super) fn read_change(&self, source: &mut Source) -> Option<SeriesChange> {
        let change = SeriesChange {
            counts: Counts::decode(source)?,
            first: source.number()?,
            from: source.number()?,
            hours: read_hours(source)?,
        };
        let SeriesChange { first, from, .. } = change;
        let in_order = change.hours.iter().all(|hour| hour.hour >= first.max(from));
        // Hours of less than 90 days are not too many; only after a backward step may they be of more.
        let last = change.hours.last().map_or(first, |last| last.hour);
        let room = last.saturating_sub(first) < KEPT
            || self.kept(&change).count() + change.hours.len() <= KEPT_HOURS;
        let (replaced, hours) = (sum(&self.since(from)), sum(&change.hours));
        let sound = self.counts.within(change.counts)
            && gained(replaced, hours, self.counts, change.counts);
        (in_order && room && sound).then_some(change)
    }

    /// Takes over what [`Series::read_change`] has read.
    pub(super) fn change(&mut self, mut change: SeriesChange) {
        // Usually the open hour is replaced, or a later one is opened, and nothing needs to be unpacked.
        if self.closed.end > change.from || self.open.hour < self.closed.end {
            let kept: Vec<Hour> = self.kept(&change).collect();
            self.closed = Packed::new(&kept);
        } else {
            if self.open.hour < change.from {
                self.opened()
                    .into_iter()
                    .for_each(|hour| self.closed.push(hour));
            }
            self.closed.drop_before(change.first);
        }
        self.counts = change.counts;
        self.open = change.hours.pop().unwrap_or_default();
        change.hours.iter().for_each(|hour| self.closed.push(*hour));
        self.unwritten = self.open.hour;
    }

    /// The hours with traffic from `from` on, in order.
    fn since(&self, from: u64) -> Vec<Hour> {
        // Usually that is the open hour, and nothing needs to be unpacked.
        let mut hours = if self.closed.end <= from {
            self.opened().into_iter().collect()
        } else {
            self.all()
        };
        hours.retain(|hour| hour.hour >= from);
        hours
    }

    /// The hours that a change leaves.
    fn kept(&self, change: &SeriesChange) -> impl Iterator<Item = Hour> {
        let kept = change.first..change.from;
        let hours = self.all().into_iter();
        hours.filter(move |hour| kept.contains(&hour.hour))
    }

    /// The open hour, if there was traffic in it.
    fn opened(&self) -> Option<Hour> {
        Some(self.open).filter(|open| open.counts != Counts::default())
    }
}

/// Reads hours with traffic behind their number, which is not too large.
fn read_hours(source: &mut Source) -> Option<Vec<Hour>> {
    let mut next = 0;
    let hours = 0..source.count(KEPT_HOURS)?;
    hours.map(|_| unpack(source, &mut next)).collect()
}

/// Whether hours that had `replaced` hits and have `hours` have gained no more than all have, which had `before` and have
/// `after`: so that hours never add up to more than all. A count at the largest number has stopped there, and may be less.
fn gained(replaced: Counts, hours: Counts, before: Counts, after: Counts) -> bool {
    let wide = |counts: Counts| counts.each().map(u128::from);
    let [replaced, hours, before, after] = [replaced, hours, before, after].map(wide);
    (0..3).all(|outcome| {
        let of = |counts: &[u128; 3]| counts.get(outcome).copied().unwrap_or_default();
        of(&after) == u128::from(u64::MAX) || of(&hours) + of(&before) <= of(&after) + of(&replaced)
    })
}

fn sum<'a>(hours: impl IntoIterator<Item = &'a Hour>) -> Counts {
    let counts = hours.into_iter().map(|hour| hour.counts);
    counts.fold(Counts::default(), Counts::plus)
}

/// Hours with traffic, in order: each as its distance from the hour after the one before it, and its counts.
#[derive(Debug, Default)]
struct Packed {
    bytes: Vec<u8>,
    /// What the first distance counts from: 0, or the hour after the last one that was dropped.
    start: u64,
    /// The hour after the last one: what the next distance counts from.
    end: u64,
}

impl Packed {
    fn new(hours: &[Hour]) -> Self {
        let mut packed = Self::default();
        for hour in hours {
            packed.push(*hour);
        }
        packed
    }

    /// Appends an hour, `end` or later.
    fn push(&mut self, hour: Hour) {
        // In small steps: doubling would leave up to half of the memory unused, for up to 90 days.
        if self.bytes.capacity() - self.bytes.len() < MAX_HOUR_BYTES {
            self.bytes.reserve_exact(2 * MAX_HOUR_BYTES);
        }
        varint::write(&mut self.bytes, hour.hour.saturating_sub(self.end));
        hour.counts.encode(&mut self.bytes);
        self.end = hour.hour + 1;
    }

    /// Drops the hours before `oldest`.
    fn drop_before(&mut self, oldest: u64) {
        let mut source = Source(&self.bytes);
        loop {
            let (mut rest, mut next) = (source, self.start);
            match unpack(&mut rest, &mut next) {
                Some(hour) if hour.hour < oldest => (source, self.start) = (rest, next),
                _ => break,
            }
        }
        let dropped = self.bytes.len() - source.0.len();
        self.bytes.drain(..dropped);
    }

    fn hours(&self) -> impl Iterator<Item = Hour> + '_ {
        let (mut source, mut next) = (Source(&self.bytes), self.start);
        // What is packed was written by `push`: there is nothing to refuse, and it ends where the bytes end.
        std::iter::from_fn(move || unpack(&mut source, &mut next))
    }
}

/// Reads one hour with traffic, `next` or later, and moves `next` behind it.
fn unpack(source: &mut Source, next: &mut u64) -> Option<Hour> {
    let hour = next
        .checked_add(source.number()?)
        .filter(|hour| *hour <= LAST_HOUR)?;
    let counts = Counts::decode(source)?;
    *next = hour + 1;
    (counts != Counts::default()).then_some(Hour { hour, counts })
}

#[cfg(test)]
mod tests {
    use super::super::tests::OUTCOMES;
    use super::*;
    use crate::core::random::Random;
    use std::collections::BTreeMap;

    /// One entry an hour, and the same rule.
    #[derive(Default)]
    struct Model {
        counts: Counts,
        hours: BTreeMap<u64, Counts>,
    }

    impl Model {
        fn count(&mut self, outcome: Outcome, hour: u64) {
            self.hours.retain(|kept, _| kept.abs_diff(hour) < 2160);
            for counts in [&mut self.counts, self.hours.entry(hour).or_default()] {
                match outcome {
                    Outcome::Allowed => counts.allowed += 1,
                    Outcome::Denied => counts.denied += 1,
                    Outcome::DenyListed => counts.deny_listed += 1,
                }
            }
        }

        fn hours(&self, now: u64) -> Vec<Hour> {
            let hours = self.hours.iter();
            hours
                .filter(|(hour, _)| **hour + 2160 > now)
                .map(|(hour, counts)| Hour {
                    hour: *hour,
                    counts: *counts,
                })
                .collect()
        }
    }

    fn numbers(hours: &[Hour]) -> Vec<u64> {
        hours.iter().map(|hour| hour.hour).collect()
    }

    #[test]
    fn a_hundred_days_with_gaps_and_clock_steps_are_those_of_the_model() {
        for seed in 0..8 {
            let mut random = Random(seed);
            let (mut series, mut model) = (Series::default(), Model::default());
            let (mut now_ms, end_ms) = (470_000 * HOUR_MS, 472_400 * HOUR_MS);
            while now_ms < end_ms {
                let outcome = OUTCOMES[random.index(3)];
                series.count(outcome, now_ms / HOUR_MS);
                model.count(outcome, now_ms / HOUR_MS);
                now_ms += random.below(HOUR_MS);
                match random.below(1_000) {
                    0 => now_ms += random.below(200) * HOUR_MS,
                    1 => now_ms -= random.below(100) * HOUR_MS,
                    2..10 => now_ms -= random.below(HOUR_MS),
                    _ => {}
                }
                if random.below(200) == 0 {
                    assert_eq!(series.counts(), model.counts);
                    assert_eq!(series.hours(now_ms), model.hours(now_ms / HOUR_MS));
                    let mut bytes = Vec::new();
                    series.encode(&mut bytes);
                    series = Series::decode(&mut Source(&bytes)).unwrap();
                }
            }
            assert!(model.hours.len() > 1_000);
            assert_eq!(series.hours(0), model.hours(0));
        }
    }

    #[test]
    fn ninety_days_are_kept_and_not_one_hour_more() {
        let mut series = Series::default();
        for hour in 0..5_000 {
            series.count(Outcome::Allowed, hour);
        }
        let now_ms = 4_999 * HOUR_MS;
        let last: Vec<u64> = (2_840..5_000).collect();
        assert_eq!(last.len(), KEPT_HOURS);
        assert_eq!(numbers(&series.hours(now_ms)), last);
        assert_eq!(series.counts().allowed, 5_000);
        // Without a further hit they fall away as time passes.
        assert_eq!(numbers(&series.hours(now_ms + HOUR_MS - 1)), last);
        assert_eq!(numbers(&series.hours(now_ms + HOUR_MS)), last[1..]);
        assert_eq!(numbers(&series.hours(now_ms + 2_159 * HOUR_MS)), [4_999]);
        assert_eq!(series.hours(now_ms + 2_160 * HOUR_MS), []);
        assert_eq!(series.hours(u64::MAX), []);
    }

    #[test]
    fn only_hours_with_traffic_take_memory() {
        let mut series = Series::default();
        for hour in [0, 1, 2_000, 2_001] {
            series.count(Outcome::Denied, hour);
        }
        assert_eq!(numbers(&series.hours(0)), [0, 1, 2_000, 2_001]);
        assert!(series.heap_bytes() <= 2 * MAX_HOUR_BYTES);
        for hour in [u64::MAX / HOUR_MS, 1_000_000, 0, u64::MAX / HOUR_MS] {
            series.count(Outcome::Denied, hour);
            assert_eq!(numbers(&series.all()), [hour]);
            assert!(series.heap_bytes() <= 2 * MAX_HOUR_BYTES);
        }
    }

    #[test]
    fn the_last_hour_that_there_is_is_read_back() {
        let mut series = Series::default();
        series.count(Outcome::Allowed, LAST_HOUR);
        let mut bytes = Vec::new();
        series.encode(&mut bytes);
        let read = Series::decode(&mut Source(&bytes)).unwrap();
        assert_eq!(numbers(&read.all()), [LAST_HOUR]);
    }

    #[test]
    fn a_step_back_across_the_hour_counts_in_both() {
        let mut series = Series::default();
        for hour in [7, 8, 7, 8, 8, 7] {
            series.count(Outcome::Allowed, hour);
        }
        let counts = Counts {
            allowed: 3,
            ..Counts::default()
        };
        let expected = [7, 8].map(|hour| Hour { hour, counts });
        assert_eq!(series.hours(7 * HOUR_MS), expected);
    }

    #[test]
    fn a_change_that_would_leave_too_many_hours_is_refused() {
        let mut series = Series::default();
        for hour in 1_000..3_000 {
            series.count(Outcome::Allowed, hour);
        }
        // Hours 3,000 on, two hits in each, and of those before the ones from `first` on.
        let change = |first, hours| {
            let mut bytes = Vec::new();
            varint::write(&mut bytes, 2_000 + 2 * hours);
            bytes.extend([0, 0]);
            for number in [first, 3_000, hours] {
                varint::write(&mut bytes, number);
            }
            for hour in 0..hours {
                varint::write(&mut bytes, if hour == 0 { 3_000 } else { 0 });
                bytes.extend([2, 0, 0]);
            }
            let mut source = Source(&bytes);
            series.read_change(&mut source).map(|_| source.0.len())
        };
        assert_eq!(change(1_000, 160), Some(0));
        assert_eq!(change(0, 160), Some(0), "there are no more for that");
        assert_eq!(change(1_000, 161), None);
        assert_eq!(change(1_000, 200), None);
        assert_eq!(change(1_001, 161), Some(0));
        assert_eq!(change(1_500, 660), Some(0));
        assert_eq!(change(1_500, 661), None);
    }

    #[test]
    fn a_change_may_come_after_a_backward_step() {
        let (mut series, mut other) = (Series::default(), Series::default());
        for hour in [10, 20, 15] {
            series.count(Outcome::Allowed, hour);
        }
        for hour in [10, 10, 10, 30] {
            other.count(Outcome::Allowed, hour);
        }
        other.unwritten = 30;
        let mut bytes = Vec::new();
        other.write_change(&mut bytes);
        let change = series.read_change(&mut Source(&bytes)).unwrap();
        series.change(change);
        assert_eq!(numbers(&series.all()), [10, 15, 20, 30]);
    }

    #[test]
    fn an_hour_ninety_days_ahead_of_the_clock_is_dropped() {
        for (back, kept) in [(2_159, vec![7_841, 10_000]), (2_160, vec![7_840])] {
            let mut series = Series::default();
            series.count(Outcome::Allowed, 10_000);
            series.count(Outcome::Allowed, 10_000 - back);
            assert_eq!(numbers(&series.all()), kept);
        }
    }

    #[test]
    fn a_clock_that_was_ahead_for_months_leaves_room_for_the_present() {
        let mut series = Series::default();
        for hour in 12_000..14_160 {
            series.count(Outcome::Allowed, hour);
        }
        // Back by 90 days and a bit, and on from there.
        for hour in 11_900..12_900 {
            series.count(Outcome::Allowed, hour);
            let kept = series.all();
            assert!(kept.len() <= KEPT_HOURS);
            assert!((11_900..=hour).all(|hour| kept.iter().any(|kept| kept.hour == hour)));
        }
    }

    #[test]
    fn in_the_middle_of_two_full_stretches_the_farthest_hour_goes_and_of_two_the_later() {
        let mut series = Series::default();
        let both = (1..2_160).flat_map(|hour| [2 * hour, 2 * hour + 1]);
        let hours: Vec<Hour> = both
            .filter(|hour| *hour != 2_000)
            .map(|hour| Hour {
                hour,
                counts: Counts {
                    allowed: 1,
                    ..Counts::default()
                },
            })
            .collect();
        series.closed = Packed::new(&hours);
        series.count(Outcome::Allowed, 2_000);
        let kept = numbers(&series.all());
        assert_eq!(kept, (920..3_080).collect::<Vec<u64>>());
    }
}
