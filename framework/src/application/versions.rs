//! The versions of read models and projections: what there is, which one serves, what they differ in.

use std::sync::Arc;

use super::Application;
use crate::error::OperationError;
use crate::version::{Comparison, Version};
use crate::versions::Switch;

impl Application {
    /// The versions of a read model or projection that the store knows, by number.
    ///
    /// # Errors
    /// The name is not registered, or the store did not answer.
    pub async fn versions(&self, name: &str) -> Result<Vec<Version>, OperationError> {
        self.switch(name)?;
        Ok(self.inner.store.versions(name).await?)
    }

    /// What the version of this program makes different from the one that serves. Reads all
    /// documents of both.
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

    /// Deletes a version that does not serve, with its documents and what it has parked. Nothing may
    /// run it any more but this application, which then stops it.
    ///
    /// # Errors
    /// It serves, or the store did not answer: ask again, and it goes on.
    pub async fn drop_version(&self, name: &str, version: u32) -> Result<(), OperationError> {
        self.switch(name)?;
        let is_it = |(known, number): (&str, u32)| known == name && number == version;
        let versioned = || format!("{name}@{version}");
        let known = self.inner.store.versions(name).await?;
        if known.iter().any(|known| known.number == version && known.is_serving) {
            return Err(OperationError::Serves { name: versioned() });
        }
        for control in &self.inner.read_side {
            if is_it((control.name(), control.version())) {
                control.flush_and_stop().await;
            }
        }
        match self.inner.store.drop_version(name, version).await? {
            // Of a projection the tables are in a place of their own.
            true => Ok(self.inner.store.drop_projection(name, version).await?),
            false => Err(OperationError::Serves { name: versioned() }),
        }
    }

    fn switch(&self, name: &str) -> Result<&Arc<Switch>, OperationError> {
        let unknown = || OperationError::Unknown { name: name.to_owned() };
        self.inner.switches.get(name).ok_or_else(unknown)
    }
}
