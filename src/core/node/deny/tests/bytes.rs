//! What is saved and sent on, and what is refused.

use super::*;

/// A little of everything.
fn sample() -> Lists {
    let mut lists = Lists::new(SEED);
    add(
        &mut lists,
        "a",
        &[
            "1.2.3.4",
            "10.0.0.0/8",
            "0.0.0.0/0",
            "2001:db8::/32",
            "::1",
            "alice",
            "bob",
        ],
        Until::Forever,
    )
    .unwrap();
    add(
        &mut lists,
        "a",
        &["1.2.3.5", "11.0.0.0/8", "2001:db9::/32", "::2", "carol"],
        Until::at(NOW + 5),
    )
    .unwrap();
    add(&mut lists, "b\0", &["zoe"], Until::at(NOW + 9)).unwrap();
    add(&mut lists, "c", &["9.9.9.9"], Until::Forever).unwrap();
    lists
}

#[test]
fn encoding_version_1_is_as_it_was() {
    let mut lists = Lists::new(SEED);
    add(
        &mut lists,
        "ab",
        &["1.2.3.4", "10.0.0.0/8", "::1", "x"],
        Until::Forever,
    )
    .unwrap();
    add(&mut lists, "ab", &["yz"], Until::at(0x0102_0304)).unwrap();
    let mut expected = vec![
        1, 2, b'a', b'b', 4, 8, 10, 0, 0, 0, 4, 32, 1, 2, 3, 4, 6, 128,
    ];
    expected.extend_from_slice(&[0; 15]);
    expected.extend_from_slice(&[
        1, 1, 1, 0, b'x', 129, 2, 0, b'y', b'z', 4, 3, 2, 1, 0, 0, 0, 0, 0, 0,
    ]);
    assert_eq!(lists.encode(0), expected);
    assert_eq!(Lists::new(SEED).encode(0), [1, 0]);
}

#[test]
fn what_is_encoded_is_decoded() {
    let lists = sample();
    let bytes = lists.encode(NOW);
    for seed in [SEED, Seed(0), Seed(99)] {
        let decoded = Lists::decode(&bytes, seed).unwrap();
        assert_eq!(decoded.encode(NOW), bytes);
        assert_eq!(decoded.len(), lists.len());
        for name in [b"a".as_slice(), b"b\0", b"c"] {
            let sorted = |lists: &Lists| {
                scan(lists, name, 3, NOW)
                    .into_iter()
                    .collect::<BTreeSet<_>>()
            };
            assert_eq!(sorted(&decoded), sorted(&lists));
        }
    }
    // What has expired is left out, and with it a list that has nothing else.
    let later = Lists::decode(&lists.encode(NOW + 9), SEED).unwrap();
    assert_eq!(
        sizes(&later).collect::<Vec<_>>(),
        [(b"a".as_slice(), 7), (b"c", 1)]
    );
    // In chunks of any size.
    for max_entries in 0..20 {
        let mut merged = Lists::new(Seed(1));
        let mut chunks = 0;
        lists.encode_chunks(NOW, max_entries, |chunk| {
            assert!(Lists::decode(&chunk, SEED).unwrap().len() <= max_entries.max(1));
            assert!(merged.merge(&chunk, NOW));
            chunks += 1;
        });
        assert_eq!(merged.encode(NOW), bytes);
        assert_eq!(chunks, lists.len().div_ceil(max_entries.max(1)));
    }
    Lists::new(SEED).encode_chunks(NOW, 5, |_| panic!("a chunk of nothing"));
}

#[test]
fn corrupt_bytes_are_refused() {
    let bytes = sample().encode(NOW);
    for end in 0..bytes.len() {
        assert!(Lists::decode(&bytes[..end], SEED).is_none(), "cut at {end}");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(Lists::decode(&longer, SEED).is_none());
    assert!(Lists::decode(&[2, 0], SEED).is_none());
    for (part, list) in [
        ("an empty list", b"\x01a\0".as_slice()),
        ("a list's name", b"\x01b\x01\x01\0x\0\x01a\x01\x01\0x\0"),
        ("a list's name", b"\x01a\x01\x01\0x\0\x01a\x01\x01\0x\0"),
        ("the order of entries", b"\x01a\x01\x01\0x\x01\x01\0x\0"),
        ("the order of entries", b"\x01a\x01\x01\0y\x01\x01\0x\0"),
        ("an entry's kind", b"\x01a\x02\x01\0x\0"),
        ("an entry's kind", b"\x01a\x80\x01\0x\0"),
        ("a text's length", b"\x01a\x01\0\0\0"),
        ("an address as a text", b"\x01a\x01\x07\x001.2.3.4\0"),
        ("a range's length", b"\x01a\x04\x21\x01\x02\x03\x04\0"),
        (
            "bits past a range's length",
            b"\x01a\x04\x08\x01\x02\x03\x04\0",
        ),
        (
            "an IPv4 address in IPv6",
            b"\x01a\x06\x80\0\0\0\0\0\0\0\0\0\0\xff\xff\x01\x02\x03\x04\0",
        ),
        (
            "a range's length",
            b"\x01a\x06\x81\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        ),
        ("a time", b"\x01a\x81\x01\0x\0\0\0\0\0\0\0\0\0"),
        ("a time", b"\x01a\x81\x01\0x\0\0\0\0\0\0\x20\0\0"),
    ] {
        let corrupt = [&[1], list, &[0]].concat();
        let mut lists = sample();
        assert!(!lists.merge(&corrupt, NOW), "{part}: {corrupt:?}");
        assert_eq!(lists.encode(NOW), bytes, "nothing has changed");
    }
}

/// Whatever the bytes: an error, or lists whose encoding is these very bytes.
#[test]
fn mutated_bytes_are_refused_or_mean_what_they_say() {
    let bytes = sample().encode(NOW);
    let mut random = Random(15);
    let mut accepted = 0;
    for _ in 0..200_000 {
        let mut mutant = bytes.clone();
        for _ in 0..1 + random.index(4) {
            let at = random.index(mutant.len().max(1));
            match random.index(5) {
                _ if mutant.is_empty() => mutant.push(1),
                0 => mutant[at] ^= 1 << random.index(8),
                1 => mutant[at] = (random.next() & 255) as u8,
                2 => mutant.insert(at, random.pick(&[0, 1, 4, 6, 129, 255])),
                3 => drop(mutant.remove(at)),
                _ => mutant.truncate(at + 1),
            }
        }
        if let Some(lists) = Lists::decode(&mutant, SEED) {
            assert_eq!(lists.encode(0), mutant);
            accepted += 1;
        }
    }
    assert!(accepted > 1_000, "{accepted} accepted");
}

/// What is sent on is made of the values alone: no table is filled for it, whose seed somebody might know.
#[test]
fn what_an_add_sends_on_adds_the_same_elsewhere() {
    let mut random = Random(31);
    for round in 0..200 {
        let texts: Vec<Vec<u8>> = (0..1 + random.below(40))
            .map(|_| match random.below(4) {
                0 => format!("user {}", random.below(30)).into_bytes(),
                1 => format!("10.0.{}.0/24", random.below(20)).into_bytes(),
                2 => format!("2001:db8::{:x}", random.below(20)).into_bytes(),
                _ => format!("::ffff:10.0.0.{}", random.below(20)).into_bytes(),
            })
            .collect();
        let until = match round % 2 {
            0 => Until::Forever,
            _ => Until::at(NOW + 1 + random.below(9)),
        };
        let values = Values::read(texts.iter().map(Vec::as_slice)).unwrap();
        let bytes = values.encode(b"l", until);
        let mut lists = Lists::new(SEED);
        lists.add(b"l", &values, until, NOW, &Bounds::NONE).unwrap();
        assert_eq!(lists.encode(NOW), bytes);
        let measured = measure(&bytes).unwrap();
        assert_eq!((measured.lists, measured.entries), (1, lists.len()));
        assert_eq!(measured.text_bytes, lists.text_bytes);
    }
}

#[test]
fn a_list_with_the_longest_name_is_read_back() {
    let mut lists = Lists::new(SEED);
    let name = "x".repeat(MAX_NAME_BYTES);
    add(&mut lists, &name, &["a"], Until::Forever).unwrap();
    let mut read = Lists::new(SEED);
    assert!(read.merge(&lists.encode(NOW), NOW));
    assert!(denies(&read, &name, "a"));
}

#[test]
fn all_of_ipv4_written_as_ipv6_is_refused() {
    let mut lists = Lists::new(SEED);
    add(&mut lists, "list", &["64:ff9b::/96"], Until::Forever).unwrap();
    let mut bytes = lists.encode(NOW);
    assert!(Lists::new(SEED).merge(&bytes, NOW));
    let base = 0x0064_ff9b_u128 << 96;
    let at = bytes.windows(16).position(|it| it == base.to_be_bytes());
    let mapped = 0xffff_u128 << 32;
    bytes[at.unwrap()..][..16].copy_from_slice(&mapped.to_be_bytes());
    assert!(!Lists::new(SEED).merge(&bytes, NOW));
}

/// Bytes of the first version, which knew no time given, are read and written as they were.
#[test]
fn entries_of_the_first_version_keep_their_bytes() {
    let old = [
        &[1, 1, b'l', 4 | 128, 32, 192, 0, 2, 1][..],
        &NOW.to_le_bytes(),
        &[0, 0],
    ]
    .concat();
    let lists = Lists::decode(&old, SEED).unwrap();
    assert_eq!(lists.encode(0), old);
    // A time given that is none: of nothing, of more than the end, or of an entry without end.
    for (tag, ttl_ms) in [(4 | 192, 0), (4 | 192, NOW), (4 | 64, 5)] {
        let mut bytes = old[..old.len() - 2].to_vec();
        bytes[3] = tag;
        bytes.extend(u64::to_le_bytes(ttl_ms));
        bytes.extend([0, 0]);
        assert!(Lists::decode(&bytes, SEED).is_none());
    }
}
