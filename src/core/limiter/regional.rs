//! A limiter that several regions share.

use super::packed::Store;
use super::{Form, Left, Limiter, LimiterMut, LimiterRef, Meters, Readings, State};
use crate::core::algorithm::bucket::Stamped;
use crate::core::algorithm::fixed::Dated;
use crate::core::algorithm::joint::bucket::{BucketPart, JointBucket};
use crate::core::algorithm::joint::counter::Counter;
use crate::core::algorithm::joint::fixed::{FixedPart, JointFixed};
use crate::core::algorithm::joint::sliding::{most_entries, JointSliding, SlidingPart};
use crate::core::algorithm::joint::{Joint, Part, Parts, Received, MAX_AHEAD_MS};
use crate::core::algorithm::meter::{Allocations, Ask, Meter};
use crate::core::algorithm::sliding::Sliding;
use crate::core::error::Error;
use crate::core::limit::{Algorithm, Limit, MAX_TIME_MS, MAX_WINDOWS};
use crate::core::region::origin::{Origin, Region};
use crate::core::region::share::Marks;

/// What several regions have used, and until when it was reset.
#[derive(Clone, Debug)]
pub struct Regional {
    /// Of this server's copy alone.
    pub local: Local,
    /// What was used by origins that began then or before is forgotten; 0 where nothing is.
    pub reset_ms: u64,
    /// Until when that has to be remembered.
    pub remembers_ms: u64,
    /// The parts.
    pub body: Body,
}

/// What is neither saved nor sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Local {
    /// Of the key's last entry in the ring of changes; 0 where it has none.
    pub entry: u64,
    /// What was charged here lately.
    pub marks: Marks,
    /// Whether the last charge began a new origin because the one there was is of another run.
    pub renewed: bool,
}

/// By which algorithm.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "they are the algorithms that regions share")]
pub enum Body {
    Fixed(Meters<JointFixed>),
    Sliding(Meters<JointSliding>),
    Bucket(Meters<JointBucket>),
}

impl PartialEq for Regional {
    fn eq(&self, other: &Self) -> bool {
        (self.reset_ms, self.remembers_ms, &self.body)
            == (other.reset_ms, other.remembers_ms, &other.body)
    }
}

impl Eq for Regional {}

/// Does the same with the meters of whichever algorithm.
macro_rules! each {
    ($body:expr, $meters:ident => $does:expr) => {
        match $body {
            Body::Fixed($meters) => $does,
            Body::Sliding($meters) => $does,
            Body::Bucket($meters) => $does,
        }
    };
}
pub(in crate::core) use each;

/// A meter of several regions, and the body that has it.
pub trait InBody: Joint {
    /// Meters of this kind as a body.
    fn wrap(meters: Meters<Self>) -> Body;
    /// The meters of a body that has them.
    fn of(body: &Body) -> Option<&Meters<Self>>;
    /// As [`InBody::of`], to change them.
    fn of_mut(body: &mut Body) -> Option<&mut Meters<Self>>;
}

macro_rules! in_body {
    ($meter:ty, $form:ident) => {
        impl InBody for $meter {
            fn wrap(meters: Meters<Self>) -> Body {
                Body::$form(meters)
            }

            fn of(body: &Body) -> Option<&Meters<Self>> {
                match body {
                    Body::$form(meters) => Some(meters),
                    _ => None,
                }
            }

            fn of_mut(body: &mut Body) -> Option<&mut Meters<Self>> {
                match body {
                    Body::$form(meters) => Some(meters),
                    _ => None,
                }
            }
        }
    };
}

in_body!(JointFixed, Fixed);
in_body!(JointSliding, Sliding);
in_body!(JointBucket, Bucket);

impl Body {
    /// Of an algorithm that regions share, and nothing in it.
    pub fn none(algorithm: Algorithm) -> Option<Self> {
        match algorithm {
            Algorithm::Fixed => Some(Body::Fixed(Meters::empty())),
            Algorithm::Sliding => Some(Body::Sliding(Meters::empty())),
            Algorithm::Bucket => Some(Body::Bucket(Meters::empty())),
            Algorithm::Lease => None,
        }
    }

    /// Which algorithm it counts by.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Body::Fixed(_) => Algorithm::Fixed,
            Body::Sliding(_) => Algorithm::Sliding,
            Body::Bucket(_) => Algorithm::Bucket,
        }
    }

    /// Keeps the parts of the regions that `is_kept`. Returns how many others there were, and a region of theirs.
    pub fn retain(&mut self, is_kept: impl Fn(Region) -> bool) -> (u64, Option<Region>) {
        let (mut count, mut dropped) = (0, None);
        let mut keeps = |origin: Origin| {
            let is_kept = is_kept(origin.region);
            if !is_kept {
                count += 1;
                dropped = Some(origin.region);
            }
            is_kept
        };
        each!(self, meters => for meter in &mut meters.0 {
            meter.parts_mut().retain(|part| keeps(part.origin()));
        });
        (count, dropped)
    }

    /// What a limiter of one region holds, as that region's own. `None` of leases and of what is regional already.
    pub(in crate::core) fn upgrade(
        limiter: LimiterRef,
        region: Region,
        now_ms: u64,
    ) -> Option<Self> {
        let origin = Origin {
            region,
            began_ms: now_ms,
        };
        fn parts<P: Part>(part: P) -> Parts<P> {
            let mut parts = Parts::none();
            parts.own = Some(part.origin());
            parts.insert(part);
            parts
        }
        let fixed = |dated: &Dated| JointFixed {
            span: dated.fixed.span,
            limit: dated.fixed.limit,
            parts: parts(FixedPart {
                origin,
                start_ms: dated.fixed.start_ms,
                end_ms: dated.end_ms,
                counter: Counter::of(dated.fixed.used),
            }),
        };
        let sliding = |sliding: &Sliding| {
            let mut log = sliding.log.clone();
            let capacity = log.capacity;
            log.capacity = most_entries(capacity);
            let stamp = (now_ms, 0);
            JointSliding {
                span: sliding.span,
                limit: sliding.limit,
                capacity,
                parts: parts(SlidingPart { origin, stamp, log }),
            }
        };
        let bucket = |stamped: Stamped| {
            let charged = stamped.bucket.tokens + u64::from(stamped.bucket.fraction > 0);
            JointBucket {
                stamped,
                parts: parts(BucketPart {
                    origin,
                    counter: Counter::of(charged),
                }),
            }
        };
        Some(match limiter {
            Form::Fixed(store) => Body::Fixed(store.map(|meter| fixed(&Dated::from(meter)))),
            Form::Dated(store) => Body::Fixed(store.map(fixed)),
            Form::Sliding(store) => Body::Sliding(store.map(sliding)),
            Form::Bucket(store) => {
                Body::Bucket(store.map(|meter| bucket(Stamped::begin(meter, now_ms))))
            }
            Form::Stamped(store) => Body::Bucket(store.map(|meter| bucket(meter.clone()))),
            Form::Reserved(store) => {
                Body::Bucket(store.map(|meter| bucket(meter.as_of_regions(now_ms))))
            }
            _ => return None,
        })
    }
}

fn ask<'a>(meter: &impl Meter, limit: &'a Limit, now_ms: u64) -> Ask<'a> {
    Ask {
        limit,
        window: meter.known_window(now_ms),
        id: &[],
        now_ms,
    }
}

impl Regional {
    /// Of a body that is new here.
    pub fn new(body: Body, marks: Marks) -> Self {
        Self {
            local: Local {
                marks,
                ..Local::default()
            },
            reset_ms: 0,
            remembers_ms: 0,
            body,
        }
    }

    /// What each region has used, window by window.
    pub fn regions(&self, now_ms: u64) -> Vec<Vec<(Region, u64)>> {
        fn of<J: Joint>(meter: &J, now_ms: u64) -> Vec<(Region, u64)> {
            let Some(limit) = meter.limit() else {
                return Vec::new();
            };
            let ask = ask(meter, &limit, now_ms);
            let list = meter.parts().list.iter();
            let mut regions: Vec<_> = list.map(|part| part.origin().region).collect();
            regions.dedup();
            let used = |region| (region, meter.used_by(region, &ask));
            regions.into_iter().map(used).collect()
        }
        each!(&self.body, meters => meters.0.iter().map(|meter| of(meter, now_ms)).collect())
    }

    /// Whether the region has used so many percent of any limit, so that it is worth sending.
    pub fn has_used(&self, region: Region, percent: u64, now_ms: u64) -> bool {
        fn has<J: Joint>(meter: &J, region: Region, percent: u64, now_ms: u64) -> bool {
            meter.limit().is_some_and(|limit| {
                let used = meter.used_by(region, &ask(meter, &limit, now_ms));
                u128::from(used) * 100 >= u128::from(limit.limit()) * u128::from(percent)
            })
        }
        percent == 0
            || self.reset_ms > 0
            || each!(&self.body, meters => meters.0.iter().any(|meter| has(meter, region, percent, now_ms)))
    }

    /// A copy for other regions; `None` where nothing of it counts. Of windows, a region's own usage, or with `None` all.
    pub fn export(&self, of: Option<Region>, now_ms: u64) -> Option<Body> {
        fn export<J: InBody>(meters: &Meters<J>, of: Option<Region>, now_ms: u64) -> Body {
            let sends = |region: Region| region.is_named() && of.is_none_or(|only| only == region);
            let copies = meters
                .0
                .iter()
                .filter_map(|meter| meter.export(sends, now_ms));
            J::wrap(Meters(copies.collect()))
        }
        let body = each!(&self.body, meters => export(meters, of, now_ms));
        let is_empty = each!(&body, meters => meters.0.is_empty());
        (!is_empty || self.reset_ms > 0).then_some(body)
    }

    /// Takes over what a copy knows better: the same of the same always makes the same. A body of another algorithm is none of
    /// it. (`log_size` is for windows that are new here.)
    pub fn merge(&mut self, body: &Body, reset_ms: u64, setting: Merging, own: Region) -> Received {
        fn merge<J: InBody>(
            meters: &mut Meters<J>,
            copies: &Meters<J>,
            reset_ms: u64,
            setting: Merging,
            own: Region,
        ) -> Received {
            let mut received = Received::default();
            for copy in &copies.0 {
                let mut copy = copy.clone();
                let before = copy.parts().list.len() as u64;
                let most_ms = setting.now_ms.saturating_add(MAX_AHEAD_MS);
                copy.parts_mut()
                    .retain(|part| part.origin().began_ms <= most_ms);
                received.refused += before - copy.parts().list.len() as u64;
                copy.forget(reset_ms, setting.now_ms);
                let Some(limit) = copy.limit() else { continue };
                let found = meters.0.iter_mut().find(|meter| meter.is_for(&limit));
                let knew = |meter: &J| {
                    let parts = meter.parts().list.iter();
                    let own = parts.filter(|part| part.origin().region == own);
                    own.cloned().collect::<Vec<_>>()
                };
                if let Some(meter) = found {
                    let before = knew(meter);
                    received.add(meter.merge(&copy, setting.debt_ms, setting.now_ms));
                    received.own_news |= knew(meter) != before;
                    continue;
                }
                let log_size = meters.0.iter().find_map(|meter| meter.log(0));
                let log_size = log_size.map_or(setting.log_size, |(_, capacity)| capacity);
                let mut meter = J::unused(&limit, log_size);
                let merged = meter.merge(&copy, setting.debt_ms, setting.now_ms);
                received.refused += merged.refused;
                if meter.is_unused(setting.now_ms) {
                    continue;
                }
                meters.0.retain(|meter| {
                    !meter.is_unused(setting.now_ms) || meter.parts().own.is_some()
                });
                if meters.0.len() >= MAX_WINDOWS {
                    received.refused += 1;
                } else {
                    received.own_news |= !knew(&meter).is_empty();
                    received.news = true;
                    meters.0.push(meter);
                }
            }
            received
        }
        let mut received = Received::default();
        if reset_ms > setting.now_ms.saturating_add(MAX_AHEAD_MS) {
            received.refused = 1;
            return received;
        }
        if reset_ms > self.reset_ms {
            self.reset(reset_ms, setting.now_ms);
            received.news = true;
        }
        let reset_ms = self.reset_ms;
        received.add(match (&mut self.body, body) {
            (Body::Fixed(meters), Body::Fixed(copies)) => {
                merge(meters, copies, reset_ms, setting, own)
            }
            (Body::Sliding(meters), Body::Sliding(copies)) => {
                merge(meters, copies, reset_ms, setting, own)
            }
            (Body::Bucket(meters), Body::Bucket(copies)) => {
                merge(meters, copies, reset_ms, setting, own)
            }
            _ => Received::default(),
        });
        received
    }

    /// After which no origin here has begun, and so what a reset now is to say.
    pub fn reset_at_ms(&self, now_ms: u64) -> u64 {
        fn last<J: Joint>(meters: &Meters<J>) -> u64 {
            let parts = meters.0.iter().flat_map(|meter| &meter.parts().list);
            parts.map(|part| part.origin().began_ms).max().unwrap_or(0)
        }
        each!(&self.body, meters => last(meters))
            .max(now_ms)
            .max(self.reset_ms)
            .min(MAX_TIME_MS)
    }

    /// Forgets what was used by origins that began at `reset_ms` or before.
    pub fn reset(&mut self, reset_ms: u64, now_ms: u64) {
        fn reset<J: Joint>(meters: &mut Meters<J>, reset_ms: u64, now_ms: u64) -> u64 {
            let forgets = meters.0.iter().map(|meter| meter.forgets_ms(now_ms)).max();
            for meter in &mut meters.0 {
                meter.forget(reset_ms, now_ms);
            }
            forgets.unwrap_or(0)
        }
        let forgets_ms = each!(&mut self.body, meters => reset(meters, reset_ms, now_ms));
        self.reset_ms = reset_ms;
        self.remembers_ms = self.remembers_ms.max(forgets_ms).min(MAX_TIME_MS);
    }

    /// Whether nothing is used, and nothing has to be remembered.
    pub fn is_unused(&self, now_ms: u64) -> bool {
        self.remembers_ms <= now_ms
            && each!(&self.body, meters => meters.0.iter().all(|meter| meter.is_unused(now_ms)))
    }
}

impl State for Regional {
    fn algorithm(&self) -> Option<Algorithm> {
        Some(self.body.algorithm())
    }

    fn reading(&self, now_ms: u64) -> Readings {
        each!(&self.body, meters => meters.reading(now_ms))
    }

    fn unused_at_ms(&self) -> u64 {
        each!(&self.body, meters => meters.unused_at_ms()).max(self.remembers_ms)
    }

    fn expires_ms(&self) -> u64 {
        let remembers_ms = self.remembers_ms + if self.remembers_ms > 0 { 1_000 } else { 0 };
        each!(&self.body, meters => meters.expires_ms())
            .max(remembers_ms)
            .max(1)
    }

    fn visit_allocations(&mut self, visitor: &mut impl Allocations) {
        each!(&mut self.body, meters => meters.visit_allocations(visitor));
    }

    fn heap_bytes(&self) -> usize {
        each!(&self.body, meters => meters.heap_bytes())
    }
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
    /// See [`Regional::reset_ms`].
    pub reset_ms: u64,
    /// The parts.
    pub body: Body,
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
    let asked = payload.body.algorithm();
    if let Some(holds) = state.as_ref().and_then(|held| held.algorithm()) {
        if holds != asked {
            return Err(Error::HoldsAlgorithm { holds, asked });
        }
    }
    let mut state = state;
    if let Some(Form::Noted(noted)) = state {
        let mut held = noted.limiter.as_mut().map(Limiter::held);
        let (limiter, received) = merge(held.as_mut(), payload, setting, own)?;
        if limiter.is_some() {
            noted.limiter = limiter;
        }
        return Ok((None, received));
    }
    if let Some(Form::Regional(regional)) = &mut state {
        let received = regional.merge(&payload.body, payload.reset_ms, setting, own);
        return Ok((None, received));
    }
    let upgraded = state
        .as_ref()
        .and_then(|held| Body::upgrade(held.by_ref(), own, setting.now_ms));
    let body = upgraded.or_else(|| Body::none(asked));
    let Some(body) = body else {
        return Ok((None, Received::default()));
    };
    let marks = match state {
        Some(_) => Marks::default(),
        None => Marks::begin(setting.now_ms),
    };
    let mut regional = Regional::new(body, marks);
    let mut received = regional.merge(&payload.body, payload.reset_ms, setting, own);
    received.news &= !regional.is_unused(setting.now_ms); // or there would be a key of which nothing counts
    let limiter = received.news.then(|| Limiter::Regional(regional.into()));
    Ok((limiter, received))
}

/// Forgets what was used until `reset_ms`, and any block.
pub fn reset(held: &mut LimiterMut, reset_ms: u64, now_ms: u64) -> Left {
    let is_noted = matches!(held, Form::Noted(_));
    let Some(regional) = held.regional() else {
        return Left::Nothing;
    };
    regional.reset(reset_ms, now_ms);
    if regional.is_unused(now_ms) {
        return Left::Nothing;
    }
    if is_noted {
        Left::Other(Limiter::Regional(regional.clone().into()))
    } else {
        Left::Same
    }
}

#[cfg(test)]
mod tests;
