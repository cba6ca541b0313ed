//! Snapshots: the newest of each stream.

use async_trait::async_trait;

use super::MemoryStore;
use crate::error::StoreError;
use crate::event::StreamId;
use crate::store::contract::{Snapshot, SnapshotStore};

#[async_trait]
impl SnapshotStore for MemoryStore {
    async fn load_snapshot(&self, stream: &StreamId) -> Result<Option<Snapshot>, StoreError> {
        Ok(self.snapshots().get(stream).cloned())
    }

    async fn save_snapshot(&self, snapshot: Snapshot) -> Result<(), StoreError> {
        let mut snapshots = self.snapshots();
        let kept = snapshots.get(&snapshot.stream);
        // Snapshots are saved in the background, so an older one may arrive after a newer one.
        if kept.is_none_or(|kept| kept.version < snapshot.version) {
            snapshots.insert(snapshot.stream.clone(), snapshot);
        }
        Ok(())
    }
}
