//! `GET /accounts/{id}/balance` and `/credit-limit`: the documents of the read models.

use actum::web::{DocumentAnswer, Freshness, Problem};
use actum::{Document, StreamVersion};
use serde::Serialize;
use utoipa::ToSchema;

use super::openapi::{AccountId, AsFreshAs, Read, UnlessKnown};
use super::reading::Reading;
use super::{App, unknown_account};
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

/// The account: where the `Location` of a new one leads.
#[utoipa::path(get, path = "/accounts/{id}", tag = "accounts",
    params(AccountId, AsFreshAs, UnlessKnown), responses(Read<Balance>))]
pub(super) async fn account(
    app: App,
    reading: Reading,
    freshness: Freshness,
) -> Result<DocumentAnswer<Balance>, Problem> {
    balance(app, reading, freshness).await
}

/// What the account holds, and whether it is usable.
#[utoipa::path(get, path = "/accounts/{id}/balance", tag = "accounts",
    params(AccountId, AsFreshAs, UnlessKnown), responses(Read<Balance>))]
pub(super) async fn balance(
    app: App,
    reading: Reading,
    freshness: Freshness,
) -> Result<DocumentAnswer<Balance>, Problem> {
    let id = reading.allowed(&app).await?;
    let document = freshness.read::<Balance>(&app, &id).await.map_err(unknown_account)?;
    let version = document.version;
    Ok(DocumentAnswer::of(id, document).at_version(version))
}

/// How far below zero the balance may go, and how much of that is left.
#[utoipa::path(get, path = "/accounts/{id}/credit-limit", tag = "accounts",
    params(AccountId, AsFreshAs, UnlessKnown), responses(Read<Limits>))]
pub(super) async fn credit_limit(
    app: App,
    reading: Reading,
    freshness: Freshness,
) -> Result<DocumentAnswer<Limits>, Problem> {
    let id = reading.allowed(&app).await?;
    let limit = freshness.read::<CreditLimit>(&app, &id).await.map_err(unknown_account)?;
    let (granted, used, available) = (limit.granted, limit.used(), limit.available());
    let (version, position) = (limit.version, limit.position);
    let document = Document { body: Limits { granted, used, available, version }, position };
    Ok(DocumentAnswer::of(id, document).at_version(version))
}
