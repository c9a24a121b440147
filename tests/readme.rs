//! The README's `redis` blocks are run, line by line, on one server, and must answer what the README says.
//!
//! Behind a reply, three spaces set off a comment. A comment that begins with `about` allows a number to be off by five
//! seconds' worth, one that begins with `varies` allows any number.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test may stop at the first surprise, and these functions are part of a test"
)]

mod support;

use support::Server;

const README: &str = include_str!("../README.md");

/// A command and the lines that it is said to answer.
struct Example {
    command: String,
    reply: Vec<String>,
}

fn examples() -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let mut inside = false;
    for line in README.lines() {
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

/// The number that a reply's line ends with, and what is before it.
fn number(line: &str) -> (&str, i64) {
    let start = line.rfind(' ').map_or(0, |space| space + 1);
    let (before, number) = line.split_at(start);
    (
        before,
        number
            .parse()
            .unwrap_or_else(|_| panic!("no number at the end of {line:?}")),
    )
}

fn agree(said: &str, answered: &str) -> bool {
    let (said, comment) = said.split_once("   ").unwrap_or((said, ""));
    let comment = comment.trim_start();
    if comment.starts_with("about") || comment.starts_with("varies") {
        let ((said_before, said), (before, answered)) = (number(said), number(answered));
        let near = (said - answered).abs() <= 5_000 && answered >= 0;
        return said_before == before && (near || comment.starts_with("varies"));
    }
    said == answered
}

#[test]
fn every_example_answers_what_the_readme_says() {
    let server = Server::start();
    let examples = examples();
    assert!(
        examples.len() >= 23,
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
            "> {command}\nthe README says:\n{}\nanswered:\n{answer}",
            reply.join("\n")
        );
    }
}
