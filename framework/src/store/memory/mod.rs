//! The log in memory: the executable specification of a store, and the one for fast tests.
//!
//! It keeps every promise but durability. It is small on purpose: what it does with a batch is
//! `plan` and nothing else.

mod checkpoints;
mod documents;
mod events;
mod leases;
mod read_side;
mod snapshots;
mod versions;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use self::events::Log;
use self::read_side::ReadSide;
use super::contract::{LogIdentity, PageLimit};
use super::handles::Handle;
use super::kit::leases::Leases;
use crate::clock::{Clamped, Clock, SystemClock};
use crate::event::GlobalPosition;

/// A store that forgets everything when its last clone is dropped.
///
/// ```
/// let builder = actum::Application::builder(actum::MemoryStore::new());
/// ```
#[derive(Clone)]
pub struct MemoryStore {
    log: Arc<Mutex<Log>>,
    read_side: Arc<Mutex<ReadSide>>,
    head: Arc<watch::Sender<GlobalPosition>>,
    leases: Leases,
    identity: LogIdentity,
    clock: Arc<dyn Clock>,
    handle: Handle,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStore {
    /// An empty log.
    pub fn new() -> Self {
        Self::with_clock(SystemClock)
    }

    /// An empty log that records its events at the times `clock` tells.
    pub fn with_clock(clock: impl Clock) -> Self {
        let identity = LogIdentity { log_id: clock.new_id(), epoch: 1 };
        let head = Arc::new(watch::Sender::new(GlobalPosition::ZERO));
        let (log, read_side, leases) = (Arc::default(), Arc::default(), Leases::default());
        let clock = Arc::new(Clamped(Arc::new(clock)));
        Self { log, read_side, head, leases, identity, clock, handle: Handle::default() }
    }

    /// A panic while the lock is held cannot leave a half-written log: nothing under it runs code
    /// of the user's.
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_side(&self) -> MutexGuard<'_, ReadSide> {
        self.read_side.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first items that make a page within `limit`; one that is larger than `limit.bytes` comes alone.
fn within<T>(
    limit: PageLimit,
    items: impl Iterator<Item = T>,
    bytes: impl Fn(&T) -> usize,
) -> impl Iterator<Item = T> {
    let mut left = None;
    items.take(limit.events).take_while(move |item| {
        let size = bytes(item);
        let room = left
            .map_or(Some(limit.bytes.saturating_sub(size)), |left: usize| left.checked_sub(size));
        left = room.or(left);
        room.is_some()
    })
}
