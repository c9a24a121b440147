//! The bytes of a meter, described once: the same description writes them and reads them.
//!
//! A description says where each number stands and its bound. [`Writer`] and [`Reader`] each make of it what they are for.

use super::varint::{self, write_string};
use crate::core::algorithm::bucket::{Bucket, Since, SinceMs};
use crate::core::algorithm::fixed::{Fixed, WindowEnd};
use crate::core::algorithm::lease::{Lease, Leases, MAX_ID_BYTES, MAX_LEASES};
use crate::core::algorithm::log::Log;
use crate::core::algorithm::meter::Meter;
use crate::core::algorithm::reserved::Reserved;
use crate::core::algorithm::sliding::Sliding;
use crate::core::bytes::source::Source;
use crate::core::calendar::Window;
use crate::core::duration;
use crate::core::limit::{Limit, MAX_COUNT, MAX_TIME_MS, MAX_WINDOWS};
use smallvec::SmallVec;
use std::num::NonZero;

/// The longest window is longer still where its zone sets its clocks back.
pub(super) const MAX_WINDOW_MS: u64 = duration::MAX_MS + 2 * 86_400_000;

/// What says of which bytes it consists.
pub(super) trait Described: Sized {
    /// How many of it a key has at the most.
    const MOST: usize = MAX_WINDOWS;

    /// Has each of its parts written, or read, in their order; `None` where what is read cannot be.
    fn describe(codec: &mut impl Codec<Self>) -> Option<()>;
}

/// Writes a `T` or reads one.
pub(super) trait Codec<T> {
    /// What is written, or what has been read of it.
    fn it(&self) -> &T;

    /// A number, `most` at most.
    fn number(&mut self, get: fn(&T) -> u64, set: fn(&mut T, u64), most: u64) -> Option<()>;

    /// Something that is described by itself.
    fn part<P: Described>(
        &mut self,
        get: fn(&T) -> &P,
        get_mut: fn(&mut T) -> &mut P,
    ) -> Option<()>;

    /// What is no plain number: how it is written, and how it is read.
    fn other(
        &mut self,
        write: impl FnOnce(&T, &mut Vec<u8>),
        read: impl FnOnce(&mut T, &mut Source) -> Option<()>,
    ) -> Option<()>;

    /// What is true of it, where all before was within its bounds.
    fn check(&self, law: impl FnOnce(&T) -> bool) -> Option<()> {
        law(self.it()).then_some(())
    }
}

/// How what a form keeps is written and read.
pub(super) trait Encoding: Sized {
    fn write(&self, out: &mut Vec<u8>);
    fn read(source: &mut Source) -> Option<Self>;
}

/// [`Codec::number`], by where it stands.
macro_rules! number {
    ($codec:ident, $it:ident $(.$field:tt)+ => $most:expr) => {{
        let $it = $codec.it();
        let _ = $it;
        let most = $most;
        $codec.number(|$it| $it$(.$field)+, |$it, number| $it$(.$field)+ = number, most)
    }};
}

/// [`Codec::part`], by where it stands.
macro_rules! part {
    ($codec:ident, $it:ident $(.$field:tt)+) => {
        $codec.part(|$it| &$it$(.$field)+, |$it| &mut $it$(.$field)+)
    };
}
pub(super) use part;

struct Writer<'a, T> {
    it: &'a T,
    out: &'a mut Vec<u8>,
}

impl<T> Codec<T> for Writer<'_, T> {
    fn it(&self) -> &T {
        self.it
    }

    fn number(&mut self, get: fn(&T) -> u64, _set: fn(&mut T, u64), _most: u64) -> Option<()> {
        varint::write(self.out, get(self.it));
        Some(())
    }

    fn part<P: Described>(
        &mut self,
        get: fn(&T) -> &P,
        _get_mut: fn(&mut T) -> &mut P,
    ) -> Option<()> {
        let (it, out) = (get(self.it), &mut *self.out);
        P::describe(&mut Writer { it, out })
    }

    fn other(
        &mut self,
        write: impl FnOnce(&T, &mut Vec<u8>),
        _read: impl FnOnce(&mut T, &mut Source) -> Option<()>,
    ) -> Option<()> {
        write(self.it, self.out);
        Some(())
    }

    /// What is held has been checked.
    fn check(&self, _law: impl FnOnce(&T) -> bool) -> Option<()> {
        Some(())
    }
}

struct Reader<'a, 'b, T> {
    it: &'a mut T,
    source: &'a mut Source<'b>,
}

impl<T> Codec<T> for Reader<'_, '_, T> {
    fn it(&self) -> &T {
        self.it
    }

    fn number(&mut self, _get: fn(&T) -> u64, set: fn(&mut T, u64), most: u64) -> Option<()> {
        set(self.it, self.source.at_most(most)?);
        Some(())
    }

    fn part<P: Described>(
        &mut self,
        _get: fn(&T) -> &P,
        get_mut: fn(&mut T) -> &mut P,
    ) -> Option<()> {
        let (it, source) = (get_mut(self.it), &mut *self.source);
        P::describe(&mut Reader { it, source })
    }

    fn other(
        &mut self,
        _write: impl FnOnce(&T, &mut Vec<u8>),
        read: impl FnOnce(&mut T, &mut Source) -> Option<()>,
    ) -> Option<()> {
        read(self.it, self.source)
    }
}

/// Appends how many meters there are, and each behind its limit.
pub(super) fn write_meters<M: Meter + Described>(meters: &[M], out: &mut Vec<u8>) {
    varint::write(out, meters.len() as u64);
    for it in meters {
        if let Some(limit) = it.limit() {
            limit.write(M::ALGORITHM, out);
        }
        let _ = M::describe(&mut Writer { it, out }); // writing never fails
    }
}

/// Reads so many meters, no two of one window.
pub(super) fn read_meters<M: Meter + Described>(
    source: &mut Source,
    count: usize,
) -> Option<SmallVec<[M; 1]>> {
    let mut meters: SmallVec<[M; 1]> = SmallVec::new();
    for _ in 0..count {
        let mut it = M::unused(&Limit::read(M::ALGORITHM, source)?, 0);
        M::describe(&mut Reader {
            it: &mut it,
            source,
        })?;
        let is_new = meters.iter().all(|other| other.span() != it.span());
        is_new.then(|| meters.push(it))?;
    }
    Some(meters)
}

impl<E: WindowEnd> Described for Fixed<E> {
    fn describe(codec: &mut impl Codec<Self>) -> Option<()> {
        number!(codec, it.start_ms => MAX_TIME_MS)?;
        if !E::IS_ALIGNED {
            codec.number(
                |it| it.end.ms(it.start_ms, it.span),
                |it, end_ms| {
                    it.end = E::of(Window {
                        start_ms: it.start_ms,
                        end_ms,
                    });
                },
                MAX_TIME_MS + MAX_WINDOW_MS,
            )?;
        }
        number!(codec, it.used => MAX_COUNT)?;
        codec.check(|it| {
            let window = Window {
                start_ms: it.start_ms,
                end_ms: it.end.ms(it.start_ms, it.span),
            };
            match it.span.plain_ms() {
                Some(ms) => {
                    window.start_ms.is_multiple_of(ms) && window.end_ms == window.start_ms + ms
                }
                None => !E::IS_ALIGNED && is_window(window),
            }
        })
    }
}

/// Whether there can be such a window.
pub(super) fn is_window(window: Window) -> bool {
    let Window { start_ms, end_ms } = window;
    start_ms < end_ms && end_ms - start_ms <= MAX_WINDOW_MS
}

impl Described for Sliding {
    fn describe(codec: &mut impl Codec<Self>) -> Option<()> {
        codec.other(
            |it, out| {
                varint::write(out, u64::from(it.log.capacity));
                write_log(&it.log, out);
            },
            |it, source| {
                let capacity = u16::try_from(source.number()?).ok()?;
                it.log = read_log(source, capacity, it.span.ms())?;
                Some(())
            },
        )
    }
}

pub(super) fn write_log(log: &Log, out: &mut Vec<u8>) {
    varint::write(out, log.origin_ms);
    write_string(out, &log.bytes);
}

/// Reads the log of a window.
pub(super) fn read_log(source: &mut Source, capacity: u16, window_ms: u64) -> Option<Log> {
    let origin_ms = source.at_most(MAX_TIME_MS)?;
    let bytes = source.string(usize::MAX)?;
    let log = Log::read(bytes, origin_ms, capacity)?;
    let is_sound = log.used <= MAX_COUNT
        && log.last_ms <= MAX_TIME_MS
        && log.last_ms - log.first_ms() < window_ms;
    is_sound.then_some(log)
}

impl Described for () {
    fn describe(_codec: &mut impl Codec<Self>) -> Option<()> {
        Some(())
    }
}

impl Described for SinceMs {
    fn describe(codec: &mut impl Codec<Self>) -> Option<()> {
        number!(codec, it.0 => MAX_TIME_MS)
    }
}

impl<S: Since + Described> Described for Bucket<S> {
    fn describe(codec: &mut impl Codec<Self>) -> Option<()> {
        number!(codec, it.tokens => MAX_COUNT)?;
        number!(codec, it.fraction => it.interval.ms() - 1)?;
        number!(codec, it.at_ms => MAX_TIME_MS)?;
        part!(codec, it.since)?;
        codec.check(|it| it.tokens < MAX_COUNT || it.fraction == 0)
    }
}

impl Described for Reserved {
    fn describe(codec: &mut impl Codec<Self>) -> Option<()> {
        part!(codec, it.bucket)?;
        number!(codec, it.promised.0 => MAX_COUNT)?;
        number!(codec, it.promised.1 => it.bucket.interval.ms() - 1)?;
        number!(codec, it.ahead_ms => duration::MAX_MS)?;
        number!(codec, it.stamp_ms => MAX_TIME_MS)?;
        number!(codec, it.last => MAX_COUNT)?;
        codec.check(|it| {
            let is_promised = it.promised() > 0 || it.last > 0;
            it.promised() <= it.bucket.level_then() && (it.ahead_ms > 0 || !is_promised)
        })
    }
}

/// By end, then id.
impl Described for Leases {
    const MOST: usize = 1;

    fn describe(codec: &mut impl Codec<Self>) -> Option<()> {
        codec.other(write_leases, read_leases)
    }
}

fn write_leases(leases: &Leases, out: &mut Vec<u8>) {
    varint::write(out, leases.len() as u64);
    for lease in leases.sorted() {
        for number in [lease.ends_ms, lease.ttl_ms, lease.cost.get()] {
            varint::write(out, number);
        }
        write_string(out, &lease.id);
    }
}

fn read_leases(leases: &mut Leases, source: &mut Source) -> Option<()> {
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
        is_sound.then(|| {
            leases.insert(Lease {
                id: SmallVec::from_slice(id),
                cost,
                ends_ms,
                ttl_ms,
            });
        })?;
    }
    Some(())
}
