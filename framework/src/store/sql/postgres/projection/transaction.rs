//! Transactions in the schema of a projection.

use async_trait::async_trait;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Row};
use tokio::time::timeout;

use super::executor::{PgExecutor, SILENT_AFTER, answered};
use super::forget;
use crate::checkpoint::{Advance, Checkpoint, PartitionId};
use crate::crash;
use crate::error::StoreError;
use crate::projection_store::{SqlSnapshot, SqlTransaction};
use crate::sql::SqlConnection;
use crate::store::sql::postgres::checkpoints;
use crate::store::sql::postgres::fault::Fault;
use crate::store::sql::postgres::schema::Schema;
use crate::stream::GlobalPosition;

/// The transaction is spoilt by a statement before.
const ABORTED: &str = "25P02";

/// A transaction that writes.
pub(super) struct PgTransaction {
    executor: PgExecutor,
}

impl PgTransaction {
    pub(super) fn new(executor: PgExecutor) -> Self {
        Self { executor }
    }

    fn database(&mut self) -> &mut PgConnection {
        &mut self.executor.connection
    }

    async fn statement(&mut self, sql: &'static str) -> Result<(), Fault> {
        let done = timeout(SILENT_AFTER, sqlx::raw_sql(sql).execute(self.database())).await;
        answered(done).map(drop)
    }

    fn unavailable(&self, fault: Fault) -> StoreError {
        fault.unavailable(&self.executor.place)
    }

    /// Makes the schema; `false` if it is made. Of several processes one does, the others wait.
    /// What is left of one that was dropped by hand goes: its tables begin at nothing.
    pub(super) async fn make(
        &mut self,
        model: &str,
        schema: &str,
        log: &Schema,
    ) -> Result<bool, StoreError> {
        // The schemas `a_b` and `a` may both want the projection schema `a_b_1`.
        let mark = format!("Actum, the projection {model} of the log in {log}");
        // All are made of names that hold no quote.
        let make = format!(
            "CREATE SCHEMA {schema}; COMMENT ON SCHEMA {schema} IS '{mark}'; {}",
            forget(log, model)
        );
        let made = self.try_make(&mark, schema, make).await;
        made.map_err(|error| self.unavailable(error.into()))
    }

    async fn try_make(
        &mut self,
        mark: &str,
        schema: &str,
        make: String,
    ) -> Result<bool, sqlx::Error> {
        sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))")
            .bind(mark)
            .execute(self.database())
            .await?;
        let made: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1
                            AND obj_description(oid, 'pg_namespace') = $2)",
        )
        .bind(schema)
        .bind(mark)
        .fetch_one(self.database())
        .await?;
        if made {
            return Ok(false);
        }
        // It is made of names that hold no quote.
        sqlx::raw_sql(AssertSqlSafe(make)).execute(self.database()).await?;
        Ok(true)
    }
}

#[async_trait]
impl SqlTransaction for PgTransaction {
    fn connection(&mut self) -> SqlConnection<'_> {
        SqlConnection::new(&mut self.executor)
    }

    async fn savepoint(&mut self) -> Result<(), StoreError> {
        self.statement("SAVEPOINT part").await.map_err(|fault| self.unavailable(fault))
    }

    async fn release(&mut self, keep: bool) -> Result<(), StoreError> {
        let sql = if keep { "RELEASE part" } else { "ROLLBACK TO part; RELEASE part" };
        self.statement(sql).await.map_err(|fault| self.unavailable(fault))
    }

    async fn check(&mut self) -> Result<(), String> {
        let Some(refused) = self.executor.refused.take() else { return Ok(()) };
        match self.statement("SELECT").await {
            Err(fault) if fault.code() == Some(ABORTED) => Err(refused),
            // It was undone to a savepoint; or the connection is lost, which the next statement tells.
            _ => Ok(()),
        }
    }

    fn trouble(&self) -> Option<StoreError> {
        self.executor.trouble.clone()
    }

    async fn commit(mut self: Box<Self>, advance: Option<&Advance>) -> Result<(), StoreError> {
        if let Some(advance) = advance {
            // The lease's row is locked from here to the commit: not for longer than it takes.
            let call = checkpoints::advance(advance)?.fetch_one(self.database());
            let row = answered(timeout(SILENT_AFTER, call).await);
            let row = row.map_err(|fault| self.unavailable(fault))?;
            if !checkpoints::is_taken(&row, advance)? {
                return Ok(()); // it is stored already, and so are its rows
            }
            crash::point("projection.before_commit");
        }
        let committed = self.statement("COMMIT").await;
        committed.map_err(|fault| fault.not_written(&self.executor.place))?;
        if advance.is_some() {
            crash::point("projection.after_commit");
        }
        self.executor.connection.give_back();
        Ok(())
    }
}

/// A transaction that reads.
pub(super) struct PgSnapshot {
    executor: PgExecutor,
}

impl PgSnapshot {
    pub(super) fn new(executor: PgExecutor) -> Self {
        Self { executor }
    }
}

#[async_trait]
impl SqlSnapshot for PgSnapshot {
    fn connection(&mut self) -> SqlConnection<'_> {
        SqlConnection::new(&mut self.executor)
    }

    fn tables(&self) -> &'static str {
        "SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema() ORDER BY 1"
    }

    async fn checkpoints(
        &mut self,
        partitions: &[PartitionId],
    ) -> Result<Vec<Option<Checkpoint>>, StoreError> {
        let asked = sqlx::query(
            "SELECT c.log_id, c.position, c.event_id
             FROM unnest($1::text[], $2::integer[]) WITH ORDINALITY AS asked (model, partition, n)
             LEFT JOIN actum.checkpoints AS c
             ON c.model = asked.model AND c.partition = asked.partition ORDER BY asked.n",
        )
        .bind(partitions.iter().map(|partition| &*partition.model).collect::<Vec<_>>())
        .bind(partitions.iter().map(|partition| partition.number as i32).collect::<Vec<_>>())
        .fetch_all(&mut *self.executor.connection);
        let rows = answered(timeout(SILENT_AFTER, asked).await);
        let rows = rows.map_err(|fault| fault.unavailable(&self.executor.place))?;
        let checkpoint = |row: &PgRow| {
            row.get::<Option<_>, _>(0).map(|log_id| Checkpoint {
                log_id,
                position: GlobalPosition(row.get::<i64, _>(1) as u64),
                event_id: row.get(2),
            })
        };
        Ok(rows.iter().map(checkpoint).collect())
    }

    async fn end(mut self: Box<Self>) {
        let ended = timeout(
            SILENT_AFTER,
            sqlx::raw_sql("ROLLBACK").execute(&mut *self.executor.connection),
        )
        .await;
        if answered(ended).is_ok() {
            self.executor.connection.give_back();
        }
    }
}
