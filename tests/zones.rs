//! Names of time zones are kept for as long as the process runs, so who makes them up must not use up the room.
//! A process of its own, as the names are.
#![cfg(not(feature = "server"))] // with it, the crate brings the server's allocator

use ratelimit::core::span::{Span, SpanError};

#[test]
fn zones_that_callers_make_up_leave_room_for_those_that_are_loaded() {
    let asked = |n: u32| Span::parse(format!("1d@Made/Up{n}").as_bytes());
    let accepted = (0..5_000).filter(|n| asked(*n).is_ok()).count();
    assert_eq!(accepted, 1_024);
    assert_eq!(asked(5_000), Err(SpanError::Anchor));
    assert!(asked(0).is_ok(), "one that is kept is read again");
    assert!(Span::parse(b"1d@Europe/Berlin").is_ok());
    let loaded = |n: u32| Span::parse_canonical(format!("1mo@15,Future/Zone{n}").as_bytes());
    assert!((0..1_024).all(|n| loaded(n).is_some()));
    assert_eq!(loaded(1_024), None);
    assert!(Span::parse(b"1d@Future/Zone7").is_ok(), "and asked for");
}
