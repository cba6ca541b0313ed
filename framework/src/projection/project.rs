//! From events to rows: all of them at once, and apart when that fails.

use super::Projection;
use super::batch::Batch;
use super::follower::ProjectionFollower;
use crate::catch_panic::guarded_async;
use crate::error::StoreError;
use crate::store::contract::SqlTransaction;

/// Why events were not projected.
enum Failure {
    /// The database: nothing is said about the events.
    Database(StoreError),
    /// One of the events, or the code.
    Events(String),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Database(error)
    }
}

impl<P: Projection> ProjectionFollower<P> {
    pub(super) async fn begin_transaction(&self) -> Result<Box<dyn SqlTransaction>, StoreError> {
        self.database.begin(self.id(), self.grant.lease()).await
    }

    /// Projects a batch in a transaction. Events that fail alone, and those behind them, are left.
    ///
    /// # Errors
    /// The database failed: nothing of it is stored.
    pub(super) async fn project(
        &self,
        batch: &mut Batch<P::Event>,
    ) -> Result<Box<dyn SqlTransaction>, StoreError> {
        // All of them first and without a savepoint, because nearly every batch has no bad event.
        if let Some(transaction) = self.at_once(&batch.events).await? {
            return Ok(transaction);
        }
        // A new transaction: the refused one may hold rows of the events before the bad one.
        let mut transaction = self.begin_transaction().await?;
        let mut done = 0;
        while done < batch.events.len() {
            let events = &batch.events[done..];
            let (taken, reason) = up_to_failure::<P>(&mut *transaction, events).await?;
            done += taken;
            if let Some(reason) = reason {
                batch.leave(done, reason);
            }
        }
        Ok(transaction)
    }

    /// Projects as many events as can be in order, in a transaction; how many, and why no more.
    ///
    /// # Errors
    /// The database failed: nothing of it is stored.
    pub(super) async fn project_in_order(
        &self,
        events: &[P::Event],
    ) -> Result<(Box<dyn SqlTransaction>, usize, Option<String>), StoreError> {
        if let Some(transaction) = self.at_once(events).await? {
            return Ok((transaction, events.len(), None));
        }
        let mut transaction = self.begin_transaction().await?;
        let (taken, reason) = up_to_failure::<P>(&mut *transaction, events).await?;
        Ok((transaction, taken, reason))
    }

    async fn at_once(
        &self,
        events: &[P::Event],
    ) -> Result<Option<Box<dyn SqlTransaction>>, StoreError> {
        let mut transaction = self.begin_transaction().await?;
        match attempt::<P>(&mut *transaction, events).await {
            Ok(()) => Ok(Some(transaction)),
            Err(Failure::Database(error)) => Err(error),
            Err(Failure::Events(_)) => {
                // A bad event is no fault of the connection: opening another costs much, and on SQLite
                // waits for every query that is being read.
                transaction.roll_back().await;
                Ok(None)
            }
        }
    }
}

/// Projects up to the first event that fails alone, in parts that are halved when they fail and
/// doubled when they do not: to find one bad event costs about as much again as the whole batch.
async fn up_to_failure<P: Projection>(
    transaction: &mut dyn SqlTransaction,
    events: &[P::Event],
) -> Result<(usize, Option<String>), StoreError> {
    let (mut done, mut size) = (0, events.len().div_ceil(2));
    while done < events.len() {
        let end = events.len().min(done + size);
        transaction.savepoint().await?;
        match attempt::<P>(transaction, &events[done..end]).await {
            Ok(()) => {
                transaction.release(true).await?;
                (done, size) = (end, size * 2);
            }
            Err(Failure::Database(error)) => return Err(error),
            Err(Failure::Events(reason)) => {
                transaction.release(false).await?;
                // A part of one event that fails cannot be divided: this event is the bad one.
                if end - done == 1 {
                    return Ok((done, Some(reason)));
                }
                size = (end - done) / 2;
            }
        }
    }
    Ok((done, None))
}

/// Has the user's code project events, in panic isolation.
async fn attempt<P: Projection>(
    transaction: &mut dyn SqlTransaction,
    events: &[P::Event],
) -> Result<(), Failure> {
    if events.is_empty() {
        return Ok(());
    }
    let projected = {
        let mut connection = transaction.connection();
        guarded_async(P::project(events, &mut connection)).await
    };
    // Before the result of the user's code, which may have ignored or wrapped the error. A database
    // that is away must not park a key.
    if let Some(error) = transaction.trouble() {
        return Err(Failure::Database(error));
    }
    match projected {
        Ok(Ok(())) => transaction.check().await.map_err(Failure::Events),
        Ok(Err(error)) => Err(Failure::Events(error.to_string())),
        Err(panic) => Err(Failure::Events(format!("panicked: {panic}"))),
    }
}
