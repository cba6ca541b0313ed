//! The connections of one purpose: at most so many, opened when they are needed and kept.
//!
//! A pool that lends connections to whoever may drop them anywhere has to ask the server, before
//! each is lent again, whether it is whole: as long as many a statement takes. Here a connection
//! is kept only when its statement has ended, so there is nothing to ask.

use std::sync::{Arc, Mutex, PoisonError};

use sqlx::Connection;
use sqlx::postgres::{PgConnection, PgRow};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::connections::Statement;
use super::fault::{Fault, is_lost};
use super::open::Opening;

pub(super) struct Lane {
    permits: Semaphore,
    /// Statements that run, and results that nobody has taken yet.
    results: Arc<Semaphore>,
    idle: Mutex<Vec<PgConnection>>,
}

impl Lane {
    pub(super) fn new(most: usize) -> Self {
        let results = Arc::new(Semaphore::new(2 * most));
        Self { permits: Semaphore::new(most), results, idle: Mutex::default() }
    }

    /// The rows of a statement that may be sent twice without harm. One that is lost with an idle
    /// connection, as after a restart of the server, is sent again on the next.
    ///
    /// The caller drops the permit when it has the rows. The server is faster than a thread that
    /// decodes the pages of a thousand clients: without the permit, all their pages would wait for it
    /// in memory.
    pub(super) async fn rows(
        &self,
        opening: &Opening,
        statement: impl Fn() -> Statement,
    ) -> Result<(Vec<PgRow>, Option<OwnedSemaphorePermit>), Fault> {
        if let Some(reason) = opening.history.lost() {
            return Err(Fault::OtherHistory(reason));
        }
        let wait = opening.options.connect_within;
        let permits = async {
            // Neither is ever closed.
            let result = Arc::clone(&self.results).acquire_owned().await.ok();
            (result, self.permits.acquire().await)
        };
        let busy = |_| Fault::NotConnected(format!("all connections are busy for {wait:?}"));
        let (result, _permit) = timeout(wait, permits).await.map_err(busy)?;
        let within = opening.silent_after();
        loop {
            let idle = self.with(Vec::pop);
            let is_fresh = idle.is_none();
            let mut connection = match idle {
                Some(idle) => idle,
                None => opening.connect().await.map_err(Fault::from)?,
            };
            match timeout(within, statement().fetch_all(&mut connection)).await {
                Ok(Err(error)) if is_lost(&error) && is_fresh => return Err(error.into()),
                Ok(Err(error)) if is_lost(&error) => {}
                Ok(rows) => {
                    self.with(|idle| idle.push(connection));
                    return Ok((rows?, result));
                }
                Err(_) => return Err(Fault::Silent(within)),
            }
        }
    }

    /// Closes those that are idle.
    pub(super) async fn close(&self) {
        for connection in self.with(std::mem::take) {
            let _ = connection.close().await; // the server notices anyway
        }
    }

    /// Nothing under the lock can panic, so a poisoned one is whole.
    fn with<T>(&self, act: impl FnOnce(&mut Vec<PgConnection>) -> T) -> T {
        act(&mut self.idle.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
