//! Rows as a test writes them, compared with rows as a database returns them.

use crate::store::contract::sql::{SqlRow, SqlValue};

macro_rules! from_tuple {
    ($($name:ident)+) => {
        impl<$($name: Into<SqlValue>),+> From<($($name,)+)> for SqlRow {
            #[allow(non_snake_case)] // a tuple's places have no better names than their types
            fn from(($($name,)+): ($($name,)+)) -> Self {
                Self::new(vec![$($name.into()),+])
            }
        }
    };
}

from_tuple!(A);
from_tuple!(A B);
from_tuple!(A B C);
from_tuple!(A B C D);
from_tuple!(A B C D E);
from_tuple!(A B C D E F);
from_tuple!(A B C D E F G);
from_tuple!(A B C D E F G H);

/// Checks that the rows are equal, although databases store some types differently.
pub(super) fn is_same(found: &[SqlRow], expected: &[SqlRow]) -> bool {
    let is_same_row = |(found, expected): (&SqlRow, &SqlRow)| {
        let (found, expected) = (found.values(), expected.values());
        found.len() == expected.len() && found.iter().zip(expected).all(is_same_value)
    };
    found.len() == expected.len() && found.iter().zip(expected).all(is_same_row)
}

fn is_same_value((found, expected): (&SqlValue, &SqlValue)) -> bool {
    if found.is_null() || expected.is_null() {
        return found.is_null() == expected.is_null();
    }
    // SQLite stores booleans and timestamps as integers.
    if let SqlValue::Integer(Some(_)) = found {
        let row = SqlRow::new(vec![found.clone()]);
        match expected {
            SqlValue::Boolean(expected) => return row.get(0).ok() == *expected,
            SqlValue::Timestamp(expected) => return row.get(0).ok() == *expected,
            _ => {}
        }
    }
    found == expected
}

/// Formats rows, one per line.
pub(super) fn shown(rows: &[SqlRow]) -> String {
    match rows {
        [] => "no rows".to_owned(),
        rows => rows.iter().map(shown_row).collect::<Vec<_>>().join("\n           "),
    }
}

/// Formats one row.
pub(super) fn shown_row(row: &SqlRow) -> String {
    let values: Vec<_> = row.values().iter().map(shown_value).collect();
    format!("({})", values.join(", "))
}

fn shown_value(value: &SqlValue) -> String {
    let text = match value {
        SqlValue::Integer(value) => value.map(|value| value.to_string()),
        SqlValue::Real(value) => value.map(|value| value.to_string()),
        SqlValue::Text(value) => value.as_ref().map(|value| format!("{value:?}")),
        SqlValue::Blob(value) => value.as_ref().map(|value| format!("{value:x?}")),
        SqlValue::Boolean(value) => value.map(|value| value.to_string()),
        SqlValue::Timestamp(value) => value.map(|value| value.to_string()),
    };
    text.unwrap_or_else(|| "NULL".to_owned())
}
