//! Series, against a map from each hour and day to its counts.

use super::*;
use crate::core::random::Random;
use std::collections::BTreeMap;

const SECOND: Form = Form {
    version: 2,
    is_record: false,
};
const SECOND_RECORD: Form = Form {
    version: 2,
    is_record: true,
};

/// Whatever was counted, for ever.
#[derive(Default)]
struct Model {
    counts: Counts,
    hours: BTreeMap<u64, Counts>,
    days: BTreeMap<u64, Counts>,
}

impl Model {
    fn count(&mut self, outcome: Outcome, hour: u64) {
        let hours = self.hours.entry(hour).or_default();
        let days = self.days.entry(hour / 24).or_default();
        for counts in [&mut self.counts, hours, days] {
            counts.count(outcome);
        }
    }
}

fn rows(counts: &BTreeMap<u64, Counts>, from: u64) -> Vec<Row> {
    let rows = counts.range(from..);
    rows.map(|(number, counts)| Row {
        number: *number,
        counts: *counts,
    })
    .collect()
}

fn numbers(rows: &[Row]) -> Vec<u64> {
    rows.iter().map(|row| row.number).collect()
}

fn series_of(hours: impl IntoIterator<Item = u64>) -> Series {
    let mut series = Series::default();
    for hour in hours {
        series.count(Outcome::Allowed, hour);
    }
    series
}

fn bytes_of(series: &Series) -> Vec<u8> {
    let mut bytes = Vec::new();
    series.write(&mut bytes);
    bytes
}

#[test]
fn a_hundred_days_with_gaps_are_those_of_the_model() {
    for seed in 0..8 {
        let mut random = Random(seed);
        let (mut series, mut model) = (Series::default(), Model::default());
        let (mut now_ms, end_ms) = (470_000 * HOUR_MS, 472_400 * HOUR_MS);
        while now_ms < end_ms {
            let outcome = Outcome::ALL[random.index(Outcome::ALL.len())];
            // Now and then the clock steps back a little, and comes forward again.
            let back_ms = random.below(3) / 2 * random.below(2 * HOUR_MS);
            series.count(outcome, (now_ms - back_ms) / HOUR_MS);
            model.count(outcome, (now_ms - back_ms) / HOUR_MS);
            now_ms += random.below(HOUR_MS) * (1 + random.below(2) * random.below(20));
            if random.below(100) == 0 {
                let (hour, day) = (now_ms / HOUR_MS, now_ms / DAY_MS);
                assert_eq!(series.counts(), model.counts);
                assert_eq!(series.hours(now_ms), rows(&model.hours, hour + 1 - 192));
                assert_eq!(series.days(now_ms), rows(&model.days, day + 1 - 90));
                series = Series::default()
                    .read(&mut Source(&bytes_of(&series)), Form::SAVED)
                    .unwrap();
            }
        }
        assert!(model.hours.len() > 400);
    }
}

#[test]
fn eight_days_of_hours_and_ninety_of_days_are_told_and_not_one_more() {
    let series = series_of(0..5_000);
    let now_ms = 4_999 * HOUR_MS;
    let hours: Vec<u64> = (4_808..5_000).collect();
    let days: Vec<u64> = (119..=208).collect();
    assert_eq!((hours.len(), days.len()), (192, 90));
    assert_eq!(numbers(&series.hours(now_ms)), hours);
    assert_eq!(numbers(&series.days(now_ms)), days);
    assert_eq!(series.counts().of(Outcome::Allowed), 5_000);
    // Without a further hit they fall away as time passes.
    assert_eq!(numbers(&series.hours(now_ms + HOUR_MS - 1)), hours);
    assert_eq!(numbers(&series.hours(now_ms + HOUR_MS)), hours[1..]);
    assert_eq!(numbers(&series.hours(now_ms + 191 * HOUR_MS)), [4_999]);
    assert_eq!(series.hours(now_ms + 192 * HOUR_MS), []);
    assert_eq!(numbers(&series.days(208 * DAY_MS + 89 * DAY_MS)), [208]);
    assert_eq!(series.days(208 * DAY_MS + 90 * DAY_MS), []);
    assert_eq!(series.hours(u64::MAX), []);
    assert_eq!(series.days(u64::MAX), []);
}

/// A clock set forty years ahead, for up to eight hours with traffic, and back again.
#[test]
fn a_clock_that_runs_ahead_erases_nothing() {
    const AHEAD: u64 = 40 * 366 * 24;
    for ahead in 1..=8 {
        let mut series = series_of(10_000..10_300);
        let now_ms = 10_299 * HOUR_MS;
        let before = (series.counts(), series.hours(now_ms), series.days(now_ms));
        assert_eq!(before.1.len(), 192);
        for hour in 0..ahead {
            series.count(Outcome::Denied, 10_299 + AHEAD + hour);
        }
        let told = |rows: Vec<Row>, last: u64| {
            let mut rows = rows;
            rows.retain(|row| row.number <= last);
            rows
        };
        assert_eq!(told(series.hours(now_ms), 10_299), before.1);
        assert_eq!(told(series.days(now_ms), 10_299 / 24), before.2);
        assert_eq!(series.counts().of(Outcome::Denied), ahead);
        // As time goes on, it is what the clock left behind that goes.
        for hour in 10_300..10_300 + 90 * 24 {
            series.count(Outcome::Allowed, hour);
        }
        let now_ms = (10_299 + 90 * 24) * HOUR_MS;
        let hours: Vec<u64> = (10_300 + 90 * 24 - 192..10_300 + 90 * 24).collect();
        assert_eq!(numbers(&series.hours(now_ms)), hours);
        assert_eq!(series.days(now_ms).len(), 90);
        assert_eq!(series.counts().of(Outcome::Allowed), 300 + 90 * 24);
    }
}

#[test]
fn a_step_back_across_the_hour_counts_in_both() {
    let series = series_of([7, 8, 7, 8, 8, 7]);
    let counts = Counts([3, 0, 0, 0]);
    let expected = [7, 8].map(|number| Row { number, counts });
    assert_eq!(series.hours(7 * HOUR_MS), expected);
    assert_eq!(series.days(0)[0].counts.of(Outcome::Allowed), 6);
}

#[test]
fn memory_has_an_end() {
    let mut random = Random(1);
    let mut series = Series::default();
    series.count(Outcome::Allowed, 1);
    series.settle();
    assert!(series.heap_bytes() <= 8 * size_of::<Row>());
    for _ in 0..10_000 {
        series.count(Outcome::Allowed, random.below(100_000));
        series = Series::default()
            .read(&mut Source(&bytes_of(&series)), Form::SAVED)
            .unwrap();
        series.count(Outcome::Allowed, random.below(100_000));
        assert!(series.heap_bytes() <= (MAX_HOURS + MAX_DAYS) * size_of::<Row>());
    }
    assert_eq!(series.hours.rows.len(), MAX_HOURS);
    assert_eq!(series.days.rows.len(), MAX_DAYS);
}

#[test]
fn the_last_hour_that_there_is_is_read_back() {
    let series = series_of([u64::MAX / HOUR_MS]);
    let read = Series::default()
        .read(&mut Source(&bytes_of(&series)), Form::SAVED)
        .unwrap();
    assert_eq!(numbers(&read.hours(0)), [u64::MAX / HOUR_MS]);
    assert_eq!(bytes_of(&read), bytes_of(&series));
}

/// Whatever a clock does, and however seldom it is told of, the copy has the same rows.
#[test]
fn what_changes_makes_a_copy_equal() {
    for seed in 0..200 {
        let mut random = Random(seed);
        let (mut series, mut copy) = (Series::default(), Series::default());
        let mut hour = 100_000;
        for _ in 0..2_000 {
            series.count(Outcome::ALL[random.index(Outcome::ALL.len())], hour);
            match random.below(20) {
                0 => hour += random.below(5_000),
                1 => hour = hour.saturating_sub(random.below(5_000)),
                2..12 => hour += 1,
                _ => {}
            }
            if random.below(1 << (seed % 9)) == 0 {
                let mut bytes = Vec::new();
                series.write_change(&mut bytes);
                let mut source = Source(&bytes);
                copy = copy.read(&mut source, Form::RECORD).unwrap();
                assert!(source.0.is_empty());
                assert_eq!(bytes_of(&copy), bytes_of(&series));
            }
        }
    }
}

#[test]
fn a_change_is_as_long_as_what_has_changed() {
    let mut series = series_of(0..5_000);
    series.write_change(&mut Vec::new());
    let length = |series: &mut Series| {
        let mut bytes = Vec::new();
        series.write_change(&mut bytes);
        bytes.len()
    };
    assert_eq!(length(&mut series), 5 + 3 + 3);
    series.count(Outcome::Allowed, 4_999);
    assert_eq!(length(&mut series), 5 + (3 + 5) + (3 + 5));
    series.count(Outcome::Allowed, 5_000);
    assert_eq!(length(&mut series), 5 + (3 + 5) + (3 + 5));
}

/// What the second version wrote: hours alone, of which those of more than eight days ago come to be days.
#[test]
fn hours_of_the_second_version_become_days() {
    let mut bytes = vec![208, 15, 0, 0]; // 2,000 allowed
    varint::write(&mut bytes, 2_000);
    for hour in 0..2_000 {
        varint::write(&mut bytes, if hour == 0 { 48_000 } else { 0 });
        bytes.extend([1, 0, 0]);
    }
    let mut source = Source(&bytes);
    let mut series = Series::default().read(&mut source, SECOND).unwrap();
    assert!(source.0.is_empty());
    let now_ms = 49_999 * HOUR_MS;
    let hours: Vec<u64> = (49_808..50_000).collect();
    assert_eq!(numbers(&series.hours(now_ms)), hours);
    let days = series.days(now_ms);
    assert_eq!(numbers(&days), (2_000..=2_083).collect::<Vec<u64>>());
    assert!(days[..83]
        .iter()
        .all(|day| day.counts.of(Outcome::Allowed) == 24));
    assert_eq!(days[83].counts.of(Outcome::Allowed), 8);
    // The last hour again, and one more, of the same day; no hour before the tenth.
    let mut bytes = vec![213, 15, 0, 0];
    for number in [48_009, 49_999, 2, 49_999] {
        varint::write(&mut bytes, number);
    }
    bytes.extend([3, 0, 0, 0, 3, 0, 0]);
    let changed = series.read(&mut Source(&bytes), SECOND_RECORD).unwrap();
    let days = changed.days(now_ms);
    assert_eq!(days.len(), 84);
    assert_eq!(days[83].counts.of(Outcome::Allowed), 7 + 3 + 3);
    let hours: Vec<u64> = changed
        .hours(now_ms)
        .iter()
        .map(|row| row.counts.of(Outcome::Allowed))
        .collect();
    assert_eq!(hours[hours.len() - 3..], [1, 3, 3]);
    // All anew, as after a clock that was set back.
    let mut bytes = vec![208, 15, 0, 0, 0, 0, 1];
    varint::write(&mut bytes, 49_000);
    bytes.extend([9, 0, 0]);
    let changed = series.read(&mut Source(&bytes), SECOND_RECORD).unwrap();
    assert_eq!(numbers(&changed.hours(0)), [49_000]);
    assert_eq!(numbers(&changed.days(0)), [49_000 / 24]);
    // Of fewer hits than there were, of an hour before the first, of more than there were in all.
    series.count(Outcome::Allowed, 50_000);
    assert!(series.read(&mut Source(&bytes), SECOND_RECORD).is_none());
    for (counts, first, allowed) in [
        ([209, 15], 0, 9),
        ([209, 15], 49_001, 9),
        ([209, 15], 0, 255),
    ] {
        let mut bytes = [&counts[..], &[0, 0]].concat();
        for number in [first, 0, 1, 49_000, allowed * 10] {
            varint::write(&mut bytes, number);
        }
        bytes.extend([0, 0]);
        let is_taken = series.read(&mut Source(&bytes), SECOND_RECORD).is_some();
        assert_eq!(is_taken, (first, allowed) == (0, 9));
    }
}
