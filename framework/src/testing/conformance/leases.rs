//! Tests of leases: one owner at a time, and no writes under a lost lease.

use std::time::Duration;

use uuid::Uuid;

use super::documents::{batch, body, partition};
use crate::error::StoreError;
use crate::store::contract::{Lease, Renewal, Store, VersionNote};

const NAME: &str = "balance@1/0";
/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_millis(20);

async fn acquire(store: &impl Store, owner: Uuid, duration: Duration) -> Option<Lease> {
    let granted = store.acquire_lease(NAME, owner, duration).await.unwrap();
    if let Some(lease) = &granted {
        assert_eq!((&*lease.name, lease.owner), (NAME, owner));
    }
    granted
}

/// Acquires the lease for `owner`, after the previous grant has expired if necessary.
async fn take_over(store: &impl Store, owner: Uuid) -> Lease {
    for _ in 0..3000 {
        if let Some(lease) = acquire(store, owner, LONG).await {
            return lease;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the lease never expires");
}

/// Checks that the lease is lost: it is not renewed and stores nothing.
async fn assert_lost(store: &impl Store, lease: &Lease) {
    assert!(!store.renew_lease(lease, LONG).await.unwrap(), "{lease:?} is renewed");
    let before = store.load_checkpoint(&partition()).await.unwrap();
    let from = before.map_or(0, |checkpoint| checkpoint.position.0);
    let saved = store.save_documents(batch(lease, from, from + 1, &[("late", "1")])).await;
    assert!(matches!(&saved, Err(StoreError::LeaseLost { name }) if name == NAME), "{saved:?}");
    assert_eq!(store.load_checkpoint(&partition()).await.unwrap(), before);
    assert_eq!(body(store, "balance@1", "late").await, None);
}

/// A lease that is held is not granted to others. Leases of other names are independent.
pub async fn a_lease_has_one_owner_at_a_time(store: impl Store) {
    let (one, two) = (Uuid::now_v7(), Uuid::now_v7());
    let lease = acquire(&store, one, LONG).await.unwrap();
    assert_eq!(acquire(&store, two, LONG).await, None);
    let other = store.acquire_lease("balance@2/0", two, LONG).await.unwrap().unwrap();
    assert_eq!((&*other.name, other.owner), ("balance@2/0", two));
    assert!(store.renew_lease(&lease, LONG).await.unwrap());
    assert_eq!(acquire(&store, two, LONG).await, None);
    store.save_documents(batch(&lease, 0, 1, &[("a", "1")])).await.unwrap();
}

/// The owner gets a greater token, and its old one is void, because two processes may believe that
/// they are this owner.
pub async fn an_owner_may_take_its_lease_again(store: impl Store) {
    let owner = Uuid::now_v7();
    let first = acquire(&store, owner, LONG).await.unwrap();
    let second = acquire(&store, owner, LONG).await.unwrap();
    assert!(second.token > first.token, "{second:?} follows {first:?}");
    assert_lost(&store, &first).await;
    store.release_lease(&first).await.unwrap();
    assert!(store.renew_lease(&second, LONG).await.unwrap());
    store.save_documents(batch(&second, 0, 1, &[])).await.unwrap();
}

/// A process that was paused until its lease was taken over writes nothing when it continues.
pub async fn an_expired_lease_is_taken_over_and_its_old_token_is_void(store: impl Store) {
    let (one, two) = (Uuid::now_v7(), Uuid::now_v7());
    let first = acquire(&store, one, SHORT).await.unwrap();
    store.save_documents(batch(&first, 0, 1, &[("a", "1")])).await.unwrap();
    let second = take_over(&store, two).await;
    assert!(second.token > first.token, "{second:?} follows {first:?}");
    assert_lost(&store, &first).await;
    // Releasing a lost lease does not affect the new owner.
    store.release_lease(&first).await.unwrap();
    assert_eq!(acquire(&store, one, LONG).await, None);
    store.save_documents(batch(&second, 1, 2, &[("a", "2")])).await.unwrap();
    assert_eq!(body(&store, "balance@1", "a").await.as_deref(), Some("2"));
}

/// A pause alone does no harm: if no other process took the lease, the owner continues.
pub async fn an_expired_lease_that_nobody_took_is_not_lost(store: impl Store) {
    let lease = acquire(&store, Uuid::now_v7(), SHORT).await.unwrap();
    tokio::time::sleep(SHORT * 2).await;
    store.save_documents(batch(&lease, 0, 1, &[("a", "1")])).await.unwrap();
    assert!(store.renew_lease(&lease, LONG).await.unwrap());
    assert_eq!(acquire(&store, Uuid::now_v7(), LONG).await, None);
}

/// A released lease can be acquired at once. Its token is void and is never used again.
pub async fn a_released_lease_is_free_at_once(store: impl Store) {
    let first = acquire(&store, Uuid::now_v7(), LONG).await.unwrap();
    store.release_lease(&first).await.unwrap();
    assert_lost(&store, &first).await;
    let second = acquire(&store, Uuid::now_v7(), LONG).await.unwrap();
    assert!(second.token > first.token, "{second:?} follows {first:?}");
    assert_lost(&store, &first).await;
}

/// Twenty processes acquire it at once.
pub async fn of_concurrent_acquirers_one_is_granted_the_lease(store: impl Store + Clone) {
    let mut last = 0;
    for _ in 0..5 {
        let acquirers = (0..20).map(|_| {
            let store = store.clone();
            tokio::spawn(async move { acquire(&store, Uuid::now_v7(), LONG).await })
        });
        let mut granted = Vec::new();
        for acquirer in acquirers.collect::<Vec<_>>() {
            granted.extend(acquirer.await.unwrap());
        }
        let [lease] = &granted[..] else { panic!("{granted:?} are granted at once") };
        assert!(lease.token > last, "{lease:?} follows {last}");
        last = lease.token;
        store.release_lease(lease).await.unwrap();
    }
}

/// Owners change while they write. A new owner continues from the checkpoint that it finds, so each
/// save is either stored or refused, and none is overwritten.
pub async fn whoever_takes_over_finds_all_that_was_stored_before(store: impl Store + Clone) {
    let owners = (0..4).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            let (owner, mut kept) = (Uuid::now_v7(), 0);
            for _ in 0..20 {
                // The lease expires at once, so each owner takes over during another's writes.
                let Some(lease) = acquire(&store, owner, Duration::ZERO).await else { continue };
                let mut at =
                    store.load_checkpoint(&partition()).await.unwrap().map_or(0, |c| c.position.0);
                loop {
                    match store.save_documents(batch(&lease, at, at + 1, &[("a", "1")])).await {
                        Ok(()) => (at, kept) = (at + 1, kept + 1),
                        Err(StoreError::LeaseLost { .. }) => break,
                        Err(other) => panic!("{other}: somebody wrote beside {lease:?}"),
                    }
                    if kept % 5 == 0 {
                        break;
                    }
                }
            }
            kept
        })
    });
    let mut kept = 0;
    for owner in owners.collect::<Vec<_>>() {
        kept += owner.await.unwrap();
    }
    let checkpoint = store.load_checkpoint(&partition()).await.unwrap().unwrap();
    assert_eq!(checkpoint.position.0, kept);
    assert!(kept > 0);
}

/// Only current holders are returned: neither earlier ones nor those whose lease has expired.
pub async fn holders_are_those_who_hold_a_lease_now(store: impl Store) {
    let names = ["a@1/0", "a@1/1", "a@1/2", "a@1/3"].map(str::to_owned);
    let (one, two) = (Uuid::now_v7(), Uuid::now_v7());
    let first = store.acquire_lease(&names[0], one, LONG).await.unwrap().unwrap();
    store.acquire_lease(&names[2], two, LONG).await.unwrap();
    store.acquire_lease(&names[3], two, Duration::ZERO).await.unwrap();
    let holders = async || store.holders(&names).await.unwrap();
    assert_eq!(holders().await, [Some(one), None, Some(two), None]);
    store.release_lease(&first).await.unwrap();
    assert_eq!(holders().await, [None, None, Some(two), None]);
    assert_eq!(store.holders(&[]).await.unwrap(), []);
    let doubled = [names[2].clone(), names[1].clone(), names[2].clone()];
    assert_eq!(store.holders(&doubled).await.unwrap(), [Some(two), None, Some(two)]);
}

/// Members are listed by model. A member that does not renew expires by the store's clock.
pub async fn members_are_known_until_they_leave_or_expire(store: impl Store) {
    let mut all = [Uuid::now_v7(), Uuid::nil(), Uuid::max()];
    let join =
        async |model: &str, process, duration| store.join(model, process, duration).await.unwrap();
    for process in all {
        join("balance@1", process, LONG).await;
    }
    all.sort_unstable();
    assert_eq!(join("balance@1", all[1], LONG).await, all);
    assert_eq!(join("balance@2", all[1], LONG).await, [all[1]]);
    store.leave("balance@1", all[0]).await.unwrap();
    store.leave("balance@1", all[0]).await.unwrap();
    assert_eq!(join("balance@1", all[1], LONG).await, all[1..]);
    // A member with a duration of zero is only visible to itself.
    assert_eq!(join("balance@1", all[0], Duration::ZERO).await, all);
    assert_eq!(join("balance@1", all[1], LONG).await, all[1..]);
    assert_eq!(join("balance@1", all[2], Duration::ZERO).await, all[1..]);
    assert_eq!(join("balance@1", all[1], LONG).await, [all[1]]);
}

/// One call renews every lease and membership of a process, and a lease that is lost is told apart.
pub async fn everything_of_a_process_is_renewed_in_one_call(store: impl Store) {
    let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let kept = acquire(&store, one, SHORT).await.unwrap();
    let lost = store.acquire_lease("balance@1/1", one, SHORT).await.unwrap().unwrap();
    store.release_lease(&lost).await.unwrap();
    let taken = store.acquire_lease("balance@1/1", two, LONG).await.unwrap().unwrap();
    store.join("balance@1", two, LONG).await.unwrap();
    let partitions = ["balance@1/0", "balance@1/1", "balance@1/2"].map(str::to_owned);
    let renewal = Renewal {
        process: one,
        duration: LONG,
        leases: vec![lost.clone(), kept.clone()],
        models: vec!["other@1".to_owned(), "balance@1".to_owned()],
        partitions: partitions.to_vec(),
    };
    store.register_version("balance", 1, 3).await.unwrap();
    store.note_version("balance", 1, VersionNote::Pause, "for now").await.unwrap();
    let renewed = store.renew_all(&renewal).await.unwrap();
    assert_eq!(renewed.pauses, [None, Some("for now".to_owned())]);
    assert_eq!(renewed.leases, [false, true]);
    assert_eq!(renewed.members, [vec![one], vec![one, two]]);
    assert_eq!(renewed.holders[1..], [Some(two), None]);
    tokio::time::sleep(SHORT * 2).await;
    assert_eq!(acquire(&store, two, LONG).await, None, "the lease was not extended");
    assert_eq!(store.join("other@1", two, LONG).await.unwrap(), [one, two], "nor the membership");
    assert!(!store.renew_lease(&lost, LONG).await.unwrap(), "a lost lease is renewed");
    assert!(store.renew_lease(&taken, LONG).await.unwrap());
    assert!(store.renew_lease(&kept, LONG).await.unwrap());
    assert_eq!(store.renew_all(&Renewal::default()).await.unwrap().leases, [false; 0]);
}
