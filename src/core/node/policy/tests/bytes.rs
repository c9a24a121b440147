//! What is saved and sent on, and what is refused.

use super::*;

#[test]
fn truncated_bytes_are_refused_and_change_nothing() {
    let mut random = Random(2);
    let mut saved = policies(50);
    for name in 0..50_u8 {
        let policy = any(&mut random);
        saved.put(&[name], Setting::Lasting(policy.clone()), NOW);
        if name % 3 == 0 {
            let ends_ms = NOW + u64::from(name) + 1;
            saved.put(
                &[name],
                Setting::Temporary(Temporary {
                    policy,
                    ends: Ends::at(ends_ms),
                }),
                NOW,
            );
        }
    }
    for name in 0..20 {
        let ends_ms = (name % 2 == 0).then_some(NOW + u64::from(name) + 1);
        saved.put(&[3 * name], shadow(7, ends_ms), NOW);
    }
    let bytes = saved.encode(NOW);
    let mut policies = policies(60);
    assert!(policies.set(b"here", lasting(1), NOW).is_ok());
    for length in 0..bytes.len() {
        assert!(!policies.load(&bytes[..length]), "{length}");
    }
    assert!(!policies.load(&[bytes.as_slice(), &[0]].concat()));
    assert_eq!(policies.len(), 1);
    assert_eq!(limit(&policies, b"here", NOW), Some(1));
    assert!(policies.load(&bytes));
    assert_eq!(policies.list(NOW), saved.list(NOW));
}

#[test]
fn mutated_bytes_are_refused_or_mean_what_they_say() {
    let mut random = Random(3);
    let mut policies = policies(50);
    let seeds = [0, 1, 3, 10].map(|count: u8| {
        for name in 0..count {
            let policy = any(&mut random);
            policies.put(&[b'a', name], Setting::Lasting(policy.clone()), NOW);
            if name % 2 == 0 {
                let ends_ms = NOW + 1;
                policies.put(
                    &[b'a', name],
                    Setting::Temporary(Temporary {
                        policy,
                        ends: Ends::at(ends_ms),
                    }),
                    NOW,
                );
            }
        }
        policies.encode(NOW)
    });
    let (mut accepted, mut refused) = (0, 0);
    for round in 0..100_000 {
        let mut bytes = seeds[round % seeds.len()].clone();
        for _ in 0..=random.below(2) {
            let at = random.index(bytes.len());
            let byte = random.next().to_le_bytes()[0];
            match random.below(4) {
                0 => bytes[at] = byte,
                1 => bytes[at] ^= 1 << (byte & 7),
                2 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
            if bytes.is_empty() {
                break;
            }
        }
        if policies.load(&bytes) {
            accepted += 1;
            let encoded = policies.encode(0);
            if bytes[0] == VERSION {
                assert_eq!(encoded, bytes);
            }
            assert!(policies.load(&encoded));
        } else {
            refused += 1;
        }
    }
    assert!(accepted > 1_000 && refused > 1_000, "{accepted} {refused}");
}

/// What is set alone, as it is sent on.
#[test]
fn a_setting_is_read_as_it_was_written() {
    let mut random = Random(4);
    for round in 0..2_000 {
        let (policy, ends_ms) = (any(&mut random), 1 + random.below(NOW));
        let setting = match round % 2 {
            0 => Setting::Lasting(policy),
            _ => Setting::Temporary(Temporary {
                policy,
                ends: Ends::at(ends_ms),
            }),
        };
        let bytes = encode_setting(b"name\0", &setting);
        assert_eq!(decode_setting(&bytes), Some((&b"name\0"[..], setting)));
        for length in 0..bytes.len() {
            assert_eq!(decode_setting(&bytes[..length]), None);
        }
        assert_eq!(decode_setting(&[&bytes[..], &[0]].concat()), None);
    }
    // Both at once are no setting.
    assert_eq!(
        decode_setting(&[2, 1, b'a', 3, 0, 1, 5, 9, 0, 1, 5, 9, 7]),
        None
    );
}

#[test]
fn what_cannot_have_been_set_is_refused() {
    let number = |value| {
        let mut bytes = Vec::new();
        varint::write(&mut bytes, value);
        bytes
    };
    let one = |policy: &[u8]| [&[2, 1, 1, b'a', 1], policy].concat();
    let two = |first: u8, second: u8| [2, 2, 1, first, 1, 0, 1, 5, 9, 1, second, 1, 1, 1, 5, 9];
    let held = |held: &[u8]| [&[2, 1, 1, b'a'], held].concat();
    let bucket = Algorithm::Bucket as u8;
    for bytes in [
        vec![2, 0],
        one(&[0, 1, 5, 9]),
        one(&[bucket, 1, 0, 1, 9]),
        one(&[&[0, 1][..], &number(MAX_COUNT), &number(duration::MAX_MS)].concat()),
        two(b'a', b'b').to_vec(),
        held(&[2, 0, 1, 5, 9, 1]),
        held(&[3, 0, 1, 5, 9, 0, 1, 6, 9, 1]),
    ] {
        let mut policies = policies(1);
        assert!(policies.load(&bytes), "{bytes:?}");
        assert_eq!(policies.encode(0), bytes);
    }
    for (wrong, bytes) in [
        ("version 0", vec![0, 0]),
        ("version 3", vec![3, 0]),
        ("an empty name", vec![2, 1, 0, 1, 0, 1, 5, 9]),
        (
            "a long name",
            [&[2, 1, 129, 1][..], &[b'a'; 129], &[1, 0, 1, 5, 9]].concat(),
        ),
        ("names unsorted", two(b'b', b'a').to_vec()),
        ("a name twice", two(b'a', b'a').to_vec()),
        ("an unknown algorithm", one(&[9, 1, 5, 9])),
        ("no limit", one(&[0, 0])),
        (
            "nine limits",
            one(&[
                &[0, 9][..],
                &[5, 1, 5, 2, 5, 3, 5, 4, 5, 5, 5, 6, 5, 7, 5, 8, 5, 9],
            ]
            .concat()),
        ),
        ("one window twice", one(&[0, 2, 5, 9, 6, 9])),
        ("a window of nothing", one(&[0, 1, 5, 0])),
        (
            "a window past its bound",
            one(&[&[0, 1, 5][..], &number(duration::MAX_MS + 1)].concat()),
        ),
        (
            "a limit past its bound",
            one(&[&[0, 1][..], &number(MAX_COUNT + 1), &[9]].concat()),
        ),
        ("a bucket that never refills", one(&[bucket, 1, 5, 0, 9])),
        ("nothing under a name", held(&[0])),
        ("a third policy", held(&[4, 0, 1, 5, 9])),
        ("an end at no time", held(&[2, 0, 1, 5, 9, 0])),
        (
            "an end past its bound",
            held(&[&[2, 0, 1, 5, 9][..], &number(MAX_TIME_MS + 1)].concat()),
        ),
        (
            "another algorithm in front",
            held(&[3, 0, 1, 5, 9, 1, 1, 5, 9, 1]),
        ),
        (
            "too many policies",
            [&[2][..], &number(MAX_POLICIES as u64 + 1)].concat(),
        ),
    ] {
        assert!(!policies(1).load(&bytes), "{wrong}");
    }
}

/// What the first version saved is there.
#[test]
fn the_first_version_is_read() {
    let bytes = [1, 2, 1, b'a', 0, 1, 5, 9, 1, b'b', 2, 1, 7, 1, 9];
    let mut policies = policies(9);
    assert!(policies.load(&bytes));
    let words: Vec<_> = policies
        .list(NOW)
        .iter()
        .map(|(_, held)| held.lasting().unwrap().words().join(" "))
        .collect();
    assert_eq!(words, ["fixed 5 9ms", "bucket 7 1 9ms"]);
    for length in 0..bytes.len() {
        assert!(!policies.load(&bytes[..length]));
    }
}

#[test]
fn weeks_of_the_first_version_are_days() {
    let weeks = |window: &str, ends_ms: Option<u64>| {
        let span = Span::parse(window.as_bytes()).unwrap();
        let limits = Limits::from_iter([Limit::spanning(5, span).unwrap()]);
        let policy = Policy::new(Algorithm::Fixed, limits).unwrap();
        let mut setting = match ends_ms {
            Some(ends_ms) => Setting::Temporary(Temporary {
                policy,
                ends: Ends::at(ends_ms),
            }),
            None => Setting::Lasting(policy),
        };
        setting.read_as_first_version();
        let limits = setting.policy().limits().to_vec();
        limits[0].span().text()
    };
    for ends_ms in [None, Some(NOW)] {
        assert_eq!(&*weeks("1w", ends_ms), "7d");
        assert_eq!(&*weeks("3w", ends_ms), "21d");
        assert_eq!(&*weeks("3w@thu", ends_ms), "3w@thu");
        assert_eq!(&*weeks("1mo", ends_ms), "1mo");
        assert_eq!(&*weeks("1h", ends_ms), "1h");
    }
}
