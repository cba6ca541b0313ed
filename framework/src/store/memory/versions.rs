//! Versions of read models and projections in the memory store, with the texts beside them.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::MemoryStore;
use crate::error::StoreError;
use crate::store::contract::{StoredVersion, Version, VersionNote, VersionStore};

/// Versions by name and number.
#[derive(Default)]
pub(super) struct Versions(BTreeMap<String, BTreeMap<u32, Known>>);

struct Known {
    version: Version,
    sources: Option<String>,
    comparison: Option<String>,
}

impl Known {
    fn of(version: Version) -> Self {
        Self { version, sources: None, comparison: None }
    }

    fn note(&mut self, note: VersionNote) -> &mut Option<String> {
        match note {
            VersionNote::Sources => &mut self.sources,
            VersionNote::Comparison => &mut self.comparison,
        }
    }
}

impl Versions {
    fn of(&self, name: &str) -> Vec<Version> {
        let versions = self.0.get(name).into_iter().flat_map(BTreeMap::values);
        versions.map(|known| known.version).collect()
    }

    fn find(&mut self, name: &str, version: u32) -> Option<&mut Known> {
        self.0.get_mut(name)?.get_mut(&version)
    }
}

#[async_trait]
impl VersionStore for MemoryStore {
    async fn register_version(
        &self,
        name: &str,
        version: u32,
        partitions: u32,
    ) -> Result<Vec<Version>, StoreError> {
        let mut read_side = self.read_side();
        let versions = read_side.versions.0.entry(name.to_owned()).or_default();
        let is_first = !versions.values().any(|known| known.version.is_serving);
        let (is_serving, has_served) = (is_first, is_first);
        let new = Version { number: version, partitions, is_serving, has_served };
        versions.entry(version).or_insert_with(|| Known::of(new));
        Ok(read_side.versions.of(name))
    }

    async fn all_versions(&self) -> Result<Vec<StoredVersion>, StoreError> {
        let read_side = self.read_side();
        let all = read_side.versions.0.iter().flat_map(|(name, versions)| {
            versions
                .values()
                .map(|known| StoredVersion { name: name.clone(), version: known.version })
        });
        Ok(all.collect())
    }

    async fn note_version(
        &self,
        name: &str,
        version: u32,
        note: VersionNote,
        text: &str,
    ) -> Result<(), StoreError> {
        if let Some(known) = self.read_side().versions.find(name, version) {
            *known.note(note) = Some(text.to_owned());
        }
        Ok(())
    }

    async fn version_note(
        &self,
        name: &str,
        version: u32,
        note: VersionNote,
    ) -> Result<Option<String>, StoreError> {
        let mut read_side = self.read_side();
        Ok(read_side.versions.find(name, version).and_then(|known| known.note(note).clone()))
    }

    async fn serve_version(
        &self,
        name: &str,
        from: u32,
        to: Option<u32>,
    ) -> Result<bool, StoreError> {
        let mut read_side = self.read_side();
        let Some(versions) = read_side.versions.0.get_mut(name) else { return Ok(false) };
        let serves = |number| versions.get(&number).is_some_and(|known| known.version.is_serving);
        let is_known = to.is_none_or(|to| versions.contains_key(&to));
        if to.is_some_and(serves) || !serves(from) || !is_known {
            return Ok(to.is_some_and(serves));
        }
        for Known { version, .. } in versions.values_mut() {
            version.is_serving = Some(version.number) == to;
            version.has_served |= version.is_serving;
        }
        Ok(true)
    }

    async fn drop_version(&self, name: &str, version: u32) -> Result<bool, StoreError> {
        let model = format!("{name}@{version}");
        let mut read_side = self.read_side();
        let versions = read_side.versions.0.entry(name.to_owned()).or_default();
        match versions.get(&version) {
            None => return Ok(true),
            Some(known) if known.version.is_serving => return Ok(false),
            Some(_) => drop(versions.remove(&version)),
        }
        self.leases.void(&model);
        read_side.forget(&model);
        Ok(true)
    }
}
