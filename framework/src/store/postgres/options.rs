//! Options for opening a log in PostgreSQL. The defaults are safe, and unsafe options are named
//! `unsafe_…`.

use std::sync::Arc;
use std::time::Duration;

use super::PostgresStore;
use crate::clock::{Clamped, Clock, SystemClock};
use crate::error::StartError;
use crate::store::kit::group_commit::QUEUE_BYTES;

/// Options for opening a [`PostgresStore`].
#[derive(Clone)]
pub struct PostgresOptions {
    pub(super) url: String,
    pub(super) schema: Option<String>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) readers: u32,
    pub(super) queue_bytes: usize,
    pub(super) connect_within: Duration,
    pub(super) answer_within: Duration,
    pub(super) check_durability: bool,
}

impl PostgresOptions {
    /// Options for the log in the database at `postgres://user:password@host:port/database`.
    pub fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            schema: None,
            clock: Arc::new(SystemClock),
            readers: 4,
            queue_bytes: QUEUE_BYTES,
            connect_within: Duration::from_secs(5),
            answer_within: Duration::from_secs(10),
            check_durability: true,
        }
    }

    /// Keeps the log in this schema, so that several applications share one database: each has its
    /// own tables, locks, notifications and projections. The name has 1 to 40 lower-case letters,
    /// digits and `_`, a letter first. Default `actum`.
    #[must_use]
    pub fn schema(mut self, schema: &str) -> Self {
        self.schema = Some(schema.to_owned());
        self
    }

    /// Records events with the time of this clock. Default: the system clock.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(Clamped(Arc::new(clock)));
        self
    }

    /// Number of connections that read at once: as many for the log, for streams and for documents,
    /// so that none of them can starve another. Three more write, listen and signal. They are
    /// opened when first needed. Default 4.
    #[must_use]
    pub fn readers(mut self, readers: u32) -> Self {
        self.readers = readers.max(1);
        self
    }

    /// Timeout of a new connection, and of a read that waits for a free one. Default 5 s.
    #[must_use]
    pub fn connect_within(mut self, within: Duration) -> Self {
        self.connect_within = within;
        self
    }

    /// Timeout of a statement, at least a second. The server aborts the statement then. If the
    /// server is out of reach, the connection is closed and another one opened. Default 10 s.
    #[must_use]
    pub fn answer_within(mut self, within: Duration) -> Self {
        self.answer_within = within.max(Duration::from_secs(1));
        self
    }

    /// Maximum bytes of events, documents and snapshots that wait for the writer or are being
    /// written. Beyond it, appends and saves wait. A larger call is written alone. Default 64 MiB.
    #[must_use]
    pub fn queue_bytes(mut self, bytes: usize) -> Self {
        self.queue_bytes = bytes;
        self
    }

    /// Commits without waiting for the disk: acknowledged events can be lost when the server
    /// stops. For measurements and throw-away data.
    #[must_use]
    pub fn unsafe_without_sync(mut self) -> Self {
        self.check_durability = false;
        self
    }

    /// Opens the log.
    ///
    /// # Errors
    /// See [`PostgresStore::open`].
    pub async fn open(self) -> Result<PostgresStore, StartError> {
        super::open::open(self).await
    }
}
