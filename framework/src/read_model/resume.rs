//! Where a read model goes on: its checkpoint, judged by what every follower of the log is judged by.

use crate::error::StoreError;
use crate::store::contract::{Checkpoint, PartitionId, Store};
use crate::subscription::{same_log, verify};

/// Where the owner stands, for one who only watches: of this log, and no more is asked.
pub(super) async fn glimpse(
    store: &dyn Store,
    partition: &PartitionId,
) -> Result<Option<Checkpoint>, StoreError> {
    let checkpoint = store.load_checkpoint(partition).await?;
    same_log(store, &partition.to_string(), checkpoint).map(|_| checkpoint)
}

/// The verified checkpoint; `None` if the partition never saved one.
pub(super) async fn checkpoint(
    store: &dyn Store,
    partition: &PartitionId,
) -> Result<Option<Checkpoint>, StoreError> {
    let checkpoint = store.load_checkpoint(partition).await?;
    verify(store, &partition.to_string(), checkpoint).await.map(|_| checkpoint)
}
