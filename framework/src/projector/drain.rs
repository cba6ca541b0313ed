//! Trying parked keys again: the event, then all that waited behind it, in order.

use time::OffsetDateTime;

use super::batch::Batch;
use super::term::{Reached, Term};
use crate::error::StoreError;
use crate::parking::{ParkedChange, ParkedKey, ParkedRequest, SkippedEvent};
use crate::projection::Projection;
use crate::sources::Routed;

impl<P: Projection> Term<'_, P> {
    /// Looks for requests and tries each key whose time has come.
    pub(super) async fn look_at_parked(&mut self) -> Result<(), StoreError> {
        let keys = self.parked.keys();
        if keys.is_empty() {
            return Ok(());
        }
        let database = &self.partition.database;
        let stored = database.load_parked(&self.partition.id.model, Some(&keys)).await?;
        self.parked.requested(stored);
        while let Some(parked) = self.parked.take_due() {
            self.retry(parked).await?;
            if *self.partition.stopping.borrow() {
                break;
            }
        }
        Ok(())
    }

    /// Tries one key that was taken out of the parked ones. It is let go, or parked again.
    async fn retry(&mut self, before: ParkedKey) -> Result<(), StoreError> {
        let now = OffsetDateTime::now_utc();
        let Some(checkpoint) = self.checkpoint else { return Ok(()) };
        let (position, event_id) = (checkpoint.position, Some(checkpoint.event_id));
        let reached = Reached { position, event_id };
        let mut batch = Batch::at(reached);
        let mut positions = vec![before.position];
        if let Some(ParkedRequest::Skip { reason }) = &before.request {
            positions.clear();
            batch.changes.push(ParkedChange::Skip(SkippedEvent {
                key: before.key.clone(),
                position: before.position,
                event: before.event.clone(),
                reason: reason.clone(),
                skipped_at: now,
            }));
        }
        positions.extend(&before.queue);
        let found = self.partition.store.read_positions(&positions).await?;
        if found.len() != positions.len() {
            let reason = format!("{} of its events are missing", positions.len() - found.len());
            let place = format!("the queue of the parked key {:?}", before.key);
            return Err(StoreError::Corrupt { place, reason });
        }
        let number = self.partition.id.number;
        for recorded in &found {
            let routed = self.partition.sources.routes.route(recorded, |key| key == before.key);
            let routed = match routed {
                // It had this key when it was parked.
                Routed::Unreadable { key: None, reason } => {
                    Routed::Unreadable { key: Some(before.key.clone()), reason }
                }
                routed => routed,
            };
            batch.add(routed, recorded, number, &mut self.parked, now);
        }
        let (transaction, mut changes) = self.project(batch, now).await?;
        self.parked.tried(&before, &mut changes);
        self.commit(transaction, reached, changes).await
    }
}
