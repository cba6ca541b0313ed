//! Read models and deferred commands that an operator pauses.

use std::time::Duration;

use actum::operations::SubscriptionState;
use actum::{Application, CommandState, ReadError};

use crate::deferred::later;
use crate::support::counter::{Ask, Count, Counter};
use crate::support::place::{Place, on_every_place};
use crate::support::waiting::until;

const SHORT: Duration = Duration::from_millis(50);

async fn start(place: &Place) -> Application {
    let builder = place.builder().await.aggregate::<Counter>().answers_later::<Counter>();
    builder.read_model::<Count>().start().await.unwrap()
}

async fn is_paused(app: &Application, name: &str) -> bool {
    let status = app.operations().status().await;
    let model = status.subscriptions.iter().find(|it| it.name == name).expect("it is known");
    let stands = |state| state == Some(SubscriptionState::Paused);
    model.partitions.iter().all(|it| it.owner.is_none() && stands(it.state))
}

async fn a_read_of_a_paused_read_model_says_why_it_does_not_get_there(place: Place) {
    let app = start(&place).await;
    let first = app.execute::<Counter>("a", Ask::Add(1)).await.unwrap().position;
    assert_eq!(app.read::<Count>("a").after(first).await.unwrap().0, 1);
    app.operations().pause("count", "the disk is full").await.unwrap();
    until(async || is_paused(&app, "count").await).await;
    let second = app.execute::<Counter>("a", Ask::Add(1)).await.unwrap().position;
    let late = app.read::<Count>("a").after(second).within(SHORT).await;
    let Err(ReadError::NotYet { reached, paused, .. }) = &late else { panic!("{late:?}") };
    assert_eq!(*reached, first);
    assert!(paused.as_ref().is_some_and(|paused| paused.contains("the disk is full")), "{late:?}");
    assert_eq!(app.read::<Count>("a").after(first).await.unwrap().0, 1);
    app.shutdown().await;
    drop(app);

    // It cannot catch up, and is not waited for.
    let app = start(&place).await;
    until(async || is_paused(&app, "count").await).await;
    assert!(app.readiness().ready, "{:?}", app.readiness());
    let late = app.read::<Count>("a").within(SHORT).await.unwrap_err().to_string();
    assert!(late.contains("the disk is full"), "{late}");
    app.operations().resume("count").await.unwrap();
    assert_eq!(app.read::<Count>("a").after(second).within(SHORT * 200).await.unwrap().0, 2);
    app.shutdown().await;
}

async fn deferred_commands_wait_while_their_executor_is_paused(place: Place) {
    let app = start(&place).await;
    app.operations().pause("command_executor", "the rates are wrong").await.unwrap();
    until(async || is_paused(&app, "command_executor").await).await;
    let id = later(&app, "a", Ask::Add(1), "one").await;
    let state = async || app.command(&id.to_string()).await.unwrap().state;
    tokio::time::sleep(SHORT * 4).await;
    assert_eq!(state().await, CommandState::Accepted);
    app.operations().resume("command_executor").await.unwrap();
    until(async || matches!(state().await, CommandState::Committed { .. })).await;
    app.shutdown().await;
}

on_every_place!(
    a_read_of_a_paused_read_model_says_why_it_does_not_get_there,
    deferred_commands_wait_while_their_executor_is_paused,
);
