//! The registry and the encoding, against an exact model; and what the tests beside share.

mod bytes;

use super::form::Form;
use super::recent::Recent;
use super::*;
use crate::core::bytes::source::Source;
use crate::core::bytes::varint;
use crate::core::random::Random;

pub fn hashing(seed: u64) -> RandomState {
    RandomState::with_seeds(seed, 2, 3, 4)
}

/// Some day of 2023, on the hour.
pub const START_MS: u64 = 1_699_999_200_000;

/// Of hits in the first hour.
fn recent(hits: u64) -> Recent {
    let mut recent = Recent::default();
    recent.count(hits, START_MS / HOUR_MS);
    recent
}

fn stats(names: usize, identifiers: usize) -> Stats {
    let bounds = Bounds { names, identifiers };
    Stats::new(bounds, hashing(1))
}

/// Traffic on `names` names and some 60 identifiers over two days or so.
fn busy(hits: usize, names: u64, seed: u64) -> Stats {
    let mut stats = stats(4, 8);
    let mut random = Random(seed);
    for _ in 0..hits {
        let now_ms = START_MS + random.below(50) * HOUR_MS;
        let algorithm = Algorithm::ALL[random.index(Algorithm::ALL.len())];
        let outcome = Outcome::ALL[random.index(Outcome::ALL.len())];
        let name = format!("name{}", random.below(names));
        let identifier = format!("user:{}", random.below(8) * random.below(8));
        if random.below(4) == 0 {
            stats.count_unnamed(|| identifier.as_bytes(), algorithm, outcome, now_ms);
            if outcome == Outcome::DenyListed {
                stats.count_listed(identifier.as_bytes(), now_ms);
            }
            continue;
        }
        let slot = stats.slot(name.as_bytes());
        stats.count_named(slot, identifier.as_bytes(), algorithm, outcome, now_ms);
        if random.below(4) == 0 {
            let front = stats.slot(format!("name{}", random.below(names)).as_bytes());
            stats.count_in_front(
                front,
                name.as_bytes(),
                identifier.as_bytes(),
                outcome,
                now_ms,
            );
        }
    }
    stats
}

/// All that can be read, as text.
fn everything(stats: &Stats) -> String {
    let now_ms = START_MS;
    let mut text = format!("{:?} {:?}", stats.total(), stats.total_hours(now_ms));
    text += &format!("{:?}\n{}", stats.total_days(now_ms), who(stats.unnamed()));
    text += &format!("{:?}\n", stats.most_deny_listed());
    for algorithm in Algorithm::ALL {
        let series = stats.algorithm(algorithm);
        text += &format!("{:?} {:?}", series.counts(), series.hours(now_ms));
        text += &format!("{:?}\n", series.days(now_ms));
    }
    for name in stats.names() {
        let named = stats.name(name).unwrap();
        let series = named.series();
        text += &format!("{name:?} {:?} {:?}", series.counts(), series.hours(now_ms));
        text += &format!("{:?}", named.chain());
        text += &format!("{:?} {}\n", series.days(now_ms), who(named.lists()));
    }
    text
}

fn who(lists: &IdentifierLists) -> String {
    let (allowed, denied) = (lists.most(Outcome::Allowed), lists.most(Outcome::Denied));
    format!(
        "{allowed:?} {denied:?} {:?}",
        lists.most(Outcome::ShadowDenied)
    )
}

#[test]
fn counts_are_those_of_an_exact_model() {
    let mut random = Random(7);
    let mut stats = stats(10, 8);
    let mut totals = [Counts::default(); Algorithm::ALL.len()];
    let mut names: BTreeMap<Vec<u8>, Counts> = BTreeMap::new();
    let mut cached: BTreeMap<Vec<u8>, NameSlot> = BTreeMap::new();
    let mut room = 10;
    for step in 0..200_000 {
        let algorithm = random.index(Algorithm::ALL.len());
        let outcome = Outcome::ALL[random.index(Outcome::ALL.len())];
        let name = format!("name{}", random.below(30)).into_bytes();
        match random.below(2_000) {
            0 => assert_eq!(stats.reset(Some(&name)), names.remove(&name).is_some()),
            1 if step % 4 == 0 => {
                assert!(stats.reset(None));
                totals = Default::default();
                names.clear();
            }
            2 => {
                room = 5 + random.index(10);
                stats.set_bounds(Bounds {
                    names: room,
                    identifiers: 8,
                });
            }
            3 => {
                let bytes = stats.encode();
                assert!(stats.load(&bytes));
            }
            4..500 => {
                stats.count_unnamed(|| b"user", Algorithm::ALL[algorithm], outcome, START_MS);
                totals[algorithm].count(outcome);
            }
            _ => {
                let slot = cached.entry(name.clone()).or_default();
                *slot = if slot.epoch == stats.epoch {
                    *slot
                } else {
                    stats.slot(&name)
                };
                stats.count_named(*slot, b"user", Algorithm::ALL[algorithm], outcome, START_MS);
                totals[algorithm].count(outcome);
                let others = usize::from(names.contains_key(OTHER));
                let known = names.contains_key(&name) || names.len() - others < room;
                let name = if known { name } else { OTHER.to_vec() };
                names.entry(name).or_default().count(outcome);
            }
        }
        if step % 1_000 == 0 {
            for algorithm in Algorithm::ALL {
                let counts = stats.algorithm(algorithm).counts();
                assert_eq!(counts, totals[algorithm as usize]);
            }
            let sum = totals.into_iter().fold(Counts::default(), Counts::plus);
            assert_eq!(stats.total(), sum);
            let sorted: Vec<_> = names.keys().map(Vec::as_slice).collect();
            assert_eq!(stats.names(), sorted);
            assert_eq!(stats.names_len(), sorted.len());
            for (name, counts) in &names {
                let named = stats.name(name).unwrap();
                assert_eq!(named.series().counts(), *counts);
                let hits = |list: Vec<Frequent>| list.iter().map(|it| it.count).sum::<u64>();
                let lists = named.lists();
                assert_eq!(
                    hits(lists.most(Outcome::Allowed)),
                    counts.of(Outcome::Allowed)
                );
                assert_eq!(
                    hits(lists.most(Outcome::Denied)),
                    counts.of(Outcome::Denied)
                );
                assert_eq!(
                    hits(lists.most(Outcome::ShadowDenied)),
                    counts.of(Outcome::ShadowDenied)
                );
            }
        }
    }
    assert!(names.contains_key(OTHER));
}

#[test]
fn totals_by_the_hour_and_the_day_are_the_sum_of_the_algorithms() {
    let mut stats = stats(4, 8);
    let hit = |stats: &mut Stats, algorithm, hour| {
        let now_ms = START_MS + hour * HOUR_MS;
        stats.count_unnamed(|| b"user", algorithm, Outcome::Allowed, now_ms);
    };
    hit(&mut stats, Algorithm::Fixed, 0);
    hit(&mut stats, Algorithm::Bucket, 0);
    hit(&mut stats, Algorithm::Sliding, 2);
    let hours: Vec<_> = stats
        .total_hours(START_MS)
        .iter()
        .map(|hour| {
            (
                hour.number - START_MS / HOUR_MS,
                hour.counts.of(Outcome::Allowed),
            )
        })
        .collect();
    assert_eq!(hours, [(0, 2), (2, 1)]);
    let days: Vec<_> = stats
        .total_days(START_MS)
        .iter()
        .map(|day| (day.number, day.counts.of(Outcome::Allowed)))
        .collect();
    let day = START_MS / series::DAY_MS; // it begins at 22:00
    assert_eq!(days, [(day, 2), (day + 1, 1)]);
}

#[test]
fn the_lists_tell_the_allowed_from_the_denied() {
    let mut stats = stats(4, 8);
    let slot = stats.slot(b"login");
    for (identifier, outcome, times) in [
        (b"good".as_slice(), Outcome::Allowed, 3),
        (b"bad", Outcome::Denied, 2),
        (b"\0\xff", Outcome::Denied, 2),
        (b"listed", Outcome::DenyListed, 5),
        (b"good", Outcome::ShadowDenied, 1),
    ] {
        for _ in 0..times {
            stats.count_named(slot, identifier, Algorithm::Fixed, outcome, START_MS);
        }
    }
    let exact = |identifier, count| Frequent {
        identifier,
        count,
        max_error: 0,
        recent: recent(count),
    };
    let login = stats.name(b"login").unwrap();
    let lists = login.lists();
    assert_eq!(lists.most(Outcome::Allowed), [exact(b"good", 3)]);
    assert_eq!(
        lists.most(Outcome::Denied),
        [exact(b"\0\xff", 2), exact(b"bad", 2)]
    );
    assert_eq!(lists.most(Outcome::ShadowDenied), [exact(b"good", 1)]);
    assert_eq!(login.series().counts().of(Outcome::DenyListed), 5);
    assert!(stats.name(b"logout").is_none());
}

#[test]
fn a_stale_slot_never_counts_for_a_wrong_name() {
    let make_stale: [fn(&mut Stats); 4] = [
        |stats| assert!(stats.reset(Some(b"a"))),
        |stats| assert!(stats.reset(None)),
        |stats| stats.set_bounds(Bounds::default()),
        |stats| {
            let bytes = stats.encode();
            assert!(stats.load(&bytes));
        },
    ];
    for make_stale in make_stale {
        let mut stats = stats(4, 8);
        let old = stats.slot(b"a");
        stats.slot(b"b");
        make_stale(&mut stats);
        stats.slot(b"c");
        let before: Vec<_> = [b"a", b"b", b"c"]
            .map(|name| stats.name(name).map(|named| named.series().counts()))
            .into();
        stats.count_named(old, b"x", Algorithm::Fixed, Outcome::Allowed, START_MS);
        for (name, before) in [b"a", b"b", b"c"].into_iter().zip(before) {
            let after = stats.name(name).map(|named| named.series().counts());
            assert_eq!(after, before);
        }
        let other = stats.name(OTHER).unwrap();
        assert_eq!(other.series().counts().of(Outcome::Allowed), 1);
        let new = stats.renew(old, b"a", |_| true);
        assert_ne!(new, old);
        assert_eq!(stats.renew(new, b"not looked at", |_| true), new);
        stats.count_named(new, b"x", Algorithm::Fixed, Outcome::Allowed, START_MS);
        assert_eq!(
            stats
                .name(b"a")
                .unwrap()
                .series()
                .counts()
                .of(Outcome::Allowed),
            1
        );
    }
}

#[test]
fn names_past_the_bound_share_one() {
    let mut stats = stats(2, 8);
    let a = stats.slot(b"a");
    let b = stats.slot(b"b");
    let c = stats.slot(b"c");
    let d = stats.slot(b"d");
    assert_ne!(a, b);
    assert_eq!(c, d);
    assert_eq!(c, stats.slot(OTHER));
    assert_eq!(stats.names(), [b"a".as_slice(), b"b", b"other"]);
    // Room again for one.
    assert!(stats.reset(Some(b"a")));
    assert!(!stats.reset(Some(b"a")));
    stats.slot(b"d");
    stats.slot(b"e");
    assert_eq!(stats.names(), [b"b".as_slice(), b"d", b"other"]);
}

#[test]
fn a_name_that_no_policy_can_have_is_another() {
    let mut stats = stats(2, 8);
    stats.slot(b"");
    stats.slot(&[b'x'; MAX_NAME_BYTES + 1]);
    stats.slot(&[b'x'; MAX_NAME_BYTES]);
    assert_eq!(stats.names(), [OTHER, &[b'x'; MAX_NAME_BYTES]]);
}

#[test]
fn counters_stop_at_the_largest_number() {
    const MAX: [u8; 10] = [255, 255, 255, 255, 255, 255, 255, 255, 255, 1];
    let counts = [MAX; 4].concat();
    let row = [&[1, 0], counts.as_slice()].concat();
    let series = [&counts, row.as_slice(), &row].concat();
    let top = [&[0, 1], MAX.as_slice(), &[0, 0], &MAX, &[0, 1, b'a']].concat();
    let chain = [&[1, b'z'], counts.as_slice()].concat();
    let name = [&[1, 1, b'n'], series.as_slice(), &top, &top, &top, &chain].concat();
    let algorithms = u8::try_from(Algorithm::ALL.len()).unwrap();
    let all = series.repeat(Algorithm::ALL.len());
    let bytes = [&[3, algorithms][..], &all, &[0; 8], &name].concat();
    let mut stats = stats(4, 8);
    assert!(stats.load(&bytes));
    let slot = stats.slot(b"n");
    for algorithm in Algorithm::ALL {
        for outcome in Outcome::ALL {
            stats.count_named(slot, b"a", algorithm, outcome, 0);
            stats.count_in_front(slot, b"z", b"a", outcome, 0);
        }
    }
    assert_eq!(stats.encode(), bytes);
    assert_eq!(stats.total().of(Outcome::Allowed), u64::MAX);
}

/// A hit of `POLICY acme POLICY api` is one hit, and counts for both.
#[test]
fn a_hit_counts_under_the_name_in_front_too_and_in_the_totals_once() {
    let mut stats = stats(4, 8);
    let denied = Outcome::Denied;
    let [api, acme] = [&b"api"[..], b"acme"].map(|name| stats.slot(name));
    for times in 1..=5 {
        stats.count_named(api, b"user", Algorithm::Sliding, denied, START_MS);
        if times > 2 {
            stats.count_in_front(acme, b"api", b"user", denied, START_MS);
        }
    }
    stats.count_named(acme, b"user", Algorithm::Sliding, denied, START_MS);
    stats.count_unnamed(|| b"eve", Algorithm::Sliding, denied, START_MS);
    let counts = |name: &[u8]| {
        stats
            .name(name)
            .unwrap()
            .series()
            .counts()
            .of(Outcome::Denied)
    };
    assert_eq!((counts(b"api"), counts(b"acme")), (5, 4));
    assert_eq!(
        (
            stats.total().of(Outcome::Denied),
            stats.unnamed_counts().of(Outcome::Denied)
        ),
        (7, 1)
    );
    let acme = stats.name(b"acme").unwrap();
    assert_eq!(acme.lists().most(Outcome::Denied)[0].count, 4);
    let chain = acme.chain().unwrap();
    assert_eq!(
        (&*chain.last, chain.counts.of(Outcome::Denied)),
        (&b"api"[..], 3)
    );
    assert_eq!(stats.name(b"api").unwrap().chain(), None);
    // A name that nothing can be counted under is not kept, however long; and the latest is told.
    let acme = stats.slot(b"acme");
    for (last, told) in [(vec![b'x'; 1_000], OTHER), (b"v2".to_vec(), b"v2")] {
        stats.count_in_front(acme, &last, b"user", denied, START_MS);
        let chain = stats.name(b"acme").unwrap().chain().unwrap();
        assert_eq!(&*chain.last, told);
    }
    // More hits in a chain than there are hits of the name: nobody wrote that.
    let mut bytes = stats.encode();
    assert!(stats.load(&bytes));
    let at = bytes.windows(4).position(|at| at == b"\x02v2\0").unwrap();
    assert_eq!(bytes[at + 4], 5, "of 6 that were denied");
    bytes[at + 4] = 7;
    assert!(!stats.load(&bytes));
}

/// What callers make up never takes the place of a policy's name, however much that is; and the reverse.
#[test]
fn a_policys_name_has_a_place_of_its_own() {
    let is_policy = |name: &[u8]| name.starts_with(b"policy");
    let mut stats = stats(10, 8);
    for index in 0..1_500 {
        stats.slot(format!("made up {index}").as_bytes());
    }
    assert_eq!(stats.names_len(), 11, "with the one they share");
    let other = stats.slot(OTHER);
    for index in 0..50 {
        let name = format!("policy {index}");
        let slot = stats.renew(NameSlot::default(), name.as_bytes(), is_policy);
        assert_ne!(slot, other);
        assert!(stats.name(name.as_bytes()).is_some());
    }
    assert_eq!(stats.names_len(), 61);
    // A name that was there before its policy was makes room for another.
    assert_eq!(stats.slot(b"made up too"), other);
    stats.renew(NameSlot::default(), b"made up 3", |_| true);
    assert_ne!(stats.slot(b"made up too"), other);
    assert_eq!(stats.slot(b"made up and more"), other);
    // After a load it is as before, once it is said which names are policies'.
    let bytes = stats.encode();
    assert!(stats.load(&bytes));
    let other = stats.slot(OTHER);
    stats.mark_policies(|name| is_policy(name) || name == b"made up 3");
    assert_eq!(stats.slot(b"made up and more"), other);
    assert!(stats.reset(Some(b"made up too")));
    let other = stats.slot(OTHER);
    assert_ne!(stats.slot(b"made up and more"), other);
}

/// An administrator who sets and deletes policies all day: those that are gone make room.
#[test]
fn names_of_policies_that_are_gone_make_room() {
    let mut stats = stats(0, 8);
    for index in 0..MAX_POLICY_NAMES + 100 {
        let name = format!("{index}");
        let is_policy = |other: &[u8]| other == name.as_bytes();
        stats.renew(NameSlot::default(), name.as_bytes(), is_policy);
        assert!(stats.name(name.as_bytes()).is_some());
    }
    assert_eq!(stats.names_len(), MAX_POLICY_NAMES);
    // Also where a load left more names than may be entered, of which none is a policy's.
    stats.mark_policies(|_| false);
    stats.set_bounds(Bounds {
        names: MAX_NAMES,
        identifiers: 8,
    });
    stats.policy_names = MAX_POLICY_NAMES;
    for index in 0..MAX_NAMES {
        stats.slot(format!("made up {index}").as_bytes());
    }
    stats.policy_names = 0;
    assert_eq!(stats.names_apart(), MOST_NAMES);
    stats.renew(NameSlot::default(), b"new", |name| name == b"new");
    assert!(stats.name(b"new").is_some());
    let bytes = stats.encode();
    assert!(stats.load(&bytes));
}

/// Where there are as many policies as there may be, each keeps its place, and one more waits for one to go.
#[test]
fn one_policy_more_than_there_may_be_takes_the_place_of_one_that_is_gone() {
    let mut stats = stats(10, 8);
    stats.slot(b"made up");
    for index in 0..MAX_POLICY_NAMES {
        stats.renew(NameSlot::default(), format!("{index}").as_bytes(), |_| true);
    }
    let others = stats.slot(OTHER);
    let names = stats.names_len();
    let all_are = |name: &[u8]| name != b"made up";
    assert_eq!(stats.renew(NameSlot::default(), b"new", all_are), others);
    assert_eq!(stats.names_len(), names);
    // One that is there has its own, whoever else is gone.
    let but_5 = |name: &[u8]| all_are(name) && name != b"5";
    let own = stats.renew(NameSlot::default(), b"7", but_5);
    assert_ne!(own, others);
    assert_eq!(own, stats.slot(b"7"));
    assert_eq!(stats.names_len(), names);
    // The one that is gone makes room, and nobody else does.
    let new = stats.renew(NameSlot::default(), b"new", but_5);
    assert_ne!(new, stats.slot(OTHER));
    assert_eq!(stats.names_len(), names);
    assert!(stats.name(b"5").is_none());
    assert!(stats.name(b"made up").is_some());
}

#[test]
fn a_policy_of_a_name_that_there_cannot_be_is_another() {
    let mut stats = stats(10, 8);
    for name in [b"".as_slice(), &[b'x'; MAX_NAME_BYTES + 1]] {
        let slot = stats.renew(NameSlot::default(), name, |_| true);
        assert_eq!(slot, stats.slot(OTHER));
    }
    assert_eq!(stats.names(), [OTHER]);
}

#[test]
fn hits_without_a_name_and_values_that_were_caught_have_lists() {
    let mut stats = stats(4, 8);
    for (identifier, outcome, times) in [
        (b"good".as_slice(), Outcome::Allowed, 3),
        (b"bad", Outcome::Denied, 2),
        (b"caught", Outcome::DenyListed, 5),
    ] {
        for _ in 0..times {
            stats.count_unnamed(|| identifier, Algorithm::Fixed, outcome, START_MS);
        }
    }
    stats.count_listed(b"192.0.2.7", START_MS);
    let exact = |identifier, count| Frequent {
        identifier,
        count,
        max_error: 0,
        recent: recent(count),
    };
    assert_eq!(stats.unnamed().most(Outcome::Allowed), [exact(b"good", 3)]);
    assert_eq!(stats.unnamed().most(Outcome::Denied), [exact(b"bad", 2)]);
    assert_eq!(stats.most_deny_listed(), [exact(b"192.0.2.7", 1)]);
    // Past the first thousand, about as often as they came.
    for hit in 0..80_000 {
        let identifier: &[u8] = if hit % 4 == 0 { b"good" } else { b"better" };
        stats.count_unnamed(|| identifier, Algorithm::Fixed, Outcome::Allowed, START_MS);
    }
    let list = stats.unnamed().most(Outcome::Allowed);
    assert_eq!(
        [list[0].identifier, list[1].identifier],
        [b"better".as_slice(), b"good"]
    );
    assert!((57_000..63_000).contains(&list[0].count), "{list:?}");
    assert!((18_000..22_000).contains(&list[1].count), "{list:?}");
}

#[test]
fn statistics_are_empty_until_something_is_counted() {
    assert!(stats(4, 8).is_empty());
    let mut unnamed = stats(4, 8);
    unnamed.count_unnamed(|| b"id", Algorithm::Fixed, Outcome::Allowed, START_MS);
    assert!(!unnamed.is_empty());
    let mut named = stats(4, 8);
    named.slot(b"name");
    assert!(!named.is_empty());
}
