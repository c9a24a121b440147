//! Bytes in and out: numbers of any length, and the one reader of bytes that cannot be trusted.

pub mod source;
pub mod varint;
