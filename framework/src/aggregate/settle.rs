//! The end of a round: appends its decisions and answers them in order.
//!
//! A decision holds only if every decision before it in the round came out as decided. After the first
//! that did not, the rest is decided again on the caught-up state. A decision that stored nothing is
//! answered only if the log vouches for the version it was made at.

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

/// What a round tells of the state in memory; the later the worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    /// Everything decided came about, and nothing else.
    AsDecided,
    /// Right up to the end it had before the round; the log may have more.
    Behind,
    /// The log contradicts it, or cannot tell, or user code panicked.
    InDoubt,
}

/// What is left of a round when it is settled.
pub(crate) struct Settled<A: Aggregate> {
    pub(crate) standing: Standing,
    /// The end of the stream, if all is as decided.
    pub(crate) tip: Tip,
    /// To be decided in the next round, in order.
    pub(crate) again: Vec<Request<A>>,
    /// The latest version of the stream that the store reported with a conflict.
    pub(crate) seen: Option<StreamVersion>,
}

/// Appends and answers.
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
    /// The round's first append was stored: so the log was where the round began, and where each
    /// append stored after it led, after every command of the round had arrived.
    vouched: bool,
    /// What the log said of the version at which the round began, once asked.
    confirmed: Option<Result<Confirmation, StoreError>>,
    outcomes: vec::IntoIter<AppendOutcome>,
    /// Sent one right after the other: a thread that answers more slowly than the callers' threads
    /// take the answers would let those sleep, and wake them, for each one.
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
            Decision::TooLate => Err(CommandError::Overloaded("it waited for too long")),
            Decision::NotExpected => Err(CommandError::NotExpected { stream, actual: at }),
            Decision::Nothing => {
                let Tip { version, position } = self.settled.tip;
                Ok(Committed { version, position, replayed: false })
            }
        };
        // It may hold a refusal, whose Drop is user code.
        let answer = Isolated::new(answer);
        match self.settled.standing {
            Standing::AsDecided => self.stored_nothing(request, answer, at).await,
            Standing::Behind | Standing::InDoubt => self.settled.again.push(request),
        }
    }

    /// Answers what stored nothing, once it is certain that no newer state says otherwise.
    async fn stored_nothing(
        &mut self,
        request: Request<A>,
        answer: Isolated<Answer<A>>,
        at: StreamVersion,
    ) {
        match self.confirm(&request, at).await {
            Ok(Confirmation::Current) => self.answer(request, answer.into_inner()),
            // The key is not known; others came after what vouches for the version.
            Ok(Confirmation::Stale { .. }) if self.vouched => {
                self.answer(request, answer.into_inner());
            }
            Ok(Confirmation::Stale { actual }) => self.conflict(request, at, actual),
            Ok(Confirmation::Replayed(committed)) => self.answer(request, Ok(committed)),
            Ok(Confirmation::KeyReused) => self.key_reused(request),
            Err(error) => self.answer(request, Err(CommandError::Unavailable(error))),
        }
    }

    /// Each key is asked for; the version only if nothing vouches for it, and then once: no append
    /// of the round was stored, so everything answered was decided at the version it began with.
    async fn confirm(
        &mut self,
        request: &Request<A>,
        at: StreamVersion,
    ) -> Result<Confirmation, StoreError> {
        let store = &self.deciding.store;
        if let Some(key) = &request.options.key {
            send(&mut self.replies);
            return store.confirm(self.stream, at, Some(key)).await;
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
                let Committed { version, position, replayed } = committed;
                if replayed {
                    self.is(Standing::Behind);
                } else if self.settled.standing == Standing::AsDecided && version == to {
                    self.settled.tip = Tip { version, position };
                } else {
                    self.is(Standing::InDoubt);
                }
                self.answer(request, Ok(committed));
            }
            Some(AppendOutcome::NotCommitted(NotCommitted::Conflict { actual })) => {
                self.conflict(request, at, actual);
            }
            Some(AppendOutcome::NotCommitted(NotCommitted::KeyReused)) => {
                self.is(Standing::Behind);
                self.key_reused(request);
            }
            // The log said so under its lock, of the version that was decided on: it is final.
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
            // A store that answers fewer outcomes than it was given appends breaks its contract.
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

    /// Somebody was faster: decide again, but not for ever. Only the first of a round lost a race;
    /// those after it just come along.
    fn conflict(&mut self, mut request: Request<A>, at: StreamVersion, actual: StreamVersion) {
        let first = self.settled.standing == Standing::AsDecided;
        // Nobody can have been faster in a log that has not moved on.
        self.is(if first && actual <= at { Standing::InDoubt } else { Standing::Behind });
        self.settled.seen = self.settled.seen.max(Some(actual));
        request.conflicts += u32::from(first);
        // The store refused it, so nothing of it can be stored until it is decided again.
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

/// Sends all replies: before waiting for the store, and at the end.
fn send<A: Aggregate>(replies: &mut Vec<Reply<A>>) {
    replies.drain(..).for_each(Reply::send);
}
