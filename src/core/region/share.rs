//! The share rule: how much a region may use before the others have heard of it.
//!
//! # The maths
//!
//! | symbol | meaning |
//! |---|---|
//! | `L` | the limit |
//! | `view` | what is used, as far as it is known here |
//! | `recent` | of it, what this region has used and not all others have acknowledged |
//! | `left` | `L - (view - recent)`: what was left when all others had heard of everything |
//! | `k` | regions that are heard (`strict`: that are listed), and this one |
//!
//! ```text
//! admit iff view + cost <= L  and  recent + cost <= left / k
//! ```
//!
//! * *Turns.* What does not divide goes round, one unit for each of `left % k` regions, by the clock and the region's rank. A
//!   turn counts only once every other region has been heard, *by its own clock*, past the turn's beginning: then it can no
//!   longer use its own last turn, and what it used of that is known. No clock is compared with another's, so skew does no
//!   harm. Where regions are further apart than a turn is long, what does not divide stays unused.
//! * *A cost above a share* waits for a turn likewise, that of the one region whose turn begins, and may then take all that is
//!   left: else it would never fit. What others take by their shares until they hear of it comes on top. That is at most
//!   `(k - 1) / k` of what was left, and nothing less holds without asking them.
//! * *`k = 2`, no cost above a share: never more than `L`.* Look at the last that each region admitted, A's first. Of A's usage
//!   `a` was acknowledged by B then, as A knew, and A knew `b'` of B's; B's with `b` and `a'` likewise. `a <= a'`, as B
//!   acknowledges what it knows. If A learnt `b` only after its last, the message by which B learnt that brought all of A's
//!   usage too: B saw everything. Else `b <= b'`, both saw at most `R = L - a - b` left, and if one of the two had its turn, the
//!   total is at most `a + b + floor(R / 2) + ceil(R / 2) = L`. If both had theirs, these were two turns. A's cannot be the
//!   later one: A had heard B past its beginning, and B's last came after that. So B's is, and B had heard A past A's turn: it
//!   saw everything.
//! * *`k >= 3`, no cost above a share*: an adversary that chooses every admission, loss and order has found 1.03 `L` at the most.
//!   Proved is `L + (k - 1) / k * L`, and a unit per region: what a region has not told is part of what it counts as recent.
//! * All of this is of `k` regions that count each other. One that is not heard does not count (`open`): it and the others then
//!   go on by what they know. With `strict` all that are listed count, heard or not: cut off, or just started, a region takes its
//!   share, and no turn.
//! * `recent` is not looked up in the state: a few moments are kept, and what had been charged by each. It is what was charged
//!   since the latest of them that all others have acknowledged, and nothing once they have acknowledged the last charge: too
//!   much rather than too little, in O(1), whatever the algorithm. A moment is kept when a third of the time has passed that
//!   an acknowledgement takes, so it is too much by a third. (With two moments it was twice as much: of 150 in 1 s in three
//!   regions 100 ms apart 79 % were admitted, with four 84 %, with six 85 %, and if nothing were too much 91 %.)

use crate::core::decision::Verdict;

/// For how long it is a region's turn. (The longer, the further apart regions may be for a turn to be of use, and the longer
/// each waits for its own.)
const TURN_MS: u64 = 1_000;

/// What the share rule has to know of the other regions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Regions that are heard, and this one.
    pub regions: u64,
    /// This one's place among them, by name.
    pub rank: u64,
    /// All others have heard of what this one did until then, by this one's clock.
    pub acknowledged_ms: u64,
    /// All others have been heard until then, each by its own clock.
    pub heard_ms: u64,
    /// When to come back where the share alone holds a hit: the age of the oldest acknowledgement.
    pub retry_ms: u64,
}

impl Share {
    /// How many turns ago this region's own began; from one turn to the next it is one more, and then none again.
    fn turn(&self, now_ms: u64) -> u64 {
        self.rank.wrapping_add(now_ms / TURN_MS) % self.regions.max(1)
    }

    /// How much may be charged now of what is left of one limit.
    pub fn room(&self, limit: u64, view: u64, recent: u64, cost: u64, now_ms: u64) -> u64 {
        let recent = recent.min(view);
        let left = limit.saturating_sub(view - recent);
        let regions = self.regions.max(1);
        let (mut quota, rest) = (left / regions, left % regions);
        if self.heard_ms >= now_ms - now_ms % TURN_MS {
            let turn = self.turn(now_ms);
            quota += u64::from(turn < rest);
            if cost > quota && turn == 0 {
                quota = left;
            }
        }
        quota.saturating_sub(recent)
    }

    /// When to come back with a cost that the share of one limit alone holds.
    pub fn wait_ms(&self, limit: u64, view: u64, recent: u64, cost: u64, now_ms: u64) -> u64 {
        let left = limit.saturating_sub(view - recent.min(view));
        let regions = self.regions.max(1);
        let (share, rest) = (left / regions, left % regions);
        let turn = self.turn(now_ms);
        let has_turn = turn == 0 || (turn < rest && cost <= share + 1);
        if cost <= share || has_turn {
            return self.retry_ms; // until others have acknowledged, or are heard
        }
        let turns = regions - turn;
        turns * TURN_MS - now_ms % TURN_MS + self.retry_ms
    }

    /// Whether the share of each limit has room for a cost, if all that was charged lately still counts: where some of it does not,
    /// there is more room. `verdicts` are those of the hit, charged.
    pub fn has_room(&self, verdicts: &[Verdict], recent: u64, cost: u64, now_ms: u64) -> bool {
        verdicts.iter().all(|verdict| {
            let view = verdict.used.saturating_sub(cost);
            self.room(verdict.limit, view, recent, cost, now_ms) >= cost
        })
    }
}

/// How many moments are kept.
const MARKS: usize = 4;

/// What this region had charged to a key by a few moments. It is no part of the state: a decision of the primary alone stands
/// on it.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecentCharges {
    /// Units that were charged, less those that were given back.
    charged: u64,
    /// When that was last.
    last_ms: u64,
    /// The latest first, as many as there are.
    list: [Mark; MARKS],
    count: u8,
    /// Whether all that was charged before the oldest is acknowledged, or there was nothing.
    is_known: bool,
}

/// What had been charged by a moment.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    at_ms: u64,
    charged: u64,
}

impl RecentCharges {
    /// Of a key that is new. (Of any other, by default, nothing is known: everything may be recent.)
    pub fn begin(now_ms: u64) -> Self {
        let mut marks = Self {
            is_known: true,
            ..Self::default()
        };
        marks.push(now_ms);
        marks
    }

    fn marks(&self) -> &[Mark] {
        self.list.get(..usize::from(self.count)).unwrap_or_default()
    }

    fn push(&mut self, now_ms: u64) {
        self.list.rotate_right(1);
        self.list[0] = Mark {
            at_ms: now_ms,
            charged: self.charged,
        };
        self.count += 1;
    }

    /// What was charged since `acknowledged_ms`, or somewhat more; `u64::MAX` where it is not known.
    pub fn recent(&self, acknowledged_ms: u64) -> u64 {
        let marks = self.marks();
        if self.count > 0 && self.last_ms <= acknowledged_ms {
            return 0; // no charge is needed to tell: where the share holds all, there is none
        }
        let oldest = marks.last().filter(|_| self.is_known);
        let acknowledged = marks.iter().find(|mark| mark.at_ms <= acknowledged_ms);
        match acknowledged.or(oldest) {
            Some(mark) => self.charged - mark.charged,
            None => u64::MAX,
        }
    }

    /// Notes a charge, or a refund.
    #[inline]
    pub fn charge(&mut self, cost: i64, acknowledged_ms: u64, now_ms: u64) {
        let wait_ms = now_ms.saturating_sub(acknowledged_ms) / (MARKS as u64 - 1);
        let age_ms = now_ms.checked_sub(self.list[0].at_ms);
        if self.count == 0 || age_ms.is_none_or(|age_ms| age_ms > wait_ms) {
            self.mark(acknowledged_ms, now_ms);
        }
        self.last_ms = now_ms;
        match self.charged.checked_add_signed(cost) {
            Some(charged) => self.charged = charged,
            None if cost < 0 => self.charged = 0,
            None => *self = Self::default(), // what is not known is not too little
        }
        if cost < 0 {
            for mark in &mut self.list {
                mark.charged = mark.charged.min(self.charged);
            }
        }
    }

    /// Keeps this moment, unless all that are kept are needed.
    #[cold]
    fn mark(&mut self, acknowledged_ms: u64, now_ms: u64) {
        // Those of a clock that has stepped back since were before now.
        for mark in &mut self.list {
            mark.at_ms = mark.at_ms.min(now_ms);
        }
        // Of those that are acknowledged the latest will do.
        let acknowledged = |mark: &Mark| mark.at_ms <= acknowledged_ms;
        if let Some(place) = self.marks().iter().position(acknowledged) {
            self.count = u8::try_from(place + 1).unwrap_or(self.count);
            self.is_known = true;
        }
        if usize::from(self.count) < MARKS {
            self.push(now_ms);
        }
    }
}

#[cfg(test)]
mod tests;
