//! Database place of the tables of one test, and the runtime that works there.
//!
//! A scenario is synchronous, so that any test can use it, even an async one. For this reason async
//! code runs on another thread.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use tokio::runtime::{Builder, Runtime};
use uuid::Uuid;

use super::ways;
use crate::error::BoxError;
use crate::event::{GlobalPosition, RecordedEvent};
use crate::projection::Projection;
use crate::store::contract::sql::{SqlConnection, SqlRow};
use crate::store::contract::{ProjectionDatabase, Store};
use crate::store::sqlite::SqliteOptions;

/// Database place of one test. The tables are dropped with it.
pub(super) struct Place {
    /// `Some` until it is dropped.
    runtime: Option<Runtime>,
    database: Option<Arc<dyn ProjectionDatabase>>,
    store: Option<Arc<dyn Store>>,
    name: &'static str,
    number: u32,
    directory: PathBuf,
}

impl Place {
    /// Processes the events. Returns the place with the rows, and the descriptions of the parked
    /// keys.
    ///
    /// # Errors
    /// A failure, or a difference between two ways of delivery.
    pub(super) fn of<P: Projection>(
        store: Option<Arc<dyn Store>>,
        events: &[Arc<RecordedEvent>],
    ) -> Result<(Self, BTreeMap<String, String>), String> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = Some(runtime.map_err(|error| error.to_string())?);
        let directory = std::env::temp_dir().join(format!("actum-{}", Uuid::now_v7()));
        let mut place =
            Self { runtime, database: None, store, name: P::NAME, number: 0, directory };
        let (store, outcome) = place.apart(async || {
            let store = place.store().await?;
            let outcome = ways::take_in::<P>(&store, events).await?;
            Ok::<_, String>((store, outcome))
        })?;
        let (outcome, number) = outcome;
        place.store = Some(store);
        place.database = Some(outcome.database);
        place.number = number;
        Ok((place, outcome.parked))
    }

    /// Returns the given store, or creates one in a temporary file.
    async fn store(&self) -> Result<Arc<dyn Store>, String> {
        if let Some(store) = &self.store {
            let head = store.head().await.map_err(|error| error.to_string())?;
            return match head {
                GlobalPosition::ZERO => Ok(Arc::clone(store)),
                head => Err(format!(
                    "the log of this store has {head} events; use an empty database for tests"
                )),
            };
        }
        std::fs::create_dir_all(&self.directory).map_err(|error| error.to_string())?;
        let log = self.directory.join("log.db").display().to_string();
        let store = SqliteOptions::new(&log).unsafe_without_sync().open().await;
        Ok(Arc::new(store.map_err(|error| error.to_string())?))
    }

    /// Returns the rows of a query.
    ///
    /// # Errors
    /// The database refuses the query.
    pub(super) fn rows(&self, query: &str) -> Result<Vec<SqlRow>, String> {
        let mut rows = Vec::new();
        let asked = self.ask(async |db| {
            rows = db.rows(query, &[]).await?;
            Ok(())
        });
        asked.map(|()| rows).map_err(|error| error.to_string())
    }

    /// Calls `ask` with a connection to the tables.
    ///
    /// # Errors
    /// The error of `ask`, or of the database.
    pub(super) fn ask(
        &self,
        ask: impl AsyncFnOnce(&mut SqlConnection<'_>) -> Result<(), BoxError> + Send,
    ) -> Result<(), BoxError> {
        let Some(database) = &self.database else { return Ok(()) };
        self.apart(async || {
            let mut snapshot = database.read().await?;
            let asked = ask(&mut snapshot.connection()).await;
            snapshot.end().await;
            asked
        })
    }

    /// Awaits `act` on another thread. A panic there is raised here.
    fn apart<T: Send>(&self, act: impl AsyncFnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            // The runtime is `Some` until `self` is dropped.
            let runtime = self.runtime.as_ref().expect("a runtime");
            let thread = scope.spawn(|| runtime.block_on(act()));
            thread.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let (database, store) = (self.database.take(), self.store.take());
        let (name, number) = (self.name, self.number);
        self.apart(async move || {
            drop(database);
            if let Some(store) = store {
                let _ = store.drop_projection(name, number).await; // the next test drops it, too
            }
        });
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        let _ = std::fs::remove_dir_all(&self.directory); // it is in the folder of what may be lost
    }
}
