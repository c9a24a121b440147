//! What is saved, and what is refused.

use super::*;

#[test]
fn what_is_loaded_reads_as_what_was_saved_and_goes_on_counting() {
    for (hits, seed) in [(0, 1), (1, 2), (500, 3), (20_000, 4)] {
        let mut saved = busy(hits, 7, seed);
        let bytes = saved.encode();
        let mut loaded = Stats::new(saved.bounds, hashing(99));
        assert!(loaded.load(&bytes));
        assert_eq!(everything(&loaded), everything(&saved));
        assert_eq!(loaded.encode(), bytes);
        for stats in [&mut saved, &mut loaded] {
            for hour in [0, 3, 900] {
                let slot = stats.slot(b"name1");
                stats.count_named(
                    slot,
                    b"user:0",
                    Algorithm::Bucket,
                    Outcome::Denied,
                    START_MS + hour * HOUR_MS,
                );
            }
        }
        assert_eq!(loaded.encode(), saved.encode());
    }
}

#[test]
fn no_map_order_reaches_the_bytes() {
    let names = [b"a".as_slice(), b"b", b"c", b"d", b"e"];
    let encode = |seed, order: &[usize]| {
        let mut stats = Stats::new(Bounds::default(), hashing(seed));
        for index in order {
            stats.slot(names[*index]);
        }
        let mut random = Random(5);
        for _ in 0..5_000 {
            let slot = stats.slot(names[random.index(5)]);
            let identifier = random.below(200).to_be_bytes();
            stats.count_named(
                slot,
                &identifier,
                Algorithm::Fixed,
                Outcome::Denied,
                START_MS,
            );
        }
        stats.encode()
    };
    let bytes = encode(1, &[0, 1, 2, 3, 4]);
    for seed in 2..20 {
        assert_eq!(encode(seed, &[3, 1, 4, 0, 2]), bytes);
    }
}

#[test]
fn bounds_that_were_lowered_lose_nothing_that_was_saved() {
    let saved = busy(5_000, 4, 1);
    let mut loaded = stats(1, 8);
    loaded.set_bounds(Bounds {
        names: 0,
        identifiers: 0,
    });
    assert!(loaded.load(&saved.encode()));
    assert_eq!(loaded.encode(), saved.encode());
    let slot = loaded.slot(b"one more");
    assert_eq!(slot, loaded.slot(OTHER));
}

#[test]
fn truncated_bytes_are_refused_and_change_nothing() {
    let bytes = busy(2_000, 7, 1).encode();
    let mut stats = busy(100, 3, 2);
    let before = stats.encode();
    for length in 0..bytes.len() {
        assert!(!stats.load(&bytes[..length]), "{length}");
    }
    assert!(!stats.load(&[bytes.as_slice(), &[0]].concat()));
    assert_eq!(stats.encode(), before);
    assert!(stats.load(&bytes));
}

#[test]
fn mutated_bytes_are_refused_or_mean_what_they_say() {
    let seeds = [
        busy(0, 1, 1),
        busy(3, 2, 2),
        busy(60, 4, 3),
        busy(600, 7, 4),
    ];
    let seeds = seeds.map(|stats| stats.encode());
    let mut random = Random(11);
    let mut stats = stats(4, 8);
    let (mut accepted, mut refused) = (0, 0);
    for round in 0..100_000 {
        let mut bytes = seeds[round % seeds.len()].clone();
        for _ in 0..=random.below(3) {
            let at = random.index(bytes.len());
            let byte = random.next().to_le_bytes()[0];
            match random.below(5) {
                0 => bytes[at] = byte,
                1 => bytes[at] ^= 1 << (byte & 7),
                2 => bytes[at] = bytes[at].wrapping_add(1),
                3 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
            if bytes.is_empty() {
                break;
            }
        }
        if stats.load(&bytes) {
            accepted += 1;
            assert_eq!(stats.encode(), bytes);
            // And it can go on from there.
            let slot = stats.slot(b"name1");
            for outcome in Outcome::ALL {
                stats.count_named(slot, b"user", Algorithm::Fixed, outcome, START_MS);
            }
            let bytes = stats.encode();
            assert!(stats.load(&bytes));
        } else {
            refused += 1;
        }
    }
    assert!(accepted > 1_000 && refused > 1_000, "{accepted} {refused}");
}

#[test]
fn what_cannot_have_been_counted_is_refused() {
    let none = [&[1][..], &[0; 6], &[0; 8]].concat(); // one algorithm without a hit, and four empty lists
    let none = none.as_slice();
    let rows =
        |hours: &[u8], days: &[u8]| [&[3, 1, 5, 5, 5, 5], hours, days, &[0; 8], &[0]].concat();
    let series = |hours: &[u8]| rows(hours, &[0]);
    // One name with 3 hits allowed.
    let named = |name: &[u8], top: &[u8]| {
        [&[3], none, &[1], name, &[3, 0, 0, 0, 0, 0], top, &[0; 5]].concat()
    };
    let listed = |list: &[u8]| [&[3, 1][..], &[0; 6 + 6], list, &[0]].concat();
    let fine = [0, 2, 2, 0, 0, 0, 0, 1, b'a', 1, 0, 0, 0, 0, 1, b'b'].as_slice();
    let long =
        |tail: &[u8]| [&[0, 1, 3, 0, 0, 0, 0, 145, 1], [b'x'; 128].as_slice(), tail].concat();
    for (right, bytes) in [
        ("nothing", [&[3], none, &[0]].concat()),
        (
            "a list of the totals",
            listed(&[0, 1, 9, 0, 0, 0, 0, 1, b'a']),
        ),
        ("no algorithm", [&[3, 0][..], &[0; 9]].concat()),
        ("an hour", series(&[1, 9, 5, 5, 5, 5])),
        ("two hours", series(&[2, 9, 1, 0, 0, 0, 0, 4, 0, 0, 0])),
        ("a day", rows(&[0], &[1, 9, 5, 5, 5, 5])),
        ("a name", named(b"\x01n", fine)),
        (
            "two hours of a key",
            named(b"\x01n", &[0, 1, 3, 0, 7, 2, 1, 1, b'a']),
        ),
        ("a floor", named(b"\x01n", &[1, 1, 2, 1, 0, 0, 0, 1, b'a'])),
        ("an empty key", named(b"\x01n", &[0, 1, 3, 0, 0, 0, 0, 0])),
        (
            "a shortened key",
            named(b"\x01n", &long(b"~0123456789abcdef")),
        ),
    ] {
        let mut stats = stats(4, 8);
        assert!(stats.load(&bytes), "{right}");
        // Written anew, it has all algorithms.
        let algorithms = usize::from(bytes[1]);
        let missing = Algorithm::ALL.len() - algorithms;
        let mut all = bytes.clone();
        all[1] += u8::try_from(missing).unwrap();
        let end = bytes.len() - everything_behind(&bytes, algorithms);
        all.splice(end..end, vec![0; 6 * missing]);
        assert_eq!(stats.encode(), all, "{right}");
    }
    let two_names = |first: u8, second: u8| {
        let name = |name| [&[1, name][..], &[0; 6 + 6 + 1]].concat();
        [&[3], none, &[2], &name(first), &name(second)].concat()
    };
    assert!(stats(4, 8).load(&two_names(b'a', b'b')));
    let many = |rows: u64| {
        let mut bytes = Vec::new();
        varint::write(&mut bytes, rows);
        (0..rows).for_each(|_| bytes.extend([0, 0, 0, 0, 1]));
        bytes
    };
    for (wrong, bytes) in [
        ("version 0", [&[0], none, &[0]].concat()),
        ("version 4", [&[4], none, &[0]].concat()),
        (
            "too many algorithms",
            [&[3, 9][..], &[0; 9 * 6 + 9]].concat(),
        ),
        ("an hour with nothing", series(&[1, 9, 0, 0, 0, 0])),
        ("hours above the total", series(&[1, 9, 6, 5, 5, 5])),
        ("days above the total", rows(&[0], &[1, 9, 6, 5, 5, 5])),
        (
            "hours that add up to more",
            series(&[2, 9, 3, 0, 0, 0, 0, 3, 0, 0, 0]),
        ),
        (
            "an hour after the end of time",
            series(&[
                1, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1, 1, 0, 0, 0,
            ]),
        ),
        ("more hours than are kept", series(&many(201))),
        ("more days than are kept", rows(&[0], &many(97))),
        (
            "a number longer than it need be",
            series(&[1, 0x89, 0, 5, 5, 5, 5]),
        ),
        ("a name of no bytes", named(b"\0", fine)),
        (
            "a name too long",
            named(&[&[129, 1][..], &[b'n'; 129]].concat(), fine),
        ),
        ("names unsorted", two_names(b'b', b'a')),
        ("a name twice", two_names(b'a', b'a')),
        (
            "identifiers by rising count",
            named(
                b"\x01n",
                &[0, 2, 1, 0, 0, 0, 0, 1, b'a', 2, 0, 0, 0, 0, 1, b'b'],
            ),
        ),
        (
            "equal counts, unsorted",
            named(
                b"\x01n",
                &[0, 2, 1, 0, 0, 0, 0, 1, b'b', 1, 0, 0, 0, 0, 1, b'a'],
            ),
        ),
        (
            "an identifier twice",
            named(
                b"\x01n",
                &[0, 2, 2, 0, 0, 0, 0, 1, b'a', 1, 0, 0, 0, 0, 1, b'a'],
            ),
        ),
        (
            "a count of more than all hits",
            named(b"\x01n", &[3, 1, 4, 3, 0, 0, 0, 1, b'a']),
        ),
        (
            "more certain hits than hits",
            named(
                b"\x01n",
                &[0, 2, 2, 0, 0, 0, 0, 1, b'a', 2, 0, 0, 0, 0, 1, b'b'],
            ),
        ),
        (
            "a count of nothing but error",
            named(b"\x01n", &[1, 1, 1, 1, 0, 0, 0, 1, b'a']),
        ),
        (
            "more lately than in all",
            named(b"\x01n", &[0, 1, 3, 0, 7, 2, 2, 1, b'a']),
        ),
        (
            "more lately than are certain",
            named(b"\x01n", &[1, 1, 3, 1, 7, 3, 0, 1, b'a']),
        ),
        (
            "an hour without a hit",
            named(b"\x01n", &[0, 1, 3, 0, 7, 0, 1, 1, b'a']),
        ),
        (
            "an error above the floor",
            named(b"\x01n", &[1, 1, 3, 2, 0, 0, 0, 1, b'a']),
        ),
        (
            "a count below the floor",
            named(b"\x01n", &[3, 1, 2, 1, 0, 0, 0, 1, b'a']),
        ),
        (
            "a floor without a list",
            [&[3], none, &[1, 1, b'n'], &[0; 6], &[1, 0], &[0; 4]].concat(),
        ),
        (
            "a long key, not shortened",
            named(b"\x01n", &long(b"-0123456789abcdef")),
        ),
        (
            "a long key, not in hex",
            named(b"\x01n", &long(b"~0123456789abcdeF")),
        ),
        (
            "a key between the lengths",
            named(
                b"\x01n",
                &[&[0, 1, 3, 0, 0, 0, 0, 129, 1][..], &[b'x'; 129]].concat(),
            ),
        ),
    ] {
        assert!(!stats(4, 8).load(&bytes), "{wrong}");
    }
}

/// How many bytes there are behind the series of an encoding.
fn everything_behind(bytes: &[u8], algorithms: usize) -> usize {
    let mut source = Source(&bytes[2..]);
    for _ in 0..algorithms {
        Series::default().read(&mut source, Form::SAVED).unwrap();
    }
    source.0.len()
}

/// What the first version saved is there.
#[test]
fn the_first_version_is_read() {
    let name = [1, b'n', 3, 0, 0, 1, 9, 3, 0, 0, 0, 1, 3, 0, 1, b'a', 0, 0];
    let bytes = [&[1, 3, 0, 0, 1, 9, 3, 0, 0][..], &[0; 8], &[1], &name].concat();
    let mut stats = stats(4, 8);
    assert!(stats.load(&bytes));
    assert_eq!(
        stats
            .algorithm(Algorithm::Fixed)
            .counts()
            .of(Outcome::Allowed),
        3
    );
    assert_eq!(
        stats.name(b"n").unwrap().lists().most(Outcome::Allowed)[0].count,
        3
    );
    for length in 0..bytes.len() {
        assert!(!stats.load(&bytes[..length]), "{length}");
    }
}

/// What the second version wrote, 303 hours of it: bytes of an RDB file, and the two records of an AOF that come to the same.
#[test]
fn bytes_of_the_second_version_are_read() {
    let bytes = |name: &str| -> Vec<u8> {
        let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/node-2");
        let text = std::fs::read_to_string(golden.join(name).with_extension("hex")).unwrap();
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte =
            |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(byte).collect()
    };
    let mut saved = stats(4, 8);
    assert!(saved.load(&bytes("stats")));
    let now_ms = START_MS + 302 * HOUR_MS;
    let counts = saved.total();
    for rows in [saved.total_days(now_ms), saved.total_hours(now_ms)] {
        let all = rows
            .iter()
            .fold(Counts::default(), |sum, row| sum.plus(row.counts));
        assert!(
            all.of(Outcome::Allowed) <= counts.of(Outcome::Allowed)
                && all.of(Outcome::Allowed) > counts.of(Outcome::Allowed) / 2
        );
    }
    let days = saved.total_days(now_ms);
    assert_eq!(days.len(), 14);
    let sum = days
        .iter()
        .fold(Counts::default(), |sum, day| sum.plus(day.counts));
    assert_eq!(sum, counts, "all hours are in a day");
    let mut replayed = stats(4, 8);
    for record in ["record-1", "record-2"] {
        let record = bytes(record);
        for length in 0..record.len() {
            assert!(!replayed.apply_record(&record[..length]), "{length}");
        }
        assert!(replayed.apply_record(&record));
    }
    assert_eq!(everything(&replayed), everything(&saved));
    assert_eq!(replayed.encode(), saved.encode());
    // And what is written now follows on it.
    for stats in [&mut saved, &mut replayed] {
        let slot = stats.slot(b"name1");
        for outcome in Outcome::ALL {
            stats.count_named(slot, b"user:1", Algorithm::Fixed, outcome, now_ms);
        }
    }
    assert_eq!(replayed.encode(), saved.encode());
    let record = saved.next_record(100_000).unwrap();
    assert!(replayed.apply_record(&record));
    assert_eq!(replayed.encode(), saved.encode());
}
