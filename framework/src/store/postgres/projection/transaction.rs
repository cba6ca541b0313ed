//! Transactions in the schema of a projection.

use async_trait::async_trait;
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;
use tokio::time::timeout;

use super::executor::{PgExecutor, SILENT_AFTER, answered};
use super::{comment, forget, mark};
use crate::error::StoreError;
use crate::failpoints;
use crate::store::contract::sql::SqlConnection;
use crate::store::contract::{
    Checkpoint, CheckpointUpdate, PartitionId, SqlSnapshot, SqlTransaction,
};
use crate::store::postgres::checkpoints;
use crate::store::postgres::fault::Fault;
use crate::store::postgres::schema::Schema;

/// The transaction is spoilt by a statement before.
const ABORTED: &str = "25P02";

/// A transaction that writes.
pub(super) struct PgTransaction {
    executor: PgExecutor,
    log: Schema,
    /// The schema of the rows.
    schema: String,
}

impl PgTransaction {
    pub(super) fn new(executor: PgExecutor, log: &Schema, schema: &str) -> Self {
        Self { executor, log: log.clone(), schema: schema.to_owned() }
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
    pub(super) async fn make(&mut self, model: &str) -> Result<bool, StoreError> {
        let (schema, log) = (&self.schema.clone(), &self.log.clone());
        // The schemas `a_b` and `a` may both want the projection schema `a_b_1`.
        let mark = comment(log, model);
        // All are made of names that hold no quote.
        let make = format!(
            "CREATE SCHEMA {schema}; {}; COMMENT ON SCHEMA {schema} IS '{mark}'; {}",
            mark::table(schema),
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

    async fn commit(
        mut self: Box<Self>,
        update: Option<&CheckpointUpdate>,
    ) -> Result<(), StoreError> {
        if let Some(update) = update {
            // The lease's row is locked from here to the commit: not for longer than it takes.
            let call = checkpoints::update_checkpoint(update, &self.log, &self.schema)?;
            let call = call.fetch_one(self.database());
            let row = answered(timeout(SILENT_AFTER, call).await);
            let row = row.map_err(|fault| self.unavailable(fault))?;
            if !checkpoints::is_taken(&row, update)? {
                return Ok(()); // it is stored already, and so are its rows
            }
            failpoints::point("projection.before_commit");
        }
        let committed = self.statement("COMMIT").await;
        committed.map_err(|fault| fault.not_written(&self.executor.place))?;
        if update.is_some() {
            failpoints::point("projection.after_commit");
        }
        self.executor.connection.give_back();
        Ok(())
    }

    async fn roll_back(self: Box<Self>) {
        end(self.executor).await;
    }
}

/// Ends a transaction without keeping anything. A connection that does not reply is closed.
async fn end(mut executor: PgExecutor) {
    let ended = sqlx::raw_sql("ROLLBACK").execute(&mut *executor.connection);
    let ended = timeout(SILENT_AFTER, ended).await;
    if answered(ended).is_ok() {
        executor.connection.give_back();
    }
}

/// A transaction that reads.
pub(super) struct PgSnapshot {
    executor: PgExecutor,
    log: Schema,
    /// The schema of the rows.
    schema: String,
}

impl PgSnapshot {
    pub(super) fn new(executor: PgExecutor, log: &Schema, schema: &str) -> Self {
        Self { executor, log: log.clone(), schema: schema.to_owned() }
    }
}

#[async_trait]
impl SqlSnapshot for PgSnapshot {
    fn connection(&mut self) -> SqlConnection<'_> {
        SqlConnection::new(&mut self.executor)
    }

    fn tables(&self) -> &'static str {
        "SELECT tablename::text FROM pg_tables
         WHERE schemaname = current_schema() AND tablename <> 'actum_mark' ORDER BY 1"
    }

    async fn checkpoints(
        &mut self,
        partitions: &[PartitionId],
    ) -> Result<Vec<Option<Checkpoint>>, StoreError> {
        let looking =
            mark::find(&mut self.executor.connection, &self.log, &self.schema, partitions);
        let found = answered(timeout(SILENT_AFTER, looking).await);
        let found = found.map_err(|fault| fault.unavailable(&self.executor.place))?;
        let checked = partitions.iter().zip(found).map(|(partition, found)| found.check(partition));
        checked.collect()
    }

    async fn end(self: Box<Self>) {
        end(self.executor).await;
    }
}
