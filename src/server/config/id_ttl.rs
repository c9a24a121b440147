//! The setting `id-ttl`: for how long the id of a hit is remembered, as a duration.

use super::text::LastTold;
use crate::core::duration::{self, Human};
use crate::core::limiter::ids::{DEFAULT_TTL_MS, MAX_TTL_MS, MIN_TTL_MS};
use redis_module::configuration::{ConfigurationContext, ConfigurationValue};
use redis_module::{RedisError, RedisString};
use std::sync::atomic::{AtomicU64, Ordering};

/// Its name.
pub const NAME: &str = "id-ttl";

/// What it is unless somebody says otherwise: [`DEFAULT_TTL_MS`].
pub const DEFAULT: &str = "10m";

const EXPECTED: &str = "id-ttl is a duration from 1s to 1d, as 10m";

/// See the module.
pub struct IdTtl {
    ms: AtomicU64,
    told: LastTold,
}

/// See the module.
pub static ID_TTL: IdTtl = IdTtl {
    ms: AtomicU64::new(DEFAULT_TTL_MS),
    told: LastTold::nothing(),
};

impl IdTtl {
    /// In milliseconds.
    pub fn ms(&self) -> u64 {
        self.ms.load(Ordering::Relaxed)
    }

    /// Takes a duration; the error says what is one.
    pub fn take(&self, text: &[u8]) -> Result<(), String> {
        let ms = duration::parse(text).ok();
        let ms = ms.filter(|ms| (MIN_TTL_MS..=MAX_TTL_MS).contains(ms));
        let ms = ms.ok_or(EXPECTED)?;
        self.ms.store(ms, Ordering::Relaxed);
        Ok(())
    }
}

impl ConfigurationValue<RedisString> for IdTtl {
    fn get(&self, _: &ConfigurationContext) -> RedisString {
        self.told.tell(Human::new(self.ms()).to_string())
    }

    fn set(&self, _: &ConfigurationContext, text: RedisString) -> Result<(), RedisError> {
        self.take(text.as_slice()).map_err(RedisError::String)
    }
}
