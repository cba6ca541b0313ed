//! Many appends in one call of the database: each has the outcome it would have had alone.

use std::time::Duration;

use actum::store::{AppendOutcome, NotCommitted};
use actum::{ExpectedVersion, StreamVersion};

use super::ledger::{all, append, committed, event, one, open, read_log, refused, until, within};
use crate::support::postgres::database;
use crate::support::proxy::Proxy;

const ANY: ExpectedVersion = ExpectedVersion::Any;

fn exact(version: u64) -> ExpectedVersion {
    ExpectedVersion::Exact(StreamVersion(version))
}

/// The first attempt stored the second append. Sent again, the first one fits instead. Each gets
/// the outcome that is in the log.
#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_retried_batch_finds_the_appends_that_its_first_attempt_stored() {
    let database = database().await;
    let proxy = Proxy::start(database.port()).await;
    let store = open(&database.url_by(proxy.port())).await;
    committed(one(&store, append("1", exact(0))).await);
    // The first call finds that the stream is at 1, the second stores.
    let appends = vec![append("1", exact(2)), append("1", exact(1))];
    let (ahead, fitting) = (appends[0].events[0].event_id, appends[1].events[0].event_id);
    proxy.delay(Duration::from_millis(200));
    let asked = tokio::spawn({
        let store = store.clone();
        async move { all(&store, appends).await }
    });
    let mut direct = database.connect().await;
    until(async || read_log(&mut direct).await.contains(&fitting)).await;
    proxy.cut();
    proxy.pass();
    let outcomes = within(asked).await.unwrap();
    for (id, outcome) in [ahead, fitting].into_iter().zip(outcomes) {
        let is_stored = read_log(&mut direct).await.contains(&id);
        assert_eq!(matches!(outcome, AppendOutcome::Committed(_)), is_stored, "{outcome:?}");
    }
}

/// Another writer appends to the stream all the time, and the condition that it exists stays true.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_stream_that_others_move_all_the_time_still_exists() {
    let database = database().await;
    let (mine, theirs) = (open(&database.url()).await, open(&database.url()).await);
    committed(one(&theirs, append("1", ANY)).await);
    let others = super::ledger::Load::start(&theirs, 4);
    for _ in 0..20 {
        let more = all(&mine, vec![append("1", ExpectedVersion::StreamExists)]);
        committed(within(more).await.remove(0));
    }
    others.end().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn more_than_the_protocol_can_carry_is_refused_and_the_next_is_taken() {
    let database = database().await;
    let store = open(&database.url()).await;
    let payload = format!("\"{}\"", "x".repeat((4 << 20) - 2));
    for count in [300, 9] {
        let mut huge = append("1", ANY);
        huge.events = (0..count).map(|_| event(&payload)).collect();
        let reason = refused(one(&store, huge).await);
        assert!(matches!(reason, NotCommitted::Invalid(_)), "{reason:?}");
    }
    committed(one(&store, append("1", ANY)).await);
}
