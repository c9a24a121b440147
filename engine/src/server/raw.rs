//! A call and its keys, as the module's `raw` has them of a server's: the words that the caller gave, a reply that is written in
//! RESP2, and keys of the engine's store.
//!
//! Where a server would send an effect on, publish an event or write a line in its log, nothing is done.

use super::data_type::{Handle, Raw, Value};
pub use super::registry::now_ms;
use crate::store::Store;
use smallvec::SmallVec;
use std::cell::RefCell;
use std::ffi::CStr;
use std::io::Write;

/// The arguments of a call, as bytes; a usual call's stay on the stack.
pub type Args<'a> = SmallVec<[&'a [u8]; 16]>;

/// An argument of a call.
#[derive(Clone, Copy)]
pub struct Word;

/// One call of a command.
pub struct Call<'a> {
    words: &'a [&'a [u8]],
    key_names: &'a [&'a [u8]],
    reply: &'a RefCell<Vec<u8>>,
    store: &'a RefCell<Store>,
}

impl<'a> Call<'a> {
    /// Of these words, of which these are keys.
    pub fn new(
        words: &'a [&'a [u8]],
        key_names: &'a [&'a [u8]],
        reply: &'a RefCell<Vec<u8>>,
        store: &'a RefCell<Store>,
    ) -> Self {
        Self {
            words,
            key_names,
            reply,
            store,
        }
    }

    /// What it opens its keys by.
    pub fn keys(&self) -> Keys<'a> {
        let (words, store) = (self.words, self.store);
        Keys { words, store }
    }

    /// Those words that are keys.
    pub fn key_names(&self) -> &'a [&'a [u8]] {
        self.key_names
    }

    /// Every argument, the command's name first.
    pub fn args(&self) -> Args<'a> {
        Args::from_slice(self.words)
    }

    /// Argument `index`. (Nobody is sent anything, so none is asked for.)
    pub fn word(&self, index: usize) -> Option<Word> {
        self.words.get(index).map(|_| Word)
    }

    /// The arguments from `first` on.
    pub fn read_args(&self, first: usize, args: &mut Args<'a>) {
        args.extend_from_slice(self.words.get(first..).unwrap_or_default());
    }

    /// Argument `index`; empty where there is none.
    pub fn arg(&self, index: usize) -> &'a [u8] {
        self.words.get(index).copied().unwrap_or_default()
    }

    /// Whether it is only asked which arguments are keys. It is not.
    pub fn asks_for_keys(&self) -> bool {
        false
    }

    /// Argument `index` is a key.
    pub fn tell_key(&self, _: usize) {}

    /// Whether the call comes from a primary or from the AOF. It does not.
    pub fn is_replayed(&self) -> bool {
        false
    }

    /// Whether there is no room for the keys that the call names, so far as they are new.
    pub fn refuses_new_keys(&self) -> bool {
        self.store.borrow_mut().is_full_for(self.key_names)
    }

    /// Who has sent the call: whoever holds the engine, and may see everything.
    pub fn user(&self) -> Option<User> {
        Some(User)
    }

    /// Sends an effect on.
    pub fn replicate(&self, _: &'static CStr, _: &[u8]) {}

    /// Sends this very call on.
    pub fn replicate_verbatim(&self) {}

    /// Replies an integer. A count past `i64` is out of every bound of the core's, and reads as the largest.
    pub fn reply_count(&self, value: u64) {
        self.reply_integer(i64::try_from(value).unwrap_or(i64::MAX));
    }

    /// Replies an integer.
    pub fn reply_integer(&self, value: i64) {
        self.line(format_args!(":{value}"));
    }

    /// Begins an array; its elements are the next `length` replies.
    pub fn reply_array(&self, length: usize) {
        self.line(format_args!("*{length}"));
    }

    /// Begins a map, which in RESP2 is a flat array; its entries are the next `length` pairs of replies.
    pub fn reply_map(&self, length: usize) {
        self.reply_array(2 * length);
    }

    /// Replies a bulk string.
    pub fn reply_bytes(&self, bytes: &[u8]) {
        self.line(format_args!("${}", bytes.len()));
        let mut reply = self.reply.borrow_mut();
        reply.extend_from_slice(bytes);
        reply.extend_from_slice(b"\r\n");
    }

    /// Replies a simple string.
    pub fn reply_simple(&self, text: &'static CStr) {
        self.line(format_args!("+{}", text.to_string_lossy()));
    }

    /// Replies "there is none".
    pub fn reply_null(&self) {
        self.line(format_args!("$-1"));
    }

    fn line(&self, text: std::fmt::Arguments) {
        write_line(&mut self.reply.borrow_mut(), text);
    }
}

fn write_line(reply: &mut Vec<u8>, text: std::fmt::Arguments) {
    reply.write_fmt(text).ok(); // a vector takes all that is written
    reply.extend_from_slice(b"\r\n");
}

/// Replies an error in the place of whatever has been replied.
pub fn write_error(reply: &mut Vec<u8>, text: &str) {
    reply.clear();
    let text = text.replace(['\r', '\n'], " "); // they would end the reply
    write_line(reply, format_args!("-{text}"));
}

/// A user who may see everything.
pub struct User;

impl User {
    /// Whether the user may read the key of that name.
    pub fn may_read(&self, _: &[u8]) -> bool {
        true
    }

    /// Whether the user may send a command that begins with these words.
    pub fn may_send(&self, _: &[&str]) -> bool {
        true
    }
}

/// What a call opens its keys by. One is open at a time: opening borrows it.
pub struct Keys<'a> {
    words: &'a [&'a [u8]],
    store: &'a RefCell<Store>,
}

impl Keys<'_> {
    /// Opens the key that is argument `index`, to change it. `None` where there is no such argument.
    pub fn open_to_write(&mut self, index: usize) -> Option<Key<'_>> {
        let (name, store) = (*self.words.get(index)?, self.store);
        Some(Key { name, store })
    }

    /// Opens the key that is argument `index`, to look at it. `None` where there is no such key.
    pub fn open_to_read(&mut self, index: usize) -> Option<Key<'_>> {
        let key = self.open_to_write(index)?;
        let is_there = key.store.borrow_mut().holds(key.name);
        is_there.then_some(key)
    }

    /// Publishes an event.
    pub fn notify(&mut self, _: usize, _: &'static CStr) {}
}

/// An open key.
pub struct Key<'a> {
    name: &'a [u8],
    store: &'a RefCell<Store>,
}

impl Drop for Key<'_> {
    /// Closes it, which asks for nothing here; the commands count on it that keys do.
    fn drop(&mut self) {}
}

impl Key<'_> {
    /// The value, if there is one.
    pub fn value(&self, _: Handle) -> Option<Raw> {
        self.store.borrow_mut().value(self.name).map(Value::raw)
    }

    /// What else than a limiter it holds. There is nothing else.
    pub fn holds(&self) -> Option<&'static str> {
        None
    }

    /// Makes the key hold `value`; what it held is freed and its TTL is gone.
    ///
    /// # Safety
    /// 1. Nobody uses what was borrowed from the key.
    /// 2. `data_type::into_raw` made `value`, and from here on it is the key's.
    pub unsafe fn set_value(&mut self, _: Handle, value: Raw) {
        // SAFETY: by 2.
        let value = unsafe { Value::of(value) };
        self.store.borrow_mut().put(self.name, value);
    }

    /// Deletes the key; what it held is freed.
    pub fn delete(&mut self) {
        self.store.borrow_mut().delete(self.name);
    }

    /// When the key expires, in Unix milliseconds; `None` where it does not.
    pub fn expires_ms(&self) -> Option<u64> {
        self.store.borrow().expires_ms(self.name)
    }

    /// Lets the key expire then.
    pub fn expire_at(&mut self, at_ms: u64) {
        self.store.borrow_mut().expire_at(self.name, at_ms);
    }

    /// Tells those who watch it.
    pub fn signal_modified(&self) {}

    /// Sends an effect on.
    pub fn replicate(&self, _: &'static CStr, _: &[u8]) {}
}

/// A line in the log: there is none.
pub fn warning(_: &str) {}
