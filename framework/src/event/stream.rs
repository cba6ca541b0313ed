//! Addresses of an event: its stream, its version in that stream, its position in the whole log.
//!
//! The rest of the crate uses these types. A [`StreamId`] is validated when it is created, so no
//! code below has to quote, escape or measure an id again. Nothing here depends on a database.

use std::fmt;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Maximum size of an id, and separately of an aggregate type, in bytes.
///
/// 255 keeps every index row of both databases far below its limit.
pub const MAX_ID_BYTES: usize = 255;

/// Stream of one aggregate instance: aggregate type and id, displayed as `account-42`.
///
/// A type consists of ASCII letters, digits and `_`. An id consists of ASCII letters, digits and `-
/// _ . : @ + ~`, but must not be `.` or `..`, because HTTP clients remove those from paths. A type
/// never contains a `-`, so the first `-` of the displayed form always ends the type. Cloning only
/// increments a reference count.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId {
    text: Arc<str>,
    /// Length of the type, so that one shared allocation holds type and id.
    type_bytes: u8,
}

/// Error of [`StreamId::new`]: the type or the id is not allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidStreamId {
    /// The type or the id is empty.
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
        /// Length in bytes.
        bytes: usize,
    },
    /// The id is `.` or `..`, which mean a directory in a path.
    #[error("{id:?} is not a valid id: in a path it means a directory")]
    Dots {
        /// The id that was refused.
        id: String,
    },
    /// The type or the id contains a character that would need escaping in a path, a URL or SQL.
    #[error("the {part} of a stream contains {character:?}; allowed: {allowed}")]
    Character {
        /// `aggregate type` or `id`.
        part: &'static str,
        /// First character that is not allowed.
        character: char,
        /// Description of the characters that are allowed.
        allowed: &'static str,
    },
}

impl StreamId {
    /// Creates the stream id of the aggregate `aggregate_type` with this `id`.
    ///
    /// # Errors
    /// [`InvalidStreamId`] if the type or the id is empty, longer than [`MAX_ID_BYTES`], or
    /// contains a character that is not allowed. Choose another id; a retry does not help.
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

    /// Aggregate type: `account` of `account-42`.
    pub fn aggregate_type(&self) -> &str {
        &self.text[..usize::from(self.type_bytes)]
    }

    /// Id within the type: `42` of `account-42`.
    pub fn id(&self) -> &str {
        &self.text[usize::from(self.type_bytes) + 1..]
    }

    /// Displayed form: `account-42`.
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

/// Written as it is displayed.
impl Serialize for StreamId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for StreamId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // A type never contains a `-`.
        let (aggregate_type, id) = text.split_once('-').unwrap_or((&text, ""));
        Self::new(aggregate_type, id).map_err(D::Error::custom)
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

            /// Returns the number after this one.
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
    /// Sequence number of an event within its stream: 1, 2, 3 … without a gap.
    StreamVersion,
    "No event yet."
);
counter!(
    /// Sequence number of an event in the whole log: 1, 2, 3 … without a gap, the same for every
    /// reader.
    GlobalPosition,
    "Before the first event."
);

/// End of a stream: version and position of its last event. Both are zero if it has no event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tip {
    /// Version of its last event.
    pub version: StreamVersion,
    /// Position of its last event.
    pub position: GlobalPosition,
}

/// Precondition of an append on the version of its stream. If the stream does not meet it, nothing
/// is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpectedVersion {
    /// No precondition: append at the end, whatever the version is.
    #[default]
    Any,
    /// The stream has no event yet.
    NoStream,
    /// The stream has at least one event.
    StreamExists,
    /// The last event of the stream has exactly this version; 0 means that the stream has no event.
    Exact(StreamVersion),
}

impl ExpectedVersion {
    /// Checks that a stream whose last version is `current` meets the precondition.
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
