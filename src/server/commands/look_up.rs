//! What the POLICY and DENY clauses ask for: the policy's limits in the place of the call's, and the value of the call that a
//! deny list has.

use crate::core::error::Error;
use crate::core::limit::Algorithm;
use crate::core::node::Node;
use crate::core::request::{Clause, Deny};
use crate::server::registry;

/// A value of a DENY clause that was found in its list.
pub struct Listed<'a> {
    /// The value, as the caller gave it.
    pub value: &'a [u8],
    /// What it was read as: a canonical address or range, or the value itself.
    pub read_as: Vec<u8>,
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
    registry::node(|node| {
        for (algorithm, clause) in clauses {
            take_policy(node, algorithm, clause, now_ms)?;
        }
        Ok(deny.and_then(|deny| listed(node, &deny, now_ms)))
    })
}

/// The limits of the first policy that there is take the place of the clause's own.
fn take_policy(
    node: &Node,
    algorithm: Algorithm,
    clause: &mut Clause,
    now_ms: u64,
) -> Result<(), Error> {
    let names = clause.policies.iter().copied();
    let Some(policy) = node.policies.first(names, now_ms) else {
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

fn listed<'a>(node: &Node, deny: &Deny<'a>, now_ms: u64) -> Option<Listed<'a>> {
    let values = deny.values.iter().copied();
    let found = node.deny.first_match(deny.list, values, now_ms)?;
    let ends_ms = found.until.expires_at_ms();
    Some(Listed {
        value: deny.values.get(found.index)?,
        read_as: found.value,
        left_ms: ends_ms.map(|ends_ms| ends_ms.saturating_sub(now_ms)),
    })
}
