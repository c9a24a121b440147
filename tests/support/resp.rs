//! A raw connection in RESP2, so that a test knows for each hit whether it was answered when its server died.

use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::TcpStream;

use crate::support::{Reply, DEADLINE};

/// A connection to a server on 127.0.0.1.
pub struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    /// Connects to `port`.
    pub fn open(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        // Where nobody listens, a connection may be given the very port that it asks for, and meet itself.
        if stream.local_addr()? == stream.peer_addr()? {
            return Err(ErrorKind::ConnectionRefused.into());
        }
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        Ok(Connection {
            stream: BufReader::new(stream),
        })
    }

    /// Sends one command, words separated by spaces, without waiting for its reply.
    pub fn send(&mut self, command: &str) -> Result<()> {
        let words: Vec<&str> = command.split_whitespace().collect();
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request += &format!("${}\r\n{word}\r\n", word.len());
        }
        self.stream.get_mut().write_all(request.as_bytes())
    }

    /// Waits for one reply. An error means that the connection is gone.
    pub fn receive(&mut self) -> Result<Reply> {
        let line = self.line()?;
        let (kind, rest) = line.split_at_checked(1).ok_or_else(malformed)?;
        match kind {
            ":" => Ok(Reply::Int(number(rest)?)),
            "+" => Ok(Reply::Text(rest.as_bytes().to_vec())),
            "-" => Ok(Reply::Error(rest.to_string())),
            "$" | "*" if rest == "-1" => Ok(Reply::Nil),
            "$" => {
                let mut bytes = vec![0; number(rest)?];
                self.stream.read_exact(&mut bytes)?;
                self.line()?;
                Ok(Reply::Text(bytes))
            }
            "*" => Ok(Reply::Array(
                (0..number(rest)?)
                    .map(|_: usize| self.receive())
                    .collect::<Result<_>>()?,
            )),
            _ => Err(malformed()),
        }
    }

    /// Sends one command and waits for its reply.
    pub fn call(&mut self, command: &str) -> Result<Reply> {
        self.send(command)?;
        self.receive()
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        line.strip_suffix("\r\n")
            .map(str::to_string)
            .ok_or_else(|| ErrorKind::UnexpectedEof.into())
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T> {
    text.parse().map_err(|_| malformed())
}

fn malformed() -> Error {
    ErrorKind::InvalidData.into()
}
