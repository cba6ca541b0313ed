//! Operations: what somebody who runs the application looks at and changes.
//!
//! Status, parked keys and versions are in files of their own; this one has the handle, and the end of
//! a deferred command that no release will carry out.

use super::Application;
use crate::aggregate::Aggregate;
use crate::command::{CommandKey, CommandOptions, Committed};
use crate::deferred::{AcceptedCommand, Change, CommandEvent, CommandState, Key, NotAccepted};
use crate::error::{CommandError, OperationError, ReadError, StoreError};
use crate::event::{StreamId, StreamVersion};
use crate::store::contract::PageLimit;

/// Operations on a running application, from any of its processes.
#[derive(Clone, Copy)]
pub struct Operations<'a> {
    pub(super) app: &'a Application,
}

impl Application {
    /// Operations on this application: status, parked keys, versions, deferred commands.
    pub fn operations(&self) -> Operations<'_> {
        Operations { app: self }
    }
}

impl Operations<'_> {
    /// Concludes an open deferred command as failed: for an operator, when no release will carry it
    /// out any more. The reason is stored and shown to the command's client.
    ///
    /// If the command is carried out or refused first, that outcome stands, and this returns it.
    ///
    /// # Errors
    /// [`OperationError`]: `UnknownCommand` if no command has this id, `NoReason` without a reason, and
    /// `Unavailable` if the store did not answer; then try again.
    pub async fn fail_command(
        &self,
        id: &str,
        reason: &str,
    ) -> Result<CommandState, OperationError> {
        if reason.trim().is_empty() {
            return Err(OperationError::NoReason);
        }
        let unknown = || OperationError::UnknownCommand { id: id.to_owned() };
        let stream = StreamId::new(AcceptedCommand::TYPE, id).map_err(|_| unknown())?;
        let first = self
            .app
            .inner
            .store
            .read_stream(&stream, StreamVersion::ZERO, PageLimit::events(1))
            .await?;
        let accepted = first.first().ok_or_else(unknown)?;
        // A key that cannot be read cannot be used to carry the command out either.
        let key = serde_json::from_str::<StoredKey>(&accepted.payload);
        let key = key.ok().and_then(|stored| stored.key.read());
        let failed = || CommandEvent::Failed { reason: reason.to_owned() };
        let concluded = match self.conclude(id, failed(), key).await {
            // The key is another request's, so nothing can be carried out under it.
            Err(CommandError::KeyReused { .. }) => self.conclude(id, failed(), None).await,
            concluded => concluded,
        };
        self.carried_out_before(&stream, concluded).await.map_err(|error| match error {
            CommandError::Unavailable(error) => error,
            other => StoreError::Unavailable(other.to_string()),
        })?;
        match self.app.command(id).await {
            Ok(status) => Ok(status.state),
            Err(ReadError::Unavailable(error)) => Err(error.into()),
            Err(error) => Err(StoreError::Unavailable(error.to_string()).into()),
        }
    }

    async fn conclude(
        &self,
        id: &str,
        outcome: CommandEvent,
        key: Option<CommandKey>,
    ) -> Result<Committed, CommandError<NotAccepted>> {
        let options = CommandOptions { key, ..CommandOptions::default() };
        self.app.execute_with::<AcceptedCommand>(id, Change::Conclude(outcome), options).await
    }

    /// Stores that a command was carried out if its key shows that: its owner died between the two, and
    /// no owner may ever run that can find it out.
    async fn carried_out_before(
        &self,
        command: &StreamId,
        concluded: Result<Committed, CommandError<NotAccepted>>,
    ) -> Result<Committed, CommandError<NotAccepted>> {
        let committed = concluded?;
        if !committed.replayed {
            return Ok(committed);
        }
        let Committed { version, position, .. } = committed;
        let found = self.app.inner.store.read_positions(&[position], PageLimit::events(1)).await;
        let found = found.map_err(CommandError::Unavailable)?;
        if found.first().is_some_and(|event| event.stream == *command) {
            return Ok(committed);
        }
        self.conclude(command.id(), CommandEvent::Committed { version, position }, None).await
    }
}

/// The part of an acceptance that names its key.
#[derive(serde::Deserialize)]
struct StoredKey {
    key: Key,
}
