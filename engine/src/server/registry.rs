//! What belongs to an engine and not to a key, and its clock: lent to the thread for as long as a call runs, since the commands
//! ask for them by name, as they do in a server, which has one of each.

use super::config;
use crate::core::node::{Bounds, Node};
use std::cell::{Cell, RefCell};
use std::ffi::CStr;

/// The internal command that would carry a part of the node.
pub const NODE: &CStr = c"rl.node";

thread_local! {
    static LENT: RefCell<Option<Box<Node>>> = const { RefCell::new(None) };
    static NOW_MS: Cell<u64> = const { Cell::new(0) };
}

/// How many slots of deny lists a call looks through by the way, for entries that have ended. (A server does it by its clock.)
const SWEPT_BY_THE_WAY: usize = 64;

/// Lends a node and a time to what `body` calls, and hands the node back.
pub fn lend(mut node: Option<Box<Node>>, now_ms: u64, body: impl FnOnce()) -> Option<Box<Node>> {
    if let Some(node) = &mut node {
        node.deny.sweep(now_ms, SWEPT_BY_THE_WAY);
    }
    LENT.set(node);
    NOW_MS.set(now_ms);
    body();
    LENT.take()
}

/// The call's time.
pub fn now_ms() -> u64 {
    NOW_MS.get()
}

/// Gives access to the node of the engine whose call runs. `body` calls nothing that could come back here.
pub fn node<T>(body: impl FnOnce(&mut Node) -> T) -> T {
    LENT.with_borrow_mut(|node| body(node.get_or_insert_with(|| Box::new(new_node([0; 4])))))
}

/// One that holds nothing.
pub fn new_node(seeds: [u64; 4]) -> Node {
    let bounds = Bounds {
        policies: config::policies(),
        deny: config::deny_bounds(),
        stats: config::stats_bounds(),
    };
    Node::new(&bounds, seeds)
}
