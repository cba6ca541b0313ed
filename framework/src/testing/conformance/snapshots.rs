//! Tests of snapshots: the newest one of each stream is kept.

use uuid::Uuid;

use super::stream;
use crate::event::{GlobalPosition, StreamVersion};
use crate::store::contract::{Snapshot, Store};

/// A snapshot is replaced by a newer one but not by an older one, and separately for each stream. A
/// store that says it keeps none keeps none.
pub async fn the_newest_snapshot_is_kept(store: impl Store) {
    let snapshot = |id: &str, version, state: &str| {
        let (version, position) = (StreamVersion(version), GlobalPosition(version * 10));
        let event_id = Uuid::from_u128(u128::from(version.0));
        Snapshot::new(stream(id), version, position, event_id, 3, state.to_owned())
    };
    assert_eq!(store.load_snapshot(&stream("a")).await.unwrap(), None);
    let newest = snapshot("a", 20, "{\"sum\":\"ü\\u0000\"}");
    for kept in [snapshot("a", 10, "1"), newest.clone(), snapshot("a", 15, "2")] {
        store.save_snapshot(kept).await.unwrap();
    }
    let loaded = store.load_snapshot(&stream("a")).await.unwrap();
    if !store.info().keeps_snapshots {
        assert_eq!(loaded, None, "a store that keeps snapshots says so");
        return;
    }
    assert_eq!(loaded, Some(newest));
    assert!(loaded.is_some_and(|loaded| loaded.is_intact()));
    assert_eq!(store.load_snapshot(&stream("b")).await.unwrap(), None);
}
