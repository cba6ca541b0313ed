//! Metric of the size of SQLite's write-ahead log.

use metrics::{Gauge, gauge};

use super::WAL_BYTES;

/// Metric handle of one store, created once.
pub(crate) struct WalMetrics(Gauge);

impl WalMetrics {
    pub(crate) fn new() -> Self {
        Self(gauge!(WAL_BYTES.name))
    }

    /// Sets the size in bytes after a commit.
    pub(crate) fn measured(&self, bytes: u64) {
        self.0.set(bytes as f64);
    }
}
