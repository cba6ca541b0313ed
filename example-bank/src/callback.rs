//! Where somebody wants to be called back: one address each, kept as an event like all else.
//!
//! Events are for ever, so no secret is among them: it is derived, each time, from the bank's own key.

use actum::webhook::Secret;
use actum::{Aggregate, Application, ReadError};
use serde::{Deserialize, Serialize};

/// The address of one principal; the id is the principal's.
#[derive(Debug, Default, Clone)]
pub struct Callback {
    url: Option<String>,
}

/// What can be asked.
#[derive(Debug, Clone)]
pub enum CallbackCommand {
    /// Call back there from now on. The URL was checked before.
    Register { url: String },
    /// Call back no more.
    Remove,
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CallbackEvent {
    /// From here on there.
    Registered { url: String },
    /// Nowhere any more.
    Removed,
}

impl Aggregate for Callback {
    const TYPE: &'static str = "callback";
    type Command = CallbackCommand;
    type Event = CallbackEvent;
    type Error = std::convert::Infallible;

    fn handle(
        &self,
        command: CallbackCommand,
    ) -> Result<Vec<CallbackEvent>, std::convert::Infallible> {
        Ok(match command {
            CallbackCommand::Register { url } if self.url.as_ref() == Some(&url) => vec![],
            CallbackCommand::Register { url } => vec![CallbackEvent::Registered { url }],
            CallbackCommand::Remove if self.url.is_none() => vec![],
            CallbackCommand::Remove => vec![CallbackEvent::Removed],
        })
    }

    fn apply(&mut self, event: &CallbackEvent) {
        self.url = match event {
            CallbackEvent::Registered { url } => Some(url.clone()),
            CallbackEvent::Removed => None,
        };
    }
}

/// Returns the URL that a principal has registered, from its last event alone: each registration
/// replaces the one before, so the cost does not grow with their number.
///
/// # Errors
/// The store did not answer.
pub async fn address_of(app: &Application, principal: &str) -> Result<Option<String>, ReadError> {
    let mut callback = Callback::default();
    if let Some(last) = app.last_event::<Callback>(principal).await? {
        callback.apply(&last.event);
    }
    Ok(callback.url)
}

/// The secret with which messages for this principal and URL are signed: another URL has another one,
/// so whoever received at the old one cannot forge messages to the new one.
pub fn secret_of(key: &Secret, principal: &str, url: &str) -> Secret {
    key.derive(format!("callback\n{principal}\n{url}").as_bytes())
}
