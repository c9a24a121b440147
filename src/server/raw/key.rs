//! The keys of a call, of which one is open at a time.
//!
//! To open a key is to run other modules: the server tells those that have subscribed of one that has `expired`, that is not
//! there (`keymiss`) or that is `new`, before it returns, and they may delete whatever key they like. What a command has
//! borrowed from a key that is open then is freed under its hands. So opening borrows the one [`Keys`] of a call, and the
//! compiler sees to it that nothing is open, or borrowed from a key, when the next is opened or an event is published.

use super::function;
use super::text::{string_bytes, Text};
use super::Word;
use redis_module::raw;
use std::ffi::{c_char, c_int, c_longlong, c_void, CStr};
use std::marker::PhantomData;
use std::ptr::NonNull;

/// What a call opens its keys by: there is one of a call.
pub struct Keys<'a> {
    ctx: *mut raw::RedisModuleCtx,
    argv: &'a [*mut raw::RedisModuleString],
}

/// An open key. Closes itself.
pub struct Key<'a> {
    key: NonNull<raw::RedisModuleKey>,
    ctx: *mut raw::RedisModuleCtx,
    name: *mut raw::RedisModuleString,
    keys: PhantomData<&'a mut ()>,
}

const TO_READ: u32 = raw::REDISMODULE_READ | raw::REDISMODULE_OPEN_KEY_NOTOUCH;
const TO_WRITE: u32 = raw::REDISMODULE_READ | raw::REDISMODULE_WRITE;

impl<'a> Keys<'a> {
    /// # Safety
    /// 1. `ctx` and `argv` are what the server passed to a callback, which does not return before `'a` has ended.
    /// 2. There is no other of that callback.
    pub(super) unsafe fn new(
        ctx: *mut raw::RedisModuleCtx,
        argv: &'a [*mut raw::RedisModuleString],
    ) -> Self {
        Keys { ctx, argv }
    }

    /// Opens the key that is argument `index`, to change it. `None` where there is no such argument.
    pub fn open_to_write(&mut self, index: usize) -> Option<Key<'_>> {
        let name = *self.argv.get(index)?;
        // SAFETY: the call's own context, and one of its arguments; nothing of the call's is open.
        unsafe { Key::open(self.ctx, name, TO_WRITE) }
    }

    /// Opens the key that is argument `index`, to look at it and leave no trace: its idle time and the hit statistics
    /// stay as they are. `None` where there is no such key.
    pub fn open_to_read(&mut self, index: usize) -> Option<Key<'_>> {
        let name = *self.argv.get(index)?;
        // SAFETY: as above.
        unsafe { Key::open(self.ctx, name, TO_READ) }
    }

    /// Looks at the key of that name, as [`Keys::open_to_read`] does.
    pub fn look_at<T>(&mut self, name: &[u8], look: impl FnOnce(Key) -> Option<T>) -> Option<T> {
        let name = Text::new(self.ctx, name);
        // SAFETY: the call's own context, and a string that is freed after the key is closed, before this returns.
        let key = unsafe { Key::open(self.ctx, name.string, TO_READ) };
        look(key?)
    }

    /// Publishes a keyspace event of the module class, of the key that is argument `index`. It is off unless
    /// `notify-keyspace-events` asks for it, or a module has subscribed to it.
    pub fn notify(&mut self, index: usize, event: &'static CStr) {
        let Some(name) = self.argv.get(index) else {
            return;
        };
        let notify = function!(RedisModule_NotifyKeyspaceEvent);
        // SAFETY: the call's own context, and one of its arguments; nothing of the call's is open.
        unsafe {
            notify(
                self.ctx,
                raw::REDISMODULE_NOTIFY_MODULE,
                event.as_ptr(),
                *name,
            )
        };
    }
}

impl Drop for Key<'_> {
    fn drop(&mut self) {
        let close = function!(RedisModule_CloseKey);
        // SAFETY: opened by `Key::open`, and closed only here.
        unsafe { close(self.key.as_ptr()) };
    }
}

impl Key<'_> {
    /// Opens a key. `None` where it is to be read and is not there.
    ///
    /// # Safety
    /// 1. `ctx` and `name` are what the server passed to a callback, which does not return before `'a` has ended.
    /// 2. Nobody uses what was borrowed from a key of that callback.
    unsafe fn open(
        ctx: *mut raw::RedisModuleCtx,
        name: *mut raw::RedisModuleString,
        mode: u32,
    ) -> Option<Self> {
        // The modes are bits of a C `int`, far below its sign.
        let mode = c_int::try_from(mode).unwrap_or_default();
        let open = function!(RedisModule_OpenKey);
        // SAFETY: by 1 and 2.
        let key = unsafe { open(ctx, name, mode) };
        Some(Key {
            key: NonNull::new(key)?,
            ctx,
            name,
            keys: PhantomData,
        })
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

    /// Makes the key hold `value`, of the native type `of`; what it held is freed and its TTL is gone. (A module that deletes
    /// the very key upon hearing that it is `new` ends the server, as it does with SET.)
    ///
    /// # Safety
    /// 1. The key is open to write, and nobody uses what was borrowed from it.
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
        unsafe { string_bytes(self.name) }
    }

    /// The database that it is in.
    pub fn database(&self) -> i32 {
        let selected = function!(RedisModule_GetSelectedDb);
        // SAFETY: the context of a call that goes on.
        unsafe { selected(self.ctx) }
    }

    /// Whether what is done with it comes from a file that is being loaded.
    pub fn is_loading(&self) -> bool {
        let flags = function!(RedisModule_GetContextFlags);
        // SAFETY: the context of a call that goes on.
        let flags = unsafe { flags(self.ctx) }.cast_unsigned();
        flags & raw::REDISMODULE_CTX_FLAGS_LOADING != 0
    }

    /// Tells those who WATCH or cache the key that it has changed. (No module hears of that, so it may be open.)
    pub fn signal_modified(&self) {
        let signal = function!(RedisModule_SignalModifiedKey);
        // SAFETY: the name and the context of a call that goes on.
        unsafe { signal(self.ctx, self.name) };
    }

    /// Sends `DEL name` to replicas and the AOF.
    pub fn replicate_delete(&self) {
        let replicate = function!(RedisModule_Replicate);
        // SAFETY: "s" is a string object, which is what follows.
        unsafe { replicate(self.ctx, c"del".as_ptr(), c"s".as_ptr(), self.name) };
    }

    /// Sends `command name payload word` to replicas and the AOF, the last as the call brought it.
    #[inline(always)]
    pub fn replicate_with_word(&self, command: &'static CStr, payload: &[u8], word: Word) {
        let replicate = function!(RedisModule_Replicate);
        // SAFETY: "sbs" is a string object, a buffer with its length, and a string object, which is what follows; the server
        // copies the buffer, and holds the objects for as long as it needs them.
        unsafe {
            replicate(
                self.ctx,
                command.as_ptr(),
                c"sbs".as_ptr(),
                self.name,
                payload.as_ptr().cast::<c_char>(),
                payload.len(),
                word.string(),
            )
        };
    }

    /// Sends `command name payload more` to replicas and the AOF.
    pub fn replicate_with(&self, command: &'static CStr, payload: &[u8], more: &[u8]) {
        let replicate = function!(RedisModule_Replicate);
        // SAFETY: "sbb" is a string object and then two buffers with their lengths, which is what follows; the server copies.
        unsafe {
            replicate(
                self.ctx,
                command.as_ptr(),
                c"sbb".as_ptr(),
                self.name,
                payload.as_ptr().cast::<c_char>(),
                payload.len(),
                more.as_ptr().cast::<c_char>(),
                more.len(),
            )
        };
    }

    /// Sends `command name payload` to replicas and the AOF.
    pub fn replicate(&self, command: &'static CStr, payload: &[u8]) {
        let replicate = function!(RedisModule_Replicate);
        // SAFETY: "sb" is a string object and then a buffer with its length, which is what follows; the server copies.
        unsafe {
            replicate(
                self.ctx,
                command.as_ptr(),
                c"sb".as_ptr(),
                self.name,
                payload.as_ptr().cast::<c_char>(),
                payload.len(),
            )
        };
    }
}

const KEYTYPE_EMPTY: u32 = 0;
const KEYTYPE_STRING: c_int = 1;
