//! A long-lived `redis-cli --json`, fed line by line.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{channel, Receiver, RecvTimeoutError, Sender};

use super::{Decision, Reply, DEADLINE};

/// One connection.
pub struct Cli {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<Line>,
}

enum Line {
    /// A line of stdout: a reply.
    Reply(Vec<u8>),
    /// A line of stderr: the connection broke.
    Trouble(String),
}

/// `RATELIMIT_CLI`, else `redis-cli`.
pub fn command() -> Command {
    super::server::command_from("RATELIMIT_CLI", "redis-cli")
}

/// Writes an argument so that redis-cli reads back the very same bytes.
pub fn quote(argument: &[u8]) -> String {
    let escaped: String = argument
        .iter()
        .map(|byte| format!("\\x{byte:02x}"))
        .collect();
    format!("\"{escaped}\"")
}

impl Cli {
    /// Connects to a server's socket. `options` are redis-cli's own, such as `-2` or `--user`.
    pub fn connect(socket: &Path, options: &[&str]) -> Self {
        let mut child = command()
            .arg("-s")
            .arg(socket)
            .arg("--json")
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("redis-cli starts");
        let stdin = child.stdin.take().expect("stdin is piped");
        let (sender, lines) = channel();
        forward(
            child.stdout.take().expect("stdout is piped"),
            sender.clone(),
            Line::Reply,
        );
        forward(
            child.stderr.take().expect("stderr is piped"),
            sender,
            |line| Line::Trouble(String::from_utf8_lossy(&line).into_owned()),
        );
        Cli {
            child,
            stdin,
            lines,
        }
    }

    /// Sends a line as a person types it, and waits for the reply.
    pub fn call(&mut self, line: &str) -> Reply {
        self.send(line);
        self.receive()
    }

    /// Sends arguments of any bytes, and waits for the reply.
    pub fn call_bytes(&mut self, arguments: &[&[u8]]) -> Reply {
        let quoted: Vec<String> = arguments.iter().map(|argument| quote(argument)).collect();
        self.call(&quoted.join(" "))
    }

    /// A call that is answered by OK.
    pub fn ok(&mut self, line: &str) {
        assert_eq!(self.call(line), Reply::Text(b"OK".to_vec()), "{line}");
    }

    /// A call that is answered by a decision.
    pub fn decide(&mut self, line: &str) -> Decision {
        let reply = self.call(line);
        assert!(!reply.is_error(), "{line:?} was refused: {reply:?}");
        reply.decision()
    }

    /// Sends many lines, each answered by one reply, and returns the replies in their order.
    pub fn bulk(&mut self, lines: &[String]) -> Vec<Reply> {
        let Cli {
            stdin,
            lines: replies,
            ..
        } = self;
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for line in lines {
                    write_line(stdin, line);
                }
                stdin.flush().expect("redis-cli reads its stdin");
            });
            lines.iter().map(|_| receive_from(replies)).collect()
        })
    }

    /// Sends a line without waiting for its reply.
    pub fn send(&mut self, line: &str) {
        write_line(&mut self.stdin, line);
        self.stdin.flush().expect("redis-cli reads its stdin");
    }

    /// Waits for one reply.
    pub fn receive(&mut self) -> Reply {
        receive_from(&self.lines)
    }
}

impl Drop for Cli {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone after this.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write_line(stdin: &mut ChildStdin, line: &str) {
    assert!(!line.contains('\n'), "one command a line: {line:?}");
    let written = stdin.write_all(format!("{line}\n").as_bytes());
    written.expect("redis-cli reads its stdin");
}

fn receive_from(lines: &Receiver<Line>) -> Reply {
    match lines.recv_timeout(DEADLINE) {
        Ok(Line::Reply(line)) => Reply::parse(&line),
        Ok(Line::Trouble(text)) => panic!("redis-cli: {text}"),
        Err(RecvTimeoutError::Timeout) => panic!("no reply within {DEADLINE:?}"),
        Err(RecvTimeoutError::Disconnected) => panic!("redis-cli ended"),
    }
}

/// Sends each line of `stream` on, until it ends.
fn forward(
    stream: impl std::io::Read + Send + 'static,
    sender: Sender<Line>,
    line: impl Fn(Vec<u8>) -> Line + Send + 'static,
) {
    std::thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        loop {
            let mut bytes = Vec::new();
            match stream.read_until(b'\n', &mut bytes) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            if bytes.ends_with(b"\n") {
                bytes.pop();
            }
            if sender.send(line(bytes)).is_err() {
                return;
            }
        }
    });
}
