//! What a limiter says of its memory, against an allocator that counts.

use crate::counting;
use ratelimit::core::algorithm::meter::Allocations;
use ratelimit::core::calendar::Window;
use ratelimit::core::limit::{Algorithm, Limit};
use ratelimit::core::limiter::{Block, Limiter, Noted};
use ratelimit::core::quote::regional::LocalRegion;
use ratelimit::core::quote::{self, Hit, HitOptions, Quote};
use ratelimit::core::region::origin::Region;
use ratelimit::core::span::Span;
use smallvec::{Array, SmallVec};
use std::num::NonZero;

/// Counts the boxes that it is shown, and the vectors that are allocated.
struct Shown(usize);

impl Allocations for Shown {
    fn visit<A: Array>(&mut self, vec: &mut SmallVec<A>) {
        self.0 += usize::from(vec.spilled());
    }

    fn visit_box<T>(&mut self, _place: &mut Box<T>) {
        self.0 += 1;
    }
}

/// A state that `hits` make, a millisecond apart.
fn made_by<'a>(hits: impl IntoIterator<Item = Hit<'a>>) -> Limiter {
    let mut state: Option<Limiter> = None;
    for (hit, now_ms) in hits.into_iter().zip(1_000_000..) {
        let mut quoted = Quote::default();
        let mut held = state.as_mut().map(Limiter::held);
        quote::quote(
            held.as_ref().map(|held| held.by_ref()),
            &hit,
            now_ms,
            true,
            &mut quoted,
        )
        .expect("a sound hit");
        let made = quote::commit(held.as_mut(), &hit, quoted.change, now_ms).expect("a sound hit");
        state = made.or(state);
    }
    state.expect("it was charged")
}

/// Whether what the limiter says is what is allocated for it, and that every allocated vector can be moved.
fn assert_known(what: &str, make: impl Fn() -> Limiter) {
    drop(make()); // its limits have their numbers
    let (bytes, blocks) = (counting::bytes(), counting::blocks());
    let mut limiter = make();
    let held = counting::bytes().wrapping_sub(bytes);
    let allocated = counting::blocks().wrapping_sub(blocks) - 1; // its own box
    let mut shown = Shown(0);
    limiter.held().visit_allocations(&mut shown);
    // The table of a key's leases cannot be shown: it is not a vector.
    let tables = usize::from(matches!(limiter, Limiter::Lease(_)));
    assert_eq!(shown.0 + tables, allocated, "{what}");
    assert_eq!(limiter.bytes(), held, "{what}");
}

/// In a process of its own, as others' limits may have all the numbers.
#[test]
fn a_key_takes_sixteen_bytes_again_once_it_has_one_window() {
    let limit = |units, ms| Limit::window(units, ms).expect("a sound limit");
    let both = [limit(100, 10), limit(100, 3_600_000)];
    let (short, long) = ([both[0]], [both[1]]);
    let bytes = |hits: &[&[Limit]]| {
        let hit = |limits| Hit::new(Algorithm::Fixed, limits, 1);
        let limiter = made_by(hits.iter().map(|limits| hit(limits)));
        limiter.bytes()
    };
    assert_eq!(bytes(&[&short]), 16);
    assert!(bytes(&[&short, &long]) > 16);
    let then_long = [&long[..]; 12]; // a millisecond each: the short window is over
    assert_eq!(bytes(&[&[&short[..]], &then_long[..]].concat()), 16);
}

#[test]
fn a_sliding_key_takes_thirty_two_bytes_while_its_log_is_short() {
    let limits = [Limit::window(1_000, 3_600_000).expect("a sound limit")];
    let bytes = |costs: &[i64]| {
        let hits = costs
            .iter()
            .map(|cost| Hit::new(Algorithm::Sliding, &limits, *cost));
        made_by(hits).bytes()
    };
    assert_eq!([bytes(&[1]), bytes(&[1; 8])], [32; 2]);
    let long = bytes(&[1; 9]);
    assert_eq!(long, 32 + 80);
    // An entry takes a byte, and the room for them an eighth more than they take when it is made.
    let room = [17, 33, 49, 65, 81, 97, 113, 128].map(|hits| bytes(&vec![1; hits]) - 32 - 80);
    assert_eq!(room, [32, 48, 64, 80, 96, 112, 128, 128]);
    // Of two bytes each: 130 and an eighth.
    assert_eq!(bytes(&[3; 65]) - 32 - 80, 160);
    // The next hits need not make it too long again: half of the room is to be free.
    let given_back = |cost| bytes(&[&[1; 12][..], &[cost]].concat());
    assert_eq!([given_back(-7), given_back(-8)], [long, 32]);
}

#[test]
fn a_limiter_knows_its_memory_and_shows_its_vectors() {
    let windows = |windows: &[u64]| -> Vec<Limit> {
        let limit = |window: &u64| Limit::window(1_000, *window).expect("a sound hit");
        windows.iter().map(limit).collect()
    };
    let (one, five) = (
        windows(&[60_000]),
        windows(&[1_000, 2_000, 3_000, 4_000, 5_000]),
    );
    let buckets = |intervals: &[u64]| -> Vec<Limit> {
        let limit = |interval: &u64| Limit::bucket(1_000, 10, *interval).expect("a sound hit");
        intervals.iter().map(limit).collect()
    };
    let (bucket, five_buckets) = (
        buckets(&[1_000]),
        buckets(&[1_000, 2_000, 3_000, 4_000, 5_000]),
    );
    for (algorithm, limits) in [
        (Algorithm::Fixed, &one),
        (Algorithm::Fixed, &five),
        (Algorithm::Sliding, &one),
        (Algorithm::Sliding, &five),
        (Algorithm::Bucket, &bucket),
        (Algorithm::Bucket, &five_buckets),
    ] {
        for hits in [1, 200] {
            let make = || made_by((0..hits).map(|_| Hit::new(algorithm, limits, 1)));
            assert_known(&format!("{hits} hits, {algorithm:?}, {limits:?}"), make);
            let blocked = || {
                let block = Block {
                    until_ms: 2,
                    length_ms: 1,
                    strikes: NonZero::<u32>::MIN,
                };
                let mut noted = Noted::of(Some(make()));
                noted.notes.block = Some(block);
                Limiter::Noted(Box::new(noted))
            };
            assert_known(
                &format!("blocked after {hits} hits, {algorithm:?}, {limits:?}"),
                blocked,
            );
        }
    }
    // Ids of 36 bytes, also where earlier ones have been dropped.
    let names: Vec<String> = (0..150).map(|number| format!("{number:036}")).collect();
    let once: Vec<_> = names
        .iter()
        .map(|id| HitOptions {
            id: id.as_bytes(),
            ..HitOptions::NONE
        })
        .collect();
    for count in [1, 2, 64, 150] {
        let hits = once.iter().take(count).map(|options| Hit {
            options,
            ..Hit::new(Algorithm::Fixed, &one, 1)
        });
        let make = || made_by(hits.clone());
        assert_known(&format!("{count} ids"), make);
        println!("{count} ids: {} bytes", make().bytes());
    }
    // Each region has a part of its own.
    let regions: Vec<_> = (0..5)
        .map(|number| HitOptions {
            here: Some(LocalRegion {
                region: Region::parse(format!("r{number}").as_bytes()).expect("a name"),
                term: 0,
                due: 0,
                share: None,
            }),
            ..HitOptions::NONE
        })
        .collect();
    for (algorithm, limits) in [
        (Algorithm::Fixed, &one),
        (Algorithm::Sliding, &five),
        (Algorithm::Bucket, &five_buckets),
    ] {
        for count in [1, 5] {
            let hits = (0..200).map(|hit| Hit {
                options: &regions[hit * count / 200],
                ..Hit::new(algorithm, limits, 1)
            });
            assert_known(&format!("{count} regions, {algorithm:?}"), || {
                made_by(hits.clone())
            });
        }
    }
    let stamp = HitOptions {
        stamp: true,
        ..HitOptions::NONE
    };
    let stamped = || {
        made_by([Hit {
            options: &stamp,
            ..Hit::new(Algorithm::Bucket, &five_buckets, 1)
        }])
    };
    assert_known("stamped", stamped);
    let reserve = HitOptions {
        reserve_ms: Some(1_000_000_000),
        ..HitOptions::NONE
    };
    for buckets in [&five_buckets[..1], &five_buckets[..]] {
        let most = buckets.iter().map(Limit::limit).min().unwrap_or(1);
        let reserved = || {
            let hit = Hit {
                options: &reserve,
                ..Hit::new(Algorithm::Bucket, buckets, most.cast_signed())
            };
            let state = made_by([hit, hit]);
            assert!(matches!(state, Limiter::Reserved(_)));
            state
        };
        assert_known("reserved", reserved);
    }

    let weeks =
        |count: u32| Limit::spanning(9, Span::parse(format!("{count}w@thu").as_bytes()).unwrap());
    let dated: Vec<_> = (1..=5).map(|count| weeks(count).unwrap()).collect();
    let windows = [Window {
        start_ms: 1,
        end_ms: 2_000_000,
    }; 5];
    let options = HitOptions {
        windows: &windows,
        ..HitOptions::NONE
    };
    let hit = Hit {
        options: &options,
        ..Hit::new(Algorithm::Fixed, &dated, 1)
    };
    assert_known("calendar windows", || made_by([hit]));
    let ids = |length: usize, ids: u64| -> Vec<Vec<u8>> {
        (0..ids)
            .map(|id| format!("{id:0length$}").into_bytes())
            .collect()
    };
    for (length, count) in [(4, 1), (4, 2), (40, 1), (40, 3), (4, 5), (64, 300)] {
        let ids = ids(length, count);
        let all_options: Vec<_> = ids
            .iter()
            .map(|id| HitOptions {
                id,
                ..HitOptions::NONE
            })
            .collect();
        let hits = all_options.iter().map(|options| Hit {
            options,
            ..Hit::new(Algorithm::Lease, &one, 1)
        });
        assert_known(&format!("{count} leases of {length} bytes"), || {
            made_by(hits.clone())
        });
    }
}
