//! The addresses and ranges of one family, and which of them cover an address.
//!
//! There is one table for each length in use. An address is checked by cutting it to the lengths in turn and looking
//! each up; the longest is the address itself.
//!
//! Real lists use about twenty lengths, so most look-ups are in vain. To avoid them, the address space is cut into blocks
//! (all addresses that share the first 16 bits in IPv4, 32 in IPv6), and for each block with longer ranges in it one word
//! says which lengths these have:
//!
//! ```text
//! 10.7.3.9   block 10.7/16: /20 and /24   look up /32, /24, /20 and what is in use of /16 ... /0
//! 10.8.3.9   no such block                look up /32           and what is in use of /16 ... /0
//! ```
//!
//! The word of a block is exact when a list is only added to. Removals leave it as it is (a look-up in vain, never a wrong
//! answer), until there are more than twice as many blocks as ranges; then all words are made anew, at 0.1 us a range.

use super::address::{Net, Value};
use super::entries::{Entries, Permanent, Sweep};
use super::key::{Address, Seed};
use super::table::{Key, Table};
use super::until::Until;

/// All ranges of one length.
#[derive(Debug)]
pub struct Level<A: Address> {
    /// How many bits they fix.
    pub length: u8,
    /// These bits.
    mask: A,
    /// The length as a bit of a block's word.
    bit: A,
    /// By their lowest address.
    pub entries: Entries<A::Key>,
}

/// The addresses and ranges of one family.
#[derive(Debug)]
pub struct Ranges<A: Address> {
    /// Only lengths in use, longest first.
    levels: Vec<Level<A>>,
    /// The word of each block that has one.
    blocks: Table<A::Key, A>,
}

impl<A: Address> Default for Ranges<A> {
    fn default() -> Self {
        Self {
            levels: Vec::new(),
            blocks: Table::default(),
        }
    }
}

/// Whether ranges of this length are found through their block.
fn is_in_block<A: Address>(length: u8) -> bool {
    A::BLOCK < length && length < A::BITS
}

impl<A: Address> Ranges<A> {
    fn position(&self, length: u8) -> Result<usize, usize> {
        self.levels
            .binary_search_by(|level| length.cmp(&level.length))
    }

    /// The lengths in use, longest first.
    pub fn levels(&self) -> &[Level<A>] {
        &self.levels
    }

    /// How long this very range holds, were it in the past.
    pub fn get(&self, net: Net<A>, seed: Seed) -> Option<Until> {
        let level = self.levels.get(self.position(net.length).ok()?)?;
        let key = net.base.seal(seed);
        level.entries.get(key.hash(), |other| other.cmp(&key))
    }

    /// The longest that an entry holds which covers the whole of `net`.
    #[inline]
    pub fn covering(&self, net: Net<A>, seed: Seed, now_ms: u64) -> Option<Until> {
        let mut longest = None;
        let mut lengths = A::OUTSIDE_BLOCKS;
        if self.blocks.len() > 0 {
            let key = (net.base & A::mask(A::BLOCK)).seal(seed);
            if let Some(word) = self.blocks.get(key.hash(), |other| other.cmp(&key)) {
                lengths = lengths | *word;
            }
        }
        for level in &self.levels {
            if level.bit & lengths == A::default() || level.length > net.length {
                continue;
            }
            let key = (net.base & level.mask).seal(seed);
            let until = level.entries.get(key.hash(), |other| other.cmp(&key));
            if until == Some(Until::Forever) {
                return until;
            }
            longest = longest.max(until.filter(|until| until.holds(now_ms)));
        }
        longest
    }

    /// Adds a range, or says anew how long it holds.
    pub fn put(&mut self, net: Net<A>, until: Until, seed: Seed) -> Permanent {
        let at = self.position(net.length).unwrap_or_else(|at| {
            let level = Level {
                length: net.length,
                mask: A::mask(net.length),
                bit: A::bit(net.length),
                entries: Entries::default(),
            };
            self.levels.insert(at, level);
            at
        });
        if is_in_block::<A>(net.length) {
            mark(&mut self.blocks, net, seed);
        }
        match self.levels.get_mut(at) {
            Some(level) => level.entries.put(net.base.seal(seed), until),
            None => Permanent::Same,
        }
    }

    /// Takes this very range out.
    pub fn remove(&mut self, net: Net<A>, seed: Seed) -> Permanent {
        let at = self.position(net.length).ok();
        let Some(level) = at.and_then(|at| self.levels.get_mut(at)) else {
            return Permanent::Same;
        };
        let key = net.base.seal(seed);
        let removed = level.entries.remove(key.hash(), |other| other.cmp(&key));
        self.tidy(seed);
        removed
    }

    /// Takes part in a sweep.
    pub fn sweep(&mut self, sweep: &mut Sweep, seed: Seed) {
        for level in &mut self.levels {
            level.entries.sweep(sweep);
        }
        self.tidy(seed);
    }

    /// Forgets lengths that are no longer in use, and blocks when most of them are not.
    fn tidy(&mut self, seed: Seed) {
        self.levels.retain(|level| level.entries.len() > 0);
        let in_blocks = || {
            self.levels
                .iter()
                .filter(|level| is_in_block::<A>(level.length))
        };
        let ranges: usize = in_blocks().map(|level| level.entries.len()).sum();
        if self.blocks.len() > ranges * 2 {
            let mut blocks = Table::default();
            for level in in_blocks() {
                for (key, _) in level.entries.iter_from(0) {
                    mark(
                        &mut blocks,
                        Net {
                            length: level.length,
                            base: A::open(*key, seed),
                        },
                        seed,
                    );
                }
            }
            self.blocks = blocks;
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.levels.iter().map(|level| level.entries.len()).sum()
    }

    /// Everything that is allocated, in bytes.
    pub fn memory_bytes(&self) -> usize {
        let tables: usize = self
            .levels
            .iter()
            .map(|level| level.entries.memory_bytes())
            .sum();
        self.levels.capacity() * size_of::<Level<A>>() + tables + self.blocks.memory_bytes()
    }

    /// Visits everything that holds at `now_ms`, in the order of [`Value`].
    pub fn visit_sorted(&self, seed: Seed, now_ms: u64, visit: &mut impl FnMut(Value<'_>, Until)) {
        for level in self.levels.iter().rev() {
            let holding = level
                .entries
                .iter_from(0)
                .filter(|(_, until)| until.holds(now_ms));
            let mut sorted: Vec<(A, Until)> = holding
                .map(|(key, until)| (A::open(*key, seed), until))
                .collect();
            sorted.sort_unstable();
            for (base, until) in sorted {
                visit(
                    A::value(Net {
                        length: level.length,
                        base,
                    }),
                    until,
                );
            }
        }
    }

    /// Frees one shard of any table: see [`Table::dismantle`].
    pub fn dismantle(&mut self) -> Option<usize> {
        self.levels
            .iter_mut()
            .find_map(|level| level.entries.dismantle())
            .or_else(|| self.blocks.dismantle())
    }
}

/// Writes a range's length into the word of its block.
fn mark<A: Address>(blocks: &mut Table<A::Key, A>, net: Net<A>, seed: Seed) {
    let key = (net.base & A::mask(A::BLOCK)).seal(seed);
    let word = blocks
        .get(key.hash(), |other| other.cmp(&key))
        .copied()
        .unwrap_or_default();
    blocks.put(key, word | A::bit(net.length));
}
