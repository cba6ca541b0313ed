//! The versions of read models: one row each, one of a name serves.
//!
//! A version with a million documents is dropped in many small transactions, so that no command
//! waits long. It is marked first: from then on it can neither serve nor be built. Its row goes last,
//! when the place of a projection is gone too, so that an interrupted drop can be continued.

use async_trait::async_trait;
use sqlx::Error;
use sqlx::sqlite::SqliteConnection;

use super::SqliteStore;
use super::side_write::SideWrite;
use crate::error::StoreError;
use crate::store::contract::{
    ProjectionStore, StoredVersion, Version, VersionNote, VersionStore, check_projection_name,
};
use crate::store::kit::leases::Leases;

/// Maximum number of rows that one step of dropping a version deletes.
const DROPPED_AT_ONCE: i64 = 1000;

/// A row of a version: name, number, number of partitions, if it serves, if it has served.
type Row = (String, u32, u32, bool, bool);

/// A change of the versions of a name.
#[derive(Debug)]
pub(super) struct VersionChange {
    name: String,
    what: What,
}

#[derive(Debug)]
enum What {
    Register { version: u32, partitions: u32 },
    Serve { from: u32, to: Option<u32> },
    Note { version: u32, note: VersionNote, text: String },
    Drop { version: u32 },
    Forget { version: u32 },
}

/// Carries it out, or a step of it: `true` if it serves now, or if there is more to be dropped.
pub(super) async fn change(
    connection: &mut SqliteConnection,
    leases: &Leases,
    change: &VersionChange,
) -> Result<bool, Error> {
    let name = &*change.name;
    match &change.what {
        What::Register { version, partitions } => {
            register(connection, name, *version, *partitions).await.map(|()| false)
        }
        What::Serve { from, to } => serve(connection, name, *from, *to).await,
        What::Note { version, note, text } => {
            write_note(connection, (name, *version), *note, text).await.map(|()| false)
        }
        What::Drop { version } => drop_some(connection, leases, name, *version).await,
        What::Forget { version } => forget(connection, name, *version).await.map(|()| false),
    }
}

async fn register(
    connection: &mut SqliteConnection,
    name: &str,
    version: u32,
    partitions: u32,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO versions (name, version, partitions, is_serving, has_served)
         SELECT ?1, ?2, ?3, is_first, is_first FROM (
             SELECT NOT EXISTS (SELECT 1 FROM versions WHERE name = ?1 AND is_serving) AS is_first)
         WHERE true ON CONFLICT (name, version) DO NOTHING",
    )
    .bind(name.to_owned())
    .bind(version)
    .bind(partitions)
    .execute(connection)
    .await
    .map(drop)
}

async fn serve(
    connection: &mut SqliteConnection,
    name: &str,
    from: u32,
    to: Option<u32>,
) -> Result<bool, Error> {
    let Some(to) = to else {
        let end = "UPDATE versions SET is_serving = 0 WHERE name = ? AND version = ? AND is_serving
                   RETURNING 1";
        let ended = sqlx::query(end).bind(name.to_owned()).bind(from).fetch_optional(connection);
        return ended.await.map(|ended| ended.is_some());
    };
    let serves =
        "SELECT EXISTS (SELECT 1 FROM versions WHERE name = ? AND version = ? AND is_serving)";
    // Compare-and-set: two operators who switch at once must not leave two active versions, or
    // none. A version that is being dropped never becomes active.
    let has_ended = sqlx::query(
        "UPDATE versions SET is_serving = 0 WHERE name = ?1 AND version = ?2 AND is_serving
         AND EXISTS (SELECT 1 FROM versions WHERE name = ?1 AND version = ?3 AND NOT is_dropping)",
    )
    .bind(name.to_owned())
    .bind(from)
    .bind(to)
    .execute(&mut *connection)
    .await?;
    if has_ended.rows_affected() > 0 {
        sqlx::query(
            "UPDATE versions SET is_serving = 1, has_served = 1 WHERE name = ? AND version = ?",
        )
        .bind(name.to_owned())
        .bind(to)
        .execute(&mut *connection)
        .await?;
    }
    // Also true if it was active before, because a repeated request must have the same result.
    sqlx::query_scalar(serves).bind(name.to_owned()).bind(to).fetch_one(connection).await
}

/// A bounded step; `true` if there is more to do. Nothing is done to a version that serves.
async fn drop_some(
    connection: &mut SqliteConnection,
    leases: &Leases,
    name: &str,
    version: u32,
) -> Result<bool, Error> {
    let marked = sqlx::query(
        "UPDATE versions SET is_dropping = 1 WHERE name = ? AND version = ? AND NOT is_serving",
    );
    let marked =
        marked.bind(name.to_owned()).bind(version).execute(&mut *connection).await?.rows_affected();
    // It is active, or gone. A version may become active while an operator asks to drop it.
    if marked == 0 {
        return Ok(false);
    }
    let model = format!("{name}@{version}");
    // Whoever folds it still finds its lease lost.
    leases.void(&model);
    sqlx::query("DELETE FROM checkpoints WHERE model = ?")
        .bind(model.clone())
        .execute(&mut *connection)
        .await?;
    for delete in [
        "DELETE FROM documents WHERE model = ?1 AND key IN
         (SELECT key FROM documents WHERE model = ?1 LIMIT ?2)",
        "DELETE FROM parked_events WHERE model = ?1 AND (key, position) IN
         (SELECT key, position FROM parked_events WHERE model = ?1 LIMIT ?2)",
        "DELETE FROM parked WHERE model = ?1 AND key IN
         (SELECT key FROM parked WHERE model = ?1 LIMIT ?2)",
        "DELETE FROM skipped WHERE model = ?1 AND (key, position) IN
         (SELECT key, position FROM skipped WHERE model = ?1 LIMIT ?2)",
        "DELETE FROM open_work WHERE model = ?1 AND (partition, id) IN
         (SELECT partition, id FROM open_work WHERE model = ?1 LIMIT ?2)",
    ] {
        let deleting = sqlx::query(delete).bind(model.clone()).bind(DROPPED_AT_ONCE);
        // As many as asked for, so there may be more. Commands get their turn before the next step.
        if deleting.execute(&mut *connection).await?.rows_affected() == DROPPED_AT_ONCE as u64 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The last step: nothing leads to the version any more.
async fn forget(connection: &mut SqliteConnection, name: &str, version: u32) -> Result<(), Error> {
    sqlx::query("DELETE FROM versions WHERE name = ? AND version = ? AND is_dropping")
        .bind(name.to_owned())
        .bind(version)
        .execute(connection)
        .await
        .map(drop)
}

async fn write_note(
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
        VersionNote::Pause => "UPDATE versions SET pause = ? WHERE name = ? AND version = ?",
    };
    let write = sqlx::query(write).bind(text.to_owned()).bind(name.to_owned()).bind(version);
    write.execute(connection).await.map(drop)
}

#[async_trait]
impl VersionStore for SqliteStore {
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
        self.change_version(name, What::Register { version, partitions }).await?;
        self.versions(name).await
    }

    async fn versions(&self, name: &str) -> Result<Vec<Version>, StoreError> {
        let mut reader = self.reader().await?;
        let rows: Result<Vec<(u32, u32, bool, bool)>, Error> = sqlx::query_as(
            "SELECT version, partitions, is_serving, has_served FROM versions WHERE name = ?
             ORDER BY version",
        )
        .bind(name.to_owned())
        .fetch_all(&mut *reader)
        .await;
        let rows = rows.map_err(|e| self.unavailable(&e))?.into_iter();
        let version = |(number, partitions, is_serving, has_served)| Version {
            number,
            partitions,
            is_serving,
            has_served,
        };
        Ok(rows.map(version).collect())
    }

    async fn all_versions(&self) -> Result<Vec<StoredVersion>, StoreError> {
        let mut reader = self.reader().await?;
        let rows: Result<Vec<Row>, Error> = sqlx::query_as(
            "SELECT name, version, partitions, is_serving, has_served FROM versions
             ORDER BY name, version",
        )
        .fetch_all(&mut *reader)
        .await;
        let rows = rows.map_err(|e| self.unavailable(&e))?.into_iter();
        let stored = |(name, number, partitions, is_serving, has_served)| StoredVersion {
            name,
            version: Version { number, partitions, is_serving, has_served },
        };
        Ok(rows.map(stored).collect())
    }

    async fn note_version(
        &self,
        name: &str,
        version: u32,
        note: VersionNote,
        text: &str,
    ) -> Result<(), StoreError> {
        let note = What::Note { version, note, text: text.to_owned() };
        self.change_version(name, note).await.map(drop)
    }

    async fn version_note(
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
            VersionNote::Pause => "SELECT pause FROM versions WHERE name = ? AND version = ?",
        };
        let mut reader = self.reader().await?;
        let read = sqlx::query_scalar(read).bind(name.to_owned()).bind(version);
        let found: Result<Option<Option<String>>, Error> = read.fetch_optional(&mut *reader).await;
        found.map(Option::flatten).map_err(|e| self.unavailable(&e))
    }

    async fn serve_version(
        &self,
        name: &str,
        from: u32,
        to: Option<u32>,
    ) -> Result<bool, StoreError> {
        self.change_version(name, What::Serve { from, to }).await
    }

    async fn drop_version(&self, name: &str, version: u32) -> Result<bool, StoreError> {
        // Each step is a transaction of its own, between which commands are written.
        while self.change_version(name, What::Drop { version }).await? {}
        let versions = self.versions(name).await?;
        match versions.iter().find(|known| known.number == version) {
            None => return Ok(true),
            Some(known) if known.is_serving => return Ok(false),
            Some(_) => {}
        }
        // No projection has another name, and such a name could be a path.
        if check_projection_name(name).is_ok() {
            self.drop_projection(name, version).await?;
        }
        self.change_version(name, What::Forget { version }).await?;
        Ok(true)
    }
}

impl SqliteStore {
    async fn change_version(&self, name: &str, what: What) -> Result<bool, StoreError> {
        let change = VersionChange { name: name.to_owned(), what };
        self.write_beside(SideWrite::Version(change)).await
    }

    async fn is_dropping(&self, name: &str, version: u32) -> Result<bool, StoreError> {
        let mut reader = self.reader().await?;
        let found = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM versions WHERE name = ? AND version = ? AND is_dropping)",
        )
        .bind(name.to_owned())
        .bind(version)
        .fetch_one(&mut *reader)
        .await;
        found.map_err(|e| self.unavailable(&e))
    }
}
