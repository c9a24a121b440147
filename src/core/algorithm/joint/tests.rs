//! Random histories of several regions whose messages are late, lost, doubled and reordered: what all end with, and that
//! nobody ever thinks less is used than it knows of.

use super::bucket::{BucketPart, JointBucket};
use super::counter::Counter;
use super::fixed::JointFixed;
use super::sliding::JointSliding;
use super::*;
use crate::core::calendar::Window;
use crate::core::limit::{Algorithm, Limit};
use crate::core::random::Random;

pub(super) const FOR_EVER_MS: u64 = 1 << 50;

pub(super) fn region(number: usize) -> Region {
    Region::parse(format!("r{number}").as_bytes()).unwrap()
}

pub(super) fn ask(limit: &Limit, now_ms: u64) -> Ask<'_> {
    Ask {
        limit,
        window: Window::default(),
        id: &[],
        now_ms,
    }
}

/// The meters of all regions, and what is on its way.
struct World<J> {
    limit: Limit,
    states: Vec<J>,
    wires: Vec<(usize, J)>,
    debt_ms: u64,
}

impl<J: Joint + PartialEq> World<J> {
    fn new(limit: Limit, regions: usize, debt_ms: u64) -> Self {
        Self {
            limit,
            states: vec![J::unused(&limit, 128); regions],
            wires: Vec::new(),
            debt_ms,
        }
    }

    fn charge(&mut self, at: usize, cost: i64, now_ms: u64) -> Origin {
        let state = &mut self.states[at];
        state.parts_mut().begin(region(at), now_ms, 0);
        let origin = state.parts().own.unwrap();
        state.charge(&ask(&self.limit, now_ms), cost, u64::MAX);
        origin
    }

    fn used(&self, at: usize, now_ms: u64) -> u64 {
        self.states[at].used(&ask(&self.limit, now_ms))
    }

    fn send(&mut self, random: &mut Random, from: usize, now_ms: u64) {
        let is_pass = random.one_in(4);
        let own = region(from);
        let copy = self.states[from].export(|origin| is_pass || origin == own, now_ms);
        let to = random.index(self.states.len());
        self.wires.extend(copy.map(|copy| (to, copy)));
    }

    /// Any message, in any order, any number of times.
    fn receive(&mut self, random: &mut Random, now_ms: u64) -> Option<usize> {
        if self.wires.is_empty() {
            return None;
        }
        let place = random.index(self.wires.len());
        let (to, copy) = self.wires[place].clone();
        if random.one_in(2) {
            self.wires.remove(place);
        }
        self.deliver(to, &copy, now_ms);
        Some(to)
    }

    fn deliver(&mut self, to: usize, copy: &J, now_ms: u64) {
        let state = &mut self.states[to];
        let before = state.clone();
        let received = state.merge(copy, self.debt_ms, now_ms);
        assert!(
            received.news || *state == before,
            "what is no news changes nothing"
        );
        let mut again = state.clone();
        assert!(
            !again.merge(copy, self.debt_ms, now_ms).news,
            "known is known"
        );
    }

    /// Everybody tells everybody all, in any order.
    fn settle(&mut self, random: &mut Random, now_ms: u64) {
        for _ in 0..3 {
            for _ in 0..4 * self.states.len() * self.states.len() {
                let (from, to) = (
                    random.index(self.states.len()),
                    random.index(self.states.len()),
                );
                self.tell(from, to, now_ms);
            }
            for from in 0..self.states.len() {
                for to in 0..self.states.len() {
                    self.tell(from, to, now_ms);
                }
            }
        }
    }

    fn tell(&mut self, from: usize, to: usize, now_ms: u64) {
        if let Some(copy) = self.states[from]
            .export(|_| true, now_ms)
            .filter(|_| from != to)
        {
            self.deliver(to, &copy, now_ms);
        }
    }

    fn all_say_the_same(&self, now_ms: u64) {
        let first = self.used(0, now_ms);
        for at in 1..self.states.len() {
            assert_eq!(self.used(at, now_ms), first, "region {at}");
            // and forever
            for later_ms in [1, 10, 500] {
                assert_eq!(
                    self.used(at, now_ms + later_ms),
                    self.used(0, now_ms + later_ms)
                );
            }
        }
    }
}

/// A bucket that got every charge when it was made.
#[derive(Default)]
struct Exact {
    events: Vec<(u64, Origin, u128)>,
}

impl Exact {
    /// Its level, had it got of each origin only the first charges up to what is known of it.
    fn level(&self, parts: &Parts<BucketPart>, interval: u128, rate: u128, now_ms: u64) -> u128 {
        let mut left: Vec<(Origin, u128)> = parts
            .list
            .iter()
            .map(|part| (part.origin, u128::from(part.counter.charged) * interval))
            .collect();
        let known = |origin: Origin, units: u128| {
            let known = left
                .iter_mut()
                .find(|(other, left)| *other == origin && *left > 0);
            known.map(|(_, left)| *left -= units).is_some()
        };
        self.level_of(known, rate, now_ms)
    }

    fn level_of(
        &self,
        mut known: impl FnMut(Origin, u128) -> bool,
        rate: u128,
        now_ms: u64,
    ) -> u128 {
        let (mut level, mut last_ms) = (0_u128, 0);
        for (at_ms, origin, units) in &self.events {
            if known(*origin, *units) {
                level = level.saturating_sub(u128::from(at_ms - last_ms) * rate) + units;
                last_ms = *at_ms;
            }
        }
        level.saturating_sub(u128::from(now_ms - last_ms) * rate)
    }
}

fn level(joint: &JointBucket, now_ms: u64) -> u128 {
    joint.bucket.drained(now_ms, joint.bucket.refill)
}

fn some_bucket(random: &mut Random) -> Limit {
    let (refill, interval_ms) = (random.pick(&[1, 7, 100, 1_000]), random.pick(&[1, 10, 997]));
    Limit::bucket(random.pick(&[20, 200, 5_000]), refill, interval_ms).unwrap()
}

#[test]
fn three_thousand_histories_end_with_one_bucket_and_never_below_the_exact_one() {
    let mut random = Random(7);
    for history in 0..3_000 {
        let limit = some_bucket(&mut random);
        let is_bounded = random.one_in(2);
        let regions = usize::try_from(random.from(2, 5)).unwrap();
        let debt_ms = if is_bounded { 10_000 } else { FOR_EVER_MS };
        let mut world: World<JointBucket> = World::new(limit, regions, debt_ms);
        let mut exact = Exact::default();
        let (interval, rate) = (u128::from(limit.window_ms()), u128::from(limit.refill()));
        let mut now_ms = 1;
        for _ in 0..random.from(5, 120) {
            now_ms += random.pick(&[0, 1, 5, 50, 400]);
            let at = random.index(regions);
            match random.below(100) {
                0..45 => {
                    let cost = random.from(1, 19);
                    let origin = world.charge(at, cost.cast_signed(), now_ms);
                    exact
                        .events
                        .push((now_ms, origin, u128::from(cost) * interval));
                }
                45..75 => world.send(&mut random, at, now_ms),
                _ => {
                    world.receive(&mut random, now_ms);
                }
            }
            for state in world.states.iter().filter(|_| !is_bounded) {
                let (has, least) = (
                    level(state, now_ms),
                    exact.level(&state.parts, interval, rate, now_ms),
                );
                assert!(has >= least, "history {history}: {has} < {least}");
            }
        }
        world.settle(&mut random, now_ms);
        world.all_say_the_same(now_ms);
        if !is_bounded {
            assert!(level(&world.states[0], now_ms) >= exact.level_of(|_, _| true, rate, now_ms));
        }
        let levels = world.states.iter().map(|state| level(state, now_ms));
        let levels: Vec<_> = levels.collect();
        assert!(
            levels.windows(2).all(|pair| pair[0] == pair[1]),
            "{levels:?}"
        );
    }
}

#[test]
fn three_thousand_histories_end_with_the_same_windows() {
    let mut random = Random(8);
    for _ in 0..3_000 {
        let limit = Limit::window(1_000, random.pick(&[100, 1_000])).unwrap();
        let regions = usize::try_from(random.from(2, 5)).unwrap();
        windows::<JointFixed>(&mut random, limit, regions);
        windows::<JointSliding>(&mut random, limit, regions);
    }
}

fn windows<J: Joint + PartialEq>(random: &mut Random, limit: Limit, regions: usize) {
    let mut world: World<J> = World::new(limit, regions, FOR_EVER_MS);
    let mut now_ms = 1_000;
    for _ in 0..random.from(5, 60) {
        now_ms += random.pick(&[0, 1, 5, 50, 400]);
        let at = random.index(regions);
        match random.below(100) {
            0..40 => {
                world.charge(at, random.from(1, 19).cast_signed(), now_ms);
            }
            40..50 => {
                world.charge(at, -random.from(1, 49).cast_signed(), now_ms);
            }
            50..75 => world.send(random, at, now_ms),
            _ => {
                world.receive(random, now_ms);
            }
        }
    }
    world.settle(random, now_ms);
    // What was sent before counts no more than what is known.
    let before: Vec<u64> = (0..regions).map(|at| world.used(at, now_ms)).collect();
    for _ in 0..world.wires.len() {
        world.receive(random, now_ms);
    }
    let after: Vec<u64> = (0..regions).map(|at| world.used(at, now_ms)).collect();
    assert_eq!(before, after);
    if J::ALGORITHM == Algorithm::Fixed {
        world.all_say_the_same(now_ms);
    } else {
        // The origin has the exact log, the others what was sent of it: late, never early.
        let width_ms = limit.window_ms().div_ceil(32);
        for at in 0..regions {
            let all: Vec<_> = (0..regions)
                .map(|of| world.states[at].used_by(region(of), &ask(&limit, now_ms)))
                .collect();
            for (of, used) in all.into_iter().enumerate() {
                let own = world.states[of].used_by(region(of), &ask(&limit, now_ms));
                let earlier = now_ms.saturating_sub(width_ms);
                let most = world.states[of]
                    .used_by(region(of), &ask(&limit, earlier))
                    .max(own);
                assert!((own..=most).contains(&used), "{used} of {own} to {most}");
            }
        }
    }
}

#[test]
fn merging_is_idempotent_commutative_and_associative() {
    let mut random = Random(9);
    for _ in 0..3_000 {
        let limit = some_bucket(&mut random);
        let now_ms = 10_000;
        let mut state = || {
            let mut joint = JointBucket::unused(&limit, 128);
            for number in 0..4 {
                joint.parts.insert(BucketPart {
                    origin: Origin {
                        region: region(number),
                        began_ms: 1,
                    },
                    counter: Counter::of(random.below(50)),
                });
            }
            joint
                .bucket
                .set_level(1 + u128::from(random.below(500)), now_ms);
            joint.bucket.since.0 = 0;
            joint
        };
        let merged = |a: &JointBucket, b: &JointBucket| {
            let mut joint = a.clone();
            joint.merge(b, FOR_EVER_MS, now_ms);
            joint
        };
        let (a, b, c) = (state(), state(), state());
        assert_eq!(merged(&a, &a), a);
        assert_eq!(merged(&a, &b), merged(&b, &a));
        assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
    }
}

#[test]
fn twenty_thousand_histories_with_refunds_end_with_one_bucket() {
    let mut random = Random(3);
    for _ in 0..20_000 {
        let regions = usize::try_from(random.from(2, 4)).unwrap();
        let limit = Limit::bucket(500, random.pick(&[1, 10, 100]), random.pick(&[1, 7])).unwrap();
        let interval = u128::from(limit.window_ms());
        let mut world: World<JointBucket> = World::new(limit, regions, FOR_EVER_MS);
        let mut exact: World<JointBucket> = World::new(limit, 1, FOR_EVER_MS);
        let (mut now_ms, mut given) = (1, 0);
        for _ in 0..random.from(5, 80) {
            now_ms += random.pick(&[0, 1, 10, 100]);
            let at = random.index(regions);
            match random.below(100) {
                0..45 => {
                    let cost = random.from(1, 500).cast_signed();
                    world.charge(at, cost, now_ms);
                    exact.charge(0, cost, now_ms);
                }
                45..55 => {
                    let before = level(&world.states[at], now_ms);
                    let cost = random.from(1, 500);
                    world.charge(at, -cost.cast_signed(), now_ms);
                    let gave = before - level(&world.states[at], now_ms);
                    exact.charge(0, -i64::try_from(gave / interval).unwrap(), now_ms);
                    given += gave;
                }
                55..80 => world.send(&mut random, at, now_ms),
                _ => {
                    world.receive(&mut random, now_ms);
                }
            }
        }
        world.settle(&mut random, now_ms);
        world.all_say_the_same(now_ms);
        let (has, truth) = (
            level(&world.states[0], now_ms),
            level(&exact.states[0], now_ms),
        );
        assert!(
            has + given >= truth,
            "{has} and {given} given back, of {truth}"
        );
    }
}

#[test]
fn twenty_thousand_histories_with_lost_keys_forget_nothing_that_somebody_knows() {
    let mut random = Random(5);
    for history in 0..20_000 {
        let regions = usize::try_from(random.from(2, 4)).unwrap();
        let limit = Limit::bucket(500, random.pick(&[1, 10, 100]), 1).unwrap();
        let rate = u128::from(limit.refill());
        let mut world: World<JointBucket> = World::new(limit, regions, FOR_EVER_MS);
        let mut exact = Exact::default();
        let mut now_ms = 1;
        for _ in 0..random.from(5, 80) {
            now_ms += random.pick(&[1, 5, 10, 100]);
            let at = random.index(regions);
            match random.below(100) {
                0..50 => {
                    let cost = random.from(1, 499);
                    let origin = world.charge(at, cost.cast_signed(), now_ms);
                    exact.events.push((now_ms, origin, u128::from(cost)));
                }
                // Evicted, deleted, or a replica was promoted that did not have it.
                50..54 => world.states[at] = JointBucket::unused(&limit, 128),
                54..80 => world.send(&mut random, at, now_ms),
                _ => {
                    world.receive(&mut random, now_ms);
                }
            }
        }
        world.settle(&mut random, now_ms);
        world.all_say_the_same(now_ms);
        // Nobody has more of an origin than has been sent; what nobody has any more may be forgotten, and no more than that.
        let state = &world.states[0];
        let has = level(state, now_ms);
        let known = exact.level(&state.parts, 1, rate, now_ms);
        assert!(has >= known, "history {history}: {has} < {known}");
        let all = exact.level_of(|_, _| true, rate, now_ms);
        let charged: u128 = exact.events.iter().map(|(_, _, units)| units).sum();
        let lost = charged
            - state
                .parts
                .list
                .iter()
                .map(|part| u128::from(part.counter.charged))
                .sum::<u128>();
        assert!(
            has + lost >= all,
            "history {history}: {has} and {lost} lost, of {all}"
        );
    }
}

#[test]
fn seventeen_origins_are_added_up_or_told_of() {
    let limit = Limit::window(1_000_000, 60_000).unwrap();
    let mut here = JointFixed::unused(&limit, 128);
    let (mut refused, mut taken) = (0, 0);
    for number in 0..17 {
        let mut there = JointFixed::unused(&limit, 128);
        there.parts.begin(region(number), 1_000, 0);
        there.charge(&ask(&limit, 1_000), 1, u64::MAX);
        let received = here.merge(&there, 0, 1_000);
        refused += received.refused;
        taken += u64::from(received.news);
    }
    assert_eq!((taken, refused), (15, 2), "there is room for the own one");
    assert_eq!(here.used(&ask(&limit, 1_000)), 15);
    here.parts.begin(region(99), 1_000, 0);
    here.charge(&ask(&limit, 1_000), 1, u64::MAX);
    assert_eq!(here.parts.list.len(), MAX_PARTS);
    // Beginnings of one region, in any order: the sum is of all, and none counts twice.
    let mut here = JointFixed::unused(&limit, 128);
    let mut copies = Vec::new();
    for began_ms in 1..=40 {
        let mut there = JointFixed::unused(&limit, 128);
        there.parts.begin(region(1), began_ms, 0);
        there.charge(&ask(&limit, 1_000), 1, u64::MAX);
        copies.push(there);
    }
    for copy in &copies {
        here.merge(copy, 0, 1_000);
    }
    assert_eq!(here.used(&ask(&limit, 1_000)), 40);
    for copy in &copies {
        here.merge(copy, 0, 1_000);
    }
    assert_eq!(here.used(&ask(&limit, 1_000)), 40);
    assert!(here.parts.list.len() <= MAX_PARTS);
}

#[test]
fn a_refund_elsewhere_is_not_undone_by_an_older_copy() {
    let limit = Limit::window(10, 1_000).unwrap();
    let mut here: World<JointSliding> = World::new(limit, 2, 0);
    here.charge(0, 5, 1_000);
    let older = here.states[0].export(|_| true, 1_000).unwrap();
    here.charge(0, -5, 1_010);
    let newer = here.states[0].export(|_| true, 1_010).unwrap();
    here.deliver(1, &newer, 1_020);
    here.deliver(1, &older, 1_030);
    assert_eq!(here.used(1, 1_030), 0);
}

#[test]
fn after_a_partition_a_bucket_locks_nobody_out_for_as_long_as_it_was() {
    let limit = Limit::bucket(100, 100, 60_000).unwrap();
    let mut world: World<JointBucket> = World::new(limit, 2, 10_000);
    for minute in 0..60 {
        for at in 0..2 {
            world.charge(at, 100, 1 + minute * 60_000);
        }
    }
    let now_ms = 60 * 60_000;
    world.tell(0, 1, now_ms);
    world.tell(1, 0, now_ms);
    assert!(world.used(0, now_ms) <= 200);
    world.all_say_the_same(now_ms);
    // A debt that somebody has forced is not forgiven.
    world.charge(0, 5_000, now_ms);
    world.tell(0, 1, now_ms);
    assert!(world.used(1, now_ms) >= 5_000);
}
