use super::super::limiter::Limiter;
use super::super::quote::{self, Hit, HitOptions, Quote};
use super::super::random::Random;
use super::*;
use crate::core::limit::Algorithm;

fn read(line: &str) -> Result<Throttle, Error> {
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    parse(&words, 2)
}

/// What the server does with a call: quote, commit, reply.
fn throttle(state: &mut Option<Limiter>, line: &str, now_ms: u64) -> [i64; 5] {
    let asked = read(line).unwrap();
    let hit = Hit {
        options: &HitOptions::NONE,
        ..Hit::new(
            Algorithm::Bucket,
            std::slice::from_ref(&asked.limit),
            asked.quantity,
        )
    };
    let mut quoted = Quote::default();
    let mut held = state.as_mut().map(Limiter::held);
    quote::quote(
        held.as_ref().map(|held| held.by_ref()),
        &hit,
        now_ms,
        true,
        &mut quoted,
    )
    .unwrap();
    let made = quote::commit(held.as_mut(), &hit, quoted.change, now_ms).unwrap();
    if let Some(limiter) = made {
        *state = Some(limiter);
    }
    reply(quoted.decision.binding().unwrap())
}

/// GCRA with redis-cell's arithmetic: nanoseconds, an interval that is cut to a whole one, seconds that are rounded up by what
/// is left in whole milliseconds, and a key that goes when its time has come.
#[derive(Default)]
struct Cell {
    tat_ns: Option<i128>,
}

impl Cell {
    fn throttle(&mut self, words: [i64; 4], now_ns: i128) -> [i64; 5] {
        let [max_burst, count, period_s, quantity] = words.map(i128::from);
        let interval = period_s * 1_000_000_000 / count;
        let tolerance = interval * (max_burst + 1);
        let increment = interval * quantity;
        let tat = self.tat_ns.filter(|tat| *tat > now_ns).unwrap_or(now_ns);
        let next = tat + increment;
        let late = next - tolerance - now_ns;
        let (limited, ahead) = if late > 0 {
            (1, tat - now_ns)
        } else {
            self.tat_ns = Some(next);
            (0, next - now_ns)
        };
        let retry = match (limited, increment <= tolerance) {
            (1, true) => seconds_of(late),
            _ => -1,
        };
        let remaining = ((tolerance - ahead) / 1_000).max(0) / (interval / 1_000);
        let reply = [limited, max_burst + 1, remaining, retry, seconds_of(ahead)];
        reply.map(|number| i64::try_from(number).unwrap())
    }
}

fn seconds_of(ns: i128) -> i128 {
    let ms = ns / 1_000_000;
    ms / 1_000 + i128::from(ms % 1_000 > 0)
}

/// Where an interval is a whole number of milliseconds redis-cell cuts nothing either, so every reply is the same.
#[test]
fn it_answers_as_redis_cell_does() {
    let mut random = Random(16);
    for _ in 0..2_000 {
        let period_s = random.pick(&[1, 2, 6, 60, 3_600, 86_400]);
        let divisors = [1, 2, 4, 5, 10, 20, 50, 100, 1_000];
        let count = random.pick(&divisors);
        let max_burst = random.pick(&[0, 1, 4, 15, 99]);
        let (mut state, mut cell) = (None, Cell::default());
        let mut now_ms = 1_700_000_000_000;
        for _ in 0..40 {
            now_ms += random.magnitude(period_s * 2_000);
            // Quantities that are looked at, that fit, and that never can.
            let quantity = random.below(u64::try_from(max_burst).unwrap() + 3);
            let quantity = i64::try_from(if random.one_in(2) { 1 } else { quantity }).unwrap();
            let line = format!("{max_burst} {count} {period_s} {quantity}");
            let words = [max_burst, count, i64::try_from(period_s).unwrap(), quantity];
            let expected = cell.throttle(words, i128::from(now_ms) * 1_000_000);
            assert_eq!(throttle(&mut state, &line, now_ms), expected, "{line}");
        }
    }
}

/// The example of its documentation, and what a caller then sees.
#[test]
fn the_documented_example_is_answered_so() {
    let mut state = None;
    let mut hit = |line, now_ms| throttle(&mut state, line, now_ms);
    assert_eq!(hit("15 30 60", 0), [0, 16, 15, -1, 2]);
    assert_eq!(hit("15 30 60 0", 0), [0, 16, 15, -1, 2]);
    assert_eq!(hit("15 30 60 15", 1), [0, 16, 0, -1, 32]);
    assert_eq!(hit("15 30 60", 1), [1, 16, 0, 2, 32]);
    assert_eq!(hit("15 30 60 17", 1), [1, 16, 0, -1, 32]);
    assert_eq!(hit("15 30 60", 2_000), [0, 16, 0, -1, 32]);
    assert_eq!(hit("15 30 60 -100", 2_000), [0, 16, 16, -1, 0]);
}

/// A client that sleeps as long as it was told gets through, whatever the numbers.
#[test]
fn after_the_seconds_told_the_same_quantity_fits() {
    let mut random = Random(61);
    let mut waits = 0;
    for _ in 0..2_000 {
        let max_burst = random.below(20);
        let count = 1 + random.magnitude(5_000);
        let period_s = 1 + random.magnitude(100_000);
        let mut state = None;
        let mut now_ms = 1_700_000_000_000;
        for _ in 0..20 {
            now_ms += random.magnitude(period_s * 300);
            let line = format!(
                "{max_burst} {count} {period_s} {}",
                1 + random.below(max_burst + 1)
            );
            let [limited, _, _, retry_after_s, _] = throttle(&mut state, &line, now_ms);
            if limited == 1 {
                now_ms += u64::try_from(retry_after_s).unwrap() * 1_000;
                assert_eq!(throttle(&mut state, &line, now_ms)[0], 0, "{line}");
                waits += 1;
            }
        }
    }
    assert!(waits > 1_000, "{waits}");
}

/// What redis-cell has counted goes on counting: from any of its states, each call is answered as redis-cell would have.
#[test]
fn a_key_that_redis_cell_left_is_taken_over_with_what_is_used() {
    let mut random = Random(1_600);
    for _ in 0..2_000 {
        let (max_burst, count, period_s) = (
            random.pick(&[0, 4, 15]),
            random.pick(&[1, 5, 20, 1_000]),
            60,
        );
        let line = format!("{max_burst} {count} {period_s}");
        let words = [max_burst, count, period_s, 1];
        let mut now_ms = 1_700_000_000_000;
        let mut cell = Cell::default();
        for _ in 0..random.below(20) {
            now_ms += random.magnitude(5_000);
            cell.throttle(words, i128::from(now_ms) * 1_000_000);
        }
        let Some(tat_ns) = cell.tat_ns else { continue };
        let tat_ms = left_behind(
            tat_ns.to_string().as_bytes(),
            Some(u64::try_from(tat_ns / 1_000_000).unwrap()),
        );
        let mut state = read(&line).unwrap().filling_until(tat_ms.unwrap(), now_ms);
        for _ in 0..5 {
            let expected = cell.throttle(words, i128::from(now_ms) * 1_000_000);
            assert_eq!(throttle(&mut state, &line, now_ms), expected, "{line}");
            now_ms += random.magnitude(5_000);
        }
    }
}

#[test]
fn another_string_is_not_taken_for_redis_cells() {
    const TAT_MS: u64 = 1_700_000_000_001;
    let text = b"1700000000000000001";
    assert_eq!(left_behind(text, Some(TAT_MS)), Some(TAT_MS));
    assert_eq!(left_behind(text, Some(TAT_MS - 10_000)), Some(TAT_MS));
    assert_eq!(left_behind(text, Some(TAT_MS + 10_001)), None);
    assert_eq!(left_behind(text, None), None);
    for other in [
        "",
        "5",
        "1700000000000",
        "-1700000000000000001",
        "1700000000000000001 ",
        "18446744073709551616",
    ] {
        assert_eq!(left_behind(other.as_bytes(), Some(TAT_MS)), None, "{other}");
    }
}

#[test]
fn a_bucket_of_any_numbers_is_full_at_its_time() {
    let asked = read("9007199254740990 9007199254740991 1").unwrap();
    assert_eq!(asked.filling_until(5, 5), None);
    assert_eq!(asked.filling_until(4, 5), None);
    let mut state = asked.filling_until(u64::MAX / 1_000_000, 0);
    assert_eq!(
        throttle(&mut state, "9007199254740990 9007199254740991 1 0", 0)[2],
        0
    );
}

#[test]
fn a_burst_of_minus_one_denies_everything() {
    assert_eq!(throttle(&mut None, "-1 30 60", 0), [1, 0, 0, -1, 0]);
}

#[test]
fn numbers_are_read_as_redis_cell_reads_them() {
    let expected = Throttle {
        limit: Limit::bucket(16, 30, 60_000).unwrap(),
        quantity: 2,
    };
    assert_eq!(read("15 30 60 2"), Ok(expected));
    assert_eq!(read("+15 030 60 +2"), Ok(expected));
}

#[test]
fn what_is_no_rate_is_refused_by_the_word_that_is_wrong() {
    for (line, text) in [
        ("x 30 60", "ERR argument 2 (max_burst) must be an integer from -1 to 9007199254740990"),
        ("-2 30 60", "ERR argument 2 (max_burst) must be an integer from -1 to 9007199254740990"),
        ("9007199254740991 30 60", "ERR argument 2 (max_burst) must be an integer from -1 to 9007199254740990"),
        ("15 0 60", "ERR argument 3 (count) must be an integer from 1 to 9007199254740991"),
        ("15 1.5 60", "ERR argument 3 (count) must be an integer from 1 to 9007199254740991"),
        ("15 30 0", "ERR argument 4 (period) must be an integer from 1 to 316224000"),
        ("15 30 60s", "ERR argument 4 (period) must be an integer from 1 to 316224000"),
        ("15 30 316224001", "ERR argument 4 (period) must be an integer from 1 to 316224000"),
        ("15 30 60 9223372036854775808", "ERR argument 5 (quantity) must be an integer from -9007199254740991 to 9007199254740991"),
        ("15 30 60 1 1", "ERR unexpected argument 6: expected CL.THROTTLE key max_burst count period [quantity]"),
        ("15 30", "ERR argument 4 is missing: expected CL.THROTTLE key max_burst count period [quantity]"),
    ] {
        assert_eq!(read(line).unwrap_err().to_string(), text, "{line}");
    }
}
