//! Length of the write-ahead log of a store that keeps its log in a file.

use metrics::{Gauge, gauge};

use super::WAL_BYTES;

/// The handle, made once for each store.
pub(crate) struct WalMetrics(Gauge);

impl WalMetrics {
    pub(crate) fn new() -> Self {
        Self(gauge!(WAL_BYTES.name))
    }

    /// Sets the length after a commit.
    pub(crate) fn measured(&self, bytes: u64) {
        self.0.set(bytes as f64);
    }
}
