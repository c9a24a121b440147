//! The commands, one file a family. Each reads as one sentence: parse, look the key up, decide, store, propagate, reply.

mod apply;
pub mod deny;
mod hit;
mod info;
mod node;
mod peek;
pub mod policy;
#[cfg(feature = "probe")]
pub mod probe;
pub mod stats;

pub use apply::apply;
pub use hit::{bucket, fixed, sliding};
pub use info::info;
pub use node::node;
pub use peek::peek;

use super::data_type;
use super::raw::Key;
use crate::core::error::Error;
use crate::core::limit::Algorithm;
use crate::core::limiter::Limiter;
use crate::core::request::Request;
use crate::server::registry;
use std::mem::ManuallyDrop;

/// Which argument the key is.
const KEY: usize = 1;

/// What a key holds, borrowed from the server: `None` where there is no key.
type State = ManuallyDrop<Option<Limiter>>;

/// Looks at an open key; an error where it holds something else.
#[inline(always)]
fn limiter_of(key: &Key) -> Result<State, Error> {
    match key.value(data_type::handle()) {
        Some(value) => {
            // SAFETY: the server keeps only what `into_raw` made under this type, and a command opens a key once, so
            // there is no other limiter made from it.
            let limiter = unsafe { data_type::from_raw(value) };
            Ok(ManuallyDrop::new(Some(ManuallyDrop::into_inner(limiter))))
        }
        None => match key.holds() {
            None => Ok(ManuallyDrop::new(None)),
            Some(holds) => Err(Error::HoldsType { holds }),
        },
    }
}

/// A value of a DENY clause that was found in its list.
pub struct Listed<'a> {
    /// The value, as the caller gave it.
    pub value: &'a [u8],
    /// What it was read as: a canonical address or range, or the value itself.
    pub read_as: Vec<u8>,
    /// What is left of the entry's TTL; `None` where it is permanent.
    pub left_ms: Option<u64>,
}

/// Does what the POLICY and DENY clauses ask for: puts the policy's limits in the place of the call's, where there is
/// such a policy, and looks for the values in the deny list.
#[inline(always)]
fn look_up<'a>(
    request: &mut Request<'a>,
    algorithm: Algorithm,
    now_ms: u64,
) -> Result<Option<Listed<'a>>, Error> {
    if request.policy.is_none() && request.deny.is_none() {
        return Ok(None);
    }
    look_up_clauses(request, algorithm, now_ms)
}

fn look_up_clauses<'a>(
    request: &mut Request<'a>,
    algorithm: Algorithm,
    now_ms: u64,
) -> Result<Option<Listed<'a>>, Error> {
    registry::node(|node| {
        let policy = node.policies.first(request.policy, now_ms);
        if let Some(policy) = policy {
            let is = policy.algorithm();
            if is != algorithm {
                return Err(Error::PolicyAlgorithm {
                    is,
                    asked: algorithm,
                });
            }
            request.limits.clone_from(policy.limits());
        }
        let Some(deny) = request.deny else {
            return Ok(None);
        };
        let found = node
            .deny
            .first_match(deny.list, deny.values.iter().copied(), now_ms);
        Ok(found.and_then(|found| {
            let ends_ms = found.until.expires_at_ms();
            Some(Listed {
                value: deny.values.get(found.index)?,
                read_as: found.value,
                left_ms: ends_ms.map(|ends_ms| ends_ms.saturating_sub(now_ms)),
            })
        }))
    })
}

/// Hands a limiter that a command has made over to the key, which is open to write, and borrows it back.
fn store(key: &mut Key, state: State) -> Result<State, Error> {
    if let Some(limiter) = ManuallyDrop::into_inner(state) {
        // SAFETY: the callers open their key to write; `into_raw` makes what the type's callbacks take.
        unsafe { key.set_value(data_type::handle(), data_type::into_raw(limiter)) };
    }
    limiter_of(key)
}
