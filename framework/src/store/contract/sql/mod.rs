//! SQL of your own, the same on every database: the connection that a projection is given.
//!
//! [`SqlConnection`] executes statements with `$1`, `$2` … for [`SqlValue`]s, inserts many rows at
//! once and returns [`SqlRow`]s. A projection that uses only these runs on SQLite and on PostgreSQL.
//! [`SqlConnection::native`] returns the driver's own connection for everything else.

mod row;
mod value;

use std::any::Any;

use async_trait::async_trait;

pub use self::row::{FromSql, SqlRow};
pub use self::value::SqlValue;

/// Error of a statement, or of reading a column.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SqlError {
    /// The database refused the statement: a constraint, its syntax, a type. Return it from
    /// `Projection::project`; the event that causes it parks its key.
    #[error("the database refused the statement: {0}")]
    Refused(String),
    /// The database is not available, busy or full. Return it; the whole batch is repeated.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// A column does not have the requested type. Read it as its type, or as an `Option`.
    #[error("column {column} is {found}, not {wanted}")]
    Type {
        /// Number of the column, starting at 0.
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

/// A connection to the tables of a projection, inside a transaction. The runtime ends the
/// transaction, together with the checkpoint, so never send `COMMIT` or `ROLLBACK`. Savepoints are
/// allowed.
///
/// ```
/// # use actum::{BoxError, SqlConnection};
/// # async fn f(db: &mut SqlConnection<'_>) -> Result<(), BoxError> {
/// let values = ["tea".into(), 3.into()];
/// db.execute("INSERT INTO sold (article, pieces) VALUES ($1, $2)", &values).await?;
///
/// let rows = db.rows("SELECT pieces FROM sold WHERE article = $1", &["tea".into()]).await?;
/// for row in &rows {
///     let pieces: i64 = row.get(0)?; // `Option<i64>` if the column may be NULL
///     println!("{pieces}");
/// }
/// # Ok(()) }
/// ```
pub struct SqlConnection<'c> {
    executor: &'c mut dyn SqlExecutor,
}

impl<'c> SqlConnection<'c> {
    /// Creates a connection on this executor, for a store of your own.
    pub fn new(executor: &'c mut dyn SqlExecutor) -> Self {
        Self { executor }
    }

    /// Executes one statement and returns the number of rows it changed. Write values as `$1`, `$2`
    /// … and pass them in `values`, never in the text: this prevents SQL injection, and the statement
    /// is prepared only once.
    ///
    /// # Errors
    /// [`SqlError`]
    pub async fn execute(&mut self, sql: &str, values: &[SqlValue]) -> Result<u64, SqlError> {
        check(values)?;
        self.executor.execute(sql, values).await
    }

    /// Returns the rows of one statement, which is prepared only once.
    ///
    /// # Errors
    /// [`SqlError`]
    pub async fn rows(&mut self, sql: &str, values: &[SqlValue]) -> Result<Vec<SqlRow>, SqlError> {
        check(values)?;
        self.executor.rows(sql, values).await
    }

    /// Returns the rows of a statement that ends in `IN`, such as `SELECT id, n FROM counts WHERE id
    /// IN`, for any number of values: integers, texts or timestamps, all of one type.
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

    /// Inserts any number of rows with few statements, in the fastest way that the database has.
    /// `then` follows the values: empty, or such as `ON CONFLICT (id) DO UPDATE SET n =
    /// excluded.n`. With such a clause the rows must have different keys, because PostgreSQL refuses
    /// to update a row twice in one statement. All values of a column must have the same type. Table
    /// and column names become part of the statement unchanged, so they must not come from a client.
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

    /// Returns the driver's connection if it has this type: `sqlx::PgConnection` or
    /// `sqlx::SqliteConnection`, of the version of `sqlx` that Actum uses.
    pub fn native<C: Any>(&mut self) -> Option<&mut C> {
        self.executor.native().downcast_mut()
    }
}

/// Refuses a value here, before any driver, so that both databases refuse it alike and no driver
/// panics.
fn check(values: &[SqlValue]) -> Result<(), SqlError> {
    values.iter().try_for_each(SqlValue::check)
}
