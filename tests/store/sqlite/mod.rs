//! Properties of the SQLite store that no other store has: refusals at open, settings, file faults.

mod backups;
mod closing;
mod edges;
pub mod identity;
mod side_files;

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use actum::store::{
    Append, AppendOutcome, EventStore, Filter, NotCommitted, PageLimit, SqliteOptions, SqliteStore,
};
use actum::{Application, GlobalPosition, StartError, StoreError, StreamVersion};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};

use crate::support::directory::Directory;
use crate::support::events;

/// One event of `bytes` bytes for the stream `account-{id}`.
fn append(id: &str, bytes: usize) -> Append {
    let payload = format!("\"{}\"", "x".repeat(bytes));
    events::append("account", id, [events::event("Credited", &payload)])
}

fn quick(path: &str) -> SqliteOptions {
    SqliteOptions::new(path).wait_for_lock(Duration::from_millis(50))
}

/// A connection beside the store, as a shell would open one.
pub async fn raw(path: &str) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(path).busy_timeout(Duration::from_secs(1));
    options.connect().await.unwrap()
}

async fn refusal(path: &str) -> String {
    match quick(path).open().await {
        Ok(_) => panic!("{path} was opened"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_as_it_is() {
    let directory = Directory::new();
    let path = directory.file("notes.txt");
    std::fs::write(&path, "dear diary, this is no database").unwrap();
    let message = refusal(&path).await;
    assert!(message.contains(&path) && message.contains("no SQLite database"), "{message}");
    assert_eq!(std::fs::read(&path).unwrap(), b"dear diary, this is no database");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "files were left beside");
}

#[tokio::test]
async fn a_folder_and_a_missing_folder_are_refused_by_name() {
    let directory = Directory::new();
    let folder = directory.path().to_str().unwrap();
    assert!(refusal(folder).await.contains("folder"));
    let missing = directory.file("none/bank.db");
    let message = refusal(&missing).await;
    assert!(message.contains(&missing) && message.contains("does not exist"), "{message}");
}

#[tokio::test]
async fn another_kind_of_store_is_refused_without_repeating_its_password() {
    let message = refusal("postgres://ada:secret@localhost/bank").await;
    assert!(message.contains("postgres") && !message.contains("secret"), "{message}");
}

#[tokio::test]
async fn a_database_that_is_open_already_is_refused_until_it_is_closed() {
    let directory = Directory::new();
    let path = directory.file("bank.db");
    let store = SqliteStore::open(&path).await.unwrap();
    let message = refusal(&path).await;
    assert!(
        message.contains(&path) && message.contains("open already in this process"),
        "{message}"
    );
    drop(store);
    SqliteStore::open(&format!("sqlite:{path}")).await.unwrap();
}

/// Error of a store whose file was changed in this way. The store leaves the file as it is.
async fn refused_after(done: &'static str) -> String {
    let directory = Directory::new();
    let path = directory.file("bank.db");
    // Closed and not dropped: the writer of a dropped store ends in the background, and would change
    // the file after it was read below.
    SqliteStore::open(&path).await.unwrap().close().await.unwrap();
    let mut connection = raw(&path).await;
    sqlx::query(done).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let before = std::fs::read(&path).unwrap();
    let message = refusal(&path).await;
    assert!(message.contains(&path), "{message}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
    message
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_as_it_is() {
    let newer = "INSERT INTO actum_migrations
                 VALUES (99, 'future', CURRENT_TIMESTAMP, true, x'00', 0)";
    let message = refused_after(newer).await;
    assert!(message.contains("version 99"), "{message}");
}

#[tokio::test]
async fn a_schema_that_no_release_made_is_refused_and_left_as_it_is() {
    let message = refused_after("UPDATE actum_migrations SET checksum = x'00' WHERE version = 1");
    let message = message.await;
    assert!(message.contains("step 1 of its schema"), "{message}");
}

#[tokio::test]
async fn unsafe_settings_are_refused_by_name() {
    let directory = Directory::new();
    for (pragma, value) in [("synchronous", "NORMAL"), ("foreign_keys", "OFF")] {
        let path = directory.file(&format!("{pragma}.db"));
        let opened = quick(&path).pragma(pragma, value).open().await;
        let Err(StartError::Unsafe { setting, place, .. }) = opened else {
            panic!("{pragma} = {value} was accepted")
        };
        assert_eq!((setting, place), (pragma, path));
    }
    let path = directory.file("throw-away.db");
    quick(&path).unsafe_without_sync().open().await.unwrap();
}

#[tokio::test]
async fn events_are_immutable() {
    let directory = Directory::new();
    let path = directory.file("bank.db");
    let store = SqliteStore::open(&path).await.unwrap();
    store.append(vec![append("1", 1)]).await;
    let mut connection = raw(&path).await;
    for change in ["UPDATE events SET payload = '2'", "DELETE FROM events"] {
        let refused = sqlx::query(change).execute(&mut connection).await.unwrap_err();
        assert!(refused.to_string().contains("immutable"), "{refused}");
    }
    let events = store
        .read_stream(&append("1", 1).stream, StreamVersion::ZERO, PageLimit::events(9))
        .await
        .unwrap();
    assert_eq!(events[0].payload, "\"x\"");
}

#[tokio::test]
async fn a_busy_database_refuses_in_time_and_works_again() {
    let directory = Directory::new();
    let path = directory.file("bank.db");
    let options = SqliteOptions::new(&path).busy_timeout(Duration::from_millis(100));
    let store = options.open().await.unwrap();
    let mut holder = raw(&path).await;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut holder).await.unwrap();
    let outcome = store.append(vec![append("1", 1)]).await.remove(0);
    let AppendOutcome::NotCommitted(NotCommitted::Unavailable(reason)) = outcome else {
        panic!("{outcome:?}")
    };
    assert!(reason.contains(&path) && reason.contains("another program"), "{reason}");
    sqlx::query("ROLLBACK").execute(&mut holder).await.unwrap();
    let outcome = store.append(vec![append("1", 1)]).await.remove(0);
    assert!(matches!(outcome, AppendOutcome::Committed(c) if c.position.0 == 1), "{outcome:?}");
}

#[tokio::test]
async fn a_rogue_writer_meets_the_primary_key_and_the_store_goes_on() {
    let directory = Directory::new();
    let path = directory.file("bank.db");
    let store = SqliteStore::open(&path).await.unwrap();
    store.append(vec![append("1", 1)]).await;
    let mut rogue = raw(&path).await;
    let insert = "INSERT INTO events SELECT position + 1, stream_type, stream_id, version + 1,
                  randomblob(16), event_type, schema_version, payload, metadata, recorded_at
                  FROM events";
    sqlx::query(insert).execute(&mut rogue).await.unwrap();
    let outcome = store.append(vec![append("1", 1)]).await.remove(0);
    let AppendOutcome::Committed(committed) = outcome else { panic!("{outcome:?}") };
    assert_eq!((committed.position, committed.version), (GlobalPosition(3), StreamVersion(3)));
}

#[tokio::test]
async fn a_corrupt_row_is_named_by_position_and_stream() {
    let directory = Directory::new();
    let path = directory.file("bank.db");
    let store = SqliteStore::open(&path).await.unwrap();
    store.append((1..=5).map(|n| append(&n.to_string(), 3)).collect()).await;
    let mut connection = raw(&path).await;
    sqlx::query("DROP TRIGGER events_are_not_updated").execute(&mut connection).await.unwrap();
    for broken in ["CAST(x'22ff22' AS TEXT)", "'{\"cut'"] {
        let change = format!("UPDATE events SET payload = {broken} WHERE position = 3");
        sqlx::query(sqlx::AssertSqlSafe(change)).execute(&mut connection).await.unwrap();
        let stream = append("3", 1).stream;
        let read = store.read_stream(&stream, StreamVersion::ZERO, PageLimit::events(9)).await;
        let Err(StoreError::Corrupt { place, .. }) = read else { panic!("{read:?}") };
        assert!(place.contains("position 3") && place.contains("account-3"), "{place}");
        let read = store.read_all(GlobalPosition::ZERO, &Filter::all(), PageLimit::events(9)).await;
        let Err(StoreError::Corrupt { place, .. }) = read else { panic!("{read:?}") };
        assert!(place.contains("position 3"), "{place}");
        let other = store
            .read_stream(&append("4", 1).stream, StreamVersion::ZERO, PageLimit::events(9))
            .await;
        assert_eq!(other.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_missing_event_is_noticed_by_every_reader() {
    let directory = Directory::new();
    let path = directory.file("bank.db");
    let store = SqliteStore::open(&path).await.unwrap();
    store.append((0..5).map(|_| append("1", 3)).collect()).await;
    let mut connection = raw(&path).await;
    sqlx::query("DROP TRIGGER events_are_not_deleted").execute(&mut connection).await.unwrap();
    let delete = "DELETE FROM events WHERE position = 3";
    sqlx::query(delete).execute(&mut connection).await.unwrap();
    let filtered = Filter { aggregate_types: vec!["nothing".into()] };
    for filter in [Filter::all(), filtered] {
        let read = store.read_all(GlobalPosition::ZERO, &filter, PageLimit::events(9)).await;
        assert!(matches!(read, Err(StoreError::Hole { after: 2, found: 4, .. })), "{read:?}");
    }
    let read =
        store.read_stream(&append("1", 1).stream, StreamVersion::ZERO, PageLimit::events(9)).await;
    assert!(matches!(read, Err(StoreError::Hole { after: 2, found: 4, .. })), "{read:?}");
}

/// A file system of 3 MB, mounted for one test.
struct SmallDisk(Directory);

impl SmallDisk {
    fn mount() -> Self {
        let disk = Self(Directory::new());
        disk.run("mount", &["-t", "tmpfs", "-o", "size=3m", "tmpfs"]);
        disk
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let path = self.0.path().to_str().unwrap();
        let status = Command::new(program).args(arguments).arg(path).status().unwrap();
        assert!(status.success(), "{program} {arguments:?} {path}: {status}");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test]
#[ignore = "mounts a file system, needs root: run scripts/test"]
async fn a_full_disk_refuses_whole_appends_serves_reads_and_resumes() {
    let disk = SmallDisk::mount();
    let path = disk.0.file("bank.db");
    let store = SqliteStore::open(&path).await.unwrap();
    let app = Application::builder(store.clone()).start().await.unwrap();
    let mut stored = 0;
    let reason = loop {
        let appends = (0..5).map(|_| append("1", 20_000)).collect();
        let appended = tokio::time::timeout(Duration::from_secs(20), store.append(appends));
        let outcomes = appended.await.expect("the store did not settle what a full disk left open");
        let committed = |o: &AppendOutcome| matches!(o, AppendOutcome::Committed(_));
        let count = outcomes.iter().filter(|o| committed(o)).count();
        assert!(count == 0 || count == 5, "a batch was stored in part: {outcomes:?}");
        stored += count;
        if let Some(AppendOutcome::NotCommitted(NotCommitted::Unavailable(reason))) =
            outcomes.into_iter().next()
        {
            break reason;
        }
    };
    assert!(reason.contains("full") && reason.contains(&path), "{reason}");
    assert!(stored > 0);
    let trouble = store.info().trouble.expect("the last commit failed, and nothing tells");
    assert!(trouble.contains("full"), "{trouble}");
    assert!(!app.readiness().ready && app.operations().status().await.log.trouble == Some(trouble));
    let page = store
        .read_all(GlobalPosition::ZERO, &Filter::all(), PageLimit::events(1000))
        .await
        .unwrap();
    assert_eq!(page.events.len(), stored);
    disk.run("mount", &["-o", "remount,size=30m"]);
    // Without any append, the store notices that it can write again.
    let recovered = async {
        while store.info().trouble.is_some() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), recovered).await.expect("it is still in trouble");
    assert!(app.readiness().ready, "{:?}", app.readiness());
    let outcome = store.append(vec![append("1", 20_000)]).await.remove(0);
    let AppendOutcome::Committed(committed) = outcome else { panic!("{outcome:?}") };
    assert_eq!(committed.position.0 as usize, stored + 1);
}

#[tokio::test]
#[ignore = "mounts a file system, needs root: run scripts/test"]
async fn a_read_only_file_is_refused_with_its_path() {
    let disk = SmallDisk::mount();
    let path = disk.0.file("bank.db");
    drop(SqliteStore::open(&path).await.unwrap());
    // The store closes its files in its own time; until then the disk refuses.
    let read_only = || {
        let mut mount = Command::new("mount");
        mount.args(["-o", "remount,ro"]).arg(disk.0.path()).status().unwrap().success()
    };
    let mut tries = 0;
    while !read_only() {
        tries += 1;
        assert!(tries < 500, "the store never closed its files");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let message = refusal(&path).await;
    assert!(message.contains(&path) && message.contains("not writable"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn appenders_that_leave_do_not_cancel_the_commit() {
    let directory = Directory::new();
    let store = Arc::new(SqliteStore::open(&directory.file("bank.db")).await.unwrap());
    for _ in 0..50 {
        let appending = Arc::clone(&store);
        let task = tokio::spawn(async move { appending.append(vec![append("1", 10)]).await });
        tokio::task::yield_now().await;
        task.abort();
    }
    let last = store.append(vec![append("1", 10)]).await.remove(0);
    let AppendOutcome::Committed(last) = last else { panic!("{last:?}") };
    let page =
        store.read_all(GlobalPosition::ZERO, &Filter::all(), PageLimit::events(100)).await.unwrap();
    assert_eq!(page.events.len() as u64, last.position.0);
}
