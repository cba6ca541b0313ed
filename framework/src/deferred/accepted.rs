//! The aggregate of a deferred command: accepted, then concluded, once.
//!
//! Its events hold everything known about the command: the request, the outcome, each callback attempt.
//! The executor decides how a command is carried out; this file does not.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use time::serde::rfc3339;

use crate::aggregate::Aggregate;
use crate::command::CommandKey;
use crate::event::{ExpectedVersion, GlobalPosition, StreamVersion};

/// A command that was accepted to be carried out later, as its events have left it. Its id is the
/// command's, its stream `command-<id>`.
#[derive(Debug, Default, Clone)]
pub struct AcceptedCommand {
    accepted: Option<Acceptance>,
    is_concluded: bool,
    /// Number of callback attempts so far.
    attempts: u32,
    /// True once the callback was delivered or given up.
    is_called: bool,
}

/// What has become of a command that is answered later.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum CommandEvent {
    /// It will be carried out, whatever happens.
    Accepted(Acceptance),
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
        /// HTTP status of the refusal; 422 if there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
    },
    /// It cannot be carried out, and nothing came of it; the log of the process says why.
    Failed {
        /// What kind of fault it was; no internals.
        reason: String,
    },
    /// The command is concluded, and its client asked for a callback that is still to be made.
    CallbackDue {
        /// URL to call.
        url: String,
        /// Client on whose behalf the command came, if known: callbacks are shared out fairly
        /// between clients.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client: Option<String>,
    },
    /// A callback attempt failed; another one will follow.
    CallbackAttempted(Called),
    /// The callback was delivered.
    CallbackDelivered {
        /// Attempt number, starting at 1.
        attempt: u32,
        /// Status of the client's response.
        status: u16,
    },
    /// The callback failed for good; no other attempt will follow.
    CallbackGivenUp {
        /// Attempt number, starting at 1.
        attempt: u32,
        /// Reason of the last failure.
        reason: String,
    },
}

/// A callback attempt that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Called {
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
pub struct Acceptance {
    /// The type of the aggregate that shall carry it out.
    pub(crate) aggregate_type: String,
    /// Which one.
    pub(crate) aggregate_id: String,
    /// As its type is written in JSON.
    pub(crate) command: Value,
    /// What it is carried out under.
    pub(crate) key: Key,
    #[serde(default, skip_serializing_if = "is_any")]
    pub(crate) expected: ExpectedVersion,
    /// URL that the client wants the outcome sent to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) callback: Option<String>,
    /// Client on whose behalf the command came, if known. Only limits and fair sharing use it;
    /// authorisation reads the event's metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) client: Option<String>,
}

fn is_any(expected: &ExpectedVersion) -> bool {
    *expected == ExpectedVersion::Any
}

/// A [`CommandKey`] as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Key {
    id: String,
    /// In hexadecimal digits.
    fingerprint: String,
}

impl From<&CommandKey> for Key {
    fn from(key: &CommandKey) -> Self {
        let fingerprint = format!("{:032x}", u128::from_be_bytes(key.fingerprint));
        Self { id: key.id.clone(), fingerprint }
    }
}

impl Key {
    /// `None` if it was not written by this crate.
    pub(crate) fn read(&self) -> Option<CommandKey> {
        let fingerprint = u128::from_str_radix(&self.fingerprint, 16).ok()?.to_be_bytes();
        Some(CommandKey { id: self.id.clone(), fingerprint })
    }
}

/// What can be asked of an accepted command.
#[derive(Debug, Clone)]
#[doc(hidden)]
pub enum Change {
    /// Take it on.
    Accept(Box<Acceptance>),
    /// It came to this: `Committed`, `Refused` or `Failed`.
    Conclude(CommandEvent),
    /// Its client was called: `CallbackAttempted`, `CallbackDelivered` or `CallbackGivenUp`.
    Called(CommandEvent),
}

/// Why a command is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[doc(hidden)]
pub enum NotAccepted {
    /// Another request came under this key before.
    #[error("the key was used before for another request")]
    KeyReused,
    /// Nothing was accepted under this id.
    #[error("there is no such command")]
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
            (Some(before), Change::Accept(again)) if before.key == again.key => Ok(vec![]),
            (Some(_), Change::Accept(_)) => Err(NotAccepted::KeyReused),
            (None, _) => Err(NotAccepted::Unknown),
            (Some(_), Change::Conclude(_)) if self.is_concluded => Ok(vec![]),
            (Some(accepted), Change::Conclude(outcome)) => {
                let client = accepted.client.clone();
                let due = accepted.callback.clone();
                let due = due.map(|url| CommandEvent::CallbackDue { url, client });
                Ok([outcome].into_iter().chain(due).collect())
            }
            // Two who took turns may both have called.
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
    /// Number of the callback attempt that the event reports, if it reports one.
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
