//! Timestamps as PostgreSQL stores them, which are more than `time` has dates for.
//!
//! The driver adds the stored microseconds to the year 2000 and panics if the result has no date:
//! for `infinity`, `-infinity` and any year after 9999. So each timestamp is read as a [`Timestamp`].

use sqlx::error::BoxDynError;
use sqlx::postgres::{PgTypeInfo, PgValueFormat, PgValueRef};
use sqlx::{Decode, Postgres, Type};
use time::OffsetDateTime;

/// The beginning of the year 2000, from which PostgreSQL counts, in microseconds since 1970.
const EPOCH: i128 = 946_684_800_000_000;

/// A `timestamptz` column, read with a check.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Timestamp(pub(super) OffsetDateTime);

impl Type<Postgres> for Timestamp {
    fn type_info() -> PgTypeInfo {
        <OffsetDateTime as Type<Postgres>>::type_info()
    }
}

impl<'r> Decode<'r, Postgres> for Timestamp {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        match value.format() {
            PgValueFormat::Binary => Ok(at(<i64 as Decode<Postgres>>::decode(value)?)?),
            PgValueFormat::Text => <OffsetDateTime as Decode<Postgres>>::decode(value).map(Self),
        }
    }
}

/// The time so many microseconds after the beginning of the year 2000.
fn at(micros: i64) -> Result<Timestamp, &'static str> {
    let nanoseconds = (EPOCH + i128::from(micros)) * 1000;
    let time = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds);
    time.map(Timestamp).map_err(|_| {
        "a timestamp outside of the years -9999 to 9999, such as infinity, cannot be read; CAST it to TEXT"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_without_a_date_is_an_error_and_no_panic() {
        assert_eq!(at(0).unwrap().0.year(), 2000);
        assert_eq!(at(-1).unwrap().0.year(), 1999);
        let nine_thousand_years = 9_000 * 31_556_952_000_000;
        assert!(at(-nine_thousand_years).is_ok() && at(nine_thousand_years).is_err());
        // PostgreSQL stores -infinity and infinity as these.
        assert!(at(i64::MIN).is_err() && at(i64::MAX).is_err());
    }
}
