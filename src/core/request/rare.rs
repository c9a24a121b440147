//! The options that few calls have: a row each.

use super::{charges, duration_of, in_call, in_clause, integer, once, Reader, Scope, MAX_BLOCKS};
use crate::core::error::Error;
use crate::core::limit::{Algorithm, MAX_COUNT, MAX_TIME_MS};
use crate::core::request::{Clause, Rarity};

/// Which one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rare {
    Force,
    At,
    Stamp,
    Next,
    Block,
    Min,
    Reserve,
    Shadow,
}

/// Where an option stands.
enum Stands {
    /// Behind the last clause.
    InCall,
    /// Before the call's options.
    InClause,
    /// In a command of one key.
    WithOneKey,
    /// In a clause of several keys.
    WithSeveral,
}

struct Row {
    option: Rare,
    name: &'static str,
    stands: Stands,
    /// Whether it is of what charges, and no peek has it.
    charges: bool,
}

const fn row(option: Rare, name: &'static str, stands: Stands, charges: bool) -> Row {
    Row {
        option,
        name,
        stands,
        charges,
    }
}

const ROWS: [Row; 8] = [
    row(Rare::Force, "FORCE", Stands::InCall, true),
    row(Rare::At, "AT", Stands::InCall, true),
    row(Rare::Stamp, "STAMP", Stands::InCall, true),
    row(Rare::Next, "NEXT", Stands::InCall, false),
    row(Rare::Block, "BLOCK", Stands::InClause, false),
    row(Rare::Min, "MIN", Stands::WithOneKey, false),
    row(Rare::Reserve, "RESERVE", Stands::WithOneKey, true),
    row(Rare::Shadow, "SHADOW", Stands::WithSeveral, false),
];

// An option's place in the table is its own number: by it it is looked up.
#[allow(clippy::indexing_slicing, reason = "done by the compiler")]
const _: () = {
    let mut place = 0;
    while place < ROWS.len() {
        assert!(ROWS[place].option as usize == place);
        place += 1;
    }
};

/// Of one clause: what does not go together, by what it is called and refused.
const CONFLICTS: [(Rare, Rare); 6] = [
    (Rare::Reserve, Rare::Force),
    (Rare::Reserve, Rare::At),
    (Rare::Reserve, Rare::Min),
    (Rare::Reserve, Rare::Block),
    (Rare::Min, Rare::Force),
    (Rare::Shadow, Rare::Block),
];

/// What no clause of a lease has, and no call that has one.
const NOT_OF_LEASES: [Rare; 3] = [Rare::Min, Rare::Block, Rare::Shadow];
const NOT_WITH_LEASES: [Rare; 2] = [Rare::Force, Rare::At];

/// Which of them have been read, and where the word of each stood.
#[derive(Default)]
pub(super) struct Seen([usize; ROWS.len()]);

impl Seen {
    /// Where it stood; 0 where it has not.
    pub(super) fn at(&self, option: Rare) -> usize {
        self.0.get(option as usize).copied().unwrap_or(0)
    }

    /// Whether there is any.
    pub(super) fn is_any(&self) -> bool {
        self.0 != [0; ROWS.len()]
    }

    /// Whether what was said of one clause goes together.
    #[cold]
    pub(super) fn check(&self, algorithm: Algorithm, clause: &Clause) -> Result<(), Error> {
        let has = |option: Rare| self.at(option) > 0;
        if has(Rare::Reserve) && algorithm != Algorithm::Bucket {
            return self.conflict(Rare::Reserve, "FIXED, SLIDING or LEASE");
        }
        for (option, other) in CONFLICTS {
            if has(option) && has(other) {
                return self.conflict(option, name(other));
            }
        }
        if algorithm == Algorithm::Lease {
            self.refuse(&NOT_OF_LEASES)?;
            self.refuse(&NOT_WITH_LEASES)?;
        }
        let is_too_much = |min: u64| clause.cost > 0 && min > clause.cost.unsigned_abs();
        if clause.min.is_some_and(is_too_much) {
            return Err(Error::Min {
                at: self.at(Rare::Min) + 1,
            });
        }
        Ok(())
    }

    /// Whether what was said of the call goes with a lease.
    pub(super) fn check_with_lease(&self) -> Result<(), Error> {
        self.refuse(&NOT_WITH_LEASES)
    }

    fn refuse(&self, options: &[Rare]) -> Result<(), Error> {
        match options.iter().find(|option| self.at(**option) > 0) {
            Some(option) => self.conflict(*option, "a lease"),
            None => Ok(()),
        }
    }

    fn conflict(&self, option: Rare, with: &'static str) -> Result<(), Error> {
        Err(Error::Conflict {
            at: self.at(option),
            option: name(option),
            with,
        })
    }
}

fn name(option: Rare) -> &'static str {
    ROWS.get(option as usize).map_or("", |row| row.name)
}

impl<'a> Reader<'_, 'a> {
    /// Reads an option that few calls have, which is this word, or none.
    #[cold]
    pub(super) fn rare_option(&mut self, word: &'a [u8]) -> Result<(), Error> {
        let at = self.words.last();
        let is_named = |row: &&Row| word.eq_ignore_ascii_case(row.name.as_bytes());
        let Some(row) = ROWS.iter().find(is_named) else {
            return Err(Error::UnknownOption { at });
        };
        let option = row.name;
        let with = match (&row.stands, self.scope) {
            (Stands::WithOneKey, Scope::Clause | Scope::LastClause) => Some("several keys"),
            (Stands::WithSeveral, Scope::Single) => {
                Some("one key, whose answer it would be: it stands in a clause of RL.ALL")
            }
            _ => None,
        };
        if let Some(with) = with {
            return Err(Error::Conflict { at, option, with });
        }
        self.clause.rarity = Rarity::Rare;
        if let Some(seen) = self.seen.rare.0.get_mut(row.option as usize) {
            once(seen, at, option)?;
        }
        if row.charges {
            charges(self.verb, at, option)?;
        }
        self.value(row.option, at)?;
        match row.stands {
            Stands::InCall => in_call(self.scope, at, option),
            Stands::InClause | Stands::WithSeveral => {
                in_clause(self.scope, self.options, at, option)
            }
            Stands::WithOneKey => Ok(()),
        }
    }

    /// Reads what stands behind an option's name.
    fn value(&mut self, option: Rare, at: usize) -> Result<(), Error> {
        match option {
            Rare::Force => self.options.force = true,
            Rare::At => {
                let at_ms = self.whole("a time in Unix milliseconds")?;
                let at_ms = at_ms.filter(|at_ms| *at_ms <= MAX_TIME_MS);
                let at = self.words.last();
                self.options.at_ms = Some(at_ms.ok_or(Error::At { at })?);
            }
            Rare::Stamp => {
                if self.algorithm == Algorithm::Lease && self.scope == Scope::Single {
                    let (option, with) = ("STAMP", "a lease");
                    return Err(Error::Conflict { at, option, with });
                }
                self.options.stamp = true;
            }
            Rare::Next => self.options.next = true,
            Rare::Block => loop {
                if self.clause.block_ms.is_full() {
                    return Err(Error::TooMany {
                        at: self.words.at(),
                        what: "durations",
                        max: MAX_BLOCKS,
                    });
                }
                let block_ms = duration_of(self.words, "duration")?;
                self.clause.block_ms.push(block_ms);
                if !self.words.goes_on() {
                    break;
                }
            },
            Rare::Min => {
                let min = self.whole("the least to take")?;
                let min = min.filter(|min| (1..=MAX_COUNT).contains(min));
                let at = self.words.last();
                self.clause.min = Some(min.ok_or(Error::Min { at })?);
            }
            Rare::Reserve => self.clause.reserve_ms = Some(duration_of(self.words, "max-wait")?),
            Rare::Shadow => self.clause.is_shadow = true,
        }
        Ok(())
    }

    /// The next word as a number of 0 or more.
    fn whole(&mut self, expected: &'static str) -> Result<Option<u64>, Error> {
        let number = integer(self.words.next(expected)?);
        Ok(number.and_then(|number| u64::try_from(number).ok()))
    }
}
