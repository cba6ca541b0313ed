//! Effects of one event: what an instance wants to happen.

use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use time::OffsetDateTime;

use super::ProcessManager;
use crate::aggregate::Aggregate;
use crate::command::RefusalCode;
use crate::deferred::encode;
use crate::store::contract::MAX_PAYLOAD_BYTES;

/// Maximum number of effects of one event.
pub(super) const MOST_EFFECTS: usize = 1_000;

/// Effects that a process manager puts out for one event: commands to execute and deadlines.
///
/// They take effect when the event is folded: commands in this order and after those of earlier events of
/// the instance. A command to one aggregate waits for no other instance.
#[derive(Debug)]
pub struct Effects<P: ?Sized> {
    key: String,
    time: OffsetDateTime,
    pub(super) effects: Vec<Effect>,
    process: PhantomData<fn() -> P>,
}

/// One effect.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Effect {
    Execute {
        aggregate_type: &'static str,
        aggregate_id: String,
        /// The command as JSON, or the reason why it cannot be stored.
        command: Result<Value, String>,
        actor: Option<String>,
    },
    Deadline {
        name: String,
        at: OffsetDateTime,
        data: Value,
    },
    Cancel {
        name: String,
    },
    Complete,
}

impl<P: ProcessManager> Effects<P> {
    pub(crate) fn new(key: &str, time: OffsetDateTime) -> Self {
        Self { key: key.to_owned(), time, effects: Vec::new(), process: PhantomData }
    }

    /// Key of the instance.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Time at which the event that is handled was stored. Add to it to set a deadline, because a clock
    /// would show another time when the event is folded again.
    pub fn time(&self) -> OffsetDateTime {
        self.time
    }

    /// Executes a command once, as if [`Application::execute`](crate::Application::execute) was called
    /// with a key. If it is refused, [`ProcessManager::refused`] is called. A command that cannot be
    /// stored as JSON counts as refused, with the code `failed`.
    ///
    /// The command has no actor, so the aggregate authorises nobody.
    pub fn execute<A>(&mut self, id: impl Into<String>, command: &A::Command)
    where
        A: Aggregate<Command: Serialize + DeserializeOwned, Error: RefusalCode>,
    {
        self.execute_as::<A>(None, id, command);
    }

    /// Executes a command on behalf of an actor, whom the aggregate authorises: as a rule the actor of
    /// the event that is handled, from its [`Metadata`](crate::Metadata).
    pub fn execute_as<A>(
        &mut self,
        actor: Option<String>,
        id: impl Into<String>,
        command: &A::Command,
    ) where
        A: Aggregate<Command: Serialize + DeserializeOwned, Error: RefusalCode>,
    {
        let (aggregate_type, aggregate_id) = (A::TYPE, id.into());
        let command = encode(command).and_then(|command| match command.to_string().len() {
            bytes if bytes > MAX_PAYLOAD_BYTES => Err(format!(
                "the command has {bytes} bytes; at most {MAX_PAYLOAD_BYTES} are allowed"
            )),
            _ => Ok(command),
        });
        self.effects.push(Effect::Execute { aggregate_type, aggregate_id, command, actor });
    }

    /// Sets a deadline: [`ProcessManager::due`] is called with `data` once the time has come. A deadline
    /// of the same name in this instance is replaced.
    ///
    /// # Panics
    /// The data cannot be stored as JSON. The event then parks the key of the instance.
    pub fn deadline(&mut self, name: &str, at: OffsetDateTime, data: &P::Deadline) {
        let data = serde_json::to_value(data).unwrap_or_else(|error| {
            fail(format!("the data of the deadline {name:?} cannot be stored: {error}"))
        });
        self.effects.push(Effect::Deadline { name: name.to_owned(), at, data });
    }

    /// Cancels the deadline of this name, if there is one.
    pub fn cancel(&mut self, name: &str) {
        self.effects.push(Effect::Cancel { name: name.to_owned() });
    }

    /// Ends the instance: its deadlines are cancelled, and later events of its key change nothing. Its
    /// open commands are still executed.
    pub fn complete(&mut self) {
        self.effects.push(Effect::Complete);
    }
}

/// Fails the fold of the current event, so that its key is parked with this reason.
pub(super) fn fail(reason: String) -> ! {
    // Caught around every fold. Without the panic hook, because this is no bug of the program.
    std::panic::resume_unwind(Box::new(reason))
}
