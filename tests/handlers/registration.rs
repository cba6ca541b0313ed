//! Registration of event handlers: names, and read models beside them.

use std::sync::Arc;

use actum::{
    ApplicationBuilder, EventEnvelope, Fold, ReadModel, Sources, StartError, StartPosition,
};
use serde::{Deserialize, Serialize};

use super::{Recorder, Script, add, start, versions};
use crate::support::counter::{Count, Counted, Counter};
use crate::support::place::{Place, on_every_place};
use crate::support::waiting::until;

/// The next version of [`Count`].
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
struct NewCount(u64);

impl ReadModel for NewCount {
    const NAME: &'static str = "count";
    const VERSION: u32 = 2;

    fn sources() -> Sources<Self> {
        Sources::of::<Counter>()
    }
}

impl Fold<Counter> for NewCount {
    fn apply(&mut self, _: &EventEnvelope<Counted>) {
        self.0 += 1;
    }
}

impl From<Count> for NewCount {
    fn from(old: Count) -> Self {
        Self(old.0)
    }
}

/// A read model of the name of [`Recorder`].
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
struct SameName;

impl ReadModel for SameName {
    const NAME: &'static str = "recorder";
    const PARTITIONS: u32 = 2;

    fn sources() -> Sources<Self> {
        Sources::of::<Counter>()
    }
}

impl Fold<Counter> for SameName {
    fn apply(&mut self, _: &EventEnvelope<Counted>) {}
}

async fn builder(place: &Place) -> ApplicationBuilder {
    place.builder().await.aggregate::<Counter>()
}

async fn refused(builder: ApplicationBuilder) -> String {
    match builder.start().await {
        Ok(_) => panic!("it starts"),
        Err(error) => error.to_string(),
    }
}

fn recorder() -> Recorder {
    Recorder(Arc::new(Script::default()))
}

async fn a_handler_and_a_read_model_of_one_name_are_refused(place: Place) {
    let handler = builder(&place).await.event_handler(recorder(), StartPosition::Now);
    let refusal = refused(handler.read_model::<SameName>()).await;
    assert!(refusal.starts_with("recorder is registered already"), "{refusal}");
}

async fn a_read_model_and_a_handler_of_one_name_are_refused(place: Place) {
    let read_model = builder(&place).await.read_model::<SameName>();
    let refusal = refused(read_model.event_handler(recorder(), StartPosition::Now)).await;
    assert!(refusal.starts_with("recorder is registered already"), "{refusal}");
}

async fn the_name_of_a_read_model_in_the_database_is_no_name_of_a_handler(place: Place) {
    let app = builder(&place).await.read_model::<SameName>().start().await.unwrap();
    app.shutdown().await;
    drop(app);
    match builder(&place).await.event_handler(recorder(), StartPosition::Now).start().await {
        Err(StartError::OtherKind(name)) => assert_eq!(name, "recorder"),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it starts"),
    }
}

async fn the_name_of_a_handler_in_the_database_is_no_name_of_a_read_model(place: Place) {
    let script = Arc::default();
    let app = start(&place, &script, StartPosition::Now).await;
    app.shutdown().await;
    drop(app);
    let refused = refused(builder(&place).await.read_model::<SameName>()).await;
    assert!(refused.contains("an event handler"), "{refused}");
}

async fn a_rebuild_of_a_read_model_fires_no_handler(place: Place) {
    let script = Arc::new(Script::default());
    let old = builder(&place).await.read_model::<Count>();
    let old = old.event_handler(Recorder(Arc::clone(&script)), StartPosition::Beginning);
    let app = old.start().await.unwrap();
    let last = add(&app, "a", 20).await;
    until(async || script.handled("a") == versions(20)).await;
    app.shutdown().await;
    drop(app);
    let new = builder(&place).await.read_model_replacing::<NewCount, Count>();
    let new = new.event_handler(Recorder(Arc::clone(&script)), StartPosition::Beginning);
    let app = new.start().await.unwrap();
    let serves = async || {
        let versions = app.operations().versions("count").await.unwrap();
        versions.iter().any(|version| version.number == 2 && version.is_serving)
    };
    until(serves).await;
    assert_eq!(app.read::<NewCount>("a").after(last).await.unwrap().body, NewCount(20));
    add(&app, "a", 1).await;
    until(async || script.handled("a") == versions(21)).await;
    app.shutdown().await;
}

on_every_place!(
    a_handler_and_a_read_model_of_one_name_are_refused,
    a_read_model_and_a_handler_of_one_name_are_refused,
    the_name_of_a_read_model_in_the_database_is_no_name_of_a_handler,
    the_name_of_a_handler_in_the_database_is_no_name_of_a_read_model,
    a_rebuild_of_a_read_model_fires_no_handler,
);
