//! `GET /accounts/{id}/balance` and `/credit-limit`: the documents of the read models.

use actum::Document;
use actum::web::{DocumentAnswer, Freshness, Problem};
use serde::Serialize;

use super::reading::Reading;
use super::{App, unknown_account};
use crate::balance::Balance;
use crate::credit_limit::CreditLimit;

#[derive(Serialize)]
pub(super) struct Limits {
    granted: i64,
    used: i64,
    available: i64,
}

pub(super) async fn balance(
    app: App,
    reading: Reading,
    freshness: Freshness,
) -> Result<DocumentAnswer<Balance>, Problem> {
    let id = reading.allowed(&app).await?;
    let document = freshness.read(&app, &id).await.map_err(unknown_account)?;
    Ok(DocumentAnswer::of(id, document))
}

pub(super) async fn credit_limit(
    app: App,
    reading: Reading,
    freshness: Freshness,
) -> Result<DocumentAnswer<Limits>, Problem> {
    let id = reading.allowed(&app).await?;
    let limit = freshness.read::<CreditLimit>(&app, &id).await.map_err(unknown_account)?;
    let (granted, used, available) = (limit.granted, limit.used(), limit.available());
    let body = Limits { granted, used, available };
    Ok(DocumentAnswer::of(id, Document { body, position: limit.position }))
}
