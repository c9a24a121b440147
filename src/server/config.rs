//! The module's settings: `CONFIG GET/SET ratelimit.*`, the server's own configuration file, or load arguments
//! (`--loadmodule libratelimit.so sliding-entries 256`).

mod id_ttl;
mod never;
mod region;
mod text;

use super::raw::{Call, Loading};
use crate::core::algorithm::log::{DEFAULT_ENTRIES, MAX_ENTRIES, MIN_ENTRIES};
use crate::core::limit::MAX_POLICIES;
use crate::core::limiter::ids::{Bounds, DEFAULT_IDS, MAX_IDS};
use crate::core::node::deny;
use crate::core::node::policy::DEFAULT_POLICIES;
use crate::core::node::stats::top::{DEFAULT_IDENTIFIERS, MAX_IDENTIFIERS, MIN_IDENTIFIERS};
use crate::core::node::stats::{self, DEFAULT_NAMES, MAX_NAMES};
use id_ttl::{id_ttl_ms, ID_TTL};
pub use never::never;
use never::NEVER_DENY;
pub use region::{known, sharing, REGION};
use region::{SharingChoice, SHARING, SHARING_NAME};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use text::TextSetting;

/// A setting: an integer within bounds, which the server holds.
pub struct Setting {
    /// Its name behind `ratelimit.`.
    pub name: &'static str,
    /// What it is unless somebody says otherwise.
    pub default: i64,
    /// The least it may be.
    pub least: i64,
    /// The most it may be.
    pub most: i64,
    /// Where the server keeps it.
    pub value: AtomicI64,
}

impl Setting {
    #[allow(
        clippy::cast_possible_wrap,
        reason = "the bounds are constants, far below 2^63"
    )]
    const fn new(name: &'static str, default: usize, least: usize, most: usize) -> Self {
        Self {
            name,
            default: default as i64,
            least: least as i64,
            most: most as i64,
            value: AtomicI64::new(default as i64),
        }
    }

    /// What it is.
    pub fn get(&self) -> usize {
        usize::try_from(self.value.load(Ordering::Relaxed)).unwrap_or(0)
    }
}

/// The most entries in the log of a sliding limiter that is created from now on.
pub static SLIDING_ENTRIES: Setting = Setting::new(
    "sliding-entries",
    DEFAULT_ENTRIES as usize,
    MIN_ENTRIES as usize,
    MAX_ENTRIES as usize,
);
/// How many ids of hits a key remembers.
pub static IDS: Setting = Setting::new("ids", DEFAULT_IDS, 1, MAX_IDS);
/// How many policies there may be.
pub static POLICIES: Setting = Setting::new("policies", DEFAULT_POLICIES, 0, MAX_POLICIES);
/// How many deny lists there may be.
pub static DENY_LISTS: Setting = Setting::new("deny-lists", 100, 0, 10_000);
/// How many entries all deny lists may have. (A list that is being replaced is there twice.)
pub static DENY_ENTRIES: Setting = Setting::new("deny-entries", 4_000_000, 0, 100_000_000);
/// How many bytes of text (addresses and ranges not counted) all deny lists may have.
pub static DENY_TEXT_BYTES: Setting = Setting::new("deny-text-bytes", 64 << 20, 0, 16 << 30);
/// Under how many names statistics are counted; the others count as `other`.
pub static STATS_NAMES: Setting = Setting::new("stats-names", DEFAULT_NAMES, 0, MAX_NAMES);
/// How many identifiers are kept in each list of the most allowed and the most denied.
pub static STATS_IDENTIFIERS: Setting = Setting::new(
    "stats-identifiers",
    DEFAULT_IDENTIFIERS,
    MIN_IDENTIFIERS,
    MAX_IDENTIFIERS,
);

/// How many keys that have changed are kept for other regions.
pub static REGION_CHANGES: Setting = Setting::new("region-changes", 100_000, 1_000, 100_000_000);
/// A key is sent to other regions once it has used so many percent of a limit.
pub static REGION_QUIET: Setting = Setting::new("region-quiet", 0, 0, 100);

/// Every setting that is a number.
static SETTINGS: [&Setting; 10] = [
    &SLIDING_ENTRIES,
    &IDS,
    &POLICIES,
    &DENY_LISTS,
    &DENY_ENTRIES,
    &DENY_TEXT_BYTES,
    &STATS_NAMES,
    &STATS_IDENTIFIERS,
    &REGION_CHANGES,
    &REGION_QUIET,
];

/// Every setting that is a text.
static TEXTS: [&TextSetting; 4] = [&region::NAME, &region::KNOWN, &NEVER_DENY, &ID_TTL];

/// Whether the module brings redis-cell's command too: `yes` or `no`, once it is loaded.
static CL_THROTTLE: AtomicBool = AtomicBool::new(false);
const CL_THROTTLE_NAME: &str = "cl-throttle";

/// See [`CL_THROTTLE`].
pub fn has_cl_throttle() -> bool {
    CL_THROTTLE.load(Ordering::Relaxed)
}

/// See [`SLIDING_ENTRIES`].
pub fn sliding_entries() -> u16 {
    u16::try_from(SLIDING_ENTRIES.get()).unwrap_or(DEFAULT_ENTRIES)
}

/// How many ids of hits a key remembers, and for how long.
pub fn ids() -> Bounds {
    Bounds {
        most: IDS.get(),
        ttl_ms: id_ttl_ms(),
    }
}

/// See [`POLICIES`].
pub fn policies() -> usize {
    POLICIES.get()
}

/// The bounds of deny lists.
pub fn deny_bounds() -> deny::Bounds {
    deny::Bounds {
        lists: DENY_LISTS.get(),
        entries: DENY_ENTRIES.get(),
        text_bytes: DENY_TEXT_BYTES.get(),
    }
}

/// The bounds of statistics.
pub fn stats_bounds() -> stats::Bounds {
    stats::Bounds {
        names: STATS_NAMES.get(),
        identifiers: STATS_IDENTIFIERS.get(),
    }
}

/// Whether a rewritten AOF begins as an RDB file, which holds what belongs to the node too. (It does by default.)
pub fn has_rdb_preamble(call: &Call) -> bool {
    call.server_setting("aof-use-rdb-preamble").as_deref() != Some(b"no")
}

/// Registers the settings and gives them their values: the configuration file's, or those of MODULE LOADEX, and then the
/// load arguments'. The error says what is wrong.
pub fn load(loading: &Loading) -> Result<(), String> {
    for setting in SETTINGS {
        let bounds = [setting.least, setting.most];
        loading.add_setting(setting.name, &setting.value, setting.default, bounds);
    }
    for setting in TEXTS {
        loading.add_text_setting(setting.name, setting, setting.default);
    }
    loading.add_switch(CL_THROTTLE_NAME, &CL_THROTTLE);
    loading.add_choice(SHARING_NAME, &SHARING, SharingChoice::OPEN);
    loading.load_settings()?;
    if loading.has_unknown_settings() {
        return Err(format!(
            "ratelimit: MODULE LOADEX gives a setting that there is not: expected {}",
            names("ratelimit.")
        ));
    }
    for pair in loading.args().chunks(2) {
        let [name, value] = pair else {
            return Err("ratelimit: load arguments are pairs of a name and a value".to_owned());
        };
        set(name, value)?;
    }
    Ok(())
}

/// The names of all settings, for an error.
fn names(prefix: &str) -> String {
    let numbers = SETTINGS.iter().map(|setting| setting.name);
    let texts = TEXTS.iter().map(|setting| setting.name);
    let names = numbers.chain(texts).chain([SHARING_NAME, CL_THROTTLE_NAME]);
    let names: Vec<String> = names.map(|name| format!("{prefix}{name}")).collect();
    names.join(", ")
}

/// Does what a load argument says.
fn set(name: &[u8], value: &[u8]) -> Result<(), String> {
    if name == CL_THROTTLE_NAME.as_bytes() {
        return set_cl_throttle(value);
    }
    if name == SHARING_NAME.as_bytes() {
        return region::take_sharing(value);
    }
    if let Some(text) = TEXTS.iter().find(|text| text.name.as_bytes() == name) {
        let taken = text.take(value);
        return taken.map_err(|why| format!("ratelimit: {}: {why}", text.name));
    }
    let named = |setting: &&Setting| setting.name.as_bytes() == name;
    let Some(setting) = SETTINGS.into_iter().find(named) else {
        return Err(format!(
            "ratelimit: no setting is named '{}': expected {}",
            String::from_utf8_lossy(name),
            names("")
        ));
    };
    let value = std::str::from_utf8(value).ok();
    let value = value.and_then(|value| value.parse().ok());
    let value = value.filter(|value| (setting.least..=setting.most).contains(value));
    let value = value.ok_or_else(|| {
        format!(
            "ratelimit: {} must be an integer from {} to {}",
            setting.name, setting.least, setting.most
        )
    })?;
    setting.value.store(value, Ordering::Relaxed);
    Ok(())
}

fn set_cl_throttle(value: &[u8]) -> Result<(), String> {
    let is = |word: &str| value.eq_ignore_ascii_case(word.as_bytes());
    if !is("yes") && !is("no") {
        return Err(format!("ratelimit: {CL_THROTTLE_NAME} must be yes or no"));
    }
    CL_THROTTLE.store(is("yes"), Ordering::Relaxed);
    Ok(())
}
