//! Deny lists against slow, obvious models.

mod bytes;
mod matching;
mod room;

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
