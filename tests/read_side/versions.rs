//! A version whose drop was interrupted: it never becomes active, and it does not start half full.

use std::time::Duration;

use actum::store::{
    Checkpoint, CheckpointUpdate, DocumentBatch, PartitionId, PostgresStore, SqliteStore, Store,
};
use actum::{DocumentRange, GlobalPosition};
use sqlx::Executor;
use uuid::Uuid;

use crate::support::directory::Directory;
use crate::support::postgres::database;

/// Version 1 serves; version 2 has a document and a checkpoint, and is to be dropped.
async fn begin(store: &impl Store) {
    store.register_version("sums", 1, 1).await.unwrap();
    store.register_version("sums", 2, 1).await.unwrap();
    let partition = PartitionId::new("sums@2", 0);
    let lasting = Duration::from_secs(600);
    let lease = store.acquire_lease(&partition.to_string(), Uuid::now_v7(), lasting).await;
    let (log_id, position) = (store.info().identity.log_id, GlobalPosition(1));
    let update = CheckpointUpdate {
        partition,
        from: GlobalPosition::ZERO,
        sequence: 1,
        checkpoint: Checkpoint { log_id, position, event_id: Uuid::now_v7() },
        parked: vec![],
        work: vec![],
        lease: lease.unwrap().unwrap(),
        is_replay: false,
    };
    let documents = vec![("a".into(), "1".into())];
    store.save_documents(DocumentBatch { documents, deleted: vec![], update }).await.unwrap();
}

/// Continues after a process has begun to drop version 2, and crashed.
async fn go_on(store: &impl Store) {
    assert!(!store.serve_version("sums", 1, Some(2)).await.unwrap(), "half of it would serve");
    assert_eq!(store.versions("sums").await.unwrap().len(), 2, "it is known until it is gone");
    let versions = store.register_version("sums", 2, 4).await.unwrap();
    assert_eq!((versions[1].number, versions[1].partitions), (2, 4));
    assert!(versions[0].is_serving && !versions[1].is_serving);
    let begun = store.load_checkpoint(&PartitionId::new("sums@2", 0)).await.unwrap();
    assert_eq!(
        (begun, store.list_documents("sums@2", &DocumentRange::default()).await.unwrap().documents),
        (None, vec![])
    );
    assert!(store.serve_version("sums", 1, Some(2)).await.unwrap());
}

#[tokio::test]
async fn in_sqlite_a_drop_that_was_cut_short_is_finished_first() {
    let directory = Directory::new();
    let path = directory.file("log.db");
    let store = SqliteStore::open(&path).await.unwrap();
    begin(&store).await;
    let mut connection = crate::store::sqlite::raw(&path).await;
    connection.execute("UPDATE versions SET is_dropping = 1 WHERE version = 2").await.unwrap();
    go_on(&store).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn in_postgres_a_drop_that_was_cut_short_is_finished_first() {
    let database = database().await;
    let store = PostgresStore::open(&database.url()).await.unwrap();
    begin(&store).await;
    let mut connection = database.connect().await;
    let mark = "UPDATE actum.versions SET is_dropping = true WHERE version = 2";
    connection.execute(mark).await.unwrap();
    go_on(&store).await;
}
