//! What the contract promises, on random calls: the instant of a retry, peeks, replicas, no admission past a limit, what
//! a merged log still admits, and a grammar that no argument breaks.

use super::algorithm::sliding::MIN_ENTRIES;
use super::codec::{self, Effect};
use super::decision::{Decision, Retry};
use super::duration::{self, Human};
use super::error::MAX_NAME_BYTES;
use super::limit::{Algorithm, Limit, Limits, MAX_COUNT, MAX_LIMITS, MAX_TIME_MS};
use super::limiter::{Change, Hit, Limiter};
use super::oracle::{for_traces, with_entries, Step};
use super::random::Random;
use super::request::{self, Deny, Request, Verb};
use std::collections::{BTreeMap, VecDeque};

/// Every other trace on a log that has to merge.
fn merging_or_not(random: &mut Random, steps: Vec<Step>) -> Vec<Step> {
    let entries = random.pick(&[MIN_ENTRIES, steps[0].entries]);
    with_entries(steps, entries)
}

fn peek(state: Option<&Limiter>, step: &Step, now_ms: u64) -> Decision {
    let unforced = Hit {
        force: false,
        ..step.hit()
    };
    Limiter::peek(state, &unforced, now_ms).unwrap()
}

/// Denied a millisecond before the promised retry and allowed at it, each limit by itself and all together; nothing is
/// used at the promised reset and something is a millisecond before; never is never.
fn keeps_its_times(steps: &[Step]) -> Result<(), String> {
    let mut state: Option<Limiter> = None;
    for (index, step) in steps.iter().enumerate() {
        let Ok((decision, change)) = Limiter::hit(&mut state, &step.hit(), step.now_ms) else {
            continue;
        };
        let ask = |wait_ms| peek(state.as_ref(), step, step.now_ms + wait_ms);
        let broken = |what: &str| Err(format!("step {index}: {what} of {decision:?}"));
        if !decision.allowed() {
            match decision.binding().unwrap().retry {
                Retry::After(0) => return broken("denied, but to be tried at once,"),
                Retry::After(MAX_TIME_MS) => {} // longer than is reported
                Retry::After(wait_ms) if ask(wait_ms - 1).allowed() => {
                    return broken("allowed too early")
                }
                Retry::After(wait_ms) if !ask(wait_ms).allowed() => {
                    return broken("denied at its retry")
                }
                Retry::After(_) => {}
                Retry::Never => {
                    let empty = peek(None, step, step.now_ms);
                    let ever = [0, 1, 86_400_000, MAX_TIME_MS]
                        .iter()
                        .any(|wait_ms| ask(*wait_ms).allowed());
                    if ever || empty.allowed() {
                        return broken("allowed after never");
                    }
                }
            }
        }
        for (place, verdict) in decision.verdicts().iter().enumerate() {
            match verdict.retry {
                Retry::After(wait_ms @ 1..MAX_TIME_MS) => {
                    let (before, due) = (ask(wait_ms - 1), ask(wait_ms));
                    if before.verdicts()[place].allowed || !due.verdicts()[place].allowed {
                        return broken("a limit's own retry");
                    }
                }
                Retry::After(_) | Retry::Never => {}
            }
            // An allowed hit of cost 0 writes nothing, so a clock that had stepped back is still behind the usage.
            let settled = change == Change::Charged || !decision.allowed();
            if let (true, reset_ms @ 1..MAX_TIME_MS) = (settled, verdict.reset_after_ms) {
                let nothing = Step {
                    cost: 0,
                    ..step.clone()
                };
                let left_ms = |wait_ms| {
                    peek(state.as_ref(), &nothing, step.now_ms + wait_ms).verdicts()[place]
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

#[test]
fn a_retry_is_denied_just_before_and_allowed_at_its_time() {
    for algorithm in Algorithm::ALL {
        for_traces(algorithm, 20_000, merging_or_not, keeps_its_times);
    }
}

/// Whatever the clock did: a window denies no longer than it lasts, and a bucket no longer than what is used takes to
/// come back.
fn locks_nobody_out(steps: &[Step]) -> Result<(), String> {
    let mut state: Option<Limiter> = None;
    for (index, step) in steps.iter().enumerate() {
        let Ok((decision, _)) = Limiter::hit(&mut state, &step.hit(), step.now_ms) else {
            continue;
        };
        let readings = state.as_ref().map(|limiter| limiter.reading(step.now_ms));
        for (verdict, limit) in decision.verdicts().iter().zip(&step.limits) {
            let used = readings
                .iter()
                .flatten()
                .find(|read| read.limit.window_ms() == limit.window_ms())
                .map_or(0, |read| read.used);
            let longest_ms = match step.algorithm {
                Algorithm::Fixed | Algorithm::Sliding => u128::from(limit.window_ms()),
                Algorithm::Bucket => (u128::from(used) * u128::from(limit.window_ms()))
                    .div_ceil(u128::from(limit.refill())),
            };
            let retry_ms = match verdict.retry {
                Retry::After(retry_ms) => retry_ms,
                Retry::Never => 0,
            };
            if u128::from(retry_ms.max(verdict.reset_after_ms)) > longest_ms {
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
fn raised(random: &mut Random, limits: &Limits) -> Limits {
    let mut more = |value: u64| value + random.magnitude(MAX_COUNT - value);
    limits
        .iter()
        .map(|limit| {
            let window = Limit::window(more(limit.limit()), limit.window_ms()).unwrap();
            match limit.refill() == limit.limit() {
                true => window,
                false => Limit::bucket(
                    window.limit(),
                    more(limit.refill()).max(1),
                    limit.window_ms(),
                )
                .unwrap(),
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
                let higher = Step {
                    limits: raised(&mut random, &step.limits),
                    ..step.clone()
                };
                let (low, high) = (
                    peek(state.as_ref(), step, step.now_ms),
                    peek(state.as_ref(), &higher, step.now_ms),
                );
                let more = low.verdicts().iter().zip(high.verdicts());
                for (low, high) in more {
                    if low.allowed && !high.allowed {
                        return Err(format!("step {index}: {low:?}, but raised {high:?}"));
                    }
                }
                let _ = Limiter::hit(&mut state, &step.hit(), step.now_ms);
            }
            Ok(())
        });
    }
}

/// A peek answers as the hit does, errors included; a second state that receives the effects is the same bytes after
/// each step, also when it is reloaded on the way.
fn replicates(steps: &[Step]) -> Result<(), String> {
    let mut random = Random(steps.len() as u64);
    let (mut primary, mut replica): (Option<Limiter>, Option<Limiter>) = (None, None);
    for (index, step) in steps.iter().enumerate() {
        let (hit, before) = (step.hit(), primary.clone());
        let peeked = Limiter::peek(primary.as_ref(), &hit, step.now_ms);
        let done = Limiter::hit(&mut primary, &hit, step.now_ms);
        if peeked != done.clone().map(|(decision, _)| decision) {
            return Err(format!("step {index}: peeked {peeked:?}, then {done:?}"));
        }
        match done.map(|(_, change)| change) {
            Ok(Change::Charged) => {
                let sent = codec::encode_charge(&hit, step.now_ms);
                let Some(Effect::Charge(charge)) = codec::decode(&sent) else {
                    return Err(format!("step {index}: {:?} is no charge", &*sent));
                };
                let applied = Limiter::charge(&mut replica, &charge.hit(), charge.now_ms);
                if applied != Ok(Change::Charged) {
                    return Err(format!("step {index}: the replica did {applied:?}"));
                }
            }
            Ok(Change::Rewound) => {
                replica = primary
                    .as_ref()
                    .and_then(|limiter| codec::decode_state(&codec::encode_state(limiter)));
            }
            Ok(Change::None) | Err(_) => {
                if primary != before {
                    return Err(format!("step {index}: said to have changed nothing, but {before:?} became {primary:?}"));
                }
            }
        }
        if primary.as_ref().map(codec::encode_state) != replica.as_ref().map(codec::encode_state) {
            return Err(format!(
                "step {index}: {primary:?}, but on the replica {replica:?}"
            ));
        }
        if random.percent(10) {
            replica =
                replica.and_then(|limiter| codec::decode_state(&codec::encode_state(&limiter)));
        }
    }
    Ok(())
}

#[test]
fn a_peek_answers_as_the_hit_and_a_replica_holds_the_same_bytes() {
    for algorithm in Algorithm::ALL {
        for_traces(algorithm, 30_000, merging_or_not, replicates);
    }
}

#[test]
fn a_key_of_another_algorithm_is_refused_and_left_alone() {
    for held in Algorithm::ALL {
        for_traces(held, 200, merging_or_not, |steps| {
            let mut state: Option<Limiter> = None;
            for step in steps {
                let _ = Limiter::hit(&mut state, &step.hit(), step.now_ms);
            }
            for asked in Algorithm::ALL.into_iter().filter(|asked| *asked != held) {
                let (before, hit) = (
                    state.clone(),
                    Hit {
                        algorithm: asked,
                        ..steps[0].hit()
                    },
                );
                let done = Limiter::hit(&mut state, &hit, steps[0].now_ms);
                let peeked = Limiter::peek(state.as_ref(), &hit, steps[0].now_ms);
                let refused = before.is_none() || (done.is_err() && peeked.is_err());
                if !refused || (before.is_some() && state != before) {
                    return Err(format!("{asked:?}: {done:?}, {peeked:?}"));
                }
                state = before;
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
    entries: u16,
    now_ms: u64,
) -> Result<(), Retry> {
    let hit = Hit {
        algorithm,
        limits: std::slice::from_ref(limit),
        cost,
        force: false,
        entries,
    };
    let (decision, _) = Limiter::hit(state, &hit, now_ms).unwrap();
    let verdict = decision.binding().unwrap();
    if verdict.allowed {
        Ok(())
    } else {
        Err(verdict.retry)
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
fn under_a_steady_overload_128_entries_admit_98_percent_of_an_exact_log() {
    for style in STYLES_OF_ARRIVAL {
        for demand in DEMANDS {
            for amount in AMOUNTS {
                let ratio = efficiency(128, amount, demand, style);
                assert!(
                    (0.98..=1.0).contains(&ratio),
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

/// Words that mean something, words that almost do, and noise.
fn word(random: &mut Random) -> Vec<u8> {
    let any = random.next();
    let mut word = match random.below(12) {
        0..=2 => random.below(50).to_string().into_bytes(),
        3..=5 => format!(
            "{}{}",
            random.below(50),
            random.pick(&["ms", "s", "m", "h", "d", "w", "S", "Ms", "y", ""])
        )
        .into_bytes(),
        6..=7 => random
            .pick(&[
                "COST", "cost", "FORCE", "Force", "POLICY", "policy", "DENY", "deny", "DEN",
                "COSTS",
            ])
            .as_bytes()
            .to_vec(),
        8 => random
            .pick(&[
                "9007199254740991",
                "9007199254740992",
                "-9007199254740991",
                "9223372036854775807",
                "-9223372036854775808",
                "18446744073709551616",
                "3660d",
                "3661d",
                "0",
                "-0",
                "00",
                "+1",
                "1e3",
                "-",
                "",
            ])
            .as_bytes()
            .to_vec(),
        9 => (any.cast_signed() >> random.below(64))
            .to_string()
            .into_bytes(),
        10 => format!("{}ms", any >> random.below(64)).into_bytes(),
        _ => (0..random.magnitude(200)).map(|_| random.byte()).collect(),
    };
    if random.percent(5) && !word.is_empty() {
        let place = random.index(word.len());
        word[place] = random.byte();
    }
    word
}

/// The bounds that a request documents.
fn assert_bounds(algorithm: Algorithm, limits: &[Limit]) {
    assert!((1..=MAX_LIMITS).contains(&limits.len()));
    for (place, limit) in limits.iter().enumerate() {
        assert!(limit.limit() <= MAX_COUNT);
        assert!((duration::MIN_MS..=duration::MAX_MS).contains(&limit.window_ms()));
        match algorithm {
            Algorithm::Bucket => assert!((1..=MAX_COUNT).contains(&limit.refill())),
            Algorithm::Fixed | Algorithm::Sliding => assert_eq!(limit.refill(), limit.limit()),
        }
        assert!(limits[..place]
            .iter()
            .all(|other| other.window_ms() != limit.window_ms()));
    }
}

/// A request as a client would write it: its options in any order, its words in any case.
fn written(random: &mut Random, algorithm: Algorithm, request: &Request) -> Vec<Vec<u8>> {
    let mut words: Vec<Vec<u8>> = Vec::new();
    let mut cased = |word: &str| -> Vec<u8> {
        let case = |byte: u8| {
            if random.percent(50) {
                byte.to_ascii_lowercase()
            } else {
                byte
            }
        };
        word.bytes().map(case).collect()
    };
    for limit in &request.limits {
        words.push(limit.limit().to_string().into_bytes());
        if algorithm == Algorithm::Bucket {
            words.push(limit.refill().to_string().into_bytes());
        }
        words.push(Human(limit.window_ms()).to_string().into_bytes());
    }
    let mut options = vec![vec![cased("COST"), request.cost.to_string().into_bytes()]];
    options.extend(request.force.then(|| vec![cased("FORCE")]));
    options.extend(
        request
            .policy
            .map(|name| vec![cased("POLICY"), name.to_vec()]),
    );
    let deny = cased("DENY");
    let turn = random.index(options.len());
    options.rotate_left(turn);
    words.extend(options.into_iter().flatten());
    if let Some(Deny { list, values }) = request.deny {
        words.extend([deny, list.to_vec()]);
        words.extend(values.iter().map(|value| value.to_vec()));
    }
    words
}

#[test]
fn no_arguments_break_the_grammar_and_what_it_accepts_is_within_bounds() {
    let mut random = Random(7);
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..240_000 {
        let algorithm = random.pick(&Algorithm::ALL);
        let verb = random.pick(&[Verb::Charge, Verb::Peek]);
        let mut words: Vec<Vec<u8>> = Vec::new();
        for _ in 0..random.magnitude(MAX_LIMITS as u64 + 2) {
            words.push(random.below(50).to_string().into_bytes());
            if algorithm == Algorithm::Bucket {
                words.push(random.from(1, 9).to_string().into_bytes());
            }
            words.push(
                format!(
                    "{}{}",
                    random.from(1, 40),
                    random.pick(&["ms", "s", "m", "h", "d"])
                )
                .into_bytes(),
            );
        }
        for _ in 0..random.below(3) {
            match random.below(5) {
                0 => words.extend([b"COST".to_vec(), random.below(9).to_string().into_bytes()]),
                1 => words.push(b"force".to_vec()),
                2 => words.extend([b"Policy".to_vec(), word(&mut random)]),
                3 => words.extend([b"DENY".to_vec(), word(&mut random), word(&mut random)]),
                _ => words.push(word(&mut random)),
            }
        }
        for _ in 0..random.below(3) {
            if !words.is_empty() {
                let place = random.index(words.len());
                match random.below(3) {
                    0 => drop(words.remove(place)),
                    1 => words[place] = word(&mut random),
                    _ => words.insert(place, word(&mut random)),
                }
            }
        }
        let args: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        if let Ok(limits) = request::parse_limits(algorithm, &args, 4) {
            assert_bounds(algorithm, &limits);
        }
        let request = match request::parse(algorithm, verb, &args, 2) {
            Ok(request) => request,
            Err(error) => {
                let text = error.to_string();
                let plain = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
                assert!(
                    text.starts_with("ERR argument ") && plain,
                    "{words:?}: {text}"
                );
                refused += 1;
                continue;
            }
        };
        accepted += 1;
        assert_bounds(algorithm, &request.limits);
        assert!(request.cost.unsigned_abs() <= MAX_COUNT);
        assert!(!request.force || verb == Verb::Charge);
        let is_name = |name: &[u8]| (1..=MAX_NAME_BYTES).contains(&name.len());
        assert!(request.policy.is_none_or(is_name));
        assert!(request
            .deny
            .is_none_or(|deny| is_name(deny.list) && !deny.values.is_empty()));
        // What was understood, written down in other words, is understood the same.
        let words = written(&mut random, algorithm, &request);
        let again: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        assert_eq!(
            request::parse(algorithm, verb, &again, 2),
            Ok(request),
            "{words:?}"
        );
    }
    // Neither side of the grammar is left out.
    assert!(
        accepted > 20_000 && refused > 20_000,
        "{accepted} accepted, {refused} refused"
    );
}
