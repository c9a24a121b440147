//! Every refusal: one variant each, one wire text each, the error code in upper case first.
//!
//! A text says which argument and what it should have been; it never repeats what the client sent, so that no byte of
//! a client's can reach the protocol or the log. `at` is the argument's place on the command line, the command's own
//! name being 0.

use super::duration::DurationError;
use super::limit::{Algorithm, MAX_COUNT, MAX_LIMITS};
use std::fmt;

/// The longest name of a policy or a deny list, in bytes.
pub const MAX_NAME_BYTES: usize = 128;

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
    Stats {
        at: usize,
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
    OutOfMemory,
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
                write!(out, "ERR argument {at} (list) must be the name of a deny list that is there")
            }
            Error::Stats { at } => {
                write!(out, "ERR argument {at} must be missing: expected RL.STATS [name] or RL.STATS RESET [name]")
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
            Error::OutOfMemory => out.write_str(
                "OOM a new key is not allowed when used memory > 'maxmemory' (limiters that exist go on counting)"
            ),
        }
    }
}
