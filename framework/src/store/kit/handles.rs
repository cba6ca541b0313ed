//! Handles of one store: a mark that stays once there was a second one.
//!
//! An application trusts the state in its memory as long as nothing else can append. A clone of the
//! store's handle can, for instance in a second application of the same process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// One handle of a store. Put it into the store's struct, so that it is cloned with it.
#[derive(Debug, Default)]
pub struct Handle {
    was_cloned: Arc<AtomicBool>,
}

impl Clone for Handle {
    fn clone(&self) -> Self {
        // Before the clone exists, so that nothing can be appended through it unmarked.
        self.was_cloned.store(true, Ordering::SeqCst);
        Self { was_cloned: Arc::clone(&self.was_cloned) }
    }
}

impl Handle {
    /// Checks that this is the only handle there ever was. The clone may be gone by now, but what was
    /// appended through it has stayed.
    pub fn is_only_one(&self) -> bool {
        !self.was_cloned.load(Ordering::SeqCst)
    }
}
