//! Partitions of whatever follows the log: who owns one, how far it is, which of its keys are parked.
//!
//! Several processes share the partitions of a follower. An [`Assignment`] decides which ones this
//! process should own, an [`Ownership`] holds the lease of one, and [`Progress`] reports its state.

mod assignment;
mod backoff;
mod fair_share;
mod ownership;
pub(crate) mod parking;
mod progress;
mod standings;
#[cfg(test)]
mod tests;
mod work;

use std::future::Future;
use std::pin::Pin;

pub(crate) use self::assignment::{Assignment, AssignmentSettings, Duty, register_version};
pub(crate) use self::backoff::Pause;
pub(crate) use self::ownership::{End, Held, Owned, Ownership, Patience};
pub(crate) use self::progress::{Progress, SharedProgress, State};
pub(crate) use self::standings::{Overall, Standing, Standings};

/// A task handed to whoever runs tasks.
pub(crate) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;
