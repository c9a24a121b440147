//! Limits that are tried, beside hits of all kinds, against the oracle.

use crate::core::codec::{self, Effect};
use crate::core::limit::{Algorithm, Limit};
use crate::core::limiter::shadow::MAX_METERS;
use crate::core::limiter::{Limiter, Shadow};
use crate::core::oracle::{encoded, for_traces, trace, Model, Step};
use crate::core::quote::shadow::{commit, quote, Judged, Tried};
use crate::core::quote::{self, Change};
use crate::core::random::Random;

const TRACES: u64 = 20_000;
/// Past it no calendar window is resolved.
const CALENDAR_ENDS_MS: u64 = 250_000_000_000_000;

/// What a step charges, once its own limits have let it through.
fn tried_step(step: &Step, tried: &Step, taken: i64) -> Step {
    let mut asked = step.of(tried.limits.clone());
    asked.cost = taken;
    asked.block_ms.clear();
    asked.peek = false;
    asked
}

/// Asks the tried limits, and makes the change.
fn judge(state: &mut Option<Limiter>, step: &Step, asked: &Step, taken: i64) -> (Judged, Vec<u8>) {
    let tried = Tried {
        limits: &asked.limits,
        windows: &asked.windows,
    };
    let held = &mut state.as_mut().unwrap().held();
    let (judged, sent, noted) = step.hit(|hit| {
        tried.hit(hit, taken, |hit| {
            let judged = quote(held, hit, step.now_ms).unwrap_or_default();
            let sent = match judged.change {
                Change::Charge(cost) => codec::encode_shadow(hit, cost, step.now_ms),
                _ => Vec::new(),
            };
            let noted = commit(held, hit, judged.change, step.now_ms).unwrap();
            (judged, sent, noted)
        })
    });
    if noted.is_some() {
        *state = noted;
    }
    (judged, sent)
}

/// A replica that is sent what was charged.
fn apply(replica: &mut Option<Limiter>, sent: &[u8]) {
    let Some(Effect::Shadow(charge)) = codec::decode(sent, None) else {
        panic!("{sent:?} is no shadow's charge");
    };
    let held = &mut replica.as_mut().unwrap().held();
    let options = charge.options();
    let hit = charge.hit(&options);
    quote(held, &hit, charge.now_ms).unwrap();
    if let Some(noted) = commit(held, &hit, charge.change(), charge.now_ms).unwrap() {
        *replica = Some(noted);
    }
}

/// What a key is without what is tried on it.
fn without(state: &Option<Limiter>) -> Option<Limiter> {
    match state.clone()? {
        Limiter::Noted(mut noted) => {
            noted.notes.shadow = Shadow::default();
            match noted.notes.is_empty() {
                true => noted.limiter,
                false => Some(Limiter::Noted(noted)),
            }
        }
        limiter => Some(limiter),
    }
}

/// The key is what it would be without; the tried limits say what the oracle says that they would if they bound; a replica
/// holds the same.
fn is_as_without(steps: &[Step]) -> Result<(), String> {
    let mut random = Random(steps[0].now_ms ^ steps.len() as u64);
    let mut tries = trace(&mut random, steps[0].algorithm);
    let is_dated = steps.iter().all(|step| step.now_ms <= CALENDAR_ENDS_MS);
    for tried in &mut tries {
        tried.limits.truncate(MAX_METERS / 2);
        let plain = |limit: &mut Limit| is_dated || limit.span().plain_ms().is_some();
        tried.limits.retain(plain);
    }
    if tries.iter().any(|tried| tried.limits.is_empty()) {
        return Ok(());
    }
    let (mut plain, mut state, mut replica) = (None, None, None);
    let mut model = Model::default();
    let mut latest_ms = 0;
    for (index, step) in steps.iter().enumerate() {
        let wrong = |what: &str| Err(format!("step {index}: {what}"));
        let (Ok(before), Ok(quoted)) = (step.ask(&mut plain), step.ask(&mut state)) else {
            continue;
        };
        if before != quoted {
            return wrong("answered otherwise");
        }
        if step.peek {
            continue;
        }
        for key in [&mut plain, &mut state, &mut replica] {
            step.hit(|hit| quote::apply(key, hit, quoted.change, step.now_ms))
                .unwrap();
        }
        let taken = quoted.change.cost();
        if taken != 0 {
            // (Two thirds of the way the policy is another.)
            let tried = &tries[if 3 * index < 2 * steps.len() { 0 } else { 9 }];
            let asked = tried_step(step, tried, taken).without_id(); // the limits that are tried know of none
            let (judged, sent) = judge(&mut state, step, &asked, taken);
            match judged.change {
                Change::Charge(_) => apply(&mut replica, &sent),
                Change::Rewind => replica = codec::decode_state(&encoded(&mut state).unwrap()),
                _ => {}
            }
            let expected = model.hit(&asked);
            // (What was forgotten, as nothing of it was used, is not there again after a step back.)
            let is_steady = step.now_ms >= latest_ms;
            let expected = expected.filter(|_| is_steady);
            if expected.is_some_and(|answer| answer.fits == judged.denies) {
                return wrong("judged otherwise");
            }
            if !is_steady {
                return Ok(());
            }
        }
        latest_ms = latest_ms.max(step.now_ms);
        if encoded(&mut plain) != encoded(&mut without(&state)) {
            return wrong("is not as without");
        }
        if encoded(&mut state) != encoded(&mut replica) {
            return wrong("is not as its replica");
        }
        let read = encoded(&mut state).map(|bytes| codec::decode_state(&bytes).unwrap());
        if encoded(&mut state) != read.and_then(|read| encoded(&mut Some(read))) {
            return wrong("is read otherwise");
        }
    }
    Ok(())
}

/// Stamps change what a bucket keeps for good; the oracle does not forget that, and a bucket that nobody uses does. And the
/// oracle's places are none here.
fn unstamped(_: &mut Random, mut steps: Vec<Step>) -> Vec<Step> {
    for step in &mut steps {
        (step.stamp, step.reserve_ms) = (false, None);
    }
    steps
}

#[test]
fn fixed_windows_are_tried_beside_a_key_that_is_as_without() {
    for_traces(Algorithm::Fixed, TRACES, unstamped, is_as_without);
}

#[test]
fn sliding_windows_are_tried_beside_a_key_that_is_as_without() {
    for_traces(Algorithm::Sliding, TRACES, unstamped, is_as_without);
}

#[test]
fn buckets_are_tried_beside_a_key_that_is_as_without() {
    for_traces(Algorithm::Bucket, TRACES, unstamped, is_as_without);
}
