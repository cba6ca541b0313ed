//! Read model actors on a memory store that can be made to tarry and fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::start::start;
use super::{Document, Fold, ReadModel, ReadModelHandle, Sources};
use crate::aggregate::{Aggregate, Arbiters};
use crate::clock::SystemClock;
use crate::error::{ReadError, StartError, StoreError};
use crate::event::{EventEnvelope, GlobalPosition};
use crate::partition::{FollowerControl, LeaseRenewer, Pacing, Progress, State};
use crate::store::contract::{
    Checkpoint, CheckpointStore, CheckpointUpdate, DocumentBatch, DocumentStore, EventStore,
    Filter, Lease, LeaseStore, ParkedQuery, PartitionId, Store,
};
use crate::store::memory::MemoryStore;
use crate::subscription::test_store::{Call, TestStore, append};
use crate::subscription::{Tail, TailSettings};

macro_rules! aggregate {
    ($name:ident, $type:literal, $event:ty) => {
        #[derive(Default, Clone)]
        struct $name;

        impl Aggregate for $name {
            const TYPE: &'static str = $type;
            type Command = ();
            type Event = $event;
            type Error = std::convert::Infallible;

            fn handle(&self, (): ()) -> Result<Vec<Self::Event>, Self::Error> {
                Ok(Vec::new())
            }

            fn apply(&mut self, _: &Self::Event) {}
        }
    };
}

#[derive(PartialEq, Serialize, Deserialize)]
enum Noted {
    Noted { n: u64 },
    Poison,
}

#[derive(PartialEq, Serialize, Deserialize)]
enum Moved {
    Moved { to: String, n: u64 },
}

aggregate!(Book, "book", Noted);
aggregate!(Transfer, "transfer", Moved);

/// A fold in which no event can be left out, doubled or exchanged without changing the result.
fn mix(sum: u64, n: u64) -> u64 {
    sum.wrapping_mul(31).wrapping_add(n + 1)
}

macro_rules! read_model {
    ($name:ident, $model:literal, |$poisoned:ident| $on_poison:expr) => {
        #[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
        struct $name {
            sum: u64,
            events: u64,
        }

        impl ReadModel for $name {
            const NAME: &'static str = $model;

            fn sources() -> Sources<Self> {
                Sources::of::<Book>().and_by::<Transfer>(|event| {
                    let Moved::Moved { to, .. } = &event.event;
                    (to != "nobody").then(|| to.clone())
                })
            }
        }

        impl Fold<Book> for $name {
            fn apply(&mut self, event: &EventEnvelope<Noted>) {
                match &event.event {
                    Noted::Noted { n } => self.sum = mix(self.sum, *n),
                    Noted::Poison => {
                        let $poisoned = &mut *self;
                        $on_poison
                    }
                }
                self.events += 1;
            }
        }

        impl Fold<Transfer> for $name {
            fn apply(&mut self, event: &EventEnvelope<Moved>) {
                let Moved::Moved { n, .. } = &event.event;
                self.sum = mix(self.sum, *n);
                self.events += 1;
            }
        }
    };
}

read_model!(Sums, "sums", |document| document.sum = 0);
read_model!(Brittle, "brittle", |document| {
    document.sum = 666; // half applied
    panic!("cannot take this")
});

// The same once the code is fixed: the poison is one more event of its document.
read_model!(Mended, "brittle", |document| document.sum = mix(document.sum, 1_000));

const WITHIN: Duration = Duration::from_secs(20);
const AT_ONCE: Duration = Duration::from_millis(1);

async fn note(store: &MemoryStore, key: &str, n: u64) {
    append(store, ("book", key), &[("Noted", format!("{{\"n\":{n}}}"))]).await;
}

async fn poison(store: &MemoryStore, key: &str) {
    append(store, ("book", key), &[("Poison", "null".to_owned())]).await;
}

fn obliging() -> TestStore {
    TestStore::new(|_| Box::pin(async { Ok(()) }))
}

/// A process: its arbiters and its tail. Dropped, it is as if killed.
struct Process {
    store: Arc<dyn Store>,
    arbiters: Arc<Arbiters>,
    tail: Tail,
    renewer: LeaseRenewer,
    id: Uuid,
    settings: Pacing,
}

fn small() -> Pacing {
    Pacing {
        hot_documents: 3,
        most_unsaved: 5,
        save_at: 2,
        save_after: Duration::from_millis(2),
        checkpoint_after: Duration::from_millis(5),
        first_delay: Duration::from_micros(100),
        longest_delay: Duration::from_millis(1),
        tick: Duration::from_millis(1),
        lease_for: Duration::from_millis(50),
        renew_every: Duration::from_millis(5),
        look_every: Duration::from_millis(1),
        ..Pacing::default()
    }
}

impl Process {
    fn new(store: impl Store, settings: Pacing) -> Self {
        let arbiters = Arc::new(Arbiters::start(3).unwrap());
        let store: Arc<dyn Store> = Arc::new(store);
        let quick = TailSettings {
            page: 7,
            catch_up_page: 5,
            waiting_pages: 2,
            join_within: 8,
            poll: Duration::from_millis(5),
            ..TailSettings::default()
        };
        let spawner = Arc::clone(&arbiters);
        let tail = Tail::start(Arc::clone(&store), GlobalPosition::ZERO, quick, move |task| {
            spawner.spawn(0, task);
        });
        let (spawner, id) = (Arc::clone(&arbiters), Uuid::now_v7());
        let renewer = LeaseRenewer::start(Arc::clone(&store), id, &settings, move |task| {
            spawner.spawn(0, task);
        });
        Self { store, arbiters, tail, renewer, id, settings }
    }

    async fn start<M: ReadModel>(&self, arbiter: u64) -> Result<ReadModelHandle<M>, StartError> {
        let settings = self.settings.clone();
        let clock = Arc::new(SystemClock);
        start(&self.arbiters, arbiter, &self.renewer, clock, &self.tail, settings).await
    }

    async fn sums(&self) -> ReadModelHandle<Sums> {
        loop {
            match self.start(1).await {
                Err(StartError::Store(StoreError::Unavailable(_))) => {}
                other => return other.unwrap(),
            }
        }
    }

    /// Ends everything where it stands; answers when nothing of it runs any more.
    async fn kill(self) {
        let Self { store, arbiters, tail, renewer, .. } = self;
        arbiters.stop();
        drop((arbiters, tail, renewer));
        until(|| Arc::strong_count(&store) == 1).await;
    }
}

impl<M: ReadModel> ReadModelHandle<M> {
    /// Progress of the first partition.
    fn progress(&self) -> Progress {
        self.partitions().swap_remove(0)
    }
}

/// Saves only when it is stopped.
fn patient() -> Pacing {
    Pacing {
        save_after: Duration::from_secs(3600),
        checkpoint_after: Duration::from_secs(3600),
        ..Pacing::default()
    }
}

async fn until(condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(WITHIN, waiting).await.expect("it never came to be");
}

async fn read<M: ReadModel>(model: &ReadModelHandle<M>, key: &str, after: u64) -> Document<M> {
    loop {
        match model.read(key, GlobalPosition(after), WITHIN).await {
            Err(ReadError::Unavailable(StoreError::Unavailable(_))) => {}
            other => return other.unwrap(),
        }
    }
}

fn expected(notes: &[u64]) -> Sums {
    Sums { sum: notes.iter().fold(0, |sum, n| mix(sum, *n)), events: notes.len() as u64 }
}

/// The store answers, refuses, stores without an answer, all by chance.
fn whimsical(memory: MemoryStore, seed: usize) -> TestStore {
    let calls = AtomicUsize::new(seed);
    TestStore::over(memory, move |call| {
        let chance = calls.fetch_add(1, Ordering::Relaxed) % 7;
        Box::pin(async move {
            match call {
                Call::Saved if chance == 0 => Err(StoreError::Unknown("no answer".into())),
                Call::Save(_) if chance == 1 => Err(StoreError::Unavailable("busy".into())),
                Call::LoadDocuments(_) | Call::ReadAll(_) if chance == 2 => {
                    Err(StoreError::Unavailable("busy".into()))
                }
                _ => Ok(()),
            }
        })
    })
}

// Below the macros, so that they see them.
mod folder;
mod folding;
mod fresh;
mod halting;
mod hot;
mod keys;
mod large;
mod lists;
mod owning;
mod parking;
mod reading;
mod sharing;
mod sleeping;
mod storable;
