//! Aggregate actors through an application: order, conflicts, panics, overload, passivation, drain.

use std::sync::Arc;
use std::time::Duration;

use actum::store::{EventStore, MemoryStore, Store};
use actum::{
    Application, CommandError, CommandKey, CommandOptions, ExpectedVersion, Settings, StreamVersion,
};

use crate::support::counter::{Ask, BelowZero, Counter};
use crate::support::events::{foreign, keyed};
use crate::support::watched::watched_store;

async fn application(store: impl Store, settings: Settings) -> Application {
    Application::builder(store).aggregate::<Counter>().settings(settings).start().await.unwrap()
}

async fn default_application() -> (MemoryStore, Application) {
    let store = MemoryStore::new();
    (store.clone(), application(store, Settings::default()).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_concurrent_additions_add_up() {
    let (store, app) = default_application().await;
    let asks = (0..1000).map(|_| {
        let app = app.clone();
        tokio::spawn(async move { app.execute::<Counter>("1", Ask::Add(1)).await.unwrap() })
    });
    let mut versions = Vec::new();
    for ask in asks.collect::<Vec<_>>() {
        versions.push(ask.await.unwrap().version.0);
    }
    versions.sort_unstable();
    assert_eq!(versions, (1..=1000).collect::<Vec<_>>());
    assert_eq!(store.head().await.unwrap().0, 1000);
    let refused = app.execute::<Counter>("1", Ask::Add(-1001)).await;
    assert!(matches!(refused, Err(CommandError::Refused(BelowZero(-1)))), "{refused:?}");
    app.shutdown().await;
}

#[tokio::test]
async fn a_command_with_nothing_to_do_answers_the_version_it_found() {
    let (store, app) = default_application().await;
    let first = app.execute::<Counter>("1", Ask::AddTwice(2)).await.unwrap();
    let nothing = app.execute::<Counter>("1", Ask::Nothing).await.unwrap();
    assert_eq!((nothing.version, nothing.position), (first.version, first.position));
    assert_eq!(store.head().await.unwrap().0, 2);
}

#[tokio::test]
async fn a_retried_command_answers_its_first_outcome_and_acts_once() {
    let (store, app) = default_application().await;
    let ask = |options| app.execute_with::<Counter>("1", Ask::Add(5), options);
    let first = ask(keyed("a")).await.unwrap();
    app.execute::<Counter>("1", Ask::Add(-5)).await.unwrap();
    let again = ask(keyed("a")).await.unwrap();
    assert_eq!((again.version, again.position), (first.version, first.position));
    assert!(again.replayed && !first.replayed);
    // A new decision on this command would refuse it.
    let spent = app.execute_with::<Counter>("2", Ask::Add(3), keyed("b")).await.unwrap();
    let reused = CommandOptions::keyed(CommandKey::new("b", b"other").unwrap());
    let other = app.execute_with::<Counter>("2", Ask::Add(3), reused).await;
    assert!(matches!(other, Err(CommandError::KeyReused { .. })), "{other:?}");
    assert_eq!(spent.version, StreamVersion(1));
    assert_eq!(store.head().await.unwrap().0, 3);
}

#[tokio::test]
async fn a_retry_that_would_now_be_refused_still_answers_its_first_outcome() {
    let (_, app) = default_application().await;
    app.execute::<Counter>("1", Ask::Add(5)).await.unwrap();
    let first = app.execute_with::<Counter>("1", Ask::Add(-5), keyed("a")).await.unwrap();
    let again = app.execute_with::<Counter>("1", Ask::Add(-5), keyed("a")).await.unwrap();
    assert_eq!((again.version, again.replayed), (first.version, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_concurrent_retries_act_once() {
    let (store, app) = default_application().await;
    let asks = (0..50).map(|_| {
        let app = app.clone();
        tokio::spawn(async move {
            app.execute_with::<Counter>("1", Ask::Add(1), keyed("a")).await.unwrap()
        })
    });
    let mut fresh = 0;
    for ask in asks.collect::<Vec<_>>() {
        let committed = ask.await.unwrap();
        assert_eq!(committed.version, StreamVersion(1));
        fresh += u32::from(!committed.replayed);
    }
    assert_eq!((fresh, store.head().await.unwrap().0), (1, 1));
}

#[tokio::test]
async fn a_stale_actor_reads_what_it_missed_and_decides_again() {
    let (store, app) = default_application().await;
    app.execute::<Counter>("1", Ask::Add(1)).await.unwrap();
    store.append(vec![foreign("1", "Added", [10])]).await;
    let committed = app.execute::<Counter>("1", Ask::Add(1)).await.unwrap();
    assert_eq!(committed.version, StreamVersion(3));
    // The sum would be 12, which is admissible only on the state with the foreign event.
    app.execute::<Counter>("1", Ask::Add(-12)).await.unwrap();
}

#[tokio::test]
async fn a_version_that_is_not_as_expected_is_told_and_nothing_stored() {
    let (store, app) = default_application().await;
    let options =
        CommandOptions { expected: ExpectedVersion::NoStream, ..CommandOptions::default() };
    app.execute_with::<Counter>("1", Ask::Add(1), options.clone()).await.unwrap();
    let conflict = app.execute_with::<Counter>("1", Ask::Add(1), options).await;
    let Err(CommandError::NotExpected { actual, .. }) = conflict else { panic!("{conflict:?}") };
    assert_eq!((actual, store.head().await.unwrap().0), (StreamVersion(1), 1));
}

#[tokio::test]
async fn a_panic_fails_its_own_command_and_costs_nothing_else() {
    let (_, app) = default_application().await;
    app.execute::<Counter>("1", Ask::Add(1)).await.unwrap();
    for round in 0..100 {
        let (panicked, other) = tokio::join!(
            app.execute::<Counter>("1", Ask::Panic),
            app.execute::<Counter>("1", Ask::Add(1))
        );
        let Err(CommandError::Panicked { message, .. }) = panicked else { panic!("{panicked:?}") };
        assert_eq!(message, "asked to panic");
        assert_eq!(other.unwrap().version, StreamVersion(2 + round));
    }
}

#[tokio::test]
async fn an_event_that_cannot_be_folded_is_never_stored() {
    let (store, app) = default_application().await;
    let poisoned = app.execute::<Counter>("1", Ask::Poison).await;
    assert!(matches!(poisoned, Err(CommandError::Panicked { .. })), "{poisoned:?}");
    assert_eq!(store.head().await.unwrap().0, 0);
    assert_eq!(app.execute::<Counter>("1", Ask::Add(1)).await.unwrap().version, StreamVersion(1));
}

#[tokio::test]
async fn a_stream_that_cannot_be_folded_is_quarantined_and_others_are_not() {
    for (event_type, payload, word) in
        [("Poisoned", "null", "panicked"), ("Renamed", "1", "unknown"), ("Added", "\"x\"", "type")]
    {
        let (store, app) = default_application().await;
        store.append(vec![foreign("1", "Added", [1]), foreign("1", event_type, [payload])]).await;
        for _ in 0..3 {
            let answer = app.execute::<Counter>("1", Ask::Add(1)).await;
            let Err(CommandError::Quarantined { reason, .. }) = answer else {
                panic!("{answer:?}")
            };
            assert!(reason.contains("position 2") && reason.contains(word), "{reason}");
        }
        app.execute::<Counter>("2", Ask::Add(1)).await.unwrap();
    }
}

#[tokio::test]
async fn an_unknown_aggregate_or_invalid_id_is_a_typed_error() {
    let app = Application::builder(MemoryStore::new()).start().await.unwrap();
    let answer = app.execute::<Counter>("1", Ask::Add(1)).await;
    assert!(matches!(answer, Err(CommandError::NotRegistered("counter"))), "{answer:?}");
    let answer = app.execute::<Counter>("1/2", Ask::Add(1)).await;
    assert!(matches!(answer, Err(CommandError::InvalidId(_))), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passivation_under_load_loses_nothing() {
    let store = MemoryStore::new();
    let settings = Settings { live_aggregates: 32, ..Settings::default() };
    let app = application(store.clone(), settings).await;
    let tasks = (0..64_u64).map(|task| {
        let app = app.clone();
        tokio::spawn(async move {
            for round in 0..200 {
                let id = (task * 7 + round * 13) % 500;
                app.execute::<Counter>(&id.to_string(), Ask::Add(1)).await.unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    assert_eq!(store.head().await.unwrap().0, 64 * 200);
    let live = app.live_aggregates::<Counter>();
    assert!(live <= 64, "{live} instances are live; the cap is 32");
}

#[tokio::test]
async fn idle_aggregates_go_and_come_back_with_their_state() {
    let settings = Settings { idle_after: Duration::from_millis(40), ..Settings::default() };
    let app = application(MemoryStore::new(), settings).await;
    app.execute::<Counter>("1", Ask::Add(5)).await.unwrap();
    while app.live_aggregates::<Counter>() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(app.execute::<Counter>("1", Ask::Add(-5)).await.unwrap().version, StreamVersion(2));
}

#[tokio::test]
async fn too_many_commands_are_refused_at_once_and_the_rest_carried_out() {
    let store = watched_store();
    let settings = Settings { commands_in_flight: 10, ..Settings::default() };
    let app = application(store.clone(), settings).await;
    // No command is answered while the store is held, so no place becomes free.
    let held = store.hold().await;
    let asks = (0..100).map(|n| {
        let app = app.clone();
        async move { app.execute::<Counter>(&n.to_string(), Ask::Add(1)).await }
    });
    let mut asks: Vec<_> = asks.map(Box::pin).collect();
    let answers = std::future::poll_fn(|context| {
        let polled = asks.iter_mut().map(|ask| ask.as_mut().poll(context));
        std::task::Poll::Ready(polled.collect::<Vec<_>>())
    })
    .await;
    let overloaded = |answer: &&std::task::Poll<_>| {
        matches!(answer, std::task::Poll::Ready(Err(CommandError::<BelowZero>::Overloaded(_))))
    };
    assert_eq!(answers.iter().filter(overloaded).count(), 90);
    drop(held);
    for (ask, answer) in asks.into_iter().zip(answers) {
        if answer.is_pending() {
            ask.await.unwrap();
        }
    }
    assert_eq!(store.memory.head().await.unwrap().0, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_answers_everyone_who_was_let_in_and_nobody_else() {
    let (store, app) = default_application().await;
    let asks = (0..2000_u32).map(|n| {
        let app = app.clone();
        tokio::spawn(async move { app.execute::<Counter>(&(n % 9).to_string(), Ask::Add(1)).await })
    });
    let asks: Vec<_> = asks.collect();
    tokio::task::yield_now().await;
    app.shutdown().await;
    let mut carried_out = 0;
    for ask in asks {
        match ask.await.unwrap() {
            Ok(_) => carried_out += 1,
            Err(CommandError::Stopping) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(store.head().await.unwrap().0, carried_out);
    let late = app.execute::<Counter>("1", Ask::Add(1)).await;
    assert!(matches!(late, Err(CommandError::Stopping)), "{late:?}");
}

#[tokio::test]
async fn a_caller_that_leaves_does_not_cancel_its_command() {
    let (store, app) = default_application().await;
    let mut ask = Box::pin(app.execute::<Counter>("1", Ask::Add(1)));
    // One poll sends the request. It does not matter if the answer is there already.
    std::future::poll_fn(|context| std::task::Poll::Ready(_ = ask.as_mut().poll(context))).await;
    drop(ask);
    let mut head = store.watch_head();
    head.wait_for(|head| head.0 == 1).await.unwrap();
}

#[test]
fn an_application_starts_under_tokio_and_under_actix() {
    let run = || async {
        let (_, app) = default_application().await;
        let app = Arc::new(app);
        assert_eq!(app.execute::<Counter>("1", Ask::Add(1)).await.unwrap().version.0, 1);
        app.shutdown().await;
    };
    tokio::runtime::Runtime::new().unwrap().block_on(run());
    actix_web::rt::System::new().block_on(run());
}
