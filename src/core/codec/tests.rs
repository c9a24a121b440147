mod charges;

use super::charge::*;
use super::state::*;
use super::*;
use crate::core::algorithm::fixed::Dated;
use crate::core::algorithm::log::{DEFAULT_ENTRIES, MAX_ENTRIES, MIN_ENTRIES};
use crate::core::algorithm::meter::Meter;
use crate::core::calendar::Window;
use crate::core::limit::{Limit, Limits, MAX_COUNT, MAX_LIMITS};
use crate::core::limiter::ids::{mark, MAX_IDS as MAX_KNOWN, MAX_TTL_MS};
use crate::core::limiter::regional::{self as regional_form};
use crate::core::limiter::{MeterForm, Meters};
use crate::core::oracle::{self, Step};
use crate::core::quote::regional::LocalRegion;
use crate::core::quote::{self, shadow, Change, HitOptions, Once, Quote};
use crate::core::random::{rounds, Random};
use crate::core::span::Span;
use std::fmt::Write;
use std::path::PathBuf;

const VERSION_1: u8 = FIRST;

const ID: &[u8] = b"req-77";

/// What a payload says, beside which there is an id where it has one.
fn decode(bytes: &[u8]) -> Option<Effect> {
    super::decode(bytes, None).or_else(|| super::decode(bytes, Some(ID)))
}

fn bytes_of(limiter: &Limiter) -> Vec<u8> {
    encode_state(limiter.by_ref())
}

/// A charge as the first version wrote it.
fn first_charge(hit: &Hit, cost: i64, now_ms: u64) -> Vec<u8> {
    let mut out = first(CHARGE, hit.algorithm).to_vec();
    for number in [
        now_ms,
        varint::zigzag(cost),
        u64::from(hit.log_size),
        hit.limits.len() as u64,
    ] {
        varint::write(&mut out, number);
    }
    for limit in hit.limits {
        limit.write(hit.algorithm, &mut out);
    }
    out
}

/// A state that a random trace reaches, some with a log that has merged, and the trace's last call.
fn reachable(random: &mut Random, algorithm: Algorithm) -> (Option<Limiter>, Step) {
    let steps = oracle::trace(random, algorithm);
    let log_size = random.pick(&[MIN_ENTRIES, steps[0].log_size]);
    let mut steps = oracle::with_log_size(steps, log_size);
    steps.truncate(random.index(steps.len()) + 1);
    let mut state = None;
    for step in &steps {
        step.order(&mut state);
        let _ = step.make(&mut state);
    }
    (state, steps.pop().unwrap())
}

/// What a step's effect would be, were it charged.
fn charge_of(step: &Step) -> Vec<u8> {
    let cost = match step.algorithm {
        Algorithm::Lease => step.cost.max(1),
        _ => step.cost,
    };
    let at_ms = step.at_ms.map(|at_ms| at_ms.max(1));
    let step = Step {
        at_ms,
        ..step.clone()
    };
    step.effect(match once_of(&step, cost) {
        Some(once) => Change::Once(once),
        None => Change::Charge(cost),
    })
}

/// The bytes of a charge of the second version that was read.
fn written_again(charge: &Charge) -> Vec<u8> {
    let options = charge.options();
    let hit = charge.hit(&options);
    let is_renewed = charge.here.is_some_and(|here| here.term > 0);
    encode_change(&hit, charge.change(), charge.now_ms, is_renewed).to_vec()
}

/// What might be remembered of a step, were it charged.
fn once_of(step: &Step, cost: i64) -> Option<Once> {
    let may_wait = step.algorithm == Algorithm::Bucket && cost > 0;
    step.is_once().then(|| Once {
        cost,
        mark: mark(&step.id),
        ttl_ms: u32::try_from(step.ids.ttl_ms).unwrap(),
        drops: u16::try_from(step.ids.most - 1).unwrap(),
        is_allowed: !step.force,
        rewinds: cost == 0 && step.stamp,
        wait_ms: step.reserve_ms.filter(|_| may_wait),
        place: None,
    })
}

/// A state, a charge of either version, a release or an order.
fn payload(random: &mut Random) -> Vec<u8> {
    let algorithm = random.pick(&Algorithm::ALL);
    let (state, step) = reachable(random, algorithm);
    let is_plain = step.windows.is_empty() && algorithm != Algorithm::Lease;
    match (state, random.below(10)) {
        (Some(limiter), 0..=5) => bytes_of(&limiter),
        (_, 6) if is_plain => step.hit(|hit| first_charge(hit, step.cost, step.now_ms)),
        (_, 7) if algorithm == Algorithm::Lease => {
            encode_release(&[b"a", &step.id, b"an id of some length"], step.now_ms)
        }
        (_, 8) => encode_order(random.pick(&[0, 1, HOUR_MS]), step.now_ms),
        _ => charge_of(&step),
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

/// The call at any time that its calendar has.
fn asked_at(random: &mut Random, step: &Step) -> Step {
    let is_calendar = step
        .limits
        .iter()
        .any(|limit| limit.span().plain_ms().is_none());
    let now_ms = instant(random);
    step.at(if is_calendar {
        now_ms % 250_000_000_000_000
    } else {
        now_ms
    })
}

/// Uses whatever `decode` accepts: it must be the bytes of what it was read as, and every question and charge that
/// a client could send next must have an answer (the tests are built with overflow checks).
fn use_accepted(random: &mut Random, bytes: &[u8]) -> bool {
    let (mut state, limits) = match decode(bytes) {
        None => return false,
        Some(Effect::State(limiter)) => {
            assert_eq!(bytes_of(&limiter).as_slice(), bytes);
            let limits = limiter.limits();
            (Some(limiter), limits)
        }
        Some(Effect::Charge(charge)) => {
            let options = charge.options();
            let hit = charge.hit(&options);
            let again = match bytes[0] {
                VERSION_1 => first_charge(&hit, charge.cost, charge.now_ms),
                _ => written_again(&charge),
            };
            assert_eq!(again, bytes);
            let mut state = reachable(random, charge.algorithm).0;
            // As RL.APPLY does: what no hit could do is refused.
            if quote::peek(state.as_mut(), &hit, charge.now_ms).is_ok() {
                quote::apply(&mut state, &hit, charge.change(), charge.now_ms).unwrap();
            }
            (state, charge.limits.clone())
        }
        Some(Effect::Shadow(charge)) => {
            let options = charge.options();
            let hit = charge.hit(&options);
            assert_eq!(encode_shadow(&hit, charge.cost, charge.now_ms), bytes);
            let mut state = reachable(random, charge.algorithm).0;
            if let Some(limiter) = &mut state {
                let held = &mut limiter.held();
                if shadow::quote(held, &hit, charge.now_ms).is_ok() {
                    let change = charge.change();
                    let noted = shadow::commit(held, &hit, change, charge.now_ms).unwrap();
                    state = noted.or(state);
                }
            }
            (state, charge.limits.clone())
        }
        Some(Effect::Merge {
            setting,
            own,
            payload,
        }) => {
            let parts = encode_parts(&payload);
            assert_eq!(encode_merge(&parts, setting, own), bytes);
            let mut state = reachable(random, payload.copy.algorithm().unwrap()).0;
            let mut held = state.as_mut().map(Limiter::held);
            let (limiter, _) = regional_form::merge(held.as_mut(), &payload, setting, own).unwrap();
            let mut state = limiter.or(state);
            let limits = state.as_mut().map(|limiter| limiter.held().limits());
            (state, limits.unwrap_or_default())
        }
        Some(Effect::Reset { now_ms, reset_ms }) => {
            assert_eq!(encode_reset(reset_ms, now_ms), bytes);
            return true;
        }
        Some(Effect::Order { length_ms, now_ms }) => {
            assert_eq!(encode_order(length_ms, now_ms), bytes);
            let algorithm = random.pick(&Algorithm::ALL);
            let mut state = reachable(random, algorithm).0;
            oracle::order(&mut state, length_ms, now_ms);
            (state, Limits::new())
        }
        Some(Effect::Release { ids, now_ms }) => {
            let ids: Vec<&[u8]> = ids.iter().map(|id| &**id).collect();
            assert_eq!(encode_release(&ids, now_ms), bytes);
            let mut state = reachable(random, Algorithm::Lease).0;
            if let Some(limiter) = &mut state {
                let mut held = limiter.held();
                if let Some(leases) = held.leases() {
                    leases.release(&ids, now_ms);
                }
            }
            (state, Limits::new())
        }
    };
    for _ in 0..6 {
        let Some(limiter) = &mut state else {
            break;
        };
        let algorithm = limiter.algorithm().unwrap_or(Algorithm::Fixed);
        let mut trace = oracle::trace(random, algorithm);
        let mut step = trace.swap_remove(random.index(trace.len()));
        let named = limits.iter().take(MAX_LIMITS).copied().collect::<Limits>();
        let is_foreign = named.iter().any(|limit| {
            let zone = limit.span().as_calendar().map(|calendar| calendar.zone.kind());
            matches!(zone, Some(crate::core::zone::Kind::Name(name)) if jiff::tz::TimeZone::get(name).is_err())
        });
        if random.percent(70) && !named.is_empty() && !is_foreign {
            step.limits = named;
        }
        let step = asked_at(random, &step);
        let peeked = step.ask(&mut state);
        let done = step.make(&mut state);
        assert_eq!(peeked, done, "{bytes:?}");
        if let Some(limiter) = &mut state {
            let held = limiter.held();
            held.reading(step.now_ms);
            held.block(step.now_ms);
            held.unused_at_ms();
            held.expires_ms();
            held.bytes();
            // What it has become is still what a replica accepts.
            let written = bytes_of(limiter);
            let read = decode_state(&written);
            assert_eq!(read.as_ref(), Some(&*limiter), "{bytes:?}");
        }
    }
    true
}

fn first(kind: u8, algorithm: Algorithm) -> [u8; 3] {
    [FIRST, kind, algorithm as u8]
}

#[test]
fn what_is_encoded_is_decoded() {
    let mut random = Random(1);
    for algorithm in Algorithm::ALL {
        for _ in 0..10_000 {
            let (state, step) = reachable(&mut random, algorithm);
            if let Some(limiter) = state {
                assert_eq!(decode_state(&bytes_of(&limiter)), Some(limiter));
            }
            let cost = match algorithm {
                Algorithm::Lease => step.cost.max(1),
                _ => step.cost,
            };
            let charge = Charge {
                algorithm,
                limits: step.limits.clone(),
                windows: step.windows.clone(),
                cost,
                log_size: match algorithm {
                    Algorithm::Sliding => step.log_size,
                    _ => DEFAULT_ENTRIES,
                },
                now_ms: step.now_ms,
                at_ms: step.at_ms.map(|at_ms| at_ms.max(1)),
                stamp: step.stamp,
                id: SmallVec::from_slice(&step.id),
                once: once_of(&step, cost),
                drops_unnamed: false,
                here: None,
                place: None,
            };
            let bytes = charge_of(&step);
            let read = super::decode(&bytes, step.id_beside());
            assert_eq!(read, Some(Effect::Charge(charge)));
            assert_eq!(decode_state(&bytes), None);
        }
    }
}

#[test]
fn a_charge_of_the_first_version_drops_the_windows_that_it_does_not_name() {
    let (hour, day) = (
        Limit::window(5, 3_600_000).unwrap(),
        Limit::window(5, 86_400_000).unwrap(),
    );
    let mut state = None;
    for limits in [[hour], [day]] {
        let hit = Hit::new(Algorithm::Fixed, &limits, 2);
        let sent = first_charge(&hit, 2, 1_000);
        let Some(Effect::Charge(charge)) = decode(&sent) else {
            panic!("{sent:?}");
        };
        let options = charge.options();
        quote::apply(&mut state, &charge.hit(&options), charge.change(), 1_000).unwrap();
        assert_eq!(state.as_mut().unwrap().held().limits().as_slice(), limits);
    }
    let hit = Hit::new(Algorithm::Fixed, std::slice::from_ref(&hour), 2);
    quote::hit(&mut state, &hit, 1_000).unwrap();
    let limits = state.as_mut().unwrap().held().limits();
    assert_eq!(limits.as_slice(), [hour, day], "of the second, keeps them");
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
    while accepted + refused < rounds(200_000) {
        let original = payload(&mut random);
        for _ in 0..20 {
            let mut bytes = original.clone();
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
        accepted > rounds(10_000) && refused > rounds(10_000),
        "{accepted} accepted, {refused} refused"
    );
}

/// Writes payloads whose numbers are at, just within and just past their bounds.
struct Extreme<'a> {
    random: &'a mut Random,
    out: Vec<u8>,
    /// A calendar's window without which no charge of it is whole.
    windows: Vec<u8>,
    now_ms: u64,
}

impl Extreme<'_> {
    fn pick(&mut self, bound: u64) -> u64 {
        let inside = self.random.magnitude(bound);
        let past = self.random.pick(&[bound.saturating_add(1), u64::MAX]);
        match self.random.below(24) {
            0 => past,
            1..=8 => bound,
            9..=11 => bound.saturating_sub(1),
            12..=14 => 0,
            15..=17 => 1,
            _ => inside,
        }
    }

    fn put(&mut self, number: u64) -> u64 {
        varint::write(&mut self.out, number);
        number
    }

    fn put_all(&mut self, numbers: &[u64]) {
        for number in numbers {
            self.put(*number);
        }
    }

    fn number(&mut self, bound: u64) -> u64 {
        let number = self.pick(bound);
        self.put(number)
    }

    /// One that is not 0 but seldom.
    fn positive(&mut self, bound: u64) -> u64 {
        let number = self.pick(bound).max(1);
        self.put(number)
    }

    /// Its window, if it is a plain one; else when the calendar's begins and ends.
    fn limit(&mut self, algorithm: Algorithm, is_calendar: bool) -> (u64, u64, u64) {
        self.number(MAX_COUNT);
        if algorithm == Algorithm::Bucket {
            self.positive(MAX_COUNT);
        }
        if is_calendar {
            self.put(0);
            let text = self
                .random
                .pick(&["1w", "1mo@31", "1y@Europe/Berlin", "1d"]);
            write_string(&mut self.out, text.as_bytes());
            let start_ms = self.pick(MAX_TIME_MS);
            let end_ms = start_ms.saturating_add(self.pick(duration::MAX_MS).max(1));
            (0, start_ms, end_ms)
        } else {
            (self.positive(duration::MAX_MS), 0, 0)
        }
    }

    fn meter(&mut self, form: u8) {
        match form {
            0 | 4 => {
                let is_calendar = form == 4 && self.random.percent(60);
                let (window_ms, mut start_ms, mut end_ms) =
                    self.limit(Algorithm::Fixed, is_calendar);
                if window_ms > 0 {
                    start_ms = self.pick(MAX_TIME_MS);
                    start_ms -= start_ms % window_ms;
                    end_ms = start_ms.saturating_add(window_ms);
                }
                self.put(start_ms);
                if form == 4 {
                    self.put(end_ms);
                }
                self.number(MAX_COUNT);
            }
            1 => {
                let (window_ms, ..) = self.limit(Algorithm::Sliding, false);
                let mut log = Vec::new();
                for entry in 0..self.pick(3).min(9) {
                    let gap = if entry == 0 {
                        self.pick(MAX_TIME_MS)
                    } else {
                        self.pick(window_ms)
                    };
                    let cost = self.pick(MAX_COUNT);
                    varint::write(&mut log, (gap << 1) | u64::from(cost != 1));
                    if cost != 1 {
                        varint::write(&mut log, cost);
                    }
                }
                let capacity = self.pick(u64::from(MAX_ENTRIES)).max(8);
                self.put(capacity);
                let origin_ms = self.pick(MAX_TIME_MS) / 2;
                self.put(origin_ms);
                self.put(log.len() as u64);
                self.out.extend(log);
            }
            2 | 5 => {
                let (interval_ms, ..) = self.limit(Algorithm::Bucket, false);
                self.number(MAX_COUNT);
                self.number(interval_ms - u64::from(interval_ms > 1));
                self.number(MAX_TIME_MS);
                if form == 5 {
                    self.number(MAX_TIME_MS);
                }
            }
            _ => {
                self.limit(Algorithm::Lease, false);
                let count = self.random.below(4);
                self.put(count);
                let mut ends_ms = self.pick(MAX_TIME_MS);
                for id in 0..count {
                    self.put(ends_ms);
                    self.positive(duration::MAX_MS);
                    self.positive(MAX_COUNT / 4);
                    let id = [b'a' + u8::try_from(id).unwrap()].repeat(self.random.index(65));
                    write_string(&mut self.out, &id);
                    ends_ms = ends_ms.saturating_add(self.random.below(2));
                }
            }
        }
    }

    /// One meter that has numbers at their bounds, and enough others.
    fn meters(&mut self, form: u8, count: u64) {
        self.put(count);
        for window_ms in 1..count {
            let (limit, used) = (7, 3);
            match form {
                0 => self.put_all(&[limit, window_ms, 0, used]),
                1 => self.put_all(&[limit, window_ms, 8, 5, 1, 2]),
                _ => self.put_all(&[limit, 1, window_ms, used, 0, 9]),
            }
        }
        self.meter(form);
    }

    fn state(&mut self) {
        let form = u8::try_from(self.random.below(7)).unwrap();
        match form {
            0..=2 if self.random.percent(50) => {
                self.out.extend([FIRST, STATE, form]);
                self.meters(form, 1);
            }
            0..=2 => {
                self.out.extend([SECOND, form]);
                let count = self.random.pick(&[9, 16, 17, 8]);
                self.meters(form, count);
            }
            6 => {
                self.out.extend([SECOND, 6]);
                let until_ms = self.number(MAX_TIME_MS + duration::MAX_MS);
                let length_ms = self.pick(duration::MAX_MS).max(1).min(until_ms);
                self.put(length_ms);
                self.positive(u64::from(u32::MAX));
                let form = self.random.pick(&[0, 1, 2, 4, 5, 3, 6]);
                self.out.push(form);
                self.meters(form, 1);
            }
            form => {
                self.out.extend([SECOND, form]);
                self.meters(form, 1);
            }
        }
    }

    fn first_charge(&mut self) {
        let algorithm = self.random.pick(&Algorithm::ALL[..3]);
        self.out.extend(first(CHARGE, algorithm));
        self.number(MAX_TIME_MS);
        self.number(2 * MAX_COUNT);
        let log_size = self.pick(u64::from(MAX_ENTRIES)).max(8);
        self.put(log_size);
        self.put(1);
        self.limit(algorithm, false);
    }

    fn charge(&mut self) {
        let algorithm = self.random.pick(&Algorithm::ALL);
        let mut flags = u8::try_from(self.random.below(4)).unwrap();
        if algorithm != Algorithm::Sliding && self.random.percent(95) {
            flags &= HAS_COST;
        }
        let is_calendar = algorithm == Algorithm::Fixed && self.random.percent(30);
        let mut more = match algorithm {
            Algorithm::Fixed if is_calendar => HAS_WINDOWS,
            Algorithm::Lease => HAS_ID,
            Algorithm::Bucket => self.random.pick(&[0, IS_STAMPED]),
            _ => 0,
        };
        if algorithm != Algorithm::Lease && self.random.percent(40) {
            more |= HAS_TIME;
        }
        let is_once = algorithm != Algorithm::Lease && self.random.percent(30);
        if is_once {
            more |= HAS_ID;
        }
        let is_more = if more > 0 { MORE } else { 0 };
        let head = EFFECT | is_more | flags | (algorithm as u8) << ALGORITHM_SHIFT;
        self.out.push(head);
        if more > 0 {
            self.out.push(more);
        }
        self.now_ms = self.number(MAX_TIME_MS);
        if flags & HAS_COST != 0 {
            self.number(2 * MAX_COUNT);
        }
        if flags & HAS_LOG_SIZE != 0 {
            let log_size = self.pick(u64::from(MAX_ENTRIES)).max(8);
            self.put(log_size);
        }
        let (_, start_ms, end_ms) = self.limit(algorithm, is_calendar);
        if more & HAS_TIME != 0 {
            self.number(MAX_TIME_MS);
        }
        if more & HAS_ID != 0 {
            let id = b"i".repeat(self.random.index(66));
            write_string(&mut self.out, &id);
        }
        if is_once {
            let answer = u8::try_from(self.random.below(8)).unwrap();
            let ttl_ms = u32::try_from(self.pick(MAX_TTL_MS)).unwrap_or(u32::MAX);
            let drops = u16::try_from(self.pick(MAX_KNOWN as u64)).unwrap_or(u16::MAX);
            self.out.push(answer);
            self.out.extend(ttl_ms.to_le_bytes());
            self.out.extend(drops.to_le_bytes());
            if answer & IS_TO_WAIT != 0 {
                self.number(duration::MAX_MS);
            }
        }
        if is_calendar {
            // As a rule the window that holds the charge.
            let length_ms = end_ms - start_ms;
            let start_ms = match self.random.percent(80) {
                true => self.now_ms - self.random.below(length_ms.min(self.now_ms).max(1)),
                false => start_ms,
            };
            varint::write(&mut self.windows, start_ms);
            varint::write(&mut self.windows, start_ms.saturating_add(length_ms));
        }
        self.out.append(&mut self.windows);
    }

    fn release(&mut self) {
        self.out.push(RELEASE);
        self.number(MAX_TIME_MS);
        let count = self.random.below(4);
        self.put(count);
        for _ in 0..count {
            let id = b"i".repeat(self.random.index(66));
            write_string(&mut self.out, &id);
        }
    }
}

/// Every number at, just within and just past its bounds.
#[test]
fn numbers_at_their_bounds_are_refused_or_sound() {
    let mut random = Random(4);
    let mut accepted = [0; 4];
    for _ in 0..rounds(200_000) {
        let kind = random.pick(&[0, 0, 0, 1, 2, 2, 3]);
        let mut extreme = Extreme {
            random: &mut random,
            out: Vec::new(),
            windows: Vec::new(),
            now_ms: 0,
        };
        match kind {
            0 => extreme.state(),
            1 => extreme.first_charge(),
            2 => extreme.charge(),
            _ => extreme.release(),
        }
        let out = extreme.out;
        if use_accepted(&mut random, &out) {
            accepted[kind] += 1;
        }
    }
    assert!(
        accepted.iter().all(|accepted| *accepted > rounds(10_000)),
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
        let mut out = first(STATE, Algorithm::Sliding).to_vec();
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
        let mut out = first(kind, algorithm).to_vec();
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
    assert!(
        !read(STATE, Algorithm::Lease, &[1, 5, 1_000, 0]),
        "leases, which the first version had not"
    );
    for version in [0, 4, 0x7f] {
        assert_eq!(decode(&[version, STATE, 0, 1, 5, 10, 0, 3]), None);
    }
}

/// A payload of parts: numbers, and texts behind their lengths.
#[derive(Clone, Copy)]
enum Part<'a> {
    Byte(u8),
    Number(u64),
    Text(&'a [u8]),
    /// What is remembered of a hit with an id: its ttl, what it drops, its answer.
    Remembered(u32, u16, u8),
}

fn is_read(parts: &[Part]) -> bool {
    let mut out = Vec::new();
    for part in parts {
        match part {
            Part::Byte(byte) => out.push(*byte),
            Part::Number(number) => varint::write(&mut out, *number),
            Part::Text(text) => write_string(&mut out, text),
            Part::Remembered(ttl_ms, drops, answer) => {
                out.push(*answer);
                out.extend(ttl_ms.to_le_bytes());
                out.extend(drops.to_le_bytes());
            }
        }
    }
    decode(&out).is_some()
}

#[test]
fn states_of_the_second_version_that_no_limiter_writes_are_refused() {
    use Part::{Byte, Number, Text};
    let n = |numbers: &[u64]| -> Vec<Part<'static>> {
        numbers.iter().map(|number| Number(*number)).collect()
    };
    let form = |form: u8, numbers: &[u64]| {
        let mut parts = vec![Byte(SECOND), Byte(form)];
        parts.extend(n(numbers));
        is_read(&parts)
    };
    assert!(!form(0, &[1, 5, 1_000, 7_000, 3]), "a plain state of few");
    let windows = |count: u64| -> Vec<u64> {
        let meters = (1..=count).flat_map(|ms| [5, ms, 0, 0]);
        std::iter::once(count).chain(meters).collect()
    };
    assert!(form(0, &windows(9)) && form(0, &windows(16)));
    assert!(!form(0, &windows(8)) && !form(0, &windows(17)));
    assert!(!form(7, &windows(9)), "a form that is none");
    // Stamped.
    assert!(form(5, &[1, 5, 1, 1_000, 3, 0, 9, 9]));
    assert!(!form(5, &[1, 5, 1, 1_000, 3, 0, 9, MAX_TIME_MS + 1]));
    // Reserved: as stamped, and then what is promised, how far ahead, and the last place's stamp and cost.
    let reserved = |numbers: [u64; 5]| {
        let stamped = [1, 5, 1, 1_000, 3, 0, 9, 9];
        form(9, &[&stamped[..], &numbers].concat())
    };
    assert!(reserved([3, 0, 70, 10, 2]) && reserved([0, 0, 0, 10, 0]));
    assert!(!reserved([3, 1, 70, 10, 2]), "more than is used");
    assert!(!reserved([2, 1_000, 70, 10, 2]), "a whole token");
    assert!(!reserved([3, 0, 0, 10, 0]), "promised to nobody");
    assert!(!reserved([0, 0, 0, 10, 1]), "a place of nobody");
    assert!(!reserved([3, 0, duration::MAX_MS + 1, 10, 2]));
    assert!(!reserved([3, 0, 70, MAX_TIME_MS + 1, 2]));
    // Leases: limit, ttl, count, and each: end, ttl, cost, id.
    let lease = |leases: &[(u64, u64, u64, &[u8])]| {
        let mut parts = vec![Byte(SECOND), Byte(3)];
        parts.extend(n(&[1, 5, 1_000, leases.len() as u64]));
        for (ends_ms, ttl_ms, cost, id) in leases {
            parts.extend(n(&[*ends_ms, *ttl_ms, *cost]));
            parts.push(Text(id));
        }
        is_read(&parts)
    };
    assert!(lease(&[]));
    assert!(lease(&[(2_000, 1_000, 1, b"a"), (2_000, 1, 1, b"b")]));
    assert!(!lease(&[(2_000, 1_000, 1, b"b"), (2_000, 1, 1, b"a")]));
    assert!(!lease(&[(2_000, 1_000, 1, b"a"), (3_000, 1, 1, b"a")]));
    assert!(!lease(&[(2_000, 2_001, 1, b"a")]), "given before the epoch");
    assert!(!lease(&[(2_000, 0, 1, b"a")]), "for no time");
    assert!(!lease(&[(2_000, 1, 0, b"a")]), "of nothing");
    assert!(!lease(&[(2_000, 1, 1, b"")]), "nobody's");
    assert!(!lease(&[(2_000, 1, 1, &[b'i'; 65])]), "too long an id");
    assert!(lease(&[(2_000, 1, 1, &[b'i'; 64])]));
    assert!(!lease(&[(2_000, 1, MAX_COUNT, b"a"), (2_000, 1, 1, b"b")]));
    assert!(!is_read(
        &[
            vec![Byte(SECOND), Byte(3)],
            n(&[2, 5, 1_000, 0, 5, 1_000, 0])
        ]
        .concat()
    ));
    // Dated: limit, 0, text, start, end, used.
    let dated = |text: &[u8], start_ms, end_ms| {
        let mut parts = vec![Byte(SECOND), Byte(4)];
        parts.extend(n(&[1, 5, 0]));
        parts.push(Text(text));
        parts.extend(n(&[start_ms, end_ms, 3]));
        is_read(&parts)
    };
    assert!(dated(b"1mo", 7, 8));
    assert!(!dated(b"1mo", 8, 8) && !dated(b"1mo", 9, 8), "no window");
    assert!(
        !dated(b"1mo@1", 7, 8) && !dated(b"1d", 7, 8),
        "another text"
    );
    assert!(!dated(b"1mo", 0, 3_700 * 86_400_000), "longer than any");
    assert!(!dated(b"1mo", MAX_TIME_MS + 1, MAX_TIME_MS + 2));
    assert!(
        form(4, &[1, 5, 1_000, 7_000, 8_000, 3]),
        "a plain one beside"
    );
    assert!(!form(4, &[1, 5, 1_000, 7_000, 8_001, 3]));
    // Blocked: until, length, strikes, form, state.
    let blocked = |block: [u64; 3], form: u8, state: &[u64]| {
        let mut parts = vec![Byte(SECOND), Byte(6)];
        parts.extend(n(&block));
        parts.push(Byte(form));
        parts.extend(n(state));
        is_read(&parts)
    };
    let fixed = &[1, 5, 1_000, 7_000, 3];
    assert!(blocked([9_000, 9_000, 1], 0, fixed));
    assert!(!blocked([9_000, 9_001, 1], 0, fixed), "before the epoch");
    assert!(!blocked([9_000, 0, 1], 0, fixed), "for no time");
    assert!(!blocked([9_000, 9_000, 0], 0, fixed), "the 0th");
    assert!(!blocked([9_000, 9_000, 1 << 32], 0, fixed), "too many");
    assert!(!blocked([9_000, 9_000, 1], 3, &[1, 5, 1_000, 0]), "leases");
    let twice = &[9_000, 9_000, 1, 0, 1, 5, 1_000, 7_000, 3];
    assert!(!blocked([9_000, 9_000, 1], 6, twice), "blocked twice");
    // Noted: flags, then what they say: a block, a block by order, a form and its state.
    let noted = |flags: u8, notes: &[u64], form: Option<u8>, state: &[u64]| {
        let mut parts = vec![Byte(SECOND), Byte(NOTED), Byte(flags)];
        parts.extend(n(notes));
        parts.extend(form.map(Byte));
        parts.extend(n(state));
        is_read(&parts)
    };
    let leases = &[1, 5, 1_000, 0];
    let shut = [9_000, 9_000];
    assert!(noted(HAS_SHUT, &shut, None, &[]), "nothing is used");
    assert!(noted(HAS_SHUT | HAS_USAGE, &shut, Some(0), fixed));
    assert!(noted(HAS_SHUT | HAS_USAGE, &shut, Some(3), leases));
    let both = [8_000, 8_000, 1, 9_000, 9_000];
    let all = HAS_BLOCK | HAS_SHUT | HAS_USAGE;
    assert!(noted(all, &both, Some(0), fixed));
    assert!(!noted(all, &both, Some(3), leases), "leases, and a block");
    assert!(!noted(HAS_BLOCK | HAS_SHUT, &both, None, &[]), "no usage");
    assert!(!noted(BLOCKED, &both[..3], Some(0), fixed), "another code");
    assert!(!noted(HAS_USAGE, &[], Some(0), fixed), "no notes");
    assert!(!noted(0, &[], None, &[]), "nothing");
    assert!(!noted(128 | HAS_SHUT, &shut, None, &[]), "an unknown flag");
    assert!(!noted(HAS_SHUT, &[9_000, 9_001], None, &[]), "before epoch");
    assert!(!noted(HAS_SHUT, &[9_000, 0], None, &[]), "for no time");
    // Of one id: length, flags, noted, ttl, id.
    let id = [1, 13, 1, 7, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 97];
    assert!(noted(HAS_IDS | HAS_USAGE, &id, Some(0), fixed));
    assert!(!noted(HAS_IDS, &id, None, &[]), "no usage");
    assert!(!noted(HAS_IDS | HAS_USAGE, &id, Some(3), leases), "leases");
    assert!(!noted(HAS_IDS | HAS_USAGE, &[0], Some(0), fixed), "none");
    let twice = &[9_000, 9_000, 1, 0, 1, 5, 1_000, 7_000, 3];
    assert!(!noted(HAS_SHUT | HAS_USAGE, &shut, Some(6), twice));
    assert!(!noted(HAS_SHUT | HAS_USAGE, &shut, Some(NOTED), &shut));
}

/// As in Asia/Almaty, which set its clocks back for good in 2024.
#[test]
fn a_window_that_its_zone_makes_longer_than_any_is_read_back() {
    let span = Span::parse(b"3660d@Asia/Almaty").unwrap();
    let limits = [Limit::spanning(5, span).unwrap()];
    let windows = [Window {
        start_ms: NOW_MS,
        end_ms: NOW_MS + duration::MAX_MS + HOUR_MS,
    }];
    let options = HitOptions {
        windows: &windows,
        ..HitOptions::NONE
    };
    let hit = Hit {
        options: &options,
        ..Hit::new(Algorithm::Fixed, &limits, 1)
    };
    let sent = encode_charge(&hit, 1, NOW_MS);
    assert!(matches!(decode(&sent), Some(Effect::Charge(_))));
    let state = state_of(&hit);
    assert!(decode_state(&state).is_some());
}

#[test]
fn effects_that_no_hit_has_are_refused() {
    use Part::{Byte, Number, Text};
    let charge = |head: u8, more: Option<u8>, rest: &[Part]| {
        let mut parts = vec![Byte(EFFECT | head)];
        parts.extend(more.map(Byte));
        parts.extend(rest.iter().copied());
        is_read(&parts)
    };
    let [fixed, sliding, bucket, lease] = [0, 0x10, 0x20, 0x30];
    let (now, limit) = (Number(7_000), [Number(5), Number(1_000)]);
    let [five, second] = limit;
    assert!(charge(
        fixed,
        None,
        &[Number(7_000), Number(5), Number(1_000)]
    ));
    let plain = [now, five, second];
    assert!(!charge(fixed | 8, None, &plain), "an unknown flag");
    assert!(!charge(fixed | MORE, Some(0), &plain), "nothing more");
    assert!(!charge(fixed | MORE, Some(16), &plain), "an unknown flag");
    assert!(!charge(fixed | MORE, Some(IS_STAMPED), &plain));
    assert!(!charge(sliding | MORE, Some(IS_STAMPED), &plain));
    assert!(!charge(lease, None, &plain), "nobody's lease");
    assert!(
        !charge(fixed | MORE, Some(HAS_WINDOWS), &plain),
        "no calendar"
    );
    let with = |number: u64| [Number(7_000), Number(number), Number(5), Number(1_000)];
    assert!(charge(fixed | HAS_COST, None, &with(4)));
    assert!(!charge(fixed | HAS_COST, None, &with(2)), "a cost of 1");
    assert!(!charge(fixed | HAS_COST, None, &with(2 * MAX_COUNT + 2)));
    assert!(!charge(fixed | HAS_LOG_SIZE, None, &with(8)), "no log");
    assert!(charge(sliding | HAS_LOG_SIZE, None, &with(8)));
    assert!(
        !charge(sliding | HAS_LOG_SIZE, None, &with(128)),
        "the usual"
    );
    assert!(!charge(sliding | HAS_LOG_SIZE, None, &with(7)), "too small");
    assert!(!charge(fixed | HAS_COUNT, None, &with(1)), "one limit");
    assert!(!charge(
        fixed | HAS_COUNT,
        None,
        &[Number(7_000), Number(0)]
    ));
    let two = [7_000, 2, 5, 1_000, 5, 1_000].map(Number);
    assert!(!charge(fixed | HAS_COUNT, None, &two), "one window twice");
    let at = |at_ms| [Number(7_000), Number(5), Number(1_000), Number(at_ms)];
    assert!(charge(fixed | MORE, Some(HAS_TIME), &at(6_000)));
    assert!(!charge(fixed | MORE, Some(HAS_TIME), &at(MAX_TIME_MS + 1)));
    assert!(!charge(fixed | MORE, Some(HAS_TIME), &at(0)), "a no-op");
    let stamped = [7_000, 5, 1, 1_000].map(Number);
    assert!(charge(bucket | MORE, Some(IS_STAMPED), &stamped));
    let held = |id: &'static [u8]| [Number(7_000), Number(5), Number(1_000), Text(id)];
    assert!(charge(lease | MORE, Some(HAS_ID), &held(b"a")));
    assert!(!charge(lease | MORE, Some(HAS_ID), &held(b"")));
    assert!(!charge(fixed | MORE, Some(HAS_ID), &held(b"a")));
    let once = |ttl_ms, drops, answer| {
        let mut parts = [7_000, 5, 1_000].map(Number).to_vec();
        parts.push(Part::Remembered(ttl_ms, drops, answer));
        parts
    };
    let day_ms = u32::try_from(MAX_TTL_MS).unwrap();
    assert!(charge(fixed | MORE, Some(HAS_ID), &once(1, 0, 1)));
    assert!(charge(fixed | MORE, Some(HAS_ID), &once(day_ms, 4_096, 0)));
    assert!(
        !charge(fixed | MORE, Some(HAS_ID), &once(0, 0, 1)),
        "for no time"
    );
    assert!(!charge(fixed | MORE, Some(HAS_ID), &once(day_ms + 1, 0, 1)));
    assert!(!charge(fixed | MORE, Some(HAS_ID), &once(1, 4_097, 1)));
    assert!(!charge(fixed | MORE, Some(HAS_ID), &once(1, 0, 8)));
    assert!(
        !charge(
            fixed | MORE,
            Some(HAS_ID),
            &[once(1, 0, 3), vec![Number(9)]].concat()
        ),
        "no bucket"
    );
    assert!(
        !charge(fixed | MORE, Some(HAS_ID), &once(1, 0, 5)),
        "charged, and moved"
    );
    assert!(
        !charge(lease | MORE, Some(HAS_ID), &once(1, 0, 1)),
        "a lease"
    );
    let cost = |cost: u64| {
        [
            Number(7_000),
            Number(cost),
            Number(5),
            Number(1_000),
            Text(b"a"),
        ]
    };
    assert!(charge(lease | HAS_COST | MORE, Some(HAS_ID), &cost(4)));
    assert!(!charge(lease | HAS_COST | MORE, Some(HAS_ID), &cost(0)));
    assert!(!charge(lease | HAS_COST | MORE, Some(HAS_ID), &cost(3)));
    let month = |start_ms, end_ms| {
        [
            Number(7_000),
            Number(5),
            Number(0),
            Text(b"1mo"),
            Number(start_ms),
            Number(end_ms),
        ]
    };
    assert!(charge(
        fixed | MORE,
        Some(HAS_WINDOWS),
        &month(7_000, 7_001)
    ));
    assert!(!charge(
        fixed | MORE,
        Some(HAS_WINDOWS),
        &month(7_001, 7_002)
    ));
    assert!(!charge(
        fixed | MORE,
        Some(HAS_WINDOWS),
        &month(6_000, 7_000)
    ));
    assert!(!charge(fixed, None, &month(7_000, 7_001)[..4]));
    assert!(!charge(
        sliding | MORE,
        Some(HAS_WINDOWS),
        &month(7_000, 7_001)
    ));
    let release = |now_ms, ids: &[&'static [u8]]| {
        let mut parts = vec![Byte(RELEASE), Number(now_ms), Number(ids.len() as u64)];
        parts.extend(ids.iter().map(|id| Text(id)));
        is_read(&parts)
    };
    assert!(release(7_000, &[b"a", b"a", &[0; 64]]));
    assert!(!release(7_000, &[b""]) && !release(7_000, &[&[0; 65]]));
    assert!(!release(MAX_TIME_MS + 1, &[b"a"]));
}

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
const NOW_MS: u64 = 1_700_000_000_123;

fn hour(limit: u64) -> Limit {
    Limit::window(limit, HOUR_MS).unwrap()
}

fn day(limit: u64) -> Limit {
    Limit::window(limit, DAY_MS).unwrap()
}

fn buckets() -> [Limit; 2] {
    [
        Limit::bucket(50, 7, 1_000).unwrap(),
        Limit::bucket(1_000, 1, DAY_MS).unwrap(),
    ]
}

/// Hits of cost 1 to 4 that fill a log of eight and leave a bucket with a fraction.
fn hits(state: &mut Option<Limiter>, hit: &Hit) {
    hits_in_turn(state, &[*hit]);
}

/// Some hits at each of some times.
fn hits_in_turn(state: &mut Option<Limiter>, hits: &[Hit]) {
    for (at_ms, cost) in (NOW_MS..).step_by(333).zip([1, 1, 2, 3, 4, 1, 1, 2]) {
        for hit in hits {
            quote::hit(state, &Hit { cost, ..*hit }, at_ms).unwrap();
        }
    }
}

fn state_of(hit: &Hit) -> Vec<u8> {
    let mut state = None;
    hits(&mut state, hit);
    bytes_of(&state.unwrap())
}

/// The payloads that every later version must still read, one of each form and kind.
type Golden = Vec<(u8, &'static str, &'static str, Vec<u8>)>;

/// Of the first version; its charges are read, and no longer written.
fn first_golden() -> Golden {
    let windows = [hour(100), day(MAX_COUNT)];
    let buckets = buckets();
    let hit = |algorithm| Hit {
        log_size: 8,
        ..Hit::new(
            algorithm,
            if algorithm == Algorithm::Bucket {
                &buckets
            } else {
                &windows
            },
            1,
        )
    };
    let charge = |algorithm, cost| first_charge(&hit(algorithm), cost, NOW_MS);
    vec![
        (
            1,
            "fixed-state",
            "two windows, 15 used of each",
            state_of(&hit(Algorithm::Fixed)),
        ),
        (
            1,
            "fixed-charge",
            "a charge of 1 against two windows",
            charge(Algorithm::Fixed, 1),
        ),
        (
            1,
            "sliding-state",
            "two windows, each a full log of 8 entries",
            state_of(&hit(Algorithm::Sliding)),
        ),
        (
            1,
            "sliding-charge",
            "3 given back to two windows",
            charge(Algorithm::Sliding, -3),
        ),
        (
            1,
            "bucket-state",
            "two buckets, some whole tokens and a fraction out of each",
            state_of(&hit(Algorithm::Bucket)),
        ),
        (
            1,
            "bucket-charge",
            "a charge of 2^53 - 1 against two buckets",
            charge(Algorithm::Bucket, MAX_COUNT.cast_signed()),
        ),
    ]
}

/// States of the second version, one of each form.
fn second_states() -> Golden {
    let nine = |algorithm: Algorithm| -> Vec<u8> {
        let limits: Vec<Limit> = (1..=9)
            .map(|hours| match algorithm {
                Algorithm::Bucket => Limit::bucket(60, hours, hours * HOUR_MS).unwrap(),
                _ => Limit::window(60, hours * HOUR_MS).unwrap(),
            })
            .collect();
        let mut state = None;
        let both = [&limits[..8], &limits[8..]].map(|limits| Hit {
            log_size: 8,
            ..Hit::new(algorithm, limits, 1)
        });
        hits_in_turn(&mut state, &both);
        bytes_of(&state.unwrap())
    };
    let mut leases = None;
    for (id, cost, ttl_ms) in [
        ("req-77", 1, 120_000),
        ("req-76", 3, HOUR_MS),
        ("\0\u{ff}", 1, 500),
    ] {
        let limits = [Limit::window(10, ttl_ms).unwrap()];
        let options = HitOptions {
            id: id.as_bytes(),
            ..HitOptions::NONE
        };
        let mut hit = Hit::new(Algorithm::Lease, &limits, cost);
        hit.options = &options;
        quote::hit(&mut leases, &hit, NOW_MS).unwrap();
    }
    let span = Span::parse(b"1mo@15,Europe/Berlin").unwrap();
    let dated = [Limit::spanning(1_000, span).unwrap(), day(100)];
    let windows = [november(), Window::default()];
    let in_november = HitOptions {
        windows: &windows,
        ..HitOptions::NONE
    };
    let mut calendar = Hit::new(Algorithm::Fixed, &dated, 1);
    calendar.options = &in_november;
    let buckets = buckets();
    let mut stamped = Hit::new(Algorithm::Bucket, &buckets, 1);
    stamped.options = &STAMPED;
    let blocked = |hit: &Hit, times: u64| {
        let mut state = None;
        for time in 0..times {
            let mut over = *hit;
            let options = HitOptions {
                block_ms: &[900_000, HOUR_MS],
                ..*hit.options
            };
            over.options = &options;
            hits(&mut state, hit);
            over.cost = hit.limits[0].limit().cast_signed();
            quote::hit(&mut state, &over, NOW_MS + 3_000 + time * 900_000).unwrap();
        }
        bytes_of(&state.unwrap())
    };
    let sliding = [hour(100)];
    let short = Hit {
        log_size: 8,
        ..Hit::new(Algorithm::Sliding, &sliding, 1)
    };
    let shut = |mut state: Option<Limiter>| {
        oracle::order(&mut state, 30_000, NOW_MS + 4_000);
        bytes_of(&state.unwrap())
    };
    vec![
        (
            2,
            "fixed-state",
            "nine windows, 15 used of each",
            nine(Algorithm::Fixed),
        ),
        (
            2,
            "sliding-state",
            "nine windows, each a full log of 8 entries",
            nine(Algorithm::Sliding),
        ),
        (
            2,
            "bucket-state",
            "nine buckets, some out of each",
            nine(Algorithm::Bucket),
        ),
        (
            2,
            "lease-state",
            "three leases of 1, 3 and 1 units, one with an id of strange bytes",
            bytes_of(&leases.unwrap()),
        ),
        (
            2,
            "dated-state",
            "a calendar month from the 15th in Berlin and a day, 15 used of each",
            state_of(&calendar),
        ),
        (
            2,
            "stamped-state",
            "two buckets that note since when they have not been full",
            state_of(&stamped),
        ),
        (
            2,
            "blocked-sliding-state",
            "a sliding window in its second block",
            blocked(&short, 2),
        ),
        (
            2,
            "blocked-dated-state",
            "a calendar month and a day, in a block that the month began",
            blocked(&calendar, 1),
        ),
        (
            2,
            "shut-state",
            "shut by order, and nothing used",
            shut(None),
        ),
        (
            2,
            "shut-blocked-state",
            "a sliding window in a block that it began, and shut by order besides",
            shut(decode_state(&blocked(&short, 1))),
        ),
    ]
}

const STAMPED: HitOptions<'static> = HitOptions {
    stamp: true,
    ..HitOptions::NONE
};

/// From the 15th of October to the 15th of November 2023 in Berlin, across the end of summer time.
const fn november() -> Window {
    Window {
        start_ms: 1_697_320_800_000,
        end_ms: 1_700_002_800_000,
    }
}

/// Effects of the second version, with everything that may follow.
fn second_effects() -> Golden {
    let windows = [hour(100), day(MAX_COUNT)];
    let buckets = buckets();
    let span = Span::parse(b"1mo@15,Europe/Berlin").unwrap();
    let dated = [day(100), Limit::spanning(1_000, span).unwrap()];
    let all_options = [
        HitOptions {
            at_ms: Some(NOW_MS - 5_000),
            ..HitOptions::NONE
        },
        HitOptions {
            at_ms: Some(NOW_MS - 5_000),
            ..STAMPED
        },
        HitOptions {
            id: b"req-77",
            ..HitOptions::NONE
        },
        HitOptions {
            windows: &[Window::default(), november()],
            at_ms: Some(NOW_MS - 1),
            ..HitOptions::NONE
        },
    ];
    let with = |algorithm, limits, options| Hit {
        options,
        ..Hit::new(algorithm, limits, 1)
    };
    let at = with(Algorithm::Sliding, &windows[..1], &all_options[0]);
    let stamped = with(Algorithm::Bucket, &buckets[..1], &STAMPED);
    let settled = with(Algorithm::Bucket, &buckets, &all_options[1]);
    let lease = with(Algorithm::Lease, &windows[..1], &all_options[2]);
    let month = with(Algorithm::Fixed, &dated, &all_options[3]);
    let of = |hit: &Hit, cost: i64| encode_charge(hit, cost, NOW_MS).to_vec();
    let sized = Hit {
        log_size: 8,
        ..Hit::new(Algorithm::Sliding, &windows, 1)
    };
    vec![
        (
            2,
            "fixed-charge",
            "a charge of 1 against one window",
            of(&Hit::new(Algorithm::Fixed, &windows[..1], 1), 1),
        ),
        (
            2,
            "sliding-charge",
            "3 given back to two windows, logs of 8 entries",
            of(&sized, -3),
        ),
        (
            2,
            "bucket-charge",
            "a charge of 2^53 - 1 against two buckets",
            of(
                &Hit::new(Algorithm::Bucket, &buckets, 1),
                MAX_COUNT.cast_signed(),
            ),
        ),
        (
            2,
            "at-charge",
            "a charge of 1 as of 5 seconds ago",
            of(&at, 1),
        ),
        (
            2,
            "stamped-charge",
            "a charge of 1 against a bucket that notes since when it has not been full",
            of(&stamped, 1),
        ),
        (
            2,
            "settled-charge",
            "7 of 5 seconds ago given back to two such buckets",
            of(&settled, -7),
        ),
        (2, "lease-charge", "a lease of 2 units", of(&lease, 2)),
        (
            2,
            "calendar-charge",
            "a charge of 1 as of a millisecond ago against a day and a calendar month",
            of(&month, 1),
        ),
        (
            2,
            "release",
            "two leases given back",
            encode_release(&[b"req-77", b"\0"], NOW_MS),
        ),
        (
            2,
            "order",
            "shut for half a minute",
            encode_order(30_000, NOW_MS),
        ),
    ]
}

fn here(name: &str, term: u64) -> Option<LocalRegion> {
    Some(LocalRegion {
        region: Region::parse(name.as_bytes()).unwrap(),
        term,
        due: 0,
        share: None,
    })
}

/// What region us holds after eu, another run of eu's, and us itself have charged, and what they have sent of it.
fn regional(hit: &Hit) -> (Limiter, Vec<u8>) {
    let charge = |state: &mut Option<Limiter>, here, cost, now_ms| {
        let options = HitOptions {
            here,
            ..*hit.options
        };
        let hit = Hit {
            cost,
            force: true,
            options: &options,
            ..*hit
        };
        quote::hit(state, &hit, now_ms).unwrap();
    };
    let mut eu = None;
    charge(&mut eu, here("eu", 0), 3, NOW_MS);
    charge(&mut eu, here("eu", 0), -1, NOW_MS + 5);
    charge(&mut eu, here("eu", u64::MAX), 4, NOW_MS + 9);
    let (mut us, setting) = (None, merging());
    charge(&mut us, here("us", 0), 2, NOW_MS + 7);
    let eu = eu.unwrap();
    let copy = eu.regional().unwrap().export(None, NOW_MS + 10);
    let payload = Payload {
        sender: Region::parse(b"eu").unwrap(),
        copy: copy.unwrap(),
    };
    let mut us = us.unwrap();
    let own = Region::parse(b"us").unwrap();
    let merged = regional_form::merge(Some(&mut us.held()), &payload, setting, own).unwrap();
    assert!(merged.1.news);
    (us, encode_parts(&payload))
}

fn merging() -> Merging {
    Merging {
        now_ms: NOW_MS + 20,
        debt_ms: 10_000,
        log_size: 128,
    }
}

/// What several regions share, and its effects.
fn regional_golden() -> Golden {
    let windows = [hour(100), day(1_000)];
    let buckets = buckets();
    let span = Span::parse(b"1mo@15,Europe/Berlin").unwrap();
    let dated = [Limit::spanning(1_000, span).unwrap(), day(100)];
    let november = [november(), Window::default()];
    let calendar = HitOptions {
        windows: &november,
        ..HitOptions::NONE
    };
    let fixed = regional(&Hit::new(Algorithm::Fixed, &windows, 1));
    let sliding = regional(&Hit::new(Algorithm::Sliding, &windows, 1));
    let bucket = regional(&Hit::new(Algorithm::Bucket, &buckets, 1));
    let month = Hit {
        options: &calendar,
        ..Hit::new(Algorithm::Fixed, &dated, 1)
    };
    let month_state = regional(&month).0;
    let options = HitOptions {
        here: here("eu", 0),
        ..HitOptions::NONE
    };
    let charge = Hit {
        options: &options,
        ..Hit::new(Algorithm::Sliding, &windows, 1)
    };
    let options = HitOptions {
        here: here("eu", 0),
        at_ms: Some(NOW_MS - 1),
        ..calendar
    };
    let month = Hit {
        options: &options,
        ..month
    };
    let own = Region::parse(b"us").unwrap();
    let of =
        |hit: &Hit, is_renewed| encode_change(hit, Change::Charge(2), NOW_MS, is_renewed).to_vec();
    vec![
        (
            2,
            "regional-fixed-state",
            "two windows of three origins",
            bytes_of(&fixed.0),
        ),
        (
            2,
            "regional-sliding-state",
            "two windows of three origins",
            bytes_of(&sliding.0),
        ),
        (
            2,
            "regional-bucket-state",
            "two buckets of three origins",
            bytes_of(&bucket.0),
        ),
        (
            2,
            "regional-dated-state",
            "a month and a day of three origins",
            bytes_of(&month_state),
        ),
        (
            2,
            "regional-charge",
            "a charge of 2 by region eu",
            of(&charge, false),
        ),
        (
            2,
            "regional-renewed-charge",
            "the same, by a new origin",
            of(&charge, true),
        ),
        (
            2,
            "regional-calendar-charge",
            "a charge of 2 of a month, as of before",
            of(&month, false),
        ),
        (
            2,
            "merge",
            "what eu has sent of two windows",
            encode_merge(&sliding.1, merging(), own),
        ),
        (
            2,
            "reset",
            "for all regions",
            encode_reset(NOW_MS, NOW_MS + 1),
        ),
    ]
}

fn hex_of(version: u8, name: &str) -> PathBuf {
    let mut path = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    path.extend(["tests", "golden"]);
    if version > 1 {
        path.push(format!("version-{version}"));
    }
    path.push(name);
    path.with_extension("hex")
}

/// What a key remembers of hits with an id, and what travels of one.
fn once_golden() -> Golden {
    let buckets = buckets();
    let once = |id| HitOptions {
        id,
        stamp: true,
        reserve_ms: Some(HOUR_MS),
        ..HitOptions::NONE
    };
    let all_options = [once(b"req-77"), once(b"\0\xff")];
    let [first, second] = [&all_options[0], &all_options[1]].map(|options| Hit {
        options,
        ..Hit::new(Algorithm::Bucket, &buckets, 7)
    });
    let refund = HitOptions {
        id: b"req-77-done",
        at_ms: Some(NOW_MS - 5_000),
        ..HitOptions::NONE
    };
    let windows = [hour(100)];
    let refund = Hit {
        options: &refund,
        ..Hit::new(Algorithm::Fixed, &windows, -7)
    };
    let mut state = None;
    quote::hit(&mut state, &first, NOW_MS).unwrap();
    let quoted = quote::hit(&mut state, &second, NOW_MS + 1).unwrap();
    let of = |hit: &Hit, quoted: Quote| match quoted.change {
        change @ Change::Once(_) => encode_change(hit, change, NOW_MS + 1, false).to_vec(),
        change => panic!("{change:?}"),
    };
    let mut counted = None;
    hits(&mut counted, &Hit::new(Algorithm::Fixed, &windows, 1));
    let settled = quote::hit(&mut counted, &refund, NOW_MS + 1).unwrap();
    vec![
        (
            2,
            "ids-state",
            "stamped buckets that remember two hits, one of which waits",
            bytes_of(&state.unwrap()),
        ),
        (2, "once-charge", "the second of them", of(&second, quoted)),
        (
            2,
            "once-settled-charge",
            "a refund with an id",
            of(&refund, settled),
        ),
    ]
}

/// A key on which limits are tried, and what travels of them.
fn shadow_golden() -> Golden {
    let (windows, tried) = (
        [hour(100)],
        [hour(3), Limit::window(7, 24 * HOUR_MS).unwrap()],
    );
    let mut state = None;
    hits(&mut state, &Hit::new(Algorithm::Fixed, &windows, 1));
    let mut state = state.unwrap();
    let hit = Hit::new(Algorithm::Fixed, &tried, 2);
    let judged = shadow::quote(&mut state.held(), &hit, NOW_MS).unwrap();
    let noted = shadow::commit(&mut state.held(), &hit, judged.change, NOW_MS).unwrap();
    vec![
        (
            2,
            "shadow-state",
            "a fixed window on which two others are tried",
            bytes_of(&noted.unwrap()),
        ),
        (
            2,
            "shadow-charge",
            "what the two have let through",
            encode_shadow(&hit, judged.change.cost(), NOW_MS),
        ),
    ]
}

/// `REGENERATE_GOLDEN=1 cargo test --no-default-features golden` writes the files anew: only for a new version.
#[test]
fn golden_payloads_are_written_and_read_as_ever() {
    let payloads = [
        first_golden(),
        second_states(),
        second_effects(),
        regional_golden(),
        once_golden(),
        shadow_golden(),
    ]
    .concat();
    for (version, name, what, bytes) in payloads {
        let path = hex_of(version, name);
        if std::env::var_os("REGENERATE_GOLDEN").is_some() {
            let mut text = format!("# version {version}, {name}: {what}\n");
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
        assert_eq!(bytes, read, "{name} is written otherwise than it was");
        let again = match decode(&read).unwrap() {
            Effect::State(limiter) => bytes_of(&limiter),
            Effect::Charge(charge) if version == 1 => {
                assert!(charge.drops_unnamed);
                first_charge(&charge.hit(&charge.options()), charge.cost, charge.now_ms)
            }
            Effect::Shadow(charge) => {
                encode_shadow(&charge.hit(&charge.options()), charge.cost, charge.now_ms)
            }
            Effect::Merge {
                setting,
                own,
                payload,
            } => encode_merge(&encode_parts(&payload), setting, own),
            Effect::Reset { now_ms, reset_ms } => encode_reset(reset_ms, now_ms),
            Effect::Order { length_ms, now_ms } => encode_order(length_ms, now_ms),
            Effect::Charge(charge) => {
                assert!(!charge.drops_unnamed);
                written_again(&charge)
            }
            Effect::Release { ids, now_ms } => {
                let ids: Vec<&[u8]> = ids.iter().map(|id| &**id).collect();
                encode_release(&ids, now_ms)
            }
        };
        assert_eq!(again, read, "{name} is read otherwise than it was");
    }
}

/// The longest that a calendar can say, and a day for each of two changes of a zone's date.
#[test]
fn a_window_that_is_longer_than_any_calendar_s_is_refused() {
    let longest_ms = duration::MAX_MS + 2 * 86_400_000;
    let span = Span::parse(b"3660d@Asia/Almaty").unwrap();
    for (length_ms, is_read) in [(longest_ms, true), (longest_ms + 1, false)] {
        let mut dated = Dated::unused(&Limit::spanning(5, span).unwrap(), 0);
        dated.start_ms = NOW_MS;
        dated.end.0 = NOW_MS + length_ms;
        dated.used = 1;
        let meters = Meters(SmallVec::from_elem(dated, 1));
        let bytes = encode_state(Dated::wrap(meters).by_ref());
        assert_eq!(decode_state(&bytes).is_some(), is_read, "{length_ms}");
    }
}
