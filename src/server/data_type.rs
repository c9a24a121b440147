//! The native type `ratelimit`: what the server does with a key of ours when no command of ours runs.
//!
//! The server keeps one pointer per key. It is that of a [`Limiter`]'s box, with the form's code in the low bits, which the
//! box's alignment leaves free: so a key takes one allocation, and looking it up follows one pointer. (Of forms whose code is
//! too large for that, it stands at the head of the box.)
//!
//! ```text
//! key -> robj -> moduleValue { type, value } -> MaybePacked<..>, Meters<..>, Noted, or a code and Reserved or Shared<..>
//!                                    `-- address | code
//! ```

#![allow(
    clippy::multiple_unsafe_ops_per_block,
    reason = "a callback's one argument covers what it does with the server's pointers"
)]

use super::propagate::APPLY;
use super::raw as server;
use super::registry;
use crate::core::algorithm::meter::Allocations;
use crate::core::codec;
use crate::core::limiter::form::{forms, Headed, HeadedBox, HEADER};
use crate::core::limiter::regional::Local;
use crate::core::limiter::{Form, Limiter, LimiterMut};
use redis_module::native_types::RedisType;
use redis_module::raw;
use smallvec::{Array, SmallVec};
use std::ffi::{c_int, c_void};
use std::hint::unreachable_unchecked;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

/// The version of the encoding in an RDB file. The payload carries its own version too ([`codec`]); this one
/// would change only if the payload were wrapped in something else.
const ENCODING_VERSION: c_int = 1;

/// When aux data is saved: before the keys.
#[allow(
    clippy::cast_possible_truncation,
    reason = "1, which the bindings widen"
)]
const BEFORE_KEYS: c_int = raw::REDISMODULE_AUX_BEFORE_RDB as c_int;

/// The type, registered with the server when the module is loaded.
pub static RATELIMIT: RedisType = RedisType::new(
    "ratelimit",
    ENCODING_VERSION,
    raw::RedisModuleTypeMethods {
        version: raw::REDISMODULE_TYPE_METHOD_VERSION as u64,
        rdb_load: Some(rdb_load),
        rdb_save: Some(rdb_save),
        aof_rewrite: Some(aof_rewrite),
        mem_usage: Some(mem_usage),
        digest: Some(digest),
        free: Some(free),
        copy: Some(copy),
        defrag: Some(defrag),
        // A limiter is a handful of allocations at the most: freeing it in place is cheaper than handing it to another
        // thread, so UNLINK and lazy eviction need no effort estimate,
        free_effort: None,
        free_effort2: None,
        // and nothing outside the value refers to it, so nothing needs to hear of an unlink.
        unlink: None,
        unlink2: None,
        // The newer forms of `copy` and `mem_usage` say which key and database; a limiter does not care.
        copy2: None,
        mem_usage2: None,
        // What belongs to the node and not to a key. Before Redis 7.2 there is only `aux_save`, with which every RDB
        // file names the module; `aux_save2` may write nothing, and then the file loads without it.
        aux_load: Some(aux_load),
        aux_save: Some(aux_save),
        aux_save2: Some(aux_save2),
        aux_save_triggers: BEFORE_KEYS,
    },
);

/// The pointer by which the server knows the type.
pub fn handle() -> *mut raw::RedisModuleType {
    *RATELIMIT.raw_type.borrow()
}

const TAG: usize = 0b111;
const _: () = assert!(HEADER as usize == TAG);

/// What a pointer that [`into_raw`] made points to, for as long as the caller says.
///
/// # Safety
/// 1. `value` came from [`into_raw`], of a form whose box holds a `T`.
/// 2. Nobody else uses it for `'a`, and it is not freed.
#[inline(always)]
unsafe fn untagged<'a, T>(value: NonNull<c_void>) -> &'a mut T {
    let address = value.as_ptr().map_addr(|address| address & !TAG);
    // SAFETY: with its tag off it is the pointer of the `Box<T>` that `into_raw` leaked (1), and it is free to be used (2).
    unsafe { &mut *address.cast::<T>() }
}

macro_rules! pointers {
    (
        []
        tagged { $($(#[$doc:meta])* $form:ident = $code:literal: $kept:ty,)* }
        headed { $($(#[$headed_doc:meta])* $headed:ident = $headed_code:literal: $headed_kept:ty,)* }
    ) => {
        /// Hands a limiter over to the server, as the pointer that it keeps.
        pub fn into_raw(limiter: Limiter) -> NonNull<c_void> {
            fn tagged<T>(state: Box<T>, tag: usize) -> NonNull<c_void> {
                const { assert!(align_of::<T>() > TAG) };
                let state: NonNull<T> = NonNull::from(Box::leak(state));
                state.cast::<c_void>().map_addr(|address| address | tag)
            }
            match limiter {
                $(Form::$form(state) => tagged(state, $code),)*
                $(Form::$headed(state) => tagged(state.0, TAG),)*
            }
        }

        /// The limiter behind a pointer that the server keeps, borrowed from it.
        ///
        /// # Safety
        /// 1. `value` came from [`into_raw`].
        /// 2. Nobody else uses it for `'a`, and it is not freed.
        #[inline(always)]
        pub unsafe fn held<'a>(value: NonNull<c_void>) -> LimiterMut<'a> {
            // SAFETY: by 1 the tag says what the box holds; by 2 nobody else uses it now.
            unsafe {
                match value.addr().get() & TAG {
                    $($code => Form::$form(untagged(value)),)*
                    _ => headed(value),
                }
            }
        }

        /// # Safety
        /// As [`held`]'s, of a pointer whose tag is that of all forms with a header.
        #[cold]
        unsafe fn headed<'a>(value: NonNull<c_void>) -> LimiterMut<'a> {
            // SAFETY: as in `held`; whatever the form, its code comes first, and it is one of these.
            unsafe {
                match *untagged::<u64>(value) {
                    $($headed_code => Form::$headed(&mut untagged::<Headed<_>>(value).state),)*
                    _ => unreachable_unchecked(),
                }
            }
        }

        /// The inverse of [`into_raw`].
        ///
        /// # Safety
        /// 1. `value` came from [`into_raw`], and nobody uses it any more.
        unsafe fn from_raw(value: NonNull<c_void>) -> Limiter {
            let state = value.as_ptr().map_addr(|address| address & !TAG);
            // SAFETY: by 1 the tag, or the code, says of which type the box was, and it is ours again.
            unsafe {
                match value.addr().get() & TAG {
                    $($code => Form::$form(Box::from_raw(state.cast())),)*
                    _ => match *state.cast::<u64>() {
                        $($headed_code => Form::$headed(HeadedBox(Box::from_raw(state.cast()))),)*
                        _ => unreachable_unchecked(),
                    },
                }
            }
        }
    };
}
forms!(pointers);

/// [`held`] of the pointer that the server passes to a callback.
///
/// # Safety
/// As [`held`]'s. `None` only where the pointer is null, which no server passes.
unsafe fn borrowed<'a>(value: *const c_void) -> Option<LimiterMut<'a>> {
    let value = NonNull::new(value.cast_mut())?;
    // SAFETY: by the caller's promise.
    Some(unsafe { held(value) })
}

unsafe extern "C" fn rdb_load(rdb: *mut raw::RedisModuleIO, version: c_int) -> *mut c_void {
    if version != ENCODING_VERSION {
        return std::ptr::null_mut(); // written by a newer module: refused, as half understood is wrong
    }
    // SAFETY: the server's own argument; I/O errors are handled (`super::init`).
    unsafe { server::load_bytes(rdb, codec::decode_state) }
        .map_or(std::ptr::null_mut(), |limiter| into_raw(limiter).as_ptr())
}

unsafe extern "C" fn rdb_save(rdb: *mut raw::RedisModuleIO, value: *mut c_void) {
    // SAFETY: the server's own arguments; `value` is one that `into_raw` made.
    unsafe {
        if let Some(limiter) = borrowed(value) {
            server::save_bytes(rdb, &codec::encode_state(limiter.by_ref()));
        }
    }
}

unsafe extern "C" fn aof_rewrite(
    aof: *mut raw::RedisModuleIO,
    key: *mut raw::RedisModuleString,
    value: *mut c_void,
) {
    // SAFETY: the server's own arguments; `value` is one that `into_raw` made.
    unsafe {
        if let Some(limiter) = borrowed(value) {
            server::emit_aof(aof, APPLY, key, &codec::encode_state(limiter.by_ref()));
        }
    }
}

unsafe extern "C" fn aux_save(rdb: *mut raw::RedisModuleIO, _when: c_int) {
    for part in registry::node(|node| node.encode(server::now_ms())) {
        // SAFETY: the server's own argument.
        unsafe { server::save_bytes(rdb, &part) };
    }
}

unsafe extern "C" fn aux_save2(rdb: *mut raw::RedisModuleIO, when: c_int) {
    if !registry::node(|node| node.is_empty()) {
        // SAFETY: the server's own arguments.
        unsafe { aux_save(rdb, when) };
    }
}

unsafe extern "C" fn aux_load(rdb: *mut raw::RedisModuleIO, version: c_int, _when: c_int) -> c_int {
    // SAFETY: the server's own argument; I/O errors are handled (`super::init`).
    let part = || unsafe { server::load_bytes(rdb, |bytes| Some(bytes.to_vec())) };
    let loaded = || {
        let (policies, deny, stats) = (part()?, part()?, part()?);
        Some(registry::node(|node| node.load([&policies, &deny, &stats])))
    };
    if version == ENCODING_VERSION && loaded() == Some(true) {
        server::OK
    } else {
        server::ERR
    }
}

unsafe extern "C" fn mem_usage(value: *const c_void) -> usize {
    // SAFETY: the server's own argument, one that `into_raw` made.
    unsafe { borrowed(value) }.map_or(0, |limiter| limiter.bytes())
}

unsafe extern "C" fn digest(digest: *mut raw::RedisModuleDigest, value: *mut c_void) {
    // SAFETY: the server's own arguments; `value` is one that `into_raw` made.
    unsafe {
        if let Some(limiter) = borrowed(value) {
            server::digest_bytes(digest, &codec::encode_state(limiter.by_ref()));
        }
    }
}

/// May run on the thread that frees lazily: it touches nothing but the limiter.
unsafe extern "C" fn free(value: *mut c_void) {
    const fn may_be_sent<T: Send>() {}
    const { may_be_sent::<Limiter>() };
    // SAFETY: the server's own argument, one that `into_raw` made and that the server gives up.
    let limiter = NonNull::new(value).map(|value| unsafe { from_raw(value) });
    drop(limiter);
}

unsafe extern "C" fn copy(
    _from: *mut raw::RedisModuleString,
    _to: *mut raw::RedisModuleString,
    value: *const c_void,
) -> *mut c_void {
    // SAFETY: the server's own argument, one that `into_raw` made.
    unsafe { borrowed(value) }.map_or(std::ptr::null_mut(), |limiter| {
        let mut copy = limiter.to_limiter();
        if let Some(regional) = copy.held().regional_mut() {
            *regional.local_mut() = Local::default(); // the ring of changes knows nothing of a copy
        }
        into_raw(copy).as_ptr()
    })
}

unsafe extern "C" fn defrag(
    ctx: *mut raw::RedisModuleDefragCtx,
    _key: *mut raw::RedisModuleString,
    value: *mut *mut c_void,
) -> c_int {
    struct Relocate(*mut raw::RedisModuleDefragCtx);

    impl Allocations for Relocate {
        fn visit<A: Array>(&mut self, vec: &mut SmallVec<A>) {
            if !vec.spilled() {
                return;
            }
            let mut old = ManuallyDrop::new(std::mem::take(vec));
            let (length, capacity) = (old.len(), old.capacity());
            let Some(place) = NonNull::new(old.as_mut_ptr()) else {
                return;
            };
            // SAFETY: a spilled vector's buffer came from the server's allocator; `old` is not dropped, and the new
            // vector takes over the buffer, be it moved or not, with the same length and capacity.
            *vec = unsafe {
                let place = server::relocate(self.0, place).unwrap_or(place);
                SmallVec::from_raw_parts(place.as_ptr(), length, capacity)
            };
        }

        fn visit_box<T>(&mut self, place: &mut Box<T>) {
            let old: *mut T = &raw mut **place;
            // SAFETY: a box's memory came from the server's allocator; what was moved is the new box's, which is written over
            // the old one, whose memory is gone, without dropping it.
            unsafe {
                if let Some(moved) = NonNull::new(old).and_then(|old| server::relocate(self.0, old))
                {
                    std::ptr::write(place, Box::from_raw(moved.as_ptr()));
                }
            }
        }
    }

    // SAFETY: the server's own arguments; `*value` is one that `into_raw` made, and it is put back, moved or not.
    unsafe {
        let Some(mut limiter) = borrowed(*value) else {
            return 0;
        };
        limiter.visit_allocations(&mut Relocate(ctx));
        let tag = (*value).addr() & TAG;
        let meters = NonNull::new((*value).map_addr(|address| address & !TAG));
        if let Some(moved) = meters.and_then(|meters| server::relocate(ctx, meters)) {
            *value = moved.as_ptr().map_addr(|address| address | tag);
        }
    }
    0 // done: there is nothing to come back for
}
