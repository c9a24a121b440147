//! What was changed lately, and by whom: policies, deny lists and statistics, by command or because a policy's TTL was over.
//!
//! As the server's SLOWLOG and ACL LOG it is the node's own: no replica, RDB file or AOF has it, and it ends with the process.
//! What lasts is the server's log, which has a line for each.

use std::collections::VecDeque;
use std::fmt::{self, Display};

/// Changes that are remembered, the newest of all: less than 2 MiB at the worst.
pub const MAX_CHANGES: usize = 1_000;
/// The most bytes of each of a change's texts.
const MAX_TEXT_BYTES: usize = 600;

/// A change. Displayed, it is its line in the server's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// When, in Unix milliseconds.
    pub at_ms: u64,
    /// Who; nobody, where a policy's TTL was over.
    pub by: String,
    /// What was changed: `policy 'login'`.
    pub subject: String,
    /// What was done with it: `set`.
    pub done: String,
    /// From what to what, or which values; nothing where there is no more to say.
    pub detail: String,
}

impl Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} {}", self.subject, self.done)?;
        if !self.by.is_empty() {
            write!(f, " by {}", self.by)?;
        }
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        Ok(())
    }
}

/// The latest changes.
#[derive(Debug, Default)]
pub struct Audit {
    changes: VecDeque<Change>,
}

impl Audit {
    /// Remembers a change, in place of the oldest where there are too many.
    pub fn add(&mut self, mut change: Change) {
        let Change {
            by,
            subject,
            done,
            detail,
            ..
        } = &mut change;
        for text in [by, subject, done, detail] {
            shorten(text);
        }
        if self.changes.len() == MAX_CHANGES {
            self.changes.pop_back();
        }
        self.changes.push_front(change);
    }

    /// Up to `count` of them, newest first.
    pub fn latest(&self, count: usize) -> impl ExactSizeIterator<Item = &Change> {
        self.changes.iter().take(count)
    }

    /// Bytes in use, without the allocator's own.
    pub fn memory_bytes(&self) -> usize {
        let texts = |change: &Change| {
            let texts = [&change.by, &change.subject, &change.done, &change.detail];
            texts.map(String::capacity).into_iter().sum::<usize>()
        };
        self.changes.capacity() * size_of::<Change>()
            + self.changes.iter().map(texts).sum::<usize>()
    }
}

/// Cuts a text that is too long, and says so at its end.
fn shorten(text: &mut String) {
    const MARK: &str = "...";
    if text.len() > MAX_TEXT_BYTES {
        let mut end = MAX_TEXT_BYTES - MARK.len();
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str(MARK);
    }
    text.shrink_to_fit();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(at_ms: u64, detail: &str) -> Change {
        Change {
            at_ms,
            by: "user 'default' at 127.0.0.1:1".to_owned(),
            subject: "policy 'login'".to_owned(),
            done: "set".to_owned(),
            detail: detail.to_owned(),
        }
    }

    #[test]
    fn the_newest_are_kept_and_come_first() {
        let mut audit = Audit::default();
        for at_ms in 0..MAX_CHANGES as u64 + 5 {
            audit.add(change(at_ms, ""));
        }
        let at_ms: Vec<u64> = audit.latest(3).map(|change| change.at_ms).collect();
        assert_eq!(at_ms, [1_004, 1_003, 1_002]);
        assert_eq!(audit.latest(usize::MAX).len(), MAX_CHANGES);
        assert_eq!(audit.latest(usize::MAX).last().unwrap().at_ms, 5);
    }

    #[test]
    fn no_text_makes_it_large() {
        let mut audit = Audit::default();
        for at_ms in 0..2_000 {
            let long = "\u{e9}".repeat(5_000);
            let Change { by, done, .. } = change(0, "");
            audit.add(Change {
                at_ms,
                by,
                done,
                subject: long.clone(),
                detail: long,
            });
        }
        assert!(audit.memory_bytes() < 2 << 20, "{}", audit.memory_bytes());
        let newest = audit.latest(1).next().unwrap();
        assert!(newest.detail.len() <= MAX_TEXT_BYTES && newest.detail.ends_with("\u{e9}..."));
    }

    #[test]
    fn a_line_says_who_where_somebody_did_it() {
        let line = change(0, "from none to sliding 5 15m").to_string();
        let by = "by user 'default' at 127.0.0.1:1";
        assert_eq!(
            line,
            format!("policy 'login' set {by}: from none to sliding 5 15m")
        );
        assert_eq!(
            change(0, "").to_string(),
            format!("policy 'login' set {by}")
        );
        let ended = Change {
            by: String::new(),
            done: "ended".to_owned(),
            ..change(0, "from a to b")
        };
        assert_eq!(ended.to_string(), "policy 'login' ended: from a to b");
    }
}
