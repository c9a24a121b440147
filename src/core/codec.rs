//! Bytes of a limiter and of its effects: one encoding for RDB, AOF, replicas, DUMP and slot migration alike.
//!
//! ```text
//! version 1    1  0(state)  algorithm  state of a plain form, at most 8 windows
//!              1  1(charge)  algorithm  now_ms  cost(zigzag)  log-size  count  limits         read, no longer written
//! version 2    2  form  state                        a form that is not plain, or more windows
//!              10aaffff  charge                      an effect; aa: the algorithm, ffff: what follows
//!              11aaffff  more  charge                the same, with a second byte of what follows
//! shadow       9  charge                             of limits that are tried on a key; one of the second version
//! release      3  now_ms  count  id*                 leases that are given back
//! merge        4  now_ms  debt_ms  log-size  own-region  parts     another region's, behind what the merge goes by
//! reset        5  now_ms  reset_ms                   for all regions
//! order        7  now_ms  length_ms                  the key is shut for so long from then on; 0 lifts any block
//! parts        6  sender  reset_ms  algorithm  shared              what RL.CHANGES hands out and RL.MERGE takes
//!
//! state        count, then per window
//!     fixed            limit  window_ms  start_ms  used
//!     sliding          limit  window_ms  capacity  origin_ms  log-length  log
//!     bucket           capacity  refill  interval_ms  tokens  fraction  at_ms
//!     lease            limit  ttl_ms  count  (end_ms  ttl_ms  cost  id)*                       by end, then id
//!     dated            limit  window  start_ms  end_ms  used
//!     stamped          as bucket  since_ms
//!     reserved         as stamped  tokens  fraction  ahead_ms  stamp_ms  cost               promised; the last place
//!     blocked (6)      block  form  state
//!     noted (8)        flags  [block]  [shut]  [ids]  [shadow]  [form  state]  anything but a block and what has been used
//!     block            until_ms  length_ms  strikes
//!     shut             until_ms  length_ms
//!     ids              count  record*                                        see limiter/ids.rs
//!     shadow           form  state
//!     regional (7)     reset_ms  remembers_ms  algorithm  shared                     see codec/regional.rs
//! charge       now_ms  [cost(zigzag)]  [log-size]  [count]  limits  [at_ms]  [id, or once]  [(start_ms  end_ms)*]  [region]  [acts_ms  stamp_ms]
//! id           a lease's; any other hit's id stands beside the charge, as the next argument of the command that carries it
//! once         answer(1)  ttl_ms(4)  drops(2)  [wait_ms]     answer 1 allowed, 2 to wait, 4 rewinds; bytes in brackets,
//!              the least significant first, as every hit with an id writes them
//! limit        limit  [refill]  window_ms, or 0 and a calendar window's text ([`Limit::write`])
//! ```
//!
//! Version, form and flags are bytes, `log` and texts are as long as is said before them, and everything else is a canonical
//! varint ([`super::bytes::varint`]): a state has one encoding, so equal states are equal bytes and have equal digests. A
//! plain state is written as the first version wrote it, so that an older module reads it.
//!
//! A charge is an effect and not a call: its time is absolute and its limits are resolved, so it makes the same state
//! wherever and whenever it is applied. One of the first version drops the windows that it does not name, as that version
//! did; one of the second keeps them.
//!
//! Whoever sends bytes may send any bytes: every number is checked against the bound that its type promises.

use super::algorithm::bucket::{Bucket, Since, SinceMs, Stamped};
use super::algorithm::fixed::{Fixed, WindowEnd};
use super::algorithm::lease::{Lease, Leases, MAX_ID_BYTES, MAX_LEASES};
use super::algorithm::log::{Log, DEFAULT_ENTRIES, MAX_ENTRIES, MIN_ENTRIES};
use super::algorithm::meter::{Meter, Place};
use super::algorithm::reserved::Reserved;
use super::algorithm::sliding::Sliding;
use super::bytes::sink::Sink;
use super::bytes::source::Source;
use super::bytes::varint;
use super::bytes::varint::write_string;
use super::calendar::Window;
use super::duration;
use super::limit::{Algorithm, Limit, Limits, MAX_COUNT, MAX_LIMITS, MAX_TIME_MS, MAX_WINDOWS};
use super::limiter::block::{Block, Shut};
use super::limiter::form::{each, each_form, forms, HeadedBox};
use super::limiter::ids::{mark, Bounds, MAX_IDS as MAX_KNOWN, MAX_TTL_MS};
use super::limiter::packed::{MaybePacked, Pack};
use super::limiter::regional::{Merging, Payload};
use super::limiter::{Form, Ids, Limiter, LimiterRef, Meters, Noted, Notes, Shadow, Store};
use super::quote::regional::LocalRegion;
use super::quote::{Change, Hit, HitOptions, Once, Windows};
use super::region::origin::Region;
use super::span::MAX_TEXT_BYTES;
use arrayvec::ArrayVec;
use smallvec::SmallVec;
use std::fmt::Debug;
use std::num::NonZero;

mod regional;

const FIRST: u8 = 1;
const SECOND: u8 = 2;
const RELEASE: u8 = 3;
const MERGE: u8 = 4;
const RESET: u8 = 5;
const PARTS: u8 = 6;
const ORDER: u8 = 7;
const SHADOW: u8 = 9;
/// The form of a key that notes something else than a block, or has not been used.
const NOTED: u8 = 8;
/// The form of a key that several regions share, whatever its algorithm.
const REGIONAL: u8 = 7;
const HAS_BLOCK: u8 = 1;
const HAS_SHUT: u8 = 2;
const HAS_IDS: u8 = 4;
const HAS_SHADOW: u8 = 8;
const HAS_USAGE: u8 = 16;
/// What a key of the form [`Form::Noted`] has, where its code says it.
const BLOCKED: u8 = HAS_BLOCK | HAS_USAGE;
const STATE: u8 = 0;
const CHARGE: u8 = 1;

/// A charge of the second version: the bit that says so, and those of what follows.
const EFFECT: u8 = 0x80;
const MORE: u8 = 0x40;
const ALGORITHM_SHIFT: u32 = 4;
const HAS_COST: u8 = 1;
const HAS_LOG_SIZE: u8 = 2;
const HAS_COUNT: u8 = 4;
const IS_STAMPED: u8 = 1;
const HAS_TIME: u8 = 2;
const HAS_ID: u8 = 4;
const HAS_WINDOWS: u8 = 8;
const HAS_REGION: u8 = 16;
const IS_RENEWED: u8 = 32;
const HAS_PLACE: u8 = 64;
const IS_ALLOWED: u8 = 1;
const IS_TO_WAIT: u8 = 2;
const REWINDS: u8 = 4;

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
    /// This was charged to the meters of limits that are tried.
    Shadow(Charge),
    /// Another region has sent this.
    Merge {
        /// What the merge goes by.
        setting: Merging,
        /// Whose the server was.
        own: Region,
        /// What was sent.
        payload: Box<Payload>,
    },
    /// What was used until then is forgotten, in all regions.
    Reset {
        /// When it was decided.
        now_ms: u64,
        /// Until when.
        reset_ms: u64,
    },
    /// The key was shut by order, or any block was lifted.
    Order {
        /// For how long; 0 lifts.
        length_ms: u64,
        /// When it was decided.
        now_ms: u64,
    },
    /// These leases were given back.
    Release {
        /// Whose.
        ids: Vec<SmallVec<[u8; 16]>>,
        /// When it was decided.
        now_ms: u64,
    },
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

/// The bytes of a limiter's state.
pub fn encode_state(limiter: LimiterRef) -> Vec<u8> {
    let mut out = Vec::new();
    if is_first(limiter) {
        out.extend([FIRST, STATE]); // and the algorithm, which is the form's code
    } else {
        out.push(SECOND);
    }
    write_form(limiter, &mut out);
    out
}

/// Whether a state is one that the first version could have.
fn is_first(limiter: LimiterRef) -> bool {
    let windows = match limiter {
        Form::Fixed(store) => store.view().len(),
        Form::Sliding(store) => store.view().len(),
        Form::Bucket(store) => store.view().len(),
        _ => return false,
    };
    windows <= MAX_LIMITS
}

fn write_form(limiter: LimiterRef, out: &mut Vec<u8>) {
    out.push(match limiter {
        Form::Noted(noted) if flags(noted) != BLOCKED => NOTED,
        _ if limiter.is_shared() => REGIONAL,
        _ => limiter.code(),
    });
    each!(limiter, state => state.write(out));
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
    for (_, window) in dated(hit.limits, options.windows) {
        varint::write(out, window.start_ms);
        varint::write(out, window.end_ms);
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

/// The limits that have a calendar window, and those windows.
fn dated<'a>(
    limits: &'a [Limit],
    windows: &'a [Window],
) -> impl Iterator<Item = (&'a Limit, &'a Window)> {
    let is_dated = |(limit, _): &(&Limit, &Window)| limit.span().plain_ms().is_none();
    limits.iter().zip(windows).filter(is_dated)
}

/// Reads a payload, and the id that stands beside it where it is a charge with one; `None` where they are not that, whole and
/// within every bound.
pub fn decode(bytes: &[u8], id: Option<&[u8]>) -> Option<Effect> {
    if let Some(limiter) = decode_state(bytes).filter(|_| id.is_none()) {
        return Some(Effect::State(limiter));
    }
    let mut source = Source(bytes);
    let mut beside = id;
    let effect = match source.byte()? {
        FIRST => Effect::Charge(source.first_charge()?),
        RELEASE => {
            let now_ms = source.at_most(MAX_TIME_MS)?;
            let count = source.count(MAX_IDS)?;
            let id = |source: &mut Source| {
                let id = source.string(MAX_ID_BYTES).filter(|id| !id.is_empty())?;
                Some(SmallVec::from_slice(id))
            };
            let ids: Option<Vec<_>> = (0..count).map(|_| id(&mut source)).collect();
            Effect::Release { ids: ids?, now_ms }
        }
        MERGE => {
            let setting = Merging {
                now_ms: source.at_most(MAX_TIME_MS)?,
                debt_ms: source.at_most(duration::MAX_MS)?,
                log_size: source.log_size()?,
            };
            let own = Region::read(&mut source)?;
            let payload = Box::new(decode_parts(source.0)?);
            source = Source(&[]);
            Effect::Merge {
                setting,
                own,
                payload,
            }
        }
        RESET => Effect::Reset {
            now_ms: source.at_most(MAX_TIME_MS)?,
            reset_ms: source.at_most(MAX_TIME_MS)?,
        },
        ORDER => Effect::Order {
            now_ms: source.at_most(MAX_TIME_MS)?,
            length_ms: source.at_most(duration::MAX_MS)?,
        },
        SHADOW => {
            let head = source.byte().filter(|head| head & EFFECT != 0)?;
            let charge = source.charge(head, &mut None)?;
            let is_plain = charge.here.is_none() && charge.once.is_none() && charge.place.is_none();
            if charge.algorithm == Algorithm::Lease || !is_plain {
                return None;
            }
            Effect::Shadow(charge)
        }
        head if head & EFFECT != 0 => Effect::Charge(source.charge(head, &mut beside)?),
        _ => return None,
    };
    (source.0.is_empty() && beside.is_none()).then_some(effect)
}

/// Reads a payload that is a state: each key's when a file is loaded. (An [`Effect`] is too large to be handed around there.)
pub fn decode_state(bytes: &[u8]) -> Option<Limiter> {
    let mut source = Source(bytes);
    let limiter = match source.byte()? {
        FIRST => source.first_state()?,
        SECOND => source.second_state()?,
        _ => return None,
    };
    source.0.is_empty().then_some(limiter)
}

/// The bytes of what is sent to another region.
pub fn encode_parts(payload: &Payload) -> Vec<u8> {
    let mut out = vec![PARTS];
    payload.sender.write(&mut out);
    regional::write_copy(payload.copy.by_ref(), &mut out);
    out
}

/// Reads what [`encode_parts`] wrote; `None` where it is not that, whole and within every bound.
pub fn decode_parts(bytes: &[u8]) -> Option<Payload> {
    let mut source = Source(bytes);
    let is_parts = source.byte()? == PARTS;
    let sender = Region::read(&mut source).filter(|sender| is_parts && sender.is_named())?;
    let copy = regional::read_copy(&mut source)?;
    let is_sent = copy.regional().is_some_and(|copy| copy.is_sent());
    (source.0.is_empty() && is_sent).then_some(Payload { sender, copy })
}

/// The bytes of a merge of what another region has sent.
pub fn encode_merge(parts: &[u8], setting: Merging, own: Region) -> Vec<u8> {
    let mut out = vec![MERGE];
    for number in [setting.now_ms, setting.debt_ms, u64::from(setting.log_size)] {
        varint::write(&mut out, number);
    }
    own.write(&mut out);
    out.extend_from_slice(parts);
    out
}

/// The bytes of a charge to the meters of limits that are tried.
pub fn encode_shadow(hit: &Hit, cost: i64, now_ms: u64) -> Vec<u8> {
    let mut out = vec![SHADOW];
    out.extend_from_slice(&encode_charge(hit, cost, now_ms));
    out
}

/// The bytes of a reset.
pub fn encode_reset(reset_ms: u64, now_ms: u64) -> Vec<u8> {
    let mut out = vec![RESET];
    varint::write(&mut out, now_ms);
    varint::write(&mut out, reset_ms);
    out
}

/// The bytes of a block by order.
pub fn encode_order(length_ms: u64, now_ms: u64) -> Vec<u8> {
    let mut out = vec![ORDER];
    varint::write(&mut out, now_ms);
    varint::write(&mut out, length_ms);
    out
}

/// The most ids of one release: more words than a command may have.
const MAX_IDS: usize = 1 << 20;

/// The bytes of a release.
pub fn encode_release(ids: &[&[u8]], now_ms: u64) -> Vec<u8> {
    let mut out = vec![RELEASE];
    varint::write(&mut out, now_ms);
    varint::write(&mut out, ids.len() as u64);
    for id in ids {
        write_string(&mut out, id);
    }
    out
}

/// How what a form keeps is written and read.
trait Encoding: Sized {
    /// How many of it a key has at the most.
    const MOST: usize = MAX_WINDOWS;
    fn write(&self, out: &mut Vec<u8>);
    fn read(source: &mut Source) -> Option<Self>;
}

impl<M: Meter + Encoding + Debug + Eq + 'static> Encoding for Meters<M> {
    fn write(&self, out: &mut Vec<u8>) {
        write_meters(&self.0, out);
    }

    fn read(source: &mut Source) -> Option<Self> {
        source.meters(M::MOST)
    }
}

impl<M: Pack + Encoding + Debug + Eq + 'static> Encoding for MaybePacked<M> {
    fn write(&self, out: &mut Vec<u8>) {
        write_meters(&self.view(), out);
    }

    fn read(source: &mut Source) -> Option<Self> {
        Some(Self::of(source.meters(M::MOST)?))
    }
}

/// What a key has that notes something, as bits.
fn flags(noted: &Noted) -> u8 {
    let Notes {
        block,
        shut,
        ids,
        shadow,
    } = &noted.notes;
    let flag = |is: bool, flag: u8| if is { flag } else { 0 };
    flag(block.is_some(), HAS_BLOCK)
        | flag(shut.is_some(), HAS_SHUT)
        | flag(!ids.is_empty(), HAS_IDS)
        | flag(shadow.0.is_some(), HAS_SHADOW)
        | flag(noted.limiter.is_some(), HAS_USAGE)
}

impl Encoding for Noted {
    fn write(&self, out: &mut Vec<u8>) {
        let flags = flags(self);
        if flags != BLOCKED {
            out.push(flags);
        }
        let Notes {
            block,
            shut,
            ids,
            shadow,
        } = &self.notes;
        if let Some(block) = block {
            write_shut(block.shut(), out);
            varint::write(out, u64::from(block.strikes.get()));
        }
        if let Some(shut) = shut {
            write_shut(*shut, out);
        }
        if !ids.is_empty() {
            ids.write(out);
        }
        if let Some(shadow) = &shadow.0 {
            write_form(shadow.by_ref(), out);
        }
        if let Some(limiter) = &self.limiter {
            write_form(limiter.by_ref(), out);
        }
    }

    /// One that has a block and has been used, behind the form's first code.
    fn read(source: &mut Source) -> Option<Self> {
        source.noted(BLOCKED)
    }
}

fn write_shut(shut: Shut, out: &mut Vec<u8>) {
    varint::write(out, shut.until_ms);
    varint::write(out, shut.length_ms);
}

fn write_meters<M: Encoding>(meters: &[M], out: &mut Vec<u8>) {
    varint::write(out, meters.len() as u64);
    for meter in meters {
        meter.write(out);
    }
}

fn write_limit<M: Meter>(meter: &M, out: &mut Vec<u8>) {
    if let Some(limit) = meter.limit() {
        limit.write(M::ALGORITHM, out);
    }
}

impl<E: WindowEnd> Encoding for Fixed<E> {
    fn write(&self, out: &mut Vec<u8>) {
        write_limit(self, out);
        varint::write(out, self.start_ms);
        if !E::IS_ALIGNED {
            varint::write(out, self.end.ms(self.start_ms, self.span));
        }
        varint::write(out, self.used);
    }

    fn read(source: &mut Source) -> Option<Self> {
        let limit = Limit::read(Algorithm::Fixed, source)?;
        let plain_ms = limit.span().plain_ms();
        let window = if E::IS_ALIGNED {
            let start_ms = source.at_most(MAX_TIME_MS)?;
            Window {
                start_ms,
                end_ms: start_ms + plain_ms?,
            }
        } else {
            source.window()?
        };
        let mut fixed = Self::unused(&limit, 0);
        (fixed.start_ms, fixed.end) = (window.start_ms, E::of(window));
        fixed.used = source.at_most(MAX_COUNT)?;
        let is_aligned =
            |ms: u64| window.start_ms.is_multiple_of(ms) && window.end_ms - window.start_ms == ms;
        plain_ms.is_none_or(is_aligned).then_some(fixed)
    }
}

impl Encoding for Sliding {
    fn write(&self, out: &mut Vec<u8>) {
        write_limit(self, out);
        for number in [
            u64::from(self.log.capacity),
            self.log.origin_ms,
            self.log.bytes.len() as u64,
        ] {
            varint::write(out, number);
        }
        out.extend_from_slice(&self.log.bytes);
    }

    fn read(source: &mut Source) -> Option<Self> {
        let limit = Limit::read(Algorithm::Sliding, source)?;
        let capacity = u16::try_from(source.number()?).ok()?;
        let origin_ms = source.at_most(MAX_TIME_MS)?;
        let length = usize::try_from(source.number()?).ok()?;
        let log = Log::read(source.take(length)?, origin_ms, capacity)?;
        let is_sound = log.used <= MAX_COUNT
            && log.last_ms <= MAX_TIME_MS
            && log.last_ms - log.first_ms() < limit.window_ms();
        is_sound.then(|| Self {
            span: limit.span(),
            limit: limit.limit(),
            log,
        })
    }
}

impl Encoding for () {
    fn write(&self, _out: &mut Vec<u8>) {}

    fn read(_source: &mut Source) -> Option<Self> {
        Some(())
    }
}

impl Encoding for SinceMs {
    fn write(&self, out: &mut Vec<u8>) {
        varint::write(out, self.0);
    }

    fn read(source: &mut Source) -> Option<Self> {
        source.at_most(MAX_TIME_MS).map(SinceMs)
    }
}

impl<S: Since + Encoding> Encoding for Bucket<S> {
    fn write(&self, out: &mut Vec<u8>) {
        write_limit(self, out);
        for number in [self.tokens, self.fraction, self.at_ms] {
            varint::write(out, number);
        }
        self.since.write(out);
    }

    fn read(source: &mut Source) -> Option<Self> {
        let limit = Limit::read(Algorithm::Bucket, source)?;
        let mut bucket = Self::unused(&limit, 0);
        bucket.tokens = source.at_most(MAX_COUNT)?;
        bucket.fraction = source.at_most(limit.window_ms() - 1)?;
        bucket.at_ms = source.at_most(MAX_TIME_MS)?;
        bucket.since = S::read(source)?;
        let whole = bucket.tokens < MAX_COUNT || bucket.fraction == 0;
        whole.then_some(bucket)
    }
}

impl Encoding for Reserved {
    fn write(&self, out: &mut Vec<u8>) {
        self.bucket.write(out);
        let (tokens, fraction) = self.promised;
        for number in [tokens, fraction, self.ahead_ms, self.stamp_ms, self.last] {
            varint::write(out, number);
        }
    }

    fn read(source: &mut Source) -> Option<Self> {
        let mut reserved = Self::begin(Stamped::read(source)?);
        let tokens = source.at_most(MAX_COUNT)?;
        let fraction = source.at_most(reserved.span().ms() - 1)?;
        reserved.promised = (tokens, fraction);
        reserved.ahead_ms = source.at_most(duration::MAX_MS)?;
        reserved.stamp_ms = source.at_most(MAX_TIME_MS)?;
        reserved.last = source.at_most(MAX_COUNT)?;
        let is_promised = reserved.promised() > 0 || reserved.last > 0;
        let is_sound = reserved.promised() <= reserved.bucket.level_then()
            && (reserved.ahead_ms > 0 || !is_promised);
        is_sound.then_some(reserved)
    }
}

impl Encoding for Leases {
    const MOST: usize = 1;

    fn write(&self, out: &mut Vec<u8>) {
        write_limit(self, out);
        varint::write(out, self.len() as u64);
        for lease in self.sorted() {
            for number in [lease.ends_ms, lease.ttl_ms, lease.cost.get()] {
                varint::write(out, number);
            }
            write_string(out, &lease.id);
        }
    }

    fn read(source: &mut Source) -> Option<Self> {
        let limit = Limit::read(Algorithm::Lease, source)?;
        let mut leases = Self::unused(&limit, 0);
        let mut used: u64 = 0;
        let mut before: Option<(u64, &[u8])> = None;
        for _ in 0..source.count(MAX_LEASES)? {
            let ends_ms = source.at_most(MAX_TIME_MS + duration::MAX_MS)?;
            let ttl_ms = source.at_most(duration::MAX_MS)?;
            let cost = NonZero::new(source.at_most(MAX_COUNT)?)?;
            let id = source.string(MAX_ID_BYTES)?;
            used += cost.get();
            let is_sorted = before.is_none_or(|before| before < (ends_ms, id));
            before = Some((ends_ms, id));
            let is_sound = is_sorted
                && (duration::MIN_MS..=ends_ms).contains(&ttl_ms)
                && ends_ms - ttl_ms <= MAX_TIME_MS
                && used <= MAX_COUNT
                && !id.is_empty()
                && !leases.has(id);
            is_sound.then_some(())?;
            leases.insert(Lease {
                id: SmallVec::from_slice(id),
                cost,
                ends_ms,
                ttl_ms,
            });
        }
        Some(leases)
    }
}

macro_rules! read_form {
    (
        [$code:ident $source:ident]
        tagged { $($(#[$doc:meta])* $form:ident = $of:literal: $kept:ty,)* }
        headed { $($(#[$headed_doc:meta])* $headed:ident = $headed_of:literal: $headed_kept:ty,)* }
    ) => {
        Some(match $code {
            $($of => Form::$form(Box::new(Encoding::read($source)?)),)*
            $($headed_of => Form::$headed(HeadedBox::new(Encoding::read($source)?)),)*
            _ => return None,
        })
    };
}

/// Reading what only a limiter has.
impl Source<'_> {
    fn window(&mut self) -> Option<Window> {
        let start_ms = self.at_most(MAX_TIME_MS)?;
        // The longest window is longer still where its zone sets its clocks back.
        const LONGEST_MS: u64 = duration::MAX_MS + 2 * 86_400_000;
        let end_ms = self.at_most(MAX_TIME_MS + LONGEST_MS)?;
        let is_sound = start_ms < end_ms && end_ms - start_ms <= LONGEST_MS;
        is_sound.then_some(Window { start_ms, end_ms })
    }

    /// A state of the first version: of a form that this one had, with no more windows than a call may name.
    fn first_state(&mut self) -> Option<Limiter> {
        let is_state = self.byte()? == STATE;
        let limiter = self.form().filter(|_| is_state)?;
        is_first(limiter.by_ref()).then_some(limiter)
    }

    /// A state that is not one of the first version.
    fn second_state(&mut self) -> Option<Limiter> {
        let limiter = self.form()?;
        (!is_first(limiter.by_ref())).then_some(limiter)
    }

    fn first_charge(&mut self) -> Option<Charge> {
        let kind = self.byte()?;
        let code = self.byte().filter(|code| kind == CHARGE && *code <= 2)?;
        let algorithm = *Algorithm::ALL.get(usize::from(code))?;
        let now_ms = self.at_most(MAX_TIME_MS)?;
        let cost = self.cost()?;
        let log_size = self.log_size()?;
        let count = self.count(MAX_LIMITS)?;
        let mut charge = self.limits(algorithm, count)?;
        let is_plain = charge
            .limits
            .iter()
            .all(|limit| limit.span().plain_ms().is_some());
        charge.now_ms = now_ms;
        charge.cost = cost;
        charge.log_size = log_size;
        charge.drops_unnamed = true;
        is_plain.then_some(charge)
    }

    fn form(&mut self) -> Option<Limiter> {
        match self.byte()? {
            NOTED => {
                let flags = self.byte().filter(|flags| *flags != BLOCKED)?;
                Some(Form::Noted(self.noted(flags)?.into()))
            }
            REGIONAL => regional::read_state(self),
            code => forms! { read_form code self },
        }
    }

    fn noted(&mut self, flags: u8) -> Option<Noted> {
        let has = |flag: u8| flags & flag != 0;
        (flags & !(HAS_BLOCK | HAS_SHUT | HAS_IDS | HAS_SHADOW | HAS_USAGE) == 0).then_some(())?;
        let block = if has(HAS_BLOCK) {
            let Shut {
                until_ms,
                length_ms,
            } = self.shut()?;
            Some(Block {
                until_ms,
                length_ms,
                strikes: NonZero::new(u32::try_from(self.number()?).ok()?)?,
            })
        } else {
            None
        };
        let shut = if has(HAS_SHUT) {
            Some(self.shut()?)
        } else {
            None
        };
        let ids = if has(HAS_IDS) {
            Ids::read(self)?
        } else {
            Ids::default()
        };
        let mut shadow = None;
        if has(HAS_SHADOW) {
            shadow = Some(self.form().filter(Shadow::can_be)?);
        }
        let tries = shadow.as_ref().and_then(Limiter::algorithm);
        let shadow = Shadow(shadow);
        // What is noted is of one of the other forms; and leases are never in a block that a hit has started, nor known by
        // the hit's id.
        let of_hits = block.is_some() || !ids.is_empty();
        let can_be = |code: u8| !matches!((code, of_hits), (6 | NOTED, _) | (3, true));
        let notes = Notes {
            block,
            shut,
            ids,
            shadow,
        };
        let limiter = if has(HAS_USAGE) {
            self.0.first().filter(|code| can_be(**code))?;
            Some(self.form()?)
        } else {
            None
        };
        let uses = limiter.as_ref().and_then(Limiter::algorithm);
        let is_sound = !notes.is_empty()
            && (limiter.is_some() || !of_hits)
            && (tries.is_none() || tries == uses);
        is_sound.then_some(Noted { limiter, notes })
    }

    fn shut(&mut self) -> Option<Shut> {
        let until_ms = self.at_most(MAX_TIME_MS + duration::MAX_MS)?;
        let length_ms = self.at_most(duration::MAX_MS)?;
        let is_sound = (duration::MIN_MS..=until_ms).contains(&length_ms);
        is_sound.then_some(Shut {
            until_ms,
            length_ms,
        })
    }

    fn meters<M: Meter + Encoding>(&mut self, max: usize) -> Option<Meters<M>> {
        let count = self.count(max).filter(|count| *count > 0)?;
        self.so_many_meters(count)
    }

    fn so_many_meters<M: Meter + Encoding>(&mut self, count: usize) -> Option<Meters<M>> {
        let mut meters: SmallVec<[M; 1]> = SmallVec::new();
        for _ in 0..count {
            let meter = M::read(self)?;
            let is_new = meters.iter().all(|other| other.span() != meter.span());
            is_new.then(|| meters.push(meter))?;
        }
        Some(Meters(meters))
    }

    fn cost(&mut self) -> Option<i64> {
        let cost = varint::unzigzag(self.number()?);
        (cost.unsigned_abs() <= MAX_COUNT).then_some(cost)
    }

    fn log_size(&mut self) -> Option<u16> {
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
        let wait_ms = if has(IS_TO_WAIT) {
            Some(self.at_most(duration::MAX_MS)?)
        } else {
            None
        };
        let is_known = answer <= (IS_ALLOWED | IS_TO_WAIT | REWINDS)
            && !(cost != 0 && has(REWINDS))
            && (1..=MAX_TTL_MS).contains(&ttl_ms.into())
            && usize::from(drops) <= MAX_KNOWN;
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
    fn charge(&mut self, head: u8, beside: &mut Option<&[u8]>) -> Option<Charge> {
        let algorithm = *Algorithm::ALL.get(usize::from(head >> ALGORITHM_SHIFT & 3))?;
        let has = |flag: u8| head & flag != 0;
        let more = if has(MORE) {
            self.byte().filter(|more| *more != 0)?
        } else {
            0
        };
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
        let now_ms = self.at_most(MAX_TIME_MS)?;
        let cost = if has(HAS_COST) {
            self.cost().filter(|cost| *cost != 1)?
        } else {
            1
        };
        let log_size = if has(HAS_LOG_SIZE) {
            let is_said = |size: &u16| algorithm == Algorithm::Sliding && *size != DEFAULT_ENTRIES;
            self.log_size().filter(is_said)?
        } else {
            DEFAULT_ENTRIES
        };
        let count = if has(HAS_COUNT) {
            self.count(MAX_LIMITS).filter(|count| *count != 1)?
        } else {
            1
        };
        let mut charge = self.limits(algorithm, count)?;
        let has = |flag: u8| more & flag != 0;
        charge.stamp = has(IS_STAMPED);
        charge.at_ms = if has(HAS_TIME) {
            Some(self.at_most(MAX_TIME_MS).filter(|at_ms| *at_ms > 0)?) // AT 0 charges nothing
        } else {
            None
        };
        let is_lease = algorithm == Algorithm::Lease;
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
        let is_dated = |limit: &Limit| limit.span().plain_ms().is_none();
        if has(HAS_WINDOWS) {
            for limit in &charge.limits {
                let window = if is_dated(limit) {
                    self.window()?
                } else {
                    Window::default()
                };
                let is_now = !is_dated(limit) || window.contains(now_ms);
                is_now.then(|| charge.windows.push(window))?;
            }
        }
        if has(HAS_REGION) {
            let region = Region::read(self).filter(|region| region.is_named())?;
            let term = if has(IS_RENEWED) { u64::MAX } else { 0 };
            charge.here = Some(LocalRegion {
                region,
                term,
                due: 0,
                share: None,
            });
        }
        if has(HAS_PLACE) {
            let acts_ms = self.at_most(MAX_TIME_MS + duration::MAX_MS)?;
            charge.place = Some(Place {
                cost: u64::try_from(cost).ok()?,
                acts_ms,
                stamp_ms: self.at_most(MAX_TIME_MS)?,
            });
        }
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
        (charge.now_ms, charge.cost, charge.log_size) = (now_ms, cost, log_size);
        is_sound.then_some(charge)
    }
}

#[cfg(test)]
mod tests;
