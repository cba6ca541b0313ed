//! Calls to addresses that strangers chose: safe to make, and signed by the
//! [Standard Webhooks](https://www.standardwebhooks.com) scheme.
//!
//! [`WebhookClient::check`] tells whether an address may be called, when somebody registers it;
//! [`WebhookClient::send`] makes one call and looks at the address again when it connects, so a name
//! that leads elsewhere by then gains nothing. [`RetrySchedule::judge`] says what an [`Attempt`] means: delivered, try
//! again after so long, or give up. Keeping messages, attempts and turns is the caller's: nothing
//! here remembers anything. Who receives webhooks checks them with [`Signed::verify`].

mod address;
mod attempt;
mod client;
mod endpoint;
mod message;
mod options;
mod places;
mod resolver;
mod retry_after;
mod schedule;
mod secret;
mod signature;
mod tls;

pub use address::Network;
pub use attempt::{Attempt, Failure};
pub use client::WebhookClient;
pub use endpoint::{Endpoint, ForbiddenAddress, MAX_URL_BYTES};
pub use message::{InvalidMessageId, MAX_MESSAGE_ID_BYTES, Message};
pub use options::{InvalidOptions, WebhookOptions};
pub use resolver::{Resolver, SystemResolver};
pub use schedule::{Outcome, RetrySchedule};
pub use secret::{InvalidSecret, Secret};
pub use signature::{NotVerified, Signed};
