//! `ratelimit-gateway explain rules.yaml --request 'POST /login'`: which rules would act on a request, by which key, at
//! what cost. Asks nobody and charges nothing.

use std::fmt::Write;

use super::request::Request;
use super::{Action, Rules};
use crate::call::Call;

pub fn explain(rules: &Rules, request: &Request, prefix: &str) -> String {
    let mut out = String::new();
    let address = request
        .address
        .map_or_else(|| "unknown".to_owned(), |address| address.to_string());
    let host = if request.host.is_empty() {
        "-"
    } else {
        &request.host
    };
    let _ = writeln!(
        out,
        "{} {} (host {host}, client {address})",
        request.method, request.path
    );
    let mut ended = None;
    for rule in &rules.rules {
        let what = match &rule.action {
            _ if ended.is_some() => "not asked".to_owned(),
            _ if !rule.holds(request) => "does not match".to_owned(),
            Action::Allow => {
                ended = Some(format!(
                    "allowed by '{}', beside what is limited above",
                    rule.name
                ));
                "allows: no further rule is asked".to_owned()
            }
            Action::Deny => {
                ended = Some(format!(
                    "denied by '{}'{}",
                    rule.name,
                    if rules.shadow {
                        ", were it not a shadow"
                    } else {
                        ""
                    }
                ));
                "denies: nothing is charged".to_owned()
            }
            Action::Limit(limits) | Action::Log(limits) => {
                let clause = rule.clause(request, limits, prefix);
                let kind = if matches!(rule.action, Action::Log(_)) {
                    "counts only"
                } else {
                    "limits"
                };
                let call = Call {
                    clauses: vec![clause.clone()],
                    force: false,
                    deny: rule.deny(request),
                };
                format!(
                    "{kind}: {}\n      key  {}\n      cost {}\n      sent {}",
                    limits.describe(),
                    clause.key,
                    clause.cost,
                    words(&call)
                )
            }
        };
        let _ = writeln!(out, "  {}: {what}", rule.name);
    }
    let _ = writeln!(
        out,
        "{}",
        ended.unwrap_or_else(|| "allowed, if every limit above allows it".to_owned())
    );
    out
}

/// A command as it is typed.
fn words(call: &Call) -> String {
    let mut out = Vec::new();
    for arg in call.command().args_iter() {
        if let redis::Arg::Simple(bytes) = arg {
            let text = String::from_utf8_lossy(bytes);
            let plain = !text.is_empty()
                && !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '"');
            out.push(if plain {
                text.into_owned()
            } else {
                format!("{text:?}")
            });
        }
    }
    out.join(" ")
}
