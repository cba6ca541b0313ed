//! What can be asked of an account over HTTP: the bodies, and the command each becomes.

use actix_web::web::{Json, Path};
use actum::Application;
use actum::web::{CommandAnswer, IdempotencyKey, NoBody, Object, Problem};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::App;
use super::openapi::{AccountId, CommandHeaders, Committed, Nothing};
use crate::account::{Account, AccountCommand};

type Body<T> = Json<Object<T>>;
type Answer = Result<CommandAnswer, Problem>;

#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Opening {
    /// Made up if there is none.
    #[schema(schema_with = super::openapi::made_up_id, required = false)]
    id: Option<String>,
    /// Not blank, without control characters.
    #[schema(schema_with = super::openapi::owner)]
    owner: String,
    /// Such as `EUR`.
    #[schema(pattern = "^[A-Z]{3}$")]
    currency: String,
}

#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Amount {
    #[schema(schema_with = super::openapi::amount)]
    amount: i64,
}

#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Limit {
    #[schema(schema_with = super::openapi::limit)]
    limit: i64,
}

/// Opens an account.
#[utoipa::path(post, path = "/accounts", tag = "accounts", params(CommandHeaders),
    request_body = Opening, responses((status = 201, description = "Opened", body = Committed,
    headers(("Location" = String, description = "Where the account is.")))))]
pub(super) async fn open(app: App, key: IdempotencyKey, opening: Body<Opening>) -> Answer {
    let options = key.options(&opening)?;
    let Opening { id, owner, currency } = opening.into_inner().0;
    let id = id.unwrap_or_else(|| new_id(&key));
    let command = AccountCommand::Open { owner, currency };
    let committed = app.execute_with::<Account>(&id, command, options).await?;
    let location = format!("/accounts/{id}");
    Ok(CommandAnswer::created(id, location, committed))
}

/// An id nobody has, and for the same `Idempotency-Key` the same one: a retry that got no answer
/// must not open a second account.
fn new_id(key: &IdempotencyKey) -> String {
    const NAMESPACE: Uuid = Uuid::from_u128(0x6f7c_2b9e_54a1_4d0f_8e35_1d7a_90c4_6b12);
    let id = match key.as_str() {
        Some(key) => Uuid::new_v5(&NAMESPACE, key.as_bytes()),
        None => Uuid::now_v7(),
    };
    id.to_string()
}

/// Puts money in.
#[utoipa::path(post, path = "/accounts/{id}/credit", tag = "accounts", params(AccountId, CommandHeaders),
    request_body = Amount, responses((status = 200, description = "Done", body = Committed)))]
pub(super) async fn credit(
    app: App,
    id: Path<String>,
    key: IdempotencyKey,
    body: Body<Amount>,
) -> Answer {
    let command = AccountCommand::Credit { amount: body.amount };
    carry_out(&app, id, command, &key, &body.0).await
}

/// Takes money out: first what is there, then what the credit limit allows.
#[utoipa::path(post, path = "/accounts/{id}/withdraw", tag = "accounts", params(AccountId, CommandHeaders),
    request_body = Amount, responses((status = 200, description = "Done", body = Committed)))]
pub(super) async fn withdraw(
    app: App,
    id: Path<String>,
    key: IdempotencyKey,
    body: Body<Amount>,
) -> Answer {
    let command = AccountCommand::Withdraw { amount: body.amount };
    carry_out(&app, id, command, &key, &body.0).await
}

/// Allows the balance to go down to `-limit`.
#[utoipa::path(put, path = "/accounts/{id}/credit-limit", tag = "accounts", params(AccountId, CommandHeaders),
    request_body = Limit, responses((status = 200, description = "Done", body = Committed)))]
pub(super) async fn grant_credit_limit(
    app: App,
    id: Path<String>,
    key: IdempotencyKey,
    body: Body<Limit>,
) -> Answer {
    let command = AccountCommand::GrantCreditLimit { limit: body.limit };
    carry_out(&app, id, command, &key, &body.0).await
}

/// Lets no money out until it is unfrozen.
#[utoipa::path(post, path = "/accounts/{id}/freeze", tag = "accounts", params(AccountId, CommandHeaders),
    request_body = Nothing, responses((status = 200, description = "Done", body = Committed)))]
pub(super) async fn freeze(app: App, id: Path<String>, key: IdempotencyKey, _: NoBody) -> Answer {
    carry_out(&app, id, AccountCommand::Freeze, &key, &()).await
}

/// Lets money out again.
#[utoipa::path(post, path = "/accounts/{id}/unfreeze", tag = "accounts", params(AccountId, CommandHeaders),
    request_body = Nothing, responses((status = 200, description = "Done", body = Committed)))]
pub(super) async fn unfreeze(app: App, id: Path<String>, key: IdempotencyKey, _: NoBody) -> Answer {
    carry_out(&app, id, AccountCommand::Unfreeze, &key, &()).await
}

/// Ends the account; its balance must be zero.
#[utoipa::path(post, path = "/accounts/{id}/close", tag = "accounts", params(AccountId, CommandHeaders),
    request_body = Nothing, responses((status = 200, description = "Done", body = Committed)))]
pub(super) async fn close(app: App, id: Path<String>, key: IdempotencyKey, _: NoBody) -> Answer {
    carry_out(&app, id, AccountCommand::Close, &key, &()).await
}

async fn carry_out(
    app: &Application,
    id: Path<String>,
    command: AccountCommand,
    key: &IdempotencyKey,
    body: &impl Serialize,
) -> Answer {
    let committed = app.execute_with::<Account>(&id, command, key.options(body)?).await?;
    Ok(CommandAnswer::done(id.into_inner(), committed))
}
