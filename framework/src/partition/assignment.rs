//! Which partitions of a model this process should own, asked of the store again and again.
//!
//! There is no coordinator: every process makes itself known, sees who else is and who holds what, and
//! takes or gives up until it has its [`fair_share`]. Only the lease decides who may write; what is
//! told here is a wish, and may be late. Where no other process can write, it is always everything.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::warn;
use uuid::Uuid;

use super::Task;
use super::fair_share::fair_share;
use crate::error::{StartError, StoreError};
use crate::store::contract::{PartitionId, Store};

/// The most partitions of a read model or projection.
const MOST_PARTITIONS: u32 = 1024;

/// Makes a version known to the store, with so many partitions.
///
/// # Errors
/// The store did not answer; nothing can have so many partitions; or it has another number already.
pub(crate) async fn register_version(
    store: &dyn Store,
    name: &str,
    version: u32,
    partitions: u32,
) -> Result<(), StartError> {
    let model = format!("{name}@{version}");
    if partitions == 0 || partitions > MOST_PARTITIONS {
        return Err(StartError::Partitions { model, partitions });
    }
    let versions = store.register_version(name, version, partitions).await?;
    match versions.iter().find(|known| known.number == version) {
        Some(known) if known.partitions != partitions => {
            Err(StartError::OtherPartitions { model, partitions, stored: known.partitions })
        }
        _ => Ok(()),
    }
}

/// How often, and for how long, a process makes itself known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AssignmentSettings {
    /// The time from one look to the next.
    pub(crate) every: Duration,
    /// How long a process counts that is not heard of any more.
    pub(crate) lasts: Duration,
}

/// This process, as one of those that share the partitions of a model.
pub(crate) struct Assignment {
    leave: Arc<watch::Sender<bool>>,
}

/// Whether this process should own one partition.
pub(crate) struct Duty {
    owns: watch::Receiver<bool>,
    leave: Arc<watch::Sender<bool>>,
    aside: Arc<Aside>,
}

/// Whether a process has stepped aside, and for whom.
#[derive(Default)]
struct Aside {
    /// Until then this process is not a member.
    until: Mutex<Option<Instant>>,
    /// At the last look there were other members.
    has_others: AtomicBool,
}

impl Aside {
    /// Nothing under the lock can panic.
    fn until(&self) -> MutexGuard<'_, Option<Instant>> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_on(&self) -> bool {
        self.until().is_some_and(|until| Instant::now() < until)
    }
}

impl Duty {
    /// Whether it should as of now.
    pub(crate) fn owns(&self) -> bool {
        *self.owns.borrow()
    }

    /// Whether it should, at each look anew, changed or not: so who could not be granted the lease
    /// tries again. `None` when nobody looks any more.
    pub(crate) async fn next(&mut self) -> Option<bool> {
        self.owns.changed().await.ok()?;
        Some(*self.owns.borrow_and_update())
    }

    /// It cannot own this one. A process with such a partition takes no more of the model, so that
    /// another one, whose program may be newer, need not leave it its share.
    pub(crate) fn withdraw(&self) {
        self.leave.send_replace(true);
    }

    /// Checks that other processes shared the model at the last look.
    pub(crate) fn has_others(&self) -> bool {
        self.aside.has_others.load(Ordering::Relaxed)
    }

    /// Leaves all partitions of the model to the other members for a while; after that this process
    /// is a member again. The caller releases the lease.
    pub(crate) fn step_aside(&self, how_long: Duration) {
        *self.aside.until() = Some(Instant::now() + how_long);
    }
}

impl Assignment {
    /// Makes this process known and answers a duty for each partition.
    ///
    /// # Errors
    /// The store did not answer.
    pub(crate) async fn start(
        store: Arc<dyn Store>,
        model: &str,
        partitions: u32,
        process: Uuid,
        settings: AssignmentSettings,
        spawn: impl FnOnce(Task),
    ) -> Result<(Self, Vec<Duty>), StoreError> {
        let names = (0..partitions).map(|number| PartitionId::new(model, number).to_string());
        let (names, model) = (names.collect(), model.to_owned());
        let aside = Arc::new(Aside::default());
        let roster = Roster { store, model, names, process, settings, aside: Arc::clone(&aside) };
        let owns = roster.look().await?;
        let (leave, left) = watch::channel(false);
        let leave = Arc::new(leave);
        let (senders, duties) = owns
            .into_iter()
            .map(|owns| {
                let (sender, owns) = watch::channel(owns);
                (sender, Duty { owns, leave: Arc::clone(&leave), aside: Arc::clone(&aside) })
            })
            .unzip();
        spawn(Box::pin(roster.run(senders, left)));
        Ok((Self { leave }, duties))
    }

    /// Tells the others not to count on this process any more; answers when they know.
    pub(crate) async fn leave(&self) {
        self.leave.send_replace(true);
        self.leave.closed().await;
    }
}

struct Roster {
    store: Arc<dyn Store>,
    model: String,
    names: Vec<String>,
    process: Uuid,
    settings: AssignmentSettings,
    aside: Arc<Aside>,
}

impl Roster {
    async fn look(&self) -> Result<Vec<bool>, StoreError> {
        if self.store.info().is_sole_writer {
            return Ok(vec![true; self.names.len()]);
        }
        if self.aside.is_on() {
            self.store.leave(&self.model, self.process).await?;
            return Ok(vec![false; self.names.len()]);
        }
        let members = self.store.join(&self.model, self.process, self.settings.lasts).await?;
        let has_others = members.iter().any(|member| *member != self.process);
        self.aside.has_others.store(has_others, Ordering::Relaxed);
        let holders = self.store.holders(&self.names).await?;
        Ok(fair_share(&members, &holders, self.process))
    }

    async fn run(self, duties: Vec<watch::Sender<bool>>, mut left: watch::Receiver<bool>) {
        while duties.iter().any(|duty| !duty.is_closed()) {
            let leaves = left.wait_for(|leaves| *leaves);
            if tokio::time::timeout(self.settings.every, leaves).await.is_ok() {
                break;
            }
            match self.look().await {
                Ok(owns) => duties.iter().zip(owns).for_each(|(duty, owns)| {
                    duty.send_replace(owns);
                }),
                Err(error) => {
                    warn!(model = %self.model, %error, "it is not known who shares a read model");
                }
            }
        }
        if self.store.info().is_sole_writer {
            return;
        }
        if let Err(error) = self.store.leave(&self.model, self.process).await {
            warn!(model = %self.model, %error, "the others count on this process for some time yet");
        }
    }
}
