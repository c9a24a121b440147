//! From the files to the tree, with the error texts that operators know.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Number, Value};

use super::{check, Config, Entry, Level, Rule, Unit, Wildcard};
use crate::limits::{self, Algorithm, Limit, Limits};
use crate::yaml::{self, Fault, Kind, Node};

/// Files, by the names that errors call them, become one configuration; or the first error, `name: what is wrong`.
pub fn load(files: &[(String, String)], merge_domains: bool) -> Result<Config, String> {
    let mut config = Config::default();
    for (name, text) in files {
        file(&mut config, text, merge_domains).map_err(|error| format!("{name}: {error}"))?;
    }
    Ok(config)
}

fn file(config: &mut Config, text: &str, merge_domains: bool) -> Result<(), String> {
    let unreadable = |fault: Fault| {
        format!(
            "error loading config file: yaml: line {}: {}",
            fault.at.line, fault.text
        )
    };
    let root = yaml::read(text).map_err(unreadable)?;
    let Some(entries) = root.map() else {
        return Err(unreadable(
            root.fault(format!("expected a map, found {}", root.brief())),
        ));
    };
    check::keys(entries).map_err(|fault| fault.text)?;
    let domain = text_of(&root, "domain").map_err(unreadable)?;
    if domain.is_empty() {
        return Err("config file cannot have empty domain".into());
    }
    if config.domains.contains_key(&domain) && !merge_domains {
        return Err(format!("duplicate domain '{domain}' in config file"));
    }
    let prefix = format!("{domain}.");
    let level = config.domains.entry(domain).or_default();
    descriptors(level, &root, &prefix)
}

fn descriptors(level: &mut Level, parent: &Node, prefix: &str) -> Result<(), String> {
    let Some(list) = parent.get("descriptors") else {
        return Ok(());
    };
    let list = list
        .list()
        .ok_or_else(|| typed(list, "descriptors must be a list"))?;
    for node in list {
        let read = |name| text_of(node, name).map_err(|fault| loading(&fault));
        let flag = |name| flag_of(node, name).map_err(|fault| loading(&fault));
        let (key, value) = (read("key")?, read("value")?);
        if key.is_empty() {
            return Err("descriptor has empty key".into());
        }
        let composite = if value.is_empty() {
            key
        } else {
            format!("{key}_{value}")
        };
        let full_key = format!("{prefix}{composite}");
        if level.children.contains_key(&composite) {
            return Err(format!("duplicate descriptor composite key '{full_key}'"));
        }
        let rule = match node.get("rate_limit") {
            Some(limit) if limit.kind != Kind::Null => {
                Some(Arc::new(rule(node, limit, &full_key)?))
            }
            _ => None,
        };
        let starred = composite.contains('*');
        let share = flag("share_threshold")?;
        if share && !starred {
            return Err(format!(
                "share_threshold can only be used with wildcard values (containing '*'), but found key '{composite}'"
            ));
        }
        let metadata = match node.get("metadata") {
            Some(node) => {
                metadata(node).map_err(|text| format!("error parsing metadata: {text}"))?
            }
            None => None,
        };
        let mut entry = Entry {
            rule,
            level: Level::default(),
            value_to_metric: flag("value_to_metric")?,
            shared: share.then(|| composite.clone()),
            metadata,
        };
        descriptors(&mut entry.level, node, &format!("{full_key}."))?;
        if starred {
            let parts = composite.split('*').map(str::to_owned).collect();
            level.wildcards.push(Wildcard {
                key: composite.clone(),
                parts,
            });
        }
        level.children.insert(composite, Arc::new(entry));
    }
    Ok(())
}

fn rule(descriptor: &Node, node: &Node, full_key: &str) -> Result<Rule, String> {
    let bad = |fault: Fault| loading(&fault);
    node.map()
        .ok_or_else(|| typed(node, "rate_limit must be a map"))?;
    let unlimited = flag_of(node, "unlimited").map_err(bad)?;
    let unit_text = text_of(node, "unit").map_err(bad)?;
    let unit = Unit::of(&unit_text);
    let several = node.get("limits");
    let window = node
        .get("window")
        .map(limits::duration)
        .transpose()
        .map_err(bad)?;
    if unlimited && (unit.is_some() || window.is_some() || several.is_some()) {
        return Err("should not specify rate limit unit when unlimited".into());
    }
    if unit.is_some() && window.is_some() {
        return Err("should not specify both unit and window".into());
    }
    if several.is_some()
        && (!unit_text.is_empty() || window.is_some() || node.get("requests_per_unit").is_some())
    {
        return Err("should not specify unit, window or requests_per_unit beside limits".into());
    }
    if !unlimited && unit.is_none() && window.is_none() && several.is_none() {
        return Err(format!("invalid rate limit unit '{unit_text}'"));
    }
    let (limits, first) = if unlimited {
        (None, None)
    } else {
        limits_of(node, several)?
    };
    let name = text_of(node, "name").map_err(bad)?;
    let mut replaces = Vec::new();
    for item in node
        .get("replaces")
        .and_then(Node::list)
        .unwrap_or_default()
    {
        let replaced = text_of(item, "name").map_err(bad)?;
        if replaced.is_empty() {
            return Err("should not have an empty replaces entry".into());
        }
        if replaced == name {
            return Err("replaces should not contain name of same descriptor".into());
        }
        replaces.push(replaced);
    }
    let amount = first.map_or(0, |first| first.amount);
    Ok(Rule {
        full_key: full_key.to_owned(),
        limits: limits.map(Arc::new),
        requests_per_unit: u32::try_from(amount).unwrap_or(u32::MAX),
        unit: unit.unwrap_or(Unit::Unknown),
        shadow_mode: flag_of(descriptor, "shadow_mode").map_err(bad)?,
        quota_mode: flag_of(descriptor, "quota_mode").map_err(bad)?,
        name,
        replaces,
        detailed_metric: flag_of(descriptor, "detailed_metric").map_err(bad)?,
    })
}

/// The limits, and the one that answers show.
fn limits_of(
    node: &Node,
    several: Option<&Node>,
) -> Result<(Option<Limits>, Option<Limit>), String> {
    let bad = |fault: Fault| loading(&fault);
    let algorithm = node
        .get("algorithm")
        .map_or(Ok(Algorithm::Fixed), Algorithm::of)
        .map_err(bad)?;
    let rows = match several {
        Some(list) => list
            .list()
            .ok_or_else(|| typed(list, "limits must be a list"))?,
        None => std::slice::from_ref(node),
    };
    let rows = rows
        .iter()
        .map(limit_of)
        .collect::<Result<Vec<_>, _>>()
        .map_err(bad)?;
    let limits = Limits {
        algorithm,
        limits: rows,
        block: node
            .get("block")
            .map(limits::block)
            .transpose()
            .map_err(bad)?
            .unwrap_or_default(),
        policies: node
            .get("policy")
            .map(limits::policies)
            .transpose()
            .map_err(bad)?
            .unwrap_or_default(),
        deny: node
            .get("deny")
            .map(limits::list_name)
            .transpose()
            .map_err(bad)?,
    };
    limits.check(node).map_err(bad)?;
    let first = limits.limits.first().cloned();
    Ok((Some(limits), first))
}

fn limit_of(node: &Node) -> Result<Limit, Fault> {
    let unit = node.get("unit").map(|unit| {
        let name = unit.text().unwrap_or_default();
        Unit::of(name)
            .map(|unit| unit.window().to_owned())
            .ok_or_else(|| unit.fault(format!("invalid rate limit unit '{name}'")))
    });
    let window = match (unit, node.get("window")) {
        (Some(_), Some(window)) => {
            return Err(window.fault("should not specify both unit and window"))
        }
        (Some(unit), None) => unit?,
        (None, Some(window)) => limits::duration(window)?,
        (None, None) => return Err(node.fault("invalid rate limit unit ''")),
    };
    let amount = node
        .get("requests_per_unit")
        .map_or(Ok(0), limits::amount)?;
    let burst = node.get("burst").map(limits::amount).transpose()?;
    Ok(Limit {
        amount,
        window,
        burst,
    })
}

fn text_of(node: &Node, name: &str) -> Result<String, Fault> {
    let Some(value) = node.get(name) else {
        return Ok(String::new());
    };
    value
        .text()
        .map(str::to_owned)
        .ok_or_else(|| value.fault(format!("{name} must be a text, found {}", value.brief())))
}

fn flag_of(node: &Node, name: &str) -> Result<bool, Fault> {
    match node.get(name) {
        None => Ok(false),
        Some(value) if value.kind == Kind::Null => Ok(false),
        Some(value) => value.boolean().ok_or_else(|| {
            value.fault(format!(
                "{name} must be true or false, found {}",
                value.brief()
            ))
        }),
    }
}

fn loading(fault: &Fault) -> String {
    format!(
        "error loading config file: yaml: line {}: {}",
        fault.at.line, fault.text
    )
}

fn typed(node: &Node, text: &str) -> String {
    loading(&node.fault(format!("{text}, found {}", node.brief())))
}

fn metadata(node: &Node) -> Result<Option<Arc<Map<String, Value>>>, String> {
    match value(node)? {
        Value::Null => Ok(None),
        Value::Object(map) if map.is_empty() => Ok(None),
        Value::Object(map) => Ok(Some(Arc::new(map))),
        _ => Err(format!("expected a map, found {}", node.brief())),
    }
}

fn value(node: &Node) -> Result<Value, String> {
    Ok(match &node.kind {
        Kind::Null => Value::Null,
        Kind::Scalar(text, true) => match (
            node.boolean(),
            text.parse::<f64>().ok().and_then(Number::from_f64),
        ) {
            (Some(truth), _) => Value::Bool(truth),
            (None, Some(number)) => Value::Number(number),
            (None, None) => Value::String(text.clone()),
        },
        Kind::Scalar(text, false) => Value::String(text.clone()),
        Kind::List(items) => Value::Array(items.iter().map(value).collect::<Result<_, _>>()?),
        Kind::Map(entries) => {
            let pairs: HashMap<String, Value> = entries
                .iter()
                .map(|(k, v)| {
                    Ok((
                        k.text().ok_or("a key must be a text")?.to_owned(),
                        value(v)?,
                    ))
                })
                .collect::<Result<_, String>>()?;
            let mut pairs: Vec<_> = pairs.into_iter().collect();
            pairs.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(pairs.into_iter().collect())
        }
    })
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
