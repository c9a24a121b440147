//! `NEXT`: when more becomes available.

use super::{apply, quote, Hit, HitOptions, LocalRegion, Quote, Windows};
use crate::core::decision::Retry;
use crate::core::error::Error;
use crate::core::limit::MAX_LIMITS;
use crate::core::limiter::LimiterRef;
use arrayvec::ArrayVec;

/// Per limit, in how many milliseconds more of it will remain than a quote says.
pub type Nexts = ArrayVec<Retry, MAX_LIMITS>;

/// What `NEXT` asks of a hit that was quoted on a state, and is not committed yet: 0 where nothing is used. More remains once
/// a unit more than remains would fit, which is when a hit of so much on what the key will be says.
///
/// # Errors
/// As [`super::quote()`]'s.
#[cold]
pub fn nexts(
    state: Option<LimiterRef<'_>>,
    hit: &Hit,
    quoted: &Quote,
    now_ms: u64,
) -> Result<Nexts, Error> {
    let mut after = state.map(|limiter| limiter.to_limiter());
    apply(&mut after, hit, quoted.change, now_ms)?;
    let held = after.as_ref().map(|limiter| limiter.by_ref());
    let mut nexts = Nexts::new();
    let mut probed = Quote::default();
    for (index, (limit, verdict)) in hit
        .limits
        .iter()
        .zip(quoted.decision.verdicts())
        .enumerate()
    {
        if verdict.used == 0 {
            nexts.push(Retry::After(0));
            continue;
        }
        let window = hit.options.windows.get(index).copied();
        let windows: Windows = window.into_iter().collect();
        let options = HitOptions {
            windows: &windows,
            here: hit.options.here.map(|here| LocalRegion {
                share: None,
                ..here
            }),
            ..HitOptions::NONE
        };
        let probe = Hit {
            limits: std::slice::from_ref(limit),
            cost: i64::try_from(verdict.remaining() + 1).unwrap_or(i64::MAX),
            force: false,
            options: &options,
            ..*hit
        };
        quote(held, &probe, now_ms, false, &mut probed)?;
        nexts.push(probed.decision.longest_wait());
    }
    Ok(nexts)
}
