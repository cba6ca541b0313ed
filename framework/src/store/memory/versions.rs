//! Versions of read models in memory.

use async_trait::async_trait;

use super::MemoryStore;
use crate::error::StoreError;
use crate::store::contract::{StoredVersion, Version, VersionNote, VersionStore};

#[async_trait]
impl VersionStore for MemoryStore {
    async fn register_version(
        &self,
        name: &str,
        version: u32,
        partitions: u32,
    ) -> Result<Vec<Version>, StoreError> {
        let mut versions = self.versions();
        versions.register(name, version, partitions);
        Ok(versions.of(name))
    }

    async fn all_versions(&self) -> Result<Vec<StoredVersion>, StoreError> {
        Ok(self.versions().all())
    }

    async fn note_version(
        &self,
        name: &str,
        version: u32,
        note: VersionNote,
        text: &str,
    ) -> Result<(), StoreError> {
        self.versions().write_note(name, version, note, text);
        Ok(())
    }

    async fn version_note(
        &self,
        name: &str,
        version: u32,
        note: VersionNote,
    ) -> Result<Option<String>, StoreError> {
        Ok(self.versions().read_note(name, version, note))
    }

    async fn serve_version(
        &self,
        name: &str,
        from: u32,
        to: Option<u32>,
    ) -> Result<bool, StoreError> {
        Ok(self.versions().serve(name, from, to))
    }

    async fn drop_version(&self, name: &str, version: u32) -> Result<bool, StoreError> {
        // Both locks, in this order: a version that is registered anew must find nothing.
        let (mut versions, mut read_side) = (self.versions(), self.read_side());
        if !versions.remove(name, version) {
            return Ok(false);
        }
        let model = format!("{name}@{version}");
        // Before its rows go, because its owner could otherwise save once more into a version that
        // is gone.
        self.leases.void(&model);
        read_side.forget(&model);
        Ok(true)
    }
}
