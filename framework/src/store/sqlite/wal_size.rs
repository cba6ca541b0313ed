//! Length of the write-ahead log: measured for status and metrics, with a warning when it grows.
//!
//! SQLite can reuse the log only when nobody reads an older state. Another program that keeps a
//! read transaction open makes it grow without bound, and each commit slower.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use super::open::Opening;
use crate::metrics::WalMetrics;

/// Length from which a warning is logged: four times what the log reaches between two checkpoints.
const LONG: u64 = 128 << 20;

/// The length after the last commit.
pub(super) struct WalSize {
    path: PathBuf,
    /// The next warning is due at this length, so that a growing log does not flood the output.
    warn_at: u64,
    metrics: WalMetrics,
}

impl WalSize {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, warn_at: LONG, metrics: WalMetrics::new() }
    }

    /// Measures the log and warns if it has become long.
    pub(super) fn measure(&mut self, opening: &Opening) {
        let bytes = std::fs::metadata(&self.path).map_or(0, |found| found.len());
        opening.wal_bytes.store(bytes, Ordering::Relaxed);
        self.metrics.measured(bytes);
        if bytes >= self.warn_at {
            self.warn_at = bytes.saturating_mul(2);
            tracing::warn!(
                path = %self.path.display(),
                bytes,
                "the write-ahead log cannot be reused, because another program keeps a read of the \
                 database open: find it (fuser, lsof) and end its transaction"
            );
        } else if bytes < LONG {
            self.warn_at = LONG;
        }
    }
}
