//! A YAML file as a tree whose every node knows its line and column, with scalars as they were written: `value: 123` is
//! the text `123`, as it is for the readers that go-yaml serves.

use std::collections::HashMap;
use std::fmt;

use granit_parser::{Event, Parser, ScalarStyle};

/// More than any configuration needs; less than an alias of aliases can make of a small file.
const NODES: usize = 200_000;
const DEPTH: usize = 64;
/// Bytes of a file that are read.
pub const FILE_BYTES: usize = 4 << 20;

/// Where a node begins, both counted from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct At {
    pub line: usize,
    pub column: usize,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub at: At,
    pub text: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.text)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub at: At,
    pub kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    Null,
    /// The text, and whether it was written without quotes: only then may it be a number or a truth value.
    Scalar(String, bool),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

impl Node {
    pub fn fault(&self, text: impl Into<String>) -> Fault {
        Fault {
            at: self.at,
            text: text.into(),
        }
    }

    /// The text of a scalar; of nothing, the empty text.
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar(text, _) => Some(text),
            Kind::Null => Some(""),
            Kind::List(_) | Kind::Map(_) => None,
        }
    }

    pub fn boolean(&self) -> Option<bool> {
        let Kind::Scalar(text, true) = &self.kind else {
            return None;
        };
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "y" => Some(true),
            "false" | "no" | "off" | "n" => Some(false),
            _ => None,
        }
    }

    /// A whole number that is not negative: `10`, `0x0a`, `1_000`, `10.0`.
    pub fn integer(&self) -> Option<u64> {
        let Kind::Scalar(text, true) = &self.kind else {
            return None;
        };
        let text = text.replace('_', "");
        let text = text.strip_prefix('+').unwrap_or(&text);
        if let Some(hex) = text.strip_prefix("0x") {
            return u64::from_str_radix(hex, 16).ok();
        }
        let whole = text.split_once('.').map_or(text, |(whole, rest)| {
            if rest.bytes().all(|b| b == b'0') {
                whole
            } else {
                text
            }
        });
        whole.parse().ok()
    }

    pub fn list(&self) -> Option<&[Node]> {
        match &self.kind {
            Kind::List(items) => Some(items),
            Kind::Null => Some(&[]),
            Kind::Scalar(..) | Kind::Map(_) => None,
        }
    }

    pub fn map(&self) -> Option<&[(Node, Node)]> {
        match &self.kind {
            Kind::Map(entries) => Some(entries),
            Kind::Null => Some(&[]),
            Kind::Scalar(..) | Kind::List(_) => None,
        }
    }

    pub fn get(&self, key: &str) -> Option<&Node> {
        self.map()?
            .iter()
            .find(|(k, _)| k.text() == Some(key))
            .map(|(_, v)| v)
    }

    /// Whether a scalar without quotes is anything but text: a number, a truth value.
    pub fn is_typed(&self) -> bool {
        match &self.kind {
            Kind::Scalar(text, true) => {
                self.boolean().is_some() || text.parse::<f64>().is_ok() || self.integer().is_some()
            }
            _ => false,
        }
    }

    /// As a person would write it in a message.
    pub fn brief(&self) -> String {
        match &self.kind {
            Kind::Null => "null".into(),
            Kind::Scalar(text, _) => text.chars().take(100).collect(),
            Kind::List(_) => "a list".into(),
            Kind::Map(_) => "a map".into(),
        }
    }
}

/// Reads the one document of a file.
pub fn read(text: &str) -> Result<Node, Fault> {
    if text.len() > FILE_BYTES {
        return Err(Fault {
            at: At { line: 1, column: 1 },
            text: format!("the file is larger than {FILE_BYTES} bytes"),
        });
    }
    let mut reader = Reader {
        parser: Parser::new_from_str(text),
        anchors: HashMap::new(),
        nodes: 0,
    };
    let mut root = None;
    while let Some((event, at)) = reader.next()? {
        match event {
            Event::StreamStart
            | Event::DocumentStart(..)
            | Event::DocumentEnd
            | Event::StreamEnd => {}
            event if root.is_none() => root = Some(reader.node(event, at, 0)?),
            _ => {
                return Err(Fault {
                    at,
                    text: "a second document in one file".into(),
                })
            }
        }
    }
    Ok(root.unwrap_or(Node {
        at: At { line: 1, column: 1 },
        kind: Kind::Null,
    }))
}

struct Reader<'a> {
    parser: Parser<'a, granit_parser::StrInput<'a>>,
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Option<(Event<'a>, At)>, Fault> {
        loop {
            match self.parser.next_event() {
                None => return Ok(None),
                Some(Ok((Event::Comment(..) | Event::Nothing, _))) => {}
                Some(Ok((event, span))) => {
                    return Ok(Some((
                        event,
                        At {
                            line: span.start.line(),
                            column: span.start.col() + 1,
                        },
                    )))
                }
                Some(Err(error)) => {
                    let at = At {
                        line: error.marker().line(),
                        column: error.marker().col() + 1,
                    };
                    return Err(Fault {
                        at,
                        text: error.info().to_owned(),
                    });
                }
            }
        }
    }

    fn grow(&mut self, by: usize, at: At) -> Result<(), Fault> {
        self.nodes = self.nodes.saturating_add(by);
        if self.nodes > NODES {
            return Err(Fault {
                at,
                text: format!("more than {NODES} values"),
            });
        }
        Ok(())
    }

    fn node(&mut self, event: Event<'a>, at: At, depth: usize) -> Result<Node, Fault> {
        if depth > DEPTH {
            return Err(Fault {
                at,
                text: format!("nested deeper than {DEPTH}"),
            });
        }
        let before = self.nodes;
        self.grow(1, at)?;
        let (kind, anchor) = match event {
            Event::Alias(id) => {
                let Some((node, size)) = self.anchors.get(&id).cloned() else {
                    return Err(Fault {
                        at,
                        text: "an alias of what is not complete".into(),
                    });
                };
                self.grow(size, at)?;
                return Ok(node);
            }
            Event::Scalar(text, style, anchor, _) => {
                let plain = style == ScalarStyle::Plain;
                let null = plain && matches!(text.as_ref(), "" | "~" | "null" | "Null" | "NULL");
                (
                    if null {
                        Kind::Null
                    } else {
                        Kind::Scalar(text.into_owned(), plain)
                    },
                    anchor,
                )
            }
            Event::SequenceStart(_, anchor, _) => {
                let mut items = Vec::new();
                while let Some(item) = self.child(depth)? {
                    items.push(item);
                }
                (Kind::List(items), anchor)
            }
            Event::MappingStart(_, anchor, _) => {
                let mut entries = Vec::new();
                while let Some(key) = self.child(depth)? {
                    let Some(value) = self.child(depth)? else {
                        return Err(key.fault("a key without a value"));
                    };
                    entries.push((key, value));
                }
                (Kind::Map(merge(entries)?), anchor)
            }
            _ => {
                return Err(Fault {
                    at,
                    text: "unexpected end".into(),
                })
            }
        };
        let node = Node { at, kind };
        if anchor != 0 {
            self.anchors
                .insert(anchor, (node.clone(), self.nodes.saturating_sub(before)));
        }
        Ok(node)
    }

    /// The next node of a list or a map; nothing at its end.
    fn child(&mut self, depth: usize) -> Result<Option<Node>, Fault> {
        match self.next()? {
            None | Some((Event::SequenceEnd | Event::MappingEnd, _)) => Ok(None),
            Some((event, at)) => self.node(event, at, depth + 1).map(Some),
        }
    }
}

/// Refuses a key that is there twice, and puts in what `<<` names.
fn merge(entries: Vec<(Node, Node)>) -> Result<Vec<(Node, Node)>, Fault> {
    let mut own: Vec<(Node, Node)> = Vec::new();
    let mut named = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for (key, value) in entries {
        if matches!(&key.kind, Kind::Scalar(text, true) if text == "<<") {
            named.push(value);
            continue;
        }
        if !seen.insert(key.text().map(str::to_owned)) {
            return Err(key.fault(format!("duplicate key '{}'", key.brief())));
        }
        own.push((key, value));
    }
    for value in named {
        let maps = match value.kind {
            Kind::List(items) => items,
            kind => vec![Node { at: value.at, kind }],
        };
        for map in maps {
            let Kind::Map(entries) = map.kind else {
                return Err(map.fault("<< must name a map"));
            };
            for (key, value) in entries {
                if seen.insert(key.text().map(str::to_owned)) {
                    own.push((key, value));
                }
            }
        }
    }
    Ok(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_are_what_was_written() {
        let root = read("a: 123\nb: 0x10\nc: 'yes'\nd: yes\ne: ~\nf: 007\n").unwrap();
        assert_eq!(root.get("a").unwrap().text(), Some("123"));
        assert_eq!(root.get("b").unwrap().integer(), Some(16));
        assert_eq!(root.get("c").unwrap().boolean(), None);
        assert_eq!(root.get("d").unwrap().boolean(), Some(true));
        assert_eq!(root.get("e").unwrap().kind, Kind::Null);
        assert_eq!(root.get("f").unwrap().text(), Some("007"));
    }

    #[test]
    fn faults_say_where() {
        let fault = read("a: 1\nb: [1, 2\n").unwrap_err();
        assert!(fault.at.line >= 2, "{fault}");
        assert_eq!(
            read("a: 1\nb: 2\na: 3\n").unwrap_err().to_string(),
            "line 3, column 1: duplicate key 'a'"
        );
    }

    #[test]
    fn aliases_and_merges() {
        let root = read("x: &x {unit: day, n: 5}\ny:\n  <<: *x\n  n: 6\n").unwrap();
        let y = root.get("y").unwrap();
        assert_eq!(y.get("unit").unwrap().text(), Some("day"));
        assert_eq!(y.get("n").unwrap().integer(), Some(6));
    }

    #[test]
    fn an_alias_of_aliases_is_bounded() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for i in 1..12 {
            let last = format!("*a{}, ", i - 1).repeat(10);
            text.push_str(&format!("a{i}: &a{i} [{last}]\n"));
        }
        assert!(read(&text).unwrap_err().text.contains("values"));
        assert!(read(&"[".repeat(10_000)).is_err());
    }

    /// Any bytes: an answer, never a panic.
    #[test]
    fn noise_is_answered() {
        let alphabet: Vec<char> = "ab:-[]{}&*!|>'\"%#@,? \n\t<<~0.é".chars().collect();
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..40 {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                let i = usize::try_from(seed >> 33).unwrap() % alphabet.len();
                text.push(alphabet[i]);
            }
            let _ = read(&text);
        }
    }
}
