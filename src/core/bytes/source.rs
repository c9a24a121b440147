//! Reading bytes that cannot be trusted: every value is there and within its bound, or it is `None`.

use super::varint;

/// What is left to read. It allocates nothing: strings are borrowed from the input.
#[derive(Clone, Copy)]
pub struct Source<'a>(pub &'a [u8]);

impl<'a> Source<'a> {
    /// The next `length` bytes.
    pub fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    /// The next byte.
    pub fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    /// A canonical varint.
    pub fn number(&mut self) -> Option<u64> {
        let (number, bytes) = varint::read(self.0)?;
        self.take(bytes)?;
        Some(number)
    }

    /// A number that is `bound` at most.
    pub fn at_most(&mut self, bound: u64) -> Option<u64> {
        self.number().filter(|number| *number <= bound)
    }

    /// How many items follow: `max` at most.
    pub fn count(&mut self, max: usize) -> Option<usize> {
        let count = usize::try_from(self.number()?).ok()?;
        (count <= max).then_some(count)
    }

    /// A string behind its length, which is `max` bytes at most.
    pub fn string(&mut self, max: usize) -> Option<&'a [u8]> {
        let length = self.count(max)?;
        self.take(length)
    }

    /// A name that comes after `previous`, so that names are sorted and none comes twice; not empty, `max` bytes at most.
    pub fn name_after(&mut self, previous: Option<&[u8]>, max: usize) -> Option<&'a [u8]> {
        let name = self.string(max)?;
        let sorted = previous.is_none_or(|previous| previous < name);
        (sorted && !name.is_empty()).then_some(name)
    }
}
