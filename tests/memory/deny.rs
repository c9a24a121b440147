//! What deny lists say of their memory, against an allocator that counts.

use crate::counting;
use ratelimit::core::node::deny::{Bounds, Lists, Seed, Until, Values};
use std::net::{Ipv4Addr, Ipv6Addr};

#[test]
fn what_is_reported_is_what_is_allocated() {
    // What is set up once, by the first call of all, is nobody's.
    drop((Lists::new(Seed(1)), Values::read([b"a".as_slice()])));
    let before = counting::bytes();
    let mut lists = Lists::new(Seed(1));
    let check = |lists: &Lists| {
        assert_eq!(counting::bytes().wrapping_sub(before), lists.memory_bytes());
    };
    for n in 0..60_000_u32 {
        let mixed = n.wrapping_mul(0x9e37_79b9);
        let value = match n % 8 {
            0 => format!("user-{n}"),
            1 => Ipv6Addr::from_bits(u128::from(mixed) << 64 | 1 << 100).to_string(),
            2 => format!("{}/24", Ipv4Addr::from_bits(mixed & 0xffff_ff00)),
            _ => Ipv4Addr::from_bits(mixed).to_string(),
        };
        let until = if n % 3 == 0 {
            Until::at(1_000)
        } else {
            Until::Forever
        };
        let name = format!("list-{}", n % 3);
        lists
            .add(
                name.as_bytes(),
                &Values::read([value.as_bytes()]).unwrap(),
                until,
                0,
                &Bounds::NONE,
            )
            .unwrap();
        if n % 5 == 4 {
            lists.del(name.as_bytes(), [value.as_bytes()], 0);
        }
        drop((value, name));
        if n % 1_000 == 0 {
            check(&lists);
        }
    }
    lists.rename(b"list-0", b"list-1", 0).unwrap();
    check(&lists);
    lists.sweep(2_000, 5_000);
    check(&lists);
    lists.drop_list(b"list-2");
    check(&lists);
    lists.sweep(2_000, usize::MAX);
    check(&lists);
}

/// Adds values to the list `l`.
fn add(lists: &mut Lists, values: impl IntoIterator<Item = String>, until: Until) {
    let values: Vec<String> = values.into_iter().collect();
    let added = Values::read(values.iter().map(String::as_bytes))
        .and_then(|values| lists.add(b"l", &values, until, 0, &Bounds::NONE));
    assert!(added.is_ok());
}

fn texts(count: u32) -> impl Iterator<Item = String> {
    (0..count).map(|n| format!("user-{n}"))
}

/// Each in another block.
fn ranges(count: u32) -> impl Iterator<Item = String> {
    (0..count).map(|n| format!("{}/24", Ipv4Addr::from_bits(n << 16)))
}

/// Asserts that the lists hold what they say, since the thread held `before`.
fn assert_known(lists: &Lists, before: usize) {
    assert_eq!(counting::bytes().wrapping_sub(before), lists.memory_bytes());
}

/// What a list of that one value takes.
fn least(value: &str) -> usize {
    let mut lists = Lists::new(Seed(1));
    add(&mut lists, [value.to_owned()], Until::Forever);
    lists.memory_bytes()
}

#[test]
fn what_has_expired_takes_no_memory() {
    let least = least("forever");
    let before = counting::bytes();
    let mut lists = Lists::new(Seed(1));
    for count in [100, 5_000] {
        add(&mut lists, texts(count), Until::at(1_000));
        add(&mut lists, ["forever".to_owned()], Until::Forever);
        assert_eq!(lists.sweep(1_000, usize::MAX), count as usize);
        assert_known(&lists, before);
        assert_eq!(lists.memory_bytes(), least);
    }
}

#[test]
fn ranges_that_have_gone_leave_nothing_behind() {
    let least = least("192.0.2.7");
    let before = counting::bytes();
    let mut lists = Lists::new(Seed(1));
    for until in [Until::Forever, Until::at(1_000)] {
        add(&mut lists, ranges(2_000), until);
        add(&mut lists, ["192.0.2.7".to_owned()], Until::Forever);
        match until {
            Until::Forever => {
                let removed: Vec<String> = ranges(2_000).collect();
                lists.del(b"l", removed.iter().map(String::as_bytes), 0);
            }
            Until::At(_) => assert_eq!(lists.sweep(1_000, usize::MAX), 2_000),
        }
        assert_known(&lists, before);
        assert_eq!(lists.memory_bytes(), least);
    }
}

#[test]
fn a_large_list_that_was_dropped_goes_in_slices_and_each_is_told() {
    least("user"); // what is set up once, by the first call of all, is nobody's
    let before = counting::bytes();
    let mut lists = Lists::new(Seed(1));
    let fill: [fn(&mut Lists); 2] = [
        |lists| add(lists, texts(20_000), Until::at(1_000)),
        |lists| add(lists, ranges(20_000), Until::Forever),
    ];
    for fill in fill {
        fill(&mut lists);
        let full = lists.memory_bytes();
        assert!(lists.drop_list(b"l"));
        let mut last = full;
        while lists.memory_bytes() > full / 100 {
            assert_known(&lists, before);
            assert!(last - lists.memory_bytes() < full / 2, "all at once");
            last = lists.memory_bytes();
            lists.sweep(0, 1_000);
        }
        assert_known(&lists, before);
        assert!(last < full);
    }
}
