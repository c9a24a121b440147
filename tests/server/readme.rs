//! The `redis` blocks of the README, and of the pages on commands and on limits at runtime, are run, line by line, on one server, and must
//! answer what stands there.
//!
//! Behind a reply, three spaces set off a comment. A comment that begins with `about` allows a number to be off by five
//! seconds' worth, one that begins with `varies` allows any number.
//!
//! The links of all documents lead to a file, and to a heading, that is there.

use std::fs;
use std::path::Path;

use crate::support::Server;

const EXAMPLES: [&str; 3] = [
    include_str!("../../README.md"),
    include_str!("../../ops/commands.md"),
    include_str!("../../ops/runtime.md"),
];

const DOCUMENTS: [&str; 14] = [
    "README.md",
    "CHANGELOG.md",
    "clients/README.md",
    "SECURITY.md",
    "gateway/README.md",
    "ops/README.md",
    "ops/backup.md",
    "ops/capacity.md",
    "ops/commands.md",
    "ops/runtime.md",
    "ops/prometheus/README.md",
    "scripts/README.md",
    "tests/README.md",
    "scripts/bench.d/results/README.md",
];

/// A command and the lines that it is said to answer.
struct Example {
    command: String,
    reply: Vec<String>,
}

fn examples() -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let mut inside = false;
    for line in EXAMPLES.iter().flat_map(|page| page.lines()) {
        if line.starts_with("```") {
            inside = line == "```redis";
        } else if inside {
            match line.strip_prefix("> ") {
                Some(command) => examples.push(Example {
                    command: command.to_owned(),
                    reply: Vec::new(),
                }),
                None => examples
                    .last_mut()
                    .expect("a block begins with a command")
                    .reply
                    .push(line.trim_start().to_owned()),
            }
        }
    }
    examples
}

/// What is before the last word of a reply's line, and that word.
fn last_word(line: &str) -> (&str, &str) {
    let start = line.rfind(' ').map_or(0, |space| space + 1);
    line.split_at(start)
}

fn agree(said: &str, answered: &str) -> bool {
    let (said, comment) = said.split_once("   ").unwrap_or((said, ""));
    let comment = comment.trim_start();
    if comment.starts_with("about") || comment.starts_with("varies") {
        let ((said_before, said), (before, answered)) = (last_word(said), last_word(answered));
        let near = match (said.parse::<i64>(), answered.parse::<i64>()) {
            (Ok(said), Ok(answered)) => (said - answered).abs() <= 5_000 && answered >= 0,
            _ => false,
        };
        return said_before == before && (near || comment.starts_with("varies"));
    }
    said == answered
}

#[test]
fn every_example_answers_what_the_readme_says() {
    let server = Server::start();
    let examples = examples();
    assert!(
        examples.len() >= 25,
        "only {} examples found",
        examples.len()
    );
    for Example { command, reply } in &examples {
        let words: Vec<&str> =
            [&["--no-raw"][..], &command.split(' ').collect::<Vec<_>>()].concat();
        let answer = server.print(&words);
        let lines: Vec<&str> = answer
            .lines()
            .map(str::trim_start)
            .filter(|line| !line.is_empty())
            .collect();
        let same = lines.len() == reply.len()
            && reply
                .iter()
                .zip(&lines)
                .all(|(said, answered)| agree(said, answered));
        assert!(
            same,
            "> {command}\nit says:\n{}\nanswered:\n{answer}",
            reply.join("\n")
        );
    }
}

/// What a Markdown link points at: `[text](target)`.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')').map(|(target, _)| target))
}

/// The names by which a document's headings are linked to: in lower case, without punctuation, with dashes for spaces.
fn anchors(text: &str) -> Vec<String> {
    text.lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            line.trim_start_matches('#')
                .trim()
                .to_lowercase()
                .chars()
                .filter(|char| char.is_alphanumeric() || matches!(char, ' ' | '-' | '_'))
                .map(|char| if char == ' ' { '-' } else { char })
                .collect()
        })
        .collect()
}

#[test]
fn every_link_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut broken = Vec::new();
    for document in DOCUMENTS {
        let here = root.join(document);
        let text = fs::read_to_string(&here).expect("a document");
        for link in links(&text).filter(|link| !link.contains("://")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let there = if file.is_empty() {
                here.clone()
            } else {
                here.with_file_name(file)
            };
            let leads = there.exists()
                && (anchor.is_empty()
                    || fs::read_to_string(&there)
                        .is_ok_and(|text| anchors(&text).iter().any(|name| name == anchor)));
            if !leads {
                broken.push(format!("{document}: {link}"));
            }
        }
    }
    assert!(broken.is_empty(), "broken links: {broken:#?}");
}
