//! The log in memory: the executable specification of a store, and the one for fast tests.
//!
//! It keeps every promise but durability. It is small on purpose: what it does with a batch is
//! `plan` and nothing else.

mod checkpoints;
mod documents;
mod events;
mod snapshots;
mod versions;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::contract::{LogIdentity, Snapshot};
use super::kit::event_log::EventLog;
use super::kit::handles::Handle;
use super::kit::leases::{InMemoryLeases, Leases};
use super::kit::read_side::ReadSide;
use super::kit::versions::Versions;
use crate::clock::{Clamped, Clock, SystemClock};
use crate::event::{GlobalPosition, StreamId};

/// A store that forgets everything when its last clone is dropped.
///
/// ```
/// let builder = actum::Application::builder(actum::store::MemoryStore::new());
/// ```
#[derive(Clone)]
pub struct MemoryStore {
    log: Arc<Mutex<EventLog>>,
    snapshots: Arc<Mutex<HashMap<StreamId, Snapshot>>>,
    program: Arc<Mutex<Option<String>>>,
    read_side: Arc<Mutex<ReadSide>>,
    versions: Arc<Mutex<Versions>>,
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
    /// Creates an empty log.
    pub fn new() -> Self {
        Self::with_clock(SystemClock)
    }

    /// Creates an empty log that records events with the time of this clock.
    pub fn with_clock(clock: impl Clock) -> Self {
        let identity = LogIdentity { log_id: clock.new_id(), epoch: 1 };
        let head = Arc::new(watch::Sender::new(GlobalPosition::ZERO));
        Self {
            log: Arc::default(),
            snapshots: Arc::default(),
            program: Arc::default(),
            read_side: Arc::default(),
            versions: Arc::default(),
            head,
            leases: Leases::default(),
            identity,
            clock: Arc::new(Clamped(Arc::new(clock))),
            handle: Handle::default(),
        }
    }

    /// A panic while the lock is held cannot leave a half-written log: nothing under it runs code
    /// of the user's.
    fn log(&self) -> MutexGuard<'_, EventLog> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn snapshots(&self) -> MutexGuard<'_, HashMap<StreamId, Snapshot>> {
        self.snapshots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn versions(&self) -> MutexGuard<'_, Versions> {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_side(&self) -> MutexGuard<'_, ReadSide> {
        self.read_side.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InMemoryLeases for MemoryStore {
    fn leases(&self) -> &Leases {
        &self.leases
    }
}
