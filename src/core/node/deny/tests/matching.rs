//! Which values are denied, against another reading of them.

use super::*;

#[test]
fn an_address_is_matched_in_every_spelling_and_by_every_range() {
    let mut lists = Lists::new(SEED);
    assert_eq!(
        add(
            &mut lists,
            "l",
            &[
                "1.2.3.4",
                "10.0.0.0/8",
                "2001:DB8::/32",
                "alice",
                "alice",
                "1.2.3.4/32"
            ],
            Until::Forever
        ),
        Ok(4)
    );
    for value in [
        "1.2.3.4",
        "::ffff:1.2.3.4",
        "::FFFF:102:304",
        "10.255.0.1",
        "::ffff:10.1.1.1",
        "10.0.0.0/8",
        "10.3.0.0/16",
        "2001:db8::1",
        "alice",
    ] {
        assert!(denies(&lists, "l", value), "{value}");
    }
    for value in [
        "1.2.3.5",
        "01.2.3.4",
        "10.0.0.0/7",
        "11.0.0.1",
        "2001:db9::",
        "Alice",
        "alice ",
        "",
        "::1.2.3.4",
        "::a00:1",
        "10.0.0.1/8",
    ] {
        assert!(!denies(&lists, "l", value), "{value}");
    }
    assert!(!denies(&lists, "other", "1.2.3.4"));
    // The families are apart.
    assert_eq!(add(&mut lists, "six", &["::/0"], Until::Forever), Ok(1));
    assert!(denies(&lists, "six", "::1") && !denies(&lists, "six", "::ffff:1.2.3.4"));
    assert_eq!(
        add(&mut lists, "four", &["::ffff:0:0/96"], Until::Forever),
        Ok(1)
    );
    assert!(!denies(&lists, "four", "::1") && denies(&lists, "four", "9.9.9.9"));
    // The first value that matches is named.
    let values: [&[u8]; 3] = [b"bob", b"1.2.3.4", b"alice"];
    assert_eq!(
        lists.first_match(b"l", values, NOW),
        Some(Match {
            index: 1,
            value: b"1.2.3.4".to_vec(),
            until: Until::Forever
        })
    );
    assert_eq!(
        lists.has(b"l", values, NOW),
        [None, Some(Until::Forever), Some(Until::Forever)]
    );
    assert_eq!(lists.has(b"none", values, NOW), [None; 3]);
}

#[test]
fn the_entry_that_lasts_longest_counts() {
    let mut lists = Lists::new(SEED);
    let until = |lists: &Lists, now_ms| lists.has(b"l", [b"10.1.2.3".as_slice()], now_ms)[0];
    add(&mut lists, "l", &["10.0.0.0/8"], Until::at(NOW + 10)).unwrap();
    add(&mut lists, "l", &["10.1.0.0/16"], Until::at(NOW + 30)).unwrap();
    add(&mut lists, "l", &["10.1.2.3"], Until::at(NOW + 20)).unwrap();
    assert_eq!(until(&lists, NOW), Some(Until::at(NOW + 30)));
    assert_eq!(until(&lists, NOW + 29), Some(Until::at(NOW + 30)));
    assert_eq!(until(&lists, NOW + 30), None);
    add(&mut lists, "l", &["10.0.0.0/9"], Until::Forever).unwrap();
    assert_eq!(until(&lists, NOW + 30), Some(Until::Forever));
    // The last ADD decides, in both directions.
    assert_eq!(
        add(&mut lists, "l", &["10.0.0.0/9"], Until::at(NOW + 5)),
        Ok(0)
    );
    assert_eq!(until(&lists, NOW), Some(Until::at(NOW + 30)));
    assert_eq!(add(&mut lists, "l", &["10.1.2.3"], Until::Forever), Ok(0));
    assert_eq!(until(&lists, NOW), Some(Until::Forever));
    assert_eq!(lists.len(), 4);
}

/// An independent reading of the same text: by the standard library alone.
fn oracle_parse(text: &str) -> Option<(bool, u128, u32)> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length.parse::<u32>().ok()?)),
        None => (text, None),
    };
    match address.parse::<IpAddr>().ok()? {
        IpAddr::V4(v4) => Some((true, v4.to_bits().into(), length.unwrap_or(32))),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => Some((
                true,
                v4.to_bits().into(),
                length.map_or(32, |length| length - 96),
            )),
            None => Some((false, v6.to_bits(), length.unwrap_or(128))),
        },
    }
}

/// Whether the first `length` bits of two addresses are the same, bit by bit.
fn oracle_covers(entry: (bool, u128, u32), address: (bool, u128, u32)) -> bool {
    let bits = if entry.0 { 32 } else { 128 };
    entry.0 == address.0
        && entry.2 <= address.2
        && (0..entry.2).all(|bit| (entry.1 ^ address.1) >> (bits - 1 - bit) & 1 == 0)
}

/// One of the ways to write an address.
fn spell(random: &mut Random, is_v4: bool, bits: u128) -> String {
    let text = if is_v4 {
        let v4 = Ipv4Addr::from_bits(u32::try_from(bits).unwrap());
        let [a, b] = [bits >> 16, bits & 0xffff];
        match random.index(6) {
            0 => format!("::ffff:{v4}"),
            1 => format!("::ffff:{a:x}:{b:04x}"),
            2 => format!("0:0:0:0:0:ffff:{v4}"),
            _ => v4.to_string(),
        }
    } else {
        let v6 = Ipv6Addr::from_bits(bits);
        let segments = v6.segments();
        match random.index(4) {
            0 => segments.map(|segment| format!("{segment:04x}")).join(":"),
            1 => segments.map(|segment| format!("{segment:x}")).join(":"),
            2 => format!(
                "{}:{}",
                segments[..6]
                    .iter()
                    .map(|s| format!("{s:x}"))
                    .collect::<Vec<_>>()
                    .join(":"),
                Ipv4Addr::from_bits(u32::try_from(bits & 0xffff_ffff).unwrap())
            ),
            _ => v6.to_string(),
        }
    };
    if random.one_in(3) {
        text.to_uppercase()
    } else {
        text
    }
}

/// 200,000 addresses in random spellings, against lists of random ranges, the answer found bit by bit. Addresses are drawn
/// near the ranges, so that both answers are frequent.
#[test]
fn matching_agrees_with_comparing_bits() {
    let mut random = Random(11);
    let (mut hits, mut misses) = (0, 0);
    for round in 0..200 {
        let mut lists = Lists::new(Seed(random.next()));
        let mut entries: Vec<((bool, u128, u32), Until)> = Vec::new();
        let mut texts: BTreeMap<(bool, u128, u32), String> = BTreeMap::new();
        let few_lengths = random.one_in(2);
        for _ in 0..1 + random.index(150) {
            let is_v4 = random.one_in(2);
            let bits = if is_v4 { 32 } else { 128 };
            let length = match random.index(3) {
                0 => bits,
                _ if few_lengths => bits / 4 * (1 + random.index(3)),
                1 => bits / 2 + random.index(bits / 2),
                _ => random.index(bits + 1),
            };
            let wide = u128::from(random.next()) << 64 | u128::from(random.next());
            let mut base = if is_v4 { wide >> 96 } else { wide };
            if random.one_in(2) && !entries.is_empty() {
                let near = random.pick(&entries).0;
                if near.0 == is_v4 {
                    base = near.1;
                }
            }
            let base = if length == 0 {
                0
            } else {
                base >> (bits - length) << (bits - length)
            };
            if !is_v4 && base >> 32 == 0xffff {
                continue;
            }
            let until = if random.one_in(2) {
                Until::Forever
            } else {
                Until::At(Ends::given(
                    NOW - 5 + random.next() % 20,
                    15 + random.next() % 400,
                ))
            };
            let mut text = spell(&mut random, is_v4, base);
            if length < bits || random.one_in(4) {
                let mapped = if is_v4 && text.contains(':') { 96 } else { 0 };
                text = format!("{text}/{}", length + mapped);
            }
            assert!(add(&mut lists, "l", &[&text], until).is_ok(), "{text}");
            let entry = oracle_parse(&text).unwrap();
            assert_eq!(
                entry,
                (is_v4, base, u32::try_from(length).unwrap()),
                "{text}"
            );
            entries.retain(|(other, _)| *other != entry);
            entries.push((entry, until));
            texts.insert(entry, text);
        }
        if round % 2 == 0 {
            // All but a few go, so that blocks are made anew; then what has expired.
            let keep = 1 + random.index(entries.len());
            for (entry, _) in entries.split_off(keep) {
                lists.del(b"l", [texts[&entry].as_bytes()], 0);
            }
            if round % 4 == 0 && lists.sweep(NOW, usize::MAX) > 0 {
                assert!(entries.iter().any(|(_, until)| !until.holds(NOW)));
            }
            assert!(lists.len() <= keep);
        }
        if round % 50 == 0 {
            lists = Lists::decode(&lists.encode(0), Seed(round)).unwrap();
        }
        for _ in 0..1_000 {
            let (near, _) = random.pick(&entries);
            let bits = if near.0 { 32 } else { 128 };
            let flips = if random.one_in(2) {
                1 + random.index(3)
            } else {
                0
            };
            let noise = u128::from(random.next()) << 64 | u128::from(random.next());
            let host = if near.2 == 0 {
                u128::MAX
            } else {
                (1_u128 << (bits - near.2)) - 1
            };
            let mut address = near.1 | noise & host & (u128::MAX >> (128 - bits));
            for _ in 0..flips {
                address ^= 1 << random.index(usize::try_from(bits).unwrap());
            }
            let text = spell(&mut random, near.0, address);
            let probe = oracle_parse(&text).unwrap();
            let expected = entries
                .iter()
                .filter(|(entry, until)| until.holds(NOW) && oracle_covers(*entry, probe))
                .map(|(_, until)| *until)
                .max();
            let found = lists
                .first_match(b"l", [text.as_bytes()], NOW)
                .map(|found| found.until);
            assert_eq!(found, expected, "{text}");
            *(if found.is_some() {
                &mut hits
            } else {
                &mut misses
            }) += 1;
        }
    }
    assert!(
        hits > 40_000 && misses > 40_000,
        "{hits} hits, {misses} misses"
    );
}

/// What is checked may be written as it arrives; the list says what it was read as.
#[test]
fn a_value_is_looked_up_as_it_is_written_and_then_as_the_address_it_is() {
    let mut lists = Lists::new(SEED);
    let values = ["192.0.2.0/24", "2001:db8::1", "alice"];
    add(&mut lists, "l", &values, Until::Forever).unwrap();
    for (text, read_as) in [
        ("192.0.2.7:443", "192.0.2.7"),
        (" 192.0.2.7 ", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("[::ffff:192.0.2.7]:443", "192.0.2.7"),
        ("[2001:DB8::1]:443", "2001:db8::1"),
        ("2001:db8::1%eth0", "2001:db8::1"),
        ("192.0.2.0/25", "192.0.2.0/25"),
        ("192.0.2.7/32", "192.0.2.7"),
        ("alice", "alice"),
    ] {
        let found = lists.first_match(b"l", [text.as_bytes()], NOW).unwrap();
        assert_eq!(found.value, read_as.as_bytes(), "{text}");
        assert_eq!(
            lists.has(b"l", [text.as_bytes()], NOW),
            [Some(Until::Forever)]
        );
    }
    for text in [" alice", "alice:80", "192.0.3.7:443", "[2001:db8::2]:443"] {
        assert!(!denies(&lists, "l", text), "{text}");
    }
    // As it is written goes first: a list of an earlier version may have such a text.
    let written = b"\x01\x01l\x01\x0d\x00192.0.2.7:443\x00\x00";
    let mut lists = Lists::decode(written, SEED).unwrap();
    add(&mut lists, "l", &["192.0.2.7"], Until::at(NOW + 5)).unwrap();
    let until = |text: &str| lists.has(b"l", [text.as_bytes()], NOW)[0];
    assert_eq!(until("192.0.2.7:443"), Some(Until::Forever));
    assert_eq!(until("192.0.2.7:444"), Some(Until::at(NOW + 5)));
}
