//! The document of an instance: its state, its deadlines, and the steps of its story.
//!
//! The folder of read models folds, saves, parks and retries an instance. The outbox has the effects of a
//! fold until the follower takes them, right after the fold.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use time::serde::rfc3339;

use super::effects::{Effect, Effects, MOST_EFFECTS, fail};
use super::input::{ProcessInput, Step};
use super::{ProcessManager, input};
use crate::event::{GlobalPosition, Metadata, RecordedEvent};
use crate::reaction::performer::Starts;
use crate::read_model::{ReadModel, Sources};
use crate::store::contract::OpenWork;

/// Name of the entry in the metadata of events that a process manager caused: the key of the command.
pub(crate) const PROCESS: &str = "process";

/// Name of the entry in the metadata with the number of process commands that led to the event.
const DEPTH: &str = "process_depth";

/// Maximum number of commands in a chain in which each one caused the next.
const MOST_DEPTH: u32 = 100;

/// Maximum number of steps of the story that an instance keeps; the first ones and the last ones.
pub(super) const MOST_STEPS: usize = 200;

/// The document of an instance.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct Instance<P: ProcessManager> {
    pub(super) state: P,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) deadlines: BTreeMap<String, Deadline>,
    #[serde(default)]
    pub(super) is_complete: bool,
    /// Events that were folded, and what each put out.
    #[serde(default)]
    pub(super) steps: Vec<Taken>,
    #[serde(skip)]
    pub(crate) outbox: Vec<Out>,
}

/// A deadline that is set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Deadline {
    /// Step that set it. A deadline that replaces it has another one.
    pub(super) step: String,
    #[serde(with = "rfc3339")]
    pub(super) at: OffsetDateTime,
    pub(super) data: Value,
}

/// An event of the story.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Taken {
    pub(super) position: GlobalPosition,
    /// Effects in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) effects: Vec<String>,
}

/// A change of open work that a fold puts out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Out {
    Open(Box<OpenWork>, Starts, Arc<Job>),
    Close(String),
}

/// The body of an item of open work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Job {
    Execute { step: Step, command: Result<Value, String>, metadata: Metadata },
    Deadline { name: String, correlation_id: Option<String> },
}

impl Job {
    pub(super) fn starts(&self) -> Starts {
        match self {
            Self::Execute { .. } => Starts::AtOnce,
            Self::Deadline { .. } => Starts::WhenDue,
        }
    }
}

impl<P: ProcessManager> ReadModel for Instance<P> {
    const NAME: &'static str = P::NAME;
    const PARTITIONS: u32 = P::PARTITIONS;

    fn sources() -> Sources<Self> {
        P::correlation().sources()
    }
}

impl<P: ProcessManager> Instance<P> {
    /// Folds one event.
    pub(super) fn take(
        &mut self,
        key: &str,
        event: &RecordedEvent,
        on: impl FnOnce(&mut P, &mut Effects<P>),
    ) {
        let mut effects = Effects::new(key, event.recorded_at);
        if !self.is_complete {
            on(&mut self.state, &mut effects);
        }
        let words = effects.effects.iter().map(Effect::in_words).collect();
        self.put_out(key, event, effects.effects);
        self.remember(Taken { position: event.position, effects: words });
    }

    /// Folds an input.
    pub(super) fn take_input(&mut self, key: &str, event: &RecordedEvent, input: &ProcessInput) {
        match input {
            ProcessInput::Refused(refused) => {
                self.take(key, event, |state, effects| state.refused(refused, effects));
            }
            ProcessInput::Unchanged(step) => {
                self.take(key, event, |state, effects| state.unchanged(step, effects));
            }
            ProcessInput::DeadlineReached { step } => {
                let mut deadlines = self.deadlines.iter();
                let found = deadlines.find(|(_, deadline)| deadline.step == *step);
                // It was cancelled, replaced, or reached before: the order of the log decides.
                let Some(name) = found.map(|(name, _)| name.clone()) else { return };
                let Some(Deadline { data, .. }) = self.deadlines.remove(&name) else { return };
                let data = serde_json::from_value(data).unwrap_or_else(|error| {
                    fail(format!("the data of the deadline {name:?} cannot be read: {error}"))
                });
                self.take(key, event, |state, effects| state.due(data, effects));
            }
        }
    }

    fn put_out(&mut self, key: &str, event: &RecordedEvent, effects: Vec<Effect>) {
        if effects.len() > MOST_EFFECTS {
            fail(format!(
                "{} effects of one event; at most {MOST_EFFECTS} are allowed",
                effects.len()
            ));
        }
        if effects.is_empty() {
            return;
        }
        let (stream, caused) = (input::stream(P::NAME, key), caused_by(event));
        if let Err(error) = stream {
            fail(format!("the key {key:?} cannot belong to an instance: {error}"));
        }
        for (number, effect) in effects.into_iter().enumerate() {
            // By position first: keys that grow are inserted at one end of their index.
            let step = format!("{}/{number:03}/{key}", Hex(event.position));
            match effect {
                Effect::Execute { aggregate_type, aggregate_id, command, actor } => {
                    let id = step.clone();
                    let step = Step { id, aggregate_type: aggregate_type.to_owned(), aggregate_id };
                    let metadata = Metadata { actor, ..caused.clone() };
                    self.open_command(key, event, step, (command, metadata));
                }
                Effect::Deadline { name, at, data } => {
                    self.cancel(&name);
                    self.open_deadline(event, &step, (&name, at, &caused));
                    self.deadlines.insert(name, Deadline { step, at, data });
                }
                Effect::Cancel { name } => self.cancel(&name),
                Effect::Complete => {
                    self.is_complete = true;
                    let names: Vec<_> = self.deadlines.keys().cloned().collect();
                    names.iter().for_each(|name| self.cancel(name));
                }
            }
        }
    }

    fn open_command(
        &mut self,
        key: &str,
        event: &RecordedEvent,
        step: Step,
        (command, mut metadata): (Result<Value, String>, Metadata),
    ) {
        let command_key = command_key::<P>(&step.id);
        metadata.extra.insert(PROCESS.to_owned(), command_key.clone());
        let id = step.id.clone();
        let job = Job::Execute { step, command, metadata };
        let work = work(id, key, event, (event.recorded_at, &job));
        let work = OpenWork { command_key: Some(command_key), ..work };
        self.outbox.push(Out::Open(Box::new(work), job.starts(), Arc::new(job)));
    }

    fn open_deadline(
        &mut self,
        event: &RecordedEvent,
        step: &str,
        (name, at, caused): (&str, OffsetDateTime, &Metadata),
    ) {
        let correlation_id = caused.correlation_id.clone();
        let job = Job::Deadline { name: name.to_owned(), correlation_id };
        // A lane of its own, because commands of the instance must not wait for its time.
        let work = work(step.to_owned(), step, event, (at, &job));
        self.outbox.push(Out::Open(Box::new(work), job.starts(), Arc::new(job)));
    }

    fn cancel(&mut self, name: &str) {
        if let Some(Deadline { step, .. }) = self.deadlines.remove(name) {
            self.outbox.push(Out::Close(step));
        }
    }

    fn remember(&mut self, taken: Taken) {
        if self.steps.len() >= MOST_STEPS {
            // The beginning and the end say most about a story.
            self.steps.remove(MOST_STEPS / 2);
        }
        self.steps.push(taken);
    }
}

/// Idempotency key of a step.
pub(super) fn command_key<P: ProcessManager>(step: &str) -> String {
    format!("{}/{step}", P::NAME)
}

/// Key of the instance that caused an event, if this process manager did.
pub(super) fn caused_key(name: &str, metadata: &Metadata) -> Option<String> {
    let mut parts = metadata.extra.get(PROCESS)?.splitn(4, '/');
    let (process, _position, _number) = (parts.next()?, parts.next()?, parts.next()?);
    parts.next().filter(|_| process == name).map(str::to_owned)
}

/// Metadata of a command that this event causes.
pub(super) fn caused_by(event: &RecordedEvent) -> Metadata {
    let of_event = event.metadata().unwrap_or_default();
    let depth = of_event.extra.get(DEPTH).and_then(|depth| depth.parse().ok()).unwrap_or(0_u32);
    if depth >= MOST_DEPTH {
        fail(format!(
            "{MOST_DEPTH} commands of process managers led to this event, one after the other: they \
             go in a circle"
        ));
    }
    let mut metadata = Metadata {
        correlation_id: of_event.correlation_id,
        causation_id: Some(event.event_id.to_string()),
        trace_context: of_event.trace_context,
        ..Metadata::default()
    };
    metadata.extra.insert(DEPTH.to_owned(), (depth + 1).to_string());
    metadata
}

fn work(
    id: String,
    lane: &str,
    event: &RecordedEvent,
    (due_at, job): (OffsetDateTime, &Job),
) -> OpenWork {
    let body = serde_json::to_string(job).unwrap_or_else(|error| fail(error.to_string()));
    OpenWork {
        id,
        key: lane.to_owned(),
        position: event.position,
        due_at,
        attempts: 0,
        reason: None,
        command_key: None,
        body,
    }
}

/// A position as sixteen hexadecimal digits, so that texts sort as numbers.
struct Hex(GlobalPosition);

impl std::fmt::Display for Hex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0.0)
    }
}

impl Effect {
    /// The effect in words, for the story. Without the command, which may be secret or large.
    fn in_words(&self) -> String {
        match self {
            Self::Execute { aggregate_type, aggregate_id, command, .. } => {
                let name = command.as_ref().map_or("a command", name_of);
                format!("{name} to {aggregate_type}-{aggregate_id}")
            }
            Self::Deadline { name, at, .. } => format!("deadline {name} at {at}"),
            Self::Cancel { name } => format!("deadline {name} cancelled"),
            Self::Complete => "complete".to_owned(),
        }
    }
}

/// Name of a command: the variant of its enum.
fn name_of(command: &Value) -> &str {
    match command {
        Value::String(name) => name,
        Value::Object(fields) if fields.len() == 1 => {
            fields.keys().next().map_or("a command", String::as_str)
        }
        _ => "a command",
    }
}
