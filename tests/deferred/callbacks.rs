//! Callbacks to many endpoints: one that hangs or fails delays its own messages and no others.

use std::io::{self, Write};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use actum::store::{Clock, MemoryStore, SystemClock};
use actum::web::{Callback, CallbackCommand, address_of};
use actum::webhook::{Resolver, RetrySchedule, Secret, WebhookClient, WebhookOptions};
use actum::{
    Application, ApplicationBuilder, CallbackState, CommandOptions, CommandStatus, Metadata,
};
use async_trait::async_trait;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::support::counter::{Ask, Count, Counter};
use crate::support::receiver::Receiver;
use crate::support::waiting::{check, poll};
use crate::support::watched::watched_store;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// An application that may call these receivers, with a timeout of a minute for each call.
async fn calling(receivers: &[&Receiver]) -> Application {
    let options = options(receivers).answer_within(Duration::from_secs(60));
    let schedule = RetrySchedule { jitter: 0.0, ..RetrySchedule::standard() };
    calls(builder(&MemoryStore::new()), options, schedule).start().await.unwrap()
}

/// Options that allow these receivers to be called.
fn options(receivers: &[&Receiver]) -> WebhookOptions {
    let loopback = "127.0.0.0/8".parse().unwrap();
    let options = WebhookOptions::default().allow_http().allow_private_network(loopback);
    receivers.iter().fold(options, |options, receiver| options.allow_port(receiver.port))
}

/// An application on this store without callbacks.
fn builder(store: &MemoryStore) -> ApplicationBuilder {
    Application::builder(store.clone()).aggregate::<Counter>().answers_later::<Counter>()
}

fn calls(
    builder: ApplicationBuilder,
    options: WebhookOptions,
    schedule: RetrySchedule,
) -> ApplicationBuilder {
    let client = WebhookClient::new(options).unwrap();
    let secret: Secret = SECRET.parse().unwrap();
    builder.calls_back(client, schedule, move |_, _| secret.clone())
}

/// An application that may call these receivers, and runs this before each call, when it loads the
/// secret.
async fn calling_with(
    receivers: &[&Receiver],
    before: impl Fn() + Send + Sync + 'static,
) -> Application {
    let options = options(receivers).answer_within(Duration::from_secs(60));
    let client = WebhookClient::new(options).unwrap();
    let secret: Secret = SECRET.parse().unwrap();
    let schedule = RetrySchedule { jitter: 0.0, ..RetrySchedule::standard() };
    let builder = builder(&MemoryStore::new()).read_model::<Count>();
    let secret_of = move |_: Option<&str>, _: &str| {
        before();
        secret.clone()
    };
    builder.calls_back(client, schedule, secret_of).start().await.unwrap()
}

/// A receiver that accepts connections and never answers.
fn hangs() -> Receiver {
    Receiver::start(|stream| std::io::copy(stream, &mut std::io::sink()).map(|_| ()))
}

/// A command of this client, whose outcome is sent to this receiver.
async fn send(app: &Application, client: &str, to: &Receiver) -> String {
    let metadata = Metadata { actor: Some(client.to_owned()), ..Metadata::default() };
    let options = CommandOptions { metadata, ..CommandOptions::default() };
    let id = app.execute_later::<Counter>(client, &Ask::Add(1), options, Some(to.url())).await;
    id.unwrap().to_string()
}

/// The status of a command, once this holds of it.
async fn status(
    app: &Application,
    id: &str,
    holds: impl Fn(&CommandStatus) -> bool,
) -> CommandStatus {
    poll(Duration::from_secs(50), async || {
        check(app.command(id).await.unwrap(), |status| holds(status))
    })
    .await
}

fn is_delivered(status: &CommandStatus) -> bool {
    status.callback.as_ref().is_some_and(|callback| callback.status == CallbackState::Delivered)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_hangs_delays_no_other() {
    let (dead, good) = (hangs(), Receiver::answering("204 No Content"));
    let app = calling(&[&dead, &good]).await;
    let mut waiting = Vec::new();
    for _ in 0..300 {
        waiting.push(send(&app, "mallory", &dead).await);
    }
    for _ in 0..5 {
        let id = send(&app, "ada", &good).await;
        status(&app, &id, is_delivered).await;
    }
    assert!(dead.connections() <= 1, "{} calls to one that hangs", dead.connections());
    let first = app.command(&waiting[0]).await.unwrap().callback.unwrap();
    assert_eq!((first.status, first.attempts), (CallbackState::Due, 0));
    app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_with_many_endpoints_that_hang_delay_no_other() {
    let dead: Vec<_> = (0..20).map(|_| hangs()).collect();
    let good = Receiver::answering("204 No Content");
    let app = calling(&dead.iter().chain([&good]).collect::<Vec<_>>()).await;
    for round in 0..3 {
        for dead in &dead {
            for client in ["mallory", "trudy"] {
                send(&app, client, dead).await;
            }
        }
        let id = send(&app, &format!("ada{round}"), &good).await;
        status(&app, &id, is_delivered).await;
    }
    let calls: usize = dead.iter().map(Receiver::connections).sum();
    assert!(calls <= 16, "{calls} calls of two clients at a time");
    app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_fails_is_tried_with_one_message_and_not_with_all() {
    let (dead, good) = (Receiver::answering("503 Service Unavailable"), hangs());
    let app = calling(&[&dead, &good]).await;
    let mut ids = Vec::new();
    for _ in 0..100 {
        ids.push(send(&app, "mallory", &dead).await);
    }
    let tried = |status: &CommandStatus| {
        status.callback.as_ref().is_some_and(|callback| callback.attempts > 0)
    };
    let first = status(&app, &ids[0], tried).await;
    assert_eq!(first.callback.unwrap().last_error.unwrap(), "response status 503");
    // The first backoff is five seconds. By then the last command has been accepted and concluded.
    status(&app, &ids[99], |status| status.state.name() == "committed").await;
    assert!(dead.requests().len() <= 10, "{} calls", dead.requests().len());
    app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_works_is_sent_everything() {
    let good = Receiver::start(|stream| {
        write!(stream, "HTTP/1.1 204 No Content\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    });
    let app = calling(&[&good]).await;
    let mut ids = Vec::new();
    for n in 0..60 {
        ids.push(send(&app, &format!("client{}", n % 3), &good).await);
    }
    for id in &ids {
        status(&app, id, is_delivered).await;
    }
    assert_eq!(good.requests().len(), ids.len());
    app.shutdown().await;
}

/// A clock that is ahead of the machine's by so many seconds.
#[derive(Clone, Default)]
struct Ahead(Arc<AtomicU64>);

impl Clock for Ahead {
    fn now(&self) -> OffsetDateTime {
        SystemClock.now() + Duration::from_secs(self.0.load(Ordering::SeqCst))
    }

    fn new_id(&self) -> Uuid {
        SystemClock.new_id()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_is_made_however_long_no_process_could_make_it() {
    let (store, good) = (MemoryStore::new(), Receiver::answering("204 No Content"));
    let app = builder(&store).start().await.unwrap();
    let id = send(&app, "ada", &good).await;
    status(&app, &id, |status| status.state.name() == "committed").await;
    app.shutdown().await;
    let month_later = Ahead::default();
    month_later.0.store(30 * 24 * 3600, Ordering::SeqCst);
    let schedule = RetrySchedule { pauses: Vec::new(), ..RetrySchedule::standard() };
    let app = calls(builder(&store).clock(month_later), options(&[&good]), schedule);
    let app = app.start().await.unwrap();
    let told = status(&app, &id, |status| !status.waits_for_callback()).await;
    let callback = told.callback.unwrap();
    assert_eq!((callback.status, callback.attempts), (CallbackState::Delivered, 1), "{callback:?}");
    assert_eq!(good.requests().len(), 1);
    app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_that_is_tried_for_too_long_ends_with_an_attempt_that_was_made() {
    let (clock, dead) = (Ahead::default(), Receiver::answering("503 Service Unavailable"));
    let store = MemoryStore::with_clock(clock.clone());
    let pauses = vec![Duration::from_millis(20); 1_000];
    let schedule = RetrySchedule { pauses, ..RetrySchedule::standard() };
    let app = calls(builder(&store).clock(clock.clone()), options(&[&dead]), schedule);
    let app = app.start().await.unwrap();
    let id = send(&app, "ada", &dead).await;
    let is_tried =
        |status: &CommandStatus| status.callback.as_ref().is_some_and(|it| it.attempts >= 2);
    status(&app, &id, is_tried).await;
    clock.0.store(3 * 3600, Ordering::SeqCst);
    let told = status(&app, &id, |status| !status.waits_for_callback()).await;
    let callback = told.callback.unwrap();
    assert_eq!(callback.status, CallbackState::GivenUp);
    assert_eq!(callback.last_error.as_deref(), Some("response status 503"));
    assert_eq!(callback.attempts as usize, dead.requests().len(), "an attempt that was not made");
    app.shutdown().await;
}

/// Resolves to loopback after a while, and never answers for names that begin with `dead`.
struct SlowResolver;

#[async_trait]
impl Resolver for SlowResolver {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        if name.starts_with("dead") {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        Ok(vec![[127, 0, 0, 1].into()])
    }
}

/// A command of this client, whose outcome is sent to a host of this name at the receiver.
async fn send_to(app: &Application, client: Option<&str>, host: &str, to: &Receiver) -> String {
    let metadata = Metadata { actor: client.map(str::to_owned), ..Metadata::default() };
    let options = CommandOptions { metadata, ..CommandOptions::default() };
    let url = format!("http://{host}.example:{}/", to.port);
    app.execute_later::<Counter>(host, &Ask::Add(1), options, Some(url)).await.unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn many_names_that_are_looked_up_at_once_cost_no_attempt() {
    let (store, good) = (MemoryStore::new(), Receiver::answering("204 No Content"));
    let app = builder(&store).start().await.unwrap();
    let mut ids = Vec::new();
    for n in 0..40 {
        ids.push(send_to(&app, None, &format!("good{n}"), &good).await);
    }
    for id in &ids {
        status(&app, id, |status| status.state.name() == "committed").await;
    }
    app.shutdown().await;
    // All of them are due at its start.
    let options = options(&[&good]).resolver(SlowResolver);
    let app = calls(builder(&store), options, RetrySchedule::standard()).start().await.unwrap();
    for id in &ids {
        let tried = |status: &CommandStatus| status.callback.as_ref().unwrap().attempts > 0;
        let callback = status(&app, id, tried).await.callback.unwrap();
        assert_eq!((callback.status, callback.attempts), (CallbackState::Delivered, 1), "{id}");
    }
    app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_has_no_place_for_its_look_up_is_no_attempt() {
    let (store, good) = (MemoryStore::new(), Receiver::answering("204 No Content"));
    let options =
        options(&[&good]).connect_within(Duration::from_millis(100)).resolver(SlowResolver);
    let schedule = RetrySchedule { jitter: 0.0, ..RetrySchedule::standard() };
    let app = calls(builder(&store), options, schedule).start().await.unwrap();
    // The look-ups continue when the calls have timed out.
    for n in 0..8 {
        let id = send_to(&app, Some("mallory"), &format!("dead{n}"), &good).await;
        let tried = |status: &CommandStatus| status.callback.as_ref().unwrap().attempts > 0;
        status(&app, &id, tried).await;
    }
    let waits = send_to(&app, Some("mallory"), "good", &good).await;
    let others = send(&app, "ada", &good).await;
    status(&app, &others, is_delivered).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let callback = app.command(&waits).await.unwrap().callback.unwrap();
    assert_eq!((callback.status, callback.attempts), (CallbackState::Due, 0), "{callback:?}");
    app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn code_that_blocks_a_callback_holds_up_nothing_that_follows_the_log() {
    let good = Receiver::answering("204 No Content");
    let (blocked, mut is_blocked) = tokio::sync::mpsc::unbounded_channel();
    let (go_on, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let before = move || {
        let _ = blocked.send(());
        let _ = gate.lock().unwrap().recv(); // an error says that the test has ended
    };
    let app = calling_with(&[&good], before).await;
    let id = send(&app, "ada", &good).await;
    is_blocked.recv().await.unwrap();
    for n in 1..=5 {
        let head = app.execute::<Counter>("b", Ask::Add(1)).await.unwrap().position;
        assert_eq!(app.read::<Count>("b").after(head).await.unwrap().0, n);
    }
    drop(go_on);
    status(&app, &id, is_delivered).await;
    app.shutdown().await;
}

/// Each command with a callback loads the registration, so the cost must not grow with each one.
#[tokio::test]
async fn the_address_of_a_client_is_read_from_one_event_however_often_it_registered() {
    let store = watched_store();
    let app = Application::builder(store.clone()).aggregate::<Callback>().start().await.unwrap();
    for n in 1..=500 {
        let url = format!("https://hooks.example/{n}");
        let command = CallbackCommand::Register { url: url.clone() };
        app.execute::<Callback>("ada", command).await.unwrap();
        store.events_read();
        assert_eq!(address_of(&app, "ada").await.unwrap(), Some(url));
        assert_eq!(store.events_read(), 1, "after {n} registrations");
    }
    app.shutdown().await;
}
