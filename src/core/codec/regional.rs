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

use super::described::{
    part, read_log, read_meters, write_log, write_meters, Codec, Described, Encoding,
};
use super::{varint, Source};
use crate::core::algorithm::joint::bucket::{BucketPart, JointBucket};
use crate::core::algorithm::joint::counter::Counter;
use crate::core::algorithm::joint::fixed::{FixedPart, JointFixed};
use crate::core::algorithm::joint::sliding::{most_entries, JointSliding, SlidingPart};
use crate::core::algorithm::joint::{Part, Parts, MAX_PARTS};
use crate::core::calendar::Window;
use crate::core::limit::{Algorithm, MAX_COUNT, MAX_TIME_MS, MAX_WINDOWS};
use crate::core::limiter::regional::{Shared, SharedForm};
use crate::core::limiter::{Form, Limiter, LimiterRef, Meters, Store};
use crate::core::region::origin::Origin;

/// Behind the code that all of them have.
impl<J: SharedForm + Described> Encoding for Shared<J> {
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

fn write_meters_of<J: SharedForm + Described>(shared: &Shared<J>, out: &mut Vec<u8>) {
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
    read_shared(source, reset_ms, 0)
}

/// Reads a state, behind its code.
pub fn read_state(source: &mut Source) -> Option<Limiter> {
    let reset_ms = source.at_most(MAX_TIME_MS)?;
    let remembers_ms = source.at_most(MAX_TIME_MS)?;
    read_shared(source, reset_ms, remembers_ms)
}

fn read_shared(source: &mut Source, reset_ms: u64, remembers_ms: u64) -> Option<Limiter> {
    fn read<J: SharedForm + Described>(
        source: &mut Source,
        reset_ms: u64,
        remembers_ms: u64,
    ) -> Option<Limiter> {
        let count = source.count(MAX_WINDOWS)?;
        let mut shared = Shared::of(Meters(read_meters(source, count)?));
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

impl Described for JointFixed {
    fn describe(codec: &mut impl Codec<Self>) -> Option<()> {
        codec.other(
            |it, out| {
                let is_dated = it.span.plain_ms().is_none();
                write_parts(&it.parts, out, |part, out| {
                    varint::write(out, part.start_ms);
                    if is_dated {
                        varint::write(out, part.end_ms);
                    }
                    part.counter.write(out);
                });
            },
            |it, source| {
                let span_ms = it.span.plain_ms();
                it.parts = read_parts(source, |source, origin| {
                    let window = match span_ms {
                        Some(span_ms) => {
                            let start_ms = source.at_most(MAX_TIME_MS)?;
                            start_ms.is_multiple_of(span_ms).then_some(Window {
                                start_ms,
                                end_ms: start_ms + span_ms,
                            })?
                        }
                        None => source.window()?,
                    };
                    Some(FixedPart {
                        origin,
                        start_ms: window.start_ms,
                        end_ms: window.end_ms,
                        counter: Counter::read(source)?,
                    })
                })?;
                Some(())
            },
        )
    }
}

impl Described for JointSliding {
    fn describe(codec: &mut impl Codec<Self>) -> Option<()> {
        codec.other(
            |it, out| {
                varint::write(out, u64::from(it.capacity));
                write_parts(&it.parts, out, |part, out| {
                    let (stamp_ms, nth) = part.stamp;
                    varint::write(out, stamp_ms);
                    varint::write(out, nth);
                    write_log(&part.log, out);
                });
            },
            |it, source| {
                it.capacity = source.log_size()?;
                let (most, window_ms) = (most_entries(it.capacity), it.span.ms());
                it.parts = read_parts(source, |source, origin| {
                    Some(SlidingPart {
                        origin,
                        stamp: (source.at_most(MAX_TIME_MS)?, source.at_most(MAX_COUNT)?),
                        log: read_log(source, most, window_ms)?,
                    })
                })?;
                Some(())
            },
        )
    }
}

impl Described for JointBucket {
    fn describe(codec: &mut impl Codec<Self>) -> Option<()> {
        part!(codec, it.bucket)?;
        codec.other(
            |it, out| write_parts(&it.parts, out, |part, out| part.counter.write(out)),
            |it, source| {
                it.parts = read_parts(source, |source, origin| {
                    let counter = Counter::read(source)?;
                    Some(BucketPart { origin, counter })
                })?;
                Some(())
            },
        )
    }
}

#[cfg(test)]
mod tests;
