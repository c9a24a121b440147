//! The bytes of what several regions share, in a state and on their way.
//!
//! ```text
//! shared       algorithm, then count, then per window
//!     fixed            limit  own  count  (origin  start_ms  [end_ms]  charged  given)*      end_ms: of the calendar's
//!     sliding          limit  capacity  own  count  (origin  stamp_ms  nth  origin_ms  log-length  log)*
//!     bucket           capacity  refill  interval_ms  tokens  fraction  at_ms  since_ms  own  count  (origin  charged  given)*
//! origin       region  began_ms                                                              sorted
//! own          0, or the place from 1 of the part that is written here
//! ```

use super::{varint, write_limit, Source, Stamped, MAX_COUNT, MAX_TIME_MS, MAX_WINDOWS};
use crate::core::algorithm::joint::bucket::{BucketPart, JointBucket};
use crate::core::algorithm::joint::counter::Counter;
use crate::core::algorithm::joint::fixed::{FixedPart, JointFixed};
use crate::core::algorithm::joint::sliding::{most_entries, JointSliding, SlidingPart};
use crate::core::algorithm::joint::{Joint, Part, Parts, MAX_PARTS};
use crate::core::algorithm::log::{Log, MAX_ENTRIES, MIN_ENTRIES};
use crate::core::algorithm::meter::Meter;
use crate::core::limit::{Algorithm, Limit};
use crate::core::limiter::regional::{each, Body, InBody};
use crate::core::limiter::Meters;
use crate::core::region::origin::Origin;
use smallvec::SmallVec;

/// How a meter of several regions is written and read.
trait Shared: InBody {
    fn write(&self, out: &mut Vec<u8>);
    fn read(source: &mut Source) -> Option<Self>;
}

/// Appends a body.
pub fn write(body: &Body, out: &mut Vec<u8>) {
    fn write<J: Shared>(meters: &Meters<J>, out: &mut Vec<u8>) {
        varint::write(out, meters.0.len() as u64);
        for meter in &meters.0 {
            meter.write(out);
        }
    }
    out.push(body.algorithm() as u8);
    each!(body, meters => write(meters, out));
}

/// Reads what [`write`] wrote.
pub fn read(source: &mut Source) -> Option<Body> {
    fn read<J: Shared>(source: &mut Source) -> Option<Body> {
        let mut meters: SmallVec<[J; 1]> = SmallVec::new();
        for _ in 0..source.count(MAX_WINDOWS)? {
            let meter = J::read(source)?;
            let is_new = meters.iter().all(|other| other.span() != meter.span());
            is_new.then(|| meters.push(meter))?;
        }
        Some(J::wrap(Meters(meters)))
    }
    match *Algorithm::ALL.get(usize::from(source.byte()?))? {
        Algorithm::Fixed => read::<JointFixed>(source),
        Algorithm::Sliding => read::<JointSliding>(source),
        Algorithm::Bucket => read::<JointBucket>(source),
        Algorithm::Lease => None,
    }
}

/// Whether it is one that is sent: nothing is the receiver's own, and every region has a name.
pub fn is_sent(body: &Body) -> bool {
    fn is_sent<J: Joint>(meters: &Meters<J>) -> bool {
        meters.0.iter().map(Joint::parts).all(|parts| {
            let mut origins = parts.list.iter().map(Part::origin);
            parts.own.is_none() && origins.all(|origin| origin.region.is_named())
        })
    }
    each!(body, meters => is_sent(meters))
}

fn write_parts<P: Part>(parts: &Parts<P>, out: &mut Vec<u8>, write: impl Fn(&P, &mut Vec<u8>)) {
    let own = parts
        .list
        .iter()
        .position(|part| Some(part.origin()) == parts.own);
    varint::write(out, own.map_or(0, |place| place as u64 + 1));
    varint::write(out, parts.list.len() as u64);
    for part in &parts.list {
        part.origin().write(out);
        write(part, out);
    }
}

fn read_parts<P: Part>(
    source: &mut Source,
    read: impl Fn(&mut Source, Origin) -> Option<P>,
) -> Option<Parts<P>> {
    let own = source.count(MAX_PARTS)?;
    let count = source.count(MAX_PARTS)?;
    let mut parts = Parts::none();
    let mut last = None;
    for place in 1..=count {
        let origin = Origin::read(source)?;
        (Some(origin) > last).then_some(())?;
        last = Some(origin);
        parts.list.push(read(source, origin)?);
        if place == own {
            parts.own = Some(origin);
        }
    }
    (own <= count).then_some(parts)
}

impl Shared for JointFixed {
    fn write(&self, out: &mut Vec<u8>) {
        write_limit(self, out);
        let is_dated = self.span.plain_ms().is_none();
        write_parts(&self.parts, out, |part, out| {
            varint::write(out, part.start_ms);
            if is_dated {
                varint::write(out, part.end_ms);
            }
            part.counter.write(out);
        });
    }

    fn read(source: &mut Source) -> Option<Self> {
        let limit = Limit::read(Algorithm::Fixed, source)?;
        let mut joint = Self::unused(&limit, 0);
        let span_ms = limit.span().plain_ms();
        joint.parts = read_parts(source, |source, origin| {
            let (start_ms, end_ms) = match span_ms {
                Some(span_ms) => {
                    let start_ms = source.at_most(MAX_TIME_MS)?;
                    start_ms.is_multiple_of(span_ms).then_some(())?;
                    (start_ms, start_ms + span_ms)
                }
                None => {
                    let window = source.window()?;
                    (window.start_ms, window.end_ms)
                }
            };
            Some(FixedPart {
                origin,
                start_ms,
                end_ms,
                counter: Counter::read(source)?,
            })
        })?;
        Some(joint)
    }
}

impl Shared for JointSliding {
    fn write(&self, out: &mut Vec<u8>) {
        write_limit(self, out);
        varint::write(out, u64::from(self.capacity));
        write_parts(&self.parts, out, |part, out| {
            let (stamp_ms, nth) = part.stamp;
            let length = part.log.bytes.len() as u64;
            for number in [stamp_ms, nth, part.log.origin_ms, length] {
                varint::write(out, number);
            }
            out.extend_from_slice(&part.log.bytes);
        });
    }

    fn read(source: &mut Source) -> Option<Self> {
        let limit = Limit::read(Algorithm::Sliding, source)?;
        let mut joint = Self::unused(&limit, 0);
        let is_size = |size: &u16| (MIN_ENTRIES..=MAX_ENTRIES).contains(size);
        joint.capacity = u16::try_from(source.number()?).ok().filter(is_size)?;
        let most = most_entries(joint.capacity);
        joint.parts = read_parts(source, |source, origin| {
            let stamp = (source.at_most(MAX_TIME_MS)?, source.at_most(MAX_COUNT)?);
            let origin_ms = source.at_most(MAX_TIME_MS)?;
            let length = usize::try_from(source.number()?).ok()?;
            let log = Log::read(source.take(length)?, origin_ms, most)?;
            let is_sound = log.used <= MAX_COUNT
                && log.last_ms <= MAX_TIME_MS
                && log.last_ms - log.first_ms() < limit.window_ms();
            is_sound.then_some(SlidingPart { origin, stamp, log })
        })?;
        Some(joint)
    }
}

impl Shared for JointBucket {
    fn write(&self, out: &mut Vec<u8>) {
        super::Encoding::write(&self.stamped, out);
        write_parts(&self.parts, out, |part, out| {
            part.counter.write(out);
        });
    }

    fn read(source: &mut Source) -> Option<Self> {
        let stamped = <Stamped as super::Encoding>::read(source)?;
        let parts = read_parts(source, |source, origin| {
            Some(BucketPart {
                origin,
                counter: Counter::read(source)?,
            })
        })?;
        Some(Self { stamped, parts })
    }
}

#[cfg(test)]
mod tests;
