//! Deferred commands: accepted durably, executed once and in order, and reported by status, by
//! callback and by signed webhook calls.

mod callbacks;
mod deciders;
mod execution;
mod open_work;
mod outcomes;
mod scheduled;
mod slow_commands;
mod webhook;

use std::time::Duration;

use actum::{
    Application, ApplicationBuilder, CommandKey, CommandOptions, CommandState, StreamVersion,
};
use tokio::time::sleep;
use uuid::Uuid;

use crate::support::counter::{Ask, Counted, Counter};
use crate::support::place::Place;
use crate::support::waiting::at_most;

/// An application whose counters take deferred commands.
pub async fn start(place: &Place) -> Application {
    start_with(place, |builder| builder.aggregate::<Counter>().answers_later::<Counter>()).await
}

/// An application with the parts that `parts` adds.
pub async fn start_with(
    place: &Place,
    parts: impl FnOnce(ApplicationBuilder) -> ApplicationBuilder,
) -> Application {
    parts(place.builder().await).start().await.unwrap()
}

pub fn keyed(id: &str, ask: &Ask) -> CommandOptions {
    CommandOptions::keyed(CommandKey::new(id, format!("{ask:?}").as_bytes()).unwrap())
}

pub async fn later(app: &Application, counter: &str, ask: Ask, key: &str) -> Uuid {
    app.execute_later::<Counter>(counter, &ask, keyed(key, &ask), None).await.unwrap()
}

/// The state of a command once it is no longer only accepted.
pub async fn concluded(app: &Application, id: Uuid) -> CommandState {
    let ask = async {
        loop {
            match app.command(&id.to_string()).await.unwrap().state {
                CommandState::Accepted => sleep(Duration::from_millis(5)).await,
                state => return state,
            }
        }
    };
    at_most(Duration::from_secs(60), ask).await
}

pub async fn counted(app: &Application, counter: &str) -> Vec<Counted> {
    let events = app.history::<Counter>(counter, StreamVersion::ZERO, 10_000).await.unwrap();
    events.into_iter().map(|envelope| envelope.event).collect()
}
