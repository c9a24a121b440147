use super::*;
use crate::core::algorithm::lease::MAX_ID_BYTES;
use crate::core::limit::{MAX_COUNT, MAX_TIME_MS};
use crate::core::random::Random;

fn known(noted_ms: u64) -> Known {
    Known {
        noted_ms,
        ttl_ms: 1_000,
        is_allowed: true,
        taken: 1,
        stamp_ms: noted_ms,
        wait_ms: None,
    }
}

fn found(ids: &Ids, id: &[u8], now_ms: u64) -> Option<Known> {
    ids.find(id, mark(id), now_ms)
}

fn note(ids: &mut Ids, id: &[u8], known: &Known, drops: usize) {
    ids.note(id, mark(id), known, drops);
}

fn reread(ids: &Ids) -> Ids {
    let mut bytes = Vec::new();
    ids.write(&mut bytes);
    let mut source = Source(&bytes);
    let read = Ids::read(&mut source).unwrap();
    assert!(source.0.is_empty());
    read
}

/// What is remembered, as a list: the newest last.
#[derive(Default)]
struct Model(Vec<(Vec<u8>, Known)>);

impl Model {
    fn find(&self, id: &[u8], now_ms: u64) -> Option<Known> {
        let mut newest = self.0.iter().rev();
        let live = |known: &Known| known.noted_ms + known.ttl_ms > now_ms;
        newest
            .find(|(its, known)| its == id && live(known))
            .map(|(_, known)| *known)
    }

    fn forget_ended(&mut self, now_ms: u64) {
        while self
            .0
            .first()
            .is_some_and(|(_, known)| known.noted_ms + known.ttl_ms <= now_ms)
        {
            self.0.remove(0);
        }
    }
}

#[test]
fn ids_are_remembered_as_a_list_of_the_newest_would() {
    for seed in 0..2_000 {
        let mut random = Random(seed);
        let (mut ids, mut model) = (Ids::default(), Model::default());
        let mut now_ms: u64 = random.pick(&[0, 1_000, 1_700_000_000_000]);
        let mut most = 1;
        let some_id = |random: &mut Random| {
            let length = random.pick(&[1, 2, 36, 36, 36, MAX_ID_BYTES]);
            vec![random.pick(b"abcd"); length]
        };
        for _ in 0..60 {
            now_ms = match random.below(12) {
                0 => now_ms.saturating_sub(random.from(0, 3_000)),
                _ => now_ms + random.from(0, 400),
            };
            let id = some_id(&mut random);
            assert_eq!(
                found(&ids, &id, now_ms),
                model.find(&id, now_ms),
                "seed {seed}"
            );
            match random.below(10) {
                0 => {
                    let stamp_ms = now_ms.saturating_sub(random.from(0, 500));
                    ids.forget(|known| known.stamp_ms == stamp_ms);
                    model.0.retain(|(_, known)| known.stamp_ms != stamp_ms);
                }
                1 => {
                    assert_eq!(
                        ids.is_ahead(now_ms),
                        model.0.iter().any(|(_, known)| known.noted_ms > now_ms)
                    );
                    ids.rewind(now_ms);
                    for (_, known) in &mut model.0 {
                        known.noted_ms = known.noted_ms.min(now_ms);
                    }
                }
                2 if !ids.is_empty() => ids = reread(&ids),
                3 => most = usize::try_from(random.from(1, 9)).unwrap(),
                _ => {
                    ids.forget_ended(now_ms);
                    model.forget_ended(now_ms);
                    let known = Known {
                        noted_ms: now_ms,
                        ttl_ms: random.from(1, 3_000),
                        is_allowed: random.percent(80),
                        taken: random.pick(&[0, 1, 1, 7, MAX_COUNT]),
                        stamp_ms: random.pick(&[0, now_ms, now_ms / 2]),
                        wait_ms: random.pick(&[None, None, Some(0), Some(70_000)]),
                    };
                    let drops = ids.drops(most, now_ms);
                    note(&mut ids, &id, &known, drops);
                    model.0.drain(..drops);
                    model.0.push((id, known));
                    assert!(model.0.len() <= most, "seed {seed}");
                }
            }
            let live = |(_, known): &&(Vec<u8>, Known)| known.ends_ms() > now_ms;
            assert_eq!(ids.count(now_ms), model.0.iter().filter(live).count());
            let ends_ms = model.0.iter().map(|(_, known)| known.ends_ms()).max();
            assert_eq!(ids.ends_ms(), ends_ms.unwrap_or(0), "seed {seed}");
            assert_eq!(ids.is_empty(), model.0.is_empty(), "seed {seed}");
            if !ids.is_empty() {
                assert_eq!(reread(&ids), ids);
                assert!(ids.expires_ms() >= ids.ends_ms() + 1_000);
            }
        }
    }
}

#[test]
fn one_that_is_the_end_of_another_is_not_taken_for_it() {
    let mut ids = Ids::default();
    note(&mut ids, b"order-17", &known(5), 0);
    assert_eq!(found(&ids, b"order-17", 5), Some(known(5)));
    for other in [&b"17"[..], b"order-1", b"order-177", b"xorder-17", b""] {
        assert_eq!(found(&ids, other, 5), None);
    }
}

#[test]
fn nothing_past_the_bound_is_kept_whatever_a_charge_says() {
    let mut ids = Ids::default();
    for number in 0..MAX_IDS as u64 + 10 {
        note(&mut ids, &number.to_le_bytes(), &known(5), 0);
    }
    assert_eq!(ids.count(5), MAX_IDS);
    assert_eq!(found(&ids, &9_u64.to_le_bytes(), 5), None);
    assert_eq!(found(&ids, &10_u64.to_le_bytes(), 5), Some(known(5)));
    note(&mut ids, b"a", &known(6), usize::MAX);
    assert_eq!(ids.count(5), 1);
}

#[test]
fn what_was_dropped_gives_its_room_to_the_next() {
    let mut ids = Ids::default();
    for number in 0..100_000_u64 {
        let drops = ids.drops(64, 5);
        note(
            &mut ids,
            &[number.to_le_bytes(); 4].concat(),
            &known(5),
            drops,
        );
    }
    assert_eq!(ids.count(5), 64);
    // Records of 32 bytes and 13 of head: no more than twice what they take, and the marks.
    assert!(ids.heap_bytes() < 64 * 2 * 45 + 500, "{}", ids.heap_bytes());
}

#[test]
fn what_is_no_record_is_refused() {
    let mut ids = Ids::default();
    let odd = Known {
        taken: 3,
        stamp_ms: 4,
        wait_ms: Some(9),
        ..known(1_700_000_000_000)
    };
    note(&mut ids, b"abc", &odd, 0);
    let mut bytes = Vec::new();
    ids.write(&mut bytes);
    for cut in 0..bytes.len() {
        assert_eq!(Ids::read(&mut Source(&bytes[..cut])), None, "cut at {cut}");
    }
    let refused = |count: u8, record: &[u8]| {
        let length = u8::try_from(record.len()).unwrap();
        let bytes = [&[count, length], record].concat();
        Ids::read(&mut Source(&bytes)).is_none()
    };
    let record = |flags: u8, noted_ms: u64, ttl_ms: u32, rest: &[u8]| {
        let noted_ms = noted_ms.to_le_bytes();
        [&[flags][..], &noted_ms[..7], &ttl_ms.to_le_bytes(), rest].concat()
    };
    assert!(!refused(1, &record(1, 5, 7, b"a")));
    assert!(refused(0, &record(1, 5, 7, b"a")), "none is not written");
    assert!(refused(1, &record(16, 5, 7, b"a")), "an unknown flag");
    assert!(!refused(1, &record(1, MAX_TIME_MS, 7, b"a")));
    assert!(refused(1, &record(1, MAX_TIME_MS + 1, 7, b"a")), "too late");
    assert!(refused(1, &record(1, 5, 0, b"a")), "forgotten at once");
    assert!(!refused(1, &record(1, 5, 86_400_000, b"a")));
    assert!(refused(1, &record(1, 5, 86_400_001, b"a")), "for too long");
    assert!(refused(1, &record(1, 5, 7, b"")), "no id");
    assert!(
        refused(1, &record(3, 5, 7, b"\x01a")),
        "what is left out is said"
    );
    assert!(refused(1, &record(5, 5, 7, b"\x05a")));
    assert!(refused(1, &record(1, 5, 7, &[b'a'; MAX_ID_BYTES + 1])));
}

#[test]
fn after_a_step_back_of_the_clock_none_has_more_left_than_it_was_given() {
    let mut ids = Ids::default();
    let waits = Known {
        wait_ms: Some(300),
        ..known(10_000)
    };
    note(&mut ids, b"a", &waits, 0);
    assert_eq!(found(&ids, b"a", 2_000).unwrap().wait_left_ms(2_000), 300);
    ids.rewind(2_000);
    let known = found(&ids, b"a", 2_000).unwrap();
    assert_eq!((known.ends_ms(), known.wait_left_ms(2_100)), (3_000, 200));
    assert_eq!(known.stamp_ms, 10_000);
    assert_eq!(found(&ids, b"a", 3_000), None);
}
