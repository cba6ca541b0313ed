//! A write-ahead log or a journal beside a database is believed only if it belongs to it. Each
//! refusal leaves all files as they were; each state that a crash leaves is opened.

use actum::store::{EventStore, SqliteStore};
use sqlx::Connection;

use super::identity::sh;
use super::{append, raw, refusal};
use crate::support::child::{BankProcess, read_log};
use crate::support::directory::Directory;

async fn store(directory: &Directory, events: usize) -> SqliteStore {
    let store = SqliteStore::open(&directory.file("bank.db")).await.unwrap();
    write(&store, events).await;
    store
}

async fn write(store: &SqliteStore, events: usize) {
    for _ in 0..events {
        store.append(vec![append("1", 100)]).await;
    }
}

async fn close(store: SqliteStore) {
    store.close().await.unwrap();
}

/// Asserts that the files `bank.db*` in the folder `mixed` are refused because of the named one.
async fn assert_refused(directory: &Directory, because_of: &str) {
    let path = directory.file("mixed/bank.db");
    let content = || {
        let files = std::fs::read_dir(directory.file("mixed")).unwrap();
        let mut files: Vec<_> = files.map(|f| f.unwrap().path()).collect();
        files.sort();
        files.into_iter().map(|f| (std::fs::read(&f).unwrap(), f)).collect::<Vec<_>>()
    };
    let before = content();
    let message = refusal(&path).await;
    assert!(message.contains(because_of) && message.contains("move"), "{message}");
    assert!(content() == before, "a refusal changed a file");
}

/// Asserts that they are opened, and hold so many events.
async fn assert_opened(directory: &Directory, events: u64) {
    let store = SqliteStore::open(&directory.file("mixed/bank.db")).await.unwrap();
    assert_eq!(store.head().await.unwrap().0, events);
    store.close().await.unwrap();
}

#[tokio::test]
async fn an_older_database_beside_a_newer_log_is_refused() {
    let directory = Directory::new();
    close(store(&directory, 3).await).await;
    sh(&directory, "mkdir mixed; cp bank.db older.db");
    let running = store(&directory, 3).await;
    // Exactly the older one plus the log is what the database is made of: only the mark differs.
    sh(&directory, "cp bank.db bank.db-wal mixed; cp bank.db crashed.db");
    assert_opened(&directory, 6).await;
    sh(&directory, "rm mixed/*; cp bank.db-wal mixed; cp older.db mixed/bank.db");
    assert_refused(&directory, "mixed/bank.db-wal").await;
    // The other order: a newer database, a log from before.
    close(running).await;
    let again = store(&directory, 1).await;
    sh(
        &directory,
        "cp bank.db-wal wal-of-now; rm mixed/*; cp wal-of-now mixed/bank.db-wal; cp crashed.db mixed/bank.db",
    );
    assert_refused(&directory, "mixed/bank.db-wal").await;
    close(again).await;
    // The last log of a file that has all of it: a kill between the checkpoint and its end.
    sh(&directory, "cp bank.db mixed/bank.db");
    assert_opened(&directory, 7).await;
}

#[tokio::test]
async fn copies_from_one_run_that_do_not_fit_are_refused() {
    let directory = Directory::new();
    let running = store(&directory, 3).await;
    sh(&directory, "mkdir mixed; cp bank.db base.db; cp bank.db-wal first-wal");
    checkpoint(&directory).await;
    write(&running, 2).await;
    sh(&directory, "cp bank.db later.db; cp bank.db-wal second-wal");
    checkpoint(&directory).await;
    write(&running, 1).await;
    sh(&directory, "cp bank.db last.db; cp bank.db-wal third-wal");
    for (database, log) in [
        ("base.db", "third-wal"),
        ("later.db", "first-wal"),
        ("last.db", "first-wal"),
        ("last.db", "second-wal"),
    ] {
        // The mark of a file that was just checkpointed is the last of that log: both fit.
        if (database, log) == ("later.db", "first-wal")
            || (database, log) == ("last.db", "second-wal")
        {
            continue;
        }
        sh(
            &directory,
            &format!("rm -f mixed/*; cp {database} mixed/bank.db; cp {log} mixed/bank.db-wal"),
        );
        assert_refused(&directory, "mixed/bank.db-wal").await;
    }
    sh(&directory, "rm -f mixed/*; cp last.db mixed/bank.db; cp third-wal mixed/bank.db-wal");
    assert_opened(&directory, 6).await;
    close(running).await;
}

/// As another program's checkpoint would do.
async fn checkpoint(directory: &Directory) {
    let mut connection = raw(&directory.file("bank.db")).await;
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn the_log_of_another_database_is_refused() {
    let (directory, foreign) = (Directory::new(), Directory::new());
    close(store(&directory, 3).await).await;
    let other = store(&foreign, 3).await;
    let theirs = foreign.file("bank.db-wal");
    sh(&directory, &format!("mkdir mixed; cp bank.db mixed; cp {theirs} mixed"));
    assert_refused(&directory, "mixed/bank.db-wal").await;
    // A log without its database is not thrown away, as SQLite would.
    sh(&directory, "rm mixed/bank.db");
    assert_refused(&directory, "mixed/bank.db-wal").await;
    sh(&directory, "touch mixed/bank.db");
    assert_refused(&directory, "mixed/bank.db-wal").await;
    close(other).await;
}

#[tokio::test]
async fn a_copy_that_another_tool_made_during_the_run_does_not_take_the_log() {
    let directory = Directory::new();
    let running = store(&directory, 30).await;
    let mut connection = raw(&directory.file("bank.db")).await;
    let copy = sqlx::query("VACUUM INTO ?").bind(directory.file("copy.db"));
    copy.execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    write(&running, 3).await;
    sh(&directory, "mkdir mixed; cp bank.db-wal mixed; cp copy.db mixed/bank.db");
    assert_refused(&directory, "mixed/bank.db-wal").await;
    let backup = directory.file("backup.db");
    running.backup(&backup).await.unwrap();
    write(&running, 3).await;
    sh(&directory, "rm mixed/*; cp bank.db-wal mixed; cp backup.db mixed/bank.db");
    assert_refused(&directory, "mixed/bank.db-wal").await;
    close(running).await;
}

#[tokio::test]
async fn a_journal_beside_a_log_is_refused() {
    let directory = Directory::new();
    close(store(&directory, 3).await).await;
    sh(&directory, "mkdir mixed; cp bank.db mixed");
    // A rollback journal of another database that is not spent: it would overwrite pages.
    let (magic, numbers) =
        ([0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7], [1_u32, 0, 1, 512, 4096]);
    let mut journal = magic.to_vec();
    journal.extend(numbers.iter().flat_map(|number| number.to_be_bytes()));
    journal.resize(512, 0);
    journal.extend(2_u32.to_be_bytes());
    journal.resize(512 + 4 + 4096 + 4, 7);
    std::fs::write(directory.file("mixed/bank.db-journal"), journal).unwrap();
    assert_refused(&directory, "mixed/bank.db-journal").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_bank_is_recovered_and_an_older_projection_beside_its_log_is_refused() {
    let directory = Directory::new();
    let path = directory.file("bank.db");
    let bank = BankProcess::start(&path, &[]).unwrap();
    let body = r#"{"id":"1","owner":"Ada","currency":"EUR"}"#;
    assert_eq!(bank.client().post("/accounts", body, Some("open")).unwrap().status, 201);
    assert!(bank.terminate().success());
    sh(&directory, "cp bank.db.statement@1 older");
    for round in 0..3 {
        let bank = BankProcess::start(&path, &[]).unwrap();
        let mut client = bank.client();
        for n in 0..5 {
            let key = format!("{round}-{n}");
            client.post("/accounts/1/credit", r#"{"amount":1}"#, Some(&key)).unwrap();
        }
        let after = 1 + 5 * (round + 1);
        let statement = client.get(&format!("/accounts/1/statement?after={after}")).unwrap();
        assert_eq!(statement.status, 200, "{statement:?}");
        drop(bank); // killed
    }
    sh(
        &directory,
        "test -s bank.db.statement@1-wal; cp bank.db.statement@1 now; cp older bank.db.statement@1",
    );
    assert!(
        BankProcess::start(&path, &[]).is_none(),
        "an older projection took the log of a newer one"
    );
    sh(&directory, "cp now bank.db.statement@1");
    let bank = BankProcess::start(&path, &[]).unwrap();
    let statement = bank.client().get("/accounts/1/statement?after=16").unwrap();
    assert_eq!(statement.body["bookings"].as_array().unwrap().len(), 15);
    assert!(bank.terminate().success());
    assert_eq!(read_log(&path).await.len(), 16);
}

/// Transactions of ours alone have a mark. A checkpoint by any SQLite says that the files belong
/// together.
#[tokio::test]
async fn a_log_that_only_another_program_wrote_is_refused_with_the_way_to_keep_it() {
    let directory = Directory::new();
    let running = store(&directory, 3).await;
    checkpoint(&directory).await;
    let mut theirs = raw(&directory.file("bank.db")).await;
    for statement in ["CREATE TABLE note (text TEXT)", "INSERT INTO note VALUES ('kept')"] {
        sqlx::query(statement).execute(&mut theirs).await.unwrap();
    }
    sh(&directory, "mkdir mixed; cp bank.db bank.db-wal mixed");
    assert_refused(&directory, "mixed/bank.db-wal").await;
    let path = directory.file("mixed/bank.db");
    let message = refusal(&path).await;
    let advice = format!("sqlite3 {path} 'PRAGMA wal_checkpoint(TRUNCATE)'");
    assert!(message.contains(&advice) && !message.contains("move it away"), "{message}");
    let mut shell = raw(&path).await;
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut shell).await.unwrap();
    shell.close().await.unwrap();
    assert_opened(&directory, 3).await;
    let mut shell = raw(&path).await;
    let notes = sqlx::query_scalar("SELECT count(*) FROM note").fetch_one(&mut shell).await;
    assert_eq!(notes.unwrap_or(0_i64), 1);
    theirs.close().await.unwrap();
    close(running).await;
}

#[tokio::test]
async fn a_database_that_a_program_has_open_becomes_a_log() {
    let directory = Directory::new();
    let path = directory.file("bank.db");
    std::fs::write(&path, "").unwrap();
    let mut own = raw(&path).await;
    for statement in [
        "PRAGMA journal_mode = WAL",
        "CREATE TABLE mine (n INTEGER)",
        "INSERT INTO mine VALUES (1)",
    ] {
        sqlx::query(statement).execute(&mut own).await.unwrap();
    }
    let store = store(&directory, 2).await;
    let mine = sqlx::query_scalar("SELECT count(*) FROM mine").fetch_one(&mut own).await;
    assert_eq!((mine.unwrap_or(0_i64), store.head().await.unwrap().0), (1, 2));
    own.close().await.unwrap();
    close(store).await;
}

#[tokio::test]
async fn a_crash_while_a_database_becomes_a_log_is_made_good_at_the_next_start() {
    let directory = Directory::new();
    let path = directory.file("bank.db");
    std::fs::write(&path, "").unwrap();
    let mut own = raw(&path).await;
    for statement in ["PRAGMA journal_mode = WAL", "CREATE TABLE mine (n INTEGER)"] {
        sqlx::query(statement).execute(&mut own).await.unwrap();
    }
    own.close().await.unwrap();
    assert!(BankProcess::start(&path, &[("ACTUM_CRASH_AT", "migrate:2")]).is_none());
    sh(&directory, "test -s bank.db-wal");
    let bank = BankProcess::start(&path, &[]).unwrap();
    assert!(bank.terminate().success());
}
