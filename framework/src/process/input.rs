//! Inputs of process managers that no aggregate stores: refusals, commands without events, and deadlines.
//!
//! They are events of an aggregate of their own in the same log, so their order with all other events is
//! the same in each process. Each is stored under an idempotency key: a refusal under the key of its
//! command, so that the store keeps either the command's events or its refusal.

use serde::{Deserialize, Serialize};

use crate::aggregate::Aggregate;
use crate::command::NoRefusal;
use crate::event::{InvalidStreamId, StreamId};

/// Separates the name of a process manager from the key of an instance in a stream id.
const SEPARATOR: char = ':';

/// The aggregate of the inputs of one instance. It keeps no state, because their keys are enough to store
/// each of them once.
#[derive(Debug, Default, Clone)]
pub(crate) struct ProcessInputs;

/// An input of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ProcessInput {
    /// A command was refused or failed, and nothing of it was stored.
    Refused(Refused),
    /// A command was carried out and stored no event.
    Unchanged(Step),
    /// The time of a deadline has come.
    DeadlineReached {
        /// Id of the step that set it.
        step: String,
    },
}

/// A command of a process manager that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Refused {
    /// The command.
    #[serde(flatten)]
    pub step: Step,
    /// Name of the refusal for programs, as [`RefusalCode::code`](crate::RefusalCode::code) returns it;
    /// `failed` if the command could not be carried out for another reason.
    pub code: String,
    /// Description for people.
    pub detail: String,
}

impl Refused {
    pub(crate) fn new(step: Step, code: &str, detail: &str) -> Self {
        Self { step, code: code.to_owned(), detail: detail.to_owned() }
    }
}

/// A command of a process manager: its target, and the event that caused it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Step {
    /// Id of the step in its instance, which follows from the event that caused it.
    pub id: String,
    /// Type of the aggregate that was commanded.
    pub aggregate_type: String,
    /// Id of that aggregate.
    pub aggregate_id: String,
}

impl Step {
    /// Returns true if the command was for the aggregate `A` with this id.
    pub fn is_to<A: Aggregate>(&self, id: &str) -> bool {
        self.aggregate_type == A::TYPE && self.aggregate_id == id
    }
}

impl Aggregate for ProcessInputs {
    const TYPE: &'static str = "process";
    type Command = ProcessInput;
    type Event = ProcessInput;
    type Error = NoRefusal;

    fn handle(&self, input: ProcessInput) -> Result<Vec<ProcessInput>, NoRefusal> {
        Ok(vec![input])
    }

    fn apply(&mut self, _: &ProcessInput) {}
}

/// Stream of the inputs of an instance.
///
/// # Errors
/// The name and the key are too long, or contain a character that a stream id cannot have.
pub(crate) fn stream(name: &str, key: &str) -> Result<StreamId, InvalidStreamId> {
    StreamId::new(ProcessInputs::TYPE, &format!("{name}{SEPARATOR}{key}"))
}

/// Key of the instance that a stream of inputs belongs to, if it is one of this process manager.
pub(crate) fn key_of<'a>(name: &str, stream: &'a StreamId) -> Option<&'a str> {
    stream.id().strip_prefix(name)?.strip_prefix(SEPARATOR)
}
