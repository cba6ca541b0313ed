//! Connections by what they are for, and the thread that serves them.
//!
//! Each [`Lane`] has connections of its own, so that a long page of the log never holds up a
//! command, and a full disk under the documents never a lease. A statement runs on a thread of the
//! store's own: a caller that gives up cannot leave a connection half read, and no runtime of a
//! caller can end under a connection. A connection that is lost or silent is thrown away.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use sqlx::postgres::{PgArguments, PgPoolOptions, PgRow};
use sqlx::query::Query;
use sqlx::{PgPool, Postgres};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::fault::{Fault, describe, is_lost};
use super::open::Opening;
use crate::error::StartError;

/// After a restart of the server every idle connection is dead, each found out by one failure.
const MOST_DEAD: u32 = 16;

/// How long closing may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

pub(super) type Statement = Query<'static, Postgres, PgArguments>;

/// What a connection is for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Lane {
    /// Pages of the whole log.
    Log,
    /// One aggregate's events, snapshot and confirmations: a command waits for it.
    Streams,
    /// Documents and checkpoints.
    Documents,
    /// Leases, notifications and the listener.
    Signals,
}

/// All connections but the writer's. Ends with the last reference.
pub(super) struct Connections {
    runtime: Handle,
    pools: [PgPool; 4],
    opening: Arc<Opening>,
    _running: oneshot::Sender<()>,
}

impl Connections {
    /// Starts the thread. Connections are opened when they are needed.
    pub(super) fn start(opening: &Arc<Opening>) -> Result<Self, StartError> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| StartError::Thread(e.to_string()))?;
        let handle = runtime.handle().clone();
        let readers = opening.options.readers;
        let pools = {
            let _entered = handle.enter();
            // A listener that fell silent keeps its place until its socket gives up.
            [readers, readers, readers, 16].map(|most| pool(opening, most))
        };
        let closing = pools.clone();
        let (running, stopped) = oneshot::channel::<()>();
        thread::Builder::new()
            .name("actum-postgres".into())
            .spawn(move || {
                runtime.block_on(async move {
                    // Nothing is ever sent: the sender goes with the store.
                    let _ = stopped.await;
                    let close = async {
                        for pool in closing {
                            pool.close().await;
                        }
                    };
                    let _ = timeout(CLOSE_WITHIN, close).await;
                });
            })
            .map_err(|e| StartError::Thread(e.to_string()))?;
        Ok(Self { runtime: handle, pools, opening: Arc::clone(opening), _running: running })
    }

    pub(super) fn pool(&self, lane: Lane) -> &PgPool {
        &self.pools[lane as usize]
    }

    pub(super) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// The rows of a statement that may be sent twice without harm.
    pub(super) async fn rows(
        &self,
        lane: Lane,
        statement: impl Fn() -> Statement + Send + 'static,
    ) -> Result<Vec<PgRow>, Fault> {
        let (pool, opening) = (self.pool(lane).clone(), Arc::clone(&self.opening));
        let running = self.runtime.spawn(async move { run(&opening, &pool, statement).await });
        // It ends early only with the thread, that is, with the store.
        running.await.unwrap_or_else(|_| Err(Fault::NotConnected("the store is closed".into())))
    }

    /// The one row of such a statement.
    pub(super) async fn row(
        &self,
        lane: Lane,
        statement: impl Fn() -> Statement + Send + 'static,
    ) -> Result<PgRow, Fault> {
        let rows = self.rows(lane, statement).await?;
        rows.into_iter().next().ok_or(Fault::Answered(sqlx::Error::RowNotFound))
    }
}

/// The same on this thread.
pub(super) async fn run(
    opening: &Opening,
    pool: &PgPool,
    statement: impl Fn() -> Statement,
) -> Result<Vec<PgRow>, Fault> {
    let within = opening.silent_after();
    let mut dead = 0;
    loop {
        let acquired = pool.acquire().await;
        let mut connection = acquired.map_err(|error| not_connected(opening, &error))?;
        match timeout(within, statement().fetch_all(&mut *connection)).await {
            Ok(Ok(rows)) => return Ok(rows),
            Ok(Err(error)) if is_lost(&error) => {
                drop(connection.detach());
                dead += 1;
                if dead == MOST_DEAD {
                    return Err(error.into());
                }
            }
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => {
                drop(connection.detach());
                return Err(Fault::Silent(within));
            }
        }
    }
}

/// Why there is no connection. A pool that waited in vain does not say; the listener may know.
fn not_connected(opening: &Opening, error: &sqlx::Error) -> Fault {
    let sqlx::Error::PoolTimedOut = error else { return Fault::NotConnected(describe(error)) };
    let trouble = opening.trouble.borrow().clone();
    Fault::NotConnected(trouble.unwrap_or_else(|| {
        let within = opening.options.connect_within;
        format!("no connection within {within:?}: all are busy, or the server gives no more")
    }))
}

fn pool(opening: &Arc<Opening>, most: u32) -> PgPool {
    let checking = Arc::clone(opening);
    PgPoolOptions::new()
        .max_connections(most)
        .acquire_timeout(opening.options.connect_within)
        .max_lifetime(None)
        // A dead one is found out by the first statement, and every statement here can be repeated.
        .test_before_acquire(false)
        .after_connect(move |connection, _| {
            let opening = Arc::clone(&checking);
            Box::pin(async move {
                let checked = opening.check(connection).await;
                checked.map_err(|error| sqlx::Error::Configuration(Box::new(error)))
            })
        })
        .connect_lazy_with(opening.connect.clone())
}
