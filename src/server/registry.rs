//! What belongs to the node and not to a key: policies, deny lists and statistics, behind one guard.
//!
//! ```text
//! RDB, full sync      aux data of the type `ratelimit`: three strings, one each
//! replicas, AOF       RL.POLICY SET/DEL and RL.DENY DEL/DROP as called, as they say nothing of time;
//!                     RL.NODE payload for everything else:
//!                         P  the policies, in place of those there are
//!                         A  entries of deny lists, to be added, with the absolute times at which they end
//!                         R  a deny list's new name
//! AOF alone               S  what has changed in the statistics (`super::journal`)
//! AOF rewrite without an RDB preamble: the same, into the file that follows the rewritten one
//! ```

use super::config;
use super::journal::Written;
use super::raw::{is_main_thread, random_seeds};
use crate::core::limit::Algorithm;
use crate::core::node::deny::{Lists, Seed};
use crate::core::node::policy::Policies;
use crate::core::node::stats::{Outcome, Stats};
use ahash::RandomState;
use std::cell::RefCell;
use std::ffi::CStr;

/// The internal command that carries the node's own data.
pub const NODE: &CStr = c"rl.node";

/// Entries of deny lists that go into one [`Part::Entries`], so that no command takes long.
const CHUNK_ENTRIES: usize = 1_000;

/// Bytes of statistics that go into one [`Part::Stats`], or some more.
pub const RECORD_BYTES: usize = 64 << 10;

/// Policies, deny lists and statistics.
pub struct Registry {
    /// Limits by name.
    pub policies: Policies,
    /// Values that are denied, by list.
    pub deny: Lists,
    /// Who was allowed and who was denied.
    pub stats: Stats,
    /// What was written to the AOF lately, and what is to come.
    pub written: Written,
}

/// A part of the registry, or a change of it, as [`NODE`] carries it: behind a byte that says which.
#[derive(Clone, Copy)]
#[repr(u8)]
pub enum Part {
    /// All policies.
    Policies = b'P',
    /// Entries to add.
    Entries = b'A',
    /// A list's old and new name.
    Rename = b'R',
    /// A record of the statistics' journal.
    Stats = b'S',
}

impl Part {
    const ALL: [Part; 4] = [Part::Policies, Part::Entries, Part::Rename, Part::Stats];

    /// The payload: which part, and its bytes.
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

struct Guarded(RefCell<Option<Registry>>);

// SAFETY: only the main thread takes it, which runs commands, events, and the loading and saving of an RDB file; a forked
// child has its own copy.
unsafe impl Sync for Guarded {}

static REGISTRY: Guarded = Guarded(RefCell::new(None));

/// Gives access to the registry. `body` calls nothing that could come back here: no function of the server's that runs
/// commands or notifies anyone.
pub fn with<T>(body: impl FnOnce(&mut Registry) -> T) -> T {
    debug_assert!(is_main_thread());
    body(REGISTRY.0.borrow_mut().get_or_insert_with(Registry::new))
}

/// Counts a hit on the key `identifier`, under the name of its policy if it has one. Whether that is to be written to the
/// AOF, by [`super::journal::begin_turn`].
pub fn count<'a>(
    policy: Option<&[u8]>,
    identifier: impl FnOnce() -> &'a [u8],
    algorithm: Algorithm,
    outcome: Outcome,
    now_ms: u64,
) -> bool {
    with(|registry| {
        let stats = &mut registry.stats;
        let Some(name) = policy else {
            stats.count(algorithm, outcome, now_ms);
            return false;
        };
        let slot = match registry.policies.get_with_slot(name) {
            Some((_, slot)) => {
                *slot = stats.renew(*slot, name);
                *slot
            }
            None => stats.slot(name),
        };
        stats.count_named(slot, identifier(), algorithm, outcome, now_ms);
        registry.written.note()
    })
}

impl Registry {
    fn new() -> Self {
        let [a, b, c, d] = random_seeds();
        let hashing = RandomState::with_seeds(a, b, c, d);
        Self {
            policies: Policies::new(config::policies(), hashing.clone()),
            deny: Lists::new(Seed(a ^ c)),
            stats: Stats::new(config::stats_bounds(), hashing),
            written: Written::default(),
        }
    }

    /// Forgets everything: what is about to be loaded takes its place.
    pub fn clear(&mut self) {
        *self = Self {
            written: std::mem::take(&mut self.written),
            ..Self::new()
        };
    }

    /// Whether there is nothing to save.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty() && self.deny.is_empty() && self.stats.is_empty()
    }

    /// The three strings that an RDB file holds.
    pub fn encode(&self, now_ms: u64) -> [Vec<u8>; 3] {
        [
            self.policies.encode(),
            self.deny.encode(now_ms),
            self.stats.encode(),
        ]
    }

    /// Takes over what [`Registry::encode`] wrote; `false`, with nothing taken over of the string at fault, where one of
    /// them cannot have been written so.
    pub fn load(&mut self, [policies, deny, stats]: [&[u8]; 3]) -> bool {
        self.policies.load(policies) && self.deny.merge(deny).is_ok() && self.stats.load(stats)
    }

    /// Everything, as payloads of [`NODE`], for a file that has nothing of it yet.
    pub fn payloads(&mut self, now_ms: u64, mut emit: impl FnMut(Vec<u8>)) {
        emit(Part::Policies.payload(&self.policies.encode()));
        self.deny.encode_chunks(now_ms, CHUNK_ENTRIES, |chunk| {
            emit(Part::Entries.payload(&chunk));
        });
        self.stats.begin_journal();
        while let Some(record) = self.stats.next_record(RECORD_BYTES) {
            emit(Part::Stats.payload(&record));
        }
    }

    /// Applies a payload of [`NODE`], and tells which part it was. `None`, with nothing changed, where it is not one.
    pub fn apply(&mut self, payload: &[u8]) -> Option<Part> {
        let (part, bytes) = Part::split(payload)?;
        let applied = match part {
            Part::Policies => self.policies.load(bytes),
            Part::Entries => self.deny.merge(bytes).is_ok(),
            Part::Rename => self.rename(bytes),
            Part::Stats => self.stats.apply_record(bytes),
        };
        applied.then_some(part)
    }

    /// The bytes of [`Part::Rename`]: the length of the old name, the old name and the new one.
    pub fn rename_bytes(old: &[u8], new: &[u8]) -> Vec<u8> {
        let length = u8::try_from(old.len()).unwrap_or(u8::MAX);
        [&[length], old, new].concat()
    }

    fn rename(&mut self, bytes: &[u8]) -> bool {
        let Some((length, names)) = bytes.split_first() else {
            return false;
        };
        let Some((old, new)) = names.split_at_checked(usize::from(*length)) else {
            return false;
        };
        // A list whose last entry has expired may be gone here and not yet there: what is to take the new name is then
        // an empty list, and so the new name is that of no list.
        match self.deny.rename(old, new) {
            Ok(()) => true,
            Err(crate::core::node::deny::DenyError::NoSuchList) => {
                self.deny.drop_list(new);
                true
            }
            Err(_) => false,
        }
    }

    /// Bytes in use.
    pub fn memory_bytes(&self) -> usize {
        self.policies.memory_bytes() + self.deny.memory_bytes() + self.stats.memory_bytes()
    }
}
