//! Parked keys of a handler: requests of operators, and handling the events again in order.

use std::sync::Arc;
use std::time::Instant as StdInstant;

use tokio::time::Instant;

use super::attempt::{Done, attempt};
use super::follower::HandlerFollower;
use super::{Attempt, EventHandler};
use crate::catch_panic::Isolated;
use crate::error::StoreError;
use crate::event::RecordedEvent;
use crate::partition::parking::{Drain, Stopped, in_words, list_waiting, read_waiting};
use crate::store::contract::ParkedQuery;

impl<H: EventHandler> HandlerFollower<H> {
    /// Takes requests, and does the next step for the first parked key that is due.
    pub(super) async fn look_at_parked(&mut self) -> Result<(), StoreError> {
        // Not at each key that is due: of many requests, each would read all others.
        if self.requests_at <= Instant::now() {
            self.requests_at = Instant::now() + self.pacing.requests_every;
            self.take_requests().await?;
        }
        self.look_at = self.requests_at;
        if let Some(listing) = self.parking.begin_listing(StdInstant::now()) {
            // Events of the key after the checkpoint wait in the window, and not in the parking.
            let (routes, reached) = (&self.sources.routes, self.saved());
            list_waiting(&*self.store, routes, &mut self.parking, listing, reached).await?;
        } else if let Some(drain) = self.parking.begin(StdInstant::now()) {
            self.try_again(drain).await?;
        }
        if self.parking.is_due(StdInstant::now()) {
            self.look_at = Instant::now();
        }
        Ok(())
    }

    async fn take_requests(&mut self) -> Result<(), StoreError> {
        let saved_so_far = self.parking.saved_so_far();
        let model = &self.progress.id().model;
        let requested = self.store.load_parked(model, &ParkedQuery::requested()).await?.keys;
        self.parking.take_requests(requested, saved_so_far, StdInstant::now());
        Ok(())
    }

    /// Starts to handle the events of a key, beside the loop.
    async fn try_again(&mut self, mut drain: Drain) -> Result<(), StoreError> {
        let stands_at = self.parking.standing(&drain.key).map(|(position, _)| position);
        // A key that is released before the checkpoint has passed its event would be handled anew
        // after a crash, and a skipped event too.
        let is_passed = stands_at.is_some_and(|position| position <= self.saved());
        if !is_passed || self.until.is_none_or(|until| until <= Instant::now()) {
            let later = StdInstant::now() + self.pacing.requests_every;
            self.parking.postpone(&drain, later);
            return Ok(());
        }
        let found = read_waiting(&*self.store, &mut drain).await?;
        let may = self.parking.may_apply(&drain);
        let is_first = found.first().is_some_and(|first| Some(first.position) == stands_at);
        let tried = if is_first { self.parking.attempts(&drain.key) } else { 0 };
        let (handler, sources) = (Arc::clone(&self.handler), Arc::clone(&self.sources));
        let (limit, until) = (self.settings.timeout, self.until);
        self.running.spawn(async move {
            let (mut applied, mut reason, mut number) = (0, None, tried.saturating_add(1));
            for recorded in &found[..may] {
                // The next drain continues, under the lease as it is then.
                if until.is_none_or(|until| Instant::now() >= until) {
                    break;
                }
                let result = match sources.routes.route_parked(recorded, &drain.key) {
                    Ok(event) => {
                        let (event, this) =
                            (Isolated::new(event), Attempt::new(number, Arc::clone(recorded)));
                        attempt(&*handler, &event, this, limit).await
                    }
                    Err(undecodable) => Err(undecodable),
                };
                if let Err(failed) = result {
                    reason = Some(failed);
                    break;
                }
                (applied, number) = (applied + 1, 1);
            }
            Done::Drain { drain, found, applied, reason }
        });
        Ok(())
    }

    /// Ends a drain.
    pub(super) fn drained(
        &mut self,
        drain: Drain,
        found: &[Arc<RecordedEvent>],
        applied: usize,
        reason: Option<String>,
    ) {
        let key = drain.key.clone();
        if let Some(reason) = &reason {
            self.progress.failed(format_args!("the key {key:?}: {reason}"));
        }
        let next = match found.get(applied) {
            Some(next) => Some(Stopped { event: in_words(next), reason }),
            // The checkpoint has passed more events of the key meanwhile. The key then is parked at
            // the first of them. Otherwise all that were handled now would be handled again.
            None if self.parking.may_apply(&drain) < applied => {
                Some(Stopped { event: "an event that was not read yet".to_owned(), reason: None })
            }
            None => None,
        };
        self.parking.end(drain, applied, next, StdInstant::now(), self.clock.now());
        if !self.parking.is_parked(&key) {
            self.window.release(&key);
        }
        self.progress.count_events(applied);
        self.progress.parked(self.parking.len());
        // Both at once: operators wait for the outcome, and the next key may be due.
        self.save_within(std::time::Duration::ZERO);
        self.look_at = Instant::now();
    }
}
