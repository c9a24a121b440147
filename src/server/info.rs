//! The module's sections of `INFO`: `INFO ratelimit`, and with `INFO modules` or `INFO everything`.

use super::registry;
use crate::core::limit::Algorithm;
use crate::core::node::stats::hours::Counts;
use redis_module::{InfoContext, RedisResult};
use redis_module_macros::info_command_handler;

/// The sections.
#[info_command_handler]
fn info(ctx: &InfoContext, _for_crash_report: bool) -> RedisResult<()> {
    let sections = registry::node(|node| {
        let fingerprint = format!("{:016x}", node.policies.fingerprint());
        let (stats, deny) = (&node.stats, &node.deny);
        let total = stats.total();
        let mut general = vec![
            ("version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
            ("allowed".to_owned(), total.allowed.to_string()),
            ("denied".to_owned(), total.denied.to_string()),
            ("deny_listed".to_owned(), total.deny_listed.to_string()),
        ];
        for algorithm in Algorithm::ALL {
            let counts = stats.algorithm(algorithm).counts();
            general.push((algorithm.name().to_owned(), dictionary(counts)));
        }
        for (name, value) in [
            ("policies", node.policies.len()),
            ("deny_lists", deny.sizes().count()),
            ("deny_entries", deny.len()),
            ("names", stats.names_len()),
            ("memory_bytes", node.memory_bytes()),
        ] {
            general.push((name.to_owned(), value.to_string()));
        }
        general.push(("policies_fingerprint".to_owned(), fingerprint));
        for (name, value) in [
            ("policies_changed_ms", node.policies.changed_ms()),
            ("stats_unwritten", stats.unwritten() as u64),
        ] {
            general.push((name.to_owned(), value.to_string()));
        }
        let lists = deny
            .summaries()
            .map(|(name, list)| {
                let (entries, changed_ms) = (list.entries, list.changed_ms);
                let fingerprint = format!("{:016x}", list.fingerprint);
                let value =
                    format!("entries={entries},fingerprint={fingerprint},changed_ms={changed_ms}");
                (printable("list", name), value)
            })
            .collect();
        let names = stats
            .names()
            .into_iter()
            .filter_map(|name| {
                let counts = stats.name(name)?.series().counts();
                Some((printable("name", name), dictionary(counts)))
            })
            .collect();
        [("stats", general), ("deny", lists), ("names", names)]
    });
    for (section, fields) in sections {
        let fields: Vec<_> = fields
            .into_iter()
            .map(|(name, value)| (name, value.into()))
            .collect();
        ctx.build_one_section((section.to_owned(), fields))?;
    }
    Ok(())
}

/// Several numbers in one field, as the server's own `keyspace` and `commandstats` have them.
fn dictionary(counts: Counts) -> String {
    format!(
        "allowed={},denied={},deny_listed={}",
        counts.allowed, counts.denied, counts.deny_listed
    )
}

/// A name as a field of INFO, where a line break, a colon, an equals sign or a comma would be read as something else.
/// Two names never become one, and by the kind in front of it none becomes another field's.
fn printable(kind: &str, name: &[u8]) -> String {
    let mut text = format!("{kind}_");
    for byte in name {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'_' | b'-' | b'.' => {
                text.push(char::from(*byte));
            }
            _ => text.push_str(&format!("%{byte:02x}")),
        }
    }
    text
}
