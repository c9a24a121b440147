//! Every refusal: one variant each, one wire text each, the error code in upper case first.
//!
//! A text says which argument and what it should have been; it never repeats what the client sent, so that no byte of
//! a client's can reach the protocol or the log. `at` is the argument's place on the command line, the command's own
//! name being 0.

use super::duration::DurationError;
use super::limit::{Algorithm, MAX_COUNT, MAX_LIMITS};
use std::fmt;
use std::net::IpAddr;

/// The longest name of a policy or a deny list, in bytes.
pub const MAX_NAME_BYTES: usize = 128;
/// The longest value of a deny list, in bytes. The longest address or range in text has 49.
pub const MAX_VALUE_BYTES: usize = 1024;

/// Why a command is refused. Whatever is refused has changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // each variant is its wire text, below
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
    Duration {
        at: usize,
        what: &'static str,
        why: DurationError,
    },
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
    UnknownOption {
        at: usize,
    },
    RepeatedOption {
        at: usize,
        option: &'static str,
    },
    ForcedPeek {
        at: usize,
    },
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
    PolicyAlgorithm {
        is: Algorithm,
        asked: Algorithm,
    },
    HoldsAlgorithm {
        holds: Algorithm,
        asked: Algorithm,
    },
    HoldsType {
        holds: &'static str,
    },
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
                write!(out, "ERR argument {at} (algorithm) must be FIXED, SLIDING or BUCKET")
            }
            Error::Count { at, what } => {
                write!(out, "ERR argument {at} ({what}) must be an integer from 0 to {MAX_COUNT}")
            }
            Error::Refill { at } => {
                write!(out, "ERR argument {at} (refill) must be an integer from 1 to {MAX_COUNT}")
            }
            Error::Duration { at, what, why } => {
                write!(out, "ERR argument {at} ({what}) ")?;
                out.write_str(match why {
                    DurationError::NoUnit => "needs a unit, such as 60s or 500ms",
                    DurationError::Malformed => {
                        "must be a positive integer and a unit (ms, s, m, h, d or w), such as 60s or 500ms"
                    }
                    DurationError::OutOfRange => "must be from 1ms to 3660d",
                })
            }
            Error::Incomplete { at, expected } => {
                write!(out, "ERR argument {at} is missing: expected {expected}")
            }
            Error::SameWindow { at, what } => write!(
                out,
                "ERR argument {at} ({what}) must differ from the {what} of every other limit in the call"
            ),
            Error::TooManyLimits { at } => write!(
                out,
                "ERR argument {at} starts a limit too many: expected at most {MAX_LIMITS} limits in one call"
            ),
            Error::Cost { at } => write!(
                out,
                "ERR argument {at} (cost) must be an integer from -{MAX_COUNT} to {MAX_COUNT}"
            ),
            Error::UnknownOption { at } => {
                write!(out, "ERR argument {at} must be one of COST, FORCE, POLICY, DENY, or a further limit")
            }
            Error::RepeatedOption { at, option } => {
                write!(out, "ERR argument {at} repeats {option}: expected each option at most once")
            }
            Error::ForcedPeek { at } => {
                write!(out, "ERR argument {at} must not be FORCE: a peek charges nothing")
            }
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
            Error::PolicyAlgorithm { is, asked } => write!(
                out,
                "ERR the policy is for {} limiters, not for {} limiters",
                is.name(),
                asked.name()
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
