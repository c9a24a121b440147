//! A callback of the server's: what it was called with, what it replies, what it sends on.

use super::text::string_bytes;
use super::{function, function_of, Keys};
use redis_module::{raw, CallOptionResp, CallOptionsBuilder, CallReply, CallResult, Context};
use smallvec::SmallVec;
use std::ffi::{c_char, c_int, c_long, c_longlong, c_void, CStr, CString};
use std::fmt;
use std::marker::PhantomData;

/// The arguments of a call, as bytes; a usual call's stay on the stack.
pub type Args<'a> = SmallVec<[&'a [u8]; 16]>;

/// A command that does nothing, and that the server refuses where it has no memory for new keys.
pub const ROOM: &str = "rl.room";

/// An argument of a call, as the server holds it.
#[derive(Clone, Copy)]
pub struct Word<'a> {
    string: *mut raw::RedisModuleString,
    call: PhantomData<&'a ()>,
}

impl Word<'_> {
    pub(super) fn string(self) -> *mut raw::RedisModuleString {
        self.string
    }
}

/// One call of a command: where its arguments come from and its reply goes to. Or another callback, which has neither.
pub struct Call<'a> {
    ctx: *mut raw::RedisModuleCtx,
    argv: &'a [*mut raw::RedisModuleString],
}

impl<'a> Call<'a> {
    /// # Safety
    /// 1. `ctx`, `argv` and `argc` are what the server passed to a callback, which does not return before `'a` has ended.
    pub(super) unsafe fn new(
        ctx: *mut raw::RedisModuleCtx,
        argv: *mut *mut raw::RedisModuleString,
        argc: c_int,
    ) -> Self {
        let argv = match usize::try_from(argc) {
            // SAFETY: by 1, `argv` holds `argc` strings.
            Ok(argc) if !argv.is_null() => unsafe {
                std::slice::from_raw_parts(argv.cast_const(), argc)
            },
            _ => &[],
        };
        Call { ctx, argv }
    }

    /// A handler of an event, which has neither arguments nor a reply.
    ///
    /// # Safety
    /// 1. `context` is what the crate has passed to the handler. (It lets anybody make one, of nothing.)
    pub unsafe fn of(context: &'a Context) -> Self {
        let ctx = context.ctx;
        Call { ctx, argv: &[] }
    }

    /// What this call opens its keys by.
    ///
    /// # Safety
    /// 1. Nobody has asked for it before.
    pub(super) unsafe fn keys(&self) -> Keys<'a> {
        // SAFETY: the call's own context and arguments; by 1 there is no other.
        unsafe { Keys::new(self.ctx, self.argv) }
    }

    pub(super) fn ctx(&self) -> *mut raw::RedisModuleCtx {
        self.ctx
    }

    /// Every argument, the command's name first.
    pub fn args(&self) -> Args<'a> {
        let mut args = Args::new();
        self.read_args(0, &mut args);
        args
    }

    /// The arguments from `first` on, to where the caller wants them, as they are too large to be handed around.
    #[inline(always)]
    pub fn read_args(&self, first: usize, args: &mut Args<'a>) {
        let strings = self.argv.get(first..).unwrap_or_default();
        args.clear();
        if strings.len() > args.capacity() {
            args.reserve_exact(strings.len());
        }
        // (Pushed one by one, or by `extend`, each takes twice the instructions.)
        let places = args.as_mut_ptr();
        for (index, string) in strings.iter().enumerate() {
            // SAFETY: an argument of this call.
            let bytes = unsafe { string_bytes(*string) };
            // SAFETY: there is room for as many as there are strings.
            let place = unsafe { places.add(index) };
            // SAFETY: the same.
            unsafe { place.write(bytes) };
        }
        // SAFETY: so many were written, and there is room for them.
        unsafe { args.set_len(strings.len()) };
    }

    /// Argument `index`; empty where there is none.
    pub fn arg(&self, index: usize) -> &'a [u8] {
        match self.argv.get(index) {
            // SAFETY: an argument of this call.
            Some(string) => unsafe { string_bytes(*string) },
            None => &[],
        }
    }

    /// Argument `index`, as the server holds it.
    pub fn word(&self, index: usize) -> Option<Word<'a>> {
        let call = PhantomData;
        self.argv.get(index).map(|string| Word {
            string: *string,
            call,
        })
    }

    /// How many arguments there are, the command's name included, with none of them read.
    #[cfg(feature = "probe")]
    pub fn count_args(&self) -> usize {
        self.argv.len()
    }

    /// The database that the call is about.
    pub fn database(&self) -> i32 {
        let selected = function!(RedisModule_GetSelectedDb);
        // SAFETY: the call's own context.
        unsafe { selected(self.ctx) }
    }

    /// A step of the server's own iteration over all keys: its next cursor, and names, of which those that hold the native
    /// type of this name. `None` where the server refuses.
    pub fn scan(&self, cursor: u64, count: usize, of_type: &str) -> Option<(u64, Vec<Vec<u8>>)> {
        let options = CallOptionsBuilder::new()
            .resp(CallOptionResp::Resp2)
            .build();
        let (cursor, count) = (cursor.to_string(), count.to_string());
        let words = [cursor.as_str(), "COUNT", &count, "TYPE", of_type];
        let reply: CallResult = Context::new(self.ctx).call_ext("SCAN", &options, words.as_slice());
        let Ok(CallReply::Array(pair)) = reply else {
            return None;
        };
        let next = match pair.get(0) {
            Some(Ok(CallReply::String(next))) => next.to_string()?.parse().ok()?,
            _ => return None,
        };
        let Some(Ok(CallReply::Array(names))) = pair.get(1) else {
            return None;
        };
        let name = |reply: Result<CallReply, _>| match reply {
            Ok(CallReply::String(name)) => Some(name.as_bytes().to_vec()),
            _ => None,
        };
        let names = names.iter().filter_map(name).collect();
        Some((next, names))
    }

    /// Whether the server only asks which arguments are keys, by [`Call::tell_key`]; then nothing is to be done, nor replied.
    pub fn asks_for_keys(&self) -> bool {
        let asks = function!(RedisModule_IsKeysPositionRequest);
        // SAFETY: the call's own context.
        unsafe { asks(self.ctx) != 0 }
    }

    /// Argument `index` is a key.
    pub fn tell_key(&self, index: usize) {
        let tell = function!(RedisModule_KeyAtPos);
        if let Ok(index) = c_int::try_from(index) {
            // SAFETY: the call's own context, of which the server has asked for its keys.
            unsafe { tell(self.ctx, index) };
        }
    }

    /// Whether the call is not a client's of this server, but comes from its primary or from the AOF.
    pub fn is_replayed(&self) -> bool {
        const REPLAYED: u32 =
            raw::REDISMODULE_CTX_FLAGS_REPLICATED | raw::REDISMODULE_CTX_FLAGS_LOADING;
        self.flags() & REPLAYED != 0
    }

    fn flags(&self) -> u32 {
        let flags = function!(RedisModule_GetContextFlags);
        // SAFETY: the call's own context.
        unsafe { flags(self.ctx) }.cast_unsigned()
    }

    /// Whether this server is a primary that is not loading.
    pub fn is_primary(&self) -> bool {
        const PRIMARY: u32 = raw::REDISMODULE_CTX_FLAGS_MASTER;
        self.flags() & (PRIMARY | raw::REDISMODULE_CTX_FLAGS_LOADING) == PRIMARY
    }

    /// Whether something may be sent to replicas and the AOF now: not while clients are paused, as for a failover.
    pub fn may_send(&self) -> bool {
        let avoids_traffic = function!(RedisModule_AvoidReplicaTraffic);
        // SAFETY: takes nothing and tells of the server.
        unsafe { avoids_traffic() == 0 }
    }

    /// Whether the server would refuse a command that makes a new key, for want of memory: to be asked where one is about to
    /// be made.
    ///
    /// That is settled before a command, a script or a transaction runs, once the server has tried to evict; how much is in
    /// use now says little of it, but where that is within bounds nothing is refused.
    pub fn refuses_new_keys(&self) -> bool {
        let ratio = function!(RedisModule_GetUsedMemoryRatio);
        // SAFETY: takes nothing and tells of the server.
        unsafe { ratio() > 1.0 && self.may_refuse_new_keys() }
    }

    /// The server has the answer for its own commands alone, so it is asked to run one that it would refuse.
    ///
    /// Not in a script: the server refuses to begin those that do not say that they run without memory, and those that do, or
    /// that have written something, it does not stop any more.
    #[cold]
    fn may_refuse_new_keys(&self) -> bool {
        if self.is_replayed() || self.flags() & raw::REDISMODULE_CTX_FLAGS_LUA != 0 {
            return false;
        }
        let options = CallOptionsBuilder::new().verify_oom().errors_as_replies();
        let no_words: [&[u8]; 0] = [];
        let context = Context::new(self.ctx);
        let reply: CallResult = context.call_ext(ROOM, &options.build(), no_words.as_slice());
        reply.is_err()
    }

    /// Whether the server is rewriting its AOF.
    pub fn is_rewriting_aof(&self) -> bool {
        let info = Context::new(self.ctx).server_info("persistence");
        let flag = info.field("aof_rewrite_in_progress");
        flag.is_some_and(|flag| flag.as_slice() == b"1")
    }

    /// Whether a client is connected, as there is once the server has started.
    pub(super) fn has_clients(&self) -> bool {
        let info = Context::new(self.ctx).server_info("clients");
        let count = info.field("connected_clients");
        count.is_some_and(|count| count.as_slice() != b"0")
    }

    /// A setting of the server's own, as CONFIG GET shows it.
    pub fn server_setting(&self, name: &str) -> Option<Vec<u8>> {
        let options = CallOptionsBuilder::new()
            .resp(CallOptionResp::Resp2)
            .build();
        let words = ["GET", name];
        let reply: CallResult =
            Context::new(self.ctx).call_ext("CONFIG", &options, words.as_slice());
        let Ok(CallReply::Array(pair)) = reply else {
            return None;
        };
        let value = match pair.get(1) {
            Some(Ok(CallReply::String(value))) => Some(value.as_bytes().to_vec()),
            _ => None,
        };
        value
    }

    /// Has the server run a command, as nobody in particular. Whether it answered with anything but an error.
    pub(super) fn run(&self, command: &str, words: &[&[u8]]) -> bool {
        let options = CallOptionsBuilder::new().errors_as_replies().build();
        let reply: CallResult = Context::new(self.ctx).call_ext(command, &options, words);
        reply.is_ok()
    }

    /// Runs `then` once this turn of the server's event loop has run its commands, before their replies are sent.
    pub fn defer<F: Fn(&Call)>(&self, _then: F) {
        let create = function!(RedisModule_CreateTimer);
        // SAFETY: the server calls a timer's callback with a context and the data it was given, of which there is none;
        // there is a value of `F`, which is this function's argument.
        unsafe { create(self.ctx, 0, Some(run_deferred::<F>), std::ptr::null_mut()) };
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
        let replicate = function!(RedisModule_Replicate);
        clear_stack();
        // SAFETY: the formats above say a buffer with its length, which is what follows; the server copies.
        unsafe {
            replicate(
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
        let replicate = function!(RedisModule_ReplicateVerbatim);
        // SAFETY: the call's own context.
        unsafe { replicate(self.ctx) };
    }

    /// Replies an integer. A count past `i64` is out of every bound of the core's, and reads as the largest.
    pub fn reply_count(&self, value: u64) {
        self.reply_integer(i64::try_from(value).unwrap_or(i64::MAX));
    }

    /// Replies an integer.
    pub fn reply_integer(&self, value: i64) {
        let reply = function!(RedisModule_ReplyWithLongLong);
        // SAFETY: the call's own context.
        unsafe { reply(self.ctx, value as c_longlong) };
    }

    /// Begins an array; its elements are the next `length` replies.
    pub fn reply_array(&self, length: usize) {
        let length = c_long::try_from(length).unwrap_or(c_long::MAX);
        let reply = function!(RedisModule_ReplyWithArray);
        // SAFETY: the call's own context.
        unsafe { reply(self.ctx, length) };
    }

    /// Begins a map (on RESP2 a flat array); its entries are the next `length` pairs of replies.
    pub fn reply_map(&self, length: usize) {
        let length = c_long::try_from(length).unwrap_or(c_long::MAX);
        let reply = function!(RedisModule_ReplyWithMap);
        // SAFETY: the call's own context.
        unsafe { reply(self.ctx, length) };
    }

    /// Replies a bulk string.
    pub fn reply_bytes(&self, bytes: &[u8]) {
        let reply = function!(RedisModule_ReplyWithStringBuffer);
        // SAFETY: the server copies the bytes before it returns.
        unsafe { reply(self.ctx, bytes.as_ptr().cast::<c_char>(), bytes.len()) };
    }

    /// Replies a simple string.
    pub fn reply_simple(&self, text: &'static CStr) {
        let reply = function!(RedisModule_ReplyWithSimpleString);
        // SAFETY: the server copies the text before it returns.
        unsafe { reply(self.ctx, text.as_ptr()) };
    }

    /// Replies "there is none".
    pub fn reply_null(&self) {
        let reply = function!(RedisModule_ReplyWithNull);
        // SAFETY: the call's own context.
        unsafe { reply(self.ctx) };
    }

    pub(super) fn reply_error(&self, error: impl fmt::Display) {
        let text = CString::new(error.to_string()).unwrap_or_default();
        let reply = function!(RedisModule_ReplyWithError);
        // SAFETY: the server copies the text before it returns.
        unsafe { reply(self.ctx, text.as_ptr()) };
    }
}

/// # Safety
/// 1. `ctx` is what the server passed to the callback of a timer, which this is.
/// 2. There has been a value of `F`.
unsafe extern "C" fn run_deferred<F: Fn(&Call)>(ctx: *mut raw::RedisModuleCtx, _data: *mut c_void) {
    // SAFETY: by 2.
    let then = unsafe { function_of::<F>() };
    // SAFETY: by 1; the call is gone when this returns.
    let call = unsafe { Call::new(ctx, std::ptr::null_mut(), 0) };
    then(&call);
}

/// Writes zeros to where the next function that is called has its variables.
///
/// Valkey 9.1's `RM_Replicate` reads one that it has not set, where slots are being exported and the command has no key: a bit of
/// whatever was there says that the command is of several slots, and the migration fails ("A module replicated a cross-slot
/// command"). All of what is sent from here has no key.
#[inline(never)]
fn clear_stack() {
    std::hint::black_box([0_u64; 512]);
}
