//! Words that several commands of administration take alike.

use crate::core::duration;
use crate::core::error::Error;
use crate::core::request;

/// What is listed by one call of a cursor, if nobody says.
pub const DEFAULT_COUNT: usize = 100;

/// `TTL duration` at the end of the words, which are the last of a call of `end` words: the milliseconds, and the words before.
pub fn split_ttl<'a, 'b>(
    words: &'b [&'a [u8]],
    end: usize,
) -> Result<(&'b [&'a [u8]], Option<u64>), Error> {
    let is_ttl = |word: &[u8]| word.eq_ignore_ascii_case(b"TTL");
    match words {
        [before @ .., option, ttl] if is_ttl(option) => {
            let (at, what) = (end - 1, "ttl");
            let ttl_ms = duration::parse(ttl).map_err(|why| Error::Duration { at, what, why })?;
            Ok((before, Some(ttl_ms)))
        }
        // The option without its duration would else be one more value, and the others denied for good.
        [.., option] if is_ttl(option) => {
            let (at, expected) = (end, "the duration of TTL");
            Err(Error::Incomplete { at, expected })
        }
        _ => Ok((words, None)),
    }
}

/// `cursor [COUNT n]`, from argument `at` on: the cursor, and how many are to be listed, `max` at most.
pub fn scan(args: &[&[u8]], at: usize, max: usize) -> Result<(u64, usize), Error> {
    let (cursor, behind) = args
        .get(at..)
        .and_then(<[_]>::split_first)
        .ok_or(Error::Cursor { at })?;
    let cursor = request::integer(cursor).and_then(|cursor| u64::try_from(cursor).ok());
    let cursor = cursor.ok_or(Error::Cursor { at })?;
    let count = request::scan_count(behind, at + 1, DEFAULT_COUNT, max)?;
    Ok((cursor, count))
}
