//! Options for opening a log file. The defaults are safe; unsafe options are named `unsafe_…`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::SqliteStore;
use crate::clock::{Clamped, Clock, SystemClock};
use crate::error::StartError;
use crate::store::kit::group_commit::QUEUE_BYTES;

/// Options for opening a [`SqliteStore`].
#[derive(Clone)]
pub struct SqliteOptions {
    pub(super) path: PathBuf,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) readers: u32,
    pub(super) queue_bytes: usize,
    pub(super) busy_timeout: Duration,
    pub(super) wait_for_lock: Duration,
    pub(super) pragmas: Vec<(String, String)>,
    pub(super) check_durability: bool,
}

impl SqliteOptions {
    /// Options for the log at `bank.db`, `sqlite:bank.db` or `sqlite://bank.db`.
    pub fn new(place: &str) -> Self {
        let path = place.strip_prefix("sqlite:").unwrap_or(place);
        Self {
            path: path.strip_prefix("//").unwrap_or(path).into(),
            clock: Arc::new(SystemClock),
            readers: 4,
            queue_bytes: QUEUE_BYTES,
            busy_timeout: Duration::from_secs(5),
            wait_for_lock: Duration::from_secs(2),
            pragmas: Vec::new(),
            check_durability: true,
        }
    }

    /// Records events with the time of this clock. Default: the system clock.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(Clamped(Arc::new(clock)));
        self
    }

    /// Number of connections that read at once. Default 4.
    #[must_use]
    pub fn readers(mut self, readers: u32) -> Self {
        self.readers = readers.max(1);
        self
    }

    /// Time that a write waits for another program that holds the database. Default 5 s.
    #[must_use]
    pub fn busy_timeout(mut self, busy_timeout: Duration) -> Self {
        self.busy_timeout = busy_timeout;
        self
    }

    /// Time that opening waits for a process that is just closing the file. Default 2 s.
    #[must_use]
    pub fn wait_for_lock(mut self, wait: Duration) -> Self {
        self.wait_for_lock = wait;
        self
    }

    /// Sets a pragma on every connection, such as `cache_size`. Opening refuses one that would
    /// break a promise.
    #[must_use]
    pub fn pragma(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.pragmas.push((name.into(), value.into()));
        self
    }

    /// Maximum bytes of events, documents and snapshots that wait for the writer or are being
    /// written. Beyond it, appends and saves wait. A larger call is written alone. Default 64 MiB.
    #[must_use]
    pub fn queue_bytes(mut self, bytes: usize) -> Self {
        self.queue_bytes = bytes;
        self
    }

    /// Commits without waiting for the disk: acknowledged events can be lost, or the file
    /// destroyed, when the machine stops. For measurements and throw-away data.
    #[must_use]
    pub fn unsafe_without_sync(mut self) -> Self {
        self.check_durability = false;
        self.pragma("synchronous", "OFF")
    }

    /// Opens the log.
    ///
    /// # Errors
    /// See [`SqliteStore::open`].
    pub async fn open(self) -> Result<SqliteStore, StartError> {
        super::open::open(self).await
    }
}
