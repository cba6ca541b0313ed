//! The versions of read models: one row each, one of a name serves.
//!
//! A version with a million documents is dropped in many small transactions, so that none runs
//! into the time a statement may take. The first of them makes it unfit to serve. Its row goes last,
//! when the schema of a projection is gone too, so that an interrupted drop can be continued.

use async_trait::async_trait;
use sqlx::Row;

use super::PostgresStore;
use super::connections::{Purpose, Statement};
use crate::error::StoreError;
use crate::store::contract::{
    ProjectionStore, StoredVersion, Version, VersionNote, VersionStore, check_projection_name,
};

/// Maximum number of rows that one step of dropping a version deletes.
const DROPPED_AT_ONCE: i32 = 10_000;

/// In this order: of several first ones, one serves; the others find it and stand beside it.
const REGISTER: [&str; 2] = [
    "INSERT INTO versions (name, version, partitions, is_serving, has_served)
     VALUES ($1, $2, $3, true, true) ON CONFLICT DO NOTHING",
    "INSERT INTO versions (name, version, partitions, is_serving, has_served)
     VALUES ($1, $2, $3, false, false) ON CONFLICT DO NOTHING",
];

impl PostgresStore {
    /// The boolean that a statement answers.
    async fn ask(
        &self,
        statement: impl Fn() -> Statement + Send + 'static,
    ) -> Result<bool, StoreError> {
        let row = self.connections.row(Purpose::Documents, statement).await;
        row.map(|row| row.get(0)).map_err(|fault| fault.not_written(&self.place))
    }

    async fn is_dropping(&self, name: &str, version: u32) -> Result<bool, StoreError> {
        let asked = name.to_owned();
        let is_dropping = self.ask(move || {
            sqlx::query(
                "SELECT EXISTS (SELECT FROM versions
                                WHERE name = $1 AND version = $2 AND is_dropping)",
            )
            .bind(asked.clone())
            .bind(i64::from(version))
        });
        is_dropping.await
    }
}

#[async_trait]
impl VersionStore for PostgresStore {
    async fn register_version(
        &self,
        name: &str,
        version: u32,
        partitions: u32,
    ) -> Result<Vec<Version>, StoreError> {
        // One whose dropping was interrupted must not be found half full.
        if self.is_dropping(name, version).await? {
            self.drop_version(name, version).await?;
        }
        for register in REGISTER {
            let asked = name.to_owned();
            let registered = self.connections.rows(Purpose::Documents, move || {
                sqlx::query(register)
                    .bind(asked.clone())
                    .bind(i64::from(version))
                    .bind(i64::from(partitions))
            });
            registered.await.map_err(|fault| fault.not_written(&self.place))?;
        }
        self.versions(name).await
    }

    async fn versions(&self, name: &str) -> Result<Vec<Version>, StoreError> {
        let asked = name.to_owned();
        let rows = self.connections.rows(Purpose::Documents, move || {
            sqlx::query(
                "SELECT version, partitions, is_serving, has_served FROM versions
                 WHERE name = $1 ORDER BY version",
            )
            .bind(asked.clone())
        });
        let rows = rows.await.map_err(|fault| self.unavailable(&fault))?;
        let versions = rows.iter().map(|row| Version {
            number: row.get::<i64, _>(0) as u32,
            partitions: row.get::<i64, _>(1) as u32,
            is_serving: row.get(2),
            has_served: row.get(3),
        });
        Ok(versions.collect())
    }

    async fn all_versions(&self) -> Result<Vec<StoredVersion>, StoreError> {
        let rows = self.connections.rows(Purpose::Documents, || {
            sqlx::query(
                "SELECT version, partitions, is_serving, has_served, name
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
        });
        Ok(stored.collect())
    }

    async fn note_version(
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
            VersionNote::Pause => "UPDATE versions SET pause = $3 WHERE name = $1 AND version = $2",
        };
        let rows = self.connections.rows(Purpose::Documents, move || {
            sqlx::query(write).bind(name.clone()).bind(i64::from(version)).bind(text.clone())
        });
        rows.await.map(drop).map_err(|fault| fault.not_written(&self.place))
    }

    async fn version_note(
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
            VersionNote::Pause => "SELECT pause FROM versions WHERE name = $1 AND version = $2",
        };
        let rows = self.connections.rows(Purpose::Documents, move || {
            sqlx::query(read).bind(name.clone()).bind(i64::from(version))
        });
        let rows = rows.await.map_err(|fault| self.unavailable(&fault))?;
        Ok(rows.first().and_then(|row| row.get(0)))
    }

    async fn serve_version(
        &self,
        name: &str,
        from: u32,
        to: Option<u32>,
    ) -> Result<bool, StoreError> {
        let name = name.to_owned();
        let serves = self.ask(move || match to {
            Some(to) => sqlx::query("SELECT serve_version($1, $2, $3)")
                .bind(name.clone())
                .bind(i64::from(from))
                .bind(i64::from(to)),
            None => sqlx::query(
                "WITH ended AS (UPDATE versions SET is_serving = false
                                WHERE name = $1 AND version = $2 AND is_serving
                                RETURNING name)
                 SELECT EXISTS (SELECT FROM ended)",
            )
            .bind(name.clone())
            .bind(i64::from(from)),
        });
        serves.await
    }

    async fn drop_version(&self, name: &str, version: u32) -> Result<bool, StoreError> {
        loop {
            let asked = name.to_owned();
            let is_more = self.ask(move || {
                sqlx::query("SELECT drop_version($1, $2, $3)")
                    .bind(asked.clone())
                    .bind(i64::from(version))
                    .bind(DROPPED_AT_ONCE)
            });
            if !is_more.await? {
                break;
            }
        }
        let versions = self.versions(name).await?;
        match versions.iter().find(|known| known.number == version) {
            None => return Ok(true),
            Some(known) if known.is_serving => return Ok(false),
            Some(_) => {}
        }
        // No projection has another name, and none of its characters means anything in SQL.
        if check_projection_name(name).is_ok() {
            self.drop_projection(name, version).await?;
        }
        let asked = name.to_owned();
        let forgotten = self.connections.rows(Purpose::Documents, move || {
            sqlx::query("DELETE FROM versions WHERE name = $1 AND version = $2 AND is_dropping")
                .bind(asked.clone())
                .bind(i64::from(version))
        });
        forgotten.await.map_err(|fault| fault.not_written(&self.place))?;
        Ok(true)
    }
}
