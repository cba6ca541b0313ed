//! Parked keys: parking them in the order of the log, and trying them again.

use std::time::Instant;

use super::Projection;
use super::batch::{Batch, Left};
use super::follower::ProjectionFollower;
use crate::clock::{Clock, SystemClock};
use crate::error::StoreError;
use crate::partition::Follower;
use crate::partition::parking::{Drain, Full, Stopped, in_words, list_waiting, read_waiting};
use crate::store::contract::ParkedQuery;

impl<P: Projection> ProjectionFollower<P> {
    /// Parks the keys of what was left of a batch, and has the rest of it wait.
    ///
    /// # Errors
    /// Too much stands still.
    pub(super) fn park(&mut self, batch: &mut Batch<P::Event>) -> Result<(), Full> {
        let (now, since) = (Instant::now(), SystemClock.now());
        batch.left.sort_unstable_by_key(|left| left.origin.recorded.position);
        for Left { origin, reason } in batch.left.drain(..) {
            match reason {
                Some(reason) if !self.parking.is_parked(&origin.key) => {
                    let at = origin.recorded.position;
                    tracing::error!(partition = %self.id(), key = %origin.key, position = %at, %reason, "a key is parked");
                    self.parking.park(origin.key, &origin.recorded, reason, now, since)?;
                }
                _ => self.parking.queue(&origin.key, origin.recorded.position),
            }
        }
        Ok(())
    }

    /// Takes up what was asked for, and tries keys whose time has come.
    pub(super) async fn look_at_parked(&mut self) -> Result<(), StoreError> {
        if self.parking.is_empty() {
            return Ok(());
        }
        let saved_so_far = self.parking.saved_so_far();
        let model = self.id().model.clone();
        let requested = self.database.load_parked(&model, &ParkedQuery::requested()).await?;
        self.parking.take_requests(requested.keys, saved_so_far, Instant::now());
        let began = Instant::now();
        loop {
            if let Some(listing) = self.parking.begin_listing(Instant::now()) {
                let (routes, reached) = (&self.sources.routes, self.reached());
                list_waiting(&*self.store, routes, &mut self.parking, listing, reached).await?;
            } else if let Some(drain) = self.parking.begin(Instant::now()) {
                self.try_again(drain).await?;
            } else {
                break;
            }
            if began.elapsed() >= self.pacing.drain_for && !self.parking.is_crowded() {
                break;
            }
        }
        Ok(())
    }

    async fn try_again(&mut self, mut drain: Drain) -> Result<(), StoreError> {
        let found = read_waiting(&*self.store, &mut drain).await?;
        let may = self.parking.may_apply(&drain);
        let (mut events, mut refused) = (Vec::new(), None);
        for recorded in &found[..may] {
            match self.sources.routes.route_parked(recorded, &drain.key) {
                Ok(event) => events.push(event),
                Err(reason) => {
                    refused = Some(reason);
                    break;
                }
            }
        }
        let (transaction, applied, failed) = self.project_in_order(&events).await?;
        let reason = failed.or(refused);
        let next = found.get(applied).map(|next| Stopped { event: in_words(next), reason });
        self.parking.end(drain, applied, next, Instant::now(), SystemClock.now());
        // The position stays: only parked keys and rows change.
        self.commit(transaction, self.checkpoints.saved()).await?;
        self.progress.count_events(applied);
        Ok(())
    }
}
