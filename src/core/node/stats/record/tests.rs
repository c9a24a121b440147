use super::super::series::{DAY_MS, HOUR_MS};
use super::super::tests::{hashing, START_MS};
use super::super::{Bounds, Outcome, MOST_NAMES};
use super::*;
use crate::core::limit::Algorithm;
use crate::core::random::Random;

fn stats() -> Stats {
    let bounds = Bounds {
        names: 5,
        identifiers: 8,
    };
    Stats::new(bounds, hashing(1))
}

fn hit(stats: &mut Stats, name: &str, identifier: &str, outcome: Outcome, now_ms: u64) {
    let slot = stats.slot(name.as_bytes());
    let identifier = identifier.as_bytes();
    stats.count_named(slot, identifier, Algorithm::Sliding, outcome, now_ms);
}

/// A hit or another of `names` names and `identifiers` identifiers.
fn any_hit(stats: &mut Stats, random: &mut Random, now_ms: u64) {
    let algorithm = Algorithm::ALL[random.index(Algorithm::ALL.len())];
    let outcome = Outcome::ALL[random.index(Outcome::ALL.len())];
    let identifier = format!("user:{}", random.below(6) * random.below(6));
    if random.below(5) == 0 {
        stats.count_listed(identifier.as_bytes(), now_ms);
        return stats.count_unnamed(|| identifier.as_bytes(), algorithm, outcome, now_ms);
    }
    let slot = stats.slot(format!("name:{}", random.below(8)).as_bytes());
    stats.count_named(slot, identifier.as_bytes(), algorithm, outcome, now_ms);
    if random.below(4) == 0 {
        let front = stats.slot(format!("name:{}", random.below(8)).as_bytes());
        let last = format!("name:{}", random.below(8));
        stats.count_in_front(
            front,
            last.as_bytes(),
            identifier.as_bytes(),
            outcome,
            now_ms,
        );
    }
}

/// All the records there are to come, of some `bytes` at most each.
fn records(stats: &mut Stats, bytes: usize) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| stats.next_record(bytes)).collect()
}

/// Applies up to `most` records, of some `bytes` at most.
fn follow(copy: &mut Stats, stats: &mut Stats, most: usize, bytes: usize) {
    for _ in 0..most {
        let Some(record) = stats.next_record(bytes) else {
            assert_eq!(copy.encode(), stats.encode());
            assert_eq!(stats.unwritten(), 0);
            return;
        };
        assert!(copy.apply_record(&record), "{record:x?}");
    }
}

#[test]
fn a_copy_that_follows_comes_to_be_equal() {
    for seed in 0..60 {
        let mut random = Random(seed);
        let (mut stats, mut copy) = (stats(), stats());
        let mut now_ms = START_MS;
        for _ in 0..3_000 {
            any_hit(&mut stats, &mut random, now_ms);
            now_ms += random.below(HOUR_MS / 10);
            match random.below(400) {
                0 => now_ms += random.below(100 * 24) * HOUR_MS,
                1 => now_ms -= random.below(100 * 24) * HOUR_MS,
                2..6 => now_ms -= random.below(HOUR_MS),
                // Whoever follows is told to forget, too.
                6 => {
                    stats.reset(None);
                    copy.reset(None);
                }
                7..12 => {
                    let name = format!("name:{}", random.below(8));
                    stats.reset(Some(name.as_bytes()));
                    copy.reset(Some(name.as_bytes()));
                }
                12 => stats.set_bounds(Bounds {
                    names: 1 + random.index(5),
                    identifiers: 8 + random.index(8),
                }),
                // The base of a rewritten file has some of what is still to be written.
                13..20 => assert!(copy.load(&stats.encode())),
                // And one without a preamble has nothing.
                20 => {
                    copy.reset(None);
                    stats.write_anew();
                }
                // A primary that is one no more had other hits, of the same names.
                100..103 => {
                    for _ in 0..10 {
                        let name = stats.names().into_iter().next().map(<[u8]>::to_vec);
                        let name = name.filter(|name| copy.name(name).is_some());
                        if let Some(slot) = name.map(|name| copy.slot(&name)) {
                            let outcome = Outcome::ALL[random.index(Outcome::ALL.len())];
                            let algorithm = Algorithm::Fixed;
                            copy.count_named(slot, b"lost", algorithm, outcome, now_ms);
                        }
                    }
                    stats.write_anew();
                }
                21..60 => {
                    let (most, bytes) = (random.index(4), random.index(1_000));
                    follow(&mut copy, &mut stats, most, bytes);
                }
                60..100 => follow(&mut copy, &mut stats, usize::MAX, 1_000),
                _ => {}
            }
        }
        follow(&mut copy, &mut stats, usize::MAX, 1_000);
        assert!(stats.named.iter().all(|named| !named.unwritten));
    }
}

#[test]
fn a_record_is_as_long_as_what_has_changed() {
    let mut stats = stats();
    let mut now_ms = START_MS;
    for round in 0..20_000 {
        let (name, identifier) = (format!("name:{}", round % 5), format!("user:{}", round % 7));
        hit(&mut stats, &name, &identifier, Outcome::Allowed, now_ms);
        hit(&mut stats, &name, &identifier, Outcome::Denied, now_ms);
        now_ms += HOUR_MS / 10;
    }
    assert!(stats.encode().len() > 5_000);
    records(&mut stats, 1_000);
    for outcome in Outcome::ALL {
        hit(&mut stats, "name:1", "user:1", outcome, now_ms);
    }
    let records = records(&mut stats, 1_000);
    assert_eq!(records.len(), 1);
    assert!(records[0].len() < 200, "{:x?}", records[0]);
}

/// However much has changed, a record has no more than the totals and one name past what its writer wants.
#[test]
fn a_record_is_no_longer_than_its_writer_wants() {
    let bounds = Bounds {
        names: 50,
        identifiers: 64,
    };
    let mut stats = Stats::new(bounds, hashing(1));
    for name in 0..50 {
        for user in 0..64 {
            let identifier = format!("user:{user:0>40}");
            for outcome in Outcome::ALL {
                hit(
                    &mut stats,
                    &format!("name:{name}"),
                    &identifier,
                    outcome,
                    START_MS,
                );
                let now_ms = START_MS;
                stats.count_unnamed(|| identifier.as_bytes(), Algorithm::Fixed, outcome, now_ms);
            }
            stats.count_listed(identifier.as_bytes(), START_MS);
        }
    }
    let (totals, name) = (4 * 64 * 60, 3 * 64 * 60);
    for bytes in [0, 10_000, 64 << 10] {
        let mut copy = Stats::new(bounds, hashing(1));
        stats.write_anew();
        let records = records(&mut stats, bytes);
        assert!(records
            .iter()
            .all(|record| record.len() < bytes + totals + name));
        assert!(records.len() * (bytes + totals + name) > 50 * name / 2);
        for record in records {
            assert!(copy.apply_record(&record));
        }
        assert_eq!(copy.encode(), stats.encode());
    }
}

#[test]
fn a_record_takes_one_name_more_while_it_is_shorter_than_its_writer_wants() {
    let mut stats = stats();
    for name in ["a", "b", "c"] {
        hit(&mut stats, name, "x", Outcome::Allowed, START_MS);
    }
    let mut length = |bytes| {
        stats.write_anew();
        stats.next_record(bytes).unwrap().len()
    };
    let one = length(0);
    // It ends with how many names there are, in one byte, before them.
    assert_eq!(length(one - 1), one);
    let two = length(one);
    assert!(two > one);
    assert_eq!(length(two - 1), two);
    assert!(length(two) > two);
}

/// What is written now, byte for byte.
#[test]
fn records_keep_their_bytes() {
    let mut stats = stats();
    for (identifier, outcome) in [
        ("alice", Outcome::Allowed),
        ("alice", Outcome::Allowed),
        ("bob", Outcome::Denied),
    ] {
        hit(&mut stats, "login", identifier, outcome, START_MS);
    }
    stats.count_unnamed(|| b"eve", Algorithm::Sliding, Outcome::Denied, START_MS);
    stats.count_listed(b"10.0.0.1", START_MS);
    let mut records = records(&mut stats, 1_000);
    let now_ms = START_MS + HOUR_MS;
    hit(&mut stats, "login", "bob", Outcome::Denied, now_ms);
    let slot = stats.slot(b"acme");
    stats.count_in_front(slot, b"login", b"bob", Outcome::Denied, now_ms);
    records.extend(self::records(&mut stats, 1_000));
    // START_MS is in the hour 472,222 and the day 19,675, as varints:
    let (hour, day) = ([0x9e, 0xe9, 0x1c], [0xdb, 0x99, 0x01]);
    let next_hour = [0x9f, 0xe9, 0x1c];
    assert_eq!((START_MS / HOUR_MS, START_MS / DAY_MS), (472_222, 19_675));
    let nothing = [0; 8]; // no hits, no hours from 0 on, no days
    let algorithms = u8::try_from(Algorithm::ALL.len()).unwrap();
    let others = nothing.repeat(Algorithm::ALL.len() - 2);
    let first = [
        &[3, 2, algorithms][..], // a version; all of the totals; the algorithms:
        &nothing,
        &[2, 2, 0, 0], // sliding: allowed, denied, deny-listed, shadow-denied
        &[0, 1],       // from 0 on, one hour: that one, and the same
        &hour,
        &[2, 2, 0, 0],
        &[0, 1], // and one day
        &day,
        &[2, 2, 0, 0],
        &others,
        b"\x00\x00",         // no one allowed without a name
        b"\x00\x01\x01\x00", // floor 0; one identifier: 1 hit, of which 0 may be another's,
        &hour,
        b"\x01\x00\x03eve", // in that hour 1, and none in the one before
        b"\x00\x00",
        b"\x00\x01\x01\x00",
        &hour,
        b"\x01\x00\x0810.0.0.1",
        b"\x01\x05login\x02", // one name, all of it
        &[2, 1, 0, 0],
        &[0, 1],
        &hour,
        &[2, 1, 0, 0],
        &[0, 1],
        &day,
        &[2, 1, 0, 0],
        b"\x00\x01\x02\x00",
        &hour,
        b"\x02\x00\x05alice",
        b"\x00\x01\x01\x00",
        &hour,
        b"\x01\x00\x03bob",
        b"\x00\x00",
        b"\x00", // no name behind it
    ];
    let second = [
        &[3, 1, algorithms][..], // it follows
        &nothing,
        &[2, 3, 0, 0],
        &next_hour, // from that hour on, one: at a distance of 0
        &[1, 0, 0, 1, 0, 0],
        &day, // from that day on, one
        &[1, 0, 2, 3, 0, 0],
        &others,
        &[0; 8],
        b"\x02\x05login\x01",
        &[2, 2, 0, 0],
        &next_hour,
        &[1, 0, 0, 1, 0, 0],
        &day,
        &[1, 0, 2, 2, 0, 0],
        b"\x00\x00", // no other is allowed more often
        b"\x00\x01\x02\x00",
        &next_hour,
        b"\x01\x01\x03bob", // once in each
        b"\x00\x00",
        b"\x00",
        b"\x04acme\x02",
        &[0, 1, 0, 0],
        &[0, 1],
        &next_hour,
        &[0, 1, 0, 0],
        &[0, 1],
        &day,
        &[0, 1, 0, 0],
        b"\x00\x00",
        b"\x00\x01\x01\x00",
        &next_hour,
        b"\x01\x00\x03bob",
        b"\x00\x00",
        b"\x05login", // behind it
        &[0, 1, 0, 0],
    ];
    assert_eq!(records, [first.concat(), second.concat()]);
}

/// What the first version has written, which had no list without a name, and told what was forgotten.
#[test]
fn records_of_the_first_version_are_read() {
    let hour = [0x9e, 0xe9, 0x1c];
    let nothing = [0, 0, 0, 0, 0, 0];
    let first = [
        b"\x01\x00\x01\x04gone\x01".as_slice(), // a version; not everything; one name; the algorithms:
        &nothing,
        &[3, 1, 0],
        &hour,
        &[0, 1],
        &hour,
        &[3, 1, 0],
        &nothing,
        b"\x01\x05login",
        &[2, 1, 0],
        &hour,
        &[0, 1],
        &hour,
        &[2, 1, 0],
        b"\x00\x01\x02\x00\x05alice",
        b"\x00\x01\x01\x00\x03bob",
    ]
    .concat();
    let second = [
        b"\x01\x00\x00\x01".as_slice(),
        &nothing,
        &[3, 2, 0],
        &hour,
        &hour,
        &[2],
        &hour,
        &[3, 1, 0, 0, 0, 1, 0],
        &nothing,
        b"\x01\x05login",
        &[2, 2, 0],
        &hour,
        &hour,
        &[2],
        &hour,
        &[2, 1, 0, 0, 0, 1, 0],
        b"\x00\x00",
        b"\x00\x01\x02\x00\x03bob",
    ]
    .concat();
    let mut copy = stats();
    hit(&mut copy, "gone", "x", Outcome::Allowed, START_MS);
    copy.reset(None);
    hit(&mut copy, "gone", "x", Outcome::Allowed, START_MS);
    assert!(
        copy.apply_record(&[1, 1, 0, 0, 0]),
        "everything is forgotten"
    );
    assert!(copy.is_empty());
    copy.slot(b"gone");
    for record in [&first, &second] {
        for length in 0..record.len() {
            assert!(!copy.apply_record(&record[..length]));
        }
        assert!(copy.apply_record(record));
    }
    assert_eq!(copy.names(), [b"login"]);
    assert_eq!(
        copy.algorithm(Algorithm::Sliding)
            .counts()
            .of(Outcome::Denied),
        2
    );
    assert_eq!(
        copy.name(b"login").unwrap().lists().most(Outcome::Denied)[0].count,
        2
    );
    // And what is written now follows on it.
    let mut stats = stats();
    assert!(stats.load(&copy.encode()));
    hit(&mut stats, "login", "bob", Outcome::Denied, START_MS);
    follow(&mut copy, &mut stats, usize::MAX, 1_000);
}

#[test]
fn what_cannot_follow_is_refused_and_changes_nothing() {
    let mut random = Random(3);
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..200 {
        let (mut stats, mut copy) = (stats(), stats());
        for _ in 0..random.below(60) {
            let now_ms = START_MS + random.below(5) * HOUR_MS;
            any_hit(&mut stats, &mut random, now_ms);
            if random.below(10) == 0 {
                follow(&mut copy, &mut stats, 3, 200);
            }
        }
        while let Some(record) = stats.next_record(100) {
            let before = copy.encode();
            for length in 0..record.len() {
                assert!(
                    !copy.apply_record(&record[..length]),
                    "{length} of {record:x?}"
                );
            }
            assert!(!copy.apply_record(&[record.as_slice(), &[0]].concat()));
            assert_eq!(copy.encode(), before);
            for _ in 0..200 {
                let mut bytes = record.clone();
                let at = random.index(bytes.len());
                bytes[at] = random.next().to_le_bytes()[0];
                let before = copy.encode();
                if copy.apply_record(&bytes) {
                    accepted += 1;
                    let after = copy.encode();
                    assert!(copy.load(&after), "what was taken can be saved and loaded");
                    assert!(copy.load(&before));
                } else {
                    refused += 1;
                    assert_eq!(copy.encode(), before, "{bytes:x?}");
                }
            }
            assert!(copy.apply_record(&record));
        }
        assert_eq!(copy.encode(), stats.encode());
    }
    assert!(accepted > 1_000 && refused > 1_000, "{accepted} {refused}");
}

/// As where somebody sends records to a server that counts: what comes of it is nobody's intent, but sound.
#[test]
fn a_record_may_come_between_hits() {
    let mut applied = 0;
    for seed in 0..300 {
        let mut random = Random(seed);
        let (mut stats, mut other) = (stats(), stats());
        for _ in 0..200 {
            let hour = random.below(40) + 2_100 * random.below(3);
            let now_ms = START_MS + hour * HOUR_MS;
            any_hit(&mut stats, &mut random, now_ms);
            any_hit(&mut other, &mut random, now_ms);
            if random.below(60) == 0 {
                other.write_anew();
            }
            if random.below(10) == 0 {
                let record = other.next_record(300).unwrap();
                applied += usize::from(stats.apply_record(&record));
                let bytes = stats.encode();
                let mut loaded = self::stats();
                assert!(loaded.load(&bytes));
                assert_eq!(loaded.encode(), bytes);
            }
        }
        let mut copy = self::stats();
        stats.write_anew();
        follow(&mut copy, &mut stats, usize::MAX, 1_000);
    }
    assert!(applied > 500, "{applied}");
}

#[test]
fn a_name_past_the_most_is_refused() {
    let record = |index: usize| {
        let mut stats = stats();
        let name = format!("{index}");
        hit(&mut stats, &name, "x", Outcome::Allowed, START_MS);
        stats.next_record(1_000).unwrap()
    };
    let mut copy = stats();
    for index in 0..MOST_NAMES {
        assert!(copy.apply_record(&record(index)));
    }
    assert!(!copy.apply_record(&record(MOST_NAMES)));
    assert!(copy.apply_record(&record(MOST_NAMES - 1)));
    // There is always room for `other`.
    hit(&mut copy, "one more", "x", Outcome::Allowed, START_MS);
    assert_eq!(copy.names_len(), MOST_NAMES + 1);
    assert!(!copy.apply_record(&record(MOST_NAMES)));
    let bytes = copy.encode();
    assert!(copy.load(&bytes));
}

/// A record of the first version without totals: whether all is forgotten first, names that are, and names without a hit.
fn names_of_the_first_version(
    everything: bool,
    forgotten: &[String],
    brought: &[String],
) -> Vec<u8> {
    let mut bytes = vec![1, u8::from(everything)];
    varint::write(&mut bytes, forgotten.len() as u64);
    for name in forgotten {
        write_string(&mut bytes, name.as_bytes());
    }
    bytes.push(0);
    varint::write(&mut bytes, brought.len() as u64);
    for name in brought {
        write_string(&mut bytes, name.as_bytes());
        bytes.extend([0; 6 + 2 + 2]);
    }
    bytes
}

#[test]
fn one_record_may_forget_and_bring_as_many_names_as_there_may_be() {
    let mut all: Vec<_> = (0..MOST_NAMES).map(|index| format!("{index:05}")).collect();
    all.push("other".to_owned());
    let more = [all.as_slice(), &["p".to_owned()]].concat();
    let (new, none) = (&more[MOST_NAMES + 1..], &[]);
    let mut copy = stats();
    let mut apply = |forgotten: &[String], brought: &[String]| {
        copy.apply_record(&names_of_the_first_version(false, forgotten, brought))
    };
    assert!(!apply(&more, none));
    assert!(!apply(none, &more));
    assert!(apply(&all, none));
    assert!(apply(none, &all));
    // Now there is no room, but that of one that goes.
    assert!(!apply(none, new));
    assert!(apply(&all[7..8], new));
    assert!(!apply(none, &all[7..8]));
    assert_eq!(copy.names_len(), MOST_NAMES + 1);
}

#[test]
fn what_follows_on_a_name_that_is_forgotten_begins_with_nothing() {
    let name = ["n".to_owned()];
    for (everything, forgotten, is_applied) in [
        (true, [].as_slice(), true),
        (false, &name, true),
        (false, &[], false), // or else a hit would be taken back
    ] {
        let mut copy = stats();
        hit(&mut copy, "n", "x", Outcome::Allowed, START_MS);
        let record = names_of_the_first_version(everything, forgotten, &name);
        assert_eq!(copy.apply_record(&record), is_applied);
        let allowed = copy
            .name(b"n")
            .unwrap()
            .series()
            .counts()
            .of(Outcome::Allowed);
        assert_eq!(allowed, u64::from(!is_applied));
    }
}

/// Nobody gets there by hits, but by bytes.
#[test]
fn at_the_largest_number_a_record_is_sound_or_refused() {
    const MAX: [u8; 10] = [255, 255, 255, 255, 255, 255, 255, 255, 255, 1];
    let hour = START_MS / HOUR_MS;
    let head = |counts: &[u8], from: u64| {
        let mut bytes = [b"\x01\x00\x00\x00\x01\x01p".as_slice(), counts, &[0, 0, 0]].concat();
        varint::write(&mut bytes, from);
        bytes
    };
    // Ten hits; then an hour with more of them than there were.
    let mut stats = stats();
    for _ in 0..10 {
        hit(&mut stats, "p", "x", Outcome::Allowed, START_MS);
    }
    let mut less = MAX;
    less[0] -= 5;
    let mut bytes = head(&less, hour);
    bytes.push(1);
    varint::write(&mut bytes, hour);
    bytes.extend([MAX.as_slice(), &[0, 0, 0, 0, 0, 0]].concat());
    assert!(!stats.apply_record(&bytes));
    // A list whose smallest count cannot grow.
    let mut stats = self::stats();
    let list = [MAX.as_slice(), &[1], &MAX, &[0, 1, b'k']].concat();
    let bytes = [head(&MAX, 0).as_slice(), &[0], &list, &[0, 0]].concat();
    assert!(stats.apply_record(&bytes), "it may be what was counted");
    for index in 0..20 {
        let identifier = format!("{index}");
        hit(&mut stats, "p", &identifier, Outcome::Allowed, START_MS);
        let bytes = stats.encode();
        assert!(stats.load(&bytes));
    }
}

/// Where nobody writes, whoever resets and hits in turn must not fill the memory.
#[test]
fn what_is_unwritten_is_bounded() {
    let mut stats = stats();
    let mut most = 0;
    for index in 0..30_000 {
        let name = format!("{index:0>128}");
        hit(&mut stats, &name, "x", Outcome::Allowed, START_MS);
        assert!(stats.reset(Some(name.as_bytes())));
        most = most.max(stats.memory_bytes());
    }
    assert!(most < 10_000, "{most}");
}
