//! Bounds, sizes, and how room is made.

use super::*;

#[test]
fn past_a_bound_nothing_changes() {
    let bounds = Bounds {
        lists: 2,
        entries: 4,
        text_bytes: 10,
    };
    let mut lists = Lists::new(SEED);
    let mut add = |name: &str, values: &[&str]| {
        let before = lists.encode(0);
        let result = add_all(
            &mut lists,
            name.as_bytes(),
            values.iter().map(|v| v.as_bytes()),
            Until::Forever,
            NOW,
            &bounds,
        );
        assert_eq!(result.is_err(), lists.encode(0) == before, "{values:?}");
        result
    };
    assert_eq!(add("a", &["12345", "1.1.1.1"]), Ok(2));
    assert_eq!(
        add("a", &["2.2.2.2", "3.3.3.3", "4.4.4.4"]),
        Err(Error::TooManyEntries {
            max: 4,
            have: 2,
            adding: 3
        })
    );
    assert_eq!(
        add("a", &["abcdef"]),
        Err(Error::TooMuchText {
            max: 10,
            have: 5,
            adding: 6
        })
    );
    assert_eq!(
        add("a", &["2.2.2.2", "1.2.3.4/33"]),
        Err(Error::NoRange { at: 4 })
    );
    let name = |at| Err(Error::Name { at, what: "list" });
    assert_eq!(add("", &["x"]), name(2));
    assert_eq!(add(&"n".repeat(129), &["x"]), name(2));
    assert_eq!(add(&"n".repeat(128), &["abcde"]), Ok(1));
    assert_eq!(add("c", &["5.5.5.5"]), Err(Error::TooManyLists { max: 2 }));
    // What is there already, or twice in the call, takes no room.
    assert_eq!(
        add(
            "a",
            &[
                "5.5.5.5",
                "5.5.5.5",
                "::ffff:5.5.5.5",
                "12345",
                "1.1.1.1/32"
            ]
        ),
        Ok(1)
    );
    assert_eq!(lists.len(), 4);
    assert_eq!(
        add_all(
            &mut lists,
            b"a",
            [b"1.1.1.1".as_slice()],
            Until::Forever,
            NOW,
            &Bounds {
                lists: 0,
                entries: 0,
                text_bytes: 0
            }
        ),
        Ok(0)
    );
    assert_eq!(
        add_all(&mut lists, b"new", [], Until::Forever, NOW, &bounds),
        Ok(0)
    );
    assert_eq!(sizes(&lists).count(), 2);
    // And room comes back.
    assert_eq!(lists.del(b"a", [b"12345".as_slice(), b"none"], NOW), 1);
    assert_eq!(
        add_all(
            &mut lists,
            b"a",
            [b"abcde".as_slice()],
            Until::Forever,
            NOW,
            &bounds
        ),
        Ok(1)
    );
    assert!(lists.drop_list(b"a") && !lists.drop_list(b"a"));
    assert_eq!(
        add_all(
            &mut lists,
            b"c",
            [b"abcde".as_slice(), b"x:y", b"1.1.1.1"],
            Until::Forever,
            NOW,
            &bounds
        ),
        Err(Error::TooMuchText {
            max: 10,
            have: 5,
            adding: 8
        })
    );
    assert_eq!(
        Error::TooManyEntries {
            max: 4,
            have: 2,
            adding: 3
        }
        .to_string(),
        "ERR too many entries in deny lists: 2 and 3 more (maximum 4)"
    );
}

#[test]
fn what_has_expired_goes_in_slices() {
    let mut lists = Lists::new(SEED);
    for n in 0..40_000_u32 {
        let name = format!("list-{}", n % 3);
        let until = if n % 2 == 0 {
            Until::Forever
        } else {
            Until::at(NOW + u64::from(n))
        };
        let value = if n % 5 == 0 {
            format!("user-{n}")
        } else {
            Ipv4Addr::from_bits(n).to_string()
        };
        add(&mut lists, &name, &[&value], until).unwrap();
    }
    add(&mut lists, "passing", &["1.2.3.4"], Until::at(NOW + 1)).unwrap();
    let later = NOW + 20_000;
    assert!(lists.has(b"passing", [b"1.2.3.4".as_slice()], later)[0].is_none());
    assert_eq!(lists.sweep(NOW, usize::MAX), 0);
    let before = scan(&lists, b"list-1", 100, later);
    let (mut gone, mut calls) = (0, 0);
    while gone < 10_001 {
        let removed = lists.sweep(later, 500);
        // A slice is the budget and at most one shard more.
        assert!(removed <= 500 + 4_096, "{removed} at once");
        gone += removed;
        calls += 1;
        assert!(calls < 1_000, "only {gone} have gone");
    }
    assert_eq!((gone, lists.len()), (10_001, 30_000));
    assert_eq!(scan(&lists, b"list-1", 100, later), before);
    assert_eq!(sizes(&lists).count(), 3, "the list that is empty has gone");
    assert_eq!(lists.sweep(u64::MAX, usize::MAX), 10_000);
    assert_eq!(lists.sweep(u64::MAX, usize::MAX), 0);
}

#[test]
fn each_sweep_goes_on_with_the_next_list_also_where_the_last_has_gone() {
    let mut lists = Lists::new(SEED);
    let names: Vec<String> = (0..10).map(|n| format!("list-{n}")).collect();
    for name in &names {
        add(&mut lists, name, &["user"], Until::at(NOW + 1)).unwrap();
    }
    for gone in 1..=names.len() {
        assert_eq!(lists.sweep(NOW + 1, 1), 1);
        let left = sizes(&lists).map(|(name, _)| name);
        assert!(left.eq(names[gone..].iter().map(String::as_bytes)));
    }
}

#[test]
fn a_sweep_that_begins_in_the_middle_of_a_list_comes_to_its_beginning() {
    let mut lists = Lists::new(SEED);
    add(&mut lists, "l", &["user", "192.0.2.7"], Until::at(NOW + 1)).unwrap();
    assert_eq!(lists.sweep(NOW, 1), 0);
    assert_eq!(lists.sweep_from, (0, 1), "behind the texts");
    assert_eq!(lists.sweep(NOW + 1, usize::MAX), 2);
}

#[test]
fn a_full_server_makes_room_of_what_has_expired() {
    let bounds = Bounds {
        entries: 1_000,
        ..Bounds::NONE
    };
    let mut lists = Lists::new(SEED);
    for round in 0..50_u64 {
        let now_ms = NOW + round * 10;
        let values: Vec<String> = (0..1_000).map(|n| format!("user-{round}-{n}")).collect();
        let texts = values.iter().map(String::as_bytes);
        assert_eq!(
            add_all(
                &mut lists,
                b"l",
                texts,
                Until::at(now_ms + 10),
                now_ms,
                &bounds
            ),
            Ok(1_000)
        );
    }
    assert_eq!(lists.len(), 1_000);
}

#[test]
fn dropped_lists_are_freed_in_slices() {
    let mut lists = Lists::new(SEED);
    for round in 0..2 {
        for chunk in 0..40 {
            let values: Vec<String> = (0..1_000)
                .map(|n| format!("user-{round}-{chunk}-{n}"))
                .collect();
            add_all(
                &mut lists,
                b"l",
                values.iter().map(String::as_bytes),
                Until::Forever,
                NOW,
                &Bounds::NONE,
            )
            .unwrap();
        }
        let full = lists.memory_bytes();
        assert!(lists.drop_list(b"l"));
        assert_eq!((lists.len(), lists.text_bytes), (0, 0));
        assert!(
            lists.memory_bytes() > full / 2,
            "a large list is not freed at once"
        );
        assert!(
            lists.graveyard.len() == 1,
            "adding has freed what was dropped before"
        );
    }
    let mut last = lists.memory_bytes();
    while !lists.graveyard.is_empty() {
        lists.sweep(NOW, 5_000);
        assert!(lists.memory_bytes() < last);
        last = lists.memory_bytes();
    }
    assert!(last < 10_000);
}

/// The stated size: at most 32 bytes per IPv4 address, at every moment while a list grows to 500,000 of them.
#[test]
fn an_address_takes_at_most_32_bytes() {
    for until in [Until::Forever, Until::at(NOW + 1)] {
        let mut random = Random(14);
        let mut lists = Lists::new(SEED);
        for _ in 0..500 {
            let values: Vec<String> = (0..1_000)
                .map(|_| Ipv4Addr::from_bits((random.next() >> 32) as u32).to_string())
                .collect();
            add_all(
                &mut lists,
                b"l",
                values.iter().map(String::as_bytes),
                until,
                NOW,
                &Bounds::NONE,
            )
            .unwrap();
            let per_address = lists.memory_bytes() / lists.len();
            assert!(
                per_address <= 32 || lists.len() < 10_000,
                "{per_address} bytes at {} addresses",
                lists.len()
            );
        }
        for n in 0..10_000_u32 {
            add(
                &mut lists,
                "l",
                &[&format!("{}/{}", Ipv4Addr::from_bits(n << 14), 18 + n % 7)],
                Until::Forever,
            )
            .unwrap();
        }
        assert!(
            lists.memory_bytes() <= 32 * 500_000,
            "{} bytes",
            lists.memory_bytes()
        );
    }
}
