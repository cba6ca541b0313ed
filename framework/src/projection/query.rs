//! Reading the rows of a projection, at or after a position.

use std::cmp::max;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use super::handle::ProjectorHandle;
use crate::error::{BoxError, ReadError, StoreError};
use crate::event::GlobalPosition;
use crate::partition::{FollowerControl, Progress, State, overall};
use crate::store::contract::SqlSnapshot;
use crate::store::contract::sql::SqlConnection;

/// A snapshot of the rows, and the position that it reflects.
type Reached = (Box<dyn SqlSnapshot>, GlobalPosition);

impl ProjectorHandle {
    /// Runs a read of the rows as soon as they reflect a position, and never before the head that
    /// the log had at start; waits at most `within` for that. Answers what they reflected too.
    ///
    /// # Errors
    /// [`ReadError`]
    pub(crate) async fn query<T>(
        &self,
        after: GlobalPosition,
        within: Duration,
        read: impl AsyncFnOnce(&mut SqlConnection<'_>, GlobalPosition) -> Result<T, BoxError>,
    ) -> Result<(T, GlobalPosition), ReadError> {
        let reached = self.reach(after, within).await?;
        self.read(reached, read).await
    }

    /// Waits for a snapshot for [`ProjectorHandle::read`], as [`ProjectorHandle::query`] does.
    ///
    /// # Errors
    /// Those of [`ProjectorHandle::query`].
    pub(super) async fn reach(
        &self,
        after: GlobalPosition,
        within: Duration,
    ) -> Result<Reached, ReadError> {
        let heads = self.followers.progress.iter().map(|partition| partition.now().head_at_start);
        self.reached(max(after, heads.max().unwrap_or_default()), within).await
    }

    /// Runs a read on a snapshot.
    ///
    /// # Errors
    /// [`ReadError::Failed`]: the read failed.
    pub(super) async fn read<T>(
        &self,
        (mut snapshot, reflects): Reached,
        read: impl AsyncFnOnce(&mut SqlConnection<'_>, GlobalPosition) -> Result<T, BoxError>,
    ) -> Result<(T, GlobalPosition), ReadError> {
        let answer = read(&mut snapshot.connection(), reflects).await;
        snapshot.end().await;
        let answer = answer.map(|answer| (answer, reflects));
        answer.map_err(|error| ReadError::Failed { model: self.name(), reason: error.to_string() })
    }

    /// A snapshot that reflects at least `wanted`, and what it does reflect.
    async fn reached(
        &self,
        wanted: GlobalPosition,
        within: Duration,
    ) -> Result<Reached, ReadError> {
        let deadline = Instant::now() + within;
        let (mut reached, mut has_looked) = (GlobalPosition::ZERO, false);
        let partitions = &self.followers.progress;
        let mut watched: Vec<_> = partitions.iter().map(|partition| partition.watch()).collect();
        loop {
            let Progress { saved, is_owner, state, pause, .. } = overall(partitions);
            // An owner knows in memory what it has saved, so it opens no snapshot for rows that
            // cannot be there yet.
            if !is_owner || saved >= wanted {
                match timeout_at(deadline, self.snapshot()).await {
                    Ok(looked) => {
                        let (snapshot, reflects) = looked?;
                        if reflects >= wanted {
                            return Ok((snapshot, reflects));
                        }
                        (reached, has_looked) = (reflects, true);
                        snapshot.end().await;
                    }
                    // The wait is over. Only the first look says anything about the database.
                    Err(_) if has_looked => {}
                    Err(_) => {
                        let late = format!("no answer within {within:?}");
                        return Err(StoreError::Unavailable(late).into());
                    }
                }
            }
            match state {
                State::Halted { position, reason } => {
                    return Err(ReadError::Halted { model: self.name(), position, reason });
                }
                State::Stopped => return Err(ReadError::Stopping),
                State::CatchingUp | State::Live => {}
            }
            if Instant::now() >= deadline {
                let reached = max(reached, overall(partitions).saved);
                let (model, waited) = (self.name(), within);
                let paused = pause.map(|pause| pause.to_string());
                return Err(ReadError::NotYet { model, wanted, reached, waited, paused });
            }
            // In every round, because another process may have become the owner meanwhile.
            partitions.iter().for_each(|partition| partition.want(wanted));
            // Whatever has come, or nothing: the next round looks again.
            let _ = timeout_at(deadline, self.moved(&mut watched)).await;
        }
    }

    async fn snapshot(&self) -> Result<Reached, StoreError> {
        let mut snapshot = self.database.read().await?;
        let checkpoints = snapshot.checkpoints(&self.ids).await?;
        // The lowest of all partitions: rows of every partition reflect at least that.
        let positions = checkpoints.iter().map(|saved| saved.map(|saved| saved.position));
        let reflects = positions.map(Option::unwrap_or_default).min().unwrap_or_default();
        Ok((snapshot, reflects))
    }

    /// Until a partition has moved, or it is time to look anyway.
    async fn moved(&self, watched: &mut [watch::Receiver<Progress>]) {
        let changed = watched.iter_mut().map(|standing| Box::pin(standing.changed()));
        let mut changed: Vec<_> = changed.collect();
        let any = poll_fn(|context| {
            match changed.iter_mut().any(|changed| changed.as_mut().poll(context).is_ready()) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        });
        tokio::select! {
            () = any => {}
            () = sleep(self.look_every) => {}
        }
    }
}
