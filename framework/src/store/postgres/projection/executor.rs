//! The SQL of projections on PostgreSQL.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::{Arguments, AssertSqlSafe, Column, Row, TypeInfo};
use tokio::time::timeout;

use crate::error::StoreError;
use crate::store::contract::sql::{SqlError, SqlExecutor, SqlRow, SqlValue};
use crate::store::postgres::fault::{Fault, is_trouble};
use crate::store::postgres::timestamp::Timestamp;
use crate::store::sql::lent::Lent;

/// Maximum time that the server lets one statement run.
pub(super) const STATEMENT_WITHIN: Duration = Duration::from_secs(60);

/// Time without a reply after which the connection is closed.
pub(super) const SILENT_AFTER: Duration = Duration::from_secs(61);

/// A connection in a transaction.
pub(super) struct PgExecutor {
    pub(super) connection: Lent<PgConnection>,
    /// The first failure of the database itself.
    pub(super) trouble: Option<StoreError>,
    /// The last refusal of the database. The transaction may be spoilt by it.
    pub(super) refused: Option<String>,
    pub(super) place: Arc<str>,
}

impl PgExecutor {
    pub(super) fn new(connection: Lent<PgConnection>, place: &Arc<str>) -> Self {
        Self { connection, trouble: None, refused: None, place: Arc::clone(place) }
    }

    async fn run(&mut self, sql: &str, arguments: PgArguments) -> Result<u64, SqlError> {
        // What varies is for the projection to bind; the text is its own.
        let query = sqlx::query_with(AssertSqlSafe(sql), arguments);
        let done = timeout(SILENT_AFTER, query.execute(&mut *self.connection)).await;
        match answered(done) {
            Ok(done) => Ok(done.rows_affected()),
            Err(fault) => Err(self.failed(fault)),
        }
    }

    async fn fetch(&mut self, sql: &str, arguments: PgArguments) -> Result<Vec<SqlRow>, SqlError> {
        // What varies is for the projection to bind; the text is its own.
        let query = sqlx::query_with(AssertSqlSafe(sql), arguments);
        match answered(timeout(SILENT_AFTER, query.fetch_all(&mut *self.connection)).await) {
            Ok(rows) => rows.iter().map(row).collect(),
            Err(fault) => Err(self.failed(fault)),
        }
    }

    /// Tells what the statement is to blame for from what the database is.
    fn failed(&mut self, fault: Fault) -> SqlError {
        match fault {
            Fault::Answered(error) if !is_trouble(&error) => {
                SqlError::Refused(self.refused.insert(refusal(&error)).clone())
            }
            fault => {
                let reason = fault.explain(&self.place);
                self.trouble.get_or_insert_with(|| StoreError::Unavailable(reason.clone()));
                SqlError::Unavailable(reason)
            }
        }
    }
}

/// Result of a statement that may never get a reply.
pub(super) fn answered<T>(
    done: Result<Result<T, sqlx::Error>, tokio::time::error::Elapsed>,
) -> Result<T, Fault> {
    done.map_err(|_| Fault::Silent(SILENT_AFTER))?.map_err(Fault::from)
}

/// The server's message with its detail, which names the key of a violated constraint.
fn refusal(error: &sqlx::Error) -> String {
    let detail = error
        .as_database_error()
        .and_then(|error| error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>()?.detail());
    match detail {
        Some(detail) => format!("{error} ({detail})"),
        None => error.to_string(),
    }
}

#[async_trait]
impl SqlExecutor for PgExecutor {
    async fn execute(&mut self, sql: &str, values: &[SqlValue]) -> Result<u64, SqlError> {
        self.run(sql, bound(values)?).await
    }

    async fn rows(&mut self, sql: &str, values: &[SqlValue]) -> Result<Vec<SqlRow>, SqlError> {
        self.fetch(sql, bound(values)?).await
    }

    async fn rows_in(&mut self, sql: &str, values: &[SqlValue]) -> Result<Vec<SqlRow>, SqlError> {
        let mut arguments = PgArguments::default();
        let kind = bind_array(&mut arguments, values.to_vec()).map_err(SqlError::Refused)?;
        self.fetch(&format!("{sql} (SELECT unnest($1::{kind}[]))"), arguments).await
    }

    /// One statement for any number of rows: every column is one array.
    async fn insert(
        &mut self,
        table: &str,
        columns: &[&str],
        rows: Vec<Vec<SqlValue>>,
        then: &str,
    ) -> Result<u64, SqlError> {
        let mut arguments = PgArguments::default();
        let mut arrays = Vec::with_capacity(columns.len());
        let mut rows: Vec<_> = rows.into_iter().map(Vec::into_iter).collect();
        for (index, name) in columns.iter().enumerate() {
            let values: Vec<_> = rows.iter_mut().filter_map(Iterator::next).collect();
            let kind = bind_array(&mut arguments, values).map_err(|reason| {
                SqlError::Refused(format!("the column {name} of {table}: {reason}"))
            })?;
            arrays.push(format!("${}::{kind}[]", index + 1));
        }
        let (names, arrays) = (columns.join(", "), arrays.join(", "));
        let sql = format!("INSERT INTO {table} ({names}) SELECT * FROM unnest({arrays}) {then}");
        self.run(&sql, arguments).await
    }

    fn native(&mut self) -> &mut dyn Any {
        &mut *self.connection
    }
}

/// Binds a column's values as one array and answers their type.
fn bind_array(arguments: &mut PgArguments, values: Vec<SqlValue>) -> Result<&'static str, String> {
    macro_rules! array {
        ($variant:ident, $kind:literal) => {{
            let unwrap = |value| match value {
                SqlValue::$variant(value) => Ok(value),
                other => Err(format!("{other:?} among values of {}", $kind)),
            };
            let values = values.into_iter().map(unwrap).collect::<Result<Vec<_>, _>>()?;
            arguments.add(values).map_err(|error| error.to_string())?;
            Ok($kind)
        }};
    }
    match values.first() {
        Some(SqlValue::Integer(_)) | None => array!(Integer, "bigint"),
        Some(SqlValue::Real(_)) => array!(Real, "double precision"),
        Some(SqlValue::Text(_)) => array!(Text, "text"),
        Some(SqlValue::Blob(_)) => array!(Blob, "bytea"),
        Some(SqlValue::Boolean(_)) => array!(Boolean, "boolean"),
        Some(SqlValue::Timestamp(_)) => array!(Timestamp, "timestamptz"),
    }
}

fn bound(values: &[SqlValue]) -> Result<PgArguments, SqlError> {
    let mut arguments = PgArguments::default();
    for value in values {
        let added = match value {
            SqlValue::Integer(value) => arguments.add(value),
            SqlValue::Real(value) => arguments.add(value),
            SqlValue::Text(value) => arguments.add(value.as_deref()),
            SqlValue::Blob(value) => arguments.add(value.as_deref()),
            SqlValue::Boolean(value) => arguments.add(value),
            SqlValue::Timestamp(value) => arguments.add(value),
        };
        added.map_err(|error| SqlError::Refused(error.to_string()))?;
    }
    Ok(arguments)
}

/// Reads a row by the type of each column.
fn row(row: &PgRow) -> Result<SqlRow, SqlError> {
    let value = |column: usize| -> Result<SqlValue, sqlx::Error> {
        Ok(match row.column(column).type_info().name() {
            "INT8" => SqlValue::Integer(row.try_get(column)?),
            "INT4" => SqlValue::Integer(row.try_get::<Option<i32>, _>(column)?.map(i64::from)),
            "INT2" => SqlValue::Integer(row.try_get::<Option<i16>, _>(column)?.map(i64::from)),
            "FLOAT8" => SqlValue::Real(row.try_get(column)?),
            "FLOAT4" => SqlValue::Real(row.try_get::<Option<f32>, _>(column)?.map(f64::from)),
            "BOOL" => SqlValue::Boolean(row.try_get(column)?),
            "TEXT" | "VARCHAR" | "NAME" | "CHAR" | "\"CHAR\"" | "UNKNOWN" => {
                SqlValue::Text(row.try_get(column)?)
            }
            "BYTEA" => SqlValue::Blob(row.try_get(column)?),
            "TIMESTAMPTZ" => {
                let time = row.try_get::<Option<Timestamp>, _>(column)?;
                SqlValue::Timestamp(time.map(|Timestamp(time)| time))
            }
            other => {
                let column = row.column(column).name();
                let advice = format!(
                    "the column {column} is of the type {other}: CAST it to BIGINT, DOUBLE PRECISION or TEXT"
                );
                return Err(sqlx::Error::Decode(advice.into()));
            }
        })
    };
    let values = (0..row.len()).map(value).collect::<Result<_, _>>();
    values.map(SqlRow::new).map_err(|error| SqlError::Refused(error.to_string()))
}
