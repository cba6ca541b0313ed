//! Values on their way into a statement and out of a row.

use time::OffsetDateTime;

use crate::stream::{GlobalPosition, StreamVersion};

/// A value of a statement or a row. One that is NULL has a type all the same, because PostgreSQL
/// wants to know it: `None::<i64>.into()` is the NULL of an integer column.
#[derive(Debug, Clone, PartialEq)]
pub enum SqlValue {
    /// `BIGINT`; shorter ones are widened.
    Integer(Option<i64>),
    /// `DOUBLE PRECISION`.
    Real(Option<f64>),
    /// `TEXT`.
    Text(Option<String>),
    /// `BLOB` or `BYTEA`.
    Blob(Option<Vec<u8>>),
    /// `BOOLEAN`; 0 or 1 on SQLite.
    Boolean(Option<bool>),
    /// `TIMESTAMPTZ`; on SQLite an integer of microseconds since 1970, UTC.
    Timestamp(Option<OffsetDateTime>),
}

impl SqlValue {
    /// Whether it is NULL.
    pub fn is_null(&self) -> bool {
        match self {
            Self::Integer(value) => value.is_none(),
            Self::Real(value) => value.is_none(),
            Self::Text(value) => value.is_none(),
            Self::Blob(value) => value.is_none(),
            Self::Boolean(value) => value.is_none(),
            Self::Timestamp(value) => value.is_none(),
        }
    }

    /// What it is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            _ if self.is_null() => "NULL",
            Self::Integer(_) => "an integer",
            Self::Real(_) => "a real number",
            Self::Text(_) => "a text",
            Self::Blob(_) => "a blob",
            Self::Boolean(_) => "a boolean",
            Self::Timestamp(_) => "a timestamp",
        }
    }
}

/// Numbers from outside, such as `?after=`, may be larger than any in a log.
fn beyond(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The ways from a Rust type into a value, and from its `Option` into one that may be NULL.
macro_rules! from {
    ($variant:ident: $($of:ty => $convert:expr),+ $(,)?) => {$(
        impl From<$of> for SqlValue {
            fn from(value: $of) -> Self {
                Self::$variant(Some($convert(value)))
            }
        }

        impl From<Option<$of>> for SqlValue {
            fn from(value: Option<$of>) -> Self {
                Self::$variant(value.map($convert))
            }
        }
    )+};
}

from!(Integer:
    i64 => i64::from,
    i32 => i64::from,
    u32 => i64::from,
    GlobalPosition => |position: GlobalPosition| beyond(position.0),
    StreamVersion => |version: StreamVersion| beyond(version.0),
);
from!(Real: f64 => f64::from);
from!(Text: String => String::from, &str => str::to_owned, &String => String::clone);
from!(Blob: Vec<u8> => Vec::from, &[u8] => <[u8]>::to_vec);
from!(Boolean: bool => bool::from);
from!(Timestamp: OffsetDateTime => std::convert::identity);
