//! Backups under load, and what a restore leaves.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use actum::GlobalPosition;
use actum::store::{AppendOutcome, EventStore, Filter, PageLimit, SqliteStore};

use sqlx::{AssertSqlSafe, Connection};

use super::identity::sh;
use super::{append, raw};
use crate::support::child::BankProcess;
use crate::support::directory::Directory;
use crate::support::shim;

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
        assert_eq!(backup.identity, store.info().identity);
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
    let epoch = store.info().identity.epoch;
    let refused = SqliteStore::restore(&backup, &path).await.unwrap_err().to_string();
    assert!(refused.contains("open already"), "{refused}");
    store.close().await.unwrap();
    drop(store);
    // As a killed process would leave them.
    sh(&directory, "echo x > bank.db-wal; echo x > bank.db-shm; echo x > bank.db.txt");
    projection(&directory.file("bank.db.sums@2")).await;
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
        (store.head().await.unwrap(), store.info().identity.epoch),
        (GlobalPosition(2), epoch + 2)
    );
    store.append(vec![append("4", 10)]).await;
    store.close().await.unwrap();
}

/// Makes a file that a store takes for a projection.
async fn projection(path: &str) {
    std::fs::write(path, "").unwrap();
    let mut connection = raw(path).await;
    for table in ["wal_origin", "checkpoints", "sums"] {
        // The names are those above.
        let make = AssertSqlSafe(format!("CREATE TABLE {table} (n INTEGER)"));
        sqlx::query(make).execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();
}

/// An operator copies the log before a restore, and gives the copy any name.
#[tokio::test]
async fn a_restore_deletes_the_projections_of_the_log_and_no_other_file() {
    let directory = Directory::new();
    let path = directory.file("bank.db");
    let store = SqliteStore::open(&path).await.unwrap();
    store.append(vec![append("1", 10)]).await;
    // The copy that is restored has the very name of a projection.
    let backup = directory.file("bank.db.backup@27");
    store.backup(&backup).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    sh(
        &directory,
        "cp bank.db bank.db.before@2026-11-28; cp bank.db bank.db.before@28
         cp bank.db bank.db.Old@1; cp bank.db bank.db.old@01; cp bank.db bank.db.eu@2.db
         echo x > bank.db.notes@1; echo x > bank.db.notes@1-wal
         echo x > bank.db.mail@2026.txt; : > bank.db.lists@3-shm",
    );
    for name in ["sums@1", "sums_of_2@20", "lists@3"] {
        projection(&directory.file(&format!("bank.db.{name}"))).await;
    }
    let kept = [
        "bank.db.backup@27",
        "bank.db.before@2026-11-28",
        "bank.db.before@28",
        "bank.db.eu@2.db",
        "bank.db.mail@2026.txt",
        "bank.db.notes@1",
        "bank.db.notes@1-wal",
        "bank.db.Old@1",
        "bank.db.old@01",
    ];
    let contents = || kept.map(|name| std::fs::read(directory.file(name)).ok());
    let before = contents();
    SqliteStore::restore(&backup, &path).await.unwrap();
    assert!(contents() == before, "a file of the user was changed or deleted");
    let left = std::fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(left, kept.len() + 1, "a projection is left");
}

/// SQLite rolls a journal back into any database that has the journal's name.
#[tokio::test]
async fn the_journal_of_an_interrupted_restore_does_not_get_into_the_next_copy() {
    let directory = Directory::new();
    let (path, backup) = (directory.file("bank.db"), directory.file("backup.db"));
    let store = SqliteStore::open(&path).await.unwrap();
    store.append(vec![append("1", 10), append("2", 10)]).await;
    store.backup(&backup).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    // Cuts the database to one page: magic, records, nonce, pages, bytes of a sector and of a page.
    let mut journal = vec![0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
    journal.extend([0_u32, 0, 1, 512, 4096].iter().flat_map(|number| number.to_be_bytes()));
    journal.resize(512, 0);
    std::fs::write(directory.file("bank.db.restoring-journal"), journal).unwrap();
    std::fs::copy(&backup, directory.file("bank.db.restoring")).unwrap();
    let restored = SqliteStore::restore(&backup, &path).await.unwrap();
    assert_eq!(restored.head, GlobalPosition(2));
    sh(&directory, "test ! -e bank.db.restoring; test ! -e bank.db.restoring-journal");
}

/// Refuses hard links, as exFAT and many network drives do.
const NO_LINKS: &str = r#"
#include <errno.h>
int link(const char *from, const char *to) { errno = EPERM; return -1; }
int linkat(int a, const char *from, int b, const char *to, int flags) { errno = EPERM; return -1; }
"#;

#[tokio::test]
#[ignore = "needs a C compiler: run scripts/test"]
async fn a_backup_needs_no_hard_links() {
    let directory = Directory::new();
    let (path, backup) = (directory.file("bank.db"), directory.file("backup.db"));
    let store = SqliteStore::open(&path).await.unwrap();
    store.append(vec![append("1", 10), append("2", 10)]).await;
    store.close().await.unwrap();
    let shim = shim::compile(&directory, NO_LINKS);
    let make = || bank_with(&shim, &["backup", &backup, "--store", &path]);
    let output = make();
    assert!(output.status.success(), "{output:?}");
    sh(&directory, "test ! -e backup.db.partial");
    let before = std::fs::read(&backup).unwrap();
    assert!(!make().status.success(), "a backup was overwritten");
    assert!(std::fs::read(&backup).unwrap() == before, "a backup was overwritten");
    let copy = SqliteStore::open(&backup).await.unwrap();
    assert_eq!(copy.head().await.unwrap(), GlobalPosition(2));
}

/// Sets the clock to 1969.
const BEFORE_1970: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>
int clock_gettime(clockid_t clock, struct timespec *now) {
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int done = real(clock, now);
    if (done == 0 && clock == CLOCK_REALTIME) now->tv_sec = -1000000;
    return done;
}
"#;

#[tokio::test]
#[ignore = "needs a C compiler: run scripts/test"]
async fn a_log_is_backed_up_and_restored_under_a_clock_before_1970() {
    let directory = Directory::new();
    let (path, backup) = (directory.file("bank.db"), directory.file("backup.db"));
    let store = SqliteStore::open(&path).await.unwrap();
    store.append(vec![append("1", 10)]).await;
    store.close().await.unwrap();
    drop(store);
    let shim = shim::compile(&directory, BEFORE_1970);
    for command in ["backup", "restore"] {
        let output = bank_with(&shim, &[command, &backup, "--store", &path]);
        assert!(output.status.success(), "{output:?}");
    }
    let store = SqliteStore::open(&path).await.unwrap();
    assert_eq!((store.head().await.unwrap(), store.info().identity.epoch), (GlobalPosition(1), 2));
}

/// Zeros in the middle of any page are noticed before the log is replaced, or were in free space.
#[tokio::test]
async fn a_backup_that_is_damaged_inside_is_refused_and_nothing_is_changed() {
    let directory = Directory::new();
    let (path, backup) = (directory.file("bank.db"), directory.file("backup.db"));
    let store = SqliteStore::open(&path).await.unwrap();
    for n in 0..40 {
        store.append(vec![append(&n.to_string(), 20)]).await;
    }
    store.backup(&backup).await.unwrap();
    let log = whole_log(&store).await;
    store.close().await.unwrap();
    drop(store);
    let (whole, before) = (std::fs::read(&backup).unwrap(), std::fs::read(&path).unwrap());
    let (page, damaged) = (4096, directory.file("damaged.db"));
    let mut refusals = 0;
    for place in (page..whole.len()).step_by(page).flat_map(|at| [at, at + 2000, at + 3900]) {
        let mut bytes = whole.clone();
        bytes[place..place + 100].fill(0);
        std::fs::write(&damaged, bytes).unwrap();
        match SqliteStore::restore(&damaged, &path).await {
            Err(error) => {
                let message = error.to_string();
                assert!(message.contains("damaged") || message.contains("malformed"), "{message}");
                assert!(std::fs::read(&path).unwrap() == before, "{place}: the log was changed");
                refusals += 1;
            }
            Ok(_) => {
                let store = SqliteStore::open(&path).await.unwrap();
                assert!(whole_log(&store).await == log, "damage at {place} was restored");
                store.close().await.unwrap();
                drop(store);
                std::fs::write(&path, &before).unwrap();
            }
        }
    }
    assert!(refusals > whole.len() / page, "{refusals} of {} pages", whole.len() / page);
}

async fn whole_log(store: &SqliteStore) -> Vec<Arc<actum::store::RecordedEvent>> {
    let limit = PageLimit::events(10_000);
    store.read_all(GlobalPosition::ZERO, &Filter::all(), limit).await.unwrap().events
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

/// As [`bank`], behind a library that changes calls.
fn bank_with(shim: &str, arguments: &[&str]) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bank-process"));
    command.args(arguments).env("LD_PRELOAD", shim).output().unwrap()
}

/// The command of the bank with these arguments.
fn bank(arguments: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_bank-process")).args(arguments).output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bank_is_backed_up_while_it_runs_and_its_read_side_comes_right_after_a_restore() {
    let directory = Directory::new();
    let (path, backup) = (directory.file("bank.db"), directory.file("backup.db"));
    let running = BankProcess::start(&path, &[]).unwrap();
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
    sh(&directory, "test ! -e bank.db.statement@1; test ! -e bank.db.statement@1-wal");
    let restored = BankProcess::start(&path, &[]).unwrap();
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
