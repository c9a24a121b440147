//! Which keys have changed here, for those who carry that to other regions.
//!
//! ```text
//! first                 handed                      next
//!   | login:a | login:b | login:c | login:a | login:d |
//!     read by every reader   ^ read by one, or none
//! ```
//!
//! A charge appends its key, unless the key's last entry has not been handed to any reader yet: that one will do for both. So
//! entries are per key and read, not per hit. The key's limiter keeps the number of its last entry; an entry whose key has a
//! later one is passed over.
//!
//! A reader keeps a cursor. One that is new, of another run of the server, or too late for what the ring still has, is
//! answered with a pass over all keys, and then with what has changed since the pass began: it needs no case of its own.

use std::collections::VecDeque;

/// Bytes of names that an entry may take on average before old ones go: names are the clients'.
const NAME_BYTES: usize = 256;

/// A key that has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// In which database.
    pub database: i32,
    /// Its name.
    pub name: Box<[u8]>,
    /// When the entry was appended: later changes are in it too, until somebody has read it.
    pub at_ms: u64,
}

/// The keys that have changed lately, oldest first.
#[derive(Clone, Debug)]
pub struct Ring {
    entries: VecDeque<Entry>,
    /// The number of the first entry; 0 is none's.
    first: u64,
    /// A key whose last entry has a number below this needs one.
    due: u64,
    /// A key whose last entry has a number below this was not charged here since this server has been a primary.
    term: u64,
    /// Bytes of names.
    bytes: usize,
    /// Entries that were gone when a reader came for them.
    lost: u64,
    run: u64,
}

impl Ring {
    /// An empty one. `run` tells it from that of another run of the server.
    pub fn new(run: u64) -> Self {
        Self {
            entries: VecDeque::new(),
            first: 1,
            due: 1,
            term: 1,
            bytes: 0,
            lost: 0,
            run,
        }
    }

    /// A key whose last entry is below this needs one for what is charged to it now.
    #[inline(always)]
    pub fn due(&self) -> u64 {
        self.due
    }

    /// Below this, a key's last entry is from before this server was a primary, or there is none.
    pub fn term(&self) -> u64 {
        self.term
    }

    /// This server has come to be a primary.
    pub fn begin_term(&mut self) {
        self.term = self.next();
        self.due = self.term;
    }

    /// The number of the next entry.
    pub fn next(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// Appends a key, and returns the number of its entry. Past `most` entries the oldest go.
    pub fn append(&mut self, name: &[u8], database: i32, now_ms: u64, most: usize) -> u64 {
        let number = self.next();
        self.bytes += name.len();
        self.entries.push_back(Entry {
            database,
            name: name.into(),
            at_ms: now_ms,
        });
        while self.entries.len() > most || self.bytes > most.saturating_mul(NAME_BYTES) {
            let Some(gone) = self.entries.pop_front() else {
                break;
            };
            self.bytes -= gone.name.len();
            self.first += 1;
        }
        self.due = self.due.max(self.first);
        number
    }

    /// The entries from `number` on, each with its number. `None` where some of them are gone, or it was never given out.
    pub fn from(&mut self, number: u64) -> Option<impl Iterator<Item = (u64, &Entry)>> {
        if number < self.first {
            self.lost += self.first - number;
            return None;
        }
        let skipped = usize::try_from(number - self.first).ok()?;
        let entries = self.entries.iter().skip(skipped);
        (number <= self.next()).then(|| (number..).zip(entries))
    }

    /// A reader has been handed all entries before `number`.
    pub fn hand(&mut self, number: u64) {
        self.due = self.due.max(number.min(self.next()));
    }

    /// Until when a reader that goes on at `number` has been handed every change.
    pub fn complete_until_ms(&self, number: u64, now_ms: u64) -> u64 {
        let place = number.checked_sub(self.first);
        let place = place.and_then(|place| usize::try_from(place).ok());
        let next = place.and_then(|place| self.entries.get(place));
        // Another change of the same millisecond may come yet.
        next.map_or(now_ms, |entry| entry.at_ms.min(now_ms))
            .saturating_sub(1)
    }

    /// Entries that were gone when a reader came for them.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Forgets all entries: no region is set any more.
    pub fn clear(&mut self) {
        self.first = self.next();
        self.entries = VecDeque::new();
        self.bytes = 0;
        self.begin_term();
    }

    /// Where a reader is, from its cursor; one that is of no use begins a pass.
    pub fn place(&mut self, cursor: Cursor) -> Position {
        let own = cursor.0.filter(|(run, _)| *run == self.run);
        match own.map(|(_, place)| place) {
            Some(Position::Changes { from }) if self.from(from).is_some() => {
                Position::Changes { from }
            }
            Some(Position::Pass { scan, from }) if from <= self.next() => {
                Position::Pass { scan, from }
            }
            _ => {
                // What is behind its beginning it gets from the pass, as it is when the pass comes by; what is charged after
                // that it gets by an entry, which must then be a new one.
                let from = self.next();
                self.hand(from);
                Position::Pass { scan: 0, from }
            }
        }
    }

    /// The cursor of a place.
    pub fn cursor(&self, place: Position) -> String {
        match place {
            Position::Changes { from } => format!("{:016x}-{from:x}", self.run),
            Position::Pass { scan, from } => format!("{:016x}-{from:x}-{scan:x}", self.run),
        }
    }
}

/// Where a reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// It goes on with this entry.
    Changes {
        /// Its number.
        from: u64,
    },
    /// It is in a pass over all keys.
    Pass {
        /// The server's own cursor.
        scan: u64,
        /// With which entry it goes on afterwards.
        from: u64,
    },
}

/// What a reader hands back: a place of some run, or `0`, to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor(Option<(u64, Position)>);

impl Cursor {
    /// Reads `0` or what [`Ring::cursor`] wrote.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text == b"0" {
            return Some(Self(None));
        }
        let text = std::str::from_utf8(text).ok()?;
        let mut numbers = text.split('-').map(|digits| {
            let is_number = !digits.starts_with('+');
            is_number.then(|| u64::from_str_radix(digits, 16).ok())?
        });
        let (run, from) = (numbers.next()??, numbers.next()??);
        let place = match numbers.next() {
            None => Position::Changes { from },
            Some(scan) => Position::Pass { scan: scan?, from },
        };
        numbers.next().is_none().then_some(Self(Some((run, place))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(ring: &mut Ring, from: u64) -> Vec<String> {
        let entries = ring.from(from).unwrap();
        entries
            .map(|(_, entry)| String::from_utf8_lossy(&entry.name).into_owned())
            .collect()
    }

    #[test]
    fn a_key_is_appended_once_until_somebody_has_read_it() {
        let mut ring = Ring::new(7);
        assert!(ring.due() > 0);
        let a = ring.append(b"a", 0, 10, 100);
        assert!(a >= ring.due());
        let b = ring.append(b"b", 0, 20, 100);
        assert_eq!(names(&mut ring, 1), ["a", "b"]);
        ring.hand(b);
        assert!(a < ring.due(), "it has been handed out");
        assert_eq!(ring.due(), b);
        let again = ring.append(b"a", 0, 30, 100);
        assert_eq!(names(&mut ring, b), ["b", "a"]);
        assert_eq!(ring.complete_until_ms(1, 99), 9);
        assert_eq!(ring.complete_until_ms(b, 99), 19);
        assert_eq!(ring.complete_until_ms(again + 1, 99), 98);
    }

    #[test]
    fn a_key_that_only_a_pass_has_handed_over_is_due_again() {
        let mut ring = Ring::new(7);
        let number = ring.append(b"a", 0, 1, 100);
        assert!(number >= ring.due());
        let Position::Pass { from, .. } = ring.place(Cursor(None)) else {
            panic!("a new reader begins with a pass");
        };
        assert!(number < ring.due()); // the reader will not come to its entry
        assert_eq!(from, ring.next());
    }

    #[test]
    fn what_is_gone_is_counted_and_begins_a_pass() {
        let mut ring = Ring::new(7);
        for name in [b"a", b"b", b"c", b"d"] {
            ring.append(name, 0, 10, 2);
        }
        assert_eq!(ring.due(), 3, "its entry is gone");
        let late = Cursor(Some((7, Position::Changes { from: 1 })));
        assert_eq!(ring.place(late), Position::Pass { scan: 0, from: 5 });
        assert_eq!(ring.lost(), 2);
        ring.append(&[b'x'; 10_000], 0, 10, 2);
        assert!(ring.entries.len() < 2, "long names take the place of more");
    }

    #[test]
    fn names_that_are_gone_make_room_for_others() {
        let mut ring = Ring::new(7);
        let mut kept = |length: usize| {
            ring.append(&vec![b'x'; length], 0, 10, 2);
            ring.entries.len()
        };
        // Two entries may have 512 bytes.
        assert_eq!((kept(300), kept(212)), (1, 2));
        assert_eq!(kept(300), 2, "the first is gone, and 512 are left");
        assert_eq!(kept(213), 1, "one byte too many");
        assert_eq!(kept(299), 2);
    }

    #[test]
    fn a_cursor_comes_back_as_it_was_given() {
        let mut ring = Ring::new(0xfeed);
        ring.append(b"a", 0, 10, 100);
        for place in [
            Position::Changes { from: 2 },
            Position::Pass {
                scan: u64::MAX,
                from: 1,
            },
        ] {
            let text = ring.cursor(place);
            let cursor = Cursor::parse(text.as_bytes()).unwrap();
            assert_eq!(ring.place(cursor), place);
            let elsewhere = Ring::new(1).place(cursor);
            assert_eq!(elsewhere, Position::Pass { scan: 0, from: 1 });
        }
        assert_eq!(
            ring.place(Cursor(None)),
            Position::Pass { scan: 0, from: 2 }
        );
        for never in ["feed-99", "feed-3-5"] {
            let never = Cursor::parse(never.as_bytes()).unwrap();
            assert_eq!(ring.place(never), Position::Pass { scan: 0, from: 2 });
        }
        let scanning = Position::Pass { scan: 5, from: 2 };
        let cursor = Cursor::parse(b"feed-2-5").unwrap();
        assert_eq!(
            ring.place(cursor),
            scanning,
            "it goes on with the next entry"
        );
        for text in [
            "",
            "1",
            "-",
            "1-",
            "-1",
            "1-2-3-4",
            "g-1",
            "+1-1",
            "00000000000000001-1",
        ] {
            let parsed = Cursor::parse(text.as_bytes());
            assert!(parsed.is_none() || text.starts_with('0'), "{text}");
        }
    }

    #[test]
    fn a_new_term_makes_every_key_due() {
        let mut ring = Ring::new(7);
        let a = ring.append(b"a", 0, 10, 100);
        assert!(a >= ring.term());
        ring.begin_term();
        assert!(a < ring.due() && a < ring.term());
        ring.clear();
        assert_eq!(names(&mut ring.clone(), ring.next()), [""; 0]);
        assert!(ring.from(a).is_none(), "and one that is cleared has none");
    }
}
