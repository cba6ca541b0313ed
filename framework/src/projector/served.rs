//! Querying a name of which two versions run: the one that serves answers.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use super::ProjectorHandle;
use crate::actor::read_model::ReadModelControl;
use crate::error::{BoxError, ReadError, StoreError};
use crate::projection_store::SqlSnapshot;
use crate::sql::{SqlConnection, SqlError};
use crate::stream::GlobalPosition;
use crate::version::{Comparison, Difference, Version};
use crate::versions::{Answered, Candidates};

/// A projection as queries see it.
pub(crate) struct ServedProjection {
    own: Arc<ProjectorHandle>,
    beside: Option<(Arc<ProjectorHandle>, Answered)>,
}

impl ServedProjection {
    /// There is but one version.
    pub(crate) fn alone(own: Arc<ProjectorHandle>) -> Self {
        Self { own, beside: None }
    }

    /// The version before answers as long as it serves.
    pub(crate) fn beside(
        own: Arc<ProjectorHandle>,
        old: Arc<ProjectorHandle>,
        serving: watch::Receiver<u32>,
    ) -> Self {
        let answered = Answered::new(old.version(), serving);
        Self { own, beside: Some((old, answered)) }
    }

    /// See [`ProjectorHandle::query`].
    pub(crate) async fn query<T>(
        &self,
        after: GlobalPosition,
        within: Duration,
        read: impl AsyncFnOnce(&mut SqlConnection<'_>, GlobalPosition) -> Result<T, BoxError>,
    ) -> Result<T, ReadError> {
        let Some((old, answered)) = &self.beside else {
            return self.own.query(after, within, read).await.map(|(answer, _)| answer);
        };
        let (serves_old, after) = answered.turn(after);
        let serving = if serves_old { old } else { &self.own };
        let (answer, reflects) = serving.query(after, within, read).await?;
        answered.answered(serves_old, reflects);
        Ok(answer)
    }
}

/// The versions of a projection: tables, of which the rows are counted.
pub(crate) struct RowVersions {
    pub(crate) own: Arc<ProjectorHandle>,
    pub(crate) old: Option<Arc<ProjectorHandle>>,
}

impl RowVersions {
    fn find(&self, version: u32) -> Option<&ProjectorHandle> {
        let old = self.old.as_deref().filter(|old| old.version() == version);
        old.or((self.own.version() == version).then_some(&*self.own))
    }
}

#[async_trait]
impl Candidates for RowVersions {
    async fn saved(&self, version: &Version) -> Result<GlobalPosition, StoreError> {
        // What this program does not run is not known to have come anywhere.
        let Some(handle) = self.find(version.number) else { return Ok(GlobalPosition::ZERO) };
        let mut saved = Vec::new();
        for id in &handle.ids {
            let checkpoint = handle.database.load_checkpoint(id).await?;
            saved.push(checkpoint.map_or(GlobalPosition::ZERO, |checkpoint| checkpoint.position));
        }
        Ok(saved.into_iter().min().unwrap_or_default())
    }

    async fn compare(&self, old: &Version) -> Result<Comparison, StoreError> {
        let Some(old) = self.find(old.number) else { return Ok(Comparison::default()) };
        let (olds, news) = (count_rows(old).await?, count_rows(&self.own).await?);
        let mut tables: Vec<_> = olds.iter().chain(&news).map(|(table, _)| table).collect();
        tables.sort_unstable();
        tables.dedup();
        let of = |rows: &[(String, u64)], table: &str| {
            rows.iter().find(|(known, _)| known == table).map(|(_, count)| *count)
        };
        let mut found = Comparison::default();
        for table in tables {
            let (old, new) = (of(&olds, table), of(&news, table));
            found.old_documents += old.unwrap_or(0);
            found.new_documents += new.unwrap_or(0);
            if old == new {
                found.equal += 1;
                continue;
            }
            found.different += 1;
            let rows = |count: Option<u64>| count.map(|count| format!("{count} rows"));
            found.differences.push(Difference {
                key: table.clone(),
                old: rows(old),
                new: rows(new),
            });
        }
        Ok(found)
    }
}

/// The user's tables, and how many rows each has.
async fn count_rows(handle: &ProjectorHandle) -> Result<Vec<(String, u64)>, StoreError> {
    let mut snapshot = handle.database.read().await?;
    let counted = count_in(&mut *snapshot).await;
    snapshot.end().await;
    counted.map_err(|error| StoreError::Unavailable(error.to_string()))
}

async fn count_in(snapshot: &mut dyn SqlSnapshot) -> Result<Vec<(String, u64)>, SqlError> {
    let list = snapshot.tables();
    let mut db = snapshot.connection();
    let mut counts = Vec::new();
    for row in db.rows(list, &[]).await? {
        let table: String = row.get(0)?;
        let count = format!("SELECT count(*) FROM \"{}\"", table.replace('"', "\"\""));
        let rows = db.rows(&count, &[]).await?;
        let count = rows.first().map_or(Ok(0), |row| row.get::<i64>(0))?;
        counts.push((table, count as u64));
    }
    Ok(counts)
}
