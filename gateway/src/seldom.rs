//! What may go wrong with every request is logged once a second, with how often it did: a log that Redis's absence fills
//! is a second fault.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::OnceLock;
use std::time::Instant;

const EVERY_MS: u64 = 1_000;

/// One kind of message.
#[derive(Debug, Default)]
pub struct Seldom {
    next_ms: AtomicU64,
    unsaid: AtomicU64,
}

impl Seldom {
    pub fn warn(&self, message: impl std::fmt::Display) {
        static STARTED: OnceLock<Instant> = OnceLock::new();
        let now = STARTED.get_or_init(Instant::now).elapsed().as_millis();
        if let Some(unsaid) = self.turn(u64::try_from(now).unwrap_or(u64::MAX)) {
            match unsaid {
                0 => tracing::warn!("{message}"),
                more => tracing::warn!("{message} (and {more} more like it)"),
            }
        }
    }

    /// Whether it is time to speak, and how many have been silent since.
    fn turn(&self, now_ms: u64) -> Option<u64> {
        let next = self.next_ms.load(Relaxed);
        let spoken = now_ms >= next
            && self
                .next_ms
                .compare_exchange(next, now_ms.saturating_add(EVERY_MS), Relaxed, Relaxed)
                .is_ok();
        if spoken {
            return Some(self.unsaid.swap(0, Relaxed));
        }
        self.unsaid.fetch_add(1, Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_a_second_with_how_many_there_were() {
        let seldom = Seldom::default();
        let said = [0, 1, 999, 1_000, 1_001, 5_000].map(|now| seldom.turn(now));
        assert_eq!(said, [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
