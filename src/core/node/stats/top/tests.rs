use super::super::tests::hashing;
use super::*;
use crate::core::random::Random;
use std::collections::BTreeMap;

#[test]
fn of_a_long_identifier_its_beginning_is_known() {
    let [whole, long] = [128, 129].map(|length| "x".repeat(length).into_bytes());
    assert_eq!(beginning(&whole), None);
    assert_eq!(beginning(&long), None); // it is not shortened
    assert_eq!(beginning(&shorten(&long)), Some(whole.as_slice()));
}

#[test]
fn an_identifier_of_the_length_that_is_kept_whole_is_read_back() {
    let whole = "x".repeat(WHOLE_IDENTIFIER);
    let entry = |identifier, count| Frequent {
        identifier,
        count,
        max_error: 0,
        recent: Recent::default(),
    };
    let list = [entry(whole.as_bytes(), 2), entry(b"y", 1)];
    let mut bytes = Vec::new();
    write(0, &list, &mut bytes);
    assert_eq!(
        read(&mut Source(&bytes), Form::SAVED),
        Some((0, list.to_vec()))
    );
    // The same one twice is no list.
    let mut bytes = Vec::new();
    write(0, &[list[1], list[1]], &mut bytes);
    assert_eq!(read(&mut Source(&bytes), Form::SAVED), None);
}

#[test]
fn a_list_of_the_most_identifiers_is_read_back_and_one_more_is_refused() {
    let hashing = hashing(1);
    let mut top = Top::default();
    for identifier in 0..MAX_IDENTIFIERS {
        top.count(&identifier.to_be_bytes(), 2, 0, MAX_IDENTIFIERS, &hashing);
    }
    let mut bytes = Vec::new();
    top.write(&mut bytes);
    let loaded = Top::default()
        .read(&mut Source(&bytes), Form::SAVED, u64::MAX, &hashing)
        .unwrap()
        .unwrap();
    assert_eq!(loaded.list(), top.list());
    // A change that leaves all there are and brings another.
    let change = |identifier: usize| {
        let mut bytes = Vec::new();
        let identifier = identifier.to_be_bytes();
        let entry = Frequent {
            identifier: &identifier,
            count: 3,
            max_error: 0,
            recent: Recent::default(),
        };
        write(0, &[entry], &mut bytes);
        top.read(&mut Source(&bytes), Form::RECORD, u64::MAX, &hashing)
    };
    let changed = change(MAX_IDENTIFIERS - 1).unwrap().unwrap();
    assert_eq!(changed.list().len(), MAX_IDENTIFIERS);
    assert!(change(MAX_IDENTIFIERS).is_none());
}

/// Ranks 0 .. `size`, rank r with a weight of 1 / (r + 1)^s; s = 0 is flat.
struct Zipf(Vec<f64>);

impl Zipf {
    fn new(size: u32, s: f64) -> Self {
        let mut sum = 0.0;
        let sums = (1..=size).map(|rank| {
            sum += f64::from(rank).powf(-s);
            sum
        });
        Self(sums.collect())
    }

    fn draw(&self, random: &mut Random) -> usize {
        let unit = f64::from(u32::try_from(random.next() >> 32).unwrap()) / 4_294_967_296.0;
        let at = unit * self.0.last().unwrap();
        self.0.partition_point(|sum| *sum <= at)
    }
}

/// The invariants that the structure lives by.
fn check(top: &Top, hashing: &RandomState) {
    assert_eq!(top.ranks.len(), top.counters.len());
    assert!(top.heads.len() >= top.counters.len());
    assert!(top
        .ranks
        .windows(2)
        .all(|pair| pair[0].count >= pair[1].count));
    for (place, rank) in top.ranks.iter().enumerate() {
        let counter = &top.counters[usize::from(rank.slot)];
        assert_eq!(usize::from(counter.rank), place);
        assert!(counter.max_error <= top.floor && top.floor <= rank.count);
        let hash = hashing.hash_one(counter.identifier.as_slice());
        assert_eq!(top.find(hash, &counter.identifier), Some(rank.slot));
    }
    let chained: usize = (0..top.heads.len())
        .map(|chain| {
            let next = |slot: &u16| Some(top.counters.get(usize::from(*slot))?.next);
            let slots = std::iter::successors(Some(top.heads[chain]), next);
            slots.filter(|slot| *slot != NONE).count()
        })
        .sum();
    assert_eq!(chained, top.counters.len());
}

/// The promises of the module's documentation, where `k` was the fewest counters.
fn check_bounds(top: &Top, exact: &BTreeMap<Vec<u8>, u64>, k: usize) {
    let hits: u64 = exact.values().sum();
    let share = hits / k as u64;
    let list = top.list();
    assert!(top.floor <= share);
    for entry in &list {
        let count = exact[entry.identifier];
        assert!(entry.max_error <= share);
        assert!((count..=count + entry.max_error).contains(&entry.count));
    }
    for (identifier, count) in exact {
        let tracked = list.iter().any(|entry| entry.identifier == identifier);
        assert!(tracked || *count <= top.floor, "{count} of {hits}");
    }
    let order = |entry: &Frequent<'_>| (Reverse(entry.count), entry.identifier.to_vec());
    assert!(list.is_sorted_by_key(order));
}

#[test]
fn every_estimate_is_within_the_bound_and_no_frequent_identifier_is_missed() {
    let hashing = hashing(1);
    for (s, size) in [
        (0.0, 10_000),
        (0.0, 100),
        (1.0, 10_000),
        (1.25, 10_000),
        (1.5, 10_000),
    ] {
        let zipf = Zipf::new(size, s);
        for k in [8, 64, 100, 1024] {
            let mut random = Random(k as u64);
            let (mut top, mut exact) = (Top::default(), BTreeMap::new());
            for hit in 0..100_000_u32 {
                let identifier = format!("user:{}", zipf.draw(&mut random)).into_bytes();
                top.count(&identifier, 1, 0, k, &hashing);
                *exact.entry(identifier).or_insert(0_u64) += 1;
                if hit.is_power_of_two() || hit % 20_000 == 0 {
                    check(&top, &hashing);
                    check_bounds(&top, &exact, k);
                }
            }
            check_bounds(&top, &exact, k);
            assert_eq!(top.list().len(), k.min(exact.len()));
            // The counts add up to the hits, from which the bound follows.
            let sum: u64 = top.list().iter().map(|entry| entry.count).sum();
            assert_eq!(sum, 100_000);
            if s == 1.5 && k == 64 {
                // On skewed traffic the worst offenders come out in order.
                let list = top.list();
                let first: Vec<_> = list.iter().take(5).map(|it| it.identifier).collect();
                assert_eq!(
                    first,
                    [b"user:0", b"user:1", b"user:2", b"user:3", b"user:4"]
                );
            }
        }
    }
}

#[test]
fn few_identifiers_are_counted_exactly() {
    let hashing = hashing(1);
    let (mut top, mut exact, mut random) = (Top::default(), BTreeMap::new(), Random(3));
    for _ in 0..10_000 {
        let identifier = random.below(64).to_be_bytes().to_vec();
        top.count(&identifier, 1, 0, 64, &hashing);
        *exact.entry(identifier).or_insert(0) += 1;
    }
    let list = top.list();
    assert_eq!(list.len(), exact.len());
    for entry in list {
        assert_eq!((entry.count, entry.max_error), (exact[entry.identifier], 0));
    }
}

/// What each identifier had in each hour, against what is told of the two latest; where not all are tracked, at most that.
#[test]
fn what_came_lately_is_exact_until_a_counter_is_taken_over_and_never_too_high() {
    let hashing = hashing(1);
    for (identifiers, k, is_exact) in [(64, 64, true), (500, 64, false), (500, 8, false)] {
        let zipf = Zipf::new(identifiers, 1.0);
        let mut random = Random(13);
        let (mut top, mut hour, mut told) = (Top::default(), 470_000, 0);
        let mut exact: BTreeMap<(Vec<u8>, u64), u64> = BTreeMap::new();
        for step in 0..20_000_u32 {
            hour += [0, 1, 2, 30][random.index(4)] * u64::from(random.below(300) == 0);
            let identifier = zipf.draw(&mut random).to_be_bytes().to_vec();
            let hits = [1, 1, 8][random.index(3)];
            top.count(&identifier, hits, hour, k, &hashing);
            *exact.entry((identifier, hour)).or_insert(0) += hits;
            if step % 500 != 0 {
                continue;
            }
            for entry in top.list() {
                for now in [hour, hour + 1, hour + 2] {
                    let of = |hour| exact.get(&(entry.identifier.to_vec(), hour)).copied();
                    let (this, before) = entry.recent.at(now);
                    let most = [now, now - 1].map(|hour| of(hour).unwrap_or(0));
                    assert!(this <= most[0] && before <= most[1]);
                    assert!(!is_exact || [this, before] == most);
                    told += this + before;
                }
            }
            let mut bytes = Vec::new();
            top.write(&mut bytes);
            let read = Top::default()
                .read(&mut Source(&bytes), Form::SAVED, u64::MAX, &hashing)
                .unwrap()
                .unwrap();
            assert_eq!(read.list(), top.list());
        }
        assert!(told > 10_000, "{told}");
    }
}

#[test]
fn a_hit_may_stand_for_several() {
    let hashing = hashing(1);
    let zipf = Zipf::new(500, 1.0);
    let (mut top, mut exact, mut random) = (Top::default(), BTreeMap::new(), Random(11));
    for step in 0..20_000_u32 {
        let identifier = zipf.draw(&mut random).to_be_bytes().to_vec();
        let hits = [1, 1, 8, 100][random.index(4)];
        top.count(&identifier, hits, 0, 32, &hashing);
        *exact.entry(identifier).or_insert(0) += hits;
        if step % 500 == 0 {
            check(&top, &hashing);
            check_bounds(&top, &exact, 32);
        }
    }
    let sum: u64 = top.list().iter().map(|entry| entry.count).sum();
    assert_eq!(sum, exact.values().sum::<u64>());
}

#[test]
fn a_changed_number_of_counters_keeps_the_bound_of_the_smallest() {
    let hashing = hashing(1);
    let zipf = Zipf::new(1_000, 1.0);
    let (mut top, mut exact, mut random) = (Top::default(), BTreeMap::new(), Random(5));
    for k in [64, 16, 200, 32, 1_024, 16] {
        for _ in 0..5_000 {
            let identifier = zipf.draw(&mut random).to_be_bytes().to_vec();
            top.count(&identifier, 1, 0, k, &hashing);
            *exact.entry(identifier).or_insert(0) += 1;
        }
        check(&top, &hashing);
        check_bounds(&top, &exact, 16);
    }
}

#[test]
fn a_number_of_counters_out_of_bounds_is_taken_as_the_nearest() {
    for (k, length) in [(0, MIN_IDENTIFIERS), (usize::MAX, MAX_IDENTIFIERS)] {
        let mut top = Top::default();
        for identifier in 0..2_000_u64 {
            top.count(&identifier.to_be_bytes(), 1, 0, k, &hashing(1));
        }
        check(&top, &hashing(1));
        assert_eq!(top.list().len(), length);
    }
}

#[test]
fn equal_hashes_are_told_apart() {
    // All in one chain: removed from its front, its middle and its end.
    let (mut top, mut random) = (Top::default(), Random(9));
    let mut sum = 0;
    for _ in 0..10_000 {
        let identifier = random.below(12).to_be_bytes();
        let slot = match top.find(42, &identifier) {
            Some(slot) => slot,
            None => top.admit(42, &identifier, 0, 8),
        };
        top.raise(slot, 1, 0);
        sum += 1;
        assert!(top.find(42, &identifier).is_some());
        assert_eq!(top.list().iter().map(|entry| entry.count).sum::<u64>(), sum);
    }
}

#[test]
fn long_identifiers_are_shortened_and_still_told_apart() {
    let hashing = hashing(1);
    let mut top = Top::default();
    let whole = [b'x'; WHOLE_IDENTIFIER];
    let (mut one, mut two) = (vec![b'x'; 1_000], vec![b'x'; 1_000]);
    one.push(1);
    two.push(2);
    for (identifier, times) in [(&whole[..], 1), (&one, 2), (&two, 3)] {
        for _ in 0..times {
            top.count(identifier, 1, 0, 8, &hashing);
        }
    }
    let list = top.list();
    let lengths: Vec<_> = list
        .iter()
        .map(|it| (it.count, it.identifier.len()))
        .collect();
    assert_eq!(lengths, [(3, 145), (2, 145), (1, 128)]);
    assert!(list[..2].iter().all(|entry| is_shortened(entry.identifier)));
    // Published test vectors of FNV-1a.
    assert_eq!(&shorten(b"")[..], b"~cbf29ce484222325");
    assert_eq!(&shorten(b"foobar")[..], b"foobar~85944171f73967e8");
}
