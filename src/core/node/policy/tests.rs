//! Policies against an exact model, and their bytes.

mod bytes;

use super::super::stats::tests::hashing;
use super::super::stats::{Bounds, Outcome, Stats};
use super::encoding::VERSION;
use super::*;
use crate::core::bytes::varint;
use crate::core::duration;
use crate::core::limit::MAX_COUNT;
use crate::core::limit::{Limit, Limits, MAX_TIME_MS};
use crate::core::node::ends::Ends;
use crate::core::random::Random;
use crate::core::span::Span;
use std::collections::BTreeMap;

const NOW: u64 = 1_700_000_000_000;

fn policies(max: usize) -> Policies {
    Policies::new(max, hashing(1))
}

fn fixed(limit: u64) -> Policy {
    let limit = Limit::window(limit, 1_000).unwrap();
    Policy::new(Algorithm::Fixed, Limits::from_iter([limit])).unwrap()
}

fn lasting(limit: u64) -> Setting {
    Setting::Lasting(fixed(limit))
}

fn temporary(limit: u64, ends_ms: u64) -> Setting {
    let policy = fixed(limit);
    Setting::Temporary(Temporary {
        policy,
        ends: Ends::at(ends_ms),
    })
}

fn shadow(limit: u64, ends_ms: Option<u64>) -> Setting {
    let policy = fixed(limit);
    let ends = ends_ms.map(Ends::at);
    Setting::Shadow(ShadowPolicy { policy, ends })
}

/// The limit in force under a name.
fn limit(policies: &Policies, name: &[u8], now_ms: u64) -> Option<u64> {
    let policy = policies.get(name)?.in_force(now_ms)?;
    Some(policy.limits()[0].limit())
}

fn any(random: &mut Random) -> Policy {
    let algorithm = Algorithm::ALL[random.index(Algorithm::ALL.len())];
    let count = match algorithm {
        Algorithm::Lease => 1,
        _ => 1 + random.below(8),
    };
    let limits = (1..=count).map(|window_ms| {
        let limit = random.next() >> (11 + random.below(53));
        match algorithm {
            Algorithm::Bucket => Limit::bucket(limit, 1 + limit / 2, window_ms * 999),
            _ => Limit::window(limit, window_ms * 999),
        }
        .unwrap()
    });
    Policy::new(algorithm, limits.collect()).unwrap()
}

/// What stands under a name, as plainly as can be.
#[derive(Clone, Default)]
struct Model {
    lasting: Option<Policy>,
    temporary: Option<Temporary>,
    shadow: Option<ShadowPolicy>,
}

impl Model {
    fn at(&self, now_ms: u64) -> Self {
        let temporary = self.temporary.clone();
        let shadow = self.shadow.clone();
        Self {
            lasting: self.lasting.clone(),
            temporary: temporary.filter(|temporary| temporary.ends.holds(now_ms)),
            shadow: shadow.filter(|it| it.ends.is_none_or(|ends| ends.holds(now_ms))),
        }
    }

    fn in_force(&self) -> Option<&Policy> {
        let temporary = self.temporary.as_ref().map(|it| &it.policy);
        temporary.or(self.lasting.as_ref())
    }
}

#[test]
fn policies_are_those_of_an_exact_model() {
    let mut random = Random(1);
    let mut policies = policies(20);
    let mut model: BTreeMap<Vec<u8>, Model> = BTreeMap::new();
    let mut now_ms = NOW;
    let (mut ended, mut kept_algorithm, mut full) = (0, 0, 0);
    let (mut shadows_ended, mut tried) = (0, 0);
    for _ in 0..30_000 {
        now_ms += random.below(20);
        let current: BTreeMap<Vec<u8>, Model> = model
            .iter()
            .map(|(name, held)| (name.clone(), held.at(now_ms)))
            .filter(|(_, held)| held.in_force().is_some() || held.shadow.is_some())
            .collect();
        let name = [b'p', random.below(30).to_le_bytes()[0], 0, 255].to_vec();
        let held = current.get(&name).cloned().unwrap_or_default();
        match random.below(8) {
            0..=2 => {
                let policy = any(&mut random);
                let (asked, ends_ms) = (policy.algorithm(), now_ms + random.below(500));
                let ends = Ends::at(ends_ms);
                let setting = match random.below(3) {
                    0 => Setting::Lasting(policy),
                    1 => Setting::Temporary(Temporary { policy, ends }),
                    _ if asked == Algorithm::Lease => continue,
                    _ => Setting::Shadow(ShadowPolicy {
                        policy,
                        ends: Some(ends).filter(|_| random.percent(50)),
                    }),
                };
                let is_shadow = matches!(setting, Setting::Shadow(_));
                let is_new = !current.contains_key(&name);
                let expected = match held.in_force().map(Policy::algorithm) {
                    Some(is) if is != asked && !is_shadow => {
                        Err(Error::PolicyKeepsAlgorithm { is, asked })
                    }
                    _ if is_new && current.len() >= 20 => Err(Error::TooManyPolicies { max: 20 }),
                    _ => Ok(()),
                };
                kept_algorithm +=
                    usize::from(matches!(expected, Err(Error::PolicyKeepsAlgorithm { .. })));
                full += usize::from(matches!(expected, Err(Error::TooManyPolicies { .. })));
                let before = policies.encode(now_ms);
                let result = policies.set(&name, setting.clone(), now_ms);
                assert_eq!(result, expected);
                if result.is_err() {
                    assert_eq!(policies.encode(now_ms), before);
                    continue;
                }
                let held = match setting {
                    Setting::Lasting(policy) => Model {
                        lasting: Some(policy),
                        temporary: None,
                        ..held
                    },
                    Setting::Temporary(temporary) => Model {
                        temporary: Some(temporary),
                        ..held
                    },
                    Setting::Shadow(shadow) => Model {
                        shadow: Some(shadow),
                        ..held
                    },
                };
                model.insert(name, held);
            }
            3 => {
                let gone = policies.del(&name, now_ms);
                let gone = gone.is_some_and(|gone| gone.is_current(now_ms));
                assert_eq!(gone, current.contains_key(&name));
                model.remove(&name);
            }
            4 => {
                let gone = policies.end(now_ms);
                ended += gone.iter().filter(|it| !it.is_shadow).count();
                shadows_ended += gone.iter().filter(|it| it.is_shadow).count();
            }
            7 => {
                policies.end(now_ms);
                let gone = policies.end_shadow(&name, now_ms);
                assert_eq!(gone, held.shadow);
                model.entry(name).or_default().shadow = None;
            }
            5 => {
                let asked = any(&mut random).algorithm();
                let of_asked = |policy: &&Policy| policy.algorithm() == asked;
                let expected = held.in_force().filter(of_asked);
                let passes_over = held.in_force().is_some() && expected.is_none();
                for names in [[&name[..], b"absent"], [&b"absent"[..], &name]] {
                    let first = policies.first(names, asked, now_ms);
                    let expected = expected.map(|policy| (&name[..], policy));
                    assert_eq!(first, (expected, passes_over));
                    let shadow = policies.first_shadow(names, asked, now_ms);
                    let expected = held.shadow.as_ref().map(|shadow| &shadow.policy);
                    let expected = expected.filter(of_asked);
                    assert_eq!(shadow, expected.map(|policy| (&name[..], policy)));
                    tried += usize::from(shadow.is_some());
                }
            }
            _ => {
                let bytes = policies.encode(now_ms);
                policies = Policies::new(20, hashing(random.next()));
                assert!(policies.load(&bytes));
                assert_eq!(policies.encode(now_ms), bytes);
            }
        }
        for (name, held) in policies.list(now_ms) {
            let is = model[name].at(now_ms);
            assert_eq!(held.in_force(now_ms), is.in_force());
            assert_eq!(held.lasting(), is.lasting.as_ref());
            assert_eq!(held.temporary(now_ms), is.temporary.as_ref());
            assert_eq!(held.shadow(now_ms), is.shadow.as_ref());
        }
    }
    let seen = [ended, kept_algorithm, full, shadows_ended, tried];
    assert!(seen.iter().all(|times| *times > 100), "{seen:?}");
}

#[test]
fn a_policy_needs_a_name_and_sound_limits() {
    let mut policies = policies(4);
    let name = Err(Error::Name {
        at: 2,
        what: "name",
    });
    for (length, expected) in [(0, name), (1, Ok(())), (128, Ok(())), (129, name)] {
        let set = policies.set(&vec![0; length], lasting(1), NOW);
        assert_eq!(set, expected);
    }
    let window = |ms| Limit::window(5, ms).unwrap();
    let bucket = Limit::bucket(5, 1, 7).unwrap();
    for (algorithm, limits, right) in [
        (Algorithm::Fixed, vec![], false),
        (Algorithm::Fixed, vec![window(1), window(2)], true),
        (
            Algorithm::Sliding,
            vec![window(1), window(2), window(1)],
            false,
        ),
        (Algorithm::Fixed, (1..=8).map(window).collect(), true),
        (Algorithm::Fixed, vec![bucket], false),
        (Algorithm::Bucket, vec![bucket], true),
        (Algorithm::Lease, vec![window(1)], true),
        (Algorithm::Lease, vec![window(1), window(2)], false),
        (Algorithm::Bucket, vec![Limit::window(0, 1).unwrap()], false),
    ] {
        let policy = Policy::new(algorithm, limits.iter().copied().collect());
        assert_eq!(policy.is_some(), right, "{algorithm:?} {limits:?}");
    }
}

#[test]
fn past_a_bound_policies_can_be_changed_but_not_added() {
    let mut policies = policies(2);
    assert!(policies.set(b"a", lasting(1), NOW).is_ok());
    assert!(policies.set(b"b", lasting(1), NOW).is_ok());
    let refused = policies.set(b"c", lasting(1), NOW).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "ERR too many policies (maximum 2): delete one or raise ratelimit.policies"
    );
    policies.set_max(1);
    assert!(policies.set(b"a", lasting(9), NOW).is_ok());
    assert_eq!(limit(&policies, b"a", NOW), Some(9));
    let bytes = policies.encode(NOW);
    assert!(policies.load(&bytes));
    assert_eq!(policies.len(), 2);
    assert!(policies.del(b"a", NOW).is_some());
    assert!(policies.set(b"a", lasting(1), NOW).is_err());
    policies.set_max(usize::MAX);
    for name in 0..MAX_POLICIES {
        let _ = policies.set(&name.to_be_bytes(), lasting(1), NOW);
    }
    assert_eq!(policies.len(), MAX_POLICIES);
    let bytes = policies.encode(NOW);
    assert!(policies.load(&bytes));
}

#[test]
fn a_temporary_policy_stands_in_front_of_the_lasting_one_until_it_ends() {
    let mut policies = policies(2);
    policies.set(b"p", lasting(5), NOW).unwrap();
    policies.set(b"p", temporary(1, NOW + 10), NOW).unwrap();
    assert_eq!(limit(&policies, b"p", NOW + 9), Some(1));
    assert_eq!(
        limit(&policies, b"p", NOW + 10),
        Some(5),
        "nobody has to end it"
    );
    // One more takes its place, and so does a lasting one, which ends it.
    policies.set(b"p", temporary(2, NOW + 20), NOW).unwrap();
    assert_eq!(limit(&policies, b"p", NOW + 19), Some(2));
    policies.set(b"p", lasting(6), NOW).unwrap();
    assert_eq!(limit(&policies, b"p", NOW), Some(6));
    // Alone, it leaves nothing behind; and then there is room.
    policies.set(b"q", temporary(3, NOW + 10), NOW).unwrap();
    assert!(policies.set(b"r", lasting(1), NOW + 9).is_err());
    assert_eq!(limit(&policies, b"q", NOW + 10), None);
    assert!(policies.end(NOW + 9).is_empty());
    let ended = policies.end(NOW + 10);
    assert_eq!(ended.len(), 1);
    let expected = Ended {
        name: (*b"q").into(),
        policy: fixed(3),
        is_shadow: false,
        lasting: None,
    };
    assert_eq!(ended, [expected]);
    assert_eq!(policies.len(), 1);
    policies.set(b"r", lasting(1), NOW + 10).unwrap();
}

#[test]
fn of_several_names_the_first_that_has_a_policy_counts() {
    let mut policies = policies(9);
    policies.set(b"api", lasting(5), NOW).unwrap();
    policies
        .set(b"api:acme", temporary(50, NOW + 10), NOW)
        .unwrap();
    let names = [&b"api:acme"[..], b"api"];
    let first = |names: &[&'static [u8]], now_ms| {
        let names = names.iter().copied();
        let (policy, passes_over) = policies.first(names, Algorithm::Fixed, now_ms);
        assert!(!passes_over);
        policy.map(|(name, policy)| (name, policy.limits()[0].limit()))
    };
    assert_eq!(first(&names, NOW), Some((&b"api:acme"[..], 50)));
    assert_eq!(first(&names, NOW + 10), Some((&b"api"[..], 5)));
    assert_eq!(first(&[b"x", b"y"], NOW), None);
    assert_eq!(first(&[], NOW), None);
}

#[test]
fn a_policy_of_another_algorithm_is_passed_over_and_counted() {
    let mut policies = policies(9);
    policies.set(b"api", lasting(5), NOW).unwrap();
    let limit = Limit::window(9, 1_000).unwrap();
    let sliding = Policy::new(Algorithm::Sliding, Limits::from_iter([limit])).unwrap();
    let setting = Setting::Lasting(sliding.clone());
    policies.set(b"acme", setting, NOW).unwrap();
    let chain = [&b"x"[..], b"api", b"acme"];
    let (first, passes_over) = policies.first(chain, Algorithm::Sliding, NOW);
    assert_eq!((first, passes_over), (Some((&b"acme"[..], &sliding)), true));
    let (first, passes_over) = policies.first(chain, Algorithm::Lease, NOW);
    assert_eq!((first, passes_over), (None, true));
    // What is told, once a minute; what is counted, each time, up to the one that was found.
    let mut pass_over = |asked, now_ms| policies.pass_over(chain, asked, now_ms);
    let told = Some((&b"api"[..], Algorithm::Fixed));
    assert_eq!(pass_over(Algorithm::Sliding, NOW), told);
    assert_eq!(pass_over(Algorithm::Sliding, NOW + 59_999), None);
    assert_eq!(pass_over(Algorithm::Lease, NOW + 60_000), told);
    assert_eq!(pass_over(Algorithm::Fixed, NOW + 180_000), None); // as nothing was
    assert_eq!(policies.mismatches_of(b"api"), 3);
    assert_eq!(policies.mismatches_of(b"acme"), 1);
    assert_eq!(
        (policies.mismatches().count, &*policies.mismatches().name),
        (4, &b"api"[..])
    );
    // They are no part of what is saved, and stay where policies are loaded.
    let bytes = policies.encode(NOW);
    assert!(policies.load(&bytes));
    assert_eq!(policies.mismatches().count, 4);
}

#[test]
fn a_slot_is_kept_beside_the_policy() {
    let mut policies = policies(2);
    let mut stats = Stats::new(Bounds::default(), hashing(1));
    policies.set(b"login", lasting(1), NOW).unwrap();
    let mut hit = |stats: &mut Stats, name: &[u8]| {
        let slot = policies.slot(name).unwrap();
        *slot = stats.renew(*slot, name, |_| true);
        stats.count_named(*slot, b"user", Algorithm::Fixed, Outcome::Allowed, 0);
        *slot
    };
    let slot = hit(&mut stats, b"login");
    assert_eq!(hit(&mut stats, b"login"), slot);
    assert!(stats.reset(None));
    assert_ne!(hit(&mut stats, b"login"), slot);
    let login = stats.name(b"login").unwrap();
    assert_eq!(login.series().counts().of(Outcome::Allowed), 1);
}

/// As a script computes it from a file: see [`Policies::fingerprint`].
#[test]
fn the_fingerprint_is_that_of_the_lasting_policies_in_any_order() {
    let mut one = policies(9);
    // sha256sum of nothing.
    assert_eq!(one.fingerprint(), 0xe3b0_c442_98fc_1c14);
    let sliding = Limit::window(5, 900_000).unwrap();
    let bucket = Limit::bucket(100, 10, 1_000).unwrap();
    let sliding = Policy::new(Algorithm::Sliding, Limits::from_iter([sliding])).unwrap();
    let bucket = Policy::new(Algorithm::Bucket, Limits::from_iter([bucket])).unwrap();
    one.set(b"login", Setting::Lasting(sliding.clone()), NOW)
        .unwrap();
    one.set(b"api", Setting::Lasting(bucket.clone()), NOW)
        .unwrap();
    // printf '3:api bucket 100 10 1s\n5:login sliding 5 15m\n' | sha256sum
    assert_eq!(one.fingerprint(), FINGERPRINT);
    let mut other = Policies::new(9, hashing(7));
    other.set(b"api", Setting::Lasting(bucket), NOW).unwrap();
    other.set(b"login", lasting(4), NOW).unwrap();
    assert_ne!(other.fingerprint(), FINGERPRINT);
    other.del(b"login", NOW);
    other.set(b"login", Setting::Lasting(sliding), NOW).unwrap();
    assert_eq!(other.fingerprint(), FINGERPRINT);
    // printf '3:api bucket 100 10 1s\n5:login sliding 5 15m\n5:login shadow fixed 3 1s\n' | sha256sum
    other.set(b"login", shadow(3, None), NOW).unwrap();
    assert_eq!(other.fingerprint(), WITH_SHADOW);
    other.set(b"login", shadow(3, Some(NOW + 9)), NOW).unwrap();
    assert_eq!(other.fingerprint(), FINGERPRINT);
    other.end_shadow(b"login", NOW);
    // What ends is no part of it.
    other.set(b"incident", temporary(1, NOW + 9), NOW).unwrap();
    assert_eq!(other.fingerprint(), FINGERPRINT);
    other.end(NOW + 9);
    assert_eq!(other.fingerprint(), FINGERPRINT);
    let bytes = other.encode(NOW);
    let mut loaded = policies(9);
    assert_ne!(loaded.fingerprint(), FINGERPRINT);
    assert!(loaded.load(&bytes));
    assert_eq!(loaded.fingerprint(), FINGERPRINT);
}

const FINGERPRINT: u64 = 0x2413_88b1_6170_49e2;
const WITH_SHADOW: u64 = 0xcd4d_7cde_b086_e73f;

#[test]
fn when_a_policy_changed_last_is_told() {
    let mut policies = policies(9);
    assert_eq!(policies.changed_ms(), 0);
    policies.set(b"a", lasting(5), NOW).unwrap();
    assert_eq!(policies.changed_ms(), NOW);
    policies.set(b"a", temporary(6, NOW + 9), NOW + 1).unwrap();
    assert_eq!(policies.changed_ms(), NOW + 1);
    assert!(policies.del(b"b", NOW + 2).is_none());
    assert_eq!(policies.changed_ms(), NOW + 1);
    policies.del(b"a", NOW + 3);
    assert_eq!(policies.changed_ms(), NOW + 3);
}

/// A day that the clock is stepped back: a policy of an hour lasts no day longer, nor does one that was read from bytes.
#[test]
fn a_clock_that_was_stepped_back_gives_no_policy_more_than_it_was_given() {
    const HOUR: u64 = 3_600_000;
    let mut set = policies(9);
    let ends = Ends::after(NOW, HOUR);
    set.set(b"p", lasting(9), NOW).unwrap();
    let temporary = Setting::Temporary(Temporary {
        policy: fixed(1),
        ends,
    });
    set.set(b"p", temporary.clone(), NOW).unwrap();
    let bytes = encode_setting(b"p", &temporary);
    assert_eq!(decode_setting(&bytes), Some((&b"p"[..], temporary)));
    let mut read = policies(9);
    assert!(read.load(&set.encode(NOW)));
    for policies in [&mut set, &mut read] {
        policies.end(NOW);
        let now_ms = NOW - 24 * HOUR;
        let left_ms = |policies: &Policies, now_ms| {
            let temporary = policies.get(b"p").unwrap().temporary(now_ms);
            temporary.map(|temporary| temporary.ends.left_ms(now_ms))
        };
        assert_eq!(left_ms(policies, now_ms), Some(HOUR));
        assert!(policies.end(now_ms).is_empty());
        assert_eq!(left_ms(policies, now_ms), Some(HOUR));
        assert!(policies.end(now_ms + HOUR - 1).is_empty());
        assert_eq!(left_ms(policies, now_ms + HOUR - 1), Some(1));
        assert_eq!(policies.end(now_ms + HOUR).len(), 1);
        assert_eq!(
            policies.get(b"p").unwrap().in_force(now_ms),
            Some(&fixed(9))
        );
    }
}

/// A policy that is there during the whole scan is listed once, whatever else comes and goes.
#[test]
fn a_scan_lists_every_policy_once() {
    let mut random = Random(9);
    for count in [1, 2, 7, 100] {
        let mut set = policies(500);
        for n in 0..60 {
            set.set(format!("stays{n}").as_bytes(), lasting(n), NOW)
                .unwrap();
        }
        let (mut cursor, mut seen) = (0, BTreeMap::<Vec<u8>, usize>::new());
        loop {
            let (next, listed) = set.scan(cursor, count, NOW);
            assert!(listed.len() <= count && next < 1 << 53);
            for (name, held) in listed {
                assert!(held.in_force(NOW).is_some());
                *seen.entry(name.to_vec()).or_default() += 1;
            }
            cursor = next;
            if cursor == 0 {
                break;
            }
            let other = format!("other{}", random.below(200));
            match random.below(2) {
                0 => drop(set.del(other.as_bytes(), NOW)),
                _ => drop(set.set(other.as_bytes(), temporary(1, NOW + 5), NOW)),
            }
        }
        for n in 0..60 {
            assert_eq!(
                seen.get(format!("stays{n}").as_bytes()),
                Some(&1),
                "{n} of {count}"
            );
        }
    }
    assert_eq!(policies(1).scan(0, 5, NOW), (0, Vec::new()));
}
