//! Connections that are lent for a whole transaction: at most so many, and given back only whole.
//!
//! One that is dropped instead of given back is closed, with all that was under way on it. So
//! whoever gives up anywhere, a caller that is cancelled included, leaves nothing half done behind.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The connections of one kind.
pub(crate) struct Lender<C> {
    permits: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<C>>>,
}

/// The right to one connection.
pub(crate) struct Permit<C> {
    idle: Arc<Mutex<Vec<C>>>,
    permit: OwnedSemaphorePermit,
}

/// A connection on loan.
pub(crate) struct Lent<C> {
    connection: C,
    from: Permit<C>,
}

/// Clones lend the same connections.
impl<C> Clone for Lender<C> {
    fn clone(&self) -> Self {
        Self { permits: Arc::clone(&self.permits), idle: Arc::clone(&self.idle) }
    }
}

impl<C> Lender<C> {
    pub(crate) fn new(most: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(most)), idle: Arc::default() }
    }

    /// Takes all connections back, to be closed, and lends none while the guard lives: waits for
    /// those that are lent.
    #[allow(dead_code, reason = "connections to a server close themselves")]
    pub(crate) async fn take_all(&self, most: u32) -> (Vec<C>, OwnedSemaphorePermit) {
        let permits = Arc::clone(&self.permits).acquire_many_owned(most).await;
        // The semaphore is never closed: this file holds it and does not.
        let permits = permits.expect("an open semaphore");
        (with(&self.idle, std::mem::take), permits)
    }

    /// Waits until fewer than the most are lent.
    pub(crate) async fn permit(&self) -> Permit<C> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        // The semaphore is never closed: this file holds it and does not.
        let permit = permit.expect("an open semaphore");
        Permit { idle: Arc::clone(&self.idle), permit }
    }
}

impl<C> Permit<C> {
    /// Lends one that is idle, if there is one.
    pub(crate) fn idle(self) -> Result<Lent<C>, Self> {
        match with(&self.idle, Vec::pop) {
            Some(connection) => Ok(Lent { connection, from: self }),
            None => Err(self),
        }
    }

    /// Lends this new one.
    pub(crate) fn lend(self, connection: C) -> Lent<C> {
        Lent { connection, from: self }
    }
}

impl<C> Lent<C> {
    /// Returns the connection to its pool. It must be whole and outside of a transaction.
    pub(crate) fn give_back(self) {
        let Self { connection, from } = self;
        with(&from.idle, |idle| idle.push(connection));
        drop(from.permit); // after it is idle, so that who waited finds it
    }
}

impl<C> Deref for Lent<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.connection
    }
}

impl<C> DerefMut for Lent<C> {
    fn deref_mut(&mut self) -> &mut C {
        &mut self.connection
    }
}

/// Nothing under the lock can panic, so a poisoned one is whole.
fn with<C, T>(idle: &Mutex<Vec<C>>, act: impl FnOnce(&mut Vec<C>) -> T) -> T {
    act(&mut idle.lock().unwrap_or_else(PoisonError::into_inner))
}
