//! The account that a read is about: the one place that decides who may read which.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::web::Path;
use actix_web::{FromRequest, HttpRequest};
use actum::web::{Principal, Problem};
use actum::{Aggregate, ReadError, StreamId, StreamVersion};

use super::App;
use crate::account::{Account, AccountEvent, person};

/// A read of the account in the path. Only [`Reading::allowed`] gives its id away, so that no handler can
/// forget to check.
pub(super) struct Reading {
    id: String,
    by: Principal,
}

impl Reading {
    /// The account's id, if the client may read it. People read their own; to them an account of
    /// somebody else and one that does not exist are the same.
    pub(super) async fn allowed(self, app: &App) -> Result<String, Problem> {
        // Checked before any read, because an invalid id can never exist.
        StreamId::new(Account::TYPE, &self.id).map_err(ReadError::from)?;
        let Some(name) = person(&self.by.id) else { return Ok(self.id) };
        // Read from the log: the first event of an account names its owner, who never changes.
        let first = app.history::<Account>(&self.id, StreamVersion::ZERO, 1).await?;
        match first.first().map(|envelope| &envelope.event) {
            Some(AccountEvent::Opened { owner, .. }) if owner == name => Ok(self.id),
            _ => Err(Problem::unknown::<Account>()),
        }
    }
}

impl FromRequest for Reading {
    type Error = actix_web::Error;
    type Future = Ready<Result<Self, Self::Error>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let id = Path::<String>::from_request(request, payload).into_inner();
        let by = Principal::from_request(request, payload).into_inner();
        ready(id.and_then(|id| Ok(Self { id: id.into_inner(), by: by? })))
    }
}
