//! Scheduled commands: deferred commands that are carried out at a time, unless they are cancelled before.

use serde::Serialize;
use serde::de::DeserializeOwned;
use time::OffsetDateTime;
use uuid::Uuid;

use super::Application;
use crate::aggregate::Aggregate;
use crate::command::{CommandOptions, RefusalCode};
use crate::deferred::{self, CommandEvent, CommandState};
use crate::error::{CommandError, OperationError, ReadError};
use crate::store::contract::{PageLimit, WorkDue};

/// Maximum number of scheduled commands in a page.
const PAGE: usize = 1_000;

/// HTTP status of a command that was cancelled.
const CANCELLED: u16 = 409;

/// A command that waits for its time.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScheduledCommand {
    /// Id of the command, by which it is looked up and cancelled.
    pub id: String,
    /// Aggregate that carries it out, such as `account-42`.
    pub target: String,
    /// Time at which it is carried out.
    pub due_at: OffsetDateTime,
}

impl Application {
    /// Stores a command that is carried out at `at`, once, and returns its id. If nothing runs then, it is
    /// carried out at the next start. A time in the past is due at once.
    ///
    /// Otherwise as [`Application::execute_later`]: the same key gives the same id, and
    /// [`Application::command`] returns the status. It counts as open until it is carried out. The
    /// aggregate decides it in the state that it has then, and scheduled commands of one aggregate are
    /// carried out in the order of their times, as a rule.
    ///
    /// ```no_run
    /// # use actum::{Aggregate, Application, CommandError, CommandOptions, RefusalCode};
    /// # async fn f<Account>(app: Application, reminder: Account::Command, tomorrow: time::OffsetDateTime)
    /// # -> Result<(), CommandError<Account::Error>> where Account: Aggregate<
    /// # Command: serde::Serialize + serde::de::DeserializeOwned, Error: RefusalCode> {
    /// let options = CommandOptions::default();
    /// let id = app.schedule::<Account>("42", &reminder, tomorrow, options).await?;
    /// app.cancel_scheduled(&id.to_string()).await.ok();
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Those of [`Application::execute_later`].
    pub async fn schedule<A>(
        &self,
        id: &str,
        command: &A::Command,
        at: OffsetDateTime,
        options: CommandOptions,
    ) -> Result<Uuid, CommandError<A::Error>>
    where
        A: Aggregate<Command: Serialize + DeserializeOwned, Error: RefusalCode>,
    {
        self.defer_until::<A>(id, command, options, (None, Some(at))).await
    }

    /// Cancels a scheduled or deferred command that was not carried out yet. Returns its state then:
    /// `Refused` with the code `cancelled`, or its outcome if it was too late.
    ///
    /// # Errors
    /// [`OperationError`]: `UnknownCommand` if no command has this id, and `Unavailable` if the store did
    /// not reply: retry then.
    pub async fn cancel_scheduled(&self, id: &str) -> Result<CommandState, OperationError> {
        let (code, detail) = ("cancelled".to_owned(), "the command was cancelled".to_owned());
        // A refusal, because whoever waits for the outcome knows refusals: clients, callbacks, and
        // releases that never heard of cancelling.
        let cancelled = CommandEvent::Refused { code, detail, status: Some(CANCELLED) };
        self.operations().conclude_command(id, cancelled).await
    }

    /// Lists scheduled commands in the order of their times, at most 1,000. Pass the last one of a page to
    /// get the next page. A command is listed about a second after it was stored.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`] if the store did not reply.
    pub async fn scheduled(
        &self,
        after: Option<&ScheduledCommand>,
    ) -> Result<Vec<ScheduledCommand>, ReadError> {
        let executor = deferred::executor_partition();
        let mut after = after.map(|last| WorkDue { due_at: last.due_at, id: last.id.clone() });
        loop {
            let limit = PageLimit::events(PAGE);
            let page = self.inner.store.load_work(&executor, after, limit).await?;
            let Some(last) = page.last() else { return Ok(Vec::new()) };
            after = Some(last.due());
            let scheduled = page.into_iter().filter_map(|work| {
                let target = deferred::scheduled_target(&work)?;
                Some(ScheduledCommand { id: work.id, target, due_at: work.due_at })
            });
            let scheduled: Vec<_> = scheduled.collect();
            // A page of deferred commands only is not the end.
            if !scheduled.is_empty() {
                return Ok(scheduled);
            }
        }
    }
}
