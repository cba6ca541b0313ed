//! The reaction that carries out deferred commands and stores their outcomes.
//!
//! A command runs under its client's own key, so its events are stored once, however often it is
//! retried. A refusal is stored under the same key. The store keeps one outcome for each key, so
//! "refused" and "carried out" exclude each other. This holds even if several processes try at the
//! same time or one of them was paused for long. See `docs/decisions.md`, "How do "refused" and
//! "carried out" exclude each other?"

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;
use serde::de::IgnoredAny;
use time::OffsetDateTime;
use time::serde::rfc3339;
use tokio::time::Instant;
use tracing::warn;

use super::accepted::{Acceptance, AcceptedCommand, Change, CommandEvent, Key, NotAccepted};
use super::carry_out::{Carried, CarryOut};
use crate::aggregate::{Aggregate, Router};
use crate::command::{CommandKey, CommandOptions, Committed};
use crate::error::{CommandError, StoreError};
use crate::event::codec::EventCodec;
use crate::event::{GlobalPosition, Metadata, RecordedEvent, StreamId, StreamVersion};
use crate::reaction::work_queue::Limits;
use crate::reaction::{Destination, Details, Meaning, Opening, Reaction, Step, Worked};
use crate::store::contract::{OpenWork, PageLimit, PartitionId, Store};

/// The reaction that carries out deferred commands.
pub(crate) struct Executor {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) commands: Arc<Router<AcceptedCommand>>,
    /// Executors by aggregate type.
    pub(crate) by_type: HashMap<&'static str, Arc<dyn CarryOut>>,
}

/// An accepted command, decoded from the log.
struct Open {
    stream: StreamId,
    acceptance: Acceptance,
    key: CommandKey,
    metadata: Metadata,
    causation_id: String,
}

/// Place of the executor's open work.
pub(crate) fn executor_partition() -> PartitionId {
    PartitionId::new(format!("{}@1", Executor::NAME), 0)
}

/// Target of a command that waits for its time, `None` for any other.
pub(crate) fn scheduled_target(work: &OpenWork) -> Option<String> {
    serde_json::from_str::<Details>(&work.body).ok()?.scheduled
}

/// Result of storing an outcome.
enum Stored {
    Now,
    /// The key already had an outcome. This is the position of its last event.
    Before(Committed),
    /// The key belongs to another request.
    KeyReused,
    NotYet,
}

#[async_trait]
impl Reaction for Executor {
    const NAME: &'static str = "command_executor";

    const FOLLOWS: &'static str = AcceptedCommand::TYPE;

    const LIMITS: Limits = Limits::only(128);

    fn meaning(&self, event: &RecordedEvent) -> Meaning {
        match event.event_type.as_str() {
            "Accepted" => Meaning::Opens(opening(event)),
            "Committed" | "Refused" | "Failed" => Meaning::Closes,
            _ => Meaning::Nothing,
        }
    }

    async fn work(&self, id: &str, until: Instant) -> Worked {
        crate::failpoints::point("later.due");
        let step = match self.carry_out(id, until).await {
            Ok(step) => step,
            Err(error @ (StoreError::Unavailable(_) | StoreError::Unknown(_))) => {
                warn!(
                    command = id,
                    %error,
                    "a deferred command is delayed, because the store is not available"
                );
                Step::Again(None)
            }
            // A newer release may have written the event, and can read it.
            Err(error) => Step::Unable(error.to_string()),
        };
        step.into()
    }
}

impl Executor {
    async fn carry_out(&self, id: &str, until: Instant) -> Result<Step, StoreError> {
        let stream = stream(AcceptedCommand::TYPE, id)?;
        // Both events, however large the first one is: without the second one, the command would
        // appear to be open.
        let both = PageLimit::events(2).bytes(usize::MAX);
        let events = self.store.read_stream(&stream, StreamVersion::ZERO, both).await?;
        let [accepted] = &*events else { return Ok(Step::Done) };
        let command = open(stream, accepted)?;
        let Acceptance { aggregate_type, aggregate_id, expected, .. } = &command.acceptance;
        let Some(by) = self.by_type.get(&**aggregate_type) else {
            let reason =
                format!("this release has no aggregate {aggregate_type} with deferred commands");
            return Ok(Step::Unable(reason));
        };
        let options = CommandOptions {
            key: Some(command.key.clone()),
            expected: *expected,
            metadata: Metadata {
                causation_id: Some(command.causation_id.clone()),
                ..command.metadata.clone()
            },
            decide_by: Some(until.into_std()),
            ..CommandOptions::default()
        };
        let target = self::stream(aggregate_type, aggregate_id)?;
        let carried = by.carry_out(target, &command.acceptance.command, options).await;
        crate::failpoints::point("later.before_outcome");
        match carried {
            Carried::Committed(committed) => self.committed(&command, committed).await,
            Carried::Concluded(outcome) => self.conclude(&command, outcome).await,
            Carried::NotYet => Ok(Step::Again(None)),
            Carried::Unable(reason) => Ok(Step::Unable(reason)),
        }
    }

    /// Stores the outcome of a command that stored nothing, under the command's key. If the key
    /// already has an outcome, another owner carried the command out or concluded it, and that
    /// outcome is valid.
    async fn conclude(&self, command: &Open, outcome: CommandEvent) -> Result<Step, StoreError> {
        match self.store_outcome(command, outcome.clone(), true).await {
            Stored::Now => Ok(Step::Done),
            Stored::Before(committed) => self.committed(command, committed).await,
            // The key will always belong to the other request, so no process can carry out this
            // command.
            Stored::KeyReused => Ok(done(&self.store_outcome(command, outcome, false).await)),
            Stored::NotYet => Ok(Step::Again(None)),
        }
    }

    /// Stores that the command was carried out, unless the outcome of its key is its own
    /// conclusion.
    async fn committed(&self, command: &Open, at: Committed) -> Result<Step, StoreError> {
        // The key may stand for a refusal, whose event is in the command's own stream.
        if at.replayed && self.is_conclusion(&command.stream, at.position).await? {
            return Ok(Step::Done);
        }
        let Committed { version, position, .. } = at;
        let outcome = CommandEvent::Committed { version, position };
        Ok(done(&self.store_outcome(command, outcome, false).await))
    }

    /// Checks that the event at this position belongs to the command's own stream.
    async fn is_conclusion(
        &self,
        stream: &StreamId,
        position: GlobalPosition,
    ) -> Result<bool, StoreError> {
        let found = self.store.read_positions(&[position], PageLimit::events(1)).await?;
        Ok(found.first().is_some_and(|event| event.stream == *stream))
    }

    async fn store_outcome(&self, of: &Open, outcome: CommandEvent, is_keyed: bool) -> Stored {
        let options = CommandOptions {
            key: is_keyed.then(|| of.key.clone()),
            // The program stores the outcome and not the client, so nobody is authorised again.
            metadata: Metadata { actor: None, ..of.metadata.clone() },
            ..CommandOptions::default()
        };
        let stored = self.commands.execute(of.stream.clone(), Change::Conclude(outcome), options);
        match stored.await {
            Ok(committed) if committed.replayed => Stored::Before(committed),
            Ok(_) | Err(CommandError::Refused(NotAccepted::Unknown | NotAccepted::KeyReused)) => {
                crate::failpoints::point("later.after_outcome");
                Stored::Now
            }
            Err(CommandError::KeyReused { .. }) => Stored::KeyReused,
            Err(error) => {
                warn!(stream = %of.stream, %error, "an outcome could not be stored; retrying");
                Stored::NotYet
            }
        }
    }
}

fn done(stored: &Stored) -> Step {
    match stored {
        Stored::Now | Stored::Before(_) => Step::Done,
        Stored::KeyReused | Stored::NotYet => Step::Again(None),
    }
}

/// Decodes an acceptance. If its metadata cannot be decoded, the actor is unknown, so the command
/// must not run as if it had none.
fn open(stream: StreamId, accepted: &RecordedEvent) -> Result<Open, StoreError> {
    let acceptance = acceptance(accepted)?;
    let key = acceptance.key.read().ok_or_else(|| corrupt(accepted, "its key cannot be read"))?;
    let metadata = accepted.metadata();
    let metadata =
        metadata.map_err(|error| corrupt(accepted, &format!("its metadata: {error}")))?;
    let causation_id = accepted.event_id.to_string();
    Ok(Open { stream, acceptance, key, metadata, causation_id })
}

fn stream(of: &str, id: &str) -> Result<StreamId, StoreError> {
    let corrupt = |reason: String| StoreError::Corrupt { place: format!("{of}-{id}"), reason };
    StreamId::new(of, id).map_err(|error| corrupt(error.to_string()))
}

fn corrupt(event: &RecordedEvent, reason: &str) -> StoreError {
    let place = format!("{} version {}", event.stream, event.version);
    StoreError::Corrupt { place, reason: reason.to_owned() }
}

/// Fields of an acceptance that count even if this release cannot decode the rest of it.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Outline {
    key: Option<Key>,
    client: Option<String>,
    callback: Option<IgnoredAny>,
    #[serde(with = "rfc3339::option")]
    not_before: Option<OffsetDateTime>,
}

/// The work that an acceptance opens. If the acceptance or its metadata cannot be decoded, the
/// command gets a lane of its own, so that it delays no other command. `work` reports the error.
fn opening(event: &RecordedEvent) -> Opening {
    let outline = serde_json::from_str::<Outline>(&event.payload).unwrap_or_default();
    let readable = acceptance(event).ok().filter(|_| event.metadata().is_ok());
    let target = readable.and_then(|it| StreamId::new(&it.aggregate_type, &it.aggregate_id).ok());
    let target = target.map(|target| target.to_string());
    let scheduled = target.clone().filter(|_| outline.not_before.is_some());
    // Its own lane while it waits, because commands of today must not wait for its time.
    let lane = target.clone().filter(|_| scheduled.is_none());
    let details = Details {
        destination: Destination { client: outline.client, endpoint: String::new() },
        has_callback: outline.callback.is_some(),
        is_unclear: target.is_none(),
        scheduled,
    };
    Opening {
        lane: lane.unwrap_or_else(|| event.stream.id().to_owned()),
        due_at: outline.not_before,
        command_key: outline.key.and_then(|key| key.id()),
        details,
    }
}

/// Decodes the payload of an acceptance.
fn acceptance(event: &RecordedEvent) -> Result<Acceptance, StoreError> {
    match EventCodec::new(AcceptedCommand::upcasters()).decode(event) {
        Ok(CommandEvent::Accepted(acceptance)) => Ok(acceptance),
        Ok(_) => Err(corrupt(event, "the first event of a deferred command must be Accepted")),
        Err(error) => Err(corrupt(event, &error.to_string())),
    }
}
