//! Process managers on every store: each effect happens once, every result comes back, deadlines fire
//! when their time has come, and what cannot be handled stays visible.

mod crashes;
pub mod orders;
mod scenario;

use std::time::Duration;

use actum::operations::OperationError;
use actum::store::{Clock, EventStore, SystemClock};
use actum::testing::ManualClock;
use actum::{Application, ApplicationBuilder, GlobalPosition, ReadError, StartPosition};
use tokio::time::sleep;

use self::orders::{End, Order, OrderCommand, Orders};
use crate::support::counter::Counter;
use crate::support::events::{append, event};
use crate::support::place::{Place, on_every_place};
use crate::support::waiting::until;
use crate::support::watched::watched_store;

const HOUR: Duration = Duration::from_secs(3600);

async fn builder(place: &Place) -> ApplicationBuilder {
    let builder = place.builder().await.aggregate::<Counter>().aggregate::<Order>();
    builder.process_manager::<Orders>(StartPosition::Beginning)
}

async fn start(place: &Place) -> Application {
    builder(place).await.start().await.unwrap()
}

async fn started(place: &Place, clock: &ManualClock) -> Application {
    builder(place).await.clock(clock.clone()).start().await.unwrap()
}

/// A clock that stands at the machine's time, which the store records.
fn standing() -> ManualClock {
    let clock = ManualClock::new();
    clock.set(SystemClock.now());
    clock
}

async fn command(app: &Application, order: &str, command: OrderCommand) {
    app.execute::<Order>(order, command).await.unwrap();
}

async fn place_order(app: &Application, order: &str, number: i64) {
    let counter = "a".to_owned();
    command(app, order, OrderCommand::Place { counter, number }).await;
}

async fn end(app: &Application, order: &str) -> Option<End> {
    app.load::<Order>(order).await.unwrap().state.end
}

async fn ends(app: &Application, order: &str, expected: End) {
    until(async || end(app, order).await.is_some()).await;
    assert_eq!(end(app, order).await, Some(expected));
}

async fn sum(app: &Application) -> i64 {
    app.load::<Counter>("a").await.unwrap().state.sum
}

async fn every_result_of_a_command_comes_back(place: Place) {
    let app = start(&place).await;
    for (order, number, expected) in [
        ("added", 5, End::Added(5)),
        ("refused", -9, End::Refused("below_zero".to_owned())),
        ("unchanged", 0, End::Unchanged),
        ("failed", 13, End::Refused("failed".to_owned())),
    ] {
        place_order(&app, order, number).await;
        ends(&app, order, expected).await;
    }
    assert_eq!(sum(&app).await, 5);
    app.shutdown().await;
}

async fn each_effect_happens_once_across_restarts(place: Place) {
    let mut app = start(&place).await;
    for round in 0..4 {
        for order in 0..25 {
            place_order(&app, &format!("{round}-{order}"), 1).await;
        }
        // In the middle of it, without a save or an answer.
        drop(app);
        app = start(&place).await;
    }
    for round in 0..4 {
        for order in 0..25 {
            ends(&app, &format!("{round}-{order}"), End::Added(1)).await;
        }
    }
    assert_eq!(sum(&app).await, 100);
    app.shutdown().await;
}

async fn a_deadline_fires_when_the_clock_has_reached_it(place: Place) {
    let clock = standing();
    let app = started(&place, &clock).await;
    command(&app, "held", OrderCommand::Hold { hours: 24 }).await;
    command(&app, "released", OrderCommand::Hold { hours: 24 }).await;
    command(&app, "released", OrderCommand::Release).await;
    command(&app, "longer", OrderCommand::Hold { hours: 24 }).await;
    command(&app, "longer", OrderCommand::Hold { hours: 48 }).await;
    // Passed by every order, so what was due before is done.
    let passes = async |app: &Application, order: &str| {
        place_order(app, order, 1).await;
        ends(app, order, End::Added(1)).await;
    };
    clock.advance(23 * HOUR);
    passes(&app, "first").await;
    assert_eq!(end(&app, "held").await, None);
    app.shutdown().await;
    drop(app);

    let app = started(&place, &clock).await;
    clock.set(clock.now() - HOUR);
    passes(&app, "second").await;
    assert_eq!(end(&app, "held").await, None);
    clock.advance(3 * HOUR);
    ends(&app, "held", End::Expired).await;
    passes(&app, "third").await;
    assert_eq!((end(&app, "released").await, end(&app, "longer").await), (None, None));
    clock.advance(48 * HOUR);
    ends(&app, "longer", End::Expired).await;
    assert_eq!(end(&app, "released").await, None);
    app.shutdown().await;
}

async fn what_was_due_while_nothing_ran_fires_at_the_start(place: Place) {
    let clock = standing();
    let app = started(&place, &clock).await;
    for order in 0..20 {
        command(&app, &format!("{order}"), OrderCommand::Hold { hours: 1 + order % 7 }).await;
    }
    app.shutdown().await;
    drop(app);
    clock.advance(100 * HOUR);
    let app = started(&place, &clock).await;
    for order in 0..20 {
        ends(&app, &format!("{order}"), End::Expired).await;
    }
    app.shutdown().await;
}

async fn an_instance_that_panics_parks_its_key_and_no_other(place: Place) {
    let app = start(&place).await;
    command(&app, "bad", OrderCommand::Confuse).await;
    place_order(&app, "bad", 1).await;
    place_order(&app, "good", 1).await;
    ends(&app, "good", End::Added(1)).await;
    let parked = async || app.operations().parked("orders").await.unwrap();
    until(async || parked().await.len() == 1).await;
    let [key] = &parked().await[..] else { panic!("one key is parked") };
    assert_eq!((&*key.key, &*key.reason), ("bad", "panicked: confused"));
    assert_eq!(end(&app, "bad").await, None);
    let position = key.position;
    app.operations().skip_parked("orders", "bad", position, "it was confused").await.unwrap();
    ends(&app, "bad", End::Added(1)).await;
    app.shutdown().await;
}

async fn the_story_of_an_instance_is_told(place: Place) {
    let app = start(&place).await;
    command(&app, "a", OrderCommand::Hold { hours: 1 }).await;
    place_order(&app, "a", -1).await;
    let refused = End::Refused("below_zero".to_owned());
    ends(&app, "a", refused).await;
    until(async || app.story::<Orders>("a").await.is_ok_and(|story| story.is_complete)).await;
    let story = app.story::<Orders>("a").await.unwrap();
    let steps = story.steps.iter().map(|step| (&*step.event.event_type, step.effects.join(", ")));
    let steps: Vec<_> = steps.collect();
    assert!(steps[0].1.starts_with("deadline expiry at 20"), "{steps:?}");
    let rest: Vec<_> = steps[1..].iter().map(|(event, effects)| (*event, &**effects)).collect();
    let expected =
        [("Placed", "Add to counter-a"), ("Refused", "End to order-a"), ("Ended", "complete")];
    assert_eq!(rest, expected);
    assert!(story.deadlines.is_empty() && story.state == Orders { added: 0 });
    let missing = app.story::<Orders>("b").await.unwrap_err();
    assert!(matches!(missing, ReadError::NotFound { model: "orders", .. }), "{missing:?}");
    app.shutdown().await;
}

async fn a_new_process_manager_in_an_old_log_starts_where_it_is_told(place: Place) {
    let builder = place.builder().await.aggregate::<Counter>().aggregate::<Order>();
    let app = builder.start().await.unwrap();
    place_order(&app, "old", 1).await;
    app.shutdown().await;
    drop(app);
    let builder = place.builder().await.aggregate::<Counter>().aggregate::<Order>();
    let builder = builder.process_manager::<Orders>(StartPosition::Now);
    let app = builder.start().await.unwrap();
    place_order(&app, "new", 1).await;
    ends(&app, "new", End::Added(1)).await;
    assert_eq!((end(&app, "old").await, sum(&app).await), (None, 1));
    app.shutdown().await;
}

async fn a_paused_process_manager_sends_nothing_until_it_is_resumed(place: Place) {
    let app = start(&place).await;
    app.operations().pause("orders", "the counter is counted").await.unwrap();
    until(async || {
        let status = app.operations().status().await;
        status.subscriptions[0].partitions.iter().all(|it| it.owner.is_none())
    })
    .await;
    place_order(&app, "a", 1).await;
    sleep(Duration::from_millis(200)).await;
    assert_eq!(end(&app, "a").await, None);
    let replayed = app.operations().replay("orders", GlobalPosition::ZERO, "again").await;
    assert!(matches!(replayed, Err(OperationError::NotReplayable { .. })), "{replayed:?}");
    app.operations().resume("orders").await.unwrap();
    ends(&app, "a", End::Added(1)).await;
    app.shutdown().await;
}

/// With more, memory would grow with the length of the log.
#[tokio::test]
async fn a_long_log_opens_no_more_than_a_few_thousand_commands_at_a_time() {
    const ORDERS: u64 = 10_000;
    let store = watched_store();
    let placed = |n: u64| {
        let payload = r#"{"counter":"a","number":1}"#;
        append("order", &n.to_string(), [event("Placed", payload)])
    };
    store.memory.append((0..ORDERS).map(placed).collect()).await;
    // No command ends while the store is held.
    let held = store.hold().await;
    let builder = Application::builder(store.clone()).aggregate::<Counter>().aggregate::<Order>();
    let builder = builder.process_manager::<Orders>(StartPosition::Beginning);
    let app = builder.start().await.unwrap();
    let reached = async || {
        let status = app.operations().status().await;
        status.subscriptions[0].partitions[0].position.unwrap().0
    };
    until(async || reached().await >= 4_000).await;
    sleep(Duration::from_millis(500)).await;
    assert!(reached().await < ORDERS, "{}", reached().await);
    drop(held);
    ends(&app, "0", End::Added(1)).await;
    until(async || reached().await >= ORDERS).await;
    app.shutdown().await;
}

on_every_place!(
    a_paused_process_manager_sends_nothing_until_it_is_resumed,
    every_result_of_a_command_comes_back,
    each_effect_happens_once_across_restarts,
    a_deadline_fires_when_the_clock_has_reached_it,
    what_was_due_while_nothing_ran_fires_at_the_start,
    an_instance_that_panics_parks_its_key_and_no_other,
    the_story_of_an_instance_is_told,
    a_new_process_manager_in_an_old_log_starts_where_it_is_told,
);
