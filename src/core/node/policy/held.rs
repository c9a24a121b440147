//! What may stand under a name: a lasting policy, one in front of it, and one beside it.

use crate::core::limit::{Algorithm, Limit, Limits, MAX_LIMITS};
use crate::core::node::ends::Ends;
use crate::core::span::Span;

/// Limits and how they are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub(super) algorithm: Algorithm,
    pub(super) limits: Limits,
}

impl Policy {
    /// `None` unless there are 1 ..= [`MAX_LIMITS`] limits, one for leases, each of the algorithm's shape, no two of one
    /// window.
    pub fn new(algorithm: Algorithm, limits: Limits) -> Option<Self> {
        let most = match algorithm {
            Algorithm::Fixed | Algorithm::Sliding | Algorithm::Bucket => MAX_LIMITS,
            Algorithm::Lease => 1,
        };
        let count = (1..=most).contains(&limits.len());
        let sound = limits.iter().enumerate().all(|(index, limit)| {
            let shape = match algorithm {
                Algorithm::Fixed | Algorithm::Sliding | Algorithm::Lease => {
                    limit.refill() == limit.limit()
                }
                Algorithm::Bucket => limit.refill() > 0,
            };
            let mut before = limits.iter().take(index);
            shape && before.all(|other| other.span() != limit.span())
        });
        (count && sound).then_some(Self { algorithm, limits })
    }

    /// How they are counted: a call of another algorithm passes it over.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// At least one, in the order given.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The algorithm and the limits, as words that RL.POLICY SET reads: `sliding 5 15m`.
    pub fn words(&self) -> Vec<String> {
        let mut words = vec![self.algorithm.name().to_owned()];
        for limit in &self.limits {
            words.push(limit.limit().to_string());
            if self.algorithm == Algorithm::Bucket {
                words.push(limit.refill().to_string());
            }
            words.push(limit.window_text(self.algorithm).to_string());
        }
        words
    }
}

/// A policy that ends, and then the lasting one is back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Temporary {
    /// The limits until then.
    pub policy: Policy,
    /// From then on it counts no more.
    pub ends: Ends,
}

/// A policy that is judged and counted, and never binds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShadowPolicy {
    /// The limits that are tried; not of leases.
    pub policy: Policy,
    /// From then on no more, if it has a TTL.
    pub ends: Option<Ends>,
}

impl ShadowPolicy {
    pub(super) fn holds(&self, now_ms: u64) -> bool {
        self.ends.is_none_or(|ends| ends.holds(now_ms))
    }
}

/// What stands under a name: at least one of the three.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    pub(super) lasting: Option<Policy>,
    /// In a box, as most have none.
    pub(super) temporary: Option<Box<Temporary>>,
    /// Likewise.
    pub(super) shadow: Option<Box<ShadowPolicy>>,
}

impl Held {
    /// The policy that counts at `now_ms`.
    #[inline]
    pub fn in_force(&self, now_ms: u64) -> Option<&Policy> {
        match self.temporary(now_ms) {
            Some(temporary) => Some(&temporary.policy),
            None => self.lasting.as_ref(),
        }
    }

    /// The policy without an end.
    pub fn lasting(&self) -> Option<&Policy> {
        self.lasting.as_ref()
    }

    /// The policy that stands in front of it at `now_ms`.
    #[inline]
    pub fn temporary(&self, now_ms: u64) -> Option<&Temporary> {
        let temporary = self.temporary.as_deref();
        temporary.filter(|temporary| temporary.ends.holds(now_ms))
    }

    /// The shadow that stands beside it at `now_ms`.
    #[inline]
    pub fn shadow(&self, now_ms: u64) -> Option<&ShadowPolicy> {
        let shadow = self.shadow.as_deref();
        shadow.filter(|shadow| shadow.holds(now_ms))
    }

    /// Whether anything of it still counts at `now_ms`, or is to be back.
    pub fn is_current(&self, now_ms: u64) -> bool {
        self.in_force(now_ms).is_some() || self.shadow(now_ms).is_some()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lasting.is_none() && self.temporary.is_none() && self.shadow.is_none()
    }
}

/// A policy or a shadow whose TTL is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its name.
    pub name: Box<[u8]>,
    /// What it was.
    pub policy: Policy,
    /// Whether it was a shadow.
    pub is_shadow: bool,
    /// The lasting policy, which is back.
    pub lasting: Option<Policy>,
}

/// What to set under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// A policy without an end; one that has an end goes.
    Lasting(Policy),
    /// A policy in front of the lasting one.
    Temporary(Temporary),
    /// One beside whatever there is.
    Shadow(ShadowPolicy),
}

impl Setting {
    /// The policy that is set.
    pub fn policy(&self) -> &Policy {
        match self {
            Setting::Lasting(policy) => policy,
            Setting::Temporary(temporary) => &temporary.policy,
            Setting::Shadow(shadow) => &shadow.policy,
        }
    }

    /// Makes a fixed window of weeks one of days: the first version, which sent policies as they were called, knew no
    /// calendar.
    pub fn read_as_first_version(&mut self) {
        let policy = match self {
            Setting::Lasting(policy) => policy,
            Setting::Temporary(temporary) => &mut temporary.policy,
            Setting::Shadow(shadow) => &mut shadow.policy,
        };
        for limit in &mut policy.limits {
            let days = limit
                .span()
                .weeks()
                .and_then(|weeks| Span::plain(weeks * 7 * 86_400_000));
            let plain = days.and_then(|days| Limit::spanning(limit.limit(), days));
            *limit = plain.unwrap_or(*limit);
        }
    }
}
