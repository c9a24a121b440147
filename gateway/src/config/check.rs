//! Only words that are known may be in a configuration: a misspelt `rate_limit` would be no limit at all.

use crate::yaml::{Fault, Kind, Node};

/// Of envoyproxy/ratelimit, then ours.
const KEYS: [&str; 23] = [
    "domain",
    "key",
    "value",
    "descriptors",
    "rate_limit",
    "unit",
    "requests_per_unit",
    "unlimited",
    "shadow_mode",
    "quota_mode",
    "name",
    "replaces",
    "detailed_metric",
    "value_to_metric",
    "share_threshold",
    "metadata",
    "algorithm",
    "window",
    "limits",
    "burst",
    "block",
    "policy",
    "deny",
];

/// Ours that may be lists of plain texts.
const LISTS: [&str; 2] = ["block", "policy"];

pub fn keys(entries: &[(Node, Node)]) -> Result<(), Fault> {
    for (key, value) in entries {
        let name = match key.text() {
            Some(name) if !key.is_typed() && key.kind != Kind::Null => name,
            _ => {
                return Err(key.fault(format!(
                    "config error, key is not of type string: {}",
                    key.brief()
                )))
            }
        };
        if !KEYS.contains(&name) {
            return Err(key.fault(format!("config error, unknown key '{name}'")));
        }
        // What stands in there is the operator's own.
        if name == "metadata" {
            continue;
        }
        match &value.kind {
            Kind::List(items) => {
                for item in items {
                    match &item.kind {
                        Kind::Map(entries) => keys(entries)?,
                        Kind::Scalar(..) if LISTS.contains(&name) => {}
                        _ => {
                            return Err(item.fault(format!(
                                "config error, yaml file contains list of type other than map: {}",
                                item.brief()
                            )))
                        }
                    }
                }
            }
            Kind::Map(entries) => keys(entries)?,
            Kind::Scalar(text, true)
                if value.boolean().is_none()
                    && text.parse::<i64>().is_err()
                    && value.integer().is_none()
                    && text.parse::<f64>().is_ok() =>
            {
                return Err(value.fault("error checking config"))
            }
            Kind::Scalar(..) | Kind::Null => {}
        }
    }
    Ok(())
}
