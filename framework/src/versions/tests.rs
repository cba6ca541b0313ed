//! Tests of versions on a memory store: found differences, and the activation.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::begun::Beginning;
use super::switch::{Switch, SwitchSettings};
use crate::error::{OperationError, StartError};
use crate::event::{EventEnvelope, GlobalPosition};
use crate::read_model::versions::DocumentVersions;
use crate::read_model::{Change, Fold, ReadModel, Sources};
use crate::store::contract::{
    Checkpoint, CheckpointUpdate, DocumentBatch, DocumentStore, EventStore, LeaseStore,
    PartitionId, VersionNote, VersionStore,
};
use crate::store::memory::MemoryStore;
use crate::subscription::sources::Routes;
use crate::till::{Rung, Till};

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

/// Two registered versions, the first one active, and a log of three events.
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
        log_id: store.info().identity.log_id,
        position: GlobalPosition(step.end),
        event_id: Uuid::nil(),
    };
    let update = CheckpointUpdate {
        partition,
        from: GlobalPosition(step.start),
        sequence: 1,
        checkpoint,
        parked: Vec::new(),
        work: Vec::new(),
        lease: lease.unwrap().unwrap(),
        is_replay: false,
    };
    let documents = documents.iter().map(|(k, b)| ((*k).to_owned(), (*b).to_owned())).collect();
    store.save_documents(DocumentBatch { documents, deleted: Vec::new(), update }).await.unwrap();
}

async fn switch(store: &MemoryStore, by_itself: bool) -> Arc<Switch> {
    switch_up_to(store, by_itself, 1.0).await
}

/// The version is activated automatically only if no more than this share differs.
async fn switch_up_to(store: &MemoryStore, by_itself: bool, up_to_different: f64) -> Arc<Switch> {
    let shared = Arc::new(store.clone());
    let candidates = DocumentVersions::replacing::<Cents, Euros>(shared.clone());
    let settings = SwitchSettings {
        by_itself,
        up_to_different,
        look_every: Duration::from_millis(2),
        wait: Duration::from_millis(60),
        ..SwitchSettings::default()
    };
    let process = Uuid::now_v7();
    let switch = Switch::new(("takings", 2), process, shared, Box::new(candidates), settings);
    Arc::new(switch.await.unwrap())
}

/// Runs the task until `until` ends.
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
        store.serve_version("takings", 1, Some(2)).await.unwrap();
        serving.wait_for(|serving| *serving == 2).await.unwrap();
    })
    .await;
}

/// Version 2 has caught up, and one of its three documents differs.
async fn one_of_three_differs() -> MemoryStore {
    let store = two_versions().await;
    let old = [("a", r#"{"euros":1}"#), ("b", r#"{"euros":2}"#), ("c", r#"{"euros":3}"#)];
    save(&store, ("takings@1", 0), 0..3, &old).await;
    let new = [("a", r#"{"cents":100}"#), ("b", r#"{"cents":7}"#), ("c", r#"{"cents":300}"#)];
    save(&store, ("takings@2", 0), 0..3, &new).await;
    save(&store, ("takings@2", 1), 0..3, &[]).await;
    store
}

async fn has_switched(switch: &Arc<Switch>) {
    let mut serving = switch.serving();
    running(switch, async {
        let switched = serving.wait_for(|serving| *serving == 2);
        tokio::time::timeout(Duration::from_secs(20), switched).await.unwrap().unwrap();
    })
    .await;
}

#[tokio::test]
async fn the_comparison_that_preceded_a_switch_is_shown_after_it() {
    let store = one_of_three_differs().await;
    let own = switch(&store, true).await;
    has_switched(&own).await;
    // By another process too, and much later.
    for switch in [own, switch(&store, true).await] {
        let shown = switch.compare().await.unwrap();
        assert_eq!((shown.old_version, shown.new_version), (1, 2));
        assert_eq!((shown.equal, shown.different), (2, 1));
        assert_eq!(shown.differences[0].key, "b");
        assert!(shown.compared_at.is_some());
    }
}

#[tokio::test]
async fn a_switch_by_hand_is_compared_before_too() {
    let store = one_of_three_differs().await;
    let switch = switch(&store, false).await;
    switch.serve(2).await.unwrap();
    assert_eq!(switch.compare().await.unwrap().different, 1);
    switch.serve(1).await.unwrap();
    assert_eq!(switch.compare().await.unwrap().different, 1, "compared anew: the old one serves");
}

#[tokio::test]
async fn more_differences_than_are_allowed_leave_the_switch_to_an_operator() {
    let store = one_of_three_differs().await;
    let strict = switch_up_to(&store, true, 0.3).await;
    running(&strict, async {
        let kept = async || {
            let kept = store.version_note("takings", 2, VersionNote::Comparison).await;
            kept.unwrap().is_some()
        };
        while !kept().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        a_while().await;
        assert_eq!(*strict.serving().borrow(), 1);
    })
    .await;
    // A process that starts later does not activate it either. Another setting does.
    let later = switch_up_to(&store, true, 0.3).await;
    running(&later, a_while()).await;
    assert_eq!(*later.serving().borrow(), 1);
    later.serve(2).await.unwrap();
    later.serve(1).await.unwrap();
    let store = one_of_three_differs().await;
    has_switched(&switch_up_to(&store, true, 0.34).await).await;
}

fn by_content(key: fn(&EventEnvelope<Rung>) -> Vec<String>) -> Routes<Change<Euros>> {
    Sources::by::<Till>(key).routes
}

async fn begun(store: &MemoryStore, routes: Routes<Change<Euros>>) -> Result<(), StartError> {
    let beginning = Beginning::check(Arc::new(store.clone()), ("takings", 1), routes).await?;
    beginning.keep_if_new().await?;
    // Ends after the existing events, because a memory store is closed with its last clone.
    let sampling = tokio::time::timeout(Duration::from_millis(50), beginning.sample());
    let _ = sampling.await; // it waits for more
    Ok(())
}

#[tokio::test]
async fn other_sources_under_the_same_version_are_refused() {
    let store = two_versions().await;
    let by_stream = || Sources::<Euros>::of::<Till>().routes;
    begun(&store, by_stream()).await.unwrap();
    begun(&store, by_stream()).await.unwrap();
    let refused = begun(&store, by_content(|_| vec![])).await.unwrap_err().to_string();
    assert!(
        refused.contains("takings@1 was created with the sources \"till by stream\""),
        "{refused}"
    );
    assert!(refused.contains("raise its VERSION"), "{refused}");
}

#[tokio::test]
async fn another_key_function_under_the_same_version_is_refused() {
    let store = two_versions().await;
    let id = |event: &EventEnvelope<Rung>| vec![event.stream.id().to_owned(), "all".to_owned()];
    begun(&store, by_content(id)).await.unwrap();
    begun(&store, by_content(id)).await.unwrap();
    let same = |event: &EventEnvelope<Rung>| {
        vec!["all".to_owned(), event.stream.id().to_owned(), "all".to_owned()]
    };
    begun(&store, by_content(same)).await.unwrap();
    for other in
        [(|_| vec!["all".to_owned()]) as fn(&EventEnvelope<Rung>) -> Vec<String>, |_| vec![]]
    {
        let refused = begun(&store, by_content(other)).await.unwrap_err().to_string();
        assert!(refused.contains("another key function"), "{refused}");
        assert!(refused.contains("Rung at position 1"), "{refused}");
    }
    // An event without valid keys proves nothing about the key function.
    begun(&store, by_content(|_| panic!("no key"))).await.unwrap();
}
