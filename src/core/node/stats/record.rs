//! What has changed in the statistics, for a copy that is older: a replica's, or that which an AOF makes.
//!
//! To send each hit on would cost as much again as the hit. So what a hit changes is noted, and one record says how things
//! stand after any number of hits. It holds numbers as they are, not differences: a record may follow on a copy that has seen
//! some of its hits already, as does the base of an AOF that is being rewritten.
//!
//! ```text
//! record    = version 3
//!             0 | mode number { series } lists list          the totals: each algorithm's; without a name; most deny-listed
//!             number { name mode series lists chain }        names
//!
//! mode      = 1 | 2                                          it follows on what is there | it takes the place of that
//! series    = counts  from rows  from rows                   hours and days: those before `from` stay
//! rows      = number { distance counts }
//! counts    = allowed denied deny_listed shadow_denied
//! lists     = list list list                                 most allowed, denied and shadow-denied
//! list      = floor number { count max_error recent identifier }   what has changed, and what is at the floor
//! recent    = hour hits before                               the latest hour, what it counted, and the one before it
//! chain     = 0 | last counts                                none | hits that count under that name too
//! ```
//!
//! Earlier versions are read, and not written any more:
//!
//! ```text
//! record    = version 2
//!             0 | mode number { series } list list list      most allowed and most denied without a name; most deny-listed
//!             number { name mode series list list }
//!
//! series    = allowed denied deny_listed  first from  hours  no hour before `first`; those before `from` stay
//! hours     = number { distance allowed denied deny_listed }
//! list      = floor number { count max_error identifier }
//!
//! record    = version 1
//!             everything                                     1: all is forgotten first; else 0
//!             number { name }                                names that are forgotten first, sorted
//!             number [ series series series ]                0, or 1 and three algorithms'
//!             number { name series list list }               names
//! ```
//!
//! Lengths and numbers are varints ([`crate::core::bytes::varint`]), names and identifiers stand behind their length.
//!
//! A record is as long as what has changed, and no longer than its writer wants by more than the totals and a name: then the
//! next one goes on, with the names that have waited longest.

//!
//! [`Stats::encode`] saves the same, without the modes, and all rows and identifiers without `from`.

mod read;

use super::form::Form;
use super::named::Named;
use super::series::Series;
use super::Stats;
use crate::core::bytes::varint;
use crate::core::bytes::varint::write_string;
use std::collections::VecDeque;

/// How what is written stands to what the copy has.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Mode {
    /// Nothing is written.
    Absent = 0,
    /// The copy has an earlier state of it, and has had all that was written before.
    Follows = 1,
    /// Whatever the copy has of it goes.
    Whole = 2,
}

impl Mode {
    fn of(whole: bool) -> Self {
        if whole {
            Mode::Whole
        } else {
            Mode::Follows
        }
    }
}

/// What the records so far lack.
#[derive(Debug)]
pub(super) struct Unwritten {
    /// Hits of any algorithm, or values that were caught.
    pub(super) totals: bool,
    /// Whether the next record has all of the totals.
    pub(super) totals_whole: bool,
    /// Names that had hits, by their index, in the order in which they came to have one. Each is there once, and marked.
    pub(super) names: VecDeque<usize>,
}

impl Default for Unwritten {
    fn default() -> Self {
        Self {
            totals: false,
            totals_whole: true,
            names: VecDeque::new(),
        }
    }
}

impl Unwritten {
    /// The names have other indexes than before.
    pub(super) fn renumber(&mut self, named: &[Named]) {
        let names = named.iter().enumerate();
        self.names = names
            .filter(|(_, named)| named.unwritten)
            .map(|(index, _)| index)
            .collect();
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.names.capacity() * size_of::<usize>()
    }
}

impl Stats {
    /// Everything, as bytes: the same for equal statistics, whatever order they came about in.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![Form::SAVED.version];
        varint::write(&mut out, self.algorithms.len() as u64);
        for series in &self.algorithms {
            series.write(&mut out);
        }
        self.unnamed.write(&mut out);
        self.listed.write(&mut out);
        varint::write(&mut out, self.names.len() as u64);
        let names = self.names().into_iter();
        for named in names.filter_map(|name| self.name(name)) {
            write_string(&mut out, &named.name);
            named.series.write(&mut out);
            named.lists.write(&mut out);
            named.write_chain(&mut out);
        }
        out
    }

    /// The next record, of some `bytes` at most, which brings a copy nearer to what is here; `None` where it has come to be
    /// equal.
    pub fn next_record(&mut self, bytes: usize) -> Option<Vec<u8>> {
        let unwritten = &mut self.unwritten;
        if !unwritten.totals && unwritten.names.is_empty() {
            return None;
        }
        let mut out = vec![Form::RECORD.version];
        if std::mem::take(&mut unwritten.totals) {
            let whole = std::mem::take(&mut unwritten.totals_whole);
            out.push(Mode::of(whole) as u8);
            varint::write(&mut out, self.algorithms.len() as u64);
            for series in &mut self.algorithms {
                series.write_change(&mut out);
            }
            self.unnamed.write_change(&mut out);
            self.listed.write_change(&mut out);
        } else {
            out.push(Mode::Absent as u8);
        }
        let (mut number, mut names) = (0, Vec::new());
        while out.len() + names.len() < bytes || number == 0 {
            let Some(index) = unwritten.names.pop_front() else {
                break;
            };
            if let Some(named) = self.named.get_mut(index) {
                named.unwritten = false;
                number += 1;
                write_string(&mut names, &named.name);
                names.push(Mode::of(std::mem::take(&mut named.whole)) as u8);
                named.series.write_change(&mut names);
                named.lists.write_change(&mut names);
                named.write_chain(&mut names);
            }
        }
        varint::write(&mut out, number);
        out.extend(names);
        Some(out)
    }

    /// How much the records to come are to tell: the totals and each name are one.
    pub fn unwritten(&self) -> usize {
        usize::from(self.unwritten.totals) + self.unwritten.names.len()
    }

    /// Lets the records that follow have all there is, whatever the copy has.
    pub fn write_anew(&mut self) {
        self.unwritten.totals = true;
        self.unwritten.totals_whole = true;
        self.unwritten.names = (0..self.named.len()).collect();
        self.algorithms.iter_mut().for_each(Series::forget_written);
        self.unnamed.forget_written();
        self.listed.forget_written();
        for named in &mut self.named {
            named.unwritten = true;
            named.whole = true;
            named.series.forget_written();
            named.lists.forget_written();
        }
    }
}

#[cfg(test)]
mod tests;
