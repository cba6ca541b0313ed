//! Parts of an instance that the test kit looks at: its last effects in words, and expected ones.

use time::OffsetDateTime;

use super::instance::{Deadline, Instance, Job, Out};
use super::{Effects, ProcessManager};
use crate::event::RecordedEvent;

impl<P: ProcessManager> Instance<P> {
    /// State of the instance.
    pub(crate) fn state(&self) -> &P {
        &self.state
    }

    /// Step that set this deadline, and its time.
    pub(crate) fn deadline(&self, name: &str) -> Option<(&str, OffsetDateTime)> {
        self.deadlines.get(name).map(|deadline| (&*deadline.step, deadline.at))
    }

    /// The instance as it is after an event with these effects. `reached` names the deadline that the event
    /// is about.
    pub(crate) fn with_effects(
        mut self,
        key: &str,
        event: &RecordedEvent,
        (reached, effects): (Option<&str>, Effects<P>),
    ) -> Self {
        if let Some(name) = reached {
            self.deadlines.remove(name);
        }
        self.take(key, event, |_, put_out| *put_out = effects);
        self
    }

    /// The effects of the last event and what is set now, in words. Commands come in their order.
    pub(crate) fn shown(&self) -> Vec<String> {
        let commands = self.outbox.iter().filter_map(|out| match out {
            Out::Open(_, _, job) => match &**job {
                Job::Execute { step, command, metadata } => {
                    let actor = metadata.actor.as_deref().map(|actor| format!(" as {actor}"));
                    let target = format!("{}-{}", step.aggregate_type, step.aggregate_id);
                    let command = match command {
                        Ok(command) => command.to_string(),
                        Err(reason) => format!("a command that cannot be stored ({reason})"),
                    };
                    Some(format!("{command} to {target}{}", actor.unwrap_or_default()))
                }
                Job::Deadline { .. } => None,
            },
            Out::Close(_) => None,
        });
        let deadlines = self.deadlines.iter().map(|(name, Deadline { at, data, .. })| {
            format!("the deadline {name:?} is set to {at}, with {data}")
        });
        let end = self.is_complete.then(|| "the instance is complete".to_owned());
        commands.chain(deadlines).chain(end).collect()
    }
}
