//! Callback address of a client: one per client, stored as an event.
//!
//! Events are never deleted, so they contain no secret. The secret is derived from the server's key
//! each time.

use serde::{Deserialize, Serialize};

use crate::aggregate::Aggregate;
use crate::application::Application;
use crate::command::NoRefusal;
use crate::error::ReadError;

/// The callback address of one principal, whose id is the aggregate's. Register it with the
/// application to let clients send `Prefer: respond-async, callback`.
#[derive(Debug, Default, Clone)]
pub struct Callback {
    url: Option<String>,
}

/// Commands of a callback address.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum CallbackCommand {
    /// Registers the URL for callbacks. The URL was checked before.
    Register {
        /// URL with https and a public address.
        url: String,
    },
    /// Removes the URL.
    Remove,
}

/// Events of a callback address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum CallbackEvent {
    /// The URL was registered.
    Registered {
        /// URL that was registered.
        url: String,
    },
    /// The URL was removed.
    Removed,
}

impl Aggregate for Callback {
    const TYPE: &'static str = "callback";
    type Command = CallbackCommand;
    type Event = CallbackEvent;
    type Error = NoRefusal;

    fn handle(&self, command: CallbackCommand) -> Result<Vec<CallbackEvent>, NoRefusal> {
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
