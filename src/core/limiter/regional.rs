//! A limiter that several regions share.

use super::{Form, Left, Limiter, LimiterMut, LimiterRef, MeterForm, Meters, Store};
use crate::core::algorithm::bucket::Stamped;
use crate::core::algorithm::fixed::Dated;
use crate::core::algorithm::joint::bucket::{BucketPart, JointBucket};
use crate::core::algorithm::joint::counter::Counter;
use crate::core::algorithm::joint::fixed::{FixedPart, JointFixed};
use crate::core::algorithm::joint::sliding::{most_entries, JointSliding, SlidingPart};
use crate::core::algorithm::joint::{Joint, Part, Parts, Received, MAX_AHEAD_MS};
use crate::core::algorithm::meter::{Allocations, Ask};
use crate::core::algorithm::sliding::Sliding;
use crate::core::error::Error;
use crate::core::limit::{Limit, MAX_TIME_MS, MAX_WINDOWS};
use crate::core::region::origin::{Origin, Region};
use crate::core::region::share::RecentCharges;
use std::fmt::Debug;
use std::ops::Deref;

/// What several regions have used by one algorithm, and until when it was reset.
#[derive(Clone, Debug)]
pub struct Shared<J> {
    /// Of this server's copy alone.
    pub local: Local,
    /// What was used by origins that began then or before is forgotten; 0 where nothing is.
    pub reset_ms: u64,
    /// Until when that has to be remembered.
    pub remembers_ms: u64,
    /// The parts.
    pub meters: Meters<J>,
}

/// What is neither saved nor sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Local {
    /// Of the key's last entry in the ring of changes; 0 where it has none.
    pub entry: u64,
    /// What was charged here lately.
    pub marks: RecentCharges,
    /// Whether the last charge began a new origin because the one there was is of another run.
    pub renewed: bool,
}

impl<J: PartialEq> PartialEq for Shared<J> {
    fn eq(&self, other: &Self) -> bool {
        (self.reset_ms, self.remembers_ms, &self.meters)
            == (other.reset_ms, other.remembers_ms, &other.meters)
    }
}

impl<J: Eq> Eq for Shared<J> {}

impl<J: SharedForm> Store for Shared<J> {
    type Meter = J;

    fn of(meters: Meters<J>) -> Self {
        Self {
            local: Local::default(),
            reset_ms: 0,
            remembers_ms: 0,
            meters,
        }
    }

    fn view(&self) -> impl Deref<Target = [J]> {
        self.meters.0.as_slice()
    }

    fn many(&mut self) -> &mut Meters<J> {
        &mut self.meters
    }

    fn visit_meters(&mut self, visitor: &mut impl Allocations) {
        self.meters.visit_meters(visitor);
    }

    fn meter_bytes(&self) -> usize {
        self.meters.meter_bytes()
    }

    fn remembers_ms(&self) -> u64 {
        self.remembers_ms
    }

    fn shared(&self) -> Option<&dyn Regional> {
        Some(self)
    }

    fn shared_mut(&mut self) -> Option<&mut dyn Regional> {
        Some(self)
    }
}

/// A meter of several regions, and the form that keeps it.
pub trait SharedForm: Joint + MeterForm<Store = Shared<Self>> + Debug + Eq + 'static {}

impl<J: Joint + MeterForm<Store = Shared<J>> + Debug + Eq + 'static> SharedForm for J {}

/// What a limiter of one region holds as that region's own: the only part of each meter, which began then.
fn own<P: Part>(part: P) -> Parts<P> {
    let mut parts = Parts::none();
    parts.own = Some(part.origin());
    parts.insert(part);
    parts
}

impl JointFixed {
    /// The meters of a limiter of one region, as an origin's.
    pub(super) fn upgrade_from(limiter: LimiterRef, origin: Origin) -> Option<Meters<Self>> {
        let fixed = |dated: &Dated| JointFixed {
            span: dated.span,
            limit: dated.limit,
            parts: own(FixedPart {
                origin,
                start_ms: dated.start_ms,
                end_ms: dated.end.0,
                counter: Counter::of(dated.used),
            }),
        };
        match limiter {
            Form::Fixed(store) => Some(store.map(|meter| fixed(&Dated::from(meter)))),
            Form::Dated(store) => Some(store.map(fixed)),
            _ => None,
        }
    }
}

impl JointSliding {
    /// As [`JointFixed::upgrade_from`].
    pub(super) fn upgrade_from(limiter: LimiterRef, origin: Origin) -> Option<Meters<Self>> {
        let sliding = |sliding: &Sliding| {
            let mut log = sliding.log.clone();
            let capacity = log.capacity;
            log.capacity = most_entries(capacity);
            let stamp = (origin.began_ms, 0);
            JointSliding {
                span: sliding.span,
                limit: sliding.limit,
                capacity,
                parts: own(SlidingPart { origin, stamp, log }),
            }
        };
        Some(Sliding::of(limiter)?.map(sliding))
    }
}

impl JointBucket {
    /// As [`JointFixed::upgrade_from`].
    pub(super) fn upgrade_from(limiter: LimiterRef, origin: Origin) -> Option<Meters<Self>> {
        let now_ms = origin.began_ms;
        let joint = |bucket: Stamped| {
            let charged = bucket.tokens + u64::from(bucket.fraction > 0);
            JointBucket {
                bucket,
                parts: own(BucketPart {
                    origin,
                    counter: Counter::of(charged),
                }),
            }
        };
        match limiter {
            Form::Bucket(store) => Some(store.map(|meter| joint(meter.stamped(now_ms)))),
            Form::Stamped(store) => Some(store.map(|meter| joint(meter.clone()))),
            Form::Reserved(store) => Some(store.map(|meter| joint(meter.as_of_regions(now_ms)))),
            _ => None,
        }
    }
}

/// What a limiter says that several regions share, whatever its algorithm.
pub trait Regional {
    /// What is of this server's copy alone.
    fn local(&self) -> &Local;

    /// As [`Regional::local`], to change it.
    fn local_mut(&mut self) -> &mut Local;

    /// See [`Shared::reset_ms`].
    fn reset_ms(&self) -> u64;

    /// What each region has used, window by window.
    fn regions(&self, now_ms: u64) -> Vec<Vec<(Region, u64)>>;

    /// Whether the region has used so many percent of any limit, so that it is worth sending.
    fn has_used(&self, region: Region, percent: u64, now_ms: u64) -> bool;

    /// A copy for other regions; `None` where nothing of it counts. Of windows, a region's own usage, or with `None` all.
    fn export(&self, of: Option<Region>, now_ms: u64) -> Option<Limiter>;

    /// Whether it is such a copy: nothing is the receiver's own, and every region has a name.
    fn is_sent(&self) -> bool;

    /// Keeps the parts of the regions that `is_kept`. Returns how many others there were, and a region of theirs.
    fn retain(&mut self, is_kept: &dyn Fn(Region) -> bool) -> (u64, Option<Region>);

    /// Merges this copy into what a key holds: see [`merge`].
    ///
    /// # Errors
    /// A key of another algorithm.
    fn merge_into(
        &self,
        state: Option<&mut LimiterMut<'_>>,
        setting: Merging,
        own: Region,
    ) -> Result<(Option<Limiter>, Received), Error>;

    /// After which no origin here has begun, and so what a reset now is to say.
    fn reset_at_ms(&self, now_ms: u64) -> u64;

    /// Forgets what was used by origins that began at `reset_ms` or before.
    fn reset(&mut self, reset_ms: u64, now_ms: u64);

    /// Whether nothing is used, and nothing has to be remembered.
    fn is_unused(&self, now_ms: u64) -> bool;
}

impl<J: SharedForm> Regional for Shared<J> {
    fn local(&self) -> &Local {
        &self.local
    }

    fn local_mut(&mut self) -> &mut Local {
        &mut self.local
    }

    fn reset_ms(&self) -> u64 {
        self.reset_ms
    }

    fn regions(&self, now_ms: u64) -> Vec<Vec<(Region, u64)>> {
        let of = |meter: &J| {
            let Some(limit) = meter.limit() else {
                return Vec::new();
            };
            let ask = ask(meter, &limit, now_ms);
            let list = meter.parts().list.iter();
            let mut regions: Vec<_> = list.map(|part| part.origin().region).collect();
            regions.dedup();
            let used = |region| (region, meter.used_by(region, &ask));
            regions.into_iter().map(used).collect()
        };
        self.meters.0.iter().map(of).collect()
    }

    fn has_used(&self, region: Region, percent: u64, now_ms: u64) -> bool {
        let has = |meter: &J| {
            meter.limit().is_some_and(|limit| {
                let used = meter.used_by(region, &ask(meter, &limit, now_ms));
                u128::from(used) * 100 >= u128::from(limit.limit()) * u128::from(percent)
            })
        };
        percent == 0 || self.reset_ms > 0 || self.meters.0.iter().any(has)
    }

    fn export(&self, of: Option<Region>, now_ms: u64) -> Option<Limiter> {
        let sends = |region: Region| region.is_named() && of.is_none_or(|only| only == region);
        let meters = self.meters.0.iter();
        let copies: Meters<J> = Meters(
            meters
                .filter_map(|meter| meter.export(sends, now_ms))
                .collect(),
        );
        let is_empty = copies.0.is_empty();
        let mut copy = Self::of(copies);
        copy.reset_ms = self.reset_ms;
        (!is_empty || self.reset_ms > 0).then(|| J::keep(copy))
    }

    fn is_sent(&self) -> bool {
        self.meters.0.iter().map(Joint::parts).all(|parts| {
            let mut origins = parts.list.iter().map(Part::origin);
            parts.own.is_none() && origins.all(|origin| origin.region.is_named())
        })
    }

    fn retain(&mut self, is_kept: &dyn Fn(Region) -> bool) -> (u64, Option<Region>) {
        let (mut count, mut dropped) = (0, None);
        for meter in &mut self.meters.0 {
            meter.parts_mut().retain(|part| {
                let region = part.origin().region;
                let is_kept = is_kept(region);
                if !is_kept {
                    count += 1;
                    dropped = Some(region);
                }
                is_kept
            });
        }
        (count, dropped)
    }

    fn merge_into(
        &self,
        state: Option<&mut LimiterMut<'_>>,
        setting: Merging,
        own: Region,
    ) -> Result<(Option<Limiter>, Received), Error> {
        let mut shared = match state {
            None => Self::begin(setting.now_ms),
            Some(held) => {
                if let Some(shared) = J::of_mut(held) {
                    return Ok((None, shared.merge(self, setting, own)));
                }
                let origin = Origin {
                    region: own,
                    began_ms: setting.now_ms,
                };
                let asked = J::ALGORITHM;
                let holds = held.algorithm().unwrap_or(asked);
                let upgraded = J::upgrade(held.by_ref(), origin);
                Self::of(upgraded.ok_or(Error::HoldsAlgorithm { holds, asked })?)
            }
        };
        let mut received = shared.merge(self, setting, own);
        received.news &= !shared.is_unused(setting.now_ms); // or there would be a key of which nothing counts
        Ok((received.news.then(|| J::keep(shared)), received))
    }

    fn reset_at_ms(&self, now_ms: u64) -> u64 {
        let parts = self.meters.0.iter().flat_map(|meter| &meter.parts().list);
        let last_ms = parts.map(|part| part.origin().began_ms).max().unwrap_or(0);
        last_ms.max(now_ms).max(self.reset_ms).min(MAX_TIME_MS)
    }

    fn reset(&mut self, reset_ms: u64, now_ms: u64) {
        for meter in &mut self.meters.0 {
            self.remembers_ms = self
                .remembers_ms
                .max(meter.forgets_ms(now_ms))
                .min(MAX_TIME_MS);
            meter.forget(reset_ms, now_ms);
        }
        self.reset_ms = reset_ms;
    }

    fn is_unused(&self, now_ms: u64) -> bool {
        let mut meters = self.meters.0.iter();
        self.remembers_ms <= now_ms && meters.all(|meter| meter.is_unused(now_ms))
    }
}

fn ask<'a, J: Joint>(meter: &J, limit: &'a Limit, now_ms: u64) -> Ask<'a> {
    Ask {
        limit,
        window: meter.known_window(now_ms),
        id: &[],
        now_ms,
    }
}

impl<J: SharedForm> Shared<J> {
    /// Of a key that is new here.
    pub(in crate::core) fn begin(now_ms: u64) -> Self {
        let mut shared = Self::of(Meters::empty());
        shared.local.marks = RecentCharges::begin(now_ms);
        shared
    }

    /// Takes over what a copy knows better: the same of the same always makes the same.
    fn merge(&mut self, copy: &Self, setting: Merging, own: Region) -> Received {
        let mut received = Received::default();
        if copy.reset_ms > setting.now_ms.saturating_add(MAX_AHEAD_MS) {
            received.refused = 1;
            return received;
        }
        if copy.reset_ms > self.reset_ms {
            self.reset(copy.reset_ms, setting.now_ms);
            received.news = true;
        }
        for meter in &copy.meters.0 {
            let mut meter = meter.clone();
            received.refused += self.drop_uncounted(&mut meter, setting.now_ms);
            let Some(limit) = meter.limit() else { continue };
            let mut meters = self.meters.0.iter_mut();
            received.add(match meters.find(|known| known.is_for(&limit)) {
                Some(known) => merge_known(known, &meter, setting, own),
                None => self.merge_unknown(&limit, &meter, setting, own),
            });
        }
        received
    }

    /// Drops of a copy what is not taken, as its clock is too far ahead, and what was reset. Returns how many parts are the
    /// former.
    fn drop_uncounted(&self, copy: &mut J, now_ms: u64) -> u64 {
        let before = copy.parts().list.len();
        let most_ms = now_ms.saturating_add(MAX_AHEAD_MS);
        copy.parts_mut()
            .retain(|part| part.origin().began_ms <= most_ms);
        let refused = before - copy.parts().list.len();
        copy.forget(self.reset_ms, now_ms);
        refused as u64
    }

    /// Of a window that is new here.
    fn merge_unknown(
        &mut self,
        limit: &Limit,
        copy: &J,
        setting: Merging,
        own: Region,
    ) -> Received {
        let meters = &mut self.meters.0;
        let log_size = meters.iter().find_map(|meter| meter.log(0));
        let log_size = log_size.map_or(setting.log_size, |(_, capacity)| capacity);
        let mut meter = J::unused(limit, log_size);
        let merged = merge_known(&mut meter, copy, setting, own);
        let mut received = Received {
            refused: merged.refused,
            ..Received::default()
        };
        if meter.is_unused(setting.now_ms) {
            return received;
        }
        meters.retain(|meter| !meter.is_unused(setting.now_ms) || meter.parts().own.is_some());
        if meters.len() >= MAX_WINDOWS {
            received.refused += 1;
        } else {
            received.own_news = merged.own_news;
            received.news = true;
            meters.push(meter);
        }
        received
    }
}

fn merge_known<J: Joint>(meter: &mut J, copy: &J, setting: Merging, own: Region) -> Received {
    let of_own = |meter: &J| {
        let parts = meter.parts().list.iter();
        let own = parts.filter(|part| part.origin().region == own);
        own.cloned().collect::<Vec<_>>()
    };
    let before = of_own(meter);
    let mut received = meter.merge(copy, setting.debt_ms, setting.now_ms);
    received.own_news |= of_own(meter) != before;
    received
}

/// What a merge goes by, besides the state and what was sent: it travels with the effect, so that a merge is the same
/// everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Merging {
    /// When.
    pub now_ms: u64,
    /// For how long a bucket's refill may be owed at the most, where merging alone has made the debt.
    pub debt_ms: u64,
    /// The log size of a sliding limiter that it creates.
    pub log_size: u16,
}

/// Something that was sent by another region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// Who sends it.
    pub sender: Region,
    /// A copy of what several regions share: see [`Regional::export`].
    pub copy: Limiter,
}

/// Takes over what a region has sent, on a key that somebody owns. What is returned takes the place of what the key held;
/// where nothing is, it has been changed in place, or there was no news.
///
/// # Errors
/// A key of another algorithm.
pub fn merge(
    state: Option<&mut LimiterMut<'_>>,
    payload: &Payload,
    setting: Merging,
    own: Region,
) -> Result<(Option<Limiter>, Received), Error> {
    let Some(copy) = payload.copy.regional() else {
        return Ok((None, Received::default()));
    };
    let Some(Form::Noted(noted)) = state else {
        return copy.merge_into(state, setting, own);
    };
    let mut held = noted.limiter.as_mut().map(Limiter::held);
    let (limiter, received) = copy.merge_into(held.as_mut(), setting, own)?;
    if limiter.is_some() {
        noted.limiter = limiter;
    }
    Ok((None, received))
}

/// Forgets what was used until `reset_ms`, and any block.
pub fn reset(held: &mut LimiterMut, reset_ms: u64, now_ms: u64) -> Left {
    let Some(regional) = held.regional_mut() else {
        return Left::Nothing;
    };
    regional.reset(reset_ms, now_ms);
    if regional.is_unused(now_ms) {
        return Left::Nothing;
    }
    match held {
        Form::Noted(noted) => noted.limiter.take().map_or(Left::Nothing, Left::Other),
        _ => Left::Same,
    }
}

#[cfg(test)]
mod tests;
