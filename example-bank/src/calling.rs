//! Callback options: allowed addresses, retry schedule, and the key that secrets are derived from.

use std::net::SocketAddr;
use std::time::Duration;

use actum::BoxError;
use actum::web::Callbacks;
use actum::webhook::{RetrySchedule, Secret, WebhookClient, WebhookOptions};
use clap::Args;

/// Command line options for callbacks.
#[derive(Args)]
pub(crate) struct CallingOptions {
    /// Key from which the secrets of callbacks are derived: `whsec_` and the base64 of 24 to 64
    /// bytes. Must be the same for all banks on one database, and must be kept. Without it
    /// callbacks are disabled, except in dev mode, where each start generates a new key.
    #[arg(long, env = "BANK_CALLBACK_KEY", hide_env_values = true)]
    callback_key: Option<Secret>,
    /// Addresses and ports that may be called although they are not public, also over http; for
    /// tests.
    #[arg(long, env = "BANK_CALLBACK_ALLOW", value_delimiter = ',')]
    callback_allow: Vec<SocketAddr>,
    /// Seconds to wait after each failed attempt. The callback is abandoned after the last one.
    /// Default: ten attempts within three days.
    #[arg(long, env = "BANK_CALLBACK_PAUSES", value_delimiter = ',')]
    callback_pauses: Option<Vec<f64>>,
}

/// Creates the callbacks of these options. Returns `None` without a key, except in development
/// mode.
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
    let allowed = options.callback_allow.into_iter();
    let client = allowed.fold(WebhookOptions::default(), WebhookOptions::allow_address);
    Ok(Some(Callbacks::new(WebhookClient::new(client)?, schedule, key)))
}
