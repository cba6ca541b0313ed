//! Tests of a reaction's lease session and of its open work, with a scripted reaction.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use time::OffsetDateTime;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::AcceptedCommand;
use crate::aggregate::Aggregate;
use crate::clock::SystemClock;
use crate::event::{ExpectedVersion, GlobalPosition, NewEvent, RecordedEvent, StreamId};
use crate::partition::{FollowerControl, Followers, LeaseRenewer, Pacing};
use crate::reaction::open_work::load;
use crate::reaction::work_queue::Limits;
use crate::reaction::{Details, Meaning, Opening, Reaction, Start, Step, Worked, start};
use crate::store::contract::{
    Append, AppendOutcome, Checkpoint, CheckpointStore, CheckpointUpdate, DocumentBatch,
    DocumentStore, EventStore, LeaseStore, OpenWork, PartitionId, WorkChange,
};
use crate::store::memory::MemoryStore;
use crate::subscription::{Tail, TailSettings, event_at};

/// A reaction that performs all work except that of `stuck…` and `unclear…`, and panics at events of
/// the type `Panic`.
struct Puppet {
    worked: UnboundedSender<String>,
    /// True if it understands the events of `unclear…`.
    understands: bool,
}

#[async_trait]
impl Reaction for Puppet {
    const NAME: &'static str = "puppet";

    const FOLLOWS: &'static str = AcceptedCommand::TYPE;

    const LIMITS: Limits = Limits::only(8);

    fn meaning(&self, event: &RecordedEvent) -> Meaning {
        let id = event.stream.id();
        let is_unclear = id.starts_with("unclear");
        match event.event_type.as_str() {
            "Accepted" if is_unclear && !self.understands => Meaning::Opens(Opening::unclear(id)),
            "Accepted" => {
                let lane = if is_unclear { "lane" } else { id }.to_owned();
                Meaning::Opens(Opening {
                    lane,
                    due_at: None,
                    command_key: None,
                    details: Details::default(),
                })
            }
            "Panic" => panic!("told to panic"),
            _ => Meaning::Closes,
        }
    }

    async fn work(&self, id: &str, _: Instant) -> Worked {
        let _ = self.worked.send(id.to_owned());
        match id.starts_with("stuck") || id.starts_with("unclear") {
            true => Step::Again(Some(Duration::from_secs(3600))).into(),
            false => Step::Done.into(),
        }
    }
}

async fn append(store: &MemoryStore, id: &str, event_type: &'static str) {
    let event = NewEvent {
        event_id: Uuid::now_v7(),
        event_type: event_type.into(),
        schema_version: 1,
        payload: "{}".into(),
        metadata: "{}".into(),
    };
    let append = Append {
        stream: StreamId::new("command", id).unwrap(),
        expected: ExpectedVersion::Any,
        events: vec![event],
        command: None,
        claims: Vec::new(),
        chained: false,
    };
    let outcomes = store.append(vec![append]).await;
    assert!(matches!(&*outcomes, [AppendOutcome::Committed(_)]), "{outcomes:?}");
}

async fn run(store: &MemoryStore) -> (Followers, UnboundedReceiver<String>) {
    run_with(store, false).await
}

async fn run_with(
    store: &MemoryStore,
    understands: bool,
) -> (Followers, UnboundedReceiver<String>) {
    let (worked, works) = unbounded_channel();
    let spawn = |task| drop(tokio::spawn(task));
    let store = Arc::new(store.clone());
    let tail = Tail::start(store.clone(), GlobalPosition::ZERO, TailSettings::default(), spawn);
    let pacing = Pacing::default();
    let renewer = LeaseRenewer::start(store, Uuid::now_v7(), &pacing, spawn);
    let clock = Arc::new(SystemClock);
    let start_on = Start { renewer, tail, pacing, clock, spawn: Arc::new(spawn) };
    (start(Puppet { worked, understands }, start_on).await.unwrap(), works)
}

/// Waits until `count` works have been performed, and returns their ids.
async fn worked(works: &mut UnboundedReceiver<String>, count: usize) -> Vec<String> {
    let all = async {
        let mut ids = Vec::new();
        while ids.len() < count {
            ids.push(works.recv().await.expect("the reaction ended"));
        }
        ids.sort();
        ids
    };
    timeout(Duration::from_secs(60), all).await.expect("the work is not performed")
}

async fn saved(store: &MemoryStore) -> Option<u64> {
    let checkpoint = store.load_checkpoint(&PartitionId::new("puppet@1", 0)).await.unwrap();
    checkpoint.map(|checkpoint| checkpoint.position.0)
}

/// The stored open items: id, position, attempts, and if they are postponed.
async fn open(store: &MemoryStore) -> Vec<(String, u64, u32, bool)> {
    let partition = PartitionId::new("puppet@1", 0);
    let mut open = Vec::new();
    load(store, &partition, |work| {
        let is_postponed = work.due_at > OffsetDateTime::now_utc() + Duration::from_secs(60);
        open.push((work.id, work.position.0, work.attempts, is_postponed));
    })
    .await
    .unwrap();
    open.sort();
    open
}

#[tokio::test]
async fn a_checkpoint_moves_on_and_open_items_are_stored_with_it() {
    let store = MemoryStore::new();
    for id in ["a", "stuck", "b", "stuck2", "c"] {
        append(&store, id, "Accepted").await;
    }
    let (reaction, mut works) = run(&store).await;
    assert_eq!(worked(&mut works, 5).await, ["a", "b", "c", "stuck", "stuck2"]);
    reaction.flush_and_stop().await;
    assert_eq!(saved(&store).await, Some(5));
    let stuck = |id: &str, position| (id.to_owned(), position, 1, true);
    assert_eq!(open(&store).await, [stuck("stuck", 2), stuck("stuck2", 4)]);
    // The next owner has the open work, which is not due yet. What is closed is not open any more.
    let (reaction, mut works) = run(&store).await;
    append(&store, "stuck", "Committed").await;
    append(&store, "d", "Accepted").await;
    assert_eq!(worked(&mut works, 1).await, ["d"]);
    reaction.flush_and_stop().await;
    assert_eq!(saved(&store).await, Some(7));
    assert_eq!(open(&store).await, [stuck("stuck2", 4)]);
}

#[tokio::test]
async fn an_item_that_was_closed_after_the_last_save_is_not_performed_again() {
    let store = MemoryStore::new();
    append(&store, "a", "Accepted").await;
    append(&store, "b", "Accepted").await;
    let partition = PartitionId::new("puppet@1", 0);
    // As of an owner that died: it has saved both items, and carried out one of them.
    let lease = store.acquire_lease("puppet@1/0", Uuid::nil(), Duration::ZERO).await;
    let item = |id: &str, position| {
        WorkChange::Open(OpenWork {
            id: id.to_owned(),
            key: id.to_owned(),
            position: GlobalPosition(position),
            due_at: OffsetDateTime::UNIX_EPOCH,
            attempts: 0,
            reason: None,
            command_key: None,
            body: serde_json::to_string(&Details::default()).unwrap(),
        })
    };
    let event_id = event_at(&store, GlobalPosition(2)).await.unwrap().unwrap();
    let log_id = store.info().identity.log_id;
    let update = CheckpointUpdate {
        partition,
        from: GlobalPosition::ZERO,
        sequence: 1,
        checkpoint: Checkpoint { log_id, position: GlobalPosition(2), event_id },
        parked: vec![],
        work: vec![item("a", 1), item("b", 2)],
        lease: lease.unwrap().unwrap(),
        is_replay: false,
    };
    let batch = DocumentBatch { documents: vec![], deleted: vec![], update };
    store.save_documents(batch).await.unwrap();
    append(&store, "a", "Committed").await;
    let (reaction, mut works) = run(&store).await;
    assert_eq!(worked(&mut works, 1).await, ["b"]);
    reaction.flush_and_stop().await;
    assert_eq!((saved(&store).await, open(&store).await), (Some(3), vec![]));
    assert!(works.try_recv().is_err(), "it is performed again");
}

#[tokio::test]
async fn an_event_that_panics_is_not_passed_over() {
    let store = MemoryStore::new();
    append(&store, "a", "Accepted").await;
    append(&store, "stuck", "Panic").await;
    append(&store, "b", "Accepted").await;
    let (reaction, mut works) = run(&store).await;
    assert_eq!(worked(&mut works, 3).await, ["a", "b", "stuck"]);
    let standing = &reaction.partitions()[0];
    assert_eq!(standing.parked_keys, 1);
    let (_, error) = standing.last_error.as_ref().unwrap();
    assert!(error.contains("stuck") && error.contains("position 2"), "{error}");
    reaction.flush_and_stop().await;
    assert_eq!(saved(&store).await, Some(3));
    assert_eq!(open(&store).await, [("stuck".to_owned(), 2, 1, true)]);
}

/// Another release may understand the event, so each term reads it again.
#[tokio::test]
async fn the_event_of_an_unclear_item_is_read_again_by_each_term() {
    let store = MemoryStore::new();
    append(&store, "unclear", "Accepted").await;
    let (reaction, mut works) = run(&store).await;
    assert_eq!(worked(&mut works, 1).await, ["unclear"]);
    reaction.flush_and_stop().await;
    let body = async || {
        let mut bodies = Vec::new();
        let partition = PartitionId::new("puppet@1", 0);
        load(&store, &partition, |work| bodies.push((work.key, work.body))).await.unwrap();
        let (key, body) = bodies.remove(0);
        (key, serde_json::from_str::<Details>(&body).unwrap().is_unclear)
    };
    assert_eq!(body().await, ("unclear".to_owned(), true));
    // The same puppet understands it from the second time on.
    let (reaction, _works) = run_with(&store, true).await;
    let replaced = async {
        while body().await.1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(60), replaced).await.expect("it stays unclear");
    assert_eq!(body().await, ("lane".to_owned(), false));
    reaction.flush_and_stop().await;
}
