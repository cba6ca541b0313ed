//! Rounds of one aggregate: a command that is too large among small ones, callers that time out,
//! races in a round, passivation and short pages.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use actum::store::{
    Append, AppendOutcome, EventStore, MAX_APPEND_BYTES, MemoryStore, SqliteStore, Store,
};
use actum::testing::{Fault, FaultyStore};
use actum::web::Problem;
use actum::{
    Aggregate, Application, CommandError, CommandOptions, Committed, ExpectedVersion,
    GlobalPosition, Settings, StoreError, StreamVersion,
};
use serde::{Deserialize, Serialize};

use crate::support::counter::{Ask, BelowZero, Counter};
use crate::support::directory::Directory;
use crate::support::events::{append, event, foreign, keyed};
use crate::support::waiting::at_most;
use crate::support::watched::{WatchedStore, watched_store};

/// Writes texts of any number and size.
#[derive(Debug, Default, Clone)]
struct Scribe;

#[derive(Debug, Clone)]
struct Write {
    events: usize,
    bytes: usize,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Written {
    Text(String),
}

impl Aggregate for Scribe {
    const TYPE: &'static str = "writer";
    type Command = Write;
    type Event = Written;
    type Error = Infallible;

    fn handle(&self, Write { events, bytes }: Write) -> Result<Vec<Written>, Infallible> {
        Ok((0..events).map(|_| Written::Text("x".repeat(bytes))).collect())
    }

    fn apply(&mut self, _: &Written) {}
}

type Asked<'a, E> = Pin<Box<dyn Future<Output = Result<Committed, CommandError<E>>> + 'a>>;

/// Sends all of them, in order, and checks that none is answered yet.
async fn arrive<E>(asked: &mut [Asked<'_, E>]) {
    poll_fn(|context| {
        let all = asked.iter_mut().map(|asked| asked.as_mut().poll(context).is_pending());
        let pending = all.collect::<Vec<_>>();
        assert!(pending.iter().all(|pending| *pending), "{pending:?}");
        Poll::Ready(())
    })
    .await;
}

/// Sends all of them, in order, and waits for their answers.
async fn all<E>(mut asked: Vec<Asked<'_, E>>) -> Vec<Result<Committed, CommandError<E>>> {
    let mut answers: Vec<_> = asked.iter().map(|_| None).collect();
    poll_fn(|context| {
        for (asked, answer) in asked.iter_mut().zip(&mut answers) {
            if answer.is_none()
                && let Poll::Ready(answered) = asked.as_mut().poll(context)
            {
                *answer = Some(answered);
            }
        }
        match answers.iter().all(Option::is_some) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
    answers.into_iter().flatten().collect()
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    at_most(Duration::from_secs(180), what).await
}

async fn only_the_one_too_large_is_refused(store: impl Store) {
    // Sizes are what is tested, not how fast this machine is.
    let settings = Settings { answer_within: Duration::from_secs(600), ..Settings::default() };
    let app = Application::builder(store).aggregate::<Scribe>().settings(settings);
    let app = app.start().await.unwrap();
    let small = Write { events: 1, bytes: 3 };
    let sizes = [
        small.clone(),
        Write { events: 20, bytes: (4 << 20) - 2 },
        small.clone(),
        Write { events: 1, bytes: 4 << 20 },
        // Too large because of its number of rows, not because of its text.
        Write { events: MAX_APPEND_BYTES / 64, bytes: 0 },
        small,
        Write { events: 7, bytes: (4 << 20) - 2 },
    ];
    let asked = sizes.into_iter().map(|size| app.execute::<Scribe>("1", size));
    let asked = asked.map(|ask| Box::pin(ask) as Asked<'_, Infallible>).collect();
    let stored = soon(all(asked)).await.into_iter().map(|answer| match answer {
        Ok(committed) => Some(committed.version.0),
        Err(CommandError::Unstorable { .. }) => None,
        Err(error) => panic!("{error}"),
    });
    let stored: Vec<_> = stored.collect();
    assert_eq!(stored, [Some(1), None, Some(2), None, None, Some(3), Some(10)]);
    app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_is_too_large_refuses_only_itself() {
    only_the_one_too_large_is_refused(MemoryStore::new()).await;
    let directory = Directory::new();
    let store = SqliteStore::open(&directory.file("log.db")).await.unwrap();
    only_the_one_too_large_is_refused(store).await;
}

fn texts(stream: &str, expected: ExpectedVersion, count: usize, bytes: usize) -> Append {
    let text = format!("\"{}\"", "x".repeat(bytes));
    Append { expected, ..append("writer", stream, (0..count).map(|_| event("Text", &text))) }
}

fn version(outcome: &AppendOutcome) -> Option<u64> {
    match outcome {
        AppendOutcome::Committed(committed) => Some(committed.version.0),
        _ => None,
    }
}

async fn a_large_call_is_stored(store: &impl EventStore) {
    let large = |stream: &str, expected| texts(stream, expected, 7, (4 << 20) - 2);
    let exact = |version| ExpectedVersion::Exact(StreamVersion(version));
    let chained = |append| Append { chained: true, ..append };
    let calls = vec![
        large("a", exact(0)),
        chained(large("a", exact(7))),
        chained(large("a", ExpectedVersion::Any)),
        chained(large("a", exact(21))),
        // Chained to an append to another stream, so it follows nothing.
        chained(large("b", exact(0))),
        large("b", exact(0)),
        texts("c", exact(0), 20, (4 << 20) - 2),
        // Chained to one that was refused.
        chained(texts("c", exact(0), 1, 1)),
        texts("c", exact(0), 1, 1),
    ];
    let outcomes = soon(store.append(calls)).await;
    let versions: Vec<_> = outcomes.iter().map(version).collect();
    let expected = [Some(7), Some(14), Some(21), Some(28), None, Some(7), None, None, Some(1)];
    assert_eq!(versions, expected, "{outcomes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_too_large_for_one_transaction_is_split_and_its_chains_hold() {
    a_large_call_is_stored(&MemoryStore::new()).await;
    let directory = Directory::new();
    a_large_call_is_stored(&SqliteStore::open(&directory.file("log.db")).await.unwrap()).await;
}

async fn impatient() -> (WatchedStore, Application) {
    let store = watched_store();
    let settings = Settings {
        answer_within: Duration::from_millis(250),
        queue_per_aggregate: 8,
        ..Settings::default()
    };
    let app = Application::builder(store.clone()).aggregate::<Counter>().settings(settings);
    (store, app.start().await.unwrap())
}

fn is_loading(answer: Result<Committed, CommandError<BelowZero>>) {
    let Err(CommandError::Unavailable(StoreError::Unavailable(reason))) = &answer else {
        panic!("{answer:?}")
    };
    assert!(reason.contains("still loading") && reason.contains("nothing"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_behind_a_load_is_unavailable_and_never_carried_out() {
    let (store, app) = impatient().await;
    store.memory.append(vec![foreign("1", "Added", [100])]).await;
    let held = store.hold().await;
    // More retries than the queue has places, half of them with a key that all of those share.
    for _ in 0..10 {
        is_loading(soon(app.execute::<Counter>("1", Ask::Add(1))).await);
        is_loading(soon(app.execute_with::<Counter>("1", Ask::Add(1), keyed("k"))).await);
    }
    drop(held);
    let loaded = async {
        loop {
            match app.execute_with::<Counter>("1", Ask::Add(-100), keyed("l")).await {
                Ok(committed) => return committed,
                Err(CommandError::Unavailable(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
    };
    // The load continued meanwhile, and none of the rejected commands was executed.
    assert_eq!(soon(loaded).await.version, StreamVersion(2));
    let fresh = soon(app.execute_with::<Counter>("1", Ask::Add(1), keyed("k"))).await.unwrap();
    assert_eq!((fresh.version, fresh.replayed), (StreamVersion(3), false));
    app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_that_is_withdrawn_is_answered_for_this_attempt_alone() {
    let (store, app) = impatient().await;
    let other = Application::builder(store.clone()).aggregate::<Counter>().start().await.unwrap();
    let first = other.execute_with::<Counter>("1", Ask::Add(1), keyed("k")).await.unwrap();
    let held = store.hold().await;
    let retry = soon(app.execute_with::<Counter>("1", Ask::Add(1), keyed("k"))).await;
    let Err(error) = retry else { panic!("{retry:?}") };
    assert!(error.to_string().contains("this attempt stored nothing"), "{error}");
    let problem = Problem::from(error).to_string();
    assert!(problem.contains("this attempt stored nothing"), "{problem}");
    drop(held);
    let retry = async {
        loop {
            if let Ok(committed) = app.execute_with::<Counter>("1", Ask::Add(1), keyed("k")).await {
                return committed;
            }
        }
    };
    let retry = soon(retry).await;
    assert_eq!((retry.position, retry.replayed), (first.position, true));
    app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_command_that_may_have_been_stored_is_unknown() {
    let (store, app) = impatient().await;
    soon(app.execute::<Counter>("1", Ask::Add(1))).await.unwrap();
    let held = store.hold().await;
    let sent = soon(app.execute::<Counter>("1", Ask::Add(1))).await;
    assert!(matches!(sent, Err(CommandError::Unknown)), "{sent:?}");
    // It comes into the next round, which has not begun.
    let behind = soon(app.execute::<Counter>("1", Ask::Add(1))).await;
    let Err(CommandError::Unavailable(error)) = behind else { panic!("{behind:?}") };
    assert!(error.to_string().contains("waiting for the store"), "{error}");
    drop(held);
    let mut head = store.watch_head();
    soon(head.wait_for(|head| head.0 == 2)).await.unwrap();
    let next = soon(app.execute::<Counter>("1", Ask::Add(-2))).await.unwrap();
    assert_eq!(next.version, StreamVersion(3));
    app.shutdown().await;
}

#[tokio::test]
async fn a_replayed_append_does_not_vouch_for_a_refusal_of_its_round() {
    let store = watched_store();
    let start = || Application::builder(store.clone()).aggregate::<Counter>().start();
    let other = start().await.unwrap();
    other.execute_with::<Counter>("1", Ask::Add(1), keyed("k")).await.unwrap();
    let app = start().await.unwrap();
    // While its aggregate loads, a command that is refused on 1 and a retry come into one round.
    let held = store.hold().await;
    let mut round: [Asked<'_, BelowZero>; 2] = [
        Box::pin(app.execute::<Counter>("1", Ask::Add(-10))),
        Box::pin(app.execute_with::<Counter>("1", Ask::Add(1), keyed("k"))),
    ];
    arrive(&mut round).await;
    store.intrude(foreign("1", "Added", [100]));
    drop(held);
    let [refused, replayed] = round;
    assert!(soon(replayed).await.unwrap().replayed);
    // With the 100 of another process the command is admissible.
    assert_eq!(soon(refused).await.unwrap().version, StreamVersion(3));
    app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_aggregate_that_waits_for_its_store_is_not_passivated() {
    let store = watched_store();
    let idle_after = Duration::from_millis(40);
    let settings = Settings { idle_after, ..Settings::default() };
    let app = Application::builder(store.clone()).aggregate::<Counter>().settings(settings);
    let app = app.start().await.unwrap();
    for id in ["1", "2"] {
        app.execute::<Counter>(id, Ask::Add(1)).await.unwrap();
    }
    let held = store.hold().await;
    let mut asked: [Asked<'_, BelowZero>; 1] = [Box::pin(app.execute::<Counter>("1", Ask::Add(1)))];
    arrive(&mut asked).await;
    // Used later than the busy one, and idle: once it has gone, the busy one has been looked at.
    soon(app.execute::<Counter>("2", Ask::Nothing)).await.unwrap();
    let gone = async {
        while app.live_aggregates::<Counter>() == 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon(gone).await;
    // The look at one part of the map after the other has ended by then.
    tokio::time::sleep(idle_after).await;
    assert_eq!(app.live_aggregates::<Counter>(), 1, "the busy one has gone too");
    drop(held);
    let [asked] = asked;
    assert_eq!(soon(asked).await.unwrap().version, StreamVersion(2));
    app.shutdown().await;
}

#[tokio::test]
async fn a_short_page_is_not_the_end_of_a_stream() {
    let memory = MemoryStore::new();
    for _ in 0..40 {
        memory.append(vec![foreign("1", "Added", [1])]).await;
    }
    let store = FaultyStore::new(memory);
    for _ in 0..39 {
        store.fail_next(Fault::ShortRead);
    }
    let settings = Settings { conflict_retries: 0, ..Settings::default() };
    let app = Application::builder(store).aggregate::<Counter>().settings(settings);
    let app = app.start().await.unwrap();
    let refused = app.execute::<Counter>("1", Ask::Add(-41)).await;
    assert!(matches!(refused, Err(CommandError::Refused(BelowZero(-1)))), "{refused:?}");
    let committed = app.execute::<Counter>("1", Ask::Add(-40)).await.unwrap();
    assert_eq!(committed.position, GlobalPosition(41));
    app.shutdown().await;
}

#[tokio::test]
async fn the_bytes_of_all_commands_in_flight_have_a_limit() {
    let store = watched_store();
    let settings = Settings { command_bytes_in_flight: 100_000, ..Settings::default() };
    let app = Application::builder(store.clone()).aggregate::<Counter>().settings(settings);
    let app = app.start().await.unwrap();
    let held = store.hold().await;
    let ask = |bytes| {
        let options = CommandOptions { bytes, ..CommandOptions::default() };
        Box::pin(app.execute_with::<Counter>("1", Ask::Add(1), options)) as Asked<'_, BelowZero>
    };
    let mut large = [ask(60_000)];
    arrive(&mut large).await;
    let refused = soon(ask(60_000)).await;
    assert!(matches!(refused, Err(CommandError::Overloaded(_))), "{refused:?}");
    let mut small = [ask(10_000)];
    arrive(&mut small).await;
    drop(held);
    for asked in large.into_iter().chain(small) {
        soon(asked).await.unwrap();
    }
    soon(ask(60_000)).await.expect("there is room again");
}
