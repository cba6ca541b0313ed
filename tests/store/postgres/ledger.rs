//! Appends for the tests of the PostgreSQL store, and the log as plain SQL reads it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actum::store::{
    Append, AppendOutcome, EventStore, NewEvent, NotCommitted, PostgresOptions, PostgresStore,
};
use actum::{CommandKey, Committed, ExpectedVersion, StoreError};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Executor};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use uuid::Uuid;

use crate::support::events;
pub use crate::support::waiting::{until, within};

/// A store with short timeouts.
pub async fn open(url: &str) -> PostgresStore {
    quick(url).open().await.unwrap()
}

/// The options of [`open`].
pub fn quick(url: &str) -> PostgresOptions {
    let second = Duration::from_secs(1);
    PostgresOptions::new(url).answer_within(second).connect_within(second)
}

/// Why this log is not opened.
pub async fn refusal(options: PostgresOptions) -> String {
    match within(options.open()).await {
        Ok(_) => panic!("it was opened"),
        Err(error) => error.to_string(),
    }
}

/// An event with this payload.
pub fn event(payload: &str) -> NewEvent {
    events::event("Booked", payload)
}

/// One event for the stream `ledger-{id}`.
pub fn append(id: &str, expected: ExpectedVersion) -> Append {
    Append { expected, ..events::append("ledger", id, [event("1")]) }
}

/// The same with a command id.
pub fn keyed(id: &str, expected: ExpectedVersion, key: &str) -> Append {
    Append { command: Some(CommandKey::new(key, b"request").unwrap()), ..append(id, expected) }
}

/// Appends one, and waits for its outcome.
pub async fn one(store: &PostgresStore, append: Append) -> AppendOutcome {
    all(store, vec![append]).await.remove(0)
}

/// Appends all in one call.
pub async fn all(store: &PostgresStore, appends: Vec<Append>) -> Vec<AppendOutcome> {
    within(store.append(appends)).await
}

/// Waits until so many more events are committed, whatever happens meanwhile.
pub async fn progress(store: &PostgresStore, events: u64) {
    let mut head = store.watch_head();
    let before = *head.borrow();
    within(head.wait_for(|head| head.0 >= before.0 + events)).await.unwrap();
}

/// Ends the other sessions of this database for which the condition holds; answers how many.
pub async fn terminate(connection: &mut PgConnection, condition: &str) -> i64 {
    let ended = format!(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid() AND ({condition})"
    );
    sqlx::query_scalar(AssertSqlSafe(ended)).fetch_one(connection).await.unwrap()
}

/// Removes the last events from the log, as restoring an older backup would.
pub async fn rewind(root: &mut PgConnection, to: u64) {
    let rewind = format!(
        "ALTER TABLE actum.events DISABLE TRIGGER USER;
         DELETE FROM actum.events WHERE position > {to};
         DELETE FROM actum.commands WHERE position > {to};
         DELETE FROM actum.claims WHERE position > {to};
         ALTER TABLE actum.events ENABLE TRIGGER USER;"
    );
    root.execute(AssertSqlSafe(rewind)).await.unwrap();
}

/// Executes a statement.
pub async fn execute(connection: &mut PgConnection, statement: &str) {
    connection.execute(AssertSqlSafe(statement.to_owned())).await.unwrap();
}

#[track_caller]
pub fn committed(outcome: AppendOutcome) -> Committed {
    match outcome {
        AppendOutcome::Committed(committed) => committed,
        other => panic!("not committed: {other:?}"),
    }
}

#[track_caller]
pub fn refused(outcome: AppendOutcome) -> NotCommitted {
    match outcome {
        AppendOutcome::NotCommitted(reason) => reason,
        other => panic!("not refused: {other:?}"),
    }
}

/// Why it could not be taken now.
#[track_caller]
pub fn unavailable(outcome: AppendOutcome) -> String {
    match refused(outcome) {
        NotCommitted::Unavailable(reason) => reason,
        other => panic!("refused for good: {other:?}"),
    }
}

/// Why a read, or a write of documents, got no answer.
#[track_caller]
pub fn no_answer<T>(result: Result<T, StoreError>) -> String {
    match result {
        Err(StoreError::Unavailable(reason)) => reason,
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("there was an answer"),
    }
}

/// The ids of all events by position, read without any code of the framework, and asserted:
/// positions 1..N, versions 1..n, no event id twice, commands where their events are.
pub async fn read_log(connection: &mut PgConnection) -> Vec<Uuid> {
    let rows: Vec<(i64, String, i64, Uuid)> = sqlx::query_as(
        "SELECT position, stream_type || '-' || stream_id, version, event_id
         FROM actum.events ORDER BY position",
    )
    .fetch_all(&mut *connection)
    .await
    .unwrap();
    let (mut versions, mut ids) = (HashMap::<&str, i64>::new(), HashSet::new());
    for (index, (position, stream, version, id)) in rows.iter().enumerate() {
        assert_eq!(*position, index as i64 + 1, "positions have a gap");
        let last = versions.entry(stream).or_default();
        assert_eq!(*version, *last + 1, "versions of {stream} have a gap");
        *last = *version;
        assert!(ids.insert(id), "an event id stands twice");
    }
    let astray: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM actum.commands LEFT JOIN actum.events
         USING (version, position)
         WHERE event_id IS NULL AND version > 0",
    )
    .fetch_one(connection)
    .await
    .unwrap();
    assert_eq!(astray, 0, "a command is not where its events are");
    rows.into_iter().map(|(.., id)| id).collect()
}

/// Appends by several callers at once, each with a command id, sent again until it is answered.
pub struct Load {
    stop: Arc<AtomicBool>,
    callers: Vec<JoinHandle<Vec<(Uuid, Committed)>>>,
}

impl Load {
    /// Starts it.
    pub fn start(store: &PostgresStore, callers: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let call = |caller| {
            let (store, stop) = (store.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let (mut done, run) = (Vec::new(), Uuid::now_v7());
                for n in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let id = format!("{}", (caller + n) % 3);
                    let asked = keyed(&id, ExpectedVersion::Any, &format!("{run}-{n}"));
                    let event_id = asked.events[0].event_id;
                    loop {
                        match one(&store, asked.clone()).await {
                            AppendOutcome::Committed(committed) => {
                                done.push((event_id, committed));
                                break;
                            }
                            AppendOutcome::NotCommitted(NotCommitted::Unavailable(_))
                            | AppendOutcome::Unknown(_) => sleep(Duration::from_millis(5)).await,
                            other => panic!("refused for good: {other:?}"),
                        }
                    }
                }
                done
            })
        };
        let callers = (0..callers).map(call).collect();
        Self { stop, callers }
    }

    /// Ends it: what was answered, all of it.
    pub async fn end(self) -> Vec<(Uuid, Committed)> {
        self.stop.store(true, Ordering::SeqCst);
        let mut done = Vec::new();
        for caller in self.callers {
            done.extend(within(caller).await.unwrap());
        }
        done
    }
}

/// The log holds exactly what was answered, each once and where it was answered.
#[track_caller]
pub fn assert_holds(log: &[Uuid], done: &[(Uuid, Committed)]) {
    for (id, committed) in done {
        let at = committed.position.0 as usize;
        assert_eq!(log.get(at - 1), Some(id), "lost, or answered at another position: {at}");
    }
    assert_eq!(log.len(), done.len(), "the log holds what nobody was told of");
}
