//! The reaction that sends the outcomes of deferred commands to their clients' callback URLs.
//!
//! Each attempt is stored with the time of the next one, so the next owner continues from there. If
//! a process fails before an attempt is stored, the attempt is repeated. So a message arrives at
//! least once, always with the command's id. Places are shared fairly between clients and
//! endpoints; see `work_queue`.
//!
//! See `docs/decisions.md`, "How are callbacks shared out?"

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;
use time::OffsetDateTime;
use time::serde::rfc3339;
use tokio::time::Instant;
use tracing::warn;

use super::MOST_EVENTS;
use super::accepted::{AcceptedCommand, Called, Change, CommandEvent, NotAccepted};
use super::callback::{Answered, Call, CallBack};
use super::status::CommandStatus;
use crate::aggregate::{Aggregate, Router};
use crate::clock::Clock;
use crate::command::CommandOptions;
use crate::error::{CommandError, ReadError, StoreError};
use crate::event::codec::EventCodec;
use crate::event::{EventEnvelope, RecordedEvent, StreamId, StreamVersion};
use crate::live::decode;
use crate::reaction::work_queue::Limits;
use crate::reaction::{Destination, Details, Health, Meaning, Opening, Reaction, Step, Worked};
use crate::store::contract::{MAX_PAYLOAD_BYTES, PageLimit, Store};

/// Backoff of an endpoint after a callback was abandoned because the endpoint is down.
const GAVE_UP_REST: Duration = Duration::from_secs(5);

/// The reaction that sends callbacks.
pub(crate) struct Callbacks {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) commands: Arc<Router<AcceptedCommand>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) by: Box<dyn CallBack>,
}

/// Body of a callback.
#[derive(Serialize)]
struct Told<'a> {
    /// Type of the message, such as `command.committed`.
    r#type: String,
    /// Time when the command was concluded.
    #[serde(with = "rfc3339")]
    timestamp: OffsetDateTime,
    data: &'a CommandStatus,
}

type History = Vec<EventEnvelope<CommandEvent>>;

#[async_trait]
impl Reaction for Callbacks {
    const NAME: &'static str = "command_callbacks";

    const FOLLOWS: &'static str = AcceptedCommand::TYPE;

    // A call costs a socket and some memory. A quarter of the places is reserved for endpoints that
    // work.
    const LIMITS: Limits = Limits {
        at_once: 256,
        per_client: 8,
        per_destination: 4,
        per_unproven: 1,
        unproven_at_once: 192,
    };

    fn longest_pause(&self) -> Duration {
        // A pause can be as long as a schedule of the user's is.
        self.by.gives_up_after()
    }

    fn meaning(&self, event: &RecordedEvent) -> Meaning {
        match event.event_type.as_str() {
            "CallbackDue" => Meaning::Opens(self.opening(event)),
            "CallbackDelivered" | "CallbackGivenUp" => Meaning::Closes,
            _ => Meaning::Nothing,
        }
    }

    async fn work(&self, id: &str, _: Instant) -> Worked {
        let history = match self.history(id).await {
            Ok(history) => history,
            Err(ReadError::Unavailable(
                error @ (StoreError::Unavailable(_) | StoreError::Unknown(_)),
            )) => {
                warn!(
                    command = id,
                    %error,
                    "a callback is delayed, because the store is not available"
                );
                return Step::Again(None).into();
            }
            // A newer release may have written the event, and can read it.
            Err(error) => return Step::Unable(error.to_string()).into(),
        };
        let Some(status) = CommandStatus::of(&history) else { return Step::Done.into() };
        if let Some(error) = history.first().and_then(|first| first.metadata().err()) {
            // Without its actor, the callback could be signed with another client's secret.
            return Step::Unable(format!("its metadata cannot be read: {error}")).into();
        }
        let Some(url) = url(&history).filter(|_| status.waits_for_callback()) else {
            return Step::Done.into();
        };
        let callback = status.callback.as_ref();
        if let Some(pause) = callback.and_then(|callback| self.until(callback.next_at?)) {
            return Step::Again(Some(pause)).into();
        }
        let number = 1 + callback.map_or(0, |callback| callback.attempts);
        let answered = match self.call(&url, &status, &history, number).await {
            Answered::Untried => return Step::Again(None).into(),
            // Age alone never abandons a callback without a new attempt, because all processes may
            // have been stopped for a long time.
            Answered::Again { reason, is_down, .. } if self.is_too_old(&history) => {
                Answered::GivenUp { reason, is_down }
            }
            answered => answered,
        };
        crate::failpoints::point("later.called");
        let health = health(&answered);
        Worked { step: self.record(id, number, answered).await, health }
    }
}

/// Converts the result of an attempt for the circuit breaker of the endpoint.
fn health(answered: &Answered) -> Health {
    match answered {
        Answered::Delivered { .. } => Health::Up,
        Answered::Again { after, is_down: true, .. } => Health::Down(*after),
        Answered::GivenUp { is_down: true, .. } => Health::Down(GAVE_UP_REST),
        Answered::Again { .. } | Answered::GivenUp { .. } | Answered::Untried => Health::Untested,
    }
}

impl Callbacks {
    fn opening(&self, event: &RecordedEvent) -> Opening {
        let id = event.stream.id();
        let codec = EventCodec::new(AcceptedCommand::upcasters());
        let Ok(CommandEvent::CallbackDue { url, client }) = codec.decode(event) else {
            return Opening::unclear(id);
        };
        let destination = Destination { client, endpoint: self.by.endpoint(&url) };
        let details = Details { destination, has_callback: true, ..Details::default() };
        // Callbacks are not ordered, so each has a lane of its own.
        Opening { lane: id.to_owned(), due_at: None, command_key: None, details }
    }

    /// Checks that the first attempt was made longer ago than a callback may take.
    fn is_too_old(&self, history: &History) -> bool {
        let is_attempt = |event: &CommandEvent| matches!(event, CommandEvent::CallbackAttempted(_));
        let first = history.iter().find(|envelope| is_attempt(&envelope.event));
        let age = first.map(|first| self.clock.now() - first.recorded_at);
        age.is_some_and(|age| age > self.by.gives_up_after())
    }

    async fn history(&self, id: &str) -> Result<History, ReadError> {
        let stream = StreamId::new(AcceptedCommand::TYPE, id)?;
        // Only the first event can be large, because it contains the command.
        let limit = PageLimit::events(MOST_EVENTS).bytes(2 * MAX_PAYLOAD_BYTES);
        let events = self.store.read_stream(&stream, StreamVersion::ZERO, limit).await?;
        let codec = EventCodec::new(AcceptedCommand::upcasters());
        events.into_iter().map(|recorded| decode(&codec, recorded)).collect()
    }

    /// Returns the time left until `at`, or `None` if it has passed.
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
            // Without its attempts, so that the body is the same however often the message is sent.
            data: &CommandStatus { callback: None, ..status.clone() },
        };
        let body = match serde_json::to_vec(&told) {
            Ok(body) => body,
            Err(error) => {
                return Answered::GivenUp { reason: error.to_string(), is_down: false };
            }
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
            Answered::Again { after, reason, .. } => {
                let next_at = now.checked_add(after.try_into().unwrap_or_default());
                let called = Called { attempt: number, reason, next_at: next_at.unwrap_or(now) };
                (CommandEvent::CallbackAttempted(called), Step::Again(Some(after)))
            }
            Answered::GivenUp { reason, .. } => {
                warn!(command = id, %reason, "a callback was abandoned after its last attempt");
                (CommandEvent::CallbackGivenUp { attempt: number, reason }, Step::Done)
            }
            // No call was made, so there is nothing to record.
            Answered::Untried => return Step::Again(None),
        };
        let Ok(stream) = StreamId::new(AcceptedCommand::TYPE, id) else { return Step::Done };
        let change = Change::Called(event);
        match self.commands.execute(stream, change, CommandOptions::default()).await {
            Ok(_) => step,
            Err(CommandError::Refused(NotAccepted::Unknown | NotAccepted::KeyReused)) => Step::Done,
            Err(error) => {
                warn!(
                    command = id,
                    %error,
                    "the result of a callback attempt could not be stored; retrying"
                );
                Step::Again(None)
            }
        }
    }
}

/// Returns the callback URL of the command.
fn url(history: &History) -> Option<String> {
    match &history.first()?.event {
        CommandEvent::Accepted(accepted) => accepted.callback.clone(),
        _ => None,
    }
}
