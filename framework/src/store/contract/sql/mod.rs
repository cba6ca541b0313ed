//! SQL of your own, the same on every database: the connection that a projection is given.
//!
//! [`SqlConnection`] executes statements with `$1`, `$2` … for [`SqlValue`]s, inserts many rows at
//! once and answers [`SqlRow`]s. A projection written with it runs on SQLite and on PostgreSQL alike;
//! who needs more asks for the driver's own connection by [`SqlConnection::native`].

mod row;
mod value;

use std::any::Any;

use async_trait::async_trait;

pub use self::row::{FromSql, SqlRow};
pub use self::value::SqlValue;

/// Why a statement has no result.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SqlError {
    /// The database refused the statement: a constraint, its syntax, a type. A projection that
    /// answers this has an event it cannot take in.
    #[error("the database refused it: {0}")]
    Refused(String),
    /// The database cannot do it now: out of reach, busy or full. The whole batch is done again.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// A value is not of the type that was asked for.
    #[error("column {column} is {found}, no {wanted}")]
    Type {
        /// From 0.
        column: usize,
        /// Type of the value.
        found: String,
        /// Type that the reader expected.
        wanted: &'static str,
    },
}

/// Database behind a [`SqlConnection`].
#[async_trait]
pub trait SqlExecutor: Send {
    /// See [`SqlConnection::execute`].
    ///
    /// # Errors
    /// [`SqlError`]
    async fn execute(&mut self, sql: &str, values: &[SqlValue]) -> Result<u64, SqlError>;

    /// See [`SqlConnection::rows`].
    ///
    /// # Errors
    /// [`SqlError`]
    async fn rows(&mut self, sql: &str, values: &[SqlValue]) -> Result<Vec<SqlRow>, SqlError>;

    /// See [`SqlConnection::rows_in`].
    ///
    /// # Errors
    /// [`SqlError`]
    async fn rows_in(&mut self, sql: &str, values: &[SqlValue]) -> Result<Vec<SqlRow>, SqlError>;

    /// See [`SqlConnection::insert`]. Every row is as long as `columns`; there is at least one.
    ///
    /// # Errors
    /// [`SqlError`]
    async fn insert(
        &mut self,
        table: &str,
        columns: &[&str],
        rows: Vec<Vec<SqlValue>>,
        then: &str,
    ) -> Result<u64, SqlError>;

    /// The driver's own connection.
    fn native(&mut self) -> &mut dyn Any;
}

/// A connection in a transaction that is not yours to end: it commits with the checkpoint. Never
/// send `COMMIT` or `ROLLBACK`; savepoints are free to use.
pub struct SqlConnection<'c> {
    executor: &'c mut dyn SqlExecutor,
}

impl<'c> SqlConnection<'c> {
    /// Speaks through this executor.
    pub fn new(executor: &'c mut dyn SqlExecutor) -> Self {
        Self { executor }
    }

    /// Carries out one statement and answers how many rows it changed. It is prepared once and kept,
    /// so put values into `values`, never into the text: that is faster, and safe.
    ///
    /// # Errors
    /// [`SqlError`]
    pub async fn execute(&mut self, sql: &str, values: &[SqlValue]) -> Result<u64, SqlError> {
        check(values)?;
        self.executor.execute(sql, values).await
    }

    /// The rows of one statement. It is prepared once and kept.
    ///
    /// # Errors
    /// [`SqlError`]
    pub async fn rows(&mut self, sql: &str, values: &[SqlValue]) -> Result<Vec<SqlRow>, SqlError> {
        check(values)?;
        self.executor.rows(sql, values).await
    }

    /// The rows of a statement that ends in `IN`, such as `SELECT id, n FROM counts WHERE id IN`, for a
    /// list of values: integers, texts or timestamps, all of one type, as many as you like.
    ///
    /// # Errors
    /// [`SqlError`]
    pub async fn rows_in(
        &mut self,
        sql: &str,
        values: &[SqlValue],
    ) -> Result<Vec<SqlRow>, SqlError> {
        check(values)?;
        self.executor.rows_in(sql, values).await
    }

    /// Inserts any number of rows in few statements, the fastest way each database has. `then` is
    /// what follows the values: empty, or such as `ON CONFLICT (id) DO UPDATE SET n = excluded.n`.
    /// The values of a column all have one type. Table and column names become part of the statement
    /// as they are.
    ///
    /// # Errors
    /// [`SqlError`]; rows before the one that is refused may have been inserted already.
    pub async fn insert(
        &mut self,
        table: &str,
        columns: &[&str],
        rows: Vec<Vec<SqlValue>>,
        then: &str,
    ) -> Result<u64, SqlError> {
        if let Some(odd) = rows.iter().find(|row| row.len() != columns.len()) {
            return Err(SqlError::Refused(format!(
                "a row of {table} has {} values for {} columns",
                odd.len(),
                columns.len()
            )));
        }
        rows.iter().try_for_each(|row| check(row))?;
        match rows.is_empty() || columns.is_empty() {
            true => Ok(0),
            false => self.executor.insert(table, columns, rows, then).await,
        }
    }

    /// The driver's connection, if it is of this type: `sqlx::PgConnection` or
    /// `sqlx::SqliteConnection`, with `sqlx` of the version that Actum uses.
    pub fn native<C: Any>(&mut self) -> Option<&mut C> {
        self.executor.native().downcast_mut()
    }
}

/// Refuses a value here, before any driver, so that both databases refuse it alike and no driver
/// panics.
fn check(values: &[SqlValue]) -> Result<(), SqlError> {
    values.iter().try_for_each(SqlValue::check)
}
