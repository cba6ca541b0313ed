//! Membership: which processes share the partitions of a model.

use std::sync::Arc;
use std::time::Duration;

use super::{Assignment, AssignmentSettings};
use crate::store::contract::LeaseStore;
use crate::subscription::test_store::TestStore;

#[tokio::test]
async fn who_withdraws_from_one_partition_is_no_member_any_more() {
    let store = TestStore::new(|_| Box::pin(async { Ok(()) })).shared();
    let (memory, [me, other]) = (store.memory.clone(), [1, 2].map(uuid::Uuid::from_u128));
    let lasts = Duration::from_secs(3600);
    let looks = AssignmentSettings { every: Duration::from_millis(1), lasts };
    let spawn = |task| _ = tokio::spawn(task);
    let started = Assignment::start(Arc::new(store), "m@1", 2, me, looks, spawn).await;
    let (_assignment, mut duties) = started.unwrap();
    assert!(duties.iter().all(|duty| duty.owns()));
    assert_eq!(memory.join("m@1", other, lasts).await.unwrap(), [me, other]);
    while duties[1].next().await.unwrap() {} // one for each
    duties[0].withdraw();
    while duties[1].next().await.is_some() {}
    assert_eq!(memory.join("m@1", other, lasts).await.unwrap(), [other]);
}
