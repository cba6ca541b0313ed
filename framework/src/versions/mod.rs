//! Versions of read models and projections, and the activation of a new version.
//!
//! A new version is built beside the active one. When it has saved everything up to an earlier head
//! of the log, the two versions are compared and the result is logged. Then one row of the store
//! makes the new version active in every process. The old version is kept up to date until it is
//! dropped, so that switching back loses nothing.

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

/// The operations on the versions of one name that an activation needs.
#[async_trait]
pub(crate) trait Candidates: Send + Sync + 'static {
    /// Returns the smallest position that all partitions of a version have saved.
    ///
    /// # Errors
    /// The store is not available.
    async fn saved(&self, version: &Version) -> Result<GlobalPosition, StoreError>;

    /// Compares this program's version with an older one.
    ///
    /// # Errors
    /// The store is not available.
    async fn compare(&self, old: &Version) -> Result<Comparison, StoreError>;
}
