//! Status of a deferred command, as its client sees it.

use serde::Serialize;
use time::OffsetDateTime;
use time::serde::rfc3339;

use super::accepted::{Called, CommandEvent};
use crate::event::{EventEnvelope, GlobalPosition, StreamVersion};

/// Status of a deferred command.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct CommandStatus {
    /// Id of the command.
    pub id: String,
    /// Type of the target aggregate.
    pub aggregate_type: String,
    /// Id of the target aggregate.
    pub aggregate_id: String,
    /// Time when the command was accepted.
    #[serde(with = "rfc3339")]
    pub accepted_at: OffsetDateTime,
    /// Time before which the command is not carried out, if it was scheduled.
    #[serde(with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub due_at: Option<OffsetDateTime>,
    /// Actor on whose behalf the command was sent, if known. Not serialised: the application uses
    /// it to decide who may see the status.
    #[serde(skip)]
    pub actor: Option<String>,
    /// Progress of the command.
    #[serde(flatten)]
    pub state: CommandState,
    /// Progress of the callback, if the client requested one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub callback: Option<CallbackStatus>,
}

/// Progress of a callback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CallbackStatus {
    /// State of the callback.
    pub status: CallbackState,
    /// Number of attempts so far.
    pub attempts: u32,
    /// Error of the last attempt, if it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Time of the next attempt, after a failed one.
    #[serde(with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub next_at: Option<OffsetDateTime>,
}

/// State of a callback.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CallbackState {
    /// The callback has not been delivered yet. It is due from the acceptance of the command.
    Due,
    /// The callback was delivered.
    Delivered,
    /// The callback failed and was abandoned. No other attempt follows.
    GivenUp,
}

/// State of a deferred command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
#[non_exhaustive]
pub enum CommandState {
    /// The command will be carried out.
    Accepted,
    /// The command was carried out.
    Committed {
        /// Version of the target aggregate after the command.
        version: StreamVersion,
        /// Position of the command's last event. A read with `after` set to it includes the
        /// command.
        position: GlobalPosition,
    },
    /// The target aggregate refused the command, and nothing was stored of it.
    Refused {
        /// Name of the refusal for programs.
        code: String,
        /// Description for people.
        detail: String,
    },
    /// The command could not be carried out, and nothing was stored of it.
    Failed {
        /// Kind of the failure.
        reason: String,
    },
}

impl CommandStatus {
    /// Computes the status from all events of a command. Returns `None` if it was never accepted.
    pub(crate) fn of(events: &[EventEnvelope<CommandEvent>]) -> Option<Self> {
        let (first, rest) = events.split_first()?;
        let CommandEvent::Accepted(accepted) = &first.event else { return None };
        let mut status = Self {
            id: first.stream.id().to_owned(),
            aggregate_type: accepted.aggregate_type.clone(),
            aggregate_id: accepted.aggregate_id.clone(),
            accepted_at: first.recorded_at,
            due_at: accepted.not_before,
            actor: first.metadata().ok().and_then(|metadata| metadata.actor),
            state: CommandState::Accepted,
            callback: None,
        };
        // Due from the start. Otherwise a reader of the first events would take the command for
        // finished before its callback was sent.
        if accepted.callback.is_some() {
            status.call(CallbackState::Due, 0, None, None);
        }
        rest.iter().for_each(|envelope| status.apply(&envelope.event));
        Some(status)
    }

    fn apply(&mut self, event: &CommandEvent) {
        match event {
            CommandEvent::Accepted(_) => {}
            CommandEvent::Committed { version, position } => {
                self.state = CommandState::Committed { version: *version, position: *position };
            }
            CommandEvent::Refused { code, detail, .. } => {
                self.state = CommandState::Refused { code: code.clone(), detail: detail.clone() };
            }
            CommandEvent::Failed { reason } => {
                self.state = CommandState::Failed { reason: reason.clone() };
            }
            CommandEvent::CallbackDue { .. } => self.call(CallbackState::Due, 0, None, None),
            CommandEvent::CallbackAttempted(Called { attempt, reason, next_at }) => {
                self.call(CallbackState::Due, *attempt, Some(reason), Some(*next_at));
            }
            CommandEvent::CallbackDelivered { attempt, .. } => {
                self.call(CallbackState::Delivered, *attempt, None, None);
            }
            CommandEvent::CallbackGivenUp { attempt, reason } => {
                self.call(CallbackState::GivenUp, *attempt, Some(reason), None);
            }
        }
    }

    fn call(
        &mut self,
        status: CallbackState,
        attempts: u32,
        last_error: Option<&String>,
        next_at: Option<OffsetDateTime>,
    ) {
        let last_error = last_error.cloned();
        self.callback = Some(CallbackStatus { status, attempts, last_error, next_at });
    }

    /// Returns true if no further event can follow: the command is concluded, and its callback, if
    /// any, was delivered or abandoned.
    pub fn is_final(&self) -> bool {
        self.state != CommandState::Accepted && !self.waits_for_callback()
    }

    /// Returns true if a callback was requested and is neither delivered nor abandoned.
    pub fn waits_for_callback(&self) -> bool {
        self.callback.as_ref().is_some_and(|callback| callback.status == CallbackState::Due)
    }
}

impl CommandState {
    /// Name of the state in JSON, such as `committed`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Committed { .. } => "committed",
            Self::Refused { .. } => "refused",
            Self::Failed { .. } => "failed",
        }
    }
}
