//! What the contract promises, on random calls: the instant of a retry, replicas, no admission past a limit, and what a
//! merged log still admits.

use super::algorithm::log::MIN_ENTRIES;
use super::codec;
use super::decision::{Decision, Retry, Verdict};
use super::duration;
use super::limit::{Algorithm, Limit, Limits, MAX_COUNT, MAX_TIME_MS};
use super::limiter::Limiter;
use super::oracle::{self, for_traces, with_log_size, Step};
use super::quote::{self, Change, Hit, HitOptions};
use super::random::Random;
use std::collections::{BTreeMap, VecDeque};

/// Every other trace on a log that has to merge.
fn merging_or_not(random: &mut Random, steps: Vec<Step>) -> Vec<Step> {
    let log_size = random.pick(&[MIN_ENTRIES, steps[0].log_size]);
    with_log_size(steps, log_size)
}

/// What a call would be answered, were it made at that time and not forced.
fn peek(state: &mut Option<Limiter>, step: &Step, now_ms: u64) -> Decision {
    let step = Step {
        force: false,
        ..step.at(now_ms).without_id()
    };
    let quoted = step.ask(state).unwrap();
    assert_eq!(quoted.fits, quoted.decision.allowed());
    quoted.decision
}

/// Makes the call of a step, of which the order is made. `None` where it is an error, or nothing that is answered.
fn make(state: &mut Option<Limiter>, step: &Step) -> Option<quote::Quote> {
    if step.release {
        oracle::release(state, &step.id, step.now_ms);
        return None;
    }
    step.make(state).ok()
}

/// From here on, longer than is reported, or it less what would be waited for a turn.
const LONGEST_MS: u64 = MAX_TIME_MS - duration::MAX_MS;

/// Denied a millisecond before the promised retry and allowed at it, each limit by itself and all together; nothing is
/// used at the promised reset and something is a millisecond before; never is never.
fn keeps_its_times(steps: &[Step]) -> Result<(), String> {
    let mut state: Option<Limiter> = None;
    for (index, step) in steps.iter().enumerate() {
        step.order(&mut state);
        let Some(quoted) = make(&mut state, step) else {
            continue;
        };
        if quoted.repeats.is_some() {
            continue; // it is answered as it was, whatever its cost
        }
        let (decision, change) = (quoted.decision, quoted.change);
        // A turn whose debt would be past what is counted is refused when it comes.
        let is_uncounted =
            |verdict: &Verdict| verdict.used.saturating_add(step.cost.unsigned_abs()) > MAX_COUNT;
        if step.reserve_ms.is_some() && decision.verdicts().iter().any(is_uncounted) {
            continue;
        }
        let times = steps.iter().take(index + 1).map(|step| step.now_ms);
        let was_set_back = !step.windows.is_empty() && !times.is_sorted();
        // Past the calendar's last year nobody can ask.
        let last_ms = match step.windows.is_empty() {
            true => u64::MAX,
            false => 253_000_000_000_000,
        };
        let mut ask = |wait_ms: u64| peek(&mut state, step, (step.now_ms + wait_ms).min(last_ms));
        let broken = |what: &str| Err(format!("step {index}: {what} of {decision:?}"));
        if !quoted.fits {
            match decision.binding().unwrap().retry {
                Retry::After(0) => return broken("denied, but to be tried at once,"),
                Retry::After(LONGEST_MS..) => {}
                // A window that was moved, as a clock stepped back, may end within the calendar's own, and a charge of an
                // earlier time counts by that one from then on.
                Retry::After(_) if was_set_back && step.at_ms.is_some() => {}
                Retry::After(wait_ms) if ask(wait_ms - 1).allowed() => {
                    return broken("allowed too early")
                }
                Retry::After(wait_ms) if !ask(wait_ms).allowed() => {
                    return broken("denied at its retry")
                }
                Retry::After(_) => {}
                // A cost that is to count at a later time does so until then.
                Retry::Never if step.at_ms.is_some_and(|at_ms| at_ms > step.now_ms) => {}
                Retry::Never => {
                    let ever = [0, 1, 86_400_000, MAX_TIME_MS]
                        .iter()
                        .any(|wait_ms| ask(*wait_ms).allowed());
                    let on_nothing = Step {
                        at_ms: None,
                        ..step.clone()
                    };
                    if ever || peek(&mut None, &on_nothing, step.now_ms).allowed() {
                        return broken("allowed after never");
                    }
                }
            }
        }
        let is_blocked = state
            .as_ref()
            .is_some_and(|limiter| limiter.notes().is_some());
        for (place, verdict) in decision.verdicts().iter().enumerate() {
            match verdict.retry {
                Retry::After(_) if was_set_back && step.at_ms.is_some() => {}
                Retry::After(wait_ms @ 1..LONGEST_MS) if !quoted.fits && !is_blocked => {
                    // A block that the same call would start has every limit deny it.
                    let unblocking = Step {
                        block_ms: Vec::new(),
                        ..step.clone()
                    };
                    let mut ask =
                        |wait_ms: u64| peek(&mut state, &unblocking, step.now_ms + wait_ms);
                    let (before, due) = (ask(wait_ms - 1), ask(wait_ms));
                    if before.verdicts()[place].allowed || !due.verdicts()[place].allowed {
                        return broken("a limit's own retry");
                    }
                }
                Retry::After(_) | Retry::Never => {}
            }
            // An allowed hit of cost 0 writes nothing, so a clock that had stepped back is still behind the usage.
            let settled = change.cost() != 0 || !quoted.fits;
            if let (true, reset_ms @ 1..MAX_TIME_MS) = (settled, verdict.reset_after_ms) {
                let nothing = Step {
                    cost: 0,
                    at_ms: None,
                    ..step.clone()
                };
                let mut left_ms = |wait_ms| {
                    peek(&mut state, &nothing, step.now_ms + wait_ms).verdicts()[place]
                        .reset_after_ms
                };
                if left_ms(reset_ms - 1) != 1 || left_ms(reset_ms) != 0 {
                    return broken("the reset");
                }
            }
        }
    }
    Ok(())
}

/// What `NEXT` says of each limit: a millisecond before, as much remains as was said; then more.
fn says_when_more_remains(steps: &[Step]) -> Result<(), String> {
    let mut state: Option<Limiter> = None;
    for (index, step) in steps.iter().enumerate() {
        step.order(&mut state);
        let quoted = step.ask(&mut state);
        let nexts = quoted.and_then(|quoted| {
            let held = state.as_ref().map(|limiter| limiter.by_ref());
            step.hit(|hit| quote::nexts(held, hit, &quoted, step.now_ms))
        });
        let Some(quoted) = make(&mut state, step) else {
            continue;
        };
        let notes = state.as_ref().and_then(|limiter| limiter.notes());
        let is_shut = notes.is_some_and(|notes| notes.left_ms(step.now_ms) > 0);
        if is_shut && (step.cost < 0 || quoted.fits) {
            continue; // what is given back or renewed in a block says what will remain after it
        }
        // A repeat asks no block, and leaves what a clock that stepped back has put ahead of it.
        let times = steps.iter().take(index + 1).map(|step| step.now_ms);
        if quoted.repeats.is_some() && (is_shut || !times.is_sorted()) {
            continue;
        }
        // Asked by somebody who holds no lease.
        let nothing = Step {
            cost: 0,
            at_ms: None,
            id: b"another".to_vec(),
            ..step.clone()
        };
        let last_ms = match step.windows.is_empty() {
            true => LONGEST_MS,
            false => 253_000_000_000_000,
        };
        for (place, next) in nexts.unwrap().into_iter().enumerate() {
            let verdict = &quoted.decision.verdicts()[place];
            let mut remaining = |wait_ms| {
                peek(&mut state, &nothing, step.now_ms + wait_ms).verdicts()[place].remaining()
            };
            let said = verdict.remaining();
            let is_sound = match next {
                Retry::Never => verdict.limit == 0 && verdict.used > 0,
                Retry::After(0) => verdict.used == 0,
                Retry::After(ms) if step.now_ms.saturating_add(ms) > last_ms => true,
                Retry::After(ms) => remaining(ms - 1) == said && remaining(ms) > said,
            };
            if !is_sound {
                return Err(format!("step {index}: {next:?} of {verdict:?}"));
            }
        }
    }
    Ok(())
}

#[test]
fn what_next_says_is_when_more_remains() {
    for algorithm in Algorithm::ALL {
        for_traces(algorithm, 10_000, merging_or_not, says_when_more_remains);
    }
}

#[test]
fn a_retry_is_denied_just_before_and_allowed_at_its_time() {
    for algorithm in Algorithm::ALL {
        for_traces(algorithm, 20_000, merging_or_not, keeps_its_times);
    }
}

/// Whatever the clock did: a window denies no longer than it lasts (a fixed one that had begun, no longer than two), a
/// bucket no longer than what is used takes to come back, a lease no longer than the longest that was given, a block no
/// longer than it was given.
fn locks_nobody_out(steps: &[Step]) -> Result<(), String> {
    let mut state: Option<Limiter> = None;
    let (mut longest_ttl_ms, mut longest_block_ms) = (0, 0);
    for (index, step) in steps.iter().enumerate() {
        longest_ttl_ms = longest_ttl_ms.max(step.limits[0].window_ms());
        let blocks = step.block_ms.iter().copied().chain(step.order_ms);
        longest_block_ms = longest_block_ms.max(blocks.max().unwrap_or(0));
        step.order(&mut state);
        let Some(quoted) = make(&mut state, step) else {
            continue;
        };
        let readings = state.as_mut().map(|limiter| limiter.reading(step.now_ms));
        let verdicts = quoted.decision.verdicts().iter().zip(&step.limits);
        for (place, (verdict, limit)) in verdicts.enumerate() {
            let reading = readings
                .iter()
                .flatten()
                .find(|read| read.limit.span() == limit.span());
            let used = reading.map_or(0, |read| read.used);
            // Those who have a place drain at the rate that they were promised.
            let theirs = reading.filter(|read| read.reserved_ms > 0);
            let theirs = theirs.map_or(u64::MAX, |read| read.limit.refill());
            let longest_ms = match step.algorithm {
                Algorithm::Fixed => match step.windows.get(place) {
                    Some(window) if window.end_ms > 0 => {
                        let next = oracle::resolved(limit.span(), window.end_ms);
                        // One that was moved is as long as it was, and years are not of one length.
                        let moved_ms = next.end_ms - next.start_ms + 2 * 86_400_000;
                        u128::from((next.end_ms - step.now_ms).max(moved_ms))
                    }
                    _ => u128::from(2 * limit.window_ms()),
                },
                Algorithm::Sliding => u128::from(limit.window_ms()),
                Algorithm::Bucket => (u128::from(used) * u128::from(limit.window_ms()))
                    .div_ceil(u128::from(limit.refill().min(theirs))),
                Algorithm::Lease => u128::from(longest_ttl_ms),
            };
            let retry_ms = match verdict.retry {
                Retry::After(retry_ms) => u128::from(retry_ms),
                Retry::Never => 0,
            };
            // Until a charge of a time to come counts no more.
            let ahead_ms = step
                .at_ms
                .map_or(0, |at_ms| at_ms.saturating_sub(step.now_ms));
            let longest_retry_ms = longest_ms + u128::from(ahead_ms);
            let is_long = retry_ms > longest_retry_ms.max(u128::from(longest_block_ms))
                || u128::from(verdict.reset_after_ms) > longest_ms;
            if is_long && !quoted.fits {
                return Err(format!(
                    "step {index}: longer than {longest_ms} ms: {verdict:?}"
                ));
            }
        }
    }
    Ok(())
}

#[test]
fn a_clock_step_locks_nobody_out() {
    for algorithm in Algorithm::ALL {
        for_traces(algorithm, 20_000, merging_or_not, locks_nobody_out);
    }
}

/// Larger limits, and larger refills.
fn raised(random: &mut Random, algorithm: Algorithm, limits: &Limits) -> Limits {
    let mut more = |value: u64| value + random.magnitude(MAX_COUNT - value);
    limits
        .iter()
        .map(|limit| {
            let amount = more(limit.limit());
            match algorithm {
                Algorithm::Bucket => {
                    Limit::bucket(amount, more(limit.refill()), limit.window_ms()).unwrap()
                }
                _ => Limit::spanning(amount, limit.span()).unwrap(),
            }
        })
        .collect()
}

#[test]
fn raising_a_limit_never_denies_what_would_have_been_allowed() {
    for algorithm in Algorithm::ALL {
        for_traces(algorithm, 20_000, merging_or_not, |steps| {
            let mut random = Random(steps.len() as u64);
            let mut state: Option<Limiter> = None;
            for (index, step) in steps.iter().enumerate() {
                step.order(&mut state);
                let higher = step.of(raised(&mut random, algorithm, &step.limits));
                if let (Ok(low), Ok(high)) = (step.ask(&mut state), higher.ask(&mut state)) {
                    // A block that a hit starts has every limit deny it.
                    let each = low.decision.verdicts().iter().zip(high.decision.verdicts());
                    let is_each = step.block_ms.is_empty()
                        && each.clone().any(|(low, high)| low.allowed && !high.allowed);
                    if (low.fits && !high.fits) || (is_each && !step.force) {
                        return Err(format!("step {index}: {low:?}, but raised {high:?}"));
                    }
                }
                make(&mut state, step);
            }
            Ok(())
        });
    }
}

/// A second state that receives the effects is the same bytes after each step, also when it is reloaded on the way, and on
/// a log that has to merge.
fn replicates(steps: &[Step]) -> Result<(), String> {
    let mut random = Random(steps.len() as u64);
    let (mut primary, mut replica): (Option<Limiter>, Option<Limiter>) = (None, None);
    for (index, step) in steps.iter().enumerate() {
        oracle::replicate_order(&mut primary, &mut replica, step)
            .map_err(|why| format!("step {index}: {why}"))?;
        if let Some(quoted) = make(&mut primary, step) {
            oracle::replicate(&mut primary, &mut replica, step, quoted.change)
                .map_err(|why| format!("step {index}: {why}"))?;
        }
        if oracle::encoded(&mut primary) != oracle::encoded(&mut replica) {
            return Err(format!(
                "step {index}: {primary:?}, but on the replica {replica:?}"
            ));
        }
        if random.percent(10) {
            let bytes = oracle::encoded(&mut replica);
            replica = bytes.and_then(|bytes| codec::decode_state(&bytes));
        }
    }
    Ok(())
}

#[test]
fn a_replica_that_merges_and_reloads_holds_the_same_bytes() {
    let merging = |_: &mut Random, steps| with_log_size(steps, MIN_ENTRIES);
    for algorithm in [Algorithm::Fixed, Algorithm::Sliding, Algorithm::Bucket] {
        for_traces(algorithm, 20_000, merging, replicates);
    }
}

#[test]
fn a_key_of_another_algorithm_is_refused_and_left_alone() {
    for held in Algorithm::ALL {
        for_traces(held, 200, merging_or_not, |steps| {
            let mut state: Option<Limiter> = None;
            for step in steps {
                make(&mut state, step);
            }
            let Some(limiter) = &state else {
                return Ok(());
            };
            let before = limiter.clone();
            for asked in Algorithm::ALL.into_iter().filter(|asked| *asked != held) {
                let limits = [match asked {
                    Algorithm::Bucket => Limit::bucket(5, 5, 1_000).unwrap(),
                    _ => Limit::window(5, 1_000).unwrap(),
                }];
                for stamp in [false, true] {
                    let options = HitOptions {
                        stamp: stamp && asked == Algorithm::Bucket,
                        id: b"id",
                        ..HitOptions::NONE
                    };
                    let mut hit = Hit::new(asked, &limits, 1);
                    hit.options = &options;
                    let now_ms = steps[0].now_ms;
                    let peeked = quote::peek(state.as_mut(), &hit, now_ms);
                    let done = quote::hit(&mut state, &hit, now_ms);
                    let applied = quote::apply(&mut state, &hit, Change::Charge(1), now_ms);
                    let refused = peeked.is_err() && done.is_err() && applied.is_err();
                    if !refused || state.as_ref() != Some(&before) {
                        return Err(format!("{asked:?}: {done:?}, {applied:?}"));
                    }
                }
            }
            Ok(())
        });
    }
}

/// Whether one hit was admitted, and if not when to come back.
fn admits(
    state: &mut Option<Limiter>,
    limit: &Limit,
    algorithm: Algorithm,
    cost: i64,
    log_size: u16,
    now_ms: u64,
) -> Result<(), Retry> {
    let limits = std::slice::from_ref(limit);
    let hit = Hit {
        log_size,
        ..Hit::new(algorithm, limits, cost)
    };
    let quoted = quote::hit(state, &hit, now_ms).unwrap();
    if quoted.fits {
        Ok(())
    } else {
        Err(quoted.decision.binding().unwrap().retry)
    }
}

/// When the next hit comes, and what it costs.
fn arrival(random: &mut Random, style: u64, limit: &Limit, retry: Option<Retry>) -> (u64, i64) {
    let (limit, window_ms) = (limit.limit(), limit.window_ms());
    let few = random.from(1, 1 + limit / 20).cast_signed();
    match (style, retry) {
        // As soon as it is told to come.
        (0, Some(Retry::After(retry_ms))) => (retry_ms, few),
        (0, _) => (random.below(2), few),
        // A stream of ones that is too fast.
        (1, _) => (random.below(2 * window_ms / limit.max(1) + 1), 1),
        // Bursts where a window ends.
        (2, _) => (
            if random.percent(5) {
                window_ms - random.below(3)
            } else {
                0
            },
            few,
        ),
        // A crumb and a chunk in turn.
        (3, _) => {
            let cost = if random.percent(50) { 1 } else { limit / 3 + 1 };
            (random.below(window_ms / 6 + 1), cost.cast_signed())
        }
        // Gaps that double.
        (4, _) => (random.magnitude(window_ms), few),
        _ => (
            random.below(window_ms / 16 + 1),
            random.from(1, limit + 1).cast_signed(),
        ),
    }
}
const STYLES: u64 = 6;

#[test]
fn no_rolling_window_admits_more_than_the_limit_past_n_entries() {
    for seed in 0..1_800 {
        let mut random = Random(seed);
        let entries = random.pick(&[8, 16, 128]);
        let (amount, window_ms) = (random.from(1, 3_000), 10 + random.magnitude(1 << 24));
        let limit = Limit::window(amount, window_ms).unwrap();
        let (mut state, mut now_ms, mut retry) = (None, random.below(1 << 41), None);
        // What a window that ends now has admitted.
        let (mut recent, mut admitted) = (VecDeque::new(), 0);
        for _ in 0..600 {
            let (gap_ms, cost) = arrival(&mut random, seed % STYLES, &limit, retry);
            now_ms += gap_ms;
            let answer = admits(
                &mut state,
                &limit,
                Algorithm::Sliding,
                cost,
                entries,
                now_ms,
            );
            retry = answer.err();
            if answer.is_err() {
                continue;
            }
            recent.push_back((now_ms, cost.cast_unsigned()));
            admitted += cost.cast_unsigned();
            while let Some((_, cost)) = recent
                .front()
                .filter(|(at_ms, _)| at_ms + window_ms <= now_ms)
            {
                admitted -= cost;
                recent.pop_front();
            }
            assert!(admitted <= amount, "seed {seed}: {admitted} of {amount} in {window_ms} ms until {now_ms}, N = {entries}");
        }
    }
}

#[test]
fn no_fixed_window_admits_more_than_the_limit() {
    for seed in 0..1_200 {
        let mut random = Random(seed);
        let (amount, window_ms) = (random.from(1, 3_000), 10 + random.magnitude(1 << 24));
        let limit = Limit::window(amount, window_ms).unwrap();
        let (mut state, mut now_ms, mut retry) = (None, random.below(1 << 41), None);
        let mut admitted: BTreeMap<u64, u64> = BTreeMap::new();
        for _ in 0..600 {
            let (gap_ms, cost) = arrival(&mut random, seed % STYLES, &limit, retry);
            now_ms += gap_ms;
            let answer = admits(&mut state, &limit, Algorithm::Fixed, cost, 8, now_ms);
            retry = answer.err();
            if answer.is_ok() {
                *admitted.entry(now_ms / window_ms).or_default() += cost.cast_unsigned();
            }
        }
        assert!(
            admitted.values().all(|admitted| *admitted <= amount),
            "seed {seed}: {admitted:?} of {amount}"
        );
    }
}

/// Over every interval, to the exact fraction: what was admitted is at most the capacity and what refilled in between;
/// and what was denied would not have fitted into exactly that.
#[test]
fn no_interval_takes_more_from_a_bucket_than_its_capacity_and_refill() {
    for seed in 0..1_200 {
        let mut random = Random(seed);
        let (capacity, refill, interval_ms) = (
            random.from(1, 3_000),
            random.magnitude(3_000).max(1),
            10 + random.magnitude(1 << 24),
        );
        let limit = Limit::bucket(capacity, refill, interval_ms).unwrap();
        let (mut state, mut now_ms, mut retry) = (None, random.below(1 << 41), None);
        let mut admitted: Vec<(u64, i64)> = Vec::new();
        for _ in 0..150 {
            let (gap_ms, cost) = arrival(&mut random, seed % STYLES, &limit, retry);
            now_ms += gap_ms;
            let answer = admits(&mut state, &limit, Algorithm::Bucket, cost, 8, now_ms);
            retry = answer.err();
            // The fullest interval that ends with this hit, against capacity + refill * time.
            let mut sum = i128::from(cost);
            let mut fits = cost.cast_unsigned() <= capacity;
            for (at_ms, before) in admitted.iter().rev() {
                sum += i128::from(*before);
                let refilled = i128::from(refill) * i128::from(now_ms - at_ms);
                fits &= sum * i128::from(interval_ms)
                    <= i128::from(capacity) * i128::from(interval_ms) + refilled;
            }
            assert_eq!(
                answer.is_ok(),
                fits,
                "seed {seed}: {cost} at {now_ms} of {limit:?} after {admitted:?}"
            );
            if fits {
                admitted.push((now_ms, cost));
            }
        }
    }
}

/// How hits arrive.
#[derive(Clone, Copy, Debug)]
enum Arrivals {
    Uniform,
    Poisson,
    /// Poisson, a fifth of the time five times as dense, and nothing in between.
    Bursty,
}

/// A minute, so that each rate below is several hits a millisecond at most.
const WINDOW_MS: u64 = 60_000;
/// Nothing is compared before the log has settled, and then over this many windows.
const WARM_UP: u64 = 3;
const MEASURED: u64 = 7;

/// `per_window` arrivals in each window, on average, over all windows.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "milliseconds of ten minutes"
)]
fn arrivals(random: &mut Random, style: Arrivals, per_window: u64) -> Vec<u64> {
    let end_ms = (WARM_UP + MEASURED) * WINDOW_MS;
    let mut clock_ms = 0.0;
    let mut times = Vec::new();
    let mean_ms = WINDOW_MS as f64 / per_window as f64;
    loop {
        let share = (random.next() >> 11) as f64 / (1u64 << 53) as f64;
        clock_ms += match style {
            Arrivals::Uniform => mean_ms,
            Arrivals::Poisson | Arrivals::Bursty => -(1.0 - share).ln() * mean_ms,
        };
        let mut at_ms = clock_ms as u64;
        if let Arrivals::Bursty = style {
            // Five times as fast for a fifth of each stretch.
            let stretch_ms = WINDOW_MS / 9;
            at_ms = at_ms / stretch_ms * stretch_ms + at_ms % stretch_ms / 5;
        }
        if at_ms >= end_ms {
            return times;
        }
        times.push(at_ms);
    }
}

/// What the limiter admits of what an exact log admits.
fn efficiency(entries: u16, amount: u64, demand: f64, style: Arrivals) -> f64 {
    let mut random = Random(amount);
    let limit = Limit::window(amount, WINDOW_MS).unwrap();
    let mut state = None;
    let mut exact: VecDeque<u64> = VecDeque::new();
    let (mut admitted, mut admitted_exactly) = (0u32, 0u32);
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at most 200,000"
    )]
    let per_window = (amount as f64 * demand) as u64;
    for at_ms in arrivals(&mut random, style, per_window) {
        let counts = u32::from(at_ms >= WARM_UP * WINDOW_MS);
        if admits(&mut state, &limit, Algorithm::Sliding, 1, entries, at_ms).is_ok() {
            admitted += counts;
        }
        while exact
            .front()
            .is_some_and(|first_ms| first_ms + WINDOW_MS <= at_ms)
        {
            exact.pop_front();
        }
        if (exact.len() as u64) < amount {
            exact.push_back(at_ms);
            admitted_exactly += counts;
        }
    }
    f64::from(admitted) / f64::from(admitted_exactly)
}

const STYLES_OF_ARRIVAL: [Arrivals; 3] = [Arrivals::Uniform, Arrivals::Poisson, Arrivals::Bursty];
const DEMANDS: [f64; 4] = [1.05, 1.2, 2.0, 10.0];
const AMOUNTS: [u64; 4] = [200, 1_000, 5_000, 20_000];

#[test]
fn under_a_steady_overload_128_entries_admit_98_9_percent_of_an_exact_log() {
    for style in STYLES_OF_ARRIVAL {
        for demand in DEMANDS {
            for amount in AMOUNTS {
                let ratio = efficiency(128, amount, demand, style);
                assert!(
                    (0.989..=1.0).contains(&ratio),
                    "{style:?}, {demand} times {amount}: {ratio}"
                );
            }
        }
    }
}

/// `cargo test --no-default-features --lib efficiency_by_log_size -- --ignored --nocapture`
#[test]
#[ignore = "prints the table behind the README's figures"]
fn efficiency_by_log_size() {
    for entries in [8, 32, 128, 1024] {
        for style in STYLES_OF_ARRIVAL {
            for demand in DEMANDS {
                let ratios: String = AMOUNTS
                    .iter()
                    .map(|amount| format!(" {:.4}", efficiency(entries, *amount, demand, style)))
                    .collect();
                println!(
                    "N {entries:4} {style:8?} demand {demand:5}:{ratios}   (limits {AMOUNTS:?})"
                );
            }
        }
    }
}

/// Reservations of one limit and what they truly cost: as of when, and how much.
struct Settlement {
    at_ms: u64,
    reserved: u64,
    cost: u64,
    is_settled: bool,
}

impl Settlement {
    /// What an oracle that knows the true cost has charged by now, at the least.
    fn counted(&self) -> u64 {
        if self.is_settled {
            self.cost
        } else {
            self.cost.min(self.reserved)
        }
    }
}

/// What is used where the true costs were charged in the first place; of a bucket in units of 1/interval token.
fn truly_used(algorithm: Algorithm, limit: &Limit, all: &[Settlement], now_ms: u64) -> u128 {
    let window_ms = limit.window_ms();
    let counts = |each: &&Settlement| match algorithm {
        Algorithm::Fixed => each.at_ms / window_ms == now_ms / window_ms,
        _ => each.at_ms + window_ms > now_ms,
    };
    if algorithm != Algorithm::Bucket {
        let counted = all.iter().filter(counts);
        return counted.map(|each| u128::from(each.counted())).sum();
    }
    let (mut level, mut last_ms) = (0_u128, 0);
    for each in all {
        let refilled = u128::from(each.at_ms - last_ms) * u128::from(limit.refill());
        level = level.saturating_sub(refilled) + u128::from(each.counted()) * u128::from(window_ms);
        last_ms = each.at_ms;
    }
    level.saturating_sub(u128::from(now_ms - last_ms) * u128::from(limit.refill()))
}

/// Fixed and sliding exactly. A bucket by no more than what was given back since the oracle's was full last: the bound that
/// its file states.
fn settles(algorithm: Algorithm, seed: u64) {
    let mut random = Random(seed);
    let (amount, window_ms) = (random.from(1, 200), 10 + random.magnitude(1 << 20));
    let limits = [match algorithm {
        Algorithm::Bucket => Limit::bucket(amount, random.from(1, 200), window_ms),
        _ => Limit::window(amount, window_ms),
    }
    .unwrap()];
    let limit = &limits[0];
    let log_size = random.pick(&[MIN_ENTRIES, 128]);
    let mut state = None;
    let mut now_ms = random.below(1 << 41);
    let mut all: Vec<Settlement> = Vec::new();
    let mut given_back = 0_u128; // since that oracle's bucket was full last
    let hit = |state: &mut Option<Limiter>, cost, force, at_ms, now_ms| {
        let options = HitOptions {
            at_ms,
            stamp: algorithm == Algorithm::Bucket,
            ..HitOptions::NONE
        };
        let hit = Hit {
            force,
            log_size,
            options: &options,
            ..Hit::new(algorithm, &limits, cost)
        };
        quote::hit(state, &hit, now_ms).unwrap()
    };
    for turn in 0..80 {
        now_ms += match random.below(4) {
            0 => 0,
            1 => random.from(0, window_ms / 16),
            2 => random.from(0, window_ms / 2),
            _ => random.from(0, window_ms),
        };
        let mut open: Vec<usize> = (0..all.len()).collect();
        open.retain(|place| !all[*place].is_settled);
        if random.percent(55) || open.is_empty() {
            let reserved = random.from(1, 1 + amount / 2);
            if hit(&mut state, reserved.cast_signed(), false, None, now_ms).fits {
                all.push(Settlement {
                    at_ms: now_ms,
                    reserved,
                    cost: random.below(reserved + 1 + reserved / 4),
                    is_settled: false,
                });
            }
        } else {
            let each = &mut all[random.pick(&open)];
            each.is_settled = true;
            let cost = each.cost.cast_signed() - each.reserved.cast_signed();
            hit(&mut state, cost, true, Some(each.at_ms), now_ms);
            given_back += u128::from(cost.min(0).unsigned_abs());
        }
        let used = hit(&mut state, 0, false, None, now_ms).decision.verdicts()[0].used;
        let truly = truly_used(algorithm, limit, &all, now_ms);
        match algorithm {
            Algorithm::Bucket => {
                let bound = (u128::from(used) + given_back) * u128::from(window_ms);
                assert!(bound >= truly, "seed {seed}, turn {turn}: {used} used, {truly} truly, {given_back} given back");
                if truly == 0 {
                    given_back = 0;
                }
            }
            _ => assert!(
                u128::from(used) >= truly,
                "{algorithm:?}, seed {seed}, turn {turn}: {used} used, {truly} truly, N = {log_size}"
            ),
        }
    }
}

#[test]
fn a_refund_as_of_its_charge_lets_no_more_through_than_the_true_cost_would_have() {
    for algorithm in [Algorithm::Fixed, Algorithm::Sliding, Algorithm::Bucket] {
        for seed in 0..10_000 {
            settles(algorithm, seed);
        }
    }
}

/// By the milliseconds in which they act, in every interval no more than the capacity and what refills in it; nobody is let
/// wait longer than that takes; and they act one after another.
#[test]
fn those_who_wait_for_their_turn_take_no_more_than_capacity_and_refill() {
    for seed in 0..3_000 {
        let mut random = Random(seed);
        let (capacity, refill) = (random.from(1, 300), random.magnitude(300).max(1));
        let interval_ms = 10 + random.magnitude(1 << 20);
        let limits = [Limit::bucket(capacity, refill, interval_ms).unwrap()];
        let mut state = None;
        let mut now_ms = random.below(1 << 41);
        let mut acts: Vec<(u64, u64)> = Vec::new();
        for _ in 0..60 {
            now_ms += match random.percent(70) {
                true => 0,
                false => random.from(0, interval_ms),
            };
            let share = random.from(1, 8);
            let cost = random.from(1, 1 + capacity / share);
            let options = HitOptions {
                reserve_ms: Some(1 + random.magnitude(30 * interval_ms)),
                ..HitOptions::NONE
            };
            let hit = Hit {
                options: if random.percent(85) {
                    &options
                } else {
                    &HitOptions::NONE
                },
                ..Hit::new(Algorithm::Bucket, &limits, cost.cast_signed())
            };
            let quoted = quote::hit(&mut state, &hit, now_ms).unwrap();
            let retry = quoted.decision.longest_wait();
            // Whether the fullest interval that ends when it acts is full, where its first millisecond counts, or not.
            let fits_in = |acts_ms: u64, first_ms: u64| {
                let mut sum = u128::from(cost);
                let mut fits = cost <= capacity;
                for (at_ms, before) in acts.iter().rev() {
                    sum += u128::from(*before);
                    let refilled = u128::from(refill) * u128::from(acts_ms - at_ms + first_ms);
                    fits &= sum * u128::from(interval_ms)
                        <= u128::from(capacity) * u128::from(interval_ms) + refilled;
                }
                fits
            };
            let fits = |acts_ms: u64| fits_in(acts_ms, 0);
            let last_ms = acts.last().map_or(0, |(at_ms, _)| *at_ms);
            match (quoted.fits, retry) {
                (true, Retry::After(wait_ms)) => {
                    let acts_ms = now_ms + wait_ms;
                    assert!(acts_ms >= last_ms, "seed {seed}: out of order");
                    let is_sound = fits_in(acts_ms, 1);
                    assert!(is_sound, "seed {seed}: {cost} at {acts_ms} after {acts:?}");
                    let is_early = wait_ms > 0 && acts_ms > last_ms && fits(acts_ms - 1);
                    assert!(!is_early, "seed {seed}: {cost} may act before {acts_ms}");
                    let reserve_ms = hit.options.reserve_ms.unwrap_or(0);
                    assert!(wait_ms <= reserve_ms, "seed {seed}");
                    acts.push((acts_ms, cost));
                }
                (false, Retry::After(wait_ms)) => {
                    let reserve_ms = hit.options.reserve_ms.unwrap_or(0);
                    assert!(wait_ms > 0);
                    assert!(fits_in((now_ms + wait_ms + reserve_ms).max(last_ms), 1));
                    let before_ms = now_ms + wait_ms + reserve_ms - 1;
                    assert!(before_ms < last_ms || !fits(before_ms), "seed {seed}");
                }
                (fits, Retry::Never) => assert!(!fits && cost > capacity),
            }
        }
    }
}
