//! A thread for each partition that this process owns, for followers whose code may block.
//!
//! A standby has no thread. The thread ends with the lease session and gives back what it took.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::thread::Builder;

use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tracing::warn;

use super::driver::Driver;
use super::follower::Follower;
use super::lease_session::LeaseSession;
use crate::threads;

/// All that a partition runs with.
type All<F> = Box<(Driver, F)>;

/// All of it again, and whether the partition is owned again later.
type Returned<F> = oneshot::Receiver<(All<F>, ControlFlow<()>)>;

impl Driver {
    /// As [`Driver::run`], with a thread and a runtime for as long as the lease is held.
    pub(crate) async fn run_on_a_thread<F: Follower + Send + 'static>(self, follower: F) {
        let progress = Arc::clone(&self.progress);
        let mut all = Box::new((self, follower));
        loop {
            let (driver, follower) = &mut *all;
            let Some(session) = driver.next_session(follower).await else { return };
            let flow = match own(all, session) {
                Ok(returned) => match returned.await {
                    Ok((returned, flow)) => {
                        all = returned;
                        flow
                    }
                    // The thread panicked outside of the user's code, and the follower is gone.
                    Err(_) => {
                        let position = progress.now().saved.next();
                        return progress.halt(position, "its task panicked".to_owned());
                    }
                },
                Err((returned, session, error)) => {
                    all = returned;
                    warn!(lease = %session.lease().name, %error, "no thread for a partition; trying again");
                    session.release().await;
                    ControlFlow::Continue(())
                }
            };
            if flow.is_break() {
                return;
            }
            all.0.wait().await;
        }
    }
}

/// Owns a partition on a thread.
///
/// # Errors
/// The operating system refused the thread. What was to run is given back.
fn own<F: Follower + Send + 'static>(
    all: All<F>,
    session: LeaseSession,
) -> Result<Returned<F>, (All<F>, Box<LeaseSession>, io::Error)> {
    // A thread that does not start drops its closure, so the closure takes what it needs from here.
    let (hand_over, taken) = std::sync::mpsc::channel::<(All<F>, LeaseSession)>();
    let (give_back, returned) = oneshot::channel();
    let name = format!("actum-{}", session.lease().name);
    let run = move |runtime: Runtime| {
        let Ok((mut all, session)) = taken.recv() else { return };
        let (driver, follower) = &mut *all;
        let flow = runtime.block_on(driver.own(follower, session));
        let _ = give_back.send((all, flow)); // the application is gone
    };
    match threads::start(Builder::new().name(name), run) {
        Ok(_) => {
            let _ = hand_over.send((all, session)); // the thread waits for exactly this
            Ok(returned)
        }
        Err(error) => Err((all, Box::new(session), error)),
    }
}
