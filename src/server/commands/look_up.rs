//! What the POLICY and DENY clauses ask for: the policy's limits in the place of the call's, and the value of the call that a
//! deny list has.

use crate::core::error::Error;
use crate::core::limit::Algorithm;
use crate::core::request::{Clause, Deny};
use crate::server::registry::{self, Registry};

/// A value of a DENY clause that was found in its list.
pub struct Listed<'a> {
    /// The value, as the caller gave it.
    pub value: &'a [u8],
    /// What is left of the entry's TTL; `None` where it is permanent.
    pub left_ms: Option<u64>,
}

/// Looks up what a call of one clause names.
#[inline(always)]
pub fn look_up<'a>(
    algorithm: Algorithm,
    clause: &mut Clause<'a>,
    deny: Option<Deny<'a>>,
    now_ms: u64,
) -> Result<Option<Listed<'a>>, Error> {
    if clause.policies.is_empty() && deny.is_none() {
        return Ok(None);
    }
    look_up_all([(algorithm, clause)], deny, now_ms)
}

/// Looks up what a call of several clauses names.
pub fn look_up_all<'a, 'b>(
    clauses: impl IntoIterator<Item = (Algorithm, &'b mut Clause<'a>)>,
    deny: Option<Deny<'a>>,
    now_ms: u64,
) -> Result<Option<Listed<'a>>, Error>
where
    'a: 'b,
{
    registry::with(|registry| {
        for (algorithm, clause) in clauses {
            take_policy(registry, algorithm, clause)?;
        }
        Ok(deny.and_then(|deny| listed(registry, &deny, now_ms)))
    })
}

/// The limits of the first policy that there is take the place of the clause's own.
fn take_policy(
    registry: &Registry,
    algorithm: Algorithm,
    clause: &mut Clause,
) -> Result<(), Error> {
    let mut names = clause.policies.iter();
    let Some(policy) = names.find_map(|name| registry.policies.get(name)) else {
        return Ok(());
    };
    let is = policy.algorithm();
    if is != algorithm {
        return Err(Error::PolicyAlgorithm {
            is,
            asked: algorithm,
        });
    }
    clause.limits.clone_from(policy.limits());
    clause.is_rare |= clause
        .limits
        .iter()
        .any(|limit| limit.span().plain_ms().is_none());
    Ok(())
}

fn listed<'a>(registry: &Registry, deny: &Deny<'a>, now_ms: u64) -> Option<Listed<'a>> {
    let values = deny.values.iter().copied();
    let found = registry.deny.first_match(deny.list, values, now_ms)?;
    let ends_ms = found.until.expires_at_ms();
    Some(Listed {
        value: deny.values.get(found.index)?,
        left_ms: ends_ms.map(|ends_ms| ends_ms.saturating_sub(now_ms)),
    })
}
