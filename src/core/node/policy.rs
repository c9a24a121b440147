//! The node's policies: limits by name, which go before the limits that a call brings along.
//!
//! A hit finds its policy by one hash look-up; beside the policy lies its place in the statistics, so that the same look-up
//! serves both.

use super::stats::Slot;
use crate::core::bytes::source::{write_string, Source};
use crate::core::bytes::varint;
use crate::core::error::MAX_NAME_BYTES;
use crate::core::limit::{Algorithm, Limit, Limits, MAX_LIMITS};
use ahash::RandomState;
use std::collections::HashMap;
use std::fmt;

/// Policies if not configured: more than a person keeps an overview of.
pub const DEFAULT_POLICIES: usize = 1_000;
/// The most policies: a tenant's limits belong into the call; this many take 4 MiB.
pub const MAX_POLICIES: usize = 10_000;

/// The first byte of an encoding: 1, the only one so far.
const VERSION: u8 = 1;

/// Limits and how they are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    algorithm: Algorithm,
    limits: Limits,
}

impl Policy {
    /// `None` unless there are 1 ..= [`MAX_LIMITS`] limits, each of the algorithm's shape, no two of one window.
    pub fn new(algorithm: Algorithm, limits: Limits) -> Option<Self> {
        let count = (1..=MAX_LIMITS).contains(&limits.len());
        let sound = limits.iter().enumerate().all(|(index, limit)| {
            let shape = match algorithm {
                Algorithm::Fixed | Algorithm::Sliding | Algorithm::Lease => {
                    limit.refill() == limit.limit()
                }
                Algorithm::Bucket => limit.refill() > 0,
            };
            let mut before = limits.iter().take(index);
            shape && before.all(|other| other.span() != limit.span())
        });
        (count && sound).then_some(Self { algorithm, limits })
    }

    /// The only algorithm whose commands may name it.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// At least one, in the order given.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }
}

/// Why a policy is not entered. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The name is empty, or longer than [`MAX_NAME_BYTES`].
    Name,
    /// There are as many policies as may be: `max`.
    Full {
        /// The bound.
        max: usize,
    },
}

impl fmt::Display for Refused {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Name => write!(
                out,
                "ERR name must be from 1 to {MAX_NAME_BYTES} bytes long"
            ),
            Refused::Full { max } => write!(
                out,
                "ERR there are {max} policies, the most that may be: delete one or raise the bound"
            ),
        }
    }
}

#[derive(Debug)]
struct Entry {
    policy: Policy,
    slot: Slot,
}

/// Every policy of the node.
#[derive(Debug)]
pub struct Policies {
    max: usize,
    // Boxed, as half of a table's places are empty.
    entries: HashMap<Box<[u8]>, Box<Entry>, RandomState>,
}

impl Policies {
    /// No policy yet, and room for `max`, [`MAX_POLICIES`] at most. `hashing` should be seeded at random.
    pub fn new(max: usize, hashing: RandomState) -> Self {
        Self {
            max: max.min(MAX_POLICIES),
            entries: HashMap::with_hasher(hashing),
        }
    }

    /// Changes the bound, [`MAX_POLICIES`] at most. Policies past it stay, and may be changed, but no name is added.
    pub fn set_max(&mut self, max: usize) {
        self.max = max.min(MAX_POLICIES);
    }

    /// Enters a policy, or replaces the one of that name.
    ///
    /// # Errors
    /// [`Refused`], for a new name only.
    pub fn set(&mut self, name: &[u8], policy: Policy) -> Result<(), Refused> {
        if let Some(entry) = self.entries.get_mut(name) {
            entry.policy = policy;
            return Ok(());
        }
        if !(1..=MAX_NAME_BYTES).contains(&name.len()) {
            return Err(Refused::Name);
        }
        if self.entries.len() >= self.max {
            return Err(Refused::Full { max: self.max });
        }
        self.insert(name, policy);
        Ok(())
    }

    /// The policy of a name.
    pub fn get(&self, name: &[u8]) -> Option<&Policy> {
        self.entries.get(name).map(|entry| &entry.policy)
    }

    /// The policy of a name, and where to keep its [`Slot`], stale at first: see [`super::stats::Stats::renew`].
    pub fn get_with_slot(&mut self, name: &[u8]) -> Option<(&Policy, &mut Slot)> {
        let entry = self.entries.get_mut(name)?;
        Some((&entry.policy, &mut entry.slot))
    }

    /// Deletes a policy. Whether there was one.
    pub fn del(&mut self, name: &[u8]) -> bool {
        self.entries.remove(name).is_some()
    }

    /// Every policy, sorted by name.
    pub fn list(&self) -> Vec<(&[u8], &Policy)> {
        let entries = self.entries.iter();
        let mut list: Vec<_> = entries
            .map(|(name, entry)| (&**name, &entry.policy))
            .collect();
        list.sort_unstable_by_key(|(name, _)| *name);
        list
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes in use, without the allocator's own. The table does not show how large it is after deletions: then it may
    /// take 50 bytes a policy more.
    pub fn memory_bytes(&self) -> usize {
        let places = match self.entries.capacity() {
            0 => 0,
            capacity => (capacity * 8 / 7).next_power_of_two(),
        };
        let names: usize = self.entries.keys().map(|name| name.len()).sum();
        size_of::<Self>()
            + places * (size_of::<(Box<[u8]>, Box<Entry>)>() + 1)
            + self.entries.len() * size_of::<Entry>()
            + names
    }

    /// Every policy, as bytes: the same for equal policies, in whatever order they were set.
    ///
    /// A version byte; how many; for each, sorted by name: its name behind its length, its algorithm's place in
    /// [`Algorithm::ALL`] (one byte), how many limits, and for each limit, in order: the limit and the window, or a bucket's
    /// capacity, refill and interval. Numbers are varints ([`crate::core::bytes::varint`]).
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        varint::write(&mut out, self.entries.len() as u64);
        for (name, policy) in self.list() {
            write_string(&mut out, name);
            out.push(policy.algorithm as u8);
            varint::write(&mut out, policy.limits.len() as u64);
            for limit in &policy.limits {
                limit.write(policy.algorithm, &mut out);
            }
        }
        out
    }

    /// Replaces every policy by what [`Policies::encode`] wrote, perhaps under another bound: all are kept. Whether it did:
    /// bytes that cannot have been written so are refused, and leave everything as it was.
    #[must_use]
    pub fn load(&mut self, bytes: &[u8]) -> bool {
        let Some(loaded) = self.decode(bytes) else {
            return false;
        };
        *self = loaded;
        true
    }

    fn decode(&self, bytes: &[u8]) -> Option<Self> {
        let mut source = Source(bytes);
        if source.byte()? != VERSION {
            return None;
        }
        let mut loaded = Self::new(self.max, self.entries.hasher().clone());
        let mut previous = None;
        for _ in 0..source.count(MAX_POLICIES)? {
            let name = source.name_after(previous, MAX_NAME_BYTES)?;
            previous = Some(name);
            loaded.insert(name, read_policy(&mut source)?);
        }
        source.0.is_empty().then_some(loaded)
    }

    fn insert(&mut self, name: &[u8], policy: Policy) {
        let slot = Slot::default();
        let entry = Box::new(Entry { policy, slot });
        self.entries.insert(name.into(), entry);
    }
}

fn read_policy(source: &mut Source) -> Option<Policy> {
    let code = source.byte()?;
    let algorithm = *Algorithm::ALL.get(usize::from(code))?;
    let mut limits = Limits::new();
    for _ in 0..source.count(MAX_LIMITS)? {
        limits.push(Limit::read(algorithm, source)?);
    }
    Policy::new(algorithm, limits)
}

#[cfg(test)]
mod tests {
    use super::super::stats::tests::hashing;
    use super::super::stats::{Bounds, Outcome, Stats};
    use super::*;
    use crate::core::duration;
    use crate::core::limit::MAX_COUNT;
    use crate::core::random::Random;
    use std::collections::BTreeMap;

    fn policies(max: usize) -> Policies {
        Policies::new(max, hashing(1))
    }

    fn fixed(limit: u64) -> Policy {
        let limit = Limit::window(limit, 1_000).unwrap();
        Policy::new(Algorithm::Fixed, Limits::from_iter([limit])).unwrap()
    }

    fn any(random: &mut Random) -> Policy {
        let algorithm = Algorithm::ALL[random.index(3)];
        let count = 1 + random.below(8);
        let limits = (1..=count).map(|window_ms| {
            let limit = random.next() >> (11 + random.below(53));
            match algorithm {
                Algorithm::Bucket => Limit::bucket(limit, 1 + limit / 2, window_ms * 999),
                _ => Limit::window(limit, window_ms * 999),
            }
            .unwrap()
        });
        Policy::new(algorithm, limits.collect()).unwrap()
    }

    #[test]
    fn policies_are_those_of_an_exact_model() {
        let mut random = Random(1);
        let mut policies = policies(20);
        let mut model: BTreeMap<Vec<u8>, Policy> = BTreeMap::new();
        for _ in 0..20_000 {
            let name = [b'p', random.below(30).to_le_bytes()[0], 0, 255].to_vec();
            match random.below(5) {
                0 | 1 => {
                    let policy = any(&mut random);
                    let room = model.contains_key(&name) || model.len() < 20;
                    let expected = room.then_some(()).ok_or(Refused::Full { max: 20 });
                    assert_eq!(policies.set(&name, policy.clone()), expected);
                    if room {
                        model.insert(name, policy);
                    }
                }
                2 => assert_eq!(policies.del(&name), model.remove(&name).is_some()),
                3 => assert_eq!(policies.get(&name), model.get(&name)),
                _ => {
                    let bytes = policies.encode();
                    policies = Policies::new(20, hashing(random.next()));
                    assert!(policies.load(&bytes));
                    assert_eq!(policies.encode(), bytes);
                }
            }
            let sorted: Vec<_> = model
                .iter()
                .map(|(name, it)| (name.as_slice(), it))
                .collect();
            assert_eq!(policies.list(), sorted);
            assert_eq!(policies.len(), model.len());
            assert_eq!(policies.is_empty(), model.is_empty());
        }
    }

    #[test]
    fn a_policy_needs_a_name_and_sound_limits() {
        let mut policies = policies(4);
        for (length, expected) in [
            (0, Err(Refused::Name)),
            (1, Ok(())),
            (128, Ok(())),
            (129, Err(Refused::Name)),
        ] {
            assert_eq!(policies.set(&vec![0; length], fixed(1)), expected);
        }
        let window = |ms| Limit::window(5, ms).unwrap();
        let bucket = Limit::bucket(5, 1, 7).unwrap();
        for (algorithm, limits, right) in [
            (Algorithm::Fixed, vec![], false),
            (Algorithm::Fixed, vec![window(1), window(2)], true),
            (
                Algorithm::Sliding,
                vec![window(1), window(2), window(1)],
                false,
            ),
            (Algorithm::Fixed, (1..=8).map(window).collect(), true),
            (Algorithm::Fixed, (1..=9).map(window).collect(), false),
            (Algorithm::Fixed, vec![bucket], false),
            (Algorithm::Bucket, vec![bucket], true),
            (Algorithm::Bucket, vec![Limit::window(0, 1).unwrap()], false),
        ] {
            let policy = Policy::new(algorithm, limits.iter().copied().collect());
            assert_eq!(policy.is_some(), right, "{algorithm:?} {limits:?}");
        }
    }

    #[test]
    fn past_a_bound_policies_can_be_changed_but_not_added() {
        let mut policies = policies(2);
        assert!(policies.set(b"a", fixed(1)).is_ok());
        assert!(policies.set(b"b", fixed(1)).is_ok());
        let refused = policies.set(b"c", fixed(1)).unwrap_err();
        assert_eq!(refused, Refused::Full { max: 2 });
        assert_eq!(
            refused.to_string(),
            "ERR there are 2 policies, the most that may be: delete one or raise the bound"
        );
        policies.set_max(1);
        assert!(policies.set(b"a", fixed(9)).is_ok());
        assert_eq!(policies.get(b"a"), Some(&fixed(9)));
        let bytes = policies.encode();
        assert!(policies.load(&bytes));
        assert_eq!(policies.len(), 2);
        assert!(policies.del(b"a"));
        assert!(policies.set(b"a", fixed(1)).is_err());
        policies.set_max(usize::MAX);
        for name in 0..MAX_POLICIES {
            let _ = policies.set(&name.to_be_bytes(), fixed(1));
        }
        assert_eq!(policies.len(), MAX_POLICIES);
        let bytes = policies.encode();
        assert!(policies.load(&bytes));
    }

    #[test]
    fn a_slot_is_kept_beside_the_policy() {
        let mut policies = policies(2);
        let mut stats = Stats::new(Bounds::default(), hashing(1));
        assert!(policies.set(b"login", fixed(1)).is_ok());
        let mut hit = |stats: &mut Stats, name: &[u8]| {
            let (policy, slot) = policies.get_with_slot(name).unwrap();
            *slot = stats.renew(*slot, name);
            stats.count_named(*slot, b"user", policy.algorithm(), Outcome::Allowed, 0);
            *slot
        };
        let slot = hit(&mut stats, b"login");
        assert_eq!(hit(&mut stats, b"login"), slot);
        assert!(stats.reset(None));
        assert_ne!(hit(&mut stats, b"login"), slot);
        let login = stats.name(b"login").unwrap();
        assert_eq!(login.series().counts().allowed, 1);
    }

    #[test]
    fn truncated_bytes_are_refused_and_change_nothing() {
        let mut random = Random(2);
        let mut saved = policies(50);
        for name in 0..50_u8 {
            assert!(saved.set(&[name], any(&mut random)).is_ok());
        }
        let bytes = saved.encode();
        let mut policies = policies(50);
        assert!(policies.set(b"here", fixed(1)).is_ok());
        for length in 0..bytes.len() {
            assert!(!policies.load(&bytes[..length]), "{length}");
        }
        assert!(!policies.load(&[bytes.as_slice(), &[0]].concat()));
        assert_eq!(policies.list(), [(b"here".as_slice(), &fixed(1))]);
        assert!(policies.load(&bytes));
        assert_eq!(policies.list(), saved.list());
    }

    #[test]
    fn mutated_bytes_are_refused_or_mean_what_they_say() {
        let mut random = Random(3);
        let mut policies = policies(50);
        let seeds = [0, 1, 3, 10].map(|count: u8| {
            for name in 0..count {
                assert!(policies.set(&[b'a', name], any(&mut random)).is_ok());
            }
            policies.encode()
        });
        let (mut accepted, mut refused) = (0, 0);
        for round in 0..100_000 {
            let mut bytes = seeds[round % seeds.len()].clone();
            for _ in 0..=random.below(2) {
                let at = random.index(bytes.len());
                let byte = random.next().to_le_bytes()[0];
                match random.below(4) {
                    0 => bytes[at] = byte,
                    1 => bytes[at] ^= 1 << (byte & 7),
                    2 => bytes.insert(at, byte),
                    _ => drop(bytes.remove(at)),
                }
                if bytes.is_empty() {
                    break;
                }
            }
            if policies.load(&bytes) {
                accepted += 1;
                assert_eq!(policies.encode(), bytes);
            } else {
                refused += 1;
            }
        }
        assert!(accepted > 1_000 && refused > 1_000, "{accepted} {refused}");
    }

    #[test]
    fn what_cannot_have_been_set_is_refused() {
        let number = |value| {
            let mut bytes = Vec::new();
            varint::write(&mut bytes, value);
            bytes
        };
        let one = |policy: &[u8]| [&[1, 1, 1, b'a'], policy].concat();
        let two = |first: u8, second: u8| [1, 2, 1, first, 0, 1, 5, 9, 1, second, 1, 1, 5, 9];
        for bytes in [
            vec![1, 0],
            one(&[0, 1, 5, 9]),
            one(&[2, 1, 0, 1, 9]),
            one(&[&[0, 1][..], &number(MAX_COUNT), &number(duration::MAX_MS)].concat()),
            two(b'a', b'b').to_vec(),
        ] {
            let mut policies = policies(1);
            assert!(policies.load(&bytes), "{bytes:?}");
            assert_eq!(policies.encode(), bytes);
        }
        for (wrong, bytes) in [
            ("version 0", vec![0, 0]),
            ("version 2", vec![2, 0]),
            ("an empty name", vec![1, 1, 0, 0, 1, 5, 9]),
            (
                "a long name",
                [&[1, 1, 129, 1][..], &[b'a'; 129], &[0, 1, 5, 9]].concat(),
            ),
            ("names unsorted", two(b'b', b'a').to_vec()),
            ("a name twice", two(b'a', b'a').to_vec()),
            ("a fourth algorithm", one(&[3, 1, 5, 9])),
            ("no limit", one(&[0, 0])),
            (
                "nine limits",
                one(&[
                    &[0, 9][..],
                    &[5, 1, 5, 2, 5, 3, 5, 4, 5, 5, 5, 6, 5, 7, 5, 8, 5, 9],
                ]
                .concat()),
            ),
            ("one window twice", one(&[0, 2, 5, 9, 6, 9])),
            ("a window of nothing", one(&[0, 1, 5, 0])),
            (
                "a window past its bound",
                one(&[&[0, 1, 5][..], &number(duration::MAX_MS + 1)].concat()),
            ),
            (
                "a limit past its bound",
                one(&[&[0, 1][..], &number(MAX_COUNT + 1), &[9]].concat()),
            ),
            ("a bucket that never refills", one(&[2, 1, 5, 0, 9])),
            (
                "too many policies",
                [&[1][..], &number(MAX_POLICIES as u64 + 1)].concat(),
            ),
        ] {
            assert!(!policies(1).load(&bytes), "{wrong}");
        }
    }
}
