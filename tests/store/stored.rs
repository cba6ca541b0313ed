//! Events that would come back changed are refused, and a command with unreadable metadata never
//! runs.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use actum::store::{Append, AppendOutcome, EventStore, MemoryStore, NewEvent, SqliteStore, Store};
use actum::testing::{ReadModelScenario, Scenario};
use actum::{
    Aggregate, Application, CommandError, CommandOptions, CommandState, EventEnvelope,
    ExpectedVersion, Fold, GlobalPosition, Metadata, ReadModel, Sources, StartError, StreamVersion,
};
use serde::{Deserialize, Serialize};

use crate::support::counter::{Ask, BelowZero, Counter};
use crate::support::directory::Directory;
use crate::support::events::{append, event};

/// Measurements, some of which do not survive JSON.
#[derive(Debug, Default, Clone, PartialEq)]
struct Meter {
    last: Option<Measured>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Measured {
    Float(f64),
    Maybe(Option<f64>),
    Nested(Option<Option<u8>>),
    Cached {
        value: u8,
        #[serde(skip)]
        cache: u8,
    },
    Unread {
        #[serde(skip_deserializing)]
        value: u8,
    },
    ByPoint(BTreeMap<(u8, u8), u8>),
    Wide(u128),
}

impl Aggregate for Meter {
    const TYPE: &'static str = "meter";
    type Command = Vec<Measured>;
    type Event = Measured;
    type Error = Infallible;

    fn handle(&self, measured: Vec<Measured>) -> Result<Vec<Measured>, Infallible> {
        Ok(measured)
    }

    fn apply(&mut self, event: &Measured) {
        self.last = Some(event.clone());
    }
}

fn lossy() -> Vec<Measured> {
    vec![
        Measured::Float(f64::NAN),
        Measured::Float(f64::NEG_INFINITY),
        Measured::Maybe(Some(f64::NAN)),
        Measured::Nested(Some(None)),
        Measured::Cached { value: 1, cache: 2 },
        Measured::Unread { value: 1 },
        Measured::ByPoint([((1, 2), 3)].into()),
    ]
}

fn whole() -> Vec<Measured> {
    vec![
        Measured::Float(512_737.448_300_000_05),
        Measured::Maybe(Some(-0.0)),
        Measured::Nested(Some(Some(1))),
        Measured::Cached { value: 1, cache: 0 },
        Measured::Wide(u128::MAX),
    ]
}

async fn start(store: impl Store) -> Application {
    Application::builder(store).aggregate::<Meter>().start().await.unwrap()
}

async fn lossy_events_are_refused(app: &Application) {
    for event in lossy() {
        // The one before it is refused too: a command is stored whole or not at all.
        for command in [vec![event.clone()], vec![Measured::Wide(1), event.clone()]] {
            let refused = app.execute::<Meter>("1", command).await;
            assert!(matches!(refused, Err(CommandError::Unstorable { .. })), "{refused:?}");
        }
    }
    assert_eq!(app.store().head().await.unwrap(), GlobalPosition::ZERO);
    for (index, event) in whole().into_iter().enumerate() {
        let committed = app.execute::<Meter>("1", vec![event]).await.unwrap();
        assert_eq!(committed.version, StreamVersion(index as u64 + 1));
    }
}

async fn they_come_back(app: &Application) {
    let read = app.history::<Meter>("1", StreamVersion::ZERO, 100).await.unwrap();
    let events: Vec<_> = read.into_iter().map(|envelope| envelope.event).collect();
    assert_eq!(events, whole());
    app.execute::<Meter>("1", vec![]).await.unwrap();
}

#[tokio::test]
async fn an_event_that_would_not_come_back_equal_is_refused_before_it_is_stored() {
    let memory = MemoryStore::new();
    let app = start(memory.clone()).await;
    lossy_events_are_refused(&app).await;
    app.shutdown().await;
    they_come_back(&start(memory).await).await;
}

#[tokio::test]
async fn an_event_that_would_not_come_back_equal_never_reaches_a_file() {
    let directory = Directory::new();
    let app = start(SqliteStore::open(&directory.file("log.db")).await.unwrap()).await;
    lossy_events_are_refused(&app).await;
    app.shutdown().await;
    drop(app);
    let reopened = loop {
        // The threads of the first store let the file go when they have ended.
        match SqliteStore::open(&directory.file("log.db")).await {
            Ok(store) => break store,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    they_come_back(&start(reopened).await).await;
}

#[test]
fn a_scenario_finds_an_event_that_would_not_come_back_equal() {
    for event in lossy() {
        let name = format!("{event:?}");
        let found = std::panic::catch_unwind(move || {
            Scenario::<Meter>::given_nothing().when(vec![event]).then_nothing();
        });
        let message = *found.unwrap_err().downcast::<String>().unwrap();
        assert!(message.contains("cannot be stored"), "{name}: {message}");
    }
    for event in whole() {
        Scenario::<Meter>::given([event.clone()]).when(vec![event.clone()]).then([event]);
    }
}

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
struct Measures {
    count: u32,
}

impl ReadModel for Measures {
    const NAME: &'static str = "measures";

    fn sources() -> Sources<Self> {
        Sources::of::<Meter>()
    }
}

impl Fold<Meter> for Measures {
    fn apply(&mut self, _: &EventEnvelope<Measured>) {
        self.count += 1;
    }
}

#[test]
fn a_scenario_of_a_read_model_finds_such_an_event_too() {
    for event in lossy() {
        let found = std::panic::catch_unwind(move || {
            let given = ReadModelScenario::<Measures>::given::<Meter>([("1", event)]);
            given.then("1", Measures { count: 1 });
        });
        let message = *found.map(drop).unwrap_err().downcast::<String>().unwrap();
        assert!(message.contains("cannot be stored"), "{message}");
    }
}

/// Streams of this type cannot be named, and its event has a quote in its name.
#[derive(Debug, Default, Clone)]
struct Dashed;

#[derive(Debug, Default, Clone)]
struct Quoted;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Quotes {
    #[serde(rename = "said \"no\"")]
    Said,
}

macro_rules! unstorable {
    ($name:ident, $type:literal, $event:ty) => {
        impl Aggregate for $name {
            const TYPE: &'static str = $type;
            type Command = ();
            type Event = $event;
            type Error = Infallible;

            fn handle(&self, (): ()) -> Result<Vec<$event>, Infallible> {
                Ok(vec![])
            }

            fn apply(&mut self, _: &$event) {}
        }
    };
}
unstorable!(Dashed, "bank-account", Measured);
unstorable!(Quoted, "quoted", Quotes);

/// Another program's aggregate, by the same name.
#[derive(Debug, Default, Clone)]
struct OtherMeter;
unstorable!(OtherMeter, "meter", Measured);

/// Takes the name of the framework's own streams.
#[derive(Debug, Default, Clone)]
struct Command;
unstorable!(Command, "command", Measured);

#[tokio::test]
async fn an_aggregate_that_cannot_be_stored_is_found_at_start_and_by_a_scenario() {
    let dashed = Application::builder(MemoryStore::new()).aggregate::<Dashed>().start().await;
    let quoted = Application::builder(MemoryStore::new()).aggregate::<Quoted>().start().await;
    for (started, word) in [(dashed, "bank-account"), (quoted, "said")] {
        let Err(error) = started.map(drop) else { panic!("{word} started") };
        assert!(matches!(error, StartError::UnstorableAggregate { .. }), "{error}");
        assert!(error.to_string().contains(word), "{error}");
    }
    let dashed = std::panic::catch_unwind(|| drop(Scenario::<Dashed>::given_nothing()));
    let quoted = std::panic::catch_unwind(|| drop(Scenario::<Quoted>::given_nothing()));
    assert!(dashed.is_err() && quoted.is_err());
}

#[tokio::test]
async fn a_name_is_registered_once_and_that_of_accepted_commands_never() {
    let builder = Application::builder(MemoryStore::new()).aggregate::<Meter>();
    let twice = builder.aggregate::<OtherMeter>().start().await.map(drop);
    assert!(matches!(twice, Err(StartError::AlreadyRegistered("meter"))), "{twice:?}");
    let builder = Application::builder(MemoryStore::new()).aggregate::<Meter>();
    let twice = builder.aggregate::<Meter>().start().await.map(drop);
    assert!(matches!(twice, Err(StartError::AlreadyRegistered("meter"))), "{twice:?}");
    let reserved = Application::builder(MemoryStore::new()).aggregate::<Command>().start().await;
    let reserved = reserved.map(drop);
    assert!(matches!(reserved, Err(StartError::Reserved("command"))), "{reserved:?}");
}

#[tokio::test]
async fn a_reserved_name_in_the_extra_metadata_is_refused() {
    let app = Application::builder(MemoryStore::new())
        .aggregate::<Counter>()
        .answers_later::<Counter>()
        .start()
        .await
        .unwrap();
    for name in ["correlation_id", "causation_id", "actor", "trace_context"] {
        let extra = BTreeMap::from([(name.to_owned(), "x".to_owned())]);
        let metadata = Metadata { actor: Some("user:eve".into()), extra, ..Metadata::default() };
        let options = || CommandOptions { metadata: metadata.clone(), ..Default::default() };
        let refused = app.execute_with::<Counter>("1", Ask::Add(1), options()).await;
        let Err(CommandError::Unstorable { reason, .. }) = refused else { panic!("{refused:?}") };
        assert!(reason.contains(name), "{reason}");
        let refused = app.execute_later::<Counter>("1", &Ask::Add(1), options(), None).await;
        assert!(matches!(refused, Err(CommandError::Unstorable { .. })), "{refused:?}");
    }
    assert_eq!(app.store().head().await.unwrap(), GlobalPosition::ZERO);
    let extra = BTreeMap::from([("tenant".to_owned(), "ü".to_owned())]);
    let metadata = Metadata { extra: extra.clone(), ..Metadata::default() };
    let options = CommandOptions { metadata, ..CommandOptions::default() };
    app.execute_with::<Counter>("1", Ask::Add(1), options).await.unwrap();
    let stored = app.history::<Counter>("1", StreamVersion::ZERO, 1).await.unwrap();
    assert_eq!(stored[0].metadata().unwrap().extra, extra);
}

/// An acceptance as it is stored, with this metadata, as another program could have written it.
fn accepted(id: &str, metadata: &str) -> Append {
    let payload = serde_json::json!({
        "aggregate_type": "counter",
        "aggregate_id": "1",
        "command": { "Add": 7 },
        "key": { "id": id, "fingerprint": "00" },
    });
    let event = NewEvent { metadata: metadata.into(), ..event("Accepted", &payload.to_string()) };
    Append { expected: ExpectedVersion::NoStream, ..append("command", id, [event]) }
}

#[tokio::test]
async fn a_deferred_command_whose_metadata_cannot_be_read_never_runs() {
    let store = MemoryStore::new();
    let unreadable = [
        r#"{"actor":"user:eve","actor":"user:ada"}"#,
        r#"{"actor":7}"#,
        r#"["user:eve"]"#,
        r#"{"actor":"user:eve","tenant":{}}"#,
    ];
    for (index, metadata) in unreadable.iter().enumerate() {
        let outcome = store.append(vec![accepted(&format!("bad-{index}"), metadata)]).await;
        assert!(matches!(outcome[..], [AppendOutcome::Committed(_)]), "{outcome:?}");
    }
    store.append(vec![accepted("good", r#"{"actor":"user:ada"}"#)]).await;
    let builder = Application::builder(store.clone()).aggregate::<Counter>();
    let app = builder.answers_later::<Counter>().start().await.unwrap();
    let concluded = async {
        while app.command("good").await.unwrap().state == CommandState::Accepted {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    // All are of one aggregate: commands that cannot be read delay no other.
    tokio::time::timeout(Duration::from_secs(20), concluded).await.expect("the good one waits");
    let events = app.history::<Counter>("1", StreamVersion::ZERO, 10).await.unwrap();
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0].metadata().unwrap().actor.as_deref(), Some("user:ada"));
    app.shutdown().await;
}

/// Reads a number and remembers it in a cache, which is not stored.
#[derive(Debug, Default, Clone)]
struct Reader {
    cache: i64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
enum Read {
    Read {
        #[serde(skip)]
        cache: i64,
    },
}

/// A cache is no part of the event, so the event comes back equal without it.
impl PartialEq for Read {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Aggregate for Reader {
    const TYPE: &'static str = "reader";
    type Command = i64;
    type Event = Read;
    type Error = BelowZero;

    /// Refuses 0 and returns the cache in the error, so that a test sees the state.
    fn handle(&self, number: i64) -> Result<Vec<Read>, BelowZero> {
        match number {
            0 => Err(BelowZero(self.cache)),
            cache => Ok(vec![Read::Read { cache }]),
        }
    }

    fn apply(&mut self, Read::Read { cache }: &Read) {
        self.cache = *cache;
    }
}

/// The state in memory is the fold of the log, also before a restart.
#[tokio::test]
async fn the_stored_form_of_an_event_is_folded_and_not_what_was_decided() {
    let app = Application::builder(MemoryStore::new()).aggregate::<Reader>().start().await.unwrap();
    app.execute::<Reader>("1", 7).await.unwrap();
    let refused = app.execute::<Reader>("1", 0).await;
    assert!(matches!(refused, Err(CommandError::Refused(BelowZero(0)))), "{refused:?}");
}
