//! The thread on which the reactions of an application run.
//!
//! Reactions have a thread of their own: the tail and the lease renewals, which run elsewhere, must
//! not wait for their work, nor they for theirs.

use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::error::StartError;
use crate::threads::{self, Task};

/// Timeout of the thread's end for blocking calls, such as name look-ups.
const END_WITHIN: Duration = Duration::from_millis(200);

/// A thread that runs tasks until it is stopped or dropped.
pub(crate) struct Worker {
    running: Mutex<Option<(UnboundedSender<Task>, JoinHandle<()>)>>,
}

impl Worker {
    /// Starts the thread.
    ///
    /// # Errors
    /// [`StartError::Thread`]: the operating system refused it.
    pub(crate) fn start() -> Result<Self, StartError> {
        let failed = |error: std::io::Error| StartError::Thread(error.to_string());
        // Holds a few tasks for each application: one for each reaction, and the census.
        let (tasks, mut given) = unbounded_channel::<Task>();
        let run = move |runtime: Runtime| {
            runtime.block_on(async {
                while let Some(task) = given.recv().await {
                    tokio::spawn(task);
                }
            });
            runtime.shutdown_timeout(END_WITHIN);
        };
        let thread = thread::Builder::new().name("actum-reactions".into());
        let (thread, _) = threads::start(thread, run).map_err(failed)?;
        Ok(Self { running: Mutex::new(Some((tasks, thread))) })
    }

    /// Runs a task on the thread; after [`Worker::stop`] it is dropped instead.
    pub(crate) fn spawn(&self, task: Task) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((tasks, _)) = &*running {
            let _ = tasks.send(task);
        }
    }

    /// Drops the tasks and waits until the thread has ended. This blocks.
    pub(crate) fn stop(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((tasks, thread)) = running {
            drop(tasks);
            let _ = thread.join();
        }
    }
}
