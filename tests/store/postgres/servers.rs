//! Failures of a whole server: crashes, a full disk, a missing standby, a rewound log.

use std::time::Duration;

use actum::store::EventStore;
use actum::{Application, ExpectedVersion, GlobalPosition};
use sqlx::{AssertSqlSafe, Executor};
use uuid::Uuid;

use super::disk::Disk;
use super::ledger::{
    Load, append, assert_holds, committed, keyed, no_answer, one, open, progress, quick, read_log,
    rewind, terminate, unavailable, until, within,
};
use crate::support::counter::{Ask, Count, Counter};
use crate::support::postgres::{Server, database};

const ANY: ExpectedVersion = ExpectedVersion::Any;

/// Crashes the server five times, as a power cut would.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_server_that_crashes_under_load_loses_and_doubles_nothing() {
    let server = Server::private().await;
    let (one, two) = (open(&server.url()).await, open(&server.url()).await);
    let (first, second) = (Load::start(&one, 4), Load::start(&two, 4));
    for _ in 0..5 {
        progress(&one, 10).await;
        server.crash().await;
        until(async || one.info().trouble.is_some()).await;
        server.start().await;
    }
    until(async || one.info().trouble.is_none() && two.info().trouble.is_none()).await;
    let mut done = first.end().await;
    done.extend(second.end().await);
    assert_holds(&read_log(&mut server.connect().await).await, &done);
}

/// The commit waits for a standby that is missing. No retry is acknowledged until the server no
/// longer waits, and then the commit is found.
#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_commit_that_no_standby_has_is_not_acknowledged() {
    let server = Server::private().await;
    let store = open(&server.url()).await;
    let first = keyed("1", ANY, "first");
    committed(one(&store, first.clone()).await);
    server.set("synchronous_standby_names", "nobody").await;
    let asked = tokio::spawn({
        let (store, append) = (store.clone(), keyed("1", ANY, "second"));
        async move { one(&store, append).await }
    });
    let mut root = server.connect().await;
    // It is stored, and found there by the second attempt, which waits in its turn.
    until(async || read_log(&mut root).await.len() == 2).await;
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    until(async || sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut root).await.unwrap() == 1)
        .await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!asked.is_finished(), "acknowledged, and no standby has it");
    server.set("synchronous_standby_names", "").await;
    assert_eq!(committed(within(asked).await.unwrap()).position, GlobalPosition(2));
    assert_eq!(committed(one(&store, first).await).position, GlobalPosition(1));
    assert_eq!(read_log(&mut root).await.len(), 2);
}

/// The application reports an unknown outcome in bounded time.
#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_command_that_hangs_in_its_commit_is_answered_in_time_as_unknown() {
    let server = Server::private().await;
    let store = open(&server.url()).await;
    let settings =
        actum::Settings { answer_within: Duration::from_millis(500), ..actum::Settings::default() };
    let builder = Application::builder(store).settings(settings).aggregate::<Counter>();
    let app = builder.start().await.unwrap();
    app.execute::<Counter>("1", Ask::Add(1)).await.unwrap();
    server.set("synchronous_standby_names", "nobody").await;
    let unknown = within(app.execute::<Counter>("1", Ask::Add(1))).await;
    assert!(matches!(unknown, Err(actum::CommandError::Unknown)), "{unknown:?}");
    server.set("synchronous_standby_names", "").await;
    let mut root = server.connect().await;
    until(async || read_log(&mut root).await.len() == 2).await;
    until(async || app.execute::<Counter>("1", Ask::Add(1)).await.is_ok()).await;
    within(app.shutdown()).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_log_that_was_rewound_is_refused_by_everyone_who_knew_it_longer() {
    let database = database().await;
    let store = open(&database.url()).await;
    for _ in 0..5 {
        committed(one(&store, append("1", ANY)).await);
    }
    let mut root = database.connect().await;
    rewind(&mut root, 3).await;
    let said = "the log ends at 3, it had reached 5: it was rewound";
    until(async || {
        terminate(&mut root, "true").await;
        store.info().trouble.is_some_and(|trouble| trouble.contains(said))
    })
    .await;
    let reason = no_answer(within(store.head()).await);
    assert!(reason.contains(said), "{reason}");
    let asked = tokio::spawn({
        let store = store.clone();
        async move { one(&store, append("1", ANY)).await }
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(read_log(&mut root).await.len(), 3);
    // A process that opens the log now cannot know of the lost events.
    let fresh = open(&database.url()).await;
    assert_eq!(committed(one(&fresh, append("1", ANY)).await).position, GlobalPosition(4));
    drop((store, asked));
}

/// The identity of the log shows that it was exchanged for another log.
#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_log_that_was_exchanged_or_restored_is_refused() {
    let database = database().await;
    let mut root = database.connect().await;
    for (change, said) in [
        ("log_id = gen_random_uuid()", "no longer"),
        ("epoch = epoch + 1", "it was exchanged or restored"),
    ] {
        let store = open(&database.url()).await;
        root.execute(AssertSqlSafe(format!("UPDATE actum.log SET {change}"))).await.unwrap();
        until(async || {
            terminate(&mut root, "true").await;
            store.info().trouble.is_some_and(|trouble| trouble.contains(said))
        })
        .await;
        let fresh = open(&database.url()).await;
        assert_ne!(fresh.info().identity, store.info().identity);
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_read_model_ahead_of_its_log_does_not_start() {
    let database = database().await;
    let start = async || {
        let store = quick(&database.url()).open().await.unwrap();
        Application::builder(store).aggregate::<Counter>().read_model::<Count>().start().await
    };
    let app = start().await.unwrap();
    for _ in 0..3 {
        app.execute::<Counter>("1", Ask::Add(1)).await.unwrap();
    }
    app.read::<Count>("1").after(GlobalPosition(3)).await.unwrap();
    within(app.shutdown()).await;
    drop(app);
    rewind(&mut database.connect().await, 2).await;
    let Err(error) = start().await else { panic!("it started") };
    let message = error.to_string();
    assert!(message.contains("at position 3, the log ends at 2"), "{message}");
}

/// Every acknowledged event is there, every other append is refused, and the next append succeeds
/// once there is space again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_full_disk_of_the_server_refuses_and_recovers() {
    let Some(disk) = Disk::mount(160) else {
        return eprintln!("skipped: nobody but root can mount a small disk");
    };
    let server = Server::below(disk.path()).await;
    let store = open(&server.url()).await;
    // Random, so that it cannot be compressed.
    let payload: String = (0..1 << 15).map(|_| Uuid::now_v7().simple().to_string()).collect();
    let mut large = append("1", ANY);
    large.events[0].payload = format!("\"{payload}\"").into();
    let mut acknowledged = Vec::new();
    disk.fill_up_to(20);
    let reason = loop {
        let mut next = large.clone();
        next.events[0].event_id = Uuid::now_v7();
        match tokio::time::timeout(Duration::from_secs(3), store.append(vec![next.clone()])).await {
            Ok(mut outcomes) => match outcomes.remove(0) {
                actum::store::AppendOutcome::Committed(done) => {
                    acknowledged.push((next.events[0].event_id, done));
                }
                outcome => break unavailable(outcome),
            },
            // The server is gone: in doubt until it is back.
            Err(_) => break "in doubt".into(),
        }
    };
    assert!(reason.contains("disk is full") || reason == "in doubt", "{reason}");
    disk.free();
    server.stop().await;
    server.start().await;
    until(async || store.info().trouble.is_none()).await;
    let small = append("1", ANY);
    until(async || {
        matches!(one(&store, small.clone()).await, actum::store::AppendOutcome::Committed(_))
    })
    .await;
    let log = read_log(&mut server.connect().await).await;
    assert!(!acknowledged.is_empty());
    for (id, done) in acknowledged {
        assert_eq!(log[done.position.0 as usize - 1], id);
    }
}
