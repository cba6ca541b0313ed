//! Callbacks: send the outcome of a deferred command to the URL of its client.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::builder::ApplicationBuilder;
use super::running::Running;
use crate::deferred::Callbacks;
use crate::deferred::callback::{Answered, Call, CallBack};
use crate::error::StartError;
use crate::reaction::Reaction;
use crate::webhook::{
    Failure, ForbiddenAddress, Message, Outcome, RetrySchedule, Secret, WebhookClient,
};

/// Function that returns the secret of an actor for a URL.
type SecretOf = Box<dyn Fn(Option<&str>, &str) -> Secret + Send + Sync>;

impl ApplicationBuilder {
    /// Sends the outcome of each deferred command to its callback URL: a POST, signed by the
    /// Standard Webhooks scheme and retried by the schedule. Every attempt has the command's id.
    /// Each client and each endpoint has its own limit, so one that hangs does not delay others.
    ///
    /// `secret_of` returns the secret for a URL of an actor (from the command's metadata, if it has
    /// one). It must return the same secret each time. Derive it from a key instead of storing it,
    /// because events are never deleted.
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
        self.callbacks = Some(Callbacks::NAME);
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
        let given_up = |reason: String| Answered::GivenUp { reason, is_down: false };
        let endpoint = match self.client.endpoint(url) {
            Ok(endpoint) => endpoint,
            Err(forbidden) => return given_up(forbidden.to_string()),
        };
        let message = match Message::new(id, at, body) {
            Ok(message) => message,
            Err(invalid) => return given_up(invalid.to_string()),
        };
        // DNS lookups of commands without a client are limited per endpoint, like their calls.
        let client = actor.map_or_else(|| endpoint.to_string(), str::to_owned);
        let client = self.client.on_behalf_of(&client);
        let answer = client.send(&endpoint, &[(self.secret_of)(actor, url)], &message).await;
        if let Err(Failure::Forbidden(ForbiddenAddress::Busy)) = answer.result {
            return Answered::Untried;
        }
        let is_down = answer.result.as_ref().is_err_and(is_down);
        match self.schedule.judge(id, attempt, &answer) {
            Outcome::Delivered { status } => Answered::Delivered { status },
            Outcome::Retry { after, reason } => {
                Answered::Again { after, reason: reason.to_string(), is_down }
            }
            Outcome::GiveUp { reason } => Answered::GivenUp { reason: reason.to_string(), is_down },
        }
    }

    fn endpoint(&self, url: &str) -> String {
        // The origin of the URL. A URL that is not allowed has none and fails on its own.
        self.client.endpoint(url).map_or_else(|_| String::new(), |endpoint| endpoint.to_string())
    }

    fn gives_up_after(&self) -> Duration {
        // Twice the schedule, because an endpoint that is down is tried with one message at a time,
        // so most messages wait longer than the schedule. Plus an hour for short schedules.
        let schedule = self
            .schedule
            .pauses
            .iter()
            .fold(Duration::ZERO, |all, pause| all.saturating_add(*pause));
        schedule.saturating_mul(2).saturating_add(Duration::from_secs(3600))
    }
}

/// Checks that the endpoint itself failed, so other messages would fail too.
fn is_down(failure: &Failure) -> bool {
    match failure {
        Failure::Unreachable(_) | Failure::TimedOut | Failure::Broken(_) => true,
        Failure::Forbidden(_) => true,
        Failure::Status(status) => *status == 429 || *status >= 500,
        Failure::Gone => false,
    }
}
