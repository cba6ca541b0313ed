//! Versions on a memory store: what is found different, and when which one serves.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{DocumentVersions, Switch, SwitchSettings};
use crate::checkpoint::{Advance, Checkpoint, PartitionId};
use crate::document::{DocumentBatch, DocumentStore};
use crate::error::OperationError;
use crate::event::EventEnvelope;
use crate::event_store::EventStore;
use crate::lease::LeaseStore;
use crate::read_model::{Fold, ReadModel, Sources};
use crate::store::memory::MemoryStore;
use crate::stream::GlobalPosition;
use crate::till::{Rung, Till};
use crate::version::VersionStore;

#[derive(Default, Clone, Serialize, Deserialize)]
struct Euros {
    euros: i64,
}

#[derive(Default, Clone, Serialize, Deserialize)]
struct Cents {
    cents: i64,
}

impl From<Euros> for Cents {
    fn from(Euros { euros }: Euros) -> Self {
        Self { cents: euros * 100 }
    }
}

impl ReadModel for Euros {
    const NAME: &'static str = "takings";

    fn sources() -> Sources<Self> {
        Sources::of::<Till>()
    }
}

impl Fold<Till> for Euros {
    fn apply(&mut self, _: &EventEnvelope<Rung>) {
        self.euros += 1;
    }
}

impl ReadModel for Cents {
    const NAME: &'static str = "takings";
    const VERSION: u32 = 2;

    fn sources() -> Sources<Self> {
        Sources::of::<Till>()
    }
}

impl Fold<Till> for Cents {
    fn apply(&mut self, _: &EventEnvelope<Rung>) {
        self.cents += 100;
    }
}

/// Two versions registered, the first one serving, and a log of three events.
async fn two_versions() -> MemoryStore {
    let store = MemoryStore::new();
    store.register_version("takings", 1, 1).await.unwrap();
    store.register_version("takings", 2, 2).await.unwrap();
    Till::ring(&store, 3).await;
    store
}

async fn save(
    store: &MemoryStore,
    partition: (&str, u32),
    step: Range<u64>,
    documents: &[(&str, &str)],
) {
    let partition = PartitionId::new(partition.0, partition.1);
    let lasting = Duration::from_secs(60);
    let lease = store.acquire_lease(&partition.to_string(), Uuid::nil(), lasting).await;
    let checkpoint = Checkpoint {
        log_id: store.identity().log_id,
        position: GlobalPosition(step.end),
        event_id: Uuid::nil(),
    };
    let advance = Advance {
        partition,
        from: GlobalPosition(step.start),
        step: 1,
        checkpoint,
        parked: Vec::new(),
        lease: lease.unwrap().unwrap(),
    };
    let documents = documents.iter().map(|(k, b)| ((*k).to_owned(), (*b).to_owned())).collect();
    store.save_documents(DocumentBatch { documents, deleted: Vec::new(), advance }).await.unwrap();
}

async fn switch(store: &MemoryStore, by_itself: bool) -> Arc<Switch> {
    let shared = Arc::new(store.clone());
    let candidates = DocumentVersions::replacing::<Cents, Euros>(shared.clone());
    let settings = SwitchSettings {
        by_itself,
        look_every: Duration::from_millis(2),
        wait: Duration::from_millis(60),
        ..SwitchSettings::default()
    };
    let process = Uuid::now_v7();
    let switch = Switch::new(("takings", 2), process, shared, Box::new(candidates), settings);
    Arc::new(switch.await.unwrap())
}

/// Runs it for as long as `until` takes.
async fn running(switch: &Arc<Switch>, until: impl Future<Output = ()>) {
    tokio::select! {
        () = switch.run(Some(1)) => panic!("it ended by itself"),
        () = until => {}
    }
}

async fn a_while() {
    tokio::time::sleep(Duration::from_millis(60)).await;
}

#[tokio::test]
async fn versions_are_compared_as_the_new_one_shows_them() {
    let store = two_versions().await;
    let old = [("a", r#"{"euros":1}"#), ("b", r#"{"euros":2}"#), ("d", r#"{"euros":4}"#)];
    save(&store, ("takings@1", 0), 0..3, &old).await;
    let new = [("a", r#"{"cents":100}"#), ("c", r#"{"cents":3}"#), ("d", r#"{"cents":1}"#)];
    save(&store, ("takings@2", 0), 0..3, &new).await;
    let found = switch(&store, false).await.compare().await.unwrap();
    assert_eq!((found.old_documents, found.new_documents), (3, 3));
    assert_eq!((found.equal, found.different), (1, 3));
    let keys: Vec<_> = found.differences.iter().map(|d| &*d.key).collect();
    assert_eq!(keys, ["b", "c", "d"]);
    let told = found.to_string();
    assert!(told.starts_with("old: 3, new: 3, 1 equal, 3 different"), "{told}");
    assert!(told.contains(r#""d": old {"cents":400}, new {"cents":1}"#), "{told}");
    assert!(told.contains(r#""c": old nothing, new {"cents":3}"#), "{told}");
}

#[tokio::test]
async fn a_document_that_only_one_has_folded_yet_is_looked_at_again() {
    let store = two_versions().await;
    save(&store, ("takings@1", 0), 0..3, &[("a", r#"{"euros":1}"#)]).await;
    let switch = switch(&store, false).await;
    let comparing = switch.compare();
    let folding = async {
        a_while().await;
        save(&store, ("takings@2", 0), 0..3, &[("a", r#"{"cents":100}"#)]).await;
    };
    let (found, ()) = tokio::join!(comparing, folding);
    let found = found.unwrap();
    assert_eq!((found.old_documents, found.new_documents), (1, 0), "as it was at first");
    assert_eq!((found.equal, found.different), (1, 0));
}

#[tokio::test]
async fn a_new_version_serves_once_all_its_partitions_have_caught_up() {
    let store = two_versions().await;
    save(&store, ("takings@1", 0), 0..3, &[]).await;
    let switch = switch(&store, true).await;
    let mut serving = switch.serving();
    running(&switch, async {
        save(&store, ("takings@2", 0), 0..3, &[]).await;
        save(&store, ("takings@2", 1), 0..2, &[]).await;
        a_while().await;
        assert_eq!(*serving.borrow(), 1, "one partition is behind");
        save(&store, ("takings@2", 1), 2..3, &[]).await;
        serving.wait_for(|serving| *serving == 2).await.unwrap();
    })
    .await;
    let versions = store.versions("takings").await.unwrap();
    assert!(!versions[0].is_serving && versions[1].is_serving, "{versions:?}");
}

#[tokio::test]
async fn one_that_was_switched_away_from_does_not_return_by_itself() {
    let store = two_versions().await;
    save(&store, ("takings@1", 0), 0..3, &[]).await;
    for partition in 0..2 {
        save(&store, ("takings@2", partition), 0..3, &[]).await;
    }
    let switch = switch(&store, true).await;
    let mut serving = switch.serving();
    running(&switch, async {
        serving.wait_for(|serving| *serving == 2).await.unwrap();
        switch.serve(1).await.unwrap();
        assert_eq!(*serving.borrow(), 1);
        a_while().await;
        assert_eq!(*serving.borrow(), 1);
    })
    .await;
}

#[tokio::test]
async fn by_hand_nothing_is_switched_that_would_go_back_in_time() {
    let store = two_versions().await;
    save(&store, ("takings@1", 0), 0..3, &[]).await;
    let switch = switch(&store, false).await;
    let behind = switch.serve(2).await;
    let Err(OperationError::Behind { name, position, head }) = behind else { panic!("{behind:?}") };
    assert_eq!((&*name, position, head), ("takings@2", GlobalPosition(0), GlobalPosition(3)));
    let unknown = switch.serve(3).await;
    assert!(matches!(unknown, Err(OperationError::Unknown { .. })), "{unknown:?}");
    running(&switch, a_while()).await;
    assert_eq!(*switch.serving().borrow(), 1);
}

#[tokio::test]
async fn whoever_runs_another_version_learns_of_a_switch() {
    let store = two_versions().await;
    let switch = switch(&store, false).await;
    let mut serving = switch.serving();
    running(&switch, async {
        store.serve_version("takings", 1, 2).await.unwrap();
        serving.wait_for(|serving| *serving == 2).await.unwrap();
    })
    .await;
}
