//! The aggregate of a deferred command: accepted once and concluded once.
//!
//! The events record everything about the command: the request, the outcome and each callback
//! attempt. The executor decides how a command is carried out.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use time::serde::rfc3339;

use crate::aggregate::Aggregate;
use crate::command::CommandKey;
use crate::event::{ExpectedVersion, GlobalPosition, StreamVersion};

/// State of a deferred command. The aggregate's id is the id of the command, so its stream is
/// `command-<id>`.
#[derive(Debug, Default, Clone)]
pub(crate) struct AcceptedCommand {
    accepted: Option<Acceptance>,
    is_concluded: bool,
    /// Number of callback attempts so far.
    attempts: u32,
    /// True once the callback was delivered or abandoned.
    is_called: bool,
}

/// Events of a deferred command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum CommandEvent {
    /// The command was accepted. It will be carried out, even after a crash.
    Accepted(Acceptance),
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
        /// HTTP status of the refusal; 422 if there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
    },
    /// The command cannot be carried out, and nothing was stored of it. The log of the process has
    /// the reason.
    Failed {
        /// Kind of the failure, without internal details.
        reason: String,
    },
    /// The command is concluded, and its client requested a callback, which is now due.
    CallbackDue {
        /// URL to call.
        url: String,
        /// Client on whose behalf the command was sent, if known. Callbacks are shared fairly
        /// between clients.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client: Option<String>,
    },
    /// A callback attempt failed, and another one will follow.
    CallbackAttempted(Called),
    /// The callback was delivered.
    CallbackDelivered {
        /// Attempt number, starting at 1.
        attempt: u32,
        /// Status of the client's response.
        status: u16,
    },
    /// The callback was abandoned after the last attempt failed. No other attempt will follow.
    CallbackGivenUp {
        /// Attempt number, starting at 1.
        attempt: u32,
        /// Reason of the last failure.
        reason: String,
    },
}

/// A failed callback attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Called {
    /// Attempt number, starting at 1.
    pub attempt: u32,
    /// Reason of the failure.
    pub reason: String,
    /// Time of the next attempt.
    #[serde(with = "rfc3339")]
    pub next_at: OffsetDateTime,
}

/// The request of a deferred command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Acceptance {
    /// Type of the aggregate that is to carry out the command.
    pub(crate) aggregate_type: String,
    /// Id of that aggregate.
    pub(crate) aggregate_id: String,
    /// The command, as serde writes its type in JSON.
    pub(crate) command: Value,
    /// Idempotency key under which the command is carried out.
    pub(crate) key: Key,
    #[serde(default, skip_serializing_if = "is_any")]
    pub(crate) expected: ExpectedVersion,
    /// URL to which the client wants the outcome to be sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) callback: Option<String>,
    /// Client on whose behalf the command was sent, if known. Used for limits and fairness only;
    /// authorisation uses the actor in the event's metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) client: Option<String>,
    /// Time before which the command is not carried out.
    #[serde(default, with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub(crate) not_before: Option<OffsetDateTime>,
}

fn is_any(expected: &ExpectedVersion) -> bool {
    *expected == ExpectedVersion::Any
}

/// Stored form of a [`CommandKey`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Key {
    id: String,
    /// Fingerprint in hexadecimal digits.
    fingerprint: String,
}

impl From<&CommandKey> for Key {
    fn from(key: &CommandKey) -> Self {
        let fingerprint = format!("{:032x}", u128::from_be_bytes(key.fingerprint));
        Self { id: key.id.clone(), fingerprint }
    }
}

impl Key {
    /// Id of the key, if a store can have it.
    pub(crate) fn id(&self) -> Option<String> {
        CommandKey::new(&*self.id, &[]).ok().map(|key| key.id)
    }

    /// Decodes the key. Returns `None` if another program wrote it.
    pub(crate) fn read(&self) -> Option<CommandKey> {
        let fingerprint = u128::from_str_radix(&self.fingerprint, 16).ok()?.to_be_bytes();
        Some(CommandKey { id: self.id.clone(), fingerprint })
    }
}

/// Commands of the aggregate [`AcceptedCommand`].
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// Accepts a deferred command.
    Accept(Box<Acceptance>),
    /// Stores the outcome: `Committed`, `Refused` or `Failed`.
    Conclude(CommandEvent),
    /// Stores a callback attempt: `CallbackAttempted`, `CallbackDelivered` or `CallbackGivenUp`.
    #[allow(dead_code, reason = "only the callbacks, a feature, make attempts")]
    Called(CommandEvent),
}

/// Refusals of the aggregate [`AcceptedCommand`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotAccepted {
    /// The key was already used for another request.
    #[error("the key was already used for another request")]
    KeyReused,
    /// No command was accepted under this id.
    #[error("no command has this id")]
    Unknown,
}

impl Aggregate for AcceptedCommand {
    const TYPE: &'static str = "command";
    type Command = Change;
    type Event = CommandEvent;
    type Error = NotAccepted;

    fn handle(&self, change: Change) -> Result<Vec<CommandEvent>, NotAccepted> {
        match (&self.accepted, change) {
            (None, Change::Accept(acceptance)) => Ok(vec![CommandEvent::Accepted(*acceptance)]),
            // The same key is the same request, so a client may send it any number of times.
            (Some(before), Change::Accept(again)) if before.key == again.key => Ok(vec![]),
            (Some(_), Change::Accept(_)) => Err(NotAccepted::KeyReused),
            (None, _) => Err(NotAccepted::Unknown),
            // Two owners may both have carried it out under the same key, with the same outcome. It
            // is stored once.
            (Some(_), Change::Conclude(_)) if self.is_concluded => Ok(vec![]),
            (Some(accepted), Change::Conclude(outcome)) => {
                let client = accepted.client.clone();
                let due = accepted.callback.clone();
                let due = due.map(|url| CommandEvent::CallbackDue { url, client });
                Ok([outcome].into_iter().chain(due).collect())
            }
            // After a change of owner, two processes may both have made an attempt. The first
            // result is kept.
            (Some(_), Change::Called(_)) if self.is_called => Ok(vec![]),
            (Some(_), Change::Called(event)) => match event.attempt() {
                Some(attempt) if attempt == self.attempts + 1 => Ok(vec![event]),
                _ => Ok(vec![]),
            },
        }
    }

    fn apply(&mut self, event: &CommandEvent) {
        match event {
            CommandEvent::Accepted(acceptance) => self.accepted = Some(acceptance.clone()),
            CommandEvent::Committed { .. }
            | CommandEvent::Refused { .. }
            | CommandEvent::Failed { .. } => self.is_concluded = true,
            CommandEvent::CallbackDue { .. } => {}
            CommandEvent::CallbackAttempted(called) => self.attempts = called.attempt,
            CommandEvent::CallbackDelivered { .. } | CommandEvent::CallbackGivenUp { .. } => {
                self.is_called = true;
            }
        }
    }
}

impl CommandEvent {
    /// Number of the callback attempt that the event reports, if any.
    fn attempt(&self) -> Option<u32> {
        match self {
            Self::CallbackAttempted(Called { attempt, .. })
            | Self::CallbackDelivered { attempt, .. }
            | Self::CallbackGivenUp { attempt, .. } => Some(*attempt),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
