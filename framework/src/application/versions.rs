//! The versions of read models and projections: what there is, which one serves, what they differ in.

use std::sync::Arc;

use super::Operations;
use crate::error::OperationError;
use crate::store::contract::{Comparison, Version};
use crate::versions::Switch;

impl Operations<'_> {
    /// The versions of a read model or projection that the store knows, by number, whether this
    /// program has registered the name or not.
    ///
    /// # Errors
    /// The name is not known, or the store did not answer.
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

    /// What the version of this program makes different from the one that serves. Reads all
    /// documents of both. If this program's version serves, returns the comparison that preceded its
    /// switch, as it was stored then.
    ///
    /// # Errors
    /// The name is not registered, or the store did not answer.
    pub async fn compare_versions(&self, name: &str) -> Result<Comparison, OperationError> {
        self.switch(name)?.compare().await
    }

    /// Lets another version serve, in every process within a second: a new one, where
    /// `Settings::switch_by_itself` is off, or an old one, to go back. No read goes back in time.
    ///
    /// # Errors
    /// The version is not known; it has not caught up, and did not within some seconds; or the
    /// store did not answer.
    pub async fn serve_version(&self, name: &str, version: u32) -> Result<(), OperationError> {
        self.switch(name)?.serve(version).await
    }

    /// Deletes a version of a read model or projection, with its documents or tables and what it has
    /// parked. If this program has registered the version, it is stopped first; then it must not
    /// serve. A name that this program has not registered, such as a read model that was removed
    /// from it, may also lose the version that serves.
    ///
    /// # Errors
    /// The version is not known, it serves, or another process runs it. The store did not answer:
    /// call again, and it continues.
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
        for control in controls().filter(|control| control.version() == version) {
            control.flush_and_stop().await;
        }
        match self.app.inner.store.drop_version(name, version).await? {
            true => Ok(()),
            false => Err(OperationError::Serves { name: versioned() }),
        }
    }

    /// Ends the serving of a version that no process runs.
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
