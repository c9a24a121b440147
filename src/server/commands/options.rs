//! What few hits ask for, put together: from what a clause says, what its call says, and what the node is set to.

use crate::core::error::Error;
use crate::core::limit::Algorithm;
use crate::core::quote::shadow::Tried;
use crate::core::quote::{HitOptions, Windows};
use crate::core::request::{Clause, Options};
use crate::server::{config, regions, zones};

/// The windows of a hit: of its limits now, of the same at AT where that is later, and of the limits that are tried.
pub type HitWindows = [Windows; 3];

/// What a hit by this clause asks for. The windows are put into `windows`, which are empty.
///
/// # Errors
/// A zone that this node does not know, a time past the calendar's last year.
#[cold]
pub fn rare<'a>(
    algorithm: Algorithm,
    clause: &'a Clause,
    options: &Options<'a>,
    now_ms: u64,
    [windows, at_windows, tried_windows]: &'a mut HitWindows,
) -> Result<HitOptions<'a>, Error> {
    let at_ms = options.at_ms;
    zones::windows(&clause.limits, now_ms, at_ms, windows)?;
    if let Some(at_ms) = options.later_ms(now_ms).filter(|_| !windows.is_empty()) {
        zones::windows_at(&clause.limits, at_ms, at_windows);
    }
    // (Where this node cannot say when the windows of what is tried begin, nothing is tried: that stops no hit.)
    let tried = clause.tried.as_deref().and_then(|limits| {
        zones::windows(limits, now_ms, at_ms, tried_windows).ok()?;
        let windows = &*tried_windows;
        Some(Tried { limits, windows })
    });
    Ok(HitOptions {
        windows,
        at_windows,
        at_ms,
        stamp: options.stamp && algorithm == Algorithm::Bucket,
        min: clause.min,
        reserve_ms: clause.reserve_ms,
        block_ms: &clause.block_ms,
        is_shadow: clause.is_shadow,
        tried,
        id: match algorithm {
            Algorithm::Lease => clause.id,
            _ => options.id,
        },
        ids: config::ids(),
        drops_unnamed: false,
        here: regions::here(algorithm, now_ms),
    })
}
