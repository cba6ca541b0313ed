//! The reaction that carries accepted commands out and stores what came of them.
//!
//! A command runs under its client's own key, so once, however often it is tried. What became of it is
//! stored after that: who dies in between tries again, and is answered from the key.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::Instant;
use tracing::{error, warn};

use super::accepted::{Acceptance, AcceptedCommand, Change, CommandEvent, NotAccepted};
use super::carry_out::{Carried, CarryOut, failed};
use super::reaction::{Meaning, Reaction, Step};
use crate::actor::Router;
use crate::aggregate::Aggregate;
use crate::codec::EventCodec;
use crate::command::CommandOptions;
use crate::document::Store;
use crate::error::{CommandError, StoreError};
use crate::event::{Metadata, RecordedEvent};
use crate::stream::{StreamId, StreamVersion};

/// What the commands of a log are carried out with.
pub(crate) struct Executor {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) commands: Arc<Router<AcceptedCommand>>,
    /// By aggregate type.
    pub(crate) by_type: HashMap<&'static str, Arc<dyn CarryOut>>,
}

#[async_trait]
impl Reaction for Executor {
    const NAME: &'static str = "command_executor";

    fn meaning(&self, event: &RecordedEvent) -> Meaning {
        match event.event_type.as_str() {
            "Accepted" => {
                // One that cannot be decoded is a lane of its own: `work` tells.
                let acceptance = acceptance(event);
                let lane =
                    acceptance.map(|it| format!("{}-{}", it.aggregate_type, it.aggregate_id));
                Meaning::Opens { lane: lane.unwrap_or_else(|_| event.stream.id().to_owned()) }
            }
            "Committed" | "Refused" | "Failed" => Meaning::Closes,
            _ => Meaning::Nothing,
        }
    }

    async fn work(&self, id: &str, until: Instant) -> Step {
        match self.carry_out(id, until).await {
            Ok(step) => step,
            Err(error @ (StoreError::Unavailable(_) | StoreError::Unknown(_))) => {
                warn!(command = id, %error, "an accepted command waits for the store");
                Step::Again(None)
            }
            Err(error) => {
                error!(command = id, %error, "an accepted command cannot be read");
                Step::Again(None)
            }
        }
    }
}

impl Executor {
    async fn carry_out(&self, id: &str, until: Instant) -> Result<Step, StoreError> {
        let stream = stream(AcceptedCommand::TYPE, id)?;
        let events = self.store.read_stream(&stream, StreamVersion::ZERO, 2).await?;
        let Some(accepted) = events.first() else { return Ok(Step::Done) };
        if events.len() > 1 {
            return Ok(Step::Done);
        }
        let Acceptance { aggregate_type, aggregate_id, command, key, expected, .. } =
            acceptance(accepted)?;
        let metadata = Metadata {
            causation_id: Some(accepted.event_id.to_string()),
            ..accepted.metadata().unwrap_or_default()
        };
        let carried = match (self.by_type.get(&*aggregate_type), key.read()) {
            (Some(by), Some(key)) => {
                let options = CommandOptions {
                    key: Some(key),
                    expected,
                    metadata,
                    decide_by: Some(until.into_std()),
                };
                let target = self::stream(&aggregate_type, &aggregate_id)?;
                by.carry_out(target, &command, options).await
            }
            _ => {
                error!(command = id, %aggregate_type, "nothing here carries out such a command");
                failed("nothing carries out such a command")
            }
        };
        crate::crash::point("later.before_outcome");
        match carried {
            Carried::Concluded(outcome) => Ok(self.record(stream, outcome, accepted).await),
            Carried::NotYet => Ok(Step::Again(None)),
        }
    }

    async fn record(&self, stream: StreamId, outcome: CommandEvent, of: &RecordedEvent) -> Step {
        let metadata = of.metadata().unwrap_or_default();
        let metadata = Metadata { actor: None, ..metadata };
        let options = CommandOptions { metadata, ..CommandOptions::default() };
        let recorded = self.commands.execute(stream.clone(), Change::Conclude(outcome), options);
        match recorded.await {
            Ok(_) | Err(CommandError::Refused(NotAccepted::Unknown | NotAccepted::KeyReused)) => {
                crate::crash::point("later.after_outcome");
                Step::Done
            }
            Err(error) => {
                warn!(%stream, %error, "an outcome is not stored yet");
                Step::Again(None)
            }
        }
    }
}

fn stream(of: &str, id: &str) -> Result<StreamId, StoreError> {
    let corrupt = |reason: String| StoreError::Corrupt { place: format!("{of}-{id}"), reason };
    StreamId::new(of, id).map_err(|error| corrupt(error.to_string()))
}

/// What was accepted.
fn acceptance(event: &RecordedEvent) -> Result<Acceptance, StoreError> {
    let corrupt = |reason: String| {
        let place = format!("{} version {}", event.stream, event.version);
        StoreError::Corrupt { place, reason }
    };
    match EventCodec::new(AcceptedCommand::upcasters()).decode(event) {
        Ok(CommandEvent::Accepted(acceptance)) => Ok(acceptance),
        Ok(_) => Err(corrupt("a command begins with its acceptance".to_owned())),
        Err(error) => Err(corrupt(error.to_string())),
    }
}
