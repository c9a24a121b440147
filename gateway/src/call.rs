//! One command of the server, and its answer: clauses go out as RL.FIXED, RL.SLIDING or RL.BUCKET where there is one, as
//! one RL.ALL where there are several, so that all are charged or none.

use std::sync::Arc;

use ratelimit::core::error::{Error, MAX_VALUE_BYTES};
use redis::{Cmd, ServerError, Value};

use crate::limits::Limits;

/// Keys that one RL.ALL takes.
pub const CLAUSES: usize = 16;
/// The largest cost the server takes, either way.
const COST: i64 = (1 << 53) - 1;

#[derive(Clone, Debug, PartialEq)]
pub struct Clause {
    pub key: String,
    pub limits: Arc<Limits>,
    /// Names of policies, their places filled.
    pub policies: Vec<String>,
    pub cost: i64,
    /// Beside others that do, it never binds: the server judges it, and counts what it would have denied.
    pub is_shadow: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Call {
    pub clauses: Vec<Clause>,
    /// Charged also where it does not fit.
    pub force: bool,
    /// A deny list, and what is looked up in it.
    pub deny: Option<(String, Vec<String>)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    pub allowed: bool,
    pub limit: i64,
    pub remaining: i64,
    /// Milliseconds; -1 where it never will be allowed.
    pub retry_after: i64,
    pub reset_after: i64,
    /// Known here, without asking.
    pub cached: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// One per clause.
    pub verdicts: Vec<Verdict>,
    /// Of all of them: the one that binds.
    pub verdict: Verdict,
    /// What was found on the deny list.
    pub listed: Option<String>,
}

/// What is looked up in a deny list: of the values those that one can hold.
pub fn lookup(
    list: &str,
    values: impl IntoIterator<Item = String>,
) -> Option<(String, Vec<String>)> {
    let held = |value: &String| (1..=MAX_VALUE_BYTES).contains(&value.len());
    let values: Vec<String> = values.into_iter().filter(held).collect();
    (!values.is_empty()).then(|| (list.to_owned(), values))
}

impl Call {
    pub fn command(&self) -> Cmd {
        let mut cmd = match self.clauses.as_slice() {
            [only] => {
                let mut cmd = redis::cmd(match only.limits.algorithm {
                    crate::limits::Algorithm::Fixed => "RL.FIXED",
                    crate::limits::Algorithm::Sliding => "RL.SLIDING",
                    crate::limits::Algorithm::Bucket => "RL.BUCKET",
                });
                cmd.arg(&only.key);
                only.words(&mut cmd, self.force);
                cmd
            }
            several => {
                let mut cmd = redis::cmd("RL.ALL");
                cmd.arg(several.len());
                for clause in several {
                    cmd.arg(&clause.key);
                }
                // One at least must bind.
                let binds = several.iter().any(|clause| !clause.is_shadow);
                for clause in several {
                    cmd.arg(clause.limits.algorithm.word());
                    clause.words(&mut cmd, self.force);
                    if binds && clause.is_shadow {
                        cmd.arg("SHADOW");
                    }
                }
                cmd
            }
        };
        if self.force {
            cmd.arg("FORCE");
        }
        if let Some((list, values)) = &self.deny {
            cmd.arg("DENY").arg(list).arg(values);
        }
        cmd
    }

    pub fn answer(&self, value: &Value) -> Result<Answer, String> {
        if let Value::ServerError(error) = value {
            return match is_overflow(error) {
                true => Ok(self.overflowed()),
                false => Err(format!("unexpected error {error}")),
            };
        }
        let Value::Array(items) = value else {
            return Err(format!("unexpected reply {value:?}"));
        };
        let verdict = verdict(items)?;
        let verdicts = if let [_] = self.clauses.as_slice() {
            vec![verdict]
        } else {
            let Some(Value::Array(rows)) = items.get(5) else {
                return Err("a reply without its keys".into());
            };
            rows.iter()
                .map(|row| match row {
                    Value::Array(items) => self::verdict(items),
                    _ => Err("a key's reply is no list".into()),
                })
                .collect::<Result<Vec<_>, _>>()?
        };
        if verdicts.len() != self.clauses.len() {
            return Err(format!(
                "{} replies for {} keys",
                verdicts.len(),
                self.clauses.len()
            ));
        }
        let listed = match (&self.deny, items.last()) {
            (Some(_), Some(Value::BulkString(bytes))) => {
                Some(String::from_utf8_lossy(bytes).into_owned())
            }
            _ => None,
        };
        Ok(Answer {
            verdicts,
            verdict,
            listed,
        })
    }
}

impl Call {
    /// More than the server counts is more than any limit: denied, not an error that could be let pass.
    fn overflowed(&self) -> Answer {
        let denied = |limit: u64| Verdict {
            limit: i64::try_from(limit).unwrap_or(i64::MAX),
            retry_after: -1,
            ..Verdict::default()
        };
        let limits = self.clauses.iter().map(|clause| &clause.limits.limits);
        let verdicts: Vec<_> = limits
            .map(|limits| denied(limits.first().map_or(0, |limit| limit.amount)))
            .collect();
        Answer {
            verdict: verdicts.first().copied().unwrap_or_default(),
            verdicts,
            listed: None,
        }
    }
}

/// Whether the server refused to count what was forced: it would have been more than it can.
pub fn is_overflow(error: &ServerError) -> bool {
    let told = Error::Overflow.to_string();
    told.split_once(' ') == Some((error.code(), error.details().unwrap_or_default()))
}

impl Clause {
    /// Whether a call of others may take it as a shadow: a block is no shadow's.
    pub fn can_be_shadow(&self) -> bool {
        self.is_shadow && self.limits.block.is_empty()
    }

    fn words(&self, cmd: &mut Cmd, force: bool) {
        for limit in &self.limits.limits {
            if self.limits.algorithm == crate::limits::Algorithm::Bucket {
                cmd.arg(limit.burst.unwrap_or(limit.amount));
            }
            cmd.arg(limit.amount).arg(&limit.window);
        }
        if self.cost != 1 {
            cmd.arg("COST").arg(self.cost.clamp(-COST, COST));
        }
        for policy in &self.policies {
            cmd.arg("POLICY").arg(policy);
        }
        // A forced hit starts no block: it is charged although it does not fit.
        if !self.limits.block.is_empty() && !force {
            cmd.arg("BLOCK").arg(&self.limits.block);
        }
    }
}

fn verdict(items: &[Value]) -> Result<Verdict, String> {
    match items {
        [Value::Int(allowed), Value::Int(limit), Value::Int(remaining), Value::Int(retry), Value::Int(reset), ..] => {
            Ok(Verdict {
                allowed: *allowed == 1,
                limit: *limit,
                remaining: *remaining,
                retry_after: *retry,
                reset_after: *reset,
                cached: false,
            })
        }
        _ => Err("a reply that is not five integers".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Algorithm;

    fn clause(key: &str, cost: i64) -> Clause {
        Clause {
            key: key.into(),
            limits: Arc::new(Limits::one(Algorithm::Fixed, 5, "1m")),
            policies: vec![],
            cost,
            is_shadow: false,
        }
    }

    fn words(call: &Call) -> String {
        let packed = call.command().get_packed_command();
        let text = String::from_utf8(packed).unwrap();
        text.split("\r\n")
            .filter(|w| !w.starts_with(['*', '$']))
            .collect::<Vec<_>>()
            .join(" ")
            .trim()
            .to_owned()
    }

    #[test]
    fn one_clause_is_one_plain_command() {
        let deny = Some(("bad".to_owned(), vec!["10.0.0.1".to_owned()]));
        let call = Call {
            clauses: vec![clause("k", 3)],
            force: true,
            deny,
        };
        assert_eq!(
            words(&call),
            "RL.FIXED k 5 1m COST 3 FORCE DENY bad 10.0.0.1"
        );
    }

    #[test]
    fn what_no_deny_list_can_hold_is_not_looked_up() {
        let long = "x".repeat(100_000);
        let all = lookup("bad", ["".to_owned(), long.clone(), "joe".to_owned()]);
        assert_eq!(all, Some(("bad".to_owned(), vec!["joe".to_owned()])));
        assert_eq!(lookup("bad", [long]), None);
    }

    #[test]
    fn several_clauses_are_one_call() {
        let call = Call {
            clauses: vec![clause("a", 1), clause("b", 0)],
            force: false,
            deny: None,
        };
        assert_eq!(words(&call), "RL.ALL 2 a b FIXED 5 1m FIXED 5 1m COST 0");
    }

    #[test]
    fn what_only_counts_is_a_shadow_beside_what_binds() {
        let shadow = Clause {
            is_shadow: true,
            ..clause("s", 1)
        };
        let of = |clauses: &[Clause]| {
            words(&Call {
                clauses: clauses.to_vec(),
                ..Call::default()
            })
        };
        assert_eq!(
            of(&[clause("a", 1), shadow.clone()]),
            "RL.ALL 2 a s FIXED 5 1m FIXED 5 1m SHADOW"
        );
        // By itself it is asked as any other, and so are several.
        assert_eq!(of(std::slice::from_ref(&shadow)), "RL.FIXED s 5 1m");
        assert_eq!(
            of(&[shadow.clone(), shadow]),
            "RL.ALL 2 s s FIXED 5 1m FIXED 5 1m"
        );
    }

    #[test]
    fn more_than_can_be_counted_is_denied() {
        let told = "-ERR cost would take what is used past 9007199254740991, the largest usage that is counted\r\n";
        let call = Call {
            clauses: vec![clause("a", 3), clause("b", 3)],
            force: true,
            deny: None,
        };
        let answer = call
            .answer(&redis::parse_redis_value(told.as_bytes()).unwrap())
            .unwrap();
        let denied = Verdict {
            limit: 5,
            retry_after: -1,
            ..Verdict::default()
        };
        assert_eq!(answer.verdicts, [denied; 2]);
        assert!(call
            .answer(&redis::parse_redis_value(b"-ERR other\r\n").unwrap())
            .is_err());
    }

    #[test]
    fn a_reply_is_never_guessed() {
        let call = Call {
            clauses: vec![clause("a", 1)],
            ..Call::default()
        };
        assert!(call.answer(&Value::Okay).is_err());
        assert!(call.answer(&Value::Array(vec![Value::Int(1)])).is_err());
        let five = vec![
            Value::Int(0),
            Value::Int(5),
            Value::Int(0),
            Value::Int(70),
            Value::Int(80),
        ];
        assert_eq!(
            call.answer(&Value::Array(five))
                .unwrap()
                .verdict
                .retry_after,
            70
        );
    }
}
