//! Large documents: what is unsaved, what is saved at once and what stays in memory is bounded by bytes.

use std::sync::Mutex;

use super::*;

const BYTES: usize = 24 << 10;
const DOCUMENTS: u64 = 400;

/// A document that is much larger than its events.
#[derive(Clone, Default, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Wide {
    text: String,
}

impl ReadModel for Wide {
    const NAME: &'static str = "wide";

    fn sources() -> Sources<Self> {
        Sources::of::<Book>()
    }
}

impl Fold<Book> for Wide {
    fn apply(&mut self, _: &EventEnvelope<Noted>) {
        self.text = "x".repeat(BYTES);
    }
}

fn few_bytes() -> Pacing {
    Pacing {
        save_bytes: 10 * BYTES,
        most_unsaved_bytes: 20 * BYTES,
        hot_bytes: 40 * BYTES,
        first_delay: Duration::from_micros(100),
        longest_delay: Duration::from_millis(1),
        tick: Duration::from_millis(1),
        ..Pacing::default()
    }
}

#[tokio::test]
async fn saves_and_documents_in_memory_are_bounded_by_bytes() {
    let seen = Arc::new(Mutex::new((Vec::new(), 0)));
    let noted = Arc::clone(&seen);
    let store = TestStore::new(move |call| {
        let mut noted = noted.lock().unwrap();
        let mut takes = Duration::ZERO;
        match call {
            Call::Save(batch) => {
                let bytes = batch.documents.iter().map(|(_, body)| body.len()).sum::<usize>();
                noted.0.push(bytes);
                // Meanwhile as much is folded as may be unsaved.
                takes = Duration::from_millis(100);
            }
            Call::LoadDocuments(_) => noted.1 += 1,
            _ => {}
        }
        Box::pin(async move {
            tokio::time::sleep(takes).await;
            Ok(())
        })
    });
    for number in 0..DOCUMENTS {
        note(&store.memory, &number.to_string(), 1).await;
    }
    let process = Process::new(store.clone(), few_bytes());
    let model = process.start::<Wide>(1).await.unwrap();
    until(|| model.progress().saved.0 == DOCUMENTS).await;
    let (saves, loads) = seen.lock().unwrap().clone();
    // A page of five events may come on top of what may be unsaved.
    let most = saves.iter().copied().max().unwrap();
    assert!(most <= 26 * BYTES, "a save of {most} bytes");
    assert!(saves.iter().sum::<usize>() >= DOCUMENTS as usize * BYTES, "{saves:?}");
    // The first ones have left memory: they are read from the store.
    assert_eq!(read(&model, "0", DOCUMENTS).await.text.len(), BYTES);
    assert_eq!(seen.lock().unwrap().1, loads + 1);
}

/// Number of times a `Costly` was serialised.
static SERIALISED: AtomicUsize = AtomicUsize::new(0);

fn count<S: serde::Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    SERIALISED.fetch_add(1, Ordering::Relaxed);
    serializer.serialize_str(text)
}

/// A document that one test only uses, and that counts.
#[derive(Clone, Default, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Costly {
    #[serde(serialize_with = "count")]
    text: String,
}

impl ReadModel for Costly {
    const NAME: &'static str = "costly";

    fn sources() -> Sources<Self> {
        Sources::of::<Book>()
    }
}

impl Fold<Book> for Costly {
    fn apply(&mut self, _: &EventEnvelope<Noted>) {
        self.text = "x".repeat(BYTES);
    }
}

#[tokio::test]
async fn pages_that_change_nothing_do_not_serialise_the_document_that_changed_last() {
    let store = obliging();
    let process = Process::new(store.clone(), patient());
    let model = process.start::<Costly>(1).await.unwrap();
    note(&store.memory, "one", 1).await;
    until(|| model.progress().applied.0 == 1).await;
    for number in 2..50 {
        let moved = format!("{{\"to\":\"nobody\",\"n\":{number}}}");
        append(&store.memory, ("transfer", "1"), &[("Moved", moved)]).await;
        until(|| model.progress().applied.0 == number).await;
    }
    assert_eq!(SERIALISED.load(Ordering::Relaxed), 1);
}

/// Even one document that is larger than all bounds is folded and saved.
#[tokio::test]
async fn a_document_larger_than_every_bound_makes_progress() {
    let store = obliging();
    for _ in 0..20 {
        note(&store.memory, "one", 1).await;
    }
    let tiny = Pacing { save_bytes: 1, most_unsaved_bytes: 1, hot_bytes: 1, ..few_bytes() };
    let process = Process::new(store.clone(), tiny);
    let model = process.start::<Wide>(1).await.unwrap();
    until(|| model.progress().saved.0 == 20).await;
    assert_eq!(read(&model, "one", 20).await.text.len(), BYTES);
}
