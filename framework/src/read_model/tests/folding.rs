//! Exactly once, in order, saved in few writes, in bounded memory.

use std::sync::{Mutex, MutexGuard};

use super::*;

#[tokio::test]
async fn killed_at_any_moment_it_resumes_and_folds_every_event_exactly_once() {
    let memory = MemoryStore::new();
    let mut notes = vec![Vec::new(); 10];
    let mut head = 0;
    for round in 0..40 {
        let process = Process::new(whimsical(memory.clone(), round), small());
        let model = process.sums().await;
        for step in 0..25 {
            let key = (round * 7 + step * step) % notes.len();
            note(&memory, &key.to_string(), head).await;
            notes[key].push(head);
            head += 1;
        }
        match round % 4 {
            0 => {} // at once
            1 => until(|| model.progress().applied.0 > head - 20).await,
            2 => until(|| model.progress().saved.0 > head - 10).await,
            _ => _ = read(&model, "0", head).await,
        }
        process.kill().await;
    }
    let process = Process::new(memory.clone(), small());
    let model = process.sums().await;
    for (key, notes) in notes.iter().enumerate() {
        let document = read(&model, &key.to_string(), head).await;
        assert_eq!((document.body, document.position.0), (expected(notes), head), "{key}");
    }
    assert!(model.progress().saved.0 > 0);
}

#[tokio::test]
async fn on_a_store_of_its_own_nobody_waits_for_the_lease_of_an_application_that_was_dropped() {
    let store = obliging();
    let lasting = || Pacing { lease_for: Duration::from_secs(3600), ..small() };
    let process = Process::new(store.clone(), lasting());
    let model = process.sums().await;
    until(|| model.progress().is_owner).await;
    process.kill().await;
    let process = Process::new(store, lasting());
    let model = process.sums().await;
    until(|| model.progress().is_owner).await;
}

#[tokio::test]
async fn one_read_model_follows_two_aggregates_in_the_order_of_the_log() {
    let store = obliging();
    let process = Process::new(store.clone(), small());
    let model = process.sums().await;
    let moved = |to: &str, n| [("Moved", format!("{{\"to\":\"{to}\",\"n\":{n}}}"))];
    note(&store.memory, "a", 1).await;
    append(&store.memory, ("transfer", "t1"), &moved("a", 2)).await;
    append(&store.memory, ("transfer", "t1"), &moved("nobody", 9)).await;
    note(&store.memory, "a", 3).await;
    assert_eq!(read(&model, "a", 4).await.body, expected(&[1, 2, 3]));
    let missing = model.read("t1", GlobalPosition(4), WITHIN).await;
    assert!(matches!(missing, Err(ReadError::NotFound { model: "sums", .. })), "{missing:?}");
}

#[tokio::test]
async fn a_read_model_that_cannot_save_pauses_in_bounded_memory_and_slows_no_other() {
    let is_closed = Arc::new(AtomicBool::new(true));
    let closed = Arc::clone(&is_closed);
    let store = TestStore::new(move |call| {
        let closed = closed.load(Ordering::Relaxed);
        Box::pin(async move {
            match call {
                Call::Save(batch) if closed && batch.update.partition.model == "brittle@1" => {
                    Err(StoreError::Unavailable("closed".into()))
                }
                _ => Ok(()),
            }
        })
    });
    let process = Process::new(store.clone(), small());
    let (stuck, sums) = (process.start::<Brittle>(2).await.unwrap(), process.sums().await);
    for n in 0..100 {
        note(&store.memory, &n.to_string(), n).await;
    }
    assert_eq!(read(&sums, "99", 100).await.events, 1);
    until(|| sums.progress().saved.0 == 100).await;
    // At most `most_unsaved` documents and the page that made them so many.
    assert!(stuck.progress().applied.0 <= 5 + 7, "{:?}", stuck.progress());
    assert_eq!(stuck.progress().saved.0, 0);
    is_closed.store(false, Ordering::Relaxed);
    assert_eq!(read(&stuck, "99", 100).await.events, 1);
}

/// A gate held closed across awaits.
struct Closed<'a>(#[expect(dead_code, reason = "it is held, not read")] MutexGuard<'a, ()>);

#[tokio::test]
async fn a_fold_that_blocks_its_thread_does_not_hold_up_another() {
    static GATE: Mutex<()> = Mutex::new(());
    read_model!(Blocking, "blocking", |_document| drop(GATE.lock()));
    let store = obliging();
    let process = Process::new(store.clone(), small());
    let (blocking, sums) = (process.start::<Blocking>(2).await.unwrap(), process.sums().await);
    // The test waits with the gate closed: that a thread is blocked meanwhile is what it is about.
    let closed = Closed(GATE.lock().unwrap());
    poison(&store.memory, "a").await;
    for n in 0..200 {
        note(&store.memory, "a", n).await;
    }
    assert_eq!(read(&sums, "a", 201).await.events, 201);
    assert_eq!(blocking.progress().applied.0, 0);
    drop(closed);
    assert_eq!(read(&blocking, "a", 201).await.events, 201);
}

/// Closed, it blocks whoever folds a poison.
static FOLDING: Mutex<()> = Mutex::new(());

/// A transfer was decoded.
static DECODED: AtomicBool = AtomicBool::new(false);

#[derive(Default, Clone, Serialize, Deserialize)]
struct Overlapping {
    events: u64,
}

impl ReadModel for Overlapping {
    const NAME: &'static str = "overlapping";

    fn sources() -> Sources<Self> {
        Sources::of::<Book>().and_by::<Transfer>(|event| {
            DECODED.store(true, Ordering::SeqCst);
            let Moved::Moved { to, .. } = &event.event;
            Some(to.clone())
        })
    }
}

impl Fold<Book> for Overlapping {
    fn apply(&mut self, event: &EventEnvelope<Noted>) {
        if matches!(event.event, Noted::Poison) {
            drop(FOLDING.lock());
        }
        self.events += 1;
    }
}

impl Fold<Transfer> for Overlapping {
    fn apply(&mut self, _: &EventEnvelope<Moved>) {
        self.events += 1;
    }
}

#[tokio::test]
async fn while_a_page_is_folded_the_store_is_asked_for_the_documents_of_the_next() {
    let roomy = || Pacing { hot_documents: 100, ..small() };
    let memory = MemoryStore::new();
    for key in ["a", "b"] {
        note(&memory, key, 0).await;
    }
    let process = Process::new(memory.clone(), roomy());
    let model = process.start::<Overlapping>(2).await.unwrap();
    until(|| model.progress().saved.0 == 2).await;
    process.kill().await;
    // The first page is the tail's seven; the second is decoded while that one's document is loaded.
    for n in 0..7 {
        match n {
            0 => poison(&memory, "a").await,
            n => note(&memory, "a", n).await,
        }
    }
    let moved = ("Moved", r#"{"to":"b","n":1}"#.to_owned());
    append(&memory, ("transfer", "t1"), &[moved]).await;
    let asked_for = Arc::<Mutex<Vec<String>>>::default();
    let asked = Arc::clone(&asked_for);
    let store = TestStore::over(memory, move |call| {
        let loads = matches!(call, Call::LoadDocuments(_));
        if let Call::LoadDocuments(keys) = call {
            asked.lock().unwrap().extend(keys);
        }
        Box::pin(async move {
            while loads && !DECODED.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Ok(())
        })
    });
    let closed = Closed(FOLDING.lock().unwrap());
    let process = Process::new(store, roomy());
    let model = process.start::<Overlapping>(2).await.unwrap();
    until(|| *asked_for.lock().unwrap() == ["a", "b"]).await;
    assert_eq!(model.progress().applied.0, 2);
    drop(closed);
    let [a, b] = [read(&model, "a", 10).await, read(&model, "b", 10).await];
    assert_eq!((a.body.events, b.body.events), (8, 2));
}

#[tokio::test]
async fn the_checkpoint_moves_on_when_only_foreign_events_pass() {
    let store = obliging();
    let process = Process::new(store.clone(), small());
    let model = process.sums().await;
    for _ in 0..20 {
        append(&store.memory, ("weather", "1"), &[("Rained", "{}".to_owned())]).await;
    }
    until(|| model.progress().saved.0 == 20).await;
    process.kill().await;
    assert_eq!(Process::new(store, small()).sums().await.progress().applied.0, 20);
}

#[tokio::test]
async fn many_changes_of_one_document_are_one_write_and_stopping_saves_them() {
    let saves = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&saves);
    let store = TestStore::new(move |call| {
        if let Call::Save(batch) = call {
            seen.lock().unwrap().push(batch);
        }
        Box::pin(async { Ok(()) })
    });
    let process = Process::new(store.clone(), patient());
    let model = process.sums().await;
    for n in 0..100 {
        note(&store.memory, "a", n).await;
    }
    assert_eq!(read(&model, "a", 100).await.events, 100);
    model.flush_and_stop().await;
    let saves = saves.lock().unwrap().clone();
    let [save] = &saves[..] else { panic!("{} saves", saves.len()) };
    assert_eq!(
        (save.documents.len(), save.update.from.0, save.update.checkpoint.position.0),
        (1, 0, 100)
    );
    assert_eq!(model.progress().state, State::Stopped);
    let late = model.read("a", GlobalPosition::ZERO, WITHIN).await;
    assert!(matches!(late, Err(ReadError::Stopping)), "{late:?}");
    let process = Process::new(store, patient());
    assert_eq!(read(&process.sums().await, "a", 100).await.events, 100);
}

/// A process that dies right after any save leaves documents that are those of the checkpoint.
#[tokio::test]
async fn after_each_save_the_stored_documents_are_those_of_the_stored_checkpoint() {
    let memory = MemoryStore::new();
    let (looked, saves) = (memory.clone(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&saves);
    let store = TestStore::over(memory.clone(), move |call| {
        let (memory, saves) = (looked.clone(), Arc::clone(&counted));
        Box::pin(async move {
            if call != Call::Saved {
                return Ok(());
            }
            let partition = PartitionId::new("sums@1", 0);
            let keys = ["a".to_owned(), "b".to_owned()];
            let at = memory.load_documents(&partition, &keys).await?;
            let position = at.checkpoint.map_or(0, |checkpoint| checkpoint.position.0);
            let events = at
                .documents
                .iter()
                .map(|(_, body)| serde_json::from_str::<Sums>(body).unwrap().events);
            // If not, the save comes to nothing, and with it the test.
            match events.sum::<u64>() == position {
                true => saves.fetch_add(1, Ordering::SeqCst),
                false => {
                    return Err(StoreError::Corrupt {
                        place: "a checkpoint".into(),
                        reason: "it is ahead of the documents".into(),
                    });
                }
            };
            Ok(())
        })
    });
    let process = Process::new(store, small());
    let model = process.sums().await;
    for n in 0..100 {
        note(&memory, if n % 3 == 0 { "a" } else { "b" }, n).await;
        tokio::task::yield_now().await;
    }
    read(&model, "a", 100).await;
    until(|| model.progress().saved.0 == 100).await;
    assert!(saves.load(Ordering::SeqCst) > 1);
}
