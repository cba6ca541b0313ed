//! Operations: the functions of an application for the people who run it.
//!
//! Status, parked keys and versions are in files of their own. This file has the handle, and the
//! operation that fails a deferred command.

use super::Application;
use crate::aggregate::Aggregate;
use crate::command::{CommandKey, CommandOptions, Committed};
use crate::deferred::{AcceptedCommand, Change, CommandEvent, CommandState, Key, NotAccepted};
use crate::error::{CommandError, OperationError, ReadError, StoreError};
use crate::event::{StreamId, StreamVersion};
use crate::store::contract::PageLimit;

/// Operations on a running application. Available in each of its processes.
///
/// ```
/// # mod tour { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/tour.txt")); }
/// # use tour::*;
/// # use actum::{Application, store::MemoryStore};
/// # #[tokio::main]
/// # async fn main() -> Result<(), actum::BoxError> {
/// # let app = Application::builder(MemoryStore::new())
/// #     .aggregate::<Account>().read_model::<Balance>().start().await?;
/// let operations = app.operations();
/// let status = operations.status().await;
/// println!("head {}, {:?}", status.log.head, status.subscriptions);
/// for parked in operations.parked("balance").await? {
///     println!("{}: {}", parked.key, parked.reason); // then retry_parked, or skip_parked
/// }
/// # assert_eq!(status.subscriptions[0].name, "balance");
/// # app.shutdown().await;
/// # Ok(()) }
/// ```
#[derive(Clone, Copy)]
pub struct Operations<'a> {
    pub(super) app: &'a Application,
}

impl Application {
    /// Returns the operations of this application: status, parked keys, versions, deferred
    /// commands.
    pub fn operations(&self) -> Operations<'_> {
        Operations { app: self }
    }
}

impl Operations<'_> {
    /// Concludes an open deferred command as failed, for the case that no release will ever carry
    /// it out. The reason is stored and shown to the command's client.
    ///
    /// If the command is carried out or refused first, that outcome is valid and is returned.
    ///
    /// # Errors
    /// [`OperationError`]: `UnknownCommand` if no command has this id, `NoReason` without a reason,
    /// and `Unavailable` if the store is not available: retry then.
    pub async fn fail_command(
        &self,
        id: &str,
        reason: &str,
    ) -> Result<CommandState, OperationError> {
        if reason.trim().is_empty() {
            return Err(OperationError::NoReason);
        }
        self.conclude_command(id, CommandEvent::Failed { reason: reason.to_owned() }).await
    }

    /// Stores this outcome of a command that nobody has carried out, under the command's own key.
    ///
    /// # Errors
    /// `UnknownCommand` or `Unavailable`.
    pub(super) async fn conclude_command(
        &self,
        id: &str,
        outcome: CommandEvent,
    ) -> Result<CommandState, OperationError> {
        let unknown = || OperationError::UnknownCommand { id: id.to_owned() };
        let stream = StreamId::new(AcceptedCommand::TYPE, id).map_err(|_| unknown())?;
        let first = self
            .app
            .inner
            .store
            .read_stream(&stream, StreamVersion::ZERO, PageLimit::events(1))
            .await?;
        let accepted = first.first().ok_or_else(unknown)?;
        // A key that cannot be decoded cannot be used to carry out the command either.
        let key = serde_json::from_str::<StoredKey>(&accepted.payload);
        let key = key.ok().and_then(|stored| stored.key.read());
        let concluded = match self.conclude(id, outcome.clone(), key).await {
            // The key belongs to another request, so nothing can be carried out under it.
            Err(CommandError::KeyReused { .. }) => self.conclude(id, outcome, None).await,
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

    /// Stores that a command was carried out, if its key shows that. Its owner may have failed
    /// between the two steps, and no other owner may ever run.
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

/// The key of an acceptance.
#[derive(serde::Deserialize)]
struct StoredKey {
    key: Key,
}
