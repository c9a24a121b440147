//! A validated limit, and every bound of the project's numbers.

use super::bytes::sink::Sink;
use super::bytes::source::Source;
use super::bytes::varint;
use super::bytes::varint::write_string;
use super::duration::Human;
use super::span::{Span, Text, MAX_TEXT_BYTES};
use arrayvec::ArrayVec;
use std::fmt::Write as _;

/// The largest limit, cost and usage: 2^53 - 1, the largest integer that a JavaScript client reads exactly.
pub const MAX_COUNT: u64 = (1 << 53) - 1;
/// The latest instant, in milliseconds since the Unix epoch, and the longest wait that is reported: 285,000 years.
/// A wait that would be longer (a bucket of 2^53 tokens that regains one in ten years) is reported as this.
pub const MAX_TIME_MS: u64 = (1 << 53) - 1;
/// Limits in one clause.
pub const MAX_LIMITS: usize = 8;
/// Keys in one call.
pub const MAX_KEYS: usize = 16;
/// Policies of one node: a tenant's limits belong into the call; this many take 4 MiB.
pub const MAX_POLICIES: usize = 10_000;
/// Windows that one key counts: those of a call, and those of other calls as long as something of them is used.
pub const MAX_WINDOWS: usize = 16;
/// Other regions that one node keeps in mind.
pub const MAX_REGIONS: usize = 64;

/// How usage is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// Windows aligned to the Unix epoch: [`super::algorithm::fixed`].
    Fixed,
    /// A rolling window: [`super::algorithm::sliding`].
    Sliding,
    /// A token bucket: [`super::algorithm::bucket`].
    Bucket,
    /// Units that are held and end by themselves: [`super::algorithm::lease`].
    Lease,
}

impl Algorithm {
    /// Every algorithm, in the order of their codes in encodings and statistics.
    pub const ALL: [Algorithm; 4] = [
        Algorithm::Fixed,
        Algorithm::Sliding,
        Algorithm::Bucket,
        Algorithm::Lease,
    ];

    /// Lower case, as RL.INFO says it.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Fixed => "fixed",
            Algorithm::Sliding => "sliding",
            Algorithm::Bucket => "bucket",
            Algorithm::Lease => "lease",
        }
    }

    /// Reads a name in any case.
    pub fn parse(text: &[u8]) -> Option<Self> {
        // As a word. A letter is a small one once this bit is set, and nothing else becomes one.
        fn word<const N: usize>(text: &[u8; N]) -> u64 {
            let mut word = [0; 8];
            for (to, byte) in word.iter_mut().zip(text) {
                *to = *byte;
            }
            u64::from_le_bytes(word) | 0x2020_2020_2020_2020
        }
        fn is<const N: usize>(text: &[u8], name: &[u8; N]) -> bool {
            <&[u8; N]>::try_from(text).is_ok_and(|text| word(text) == word(name))
        }
        match text.len() {
            5 if is(text, b"fixed") => Some(Algorithm::Fixed),
            7 if is(text, b"sliding") => Some(Algorithm::Sliding),
            6 if is(text, b"bucket") => Some(Algorithm::Bucket),
            5 if is(text, b"lease") => Some(Algorithm::Lease),
            _ => None,
        }
    }
}

/// How much may be used, and how fast usage goes away.
///
/// One shape serves every algorithm: a window gives its whole `limit` back when it is over, so there `refill` equals
/// `limit`; a bucket regains `refill` tokens every interval, up to `limit` (its capacity); a lease's span is its time to
/// live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    limit: u64,
    refill: u64,
    span: Span,
}

impl Limit {
    /// `limit` units in each window of `window_ms`. `None` where a number is out of bounds.
    pub fn window(limit: u64, window_ms: u64) -> Option<Self> {
        Self::spanning(limit, Span::plain(window_ms)?)
    }

    /// `limit` units in each window. `None` where the number is out of bounds.
    pub fn spanning(limit: u64, span: Span) -> Option<Self> {
        (limit <= MAX_COUNT).then_some(Self {
            limit,
            refill: limit,
            span,
        })
    }

    /// `capacity` tokens that refill by `refill` every `interval_ms`. `None` where a number is out of bounds: a refill
    /// of 0 is one, as what never goes away has no end to report and no TTL to set.
    pub fn bucket(capacity: u64, refill: u64, interval_ms: u64) -> Option<Self> {
        let window = Self::window(capacity, interval_ms)?;
        (1..=MAX_COUNT)
            .contains(&refill)
            .then_some(Self { refill, ..window })
    }

    /// How much may be used: units, or a bucket's capacity in tokens. 0 ..= [`MAX_COUNT`].
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// What comes back every [`Limit::window_ms`]: tokens. 0 ..= [`MAX_COUNT`], and never 0 for a bucket.
    pub fn refill(&self) -> u64 {
        self.refill
    }

    /// The window, by which a call's limit finds what has been used of it.
    #[inline(always)]
    pub fn span(&self) -> Span {
        self.span
    }

    /// The window, a bucket's interval or a lease's time to live: [`super::duration::MIN_MS`] ..= [`super::duration::MAX_MS`]. Only FIXED
    /// has windows that are not so many milliseconds; of those, 0.
    pub fn window_ms(&self) -> u64 {
        self.span.plain_ms().unwrap_or(0)
    }

    /// The window as a call of this algorithm writes it.
    pub fn window_text(&self, algorithm: Algorithm) -> Text {
        if algorithm == Algorithm::Fixed {
            return self.span.text();
        }
        let mut text = Text::new_const();
        let _ = write!(text, "{}", Human::new(self.window_ms())); // there is room for the longest
        text
    }

    /// Appends its bytes: the limit, a bucket's refill, and the window: its milliseconds, or 0 and a calendar window's
    /// text.
    #[inline(always)]
    pub fn write(&self, algorithm: Algorithm, out: &mut impl Sink) {
        varint::write(out, self.limit);
        if algorithm == Algorithm::Bucket {
            varint::write(out, self.refill);
        }
        match self.span.plain_ms() {
            Some(ms) => varint::write(out, ms),
            None => self.write_calendar(out),
        }
    }

    #[cold]
    fn write_calendar(&self, out: &mut impl Sink) {
        let mut text = Text::new_const();
        let _ = self.span.write_text(&mut text); // there is room for the longest
        out.push(0);
        write_string(out, text.as_bytes());
    }

    /// Reads what [`Limit::write`] wrote.
    pub fn read(algorithm: Algorithm, source: &mut Source) -> Option<Self> {
        let limit = source.number()?;
        match algorithm {
            Algorithm::Bucket => Self::bucket(limit, source.number()?, source.number()?),
            Algorithm::Sliding | Algorithm::Lease => Self::window(limit, source.number()?),
            Algorithm::Fixed => match source.number()? {
                0 => {
                    let text = source.string(MAX_TEXT_BYTES)?;
                    let span =
                        Span::parse_canonical(text).filter(|span| span.plain_ms().is_none())?;
                    Self::spanning(limit, span)
                }
                ms => Self::window(limit, ms),
            },
        }
    }
}

/// The limits of one call, in the order asked; never on the heap.
pub type Limits = ArrayVec<Limit, MAX_LIMITS>;

#[cfg(test)]
mod tests {
    use super::super::duration;
    use super::*;

    #[test]
    fn bounds_are_held() {
        assert!(Limit::window(0, 1).is_some());
        assert!(Limit::window(MAX_COUNT, duration::MAX_MS).is_some());
        assert!(Limit::window(MAX_COUNT + 1, 1).is_none());
        assert!(Limit::window(1, 0).is_none());
        assert!(Limit::window(1, duration::MAX_MS + 1).is_none());
        assert!(Limit::bucket(1, 0, 1).is_none());
        assert!(Limit::bucket(1, MAX_COUNT + 1, 1).is_none());
        assert!(Limit::bucket(0, MAX_COUNT, 1).is_some());
    }

    #[test]
    fn what_is_written_is_read_back() {
        let spans = ["1w", "1mo@31", "1d@Europe/Berlin", "1y@+05:45"];
        let calendar = spans.map(|text| {
            let span = Span::parse(text.as_bytes()).unwrap();
            (Algorithm::Fixed, Limit::spanning(MAX_COUNT, span).unwrap())
        });
        let plain = Algorithm::ALL.map(|algorithm| {
            let limit = match algorithm {
                Algorithm::Bucket => Limit::bucket(5, 7, 1_000),
                _ => Limit::window(5, duration::MAX_MS),
            };
            (algorithm, limit.unwrap())
        });
        for (algorithm, limit) in calendar.into_iter().chain(plain) {
            let mut bytes = Vec::new();
            limit.write(algorithm, &mut bytes);
            let mut source = Source(&bytes);
            assert_eq!(Limit::read(algorithm, &mut source), Some(limit));
            assert!(source.0.is_empty());
            for end in 0..bytes.len() {
                let cut = bytes.get(..end).unwrap_or_default();
                assert_eq!(Limit::read(algorithm, &mut Source(cut)), None);
            }
        }
    }

    #[test]
    fn a_calendar_window_is_read_in_its_own_text_only() {
        for text in ["1mo@1", "24h", "1d", "1W", "", "1mo@15,Europe/Berlin "] {
            let mut bytes = vec![5, 0];
            write_string(&mut bytes, text.as_bytes());
            assert_eq!(
                Limit::read(Algorithm::Fixed, &mut Source(&bytes)),
                None,
                "{text}"
            );
        }
    }

    #[test]
    fn names_are_read_in_any_case() {
        for algorithm in Algorithm::ALL {
            let (small, capital) = (algorithm.name(), algorithm.name().to_ascii_uppercase());
            for name in [small, &capital] {
                assert_eq!(Algorithm::parse(name.as_bytes()), Some(algorithm));
            }
        }
        assert_eq!(Algorithm::parse(b"SlIdInG"), Some(Algorithm::Sliding));
        for other in ["", "gcra", "fixe", "fixed ", "fixec", "leases", "bucke\x14"] {
            assert_eq!(Algorithm::parse(other.as_bytes()), None, "{other}");
        }
    }
}
