//! Fixed windows: count per window, start again at the next.
//!
//! # The maths
//!
//! | symbol | meaning |
//! |---|---|
//! | `[c, e)` | the window in force at `now`: of a plain window `W`, `c = now - now mod W` and `e = c + W`, so that in UTC `1d` begins at 00:00 and `1h` on the hour; of a calendar window, what the calendar says ([`crate::core::calendar`]) |
//! | `L` | the limit |
//! | `s` | start of the window that was last charged |
//! | `u` | used in that window |
//!
//! * The window that binds, `[b, b_e)`, is the one last charged if `u > 0` and `c < s <= e`: the clock has stepped back over
//!   its start, and what it counted must neither vanish nor be charged to the window before. Else it is `[c, e)`. So usage
//!   binds for two windows at most. A window that starts later than `e` is moved to `[c, e)`.
//! * `used(now) = u` if `s >= b`, else 0.
//! * A charge of `n` sets `u = max(0, used(now) + n)` and `s = b`.
//! * `wait(target)`: 0 if `used(now) <= target`, else `b_e - now`. So a retry is due at the window's end, and so is
//!   the reset.
//! * **At an earlier time.** What was charged at `t` still counts exactly if `t >= c`, as all that `u` counts was charged in
//!   `[c, e)`. A refund of an older charge gives back nothing: its window is over, and `u` is others' usage. Within the
//!   window, units are alike, and giving back one's own is giving back what was charged then. So nobody ever has more let
//!   through than if the true cost had been charged at `t` in the first place: `u` would be what it is now. A charge at
//!   `t < c` counts no more and is not made.
//!   (After a step back of the clock, what is charged in `[c, now]` counts in `[b, b_e)`. What was charged there before the
//!   step, and is over, cannot be told from it: a refund of that, made before `b`, takes others' usage, as much as it is of.)
//! * Bounds: `u <= 2^53 - 1` (the caller checks before it charges), `c + W < 2^54`.
//!
//! A calendar window is the same with one number more, its end ([`Dated`]): it is asked of the calendar when a window
//! begins, kept with the state, and not asked again before it is over. So whoever has the state needs no calendar.
//!
//! A window that begins with its first charge, of `W`, is such a one: `[c, e)` is the one that is running, while `u > 0` and
//! `now < e`, else `[now, now + W)`, or `[t, t + W)` of a charge at `t`. A charge at `t` counts while `t + W > now`, in the one
//! that is running; a refund as above. One that begins later than now, as the clock has stepped back, is moved to
//! `[now, now + W)`: it never lasts longer than `W`.
//!
//! ```
//! use ratelimit::core::algorithm::{fixed::Fixed, meter::{Ask, Meter}};
//! use ratelimit::core::{calendar::Window, limit::Limit};
//! let limit = &Limit::window(5, 60_000).unwrap();
//! let at = |now_ms| Ask { limit, now_ms, window: Window::default(), id: b"" };
//! let mut fixed: Fixed = Fixed::unused(limit, 0);
//! fixed.charge(&at(90_000), 5, 90_000); // 30 s into the second minute
//! assert_eq!(fixed.used(&at(119_999)), 5);
//! assert_eq!(fixed.wait(&at(90_000), 4), 30_000);
//! assert_eq!(fixed.used(&at(120_000)), 0);
//! ```

use super::meter::{Ask, Meter};
use crate::core::calendar::Window;
use crate::core::limit::{Algorithm, Limit};
use crate::core::span::Span;
use std::fmt::Debug;

/// Usage within one window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fixed<E: WindowEnd = Aligned> {
    pub(in crate::core) span: Span,
    pub(in crate::core) limit: u64,
    pub(in crate::core) start_ms: u64,
    pub(in crate::core) used: u64,
    /// Of the window that was last charged.
    pub(in crate::core) end: E,
}

/// One whose window may be the calendar's, or one that began with its first charge.
pub type Dated = Fixed<EndMs>;

/// Where a window ends.
pub trait WindowEnd: Copy + Debug + Eq + 'static {
    /// Whether all windows are aligned to the Unix epoch, so that this need not be kept.
    const IS_ALIGNED: bool;

    /// Of a window.
    fn of(window: Window) -> Self;

    /// The end of a window that starts then.
    fn ms(self, start_ms: u64, span: Span) -> u64;
}

/// A whole window behind its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aligned;

/// Where it was said to, in Unix milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndMs(pub u64);

impl WindowEnd for Aligned {
    const IS_ALIGNED: bool = true;

    #[inline(always)]
    fn of(_window: Window) -> Self {
        Aligned
    }

    #[inline(always)]
    fn ms(self, start_ms: u64, span: Span) -> u64 {
        start_ms + span.ms()
    }
}

impl WindowEnd for EndMs {
    const IS_ALIGNED: bool = false;

    fn of(window: Window) -> Self {
        Self(window.end_ms)
    }

    fn ms(self, _start_ms: u64, _span: Span) -> u64 {
        self.0
    }
}

/// The plain window of `span_ms` that `now_ms` lies in.
#[inline(always)]
pub(super) fn aligned(span_ms: u64, now_ms: u64) -> Window {
    // `max(1)` only tells the compiler what the type's own bound says: no window is 0.
    let start_ms = now_ms - now_ms % span_ms.max(1);
    Window {
        start_ms,
        end_ms: start_ms + span_ms,
    }
}

/// The window that binds, where `charged` was the last, and so much of it is used.
#[inline(always)]
fn binding(charged: Window, used: u64, current: Window) -> Window {
    let is_next = charged.start_ms > current.start_ms && charged.start_ms <= current.end_ms;
    if is_next && used > 0 {
        charged
    } else {
        current
    }
}

/// For how many milliseconds more a charge of `at_ms` counts, where `current` is the window that the clock is in: until the
/// end of the window of `at_ms`, of which only the calendar can say where a later one of its own ends.
pub(super) fn counts_ms(current: Window, span: Span, at_ms: u64, now_ms: u64) -> u64 {
    if at_ms.min(now_ms) < current.start_ms {
        0
    } else if at_ms < current.end_ms {
        current.end_ms - now_ms
    } else {
        span.plain_ms()
            .map_or(u64::MAX, |span_ms| aligned(span_ms, at_ms).end_ms - now_ms)
    }
}

impl From<&Fixed> for Dated {
    fn from(fixed: &Fixed) -> Self {
        Self {
            span: fixed.span,
            limit: fixed.limit,
            start_ms: fixed.start_ms,
            used: fixed.used,
            end: EndMs::of(fixed.charged()),
        }
    }
}

impl<E: WindowEnd> Fixed<E> {
    #[inline(always)]
    fn charged(&self) -> Window {
        Window {
            start_ms: self.start_ms,
            end_ms: self.end.ms(self.start_ms, self.span),
        }
    }

    /// What is counted now: of a window that is over, nothing. (One that was moved to the present may end within the
    /// calendar's own; of an aligned one, the start says it.)
    #[inline(always)]
    fn counted(&self, now_ms: u64) -> u64 {
        if E::IS_ALIGNED || self.charged().end_ms > now_ms {
            self.used
        } else {
            0
        }
    }

    /// Whether something is used of a window that has begun and is not over. (One of which nothing is used is nobody's.)
    fn is_in_force(&self, now_ms: u64) -> bool {
        self.used > 0 && self.charged().contains(now_ms)
    }

    /// Whether it began with its first charge, which lies ahead of the clock: it is moved to the present.
    #[inline(always)]
    fn is_first_ahead(&self, now_ms: u64) -> bool {
        let may_be = !E::IS_ALIGNED && self.span.first_ms().is_some();
        may_be && self.used > 0 && self.start_ms > now_ms
    }

    /// The window in force: one that has begun ends when it was said to.
    #[inline(always)]
    fn current(this: Option<&Self>, ask: &Ask) -> Window {
        let span = ask.limit.span();
        if E::IS_ALIGNED {
            return aligned(span.ms(), ask.now_ms);
        }
        match (this, span.plain_ms()) {
            (_, Some(span_ms)) => aligned(span_ms, ask.now_ms),
            (Some(fixed), None) if fixed.is_in_force(ask.now_ms) => fixed.charged(),
            (Some(fixed), None) if fixed.is_first_ahead(ask.now_ms) => fixed.now(ask.now_ms, None),
            (_, None) => ask.window,
        }
    }

    #[inline(always)]
    fn binding(this: Option<&Self>, ask: &Ask) -> Window {
        let current = Self::current(this, ask);
        match this {
            Some(fixed) if !fixed.is_first_ahead(ask.now_ms) => {
                binding(fixed.charged(), fixed.counted(ask.now_ms), current)
            }
            _ => current,
        }
    }

    #[inline(always)]
    fn used_in(&self, binds: Window, now_ms: u64) -> u64 {
        if self.start_ms >= binds.start_ms {
            self.counted(now_ms)
        } else {
            0
        }
    }

    #[inline(always)]
    fn wait_in(&self, binds: Window, target: u64, now_ms: u64) -> u64 {
        if self.used_in(binds, now_ms) <= target {
            0
        } else {
            binds.end_ms.saturating_sub(now_ms)
        }
    }

    /// The window now: the aligned one, the one that the calendar says, or, where nobody asks it as nobody names the window,
    /// one as long as the last that begins now, as of one that begins with its first charge.
    fn now(&self, now_ms: u64, window: Option<Window>) -> Window {
        let named = self.span.plain_ms().map(|ms| aligned(ms, now_ms));
        let window = window.filter(|_| self.span.first_ms().is_none());
        named.or(window).unwrap_or(Window {
            start_ms: now_ms,
            end_ms: now_ms + self.span_ms(),
        })
    }
}

impl<E: WindowEnd> Meter for Fixed<E> {
    const ALGORITHM: Algorithm = Algorithm::Fixed;

    fn unused(limit: &Limit, _log_size: u16) -> Self {
        Self {
            span: limit.span(),
            limit: limit.limit(),
            start_ms: 0,
            used: 0,
            // Of a calendar window, the calendar was not asked; but an end lies behind its start, or no file would be read.
            end: E::of(Window {
                start_ms: 0,
                end_ms: limit.window_ms().max(1),
            }),
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
        self.used_in(Self::binding(Some(self), ask), ask.now_ms)
    }

    #[inline(always)]
    fn wait(&self, ask: &Ask, target: u64) -> u64 {
        self.wait_in(Self::binding(Some(self), ask), target, ask.now_ms)
    }

    #[inline(always)]
    fn wait_and_reset(&self, ask: &Ask, target: u64) -> (u64, u64) {
        let binds = Self::binding(Some(self), ask);
        let wait = |target| self.wait_in(binds, target, ask.now_ms);
        (wait(target), wait(0))
    }

    #[inline(always)]
    fn reset_after(this: Option<&Self>, ask: &Ask, _cost: u64) -> u64 {
        Self::binding(this, ask).end_ms.saturating_sub(ask.now_ms)
    }

    fn refundable(&self, ask: &Ask, at_ms: u64) -> u64 {
        if at_ms >= Self::current(Some(self), ask).start_ms {
            self.used(ask)
        } else {
            0
        }
    }

    fn counts_ms(this: Option<&Self>, ask: &Ask, at_ms: u64) -> u64 {
        let span = ask.limit.span();
        if let Some(ms) = span.first_ms() {
            return at_ms.saturating_add(ms).saturating_sub(ask.now_ms);
        }
        let mut current = Self::current(this, ask);
        if !E::IS_ALIGNED {
            let binds = Self::binding(this, ask);
            // One that stays ahead may begin within the calendar's own, where it was moved.
            if binds.contains(at_ms) && at_ms > ask.now_ms {
                return binds.end_ms - ask.now_ms;
            }
            if binds.start_ms > ask.now_ms && at_ms < binds.start_ms {
                current.end_ms = current.end_ms.min(binds.start_ms);
            }
        }
        counts_ms(current, span, at_ms, ask.now_ms)
    }

    #[inline(always)]
    fn charge(&mut self, ask: &Ask, cost: i64, at_ms: u64) {
        let binds = Self::binding(Some(self), ask);
        let since_ms = match self.span.first_ms() {
            Some(ms) if !E::IS_ALIGNED && cost > 0 => ask.now_ms.saturating_sub(ms - 1),
            _ => Self::current(Some(self), ask).start_ms,
        };
        let is_due = at_ms >= ask.now_ms // the usual case, and the rest of the hot path need not be read
            || at_ms >= since_ms;
        let used = self.used_in(binds, ask.now_ms);
        self.used = if is_due {
            used.saturating_add_signed(cost)
        } else {
            used
        };
        self.start_ms = binds.start_ms;
        self.end = E::of(binds);
        self.limit = ask.limit.limit();
    }

    fn is_unused(&self, now_ms: u64) -> bool {
        self.used == 0 || self.charged().end_ms <= now_ms
    }

    fn known_window(&self, now_ms: u64) -> Window {
        if E::IS_ALIGNED {
            return Window::default(); // nobody asks for it
        }
        let Window { start_ms, end_ms } = self.charged();
        if self.is_ahead(now_ms, None) {
            self.now(now_ms, None)
        } else if now_ms < start_ms {
            Window {
                start_ms: now_ms,
                end_ms: start_ms,
            } // so that the one charged last comes next, and binds
        } else {
            Window {
                start_ms: end_ms,
                end_ms: now_ms.max(end_ms),
            }
        }
    }

    fn charged_ms(&self) -> u64 {
        self.start_ms
    }

    fn unused_at_ms(&self) -> u64 {
        if self.used > 0 {
            self.charged().end_ms
        } else {
            self.start_ms
        }
    }

    fn span_ms(&self) -> u64 {
        self.charged().end_ms - self.start_ms
    }

    #[inline(always)]
    fn is_ahead(&self, now_ms: u64, window: Option<Window>) -> bool {
        let latest_ms = if E::IS_ALIGNED {
            now_ms + self.span.ms() // starts are whole windows apart, so this says "later than the next one"
        } else if self.span.first_ms().is_some() {
            now_ms
        } else {
            self.now(now_ms, window).end_ms
        };
        self.start_ms > latest_ms && self.used > 0
    }

    fn rewind(&mut self, now_ms: u64, window: Option<Window>) {
        let now = self.now(now_ms, window);
        self.start_ms = now.start_ms;
        self.end = E::of(now);
    }
}
