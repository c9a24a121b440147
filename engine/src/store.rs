//! The keys of an engine, each with its limiter and the time at which it expires; never more than there may be.
//!
//! ```text
//! keys   login:alice -> limiter, expires at 1700000900000
//! ends   (1700000900000, login:alice), the soonest first
//! ```

use crate::server::data_type::Value;
use ahash::RandomState;
use hashbrown::HashMap;
use std::collections::BTreeSet;
use std::sync::Arc;

/// How many keys that have expired a call removes by the way, so that no call waits long for it.
const REMOVED_BY_THE_WAY: usize = 32;

/// See the module.
#[derive(Debug)]
pub struct Store {
    keys: HashMap<Arc<[u8]>, Held, RandomState>,
    ends: BTreeSet<(u64, Arc<[u8]>)>,
    max_keys: usize,
    now_ms: u64,
}

#[derive(Debug)]
struct Held {
    value: Value,
    ends_ms: Option<u64>,
}

impl Store {
    /// Of no more keys than so many.
    pub fn new(max_keys: usize, [a, b, c, d]: [u64; 4]) -> Self {
        Self {
            keys: HashMap::with_hasher(RandomState::with_seeds(a, b, c, d)),
            ends: BTreeSet::new(),
            max_keys,
            now_ms: 0,
        }
    }

    /// A call begins, and this is its time.
    pub fn begin(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        for _ in 0..REMOVED_BY_THE_WAY {
            if !self.remove_soonest() {
                break;
            }
        }
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// How many there may be.
    pub fn max_keys(&self) -> usize {
        self.max_keys
    }

    /// What a key holds; one that has expired holds nothing, and is gone.
    pub fn value(&mut self, name: &[u8]) -> Option<&Value> {
        let held = self.keys.get(name)?;
        if held.ends_ms.is_some_and(|ends_ms| ends_ms < self.now_ms) {
            self.delete(name);
            return None;
        }
        self.keys.get(name).map(|held| &held.value)
    }

    /// Whether there is such a key.
    pub fn holds(&mut self, name: &[u8]) -> bool {
        self.value(name).is_some()
    }

    /// Whether there is no room for these keys, so far as they are new. Those that have expired make room.
    pub fn is_full_for(&mut self, names: &[&[u8]]) -> bool {
        let new = names.iter().filter(|name| !self.holds(name)).count();
        while self.keys.len() + new > self.max_keys {
            if !self.remove_soonest() {
                return true;
            }
        }
        false
    }

    /// Has a key hold this, without a TTL.
    pub fn put(&mut self, name: &[u8], value: Value) {
        self.delete(name);
        let ends_ms = None;
        self.keys.insert(name.into(), Held { value, ends_ms });
    }

    /// Removes a key. Whether there was one.
    pub fn delete(&mut self, name: &[u8]) -> bool {
        let Some((name, held)) = self.keys.remove_entry(name) else {
            return false;
        };
        let is_over = held.ends_ms.is_some_and(|ends_ms| ends_ms < self.now_ms);
        if let Some(ends_ms) = held.ends_ms {
            self.ends.remove(&(ends_ms, name));
        }
        !is_over
    }

    /// When a key expires.
    pub fn expires_ms(&self, name: &[u8]) -> Option<u64> {
        self.keys.get(name)?.ends_ms
    }

    /// Has a key expire then.
    pub fn expire_at(&mut self, name: &[u8], at_ms: u64) {
        let Some((name, held)) = self.keys.get_key_value_mut(name) else {
            return;
        };
        if let Some(before_ms) = held.ends_ms.replace(at_ms) {
            self.ends.remove(&(before_ms, name.clone()));
        }
        self.ends.insert((at_ms, name.clone()));
    }

    /// Removes the key that expires first, if it has expired.
    fn remove_soonest(&mut self) -> bool {
        let soonest = self.ends.first();
        let Some((_, name)) = soonest.filter(|(ends_ms, _)| *ends_ms < self.now_ms) else {
            return false;
        };
        let name = name.clone();
        self.delete(&name);
        true
    }
}
