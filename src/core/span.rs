//! A window's identity: over how long a limit counts, and, for a calendar window, where it begins.
//!
//! One number, so that finding the window that a call means is one comparison:
//!
//! ```text
//! plain       milliseconds, 1 ..= 3660 d
//! first       11(2)  milliseconds                                       `5h@first`: begins with the first charge
//! calendar    10(2)  time(11)  unit(2)  count(12)  anchor(5)  zone(16)     bits 62, 36, 34, 22, 17 and 1 upwards
//! ```
//!
//! Two windows are the same exactly where their texts are, as [`Span::text`] writes them: `1d` is `24h`, `1w@mon` is `1w`,
//! `1mo@1` is `1mo`, `@UTC` and `@00:00` are none; `30d`, `1mo` and `1mo@15` are three.

use super::duration::{self, Human};
use super::zone::{self, Kind, Zone};
use arrayvec::ArrayString;
use std::fmt::{self, Write as _};
use thiserror::Error;

/// The longest text of a window: `522w@thu,18:00,` and a zone.
pub const MAX_TEXT_BYTES: usize = 15 + zone::MAX_NAME_BYTES;

/// The text of a window.
pub type Text = ArrayString<MAX_TEXT_BYTES>;

/// The identity of a window. See the head of this file.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span(u64);

/// A window that begins where the calendar says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calendar {
    /// What is counted.
    pub unit: Unit,
    /// How many of them a window has.
    pub count: u16,
    /// Of a week, the day it begins on, 1 (Monday) ..= 7; of a month, the day of the month, 1 ..= 31; else 1.
    pub anchor: u8,
    /// The time of day that it begins at, in minutes: 0 ..= 1439.
    pub minutes: u16,
    /// Whose midnight, or time of day, it is.
    pub zone: Zone,
}

/// A unit of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "they are what they are called")]
pub enum Unit {
    Day,
    Week,
    Month,
    Year,
}

const UNITS: [(Unit, &str); 4] = [
    (Unit::Day, "d"),
    (Unit::Week, "w"),
    (Unit::Month, "mo"),
    (Unit::Year, "y"),
];
const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Not a plain one.
const CALENDAR: u64 = 1 << 63;
/// Nor one of the calendar's.
const FIRST: u64 = 1 << 62;
const TIME_SHIFT: u32 = 36;
const UNIT_SHIFT: u32 = 34;
const COUNT_SHIFT: u32 = 22;
const ANCHOR_SHIFT: u32 = 17;
const ZONE_SHIFT: u32 = 1;
const DAY_MS: u64 = 86_400_000;
const MAX_DAYS: u16 = 3_660;
const DAY_MINUTES: u16 = 1_440;

/// Why a text is not a window.
#[rustfmt::skip] // a table: each text on its line
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "each variant is its text")]
pub enum SpanError {
    #[error("{}", .0.text("d, w, mo or y"))]
    Duration(duration::DurationError),
    #[error("must say mo for months: m is for minutes")]
    Minutes,
    #[error("must count d, w, mo or y to have a day or a time zone")]
    NoCalendar,
    #[error("must be 1mo, 3mo or 1y: no other number of months or years")]
    Multiple,
    #[error("must have a day (1mo@15, 1w@thu), a time of day (1d@05:00), a time zone (1d@Europe/Berlin, 1d@+02:00) or several in this order (1mo@15,05:00,Europe/Berlin) after its @")]
    Anchor,
    #[error("must have no day after its @, as d, 3mo and 1y begin on no other: only a time of day (3mo@05:00), a time zone (3mo@Europe/Berlin) or both")]
    NoDay,
    #[error("must have a weekday from mon to sun after its @, such as 1w@thu")]
    Weekday,
    #[error("must have a day of the month from 1 to 31 after its @, such as 1mo@15")]
    MonthDay,
    #[error("must have a time of day as HH:MM, from 00:00 to 23:59, such as 1d@05:00")]
    Time,
    #[error("must be a duration before its @first, such as 5h@first: a month or a year has no one length (1mo@1 begins on the 1st)")]
    First,
    #[error("must be a duration, such as 30d: calendar windows are for FIXED")]
    OnlyFixed,
}

impl Span {
    /// A window of so many milliseconds, aligned to the Unix epoch where it is aligned. `None` where it is too short or too
    /// long.
    pub fn plain(ms: u64) -> Option<Self> {
        (duration::MIN_MS..=duration::MAX_MS)
            .contains(&ms)
            .then_some(Self(ms))
    }

    /// A calendar window. Whole days in UTC are plain ones. `None` where a number is out of bounds.
    pub fn calendar(calendar: Calendar) -> Option<Self> {
        let Calendar {
            unit,
            count,
            anchor,
            minutes,
            zone,
        } = calendar;
        let (most, anchors) = match unit {
            Unit::Day => (MAX_DAYS, 1),
            Unit::Week => (MAX_DAYS / 7, 7),
            Unit::Month if count == 1 => (1, 31),
            Unit::Month if count == 3 => (3, 1),
            Unit::Month | Unit::Year => (1, 1),
        };
        let is_bound = (1..=most).contains(&count) && (1..=anchors).contains(&anchor);
        if !is_bound || minutes >= DAY_MINUTES {
            return None;
        }
        if (unit, minutes, zone) == (Unit::Day, 0, Zone::UTC) {
            return Self::plain(u64::from(count) * DAY_MS);
        }
        Some(Self(
            CALENDAR
                | u64::from(minutes) << TIME_SHIFT
                | (unit as u64) << UNIT_SHIFT
                | u64::from(count) << COUNT_SHIFT
                | u64::from(anchor) << ANCHOR_SHIFT
                | u64::from(zone.code()) << ZONE_SHIFT,
        ))
    }

    /// A window of so many milliseconds that begins with the first charge that finds none running. `None` where it is too
    /// short or too long.
    pub fn first(ms: u64) -> Option<Self> {
        Self::plain(ms).map(|plain| Self(plain.0 | CALENDAR | FIRST))
    }

    /// Its milliseconds, where it begins with the first charge.
    pub fn first_ms(self) -> Option<u64> {
        let kind = CALENDAR | FIRST;
        (self.0 & kind == kind).then_some(self.0 & !kind)
    }

    /// Its milliseconds, where it is plain.
    #[inline]
    pub fn plain_ms(self) -> Option<u64> {
        (self.0 & CALENDAR == 0).then_some(self.0)
    }

    /// Its milliseconds, by the caller's promise that it is plain; more than any window has where it is not.
    #[inline(always)]
    pub(super) fn ms(self) -> u64 {
        self.0
    }

    /// Itself as a number.
    #[inline(always)]
    pub(super) fn bits(self) -> u64 {
        self.0
    }

    /// The inverse of [`Span::bits`].
    #[inline(always)]
    pub(super) fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// What it is, where it is a calendar window.
    pub fn as_calendar(self) -> Option<Calendar> {
        if self.0 & (CALENDAR | FIRST) != CALENDAR {
            return None;
        }
        let bits = |shift: u32, mask: u64| (self.0 >> shift) & mask;
        let (unit, _) = UNITS.get(usize::try_from(bits(UNIT_SHIFT, 3)).ok()?)?;
        Some(Calendar {
            unit: *unit,
            count: u16::try_from(bits(COUNT_SHIFT, 0xfff)).ok()?,
            anchor: u8::try_from(bits(ANCHOR_SHIFT, 31)).ok()?,
            minutes: u16::try_from(bits(TIME_SHIFT, 0x7ff)).ok()?,
            zone: Zone::of(u16::try_from(bits(ZONE_SHIFT, 0xffff)).ok()?),
        })
    }

    /// How many weeks, where it is weeks from Monday in UTC.
    pub fn weeks(self) -> Option<u64> {
        let calendar = self.as_calendar()?;
        let plain = Calendar {
            unit: Unit::Week,
            anchor: 1,
            minutes: 0,
            zone: Zone::UTC,
            ..calendar
        };
        (calendar == plain).then_some(u64::from(calendar.count))
    }

    /// Reads a window as FIXED has them: a duration, or a calendar window.
    ///
    /// ```
    /// use ratelimit::core::span::Span;
    /// let text = |text: &str| Span::parse(text.as_bytes()).unwrap().text().to_string();
    /// assert_eq!(text("24h"), "1d");
    /// assert_eq!(text("1w@MON"), "1w");
    /// assert_eq!(text("1mo@15,Europe/Berlin"), "1mo@15,Europe/Berlin");
    /// ```
    #[inline(always)]
    pub fn parse(text: &[u8]) -> Result<Self, SpanError> {
        Self::read(text, zone::MAX_ASKED)
    }

    #[inline(always)]
    fn read(text: &[u8], most_zones: usize) -> Result<Self, SpanError> {
        match duration::parse(text) {
            // A week is one of the calendar's here, which begins on Monday.
            Ok(ms) if !matches!(text, [.., b'w' | b'W']) => Ok(Self(ms)),
            parsed => Self::parse_calendar(text, parsed, most_zones),
        }
    }

    #[cold]
    fn parse_calendar(
        text: &[u8],
        parsed: Result<u64, duration::DurationError>,
        most_zones: usize,
    ) -> Result<Self, SpanError> {
        // Where it is a duration, it is of weeks, and one that begins with a 0.
        let refused =
            SpanError::Duration(parsed.err().unwrap_or(duration::DurationError::Malformed));
        let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (number, rest) = text.split_at_checked(digits).unwrap_or_default();
        let (unit, place) = halves(rest, b'@');
        if place.is_some_and(|place| place.eq_ignore_ascii_case(b"first")) {
            return Self::parse_first(halves(text, b'@').0);
        }
        if !matches!(number, [b'1'..=b'9', ..]) {
            return Err(refused);
        }
        let count = number.iter().fold(0_u16, |count, digit| {
            let digit = u16::from(digit - b'0');
            count.saturating_mul(10).saturating_add(digit)
        });
        let named = UNITS
            .iter()
            .find(|(_, name)| unit.eq_ignore_ascii_case(name.as_bytes()));
        let Some(&(unit, _)) = named else {
            return Err(match place {
                None => refused,
                Some(_) if unit.eq_ignore_ascii_case(b"m") => SpanError::Minutes,
                Some(_) => SpanError::NoCalendar,
            });
        };
        let most = match unit {
            Unit::Day => MAX_DAYS,
            Unit::Week => MAX_DAYS / 7,
            Unit::Month | Unit::Year => 1,
        };
        if !((1..=most).contains(&count) || (unit, count) == (Unit::Month, 3)) {
            return Err(match unit {
                Unit::Day | Unit::Week => SpanError::Duration(duration::DurationError::OutOfRange),
                Unit::Month | Unit::Year => SpanError::Multiple,
            });
        }
        let mut calendar = Calendar {
            unit,
            count,
            anchor: 1,
            minutes: 0,
            zone: Zone::UTC,
        };
        // A day, a time and a zone, any of which may be left out.
        let mut rest = place;
        if let Some((first, behind)) = rest.map(|rest| halves(rest, b',')) {
            if let Some(day) = anchor(calendar, first)? {
                (calendar.anchor, rest) = (day, behind);
            }
        }
        if let Some((first, behind)) = rest.map(|rest| halves(rest, b',')) {
            if let Some(minutes) = time_of_day(first)? {
                (calendar.minutes, rest) = (minutes, behind);
            }
        }
        if let Some(zone) = rest {
            calendar.zone = Zone::parse(zone, most_zones).ok_or(SpanError::Anchor)?;
        }
        Self::calendar(calendar).ok_or(SpanError::Anchor)
    }

    fn parse_first(text: &[u8]) -> Result<Self, SpanError> {
        match duration::parse(text) {
            Ok(ms) if !text.starts_with(b"0") => {
                let out_of_range = SpanError::Duration(duration::DurationError::OutOfRange);
                Self::first(ms).ok_or(out_of_range)
            }
            Ok(_) => Err(SpanError::Duration(duration::DurationError::Malformed)),
            Err(duration::DurationError::Malformed) if text.starts_with(b"0") => {
                Err(SpanError::Duration(duration::DurationError::Malformed))
            }
            Err(duration::DurationError::Malformed) => Err(SpanError::First),
            Err(why) => Err(SpanError::Duration(why)),
        }
    }

    /// Reads what [`Span::text`] writes, and nothing else: what a file or a primary sends.
    pub fn parse_canonical(text: &[u8]) -> Option<Self> {
        let span = Self::read(text, zone::MAX_FOREIGN).ok()?;
        (span.text().as_bytes() == text).then_some(span)
    }

    /// How a FIXED window is written: the one text that windows are told apart by.
    pub fn text(self) -> Text {
        let mut text = Text::new_const();
        let _ = self.write_text(&mut text); // there is room for the longest
        text
    }

    /// [`Span::text`] to where it is wanted.
    #[inline]
    pub(super) fn write_text(self, out: &mut Text) -> fmt::Result {
        if let Some(ms) = self.first_ms() {
            return write!(out, "{}@first", Human::without_weeks(ms));
        }
        let Some(calendar) = self.as_calendar() else {
            return write!(out, "{}", Human::without_weeks(self.0));
        };
        let Calendar {
            unit,
            count,
            anchor,
            minutes,
            zone,
        } = calendar;
        let name = UNITS.get(unit as usize).map_or("", |(_, name)| name);
        write_number(out, count)?;
        out.write_str(name)?;
        let mut before = '@';
        if anchor > 1 {
            out.write_char(std::mem::replace(&mut before, ','))?;
            match WEEKDAYS.get(usize::from(anchor) - 1) {
                Some(day) if unit == Unit::Week => out.write_str(day)?,
                _ => write_number(out, u16::from(anchor))?,
            }
        }
        if minutes > 0 {
            out.write_char(std::mem::replace(&mut before, ','))?;
            write!(out, "{:02}:{:02}", minutes / 60, minutes % 60)?;
        }
        if zone != Zone::UTC {
            out.write_char(before)?;
            match zone.kind() {
                Kind::Name(name) => out.write_str(name)?,
                Kind::Offset(_) => write!(out, "{zone}")?,
            }
        }
        Ok(())
    }
}

/// Most windows count one of their unit, and this is on the path of each hit on one.
fn write_number(out: &mut Text, number: u16) -> fmt::Result {
    match u8::try_from(number) {
        Ok(digit @ 0..=9) => out.write_char(char::from(b'0' + digit)),
        _ => write!(out, "{number}"),
    }
}

/// What stands before a byte and, where there is one, behind it.
fn halves(text: &[u8], byte: u8) -> (&[u8], Option<&[u8]>) {
    let at = text.iter().position(|other| *other == byte);
    match at.and_then(|at| text.split_at_checked(at)) {
        Some((before, behind)) => (before, behind.get(1..)),
        None => (text, None),
    }
}

/// The day that a window is said to begin on, where a day is said: digits, or a weekday.
fn anchor(calendar: Calendar, text: &[u8]) -> Result<Option<u8>, SpanError> {
    let is_digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let mut weekdays = WEEKDAYS.iter().zip(1..);
    let weekday = weekdays.find(|(day, _)| text.eq_ignore_ascii_case(day.as_bytes()));
    match (calendar.unit, weekday) {
        (Unit::Week, Some((_, day))) => Ok(Some(day)),
        (Unit::Week, None) if is_digits => Err(SpanError::Weekday),
        (Unit::Month, None) if is_digits && calendar.count == 1 => {
            let day = std::str::from_utf8(text)
                .ok()
                .filter(|_| !text.starts_with(b"0"));
            let day = day.and_then(|day| day.parse().ok());
            day.filter(|day| (1..=31).contains(day))
                .map(Some)
                .ok_or(SpanError::MonthDay)
        }
        (Unit::Month, Some(_)) if calendar.count == 1 => Err(SpanError::MonthDay),
        (_, None) if !is_digits => Ok(None),
        _ => Err(SpanError::NoDay),
    }
}

/// The minutes of a time of day, where one is said: digits and a colon.
fn time_of_day(text: &[u8]) -> Result<Option<u16>, SpanError> {
    let is_time = text.first().is_some_and(u8::is_ascii_digit) && text.contains(&b':');
    if !is_time {
        return Ok(None);
    }
    let digit = |byte: u8| byte.is_ascii_digit().then(|| u16::from(byte - b'0'));
    let number = |tens: u8, ones: u8| Some(digit(tens)? * 10 + digit(ones)?);
    let minutes = match *text {
        [a, b, b':', c, d] => number(a, b).zip(number(c, d)),
        _ => None,
    };
    match minutes {
        Some((hour @ ..24, minute @ ..60)) => Ok(Some(hour * 60 + minute)),
        _ => Err(SpanError::Time),
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::super::duration::DurationError;
    use super::*;

    #[test]
    fn one_window_has_one_text() {
        for (text, canonical) in [
            ("60s", "1m"),
            ("24h", "1d"),
            ("7d", "7d"),
            ("168h", "7d"),
            ("30D", "30d"),
            ("1w", "1w"),
            ("1W@MON", "1w"),
            ("1w@thu", "1w@thu"),
            ("2w", "2w"),
            ("522w", "522w"),
            ("1d@UTC", "1d"),
            ("2d@+00:00", "2d"),
            ("1d@+02:00", "1d@+02:00"),
            ("1d@Europe/Berlin", "1d@Europe/Berlin"),
            ("1MO", "1mo"),
            ("1mo@1", "1mo"),
            ("1mo@1,UTC", "1mo"),
            ("1mo@31", "1mo@31"),
            ("1mo@Asia/Kathmandu", "1mo@Asia/Kathmandu"),
            ("1mo@15,Europe/Berlin", "1mo@15,Europe/Berlin"),
            ("1w@sun,America/New_York", "1w@sun,America/New_York"),
            ("3mo", "3mo"),
            ("3mo@-05:00", "3mo@-05:00"),
            ("1y", "1y"),
            ("1y@Pacific/Apia", "1y@Pacific/Apia"),
            ("1d@00:00", "1d"),
            ("24h", "1d"),
            ("1d@05:00", "1d@05:00"),
            ("1d@05:00,UTC", "1d@05:00"),
            ("1D@05:00,Europe/Berlin", "1d@05:00,Europe/Berlin"),
            ("1w@18:00", "1w@18:00"),
            ("1w@mon,18:00", "1w@18:00"),
            ("1w@thu,18:00,+02:00", "1w@thu,18:00,+02:00"),
            ("1mo@15,13:45", "1mo@15,13:45"),
            ("1mo@1,23:59", "1mo@23:59"),
            ("3mo@00:01,-05:00", "3mo@00:01,-05:00"),
            ("1y@05:00", "1y@05:00"),
            ("5h@first", "5h@first"),
            ("300m@FIRST", "5h@first"),
            ("1w@first", "7d@first"),
            ("3660d@first", "3660d@first"),
        ] {
            let span = Span::parse(text.as_bytes()).unwrap();
            assert_eq!(&*span.text(), canonical, "{text}");
            assert_eq!(Span::parse_canonical(canonical.as_bytes()), Some(span));
            if text != canonical {
                assert_eq!(Span::parse_canonical(text.as_bytes()), None, "{text}");
            }
        }
    }

    #[test]
    fn what_is_no_window_says_why() {
        use SpanError::{
            Anchor, Duration, First, Minutes, MonthDay, Multiple, NoCalendar, NoDay, Time, Weekday,
        };
        for (text, why) in [
            ("", Duration(DurationError::Malformed)),
            ("mo", Duration(DurationError::Malformed)),
            ("60", Duration(DurationError::NoUnit)),
            ("0mo", Duration(DurationError::Malformed)),
            ("01mo", Duration(DurationError::Malformed)),
            ("-1mo", Duration(DurationError::Malformed)),
            ("523w", Duration(DurationError::OutOfRange)),
            ("3661d@+01:00", Duration(DurationError::OutOfRange)),
            ("99999999999mo", Multiple),
            ("2mo", Multiple),
            ("12mo", Multiple),
            ("2y", Multiple),
            ("1M@15", Minutes),
            ("1h@Europe/Berlin", NoCalendar),
            ("1s@mon", NoCalendar),
            ("1@15", NoCalendar),
            ("1mo@0", MonthDay),
            ("1mo@32", MonthDay),
            ("1mo@999", MonthDay),
            ("1mo@015", MonthDay),
            ("1mo@mon,15", MonthDay),
            ("2mo@32", Multiple),
            ("1mo@15,", Anchor),
            ("1mo@", Anchor),
            ("1mo@,UTC", Anchor),
            ("1mo@15,UTC,UTC", Anchor),
            ("1mo@Europe/Berlin,15", Anchor),
            ("3mo@15", NoDay),
            ("3mo@32", NoDay),
            ("3mo@mon", NoDay),
            ("1y@15", NoDay),
            ("1d@15", NoDay),
            ("1d@thu", NoDay),
            ("1w@15", Weekday),
            ("1d@24:00", Time),
            ("1d@25:00", Time),
            ("1d@05:60", Time),
            ("1d@5:00", Time),
            ("1d@05:0", Time),
            ("1d@05:00:00", Time),
            ("1mo@15,24:00", Time),
            ("24h@05:00", NoCalendar),
            ("2mo@05:00", Multiple),
            ("1mo@05:00,15", Anchor),
            ("1d@05:00,", Anchor),
            ("1d@05:00,06:00", Anchor),
            ("1d@Europe/Berlin,05:00", Anchor),
            ("1mo@first", First),
            ("1y@first", First),
            ("1x@first", First),
            ("05h@first", Duration(DurationError::Malformed)),
            ("5@first", Duration(DurationError::NoUnit)),
            ("0h@first", Duration(DurationError::OutOfRange)),
            ("3661d@first", Duration(DurationError::OutOfRange)),
            ("5h@first,UTC", NoCalendar),
            ("1d@+25:00", Anchor),
            ("1d@../../etc/passwd", Anchor),
        ] {
            assert_eq!(Span::parse(text.as_bytes()), Err(why), "{text:?}");
        }
    }
}
