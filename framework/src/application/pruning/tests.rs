//! Tests that old idempotency keys are deleted by the clock.

use super::*;
use crate::clock::Clock;
use crate::command::CommandKey;
use crate::event::{ExpectedVersion, GlobalPosition, NewEvent, StreamId};
use crate::store::contract::{
    Append, Checkpoint, CheckpointUpdate, DocumentBatch, DocumentStore, EventStore, LeaseStore,
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
    let partition = PartitionId::new("command_executor@1", 0);
    let lease = store.acquire_lease(&partition.to_string(), Uuid::nil(), Duration::ZERO).await;
    let log_id = store.info().identity.log_id;
    let update = CheckpointUpdate {
        partition,
        from: GlobalPosition(from),
        sequence: to,
        checkpoint: Checkpoint { log_id, position: GlobalPosition(to), event_id: Uuid::nil() },
        parked: vec![],
        work: vec![],
        lease: lease.unwrap().unwrap(),
    };
    let batch = DocumentBatch { documents: vec![], deleted: vec![], update };
    store.save_documents(batch).await.unwrap();
}

/// Until then no key is known to be without open work.
#[tokio::test]
async fn keys_stay_until_the_executor_has_stored_the_commands_that_may_have_them() {
    let clock = ManualClock::new();
    let store = MemoryStore::with_clock(clock.clone());
    let mut clear_to = GlobalPosition::ZERO;
    let mut until = async |has_executor| {
        stored_until(&store, has_executor, clock.now(), &mut clear_to).await.unwrap()
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
