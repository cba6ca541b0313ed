//! A clean stop leaves one file for each database.

use std::time::Duration;

use actum::store::{AppendOutcome, EventStore, NotCommitted, SqliteOptions, SqliteStore};
use sqlx::Connection;

use super::{append, raw};
use crate::support::child::{BankProcess, read_log};
use crate::support::directory::Directory;

/// Names of the files in a folder, in order.
fn files(directory: &Directory) -> Vec<String> {
    let files = std::fs::read_dir(directory.path()).unwrap();
    let mut names: Vec<_> =
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_clean_stop_each_database_is_one_file() {
    for credits in [0, 1, 40] {
        let directory = Directory::new();
        let path = directory.file("bank.db");
        let bank = BankProcess::start(&path, &[]).unwrap();
        let mut client = bank.client();
        let body = r#"{"id":"1","owner":"Ada","currency":"EUR"}"#;
        assert_eq!(client.post("/accounts", body, Some("open")).unwrap().status, 201);
        for n in 0..credits {
            let answer = client.post("/accounts/1/credit", r#"{"amount":1}"#, Some(&n.to_string()));
            assert_eq!(answer.unwrap().status, 200);
        }
        client.get(&format!("/accounts/1/statement?after={}", credits + 1)).unwrap();
        assert!(bank.terminate().success());
        assert_eq!(files(&directory), ["bank.db", "bank.db.statement@1"]);
        let copy = directory.file("copy.db");
        std::fs::copy(&path, &copy).unwrap();
        assert_eq!(read_log(&copy).await.len(), credits + 1);
    }
}

#[tokio::test]
async fn a_closed_store_is_one_file_and_takes_nothing_more() {
    let directory = Directory::new();
    let store = SqliteStore::open(&directory.file("bank.db")).await.unwrap();
    let clone = store.clone();
    for _ in 0..20 {
        store.append(vec![append("1", 100)]).await;
    }
    store.close().await.unwrap();
    assert_eq!(files(&directory), ["bank.db"]);
    let outcome = clone.append(vec![append("1", 100)]).await.remove(0);
    let is_refused = matches!(outcome, AppendOutcome::NotCommitted(NotCommitted::Unavailable(_)));
    assert!(is_refused, "{outcome:?}");
    assert!(clone.head().await.is_err());
    clone.close().await.unwrap();
}

#[tokio::test]
async fn a_stop_that_a_foreign_reader_keeps_from_being_clean_is_reported() {
    let directory = Directory::new();
    let path = directory.file("bank.db");
    let options = SqliteOptions::new(&path).busy_timeout(Duration::from_millis(50));
    let store = options.open().await.unwrap();
    store.append(vec![append("1", 100)]).await;
    let mut reader = raw(&path).await;
    for statement in ["BEGIN", "SELECT count(*) FROM events"] {
        sqlx::query(statement).execute(&mut reader).await.unwrap();
    }
    store.append(vec![append("1", 100)]).await;
    let reported = store.close().await.unwrap_err().to_string();
    assert!(reported.contains("bank.db-wal"), "{reported}");
    reader.close().await.unwrap();
    assert_eq!(read_log(&path).await.len(), 2, "nothing is lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bank_whose_log_is_not_in_one_file_does_not_exit_with_zero() {
    let directory = Directory::new();
    let path = directory.file("bank.db");
    let bank = BankProcess::start(&path, &[]).unwrap();
    let body = r#"{"id":"1","owner":"Ada","currency":"EUR"}"#;
    assert_eq!(bank.client().post("/accounts", body, Some("open")).unwrap().status, 201);
    let mut reader = raw(&path).await;
    for statement in ["BEGIN", "SELECT count(*) FROM events"] {
        sqlx::query(statement).execute(&mut reader).await.unwrap();
    }
    assert_eq!(bank.terminate().code(), Some(3));
}

#[tokio::test]
async fn the_length_of_the_write_ahead_log_is_known() {
    let directory = Directory::new();
    let store = SqliteStore::open(&directory.file("bank.db")).await.unwrap();
    store.append(vec![append("1", 100_000)]).await;
    assert!(store.info().wal_bytes.unwrap() > 100_000, "{:?}", store.info().wal_bytes);
}

/// Another program keeps a read of the database open and a third one writes much: SQLite cannot reuse
/// the log. The bank says so, once, in its log and with the length in its status.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_ahead_log_that_cannot_be_reused_is_warned_of() {
    let directory = Directory::new();
    let (path, log) = (directory.file("bank.db"), directory.file("log"));
    let mut command = BankProcess::command(&path);
    command.env("RUST_LOG", "warn").stderr(std::fs::File::create(&log).unwrap());
    let bank = BankProcess::launch(&mut command).unwrap();
    let body = r#"{"id":"1","owner":"Ada","currency":"EUR"}"#;
    assert_eq!(bank.client().post("/accounts", body, Some("open")).unwrap().status, 201);
    let mut reader = raw(&path).await;
    for statement in ["BEGIN", "SELECT count(*) FROM events"] {
        sqlx::query(statement).execute(&mut reader).await.unwrap();
    }
    let mut writer = raw(&path).await;
    sqlx::query("CREATE TABLE ballast (bytes BLOB)").execute(&mut writer).await.unwrap();
    for _ in 0..14 {
        let ten_mb = "INSERT INTO ballast VALUES (zeroblob(10000000))";
        sqlx::query(ten_mb).execute(&mut writer).await.unwrap();
    }
    writer.close().await.unwrap();
    let mut client = bank.client();
    for n in 0..10 {
        let key = n.to_string();
        let credit = client.post("/accounts/1/credit", r#"{"amount":1}"#, Some(&key)).unwrap();
        assert_eq!(credit.status, 200, "{credit:?}");
    }
    let status = bank.operator().get("/status").unwrap().body;
    assert!(status["log"]["wal_bytes"].as_u64() > Some(128 << 20), "{status}");
    let told = std::fs::read_to_string(&log).unwrap();
    let warnings: Vec<_> = told.lines().filter(|line| line.contains("cannot be reused")).collect();
    assert!(matches!(warnings[..], [one] if one.contains("bank.db-wal")), "{told}");
    reader.close().await.unwrap();
}
