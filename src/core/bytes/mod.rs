//! Bytes in and out: numbers of any length, where bytes are written to, and the one reader of bytes that cannot be trusted.

pub mod sink;
pub mod source;
pub mod varint;
