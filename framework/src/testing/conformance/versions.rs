//! Tests of versions: one version of a name is active at any time, and a dropped one leaves
//! nothing.

use super::documents::{batch, body, lease};
use crate::error::StoreError;
use crate::event::GlobalPosition;
use crate::store::contract::{
    DocumentBatch, DocumentRange, Lease, OpenWork, PageLimit, ParkedChange, ParkedKey, ParkedQuery,
    PartitionId, SkippedEvent, Store, StoredPage, StoredVersion, Version, VersionNote, WorkChange,
};

/// Returns a version that no switch has touched yet.
fn version(number: u32, partitions: u32, is_serving: bool) -> Version {
    Version { number, partitions, is_serving, has_served: is_serving }
}

/// Returns the number of the active version.
async fn serving(store: &impl Store, name: &str) -> u32 {
    let versions = store.versions(name).await.unwrap();
    let serving: Vec<u32> = versions.iter().filter(|v| v.is_serving).map(|v| v.number).collect();
    let [serving] = serving[..] else { panic!("{serving:?} serve of {versions:?}") };
    serving
}

/// Later versions are built beside the first one. Each keeps its number of partitions.
pub async fn the_first_version_of_a_name_serves(store: impl Store) {
    assert_eq!(store.versions("balance").await.unwrap(), []);
    let first = store.register_version("balance", 2, 4).await.unwrap();
    assert_eq!(first, [version(2, 4, true)]);
    store.register_version("balance", 10, 12).await.unwrap();
    let all = store.register_version("balance", 1, 1).await.unwrap();
    let expected = [version(1, 1, false), version(2, 4, true), version(10, 12, false)];
    assert_eq!(all, expected);
    assert_eq!(store.register_version("balance", 2, 7).await.unwrap(), expected);
    assert_eq!(store.versions("balance").await.unwrap(), expected);
    let other = store.register_version("balances", u32::MAX, u32::MAX).await.unwrap();
    assert_eq!(other, [version(u32::MAX, u32::MAX, true)]);
}

/// Processes of several releases start at once.
pub async fn of_concurrent_first_versions_one_serves(store: impl Store + Clone) {
    for round in 0..10 {
        let name = format!("balance-{round}");
        let starting = (1..=4).map(|number| {
            let (store, name) = (store.clone(), name.clone());
            tokio::spawn(async move { store.register_version(&name, number, 1).await.unwrap() })
        });
        for started in starting.collect::<Vec<_>>() {
            started.await.unwrap();
        }
        assert_eq!(store.versions(&name).await.unwrap().len(), 4);
        serving(&store, &name).await;
    }
}

/// A switch from a version that is not the active one changes nothing.
pub async fn a_switch_is_from_the_version_that_serves_to_a_known_one(store: impl Store) {
    for number in [1, 2, 3] {
        store.register_version("balance", number, 1).await.unwrap();
    }
    let serve = async |from, to| store.serve_version("balance", from, Some(to)).await.unwrap();
    assert!(!serve(2, 3).await && !serve(1, 9).await && !serve(9, 2).await);
    assert_eq!(serving(&store, "balance").await, 1);
    assert!(serve(1, 2).await);
    assert_eq!(serving(&store, "balance").await, 2);
    assert!(serve(1, 2).await, "it serves already");
    assert!(serve(2, 1).await && serve(1, 1).await, "and back");
    assert_eq!(serving(&store, "balance").await, 1);
    let have_served = store.versions("balance").await.unwrap().into_iter().map(|v| v.has_served);
    assert_eq!(have_served.collect::<Vec<_>>(), [true, true, false]);
    assert!(!store.serve_version("other", 1, Some(2)).await.unwrap());
}

/// Two processes switch to different versions at once, while a third one drops one of them.
pub async fn of_concurrent_switches_and_drops_one_wins(store: impl Store + Clone) {
    for round in 0..10 {
        let name = format!("balance-{round}");
        for number in [1, 2, 3] {
            store.register_version(&name, number, 1).await.unwrap();
        }
        let to = |to| {
            let (store, name) = (store.clone(), name.clone());
            tokio::spawn(async move { store.serve_version(&name, 1, Some(to)).await.unwrap() })
        };
        let (two, three) = (to(2), to(3));
        let dropped = store.drop_version(&name, 2).await.unwrap();
        let (two, three) = (two.await.unwrap(), three.await.unwrap());
        assert!(!(two && three), "both believe to have switched");
        assert!(!(two && dropped), "a version that serves was dropped");
        assert!(two || three, "no switch came about");
        assert_eq!(serving(&store, &name).await, if two { 2 } else { 3 });
    }
}

/// Stores documents, open work, a parked key and a skipped event for one version.
async fn fill(store: &impl Store, model: &str, many: usize) -> Lease {
    let partition = PartitionId::new(model, 0);
    let lease = lease(store, &partition).await;
    let DocumentBatch { mut update, .. } = batch(&lease, 0, 9, &[]);
    update.partition = partition;
    let parked = ParkedKey {
        key: "parked".into(),
        partition: 0,
        position: GlobalPosition(3),
        event: "Booked".into(),
        reason: "it cannot be".into(),
        attempts: 1,
        since: time::OffsetDateTime::UNIX_EPOCH,
        queue: Vec::new(),
        waiting: 0,
        unlisted_from: None,
        unlisted_sum: 0,
        request: None,
    };
    let ParkedKey { key, position, event, reason, since, .. } = parked.clone();
    let skipped = SkippedEvent { key: key.clone(), position, event, reason, skipped_at: since };
    update.parked = vec![ParkedChange::Park(parked), ParkedChange::Skip(skipped)];
    let queued = (4..).map(GlobalPosition).take(many);
    update.parked.extend(queued.map(|position| ParkedChange::Queue { key: key.clone(), position }));
    let work = |n: usize| {
        WorkChange::Open(OpenWork {
            id: n.to_string(),
            key: "key".into(),
            position: GlobalPosition(3),
            due_at: since,
            attempts: 0,
            reason: None,
            command_key: None,
            body: "{}".into(),
        })
    };
    update.work = (0..many).map(work).collect();
    let documents = (0..many).map(|n| (format!("key-{n}"), n.to_string())).collect();
    store.save_documents(DocumentBatch { documents, deleted: Vec::new(), update }).await.unwrap();
    lease
}

/// Includes versions that are too large for one transaction.
pub async fn a_dropped_version_leaves_nothing_of_itself(store: impl Store) {
    for number in [1, 2] {
        store.register_version("balance", number, 1).await.unwrap();
        fill(&store, &format!("balance@{number}"), 3).await;
    }
    store.register_version("balance", 22, 1).await.unwrap();
    let owner = fill(&store, "balance@22", 2500).await;
    fill(&store, "balance@222", 3).await;
    assert!(store.drop_version("balance", 22).await.unwrap());
    let known = store.versions("balance").await.unwrap();
    assert_eq!(known.iter().map(|v| v.number).collect::<Vec<_>>(), [1, 2]);
    let dropped = PartitionId::new("balance@22", 0);
    assert_eq!(store.load_checkpoint(&dropped).await.unwrap(), None);
    let left = store.list_documents("balance@22", &DocumentRange::default()).await.unwrap();
    assert_eq!(left, StoredPage::default());
    let parked =
        async |model| store.load_parked(model, &ParkedQuery::default()).await.unwrap().keys;
    assert_eq!(parked("balance@22").await, []);
    assert_eq!(store.load_skipped("balance@22").await.unwrap(), []);
    let work = async |model: &str| {
        let partition = PartitionId::new(model, 0);
        store.load_work(&partition, None, PageLimit::events(9)).await.unwrap().len()
    };
    assert_eq!(work("balance@22").await, 0);
    // The former owner cannot write any more, and the name starts from the beginning.
    let mut late = batch(&owner, 0, 10, &[("late", "1")]);
    late.update.partition = dropped;
    late.update.sequence = 10;
    let late = store.save_documents(late).await;
    assert!(matches!(late, Err(StoreError::LeaseLost { .. })), "{late:?}");
    store.register_version("balance", 22, 4).await.unwrap();
    let lease = fill(&store, "balance@22", 1).await;
    assert!(lease.token > owner.token, "{lease:?} follows {owner:?}");
    assert_eq!(parked("balance@22").await[0].queue.len(), 1);
    for model in ["balance@1", "balance@2", "balance@222"] {
        assert_eq!(body(&store, model, "key-2").await.as_deref(), Some("2"), "{model}");
        assert_eq!(parked(model).await[0].queue.len(), 3, "{model}");
        assert_eq!(store.load_skipped(model).await.unwrap().len(), 1, "{model}");
        assert_eq!(work(model).await, 3, "{model}");
    }
}

/// An unknown version cannot be dropped either.
pub async fn the_version_that_serves_is_not_dropped(store: impl Store) {
    store.register_version("balance", 1, 1).await.unwrap();
    store.register_version("balance", 2, 1).await.unwrap();
    fill(&store, "balance@1", 3).await;
    assert!(!store.drop_version("balance", 1).await.unwrap());
    assert!(store.drop_version("balance", 9).await.unwrap());
    assert!(store.drop_version("other", 1).await.unwrap());
    assert_eq!(body(&store, "balance@1", "key-2").await.as_deref(), Some("2"));
    assert_eq!(store.load_skipped("balance@1").await.unwrap().len(), 1);
    assert!(store.serve_version("balance", 1, Some(2)).await.unwrap());
    assert!(store.drop_version("balance", 1).await.unwrap());
    assert_eq!(store.versions("balance").await.unwrap(), [version(2, 1, true)]);
}

/// No program includes its read model any more, so no other version will ever replace it.
pub async fn a_retired_version_can_be_dropped(store: impl Store) {
    store.register_version("gone", 3, 2).await.unwrap();
    store.register_version("other", 1, 1).await.unwrap();
    assert!(!store.serve_version("gone", 4, None).await.unwrap());
    assert!(!store.drop_version("gone", 3).await.unwrap(), "it serves");
    assert!(store.serve_version("gone", 3, None).await.unwrap());
    assert!(store.drop_version("gone", 3).await.unwrap());
    assert_eq!(store.versions("gone").await.unwrap(), []);
    assert_eq!(store.versions("other").await.unwrap(), [version(1, 1, true)]);
    let anew = store.register_version("gone", 4, 2).await.unwrap();
    assert_eq!(anew, [version(4, 2, true)]);
}

/// Notes are stored by kind, replaced by the next one, and listed with the versions of all names.
pub async fn texts_beside_a_version_go_with_it(store: impl Store) {
    use VersionNote::{Comparison, Pause, Sources};
    for number in [2, 10] {
        store.register_version("balance", number, 1).await.unwrap();
    }
    store.register_version("access", 1, 1).await.unwrap();
    let note = async |number, note| store.version_note("balance", number, note).await.unwrap();
    assert_eq!(note(10, Sources).await, None);
    for text in ["first", "'sources' of \"ü\""] {
        store.note_version("balance", 10, Sources, text).await.unwrap();
    }
    store.note_version("balance", 10, Comparison, "{}").await.unwrap();
    store.note_version("balance", 10, Pause, "for now").await.unwrap();
    store.note_version("balance", 99, Sources, "of nothing").await.unwrap();
    assert_eq!(note(10, Sources).await.as_deref(), Some("'sources' of \"ü\""));
    assert_eq!(note(10, Comparison).await.as_deref(), Some("{}"));
    assert_eq!((note(2, Sources).await, note(99, Sources).await), (None, None));
    assert_eq!((note(10, Pause).await.as_deref(), note(2, Pause).await), (Some("for now"), None));
    let stored = |name: &str, version| StoredVersion { name: name.to_owned(), version };
    let all = [
        stored("access", version(1, 1, true)),
        stored("balance", version(2, 1, true)),
        stored("balance", version(10, 1, false)),
    ];
    assert_eq!(store.all_versions().await.unwrap(), all);
    assert!(store.drop_version("balance", 10).await.unwrap());
    store.register_version("balance", 10, 1).await.unwrap();
    assert_eq!((note(10, Sources).await, note(10, Comparison).await), (None, None));
    assert_eq!(note(10, Pause).await, None);
}
