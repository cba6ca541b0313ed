//! Outcome of a command whose key may also belong to a deferred command.
//!
//! A command may be sent twice under one key: deferred, and by a caller that waits. Both get the
//! same outcome with the same HTTP status. A refusal to the waiting caller stores nothing under the
//! key. So while the deferred command is open, that caller gets `StillRunning` instead of the
//! refusal.

use super::Application;
use crate::aggregate::Aggregate;
use crate::catch_panic::Isolated;
use crate::command::{CommandKey, CommandOptions, Committed};
use crate::deferred::{AcceptedCommand, CommandEvent};
use crate::error::{CommandError, ReadError, StoreError};
use crate::store::contract::PageLimit;

/// HTTP status of a refusal that was stored without one.
const REFUSED: u16 = 422;

/// HTTP status of a deferred command that failed.
const FAILED: u16 = 500;

impl Application {
    /// Returns the key of a command of `A`, if a command may have been deferred under it.
    pub(super) fn deferrable_key<A: Aggregate>(
        &self,
        options: &CommandOptions,
    ) -> Option<CommandKey> {
        let key = options.key.as_ref()?;
        self.inner.answers_later.contains_key(A::TYPE).then(|| key.clone())
    }

    /// Completes the result of a command. A replayed outcome may be the refusal of a deferred
    /// command. A refusal must not be returned while a deferred command is open under the same key.
    pub(super) async fn answered<A: Aggregate>(
        &self,
        key: Option<CommandKey>,
        answer: Result<Committed, CommandError<A::Error>>,
    ) -> Result<Committed, CommandError<A::Error>> {
        // Results of the deferred command's own aggregate are not converted.
        if A::TYPE == AcceptedCommand::TYPE {
            return answer;
        }
        match (answer, key) {
            (Ok(committed), _) if committed.replayed => self.replayed(committed).await,
            (Err(refused), Some(key)) if is_conclusion(&refused) => {
                // An error may contain a refusal, whose `Drop` is user code.
                let refused = Isolated::new(refused);
                match self.deferred(&key).await {
                    Ok(None) => Err(refused.into_inner()),
                    Ok(Some(outcome)) => outcome,
                    Err(ReadError::Unavailable(error)) => Err(CommandError::Unavailable(error)),
                    Err(_) => Err(CommandError::Unknown),
                }
            }
            (answer, _) => answer,
        }
    }

    /// Returns the result of a retried command. Its key may have the refusal of a deferred command.
    /// In that case the event at the outcome's position belongs to the deferred command's own
    /// stream.
    async fn replayed<E>(&self, committed: Committed) -> Result<Committed, CommandError<E>> {
        // If the event cannot be read, the outcome is unknown.
        let unknown = |_: StoreError| CommandError::Unknown;
        let store = &self.inner.store;
        let found = store
            .read_positions(&[committed.position], PageLimit::events(1))
            .await
            .map_err(unknown)?;
        let stream = found.first().map(|event| &event.stream);
        let own = stream.filter(|stream| stream.aggregate_type() == AcceptedCommand::TYPE);
        let Some(stream) = own else { return Ok(committed) };
        let events = self.command_events(stream.id()).await.map_err(|_| CommandError::Unknown)?;
        let refused = events.iter().find_map(|envelope| refused_before(&envelope.event));
        refused.map_or(Ok(committed), Err)
    }

    /// Returns the outcome of the deferred command with this key: `StillRunning` while it is open,
    /// and `None` if no command was deferred under this key for this request.
    async fn deferred<E>(
        &self,
        key: &CommandKey,
    ) -> Result<Option<Result<Committed, CommandError<E>>>, ReadError> {
        let events = self.command_events(&key.deferred_id().to_string()).await?;
        let Some((first, rest)) = events.split_first() else { return Ok(None) };
        let CommandEvent::Accepted(accepted) = &first.event else { return Ok(None) };
        if accepted.key.read().as_ref() != Some(key) {
            return Ok(None);
        }
        let outcome = rest.iter().find_map(|envelope| match &envelope.event {
            CommandEvent::Committed { version, position } => {
                Some(Ok(Committed::new(*version, *position, true)))
            }
            event => refused_before(event).map(Err),
        });
        Ok(Some(outcome.unwrap_or(Err(CommandError::StillRunning))))
    }
}

/// Checks that the error is final: the command was not carried out and will not be.
fn is_conclusion<E>(error: &CommandError<E>) -> bool {
    matches!(
        error,
        CommandError::Refused(_)
            | CommandError::NotExpected { .. }
            | CommandError::Claimed { .. }
            | CommandError::Panicked { .. }
            | CommandError::Unstorable { .. }
    )
}

/// Returns the error for a command that this event concluded without carrying it out.
fn refused_before<E>(event: &CommandEvent) -> Option<CommandError<E>> {
    let (code, detail, status) = match event {
        CommandEvent::Refused { code, detail, status } => {
            (code.clone(), detail.clone(), status.unwrap_or(REFUSED))
        }
        CommandEvent::Failed { reason } => ("failed".to_owned(), reason.clone(), FAILED),
        _ => return None,
    };
    Some(CommandError::RefusedBefore { code, detail, status })
}
