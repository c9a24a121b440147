//! The engine as WebAssembly. Its imports are none, its exports these; an instance is one engine.
//!
//! ```text
//! ratelimit_start(max_keys, seeds..)          makes the engine anew
//! ratelimit_request(bytes) -> address         room for a request of so many bytes; 0: too many
//! ratelimit_call(now_ms) -> bytes             runs the request that was written there; how long its reply is
//! ratelimit_reply() -> address                where the reply is, until the next call
//! ```
//!
//! A request is its words, each behind its length in four bytes, little-endian; a reply is RESP2. What is wrong with a request is
//! told in its reply.

use crate::core::hashing;
use crate::engine::{Engine, Options};
use crate::server::raw::write_error;
use smallvec::SmallVec;
use std::cell::RefCell;
use std::ptr;

/// The longest request, in bytes: 10,000 values of a deny list, and more than any other command takes.
pub const MAX_REQUEST_BYTES: u32 = 4 << 20;

#[derive(Default)]
struct Host {
    engine: Option<Engine>,
    request: Vec<u8>,
    refusal: Vec<u8>,
    reply: (usize, usize),
}

thread_local! {
    static HOST: RefCell<Host> = RefCell::default();
}

/// Makes the engine anew. The seeds should be random.
#[no_mangle]
pub extern "C" fn ratelimit_start(max_keys: u32, a: u32, b: u32, c: u32, d: u32) {
    let seeds = [(a, b), (b, c), (c, d), (d, a)];
    let seeds = seeds.map(|(high, low)| u64::from(high) << 32 | u64::from(low));
    hashing::seed_from_host(seeds[0] ^ seeds[2]);
    let max_keys = usize::try_from(max_keys).unwrap_or(usize::MAX);
    let engine = Engine::new(Options { max_keys, seeds });
    HOST.with_borrow_mut(|host| host.engine = Some(engine));
}

/// Room for a request of so many bytes, all of which are to be written; null where that is too many.
#[no_mangle]
pub extern "C" fn ratelimit_request(bytes: u32) -> *mut u8 {
    if bytes > MAX_REQUEST_BYTES {
        return ptr::null_mut();
    }
    HOST.with_borrow_mut(|host| {
        host.request.clear();
        host.request.shrink_to(1 << 16);
        host.request
            .resize(usize::try_from(bytes).unwrap_or_default(), 0);
        host.request.as_mut_ptr()
    })
}

/// Runs the request. How many bytes its reply has.
#[no_mangle]
pub extern "C" fn ratelimit_call(now_ms: f64) -> u32 {
    HOST.with_borrow_mut(|host| {
        let reply = match (&mut host.engine, words(&host.request), time(now_ms)) {
            (Some(engine), Some(words), Some(now_ms)) => engine.call(&words, now_ms),
            (engine, words, _) => {
                let why = match (engine, words) {
                    (None, _) => {
                        "ERR the engine has not been started: expected a call of ratelimit_start"
                    }
                    (_, None) => "ERR a request ends within a word",
                    _ => {
                        "ERR the clock says no time: expected Unix milliseconds, from 0 to 2^53 - 1"
                    }
                };
                write_error(&mut host.refusal, why);
                &host.refusal
            }
        };
        host.reply = (reply.as_ptr().expose_provenance(), reply.len());
        u32::try_from(reply.len()).unwrap_or(u32::MAX)
    })
}

/// Where the reply of the last call is, until the next.
#[no_mangle]
pub extern "C" fn ratelimit_reply() -> usize {
    HOST.with_borrow(|host| host.reply.0)
}

/// A time of the host's, whole milliseconds.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "within what both can say"
)]
fn time(now_ms: f64) -> Option<u64> {
    const MOST: f64 = 9_007_199_254_740_991.0; // 2^53 - 1
    (0.0..=MOST).contains(&now_ms).then_some(now_ms as u64)
}

/// The words of a request.
fn words(mut request: &[u8]) -> Option<SmallVec<[&[u8]; 16]>> {
    let mut words = SmallVec::new();
    while !request.is_empty() {
        let (length, behind) = request.split_first_chunk()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (word, behind) = behind.split_at_checked(length)?;
        words.push(word);
        request = behind;
    }
    Some(words)
}
