//! Live streams through an application: every event once and in order, and the last state of a
//! document, for all writers and at all times.

mod documents;
mod events;

use std::time::Duration;

use actum::store::Store;
use actum::{Application, EventEnvelope, Fold, LiveEvents, ReadModel, Settings, Sources};
use serde::{Deserialize, Serialize};

use crate::support::counter::{Counted, Counter};
use crate::support::waiting::at_most;

/// Adds up what a counter was given, and counts how often.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
struct Sum {
    sum: i64,
    events: u64,
}

impl ReadModel for Sum {
    const NAME: &'static str = "sum";

    fn sources() -> Sources<Self> {
        // Routed by content, so that the document of an event that cannot be decoded is unknown.
        Sources::by::<Counter>(|event| Some(event.stream.id().to_owned()))
    }
}

impl Fold<Counter> for Sum {
    fn apply(&mut self, event: &EventEnvelope<Counted>) {
        match &event.event {
            Counted::Added(n) => (self.sum, self.events) = (self.sum + n, self.events + 1),
            Counted::Poisoned => panic!("not for me"),
        }
    }
}

async fn start(store: impl Store, settings: Settings) -> Application {
    let builder = Application::builder(store).aggregate::<Counter>().read_model::<Sum>();
    builder.settings(settings).start().await.unwrap()
}

async fn application(store: impl Store) -> Application {
    start(store, Settings { read_within: Duration::from_secs(30), ..Settings::default() }).await
}

/// Waits for a minute at most.
async fn in_time<T>(future: impl Future<Output = T>) -> T {
    at_most(Duration::from_secs(60), future).await
}

async fn next(events: &mut LiveEvents<Counter>) -> (u64, Counted) {
    let event = in_time(events.next()).await.unwrap().expect("the stream ended");
    (event.version.0, event.event)
}
