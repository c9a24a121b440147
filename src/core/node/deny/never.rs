//! What no deny list may deny, whoever asks for it: the node's own addresses, those of its operators and of its proxies.

use std::slice;

use super::address::{Net, Value};
use crate::core::error::Error;

/// The most values that are protected.
const MAX_PROTECTED: usize = 1_000;

/// What everybody means by a word. As a text it would protect nobody, and nothing would say so.
const NAMED: [(&[u8], &[&[u8]]); 2] = [
    (b"loopback", &[b"127.0.0.0/8", b"::1"]),
    (
        b"private",
        &[
            b"10.0.0.0/8",
            b"172.16.0.0/12",
            b"192.168.0.0/16",
            b"fc00::/7",
        ],
    ),
];

/// Values that are never denied. They are few, so they are gone through one by one, and only when a list has a match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Never {
    v4: Vec<(Net<u32>, usize)>,
    v6: Vec<(Net<u128>, usize)>,
    texts: Vec<(Box<[u8]>, usize)>,
}

impl Never {
    /// Reads values, and names of ranges, with white space between them. The error is about the n-th of them, or says that they are too many.
    pub fn read(text: &[u8]) -> Result<Self, Error> {
        let mut never = Self::default();
        let words = text.split(u8::is_ascii_whitespace);
        for (index, word) in words.filter(|word| !word.is_empty()).enumerate() {
            let place = index + 1;
            if index == MAX_PROTECTED {
                let (what, max) = ("values", MAX_PROTECTED);
                return Err(Error::TooMany {
                    at: place,
                    what,
                    max,
                });
            }
            let named = NAMED.iter().find(|(name, _)| *name == word);
            for value in named.map_or(slice::from_ref(&word), |(_, ranges)| ranges) {
                match Value::parse_new(value, place)? {
                    Value::V4(net) => never.v4.push((net, place)),
                    Value::V6(net) => never.v6.push((net, place)),
                    Value::Text(text) => never.texts.push((text.into(), place)),
                }
            }
        }
        Ok(never)
    }

    /// Which of them, from 1, a value is, covers, or is covered by.
    #[inline]
    pub fn touched_by(&self, value: Value<'_>) -> Option<usize> {
        match value {
            Value::V4(net) => first(&self.v4, |other| net.touches(*other)),
            Value::V6(net) => first(&self.v6, |other| net.touches(*other)),
            Value::Text(text) => first(&self.texts, |other| **other == *text),
        }
    }
}

/// The place of the first that is it.
fn first<T>(values: &[(T, usize)], is_it: impl Fn(&T) -> bool) -> Option<usize> {
    let found = values.iter().find(|(value, _)| is_it(value));
    found.map(|(_, place)| *place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_protected_is_touched_from_above_and_from_below() {
        let never = Never::read(b" 127.0.0.0/8 ::1\t10.1.0.0/16\nadmin 2001:db8::/32 ").unwrap();
        for (value, place) in [
            ("127.0.0.1", Some(1)),
            ("127.0.0.0/9", Some(1)),
            ("0.0.0.0/0", Some(1)),
            ("::ffff:127.0.0.1", Some(1)),
            ("::1", Some(2)),
            ("::/0", Some(2)),
            ("10.0.0.0/8", Some(3)),
            ("10.1.255.255", Some(3)),
            ("admin", Some(4)),
            ("2001:db8:1::/48", Some(5)),
            ("2001:db8::/31", Some(5)),
            ("126.255.255.255", None),
            ("128.0.0.0/1", None),
            ("10.2.0.0/16", None),
            ("::2", None),
            ("2001:db9::/32", None),
            ("Admin", None),
        ] {
            assert_eq!(
                never.touched_by(Value::parse(value.as_bytes())),
                place,
                "{value}"
            );
        }
        let nothing = Never::read(b"  ").unwrap();
        assert_eq!(nothing, Never::default());
        assert_eq!(nothing.touched_by(Value::parse(b"0.0.0.0/0")), None);
    }

    #[test]
    fn ranges_have_names_and_the_place_of_their_name() {
        let never = Never::read(b"admin loopback private 203.0.113.7").unwrap();
        for (value, place) in [
            ("127.1.2.3", Some(2)),
            ("::1", Some(2)),
            ("10.1.2.3", Some(3)),
            ("172.31.255.255", Some(3)),
            ("192.168.0.0/15", Some(3)),
            ("fd00::/8", Some(3)),
            ("203.0.113.0/24", Some(4)),
            ("172.32.0.0", None),
            ("192.169.0.0/16", None),
            ("100.64.0.1", None),
            ("fe80::1", None),
            ("loopback", None),
        ] {
            let found = never.touched_by(Value::parse(value.as_bytes()));
            assert_eq!(found, place, "{value}");
        }
    }

    #[test]
    fn what_is_no_value_is_refused_by_its_place() {
        assert_eq!(
            Never::read(b"::1 10.0.0.1/8"),
            Value::parse_new(b"10.0.0.1/8", 2).map(|_| Never::default())
        );
        assert!(Never::read(b"::1 10.0.0.1/8").is_err());
        assert!(Never::read("a ".repeat(1_000).as_bytes()).is_ok());
        assert!(Never::read("a ".repeat(1_001).as_bytes()).is_err());
    }
}
