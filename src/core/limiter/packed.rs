//! How a key keeps its meters: of one window as little as there is to say, in 16 bytes or 32; of several, the meters.
//!
//! ```text
//! fixed     used     50 bits | number 14        start 64
//! bucket    level    50 bits | number 14        level, the 10 bits above | at 54
//! sliding   used     50 bits | number 14        origin 64
//!           last - origin 39 | capacity 13 | bytes 4 | of the last entry 4 | entries 4        log 64
//! ```
//!
//! The number is that of the limit ([`crate::core::numbered`]), which is never 0; a bucket's level is in units of `1/I` token.
//! What does not fit into its bits is kept as a meter: of a log, more than 8 bytes, which are 3 to 8 hits.

use super::{Meters, Store};
use crate::core::algorithm::bucket::Bucket;
use crate::core::algorithm::fixed::{Aligned, Fixed};
use crate::core::algorithm::log::Log;
use crate::core::algorithm::meter::{spilled_bytes, Allocations, Meter};
use crate::core::algorithm::sliding::Sliding;
use crate::core::numbered::{LimitInterner, Numbers, BITS, INTERNER};
use smallvec::SmallVec;
use std::fmt::Debug;
use std::num::NonZeroU64;
use std::ops::Deref;

/// The meters of a key, the packed one unpacked.
enum View<'a, M> {
    One(M),
    Many(&'a [M]),
}

impl<M> Deref for View<'_, M> {
    type Target = [M];

    #[inline(always)]
    fn deref(&self) -> &[M] {
        match self {
            View::One(meter) => std::slice::from_ref(meter),
            View::Many(meters) => meters,
        }
    }
}

impl<M: Meter + Debug + Eq + 'static> Store for Meters<M> {
    type Meter = M;

    #[inline(always)]
    fn of(meters: Meters<M>) -> Self {
        meters
    }

    #[inline(always)]
    fn view(&self) -> impl Deref<Target = [M]> {
        self.0.as_slice()
    }

    #[inline(always)]
    fn many(&mut self) -> &mut Meters<M> {
        self
    }

    fn visit_meters(&mut self, visitor: &mut impl Allocations) {
        for meter in &mut self.0 {
            meter.visit_allocations(visitor);
        }
        visitor.visit(&mut self.0);
    }

    fn meter_bytes(&self) -> usize {
        spilled_bytes(&self.0) + self.0.iter().map(M::heap_bytes).sum::<usize>()
    }
}

/// A meter in 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packed(NonZeroU64, u64);

impl Packed {
    /// `None` where `high` takes more than its 50 bits, or the limit has no number. `before`: what was kept before.
    #[inline(always)]
    fn new(
        table: &LimitInterner,
        limit: Numbers,
        high: u64,
        low: u64,
        before: Option<Packed>,
    ) -> Option<Self> {
        let number = table.number(limit, before.map_or(0, |before| before.0.get()))?;
        let word = NonZeroU64::new(high << BITS | number)?;
        (high >> (u64::BITS - BITS) == 0).then_some(Self(word, low))
    }

    #[inline(always)]
    fn high(self) -> u64 {
        self.0.get() >> BITS
    }
}

/// A sliding window's meter in 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackedLog(Packed, u64, [u8; LOG_BYTES]);

/// A meter that can be packed.
pub trait Pack: Meter {
    /// As this.
    type Packed: Copy + Debug;

    /// `None` where it does not fit. `before` is what was kept before, of the same limit as a rule.
    fn pack(&self, table: &LimitInterner, before: Option<Self::Packed>) -> Option<Self::Packed>;

    /// The inverse.
    fn unpack(table: &LimitInterner, packed: Self::Packed) -> Self;

    /// Whether to repack one that was too large: it leaves room for the next charge.
    #[inline(always)]
    fn should_repack(&self) -> bool {
        true
    }
}

impl Pack for Fixed {
    type Packed = Packed;

    #[inline(always)]
    fn pack(&self, table: &LimitInterner, before: Option<Packed>) -> Option<Packed> {
        let limit = (self.limit, self.limit, self.span);
        Packed::new(table, limit, self.used, self.start_ms, before)
    }

    #[inline(always)]
    fn unpack(table: &LimitInterner, packed: Packed) -> Self {
        let (limit, _, span) = table.numbers(packed.0.get());
        Self {
            span,
            limit,
            start_ms: packed.1,
            used: packed.high(),
            end: Aligned,
        }
    }
}

impl Pack for Bucket {
    type Packed = Packed;

    #[inline(always)]
    fn pack(&self, table: &LimitInterner, before: Option<Packed>) -> Option<Packed> {
        let limit = (self.capacity, self.refill, self.interval);
        let level = self
            .tokens
            .checked_mul(self.interval.ms())?
            .checked_add(self.fraction)?;
        let (low, above) = (level & LOW, level >> LOW.count_ones());
        let is_small = above >> (u64::BITS - AT) == 0 && self.at_ms >> AT == 0;
        let word = above << AT | self.at_ms;
        is_small.then(|| Packed::new(table, limit, low, word, before))?
    }

    #[inline(always)]
    fn unpack(table: &LimitInterner, packed: Packed) -> Self {
        let (capacity, refill, interval) = table.numbers(packed.0.get());
        let level = packed.high() | packed.1 >> AT << LOW.count_ones();
        let interval_ms = interval.ms().max(1); // no interval is 0
        Self {
            capacity,
            refill,
            interval,
            tokens: level / interval_ms,
            fraction: level % interval_ms,
            at_ms: packed.1 & ((1 << AT) - 1),
            since: (),
        }
    }
}

impl Pack for Sliding {
    type Packed = PackedLog;

    #[inline(always)]
    fn pack(&self, table: &LimitInterner, before: Option<PackedLog>) -> Option<PackedLog> {
        let log = &self.log;
        let length = log.bytes.len();
        let span_ms = log.last_ms.checked_sub(log.origin_ms)?;
        if length > LOG_BYTES || span_ms >> SPAN > 0 {
            return None;
        }
        let limit = (self.limit, self.limit, self.span);
        let head = before.map(|before| before.0);
        let head = Packed::new(table, limit, log.used, log.origin_ms, head)?;
        // No entry takes less than a byte, so neither number takes more bits than the length.
        let lengths =
            (length as u64) << 8 | u64::from(log.last_bytes) << 4 | u64::from(log.entries);
        let word = span_ms << (u64::BITS - SPAN) | u64::from(log.capacity) << 12 | lengths;
        let mut bytes = [0; LOG_BYTES];
        for (to, byte) in bytes.iter_mut().zip(&log.bytes) {
            *to = *byte;
        }
        Some(PackedLog(head, word, bytes))
    }

    #[inline(always)]
    fn unpack(table: &LimitInterner, packed: PackedLog) -> Self {
        let PackedLog(head, word, bytes) = packed;
        let (limit, _, span) = table.numbers(head.0.get());
        let mut room = [0; 16];
        room[..LOG_BYTES].copy_from_slice(&bytes);
        let length = (word >> 8 & 0xf) as usize;
        Self {
            span,
            limit,
            log: Log {
                used: head.high(),
                origin_ms: head.1,
                last_ms: head.1 + (word >> (u64::BITS - SPAN)),
                bytes: SmallVec::from_buf_and_len(room, length),
                entries: (word & 0xf) as u16,
                capacity: (word >> 12 & 0x1fff) as u16,
                last_bytes: (word >> 4 & 0xf) as u8,
            },
        }
    }

    /// Half of it is free: two hits or three.
    #[inline(always)]
    fn should_repack(&self) -> bool {
        self.log.bytes.len() <= LOG_BYTES / 2
    }
}

/// The bytes of a log that is packed.
const LOG_BYTES: usize = 8;
/// The bits of the time from its origin to its last entry.
const SPAN: u32 = 39;
/// The bits of a bucket's time.
const AT: u32 = 54;
/// The bits of its level that stand beside the number.
const LOW: u64 = (1 << (u64::BITS - BITS)) - 1;

/// One meter packed, or several: as many bytes either way.
#[derive(Clone, Debug)]
pub enum MaybePacked<M: Pack> {
    /// One.
    One(M::Packed),
    /// Several, or one that cannot be packed.
    Many(Box<Meters<M>>),
}

/// By what they say: whether it is packed depends on how it came to be.
impl<M: Pack + Debug + Eq + 'static> PartialEq for MaybePacked<M> {
    fn eq(&self, other: &Self) -> bool {
        *self.view() == *other.view()
    }
}

impl<M: Pack + Debug + Eq + 'static> Eq for MaybePacked<M> {}

impl<M: Pack> MaybePacked<M> {
    /// A meter that is not packed.
    fn spread(meter: M) -> Self {
        MaybePacked::Many(Box::new(Meters(smallvec::smallvec![meter])))
    }

    /// Meters packed, which only one alone can be.
    #[inline(always)]
    fn packed(meters: &[M]) -> Option<Self> {
        match meters {
            [meter] => meter.pack(&INTERNER, None).map(MaybePacked::One),
            _ => None,
        }
    }
}

impl<M: Pack + Debug + Eq + 'static> Store for MaybePacked<M> {
    type Meter = M;

    #[inline(always)]
    fn of(meters: Meters<M>) -> Self {
        Self::packed(&meters.0).unwrap_or_else(|| MaybePacked::Many(Box::new(meters)))
    }

    #[inline(always)]
    fn view(&self) -> impl Deref<Target = [M]> {
        match self {
            MaybePacked::One(packed) => View::One(M::unpack(&INTERNER, *packed)),
            MaybePacked::Many(meters) => View::Many(&meters.0),
        }
    }

    #[inline(always)]
    fn one(&self) -> Option<M> {
        match self {
            MaybePacked::One(packed) => Some(M::unpack(&INTERNER, *packed)),
            MaybePacked::Many(_) => None,
        }
    }

    #[inline(always)]
    fn put(&mut self, meter: M) {
        let MaybePacked::One(before) = self else {
            return;
        };
        match meter.pack(&INTERNER, Some(*before)) {
            Some(packed) => *before = packed,
            None => *self = Self::spread(meter),
        }
    }

    fn many(&mut self) -> &mut Meters<M> {
        loop {
            match self {
                MaybePacked::Many(meters) => return meters,
                MaybePacked::One(packed) => *self = Self::spread(M::unpack(&INTERNER, *packed)),
            }
        }
    }

    #[inline(always)]
    fn settle(&mut self) {
        if let MaybePacked::Many(meters) = self {
            if meters.0.first().is_some_and(M::should_repack) {
                if let Some(packed) = Self::packed(&meters.0) {
                    *self = packed;
                }
            }
        }
    }

    fn visit_meters(&mut self, visitor: &mut impl Allocations) {
        if let MaybePacked::Many(meters) = self {
            meters.visit_meters(visitor);
            visitor.visit_box(meters);
        }
    }

    fn meter_bytes(&self) -> usize {
        match self {
            MaybePacked::One(_) => 0,
            MaybePacked::Many(meters) => size_of::<Meters<M>>() + meters.meter_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::algorithm::meter::Ask;
    use crate::core::calendar::Window;
    use crate::core::limit::{Limit, MAX_COUNT};

    static LIMITS: LimitInterner = LimitInterner::new();

    /// Whether a meter is packed; if so, it is unpacked as it was.
    fn is_packed<M: Pack<Packed: PartialEq> + Debug + Eq>(meter: &M) -> bool {
        let packed = meter.pack(&LIMITS, None);
        packed.is_some_and(|packed| {
            assert_eq!(&M::unpack(&LIMITS, packed), meter);
            assert_eq!(meter.pack(&LIMITS, Some(packed)), Some(packed));
            true
        })
    }

    #[test]
    fn a_fixed_window_of_up_to_2_to_the_50_is_packed() {
        let limit = Limit::window(MAX_COUNT, 777).unwrap();
        for (used, start_ms, is_small) in [
            (0, 0, true),
            ((1 << 50) - 1, u64::MAX, true),
            (1 << 50, 777, false),
            (MAX_COUNT, 777, false),
        ] {
            let fixed = Fixed {
                used,
                start_ms,
                ..Fixed::unused(&limit, 0)
            };
            assert_eq!(is_packed(&fixed), is_small, "{used}");
        }
    }

    #[test]
    fn a_bucket_of_a_level_of_up_to_2_to_the_60_is_packed() {
        const END: u64 = 1 << 60;
        let limit = Limit::bucket(9, 3, 1_000).unwrap();
        for (level, at_ms, is_small) in [
            (0, 0, true),
            (1, (1 << 54) - 1, true),
            ((1 << 50) + 1, 5, true),
            (END - 1, (1 << 54) - 1, true),
            (END, 5, false),
            (5, 1 << 54, false),
            (u64::MAX, 5, false),
        ] {
            let bucket = Bucket {
                tokens: level / 1_000,
                fraction: level % 1_000,
                at_ms,
                ..Bucket::unused(&limit, 0)
            };
            assert_eq!(is_packed(&bucket), is_small, "{level}");
        }
        let beyond = Bucket {
            tokens: MAX_COUNT,
            ..Bucket::unused(&Limit::bucket(9, 3, 1 << 20).unwrap(), 0)
        };
        assert!(!is_packed(&beyond));
    }

    fn charge(sliding: &mut Sliding, at_ms: u64, cost: i64) {
        let ask = Ask {
            limit: &Limit::window(MAX_COUNT, sliding.span.ms()).unwrap(),
            window: Window::default(),
            id: b"",
            now_ms: at_ms,
        };
        sliding.charge(&ask, cost, at_ms);
    }

    #[test]
    fn what_is_kept_is_equal_by_what_it_says() {
        let fixed = |used| Fixed {
            used,
            ..Fixed::unused(&Limit::window(9, 1_000).unwrap(), 0)
        };
        let packed = MaybePacked::of(Meters(smallvec::smallvec![fixed(7)]));
        assert_eq!(packed, MaybePacked::spread(fixed(7)));
        assert_ne!(packed, MaybePacked::spread(fixed(8)));
    }

    #[test]
    fn a_log_of_up_to_8_bytes_is_packed() {
        let limit = Limit::window(MAX_COUNT, 1_000).unwrap();
        let at = |times_ms: &[u64]| times_ms.iter().map(|at_ms| (*at_ms, 1)).collect::<Vec<_>>();
        for (charges, is_small) in [
            (at(&[]), true),
            (at(&[7]), true),
            (vec![(7, 1), (7, 1), (20, 1), (100, 5)], true),
            (vec![(7, 3), (8, -3)], true),
            (at(&[1, 2, 3, 4, 5, 6, 7, 8]), true),
            (at(&[1, 2, 3, 4, 5, 6, 7, 8, 9]), false),
            (vec![(7, (1 << 49) - 1)], true),
            (vec![(7, 1 << 49), (8, 1 << 49)], false),
        ] {
            let mut sliding = Sliding::unused(&limit, 4_096);
            for (at_ms, cost) in &charges {
                charge(&mut sliding, *at_ms, *cost);
            }
            assert_eq!(is_packed(&sliding), is_small, "{charges:?}");
        }
        let mut sliding = Sliding::unused(&limit, 4_096);
        charge(&mut sliding, 7, 1);
        for (span_ms, is_small) in [((1 << 39) - 1, true), (1 << 39, false)] {
            sliding.log.last_ms = sliding.log.origin_ms + span_ms;
            assert_eq!(is_packed(&sliding), is_small, "{span_ms}");
        }
    }
}
