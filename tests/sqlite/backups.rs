//! Backups under load, and what a restore leaves.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use actum::{AppendOutcome, EventStore, Filter, GlobalPosition, PageLimit, SqliteStore};

use super::append;
use super::identity::sh;
use crate::child::Bank;
use crate::directory::Directory;

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_load_is_one_moment_of_the_log_and_overwrites_nothing() {
    let directory = Directory::new();
    let store = SqliteStore::open(&directory.file("bank.db")).await.unwrap();
    let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let appending = (0..4).map(|stream| {
        let (store, stop, acknowledged) = (store.clone(), stop.clone(), acknowledged.clone());
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let outcome = store.append(vec![append(&stream.to_string(), 2000)]).await.remove(0);
                let AppendOutcome::Committed(committed) = outcome else { panic!("{outcome:?}") };
                acknowledged.fetch_max(committed.position.0, Ordering::Relaxed);
            }
        })
    });
    let appending: Vec<_> = appending.collect();
    let mut last = 0;
    for n in 0..3 {
        while acknowledged.load(Ordering::Relaxed) < last + 20 {
            tokio::task::yield_now().await;
        }
        let known = acknowledged.load(Ordering::Relaxed);
        let to = directory.file(&format!("backup-{n}.db"));
        let backup = store.backup(&to).await.unwrap();
        assert!(backup.head.0 >= known, "{backup:?} lacks what was acknowledged before: {known}");
        assert_eq!(backup.identity, store.identity());
        last = backup.head.0;
        let before = std::fs::read(&to).unwrap();
        let refused = store.backup(&to).await.unwrap_err().to_string();
        assert!(refused.contains("never overwritten"), "{refused}");
        assert!(std::fs::read(&to).unwrap() == before, "a backup was overwritten");
        let copy = SqliteStore::open(&to).await.unwrap();
        let page = copy
            .read_all(GlobalPosition::ZERO, &Filter::all(), PageLimit::events(100_000))
            .await
            .unwrap();
        assert_eq!(page.events.len() as u64, backup.head.0);
        copy.close().await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    for task in appending {
        task.await.unwrap();
    }
    let left = std::fs::read_dir(directory.path()).unwrap();
    let is_partial = |name: &std::ffi::OsString| name.to_string_lossy().contains("partial");
    assert!(!left.map(|file| file.unwrap().file_name()).any(|name| is_partial(&name)));
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_restored_log_has_a_greater_epoch_and_no_side_files() {
    let directory = Directory::new();
    let (path, backup) = (directory.file("bank.db"), directory.file("backup.db"));
    let store = SqliteStore::open(&path).await.unwrap();
    store.append(vec![append("1", 10), append("2", 10)]).await;
    store.backup(&backup).await.unwrap();
    store.append(vec![append("3", 10)]).await;
    let epoch = store.identity().epoch;
    let refused = SqliteStore::restore(&backup, &path).await.unwrap_err().to_string();
    assert!(refused.contains("open already"), "{refused}");
    store.close().await.unwrap();
    drop(store);
    // As a killed process would leave them.
    sh(
        &directory,
        "echo x > bank.db-wal; echo x > bank.db-shm; echo x > bank.db.sums@2; echo x > bank.db.txt",
    );
    for round in 1..3 {
        let restored = SqliteStore::restore(&backup, &path).await.unwrap();
        assert_eq!((restored.head, restored.identity.epoch), (GlobalPosition(2), epoch + round));
    }
    sh(
        &directory,
        "test ! -e bank.db-wal; test ! -e bank.db-shm; test ! -e bank.db.sums@2; test -e bank.db.txt",
    );
    let store = SqliteStore::open(&path).await.unwrap();
    assert_eq!(
        (store.head().await.unwrap(), store.identity().epoch),
        (GlobalPosition(2), epoch + 2)
    );
    store.append(vec![append("4", 10)]).await;
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_restore_that_cannot_be_done_changes_nothing() {
    let directory = Directory::new();
    let path = directory.file("bank.db");
    let store = SqliteStore::open(&path).await.unwrap();
    store.append(vec![append("1", 10)]).await;
    store.backup(directory.file("with-log.db")).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    sh(
        &directory,
        "echo hello > note.txt; : > empty.db; cp with-log.db cut.db; truncate -s 20000 cut.db",
    );
    sh(&directory, "head -c 5000 /dev/zero > with-log.db-wal");
    let before = std::fs::read(&path).unwrap();
    for backup in ["note.txt", "empty.db", "cut.db", "with-log.db", "missing.db"] {
        let refused = SqliteStore::restore(directory.file(backup), &path).await;
        assert!(refused.is_err(), "{backup} was restored");
        assert!(std::fs::read(&path).unwrap() == before, "{backup}: the log was changed");
        SqliteStore::open(&path).await.unwrap().close().await.unwrap();
        sh(&directory, "cp bank.db present");
        let _ = std::fs::copy(directory.file("present"), &path);
        std::fs::write(&path, &before).unwrap();
    }
    // A restore that was interrupted is repeated before anything else.
    sh(&directory, "cp bank.db bank.db.restoring; rm with-log.db-wal");
    let refused = super::refusal(&path).await;
    assert!(refused.contains("restore again"), "{refused}");
    SqliteStore::restore(directory.file("with-log.db"), &path).await.unwrap();
    SqliteStore::open(&path).await.unwrap();
}

/// The command of the bank with these arguments.
fn bank(arguments: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_bank-process")).args(arguments).output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bank_is_backed_up_while_it_runs_and_its_read_side_comes_right_after_a_restore() {
    let directory = Directory::new();
    let (path, backup) = (directory.file("bank.db"), directory.file("backup.db"));
    let running = Bank::start(&path, &[]).unwrap();
    let mut client = running.client();
    let body = r#"{"id":"1","owner":"Ada","currency":"EUR"}"#;
    assert_eq!(client.post("/accounts", body, Some("open")).unwrap().status, 201);
    let mut credit = |n: usize| {
        let answer = client.post("/accounts/1/credit", r#"{"amount":1}"#, Some(&n.to_string()));
        assert_eq!(answer.unwrap().status, 200);
    };
    (0..10).for_each(&mut credit);
    let output = bank(&["backup", &backup, "--store", &path]);
    assert!(output.status.success(), "{output:?}");
    (10..15).for_each(&mut credit);
    assert_eq!(client.get("/accounts/1/statement?after=16").unwrap().status, 200);
    let output = bank(&["restore", &backup, "--store", &path]);
    assert!(!output.status.success(), "a log in use was replaced");
    drop(running); // killed, so the log's last events are in the side files
    let output = bank(&["restore", &backup, "--store", &path]);
    assert!(output.status.success(), "{output:?}");
    let restored = Bank::start(&path, &[]).unwrap();
    let mut client = restored.client();
    assert_eq!(client.get("/accounts/1/balance?after=11").unwrap().body["balance"], 10);
    let answer = client.post("/accounts/1/credit", r#"{"amount":5}"#, Some("new")).unwrap();
    assert_eq!(answer.body["position"], 12);
    let statement = client.get("/accounts/1/statement?after=12").unwrap().body;
    let bookings = statement["bookings"].as_array().unwrap();
    assert_eq!((bookings.len(), &bookings[10]["balance"]), (11, &serde_json::json!(15)));
    let status = restored.operator().get("/status").unwrap().body;
    assert_eq!(status["log"]["epoch"], 2);
    assert!(restored.terminate().success());
}
