//! What a client is told of a command that is answered later.

use serde::Serialize;
use time::OffsetDateTime;
use time::serde::rfc3339;

use super::accepted::CommandEvent;
use crate::event::EventEnvelope;
use crate::stream::{GlobalPosition, StreamVersion};

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
        };
        for envelope in rest {
            status.state = match &envelope.event {
                CommandEvent::Committed { version, position } => {
                    CommandState::Committed { version: *version, position: *position }
                }
                CommandEvent::Refused { code, detail } => {
                    CommandState::Refused { code: code.clone(), detail: detail.clone() }
                }
                CommandEvent::Failed { reason } => CommandState::Failed { reason: reason.clone() },
                CommandEvent::Accepted(_) => continue,
            };
        }
        Some(status)
    }
}
