//! Bytes of a limiter and of its effects: one encoding for RDB, AOF, replicas, DUMP and slot migration alike.
//!
//! ```text
//! payload  = version(1)  kind(1)  algorithm(1)  body
//! kind 0, the state:   count, then per limit
//!     fixed            limit  window_ms  start_ms  used
//!     sliding          limit  window_ms  capacity  origin_ms  log-length  log
//!     bucket           capacity  refill  interval_ms  tokens  fraction  at_ms
//! kind 1, a charge:    now_ms  cost(zigzag)  entries  count, then per limit
//!     fixed, sliding   limit  window_ms
//!     bucket           capacity  refill  interval_ms
//! ```
//!
//! The first three are bytes, `log` is as long as `log-length` says, and everything else is a canonical varint
//! ([`super::bytes::varint`]): a state has one encoding, so equal states are equal bytes and have equal digests.
//!
//! A charge is an effect and not a call: its time is absolute and its limits are resolved, so it makes the same state
//! wherever and whenever it is applied.
//!
//! Whoever sends bytes may send any bytes: every number is checked against the bound that its type promises.

use super::algorithm::bucket::Bucket;
use super::algorithm::fixed::Fixed;
use super::algorithm::sliding::{Log, Sliding, MAX_ENTRIES, MIN_ENTRIES};
use super::bytes::source::Source;
use super::bytes::varint;
use super::limit::{Algorithm, Limit, Limits, MAX_COUNT, MAX_LIMITS, MAX_TIME_MS};
use super::limiter::{Hit, Limiter, Meter, Meters};
use smallvec::SmallVec;

/// The version that is written, and the only one there is so far.
pub const VERSION: u8 = 1;

const STATE: u8 = 0;
const CHARGE: u8 = 1;

/// The bytes of a charge, which is on the path of every hit: a plain array, as long as the longest charge.
///
/// (A `SmallVec` that grows byte by byte took five times the instructions.)
pub struct ChargeBytes {
    bytes: [u8; Self::MAX],
    length: usize,
}

impl ChargeBytes {
    /// A number of up to 2^54 takes 8 bytes, and nothing in a charge is larger.
    const NUMBER: usize = 8;
    const LIMIT: usize = 3 * Self::NUMBER;
    const MAX: usize = 3 + 4 * Self::NUMBER + MAX_LIMITS * Self::LIMIT;
}

impl Extend<u8> for ChargeBytes {
    #[inline]
    fn extend<I: IntoIterator<Item = u8>>(&mut self, bytes: I) {
        for byte in bytes {
            if let Some(place) = self.bytes.get_mut(self.length) {
                *place = byte;
                self.length += 1;
            }
        }
    }
}

impl std::ops::Deref for ChargeBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// What a payload says.
#[allow(
    clippy::large_enum_variant,
    reason = "lives on the stack, for one command"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The key holds this now.
    State(Limiter),
    /// This was charged.
    Charge(Charge),
}

/// A hit that was decided elsewhere and is to be charged here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// How to count.
    pub algorithm: Algorithm,
    /// The limits that were in force.
    pub limits: Limits,
    /// Units, negative where given back.
    pub cost: i64,
    /// The log size of a sliding limiter that this creates.
    pub entries: u16,
    /// When it was decided.
    pub now_ms: u64,
}

impl Charge {
    /// The hit that it was.
    pub fn hit(&self) -> Hit<'_> {
        Hit {
            algorithm: self.algorithm,
            limits: &self.limits,
            cost: self.cost,
            force: true,
            entries: self.entries,
        }
    }
}

/// The bytes of a limiter's state.
pub fn encode_state(limiter: &Limiter) -> Vec<u8> {
    let mut out = header(STATE, limiter.algorithm()).to_vec();
    match limiter {
        Limiter::Fixed(meters) => write_meters(&mut out, meters),
        Limiter::Sliding(meters) => write_meters(&mut out, meters),
        Limiter::Bucket(meters) => write_meters(&mut out, meters),
    }
    out
}

/// The bytes of a charge.
#[inline]
pub fn encode_charge(hit: &Hit, now_ms: u64) -> ChargeBytes {
    let mut out = ChargeBytes {
        bytes: [0; ChargeBytes::MAX],
        length: 0,
    };
    out.extend(header(CHARGE, hit.algorithm));
    let is_bucket = hit.algorithm == Algorithm::Bucket;
    varint::write(&mut out, now_ms);
    varint::write(&mut out, varint::zigzag(hit.cost));
    varint::write(&mut out, u64::from(hit.entries));
    varint::write(&mut out, hit.limits.len() as u64);
    for limit in hit.limits {
        varint::write(&mut out, limit.limit());
        if is_bucket {
            varint::write(&mut out, limit.refill());
        }
        varint::write(&mut out, limit.window_ms());
    }
    out
}

/// Reads a payload; `None` where it is not one, whole and within every bound.
pub fn decode(bytes: &[u8]) -> Option<Effect> {
    let mut source = Source(bytes);
    if source.byte()? != VERSION {
        return None;
    }
    let kind = source.byte()?;
    let code = source.byte()?;
    let algorithm = *Algorithm::ALL.get(usize::from(code))?;
    let effect = match (kind, algorithm) {
        (STATE, Algorithm::Fixed) => Effect::State(Fixed::wrap(source.meters()?)),
        (STATE, Algorithm::Sliding) => Effect::State(Sliding::wrap(source.meters()?)),
        (STATE, Algorithm::Bucket) => Effect::State(Bucket::wrap(source.meters()?)),
        (CHARGE, _) => Effect::Charge(source.charge(algorithm)?),
        _ => return None,
    };
    source.0.is_empty().then_some(effect)
}

/// Reads a payload that is a state.
pub fn decode_state(bytes: &[u8]) -> Option<Limiter> {
    match decode(bytes)? {
        Effect::State(limiter) => Some(limiter),
        Effect::Charge(_) => None,
    }
}

fn header(kind: u8, algorithm: Algorithm) -> [u8; 3] {
    [VERSION, kind, algorithm as u8]
}

/// How one meter is written and read.
trait Encoding: Meter {
    fn write(&self, out: &mut Vec<u8>);
    fn read(source: &mut Source) -> Option<Self>;
}

fn write_meters<M: Encoding>(out: &mut Vec<u8>, meters: &Meters<M>) {
    varint::write(out, meters.0.len() as u64);
    for meter in &meters.0 {
        meter.write(out);
    }
}

impl Encoding for Fixed {
    fn write(&self, out: &mut Vec<u8>) {
        for number in [self.limit, self.window_ms, self.start_ms, self.used] {
            varint::write(out, number);
        }
    }

    fn read(source: &mut Source) -> Option<Self> {
        let limit = source.limit(Algorithm::Fixed)?;
        let start_ms = source.at_most(MAX_TIME_MS)?;
        let used = source.at_most(MAX_COUNT)?;
        let mut fixed = Self::unused(&limit, 0);
        fixed.start_ms = start_ms;
        fixed.used = used;
        start_ms.is_multiple_of(limit.window_ms()).then_some(fixed)
    }
}

impl Encoding for Sliding {
    fn write(&self, out: &mut Vec<u8>) {
        for number in [
            self.limit,
            self.window_ms,
            u64::from(self.capacity),
            self.origin_ms,
            self.log.len() as u64,
        ] {
            varint::write(out, number);
        }
        out.extend_from_slice(&self.log);
    }

    fn read(source: &mut Source) -> Option<Self> {
        let limit = source.limit(Algorithm::Sliding)?;
        let capacity = u16::try_from(source.number()?).ok()?;
        let origin_ms = source.at_most(MAX_TIME_MS)?;
        let length = usize::try_from(source.number()?).ok()?;
        let log = source.take(length)?;
        let kept = Self::audit(log, origin_ms)?;
        let sound = (MIN_ENTRIES..=MAX_ENTRIES).contains(&capacity)
            && kept.entries <= capacity
            && kept.used <= MAX_COUNT
            && kept.last_ms <= MAX_TIME_MS
            && kept.last_ms - kept.first_ms < limit.window_ms();
        sound.then(|| Self {
            window_ms: limit.window_ms(),
            limit: limit.limit(),
            used: kept.used,
            origin_ms,
            last_ms: kept.last_ms,
            entries: kept.entries,
            capacity,
            last_bytes: kept.last_bytes,
            log: Log::from_slice(log),
        })
    }
}

impl Encoding for Bucket {
    fn write(&self, out: &mut Vec<u8>) {
        for number in [
            self.capacity,
            self.refill,
            self.interval_ms,
            self.tokens,
            self.fraction,
            self.at_ms,
        ] {
            varint::write(out, number);
        }
    }

    fn read(source: &mut Source) -> Option<Self> {
        let limit = source.limit(Algorithm::Bucket)?;
        let mut bucket = Self::unused(&limit, 0);
        bucket.tokens = source.at_most(MAX_COUNT)?;
        bucket.fraction = source.at_most(limit.window_ms() - 1)?;
        bucket.at_ms = source.at_most(MAX_TIME_MS)?;
        let whole = bucket.tokens < MAX_COUNT || bucket.fraction == 0;
        whole.then_some(bucket)
    }
}

/// Reading what only a limiter has.
impl Source<'_> {
    fn at_most(&mut self, bound: u64) -> Option<u64> {
        self.number().filter(|number| *number <= bound)
    }

    fn limit(&mut self, algorithm: Algorithm) -> Option<Limit> {
        let limit = self.number()?;
        if algorithm == Algorithm::Bucket {
            let refill = self.number()?;
            return Limit::bucket(limit, refill, self.number()?);
        }
        Limit::window(limit, self.number()?)
    }

    fn limit_count(&mut self) -> Option<usize> {
        self.count(MAX_LIMITS).filter(|count| *count > 0)
    }

    fn meters<M: Encoding>(&mut self) -> Option<Box<Meters<M>>> {
        let mut meters: SmallVec<[M; 1]> = SmallVec::new();
        for _ in 0..self.limit_count()? {
            let meter = M::read(self)?;
            let is_new = meters
                .iter()
                .all(|other| other.window_ms() != meter.window_ms());
            is_new.then(|| meters.push(meter))?;
        }
        Some(Box::new(Meters(meters)))
    }

    fn charge(&mut self, algorithm: Algorithm) -> Option<Charge> {
        let now_ms = self.at_most(MAX_TIME_MS)?;
        let cost = varint::unzigzag(self.number()?);
        let entries = u16::try_from(self.number()?).ok()?;
        let mut limits = Limits::new();
        for _ in 0..self.limit_count()? {
            let limit = self.limit(algorithm)?;
            let is_new = limits
                .iter()
                .all(|other| other.window_ms() != limit.window_ms());
            is_new.then(|| limits.push(limit))?;
        }
        let sound =
            cost.unsigned_abs() <= MAX_COUNT && (MIN_ENTRIES..=MAX_ENTRIES).contains(&entries);
        sound.then_some(Charge {
            algorithm,
            limits,
            cost,
            entries,
            now_ms,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::duration;
    use crate::core::oracle::{self, Step};
    use crate::core::random::Random;
    use std::fmt::Write;
    use std::path::PathBuf;

    /// A state that a random trace reaches, some with a log that has merged, and the trace's last call.
    fn reachable(random: &mut Random, algorithm: Algorithm) -> (Option<Limiter>, Step) {
        let steps = oracle::trace(random, algorithm);
        let entries = random.pick(&[MIN_ENTRIES, steps[0].entries]);
        let mut steps = oracle::with_entries(steps, entries);
        steps.truncate(random.index(steps.len()) + 1);
        let mut state = None;
        for step in &steps {
            let _ = Limiter::hit(&mut state, &step.hit(), step.now_ms);
        }
        (state, steps.pop().unwrap())
    }

    /// A state or a charge.
    fn payload(random: &mut Random) -> Vec<u8> {
        let algorithm = random.pick(&Algorithm::ALL);
        let (state, step) = reachable(random, algorithm);
        match state {
            Some(limiter) if random.percent(70) => encode_state(&limiter),
            _ => encode_charge(&step.hit(), step.now_ms).to_vec(),
        }
    }

    fn instant(random: &mut Random) -> u64 {
        let any = random.magnitude(MAX_TIME_MS);
        random.pick(&[
            any,
            any,
            MAX_TIME_MS - any,
            0,
            MAX_TIME_MS,
            1_700_000_000_000,
        ])
    }

    /// Uses whatever `decode` accepts: it must be the bytes of what it was read as, and every question and charge that
    /// a client could send next must have an answer (the tests are built with overflow checks).
    fn use_accepted(random: &mut Random, bytes: &[u8]) -> bool {
        let (mut state, limits) = match decode(bytes) {
            None => return false,
            Some(Effect::State(limiter)) => {
                assert_eq!(encode_state(&limiter).as_slice(), bytes);
                let limits = limiter.limits();
                (Some(limiter), limits)
            }
            Some(Effect::Charge(charge)) => {
                let hit = charge.hit();
                assert_eq!(&*encode_charge(&hit, charge.now_ms), bytes);
                let mut state = reachable(random, charge.algorithm).0;
                let _ = Limiter::charge(&mut state, &hit, charge.now_ms);
                (state, charge.limits)
            }
        };
        for _ in 0..6 {
            let Some(algorithm) = state.as_ref().map(Limiter::algorithm) else {
                break;
            };
            let mut step = oracle::trace(random, algorithm).swap_remove(0);
            step.now_ms = instant(random);
            if random.percent(70) {
                step.limits = limits.clone();
            }
            let peeked = Limiter::peek(state.as_ref(), &step.hit(), step.now_ms);
            let done = Limiter::hit(&mut state, &step.hit(), step.now_ms);
            assert_eq!(peeked, done.map(|(decision, _)| decision), "{bytes:?}");
            if let Some(limiter) = &state {
                limiter.reading(step.now_ms);
                limiter.expires_ms();
                // What it has become is still what a replica accepts.
                assert_eq!(
                    decode_state(&encode_state(limiter)).as_ref(),
                    Some(limiter),
                    "{bytes:?}"
                );
            }
        }
        true
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let mut random = Random(1);
        for algorithm in Algorithm::ALL {
            for _ in 0..10_000 {
                let (state, step) = reachable(&mut random, algorithm);
                if let Some(limiter) = state {
                    assert_eq!(decode_state(&encode_state(&limiter)), Some(limiter));
                }
                let charge = Charge {
                    algorithm,
                    limits: step.limits.clone(),
                    cost: step.cost,
                    entries: step.entries,
                    now_ms: step.now_ms,
                };
                let bytes = encode_charge(&step.hit(), step.now_ms);
                assert_eq!(decode(&bytes), Some(Effect::Charge(charge)));
                assert_eq!(decode_state(&bytes), None);
            }
        }
    }

    #[test]
    fn a_payload_cut_anywhere_or_followed_by_anything_is_refused() {
        let mut random = Random(2);
        for _ in 0..3_000 {
            let mut bytes = payload(&mut random);
            for end in 0..bytes.len() {
                assert_eq!(decode(&bytes[..end]), None, "{end} of {bytes:?}");
            }
            bytes.push(random.byte());
            assert_eq!(decode(&bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn mutated_payloads_are_refused_or_sound() {
        let mut random = Random(3);
        let (mut accepted, mut refused) = (0, 0);
        while accepted + refused < 200_000 {
            let original = payload(&mut random);
            for _ in 0..20 {
                let mut bytes = original.to_vec();
                for _ in 0..random.from(1, 3) {
                    let place = random.index(bytes.len());
                    match random.below(8) {
                        0..=2 => bytes[place] ^= 1 << random.below(8),
                        3 => bytes[place] = random.pick(&[0, 1, 0x7f, 0x80, 0xff]),
                        4 => bytes[place] = random.byte(),
                        5 => bytes.insert(place, random.byte()),
                        6 if bytes.len() > 1 => drop(bytes.remove(place)),
                        _ => bytes.swap(place, 0),
                    }
                }
                if use_accepted(&mut random, &bytes) {
                    accepted += 1;
                } else {
                    refused += 1;
                }
            }
        }
        assert!(
            accepted > 10_000 && refused > 10_000,
            "{accepted} accepted, {refused} refused"
        );
    }

    /// Every number at, just within and just past its bounds.
    #[test]
    fn numbers_at_their_bounds_are_refused_or_sound() {
        let mut random = Random(4);
        let mut accepted = [0, 0];
        for _ in 0..150_000 {
            let mut extreme = |bound: u64| {
                let inside = random.magnitude(bound);
                let past = random.pick(&[bound.saturating_add(1), u64::MAX]);
                match random.below(16) {
                    0 => past,
                    1..=5 => bound,
                    6..=7 => bound - 1,
                    8..=9 => 0,
                    10..=11 => 1,
                    _ => inside,
                }
            };
            let algorithm = Algorithm::ALL[usize::try_from(extreme(2).min(2)).unwrap()];
            let kind = if extreme(9) == 9 { CHARGE } else { STATE };
            let mut out = header(kind, algorithm).to_vec();
            let mut numbers = Vec::new();
            if kind == CHARGE {
                numbers.extend([
                    extreme(MAX_TIME_MS),
                    extreme(2 * MAX_COUNT),
                    extreme(u64::from(MAX_ENTRIES)).max(8),
                ]);
            }
            numbers.extend([1, extreme(MAX_COUNT)]);
            if algorithm == Algorithm::Bucket {
                numbers.push(extreme(MAX_COUNT).max(1));
            }
            let window_ms = extreme(duration::MAX_MS).max(1);
            numbers.push(window_ms);
            let mut log = Vec::new();
            match (kind, algorithm) {
                (STATE, Algorithm::Fixed) => {
                    let start_ms = extreme(MAX_TIME_MS);
                    numbers.extend([start_ms - start_ms % window_ms, extreme(MAX_COUNT)]);
                }
                (STATE, Algorithm::Bucket) => {
                    numbers.extend([
                        extreme(MAX_COUNT),
                        extreme(window_ms - u64::from(window_ms > 1)),
                        extreme(MAX_TIME_MS),
                    ]);
                }
                (STATE, Algorithm::Sliding) => {
                    for entry in 0..extreme(3).min(9) {
                        let gap = if entry == 0 {
                            extreme(MAX_TIME_MS)
                        } else {
                            extreme(window_ms)
                        };
                        let cost = extreme(MAX_COUNT);
                        varint::write(&mut log, (gap << 1) | u64::from(cost != 1));
                        if cost != 1 {
                            varint::write(&mut log, cost);
                        }
                    }
                    numbers.extend([
                        extreme(u64::from(MAX_ENTRIES)).max(8),
                        extreme(MAX_TIME_MS) / 2,
                        log.len() as u64,
                    ]);
                }
                _ => {}
            }
            for number in numbers {
                varint::write(&mut out, number);
            }
            out.extend_from_slice(&log);
            if use_accepted(&mut random, &out) {
                accepted[usize::from(kind)] += 1;
            }
        }
        assert!(
            accepted.iter().all(|accepted| *accepted > 10_000),
            "{accepted:?}"
        );
    }

    /// What no limiter can come to hold, whether or not anything would break on it.
    #[test]
    fn a_log_that_no_limiter_writes_is_refused() {
        let read = |entries: &[(u64, u64)], capacity: u64| {
            let mut log = Vec::new();
            for (gap, cost) in entries {
                varint::write(&mut log, (gap << 1) | u64::from(*cost != 1));
                if *cost != 1 {
                    varint::write(&mut log, *cost);
                }
            }
            let mut out = header(STATE, Algorithm::Sliding).to_vec();
            for number in [1, 5, 1_000, capacity, 1_700_000_000_000, log.len() as u64] {
                varint::write(&mut out, number);
            }
            out.extend_from_slice(&log);
            decode_state(&out).is_some()
        };
        assert!(read(&[(7, 2), (999, 1)], 8));
        assert!(!read(&[(7, 2), (1_000, 1)], 8), "as long as its window");
        assert!(
            !read(&[(7, 2), (0, 1)], 8),
            "two entries of one millisecond"
        );
        assert!(!read(&[(7, 0)], 8), "an entry of nothing");
        assert!(read(&[(0, MAX_COUNT - 1), (1, 1)], 8));
        assert!(!read(&[(0, MAX_COUNT), (1, 1)], 8), "more than is counted");
        assert!(!read(&[(MAX_TIME_MS, 1)], 8), "later than time is counted");
        assert!(read(&[(1, 1); 8], 8));
        assert!(!read(&[(1, 1); 9], 8), "more entries than its capacity");
        assert!(
            !read(&[], 7) && !read(&[], u64::from(MAX_ENTRIES) + 1),
            "a capacity out of bounds"
        );
    }

    #[test]
    fn numbers_that_no_limiter_writes_are_refused() {
        let read = |kind, algorithm, numbers: &[u64]| {
            let mut out = header(kind, algorithm).to_vec();
            numbers
                .iter()
                .for_each(|number| varint::write(&mut out, *number));
            decode(&out).is_some()
        };
        let fixed = |numbers: &[u64]| read(STATE, Algorithm::Fixed, numbers);
        assert!(fixed(&[1, 5, 1_000, 7_000, 3]));
        assert!(!fixed(&[1, 5, 1_000, 7_001, 3]), "a start that is none");
        assert!(!fixed(&[0]), "no limit");
        assert!(
            !fixed(&[2, 5, 1_000, 7_000, 3, 6, 1_000, 7_000, 3]),
            "one window twice"
        );
        let nine: Vec<u64> = std::iter::once(9)
            .chain((1..=9).flat_map(|ms| [5, ms, 0, 0]))
            .collect();
        assert!(!fixed(&nine), "nine limits");
        let bucket = |numbers: &[u64]| read(STATE, Algorithm::Bucket, numbers);
        assert!(bucket(&[1, 5, 1, 1_000, 3, 999, 0]));
        assert!(
            !bucket(&[1, 5, 1, 1_000, 3, 1_000, 0]),
            "a fraction that is a token"
        );
        assert!(
            !bucket(&[1, 5, 1, 1_000, MAX_COUNT, 1, 0]),
            "more than is counted"
        );
        assert!(!bucket(&[1, 5, 0, 1_000, 3, 0, 0]), "no refill");
        let charge = |numbers: &[u64]| read(CHARGE, Algorithm::Fixed, numbers);
        assert!(charge(&[7, 2, 128, 1, 5, 1_000]));
        assert!(
            !charge(&[MAX_TIME_MS + 1, 2, 128, 1, 5, 1_000]),
            "later than time is counted"
        );
        assert!(
            !charge(&[7, 2 * MAX_COUNT + 2, 128, 1, 5, 1_000]),
            "a cost out of bounds"
        );
        assert!(!charge(&[7, 2, 7, 1, 5, 1_000]), "a log size out of bounds");
        assert!(
            !read(2, Algorithm::Fixed, &[1, 5, 1_000, 7_000, 3]),
            "a kind that is none"
        );
        assert_eq!(decode(&[VERSION + 1, STATE, 0, 1, 5, 10, 0, 3]), None);
        assert_eq!(decode(&[VERSION, STATE, 3, 1, 5, 10, 0, 3]), None);
    }

    /// The payloads that every later version must still read, one of each algorithm and kind.
    fn golden() -> Vec<(&'static str, &'static str, Vec<u8>)> {
        let hour = |limit| Limit::window(limit, 3_600_000).unwrap();
        let day = |limit| Limit::window(limit, 86_400_000).unwrap();
        let windows = [hour(100), day(9_007_199_254_740_991)];
        let buckets = [
            Limit::bucket(50, 7, 1_000).unwrap(),
            Limit::bucket(1_000, 1, 86_400_000).unwrap(),
        ];
        let now_ms = 1_700_000_000_123;
        let hit = |algorithm, cost| Hit {
            algorithm,
            limits: if algorithm == Algorithm::Bucket {
                &buckets
            } else {
                &windows
            },
            cost,
            force: false,
            entries: 8,
        };
        // Hits of cost 1 to 4 that fill a log of eight and leave a bucket with a fraction.
        let state = |algorithm| {
            let mut state = None;
            for (at_ms, cost) in (now_ms..).step_by(333).zip([1, 1, 2, 3, 4, 1, 1, 2]) {
                Limiter::hit(&mut state, &hit(algorithm, cost), at_ms).unwrap();
            }
            encode_state(&state.unwrap())
        };
        let charge = |algorithm, cost| encode_charge(&hit(algorithm, cost), now_ms).to_vec();
        vec![
            (
                "fixed-state",
                "two windows, 15 used of each",
                state(Algorithm::Fixed),
            ),
            (
                "fixed-charge",
                "a charge of 1 against two windows",
                charge(Algorithm::Fixed, 1),
            ),
            (
                "sliding-state",
                "two windows, each a full log of 8 entries",
                state(Algorithm::Sliding),
            ),
            (
                "sliding-charge",
                "3 given back to two windows",
                charge(Algorithm::Sliding, -3),
            ),
            (
                "bucket-state",
                "two buckets, some whole tokens and a fraction out of each",
                state(Algorithm::Bucket),
            ),
            (
                "bucket-charge",
                "a charge of 2^53 - 1 against two buckets",
                charge(Algorithm::Bucket, MAX_COUNT.cast_signed()),
            ),
        ]
    }

    /// `REGENERATE_GOLDEN=1 cargo test --no-default-features golden` writes the files anew: only for a new version.
    #[test]
    fn golden_payloads_are_written_and_read_as_ever() {
        for (name, what, bytes) in golden() {
            let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "golden", name]
                .iter()
                .collect();
            let path = path.with_extension("hex");
            if std::env::var_os("REGENERATE_GOLDEN").is_some() {
                let mut text = format!("# version {VERSION}, {name}: {what}\n");
                for line in bytes.chunks(32) {
                    line.iter()
                        .for_each(|byte| write!(text, "{byte:02x}").unwrap());
                    text.push('\n');
                }
                std::fs::write(&path, text).unwrap();
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            let digits: Vec<char> = lines.flat_map(str::chars).collect();
            let byte = |pair: &[char]| u8::from_str_radix(&String::from_iter(pair), 16).unwrap();
            let read: Vec<u8> = digits.chunks(2).map(byte).collect();
            assert_eq!(
                bytes.as_slice(),
                read,
                "{name} is written otherwise than it was"
            );
            let again = match decode(&read).unwrap() {
                Effect::State(limiter) => encode_state(&limiter),
                Effect::Charge(charge) => encode_charge(&charge.hit(), charge.now_ms).to_vec(),
            };
            assert_eq!(
                again.as_slice(),
                read,
                "{name} is read otherwise than it was"
            );
        }
    }
}
