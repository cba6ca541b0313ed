//! Callbacks, as the command line sets them: addresses, schedule, and the key of the secrets.

use std::net::SocketAddr;
use std::time::Duration;

use actum::BoxError;
use actum::web::Callbacks;
use actum::webhook::{InvalidOptions, RetrySchedule, Secret, WebhookClient, WebhookOptions};
use clap::Args;

/// How clients are called back.
#[derive(Args)]
pub(crate) struct CallingOptions {
    /// The key that the secrets of callbacks are derived from, `whsec_` and the base64 of 24 to 64
    /// bytes: the same for all banks on one database, and kept. Without it nobody is called back, but
    /// in dev mode, where a new one is made at each start.
    #[arg(long, env = "BANK_CALLBACK_KEY", hide_env_values = true)]
    callback_key: Option<Secret>,
    /// An address and port that may be called though it is not public, and by http: for tests.
    #[arg(long, env = "BANK_CALLBACK_ALLOW", value_delimiter = ',')]
    callback_allow: Vec<SocketAddr>,
    /// Seconds to wait after each attempt that failed; after as many it is given up. Ten attempts
    /// within three days unless told otherwise.
    #[arg(long, env = "BANK_CALLBACK_PAUSES", value_delimiter = ',')]
    callback_pauses: Option<Vec<f64>>,
}

/// The callbacks of these options; `None` without a key, except in dev mode.
pub(crate) fn callbacks(
    options: CallingOptions,
    is_dev: bool,
) -> Result<Option<Callbacks>, BoxError> {
    let key = match options.callback_key {
        Some(key) => key,
        None if is_dev => Secret::generate().ok_or("the system has no randomness to give")?,
        None => return Ok(None),
    };
    let mut schedule = RetrySchedule::standard();
    if let Some(pauses) = options.callback_pauses {
        let pauses = pauses.into_iter().map(Duration::try_from_secs_f64);
        schedule.pauses = pauses.collect::<Result<_, _>>()?;
    }
    Ok(Some(Callbacks::new(client(&options.callback_allow)?, schedule, key)))
}

fn client(allowed: &[SocketAddr]) -> Result<WebhookClient, InvalidOptions> {
    let mut options = WebhookOptions::default();
    for address in allowed {
        options = options.allow_http().allow_port(address.port());
        // An address is always a network.
        if let Ok(network) = address.ip().to_string().parse() {
            options = options.allow_private_network(network);
        }
    }
    WebhookClient::new(options)
}
