//! Querying a name of which two versions run: the one that serves answers.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use super::compare::compare;
use super::handle::ProjectorHandle;
use crate::error::{BoxError, ReadError, StoreError};
use crate::event::GlobalPosition;
use crate::partition::FollowerControl;
use crate::store::contract::sql::SqlConnection;
use crate::store::contract::{Comparison, Version};
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
        // Decided with the position in one step. Otherwise a switch in between could let a read go
        // back in time.
        let (serves_old, after) = answered.turn(after);
        if serves_old {
            match old.reach(after, within).await {
                // It was switched away from and dropped while this read waited for it. (If the
                // application stops, so does the new version.)
                Err(ReadError::Stopping) => {}
                reached => {
                    let (answer, reflects) = old.read(reached?, read).await?;
                    answered.answered(true, reflects);
                    return Ok(answer);
                }
            }
        }
        let after = answered.after_old(after);
        let (answer, reflects) = self.own.query(after, within, read).await?;
        answered.answered(false, reflects);
        Ok(answer)
    }
}

/// The versions of a projection.
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
        match self.find(old.number) {
            Some(old) => compare(old, &self.own).await,
            None => {
                let reason = format!(
                    "this program does not have version {} of the projection: register it with \
                     projection_replacing to compare the two",
                    old.number
                );
                Ok(Comparison { not_compared: Some(reason), ..Comparison::default() })
            }
        }
    }
}
