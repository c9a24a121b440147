//! The only callers of the server's functions.
//!
//! Everything here is a thin, typed wrapper: arguments are borrowed and not retained, a reply is written value by value,
//! an open key closes itself. The rest of the wing is safe code over these types, but for the callbacks of the native
//! type, whose pointers only it can read. (What the crate does by itself, for INFO and for the events that its macros
//! subscribe to, it does on its own functions.)
//!
//! ```text
//! call          a callback of the server's: a command's arguments, its reply, its effect
//! client        who has sent a call, and what the server lets that user see
//! key           the keys of a call, one of which may be open, and their events
//! io            a value on its way: RDB, AOF, digest, defragmentation
//! memory        the server's allocator
//! log           a line in the server's log
//! loading       the module is being loaded: its settings, type and options
//! registration  a command, its documentation and its ACL categories
//! ```
//!
//! # What every `SAFETY` line here stands on
//!
//! **A [`Call`] ends with its callback.** The server's pointers are good for the callback that they were passed to, and no
//! longer. A `Call<'a>` and all that is borrowed from it carry `'a`, and whoever is given one is a function for every `'a`
//! (`F: Fn(&Call)`), so that nothing of it can be kept: the compiler sees to it.
//!
//! **One thread.** The server runs commands, events and timers on its main thread, and so the callbacks of the native
//! type, with two exceptions. `free` may run on the thread that frees lazily (`UNLINK`, `FLUSHALL ASYNC`, a full
//! resynchronisation): it touches the value alone, which is [`Send`], and the allocator, which is made for threads.
//! `rdb_save`, `aof_rewrite` and `aux_save` run in a forked child too, on its only thread, a copy of the main one, with a
//! copy of all memory. What belongs to the node is for the main thread alone ([`is_main_thread`]).

mod call;
mod client;
mod io;
mod key;
mod loading;
mod log;
mod memory;
mod registration;
mod text;

pub use call::{Args, Call, Word, ROOM};
pub use client::User;
pub use io::{digest_bytes, emit_aof, load_bytes, relocate, save_bytes};
pub use key::{Key, Keys};
pub use loading::{is_main_thread, load, Loading};
pub use log::{notice, warning};
pub use memory::ServerMemory;
pub use registration::{callback, keyed, Access, Command, KeySpec};

use redis_module::raw;
use std::ffi::c_int;
use std::ptr::NonNull;

/// A function of the server's. (A check would cost every hit some thirty instructions.)
///
/// # Safety
/// 1. The server has it. Every one that is called this way exists since Redis 7.0, and the module refuses to load on an older
///    server ([`loading`]), before it calls any.
#[inline(always)]
unsafe fn required<F>(function: Option<F>) -> F {
    // SAFETY: by 1.
    unsafe { function.unwrap_unchecked() }
}

/// The server's function of this name, if it has one.
macro_rules! optional {
    ($name:ident) => {{
        // SAFETY: the server fills in the addresses of its functions before it runs anything of ours, and that is all that
        // is ever written to them.
        unsafe { redis_module::raw::$name }
    }};
}

/// The server's function of this name.
macro_rules! function {
    ($name:ident) => {{
        let function = $crate::server::raw::optional!($name);
        // SAFETY: the module has been loaded, so the server has it.
        unsafe { $crate::server::raw::required(function) }
    }};
}

use {function, optional};

/// What a function of the server's returns when it worked, and a command when it has replied, be it with an error.
#[allow(
    clippy::cast_possible_truncation,
    reason = "0, which the bindings widen"
)]
pub const OK: c_int = raw::REDISMODULE_OK as c_int;
/// And what it returns when it did not.
#[allow(
    clippy::cast_possible_truncation,
    reason = "1, which the bindings widen"
)]
pub const ERR: c_int = raw::REDISMODULE_ERR as c_int;

/// The value of a function's own type, for callbacks that are told by their type which function they are.
///
/// # Safety
/// 1. There has been a value of `F`.
unsafe fn function_of<'f, F: 'f>() -> &'f F {
    const {
        assert!(
            size_of::<F>() == 0,
            "a function by its own name, not a pointer or a closure that captures"
        )
    };
    // SAFETY: by 1 and the assertion, `F` has a value, which is no bytes, and any aligned address holds it.
    unsafe { NonNull::<F>::dangling().as_ref() }
}

/// The server's wall clock, in milliseconds since the Unix epoch.
pub fn now_ms() -> u64 {
    let clock = function!(RedisModule_Milliseconds);
    // SAFETY: takes nothing and reads the clock.
    let now_ms = unsafe { clock() };
    u64::try_from(now_ms).unwrap_or(0)
}

/// Random numbers, from the server's own generator.
pub fn random_seeds() -> [u64; 4] {
    let fill = function!(RedisModule_GetRandomBytes);
    let mut seeds = [0; 4];
    // SAFETY: the server fills as many bytes as the array has.
    unsafe { fill(seeds.as_mut_ptr().cast::<u8>(), size_of_val(&seeds)) };
    seeds
}
