//! Texts beside a version, the versions of all names, and the end of one that no program has.

use sqlx::Row;

use super::PostgresStore;
use super::connections::Purpose;
use crate::error::StoreError;
use crate::store::contract::{StoredVersion, Version, VersionNote};

impl PostgresStore {
    pub(super) async fn end_serving(&self, name: &str, version: u32) -> Result<(), StoreError> {
        let name = name.to_owned();
        let rows = self.connections.rows(Purpose::Documents, move || {
            sqlx::query("UPDATE versions SET is_serving = false WHERE name = $1 AND version = $2")
                .bind(name.clone())
                .bind(i64::from(version))
        });
        rows.await.map(drop).map_err(|fault| fault.not_written(&self.place))
    }

    pub(super) async fn write_note(
        &self,
        name: &str,
        version: u32,
        note: VersionNote,
        text: &str,
    ) -> Result<(), StoreError> {
        let (name, text) = (name.to_owned(), text.to_owned());
        let write = match note {
            VersionNote::Sources => {
                "UPDATE versions SET sources = $3 WHERE name = $1 AND version = $2"
            }
            VersionNote::Comparison => {
                "UPDATE versions SET comparison = $3 WHERE name = $1 AND version = $2"
            }
        };
        let rows = self.connections.rows(Purpose::Documents, move || {
            sqlx::query(write).bind(name.clone()).bind(i64::from(version)).bind(text.clone())
        });
        rows.await.map(drop).map_err(|fault| fault.not_written(&self.place))
    }

    pub(super) async fn read_note(
        &self,
        name: &str,
        version: u32,
        note: VersionNote,
    ) -> Result<Option<String>, StoreError> {
        let name = name.to_owned();
        let read = match note {
            VersionNote::Sources => "SELECT sources FROM versions WHERE name = $1 AND version = $2",
            VersionNote::Comparison => {
                "SELECT comparison FROM versions WHERE name = $1 AND version = $2"
            }
        };
        let rows = self.connections.rows(Purpose::Documents, move || {
            sqlx::query(read).bind(name.clone()).bind(i64::from(version))
        });
        let rows = rows.await.map_err(|fault| self.unavailable(&fault))?;
        Ok(rows.first().and_then(|row| row.get(0)))
    }

    pub(super) async fn read_all_versions(&self) -> Result<Vec<StoredVersion>, StoreError> {
        let rows = self.connections.rows(Purpose::Documents, || {
            sqlx::query(
                "SELECT version, partitions, is_serving, has_served, name, sources
                 FROM versions ORDER BY name, version",
            )
        });
        let rows = rows.await.map_err(|fault| self.unavailable(&fault))?;
        let stored = rows.iter().map(|row| StoredVersion {
            name: row.get(4),
            version: Version {
                number: row.get::<i64, _>(0) as u32,
                partitions: row.get::<i64, _>(1) as u32,
                is_serving: row.get(2),
                has_served: row.get(3),
            },
            sources: row.get(5),
        });
        Ok(stored.collect())
    }
}
