//! The epoch of a log, raised after `pg_restore`: a process that knew the log before is refused.

use std::process::Command;

use actum::store::{EventStore, LogIdentity, PostgresStore};
use actum::{ExpectedVersion, GlobalPosition, StartError};
use sqlx::postgres::PgConnection;

use super::ledger::{
    append, committed, no_answer, one, open, quick, read_log, unavailable, until, within,
};
use crate::support::postgres::database;

const ANY: ExpectedVersion = ExpectedVersion::Any;

#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_raised_epoch_is_another_history_to_who_had_the_log_open() {
    let database = database().await;
    let old = open(&database.url()).await;
    committed(one(&old, append("1", ANY)).await);
    let beside = within(quick(&database.url()).schema("beside").open()).await.unwrap();
    let LogIdentity { log_id, epoch } = old.info().identity;
    for raised in [epoch + 1, epoch + 2] {
        let found = within(PostgresStore::raise_epoch(quick(&database.url()))).await.unwrap();
        assert_eq!(found, raised);
    }
    let mut root = database.connect().await;
    let before = read_log(&mut root).await;
    let reason = unavailable(one(&old, append("1", ANY)).await);
    assert!(reason.contains("exchanged or restored"), "{reason}");
    let reason = no_answer(within(old.head()).await);
    assert!(reason.contains("exchanged or restored"), "{reason}");
    until(async || old.info().trouble.is_some()).await;
    assert_eq!(read_log(&mut root).await, before);
    // The log is the same in a new epoch with all events, and another log in the database keeps its
    // own epoch.
    let new = open(&database.url()).await;
    assert_eq!(new.info().identity, LogIdentity { log_id, epoch: epoch + 2 });
    assert_eq!(committed(one(&new, append("1", ANY)).await).position, GlobalPosition(2));
    committed(one(&beside, append("1", ANY)).await);
    assert_eq!(beside.info().identity.epoch, epoch);
}

/// Checks that the database has a schema of this name.
async fn has_schema(root: &mut PgConnection, name: &str) -> bool {
    let found = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)");
    found.bind(name).fetch_one(root).await.unwrap()
}

#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn raising_the_epoch_without_a_log_fails_and_creates_none() {
    let database = database().await;
    let refused = within(PostgresStore::raise_epoch(quick(&database.url()))).await;
    assert!(matches!(refused, Err(StartError::Open { .. })), "{refused:?}");
    assert!(!has_schema(&mut database.connect().await, "actum").await);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn the_bank_raises_the_epoch_of_a_log_that_was_restored_with_pg_restore() {
    let database = database().await;
    let before = open(&database.url()).await.info().identity;
    let restore = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bank-process"));
        command.arg("restore").args(arguments).args(["--store", &database.url()]);
        command.output().unwrap()
    };
    let output = restore(&["backup.dump"]);
    assert!(!output.status.success(), "a file was taken for a PostgreSQL log: {output:?}");
    let output = restore(&[]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("epoch 2"), "{output:?}");
    let after = open(&database.url()).await.info().identity;
    assert_eq!(after, LogIdentity { epoch: before.epoch + 1, ..before });
}
