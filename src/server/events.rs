//! What the server tells of itself that the node's own data must hear of.

use super::commands::policy;
use super::raw::{now_ms, Call, Loading};
use super::registry;
use super::{config, journal, regions};
use redis_module::server_events::{LoadingSubevent, ServerRole};
use redis_module::Context;
use redis_module_macros::{
    config_changed_event_handler, cron_event_handler, loading_event_handler,
    role_changed_event_handler,
};
use std::sync::atomic::{AtomicBool, Ordering};

/// Slots of deny lists that are looked at in one tick of the server's clock, of which there are `hz` a second (10, if not
/// configured): a fraction of a millisecond.
const SWEEP_SLOTS: usize = 20_000;

/// Subscribes to them; the error says to which the server refused it.
pub fn subscribe(loading: &Loading) -> Result<(), String> {
    loading.subscribe(on_fork)
}

/// A data set is about to be loaded: from a file, or from the primary. It takes the place of what is here, also where it
/// brings no registry: a replica ends as its primary is.
#[loading_event_handler]
fn on_loading(context: &Context, event: LoadingSubevent) {
    match event {
        LoadingSubevent::RdbStarted => {
            RELOADS.store(true, Ordering::Relaxed);
            registry::with(registry::Registry::clear);
        }
        LoadingSubevent::AofStarted | LoadingSubevent::ReplStarted => {
            registry::with(registry::Registry::clear);
        }
        LoadingSubevent::Ended => {
            // What was loaded from an RDB file replicas and the AOF may lack: DEBUG RELOAD does not rewrite the AOF, and
            // replicas may follow a restarted primary from where they were.
            // SAFETY: this is the handler.
            let call = unsafe { Call::of(context) };
            if RELOADS.swap(false, Ordering::Relaxed) && call.is_primary() {
                registry::node(|node| node.stats.write_anew());
            }
        }
        LoadingSubevent::Failed => {}
    }
}

/// This server has come to be a primary, or a replica.
#[role_changed_event_handler]
fn on_role_changed(_: &Context, _: ServerRole) {
    regions::begin_term();
}

/// Whether an RDB file is being loaded.
static RELOADS: AtomicBool = AtomicBool::new(false);

/// The server has forked a child, perhaps to rewrite the AOF.
fn on_fork(call: &Call) {
    if call.is_rewriting_aof() && !config::has_rdb_preamble(call) {
        journal::begin_file(call);
    }
}

/// A setting has changed. Those that are not asked for where they are used are asked for now.
#[config_changed_event_handler]
fn on_setting(_: &Context, _: &[&str]) {
    registry::take_settings();
    regions::take_settings();
}

/// The server's clock has ticked.
#[cron_event_handler]
fn on_tick(context: &Context, _ticks_a_second: u64) {
    registry::node(|node| node.deny.sweep(now_ms(), SWEEP_SLOTS));
    policy::end_due(now_ms());
    regions::check_names();
    // SAFETY: this is the handler.
    journal::tick(&unsafe { Call::of(context) });
}
