//! Strings of the server's: those of a call's arguments, and our own.

use super::function;
use redis_module::raw;
use std::ffi::c_char;

/// # Safety
/// 1. `string` is an argument of a call, which does not return before `'a` has ended. (Nobody changes it meanwhile.)
pub(super) unsafe fn string_bytes<'a>(string: *const raw::RedisModuleString) -> &'a [u8] {
    let mut length = 0;
    let get = function!(RedisModule_StringPtrLen);
    // SAFETY: by 1.
    let bytes = unsafe { get(string, &mut length) };
    // SAFETY: by 1, they are there for `'a`, as many as the server said.
    unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), length) }
}

/// A string of the server's that is ours to free.
pub(super) struct Text {
    pub(super) ctx: *mut raw::RedisModuleCtx,
    pub(super) string: *mut raw::RedisModuleString,
}

impl Text {
    pub(super) fn new(ctx: *mut raw::RedisModuleCtx, bytes: &[u8]) -> Self {
        let create = function!(RedisModule_CreateString);
        // SAFETY: the server copies as many bytes as there are.
        let string = unsafe { create(ctx, bytes.as_ptr().cast::<c_char>(), bytes.len()) };
        Self { ctx, string }
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        let free = function!(RedisModule_FreeString);
        // SAFETY: it was made for us, and is freed only here.
        unsafe { free(self.ctx, self.string) };
    }
}
