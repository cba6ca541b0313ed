//! Where a read model goes on: its checkpoint, judged by what every follower of the log is judged by.

use super::partition;
use crate::checkpoint::Checkpoint;
use crate::document::Store;
use crate::error::StoreError;
use crate::subscription::{same_log, verify};

/// Where the owner stands, for one who only watches: of this log, and no more is asked.
pub(super) async fn glimpse(
    store: &dyn Store,
    name: &str,
) -> Result<Option<Checkpoint>, StoreError> {
    let checkpoint = store.load_checkpoint(&partition(name)).await?;
    same_log(store, name, checkpoint).map(|_| checkpoint)
}

/// The verified checkpoint; `None` if the read model never saved one.
pub(super) async fn checkpoint(
    store: &dyn Store,
    name: &str,
) -> Result<Option<Checkpoint>, StoreError> {
    let checkpoint = store.load_checkpoint(&partition(name)).await?;
    verify(store, name, checkpoint).await.map(|_| checkpoint)
}
