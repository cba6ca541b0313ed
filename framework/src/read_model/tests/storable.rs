//! Documents that cannot be stored, or not be read back: one key stops, and the others do not notice.

use std::collections::BTreeMap;

use super::*;
use crate::store::contract::{DocumentRange, ParkedKey, ParkedRequest};

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
struct Nest(Vec<Nest>);

impl Nest {
    fn of_depth(depth: usize) -> Self {
        (0..depth).fold(Self::default(), |inner, _| Self(vec![inner]))
    }
}

/// A field that is written and does not decode again, once it is set.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
struct Secret {
    #[serde(skip_serializing)]
    secret: u64,
}

macro_rules! odd {
    ($name:ident, |$odd:ident, $n:ident| $change:expr) => {
        #[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
        struct $name {
            sum: u64,
            mean: f64,
            by_name: BTreeMap<Option<String>, u64>,
            by_pair: BTreeMap<(u64, u64), u64>,
            nest: Nest,
            secret: Option<Secret>,
        }

        impl ReadModel for $name {
            const NAME: &'static str = "odd";

            fn sources() -> Sources<Self> {
                Sources::of::<Book>()
            }
        }

        impl Fold<Book> for $name {
            fn apply(&mut self, event: &EventEnvelope<Noted>) {
                if let Noted::Noted { n: $n } = event.event {
                    self.sum = mix(self.sum, $n);
                    let $odd = self;
                    $change
                }
            }
        }
    };
}

odd!(Odd, |odd, n| match n {
    100 => odd.mean = f64::NAN,
    101 => _ = odd.by_name.insert(None, 1),
    102 => odd.nest = Nest::of_depth(200),
    103 => _ = odd.by_pair.insert((1, 2), 3),
    104 => odd.secret = Some(Secret { secret: 1 }),
    105 => odd.mean = f64::INFINITY,
    _ => {}
});
odd!(Even, |_odd, _n| {});

const KINDS: std::ops::RangeInclusive<u64> = 100..=105;

async fn stored_parked(memory: &MemoryStore) -> Vec<ParkedKey> {
    memory.load_parked("odd@1", &ParkedQuery::default()).await.unwrap().keys
}

async fn until_parked(memory: &MemoryStore, is_it: impl Fn(&[ParkedKey]) -> bool) {
    let waiting = async {
        while !is_it(&stored_parked(memory).await) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(WITHIN, waiting).await.expect("it never came to be");
}

async fn stored_sum(memory: &MemoryStore, key: &str) -> Option<u64> {
    let found = memory
        .load_documents(&PartitionId::new("odd@1", 0), &[key.to_owned()])
        .await
        .unwrap()
        .documents;
    let (_, body) = found.into_iter().next()?;
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    body["sum"].as_u64()
}

fn sum(notes: &[u64]) -> u64 {
    notes.iter().fold(0, |sum, n| mix(sum, *n))
}

#[tokio::test]
async fn a_document_that_cannot_be_stored_parks_its_key_at_the_event_that_made_it_so() {
    for kind in KINDS {
        let store = obliging();
        // All of it is in one save: the store has seen none of it before.
        for n in [1, 2, kind, 7, 4] {
            note(&store.memory, "a", n).await;
            note(&store.memory, "b", 10).await;
        }
        let process = Process::new(store.clone(), small());
        let model = process.start::<Odd>(1).await.unwrap();
        until_parked(
            &store.memory,
            // It may stand there for a moment before that event is tried.
            |parked| matches!(parked, [key] if key.position.0 == 5 && key.queue.len() == 2 && key.attempts > 0),
        )
        .await;
        let [key] = &stored_parked(&store.memory).await[..] else { panic!("not one key") };
        assert_eq!((&*key.key, &*key.event), ("a", "Noted 3 of book-a"), "{kind}");
        assert_eq!(key.queue, [GlobalPosition(7), GlobalPosition(9)], "{kind}");
        assert!(key.reason.starts_with("the document "), "{kind}: {}", key.reason);
        assert_eq!(stored_sum(&store.memory, "a").await, Some(sum(&[1, 2])), "{kind}");
        let refused = model.read("a", GlobalPosition(10), WITHIN).await;
        assert!(matches!(refused, Err(ReadError::Parked { .. })), "{kind}: {refused:?}");
        assert_eq!(read(&model, "b", 10).await.sum, sum(&[10; 5]), "{kind}");
        until(|| model.progress().saved.0 == 10).await;
        process.kill().await;
        // The next release folds it into something that can be stored.
        let process = Process::new(store.clone(), small());
        let mended = process.start::<Even>(1).await.unwrap();
        until_parked(&store.memory, <[_]>::is_empty).await;
        assert_eq!(read(&mended, "a", 10).await.sum, sum(&[1, 2, kind, 7, 4]), "{kind}");
    }
}

#[tokio::test]
async fn after_its_event_is_skipped_a_document_that_could_not_be_stored_goes_on() {
    let store = obliging();
    let mut settings = small();
    settings.requests_every = Duration::from_millis(2);
    let process = Process::new(store.clone(), settings);
    let model = process.start::<Odd>(1).await.unwrap();
    for n in [1, 100, 3] {
        note(&store.memory, "a", n).await;
    }
    until_parked(&store.memory, |parked| matches!(parked, [key] if key.position.0 == 2)).await;
    let skip = ParkedRequest::Skip { reason: "no mean".into() };
    assert!(store.memory.request_parked("odd@1", "a", GlobalPosition(2), skip).await.unwrap());
    until_parked(&store.memory, <[_]>::is_empty).await;
    assert_eq!(read(&model, "a", 3).await.sum, sum(&[1, 3]));
}

#[tokio::test]
async fn killed_at_any_moment_what_could_not_be_stored_is_lost_and_doubled_nowhere() {
    let memory = MemoryStore::new();
    let mut notes = Vec::new();
    for round in 0..40 {
        let process = Process::new(whimsical(memory.clone(), round), small());
        loop {
            match process.start::<Odd>(1).await {
                Err(StartError::Store(StoreError::Unavailable(_))) => {}
                started => break drop(started.unwrap()),
            }
        }
        for n in [round as u64, if round % 10 == 5 { 100 } else { 8 }] {
            note(&memory, "a", n).await;
            notes.push(n);
        }
        tokio::time::sleep(Duration::from_micros(300 * (round as u64 % 20))).await;
        process.kill().await;
    }
    let process = Process::new(obliging_over(&memory), small());
    let mended = process.start::<Even>(1).await.unwrap();
    until_parked(&memory, <[_]>::is_empty).await;
    assert_eq!(read(&mended, "a", notes.len() as u64).await.sum, sum(&notes));
}

fn obliging_over(memory: &MemoryStore) -> TestStore {
    TestStore::over(memory.clone(), |_| Box::pin(async { Ok(()) }))
}

/// A log of one event for each key, whose documents are saved and in nobody's memory.
async fn saved(keys: &[&str]) -> MemoryStore {
    let memory = MemoryStore::new();
    for key in keys {
        note(&memory, key, 1).await;
    }
    let process = Process::new(memory.clone(), small());
    let model = process.start::<Even>(1).await.unwrap();
    until(|| model.progress().saved.0 == keys.len() as u64).await;
    process.kill().await;
    memory
}

/// Exchanges a stored document, as a disk or a person could.
async fn damage(memory: &MemoryStore, key: &str, body: &str) {
    let partition = PartitionId::new("odd@1", 0);
    let checkpoint = memory.load_checkpoint(&partition).await.unwrap().unwrap();
    let lease = memory.acquire_lease("odd@1/0", Uuid::now_v7(), Duration::ZERO).await;
    let lease = lease.unwrap().expect("the process before has released it");
    let from = checkpoint.position;
    let (parked, work) = (vec![], vec![]);
    let update = CheckpointUpdate {
        partition,
        from,
        sequence: 1,
        checkpoint,
        parked,
        work,
        lease,
        is_replay: false,
    };
    let documents = vec![(key.to_owned(), body.to_owned())];
    memory.save_documents(DocumentBatch { documents, deleted: vec![], update }).await.unwrap();
}

#[tokio::test]
async fn a_stored_document_that_does_not_decode_parks_its_key_at_the_next_event() {
    for body in ["{\"sum\":", "7", "{\"sum\":1}", ""] {
        let memory = saved(&["a", "b", "c"]).await;
        damage(&memory, "a", body).await;
        let settings = Pacing { hot_documents: 1, ..small() };
        let process = Process::new(obliging_over(&memory), settings);
        let model = process.start::<Even>(1).await.unwrap();
        for key in ["a", "b", "a", "c"] {
            note(&memory, key, 2).await;
        }
        until_parked(&memory, |parked| matches!(parked, [key] if key.queue.len() == 1)).await;
        let [key] = &stored_parked(&memory).await[..] else { panic!("not one key") };
        assert_eq!((&*key.key, key.position.0), ("a", 4), "{body}");
        assert!(key.reason.contains("does not decode"), "{body}: {}", key.reason);
        for key in ["b", "c"] {
            assert_eq!(read(&model, key, 7).await.sum, sum(&[1, 2]), "{body}");
        }
        let refused = model.read("a", GlobalPosition(7), WITHIN).await;
        assert!(matches!(refused, Err(ReadError::Parked { .. })), "{body}: {refused:?}");
        process.kill().await;
    }
}

#[tokio::test]
async fn a_stored_document_that_does_not_decode_is_left_out_of_a_list_and_named() {
    let memory = saved(&["a", "b", "c", "d", "e", "f"]).await;
    damage(&memory, "b", "{\"sum\":").await;
    damage(&memory, "c", "7").await;
    let process = Process::new(obliging_over(&memory), small());
    let model = process.start::<Even>(1).await.unwrap();
    let (mut found, mut unreadable, mut after) = (Vec::new(), Vec::new(), None);
    loop {
        let range = DocumentRange { after, limit: 1, ..DocumentRange::default() };
        let page = model.list(&*process.store, &range, GlobalPosition::ZERO, WITHIN).await.unwrap();
        found.extend(page.documents.into_iter().map(|(key, _)| key));
        unreadable.extend(page.unreadable);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!((found.concat(), unreadable.concat()), ("adef".to_owned(), "bc".to_owned()));
}

/// `Odd` as it might be in the next release, whose author forgot that documents are stored.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
struct Grown {
    sum: u64,
    currency: String,
}

impl ReadModel for Grown {
    const NAME: &'static str = "odd";

    fn sources() -> Sources<Self> {
        Sources::of::<Book>()
    }
}

impl Fold<Book> for Grown {
    fn apply(&mut self, _: &EventEnvelope<Noted>) {}
}

#[tokio::test]
async fn a_changed_shape_with_the_same_version_refuses_to_start() {
    for keys in [&["a"][..], &["a", "b", "c"]] {
        let memory = saved(keys).await;
        let process = Process::new(memory.clone(), small());
        let Err(refused) = process.start::<Grown>(1).await else { panic!("it starts") };
        let message = refused.to_string();
        for part in ["odd@1", "\"a\"", "missing field `currency`", "Raise its VERSION", "default"] {
            assert!(message.contains(part), "{message}");
        }
        assert!(matches!(refused, StartError::Shape { unfit, .. } if unfit == keys.len()));
        // Nothing has changed: the program before starts as ever.
        process.start::<Even>(1).await.unwrap();
    }
}
