//! Reads of one account: the documents of the read models, its history, and its events as they
//! happen.

use actix_web::{HttpRequest, Responder};
use actum::StreamVersion;
use actum::web::openapi::{AggregateId, Message, Read};
use actum::web::{
    DocumentAnswer, Freshness, HistoryPage, HistoryRange, Problem, ResumeAfter, follow,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::App;
use super::reading::Reading;
use crate::account::Account;
use crate::balance::Balance;
use crate::credit_limit::CreditLimit;

#[derive(Serialize, ToSchema)]
pub(super) struct Limits {
    granted: i64,
    used: i64,
    available: i64,
    /// Version of the account; a command may expect it.
    #[schema(value_type = u64)]
    version: StreamVersion,
}

impl From<CreditLimit> for Limits {
    fn from(limit: CreditLimit) -> Self {
        let (used, available) = (limit.used(), limit.available());
        Self { granted: limit.granted, used, available, version: limit.version }
    }
}

/// Returns an account: the target of the `Location` of a new one.
#[utoipa::path(get, path = "/accounts/{id}", tag = "accounts",
    params(AggregateId, Freshness), responses(Read<Balance>))]
pub(super) async fn account(
    app: App,
    reading: Reading,
    freshness: Freshness,
) -> Result<DocumentAnswer<Balance>, Problem> {
    balance(app, reading, freshness).await
}

/// Returns the balance and status of the account.
#[utoipa::path(get, path = "/accounts/{id}/balance", tag = "accounts",
    params(AggregateId, Freshness), responses(Read<Balance>))]
pub(super) async fn balance(
    app: App,
    reading: Reading,
    freshness: Freshness,
) -> Result<DocumentAnswer<Balance>, Problem> {
    let id = reading.allowed(&app).await?;
    freshness.read(&app, &id).await.map_err(Problem::reading::<Account>)
}

/// Returns the credit limit of the account, and its used and available parts.
#[utoipa::path(get, path = "/accounts/{id}/credit-limit", tag = "accounts",
    params(AggregateId, Freshness), responses(Read<Limits>))]
pub(super) async fn credit_limit(
    app: App,
    reading: Reading,
    freshness: Freshness,
) -> Result<DocumentAnswer<Limits>, Problem> {
    let id = reading.allowed(&app).await?;
    let limit = freshness.read::<CreditLimit>(&app, &id).await;
    Ok(limit.map_err(Problem::reading::<Account>)?.map(Limits::from))
}

/// Returns the events of the account page by page, from the log itself.
#[utoipa::path(get, path = "/accounts/{id}/history", tag = "accounts",
    params(AggregateId, HistoryRange),
    responses((status = 200, description = "A page", body = HistoryPage)))]
pub(super) async fn history(
    app: App,
    reading: Reading,
    range: HistoryRange,
) -> Result<HistoryPage, Problem> {
    let id = reading.allowed(&app).await?;
    range.read::<Account>(&app, &id).await
}

/// Streams the events of the account as they happen: entries of its history as server-sent events.
#[utoipa::path(get, path = "/accounts/{id}/events", tag = "accounts",
    params(AggregateId, ResumeAfter), responses((status = 200,
    description = "A stream without end", body = Message, content_type = "text/event-stream")))]
pub(super) async fn events(
    app: App,
    reading: Reading,
    after: ResumeAfter,
    request: HttpRequest,
) -> Result<impl Responder, Problem> {
    let id = reading.allowed(&app).await?;
    follow::<Account>(&app, &id, after, &request).await
}
