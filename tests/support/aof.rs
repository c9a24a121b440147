//! The append-only file: when it is written, and the commands in it, which are what the server really propagates.

use super::{eventually, Server};

/// One command: its words.
pub type Command = Vec<Vec<u8>>;

/// Rewrites the file, and waits until that is done.
pub fn rewrite(server: &Server) {
    server.call("BGREWRITEAOF");
    await_rewrite(server);
}

/// Waits until no rewrite is under way, the last of which went well.
pub fn await_rewrite(server: &Server) {
    eventually("the AOF rewrite ends", || {
        server.info_number("persistence", "aof_rewrite_in_progress") == 0
            && server.info_number("persistence", "aof_rewrite_scheduled") == 0
    });
    assert_eq!(
        server.info_field("persistence", "aof_last_bgrewrite_status"),
        "ok"
    );
}

/// Waits until everything that was answered is in the file: where not every write is synced, writes wait while a sync
/// runs.
pub fn await_writes(server: &Server) {
    eventually("the AOF is written", || {
        server.info_number("persistence", "aof_buffer_length") == 0
            && server.info_number("persistence", "aof_pending_bio_fsync") == 0
    });
}

/// Every command of the server's append-only file since the last rewrite, oldest first, without the SELECTs and the
/// statistics.
pub fn commands(server: &Server) -> Vec<Command> {
    since_the_rewrite(server, false)
}

/// The statistics in that file.
pub fn statistics(server: &Server) -> Vec<Command> {
    since_the_rewrite(server, true)
}

fn since_the_rewrite(server: &Server, statistics: bool) -> Vec<Command> {
    await_writes(server);
    let mut commands = files(server, "i");
    commands.retain(|command| {
        let is_node = command[0].eq_ignore_ascii_case(b"RL.NODE");
        statistics == (is_node && command[1].starts_with(b"S"))
    });
    commands
}

/// Every command that the last rewrite wrote, without the SELECTs; for a rewrite without the RDB preamble.
pub fn base_commands(server: &Server) -> Vec<Command> {
    files(server, "b")
}

/// The commands of all files of one kind. By the manifest, `file NAME seq NUMBER type KIND` a line: what a rewrite has
/// replaced is still in the directory until a thread of the server's has removed it.
fn files(server: &Server, kind: &str) -> Vec<Command> {
    let dir = server.dir().join("appendonlydir");
    let manifest = std::fs::read_to_string(dir.join("appendonly.aof.manifest"))
        .expect("the server keeps an append-only file");
    manifest
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .filter(|words| words[5] == kind)
        .flat_map(|words| parse(&std::fs::read(dir.join(words[1])).expect("a readable file")))
        .filter(|command| !command[0].eq_ignore_ascii_case(b"SELECT"))
        .collect()
}

/// Reads RESP arrays of strings, stepping over the `#` annotations.
fn parse(mut bytes: &[u8]) -> Vec<Command> {
    let mut commands = Vec::new();
    while !bytes.is_empty() {
        let header = line(&mut bytes);
        if header.starts_with('#') {
            continue;
        }
        let words = header.strip_prefix('*').expect("a command starts with *");
        commands.push(
            (0..words.parse::<usize>().expect("a number of words"))
                .map(|_| {
                    let length = line(&mut bytes);
                    let length = length.strip_prefix('$').expect("a word starts with $");
                    let length: usize = length.parse().expect("a word's length");
                    let word = bytes[..length].to_vec();
                    bytes = &bytes[length + 2..];
                    word
                })
                .collect(),
        );
    }
    commands
}

/// Takes one line, without its CRLF.
fn line(bytes: &mut &[u8]) -> String {
    let end = bytes
        .windows(2)
        .position(|pair| pair == b"\r\n")
        .expect("a line ends in CRLF");
    let text = String::from_utf8_lossy(&bytes[..end]).into_owned();
    *bytes = &bytes[end + 2..];
    text
}
