//! Authorisation of reads: the only place that decides which client may read which account.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::web::Path;
use actix_web::{FromRequest, HttpRequest};
use actum::web::{Principal, Problem};
use actum::{Aggregate, ReadError, StreamId, StreamVersion};

use super::App;
use crate::account::{Account, AccountEvent, person};

/// A read of the account in the path. Only [`Reading::allowed`] returns the id, so no handler can
/// forget the check.
pub(super) struct Reading {
    id: String,
    by: Principal,
}

impl Reading {
    /// Returns the id of the account if the client may read it. People may read their own accounts.
    /// For them, another person's account does not exist.
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
