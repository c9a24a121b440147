//! What a value is: an IPv4 or IPv6 address, a CIDR range of them, or a text that matches only itself.
//!
//! An address is a range of full length, so `1.2.3.4` and `1.2.3.4/32` are one value. What is read as what:
//!
//! | text | value |
//! |---|---|
//! | `1.2.3.4` `1.2.3.4/32` `::ffff:1.2.3.4` `::FFFF:102:304` `::ffff:1.2.3.4/128` | the IPv4 address 1.2.3.4 |
//! | `10.0.0.0/8` `::ffff:10.0.0.0/104` | the IPv4 range 10.0.0.0/8 |
//! | `2001:DB8:0::1` `2001:db8::1/128` | the IPv6 address 2001:db8::1 |
//! | `::/0` | every IPv6 address, and no IPv4 address: the families are apart |
//! | `alice` `12345` `aa:bb:cc:dd:ee:ff` `1.2.3` `10.0.0.7/login` | a text |
//! | `010.0.0.1` `256.1.1.1` `1.2.3.4/33` `10.0.0.1/8` `10.0/16` `10.0.0.0/255.0.0.0` `:::1` | refused by [`Value::parse_new`] |
//! | `1.2.3.4:443` `[2001:db8::1]:443` `[2001:db8::1]` `fe80::1%eth0` ` 1.2.3.4 ` | refused too: an address as it arrives in the wild |
//!
//! The last row is how sockets and proxies write addresses. What is *checked* may be written so ([`Value::parse_arrived`]);
//! what is added may not, as it would look as if it meant one port. The row before looks like an address or a range and is none. Kept as a text it would deny nobody, and nobody would
//! notice; so it is refused when it is added. `010` is octal 8 to some programs and 10 to others. `10.0.0.1/8` is either
//! one address or sixteen million: whoever wrote it has to say which. [`Value::parse`], which reads what is *checked*
//! (often straight from the traffic), never refuses: there such a value is a text that no list can hold.

use crate::core::error::{Error, MAX_VALUE_BYTES};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A range: `base` with the first `length` bits fixed, all later bits 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Net<A> {
    /// How many leading bits are fixed: 0 ..= 32 or 128; all of them for an address.
    pub length: u8,
    /// The lowest address in the range.
    pub base: A,
}

/// A value of a deny list. The order is that of the encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value<'a> {
    /// An IPv4 address or range.
    V4(Net<u32>),
    /// An IPv6 address or range outside `::ffff:0:0/96`, whose addresses are IPv4.
    V6(Net<u128>),
    /// Anything else, byte for byte.
    Text(&'a [u8]),
}

/// The bits that a range of `length` fixes in an IPv4 address.
pub fn mask_v4(length: u8) -> u32 {
    u32::MAX
        .checked_shl(32_u32.saturating_sub(length.into()))
        .unwrap_or(0)
}

/// The bits that a range of `length` fixes in an IPv6 address.
pub fn mask_v6(length: u8) -> u128 {
    u128::MAX
        .checked_shl(128_u32.saturating_sub(length.into()))
        .unwrap_or(0)
}

impl<'a> Value<'a> {
    /// Reads a value that is to be checked or removed. Never refuses.
    pub fn parse(text: &'a [u8]) -> Self {
        // First what the hot path is asked most.
        if let Some(base) = parse_v4(text) {
            return Self::V4(Net { length: 32, base });
        }
        // No text of an address is longer, and each has a colon or a slash.
        if text.len() > 49 || !text.iter().any(|byte| matches!(byte, b':' | b'/')) {
            return Self::Text(text);
        }
        Self::parse_address(text).unwrap_or(Self::Text(text))
    }

    /// Reads a value that is to be added, and refuses what looks like an address or a range and is none. `at` is its place on
    /// the command line.
    pub fn parse_new(text: &'a [u8], at: usize) -> Result<Self, Error> {
        if text.is_empty() {
            return Err(Error::EmptyValue { at });
        }
        if text.len() > MAX_VALUE_BYTES {
            return Err(Error::LongValue { at });
        }
        match Self::parse(text) {
            Self::Text(_) => {
                refuse_arrived(text, at)?;
                refuse_lookalike(text, at)?;
                Ok(Self::Text(text))
            }
            address => Ok(address),
        }
    }

    /// Reads an address with what is around it in the wild: spaces, a port, brackets, a zone. `None` where it is none.
    pub fn parse_arrived(text: &[u8]) -> Option<Value<'static>> {
        // Most texts that are no address begin like none.
        let first = *text.trim_ascii_start().first()?;
        if !(first.is_ascii_hexdigit() || matches!(first, b':' | b'[')) {
            return None;
        }
        let address = parse_ip(bare(text))?;
        Some(Value::range(address, None))
    }

    /// How many bytes of text it is.
    pub(super) fn text_bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::V4(_) | Self::V6(_) => 0,
        }
    }

    /// An address or a range in any spelling but plain IPv4.
    fn parse_address(text: &[u8]) -> Option<Self> {
        let Some((address, length)) = split_range(text) else {
            return Some(Self::range(parse_ip(text)?, None));
        };
        let address = parse_ip(address)?;
        let length = parse_length(length, address)?;
        let value = Self::range(address, Some(length));
        value.has_no_host_bits().then_some(value)
    }

    /// A range of `length`, or the address alone; IPv4 in IPv6 clothes becomes IPv4.
    fn range(address: IpAddr, length: Option<u8>) -> Self {
        match address {
            IpAddr::V4(v4) => Self::V4(Net {
                length: length.unwrap_or(32),
                base: v4.to_bits(),
            }),
            IpAddr::V6(v6) => {
                let length = length.unwrap_or(128);
                match (v6.to_ipv4_mapped(), length.checked_sub(96)) {
                    (Some(v4), Some(length)) => Self::V4(Net {
                        length,
                        base: v4.to_bits(),
                    }),
                    _ => Self::V6(Net {
                        length,
                        base: v6.to_bits(),
                    }),
                }
            }
        }
    }

    /// Whether a range begins where its length says.
    pub(super) fn has_no_host_bits(&self) -> bool {
        match self {
            Self::V4(net) => net.base & !mask_v4(net.length) == 0,
            Self::V6(net) => net.base & !mask_v6(net.length) == 0,
            Self::Text(_) => true,
        }
    }
}

/// Refuses a text that somebody meant as an address or a range.
fn refuse_lookalike(text: &[u8], at: usize) -> Result<(), Error> {
    let Some((address, length)) = split_range(text) else {
        let dotted =
            text.iter().all(|b| b.is_ascii_digit() || *b == b'.') && count(text, b'.') == 3;
        let colons = is_hex_and_colons(text) && text.windows(2).any(|pair| pair == b"::");
        return if dotted || colons {
            Err(Error::NoAddress { at })
        } else {
            Ok(())
        };
    };
    if let Some(ip) = parse_ip(address) {
        if let Some(length) = parse_length(length, ip) {
            let base = match ip {
                IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() & mask_v4(length)).into(),
                IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & mask_v6(length)).into(),
            };
            return Err(Error::HostBits { at, base, length });
        }
    }
    let dotted =
        address.iter().all(|b| b.is_ascii_digit() || *b == b'.') && count(address, b'.') > 0;
    let colons = is_hex_and_colons(address) && count(address, b':') > 1;
    let numeric = length.iter().all(|b| b.is_ascii_digit() || *b == b'.');
    if numeric && (dotted || colons) {
        Err(Error::NoRange { at })
    } else {
        Ok(())
    }
}

/// Refuses an address or a range with something around it, whether it is one or looks like one.
fn refuse_arrived(text: &[u8], at: usize) -> Result<(), Error> {
    let bare = bare(text);
    match Value::parse(bare) {
        Value::Text(_) => refuse_lookalike(bare, at),
        Value::V4(Net { length, base }) => Err(Error::Arrived {
            at,
            base: Ipv4Addr::from_bits(base).into(),
            length,
        }),
        Value::V6(Net { length, base }) => Err(Error::Arrived {
            at,
            base: Ipv6Addr::from_bits(base).into(),
            length,
        }),
    }
}

/// A text without the spaces, the brackets, the port and the zone that an address may have around it.
fn bare(text: &[u8]) -> &[u8] {
    let text = text.trim_ascii();
    let before = |byte| {
        let at = text.iter().position(|other| *other == byte)?;
        text.get(..at)
    };
    let text = match text.strip_prefix(b"[") {
        Some(inside) => {
            let end = inside.iter().position(|byte| *byte == b']');
            let parts = end.and_then(|end| inside.split_at_checked(end));
            match parts {
                Some((inside, [b']'])) => inside,
                Some((inside, [b']', b':', port @ ..])) if is_port(port) => inside,
                _ => return text,
            }
        }
        None if before(b'%').is_some() => text,
        // Without brackets, only behind an IPv4 address (perhaps the end of an IPv6 one) a colon begins a port.
        None => match text.iter().rposition(|byte| matches!(byte, b':' | b'.')) {
            Some(at) if text.contains(&b'.') => match text.split_at_checked(at) {
                Some((address, [b':', port @ ..])) if is_port(port) => address,
                _ => text,
            },
            _ => text,
        },
    };
    match text.iter().position(|byte| *byte == b'%') {
        Some(zone) => text.get(..zone).unwrap_or(text),
        None => text,
    }
}

/// A port's digits; there may be none, as in a URL.
fn is_port(text: &[u8]) -> bool {
    text.iter().all(u8::is_ascii_digit)
}

/// The canonical text, as bytes: `1.2.3.4`, `10.0.0.0/8`, `2001:db8::1` (RFC 5952), or the text itself.
impl From<Value<'_>> for Vec<u8> {
    fn from(value: Value<'_>) -> Self {
        match value {
            Value::V4(Net { length: 32, base }) => {
                Ipv4Addr::from_bits(base).to_string().into_bytes()
            }
            Value::V4(Net { length, base }) => {
                format!("{}/{length}", Ipv4Addr::from_bits(base)).into_bytes()
            }
            Value::V6(Net { length: 128, base }) => {
                Ipv6Addr::from_bits(base).to_string().into_bytes()
            }
            Value::V6(Net { length, base }) => {
                format!("{}/{length}", Ipv6Addr::from_bits(base)).into_bytes()
            }
            Value::Text(text) => text.to_vec(),
        }
    }
}

/// Four numbers 0 ..= 255 without leading zeros, with dots between them: what [`Ipv4Addr`] reads, in half the
/// instructions.
fn parse_v4(text: &[u8]) -> Option<u32> {
    if !(7..=15).contains(&text.len()) {
        return None;
    }
    let mut address = 0;
    let mut dots = 0;
    let mut number = 0_u64; // 15 digits fit
    let mut digits = 0;
    for byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit < 10 {
            number = number * 10 + u64::from(digit);
            digits += 1;
        } else if *byte == b'.' {
            address = address << 8 | octet(number, digits)?;
            dots += 1;
            number = 0;
            digits = 0;
        } else {
            return None;
        }
    }
    let address = address << 8 | octet(number, digits)?;
    // With five numbers the first would have been lost.
    if dots == 3 {
        u32::try_from(address).ok()
    } else {
        None
    }
}

/// A number of `digits` digits, where it is at most 255 and has no leading zero.
fn octet(number: u64, digits: u32) -> Option<u64> {
    let least = match digits {
        1 => 0,
        2 => 10,
        3 => 100,
        _ => return None,
    };
    (least..=255).contains(&number).then_some(number)
}

/// Up to eight groups of up to four hexadecimal digits, `::` for one group of zeros or more, the last two groups also as
/// an IPv4 address: what [`Ipv6Addr`] reads, in a fifth of the instructions.
fn parse_v6(text: &[u8]) -> Option<u128> {
    let mut rest = text;
    let mut address = 0_u128;
    let mut groups = 0;
    let mut gap = None; // how many groups are before the ::
    if let Some(tail) = rest.strip_prefix(b"::") {
        gap = Some(0);
        rest = tail;
    }
    while !rest.is_empty() {
        if groups == 8 {
            return None;
        }
        let mut group = 0_u128;
        let mut digits = 0;
        for byte in rest.iter().take(5) {
            let Some(digit) = hex_digit(*byte) else { break };
            group = group << 4 | u128::from(digit);
            digits += 1;
        }
        if !(1..=4).contains(&digits) {
            return None;
        }
        match rest.get(digits..)? {
            [] => {
                address = address << 16 | group;
                groups += 1;
                break;
            }
            [b'.', ..] if groups <= 6 => {
                address = address << 32 | u128::from(parse_v4(rest)?);
                groups += 2;
                break;
            }
            [b':', b':', tail @ ..] if gap.is_none() => {
                address = address << 16 | group;
                groups += 1;
                gap = Some(groups);
                rest = tail;
            }
            [b':', tail @ ..] if !tail.is_empty() => {
                address = address << 16 | group;
                groups += 1;
                rest = tail;
            }
            _ => return None,
        }
    }
    match gap {
        None => (groups == 8).then_some(address),
        Some(before) => {
            // What was read last moves behind the zeros, which are one group at least.
            let after = 16 * (groups - before);
            let zeros = 8_u32.checked_sub(groups).filter(|zeros| *zeros > 0)?;
            let low = address & !u128::MAX.checked_shl(after).unwrap_or(0);
            let high = address >> after;
            Some(high.checked_shl(after + 16 * zeros).unwrap_or(0) | low)
        }
    }
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// An address of either family.
fn parse_ip(text: &[u8]) -> Option<IpAddr> {
    match parse_v4(text) {
        Some(v4) => Some(Ipv4Addr::from_bits(v4).into()),
        None => Some(Ipv6Addr::from_bits(parse_v6(text)?).into()),
    }
}

/// A range's length in decimal, without a sign or leading zeros, within what the family has.
fn parse_length(text: &[u8], address: IpAddr) -> Option<u8> {
    let most = if address.is_ipv4() { 32 } else { 128 };
    if !(1..=3).contains(&text.len())
        || !text.iter().all(u8::is_ascii_digit)
        || (text.len() > 1 && text.first() == Some(&b'0'))
    {
        return None;
    }
    let length = std::str::from_utf8(text).ok()?.parse().ok()?;
    (length <= most).then_some(length)
}

/// What is before and after the first slash.
fn split_range(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|byte| *byte == b'/')?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

fn count(text: &[u8], byte: u8) -> usize {
    text.iter().filter(|b| **b == byte).count()
}

fn is_hex_and_colons(text: &[u8]) -> bool {
    text.iter()
        .all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> Result<String, Error> {
        Value::parse_new(text.as_bytes(), 3).map(|value| String::from_utf8(value.into()).unwrap())
    }

    fn is_text(text: &str) -> bool {
        Value::parse(text.as_bytes()) == Value::Text(text.as_bytes())
    }

    #[test]
    fn every_spelling_is_one_value() {
        for (text, expected) in [
            ("1.2.3.4", "1.2.3.4"),
            ("1.2.3.4/32", "1.2.3.4"),
            ("0.0.0.0", "0.0.0.0"),
            ("255.255.255.255", "255.255.255.255"),
            ("::ffff:1.2.3.4", "1.2.3.4"),
            ("::FFFF:102:304", "1.2.3.4"),
            ("0:0:0:0:0:ffff:1.2.3.4", "1.2.3.4"),
            ("::ffff:1.2.3.4/128", "1.2.3.4"),
            (
                "0000:0000:0000:0000:0000:ffff:255.255.255.255/128",
                "255.255.255.255",
            ),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("2001:DB8:0::1", "2001:db8::1"),
            ("2001:0db8::0001/128", "2001:db8::1"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("::1.2.3.4", "::102:304"),
            ("::", "::"),
            ("::/0", "::/0"),
            ("::fffe:0:0/95", "::fffe:0:0/95"),
        ] {
            assert_eq!(canonical(text).as_deref(), Ok(expected), "{text}");
            assert!(!is_text(text), "{text}");
            assert_eq!(canonical(expected).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn the_rest_is_text() {
        for text in [
            "alice",
            "12345",
            "1.2.3",
            "1.2.3.4.5",
            "aa:bb:cc:dd:ee:ff",
            "12:34:56",
            "a::b::c::x",
            "10.0.0.7/login",
            "user/42",
            " alice ",
            "alice:80",
            "example.org:80",
            "[alice]",
            "[]",
            "50%",
            "2001:db8::1]:80x",
            "1.2.3.4:80x",
            "2024/10",
            "cafe",
            "a:b/7",
            "/",
            "/8",
            ":",
            ".",
            "1.2.3.4/-1",
            "1.2.3.4/+8",
            "[2001:db8::1]:x",
            "\u{e9}",
        ] {
            assert_eq!(canonical(text).as_deref(), Ok(text));
            assert!(is_text(text), "{text}");
        }
        assert_eq!(
            Value::parse_new(b"\xff\0/8", 3),
            Ok(Value::Text(b"\xff\0/8"))
        );
    }

    #[test]
    fn what_only_looks_like_an_address_is_refused() {
        for text in [
            "010.0.0.1",
            "1.2.3.04",
            "256.1.1.1",
            "1.2.3.1000",
            "1..2.3",
            "...",
            ":::",
            "1::2::3",
            "::12345",
            "::ffff:1.2.3.256",
        ] {
            assert_eq!(canonical(text), Err(Error::NoAddress { at: 3 }), "{text}");
            assert!(is_text(text), "{text}");
        }
        for text in [
            "1.2.3.4/33",
            "1.2.3.4/",
            "1.2.3.4/08",
            "1.2.3.4/00",
            "1.2.3.4/999",
            "10.0/16",
            "10.0.0.0/255.0.0.0",
            "010.0.0.0/8",
            "256.0.0.0/8",
            "::/129",
            "::1/",
            "2001:db8:/32",
            "::1::/64",
            "1.2.3.4/4294967304",
        ] {
            assert_eq!(canonical(text), Err(Error::NoRange { at: 3 }), "{text}");
            assert!(is_text(text), "{text}");
        }
        for (text, meant) in [
            ("10.0.0.1/8", "10.0.0.0/8"),
            ("2001:db8::1/32", "2001:db8::/32"),
            ("::1/0", "::/0"),
            ("1.2.3.4/31", "1.2.3.4/31"),
        ] {
            let host_bits = if text == meant {
                None
            } else {
                Some(format!(
                    "ERR argument 3 (value) has bits set past its length: the range would be {meant}"
                ))
            };
            assert_eq!(
                canonical(text).err().map(|error| error.to_string()),
                host_bits,
                "{text}"
            );
        }
        assert_eq!(canonical(""), Err(Error::EmptyValue { at: 3 }));
        assert!(canonical(&"x".repeat(MAX_VALUE_BYTES)).is_ok());
        assert_eq!(
            canonical(&"x".repeat(MAX_VALUE_BYTES + 1)),
            Err(Error::LongValue { at: 3 })
        );
    }

    /// As sockets and proxies write them: read as the address where they are checked, refused where they are added.
    #[test]
    fn an_address_as_it_arrives_is_read_but_not_added() {
        for (text, address) in [
            ("192.0.2.7:443", "192.0.2.7"),
            ("192.0.2.7:", "192.0.2.7"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("[2001:DB8::1]", "2001:db8::1"),
            ("fe80::1%eth0", "fe80::1"),
            ("[fe80::1%eth0]:443", "fe80::1"),
            (" 192.0.2.7", "192.0.2.7"),
            ("192.0.2.7\r\n", "192.0.2.7"),
            ("\t2001:db8::1 ", "2001:db8::1"),
            ("[::ffff:192.0.2.7]:443", "192.0.2.7"),
            ("::ffff:192.0.2.7:443", "192.0.2.7"),
            ("[192.0.2.7]", "192.0.2.7"),
        ] {
            assert!(is_text(text), "{text}: as it is written, it is none");
            let arrived = Value::parse_arrived(text.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(arrived.into()).unwrap(), address);
            let refused = canonical(text).unwrap_err().to_string();
            let expected = format!(
                "ERR argument 3 (value) has spaces, brackets, a port or a zone: write {address}"
            );
            assert_eq!(refused, expected);
        }
        for (text, says) in [
            (" 10.0.0.0/8", "write 10.0.0.0/8"),
            ("[2001:db8::/32]", "write 2001:db8::/32"),
            ("256.1.1.1:80", "looks like an IP address"),
            ("[:::1]:80", "looks like an IP address"),
            (" 10.0.0.1/8", "the range would be 10.0.0.0/8"),
        ] {
            assert_eq!(Value::parse_arrived(text.as_bytes()), None, "{text}");
            let refused = canonical(text).unwrap_err().to_string();
            assert!(refused.contains(says), "{text}: {refused}");
        }
    }

    /// Whatever the standard library reads as the address of a socket or of a host, with spaces around it.
    #[test]
    fn every_socket_address_is_read_as_its_host() {
        let mut state = 3;
        let mut read = 0;
        for _ in 0..200_000 {
            let v4 = Ipv4Addr::from_bits(u32::try_from(lcg(&mut state) & 0xffff_ffff).unwrap());
            let groups = [(); 8].map(|()| match lcg(&mut state) % 3 {
                0 => 0,
                _ => u16::try_from(lcg(&mut state) & 0xffff).unwrap(),
            });
            let (v6, port) = (Ipv6Addr::from(groups), lcg(&mut state) % 65_536);
            let mut text = match lcg(&mut state) % 8 {
                0 => v4.to_string(),
                1 => format!("{v4}:{port}"),
                2 => v6.to_string(),
                3 => format!("[{v6}]:{port}"),
                4 => format!("[{v6}%{}]:{port}", port % 9),
                5 => format!("{v6}%eth{}", port % 9),
                6 => format!("::ffff:{v4}"),
                _ => format!("[::ffff:{v4}]:{port}"),
            }
            .into_bytes();
            if lcg(&mut state).is_multiple_of(2) {
                let at = lcg(&mut state) % text.len();
                let byte = b"0123456789.:[]%/ a"[lcg(&mut state) % 18];
                match lcg(&mut state) % 3 {
                    0 => text[at] = byte,
                    1 => text.insert(at, byte),
                    _ => drop(text.remove(at)),
                }
            }
            let plain = std::str::from_utf8(&text).unwrap();
            let host = |text: &str| text.parse::<IpAddr>().ok();
            let expected =
                host(plain).or_else(|| plain.parse().ok().map(|it: std::net::SocketAddr| it.ip()));
            let Some(expected) = expected else {
                continue;
            };
            read += 1;
            let text = [b" ", text.as_slice(), b"\t"].concat();
            let expected = Value::range(expected, None);
            assert_eq!(Value::parse_arrived(&text), Some(expected), "{plain}");
            assert!(Value::parse_new(&text, 3).is_err(), "{plain}");
        }
        assert!(read > 100_000, "{read}");
    }

    #[test]
    fn masks_fix_the_leading_bits() {
        for length in 0..=32_u8 {
            assert_eq!(
                (mask_v4(length).leading_ones(), mask_v4(length).count_ones()),
                (length.into(), length.into())
            );
        }
        for length in 0..=128_u8 {
            assert_eq!(
                (mask_v6(length).leading_ones(), mask_v6(length).count_ones()),
                (length.into(), length.into())
            );
        }
    }

    fn lcg(state: &mut u64) -> usize {
        *state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(*state >> 33).unwrap()
    }

    /// The reader of IPv6 against the standard library's: texts put together of what addresses are made of.
    #[test]
    fn reads_ipv6_as_the_standard_library_does() {
        let mut state = 2;
        let (mut right, mut wrong) = (0, 0);
        for _ in 0..400_000 {
            let mut text = String::new();
            let parts = 1 + lcg(&mut state) % 9;
            let gap = lcg(&mut state) % (parts * 2);
            for part in 0..parts {
                if part > 0 {
                    text.push(':');
                }
                if part == gap {
                    text.push_str(if part == 0 || part + 1 == parts {
                        "::"
                    } else {
                        ":"
                    });
                }
                match lcg(&mut state) % 40 {
                    0 => text.push_str("12345"),
                    1 => text.push('g'),
                    2 | 3 if part + 1 < parts => {}
                    4..=20 if part + 1 == parts => text.push_str("1.22.255.0"),
                    5 => text.push_str("1.2.3.4"),
                    6..=20 => text.push_str(&format!("{:04x}", lcg(&mut state) & 0xffff)),
                    21..=24 => text.push('0'),
                    _ => text.push_str(&format!("{:X}", lcg(&mut state) & 0xffff)),
                }
            }
            if lcg(&mut state).is_multiple_of(20) {
                text.push(':');
            }
            let expected = text.parse().ok().map(Ipv6Addr::to_bits);
            assert_eq!(parse_v6(text.as_bytes()), expected, "{text}");
            *(if expected.is_some() {
                &mut right
            } else {
                &mut wrong
            }) += 1;
        }
        assert!(
            right > 50_000 && wrong > 50_000,
            "{right} right, {wrong} wrong"
        );
        for text in [
            "",
            "::",
            ":::",
            "::1",
            "1::",
            ":1",
            "1:",
            "1:2:3:4:5:6:7::",
            "::2:3:4:5:6:7:8",
            "1:2:3:4::5:6:7:8",
            "::1.2.3.4",
            "1:2:3:4:5:6:7:1.2.3.4",
            "1.2.3.4",
            "1:2:3:4:5:6:1.2.3.4",
            "::1.2.3.4:5",
            "1::2::3",
        ] {
            assert_eq!(
                parse_v6(text.as_bytes()),
                text.parse().ok().map(Ipv6Addr::to_bits),
                "{text}"
            );
        }
    }

    /// The reader of IPv4 against the standard library's, on right addresses and on ones with a byte changed.
    #[test]
    fn reads_ipv4_as_the_standard_library_does() {
        let mut state = 1_u64;
        let mut random = || lcg(&mut state);
        let mut right = 0;
        for _ in 0..200_000 {
            let mut text: Vec<u8> = Vec::new();
            for octet in 0..4 {
                let number = match random() % 8 {
                    0 => random() % 10,
                    1 => 250 + random() % 10,
                    _ => random() % 256,
                };
                text.extend_from_slice(if octet > 0 { b"." } else { b"" });
                text.extend_from_slice(number.to_string().as_bytes());
            }
            if random() % 2 == 0 {
                let at = random() % text.len();
                let byte = b"0123456789./:a"[random() % 14];
                match random() % 3 {
                    0 => text[at] = byte,
                    1 => text.insert(at, byte),
                    _ => drop(text.remove(at)),
                }
            }
            let expected = std::str::from_utf8(&text)
                .unwrap()
                .parse()
                .ok()
                .map(Ipv4Addr::to_bits);
            assert_eq!(
                parse_v4(&text),
                expected,
                "{}",
                String::from_utf8_lossy(&text)
            );
            right += usize::from(expected.is_some());
        }
        assert!(
            right > 100_000 && right < 190_000,
            "{right} right addresses"
        );
    }
}
