//! Documents and checkpoints: promise 5.

use std::time::Duration;

use uuid::Uuid;

use crate::checkpoint::{Advance, Checkpoint, PartitionId};
use crate::document::{DocumentBatch, Store};
use crate::error::StoreError;
use crate::lease::Lease;
use crate::stream::GlobalPosition;

/// Partition 0 of `balance@1`.
pub(super) fn partition() -> PartitionId {
    PartitionId::new("balance@1", 0)
}

/// A step of it to the position `to`, which is its number too.
pub(super) fn batch(
    lease: &Lease,
    from: u64,
    to: u64,
    documents: &[(&str, &str)],
) -> DocumentBatch {
    DocumentBatch {
        documents: documents.iter().map(|(k, b)| ((*k).to_owned(), (*b).to_owned())).collect(),
        advance: Advance {
            partition: partition(),
            from: GlobalPosition(from),
            step: to,
            checkpoint: Checkpoint {
                log_id: Uuid::from_u128(7),
                position: GlobalPosition(to),
                event_id: Uuid::from_u128(to.into()),
            },
            parked: Vec::new(),
            lease: lease.clone(),
        },
    }
}

/// The lease of the partition, for longer than any test takes.
pub(super) async fn lease(store: &impl Store, partition: &PartitionId) -> Lease {
    let lasting = Duration::from_secs(600);
    let granted = store.acquire_lease(&partition.to_string(), Uuid::now_v7(), lasting).await;
    granted.unwrap().unwrap()
}

pub(super) async fn body(store: &impl Store, model: &str, key: &str) -> Option<String> {
    let found = store.load_documents(model, &[key.to_owned()]).await.unwrap();
    found.into_iter().next().map(|(found, body)| {
        assert_eq!(found, key);
        body
    })
}

/// Written, read, overwritten, many at once, apart for each read model.
pub async fn documents_and_checkpoint_are_stored_together(store: impl Store) {
    let lease = lease(&store, &partition()).await;
    assert_eq!(store.load_checkpoint(&partition()).await.unwrap(), None);
    let first = batch(&lease, 0, 3, &[("a", "{\"cents\":1}"), ("b ü'\"", "2")]);
    store.save_documents(first.clone()).await.unwrap();
    assert_eq!(store.load_checkpoint(&partition()).await.unwrap(), Some(first.advance.checkpoint));
    store.save_documents(batch(&lease, 3, 4, &[("a", "{\"cents\":5}")])).await.unwrap();
    assert_eq!(body(&store, "balance@1", "a").await.as_deref(), Some("{\"cents\":5}"));
    assert_eq!(body(&store, "balance@1", "b ü'\"").await.as_deref(), Some("2"));
    assert_eq!(body(&store, "balance@2", "a").await, None);
    assert_eq!(store.load_checkpoint(&PartitionId::new("balance@2", 0)).await.unwrap(), None);
    let keys: Vec<String> = (0..1000).map(|n| format!("key-{n}")).collect();
    let many: Vec<_> = keys.iter().map(|key| (key.as_str(), "0")).collect();
    store.save_documents(batch(&lease, 4, 5, &many)).await.unwrap();
    assert_eq!(store.load_documents("balance@1", &keys).await.unwrap().len(), 1000);
}

/// Of two writers only the one that continues from the stored checkpoint writes.
pub async fn a_writer_with_an_old_checkpoint_stores_nothing(store: impl Store) {
    let lease = lease(&store, &partition()).await;
    store.save_documents(batch(&lease, 0, 3, &[("a", "1")])).await.unwrap();
    for stale in [
        batch(&lease, 0, 5, &[("a", "2")]),
        batch(&lease, 2, 5, &[("a", "2")]),
        batch(&lease, 4, 5, &[]),
    ] {
        let saved = store.save_documents(stale).await;
        assert!(matches!(saved, Err(StoreError::Checkpoint { .. })), "{saved:?}");
    }
    let backwards = store.save_documents(batch(&lease, 3, 2, &[("a", "2")])).await;
    assert!(matches!(backwards, Err(StoreError::Checkpoint { .. })), "{backwards:?}");
    assert_eq!(body(&store, "balance@1", "a").await.as_deref(), Some("1"));
    let checkpoint = store.load_checkpoint(&partition()).await.unwrap().unwrap();
    assert_eq!(checkpoint.position.0, 3);
}

/// A batch whose answer was lost is sent again.
pub async fn the_same_batch_sent_again_changes_nothing(store: impl Store) {
    let lease = lease(&store, &partition()).await;
    store.save_documents(batch(&lease, 0, 3, &[("a", "1")])).await.unwrap();
    store.save_documents(batch(&lease, 0, 3, &[("a", "1")])).await.unwrap();
    assert_eq!(store.load_checkpoint(&partition()).await.unwrap().unwrap().position.0, 3);
}

/// Ten writers believe they continue from the same checkpoint: one does.
pub async fn of_concurrent_writers_one_continues(store: impl Store + Clone) {
    let lease = lease(&store, &partition()).await;
    let writers = (1..=10).map(|writer| {
        let (store, lease) = (store.clone(), lease.clone());
        tokio::spawn(async move {
            let body = writer.to_string();
            store.save_documents(batch(&lease, 0, writer, &[("a", &body)])).await.map(|()| writer)
        })
    });
    let mut saved = Vec::new();
    for writer in writers.collect::<Vec<_>>() {
        saved.extend(writer.await.unwrap());
    }
    let [winner] = saved[..] else { panic!("{saved:?} believe they have saved") };
    assert_eq!(body(&store, "balance@1", "a").await, Some(winner.to_string()));
    let checkpoint = store.load_checkpoint(&partition()).await.unwrap().unwrap();
    assert_eq!(checkpoint.position.0, winner);
}
