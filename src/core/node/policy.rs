//! The node's policies: limits by name, which go before the limits that a call brings along.
//!
//! ```text
//! SET login SLIDING 5 15m                login -> lasting    sliding 5 15m
//! SET login SLIDING 1 15m TTL 1h                  temporary  sliding 1 15m, up to an instant: it stands in front
//! SHADOW login SLIDING 3 15m                      shadow     sliding 3 15m: it stands beside, and never binds
//! ```
//!
//! A hit finds its policy by one hash look-up; beside the policy lies its place in the statistics, so that the same look-up
//! serves both.

use super::map_bytes;
use super::stats::NameSlot;
use crate::core::error::{Error, MAX_NAME_BYTES};
use crate::core::limit::{Algorithm, MAX_POLICIES};
use ahash::RandomState;
use sha2::{Digest, Sha256};
use std::collections::HashMap;

mod encoding;
mod held;

pub use encoding::{decode_setting, encode_setting};
pub use held::{Ended, Held, Policy, Setting, ShadowPolicy, Temporary};

/// Policies if not configured: more than a person keeps an overview of.
pub const DEFAULT_POLICIES: usize = 1_000;
/// Where RL.POLICY SET has the name on its command line.
pub const NAME_AT: usize = 2;

#[derive(Debug, Default)]
struct Entry {
    held: Held,
    slot: NameSlot,
    /// Calls of another algorithm that have passed it over since the server started.
    mismatches: u64,
}

/// Policies that were passed over, as the call was of another algorithm than they are.
#[derive(Debug, Default)]
pub struct Mismatches {
    /// How often, since the server started.
    pub count: u64,
    /// The name of the last.
    pub name: Box<[u8]>,
    told_ms: Option<u64>,
}

/// Milliseconds from one line about mismatches in the server's log to the next.
const TELL_EACH_MS: u64 = 60_000;

/// Every policy of the node.
#[derive(Debug)]
pub struct Policies {
    max: usize,
    // Boxed, as half of a table's places are empty.
    entries: HashMap<Box<[u8]>, Box<Entry>, RandomState>,
    /// How many of them have a shadow.
    shadows: usize,
    /// When the next temporary policy or shadow ends, or before that.
    next_end_ms: u64,
    /// When it was last looked at them all, for a step back of the clock; the end of time where one was set since.
    looked_ms: u64,
    /// Of the lasting ones, where it is known.
    fingerprint: Option<u64>,
    changed_ms: u64,
    mismatches: Mismatches,
}

impl Policies {
    /// No policy yet, and room for `max`, [`MAX_POLICIES`] at most. `hashing` should be seeded at random.
    pub fn new(max: usize, hashing: RandomState) -> Self {
        Self {
            max: max.min(MAX_POLICIES),
            entries: HashMap::with_hasher(hashing),
            shadows: 0,
            next_end_ms: u64::MAX,
            looked_ms: 0,
            fingerprint: None,
            changed_ms: 0,
            mismatches: Mismatches::default(),
        }
    }

    /// Changes the bound, [`MAX_POLICIES`] at most. Policies past it stay, and may be changed, but no name is added.
    pub fn set_max(&mut self, max: usize) {
        self.max = max.min(MAX_POLICIES);
    }

    /// How names are hashed.
    pub fn hashing(&self) -> RandomState {
        self.entries.hasher().clone()
    }

    /// Sets a policy of the algorithm that the name has, a shadow of any, or a new one if there is room.
    pub fn set(&mut self, name: &[u8], setting: Setting, now_ms: u64) -> Result<(), Error> {
        if !(1..=MAX_NAME_BYTES).contains(&name.len()) {
            let (at, what) = (NAME_AT, "name");
            return Err(Error::Name { at, what });
        }
        let held = self.get(name).filter(|held| held.is_current(now_ms));
        let in_force = held.and_then(|held| held.in_force(now_ms));
        match (in_force, &setting) {
            (Some(policy), Setting::Lasting(_) | Setting::Temporary(_)) => {
                let (is, asked) = (policy.algorithm, setting.policy().algorithm);
                if is != asked {
                    return Err(Error::PolicyKeepsAlgorithm { is, asked });
                }
            }
            _ if held.is_some() => {}
            _ => {
                self.end(now_ms);
                if self.entries.len() >= self.max {
                    return Err(Error::TooManyPolicies { max: self.max });
                }
            }
        }
        self.put(name, setting, now_ms);
        Ok(())
    }

    /// Sets a policy, whatever there was: what another server has accepted, under its own bounds.
    pub fn put(&mut self, name: &[u8], setting: Setting, now_ms: u64) {
        self.changed_ms = now_ms;
        let entry = self.entries.entry(name.into()).or_default();
        match setting {
            Setting::Lasting(policy) => {
                entry.held.lasting = Some(policy);
                entry.held.temporary = None;
                self.fingerprint = None;
            }
            Setting::Temporary(temporary) => {
                self.next_end_ms = self.next_end_ms.min(temporary.ends.at_ms());
                self.looked_ms = u64::MAX;
                entry.held.temporary = Some(Box::new(temporary));
            }
            Setting::Shadow(shadow) => {
                if let Some(ends) = shadow.ends {
                    self.next_end_ms = self.next_end_ms.min(ends.at_ms());
                    self.looked_ms = u64::MAX;
                }
                let before = entry.held.shadow.replace(Box::new(shadow));
                self.shadows += usize::from(before.is_none());
                self.fingerprint = None;
            }
        }
    }

    /// Takes the shadow of a name away, and returns it.
    pub fn end_shadow(&mut self, name: &[u8], now_ms: u64) -> Option<ShadowPolicy> {
        let entry = self.entries.get_mut(name)?;
        let shadow = entry.held.shadow.take()?;
        if entry.held.is_empty() {
            self.entries.remove(name);
        }
        self.shadows -= 1;
        self.changed_ms = now_ms;
        self.fingerprint = None;
        Some(*shadow)
    }

    /// The shadow of the first of these names that has one of the algorithm, and that name.
    #[inline]
    pub fn first_shadow<'a>(
        &self,
        names: impl IntoIterator<Item = &'a [u8]>,
        asked: Algorithm,
        now_ms: u64,
    ) -> Option<(&'a [u8], &Policy)> {
        if self.shadows == 0 {
            return None;
        }
        let mut shadows = names.into_iter().filter_map(|name| {
            let shadow = self.get(name)?.shadow(now_ms)?;
            Some((name, &shadow.policy))
        });
        shadows.find(|(_, policy)| policy.algorithm == asked)
    }

    /// What stands under a name, be it in the past.
    pub fn get(&self, name: &[u8]) -> Option<&Held> {
        self.entries.get(name).map(|entry| &entry.held)
    }

    /// The policy of the first of these names that has one of the algorithm, with that name, and whether one of another was
    /// passed over.
    pub fn first<'a>(
        &self,
        names: impl IntoIterator<Item = &'a [u8]>,
        asked: Algorithm,
        now_ms: u64,
    ) -> (Option<(&'a [u8], &Policy)>, bool) {
        let mut passes_over = false;
        let policy = names.into_iter().find_map(|name| {
            let policy = self.get(name)?.in_force(now_ms)?;
            let is_asked = policy.algorithm == asked;
            passes_over |= !is_asked;
            is_asked.then_some((name, policy))
        });
        (policy, passes_over)
    }

    /// Counts each of these names that was passed over before the first of the algorithm was found. Returns, once a minute,
    /// the first name and its policy's algorithm, for a line in the server's log.
    #[cold]
    pub fn pass_over<'a>(
        &mut self,
        names: impl IntoIterator<Item = &'a [u8]>,
        asked: Algorithm,
        now_ms: u64,
    ) -> Option<(&'a [u8], Algorithm)> {
        let mut first = None;
        for name in names {
            let Some(entry) = self.entries.get_mut(name) else {
                continue;
            };
            match entry.held.in_force(now_ms).map(Policy::algorithm) {
                Some(is) if is == asked => break,
                Some(is) => {
                    entry.mismatches += 1;
                    self.mismatches.count += 1;
                    first = first.or(Some((name, is)));
                }
                None => {}
            }
        }
        let (name, _) = first?;
        if *self.mismatches.name != *name {
            self.mismatches.name = name.into();
        }
        let told_ms = self.mismatches.told_ms;
        if told_ms.is_some_and(|told_ms| now_ms.abs_diff(told_ms) < TELL_EACH_MS) {
            return None;
        }
        self.mismatches.told_ms = Some(now_ms);
        first
    }

    /// What was passed over.
    pub fn mismatches(&self) -> &Mismatches {
        &self.mismatches
    }

    /// How often this name was passed over.
    pub fn mismatches_of(&self, name: &[u8]) -> u64 {
        self.entries.get(name).map_or(0, |entry| entry.mismatches)
    }

    /// The place where the [`NameSlot`] of a policy's name is kept, stale at first: see [`super::stats::Stats::renew`].
    pub fn slot(&mut self, name: &[u8]) -> Option<&mut NameSlot> {
        self.entries.get_mut(name).map(|entry| &mut entry.slot)
    }

    /// Deletes what stands under a name, and returns it.
    pub fn del(&mut self, name: &[u8], now_ms: u64) -> Option<Held> {
        let entry = self.entries.remove(name)?;
        self.shadows -= usize::from(entry.held.shadow.is_some());
        self.changed_ms = now_ms;
        self.fingerprint = None;
        Some(entry.held)
    }

    /// Forgets what has ended, sees to it that nothing has more left than it was given, and returns what has ended, sorted by
    /// name.
    pub fn end(&mut self, now_ms: u64) -> Vec<Ended> {
        let mut ended = Vec::new();
        let stepped_back = now_ms < self.looked_ms;
        self.looked_ms = now_ms;
        if now_ms < self.next_end_ms && !stepped_back {
            return ended;
        }
        self.next_end_ms = u64::MAX;
        self.entries.retain(|name, entry| {
            let held = &mut entry.held;
            let mut end = |policy: Policy, is_shadow, lasting| {
                ended.push(Ended {
                    name: name.clone(),
                    policy,
                    is_shadow,
                    lasting,
                });
            };
            if let Some(temporary) = held.temporary.take_if(|it| !it.ends.holds(now_ms)) {
                end(temporary.policy, false, held.lasting.clone());
            }
            if let Some(shadow) = held.shadow.take_if(|it| !it.holds(now_ms)) {
                end(shadow.policy, true, held.lasting.clone());
                self.shadows -= 1;
            }
            let temporary = held.temporary.as_mut().map(|temporary| &mut temporary.ends);
            let shadow = held.shadow.as_mut().and_then(|shadow| shadow.ends.as_mut());
            for ends in temporary.into_iter().chain(shadow) {
                *ends = ends.moved_to(now_ms);
                self.next_end_ms = self.next_end_ms.min(ends.at_ms());
            }
            !held.is_empty()
        });
        ended.sort_unstable_by(|one, other| {
            (&one.name, one.is_shadow).cmp(&(&other.name, other.is_shadow))
        });
        ended
    }

    /// Everything that counts at `now_ms` or is to be back, sorted by name.
    pub fn list(&self, now_ms: u64) -> Vec<(&[u8], &Held)> {
        let entries = self.entries.iter();
        let mut list: Vec<_> = entries
            .filter(|(_, entry)| entry.held.is_current(now_ms))
            .map(|(name, entry)| (&**name, &entry.held))
            .collect();
        list.sort_unstable_by_key(|(name, _)| *name);
        list
    }

    /// Lists about `count` names from `cursor` on, as [`Policies::list`] does but in no order, and the cursor to go on from;
    /// 0 begins, and 0 ends. As SCAN: what is there during the whole scan is listed, once. A cursor is less than 2^53, and
    /// good on the server that gave it, until that restarts.
    pub fn scan(&self, cursor: u64, count: usize, now_ms: u64) -> (u64, Vec<(&[u8], &Held)>) {
        const DROPPED_BITS: u32 = 64 - 53;
        let place = |name: &[u8]| self.entries.hasher().hash_one(name) >> DROPPED_BITS;
        let list = self.list(now_ms).into_iter();
        let placed = list.map(|(name, held)| (place(name), name, held));
        let mut rest: Vec<_> = placed.filter(|(place, ..)| *place >= cursor).collect();
        rest.sort_unstable_by_key(|(place, name, _)| (*place, *name));
        // Names that share a place are listed in one call.
        let last = rest.get(count.max(1) - 1).map(|(place, ..)| *place);
        let end = last.map_or(rest.len(), |last| {
            rest.partition_point(|(place, ..)| *place <= last)
        });
        let next = rest.get(end).map_or(0, |(place, ..)| *place);
        rest.truncate(end);
        let listed = rest.into_iter().map(|(_, name, held)| (name, held));
        (next, listed.collect())
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// When one was set or deleted last, in milliseconds since the Unix epoch; 0 where that was before they were loaded.
    pub fn changed_ms(&self) -> u64 {
        self.changed_ms
    }

    /// What the lasting policies and shadows are, in 64 bits: equal on all nodes that have equal ones. Known from one call to the next,
    /// until one changes.
    ///
    /// The first 8 bytes, in network order, of the SHA-256 of one line for each lasting policy, sorted by name: the length
    /// of the name in decimal, a colon, the name, and the words of RL.POLICY GET, each behind a space; then a line feed.
    /// So `5:login sliding 5 15m`. A shadow without an end is a line of its own behind that of the policy, of which the first
    /// word is `shadow`.
    pub fn fingerprint(&mut self) -> u64 {
        let entries = &self.entries;
        *self.fingerprint.get_or_insert_with(|| {
            let mut lasting: Vec<(&[u8], &str, &Policy)> = Vec::new();
            for (name, entry) in entries {
                let held = &entry.held;
                let shadow = held.shadow.as_ref().filter(|it| it.ends.is_none());
                lasting.extend(held.lasting().map(|policy| (&**name, "", policy)));
                lasting.extend(shadow.map(|shadow| (&**name, " shadow", &shadow.policy)));
            }
            lasting.sort_unstable_by_key(|(name, what, _)| (*name, *what));
            let mut hash = Sha256::new();
            for (name, what, policy) in lasting {
                hash.update(format!("{}:", name.len()));
                hash.update(name);
                hash.update(what);
                for word in policy.words() {
                    hash.update(format!(" {word}"));
                }
                hash.update("\n");
            }
            let hash = hash.finalize();
            let first = hash.first_chunk().copied();
            u64::from_be_bytes(first.unwrap_or_default())
        })
    }

    /// Bytes in use, without the allocator's own. The table does not show how large it is after deletions: then it may
    /// take 50 bytes a policy more.
    pub fn memory_bytes(&self) -> usize {
        let names: usize = self.entries.keys().map(|name| name.len()).sum();
        let held = || self.entries.values().map(|entry| &entry.held);
        let temporary = held().filter(|held| held.temporary.is_some());
        let shadows = held().filter(|held| held.shadow.is_some());
        size_of::<Self>()
            + map_bytes(&self.entries)
            + self.mismatches.name.len()
            + names
            + self.entries.len() * size_of::<Entry>()
            + temporary.count() * size_of::<Temporary>()
            + shadows.count() * size_of::<ShadowPolicy>()
    }
}

#[cfg(test)]
mod tests;
