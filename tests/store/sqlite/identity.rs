//! A database is a file and not a path: other names of it, and what happens to the path while the
//! store is open. Files are changed by other processes, as an operator would: a descriptor of this
//! process, once closed, would drop the store's locks.

use std::fs::{File, TryLockError};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use actum::GlobalPosition;
use actum::store::{
    Append, AppendOutcome, EventStore, Filter, NotCommitted, PageLimit, SqliteStore,
};

use sqlx::Connection;

use super::{append, quick, refusal};
use crate::support::child::BankProcess;
use crate::support::directory::Directory;

/// Runs a shell command in the folder.
pub fn sh(directory: &Directory, command: &str) {
    let status = Command::new("sh").arg("-ec").arg(command).current_dir(directory.path()).status();
    assert!(status.unwrap().success(), "{command}");
}

async fn outcome(store: &SqliteStore) -> AppendOutcome {
    let appended = store.append(vec![append("1", 10)]);
    let outcomes = tokio::time::timeout(Duration::from_secs(20), appended).await;
    outcomes.expect("the append was not answered").remove(0)
}

/// The reason why an append was not stored.
async fn refused(store: &SqliteStore, after: &str) -> String {
    match outcome(store).await {
        AppendOutcome::NotCommitted(NotCommitted::Unavailable(reason)) => reason,
        other => panic!("after {after}: {other:?}"),
    }
}

#[tokio::test]
async fn a_database_with_a_second_name_is_refused_and_takes_no_commands() {
    let directory = Directory::new();
    let path = directory.file("bank.db");
    let store = SqliteStore::open(&path).await.unwrap();
    assert!(matches!(outcome(&store).await, AppendOutcome::Committed(_)));
    sh(&directory, "mkdir x; ln bank.db x/other.db");
    let message = refusal(&directory.file("x/other.db")).await;
    assert!(message.contains("x/other.db") && message.contains("hard links"), "{message}");
    let reason = refused(&store, "ln").await;
    assert!(reason.contains(&path) && reason.contains("second name"), "{reason}");
    sh(&directory, "rm x/other.db");
    assert!(matches!(outcome(&store).await, AppendOutcome::Committed(_)), "it did not recover");
    drop(store);
    sh(&directory, "ln bank.db hard.db");
    let message = refusal(&path).await;
    assert!(message.contains("2 names"), "{message}");
}

#[tokio::test]
#[ignore = "mounts a file, needs root: run scripts/test"]
async fn a_database_that_is_mounted_by_itself_is_refused() {
    let directory = Directory::new();
    let (path, other) = (directory.file("bank.db"), directory.file("in a box/bank.db"));
    drop(SqliteStore::open(&path).await.unwrap());
    sh(
        &directory,
        "mkdir 'in a box'; touch 'in a box/bank.db'; mount --bind bank.db 'in a box/bank.db'",
    );
    let message = refusal(&other).await;
    sh(&directory, "umount 'in a box/bank.db'");
    assert!(message.contains(&other) && message.contains("mount the folder"), "{message}");
}

#[tokio::test]
async fn the_lock_is_on_the_database_file_itself() {
    let directory = Directory::new();
    let path = directory.file("bank.db");
    let store = SqliteStore::open(&path).await.unwrap();
    let files = std::fs::read_dir(directory.path()).unwrap();
    let names: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().ends_with(".lock")), "{names:?}");
    let other = File::open(&path).unwrap();
    assert!(matches!(other.try_lock(), Err(TryLockError::WouldBlock)), "another process gets in");
    // Everything that is not the database may go; a second bank is refused all the same.
    let second = BankProcess::start(&path, &[]);
    assert!(second.is_none(), "a second bank opened the database");
    store.close().await.unwrap();
    drop(store);
    // The writer's thread drops its part a moment later.
    let free = async {
        while other.try_lock().is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), free).await.expect("the lock stays");
}

#[tokio::test]
async fn a_database_that_is_gone_from_its_path_takes_no_commands() {
    for (gone, back) in [
        ("rm bank.db", None),
        ("mv bank.db elsewhere.db", Some("mv elsewhere.db bank.db")),
        ("mv bank.db elsewhere.db; cp elsewhere.db bank.db", Some("mv elsewhere.db bank.db")),
        ("mv bank.db elsewhere.db; ln -s elsewhere.db bank.db", Some("mv elsewhere.db bank.db")),
        ("rm bank.db; touch bank.db", None),
        ("truncate -s 0 bank.db", None),
        ("truncate -s 4096 bank.db", None),
        ("cp older.db bank.db", None),
        ("rm bank.db-wal", None),
        ("mv bank.db-wal x; cp x bank.db-wal", Some("mv x bank.db-wal")),
        ("rm bank.db-shm", None),
    ] {
        let directory = Directory::new();
        let path = directory.file("bank.db");
        let store = SqliteStore::open(&path).await.unwrap();
        store.append((0..50).map(|n| append(&n.to_string(), 500)).collect()).await;
        store.close().await.unwrap();
        drop(store);
        sh(&directory, "cp bank.db older.db");
        let store = SqliteStore::open(&path).await.unwrap();
        assert!(matches!(outcome(&store).await, AppendOutcome::Committed(_)), "{gone}");
        assert_eq!(store.info().trouble, None, "{gone}");
        sh(&directory, gone);
        let trouble = store.info().trouble.unwrap_or_else(|| panic!("{gone}: no trouble"));
        assert!(trouble.contains("bank.db"), "{gone}: {trouble}");
        let reason = refused(&store, gone).await;
        assert!(reason.contains("bank.db"), "{gone}: {reason}");
        if let Some(back) = back {
            sh(&directory, back);
            assert!(matches!(outcome(&store).await, AppendOutcome::Committed(_)), "{back}");
            assert_eq!(store.info().trouble, None, "{back}");
        }
    }
}

/// The file is checked before a commit and after it: what was committed into a file that is gone is
/// not acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn no_command_is_acknowledged_that_a_renamed_database_does_not_hold() {
    let directory = Directory::new();
    let path = directory.file("bank.db");
    let store = SqliteStore::open(&path).await.unwrap();
    let writing = store.clone();
    let writer = tokio::spawn(async move {
        let mut acknowledged = 0;
        loop {
            let appends: Vec<Append> = vec![append("1", 10)];
            let appended = tokio::time::timeout(Duration::from_secs(3), writing.append(appends));
            match appended.await.map(|mut outcomes| outcomes.remove(0)) {
                Ok(AppendOutcome::Committed(_)) => acknowledged += 1,
                _ => return acknowledged,
            }
        }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    sh(
        &directory,
        "mv bank.db moved.db; cp moved.db at-the-time.db; cp bank.db-wal at-the-time.db-wal",
    );
    let acknowledged: usize = writer.await.unwrap();
    assert!(acknowledged > 0, "nothing was acknowledged: nothing was proved");
    let copy = SqliteStore::open(&directory.file("at-the-time.db")).await.unwrap();
    let head = copy.head().await.unwrap().0 as usize;
    assert!(head >= acknowledged, "{acknowledged} acknowledged, {head} stored");
}

#[tokio::test]
async fn places_that_are_no_files_are_refused_and_make_none() {
    let directory = Directory::new();
    let inside = |name: &str| directory.file(name);
    for place in [
        "sqlite::memory:".to_owned(),
        ":memory:".to_owned(),
        "sqlite:".to_owned(),
        format!("sqlite:{}?mode=ro", inside("bank.db")),
        format!("{}?mode=memory&cache=shared", inside("bank.db")),
        format!("file:{}", inside("bank.db")),
    ] {
        let Err(error) = quick(&place).open().await else { panic!("{place} was opened") };
        assert!(error.to_string().len() > place.len() + 20, "{error}");
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    assert!(!std::path::Path::new(":memory:").exists());
}

#[tokio::test]
async fn a_new_database_and_its_side_files_belong_to_their_user_alone() {
    let directory = Directory::new();
    let store = SqliteStore::open(&directory.file("bank.db")).await.unwrap();
    store.append(vec![append("1", 1)]).await;
    let mut seen = 0;
    for file in std::fs::read_dir(directory.path()).unwrap() {
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", file.file_name());
        seen += 1;
    }
    assert_eq!(seen, 3, "bank.db, -wal and -shm");
}

/// The first reader is open, and the others are opened when they are needed. SQLite would read the
/// file that is there now with the write-ahead log and the index of the one that was.
#[tokio::test(flavor = "multi_thread")]
async fn no_reader_opens_a_file_that_took_the_place_of_the_database() {
    let directory = Directory::new();
    let path = directory.file("bank.db");
    let store = SqliteStore::open(&path).await.unwrap();
    let write = async || {
        let outcome = outcome(&store).await;
        assert!(matches!(outcome, AppendOutcome::Committed(_)), "{outcome:?}");
    };
    for _ in 0..50 {
        write().await;
    }
    let read = async || {
        let all = PageLimit::events(1000);
        let reads = (0..16).map(|_| {
            let store = store.clone();
            tokio::spawn(
                async move { store.read_all(GlobalPosition::ZERO, &Filter::all(), all).await },
            )
        });
        let mut found = Vec::new();
        for read in reads.collect::<Vec<_>>() {
            found.push(read.await.unwrap());
        }
        found
    };
    sh(&directory, "mv bank.db elsewhere.db; cp elsewhere.db bank.db");
    for found in read().await {
        match found {
            Ok(page) => assert_eq!(page.events.len(), 50),
            Err(error) => assert!(error.to_string().contains("bank.db"), "{error}"),
        }
    }
    sh(&directory, "mv elsewhere.db bank.db");
    // What is in the write-ahead log goes into the database, of which a copy would know nothing.
    let mut other = super::raw(&path).await;
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut other).await.unwrap();
    other.close().await.unwrap();
    for events in 51..80 {
        write().await;
        for found in read().await {
            assert_eq!(found.unwrap().events.len(), events);
        }
    }
    store.close().await.unwrap();
    drop(store);
    let store = SqliteStore::open(&path).await.unwrap();
    assert_eq!(store.head().await.unwrap().0, 79);
}
