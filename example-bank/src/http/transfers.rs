//! Transfers over HTTP: requested, approved, read, and followed as they happen.

use actix_web::{HttpRequest, Responder};
use actum::web::openapi::{AggregateId, Done, Message, NoMembers, Read, Started};
use actum::web::{
    CommandAnswer, CommandHeaders, CommandTo, DocumentAnswer, Freshness, JsonBody, NoBody, Problem,
    ResumeAfter, follow,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::reading::{Party, Reading};
use super::{App, values};
use crate::transfer::{Order, Transfer, TransferCommand};
use crate::transfer_status::TransferStatus;

type Answer = Result<CommandAnswer, Problem>;

#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewTransfer {
    #[schema(schema_with = values::account_id)]
    from: String,
    #[schema(schema_with = values::account_id)]
    to: String,
    #[schema(schema_with = values::amount)]
    amount: i64,
    #[schema(schema_with = values::reference, required = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
}

/// Requests a transfer. Its `Location` tells how it goes.
#[utoipa::path(post, path = "/transfers", tag = "transfers",
    params(CommandHeaders), request_body = NewTransfer, responses(Started))]
pub(super) async fn request(transfer: CommandTo<Transfer>, body: JsonBody<NewTransfer>) -> Answer {
    let NewTransfer { from, to, amount, reference } = &body.0;
    let (from, to, reference) = (from.clone(), to.clone(), reference.clone());
    let command = TransferCommand::Request(Order { from, to, amount: *amount, reference });
    let answer = transfer.with_id(None).execute(command, &body).await?;
    Ok(answer.started_at("/transfers/"))
}

/// Approves a transfer of a large amount. Without an approval it expires after a day.
#[utoipa::path(post, path = "/transfers/{id}/approve", tag = "transfers",
    params(AggregateId, CommandHeaders), request_body = NoMembers, responses(Done))]
pub(super) async fn approve(transfer: CommandTo<Transfer>, _: NoBody) -> Answer {
    transfer.execute(TransferCommand::Approve, &()).await
}

/// Returns how far a transfer has come.
#[utoipa::path(get, path = "/transfers/{id}", tag = "transfers",
    params(AggregateId, Freshness), responses(Read<TransferStatus>))]
pub(super) async fn status(
    app: App,
    reading: Reading,
    freshness: Freshness,
) -> Result<DocumentAnswer<TransferStatus>, Problem> {
    let (id, party) = reading.allowed_transfer(&app).await?;
    let status = freshness.read::<TransferStatus>(&app, &id).await;
    Ok(status.map_err(Problem::reading::<Transfer>)?.map(|status| match party {
        Party::Payer => status,
        // The reason may tell the balance of the payer.
        Party::Payee => TransferStatus { reason: None, ..status },
    }))
}

/// Streams the events of a transfer as they happen, to those who may use its source account.
#[utoipa::path(get, path = "/transfers/{id}/events", tag = "transfers",
    params(AggregateId, ResumeAfter), responses((status = 200,
    description = "A stream without end", body = Message, content_type = "text/event-stream")))]
pub(super) async fn events(
    app: App,
    reading: Reading,
    after: ResumeAfter,
    request: HttpRequest,
) -> Result<impl Responder, Problem> {
    match reading.allowed_transfer(&app).await? {
        (id, Party::Payer) => follow::<Transfer>(&app, &id, after, &request).await,
        (_, Party::Payee) => Err(Problem::unknown::<Transfer>()),
    }
}
