//! What belongs to the node and not to a key, [`Node`], behind one guard; and what was told of it lately.

use super::config;
use super::raw::{is_main_thread, random_seeds};
use crate::core::node::{Bounds, Node};
use std::cell::{RefCell, RefMut};
use std::ffi::CStr;

/// The internal command that carries a part of the node: see [`crate::core::node::Part`].
pub const NODE: &CStr = c"rl.node";

/// The node, and what replicas and the AOF know of it.
pub struct Registry {
    /// Policies, deny lists and statistics.
    pub node: Node,
    /// What was told lately, and what is to come.
    pub told: ReplicationState,
}

/// What replicas and the AOF were told lately, and what is to come.
pub struct ReplicationState {
    /// When the last record was sent.
    pub at_ms: u64,
    /// Whether a file has been begun that has nothing of the node yet.
    pub lacks_everything: bool,
    /// Whether this server was a primary at the last tick. To begin with it was: it tells nothing anew of what it loads.
    pub was_primary: bool,
}

impl Default for ReplicationState {
    fn default() -> Self {
        Self {
            at_ms: 0,
            lacks_everything: false,
            was_primary: true,
        }
    }
}

struct Guarded(RefCell<Option<Registry>>);

// SAFETY: the server runs commands, callbacks and the loading of an RDB file on one thread, or, where it has others,
// under one lock; a forked child has its own copy.
unsafe impl Sync for Guarded {}

static REGISTRY: Guarded = Guarded(RefCell::new(None));

/// Gives access to the registry. `body` calls nothing that could come back here: no function of the server's that runs
/// commands or notifies anyone.
#[inline(always)]
pub fn with<T>(body: impl FnOnce(&mut Registry) -> T) -> T {
    body(there(&mut guard()))
}

/// Gives access to the node, as [`with`] does.
#[inline(always)]
pub fn node<T>(body: impl FnOnce(&mut Node) -> T) -> T {
    body(&mut there(&mut guard()).node) // not by way of `with`: the closure would be called
}

#[inline(always)]
fn guard() -> RefMut<'static, Option<Registry>> {
    debug_assert!(is_main_thread());
    REGISTRY.0.borrow_mut()
}

#[inline(always)]
fn there(registry: &mut Option<Registry>) -> &mut Registry {
    registry.get_or_insert_with(Registry::new)
}

/// Goes by the settings as they are now.
pub fn take_settings() {
    node(|node| {
        node.stats.set_bounds(config::stats_bounds());
        node.deny.set_never(config::never());
    });
}

/// How much there may be, as configured now.
pub fn bounds() -> Bounds {
    Bounds {
        policies: config::policies(),
        deny: config::deny_bounds(),
        stats: config::stats_bounds(),
    }
}

impl Registry {
    #[cold]
    fn new() -> Self {
        Self {
            node: new_node(),
            told: ReplicationState::default(),
        }
    }

    /// Forgets everything: what is about to be loaded takes its place.
    pub fn clear(&mut self) {
        self.node = new_node();
    }
}

fn new_node() -> Node {
    let mut node = Node::new(&bounds(), random_seeds());
    node.deny.set_never(config::never());
    node
}
