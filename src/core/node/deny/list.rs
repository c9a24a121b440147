//! One deny list: its values by kind, and a scan over them.

use super::address::{Net, Value};
use super::encoding;
use super::entries::{Entries, Permanent, Sweep};
use super::key::{Address, Seed, Text};
use super::ranges::Ranges;
use super::table::Key;
use super::until::Until;

/// A deny list.
#[derive(Debug, Default)]
pub struct List {
    v4: Ranges<u32>,
    v6: Ranges<u128>,
    texts: Entries<Text>,
    /// See [`List::fingerprint`].
    fingerprint: u64,
}

/// A cursor is the number of a section (texts, then each length of each family) above the leading bits of a hash: less
/// than 2^53, so that a client in JavaScript carries it unharmed.
const CURSOR_HASH_BITS: u32 = 45;
const FIRST_SECTION_V4: u64 = 1;
const FIRST_SECTION_V6: u64 = FIRST_SECTION_V4 + 33;

/// A scan under way.
struct Scan<F> {
    /// Where to go on.
    cursor: u64,
    /// How many entries may still be looked at.
    left: usize,
    visit: F,
}

impl<F: FnMut(Value<'_>, Until)> Scan<F> {
    /// Visits a section from the cursor on. Whether the scan may go on to the next section.
    fn section<'a, K: Key + 'a>(
        &mut self,
        section: u64,
        entries: &'a Entries<K>,
        open: impl Fn(&'a K) -> Value<'a>,
    ) -> bool {
        let first = section << CURSOR_HASH_BITS;
        let next = (section + 1) << CURSOR_HASH_BITS;
        if self.cursor >= next {
            return true;
        }
        let dropped_bits = 64 - CURSOR_HASH_BITS;
        let from = self.cursor.saturating_sub(first) << dropped_bits;
        self.cursor = self.cursor.max(first);
        for (key, until) in entries.iter_from(from) {
            let here = first + (key.hash() >> dropped_bits);
            // Keys that share a cursor are visited in one call.
            if self.left == 0 && here >= self.cursor {
                self.cursor = here;
                return false;
            }
            self.left = self.left.saturating_sub(1);
            self.cursor = here + 1;
            (self.visit)(open(key), until);
        }
        self.cursor = next;
        true
    }

    /// Visits one section for each length of a family, the longest first, as [`Scan::section`] does.
    fn levels<A: Address>(&mut self, first: u64, ranges: &Ranges<A>, seed: Seed) -> bool {
        ranges.levels().iter().all(|level| {
            let length = level.length;
            let section = first + u64::from(A::BITS.saturating_sub(length));
            self.section(section, &level.entries, |key| {
                let base = A::open(*key, seed);
                A::value(Net { length, base })
            })
        })
    }
}

impl List {
    /// How many entries it holds, with those that have expired and are not yet removed.
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len() + self.texts.len()
    }

    /// The length of all texts together.
    pub fn text_bytes(&self) -> usize {
        self.texts.key_bytes()
    }

    /// Everything the list has allocated, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.v4.memory_bytes() + self.v6.memory_bytes() + self.texts.memory_bytes()
    }

    /// How long this very entry holds, were it in the past.
    pub fn get(&self, value: Value<'_>, seed: Seed) -> Option<Until> {
        match value {
            Value::V4(net) => self.v4.get(net, seed),
            Value::V6(net) => self.v6.get(net, seed),
            Value::Text(bytes) => self.get_text(bytes, seed),
        }
    }

    fn get_text(&self, bytes: &[u8], seed: Seed) -> Option<Until> {
        if self.texts.len() == 0 {
            return None;
        }
        let hash = Text::hash_of(bytes, seed);
        self.texts.get(hash, |other| other.order(hash, bytes))
    }

    /// Whether the list denies the value at `now_ms`, and how long: of several entries, as long as the longest.
    #[inline]
    pub fn find(&self, value: Value<'_>, seed: Seed, now_ms: u64) -> Option<Until> {
        match value {
            Value::V4(net) => self.v4.covering(net, seed, now_ms),
            Value::V6(net) => self.v6.covering(net, seed, now_ms),
            Value::Text(bytes) => self
                .get_text(bytes, seed)
                .filter(|until| until.holds(now_ms)),
        }
    }

    /// How far keys are from where they belong: what a crafted list makes long.
    #[cfg(test)]
    pub fn displacement(&self) -> u64 {
        let levels = self.v6.levels().iter();
        levels.map(|level| level.entries.displacement()).sum()
    }

    /// Whether the list denies a value as it is written, or else the address that it is in the wild: as what, and how long.
    #[inline]
    pub fn find_text<'a>(
        &self,
        text: &'a [u8],
        seed: Seed,
        now_ms: u64,
    ) -> Option<(Value<'a>, Until)> {
        let written = Value::parse(text);
        if let Some(until) = self.find(written, seed, now_ms) {
            return Some((written, until));
        }
        let Value::Text(_) = written else {
            return None;
        };
        let arrived = Value::parse_arrived(text)?;
        Some((arrived, self.find(arrived, seed, now_ms)?))
    }

    /// Adds an entry, or says anew how long it holds.
    pub fn put(&mut self, value: Value<'_>, until: Until, seed: Seed) {
        let change = match value {
            Value::V4(net) => self.v4.put(net, until, seed),
            Value::V6(net) => self.v6.put(net, until, seed),
            Value::Text(bytes) => self.texts.put(Text::new(bytes, seed), until),
        };
        self.mark(value, change);
    }

    /// Takes this very entry out.
    pub fn remove(&mut self, value: Value<'_>, seed: Seed) {
        let change = match value {
            Value::V4(net) => self.v4.remove(net, seed),
            Value::V6(net) => self.v6.remove(net, seed),
            Value::Text(bytes) => {
                let hash = Text::hash_of(bytes, seed);
                self.texts.remove(hash, |other| other.order(hash, bytes))
            }
        };
        self.mark(value, change);
    }

    /// What the permanent entries are, in 64 bits: equal wherever they are equal, in whatever order they came, and kept up
    /// to date with each change, as to go through millions would take long.
    ///
    /// The sum, modulo 2^64, over the permanent entries: of each the first 8 bytes, in network order, of the SHA-256 of its
    /// bytes as [`encoding`] has them. So of `10.0.0.0/8` of the bytes 4, 8, 10, 0, 0, 0.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    fn mark(&mut self, value: Value<'_>, change: Permanent) {
        self.fingerprint = match change {
            Permanent::Added => self.fingerprint.wrapping_add(encoding::mark(value)),
            Permanent::Removed => self.fingerprint.wrapping_sub(encoding::mark(value)),
            Permanent::Same => return,
        };
    }

    /// Visits about `count` entries from `cursor` (0: the beginning) on, and returns the cursor to go on from (0: done).
    pub fn scan(
        &self,
        cursor: u64,
        count: usize,
        seed: Seed,
        visit: impl FnMut(Value<'_>, Until),
    ) -> u64 {
        let mut scan = Scan {
            cursor,
            left: count.max(1),
            visit,
        };
        let done = scan.section(0, &self.texts, |text| Value::Text(text.bytes()))
            && scan.levels(FIRST_SECTION_V4, &self.v4, seed)
            && scan.levels(FIRST_SECTION_V6, &self.v6, seed);
        if done {
            0
        } else {
            scan.cursor
        }
    }

    /// Visits everything that holds at `now_ms`, in the order of [`Value`].
    pub fn visit_sorted(&self, seed: Seed, now_ms: u64, mut visit: impl FnMut(Value<'_>, Until)) {
        self.v4.visit_sorted(seed, now_ms, &mut visit);
        self.v6.visit_sorted(seed, now_ms, &mut visit);
        let mut texts: Vec<(&[u8], Until)> = self
            .texts
            .iter_from(0)
            .filter(|(_, until)| until.holds(now_ms))
            .map(|(text, until)| (text.bytes(), until))
            .collect();
        texts.sort_unstable();
        for (text, until) in texts {
            visit(Value::Text(text), until);
        }
    }

    /// Removes what has expired, from shard `from` on, until `budget` slots were looked at (a shard is always done
    /// whole). Lowers `budget` by these, and returns the shard to go on with, or `None` at the end of the list.
    pub fn sweep(
        &mut self,
        seed: Seed,
        now_ms: u64,
        from: usize,
        budget: &mut usize,
    ) -> Option<usize> {
        let mut sweep = Sweep {
            now_ms,
            from,
            seen: 0,
            budget: *budget,
        };
        self.texts.sweep(&mut sweep);
        self.v4.sweep(&mut sweep, seed);
        self.v6.sweep(&mut sweep, seed);
        *budget = sweep.budget;
        (sweep.budget == 0).then_some(sweep.seen)
    }

    /// Frees one shard of any table: see [`super::table::Table::dismantle`].
    pub fn dismantle(&mut self) -> Option<usize> {
        self.v4
            .dismantle()
            .or_else(|| self.v6.dismantle())
            .or_else(|| self.texts.dismantle())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    struct Hash(u64);

    impl Key for Hash {
        fn hash(&self) -> u64 {
            self.0
        }
    }

    /// Hashes so near one another that four share a cursor, and the next four have the next one.
    #[test]
    fn keys_that_share_a_cursor_come_in_one_call() {
        let mut entries = Entries::default();
        for n in 0..400 {
            entries.put(
                Hash(n << 17),
                if n % 3 == 0 {
                    Until::at(1)
                } else {
                    Until::Forever
                },
            );
        }
        for left in 1..9 {
            let mut seen = Vec::new();
            let mut cursor = 7 << CURSOR_HASH_BITS;
            loop {
                let before = seen.len();
                let visit = |value: Value<'_>, _| {
                    if let Value::V6(net) = value {
                        seen.push(net.base);
                    }
                };
                let mut scan = Scan {
                    cursor,
                    left,
                    visit,
                };
                let open = |key: &Hash| {
                    Value::V6(Net {
                        length: 128,
                        base: key.0.into(),
                    })
                };
                let is_done = scan.section(7, &entries, open);
                cursor = scan.cursor;
                assert_eq!(seen.len() - before, left.div_ceil(4) * 4);
                // No more keys, though the scan only finds that out when it looks for the next.
                if is_done || seen.len() == 400 {
                    break;
                }
            }
            assert!(
                seen.iter().copied().eq((0..400).map(|n| n << 17)),
                "{left}: {seen:?}"
            );
        }
    }
}
