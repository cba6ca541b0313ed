//! Versions of read models and projections: which one is active, as a table in memory.
//!
//! The table states the rules: one version of a name serves, a switch starts from the version that
//! serves, and that version cannot be removed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::store::contract::{StoredVersion, Version, VersionNote};

/// Versions by name and number, with their notes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Versions(BTreeMap<String, BTreeMap<u32, Known>>);

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Known {
    version: Version,
    sources: Option<String>,
    comparison: Option<String>,
    #[serde(default)]
    pause: Option<String>,
}

impl Known {
    fn note(&mut self, note: VersionNote) -> &mut Option<String> {
        match note {
            VersionNote::Sources => &mut self.sources,
            VersionNote::Comparison => &mut self.comparison,
            VersionNote::Pause => &mut self.pause,
        }
    }
}

impl Versions {
    /// All versions, by name and number.
    pub fn all(&self) -> Vec<StoredVersion> {
        let all = self.0.iter().flat_map(|(name, versions)| {
            let stored =
                |known: &Known| StoredVersion { name: name.clone(), version: known.version };
            versions.values().map(stored)
        });
        all.collect()
    }

    /// Versions of a name, by number.
    pub fn of(&self, name: &str) -> Vec<Version> {
        let versions = self.0.get(name).into_iter().flat_map(BTreeMap::values);
        versions.map(|known| known.version).collect()
    }

    /// Adds a version; it serves if no other one of the name does. A known version stays as it is.
    pub fn register(&mut self, name: &str, number: u32, partitions: u32) {
        let versions = self.0.entry(name.to_owned()).or_default();
        let is_first = !versions.values().any(|known| known.version.is_serving);
        let version = Version { number, partitions, is_serving: is_first, has_served: is_first };
        let new = Known { version, sources: None, comparison: None, pause: None };
        versions.entry(number).or_insert(new);
    }

    /// Lets `to` serve in place of `from`. See
    /// [`VersionStore::serve_version`](crate::store::contract::VersionStore::serve_version).
    pub fn serve(&mut self, name: &str, from: u32, to: Option<u32>) -> bool {
        let Some(versions) = self.0.get_mut(name) else { return false };
        let serves = |number| versions.get(&number).is_some_and(|known| known.version.is_serving);
        let is_known = to.is_none_or(|to| versions.contains_key(&to));
        if to.is_some_and(serves) || !serves(from) || !is_known {
            return to.is_some_and(serves);
        }
        for Known { version, .. } in versions.values_mut() {
            version.is_serving = Some(version.number) == to;
            version.has_served |= version.is_serving;
        }
        true
    }

    /// Stores a note beside a version, if the version is known.
    pub fn write_note(&mut self, name: &str, number: u32, note: VersionNote, text: &str) {
        if let Some(known) = self.find(name, number) {
            *known.note(note) = Some(text.to_owned());
        }
    }

    /// The note of this kind beside a version.
    pub fn read_note(&mut self, name: &str, number: u32, note: VersionNote) -> Option<String> {
        self.find(name, number).and_then(|known| known.note(note).clone())
    }

    /// Removes a version; false if it serves. The caller deletes what belongs to it.
    pub fn remove(&mut self, name: &str, number: u32) -> bool {
        let Some(versions) = self.0.get_mut(name) else { return true };
        // Readers would find nothing if the version that serves went.
        if versions.get(&number).is_some_and(|known| known.version.is_serving) {
            return false;
        }
        versions.remove(&number);
        true
    }

    fn find(&mut self, name: &str, number: u32) -> Option<&mut Known> {
        self.0.get_mut(name)?.get_mut(&number)
    }
}
