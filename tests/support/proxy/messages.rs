//! PostgreSQL's wire protocol as far as the proxy must know it: the statement that a request
//! executes, and the reply that belongs to it.
//!
//! Replies are counted by their last message, ReadyForQuery: the first ends the startup, and each
//! Sync and each simple query asks for one more.

use std::collections::HashMap;

/// Cuts bytes into messages: a type, a length that counts itself, a body.
#[derive(Default)]
struct Messages {
    buffer: Vec<u8>,
}

impl Messages {
    /// The next message, whole, if it is there; `prefix` is the length of the type before it.
    fn next(&mut self, prefix: usize) -> Option<Vec<u8>> {
        let length = self.buffer.get(prefix..prefix + 4)?;
        let length = u32::from_be_bytes(length.try_into().unwrap()) as usize + prefix;
        let whole = self.buffer.len() >= length;
        whole.then(|| self.buffer.drain(..length).collect())
    }
}

/// Messages of a client.
pub struct Requests {
    messages: Messages,
    started: bool,
    /// The text of each prepared statement, by name.
    statements: HashMap<Vec<u8>, Vec<u8>>,
    /// Statement that the next Execute executes.
    bound: Vec<u8>,
    /// Number of replies that the client waits for.
    asked: usize,
}

impl Requests {
    pub fn new() -> Self {
        let (messages, statements) = (Messages::default(), HashMap::new());
        Self { messages, started: false, statements, bound: Vec::new(), asked: 1 }
    }

    /// Each statement that these bytes execute, and the number of its reply.
    pub fn read(&mut self, bytes: &[u8]) -> Vec<(Vec<u8>, usize)> {
        self.messages.buffer.extend_from_slice(bytes);
        let mut executed = Vec::new();
        if !self.started {
            self.started = self.messages.next(0).is_some();
        }
        while self.started
            && let Some(message) = self.messages.next(1)
        {
            let mut texts = message[5..].split(|byte| *byte == 0).map(<[u8]>::to_vec);
            let mut text = || texts.next().unwrap_or_default();
            match message[0] {
                b'P' => drop(self.statements.insert(text(), text())),
                b'B' => {
                    let (_portal, statement) = (text(), text());
                    self.bound = self.statements.get(&statement).cloned().unwrap_or_default();
                }
                b'E' => executed.push((self.bound.clone(), self.asked + 1)),
                b'Q' => {
                    self.asked += 1;
                    executed.push((text(), self.asked));
                }
                b'S' => self.asked += 1,
                _ => {}
            }
        }
        executed
    }
}

/// Messages of the server.
#[derive(Default)]
pub struct Replies {
    messages: Messages,
    ended: usize,
}

impl Replies {
    /// Each whole message, the number of the reply it belongs to, and whether it is the last of it.
    pub fn read(&mut self, bytes: &[u8]) -> Vec<(Vec<u8>, usize, bool)> {
        self.messages.buffer.extend_from_slice(bytes);
        let mut read = Vec::new();
        while let Some(message) = self.messages.next(1) {
            let (reply, is_last) = (self.ended + 1, message[0] == b'Z');
            self.ended += usize::from(is_last);
            read.push((message, reply, is_last));
        }
        read
    }
}
