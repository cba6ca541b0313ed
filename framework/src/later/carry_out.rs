//! Carrying out a stored command: from its JSON to its aggregate, and from the result to an outcome.
//!
//! One [`CarryOut`] for each aggregate type, so that the executor needs no type of the user's.

use std::marker::PhantomData;
use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tracing::error;

use super::accepted::CommandEvent;
use crate::actor::Router;
use crate::aggregate::Aggregate;
use crate::command::{CommandOptions, Committed};
use crate::error::CommandError;
use crate::guard::guarded;
use crate::refusal::RefusalCode;
use crate::stream::StreamId;

/// The result of one attempt to carry out a command.
#[derive(Debug, PartialEq)]
pub(crate) enum Carried {
    /// The log holds the command's key, with this outcome.
    Committed(Committed),
    /// Nothing was stored; this outcome becomes final once it is stored under the command's key.
    Concluded(CommandEvent),
    /// Nothing was stored, or the outcome is not known: try again under the same key.
    NotYet,
    /// This release cannot carry it out; another one may.
    Unable(String),
}

/// Carries out stored commands of one aggregate type.
#[async_trait]
pub(crate) trait CarryOut: Send + Sync {
    async fn carry_out(
        &self,
        stream: StreamId,
        command: &Value,
        options: CommandOptions,
    ) -> Carried;
}

/// Carries out stored commands of the aggregate `A`.
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
        // A newer release may have accepted a variant, or a field, that this one does not know.
        let unreadable = |error: String| {
            Carried::Unable(format!("this release cannot read a command of {stream}: {error}"))
        };
        match guarded(|| A::Command::deserialize(command)) {
            Ok(Ok(command)) => {
                let answer = self.router.execute(stream, command, options).await;
                guarded(|| concluded(answer)).unwrap_or_else(|panic| {
                    error!(%panic, "the description of a refusal panicked");
                    failed("the server could not carry it out; its log says why")
                })
            }
            Ok(Err(error)) => unreadable(error.to_string()),
            Err(panic) => unreadable(panic),
        }
    }
}

/// Translates the aggregate's answer.
fn concluded<E: RefusalCode>(answer: Result<Committed, CommandError<E>>) -> Carried {
    let error = match answer {
        Ok(committed) => return Carried::Committed(committed),
        Err(error) => error,
    };
    match &error {
        CommandError::Refused(refusal) => refused(refusal.code(), refusal.to_string()),
        CommandError::RefusedBefore { code, detail } => refused(code, detail),
        CommandError::NotExpected { .. } => refused("precondition_failed", error.to_string()),
        CommandError::KeyReused { .. } => {
            refused("idempotency_key_reused", "the key was used before for another request")
        }
        CommandError::Claimed { claim, .. } => refused(&claim.taken_code(), error.to_string()),
        // Another process kept winning, or the client sends it at this moment as well.
        CommandError::Conflict { .. }
        | CommandError::StillRunning
        | CommandError::Overloaded(_)
        | CommandError::ClientLimit(_)
        | CommandError::Unavailable(_)
        | CommandError::Unknown
        | CommandError::Stopping => Carried::NotYet,
        // The stored events may be a newer release's.
        CommandError::Quarantined { .. } | CommandError::NotRegistered(_) => {
            Carried::Unable(error.to_string())
        }
        // The code that owns the type has seen the command and failed.
        CommandError::Panicked { .. }
        | CommandError::Unstorable { .. }
        | CommandError::InvalidId(_)
        | CommandError::InvalidKey(_) => {
            error!(%error, "a deferred command cannot be carried out");
            failed("the server could not carry it out; its log says why")
        }
    }
}

fn refused(code: &str, detail: impl Into<String>) -> Carried {
    Carried::Concluded(CommandEvent::Refused { code: code.to_owned(), detail: detail.into() })
}

fn failed(reason: &str) -> Carried {
    Carried::Concluded(CommandEvent::Failed { reason: reason.to_owned() })
}
