//! What the server tells of itself that the node's own data must hear of.

use super::commands::policy;
use super::raw::{self as server, now_ms, Call};
use super::registry;
use super::{config, journal};
use redis_module::{raw, Context};
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering};

/// Slots of deny lists that are looked at in one tick of the server's clock, of which there are `hz` a second (10, if not
/// configured): a fraction of a millisecond.
const SWEEP_SLOTS: usize = 20_000;

type Handler =
    unsafe extern "C" fn(*mut raw::RedisModuleCtx, raw::RedisModuleEvent, u64, *mut c_void);

/// Subscribes to them; the error says to which the server refused it.
pub fn subscribe(ctx: &Context) -> Result<(), String> {
    let events: [(u64, u64, Handler, &str); 3] = [
        (raw::REDISMODULE_EVENT_LOADING, 1, on_loading, "loading"),
        (raw::REDISMODULE_EVENT_FORK_CHILD, 1, on_fork, "fork"),
        (raw::REDISMODULE_EVENT_CRON_LOOP, 1, on_tick, "cron"),
    ];
    for (id, dataver, handler, name) in events {
        let event = raw::RedisModuleEvent { id, dataver };
        // SAFETY: called while the module is being loaded; the handlers live as long as the library.
        let subscribed = unsafe {
            raw::RedisModule_SubscribeToServerEvent
                .is_some_and(|subscribe| subscribe(ctx.ctx, event, Some(handler)) == server::OK)
        };
        if !subscribed {
            return Err(format!("ratelimit: the server refused its {name} event"));
        }
    }
    Ok(())
}

/// A data set is about to be loaded: from a file, or from the primary. It takes the place of what is here, also where it
/// brings no registry: a replica ends as its primary is.
unsafe extern "C" fn on_loading(
    ctx: *mut raw::RedisModuleCtx,
    _event: raw::RedisModuleEvent,
    subevent: u64,
    _data: *mut c_void,
) {
    let begins = [
        raw::REDISMODULE_SUBEVENT_LOADING_RDB_START,
        raw::REDISMODULE_SUBEVENT_LOADING_AOF_START,
        raw::REDISMODULE_SUBEVENT_LOADING_REPL_START,
    ];
    if begins.contains(&subevent) {
        registry::with(registry::Registry::clear);
    }
    // What was loaded from an RDB file replicas and the AOF may lack: DEBUG RELOAD does not rewrite the AOF, and replicas
    // may follow a restarted primary from where they were.
    if subevent == raw::REDISMODULE_SUBEVENT_LOADING_RDB_START {
        RELOADS.store(true, Ordering::Relaxed);
    } else if subevent == raw::REDISMODULE_SUBEVENT_LOADING_ENDED
        && RELOADS.swap(false, Ordering::Relaxed)
        // SAFETY: the server's own context, in a callback that has not returned yet.
        && unsafe { Call::in_callback(ctx) }.is_primary()
    {
        registry::node(|node| node.stats.write_anew());
    }
}

/// Whether an RDB file is being loaded.
static RELOADS: AtomicBool = AtomicBool::new(false);

/// The server has forked a child, perhaps to rewrite the AOF.
unsafe extern "C" fn on_fork(
    ctx: *mut raw::RedisModuleCtx,
    _event: raw::RedisModuleEvent,
    subevent: u64,
    _data: *mut c_void,
) {
    if subevent != raw::REDISMODULE_SUBEVENT_FORK_CHILD_BORN {
        return;
    }
    let context = Context::new(ctx);
    let rewrites = context
        .server_info("persistence")
        .field("aof_rewrite_in_progress")
        .is_some_and(|flag| flag.as_slice() == b"1");
    if rewrites && !config::has_rdb_preamble(&context) {
        // SAFETY: the server's own context, in a callback that has not returned yet.
        journal::begin_file(&unsafe { Call::in_callback(ctx) });
    }
}

/// The server's clock has ticked.
unsafe extern "C" fn on_tick(
    ctx: *mut raw::RedisModuleCtx,
    _event: raw::RedisModuleEvent,
    _subevent: u64,
    _data: *mut c_void,
) {
    let ended = registry::node(|node| {
        node.deny.sweep(now_ms(), SWEEP_SLOTS);
        node.stats.set_bounds(config::stats_bounds());
        node.policies.end(now_ms())
    });
    policy::log_ended(&ended);
    // SAFETY: the server's own context, in a callback that has not returned yet.
    journal::tick(&unsafe { Call::in_callback(ctx) });
}
