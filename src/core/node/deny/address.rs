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

use crate::core::error::{written, Error, MAX_VALUE_BYTES};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::BitAnd;

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

/// An address family, by the number that an address is.
pub trait Family: Copy + Ord + BitAnd<Output = Self> {
    /// The first `length` bits.
    fn mask(length: u8) -> Self;
    /// A range as a value.
    fn value<'a>(net: Net<Self>) -> Value<'a>;
}

impl Family for u32 {
    fn mask(length: u8) -> Self {
        let host_bits = Self::BITS.saturating_sub(length.into());
        Self::MAX.checked_shl(host_bits).unwrap_or(0)
    }
    fn value<'a>(net: Net<Self>) -> Value<'a> {
        Value::V4(net)
    }
}

impl Family for u128 {
    fn mask(length: u8) -> Self {
        let host_bits = Self::BITS.saturating_sub(length.into());
        Self::MAX.checked_shl(host_bits).unwrap_or(0)
    }
    fn value<'a>(net: Net<Self>) -> Value<'a> {
        Value::V6(net)
    }
}

impl<A: Family> Net<A> {
    /// Its lowest address, or that of the range of its first `length` bits.
    pub fn start(self, length: u8) -> A {
        self.base & A::mask(length)
    }

    /// Whether one covers the other.
    pub fn touches(self, other: Self) -> bool {
        let length = self.length.min(other.length);
        self.start(length) == other.start(length)
    }
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

    /// The lowest address and the length; `None` of a text.
    pub(super) fn network(&self) -> Option<(IpAddr, u8)> {
        match self {
            Self::V4(net) => Some((Ipv4Addr::from_bits(net.base).into(), net.length)),
            Self::V6(net) => Some((Ipv6Addr::from_bits(net.base).into(), net.length)),
            Self::Text(_) => None,
        }
    }

    /// Whether a range begins where its length says.
    pub(super) fn has_no_host_bits(&self) -> bool {
        match self {
            Self::V4(net) => net.base == net.start(net.length),
            Self::V6(net) => net.base == net.start(net.length),
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
                IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() & u32::mask(length)).into(),
                IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & u128::mask(length)).into(),
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
    match Value::parse(bare).network() {
        None => refuse_lookalike(bare, at),
        Some((base, length)) => Err(Error::Arrived { at, base, length }),
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
        if let Value::Text(text) = value {
            return text.to_vec();
        }
        let network = value.network();
        let text = network.map(|(base, length)| written(base, length));
        text.unwrap_or_default().into_bytes()
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
        let behind = rest.get(digits..)?;
        if let [b'.', ..] = behind {
            address = address << 32 | u128::from(parse_v4(rest)?);
            groups += 2;
            break;
        }
        address = address << 16 | group;
        groups += 1;
        rest = match behind {
            [b':', b':', tail @ ..] if gap.is_none() => {
                gap = Some(groups);
                tail
            }
            [b':', tail @ ..] if !tail.is_empty() => tail,
            [] => break,
            _ => return None,
        };
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
mod tests;
