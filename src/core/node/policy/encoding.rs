//! The bytes of policies, and of one that is set.
//!
//! ```text
//! encoding = 2  number { name held }                    sorted by name
//! held     = flags (1: lasting, 2: temporary, 4: and the time given is known; 8: shadow, 16: it ends, 32: and the time
//!            given is known), lasting policy, temporary, shadow
//! temporary = policy, end
//! shadow   = policy, end, if it has one
//! end      = the millisecond since the Unix epoch at which it ends, the milliseconds given
//! policy   = the algorithm's place in [`Algorithm::ALL`] (one byte), number { limit }
//! limit    = limit window | capacity refill interval    see [`Limit::write`]
//! encoding = 1  number { name policy }                  the first version
//! ```
//!
//! Names stand behind their length; numbers are varints ([`crate::core::bytes::varint`]).

use super::held::{Held, Policy, Setting, ShadowPolicy, Temporary};
use super::Policies;
use crate::core::bytes::source::Source;
use crate::core::bytes::varint;
use crate::core::bytes::varint::write_string;
use crate::core::error::MAX_NAME_BYTES;
use crate::core::limit::{Algorithm, Limit, Limits, MAX_LIMITS, MAX_POLICIES};
use crate::core::node::ends::Ends;

/// The first byte of an encoding.
pub(super) const VERSION: u8 = 2;
/// The first version: lasting policies alone.
const VERSION_1: u8 = 1;

impl Policies {
    /// Every policy that counts at `now_ms` or is to be back, as bytes: the same for equal policies, in whatever order they
    /// were set.
    pub fn encode(&self, now_ms: u64) -> Vec<u8> {
        let mut out = vec![VERSION];
        let list = self.list(now_ms);
        varint::write(&mut out, list.len() as u64);
        for (name, held) in list {
            write_string(&mut out, name);
            let (temporary, shadow) = (held.temporary(now_ms), held.shadow(now_ms));
            write_held(&mut out, held.lasting(), temporary, shadow);
        }
        out
    }

    /// Replaces every policy by what [`Policies::encode`] wrote, perhaps under another bound: all are kept. Whether it did:
    /// bytes that cannot have been written so are refused, and leave everything as it was.
    #[must_use]
    pub fn load(&mut self, bytes: &[u8]) -> bool {
        let Some(mut loaded) = self.decode(bytes) else {
            return false;
        };
        loaded.mismatches = std::mem::take(&mut self.mismatches);
        *self = loaded;
        true
    }

    fn decode(&self, bytes: &[u8]) -> Option<Self> {
        let mut source = Source(bytes);
        let version = source.byte()?;
        let mut loaded = Self::new(self.max, self.entries.hasher().clone());
        let mut previous = None;
        for _ in 0..source.count(MAX_POLICIES)? {
            let name = source.name_after(previous, MAX_NAME_BYTES)?;
            previous = Some(name);
            let held = match version {
                VERSION_1 => Held {
                    lasting: Some(Policy::read(&mut source)?),
                    ..Held::default()
                },
                VERSION => read_held(&mut source)?,
                _ => return None,
            };
            for setting in held.settings() {
                loaded.put(name, setting, 0);
            }
        }
        let known = matches!(version, VERSION_1 | VERSION);
        (known && source.0.is_empty()).then_some(loaded)
    }
}

/// A setting of one name, as bytes: the version, the name, and what is set.
pub fn encode_setting(name: &[u8], setting: &Setting) -> Vec<u8> {
    let mut out = vec![VERSION];
    write_string(&mut out, name);
    match setting {
        Setting::Lasting(policy) => write_held(&mut out, Some(policy), None, None),
        Setting::Temporary(temporary) => write_held(&mut out, None, Some(temporary), None),
        Setting::Shadow(shadow) => write_held(&mut out, None, None, Some(shadow)),
    }
    out
}

/// The inverse of [`encode_setting`].
pub fn decode_setting(bytes: &[u8]) -> Option<(&[u8], Setting)> {
    let mut source = Source(bytes);
    let version = source.byte()?;
    let name = source.name_after(None, MAX_NAME_BYTES)?;
    let mut settings = read_held(&mut source)?.settings();
    let setting = settings.next()?;
    let is_one = settings.next().is_none();
    (version == VERSION && source.0.is_empty() && is_one).then_some((name, setting))
}

impl Held {
    /// What has set it.
    fn settings(self) -> impl Iterator<Item = Setting> {
        let lasting = self.lasting.map(Setting::Lasting);
        let temporary = self.temporary.map(|it| Setting::Temporary(*it));
        let shadow = self.shadow.map(|it| Setting::Shadow(*it));
        [lasting, temporary, shadow].into_iter().flatten()
    }
}

const LASTING: u8 = 1;
const TEMPORARY: u8 = 2;
const GIVEN: u8 = 4;
const SHADOW: u8 = 8;
const SHADOW_ENDS: u8 = 16;
const SHADOW_GIVEN: u8 = 32;

fn write_held(
    out: &mut Vec<u8>,
    lasting: Option<&Policy>,
    temporary: Option<&Temporary>,
    shadow: Option<&ShadowPolicy>,
) {
    let flag = |is_there, flag| if is_there { flag } else { 0 };
    let is_given = |ends: Option<Ends>| ends.is_some_and(|ends| ends.ttl_ms().is_some());
    let ends = temporary.map(|temporary| temporary.ends);
    let shadow_ends = shadow.and_then(|shadow| shadow.ends);
    out.push(
        flag(lasting.is_some(), LASTING)
            | flag(temporary.is_some(), TEMPORARY)
            | flag(is_given(ends), GIVEN)
            | flag(shadow.is_some(), SHADOW)
            | flag(shadow_ends.is_some(), SHADOW_ENDS)
            | flag(is_given(shadow_ends), SHADOW_GIVEN),
    );
    if let Some(lasting) = lasting {
        lasting.write(out);
    }
    let parts = [
        (temporary.map(|temporary| &temporary.policy), ends),
        (shadow.map(|shadow| &shadow.policy), shadow_ends),
    ];
    for (policy, ends) in parts {
        if let Some(policy) = policy {
            policy.write(out);
        }
        if let Some(ends) = ends {
            varint::write(out, ends.at_ms());
            if let Some(ttl_ms) = ends.ttl_ms() {
                varint::write(out, ttl_ms);
            }
        }
    }
}

fn read_held(source: &mut Source) -> Option<Held> {
    let flags = source.byte()?;
    let has = |flag| flags & flag != 0;
    // What is said of a part is said of one that is there.
    let is_known = flags < 2 * SHADOW_GIVEN
        && has(LASTING | TEMPORARY | SHADOW)
        && (has(TEMPORARY) || !has(GIVEN))
        && (has(SHADOW) || !has(SHADOW_ENDS))
        && (has(SHADOW_ENDS) || !has(SHADOW_GIVEN));
    if !is_known {
        return None;
    }
    let mut held = Held::default();
    if has(LASTING) {
        held.lasting = Some(Policy::read(source)?);
    }
    if has(TEMPORARY) {
        let policy = Policy::read(source)?;
        let ends = read_ends(source, has(GIVEN))?;
        held.temporary = Some(Box::new(Temporary { policy, ends }));
    }
    if has(SHADOW) {
        let policy = Policy::read(source)?;
        let mut ends = None;
        if has(SHADOW_ENDS) {
            ends = Some(read_ends(source, has(SHADOW_GIVEN))?);
        }
        if policy.algorithm == Algorithm::Lease {
            return None;
        }
        held.shadow = Some(Box::new(ShadowPolicy { policy, ends }));
    }
    // In front of a policy stands one of its algorithm.
    match (&held.lasting, &held.temporary) {
        (Some(lasting), Some(temporary)) if lasting.algorithm != temporary.policy.algorithm => None,
        _ => Some(held),
    }
}

fn read_ends(source: &mut Source, is_given: bool) -> Option<Ends> {
    let at_ms = source.number()?;
    let ttl_ms = match is_given {
        true => Some(source.number()?),
        false => None,
    };
    Ends::read(at_ms, ttl_ms)
}

impl Policy {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(self.algorithm as u8);
        varint::write(out, self.limits.len() as u64);
        for limit in &self.limits {
            limit.write(self.algorithm, out);
        }
    }

    fn read(source: &mut Source) -> Option<Self> {
        let code = source.byte()?;
        let algorithm = *Algorithm::ALL.get(usize::from(code))?;
        let mut limits = Limits::new();
        for _ in 0..source.count(MAX_LIMITS)? {
            limits.push(Limit::read(algorithm, source)?);
        }
        Self::new(algorithm, limits)
    }
}
