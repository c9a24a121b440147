//! What a key that a command has opened holds, and how it is changed.

use super::data_type;
use super::propagate;
use super::raw::{Call, Key, Word};
use super::regions;
use crate::core::error::Error;
use crate::core::limiter::{Form, Left, Limiter, LimiterMut, LimiterRef, State};
use crate::core::quote::shadow::{self, Tried};
use crate::core::quote::{self, Change, Hit, Quote};

/// An open key that holds a limiter or nothing. It borrows the limiter from the server for as long as the key is open.
pub struct Slot<'key> {
    key: Key<'key>,
    held: Option<LimiterMut<'key>>,
}

impl<'key> Slot<'key> {
    /// Looks at an open key.
    ///
    /// # Errors
    /// A key that holds something else.
    #[inline(always)]
    pub fn of(key: Key<'key>) -> Result<Self, Error> {
        let held = match key.value(data_type::handle()) {
            // SAFETY: the server keeps only what `into_raw` made under this type. As long as the key is borrowed no other is
            // open (see `Keys`), it is the slot's own, and this one lends what it holds for no longer than it is itself
            // borrowed: so nobody has it when the slot has the server free it.
            Some(value) => Some(unsafe { data_type::held(value) }),
            None => match key.holds() {
                None => None,
                Some(holds) => return Err(Error::HoldsType { holds }),
            },
        };
        Ok(Self { key, held })
    }

    /// What it holds; `None` where there is no key.
    #[inline(always)]
    pub fn held(&self) -> Option<LimiterRef<'_>> {
        self.held.as_ref().map(Form::by_ref)
    }

    /// As [`Slot::held`], to change it.
    pub fn held_mut(&mut self) -> Option<LimiterMut<'_>> {
        self.held.as_mut().map(LimiterMut::held)
    }

    /// Whether a change would have the server make a key, and it would refuse that, for want of memory.
    #[inline(always)]
    pub fn is_refused(&self, call: &Call, change: Change) -> bool {
        !change.is_none() && self.held.is_none() && call.refuses_new_keys()
    }

    /// Makes a change, sees to the TTL, and tells replicas, the AOF, watchers and tracking clients.
    #[inline(always)]
    pub fn commit(&mut self, hit: &Hit, change: Change, now_ms: u64) -> Result<(), Error> {
        if change.is_none() {
            return Ok(());
        }
        let replacement = quote::commit(self.held.as_mut(), hit, change, now_ms)?;
        self.settle(replacement);
        if let Some(held) = &self.held {
            propagate::commit(&self.key, held.by_ref(), hit, change, now_ms);
        }
        if let Some(here) = hit.options.here {
            let regional = self.held.as_ref().and_then(Form::regional);
            if regional.is_some_and(|regional| regional.local().entry < here.due) {
                self.note_change(now_ms);
            }
        }
        Ok(())
    }

    /// As [`Slot::commit`], of a hit that asks for nothing rare but its id, and that as the call's word.
    #[inline(always)]
    pub fn commit_once(
        &mut self,
        hit: &Hit,
        id: &[u8],
        word: Word,
        change: &Change,
        now_ms: u64,
    ) -> Result<(), Error> {
        let Change::Once(once) = change else {
            return self.commit(hit, *change, now_ms);
        };
        let replacement = quote::commit_once(self.held.as_mut(), hit, id, change, now_ms)?;
        if let Some(limiter) = replacement {
            self.put(limiter);
        }
        if let Some(Form::Noted(noted)) = &self.held {
            let unused_at_ms = noted.unused_at_ms();
            self.keep_ttl_past(unused_at_ms);
        }
        propagate::once(&self.key, hit, word, once, now_ms);
        Ok(())
    }

    /// Holds what a change has made, where that is not what it held, and sees to the TTL.
    #[inline(always)]
    fn settle(&mut self, replacement: Option<Limiter>) {
        if let Some(limiter) = replacement {
            self.put(limiter);
        }
        self.keep_ttl();
    }

    /// Asks limits that are tried on the key of a change that was made, and notes what they would have let through. Whether they
    /// would have denied what the hit's own limits let through.
    #[cold]
    pub fn try_on(
        &mut self,
        hit: &Hit,
        tried: &Tried,
        change: Change,
        now_ms: u64,
    ) -> Result<bool, Error> {
        let taken = change.cost();
        if taken == 0 {
            return Ok(false);
        }
        tried.hit(hit, taken, |hit| {
            // (What cannot be asked of them stops no hit.)
            let judged = self
                .held
                .as_mut()
                .map(|held| shadow::quote(held, hit, now_ms));
            let judged = judged.and_then(Result::ok).unwrap_or_default();
            self.commit_shadow(hit, judged.change, now_ms)?;
            if let (Some(held), true) = (&self.held, !judged.change.is_none()) {
                propagate::shadow(&self.key, held.by_ref(), hit, judged.change, now_ms);
            }
            Ok(judged.denies)
        })
    }

    /// Makes the change of an effect that is one of the meters of limits that are tried, as [`Slot::apply`] does.
    pub fn apply_shadow(&mut self, hit: &Hit, change: Change, now_ms: u64) -> Result<(), Error> {
        if let Some(held) = &mut self.held {
            shadow::quote(held, hit, now_ms)?;
        }
        self.commit_shadow(hit, change, now_ms)
    }

    fn commit_shadow(&mut self, hit: &Hit, change: Change, now_ms: u64) -> Result<(), Error> {
        let Some(held) = self.held.as_mut().filter(|_| !change.is_none()) else {
            return Ok(());
        };
        let replacement = shadow::commit(held, hit, change, now_ms)?;
        self.settle(replacement);
        Ok(())
    }

    /// Notes for other regions that the key has changed.
    #[cold]
    pub fn note_change(&mut self, now_ms: u64) {
        if let Some(regional) = self.held.as_mut().and_then(LimiterMut::regional_mut) {
            regions::note(&self.key, regional.local_mut(), now_ms);
        }
    }

    /// Makes the change of an effect, and sees to the TTL: the effect itself is sent on. Whoever sent it may have made it up,
    /// so it is quoted too, for what no hit could do.
    pub fn apply(&mut self, hit: &Hit, change: Change, now_ms: u64) -> Result<(), Error> {
        quote::quote(self.held(), hit, now_ms, true, &mut Quote::default())?;
        let replacement = quote::commit(self.held.as_mut(), hit, change, now_ms)?;
        self.settle(replacement);
        Ok(())
    }

    /// Holds a limiter in place of what it held. The TTL stays, as it does where an effect says so.
    pub fn put(&mut self, limiter: Limiter) {
        let ends_ms = self.held.take().and_then(|_| self.key.expires_ms());
        let value = data_type::into_raw(limiter);
        // SAFETY: commands that change a key open it to write; `into_raw` makes what the type's callbacks take; what was
        // borrowed before, and is freed now, has just been given up.
        unsafe { self.key.set_value(data_type::handle(), value) };
        if let Some(ends_ms) = ends_ms {
            self.key.expire_at(ends_ms);
        }
        // SAFETY: the server keeps what `into_raw` has just made, and nothing else is borrowed from it.
        self.held = Some(unsafe { data_type::held(value) });
    }

    /// Holds what a change has left of it, and sees to the TTL.
    pub fn leave(&mut self, left: Left) {
        match left {
            Left::Nothing => return self.delete(),
            Left::Same => {}
            Left::Other(limiter) => self.put(limiter),
        }
        self.keep_ttl();
    }

    /// Deletes the key, and with it what it held.
    pub fn delete(&mut self) {
        if self.held.take().is_some() {
            self.key.delete();
        }
    }

    /// Keeps a TTL on the key that is never earlier than the moment when nothing is used any more.
    ///
    /// It is looked up at each change, as somebody may have said PERSIST or EXPIRE in between, and set only where it has come
    /// to be too early: then some way past that moment ([`Form::expires_ms`]), so that a hot key does not pay for a new TTL at
    /// each hit. What is set follows from the state alone, so a replica that applies the same effects sets the same.
    ///
    /// (Keyspace events would tell of a PERSIST without a look-up, but to subscribe to them costs every DEL, EXPIRE and
    /// SET with a TTL on the server 900 instructions or more, whosever keys they are.)
    ///
    /// The TTL is housekeeping. No decision depends on it.
    #[inline(always)]
    pub fn keep_ttl(&mut self) {
        if let Some(held) = &self.held {
            let unused_at_ms = held.unused_at_ms();
            self.keep_ttl_past(unused_at_ms);
        }
    }

    #[inline(always)]
    fn keep_ttl_past(&mut self, unused_at_ms: u64) {
        let ends_ms = self.key.expires_ms();
        if ends_ms.is_none_or(|ends_ms| ends_ms < unused_at_ms) {
            self.renew_ttl();
        }
    }

    /// Sets the TTL anew, also to an earlier time than it was.
    pub fn renew_ttl(&mut self) {
        if let Some(held) = &self.held {
            self.key.expire_at(held.expires_ms());
        }
    }

    /// The open key.
    pub fn key(&self) -> &Key<'key> {
        &self.key
    }
}
