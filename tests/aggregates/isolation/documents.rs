//! Documents whose code panics: other documents of the read model are read all the same.

use actum::store::MemoryStore;
use actum::{Application, EventEnvelope, Fold, ReadModel, Sources};
use serde::{Deserialize, Serialize};

use super::soon;
use crate::support::counter::{Ask, Counted, Counter};

/// A document that panics as its key says.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Fragile {
    key: String,
    count: u64,
}

fn snap(key: &str, here: &str) {
    assert!(key != here || std::thread::panicking(), "{here}");
}

impl Clone for Fragile {
    fn clone(&self) -> Self {
        snap(&self.key, "clone");
        Self { key: self.key.clone(), count: self.count }
    }
}

impl Drop for Fragile {
    fn drop(&mut self) {
        snap(&self.key, "drop");
    }
}

impl ReadModel for Fragile {
    const NAME: &'static str = "fragile";

    fn sources() -> Sources<Self> {
        Sources::by::<Counter>(|event| {
            let key = event.stream.id().to_owned();
            snap(&key, "nothing has this key");
            Some(key)
        })
    }
}

impl Fold<Counter> for Fragile {
    fn apply(&mut self, event: &EventEnvelope<Counted>) {
        self.key = event.stream.id().to_owned();
        self.count += 1;
        snap(&self.key, "apply");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_that_panics_keeps_no_other_from_being_read() {
    let store = MemoryStore::new();
    let builder = Application::builder(store).aggregate::<Counter>().read_model::<Fragile>();
    let app = builder.start().await.unwrap();
    for round in 1..=5 {
        let mut last = None;
        for key in ["drop", "clone", "apply", "sound"] {
            last = Some(app.execute::<Counter>(key, Ask::Add(1)).await.unwrap());
            // Any answer of this document is allowed.
            let read = soon(app.read::<Fragile>(key), key).await;
            std::mem::forget(read);
        }
        let read = soon(app.read::<Fragile>("sound").after(last.unwrap().position), round).await;
        assert_eq!(read.unwrap().count, round);
    }
    soon(app.shutdown(), "shutdown").await;
}
