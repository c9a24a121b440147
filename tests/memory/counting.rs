//! The system's allocator, which counts for each thread what it holds and how often it asked.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static BYTES: Cell<usize> = const { Cell::new(0) };
    static BLOCKS: Cell<usize> = const { Cell::new(0) };
    static CALLS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is passed on to the system's allocator unchanged. (The trait's own `realloc` calls `alloc`, so a
// vector that grows is counted.)
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BYTES.set(BYTES.get().wrapping_add(layout.size()));
        BLOCKS.set(BLOCKS.get().wrapping_add(1));
        CALLS.set(CALLS.get() + 1);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        BYTES.set(BYTES.get().wrapping_sub(layout.size()));
        BLOCKS.set(BLOCKS.get().wrapping_sub(1));
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The bytes that this thread holds. They wrap, as a thread also frees what others asked for.
pub fn bytes() -> usize {
    BYTES.get()
}

/// The allocations that this thread holds. They wrap, too.
pub fn blocks() -> usize {
    BLOCKS.get()
}

/// How often this thread has asked for memory.
pub fn calls() -> usize {
    CALLS.get()
}
