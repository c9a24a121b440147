//! A line in the server's log.
//!
//! The crate's own logging passes the text as the C format string: a `%s` in it ends the server, a NUL panics. Ours passes
//! it as an argument, and what is not printable as an escape, so that no text ends the line and begins one of its own.

use super::function;
use std::ffi::{CStr, CString};
use std::fmt::Write;

/// The most bytes of a text. The server cuts its lines at 1024.
const MAX_BYTES: usize = 900;

/// Logs what the operator is to look at.
pub fn warning(text: &str) {
    line(c"warning", text);
}

/// Logs what the operator may want to know.
pub fn notice(text: &str) {
    line(c"notice", text);
}

fn line(level: &CStr, text: &str) {
    let text = CString::new(printable(text)).unwrap_or_default();
    let log = function!(RedisModule_Log);
    // SAFETY: the format takes one C string, which is what follows; the server copies. It asks for no context.
    unsafe {
        log(
            std::ptr::null_mut(),
            level.as_ptr(),
            c"%s".as_ptr(),
            text.as_ptr(),
        )
    };
}

/// The text with `\x..` for every byte that is not printable ASCII, and with `...` where it is cut.
fn printable(text: &str) -> String {
    let mut line = String::new();
    for byte in text.bytes() {
        if line.len() > MAX_BYTES {
            line.push_str("...");
            break;
        }
        if byte == b' ' || byte.is_ascii_graphic() {
            line.push(char::from(byte));
        } else {
            let _ = write!(line, "\\x{byte:02x}"); // to a string, which takes everything
        }
    }
    line
}
