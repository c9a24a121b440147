//! The engine beside a real server with the module, on one clock: equal replies, byte for byte. And what is the engine's own:
//! its bound of keys, and what a host may get wrong.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop at the first surprise"
)]

#[allow(
    dead_code,
    reason = "it is the server tests', and has more than is used here"
)]
#[path = "../../tests/support/mod.rs"]
mod support;

use ratelimit_engine::{wasm, Engine, Options, MAX_NAME_BYTES};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use support::{Clock, Random};

/// A midnight.
const START_MS: u64 = 1_700_006_400_000;
const CALLS: usize = 60_000;
/// Calls that are sent at once, at one time.
const BATCH: usize = 20;

type Words = Vec<Vec<u8>>;

fn words(text: &str) -> Words {
    text.split_whitespace().map(|word| word.into()).collect()
}

/// A connection that hands out replies as they came.
struct Raw(BufReader<TcpStream>);

impl Raw {
    fn open(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(support::DEADLINE)).unwrap();
        Self(BufReader::new(stream))
    }

    fn send(&mut self, calls: &[Words]) {
        let mut request = Vec::new();
        for words in calls {
            write!(request, "*{}\r\n", words.len()).unwrap();
            for word in words {
                write!(request, "${}\r\n", word.len()).unwrap();
                request.extend_from_slice(word);
                request.extend_from_slice(b"\r\n");
            }
        }
        self.0.get_mut().write_all(&request).unwrap();
    }

    fn reply(&mut self) -> Vec<u8> {
        let mut reply = Vec::new();
        self.read(&mut reply);
        reply
    }

    fn read(&mut self, reply: &mut Vec<u8>) {
        let mut line = Vec::new();
        self.0.read_until(b'\n', &mut line).unwrap();
        assert!(line.ends_with(b"\r\n"), "the connection is gone: {line:?}");
        let number = std::str::from_utf8(&line[1..line.len() - 2]).map(str::parse::<i64>);
        let number = number.ok().and_then(Result::ok).unwrap_or(-1);
        reply.extend_from_slice(&line);
        match (line[0], usize::try_from(number)) {
            (b'$', Ok(length)) => {
                let start = reply.len();
                reply.resize(start + length + 2, 0);
                self.0.read_exact(&mut reply[start..]).unwrap();
            }
            (b'*', Ok(length)) => (0..length).for_each(|_| self.read(reply)),
            _ => {}
        }
    }
}

fn ask(engine: &mut Engine, words: &Words, now_ms: u64) -> Vec<u8> {
    let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
    engine.call(&words, now_ms).to_vec()
}

fn call(engine: &mut Engine, text: &str, now_ms: u64) -> String {
    String::from_utf8(ask(engine, &words(text), now_ms)).unwrap()
}

fn of_keys(max_keys: usize) -> Engine {
    Engine::new(Options {
        max_keys,
        ..Options::default()
    })
}

/// What callers might write.
struct Writer {
    random: Random,
    now_ms: u64,
    /// Charge times, to be settled.
    stamps: Vec<u64>,
    /// Whether the clock is set back now and then, and entries of deny lists do not end: what is left of these depends on whether
    /// the server has looked through them in between.
    steps_back: bool,
}

const NAMES: [&str; 4] = ["FIXED", "SLIDING", "BUCKET", "LEASE"];
const WINDOWS: [&str; 6] = ["50ms", "900ms", "7s", "1m", "1h", "1d"];
const CALENDAR: [&str; 8] = [
    "1w",
    "1mo",
    "1w@thu",
    "3mo@-05:00",
    "1d@Europe/Berlin",
    "1mo@31,13:45,Asia/Kathmandu",
    "5h@first",
    "900ms@first",
];
const VALUES: [&str; 6] = [
    "mallory",
    "192.0.2.7",
    "192.0.2.99:443",
    "192.0.2.0/25",
    "[2001:db8::1]:80",
    "2001:db8::/48",
];
const ODD: [&str; 14] = [
    "",
    "0",
    "-1",
    "1",
    "FORCE",
    "AT",
    "MIN",
    "POLICY",
    "x",
    "1mo@40",
    "9007199254740992",
    "\r\n",
    "+2",
    "1d@Nowhere/Zone",
];

impl Writer {
    fn one_in(&mut self, count: usize) -> bool {
        self.random.one_in(count)
    }

    fn number(&mut self, low: i64, high: i64) -> i64 {
        self.random.within(low..=high)
    }

    fn word(&mut self, words: &[&str]) -> String {
        (*self.random.pick(words)).to_owned()
    }

    fn limits(&mut self, algorithm: usize) -> String {
        let count = match algorithm {
            3 => 1,
            _ if self.one_in(2) => 1,
            _ => self.number(1, 3),
        };
        let mut text = String::new();
        let first = self.random.below(WINDOWS.len());
        for place in 0..usize::try_from(count).unwrap() {
            let plain = WINDOWS[(first + place) % WINDOWS.len()].to_owned();
            let window = match algorithm {
                0 if self.one_in(3) => self.word(&CALENDAR),
                _ => plain,
            };
            let (amount, refill) = (self.number(0, 20), self.number(1, 10));
            text += &match algorithm {
                2 => format!(" {amount} {refill} {window}"),
                3 => format!(" {amount} {window} id{}", self.number(0, 5)),
                _ => format!(" {amount} {window}"),
            };
        }
        text
    }

    fn clause(&mut self, algorithm: usize) -> String {
        let mut text = self.limits(algorithm);
        if self.one_in(3) {
            let cost = self.number(if algorithm == 3 { 0 } else { -4 }, 6);
            text += &format!(" COST {cost}");
        }
        if self.one_in(8) {
            text += &format!(" POLICY p{}", self.number(0, 7));
        }
        if self.one_in(12) {
            let (first, then) = (self.word(&WINDOWS), self.word(&WINDOWS));
            text += &format!(" BLOCK {first} {then}");
        }
        text
    }

    fn time(&mut self) -> String {
        let at_ms = match self.stamps.is_empty() || self.one_in(3) {
            true => self
                .now_ms
                .saturating_add_signed(self.number(-90_000, 1_000)),
            false => *self.random.pick(&self.stamps),
        };
        format!(" AT {}", if self.one_in(9) { 0 } else { at_ms })
    }

    fn options(&mut self, is_all: bool) -> String {
        let mut text = String::new();
        if !is_all && self.one_in(10) {
            text += &format!(" MIN {}", self.number(1, 3));
        } else if !is_all && self.one_in(10) {
            text += &format!(" RESERVE {}", self.word(&WINDOWS));
        } else if self.one_in(8) {
            text += " FORCE";
        }
        if self.one_in(6) {
            text += &self.time();
        }
        for option in [" STAMP", " NEXT"] {
            if self.one_in(4) {
                text += option;
            }
        }
        if self.one_in(6) {
            text += &format!(" ID hit{}", self.number(0, 9));
        }
        if self.one_in(8) {
            let (first, then) = (self.word(&VALUES), self.word(&VALUES));
            let list = self.word(&["list0", "list1", "ending"]);
            text += &format!(" DENY {list} {first} {then}");
        }
        text
    }

    /// A key, and the algorithm by which it is mostly counted.
    fn key(&mut self) -> (String, usize) {
        let number = self.random.below(24);
        let algorithm = match self.one_in(40) {
            true => self.random.below(4),
            false => number % 4,
        };
        (format!("key{number}"), algorithm)
    }

    fn all(&mut self, command: &str) -> String {
        let count = self.number(1, 4);
        let (mut keys, mut clauses) = (String::new(), String::new());
        for _ in 0..count {
            let (key, algorithm) = self.key();
            keys += &format!(" {key}");
            clauses += &format!(" {}{}", NAMES[algorithm], self.clause(algorithm));
            if self.one_in(10) {
                clauses += " SHADOW";
            }
        }
        let options = match command {
            "RL.ALL" => self.options(true),
            _ if self.one_in(3) => " NEXT".to_owned(),
            _ => String::new(),
        };
        format!("{command} {count}{keys}{clauses}{options}")
    }

    fn policy(&mut self) -> String {
        let number = self.random.below(8);
        let algorithm = match self.one_in(5) {
            true => self.random.below(4),
            false => number % 4,
        };
        let limits = self.limits(algorithm).replace(" id", " FORCE id"); // those of leases have none
        let limits = limits.split(" FORCE").next().unwrap();
        let ttl = if self.one_in(2) { " TTL 7s" } else { "" };
        match self.number(0, 9) {
            0..=4 => format!("RL.POLICY SET p{number} {}{limits}{ttl}", NAMES[algorithm]),
            5 => format!(
                "RL.POLICY SHADOW p{number} {}{limits}{ttl}",
                NAMES[algorithm]
            ),
            6 => format!("RL.POLICY SHADOW p{number} OFF"),
            7 => format!("RL.POLICY GET p{number}"),
            8 => format!("RL.POLICY DEL p{number} p7"),
            _ => "RL.POLICY LIST".to_owned(),
        }
    }

    fn deny(&mut self) -> String {
        let (first, then) = (self.word(&VALUES), self.word(&VALUES));
        let list = self.number(0, 2);
        match self.number(if self.steps_back { 3 } else { 0 }, 7) {
            // (Of its own list: whether one is there that has nothing but what has ended depends on when it was last seen to.)
            0..=2 => format!("RL.DENY ADD ending {first} TTL 7s"),
            3 => format!("RL.DENY ADD list{list} {first} {then}"),
            4 => format!("RL.DENY DEL list{list} {first} {then}"),
            5 if self.one_in(2) => format!("RL.DENY HAS ending {first} {then}"),
            5 => format!("RL.DENY HAS list{list} {first} {then}"),
            6 => format!("RL.DENY RENAME list{list} list{}", self.number(0, 2)),
            _ => format!("RL.DENY DROP list{list}"),
        }
    }

    /// `is_seen`: also what tells whether a key that has expired is still there.
    fn call(&mut self, is_seen: bool) -> Words {
        let (key, algorithm) = self.key();
        let name = NAMES[algorithm];
        let text = match self.number(0, 99) {
            0..=54 => format!(
                "RL.{name} {key}{}{}",
                self.clause(algorithm),
                self.options(false)
            ),
            55..=64 => format!("RL.PEEK {name} {key}{}", self.clause(algorithm)),
            65..=74 => self.all("RL.ALL"),
            75..=77 => self.all("RL.PEEKALL"),
            78..=81 => format!(
                "RL.RELEASE {key} id{} id{}",
                self.number(0, 5),
                self.number(0, 5)
            ),
            82 => format!(
                "RL.BLOCK {key} {}",
                self.word(&["0", "50ms", "7s", "900ms"])
            ),
            83..=86 => self.policy(),
            87..=89 => self.deny(),
            90 => format!("RL.STATS GET p{}", self.number(0, 7)),
            91..=94 if is_seen => format!("RL.INFO {key}"),
            95..=96 if is_seen => format!("PTTL {key}"),
            97 if is_seen => format!("DEL {key} key1"),
            _ => format!("RL.{name} {key}{}", self.limits(algorithm)),
        };
        let mut words = words(&text);
        if self.one_in(25) {
            let at = self.random.below(words.len() - 1) + 1;
            let odd = self.word(&ODD).into_bytes();
            match self.number(0, 2) {
                0 => words[at] = odd,
                1 => words.insert(at, odd),
                _ => words.truncate(at),
            }
        }
        words
    }
}

#[test]
fn the_engine_answers_byte_for_byte_what_a_server_does() {
    let clock = Clock::at(START_MS);
    let Some(server) = clock.server(&[]) else {
        return;
    };
    let mut raw = Raw::open(server.port());
    let mut engine = of_keys(1_000);
    let random = Random::new(27);
    let mut writer = Writer {
        random,
        now_ms: START_MS,
        stamps: Vec::new(),
        steps_back: false,
    };
    let mut latest_ms = START_MS;
    let (mut allowed, mut refused) = (0, 0);
    for batch in 0..CALLS / BATCH {
        let began = batch == CALLS / BATCH / 2;
        writer.steps_back |= began;
        let step = match writer.number(0, 99) {
            0 => writer.number(86_400_000, 40 * 86_400_000),
            1..=5 => writer.number(60_000, 7_200_000),
            _ if began => 86_400_000,
            6..=9 if writer.steps_back => -writer.number(1, 400),
            10..=40 => writer.number(100, 10_000),
            _ => writer.number(0, 60),
        };
        clock.step(step);
        writer.now_ms = clock.now_ms();
        latest_ms = latest_ms.max(writer.now_ms);
        // A key that has expired is not there, unless the clock is then set back and nobody has looked.
        let is_seen = writer.now_ms == latest_ms;
        let calls: Vec<Words> = (0..BATCH).map(|_| writer.call(is_seen)).collect();
        raw.send(&calls);
        for words in &calls {
            let theirs = compared(raw.reply());
            let ours = compared(ask(&mut engine, words, writer.now_ms));
            assert!(
                theirs == ours,
                "at {}, {}\n  the server: {}\n  the engine: {}",
                writer.now_ms,
                show(words),
                String::from_utf8_lossy(&theirs),
                String::from_utf8_lossy(&ours),
            );
            allowed += usize::from(theirs.starts_with(b"*5\r\n:1\r\n"));
            refused += usize::from(theirs.starts_with(b"-"));
        }
        writer.stamps.push(writer.now_ms);
        if writer.stamps.len() > 20 {
            writer.stamps.remove(0);
        }
    }
    assert!(allowed > CALLS / 50, "{allowed} of {CALLS} were allowed");
    assert!(
        (CALLS / 100..CALLS / 2).contains(&refused),
        "{refused} of {CALLS} were refused"
    );
    // (How many entries RL.DENY LIST says depends on when the server has last looked through them.)
    for text in ["RL.POLICY LIST", "RL.STATS GET"] {
        raw.send(&[words(text)]);
        let theirs = compared(raw.reply());
        let ours = compared(ask(&mut engine, &words(text), writer.now_ms));
        assert!(theirs == ours, "{text}: {}", String::from_utf8_lossy(&ours));
    }
}

/// A reply, but for who hit most often without a name, as told with the totals: of those hits a random sample is counted.
fn compared(mut reply: Vec<u8>) -> Vec<u8> {
    const OF_TOTALS_ALONE: &[u8] = b"$10\r\nalgorithms\r\n";
    let mut places = reply.windows(OF_TOTALS_ALONE.len());
    if places.any(|words| words == OF_TOTALS_ALONE) {
        let mut lines = reply.windows(12);
        let at = lines.position(|line| line == b"most_allowed").unwrap();
        reply.truncate(at);
    }
    reply
}

fn show(words: &Words) -> String {
    let words = words
        .iter()
        .map(|word| format!("{:?}", String::from_utf8_lossy(word)));
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn what_is_no_command_and_what_has_too_few_words_is_refused_as_a_server_does() {
    let clock = Clock::at(START_MS);
    let Some(server) = clock.server(&[]) else {
        return;
    };
    let mut raw = Raw::open(server.port());
    let mut engine = of_keys(1_000);
    let names = [
        "RL.FIXED",
        "rl.sliding",
        "RL.BUCKET",
        "RL.LEASE",
        "RL.RELEASE",
        "RL.BLOCK",
        "RL.ALL",
        "RL.PEEKALL",
        "RL.PEEK",
        "RL.INFO",
        "RL.POLICY",
        "RL.POLICY SET",
        "RL.POLICY shadow",
        "RL.POLICY GET",
        "RL.POLICY DEL",
        "RL.POLICY LIST",
        "RL.POLICY SCAN",
        "RL.POLICY NONE",
        "RL.DENY ADD",
        "RL.DENY DEL",
        "RL.DENY HAS",
        "RL.DENY ENTRIES",
        "RL.DENY LIST",
        "RL.DENY RENAME",
        "RL.DENY DROP",
        "RL.DENY",
        "RL.STATS",
        "RL.STATS GET",
        "RL.STATS RESET",
        "DEL",
        "EXISTS",
        "UNLINK",
        "PTTL",
        "NONE",
        "RL.NONE",
        "PING",
    ];
    for name in names {
        for count in 0..9 {
            let text = format!("{name}{}", " x".repeat(count));
            if text == "PING x" {
                continue; // answers x
            }
            raw.send(&[words(&text)]);
            let theirs = String::from_utf8(raw.reply()).unwrap();
            assert_eq!(call(&mut engine, &text, START_MS), theirs, "{text}");
        }
    }
}

#[test]
fn where_there_is_no_room_those_that_have_expired_go_first_and_then_it_is_refused() {
    let mut engine = of_keys(3);
    let now_ms = START_MS;
    for key in ["a", "b", "c"] {
        assert!(call(&mut engine, &format!("RL.FIXED {key} 2 1m"), now_ms).starts_with("*5\r\n:1"));
    }
    let refused = call(&mut engine, "RL.FIXED d 2 1m", now_ms);
    assert!(
        refused.starts_with("-OOM a new key is not allowed: there are 3 keys"),
        "{refused}"
    );
    assert_eq!(engine.keys(), 3);
    // Those that are there go on, are denied, given back and asked; what would be denied anyway says so.
    assert!(call(&mut engine, "RL.FIXED a 2 1m", now_ms).starts_with("*5\r\n:1"));
    assert!(call(&mut engine, "RL.FIXED a 2 1m", now_ms).starts_with("*5\r\n:0"));
    assert!(call(&mut engine, "RL.PEEK FIXED d 2 1m", now_ms).starts_with("*5\r\n:1"));
    assert!(call(&mut engine, "RL.FIXED d 0 1m", now_ms).starts_with("*5\r\n:0"));
    assert!(call(&mut engine, "RL.BLOCK d 7s", now_ms).starts_with("-OOM"));
    // Of several keys the call is refused whole, if there is not room for all of them.
    assert_eq!(call(&mut engine, "DEL c", now_ms), ":1\r\n");
    let both = "RL.ALL 3 a d e FIXED 9 1m FIXED 9 1m FIXED 9 1m";
    assert!(call(&mut engine, both, now_ms).starts_with("-OOM"));
    assert_eq!(engine.keys(), 2);
    assert!(call(&mut engine, "RL.FIXED d 2 1m", now_ms).starts_with("*5\r\n:1"));
    // A minute and an eighth later the first three have expired.
    let later_ms = now_ms + 70_000;
    assert!(call(&mut engine, both, later_ms).starts_with("*7\r\n:1"));
    assert_eq!(engine.keys(), 3);
}

#[test]
fn no_number_of_keys_is_passed_by_any_call() {
    let mut writer = Writer {
        random: Random::new(28),
        now_ms: START_MS,
        stamps: Vec::new(),
        steps_back: false,
    };
    let mut engine = of_keys(7);
    for _ in 0..20_000 {
        writer.now_ms += u64::try_from(writer.number(0, 400)).unwrap();
        let words = writer.call(true);
        ask(&mut engine, &words, writer.now_ms);
        assert!(engine.keys() <= 7, "{}", show(&words));
    }
}

#[test]
fn entries_of_deny_lists_that_have_ended_go_by_the_way() {
    let mut engine = of_keys(7);
    for place in 0..100 {
        let add = format!("RL.DENY ADD bots 192.0.2.{place} TTL 7s");
        assert_eq!(call(&mut engine, &add, START_MS), ":1\r\n");
    }
    assert_eq!(
        call(&mut engine, "RL.DENY LIST", START_MS),
        "*2\r\n$4\r\nbots\r\n:100\r\n"
    );
    let later_ms = START_MS + 7_001;
    for _ in 0..100 {
        call(&mut engine, "PING", later_ms);
    }
    assert_eq!(call(&mut engine, "RL.DENY LIST", later_ms), "*0\r\n");
}

#[test]
fn a_name_that_is_too_long_is_refused() {
    let mut engine = of_keys(7);
    let fits = "k".repeat(MAX_NAME_BYTES);
    assert!(call(&mut engine, &format!("RL.FIXED {fits} 2 1m"), START_MS).starts_with("*5"));
    for text in [
        format!("RL.FIXED {fits}k 2 1m"),
        format!("RL.ALL 2 a {fits}k FIXED 1 1m FIXED 1 1m"),
        format!("RL.PEEK FIXED {fits}k 2 1m"),
    ] {
        let refused = call(&mut engine, &text, START_MS);
        assert!(
            refused.starts_with("-ERR a key's name has more than 4096 bytes"),
            "{refused}"
        );
    }
    assert_eq!(engine.keys(), 1);
}

/// The same steps as a host takes them, but for who writes the request.
fn hosted(request: &[u8], now_ms: f64) -> Vec<u8> {
    let room = wasm::ratelimit_request(u32::try_from(request.len()).unwrap());
    // SAFETY: room for as many bytes.
    unsafe { std::ptr::copy_nonoverlapping(request.as_ptr(), room, request.len()) };
    let length = usize::try_from(wasm::ratelimit_call(now_ms)).unwrap();
    let reply = std::ptr::with_exposed_provenance::<u8>(wasm::ratelimit_reply());
    // SAFETY: where the reply is, until the next call.
    unsafe { std::slice::from_raw_parts(reply, length) }.to_vec()
}

fn packed(words: &Words) -> Vec<u8> {
    let packed = words.iter().flat_map(|word| {
        let length = u32::try_from(word.len()).unwrap().to_le_bytes();
        length.into_iter().chain(word.iter().copied())
    });
    packed.collect()
}

#[test]
fn whatever_a_host_sends_has_a_reply_and_nothing_panics() {
    assert!(hosted(b"", 0.0).starts_with(b"-ERR the engine has not been started"));
    wasm::ratelimit_start(10, 1, 2, 3, 4);
    assert!(wasm::ratelimit_request(u32::MAX).is_null());
    let hit = packed(&words("RL.FIXED a 2 1m"));
    assert!(hosted(&hit, 1e12).starts_with(b"*5\r\n:1\r\n"));
    for no_time in [-1.0, f64::NAN, f64::INFINITY, 1e16] {
        assert!(hosted(&hit, no_time).starts_with(b"-ERR the clock says no time"));
    }
    assert!(hosted(&hit[..hit.len() - 1], 1e12).starts_with(b"-ERR a request ends within a word"));
    assert!(hosted(b"", 1e12).starts_with(b"-ERR unknown command ''"));
    let mut writer = Writer {
        random: Random::new(29),
        now_ms: START_MS,
        stamps: Vec::new(),
        steps_back: false,
    };
    for _ in 0..30_000 {
        let mut request = packed(&writer.call(true));
        for _ in 0..writer.random.below(4) {
            let at = writer.random.below(request.len());
            request[at] = writer.random.byte();
        }
        let now_ms = match writer.random.below(6) {
            0 => 0.0,
            1 => 9_007_199_254_740_991.0,
            _ => 1.7e12 + 1e6 * f64::from(writer.random.byte()),
        };
        let reply = hosted(&request, now_ms);
        assert!(reply.ends_with(b"\r\n"), "{reply:?}");
    }
}
