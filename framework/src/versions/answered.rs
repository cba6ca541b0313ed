//! Monotonic reads across versions: no switch between two versions of a name goes back in time.
//!
//! The greatest position that one version has returned is the smallest that the other one may
//! return. Within one version this always holds.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use crate::event::GlobalPosition;

/// Greatest positions that were returned by this program's version and by the older one.
pub(crate) struct Answered {
    old_version: u32,
    serving: watch::Receiver<u32>,
    old: AtomicU64,
    own: AtomicU64,
}

impl Answered {
    pub(crate) fn new(old_version: u32, serving: watch::Receiver<u32>) -> Self {
        Self { old_version, serving, old: AtomicU64::new(0), own: AtomicU64::new(0) }
    }

    /// Returns true if the older version is active, and the position that a read with this `after`
    /// must reach.
    pub(crate) fn turn(&self, after: GlobalPosition) -> (bool, GlobalPosition) {
        let serves_old = *self.serving.borrow() == self.old_version;
        let by_the_other = if serves_old { &self.own } else { &self.old };
        (serves_old, after.max(GlobalPosition(by_the_other.load(Ordering::Acquire))))
    }

    /// Returns the position that a read of this program's version with this `after` must reach, if
    /// the older version was dropped while the read waited for it.
    pub(crate) fn after_old(&self, after: GlobalPosition) -> GlobalPosition {
        after.max(GlobalPosition(self.old.load(Ordering::Acquire)))
    }

    /// Records the position of a result.
    pub(crate) fn answered(&self, by_old: bool, position: GlobalPosition) {
        let by = if by_old { &self.old } else { &self.own };
        // The maximum and not the last value, because reads do not end in the order in which they
        // began.
        by.fetch_max(position.0, Ordering::AcqRel);
    }
}
