//! Tests that old idempotency keys are deleted by the clock.

use super::*;
use crate::clock::Clock;
use crate::command::CommandKey;
use crate::event::{ExpectedVersion, GlobalPosition, NewEvent, StreamId};
use crate::store::contract::{
    Append, Checkpoint, CheckpointUpdate, DocumentBatch, DocumentStore, EventStore, LeaseStore,
    ParkedChange, ParkedKey,
};
use crate::store::memory::MemoryStore;
use crate::testing::ManualClock;
use uuid::Uuid;

#[tokio::test]
async fn keys_go_when_the_clock_says_that_they_are_old_and_not_before() {
    let clock = ManualClock::new();
    let store = MemoryStore::with_clock(clock.clone());
    let keyed = |n: usize| Append {
        stream: StreamId::new("ledger", "a").unwrap(),
        expected: ExpectedVersion::Any,
        events: vec![],
        command: Some(CommandKey::new(n.to_string(), b"").unwrap()),
        claims: vec![],
        chained: false,
    };
    let known = async |n: usize| {
        let key = CommandKey::new(n.to_string(), b"").unwrap();
        let stream = StreamId::new("ledger", "a").unwrap();
        let told = store.confirm(&stream, Default::default(), Some(key.clone())).await.unwrap();
        told != crate::store::contract::Confirmation::Current
    };
    let day = Duration::from_secs(86_400);
    store.append((0..AT_MOST + 1).map(keyed).collect()).await;
    clock.advance(day);
    store.append(vec![keyed(9999)]).await;
    assert!(!forget_before(&store, clock.now(), day).await.unwrap() && known(0).await);
    assert!(!forget_before(&store, clock.now(), Duration::MAX).await.unwrap());
    clock.advance(Duration::from_micros(1));
    assert!(forget_before(&store, clock.now(), day).await.unwrap());
    assert!(!forget_before(&store, clock.now(), day).await.unwrap());
    assert!(!known(0).await && !known(AT_MOST).await && known(9999).await);
}

/// Appends an event to a stream of this type.
async fn append(store: &MemoryStore, of: &str) {
    let event = NewEvent {
        event_id: Uuid::now_v7(),
        event_type: "Happened".into(),
        schema_version: 1,
        payload: "{}".into(),
        metadata: "{}".into(),
    };
    let append = Append {
        stream: StreamId::new(of, "a").unwrap(),
        expected: ExpectedVersion::Any,
        events: vec![event],
        command: None,
        claims: vec![],
        chained: false,
    };
    store.append(vec![append]).await;
}

/// Saves the checkpoint of the executor.
async fn save(store: &MemoryStore, from: u64, to: u64) {
    save_of(store, PartitionId::new("command_executor@1", 0), (from, to), vec![]).await;
}

async fn save_of(
    store: &MemoryStore,
    partition: PartitionId,
    (from, to): (u64, u64),
    parked: Vec<ParkedChange>,
) {
    let lease = store.acquire_lease(&partition.to_string(), Uuid::nil(), Duration::ZERO).await;
    let log_id = store.info().identity.log_id;
    let update = CheckpointUpdate {
        partition,
        from: GlobalPosition(from),
        sequence: to,
        checkpoint: Checkpoint { log_id, position: GlobalPosition(to), event_id: Uuid::nil() },
        parked,
        work: vec![],
        lease: lease.unwrap().unwrap(),
        is_replay: false,
    };
    let batch = DocumentBatch { documents: vec![], deleted: vec![], update };
    store.save_documents(batch).await.unwrap();
}

/// Until then no key is known to be without open work.
#[tokio::test]
async fn keys_stay_until_the_executor_has_stored_the_commands_that_may_have_them() {
    let clock = ManualClock::new();
    let store = MemoryStore::with_clock(clock.clone());
    let mut clear_to = ClearTo::new();
    let mut until = async |has_executor| {
        executed_until(&store, has_executor, clock.now(), &mut clear_to).await.unwrap()
    };
    append(&store, "command").await;
    let accepted = clock.now();
    clock.advance(Duration::from_secs(60));
    assert_eq!((until(true).await, until(false).await), (None, Some(clock.now())));
    append(&store, "ledger").await;
    save(&store, 0, 1).await;
    assert_eq!(until(true).await, Some(clock.now()), "other events open no work");
    append(&store, "command").await;
    let second = clock.now();
    clock.advance(Duration::from_secs(60));
    append(&store, "command").await;
    assert!(accepted < second && second < clock.now());
    for has_executor in [true, false] {
        assert_eq!(until(has_executor).await, Some(second));
    }
    clock.set(accepted);
    assert_eq!(until(true).await, Some(accepted), "the clock was set back");
    save(&store, 1, 4).await;
    assert_eq!(until(true).await, Some(clock.now()));
}

/// The keys of commands that may be sent again are kept, however old they are.
#[tokio::test]
async fn keys_stay_until_a_process_manager_has_saved_the_events_that_lead_to_them() {
    let clock = ManualClock::new();
    let store = MemoryStore::with_clock(clock.clone());
    let partition = PartitionId::new("transfers@1", 0);
    let filter = Filter { aggregate_types: vec!["transfer".to_owned()] };
    let mut clear_to = ClearTo::new();
    let mut until = async || {
        folded_until(&store, &partition, &filter, clock.now(), &mut clear_to).await.unwrap()
    };
    append(&store, "ledger").await;
    assert_eq!(until().await, clock.now(), "other events lead to nothing");
    let mut times = Vec::new();
    for _ in 0..3 {
        clock.advance(Duration::from_secs(60));
        times.push(clock.now());
        append(&store, "transfer").await;
    }
    clock.advance(Duration::from_secs(60));
    assert_eq!(until().await, times[0]);
    save_of(&store, partition.clone(), (0, 2), vec![]).await;
    assert_eq!(until().await, times[1]);
    let parked = ParkedChange::Park(ParkedKey {
        partition: 0,
        key: "a".to_owned(),
        position: GlobalPosition(3),
        event: String::new(),
        reason: String::new(),
        since: clock.now(),
        attempts: 0,
        request: None,
        waiting: 0,
        queue: vec![],
        unlisted_from: None,
        unlisted_sum: 0,
    });
    save_of(&store, partition.clone(), (2, 4), vec![parked]).await;
    assert_eq!(until().await, times[1], "the parked key is folded again");
    let release = vec![ParkedChange::Release { key: "a".to_owned() }];
    save_of(&store, partition.clone(), (4, 4), release).await;
    assert_eq!(until().await, clock.now());
}
