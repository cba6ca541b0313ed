//! Membership: which processes share the partitions of a model.

mod driver;

use std::sync::Arc;
use std::time::Duration;

use super::{LeaseRenewer, Pacing, PartitionProgress};
use crate::event::GlobalPosition;
use crate::store::contract::{LeaseStore, PartitionId};
use crate::subscription::test_store::TestStore;

#[tokio::test]
async fn who_withdraws_from_one_partition_is_no_member_any_more() {
    let store = TestStore::new(|_| Box::pin(async { Ok(()) })).shared();
    let (memory, [me, other]) = (store.memory.clone(), [1, 2].map(uuid::Uuid::from_u128));
    let lease_for = Duration::from_secs(3600);
    let renew_every = Duration::from_millis(1);
    let pacing = Pacing { lease_for, renew_every, ..Pacing::default() };
    let spawn = |task| _ = tokio::spawn(task);
    let at_zero = |number| {
        let id = PartitionId::new("m@1", number);
        PartitionProgress::new(id, GlobalPosition::ZERO, GlobalPosition::ZERO)
    };
    let progress = [0, 1].map(at_zero).to_vec();
    let renewer = LeaseRenewer::start(Arc::new(store), me, &pacing, spawn);
    let (_membership, mut assignments) = renewer.join("m@1", progress).await.unwrap();
    assert!(assignments.iter().all(|assignment| assignment.is_ours()));
    assert_eq!(memory.join("m@1", other, lease_for).await.unwrap(), [me, other]);
    while assignments[1].next().await {} // one for each
    assignments[0].withdraw();
    let left = async {
        while memory.join("m@1", other, lease_for).await.unwrap() != [other] {
            tokio::time::sleep(renew_every).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), left).await.expect("it is still a member");
    tokio::time::sleep(renew_every * 20).await;
    assert_eq!(memory.join("m@1", other, lease_for).await.unwrap(), [other], "it joined again");
}
