//! Where the calendar's windows begin and end now: the system's time zone database is asked, or the compiled-in one where
//! the system has none.
//!
//! It is asked when a window begins, and its answer kept until it is over, for the whole node: a hit looks it up. Replicas,
//! the AOF and RDB files carry what was answered, and ask nobody.

use crate::core::calendar::{self, Window};
use crate::core::error::Error;
use crate::core::hashing;
use crate::core::limit::Limit;
use crate::core::quote::Windows;
use crate::core::span::{Calendar, Span};
use crate::core::zone::{is_of_the_node, Kind};
use ahash::RandomState;
use hashbrown::HashMap;
use jiff::tz::{Offset, TimeZone};
use std::sync::{LazyLock, Mutex, PoisonError};

/// How many windows are kept: more than policies there are on most servers. Past it, all are asked for anew.
const MAX_KEPT: usize = 4_096;

static KEPT: LazyLock<Mutex<HashMap<Span, Window, RandomState>>> =
    LazyLock::new(|| Mutex::new(HashMap::with_hasher(hashing::seeded())));

/// Appends the window of each limit now, of which a plain one's says nothing; none where there are only plain ones. One that
/// begins with the first charge begins at `at_ms`, where that is said.
///
/// # Errors
/// A zone that this node does not know, a time past the calendar's last year.
#[inline]
pub fn windows(
    limits: &[Limit],
    now_ms: u64,
    at_ms: Option<u64>,
    out: &mut Windows,
) -> Result<(), Error> {
    if limits.iter().all(|limit| limit.span().plain_ms().is_some()) {
        return Ok(());
    }
    each_window(limits, now_ms, at_ms, out)
}

/// Appends the window of each limit at a later time, as [`windows`] does; one that nobody knows says nothing. None is kept.
#[cold]
pub fn windows_at(limits: &[Limit], at_ms: u64, out: &mut Windows) {
    for limit in limits {
        let window = limit.span().as_calendar().and_then(|calendar| {
            let zone = zone(&calendar).ok()?;
            calendar::window(&calendar, &zone, at_ms)
        });
        out.push(window.unwrap_or_default());
    }
}

fn each_window(
    limits: &[Limit],
    now_ms: u64,
    at_ms: Option<u64>,
    out: &mut Windows,
) -> Result<(), Error> {
    for limit in limits {
        out.push(match limit.span().first_ms() {
            Some(ms) => calendar::first(ms, now_ms, at_ms),
            None => window(limit.span(), now_ms)?,
        });
    }
    Ok(())
}

fn window(span: Span, now_ms: u64) -> Result<Window, Error> {
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(window) = kept.get(&span).filter(|window| window.contains(now_ms)) {
        return Ok(*window);
    }
    let Some(calendar) = span.as_calendar() else {
        return Ok(Window::default());
    };
    let zone = zone(&calendar)?;
    let window = calendar::window(&calendar, &zone, now_ms).ok_or(Error::PastCalendar)?;
    if kept.len() >= MAX_KEPT {
        kept.clear();
    }
    kept.insert(span, window);
    Ok(window)
}

/// Whether this node can say where all of these windows begin.
///
/// # Errors
/// A zone that it does not know.
pub fn check(limits: &[Limit]) -> Result<(), Error> {
    let mut calendars = limits.iter().filter_map(|limit| limit.span().as_calendar());
    calendars.try_for_each(|calendar| zone(&calendar).map(drop))
}

/// A zone, by the name that the database spells.
fn zone(calendar: &Calendar) -> Result<TimeZone, Error> {
    match calendar.zone.kind() {
        Kind::Offset(minutes) => Offset::from_seconds(minutes * 60)
            .map(TimeZone::fixed)
            .map_err(|_| Error::PastCalendar),
        Kind::Name(name) => jiff::tz::db()
            .get(name)
            .ok()
            .filter(|zone| zone.iana_name() == Some(name) && !is_of_the_node(name))
            .ok_or(Error::Zone { name }),
    }
}
