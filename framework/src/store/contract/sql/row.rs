//! Rows that a statement returns, and the types that their columns can be read as.

use time::OffsetDateTime;

use super::SqlError;
use super::value::SqlValue;
use crate::event::{GlobalPosition, StreamVersion};

/// A row of a result. Columns are numbered from 0.
#[derive(Debug, Clone, PartialEq)]
pub struct SqlRow {
    values: Vec<SqlValue>,
}

/// Type that a column can be read as. `Option` of it reads NULL as `None`.
pub trait FromSql: Sized {
    /// Name of the type in errors.
    const NAME: &'static str;

    /// Converts the value; `None` if it has another type.
    fn from_sql(value: &SqlValue) -> Option<Self>;
}

impl SqlRow {
    /// Creates a row of these values, for a store of your own or an expectation in a test.
    pub fn new(values: Vec<SqlValue>) -> Self {
        Self { values }
    }

    /// Returns the value of a column. Columns are numbered from 0, in the order of the `SELECT`.
    ///
    /// # Errors
    /// [`SqlError::Type`]: there is no such column, it has another type, or it is NULL and `T` is no
    /// `Option`.
    pub fn get<T: FromSql>(&self, column: usize) -> Result<T, SqlError> {
        let value = self.values.get(column);
        value.and_then(T::from_sql).ok_or_else(|| SqlError::Type {
            column,
            found: value.map_or("absent", SqlValue::kind).to_owned(),
            wanted: T::NAME,
        })
    }

    /// Returns the values of all columns.
    pub fn values(&self) -> &[SqlValue] {
        &self.values
    }
}

impl<T: FromSql> FromSql for Option<T> {
    const NAME: &'static str = T::NAME;

    fn from_sql(value: &SqlValue) -> Option<Self> {
        match value.is_null() {
            true => Some(None),
            false => T::from_sql(value).map(Some),
        }
    }
}

/// Implements reading a type from the values that hold it.
macro_rules! from_sql {
    ($of:ty, $name:literal, $value:pat => $read:expr $(, $other:pat => $read_other:expr)?) => {
        impl FromSql for $of {
            const NAME: &'static str = $name;

            fn from_sql(value: &SqlValue) -> Option<Self> {
                match value {
                    $value => $read,
                    $($other => $read_other,)?
                    _ => None,
                }
            }
        }
    };
}

from_sql!(i64, "integer", SqlValue::Integer(value) => *value);
from_sql!(f64, "real number", SqlValue::Real(value) => *value);
from_sql!(String, "text", SqlValue::Text(value) => value.clone());
from_sql!(Vec<u8>, "blob", SqlValue::Blob(value) => value.clone());
from_sql!(
    bool, "boolean",
    SqlValue::Boolean(value) => *value,
    // As SQLite keeps it.
    SqlValue::Integer(Some(value @ (0 | 1))) => Some(*value == 1)
);
from_sql!(
    OffsetDateTime, "timestamp",
    SqlValue::Timestamp(value) => *value,
    // As SQLite keeps it.
    SqlValue::Integer(Some(micros)) => {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(*micros) * 1000).ok()
    }
);
from_sql!(
    GlobalPosition, "position",
    SqlValue::Integer(Some(value)) => u64::try_from(*value).ok().map(GlobalPosition)
);
from_sql!(
    StreamVersion, "version",
    SqlValue::Integer(Some(value)) => u64::try_from(*value).ok().map(StreamVersion)
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_read_as_what_it_is_and_nothing_else() {
        let row = SqlRow::new(vec![7.into(), "a".into(), None::<i64>.into(), 1.into()]);
        assert_eq!(row.get::<i64>(0).unwrap(), 7);
        assert_eq!(row.get::<Option<i64>>(2).unwrap(), None);
        assert_eq!(row.get::<Option<String>>(1).unwrap(), Some("a".into()));
        assert!(row.get::<bool>(3).unwrap() && row.get::<bool>(0).is_err());
        let refused = |result: Result<String, SqlError>| result.unwrap_err().to_string();
        assert_eq!(refused(row.get(0)), "column 0 is an integer, not text");
        assert_eq!(refused(row.get(2)), "column 2 is NULL, not text");
        assert_eq!(refused(row.get(9)), "column 9 is absent, not text");
    }
}
