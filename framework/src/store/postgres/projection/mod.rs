//! Projections on PostgreSQL: each version in a schema of its own.
//!
//! `statement@1` of a log in the schema `actum` has the schema `actum_statement_1`, which is the
//! `search_path` of its connections; checkpoints and what is parked are in the log's schema, with
//! those of all others. Its connections are its own: one that writes for each partition this
//! process owns, some that read.

mod executor;
mod mark;
mod session;
mod transaction;

use std::collections::HashMap;
use std::slice;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection};
use tokio::time::timeout;

use self::executor::{PgExecutor, SILENT_AFTER, answered};
use self::transaction::{PgSnapshot, PgTransaction};
use super::PostgresStore;
use super::fault::Fault;
use super::open::Opening;
use super::schema::Schema;
use crate::error::{StartError, StoreError};
use crate::event::GlobalPosition;
use crate::store::contract::{
    Checkpoint, CheckpointStore, Lease, ParkedPage, ParkedQuery, ParkedRequest, PartitionId,
    ProjectionDatabase, ProjectionStore, SkippedEvent, SqlSnapshot, SqlTransaction,
    check_projection_name,
};
use crate::store::sql::lent::{Lender, Lent};

/// The schema of one version.
struct PgProjection {
    store: PostgresStore,
    /// `statement@1`.
    model: String,
    schema: String,
    /// Connections that write, by the number of the partition.
    writers: Mutex<HashMap<u32, Lender<PgConnection>>>,
    readers: Lender<PgConnection>,
}

/// A session on loan.
struct Session {
    connection: Lent<PgConnection>,
    /// True if it was opened just now. One that was idle may have been lost meanwhile.
    is_fresh: bool,
}

#[async_trait]
impl ProjectionStore for PostgresStore {
    async fn open_projection(
        &self,
        name: &str,
        version: u32,
    ) -> Result<Arc<dyn ProjectionDatabase>, StartError> {
        Ok(Arc::new(PgProjection {
            model: format!("{name}@{version}"),
            schema: self.projection_schema(name, version)?,
            writers: Mutex::default(),
            readers: Lender::new(self.opening.options.readers as usize),
            store: self.clone(),
        }))
    }

    async fn drop_projection(&self, name: &str, version: u32) -> Result<(), StoreError> {
        let unavailable = |error: sqlx::Error| Fault::from(error).not_written(&self.place);
        // A read model may have a name that no projection can have: then there is no schema.
        let named =
            check_projection_name(name).and_then(|()| self.projection_schema(name, version));
        let Ok(schema) = named else { return Ok(()) };
        let connection = self.opening.connect().await;
        let mut connection = connection.map_err(|e| StoreError::Unavailable(e.to_string()))?;
        let (log, model) = (&self.opening.schema, format!("{name}@{version}"));
        // The logs in `a_b` and `a` share names of projection schemas. So only a schema that bears the
        // comment of this log's projection is dropped, another application may use it otherwise.
        // Several statements at once are one transaction.
        let drop = format!(
            "DO $$ BEGIN
                 IF EXISTS (SELECT FROM pg_namespace WHERE nspname = '{schema}'
                            AND obj_description(oid, 'pg_namespace') = '{}') THEN
                     DROP SCHEMA {schema} CASCADE;
                 END IF;
             END $$; {}",
            comment(log, &model),
            forget(log, &model)
        );
        // The names in it hold only letters, digits, _ and @.
        sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut connection).await.map_err(unavailable)?;
        connection.close().await.map_err(unavailable)
    }
}

impl PostgresStore {
    /// Letters, digits and `_`, and no longer than a name may be: no quotes are needed.
    fn projection_schema(&self, name: &str, version: u32) -> Result<String, StartError> {
        let schema = self.opening.schema.of_projection(name, version);
        schema.map_err(|reason| self.opening.refuse(reason))
    }
}

/// The comment on a projection's schema, which names the log and the projection that it belongs to.
fn comment(log: &Schema, model: &str) -> String {
    format!("Actum, the projection {model} of the log in {log}")
}

/// Statements that delete what the log's schema keeps of a model, whose name holds no quote.
fn forget(log: &Schema, model: &str) -> String {
    ["checkpoints", "parked", "skipped"]
        .map(|table| format!("DELETE FROM {log}.{table} WHERE model = '{model}'"))
        .join("; ")
}

impl PgProjection {
    fn opening(&self) -> &Arc<Opening> {
        &self.store.opening
    }

    fn unavailable(&self, error: sqlx::Error) -> StoreError {
        Fault::from(error).unavailable(&self.store.place)
    }

    /// The session that writes for a partition.
    async fn writer(&self, partition: &PartitionId, lease: &Lease) -> Result<Session, StoreError> {
        let lender = {
            // Nothing under the lock can panic, so a poisoned one is whole.
            let mut writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
            writers.entry(partition.number).or_insert_with(|| Lender::new(1)).clone()
        };
        match lender.permit().await.idle() {
            Ok(connection) => Ok(Session { connection, is_fresh: false }),
            Err(permit) => {
                let mut connection = session::open(self.opening(), &self.schema).await?;
                session::take_over(&mut connection, lease, self.opening()).await?;
                Ok(Session { connection: permit.lend(connection), is_fresh: true })
            }
        }
    }

    /// A session that reads. It lives on the store's own thread, whoever's runtime asks.
    async fn reader(&self) -> Result<Session, StoreError> {
        let permit = match self.readers.permit().await.idle() {
            Ok(connection) => return Ok(Session { connection, is_fresh: false }),
            Err(permit) => permit,
        };
        let (opening, schema) = (Arc::clone(self.opening()), self.schema.clone());
        let opened = async move { session::open(&opening, &schema).await };
        let closed = |_| Err(StoreError::Unavailable("the store is closed".into()));
        let opened = self.store.connections.runtime().spawn(opened).await.unwrap_or_else(closed);
        Ok(Session { connection: permit.lend(opened?), is_fresh: true })
    }

    async fn begin_with(
        &self,
        begin: &'static str,
        mut connection: Lent<PgConnection>,
    ) -> Result<PgExecutor, sqlx::Error> {
        if let Some(reason) = self.opening().history.lost() {
            return Err(sqlx::Error::Configuration(reason.into()));
        }
        sqlx::raw_sql(begin).execute(&mut *connection).await?;
        Ok(PgExecutor::new(connection, &self.store.place))
    }
}

#[async_trait]
impl ProjectionDatabase for PgProjection {
    async fn begin_making(&self) -> Result<Option<Box<dyn SqlTransaction>>, StoreError> {
        let connection = session::open(self.opening(), &self.schema).await?;
        let connection = Lender::new(1).permit().await.lend(connection);
        let executor = self.begin_with("BEGIN", connection).await;
        let executor = executor.map_err(|error| self.unavailable(error))?;
        let mut transaction = PgTransaction::new(executor, &self.opening().schema, &self.schema);
        let made = transaction.make(&self.model).await?;
        Ok(made.then(|| Box::new(transaction) as Box<_>))
    }

    async fn resume(
        &self,
        partition: &PartitionId,
        lease: &Lease,
    ) -> Result<Option<Checkpoint>, StoreError> {
        let log = &self.opening().schema;
        loop {
            let Session { mut connection, is_fresh } = self.writer(partition, lease).await?;
            let asked = slice::from_ref(partition);
            let looking = mark::find(&mut connection, log, &self.schema, asked);
            match answered(timeout(SILENT_AFTER, looking).await) {
                Ok(found) => {
                    connection.give_back();
                    let found = found.into_iter().next();
                    return found.map_or(Ok(None), |found| found.check(partition));
                }
                Err(fault) if is_fresh => return Err(fault.unavailable(&self.store.place)),
                Err(_) => {} // it was lost while it was idle
            }
        }
    }

    async fn begin(
        &self,
        partition: &PartitionId,
        lease: &Lease,
    ) -> Result<Box<dyn SqlTransaction>, StoreError> {
        let executor = loop {
            let Session { connection, is_fresh } = self.writer(partition, lease).await?;
            match self.begin_with("BEGIN", connection).await {
                Ok(executor) => break executor,
                Err(error) if is_fresh => return Err(self.unavailable(error)),
                Err(_) => {} // it was lost while it was idle
            }
        };
        Ok(Box::new(PgTransaction::new(executor, &self.opening().schema, &self.schema)))
    }

    async fn read(&self) -> Result<Box<dyn SqlSnapshot>, StoreError> {
        const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        loop {
            let Session { connection, is_fresh } = self.reader().await?;
            match self.begin_with(BEGIN, connection).await {
                Ok(executor) => {
                    let log = &self.opening().schema;
                    return Ok(Box::new(PgSnapshot::new(executor, log, &self.schema)));
                }
                Err(error) if is_fresh => return Err(self.unavailable(error)),
                Err(_) => {} // it was lost while it was idle
            }
        }
    }
}

#[async_trait]
impl CheckpointStore for PgProjection {
    async fn load_checkpoint(
        &self,
        partition: &PartitionId,
    ) -> Result<Option<Checkpoint>, StoreError> {
        self.store.load_checkpoint(partition).await
    }

    async fn load_parked(
        &self,
        model: &str,
        query: &ParkedQuery,
    ) -> Result<ParkedPage, StoreError> {
        self.store.load_parked(model, query).await
    }

    async fn load_skipped(&self, model: &str) -> Result<Vec<SkippedEvent>, StoreError> {
        self.store.load_skipped(model).await
    }

    async fn request_parked(
        &self,
        model: &str,
        key: &str,
        position: GlobalPosition,
        request: ParkedRequest,
    ) -> Result<bool, StoreError> {
        self.store.request_parked(model, key, position, request).await
    }
}
