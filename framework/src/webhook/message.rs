//! A webhook message: an id, the time of the attempt, and a body.

use time::OffsetDateTime;

/// Maximum length of a message id in bytes.
pub const MAX_MESSAGE_ID_BYTES: usize = 255;

/// A message of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub(super) id: String,
    pub(super) timestamp: OffsetDateTime,
    pub(super) content_type: String,
    pub(super) body: Vec<u8>,
}

/// Error of [`Message::new`]: the id is empty, too long, or contains a character that is not
/// allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message's id has 1 to {MAX_MESSAGE_ID_BYTES} visible ASCII characters and no full stop")]
pub struct InvalidMessageId;

impl Message {
    /// Creates a JSON message. The id must be the same in every attempt, such as an event id,
    /// because the receiver deduplicates by it. The timestamp is the time of this attempt, because
    /// receivers refuse old messages.
    ///
    /// # Errors
    ///
    /// [`InvalidMessageId`]: the id is not 1 to 255 visible ASCII characters, or contains a full
    /// stop. The signed text separates its parts with full stops, so one in the id would be
    /// ambiguous.
    pub fn new(
        id: &str,
        timestamp: OffsetDateTime,
        body: impl Into<Vec<u8>>,
    ) -> Result<Self, InvalidMessageId> {
        let fits = (1..=MAX_MESSAGE_ID_BYTES).contains(&id.len());
        if !fits || id.bytes().any(|byte| !byte.is_ascii_graphic() || byte == b'.') {
            return Err(InvalidMessageId);
        }
        let content_type = "application/json".to_owned();
        Ok(Self { id: id.to_owned(), timestamp, content_type, body: body.into() })
    }

    /// Sets another media type than `application/json`.
    #[must_use]
    pub fn content_type(mut self, content_type: &str) -> Self {
        content_type.clone_into(&mut self.content_type);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_could_end_early_or_break_a_header_is_refused() {
        let made = |id: &str| Message::new(id, OffsetDateTime::UNIX_EPOCH, "{}").is_ok();
        assert!(made("msg_1") && made("0190a-b:c/1") && made(&"x".repeat(255)));
        for id in ["", "a.b", "a b", "a\r\nb", "a\0", "ä", &"x".repeat(256)] {
            assert!(!made(id), "{id:?}");
        }
    }
}
