//! The parts of a node: what one node sends on makes another equal, and what is none of them changes nothing.

use super::*;
use crate::core::limit::{Limit, Limits};
use crate::core::random::Random;
use deny::{Until, Values};
use ends::Ends;
use policy::{Policy, ShadowPolicy, Temporary};

const NOW: u64 = 1_700_000_000_000;

fn bounds() -> Bounds {
    Bounds {
        policies: 20,
        deny: deny::Bounds {
            lists: 5,
            entries: 100,
            text_bytes: 200,
        },
        stats: stats::Bounds {
            names: 5,
            identifiers: 8,
        },
    }
}

fn node() -> Node {
    Node::new(&bounds(), [1, 2, 3, 4])
}

fn everything(node: &Node) -> [Vec<u8>; 3] {
    node.encode(NOW)
}

fn policy(limit: u64) -> Policy {
    let limit = Limit::window(limit, 1_000).unwrap();
    Policy::new(Algorithm::Fixed, Limits::from_iter([limit])).unwrap()
}

fn values<'a>(texts: &[&'a str]) -> Values<'a> {
    Values::read(texts.iter().map(|text| text.as_bytes())).unwrap()
}

/// Changes a node at random, and returns what is sent on.
fn change(node: &mut Node, random: &mut Random) -> Option<Vec<u8>> {
    let name = format!("name{}", random.below(6));
    let name = name.as_bytes();
    let ends_ms = NOW + 1 + random.below(9);
    match random.below(6) {
        0 => {
            let policy = policy(random.below(9));
            let setting = match random.below(2) {
                0 => Setting::Lasting(policy),
                _ => Setting::Temporary(Temporary {
                    policy,
                    ends: Ends::given(ends_ms, 1 + random.below(20)),
                }),
            };
            node.policies.set(name, setting.clone(), NOW).unwrap();
            Some(Part::Setting.payload(&policy::encode_setting(name, &setting)))
        }
        1 => {
            let text = format!("10.0.0.{}", random.below(30));
            let values = values(&[&text, "alice"]);
            let until = match random.below(2) {
                0 => Until::Forever,
                _ => Until::At(Ends::given(ends_ms, 1 + random.below(20))),
            };
            node.deny
                .add(name, &values, until, NOW, &deny::Bounds::NONE)
                .unwrap();
            Some(Part::Entries.payload(&values.encode(name, until)))
        }
        2 => {
            let new = format!("name{}", random.below(6));
            node.deny.rename(name, new.as_bytes(), NOW).ok()?;
            Some(Part::Rename.payload(&encode_rename(name, new.as_bytes())))
        }
        3 => node.next_record(),
        _ => {
            let names = [&b"acme"[..], b"api", name];
            let names = &names[random.index(4)..];
            let user = format!("user{}", random.below(5));
            let outcome = [Outcome::Allowed, Outcome::Denied, Outcome::DenyListed];
            let outcome = outcome[random.index(3)];
            node.count(names, || user.as_bytes(), Algorithm::Fixed, outcome, NOW);
            None
        }
    }
}

#[test]
fn what_is_sent_on_makes_another_node_equal() {
    for seed in 0..30 {
        let mut random = Random(seed);
        let (mut one, mut other) = (node(), Node::new(&bounds(), [9, 8, 7, 6]));
        for _ in 0..300 {
            if let Some(payload) = change(&mut one, &mut random) {
                other.apply(&payload, Sender::Peer, NOW).unwrap();
            }
        }
        while let Some(payload) = one.next_record() {
            other.apply(&payload, Sender::Peer, NOW).unwrap();
        }
        assert_eq!(everything(&other), everything(&one));
        // And so does all of it at once, and a file.
        let mut third = node();
        one.parts(NOW, |payload| {
            third.apply(&payload, Sender::Peer, NOW).unwrap();
        });
        one.stats.write_anew();
        while let Some(payload) = one.next_record() {
            third.apply(&payload, Sender::Peer, NOW).unwrap();
        }
        assert_eq!(everything(&third), everything(&one));
        let mut loaded = node();
        let [policies, deny, stats] = everything(&one);
        assert!(loaded.load([&policies, &deny, &stats]));
        assert_eq!(everything(&loaded), everything(&one));
    }
}

/// Bytes that are no payload, and payloads cut short or changed: applied as they say, or refused with nothing changed.
#[test]
fn mutated_payloads_are_refused_or_applied() {
    let mut random = Random(5);
    let mut payloads = Vec::new();
    let mut node = node();
    while payloads.len() < 200 {
        payloads.extend(change(&mut node, &mut random));
    }
    let [policies, deny, stats] = everything(&node);
    let bounds = bounds();
    let (mut applied, mut refused) = (0, 0);
    for round in 0..6_000 {
        let mut bytes = payloads[round % payloads.len()].clone();
        for _ in 0..random.below(3) {
            let at = random.index(bytes.len().max(1));
            match random.below(4) {
                _ if bytes.is_empty() => {}
                0 => bytes[at] = random.byte(),
                1 => bytes.insert(at, random.byte()),
                2 => bytes.truncate(at),
                _ => drop(bytes.remove(at)),
            }
        }
        let sender = match round % 2 {
            0 => Sender::Peer,
            _ => Sender::Client(&bounds),
        };
        assert!(node.load([&policies, &deny, &stats]));
        let before = everything(&node);
        match node.apply(&bytes, sender, NOW) {
            Ok(_) => applied += 1,
            Err(_) => {
                refused += 1;
                assert_eq!(everything(&node), before, "{bytes:x?}");
            }
        }
        // Whatever it was, it can be saved and loaded.
        let [policies, deny, stats] = everything(&node);
        let mut loaded = self::node();
        assert!(loaded.load([&policies, &deny, &stats]));
    }
    assert!(applied > 1_000 && refused > 1_000, "{applied} {refused}");
}

/// What a primary has accepted under its bounds is taken; a client has to keep to the bounds of here.
#[test]
fn a_client_keeps_to_the_bounds_and_a_peer_need_not() {
    let bounds = bounds();
    let mut many = Policies::new(100, RandomState::with_seeds(1, 2, 3, 4));
    for name in 0..30_u8 {
        many.put(&[name], Setting::Lasting(policy(1)), NOW);
    }
    let texts: Vec<String> = (0..120).map(|n| format!("10.0.0.{n}")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    for (payload, error) in [
        (
            Part::Policies.payload(&many.encode(NOW)),
            Error::TooManyPolicies { max: 20 },
        ),
        (
            Part::Entries.payload(&values(&texts).encode(b"l", Until::Forever)),
            Error::TooManyEntries {
                max: 100,
                have: 0,
                adding: 120,
            },
        ),
        (
            Part::Entries.payload(&values(&[&"x".repeat(201)]).encode(b"l", Until::Forever)),
            Error::TooMuchText {
                max: 200,
                have: 0,
                adding: 201,
            },
        ),
    ] {
        let mut node = node();
        let client = Sender::Client(&bounds);
        assert_eq!(node.apply(&payload, client, NOW), Err(error));
        assert!(node.is_empty());
        assert!(node.apply(&payload, Sender::Peer, NOW).is_ok());
        assert!(!node.is_empty());
    }
}

/// Where the AOF lags behind what was counted, a record that a client sends may follow here and not there. So none is sent
/// on as it came, and what is sent on then has everything.
#[test]
fn a_clients_record_of_statistics_is_told_as_the_nodes_own() {
    let bounds = bounds();
    let hit = |node: &mut Node, times| {
        for _ in 0..times {
            let allowed = Outcome::Allowed;
            node.count(&[b"p"], || b"user", Algorithm::Fixed, allowed, NOW);
        }
    };
    let (mut here, mut aof) = (node(), node());
    hit(&mut here, 5);
    let first = here.next_record().unwrap();
    aof.apply(&first, Sender::Peer, NOW).unwrap();
    hit(&mut here, 5);
    // A record that follows on these ten hits, which the file does not know yet.
    let [policies, deny, stats] = everything(&here);
    let mut sender = node();
    assert!(sender.load([&policies, &deny, &stats]));
    hit(&mut sender, 1);
    let record = sender.next_record().unwrap();
    let client = Sender::Client(&bounds);
    assert_eq!(here.apply(&record, client, NOW), Ok(Part::Stats));
    while let Some(told) = here.next_record() {
        assert_eq!(aof.apply(&told, Sender::Peer, NOW), Ok(Part::Stats));
    }
    assert_eq!(everything(&aof), everything(&here));
    let counts = here.stats.name(b"p").unwrap().series().counts();
    assert_eq!(counts.of(Outcome::Allowed), 11);
}

#[test]
fn a_list_that_has_ended_elsewhere_is_renamed_to_nothing() {
    let mut node = node();
    node.deny
        .add(
            b"new",
            &values(&["x"]),
            Until::Forever,
            NOW,
            &deny::Bounds::NONE,
        )
        .unwrap();
    let rename = |old: &[u8], new: &[u8]| Part::Rename.payload(&encode_rename(old, new));
    let long = [b'n'; 128];
    for new in [&b""[..], &[b'n'; 129]] {
        assert!(node.apply(&rename(b"new", new), Sender::Peer, NOW).is_err());
    }
    assert!(node
        .apply(&rename(b"new", &long), Sender::Peer, NOW)
        .is_ok());
    assert!(node
        .apply(&rename(&long, b"new"), Sender::Peer, NOW)
        .is_ok());
    assert!(node
        .apply(&rename(b"gone", b"new"), Sender::Peer, NOW)
        .is_ok());
    assert!(node.deny.is_empty());
}

#[test]
fn as_many_policies_as_there_may_be_come_in_at_once() {
    let mut many = node();
    for name in 0..bounds().policies {
        let setting = Setting::Lasting(policy(1));
        let name = name.to_string();
        many.policies.set(name.as_bytes(), setting, NOW).unwrap();
    }
    let payload = Part::Policies.payload(&many.policies.encode(NOW));
    let bounds = bounds();
    let applied = node().apply(&payload, Sender::Client(&bounds), NOW);
    assert_eq!(applied, Ok(Part::Policies));
}

#[test]
fn only_a_clients_record_that_was_taken_is_told_anew() {
    let mut from = node();
    let id = || b"id".as_slice();
    from.count(&[b"a"], id, Algorithm::Fixed, Outcome::Allowed, NOW);
    let record = from.next_record().unwrap();
    let bounds = bounds();
    let mut to = node();
    assert!(to.apply(&record, Sender::Peer, NOW).is_ok());
    assert_eq!((to.stats.unwritten(), to.next_record()), (0, None));
    let cut = &record[..record.len() - 1];
    assert!(to.apply(cut, Sender::Client(&bounds), NOW).is_err());
    assert_eq!(to.stats.unwritten(), 0);
    assert!(to.apply(&record, Sender::Client(&bounds), NOW).is_ok());
    assert_eq!(to.stats.unwritten(), 2); // the totals and the name
}

#[test]
fn a_nodes_memory_grows_by_what_each_of_its_parts_does() {
    type Memory = fn(&Node) -> usize;
    type Change = fn(&mut Node);
    let mut node = node();
    let changes: [(Memory, Change); 3] = [
        (
            |node| node.policies.memory_bytes(),
            |node| {
                let setting = Setting::Lasting(policy(5));
                node.policies.set(b"login", setting, NOW).unwrap();
            },
        ),
        (
            |node| node.deny.memory_bytes(),
            |node| {
                let (values, bounds) = (values(&["alice"]), deny::Bounds::NONE);
                node.deny
                    .add(b"list", &values, Until::Forever, NOW, &bounds)
                    .unwrap();
            },
        ),
        (
            |node| node.stats.memory_bytes(),
            |node| {
                let (algorithm, outcome) = (Algorithm::Fixed, Outcome::Denied);
                node.count(&[b"login"], || b"alice", algorithm, outcome, NOW);
            },
        ),
    ];
    for (part, change) in changes {
        let (all_before, part_before) = (node.memory_bytes(), part(&node));
        change(&mut node);
        assert!(part(&node) > part_before);
        assert_eq!(node.memory_bytes() - all_before, part(&node) - part_before);
    }
}

/// Policies as an RDB file has them, and one setting as it travels. `REGENERATE_GOLDEN=1` writes the files anew: only for a new
/// version.
#[test]
fn golden_policies_are_written_and_read_as_ever() {
    let mut node = node();
    let ends = Ends::given(NOW + 5_000, 60_000);
    let bucket = Limit::bucket(20, 5, 1_000).unwrap();
    let bucket = Policy::new(Algorithm::Bucket, Limits::from_iter([bucket])).unwrap();
    let shadow = Setting::Shadow(ShadowPolicy {
        policy: policy(2),
        ends: Some(ends),
    });
    for (name, setting) in [
        (&b"api"[..], Setting::Lasting(policy(5))),
        (
            b"api",
            Setting::Temporary(Temporary {
                policy: policy(3),
                ends,
            }),
        ),
        (b"api", shadow.clone()),
        (b"bursts", Setting::Lasting(bucket)),
        (
            b"tried",
            Setting::Shadow(ShadowPolicy {
                policy: policy(9),
                ends: None,
            }),
        ),
    ] {
        node.policies.set(name, setting, NOW).unwrap();
    }
    let written = [
        ("policies", node.policies.encode(NOW)),
        ("setting", policy::encode_setting(b"api", &shadow)),
    ];
    for (name, bytes) in &written {
        let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/node-2");
        let path = golden.join(name).with_extension("hex");
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        if std::env::var_os("REGENERATE_GOLDEN").is_some() {
            std::fs::write(&path, format!("{digits}\n")).unwrap();
        }
        let read = std::fs::read_to_string(&path).unwrap();
        assert_eq!(read.trim_end(), digits, "{name}");
    }
    let mut loaded = self::node();
    assert!(loaded.policies.load(&written[0].1));
    assert_eq!(loaded.policies.encode(NOW), written[0].1);
    let (name, read) = policy::decode_setting(&written[1].1).unwrap();
    assert_eq!((name, read), (&b"api"[..], shadow));
}
