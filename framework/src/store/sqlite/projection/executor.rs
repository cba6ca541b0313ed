//! The SQL of projections on SQLite.

use std::any::Any;
use std::path::Path;

use async_trait::async_trait;
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Row, TypeInfo, ValueRef};
use time::OffsetDateTime;

use crate::error::StoreError;
use crate::store::contract::sql::{SqlError, SqlExecutor, SqlRow, SqlValue};
use crate::store::sql::lent::Lent;
use crate::store::sqlite::fault;
use crate::store::sqlite::fault::explain;

/// The most values of one statement: SQLite's own limit.
const MOST_VALUES: usize = 32_766;

/// The most rows of one INSERT: more win nothing. Each power of two up to it is a statement that is
/// prepared once.
const MOST_ROWS: usize = 256;

/// A connection in a transaction.
pub(super) struct SqliteExecutor {
    pub(super) connection: Lent<SqliteConnection>,
    /// The first failure of the database itself.
    pub(super) trouble: Option<StoreError>,
    path: String,
}

impl SqliteExecutor {
    pub(super) fn new(connection: Lent<SqliteConnection>, path: &Path) -> Self {
        Self { connection, trouble: None, path: path.display().to_string() }
    }

    async fn run(&mut self, sql: &str, arguments: SqliteArguments) -> Result<u64, SqlError> {
        // What varies is for the projection to bind; the text is its own.
        let query = sqlx::query_with(AssertSqlSafe(sql), arguments);
        let done = query.execute(&mut *self.connection).await;
        done.map(|done| done.rows_affected()).map_err(|error| self.failed(&error))
    }

    /// Tells what the statement is to blame for from what the database is.
    pub(super) fn failed(&mut self, error: &sqlx::Error) -> SqlError {
        if !fault::is_trouble(error) {
            return SqlError::Refused(error.to_string());
        }
        let reason = explain(Path::new(&self.path), error);
        self.trouble.get_or_insert_with(|| StoreError::Unavailable(reason.clone()));
        SqlError::Unavailable(reason)
    }
}

#[async_trait]
impl SqlExecutor for SqliteExecutor {
    async fn execute(&mut self, sql: &str, values: &[SqlValue]) -> Result<u64, SqlError> {
        self.run(sql, bound(values.iter().cloned())?).await
    }

    async fn rows(&mut self, sql: &str, values: &[SqlValue]) -> Result<Vec<SqlRow>, SqlError> {
        let arguments = bound(values.iter().cloned())?;
        // What varies is for the projection to bind; the text is its own.
        let query = sqlx::query_with(AssertSqlSafe(sql), arguments);
        match query.fetch_all(&mut *self.connection).await {
            Ok(rows) => rows.iter().map(row).collect(),
            Err(error) => Err(self.failed(&error)),
        }
    }

    async fn rows_in(&mut self, sql: &str, values: &[SqlValue]) -> Result<Vec<SqlRow>, SqlError> {
        let list = json_list(values)?;
        self.rows(&format!("{sql} (SELECT value FROM json_each($1))"), &[list.into()]).await
    }

    async fn insert(
        &mut self,
        table: &str,
        columns: &[&str],
        rows: Vec<Vec<SqlValue>>,
        then: &str,
    ) -> Result<u64, SqlError> {
        let most = (MOST_VALUES / columns.len()).clamp(1, MOST_ROWS);
        let one = format!("({})", vec!["?"; columns.len()].join(","));
        let (mut inserted, mut rows) = (0, rows.into_iter());
        while rows.len() > 0 {
            let count = floor_power_of_two(rows.len().min(most));
            let places = vec![&*one; count].join(",");
            let names = columns.join(", ");
            let sql = format!("INSERT INTO {table} ({names}) VALUES {places} {then}");
            inserted += self.run(&sql, bound(rows.by_ref().take(count).flatten())?).await?;
        }
        Ok(inserted)
    }

    fn native(&mut self) -> &mut dyn Any {
        &mut *self.connection
    }
}

/// One parameter, however many values.
fn json_list(values: &[SqlValue]) -> Result<String, SqlError> {
    let json = values.iter().map(|value| match value {
        SqlValue::Integer(value) => Ok(serde_json::json!(value)),
        SqlValue::Text(value) => Ok(serde_json::json!(value)),
        SqlValue::Timestamp(value) => Ok(serde_json::json!(value.map(micros))),
        other => Err(SqlError::Refused(format!("{other:?} in a list"))),
    });
    let json = json.collect::<Result<Vec<_>, _>>()?;
    Ok(serde_json::Value::from(json).to_string())
}

fn floor_power_of_two(count: usize) -> usize {
    1 << count.ilog2()
}

fn bound(values: impl Iterator<Item = SqlValue>) -> Result<SqliteArguments, SqlError> {
    use sqlx::Arguments;
    let mut arguments = SqliteArguments::default();
    for value in values {
        let added = match value {
            SqlValue::Integer(value) => arguments.add(value),
            SqlValue::Real(value) => arguments.add(value),
            SqlValue::Text(value) => arguments.add(value),
            SqlValue::Blob(value) => arguments.add(value),
            SqlValue::Boolean(value) => arguments.add(value),
            SqlValue::Timestamp(value) => arguments.add(value.map(micros)),
        };
        added.map_err(|error| SqlError::Refused(error.to_string()))?;
    }
    Ok(arguments)
}

fn micros(time: OffsetDateTime) -> i64 {
    // Any date of this type is within i64.
    (time.unix_timestamp_nanos() / 1000) as i64
}

/// Reads a row by the type of each value, which on SQLite the column only suggests.
fn row(row: &SqliteRow) -> Result<SqlRow, SqlError> {
    let value = |column: usize| -> Result<SqlValue, sqlx::Error> {
        let value = row.try_get_raw(column)?;
        if value.is_null() {
            return Ok(SqlValue::Integer(None));
        }
        let kind = value.type_info().name().to_owned();
        Ok(match &*kind {
            "TEXT" => SqlValue::Text(Some(row.try_get_unchecked(column)?)),
            "REAL" => SqlValue::Real(Some(row.try_get_unchecked(column)?)),
            "BLOB" => SqlValue::Blob(Some(row.try_get_unchecked(column)?)),
            _ => SqlValue::Integer(Some(row.try_get_unchecked(column)?)),
        })
    };
    let values = (0..row.len()).map(value).collect::<Result<_, _>>();
    values.map(SqlRow::new).map_err(|error| SqlError::Refused(error.to_string()))
}
