//! Deny lists against slow, obvious models.

use super::*;
use crate::core::node::ends::Ends;
use crate::core::random::Random;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The name of each list, and how many entries it has.
fn sizes(lists: &Lists) -> impl Iterator<Item = (&[u8], usize)> {
    let summaries = lists.summaries();
    summaries.map(|(name, list)| (name, list.entries))
}

const NOW: u64 = 1_700_000_000_000;
const SEED: Seed = Seed(0x5eed);

fn add(lists: &mut Lists, name: &str, values: &[&str], until: Until) -> Result<usize, Error> {
    let values = values.iter().map(|value| value.as_bytes());
    add_all(lists, name.as_bytes(), values, until, NOW, &Bounds::NONE)
}

/// What RL.DENY ADD does.
fn add_all<'a>(
    lists: &mut Lists,
    name: &[u8],
    values: impl IntoIterator<Item = &'a [u8]>,
    until: Until,
    now_ms: u64,
    bounds: &Bounds,
) -> Result<usize, Error> {
    let added = lists.add(name, &Values::read(values)?, until, now_ms, bounds)?;
    Ok(added.new)
}

fn denies(lists: &Lists, name: &str, value: &str) -> bool {
    lists
        .first_match(name.as_bytes(), [value.as_bytes()], NOW)
        .is_some()
}

/// Every entry by scan, `count` at a time.
fn scan(lists: &Lists, name: &[u8], count: usize, now_ms: u64) -> Vec<Entry> {
    let mut all = Vec::new();
    let mut cursor = 0;
    loop {
        let (next, entries) = lists.entries(name, cursor, count, now_ms);
        all.extend(entries);
        if next == 0 {
            return all;
        }
        assert!(next > cursor && next < 1 << 53);
        cursor = next;
    }
}

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

type Model = BTreeMap<Vec<u8>, BTreeMap<Vec<u8>, Until>>;

/// Every command, at random, against maps of maps. Names, values and times are few, so that they meet.
#[test]
fn lists_do_what_maps_do() {
    let mut random = Random(12);
    let names: Vec<Vec<u8>> = (0..5).map(|n| format!("list\0{n}").into_bytes()).collect();
    let mut pool: Vec<Vec<u8>> = Vec::new();
    for n in 0..400_u32 {
        pool.push(
            Ipv4Addr::from_bits(0x0a00_0000 + n)
                .to_string()
                .into_bytes(),
        );
        pool.push(format!("10.{}.0.0/{}", n % 8, 16 + n % 17).into_bytes());
        pool.push(
            Ipv6Addr::from_bits(u128::from(n) << (n % 96))
                .to_string()
                .into_bytes(),
        );
        pool.push(format!("2001:db8:{:x}::/{}", n % 9, 48 + n % 81).into_bytes());
        pool.push(format!("user-{n}").into_bytes());
        pool.push(vec![b'\xff', 0, u8::try_from(n % 256).unwrap()]);
    }
    let canonical = |text: &[u8]| Vec::from(Value::parse(text));
    let mut lists = Lists::new(SEED);
    let mut model = Model::new();
    let mut now_ms = NOW;
    for step in 0..20_000 {
        let name = random.pick(&names);
        let values: Vec<Vec<u8>> = (0..1 + random.index(30))
            .map(|_| random.pick(&pool))
            .collect();
        let texts = || values.iter().map(Vec::as_slice);
        let holds = |until: &Until| until.holds(now_ms);
        let live = |model: &Model, name: &[u8], text: &[u8]| {
            model
                .get(name)
                .and_then(|list| list.get(text))
                .copied()
                .filter(holds)
        };
        match random.index(20) {
            0..=8 => {
                let until = if random.one_in(2) {
                    Until::Forever
                } else {
                    Until::At(Ends::given(
                        now_ms + random.next() % 300,
                        300 + random.next() % 400,
                    ))
                };
                let new: BTreeSet<Vec<u8>> = texts()
                    .map(canonical)
                    .filter(|text| live(&model, &name, text).is_none())
                    .collect();
                assert_eq!(
                    add_all(&mut lists, &name, texts(), until, now_ms, &Bounds::NONE),
                    Ok(new.len())
                );
                let list = model.entry(name).or_default();
                for text in texts() {
                    list.insert(canonical(text), until);
                }
            }
            9..=13 => {
                let there: BTreeSet<Vec<u8>> = texts()
                    .map(canonical)
                    .filter(|text| live(&model, &name, text).is_some())
                    .collect();
                assert_eq!(lists.del(&name, texts(), now_ms), there.len());
                if let Some(list) = model.get_mut(&name) {
                    list.retain(|value, _| !texts().any(|text| canonical(text) == *value));
                }
            }
            14 => {
                // A missing list, here and there, may be one whose entries have all expired.
                let other = random.pick(&names);
                if lists.rename(&name, &other, NOW).is_ok() {
                    let list = model.remove(&name).unwrap_or_default();
                    model.insert(other, list);
                } else {
                    assert!(model
                        .get(&name)
                        .is_none_or(|list| !list.values().any(holds)));
                }
            }
            15 if random.one_in(4) => {
                let existed = lists.drop_list(&name);
                assert!(
                    existed
                        || model
                            .get(&name)
                            .is_none_or(|list| !list.values().any(holds))
                );
                model.remove(&name);
            }
            16 => {
                lists.sweep(now_ms, random.index(20_000));
            }
            17 => now_ms += random.next() % 40,
            18 => {
                lists = Lists::decode(&lists.encode(now_ms), Seed(random.next())).unwrap();
            }
            _ => {
                // Values are unlike enough that ranges seldom matter: the ranges are checked against bits elsewhere.
                for text in texts() {
                    let exact = live(&model, &name, &canonical(text));
                    let found = lists.has(&name, [text], now_ms)[0];
                    assert!(found >= exact, "{}", String::from_utf8_lossy(text));
                    if let Value::Text(_) = Value::parse(text) {
                        assert_eq!(found, exact);
                    }
                }
            }
        }
        if step % 50 == 0 {
            for name in &names {
                let mut entries = scan(&lists, name, 1 + random.index(100), now_ms);
                entries.sort();
                let expected: Vec<Entry> = model
                    .get(name)
                    .into_iter()
                    .flatten()
                    .filter(|(_, until)| until.holds(now_ms))
                    .map(|(value, until)| Entry {
                        value: value.clone(),
                        until: *until,
                    })
                    .collect();
                assert_eq!(entries, expected);
            }
            assert_eq!(lists.len(), sizes(&lists).map(|(_, len)| len).sum());
            assert!(sizes(&lists).all(|(_, len)| len > 0));
            assert!(sizes(&lists).map(|(name, _)| name).is_sorted());
            let text_bytes: usize = lists
                .lists
                .iter()
                .map(|named| named.list.text_bytes())
                .sum();
            assert_eq!(lists.text_bytes, text_bytes);
        }
    }
    assert!(lists.len() > 100, "the test has emptied its lists");
}

/// What stays is seen, whatever else grows, shrinks or changes its time during the scan.
#[test]
fn a_scan_misses_nothing_that_stays() {
    let mut random = Random(13);
    for round in 0..20 {
        let mut lists = Lists::new(Seed(round));
        let value = |n: usize| match n % 4 {
            0 => format!("user-{n}"),
            1 => format!("2001:db8::{n:x}"),
            2 => format!("10.{}.{}.0/24", n >> 8 & 255, n & 255),
            _ => format!("11.{}.{}.1", n >> 8 & 255, n & 255),
        };
        let stay: Vec<String> = (0..3_000).map(value).collect();
        for text in &stay {
            add(
                &mut lists,
                "l",
                &[text],
                if random.one_in(2) {
                    Until::Forever
                } else {
                    Until::at(NOW + 1)
                },
            )
            .unwrap();
        }
        let mut seen: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
        let mut cursor = 0;
        let mut other = 3_000;
        loop {
            let (next, entries) = lists.entries(b"l", cursor, 100, NOW);
            for entry in entries {
                *seen.entry(entry.value).or_default() += 1;
            }
            if next == 0 {
                break;
            }
            cursor = next;
            for _ in 0..500 {
                let text = value(random.index(3_000));
                match random.index(4) {
                    0 => add(&mut lists, "l", &[&text], Until::Forever)
                        .map(drop)
                        .unwrap(),
                    1 => add(&mut lists, "l", &[&text], Until::at(NOW + 1))
                        .map(drop)
                        .unwrap(),
                    2 if round % 2 == 0 => {
                        other += 1;
                        add(&mut lists, "l", &[&value(other)], Until::Forever)
                            .map(drop)
                            .unwrap();
                    }
                    _ => drop(lists.del(
                        b"l",
                        [value(3_000 + random.index(other - 2_999)).as_bytes()],
                        NOW,
                    )),
                }
            }
        }
        for text in &stay {
            assert_eq!(seen.get(text.as_bytes()), Some(&1), "{text}");
        }
    }
    // A cursor that was made up ends the scan.
    let mut lists = Lists::new(SEED);
    add(&mut lists, "l", &["a"], Until::Forever).unwrap();
    assert_eq!(lists.entries(b"l", u64::MAX, 10, NOW), (0, vec![]));
    assert_eq!(lists.entries(b"none", 0, 10, NOW), (0, vec![]));
    assert_eq!(lists.entries(b"l", 0, 0, NOW).1.len(), 1);
}

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
fn a_rename_swaps_a_list_in() {
    let mut lists = Lists::new(SEED);
    add(&mut lists, "staging", &["1.1.1.1"], Until::Forever).unwrap();
    add(&mut lists, "live", &["2.2.2.2", "3.3.3.3"], Until::Forever).unwrap();
    let no_such_list = Err(Error::NoSuchList { at: 2 });
    assert_eq!(lists.rename(b"none", b"live", NOW), no_such_list);
    let name = Error::Name {
        at: 3,
        what: "list",
    };
    assert_eq!(lists.rename(b"staging", b"", NOW), Err(name));
    assert_eq!(lists.rename(b"staging", b"staging", NOW), Ok(()));
    assert_eq!(lists.len(), 3);
    assert_eq!(lists.rename(b"staging", b"live", NOW), Ok(()));
    assert!(denies(&lists, "live", "1.1.1.1") && !denies(&lists, "live", "2.2.2.2"));
    assert_eq!(sizes(&lists).collect::<Vec<_>>(), [(b"live".as_slice(), 1)]);
    assert_eq!(lists.len(), 1);
    assert_eq!(lists.rename(b"live", b"a", NOW), Ok(()));
    assert_eq!(sizes(&lists).collect::<Vec<_>>(), [(b"a".as_slice(), 1)]);
    // With its last entry the list goes.
    assert_eq!(lists.del(b"a", [b"1.1.1.1".as_slice()], NOW), 1);
    assert!(lists.is_empty());
    assert_eq!(lists.rename(b"a", b"b", NOW), no_such_list);
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

/// Values that collide under one seed: a list with another seed has next to nothing to move for them.
#[test]
fn values_crafted_against_one_seed_are_harmless_under_another() {
    const VALUES: u64 = 4_000;
    let crafted: Vec<Net<u128>> = (0..VALUES)
        .map(|low| key::tests::colliding(low, Seed(0)))
        .map(|base| Net { length: 128, base })
        .collect();
    let displacement = |seed| {
        let mut list = List::default();
        for net in &crafted {
            list.put(Value::V6(*net), Until::Forever, seed);
        }
        list.displacement()
    };
    let under_their_own = displacement(Seed(0));
    assert!(
        under_their_own > VALUES * VALUES / 4,
        "they collide: {under_their_own}"
    );
    for seed in [Seed(1), Seed(0x5eed), Seed(u64::MAX)] {
        let slots = displacement(seed);
        assert!(slots < 8 * VALUES, "{slots} under {seed:?}");
    }
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

/// As a script computes it from a file: see `List::fingerprint`.
#[test]
fn the_fingerprint_is_that_of_the_permanent_entries_in_any_order() {
    let of = |lists: &Lists| {
        let lists: Vec<_> = lists.summaries().collect();
        lists[0].1.fingerprint
    };
    let mut one = Lists::new(SEED);
    let values = ["10.0.0.0/8", "192.0.2.7", "2001:db8::1", "alice"];
    add(&mut one, "l", &values, Until::Forever).unwrap();
    // sha256 of 04 08 0a000000, of 04 20 c0000207, of 06 80 and 16 bytes, of 01 0500 "alice": 8 bytes each, added up.
    assert_eq!(of(&one), FINGERPRINT);
    let mut other = Lists::new(Seed(9));
    for value in values.iter().rev() {
        add(&mut other, "l", &["bob", value], Until::Forever).unwrap();
        add(&mut other, "l", &[value], Until::at(NOW + 5)).unwrap();
        add(&mut other, "l", &[value, value], Until::Forever).unwrap();
    }
    assert_ne!(of(&other), FINGERPRINT);
    other.del(b"l", [b"bob".as_slice(), b"eve"], NOW);
    assert_eq!(of(&other), FINGERPRINT);
    // What ends is no part of it, before and after it has.
    add(&mut other, "l", &["9.9.9.9", "carol"], Until::at(NOW + 5)).unwrap();
    assert_eq!(of(&other), FINGERPRINT);
    other.sweep(NOW + 5, usize::MAX);
    assert_eq!(of(&other), FINGERPRINT);
    let loaded = Lists::decode(&other.encode(NOW), Seed(77)).unwrap();
    assert_eq!(of(&loaded), FINGERPRINT);
    other.rename(b"l", b"m", NOW).unwrap();
    assert_eq!(of(&other), FINGERPRINT);
    let (_, summary) = other.summaries().next().unwrap();
    assert_eq!((summary.entries, summary.changed_ms), (4, NOW));
}

const FINGERPRINT: u64 = 0x8695_d19c_c68b_9b0f;

#[test]
fn a_list_was_changed_when_an_entry_came_or_went() {
    let mut lists = Lists::new(SEED);
    let changed = |lists: &Lists| lists.summaries().next().unwrap().1.changed_ms;
    add(&mut lists, "list", &["a", "b"], Until::Forever).unwrap();
    assert_eq!(changed(&lists), NOW);
    lists.del(b"list", [b"c".as_slice()], NOW + 1);
    assert_eq!(changed(&lists), NOW);
    lists.del(b"list", [b"a".as_slice()], NOW + 2);
    assert_eq!(changed(&lists), NOW + 2);
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

/// A day that the clock is stepped back: an entry of an hour lasts no day longer, nor does one that was read from bytes.
#[test]
fn a_clock_that_was_stepped_back_gives_no_entry_more_than_it_was_given() {
    const HOUR: u64 = 3_600_000;
    let mut lists = Lists::new(SEED);
    let until = Until::At(Ends::after(NOW, HOUR));
    add(
        &mut lists,
        "l",
        &["192.0.2.1", "2001:db8::/32", "alice"],
        until,
    )
    .unwrap();
    add(&mut lists, "l", &["bob"], Until::at(NOW + HOUR)).unwrap(); // as an earlier version wrote it
    let mut read = Lists::decode(&lists.encode(NOW), SEED).unwrap();
    for lists in [&mut lists, &mut read] {
        let now_ms = NOW - 24 * HOUR;
        for swept in [false, true] {
            if swept {
                lists.sweep(now_ms, usize::MAX);
            }
            for value in ["192.0.2.1", "2001:db8::1", "alice"] {
                let found = lists.first_match(b"l", [value.as_bytes()], now_ms).unwrap();
                assert_eq!(found.until.left_ms(now_ms), Some(HOUR), "{value}");
            }
        }
        let at = |now_ms| lists.has(b"l", [&b"192.0.2.1"[..], b"alice", b"bob"], now_ms);
        let [one, alice, bob] = at(now_ms + HOUR - 1)[..] else {
            panic!()
        };
        assert!(one.is_some() && alice.is_some() && bob.is_some());
        let [one, alice, bob] = at(now_ms + HOUR)[..] else {
            panic!()
        };
        assert!(one.is_none() && alice.is_none() && bob.is_some());
    }
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
