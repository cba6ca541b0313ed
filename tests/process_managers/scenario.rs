//! Orders by values, and what a scenario refuses.

use std::time::Duration;

use actum::StartPosition;
use actum::testing::{ProcessScenario, TestApplication};

use super::orders::{End, Order, OrderCommand, OrderEvent, Orders};
use crate::support::counter::{Ask, Counted, Counter};

fn placed() -> OrderEvent {
    OrderEvent::Placed { counter: "a".to_owned(), number: 5 }
}

#[test]
fn an_order_asks_and_ends_as_it_is_answered() {
    ProcessScenario::<Orders>::of("7")
        .when::<Order>("7", placed())
        .then(|effects| effects.execute::<Counter>("a", &Ask::Add(5)))
        .when::<Counter>("a", Counted::Added(5))
        .then(|effects| effects.execute::<Order>("7", &OrderCommand::End(End::Added(5))))
        .then_state(|state| assert_eq!(state.added, 5))
        .when::<Order>("7", OrderEvent::Ended(End::Added(5)))
        .then(|effects| effects.complete());
}

#[test]
fn a_deadline_is_set_reached_and_cancelled() {
    let held = OrderEvent::Held { hours: 2 };
    let ends = OrderCommand::End(End::Expired);
    ProcessScenario::<Orders>::of("7")
        .when::<Order>("7", held.clone())
        .then(|effects| {
            let at = effects.time() + Duration::from_secs(7200);
            effects.deadline("expiry", at, &"held".to_owned());
        })
        .when_due("expiry")
        .then(|effects| effects.execute::<Order>("7", &ends));
    ProcessScenario::<Orders>::of("7")
        .given::<Order>("7", held)
        .when::<Order>("7", OrderEvent::Released)
        .then(|effects| effects.cancel("expiry"));
}

#[test]
#[should_panic(
    expected = "expected:\n    {\"Add\":6} to counter-a\n  was:\n    {\"Add\":5} to counter-a"
)]
fn another_command_than_expected_fails() {
    let asked = ProcessScenario::<Orders>::of("7").when::<Order>("7", placed());
    asked.then(|effects| effects.execute::<Counter>("a", &Ask::Add(6)));
}

#[test]
#[should_panic(expected = "expected:\n    \n  was:\n    {\"Add\":5} to counter-a")]
fn a_command_that_is_not_expected_fails() {
    let _ = ProcessScenario::<Orders>::of("7").when::<Order>("7", placed()).then(|_| {});
}

#[test]
#[should_panic(expected = "the event does not belong to \"7\"")]
fn an_event_of_another_instance_fails() {
    let _ = ProcessScenario::<Orders>::of("7").when::<Order>("8", placed());
}

#[test]
#[should_panic(expected = "the event parks the instance: panicked: confused")]
fn an_event_that_parks_the_instance_fails() {
    let _ = ProcessScenario::<Orders>::of("7").when::<Order>("7", OrderEvent::Confused);
}

#[test]
#[should_panic(expected = "no deadline \"expiry\" is set")]
fn a_deadline_that_is_not_set_cannot_be_reached() {
    let _ = ProcessScenario::<Orders>::of("7").given::<Order>("7", placed()).when_due("expiry");
}

/// The whole story of an order, with a crash at each step.
#[tokio::test(flavor = "multi_thread")]
async fn an_application_settles_crashes_and_reaches_its_deadlines() {
    let mut app = TestApplication::start(|builder| {
        let builder = builder.aggregate::<Counter>().aggregate::<Order>();
        builder.process_manager::<Orders>(StartPosition::Beginning)
    })
    .await;
    let order = OrderCommand::Place { counter: "a".to_owned(), number: 5 };
    app.execute::<Order>("placed", order).await.unwrap();
    app.crash().await;
    app.settle().await;
    app.execute::<Order>("held", OrderCommand::Hold { hours: 24 }).await.unwrap();
    app.crash().await;
    app.advance(Duration::from_secs(24 * 3600 - 1)).await;
    assert_eq!(app.load::<Order>("held").await.unwrap().state.end, None);
    app.crash().await;
    app.advance(Duration::from_secs(1)).await;
    let story = app.story().await;
    let expected = [
        r#"order-placed: Placed {"counter":"a","number":5}"#,
        "counter-a: Added 5",
        r#"order-placed: Ended {"Added":5}"#,
        r#"order-held: Held {"hours":24}"#,
        r#"process-orders:held: DeadlineReached {"step":"0000000000000004/000/held"}"#,
        r#"order-held: Ended "Expired""#,
    ];
    assert_eq!(story, expected);
}
