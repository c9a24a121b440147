//! The verdict: what one limit says of a hit, and which limit speaks for them all.

use super::limit::MAX_LIMITS;
use arrayvec::ArrayVec;

/// What one limit says of a hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the cost fits (fitted) this limit.
    pub allowed: bool,
    /// The limit in force, in units.
    pub limit: u64,
    /// Whole units that are used after this hit.
    pub used: u64,
    /// When the same cost fits, if nothing else happens.
    pub retry: Retry,
    /// Milliseconds until nothing is used any more.
    pub reset_after_ms: u64,
}

impl Verdict {
    /// Whole units left after this hit.
    pub fn remaining(&self) -> u64 {
        self.limit.saturating_sub(self.used)
    }
}

/// When to come back. In this order: the later, the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Retry {
    /// In so many milliseconds; 0 where the hit was allowed.
    After(u64),
    /// The cost is larger than the limit: never.
    Never,
}

/// The answer to a hit or a peek: one verdict per limit, in the order asked; at least one, once it is decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    pub(super) verdicts: ArrayVec<Verdict, MAX_LIMITS>,
}

impl Decision {
    /// One verdict per limit, in the order asked.
    pub fn verdicts(&self) -> &[Verdict] {
        &self.verdicts
    }

    /// Whether every limit allows the hit.
    pub fn allowed(&self) -> bool {
        self.verdicts.iter().all(|verdict| verdict.allowed)
    }

    /// The longest wait of any limit: of a denied hit the binding limit's, of a reserved one when its turn comes.
    pub fn longest_wait(&self) -> Retry {
        let waits = self.verdicts.iter().map(|verdict| verdict.retry);
        waits.max().unwrap_or(Retry::After(0))
    }

    /// The verdict of the limit that binds, the first of equals. Denied: the longest wait, "never" first. Allowed: the
    /// least remaining.
    pub fn binding(&self) -> Option<&Verdict> {
        let mut verdicts = self.verdicts.iter();
        let mut binds = verdicts.next()?;
        for verdict in verdicts {
            let tighter = match (binds.allowed, verdict.allowed) {
                (true, true) => verdict.remaining() < binds.remaining(),
                (false, false) => verdict.retry > binds.retry,
                (binds_allows, _) => binds_allows,
            };
            if tighter {
                binds = verdict;
            }
        }
        Some(binds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(allowed: bool, remaining: u64, retry: Retry) -> Verdict {
        Verdict {
            allowed,
            limit: 10,
            used: 10 - remaining,
            retry,
            reset_after_ms: 0,
        }
    }

    fn binding(verdicts: &[Verdict]) -> Verdict {
        let decision = Decision {
            verdicts: verdicts.iter().copied().collect(),
        };
        *decision.binding().unwrap()
    }

    #[test]
    fn allowed_the_least_remaining_binds() {
        let (a, b) = (
            verdict(true, 3, Retry::After(0)),
            verdict(true, 2, Retry::After(0)),
        );
        assert_eq!(binding(&[a, b, a]), b);
    }

    #[test]
    fn denied_the_longest_wait_binds_and_never_is_longest() {
        let free = verdict(true, 0, Retry::After(0));
        let soon = verdict(false, 5, Retry::After(10));
        let late = verdict(false, 5, Retry::After(20));
        let never = verdict(false, 9, Retry::Never);
        assert_eq!(binding(&[free, soon, late]), late);
        assert_eq!(binding(&[late, soon, free]), late);
        assert_eq!(binding(&[late, never, free]), never);
        assert_eq!(binding(&[soon, free]), soon);
    }
}
