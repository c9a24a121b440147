//! What stands in the place of the module's audit: whoever changes something here is the process itself, which knows.

use crate::server::raw::Call;

pub fn changed(_: &Call, _subject: String, _done: &str, _detail: String) {}

pub fn note(_by: String, _subject: String, _done: &str, _detail: String) {}
