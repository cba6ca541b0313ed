//! Carrying out a stored command: from its JSON to its aggregate, and from the answer to an outcome.
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
use crate::refusal::RefusalCode;
use crate::stream::StreamId;

/// What became of a command.
#[derive(Debug, PartialEq)]
pub(crate) enum Carried {
    /// This, for good.
    Concluded(CommandEvent),
    /// Nothing yet, or nobody knows: ask again under the same key.
    NotYet,
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

/// Of the aggregate `A`.
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
        let command = match A::Command::deserialize(command) {
            Ok(command) => command,
            Err(error) => {
                error!(%stream, %error, "a command was accepted by another release and cannot be read");
                return failed("it cannot be read by this release of the program");
            }
        };
        concluded(self.router.execute(stream, command, options).await)
    }
}

/// What an answer means for whoever asks later.
fn concluded<E: RefusalCode>(answer: Result<Committed, CommandError<E>>) -> Carried {
    let error = match answer {
        Ok(Committed { version, position, .. }) => {
            return Carried::Concluded(CommandEvent::Committed { version, position });
        }
        Err(error) => error,
    };
    match &error {
        CommandError::Refused(refusal) => refused(refusal.code(), refusal.to_string()),
        CommandError::NotExpected { .. } => refused("precondition_failed", error.to_string()),
        CommandError::KeyReused { .. } => {
            refused("idempotency_key_reused", "the key was used before for another request")
        }
        CommandError::Claimed { claim, .. } => refused(&claim.taken_code(), error.to_string()),
        // Others kept being faster, or its client sends it at this moment as well.
        CommandError::Conflict { .. }
        | CommandError::StillRunning
        | CommandError::Overloaded(_)
        | CommandError::Unavailable(_)
        | CommandError::Unknown
        | CommandError::Stopping => Carried::NotYet,
        CommandError::Quarantined { .. }
        | CommandError::Panicked { .. }
        | CommandError::Unstorable { .. }
        | CommandError::InvalidId(_)
        | CommandError::InvalidKey(_)
        | CommandError::NotRegistered(_) => {
            error!(%error, "an accepted command cannot be carried out");
            failed("the server could not carry it out; its log says why")
        }
    }
}

fn refused(code: &str, detail: impl Into<String>) -> Carried {
    Carried::Concluded(CommandEvent::Refused { code: code.to_owned(), detail: detail.into() })
}

pub(super) fn failed(reason: &str) -> Carried {
    Carried::Concluded(CommandEvent::Failed { reason: reason.to_owned() })
}
