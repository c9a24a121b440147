//! A set of keys, or a map from them, kept in the order of their hashes.
//!
//! ```text
//!   hash, read as a fraction of 1:  .03     .26 .27 .31          .70 .74     .98
//!   slots (8 homes):               [ a |   | b | c | d |   |   ...
//!                                  home of d is 2 (.31 x 8); 2 and 3 were taken
//! ```
//!
//! Linear probing where a cluster is kept sorted (Amble and Knuth, "Ordered hash tables", The Computer Journal 17,
//! 1974). A key's home is `hash x homes`, so the whole array is sorted by hash, whatever its size. From that follows all
//! that is wanted here:
//! * a miss stops at the first larger key, so it costs as little as a hit: 2.5 slots on average at the fullest (3/4);
//! * growing is one sequential copy, with no second hash;
//! * a scan's cursor is a hash, and stays right when the table grows, shrinks or splits between two calls.
//!
//! A table is one shard until it holds [`SPLIT_AT`] keys and then [`SHARDS`] of them, by the leading bits of the hash. A
//! shard grows on its own, so no single insertion ever moves more than one shard (2,000 keys where there are 500,000).
//!
//! Between 1/2 and 3/4 of the slots are full while keys are added: an IPv4 address (a slot of 8 bytes) takes 10.7 to 16
//! bytes. Below 1/8 the shard shrinks.

use std::cmp::Ordering;

/// How many keys the single first shard holds at most.
const SPLIT_AT: usize = 4096;
/// How many shards there are from then on.
const SHARDS: usize = 256;

/// What a table holds. The order of keys must begin with the order of their hashes.
pub trait Key: Ord {
    /// Spread evenly over all of `u64`.
    fn hash(&self) -> u64;
    /// What the key owns outside the table, in bytes.
    fn heap_bytes(&self) -> usize {
        0
    }
}

/// The high and the low half of a number.
#[allow(
    clippy::cast_possible_truncation,
    reason = "cutting it in two is the point"
)]
pub fn halves(number: u128) -> (u64, u64) {
    ((number >> 64) as u64, number as u64)
}

/// `hash x parts` with the hash read as a fraction of 1: the part it falls into, and how far into it (again a fraction).
fn part(hash: u64, parts: usize) -> (usize, u64) {
    let (whole, fraction) = halves(u128::from(hash) * parts as u128);
    (usize::try_from(whole).unwrap_or(usize::MAX), fraction)
}

/// Keys of one stretch of hashes.
#[derive(Debug)]
struct Shard<K, V> {
    /// `homes` slots, and behind them what the last cluster pushed over the end.
    slots: Vec<Option<(K, V)>>,
    homes: usize,
    len: usize,
    /// How many shards the table has: what makes the hash a fraction of this shard.
    shards: usize,
}

impl<K: Key, V> Shard<K, V> {
    /// Lays sorted pairs out with room for half as many again.
    fn build(sorted: impl Iterator<Item = (K, V)>, len: usize, shards: usize) -> Self {
        let homes = len * 2 + 4;
        let mut shard = Self {
            slots: Vec::with_capacity(homes),
            homes,
            len: 0,
            shards,
        };
        for (key, value) in sorted {
            let home = shard.home(key.hash());
            while shard.slots.len() < home {
                shard.push(None);
            }
            shard.push(Some((key, value)));
            shard.len += 1;
        }
        while shard.slots.len() < homes {
            shard.push(None);
        }
        shard
    }

    /// A slot at the end; never doubles the allocation, as `Vec::push` would.
    fn push(&mut self, slot: Option<(K, V)>) {
        if self.slots.len() == self.slots.capacity() {
            self.slots.reserve_exact(8);
        }
        self.slots.push(slot);
    }

    fn home(&self, hash: u64) -> usize {
        part(part(hash, self.shards).1, self.homes).0
    }

    /// Where the key of that home is, or where it would be.
    #[inline]
    fn seek(&self, home: usize, order: impl Fn(&K) -> Ordering) -> Result<usize, usize> {
        let mut at = home;
        while let Some(Some((key, _))) = self.slots.get(at) {
            match order(key) {
                Ordering::Less => at += 1,
                Ordering::Equal => return Ok(at),
                Ordering::Greater => break,
            }
        }
        Err(at)
    }

    /// Lays the same keys out anew, without those that `keep` refuses.
    fn rebuild(&mut self, keep: impl Fn(&mut V) -> bool) {
        let mut slots = std::mem::take(&mut self.slots);
        let len = slots
            .iter_mut()
            .flatten()
            .filter_map(|(_, value)| keep(value).then_some(()))
            .count();
        let kept = slots.into_iter().flatten();
        let kept = kept.filter_map(|(key, mut value)| keep(&mut value).then_some((key, value)));
        *self = Self::build(kept, len, self.shards);
    }

    /// Puts a key that is not there where [`Shard::seek`] said: the rest of the cluster moves one on.
    fn insert(&mut self, at: usize, key: K, value: V) {
        let mut end = at;
        while let Some(Some(_)) = self.slots.get(end) {
            end += 1;
        }
        if end == self.slots.len() {
            self.push(None);
        }
        if let Some(cluster) = self.slots.get_mut(at..=end) {
            cluster.rotate_right(1);
            if let Some(first) = cluster.first_mut() {
                *first = Some((key, value));
                self.len += 1;
            }
        }
    }

    /// Takes a key out: those behind it that are not at home move one back.
    fn remove(&mut self, at: usize) -> Option<(K, V)> {
        let mut end = at + 1;
        while let Some(Some((key, _))) = self.slots.get(end) {
            if self.home(key.hash()) == end {
                break;
            }
            end += 1;
        }
        let cluster = self.slots.get_mut(at..end)?;
        cluster.rotate_left(1);
        let removed = cluster.last_mut()?.take()?;
        self.len -= 1;
        if self.homes > 16 && self.len < self.homes / 8 {
            self.rebuild(|_| true);
        }
        Some(removed)
    }
}

/// A map from keys to values; a set where the value is `()`.
#[derive(Debug)]
pub struct Table<K, V> {
    /// None, 1 or [`SHARDS`].
    shards: Vec<Shard<K, V>>,
    len: usize,
    key_bytes: usize,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self {
            shards: Vec::new(),
            len: 0,
            key_bytes: 0,
        }
    }
}

impl<K: Key, V> Table<K, V> {
    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// How many slots all keys together are away from home.
    #[cfg(test)]
    pub fn displacement(&self) -> u64 {
        let away = |shard: &Shard<K, V>| {
            let slots = shard.slots.iter().enumerate();
            let away = |(at, slot): (usize, &Option<(K, V)>)| {
                let (key, _) = slot.as_ref()?;
                Some((at - shard.home(key.hash())) as u64)
            };
            slots.filter_map(away).sum::<u64>()
        };
        self.shards.iter().map(away).sum()
    }

    /// What the keys own outside the table, in bytes.
    pub fn key_bytes(&self) -> usize {
        self.key_bytes
    }

    /// Everything the table has allocated, in bytes.
    pub fn memory_bytes(&self) -> usize {
        let slots: usize = self.shards.iter().map(|shard| shard.slots.capacity()).sum();
        self.shards.capacity() * size_of::<Shard<K, V>>()
            + slots * size_of::<Option<(K, V)>>()
            + self.key_bytes
    }

    /// The value of the key that `order` finds equal. `order` compares a key of the table with the one that is sought.
    #[inline]
    pub fn get(&self, hash: u64, order: impl Fn(&K) -> Ordering) -> Option<&V> {
        let (number, rest) = part(hash, self.shards.len());
        let shard = self.shards.get(number)?;
        let at = shard.seek(part(rest, shard.homes).0, order).ok()?;
        shard.slots.get(at)?.as_ref().map(|(_, value)| value)
    }

    fn shard_mut(&mut self, hash: u64) -> Option<&mut Shard<K, V>> {
        let number = part(hash, self.shards.len()).0;
        self.shards.get_mut(number)
    }

    /// Adds a key, or replaces its value. Whether it was not there.
    pub fn put(&mut self, key: K, value: V) -> bool {
        if self.shards.is_empty() {
            self.shards.reserve_exact(1);
            self.shards.push(Shard::build(std::iter::empty(), 0, 1));
        }
        if self.shards.len() == 1 && self.len == SPLIT_AT {
            self.split();
        }
        let hash = key.hash();
        let Some(shard) = self.shard_mut(hash) else {
            return false;
        };
        let at = match shard.seek(shard.home(hash), |other| other.cmp(&key)) {
            Ok(at) => {
                if let Some(Some((_, old))) = shard.slots.get_mut(at) {
                    *old = value;
                }
                return false;
            }
            Err(_) if (shard.len + 1) * 4 > shard.homes * 3 => {
                shard.rebuild(|_| true);
                shard
                    .seek(shard.home(hash), |other| other.cmp(&key))
                    .unwrap_or_else(|at| at)
            }
            Err(at) => at,
        };
        let key_bytes = key.heap_bytes();
        shard.insert(at, key, value);
        self.len += 1;
        self.key_bytes += key_bytes;
        true
    }

    /// From one shard to many: they are stretches of the one, as both are sorted by hash.
    fn split(&mut self) {
        let mut sorted = std::mem::take(&mut self.shards)
            .into_iter()
            .flat_map(|shard| shard.slots)
            .flatten()
            .peekable();
        self.shards.reserve_exact(SHARDS);
        for number in 0..SHARDS {
            let mut own = Vec::new();
            while let Some(pair) = sorted.next_if(|(key, _)| part(key.hash(), SHARDS).0 == number) {
                own.push(pair);
            }
            let len = own.len();
            self.shards.push(Shard::build(own.into_iter(), len, SHARDS));
        }
    }

    /// Takes a key out. Whether it was there.
    pub fn remove(&mut self, hash: u64, order: impl Fn(&K) -> Ordering) -> bool {
        let Some(shard) = self.shard_mut(hash) else {
            return false;
        };
        let Ok(at) = shard.seek(shard.home(hash), order) else {
            return false;
        };
        let Some((key, _)) = shard.remove(at) else {
            return false;
        };
        self.len -= 1;
        self.key_bytes -= key.heap_bytes();
        self.forget_if_empty();
        true
    }

    /// An empty table holds no memory.
    fn forget_if_empty(&mut self) {
        if self.len == 0 {
            self.shards = Vec::new();
        }
    }

    /// Every key whose hash is at least `hash`, with its value, in order.
    pub fn iter_from(&self, hash: u64) -> impl Iterator<Item = (&K, &V)> {
        let first = part(hash, self.shards.len()).0;
        self.shards
            .iter()
            .enumerate()
            .skip(first)
            .flat_map(move |(number, shard)| {
                let from = if number == first { shard.home(hash) } else { 0 };
                shard.slots.get(from..).unwrap_or_default()
            })
            .flatten()
            .map(|(key, value)| (key, value))
            .skip_while(move |(key, _)| key.hash() < hash)
    }

    /// How many shards [`Table::sweep`] can be asked for.
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// Removes from one shard what `keep`, which may change a value, refuses. Returns how many slots were looked at.
    pub fn sweep(&mut self, number: usize, keep: impl Fn(&mut V) -> bool) -> usize {
        let Some(shard) = self.shards.get_mut(number) else {
            return 0;
        };
        let looked_at = shard.slots.len();
        let (mut gone, mut bytes) = (0, 0);
        for (key, value) in shard.slots.iter_mut().flatten() {
            if !keep(value) {
                gone += 1;
                bytes += key.heap_bytes();
            }
        }
        if gone > 0 {
            shard.rebuild(keep);
            self.len -= gone;
            self.key_bytes -= bytes;
            self.forget_if_empty();
        }
        looked_at
    }

    /// Frees one shard with all its keys. Returns how many slots it had, or `None` when nothing is left. The table is of
    /// no more use: this is for taking a large one down in slices.
    pub fn dismantle(&mut self) -> Option<usize> {
        let shard = self.shards.pop()?;
        let bytes: usize = shard
            .slots
            .iter()
            .flatten()
            .map(|(key, _)| key.heap_bytes())
            .sum();
        self.len -= shard.len;
        self.key_bytes -= bytes;
        self.forget_if_empty();
        Some(shard.slots.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::random::Random;
    use std::collections::BTreeMap;

    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    struct Hash(u64);

    impl Key for Hash {
        fn hash(&self) -> u64 {
            self.0
        }
    }

    /// Sorted, nothing before its home, no gap between a home and its key, every number right.
    fn check(table: &Table<Hash, u32>, model: &BTreeMap<u64, u32>) {
        let all: Vec<(u64, u32)> = table.iter_from(0).map(|(k, v)| (k.0, *v)).collect();
        let expected: Vec<(u64, u32)> = model.iter().map(|(k, v)| (*k, *v)).collect();
        assert_eq!(all, expected);
        assert_eq!(table.len(), model.len());
        assert!(matches!(table.shards.len(), 0 | 1 | SHARDS));
        for (number, shard) in table.shards.iter().enumerate() {
            assert!(shard.len * 4 <= shard.homes * 3, "more than 3/4 full");
            let unused = shard.slots.capacity() - shard.slots.len();
            let spilled = shard.slots.len() - shard.homes;
            assert!(
                unused < 8 && (spilled > 0 || unused == 0),
                "{unused} unused"
            );
            let mut gap = 0;
            for (at, slot) in shard.slots.iter().enumerate() {
                match slot {
                    None => gap = at + 1,
                    Some((key, _)) => {
                        assert_eq!(part(key.0, table.shards.len()).0, number);
                        assert!((gap..=at).contains(&shard.home(key.0)));
                    }
                }
            }
            assert_eq!(shard.slots.iter().flatten().count(), shard.len);
        }
    }

    /// Hashes of three kinds: spread, all in one shard, and all alike in the leading bits (the worst clusters).
    #[test]
    fn does_what_a_sorted_map_does() {
        for (seed, low, high, steps) in [
            (1, 0, u64::MAX, 60_000),
            (2, 0, 1 << 54, 20_000),
            (3, u64::MAX - 700, u64::MAX, 20_000),
        ] {
            let mut random = Random(seed);
            let mut table = Table::default();
            let mut model = BTreeMap::new();
            let mut seen = Vec::new();
            for step in 0..steps {
                let value = u32::try_from(step).unwrap();
                // First mostly growing, then mostly shrinking.
                let grow = if step < steps / 2 { 9 } else { 2 };
                let hash = match random.below(2) {
                    0 if !seen.is_empty() => seen[random.index(seen.len())],
                    _ => low + random.below(high - low),
                };
                if random.below(10) < grow {
                    table.put(Hash(hash), value);
                    model.insert(hash, value);
                    seen.push(hash);
                } else {
                    let removed = table.remove(hash, |key| key.0.cmp(&hash));
                    assert_eq!(removed, model.remove(&hash).is_some());
                }
                assert_eq!(table.get(hash, |key| key.0.cmp(&hash)), model.get(&hash));
                if step % 997 == 0 {
                    check(&table, &model);
                    let from = low + random.below(high - low);
                    let tail: Vec<u64> = table.iter_from(from).map(|(key, _)| key.0).collect();
                    assert!(tail.iter().eq(model.range(from..).map(|(key, _)| key)));
                }
            }
            check(&table, &model);
            for number in 0..table.shards() {
                table.sweep(number, |value| *value % 3 != 0);
            }
            model.retain(|_, value| *value % 3 != 0);
            check(&table, &model);
            for hash in model.keys() {
                assert!(table.remove(*hash, |key| key.0.cmp(hash)));
            }
            assert_eq!((table.len(), table.memory_bytes()), (0, 0));
        }
    }

    #[test]
    fn no_insertion_moves_many_keys() {
        let mut random = Random(4);
        let mut table = Table::default();
        for _ in 0..500_000 {
            table.put(Hash(random.next()), ());
        }
        assert_eq!(table.shards(), SHARDS);
        let largest = table.shards.iter().map(|shard| shard.slots.len()).max();
        assert!(largest < Some(8_192), "a shard has {largest:?} slots");
    }

    #[test]
    fn memory_is_given_back() {
        let mut table = Table::default();
        let hashes: Vec<u64> = (0..100_000_u64).map(|n| Random(n).next()).collect();
        for hash in &hashes {
            table.put(Hash(*hash), ());
        }
        let full = table.memory_bytes();
        for hash in &hashes[1_000..] {
            assert!(table.remove(*hash, |key| key.0.cmp(hash)));
        }
        assert_eq!(table.len(), 1_000);
        assert!(
            table.memory_bytes() * 4 < full,
            "{} of {full}",
            table.memory_bytes()
        );
        while table.dismantle().is_some() {}
        assert_eq!((table.len(), table.memory_bytes()), (0, 0));
    }
}
