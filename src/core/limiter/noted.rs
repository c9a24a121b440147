//! What a key keeps beside its usage.
//!
//! Each note is a field of [`Notes`], with a flag of its own in the encoding (see [`crate::core::codec`]). A key that has
//! none is one of the other forms, and pays for none of this.

use super::block::{Block, Shut};
use super::regional::Regional;
use super::{Form, Ids, Left, Limiter, LimiterMut, Readings, Shadow, State};
use crate::core::algorithm::meter::Allocations;
use crate::core::limit::Algorithm;

/// A limiter, and what its key keeps beside its usage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    /// What has been used; `None` where nothing has. Never itself `Noted`.
    pub limiter: Option<Limiter>,
    /// What is noted: something at least.
    pub notes: Notes,
}

/// What may be noted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// The block that a denied hit has started. It is of usage, so there is a limiter.
    pub block: Option<Block>,
    /// The block by order.
    pub shut: Option<Shut>,
    /// Which hits are known. They have changed usage, so there is a limiter.
    pub ids: Ids,
    /// What limits that are tried have let through. They are tried on usage, so there is a limiter.
    pub shadow: Shadow,
}

impl Noted {
    /// Makes room for notes on what a key holds; `None` is an absent key.
    pub fn of(limiter: Option<Limiter>) -> Self {
        match limiter {
            Some(Limiter::Noted(noted)) => *noted,
            limiter => Self {
                limiter,
                notes: Notes::default(),
            },
        }
    }

    /// Forgets the notes that are over. What takes its place where none is left: the limiter alone.
    #[inline(always)]
    pub fn forget(&mut self, now_ms: u64) -> Option<Limiter> {
        if self.limiter.is_some() {
            self.notes.forget(now_ms);
        }
        self.notes.is_empty().then(|| self.limiter.take()).flatten()
    }
}

/// Shuts a key by order for so long from now on, unless an earlier order does so for longer; 0 lifts whatever block there is.
/// `held` is `None` where there is no key. What that leaves of the key; `None` where it changes nothing.
pub fn order(held: Option<&mut LimiterMut<'_>>, length_ms: u64, now_ms: u64) -> Option<Left> {
    match held {
        Some(Form::Noted(noted)) => {
            let before = (noted.notes.block, noted.notes.shut);
            noted.notes.order(length_ms, now_ms);
            let left = match (noted.notes.is_empty(), &noted.limiter) {
                (false, _) => Left::Same,
                (true, Some(limiter)) => Left::Other(limiter.clone()),
                (true, None) => Left::Nothing,
            };
            (before != (noted.notes.block, noted.notes.shut)).then_some(left)
        }
        _ if length_ms == 0 => None,
        held => {
            let mut noted = Noted::of(held.map(|held| held.to_limiter()));
            noted.notes.order(length_ms, now_ms);
            Some(Left::Other(Limiter::Noted(Box::new(noted))))
        }
    }
}

impl Notes {
    fn order(&mut self, length_ms: u64, now_ms: u64) {
        if length_ms == 0 {
            (self.block, self.shut) = (None, None);
            return;
        }
        let until_ms = now_ms + length_ms;
        let ordered = Shut {
            until_ms,
            length_ms,
        };
        let mut shut = self.shut.unwrap_or(ordered);
        shut.rewind(now_ms);
        self.shut = Some(if shut.until_ms > until_ms {
            shut
        } else {
            ordered
        });
    }

    /// Whether nothing is noted.
    #[inline]
    pub fn is_empty(&self) -> bool {
        let Self {
            block,
            shut,
            ids,
            shadow,
        } = self;
        block.is_none() && shut.is_none() && ids.is_empty() && shadow.0.is_none()
    }

    /// For how many milliseconds more the key is shut.
    #[inline]
    pub fn left_ms(&self, now_ms: u64) -> u64 {
        // (A closure would be called here.)
        let block_ms = match &self.block {
            Some(block) => block.left_ms(now_ms),
            None => 0,
        };
        match &self.shut {
            Some(shut) => shut.left_ms(now_ms).max(block_ms),
            None => block_ms,
        }
    }

    /// Whether anything is too far in the future: the clock has stepped back.
    pub(in crate::core) fn is_ahead(&self, now_ms: u64) -> bool {
        self.shuts().any(|shut| shut.is_ahead(now_ms)) || self.ids.is_ahead(now_ms)
    }

    /// Moves to the present what is too far in the future.
    #[inline(always)]
    pub(in crate::core) fn rewind(&mut self, now_ms: u64) {
        if let Some(block) = &mut self.block {
            block.rewind(now_ms);
        }
        if let Some(shut) = &mut self.shut {
            shut.rewind(now_ms);
        }
        self.ids.rewind(now_ms);
    }

    #[inline(always)]
    fn forget(&mut self, now_ms: u64) {
        if self.block.is_some_and(|block| block.is_forgotten(now_ms)) {
            self.block = None;
        }
        if self.shut.is_some_and(|shut| shut.is_over(now_ms)) {
            self.shut = None;
        }
        self.shadow.settle(now_ms);
        self.ids.forget_ended(now_ms);
    }

    /// The ladder's block and the one by order.
    fn shuts(&self) -> impl Iterator<Item = Shut> {
        let block = self.block.map(|block| block.shut());
        block.into_iter().chain(self.shut)
    }

    /// When nothing is noted any more.
    #[inline(always)]
    fn over_at_ms(&self) -> u64 {
        let mut over_ms = self.ids.ends_ms();
        if let Some(block) = &self.block {
            over_ms = over_ms.max(block.forgotten_at_ms());
        }
        if let Some(shut) = &self.shut {
            over_ms = over_ms.max(shut.until_ms);
        }
        if let Some(limiter) = &self.shadow.0 {
            over_ms = over_ms.max(limiter.unused_at_ms());
        }
        over_ms
    }

    /// When a key that keeps nothing else is to expire. (A block by order has an end that is told, so its key goes with it.)
    fn expires_ms(&self) -> u64 {
        let forgotten_ms = self
            .block
            .map_or(0, |block| block.forgotten_at_ms() + 1_000);
        let open_ms = self.shut.map_or(0, |shut| shut.until_ms);
        let unused_ms = self.shadow.0.as_ref().map_or(0, Limiter::expires_ms);
        let ends_ms = self.ids.expires_ms();
        forgotten_ms.max(open_ms).max(ends_ms).max(unused_ms)
    }
}

impl State for Noted {
    fn algorithm(&self) -> Option<Algorithm> {
        self.limiter.as_ref()?.algorithm()
    }

    fn reading(&self, now_ms: u64) -> Readings {
        let limiter = self.limiter.as_ref();
        limiter.map_or_else(Readings::new, |limiter| limiter.reading(now_ms))
    }

    #[inline(always)]
    fn unused_at_ms(&self) -> u64 {
        let over_ms = self.notes.over_at_ms();
        match &self.limiter {
            Some(limiter) => over_ms.max(limiter.unused_at_ms()),
            None => over_ms,
        }
    }

    fn expires_ms(&self) -> u64 {
        let expires_ms = self.limiter.as_ref().map_or(0, Limiter::expires_ms);
        expires_ms.max(self.notes.expires_ms())
    }

    fn visit_allocations(&mut self, visitor: &mut impl Allocations) {
        self.notes.ids.visit_allocations(visitor);
        let shadow = &mut self.notes.shadow.0;
        for limiter in self.limiter.iter_mut().chain(shadow) {
            limiter.held().visit_allocations(visitor);
            limiter.visit_box(visitor);
        }
    }

    fn heap_bytes(&self) -> usize {
        let limiters = self.limiter.iter().chain(&self.notes.shadow.0);
        limiters.map(Limiter::bytes).sum::<usize>() + self.notes.ids.heap_bytes()
    }

    fn regional(&self) -> Option<&dyn Regional> {
        self.limiter.as_ref()?.regional()
    }

    fn regional_mut(&mut self) -> Option<&mut dyn Regional> {
        self.limiter.as_mut()?.regional_mut()
    }
}
