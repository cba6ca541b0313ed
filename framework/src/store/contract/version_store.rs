//! The versions of read models and projections, and which of them is active.
//!
//! A new version is built beside the active one. One row names the active version, so a switch is
//! atomic. An old version is kept up to date until it is dropped.

use std::fmt;

use async_trait::async_trait;
use time::OffsetDateTime;
use time::serde::rfc3339;

use crate::error::StoreError;

/// A version of a read model or projection, as the store knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Version {
    /// Number of the version.
    pub number: u32,
    /// Number of partitions, which never changes.
    pub partitions: u32,
    /// True if reads are answered from it.
    pub is_serving: bool,
    /// True if it serves or once did. A version that was switched away from does not return by
    /// itself.
    pub has_served: bool,
}

/// A version of any name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredVersion {
    /// Name of the read model or projection.
    pub name: String,
    /// The version.
    pub version: Version,
}

/// Kind of a text that is stored beside a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionNote {
    /// Fingerprint of the sources and keys that it was begun with.
    Sources,
    /// The comparison with the version that served before it, as JSON.
    Comparison,
    /// The pause of the version as JSON, see [`Pause`](super::Pause); an empty text once it is resumed.
    Pause,
}

/// Comparison of a new version with the one that serves. For read models it compares documents, and
/// for projections the rows they name; otherwise it counts the rows of their tables.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct Comparison {
    /// Number of the old version.
    pub old_version: u32,
    /// Number of the new version.
    pub new_version: u32,
    /// Time of the comparison, in UTC.
    #[serde(with = "rfc3339::option")]
    pub compared_at: Option<OffsetDateTime>,
    /// Number of documents or rows of the old version.
    pub old_documents: u64,
    /// Number of documents or rows of the new version.
    pub new_documents: u64,
    /// Number of documents or rows that are equal in both, or of tables with as many rows.
    pub equal: u64,
    /// Number of those that differ, are only in one version, or changed all the time during the
    /// comparison.
    pub different: u64,
    /// Some of those.
    pub differences: Vec<Difference>,
    /// The reason why the versions could not be compared, if they could not. All counts are then 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_compared: Option<String>,
}

/// One key, row or table in both versions.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub struct Difference {
    /// The key, the table and key of the row, or the table.
    pub key: String,
    /// In the old version, if it is there, as the new one shows it.
    pub old: Option<String>,
    /// In the new version, if it is there.
    pub new: Option<String>,
}

impl Comparison {
    /// Share of the documents or rows that differ, from 0 to 1; 1 if nothing could be compared.
    pub fn different_share(&self) -> f64 {
        match self.equal + self.different {
            _ if self.not_compared.is_some() => 1.0,
            0 => 0.0,
            all => self.different as f64 / all as f64,
        }
    }
}

impl fmt::Display for Comparison {
    /// Writes one line of counts, and one for each of the differences.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(reason) = &self.not_compared {
            return write!(f, "not compared: {reason}");
        }
        let Self { old_documents, new_documents, equal, different, differences, .. } = self;
        write!(
            f,
            "old: {old_documents}, new: {new_documents}, {equal} equal, {different} different"
        )?;
        let side = |text: &Option<String>| text.clone().unwrap_or_else(|| "nothing".to_owned());
        for Difference { key, old, new } in differences {
            write!(f, "\n  {key:?}: old {}, new {}", side(old), side(new))?;
        }
        Ok(())
    }
}

/// A store of versions.
#[async_trait]
pub trait VersionStore: Send + Sync + 'static {
    /// Registers a version; the first version of a name becomes active. Returns all versions of the
    /// name, ordered by number. A version that is registered already does not change.
    ///
    /// # Errors
    /// The store is not available.
    async fn register_version(
        &self,
        name: &str,
        version: u32,
        partitions: u32,
    ) -> Result<Vec<Version>, StoreError>;

    /// All known versions of all names, by name and number.
    ///
    /// # Errors
    /// The store is not available.
    async fn all_versions(&self) -> Result<Vec<StoredVersion>, StoreError>;

    /// All known versions of a name, by number. By default they are picked from
    /// [`VersionStore::all_versions`], of which there are few.
    ///
    /// # Errors
    /// The store is not available.
    async fn versions(&self, name: &str) -> Result<Vec<Version>, StoreError> {
        // A switch looks once a second while two versions exist, and there are a few rows in all.
        let all = self.all_versions().await?.into_iter();
        Ok(all.filter(|stored| stored.name == name).map(|stored| stored.version).collect())
    }

    /// Stores a text beside a version, in place of the earlier one of this kind. Does nothing if the
    /// version is not known.
    ///
    /// # Errors
    /// The store is not available.
    async fn note_version(
        &self,
        name: &str,
        version: u32,
        note: VersionNote,
        text: &str,
    ) -> Result<(), StoreError>;

    /// The text of this kind that is stored beside a version, if there is one.
    ///
    /// # Errors
    /// The store is not available.
    async fn version_note(
        &self,
        name: &str,
        version: u32,
        note: VersionNote,
    ) -> Result<Option<String>, StoreError>;

    /// Lets `to` serve in place of `from`. Returns false and changes nothing if another version than
    /// `from` serves, or if `to` is not known. Returns true as well if `to` serves already.
    ///
    /// If `to` is `None`, no version serves afterwards. This ends a name that no program has any
    /// more, so that its last version can be dropped.
    ///
    /// # Errors
    /// The store is not available.
    async fn serve_version(
        &self,
        name: &str,
        from: u32,
        to: Option<u32>,
    ) -> Result<bool, StoreError>;

    /// Deletes a version with all its documents, checkpoints and parked keys, and then with the place
    /// of a projection, if the store has one; `false` if it serves. Nothing happens if it is not
    /// known. The version is known until all of it is deleted, so that a call after an error goes
    /// on; a version that is registered meanwhile begins anew.
    ///
    /// # Errors
    /// The store is not available; some of it may be deleted, and the version is still known.
    async fn drop_version(&self, name: &str, version: u32) -> Result<bool, StoreError>;
}
