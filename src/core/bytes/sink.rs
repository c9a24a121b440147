//! Where bytes are written to.

use smallvec::SmallVec;

/// Something that bytes are appended to.
pub trait Sink {
    /// Appends one byte.
    fn push(&mut self, byte: u8);

    /// Appends several.
    fn append(&mut self, bytes: &[u8]);
}

impl Sink for Vec<u8> {
    #[inline]
    fn push(&mut self, byte: u8) {
        Vec::push(self, byte);
    }

    #[inline]
    fn append(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

impl<const N: usize> Sink for SmallVec<[u8; N]> {
    #[inline]
    fn push(&mut self, byte: u8) {
        SmallVec::push(self, byte);
    }

    #[inline]
    fn append(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}
