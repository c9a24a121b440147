//! What the meters of one key answer a hit, and what a change makes of them.

use super::{Change, Hit, Quote};
use crate::core::algorithm::meter::{Ask, Meter, Place};
use crate::core::calendar::Window;
use crate::core::decision::{Retry, Verdict};
use crate::core::error::Error;
use crate::core::limit::{Limit, MAX_COUNT, MAX_TIME_MS, MAX_WINDOWS};
use crate::core::limiter::block::Block;
use crate::core::limiter::{Meters, Notes};
use std::num::NonZero;

/// Makes of one meter what a change makes of it that charges all of a call's.
pub(super) trait Take: Meter {
    fn take(&mut self, ask: &Ask, change: Change, at_ms: u64) {
        match change {
            Change::Reserve(place) => self.reserve(ask, &place),
            _ => self.charge(ask, change.cost(), at_ms),
        }
    }
}

impl<M: Meter> Take for M {}

impl<M: Meter> Meters<M> {
    #[inline(always)]
    pub(super) fn quote(
        meters: &[M],
        notes: Option<&Notes>,
        rest_allows: bool,
        hit: &Hit,
        now_ms: u64,
        quote: &mut Quote,
    ) -> Result<(), Error> {
        let own = Self::measure(meters, hit, rest_allows, now_ms, quote)?;
        let mut needed = hit.cost.unsigned_abs(); // what has to fit
        if !quote.fits && hit.cost > 0 {
            if let Some(min) = hit.options.min {
                needed = min;
                Self::take_part(meters, hit, min, now_ms, quote);
            } else if let (Some(reserve_ms), true) = (hit.options.reserve_ms, rest_allows) {
                Self::reserve(meters, hit, reserve_ms, now_ms, quote)?;
            }
        }
        // What is given back goes on, and so does a lease that is renewed for no more than it holds.
        let goes_on = hit.cost < 0 || (1..=own).contains(&hit.cost.unsigned_abs());
        let shut_ms = match notes {
            Some(notes) if !goes_on => notes.left_ms(now_ms),
            _ => 0,
        };
        if shut_ms > 0 {
            quote.fits = false;
        }
        let lets_through = quote.fits && rest_allows;
        if !(lets_through || hit.force) {
            quote.taken = 0;
        }
        quote.change = Change::None;
        if quote.taken != 0 && Self::is_changed(meters, hit, now_ms, quote) {
            quote.change = Change::Charge(quote.taken);
            if hit.options.reserve_ms.is_some() && hit.cost > 0 {
                Self::take_place(meters, hit, now_ms, quote);
            }
            Self::judge_after(meters, hit, own, rest_allows, now_ms, quote);
        } else {
            quote.taken = 0;
            let is_ahead = Self::is_ahead(meters, hit, now_ms);
            if is_ahead || notes.is_some_and(|notes| notes.is_ahead(now_ms)) {
                quote.change = Change::Rewind;
            }
            Self::judge_before(meters, hit, needed, now_ms, quote);
        }
        if hit.options.reserve_ms.is_some() && hit.cost > 0 {
            Self::judge_turns(meters, hit, now_ms, quote);
        }
        if hit.options.at_ms.is_some() && !lets_through {
            Self::judge_late(meters, hit, now_ms, quote);
        }
        if shut_ms > 0 {
            Self::shut(shut_ms, quote);
        } else if !(quote.fits || hit.force || hit.options.block_ms.is_empty())
            && hit.cost > 0
            && rest_allows
        {
            Self::start_block(meters, notes, hit, needed, now_ms, quote);
        }
        Ok(())
    }

    /// Notes what is used of every limit, and whether the cost fits them all. Returns what of the usage is the asker's own:
    /// of leases, which have one limit.
    #[inline(always)]
    fn measure(
        meters: &[M],
        hit: &Hit,
        rest_allows: bool,
        now_ms: u64,
        quote: &mut Quote,
    ) -> Result<u64, Error> {
        let cost = hit.cost.unsigned_abs();
        let mut own = 0;
        let mut fits = true;
        let mut is_in_order = true;
        quote.decision.verdicts.clear();
        for (index, limit) in hit.limits.iter().enumerate() {
            let ask = hit.ask(index, limit, now_ms);
            let meter = Self::find(meters, index, limit);
            // (A closure is called here, where a match is not.)
            let used = match meter {
                Some(meter) => {
                    own = meter.own(&ask);
                    meter.used(&ask)
                }
                None => 0,
            };
            let after = used.saturating_sub(own).saturating_add(cost);
            let is_late =
                hit.options.at_ms.is_some() && Self::counts_ms(meter, &ask, index, hit) == 0;
            // What is given back always fits, or a debt could never be reduced; so does what is renewed, and what would
            // not be counted.
            fits &= hit.cost < 0 || after <= limit.limit() || (cost > 0 && cost <= own) || is_late;
            if hit.force && hit.cost > 0 && after > MAX_COUNT && !is_late {
                return Err(Error::Overflow);
            }
            if hit.cost > 0 && rest_allows && meter.is_some_and(|meter| meter.is_full(&ask)) {
                return Err(Error::TooManyLeases);
            }
            is_in_order &= meter.is_some();
            quote.decision.verdicts.push(Verdict {
                allowed: true,
                limit: limit.limit(),
                used,
                retry: Retry::After(0),
                reset_after_ms: 0,
            });
        }
        if !is_in_order {
            Self::check_windows(meters, hit, now_ms)?;
        }
        quote.fits = fits;
        quote.taken = hit.cost;
        Ok(own)
    }

    /// Whether the windows that are in use leave room for those that the hit adds.
    fn check_windows(meters: &[M], hit: &Hit, now_ms: u64) -> Result<(), Error> {
        let kept = meters
            .iter()
            .filter(|meter| !hit.limits.iter().any(|limit| meter.is_for(limit)))
            .filter(|meter| !meter.is_unused(now_ms))
            .count();
        if kept + hit.limits.len() > MAX_WINDOWS {
            return Err(Error::TooManyWindows);
        }
        Ok(())
    }

    /// For how many milliseconds more the hit counts, by a limit: 0 where it no longer does.
    #[cold]
    fn counts_ms(meter: Option<&M>, ask: &Ask, index: usize, hit: &Hit) -> u64 {
        let counts_ms = match hit.options.at_ms {
            None => u64::MAX,
            Some(0) => 0, // the stamp of a hit that was denied
            Some(at_ms) => M::counts_ms(meter, ask, at_ms),
        };
        match hit.options.at_windows.get(index) {
            Some(later) if counts_ms == u64::MAX && later.end_ms > 0 => later.end_ms - ask.now_ms,
            _ => counts_ms,
        }
    }

    /// As much of the cost as fits every limit that it counts by, if that is enough.
    #[cold]
    fn take_part(meters: &[M], hit: &Hit, min: u64, now_ms: u64, quote: &mut Quote) {
        let mut room = hit.cost.unsigned_abs();
        for (index, (limit, verdict)) in hit.limits.iter().zip(&quote.decision.verdicts).enumerate()
        {
            let meter = Self::find(meters, index, limit);
            if Self::counts_ms(meter, &hit.ask(index, limit, now_ms), index, hit) > 0 {
                room = room.min(verdict.remaining());
            }
        }
        if room >= min {
            quote.fits = true;
            quote.taken = i64::try_from(room).unwrap_or(i64::MAX);
        }
    }

    /// Lets through what will fit soon enough.
    #[cold]
    fn reserve(
        meters: &[M],
        hit: &Hit,
        reserve_ms: u64,
        now_ms: u64,
        quote: &mut Quote,
    ) -> Result<(), Error> {
        let mut turn_ms = 0;
        let mut most = 0;
        for (index, (limit, verdict)) in hit.limits.iter().zip(&quote.decision.verdicts).enumerate()
        {
            match Self::turn(meters, hit, index, limit, now_ms) {
                Retry::After(ms) => turn_ms = turn_ms.max(ms),
                Retry::Never => return Ok(()),
            }
            most = most.max(verdict.used.saturating_add(hit.cost.unsigned_abs()));
        }
        quote.fits = turn_ms <= reserve_ms;
        if quote.fits && most > MAX_COUNT {
            return Err(Error::Overflow);
        }
        Ok(())
    }

    /// Where the turn is yet to come, what is charged is a place that can be given back; and where stamps have run ahead of the
    /// clock, or another was given now.
    #[cold]
    fn take_place(meters: &[M], hit: &Hit, now_ms: u64, quote: &mut Quote) {
        let turn = |(index, limit)| Self::turn(meters, hit, index, limit, now_ms);
        let turns = hit.limits.iter().enumerate().map(turn);
        let Some(Retry::After(wait_ms)) = turns.max() else {
            return;
        };
        let stamped_ms = meters.iter().map(M::stamped_ms).max();
        let free_ms = stamped_ms.map_or(0, |stamped_ms| stamped_ms + 1);
        let stamp_ms = free_ms.max(now_ms).min(MAX_TIME_MS);
        if wait_ms > 0 || (hit.options.stamp && stamp_ms > now_ms) {
            quote.change = Change::Reserve(Place {
                cost: hit.cost.unsigned_abs(),
                acts_ms: now_ms + wait_ms,
                stamp_ms,
            });
        }
    }

    /// When a cost fits one limit, if nothing else happens.
    fn turn(meters: &[M], hit: &Hit, index: usize, limit: &Limit, now_ms: u64) -> Retry {
        let meter = Self::find(meters, index, limit);
        let ask = hit.ask(index, limit, now_ms);
        match limit.limit().checked_sub(hit.cost.unsigned_abs()) {
            Some(target) => Retry::After(meter.map_or(0, |meter| meter.wait(&ask, target))),
            None => Retry::Never,
        }
    }

    /// Says when a reserved hit's turn comes; denied, when it would be soon enough.
    #[cold]
    fn judge_turns(meters: &[M], hit: &Hit, now_ms: u64, quote: &mut Quote) {
        let late_ms = if quote.fits {
            0
        } else {
            hit.options.reserve_ms.unwrap_or(0)
        };
        let verdicts = hit.limits.iter().zip(&mut quote.decision.verdicts);
        for (index, (limit, verdict)) in verdicts.enumerate() {
            verdict.retry = match Self::turn(meters, hit, index, limit, now_ms) {
                Retry::After(ms) => Retry::After(ms.saturating_sub(late_ms)),
                Retry::Never => Retry::Never,
            };
            verdict.allowed = quote.fits || verdict.retry == Retry::After(0);
        }
    }

    /// Of a denied hit of an earlier time: by when it would no longer count, it would be allowed, and not charged.
    #[cold]
    fn judge_late(meters: &[M], hit: &Hit, now_ms: u64, quote: &mut Quote) {
        let verdicts = hit.limits.iter().zip(&mut quote.decision.verdicts);
        for (index, (limit, verdict)) in verdicts.enumerate() {
            let meter = Self::find(meters, index, limit);
            let counts_ms = Self::counts_ms(meter, &hit.ask(index, limit, now_ms), index, hit);
            if counts_ms < u64::MAX {
                verdict.retry = verdict.retry.min(Retry::After(counts_ms));
                verdict.allowed = verdict.retry == Retry::After(0);
            }
        }
    }

    /// Whether charging what is taken would change anything: a refund on an unused limit is a no-op, and so is what no
    /// longer counts.
    #[inline(always)]
    fn is_changed(meters: &[M], hit: &Hit, now_ms: u64, quote: &Quote) -> bool {
        let at_ms = hit.at_ms();
        if hit.options.at_ms.is_none() {
            return hit.cost > 0
                || quote
                    .decision
                    .verdicts
                    .iter()
                    .any(|verdict| verdict.used > 0);
        }
        let mut limits = hit.limits.iter().enumerate();
        at_ms > 0
            && limits.any(|(index, limit)| {
                let ask = hit.ask(index, limit, now_ms);
                let meter = Self::find(meters, index, limit);
                if hit.cost > 0 {
                    Self::counts_ms(meter, &ask, index, hit) > 0
                } else {
                    meter.is_some_and(|meter| meter.refundable(&ask, at_ms) > 0)
                }
            })
    }

    /// What each limit says of a hit that charges nothing.
    #[inline(always)]
    fn judge_before(meters: &[M], hit: &Hit, needed: u64, now_ms: u64, quote: &mut Quote) {
        let fits = quote.fits;
        let verdicts = hit.limits.iter().zip(&mut quote.decision.verdicts);
        for (index, (limit, verdict)) in verdicts.enumerate() {
            let meter = Self::find(meters, index, limit);
            let ask = hit.ask(index, limit, now_ms);
            if fits {
                verdict.reset_after_ms = match meter {
                    Some(meter) => meter.reset(&ask),
                    None => 0,
                };
            } else {
                verdict.wait(meter, &ask, needed);
            }
        }
    }

    /// What each limit says once the hit is charged.
    #[inline(always)]
    fn judge_after(
        meters: &[M],
        hit: &Hit,
        own: u64,
        rest_allows: bool,
        now_ms: u64,
        quote: &mut Quote,
    ) {
        if hit.options.at_ms.is_some()
            || quote.taken < 0
            || hit.options.reserve_ms.is_some()
            || !(quote.fits && rest_allows)
        {
            return Self::judge_clones(meters, hit, rest_allows, now_ms, quote);
        }
        let cost = quote.taken.unsigned_abs();
        let verdicts = hit.limits.iter().zip(&mut quote.decision.verdicts);
        for (index, (limit, verdict)) in verdicts.enumerate() {
            let meter = Self::find(meters, index, limit);
            let ask = hit.ask(index, limit, now_ms);
            verdict.used = verdict.used.saturating_sub(own).saturating_add(cost);
            verdict.reset_after_ms = M::reset_after(meter, &ask, cost);
        }
    }

    /// The same, of a hit whose effect is not known without making it.
    #[cold]
    fn judge_clones(meters: &[M], hit: &Hit, rest_allows: bool, now_ms: u64, quote: &mut Quote) {
        let fits = quote.fits && rest_allows || hit.cost < 0;
        let verdicts = hit.limits.iter().zip(&mut quote.decision.verdicts);
        for (index, (limit, verdict)) in verdicts.enumerate() {
            let ask = hit.ask(index, limit, now_ms);
            let found = Self::find(meters, index, limit).cloned();
            let mut meter = found.unwrap_or_else(|| M::unused(limit, hit.log_size));
            meter.take(&ask, quote.change, hit.at_ms());
            verdict.used = meter.used(&ask);
            // A forced hit that did not fit, here or on another key, may have filled a limit that it did fit: then that one has
            // to be waited for, too.
            if fits {
                verdict.reset_after_ms = meter.reset(&ask);
            } else {
                verdict.wait(Some(&meter), &ask, hit.cost.unsigned_abs());
            }
        }
    }

    /// What each limit says within a block.
    #[cold]
    fn shut(left_ms: u64, quote: &mut Quote) {
        for verdict in &mut quote.decision.verdicts {
            verdict.allowed = false;
            verdict.retry = verdict.retry.max(Retry::After(left_ms));
            verdict.used = verdict.used.max(verdict.limit); // nothing remains
        }
    }

    /// What gives back all that is used.
    const ALL: i64 = -MAX_COUNT.cast_signed();

    /// Shuts the key, if the hit could have fitted: the limits that denied start anew.
    #[cold]
    fn start_block(
        meters: &[M],
        notes: Option<&Notes>,
        hit: &Hit,
        needed: u64,
        now_ms: u64,
        quote: &mut Quote,
    ) {
        if hit.limits.iter().any(|limit| needed > limit.limit()) {
            return;
        }
        let before = notes.and_then(|notes| notes.block);
        let before = before.filter(|block| !block.is_forgotten(now_ms));
        let passed = before.map_or(0, |block| block.strikes.get());
        let strikes = NonZero::<u32>::MIN.saturating_add(passed);
        let nth = usize::try_from(passed).unwrap_or(usize::MAX);
        let length_ms = hit
            .options
            .block_ms
            .get(nth)
            .or(hit.options.block_ms.last());
        let length_ms = length_ms.copied().unwrap_or(0);
        let mut emptied = 0;
        let verdicts = hit.limits.iter().zip(&mut quote.decision.verdicts);
        for (bit, (limit, verdict)) in verdicts.enumerate() {
            if verdict.allowed {
                continue;
            }
            emptied |= 1 << bit;
            (verdict.used, verdict.retry, verdict.reset_after_ms) = (0, Retry::After(0), 0);
            let meter = Self::find(meters, bit, limit);
            if let Some(meter) = meter.filter(|meter| meter.reserved_ms(now_ms) > 0) {
                // No block recalls a place.
                let (mut left, ask) = (meter.clone(), hit.ask(bit, limit, now_ms));
                left.charge(&ask, Self::ALL, u64::MAX);
                verdict.used = left.used(&ask);
                verdict.wait(Some(&left), &ask, needed);
            }
        }
        Self::shut(length_ms, quote);
        let until_ms = now_ms + length_ms;
        let block = Block {
            until_ms,
            length_ms,
            strikes,
        };
        quote.change = Change::Block { block, emptied };
    }

    /// Whether anything lies too far in the future.
    #[inline(always)]
    fn is_ahead(meters: &[M], hit: &Hit, now_ms: u64) -> bool {
        let mut meters = meters.iter();
        meters.any(|meter| meter.is_ahead(now_ms, Self::window_of(meter, hit)))
    }

    /// The calendar's window of a meter now, where the hit names it.
    #[inline(always)]
    fn window_of(meter: &M, hit: &Hit) -> Option<Window> {
        let windows = hit.options.windows.iter();
        let mut named = hit.limits.iter().zip(windows);
        named
            .find(|(limit, _)| meter.is_for(limit))
            .map(|(_, window)| *window)
    }

    #[inline(always)]
    pub(super) fn change(&mut self, hit: &Hit, change: Change, now_ms: u64) {
        match change {
            Change::None | Change::Once(_) => {} // see `Change::of_usage`
            Change::Charge(cost) => self.charge(hit, cost, now_ms),
            Change::Reserve(place) => self.charge_place(hit, &place, now_ms),
            Change::Rewind => self.rewind(hit, now_ms),
            Change::Block { emptied, .. } => self.empty_limits(hit, emptied, now_ms),
        }
    }

    /// Charges every limit, and adopts the limits' numbers.
    #[inline(always)]
    fn charge(&mut self, hit: &Hit, cost: i64, now_ms: u64) {
        self.put_in_order(hit, now_ms);
        for (index, (limit, meter)) in hit.limits.iter().zip(&mut self.0).enumerate() {
            meter.charge(&hit.ask(index, limit, now_ms), cost, hit.at_ms());
        }
    }

    /// Charges a place to every limit.
    #[cold]
    fn charge_place(&mut self, hit: &Hit, place: &Place, now_ms: u64) {
        self.put_in_order(hit, now_ms);
        for (index, (limit, meter)) in hit.limits.iter().zip(&mut self.0).enumerate() {
            meter.reserve(&hit.ask(index, limit, now_ms), place);
        }
    }

    /// Sees to it that the first meters are those of the limits, in their order.
    #[inline(always)]
    pub(super) fn put_in_order(&mut self, hit: &Hit, now_ms: u64) {
        let is_in_order = self.0.len() == hit.limits.len()
            && hit
                .limits
                .iter()
                .zip(&self.0)
                .all(|(limit, meter)| meter.is_for(limit));
        if !is_in_order {
            self.arrange(hit, now_ms);
        }
    }

    /// One meter per limit, in the order of the limits: those there are, and new ones. Behind them, the meters that the hit
    /// does not name, as long as anything of them is used; what of it lies ahead of the clock is moved to the present.
    #[cold]
    fn arrange(&mut self, hit: &Hit, now_ms: u64) {
        // A limiter keeps the log size that it was created with, also for the windows that join it later.
        let log_size = self.0.iter().find_map(|meter| meter.log(0));
        let log_size = log_size.map_or(hit.log_size, |(_, capacity)| capacity);
        let mut old = std::mem::take(&mut self.0);
        let mut take = |limit: &Limit| {
            let at = old.iter().position(|meter| meter.is_for(limit));
            at.map_or_else(|| M::unused(limit, log_size), |at| old.remove(at))
        };
        self.0 = hit.limits.iter().map(&mut take).collect();
        if !hit.options.drops_unnamed {
            let mut rest = Self(old);
            rest.0.retain(|meter| !meter.is_unused(now_ms));
            rest.rewind(hit, now_ms);
            self.0.append(&mut rest.0);
        }
    }

    #[cold]
    pub(super) fn rewind(&mut self, hit: &Hit, now_ms: u64) {
        for meter in &mut self.0 {
            let window = Self::window_of(meter, hit);
            if meter.is_ahead(now_ms, window) {
                meter.rewind(now_ms, window);
            }
        }
    }

    /// Gives back all that is used of some limits.
    #[cold]
    fn empty_limits(&mut self, hit: &Hit, emptied: u8, now_ms: u64) {
        self.each_emptied(hit, emptied, now_ms, |meter, ask| {
            meter.charge(ask, Self::ALL, u64::MAX);
        });
    }

    /// Moves to the present what lies ahead of it, and has the meters of some limits emptied.
    pub(super) fn each_emptied(
        &mut self,
        hit: &Hit,
        emptied: u8,
        now_ms: u64,
        empty: impl Fn(&mut M, &Ask),
    ) {
        self.rewind(hit, now_ms);
        for (bit, limit) in hit.limits.iter().enumerate() {
            let meter = self.0.iter_mut().find(|meter| meter.is_for(limit));
            if let (Some(meter), 1) = (meter, (emptied >> bit) & 1) {
                empty(meter, &hit.ask(bit, limit, now_ms));
            }
        }
    }
}

impl Verdict {
    /// When a cost that did not fit will, by this limit alone, and when nothing is used.
    #[inline(always)]
    fn wait<M: Meter>(&mut self, meter: Option<&M>, ask: &Ask, needed: u64) {
        let target = self.limit.checked_sub(needed);
        let (wait_ms, reset_after_ms) = match meter {
            Some(meter) => meter.wait_and_reset(ask, target.unwrap_or(0)),
            None => (0, 0),
        };
        self.reset_after_ms = reset_after_ms;
        self.retry = match target {
            Some(_) => Retry::After(wait_ms),
            None => Retry::Never,
        };
        self.allowed = self.retry == Retry::After(0);
    }
}
