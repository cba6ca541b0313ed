//! Several processes that write one log: the cost of a lost race, and no wrong answer.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};

use actum::store::{Append, AppendOutcome, EventStore, MemoryStore, NotCommitted, Store};
use actum::testing::{Fault, FaultyStore};
use actum::{
    Aggregate, Application, CommandError, CommandKey, CommandOptions, Committed, GlobalPosition,
    Settings, StreamVersion,
};

use crate::support::counter::{Ask, BelowZero, Counted, Counter};
use crate::support::events::foreign;
use crate::support::watched::{WatchedStore, watched_store};

type Answer = Result<Committed, CommandError<BelowZero>>;

async fn application(store: impl Store) -> Application {
    let app = Application::builder(store).aggregate::<Counter>().aggregate::<Copied>();
    app.start().await.unwrap()
}

async fn watched() -> (WatchedStore, Application) {
    let store = watched_store();
    (store.clone(), application(store).await)
}

fn keyed(id: &str, request: &str) -> CommandOptions {
    CommandOptions::keyed(CommandKey::new(id, request.as_bytes()).unwrap())
}

async fn ask(app: &Application, ask: Ask) -> Answer {
    app.execute::<Counter>("1", ask).await
}

/// The sum in memory, which a fold of the log confirms.
async fn sum(app: &Application) -> i64 {
    match ask(app, Ask::Add(-1_000_000)).await {
        Err(CommandError::Refused(BelowZero(below))) => below + 1_000_000,
        other => panic!("{other:?}"),
    }
}

/// Executes all commands in one round of an aggregate that is not loaded yet, while others append
/// these.
async fn in_one_round<A: Aggregate>(
    store: &WatchedStore,
    app: &Application,
    asks: Vec<(A::Command, CommandOptions)>,
    intruders: Vec<Append>,
) -> Vec<Result<Committed, CommandError<A::Error>>> {
    let held = store.hold().await;
    let ask = |(command, options)| Box::pin(app.execute_with::<A>("1", command, options));
    let mut asks: Vec<_> = asks.into_iter().map(ask).collect();
    // One poll puts each request into the queue. The actor cannot go on before the store does.
    std::future::poll_fn(|context| {
        assert!(asks.iter_mut().all(|ask| ask.as_mut().poll(context).is_pending()));
        std::task::Poll::Ready(())
    })
    .await;
    intruders.into_iter().for_each(|append| store.intrude(append));
    drop(held);
    let mut answers = Vec::new();
    for ask in asks {
        answers.push(ask.await);
    }
    answers
}

fn plain(asks: impl IntoIterator<Item = Ask>) -> Vec<(Ask, CommandOptions)> {
    asks.into_iter().map(|ask| (ask, CommandOptions::default())).collect()
}

#[tokio::test]
async fn a_lost_race_costs_the_events_missed_and_not_the_whole_stream() {
    let (store, app) = watched().await;
    store.memory.append(vec![foreign("1", "Added", (0..10_000).map(|_| 1))]).await;
    assert_eq!(sum(&app).await, 10_000);
    assert_eq!(store.events_read(), 10_000);
    for missed in 1..=5_usize {
        store.memory.append(vec![foreign("1", "Added", (0..missed).map(|_| 1))]).await;
        ask(&app, Ask::Add(1)).await.unwrap();
        assert_eq!(store.events_read(), missed, "events read for {missed} missed");
        // A refusal is confirmed against the store, which shows that its state was stale.
        store.memory.append(vec![foreign("1", "Added", (0..missed).map(|_| 1))]).await;
        sum(&app).await;
        assert_eq!(store.events_read(), missed, "events read for {missed} missed by a refusal");
    }
    assert_eq!(sum(&app).await, 10_000 + 2 * 15 + 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_applications_withdraw_what_there_is_and_refuse_the_rest() {
    let store = FaultyStore::new(MemoryStore::new());
    let settings = Settings { conflict_retries: u32::MAX, ..Settings::default() };
    let start = || {
        let app = Application::builder(store.clone()).aggregate::<Counter>();
        app.settings(settings.clone()).start()
    };
    let apps = [start().await.unwrap(), start().await.unwrap()];
    ask(&apps[0], Ask::Add(500)).await.unwrap();
    let withdrawals = (0..1000).map(|n: usize| {
        let app = apps[n % 2].clone();
        tokio::spawn(async move { (n % 2, ask(&app, Ask::Add(-1)).await) })
    });
    let mut done = [0, 0];
    for withdrawal in withdrawals.collect::<Vec<_>>() {
        match withdrawal.await.unwrap() {
            (app, Ok(_)) => done[app] += 1,
            // One below zero: nothing was left when the command was refused.
            (_, Err(CommandError::Refused(BelowZero(-1)))) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(done[0] + done[1], 500, "{done:?}");
    assert_eq!((sum(&apps[0]).await, sum(&apps[1]).await), (0, 0));
    assert_eq!(store.head().await.unwrap().0, 501);
}

#[tokio::test]
async fn a_round_that_falls_leaves_no_phantom_event_in_the_state() {
    for size in 1..4 {
        let (store, app) = watched().await;
        let asks = plain((0..size).map(|_| Ask::Add(1)));
        let answers =
            in_one_round::<Counter>(&store, &app, asks, vec![foreign("1", "Added", [100])]).await;
        let versions: Vec<_> = answers.into_iter().map(|a| a.unwrap().version.0).collect();
        assert_eq!(versions, (2..2 + size).collect::<Vec<_>>());
        assert_eq!(sum(&app).await, 100 + size as i64);
        // The foreign event. The dropped ones were never readable.
        assert_eq!(store.events_read(), 1);
    }
}

#[tokio::test]
async fn commands_behind_a_dropped_one_are_decided_again_without_it() {
    let (store, app) = watched().await;
    app.execute_with::<Counter>("2", Ask::Add(1), keyed("a", "one")).await.unwrap();
    let mut asks = plain([Ask::Add(1), Ask::Add(10), Ask::Add(-11), Ask::Add(100)]);
    asks[1].1 = keyed("a", "another");
    let answers = in_one_round::<Counter>(&store, &app, asks, vec![]).await;
    let [first, reused, drawn, last] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!(first.as_ref().unwrap().version.0, 1);
    assert!(matches!(reused, Err(CommandError::KeyReused { .. })), "{reused:?}");
    assert!(matches!(drawn, Err(CommandError::Refused(BelowZero(-10)))), "{drawn:?}");
    assert_eq!(last.as_ref().unwrap().version.0, 2);
    assert_eq!(sum(&app).await, 101);
}

#[tokio::test]
async fn a_command_another_process_carried_out_is_answered_so_and_folded_once() {
    let (store, app) = watched().await;
    let other = application(store.clone()).await;
    ask(&app, Ask::Add(1)).await.unwrap();
    let pay = |app| Application::execute_with::<Counter>(app, "1", Ask::Add(10), keyed("a", ""));
    let first = pay(&other).await.unwrap();
    let again = pay(&app).await.unwrap();
    assert_eq!((again.version, again.replayed), (first.version, true));
    ask(&app, Ask::Add(-11)).await.unwrap();
    assert_eq!((sum(&app).await, sum(&other).await), (0, 0));
}

#[tokio::test]
async fn a_catch_up_that_fails_is_unavailable_and_goes_on_with_the_next_command() {
    let watched = watched_store();
    let store = FaultyStore::new(watched.clone());
    let app = application(store.clone()).await;
    watched.memory.append(vec![foreign("1", "Added", (0..100).map(|_| 1))]).await;
    assert_eq!((sum(&app).await, watched.events_read()), (100, 100));
    watched.memory.append(vec![foreign("1", "Added", [1])]).await;
    store.fail_next(Fault::ReadError);
    let failed = ask(&app, Ask::Add(1)).await;
    assert!(matches!(failed, Err(CommandError::Unavailable(_))), "{failed:?}");
    assert_eq!(ask(&app, Ask::Add(1)).await.unwrap().version.0, 102);
    assert_eq!((sum(&app).await, watched.events_read()), (102, 1));
}

#[tokio::test]
async fn a_state_is_thrown_away_only_when_it_is_in_doubt() {
    use AppendOutcome::{Committed as Done, NotCommitted as Not, Unknown};
    let at = |version, position, replayed| {
        Done(Committed::new(StreamVersion(version), GlobalPosition(position), replayed))
    };
    let conflict = |actual| Not(NotCommitted::Conflict { actual: StreamVersion(actual) });
    // Returns the answer to an append to a stream of ten events, and if its outcome is unknown.
    let table = [
        (vec![Unknown(String::new())], true),
        (vec![], true),
        (vec![at(12, 12, false)], true),
        (vec![conflict(10)], true),
        (vec![conflict(3)], true),
        (vec![conflict(11)], false),
        (vec![at(9, 9, true)], false),
        (vec![Not(NotCommitted::KeyReused)], false),
        (vec![Not(NotCommitted::Invalid(String::new()))], false),
        (vec![Not(NotCommitted::Unavailable(String::new()))], false),
    ];
    for (lie, in_doubt) in table {
        let (store, app) = watched().await;
        store.memory.append(vec![foreign("1", "Added", (0..10).map(|_| 1))]).await;
        assert_eq!((sum(&app).await, store.events_read()), (10, 10));
        store.confirmations();
        store.lie(lie.clone());
        let answer = ask(&app, Ask::Add(1)).await;
        let stored = store.head().await.unwrap().0 - 10;
        assert_eq!(sum(&app).await, 10 + stored as i64, "after {lie:?}, answered {answer:?}");
        let read = store.events_read();
        assert_eq!(read, if in_doubt { 10 } else { 0 }, "after {lie:?}, answered {answer:?}");
        // The sum is right at once: the actor did not leave the unknown outcome to the next
        // command.
        assert_eq!(store.confirmations(), 1, "after {lie:?}, answered {answer:?}");
    }
}

#[tokio::test]
async fn a_foreign_event_that_cannot_be_folded_quarantines_a_live_aggregate() {
    let (store, app) = watched().await;
    ask(&app, Ask::Add(1)).await.unwrap();
    let mut renamed = foreign("1", "Added", [1]);
    renamed.events[0].event_type = "Renamed".into();
    store.memory.append(vec![renamed]).await;
    for _ in 0..2 {
        let answer = ask(&app, Ask::Add(1)).await;
        let Err(CommandError::Quarantined { reason, .. }) = answer else { panic!("{answer:?}") };
        assert!(reason.contains("position 2"), "{reason}");
    }
}

#[tokio::test]
async fn an_event_that_cannot_be_folded_is_not_stored_when_another_is_to_be_decided_on_it() {
    let (store, app) = watched().await;
    let asks = plain([Ask::Poison, Ask::Add(1)]);
    let answers = in_one_round::<Counter>(&store, &app, asks, vec![]).await;
    assert!(matches!(&answers[0], Err(CommandError::Panicked { .. })), "{answers:?}");
    assert_eq!((answers[1].as_ref().unwrap().version.0, sum(&app).await), (1, 1));
}

#[tokio::test]
async fn losing_more_races_than_allowed_is_a_conflict() {
    let store = watched_store();
    let settings = Settings { conflict_retries: 2, ..Settings::default() };
    let app = Application::builder(store.clone()).aggregate::<Counter>().settings(settings);
    let app = app.start().await.unwrap();
    let intruders = || (0..3).map(|_| foreign("1", "Added", [1])).collect();
    // Only the first of one round lost a race: the second one was retried with it and fits.
    let answers =
        in_one_round::<Counter>(&store, &app, plain([Ask::Add(10), Ask::Add(100)]), intruders());
    let [first, second] = &answers.await[..] else { panic!("not two answers") };
    assert!(matches!(first, Err(CommandError::Conflict { actual, .. }) if actual.0 == 3));
    assert_eq!((second.as_ref().unwrap().version.0, sum(&app).await), (4, 103));
}

#[tokio::test]
async fn a_thousand_refusals_of_one_round_cost_one_confirmation() {
    let (store, app) = watched().await;
    let refused = plain((0..1000).map(|_| Ask::Add(-1)));
    let answers = in_one_round::<Counter>(&store, &app, refused, vec![]).await;
    let right = |answer: &Answer| matches!(answer, Err(CommandError::Refused(BelowZero(-1))));
    assert!(answers.iter().all(right));
    assert_eq!(store.confirmations(), 1);
}

#[tokio::test]
async fn a_stored_append_confirms_the_refusals_of_its_round() {
    let (store, app) = watched().await;
    let asks = || plain([Ask::Add(-1), Ask::Add(5), Ask::Add(-7), Ask::Nothing, Ask::Add(1)]);
    let answers = in_one_round::<Counter>(&store, &app, asks(), vec![]).await;
    let told = answers.iter().map(|answer| match answer {
        Ok(committed) => committed.version.0 as i64,
        Err(CommandError::Refused(BelowZero(below))) => *below,
        other => panic!("{other:?}"),
    });
    assert_eq!(told.collect::<Vec<_>>(), [-1, 1, -2, 1, 2]);
    assert_eq!(store.confirmations(), 0);
    // With a key, each command confirms for itself that it was not executed before.
    let mut asks = asks();
    asks[0] = (Ask::Add(-9), keyed("a", ""));
    asks[2] = (Ask::Add(-99), keyed("b", ""));
    let (store, app) = watched().await;
    let answers = in_one_round::<Counter>(&store, &app, asks, vec![]).await;
    let told = |n: usize| match &answers[n] {
        Err(CommandError::Refused(BelowZero(below))) => *below,
        other => panic!("{other:?}"),
    };
    assert_eq!((told(0), told(2), store.confirmations()), (-9, -94, 2));
}

#[tokio::test]
async fn refusals_that_are_stale_are_decided_again_on_what_others_wrote() {
    let (store, app) = watched().await;
    assert_eq!(sum(&app).await, 0);
    store.memory.append(vec![foreign("1", "Added", [1])]).await;
    let (first, second) = tokio::join!(ask(&app, Ask::Add(-1)), ask(&app, Ask::Add(-1)));
    assert_eq!(first.unwrap().version.0, 2);
    assert!(matches!(second, Err(CommandError::Refused(BelowZero(-1)))), "{second:?}");
}

/// Counts how often it was copied.
#[derive(Default)]
struct Copied;

static COPIES: AtomicUsize = AtomicUsize::new(0);

impl Clone for Copied {
    fn clone(&self) -> Self {
        COPIES.fetch_add(1, Ordering::SeqCst);
        Self
    }
}

impl Aggregate for Copied {
    const TYPE: &'static str = "copied";
    type Command = ();
    type Event = Counted;
    type Error = Infallible;

    fn handle(&self, (): ()) -> Result<Vec<Counted>, Infallible> {
        Ok(vec![Counted::Added(1)])
    }

    fn apply(&mut self, _: &Counted) {}
}

#[tokio::test]
async fn a_round_copies_the_state_once_however_many_commands_it_has() {
    let (store, app) = watched().await;
    let other = vec![Default::default(); 50];
    for answer in in_one_round::<Copied>(&store, &app, other, vec![]).await {
        answer.unwrap();
    }
    assert_eq!(COPIES.load(Ordering::SeqCst), 1);
}
