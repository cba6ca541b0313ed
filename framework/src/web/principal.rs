//! The authenticated client of a request.
//!
//! An authentication middleware inserts a [`Principal`] into the request's extensions. Idempotency
//! keys are scoped to it, and its id is stored with the events as their actor.

use std::collections::BTreeSet;
use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpMessage, HttpRequest};

use super::problem::Problem;

/// An authenticated client and its permissions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Unique and permanent id of the client, such as `user:ada`. Not a secret.
    pub id: String,
    /// Permissions, named by the application.
    pub scopes: BTreeSet<String>,
}

impl Principal {
    /// Creates a principal with this id and these scopes.
    pub fn new(id: impl Into<String>, scopes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { id: id.into(), scopes: scopes.into_iter().map(Into::into).collect() }
    }

    /// Returns true if the principal has this scope.
    pub fn may(&self, scope: &str) -> bool {
        self.scopes.contains(scope)
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
