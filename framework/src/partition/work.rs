//! What a partition tells of its work: written by who does it, read by who asks how it goes.

use std::fmt::Display;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use tracing::warn;

use crate::metrics::WorkMetrics;
use crate::store::contract::{MAX_DOCUMENT_BYTES, PartitionId};

/// Size of a document from which on a warning is logged.
const WARN_ABOVE: usize = 1 << 20;

/// Of one partition, in one process.
pub(crate) struct Work {
    metrics: WorkMetrics,
    parked_keys: AtomicUsize,
    name: String,
    /// Size of the document that was warned of last.
    warned_at: AtomicUsize,
    last_error: Mutex<Option<(Instant, String)>>,
}

impl Work {
    pub(crate) fn new(id: &PartitionId) -> Self {
        Self {
            metrics: WorkMetrics::new(&id.model, id.number),
            parked_keys: AtomicUsize::new(0),
            name: id.to_string(),
            warned_at: AtomicUsize::new(0),
            last_error: Mutex::new(None),
        }
    }

    /// So many events more.
    pub(crate) fn applied(&self, events: usize) {
        self.metrics.events.increment(events as u64);
    }

    /// Changes and checkpoint are stored once more.
    pub(crate) fn saved(&self) {
        self.metrics.saves.increment(1);
    }

    /// The largest document of a save, by its key. A warning is logged when a document reaches 1 MiB, and
    /// again each time that the largest one has doubled.
    pub(crate) fn largest_document(&self, key: &str, bytes: usize) {
        self.metrics.largest_document.set(bytes as f64);
        let warned_at = self.warned_at.load(Ordering::Relaxed);
        if bytes >= WARN_ABOVE.max(warned_at.saturating_mul(2)) {
            self.warned_at.store(bytes, Ordering::Relaxed);
            let model = &self.name;
            warn!(%model, %key, bytes, limit = MAX_DOCUMENT_BYTES, "a document is large: it is copied for every event and written whole; divide it among several keys");
        }
    }

    /// So many keys stand still now.
    pub(crate) fn parked(&self, keys: usize) {
        self.parked_keys.store(keys, Ordering::Relaxed);
    }

    /// Something went wrong, whether it was got over or not.
    pub(crate) fn failed(&self, error: impl Display) {
        let error = Some((Instant::now(), error.to_string()));
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }

    pub(crate) fn parked_keys(&self) -> usize {
        self.parked_keys.load(Ordering::Relaxed)
    }

    pub(crate) fn last_error(&self) -> Option<(Instant, String)> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
