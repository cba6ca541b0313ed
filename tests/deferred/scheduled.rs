//! Scheduled commands: carried out at their time and not before, once, unless they are cancelled first.

use std::time::Duration;

use actum::operations::OperationError;
use actum::store::{Clock, SystemClock};
use actum::testing::ManualClock;
use actum::{Application, CommandState};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{concluded, counted, keyed, later};
use crate::support::counter::{Ask, Counted, Counter};
use crate::support::place::{Place, on_every_place};
use crate::support::waiting::until;

const HOUR: Duration = Duration::from_secs(3600);

async fn start(place: &Place, clock: &ManualClock) -> Application {
    let builder = place.builder().await.aggregate::<Counter>().answers_later::<Counter>();
    builder.clock(clock.clone()).start().await.unwrap()
}

/// A clock that stands at the machine's time.
fn standing() -> ManualClock {
    let clock = ManualClock::new();
    clock.set(SystemClock.now());
    clock
}

async fn schedule(app: &Application, at: OffsetDateTime, ask: Ask, key: &str) -> Uuid {
    app.schedule::<Counter>("a", &ask, at, keyed(key, &ask)).await.unwrap()
}

async fn state(app: &Application, id: Uuid) -> CommandState {
    app.command(&id.to_string()).await.unwrap().state
}

fn is_cancelled(state: &CommandState) -> bool {
    matches!(state, CommandState::Refused { code, .. } if code == "cancelled")
}

async fn a_command_is_carried_out_at_its_time_and_once(place: Place) {
    let clock = standing();
    let app = start(&place, &clock).await;
    let tomorrow = clock.now() + 24 * HOUR;
    let id = schedule(&app, tomorrow, Ask::Add(5), "five").await;
    assert_eq!(schedule(&app, tomorrow, Ask::Add(5), "five").await, id);
    assert_eq!(app.command(&id.to_string()).await.unwrap().due_at, Some(tomorrow));
    // A command to the same aggregate does not wait for it.
    let today = later(&app, "a", Ask::Add(1), "today").await;
    assert!(matches!(concluded(&app, today).await, CommandState::Committed { .. }));
    clock.advance(23 * HOUR);
    let again = later(&app, "a", Ask::Add(1), "again").await;
    concluded(&app, again).await;
    assert_eq!(state(&app, id).await, CommandState::Accepted);
    app.shutdown().await;
    drop(app);

    // Neither a restart nor a clock that is set back changes anything.
    clock.set(clock.now() - 2 * HOUR);
    let app = start(&place, &clock).await;
    let after = later(&app, "a", Ask::Add(1), "after").await;
    concluded(&app, after).await;
    assert_eq!(state(&app, id).await, CommandState::Accepted);
    clock.advance(3 * HOUR);
    assert!(matches!(concluded(&app, id).await, CommandState::Committed { .. }));
    let [one, five] = [Counted::Added(1), Counted::Added(5)];
    assert_eq!(counted(&app, "a").await, [one.clone(), one.clone(), one, five]);
    app.shutdown().await;
}

async fn a_cancelled_command_is_never_carried_out(place: Place) {
    let clock = standing();
    let app = start(&place, &clock).await;
    let at = clock.now() + HOUR;
    let id = schedule(&app, at, Ask::Add(5), "five").await;
    let done = schedule(&app, clock.now() - HOUR, Ask::Add(1), "one").await;
    concluded(&app, done).await;
    assert!(is_cancelled(&app.cancel_scheduled(&id.to_string()).await.unwrap()));
    assert!(is_cancelled(&app.cancel_scheduled(&id.to_string()).await.unwrap()));
    let late = app.cancel_scheduled(&done.to_string()).await.unwrap();
    assert!(matches!(late, CommandState::Committed { .. }), "{late:?}");
    let unknown = app.cancel_scheduled("nobody").await.unwrap_err();
    assert!(matches!(unknown, OperationError::UnknownCommand { .. }), "{unknown:?}");
    app.shutdown().await;
    drop(app);
    clock.advance(2 * HOUR);
    let app = start(&place, &clock).await;
    let last = later(&app, "a", Ask::Add(1), "last").await;
    concluded(&app, last).await;
    assert!(is_cancelled(&state(&app, id).await));
    assert_eq!(counted(&app, "a").await, [Counted::Added(1), Counted::Added(1)]);
    app.shutdown().await;
}

async fn either_cancelled_or_carried_out_and_never_both(place: Place) {
    let clock = standing();
    let app = start(&place, &clock).await;
    let mut ids = Vec::new();
    for n in 0..40 {
        ids.push(schedule(&app, clock.now() + HOUR, Ask::Add(1), &format!("{n}")).await);
    }
    let cancelling = async {
        let mut cancelled = 0;
        for id in &ids {
            let state = app.cancel_scheduled(&id.to_string()).await.unwrap();
            cancelled += usize::from(is_cancelled(&state));
        }
        cancelled
    };
    let moving = async { clock.advance(2 * HOUR) };
    let (cancelled, ()) = tokio::join!(cancelling, moving);
    for id in &ids {
        concluded(&app, *id).await;
    }
    assert_eq!(counted(&app, "a").await.len(), ids.len() - cancelled);
    app.shutdown().await;
}

async fn what_is_scheduled_is_listed_by_time_and_fires_oldest_first(place: Place) {
    let clock = standing();
    let app = start(&place, &clock).await;
    let mut expected = Vec::new();
    for hours in [5_u32, 1, 4, 2, 3] {
        let ask = Ask::Add(hours.into());
        let id = schedule(&app, clock.now() + hours * HOUR, ask, &format!("{hours}")).await;
        expected.push((hours, id.to_string()));
    }
    expected.sort_unstable();
    let listed = async || app.scheduled(None).await.unwrap();
    until(async || listed().await.len() == 5).await;
    let all = listed().await;
    let ids: Vec<_> = all.iter().map(|scheduled| &scheduled.id).collect();
    assert_eq!(ids, expected.iter().map(|(_, id)| id).collect::<Vec<_>>());
    assert!(all.iter().all(|scheduled| scheduled.target == "counter-a"), "{all:?}");
    assert_eq!(app.scheduled(Some(&all[2])).await.unwrap(), all[3..]);
    app.shutdown().await;
    drop(app);
    clock.advance(100 * HOUR);
    let app = start(&place, &clock).await;
    until(async || counted(&app, "a").await.len() == 5).await;
    until(async || app.scheduled(None).await.unwrap().is_empty()).await;
    app.shutdown().await;
}

on_every_place!(
    a_command_is_carried_out_at_its_time_and_once,
    a_cancelled_command_is_never_carried_out,
    either_cancelled_or_carried_out_and_never_both,
    what_is_scheduled_is_listed_by_time_and_fires_oldest_first,
);
