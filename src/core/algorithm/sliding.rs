//! Sliding window: in no interval as long as the window is more than the limit ever admitted.
//!
//! # The maths
//!
//! | symbol | meaning |
//! |---|---|
//! | `W` | the window, in ms |
//! | `L` | the limit |
//! | `(t_1, n_1) .. (t_k, n_k)` | the log: what was charged and when, oldest first, `t` strictly rising |
//! | `N` | the most entries that the log may hold |
//!
//! * An entry counts while `now - t < W`, so at `t + W` it has left. `used(now)` is the sum of the `n` that count.
//! * A charge of `n > 0` drops what has left and appends `(now, n)`; charges of one millisecond share an entry.
//!   A charge of `n < 0` takes from the newest entries: it undoes what was charged last.
//! * `wait(target)`: the oldest entries leave first, so it is `t_i + W - now` for the first `i` after which at most
//!   `target` is left; for `target = 0` that is the newest entry.
//! * **Bounded memory.** Where a charge makes `N + 1` entries, pairs of neighbours become one entry
//!   `(t_(i+1), n_i + n_(i+1))`: the pairs with the least `(n_i + n_(i+1)) * (t_(i+1) - t_(i-1))`, the units of the
//!   merged entry times the time that it stands for. Late, never early: past `N` the log may deny a little more than an
//!   exact one, and never admits more. Up to `N` entries it is exact.
//!   (Priced at what the one merge costs, `n_i * (t_(i+1) - t_i)`, the newest entry swallows hit after hit, each of
//!   which is cheap: that admitted 97 % where this admits 99 %.)
//! * **Not at each hit.** `N / 25` pairs are merged in one walk, one at the least, so that the next hits find room. Under an
//!   overload of 1.05 to 10 times the limit, of 200 to 20,000 in a window, a log of 128 admits 98.9 % of an exact one's hits at
//!   the worst and 99.8 % on average; with a merge at each hit 99.0 % and 99.8 %.
//!   Under a steady overload the log settles on entries of about `L / N`, each of which is late by about the time that
//!   as many hits take to arrive: what is lost is about `1 / N` of the admissions.
//! * **At an earlier time.** The log says when each unit was charged, so what is still counted of a charge at `t` is in the
//!   entries at or before `t`. A refund takes from those, the newest first: what of the charge has left the window is not
//!   among them, and no entry later than `t` is touched, so nobody's later charge is. It never lets more through than if the
//!   true cost had been charged at `t`: then the entry of `t` would be smaller by just that, and the entries before it leave
//!   no later. (An entry that was merged with a later one stands under the later time and is not given back.) A charge of
//!   `n > 0` at `t` becomes an entry of `t`; where `t + W <= now` it counts no more and is not made.
//! * An entry later than `now` (the clock stepped back) counts as one of `now`.
//! * Bounds: `sum n <= 2^53 - 1` (the caller checks before it charges), `t + W < 2^54`.
//!
//! ```
//! use ratelimit::core::algorithm::{meter::{Ask, Meter}, sliding::Sliding};
//! use ratelimit::core::{calendar::Window, limit::Limit};
//! let limit = &Limit::window(3, 10_000).unwrap(); // 3 in any 10 s
//! let at = |now_ms| Ask { limit, now_ms, window: Window::default(), id: b"" };
//! let mut sliding = Sliding::unused(limit, 128);
//! for now_ms in [1_000, 4_000, 4_000] {
//!     sliding.charge(&at(now_ms), 1, now_ms);
//! }
//! assert_eq!(sliding.used(&at(10_999)), 3);
//! assert_eq!(sliding.wait(&at(10_999), 2), 1); // the hit of 1_000 leaves at 11_000
//! assert_eq!(sliding.used(&at(11_000)), 2);
//! assert_eq!(sliding.wait(&at(11_000), 0), 3_000);
//! ```

use super::log::Log;
use super::meter::{spilled_bytes, Allocations, Ask, Meter};
use crate::core::calendar::Window;
use crate::core::limit::{Algorithm, Limit};
use crate::core::span::Span;

/// What was charged within one rolling window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sliding {
    pub(in crate::core) span: Span,
    pub(in crate::core) limit: u64,
    pub(in crate::core) log: Log,
}

impl Sliding {
    /// When an entry of `at_ms` leaves, seen from `now_ms`.
    fn leaves_ms(&self, at_ms: u64, now_ms: u64) -> u64 {
        at_ms.min(now_ms) + self.span.ms()
    }
}

impl Meter for Sliding {
    const ALGORITHM: Algorithm = Algorithm::Sliding;

    fn unused(limit: &Limit, log_size: u16) -> Self {
        Self {
            span: limit.span(),
            limit: limit.limit(),
            log: Log::new(log_size),
        }
    }

    fn span(&self) -> Span {
        self.span
    }

    fn limit(&self) -> Option<Limit> {
        Limit::spanning(self.limit, self.span)
    }

    #[inline(always)]
    fn used(&self, ask: &Ask) -> u64 {
        self.log.used_at(self.span.ms(), ask.now_ms)
    }

    fn wait(&self, ask: &Ask, target: u64) -> u64 {
        if target == 0 {
            return self.reset(ask);
        }
        let now_ms = ask.now_ms;
        let mut used = self.log.used;
        let mut leaves_ms = now_ms;
        for (at_ms, entry) in self.log.entries() {
            if used <= target {
                break;
            }
            used -= entry.cost;
            leaves_ms = self.leaves_ms(at_ms, now_ms);
        }
        leaves_ms.saturating_sub(now_ms)
    }

    /// When the newest entry leaves, without walking to it.
    #[inline(always)]
    fn reset(&self, ask: &Ask) -> u64 {
        if self.log.used == 0 {
            return 0;
        }
        let leaves_ms = self.leaves_ms(self.log.last_ms, ask.now_ms);
        leaves_ms.saturating_sub(ask.now_ms)
    }

    #[inline(always)]
    fn reset_after(_this: Option<&Self>, ask: &Ask, _cost: u64) -> u64 {
        ask.limit.span().ms() // what is charged now is the newest entry
    }

    fn refundable(&self, ask: &Ask, at_ms: u64) -> u64 {
        let used = self.used(ask);
        if at_ms >= ask.now_ms {
            return used;
        }
        let gone = self.log.used - used;
        self.log.used_until(at_ms).saturating_sub(gone)
    }

    fn counts_ms(_this: Option<&Self>, ask: &Ask, at_ms: u64) -> u64 {
        let leaves_ms = at_ms.saturating_add(ask.limit.span().ms());
        leaves_ms.saturating_sub(ask.now_ms)
    }

    fn charge(&mut self, ask: &Ask, cost: i64, at_ms: u64) {
        let now_ms = ask.now_ms;
        self.limit = ask.limit.limit();
        self.rewind(now_ms, None);
        self.log.evict(self.span.ms(), now_ms);
        let amount = cost.unsigned_abs();
        match (cost.signum(), at_ms >= now_ms) {
            (1, true) => {
                self.log.append(amount, now_ms);
                self.log.bound(self.log.capacity);
            }
            (1, false) if Self::counts_ms(None, ask, at_ms) > 0 => self.log.insert(amount, at_ms),
            (-1, true) => self.log.give_back(amount),
            (-1, false) => self.log.give_back_until(amount, at_ms),
            _ => {}
        }
    }

    fn is_unused(&self, now_ms: u64) -> bool {
        self.log.entries == 0 || self.log.last_ms + self.span.ms() <= now_ms
    }

    fn charged_ms(&self) -> u64 {
        // What an emptied log remembers is no usage, so it lies ahead of nobody.
        if self.log.entries == 0 {
            0
        } else {
            self.log.last_ms
        }
    }

    fn unused_at_ms(&self) -> u64 {
        self.charged_ms() + if self.log.used > 0 { self.span.ms() } else { 0 }
    }

    fn rewind(&mut self, now_ms: u64, _window: Option<Window>) {
        if self.charged_ms() > now_ms {
            self.log.rewind(now_ms);
        }
    }

    fn log(&self, now_ms: u64) -> Option<(u16, u16)> {
        let gone = self
            .log
            .entries()
            .take_while(|(at_ms, _)| self.leaves_ms(*at_ms, now_ms) <= now_ms)
            .fold(0, |gone: u16, _| gone.saturating_add(1));
        Some((self.log.entries - gone, self.log.capacity))
    }

    fn heap_bytes(&self) -> usize {
        spilled_bytes(&self.log.bytes)
    }

    fn visit_allocations(&mut self, visitor: &mut impl Allocations) {
        visitor.visit(&mut self.log.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refund_of_now_covers_what_the_clock_has_left_in_the_future() {
        let limit = &Limit::window(9, 1_000).unwrap();
        let ask = |now_ms| Ask {
            limit,
            window: Window::default(),
            id: b"",
            now_ms,
        };
        let mut sliding = Sliding::unused(limit, 8);
        sliding.charge(&ask(500), 3, 500);
        assert_eq!(sliding.refundable(&ask(400), 400), 3);
        assert_eq!(sliding.refundable(&ask(400), 399), 0);
    }
}
