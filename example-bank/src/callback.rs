//! Callback address of a client: one per client, stored as an event.
//!
//! Events are never deleted, so they contain no secret. The secret is derived from the bank's own
//! key each time.

use actum::webhook::Secret;
use actum::{Aggregate, Application, ReadError};
use serde::{Deserialize, Serialize};

/// Callback address of one principal; the id is the principal's.
#[derive(Debug, Default, Clone)]
pub struct Callback {
    url: Option<String>,
}

/// Commands of a callback address.
#[derive(Debug, Clone)]
pub enum CallbackCommand {
    /// Registers the URL for callbacks. The URL was checked before.
    Register { url: String },
    /// Removes the URL.
    Remove,
}

/// Events of a callback address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CallbackEvent {
    /// The URL was registered.
    Registered { url: String },
    /// The URL was removed.
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

/// Returns the URL that a principal has registered, from its last event alone. Each registration
/// replaces the one before, so the cost does not grow with their number.
///
/// # Errors
/// The store is not available.
pub async fn address_of(app: &Application, principal: &str) -> Result<Option<String>, ReadError> {
    let mut callback = Callback::default();
    if let Some(last) = app.last_event::<Callback>(principal).await? {
        callback.apply(&last.event);
    }
    Ok(callback.url)
}

/// Returns the secret that signs messages for this principal and URL. Another URL has another
/// secret, so the receiver at an old URL cannot forge messages to a new one.
pub fn secret_of(key: &Secret, principal: &str, url: &str) -> Secret {
    key.derive(format!("callback\n{principal}\n{url}").as_bytes())
}
