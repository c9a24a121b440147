//! Settings that are texts.

use redis_module::configuration::{ConfigurationContext, ConfigurationValue};
use redis_module::{RedisError, RedisModuleString, RedisString};
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, PoisonError};

/// A setting that is kept as a text.
pub struct TextSetting {
    /// Its name behind `ratelimit.`.
    pub name: &'static str,
    /// What it is unless somebody says otherwise.
    pub default: &'static str,
    /// Takes a text that somebody sets: what CONFIG GET shows of it, or what was expected.
    take: fn(&[u8]) -> Result<String, String>,
    text: Mutex<String>,
    told: LastTold,
}

impl TextSetting {
    /// Empty until the server gives it its value.
    pub const fn new(
        name: &'static str,
        default: &'static str,
        take: fn(&[u8]) -> Result<String, String>,
    ) -> Self {
        Self {
            name,
            default,
            take,
            text: Mutex::new(String::new()),
            told: LastTold::nothing(),
        }
    }

    /// The text.
    pub fn text(&self) -> String {
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        text.clone()
    }

    /// Takes a text, or says what was expected.
    pub fn take(&self, text: &[u8]) -> Result<(), String> {
        let shown = (self.take)(text)?;
        *self.text.lock().unwrap_or_else(PoisonError::into_inner) = shown;
        Ok(())
    }
}

impl ConfigurationValue<RedisString> for TextSetting {
    fn get(&self, _: &ConfigurationContext) -> RedisString {
        self.told.tell(self.text())
    }

    fn set(&self, _: &ConfigurationContext, text: RedisString) -> Result<(), RedisError> {
        self.take(text.as_slice()).map_err(RedisError::String)
    }
}

/// What a text setting was told to the server last. The server takes what it is told for ours and does not free it, so it is
/// told the same string while the text is the same: who watches all settings would otherwise leave one behind each time.
struct LastTold(AtomicPtr<RedisModuleString>);

impl LastTold {
    /// To begin with.
    const fn nothing() -> Self {
        Self(AtomicPtr::new(std::ptr::null_mut()))
    }

    /// The text as a string of the server's.
    fn tell(&self, text: String) -> RedisString {
        let again = |string| RedisString::from_redis_module_string(std::ptr::null_mut(), string);
        let told = self.0.load(Ordering::Relaxed);
        if !told.is_null() {
            let told = again(told);
            if told.as_slice() == text.as_bytes() {
                return told;
            }
        }
        let string = ManuallyDrop::new(RedisString::create(None, text)).inner;
        self.0.store(string, Ordering::Relaxed);
        again(string)
    }
}
