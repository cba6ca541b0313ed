//! Readiness of an application, for load balancers and health checks.

use super::Application;
use std::sync::Arc;

use crate::partition::{FollowerControl, Progress, State};

/// Readiness of an application.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Readiness {
    /// True if reads return the current state.
    pub ready: bool,
    /// Reasons why the application is not ready, one line each.
    pub waiting_for: Vec<String>,
}

impl Application {
    /// Checks that every read model has reached the head that the log had at the start. A paused one
    /// is not waited for.
    pub fn readiness(&self) -> Readiness {
        let mut waiting_for = Vec::new();
        if self.inner.admission.is_closed() {
            waiting_for.push("the application is stopping".to_owned());
        }
        for control in &self.inner.read_side {
            if !self.is_waited_for(&**control) {
                continue;
            }
            let partitions = control.partitions();
            let several = partitions.len() > 1;
            for (number, progress) in partitions.into_iter().enumerate() {
                let Progress { applied, head_at_start, state, pause, .. } = progress;
                let name = match several {
                    true => format!("{}/{number}", control.name()),
                    false => control.name().to_owned(),
                };
                match state {
                    // A paused one would keep every new process out of service.
                    State::CatchingUp if pause.is_some() => {}
                    State::Live => {}
                    State::CatchingUp => waiting_for
                        .push(format!("{name}, at position {applied} of {head_at_start}")),
                    State::Halted { position, reason } => waiting_for
                        .push(format!("{name}, which halted at position {position}: {reason}")),
                    State::Stopped => waiting_for.push(format!("{name}, which has stopped")),
                }
            }
        }
        if let Some(trouble) = self.inner.store.info().trouble {
            waiting_for.push(format!("the store, which is not available: {trouble}"));
        }
        if let Some(trouble) = self.inner.tail.status().trouble {
            waiting_for.push(format!("the log, which cannot be read: {trouble}"));
        }
        waiting_for.sort_unstable();
        Readiness { ready: waiting_for.is_empty(), waiting_for }
    }

    /// Returns false for a version that is built beside the active one, because reads do not depend
    /// on it.
    fn is_waited_for(&self, control: &dyn FollowerControl) -> bool {
        let switch = self.inner.switches.get(control.name());
        let serving = switch.map(|switch| *switch.serving().borrow());
        let serves_here = |number| {
            let is_it = |other: &&Arc<dyn FollowerControl>| {
                (other.name(), other.version()) == (control.name(), number)
            };
            self.inner.read_side.iter().any(|other| is_it(&other))
        };
        // If this program does not include the active version, reads depend on the one it has.
        serving.is_none_or(|number| number == control.version() || !serves_here(number))
    }
}
