//! The only caller of the server's function pointers.
//!
//! Everything here is a thin, typed wrapper: arguments are borrowed and not retained, a reply is written value by value,
//! an open key closes itself. The rest of the wing is safe code over these types.
//!
//! One argument serves every call in this file, so it is stated once: **a [`Call`] and what is borrowed from it live
//! only while the server runs the callback that was given its pointers** (the lifetime `'a`), and the server runs module
//! callbacks on one thread, under its global lock. The `SAFETY` lines below name what a call needs beyond that.

mod client;

pub use client::{notice, User};

use redis_module::raw;
use smallvec::SmallVec;
use std::ffi::{c_char, c_int, c_long, c_longlong, c_void, CStr, CString};
use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;

/// A function of the server's. Every one that this file calls exists since Redis 7.0, and the module refuses to load on
/// an older server ([`super::register::commands`]), so there is always one.
fn required<F>(function: Option<F>) -> F {
    match function {
        Some(function) => function,
        None => std::process::abort(),
    }
}

/// The arguments of a call, as bytes; a usual call's stay on the stack.
pub type Args<'a> = SmallVec<[&'a [u8]; 16]>;

/// One call of a command: where its arguments come from and its reply goes to.
pub struct Call<'a> {
    ctx: *mut raw::RedisModuleCtx,
    argv: &'a [*mut raw::RedisModuleString],
}

/// What a function of the server's returns when it worked, and a command when it has replied, be it with an error.
#[allow(clippy::cast_possible_truncation)] // 0, which the bindings widen
pub const OK: c_int = raw::REDISMODULE_OK as c_int;
/// And what it returns when it did not.
#[allow(clippy::cast_possible_truncation)] // 1
pub const ERR: c_int = raw::REDISMODULE_ERR as c_int;

/// What the server calls for a command.
pub type Callback = unsafe extern "C" fn(
    *mut raw::RedisModuleCtx,
    *mut *mut raw::RedisModuleString,
    c_int,
) -> c_int;

/// What the server calls for [`Call::defer`].
pub type Deferred = unsafe extern "C" fn(*mut raw::RedisModuleCtx, *mut c_void);

/// The callback of a command that is the function `F`: it replies, or returns the error to reply with.
pub fn callback<F, E>(_command: F) -> Callback
where
    F: Fn(&Call) -> Result<(), E>,
    E: fmt::Display,
{
    run::<F, E>
}

/// # Safety
/// 1. `ctx`, `argv` and `argc` are what the server passes to a command's callback, which this is.
/// 2. There has been a value of `F`.
unsafe extern "C" fn run<F, E>(
    ctx: *mut raw::RedisModuleCtx,
    argv: *mut *mut raw::RedisModuleString,
    argc: c_int,
) -> c_int
where
    F: Fn(&Call) -> Result<(), E>,
    E: fmt::Display,
{
    const {
        assert!(
            size_of::<F>() == 0,
            "a function by its own name, not a pointer or a closure that captures"
        )
    };
    // SAFETY: by 2 and the assertion, `F` has a value, which is no bytes, and any aligned address holds it.
    let command = unsafe { NonNull::<F>::dangling().as_ref() };
    let argc = usize::try_from(argc).unwrap_or(0);
    // SAFETY: by 1, `argv` holds `argc` strings for as long as the callback runs.
    let argv = unsafe { std::slice::from_raw_parts(argv.cast_const(), argc) };
    let call = Call { ctx, argv };
    if let Err(error) = command(&call) {
        call.reply_error(&error);
    }
    OK
}

/// The server's wall clock, in milliseconds since the Unix epoch.
pub fn now_ms() -> u64 {
    // SAFETY: takes nothing and reads the clock.
    let now_ms = unsafe { required(raw::RedisModule_Milliseconds)() };
    u64::try_from(now_ms).unwrap_or(0)
}

/// Random numbers, from the server's own generator.
pub fn random_seeds() -> [u64; 4] {
    let mut seeds = [0; 4];
    // SAFETY: the server fills as many bytes as the array has.
    unsafe {
        required(raw::RedisModule_GetRandomBytes)(
            seeds.as_mut_ptr().cast::<u8>(),
            size_of_val(&seeds),
        )
    };
    seeds
}

impl<'a> Call<'a> {
    /// Every argument, the command's name first.
    pub fn args(&self) -> Args<'a> {
        let mut args = Args::new();
        self.read_args(0, &mut args);
        args
    }

    /// The arguments from `first` on, to where the caller wants them, as they are too large to be handed around.
    #[inline(always)]
    pub fn read_args(&self, first: usize, args: &mut Args<'a>) {
        for string in self.argv.get(first..).unwrap_or_default() {
            args.push(string_bytes(*string));
        }
    }

    /// Argument `index`; empty where there is none.
    pub fn arg(&self, index: usize) -> &'a [u8] {
        let string = self.argv.get(index);
        string.map_or(&[], |string| string_bytes(*string))
    }

    /// How many arguments there are, the command's name included, with none of them read.
    #[cfg(feature = "probe")]
    pub fn count_args(&self) -> usize {
        self.argv.len()
    }

    /// Opens the key that is argument `index`, to change it. `None` where there is no such argument.
    pub fn open_to_write(&self, index: usize) -> Option<Key<'a>> {
        self.open(index, raw::REDISMODULE_READ | raw::REDISMODULE_WRITE)
    }

    /// Opens the key that is argument `index`, to look at it and leave no trace: its idle time and the hit statistics
    /// stay as they are. `None` where there is no such key.
    pub fn open_to_read(&self, index: usize) -> Option<Key<'a>> {
        self.open(
            index,
            raw::REDISMODULE_READ | raw::REDISMODULE_OPEN_KEY_NOTOUCH,
        )
    }

    fn open(&self, index: usize, mode: u32) -> Option<Key<'a>> {
        // SAFETY: the call's own context, and one of its arguments.
        unsafe { Key::open(self.ctx, *self.argv.get(index)?, mode) }
    }

    /// A call without arguments, for a callback that is not a command's.
    ///
    /// # Safety
    /// 1. `ctx` is what the server passed to the callback, which has not returned yet.
    pub unsafe fn in_callback(ctx: *mut raw::RedisModuleCtx) -> Self {
        Call { ctx, argv: &[] }
    }

    /// Whether the call is not a client's of this server, but comes from its primary or from the AOF.
    pub fn is_replayed(&self) -> bool {
        const REPLAYED: u32 =
            raw::REDISMODULE_CTX_FLAGS_REPLICATED | raw::REDISMODULE_CTX_FLAGS_LOADING;
        self.flags() & REPLAYED != 0
    }

    fn flags(&self) -> u32 {
        // SAFETY: nothing beyond the file's own argument.
        unsafe { required(raw::RedisModule_GetContextFlags)(self.ctx) }.cast_unsigned()
    }

    /// Whether this server is a primary that is not loading.
    pub fn is_primary(&self) -> bool {
        const PRIMARY: u32 = raw::REDISMODULE_CTX_FLAGS_MASTER;
        self.flags() & (PRIMARY | raw::REDISMODULE_CTX_FLAGS_LOADING) == PRIMARY
    }

    /// Whether something may be sent to replicas and the AOF now: not while clients are paused, as for a failover.
    pub fn may_send(&self) -> bool {
        // SAFETY: takes nothing and tells of the server.
        unsafe { required(raw::RedisModule_AvoidReplicaTraffic)() == 0 }
    }

    /// Runs `then` once this turn of the server's event loop has run its commands, before their replies are sent.
    pub fn defer(&self, then: Deferred) {
        // SAFETY: the server calls a timer's callback with a context and the data it was given, of which there is none.
        unsafe {
            required(raw::RedisModule_CreateTimer)(self.ctx, 0, Some(then), std::ptr::null_mut())
        };
    }

    /// Sends `command payload` to replicas and the AOF.
    pub fn replicate(&self, command: &'static CStr, payload: &[u8]) {
        self.propagate(command, c"b", payload);
    }

    /// Sends `command payload` to the AOF alone.
    pub fn append_to_aof(&self, command: &'static CStr, payload: &[u8]) {
        self.propagate(command, c"bR", payload);
    }

    fn propagate(&self, command: &'static CStr, format: &'static CStr, payload: &[u8]) {
        // SAFETY: the formats above say a buffer with its length, which is what follows; the server copies.
        unsafe {
            required(raw::RedisModule_Replicate)(
                self.ctx,
                command.as_ptr(),
                format.as_ptr(),
                payload.as_ptr().cast::<c_char>(),
                payload.len(),
            )
        };
    }

    /// Sends this very call on to replicas and the AOF: for a command whose arguments are an effect already.
    pub fn replicate_verbatim(&self) {
        // SAFETY: nothing beyond the file's own argument.
        unsafe { required(raw::RedisModule_ReplicateVerbatim)(self.ctx) };
    }

    /// Replies an integer. A count past `i64` is out of every bound of the core's, and reads as the largest.
    pub fn reply_count(&self, value: u64) {
        self.reply_integer(i64::try_from(value).unwrap_or(i64::MAX));
    }

    /// Replies an integer.
    pub fn reply_integer(&self, value: i64) {
        // SAFETY: nothing beyond the file's own argument.
        unsafe { required(raw::RedisModule_ReplyWithLongLong)(self.ctx, value as c_longlong) };
    }

    /// Begins an array; its elements are the next `length` replies.
    pub fn reply_array(&self, length: usize) {
        let length = c_long::try_from(length).unwrap_or(c_long::MAX);
        // SAFETY: nothing beyond the file's own argument.
        unsafe { required(raw::RedisModule_ReplyWithArray)(self.ctx, length) };
    }

    /// Begins a map (on RESP2 a flat array); its entries are the next `length` pairs of replies.
    pub fn reply_map(&self, length: usize) {
        let length = c_long::try_from(length).unwrap_or(c_long::MAX);
        // SAFETY: nothing beyond the file's own argument.
        unsafe { required(raw::RedisModule_ReplyWithMap)(self.ctx, length) };
    }

    /// Replies a bulk string.
    pub fn reply_bytes(&self, bytes: &[u8]) {
        // SAFETY: the server copies the bytes before it returns.
        unsafe {
            required(raw::RedisModule_ReplyWithStringBuffer)(
                self.ctx,
                bytes.as_ptr().cast::<c_char>(),
                bytes.len(),
            )
        };
    }

    /// Replies a simple string.
    pub fn reply_simple(&self, text: &'static CStr) {
        // SAFETY: the server copies the text before it returns.
        unsafe { required(raw::RedisModule_ReplyWithSimpleString)(self.ctx, text.as_ptr()) };
    }

    /// Replies "there is none".
    pub fn reply_null(&self) {
        // SAFETY: nothing beyond the file's own argument.
        unsafe { required(raw::RedisModule_ReplyWithNull)(self.ctx) };
    }

    fn reply_error(&self, error: impl fmt::Display) {
        let text = CString::new(error.to_string()).unwrap_or_default();
        // SAFETY: the server copies the text before it returns.
        unsafe { required(raw::RedisModule_ReplyWithError)(self.ctx, text.as_ptr()) };
    }
}

fn string_bytes<'a>(string: *const raw::RedisModuleString) -> &'a [u8] {
    let mut length = 0;
    // SAFETY: `string` is an argument of the call, which outlives `'a`, and nobody changes it meanwhile.
    unsafe {
        let bytes = required(raw::RedisModule_StringPtrLen)(string, &mut length);
        std::slice::from_raw_parts(bytes.cast::<u8>(), length)
    }
}

/// An open key. Closes itself.
pub struct Key<'a> {
    ctx: *mut raw::RedisModuleCtx,
    name: *mut raw::RedisModuleString,
    key: NonNull<raw::RedisModuleKey>,
    call: PhantomData<&'a ()>,
}

impl Drop for Key<'_> {
    fn drop(&mut self) {
        // SAFETY: opened by `Call::open`, and closed only here.
        unsafe { required(raw::RedisModule_CloseKey)(self.key.as_ptr()) };
    }
}

impl Key<'_> {
    /// # Safety
    /// 1. `ctx` and `name` are what the server passed to a callback, which has not returned yet.
    unsafe fn open(
        ctx: *mut raw::RedisModuleCtx,
        name: *mut raw::RedisModuleString,
        mode: u32,
    ) -> Option<Self> {
        // The modes are bits of a C `int`, far below its sign.
        let mode = c_int::try_from(mode).unwrap_or_default();
        // SAFETY: by 1.
        let key = unsafe { required(raw::RedisModule_OpenKey)(ctx, name, mode) };
        Some(Key {
            ctx,
            name,
            key: NonNull::new(key)?,
            call: PhantomData,
        })
    }

    /// The value, if the key holds one of the native type `of`.
    pub fn value(&self, of: *mut raw::RedisModuleType) -> Option<NonNull<c_void>> {
        // SAFETY: the key is open.
        unsafe {
            if required(raw::RedisModule_ModuleTypeGetType)(self.key.as_ptr()) == of {
                NonNull::new(required(raw::RedisModule_ModuleTypeGetValue)(
                    self.key.as_ptr(),
                ))
            } else {
                None
            }
        }
    }

    /// What the key holds, in words; `None` where there is no key.
    pub fn holds(&self) -> Option<&'static str> {
        // SAFETY: the key is open.
        let key_type = unsafe { required(raw::RedisModule_KeyType)(self.key.as_ptr()) };
        match u32::try_from(key_type).unwrap_or(0) {
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

    /// Makes the key hold `value`, of the native type `of`; what it held is freed and its TTL is gone.
    ///
    /// # Safety
    /// 1. The key is open to write.
    /// 2. `value` is what the callbacks of the type `of` take, and from here on it is the server's.
    pub unsafe fn set_value(&mut self, of: *mut raw::RedisModuleType, value: NonNull<c_void>) {
        // SAFETY: by 1 and 2.
        unsafe {
            required(raw::RedisModule_ModuleTypeSetValue)(self.key.as_ptr(), of, value.as_ptr())
        };
    }

    /// When the key expires, in milliseconds since the Unix epoch; `None` where it does not.
    pub fn expires_ms(&self) -> Option<u64> {
        // SAFETY: the key is open.
        let expires_ms = unsafe { required(raw::RedisModule_GetAbsExpire)(self.key.as_ptr()) };
        u64::try_from(expires_ms).ok()
    }

    /// Lets the key expire at `at_ms`, in milliseconds since the Unix epoch. Not propagated.
    pub fn expire_at(&mut self, at_ms: u64) {
        let at_ms = c_longlong::try_from(at_ms).unwrap_or(c_longlong::MAX);
        // SAFETY: the key is open.
        unsafe { required(raw::RedisModule_SetAbsExpire)(self.key.as_ptr(), at_ms) };
    }

    /// Publishes a keyspace event of the module class, which is off unless `notify-keyspace-events` asks for it.
    pub fn notify(&self, event: &'static CStr) {
        // SAFETY: `name` is one of the call's arguments.
        unsafe {
            required(raw::RedisModule_NotifyKeyspaceEvent)(
                self.ctx,
                raw::REDISMODULE_NOTIFY_MODULE,
                event.as_ptr(),
                self.name,
            )
        };
    }

    /// Tells those who WATCH or cache the key that it has changed.
    pub fn signal_modified(&self) {
        // SAFETY: `name` is one of the call's arguments.
        unsafe { required(raw::RedisModule_SignalModifiedKey)(self.ctx, self.name) };
    }

    /// Sends `command name payload` to replicas and the AOF.
    pub fn replicate(&self, command: &'static CStr, payload: &[u8]) {
        // SAFETY: "sb" is a string object and then a buffer with its length, which is what follows; the server copies.
        unsafe {
            required(raw::RedisModule_Replicate)(
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

/// Saves bytes to an RDB file or a DUMP.
///
/// # Safety
/// 1. `rdb` is what the server passed to the `rdb_save` callback, which has not returned yet.
pub unsafe fn save_bytes(rdb: *mut raw::RedisModuleIO, bytes: &[u8]) {
    // SAFETY: by 1; the server copies.
    unsafe {
        required(raw::RedisModule_SaveStringBuffer)(
            rdb,
            bytes.as_ptr().cast::<c_char>(),
            bytes.len(),
        )
    };
}

/// Loads what [`save_bytes`] saved and hands it to `read`; `None` where it is cut short or is no such thing, or where
/// `read` says so.
///
/// # Safety
/// 1. `rdb` is what the server passed to the `rdb_load` callback, which has not returned yet.
/// 2. The module has declared that it handles I/O errors; else the server exits at the first.
pub unsafe fn load_bytes<T>(
    rdb: *mut raw::RedisModuleIO,
    read: impl FnOnce(&[u8]) -> Option<T>,
) -> Option<T> {
    let mut length = 0;
    // SAFETY: by 1 and 2; what is returned is ours to free, and `length` bytes long unless there was an error.
    unsafe {
        let bytes = required(raw::RedisModule_LoadStringBuffer)(rdb, &mut length);
        let bytes = NonNull::new(bytes)?;
        let value = match required(raw::RedisModule_IsIOError)(rdb) {
            0 => read(std::slice::from_raw_parts(
                bytes.as_ptr().cast::<u8>(),
                length,
            )),
            _ => None,
        };
        required(raw::RedisModule_Free)(bytes.as_ptr().cast::<c_void>());
        value
    }
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
    // SAFETY: by 1; "sb" is a string object and then a buffer with its length, which is what follows.
    unsafe {
        required(raw::RedisModule_EmitAOF)(
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
    // SAFETY: by 1; the server reads the bytes before it returns.
    unsafe {
        required(raw::RedisModule_DigestAddStringBuffer)(
            digest,
            bytes.as_ptr().cast::<c_char>(),
            bytes.len(),
        );
        required(raw::RedisModule_DigestEndSequence)(digest);
    }
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
    // SAFETY: by 1 and 2.
    let moved = unsafe {
        required(raw::RedisModule_DefragAlloc)(ctx, allocation.as_ptr().cast::<c_void>())
    };
    NonNull::new(moved.cast::<T>())
}
