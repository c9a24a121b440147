//! The bytes of a state: version, form, and what the form keeps.

use super::described::{read_meters, write_meters, Described, Encoding};
use super::{regional, varint, when, Source, FIRST, SECOND, STATE};
use crate::core::algorithm::meter::Meter;
use crate::core::duration;
use crate::core::limit::{MAX_LIMITS, MAX_TIME_MS};
use crate::core::limiter::block::{Block, Shut};
use crate::core::limiter::form::{each, each_form, forms, HeadedBox};
use crate::core::limiter::packed::{MaybePacked, Pack};
use crate::core::limiter::{Form, Ids, Limiter, LimiterRef, Meters, Noted, Notes, Shadow, Store};
use std::fmt::Debug;
use std::num::NonZero;

/// The form of a key that notes something else than a block, or has not been used.
pub(super) const NOTED: u8 = 8;
/// The form of a key that several regions share, whatever its algorithm.
const REGIONAL: u8 = 7;
pub(super) const HAS_BLOCK: u8 = 1;
pub(super) const HAS_SHUT: u8 = 2;
pub(super) const HAS_IDS: u8 = 4;
pub(super) const HAS_SHADOW: u8 = 8;
pub(super) const HAS_USAGE: u8 = 16;
/// What a key of the form [`Form::Noted`] has, where its code says it.
pub(super) const BLOCKED: u8 = HAS_BLOCK | HAS_USAGE;

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

/// Reads a payload that is a state: each key's when a file is loaded. (An [`super::Effect`] is too large to be handed around
/// there.)
pub fn decode_state(bytes: &[u8]) -> Option<Limiter> {
    let mut source = Source(bytes);
    let version = source.byte()?;
    let is_sound = match version {
        FIRST => source.byte()? == STATE,
        SECOND => true,
        _ => false,
    };
    is_sound.then_some(())?;
    let limiter = source.form()?;
    let is_of_version = is_first(limiter.by_ref()) == (version == FIRST);
    (source.0.is_empty() && is_of_version).then_some(limiter)
}

/// Whether a state is one that the first version could have: of a form that it had, with no more windows than a call may name.
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

impl<M: Meter + Described + Debug + Eq + 'static> Encoding for Meters<M> {
    fn write(&self, out: &mut Vec<u8>) {
        write_meters(&self.0, out);
    }

    fn read(source: &mut Source) -> Option<Self> {
        let count = source.count(M::MOST).filter(|count| *count > 0)?;
        read_meters(source, count).map(Meters)
    }
}

impl<M: Pack + Described + Debug + Eq + 'static> Encoding for MaybePacked<M> {
    fn write(&self, out: &mut Vec<u8>) {
        write_meters(&self.view(), out);
    }

    fn read(source: &mut Source) -> Option<Self> {
        Encoding::read(source).map(Self::of)
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
        for limiter in [&shadow.0, &self.limiter].into_iter().flatten() {
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

/// Reading a form.
impl Source<'_> {
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
        let block = when(has(HAS_BLOCK), || self.block())?;
        let shut = when(has(HAS_SHUT), || self.shut())?;
        let ids = when(has(HAS_IDS), || Ids::read(self))?.unwrap_or_default();
        let shadow = when(has(HAS_SHADOW), || self.form().filter(Shadow::can_be))?;
        let tries = shadow.as_ref().and_then(Limiter::algorithm);
        // What is noted is of one of the other forms; and leases are never in a block that a hit has started, nor known by
        // the hit's id.
        let of_hits = block.is_some() || !ids.is_empty();
        let can_be = |code: u8| !matches!((code, of_hits), (6 | NOTED, _) | (3, true));
        let limiter = when(has(HAS_USAGE), || {
            self.0.first().filter(|code| can_be(**code))?;
            self.form()
        })?;
        let uses = limiter.as_ref().and_then(Limiter::algorithm);
        let notes = Notes {
            block,
            shut,
            ids,
            shadow: Shadow(shadow),
        };
        let is_sound = !notes.is_empty()
            && (limiter.is_some() || !of_hits)
            && (tries.is_none() || tries == uses);
        is_sound.then_some(Noted { limiter, notes })
    }

    fn block(&mut self) -> Option<Block> {
        let Shut {
            until_ms,
            length_ms,
        } = self.shut()?;
        Some(Block {
            until_ms,
            length_ms,
            strikes: NonZero::new(u32::try_from(self.number()?).ok()?)?,
        })
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
}
