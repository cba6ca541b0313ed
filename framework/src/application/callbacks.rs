//! Calling clients back who asked for it when they sent a command.

use std::sync::Arc;

use async_trait::async_trait;

use super::builder::ApplicationBuilder;
use super::running::Running;
use crate::callback::{Answered, Call, CallBack};
use crate::error::StartError;
use crate::later::Callbacks;
use crate::webhook::{Message, Outcome, RetrySchedule, Secret, WebhookClient};

/// The secret of an actor for a URL.
type SecretOf = Box<dyn Fn(Option<&str>, &str) -> Secret + Send + Sync>;

impl ApplicationBuilder {
    /// Calls back who gave a URL to `Application::execute_later`: a POST of what came of the command,
    /// signed by the Standard Webhooks scheme, tried again by the schedule. Its id is the command's,
    /// in every attempt. `secret_of` answers the secret of an actor (the one in the command's
    /// metadata, if there was one) for a URL; it must stay the same, and is best derived, because
    /// what is stored in a log is there for ever.
    #[must_use]
    pub fn calls_back(
        self,
        client: WebhookClient,
        schedule: RetrySchedule,
        secret_of: impl Fn(Option<&str>, &str) -> Secret + Send + Sync + 'static,
    ) -> Self {
        let by = Webhooks { client, schedule, secret_of: Box::new(secret_of) };
        self.part(Box::new(|parts| Box::pin(parts.call_back(by))))
    }
}

impl Running {
    async fn call_back(&mut self, by: Webhooks) -> Result<(), StartError> {
        let Some(commands) = self.accepted_commands()? else { return Ok(()) };
        let (store, clock) = (Arc::clone(&self.store), Arc::clone(&self.clock));
        self.react(Callbacks { store, commands, clock, by: Box::new(by) }).await
    }
}

struct Webhooks {
    client: WebhookClient,
    schedule: RetrySchedule,
    secret_of: SecretOf,
}

#[async_trait]
impl CallBack for Webhooks {
    async fn call(&self, call: Call<'_>) -> Answered {
        let Call { id, actor, url, body, attempt, at } = call;
        let given_up = |reason: String| Answered::GivenUp { reason };
        let endpoint = match self.client.endpoint(url) {
            Ok(endpoint) => endpoint,
            Err(forbidden) => return given_up(forbidden.to_string()),
        };
        let message = match Message::new(id, at, body) {
            Ok(message) => message,
            Err(invalid) => return given_up(invalid.to_string()),
        };
        let answer = self.client.send(&endpoint, &[(self.secret_of)(actor, url)], &message).await;
        match self.schedule.judge(id, attempt, &answer) {
            Outcome::Delivered { status } => Answered::Delivered { status },
            Outcome::Retry { after, reason } => {
                Answered::Again { after, reason: reason.to_string() }
            }
            Outcome::GiveUp { reason } => given_up(reason.to_string()),
        }
    }
}
