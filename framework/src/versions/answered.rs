//! What two versions of a name have answered, so that no switch between them goes back in time.
//!
//! What the one has answered is the least that the other will. Within one version that holds anyway.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use crate::event::GlobalPosition;

/// The greatest positions that were answered by this program's version and by the one before.
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

    /// Whether the version before answers now, and from which position on, if `after` is asked for.
    pub(crate) fn turn(&self, after: GlobalPosition) -> (bool, GlobalPosition) {
        let serves_old = *self.serving.borrow() == self.old_version;
        let by_the_other = if serves_old { &self.own } else { &self.old };
        (serves_old, after.max(GlobalPosition(by_the_other.load(Ordering::Acquire))))
    }

    /// It answered this.
    pub(crate) fn answered(&self, by_old: bool, position: GlobalPosition) {
        let by = if by_old { &self.old } else { &self.own };
        by.fetch_max(position.0, Ordering::AcqRel);
    }
}
