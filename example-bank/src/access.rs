//! Who asks: credentials, and whom they stand for.
//!
//! Machines send an API key, people a JWT of their issuer, both as `Authorization: Bearer …`. What is
//! not good for any reason is all the same: nobody. What somebody may do is decided elsewhere, by the
//! policy of the route (`http/guard.rs`) and by the account (`account.rs`).

mod api_key;
mod api_keys;
mod credentials;
mod secret;
mod tokens;
mod verifier;

use std::sync::Arc;

use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use actum::web::Principal;

pub(crate) use api_keys::KeysStatus;

use api_keys::ApiKeys;
use tokens::Tokens;

pub use api_key::{ApiKey, NewKey};
pub use credentials::Credentials;
pub use secret::Secret;

/// Reading accounts.
pub const READ: &str = "accounts:read";
/// Commands to accounts.
pub const WRITE: &str = "accounts:write";
/// Running the bank.
pub const OPERATE: &str = "bank:operate";

/// All there are.
const SCOPES: [&str; 3] = [READ, WRITE, OPERATE];

/// How the bank learns who asks. A clone is the same one.
#[derive(Clone)]
pub struct Access {
    /// Whose credentials are good; with none, everybody is `dev`.
    known: Option<Arc<Known>>,
}

struct Known {
    keys: Option<ApiKeys>,
    tokens: Option<Tokens>,
}

impl Access {
    /// Open to all: whoever asks is `dev`, and may do everything. For tests and a machine of one's own.
    pub fn dev() -> Self {
        Self { known: None }
    }

    fn by(keys: Option<ApiKeys>, tokens: Option<Tokens>) -> Self {
        Self { known: Some(Arc::new(Known { keys, tokens })) }
    }

    /// State of the file of API keys, if there is one.
    pub(crate) fn keys_status(&self) -> Option<KeysStatus> {
        self.known.as_ref()?.keys.as_ref().map(ApiKeys::status)
    }

    /// Returns true if the bank is open to all.
    pub(crate) fn is_dev(&self) -> bool {
        self.known.is_none()
    }

    /// Who sends these headers; `None` if that is not proven.
    pub fn principal(&self, headers: &HeaderMap) -> Option<Principal> {
        let Some(known) = &self.known else { return Some(Principal::new("dev", SCOPES)) };
        let bearer = bearer(headers)?;
        match bearer.strip_prefix(api_key::MARK) {
            Some(key) => known.keys.as_ref()?.principal(key),
            None => known.tokens.as_ref()?.principal(bearer),
        }
    }
}

/// The one bearer credential of a request.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut given = headers.get_all(AUTHORIZATION);
    let value = given.next()?.to_str().ok()?;
    let (scheme, credential) = value.split_once(' ')?;
    let only = given.next().is_none() && scheme.eq_ignore_ascii_case("bearer");
    only.then(|| credential.trim_start_matches(' '))
}

/// Whether this can name a machine or a person: what is written into events and logs is plain.
fn is_name(name: &str) -> bool {
    let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_' | b'@');
    (1..=64).contains(&name.len()) && name.bytes().all(plain)
}
