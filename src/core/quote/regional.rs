//! A hit on a limiter that several regions share: the same quote on what all have used, and the share rule.

use super::meters::Take;
use super::{Asked, Change, Hit, HitOptions, Quote};
use crate::core::algorithm::joint::bucket::JointBucket;
use crate::core::algorithm::joint::fixed::JointFixed;
use crate::core::algorithm::joint::sliding::JointSliding;
use crate::core::decision::Retry;
use crate::core::error::Error;
use crate::core::limit::{Algorithm, Limit, MAX_LIMITS};
use crate::core::limiter::regional::{Shared, SharedForm};
use crate::core::limiter::Store;
use crate::core::limiter::{Limiter, LimiterMut, Meters, Notes};
use crate::core::region::origin::{Origin, Region};
use crate::core::region::share::{RecentCharges, Share};
use arrayvec::ArrayVec;

/// Which of several regions this one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalRegion {
    /// Its name.
    pub region: Region,
    /// A key whose last entry in the ring of changes is below this was not charged by this server since it has been a primary:
    /// what it holds may be older than what others have of it, so this region goes on as a new origin.
    pub term: u64,
    /// A key whose last entry in the ring is below this may need another.
    pub due: u64,
    /// What the share rule goes by; `None` where it holds nothing, as on a replica.
    pub share: Option<Share>,
}

impl Hit<'_> {
    /// Of what a key has held so far, where that is to be a region's from now on.
    pub(super) fn origin(&self, now_ms: u64) -> Origin {
        let here = self.options.here;
        Origin {
            region: here.map_or(Region::UNNAMED, |here| here.region),
            began_ms: now_ms,
        }
    }
}

/// As [`super::quote`].
#[cold]
pub(super) fn quote_regional(
    asked: Asked,
    hit: &Hit,
    now_ms: u64,
    out: &mut Quote,
) -> Result<(), Error> {
    match hit.algorithm {
        Algorithm::Fixed => quote_joint::<JointFixed>(asked, hit, now_ms, out),
        Algorithm::Sliding => quote_joint::<JointSliding>(asked, hit, now_ms, out),
        Algorithm::Bucket => quote_joint::<JointBucket>(asked, hit, now_ms, out),
        Algorithm::Lease => super::quote_form(asked, hit, now_ms, out),
    }
}

fn quote_joint<J: SharedForm>(
    asked: Asked,
    hit: &Hit,
    now_ms: u64,
    out: &mut Quote,
) -> Result<(), Error> {
    if hit
        .limits
        .iter()
        .any(|limit| limit.span().first_ms().is_some())
    {
        return Err(Error::FirstInRegions);
    }
    let shared = asked.state.and_then(J::of);
    let mut upgraded = Meters::empty();
    if let (Some(held), None) = (asked.state, shared) {
        upgraded = J::upgrade(held, hit.origin(now_ms))
            .ok_or_else(|| super::other_algorithm::<J>(held))?;
    }
    let meters = &shared.map_or(&upgraded, |shared| &shared.meters).0;
    if let ([meter], [limit]) = (&**meters, hit.limits) {
        asked.quote_one(meter, limit, hit, now_ms, out)?;
    } else {
        Meters::quote(meters, asked.notes, asked.rest_allows, hit, now_ms, out)?;
    }
    let options = hit.options;
    // A turn that is reserved is the region's own, and a settlement is of what was let through before.
    let is_shared = hit.cost > 0 && options.at_ms.is_none() && options.reserve_ms.is_none();
    let share = options.here.and_then(|here| here.share);
    let Some(share) = share.filter(|_| is_shared && out.fits) else {
        return Ok(());
    };
    let cost = hit.cost.unsigned_abs();
    let recent = match (shared, asked.state) {
        (Some(shared), _) => shared.local.marks.recent(share.acknowledged_ms),
        (None, Some(_)) => u64::MAX, // it is not known
        (None, None) => 0,
    };
    if out.taken == hit.cost && share.has_room(&out.decision.verdicts, recent, cost, now_ms) {
        return Ok(());
    }
    hold(
        meters,
        asked.notes,
        asked.rest_allows,
        hit,
        recent,
        now_ms,
        out,
    )
}

/// The share rule, looked at closely: of what was charged lately, some may not count any more. What it holds is quoted anew.
#[cold]
fn hold<J: SharedForm>(
    meters: &[J],
    notes: Option<&Notes>,
    rest_allows: bool,
    hit: &Hit,
    recent: u64,
    now_ms: u64,
    out: &mut Quote,
) -> Result<(), Error> {
    let Some((region, share)) = hit
        .options
        .here
        .and_then(|here| Some((here.region, here.share?)))
    else {
        return Ok(());
    };
    let cost = hit.cost.unsigned_abs();
    let needed = hit.options.min.unwrap_or(cost);
    // What it has room for, and when to come back where that is too little.
    let room = |(index, limit): (usize, &Limit)| {
        let ask = hit.ask(index, limit, now_ms);
        let meter = Meters::find(meters, index, limit);
        let (view, own) = meter.map_or((0, 0), |meter| meter.view(region, &ask));
        let recent = match J::ALGORITHM {
            Algorithm::Bucket => recent.min(view), // of a level nobody can say whose it is
            _ => recent.min(own),
        };
        let limit = limit.limit();
        let wait_ms = share.wait_ms(limit, view, recent, needed, now_ms);
        (share.room(limit, view, recent, cost, now_ms), wait_ms)
    };
    let rooms: ArrayVec<(u64, u64), MAX_LIMITS> = hit.limits.iter().enumerate().map(room).collect();
    let least = rooms.iter().map(|(room, _)| *room).min();
    let least = least.unwrap_or(u64::MAX);
    if least >= cost {
        return Ok(());
    }
    if let Some(min) = hit.options.min.filter(|min| *min <= least) {
        let options = HitOptions {
            min: Some(min),
            ..*hit.options
        };
        let part = Hit {
            cost: i64::try_from(least).unwrap_or(i64::MAX),
            options: &options,
            ..*hit
        };
        return Meters::quote(meters, notes, rest_allows, &part, now_ms, out);
    }
    Meters::quote(meters, notes, false, hit, now_ms, out)?;
    out.fits = false;
    for (verdict, (room, wait_ms)) in out.decision.verdicts.iter_mut().zip(rooms) {
        if room < needed {
            verdict.allowed = false;
            verdict.retry = Retry::After(wait_ms);
        }
    }
    Ok(())
}

/// As [`super::commit`].
#[cold]
pub(super) fn commit_regional(
    state: Option<&mut LimiterMut<'_>>,
    hit: &Hit,
    change: Change,
    now_ms: u64,
) -> Result<Option<Limiter>, Error> {
    match hit.algorithm {
        _ if change.is_none() => Ok(None),
        Algorithm::Fixed => commit_joint::<JointFixed>(state, hit, change, now_ms),
        Algorithm::Sliding => commit_joint::<JointSliding>(state, hit, change, now_ms),
        Algorithm::Bucket => commit_joint::<JointBucket>(state, hit, change, now_ms),
        Algorithm::Lease => super::commit_form::<super::Leases>(state, hit, change, now_ms),
    }
}

fn commit_joint<J: SharedForm>(
    state: Option<&mut LimiterMut<'_>>,
    hit: &Hit,
    change: Change,
    now_ms: u64,
) -> Result<Option<Limiter>, Error> {
    let mut shared = match state {
        None => Shared::<J>::begin(now_ms),
        Some(held) => {
            if let Some(shared) = J::of_mut(held) {
                let is_stale = |here: LocalRegion| shared.local.entry < here.term;
                shared.local.renewed = hit.options.here.is_some_and(is_stale);
                shared.change(hit, change, now_ms);
                return Ok(None);
            }
            let upgraded = J::upgrade(held.by_ref(), hit.origin(now_ms));
            Shared::of(upgraded.ok_or_else(|| super::other_algorithm::<J>(held.by_ref()))?)
        }
    };
    shared.change(hit, change, now_ms);
    Ok(Some(J::keep(shared)))
}

impl<J: SharedForm> Shared<J> {
    fn change(&mut self, hit: &Hit, change: Change, now_ms: u64) {
        if self.local.renewed {
            // What may be older than others' copies stays as it is; what is charged from now on is another origin's.
            for meter in &mut self.meters.0 {
                meter.parts_mut().own = None;
            }
            self.local.marks = RecentCharges::default();
        }
        match change {
            Change::None | Change::Once(_) => {} // see `Change::of_usage`
            Change::Charge(_) | Change::Reserve(_) => self.charge(hit, change, now_ms),
            Change::Rewind => self.meters.rewind(hit, now_ms),
            Change::Block { emptied, .. } => {
                self.meters.each_emptied(hit, emptied, now_ms, J::empty_own);
            }
        }
        if self.remembers_ms <= now_ms {
            // Whatever was used before the reset is over everywhere. The next origin begins later all the same.
            (self.reset_ms, self.remembers_ms) = (0, 0);
        }
    }

    fn charge(&mut self, hit: &Hit, change: Change, now_ms: u64) {
        let region = hit.origin(now_ms).region;
        self.meters.put_in_order(hit, now_ms);
        let metered = hit.limits.iter().zip(&mut self.meters.0);
        for (index, (limit, meter)) in metered.enumerate() {
            if region.is_named() {
                meter.parts_mut().begin(region, now_ms, self.reset_ms);
            }
            meter.take(&hit.ask(index, limit, now_ms), change, hit.at_ms());
        }
        let share = hit.options.here.and_then(|here| here.share);
        let acknowledged_ms = share.map_or(0, |share| share.acknowledged_ms);
        let marks = &mut self.local.marks;
        marks.charge(change.cost(), acknowledged_ms, now_ms);
    }
}

#[cfg(test)]
mod tests;
