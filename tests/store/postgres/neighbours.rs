//! Others in the same database: who writes past the rules, holds a lock, sits idle or takes all
//! connections. The log stays whole, and who waits is answered.

use std::time::Duration;

use actum::store::{
    Checkpoint, CheckpointUpdate, DocumentBatch, DocumentStore, EventStore, Filter, LeaseStore,
    PageLimit, PartitionId, PostgresStore,
};
use actum::{ExpectedVersion, GlobalPosition, StoreError};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Executor};
use uuid::Uuid;

use super::ledger::{
    Load, append, assert_holds, committed, no_answer, one, open, quick, read_log, terminate,
    unavailable, until, within,
};
use crate::support::postgres::{Database, database};

const ANY: ExpectedVersion = ExpectedVersion::Any;

/// A log with one event, its store, and a connection that may do anything.
async fn opened() -> (Database, PostgresStore, PgConnection) {
    let database = database().await;
    let store = open(&database.url()).await;
    committed(one(&store, append("1", ANY)).await);
    let root = database.connect().await;
    (database, store, root)
}

async fn read_all(store: &PostgresStore) -> usize {
    store
        .read_all(GlobalPosition::ZERO, &Filter::all(), PageLimit::events(99))
        .await
        .unwrap()
        .events
        .len()
}

/// A document under a checkpoint after the first event.
async fn document(store: &PostgresStore, owner: Uuid) -> DocumentBatch {
    let lease = within(async {
        loop {
            let lease = store.acquire_lease("sums@1/0", owner, Duration::from_secs(60)).await;
            if let Ok(Some(lease)) = lease {
                return lease;
            }
        }
    });
    let (lease, log_id) = (lease.await, store.info().identity.log_id);
    let event_id = Uuid::now_v7();
    let update = CheckpointUpdate {
        partition: PartitionId::new("sums@1", 0),
        from: GlobalPosition::ZERO,
        sequence: 1,
        checkpoint: Checkpoint { log_id, position: GlobalPosition(1), event_id },
        parked: vec![],
        work: vec![],
        lease,
        is_replay: false,
    };
    DocumentBatch { documents: vec![("a".into(), "1".into())], deleted: vec![], update }
}

#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn events_are_changed_by_nobody() {
    let (_database, store, mut root) = opened().await;
    let attempts = [
        ("UPDATE actum.events SET payload = '2'", "events are immutable: no UPDATE"),
        ("DELETE FROM actum.events", "events are immutable: no DELETE"),
        ("TRUNCATE actum.events", "events are immutable: no TRUNCATE"),
        (
            "INSERT INTO actum.events SELECT position + 1, stream_type, stream_id, version + 1,
             gen_random_uuid(), event_type, 1, payload, metadata, recorded_at FROM actum.events",
            "events are written by actum.append alone",
        ),
        ("UPDATE actum.checkpoints SET position = position - 1", "a checkpoint does not go back"),
    ];
    store.save_documents(document(&store, Uuid::now_v7()).await).await.unwrap();
    for (attempt, refused) in attempts {
        let error = root.execute(attempt).await.unwrap_err().to_string();
        assert!(error.contains(refused), "{error}");
    }
    assert_eq!(read_all(&store).await, 1);
    assert_eq!(committed(one(&store, append("1", ANY)).await).position, GlobalPosition(2));
}

/// The worst neighbour knows the trick, and does not hold the lock.
#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_writer_that_goes_around_the_lock_loses_nobody_an_event() {
    let (_database, store, mut root) = opened().await;
    let insert = |position: u64, version: u64| {
        AssertSqlSafe(format!(
            "SELECT set_config('actum.appending', 'yes', true);
             INSERT INTO actum.events SELECT {position}, stream_type, stream_id, {version},
             gen_random_uuid(), event_type, 1, payload, metadata, recorded_at
             FROM actum.events WHERE position = 1"
        ))
    };
    root.execute("BEGIN").await.unwrap();
    root.execute(insert(2, 2)).await.unwrap();
    let mine = tokio::spawn({
        let store = store.clone();
        async move { one(&store, append("2", ANY)).await }
    });
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'transactionid'
                   AND datname = current_database()";
    let waits: i64 = loop {
        let waits = sqlx::query_scalar(waiting).fetch_one(&mut root).await.unwrap();
        if waits > 0 || mine.is_finished() {
            break waits;
        }
    };
    assert_eq!(waits, 1, "the position was given away twice");
    root.execute("COMMIT").await.unwrap();
    assert_eq!(committed(within(mine).await.unwrap()).position, GlobalPosition(3));
    assert_eq!(read_log(&mut root).await.len(), 3);
    // One that leaves a hole is noticed by every reader, by name.
    root.execute(insert(9, 3)).await.unwrap();
    let page = store.read_all(GlobalPosition::ZERO, &Filter::all(), PageLimit::events(99)).await;
    let Err(StoreError::Hole { after: 3, found: 9, .. }) = page else { panic!("{page:?}") };
    let ledgers = Filter { aggregate_types: vec!["ledger".into()] };
    let page = store.read_all(GlobalPosition::ZERO, &ledgers, PageLimit::events(99)).await;
    let Err(StoreError::Hole { after: 3, found: 9, .. }) = page else { panic!("{page:?}") };
}

/// Longer than a statement may take, then shorter.
#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_held_writer_lock_delays_appends_and_nothing_else() {
    let (_database, store, mut root) = opened().await;
    root.execute("SELECT pg_advisory_lock(1633907821, 1)").await.unwrap();
    let reason = unavailable(one(&store, append("1", ANY)).await);
    assert!(reason.contains("see its load and its locks"), "{reason}");
    assert_eq!(read_all(&store).await, 1);
    store.save_documents(document(&store, Uuid::now_v7()).await).await.unwrap();
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { one(&store, append("1", ANY)).await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!waiting.is_finished());
    root.execute("SELECT pg_advisory_unlock(1633907821, 1)").await.unwrap();
    assert_eq!(committed(within(waiting).await.unwrap()).position, GlobalPosition(2));
    assert_eq!(store.info().trouble, None);
}

/// Another session has locked a document. Commands and their reads use other connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn blocked_documents_hold_up_no_command() {
    let (_database, store, mut root) = opened().await;
    let owner = Uuid::now_v7();
    let batch = document(&store, owner).await;
    store.save_documents(batch.clone()).await.unwrap();
    root.execute("BEGIN").await.unwrap();
    root.execute("SELECT FROM actum.documents FOR UPDATE").await.unwrap();
    let mut next = batch;
    next.update.from = GlobalPosition(1);
    next.update.sequence = 2;
    next.update.checkpoint.position = GlobalPosition(2);
    let saving: Vec<_> = (0..8)
        .map(|_| {
            let (store, next) = (store.clone(), next.clone());
            tokio::spawn(async move { store.save_documents(next).await })
        })
        .collect();
    let mut appended = 0;
    while !saving.iter().all(tokio::task::JoinHandle::is_finished) {
        committed(one(&store, append("1", ANY)).await);
        appended += 1;
        assert_eq!(store.head().await.unwrap(), GlobalPosition(1 + appended));
    }
    assert!(appended > 5, "{appended}");
    for saved in saving {
        no_answer(saved.await.unwrap());
    }
    root.execute("ROLLBACK").await.unwrap();
    within(store.save_documents(next.clone())).await.unwrap();
    // One of several savers of the same step succeeds, and the others find it done.
    let racing = (0..8).map(|n: u64| {
        let (store, mut next) = (store.clone(), next.clone());
        next.update.from = GlobalPosition(2);
        next.update.sequence = 3;
        next.update.checkpoint.position = GlobalPosition(3);
        next.update.checkpoint.event_id = Uuid::from_u128(n.into());
        tokio::spawn(async move { store.save_documents(next).await })
    });
    let mut saved = 0;
    for racer in racing.collect::<Vec<_>>() {
        match racer.await.unwrap() {
            Ok(()) => saved += 1,
            Err(StoreError::Checkpoint { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(saved, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn an_idle_transaction_beside_it_changes_nothing() {
    let (database, store, mut root) = opened().await;
    let (mut snapshot, mut locks) = (database.connect().await, database.connect().await);
    snapshot.execute("BEGIN ISOLATION LEVEL SERIALIZABLE").await.unwrap();
    snapshot.execute("SELECT count(*) FROM actum.events").await.unwrap();
    locks.execute("BEGIN; CREATE TABLE mine (); LOCK actum.snapshots").await.unwrap();
    let load = Load::start(&store, 4);
    let other = open(&database.url()).await;
    let (mut head, before) = (other.watch_head(), store.head().await.unwrap());
    within(head.wait_for(|head| head.0 > before.0 + 20)).await.unwrap();
    let mut done = load.end().await;
    let log = read_log(&mut root).await;
    done.push((log[0], actum::Committed::new(actum::StreamVersion(1), GlobalPosition(1), false)));
    assert_holds(&log, &done);
    assert_eq!(read_all(&other).await, done.len().min(99));
    snapshot.execute("COMMIT").await.unwrap();
    locks.execute("COMMIT").await.unwrap();
}

/// No connection is left for readers. Open connections keep working, and the error gives the
/// reason.
#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn without_a_free_connection_reads_are_refused_and_come_back() {
    let (database, store, mut root) = opened().await;
    drop(store);
    let name = format!("{}_few", database.name());
    let role = format!("CREATE ROLE {name} LOGIN IN ROLE actum INHERIT");
    root.execute(AssertSqlSafe(role)).await.unwrap();
    let store = open(&database.url().replace("actum@", &format!("{name}@"))).await;
    committed(one(&store, append("1", ANY)).await);
    root.execute(AssertSqlSafe(format!("ALTER ROLE {name} CONNECTION LIMIT 0"))).await.unwrap();
    committed(one(&store, append("1", ANY)).await);
    let reason = no_answer(store.head().await);
    assert!(reason.contains("too many connections"), "{reason}");
    until(async || {
        terminate(&mut root, "true").await;
        store.info().trouble.is_some_and(|trouble| trouble.contains("too many connections"))
    })
    .await;
    let reason = no_answer(store.head().await);
    assert!(reason.contains("too many connections"), "{reason}");
    root.execute(AssertSqlSafe(format!("ALTER ROLE {name} CONNECTION LIMIT -1"))).await.unwrap();
    committed(one(&store, append("1", ANY)).await);
    until(async || store.info().trouble.is_none() && store.head().await.is_ok()).await;
    assert_eq!(read_log(&mut root).await.len(), 4);
    drop(store);
    let gone = format!("DROP OWNED BY {name}; DROP ROLE {name}");
    root.execute(AssertSqlSafe(gone)).await.unwrap();
}

/// Notifications that are forged, lost, or have no listener.
#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_hint_is_believed_only_as_far_as_the_log_goes() {
    let (database, store, mut root) = opened().await;
    let other = open(&database.url()).await;
    let mut head = store.watch_head();
    for forged in ["99999", "-1", "", "18446744073709551616", "DROP TABLE"] {
        root.execute(AssertSqlSafe(format!("NOTIFY actum, '{forged}'"))).await.unwrap();
    }
    committed(one(&other, append("1", ANY)).await);
    within(head.wait_for(|head| head.0 >= 2)).await.unwrap();
    assert_eq!(*head.borrow(), GlobalPosition(2));
    // Everyone has to connect anew, and finds the log as long as it believes it to be.
    terminate(&mut root, "true").await;
    assert_eq!(committed(one(&store, append("1", ANY)).await).position, GlobalPosition(3));
    until(async || store.info().trouble.is_none() && other.info().trouble.is_none()).await;
    let mut head = other.watch_head();
    within(head.wait_for(|head| head.0 == 3)).await.unwrap();
    committed(one(&store, append("1", ANY)).await);
    within(head.wait_for(|head| head.0 == 4)).await.unwrap();
}

/// Without a listener, polling finds the commit of another process.
#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn without_a_listener_the_log_is_followed_all_the_same() {
    let (database, store, mut root) = opened().await;
    let other = quick(&database.url()).open().await.unwrap();
    for n in 0..5 {
        terminate(&mut root, "query LIKE '%LISTEN%'").await;
        committed(one(&store, append("1", ANY)).await);
        until(async || read_all(&other).await == 2 + n).await;
    }
    assert_eq!(read_log(&mut root).await.len(), 6);
}
