//! The grammar: what a client may write behind a command's name, over plain bytes.
//!
//! ```text
//! limit window [limit window ...]                        FIXED, SLIDING
//! capacity refill interval [capacity refill interval ...]        BUCKET
//!     [COST n] [FORCE] [POLICY name] [DENY list value [value ...]]
//! ```
//!
//! Option words are read in any case and any order, but DENY takes the rest of the line. A word that starts like a
//! number starts a further limit.

use super::duration;
use super::error::{Error, MAX_NAME_BYTES};
use super::limit::{Algorithm, Limit, Limits, MAX_COUNT, MAX_LIMITS};

/// What a call asks for, its limits validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// At least one, at most [`MAX_LIMITS`], no two of one window.
    pub limits: Limits,
    /// Within ±[`MAX_COUNT`]; 1 unless said.
    pub cost: i64,
    /// Charge even what does not fit.
    pub force: bool,
    /// The policy whose limits go before the call's own.
    pub policy: Option<&'a [u8]>,
    /// The deny list to look in first.
    pub deny: Option<Deny<'a>>,
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
    /// RL.PEEK, which may not be forced.
    Peek,
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

    /// The place of the next word.
    fn at(&self) -> usize {
        self.end - self.args.len()
    }

    /// The place of the word that `next` returned last.
    fn last(&self) -> usize {
        self.at() - 1
    }
}

impl Default for Request<'_> {
    /// No limit, and a cost of 1.
    fn default() -> Self {
        Self {
            limits: Limits::new(),
            cost: 1,
            force: false,
            policy: None,
            deny: None,
        }
    }
}

/// Reads everything behind the key. `at` is the place of the first of `args` on the command line, for error texts.
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
#[inline(always)]
pub fn parse_into<'a>(
    request: &mut Request<'a>,
    algorithm: Algorithm,
    verb: Verb,
    args: &'a [&'a [u8]],
    at: usize,
) -> Result<(), Error> {
    let mut words = Words::new(args, at);
    limits(algorithm, &mut words, &mut request.limits)?;
    let mut has_cost = false;
    while let Some(word) = words.peek() {
        words.next("an option")?;
        let at = words.last();
        let (option, repeated) = if word.eq_ignore_ascii_case(b"COST") {
            let value = words.next("the cost")?;
            request.cost = integer(value)
                .filter(|value| value.unsigned_abs() <= MAX_COUNT)
                .ok_or(Error::Cost { at: words.last() })?;
            ("COST", std::mem::replace(&mut has_cost, true))
        } else if word.eq_ignore_ascii_case(b"FORCE") {
            if verb == Verb::Peek {
                return Err(Error::ForcedPeek { at });
            }
            ("FORCE", std::mem::replace(&mut request.force, true))
        } else if word.eq_ignore_ascii_case(b"POLICY") {
            let name = name(&mut words, "policy")?;
            ("POLICY", request.policy.replace(name).is_some())
        } else if word.eq_ignore_ascii_case(b"DENY") {
            let list = name(&mut words, "deny list")?;
            let values = words.args;
            words.next("a value to look for in the deny list")?;
            words.args = &[];
            (
                "DENY",
                request.deny.replace(Deny { list, values }).is_some(),
            )
        } else {
            return Err(Error::UnknownOption { at });
        };
        if repeated {
            return Err(Error::RepeatedOption { at, option });
        }
    }
    Ok(())
}

/// Reads limits and nothing else, as in `RL.POLICY SET name FIXED limits...`.
pub fn parse_limits(algorithm: Algorithm, args: &[&[u8]], at: usize) -> Result<Limits, Error> {
    let mut words = Words::new(args, at);
    let mut read = Limits::new();
    limits(algorithm, &mut words, &mut read)?;
    match words.peek() {
        None => Ok(read),
        Some(_) => Err(count_error(words.at(), names(algorithm).0)),
    }
}

/// What the numbers of a limit are called: how much, and over which time.
fn names(algorithm: Algorithm) -> (&'static str, &'static str) {
    match algorithm {
        Algorithm::Fixed | Algorithm::Sliding => ("limit", "window"),
        Algorithm::Bucket => ("capacity", "interval"),
    }
}

fn count_error(at: usize, what: &'static str) -> Error {
    Error::Count { at, what }
}

#[inline(always)]
fn limits(algorithm: Algorithm, words: &mut Words, limits: &mut Limits) -> Result<(), Error> {
    let (amount_name, time_name) = names(algorithm);
    loop {
        if limits.len() == MAX_LIMITS {
            return Err(Error::TooManyLimits { at: words.at() });
        }
        let amount = words.next(amount_name)?;
        let amount = count(amount).ok_or(count_error(words.last(), amount_name))?;
        let refill = match algorithm {
            Algorithm::Fixed | Algorithm::Sliding => None,
            Algorithm::Bucket => {
                let refill = words.next("refill")?;
                let refill = count(refill).filter(|refill| *refill > 0);
                Some(refill.ok_or(Error::Refill { at: words.last() })?)
            }
        };
        let time = words.next(time_name)?;
        let at = words.last();
        let time_ms = duration::parse(time).map_err(|why| Error::Duration {
            at,
            what: time_name,
            why,
        })?;
        let limit = match refill {
            None => Limit::window(amount, time_ms),
            Some(refill) => Limit::bucket(amount, refill, time_ms),
        };
        // Every number has been checked above, so this is only how the type says it.
        let limit = limit.ok_or(count_error(at, amount_name))?;
        if limits.iter().any(|other| other.window_ms() == time_ms) {
            return Err(Error::SameWindow {
                at,
                what: time_name,
            });
        }
        limits.push(limit);
        match words.peek() {
            Some([first, ..]) if !first.is_ascii_alphabetic() => {}
            _ => return Ok(()),
        }
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
    let value = u64::try_from(integer(text)?).ok()?;
    (value <= MAX_COUNT).then_some(value)
}

/// A decimal integer as Redis reads them: no plus sign, no leading zero, no space.
pub fn integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
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
    if negative {
        0i64.checked_sub_unsigned(value)
    } else {
        i64::try_from(value).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<&[u8]> {
        line.split_whitespace().map(str::as_bytes).collect()
    }

    /// Reads a line as the arguments behind `RL.X key`.
    fn refusal(algorithm: Algorithm, verb: Verb, line: &str) -> String {
        match parse(algorithm, verb, &words(line), 2) {
            Ok(request) => format!("accepted {request:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_whole_line_is_read() {
        let args = words("5 15m 20 1d cost -3 Force POLICY login DENY bots 1.2.3.4 cost");
        let request = parse(Algorithm::Sliding, Verb::Charge, &args, 2).unwrap();
        assert_eq!(
            request.limits.as_slice(),
            [
                Limit::window(5, 900_000).unwrap(),
                Limit::window(20, 86_400_000).unwrap()
            ]
        );
        assert_eq!(request.cost, -3);
        assert!(request.force);
        assert_eq!(request.policy, Some(b"login".as_slice()));
        let deny = request.deny.unwrap();
        assert_eq!(deny.list, b"bots");
        assert_eq!(deny.values, [b"1.2.3.4".as_slice(), b"cost"]);
    }

    #[test]
    fn a_bucket_has_three_numbers() {
        let args = words("100 10 1s");
        let request = parse(Algorithm::Bucket, Verb::Peek, &args, 2).unwrap();
        assert_eq!(
            request.limits.as_slice(),
            [Limit::bucket(100, 10, 1000).unwrap()]
        );
        assert_eq!((request.cost, request.force), (1, false));
    }

    #[test]
    fn every_refusal_names_the_argument_and_what_it_should_be() {
        use Algorithm::{Bucket, Fixed, Sliding};
        let nine: String = (1..=9).map(|n| format!("1 {n}s ")).collect();
        for (algorithm, line, text) in [
            (Fixed, "", "ERR argument 2 is missing: expected limit"),
            (Fixed, "5", "ERR argument 3 is missing: expected window"),
            (Bucket, "5 1", "ERR argument 4 is missing: expected interval"),
            (Fixed, "x 1s", "ERR argument 2 (limit) must be an integer from 0 to 9007199254740991"),
            (Fixed, "-1 1s", "ERR argument 2 (limit) must be an integer from 0 to 9007199254740991"),
            (Fixed, "9007199254740992 1s", "ERR argument 2 (limit) must be an integer from 0 to 9007199254740991"),
            (Bucket, "x 1 1s", "ERR argument 2 (capacity) must be an integer from 0 to 9007199254740991"),
            (Bucket, "5 0 1s", "ERR argument 3 (refill) must be an integer from 1 to 9007199254740991"),
            (Sliding, "5 60", "ERR argument 3 (window) needs a unit, such as 60s or 500ms"),
            (Bucket, "5 1 60", "ERR argument 4 (interval) needs a unit, such as 60s or 500ms"),
            (Sliding, "5 0s", "ERR argument 3 (window) must be from 1ms to 3660d"),
            (Sliding, "5 1y", "ERR argument 3 (window) must be a positive integer and a unit (ms, s, m, h, d or w), such as 60s or 500ms"),
            (Sliding, "5 60s 9 1m", "ERR argument 5 (window) must differ from the window of every other limit in the call"),
            (Sliding, nine.as_str(), "ERR argument 18 starts a limit too many: expected at most 8 limits in one call"),
            (Fixed, "5 1s COST", "ERR argument 5 is missing: expected the cost"),
            (Fixed, "5 1s COST 1.5", "ERR argument 5 (cost) must be an integer from -9007199254740991 to 9007199254740991"),
            (Fixed, "5 1s COST 9007199254740992", "ERR argument 5 (cost) must be an integer from -9007199254740991 to 9007199254740991"),
            (Fixed, "5 1s COST 1 cost 2", "ERR argument 6 repeats COST: expected each option at most once"),
            (Fixed, "5 1s FORCE FORCE", "ERR argument 5 repeats FORCE: expected each option at most once"),
            (Fixed, "5 1s NOW", "ERR argument 4 must be one of COST, FORCE, POLICY, DENY, or a further limit"),
            (Fixed, "5 1s POLICY", "ERR argument 5 is missing: expected policy"),
            (Fixed, "5 1s DENY", "ERR argument 5 is missing: expected deny list"),
            (Fixed, "5 1s DENY bots", "ERR argument 6 is missing: expected a value to look for in the deny list"),
        ] {
            assert_eq!(refusal(algorithm, Verb::Charge, line), text, "{line}");
        }
        assert_eq!(
            refusal(Fixed, Verb::Peek, "5 1s FORCE"),
            "ERR argument 4 must not be FORCE: a peek charges nothing"
        );
    }

    #[test]
    fn a_name_is_neither_empty_nor_endless() {
        let long = [b'x'; MAX_NAME_BYTES + 1];
        for name in [b"".as_slice(), &long] {
            let args = [b"5".as_slice(), b"1s", b"POLICY", name];
            let error = parse(Algorithm::Fixed, Verb::Charge, &args, 2).unwrap_err();
            assert_eq!(
                error,
                Error::Name {
                    at: 5,
                    what: "policy"
                }
            );
        }
        let args = [b"5".as_slice(), b"1s", b"POLICY", &long[1..]];
        assert!(parse(Algorithm::Fixed, Verb::Charge, &args, 2).is_ok());
    }

    #[test]
    fn integers_are_read_as_redis_reads_them() {
        for value in [0, 1, -1, 42, i64::MAX, i64::MIN] {
            assert_eq!(integer(value.to_string().as_bytes()), Some(value));
        }
        for text in [
            "",
            "-",
            "+1",
            "01",
            "-0",
            " 1",
            "1 ",
            "1x",
            "9223372036854775808",
        ] {
            assert_eq!(integer(text.as_bytes()), None, "{text:?}");
        }
    }
}
