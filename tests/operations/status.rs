//! `Operations::status` and `GET /status`: live, lagging, standing by, without a database, and
//! never a secret.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use actum::operations::{PartitionStatus, Status, SubscriptionState, SubscriptionStatus};
use actum::store::{PostgresStore, Store};
use actum::{Application, EventEnvelope, Fold, ReadModel, Settings, Sources};
use serde::{Deserialize, Serialize};

use crate::support::child::BankProcess;
use crate::support::counter::{Ask, Count, Counted, Counter};
use crate::support::directory::Directory;
use crate::support::events::foreign;
use crate::support::place::on_both_databases;
use crate::support::postgres::{Server, database};
use crate::support::waiting::{check, poll};

/// Blocks at an event that adds a closed gate's number, until the gate is opened.
#[derive(Default, Clone, Serialize, Deserialize)]
struct Gated(u64);

static CLOSED: Mutex<Vec<i64>> = Mutex::new(Vec::new());
static OPENED: Condvar = Condvar::new();

/// A number that no other test adds.
fn new_gate() -> i64 {
    static NEXT: AtomicI64 = AtomicI64::new(100);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn close(gate: i64) {
    CLOSED.lock().unwrap_or_else(PoisonError::into_inner).push(gate);
}

fn open(gate: i64) {
    CLOSED.lock().unwrap_or_else(PoisonError::into_inner).retain(|closed| *closed != gate);
    OPENED.notify_all();
}

impl ReadModel for Gated {
    const NAME: &'static str = "gated";

    fn sources() -> Sources<Self> {
        Sources::of::<Counter>()
    }
}

impl Fold<Counter> for Gated {
    fn apply(&mut self, event: &EventEnvelope<Counted>) {
        let Counted::Added(n) = event.event else { return };
        let closed = CLOSED.lock().unwrap_or_else(PoisonError::into_inner);
        let opened = OPENED.wait_while(closed, |closed| closed.contains(&n));
        drop(opened.unwrap_or_else(PoisonError::into_inner));
        self.0 += 1;
    }
}

/// A new version of it.
#[derive(Default, Clone, Serialize, Deserialize)]
struct Regated(Gated);

impl From<Gated> for Regated {
    fn from(gated: Gated) -> Self {
        Self(gated)
    }
}

impl ReadModel for Regated {
    const NAME: &'static str = "gated";
    const VERSION: u32 = 2;

    fn sources() -> Sources<Self> {
        Sources::of::<Counter>()
    }
}

impl Fold<Counter> for Regated {
    fn apply(&mut self, event: &EventEnvelope<Counted>) {
        self.0.apply(event);
    }
}

/// Panics at a 13, and halts at an event that cannot be decoded, because its keys are in its
/// events.
#[derive(Default, Clone, Serialize, Deserialize)]
struct Unlucky(u64);

impl ReadModel for Unlucky {
    const NAME: &'static str = "unlucky";

    fn sources() -> Sources<Self> {
        Sources::by::<Counter>(|event| Some(event.stream.id().to_owned()))
    }
}

impl Fold<Counter> for Unlucky {
    fn apply(&mut self, event: &EventEnvelope<Counted>) {
        assert_ne!(event.event, Counted::Added(13), "bad luck");
        self.0 += 1;
    }
}

fn builder(store: impl Store) -> actum::ApplicationBuilder {
    // One arbiter more than there are models: a gate that is closed stops the one it is on.
    let settings = Settings { arbiters: 3, ..Settings::default() };
    Application::builder(store).aggregate::<Counter>().settings(settings)
}

async fn add(app: &Application, count: usize, n: i64) {
    for _ in 0..count {
        app.execute::<Counter>("1", Ask::Add(n)).await.unwrap();
    }
}

#[track_caller]
fn subscription<'a>(status: &'a Status, name: &str) -> &'a SubscriptionStatus {
    let found = status.subscriptions.iter().find(|subscription| subscription.name == name);
    found.unwrap_or_else(|| panic!("no {name}: {status:?}"))
}

fn each(status: &Status, name: &str, has: impl Fn(&PartitionStatus) -> bool) -> bool {
    let partitions = &subscription(status, name).partitions;
    !partitions.is_empty() && partitions.iter().all(has)
}

/// Waits for a status for which this holds.
async fn until(app: &Application, is: impl Fn(&Status) -> bool) -> Status {
    poll(Duration::from_secs(30), async || {
        check(app.operations().status().await, |status| is(status))
    })
    .await
}

fn is_live(partition: &PartitionStatus) -> bool {
    partition.state == Some(SubscriptionState::Live)
        && (partition.lag_events, partition.lag_seconds) == (Some(0), Some(0.0))
}

async fn a_follower_at_the_end_of_the_log_is_live(store: impl Store) {
    let identity = store.info().identity;
    let app = builder(store).read_model::<Count>().start().await.unwrap();
    add(&app, 5, 1).await;
    let status = until(&app, |status| each(status, "count", is_live)).await;
    assert_eq!((status.log.log_id, status.log.epoch), (identity.log_id, identity.epoch));
    assert_eq!((status.log.head.0, &status.log.trouble), (5, &None));
    let events = subscription(&status, "count");
    assert_eq!((events.version, events.serves, events.is_in_this_program), (1, Some(true), true));
    assert_eq!((events.parked_keys, events.parked.len()), (Some(0), 0));
    for partition in &events.partitions {
        assert_eq!((partition.owner, partition.is_owned_here), (Some(status.process), true));
        assert_eq!(partition.position, Some(status.log.head));
        assert_eq!((&partition.seconds_left, &partition.last_error), (&None, &None));
    }
    let safe = [("synchronous", "2"), ("synchronous_commit", "on")];
    assert!(safe.iter().any(|(name, value)| status.settings.get(name).is_some_and(|v| v == value)));
    let json = serde_json::to_value(&status).unwrap();
    assert_eq!(json["subscriptions"][0]["partitions"][0]["state"], "live");
    assert!(json["at"].as_str().unwrap().ends_with('Z'), "{json}");
    app.shutdown().await;
    let is_stopped = |p: &PartitionStatus| p.state == Some(SubscriptionState::Stopped);
    assert!(each(&app.operations().status().await, "count", is_stopped));
}

async fn a_follower_that_lags_shows_by_how_much(store: impl Store + Clone) {
    let gate = new_gate();
    let before = builder(store.clone()).start().await.unwrap();
    add(&before, 3, gate).await;
    before.shutdown().await;
    close(gate);
    let models = builder(store).read_model::<Count>().read_model::<Gated>();
    let app = models.start().await.unwrap();
    let is_behind = |partition: &PartitionStatus| {
        partition.is_owned_here
            && partition.state == Some(SubscriptionState::CatchingUp)
            && (partition.position.map(|p| p.0), partition.lag_events) == (Some(0), Some(3))
            && partition.lag_seconds.is_some_and(|lag| lag > 0.0)
            && partition.events_per_second == Some(0.0)
    };
    let has_one = |status: &Status| subscription(status, "gated").partitions.iter().any(is_behind);
    let status = until(&app, has_one).await;
    assert!(!app.readiness().ready);
    assert!(each(&until(&app, |s| each(s, "count", is_live)).await, "count", is_live));
    assert_eq!(status.log.head.0, 3);
    open(gate);
    until(&app, |status| each(status, "gated", is_live)).await;
    app.shutdown().await;
}

async fn a_version_that_is_built_beside_the_active_one_is_rebuilding(store: impl Store + Clone) {
    let gate = new_gate();
    let before = builder(store.clone()).read_model::<Gated>().start().await.unwrap();
    add(&before, 3, gate).await;
    until(&before, |status| each(status, "gated", is_live)).await;
    before.shutdown().await;
    close(gate);
    let app = builder(store).read_model_replacing::<Regated, Gated>().start().await.unwrap();
    let state = |status: &Status, version: u32| {
        let mut found = status.subscriptions.iter().filter(|s| s.version == version);
        let found = found.next()?;
        Some((found.serves?, found.partitions.first()?.state?))
    };
    let rebuilding =
        (Some((true, SubscriptionState::Live)), Some((false, SubscriptionState::Rebuilding)));
    until(&app, |status| (state(status, 1), state(status, 2)) == rebuilding).await;
    assert!(app.readiness().ready, "{:?}", app.readiness());
    open(gate);
    let served = (Some((false, SubscriptionState::Live)), Some((true, SubscriptionState::Live)));
    until(&app, |status| (state(status, 1), state(status, 2)) == served).await;
    app.shutdown().await;
}

async fn an_event_that_cannot_be_applied_is_parked_or_halts(store: impl Store) {
    let app = builder(store).read_model::<Unlucky>().start().await.unwrap();
    add(&app, 2, 1).await;
    add(&app, 1, 13).await;
    add(&app, 2, 1).await;
    let is_parked = |partition: &PartitionStatus| {
        partition.state == Some(SubscriptionState::Parked) && partition.lag_events == Some(0)
    };
    let has_one = |status: &Status| {
        let unlucky = subscription(status, "unlucky");
        unlucky.parked_keys == Some(1) && unlucky.partitions.iter().any(is_parked)
    };
    let status = until(&app, |status| {
        has_one(status) && subscription(status, "unlucky").parked[0].queued == 2
    });
    let status = status.await;
    let parked = &subscription(&status, "unlucky").parked[0];
    assert_eq!((&*parked.key, parked.position.0), ("1", 3));
    assert_eq!(parked.event, "Added 3 of counter-1");
    assert!(parked.reason.contains("bad luck") && parked.attempts >= 1, "{parked:?}");
    assert!(parked.since <= status.at);
    let errors = subscription(&status, "unlucky").partitions.iter();
    let mut errors = errors.filter_map(|partition| partition.last_error.as_ref());
    assert!(errors.any(|last| last.error.contains("parked") && last.at <= status.at));

    app.store().append(vec![foreign("2", "Subtracted", [1])]).await;
    let is_halted = |partition: &PartitionStatus| {
        let why = partition.last_error.as_ref().map(|last| &*last.error).unwrap_or_default();
        partition.state == Some(SubscriptionState::Halted)
            && (partition.position.map(|p| p.0), partition.lag_events) == (Some(5), Some(1))
            && why.contains("halted at position 6: Subtracted")
    };
    until(&app, |status| each(status, "unlucky", is_halted)).await;
    app.shutdown().await;
}

on_both_databases!(
    a_follower_at_the_end_of_the_log_is_live,
    a_follower_that_lags_shows_by_how_much,
    a_version_that_is_built_beside_the_active_one_is_rebuilding,
    an_event_that_cannot_be_applied_is_parked_or_halts,
);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn a_standby_tells_who_owns_and_how_far_that_is_saved() {
    let database = database().await;
    let start = async || {
        let store = PostgresStore::open(&database.url()).await.unwrap();
        builder(store).read_model::<Count>().start().await.unwrap()
    };
    let (first, second) = (start().await, start().await);
    add(&first, 3, 1).await;
    let caught_up = |status: &Status| each(status, "count", |p| p.lag_events == Some(0));
    let [seen, other] = [until(&first, caught_up).await, until(&second, caught_up).await];
    assert_ne!(seen.process, other.process);
    let both = [&seen, &other].map(|status| &subscription(status, "count").partitions);
    for (here, there) in both[0].iter().zip(both[1]) {
        assert_eq!((here.owner, here.position), (there.owner, there.position));
        assert!(here.is_owned_here != there.is_owned_here, "{here:?} {there:?}");
        let standby = if here.is_owned_here { there } else { here };
        assert_eq!(standby.state, Some(SubscriptionState::Standby));
        assert_eq!((standby.events_per_second, standby.lag_seconds), (None, Some(0.0)));
    }
    first.shutdown().await;
    let taken_over = until(&second, |status| each(status, "count", is_live)).await;
    assert!(each(&taken_over, "count", |p| p.owner == Some(other.process)));
    second.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn without_its_database_it_tells_what_is_known_here() {
    let server = Server::private().await;
    let store = PostgresStore::open(&server.url()).await.unwrap();
    let app = builder(store).read_model::<Count>().start().await.unwrap();
    add(&app, 3, 1).await;
    until(&app, |status| each(status, "count", is_live)).await;
    server.stop().await;
    let status = app.operations().status().await;
    assert!(status.log.trouble.is_some(), "{status:?}");
    assert_eq!(status.log.head.0, 3);
    let events = subscription(&status, "count");
    assert_eq!((events.serves, events.parked_keys), (Some(true), None));
    assert!(each(&status, "count", |p| p.is_owned_here && p.position.map(|p| p.0) == Some(3)));
    server.start().await;
    until(&app, |status| status.log.trouble.is_none()).await;
    app.shutdown().await;
}

/// The bank on this database shows the fields that the other tests check, and not its password.
fn the_bank_shows_it(store: &str, secret: &str) {
    let bank = BankProcess::start(store, &[]).unwrap();
    let mut client = bank.client();
    let body = r#"{"id":"1","owner":"Ada","currency":"EUR"}"#;
    assert_eq!(client.post("/accounts", body, None).unwrap().status, 201);
    for path in ["/accounts/1/balance?after=1", "/accounts/1/credit-limit?after=1"] {
        assert_eq!(client.get(path).unwrap().status, 200);
    }
    let mut operator = bank.operator();
    let status = operator.get("/status").unwrap();
    assert_eq!((status.status, &status.body["log"]["head"]), (200, &1.into()), "{status:?}");
    let names: Vec<_> = status.body["subscriptions"].as_array().unwrap().iter().collect();
    let has = |name: &str| names.iter().any(|subscription| subscription["name"] == name);
    assert!(has("balance") && has("credit_limit"), "{status:?}");
    let metrics = operator.get("/metrics").unwrap();
    for answer in [status, metrics] {
        assert!(!answer.text.contains(secret), "{}", answer.text);
    }
}

#[test]
fn the_bank_shows_its_status_on_sqlite() {
    let directory = Directory::new();
    let file = directory.file("bank.db");
    the_bank_shows_it(&file, directory.path().to_str().unwrap());
}

#[tokio::test]
#[ignore = "needs PostgreSQL: run scripts/test"]
async fn the_bank_shows_its_status_and_no_password_on_postgresql() {
    let database = database().await;
    let url = database.url();
    let (before, after) = url.split_once('@').unwrap();
    the_bank_shows_it(&format!("{before}:canary-4711@{after}"), "canary-4711");
}
