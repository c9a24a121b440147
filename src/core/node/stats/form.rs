//! In which form bytes are: statistics as they are saved, or a record of what has changed in them, and of which version.
//!
//! What is saved is read as a record that follows on nothing. The two differ by what a record has to say of that: how each part
//! stands to what the copy has, and from which hour and day on rows are given.

use crate::core::bytes::source::Source;
use crate::core::limit::Algorithm;

/// The form of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    /// 1: of three algorithms, without lists of hits that have no name. 2: of 90 days by the hour, without days, shadows, chains,
    /// and what came lately. 3: with these.
    pub(super) version: u8,
    pub(super) is_record: bool,
}

impl Form {
    /// What is saved now.
    pub(super) const SAVED: Self = Self {
        version: 3,
        is_record: false,
    };
    /// A record of now.
    pub(super) const RECORD: Self = Self {
        is_record: true,
        ..Self::SAVED
    };

    /// Reads the version, with which all bytes begin.
    pub(super) fn read(source: &mut Source, is_record: bool) -> Option<Self> {
        let version = source.byte()?;
        (1..=Self::SAVED.version)
            .contains(&version)
            .then_some(Self { version, is_record })
    }

    /// Whether it is the first version.
    pub(super) fn is_first(self) -> bool {
        self.version == 1
    }

    /// Whether it has all that the newest version has.
    pub(super) fn is_newest(self) -> bool {
        self.version == Self::SAVED.version
    }

    /// How many algorithms follow.
    pub(super) fn algorithms(self, source: &mut Source) -> Option<usize> {
        match self.is_first() {
            true => Some(3),
            false => source.count(Algorithm::ALL.len()),
        }
    }

    /// How many outcomes of a kind it has, of so many that there are now: the last is that of shadows.
    pub(super) fn outcomes(self, now: usize) -> usize {
        now - usize::from(!self.is_newest())
    }

    /// From which hour or day on rows follow.
    pub(super) fn start(self, source: &mut Source) -> Option<u64> {
        match self.is_record {
            true => source.number(),
            false => Some(0),
        }
    }
}
