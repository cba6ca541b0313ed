//! Read model actors on a memory store that can be made to tarry and fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::*;
use crate::MemoryStore;
use crate::actor::Arbiters;
use crate::aggregate::Aggregate;
use crate::document::{Checkpoint, DocumentBatch, DocumentStore};
use crate::error::{ReadError, StoreError};
use crate::event::EventEnvelope;
use crate::event_store::EventStore;
use crate::read_model::{Document, Fold, Sources};
use crate::stream::GlobalPosition;
use crate::subscription::TailSettings;
use crate::subscription::test_store::{Call, TestStore, append};

macro_rules! aggregate {
    ($name:ident, $type:literal, $event:ty) => {
        #[derive(Default)]
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

#[derive(Serialize, Deserialize)]
enum Noted {
    Noted { n: u64 },
    Poison,
}

#[derive(Serialize, Deserialize)]
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
                Sources::of::<Book>().and::<Transfer>()
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
            fn key(event: &EventEnvelope<Moved>) -> Option<String> {
                let Moved::Moved { to, .. } = &event.event;
                (to != "nobody").then(|| to.clone())
            }

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
    settings: ReadModelSettings,
}

fn small() -> ReadModelSettings {
    ReadModelSettings {
        hot_documents: 3,
        most_unsaved: 5,
        save_at: 2,
        save_after: Duration::from_millis(2),
        checkpoint_after: Duration::from_millis(5),
        first_pause: Duration::from_micros(100),
        longest_pause: Duration::from_millis(1),
        tick: Duration::from_millis(1),
        ..ReadModelSettings::default()
    }
}

impl Process {
    fn new(store: impl Store, settings: ReadModelSettings) -> Self {
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
        Self { store, arbiters, tail, settings }
    }

    async fn start<M: ReadModel>(&self, arbiter: u64) -> Result<ReadModelHandle<M>, StartError> {
        let store = Arc::clone(&self.store);
        start(self.arbiters.of(arbiter), store, &self.tail, self.settings.clone()).await
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
        let Self { store, arbiters, tail, .. } = self;
        arbiters.stop();
        drop((arbiters, tail));
        until(|| Arc::strong_count(&store) == 1).await;
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
            _ => drop(read(&model, "0", head).await),
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
async fn a_read_waits_for_its_position_and_says_so_when_the_time_is_over() {
    let store = obliging();
    let process = Process::new(store.clone(), small());
    let model = process.sums().await;
    note(&store.memory, "a", 1).await;
    read(&model, "a", 1).await;
    let late = model.read("a", GlobalPosition(2), AT_ONCE).await;
    let Err(ReadError::NotYet { wanted, reached, .. }) = late else { panic!("{late:?}") };
    assert_eq!((wanted.0, reached.0), (2, 1));
    let (document, ()) = tokio::join!(read(&model, "a", 2), note(&store.memory, "a", 5));
    assert_eq!((document.events, document.position.0), (2, 2));
}

#[tokio::test]
async fn nothing_is_answered_before_the_head_at_start_is_reached() {
    let memory = MemoryStore::new();
    for n in 0..20 {
        note(&memory, "a", n).await;
    }
    let gate = Arc::new(Semaphore::new(1));
    let entered = Arc::clone(&gate);
    let store = TestStore::over(memory, move |call| {
        let gate = Arc::clone(&entered);
        Box::pin(async move {
            if let Call::ReadAll(_) = call {
                gate.acquire().await.unwrap().forget();
            }
            Ok(())
        })
    });
    let process = Process::new(store, small());
    let model = process.sums().await;
    until(|| model.progress().applied.0 > 0).await;
    assert_eq!(model.progress().state, State::CatchingUp);
    let early = model.read("a", GlobalPosition::ZERO, AT_ONCE).await;
    assert!(matches!(early, Err(ReadError::NotYet { .. })), "{early:?}");
    gate.add_permits(1_000);
    assert_eq!(read(&model, "a", 0).await.events, 20);
    assert_eq!(model.progress().state, State::Live);
}

async fn halted<M: ReadModel>(model: &ReadModelHandle<M>) -> (u64, String) {
    until(|| matches!(model.progress().state, State::Halted { .. })).await;
    let read = model.read("a", GlobalPosition::ZERO, WITHIN).await;
    let Err(ReadError::Halted { position, reason, .. }) = read else { panic!("it answers") };
    (position.0, reason)
}

#[tokio::test]
async fn an_event_that_panics_halts_its_read_model_and_no_other() {
    let store = obliging();
    let process = Process::new(store.clone(), small());
    let (brittle, sums) = (process.start::<Brittle>(1).await.unwrap(), process.sums().await);
    note(&store.memory, "a", 1).await;
    note(&store.memory, "b", 2).await;
    read(&brittle, "a", 2).await;
    let waiting = brittle.read("a", GlobalPosition(10), WITHIN);
    let (waiting, ()) = tokio::join!(waiting, poison(&store.memory, "a"));
    assert!(matches!(waiting, Err(ReadError::Halted { .. })), "{waiting:?}");
    note(&store.memory, "b", 3).await;
    let (position, reason) = halted(&brittle).await;
    assert_eq!((position, &*reason), (3, "Poison 2 of book-a: panicked: cannot take this"));
    assert_eq!(read(&sums, "b", 4).await.events, 2);
    brittle.flush_and_stop().await;
    let saved = store.memory.load_documents("brittle@1", &["a".into()]).await.unwrap();
    assert!(saved.iter().all(|(_, body)| !body.contains("666")), "{saved:?}");
    assert!(store.memory.load_checkpoint("brittle@1").await.unwrap().unwrap().position.0 < 3);
}

#[tokio::test]
async fn an_unknown_event_type_halts_and_what_came_before_is_saved() {
    let store = obliging();
    let process = Process::new(store.clone(), small());
    let model = process.sums().await;
    note(&store.memory, "a", 1).await;
    append(&store.memory, ("book", "a"), &[("Shredded", "{}".to_owned())]).await;
    let (position, reason) = halted(&model).await;
    assert_eq!(position, 2);
    assert!(reason.contains("unknown event type \"Shredded\""), "{reason}");
    until(|| model.progress().saved.0 == 1).await;
    // After a restart it stands before the same event.
    process.kill().await;
    let process = Process::new(store, small());
    assert_eq!(halted(&process.sums().await).await.0, 2);
}

async fn refused(checkpoint: impl Fn(Checkpoint) -> Checkpoint) -> String {
    let memory = MemoryStore::new();
    note(&memory, "a", 1).await;
    let event_id =
        memory.read_all(GlobalPosition::ZERO, &Filter::all(), 1).await.unwrap().events[0].event_id;
    let good =
        Checkpoint { log_id: memory.identity().log_id, position: GlobalPosition(1), event_id };
    let (model, from) = ("sums@1".to_owned(), GlobalPosition::ZERO);
    let batch = DocumentBatch { model, documents: vec![], from, checkpoint: checkpoint(good) };
    memory.save_documents(batch).await.unwrap();
    match Process::new(memory, small()).start::<Sums>(1).await {
        Ok(_) => "accepted".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn a_checkpoint_that_does_not_fit_the_log_refuses_to_start() {
    let other = uuid::Uuid::now_v7();
    let reason = refused(|good| Checkpoint { log_id: other, ..good }).await;
    assert!(reason.contains(&format!("taken in the log {other}")), "{reason}");
    let reason = refused(|good| Checkpoint { position: GlobalPosition(9), ..good }).await;
    assert!(reason.contains("at position 9, the log ends at 1"), "{reason}");
    let reason = refused(|good| Checkpoint { event_id: other, ..good }).await;
    assert!(reason.contains("restored or rewound"), "{reason}");
    assert_eq!(refused(|good| good).await, "accepted");
}

#[tokio::test]
async fn of_two_writers_of_one_read_model_one_halts_and_nothing_is_counted_twice() {
    let store = obliging();
    let (one, two) = (Process::new(store.clone(), small()), Process::new(store.clone(), small()));
    let (first, second) = (one.sums().await, two.sums().await);
    let mut notes = Vec::new();
    let is_halted =
        |model: &ReadModelHandle<Sums>| matches!(model.progress().state, State::Halted { .. });
    while !is_halted(&first) && !is_halted(&second) {
        note(&store.memory, "a", notes.len() as u64).await;
        notes.push(notes.len() as u64);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (loser, winner) = if is_halted(&first) { (first, second) } else { (second, first) };
    assert!(halted(&loser).await.1.contains("the writer believed"));
    winner.flush_and_stop().await;
    let saved = store.memory.load_documents("sums@1", &["a".into()]).await.unwrap();
    assert_eq!(serde_json::from_str::<Sums>(&saved[0].1).unwrap(), expected(&notes));
}

#[tokio::test]
async fn a_read_model_that_cannot_save_pauses_in_bounded_memory_and_slows_no_other() {
    let is_closed = Arc::new(AtomicBool::new(true));
    let closed = Arc::clone(&is_closed);
    let store = TestStore::new(move |call| {
        let closed = closed.load(Ordering::Relaxed);
        Box::pin(async move {
            match call {
                Call::Save(batch) if closed && batch.model == "brittle@1" => {
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

#[tokio::test]
async fn a_fold_that_blocks_its_thread_does_not_hold_up_another() {
    static GATE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    read_model!(Blocking, "blocking", |_document| drop(GATE.lock()));
    let store = obliging();
    let process = Process::new(store.clone(), small());
    let (blocking, sums) = (process.start::<Blocking>(2).await.unwrap(), process.sums().await);
    let closed = GATE.lock().unwrap();
    poison(&store.memory, "a").await;
    for n in 0..200 {
        note(&store.memory, "a", n).await;
    }
    assert_eq!(read(&sums, "a", 201).await.events, 201);
    assert_eq!(blocking.progress().applied.0, 0);
    drop(closed);
    assert_eq!(read(&blocking, "a", 201).await.events, 201);
}

#[tokio::test]
async fn reads_beyond_the_limit_are_refused_at_once_and_abandoned_ones_make_room() {
    let store = obliging();
    let process = Process::new(store.clone(), ReadModelSettings { waiting_reads: 3, ..small() });
    let model = process.sums().await;
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let model = model.clone();
        waiting.spawn(async move { model.read("a", GlobalPosition(1), WITHIN).await });
    }
    let refused = loop {
        match model.read("a", GlobalPosition(1), AT_ONCE).await {
            Err(ReadError::NotYet { .. }) => tokio::task::yield_now().await,
            other => break other,
        }
    };
    assert!(matches!(refused, Err(ReadError::Overloaded("sums"))), "{refused:?}");
    waiting.abort_all();
    note(&store.memory, "a", 1).await;
    while let Err(ReadError::Overloaded(_)) = model.read("a", GlobalPosition(1), WITHIN).await {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn documents_that_left_memory_are_read_from_the_store_in_few_calls() {
    let loads = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&loads);
    let store = TestStore::new(move |call| {
        let is_load = matches!(call, Call::LoadDocuments(_));
        counted.fetch_add(usize::from(is_load), Ordering::Relaxed);
        Box::pin(async { Ok(()) })
    });
    let process = Process::new(store.clone(), small());
    let model = process.sums().await;
    for n in 0..300 {
        note(&store.memory, &n.to_string(), n).await;
    }
    until(|| model.progress().saved.0 == 300).await;
    let before = loads.load(Ordering::Relaxed);
    let mut reads = tokio::task::JoinSet::new();
    for n in 0..310_u64 {
        let model = model.clone();
        reads.spawn(
            async move { (n, model.read(&n.to_string(), GlobalPosition::ZERO, WITHIN).await) },
        );
    }
    for (n, result) in reads.join_all().await {
        match result {
            Ok(document) => assert_eq!(document.body, expected(&[n])),
            Err(ReadError::NotFound { .. }) => assert!(n >= 300, "{n} was not found"),
            Err(error) => panic!("{error}"),
        }
    }
    assert!(loads.load(Ordering::Relaxed) - before < 300);
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
    let saves = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = Arc::clone(&saves);
    let store = TestStore::new(move |call| {
        if let Call::Save(batch) = call {
            seen.lock().unwrap().push(batch);
        }
        Box::pin(async { Ok(()) })
    });
    let patient = ReadModelSettings {
        save_after: Duration::from_secs(3600),
        checkpoint_after: Duration::from_secs(3600),
        ..ReadModelSettings::default()
    };
    let process = Process::new(store.clone(), patient.clone());
    let model = process.sums().await;
    for n in 0..100 {
        note(&store.memory, "a", n).await;
    }
    assert_eq!(read(&model, "a", 100).await.events, 100);
    model.flush_and_stop().await;
    let saves = saves.lock().unwrap().clone();
    let [save] = &saves[..] else { panic!("{} saves", saves.len()) };
    assert_eq!((save.documents.len(), save.from.0, save.checkpoint.position.0), (1, 0, 100));
    assert_eq!(model.progress().state, State::Stopped);
    let late = model.read("a", GlobalPosition::ZERO, WITHIN).await;
    assert!(matches!(late, Err(ReadError::Stopping)), "{late:?}");
    let process = Process::new(store, patient);
    assert_eq!(read(&process.sums().await, "a", 100).await.events, 100);
}
