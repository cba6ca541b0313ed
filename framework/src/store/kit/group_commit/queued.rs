//! One batch in the making: jobs that share a transaction, and the callers that wait for them.

use tokio::sync::oneshot;

use super::{Batch, Bytes, GivenUp, Job, MAX_BATCH_BYTES, MAX_BATCH_EVENTS, Written};
use crate::error::StoreError;
use crate::store::contract::{AppendOutcome, NotCommitted};

/// Writes that wait for the next transaction, and the callers that wait for its answers.
pub(super) struct Queued<S> {
    pub(super) batch: Batch<S>,
    appenders: Vec<(usize, oneshot::Sender<Vec<AppendOutcome>>)>,
    side_writers: Vec<oneshot::Sender<Result<bool, StoreError>>>,
    events: usize,
    bytes: usize,
    /// Given back when everybody has been answered.
    reserved: Vec<Bytes>,
}

impl<S> Queued<S> {
    pub(super) fn new() -> Self {
        Self {
            batch: Batch { appends: Vec::new(), side_writes: Vec::new() },
            appenders: Vec::new(),
            side_writers: Vec::new(),
            events: 0,
            bytes: 0,
            reserved: Vec::new(),
        }
    }

    /// Returns the reply of a request to close, which ends the batch.
    pub(super) fn take(&mut self, job: Job<S>) -> Option<oneshot::Sender<Result<(), String>>> {
        self.bytes += job.bytes();
        match job {
            Job::Append(appends, reply, bytes) => {
                // The bytes stay reserved until the reply, so that one bound covers what waits and what is written.
                self.reserved.push(bytes);
                self.appenders.push((appends.len(), reply));
                self.events += appends.iter().map(|append| append.events.len()).sum::<usize>();
                self.batch.appends.extend(appends);
            }
            Job::Side(side_write, reply, bytes) => {
                self.reserved.push(bytes);
                self.side_writers.push(reply);
                self.batch.side_writes.push(side_write);
            }
            Job::Close(reply) => return Some(reply),
        }
        None
    }

    pub(super) fn is_empty(&self) -> bool {
        self.appenders.is_empty() && self.side_writers.is_empty()
    }

    /// Checks that the job does not make a batch too large. A job that is too large by itself gets a
    /// batch of its own.
    pub(super) fn has_room_for(&self, job: &Job<S>) -> bool {
        self.bytes.saturating_add(job.bytes()) <= MAX_BATCH_BYTES
    }

    pub(super) fn is_full(&self) -> bool {
        self.events >= MAX_BATCH_EVENTS
            || self.bytes >= MAX_BATCH_BYTES
            || self.batch.appends.len() >= MAX_BATCH_EVENTS
    }

    /// Gives everyone their part of the result. Whoever no longer listens has left: their write
    /// stands all the same.
    pub(super) fn answer(self, result: Result<Written, GivenUp>) {
        let (mut outcomes, mut side_outcomes) = match result {
            Ok(written) => (written.appends.into_iter(), written.side_writes.into_iter()),
            Err(GivenUp { reason, is_in_doubt }) => {
                let appends: usize = self.appenders.iter().map(|(count, _)| count).sum();
                let (outcome, error) = match is_in_doubt {
                    true => (AppendOutcome::Unknown(reason.clone()), StoreError::Unknown(reason)),
                    false => {
                        let refused = NotCommitted::Unavailable(reason.clone());
                        (AppendOutcome::NotCommitted(refused), StoreError::Unavailable(reason))
                    }
                };
                let side = vec![Err(error); self.side_writers.len()];
                (vec![outcome; appends].into_iter(), side.into_iter())
            }
        };
        for (count, reply) in self.appenders {
            let _ = reply.send(outcomes.by_ref().take(count).collect());
        }
        for (reply, outcome) in self.side_writers.into_iter().zip(side_outcomes.by_ref()) {
            let _ = reply.send(outcome);
        }
    }
}
