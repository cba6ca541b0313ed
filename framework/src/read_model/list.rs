//! Lists of documents, on an owner and on a standby alike: read from the store, once it is far enough.
//!
//! An owner is asked to save at once, so that the store holds what its memory answers. Checkpoints
//! and documents of a page come from one snapshot, so the page names exactly the positions it
//! reflects; and none is older than what a read in this process has answered before. A page may be
//! large, so while it would be too old, only checkpoints are read.

use std::cmp::max;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::warn;

use super::actor::Order;
use super::encoding::parse;
use super::handle::{Inner, Partition, ReadModelHandle};
use super::{DocumentPage, ReadModel};
use crate::backoff::Backoff;
use crate::error::ReadError;
use crate::event::GlobalPosition;
use crate::store::contract::{DocumentRange, PartitionId, Store, StoredPage};

/// Backoff between looks at the store.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(2), Duration::from_millis(25));

impl<M: ReadModel> ReadModelHandle<M> {
    /// A page of documents, each partition at or after a position; waits at most `within` for that.
    ///
    /// # Errors
    /// [`ReadError`]; `NotYet` if the wait ends first.
    pub(crate) async fn list(
        &self,
        store: &dyn Store,
        range: &DocumentRange,
        after: GlobalPosition,
        within: Duration,
    ) -> Result<DocumentPage<M>, ReadError> {
        let Inner { partitions, reads, .. } = self.inner();
        let permit = Arc::clone(reads).try_acquire_owned();
        let _permit = permit.map_err(|_| ReadError::Overloaded(M::NAME))?;
        let model = super::start::versioned_name::<M>();
        let wanted: Vec<_> = partitions.iter().map(|p| max(after, p.answers_from())).collect();
        let began = Instant::now();
        loop {
            let page = store.list_documents(&model, range).await?;
            let reached = reached(&page, partitions.len());
            if wanted.iter().zip(&reached).all(|(wanted, at)| at >= wanted) {
                return Ok(documents(page, &reached));
            }
            drop(page);
            // All at once first, so that none saves only after the one before it.
            for (partition, (wanted, at)) in partitions.iter().zip(wanted.iter().zip(&reached)) {
                if at < wanted {
                    partition.save_now(*wanted)?;
                }
            }
            for (number, (wanted, at)) in wanted.iter().zip(reached).enumerate() {
                let id = PartitionId { model: model.clone(), number: number as u32 };
                self.wait_saved(store, &id, (*wanted, at), (began, within)).await?;
            }
        }
    }

    /// Waits until the checkpoint of a partition, which is at `reached`, has the position `wanted`.
    async fn wait_saved(
        &self,
        store: &dyn Store,
        id: &PartitionId,
        (wanted, mut reached): (GlobalPosition, GlobalPosition),
        (began, within): (Instant, Duration),
    ) -> Result<(), ReadError> {
        let partition = &self.inner().partitions[id.number as usize];
        let mut backoff = BACKOFF;
        while reached < wanted {
            partition.save_now(wanted)?;
            let waited = began.elapsed();
            if waited >= within {
                let paused = partition.progress.pause_in_words();
                return Err(ReadError::NotYet { model: M::NAME, wanted, reached, waited, paused });
            }
            sleep(backoff.delay().min(within - waited)).await;
            let stored = store.load_checkpoint(id).await?;
            reached = stored.map_or(reached, |checkpoint| checkpoint.position);
        }
        Ok(())
    }
}

impl<M: ReadModel> Partition<M> {
    /// The least position that a list may show: what reads have answered, in memory or stored.
    fn answers_from(&self) -> GlobalPosition {
        max(self.progress.answers_from(), self.progress.reached())
    }

    /// Has an owner save once it has folded up to `wanted`. A save before that would not help.
    ///
    /// # Errors
    /// The partition halted or stopped, so waiting is no use.
    fn save_now(&self, wanted: GlobalPosition) -> Result<(), ReadError> {
        if !self.addr.connected() || !self.progress.is_running() {
            return Err(self.ended());
        }
        if self.progress.reached() >= wanted {
            self.addr.do_send(Order::SaveNow);
        }
        Ok(())
    }
}

/// Position of each partition, by number.
fn reached(page: &StoredPage, partitions: usize) -> Vec<GlobalPosition> {
    let mut reached = vec![GlobalPosition::ZERO; partitions];
    for (number, position) in &page.checkpoints {
        if let Some(reached) = reached.get_mut(*number as usize) {
            *reached = *position;
        }
    }
    reached
}

/// A page without the documents that do not decode. An error in their place would keep every caller
/// from all that comes after them.
fn documents<M: ReadModel>(page: StoredPage, reached: &[GlobalPosition]) -> DocumentPage<M> {
    let StoredPage { documents: stored, parked, next, .. } = page;
    let (mut documents, mut unreadable) = (Vec::with_capacity(stored.len()), Vec::new());
    for (key, body) in stored {
        match parse::<M>(&key, &body) {
            Ok(document) => documents.push((key, document.into_inner())),
            Err(error) => {
                if unreadable.is_empty() {
                    warn!(%error, "a list leaves out documents that do not decode; this is the first");
                }
                unreadable.push(key);
            }
        }
    }
    DocumentPage {
        documents,
        parked,
        unreadable,
        next,
        position: reached.iter().copied().min().unwrap_or_default(),
        up_to: reached.iter().copied().max().unwrap_or_default(),
    }
}
