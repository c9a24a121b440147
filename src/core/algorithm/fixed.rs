//! Fixed windows: count per window, start again at the next.
//!
//! # The maths
//!
//! | symbol | meaning |
//! |---|---|
//! | `W` | the window, in ms |
//! | `L` | the limit |
//! | `s` | start of the window that was last charged: a multiple of `W` since the Unix epoch |
//! | `u` | used in that window |
//!
//! * The window in force at `now` starts at `c = now - now mod W` and ends at `c + W`. In UTC: `1d` begins at 00:00,
//!   `1h` on the hour; `1w` on a Thursday, as the epoch did.
//! * `used(now) = u` if `s >= c`, else 0. `s > c` happens only when the clock stepped back: the usage is then held
//!   against the window that the clock now says, so it neither vanishes nor outlives that window.
//! * A charge of `n` sets `u = max(0, used(now) + n)` and `s = c`.
//! * `wait(target)`: 0 if `used(now) <= target`, else `c + W - now`. So a retry is due at the window's end, and so is
//!   the reset.
//! * Bounds: `u <= 2^53 - 1` (the caller checks before it charges), `c + W < 2^54`.
//!
//! ```
//! use ratelimit::core::{algorithm::fixed::Fixed, limit::Limit, limiter::Meter};
//! let five_a_minute = Limit::window(5, 60_000).unwrap();
//! let mut fixed = Fixed::unused(&five_a_minute, 0);
//! fixed.charge(&five_a_minute, 5, 90_000); // 30 s into the second minute
//! assert_eq!(fixed.used(&five_a_minute, 119_999), 5);
//! assert_eq!(fixed.wait(&five_a_minute, 4, 90_000), 30_000);
//! assert_eq!(fixed.used(&five_a_minute, 120_000), 0);
//! ```

use crate::core::limit::{Algorithm, Limit};
use crate::core::limiter::{Limiter, Meter, Meters};

/// Usage within one aligned window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fixed {
    pub(in crate::core) window_ms: u64,
    pub(in crate::core) limit: u64,
    pub(in crate::core) start_ms: u64,
    pub(in crate::core) used: u64,
}

impl Fixed {
    fn window_start(&self, now_ms: u64) -> u64 {
        // `max(1)` only tells the compiler what the type's own bound says: no window is 0.
        now_ms - now_ms % self.window_ms.max(1)
    }

    fn used_at(&self, now_ms: u64) -> u64 {
        if self.start_ms >= self.window_start(now_ms) {
            self.used
        } else {
            0
        }
    }
}

impl Meter for Fixed {
    const ALGORITHM: Algorithm = Algorithm::Fixed;

    fn unused(limit: &Limit, _entries: u16) -> Self {
        Self {
            window_ms: limit.window_ms(),
            limit: limit.limit(),
            start_ms: 0,
            used: 0,
        }
    }

    fn window_ms(&self) -> u64 {
        self.window_ms
    }

    fn limit(&self) -> Option<Limit> {
        Limit::window(self.limit, self.window_ms)
    }

    fn used(&self, _limit: &Limit, now_ms: u64) -> u64 {
        self.used_at(now_ms)
    }

    fn wait(&self, _limit: &Limit, target: u64, now_ms: u64) -> u64 {
        if self.used_at(now_ms) <= target {
            0
        } else {
            self.window_start(now_ms) + self.window_ms - now_ms
        }
    }

    fn charge(&mut self, limit: &Limit, cost: i64, now_ms: u64) {
        self.used = self.used_at(now_ms).saturating_add_signed(cost);
        self.start_ms = self.window_start(now_ms);
        self.limit = limit.limit();
    }

    fn unused_at_ms(&self) -> u64 {
        self.start_ms + if self.used > 0 { self.window_ms } else { 0 }
    }

    fn charged_ms(&self) -> u64 {
        self.start_ms
    }

    fn rewind(&mut self, now_ms: u64) {
        self.start_ms = self.window_start(now_ms);
    }

    fn wrap(meters: Box<Meters<Self>>) -> Limiter {
        Limiter::Fixed(meters)
    }

    fn of(limiter: &Limiter) -> Option<&Meters<Self>> {
        match limiter {
            Limiter::Fixed(meters) => Some(meters),
            _ => None,
        }
    }

    fn of_mut(limiter: &mut Limiter) -> Option<&mut Meters<Self>> {
        match limiter {
            Limiter::Fixed(meters) => Some(meters),
            _ => None,
        }
    }
}
