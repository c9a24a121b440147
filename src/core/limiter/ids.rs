//! Which hits a key has had, by the ids that they came with: each is charged once, and a repeat is answered from here.
//!
//! Records are kept as they are saved: see `record`.
//!
//! An id is looked up by its mark, 16 bits of a hash that is seeded anew in each process, and then compared byte by byte: ids
//! that collide cost a longer look, and are never taken for each other.
//!
//! Once there are as many as may be, each hit drops the oldest. Its record, which as a rule is as long, is where the new one is
//! written, so that nothing moves:
//!
//! ```text
//! dropped | newest | oldest ..       | room
//!        low      start             end
//! ```
//!
//! Only charges drop ids: those at the front that have ended, and as many as the charge says, so that nodes with other
//! settings agree.

use crate::core::algorithm::meter::{spilled_bytes, Allocations};
use crate::core::bytes::source::Source;
use crate::core::bytes::varint;
use crate::core::hashing;
use record::{Head, Record, Times, HEAD_WORD};
use smallvec::SmallVec;

mod record;

pub use record::Known;

/// The most ids that a key remembers, whatever the setting.
pub const MAX_IDS: usize = 4_096;
/// How many it remembers unless somebody says otherwise.
pub const DEFAULT_IDS: usize = 64;
/// The shortest time for which an id is remembered, in milliseconds.
pub const MIN_TTL_MS: u64 = 1_000;
/// For how long it is remembered unless somebody says otherwise, in milliseconds.
pub const DEFAULT_TTL_MS: u64 = 600_000;
/// The longest time for which an id is remembered, in milliseconds.
pub const MAX_TTL_MS: u64 = 86_400_000;

/// How many ids a key remembers, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// 1 ..= [`MAX_IDS`].
    pub most: usize,
    /// [`MIN_TTL_MS`] ..= [`MAX_TTL_MS`].
    pub ttl_ms: u64,
}

impl Bounds {
    /// Unless somebody says otherwise.
    pub const DEFAULT: Self = Self {
        most: DEFAULT_IDS,
        ttl_ms: DEFAULT_TTL_MS,
    };

    /// Of an effect: whoever made it has seen to them.
    pub const NONE: Self = Self { most: 0, ttl_ms: 0 };
}

/// The ids that a key remembers: most keys have none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ids(Option<Box<Records>>);

#[derive(Clone, Debug, Default)]
struct Records {
    /// From `low` to `end` the records, each behind its length: from `start` on the oldest, and then, from `low` on, those that
    /// took the places of older ones.
    bytes: SmallVec<[u8; 16]>,
    low: usize,
    start: usize,
    end: usize,
    /// One for each record, as they lie; so many of them come before the oldest's.
    marks: SmallVec<[u16; 8]>,
    first: usize,
    /// When the latest was noted, and when the last is forgotten.
    last: Times,
    /// The same of the oldest.
    oldest: Times,
}

/// By what an id is looked up.
#[inline]
pub fn mark(id: &[u8]) -> u16 {
    let [low, high, ..] = hashing::hash(id).to_le_bytes();
    u16::from_le_bytes([low, high])
}

/// Whether it is one of these. (Many in one step, which the compiler makes words of; as `contains` it is called, and takes
/// fewer.)
#[inline(always)]
fn has_mark(marks: &[u16], mark: u16) -> bool {
    let has = |some: &[u16]| some.iter().fold(false, |has, one| has | (*one == mark));
    let mut many = marks.chunks_exact(32);
    many.any(has) || has(many.remainder())
}

impl PartialEq for Records {
    fn eq(&self, other: &Self) -> bool {
        self.raw().eq(other.raw())
    }
}

impl Eq for Records {}

impl Ids {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// How many there are that have not ended.
    pub fn count(&self, now_ms: u64) -> usize {
        let all = self.0.iter().flat_map(|records| records.iter());
        all.filter(|(known, _)| known.ends_ms() > now_ms).count()
    }

    /// What is remembered of an id, whose mark this is; of several hits, the newest.
    #[inline(always)]
    pub fn find(&self, id: &[u8], mark: u16, now_ms: u64) -> Option<Known> {
        let records = self.0.as_ref()?;
        if has_mark(&records.marks, mark) {
            return records.find(id, mark, now_ms);
        }
        None
    }

    /// How many a charge has to drop, beside those that have ended, to make room for one more.
    #[inline(always)]
    pub fn drops(&self, most: usize, now_ms: u64) -> usize {
        let kept = match &self.0 {
            Some(records) => records.marks.len() - records.ended_at_front(now_ms),
            None => 0,
        };
        (kept + 1).saturating_sub(most)
    }

    /// Remembers one more, the newest, and drops those at the front that have ended, and so many of the oldest.
    #[inline(always)]
    pub fn note(&mut self, id: &[u8], mark: u16, known: &Known, drops: usize) {
        if let (Some(records), 1) = (&mut self.0, drops) {
            if records.replace_oldest(id, mark, known) {
                return;
            }
        }
        self.add(id, mark, known, drops);
    }

    #[inline(never)]
    fn add(&mut self, id: &[u8], mark: u16, known: &Known, drops: usize) {
        let records = self.0.get_or_insert_default();
        let ended = records.ended_at_front(known.noted_ms);
        let excess = (records.marks.len() + 1).saturating_sub(MAX_IDS);
        records.drop_oldest((ended + drops).max(excess), Some(known));
        records.push(id, mark, known);
    }

    /// Drops those at the front that have ended.
    #[inline]
    pub fn forget_ended(&mut self, now_ms: u64) {
        let has_any = |records: &Records| records.oldest.ends_ms <= now_ms;
        if self.0.as_deref().is_some_and(has_any) {
            self.forget_front(now_ms);
        }
    }

    #[cold]
    fn forget_front(&mut self, now_ms: u64) {
        let Some(records) = &mut self.0 else {
            return;
        };
        let ended = records.ended_at_front(now_ms);
        if ended == records.marks.len() {
            self.0 = None;
        } else {
            records.drop_oldest(ended, None);
        }
    }

    /// Forgets those of which this is true.
    pub fn forget(&mut self, is_forgotten: impl Fn(&Known) -> bool) {
        let has_any = |records: &Records| records.iter().any(|(known, _)| is_forgotten(&known));
        if self.0.as_deref().is_some_and(has_any) {
            self.rewrite(|known| (!is_forgotten(&known)).then_some(known));
        }
    }

    /// Whether the clock has stepped back behind one.
    #[inline]
    pub fn is_ahead(&self, now_ms: u64) -> bool {
        self.0
            .as_ref()
            .is_some_and(|records| records.last.noted_ms > now_ms)
    }

    /// Leaves none of them more than it was given.
    #[inline]
    pub fn rewind(&mut self, now_ms: u64) {
        if self.is_ahead(now_ms) {
            self.rewind_each(now_ms);
        }
    }

    #[cold]
    fn rewind_each(&mut self, now_ms: u64) {
        self.rewrite(|known| {
            Some(Known {
                noted_ms: known.noted_ms.min(now_ms),
                ..known
            })
        });
    }

    /// When the last of them is forgotten; 0 where there is none.
    pub fn ends_ms(&self) -> u64 {
        self.0.as_ref().map_or(0, |records| records.last.ends_ms)
    }

    /// When their key is to expire; 0 where there is none.
    pub fn expires_ms(&self) -> u64 {
        let all = self.0.iter().flat_map(|records| records.iter());
        all.map(|(known, _)| known.expires_ms()).max().unwrap_or(0)
    }

    /// Bytes allocated beyond their own.
    pub fn heap_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |records| {
            size_of::<Records>() + spilled_bytes(&records.bytes) + spilled_bytes(&records.marks)
        })
    }

    /// Shows every allocation.
    pub fn visit_allocations(&mut self, visitor: &mut impl Allocations) {
        if let Some(records) = &mut self.0 {
            visitor.visit(&mut records.bytes);
            visitor.visit(&mut records.marks);
            visitor.visit_box(records);
        }
    }

    /// Appends how many there are, and their records.
    pub fn write(&self, out: &mut Vec<u8>) {
        let records = self.0.as_deref();
        let count = records.map_or(0, |records| records.marks.len());
        varint::write(out, count as u64);
        for part in records.map_or([&[][..]; 2], Records::parts) {
            out.extend_from_slice(part);
        }
    }

    /// Reads what [`Ids::write`] wrote; `None` where it is not that, whole and within every bound.
    pub fn read(source: &mut Source) -> Option<Self> {
        let mut records = Records::default();
        for _ in 0..source.count(MAX_IDS).filter(|count| *count > 0)? {
            let length = source.byte()?;
            let record = source.take(usize::from(length))?;
            let (known, id) = Known::read(record)?;
            records.push(id, mark(id), &known);
        }
        Some(Self(Some(Box::new(records))))
    }

    /// Has each say anew what is remembered of it, or be forgotten.
    fn rewrite(&mut self, renew: impl Fn(Known) -> Option<Known>) {
        let Some(records) = self.0.take() else {
            return;
        };
        let mut renewed = Records::default();
        for ((known, id), mark) in records.iter().zip(records.marks()) {
            if let Some(known) = renew(known) {
                renewed.push(id, mark, &known);
            }
        }
        self.0 = (!renewed.marks.is_empty()).then(|| Box::new(renewed));
    }
}

impl Records {
    /// The records, oldest first.
    fn parts(&self) -> [&[u8]; 2] {
        let part = |range| self.bytes.get(range).unwrap_or_default();
        [part(self.start..self.end), part(self.low..self.start)]
    }

    /// Each record, oldest first.
    fn raw(&self) -> impl Iterator<Item = &[u8]> {
        self.parts().into_iter().flat_map(|mut rest| {
            std::iter::from_fn(move || {
                let (length, behind) = rest.split_first()?;
                let (record, others) = behind.split_at_checked(usize::from(*length))?;
                rest = others;
                Some(record)
            })
        })
    }

    /// The mark of each, oldest first.
    fn marks(&self) -> impl Iterator<Item = u16> + '_ {
        let (newest, oldest) = self.marks.split_at_checked(self.first).unwrap_or_default();
        oldest.iter().chain(newest).copied()
    }

    /// What each says, and its id.
    fn iter(&self) -> impl Iterator<Item = (Known, &[u8])> {
        self.raw().filter_map(Known::read)
    }

    /// See [`Ids::find`].
    #[cold]
    fn find(&self, id: &[u8], mark: u16, now_ms: u64) -> Option<Known> {
        let marked = self.raw().zip(self.marks());
        let of_id = marked.filter(|(record, of)| *of == mark && record.ends_with(id));
        let known = of_id.filter_map(|(record, _)| Known::read(record));
        let live = known.filter(|(known, its)| *its == id && known.ends_ms() > now_ms);
        live.last().map(|(known, _)| known)
    }

    /// The times of each.
    fn times(&self) -> impl Iterator<Item = Times> + '_ {
        let heads = self
            .raw()
            .filter_map(|record| Head::read(&mut Source(record)));
        heads.map(|head| head.times)
    }

    #[inline(always)]
    fn times_of_oldest(&self) -> Times {
        let record = self.bytes.get(self.start + 1..self.end);
        let head = record.and_then(|record| Head::read(&mut Source(record)));
        head.map_or_else(Times::default, |head| head.times)
    }

    #[inline(always)]
    fn ended_at_front(&self, now_ms: u64) -> usize {
        if self.oldest.ends_ms > now_ms {
            return 0;
        }
        self.count_ended(now_ms)
    }

    #[cold]
    fn count_ended(&self, now_ms: u64) -> usize {
        let has_ended = |times: &Times| times.ends_ms <= now_ms;
        self.times().take_while(has_ended).count()
    }

    /// Whether the next is the last in both ways, as a rule: then nobody need look who was.
    fn is_behind(&self, next: Option<&Known>) -> bool {
        next.is_some_and(|next| {
            next.noted_ms >= self.last.noted_ms && next.ends_ms() >= self.last.ends_ms
        })
    }

    /// Writes a record in the place of the oldest, where that is as long and the new one is the last in both ways.
    #[inline(always)]
    fn replace_oldest(&mut self, id: &[u8], mark: u16, known: &Known) -> bool {
        let record = Record::of(known, id);
        let is_as_long = self.bytes.get(self.start) == record.head.first();
        let is_old = self.oldest.ends_ms > known.noted_ms && self.is_behind(Some(known));
        let place = self.bytes.get_mut(self.start..self.end);
        let place = place.and_then(|place| place.get_mut(..record.length));
        match (place, self.marks.get_mut(self.first)) {
            (Some(place), Some(old)) if is_as_long && is_old && record.length >= HEAD_WORD => {
                record.write(place);
                *old = mark;
            }
            _ => return false,
        }
        self.start += record.length;
        self.first += 1;
        if self.start == self.end {
            (self.start, self.first) = (self.low, 0);
        }
        self.last = Times::of(known);
        self.oldest = self.times_of_oldest();
        true
    }

    /// Has the oldest lie first.
    #[cold]
    fn put_in_order(&mut self) {
        let records = self.bytes.get_mut(self.low..self.end).unwrap_or_default();
        records.rotate_left(self.start - self.low);
        self.marks.rotate_left(self.first);
        (self.start, self.first) = (self.low, 0);
    }

    #[inline]
    fn push(&mut self, id: &[u8], mark: u16, known: &Known) {
        if self.first > 0 {
            self.put_in_order();
        }
        let record = Record::of(known, id);
        let needed = record.length.max(HEAD_WORD);
        if self.bytes.len() - self.end < needed {
            self.make_room(needed);
        }
        record.write(self.bytes.get_mut(self.end..).unwrap_or_default());
        self.end += record.length;
        self.marks.push(mark);
        let times = Times::of(known);
        self.last = self.last.later(times);
        if self.marks.len() == 1 {
            self.oldest = times;
        }
    }

    /// Makes room for so many bytes behind the records.
    #[cold]
    fn make_room(&mut self, bytes: usize) {
        if self.low > self.end / 8 {
            self.bytes.copy_within(self.low..self.end, 0);
            self.end -= self.low;
            (self.low, self.start) = (0, 0);
        }
        if self.bytes.len() - self.end < bytes {
            self.bytes.reserve(self.end + bytes - self.bytes.len());
            self.bytes.resize(self.bytes.capacity(), 0);
        }
    }

    /// Drops so many; `next` is the one that is about to come.
    #[inline]
    fn drop_oldest(&mut self, count: usize, next: Option<&Known>) {
        if count == 0 {
            return;
        }
        if self.first > 0 {
            self.put_in_order();
        }
        let dropped = count.min(self.marks.len());
        let mut low = self.low;
        for _ in 0..dropped {
            low += 1 + self.bytes.get(low).copied().map_or(0, usize::from);
        }
        let was_last = dropped > 1 || self.oldest.is_any_of(&self.last);
        (self.low, self.start) = (low, low);
        self.marks.copy_within(dropped.., 0);
        self.marks.truncate(self.marks.len() - dropped);
        if was_last && !self.is_behind(next) {
            self.last = self.times().fold(Times::default(), Times::later);
        }
        self.oldest = self.times_of_oldest();
    }
}

#[cfg(test)]
mod tests;
