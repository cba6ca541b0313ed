//! Authentication: the credentials of requests, and the principals that they prove.
//!
//! Machines send an API key, people a JWT of their issuer, both as `Authorization: Bearer …`. A
//! credential that is invalid for any reason proves nothing, and the reason is not returned. The
//! policy of the route decides what a principal may do, and then the aggregate.

mod api_key;
mod api_keys;
mod secret;
#[cfg(feature = "jwt")]
mod tokens;
#[cfg(feature = "jwt")]
mod verifier;

use std::sync::Arc;

use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use serde_json::{Map, Value};

pub use self::api_key::{ApiKey, ApiKeyFormat, NewKey};
pub use self::api_keys::ApiKeys;
pub use self::secret::HiddenText;
#[cfg(feature = "jwt")]
pub use self::tokens::Jwt;
use super::principal::Principal;

/// A kind of bearer credential: [`ApiKeys`], `Jwt`, or one of your own.
pub trait Authenticator: Send + Sync + 'static {
    /// Returns the principal that this credential proves, or `None` if it is not valid. Called for
    /// every request, on the thread that serves it, so it must not block.
    fn principal(&self, credential: &str) -> Option<Principal>;

    /// Name and state of the authenticator in the operations API's `/status`, if it has one.
    fn status(&self) -> Option<(&'static str, Value)> {
        None
    }
}

/// Authentication of a server's clients. Shared by clones.
#[derive(Clone)]
pub struct Access {
    /// Empty in development mode.
    known: Vec<Arc<dyn Authenticator>>,
    operator_scope: &'static str,
}

impl Default for Access {
    fn default() -> Self {
        Self::dev()
    }
}

impl Access {
    /// Development mode: every client is the principal `dev` and may do everything. Only for tests,
    /// and for a server that only this machine can reach.
    pub fn dev() -> Self {
        Self { known: Vec::new(), operator_scope: "operate" }
    }

    /// Adds an authenticator, and ends development mode: `Access::default().and(keys)` admits only
    /// clients with a key.
    #[must_use]
    pub fn and(mut self, authenticator: impl Authenticator) -> Self {
        self.known.push(Arc::new(authenticator));
        self
    }

    /// Sets the scope that the operations API requires. Default `operate`.
    #[must_use]
    pub fn operator_scope(self, scope: &'static str) -> Self {
        Self { operator_scope: scope, ..self }
    }

    /// Returns true in development mode.
    pub fn is_dev(&self) -> bool {
        self.known.is_empty()
    }

    /// Returns the principal of a request with these headers, or `None` if no credential proves
    /// one.
    pub fn principal(&self, headers: &HeaderMap) -> Option<Principal> {
        if self.is_dev() {
            return Some(Principal::unlimited("dev"));
        }
        let credential = bearer(headers)?;
        self.known.iter().find_map(|known| known.principal(credential))
    }

    /// Checks that this principal may use the operations API.
    pub fn is_operator(&self, principal: &Principal) -> bool {
        principal.may(self.operator_scope)
    }

    /// The scope that a policy needs; `None` if it needs none.
    pub(super) fn operators(&self) -> &'static str {
        self.operator_scope
    }

    /// State of the authenticators.
    pub(super) fn status(&self) -> Map<String, Value> {
        let states = self.known.iter().filter_map(|known| known.status());
        states.map(|(name, state)| (name.to_owned(), state)).collect()
    }
}

/// Returns the bearer credential of a request, if it has exactly one.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut given = headers.get_all(AUTHORIZATION);
    let value = given.next()?.to_str().ok()?;
    let (scheme, credential) = value.split_once(' ')?;
    let only = given.next().is_none() && scheme.eq_ignore_ascii_case("bearer");
    only.then(|| credential.trim_start_matches(' '))
}

/// Checks the name of a machine or a person. Only plain characters are allowed, because names are
/// written to events and logs.
fn is_name(name: &str) -> bool {
    let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_' | b'@');
    (1..=64).contains(&name.len()) && name.bytes().all(plain)
}
