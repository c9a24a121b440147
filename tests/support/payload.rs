//! DUMP payloads: `type, value, version (2 bytes), CRC-64 (8 bytes)`.
//!
//! A server checks the CRC first, so a mutated payload only reaches the module with its CRC made right again.

/// Bytes after the value: the version and the CRC.
pub const FOOTER: usize = 10;

/// CRC-64 Jones, as DUMP writes it: polynomial `ad93d23594c935a9`, reflected, starting at 0, no final inversion.
pub fn crc64(bytes: &[u8]) -> u64 {
    const REFLECTED: u64 = 0xad93_d235_94c9_35a9_u64.reverse_bits();
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u64::from(*byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { REFLECTED } else { 0 }
        })
    })
}

/// Replaces the value of `payload` (type and all) by `value`, with the CRC made right.
pub fn with_value(payload: &[u8], value: &[u8]) -> Vec<u8> {
    let version = &payload[payload.len() - FOOTER..payload.len() - 8];
    let mut whole = [value, version].concat();
    whole.extend(crc64(&whole).to_le_bytes());
    whole
}

/// The type and the value of `payload`.
pub fn value(payload: &[u8]) -> &[u8] {
    &payload[..payload.len() - FOOTER]
}

#[test]
fn the_crc_is_the_one_of_dump() {
    // The check value of CRC-64 Jones.
    assert_eq!(crc64(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
}
