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
