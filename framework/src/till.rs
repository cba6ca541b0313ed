//! An aggregate for tests of followers of the log. Its events carry no data.

use std::convert::Infallible;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::aggregate::Aggregate;
use crate::event::{ExpectedVersion, NewEvent, StreamId};
use crate::store::contract::{Append, EventStore};

#[derive(Default, Clone)]
pub(crate) struct Till;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Rung {
    Rung,
}

impl Aggregate for Till {
    const TYPE: &'static str = "till";
    type Command = ();
    type Event = Rung;
    type Error = Infallible;

    fn handle(&self, (): ()) -> Result<Vec<Rung>, Infallible> {
        Ok(vec![Rung::Rung])
    }

    fn apply(&mut self, _: &Rung) {}
}

impl Till {
    /// Appends `times` events to one stream, in one append.
    pub(crate) async fn ring(store: &impl EventStore, times: usize) {
        let events = (0..times).map(|_| NewEvent {
            event_id: Uuid::now_v7(),
            event_type: "Rung".into(),
            schema_version: 1,
            payload: "null".into(),
            metadata: "{}".into(),
        });
        let append = Append {
            stream: StreamId::new(Self::TYPE, "1").unwrap(),
            expected: ExpectedVersion::Any,
            events: events.collect(),
            command: None,
            claims: vec![],
            chained: false,
        };
        store.append(vec![append]).await;
    }
}
