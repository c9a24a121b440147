//! The algorithms where several regions share one limit: what each origin has used, and how two copies become one.
//!
//! | algorithm | part of one origin | merge of two copies | used |
//! |---|---|---|---|
//! | [`fixed`] | window, charged, given back | the later window; of one window, the maxima | sum over origins |
//! | [`sliding`] | stamp, log | the later stamp | sum of all entries that count |
//! | [`bucket`] | charged, given back; and one level for all | the maxima; the level: see there | the level |
//!
//! A part has one writer, its origin, so a merge is a maximum: idempotent, commutative, associative. Whatever arrives, in
//! whatever order and however often, all copies end as the same. A part is gone when nothing of it counts any more: there are
//! no tombstones, and nothing has to be collected.
//!
//! At most [`MAX_PARTS`] origins. Past it, an origin that began before its region's last two is added to the next of its
//! region; where there is none, the one that is new is not taken, and told of.

pub mod bucket;
pub mod counter;
pub mod fixed;
pub mod sliding;

use super::meter::{Ask, Meter};
use crate::core::limit::MAX_TIME_MS;
use crate::core::region::origin::{Origin, Region};
use smallvec::SmallVec;
use std::fmt::Debug;

/// Origins of one window, the own one among them.
pub const MAX_PARTS: usize = 16;

/// How far ahead of this server's clock another's may be. What is further ahead is not taken: it would stay for so long.
pub const MAX_AHEAD_MS: u64 = 86_400_000;

/// What one origin has used.
pub trait Part: Clone + Debug + PartialEq + Eq {
    /// Nothing yet.
    fn begin(origin: Origin) -> Self;

    /// Whose it is.
    fn origin(&self) -> Origin;

    /// Makes it another's.
    fn set_origin(&mut self, origin: Origin);

    /// Takes over what another copy of the same origin knows better. Whether there was such.
    fn absorb(&mut self, copy: &Self) -> bool;

    /// Adds what an earlier origin of the region has used.
    fn fold(&mut self, earlier: &Self);
}

/// The parts of all origins, sorted by them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts<P> {
    /// Which of them is written here.
    pub(in crate::core) own: Option<Origin>,
    pub(in crate::core) list: SmallVec<[P; 1]>,
}

/// What became of something that was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Whether anything was new.
    pub news: bool,
    /// Whether anything of a region's own was new to it.
    pub own_news: bool,
    /// Windows and origins that were not taken.
    pub refused: u64,
}

impl Received {
    pub(in crate::core) fn add(&mut self, other: Self) {
        self.news |= other.news;
        self.own_news |= other.own_news;
        self.refused += other.refused;
    }
}

impl<P: Part> Parts<P> {
    pub(in crate::core) fn none() -> Self {
        Self {
            own: None,
            list: SmallVec::new(),
        }
    }

    pub(super) fn own(&self) -> Option<&P> {
        let own = self.own?;
        self.list.iter().find(|part| part.origin() == own)
    }

    /// The own part; where there is none, one of no region begins.
    pub(super) fn own_mut(&mut self, now_ms: u64) -> Option<&mut P> {
        if self.own.is_none() {
            self.begin(Region::UNNAMED, now_ms, 0);
        }
        let own = self.own?;
        self.list.iter_mut().find(|part| part.origin() == own)
    }

    /// Sees to it that the own part is one of this region. It begins now, and after `after_ms`.
    pub(in crate::core) fn begin(&mut self, region: Region, now_ms: u64, after_ms: u64) {
        if self.own.is_some_and(|own| own.region == region) {
            return;
        }
        let of_region = self.list.iter().map(P::origin);
        let last_ms = of_region
            .filter(|origin| origin.region == region)
            .map(|origin| origin.began_ms)
            .fold(after_ms, u64::max);
        let began_ms = now_ms.max(last_ms.saturating_add(1)).min(MAX_TIME_MS);
        let origin = Origin { region, began_ms };
        // What was used while no region was set is the region's that is set now.
        let unnamed = self
            .list
            .iter()
            .position(|part| part.origin().region == Region::UNNAMED);
        let part = match unnamed {
            Some(place) => {
                let mut part = self.list.remove(place);
                part.set_origin(origin);
                part
            }
            None => P::begin(origin),
        };
        match self.list.iter_mut().find(|part| part.origin() == origin) {
            Some(last) => last.fold(&part), // there is no later time to begin at
            None => self.insert(part),
        }
        self.own = Some(origin);
        if self.list.len() > MAX_PARTS && !self.make_room() {
            // Every other is another region's: the earlier one of this region goes on as the new one.
            self.fold_into_own();
        }
    }

    fn fold_into_own(&mut self) {
        let Some(own) = self.own else { return };
        let earlier = self
            .list
            .iter()
            .position(|part| part.origin().region == own.region && part.origin() != own)
            .unwrap_or(0);
        let earlier = self.list.remove(earlier);
        if let Some(part) = self.list.iter_mut().find(|part| part.origin() == own) {
            part.fold(&earlier);
        }
    }

    pub(in crate::core) fn insert(&mut self, part: P) {
        let place = self
            .list
            .iter()
            .position(|other| other.origin() > part.origin())
            .unwrap_or(self.list.len());
        self.list.insert(place, part);
    }

    /// Keeps some; the own part is none any more where it goes.
    pub(in crate::core) fn retain(&mut self, mut keeps: impl FnMut(&P) -> bool) {
        self.list.retain(|part| keeps(part));
        let own = self.own;
        if !self.list.iter().any(|part| Some(part.origin()) == own) {
            self.own = None;
        }
    }

    /// Takes over a copy of a part. `counts` says whether anything of it does, where it is not known here.
    pub(super) fn receive(&mut self, copy: &P, counts: bool) -> Received {
        let origin = copy.origin();
        let mut received = Received::default();
        if let Some(part) = self.list.iter_mut().find(|part| part.origin() == origin) {
            received.news = part.absorb(copy);
        } else if counts {
            let is_full = self.list.len() + usize::from(self.own.is_none()) >= MAX_PARTS;
            if is_full && (self.has_later(origin) || !self.make_room()) {
                received.refused = 1;
            } else {
                self.insert(copy.clone());
                received.news = true;
            }
        }
        received
    }

    /// Whether all origins of its region here are later: it may have been added to one of them.
    fn has_later(&self, origin: Origin) -> bool {
        let mut of_region = self
            .list
            .iter()
            .map(P::origin)
            .filter(|other| other.region == origin.region);
        of_region.next().is_some_and(|first| origin < first)
    }

    /// Adds an origin that is not one of its region's last two to the next. Whether there was one.
    fn make_room(&mut self) -> bool {
        let region = |place: usize| self.list.get(place).map(|part| part.origin().region);
        let oldest = (0..self.list.len())
            .find(|place| region(*place).is_some() && region(*place) == region(*place + 2));
        let Some(place) = oldest else {
            return false;
        };
        let earlier = self.list.remove(place);
        if let Some(next) = self.list.get_mut(place) {
            next.fold(&earlier);
        }
        true
    }
}

/// A meter that counts for several regions.
pub trait Joint: Meter {
    /// What one origin has used.
    type Part: Part;

    /// The parts.
    fn parts(&self) -> &Parts<Self::Part>;

    /// The parts, to change them.
    fn parts_mut(&mut self) -> &mut Parts<Self::Part>;

    /// Takes over what another copy knows better. `debt_ms`: for how long a bucket's refill may be owed at the most, where the
    /// debt comes from merging alone.
    fn merge(&mut self, copy: &Self, debt_ms: u64, now_ms: u64) -> Received;

    /// Forgets what was used by origins that began at `reset_ms` or before.
    fn forget(&mut self, reset_ms: u64, now_ms: u64);

    /// A copy for other regions: of some origins, those that count. `None` where there are none.
    fn export(&self, sends: impl Fn(Region) -> bool, now_ms: u64) -> Option<Self>;

    /// Gives back what is its own.
    fn empty_own(&mut self, ask: &Ask);

    /// What all have used of what counts, and of it this region, in whole units.
    fn view(&self, region: Region, ask: &Ask) -> (u64, u64);

    /// Of [`Joint::view`], the region's.
    fn used_by(&self, region: Region, ask: &Ask) -> u64 {
        self.view(region, ask).1
    }

    /// When anything that was charged at `reset_ms` or before cannot count any more, here or elsewhere.
    fn forgets_ms(&self, reset_ms: u64) -> u64;
}

#[cfg(test)]
mod examples;
#[cfg(test)]
mod tests;
