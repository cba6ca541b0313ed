//! Faults that halt a read model, faults that do not, and the documents that are kept.

use std::sync::atomic::AtomicU64;

use super::*;
use crate::store::contract::PageLimit;

async fn halted<M: ReadModel>(model: &ReadModelHandle<M>) -> (u64, String) {
    until(|| matches!(model.progress().state, State::Halted { .. })).await;
    let read = model.read("a", GlobalPosition::ZERO, WITHIN).await;
    let Err(ReadError::Halted { position, reason, .. }) = read else { panic!("it answers") };
    (position.0, reason)
}

#[tokio::test]
async fn an_event_whose_key_is_not_known_halts_and_what_came_before_is_saved() {
    let store = obliging();
    let process = Process::new(store.clone(), small());
    let model = process.sums().await;
    note(&store.memory, "a", 1).await;
    append(&store.memory, ("transfer", "t"), &[("Shredded", "{}".to_owned())]).await;
    let (position, reason) = halted(&model).await;
    assert_eq!(position, 2);
    assert!(reason.contains("unknown event type \"Shredded\""), "{reason}");
    assert!(reason.contains("may belong to any document"), "{reason}");
    until(|| model.progress().saved.0 == 1).await;
    // After a restart it stands before the same event.
    process.kill().await;
    let process = Process::new(store, small());
    assert_eq!(halted(&process.sums().await).await.0, 2);
}

/// A log of one event, whose document "a" is saved and in nobody's memory.
async fn with_a_saved_document() -> MemoryStore {
    let memory = MemoryStore::new();
    note(&memory, "a", 0).await;
    let process = Process::new(memory.clone(), small());
    let model = process.sums().await;
    until(|| model.progress().saved.0 == 1).await;
    process.kill().await;
    memory
}

#[tokio::test]
async fn a_fault_of_the_log_halts_after_what_is_readable_before_it() {
    let memory = with_a_saved_document().await;
    for n in 1..10 {
        note(&memory, "a", n).await;
    }
    // It reads up to 6 or further, as its pages end, and then meets the fault; the document comes
    // after that.
    let met = Arc::new(AtomicU64::new(u64::MAX));
    let readable = Arc::clone(&met);
    let store = TestStore::over(memory, move |call| {
        let met = Arc::clone(&met);
        Box::pin(async move {
            match call {
                Call::ReadAll(after) if after.0 >= 6 => {
                    met.fetch_min(after.0, Ordering::SeqCst);
                    let (place, reason) = ("position 7".to_owned(), "torn".to_owned());
                    return Err(StoreError::Corrupt { place, reason });
                }
                Call::LoadDocuments(_) => {
                    while met.load(Ordering::SeqCst) == u64::MAX {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                _ => {}
            }
            Ok(())
        })
    });
    let process = Process::new(store, small());
    let model = process.sums().await;
    let (position, reason) = halted(&model).await;
    assert!(reason.contains("position 7: torn"), "{reason}");
    let readable = readable.load(Ordering::SeqCst);
    assert_eq!((position, model.progress().applied.0), (readable + 1, readable));
}

#[tokio::test]
async fn a_panic_of_the_store_halts_and_says_so() {
    let memory = with_a_saved_document().await;
    note(&memory, "a", 1).await;
    let store = TestStore::over(memory, |call| {
        Box::pin(async move {
            assert!(!matches!(call, Call::LoadDocuments(_)), "out of memory");
            Ok(())
        })
    });
    let process = Process::new(store, small());
    let model = process.sums().await;
    let (position, reason) = halted(&model).await;
    assert_eq!(position, 2);
    assert!(reason.contains("the documents of sums@1/0") && reason.contains("out of memory"));
}

async fn refused(checkpoint: impl Fn(Checkpoint) -> Checkpoint) -> String {
    let memory = MemoryStore::new();
    note(&memory, "a", 1).await;
    let event_id = memory
        .read_all(GlobalPosition::ZERO, &Filter::all(), PageLimit::events(1))
        .await
        .unwrap()
        .events[0]
        .event_id;
    let good =
        Checkpoint { log_id: memory.info().identity.log_id, position: GlobalPosition(1), event_id };
    let partition = PartitionId::new("sums@1", 0);
    let lease = memory.acquire_lease(&partition.to_string(), Uuid::now_v7(), Duration::ZERO).await;
    let update = CheckpointUpdate {
        partition,
        from: GlobalPosition::ZERO,
        sequence: 1,
        checkpoint: checkpoint(good),
        parked: vec![],
        work: vec![],
        lease: lease.unwrap().unwrap(),
        is_replay: false,
    };
    memory
        .save_documents(DocumentBatch { documents: vec![], deleted: vec![], update })
        .await
        .unwrap();
    match Process::new(memory, small()).start::<Sums>(1).await {
        Ok(_) => "accepted".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn a_checkpoint_that_does_not_fit_the_log_refuses_to_start() {
    let other = Uuid::now_v7();
    let reason = refused(|good| Checkpoint { log_id: other, ..good }).await;
    assert!(reason.contains(&format!("belongs to the log {other}")), "{reason}");
    let reason = refused(|good| Checkpoint { position: GlobalPosition(9), ..good }).await;
    assert!(reason.contains("at position 9, the log ends at 1"), "{reason}");
    let reason = refused(|good| Checkpoint { event_id: other, ..good }).await;
    assert!(reason.contains("restored or rewound"), "{reason}");
    assert_eq!(refused(|good| good).await, "accepted");
}

/// A write without the lease is a fault of another program.
#[tokio::test]
async fn documents_that_somebody_moved_on_beside_its_lease_are_not_folded_on() {
    let store = obliging();
    note(&store.memory, "a", 1).await;
    let one = Process::new(store.clone(), patient());
    let first = one.sums().await;
    read(&first, "a", 1).await;
    first.flush_and_stop().await;
    // The second starts where the first saved, and its first page comes late.
    let gate = Arc::new(Semaphore::new(1)); // the start reads once
    let entered = Arc::clone(&gate);
    let held = TestStore::over(store.memory.clone(), move |call| {
        let gate = Arc::clone(&entered);
        Box::pin(async move {
            if let Call::ReadAll(_) = call {
                gate.acquire().await.unwrap().forget();
            }
            Ok(())
        })
    });
    let two = Process::new(held, patient());
    let second = two.sums().await;
    until(|| second.progress().is_owner).await;
    note(&store.memory, "a", 2).await;
    let page = store
        .memory
        .read_all(GlobalPosition(1), &Filter::all(), PageLimit::events(1))
        .await
        .unwrap();
    let checkpoint = Checkpoint {
        log_id: store.memory.info().identity.log_id,
        position: GlobalPosition(2),
        event_id: page.events[0].event_id,
    };
    let update = CheckpointUpdate {
        partition: PartitionId::new("sums@1", 0),
        from: GlobalPosition(1),
        sequence: 100,
        checkpoint,
        parked: vec![],
        work: vec![],
        lease: Lease { name: "sums@1/0".into(), owner: two.id, token: 2 },
        is_replay: false,
    };
    let batch = DocumentBatch { documents: vec![], deleted: vec![], update };
    store.memory.save_documents(batch).await.unwrap();
    gate.add_permits(1_000);
    assert!(halted(&second).await.1.contains("another writer has moved it to 2"));
}

/// Status and metrics are made of this, and so is what other processes may do.
#[tokio::test]
async fn an_owner_that_halted_owns_nothing_any_more_in_any_process() {
    let memory = MemoryStore::new();
    let settings = Pacing { lease_for: Duration::from_secs(3600), ..small() };
    let process = || {
        let store = TestStore::over(memory.clone(), |_| Box::pin(async { Ok(()) }));
        Process::new(store.shared(), settings.clone())
    };
    let one = process();
    let first = one.sums().await;
    until(|| first.progress().is_owner).await;
    note(&memory, "a", 1).await;
    append(&memory, ("transfer", "t"), &[("Shredded", "{}".to_owned())]).await;
    let (position, reason) = halted(&first).await;
    assert_eq!(position, 2);
    assert!(!first.progress().is_owner);
    // What came before is saved, and then the lease is free, long before it would expire.
    let free = async {
        while memory.holders(&["sums@1/0".to_owned()]).await.unwrap() != [None] {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(WITHIN, free).await.expect("it keeps its lease");
    assert_eq!(first.progress().saved.0, 1);
    // It stays halted, and takes nothing again; another process of the same program halts as well.
    let two = process();
    let second = two.sums().await;
    assert_eq!(halted(&second).await, (position, reason));
    assert!(matches!(first.progress().state, State::Halted { .. }));
    assert!(!first.progress().is_owner && !second.progress().is_owner);
    first.flush_and_stop().await;
    second.flush_and_stop().await;
}
