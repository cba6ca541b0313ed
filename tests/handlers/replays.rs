//! Events that a handler handles again because an operator wants it: all after a position, in order, and
//! none before it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use actum::operations::OperationError;
use actum::{Application, GlobalPosition, StartPosition};
use tokio::task::JoinSet;

use super::{Script, add, start, versions};
use crate::support::counter::{Ask, Count, Counter};
use crate::support::place::{Place, on_every_place};
use crate::support::waiting::until;

async fn replay(app: &Application, after: u64) -> Result<(), OperationError> {
    app.operations().replay("recorder", GlobalPosition(after), "the mails were lost").await
}

async fn pause(app: &Application) {
    app.operations().pause("recorder", "a replay").await.unwrap();
}

async fn resume(app: &Application) {
    app.operations().resume("recorder").await.unwrap();
}

async fn events_after_a_position_are_handled_again_in_order(place: Place) {
    let script = Arc::new(Script::default());
    let app = start(&place, &script, StartPosition::Beginning).await;
    for _ in 0..10 {
        add(&app, "a", 1).await;
        add(&app, "b", 1).await;
    }
    until(async || script.count() == 20).await;
    // Positions 1 to 14 have seven events of each, and are not handled again.
    pause(&app).await;
    replay(&app, 14).await.unwrap();
    replay(&app, 14).await.unwrap();
    assert!(matches!(replay(&app, 15).await, Err(OperationError::ReplayPosition { .. })));
    app.shutdown().await;
    drop(app);

    let app = start(&place, &script, StartPosition::Beginning).await;
    resume(&app).await;
    add(&app, "a", 1).await;
    let expected: Vec<u64> = (1..=10).chain(8..=10).collect();
    until(async || script.count() == 27).await;
    assert_eq!(script.handled("b"), expected);
    assert_eq!(script.handled("a"), [&*expected, &[11]].concat());
    // From the beginning, where the log has no event.
    pause(&app).await;
    replay(&app, 0).await.unwrap();
    resume(&app).await;
    until(async || script.count() == 27 + 21).await;
    assert_eq!(script.handled("a")[14..], versions(11));
    app.shutdown().await;
}

async fn only_a_handler_that_stands_still_is_moved_back(place: Place) {
    let script = Arc::new(Script::default());
    let builder = place.builder().await.aggregate::<Counter>().read_model::<Count>();
    let builder =
        builder.event_handler(super::Recorder(Arc::clone(&script)), StartPosition::Beginning);
    let app = builder.start().await.unwrap();
    add(&app, "a", 5).await;
    until(async || script.count() == 5).await;
    let runs = replay(&app, 2).await;
    assert!(matches!(runs, Err(OperationError::NotPaused { .. })), "{runs:?}");
    let operations = app.operations();
    operations.pause("count", "a replay").await.unwrap();
    let refused = operations.replay("count", GlobalPosition(2), "again").await.unwrap_err();
    assert!(refused.to_string().contains("under a new VERSION"), "{refused}");
    pause(&app).await;
    let unreasonable = operations.replay("recorder", GlobalPosition(2), "").await;
    assert!(matches!(unreasonable, Err(OperationError::NoReason)), "{unreasonable:?}");
    let beyond = replay(&app, 6).await;
    let Err(OperationError::ReplayPosition { reached, .. }) = beyond else { panic!("{beyond:?}") };
    assert_eq!(reached, GlobalPosition(5));
    resume(&app).await;
    add(&app, "a", 1).await;
    until(async || script.handled("a") == versions(6)).await;
    app.shutdown().await;
}

/// Adds to a key many times at once. Returns the head of the log then.
async fn crowd(app: &Application, key: &str, events: usize) -> u64 {
    let mut adding = JoinSet::new();
    for _ in 0..events {
        let (app, key) = (app.clone(), key.to_owned());
        adding.spawn(
            async move { app.execute::<Counter>(&key, Ask::Add(1)).await.unwrap().position },
        );
    }
    adding.join_all().await.into_iter().max().unwrap().0
}

async fn parked_keys_before_the_position_stay_and_those_after_it_come_again(place: Place) {
    let script = Arc::new(Script::default());
    let app = start(&place, &script, StartPosition::Beginning).await;
    let parked = async || app.operations().parked("recorder").await.unwrap();
    // A replay from among the listed events of the key, and one from among those that are not listed.
    for (key, before) in [("fails-one", 300), ("fails-two", 1_050)] {
        script.is_fixed.store(false, Ordering::SeqCst);
        let late = format!("{key}-late");
        add(&app, key, 1).await;
        until(async || parked().await.len() == 1).await;
        let after = crowd(&app, key, before).await;
        add(&app, &late, 2).await;
        crowd(&app, key, 1_150 - before).await;
        add(&app, "good", 1).await;
        let waiting = async || parked().await.iter().map(|key| key.waiting).sum::<u64>();
        until(async || waiting().await >= 1_001).await;
        pause(&app).await;
        replay(&app, after).await.unwrap();
        let [stays] = &parked().await[..] else { panic!("one of them is released") };
        assert_eq!((&*stays.key, stays.waiting), (key, before.min(1_000) as u64));
        script.is_fixed.store(true, Ordering::SeqCst);
        resume(&app).await;
        until(async || parked().await.is_empty() && script.handled(&late) == versions(2)).await;
        until(async || script.handled(key).len() >= 1_151).await;
        assert_eq!(script.handled(key), versions(1_151));
    }
    app.shutdown().await;
}

on_every_place!(
    events_after_a_position_are_handled_again_in_order,
    only_a_handler_that_stands_still_is_moved_back,
    parked_keys_before_the_position_stay_and_those_after_it_come_again,
);
