//! The end of a round: append what was decided, then answer, in order.
//!
//! A decision holds only if everything decided before it in the round came out as decided. The
//! first that did not ends that: what follows is decided again on a state freshly loaded.

use std::vec;

use super::decide::{Decided, Decision, Round};
use super::deciding::Deciding;
use super::mailbox::{Answer, Request};
use crate::aggregate::Aggregate;
use crate::command::Committed;
use crate::error::{CommandError, StoreError};
use crate::event_store::{AppendOutcome, Confirmation, NotCommitted};
use crate::stream::{StreamId, StreamVersion, Tip};

/// What is left of a round when it is settled.
pub(crate) struct Settled<A: Aggregate> {
    /// The state in memory is what the log says.
    pub(crate) as_decided: bool,
    /// The end of the stream, if so.
    pub(crate) tip: Tip,
    /// To be decided in the next round, in order.
    pub(crate) again: Vec<Request<A>>,
}

/// Appends and answers.
pub(crate) async fn settle<A: Aggregate>(
    deciding: &Deciding<A>,
    stream: &StreamId,
    round: Round<A>,
) -> Settled<A> {
    let outcomes = match round.appends.is_empty() {
        true => Vec::new(),
        false => deciding.store.append(round.appends).await,
    };
    crate::crash::point("entity.before_reply");
    let mut settling = Settling {
        deciding,
        stream,
        outcomes: outcomes.into_iter(),
        settled: Settled { as_decided: true, tip: round.tip, again: Vec::new() },
    };
    for decided in round.decided {
        settling.settle_one(decided).await;
    }
    settling.settled.again.extend(round.undecided);
    settling.settled
}

struct Settling<'a, A: Aggregate> {
    deciding: &'a Deciding<A>,
    stream: &'a StreamId,
    outcomes: vec::IntoIter<AppendOutcome>,
    settled: Settled<A>,
}

impl<A: Aggregate> Settling<'_, A> {
    async fn settle_one(&mut self, decided: Decided<A>) {
        let Decided { request, decision, at } = decided;
        let stream = self.stream.clone();
        let answer = match decision {
            Decision::Append => return self.appended(request),
            Decision::Panicked(message) => Err(CommandError::Panicked { stream, message }),
            Decision::Unstorable(reason) => Err(CommandError::Unstorable { stream, reason }),
            Decision::Refused(refusal) => Err(CommandError::Refused(refusal)),
            Decision::NotExpected => Err(CommandError::Conflict { stream, actual: at }),
            Decision::Nothing => {
                let Tip { version, position } = self.settled.tip;
                Ok(Committed { version, position, replayed: false })
            }
        };
        match self.settled.as_decided {
            true => self.confirmed(request, answer, at).await,
            false => self.settled.again.push(request),
        }
    }

    /// Answers what stored nothing, once it is certain that no newer state says otherwise.
    async fn confirmed(&mut self, request: Request<A>, answer: Answer<A>, at: StreamVersion) {
        let key = request.options.key.as_ref();
        if key.is_none() && self.deciding.store.is_sole_writer() {
            return request.answer(answer);
        }
        match self.deciding.store.confirm(self.stream, at, key).await {
            Ok(Confirmation::Current) => request.answer(answer),
            Ok(Confirmation::Replayed(committed)) => request.answer(Ok(committed)),
            Ok(Confirmation::KeyReused) => self.key_reused(request),
            Ok(Confirmation::Stale { actual }) => self.conflict(request, actual, true),
            Err(error) => request.answer(Err(CommandError::Unavailable(error))),
        }
    }

    fn appended(&mut self, request: Request<A>) {
        let outcome = self.outcomes.next();
        if let Some(AppendOutcome::Committed(committed @ Committed { replayed: false, .. })) =
            outcome
        {
            let Committed { version, position, .. } = committed;
            self.settled.tip = Tip { version, position };
            return request.answer(Ok(committed));
        }
        // Only the first of a round lost a race; those chained to it just come along.
        let first = std::mem::replace(&mut self.settled.as_decided, false);
        let stream = self.stream.clone();
        match outcome {
            Some(AppendOutcome::Committed(committed)) => request.answer(Ok(committed)),
            Some(AppendOutcome::NotCommitted(NotCommitted::Conflict { actual })) => {
                self.conflict(request, actual, first);
            }
            Some(AppendOutcome::NotCommitted(NotCommitted::KeyReused)) => self.key_reused(request),
            Some(AppendOutcome::NotCommitted(NotCommitted::Invalid(reason))) => {
                request.answer(Err(CommandError::Unstorable { stream, reason }));
            }
            Some(AppendOutcome::NotCommitted(NotCommitted::Unavailable(reason))) => {
                request.answer(Err(CommandError::Unavailable(StoreError::Unavailable(reason))));
            }
            // A store that answers fewer outcomes than it was given appends breaks its contract.
            Some(AppendOutcome::Unknown(_)) | None => request.answer(Err(CommandError::Unknown)),
        }
    }

    fn key_reused(&mut self, request: Request<A>) {
        let id = request.options.key.as_ref().map(|key| key.id.clone()).unwrap_or_default();
        request.answer(Err(CommandError::KeyReused { id }));
    }

    /// Somebody was faster: decide again, but not for ever.
    fn conflict(&mut self, mut request: Request<A>, actual: StreamVersion, counts: bool) {
        self.settled.as_decided = false;
        request.conflicts += u32::from(counts);
        if request.conflicts <= self.deciding.settings.conflict_retries {
            return self.settled.again.push(request);
        }
        let stream = self.stream.clone();
        request.answer(Err(CommandError::Conflict { stream, actual }));
    }
}
