//! What an algorithm is: a way in which usage fades.

use crate::core::calendar::Window;
use crate::core::limit::{Algorithm, Limit};
use crate::core::span::Span;
use smallvec::{Array, SmallVec};

/// One limit of a call, at the moment of the call.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The limit in force.
    pub limit: &'a Limit,
    /// Where its window begins and ends now, if it is a calendar window; else it says nothing.
    pub window: Window,
    /// Whose lease it is, where it is one.
    pub id: &'a [u8],
    /// Unix milliseconds.
    pub now_ms: u64,
}

/// A place in the queue of a bucket, that is reserved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Units.
    pub cost: u64,
    /// When who has it acts, in Unix milliseconds.
    pub acts_ms: u64,
    /// By which it is given back: no other place of the key has the same.
    pub stamp_ms: u64,
}

/// Counts what is used of one limit. It knows nothing of other limits, of keys, or of who asks.
pub trait Meter: Clone {
    /// Which algorithm this is.
    const ALGORITHM: Algorithm;

    /// A meter on which nothing is used. `log_size` bounds the log of a sliding window.
    fn unused(limit: &Limit, log_size: u16) -> Self;

    /// The window or interval by which a call's limit finds its meter.
    fn span(&self) -> Span;

    /// Whether it is what a call's limit counts on.
    #[inline(always)]
    fn is_for(&self, limit: &Limit) -> bool {
        self.span() == limit.span()
    }

    /// The limit of the last charge.
    fn limit(&self) -> Option<Limit>;

    /// Whole units that are used, rounded up.
    fn used(&self, ask: &Ask) -> u64;

    /// Of [`Meter::used`], what is the asker's own and will be replaced by what it asks for.
    #[inline(always)]
    fn own(&self, _ask: &Ask) -> u64 {
        0
    }

    /// Milliseconds until at most `target` units are used (by others than the asker), if nothing else happens: exact, and
    /// rounded up.
    fn wait(&self, ask: &Ask, target: u64) -> u64;

    /// Milliseconds until nothing is used, if nothing else happens.
    #[inline(always)]
    fn reset(&self, ask: &Ask) -> u64 {
        self.wait(ask, 0)
    }

    /// [`Meter::wait`] and [`Meter::reset`] in one look.
    #[inline(always)]
    fn wait_and_reset(&self, ask: &Ask, target: u64) -> (u64, u64) {
        (self.wait(ask, target), self.reset(ask))
    }

    /// [`Meter::reset`] as it will be once `cost` units, 1 or more, are charged now and fit.
    fn reset_after(this: Option<&Self>, ask: &Ask, cost: u64) -> u64;

    /// How many of the units that are used a refund of what was charged at `at_ms` may give back.
    fn refundable(&self, ask: &Ask, at_ms: u64) -> u64;

    /// For how many milliseconds more a charge of `at_ms` counts: 0 where it no longer does.
    fn counts_ms(_this: Option<&Self>, _ask: &Ask, _at_ms: u64) -> u64 {
        u64::MAX
    }

    /// Adds `cost` units as charged at `at_ms`, or takes them off, down to nothing used: what no longer counts is not
    /// added, and what a refund may not give back is left. `used + cost` must not exceed
    /// [`crate::core::limit::MAX_COUNT`].
    fn charge(&mut self, ask: &Ask, cost: i64, at_ms: u64);

    /// Charges a place that is reserved, as one of now.
    fn reserve(&mut self, ask: &Ask, place: &Place) {
        self.charge(ask, place.cost.cast_signed(), u64::MAX);
    }

    /// Whether nothing is used, seen from the meter alone.
    fn is_unused(&self, now_ms: u64) -> bool;

    /// The calendar's window now, as far as the meter alone can tell: enough to say what is used.
    fn known_window(&self, _now_ms: u64) -> Window {
        Window::default()
    }

    /// When it was charged last (a fixed window: the start of the window that was).
    fn charged_ms(&self) -> u64;

    /// The latest stamp that anybody may have of it.
    fn stamped_ms(&self) -> u64 {
        self.charged_ms()
    }

    /// How long until the last of those who have reserved a place acts.
    fn reserved_ms(&self, _now_ms: u64) -> u64 {
        0
    }

    /// When nothing is used any more, if nothing else happens: a function of the meter alone.
    fn unused_at_ms(&self) -> u64;

    /// For how long, at the least, its key is to outlive that moment's distance: the window.
    fn span_ms(&self) -> u64 {
        self.span().plain_ms().unwrap_or(0)
    }

    /// Whether usage lies so far ahead of `now_ms` that it has to be moved: the clock has stepped back. `window` is the one
    /// that the limit's calendar has now, where it is known.
    fn is_ahead(&self, now_ms: u64, _window: Option<Window>) -> bool {
        self.charged_ms() > now_ms
    }

    /// Makes what was charged later than `now_ms` count as charged at `now_ms`.
    fn rewind(&mut self, now_ms: u64, window: Option<Window>);

    /// Whether there is no room for one asker more, whatever the limit.
    fn is_full(&self, _ask: &Ask) -> bool {
        false
    }

    /// Entries in the log and the most it may hold, where the algorithm keeps one.
    fn log(&self, _now_ms: u64) -> Option<(u16, u16)> {
        None
    }

    /// Bytes allocated beyond the meter itself.
    fn heap_bytes(&self) -> usize {
        0
    }

    /// Shows every vector of the meter that may be allocated.
    fn visit_allocations(&mut self, _visitor: &mut impl Allocations) {}
}

/// Bytes that a vector has allocated.
pub fn spilled_bytes<A: Array>(vec: &SmallVec<A>) -> usize {
    if vec.spilled() {
        vec.capacity() * size_of::<A::Item>()
    } else {
        0
    }
}

/// Who is shown the vectors that a limiter may have allocated, so as to move their buffers.
pub trait Allocations {
    /// One of them; it holds the same elements afterwards.
    fn visit<A: Array>(&mut self, vec: &mut SmallVec<A>);

    /// The same, of a box.
    fn visit_box<T>(&mut self, place: &mut Box<T>);
}
