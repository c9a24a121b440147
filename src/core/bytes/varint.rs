//! Unsigned LEB128: seven bits a byte, the least significant first, the high bit set on all but the last byte.
//! Canonical: the shortest form is the only one that is read, so that equal numbers are equal bytes.

use super::sink::Sink;

/// The most bytes a `u64` takes.
pub const MAX_BYTES: usize = 10;

/// Appends `value` to `out`.
#[inline(always)]
pub fn write(out: &mut impl Sink, mut value: u64) {
    if value >> 14 > 0 && value >> 56 == 0 {
        let (word, bytes) = spread(value);
        return out.append_word(word, bytes);
    }
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

/// The bytes of a number of less than 2^56 as a word, and how many they are. A time takes six bytes, each of which would be
/// a round of the loop.
#[inline(always)]
fn spread(value: u64) -> (u64, usize) {
    // From 56 bits in one piece to two of 28, four of 14, eight of 7.
    let halves = |word: u64, low: u64, by: u32| (word & low) | ((word & !low) << by);
    let word = halves(value, 0x0fff_ffff, 4);
    let word = halves(word, 0x0000_3fff_0000_3fff, 2);
    let word = halves(word, 0x007f_007f_007f_007f, 1);
    let more = (word | 1).ilog2() / 8; // the bytes before the last
    let high_bits = 0x8080_8080_8080_8080 & !(u64::MAX << (8 * more));
    (word | high_bits, more as usize + 1)
}

/// Appends a string behind its length.
pub fn write_string(out: &mut impl Sink, string: &[u8]) {
    write(out, string.len() as u64);
    out.append(string);
}

/// Reads a number from the start of `bytes`: the number and how many bytes it took.
/// `None` where the bytes end within it, where it is longer than it need be, or where it exceeds a `u64`.
#[inline(always)]
pub fn read(bytes: &[u8]) -> Option<(u64, usize)> {
    let (value, length) = measure(bytes);
    (length > 0).then_some((value, length))
}

/// What [`read`] says, `None` as a length of 0: so it is handed back in two registers.
fn measure(bytes: &[u8]) -> (u64, usize) {
    let mut value: u64 = 0;
    for (index, byte) in bytes.iter().take(MAX_BYTES).enumerate() {
        let bits = u64::from(byte & 0x7f);
        let shift = 7 * index;
        if shift == 63 && bits > 1 {
            break;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            let canonical = *byte != 0 || index == 0;
            return (value, if canonical { index + 1 } else { 0 });
        }
    }
    (0, 0)
}

/// Maps a signed number to an unsigned one, small magnitudes to small numbers: 0, -1, 1, -2 .. become 0, 1, 2, 3 ..
pub fn zigzag(value: i64) -> u64 {
    (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned()
}

/// The inverse of [`zigzag`].
pub fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for shift in 0..64 {
            for value in [1u64 << shift, (1u64 << shift) - 1, !0 >> shift] {
                let mut bytes = Vec::new();
                write(&mut bytes, value);
                assert_eq!(read(&bytes), Some((value, bytes.len())));
                bytes.push(7);
                assert_eq!(read(&bytes), Some((value, bytes.len() - 1)));
                for cut in 0..bytes.len() - 1 {
                    assert_eq!(read(&bytes[..cut]), None, "cut at {cut}");
                }
            }
        }
    }

    #[test]
    fn only_the_shortest_form_is_read() {
        assert_eq!(read(&[0x00]), Some((0, 1)));
        assert_eq!(read(&[0x80, 0x00]), None);
        assert_eq!(read(&[0xff; 11]), None);
        let mut max = vec![0xff; 9];
        max.push(0x01);
        assert_eq!(read(&max), Some((u64::MAX, 10)));
        max[9] = 0x02;
        assert_eq!(read(&max), None);
    }

    #[test]
    fn signs_zigzag() {
        for value in [0, 1, -1, 2, -2, i64::MAX, i64::MIN] {
            assert_eq!(unzigzag(zigzag(value)), value);
        }
        assert_eq!(zigzag(-1), 1);
    }
}
