//! What is counted for a name, or for none: the hits, and who had them.

use super::form::Form;
use super::series::{Counts, Series};
use super::top::{Frequent, Top};
use super::Outcome;
use crate::core::bytes::source::Source;
use crate::core::bytes::varint::write_string;
use crate::core::error::MAX_NAME_BYTES;
use ahash::RandomState;
use std::rc::Rc;

/// Of the hits of a name, those of calls that name another behind it, such as `POLICY api:acme POLICY api`: they count under
/// that name too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The last name of the latest such call.
    pub last: Box<[u8]>,
    /// How many.
    pub counts: Counts,
}

/// What is counted for a name.
#[derive(Debug)]
pub struct Named {
    pub(super) name: Rc<[u8]>,
    pub(super) series: Series,
    pub(super) lists: IdentifierLists,
    /// In a box, as most have none.
    pub(super) chain: Option<Box<Chain>>,
    /// Whether it is, or was, a policy's: then it is not one of [`super::Bounds::names`].
    pub(super) is_policy: bool,
    /// Whether it is among [`super::record::Unwritten::names`].
    pub(super) unwritten: bool,
    /// Whether the next record has all of it.
    pub(super) whole: bool,
}

impl Named {
    pub(super) fn new(name: Rc<[u8]>) -> Self {
        Self {
            name,
            series: Series::default(),
            lists: IdentifierLists::default(),
            chain: None,
            is_policy: false,
            unwritten: false,
            whole: true,
        }
    }

    /// Its hits: in all, by the hour and by the day.
    pub fn series(&self) -> &Series {
        &self.series
    }

    /// Who had them.
    pub fn lists(&self) -> &IdentifierLists {
        &self.lists
    }

    /// Which of its hits count under another name too.
    pub fn chain(&self) -> Option<&Chain> {
        self.chain.as_deref()
    }

    /// Counts a hit of a call that names `last` behind it.
    pub(super) fn count_before(&mut self, last: &[u8], outcome: Outcome) {
        let chain = self.chain.get_or_insert_with(|| {
            Box::new(Chain {
                last: last.into(),
                counts: Counts::default(),
            })
        });
        if *chain.last != *last {
            chain.last = last.into();
        }
        chain.counts.count(outcome);
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let chain = self.chain();
        let chain = chain.map_or(0, |chain| size_of::<Chain>() + chain.last.len());
        self.series.heap_bytes() + self.lists.heap_bytes() + chain
    }

    pub(super) fn write_chain(&self, out: &mut Vec<u8>) {
        match self.chain() {
            None => write_string(out, b""),
            Some(chain) => {
                write_string(out, &chain.last);
                chain.counts.write(out);
            }
        }
    }
}

impl Chain {
    /// What [`Named::write_chain`] wrote of a name with so many hits; the inner `None` is that it has none.
    #[allow(clippy::option_option, reason = "refused, or none")]
    pub(super) fn read(source: &mut Source, form: Form, hits: Counts) -> Option<Option<Box<Self>>> {
        if !form.is_newest() {
            return Some(None);
        }
        let last = source.string(MAX_NAME_BYTES)?;
        if last.is_empty() {
            return Some(None);
        }
        let counts = Counts::read(source, form)?;
        let last = last.into();
        let chain = counts.is_within(hits).then_some(Self { last, counts })?;
        Some(Some(Box::new(chain)))
    }
}

/// The identifiers that had an outcome most often, for each outcome that has such a list.
#[derive(Debug, Default)]
pub struct IdentifierLists([Top; Self::OUTCOMES.len()]);

impl IdentifierLists {
    /// These, in the order in which they are told and saved. What a deny list caught is in none.
    pub const OUTCOMES: [Outcome; 3] = [Outcome::Allowed, Outcome::Denied, Outcome::ShadowDenied];

    /// Those that had the outcome most often, most first.
    pub fn most(&self, outcome: Outcome) -> Vec<Frequent<'_>> {
        let mut lists = Self::OUTCOMES.iter().zip(&self.0);
        let list = lists.find(|(listed, _)| **listed == outcome);
        list.map_or_else(Vec::new, |(_, top)| top.list())
    }

    #[inline(always)]
    pub(super) fn of(&mut self, outcome: Outcome) -> Option<&mut Top> {
        let [allowed, denied, shadow_denied] = &mut self.0;
        match outcome {
            Outcome::Allowed => Some(allowed),
            Outcome::Denied => Some(denied),
            Outcome::ShadowDenied => Some(shadow_denied),
            Outcome::DenyListed => None,
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.0.iter().map(Top::heap_bytes).sum()
    }

    /// Lets the next record have all of them.
    pub(super) fn forget_written(&mut self) {
        self.0.iter_mut().for_each(Top::forget_written);
    }

    /// Appends all of them.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        for top in &self.0 {
            top.write(out);
        }
    }

    /// Appends what has changed in them since the last time.
    pub(super) fn write_change(&mut self, out: &mut Vec<u8>) {
        for top in &mut self.0 {
            top.write_change(out);
        }
    }

    /// What that which was written makes of them, each of a stream of as many hits as were counted, if that is known.
    pub(super) fn read(
        &self,
        source: &mut Source,
        form: Form,
        hits: Option<Counts>,
        hashing: &RandomState,
    ) -> Option<ListsChange> {
        let mut change = ListsChange::default();
        let lists = self.0.iter().zip(Self::OUTCOMES);
        let lists = lists.take(form.outcomes(Self::OUTCOMES.len()));
        for (changed, (own, outcome)) in change.0.iter_mut().zip(lists) {
            let hits = hits.map_or(u64::MAX, |hits| hits.of(outcome));
            *changed = own.read(source, form, hits, hashing)?;
        }
        Some(change)
    }
}

/// The lists that differ from what is there, or from nothing where they take its place.
#[derive(Default)]
pub(super) struct ListsChange([Option<Top>; IdentifierLists::OUTCOMES.len()]);

impl ListsChange {
    pub(super) fn apply(self, lists: &mut IdentifierLists) {
        for (top, changed) in lists.0.iter_mut().zip(self.0) {
            if let Some(changed) = changed {
                *top = changed;
            }
        }
    }
}
