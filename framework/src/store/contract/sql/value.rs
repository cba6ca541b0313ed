//! Values on their way into a statement and out of a row.
//!
//! A value that one of the databases cannot store is refused before any driver sees it, with the same
//! error on both: see [`SqlValue::check`]. Everything that passes comes back equal.

use time::{OffsetDateTime, UtcOffset};

use super::SqlError;
use crate::event::{GlobalPosition, StreamVersion};

/// First year of a timestamp: PostgreSQL stores none before 4713 BC, which is the year -4712.
const FIRST_YEAR: i32 = -4711;

/// Last year of a timestamp: `time` can read no later one back.
const LAST_YEAR: i32 = 9999;

/// A value of a statement or of a row. Integers, floats, texts, bytes, booleans, times, versions and
/// positions convert with `.into()`. A NULL has a type too, because PostgreSQL needs it:
/// `None::<i64>.into()` is the NULL of an integer column.
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
    /// Checks if the value is NULL.
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

    /// Checks that both databases store the value and return it equal.
    ///
    /// PostgreSQL has no NUL in a text; SQLite stores NaN as NULL; neither driver converts a time to
    /// UTC that is outside the years -4711 to 9999 there, and PostgreSQL's panics.
    ///
    /// # Errors
    /// `Refused`, with the reason.
    pub(super) fn check(&self) -> Result<(), SqlError> {
        let reason = match self {
            Self::Real(Some(value)) if value.is_nan() => "NaN is not a number that can be stored",
            Self::Text(Some(text)) if text.contains('\0') => "a text cannot contain NUL",
            Self::Timestamp(Some(time)) if !is_storable(*time) => {
                "a timestamp is within the years -4711 to 9999, in UTC"
            }
            _ => return Ok(()),
        };
        Err(SqlError::Refused(reason.to_owned()))
    }

    /// Name of the value's type, for messages.
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

fn is_storable(time: OffsetDateTime) -> bool {
    let utc = time.checked_to_offset(UtcOffset::UTC);
    utc.is_some_and(|utc| (FIRST_YEAR..=LAST_YEAR).contains(&utc.year()))
}

/// The time in UTC and in whole microseconds, rounded down. PostgreSQL's driver would round towards
/// the year 2000 and SQLite's towards 1970. A time without a date in UTC stays as it is and is
/// refused by [`SqlValue::check`].
fn in_microseconds(time: OffsetDateTime) -> OffsetDateTime {
    let utc = time.checked_to_offset(UtcOffset::UTC).unwrap_or(time);
    // Rounding down leaves a nanosecond of the same second, so the replacement cannot fail.
    utc.replace_nanosecond(utc.nanosecond() / 1000 * 1000).unwrap_or(utc)
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
from!(Timestamp: OffsetDateTime => in_microseconds);

#[cfg(test)]
mod tests {
    use time::{Date, Month, Time};

    use super::*;

    /// One minute after midnight, and some nanoseconds, `minutes` east of Greenwich.
    fn moment(year: i32, day: u8, nanoseconds: u32, minutes: i32) -> OffsetDateTime {
        let month = if day == 1 { Month::January } else { Month::December };
        let date = Date::from_calendar_date(year, month, day).unwrap();
        let time = Time::from_hms_nano(0, 1, 0, nanoseconds).unwrap();
        let zone = UtcOffset::from_whole_seconds(minutes * 60).unwrap();
        date.with_time(time).assume_offset(zone)
    }

    #[test]
    fn a_value_that_one_database_cannot_store_is_refused() {
        for value in [
            SqlValue::from(moment(9999, 31, 0, -1439)),
            SqlValue::from(moment(-9999, 1, 0, 1439)),
            SqlValue::from(moment(-4712, 31, 0, 0)),
            SqlValue::Timestamp(Some(moment(9999, 31, 0, -1439))),
            SqlValue::from("a\0b"),
            SqlValue::from(f64::NAN),
        ] {
            assert!(matches!(value.check(), Err(SqlError::Refused(_))), "{value:?}");
        }
        for value in [
            SqlValue::from(moment(9999, 31, 999_999_999, 0)),
            SqlValue::from(moment(0, 1, 0, 1439)),
            SqlValue::from(f64::INFINITY),
            SqlValue::from(i64::MIN),
            SqlValue::from(None::<OffsetDateTime>),
        ] {
            assert!(value.check().is_ok(), "{value:?}");
        }
    }

    #[test]
    fn a_time_is_rounded_down_to_microseconds_whichever_year_it_is_in() {
        for year in [1960, 1980, 2026] {
            let value = SqlValue::from(moment(year, 1, 1999, 60));
            assert_eq!(value, SqlValue::Timestamp(Some(moment(year, 1, 1000, 60))));
        }
    }
}
