//! An aggregate with large events and small state, and two read models of it: one with small
//! documents, one whose documents are larger than their events.

use std::convert::Infallible;
use std::time::Duration;

use actum::store::{Append, NewEvent};
use actum::{
    Aggregate, ApplicationBuilder, EventEnvelope, ExpectedVersion, Fold, ReadError, ReadModel,
    Settings, Sources, StreamId,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Outcome;
use crate::accounts::append;
use crate::database::BenchDatabase;

/// A drawer of notes, which remembers their number and size.
#[derive(Clone, Default)]
pub struct Drawer {
    notes: u64,
    bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum DrawerEvent {
    Noted { text: String },
}

impl Aggregate for Drawer {
    const TYPE: &'static str = "drawer";
    type Command = String;
    type Event = DrawerEvent;
    type Error = Infallible;

    fn handle(&self, text: String) -> Result<Vec<DrawerEvent>, Infallible> {
        Ok(vec![DrawerEvent::Noted { text }])
    }

    fn apply(&mut self, event: &DrawerEvent) {
        let DrawerEvent::Noted { text } = event;
        (self.notes, self.bytes) = (self.notes + 1, self.bytes + text.len() as u64);
    }
}

/// The size of a drawer.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Size {
    bytes: u64,
}

impl ReadModel for Size {
    const NAME: &'static str = "size";

    fn sources() -> Sources<Self> {
        Sources::of::<Drawer>()
    }
}

impl Fold<Drawer> for Size {
    fn apply(&mut self, event: &EventEnvelope<DrawerEvent>) {
        let DrawerEvent::Noted { text } = &event.event;
        self.bytes += text.len() as u64;
    }
}

/// A document of 24 KiB, whatever its events.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Report {
    text: String,
}

impl ReadModel for Report {
    const NAME: &'static str = "report";

    fn sources() -> Sources<Self> {
        Sources::of::<Drawer>()
    }
}

impl Fold<Drawer> for Report {
    fn apply(&mut self, event: &EventEnvelope<DrawerEvent>) {
        let DrawerEvent::Noted { text } = &event.event;
        self.text = text.repeat((24 << 10) / text.len().max(1));
    }
}

fn id(number: u64) -> String {
    format!("drawer-{number}")
}

/// Appends so many events of so many bytes to drawers that take turns, past the actors.
pub(super) async fn fill(
    database: &BenchDatabase,
    events: u64,
    drawers: u64,
    bytes: usize,
) -> Outcome {
    let app = database.application().await?.start().await?;
    // As many in a call as fit into 8 MiB.
    let batch = ((8 << 20) / (bytes as u64 + 200)).clamp(1, 2_000);
    for first in (0..events).step_by(batch as usize) {
        let appends = (first..events.min(first + batch)).map(|event| {
            let payload = format!("{{\"text\":\"{}\"}}", "x".repeat(bytes));
            let event_of = NewEvent {
                event_id: Uuid::now_v7(),
                event_type: "Noted".into(),
                schema_version: 1,
                payload: payload.into(),
                metadata: "{}".into(),
            };
            Ok(Append {
                stream: StreamId::new(Drawer::TYPE, &id(event % drawers))?,
                expected: ExpectedVersion::Any,
                events: vec![event_of],
                command: None,
                claims: vec![],
                chained: false,
            })
        });
        append(app.store(), appends.collect::<Outcome<Vec<_>>>()?).await?;
    }
    app.shutdown().await;
    Ok(())
}

/// One command to a drawer, which is loaded first.
pub(super) async fn command(builder: ApplicationBuilder) -> Outcome {
    // On a busy machine loading 300 MiB may take longer than a client would wait.
    let patient = Settings { answer_within: Duration::from_secs(300), ..Settings::default() };
    let app = builder.aggregate::<Drawer>().settings(patient).start().await?;
    app.execute::<Drawer>(&id(0), "one more".to_owned()).await?;
    app.shutdown().await;
    Ok(())
}

/// The sizes of all drawers, from nothing to the head, and saved.
pub(super) async fn catch_up(builder: ApplicationBuilder) -> Outcome {
    reach::<Size>(builder).await
}

/// The reports of all drawers, from nothing to the head, and saved.
pub(super) async fn documents(builder: ApplicationBuilder) -> Outcome {
    reach::<Report>(builder).await
}

async fn reach<M: ReadModel>(builder: ApplicationBuilder) -> Outcome {
    let app = builder.read_model::<M>().start().await?;
    let head = app.store().head().await?;
    while let Err(error) = app.read::<M>(&id(0)).after(head).await {
        if !matches!(error, ReadError::NotYet { .. }) {
            return Err(error.into());
        }
    }
    app.shutdown().await;
    Ok(())
}
