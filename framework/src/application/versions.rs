//! Operations on versions of read models and projections: list, compare, activate, drop.

use std::sync::Arc;

use super::Operations;
use crate::error::OperationError;
use crate::store::contract::{Comparison, Version};
use crate::versions::Switch;

impl Operations<'_> {
    /// Returns the versions of a read model or projection in the store, ordered by number, even if
    /// this program has not registered the name.
    ///
    /// # Errors
    /// `Unknown` if no version has this name; `Unavailable` if the store is not available.
    pub async fn versions(&self, name: &str) -> Result<Vec<Version>, OperationError> {
        let unknown = || OperationError::Unknown { name: name.to_owned() };
        if name.contains('\0') {
            return Err(unknown()); // not every database can be asked for it
        }
        let versions = self.app.inner.store.versions(name).await?;
        match versions.is_empty() && !self.app.inner.switches.contains_key(name) {
            true => Err(unknown()),
            false => Ok(versions),
        }
    }

    /// Compares this program's version with the active one by reading all documents of both. If
    /// this program's version is the active one, returns the comparison that was stored before its
    /// activation.
    ///
    /// # Errors
    /// `Unknown` if the name is not registered; `Unavailable` if the store is not available.
    pub async fn compare_versions(&self, name: &str) -> Result<Comparison, OperationError> {
        self.switch(name)?.compare().await
    }

    /// Activates another version, in every process within a second: a new one if
    /// `Settings::switch_by_itself` is off, or an old one to switch back. No read goes back in
    /// time.
    ///
    /// # Errors
    /// `Unknown` if there is no such version; `Behind` if it does not catch up within some seconds:
    /// retry later; `Unavailable` if the store is not available.
    pub async fn serve_version(&self, name: &str, version: u32) -> Result<(), OperationError> {
        self.switch(name)?.serve(version).await
    }

    /// Deletes a version of a read model or projection, with its documents or tables and its parked
    /// keys. If this program has registered the version, it is stopped first; it must not be the
    /// active version. Of a name that this program has not registered, such as a read model that
    /// was removed, the active version can be dropped too.
    ///
    /// # Errors
    /// `Unknown` if there is no such version; `Serves` if it is active; `Running` if another
    /// process runs it; `Unavailable` if the store is not available: call again to continue.
    pub async fn drop_version(&self, name: &str, version: u32) -> Result<(), OperationError> {
        let versioned = || format!("{name}@{version}");
        let known = self.versions(name).await?;
        let known = known.into_iter().find(|known| known.number == version);
        let known = known.ok_or_else(|| OperationError::Unknown { name: versioned() })?;
        let controls = || self.app.inner.read_side.iter().filter(|control| control.name() == name);
        if known.is_serving {
            if controls().next().is_some() {
                return Err(OperationError::Serves { name: versioned() });
            }
            self.retire(name, known).await?;
        }
        // Stopped first, so that it does not write documents while they are deleted.
        for control in controls().filter(|control| control.version() == version) {
            control.flush_and_stop().await;
        }
        match self.app.inner.store.drop_version(name, version).await? {
            true => Ok(()),
            false => Err(OperationError::Serves { name: versioned() }),
        }
    }

    /// Deactivates a version that no process runs.
    async fn retire(&self, name: &str, version: Version) -> Result<(), OperationError> {
        let versioned = format!("{name}@{}", version.number);
        let leases = (0..version.partitions).map(|number| format!("{versioned}/{number}"));
        let holders = self.app.inner.store.holders(&leases.collect::<Vec<_>>()).await?;
        if holders.iter().any(Option::is_some) {
            return Err(OperationError::Running { name: versioned });
        }
        // False if it does not serve by now: then it can be dropped as well.
        self.app.inner.store.serve_version(name, version.number, None).await?;
        Ok(())
    }

    fn switch(&self, name: &str) -> Result<&Arc<Switch>, OperationError> {
        let unknown = || OperationError::Unknown { name: name.to_owned() };
        self.app.inner.switches.get(name).ok_or_else(unknown)
    }
}
