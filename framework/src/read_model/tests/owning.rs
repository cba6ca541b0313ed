//! Several processes and one read model: one folds, all answer, and of an owner that slept through
//! the end of its lease nothing is stored.

use std::sync::Mutex;

use super::*;

/// Calls of a process to the store, and those that are held up as if the process were frozen.
#[derive(Clone, Default)]
pub(super) struct Watched {
    held: Arc<Mutex<Vec<&'static str>>>,
    calls: Arc<Mutex<Vec<&'static str>>>,
}

fn name_of(call: &Call) -> &'static str {
    match call {
        Call::ReadAll(_) => "read",
        Call::ReadPositions => "positions",
        Call::LoadDocuments(_) | Call::Loaded => "load",
        Call::Save(_) => "save",
        Call::Saved => "saved",
        Call::Fenced => "fenced",
        Call::LoadCheckpoint => "checkpoint",
        // Who is not heard of holds nothing, and is not waited for.
        Call::ListDocuments => "list",
        Call::Renew | Call::Join => "renew",
    }
}

impl Watched {
    pub(super) fn hold(&self, calls: &[&'static str]) {
        *self.held.lock().unwrap() = calls.to_vec();
    }

    pub(super) fn count(&self, call: &str) -> usize {
        self.calls.lock().unwrap().iter().filter(|made| **made == call).count()
    }

    pub(super) fn process(&self, memory: &MemoryStore, settings: Pacing) -> Process {
        let watched = self.clone();
        let store = TestStore::over(memory.clone(), move |call| {
            let (call, watched) = (name_of(&call), watched.clone());
            watched.calls.lock().unwrap().push(call);
            Box::pin(async move {
                while watched.held.lock().unwrap().contains(&call) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                Ok(())
            })
        });
        Process::new(store.shared(), settings)
    }
}

/// A lease that outlasts every test.
pub(super) fn lasting() -> Pacing {
    Pacing { lease_for: Duration::from_secs(3600), ..small() }
}

async fn owned(model: &ReadModelHandle<Sums>) {
    until(|| model.progress().is_owner).await;
}

async fn stored(memory: &MemoryStore, key: &str) -> (Sums, u64) {
    let saved = memory
        .load_documents(&PartitionId::new("sums@1", 0), &[key.into()])
        .await
        .unwrap()
        .documents;
    let checkpoint = memory.load_checkpoint(&PartitionId::new("sums@1", 0)).await.unwrap().unwrap();
    (serde_json::from_str(&saved[0].1).unwrap(), checkpoint.position.0)
}

#[tokio::test]
async fn of_two_processes_one_folds_and_both_answer() {
    let (memory, first, second) = (MemoryStore::new(), Watched::default(), Watched::default());
    let (one, two) = (first.process(&memory, lasting()), second.process(&memory, lasting()));
    let (owner, standby) = (one.sums().await, two.sums().await);
    owned(&owner).await;
    let mut notes = Vec::new();
    for n in 0..30 {
        note(&memory, "a", n).await;
        notes.push(n);
        for model in [&standby, &owner] {
            let document = read(model, "a", n + 1).await;
            assert_eq!((document.body, document.position.0), (expected(&notes), n + 1));
        }
    }
    assert!(!standby.progress().is_owner && owner.progress().is_owner);
    assert_eq!((second.count("read"), second.count("save")), (0, 0), "a standby follows nothing");
    let missing = standby.read("b", GlobalPosition(30), WITHIN).await;
    assert!(matches!(missing, Err(ReadError::NotFound { .. })), "{missing:?}");
    let late = standby.read("a", GlobalPosition(31), AT_ONCE).await;
    let Err(ReadError::NotYet { wanted, reached, .. }) = late else { panic!("{late:?}") };
    assert_eq!((wanted.0, reached.0), (31, 30));
}

#[tokio::test]
async fn a_standby_asks_the_store_only_while_somebody_waits() {
    let (memory, watched) = (MemoryStore::new(), Watched::default());
    let seldom = Pacing { renew_every: Duration::from_secs(3600), ..lasting() };
    let (one, two) = (Process::new(memory.clone(), lasting()), watched.process(&memory, seldom));
    let owner = one.sums().await;
    // The other process would take the partition if it looked before the first one has the lease.
    owned(&owner).await;
    let standby = two.sums().await;
    note(&memory, "a", 1).await;
    read(&standby, "a", 1).await;
    assert!(watched.count("checkpoint") > 1);
    until(|| owner.progress().saved.0 == 1).await;
    let late = standby.read("a", GlobalPosition(2), Duration::from_millis(20)).await;
    assert!(matches!(late, Err(ReadError::NotYet { .. })), "{late:?}");
    // The one that waited is forgotten at the next tick, and then nobody asks any more.
    let mut before = 0;
    while std::mem::replace(&mut before, watched.count("checkpoint")) != before {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(watched.count("checkpoint"), before);
}

#[tokio::test]
async fn a_dead_owner_is_replaced_and_every_event_is_folded_exactly_once() {
    let memory = MemoryStore::new();
    let process = || Watched::default().process(&memory, small());
    let mut owner = process();
    let mut owning = owner.sums().await;
    let mut notes = Vec::new();
    for round in 0..8 {
        let heir = process();
        let inheriting = heir.sums().await;
        for n in 0..10 {
            note(&memory, "a", n).await;
            notes.push(n);
        }
        match round % 2 {
            0 => {} // at once
            _ => _ = read(&inheriting, "a", notes.len() as u64).await,
        }
        owner.kill().await;
        (owner, owning) = (heir, inheriting);
        let document = read(&owning, "a", notes.len() as u64).await;
        assert_eq!(document.body, expected(&notes), "round {round}");
        owned(&owning).await;
    }
    owning.flush_and_stop().await;
    assert_eq!(stored(&memory, "a").await, (expected(&notes), notes.len() as u64));
}

#[tokio::test]
async fn a_frozen_owner_stores_nothing_after_another_took_over() {
    let (memory, sleeper) = (MemoryStore::new(), Watched::default());
    let one = sleeper.process(&memory, small());
    let sleeping = one.sums().await;
    note(&memory, "a", 1).await;
    until(|| sleeping.progress().saved.0 == 1).await;
    // It has folded more and is about to store it when it falls asleep.
    sleeper.hold(&["save", "renew"]);
    note(&memory, "a", 2).await;
    read(&sleeping, "a", 2).await;
    until(|| sleeper.count("save") == 2).await;
    let two = Watched::default().process(&memory, lasting());
    let awake = two.sums().await;
    note(&memory, "a", 3).await;
    assert_eq!(read(&awake, "a", 3).await.body, expected(&[1, 2, 3]));
    until(|| awake.progress().saved.0 == 3).await;
    sleeper.hold(&[]);
    until(|| sleeper.count("fenced") == 1 && !sleeping.progress().is_owner).await;
    assert_eq!(stored(&memory, "a").await, (expected(&[1, 2, 3]), 3));
    // It is a standby like any other now.
    note(&memory, "a", 4).await;
    assert_eq!(read(&sleeping, "a", 4).await.body, expected(&[1, 2, 3, 4]));
    awake.flush_and_stop().await;
    owned(&sleeping).await;
    note(&memory, "a", 5).await;
    assert_eq!(read(&sleeping, "a", 5).await.body, expected(&[1, 2, 3, 4, 5]));
}

#[tokio::test]
async fn a_save_of_a_lost_term_that_ends_late_does_not_touch_the_next_term() {
    let (memory, sleeper) = (MemoryStore::new(), Watched::default());
    let one = sleeper.process(&memory, small());
    let sleeping = one.sums().await;
    sleeper.hold(&["save", "renew"]);
    note(&memory, "a", 1).await;
    until(|| sleeper.count("save") == 1).await;
    let two = Watched::default().process(&memory, lasting());
    let awake = two.sums().await;
    owned(&awake).await;
    sleeper.hold(&["save"]);
    until(|| !sleeping.progress().is_owner).await;
    awake.flush_and_stop().await;
    owned(&sleeping).await;
    sleeper.hold(&[]);
    until(|| sleeper.count("fenced") == 1).await;
    note(&memory, "a", 2).await;
    until(|| sleeping.progress().saved.0 == 2).await;
    assert_eq!(stored(&memory, "a").await, (expected(&[1, 2]), 2));
    // One, two, one again: nobody had to acquire it once more.
    let again = memory.acquire_lease("sums@1/0", one.id, Duration::ZERO).await.unwrap();
    assert_eq!(again.map(|lease| lease.token), Some(4));
}

#[tokio::test]
async fn a_document_that_another_process_has_moved_on_is_not_folded_on() {
    let (memory, sleeper) = (MemoryStore::new(), Watched::default());
    let one = sleeper.process(&memory, Pacing { hot_documents: 1, ..small() });
    let sleeping = one.sums().await;
    note(&memory, "a", 1).await;
    note(&memory, "b", 2).await;
    until(|| sleeping.progress().saved.0 == 2).await;
    // "a" is in the store only, where another process moves it on; this one does not know yet.
    sleeper.hold(&["read", "renew"]);
    let two = Watched::default().process(&memory, lasting());
    let awake = two.sums().await;
    owned(&awake).await;
    note(&memory, "a", 3).await;
    until(|| awake.progress().saved.0 == 3).await;
    let early = sleeping.read("a", GlobalPosition::ZERO, Duration::from_millis(50)).await;
    assert!(early.is_err(), "{early:?}");
    sleeper.hold(&["renew"]);
    let late = sleeping.read("a", GlobalPosition(3), Duration::from_millis(50)).await;
    assert!(late.is_err(), "{late:?}");
    sleeper.hold(&[]);
    assert_eq!(read(&sleeping, "a", 3).await.body, expected(&[1, 3]));
    assert!(!sleeping.progress().is_owner);
}

#[tokio::test]
async fn an_owner_that_stops_hands_over_at_once() {
    let memory = MemoryStore::new();
    let process = || Watched::default().process(&memory, lasting());
    let (one, two) = (process(), process());
    let (owner, standby) = (one.sums().await, two.sums().await);
    note(&memory, "a", 1).await;
    read(&owner, "a", 1).await;
    owner.flush_and_stop().await;
    assert_eq!(stored(&memory, "a").await, (expected(&[1]), 1));
    owned(&standby).await; // the lease would have lasted an hour
    note(&memory, "a", 2).await;
    assert_eq!(read(&standby, "a", 2).await.body, expected(&[1, 2]));
}

#[tokio::test]
async fn an_owner_that_lost_its_lease_answers_nothing_older_than_before() {
    let (memory, sleeper, heir) = (MemoryStore::new(), Watched::default(), Watched::default());
    let one = sleeper.process(&memory, small());
    let sleeping = one.sums().await;
    sleeper.hold(&["save", "renew"]);
    for n in 0..20 {
        note(&memory, "a", n).await;
    }
    let notes: Vec<_> = (0..20).collect();
    assert_eq!(read(&sleeping, "a", 20).await.body, expected(&notes));
    // The heir begins at nothing, and comes no further for now.
    heir.hold(&["read"]);
    let two = heir.process(&memory, lasting());
    let inheriting = two.sums().await;
    owned(&inheriting).await;
    sleeper.hold(&[]);
    until(|| !sleeping.progress().is_owner).await;
    let early = sleeping.read("a", GlobalPosition::ZERO, Duration::from_millis(50)).await;
    let Err(ReadError::NotYet { wanted, reached, .. }) = early else { panic!("{early:?}") };
    assert_eq!((wanted.0, reached.0), (20, 0));
    heir.hold(&[]);
    let document = read(&sleeping, "a", 0).await;
    assert_eq!((document.body, document.position.0), (expected(&notes), 20));
    assert_eq!(stored(&memory, "a").await, (expected(&notes), 20));
}

#[tokio::test]
async fn a_standby_is_live_once_the_owner_has_saved_what_the_log_held_at_its_start() {
    let (memory, watched) = (MemoryStore::new(), Watched::default());
    let one = watched.process(&memory, lasting());
    let owner = one.sums().await;
    watched.hold(&["save"]);
    note(&memory, "a", 1).await;
    read(&owner, "a", 1).await;
    let two = Watched::default().process(&memory, lasting());
    let standby = two.sums().await;
    let early = standby.read("a", GlobalPosition::ZERO, Duration::from_millis(50)).await;
    assert!(matches!(early, Err(ReadError::NotYet { .. })), "{early:?}");
    assert_eq!(standby.progress().state, State::CatchingUp);
    watched.hold(&[]);
    until(|| standby.progress().state == State::Live).await;
    assert_eq!((standby.progress().is_owner, standby.progress().applied.0), (false, 1));
    assert_eq!(read(&standby, "a", 0).await.body, expected(&[1]));
}

#[tokio::test]
async fn a_standby_of_another_log_halts() {
    let (memory, other) = (MemoryStore::new(), MemoryStore::new());
    let owner = Watched::default().process(&memory, lasting());
    let owning = owner.sums().await;
    let standby = Watched::default().process(&memory, lasting());
    let standing_by = standby.sums().await;
    note(&memory, "a", 1).await;
    read(&standing_by, "a", 1).await;
    // The owner's lease, used by a program that believes to be in another log.
    let (log_id, from) = (other.info().identity.log_id, GlobalPosition(1));
    until(|| owning.progress().saved.0 == 1).await;
    let checkpoint = Checkpoint { log_id, position: GlobalPosition(2), event_id: Uuid::nil() };
    let lease = Lease { name: "sums@1/0".into(), owner: owner.id, token: 1 };
    let partition = PartitionId::new("sums@1", 0);
    let (parked, work) = (vec![], vec![]);
    let update = CheckpointUpdate {
        partition,
        from,
        sequence: 100,
        checkpoint,
        parked,
        work,
        lease,
        is_replay: false,
    };
    memory
        .save_documents(DocumentBatch { documents: vec![], deleted: vec![], update })
        .await
        .unwrap();
    let read = standing_by.read("a", GlobalPosition(2), WITHIN).await;
    let Err(ReadError::Halted { reason, .. }) = read else { panic!("{read:?}") };
    assert!(reason.contains("belongs to the log"), "{reason}");
}
