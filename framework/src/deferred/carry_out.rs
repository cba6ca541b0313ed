//! Carries out a stored command: decodes it, executes it, and converts the result to an outcome.
//!
//! There is one [`CarryOut`] for each aggregate type, so the executor does not depend on user
//! types.
//!
//! See `docs/decisions.md`, "What happens to a command that this release cannot carry out?"

use std::marker::PhantomData;
use std::sync::Arc;

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tracing::error;

use super::accepted::CommandEvent;
use crate::aggregate::{Aggregate, Router};
use crate::catch_panic::guarded;
use crate::command::{CommandOptions, Committed, RefusalCode};
use crate::error::CommandError;
use crate::event::StreamId;
use crate::event::codec::is_same;

/// Encodes a command for the log and checks that it decodes to an equal command. A command that
/// this release cannot decode would stay open indefinitely, and one that decodes differently would
/// be carried out instead.
///
/// # Errors
/// A message that says why the command cannot be stored as JSON or does not decode to an equal one.
pub(crate) fn encode<C: Serialize + DeserializeOwned>(command: &C) -> Result<Value, String> {
    let encode = || {
        let stored = serde_json::to_value(command)
            .map_err(|error| format!("the command cannot be written as JSON: {error}"))?;
        let read = C::deserialize(&stored)
            .map_err(|error| format!("the command cannot be read back from its JSON: {error}"))?;
        match is_same(command, &read) {
            Ok(true) => Ok(stored),
            Ok(false) => Err("the command is not equal after encoding and decoding: a field is \
                              NaN, or an Option inside an Option"
                .to_owned()),
            Err(error) => Err(format!("the command cannot be compared: {error}")),
        }
    };
    guarded(encode)
        .unwrap_or_else(|panic| Err(format!("the code of the command panicked: {panic}")))
}

/// Result of one attempt to carry out a command.
#[derive(Debug, PartialEq)]
pub(crate) enum Carried {
    /// The log has the command's key with this outcome.
    Committed(Committed),
    /// Nothing was stored. The outcome becomes final when it is stored under the command's key.
    Concluded(CommandEvent),
    /// Nothing was stored, or the outcome is unknown: retry under the same key.
    NotYet,
    /// This release cannot carry out the command, but another one may.
    Unable(String),
}

/// Carries out the stored commands of one aggregate type.
#[async_trait]
pub(crate) trait CarryOut: Send + Sync {
    async fn carry_out(
        &self,
        stream: StreamId,
        command: &Value,
        options: CommandOptions,
    ) -> Carried;
}

/// Carries out the stored commands of the aggregate `A`.
pub(crate) struct CarriesOut<A: Aggregate> {
    router: Arc<Router<A>>,
    aggregate: PhantomData<fn() -> A>,
}

impl<A: Aggregate> CarriesOut<A> {
    pub(crate) fn new(router: Arc<Router<A>>) -> Self {
        Self { router, aggregate: PhantomData }
    }
}

#[async_trait]
impl<A> CarryOut for CarriesOut<A>
where
    A: Aggregate<Command: DeserializeOwned, Error: RefusalCode>,
{
    async fn carry_out(
        &self,
        stream: StreamId,
        command: &Value,
        options: CommandOptions,
    ) -> Carried {
        // A newer release may have accepted a variant or field that this one does not know.
        let unreadable = |error: String| {
            Carried::Unable(format!("this release cannot read a command of {stream}: {error}"))
        };
        match guarded(|| A::Command::deserialize(command)) {
            Ok(Ok(command)) => {
                let answer = self.router.execute(stream, command, options).await;
                guarded(|| concluded(answer)).unwrap_or_else(|panic| {
                    error!(%panic, "the description of a refusal panicked");
                    failed("the server could not carry out the command; see its log")
                })
            }
            Ok(Err(error)) => unreadable(error.to_string()),
            Err(panic) => unreadable(panic),
        }
    }
}

/// Converts the result of the aggregate.
fn concluded<E: RefusalCode>(answer: Result<Committed, CommandError<E>>) -> Carried {
    let error = match answer {
        Ok(committed) => return Carried::Committed(committed),
        Err(error) => error,
    };
    match &error {
        CommandError::Refused(refusal) => {
            refused(refusal.status(), &refusal.code(), refusal.to_string())
        }
        CommandError::RefusedBefore { code, detail, status } => refused(*status, code, detail),
        CommandError::NotExpected { .. } => refused(412, "precondition_failed", error.to_string()),
        CommandError::KeyReused { .. } => {
            refused(422, "idempotency_key_reused", "the key was already used for another request")
        }
        CommandError::Claimed { claim, .. } => refused(409, &claim.taken_code(), error.to_string()),
        // These may pass: another writer appended first, the client is sending the same command
        // right now, or the store or the application is not available.
        CommandError::Conflict { .. }
        | CommandError::StillRunning
        | CommandError::Overloaded(_)
        | CommandError::ClientLimit(_)
        | CommandError::Unavailable(_)
        | CommandError::Unknown
        | CommandError::Stopping => Carried::NotYet,
        // A newer release may have written the stored events.
        CommandError::Quarantined { .. } | CommandError::NotRegistered(_) => {
            Carried::Unable(error.to_string())
        }
        // The code that owns the type has received the command and failed, so a retry would fail
        // too.
        CommandError::Panicked { .. }
        | CommandError::Unstorable { .. }
        | CommandError::InvalidId(_)
        | CommandError::InvalidKey(_) => {
            error!(%error, "a deferred command cannot be carried out");
            failed("the server could not carry out the command; see its log")
        }
    }
}

fn refused(status: u16, code: &str, detail: impl Into<String>) -> Carried {
    let (code, detail) = (code.to_owned(), detail.into());
    Carried::Concluded(CommandEvent::Refused { code, detail, status: Some(status) })
}

fn failed(reason: &str) -> Carried {
    Carried::Concluded(CommandEvent::Failed { reason: reason.to_owned() })
}
