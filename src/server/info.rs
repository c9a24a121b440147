//! The module's sections of `INFO`: `INFO ratelimit`, and with `INFO modules` or `INFO everything`.

use super::raw::now_ms;
use super::{config, regions, registry};
use crate::core::limit::Algorithm;
use crate::core::numbered;
use redis_module::{InfoContext, RedisResult};
use redis_module_macros::info_command_handler;
use std::fmt::Display;

/// What the module was built from: `scripts/build` and `scripts/dist` say it to the compiler.
const COMMIT: &str = match option_env!("RATELIMIT_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// The sections.
#[info_command_handler]
fn info(ctx: &InfoContext, _for_crash_report: bool) -> RedisResult<()> {
    let sections = registry::node(|node| {
        let fingerprint = format!("{:016x}", node.policies.fingerprint());
        let (stats, deny) = (&node.stats, &node.deny);
        let mut general = vec![
            ("version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
            ("commit".to_owned(), COMMIT.to_owned()),
        ];
        for (name, count) in stats.total().named() {
            general.push((name.to_owned(), count.to_string()));
        }
        for algorithm in Algorithm::ALL {
            let counts = stats.algorithm(algorithm).counts();
            general.push((algorithm.name().to_owned(), dictionary(counts.named())));
        }
        general.push((
            "unnamed".to_owned(),
            dictionary(stats.unnamed_counts().named()),
        ));
        for (name, value) in [
            ("policies", node.policies.len()),
            ("deny_lists", deny.summaries().count()),
            ("deny_entries", deny.len()),
            ("names", stats.names_len()),
            ("memory_bytes", node.memory_bytes()),
            ("limits", numbered::INTERNER.count()),
            ("limits_max", numbered::MAX_NUMBERED),
        ] {
            general.push((name.to_owned(), value.to_string()));
        }
        general.push(("policies_fingerprint".to_owned(), fingerprint));
        let mismatches = node.policies.mismatches();
        general.push(("policy_mismatches".to_owned(), mismatches.count.to_string()));
        if mismatches.count > 0 {
            let name = printable("name", &mismatches.name);
            general.push(("policy_mismatched".to_owned(), name));
        }
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
                let named = stats.name(name)?;
                let mut value = dictionary(named.series().counts().named());
                if let Some(chain) = named.chain() {
                    value.push_str(",before=");
                    value.push_str(&escaped(&chain.last));
                }
                Some((printable("name", name), value))
            })
            .collect();
        [("stats", general), ("deny", lists), ("names", names)]
    });
    for (section, mut fields) in sections {
        if section == "stats" && config::REGION.is_set() {
            fields.extend(regions(now_ms()));
        }
        let fields: Vec<_> = fields
            .into_iter()
            .map(|(name, value)| (name, value.into()))
            .collect();
        ctx.build_one_section((section.to_owned(), fields))?;
    }
    Ok(())
}

/// What was heard of other regions.
fn regions(now_ms: u64) -> Vec<(String, String)> {
    let own = config::REGION.get().map(|region| region.to_string());
    let mut fields = vec![("region".to_owned(), own.unwrap_or_default())];
    regions::with(|regions| {
        fields.push(("changes_lost".to_owned(), regions.ring.lost().to_string()));
        for peer in regions.peers.list() {
            let told = peer.told(now_ms).into_iter();
            let value = dictionary(told.filter(|(name, _)| *name != "heard_ms"));
            fields.push((format!("region_{}", peer.region), value));
        }
    });
    fields
}

/// Several numbers in one field, as the server's own `keyspace` and `commandstats` have them.
fn dictionary<T: Display>(numbers: impl Iterator<Item = (&'static str, T)>) -> String {
    let numbers: Vec<_> = numbers
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    numbers.join(",")
}

/// A name as a field of INFO, where a line break, a colon, an equals sign or a comma would be read as something else.
/// Two names never become one, and by the kind in front of it none becomes another field's.
fn printable(kind: &str, name: &[u8]) -> String {
    format!("{kind}_{}", escaped(name))
}

fn escaped(name: &[u8]) -> String {
    let mut text = String::new();
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
