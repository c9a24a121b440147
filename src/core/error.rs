//! Every refusal: one variant each, one wire text each, the error code in upper case first.
//!
//! A text says which argument and what it should have been; it never repeats what the client sent, so that no byte of
//! a client's can reach the protocol or the log. `at` is the argument's place on the command line, the command's own
//! name being 0.

use super::algorithm::lease::{MAX_ID_BYTES, MAX_LEASES};
use super::duration::DurationError;
use super::limit::{
    Algorithm, MAX_COUNT, MAX_KEYS, MAX_LIMITS, MAX_REGIONS, MAX_TIME_MS, MAX_WINDOWS,
};
use super::region::origin::Region;
use super::span::SpanError;
use std::net::IpAddr;
use thiserror::Error;

/// The longest name of a policy or a deny list, in bytes.
pub const MAX_NAME_BYTES: usize = 128;
/// The longest value of a deny list, in bytes. The longest address or range in text has 49.
pub const MAX_VALUE_BYTES: usize = 1024;

/// Why a command is refused. Whatever is refused has changed nothing.
#[rustfmt::skip] // a table: each text on its line
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "each variant is its wire text")]
pub enum Error {
    #[error("ERR argument {at} (algorithm) must be FIXED, SLIDING, BUCKET or LEASE")]
    Algorithm { at: usize },
    #[error("ERR argument {at} ({what}) must be an integer from 0 to {MAX_COUNT}")]
    Count { at: usize, what: &'static str },
    #[error("ERR argument {at} (refill) must be an integer from 1 to {MAX_COUNT}")]
    Refill { at: usize },
    #[error("ERR argument {at} ({what}) must be an integer from {least} to {most}")]
    Range { at: usize, what: &'static str, least: i64, most: i64 },
    #[error("ERR argument {at} ({what}) {}", .why.text("d or w"))]
    Duration { at: usize, what: &'static str, why: DurationError },
    #[error("ERR argument {at} (window) {why}")]
    Window { at: usize, why: SpanError },
    #[error("ERR no such time zone: {name} (a name of the time zone database, spelled as it is there)")]
    Zone { name: &'static str },
    #[error("ERR the calendar ends with the year 9999")]
    PastCalendar,
    #[error("ERR argument {at} is missing: expected {expected}")]
    Incomplete { at: usize, expected: &'static str },
    #[error("ERR argument {at} ({what}) must differ from the {what} of every other limit in the call")]
    SameWindow { at: usize, what: &'static str },
    #[error("ERR argument {at}: too many limits (maximum {MAX_LIMITS})")]
    TooManyLimits { at: usize },
    #[error("ERR argument {at} (cost) must be an integer from -{MAX_COUNT} to {MAX_COUNT}")]
    Cost { at: usize },
    /// No algorithm that a shadow may have.
    #[error("ERR argument {at} must be FIXED, SLIDING, BUCKET or OFF: a lease has no shadow")]
    ShadowAlgorithm { at: usize },
    /// A shadow on a server that shares its limits with others.
    #[error("ERR SHADOW does not go with ratelimit.region: a shadow knows only what this region lets through")]
    ShadowInRegion,
    /// A call of several keys of which none binds.
    #[error("ERR argument {at}: every clause says SHADOW: at least one must bind")]
    AllShadows { at: usize },
    #[error("ERR argument {at} must be a further limit or one of COST, MIN, FORCE, AT, STAMP, ID, NEXT, RESERVE, BLOCK, POLICY, SHADOW, DENY")]
    UnknownOption { at: usize },
    #[error("ERR argument {at} is unexpected: only limits stand here")]
    UnknownWord { at: usize },
    #[error("ERR argument {at} repeats {option}: expected each option at most once")]
    RepeatedOption { at: usize, option: &'static str },
    #[error("ERR argument {at} (cost) must be an integer from 0 to {MAX_COUNT}: a lease is given back by RL.RELEASE")]
    LeaseCost { at: usize },
    #[error("ERR argument {at} (min) must be an integer from 1 to the cost")]
    Min { at: usize },
    #[error("ERR argument {at} (unix-ms) must be a Unix time in milliseconds, from 0 to {MAX_TIME_MS}")]
    At { at: usize },
    #[error("ERR argument {at}: {option} does not go with {with}")]
    Conflict { at: usize, option: &'static str, with: &'static str },
    #[error("ERR argument {at}: {option} applies to the whole call: it goes after the last clause")]
    CallOption { at: usize, option: &'static str },
    #[error("ERR argument {at}: {option} belongs to a clause: it goes before the options of the whole call")]
    ClauseOption { at: usize, option: &'static str },
    #[error("ERR argument {at}: too many {what} (maximum {max})")]
    TooMany { at: usize, what: &'static str, max: usize },
    #[error("ERR argument {at} (id) must be from 1 to {} bytes long", MAX_ID_BYTES)]
    Id { at: usize },
    #[error("ERR argument {at} must be FIXED, SLIDING, BUCKET or LEASE: each key has a clause, in the order of the keys")]
    Clause { at: usize },
    #[error("ERR argument {at} (numkeys) must be an integer from 1 to {}, followed by that many keys", MAX_KEYS)]
    NumKeys { at: usize },
    #[error("ERR argument {at} (key) repeats a key: put its limits into one clause")]
    SameKey { at: usize },
    #[error("ERR argument {at}: more clauses than keys")]
    TooManyClauses { at: usize },
    #[error("ERR too many windows in use on this key (maximum {MAX_WINDOWS}): wait until one has drained, or delete the key")]
    TooManyWindows,
    #[error("ERR too many leases on this key (maximum {})", MAX_LEASES)]
    TooManyLeases,
    #[error("ERR argument {at} ({what}) must be from 1 to {MAX_NAME_BYTES} bytes long")]
    Name { at: usize, what: &'static str },
    #[error("ERR unexpected argument {at}: expected {expected}")]
    Unexpected { at: usize, expected: &'static str },
    #[error("ERR argument {at} (list): no such deny list")]
    NoSuchList { at: usize },
    #[error("ERR cost would take what is used past {MAX_COUNT}, the largest usage that is counted")]
    Overflow,
    #[error("ERR argument {at} (payload) must be a state or an effect as this module encodes it")]
    Payload { at: usize },
    #[error("ERR argument {at} (payload) must be what RL.CHANGES of another region returned")]
    Parts { at: usize },
    #[error("WRONGTYPE the key holds a {} limiter, not a {} limiter", .holds.name(), .asked.name())]
    HoldsAlgorithm { holds: Algorithm, asked: Algorithm },
    #[error("WRONGTYPE the key holds {holds}, not a rate limiter")]
    HoldsType { holds: &'static str },
    #[error("ERR argument {at} must not be denied: it is, covers or is covered by value {place} of ratelimit.never-deny")]
    NeverDenied { at: usize, place: usize },
    #[error("OOM a new key is not allowed when used memory > 'maxmemory' (limiters that exist go on counting)")]
    OutOfMemory,
    #[error("ERR too many policies (maximum {max}): delete one or raise ratelimit.policies")]
    TooManyPolicies { max: usize },
    #[error("ERR the policy is for {} limiters: delete it before setting one for {} limiters", .is.name(), .asked.name())]
    PolicyKeepsAlgorithm { is: Algorithm, asked: Algorithm },
    #[error("ERR argument {at} (value) must not be empty")]
    EmptyValue { at: usize },
    #[error("ERR argument {at} (value) is longer than {MAX_VALUE_BYTES} bytes")]
    LongValue { at: usize },
    #[error("ERR argument {at} (value) looks like an IP address but is not one (no leading zeros, each number 0 to 255)")]
    NoAddress { at: usize },
    #[error("ERR argument {at} (value) looks like an address range but is not one, such as 10.0.0.0/8 or 2001:db8::/32")]
    NoRange { at: usize },
    #[error("ERR argument {at} (value) has bits set past its length: the range would be {base}/{length}")]
    HostBits { at: usize, base: IpAddr, length: u8 },
    #[error("ERR argument {at} (value) has spaces, brackets, a port or a zone: write {}", written(*base, *length))]
    Arrived { at: usize, base: IpAddr, length: u8 },
    #[error("ERR too many deny lists (maximum {max})")]
    TooManyLists { max: usize },
    #[error("ERR too many entries in deny lists: {have} and {adding} more (maximum {max})")]
    TooManyEntries { max: usize, have: usize, adding: usize },
    #[error("ERR too much text in deny lists: {have} bytes and {adding} more (maximum {max})")]
    TooMuchText { max: usize, have: usize, adding: usize },
    #[error("ERR no region is set: expected CONFIG SET ratelimit.region")]
    NoRegion,
    #[error("ERR only a client is told what has changed: a script or a module has no user whose rights say of which keys")]
    NoUser,
    #[error("ERR a window of @first is one server's: regions would each begin their own, so they refuse it")]
    FirstInRegions,
    #[error("ERR argument {at} (region) must be from 1 to {} bytes of a-z, 0-9 and -", Region::MAX_BYTES)]
    Region { at: usize },
    #[error("ERR argument {at} ({what}) must be a Unix time in milliseconds, from 0 to {MAX_TIME_MS}")]
    Time { at: usize, what: &'static str },
    #[error("ERR too many regions (maximum {}): forget one by RL.REGION FORGET", MAX_REGIONS)]
    TooManyRegions,
    #[error("ERR ratelimit.regions does not list '{region}'")]
    UnknownRegion { region: Region },
    #[error("ERR ratelimit.regions lists '{region}': take it out there")]
    ListedRegion { region: Region },
    #[error("ERR argument {at} (cursor) must be 0 or the cursor that the last call returned")]
    Cursor { at: usize },
    #[error("ERR argument {at} must be COUNT and an integer from 1 to {max}")]
    ScanCount { at: usize, max: usize },
}

/// An address, or a range that is more than one.
pub fn written(base: IpAddr, length: u8) -> String {
    let whole = if base.is_ipv4() { 32 } else { 128 };
    if length == whole {
        base.to_string()
    } else {
        format!("{base}/{length}")
    }
}
