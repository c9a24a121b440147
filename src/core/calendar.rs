//! Where calendar windows begin and end.
//!
//! # The maths
//!
//! * A boundary is a civil date: of `n d` every n-th day counted from 1970-01-01, of `n w` every n-th week counted from the
//!   first such weekday on or after Monday 1970-01-05, of `1mo@a` the day a of each month or the month's last day if it is
//!   shorter, of `3mo` the first of January, April, July and October, of `1y` the first of January.
//! * A boundary's instant is the first midnight of that date in the zone, or the first time of day that the window says: where
//!   clocks are set back over it, the first of two; where they are set forward over it, so that there is none, the instant at
//!   which they are.
//! * Instants of successive boundaries never fall (a date that a zone skipped has an empty day), so every instant lies in
//!   exactly one window, `start <= now < end`.
//!
//! A day may have 23, 24, 25 hours, or others where a zone moves.

use super::span::{Calendar, Unit};
use jiff::civil::Date;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan as _};

/// The start and the end of a window, in Unix milliseconds: `start_ms <= t < end_ms`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Its first millisecond.
    pub start_ms: u64,
    /// The first millisecond that is not its own.
    pub end_ms: u64,
}

impl Window {
    /// Whether an instant lies in it.
    pub fn contains(&self, now_ms: u64) -> bool {
        self.start_ms <= now_ms && now_ms < self.end_ms
    }
}

/// The window of so many milliseconds that a charge of `at_ms` would begin, where none is running: from that time on, if it
/// still counts, else from now on.
pub fn first(ms: u64, now_ms: u64, at_ms: Option<u64>) -> Window {
    let counts = |at_ms: &u64| 0 < *at_ms && *at_ms < now_ms && at_ms + ms > now_ms;
    let start_ms = at_ms.filter(counts).unwrap_or(now_ms);
    Window {
        start_ms,
        end_ms: start_ms + ms,
    }
}

/// The window that `now_ms` lies in. What begins before the epoch begins at it. `None` past the calendar's last year, 9999.
pub fn window(calendar: &Calendar, zone: &TimeZone, now_ms: u64) -> Option<Window> {
    let now = Timestamp::from_millisecond(i64::try_from(now_ms).ok()?).ok()?;
    let today = zone.to_datetime(now).date();
    // Today's time of day may be yet to come. Yesterday's is not; where clocks are set back over midnight, today's date may be
    // yesterday's again.
    let known = match calendar.minutes {
        0 => today,
        _ => plus_days(today, -1)?,
    };
    let mut start = boundary_before(calendar, known)?;
    loop {
        let next = boundary_after(calendar, start)?;
        let end_ms = instant(calendar, next, zone)?;
        if end_ms > now_ms {
            let start_ms = instant(calendar, start, zone)?;
            return Some(Window { start_ms, end_ms });
        }
        start = next;
    }
}

/// The last boundary on or before a date.
fn boundary_before(calendar: &Calendar, date: Date) -> Option<Date> {
    let count = i32::from(calendar.count);
    match calendar.unit {
        Unit::Day | Unit::Week => {
            let (first, days) = periods(calendar);
            let passed = date.since(first).ok()?.get_days();
            plus_days(first, passed.div_euclid(days) * days)
        }
        Unit::Month => {
            let month = i32::from(date.month()) - 1;
            let first = Date::new(
                date.year(),
                i8::try_from(month / count * count + 1).ok()?,
                1,
            )
            .ok()?;
            let boundary = in_month(calendar, first);
            if boundary <= date {
                Some(boundary)
            } else {
                let before = first.checked_sub(1.month()).ok()?;
                Some(in_month(calendar, before))
            }
        }
        Unit::Year => Date::new(date.year(), 1, 1).ok(),
    }
}

/// The boundary that follows one.
fn boundary_after(calendar: &Calendar, boundary: Date) -> Option<Date> {
    match calendar.unit {
        Unit::Day | Unit::Week => plus_days(boundary, periods(calendar).1),
        Unit::Month => {
            let first = boundary.first_of_month();
            let next = first.checked_add(i32::from(calendar.count).months()).ok()?;
            Some(in_month(calendar, next))
        }
        Unit::Year => boundary.checked_add(1.year()).ok(),
    }
}

/// Where days and weeks are counted from, and how many days a window has.
fn periods(calendar: &Calendar) -> (Date, i32) {
    let count = i32::from(calendar.count);
    match calendar.unit {
        Unit::Week => {
            let monday = jiff::civil::date(1970, 1, 5);
            let days = i32::from(calendar.anchor) - 1;
            (plus_days(monday, days).unwrap_or(monday), 7 * count)
        }
        _ => (jiff::civil::date(1970, 1, 1), count),
    }
}

/// The calendar's day in the month that begins on `first`.
fn in_month(calendar: &Calendar, first: Date) -> Date {
    let day = i8::try_from(calendar.anchor)
        .unwrap_or(1)
        .min(first.days_in_month());
    Date::new(first.year(), first.month(), day).unwrap_or(first)
}

fn plus_days(date: Date, days: i32) -> Option<Date> {
    date.checked_add(days.days()).ok()
}

/// The first time that it is the calendar's time of day on a date, in Unix milliseconds, 0 where it lies before the epoch.
fn instant(calendar: &Calendar, date: Date, zone: &TimeZone) -> Option<u64> {
    let [hour, minute] = [calendar.minutes / 60, calendar.minutes % 60];
    let time = date.at(i8::try_from(hour).ok()?, i8::try_from(minute).ok()?, 0, 0);
    let time = zone.to_ambiguous_timestamp(time);
    let is_skipped = matches!(time.offset(), AmbiguousOffset::Gap { .. });
    let mut at = time.compatible().ok()?;
    if is_skipped {
        // It is read as if the clocks had not been set, so it lies at or behind the instant when they were.
        let behind = at.checked_add(1.second()).ok()?;
        at = zone.preceding(behind).next()?.timestamp();
    }
    Some(u64::try_from(at.as_millisecond()).unwrap_or(0))
}

#[cfg(test)]
mod tests;
