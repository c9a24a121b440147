//! The wing that speaks to Redis.
//!
//! The server loads the library and calls `RedisModule_OnLoad`, which the macro below writes. It checks the API version,
//! registers the type, the settings and, through [`init`], the rest.

mod commands;
mod config;
mod data_type;
mod events;
mod info;
mod journal;
mod propagate;
mod raw;
mod register;
mod registry;
mod reply;
mod ttl;

use redis_module::alloc::RedisAlloc;
use redis_module::configuration::ConfigurationFlags;
use redis_module::raw::ModuleOptions;
use redis_module::{redis_module, Context, RedisString, Status};
use std::panic;

use config::{
    DENY_ENTRIES, DENY_LISTS, DENY_TEXT_BYTES, POLICIES, SLIDING_ENTRIES, STATS_IDENTIFIERS,
    STATS_NAMES,
};
use data_type::RATELIMIT;

/// The version as `MODULE LIST` shows it: 1.2.3 is 10203.
const VERSION: i32 = {
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

redis_module! {
    name: "ratelimit",
    version: VERSION,
    allocator: (RedisAlloc, RedisAlloc),
    data_types: [RATELIMIT],
    init: init,
    configurations: [
        i64: [
            [SLIDING_ENTRIES.name, &SLIDING_ENTRIES.value, SLIDING_ENTRIES.default, SLIDING_ENTRIES.least, SLIDING_ENTRIES.most, ConfigurationFlags::DEFAULT, None],
            [POLICIES.name, &POLICIES.value, POLICIES.default, POLICIES.least, POLICIES.most, ConfigurationFlags::DEFAULT, None],
            [DENY_LISTS.name, &DENY_LISTS.value, DENY_LISTS.default, DENY_LISTS.least, DENY_LISTS.most, ConfigurationFlags::DEFAULT, None],
            [DENY_ENTRIES.name, &DENY_ENTRIES.value, DENY_ENTRIES.default, DENY_ENTRIES.least, DENY_ENTRIES.most, ConfigurationFlags::DEFAULT, None],
            [DENY_TEXT_BYTES.name, &DENY_TEXT_BYTES.value, DENY_TEXT_BYTES.default, DENY_TEXT_BYTES.least, DENY_TEXT_BYTES.most, ConfigurationFlags::DEFAULT, None],
            [STATS_NAMES.name, &STATS_NAMES.value, STATS_NAMES.default, STATS_NAMES.least, STATS_NAMES.most, ConfigurationFlags::DEFAULT, None],
            [STATS_IDENTIFIERS.name, &STATS_IDENTIFIERS.value, STATS_IDENTIFIERS.default, STATS_IDENTIFIERS.least, STATS_IDENTIFIERS.most, ConfigurationFlags::DEFAULT, None],
        ],
        string: [],
        bool: [],
        enum: [],
        module_args_as_configuration: false,
    ]
}

/// Valkey 9 migrates slots atomically only where every module says that it can; other servers do not know the option.
const HANDLE_ATOMIC_SLOT_MIGRATION: std::ffi::c_int = 1 << 5;

/// What is left to do when the type and the settings are there.
fn init(ctx: &Context, args: &[RedisString]) -> Status {
    log_panics();
    info::register(ctx);
    // A truncated payload is refused by us instead of ending the server; only what we changed is signalled as such, so
    // that a denied hit leaves a WATCH alone; and a slot may be moved with its keys, as each key's state and effects are
    // all there is to move.
    ctx.set_module_options(
        ModuleOptions::HANDLE_IO_ERRORS
            | ModuleOptions::NO_IMPLICIT_SIGNAL_MODIFIED
            | ModuleOptions::from_bits_retain(HANDLE_ATOMIC_SLOT_MIGRATION),
    );
    let registered = config::load(args)
        .and_then(|()| register::commands(ctx))
        .and_then(|()| events::subscribe(ctx));
    match registered {
        Ok(()) => Status::Ok,
        Err(reason) => {
            ctx.log_warning(&reason);
            Status::Err
        }
    }
}

/// A panic ends the server, as it must not unwind into it; the log then says where it was.
fn log_panics() {
    panic::set_hook(Box::new(|panic| {
        redis_module::logging::log_warning(format!("ratelimit panicked: {panic}"));
    }));
}
