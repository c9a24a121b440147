//! Every refusal: one variant each, one wire text each, the error code in upper case first.
//!
//! A text says which argument and what it should have been; it never repeats what the client sent, so that no byte of
//! a client's can reach the protocol or the log. `at` is the argument's place on the command line, the command's own
//! name being 0.

use super::duration::DurationError;
use super::limit::{Algorithm, MAX_COUNT, MAX_KEYS, MAX_LIMITS, MAX_TIME_MS, MAX_WINDOWS};
use super::region::origin::Region;
use super::span::SpanError;
use std::fmt;
use std::net::IpAddr;

/// The longest name of a policy or a deny list, in bytes.
pub const MAX_NAME_BYTES: usize = 128;
/// The longest value of a deny list, in bytes. The longest address or range in text has 49.
pub const MAX_VALUE_BYTES: usize = 1024;

/// Why a command is refused. Whatever is refused has changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant is its wire text, below")]
pub enum Error {
    Algorithm {
        at: usize,
    },
    Count {
        at: usize,
        what: &'static str,
    },
    Refill {
        at: usize,
    },
    Range {
        at: usize,
        what: &'static str,
        least: i64,
        most: i64,
    },
    Duration {
        at: usize,
        what: &'static str,
        why: DurationError,
    },
    Window {
        at: usize,
        why: SpanError,
    },
    Zone {
        name: &'static str,
    },
    PastCalendar,
    Incomplete {
        at: usize,
        expected: &'static str,
    },
    SameWindow {
        at: usize,
        what: &'static str,
    },
    TooManyLimits {
        at: usize,
    },
    Cost {
        at: usize,
    },
    /// No algorithm that a shadow may have.
    ShadowAlgorithm {
        at: usize,
    },
    /// A shadow on a server that shares its limits with others.
    ShadowInRegion,
    /// A call of several keys of which none binds.
    AllShadows {
        at: usize,
    },
    UnknownOption {
        at: usize,
    },
    UnknownWord {
        at: usize,
    },
    RepeatedOption {
        at: usize,
        option: &'static str,
    },
    LeaseCost {
        at: usize,
    },
    Min {
        at: usize,
    },
    At {
        at: usize,
    },
    Conflict {
        at: usize,
        option: &'static str,
        with: &'static str,
    },
    CallOption {
        at: usize,
        option: &'static str,
    },
    ClauseOption {
        at: usize,
        option: &'static str,
    },
    TooMany {
        at: usize,
        what: &'static str,
        max: usize,
    },
    Id {
        at: usize,
    },
    Clause {
        at: usize,
    },
    NumKeys {
        at: usize,
    },
    SameKey {
        at: usize,
    },
    TooManyClauses {
        at: usize,
    },
    TooManyWindows,
    TooManyLeases,
    Name {
        at: usize,
        what: &'static str,
    },
    Unexpected {
        at: usize,
        expected: &'static str,
    },
    NoSuchList {
        at: usize,
    },
    Overflow,
    Payload {
        at: usize,
    },
    Parts {
        at: usize,
    },
    HoldsAlgorithm {
        holds: Algorithm,
        asked: Algorithm,
    },
    HoldsType {
        holds: &'static str,
    },
    NeverDenied {
        at: usize,
        place: usize,
    },
    OutOfMemory,
    TooManyPolicies {
        max: usize,
    },
    PolicyKeepsAlgorithm {
        is: Algorithm,
        asked: Algorithm,
    },
    EmptyValue {
        at: usize,
    },
    LongValue {
        at: usize,
    },
    NoAddress {
        at: usize,
    },
    NoRange {
        at: usize,
    },
    HostBits {
        at: usize,
        base: IpAddr,
        length: u8,
    },
    Arrived {
        at: usize,
        base: IpAddr,
        length: u8,
    },
    TooManyLists {
        max: usize,
    },
    TooManyEntries {
        max: usize,
        have: usize,
        adding: usize,
    },
    TooMuchText {
        max: usize,
        have: usize,
        adding: usize,
    },
    NoRegion,
    NoUser,
    FirstInRegions,
    Region {
        at: usize,
    },
    Time {
        at: usize,
        what: &'static str,
    },
    TooManyRegions,
    UnknownRegion {
        region: Region,
    },
    ListedRegion {
        region: Region,
    },
    Cursor {
        at: usize,
    },
    ScanCount {
        at: usize,
        max: usize,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Algorithm { at } => {
                write!(out, "ERR argument {at} (algorithm) must be FIXED, SLIDING, BUCKET or LEASE")
            }
            Error::Count { at, what } => {
                write!(out, "ERR argument {at} ({what}) must be an integer from 0 to {MAX_COUNT}")
            }
            Error::Refill { at } => {
                write!(out, "ERR argument {at} (refill) must be an integer from 1 to {MAX_COUNT}")
            }
            Error::Range { at, what, least, most } => {
                write!(out, "ERR argument {at} ({what}) must be an integer from {least} to {most}")
            }
            Error::Duration { at, what, why } => {
                write!(out, "ERR argument {at} ({what}) ")?;
                duration_error(*why, "d or w", out)
            }
            Error::Window { at, why } => {
                write!(out, "ERR argument {at} (window) ")?;
                match why {
                    SpanError::Duration(why) => duration_error(*why, "d, w, mo or y", out),
                    SpanError::Minutes => out.write_str("must say mo for months: m is for minutes"),
                    SpanError::NoCalendar => {
                        out.write_str("must count d, w, mo or y to have a day or a time zone")
                    }
                    SpanError::Multiple => out.write_str("must be 1mo, 3mo or 1y: no other number of months or years"),
                    SpanError::Anchor => out.write_str(
                        "must have a day (1mo@15, 1w@thu), a time of day (1d@05:00), a time zone (1d@Europe/Berlin, 1d@+02:00) or several in this order (1mo@15,05:00,Europe/Berlin) after its @",
                    ),
                    SpanError::NoDay => out.write_str(
                        "must have no day after its @, as d, 3mo and 1y begin on no other: only a time of day (3mo@05:00), a time zone (3mo@Europe/Berlin) or both",
                    ),
                    SpanError::Time => {
                        out.write_str("must have a time of day as HH:MM, from 00:00 to 23:59, such as 1d@05:00")
                    }
                    SpanError::Weekday => {
                        out.write_str("must have a weekday from mon to sun after its @, such as 1w@thu")
                    }
                    SpanError::MonthDay => {
                        out.write_str("must have a day of the month from 1 to 31 after its @, such as 1mo@15")
                    }
                    SpanError::First => out.write_str(
                        "must be a duration before its @first, such as 5h@first: a month or a year has no one length (1mo@1 begins on the 1st)",
                    ),
                    SpanError::OnlyFixed => out.write_str("must be a duration, such as 30d: calendar windows are for FIXED"),
                }
            }
            Error::Zone { name } => write!(
                out,
                "ERR no such time zone: {name} (a name of the time zone database, spelled as it is there)"
            ),
            Error::PastCalendar => out.write_str("ERR the calendar ends with the year 9999"),
            Error::Incomplete { at, expected } => {
                write!(out, "ERR argument {at} is missing: expected {expected}")
            }
            Error::SameWindow { at, what } => write!(
                out,
                "ERR argument {at} ({what}) must differ from the {what} of every other limit in the call"
            ),
            Error::TooManyLimits { at } => write!(
                out,
                "ERR argument {at}: too many limits (maximum {MAX_LIMITS})"
            ),
            Error::Cost { at } => write!(
                out,
                "ERR argument {at} (cost) must be an integer from -{MAX_COUNT} to {MAX_COUNT}"
            ),
            Error::ShadowAlgorithm { at } => {
                write!(out, "ERR argument {at} must be FIXED, SLIDING, BUCKET or OFF: a lease has no shadow")
            }
            Error::ShadowInRegion => write!(
                out,
                "ERR SHADOW does not go with ratelimit.region: a shadow knows only what this region lets through"
            ),
            Error::AllShadows { at } => {
                write!(out, "ERR argument {at}: every clause says SHADOW: at least one must bind")
            }
            Error::UnknownOption { at } => write!(
                out,
                "ERR argument {at} must be a further limit or one of COST, MIN, FORCE, AT, STAMP, ID, NEXT, RESERVE, BLOCK, POLICY, SHADOW, DENY"
            ),
            Error::UnknownWord { at } => write!(out, "ERR argument {at} is unexpected: only limits stand here"),
            Error::RepeatedOption { at, option } => {
                write!(out, "ERR argument {at} repeats {option}: expected each option at most once")
            }
            Error::LeaseCost { at } => write!(
                out,
                "ERR argument {at} (cost) must be an integer from 0 to {MAX_COUNT}: a lease is given back by RL.RELEASE"
            ),
            Error::Min { at } => write!(out, "ERR argument {at} (min) must be an integer from 1 to the cost"),
            Error::At { at } => write!(
                out,
                "ERR argument {at} (unix-ms) must be a Unix time in milliseconds, from 0 to {MAX_TIME_MS}"
            ),
            Error::Conflict { at, option, with } => {
                write!(out, "ERR argument {at}: {option} does not go with {with}")
            }
            Error::CallOption { at, option } => {
                write!(out, "ERR argument {at}: {option} applies to the whole call: it goes after the last clause")
            }
            Error::ClauseOption { at, option } => write!(
                out,
                "ERR argument {at}: {option} belongs to a clause: it goes before the options of the whole call"
            ),
            Error::TooMany { at, what, max } => {
                write!(out, "ERR argument {at}: too many {what} (maximum {max})")
            }
            Error::Id { at } => {
                write!(out, "ERR argument {at} (id) must be from 1 to {} bytes long", super::algorithm::lease::MAX_ID_BYTES)
            }
            Error::Clause { at } => write!(
                out,
                "ERR argument {at} must be FIXED, SLIDING, BUCKET or LEASE: each key has a clause, in the order of the keys"
            ),
            Error::NumKeys { at } => write!(
                out,
                "ERR argument {at} (numkeys) must be an integer from 1 to {}, followed by that many keys",
                MAX_KEYS
            ),
            Error::SameKey { at } => {
                write!(out, "ERR argument {at} (key) repeats a key: put its limits into one clause")
            }
            Error::TooManyClauses { at } => {
                write!(out, "ERR argument {at}: more clauses than keys")
            }
            Error::TooManyWindows => write!(
                out,
                "ERR too many windows in use on this key (maximum {MAX_WINDOWS}): wait until one has drained, or delete the key"
            ),
            Error::TooManyLeases => write!(
                out,
                "ERR too many leases on this key (maximum {})",
                super::algorithm::lease::MAX_LEASES
            ),
            Error::Name { at, what } => {
                write!(out, "ERR argument {at} ({what}) must be from 1 to {MAX_NAME_BYTES} bytes long")
            }
            Error::Overflow => {
                write!(out, "ERR cost would take what is used past {MAX_COUNT}, the largest usage that is counted")
            }
            Error::NoSuchList { at } => {
                write!(out, "ERR argument {at} (list): no such deny list")
            }
            Error::Unexpected { at, expected } => {
                write!(out, "ERR unexpected argument {at}: expected {expected}")
            }
            Error::Payload { at } => write!(
                out,
                "ERR argument {at} (payload) must be a state or an effect as this module encodes it"
            ),
            Error::Parts { at } => write!(
                out,
                "ERR argument {at} (payload) must be what RL.CHANGES of another region returned"
            ),
            Error::HoldsAlgorithm { holds, asked } => write!(
                out,
                "WRONGTYPE the key holds a {} limiter, not a {} limiter",
                holds.name(),
                asked.name()
            ),
            Error::HoldsType { holds } => {
                write!(out, "WRONGTYPE the key holds {holds}, not a rate limiter")
            }
            Error::OutOfMemory => out.write_str(
                "OOM a new key is not allowed when used memory > 'maxmemory' (limiters that exist go on counting)"
            ),
            Error::NeverDenied { at, place } => write!(
                out,
                "ERR argument {at} must not be denied: it is, covers or is covered by value {place} of ratelimit.never-deny"
            ),
            Error::TooManyPolicies { max } => {
                write!(out, "ERR too many policies (maximum {max}): delete one or raise ratelimit.policies")
            }
            Error::PolicyKeepsAlgorithm { is, asked } => write!(
                out,
                "ERR the policy is for {} limiters: delete it before setting one for {} limiters",
                is.name(),
                asked.name()
            ),
            Error::EmptyValue { at } => {
                write!(out, "ERR argument {at} (value) must not be empty")
            }
            Error::LongValue { at } => {
                write!(out, "ERR argument {at} (value) is longer than {MAX_VALUE_BYTES} bytes")
            }
            Error::NoAddress { at } => write!(
                out,
                "ERR argument {at} (value) looks like an IP address but is not one (no leading zeros, each number 0 to 255)"
            ),
            Error::NoRange { at } => write!(
                out,
                "ERR argument {at} (value) looks like an address range but is not one, such as 10.0.0.0/8 or 2001:db8::/32"
            ),
            Error::HostBits { at, base, length } => write!(
                out,
                "ERR argument {at} (value) has bits set past its length: the range would be {base}/{length}"
            ),
            Error::Arrived { at, base, length } => {
                write!(out, "ERR argument {at} (value) has spaces, brackets, a port or a zone: write {base}")?;
                let whole = if base.is_ipv4() { 32 } else { 128 };
                if *length == whole {
                    Ok(())
                } else {
                    write!(out, "/{length}")
                }
            }
            Error::TooManyLists { max } => write!(out, "ERR too many deny lists (maximum {max})"),
            Error::TooManyEntries { max, have, adding } => write!(
                out,
                "ERR too many entries in deny lists: {have} and {adding} more (maximum {max})"
            ),
            Error::TooMuchText { max, have, adding } => write!(
                out,
                "ERR too much text in deny lists: {have} bytes and {adding} more (maximum {max})"
            ),
            Error::FirstInRegions => out.write_str(
                "ERR a window of @first is one server's: regions would each begin their own, so they refuse it",
            ),
            Error::NoRegion => out.write_str("ERR no region is set: expected CONFIG SET ratelimit.region"),
            Error::NoUser => out.write_str("ERR only a client is told what has changed: a script or a module has no user whose rights say of which keys"),
            Error::Region { at } => write!(
                out,
                "ERR argument {at} (region) must be from 1 to {} bytes of a-z, 0-9 and -",
                Region::MAX_BYTES
            ),
            Error::Time { at, what } => write!(
                out,
                "ERR argument {at} ({what}) must be a Unix time in milliseconds, from 0 to {MAX_TIME_MS}"
            ),
            Error::TooManyRegions => write!(
                out,
                "ERR too many regions (maximum {}): forget one by RL.REGION FORGET",
                super::limit::MAX_REGIONS
            ),
            Error::UnknownRegion { region } => {
                write!(out, "ERR ratelimit.regions does not list '{region}'")
            }
            Error::ListedRegion { region } => {
                write!(out, "ERR ratelimit.regions lists '{region}': take it out there")
            }
            Error::Cursor { at } => write!(
                out,
                "ERR argument {at} (cursor) must be 0 or the cursor that the last call returned"
            ),
            Error::ScanCount { at, max } => {
                write!(out, "ERR argument {at} must be COUNT and an integer from 1 to {max}")
            }
        }
    }
}

fn duration_error(why: DurationError, units: &str, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    match why {
        DurationError::NoUnit => out.write_str("needs a unit, such as 60s or 500ms"),
        DurationError::Malformed => write!(
            out,
            "must be a positive integer and a unit (ms, s, m, h, {units}), such as 60s or 500ms"
        ),
        DurationError::OutOfRange => out.write_str("must be from 1ms to 3660d"),
    }
}
