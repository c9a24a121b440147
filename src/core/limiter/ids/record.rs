//! What is remembered of one hit, and its bytes.
//!
//! ```text
//! record    length  flags  noted_ms  ttl_ms  [taken]  [stamp_ms]  [wait_ms]  id        oldest first
//! bytes     1       1      7         4       varint   varint      varint     the rest
//!           flags: 1 allowed, 2 taken, 4 stamp_ms, 8 wait_ms. Left out: 1 unit, noted_ms, no RESERVE
//! ```
//!
//! Each hit writes one record and reads the times of another, so what every record has is where it always is, the least
//! significant byte first. Records are kept as they are saved: an id of 36 bytes takes 49, and 2 more for its mark.

use super::MAX_TTL_MS;
use crate::core::algorithm::lease::MAX_ID_BYTES;
use crate::core::bytes::source::Source;
use crate::core::bytes::varint;
use crate::core::duration;
use crate::core::limit::{MAX_COUNT, MAX_TIME_MS};
use arrayvec::ArrayVec;

const IS_ALLOWED: u8 = 1;
const HAS_TAKEN: u8 = 2;
const HAS_STAMP: u8 = 4;
const HAS_WAIT: u8 = 8;

/// What is remembered of a hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// When it changed the key, in Unix milliseconds; never later than now.
    pub noted_ms: u64,
    /// For how long from then on it is remembered.
    pub ttl_ms: u64,
    /// Whether it fitted.
    pub is_allowed: bool,
    /// Units that it took; 0 where it gave back.
    pub taken: u64,
    /// When it counts as charged, as STAMP says it; 0 where it does not say.
    pub stamp_ms: u64,
    /// With RESERVE: for how long it was to wait.
    pub wait_ms: Option<u64>,
}

impl Known {
    /// When it is forgotten.
    pub fn ends_ms(&self) -> u64 {
        self.noted_ms + self.ttl_ms
    }

    /// What is left of its wait: never more than it was told, wherever the clock went.
    pub fn wait_left_ms(&self, now_ms: u64) -> u64 {
        let wait_ms = self.wait_ms.unwrap_or(0);
        (self.noted_ms + wait_ms)
            .saturating_sub(now_ms)
            .min(wait_ms)
    }

    /// When its key is to expire, so that the TTL need not be moved at each hit.
    pub(super) fn expires_ms(&self) -> u64 {
        self.ends_ms() + (self.ttl_ms / 8).max(1_000)
    }

    /// What a record says, and its id; `None` where it is none.
    pub(super) fn read(record: &[u8]) -> Option<(Self, &[u8])> {
        let mut source = Source(record);
        let Head { flags, times } = Head::read(&mut source)?;
        let ttl_ms = times.ends_ms - times.noted_ms;
        let times_are_sound = times.noted_ms <= MAX_TIME_MS && (1..=MAX_TTL_MS).contains(&ttl_ms);
        times_are_sound.then_some(())?;
        let mut optional = |flag: u8, most: u64, usual: u64| match flags & flag {
            0 => Some(usual),
            _ => source.at_most(most).filter(|said| *said != usual),
        };
        let taken = optional(HAS_TAKEN, MAX_COUNT, 1)?;
        let stamp_ms = optional(HAS_STAMP, MAX_TIME_MS, times.noted_ms)?;
        let wait_ms = optional(HAS_WAIT, duration::MAX_MS, u64::MAX)?;
        let known = Self {
            noted_ms: times.noted_ms,
            ttl_ms,
            is_allowed: flags & IS_ALLOWED != 0,
            taken,
            stamp_ms,
            wait_ms: (flags & HAS_WAIT != 0).then_some(wait_ms),
        };
        let is_sound = flags <= (IS_ALLOWED | HAS_TAKEN | HAS_STAMP | HAS_WAIT)
            && (1..=MAX_ID_BYTES).contains(&source.0.len());
        is_sound.then_some((known, source.0))
    }
}

/// Bytes of what every record begins with, behind its length.
const HEAD: usize = 1 + 7 + 4;

/// Bytes of the word as which the length and that are written: more than they take.
pub(super) const HEAD_WORD: usize = 16;

/// A record that is about to be written.
pub(super) struct Record<'a> {
    pub(super) head: [u8; HEAD_WORD],
    /// What only some have.
    more: ArrayVec<u8, { 3 * varint::MAX_BYTES }>,
    id: &'a [u8],
    /// Bytes of all of it.
    pub(super) length: usize,
}

impl<'a> Record<'a> {
    #[inline(always)]
    pub(super) fn of(known: &Known, id: &'a [u8]) -> Self {
        let flag = |is: bool, flag: u8| if is { flag } else { 0 };
        let flags = flag(known.is_allowed, IS_ALLOWED)
            | flag(known.taken != 1, HAS_TAKEN)
            | flag(known.stamp_ms != known.noted_ms, HAS_STAMP)
            | flag(known.wait_ms.is_some(), HAS_WAIT);
        let mut more = ArrayVec::new();
        if flags & HAS_TAKEN != 0 {
            varint::write(&mut more, known.taken);
        }
        if flags & HAS_STAMP != 0 {
            varint::write(&mut more, known.stamp_ms);
        }
        if let Some(wait_ms) = known.wait_ms {
            varint::write(&mut more, wait_ms);
        }
        // (No record is longer than a byte can say.)
        let behind = HEAD + more.len() + id.len();
        let head = u128::from(u8::try_from(behind).unwrap_or(0))
            | u128::from(flags) << 8
            | u128::from(known.noted_ms) << 16
            | u128::from(known.ttl_ms) << 72;
        Self {
            head: head.to_le_bytes(),
            more,
            id,
            length: 1 + behind,
        }
    }

    /// Writes it, and perhaps some bytes behind it up to the length of a word, to where there is room for that.
    #[inline(always)]
    pub(super) fn write(&self, room: &mut [u8]) {
        if let Some(place) = room.first_chunk_mut() {
            *place = self.head;
        }
        let (at, id_at) = (1 + HEAD, 1 + HEAD + self.more.len());
        if let Some(place) = room.get_mut(at..id_at).filter(|_| !self.more.is_empty()) {
            place.copy_from_slice(&self.more);
        }
        if let Some(place) = room.get_mut(id_at..self.length) {
            place.copy_from_slice(self.id);
        }
    }
}

/// What every record begins with.
pub(super) struct Head {
    flags: u8,
    pub(super) times: Times,
}

impl Head {
    #[inline(always)]
    pub(super) fn read(source: &mut Source) -> Option<Self> {
        let word: [u8; 8] = source.array()?;
        let ttl_ms = u32::from_le_bytes(source.array()?);
        let [flags, ..] = word;
        let noted_ms = u64::from_le_bytes(word) >> 8;
        Some(Self {
            flags,
            times: Times {
                noted_ms,
                ends_ms: noted_ms + u64::from(ttl_ms),
            },
        })
    }
}

/// What is asked about ids at each hit, so that no record need be read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Times {
    pub(super) noted_ms: u64,
    pub(super) ends_ms: u64,
}

impl Times {
    pub(super) fn of(known: &Known) -> Self {
        Self {
            noted_ms: known.noted_ms,
            ends_ms: known.ends_ms(),
        }
    }

    pub(super) fn is_any_of(&self, other: &Self) -> bool {
        self.noted_ms == other.noted_ms || self.ends_ms == other.ends_ms
    }

    pub(super) fn later(self, other: Self) -> Self {
        Self {
            noted_ms: self.noted_ms.max(other.noted_ms),
            ends_ms: self.ends_ms.max(other.ends_ms),
        }
    }
}
