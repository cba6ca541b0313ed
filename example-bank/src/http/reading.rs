//! Authorisation of reads: the only place that decides which client may read which account, transfer or
//! standing order.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::web::Path;
use actix_web::{FromRequest, HttpRequest};
use actum::web::{Principal, Problem};
use actum::{Aggregate, ReadError, StreamId, StreamVersion};

use super::App;
use crate::account::{Account, AccountEvent, person};
use crate::standing_order::{StandingOrder, StandingOrderEvent};
use crate::transfer::{Transfer, TransferEvent};

/// A read of the account, transfer or standing order in the path. Only [`Reading::allowed`] and its
/// siblings return the id, so no handler can forget the check.
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
        match person(&self.by.id) {
            Some(name) if !owns(app, name, &self.id).await? => Err(Problem::unknown::<Account>()),
            _ => Ok(self.id),
        }
    }

    /// Returns the id of the transfer, and the account through which the client may read it. People
    /// may read the transfers from and to their own accounts.
    pub(super) async fn allowed_transfer(self, app: &App) -> Result<(String, Party), Problem> {
        StreamId::new(Transfer::TYPE, &self.id).map_err(ReadError::from)?;
        let Some(name) = person(&self.by.id) else { return Ok((self.id, Party::Payer)) };
        let first = app.history::<Transfer>(&self.id, StreamVersion::ZERO, 1).await?;
        match first.first().map(|envelope| &envelope.event) {
            Some(TransferEvent::Requested { order, .. }) => {
                if owns(app, name, &order.from).await? {
                    return Ok((self.id, Party::Payer));
                }
                match owns(app, name, &order.to).await? {
                    true => Ok((self.id, Party::Payee)),
                    false => Err(Problem::unknown::<Transfer>()),
                }
            }
            _ => Err(Problem::unknown::<Transfer>()),
        }
    }

    /// Returns the id of the standing order if the client may read it. People may read those of
    /// their own accounts.
    pub(super) async fn allowed_standing_order(self, app: &App) -> Result<String, Problem> {
        StreamId::new(StandingOrder::TYPE, &self.id).map_err(ReadError::from)?;
        let first = app.history::<StandingOrder>(&self.id, StreamVersion::ZERO, 1).await?;
        let is_allowed = match first.first().map(|envelope| &envelope.event) {
            Some(StandingOrderEvent::Placed(terms)) => {
                person(&self.by.id).is_none_or(|name| name == terms.owner)
            }
            _ => false,
        };
        if is_allowed { Ok(self.id) } else { Err(Problem::unknown::<StandingOrder>()) }
    }
}

/// Side of a transfer on which a client is. A machine is on both.
pub(super) enum Party {
    Payer,
    Payee,
}

async fn owns(app: &App, name: &str, account: &str) -> Result<bool, Problem> {
    Ok(owner_of(app, account).await?.is_some_and(|owner| owner == name))
}

/// Returns the owner of an account, or `None` if there is no such account.
pub(super) async fn owner_of(app: &App, account: &str) -> Result<Option<String>, Problem> {
    // The target of a transfer may be an id that no account can have.
    if StreamId::new(Account::TYPE, account).is_err() {
        return Ok(None);
    }
    // Read from the log: the first event of an account names its owner, who never changes.
    let first = app.history::<Account>(account, StreamVersion::ZERO, 1).await?;
    Ok(first.into_iter().find_map(|envelope| match envelope.event {
        AccountEvent::Opened { owner, .. } => Some(owner),
        _ => None,
    }))
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
