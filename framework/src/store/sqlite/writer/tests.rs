//! The writer after its connection was lost, also if that was the last one to the database.

use std::path::{Path, PathBuf};
use std::time::Duration;

use uuid::Uuid;

use super::*;
use crate::event::{ExpectedVersion, NewEvent};
use crate::store::contract::AppendOutcome;
use crate::store::sqlite::SqliteStore;

/// A folder that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("actum-{}", Uuid::now_v7()));
        std::fs::create_dir(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// A writer with the only connection to a new log.
async fn alone(folder: &Path) -> SqliteWriter {
    let store = SqliteStore::open(folder.join("log.db").to_str().unwrap()).await.unwrap();
    let (opening, leases) = (Arc::clone(&store.opening), store.leases.clone());
    store.close().await.unwrap();
    let connection = opening.connect().await.unwrap();
    opening.held.note_side_files();
    SqliteWriter::new(opening, connection, leases)
}

/// Has its connection fail, and waits until a dropped one would have been closed.
async fn lose(writer: &mut SqliteWriter) {
    let connection = writer.connection.take().unwrap();
    let failed = Failed { error: sqlx::Error::WorkerCrashed, at: Step::Commit };
    let failure = writer.failed(connection, failed).await;
    assert!(matches!(failure, WriteFailure::Unknown(_)), "{failure:?}");
    writer.opening.trouble.report(failure.reason());
    tokio::time::sleep(Duration::from_millis(200)).await;
}

async fn assert_writes(writer: &mut SqliteWriter) {
    let event = NewEvent {
        event_id: Uuid::now_v7(),
        event_type: "Rung".into(),
        schema_version: 1,
        payload: "null".into(),
        metadata: "{}".into(),
    };
    let append = Append {
        stream: StreamId::new("till", "1").unwrap(),
        expected: ExpectedVersion::Any,
        events: vec![event],
        command: None,
        claims: vec![],
        chained: false,
    };
    let batch = Batch { appends: vec![append], side_writes: vec![] };
    let written = writer.write(&batch, false).await.unwrap();
    assert!(matches!(written.appends[..], [AppendOutcome::Committed(_)]), "{written:?}");
}

#[tokio::test]
async fn a_probe_replaces_a_connection_that_was_lost() {
    let folder = Folder::new();
    let mut writer = alone(&folder.0).await;
    assert_writes(&mut writer).await;
    lose(&mut writer).await;
    assert!(writer.is_troubled());
    writer.probe().await;
    assert_eq!(writer.opening.trouble.now(), None);
    assert_writes(&mut writer).await;
    writer.close().await.unwrap();
}

#[tokio::test]
async fn the_last_connection_is_replaced_although_sqlite_removes_its_files() {
    let folder = Folder::new();
    let mut writer = alone(&folder.0).await;
    for _ in 0..2 {
        assert_writes(&mut writer).await;
        lose(&mut writer).await;
        writer.reopen().await.unwrap();
    }
    assert_writes(&mut writer).await;
    writer.close().await.unwrap();
}
