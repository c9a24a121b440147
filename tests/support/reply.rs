//! Replies, as `redis-cli --json` prints them: one line a reply.
//!
//! A string's bytes are printed as they are but for `"`, `\` and control characters, which are escaped; so a line is
//! one reply, whatever bytes are in it. An error is `error:"..."`, at the top or inside an array.

/// One reply of the server.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// A null.
    Nil,
    /// An integer.
    Int(i64),
    /// A RESP3 double, as printed.
    Double(String),
    /// A RESP3 boolean.
    Bool(bool),
    /// A status or a string: any bytes.
    Text(Vec<u8>),
    /// An error, with its code.
    Error(String),
    /// An array or a set.
    Array(Vec<Reply>),
    /// A RESP3 map.
    Map(Vec<(Reply, Reply)>),
}

impl Reply {
    /// Reads one printed line. Panics on what is not a reply.
    pub fn parse(line: &[u8]) -> Self {
        let mut parser = Parser { line, at: 0 };
        let reply = parser.value();
        assert_eq!(
            parser.at,
            line.len(),
            "more than one reply on a line: {:?}",
            String::from_utf8_lossy(line)
        );
        reply
    }

    /// Of RL.STATS: the hits of this hour and of the one before it as their sum. So an hour may begin between two replies.
    pub fn over_the_hour(self) -> Self {
        let Reply::Map(entries) = self else {
            return self;
        };
        let sum = |row: Reply| {
            let row = row.array();
            Reply::Array(vec![
                row[0].clone(),
                Reply::Int(row[1].int() + row[2].int()),
            ])
        };
        let entries = entries.into_iter().map(|entry| match entry {
            (key, Reply::Array(rows)) if key.text().starts_with("recently_") => {
                (key, Reply::Array(rows.into_iter().map(sum).collect()))
            }
            entry => entry,
        });
        Reply::Map(entries.collect())
    }

    /// The integer; anything else fails the test.
    pub fn int(&self) -> i64 {
        match self {
            Reply::Int(number) => *number,
            other => panic!("not an integer: {other:?}"),
        }
    }

    /// The string; anything else fails the test.
    pub fn text(&self) -> String {
        match self {
            Reply::Text(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            other => panic!("not a string: {other:?}"),
        }
    }

    /// The string's bytes; anything else fails the test.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Reply::Text(bytes) => bytes,
            other => panic!("not a string: {other:?}"),
        }
    }

    /// The error's text; anything else fails the test.
    pub fn error(&self) -> &str {
        match self {
            Reply::Error(text) => text,
            other => panic!("not an error: {other:?}"),
        }
    }

    /// The array's elements; anything else fails the test.
    pub fn array(&self) -> &[Reply] {
        match self {
            Reply::Array(elements) => elements,
            other => panic!("not an array: {other:?}"),
        }
    }

    /// The array of integers; anything else fails the test.
    pub fn ints(&self) -> Vec<i64> {
        self.array().iter().map(Reply::int).collect()
    }

    /// Every string inside, at any depth, in order.
    pub fn texts(&self) -> Vec<String> {
        match self {
            Reply::Text(_) => vec![self.text()],
            Reply::Array(elements) => elements.iter().flat_map(Reply::texts).collect(),
            Reply::Map(pairs) => pairs
                .iter()
                .flat_map(|(key, value)| [key.texts(), value.texts()].concat())
                .collect(),
            _ => Vec::new(),
        }
    }

    /// What a map, or the flat array that RESP2 has in its place, holds under `key`.
    pub fn get(&self, key: &str) -> Option<&Reply> {
        let is_key = |reply: &Reply| matches!(reply, Reply::Text(bytes) if bytes == key.as_bytes());
        match self {
            Reply::Map(pairs) => pairs.iter().find(|(k, _)| is_key(k)).map(|(_, v)| v),
            Reply::Array(flat) => flat
                .chunks_exact(2)
                .find(|pair| is_key(&pair[0]))
                .map(|pair| &pair[1]),
            _ => None,
        }
    }

    /// As [`Reply::get`]; a missing key fails the test.
    pub fn field(&self, key: &str) -> &Reply {
        self.get(key)
            .unwrap_or_else(|| panic!("no field {key:?} in {self:?}"))
    }

    /// Whether it is an error.
    pub fn is_error(&self) -> bool {
        matches!(self, Reply::Error(_))
    }

    /// The decision of a limiter; a reply of any other shape fails the test.
    pub fn decision(&self) -> Decision {
        let elements = self.array();
        assert!(
            elements.len() >= 5,
            "a decision starts with five integers: {self:?}"
        );
        let (verdict, more) = elements.split_at(5);
        let (each, found) = match more {
            [] => (None, None),
            [each @ Reply::Array(_)] => (Some(each), None),
            [found @ (Reply::Nil | Reply::Text(_))] => (None, Some(found)),
            [each @ Reply::Array(_), found @ (Reply::Nil | Reply::Text(_))] => {
                (Some(each), Some(found))
            }
            _ => panic!("not a decision: {self:?}"),
        };
        Decision {
            verdict: Verdict::read(verdict),
            each: each.map_or(Vec::new(), |each| {
                each.array()
                    .iter()
                    .map(|verdict| Verdict::read(verdict.array()))
                    .collect()
            }),
            found: found.cloned(),
        }
    }
}

/// The five integers: what one limit says of a hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub allowed: bool,
    pub limit: i64,
    pub remaining: i64,
    pub retry_after_ms: i64,
    pub reset_after_ms: i64,
}

impl Verdict {
    /// Reads the five integers and holds them to what is true of every verdict.
    fn read(elements: &[Reply]) -> Self {
        let [allowed, limit, remaining, retry_after_ms, reset_after_ms] = elements else {
            panic!("a verdict is five integers: {elements:?}");
        };
        assert!(
            matches!(allowed, Reply::Int(0 | 1)),
            "allowed is 1 or 0: {elements:?}"
        );
        let verdict = Verdict {
            allowed: allowed.int() == 1,
            limit: limit.int(),
            remaining: remaining.int(),
            retry_after_ms: retry_after_ms.int(),
            reset_after_ms: reset_after_ms.int(),
        };
        assert!(verdict.remaining >= 0, "{verdict:?}");
        assert!(verdict.remaining <= verdict.limit, "{verdict:?}");
        assert!(verdict.reset_after_ms >= 0, "{verdict:?}");
        assert!(verdict.retry_after_ms >= -1, "{verdict:?}");
        assert_eq!(verdict.allowed, verdict.retry_after_ms == 0, "{verdict:?}");
        verdict
    }
}

/// A command's whole answer: the limit that binds; with several limits each one's verdict, in the order asked; with a
/// DENY clause what was found in the list, or nil.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    pub verdict: Verdict,
    pub each: Vec<Verdict>,
    pub found: Option<Reply>,
}

impl std::ops::Deref for Decision {
    type Target = Verdict;

    fn deref(&self) -> &Verdict {
        &self.verdict
    }
}

struct Parser<'a> {
    line: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    fn value(&mut self) -> Reply {
        for (word, reply) in [
            ("null", Reply::Nil),
            ("true", Reply::Bool(true)),
            ("false", Reply::Bool(false)),
        ] {
            if self.take(word) {
                return reply;
            }
        }
        if self.take("error:") {
            return Reply::Error(String::from_utf8_lossy(&self.string()).into_owned());
        }
        match self.peek() {
            b'"' => Reply::Text(self.string()),
            b'[' => Reply::Array(self.list(b'[', b']', Self::value)),
            b'{' => Reply::Map(self.list(b'{', b'}', |parser| {
                let key = parser.value();
                parser.expect(b':');
                (key, parser.value())
            })),
            _ => self.number(),
        }
    }

    fn list<T>(&mut self, open: u8, close: u8, mut element: impl FnMut(&mut Self) -> T) -> Vec<T> {
        self.expect(open);
        let mut elements = Vec::new();
        while self.peek() != close {
            if !elements.is_empty() {
                self.expect(b',');
            }
            elements.push(element(self));
        }
        self.expect(close);
        elements
    }

    fn string(&mut self) -> Vec<u8> {
        self.expect(b'"');
        let mut bytes = Vec::new();
        loop {
            match self.next() {
                b'"' => return bytes,
                b'\\' => {
                    let escape = self.next();
                    bytes.push(match escape {
                        b'n' => b'\n',
                        b'f' => 0x0c,
                        b'r' => b'\r',
                        b't' => b'\t',
                        b'b' => 0x08,
                        b'u' => {
                            let digits = &self.line[self.at..self.at + 4];
                            self.at += 4;
                            let digits = std::str::from_utf8(digits).expect("four hex digits");
                            u8::from_str_radix(digits, 16).expect("a control character")
                        }
                        b'"' | b'\\' => escape,
                        other => panic!("unknown escape {other} in {}", self.shown()),
                    });
                }
                byte => bytes.push(byte),
            }
        }
    }

    fn number(&mut self) -> Reply {
        let start = self.at;
        while self.at < self.line.len() && !b",:]}".contains(&self.line[self.at]) {
            self.at += 1;
        }
        let text = String::from_utf8_lossy(&self.line[start..self.at]).into_owned();
        match text.parse() {
            Ok(number) => Reply::Int(number),
            Err(_) => {
                assert!(text.parse::<f64>().is_ok(), "not a reply: {}", self.shown());
                Reply::Double(text)
            }
        }
    }

    fn take(&mut self, word: &str) -> bool {
        let found = self.line[self.at..].starts_with(word.as_bytes());
        if found {
            self.at += word.len();
        }
        found
    }

    fn peek(&self) -> u8 {
        *self
            .line
            .get(self.at)
            .unwrap_or_else(|| panic!("the reply ends early: {}", self.shown()))
    }

    fn next(&mut self) -> u8 {
        let byte = self.peek();
        self.at += 1;
        byte
    }

    fn expect(&mut self, byte: u8) {
        assert_eq!(self.next(), byte, "at {} in {}", self.at, self.shown());
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(self.line).into_owned()
    }
}
