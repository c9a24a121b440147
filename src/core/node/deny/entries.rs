//! Keys, each with the time it holds.
//!
//! Those that expire are in a table of their own, so that permanent ones pay nothing for them: neither memory, nor more
//! than one test when they are looked up.

use super::table::{Key, Table};
use super::until::Until;
use crate::core::node::ends::Ends;
use std::cmp::Ordering;

/// What a change has made of the permanent entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permanent {
    /// There is one more.
    Added,
    /// There is one less.
    Removed,
    /// They are what they were.
    Same,
}

/// Entries of one kind and length: each key is in one of the two tables.
#[derive(Debug)]
pub struct Entries<K> {
    permanent: Table<K, ()>,
    temporary: Table<K, Ends>,
}

impl<K> Default for Entries<K> {
    fn default() -> Self {
        Self {
            permanent: Table::default(),
            temporary: Table::default(),
        }
    }
}

impl<K: Key> Entries<K> {
    /// How many keys there are, with those that have expired and are not yet removed.
    pub fn len(&self) -> usize {
        self.permanent.len() + self.temporary.len()
    }

    /// See [`Table::displacement`].
    #[cfg(test)]
    pub fn displacement(&self) -> u64 {
        self.permanent.displacement() + self.temporary.displacement()
    }

    /// What the keys own outside the tables, in bytes.
    pub fn key_bytes(&self) -> usize {
        self.permanent.key_bytes() + self.temporary.key_bytes()
    }

    /// Everything the tables have allocated, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.permanent.memory_bytes() + self.temporary.memory_bytes()
    }

    /// How long the key holds, were it in the past. `order` compares a key of the table with the one that is sought.
    #[inline]
    pub fn get(&self, hash: u64, order: impl Fn(&K) -> Ordering) -> Option<Until> {
        if self.permanent.get(hash, &order).is_some() {
            return Some(Until::Forever);
        }
        if self.temporary.len() == 0 {
            return None;
        }
        self.temporary.get(hash, order).copied().map(Until::At)
    }

    /// Adds a key, or says anew how long it holds.
    pub fn put(&mut self, key: K, until: Until) -> Permanent {
        match until {
            Until::Forever => {
                self.temporary.remove(key.hash(), |other| other.cmp(&key));
                match self.permanent.put(key, ()) {
                    true => Permanent::Added,
                    false => Permanent::Same,
                }
            }
            Until::At(ends) => {
                let removed = self.permanent.remove(key.hash(), |other| other.cmp(&key));
                self.temporary.put(key, ends);
                match removed {
                    true => Permanent::Removed,
                    false => Permanent::Same,
                }
            }
        }
    }

    /// Takes a key out.
    pub fn remove(&mut self, hash: u64, order: impl Fn(&K) -> Ordering) -> Permanent {
        if self.permanent.remove(hash, &order) {
            return Permanent::Removed;
        }
        self.temporary.remove(hash, order);
        Permanent::Same
    }

    /// Both tables in one order. Merged, so that an entry which moves from one to the other during a scan is not missed.
    pub fn iter_from(&self, hash: u64) -> impl Iterator<Item = (&K, Until)> {
        let mut permanent = self.permanent.iter_from(hash).peekable();
        let mut temporary = self.temporary.iter_from(hash).peekable();
        std::iter::from_fn(move || {
            let is_next_permanent = match (permanent.peek(), temporary.peek()) {
                (Some((one, _)), Some((other, _))) => one < other,
                (one, _) => one.is_some(),
            };
            if is_next_permanent {
                permanent.next().map(|(key, ())| (key, Until::Forever))
            } else {
                temporary.next().map(|(key, ends)| (key, Until::At(*ends)))
            }
        })
    }

    /// Frees one shard: see [`Table::dismantle`].
    pub fn dismantle(&mut self) -> Option<usize> {
        self.permanent
            .dismantle()
            .or_else(|| self.temporary.dismantle())
    }

    /// Takes part in a sweep: what has ended goes, and where the clock was stepped back, nothing has more left than it was
    /// given.
    pub fn sweep(&mut self, sweep: &mut Sweep) {
        let now_ms = sweep.now_ms;
        for number in 0..self.temporary.shards() {
            if sweep.budget == 0 {
                return;
            }
            if sweep.seen >= sweep.from {
                let looked_at = self.temporary.sweep(number, |ends| {
                    *ends = ends.moved_to(now_ms);
                    ends.holds(now_ms)
                });
                sweep.budget = sweep.budget.saturating_sub(looked_at);
            }
            sweep.seen += 1;
        }
    }
}

/// One bounded step of removing what has expired from a list.
#[derive(Debug)]
pub struct Sweep {
    /// Milliseconds since the Unix epoch.
    pub now_ms: u64,
    /// The shard to begin with, counted over all tables of temporary entries.
    pub from: usize,
    /// Shards seen so far.
    pub seen: usize,
    /// Slots that may still be looked at.
    pub budget: usize,
}
