use super::*;
use crate::core::duration::Human;
use crate::core::limit::MAX_TIME_MS;
use crate::core::random::Random;

fn words(line: &str) -> Vec<&[u8]> {
    line.split_whitespace().map(str::as_bytes).collect()
}

/// Reads a line as the arguments behind `RL.X key`.
fn refusal(algorithm: Algorithm, verb: Verb, line: &str) -> String {
    match parse(algorithm, verb, &words(line), 2) {
        Ok(request) => format!("accepted {request:?}"),
        Err(error) => error.to_string(),
    }
}

/// Reads a line as the arguments behind `RL.ALL`.
fn refusal_of_all(verb: Verb, line: &str) -> String {
    match parse_all(verb, &words(line), 1) {
        Ok(all) => format!("accepted {all:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_whole_line_is_read() {
    let args = words(
        "5 15m 20 1d cost 3 Block 15m 1h stamp id DENY min 2 POLICY acme at 7 policy login \
         DENY bots 1.2.3.4 cost",
    );
    let request = parse(Algorithm::Sliding, Verb::Charge, &args, 2).unwrap();
    let Request { clause, options } = request;
    assert_eq!(
        clause.limits.as_slice(),
        [
            Limit::window(5, 900_000).unwrap(),
            Limit::window(20, 86_400_000).unwrap()
        ]
    );
    assert_eq!((clause.cost, clause.min), (3, Some(2)));
    assert_eq!(clause.block_ms.as_slice(), [900_000, 3_600_000]);
    assert_eq!(clause.policies.as_slice(), [b"acme".as_slice(), b"login"]);
    assert_eq!(clause.rarity, Rarity::Rare);
    assert!(options.stamp && !options.force);
    assert_eq!((options.at_ms, options.id), (Some(7), b"DENY".as_slice()));
    let deny = options.deny.unwrap();
    assert_eq!(deny.list, b"bots");
    assert_eq!(deny.values, [b"1.2.3.4".as_slice(), b"cost"]);
}

#[test]
fn a_plain_line_is_no_rare_one() {
    let args = words("100 10 1s POLICY api COST -2 DENY bots x");
    let request = parse(Algorithm::Bucket, Verb::Peek, &args, 2).unwrap();
    assert_eq!(
        request.clause.limits.as_slice(),
        [Limit::bucket(100, 10, 1000).unwrap()]
    );
    assert_eq!(request.clause.cost, -2);
    assert!(request.clause.rarity == Rarity::Usual && !request.options.force);
    for rare in ["FORCE", "AT 7", "STAMP", "MIN 1", "RESERVE 1s", "BLOCK 1s"] {
        let line = format!("100 10 1s {rare}");
        let words = words(&line);
        let request = parse(Algorithm::Bucket, Verb::Charge, &words, 2).unwrap();
        assert_eq!(request.clause.rarity, Rarity::Rare, "{rare}");
    }
    for (algorithm, line, rarity) in [
        (Algorithm::Fixed, "5 1w", Rarity::Rare),
        (Algorithm::Fixed, "5 1s ID a", Rarity::Once),
        (Algorithm::Fixed, "5 1s ID a COST 2", Rarity::Once),
        (Algorithm::Fixed, "5 1s ID a STAMP", Rarity::Rare),
        (Algorithm::Fixed, "5 1s STAMP ID a", Rarity::Rare),
        (Algorithm::Fixed, "5 1w ID a", Rarity::Rare),
        (Algorithm::Lease, "5 1s id", Rarity::Usual),
    ] {
        let words = words(line);
        let request = parse(algorithm, Verb::Charge, &words, 2).unwrap();
        assert_eq!(request.clause.rarity, rarity, "{line}");
    }
}

#[test]
fn an_id_and_a_name_may_be_any_word() {
    let args = words("5 1s COST POLICY FIXED POLICY DENY FORCE");
    assert!(parse(Algorithm::Lease, Verb::Charge, &args, 2).is_err());
    let args = words("5 1s COST POLICY FIXED POLICY DENY COST 3");
    let clause = parse(Algorithm::Lease, Verb::Charge, &args, 2)
        .unwrap()
        .clause;
    assert_eq!((clause.id, clause.cost), (b"COST".as_slice(), 3));
    assert_eq!(clause.policies.as_slice(), [b"FIXED".as_slice(), b"DENY"]);
}

#[test]
fn clauses_of_several_keys_are_read() {
    let args = words(
        "3 a FIXED c sliding 500 1m FIXED 5 1mo@15 9 1d COST 7 BLOCK 1m policy SLIDING \
         Lease 10 2m FIXED COST 0 STAMP DENY bots FIXED",
    );
    let all = parse_all(Verb::Charge, &args, 1).unwrap();
    assert_eq!(all.keys, [b"a".as_slice(), b"FIXED", b"c"]);
    let algorithms: Vec<Algorithm> = all
        .clauses
        .iter()
        .map(|(algorithm, _)| *algorithm)
        .collect();
    use Algorithm::{Fixed, Lease, Sliding};
    assert_eq!(algorithms, [Sliding, Fixed, Lease]);
    let clauses: Vec<&Clause> = all.clauses.iter().map(|(_, clause)| clause).collect();
    assert_eq!(
        clauses.iter().map(|clause| clause.cost).collect::<Vec<_>>(),
        [1, 7, 0]
    );
    assert_eq!(clauses[1].limits.len(), 2);
    assert_eq!(clauses[1].block_ms.as_slice(), [60_000]);
    assert_eq!(clauses[1].policies.as_slice(), [b"SLIDING".as_slice()]);
    assert_eq!(clauses[2].id, b"FIXED");
    assert!(all.options.stamp);
    assert_eq!(all.options.deny.unwrap().values, [b"FIXED".as_slice()]);
}

#[test]
fn every_refusal_names_the_argument_and_what_it_should_be() {
    use Algorithm::{Bucket, Fixed, Lease, Sliding};
    let nine: String = (1..=9).map(|n| format!("1 {n}s ")).collect();
    let options = "must be a further limit or one of COST, MIN, FORCE, AT, STAMP, ID, NEXT, RESERVE, BLOCK, POLICY, SHADOW, DENY";
    let count = "must be an integer from 0 to 9007199254740991";
    let duration =
        "must be a positive integer and a unit (ms, s, m, h, d or w), such as 60s or 500ms";
    let calendar =
        "must be a positive integer and a unit (ms, s, m, h, d, w, mo or y), such as 60s or 500ms";
    let at = "must be a Unix time in milliseconds, from 0 to 9007199254740991";
    let anchor = "must have a day (1mo@15, 1w@thu), a time of day (1d@05:00), a time zone (1d@Europe/Berlin, 1d@+02:00) or several in this order (1mo@15,05:00,Europe/Berlin) after its @";
    for (algorithm, line, text) in [
        (Fixed, "", "2 is missing: expected limit"),
        (Fixed, "5", "3 is missing: expected window"),
        (Bucket, "5 1", "4 is missing: expected interval"),
        (Lease, "5", "3 is missing: expected ttl"),
        (Lease, "5 1s", "4 is missing: expected the lease's id"),
        (Fixed, "x 1s", &format!("2 (limit) {count}")),
        (Fixed, "-1 1s", &format!("2 (limit) {count}")),
        (Lease, "-1 1s a", &format!("2 (limit) {count}")),
        (Fixed, "9007199254740992 1s", &format!("2 (limit) {count}")),
        (Bucket, "x 1 1s", &format!("2 (capacity) {count}")),
        (Bucket, "5 0 1s", "3 (refill) must be an integer from 1 to 9007199254740991"),
        (Sliding, "5 60", "3 (window) needs a unit, such as 60s or 500ms"),
        (Bucket, "5 1 60", "4 (interval) needs a unit, such as 60s or 500ms"),
        (Lease, "5 60 id", "3 (ttl) needs a unit, such as 60s or 500ms"),
        (Sliding, "5 0s", "3 (window) must be from 1ms to 3660d"),
        (Sliding, "5 1x", &format!("3 (window) {duration}")),
        (Bucket, "5 1 1mo", &format!("4 (interval) {duration}")),
        (Lease, "5 1mo id", &format!("3 (ttl) {duration}")),
        (Fixed, "5 1x", &format!("3 (window) {calendar}")),
        (Fixed, "5 01w", &format!("3 (window) {calendar}")),
        (Fixed, "5 523w", "3 (window) must be from 1ms to 3660d"),
        (Fixed, "5 2mo", "3 (window) must be 1mo, 3mo or 1y: no other number of months or years"),
        (Fixed, "5 1M@15", "3 (window) must say mo for months: m is for minutes"),
        (Fixed, "5 1h@Europe/Berlin", "3 (window) must count d, w, mo or y to have a day or a time zone"),
        (Fixed, "5 1mo@32", "3 (window) must have a day of the month from 1 to 31 after its @, such as 1mo@15"),
        (Fixed, "5 1w@15", "3 (window) must have a weekday from mon to sun after its @, such as 1w@thu"),
        (Fixed, "5 1d@25:00", "3 (window) must have a time of day as HH:MM, from 00:00 to 23:59, such as 1d@05:00"),
        (Fixed, "5 1d@../../etc/passwd", &format!("3 (window) {anchor}")),
        (Sliding, "5 1mo", "3 (window) must be a duration, such as 30d: calendar windows are for FIXED"),
        (Sliding, "5 1d@+02:00", "3 (window) must be a duration, such as 30d: calendar windows are for FIXED"),
        (Sliding, "5 60s 9 1m", "5 (window) must differ from the window of every other limit in the call"),
        (Fixed, "5 1d 9 24h", "5 (window) must differ from the window of every other limit in the call"),
        (Fixed, "5 1w 9 1w@mon", "5 (window) must differ from the window of every other limit in the call"),
        (Bucket, "5 1 60s 9 2 1m", "7 (interval) must differ from the interval of every other limit in the call"),
        (Sliding, &nine, "18: too many limits (maximum 8)"),
        (Fixed, "5 1s COST", "5 is missing: expected the cost"),
        (Fixed, "5 1s COST 1.5", "5 (cost) must be an integer from -9007199254740991 to 9007199254740991"),
        (Fixed, "5 1s COST 9007199254740992", "5 (cost) must be an integer from -9007199254740991 to 9007199254740991"),
        (Fixed, "5 1s COST 1 cost 2", "6 repeats COST: expected each option at most once"),
        (Fixed, "5 1s FORCE FORCE", "5 repeats FORCE: expected each option at most once"),
        (Fixed, "5 1s AT 1 at 2", "6 repeats AT: expected each option at most once"),
        (Fixed, "5 1s STAMP COST 1 STAMP", "7 repeats STAMP: expected each option at most once"),
        (Fixed, "5 1s MIN 1 MIN 1", "6 repeats MIN: expected each option at most once"),
        (Fixed, "5 1s BLOCK 1s 2s BLOCK 1s", "7 repeats BLOCK: expected each option at most once"),
        (Bucket, "5 1 1s RESERVE 1s RESERVE 1s", "7 repeats RESERVE: expected each option at most once"),
        (Fixed, "5 1s NOW", &format!("4 {options}")),
        (Lease, "5 1s a 6 2s", &format!("5 {options}")),
        (Fixed, "5 1s POLICY", "5 is missing: expected policy"),
        (Fixed, "5 1s POLICY a POLICY b POLICY c POLICY d POLICY e", "12: too many policies (maximum 4)"),
        (Fixed, "5 1s DENY", "5 is missing: expected deny list"),
        (Fixed, "5 1s DENY bots", "6 is missing: expected a value to look for in the deny list"),
        (Fixed, "5 1s AT", "5 is missing: expected a time in Unix milliseconds"),
        (Fixed, "5 1s AT -1", &format!("5 (unix-ms) {at}")),
        (Fixed, "5 1s AT 9007199254740992", &format!("5 (unix-ms) {at}")),
        (Fixed, "5 1s AT now", &format!("5 (unix-ms) {at}")),
        (Fixed, "5 1s MIN", "5 is missing: expected the least to take"),
        (Fixed, "5 1s MIN 0", "5 (min) must be an integer from 1 to the cost"),
        (Fixed, "5 1s MIN 2", "5 (min) must be an integer from 1 to the cost"),
        (Fixed, "5 1s MIN 4 COST 3", "5 (min) must be an integer from 1 to the cost"),
        (Bucket, "5 1 1s RESERVE", "6 is missing: expected a duration"),
        (Bucket, "5 1 1s RESERVE 5", "6 (max-wait) needs a unit, such as 60s or 500ms"),
        (Bucket, "5 1 1s RESERVE 1mo", &format!("6 (max-wait) {duration}")),
        (Fixed, "5 1s BLOCK", "5 is missing: expected a duration"),
        (Fixed, "5 1s BLOCK COST 2", &format!("5 (duration) {duration}")),
        (Fixed, "5 1s BLOCK 1h 60", "6 (duration) needs a unit, such as 60s or 500ms"),
        (Fixed, "5 1s BLOCK 1s 1s 1s 1s 1s 1s 1s 1s 1s", "13: too many durations (maximum 8)"),
        (Fixed, "5 1s RESERVE 1s", "4: RESERVE does not go with FIXED, SLIDING or LEASE"),
        (Lease, "5 1s a RESERVE 1s", "5: RESERVE does not go with FIXED, SLIDING or LEASE"),
        (Bucket, "5 1 1s FORCE RESERVE 1s", "6: RESERVE does not go with FORCE"),
        (Bucket, "5 1 1s RESERVE 1s AT 7", "5: RESERVE does not go with AT"),
        (Bucket, "5 1 1s RESERVE 1s MIN 1", "5: RESERVE does not go with MIN"),
        (Bucket, "5 1 1s RESERVE 1s BLOCK 1s", "5: RESERVE does not go with BLOCK"),
        (Sliding, "5 1s FORCE MIN 1", "5: MIN does not go with FORCE"),
        (Sliding, "5 1s MIN 1 FORCE", "4: MIN does not go with FORCE"),
        (Lease, "5 1s a FORCE", "5: FORCE does not go with a lease"),
        (Lease, "5 1s a AT 7", "5: AT does not go with a lease"),
        (Lease, "5 1s a STAMP", "5: STAMP does not go with a lease"),
        (Fixed, "5 1s SHADOW", "4: SHADOW does not go with one key, whose answer it would be: it stands in a clause of RL.ALL"),
        (Lease, "5 1s a ID b", "5: ID does not go with a lease, which has an id of its own"),
        (Fixed, "5 1s ID", "5 is missing: expected the hit's id"),
        (Fixed, "5 1s ID a COST 1 ID b", "8 repeats ID: expected each option at most once"),
        (Lease, "5 1s a MIN 1", "5: MIN does not go with a lease"),
        (Lease, "5 1s a BLOCK 1s", "5: BLOCK does not go with a lease"),
        (Lease, "5 1s a COST -1", "6 (cost) must be an integer from 0 to 9007199254740991: a lease is given back by RL.RELEASE"),
    ] {
        let text = format!("ERR argument {text}");
        assert_eq!(refusal(algorithm, Verb::Charge, line), text, "{line}");
    }
    for option in ["FORCE", "AT 7", "STAMP", "ID a", "RESERVE 1s"] {
        let (line, name) = (
            format!("5 1 1s {option}"),
            option.split(' ').next().unwrap(),
        );
        assert_eq!(
            refusal(Bucket, Verb::Peek, &line),
            format!("ERR argument 5: {name} does not go with a peek, which charges nothing")
        );
    }
    assert!(
        refusal(Fixed, Verb::Peek, "5 1s COST 3 MIN 2 BLOCK 1s POLICY a").starts_with("accepted")
    );
    let too_long = format!("5 1s {}", "i".repeat(MAX_ID_BYTES + 1));
    assert_eq!(
        refusal(Lease, Verb::Charge, &too_long),
        "ERR argument 4 (id) must be from 1 to 64 bytes long"
    );
    assert!(parse(Lease, Verb::Charge, &[b"5", b"1s", b""], 2).is_err());
    let too_long = format!("5 1s ID {}", "i".repeat(MAX_ID_BYTES + 1));
    assert_eq!(
        refusal(Fixed, Verb::Charge, &too_long),
        "ERR argument 5 (id) must be from 1 to 64 bytes long"
    );
    assert!(parse(Fixed, Verb::Charge, &[b"5", b"1s", b"ID", b""], 2).is_err());
}

#[test]
fn every_refusal_of_several_keys_names_the_argument_and_what_it_should_be() {
    let numkeys = "(numkeys) must be an integer from 1 to 16, followed by that many keys";
    let clause =
        "must be FIXED, SLIDING, BUCKET or LEASE: each key has a clause, in the order of the keys";
    let missing = "is missing: expected FIXED, SLIDING, BUCKET or LEASE, and its limits";
    for (line, text) in [
        ("", "1 is missing: expected numkeys".to_owned()),
        ("0 FIXED 5 1s", format!("1 {numkeys}")),
        ("-1 a FIXED 5 1s", format!("1 {numkeys}")),
        ("+1 a FIXED 5 1s", format!("1 {numkeys}")),
        ("01 a FIXED 5 1s", format!("1 {numkeys}")),
        ("1.0 a FIXED 5 1s", format!("1 {numkeys}")),
        ("x a FIXED 5 1s", format!("1 {numkeys}")),
        ("17 a FIXED 5 1s", format!("1 {numkeys}")),
        ("9223372036854775807 a FIXED 5 1s", format!("1 {numkeys}")),
        ("18446744073709551617 a FIXED 5 1s", format!("1 {numkeys}")),
        ("2 a", format!("1 {numkeys}")),
        ("1", format!("1 {numkeys}")),
        ("1 a", format!("3 {missing}")),
        ("2 a b FIXED 5 1s", format!("7 {missing}")),
        ("2 a b FIXED 5 1s COST 2", format!("9 {missing}")),
        ("2 a a FIXED 5 1s FIXED 6 1s", "3 (key) repeats a key: put its limits into one clause".to_owned()),
        ("1 a GCRA 5 1s", format!("3 {clause}")),
        ("1 a 5 1s", format!("3 {clause}")),
        ("1 a FIXED 5 1s FIXED 6 2s", "6: more clauses than keys".to_owned()),
        ("1 a FIXED 5 1s FORCE LEASE 6 2s a", "7: more clauses than keys".to_owned()),
        ("1 a FIXED 5 1s COST 2 RELEASE", "8 must be a further limit or one of COST, MIN, FORCE, AT, STAMP, ID, NEXT, RESERVE, BLOCK, POLICY, SHADOW, DENY".to_owned()),
        ("2 a b FIXED 5 1s FORCE FIXED 6 2s", "7: FORCE applies to the whole call: it goes after the last clause".to_owned()),
        ("2 a b FIXED 5 1s AT 7 FIXED 6 2s", "7: AT applies to the whole call: it goes after the last clause".to_owned()),
        ("2 a b FIXED 5 1s STAMP FIXED 6 2s", "7: STAMP applies to the whole call: it goes after the last clause".to_owned()),
        ("2 a b FIXED 5 1s ID x FIXED 6 2s", "7: ID applies to the whole call: it goes after the last clause".to_owned()),
        ("2 a b LEASE 5 1s id LEASE 5 1s id ID x", "12: ID does not go with a lease, which has an id of its own".to_owned()),
        ("2 a b FIXED 5 1s DENY bots x FIXED 6 2s", "7: DENY applies to the whole call: it goes after the last clause".to_owned()),
        ("1 a FIXED 5 1s FORCE COST 2", "7: COST belongs to a clause: it goes before the options of the whole call".to_owned()),
        ("1 a FIXED 5 1s STAMP POLICY api", "7: POLICY belongs to a clause: it goes before the options of the whole call".to_owned()),
        ("1 a FIXED 5 1s AT 7 BLOCK 1s", "8: BLOCK belongs to a clause: it goes before the options of the whole call".to_owned()),
        ("1 a FIXED 5 1s MIN 1", "6: MIN does not go with several keys".to_owned()),
        ("2 a b BUCKET 5 1 1s RESERVE 1s FIXED 5 1s", "8: RESERVE does not go with several keys".to_owned()),
        ("2 a b FIXED 5 1s FIXED 5 1s SHADOW BLOCK 1s", "10: SHADOW does not go with BLOCK".to_owned()),
        ("2 a b FIXED 5 1s LEASE 5 1s id SHADOW", "11: SHADOW does not go with a lease".to_owned()),
        ("2 a b FIXED 5 1s FIXED 5 1s SHADOW SHADOW", "11 repeats SHADOW: expected each option at most once".to_owned()),
        ("2 a b FIXED 5 1s FIXED 5 1s STAMP SHADOW", "11: SHADOW belongs to a clause: it goes before the options of the whole call".to_owned()),
        ("1 a FIXED 5 1s SHADOW", "6: every clause says SHADOW: at least one must bind".to_owned()),
        ("2 a b FIXED 5 1s SHADOW FIXED 5 1s COST 2 SHADOW", "13: every clause says SHADOW: at least one must bind".to_owned()),
        ("2 a b LEASE 5 1s id FIXED 5 1s FORCE", "11: FORCE does not go with a lease".to_owned()),
        ("2 a b LEASE 5 1s id FIXED 5 1s AT 7", "11: AT does not go with a lease".to_owned()),
        ("2 a b FIXED 5 1s LEASE 5 1s id FORCE", "11: FORCE does not go with a lease".to_owned()),
        ("2 a b FIXED 5 1s LEASE 5 1s id BLOCK 1s", "11: BLOCK does not go with a lease".to_owned()),
        ("1 a LEASE 5 1s id COST -1", "8 (cost) must be an integer from 0 to 9007199254740991: a lease is given back by RL.RELEASE".to_owned()),
        ("2 a b FIXED 5 1s COST 1 COST 2 FIXED 5 1s", "9 repeats COST: expected each option at most once".to_owned()),
    ] {
        let text = format!("ERR argument {text}");
        assert_eq!(refusal_of_all(Verb::Charge, line), text, "{line}");
    }
    let keys: String = (1..=16).map(|n| format!("k{n} ")).collect();
    let clauses = "FIXED 5 1s COST 2 ".repeat(16);
    let line = format!("16 {keys}{clauses}FORCE AT 7 STAMP ID a DENY bots x");
    assert!(refusal_of_all(Verb::Charge, &line).starts_with("accepted"));
    for option in ["FORCE", "AT 7", "STAMP", "ID x"] {
        let text = refusal_of_all(Verb::Peek, &format!("1 a FIXED 5 1s {option}"));
        assert!(text.ends_with("a peek, which charges nothing"), "{text}");
    }
    for line in [
        "2 a b FIXED 5 1s shadow FIXED 5 1s",
        "2 a b LEASE 5 1s id BUCKET 5 1 1s Shadow COST 2 NEXT",
    ] {
        for verb in [Verb::Charge, Verb::Peek] {
            assert!(refusal_of_all(verb, line).starts_with("accepted"), "{line}");
        }
    }
    let line = "1 a FIXED 5 1s BLOCK 1s DENY bots x";
    assert!(refusal_of_all(Verb::Peek, line).starts_with("accepted"));
    for line in [
        "2 a b LEASE 5 1s id FIXED 5 1s STAMP ID x",
        "2 a b FIXED 5 1s LEASE 5 1s id ID x",
    ] {
        assert!(refusal_of_all(Verb::Charge, line).starts_with("accepted"));
    }
}

#[test]
fn a_name_is_neither_empty_nor_endless() {
    let long = [b'x'; MAX_NAME_BYTES + 1];
    for name in [b"".as_slice(), &long] {
        let args = [b"5".as_slice(), b"1s", b"POLICY", name];
        let error = parse(Algorithm::Fixed, Verb::Charge, &args, 2).unwrap_err();
        assert_eq!(
            error,
            Error::Name {
                at: 5,
                what: "policy"
            }
        );
    }
    let args = [b"5".as_slice(), b"1s", b"POLICY", &long[1..]];
    assert!(parse(Algorithm::Fixed, Verb::Charge, &args, 2).is_ok());
}

#[test]
fn integers_are_read_as_redis_reads_them() {
    for value in [0, 1, -1, 42, i64::MAX, i64::MIN] {
        assert_eq!(integer(value.to_string().as_bytes()), Some(value));
    }
    for text in [
        "",
        "-",
        "+1",
        "01",
        "-0",
        " 1",
        "1 ",
        "1x",
        "9223372036854775808",
    ] {
        assert_eq!(integer(text.as_bytes()), None, "{text:?}");
    }
}

#[test]
fn a_scan_may_say_how_many_it_wants_at_a_time() {
    let count = |line| scan_count(&words(line), 4, 10, 500);
    assert_eq!(scan_count(&[], 4, 10, 500), Ok(10));
    for (line, expected) in [("COUNT 1", 1), ("count 77", 77), ("Count 500", 500)] {
        assert_eq!(count(line), Ok(expected), "{line}");
    }
    for line in [
        "COUNT",
        "COUNT 0",
        "COUNT 501",
        "COUNT -1",
        "COUNT x",
        "COUNT 1 1",
        "MATCH 5",
        "5",
    ] {
        assert_eq!(
            count(line),
            Err(Error::ScanCount { at: 4, max: 500 }),
            "{line}"
        );
    }
}

/// Words that mean something, words that almost do, and noise.
fn word(random: &mut Random) -> Vec<u8> {
    let any = random.next();
    let mut word = match random.below(14) {
        0..=2 => random.below(50).to_string().into_bytes(),
        3..=5 => format!(
            "{}{}",
            random.below(50),
            random.pick(&["ms", "s", "m", "h", "d", "w", "S", "Ms", "y", "mo", ""])
        )
        .into_bytes(),
        6..=7 => random
            .pick(&[
                "COST", "cost", "FORCE", "Force", "POLICY", "policy", "DENY", "deny", "DEN",
                "COSTS", "AT", "stamp", "MIN", "RESERVE", "block", "BLOCK", "FIXED", "lease",
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
        11 => random
            .pick(&[
                "1mo@15",
                "1w@thu",
                "1y",
                "1d@Europe/Berlin",
                "2d@+05:45",
                "1mo@31,Asia/Gaza",
                "1mo@",
                "1d@+25:00",
                "1M@15",
                "1mo@00",
                "1d@Mars/Base",
                "522w",
            ])
            .as_bytes()
            .to_vec(),
        _ => (0..random.magnitude(200)).map(|_| random.byte()).collect(),
    };
    if random.percent(5) && !word.is_empty() {
        let place = random.index(word.len());
        word[place] = random.byte();
    }
    word
}

/// The words of a clause that may be right: its limits and what stands behind them.
fn clause_words(random: &mut Random, algorithm: Algorithm) -> Vec<Vec<u8>> {
    let mut words: Vec<Vec<u8>> = Vec::new();
    let most = match algorithm {
        Algorithm::Lease => 1,
        _ => MAX_LIMITS as u64 + 2,
    };
    for _ in 0..random.magnitude(most).max(1) {
        words.push(random.below(50).to_string().into_bytes());
        if algorithm == Algorithm::Bucket {
            words.push(random.from(1, 9).to_string().into_bytes());
        }
        let unit = random.pick(&["ms", "s", "m", "h", "d"]);
        words.push(format!("{}{unit}", random.from(1, 40)).into_bytes());
    }
    if algorithm == Algorithm::Lease {
        words.push(word(random));
    }
    for _ in 0..random.below(3) {
        match random.below(6) {
            0 => words.extend([b"COST".to_vec(), random.below(9).to_string().into_bytes()]),
            1 => words.extend([b"Policy".to_vec(), word(random)]),
            2 => words.extend([b"block".to_vec(), b"1s".to_vec(), b"15m".to_vec()]),
            3 => words.extend([b"MIN".to_vec(), b"1".to_vec()]),
            4 => words.push(b"Shadow".to_vec()),
            _ => words.extend([b"Reserve".to_vec(), b"1s".to_vec()]),
        }
    }
    words
}

fn call_words(random: &mut Random) -> Vec<Vec<u8>> {
    match random.below(6) {
        0 => vec![b"force".to_vec()],
        4 => vec![b"Id".to_vec(), word(random)],
        1 => vec![b"Stamp".to_vec()],
        2 => vec![
            b"AT".to_vec(),
            random.magnitude(1 << 54).to_string().into_bytes(),
        ],
        3 => vec![b"DENY".to_vec(), word(random), word(random)],
        _ => vec![word(random)],
    }
}

fn scramble(random: &mut Random, words: &mut Vec<Vec<u8>>) {
    for _ in 0..random.below(3) {
        if !words.is_empty() {
            let place = random.index(words.len());
            match random.below(3) {
                0 => drop(words.remove(place)),
                1 => words[place] = word(random),
                _ => words.insert(place, word(random)),
            }
        }
    }
}

/// The bounds that a clause documents, and what goes together in one.
fn assert_clause(algorithm: Algorithm, clause: &Clause) {
    assert!((1..=MAX_LIMITS).contains(&clause.limits.len()));
    for (place, limit) in clause.limits.iter().enumerate() {
        assert!(limit.limit() <= MAX_COUNT);
        let is_plain = (duration::MIN_MS..=duration::MAX_MS).contains(&limit.window_ms());
        assert!(is_plain || (algorithm == Algorithm::Fixed && limit.window_ms() == 0));
        match algorithm {
            Algorithm::Bucket => assert!((1..=MAX_COUNT).contains(&limit.refill())),
            _ => assert_eq!(limit.refill(), limit.limit()),
        }
        let mut before = clause.limits.iter().take(place);
        assert!(before.all(|other| other.span() != limit.span()));
    }
    assert!(clause.cost.unsigned_abs() <= MAX_COUNT);
    let cost = clause.cost.max(1).unsigned_abs();
    assert!(clause
        .min
        .is_none_or(|min| min >= 1 && (min <= cost || clause.cost < 1)));
    assert!(clause
        .block_ms
        .iter()
        .chain(&clause.reserve_ms)
        .all(|ms| (1..=duration::MAX_MS).contains(ms)));
    assert!(clause
        .policies
        .iter()
        .all(|name| (1..=MAX_NAME_BYTES).contains(&name.len())));
    assert!(clause.reserve_ms.is_none() || algorithm == Algorithm::Bucket);
    assert!(clause.reserve_ms.is_none() || (clause.min.is_none() && clause.block_ms.is_empty()));
    let is_lease = algorithm == Algorithm::Lease;
    assert_eq!((1..=MAX_ID_BYTES).contains(&clause.id.len()), is_lease);
    if is_lease {
        assert!(clause.cost >= 0 && clause.block_ms.is_empty() && clause.min.is_none());
    }
    let is_calendar = |limit: &Limit| limit.window_ms() == 0;
    let says_rare = clause.min.is_some()
        || clause.reserve_ms.is_some()
        || !clause.block_ms.is_empty()
        || clause.limits.iter().any(is_calendar);
    assert!(clause.rarity == Rarity::Rare || !says_rare);
}

fn assert_options(verb: Verb, options: &Options) {
    let is_name = |name: &[u8]| (1..=MAX_NAME_BYTES).contains(&name.len());
    assert!(verb == Verb::Charge || !(options.force || options.stamp || options.at_ms.is_some()));
    assert!(options.at_ms.is_none_or(|at_ms| at_ms <= MAX_TIME_MS));
    assert!(options
        .deny
        .is_none_or(|deny| is_name(deny.list) && !deny.values.is_empty()));
}

fn cased(random: &mut Random, word: &str) -> Vec<u8> {
    let mut case = |byte: u8| match random.percent(50) {
        true => byte.to_ascii_lowercase(),
        false => byte,
    };
    word.bytes().map(&mut case).collect()
}

/// A clause as a client would write it: its options in any order, its words in any case.
fn written(
    random: &mut Random,
    algorithm: Algorithm,
    clause: &Clause,
) -> (Vec<Vec<u8>>, Vec<Vec<Vec<u8>>>) {
    let mut words: Vec<Vec<u8>> = Vec::new();
    for limit in &clause.limits {
        words.push(limit.limit().to_string().into_bytes());
        if algorithm == Algorithm::Bucket {
            words.push(limit.refill().to_string().into_bytes());
        }
        words.push(limit.window_text(algorithm).as_bytes().to_vec());
    }
    if algorithm == Algorithm::Lease {
        words.push(clause.id.to_vec());
    }
    let duration = |ms: &u64| Human::new(*ms).to_string().into_bytes();
    let mut options = vec![vec![
        cased(random, "COST"),
        clause.cost.to_string().into_bytes(),
    ]];
    options.extend(
        clause
            .min
            .map(|min| vec![cased(random, "MIN"), min.to_string().into_bytes()]),
    );
    options.extend(
        clause
            .reserve_ms
            .map(|ms| vec![cased(random, "RESERVE"), duration(&ms)]),
    );
    if !clause.block_ms.is_empty() {
        let mut block = vec![cased(random, "BLOCK")];
        block.extend(clause.block_ms.iter().map(duration));
        options.push(block);
    }
    options.extend(clause.is_shadow.then(|| vec![cased(random, "SHADOW")]));
    // The policies' order says which goes first.
    let policies = clause.policies.iter();
    options.push(
        policies
            .flat_map(|name| [cased(random, "POLICY"), name.to_vec()])
            .collect(),
    );
    (words, options)
}

fn written_options(random: &mut Random, options: &Options) -> Vec<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    words.extend(options.force.then(|| vec![cased(random, "FORCE")]));
    words.extend(options.stamp.then(|| vec![cased(random, "STAMP")]));
    let has_id = !options.id.is_empty();
    words.extend(has_id.then(|| vec![cased(random, "ID"), options.id.to_vec()]));
    let at_ms = options.at_ms;
    words.extend(at_ms.map(|at_ms| vec![cased(random, "AT"), at_ms.to_string().into_bytes()]));
    words
}

fn written_deny(random: &mut Random, options: &Options) -> Vec<Vec<u8>> {
    let Some(Deny { list, values }) = options.deny else {
        return Vec::new();
    };
    let mut words = vec![cased(random, "DENY"), list.to_vec()];
    words.extend(values.iter().map(|value| value.to_vec()));
    words
}

fn rotate<T>(random: &mut Random, items: &mut [T]) {
    if !items.is_empty() {
        let turn = random.index(items.len());
        items.rotate_left(turn);
    }
}

/// Forgets where the id stands, once it was seen to stand there: in other words it stands elsewhere.
fn take_place(options: &mut Options, words: &[&[u8]], first: usize) {
    let at = std::mem::take(&mut options.id_at);
    let word = at.checked_sub(first).map_or(&[][..], |at| words[at]);
    assert_eq!(word, options.id);
}

fn assert_refusal(error: Error, words: &[Vec<u8>]) {
    let text = error.to_string();
    let plain = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    assert!(
        text.starts_with("ERR argument ") && plain,
        "{words:?}: {text}"
    );
}

#[test]
fn no_arguments_break_the_grammar_and_what_it_accepts_is_within_bounds() {
    let mut random = Random(7);
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..200_000 {
        let algorithm = random.pick(&Algorithm::ALL);
        let verb = random.pick(&[Verb::Charge, Verb::Peek]);
        let mut words = clause_words(&mut random, algorithm);
        if random.percent(40) {
            words.extend(call_words(&mut random));
        }
        scramble(&mut random, &mut words);
        let args: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        if let Ok(limits) = parse_limits(algorithm, &args, 4) {
            assert!((1..=MAX_LIMITS).contains(&limits.len()));
        }
        let mut request = match parse(algorithm, verb, &args, 2) {
            Ok(request) => request,
            Err(error) => {
                assert_refusal(error, &words);
                refused += 1;
                continue;
            }
        };
        accepted += 1;
        let Request { clause, options } = &request;
        assert_clause(algorithm, clause);
        assert_options(verb, options);
        let is_call_rare = options.force || options.stamp || options.at_ms.is_some();
        assert!(clause.rarity == Rarity::Rare || !is_call_rare);
        assert!(clause.rarity > Rarity::Usual || options.id.is_empty());
        // What was understood, written down in other words, is understood the same.
        let (mut words, mut each) = written(&mut random, algorithm, clause);
        each.extend(written_options(&mut random, options));
        rotate(&mut random, &mut each);
        words.extend(each.into_iter().flatten());
        words.extend(written_deny(&mut random, options));
        let again: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        let mut understood = parse(algorithm, verb, &again, 2).unwrap();
        take_place(&mut request.options, &args, 2);
        take_place(&mut understood.options, &again, 2);
        assert_eq!(understood, request, "{words:?}");
    }
    // Neither side of the grammar is left out.
    assert!(
        accepted > 20_000 && refused > 20_000,
        "{accepted} accepted, {refused} refused"
    );
}

#[test]
fn no_arguments_of_several_keys_break_the_grammar() {
    let mut random = Random(8);
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..100_000 {
        let verb = random.pick(&[Verb::Charge, Verb::Charge, Verb::Peek]);
        let count = random.magnitude(17).max(1);
        let mut words = vec![count.to_string().into_bytes()];
        words.extend((0..count).map(|n| format!("k{n}").into_bytes()));
        for _ in 0..count {
            let algorithm = random.pick(&Algorithm::ALL);
            words.push(cased(&mut random, &algorithm.name().to_ascii_uppercase()));
            words.extend(clause_words(&mut random, algorithm));
        }
        if random.percent(40) {
            words.extend(call_words(&mut random));
        }
        scramble(&mut random, &mut words);
        let args: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        let mut all = match parse_all(verb, &args, 1) {
            Ok(all) => all,
            Err(error) => {
                assert_refusal(error, &words);
                refused += 1;
                continue;
            }
        };
        accepted += 1;
        assert!((1..=MAX_KEYS).contains(&all.keys.len()));
        assert_eq!(all.keys.len(), all.clauses.len());
        for (place, key) in all.keys.iter().enumerate() {
            assert!(!all.keys.iter().take(place).any(|other| other == key));
        }
        assert_options(verb, &all.options);
        let mut words = vec![all.keys.len().to_string().into_bytes()];
        words.extend(all.keys.iter().map(|key| key.to_vec()));
        for (algorithm, clause) in &all.clauses {
            assert_clause(*algorithm, clause);
            assert!(clause.min.is_none() && clause.reserve_ms.is_none());
            let is_settled = all.options.force || all.options.at_ms.is_some();
            assert!(*algorithm != Algorithm::Lease || !is_settled);
            words.push(cased(&mut random, &algorithm.name().to_ascii_uppercase()));
            let (limits, mut each) = written(&mut random, *algorithm, clause);
            rotate(&mut random, &mut each);
            words.extend(limits);
            words.extend(each.into_iter().flatten());
        }
        let mut each = written_options(&mut random, &all.options);
        rotate(&mut random, &mut each);
        words.extend(each.into_iter().flatten());
        words.extend(written_deny(&mut random, &all.options));
        let words_again: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        let mut again = parse_all(verb, &words_again, 1).unwrap();
        take_place(&mut all.options, &args, 1);
        take_place(&mut again.options, &words_again, 1);
        assert_eq!((again.keys, again.options), (all.keys, all.options));
        for ((_, again), (_, clause)) in again.clauses.iter().zip(&all.clauses) {
            // Of the last clause, the call's options make it a rare one.
            let rarity = clause.rarity;
            assert_eq!(
                Clause {
                    rarity,
                    ..again.clone()
                },
                *clause,
                "{words:?}"
            );
        }
    }
    assert!(
        accepted > 5_000 && refused > 5_000,
        "{accepted} accepted, {refused} refused"
    );
}

#[test]
fn calendar_windows_are_rare_however_many() {
    for line in ["5 1mo", "5 1mo 10 1y", "5 1s 10 1y", "5 1mo 10 1s"] {
        let args = words(line);
        let request = parse(Algorithm::Fixed, Verb::Charge, &args, 2).unwrap();
        assert_eq!(request.clause.rarity, Rarity::Rare, "{line}");
    }
}

#[test]
fn a_part_of_nothing_is_no_error() {
    let args = words("5 1s COST 0 MIN 1");
    assert!(parse(Algorithm::Fixed, Verb::Charge, &args, 2).is_ok());
}

#[test]
fn the_latest_time_there_is_may_be_named() {
    for (at_ms, expected) in [(MAX_TIME_MS, Some(MAX_TIME_MS)), (MAX_TIME_MS + 1, None)] {
        let line = format!("5 1s AT {at_ms}");
        let args = words(&line);
        let request = parse(Algorithm::Fixed, Verb::Charge, &args, 2);
        let read = request.ok().and_then(|request| request.options.at_ms);
        assert_eq!(read, expected);
    }
}

/// The last name, and in front of it those whose limits judge the hit, each once.
#[test]
fn of_several_policies_those_that_judge_and_the_last_count() {
    let [a, b, c] = [&b"a"[..], b"b", b"c"];
    for (names, judges, expected) in [
        (vec![a, b, c], [Some(b), None], vec![b, c]),
        (vec![a, b, c], [None, None], vec![c]),
        (vec![a, b, c], [Some(b), Some(a)], vec![b, a, c]),
        (vec![a, b, c], [Some(b), Some(b)], vec![b, c]),
        (vec![a, b], [Some(b), Some(a)], vec![a, b]),
        (vec![a, a], [Some(a), None], vec![a]),
        (vec![a, a, c], [Some(a), Some(a)], vec![a, c]),
        (vec![a, b, b, c], [Some(a), Some(b)], vec![a, b, c]),
    ] {
        let policies = names.iter().copied().collect();
        let mut clause = Clause {
            policies,
            ..Clause::default()
        };
        clause.count_under(judges);
        assert_eq!(clause.policies.as_slice(), expected, "{names:?} {judges:?}");
    }
}
