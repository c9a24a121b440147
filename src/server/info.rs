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
        let mut general = Fields::default();
        general.push("version", env!("CARGO_PKG_VERSION"));
        general.push("commit", COMMIT);
        for (name, count) in stats.total().named() {
            general.push(name, count);
        }
        for algorithm in Algorithm::ALL {
            let counts = stats.algorithm(algorithm).counts();
            general.push(algorithm.name(), dictionary(counts.named()));
        }
        general.push("unnamed", dictionary(stats.unnamed_counts().named()));
        general.push("policies", node.policies.len());
        general.push("deny_lists", deny.summaries().count());
        general.push("deny_entries", deny.len());
        general.push("names", stats.names_len());
        general.push("memory_bytes", node.memory_bytes());
        general.push("limits", numbered::INTERNER.count());
        general.push("limits_max", numbered::MAX_NUMBERED);
        general.push("policies_fingerprint", fingerprint);
        let mismatches = node.policies.mismatches();
        general.push("policy_mismatches", mismatches.count);
        if mismatches.count > 0 {
            general.push("policy_mismatched", printable("name", &mismatches.name));
        }
        general.push("policies_changed_ms", node.policies.changed_ms());
        general.push("stats_unwritten", stats.unwritten());
        let mut lists = Fields::default();
        for (name, list) in deny.summaries() {
            let (entries, fingerprint) = (list.entries, list.fingerprint);
            let value = format!(
                "entries={entries},fingerprint={fingerprint:016x},changed_ms={}",
                list.changed_ms
            );
            lists.push(&printable("list", name), value);
        }
        let mut names = Fields::default();
        for name in stats.names() {
            let Some(named) = stats.name(name) else {
                continue;
            };
            let mut value = dictionary(named.series().counts().named());
            if let Some(chain) = named.chain() {
                value.push_str(",before=");
                value.push_str(&escaped(&chain.last));
            }
            names.push(&printable("name", name), value);
        }
        [("stats", general), ("deny", lists), ("names", names)]
    });
    for (section, mut fields) in sections {
        if section == "stats" && config::REGION.is_set() {
            regions(&mut fields, now_ms());
        }
        let fields = fields.0.into_iter();
        let fields = fields.map(|(name, value)| (name, value.into()));
        ctx.build_one_section((section.to_owned(), fields.collect::<Vec<_>>()))?;
    }
    Ok(())
}

/// The fields of a section: names and values.
#[derive(Default)]
struct Fields(Vec<(String, String)>);

impl Fields {
    fn push(&mut self, name: &str, value: impl Display) {
        self.0.push((name.to_owned(), value.to_string()));
    }
}

/// What was heard of other regions.
fn regions(fields: &mut Fields, now_ms: u64) {
    let own = config::REGION.get().map(|region| region.to_string());
    fields.push("region", own.unwrap_or_default());
    regions::with(|regions| {
        fields.push("changes_lost", regions.ring.lost());
        for peer in regions.peers.list() {
            let told = peer.told(now_ms).into_iter();
            let value = dictionary(told.filter(|(name, _)| *name != "heard_ms"));
            fields.push(&format!("region_{}", peer.region), value);
        }
    });
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
