//! The threads that actors live on: the application brings its own.
//!
//! An actix system runs on a thread of ours, so an application starts alike under
//! `#[tokio::main]` and `#[actix_web::main]`, and does not stop when theirs does.

use std::future::Future;
use std::sync::{Mutex, mpsc};
use std::thread::{self, JoinHandle};

use actix::{Arbiter, ArbiterHandle, System};

use crate::error::StartError;

/// The arbiters of one application.
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
            // The receiver waits below; it is gone only if this thread is no longer wanted.
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

    /// The arbiter for everything with this hash.
    pub(crate) fn of(&self, hash: u64) -> &ArbiterHandle {
        &self.handles[hash as usize % self.handles.len()]
    }

    /// Runs a future on the arbiter with this hash.
    pub(crate) fn spawn(&self, hash: u64, future: impl Future<Output = ()> + Send + 'static) {
        // False only when the arbiter has stopped: then nothing of the application runs any more.
        let _ = self.of(hash).spawn(future);
    }

    /// Stops the threads and waits until they have ended, unless called from one of them.
    pub(crate) fn stop(&self) {
        self.halt();
        let thread = self.thread.lock().ok().and_then(|mut thread| thread.take());
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }

    /// Stops the threads and does not wait for them.
    pub(crate) fn halt(&self) {
        self.system.stop();
    }
}
