//! Reads rules.yaml, whole: every word is known, every value is checked, the first fault is told with its line and column.

use std::collections::HashSet;
use std::sync::Arc;

use super::matching::{networks, Match};
use super::request::Client;
use super::{Action, KeyPart, Rule, Rules, Source};
use crate::limits::{self, one_or_many, Algorithm, Limit, Limits};
use crate::yaml::{self, Fault, Kind, Node};

const RULES: usize = 1_000;
/// Rules that may bind one request: what one RL.ALL takes.
const BINDING: usize = crate::call::CLAUSES;

/// `shadow` lets all of it only count.
pub fn load(text: &str, shadow: bool) -> Result<Rules, Fault> {
    let root = yaml::read(text)?;
    words(&root, &["request", "client_address", "rules"])?;
    let source = match root.get("request").map(|node| (node, node.text().unwrap_or_default())) {
        Some((_, "forwarded")) => Source::Forwarded,
        Some((_, "original")) => Source::Original,
        Some((_, "path")) => Source::Path,
        Some((node, _)) => return Err(node.fault("request must be forwarded, original or path")),
        None => return Err(root.fault("request is missing: forwarded (Caddy, Traefik), original (nginx, HAProxy) or path (Envoy)")),
    };
    let client = match root.get("client_address") {
        Some(node) => client(node)?,
        None => {
            return Err(root.fault(
                "client_address is missing: whom to believe about it? peer, none, {header: NAME} or {forwarded_for: [NETWORKS]}",
            ))
        }
    };
    let list = root
        .get("rules")
        .ok_or_else(|| root.fault("rules is missing"))?;
    let nodes = list
        .list()
        .ok_or_else(|| list.fault("rules must be a list"))?;
    if nodes.len() > RULES {
        return Err(list.fault(format!("more than {RULES} rules")));
    }
    let mut rules = Vec::new();
    let mut names = HashSet::new();
    for node in nodes {
        let rule = rule(node, shadow)?;
        if !names.insert(rule.name.clone()) {
            return Err(node.fault(format!("two rules are named '{}'", rule.name)));
        }
        let asks = rule.when.asks_for_address()
            || rule
                .key
                .iter()
                .any(|part| matches!(part, KeyPart::Ip { .. }));
        if asks && client == Client::Unknown {
            return Err(node.fault(format!(
                "the rule '{}' asks for the client's address, and client_address is none",
                rule.name
            )));
        }
        rules.push(rule);
    }
    if rules
        .iter()
        .filter(|rule| matches!(rule.action, Action::Limit(_)))
        .count()
        > BINDING
    {
        // More of them would be two calls, and no longer all or nothing: where only some can match, write a file each.
        let message = format!("more than {BINDING} rules with action: limit");
        return Err(list.fault(message));
    }
    Ok(Rules {
        source,
        client,
        rules,
        shadow,
    })
}

fn client(node: &Node) -> Result<Client, Fault> {
    match (node.text(), node.map()) {
        (Some("peer"), _) => Ok(Client::Peer),
        (Some("none"), _) => Ok(Client::Unknown),
        (_, Some([(key, value)])) => match key.text() {
            Some("header") => header_name(value).map(Client::Header),
            Some("forwarded_for") => networks(value).map(Client::ForwardedFor),
            _ => Err(key.fault("expected header or forwarded_for")),
        },
        _ => Err(node.fault(
            "client_address must be peer, none, {header: NAME} or {forwarded_for: [NETWORKS]}",
        )),
    }
}

fn rule(node: &Node, shadow: bool) -> Result<Rule, Fault> {
    words(
        node,
        &[
            "name",
            "match",
            "key",
            "action",
            "algorithm",
            "limits",
            "limit",
            "window",
            "burst",
            "cost",
            "block",
            "policy",
            "deny",
            "on_failure",
        ],
    )?;
    let name = node
        .get("name")
        .ok_or_else(|| node.fault("a rule must have a name"))?;
    let text = name.text().unwrap_or_default();
    if text.is_empty()
        || text.len() > 64
        || !text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b))
    {
        return Err(name.fault("a name is 1 to 64 letters, digits, - _ . or :"));
    }
    let when = node
        .get("match")
        .map(Match::read)
        .transpose()?
        .unwrap_or_default();
    let action = node.get("action");
    let counts = match action.map_or("limit", |node| node.text().unwrap_or_default()) {
        "limit" => true,
        "log" => false,
        word @ ("allow" | "deny") => {
            let only = ["name", "match", "action"];
            words(node, &only).map_err(|fault| Fault {
                text: format!("{} (action: {word} takes no more)", fault.text),
                ..fault
            })?;
            let action = if word == "allow" {
                Action::Allow
            } else {
                Action::Deny
            };
            return Ok(Rule {
                name: text.to_owned(),
                when,
                key: Vec::new(),
                action,
                cost: 1,
                open: true,
            });
        }
        _ => {
            return Err(action
                .unwrap_or(node)
                .fault("action must be allow, log, deny or limit"))
        }
    };
    let limits = Arc::new(limits_of(node)?);
    let key = match node.get("key") {
        Some(Node {
            kind: Kind::List(parts),
            ..
        }) if parts.is_empty() => Vec::new(),
        Some(node) => one_or_many(node)
            .iter()
            .map(key_part)
            .collect::<Result<_, _>>()?,
        None => {
            return Err(node.fault("key is missing: what does it count by? [] for all together"))
        }
    };
    let cost = match node.get("cost") {
        None => 1,
        Some(cost) => limits::amount(cost)
            .ok()
            .and_then(|n| i64::try_from(n).ok())
            .filter(|n| *n > 0)
            .ok_or_else(|| cost.fault("cost must be a whole number, at least 1"))?,
    };
    let open = match node
        .get("on_failure")
        .map(|node| (node, node.text().unwrap_or_default()))
    {
        None | Some((_, "closed")) => false,
        Some((_, "open")) => true,
        Some((node, _)) => return Err(node.fault("on_failure must be open or closed")),
    };
    let action = if counts && !shadow {
        Action::Limit(limits)
    } else {
        Action::Log(limits)
    };
    Ok(Rule {
        name: text.to_owned(),
        when,
        key,
        action,
        cost,
        open,
    })
}

fn limits_of(node: &Node) -> Result<Limits, Fault> {
    let rows = match node.get("limits") {
        Some(list) => {
            let rows = list
                .list()
                .ok_or_else(|| list.fault("limits must be a list of {limit: , window: }"))?;
            for row in rows {
                words(row, &["limit", "window", "burst"])?;
            }
            rows
        }
        None => std::slice::from_ref(node),
    };
    let row = |row: &Node| {
        let missing = |name: &str| row.fault(format!("{name} is missing"));
        Ok(Limit {
            amount: limits::amount(row.get("limit").ok_or_else(|| missing("limit"))?)?,
            window: limits::duration(row.get("window").ok_or_else(|| missing("window"))?)?,
            burst: row.get("burst").map(limits::amount).transpose()?,
        })
    };
    let limits = Limits {
        algorithm: node
            .get("algorithm")
            .map_or(Ok(Algorithm::Sliding), Algorithm::of)?,
        limits: rows.iter().map(row).collect::<Result<Vec<_>, Fault>>()?,
        block: node
            .get("block")
            .map(limits::block)
            .transpose()?
            .unwrap_or_default(),
        policies: node
            .get("policy")
            .map(limits::policies)
            .transpose()?
            .unwrap_or_default(),
        deny: node.get("deny").map(limits::list_name).transpose()?,
    };
    limits.check(node)?;
    Ok(limits)
}

/// `ip`, `{ip: 56}`, `method`, `host`, `path`, `{header: NAME}`, `{query: NAME}`, `{cookie: NAME}`, `{jwt: CLAIM}`.
fn key_part(node: &Node) -> Result<KeyPart, Fault> {
    let expected = "expected ip, method, host, path, {header: NAME}, {query: NAME}, {cookie: NAME} or {jwt: CLAIM}";
    if let Some([(kind, value)]) = node.map() {
        let name = || match value.text() {
            Some(text) if !text.is_empty() => Ok(text.to_owned()),
            _ => Err(value.fault("expected a name")),
        };
        return match kind.text() {
            Some("ip") => match value.integer().and_then(|bits| u8::try_from(bits).ok()) {
                Some(bits @ 32..=128) => Ok(KeyPart::Ip { bits }),
                _ => Err(value.fault("expected the bits of an IPv6 network: 32 to 128")),
            },
            Some("header") => header_name(value).map(KeyPart::Header),
            Some("query") => name().map(KeyPart::Query),
            Some("cookie") => name().map(KeyPart::Cookie),
            Some("jwt") => name().map(KeyPart::Claim),
            _ => Err(kind.fault(expected)),
        };
    }
    match node.text() {
        Some("ip") => Ok(KeyPart::Ip { bits: 64 }),
        Some("method") => Ok(KeyPart::Method),
        Some("host") => Ok(KeyPart::Host),
        Some("path") => Ok(KeyPart::Path),
        _ => Err(node.fault(expected)),
    }
}

fn header_name(node: &Node) -> Result<String, Fault> {
    let text = node.text().unwrap_or_default().to_ascii_lowercase();
    match text.parse::<axum::http::HeaderName>() {
        Ok(_) => Ok(text),
        Err(_) => Err(node.fault(format!("'{}' is no field's name", node.brief()))),
    }
}

fn words(node: &Node, known: &[&str]) -> Result<(), Fault> {
    let entries = node
        .map()
        .ok_or_else(|| node.fault(format!("expected a map, found {}", node.brief())))?;
    for (key, _) in entries {
        let word = key.text().unwrap_or_default();
        if !known.contains(&word) {
            return Err(key.fault(format!(
                "unknown word '{word}': expected one of {}",
                known.join(", ")
            )));
        }
    }
    Ok(())
}
