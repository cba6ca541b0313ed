//! Read models through an application, on every store: own writes, restarts, a poisoned one.

use std::time::Duration;

use actum::store::{CheckpointStore, MemoryStore, PartitionId, Store};
use actum::testing::FaultyStore;
use actum::{
    Application, EventEnvelope, Fold, GlobalPosition, ReadError, ReadModel, Settings, Sources,
    StartError,
};
use serde::{Deserialize, Serialize};

use crate::support::counter::{Ask, Count, Counted, Counter};
use crate::support::events::foreign;
use crate::support::place::on_every_store;

/// A checksum of the numbers of a counter that shows a missing, repeated or misplaced event.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
struct Mixed {
    mix: i64,
    events: u64,
}

impl Mixed {
    fn add(&mut self, n: i64) {
        self.mix = self.mix.wrapping_mul(31).wrapping_add(n);
        self.events += 1;
    }
}

impl ReadModel for Mixed {
    const NAME: &'static str = "mixed";

    fn sources() -> Sources<Self> {
        Sources::of::<Counter>()
    }
}

impl Fold<Counter> for Mixed {
    fn apply(&mut self, event: &EventEnvelope<Counted>) {
        match &event.event {
            Counted::Added(n) => self.add(*n),
            Counted::Poisoned => panic!("not for me"),
        }
    }
}

async fn start(store: impl Store) -> Application {
    let settings = Settings { read_within: Duration::from_secs(30), ..Settings::default() };
    let builder = Application::builder(store).aggregate::<Counter>().settings(settings);
    builder.read_model::<Mixed>().read_model::<Count>().start().await.unwrap()
}

async fn writers_read_their_own_writes(store: impl Store) {
    let app = start(store).await;
    let writers = (0..16).map(|id| {
        let app = app.clone();
        tokio::spawn(async move {
            let (id, mut expected) = (id.to_string(), Mixed::default());
            for n in 0..50 {
                let committed = app.execute::<Counter>(&id, Ask::Add(n)).await.unwrap();
                expected.add(n);
                let read = app.read::<Mixed>(&id).after(committed.position).await.unwrap();
                assert_eq!(read.body, expected);
                assert!(read.position >= committed.position);
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    assert!(app.readiness().ready, "{:?}", app.readiness());
    app.shutdown().await;
}

async fn dropped_at_any_moment_the_documents_equal_the_fold(store: impl Store + Clone) {
    let mut expected = vec![Mixed::default(); 20];
    let mut head = GlobalPosition::ZERO;
    for round in 0..8 {
        let app = start(store.clone()).await;
        for step in 0..60 {
            let key = (round * 3 + step * 7) % expected.len();
            let ask = Ask::Add(step as i64);
            head = app.execute::<Counter>(&key.to_string(), ask).await.unwrap().position;
            expected[key].add(step as i64);
        }
        match round % 3 {
            0 => drop(app.read::<Mixed>("0").after(head).await.unwrap()),
            1 => drop(app.shutdown().await),
            _ => {}
        }
        drop(app);
        // A process that was killed writes nothing any more when the next one opens the store; of
        // an application dropped within this one, a last write may still be under way.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let app = start(store).await;
    for (key, expected) in expected.iter().enumerate() {
        let read = app.read::<Mixed>(&key.to_string()).after(head).await.unwrap();
        assert_eq!((&read.body, read.position), (expected, head), "{key}");
        let events = app.read::<Count>(&key.to_string()).await.unwrap();
        assert_eq!(events.0, expected.events, "{key}");
    }
}

async fn a_poisoned_key_is_named_and_leaves_all_else_alone(store: impl Store) {
    let app = start(store).await;
    app.execute::<Counter>("1", Ask::Add(1)).await.unwrap();
    app.store().append(vec![foreign("1", "Poisoned", ["null"])]).await;
    let position = app.store().head().await.unwrap();
    let parked = app.read::<Mixed>("1").after(position).await;
    let Err(ReadError::Parked { key, position: at, reason, .. }) = parked else {
        panic!("{parked:?}")
    };
    assert_eq!((&*key, at, &*reason), ("1", position, "panicked: not for me"));
    assert!(app.readiness().ready, "{:?}", app.readiness());
    assert_eq!(app.read::<Count>("1").after(position).await.unwrap().0, 2);
    let committed = app.execute::<Counter>("2", Ask::Add(1)).await.unwrap();
    assert_eq!(app.read::<Count>("2").after(committed.position).await.unwrap().0, 1);
    assert_eq!(app.read::<Mixed>("2").after(committed.position).await.unwrap().events, 1);
    app.shutdown().await;
}

/// As of two processes, each with a store of its own on one database.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_applications_on_one_store_both_answer_and_one_goes_on_without_the_other() {
    let store = FaultyStore::new(MemoryStore::new());
    let apps = [start(store.clone()).await, start(store.clone()).await];
    let mut expected = Mixed::default();
    let mut write = async |app: &Application| {
        let committed =
            app.execute::<Counter>("1", Ask::Add(expected.events as i64)).await.unwrap();
        expected.add(expected.events as i64);
        (expected.clone(), committed.position)
    };
    for n in 0..20 {
        let (expected, position) = write(&apps[n % 2]).await;
        for app in &apps {
            let read = app.read::<Mixed>("1").after(position).await.unwrap();
            assert_eq!((read.body, read.position), (expected.clone(), position));
        }
    }
    assert!(apps.iter().all(|app| app.readiness().ready));
    // One of the two owns the model: it steps down, and the other goes on alone.
    apps[0].shutdown().await;
    let (expected, position) = write(&apps[1]).await;
    let read = apps[1].read::<Mixed>("1").after(position).await.unwrap();
    assert_eq!((read.body, read.position), (expected, position));
    apps[1].shutdown().await;
    let saved = store.load_checkpoint(&PartitionId::new("mixed@1", 0)).await.unwrap().unwrap();
    assert_eq!(saved.position, position);
}

on_every_store!(
    writers_read_their_own_writes,
    dropped_at_any_moment_the_documents_equal_the_fold,
    a_poisoned_key_is_named_and_leaves_all_else_alone
);

/// A read model whose name is that of a partition of another one.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
struct Misnamed;

impl ReadModel for Misnamed {
    const NAME: &'static str = "mixed@1/0";

    fn sources() -> Sources<Self> {
        Sources::of::<Counter>()
    }
}

impl Fold<Counter> for Misnamed {
    fn apply(&mut self, _: &EventEnvelope<Counted>) {}
}

#[tokio::test]
async fn a_read_model_whose_name_could_be_taken_for_anothers_does_not_start() {
    let builder = Application::builder(MemoryStore::new()).read_model::<Misnamed>();
    let Err(refused) = builder.start().await else { panic!("it starts") };
    assert!(matches!(refused, StartError::ReadModelName("mixed@1/0")), "{refused:?}");
}
