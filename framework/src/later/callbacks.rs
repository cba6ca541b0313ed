//! The reaction that tells clients what came of their commands, at the address that each gave.
//!
//! Every attempt is stored, and with it when the next is due: who takes over goes on there. An attempt
//! whose process died before it was stored is made again, so a client is told at least once; the
//! message's id is the command's, each time.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;
use time::OffsetDateTime;
use time::serde::rfc3339;
use tokio::time::Instant;
use tracing::warn;

use super::accepted::{AcceptedCommand, Called, Change, CommandEvent, NotAccepted};
use super::reaction::{Meaning, Reaction, Step};
use super::status::CommandStatus;
use crate::actor::Router;
use crate::aggregate::Aggregate;
use crate::callback::{Answered, Call, CallBack};
use crate::clock::Clock;
use crate::codec::EventCodec;
use crate::command::CommandOptions;
use crate::document::Store;
use crate::error::{CommandError, ReadError};
use crate::event::{EventEnvelope, RecordedEvent};
use crate::later::MOST_EVENTS;
use crate::live::decode;
use crate::stream::{StreamId, StreamVersion};

/// How clients are called back.
pub(crate) struct Callbacks {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) commands: Arc<Router<AcceptedCommand>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) by: Box<dyn CallBack>,
}

/// The body of a callback.
#[derive(Serialize)]
struct Told<'a> {
    /// Such as `command.committed`.
    r#type: String,
    /// When it came to that.
    #[serde(with = "rfc3339")]
    timestamp: OffsetDateTime,
    data: &'a CommandStatus,
}

type History = Vec<EventEnvelope<CommandEvent>>;

#[async_trait]
impl Reaction for Callbacks {
    const NAME: &'static str = "command_callbacks";

    fn meaning(&self, event: &RecordedEvent) -> Meaning {
        match event.event_type.as_str() {
            "CallbackDue" => Meaning::Opens { lane: event.stream.id().to_owned() },
            "CallbackDelivered" | "CallbackGivenUp" => Meaning::Closes,
            _ => Meaning::Nothing,
        }
    }

    async fn work(&self, id: &str, _: Instant) -> Step {
        let history = match self.history(id).await {
            Ok(history) => history,
            Err(error) => {
                warn!(command = id, %error, "a callback waits for the store");
                return Step::Again(None);
            }
        };
        let Some(status) = CommandStatus::of(&history) else { return Step::Done };
        let Some(url) = url(&history).filter(|_| status.waits_for_callback()) else {
            return Step::Done;
        };
        let callback = status.callback.as_ref();
        if let Some(pause) = callback.and_then(|callback| self.until(callback.next_at?)) {
            return Step::Again(Some(pause));
        }
        let number = 1 + callback.map_or(0, |callback| callback.attempts);
        let answered = self.call(&url, &status, &history, number).await;
        crate::crash::point("later.called");
        self.record(id, number, answered).await
    }
}

impl Callbacks {
    async fn history(&self, id: &str) -> Result<History, ReadError> {
        let stream = StreamId::new(AcceptedCommand::TYPE, id)?;
        let events = self.store.read_stream(&stream, StreamVersion::ZERO, MOST_EVENTS).await?;
        let codec = EventCodec::new(AcceptedCommand::upcasters());
        events.into_iter().map(|recorded| decode(&codec, recorded)).collect()
    }

    /// How long until then, if it is not yet.
    fn until(&self, at: OffsetDateTime) -> Option<Duration> {
        let pause = Duration::try_from(at - self.clock.now()).ok()?;
        (!pause.is_zero()).then_some(pause)
    }

    async fn call(
        &self,
        url: &str,
        status: &CommandStatus,
        history: &History,
        attempt: u32,
    ) -> Answered {
        let concluded_at = history.get(1).map_or(status.accepted_at, |event| event.recorded_at);
        let told = Told {
            r#type: format!("command.{}", status.state.name()),
            timestamp: concluded_at,
            data: &CommandStatus { callback: None, ..status.clone() },
        };
        let body = match serde_json::to_vec(&told) {
            Ok(body) => body,
            Err(error) => return Answered::GivenUp { reason: error.to_string() },
        };
        let (id, actor, at) = (&*status.id, status.actor.as_deref(), self.clock.now());
        self.by.call(Call { id, actor, url, body, attempt, at }).await
    }

    async fn record(&self, id: &str, number: u32, answered: Answered) -> Step {
        let now = self.clock.now();
        let (event, step) = match answered {
            Answered::Delivered { status } => {
                (CommandEvent::CallbackDelivered { attempt: number, status }, Step::Done)
            }
            Answered::Again { after, reason } => {
                let next_at = now.checked_add(after.try_into().unwrap_or_default());
                let called = Called { attempt: number, reason, next_at: next_at.unwrap_or(now) };
                (CommandEvent::CallbackAttempted(called), Step::Again(Some(after)))
            }
            Answered::GivenUp { reason } => {
                warn!(command = id, %reason, "a callback is given up");
                (CommandEvent::CallbackGivenUp { attempt: number, reason }, Step::Done)
            }
        };
        let Ok(stream) = StreamId::new(AcceptedCommand::TYPE, id) else { return Step::Done };
        let change = Change::Called(event);
        match self.commands.execute(stream, change, CommandOptions::default()).await {
            Ok(_) => step,
            Err(CommandError::Refused(NotAccepted::Unknown | NotAccepted::KeyReused)) => Step::Done,
            Err(error) => {
                warn!(command = id, %error, "an attempt to call back is not stored yet");
                Step::Again(None)
            }
        }
    }
}

/// Where its client wants to be called.
fn url(history: &History) -> Option<String> {
    match &history.first()?.event {
        CommandEvent::Accepted(accepted) => accepted.callback.clone(),
        _ => None,
    }
}
