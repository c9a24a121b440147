//! What a proxy is told: the status, and the fields for its client.

use crate::call::Verdict;
use crate::rules::Rule;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// No answer is possible: the proxy has not said who asks, or what for.
    Refused,
    /// A rule whose action is deny.
    Rule,
    /// A value on a deny list.
    Listed,
    Limit,
    /// Redis could not be asked, and a rule is closed.
    Unavailable,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    pub denial: Option<Denial>,
    /// For the client: RateLimit, RateLimit-Policy, Retry-After.
    pub fields: Vec<(&'static str, String)>,
    verdict: Option<Verdict>,
}

impl Answer {
    pub fn allowed(rule: &Rule, verdict: Verdict) -> Self {
        Self {
            denial: None,
            fields: fields(rule, verdict),
            verdict: Some(verdict),
        }
    }

    pub fn denied(denial: Denial, rule: &Rule, verdict: Option<Verdict>) -> Self {
        let mut out = Self {
            denial: Some(denial),
            fields: Vec::new(),
            verdict,
        };
        let Some(verdict) = verdict else { return out };
        if denial == Denial::Limit {
            out.fields = fields(rule, verdict);
        }
        // Rounded up: never too early. Where it never will be allowed, nothing is promised.
        if verdict.retry_after >= 0 {
            out.fields.push((
                "retry-after",
                seconds(verdict.retry_after).max(1).to_string(),
            ));
        }
        out
    }

    pub fn refused() -> Self {
        Self {
            denial: Some(Denial::Refused),
            ..Self::default()
        }
    }

    pub fn unavailable() -> Self {
        Self {
            denial: Some(Denial::Unavailable),
            fields: vec![("retry-after", "1".to_owned())],
            verdict: None,
        }
    }

    /// The one of two that says more: a denial, and of two denials the longer; else the one with less left.
    pub fn worse(self, other: Self) -> Self {
        let wait = |answer: &Self| {
            answer.verdict.map_or(0, |verdict| {
                if verdict.retry_after < 0 {
                    i64::MAX
                } else {
                    verdict.retry_after
                }
            })
        };
        let left = |answer: &Self| answer.verdict.map_or(i64::MAX, |verdict| verdict.remaining);
        let other_is_worse = match (self.denial, other.denial) {
            (None, Some(_)) => true,
            (Some(_), None) => false,
            (Some(Denial::Listed), Some(_)) => false,
            (Some(_), Some(Denial::Listed)) => true,
            (Some(_), Some(_)) => wait(&other) > wait(&self),
            (None, None) => left(&other) < left(&self),
        };
        if other_is_worse {
            other
        } else {
            self
        }
    }

    pub fn status(&self) -> u16 {
        match self.denial {
            None => 200,
            Some(Denial::Refused) => 400,
            Some(Denial::Rule | Denial::Listed) => 403,
            Some(Denial::Limit) => 429,
            Some(Denial::Unavailable) => 503,
        }
    }

    pub fn text(&self) -> &'static str {
        match self.denial {
            None => "",
            Some(Denial::Refused) => "Bad Request\n",
            Some(Denial::Rule | Denial::Listed) => "Forbidden\n",
            Some(Denial::Limit) => "Too Many Requests\n",
            Some(Denial::Unavailable) => "Service Unavailable\n",
        }
    }
}

/// `RateLimit: "login";r=0;t=30` and `RateLimit-Policy: "login";q=5;w=900`, of the limit in force.
fn fields(rule: &Rule, verdict: Verdict) -> Vec<(&'static str, String)> {
    let name = &rule.name;
    let wait = if verdict.allowed {
        verdict.reset_after
    } else {
        verdict.retry_after.max(0)
    };
    let mut out = vec![(
        "ratelimit",
        format!(
            "\"{name}\";r={};t={}",
            verdict.remaining.max(0),
            seconds(wait)
        ),
    )];
    let window = rule.limits().and_then(|limits| {
        limits
            .limits
            .iter()
            .find(|limit| i64::try_from(limit.amount) == Ok(verdict.limit))
    });
    let window = window.and_then(|limit| window_seconds(&limit.window));
    out.push((
        "ratelimit-policy",
        window.map_or_else(
            || format!("\"{name}\";q={}", verdict.limit),
            |w| format!("\"{name}\";q={};w={w}", verdict.limit),
        ),
    ));
    out
}

fn seconds(ms: i64) -> i64 {
    ms.saturating_add(999) / 1_000
}

/// Of a window that is a plain number of seconds.
fn window_seconds(window: &str) -> Option<u64> {
    let digits = window.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = window.split_at_checked(digits)?;
    let scale = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(scale)
}
