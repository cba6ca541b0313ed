//! Where an event stands: its stream, its version in that stream, its position in the whole log.
//!
//! These are the words every other file speaks. A [`StreamId`] is checked when it is made, so no
//! code below has to quote, escape or measure one again. Nothing here knows of a database.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The longest id (and, separately, the longest aggregate type) in bytes.
///
/// 255 keeps every index row of both databases far below its limit.
pub const MAX_ID_BYTES: usize = 255;

/// One aggregate instance: its type and its id, shown as `account-42`.
///
/// A type is ASCII letters, digits and `_`; an id is ASCII letters, digits and `- _ . : @ + ~`,
/// but not `.` or `..`, which clients take out of paths.
/// A type never holds a `-`, so the shown form reads back without doubt. Cloning is a counter.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId {
    text: Arc<str>,
    type_bytes: u8,
}

/// Why a text is no stream id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidStreamId {
    /// The type or the id has no characters.
    #[error("the {part} of a stream is empty")]
    Empty {
        /// `aggregate type` or `id`.
        part: &'static str,
    },
    /// The type or the id is longer than [`MAX_ID_BYTES`].
    #[error("the {part} of a stream has {bytes} bytes; at most {MAX_ID_BYTES} are allowed")]
    TooLong {
        /// `aggregate type` or `id`.
        part: &'static str,
        /// How long it was.
        bytes: usize,
    },
    /// An id that means a folder in a path.
    #[error("{id:?} cannot be an id: in a path it means a folder")]
    Dots {
        /// The id.
        id: String,
    },
    /// A character that could need escaping somewhere.
    #[error("the {part} of a stream holds {character:?}; allowed are {allowed}")]
    Character {
        /// `aggregate type` or `id`.
        part: &'static str,
        /// The first one that is not allowed.
        character: char,
        /// What is.
        allowed: &'static str,
    },
}

impl StreamId {
    /// The stream of the aggregate `aggregate_type` with this `id`.
    ///
    /// # Errors
    /// [`InvalidStreamId`] names the part and the character or length that is not allowed.
    pub fn new(aggregate_type: &str, id: &str) -> Result<Self, InvalidStreamId> {
        check("aggregate type", aggregate_type, "letters, digits and _", |c| {
            c.is_ascii_alphanumeric() || c == '_'
        })?;
        check("id", id, "ASCII letters, digits and - _ . : @ + ~", |c| {
            c.is_ascii_alphanumeric() || "-_.:@+~".contains(c)
        })?;
        if matches!(id, "." | "..") {
            return Err(InvalidStreamId::Dots { id: id.to_owned() });
        }
        let type_bytes = aggregate_type.len() as u8; // at most 255: checked above
        Ok(Self { text: format!("{aggregate_type}-{id}").into(), type_bytes })
    }

    /// The aggregate type: `account` of `account-42`.
    pub fn aggregate_type(&self) -> &str {
        &self.text[..usize::from(self.type_bytes)]
    }

    /// The id within its type: `42` of `account-42`.
    pub fn id(&self) -> &str {
        &self.text[usize::from(self.type_bytes) + 1..]
    }

    /// The whole, as it is shown: `account-42`.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

fn check(
    part: &'static str,
    text: &str,
    allowed: &'static str,
    is_allowed: impl Fn(char) -> bool,
) -> Result<(), InvalidStreamId> {
    if text.is_empty() {
        return Err(InvalidStreamId::Empty { part });
    }
    if text.len() > MAX_ID_BYTES {
        return Err(InvalidStreamId::TooLong { part, bytes: text.len() });
    }
    match text.chars().find(|c| !is_allowed(*c)) {
        Some(character) => Err(InvalidStreamId::Character { part, character, allowed }),
        None => Ok(()),
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamId({})", self.text)
    }
}

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident, $zero:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            #[doc = $zero]
            pub const ZERO: Self = Self(0);

            /// The one after this.
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

counter!(
    /// The number of an event within its stream: 1, 2, 3 … without a gap.
    StreamVersion,
    "No event yet."
);
counter!(
    /// The number of an event in the whole log: 1, 2, 3 … without a gap, the same for every reader.
    GlobalPosition,
    "Before the first event."
);

/// The end of a stream: its last event's version, and where the log has it. Zeros: no event yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tip {
    pub(crate) version: StreamVersion,
    pub(crate) position: GlobalPosition,
}

/// What an append takes for granted about its stream; if it is not so, nothing is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpectedVersion {
    /// Nothing: append at the end, wherever that is.
    #[default]
    Any,
    /// The stream has no event.
    NoStream,
    /// The stream has at least one event.
    StreamExists,
    /// The stream's last event has exactly this version (0: it has none).
    Exact(StreamVersion),
}

impl ExpectedVersion {
    /// Whether a stream whose last version is `current` is as expected.
    pub fn admits(self, current: StreamVersion) -> bool {
        match self {
            Self::Any => true,
            Self::NoStream => current == StreamVersion::ZERO,
            Self::StreamExists => current > StreamVersion::ZERO,
            Self::Exact(version) => current == version,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_id_shows_its_type_and_id_and_gives_them_back() {
        let stream = StreamId::new("account", "eu-42").unwrap();
        assert_eq!(stream.to_string(), "account-eu-42");
        assert_eq!((stream.aggregate_type(), stream.id()), ("account", "eu-42"));
    }

    #[test]
    fn a_text_that_would_need_escaping_is_no_stream_id() {
        for id in [
            "",
            ".",
            "..",
            "a b",
            "a'b",
            "a\"b",
            "a/b",
            "a\\b",
            "a\nb",
            "é",
            "a%2fb",
            &"x".repeat(256),
        ] {
            assert!(StreamId::new("account", id).is_err(), "{id:?} was accepted");
        }
        for aggregate_type in ["", "a-b", "a.b"] {
            assert!(StreamId::new(aggregate_type, "1").is_err(), "{aggregate_type:?} was accepted");
        }
    }
}
