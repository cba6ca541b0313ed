//! Open work is stored with the checkpoint: a restart reads nothing back, performs each item once, and
//! goes on with its backoff, its limits and its idempotency keys.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actum::store::{
    Append, AppendOutcome, CheckpointStore, Confirmation, DocumentStore, EventStore, Filter,
    NewEvent, OpenWork, Page, PageLimit, PartitionId, RecordedEvent, Store,
};
use actum::testing::{InterceptedStore, Interceptor};
use actum::webhook::RetrySchedule;
use actum::{
    AnyStore, Application, ApplicationBuilder, CallbackState, CommandError, CommandKey,
    CommandOptions, CommandState, Committed, ExpectedVersion, GlobalPosition, Metadata, Settings,
    StoreError, StreamId, StreamVersion,
};
use async_trait::async_trait;
use serde_json::Value;
use uuid::Uuid;

use super::callbacks::{self, Ahead, is_delivered, send, status};
use super::deciders::{accept, append, decided_before, double, is_left_open, later_release};
use super::{concluded, counted, keyed, later};
use crate::support::counter::{Ask, Counted, Counter};
use crate::support::directory::Directory;
use crate::support::place::{Place, run};
use crate::support::receiver::Receiver;
use crate::support::waiting::until;

/// Keeps the positions of the events that are read from the log.
#[derive(Default)]
struct Reads {
    positions: Mutex<Vec<GlobalPosition>>,
}

#[async_trait]
impl Interceptor for Reads {
    async fn read_all(
        &self,
        store: &dyn Store,
        after: GlobalPosition,
        filter: &Filter,
        limit: PageLimit,
    ) -> Result<Page, StoreError> {
        let page = store.read_all(after, filter, limit).await?;
        self.positions.lock().unwrap().extend(page.events.iter().map(|event| event.position));
        Ok(page)
    }

    async fn read_positions(
        &self,
        store: &dyn Store,
        positions: &[GlobalPosition],
        limit: PageLimit,
    ) -> Result<Vec<Arc<RecordedEvent>>, StoreError> {
        let events = store.read_positions(positions, limit).await?;
        self.positions.lock().unwrap().extend(events.iter().map(|event| event.position));
        Ok(events)
    }
}

impl Reads {
    /// Number of events before this position that were read.
    fn before(&self, position: GlobalPosition) -> usize {
        self.positions.lock().unwrap().iter().filter(|read| **read < position).count()
    }
}

fn this_release(builder: ApplicationBuilder) -> ApplicationBuilder {
    builder.aggregate::<Counter>().answers_later::<Counter>()
}

/// A store whose reads are counted. Clones are the same store.
type ReadStore = InterceptedStore<Reads>;

async fn opened(open: &impl AsyncFn() -> AnyStore) -> ReadStore {
    InterceptedStore::around(open().await, Reads::default())
}

async fn start(store: &ReadStore) -> Application {
    this_release(Application::builder(store.clone())).start().await.unwrap()
}

async fn start_limited(store: &ReadStore, deferred_per_client: usize) -> Application {
    let settings = Settings { deferred_per_client, ..Settings::default() };
    let builder = this_release(Application::builder(store.clone()));
    builder.settings(settings).start().await.unwrap()
}

fn partition(reaction: &str) -> PartitionId {
    PartitionId::new(format!("{reaction}@1"), 0)
}

const EXECUTOR: &str = "command_executor";

async fn open_work(store: &ReadStore, reaction: &str) -> Vec<OpenWork> {
    store.load_work(&partition(reaction), None, PageLimit::events(99)).await.unwrap()
}

async fn checkpoint(store: &ReadStore, reaction: &str) -> GlobalPosition {
    let checkpoint = store.load_checkpoint(&partition(reaction)).await.unwrap();
    checkpoint.map_or(GlobalPosition::ZERO, |checkpoint| checkpoint.position)
}

/// Waits until a reaction has saved all of the log. Returns the position of its checkpoint.
async fn saved(store: &ReadStore, reaction: &str) -> GlobalPosition {
    let head = store.head().await.unwrap();
    until(async || checkpoint(store, reaction).await >= head).await;
    checkpoint(store, reaction).await
}

/// Stores 5,000 events of commands that are accepted and concluded already.
async fn five_thousand_events(app: &Application, like: Uuid) {
    let stream = StreamId::new("command", &like.to_string()).unwrap();
    let like = app.store().read_stream(&stream, StreamVersion::ZERO, PageLimit::events(1)).await;
    let accepted = like.unwrap().remove(0);
    let mut payload: Value = serde_json::from_str(&accepted.payload).unwrap();
    payload.as_object_mut().unwrap().remove("callback");
    let payload = payload.to_string();
    let event = |event_type: &'static str, payload: &str| NewEvent {
        event_id: Uuid::now_v7(),
        event_type: event_type.into(),
        schema_version: accepted.schema_version,
        payload: payload.to_owned().into(),
        metadata: "{}".into(),
    };
    let failed = r#"{"reason":"enough"}"#;
    for chunk in 0..10 {
        let concluded = (0..250).map(|n| Append {
            stream: StreamId::new("command", &format!("past-{chunk}-{n}")).unwrap(),
            expected: ExpectedVersion::NoStream,
            events: vec![event("Accepted", &payload), event("Failed", failed)],
            command: None,
            claims: Vec::new(),
            chained: false,
        });
        let outcomes = app.store().append(concluded.collect()).await;
        let are_committed =
            outcomes.iter().all(|outcome| matches!(outcome, AppendOutcome::Committed(_)));
        assert!(are_committed, "{outcomes:?}");
    }
}

/// A command of a later release stays open while the log goes on.
async fn a_command_that_stays_open_is_not_read_for_again(open: impl AsyncFn() -> AnyStore) {
    let store = opened(&open).await;
    let app = start(&store).await;
    let first = later(&app, "a", Ask::Add(1), "first").await;
    concluded(&app, first).await;
    app.execute::<Counter>("b", Ask::Add(3)).await.unwrap();
    let unknown = accept(&app, first, 1, "{}", double).await;
    is_left_open(&app).await;
    five_thousand_events(&app, first).await;
    let checkpoint = saved(&store, EXECUTOR).await;
    let [item] = &open_work(&store, EXECUTOR).await[..] else { panic!("one is open") };
    assert_eq!((&item.id, &*item.key), (&unknown.to_string(), "counter-b"));
    assert!(item.reason.as_ref().unwrap().contains("cannot read"), "{item:?}");
    assert_eq!(item.command_key.as_deref(), Some("accepted 1"));
    app.shutdown().await;
    drop((app, store));

    let store = opened(&open).await;
    let app = later_release(Application::builder(store.clone())).start().await.unwrap();
    let told = concluded(&app, unknown).await;
    assert!(matches!(told, CommandState::Committed { .. }), "{told:?}");
    assert_eq!(counted(&app, "b").await, [Counted::Added(3), Counted::Added(3)]);
    assert_eq!(store.before(checkpoint), 0, "the log is read again");
    saved(&store, EXECUTOR).await;
    assert_eq!(open_work(&store, EXECUTOR).await, []);
    app.shutdown().await;
    drop((app, store));

    let app = later_release(Application::builder(open().await)).start().await.unwrap();
    assert_eq!(concluded(&app, unknown).await, told);
    assert_eq!(counted(&app, "b").await.len(), 2);
    app.shutdown().await;
}

/// Answers 503 to the first request, and 204 to those after it.
fn recovers() -> Receiver {
    let calls = AtomicUsize::new(0);
    Receiver::start(move |stream| {
        let status = match calls.fetch_add(1, Ordering::SeqCst) {
            0 => "503 Service Unavailable",
            _ => "204 No Content",
        };
        write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    })
}

/// The backoff of a callback does not begin again.
async fn a_callback_that_waits_is_made_once_when_it_is_due(open: impl AsyncFn() -> AnyStore) {
    const CALLBACKS: &str = "command_callbacks";
    let (receiver, clock) = (recovers(), Ahead::default());
    let start = async |store: &ReadStore| {
        let pauses = vec![Duration::from_secs(3600); 3];
        let schedule = RetrySchedule { pauses, jitter: 0.0, ..RetrySchedule::standard() };
        let builder = this_release(Application::builder(store.clone())).clock(clock.clone());
        let options = callbacks::options(&[&receiver]);
        callbacks::calls(builder, options, schedule).start().await.unwrap()
    };
    let store = opened(&open).await;
    let app = start(&store).await;
    let id = send(&app, "ada", &receiver).await;
    let attempts = async |app: &Application| {
        let callback = app.command(&id).await.unwrap().callback.unwrap();
        (callback.status, callback.attempts)
    };
    until(async || attempts(&app).await.1 == 1).await;
    five_thousand_events(&app, id.parse().unwrap()).await;
    let checkpoint = saved(&store, CALLBACKS).await.min(saved(&store, EXECUTOR).await);
    let [item] = &open_work(&store, CALLBACKS).await[..] else { panic!("one is open") };
    assert_eq!((&item.id, item.attempts), (&id, 1));
    let due = item.due_at;
    app.shutdown().await;
    drop((app, store));

    let store = opened(&open).await;
    let app = start(&store).await;
    // The owner has it, and leaves it alone.
    concluded(&app, later(&app, "a", Ask::Add(1), "beside").await).await;
    saved(&store, CALLBACKS).await;
    assert_eq!(attempts(&app).await, (CallbackState::Due, 1));
    assert_eq!(open_work(&store, CALLBACKS).await[0].due_at, due);
    assert_eq!((receiver.requests().len(), store.before(checkpoint)), (1, 0));
    app.shutdown().await;
    drop((app, store));

    clock.0.store(3601, Ordering::SeqCst);
    let store = opened(&open).await;
    let app = start(&store).await;
    status(&app, &id, is_delivered).await;
    assert_eq!(attempts(&app).await, (CallbackState::Delivered, 2));
    saved(&store, CALLBACKS).await;
    assert_eq!(open_work(&store, CALLBACKS).await, []);
    assert_eq!(receiver.requests().len(), 2);
    app.shutdown().await;
}

/// A process knows what is open as soon as it has started, whether it owns the executor or not.
async fn open_commands_count_from_the_start_of_each_process(open: impl AsyncFn() -> AnyStore) {
    let start = async |store: &ReadStore| start_limited(store, 3).await;
    let of_ada = async |app: &Application, key: &str| {
        let metadata = Metadata { actor: Some("ada".to_owned()), ..Metadata::default() };
        let options = CommandOptions { metadata, ..keyed(key, &Ask::Add(1)) };
        app.execute_later::<Counter>("b", &Ask::Add(1), options, None).await
    };
    let store = opened(&open).await;
    let app = start(&store).await;
    let first = later(&app, "a", Ask::Add(1), "first").await;
    concluded(&app, first).await;
    accept(&app, first, 1, "{}", double).await;
    for key in ["a1", "a2", "a3"] {
        of_ada(&app, key).await.unwrap();
    }
    five_thousand_events(&app, first).await;
    saved(&store, EXECUTOR).await;
    app.shutdown().await;
    drop((app, store));
    let store = opened(&open).await;
    let app = start(&store).await;
    for _ in 0..2 {
        let refused = of_ada(&app, "a4").await.unwrap_err();
        assert!(matches!(refused, CommandError::ClientLimit(_)), "{refused:?}");
    }
    of_ada(&app, "a2").await.expect("it is open already");
    app.shutdown().await;
}

/// A key that is forgotten while its command is open lets the command run twice.
async fn the_key_of_an_open_command_is_kept_however_old_it_is(open: impl AsyncFn() -> AnyStore) {
    let store = opened(&open).await;
    let app = start(&store).await;
    let first = later(&app, "a", Ask::Add(1), "first").await;
    concluded(&app, first).await;
    let unknown = accept(&app, first, 1, "{}", double).await;
    // A later release has carried it out, and died before it stored the outcome.
    let key = CommandKey::new("accepted 1", format!("{:?}", Ask::Add(1)).as_bytes()).unwrap();
    let done = append(&app, decided_before("b", &Counted::Added(1), &key)).await;
    let AppendOutcome::Committed(Committed { version, position, .. }) = done else {
        panic!("{done:?}")
    };
    is_left_open(&app).await;
    saved(&store, EXECUTOR).await;
    app.shutdown().await;
    drop((app, store));

    let a_day_later = Ahead::default();
    a_day_later.0.store(86_400, Ordering::SeqCst);
    let keep_commands = Some(Duration::from_secs(60));
    let settings = Settings { keep_commands, ..Settings::default() };
    let forgetful =
        |builder: ApplicationBuilder| builder.settings(settings.clone()).clock(a_day_later.clone());
    let store = opened(&open).await;
    let builder = this_release(Application::builder(store.clone()));
    let app = forgetful(builder).start().await.unwrap();
    let is_known = async |key: CommandKey| {
        let stream = StreamId::new("counter", "nobody").unwrap();
        let told = app.store().confirm(&stream, StreamVersion::ZERO, Some(key)).await.unwrap();
        told != Confirmation::Current
    };
    let old = || keyed("first", &Ask::Add(1)).key.unwrap();
    until(async || !is_known(old()).await).await;
    assert!(is_known(key).await, "the key of the open command is forgotten");
    app.shutdown().await;
    drop((app, store));

    let app = forgetful(later_release(Application::builder(open().await))).start().await.unwrap();
    assert_eq!(concluded(&app, unknown).await, CommandState::Committed { version, position });
    assert_eq!(counted(&app, "b").await, [Counted::Added(1)]);
    app.shutdown().await;
}

/// Makes a test of each function for each store, which the function may open again and again.
macro_rules! on_every_store_that_is_opened_again {
    ($($name:ident),+ $(,)?) => {
        mod memory {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $name() {
                    let place = Place::memory();
                    run(super::$name(async || place.open().await)).await;
                }
            )+
        }

        mod json_lines {
            use super::*;
            use crate::store::json_lines::JsonLinesStore;
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $name() {
                    let directory = Directory::new();
                    let file = directory.file("log.jsonl");
                    let open = async || JsonLinesStore::open(Path::new(&file)).unwrap().into();
                    run(super::$name(open)).await;
                }
            )+
        }

        mod sqlite {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $name() {
                    let place = Place::sqlite();
                    run(super::$name(async || place.open().await)).await;
                }
            )+
        }

        mod postgres {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread")]
                #[ignore = "needs PostgreSQL: run scripts/test"]
                async fn $name() {
                    let place = Place::postgres().await;
                    run(super::$name(async || place.open().await)).await;
                }
            )+
        }
    };
}

on_every_store_that_is_opened_again!(
    a_command_that_stays_open_is_not_read_for_again,
    a_callback_that_waits_is_made_once_when_it_is_due,
    open_commands_count_from_the_start_of_each_process,
    the_key_of_an_open_command_is_kept_however_old_it_is,
);

/// Each process counts what the owner of the executor has stored.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_process_that_does_not_own_the_executor_counts_open_commands_too() {
    let place = Place::postgres().await;
    let open = async || place.open().await;
    let (store, other) = (opened(&open).await, opened(&open).await);
    let owner = start_limited(&store, 1).await;
    let first = later(&owner, "a", Ask::Add(1), "first").await;
    concluded(&owner, first).await;
    accept(&owner, first, 1, "{}", double).await;
    let metadata = Metadata { actor: Some("ada".to_owned()), ..Metadata::default() };
    let options =
        |key: &str| CommandOptions { metadata: metadata.clone(), ..keyed(key, &Ask::Add(1)) };
    owner.execute_later::<Counter>("b", &Ask::Add(1), options("a1"), None).await.unwrap();
    saved(&store, EXECUTOR).await;
    let other = start_limited(&other, 1).await;
    let refused = other.execute_later::<Counter>("b", &Ask::Add(1), options("a2"), None).await;
    assert!(matches!(refused, Err(CommandError::ClientLimit(_))), "{refused:?}");
    other.shutdown().await;
    owner.shutdown().await;
}
