//! The bytes of deny lists: for the RDB, for replicas, and, in chunks, for an AOF rewrite.
//!
//! ```text
//! encoding = version (1)  list*  0
//! list     = name length (1 byte, 1 ..= 128)  name  entry+  0
//! entry    = 4  length (0 ..= 32)   4 bytes, network order     an IPv4 address or range
//!          | 6  length (0 ..= 128)  16 bytes, network order    an IPv6 address or range
//!          | 1  length (2 bytes, little endian)  bytes         a text
//!            the first byte + 128: then follow 8 bytes, little endian: it ends at this millisecond
//!            the first byte + 192: and 8 bytes more: the milliseconds that it was given (earlier versions wrote none)
//! ```
//!
//! There is one encoding of one content: lists are sorted by name, entries by [`Value`]'s order, nothing is there twice,
//! no list is empty, and every value is in its canonical form. Decoding refuses anything else, before it allocates.

use super::address::{Net, Value};
use super::key::Seed;
use super::until::Until;
use super::{Bounds, Lists};
use crate::core::bytes::source::Source;
use crate::core::error::{MAX_NAME_BYTES, MAX_VALUE_BYTES};
use crate::core::node::ends::Ends;
use sha2::{Digest, Sha256};

const VERSION: u8 = 1;
const TEXT: u8 = 1;
const V4: u8 = 4;
const V6: u8 = 6;
const TEMPORARY: u8 = 128;
const GIVEN: u8 = 64;

impl Lists {
    /// Everything that holds at `now_ms`.
    pub fn encode(&self, now_ms: u64) -> Vec<u8> {
        let mut all = Vec::new();
        self.encode_chunks(now_ms, usize::MAX, |chunk| all = chunk);
        if all.is_empty() {
            vec![VERSION, 0]
        } else {
            all
        }
    }

    /// Everything that holds at `now_ms`, as encodings of at most `max_entries` (at least 1) each, to be put together
    /// again by [`Lists::merge`]. None, where there is nothing.
    pub fn encode_chunks(&self, now_ms: u64, max_entries: usize, mut emit: impl FnMut(Vec<u8>)) {
        let mut chunk = Vec::new();
        let mut entries = 0;
        for named in &self.lists {
            let mut is_open = false;
            named.list.visit_sorted(self.seed, now_ms, |value, until| {
                if entries >= max_entries.max(1) {
                    // Ends the list, if one is open, and the encoding.
                    chunk.extend_from_slice(if is_open { &[0, 0] } else { &[0] });
                    emit(std::mem::take(&mut chunk));
                    entries = 0;
                    is_open = false;
                }
                if chunk.is_empty() {
                    chunk.push(VERSION);
                }
                if !is_open {
                    begin_list(&mut chunk, &named.name);
                    is_open = true;
                }
                encode_entry(&mut chunk, value, until);
                entries += 1;
            });
            if is_open {
                chunk.push(0);
            }
        }
        if !chunk.is_empty() {
            chunk.push(0);
            emit(chunk);
        }
    }

    /// Reads what [`Lists::encode`] wrote, without bounds: what was accepted once is not lost to a setting that was
    /// lowered since. Entries that have expired in the meantime are read too, so that the same bytes always give the
    /// same lists.
    pub fn decode(bytes: &[u8], seed: Seed) -> Option<Self> {
        let mut lists = Self::new(seed);
        lists.merge(bytes, 0).then_some(lists)
    }

    /// Adds the entries of an encoding, without bounds. Where the value is in the list already, the encoding says how
    /// long it holds. Whether it did: bytes that are no encoding are refused, and change nothing.
    #[must_use]
    pub fn merge(&mut self, bytes: &[u8], now_ms: u64) -> bool {
        read(bytes, |_, _, _| {}).is_some()
            && read(bytes, |name, _, body| self.merge_list(name, body, now_ms)).is_some()
    }

    /// Adds entries that were validated.
    fn merge_list(&mut self, name: &[u8], body: &[u8], now_ms: u64) {
        let at = self.position_to_add(name, now_ms);
        self.change(at, |list, seed| {
            for (value, until) in entries(body) {
                list.put(value, until, seed);
            }
        });
    }
}

/// What an encoding would add at the most: lists, entries, and bytes of text.
pub fn measure(bytes: &[u8]) -> Option<Bounds> {
    let mut more = Bounds {
        lists: 0,
        entries: 0,
        text_bytes: 0,
    };
    read(bytes, |_, count, body| {
        more.lists += 1;
        more.entries += count;
        let lengths = entries(body).map(|(value, _)| value.text_bytes());
        more.text_bytes += lengths.sum::<usize>();
    })?;
    Some(more)
}

/// The first that `find` finds in the values of an encoding.
pub(super) fn find<T>(bytes: &[u8], find: impl Fn(Value) -> Option<T>) -> Option<T> {
    let mut found = None;
    read(bytes, |_, _, body| {
        let of_list = || entries(body).find_map(|(value, _)| find(value));
        found = found.take().or_else(of_list);
    });
    found
}

/// One list of values, each once and in order, as an encoding.
pub(super) fn encode_values(name: &[u8], values: &[Value], until: Until) -> Vec<u8> {
    let mut out = vec![VERSION];
    begin_list(&mut out, name);
    for value in values {
        encode_entry(&mut out, *value, until);
    }
    out.extend_from_slice(&[0, 0]);
    out
}

fn begin_list(out: &mut Vec<u8>, name: &[u8]) {
    // Names have 1 ..= MAX_NAME_BYTES bytes.
    out.push(u8::try_from(name.len()).unwrap_or(0));
    out.extend_from_slice(name);
}

/// What a permanent entry adds to the fingerprint of its list.
pub(super) fn mark(value: Value) -> u64 {
    let mut bytes = Vec::new();
    encode_entry(&mut bytes, value, Until::Forever);
    let hash = Sha256::digest(&bytes);
    u64::from_be_bytes(hash.first_chunk().copied().unwrap_or_default())
}

fn encode_entry(out: &mut Vec<u8>, value: Value<'_>, until: Until) {
    let flag = match until {
        Until::Forever => 0,
        Until::At(ends) if ends.ttl_ms().is_none() => TEMPORARY,
        Until::At(_) => TEMPORARY | GIVEN,
    };
    match value {
        Value::V4(net) => {
            out.extend_from_slice(&[V4 | flag, net.length]);
            out.extend_from_slice(&net.base.to_be_bytes());
        }
        Value::V6(net) => {
            out.extend_from_slice(&[V6 | flag, net.length]);
            out.extend_from_slice(&net.base.to_be_bytes());
        }
        Value::Text(text) => {
            out.push(TEXT | flag);
            // Texts have 1 ..= MAX_VALUE_BYTES bytes.
            out.extend_from_slice(&u16::try_from(text.len()).unwrap_or(0).to_le_bytes());
            out.extend_from_slice(text);
        }
    }
    if let Until::At(ends) = until {
        out.extend_from_slice(&ends.at_ms().to_le_bytes());
        if let Some(ttl_ms) = ends.ttl_ms() {
            out.extend_from_slice(&ttl_ms.to_le_bytes());
        }
    }
}

/// Reads an encoding, and hands over each list's name, how many entries it has, and their bytes.
fn read<'a>(bytes: &'a [u8], mut visit: impl FnMut(&'a [u8], usize, &'a [u8])) -> Option<()> {
    let mut source = Source(bytes);
    if source.byte()? != VERSION {
        return None;
    }
    let mut last_name: &[u8] = &[];
    loop {
        let name_len = usize::from(source.byte()?);
        if name_len == 0 {
            break;
        }
        let name = source.take(name_len)?;
        if name_len > MAX_NAME_BYTES || name <= last_name {
            return None;
        }
        last_name = name;
        let body = source.0;
        let (mut last_value, mut entries) = (None, 0);
        while let Some((value, _)) = read_entry(&mut source)? {
            if last_value.is_some_and(|last| value <= last) {
                return None;
            }
            last_value = Some(value);
            entries += 1;
        }
        if entries == 0 {
            return None;
        }
        visit(name, entries, body);
    }
    source.0.is_empty().then_some(())
}

fn read_until(tag: u8, source: &mut Source) -> Option<Until> {
    if tag & TEMPORARY == 0 {
        return (tag & GIVEN == 0).then_some(Until::Forever);
    }
    let at_ms = u64::from_le_bytes(source.array()?);
    let ttl_ms = match tag & GIVEN {
        0 => None,
        _ => Some(u64::from_le_bytes(source.array()?)),
    };
    Ends::read(at_ms, ttl_ms).map(Until::At)
}

/// The entries of a list whose bytes [`read`] has handed over.
fn entries(body: &[u8]) -> impl Iterator<Item = (Value<'_>, Until)> {
    let mut source = Source(body);
    std::iter::from_fn(move || read_entry(&mut source).flatten())
}

/// The next entry; the inner `None` is the end of the list.
#[allow(clippy::option_option, reason = "refused, or no more")]
fn read_entry<'a>(source: &mut Source<'a>) -> Option<Option<(Value<'a>, Until)>> {
    let tag = source.byte()?;
    let value = match tag & !(TEMPORARY | GIVEN) {
        0 if tag == 0 => return Some(None),
        V4 => {
            let length = source.byte()?;
            let base = u32::from_be_bytes(source.array()?);
            let net = Net { length, base };
            Some(Value::V4(net)).filter(|_| length <= 32)?
        }
        V6 => {
            let length = source.byte()?;
            let base = u128::from_be_bytes(source.array()?);
            let is_v4 = length >= 96 && base >> 32 == 0xffff;
            let net = Net { length, base };
            Some(Value::V6(net)).filter(|_| length <= 128 && !is_v4)?
        }
        TEXT => {
            let length = usize::from(u16::from_le_bytes(source.array()?));
            let text = source.take(length)?;
            let is_text = Value::parse(text) == Value::Text(text);
            let sound = is_text && (1..=MAX_VALUE_BYTES).contains(&length);
            Some(Value::Text(text)).filter(|_| sound)?
        }
        _ => return None,
    };
    if !value.has_no_host_bits() {
        return None;
    }
    Some(Some((value, read_until(tag, source)?)))
}
