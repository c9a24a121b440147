//! Where bytes are written to.

use arrayvec::ArrayVec;
use smallvec::SmallVec;

/// Something that bytes are appended to.
pub trait Sink {
    /// Appends one byte.
    fn push(&mut self, byte: u8);

    /// Appends several.
    fn append(&mut self, bytes: &[u8]);

    /// Appends the first so many bytes of a word, the least significant first.
    #[inline]
    fn append_word(&mut self, word: u64, bytes: usize) {
        word.to_le_bytes()
            .into_iter()
            .take(bytes)
            .for_each(|byte| self.push(byte));
    }
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

/// Whoever writes to it sees to it that there is room.
impl<const N: usize> Sink for ArrayVec<u8, N> {
    #[inline]
    fn push(&mut self, byte: u8) {
        let _ = self.try_push(byte);
    }

    #[inline]
    fn append(&mut self, bytes: &[u8]) {
        let _ = self.try_extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled<S: Sink + Default>() -> S {
        let mut sink = S::default();
        sink.push(1);
        sink.append(b"abc");
        sink.append_word(0x0403_0201, 3);
        sink
    }

    #[test]
    fn what_is_appended_is_there_in_order() {
        let expected = b"\x01abc\x01\x02\x03".as_slice();
        assert_eq!(filled::<Vec<u8>>(), expected);
        assert_eq!(filled::<SmallVec<[u8; 4]>>().as_slice(), expected);
        assert_eq!(filled::<ArrayVec<u8, 7>>().as_slice(), expected);
    }
}
