//! A log that reaches the same positions again with other events: rewound and written by another
//! process, or served by a standby that lacked its end. A process that knew the old events is
//! refused.

use std::time::Duration;

use actum::store::{AppendOutcome, Confirmation, EventStore, Filter, NotCommitted, PostgresStore};
use actum::{
    Application, CommandError, ExpectedVersion, GlobalPosition, StoreError, StreamId, StreamVersion,
};
use sqlx::Executor;

use super::ledger::{
    append, committed, no_answer, one, open, quick, read_log, rewind, terminate, unavailable,
    until, within,
};
use crate::support::child::BankProcess;
use crate::support::counter::{Ask, Counter};
use crate::support::http::Response;
use crate::support::postgres::{Server, database};

const ANY: ExpectedVersion = ExpectedVersion::Any;
const WRITTEN_AGAIN: &str = "the log was rewound and written again";

async fn write(store: &PostgresStore, events: u64) {
    for _ in 0..events {
        committed(one(store, append("1", ANY)).await);
    }
}

/// Nothing is stored. It may be open whether an attempt that was under way was, in the old history.
fn assert_not_stored(outcome: &AppendOutcome) {
    let refused = matches!(
        outcome,
        AppendOutcome::NotCommitted(NotCommitted::Unavailable(_)) | AppendOutcome::Unknown(_)
    );
    assert!(refused, "{outcome:?}");
}

/// To a shorter log, the same head and a greater one; with the sessions ended and with all of them
/// alive.
#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_store_that_saw_another_history_neither_reads_nor_writes_however_long_the_log_is() {
    for (rewound_to, regrown_by) in [(1, 1), (1, 2), (0, 3), (2, 5), (1, 0)] {
        for ends_sessions in [true, false] {
            let case = format!("{rewound_to} + {regrown_by}, sessions ended: {ends_sessions}");
            let database = database().await;
            let old = open(&database.url()).await;
            write(&old, 3).await;
            let mut root = database.connect().await;
            rewind(&mut root, rewound_to).await;
            if ends_sessions {
                terminate(&mut root, "true").await;
            }
            let new = open(&database.url()).await;
            write(&new, regrown_by).await;
            let before = read_log(&mut root).await;
            assert_not_stored(&one(&old, append("1", ANY)).await);
            let reason = unavailable(one(&old, append("2", ExpectedVersion::NoStream)).await);
            assert!(reason.contains("acknowledged events are lost"), "{case}: {reason}");
            for refused in [
                no_answer(within(old.head()).await),
                no_answer(
                    within(old.read_all(
                        GlobalPosition::ZERO,
                        &Filter::all(),
                        actum::store::PageLimit::events(10),
                    ))
                    .await,
                ),
                no_answer(within(old.claim_holder("name", "ada")).await),
            ] {
                assert!(refused.contains("acknowledged events are lost"), "{case}: {refused}");
            }
            assert!(
                old.info().trouble.is_some_and(|trouble| trouble.contains("start anew")),
                "{case}"
            );
            assert_eq!(read_log(&mut root).await, before, "{case}");
            // The history is lost for good, and the process that knows the new one goes on.
            terminate(&mut root, "true").await;
            assert_not_stored(&one(&old, append("1", ANY)).await);
            until(async || {
                matches!(one(&new, append("3", ANY)).await, AppendOutcome::Committed(_))
            })
            .await;
        }
    }
}

/// Nothing lies between the comparison and the append: its own transaction compares.
#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn an_append_decided_on_an_old_history_is_refused_by_itself() {
    let database = database().await;
    let old = open(&database.url()).await;
    write(&old, 2).await;
    let mut root = database.connect().await;
    let new = open(&database.url()).await;
    // The writer lock is held: the append waits for it in the function, on its open session.
    root.execute("SELECT pg_advisory_lock(1633907821, 1)").await.unwrap();
    let waiting = tokio::spawn({
        let old = old.clone();
        async move { one(&old, append("1", ExpectedVersion::Exact(StreamVersion(2)))).await }
    });
    let waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
    until(async || {
        let count: i64 = sqlx::query_scalar(waits).fetch_one(&mut root).await.unwrap();
        count == 1
    })
    .await;
    rewind(&mut root, 1).await;
    // Another process's event takes the same version and position.
    let regrown = "SELECT set_config('actum.appending', 'yes', false);
         INSERT INTO actum.events SELECT 2, stream_type, stream_id, 2, gen_random_uuid(), event_type,
                schema_version, payload, metadata, recorded_at FROM actum.events WHERE position = 1";
    root.execute(regrown).await.unwrap();
    let before = read_log(&mut root).await;
    root.execute("SELECT pg_advisory_unlock(1633907821, 1)").await.unwrap();
    let reason = unavailable(within(waiting).await.unwrap());
    assert!(reason.contains(WRITTEN_AGAIN), "{reason}");
    assert_eq!(read_log(&mut root).await, before);
    drop(new);
}

/// A decision that stores nothing is compared too.
#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_decision_without_events_is_not_confirmed_on_another_history() {
    let database = database().await;
    let old = open(&database.url()).await;
    write(&old, 2).await;
    let stream = StreamId::new("ledger", "1").unwrap();
    let confirmed = old.confirm(&stream, StreamVersion(2), None).await.unwrap();
    assert_eq!(confirmed, Confirmation::Current);
    rewind(&mut database.connect().await, 1).await;
    write(&open(&database.url()).await, 1).await;
    let reason = no_answer(old.confirm(&stream, StreamVersion(2), None).await);
    assert!(reason.contains(WRITTEN_AGAIN), "{reason}");
}

/// The process notices a rewound log without any request and without a lost session, and clears its
/// memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn an_application_whose_history_is_lost_forgets_its_state_and_is_not_ready() {
    let database = database().await;
    let store = quick(&database.url()).open().await.unwrap();
    let app = Application::builder(store).aggregate::<Counter>().start().await.unwrap();
    for id in ["1", "2"] {
        app.execute::<Counter>(id, Ask::Add(10)).await.unwrap();
    }
    assert_eq!((app.live_aggregates::<Counter>(), app.readiness().ready), (2, true));
    let mut root = database.connect().await;
    rewind(&mut root, 1).await;
    write(&open(&database.url()).await, 1).await;
    until(async || app.live_aggregates::<Counter>() == 0 && !app.readiness().ready).await;
    let waiting_for = app.readiness().waiting_for.join("\n");
    assert!(waiting_for.contains(WRITTEN_AGAIN), "{waiting_for}");
    for ask in [Ask::Add(1), Ask::Add(-11), Ask::Nothing] {
        let refused = app.execute::<Counter>("1", ask).await;
        let other = matches!(
            &refused,
            Err(CommandError::Unavailable(StoreError::OtherHistory(reason)))
                if reason.contains(WRITTEN_AGAIN)
        );
        assert!(other, "{refused:?}");
    }
    assert_eq!(read_log(&mut root).await.len(), 2);
    within(app.shutdown()).await;
}

/// Each hint of the new history names a position that the old one had reached long ago.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_lost_history_is_noticed_while_hints_of_the_new_one_keep_coming() {
    let database = database().await;
    let old = open(&database.url()).await;
    write(&old, 100).await;
    rewind(&mut database.connect().await, 1).await;
    let new = open(&database.url()).await;
    for _ in 0..50 {
        write(&new, 1).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        if old.info().trouble.is_some() {
            break;
        }
    }
    let trouble = old.info().trouble.expect("it was not noticed");
    assert!(trouble.contains(WRITTEN_AGAIN) || trouble.contains("it was rewound"), "{trouble}");
    assert!(new.head().await.unwrap().0 < 100);
}

fn post(bank: &BankProcess, path: &str, body: &str) -> Response {
    bank.client().patience(Duration::from_secs(30)).unwrap().post(path, body, None).unwrap()
}

fn credit(bank: &BankProcess, account: &str, amount: i64) -> u16 {
    post(bank, &format!("/accounts/{account}/credit"), &format!("{{\"amount\":{amount}}}")).status
}

fn withdraw(bank: &BankProcess, account: &str, amount: i64) -> u16 {
    post(bank, &format!("/accounts/{account}/withdraw"), &format!("{{\"amount\":{amount}}}")).status
}

fn status(bank: &BankProcess, path: &str) -> u16 {
    bank.client().get(path).unwrap().status
}

/// The server is replaced by a standby that lacks the last withdrawal, while a process that saw it
/// sleeps. It would overdraw the account.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_process_that_slept_through_a_failover_to_a_lagging_standby_commits_nothing() {
    let server = Server::private().await;
    let sleeper = BankProcess::start(&server.url(), &[]).expect("the bank starts");
    let ada = r#"{"id":"ada","owner":"Ada","currency":"EUR"}"#;
    assert_eq!(post(&sleeper, "/accounts", ada).status, 201);
    assert_eq!(credit(&sleeper, "ada", 1000), 200);
    server.stop().await;
    server.keep().await;
    server.start().await;
    until(async || withdraw(&sleeper, "ada", 100) == 200).await;
    let balance = || status(&sleeper, "/accounts/ada/balance");
    until(async || balance() == 200).await;
    sleeper.signal("STOP");
    server.stop().await;
    server.fail_over().await;
    server.start().await;
    let other = BankProcess::start(&server.url(), &[]).expect("another bank starts");
    assert_eq!(withdraw(&other, "ada", 1000), 200);
    assert_eq!(post(&other, "/accounts", &ada.replace("ada", "bob")).status, 201);
    sleeper.signal("CONT");
    assert_eq!(withdraw(&sleeper, "ada", 900), 503);
    assert_eq!(status(&sleeper, "/health/ready"), 503);
    until(async || balance() == 503).await;
    for path in ["/accounts/ada/statement", "/accounts/ada/events"] {
        assert_eq!(status(&sleeper, path), 503, "{path}");
    }
    // Started again it knows the history that there is.
    sleeper.terminate();
    let fresh = BankProcess::start(&server.url(), &[]).expect("the bank starts again");
    assert_eq!(withdraw(&fresh, "ada", 900), 422);
    until(async || status(&fresh, "/accounts/ada/balance") == 200).await;
    let answer = fresh.client().get("/accounts/ada/balance").unwrap();
    assert!(
        answer.text.contains("\"amount\":0") || answer.text.contains("\"balance\":0"),
        "{answer:?}"
    );
}
