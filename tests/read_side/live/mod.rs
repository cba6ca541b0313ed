//! Live streams through an application: every event once and in order, the last state of a document,
//! whoever writes and whenever.

mod documents;
mod events;

use std::time::Duration;

use actum::{
    Append, Application, EventEnvelope, ExpectedVersion, Fold, LiveEvents, NewEvent, ReadModel,
    Settings, Sources, Store, StreamId,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::support::counter::{Counted, Counter};

/// Adds up what a counter was given, and counts how often.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
struct Sum {
    sum: i64,
    events: u64,
}

impl ReadModel for Sum {
    const NAME: &'static str = "sum";

    fn sources() -> Sources<Self> {
        // By content, so that the document of an event that cannot be read is not known.
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

/// Fails when it takes so long that it would never come.
async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it never came")
}

async fn next(events: &mut LiveEvents<Counter>) -> (u64, Counted) {
    let event = in_time(events.next()).await.unwrap().expect("the stream ended");
    (event.version.0, event.event)
}

/// Events of this counter and type, written past the application: by another process.
fn foreign(id: &str, event_type: &'static str, payloads: impl Iterator<Item = String>) -> Append {
    let event = |payload: String| NewEvent {
        event_id: Uuid::now_v7(),
        event_type: event_type.into(),
        schema_version: 1,
        payload: payload.into(),
        metadata: "{}".into(),
    };
    let stream = StreamId::new("counter", id).unwrap();
    let events = payloads.map(event).collect();
    Append {
        stream,
        expected: ExpectedVersion::Any,
        events,
        command: None,
        claims: vec![],
        chained: false,
    }
}
