//! The memory of the statistics and of the policies: what they say of it is what the allocator sees, and it has an end.

use crate::counting;
use ratelimit::core::limit::{Algorithm, Limit, Limits};
use ratelimit::core::node::ends::Ends;
use ratelimit::core::node::policy::{Policies, Policy, Setting, Temporary};
use ratelimit::core::node::stats::{Bounds, NameSlot, Outcome, Stats};

const HOUR_MS: u64 = 3_600_000;
const OUTCOMES: [Outcome; 4] = [
    Outcome::Allowed,
    Outcome::Denied,
    Outcome::DenyListed,
    Outcome::ShadowDenied,
];

fn hashing() -> ahash::RandomState {
    ahash::RandomState::with_seeds(1, 2, 3, 4)
}

/// Bytes that this thread holds more than when [`LIVE`] was `before`.
fn held_since(before: usize) -> usize {
    counting::bytes().wrapping_sub(before)
}

/// Asserts that `said`, of a value of `own` bytes, is what it holds on the heap, but for the few bytes by which a hash
/// table is larger than its places.
fn assert_close(said: usize, own: usize, heap: usize) {
    assert!(
        said.abs_diff(own + heap) <= 1_024,
        "{said}, not {own} + {heap}"
    );
}

/// SplitMix64.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// `hits` hits of always new, long identifiers on `names` names, `step_ms` apart; each identifier is as bad as it gets.
fn flood(stats: &mut Stats, names: u64, hits: u64, step_ms: u64) {
    for hit in 0..hits {
        let slot = stats.slot(format!("{:0128}", hit % names).as_bytes());
        let identifier = format!("{hit:0200}");
        let now_ms = hit * step_ms;
        for outcome in OUTCOMES {
            stats.count_named(
                slot,
                identifier.as_bytes(),
                Algorithm::Fixed,
                outcome,
                now_ms,
            );
            stats.count_unnamed(|| identifier.as_bytes(), Algorithm::Fixed, outcome, now_ms);
            stats.count_listed(identifier.as_bytes(), now_ms);
        }
    }
}

#[test]
fn statistics_know_their_memory_and_have_an_end() {
    let before = counting::bytes();
    let bounds = Bounds {
        names: 5,
        identifiers: 64,
    };
    let mut stats = Stats::new(bounds, hashing());
    let mut largest = 0;
    for round in 0..2 {
        // 100 days, with traffic for each name in each hour.
        flood(&mut stats, 7, 28 * 2_400, HOUR_MS / 28);
        let heap = held_since(before);
        assert_close(stats.memory_bytes(), size_of::<Stats>(), heap);
        largest = largest.max(heap);
        let bytes = stats.encode();
        assert!(stats.load(&bytes));
        let heap = held_since(before) - bytes.capacity();
        assert_close(stats.memory_bytes(), size_of::<Stats>(), heap);
        drop(bytes);
        if round == 0 {
            assert!(stats.reset(Some(&[b'0'; 128])));
            assert_close(stats.memory_bytes(), size_of::<Stats>(), held_since(before));
        }
    }
    // The documented bounds: 6 names of 1 KiB, their lists and four without a name, their series and the algorithms'.
    let lists = (6 * 3 + 4) * 64 * 235;
    let series = (6 + Algorithm::ALL.len()) * 12 * 1_024;
    assert!(largest <= 6 * 1_024 + lists + series, "{largest}");
    assert!(stats.reset(None));
    assert_eq!(counting::bytes(), before);
}

#[test]
fn a_few_statistics_know_their_memory_to_the_byte() {
    let before = counting::bytes();
    let bounds = Bounds {
        names: 100,
        identifiers: 8,
    };
    let mut stats = Stats::new(bounds, hashing());
    for names in [1, 4, 15, 60] {
        flood(&mut stats, names, 2 * names, HOUR_MS);
        let heap = held_since(before);
        // But for the control bytes that a hash table has behind those of its places.
        let behind = (size_of::<Stats>() + heap) - stats.memory_bytes();
        assert!(behind <= 16, "{behind}");
    }
}

#[test]
fn a_tracked_identifier_allocates_nothing() {
    let mut stats = Stats::new(Bounds::default(), hashing());
    let identifiers: Vec<Vec<u8>> = (0..64).map(|length| vec![b'x'; 2 + 5 * length]).collect();
    let mut slot = NameSlot::default();
    let mut hit = |stats: &mut Stats, identifier: &[u8]| {
        slot = stats.renew(slot, b"login", |_| true);
        for outcome in OUTCOMES {
            stats.count_named(slot, identifier, Algorithm::Bucket, outcome, 5);
            stats.count_unnamed(|| identifier, Algorithm::Sliding, outcome, 5);
            stats.count_listed(identifier, 5);
        }
    };
    for identifier in &identifiers {
        hit(&mut stats, identifier);
    }
    let calls = counting::calls();
    let mut state = 1;
    for _ in 0..2_000 {
        let identifier = identifiers.get((random(&mut state) % 64) as usize).unwrap();
        hit(&mut stats, identifier);
    }
    assert_eq!(counting::calls(), calls);
    let login = stats.name(b"login").unwrap();
    assert!(login
        .lists()
        .most(Outcome::Denied)
        .iter()
        .all(|entry| entry.max_error == 0));
    // Nor does a newcomer allocate that is no longer than those before it.
    let calls = counting::calls();
    for newcomer in 0..10_000_u32 {
        hit(&mut stats, &newcomer.to_be_bytes()[2..]);
    }
    assert_eq!(counting::calls(), calls);
    let login = stats.name(b"login").unwrap();
    assert!(login
        .lists()
        .most(Outcome::Denied)
        .iter()
        .any(|entry| entry.max_error > 0));
}

#[test]
fn corrupt_bytes_cannot_ask_for_more_than_they_are() {
    // Lengths that promise the most there can be, and nothing behind them.
    let most = |length: &[u8]| [&[3, 3][..], &[0; 3 * 6 + 8], length].concat();
    let payloads = [
        most(&[0xa1, 0x9c, 1]),                         // names
        [&[3, 3][..], &[9, 9, 9, 9, 0xc8, 1]].concat(), // hours
        [&[3, 3][..], &[9, 9, 9, 9, 0, 96]].concat(),   // days
        [&[2, 3][..], &[9, 9, 9, 0xf0, 0x10]].concat(), // hours of the second version
        [
            most(&[1, 1]),
            b"n".to_vec(),
            vec![9, 0, 0, 0, 0, 0, 0, 0x80, 8],
        ]
        .concat(), // identifiers
    ];
    let mut stats = Stats::new(Bounds::default(), hashing());
    for bytes in payloads {
        let calls = counting::calls();
        assert!(!stats.load(&bytes));
        // A few empty maps and vectors at most: nothing that goes by the length.
        assert!(counting::calls() - calls <= 4);
    }
}

#[test]
fn policies_know_their_memory() {
    let before = counting::bytes();
    let mut policies = Policies::new(1_000, hashing());
    let limits = || Limits::from_iter([Limit::window(5, 1_000).unwrap()]);
    for policy in 0..1_000 {
        let name = format!("{policy:0128}");
        let policy = Policy::new(Algorithm::Sliding, limits()).unwrap();
        assert!(policies
            .set(name.as_bytes(), Setting::Lasting(policy), 1)
            .is_ok());
        if name.ends_with('7') {
            let policy = Policy::new(Algorithm::Sliding, limits()).unwrap();
            let temporary = Temporary {
                policy,
                ends: Ends::at(9),
            };
            policies
                .set(name.as_bytes(), Setting::Temporary(temporary), 1)
                .unwrap();
        }
        if name.ends_with("00") {
            let heap = held_since(before) - name.capacity();
            assert_close(policies.memory_bytes(), size_of::<Policies>(), heap);
        }
    }
    for policy in 0..1_000 {
        let name = format!("{policy:0128}");
        assert!(policies.del(name.as_bytes(), 1).is_some());
    }
    assert!(policies.is_empty());
    let heap = held_since(before);
    assert!(heap <= 1_000 * 50 + 1_300, "{heap}");
}
