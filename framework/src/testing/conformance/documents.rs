//! Tests of promise 5: documents and checkpoints.

use std::time::Duration;

use time::OffsetDateTime;
use uuid::Uuid;

use crate::error::StoreError;
use crate::event::GlobalPosition;
use crate::store::contract::{
    Checkpoint, CheckpointUpdate, DocumentBatch, DocumentsAt, Lease, ParkedChange, ParkedKey,
    PartitionId, Store,
};

/// Returns partition 0 of `balance@1`.
pub(super) fn partition() -> PartitionId {
    PartitionId::new("balance@1", 0)
}

/// Returns a batch that moves the checkpoint to position `to`; that is its sequence number too.
pub(super) fn batch(
    lease: &Lease,
    from: u64,
    to: u64,
    documents: &[(&str, &str)],
) -> DocumentBatch {
    DocumentBatch {
        documents: documents.iter().map(|(k, b)| ((*k).to_owned(), (*b).to_owned())).collect(),
        deleted: Vec::new(),
        update: CheckpointUpdate {
            partition: partition(),
            from: GlobalPosition(from),
            sequence: to,
            checkpoint: Checkpoint {
                log_id: Uuid::from_u128(7),
                position: GlobalPosition(to),
                event_id: Uuid::from_u128(to.into()),
            },
            parked: Vec::new(),
            work: Vec::new(),
            lease: lease.clone(),
            is_replay: false,
        },
    }
}

/// Acquires the lease of the partition, for longer than any test takes.
pub(super) async fn lease(store: &impl Store, partition: &PartitionId) -> Lease {
    let lasting = Duration::from_secs(600);
    let granted = store.acquire_lease(&partition.to_string(), Uuid::now_v7(), lasting).await;
    granted.unwrap().unwrap()
}

pub(super) async fn body(store: &impl Store, model: &str, key: &str) -> Option<String> {
    let any = PartitionId::new(model, 0);
    let found = store.load_documents(&any, &[key.to_owned()]).await.unwrap();
    found.documents.into_iter().next().map(|(found, body)| {
        assert_eq!(found, key);
        body
    })
}

/// Documents are stored, read, overwritten and stored many at once, separately for each read model.
pub async fn documents_and_checkpoint_are_stored_together(store: impl Store) {
    let lease = lease(&store, &partition()).await;
    assert_eq!(store.load_checkpoint(&partition()).await.unwrap(), None);
    let first = batch(&lease, 0, 3, &[("a", "{\"cents\":1}"), ("b ü'\"", "2")]);
    store.save_documents(first.clone()).await.unwrap();
    assert_eq!(store.load_checkpoint(&partition()).await.unwrap(), Some(first.update.checkpoint));
    store.save_documents(batch(&lease, 3, 4, &[("a", "{\"cents\":5}")])).await.unwrap();
    assert_eq!(body(&store, "balance@1", "a").await.as_deref(), Some("{\"cents\":5}"));
    assert_eq!(body(&store, "balance@1", "b ü'\"").await.as_deref(), Some("2"));
    assert_eq!(body(&store, "balance@2", "a").await, None);
    assert_eq!(store.load_checkpoint(&PartitionId::new("balance@2", 0)).await.unwrap(), None);
    let keys: Vec<String> = (0..1000).map(|n| format!("key-{n}")).collect();
    let many: Vec<_> = keys.iter().map(|key| (key.as_str(), "0")).collect();
    store.save_documents(batch(&lease, 4, 5, &many)).await.unwrap();
    assert_eq!(store.load_documents(&partition(), &keys).await.unwrap().documents.len(), 1000);
}

/// One read returns documents, checkpoint and parked keys of one moment, even while others save.
pub async fn documents_are_loaded_with_their_checkpoint_from_one_snapshot(
    store: impl Store + Clone,
) {
    let keys = ["a", "b", "c"].map(str::to_owned);
    let at = store.load_documents(&partition(), &keys).await.unwrap();
    assert_eq!(at, DocumentsAt::default());
    let lease = lease(&store, &partition()).await;
    let saving = async |from: u64, to: u64| {
        let body = to.to_string();
        let mut batch = batch(&lease, from, to, &[("a", &body), ("b", &body)]);
        let since = OffsetDateTime::UNIX_EPOCH;
        let (position, key) = (GlobalPosition(to), "c".to_owned());
        let change = match to % 2 {
            0 => ParkedChange::Release { key },
            _ => ParkedChange::Park(ParkedKey {
                key,
                partition: partition().number,
                position,
                event: "Noted".into(),
                reason: format!("bad {to}"),
                attempts: 1,
                since,
                queue: Vec::new(),
                unlisted_from: None,
                unlisted_sum: 0,
                waiting: 0,
                request: None,
            }),
        };
        batch.update.parked = vec![change];
        store.save_documents(batch).await.unwrap();
    };
    let reading = async {
        let mut last = 0;
        while last < 60 {
            let at = store.load_documents(&partition(), &keys).await.unwrap();
            let position = at.checkpoint.map_or(0, |checkpoint| checkpoint.position.0);
            assert!(position >= last, "{position} after {last}");
            last = position;
            let bodies: Vec<_> = at.documents.iter().map(|(_, body)| body.clone()).collect();
            let expected = if position == 0 { vec![] } else { vec![position.to_string(); 2] };
            assert_eq!(bodies, expected, "at {position}");
            let parked: Vec<_> =
                at.parked.iter().map(|key| (key.position.0, &*key.reason)).collect();
            let reason = format!("bad {position}");
            let expected = if position % 2 == 1 { vec![(position, &*reason)] } else { vec![] };
            assert_eq!(parked, expected, "at {position}");
            // A store in memory never suspends, and the writer runs on the same thread.
            tokio::task::yield_now().await;
        }
    };
    let writing = async {
        for n in 0..60 {
            saving(n, n + 1).await;
        }
    };
    tokio::join!(reading, writing);
    // Keys and partitions of others are not included.
    let at = store.load_documents(&partition(), &keys[1..]).await.unwrap();
    assert_eq!((at.documents.len(), at.parked.len()), (1, 0));
    let other = PartitionId::new(partition().model, partition().number + 1);
    assert_eq!(store.load_documents(&other, &keys).await.unwrap().checkpoint, None);
}

/// Only a writer that continues from the stored checkpoint stores anything; the other is refused.
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

/// A batch whose result was lost is sent again.
pub async fn the_same_batch_sent_again_changes_nothing(store: impl Store) {
    let lease = lease(&store, &partition()).await;
    store.save_documents(batch(&lease, 0, 3, &[("a", "1")])).await.unwrap();
    store.save_documents(batch(&lease, 0, 3, &[("a", "1")])).await.unwrap();
    assert_eq!(store.load_checkpoint(&partition()).await.unwrap().unwrap().position.0, 3);
}

/// Ten writers continue from the same checkpoint: one of them stores its batch.
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

/// Each partition has its own checkpoint and lease; their documents belong to the model.
pub async fn partitions_advance_independently(store: impl Store) {
    let partitions = [0, 1, 12].map(|number| PartitionId::new("balance@1", number));
    for (n, partition) in (1..).zip(&partitions) {
        let lease = lease(&store, partition).await;
        let mut first = batch(&lease, 0, n, &[(&format!("key-{n}"), "1")]);
        first.update.partition = partition.clone();
        store.save_documents(first).await.unwrap();
        let mut foreign = batch(&lease, 0, 9, &[("key-1", "2")]);
        foreign.update.partition.number = 7;
        let saved = store.save_documents(foreign).await;
        let lost = matches!(&saved, Err(StoreError::LeaseLost { name }) if name == "balance@1/7");
        assert!(lost, "the lease of {partition} is none of another: {saved:?}");
    }
    for (n, partition) in (1..).zip(&partitions) {
        let checkpoint = store.load_checkpoint(partition).await.unwrap().unwrap();
        assert_eq!(checkpoint.position, GlobalPosition(n));
    }
    let keys = ["key-1", "key-2", "key-3"].map(str::to_owned);
    assert_eq!(store.load_documents(&partition(), &keys).await.unwrap().documents.len(), 3);
    assert_eq!(body(&store, "balance@1", "key-1").await.as_deref(), Some("1"));
}

/// An operator moves the checkpoint back under a lease of its own. The former owner writes nothing more.
pub async fn a_replay_moves_the_checkpoint_back_and_fences_the_owner(store: impl Store) {
    let owner = lease(&store, &partition()).await;
    store.save_documents(batch(&owner, 0, 5, &[])).await.unwrap();
    store.release_lease(&owner).await.unwrap();
    let operator = lease(&store, &partition()).await;
    let replay = |from, to| {
        let mut batch = batch(&operator, from, to, &[]);
        batch.update.is_replay = true;
        batch
    };
    let stale = store.save_documents(replay(4, 2)).await;
    assert!(matches!(stale, Err(StoreError::Checkpoint { .. })), "{stale:?}");
    // The second one is sent again, because its reply was lost.
    for _ in 0..2 {
        store.save_documents(replay(5, 2)).await.unwrap();
        let checkpoint = store.load_checkpoint(&partition()).await.unwrap().unwrap();
        assert_eq!(checkpoint, replay(5, 2).update.checkpoint);
    }
    let late = store.save_documents(batch(&owner, 5, 6, &[])).await;
    assert!(matches!(late, Err(StoreError::LeaseLost { .. })), "{late:?}");
    store.save_documents(batch(&operator, 2, 3, &[])).await.unwrap();
    let back = store.save_documents(batch(&operator, 3, 2, &[])).await;
    assert!(matches!(back, Err(StoreError::Checkpoint { .. })), "{back:?}");
}
