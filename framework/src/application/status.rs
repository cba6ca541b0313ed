//! Status: the knowledge of this process, completed by the store.

use std::time::{Duration, Instant};

use time::OffsetDateTime;
use tokio::time::timeout;

use super::Operations;
use super::observer::{age, partitions, state, waiting_since};
use super::running::Running;
use crate::error::StoreError;
use crate::event::GlobalPosition;
use crate::partition::Progress;
use crate::status::{
    LastError, LogStatus, MAX_LISTED_PARKED, ParkedStatus, PartitionStatus, Status,
    SubscriptionStatus,
};
use crate::store::contract::{
    CheckpointStore, ParkedKey, ParkedQuery, PartitionId, Pause, StoreInfo, StoredVersion,
};

/// Timeout of the store. After it the status is returned without the missing values.
const ASK_WITHIN: Duration = Duration::from_secs(2);

impl Operations<'_> {
    /// Returns the status of the log, the read models and the projections, within a few seconds. If
    /// the store is not available, the status contains what this process knows.
    pub async fn status(&self) -> Status {
        let inner = &*self.app.inner;
        let now = inner.clock.now();
        let mut subscriptions = inner.here(now);
        let mut head = *inner.store.watch_head().borrow();
        let asking = inner.ask(&mut subscriptions, &mut head, now);
        let unanswered = match timeout(ASK_WITHIN, asking).await {
            Ok(asked) => asked.err().map(|error| error.to_string()),
            Err(_) => Some(format!("the store did not respond within {ASK_WITHIN:?}")),
        };
        let StoreInfo { identity, trouble, wal_bytes, settings, .. } = inner.store.info();
        let trouble = trouble.or(inner.tail.status().trouble).or(unanswered);
        subscriptions.sort_by(|a, b| (&a.name, a.version).cmp(&(&b.name, b.version)));
        for subscription in &mut subscriptions {
            subscription.partitions.iter_mut().for_each(|partition| measure(partition, head));
        }
        let (log_id, epoch) = (identity.log_id, identity.epoch);
        let log = LogStatus { log_id, epoch, head, trouble, wal_bytes };
        Status { process: inner.process, at: now, log, settings, subscriptions }
    }
}

impl Running {
    /// Returns the versions of this program, as far as this process knows their status.
    fn here(&self, now: OffsetDateTime) -> Vec<SubscriptionStatus> {
        let told = self.read_side.iter().map(|control| {
            let paused = control.partitions().into_iter().find_map(|partition| partition.pause);
            let partitions = partitions(&**control);
            let serves = self.serves(&**control);
            let told = partitions.map(|(id, here)| self.partition(&id, here, serves, now));
            SubscriptionStatus {
                serves,
                is_in_this_program: true,
                paused,
                partitions: told.collect(),
                ..unknown(control.name(), control.version())
            }
        });
        told.collect()
    }

    fn partition(
        &self,
        id: &PartitionId,
        here: Progress,
        serves: Option<bool>,
        now: OffsetDateTime,
    ) -> PartitionStatus {
        let movement = self.observer.movement(id);
        let state = state(&here, serves);
        let last_error = here.last_error.map(|(at, error)| LastError {
            at: now - Instant::now().saturating_duration_since(at),
            error,
        });
        let is_owned_here = here.is_owner;
        PartitionStatus {
            owner: is_owned_here.then_some(self.process),
            is_owned_here,
            state: Some(state),
            position: Some(if is_owned_here { here.applied } else { here.saved }),
            lag_seconds: is_owned_here.then(|| movement.lag_seconds(now)),
            events_per_second: movement.rate(),
            last_error,
            ..PartitionStatus::unknown(id.number)
        }
    }

    /// Adds the values from the store, as far as it responds.
    async fn ask(
        &self,
        subscriptions: &mut Vec<SubscriptionStatus>,
        head: &mut GlobalPosition,
        now: OffsetDateTime,
    ) -> Result<(), StoreError> {
        *head = self.store.head().await?.max(*head);
        // Includes names that no program has any more, so that an operator can drop them.
        for StoredVersion { name, version, .. } in self.store.all_versions().await? {
            let is_it = |known: &&mut SubscriptionStatus| {
                known.name == name && known.version == version.number
            };
            match subscriptions.iter_mut().find(is_it) {
                Some(known) => known.serves = Some(version.is_serving),
                None => {
                    let serves = Some(version.is_serving);
                    let known = elsewhere(&name, version.number, version.partitions);
                    subscriptions.push(SubscriptionStatus { serves, ..known });
                }
            }
        }
        for subscription in subscriptions {
            self.complete(subscription, *head, now).await?;
        }
        Ok(())
    }

    async fn complete(
        &self,
        subscription: &mut SubscriptionStatus,
        head: GlobalPosition,
        now: OffsetDateTime,
    ) -> Result<(), StoreError> {
        let model = format!("{}@{}", subscription.name, subscription.version);
        let id = |partition: &PartitionStatus| PartitionId::new(&*model, partition.partition);
        let names: Vec<_> = subscription.partitions.iter().map(|p| id(p).to_string()).collect();
        let owners = self.store.holders(&names).await?;
        let control = self.read_side.iter().find(|control| control.versioned_name() == model);
        let checkpoints = control
            .map_or(&*self.store as &dyn CheckpointStore, |control| self.checkpoints(&**control));
        let filter = control.map(|control| control.filter());
        for (partition, owner) in subscription.partitions.iter_mut().zip(owners) {
            partition.owner = owner;
            // The position in the owner's memory is newer than the saved one.
            if partition.is_owned_here {
                continue;
            }
            let saved = checkpoints.load_checkpoint(&id(partition)).await?;
            let position = saved.map(|saved| saved.position).unwrap_or_default();
            partition.position = Some(position);
            if let Some(filter) = filter.filter(|_| position < head) {
                let since = waiting_since(&*self.store, filter, position).await?;
                partition.lag_seconds = Some(since.map_or(0.0, |since| age(since, now)));
            }
        }
        let version = (&*subscription.name, subscription.version);
        subscription.paused = Pause::load(&*self.store, version).await?;
        let parked =
            checkpoints.load_parked(&model, &ParkedQuery::first(MAX_LISTED_PARKED)).await?;
        subscription.parked_keys = usize::try_from(parked.total).ok();
        subscription.parked = parked.keys.into_iter().map(listed).collect();
        Ok(())
    }
}

/// Computes the values that follow from position and head.
fn measure(partition: &mut PartitionStatus, head: GlobalPosition) {
    let Some(position) = partition.position else { return };
    let lag = head.0.saturating_sub(position.0);
    partition.lag_events = Some(lag);
    // At the head nothing is unprocessed, even if the last observation says otherwise.
    if lag == 0 {
        partition.lag_seconds = Some(0.0);
    }
    let rate = partition.events_per_second.filter(|rate| lag > 0 && *rate > 0.0);
    partition.seconds_left = rate.map(|rate| lag as f64 / rate);
}

fn unknown(name: &str, version: u32) -> SubscriptionStatus {
    SubscriptionStatus {
        name: name.to_owned(),
        version,
        serves: None,
        is_in_this_program: false,
        paused: None,
        partitions: Vec::new(),
        parked_keys: None,
        parked: Vec::new(),
    }
}

/// Returns the status of a version that this program does not have.
fn elsewhere(name: &str, version: u32, partitions: u32) -> SubscriptionStatus {
    let partitions = (0..partitions).map(PartitionStatus::unknown).collect();
    SubscriptionStatus { partitions, ..unknown(name, version) }
}

fn listed(parked: ParkedKey) -> ParkedStatus {
    ParkedStatus {
        key: parked.key,
        partition: parked.partition,
        position: parked.position,
        event: parked.event,
        reason: parked.reason,
        attempts: parked.attempts,
        since: parked.since,
        queued: parked.waiting,
        more_queued: parked.unlisted_from.is_some(),
    }
}
