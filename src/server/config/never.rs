//! The setting `never-deny`: values that no deny list may have or match, with spaces between them.
//!
//! Nothing by default: feeds of addresses that nobody should come from have private ranges and 127.0.0.0/8 in them, and
//! would be refused whole by a server that was merely upgraded; and where all callers come from private addresses, these are
//! who is denied.

use super::region::Told;
use crate::core::node::deny::Never;
use crate::server::registry;
use redis_module::configuration::{ConfigurationContext, ConfigurationValue};
use redis_module::{RedisError, RedisString};
use std::sync::{Mutex, PoisonError};

/// Its name.
pub const NAME: &str = "never-deny";

/// See the module.
pub struct NeverDeny {
    text: Mutex<String>,
    told: Told,
}

/// See the module.
pub static NEVER_DENY: NeverDeny = NeverDeny {
    text: Mutex::new(String::new()),
    told: Told::nothing(),
};

impl NeverDeny {
    fn text(&self) -> String {
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        text.clone()
    }

    /// What it protects.
    pub fn never(&self) -> Never {
        Never::read(self.text().as_bytes()).unwrap_or_default() // it was read when it was set
    }

    /// Takes values; the error says which is none.
    pub fn take(&self, text: &[u8]) -> Result<(), String> {
        let refused = |why: &str| {
            format!("never-deny is addresses, ranges and texts with spaces between them: {why}")
        };
        let text = std::str::from_utf8(text).ok();
        // A string of the server's is made of it, for CONFIG GET, by way of one that ends at a NUL.
        let text = text.filter(|text| !text.contains('\0'));
        let text = text.ok_or_else(|| refused("expected UTF-8 without a NUL"))?;
        let never = Never::read(text.as_bytes()).map_err(|error| {
            let error = error.to_string();
            refused(error.strip_prefix("ERR ").unwrap_or(&error))
        })?;
        let mut held = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        text.clone_into(&mut held);
        drop(held);
        registry::set_never(never);
        Ok(())
    }
}

impl ConfigurationValue<RedisString> for NeverDeny {
    fn get(&self, _: &ConfigurationContext) -> RedisString {
        self.told.tell(self.text())
    }

    fn set(&self, _: &ConfigurationContext, text: RedisString) -> Result<(), RedisError> {
        self.take(text.as_slice()).map_err(RedisError::String)
    }
}
