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

use super::ends::Ends;
use super::stats::NameSlot;
use crate::core::bytes::source::Source;
use crate::core::bytes::varint;
use crate::core::bytes::varint::write_string;
use crate::core::error::{Error, MAX_NAME_BYTES};
use crate::core::limit::{Algorithm, Limit, Limits, MAX_LIMITS, MAX_POLICIES, MAX_TIME_MS};
use crate::core::span::Span;
use ahash::RandomState;
use sha2::{Digest, Sha256};
use std::collections::HashMap;

/// Policies if not configured: more than a person keeps an overview of.
pub const DEFAULT_POLICIES: usize = 1_000;
/// Where RL.POLICY SET has the name on its command line.
pub const NAME_AT: usize = 2;

/// The first byte of an encoding.
const VERSION: u8 = 2;
/// The first version: lasting policies alone.
const VERSION_1: u8 = 1;

/// Limits and how they are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    algorithm: Algorithm,
    limits: Limits,
}

impl Policy {
    /// `None` unless there are 1 ..= [`MAX_LIMITS`] limits, one for leases, each of the algorithm's shape, no two of one
    /// window.
    pub fn new(algorithm: Algorithm, limits: Limits) -> Option<Self> {
        let most = match algorithm {
            Algorithm::Fixed | Algorithm::Sliding | Algorithm::Bucket => MAX_LIMITS,
            Algorithm::Lease => 1,
        };
        let count = (1..=most).contains(&limits.len());
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

    /// How they are counted: a call of another algorithm passes it over.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// At least one, in the order given.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The algorithm and the limits, as words that RL.POLICY SET reads: `sliding 5 15m`.
    pub fn words(&self) -> Vec<String> {
        let mut words = vec![self.algorithm.name().to_owned()];
        for limit in &self.limits {
            words.push(limit.limit().to_string());
            if self.algorithm == Algorithm::Bucket {
                words.push(limit.refill().to_string());
            }
            words.push(limit.window_text(self.algorithm).to_string());
        }
        words
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.push(self.algorithm as u8);
        varint::write(out, self.limits.len() as u64);
        for limit in &self.limits {
            limit.write(self.algorithm, out);
        }
    }

    fn read(source: &mut Source) -> Option<Self> {
        let code = source.byte()?;
        let algorithm = *Algorithm::ALL.get(usize::from(code))?;
        let mut limits = Limits::new();
        for _ in 0..source.count(MAX_LIMITS)? {
            limits.push(Limit::read(algorithm, source)?);
        }
        Self::new(algorithm, limits)
    }
}

/// A policy that ends, and then the lasting one is back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Temporary {
    /// The limits until then.
    pub policy: Policy,
    /// From then on it counts no more.
    pub ends: Ends,
}

/// A policy that is judged and counted, and never binds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShadowPolicy {
    /// The limits that are tried; not of leases.
    pub policy: Policy,
    /// From then on no more, if it has a TTL.
    pub ends: Option<Ends>,
}

impl ShadowPolicy {
    fn holds(&self, now_ms: u64) -> bool {
        self.ends.is_none_or(|ends| ends.holds(now_ms))
    }
}

/// What stands under a name: at least one of the three.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    lasting: Option<Policy>,
    /// In a box, as most have none.
    temporary: Option<Box<Temporary>>,
    /// Likewise.
    shadow: Option<Box<ShadowPolicy>>,
}

impl Held {
    /// The policy that counts at `now_ms`.
    #[inline]
    pub fn in_force(&self, now_ms: u64) -> Option<&Policy> {
        match self.temporary(now_ms) {
            Some(temporary) => Some(&temporary.policy),
            None => self.lasting.as_ref(),
        }
    }

    /// The policy without an end.
    pub fn lasting(&self) -> Option<&Policy> {
        self.lasting.as_ref()
    }

    /// The policy that stands in front of it at `now_ms`.
    #[inline]
    pub fn temporary(&self, now_ms: u64) -> Option<&Temporary> {
        let temporary = self.temporary.as_deref();
        temporary.filter(|temporary| temporary.ends.holds(now_ms))
    }

    /// The shadow that stands beside it at `now_ms`.
    #[inline]
    pub fn shadow(&self, now_ms: u64) -> Option<&ShadowPolicy> {
        let shadow = self.shadow.as_deref();
        shadow.filter(|shadow| shadow.holds(now_ms))
    }

    /// Whether anything of it still counts at `now_ms`, or is to be back.
    pub fn is_current(&self, now_ms: u64) -> bool {
        self.in_force(now_ms).is_some() || self.shadow(now_ms).is_some()
    }

    fn is_empty(&self) -> bool {
        self.lasting.is_none() && self.temporary.is_none() && self.shadow.is_none()
    }
}

/// A policy or a shadow whose TTL is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its name.
    pub name: Box<[u8]>,
    /// What it was.
    pub policy: Policy,
    /// Whether it was a shadow.
    pub is_shadow: bool,
    /// The lasting policy, which is back.
    pub lasting: Option<Policy>,
}

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

/// What to set under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// A policy without an end; one that has an end goes.
    Lasting(Policy),
    /// A policy in front of the lasting one.
    Temporary(Temporary),
    /// One beside whatever there is.
    Shadow(ShadowPolicy),
}

impl Setting {
    /// The policy that is set.
    pub fn policy(&self) -> &Policy {
        match self {
            Setting::Lasting(policy) => policy,
            Setting::Temporary(temporary) => &temporary.policy,
            Setting::Shadow(shadow) => &shadow.policy,
        }
    }

    /// Makes a fixed window of weeks one of days: the first version, which sent policies as they were called, knew no
    /// calendar.
    pub fn read_as_first_version(&mut self) {
        let policy = match self {
            Setting::Lasting(policy) => policy,
            Setting::Temporary(temporary) => &mut temporary.policy,
            Setting::Shadow(shadow) => &mut shadow.policy,
        };
        for limit in &mut policy.limits {
            let days = limit
                .span()
                .weeks()
                .and_then(|weeks| Span::plain(weeks * 7 * 86_400_000));
            let plain = days.and_then(|days| Limit::spanning(limit.limit(), days));
            *limit = plain.unwrap_or(*limit);
        }
    }
}

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
        let places = match self.entries.capacity() {
            0 => 0,
            capacity => (capacity * 8 / 7).next_power_of_two(),
        };
        let names: usize = self.entries.keys().map(|name| name.len()).sum();
        let entries = self.entries.values();
        let temporary = entries.filter(|entry| entry.held.temporary.is_some());
        let shadows = self.entries.values();
        let shadows = shadows.filter(|entry| entry.held.shadow.is_some());
        size_of::<Self>()
            + places * (size_of::<(Box<[u8]>, Box<Entry>)>() + 1)
            + self.mismatches.name.len()
            + names
            + self.entries.len() * size_of::<Entry>()
            + temporary.count() * size_of::<Temporary>()
            + shadows.count() * size_of::<ShadowPolicy>()
    }

    /// Every policy that counts at `now_ms` or is to be back, as bytes: the same for equal policies, in whatever order they
    /// were set.
    ///
    /// ```text
    /// encoding = 2  number { name held }                    sorted by name
    /// held     = flags (1: lasting, 2: temporary, 4: and the time given is known; 8: shadow, 16: it ends, 32: and the time
    ///            given is known), lasting policy, temporary, shadow
    /// temporary = policy, end
    /// shadow   = policy, end, if it has one
    /// end      = the millisecond since the Unix epoch at which it ends, the milliseconds given
    /// policy   = the algorithm's place in [`Algorithm::ALL`] (one byte), number { limit }
    /// limit    = limit window | capacity refill interval    see [`Limit::write`]
    /// encoding = 1  number { name policy }                  the first version
    /// ```
    ///
    /// Names stand behind their length; numbers are varints ([`crate::core::bytes::varint`]).
    pub fn encode(&self, now_ms: u64) -> Vec<u8> {
        let mut out = vec![VERSION];
        let list = self.list(now_ms);
        varint::write(&mut out, list.len() as u64);
        for (name, held) in list {
            write_string(&mut out, name);
            let (temporary, shadow) = (held.temporary(now_ms), held.shadow(now_ms));
            write_held(&mut out, held.lasting(), temporary, shadow);
        }
        out
    }

    /// Replaces every policy by what [`Policies::encode`] wrote, perhaps under another bound: all are kept. Whether it did:
    /// bytes that cannot have been written so are refused, and leave everything as it was.
    #[must_use]
    pub fn load(&mut self, bytes: &[u8]) -> bool {
        let Some(mut loaded) = self.decode(bytes) else {
            return false;
        };
        loaded.mismatches = std::mem::take(&mut self.mismatches);
        *self = loaded;
        true
    }

    fn decode(&self, bytes: &[u8]) -> Option<Self> {
        let mut source = Source(bytes);
        let version = source.byte()?;
        let mut loaded = Self::new(self.max, self.entries.hasher().clone());
        let mut previous = None;
        for _ in 0..source.count(MAX_POLICIES)? {
            let name = source.name_after(previous, MAX_NAME_BYTES)?;
            previous = Some(name);
            let held = match version {
                VERSION_1 => Held {
                    lasting: Some(Policy::read(&mut source)?),
                    ..Held::default()
                },
                VERSION => read_held(&mut source)?,
                _ => return None,
            };
            for setting in held.settings() {
                loaded.put(name, setting, 0);
            }
        }
        let known = matches!(version, VERSION_1 | VERSION);
        (known && source.0.is_empty()).then_some(loaded)
    }
}

/// A setting of one name, as bytes: the version, the name, and what is set.
pub fn encode_setting(name: &[u8], setting: &Setting) -> Vec<u8> {
    let mut out = vec![VERSION];
    write_string(&mut out, name);
    match setting {
        Setting::Lasting(policy) => write_held(&mut out, Some(policy), None, None),
        Setting::Temporary(temporary) => write_held(&mut out, None, Some(temporary), None),
        Setting::Shadow(shadow) => write_held(&mut out, None, None, Some(shadow)),
    }
    out
}

/// The inverse of [`encode_setting`].
pub fn decode_setting(bytes: &[u8]) -> Option<(&[u8], Setting)> {
    let mut source = Source(bytes);
    let version = source.byte()?;
    let name = source.name_after(None, MAX_NAME_BYTES)?;
    let mut settings = read_held(&mut source)?.settings();
    let setting = settings.next()?;
    let is_one = settings.next().is_none();
    (version == VERSION && source.0.is_empty() && is_one).then_some((name, setting))
}

impl Held {
    /// What has set it.
    fn settings(self) -> impl Iterator<Item = Setting> {
        let lasting = self.lasting.map(Setting::Lasting);
        let temporary = self.temporary.map(|it| Setting::Temporary(*it));
        let shadow = self.shadow.map(|it| Setting::Shadow(*it));
        [lasting, temporary, shadow].into_iter().flatten()
    }
}

const LASTING: u8 = 1;
const TEMPORARY: u8 = 2;
const GIVEN: u8 = 4;
const SHADOW: u8 = 8;
const SHADOW_ENDS: u8 = 16;
const SHADOW_GIVEN: u8 = 32;

fn write_held(
    out: &mut Vec<u8>,
    lasting: Option<&Policy>,
    temporary: Option<&Temporary>,
    shadow: Option<&ShadowPolicy>,
) {
    let flag = |is_there, flag| if is_there { flag } else { 0 };
    let is_given = |ends: Option<Ends>| ends.is_some_and(|ends| ends.ttl_ms().is_some());
    let ends = temporary.map(|temporary| temporary.ends);
    let shadow_ends = shadow.and_then(|shadow| shadow.ends);
    out.push(
        flag(lasting.is_some(), LASTING)
            | flag(temporary.is_some(), TEMPORARY)
            | flag(is_given(ends), GIVEN)
            | flag(shadow.is_some(), SHADOW)
            | flag(shadow_ends.is_some(), SHADOW_ENDS)
            | flag(is_given(shadow_ends), SHADOW_GIVEN),
    );
    if let Some(lasting) = lasting {
        lasting.write(out);
    }
    let parts = [
        (temporary.map(|temporary| &temporary.policy), ends),
        (shadow.map(|shadow| &shadow.policy), shadow_ends),
    ];
    for (policy, ends) in parts {
        if let Some(policy) = policy {
            policy.write(out);
        }
        if let Some(ends) = ends {
            varint::write(out, ends.at_ms());
            if let Some(ttl_ms) = ends.ttl_ms() {
                varint::write(out, ttl_ms);
            }
        }
    }
}

fn read_held(source: &mut Source) -> Option<Held> {
    let flags = source.byte()?;
    let has = |flag| flags & flag != 0;
    // What is said of a part is said of one that is there.
    let is_known = flags < 2 * SHADOW_GIVEN
        && has(LASTING | TEMPORARY | SHADOW)
        && (has(TEMPORARY) || !has(GIVEN))
        && (has(SHADOW) || !has(SHADOW_ENDS))
        && (has(SHADOW_ENDS) || !has(SHADOW_GIVEN));
    if !is_known {
        return None;
    }
    let mut held = Held::default();
    if has(LASTING) {
        held.lasting = Some(Policy::read(source)?);
    }
    if has(TEMPORARY) {
        let policy = Policy::read(source)?;
        let ends = read_ends(source, has(GIVEN))?;
        held.temporary = Some(Box::new(Temporary { policy, ends }));
    }
    if has(SHADOW) {
        let policy = Policy::read(source)?;
        let mut ends = None;
        if has(SHADOW_ENDS) {
            ends = Some(read_ends(source, has(SHADOW_GIVEN))?);
        }
        if policy.algorithm == Algorithm::Lease {
            return None;
        }
        held.shadow = Some(Box::new(ShadowPolicy { policy, ends }));
    }
    // In front of a policy stands one of its algorithm.
    match (&held.lasting, &held.temporary) {
        (Some(lasting), Some(temporary)) if lasting.algorithm != temporary.policy.algorithm => None,
        _ => Some(held),
    }
}

fn read_ends(source: &mut Source, is_given: bool) -> Option<Ends> {
    let ends_ms = source.number()?;
    if !(1..=MAX_TIME_MS).contains(&ends_ms) {
        return None;
    }
    if !is_given {
        return Some(Ends::at(ends_ms));
    }
    let ttl_ms = source.number()?;
    let ends = Ends::given(ends_ms, ttl_ms);
    (ends.ttl_ms() == Some(ttl_ms)).then_some(ends)
}

#[cfg(test)]
mod tests;
