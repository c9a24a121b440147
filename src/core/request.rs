//! The grammar: what a client may write behind a command's name, over plain bytes.
//!
//! ```text
//! clause    FIXED, SLIDING     limit window [limit window ...]
//!           BUCKET             capacity refill interval [capacity refill interval ...]
//!           LEASE              limit ttl id
//!           and then           [COST n] [MIN m] [RESERVE max-wait] [BLOCK duration [duration ...]] [POLICY name]... [SHADOW]
//! call                         [FORCE] [AT unix-ms] [STAMP] [ID id] [NEXT] [DENY list value [value ...]]
//! ```
//!
//! A command of one key has one clause, and its options and the call's in any order. RL.ALL has a clause for each key, each
//! behind its algorithm's name, and the call's options behind the last. Both are read by the same rows. Option words are read
//! in any case; DENY takes the rest of the line; a word that begins with a digit goes on a list of limits or durations.

use super::algorithm::lease::MAX_ID_BYTES;
use super::duration;
use super::error::{Error, MAX_NAME_BYTES};
use super::limit::{Algorithm, Limit, Limits, MAX_COUNT, MAX_KEYS, MAX_LIMITS};
use super::span::{Span, SpanError};
use arrayvec::ArrayVec;
use rare::Rare;
use smallvec::SmallVec;

mod rare;

/// The most names of policies in one clause.
pub const MAX_NAMES: usize = 4;
/// The most durations of one BLOCK.
pub const MAX_BLOCKS: usize = 8;

/// What is asked of one key, its limits validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clause<'a> {
    /// At least one, at most [`MAX_LIMITS`], no two of one window.
    pub limits: Limits,
    /// Within ±[`MAX_COUNT`]; 1 unless said.
    pub cost: i64,
    /// The policies whose limits go before the clause's own: the first that exists. Once they were looked up, the names that
    /// the hit counts under: see [`Clause::count_under`].
    pub policies: ArrayVec<&'a [u8], MAX_NAMES>,
    /// What of the rest, and of the call's options, has to be looked at.
    pub rarity: Rarity,
    /// Take a part of the cost, this at the least: 1 ..= the cost.
    pub min: Option<u64>,
    /// Take what will fit within so many milliseconds.
    pub reserve_ms: Option<u64>,
    /// For how many milliseconds the key is shut, for the first time, the second ..
    pub block_ms: ArrayVec<u64, MAX_BLOCKS>,
    /// It never binds: only others' clauses decide.
    pub is_shadow: bool,
    /// What is tried beside its limits, where a policy says so: at most [`MAX_LIMITS`], no two of one window.
    pub tried: Option<Box<Limits>>,
    /// Whose lease it is: 1 ..= [`MAX_ID_BYTES`] bytes; of other algorithms none.
    pub id: &'a [u8],
}

/// Which of three paths a hit takes: each looks only at what it has to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rarity {
    /// The limits and the cost, and whose lease it is.
    #[default]
    Usual,
    /// An id beside them, so that the hit is charged once.
    Once,
    /// Anything.
    Rare,
}

/// What is said of a whole call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options<'a> {
    /// Charge even what does not fit.
    pub force: bool,
    /// When it counts as charged, in Unix milliseconds.
    pub at_ms: Option<u64>,
    /// The time of the charge is asked for.
    pub stamp: bool,
    /// When more will remain is asked for.
    pub next: bool,
    /// By what a repeat of it is known: 1 ..= [`MAX_ID_BYTES`] bytes, or none where it may count again.
    pub id: &'a [u8],
    /// Which of the call's words that is.
    pub id_at: usize,
    /// The deny list to look in first.
    pub deny: Option<Deny<'a>>,
}

impl Options<'_> {
    /// The time that AT names, where it is later than now.
    pub fn later_ms(&self, now_ms: u64) -> Option<u64> {
        self.at_ms.filter(|at_ms| *at_ms > now_ms)
    }
}

/// A call of a command that has one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request<'a> {
    /// What is asked of the key.
    pub clause: Clause<'a>,
    /// What is said of the call.
    pub options: Options<'a>,
}

/// A call of RL.ALL or RL.PEEKALL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct All<'a> {
    /// 1 ..= [`MAX_KEYS`] keys, no two the same.
    pub keys: &'a [&'a [u8]],
    /// One for each key, with its algorithm.
    pub clauses: SmallVec<[(Algorithm, Clause<'a>); 5]>,
    /// What is said of the call.
    pub options: Options<'a>,
}

/// A DENY clause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deny<'a> {
    /// The list's name.
    pub list: &'a [u8],
    /// At least one value to look for.
    pub values: &'a [&'a [u8]],
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// A command that charges.
    Charge,
    /// One that only asks: nothing can be forced, reserved or settled by it.
    Peek,
}

/// Where an option stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// In a command of one key.
    Single,
    /// In a clause of several, which others follow.
    Clause,
    /// In the last of several clauses, or behind it.
    LastClause,
}

/// The words that are left to read.
struct Words<'a> {
    args: &'a [&'a [u8]],
    /// The place behind the last word on the command line, for error texts.
    end: usize,
}

impl<'a> Words<'a> {
    /// `at` is the place of the first of `args`.
    fn new(args: &'a [&'a [u8]], at: usize) -> Self {
        let end = at + args.len();
        Self { args, end }
    }

    fn peek(&self) -> Option<&'a [u8]> {
        self.args.first().copied()
    }

    fn next(&mut self, expected: &'static str) -> Result<&'a [u8], Error> {
        let at = self.at();
        let (word, rest) = self
            .args
            .split_first()
            .ok_or(Error::Incomplete { at, expected })?;
        self.args = rest;
        Ok(word)
    }

    /// Whether the next word goes on a list of limits or durations.
    fn goes_on(&self) -> bool {
        matches!(self.peek(), Some([b'0'..=b'9', ..]))
    }

    /// The place of the next word.
    fn at(&self) -> usize {
        self.end - self.args.len()
    }

    /// The place of the word that `next` returned last.
    fn last(&self) -> usize {
        self.at() - 1
    }
}

impl<'a> Clause<'a> {
    /// Of several policies, leaves those that the hit counts under: the last one, behind the ones whose limits judge it.
    pub fn count_under(&mut self, judges: [Option<&'a [u8]>; 2]) {
        let mut names = ArrayVec::<&[u8], MAX_NAMES>::new();
        let last = self.policies.last().copied();
        for name in judges
            .into_iter()
            .flatten()
            .filter(|name| Some(*name) != last)
        {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names.extend(last);
        self.policies = names;
    }
}

impl Default for Clause<'_> {
    /// No limit, and a cost of 1.
    fn default() -> Self {
        Self {
            limits: Limits::new(),
            cost: 1,
            policies: ArrayVec::new(),
            rarity: Rarity::Usual,
            min: None,
            reserve_ms: None,
            block_ms: ArrayVec::new(),
            is_shadow: false,
            tried: None,
            id: &[],
        }
    }
}

/// Reads everything behind the key. `at` is the place of the first of `args` on the command line, for error texts.
///
/// # Errors
/// What is wrong with the first word that is.
pub fn parse<'a>(
    algorithm: Algorithm,
    verb: Verb,
    args: &'a [&'a [u8]],
    at: usize,
) -> Result<Request<'a>, Error> {
    let mut request = Request::default();
    parse_into(&mut request, algorithm, verb, args, at)?;
    Ok(request)
}

/// [`parse`] to where the caller wants it, as a request is too large to be handed around; `request` is a default one.
///
/// # Errors
/// As [`parse`]'s.
#[inline(always)]
pub fn parse_into<'a>(
    request: &mut Request<'a>,
    algorithm: Algorithm,
    verb: Verb,
    args: &'a [&'a [u8]],
    at: usize,
) -> Result<(), Error> {
    let mut words = Words::new(args, at);
    let Request { clause, options } = request;
    limits_of(algorithm, &mut words, clause)?;
    let mut reader = Reader {
        algorithm,
        verb,
        scope: Scope::Single,
        words: &mut words,
        clause,
        options,
        seen: Seen::default(),
    };
    while let Some(word) = reader.words.peek() {
        reader.option(word)?;
    }
    let Reader { seen, .. } = reader;
    seen.check(algorithm, clause)
}

/// How many keys a call has, which the first of `args` says, and which stand behind it.
pub fn numkeys(args: &[&[u8]]) -> Option<usize> {
    let (numkeys, rest) = args.split_first()?;
    let numkeys = usize::try_from(integer(numkeys)?).ok()?;
    (1..=MAX_KEYS.min(rest.len()))
        .contains(&numkeys)
        .then_some(numkeys)
}

/// Reads everything behind RL.ALL's or RL.PEEKALL's name; `at` is the place of the first of `args`.
///
/// # Errors
/// What is wrong with the first word that is.
pub fn parse_all<'a>(verb: Verb, args: &'a [&'a [u8]], at: usize) -> Result<All<'a>, Error> {
    let mut all = All::default();
    parse_all_into(&mut all, verb, args, at)?;
    Ok(all)
}

/// [`parse_all`] to where the caller wants it; `all` is a default one.
///
/// # Errors
/// As [`parse_all`]'s.
pub fn parse_all_into<'a>(
    all: &mut All<'a>,
    verb: Verb,
    args: &'a [&'a [u8]],
    at: usize,
) -> Result<(), Error> {
    let mut words = Words::new(args, at);
    let numkeys = numkeys(words.args);
    words.next("numkeys")?;
    let keys = numkeys.and_then(|numkeys| words.args.split_at_checked(numkeys));
    let Some((keys, rest)) = keys else {
        return Err(Error::NumKeys { at: words.last() });
    };
    for (index, key) in keys.iter().enumerate() {
        if keys.iter().take(index).any(|before| before == key) {
            return Err(Error::SameKey {
                at: words.at() + index,
            });
        }
    }
    words.args = rest;
    let All {
        keys: read_keys,
        clauses,
        options,
    } = all;
    *read_keys = keys;
    for left in (0..keys.len()).rev() {
        let name = words.next("FIXED, SLIDING, BUCKET or LEASE, and its limits")?;
        let algorithm = Algorithm::parse(name).ok_or(Error::Clause { at: words.last() })?;
        clauses.push((algorithm, Clause::default()));
        let Some((_, clause)) = clauses.last_mut() else {
            break; // one has just been added
        };
        limits_of(algorithm, &mut words, clause)?;
        let scope = if left == 0 {
            Scope::LastClause
        } else {
            Scope::Clause
        };
        let mut reader = Reader {
            algorithm,
            verb,
            scope,
            words: &mut words,
            clause,
            options,
            seen: Seen::default(),
        };
        while let Some(word) = reader.words.peek() {
            if Algorithm::parse(word).is_some() {
                break;
            }
            reader.option(word)?;
        }
        let Reader { seen, .. } = reader;
        seen.check(algorithm, clause)?;
        if left == 0 {
            if words.peek().is_some() {
                return Err(Error::TooManyClauses { at: words.at() });
            }
            // The call's options are those of every clause.
            let is_lease = |(algorithm, _): &(Algorithm, Clause)| *algorithm == Algorithm::Lease;
            if clauses.iter().any(is_lease) {
                seen.rare.check_with_lease()?;
            }
            if clauses.iter().all(|(_, clause)| clause.is_shadow) {
                return Err(Error::AllShadows {
                    at: seen.rare.at(Rare::Shadow),
                });
            }
            if seen.id > 0 && clauses.iter().all(is_lease) {
                return Err(lease_with_id(seen.id));
            }
        }
    }
    Ok(())
}

/// Reads limits and nothing else, as in `RL.POLICY SET name FIXED limits...`; of a lease, its limit and ttl.
///
/// # Errors
/// What is wrong with the first word that is.
pub fn parse_limits(algorithm: Algorithm, args: &[&[u8]], at: usize) -> Result<Limits, Error> {
    let mut words = Words::new(args, at);
    let mut clause = Clause::default();
    limits(algorithm, &mut words, &mut clause)?;
    match words.peek() {
        None => Ok(clause.limits),
        Some(_) => Err(Error::UnknownWord { at: words.at() }),
    }
}

/// The options that have been read, and where the first word of each stood.
#[derive(Default)]
struct Seen {
    cost: usize,
    id: usize,
    rare: rare::Seen,
}

impl Seen {
    /// Whether what was said of one clause goes together.
    #[inline(always)]
    fn check(&self, algorithm: Algorithm, clause: &Clause) -> Result<(), Error> {
        if algorithm == Algorithm::Lease && clause.cost < 0 {
            return Err(Error::LeaseCost { at: self.cost + 1 });
        }
        if clause.rarity == Rarity::Rare && self.rare.is_any() {
            return self.rare.check(algorithm, clause);
        }
        Ok(())
    }
}

/// Where options are read from and to, and what decides whether they may stand there.
struct Reader<'r, 'a> {
    algorithm: Algorithm,
    verb: Verb,
    scope: Scope,
    words: &'r mut Words<'a>,
    clause: &'r mut Clause<'a>,
    options: &'r mut Options<'a>,
    seen: Seen,
}

impl<'a> Reader<'_, 'a> {
    /// Reads the next option, which is this word.
    #[inline(always)]
    fn option(&mut self, word: &'a [u8]) -> Result<(), Error> {
        let Self {
            scope,
            words,
            clause,
            options,
            seen,
            ..
        } = self;
        let scope = *scope;
        words.next("an option")?;
        let at = words.last();
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        if is("COST") {
            once(&mut seen.cost, at, "COST")?;
            let value = words.next("the cost")?;
            clause.cost = integer(value)
                .filter(|value| value.unsigned_abs() <= MAX_COUNT)
                .ok_or(Error::Cost { at: words.last() })?;
            in_clause(scope, options, at, "COST")
        } else if is("POLICY") {
            let name = name(words, "policy")?;
            if clause.policies.len() == MAX_NAMES {
                return Err(Error::TooMany {
                    at,
                    what: "policies",
                    max: MAX_NAMES,
                });
            }
            clause.policies.push(name);
            in_clause(scope, options, at, "POLICY")
        } else if is("DENY") {
            let list = name(words, "deny list")?;
            let values = words.args;
            words.next("a value to look for in the deny list")?;
            at_most_words(values, words.last(), "values")?;
            words.args = &[];
            options.deny = Some(Deny { list, values });
            in_call(scope, at, "DENY")
        } else if is("ID") {
            self.id_option(at)
        } else {
            self.rare_option(word)
        }
    }

    #[inline(always)]
    fn id_option(&mut self, at: usize) -> Result<(), Error> {
        once(&mut self.seen.id, at, "ID")?;
        charges(self.verb, at, "ID")?;
        if self.algorithm == Algorithm::Lease && self.scope == Scope::Single {
            return Err(lease_with_id(at));
        }
        self.options.id = id(self.words, "the hit's id")?;
        self.options.id_at = self.words.last();
        self.clause.rarity = self.clause.rarity.max(Rarity::Once);
        in_call(self.scope, at, "ID")
    }
}

/// An option of what charges.
fn charges(verb: Verb, at: usize, option: &'static str) -> Result<(), Error> {
    match verb {
        Verb::Charge => Ok(()),
        Verb::Peek => Err(Error::Conflict {
            at,
            option,
            with: "a peek, which charges nothing",
        }),
    }
}

/// Notes where an option stands; it may stand once.
fn once(seen: &mut usize, at: usize, option: &'static str) -> Result<(), Error> {
    if std::mem::replace(seen, at) > 0 {
        return Err(Error::RepeatedOption { at, option });
    }
    Ok(())
}

/// An option of one clause stands before those of the call.
fn in_clause(
    scope: Scope,
    options: &Options,
    at: usize,
    option: &'static str,
) -> Result<(), Error> {
    if scope == Scope::LastClause && *options != Options::default() {
        return Err(Error::ClauseOption { at, option });
    }
    Ok(())
}

/// An option of the call stands behind the last clause.
fn in_call(scope: Scope, at: usize, option: &'static str) -> Result<(), Error> {
    if scope == Scope::Clause {
        return Err(Error::CallOption { at, option });
    }
    Ok(())
}

fn duration_of(words: &mut Words, what: &'static str) -> Result<u64, Error> {
    let word = words.next("a duration")?;
    let at = words.last();
    duration::parse(word).map_err(|why| Error::Duration { at, what, why })
}

/// The duration of a block by order; 0 lifts whatever block there is.
///
/// # Errors
/// What is neither.
pub fn block_duration(word: &[u8], at: usize) -> Result<u64, Error> {
    let what = "duration, or 0 to lift a block";
    match word {
        b"0" => Ok(0),
        _ => duration::parse(word).map_err(|why| Error::Duration { at, what, why }),
    }
}

/// What the numbers of a limit are called: how much, and over which time.
fn names(algorithm: Algorithm) -> (&'static str, &'static str) {
    match algorithm {
        Algorithm::Fixed | Algorithm::Sliding => ("limit", "window"),
        Algorithm::Bucket => ("capacity", "interval"),
        Algorithm::Lease => ("limit", "ttl"),
    }
}

fn count_error(at: usize, what: &'static str) -> Error {
    Error::Count { at, what }
}

/// Reads what stands before a clause's options.
#[inline(always)]
fn limits_of<'a>(
    algorithm: Algorithm,
    words: &mut Words<'a>,
    clause: &mut Clause<'a>,
) -> Result<(), Error> {
    limits(algorithm, words, clause)?;
    if algorithm == Algorithm::Lease {
        clause.id = id(words, "the lease's id")?;
    }
    Ok(())
}

/// An id of 1 to [`MAX_ID_BYTES`] bytes, any bytes: a lease's, or a hit's.
fn id<'a>(words: &mut Words<'a>, expected: &'static str) -> Result<&'a [u8], Error> {
    let id = words.next(expected)?;
    match id.len() {
        1..=MAX_ID_BYTES => Ok(id),
        _ => Err(Error::Id { at: words.last() }),
    }
}

/// A lease is told from others by its own id, and to take it twice is to renew it.
#[cold]
fn lease_with_id(at: usize) -> Error {
    Error::Conflict {
        at,
        option: "ID",
        with: "a lease, which has an id of its own",
    }
}

#[inline(always)]
fn limits(algorithm: Algorithm, words: &mut Words, clause: &mut Clause) -> Result<(), Error> {
    let (amount_name, time_name) = names(algorithm);
    let limits = &mut clause.limits;
    loop {
        if limits.len() == MAX_LIMITS {
            return Err(Error::TooManyLimits { at: words.at() });
        }
        let amount = words.next(amount_name)?;
        let amount = count(amount).ok_or(count_error(words.last(), amount_name))?;
        let refill = match algorithm {
            Algorithm::Fixed | Algorithm::Sliding | Algorithm::Lease => None,
            Algorithm::Bucket => {
                let refill = words.next("refill")?;
                let refill = count(refill).filter(|refill| *refill > 0);
                Some(refill.ok_or(Error::Refill { at: words.last() })?)
            }
        };
        let time = words.next(time_name)?;
        let at = words.last();
        let limit = if algorithm == Algorithm::Fixed {
            let span = Span::parse(time).map_err(|why| Error::Window { at, why })?;
            if span.plain_ms().is_none() {
                clause.rarity = Rarity::Rare;
            }
            Limit::spanning(amount, span)
        } else {
            let time_ms =
                duration::parse(time).map_err(|why| plain_error(time, at, time_name, why))?;
            match refill {
                None => Limit::window(amount, time_ms),
                Some(refill) => Limit::bucket(amount, refill, time_ms),
            }
        };
        // Every number has been checked above, so this is only how the type says it.
        let limit = limit.ok_or(count_error(at, amount_name))?;
        if limits.iter().any(|other| other.span() == limit.span()) {
            return Err(Error::SameWindow {
                at,
                what: time_name,
            });
        }
        limits.push(limit);
        if algorithm == Algorithm::Lease || !words.goes_on() {
            return Ok(());
        }
    }
}

/// Why a text is no window of an algorithm that has no calendar.
#[cold]
fn plain_error(text: &[u8], at: usize, what: &'static str, why: duration::DurationError) -> Error {
    match Span::parse(text) {
        Ok(_) if what == "window" => Error::Window {
            at,
            why: SpanError::OnlyFixed,
        },
        _ => Error::Duration { at, what, why },
    }
}

/// A name of 1 to [`MAX_NAME_BYTES`] bytes, any bytes.
fn name<'a>(words: &mut Words<'a>, what: &'static str) -> Result<&'a [u8], Error> {
    let name = words.next(what)?;
    if (1..=MAX_NAME_BYTES).contains(&name.len()) {
        Ok(name)
    } else {
        Err(Error::Name {
            at: words.last(),
            what,
        })
    }
}

/// A count, 0 ..= [`MAX_COUNT`].
fn count(text: &[u8]) -> Option<u64> {
    natural(text).filter(|value| *value <= MAX_COUNT)
}

/// What a reader that goes on by a cursor may say behind it: `COUNT n`, of 1 ..= `max`. `at` is the place of its first word.
///
/// # Errors
/// Anything else.
pub fn scan_count(args: &[&[u8]], at: usize, default: usize, max: usize) -> Result<usize, Error> {
    let count = match args {
        [] => Some(default),
        [option, count] if option.eq_ignore_ascii_case(b"COUNT") => integer(count)
            .and_then(|count| usize::try_from(count).ok())
            .filter(|count| (1..=max).contains(count)),
        _ => None,
    };
    count.ok_or(Error::ScanCount { at, max })
}

/// The most ids or values that one call may name: more would keep the server from other clients for milliseconds.
pub const MAX_WORDS: usize = 1_024;

/// Refuses more than [`MAX_WORDS`] words, of which the first is argument `at`.
pub fn at_most_words(words: &[&[u8]], at: usize, what: &'static str) -> Result<(), Error> {
    match words.len() <= MAX_WORDS {
        true => Ok(()),
        false => Err(Error::TooMany {
            at: at + MAX_WORDS,
            what,
            max: MAX_WORDS,
        }),
    }
}

/// A decimal integer as Redis reads them: no plus sign, no leading zero, no space.
pub fn integer(text: &[u8]) -> Option<i64> {
    match text {
        [b'-', b'0'] => None,
        [b'-', digits @ ..] => 0i64.checked_sub_unsigned(natural(digits)?),
        digits => i64::try_from(natural(digits)?).ok(),
    }
}

/// The same without a sign, of 19 digits at the most.
fn natural(digits: &[u8]) -> Option<u64> {
    match digits {
        [b'0'] => return Some(0),
        [] | [b'0', ..] => return None,
        _ => {}
    }
    if digits.len() > 19 {
        return None;
    }
    let mut value: u64 = 0; // 19 digits are less than 2^64
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + u64::from(digit);
    }
    Some(value)
}

#[cfg(test)]
mod tests;
