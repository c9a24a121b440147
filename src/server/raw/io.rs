//! A value on its way: into and out of an RDB file or a DUMP, the AOF, a digest, another place in memory.

use super::function;
use redis_module::raw;
use std::ffi::{c_char, c_void, CStr};
use std::ptr::NonNull;

/// Saves bytes to an RDB file or a DUMP.
///
/// # Safety
/// 1. `rdb` is what the server passed to the `rdb_save` or `aux_save` callback, which has not returned yet.
pub unsafe fn save_bytes(rdb: *mut raw::RedisModuleIO, bytes: &[u8]) {
    let save = function!(RedisModule_SaveStringBuffer);
    // SAFETY: by 1; the server copies.
    unsafe { save(rdb, bytes.as_ptr().cast::<c_char>(), bytes.len()) };
}

/// Loads what [`save_bytes`] saved and hands it to `read`; `None` where it is cut short or is no such thing, or where
/// `read` says so.
///
/// # Safety
/// 1. `rdb` is what the server passed to the `rdb_load` or `aux_load` callback, which has not returned yet.
/// 2. The module has declared that it handles I/O errors; else the server exits at the first.
pub unsafe fn load_bytes<T>(
    rdb: *mut raw::RedisModuleIO,
    read: impl FnOnce(&[u8]) -> Option<T>,
) -> Option<T> {
    /// What the server allocated for us, which is ours to free.
    struct Loaded(NonNull<c_char>);

    impl Drop for Loaded {
        fn drop(&mut self) {
            let free = function!(RedisModule_Free);
            // SAFETY: the server allocated it, and this is its only owner.
            unsafe { free(self.0.as_ptr().cast::<c_void>()) };
        }
    }

    let mut length = 0;
    let load = function!(RedisModule_LoadStringBuffer);
    // SAFETY: by 1 and 2.
    let loaded = Loaded(NonNull::new(unsafe { load(rdb, &mut length) })?);
    let is_error = function!(RedisModule_IsIOError);
    // SAFETY: by 1.
    if unsafe { is_error(rdb) } != 0 {
        return None;
    }
    // SAFETY: there was no error, so `length` bytes are there, until `loaded` is dropped.
    read(unsafe { std::slice::from_raw_parts(loaded.0.as_ptr().cast::<u8>(), length) })
}

/// Writes `command key payload` to the AOF that is being rewritten.
///
/// # Safety
/// 1. `aof` and `key` are what the server passed to the `aof_rewrite` callback, which has not returned yet.
pub unsafe fn emit_aof(
    aof: *mut raw::RedisModuleIO,
    command: &'static CStr,
    key: *mut raw::RedisModuleString,
    payload: &[u8],
) {
    let emit = function!(RedisModule_EmitAOF);
    // SAFETY: by 1; "sb" is a string object and then a buffer with its length, which is what follows.
    unsafe {
        emit(
            aof,
            command.as_ptr(),
            c"sb".as_ptr(),
            key,
            payload.as_ptr().cast::<c_char>(),
            payload.len(),
        )
    };
}

/// Adds bytes, as one element, to a digest.
///
/// # Safety
/// 1. `digest` is what the server passed to the `digest` callback, which has not returned yet.
pub unsafe fn digest_bytes(digest: *mut raw::RedisModuleDigest, bytes: &[u8]) {
    let add = function!(RedisModule_DigestAddStringBuffer);
    // SAFETY: by 1; the server reads the bytes before it returns.
    unsafe { add(digest, bytes.as_ptr().cast::<c_char>(), bytes.len()) };
    let end = function!(RedisModule_DigestEndSequence);
    // SAFETY: by 1.
    unsafe { end(digest) };
}

/// Moves an allocation to where it fragments memory less. `None` where it stays.
///
/// # Safety
/// 1. `ctx` is what the server passed to the `defrag` callback, which has not returned yet.
/// 2. `allocation` came from the server's allocator, and nobody uses the old address if a new one is returned.
pub unsafe fn relocate<T>(
    ctx: *mut raw::RedisModuleDefragCtx,
    allocation: NonNull<T>,
) -> Option<NonNull<T>> {
    // What the server's allocator promises whatever the size: it is not told what an allocation is for.
    const { assert!(align_of::<T>() <= align_of::<u64>()) };
    let relocate = function!(RedisModule_DefragAlloc);
    // SAFETY: by 1 and 2.
    let moved = unsafe { relocate(ctx, allocation.as_ptr().cast::<c_void>()) };
    NonNull::new(moved.cast::<T>())
}
