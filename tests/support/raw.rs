//! A client that sends any bytes and reads all bytes that come back.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A plain connection.
pub struct Raw(TcpStream);

/// All bytes that came back on a connection.
#[derive(Debug)]
pub struct Reply {
    /// The status code of the first answer, if there was one.
    pub status: Option<u16>,
    /// All text that came, in lower case.
    pub text: String,
}

impl Reply {
    /// The value of a header of the first answer.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (head, _) = self.text.split_once("\r\n\r\n")?;
        head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// Number of answers.
    pub fn answers(&self) -> usize {
        self.text.matches("http/1.1 ").count()
    }
}

impl Raw {
    /// Connects to `127.0.0.1:PORT`.
    pub fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self(stream)
    }

    /// Sends this. Returns false if the other end no longer reads.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.0.write_all(bytes.as_ref()).is_ok()
    }

    /// Sends this, then the byte again and again, until the other end has closed the connection.
    pub fn trickle(mut self, first: &str, byte: u8) -> Reply {
        self.send(first);
        let mut sender = Self(self.0.try_clone().unwrap());
        let trickling = std::thread::spawn(move || {
            while sender.send([byte]) {
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let reply = self.whole_reply();
        trickling.join().unwrap();
        reply
    }

    /// All bytes until the other end closes the connection, which it has to.
    pub fn whole_reply(mut self) -> Reply {
        let mut bytes = Vec::new();
        let mut part = [0; 4096];
        loop {
            match self.0.read(&mut part) {
                Ok(0) => break,
                Ok(n) => bytes.extend_from_slice(&part[..n]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
                Err(error) => panic!("it was not hung up on: {error}, after {bytes:?}"),
            }
        }
        let text = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
        Reply { status, text }
    }
}
