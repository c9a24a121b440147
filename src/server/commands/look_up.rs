//! What the POLICY and DENY clauses ask for: the policy's limits in the place of the call's, and the value of the call that a
//! deny list has.

use crate::core::error::Error;
use crate::core::limit::{Algorithm, Limits};
use crate::core::node::Node;
use crate::core::request::{Clause, Deny, Rarity};
use crate::server::raw::warning;
use crate::server::{config, registry};

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
            take_policy(node, algorithm, clause, now_ms);
        }
        Ok(deny.and_then(|deny| listed(node, &deny, now_ms)))
    })
}

/// The limits of the first policy of the call's algorithm take the place of the clause's own. One of another algorithm is
/// passed over, and not in silence: nothing becomes unlimited by a wrong word in a SET, and no call fails.
fn take_policy(node: &mut Node, algorithm: Algorithm, clause: &mut Clause, now_ms: u64) {
    let names = clause.policies.iter().copied();
    let (policy, passes_over) = node.policies.first(names, algorithm, now_ms);
    let in_force = policy.map(|(name, _)| name);
    if let Some((_, policy)) = policy {
        clause.limits.clone_from(policy.limits());
        let mut limits = clause.limits.iter();
        if limits.any(|limit| limit.span().plain_ms().is_none()) {
            clause.rarity = Rarity::Rare;
        }
    }
    if passes_over {
        pass_over(node, algorithm, clause, now_ms);
    }
    let names = clause.policies.iter().copied();
    let shadow = node.policies.first_shadow(names, algorithm, now_ms);
    let tried = shadow.map(|(name, _)| name);
    if let Some((_, shadow)) = shadow {
        try_beside(clause, shadow.limits());
    }
    if clause.policies.len() > 1 {
        clause.count_under([in_force, tried]);
    }
}

/// Has limits tried on what the clause charges. (Where several regions share it, a shadow would know of this one alone.)
#[cold]
fn try_beside(clause: &mut Clause, limits: &Limits) {
    if !config::REGION.is_set() {
        clause.tried = Some(Box::new(limits.clone()));
        clause.rarity = Rarity::Rare;
    }
}

#[cold]
fn pass_over(node: &mut Node, algorithm: Algorithm, clause: &Clause, now_ms: u64) {
    let names = clause.policies.iter().copied();
    if let Some((name, is)) = node.policies.pass_over(names, algorithm, now_ms) {
        warning(&format!(
            "ratelimit: policy '{}' is {}, but {} calls name it: they pass it over and are held by the next policy that they \
             name, or by their own limits ({} so far)",
            String::from_utf8_lossy(name),
            is.name(),
            algorithm.name(),
            node.policies.mismatches().count
        ));
    }
}

fn listed<'a>(node: &Node, deny: &Deny<'a>, now_ms: u64) -> Option<Listed<'a>> {
    let values = deny.values.iter().copied();
    let found = node.deny.first_match(deny.list, values, now_ms)?;
    Some(Listed {
        value: deny.values.get(found.index)?,
        read_as: found.value,
        left_ms: found.until.left_ms(now_ms),
    })
}
