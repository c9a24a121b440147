//! The module's memory: the server's, so that it counts it, and `maxmemory` holds for it.

use redis_module::alloc::RedisAlloc;
use std::alloc::{GlobalAlloc, Layout};
use std::ptr;

/// The server's allocator. What it gives is aligned to 8 bytes everywhere, and to 16 on most servers only: with musl's malloc,
/// say, a length stands before each block. Hash tables and 128-bit numbers need 16.
pub struct ServerMemory;

/// What every server aligns to.
const ALIGN: usize = 8;

// SAFETY: blocks are the server's, or lie within one and say where it begins.
unsafe impl GlobalAlloc for ServerMemory {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() <= ALIGN {
            // SAFETY: by the caller's promise.
            return unsafe { RedisAlloc.alloc(layout) };
        }
        let Some(size) = layout.size().checked_add(layout.align()) else {
            return ptr::null_mut();
        };
        let Ok(wider) = Layout::from_size_align(size, ALIGN) else {
            return ptr::null_mut();
        };
        // SAFETY: the layout has a size.
        let block = unsafe { RedisAlloc.alloc(wider) };
        if block.is_null() {
            return block;
        }
        // From 8 bytes up to a whole alignment behind the block's beginning.
        let at = block.map_addr(|address| (address + layout.align()) & !(layout.align() - 1));
        let note = at.cast::<*mut u8>().wrapping_sub(1);
        // SAFETY: these 8 bytes lie within the block, before what is handed out.
        unsafe { note.write(block) };
        at
    }

    #[inline]
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        if layout.align() <= ALIGN {
            // SAFETY: by the caller's promise.
            return unsafe { RedisAlloc.dealloc(at, layout) };
        }
        let note = at.cast::<*mut u8>().wrapping_sub(1);
        // SAFETY: `alloc` has written it there.
        let block = unsafe { note.read() };
        // SAFETY: `alloc` was given it. The server asks for no size.
        unsafe { RedisAlloc.dealloc(block, layout) };
    }
}
