//! Which version of a read model or projection answers, and the switch to a new one.
//!
//! A new version is built beside the one that serves. Once it has saved everything up to a head of
//! the log that was seen before, the two are compared, the comparison is told, and one row of the
//! store makes the new one serve, in every process. The old one goes on until it is dropped, so that
//! a switch back loses nothing.

mod answered;
mod begun;
mod compare;
mod switch;
#[cfg(test)]
mod tests;

use async_trait::async_trait;

pub(crate) use self::answered::Answered;
pub(crate) use self::begun::Beginning;
pub(crate) use self::compare::{Both, Found, PAGE, Pair, Shown, Side, compare};
pub(crate) use self::switch::{Switch, SwitchSettings};

use crate::error::StoreError;
use crate::event::GlobalPosition;
use crate::store::contract::{Comparison, Version};

/// The versions of one name, as a switch must know them.
#[async_trait]
pub(crate) trait Candidates: Send + Sync + 'static {
    /// The least position that all partitions of a version have saved.
    ///
    /// # Errors
    /// The store did not answer.
    async fn saved(&self, version: &Version) -> Result<GlobalPosition, StoreError>;

    /// What the version of this program makes different from an old one.
    ///
    /// # Errors
    /// The store did not answer.
    async fn compare(&self, old: &Version) -> Result<Comparison, StoreError>;
}
