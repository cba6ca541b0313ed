//! What a client is told of a command that is answered later.

use serde::Serialize;
use time::OffsetDateTime;
use time::serde::rfc3339;

use super::accepted::{Called, CommandEvent};
use crate::event::{EventEnvelope, GlobalPosition, StreamVersion};

/// What became of a command so far.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CommandStatus {
    /// The command's.
    pub id: String,
    /// The type of the aggregate that carries it out.
    pub aggregate_type: String,
    /// Which one.
    pub aggregate_id: String,
    /// When it was accepted.
    #[serde(with = "rfc3339")]
    pub accepted_at: OffsetDateTime,
    /// On whose behalf, if that is known. For the application to decide who may see this.
    #[serde(skip)]
    pub actor: Option<String>,
    /// How far it has come.
    #[serde(flatten)]
    pub state: CommandState,
    /// Progress of the callback, if the client asked for one; `Due` from the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub callback: Option<CallbackStatus>,
}

/// How far it has come to tell a client what came of its command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CallbackStatus {
    /// Whether it is still to be told, was told, or will not be.
    pub status: CallbackState,
    /// How often it was tried.
    pub attempts: u32,
    /// Why the last attempt failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When the next attempt is due, after one that failed.
    #[serde(with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub next_at: Option<OffsetDateTime>,
}

/// Whether a client knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CallbackState {
    /// It will be told.
    Due,
    /// It was told.
    Delivered,
    /// It could not be told, and will not be.
    GivenUp,
}

/// How far a command has come that is answered later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum CommandState {
    /// It will be carried out.
    Accepted,
    /// It was carried out.
    Committed {
        /// The aggregate's version after it.
        version: StreamVersion,
        /// What a read passes as `after` to see it.
        position: GlobalPosition,
    },
    /// The aggregate refused, and nothing came of it.
    Refused {
        /// The refusal's name for programs.
        code: String,
        /// A sentence for people.
        detail: String,
    },
    /// It could not be carried out, and nothing came of it.
    Failed {
        /// What kind of fault it was.
        reason: String,
    },
}

impl CommandStatus {
    /// From the events of a command, all of them; `None` if it was never accepted.
    pub fn of(events: &[EventEnvelope<CommandEvent>]) -> Option<Self> {
        let (first, rest) = events.split_first()?;
        let CommandEvent::Accepted(accepted) = &first.event else { return None };
        let mut status = Self {
            id: first.stream.id().to_owned(),
            aggregate_type: accepted.aggregate_type.clone(),
            aggregate_id: accepted.aggregate_id.clone(),
            accepted_at: first.recorded_at,
            actor: first.metadata().ok().and_then(|metadata| metadata.actor),
            state: CommandState::Accepted,
            callback: None,
        };
        // Due from the start: a reader of the first events must not take the command for ended
        // before the callback was made.
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

    /// Checks that no further event can come: the command is concluded, and the callback, if its
    /// client asked for one, was delivered or given up.
    pub fn is_final(&self) -> bool {
        self.state != CommandState::Accepted && !self.waits_for_callback()
    }

    /// Checks that a callback was asked for and is neither delivered nor given up.
    pub fn waits_for_callback(&self) -> bool {
        self.callback.as_ref().is_some_and(|callback| callback.status == CallbackState::Due)
    }
}

impl CommandState {
    /// As it is written in JSON, such as `committed`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Committed { .. } => "committed",
            Self::Refused { .. } => "refused",
            Self::Failed { .. } => "failed",
        }
    }
}
