//! A small HTTP client over one kept connection, with a short patience.

use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::TcpStream;
use std::time::Duration;

/// The answer of a server.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The body as JSON; null if it is none.
    pub body: serde_json::Value,
    /// The body as it came.
    pub text: String,
    /// Status line and headers, in small letters.
    pub head: String,
    /// The `location` header.
    pub location: Option<String>,
}

impl Response {
    /// A header by its name in small letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// One connection.
pub struct Client {
    stream: BufReader<TcpStream>,
    /// The `authorization` header of every request, if there is a credential.
    authorization: String,
}

impl Client {
    /// Connects to `127.0.0.1:PORT`.
    pub fn connect(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        Ok(Self { stream: BufReader::new(stream), authorization: String::new() })
    }

    /// Sets the timeout of each answer. After a timeout the connection is unusable.
    pub fn patience(self, within: Duration) -> Result<Self> {
        self.stream.get_ref().set_read_timeout(Some(within))?;
        Ok(self)
    }

    /// Sends this credential from now on.
    pub fn by(mut self, bearer: &str) -> Self {
        self.authorization = format!("authorization: Bearer {bearer}\r\n");
        self
    }

    /// Sends a GET request.
    pub fn get(&mut self, path: &str) -> Result<Response> {
        let who = &self.authorization;
        self.ask(&format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{who}\r\n"))
    }

    /// Sends a command, named by `key` if there is one.
    pub fn post(&mut self, path: &str, body: &str, key: Option<&str>) -> Result<Response> {
        let key = key.map(|key| format!("idempotency-key: {key}\r\n")).unwrap_or_default();
        let (length, who) = (body.len(), &self.authorization);
        self.ask(&format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{key}{who}content-length: {length}\r\n\r\n{body}"
        ))
    }

    /// Sends anything; each of the headers ends its line.
    pub fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> Result<Response> {
        let length = body.len();
        self.ask(&format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{headers}content-length: {length}\r\n\r\n{body}"
        ))
    }

    fn ask(&mut self, request: &str) -> Result<Response> {
        self.stream.get_mut().write_all(request.as_bytes())?;
        let bad = |what: &str| Error::new(ErrorKind::InvalidData, what.to_owned());
        let mut head = String::new();
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(Error::new(ErrorKind::UnexpectedEof, "the server hung up"));
            }
            if line == "\r\n" {
                break;
            }
            head.push_str(&line.to_ascii_lowercase());
        }
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| bad("no status line"))?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        let text = String::from_utf8(body).map_err(|_| bad("no text"))?;
        let body = serde_json::from_str(&text).unwrap_or_default();
        let location = head.lines().find_map(|line| line.strip_prefix("location: "));
        let location = location.map(|location| location.trim().to_owned());
        Ok(Response { status, body, text, head, location })
    }
}
