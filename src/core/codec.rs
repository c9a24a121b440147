//! Bytes of a limiter and of its effects: one encoding for RDB, AOF, replicas, DUMP and slot migration alike.
//!
//! ```text
//! version 1    1  0(state)  algorithm  state of a plain form, at most 8 windows
//!              1  1(charge)  algorithm  now_ms  cost(zigzag)  log-size  count  limits         read, no longer written
//! version 2    2  form  state                        a form that is not plain, or more windows
//!              10aaffff  charge                      an effect; aa: the algorithm, ffff: what follows
//!              11aaffff  more  charge                the same, with a second byte of what follows
//! shadow       9  charge                             of limits that are tried on a key; one of the second version
//! release      3  now_ms  count  id*                 leases that are given back
//! merge        4  now_ms  debt_ms  log-size  own-region  parts     another region's, behind what the merge goes by
//! reset        5  now_ms  reset_ms                   for all regions
//! order        7  now_ms  length_ms                  the key is shut for so long from then on; 0 lifts any block
//! parts        6  sender  reset_ms  algorithm  shared              what RL.CHANGES hands out and RL.MERGE takes
//!
//! state        count, then per window
//!     fixed            limit  window_ms  start_ms  used
//!     sliding          limit  window_ms  capacity  origin_ms  log-length  log
//!     bucket           capacity  refill  interval_ms  tokens  fraction  at_ms
//!     lease            limit  ttl_ms  count  (end_ms  ttl_ms  cost  id)*                       by end, then id
//!     dated            limit  window  start_ms  end_ms  used
//!     stamped          as bucket  since_ms
//!     reserved         as stamped  tokens  fraction  ahead_ms  stamp_ms  cost               promised; the last place
//!     blocked (6)      block  form  state
//!     noted (8)        flags  [block]  [shut]  [ids]  [shadow]  [form  state]  anything but a block and what has been used
//!     block            until_ms  length_ms  strikes
//!     shut             until_ms  length_ms
//!     ids              count  record*                                        see limiter/ids.rs
//!     shadow           form  state
//!     regional (7)     reset_ms  remembers_ms  algorithm  shared                     see codec/regional.rs
//! charge       now_ms  [cost(zigzag)]  [log-size]  [count]  limits  [at_ms]  [id, or once]  [(start_ms  end_ms)*]  [region]  [acts_ms  stamp_ms]
//! id           a lease's; any other hit's id stands beside the charge, as the next argument of the command that carries it
//! once         answer(1)  ttl_ms(4)  drops(2)  [wait_ms]     answer 1 allowed, 2 to wait, 4 rewinds; bytes in brackets,
//!              the least significant first, as every hit with an id writes them
//! limit        limit  [refill]  window_ms, or 0 and a calendar window's text ([`Limit::write`])
//! ```
//!
//! Version, form and flags are bytes, `log` and texts are as long as is said before them, and everything else is a canonical
//! varint ([`super::bytes::varint`]): a state has one encoding, so equal states are equal bytes and have equal digests. A
//! plain state is written as the first version wrote it, so that an older module reads it.
//!
//! A charge is an effect and not a call: its time is absolute and its limits are resolved, so it makes the same state
//! wherever and whenever it is applied. One of the first version drops the windows that it does not name, as that version
//! did; one of the second keeps them.
//!
//! Whoever sends bytes may send any bytes: every number is checked against the bound that its type promises.

use super::algorithm::lease::MAX_ID_BYTES;
use super::bytes::source::Source;
use super::bytes::varint;
use super::bytes::varint::write_string;
use super::duration;
use super::limit::{Algorithm, MAX_TIME_MS};
use super::limiter::regional::{Merging, Payload};
use super::limiter::Limiter;
use super::quote::Hit;
use super::region::origin::Region;
use charge::EFFECT;
use smallvec::SmallVec;

mod charge;
mod described;
mod regional;
mod state;

pub use charge::{encode_change, encode_charge, Charge, EffectBytes};
pub use state::{decode_state, encode_state};

const FIRST: u8 = 1;
const SECOND: u8 = 2;
const RELEASE: u8 = 3;
const MERGE: u8 = 4;
const RESET: u8 = 5;
const PARTS: u8 = 6;
const ORDER: u8 = 7;
const SHADOW: u8 = 9;
/// What follows the first version.
const STATE: u8 = 0;
const CHARGE: u8 = 1;

/// The most ids of one release: more words than a command may have.
const MAX_IDS: usize = 1 << 20;

/// What a payload says.
#[allow(
    clippy::large_enum_variant,
    reason = "lives on the stack, for one command"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The key holds this now.
    State(Limiter),
    /// This was charged.
    Charge(Charge),
    /// This was charged to the meters of limits that are tried.
    Shadow(Charge),
    /// Another region has sent this.
    Merge {
        /// What the merge goes by.
        setting: Merging,
        /// Whose the server was.
        own: Region,
        /// What was sent.
        payload: Box<Payload>,
    },
    /// What was used until then is forgotten, in all regions.
    Reset {
        /// When it was decided.
        now_ms: u64,
        /// Until when.
        reset_ms: u64,
    },
    /// The key was shut by order, or any block was lifted.
    Order {
        /// For how long; 0 lifts.
        length_ms: u64,
        /// When it was decided.
        now_ms: u64,
    },
    /// These leases were given back.
    Release {
        /// Whose.
        ids: Vec<SmallVec<[u8; 16]>>,
        /// When it was decided.
        now_ms: u64,
    },
}

/// Reads a payload, and the id that stands beside it where it is a charge with one; `None` where they are not that, whole and
/// within every bound.
pub fn decode(bytes: &[u8], id: Option<&[u8]>) -> Option<Effect> {
    if let Some(limiter) = decode_state(bytes).filter(|_| id.is_none()) {
        return Some(Effect::State(limiter));
    }
    let mut source = Source(bytes);
    let mut beside = id;
    let effect = match source.byte()? {
        FIRST => Effect::Charge(source.first_charge()?),
        RELEASE => {
            let now_ms = source.at_most(MAX_TIME_MS)?;
            let count = source.count(MAX_IDS)?;
            let id = |source: &mut Source| {
                let id = source.string(MAX_ID_BYTES).filter(|id| !id.is_empty())?;
                Some(SmallVec::from_slice(id))
            };
            let ids: Option<Vec<_>> = (0..count).map(|_| id(&mut source)).collect();
            Effect::Release { ids: ids?, now_ms }
        }
        MERGE => {
            let setting = Merging {
                now_ms: source.at_most(MAX_TIME_MS)?,
                debt_ms: source.at_most(duration::MAX_MS)?,
                log_size: source.log_size()?,
            };
            let own = Region::read(&mut source)?;
            let payload = Box::new(decode_parts(source.0)?);
            source = Source(&[]);
            Effect::Merge {
                setting,
                own,
                payload,
            }
        }
        RESET => Effect::Reset {
            now_ms: source.at_most(MAX_TIME_MS)?,
            reset_ms: source.at_most(MAX_TIME_MS)?,
        },
        ORDER => Effect::Order {
            now_ms: source.at_most(MAX_TIME_MS)?,
            length_ms: source.at_most(duration::MAX_MS)?,
        },
        SHADOW => {
            let head = source.byte().filter(|head| head & EFFECT != 0)?;
            let charge = source.charge(head, &mut None)?;
            let is_plain = charge.here.is_none() && charge.once.is_none() && charge.place.is_none();
            if charge.algorithm == Algorithm::Lease || !is_plain {
                return None;
            }
            Effect::Shadow(charge)
        }
        head if head & EFFECT != 0 => Effect::Charge(source.charge(head, &mut beside)?),
        _ => return None,
    };
    (source.0.is_empty() && beside.is_none()).then_some(effect)
}

/// The bytes of what is sent to another region.
pub fn encode_parts(payload: &Payload) -> Vec<u8> {
    let mut out = vec![PARTS];
    payload.sender.write(&mut out);
    regional::write_copy(payload.copy.by_ref(), &mut out);
    out
}

/// Reads what [`encode_parts`] wrote; `None` where it is not that, whole and within every bound.
pub fn decode_parts(bytes: &[u8]) -> Option<Payload> {
    let mut source = Source(bytes);
    let is_parts = source.byte()? == PARTS;
    let sender = Region::read(&mut source).filter(|sender| is_parts && sender.is_named())?;
    let copy = regional::read_copy(&mut source)?;
    let is_sent = copy.regional().is_some_and(|copy| copy.is_sent());
    (source.0.is_empty() && is_sent).then_some(Payload { sender, copy })
}

/// The bytes of a merge of what another region has sent.
pub fn encode_merge(parts: &[u8], setting: Merging, own: Region) -> Vec<u8> {
    let mut out = vec![MERGE];
    for number in [setting.now_ms, setting.debt_ms, u64::from(setting.log_size)] {
        varint::write(&mut out, number);
    }
    own.write(&mut out);
    out.extend_from_slice(parts);
    out
}

/// The bytes of a charge to the meters of limits that are tried.
pub fn encode_shadow(hit: &Hit, cost: i64, now_ms: u64) -> Vec<u8> {
    let mut out = vec![SHADOW];
    out.extend_from_slice(&encode_charge(hit, cost, now_ms));
    out
}

/// The bytes of a reset.
pub fn encode_reset(reset_ms: u64, now_ms: u64) -> Vec<u8> {
    let mut out = vec![RESET];
    varint::write(&mut out, now_ms);
    varint::write(&mut out, reset_ms);
    out
}

/// The bytes of a block by order.
pub fn encode_order(length_ms: u64, now_ms: u64) -> Vec<u8> {
    let mut out = vec![ORDER];
    varint::write(&mut out, now_ms);
    varint::write(&mut out, length_ms);
    out
}

/// The bytes of a release.
pub fn encode_release(ids: &[&[u8]], now_ms: u64) -> Vec<u8> {
    let mut out = vec![RELEASE];
    varint::write(&mut out, now_ms);
    varint::write(&mut out, ids.len() as u64);
    for id in ids {
        write_string(&mut out, id);
    }
    out
}

/// What is there only where a flag says so: `None` where it should be and cannot be read.
fn when<T>(is_there: bool, read: impl FnOnce() -> Option<T>) -> Option<Option<T>> {
    if is_there {
        read().map(Some)
    } else {
        Some(None)
    }
}

#[cfg(test)]
mod tests;
