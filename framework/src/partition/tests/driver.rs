//! The driver with a follower that fails as the test says: what each fault means for every follower.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use crate::error::StoreError;
use crate::event::GlobalPosition;
use crate::partition::driver::Driver;
use crate::partition::{
    End, Follower, LeaseRenewer, LeaseSession, NextPage, Pacing, PartitionProgress, Plan, State,
};
use crate::store::contract::{
    Checkpoint, Filter, Lease, LeaseStore, Page, PartitionId, Store, VersionNote, VersionStore,
};
use crate::store::memory::MemoryStore;
use crate::subscription::test_store::TestStore;
use crate::subscription::{Tail, TailSettings};

const NAME: &str = "puppet@1/0";
const ME: Uuid = Uuid::from_u128(1);

/// Follows nothing. Its terms end with the faults that it is sent.
struct Puppet {
    faults: UnboundedReceiver<StoreError>,
    begun: Arc<AtomicUsize>,
}

impl Follower for Puppet {
    fn filter(&self) -> Filter {
        Filter::all()
    }

    async fn load_checkpoint(&self) -> Result<Option<Checkpoint>, StoreError> {
        Ok(None)
    }

    async fn begin(
        &mut self,
        _session: &LeaseSession,
        _checkpoint: Option<Checkpoint>,
    ) -> Result<(), StoreError> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn plan(&mut self, _until: Option<Instant>, _is_at_tail: bool) -> Plan {
        Plan { due: None, next_page: NextPage::NotYet, page_events: 1 }
    }

    async fn apply(&mut self, _page: &Arc<Page>) -> Result<ControlFlow<End>, StoreError> {
        Ok(ControlFlow::Continue(()))
    }

    async fn do_due(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn work(&mut self) -> Result<ControlFlow<End>, StoreError> {
        match self.faults.recv().await {
            Some(fault) => Err(fault),
            None => std::future::pending().await,
        }
    }

    async fn save_for_reader(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn reached(&self) -> GlobalPosition {
        GlobalPosition(6)
    }
}

/// A driven puppet. It stops when this is dropped.
struct Driven {
    memory: MemoryStore,
    progress: Arc<PartitionProgress>,
    faults: UnboundedSender<StoreError>,
    begun: Arc<AtomicUsize>,
    _stop: watch::Sender<bool>,
    renewer: LeaseRenewer,
}

impl Driven {
    async fn start() -> Self {
        let test_store = TestStore::new(|_| Box::pin(async { Ok(()) })).shared();
        let memory = test_store.memory.clone();
        let store: Arc<dyn Store> = Arc::new(test_store);
        let pacing = Pacing {
            lease_for: Duration::from_secs(3600),
            renew_every: Duration::from_millis(1),
            first_delay: Duration::from_micros(10),
            ..Pacing::default()
        };
        let spawn = |task| drop(tokio::spawn(task));
        let settings = TailSettings::default();
        let tail = Tail::start(Arc::clone(&store), GlobalPosition::ZERO, settings, spawn);
        let renewer = LeaseRenewer::start(Arc::clone(&store), ME, &pacing, spawn);
        let id = PartitionId::new("puppet@1", 0);
        let progress =
            PartitionProgress::new(id.clone(), GlobalPosition::ZERO, GlobalPosition::ZERO);
        let partitions = vec![Arc::clone(&progress)];
        let (_membership, mut assignments) = renewer.join("puppet@1", partitions).await.unwrap();
        let (stop, stopping) = watch::channel(false);
        let (faults, sent) = unbounded_channel();
        let begun = Arc::new(AtomicUsize::new(0));
        let driver = Driver {
            id,
            store,
            tail,
            renewer: renewer.clone(),
            pacing,
            progress: Arc::clone(&progress),
            assignment: assignments.pop().unwrap(),
            stopping,
        };
        tokio::spawn(driver.run(Puppet { faults: sent, begun: Arc::clone(&begun) }));
        let driven = Self { memory, progress, faults, begun, _stop: stop, renewer };
        driven.has_begun(1).await;
        driven
    }

    async fn until(&self, condition: impl AsyncFn() -> bool) {
        let waiting = async {
            while !condition().await {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("it never came to be");
    }

    async fn has_begun(&self, terms: usize) {
        self.until(async || self.begun.load(Ordering::SeqCst) == terms).await;
    }

    async fn holder(&self) -> Option<Uuid> {
        self.memory.holders(&[NAME.to_owned()]).await.unwrap()[0]
    }
}

fn refused() -> StoreError {
    StoreError::Checkpoint { name: NAME.to_owned(), reason: "it is elsewhere".to_owned() }
}

#[tokio::test]
async fn a_refused_checkpoint_halts_an_owner_that_still_holds_its_lease() {
    let driven = Driven::start().await;
    driven.faults.send(refused()).unwrap();
    driven.until(async || !driven.progress.is_running()).await;
    let State::Halted { position, reason } = driven.progress.state() else { panic!("it stopped") };
    assert!(position.0 == 7 && reason.contains("it is elsewhere"), "{position}: {reason}");
    driven.until(async || driven.holder().await.is_none()).await;
    assert!(!driven.progress.now().is_owner);
    // It takes no other partition of the model either.
    let other = Uuid::from_u128(2);
    let join = || driven.memory.join("puppet@1", other, Duration::from_secs(60));
    driven.until(async || join().await.unwrap() == [other]).await;
}

#[tokio::test]
async fn a_refused_checkpoint_of_an_owner_that_lost_its_lease_is_anothers_right() {
    let driven = Driven::start().await;
    // Granted to the same process by another program, say: the token is void.
    driven.memory.acquire_lease(NAME, ME, Duration::ZERO).await.unwrap().unwrap();
    driven.faults.send(refused()).unwrap();
    driven.has_begun(2).await;
    assert!(driven.progress.is_running());
    driven.until(async || driven.holder().await == Some(ME)).await;
}

#[tokio::test]
async fn a_store_that_does_not_reply_ends_the_term_and_keeps_the_lease() {
    let driven = Driven::start().await;
    for terms in 2..5 {
        let fault = match terms {
            2 => StoreError::Unknown("no reply to the commit".to_owned()),
            _ => StoreError::Unavailable("no connection".to_owned()),
        };
        driven.faults.send(fault).unwrap();
        driven.has_begun(terms).await;
    }
    assert!(driven.progress.now().is_owner && driven.progress.now().last_error.is_some());
    let lease = Lease { name: NAME.to_owned(), owner: ME, token: 1 };
    assert!(driven.memory.renew_lease(&lease, Duration::from_secs(60)).await.unwrap());
}

#[tokio::test]
async fn any_other_fault_halts() {
    let driven = Driven::start().await;
    let (place, reason) = ("position 9".to_owned(), "torn".to_owned());
    driven.faults.send(StoreError::Corrupt { place, reason }).unwrap();
    driven.until(async || matches!(driven.progress.state(), State::Halted { .. })).await;
    driven.until(async || driven.holder().await.is_none()).await;
    assert_eq!(driven.begun.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_lease_that_is_lost_ends_the_term_though_nothing_fails() {
    let driven = Driven::start().await;
    let lease = Lease { name: NAME.to_owned(), owner: ME, token: 1 };
    driven.memory.release_lease(&lease).await.unwrap();
    driven.has_begun(2).await;
    assert!(driven.progress.is_running());
}

#[tokio::test]
async fn a_paused_owner_releases_its_lease_and_continues_when_it_is_resumed() {
    let driven = Driven::start().await;
    driven.memory.register_version("puppet", 1, 1).await.unwrap();
    let note = |text| driven.memory.note_version("puppet", 1, VersionNote::Pause, text);
    note("for now").await.unwrap();
    driven.until(async || driven.holder().await.is_none()).await;
    driven.until(async || driven.progress.now().stands_still()).await;
    // Another process, which has not heard of the pause, finds it under the lease.
    driven.renewer.pause("puppet@1", None);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!((driven.begun.load(Ordering::SeqCst), driven.progress.is_running()), (1, true));
    note("").await.unwrap();
    driven.has_begun(2).await;
    assert!(!driven.progress.is_paused());
}
