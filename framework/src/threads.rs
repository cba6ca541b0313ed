//! Threads with their own tokio runtime.
//!
//! A thread may fail to start at any time, for example at the user's process limit. Its runtime is
//! then shut down in the background, because dropping a runtime in an async task panics.

use std::io;
use std::pin::Pin;
use std::sync::mpsc;
use std::thread::{Builder, JoinHandle};

use tokio::runtime::{self, Handle, Runtime};

/// A task handed to whoever runs tasks.
pub(crate) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Starts a thread that calls `run` with a single-threaded runtime. Returns the thread and a handle
/// to the runtime.
///
/// # Errors
/// The operating system refused to create the runtime or the thread. `run` is dropped.
pub(crate) fn start(
    thread: Builder,
    run: impl FnOnce(Runtime) + Send + 'static,
) -> io::Result<(JoinHandle<()>, Handle)> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    // If the thread does not start, its closure is dropped here. So the runtime must not be in the
    // closure.
    let (hand_over, taken) = mpsc::channel();
    let started = thread.spawn(move || {
        if let Ok(runtime) = taken.recv() {
            run(runtime);
        }
    });
    match started {
        Ok(thread) => {
            let _ = hand_over.send(runtime); // the thread waits for it
            Ok((thread, handle))
        }
        Err(error) => {
            runtime.shutdown_background();
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_thread_that_is_refused_is_an_error_and_no_panic() {
        // No address space has room for this stack.
        let refused = start(Builder::new().stack_size(1 << 60), |_| panic!("it started"));
        assert!(refused.is_err());
        let (ended, end) = tokio::sync::oneshot::channel();
        let run = |runtime: Runtime| runtime.block_on(async { ended.send(7).unwrap() });
        let (thread, _) = start(Builder::new(), run).unwrap();
        assert_eq!(end.await, Ok(7));
        thread.join().unwrap();
    }
}
