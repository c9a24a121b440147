//! What belongs to the node and not to a key: policies, deny lists, statistics; and who has changed them lately, which alone is
//! neither saved nor sent.
//!
//! ```text
//! RDB, full sync      three strings, one each                                            Node::encode, Node::load
//! replicas and AOF    RL.POLICY DEL, RL.DENY DEL/DROP and RL.STATS RESET as called, as they say nothing of time;
//!                     a part for everything else                                         Node::apply
//! AOF rewrite without an RDB preamble: all of it as parts, into the file that follows    Node::parts
//! ```

pub mod audit;
pub mod deny;
pub mod ends;
pub mod policy;
pub mod stats;

use super::bytes::source::Source;
use super::error::Error;
use super::limit::Algorithm;
use ahash::RandomState;
use audit::Audit;
use deny::{Lists, Seed};
use policy::{Policies, Setting};
use stats::{NameSlot, Outcome, Stats};
use std::collections::HashMap;

/// Entries of deny lists that go into one [`Part::Entries`], so that no command takes long.
const CHUNK_ENTRIES: usize = 1_000;

/// Bytes of statistics that go into one [`Part::Stats`], or some more: see [`stats::record`].
pub const RECORD_BYTES: usize = 64 << 10;

/// Where RL.NODE has its payload.
const PAYLOAD_AT: usize = 1;

/// How much there may be.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Policies.
    pub policies: usize,
    /// Deny lists.
    pub deny: deny::Bounds,
    /// Statistics.
    pub stats: stats::Bounds,
}

/// Policies, deny lists and statistics.
#[derive(Debug)]
pub struct Node {
    /// Limits by name.
    pub policies: Policies,
    /// Values that are denied, by list.
    pub deny: Lists,
    /// Who was allowed and who was denied.
    pub stats: Stats,
    /// What was changed lately, and by whom.
    pub audit: Audit,
}

/// A part of the node, or a change of it, behind a byte that says which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Part {
    /// All policies, in place of those there are.
    Policies = b'P',
    /// One policy, set.
    Setting = b'p',
    /// Entries of deny lists, to be added, with the absolute times at which they end.
    Entries = b'A',
    /// A deny list's old and new name.
    Rename = b'R',
    /// What has changed in the statistics.
    Stats = b'S',
}

/// Who sends a part.
#[derive(Clone, Copy, Debug)]
pub enum Sender<'a> {
    /// The primary, or the AOF: it was accepted once, under bounds that may have been others.
    Peer,
    /// A client, which has to keep to the bounds.
    Client(&'a Bounds),
}

impl Part {
    const ALL: [Part; 5] = [
        Part::Policies,
        Part::Setting,
        Part::Entries,
        Part::Rename,
        Part::Stats,
    ];

    /// The part as a payload: which, and its bytes.
    pub fn payload(self, bytes: &[u8]) -> Vec<u8> {
        [&[self as u8], bytes].concat()
    }

    /// The inverse of [`Part::payload`].
    fn split(payload: &[u8]) -> Option<(Part, &[u8])> {
        let (code, bytes) = payload.split_first()?;
        let part = Self::ALL.into_iter().find(|part| *part as u8 == *code)?;
        Some((part, bytes))
    }
}

/// The bytes of [`Part::Rename`]: the length of the old name in one byte, the old name and the new one.
pub fn encode_rename(old: &[u8], new: &[u8]) -> Vec<u8> {
    let length = u8::try_from(old.len()).unwrap_or(u8::MAX);
    [&[length], old, new].concat()
}

impl Node {
    /// Nothing yet. The seeds should be random, so that no client can tell which names or values collide.
    pub fn new(bounds: &Bounds, [a, b, c, d]: [u64; 4]) -> Self {
        let hashing = RandomState::with_seeds(a, b, c, d);
        Self {
            policies: Policies::new(bounds.policies, hashing.clone()),
            deny: Lists::new(Seed(a ^ c)),
            stats: Stats::new(bounds.stats, hashing),
            audit: Audit::default(),
        }
    }

    /// Whether there is nothing to save.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty() && self.deny.is_empty() && self.stats.is_empty()
    }

    /// Counts a hit on the key `identifier`, under the last of its names, if it has one, and under those in front of it too
    /// ([`super::request::Clause::count_under`]); in the totals once. `identifier` is asked for only where it is counted apart.
    #[inline(always)]
    pub fn count<'a>(
        &mut self,
        names: &[&[u8]],
        identifier: impl FnOnce() -> &'a [u8],
        algorithm: Algorithm,
        outcome: Outcome,
        now_ms: u64,
    ) {
        let Some((last, fronts)) = names.split_last() else {
            let stats = &mut self.stats;
            return stats.count_unnamed(identifier, algorithm, outcome, now_ms);
        };
        let slot = self.slot(last);
        let identifier = identifier();
        self.stats
            .count_named(slot, identifier, algorithm, outcome, now_ms);
        if !fronts.is_empty() {
            self.count_fronts(fronts, last, identifier, outcome, now_ms);
        }
    }

    #[inline(never)]
    fn count_fronts(
        &mut self,
        fronts: &[&[u8]],
        last: &[u8],
        identifier: &[u8],
        outcome: Outcome,
        now_ms: u64,
    ) {
        for front in fronts {
            let slot = self.slot(front);
            self.stats
                .count_in_front(slot, last, identifier, outcome, now_ms);
        }
    }

    /// Where a name is counted.
    #[inline(always)]
    fn slot(&mut self, name: &[u8]) -> NameSlot {
        let Some(slot) = self.policies.slot(name).copied() else {
            return self.stats.slot(name);
        };
        let policies = &self.policies;
        let is_policy = |name: &[u8]| policies.get(name).is_some();
        let renewed = self.stats.renew(slot, name, is_policy);
        if renewed != slot {
            if let Some(slot) = self.policies.slot(name) {
                *slot = renewed;
            }
        }
        renewed
    }

    /// The three strings that an RDB file holds.
    pub fn encode(&self, now_ms: u64) -> [Vec<u8>; 3] {
        [
            self.policies.encode(now_ms),
            self.deny.encode(now_ms),
            self.stats.encode(),
        ]
    }

    /// Takes over what [`Node::encode`] wrote; `false`, with nothing taken over of the string at fault, where one of them
    /// cannot have been written so.
    #[must_use]
    pub fn load(&mut self, [policies, deny, stats]: [&[u8]; 3]) -> bool {
        let loaded =
            self.policies.load(policies) && self.deny.merge(deny, 0) && self.stats.load(stats);
        let policies = &self.policies;
        self.stats
            .mark_policies(|name| policies.get(name).is_some());
        loaded
    }

    /// Everything but statistics, as payloads, for a file that has nothing of it yet.
    pub fn parts(&self, now_ms: u64, mut emit: impl FnMut(Vec<u8>)) {
        emit(Part::Policies.payload(&self.policies.encode(now_ms)));
        self.deny.encode_chunks(now_ms, CHUNK_ENTRIES, |chunk| {
            emit(Part::Entries.payload(&chunk));
        });
    }

    /// What has changed in the statistics, as a payload; `None` where nothing has.
    pub fn next_record(&mut self) -> Option<Vec<u8>> {
        let record = self.stats.next_record(RECORD_BYTES)?;
        Some(Part::Stats.payload(&record))
    }

    /// Applies a payload, and tells which part it was; with an error, nothing has changed.
    ///
    /// A client's record of statistics is not what will be sent on: it may follow on what is here and not on what the AOF
    /// has. Instead the records to come have all there is.
    pub fn apply(&mut self, payload: &[u8], sender: Sender, now_ms: u64) -> Result<Part, Error> {
        let refused = Error::Payload { at: PAYLOAD_AT };
        let (part, bytes) = Part::split(payload).ok_or(refused)?;
        let applied = match part {
            Part::Policies => self.load_policies(bytes, sender)?,
            Part::Setting => self.apply_setting(bytes, sender, now_ms)?,
            Part::Entries => {
                if let Sender::Client(bounds) = sender {
                    let more = deny::measure(bytes).ok_or(refused)?;
                    self.deny.check_more(&more, &bounds.deny)?;
                    self.deny.check_never_in(bytes, PAYLOAD_AT)?;
                }
                self.deny.merge(bytes, now_ms)
            }
            Part::Rename => self.rename(bytes, now_ms),
            Part::Stats => {
                let applied = self.stats.apply_record(bytes);
                if applied && matches!(sender, Sender::Client(_)) {
                    self.stats.write_anew();
                }
                applied
            }
        };
        applied.then_some(part).ok_or(refused)
    }

    fn load_policies(&mut self, bytes: &[u8], sender: Sender) -> Result<bool, Error> {
        let Sender::Client(bounds) = sender else {
            return Ok(self.policies.load(bytes));
        };
        let mut policies = Policies::new(crate::core::limit::MAX_POLICIES, self.policies.hashing());
        if !policies.load(bytes) {
            return Ok(false);
        }
        if policies.len() > bounds.policies {
            let max = bounds.policies;
            return Err(Error::TooManyPolicies { max });
        }
        Ok(self.policies.load(bytes))
    }

    fn apply_setting(&mut self, bytes: &[u8], sender: Sender, now_ms: u64) -> Result<bool, Error> {
        let Some((name, setting)) = policy::decode_setting(bytes) else {
            return Ok(false);
        };
        match sender {
            Sender::Client(bounds) => {
                self.policies.set_max(bounds.policies);
                self.policies.set(name, setting, now_ms)?;
            }
            Sender::Peer => {
                let held = self.policies.get(name).and_then(policy::Held::lasting);
                // In front of a lasting policy stands one of its algorithm, or what is here could not be saved.
                if let (Setting::Temporary(temporary), Some(lasting)) = (&setting, held) {
                    if temporary.policy.algorithm() != lasting.algorithm() {
                        return Ok(false);
                    }
                }
                self.policies.put(name, setting, now_ms);
            }
        }
        Ok(true)
    }

    fn rename(&mut self, bytes: &[u8], now_ms: u64) -> bool {
        let mut source = Source(bytes);
        let length = source.byte().map(usize::from);
        let Some(old) = length.and_then(|length| source.take(length)) else {
            return false;
        };
        let new = source.0;
        // A list whose last entry has expired may be gone here and not yet there: what is to take the new name is then
        // an empty list, and so the new name is that of no list.
        match self.deny.rename(old, new, now_ms) {
            Ok(()) => true,
            Err(Error::NoSuchList { .. }) => {
                self.deny.drop_list(new);
                true
            }
            Err(_) => false,
        }
    }

    /// Bytes in use.
    pub fn memory_bytes(&self) -> usize {
        self.policies.memory_bytes()
            + self.deny.memory_bytes()
            + self.stats.memory_bytes()
            + self.audit.memory_bytes()
    }
}

/// What a map has allocated for its places, of which there is a power of two, 8/7 of the capacity, with a control byte for each.
fn map_bytes<K, V, S>(map: &HashMap<K, V, S>) -> usize {
    let places = match map.capacity() {
        0 => 0,
        capacity => (capacity * 8 / 7).next_power_of_two(),
    };
    places * (size_of::<(K, V)>() + 1)
}

#[cfg(test)]
mod tests;
