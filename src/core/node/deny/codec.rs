//! The bytes of deny lists: for the RDB, for replicas, and, in chunks, for an AOF rewrite.
//!
//! ```text
//! encoding = version (1)  list*  0
//! list     = name length (1 byte, 1 ..= 128)  name  entry+  0
//! entry    = 4  length (0 ..= 32)   4 bytes, network order     an IPv4 address or range
//!          | 6  length (0 ..= 128)  16 bytes, network order    an IPv6 address or range
//!          | 1  length (2 bytes, little endian)  bytes         a text
//!            the first byte + 128: then follow 8 bytes, little endian: it expires at this millisecond
//! ```
//!
//! There is one encoding of one content: lists are sorted by name, entries by [`Value`]'s order, nothing is there twice,
//! no list is empty, and every value is in its canonical form. Decoding refuses anything else, before it allocates.

use super::address::{Net, Value, MAX_VALUE_BYTES};
use super::key::Seed;
use super::until::Until;
use super::{Lists, MAX_NAME_BYTES};
use crate::core::limit::MAX_TIME_MS;
use std::fmt;

const VERSION: u8 = 1;
const TEXT: u8 = 1;
const V4: u8 = 4;
const V6: u8 = 6;
const TEMPORARY: u8 = 128;

/// Why bytes are not an encoding of deny lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodecError {
    /// They end too early.
    Truncated,
    /// They go on after the end.
    TooLong,
    /// They are of this version, which is not known.
    Version(u8),
    /// This part of them is not as it has to be.
    Corrupt(&'static str),
}

impl fmt::Display for CodecError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => write!(out, "deny lists: the data ends too early"),
            Self::TooLong => write!(out, "deny lists: there is data after the end"),
            Self::Version(version) => {
                write!(out, "deny lists: encoding version {version} is not known")
            }
            Self::Corrupt(part) => write!(out, "deny lists: the data is corrupt: {part}"),
        }
    }
}

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
                    // Names have 1 ..= MAX_NAME_BYTES bytes.
                    chunk.push(u8::try_from(named.name.len()).unwrap_or(0));
                    chunk.extend_from_slice(&named.name);
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
    pub fn decode(bytes: &[u8], seed: Seed) -> Result<Self, CodecError> {
        let mut lists = Self::new(seed);
        lists.merge(bytes)?;
        Ok(lists)
    }

    /// Adds the entries of an encoding, without bounds. Where the value is in the list already, the encoding says how
    /// long it holds. Corrupt bytes change nothing.
    pub fn merge(&mut self, bytes: &[u8]) -> Result<(), CodecError> {
        let mut checked = Reader { bytes };
        checked.read(|_, _| {})?;
        let mut reader = Reader { bytes };
        reader.read(|name, body| self.merge_list(name, body))
    }

    /// Adds entries that were validated.
    fn merge_list(&mut self, name: &[u8], body: &[u8]) {
        let at = self.position_or_new(name);
        self.change(at, |list, seed| {
            let mut reader = Reader { bytes: body };
            while let Ok(Some((value, until))) = reader.entry() {
                list.put(value, until, seed);
            }
        });
    }
}

fn encode_entry(out: &mut Vec<u8>, value: Value<'_>, until: Until) {
    let expires_at_ms = until.expires_at_ms();
    let flag = if expires_at_ms.is_some() {
        TEMPORARY
    } else {
        0
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
    if let Some(expires_at_ms) = expires_at_ms {
        out.extend_from_slice(&expires_at_ms.to_le_bytes());
    }
}

/// What is left to read.
struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], CodecError> {
        let (head, tail) = self
            .bytes
            .split_at_checked(len)
            .ok_or(CodecError::Truncated)?;
        self.bytes = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let (head, tail) = self
            .bytes
            .split_first_chunk()
            .ok_or(CodecError::Truncated)?;
        self.bytes = tail;
        Ok(*head)
    }

    fn byte(&mut self) -> Result<u8, CodecError> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Reads everything, and hands over each list's name and the bytes of its entries.
    fn read(&mut self, mut visit: impl FnMut(&'a [u8], &'a [u8])) -> Result<(), CodecError> {
        match self.byte()? {
            VERSION => {}
            version => return Err(CodecError::Version(version)),
        }
        let mut last_name: &[u8] = &[];
        loop {
            let name_len = usize::from(self.byte()?);
            if name_len == 0 {
                break;
            }
            let name = self.take(name_len)?;
            if name_len > MAX_NAME_BYTES || name <= last_name {
                return Err(CodecError::Corrupt("a list's name"));
            }
            last_name = name;
            let body = self.bytes;
            let mut last_value = None;
            while let Some((value, _)) = self.entry()? {
                if last_value.is_some_and(|last| value <= last) {
                    return Err(CodecError::Corrupt("the order of entries"));
                }
                last_value = Some(value);
            }
            if last_value.is_none() {
                return Err(CodecError::Corrupt("an empty list"));
            }
            visit(name, body);
        }
        if self.bytes.is_empty() {
            Ok(())
        } else {
            Err(CodecError::TooLong)
        }
    }

    /// The next entry, or `None` at the end of the list.
    fn entry(&mut self) -> Result<Option<(Value<'a>, Until)>, CodecError> {
        let tag = self.byte()?;
        let value = match tag & !TEMPORARY {
            0 if tag == 0 => return Ok(None),
            V4 => {
                let length = self.byte()?;
                let base = u32::from_be_bytes(self.array()?);
                check(length <= 32, "a range's length")?;
                Value::V4(Net { length, base })
            }
            V6 => {
                let length = self.byte()?;
                let base = u128::from_be_bytes(self.array()?);
                check(length <= 128, "a range's length")?;
                check(
                    length < 96 || base >> 32 != 0xffff,
                    "an IPv4 address in IPv6",
                )?;
                Value::V6(Net { length, base })
            }
            TEXT => {
                let len = usize::from(u16::from_le_bytes(self.array()?));
                let text = self.take(len)?;
                check((1..=MAX_VALUE_BYTES).contains(&len), "a text's length")?;
                check(
                    Value::parse(text) == Value::Text(text),
                    "an address as a text",
                )?;
                Value::Text(text)
            }
            _ => return Err(CodecError::Corrupt("an entry's kind")),
        };
        check(value.has_no_host_bits(), "bits past a range's length")?;
        let until = if tag & TEMPORARY == 0 {
            Until::Forever
        } else {
            let expires_at_ms = u64::from_le_bytes(self.array()?);
            check((1..=MAX_TIME_MS).contains(&expires_at_ms), "a time")?;
            Until::at(expires_at_ms)
        };
        Ok(Some((value, until)))
    }
}

fn check(is_right: bool, part: &'static str) -> Result<(), CodecError> {
    if is_right {
        Ok(())
    } else {
        Err(CodecError::Corrupt(part))
    }
}
