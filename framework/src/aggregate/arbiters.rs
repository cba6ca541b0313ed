//! The threads on which the actors of an application run.
//!
//! The actix system runs on a thread of the application's own. So an application starts the same
//! way under `#[tokio::main]` and `#[actix_web::main]`, and does not stop when the caller's system
//! stops.

use std::future::Future;
use std::sync::{Mutex, mpsc};
use std::thread::{self, JoinHandle};

use actix::{Arbiter, ArbiterHandle, System};

use crate::error::StartError;

/// The arbiters of one application, and the actix system that they belong to.
pub(crate) struct Arbiters {
    handles: Vec<ArbiterHandle>,
    system: System,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Arbiters {
    /// Starts `count` arbiters (at least one).
    pub(crate) fn start(count: usize) -> Result<Self, StartError> {
        let (started, starting) = mpsc::channel();
        let run = move || {
            let runner = System::new();
            let handles = runner.block_on(async move {
                (0..count.max(1)).map(|_| Arbiter::new().handle()).collect::<Vec<_>>()
            });
            // The receiver waits below. It is only gone if the application was dropped while it
            // started.
            if started.send((handles, System::current())).is_ok() {
                let _ = runner.run();
            }
        };
        let failed = |reason: String| StartError::Thread(reason);
        let thread = thread::Builder::new()
            .name("actum-system".into())
            .spawn(run)
            .map_err(|e| failed(e.to_string()))?;
        let (handles, system) = starting.recv().map_err(|e| failed(e.to_string()))?;
        Ok(Self { handles, system, thread: Mutex::new(Some(thread)) })
    }

    /// Returns the arbiter for this hash, always the same one for the same hash.
    pub(crate) fn of(&self, hash: u64) -> &ArbiterHandle {
        &self.handles[hash as usize % self.handles.len()]
    }

    /// Spawns a future on the arbiter for this hash.
    pub(crate) fn spawn(&self, hash: u64, future: impl Future<Output = ()> + Send + 'static) {
        // `spawn` returns false only if the arbiter has stopped. Then the application has stopped
        // too.
        let _ = self.of(hash).spawn(future);
    }

    /// Stops the threads and waits until they have ended.
    pub(crate) fn stop(&self) {
        self.halt();
        let thread = self.thread.lock().ok().and_then(|mut thread| thread.take());
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }

    /// Stops the threads without waiting for them.
    pub(crate) fn halt(&self) {
        self.system.stop();
    }
}
