//! Durations as a person writes them: `500ms` `10s` `15m` `1h` `30d` `4w`.
//!
//! The unit is never guessed: a bare number read as seconds where milliseconds were meant is a limit that is wrong by a
//! factor of 1000, and nothing would say so.

use std::borrow::Cow;
use std::fmt;

/// The shortest duration, in milliseconds.
pub const MIN_MS: u64 = 1;
/// The longest duration, in milliseconds: 3660 days, ten years and a little.
pub const MAX_MS: u64 = 3660 * 86_400_000;

/// Digits that a `u64` surely holds, and more than anybody needs.
const MAX_DIGITS: usize = 19;

/// Every unit, largest first, with its length in milliseconds.
const UNITS: [(&str, u64); 6] = [
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Why a text is not a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DurationError {
    /// A number with no unit behind it.
    NoUnit,
    /// Not a positive integer followed by a unit.
    Malformed,
    /// Well formed, but not within [`MIN_MS`] ..= [`MAX_MS`].
    OutOfRange,
}

impl DurationError {
    /// What was expected, where these are the units that may stand beside ms, s, m and h.
    pub(super) fn text(self, units: &str) -> Cow<'static, str> {
        match self {
            DurationError::NoUnit => "needs a unit, such as 60s or 500ms".into(),
            DurationError::Malformed => format!(
                "must be a positive integer and a unit (ms, s, m, h, {units}), such as 60s or 500ms"
            )
            .into(),
            DurationError::OutOfRange => "must be from 1ms to 3660d".into(),
        }
    }
}

/// Reads a duration and returns it in milliseconds.
///
/// ```
/// use ratelimit::core::duration::{parse, DurationError};
/// assert_eq!(parse(b"15m"), Ok(900_000));
/// assert_eq!(parse(b"500MS"), Ok(500));
/// assert_eq!(parse(b"60"), Err(DurationError::NoUnit));
/// ```
pub fn parse(text: &[u8]) -> Result<u64, DurationError> {
    let mut number: u64 = 0;
    let mut unit = text;
    while let [byte, rest @ ..] = unit {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        // Wrapping is harmless: so many digits are refused below.
        number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
        unit = rest;
    }
    let digits = text.len() - unit.len();
    if digits == 0 {
        return Err(DurationError::Malformed);
    }
    let unit_ms = match unit {
        [] => return Err(DurationError::NoUnit),
        [b's' | b'S'] => 1_000,
        [b'm' | b'M'] => 60_000,
        [b'h' | b'H'] => 3_600_000,
        [b'd' | b'D'] => 86_400_000,
        [b'w' | b'W'] => 7 * 86_400_000,
        [b'm' | b'M', b's' | b'S'] => 1,
        _ => return Err(DurationError::Malformed),
    };
    match number.saturating_mul(unit_ms) {
        ms @ MIN_MS..=MAX_MS if digits <= MAX_DIGITS => Ok(ms),
        _ => Err(DurationError::OutOfRange),
    }
}

/// Writes milliseconds in the largest unit that divides them, so that [`parse`] reads the same number back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Human {
    ms: u64,
    units: &'static [(&'static str, u64)],
}

impl Human {
    /// In weeks, where it is whole weeks.
    pub fn new(ms: u64) -> Self {
        Self { ms, units: &UNITS }
    }

    /// In days at the most: where a week is another window than seven days.
    pub fn without_weeks(ms: u64) -> Self {
        let units = UNITS.get(1..).unwrap_or_default();
        Self { ms, units }
    }
}

impl fmt::Display for Human {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, unit_ms) = self
            .units
            .iter()
            .find(|(_, unit_ms)| self.ms.is_multiple_of(*unit_ms))
            .copied()
            .unwrap_or(("ms", 1));
        write!(out, "{}{}", self.ms / unit_ms, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_read() {
        for (text, ms) in [
            ("1ms", 1),
            ("500ms", 500),
            ("10s", 10_000),
            ("15m", 900_000),
            ("1h", 3_600_000),
            ("30d", 2_592_000_000),
            ("4w", 2_419_200_000),
            ("3660d", MAX_MS),
            ("007s", 7_000),
            ("0000000000000000001s", 1_000), // 19 digits
        ] {
            assert_eq!(parse(text.as_bytes()), Ok(ms), "{text}");
            assert_eq!(parse(text.to_uppercase().as_bytes()), Ok(ms), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_duration_says_why() {
        for (text, why) in [
            ("", DurationError::Malformed),
            ("s", DurationError::Malformed),
            ("-1s", DurationError::Malformed),
            ("+1s", DurationError::Malformed),
            ("1.5s", DurationError::Malformed),
            ("1 s", DurationError::Malformed),
            ("1s ", DurationError::Malformed),
            ("1sec", DurationError::Malformed),
            ("60", DurationError::NoUnit),
            ("0", DurationError::NoUnit),
            ("0s", DurationError::OutOfRange),
            ("3661d", DurationError::OutOfRange),
            ("316224000001ms", DurationError::OutOfRange),
            ("18446744073709551617s", DurationError::OutOfRange), // 2^64 + 1
            ("99999999999999999999999999w", DurationError::OutOfRange),
        ] {
            assert_eq!(parse(text.as_bytes()), Err(why), "{text:?}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for ms in (1..5_000).chain([60_000, 90_000, 86_400_000, 604_800_000, MAX_MS, MAX_MS - 1]) {
            assert_eq!(parse(Human::new(ms).to_string().as_bytes()), Ok(ms), "{ms}");
        }
        assert_eq!(Human::new(900_000).to_string(), "15m");
        assert_eq!(Human::new(604_800_000).to_string(), "1w");
        assert_eq!(Human::new(90_000).to_string(), "90s");
    }
}
