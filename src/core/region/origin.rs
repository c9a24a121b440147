//! Who has used something: a region, and since when.
//!
//! A key can vanish from a region (it expires, is evicted or deleted, a late replica is promoted) and begin again with small
//! numbers. Under one name a maximum would hide them, and if the later beginning won, the other regions would forget what
//! they knew. So each beginning is an origin of its own: nothing is hidden, and nothing forgotten but what nobody has any
//! more.

use crate::core::bytes::sink::Sink;
use crate::core::bytes::source::Source;
use crate::core::bytes::varint;
use crate::core::limit::MAX_TIME_MS;
use arrayvec::ArrayVec;
use std::fmt;

/// The name of a region: 1 to 8 bytes of `[a-z0-9-]`, as one number, so that nothing has to be replicated but the number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Region(u64);

impl Region {
    /// The longest name, in bytes.
    pub const MAX_BYTES: usize = 8;

    /// Whose usage was counted while no region was set. It never leaves the server.
    pub const UNNAMED: Self = Self(0);

    /// Reads a name; `None` where it is not one.
    ///
    /// ```
    /// use ratelimit::core::region::origin::Region;
    /// assert_eq!(Region::parse(b"eu-1").unwrap().to_string(), "eu-1");
    /// for text in ["", "EU", "eu 1", "eu-central"] {
    ///     assert_eq!(Region::parse(text.as_bytes()), None, "{text}");
    /// }
    /// ```
    pub fn parse(name: &[u8]) -> Option<Self> {
        let is_known = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        let is_name = (1..=Self::MAX_BYTES).contains(&name.len()) && name.iter().all(is_known);
        let shifted = |number, byte: &u8| number << 8 | u64::from(*byte);
        is_name.then(|| Self(name.iter().fold(0, shifted) << (8 * (Self::MAX_BYTES - name.len()))))
    }

    /// Whether it has a name.
    pub fn is_named(self) -> bool {
        self != Self::UNNAMED
    }

    /// The number that it is.
    pub fn number(self) -> u64 {
        self.0
    }

    /// The region with a name whose [`Region::number`] it is; `None` where that has none.
    pub fn of_number(number: u64) -> Option<Self> {
        Some(Self(number)).filter(|region| region.is_named())
    }

    fn name(self) -> ArrayVec<u8, { Self::MAX_BYTES }> {
        let bytes = self.0.to_be_bytes();
        bytes.into_iter().take_while(|byte| *byte != 0).collect()
    }

    /// Appends its bytes: the name behind its length.
    pub fn write(self, out: &mut impl Sink) {
        let length = Self::MAX_BYTES - self.0.trailing_zeros() as usize / 8;
        varint::write(out, length as u64);
        out.append_word(self.0.swap_bytes(), length);
    }

    /// Reads what [`Region::write`] wrote.
    pub fn read(source: &mut Source) -> Option<Self> {
        match source.string(Self::MAX_BYTES)? {
            [] => Some(Self::UNNAMED),
            name => Self::parse(name),
        }
    }
}

impl fmt::Display for Region {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&String::from_utf8_lossy(&self.name()))
    }
}

/// A region, and since when it has used what it has: by its own clock, and no two beginnings at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// Whose it is.
    pub region: Region,
    /// Its beginning, in Unix milliseconds.
    pub began_ms: u64,
}

impl Origin {
    /// Appends its bytes.
    pub fn write(self, out: &mut impl Sink) {
        self.region.write(out);
        varint::write(out, self.began_ms);
    }

    /// Reads what [`Origin::write`] wrote.
    pub fn read(source: &mut Source) -> Option<Self> {
        Some(Self {
            region: Region::read(source)?,
            began_ms: source.at_most(MAX_TIME_MS)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_number_and_none_is_nobody_s() {
        let eu = Region::parse(b"eu").unwrap();
        assert_eq!(eu.number(), 0x6575 << 48);
        assert_eq!(eu.to_string(), "eu");
        assert_eq!(Region::of_number(eu.number()), Some(eu));
        assert_eq!(Region::of_number(Region::UNNAMED.number()), None);
        assert!(eu.is_named() && !Region::UNNAMED.is_named());
    }
}
