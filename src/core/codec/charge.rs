//! The bytes of a charge, the effect of every hit that changes what is used.

use super::described::{is_window, MAX_WINDOW_MS};
use super::{varint, when, Source, CHARGE};
use crate::core::algorithm::lease::MAX_ID_BYTES;
use crate::core::algorithm::log::{DEFAULT_ENTRIES, MAX_ENTRIES, MIN_ENTRIES};
use crate::core::algorithm::meter::Place;
use crate::core::bytes::sink::Sink;
use crate::core::bytes::varint::write_string;
use crate::core::calendar::Window;
use crate::core::duration;
use crate::core::limit::{Algorithm, Limit, Limits, MAX_COUNT, MAX_LIMITS, MAX_TIME_MS};
use crate::core::limiter::ids::{mark, Bounds, MAX_IDS, MAX_TTL_MS};
use crate::core::quote::regional::LocalRegion;
use crate::core::quote::{Change, Hit, HitOptions, Once, Windows};
use crate::core::region::origin::Region;
use crate::core::span::MAX_TEXT_BYTES;
use arrayvec::ArrayVec;
use smallvec::SmallVec;

/// A charge of the second version: the bit that says so, and those of what follows.
pub(super) const EFFECT: u8 = 0x80;
pub(super) const MORE: u8 = 0x40;
pub(super) const ALGORITHM_SHIFT: u32 = 4;
pub(super) const HAS_COST: u8 = 1;
pub(super) const HAS_LOG_SIZE: u8 = 2;
pub(super) const HAS_COUNT: u8 = 4;
pub(super) const IS_STAMPED: u8 = 1;
pub(super) const HAS_TIME: u8 = 2;
pub(super) const HAS_ID: u8 = 4;
pub(super) const HAS_WINDOWS: u8 = 8;
pub(super) const HAS_REGION: u8 = 16;
pub(super) const IS_RENEWED: u8 = 32;
pub(super) const HAS_PLACE: u8 = 64;
pub(super) const IS_ALLOWED: u8 = 1;
pub(super) const IS_TO_WAIT: u8 = 2;
pub(super) const REWINDS: u8 = 4;

/// The bytes of an effect, which is on the path of every hit: a plain array, as long as the longest charge.
///
/// (A `SmallVec` that grows byte by byte took five times the instructions.)
#[derive(Default)]
pub struct EffectBytes(ArrayVec<u8, { Self::MAX }>);

impl EffectBytes {
    /// A number of up to 2^54 takes 8 bytes, and nothing in a charge is larger.
    const NUMBER: usize = 8;
    /// Three numbers, or one and a calendar window's text; and that window.
    const LIMIT: usize = 2 * Self::NUMBER + 1 + MAX_TEXT_BYTES + 2 * Self::NUMBER;
    const REGION: usize = 1 + Region::MAX_BYTES;
    /// A number is written as a word, of which what it does not take is cut off again.
    const WORD: usize = 8;
    const MAX: usize = 2
        + 8 * Self::NUMBER
        + 1
        + MAX_ID_BYTES
        + MAX_LIMITS * Self::LIMIT
        + Self::REGION
        + 2 * Self::NUMBER
        + Self::WORD;

    /// Appends a charge: to where they are wanted, as they are too many to hand around. `is_renewed`: it began a new origin in the
    /// place of the one of a run before.
    #[inline(always)]
    pub fn charge(&mut self, hit: &Hit, cost: i64, now_ms: u64, is_renewed: bool) {
        let options = hit.options;
        let is_usual = options.windows.is_empty() && options.at_ms.is_none() && !options.stamp;
        match options.here {
            None if is_usual && options.id.is_empty() => {
                write_charge(hit, cost, now_ms, None, self)
            }
            None if is_usual => {
                write_charge(hit, cost, now_ms, Some(HAS_ID), self);
                write_string(self, options.id);
            }
            Some(here) if is_usual => {
                let more = HAS_REGION | if is_renewed { IS_RENEWED } else { 0 };
                write_charge(hit, cost, now_ms, Some(more), self);
                here.region.write(self);
            }
            _ => write_rare_charge(hit, cost, None, None, now_ms, is_renewed, self),
        }
    }

    /// Appends whatever charges.
    pub fn change(&mut self, hit: &Hit, change: Change, now_ms: u64, is_renewed: bool) {
        match change {
            Change::Reserve(place) => self.reserve(hit, &place, now_ms, is_renewed),
            Change::Once(once) => self.once(hit, &once, now_ms, is_renewed),
            _ => self.charge(hit, change.cost(), now_ms, is_renewed),
        }
    }

    /// Appends a charge of a place that is reserved.
    #[cold]
    fn reserve(&mut self, hit: &Hit, place: &Place, now_ms: u64, is_renewed: bool) {
        let cost = place.cost.cast_signed();
        write_rare_charge(hit, cost, Some(place), None, now_ms, is_renewed, self);
    }

    /// Appends a charge of a hit that asks for nothing rare but its id.
    #[inline(always)]
    pub fn usual_once(&mut self, hit: &Hit, once: &Once, now_ms: u64) {
        write_charge(hit, once.cost, now_ms, Some(HAS_ID), self);
        write_once(once, self);
    }

    /// Appends a charge of a hit with an id.
    #[cold]
    fn once(&mut self, hit: &Hit, once: &Once, now_ms: u64, is_renewed: bool) {
        let rare = hit.options;
        let is_usual = rare.windows.is_empty() && rare.at_ms.is_none() && !rare.stamp;
        if is_usual && rare.here.is_none() && once.place.is_none() {
            return self.usual_once(hit, once, now_ms);
        }
        let place = once.place.as_ref();
        write_rare_charge(hit, once.cost, place, Some(once), now_ms, is_renewed, self);
    }
}

// There is room for the longest.
impl Sink for EffectBytes {
    #[inline]
    fn push(&mut self, byte: u8) {
        let _ = self.0.try_push(byte);
    }

    #[inline]
    fn append(&mut self, bytes: &[u8]) {
        let _ = self.0.try_extend_from_slice(bytes);
    }

    #[inline]
    fn append_word(&mut self, word: u64, bytes: usize) {
        let length = self.0.len() + bytes;
        let _ = self.0.try_extend_from_slice(&word.to_le_bytes());
        self.0.truncate(length);
    }
}

impl std::ops::Deref for EffectBytes {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// A hit that was decided elsewhere and is to be charged here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// How to count.
    pub algorithm: Algorithm,
    /// The limits that were in force.
    pub limits: Limits,
    /// Where there is a calendar window among them: the window of each.
    pub windows: Windows,
    /// Units, negative where given back.
    pub cost: i64,
    /// The log size of a sliding limiter that this creates.
    pub log_size: u16,
    /// When it was decided.
    pub now_ms: u64,
    /// When it counts as charged, where that is another time.
    pub at_ms: Option<u64>,
    /// Whether it will be settled by its time.
    pub stamp: bool,
    /// Whose lease it is, or by what a repeat is known.
    pub id: SmallVec<[u8; 16]>,
    /// What is remembered of it, where it has an id and is no lease.
    pub once: Option<Once>,
    /// Whether the windows that it does not name are dropped.
    pub drops_unnamed: bool,
    /// Whose it is, where several regions share limits.
    pub here: Option<LocalRegion>,
    /// The place that it was reserved.
    pub place: Option<Place>,
}

impl Charge {
    /// What few hits say, of the hit that it was.
    pub fn options(&self) -> HitOptions<'_> {
        HitOptions {
            windows: &self.windows,
            at_ms: self.at_ms,
            stamp: self.stamp,
            id: &self.id,
            ids: Bounds::NONE,
            drops_unnamed: self.drops_unnamed,
            here: self.here,
            ..HitOptions::NONE
        }
    }

    /// The hit that it was.
    pub fn hit<'a>(&'a self, options: &'a HitOptions<'a>) -> Hit<'a> {
        Hit {
            algorithm: self.algorithm,
            limits: &self.limits,
            cost: self.cost,
            force: true,
            log_size: self.log_size,
            options,
        }
    }

    /// The change that it made.
    pub fn change(&self) -> Change {
        let charge = self
            .place
            .map_or(Change::Charge(self.cost), Change::Reserve);
        self.once.map_or(charge, Change::Once)
    }
}

/// The bytes of a charge.
pub fn encode_charge(hit: &Hit, cost: i64, now_ms: u64) -> EffectBytes {
    encode_change(hit, Change::Charge(cost), now_ms, false)
}

/// The same of whatever charges; it may have begun a new origin in the place of another run's.
pub fn encode_change(hit: &Hit, change: Change, now_ms: u64, is_renewed: bool) -> EffectBytes {
    let mut out = EffectBytes::default();
    out.change(hit, change, now_ms, is_renewed);
    out
}

#[inline(always)]
fn write_charge(hit: &Hit, cost: i64, now_ms: u64, more: Option<u8>, out: &mut impl Sink) {
    let has_log_size = hit.algorithm == Algorithm::Sliding && hit.log_size != DEFAULT_ENTRIES;
    let flag = |is: bool, flag: u8| if is { flag } else { 0 };
    let head = EFFECT
        | (hit.algorithm as u8) << ALGORITHM_SHIFT
        | flag(more.is_some(), MORE)
        | flag(cost != 1, HAS_COST)
        | flag(has_log_size, HAS_LOG_SIZE)
        | flag(hit.limits.len() != 1, HAS_COUNT);
    out.push(head);
    if let Some(more) = more {
        out.push(more);
    }
    varint::write(out, now_ms);
    if cost != 1 {
        varint::write(out, varint::zigzag(cost));
    }
    if has_log_size {
        varint::write(out, u64::from(hit.log_size));
    }
    if hit.limits.len() != 1 {
        varint::write(out, hit.limits.len() as u64);
    }
    for limit in hit.limits {
        limit.write(hit.algorithm, out);
    }
}

#[cold]
fn write_rare_charge(
    hit: &Hit,
    cost: i64,
    place: Option<&Place>,
    once: Option<&Once>,
    now_ms: u64,
    is_renewed: bool,
    out: &mut EffectBytes,
) {
    let options = hit.options;
    let has_id = hit.algorithm == Algorithm::Lease || once.is_some();
    let flag = |is: bool, flag: u8| if is { flag } else { 0 };
    let more = flag(options.stamp, IS_STAMPED)
        | flag(options.at_ms.is_some(), HAS_TIME)
        | flag(has_id, HAS_ID)
        | flag(!options.windows.is_empty(), HAS_WINDOWS)
        | flag(options.here.is_some(), HAS_REGION)
        | flag(options.here.is_some() && is_renewed, IS_RENEWED)
        | flag(place.is_some(), HAS_PLACE);
    write_charge(hit, cost, now_ms, Some(more), out);
    if let Some(at_ms) = options.at_ms {
        varint::write(out, at_ms);
    }
    match once {
        Some(once) => write_once(once, out),
        None if has_id => write_string(out, options.id),
        None => {}
    }
    for (limit, window) in hit.limits.iter().zip(options.windows) {
        if is_dated(limit) {
            varint::write(out, window.start_ms);
            varint::write(out, window.end_ms);
        }
    }
    if let Some(here) = options.here {
        here.region.write(out);
    }
    if let Some(place) = place {
        varint::write(out, place.acts_ms);
        varint::write(out, place.stamp_ms);
    }
}

#[inline(always)]
fn write_once(once: &Once, out: &mut EffectBytes) {
    let flag = |is: bool, flag: u8| if is { flag } else { 0 };
    let answer = flag(once.is_allowed, IS_ALLOWED)
        | flag(once.wait_ms.is_some(), IS_TO_WAIT)
        | flag(once.rewinds, REWINDS);
    let word = u64::from(answer) | u64::from(once.ttl_ms) << 8 | u64::from(once.drops) << 40;
    out.append_word(word, 7);
    if let Some(wait_ms) = once.wait_ms {
        varint::write(out, wait_ms);
    }
}

/// Whether its windows are the calendar's.
fn is_dated(limit: &Limit) -> bool {
    limit.span().plain_ms().is_none()
}

/// Reading a charge.
impl Source<'_> {
    pub(super) fn first_charge(&mut self) -> Option<Charge> {
        let kind = self.byte()?;
        let code = self.byte().filter(|code| kind == CHARGE && *code <= 2)?;
        let algorithm = *Algorithm::ALL.get(usize::from(code))?;
        let now_ms = self.at_most(MAX_TIME_MS)?;
        let cost = self.cost()?;
        let log_size = self.log_size()?;
        let count = self.count(MAX_LIMITS)?;
        let charge = Charge {
            now_ms,
            cost,
            log_size,
            drops_unnamed: true,
            ..self.limits(algorithm, count)?
        };
        (!charge.limits.iter().any(is_dated)).then_some(charge)
    }

    fn cost(&mut self) -> Option<i64> {
        let cost = varint::unzigzag(self.number()?);
        (cost.unsigned_abs() <= MAX_COUNT).then_some(cost)
    }

    pub(super) fn log_size(&mut self) -> Option<u16> {
        let log_size = u16::try_from(self.number()?).ok()?;
        (MIN_ENTRIES..=MAX_ENTRIES)
            .contains(&log_size)
            .then_some(log_size)
    }

    /// A charge of 1 of so many limits, and nothing else yet.
    fn limits(&mut self, algorithm: Algorithm, count: usize) -> Option<Charge> {
        let mut limits = Limits::new();
        for _ in 0..count {
            let limit = Limit::read(algorithm, self)?;
            let is_new = limits.iter().all(|other| other.span() != limit.span());
            is_new.then(|| limits.push(limit))?;
        }
        (count > 0).then_some(Charge {
            algorithm,
            limits,
            windows: Windows::new(),
            cost: 1,
            log_size: DEFAULT_ENTRIES,
            now_ms: 0,
            at_ms: None,
            stamp: false,
            id: SmallVec::new(),
            once: None,
            drops_unnamed: false,
            here: None,
            place: None,
        })
    }

    fn once(&mut self, cost: i64, id: &[u8]) -> Option<Once> {
        let answer = self.byte()?;
        let ttl_ms = u32::from_le_bytes(self.array()?);
        let drops = u16::from_le_bytes(self.array()?);
        let has = |flag: u8| answer & flag != 0;
        let wait_ms = when(has(IS_TO_WAIT), || self.at_most(duration::MAX_MS))?;
        let is_known = answer <= (IS_ALLOWED | IS_TO_WAIT | REWINDS)
            && !(cost != 0 && has(REWINDS))
            && (1..=MAX_TTL_MS).contains(&ttl_ms.into())
            && usize::from(drops) <= MAX_IDS;
        is_known.then_some(Once {
            cost,
            mark: mark(id),
            ttl_ms,
            drops,
            is_allowed: has(IS_ALLOWED),
            rewinds: has(REWINDS),
            place: None,
            wait_ms,
        })
    }

    /// A charge of the second version, behind its first byte; it takes the id that stands beside it, where it is of a hit with
    /// one.
    pub(super) fn charge(&mut self, head: u8, beside: &mut Option<&[u8]>) -> Option<Charge> {
        let algorithm = *Algorithm::ALL.get(usize::from(head >> ALGORITHM_SHIFT & 3))?;
        let is_lease = algorithm == Algorithm::Lease;
        let has = |flag: u8| head & flag != 0;
        let more = when(has(MORE), || self.byte().filter(|more| *more != 0))?.unwrap_or(0);
        let known = (head & 0x0f) <= (HAS_COST | HAS_LOG_SIZE | HAS_COUNT)
            && more
                <= (IS_STAMPED
                    | HAS_TIME
                    | HAS_ID
                    | HAS_WINDOWS
                    | HAS_REGION
                    | IS_RENEWED
                    | HAS_PLACE);
        known.then_some(())?;
        // What is usual is not said.
        let now_ms = self.at_most(MAX_TIME_MS)?;
        let cost = when(has(HAS_COST), || self.cost().filter(|cost| *cost != 1))?.unwrap_or(1);
        let log_size = when(has(HAS_LOG_SIZE), || {
            let is_said = |size: &u16| algorithm == Algorithm::Sliding && *size != DEFAULT_ENTRIES;
            self.log_size().filter(is_said)
        })?;
        let count = when(has(HAS_COUNT), || {
            self.count(MAX_LIMITS).filter(|count| *count != 1)
        })?
        .unwrap_or(1);
        let mut charge = Charge {
            now_ms,
            cost,
            log_size: log_size.unwrap_or(DEFAULT_ENTRIES),
            ..self.limits(algorithm, count)?
        };
        let has = |flag: u8| more & flag != 0;
        charge.stamp = has(IS_STAMPED);
        charge.at_ms = when(has(HAS_TIME), || {
            self.at_most(MAX_TIME_MS).filter(|at_ms| *at_ms > 0) // AT 0 charges nothing
        })?;
        if has(HAS_ID) {
            let id = if is_lease {
                self.string(MAX_ID_BYTES)?
            } else {
                beside.take()?
            };
            let is_sound = (1..=MAX_ID_BYTES).contains(&id.len());
            charge.id = is_sound.then(|| SmallVec::from_slice(id))?;
        }
        if has(HAS_ID) && !is_lease {
            let once = self.once(cost, &charge.id)?;
            let may_wait = algorithm == Algorithm::Bucket && cost > 0;
            (may_wait || once.wait_ms.is_none()).then_some(())?;
            charge.once = Some(once);
        }
        if has(HAS_WINDOWS) {
            for limit in &charge.limits {
                let window = when(is_dated(limit), || {
                    self.window().filter(|window| window.contains(now_ms))
                })?;
                charge.windows.push(window.unwrap_or_default());
            }
        }
        charge.here = when(has(HAS_REGION), || {
            Some(LocalRegion {
                region: Region::read(self).filter(|region| region.is_named())?,
                term: if has(IS_RENEWED) { u64::MAX } else { 0 },
                due: 0,
                share: None,
            })
        })?;
        charge.place = when(has(HAS_PLACE), || {
            Some(Place {
                cost: u64::try_from(cost).ok()?,
                acts_ms: self.at_most(MAX_TIME_MS + duration::MAX_MS)?,
                stamp_ms: self.at_most(MAX_TIME_MS)?,
            })
        })?;
        if let Some(once) = &mut charge.once {
            once.place = charge.place;
        }
        let is_place = |place: &Place| {
            let is_due = (now_ms..=now_ms + duration::MAX_MS).contains(&place.acts_ms);
            let is_alone = algorithm == Algorithm::Bucket && !has(HAS_TIME);
            is_due && is_alone && place.cost > 0
        };
        let is_sound = (!is_lease || (has(HAS_ID) && !has(HAS_REGION)))
            && charge.place.as_ref().is_none_or(is_place)
            && (has(HAS_REGION) || !has(IS_RENEWED))
            && (algorithm == Algorithm::Bucket || !has(IS_STAMPED))
            && (!is_lease || (count == 1 && cost > 0 && !has(HAS_TIME)))
            && charge.limits.iter().any(is_dated) == has(HAS_WINDOWS);
        is_sound.then_some(charge)
    }

    pub(super) fn window(&mut self) -> Option<Window> {
        let window = Window {
            start_ms: self.at_most(MAX_TIME_MS)?,
            end_ms: self.at_most(MAX_TIME_MS + MAX_WINDOW_MS)?,
        };
        is_window(window).then_some(window)
    }
}
