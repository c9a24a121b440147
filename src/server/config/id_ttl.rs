//! The setting `id-ttl`: for how long the id of a hit is remembered, as a duration.

use super::text::TextSetting;
use crate::core::duration::{self, Human};
use crate::core::limiter::ids::{DEFAULT_TTL_MS, MAX_TTL_MS, MIN_TTL_MS};
use std::sync::atomic::{AtomicU64, Ordering};

/// See the module. The default is [`DEFAULT_TTL_MS`].
pub static ID_TTL: TextSetting = TextSetting::new("id-ttl", "10m", take);

static MS: AtomicU64 = AtomicU64::new(DEFAULT_TTL_MS);

/// In milliseconds.
pub fn id_ttl_ms() -> u64 {
    MS.load(Ordering::Relaxed)
}

fn take(text: &[u8]) -> Result<String, String> {
    let ms = duration::parse(text).ok();
    let ms = ms.filter(|ms| (MIN_TTL_MS..=MAX_TTL_MS).contains(ms));
    let ms = ms.ok_or("id-ttl is a duration from 1s to 1d, as 10m")?;
    MS.store(ms, Ordering::Relaxed);
    Ok(Human::new(ms).to_string())
}
