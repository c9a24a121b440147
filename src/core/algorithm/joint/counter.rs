//! What one origin has charged and given back: a PN-counter of one writer, whose copies merge by the greater of each.

use crate::core::bytes::source::Source;
use crate::core::bytes::varint;

/// Both only grow, up to a bound. See [`super::fixed`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// Units charged: at most 2^63.
    pub(in crate::core) charged: u64,
    /// Units given back: at most 2^62.
    pub(in crate::core) given: u64,
}

impl Counter {
    const MAX_CHARGED: u64 = 1 << 63;
    const MAX_GIVEN: u64 = 1 << 62;

    /// So much charged, and nothing given back.
    pub(in crate::core) fn of(charged: u64) -> Self {
        Self { charged, given: 0 }
    }

    /// Whether there is nothing in it.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What is charged and not given back.
    pub(super) fn net(&self) -> u64 {
        self.charged.saturating_sub(self.given)
    }

    pub(super) fn charge(&mut self, units: u64) {
        self.charged = self.charged.saturating_add(units).min(Self::MAX_CHARGED);
    }

    pub(super) fn give_back(&mut self, units: u64) {
        self.given = self.given.saturating_add(units).min(Self::MAX_GIVEN);
    }

    /// Gives back all that is charged.
    pub(super) fn give_back_all(&mut self) {
        self.given = self.given.max(self.charged.min(Self::MAX_GIVEN));
    }

    /// Takes over what another copy knows better.
    pub(super) fn absorb(&mut self, copy: &Self) {
        self.charged = self.charged.max(copy.charged);
        self.given = self.given.max(copy.given);
    }

    /// Adds another origin's.
    pub(super) fn fold(&mut self, earlier: &Self) {
        self.charge(earlier.charged);
        self.give_back(earlier.given);
    }

    /// Appends its bytes.
    pub(in crate::core) fn write(&self, out: &mut Vec<u8>) {
        varint::write(out, self.charged);
        varint::write(out, self.given);
    }

    /// Reads what [`Counter::write`] wrote.
    pub(in crate::core) fn read(source: &mut Source) -> Option<Self> {
        Some(Self {
            charged: source.at_most(Self::MAX_CHARGED)?,
            given: source.at_most(Self::MAX_GIVEN)?,
        })
    }
}
