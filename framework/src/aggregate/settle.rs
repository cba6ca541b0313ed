//! The end of a round: appends its decisions and replies to its requests in order.
//!
//! A decision is valid only if every decision before it in the round was committed as decided.
//! After the first one that was not, the rest are decided again on the newer state. A decision that
//! stored nothing is returned only when the log confirms the version on which it was made.

use std::vec;

use tracing::Instrument;

use super::Aggregate;
use super::decide::{Decided, Decision, Round};
use super::deciding::Deciding;
use super::mailbox::{Answer, Reply, Request};
use crate::catch_panic::Isolated;
use crate::command::Committed;
use crate::error::{CommandError, StoreError};
use crate::event::{StreamId, StreamVersion, Tip};
use crate::spans;
use crate::store::contract::{AppendOutcome, Confirmation, NotCommitted};

/// State in memory after a round, from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    /// Everything was committed as decided, and nothing else.
    AsDecided,
    /// Correct up to the tip before the round. The log may have newer events.
    Behind,
    /// Possibly wrong: the log contradicts it, the outcome is unknown, or user code panicked.
    InDoubt,
}

/// Result of a settled round.
pub(crate) struct Settled<A: Aggregate> {
    pub(crate) standing: Standing,
    /// End of the stream, if the round was committed as decided.
    pub(crate) tip: Tip,
    /// Requests for the next round, in order.
    pub(crate) again: Vec<Request<A>>,
    /// Latest version of the stream that the store reported with a conflict.
    pub(crate) seen: Option<StreamVersion>,
}

/// Appends the round and replies to its requests.
pub(crate) async fn settle<A: Aggregate>(
    deciding: &Deciding<A>,
    stream: &StreamId,
    round: Round<A>,
) -> Settled<A> {
    let outcomes = match round.appends.is_empty() {
        true => Vec::new(),
        false => {
            let commands = round.decided.iter().map(|decided| &decided.request.span);
            let span = spans::append(commands, round.appends.len());
            deciding.store.append(round.appends).instrument(span).await
        }
    };
    crate::failpoints::point("entity.before_reply");
    let mut settling = Settling {
        deciding,
        stream,
        vouched: matches!(outcomes.first(), Some(AppendOutcome::Committed(c)) if !c.replayed),
        confirmed: None,
        outcomes: outcomes.into_iter(),
        replies: Vec::new(),
        settled: Settled {
            standing: Standing::AsDecided,
            tip: round.tip,
            again: Vec::new(),
            seen: None,
        },
    };
    for decided in round.decided {
        settling.settle_one(decided).await;
    }
    send(&mut settling.replies);
    if round.broken {
        settling.is(Standing::InDoubt);
    }
    settling.settled.again.extend(round.undecided);
    settling.settled
}

struct Settling<'a, A: Aggregate> {
    deciding: &'a Deciding<A>,
    stream: &'a StreamId,
    /// True if the first append of the round was stored. Then the log was at the version where the
    /// round began, after all commands of the round had arrived. So the decisions that stored
    /// nothing need no confirmation. See `docs/decisions.md`, "Why one append for each command, and
    /// not one for a whole round of a hot aggregate?"
    vouched: bool,
    /// Confirmation of the version at which the round began, once requested.
    confirmed: Option<Result<Confirmation, StoreError>>,
    outcomes: vec::IntoIter<AppendOutcome>,
    /// Replies that are sent together. If they were sent one by one, the callers' threads would go
    /// to sleep and be woken again for each reply.
    replies: Vec<Reply<A>>,
    settled: Settled<A>,
}

impl<A: Aggregate> Settling<'_, A> {
    async fn settle_one(&mut self, decided: Decided<A>) {
        let Decided { request, decision, at } = decided;
        let stream = self.stream.clone();
        let answer = match decision {
            Decision::Append(to) => return self.appended(request, at, to),
            Decision::Panicked(message) => Err(CommandError::Panicked { stream, message }),
            Decision::Unstorable(reason) => Err(CommandError::Unstorable { stream, reason }),
            Decision::Refused(refusal) => Err(CommandError::Refused(refusal)),
            Decision::TooLate => {
                Err(CommandError::Overloaded("the command's deadline (decide_by) has passed"))
            }
            Decision::NotExpected => Err(CommandError::NotExpected { stream, actual: at }),
            Decision::Nothing => {
                let Tip { version, position } = self.settled.tip;
                Ok(Committed { is_unchanged: true, ..Committed::new(version, position, false) })
            }
        };
        // A result may contain a refusal, whose `Drop` is user code.
        let answer = Isolated::new(answer);
        match self.settled.standing {
            Standing::AsDecided => self.stored_nothing(request, answer, at).await,
            Standing::Behind | Standing::InDoubt => self.settled.again.push(request),
        }
    }

    /// Returns a decision that stored nothing, after the log has confirmed that it is not outdated.
    async fn stored_nothing(
        &mut self,
        request: Request<A>,
        answer: Isolated<Answer<A>>,
        at: StreamVersion,
    ) {
        match self.confirm(&request, at).await {
            Ok(Confirmation::Current) => self.answer(request, answer.into_inner()),
            // The key is unknown to the store, and the newer events came after the round's own
            // append.
            Ok(Confirmation::Stale { .. }) if self.vouched => {
                self.answer(request, answer.into_inner());
            }
            Ok(Confirmation::Stale { actual }) => self.conflict(request, at, actual),
            Ok(Confirmation::Replayed(committed)) => self.answer(request, Ok(committed)),
            Ok(Confirmation::KeyReused) => self.key_reused(request),
            Err(error) => self.answer(request, Err(CommandError::Unavailable(error))),
        }
    }

    /// Confirms a decision that stored nothing. Each key is looked up. The version is confirmed
    /// only if no append of the round confirms it. Once is enough, because then all decisions were
    /// made at the version where the round began.
    async fn confirm(
        &mut self,
        request: &Request<A>,
        at: StreamVersion,
    ) -> Result<Confirmation, StoreError> {
        let store = &self.deciding.store;
        if let Some(key) = &request.options.key {
            send(&mut self.replies);
            return store.confirm(self.stream, at, Some(key.clone())).await;
        }
        if self.vouched || self.deciding.is_alone() {
            return Ok(Confirmation::Current);
        }
        let told = match self.confirmed.take() {
            Some(told) => told,
            None => {
                send(&mut self.replies);
                store.confirm(self.stream, at, None).await
            }
        };
        self.confirmed = Some(told.clone());
        told
    }

    fn appended(&mut self, request: Request<A>, at: StreamVersion, to: StreamVersion) {
        let stream = self.stream.clone();
        match self.outcomes.next() {
            Some(AppendOutcome::Committed(committed)) => {
                let Committed { version, position, replayed, .. } = committed;
                if replayed {
                    self.is(Standing::Behind);
                } else if self.settled.standing == Standing::AsDecided && version == to {
                    self.settled.tip = Tip { version, position };
                } else {
                    self.is(Standing::InDoubt);
                }
                let is_unchanged = to == at && !replayed;
                self.answer(request, Ok(Committed { is_unchanged, ..committed }));
            }
            Some(AppendOutcome::NotCommitted(NotCommitted::Conflict { actual })) => {
                self.conflict(request, at, actual);
            }
            Some(AppendOutcome::NotCommitted(NotCommitted::KeyReused)) => {
                self.is(Standing::Behind);
                self.key_reused(request);
            }
            // Final: the store checked the version and the claim under the lock of the log, so
            // another decision on the same state would claim the same.
            Some(AppendOutcome::NotCommitted(NotCommitted::Claimed { claim, holder })) => {
                self.is(Standing::Behind);
                self.answer(request, Err(CommandError::Claimed { claim, holder }));
            }
            Some(AppendOutcome::NotCommitted(NotCommitted::Invalid(reason))) => {
                self.is(Standing::Behind);
                self.answer(request, Err(CommandError::Unstorable { stream, reason }));
            }
            Some(AppendOutcome::NotCommitted(NotCommitted::Unavailable(reason))) => {
                self.is(Standing::Behind);
                self.answer(
                    request,
                    Err(CommandError::Unavailable(StoreError::Unavailable(reason))),
                );
            }
            // `None`: a store that returns fewer outcomes than it got appends violates its
            // contract.
            Some(AppendOutcome::Unknown(_)) | None => {
                self.is(Standing::InDoubt);
                self.answer(request, Err(CommandError::Unknown));
            }
        }
    }

    fn answer(&mut self, request: Request<A>, answer: Answer<A>) {
        self.replies.push(request.finish(answer));
    }

    fn is(&mut self, standing: Standing) {
        self.settled.standing = self.settled.standing.max(standing);
    }

    fn key_reused(&mut self, request: Request<A>) {
        let id = request.options.key.as_ref().map(|key| key.id.clone()).unwrap_or_default();
        self.answer(request, Err(CommandError::KeyReused { id }));
    }

    /// Handles a conflict: the request is decided again, up to `conflict_retries` times. Only the
    /// first conflict of a round counts as a lost race. The appends after it were refused because
    /// they were chained to it.
    fn conflict(&mut self, mut request: Request<A>, at: StreamVersion, actual: StreamVersion) {
        let first = self.settled.standing == Standing::AsDecided;
        // A conflict without a newer version is contradictory, so the state may be wrong.
        self.is(if first && actual <= at { Standing::InDoubt } else { Standing::Behind });
        self.settled.seen = self.settled.seen.max(Some(actual));
        request.conflicts += u32::from(first);
        // The store refused the append, so nothing of the request can be stored before the next
        // decision.
        request.ticket.stored_nothing();
        if request.conflicts <= self.deciding.settings.conflict_retries {
            return self.settled.again.push(request);
        }
        let stream = self.stream.clone();
        let error = match request.options.expected.admits(actual) {
            true => CommandError::Conflict { stream, actual },
            false => CommandError::NotExpected { stream, actual },
        };
        self.answer(request, Err(error));
    }
}

/// Sends all replies. Called before each wait for the store, and at the end.
fn send<A: Aggregate>(replies: &mut Vec<Reply<A>>) {
    replies.drain(..).for_each(Reply::send);
}
