//! Who is denied, until when: what the server said once is not asked again before then. Off unless it is given memory.

use std::collections::hash_map::RandomState;
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::call::Verdict;

const SHARDS: usize = 16;
/// Bytes of an entry beside its key's.
const ENTRY: usize = 96;

pub struct Denied {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
    /// Bytes of one shard; 0 where the cache is off.
    bytes: usize,
    era: AtomicU64,
}

#[derive(Default)]
struct Shard {
    entries: HashMap<String, Entry>,
    bytes: usize,
}

struct Entry {
    until: Instant,
    cost: i64,
    verdict: Verdict,
}

impl Denied {
    pub fn new(bytes: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self {
            shards,
            hasher: RandomState::new(),
            bytes: bytes / SHARDS,
            era: AtomicU64::new(0),
        }
    }

    /// What is put must have been asked in this era: a limit that was replaced on the way says nothing of the next one.
    pub fn era(&self) -> u64 {
        self.era.load(SeqCst)
    }

    pub fn clear(&self) {
        self.era.fetch_add(1, SeqCst);
        for shard in &self.shards {
            *shard.lock().unwrap_or_else(PoisonError::into_inner) = Shard::default();
        }
    }

    fn shard(&self, key: &str) -> Option<std::sync::MutexGuard<'_, Shard>> {
        if self.bytes == 0 {
            return None;
        }
        let shards = u64::try_from(SHARDS).unwrap_or(1);
        let index = usize::try_from(self.hasher.hash_one(key) % shards).unwrap_or(0);
        self.shards
            .get(index)
            .map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The answer to a hit of this cost, where it is known: a hit that costs as much as one that was denied, or more.
    pub fn get(&self, key: &str, cost: i64, now: Instant) -> Option<Verdict> {
        let shard = self.shard(key)?;
        let entry = shard.entries.get(key)?;
        let left = entry
            .until
            .checked_duration_since(now)
            .filter(|left| !left.is_zero())?;
        let left = i64::try_from(left.as_millis())
            .unwrap_or(i64::MAX)
            .saturating_add(1);
        (cost > 0 && cost >= entry.cost).then_some(Verdict {
            retry_after: left,
            reset_after: entry.verdict.reset_after.min(left),
            cached: true,
            ..entry.verdict
        })
    }

    /// Keeps a denial whose end is known.
    pub fn put(&self, key: &str, cost: i64, verdict: Verdict, now: Instant, era: u64) {
        let Ok(wait) = u64::try_from(verdict.retry_after) else {
            return;
        };
        if verdict.allowed || wait == 0 || cost < 1 {
            return;
        }
        let Some(mut shard) = self.shard(key) else {
            return;
        };
        if era != self.era() {
            return;
        }
        let Some(until) = now.checked_add(Duration::from_millis(wait)) else {
            return;
        };
        let size = key.len() + ENTRY;
        if shard.bytes + size > self.bytes && !shard.entries.contains_key(key) {
            shard.entries.retain(|_, entry| entry.until > now);
            shard.bytes = shard.entries.keys().map(|key| key.len() + ENTRY).sum();
            if shard.bytes + size > self.bytes {
                return;
            }
        }
        if shard
            .entries
            .insert(
                key.to_owned(),
                Entry {
                    until,
                    cost,
                    verdict,
                },
            )
            .is_none()
        {
            shard.bytes += size;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DENIED: Verdict = Verdict {
        allowed: false,
        limit: 5,
        remaining: 0,
        retry_after: 1_000,
        reset_after: 1_000,
        cached: false,
    };

    #[test]
    fn a_denial_is_known_until_it_ends() {
        let cache = Denied::new(1 << 20);
        let now = Instant::now();
        cache.put("k", 2, DENIED, now, 0);
        assert!(cache
            .get("k", 2, now)
            .is_some_and(|v| v.cached && !v.allowed && v.retry_after >= 1_000));
        assert_eq!(cache.get("k", 1, now), None, "a smaller cost may fit");
        assert_eq!(cache.get("k", 0, now), None, "a look is asked");
        assert_eq!(cache.get("k", 2, now + Duration::from_millis(1_000)), None);
    }

    #[test]
    fn it_is_bounded_and_off_without_memory() {
        let cache = Denied::new(16 * 1_000);
        let now = Instant::now();
        for i in 0..10_000 {
            cache.put(&format!("key-{i}"), 1, DENIED, now, 0);
        }
        let bytes: usize = cache.shards.iter().map(|s| s.lock().unwrap().bytes).sum();
        assert!(bytes > 0 && bytes <= 16 * 1_000);
        // What has ended makes room.
        let later = now + Duration::from_secs(2);
        cache.put("new", 1, DENIED, later, 0);
        assert!(cache.get("new", 1, later).is_some());
        let off = Denied::new(0);
        off.put("k", 1, DENIED, now, 0);
        assert_eq!(off.get("k", 1, now), None);
    }

    #[test]
    fn what_has_no_end_is_not_kept() {
        let cache = Denied::new(1 << 20);
        let now = Instant::now();
        cache.put(
            "k",
            1,
            Verdict {
                retry_after: -1,
                ..DENIED
            },
            now,
            0,
        );
        assert_eq!(cache.get("k", 1, now), None);
    }

    #[test]
    fn what_was_said_of_replaced_limits_is_forgotten() {
        let cache = Denied::new(1 << 20);
        let now = Instant::now();
        cache.put("k", 1, DENIED, now, cache.era());
        let asked = cache.era();
        cache.clear();
        assert_eq!(cache.get("k", 1, now), None);
        cache.put("k", 1, DENIED, now, asked);
        assert_eq!(cache.get("k", 1, now), None, "it was asked before");
    }
}
