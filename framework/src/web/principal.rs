//! The authenticated client of a request.
//!
//! An authentication middleware inserts a [`Principal`] into the request's extensions. Idempotency
//! keys are scoped to it, and its id is stored with the events as their actor.

use std::collections::BTreeSet;
use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpMessage, HttpRequest};

use super::problem::Problem;

/// The authenticated client of a request, and the scopes it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Unique and permanent id of the client, such as `user:ada`. Not a secret.
    pub id: String,
    /// Scopes, named by the application.
    pub scopes: BTreeSet<String>,
    has_all_scopes: bool,
}

impl Principal {
    /// Creates a principal with this id and these scopes.
    pub fn new(id: impl Into<String>, scopes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let scopes = scopes.into_iter().map(Into::into).collect();
        Self { id: id.into(), scopes, has_all_scopes: false }
    }

    /// A principal that may do everything.
    pub(super) fn unlimited(id: &str) -> Self {
        Self { id: id.to_owned(), scopes: BTreeSet::new(), has_all_scopes: true }
    }

    /// Returns true if the principal has this scope.
    pub fn may(&self, scope: &str) -> bool {
        self.has_all_scopes || self.scopes.contains(scope)
    }

    /// Returns the principal of a request, if it was authenticated.
    pub fn of(request: &HttpRequest) -> Option<Self> {
        request.extensions().get::<Self>().cloned()
    }
}

impl FromRequest for Principal {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Self::of(request).ok_or_else(Problem::unauthenticated))
    }
}
