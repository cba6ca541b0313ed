//! On whose behalf a request comes.
//!
//! Whoever authenticates puts a [`Principal`] into the request's extensions; keys of commands are
//! kept apart by it, and it is written beside the events as their actor.

use std::collections::BTreeSet;
use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpMessage, HttpRequest};

use super::problem::Problem;

/// Who asks, and what they may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Unique among all who ask, and for ever theirs; no secret. Such as `user:ada`.
    pub id: String,
    /// What they may, in the application's own words.
    pub scopes: BTreeSet<String>,
}

impl Principal {
    /// Who has this id and these scopes.
    pub fn new(id: impl Into<String>, scopes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { id: id.into(), scopes: scopes.into_iter().map(Into::into).collect() }
    }

    /// Whether they have this scope.
    pub fn may(&self, scope: &str) -> bool {
        self.scopes.contains(scope)
    }

    /// Who sends the request, if somebody has authenticated them.
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
