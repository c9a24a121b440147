//! The wing that speaks to Redis.
//!
//! The server loads the library and calls `RedisModule_OnLoad`, which introduces the module and, by [`init`], says what it
//! brings. It is our own, not the one that the crate's `redis_module!` writes: that one goes on where the server refuses a
//! setting, and subscribes to events before it is known whether the rest goes well.

mod commands;
mod config;
mod data_type;
mod events;
mod info;
mod journal;
mod propagate;
mod raw;
mod regions;
mod register;
mod registry;
mod reply;
mod slot;
mod zones;

use data_type::RATELIMIT;
use raw::Loading;
use redis_module::raw::{RedisModuleCtx, RedisModuleString};
use std::ffi::c_int;
use std::panic;

/// The version as `MODULE LIST` shows it: 1.2.3 is 10203.
const VERSION: c_int = {
    /// The decimal number that a part of the version is.
    const fn number(text: &str) -> i32 {
        let mut rest = text.as_bytes();
        let mut number = 0;
        while let [digit, more @ ..] = rest {
            number = number * 10 + (*digit - b'0') as i32;
            rest = more;
        }
        number
    }
    number(env!("CARGO_PKG_VERSION_MAJOR")) * 10_000
        + number(env!("CARGO_PKG_VERSION_MINOR")) * 100
        + number(env!("CARGO_PKG_VERSION_PATCH"))
};

#[global_allocator]
static ALLOCATOR: raw::ServerMemory = raw::ServerMemory;

/// # Safety
/// The server calls it, once, when it has loaded the library.
#[no_mangle]
#[allow(non_snake_case, reason = "the name that the server looks for")]
unsafe extern "C" fn RedisModule_OnLoad(
    ctx: *mut RedisModuleCtx,
    argv: *mut *mut RedisModuleString,
    argc: c_int,
) -> c_int {
    // SAFETY: the server's own arguments.
    unsafe { raw::load(ctx, argv, argc, c"ratelimit", VERSION, init) }
}

/// What the module brings. First whatever may be refused for what an operator wrote, and last what a server does not take
/// back from a module that it then does not load.
fn init(loading: &Loading) -> Result<(), String> {
    log_panics();
    loading.check_server()?;
    loading.set_options();
    config::load(loading)?;
    regions::check_names();
    register::commands(loading)?;
    loading.create_type(&RATELIMIT)?;
    events::subscribe(loading)
}

/// A panic ends the server, as it must not unwind into it; the log then says where it was.
fn log_panics() {
    panic::set_hook(Box::new(|panic| {
        let text = panic.to_string().replace('\n', " ");
        raw::warning(&format!("ratelimit panicked: {text}"));
    }));
}
