//! Texts beside a version, the versions of all names, and the end of one that no program has.

use sqlx::Error;
use sqlx::sqlite::SqliteConnection;

use super::SqliteStore;
use super::versions::What;
use crate::error::StoreError;
use crate::store::contract::{StoredVersion, Version, VersionNote};

/// A row of a version: name, number, partitions, whether it serves and has served, its sources.
type Row = (String, u32, u32, bool, bool, Option<String>);

pub(super) async fn retire(
    connection: &mut SqliteConnection,
    name: &str,
    version: u32,
) -> Result<(), Error> {
    let retire = "UPDATE versions SET is_serving = 0 WHERE name = ? AND version = ?";
    let retire = sqlx::query(retire).bind(name.to_owned()).bind(version);
    retire.execute(connection).await.map(drop)
}

pub(super) async fn write(
    connection: &mut SqliteConnection,
    (name, version): (&str, u32),
    note: VersionNote,
    text: &str,
) -> Result<(), Error> {
    let write = match note {
        VersionNote::Sources => "UPDATE versions SET sources = ? WHERE name = ? AND version = ?",
        VersionNote::Comparison => {
            "UPDATE versions SET comparison = ? WHERE name = ? AND version = ?"
        }
    };
    let write = sqlx::query(write).bind(text.to_owned()).bind(name.to_owned()).bind(version);
    write.execute(connection).await.map(drop)
}

impl SqliteStore {
    pub(super) async fn end_serving(&self, name: &str, version: u32) -> Result<(), StoreError> {
        self.change_version(name, What::Retire { version }).await.map(drop)
    }

    pub(super) async fn write_note(
        &self,
        name: &str,
        version: u32,
        note: VersionNote,
        text: &str,
    ) -> Result<(), StoreError> {
        let note = What::Note { version, note, text: text.to_owned() };
        self.change_version(name, note).await.map(drop)
    }

    pub(super) async fn read_note(
        &self,
        name: &str,
        version: u32,
        note: VersionNote,
    ) -> Result<Option<String>, StoreError> {
        let read = match note {
            VersionNote::Sources => "SELECT sources FROM versions WHERE name = ? AND version = ?",
            VersionNote::Comparison => {
                "SELECT comparison FROM versions WHERE name = ? AND version = ?"
            }
        };
        let mut reader = self.reader().await?;
        let read = sqlx::query_scalar(read).bind(name.to_owned()).bind(version);
        let found: Result<Option<Option<String>>, Error> = read.fetch_optional(&mut *reader).await;
        found.map(Option::flatten).map_err(|e| self.unavailable(&e))
    }

    pub(super) async fn read_all_versions(&self) -> Result<Vec<StoredVersion>, StoreError> {
        let mut reader = self.reader().await?;
        let rows: Result<Vec<Row>, Error> = sqlx::query_as(
            "SELECT name, version, partitions, is_serving, has_served, sources FROM versions
             ORDER BY name, version",
        )
        .fetch_all(&mut *reader)
        .await;
        let rows = rows.map_err(|e| self.unavailable(&e))?.into_iter();
        let stored = |(name, number, partitions, is_serving, has_served, sources)| StoredVersion {
            name,
            version: Version { number, partitions, is_serving, has_served },
            sources,
        };
        Ok(rows.map(stored).collect())
    }
}
