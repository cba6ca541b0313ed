//! Performing what an instance has put out: one command or one deadline, at least once, with one effect.
//!
//! Every result that the log would not have is stored as an input. A refusal is stored under the key of
//! its command. The store keeps one outcome for each key, so the command is either carried out or refused,
//! even if two processes try at the same time.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use tokio::time::Instant;
use tracing::warn;

use super::ProcessManager;
use super::input::{self, ProcessInput, ProcessInputs, Refused, Step};
use super::instance::{Job, PROCESS, command_key};
use crate::aggregate::{Aggregate, Router};
use crate::command::{CommandKey, CommandOptions, Committed};
use crate::deferred::{Carried, CarryOut, CommandEvent};
use crate::error::{CommandError, StoreError};
use crate::event::{Metadata, StreamId};
use crate::reaction::{Step as Outcome, Worked};
use crate::store::contract::{PageLimit, Store};

/// Code of a command that could not be carried out for another reason than a refusal.
const FAILED: &str = "failed";

/// Code of a command whose key belongs to another request.
const KEY_REUSED: &str = "idempotency_key_reused";

/// Performs the open work of one process manager.
pub(crate) struct Dispatcher {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) inputs: Arc<Router<ProcessInputs>>,
    /// Executors by aggregate type.
    pub(crate) targets: HashMap<&'static str, Arc<dyn CarryOut>>,
}

impl Dispatcher {
    /// Performs one item. Nothing is decided after `until`, because another process may own the
    /// partition then.
    pub(super) async fn perform<P: ProcessManager>(
        &self,
        id: &str,
        job: &Job,
        until: Instant,
    ) -> Worked {
        let performed = match job {
            Job::Execute { step, command, metadata } => {
                self.execute::<P>(step, command, (metadata, until)).await
            }
            Job::Deadline { correlation_id, .. } => {
                crate::failpoints::point("process.due");
                let reached = ProcessInput::DeadlineReached { step: id.to_owned() };
                let metadata =
                    Metadata { correlation_id: correlation_id.clone(), ..Metadata::default() };
                let key = CommandKey::new(command_key::<P>(id), b"deadline");
                Ok(match key {
                    Ok(key) => self.store_input::<P>(id, reached, (key, &metadata)).await,
                    Err(invalid) => Outcome::Unable(invalid.to_string()),
                })
            }
        };
        let outcome = performed.unwrap_or_else(|error| match error {
            StoreError::Unavailable(_) | StoreError::Unknown(_) => Outcome::Again(None),
            error => Outcome::Unable(error.to_string()),
        });
        outcome.into()
    }

    async fn execute<P: ProcessManager>(
        &self,
        step: &Step,
        command: &Result<Value, String>,
        (metadata, until): (&Metadata, Instant),
    ) -> Result<Outcome, StoreError> {
        let Step { id, aggregate_type, aggregate_id } = step;
        let request = format!("{aggregate_type}-{aggregate_id} {command:?}");
        let key = match CommandKey::new(command_key::<P>(id), request.as_bytes()) {
            Ok(key) => key,
            Err(invalid) => return Ok(Outcome::Unable(invalid.to_string())),
        };
        let refuse = |code: &str, detail: &str| Refused::new(step.clone(), code, detail);
        let carried = match (command, StreamId::new(aggregate_type, aggregate_id)) {
            (Err(reason), _) => Err(refuse(FAILED, reason)),
            (_, Err(invalid)) => Err(refuse(FAILED, &invalid.to_string())),
            (Ok(command), Ok(stream)) => {
                let Some(target) = self.targets.get(&**aggregate_type) else {
                    let name = P::NAME;
                    return Ok(Outcome::Unable(format!(
                        "{name} does not command {aggregate_type}: name it in its correlation"
                    )));
                };
                let options = CommandOptions {
                    key: Some(key.clone()),
                    metadata: metadata.clone(),
                    decide_by: Some(until.into_std()),
                    ..CommandOptions::default()
                };
                Ok(target.carry_out(stream, command, options).await)
            }
        };
        crate::failpoints::point("process.executed");
        let refused = match carried {
            Err(refused) => refused,
            Ok(Carried::Committed(committed)) => {
                return self.committed::<P>(step, committed, (&key, metadata)).await;
            }
            Ok(Carried::Concluded(CommandEvent::Refused { code, .. })) if code == KEY_REUSED => {
                warn!(step = %id, "an earlier release has carried out another command for this step");
                return Ok(Outcome::Done);
            }
            Ok(Carried::Concluded(CommandEvent::Refused { code, detail, .. })) => {
                refuse(&code, &detail)
            }
            Ok(Carried::Concluded(CommandEvent::Failed { reason })) => refuse(FAILED, &reason),
            Ok(Carried::Concluded(_) | Carried::NotYet) => return Ok(Outcome::Again(None)),
            Ok(Carried::Unable(reason)) => return Ok(Outcome::Unable(reason)),
        };
        Ok(self.store_input::<P>(id, ProcessInput::Refused(refused), (key, metadata)).await)
    }

    /// A command that stored events comes back by its events. One that stored none does not, so that is
    /// stored.
    async fn committed<P: ProcessManager>(
        &self,
        step: &Step,
        committed: Committed,
        (key, metadata): (&CommandKey, &Metadata),
    ) -> Result<Outcome, StoreError> {
        if !self.is_unchanged(&committed, key).await? {
            return Ok(Outcome::Done);
        }
        let unchanged = ProcessInput::Unchanged(step.clone());
        // A key of its own, because the command's own key has the command's outcome.
        Ok(match CommandKey::new(format!("{}/unchanged", key.id), &[]) {
            Ok(key) => self.store_input::<P>(&step.id, unchanged, (key, metadata)).await,
            Err(invalid) => Outcome::Unable(invalid.to_string()),
        })
    }

    /// Checks that a command stored no event. After a crash only the log knows: the outcome then names
    /// an event that the command did not cause.
    async fn is_unchanged(&self, at: &Committed, key: &CommandKey) -> Result<bool, StoreError> {
        if !at.replayed {
            return Ok(at.is_unchanged);
        }
        let found = self.store.read_positions(&[at.position], PageLimit::events(1)).await?;
        let Some(event) = found.first() else { return Ok(true) };
        // The input is its refusal, which is stored under the same key.
        let is_input = event.stream.aggregate_type() == ProcessInputs::TYPE;
        let cause = event.metadata().ok().and_then(|metadata| metadata.extra.get(PROCESS).cloned());
        Ok(cause.as_ref() != Some(&key.id) && !is_input)
    }

    async fn store_input<P: ProcessManager>(
        &self,
        step: &str,
        input: ProcessInput,
        (key, metadata): (CommandKey, &Metadata),
    ) -> Outcome {
        // The key of the instance is the rest of the id.
        let instance = step.splitn(3, '/').nth(2).unwrap_or_default();
        let stream = match input::stream(P::NAME, instance) {
            Ok(stream) => stream,
            Err(invalid) => return Outcome::Unable(invalid.to_string()),
        };
        let (key, metadata) = (Some(key), metadata.clone());
        let options = CommandOptions { key, metadata, ..CommandOptions::default() };
        let stored = self.inputs.execute(stream, input, options).await;
        crate::failpoints::point("process.input_stored");
        match stored {
            // If it was stored before, so was what became of the command.
            Ok(_) | Err(CommandError::KeyReused { .. }) => Outcome::Done,
            Err(error) => {
                warn!(step, %error, "an input of a process manager could not be stored; retrying");
                Outcome::Again(None)
            }
        }
    }
}
