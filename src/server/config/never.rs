//! The setting `never-deny`: values that no deny list may have or match, and the words `loopback` and `private` for the ranges that
//! everybody means by them, with spaces between them.
//!
//! Nothing by default: feeds of addresses that nobody should come from have private ranges and 127.0.0.0/8 in them, and
//! would be refused whole by a server that was merely upgraded; and where all callers come from private addresses, these are
//! who is denied.

use super::text::TextSetting;
use crate::core::node::deny::Never;

/// See the module.
pub static NEVER_DENY: TextSetting = TextSetting::new("never-deny", "", check);

/// What no deny list may deny.
pub fn never() -> Never {
    Never::read(NEVER_DENY.text().as_bytes()).unwrap_or_default() // it was read when it was set
}

fn check(text: &[u8]) -> Result<String, String> {
    let refused = |why: &str| {
        format!("never-deny is addresses, ranges and texts with spaces between them: {why}")
    };
    let text = std::str::from_utf8(text).ok();
    // A string of the server's is made of it, for CONFIG GET, by way of one that ends at a NUL.
    let text = text.filter(|text| !text.contains('\0'));
    let text = text.ok_or_else(|| refused("expected UTF-8 without a NUL"))?;
    Never::read(text.as_bytes()).map_err(|error| {
        let error = error.to_string();
        refused(error.strip_prefix("ERR ").unwrap_or(&error))
    })?;
    Ok(text.to_owned())
}
