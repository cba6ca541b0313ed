//! Handles of running followers: what status, shutdown and operations need of each of them.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tracing::warn;

use super::membership::Membership;
use super::{PartitionProgress, Progress};
use crate::event::RecordedEvent;
use crate::store::contract::{CheckpointStore, Filter};

/// A running read model, projection or reaction, of any type.
#[async_trait]
pub(crate) trait FollowerControl: Any + Send + Sync {
    /// Partitions of this follower.
    fn followers(&self) -> &Followers;

    /// Name, without the version.
    fn name(&self) -> &'static str {
        self.followers().name
    }

    fn version(&self) -> u32 {
        self.followers().version
    }

    /// Name under which its partitions are stored, such as `balance@1`.
    fn versioned_name(&self) -> String {
        format!("{}@{}", self.name(), self.version())
    }

    /// Events that it follows.
    fn filter(&self) -> &Filter {
        &self.followers().filter
    }

    /// Progress of each partition, by number.
    fn partitions(&self) -> Vec<Progress> {
        self.followers().progress.iter().map(|partition| partition.now()).collect()
    }

    /// The store of its checkpoints and parked keys, if that is not the application's.
    fn checkpoints(&self) -> Option<&dyn CheckpointStore> {
        None
    }

    /// There are requests for parked keys, so that an owner that looks seldom looks now.
    fn requested(&self) {}

    /// Stops following, saves what is not saved, and ends. What could not be saved in time is
    /// applied again after the next start.
    async fn flush_and_stop(&self) {
        self.followers().stop().await;
    }
}

/// Checks that an event belongs to a key, or that its keys are unknown.
pub(crate) type Concerns = Box<dyn Fn(&Arc<RecordedEvent>, &str) -> bool + Send + Sync>;

/// The partitions of one follower in this process. They stop when this is dropped.
pub(crate) struct Followers {
    pub(crate) name: &'static str,
    pub(crate) version: u32,
    pub(crate) filter: Filter,
    pub(crate) progress: Vec<Arc<PartitionProgress>>,
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) membership: Membership,
    pub(crate) stop_within: Duration,
    /// True if it sends commands: then it stops before no more are admitted.
    pub(crate) sends_commands: bool,
    /// True if the keys of its commands follow from the events that it follows.
    pub(crate) derives_keys: bool,
    /// Checks that an event belongs to a key. Present if it may handle events again: what it did with
    /// them is not kept in the database.
    pub(crate) replays: Option<Concerns>,
}

impl Followers {
    /// Stops every partition, and waits a limited time for their ends.
    pub(crate) async fn stop(&self) {
        self.stop.send_replace(true);
        let deadline = Instant::now() + self.stop_within;
        // If this takes too long the other members learn of it when the membership expires.
        let _ = timeout_at(deadline, self.membership.leave()).await;
        for partition in &self.progress {
            if timeout_at(deadline, partition.ended()).await.is_err() {
                let Progress { applied, saved, .. } = partition.now();
                warn!(partition = %partition.id(), %applied, %saved, "did not stop in time; what is not saved is applied again by the next owner");
            }
        }
    }
}

impl FollowerControl for Followers {
    fn followers(&self) -> &Followers {
        self
    }
}
