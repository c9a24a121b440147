//! An open key, and a closed one.

use super::function;
use super::text::string_bytes;
use redis_module::raw;
use std::ffi::{c_char, c_int, c_longlong, c_void, CStr};
use std::marker::PhantomData;
use std::ptr::NonNull;

/// An open key. Closes itself.
pub struct Key<'a> {
    key: NonNull<raw::RedisModuleKey>,
    name: Name<'a>,
}

/// A key that has been closed, of which may be told: whoever hears of it may delete it.
pub struct ClosedKey<'a> {
    name: Name<'a>,
}

/// The name of a key, one of a call's arguments, and the call's context.
#[derive(Clone, Copy)]
struct Name<'a> {
    ctx: *mut raw::RedisModuleCtx,
    string: *mut raw::RedisModuleString,
    call: PhantomData<&'a ()>,
}

impl Drop for Key<'_> {
    fn drop(&mut self) {
        let close = function!(RedisModule_CloseKey);
        // SAFETY: opened by `Key::open`, and closed only here.
        unsafe { close(self.key.as_ptr()) };
    }
}

impl<'a> Key<'a> {
    /// Opens a key. `None` where it is to be read and is not there.
    ///
    /// # Safety
    /// 1. `ctx` and `name` are what the server passed to a callback, which does not return before `'a` has ended.
    pub(super) unsafe fn open(
        ctx: *mut raw::RedisModuleCtx,
        name: *mut raw::RedisModuleString,
        mode: u32,
    ) -> Option<Self> {
        // The modes are bits of a C `int`, far below its sign.
        let mode = c_int::try_from(mode).unwrap_or_default();
        let open = function!(RedisModule_OpenKey);
        // SAFETY: by 1.
        let key = unsafe { open(ctx, name, mode) };
        Some(Key {
            key: NonNull::new(key)?,
            name: Name {
                ctx,
                string: name,
                call: PhantomData,
            },
        })
    }

    /// Closes the key, so that its events may be notified.
    pub fn close(self) -> ClosedKey<'a> {
        ClosedKey { name: self.name }
    }

    /// The value, if the key holds one of the native type `of`.
    pub fn value(&self, of: *mut raw::RedisModuleType) -> Option<NonNull<c_void>> {
        let get_type = function!(RedisModule_ModuleTypeGetType);
        // SAFETY: the key is open.
        if unsafe { get_type(self.key.as_ptr()) } != of {
            return None;
        }
        let get_value = function!(RedisModule_ModuleTypeGetValue);
        // SAFETY: the key is open.
        NonNull::new(unsafe { get_value(self.key.as_ptr()) })
    }

    /// What the key holds, in words; `None` where there is no key.
    pub fn holds(&self) -> Option<&'static str> {
        let get_type = function!(RedisModule_KeyType);
        // SAFETY: the key is open.
        let key_type = unsafe { get_type(self.key.as_ptr()) };
        match u32::try_from(key_type).unwrap_or(KEYTYPE_EMPTY) {
            KEYTYPE_EMPTY => None,
            1 => Some("a string"),
            2 => Some("a list"),
            3 => Some("a hash"),
            4 => Some("a set"),
            5 => Some("a sorted set"),
            7 => Some("a stream"),
            6 => Some("a value of another module"),
            _ => Some("a value of another type"),
        }
    }

    /// The text, if the key holds a string.
    pub fn text(&self) -> Option<&[u8]> {
        let get_type = function!(RedisModule_KeyType);
        // SAFETY: the key is open.
        if unsafe { get_type(self.key.as_ptr()) } != KEYTYPE_STRING {
            return None;
        }
        let mut length = 0;
        let read = raw::REDISMODULE_READ.cast_signed();
        let get = function!(RedisModule_StringDMA);
        // SAFETY: the key is open.
        let text = unsafe { get(self.key.as_ptr(), &raw mut length, read) };
        // SAFETY: the string's bytes, as many as the server said, which stay as they are while the key is not changed: what
        // changes it needs it exclusively.
        (!text.is_null()).then(|| unsafe { std::slice::from_raw_parts(text.cast::<u8>(), length) })
    }

    /// Makes the key hold `value`, of the native type `of`; what it held is freed and its TTL is gone.
    ///
    /// # Safety
    /// 1. The key is open to write.
    /// 2. `value` is what the callbacks of the type `of` take, and from here on it is the server's.
    pub unsafe fn set_value(&mut self, of: *mut raw::RedisModuleType, value: NonNull<c_void>) {
        let set = function!(RedisModule_ModuleTypeSetValue);
        // SAFETY: by 1 and 2.
        unsafe { set(self.key.as_ptr(), of, value.as_ptr()) };
    }

    /// Deletes the key; what it held is freed. Not propagated. The key is open to write.
    pub fn delete(&mut self) {
        let delete = function!(RedisModule_DeleteKey);
        // SAFETY: the key is open.
        unsafe { delete(self.key.as_ptr()) };
    }

    /// When the key expires, in milliseconds since the Unix epoch; `None` where it does not.
    pub fn expires_ms(&self) -> Option<u64> {
        let get = function!(RedisModule_GetAbsExpire);
        // SAFETY: the key is open.
        let expires_ms = unsafe { get(self.key.as_ptr()) };
        u64::try_from(expires_ms).ok()
    }

    /// Lets the key expire at `at_ms`, in milliseconds since the Unix epoch. Not propagated.
    pub fn expire_at(&mut self, at_ms: u64) {
        let at_ms = c_longlong::try_from(at_ms).unwrap_or(c_longlong::MAX);
        let set = function!(RedisModule_SetAbsExpire);
        // SAFETY: the key is open.
        unsafe { set(self.key.as_ptr(), at_ms) };
    }

    /// Its name.
    pub fn name(&self) -> &[u8] {
        // SAFETY: the name is of a call that goes on.
        unsafe { string_bytes(self.name.string) }
    }

    /// The database that it is in.
    pub fn database(&self) -> i32 {
        let selected = function!(RedisModule_GetSelectedDb);
        // SAFETY: the context of a call that goes on.
        unsafe { selected(self.name.ctx) }
    }

    /// Whether what is done with it comes from a file that is being loaded.
    pub fn is_loading(&self) -> bool {
        let flags = function!(RedisModule_GetContextFlags);
        // SAFETY: the context of a call that goes on.
        let flags = unsafe { flags(self.name.ctx) }.cast_unsigned();
        flags & raw::REDISMODULE_CTX_FLAGS_LOADING != 0
    }

    /// Tells those who WATCH or cache the key that it has changed. (No module hears of that, so it may be open.)
    pub fn signal_modified(&self) {
        let signal = function!(RedisModule_SignalModifiedKey);
        // SAFETY: the name and the context of a call that goes on.
        unsafe { signal(self.name.ctx, self.name.string) };
    }

    /// Sends `DEL name` to replicas and the AOF.
    pub fn replicate_delete(&self) {
        let replicate = function!(RedisModule_Replicate);
        // SAFETY: "s" is a string object, which is what follows.
        unsafe {
            replicate(
                self.name.ctx,
                c"del".as_ptr(),
                c"s".as_ptr(),
                self.name.string,
            )
        };
    }

    /// Sends `command name payload` to replicas and the AOF.
    pub fn replicate(&self, command: &'static CStr, payload: &[u8]) {
        let replicate = function!(RedisModule_Replicate);
        // SAFETY: "sb" is a string object and then a buffer with its length, which is what follows; the server copies.
        unsafe {
            replicate(
                self.name.ctx,
                command.as_ptr(),
                c"sb".as_ptr(),
                self.name.string,
                payload.as_ptr().cast::<c_char>(),
                payload.len(),
            )
        };
    }
}

impl ClosedKey<'_> {
    /// Publishes a keyspace event of the module class, which is off unless `notify-keyspace-events` asks for it. A module
    /// that has subscribed to it is called before this returns, and may do what it likes with any key: so none may be open.
    pub fn notify(&self, event: &'static CStr) {
        let notify = function!(RedisModule_NotifyKeyspaceEvent);
        // SAFETY: the name and the context of a call that goes on.
        unsafe {
            notify(
                self.name.ctx,
                raw::REDISMODULE_NOTIFY_MODULE,
                event.as_ptr(),
                self.name.string,
            )
        };
    }
}

const KEYTYPE_EMPTY: u32 = 0;
const KEYTYPE_STRING: c_int = 1;
