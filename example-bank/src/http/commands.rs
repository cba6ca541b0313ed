//! What can be asked of an account over HTTP: the bodies, and the command each becomes.

use actix_web::Either;
use actix_web::web::Path;
use actum::web::{
    AcceptedAnswer, CommandAnswer, CommandHeaders, JsonBody, NoBody, Principal, Problem,
};
use actum::{Application, CommandError, CommandOptions, Committed};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::openapi::{self, AccountId, Done, InItsHeaders, Nothing, Opened};
use super::users::with_holder;
use super::{App, callback};
use crate::account::{Account, AccountCommand, Refusal};

type Id = Path<String>;
type Body<T> = JsonBody<T>;
type Answer = Result<Either<CommandAnswer, AcceptedAnswer>, Problem>;

#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Opening {
    #[schema(schema_with = openapi::made_up_id, required = false)]
    id: Option<String>,
    #[schema(schema_with = openapi::owner)]
    owner: String,
    #[schema(schema_with = openapi::currency)]
    currency: String,
    #[schema(schema_with = openapi::account_number, required = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<String>,
}

#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Amount {
    #[schema(schema_with = openapi::amount)]
    amount: i64,
}

#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Limit {
    #[schema(schema_with = openapi::limit)]
    limit: i64,
}

/// Opens an account.
#[utoipa::path(post, path = "/accounts", tag = "accounts",
    params(InItsHeaders), request_body = Opening, responses(Opened))]
pub(super) async fn open(
    app: App,
    by: Principal,
    headers: CommandHeaders,
    opening: Body<Opening>,
) -> Answer {
    let options = headers.options(&opening)?;
    let Opening { id, owner, currency, number } = opening.0;
    let id = id.unwrap_or_else(|| headers.new_id());
    let command = AccountCommand::Open { owner, currency, number };
    let location = format!("/accounts/{id}");
    let created = |committed| CommandAnswer::created(&*id, location, committed);
    let refused = |error| with_holder(error, &by);
    send(&app, &id, command, &headers, options, created, refused).await
}

/// Puts money in.
#[utoipa::path(post, path = "/accounts/{id}/credit", tag = "accounts",
    params(AccountId, InItsHeaders), request_body = Amount, responses(Done))]
pub(super) async fn credit(
    app: App,
    id: Id,
    headers: CommandHeaders,
    body: Body<Amount>,
) -> Answer {
    let command = AccountCommand::Credit { amount: body.amount };
    carry_out(&app, id, command, &headers, &body.0).await
}

/// Takes money out: first what is there, then what the credit limit allows.
#[utoipa::path(post, path = "/accounts/{id}/withdraw", tag = "accounts",
    params(AccountId, InItsHeaders), request_body = Amount, responses(Done))]
pub(super) async fn withdraw(
    app: App,
    id: Id,
    headers: CommandHeaders,
    body: Body<Amount>,
) -> Answer {
    let command = AccountCommand::Withdraw { amount: body.amount };
    carry_out(&app, id, command, &headers, &body.0).await
}

/// Allows the balance to go down to `-limit`.
#[utoipa::path(put, path = "/accounts/{id}/credit-limit", tag = "accounts",
    params(AccountId, InItsHeaders), request_body = Limit, responses(Done))]
pub(super) async fn grant_credit_limit(
    app: App,
    id: Id,
    headers: CommandHeaders,
    body: Body<Limit>,
) -> Answer {
    let command = AccountCommand::GrantCreditLimit { limit: body.limit };
    carry_out(&app, id, command, &headers, &body.0).await
}

/// Lets no money out until it is unfrozen.
#[utoipa::path(post, path = "/accounts/{id}/freeze", tag = "accounts",
    params(AccountId, InItsHeaders), request_body = Nothing, responses(Done))]
pub(super) async fn freeze(app: App, id: Id, headers: CommandHeaders, _: NoBody) -> Answer {
    carry_out(&app, id, AccountCommand::Freeze, &headers, &()).await
}

/// Lets money out again.
#[utoipa::path(post, path = "/accounts/{id}/unfreeze", tag = "accounts",
    params(AccountId, InItsHeaders), request_body = Nothing, responses(Done))]
pub(super) async fn unfreeze(app: App, id: Id, headers: CommandHeaders, _: NoBody) -> Answer {
    carry_out(&app, id, AccountCommand::Unfreeze, &headers, &()).await
}

/// Ends the account; its balance must be zero.
#[utoipa::path(post, path = "/accounts/{id}/close", tag = "accounts",
    params(AccountId, InItsHeaders), request_body = Nothing, responses(Done))]
pub(super) async fn close(app: App, id: Id, headers: CommandHeaders, _: NoBody) -> Answer {
    carry_out(&app, id, AccountCommand::Close, &headers, &()).await
}

async fn carry_out(
    app: &Application,
    id: Id,
    command: AccountCommand,
    headers: &CommandHeaders,
    body: &impl Serialize,
) -> Answer {
    let done = |committed| CommandAnswer::done(&*id, committed);
    send(app, &id, command, headers, headers.options(body)?, done, Problem::from).await
}

/// Every command goes by here: carried out now, or accepted if its client prefers that.
async fn send(
    app: &Application,
    id: &str,
    command: AccountCommand,
    headers: &CommandHeaders,
    options: CommandOptions,
    done: impl FnOnce(Committed) -> CommandAnswer,
    refused: impl FnOnce(CommandError<Refusal>) -> Problem,
) -> Answer {
    let Some(prefers) = headers.respond_async() else {
        let committed = app.execute_with::<Account>(id, command, options).await;
        return Ok(Either::Left(done(committed.map_err(refused)?)));
    };
    let callback = match prefers.callback {
        true => Some(callback::address(app, options.metadata.actor.as_deref()).await?),
        false => None,
    };
    let accepted = app.execute_later::<Account>(id, &command, options, callback).await?;
    let location = format!("/commands/{accepted}");
    Ok(Either::Right(AcceptedAnswer::at(location, accepted, prefers)))
}
