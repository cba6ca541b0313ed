//! Connections by what they are for, and the thread that serves them.
//!
//! Each [`Purpose`] has connections of its own, so that a long page of the log never holds up a
//! command, and a full disk under the documents never a lease. A statement runs on a thread of the
//! store's own: a caller that gives up cannot leave a connection half read, and no runtime of a
//! caller can end under a connection. A connection that is lost or silent is thrown away.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{Postgres, Row};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::fault::Fault;
use super::history::{Known, Place};
use super::lane::Lane;
use super::open::Opening;
use crate::error::StartError;
use crate::threads;

/// Maximum time for closing.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// Number of connections that renew leases and send hints.
const SIGNALS: usize = 2;

pub(super) type Statement = Query<'static, Postgres, PgArguments>;

/// Purpose of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    /// Pages of the whole log.
    Log,
    /// One aggregate's events, snapshot and confirmations: a command waits for it.
    Streams,
    /// Documents and checkpoints.
    Documents,
    /// Leases and hints.
    Signals,
}

/// All connections but the writer's and the listener's. Ends with the last reference.
pub(super) struct Connections {
    runtime: Handle,
    lanes: Arc<[Lane; 4]>,
    opening: Arc<Opening>,
    _running: oneshot::Sender<()>,
}

impl Connections {
    /// Starts the thread. Connections are opened when they are needed.
    pub(super) fn start(opening: &Arc<Opening>) -> Result<Self, StartError> {
        let readers = opening.options.readers as usize;
        let lanes = Arc::new([readers, readers, readers, SIGNALS].map(Lane::new));
        let closing = Arc::clone(&lanes);
        let (running, stopped) = oneshot::channel::<()>();
        let run = move |runtime: Runtime| {
            runtime.block_on(async move {
                // Nothing is ever sent: the sender goes with the store.
                let _ = stopped.await;
                let close = async {
                    for lane in closing.iter() {
                        lane.close().await;
                    }
                };
                let _ = timeout(CLOSE_WITHIN, close).await;
            });
        };
        let thread = thread::Builder::new().name("actum-postgres".into());
        let (_, runtime) =
            threads::start(thread, run).map_err(|e| StartError::Thread(e.to_string()))?;
        Ok(Self { runtime, lanes, opening: Arc::clone(opening), _running: running })
    }

    pub(super) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Connections for those that run on this thread already.
    pub(super) fn lanes(&self) -> Arc<[Lane; 4]> {
        Arc::clone(&self.lanes)
    }

    /// The rows of a statement that may be sent twice without harm.
    pub(super) async fn rows(
        &self,
        purpose: Purpose,
        statement: impl Fn() -> Statement + Send + 'static,
    ) -> Result<Vec<PgRow>, Fault> {
        let (lanes, opening) = (Arc::clone(&self.lanes), Arc::clone(&self.opening));
        let rows = async move { lanes[purpose as usize].rows(&opening, statement).await };
        // It ends early only with the thread, that is, with the store.
        let closed = |_| Err(Fault::NotConnected("the store is closed".into()));
        let (rows, _result) = self.runtime.spawn(rows).await.unwrap_or_else(closed)?;
        Ok(rows)
    }

    /// The rows of such a statement that begins with the four parameters of `is_same_history`, and
    /// has its answer in the column `is_same_history`. `last` is what a row says of an event's
    /// place.
    ///
    /// Without any row there is nothing to compare, and nothing that anybody could decide on.
    pub(super) async fn known_rows(
        &self,
        purpose: Purpose,
        statement: impl Fn(&Known) -> Statement + Send + 'static,
        last: impl FnOnce(&[PgRow]) -> Result<Option<Place>, sqlx::Error>,
    ) -> Result<Vec<PgRow>, Fault> {
        let known = self.opening.history.known();
        let carried = known.clone();
        let rows = self.rows(purpose, move || statement(&carried)).await?;
        let Some(row) = rows.first() else { return Ok(rows) };
        if !row.try_get::<bool, _>("is_same_history")? {
            let opening = Arc::clone(&self.opening);
            let asked = self.runtime.spawn(async move { opening.lost().await }).await;
            let reason = asked.unwrap_or_else(|_| "the store is closed".into());
            return Err(Fault::OtherHistory(reason));
        }
        self.opening.history.learn(&known, last(&rows)?);
        Ok(rows)
    }

    /// The one row of such a statement.
    pub(super) async fn row(
        &self,
        purpose: Purpose,
        statement: impl Fn() -> Statement + Send + 'static,
    ) -> Result<PgRow, Fault> {
        let rows = self.rows(purpose, statement).await?;
        rows.into_iter().next().ok_or(Fault::Answered(sqlx::Error::RowNotFound))
    }
}
