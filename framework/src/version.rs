//! The versions of read models and projections: which one serves, which ones stand beside it.
//!
//! A new version is built beside the one that serves. Which one serves is one row, so a switch is
//! atomic; an old version is kept, and goes on, until it is dropped.

use async_trait::async_trait;

use crate::error::StoreError;

/// A version of a read model or projection, as the store knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// Its number.
    pub number: u32,
    /// How many partitions it has, for ever.
    pub partitions: u32,
    /// Whether reads are answered from it.
    pub is_serving: bool,
}

/// A store of versions.
#[async_trait]
pub trait VersionStore: Send + Sync + 'static {
    /// Makes a version known; the first of a name serves. Answers all of the name, by number; one
    /// that is known stays as it is.
    ///
    /// # Errors
    /// The store did not answer.
    async fn register_version(
        &self,
        name: &str,
        version: u32,
        partitions: u32,
    ) -> Result<Vec<Version>, StoreError>;

    /// All known versions of a name, by number.
    ///
    /// # Errors
    /// The store did not answer.
    async fn versions(&self, name: &str) -> Result<Vec<Version>, StoreError>;

    /// Lets `to` serve in place of `from`; `false` if another one than `from` does, or `to` is not
    /// known. (True as well when `to` serves already.)
    ///
    /// # Errors
    /// The store did not answer.
    async fn serve_version(&self, name: &str, from: u32, to: u32) -> Result<bool, StoreError>;

    /// Deletes a version with all its documents, checkpoints and parked keys; `false` if it serves.
    /// Nothing happens if it is not known. May be called again after an error, and goes on.
    ///
    /// # Errors
    /// The store did not answer; some of it may be deleted, and the version is still known.
    async fn drop_version(&self, name: &str, version: u32) -> Result<bool, StoreError>;
}
