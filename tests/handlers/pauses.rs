//! Handlers that an operator pauses: work under way is finished, and nothing more happens until the
//! handler is resumed.

use std::sync::Arc;
use std::time::Duration;

use actum::operations::{OperationError, SubscriptionState, SubscriptionStatus};
use actum::{Application, StartPosition};
use tokio::time::sleep;

use super::{Script, add, start, versions};
use crate::support::place::{Place, on_every_place};
use crate::support::waiting::until;

/// Longer than a lease is renewed after, so that every process has looked.
const A_WHILE: Duration = Duration::from_millis(1_300);

async fn status(app: &Application) -> SubscriptionStatus {
    let mut status = app.operations().status().await;
    status.subscriptions.pop().expect("there is the handler")
}

async fn stands_still(app: &Application) {
    until(async || {
        let partitions = status(app).await.partitions;
        let stands = |state| state == Some(SubscriptionState::Paused);
        partitions.iter().all(|it| it.owner.is_none() && stands(it.state))
    })
    .await;
}

async fn a_paused_handler_finishes_its_work_and_stands_still_also_after_a_restart(place: Place) {
    let script = Arc::new(Script::default());
    let app = start(&place, &script, StartPosition::Beginning).await;
    add(&app, "slow", 20).await;
    until(async || script.count() > 0).await;
    let pause = app.operations().pause("recorder", "the mail server moves").await.unwrap();
    stands_still(&app).await;
    let handled = script.count();
    assert!(handled < 20, "it handled all of them first");
    add(&app, "a", 3).await;
    app.shutdown().await;
    drop(app);

    let app = start(&place, &script, StartPosition::Beginning).await;
    stands_still(&app).await;
    sleep(A_WHILE).await;
    assert_eq!(script.count(), handled);
    assert_eq!(status(&app).await.paused, Some(pause.clone()));
    assert!(app.readiness().ready, "{:?}", app.readiness());
    // A second pause has another reason, and began no later.
    let again = app.operations().pause("recorder@1", "it still moves").await.unwrap();
    assert_eq!((again.since, &*again.reason), (pause.since, "it still moves"));

    app.operations().resume("recorder").await.unwrap();
    until(async || script.count() == 23).await;
    // What was under way is not repeated, because it was finished and saved.
    assert_eq!((script.handled("slow"), script.handled("a")), (versions(20), versions(3)));
    assert_eq!(status(&app).await.paused, None);
    app.operations().resume("recorder").await.unwrap();
    add(&app, "a", 1).await;
    until(async || script.handled("a") == versions(4)).await;
    app.shutdown().await;
}

async fn a_pause_needs_a_reason_and_a_name(place: Place) {
    let app = start(&place, &Arc::new(Script::default()), StartPosition::Beginning).await;
    let operations = app.operations();
    let pause = async |name, reason| operations.pause(name, reason).await.unwrap_err();
    assert!(matches!(pause("recorder", " ").await, OperationError::NoReason));
    assert!(matches!(pause("recorder", "\0").await, OperationError::Nul { .. }));
    assert!(matches!(pause("nobody", "why").await, OperationError::Unknown { .. }));
    assert!(matches!(operations.resume("nobody").await, Err(OperationError::Unknown { .. })));
    assert_eq!(status(&app).await.paused, None);
    app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_pause_in_one_process_holds_in_every_other_one() {
    let (place, script) = (Place::postgres().await, Arc::new(Script::default()));
    let one = start(&place, &script, StartPosition::Beginning).await;
    let two = start(&place, &script, StartPosition::Beginning).await;
    add(&one, "a", 3).await;
    until(async || script.count() == 3).await;
    for (app, other) in [(&one, &two), (&two, &one)] {
        app.operations().pause("recorder", "why").await.unwrap();
        stands_still(app).await;
        stands_still(other).await;
        let handled = script.count();
        for counter in 0..8 {
            add(app, &counter.to_string(), 1).await;
        }
        sleep(A_WHILE).await;
        assert_eq!(script.count(), handled);
        other.operations().resume("recorder").await.unwrap();
        until(async || script.count() == handled + 8).await;
    }
    one.shutdown().await;
    two.shutdown().await;
}

on_every_place!(
    a_paused_handler_finishes_its_work_and_stands_still_also_after_a_restart,
    a_pause_needs_a_reason_and_a_name,
);
