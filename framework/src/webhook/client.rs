//! The webhook client: one call at a time to a URL that a stranger chose, in bounded time and
//! memory.
//!
//! The client follows no redirects and uses no proxy and no cookies. It reads only the head of a
//! response. Each `send` makes one call; the client never retries by itself.
//!
//! See `docs/decisions.md`, "Why does a webhook's client read nothing but the head of an answer?"

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};

use super::attempt::{Attempt, Failure};
use super::endpoint::{Endpoint, ForbiddenAddress, Rules, ip_of};
use super::message::Message;
use super::options::{InvalidOptions, WebhookOptions};
use super::resolver::{CALLING_FOR, Connecting, Purpose, Vetted};
use super::secret::Secret;
use super::{retry_after, signature, tls};
use crate::clock::{Clock, SystemClock};

/// Maximum length of another library's error message that is kept.
const MAX_DETAIL_CHARS: usize = 200;

/// Client that sends messages to endpoints. Create one and keep it, because it owns the
/// connections.
#[derive(Clone)]
pub struct WebhookClient {
    http: Client,
    rules: Arc<Rules>,
    vetted: Arc<Vetted>,
    connect_within: Duration,
    answer_within: Duration,
    /// Client on whose behalf the calls are made. DNS lookups are limited for each of them.
    client: Arc<str>,
}

impl WebhookClient {
    /// Creates a client that calls what the options allow.
    ///
    /// # Errors
    ///
    /// [`InvalidOptions`]: the certificates cannot be read, or the system has no trusted
    /// certificates.
    pub fn new(options: WebhookOptions) -> Result<Self, InvalidOptions> {
        let rules = Arc::new(options.rules);
        let vetted = Arc::new(Vetted::new(rules.clone(), options.resolver));
        let http = Client::builder()
            .tls_backend_preconfigured(tls::client_config(options.certificates.as_deref())?)
            .dns_resolver(Connecting(vetted.clone()))
            .https_only(!rules.http)
            .http1_only()
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .connect_timeout(options.connect_within)
            .pool_max_idle_per_host(1)
            .pool_idle_timeout(Duration::from_secs(30))
            .user_agent(concat!("actum/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| InvalidOptions(innermost(&error)))?;
        let (connect_within, answer_within) = (options.connect_within, options.answer_within);
        Ok(Self { http, rules, vetted, connect_within, answer_within, client: "".into() })
    }

    /// Returns the same client, acting on behalf of `client`: a principal, tenant or address. DNS
    /// lookups are limited for each of them, so a client with dead names does not delay others. As
    /// cheap as a clone.
    #[must_use]
    pub fn on_behalf_of(&self, client: &str) -> Self {
        Self { client: client.into(), ..self.clone() }
    }

    /// Checks that this URL may be registered: the URL is allowed, and its host currently resolves
    /// to an allowed address.
    ///
    /// # Errors
    ///
    /// [`ForbiddenAddress`] names the rule: respond with 422. [`ForbiddenAddress::Busy`] means that
    /// the address was not checked: respond with 503 and `Retry-After`.
    pub async fn check(&self, url: &str) -> Result<Endpoint, ForbiddenAddress> {
        let endpoint = self.endpoint(url)?;
        if let (None, Some(name)) = (ip_of(&endpoint.url)?, endpoint.url.host_str()) {
            let lookup = self.vetted.lookup(name, Purpose::Check, &self.client);
            let lookup = tokio::time::timeout(self.connect_within, lookup);
            lookup.await.map_err(|_| ForbiddenAddress::Unresolved)??;
        }
        Ok(endpoint)
    }

    /// Returns the endpoint of a URL that was checked and stored earlier. Makes no DNS lookup.
    ///
    /// # Errors
    ///
    /// [`ForbiddenAddress`]: the URL is not allowed, or not any more under the current options.
    pub fn endpoint(&self, url: &str) -> Result<Endpoint, ForbiddenAddress> {
        self.rules.endpoint(url)
    }

    /// Sends the message once, signed with each of the secrets. The call never takes longer than
    /// the options allow. Dropping the future ends the call; the message may have arrived.
    pub async fn send(&self, to: &Endpoint, secrets: &[Secret], message: &Message) -> Attempt {
        let start = Instant::now();
        let call = self.call(to, secrets, message);
        let call = CALLING_FOR.scope(Arc::clone(&self.client), call);
        let call = tokio::time::timeout(self.answer_within, call);
        let answered = call.await.unwrap_or(Err(Failure::TimedOut));
        let took = start.elapsed();
        match answered {
            Ok(response) => {
                Attempt { result: judge(response.status()), retry_after: wait(&response), took }
            }
            Err(failure) => Attempt { result: Err(failure), retry_after: None, took },
        }
    }

    async fn call(
        &self,
        to: &Endpoint,
        secrets: &[Secret],
        message: &Message,
    ) -> Result<Response, Failure> {
        // The resolver does not see a URL with an IP address, and another client may have created
        // the endpoint. So the URL is checked again.
        self.rules.judge_url(&to.url)?;
        let Message { id, timestamp, content_type, body } = message;
        let timestamp = timestamp.unix_timestamp().to_string();
        let request = self.http.post(to.url.clone());
        let request = request
            .header("webhook-id", id)
            .header("webhook-timestamp", &timestamp)
            .header("webhook-signature", signature::sign(secrets, id, &timestamp, body))
            .header(CONTENT_TYPE, content_type)
            .body(body.clone());
        request.send().await.map_err(|error| failure(&error))
    }
}

impl fmt::Debug for WebhookClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookClient").field("rules", &self.rules).finish_non_exhaustive()
    }
}

fn judge(status: StatusCode) -> Result<u16, Failure> {
    match status {
        StatusCode::GONE => Err(Failure::Gone),
        status if status.is_success() => Ok(status.as_u16()),
        status => Err(Failure::Status(status.as_u16())),
    }
}

/// Returns the value of `Retry-After`. Only the statuses of an overloaded server are trusted with
/// it.
fn wait(response: &Response) -> Option<Duration> {
    let overloaded = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE];
    let header = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    overloaded.contains(&response.status()).then_some(())?;
    retry_after::parse(header.trim(), SystemClock.now())
}

fn failure(error: &reqwest::Error) -> Failure {
    let mut causes = std::iter::successors(error.source(), |cause| (*cause).source());
    if let Some(forbidden) = causes.find_map(|cause| cause.downcast_ref::<ForbiddenAddress>()) {
        return Failure::Forbidden(forbidden.clone());
    }
    match error {
        error if error.is_timeout() => Failure::TimedOut,
        error if error.is_connect() => Failure::Unreachable(innermost(error)),
        error => Failure::Broken(innermost(error)),
    }
}

/// Returns the message of the innermost cause, without the URL, which may contain a token. Control
/// characters are replaced, because a part of the message may come from the server.
fn innermost(error: &reqwest::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    let text = causes.last().map_or_else(|| "the request failed".to_owned(), ToString::to_string);
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(MAX_DETAIL_CHARS).map(printable).collect()
}
