//! The share rule: an adversary's games, and examples.

use super::*;
use crate::core::random::Random;
use crate::core::region::origin::Region;
use crate::core::region::peers::{Peer, Peers, Sharing};

/// Of a region that has heard the others past the beginning of whatever turn.
fn share(regions: u64, rank: u64, acknowledged_ms: u64) -> Share {
    Share {
        regions,
        rank,
        acknowledged_ms,
        heard_ms: u64::MAX,
        retry_ms: 1,
    }
}

const NAMES: [&[u8]; 5] = [b"ap", b"eu", b"sa", b"us", b"za"];

fn name(place: usize) -> Region {
    Region::parse(NAMES[place]).unwrap()
}

/// What costs an adversary may choose.
#[derive(Clone, Copy, PartialEq)]
enum Costs {
    /// One unit, or what a share holds.
    Shares,
    /// Any.
    Any,
}

/// A region of a game: one limit, of which nothing ever expires.
struct Player {
    place: usize,
    /// How far its clock is ahead of the least.
    skew_ms: u64,
    used: u64,
    /// Of each other's, as far as it has learnt.
    known: [u64; NAMES.len()],
    peers: Peers,
    marks: RecentCharges,
}

/// What one tells another: what it has used, until when that is complete, and until when it has heard the other.
#[derive(Clone, Copy)]
struct Message {
    from: usize,
    to: usize,
    used: u64,
    until_ms: u64,
    echo_ms: u64,
}

impl Player {
    fn tell(&self, other: usize, now_ms: u64) -> Message {
        let heard = |peer: &Peer| (peer.region == name(other)).then_some(peer.heard_ms);
        Message {
            from: self.place,
            to: other,
            used: self.used,
            until_ms: now_ms + self.skew_ms - 1,
            echo_ms: self.peers.list().iter().find_map(heard).unwrap_or(0),
        }
    }

    fn hear(&mut self, told: &Message, now_ms: u64) {
        let known = &mut self.known[told.from];
        *known = (*known).max(told.used);
        let (from, now_ms) = (name(told.from), now_ms + self.skew_ms);
        let echo_ms = Some(told.echo_ms).filter(|echo_ms| *echo_ms > 0);
        self.peers
            .hear(from, told.until_ms, echo_ms, now_ms)
            .unwrap();
    }

    /// A hit. Whether it is admitted.
    fn hit(&mut self, limit: u64, cost: u64, costs: Costs, now_ms: u64) -> bool {
        let now_ms = now_ms + self.skew_ms;
        let share = self.peers.share(name(self.place), Sharing::Strict, now_ms);
        let share = share.unwrap();
        let view = self.used + self.known.iter().sum::<u64>();
        let recent = self.marks.recent(share.acknowledged_ms);
        let left = limit.saturating_sub(view - recent.min(view));
        if costs == Costs::Shares && cost > 1 && cost > left / share.regions {
            return false;
        }
        let fits = view + cost <= limit && share.room(limit, view, recent, cost, now_ms) >= cost;
        if fits {
            self.used += cost;
            let cost = i64::try_from(cost).unwrap();
            self.marks.charge(cost, share.acknowledged_ms, now_ms);
        }
        fits
    }
}

fn players(random: &mut Random, regions: usize, now_ms: u64) -> Vec<Player> {
    let mut players: Vec<Player> = (0..regions)
        .map(|place| Player {
            place,
            skew_ms: random.pick(&[0, 1, TURN_MS / 2, TURN_MS, 7 * TURN_MS + 1]),
            used: 0,
            known: [0; NAMES.len()],
            peers: Peers::default(),
            marks: RecentCharges::begin(now_ms),
        })
        .collect();
    // All hear each other before anything is used.
    for _ in 0..2 {
        let told = |from: &Player| {
            let others = (0..regions).filter(|to| *to != from.place);
            others.map(|to| from.tell(to, now_ms)).collect::<Vec<_>>()
        };
        for told in players.iter().flat_map(told).collect::<Vec<_>>() {
            players[told.to].hear(&told, now_ms);
        }
    }
    players
}

/// One game of an adversary that chooses who admits and when, by clocks that are not the same, which messages are sent, and which
/// arrive: never, twice, in any order. Returns the most that was ever used.
fn game(random: &mut Random, regions: usize, limit: u64, steps: u64, costs: Costs) -> u64 {
    let mut now_ms = 1_000_000 + random.below(3_000);
    let mut players = players(random, regions, now_ms);
    let mut wires: Vec<Message> = Vec::new();
    let is_greedy = random.percent(70);
    for _ in 0..steps {
        now_ms += random.pick(&[0, 0, 1, 10, 100, TURN_MS / 2, TURN_MS]);
        let (choice, place) = (random.below(100), random.index(regions));
        if choice < 40 {
            let tries = if is_greedy { limit } else { 1 };
            let costs_of = [1, 1, 2, limit / 2, limit];
            let cost = random.pick(&costs_of).max(1);
            for _ in 0..tries {
                if !players[place].hit(limit, cost, costs, now_ms) {
                    break;
                }
            }
        } else if choice < 70 {
            let to = (place + 1 + random.index(regions - 1)) % regions;
            wires.push(players[place].tell(to, now_ms));
        } else if !wires.is_empty() {
            let last = wires.len() - 1;
            let any = random.index(wires.len());
            let at = random.pick(&[last, last, any]);
            let told = wires[at];
            players[told.to].hear(&told, now_ms); // and it may come again
        }
    }
    players.iter().map(|player| player.used).sum()
}

/// The most of many games, in units of the limit.
fn worst(regions: usize, games: u64, costs: Costs) -> f64 {
    let mut random = Random(regions as u64);
    let k = regions as u64;
    let mut worst: f64 = 0.0;
    for _ in 0..games {
        let limit = random.pick(&[1, k, 2 * k + 1, 10, 12, 61, 100]);
        let steps = random.pick(&[30, 120, 300]);
        let most = game(&mut random, regions, limit, steps, costs);
        let bound = limit + limit * (k - 1) / k + k - 1;
        assert!(most <= bound, "{most} of {limit}");
        worst = worst.max(most as f64 / limit as f64);
    }
    worst
}

#[test]
fn two_regions_never_use_more_than_the_limit_by_costs_that_a_share_holds() {
    let worst = worst(2, 30_000, Costs::Shares);
    assert!(worst <= 1.0, "{worst}");
}

#[test]
fn more_regions_use_hardly_more_than_the_limit() {
    for regions in 3..=5 {
        let worst = worst(regions, 15_000, Costs::Shares);
        assert!(worst <= 1.05, "{regions} regions: {worst}");
    }
}

/// [`worst`] asserts the bound.
#[test]
fn a_cost_above_a_share_comes_with_what_others_take_until_they_hear_of_it() {
    for (regions, reached) in [(2, 1.5), (3, 1.5)] {
        let worst = worst(regions, 30_000, Costs::Any);
        assert!(worst >= reached, "{regions} regions: {worst}");
    }
}

/// Two regions, of which one is at the last millisecond of its turn and the other has its own at the next.
fn at_a_turns_end() -> (Player, Player, u64) {
    let now_ms = 1_000 * 2 * TURN_MS;
    let mut players = players(&mut Random(1), 2, now_ms);
    for player in &mut players {
        player.skew_ms = 0;
    }
    let [one, other] = <[Player; 2]>::try_from(players).ok().unwrap();
    (one, other, now_ms + TURN_MS - 1)
}

#[test]
fn the_last_unit_is_not_taken_twice_where_turns_meet() {
    let (mut one, mut other, now_ms) = at_a_turns_end();
    (one.used, other.known[0]) = (9, 9); // known to both
    one.hear(&other.tell(0, now_ms), now_ms);
    assert!(one.hit(10, 1, Costs::Any, now_ms));
    // Its turn, but what the first one used is on its way.
    assert!(!other.hit(10, 1, Costs::Any, now_ms + 1));
    let told = one.tell(1, now_ms + 2);
    other.hear(&told, now_ms + 100);
    assert!(!other.hit(10, 1, Costs::Any, now_ms + 100), "it is used");
    assert_eq!(one.used + other.used, 10);
}

#[test]
fn all_that_is_left_is_not_taken_before_the_last_turn_s_usage_is_known() {
    let (mut one, mut other, now_ms) = at_a_turns_end();
    assert!(one.hit(10, 5, Costs::Any, now_ms));
    assert!(!other.hit(10, 10, Costs::Any, now_ms + 1));
    let told = one.tell(1, now_ms + 2);
    other.hear(&told, now_ms + 100);
    assert!(!other.hit(10, 10, Costs::Any, now_ms + 100));
    assert!(other.hit(10, 5, Costs::Any, now_ms + 100));
    assert_eq!(one.used + other.used, 10);
}

/// Nothing is left over for ever while regions are less apart than a turn is long.
#[test]
fn all_is_used_in_the_end() {
    let mut random = Random(5);
    for regions in [2, 3, 5] {
        let mut now_ms = 1_000_000;
        let mut players = players(&mut random, regions, now_ms);
        let mut wires: Vec<(u64, Message)> = Vec::new();
        for tick in 0..400 {
            now_ms += 50;
            for (from, player) in players.iter().enumerate() {
                let to = (from + 1 + tick % (regions - 1)) % regions;
                wires.push((now_ms + 300, player.tell(to, now_ms)));
            }
            let arrived = wires.iter().filter(|(at_ms, _)| *at_ms <= now_ms);
            for (_, told) in arrived {
                players[told.to].hear(told, now_ms);
            }
            wires.retain(|(at_ms, _)| *at_ms > now_ms);
            let place = random.index(regions);
            players[place].hit(11, 1, Costs::Shares, now_ms);
        }
        let used: u64 = players.iter().map(|player| player.used).sum();
        assert_eq!(used, 11, "{regions} regions");
    }
}

#[test]
fn what_does_not_divide_goes_round() {
    // 2 of 3 have one unit more, at any time, and each has it two turns of three.
    for turn in 0..6 {
        let rooms = [0, 1, 2].map(|rank| share(3, rank, 0).room(11, 0, 0, 1, turn * TURN_MS));
        assert_eq!(rooms.iter().sum::<u64>(), 11, "{rooms:?}");
    }
    let mine = [0, 1, 2].map(|turn| share(3, 0, 0).room(11, 0, 0, 1, turn * TURN_MS));
    assert_eq!(mine, [4, 4, 3]);
    let times_ms = [2 * TURN_MS, 3 * TURN_MS - 1, 3 * TURN_MS];
    let mine = times_ms.map(|now_ms| share(3, 0, 0).room(11, 0, 0, 1, now_ms));
    assert_eq!(mine, [3, 3, 4], "a turn is as long as any other");
}

#[test]
fn a_turn_counts_once_all_others_are_heard_past_its_beginning() {
    let room = |heard_ms, cost| {
        let share = Share {
            heard_ms,
            ..share(2, 0, 0)
        };
        share.room(11, 0, 0, cost, 2 * TURN_MS + 7)
    };
    assert_eq!([room(2 * TURN_MS - 1, 1), room(2 * TURN_MS, 1)], [5, 6]);
    assert_eq!([room(2 * TURN_MS - 1, 9), room(2 * TURN_MS, 9)], [5, 11]);
}

#[test]
fn a_cost_above_a_share_is_let_through_in_its_turn() {
    let room = |turn: u64| share(3, 0, 0).room(10, 0, 0, 8, turn * TURN_MS);
    assert_eq!([room(0), room(1), room(2)], [10, 3, 3]);
    assert_eq!(share(3, 0, 0).room(10, 9, 2, 2, 0), 1);
    // One that a whole share would hold waits as any other does until the share is acknowledged.
    let room = |cost| share(3, 0, 0).room(12, 2, 2, cost, 0);
    assert_eq!([room(1), room(3), room(4), room(5)], [2, 2, 2, 10]);
}

#[test]
fn whoever_waits_for_a_turn_is_told_when_it_begins() {
    let wait = |cost, now_ms| share(3, 0, 0).wait_ms(11, 3, 3, cost, now_ms);
    // What a share holds waits for an acknowledgement, and so does who has the turn already.
    assert_eq!([wait(3, 0), wait(3, TURN_MS), wait(3, 2 * TURN_MS)], [1; 3]);
    assert_eq!([wait(4, 0), wait(4, 2 * TURN_MS - 1)], [1; 2]);
    assert_eq!(
        [wait(4, 2 * TURN_MS), wait(5, 2 * TURN_MS)],
        [TURN_MS + 1; 2]
    );
    assert_eq!([wait(5, 0), wait(5, TURN_MS + 7)], [1, 2 * TURN_MS - 6]);
}

#[test]
fn what_is_recent_is_what_was_charged_since_the_later_mark_that_is_acknowledged() {
    let recent = |marks: &RecentCharges, times_ms: &[u64]| -> Vec<u64> {
        times_ms.iter().map(|at_ms| marks.recent(*at_ms)).collect()
    };
    let mut marks = RecentCharges::begin(1_000);
    marks.charge(5, 0, 1_000);
    assert_eq!(recent(&marks, &[999, 1_000]), [5, 0]);
    marks.charge(3, 1_000, 2_000); // the first mark is acknowledged: another one takes its place
    assert_eq!(recent(&marks, &[999, 1_999, 2_000]), [8, 8, 0]);
    marks.charge(2, 1_999, 2_500); // the second is not
    assert_eq!(recent(&marks, &[1_999, 2_000, 2_499, 2_500]), [10, 5, 5, 0]);
    // Of a key of which nothing was known, until two marks are acknowledged.
    let mut marks = RecentCharges::default();
    marks.charge(4, 0, 1_000);
    marks.charge(1, 500, 1_200);
    assert_eq!(recent(&marks, &[999, 1_000, 1_200]), [u64::MAX, 5, 0]);
    marks.charge(2, 1_000, 2_000); // what was not known is acknowledged
    assert_eq!(recent(&marks, &[999, 1_999, 2_000]), [7, 7, 0]);
}

/// Against a list of all charges.
#[test]
fn what_is_recent_is_never_understated() {
    let mut random = Random(3);
    for _ in 0..3_000 {
        let mut now_ms = 1_000;
        let mut marks = RecentCharges::begin(now_ms);
        let mut log: Vec<(u64, i64)> = Vec::new();
        let mut acknowledged_ms = 0;
        for _ in 0..random.below(60) {
            now_ms += random.pick(&[0, 1, 10, 100]);
            match random.below(4) {
                0 => acknowledged_ms = acknowledged_ms.max(random.from(0, now_ms - 1)),
                1 => {
                    let cost = -random.pick(&[1, 5]);
                    log.push((now_ms, cost));
                    marks.charge(cost, acknowledged_ms, now_ms);
                }
                _ => {
                    let cost = random.pick(&[1, 3]);
                    log.push((now_ms, cost));
                    marks.charge(cost, acknowledged_ms, now_ms);
                }
            }
            let since = log.iter().filter(|(at_ms, _)| *at_ms > acknowledged_ms);
            let net: i64 = since.map(|(_, cost)| cost).sum();
            let recent = marks.recent(acknowledged_ms);
            assert!(i128::from(recent) >= i128::from(net), "{recent} < {net}");
            // Not all there ever was, either.
            let charged: i64 = log.iter().map(|(_, cost)| (*cost).max(0)).sum();
            assert!(i128::from(recent) <= i128::from(charged));
        }
        marks.charge(100, acknowledged_ms, now_ms);
        assert_eq!(
            marks.recent(now_ms),
            0,
            "what was acknowledged is not recent"
        );
        marks.charge(7, now_ms, now_ms + 1);
        assert!(marks.recent(now_ms) >= 7);
        assert_eq!(marks.recent(now_ms + 1), 0);
    }
    assert_eq!(RecentCharges::default().recent(u64::MAX - 1), u64::MAX);
}

#[test]
fn what_is_recent_is_overstated_by_a_third_at_the_most() {
    // Each is acknowledged after 300 ms, but those of a time in which none is.
    let mut marks = RecentCharges::begin(0);
    for now_ms in 1..9_000_u64 {
        let acknowledged_ms = match now_ms {
            4_000..7_000 => 3_700,
            _ => now_ms.saturating_sub(300),
        };
        marks.charge(1, acknowledged_ms, now_ms);
        let recent = marks.recent(acknowledged_ms);
        let (least, most) = (now_ms - acknowledged_ms, 402);
        assert!(recent >= least, "{recent} at {now_ms}");
        if matches!(now_ms, 1_000..4_000 | 8_000..) {
            assert!(recent <= most, "{recent} at {now_ms}");
        }
    }
}

#[test]
fn a_clock_that_steps_back_leaves_no_moment_ahead() {
    let mut marks = RecentCharges::begin(9_000);
    for now_ms in [9_000, 9_100, 100, 200, 300, 400] {
        marks.charge(1, 0, now_ms);
    }
    assert_eq!(marks.recent(0), 6);
    marks.charge(1, 300, 500);
    assert!(marks.recent(300) < 6, "{marks:?}");
    assert!(marks.recent(300) >= 2);
}

#[test]
fn more_than_can_be_counted_may_all_be_recent() {
    let mut marks = RecentCharges::begin(10);
    marks.charge(i64::MAX, 0, 10);
    marks.charge(i64::MAX, 0, 11);
    marks.charge(2, 0, 12);
    assert_eq!([marks.recent(5), marks.recent(13)], [u64::MAX; 2]);
    marks.charge(3, 0, 14);
    assert_eq!([13, 14].map(|at_ms| marks.recent(at_ms)), [u64::MAX, 0]);
}
