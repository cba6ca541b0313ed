//! What the thread of one partition has: the projection's tables, its sources, the log.

use std::sync::Arc;

use tokio::sync::watch;

use super::Projection;
use super::start::ProjectorSettings;
use super::term::Term;
use crate::error::StoreError;
use crate::partition::{Duty, End, Held, Owned, Standings};
use crate::store::contract::{Checkpoint, PartitionId, ProjectionDatabase, Store};
use crate::subscription::Tail;
use crate::subscription::sources::EventSources;

/// One partition of a projection.
pub(super) struct Partition<P: Projection> {
    pub(super) id: PartitionId,
    pub(super) store: Arc<dyn Store>,
    pub(super) database: Arc<dyn ProjectionDatabase>,
    pub(super) sources: EventSources<P::Event>,
    pub(super) tail: Tail,
    pub(super) standings: Arc<Standings>,
    pub(super) stopping: watch::Receiver<bool>,
    pub(super) settings: ProjectorSettings,
}

impl<P: Projection> Owned for Partition<P> {
    async fn term(&mut self, held: &mut Held, step: &mut u64, duty: &mut Duty) -> (End, bool) {
        let lease = held.lease.clone();
        let mut term = Term::new(self, &lease, step);
        let end = tokio::select! {
            biased;
            // In the middle of a batch, too: it would come to nothing.
            () = held.lost() => End::Lost,
            end = term.run(duty) => end,
        };
        (end, term.has_moved())
    }

    async fn stored(&self) -> Result<Option<Checkpoint>, StoreError> {
        self.database.load_checkpoint(&self.id).await
    }
}
