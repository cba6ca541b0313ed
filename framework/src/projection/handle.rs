//! What others hold of a running projection: ask it, watch it, stop it.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tracing::warn;

use super::start::ProjectorSettings;
use super::{ComparedRows, Projection};
use crate::partition::{Assignment, Progress, Standings, State};
use crate::read_model::ReadModelControl;
use crate::store::contract::{CheckpointStore, Filter, PartitionId, ProjectionDatabase};

/// A running projection.
pub(crate) struct ProjectorHandle {
    pub(super) name: &'static str,
    version: u32,
    pub(super) ids: Vec<PartitionId>,
    pub(super) database: Arc<dyn ProjectionDatabase>,
    pub(super) standings: Arc<Standings>,
    /// Its partitions stop when it goes.
    stop: watch::Sender<bool>,
    assignment: Assignment,
    filter: Filter,
    pub(super) settings: ProjectorSettings,
    pub(super) compared: &'static [ComparedRows],
}

impl ProjectorHandle {
    pub(super) fn new<P: Projection>(
        ids: Vec<PartitionId>,
        database: Arc<dyn ProjectionDatabase>,
        standings: Arc<Standings>,
        (stop, assignment): (watch::Sender<bool>, Assignment),
        settings: ProjectorSettings,
    ) -> Self {
        let types = P::sources().routes.aggregate_types().map(str::to_owned).collect();
        let filter = Filter { aggregate_types: types };
        let (name, version, compared) = (P::NAME, P::VERSION, P::compared());
        Self {
            name,
            version,
            ids,
            database,
            standings,
            stop,
            assignment,
            filter,
            settings,
            compared,
        }
    }

    async fn stopped(&self) {
        for mut standing in self.standings.watch() {
            let has_ended = |state: &State| matches!(state, State::Stopped | State::Halted { .. });
            // An error says that it is gone, which is as good.
            let _ = standing.wait_for(|standing| has_ended(&standing.state)).await;
        }
    }
}

#[async_trait]
impl ReadModelControl for ProjectorHandle {
    fn name(&self) -> &'static str {
        self.name
    }

    fn version(&self) -> u32 {
        self.version
    }

    fn filter(&self) -> &Filter {
        &self.filter
    }

    fn checkpoints(&self) -> Option<&dyn CheckpointStore> {
        Some(&*self.database)
    }

    fn partitions(&self) -> Vec<Progress> {
        self.standings.each()
    }

    async fn flush_and_stop(&self) {
        self.stop.send_replace(true);
        let deadline = Instant::now() + self.settings.stop_within;
        let _ = timeout_at(deadline, self.assignment.leave()).await; // else the others learn of it later
        if timeout_at(deadline, self.stopped()).await.is_err() {
            let saved = self.standings.overall().saved;
            warn!(projection = self.name, %saved, "its code still runs; what is under way comes to nothing");
        }
    }
}
