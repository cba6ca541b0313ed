//! Tests that the subscription that notifies followers exists only while there are followers.

use std::sync::Arc;
use std::time::Duration;

use super::wakes::Wakes;
use crate::event::GlobalPosition;
use crate::store::memory::MemoryStore;
use crate::subscription::test_store::append;
use crate::subscription::{Tail, TailSettings};

fn start(store: &MemoryStore) -> Tail {
    let settings = TailSettings { poll: Duration::from_millis(1), ..TailSettings::default() };
    Tail::start(Arc::new(store.clone()), GlobalPosition::ZERO, settings, |task| {
        tokio::spawn(task);
    })
}

/// Waits until `count` subscriptions have joined the tail.
async fn joined(tail: &Tail, count: usize) {
    let reached = async {
        while tail.status().joined != count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(20), reached).await;
    assert!(in_time.is_ok(), "{} have joined, not {count}", tail.status().joined);
}

#[tokio::test]
async fn the_tail_is_followed_once_and_only_while_somebody_waits() {
    let store = MemoryStore::new();
    let tail = start(&store);
    let wakes = Wakes::of_streams(tail.clone());
    for round in 1..=3 {
        joined(&tail, 0).await;
        let mut waiting = [
            wakes.register("account-1").unwrap(),
            wakes.register("account-1").unwrap(),
            wakes.register("account-2").unwrap(),
        ];
        joined(&tail, 1).await;
        append(&store, ("account", "1"), &[("Deposited", "{}".to_owned())]).await;
        for wake in &mut waiting[..2] {
            assert_eq!(wake.beyond(round - 1).await.unwrap(), Some(round));
        }
        let [first, second, other] = waiting;
        drop((first, second));
        joined(&tail, 1).await;
        drop(other);
    }
    joined(&tail, 0).await;
}

/// A new follower registers while the last one leaves, so the start and the end of the subscription
/// race.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_registers_while_the_last_one_leaves_is_woken_all_the_same() {
    let store = MemoryStore::new();
    let wakes = Wakes::of_streams(start(&store));
    let mut last = wakes.register("account-1").unwrap();
    for version in 1..=2_000 {
        let leaving = tokio::spawn(async move { drop(last) });
        last = wakes.register("account-1").unwrap();
        append(&store, ("account", "1"), &[("Deposited", "{}".to_owned())]).await;
        let woken = tokio::time::timeout(Duration::from_secs(20), last.beyond(version - 1)).await;
        assert_eq!(woken.expect("nobody woke it").unwrap(), Some(version));
        leaving.await.unwrap();
    }
}
