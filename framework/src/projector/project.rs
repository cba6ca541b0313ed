//! From a batch to rows: all of it at once, and apart when that fails.

use time::OffsetDateTime;

use super::batch::{Batch, Origin};
use super::term::Term;
use crate::error::StoreError;
use crate::guard::guarded_async;
use crate::parking::ParkedChange;
use crate::projection::Projection;
use crate::projection_store::SqlTransaction;

/// A transaction that holds the rows, and what became of keys on the way.
type Projected = (Box<dyn SqlTransaction>, Vec<ParkedChange>);

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

impl<P: Projection> Term<'_, P> {
    /// Projects a batch. The key of each event that fails alone is parked, and what comes behind it
    /// of that key waits.
    ///
    /// # Errors
    /// The database failed: nothing of it is stored.
    pub(super) async fn project(
        &mut self,
        mut batch: Batch<P::Event>,
        now: OffsetDateTime,
    ) -> Result<Projected, StoreError> {
        let mut transaction = self.begin().await?;
        match attempt::<P>(&mut *transaction, &batch.events).await {
            Ok(()) => return Ok((transaction, batch.changes)),
            Err(Failure::Database(error)) => return Err(error),
            Err(Failure::Events(_)) => {}
        }
        drop(transaction);
        let mut transaction = self.begin().await?;
        self.apart(&mut *transaction, &mut batch, now).await?;
        Ok((transaction, batch.changes))
    }

    async fn begin(&self) -> Result<Box<dyn SqlTransaction>, StoreError> {
        self.partition.database.begin(&self.partition.id, self.lease).await
    }

    /// In parts that are halved when they fail and doubled when they do not: a few bad events among
    /// thousands cost about as much again as the whole batch.
    async fn apart(
        &mut self,
        transaction: &mut dyn SqlTransaction,
        batch: &mut Batch<P::Event>,
        now: OffsetDateTime,
    ) -> Result<(), StoreError> {
        let (mut done, mut size) = (0, batch.events.len().div_ceil(2));
        while done < batch.events.len() {
            let end = batch.events.len().min(done + size);
            transaction.savepoint().await?;
            match attempt::<P>(transaction, &batch.events[done..end]).await {
                Ok(()) => {
                    transaction.release(true).await?;
                    (done, size) = (end, size * 2);
                }
                Err(Failure::Database(error)) => return Err(error),
                Err(Failure::Events(_)) if end - done > 1 => {
                    transaction.release(false).await?;
                    size = (end - done) / 2;
                }
                Err(Failure::Events(reason)) => {
                    transaction.release(false).await?;
                    self.park(batch, done, reason, now);
                }
            }
        }
        Ok(())
    }

    /// Parks the key of the event at this place and takes all that is left of it out of the batch.
    fn park(
        &mut self,
        batch: &mut Batch<P::Event>,
        place: usize,
        reason: String,
        now: OffsetDateTime,
    ) {
        let Origin { key, recorded } = batch.of.remove(place);
        batch.events.remove(place);
        let number = self.partition.id.number;
        // What follows in this batch comes before what was parked or queued of it already.
        let later = self.parked.park(&key, number, &recorded, reason, now);
        batch.changes.extend(later);
        let mut next = place;
        while next < batch.of.len() {
            if batch.of[next].key == key {
                let origin = batch.of.remove(next);
                batch.events.remove(next);
                batch.changes.push(self.parked.queue(&key, origin.recorded.position));
            } else {
                next += 1;
            }
        }
    }
}

/// Has the user's code project events, behind a guard.
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
    if let Some(error) = transaction.trouble() {
        return Err(Failure::Database(error));
    }
    match projected {
        Ok(Ok(())) => transaction.check().await.map_err(Failure::Events),
        Ok(Err(error)) => Err(Failure::Events(error.to_string())),
        Err(panic) => Err(Failure::Events(format!("panicked: {panic}"))),
    }
}
