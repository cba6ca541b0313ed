//! The SQLite store at its edges: other names of one file, foreign databases, numbers and keys at
//! the limits, and what a resent batch must not wait for.

use std::future::poll_fn;
use std::os::unix::fs::MetadataExt;
use std::task::Poll;
use std::time::Duration;

use actum::store::{
    Append, AppendOutcome, Checkpoint, CheckpointStore, CheckpointUpdate, DocumentBatch,
    DocumentStore, EventStore, Filter, LeaseStore, NotCommitted, PageLimit, PartitionId,
    ProjectionStore, SqliteOptions, SqliteStore,
};
use actum::{CommandKey, GlobalPosition, StartError, StreamVersion};
use uuid::Uuid;

use super::{append, quick, raw, refusal};
use crate::support::directory::Directory;

/// These documents of this model, under a lease of their own, and a checkpoint after the first event.
async fn batch(store: &SqliteStore, model: &str, documents: &[(String, String)]) -> DocumentBatch {
    let partition = PartitionId::new(model, 0);
    let lasting = Duration::from_secs(600);
    let lease = store.acquire_lease(&partition.to_string(), Uuid::now_v7(), lasting).await;
    let update = CheckpointUpdate {
        partition,
        from: GlobalPosition::ZERO,
        sequence: 1,
        checkpoint: Checkpoint {
            log_id: Uuid::nil(),
            position: GlobalPosition(1),
            event_id: Uuid::nil(),
        },
        parked: vec![],
        work: vec![],
        lease: lease.unwrap().unwrap(),
        is_replay: false,
    };
    DocumentBatch { documents: documents.to_vec(), deleted: vec![], update }
}

/// The locks which the kernel keeps for the processes that have this file open.
fn locks_on(path: &str) -> Vec<String> {
    let inode = format!(":{} ", std::fs::metadata(path).unwrap().ino());
    let locks = std::fs::read_to_string("/proc/locks").unwrap();
    locks.lines().filter(|l| l.contains("POSIX") && l.contains(&inode)).map(Into::into).collect()
}

/// Closing any descriptor of a file drops all locks the process has on it. SQLite's lock on the
/// database is what keeps a visiting shell from removing the log of an open store as it leaves.
#[tokio::test]
async fn a_refused_second_opening_leaves_the_locks_of_the_first() {
    let directory = Directory::new();
    let path = directory.file("bank.db");
    let store = SqliteStore::open(&path).await.unwrap();
    store.append(vec![append("1", 1)]).await;
    assert_eq!(locks_on(&path).len(), 1, "the store has no lock: nothing would be proved");
    assert!(refusal(&path).await.contains("open already in this process"));
    assert_eq!(locks_on(&path).len(), 1, "the lock of the open store is gone");
}

#[tokio::test]
async fn another_name_of_the_file_is_the_same_file() {
    let directory = Directory::new();
    let (path, link) = (directory.file("bank.db"), directory.file("link.db"));
    let _store = SqliteStore::open(&path).await.unwrap();
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let message = refusal(&link).await;
    assert!(message.contains("open already in this process"), "{message}");
}

#[tokio::test]
async fn a_database_of_another_program_is_refused_and_left_as_it_is() {
    let directory = Directory::new();
    let path = directory.file("calendar.db");
    database(&path, "CREATE TABLE events (day TEXT)").await;
    let before = std::fs::read(&path).unwrap();
    let message = refusal(&path).await;
    assert!(message.contains(&path) && message.contains("another program"), "{message}");
    assert!(std::fs::read(&path).unwrap() == before, "the file was changed");
}

/// A database with one executed statement, closed again.
async fn database(path: &str, statement: &'static str) {
    use sqlx::{ConnectOptions, Connection};
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let mut connection = options.connect().await.unwrap();
    sqlx::query(statement).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn an_unsafe_setting_is_refused_before_anything_is_changed() {
    let directory = Directory::new();
    let path = directory.file("own.db");
    database(&path, "CREATE TABLE mine (day TEXT)").await;
    let before = std::fs::read(&path).unwrap();
    for (name, value) in [("synchronous", "OFF"), ("foreign_keys", "OFF"), ("busy_timeout", "0")] {
        let opened = quick(&path).pragma(name, value).open().await;
        assert!(matches!(opened, Err(StartError::Unsafe { setting, .. }) if setting == name));
        assert!(std::fs::read(&path).unwrap() == before, "{name}: the file was changed");
    }
}

#[tokio::test]
async fn reads_after_the_last_possible_number_are_empty() {
    let directory = Directory::new();
    let store = SqliteStore::open(&directory.file("bank.db")).await.unwrap();
    store.append(vec![append("1", 1), append("1", 1)]).await;
    let stream = append("1", 1).stream;
    for after in [3, i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX] {
        let read =
            store.read_stream(&stream, StreamVersion(after), PageLimit::events(9)).await.unwrap();
        assert!(read.is_empty(), "{read:?}");
        for filter in [Filter::all(), Filter { aggregate_types: vec!["account".into()] }] {
            let page =
                store.read_all(GlobalPosition(after), &filter, PageLimit::events(9)).await.unwrap();
            assert_eq!((page.events.len(), page.scanned_to), (0, GlobalPosition(after)));
        }
    }
    for filter in [Filter::all(), Filter { aggregate_types: vec!["account".into()] }] {
        let page = store.read_all(GlobalPosition(1), &filter, PageLimit::events(0)).await.unwrap();
        assert_eq!((page.events.len(), page.scanned_to), (0, GlobalPosition(1)));
    }
}

#[tokio::test]
async fn keys_with_odd_characters_are_found_again() {
    let directory = Directory::new();
    let store = SqliteStore::open(&directory.file("bank.db")).await.unwrap();
    let odd = ["a b", "a  b", " ", "\"'\\", "😀\u{301}", "[1]", "1"];
    let keyed = |id: &str| {
        let key = CommandKey::new(id, b"").unwrap();
        Append { command: Some(key), ..append("1", 1) }
    };
    for replayed in [false, true] {
        for id in odd {
            let outcome = store.append(vec![keyed(id), append("2", 1)]).await.remove(0);
            let AppendOutcome::Committed(committed) = outcome else { panic!("{id:?} {outcome:?}") };
            assert_eq!(committed.replayed, replayed, "{id:?}");
        }
    }
    let documents: Vec<_> = odd.iter().map(|key| (key.to_string(), format!("{key:?}"))).collect();
    store.save_documents(batch(&store, "odd@1", &documents).await).await.unwrap();
    for (key, body) in documents {
        let found = store
            .load_documents(&PartitionId::new("odd@1", 0), std::slice::from_ref(&key))
            .await
            .unwrap()
            .documents;
        assert_eq!(found, [(key, body)]);
    }
}

/// The leases are in memory, and the token of the last step is in the file.
#[tokio::test]
async fn a_store_that_is_opened_again_writes_under_a_greater_token() {
    let directory = Directory::new();
    let path = directory.file("bank.db");
    let mut last = 0;
    for step in 1..4 {
        let store = SqliteStore::open(&path).await.unwrap();
        let mut batch = batch(&store, "sums@1", &[("1".into(), "{}".into())]).await;
        let token = batch.update.lease.token;
        assert!(token > last, "{token} follows {last}");
        (last, batch.update.from) = (token, GlobalPosition(u64::from(step > 1)));
        store.save_documents(batch).await.unwrap();
        drop(store);
    }
}

/// Only a batch whose first commit was in doubt has to be made durable by a checkpoint, and that
/// waits for readers; a doubled id alone must not.
#[tokio::test]
async fn a_doubled_event_id_is_refused_alone_also_while_somebody_reads() {
    let directory = Directory::new();
    let path = directory.file("bank.db");
    let options = SqliteOptions::new(&path).busy_timeout(Duration::from_millis(50));
    let store = options.open().await.unwrap();
    store.append(vec![append("1", 1)]).await;
    let mut reader = raw(&path).await;
    for statement in ["BEGIN", "SELECT count(*) FROM events"] {
        sqlx::query(statement).execute(&mut reader).await.unwrap();
    }
    let first = append("1", 1);
    store.append(vec![first.clone()]).await;
    let doubled = Append { stream: append("2", 1).stream, ..first };
    let appends = vec![append("3", 1), doubled, append("4", 1)];
    let appended = tokio::time::timeout(Duration::from_secs(5), store.append(appends)).await;
    let outcomes = appended.expect("the store waits for a reader it has no business with");
    let stored = |o: &AppendOutcome| matches!(o, AppendOutcome::Committed(_));
    assert!(stored(&outcomes[0]) && stored(&outcomes[2]), "{outcomes:?}");
    let refused = matches!(outcomes[1], AppendOutcome::NotCommitted(NotCommitted::Invalid(_)));
    assert!(refused, "{outcomes:?}");
    assert_eq!(store.head().await.unwrap(), GlobalPosition(4));
}

/// A batch is one transaction, its side writes ride along: one that the database refuses must not
/// take its neighbours with it.
#[tokio::test]
async fn a_refused_side_write_fails_alone() {
    let directory = Directory::new();
    let path = directory.file("bank.db");
    let store = SqliteStore::open(&path).await.unwrap();
    let trigger = "CREATE TRIGGER no BEFORE INSERT ON documents WHEN NEW.model = 'bad@1'
                   BEGIN SELECT RAISE(ABORT, 'not this one'); END";
    sqlx::query(trigger).execute(&mut raw(&path).await).await.unwrap();
    let document = [("1".to_owned(), "{}".to_owned())];
    let good = batch(&store, "good@1", &document).await;
    let bad = batch(&store, "bad@1", &document).await;
    // Queued in one poll while the first append is under way, the rest is one batch.
    let (_, outcomes, good, bad) = tokio::join!(
        store.append(vec![append("1", 1)]),
        store.append(vec![append("1", 1)]),
        store.save_documents(good),
        store.save_documents(bad),
    );
    assert!(matches!(outcomes[0], AppendOutcome::Committed(_)), "{outcomes:?}");
    good.unwrap();
    assert!(bad.unwrap_err().to_string().contains("not this one"));
    assert_eq!(store.load_checkpoint(&PartitionId::new("bad@1", 0)).await.unwrap(), None);
    assert_eq!(
        store
            .load_documents(&PartitionId::new("good@1", 0), &["1".into()])
            .await
            .unwrap()
            .documents
            .len(),
        1
    );
}

#[tokio::test]
async fn the_file_says_what_it_is_unless_its_owner_said_so_first() {
    let directory = Directory::new();
    let path = directory.file("bank.db");
    let shared = directory.file("shared.db");
    database(&shared, "PRAGMA application_id = 7").await;
    for (path, expected) in [(path, 0x6163_746d), (shared, 7)] {
        drop(SqliteStore::open(&path).await.unwrap());
        let mut connection = raw(&path).await;
        let id = sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut connection).await;
        let id: i64 = id.unwrap();
        assert_eq!(id, expected, "{path}");
    }
}

/// The same holds for a read that is running when an application stops: its thread ends with it.
#[test]
fn a_read_that_is_dropped_outside_of_a_runtime_costs_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let directory = Directory::new();
    let store = runtime.block_on(SqliteStore::open(&directory.file("bank.db"))).unwrap();
    runtime.block_on(store.append(vec![append("1", 1)]));
    let filter = Filter::all();
    let mut under_way = 0;
    for _ in 0..100 {
        let mut read = store.read_all(GlobalPosition::ZERO, &filter, PageLimit::events(10));
        let begun = poll_fn(|context| Poll::Ready(read.as_mut().poll(context).is_pending()));
        under_way += u32::from(runtime.block_on(begun));
        drop(read);
    }
    assert!(under_way > 0, "every read was done at once: nothing is proved");
    let read =
        runtime.block_on(store.read_all(GlobalPosition::ZERO, &filter, PageLimit::events(10)));
    assert_eq!(read.unwrap().events.len(), 1);
}

/// Keys from the future, left by a clock that was ahead for a while, do not keep the old ones after
/// them.
#[tokio::test]
async fn keys_that_a_clock_ahead_left_do_not_keep_those_after_them() {
    let directory = Directory::new();
    let path = directory.file("bank.db");
    let store = SqliteStore::open(&path).await.unwrap();
    let keyed = |n: usize| Append {
        command: Some(CommandKey::new(format!("key-{n}"), b"").unwrap()),
        ..append(&n.to_string(), 1)
    };
    store.append((0..900).map(keyed).collect()).await;
    let ahead = "UPDATE commands SET recorded_at = recorded_at + 3600000000 * 24 * 365
                 WHERE number <= 600";
    sqlx::query(ahead).execute(&mut raw(&path).await).await.unwrap();
    let now = time::OffsetDateTime::now_utc() + Duration::from_secs(1);
    let mut rounds = 0;
    while store.prune_commands(now, 100).await.unwrap() {
        rounds += 1;
    }
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM commands")
        .fetch_one(&mut raw(&path).await)
        .await
        .unwrap();
    assert_eq!((rounds, left), (3, 600));
}

/// Two programs read two moments of the run before. As the first one ends, a checkpoint copies what
/// the second one sees, but no mark of that run, because the log holds a later one.
#[tokio::test]
async fn programs_that_read_the_run_before_do_not_stop_the_writing() {
    use sqlx::Connection;
    let directory = Directory::new();
    let path = directory.file("bank.db");
    let options = SqliteOptions::new(&path).busy_timeout(Duration::from_millis(50));
    let store = options.clone().open().await.unwrap();
    let mut readers = Vec::new();
    for _ in 0..2 {
        store.append(vec![append("1", 1)]).await;
        let mut reader = raw(&path).await;
        for statement in ["BEGIN", "SELECT count(*) FROM events"] {
            sqlx::query(statement).execute(&mut reader).await.unwrap();
        }
        readers.push(reader);
    }
    store.append(vec![append("1", 1)]).await;
    assert!(store.close().await.is_err(), "nobody reads: nothing would be proved");
    drop(store);
    let store = options.open().await.unwrap();
    readers.remove(0).close().await.unwrap();
    let checkpoint = sqlx::query("PRAGMA wal_checkpoint(PASSIVE)");
    checkpoint.execute(&mut raw(&path).await).await.unwrap();
    for _ in 0..2 {
        let outcome = store.append(vec![append("1", 1)]).await.remove(0);
        assert!(matches!(outcome, AppendOutcome::Committed(_)), "{outcome:?}");
    }
    assert_eq!(store.info().trouble, None);
}

/// A connection that is dropped is closed, and as the last one is closed, SQLite removes the files
/// beside the database. Nor does a new connection wait for a query.
#[tokio::test]
async fn a_projection_goes_on_after_its_only_connection_was_closed() {
    let directory = Directory::new();
    let store = SqliteStore::open(&directory.file("bank.db")).await.unwrap();
    let projection = store.open_projection("sums", 1).await.unwrap();
    projection.begin_making().await.unwrap().unwrap().commit(None).await.unwrap();
    let partition = PartitionId::new("sums@1", 0);
    let lasting = Duration::from_secs(600);
    let lease = store.acquire_lease(&partition.to_string(), Uuid::now_v7(), lasting).await;
    let lease = lease.unwrap().unwrap();
    for _ in 0..2 {
        drop(projection.begin(&partition, &lease).await.unwrap());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    projection.begin(&partition, &lease).await.unwrap().commit(None).await.unwrap();
    let mut query = projection.read().await.unwrap();
    query.checkpoints(std::slice::from_ref(&partition)).await.unwrap();
    projection.begin(&partition, &lease).await.unwrap().commit(None).await.unwrap();
    drop(projection.begin(&partition, &lease).await.unwrap());
    let began = std::time::Instant::now();
    projection.begin(&partition, &lease).await.unwrap().commit(None).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(3), "it waited for a query");
    query.end().await;
    store.close().await.unwrap();
}
