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

use super::{varint, write_limit, write_meters, Encoding, Source, Stamped};
use super::{MAX_COUNT, MAX_TIME_MS, MAX_WINDOWS};
use crate::core::algorithm::joint::bucket::{BucketPart, JointBucket};
use crate::core::algorithm::joint::counter::Counter;
use crate::core::algorithm::joint::fixed::{FixedPart, JointFixed};
use crate::core::algorithm::joint::sliding::{most_entries, JointSliding, SlidingPart};
use crate::core::algorithm::joint::{Part, Parts, MAX_PARTS};
use crate::core::algorithm::log::{Log, MAX_ENTRIES, MIN_ENTRIES};
use crate::core::algorithm::meter::Meter;
use crate::core::limit::{Algorithm, Limit};
use crate::core::limiter::regional::{Shared, SharedForm};
use crate::core::limiter::Store;
use crate::core::limiter::{Form, Limiter, LimiterRef};
use crate::core::region::origin::Origin;

/// Behind the code that all of them have.
impl<J: SharedForm + Encoding> Encoding for Shared<J> {
    fn write(&self, out: &mut Vec<u8>) {
        varint::write(out, self.reset_ms);
        varint::write(out, self.remembers_ms);
        write_meters_of(self, out);
    }

    /// None has a code of its own: see [`read_state`].
    fn read(_source: &mut Source) -> Option<Self> {
        None
    }
}

fn write_meters_of<J: SharedForm + Encoding>(shared: &Shared<J>, out: &mut Vec<u8>) {
    out.push(J::ALGORITHM as u8);
    write_meters(&shared.meters.0, out);
}

/// Appends what is sent of a state.
pub fn write_copy(copy: LimiterRef, out: &mut Vec<u8>) {
    if let Some(regional) = copy.regional() {
        varint::write(out, regional.reset_ms());
    }
    match copy {
        Form::SharedFixed(shared) => write_meters_of(shared, out),
        Form::SharedSliding(shared) => write_meters_of(shared, out),
        Form::SharedBucket(shared) => write_meters_of(shared, out),
        _ => {}
    }
}

/// Reads what [`write_copy`] wrote.
pub fn read_copy(source: &mut Source) -> Option<Limiter> {
    let reset_ms = source.at_most(MAX_TIME_MS)?;
    read_meters(source, reset_ms, 0)
}

/// Reads a state, behind its code.
pub fn read_state(source: &mut Source) -> Option<Limiter> {
    let reset_ms = source.at_most(MAX_TIME_MS)?;
    let remembers_ms = source.at_most(MAX_TIME_MS)?;
    read_meters(source, reset_ms, remembers_ms)
}

fn read_meters(source: &mut Source, reset_ms: u64, remembers_ms: u64) -> Option<Limiter> {
    fn read<J: SharedForm + Encoding>(
        source: &mut Source,
        reset_ms: u64,
        remembers_ms: u64,
    ) -> Option<Limiter> {
        let count = source.count(MAX_WINDOWS)?;
        let mut shared = Shared::of(source.so_many_meters(count)?);
        (shared.reset_ms, shared.remembers_ms) = (reset_ms, remembers_ms);
        Some(J::keep(shared))
    }
    let read = match *Algorithm::ALL.get(usize::from(source.byte()?))? {
        Algorithm::Fixed => read::<JointFixed>,
        Algorithm::Sliding => read::<JointSliding>,
        Algorithm::Bucket => read::<JointBucket>,
        Algorithm::Lease => return None,
    };
    read(source, reset_ms, remembers_ms)
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

impl Encoding for JointFixed {
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

impl Encoding for JointSliding {
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

impl Encoding for JointBucket {
    fn write(&self, out: &mut Vec<u8>) {
        self.bucket.write(out);
        write_parts(&self.parts, out, |part, out| {
            part.counter.write(out);
        });
    }

    fn read(source: &mut Source) -> Option<Self> {
        let bucket = Stamped::read(source)?;
        let parts = read_parts(source, |source, origin| {
            Some(BucketPart {
                origin,
                counter: Counter::read(source)?,
            })
        })?;
        Some(Self { bucket, parts })
    }
}

#[cfg(test)]
mod tests;
