//! Webhooks: safe calls to addresses that strangers chose, signed by the [Standard
//! Webhooks](https://www.standardwebhooks.com) scheme.
//!
//! [`WebhookClient::check`] checks a URL when it is registered. [`WebhookClient::send`] makes one
//! call and checks the address again when it connects, so a name that resolves to another address
//! by then gains nothing. [`RetrySchedule::judge`] decides what an [`Attempt`] means: delivered,
//! retry after a delay, or abandon. The caller stores messages and attempts and schedules them;
//! nothing here keeps state. Receivers verify messages with [`Signed::verify`].

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

pub use self::address::Network;
pub use self::attempt::{Attempt, Failure};
pub use self::client::WebhookClient;
pub use self::endpoint::{Endpoint, ForbiddenAddress, MAX_URL_BYTES};
pub use self::message::{InvalidMessageId, MAX_MESSAGE_ID_BYTES, Message};
pub use self::options::{InvalidOptions, WebhookOptions};
pub use self::resolver::{Resolver, SystemResolver};
pub use self::schedule::{Outcome, RetrySchedule};
pub use self::secret::{InvalidSecret, Secret};
pub use self::signature::{NotVerified, Signed};
