//! A client of server-sent events over a plain socket, with a long timeout.

use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// One part of a stream.
#[derive(Debug, Clone, PartialEq)]
pub enum SsePart {
    /// `retry:`, in milliseconds.
    Retry(u64),
    /// A comment.
    Comment,
    /// A message.
    Message { id: u64, event: String, data: Value },
}

/// One open stream, or the answer that refused it.
pub struct EventStream {
    connection: BufReader<TcpStream>,
    /// The status code.
    pub status: u16,
    /// The head of the response in small letters, as it came.
    pub head: String,
    text: String,
}

impl EventStream {
    /// Opens a stream at a path of `127.0.0.1:PORT`, after an event if one is given.
    pub fn open(address: &str, path: &str, last_event_id: Option<u64>) -> Result<Self> {
        let resume = last_event_id.map(|id| format!("last-event-id: {id}\r\n"));
        let resume = resume.unwrap_or_default();
        let mut connection = TcpStream::connect(address)?;
        connection.set_read_timeout(Some(Duration::from_secs(60)))?;
        write!(connection, "GET {path} HTTP/1.1\r\nhost: localhost\r\n{resume}\r\n")?;
        let mut connection = BufReader::new(connection);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if connection.read_line(&mut head)? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| Error::from(ErrorKind::InvalidData))?;
        let head = head.to_ascii_lowercase();
        Ok(Self { connection, status, head, text: String::new() })
    }

    /// The next part; `None` when the server has ended the stream as it should, an error when it
    /// broke off.
    pub fn part(&mut self) -> Result<Option<SsePart>> {
        loop {
            if let Some((part, rest)) = self.text.split_once("\n\n") {
                let part = parse(part);
                self.text = rest.to_owned();
                return Ok(Some(part));
            }
            let chunk = self.chunk()?;
            if chunk.is_empty() {
                assert_eq!(self.text, "", "the stream ended within a message");
                return Ok(None);
            }
            self.text.push_str(&chunk);
        }
    }

    /// The next message's id, event and data.
    pub fn message(&mut self) -> Result<Option<(u64, String, Value)>> {
        loop {
            match self.part()? {
                Some(SsePart::Message { id, event, data }) => return Ok(Some((id, event, data))),
                Some(SsePart::Retry(_) | SsePart::Comment) => {}
                None => return Ok(None),
            }
        }
    }

    fn chunk(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.connection.read_line(&mut line)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let bytes = usize::from_str_radix(line.trim(), 16);
        let bytes = bytes.map_err(|_| Error::from(ErrorKind::InvalidData))?;
        let mut chunk = vec![0; bytes + 2];
        self.connection.read_exact(&mut chunk)?;
        chunk.truncate(bytes);
        String::from_utf8(chunk).map_err(|_| ErrorKind::InvalidData.into())
    }
}

fn parse(text: &str) -> SsePart {
    let field = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        value.unwrap_or_else(|| panic!("no {name} in {text:?}"))
    };
    if text.starts_with(':') {
        return SsePart::Comment;
    }
    if text.starts_with("retry") {
        return SsePart::Retry(field("retry").parse().unwrap());
    }
    assert_eq!(text.lines().count(), 3, "{text:?}");
    let data = serde_json::from_str(field("data")).unwrap();
    SsePart::Message { id: field("id").parse().unwrap(), event: field("event").to_owned(), data }
}
