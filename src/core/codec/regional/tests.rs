//! Bytes of parts that no limiter writes, by example.

use super::*;
use crate::core::algorithm::meter::Ask;
use crate::core::calendar::Window;
use crate::core::limit::Limit;
use crate::core::region::origin::Region;

fn window(window_ms: u64) -> Limit {
    Limit::window(9, window_ms).unwrap()
}

/// What regions have charged, at times: the last of them is this one.
fn used<J: SharedForm>(limit: &Limit, charges: &[(Region, u64, i64)]) -> J {
    let mut meter = J::unused(limit, 128);
    for (region, now_ms, cost) in charges {
        meter.parts_mut().begin(*region, 1, 0);
        let ask = Ask {
            limit,
            window: Window::default(),
            id: &[],
            now_ms: *now_ms,
        };
        meter.charge(&ask, *cost, *now_ms);
    }
    meter
}

fn one<J: SharedForm>(meter: J) -> Limiter {
    J::wrap(Meters(smallvec::smallvec![meter]))
}

/// Whether it is read back as it was written.
fn is_read(copy: &Limiter) -> bool {
    let mut bytes = Vec::new();
    write_copy(copy.by_ref(), &mut bytes);
    let read = read_copy(&mut Source(&bytes));
    assert!(read.as_ref().is_none_or(|read| read == copy));
    read.is_some()
}

#[test]
fn what_is_sent_is_of_regions_that_have_a_name_and_nobody_s_own() {
    let [eu, us] = [b"eu", b"us"].map(|name| Region::parse(name).unwrap());
    let sent = |last: Region, has_own: bool| {
        let mut meter: JointFixed = used(&window(1_000), &[(eu, 5_000, 1)]);
        let mut other = meter.parts.list[0].clone();
        other.origin.region = last;
        meter.parts.insert(other);
        if !has_own {
            meter.parts.own = None;
        }
        one(meter).regional().unwrap().is_sent()
    };
    assert!(sent(us, false));
    assert!(!sent(us, true));
    assert!(!sent(Region::UNNAMED, false));
}

#[test]
fn an_origin_stands_once_and_in_its_place() {
    let [eu, us] = [b"eu", b"us"].map(|name| Region::parse(name).unwrap());
    let all: JointFixed = used(&window(1_000), &[(eu, 5_000, 1), (us, 5_000, 1)]);
    let of = |places: &[usize]| {
        let mut meter = all.clone();
        let parts = &all.parts.list;
        meter.parts.list = places.iter().map(|place| parts[*place].clone()).collect();
        meter.parts.own = None;
        is_read(&one(meter))
    };
    assert!(of(&[0]) && of(&[1]) && of(&[0, 1]));
    assert!(!of(&[0, 0]) && !of(&[1, 0]));
}

#[test]
fn a_log_of_a_region_is_within_the_bounds_of_any() {
    let eu = Region::parse(b"eu").unwrap();
    let most = MAX_COUNT.cast_signed();
    // Charged in a window that is long enough, and said to be of one of a second.
    let is_read = |charges: &[(Region, u64, i64)]| {
        let mut meter: JointSliding = used(&window(10_000), charges);
        meter.span = window(1_000).span();
        meter.parts.list[0].stamp = (5_000, 0);
        is_read(&one(meter))
    };
    assert!(is_read(&[(eu, 5_000, 1), (eu, 5_999, 1)]));
    assert!(!is_read(&[(eu, 5_000, 1), (eu, 6_000, 1)]));
    assert!(is_read(&[(eu, 5_000, most)]));
    assert!(!is_read(&[(eu, 5_000, most), (eu, 5_001, 1)]));
    let ends_ms = MAX_TIME_MS;
    assert!(is_read(&[(eu, ends_ms - 1, 1), (eu, ends_ms, 1)]));
    assert!(!is_read(&[(eu, ends_ms, 1), (eu, ends_ms + 1, 1)]));
}
