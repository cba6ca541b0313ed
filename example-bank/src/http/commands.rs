//! The commands of an account over HTTP: the bodies, and the command each becomes.

use actum::web::openapi::{Accepted, AggregateId, Created, Done, NoMembers, new_id};
use actum::web::{CommandAnswer, CommandHeaders, CommandTo, JsonBody, NoBody, Problem};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::values;
use crate::account::{Account, AccountCommand};

type To = CommandTo<Account>;
type Body<T> = JsonBody<T>;
type Answer = Result<CommandAnswer, Problem>;

#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Opening {
    #[schema(schema_with = new_id, required = false)]
    id: Option<String>,
    #[schema(schema_with = values::owner)]
    owner: String,
    #[schema(schema_with = values::currency)]
    currency: String,
    #[schema(schema_with = values::account_number, required = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<String>,
}

#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Amount {
    #[schema(schema_with = values::amount)]
    amount: i64,
}

#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Limit {
    #[schema(schema_with = values::limit)]
    limit: i64,
}

/// Opens an account.
#[utoipa::path(post, path = "/accounts", tag = "accounts",
    params(CommandHeaders), request_body = Opening, responses(Created, Accepted))]
pub(super) async fn open(account: To, body: Body<Opening>) -> Answer {
    let Opening { id, owner, currency, number } = &body.0;
    let (owner, currency, number) = (owner.clone(), currency.clone(), number.clone());
    let command = AccountCommand::Open { owner, currency, number };
    let answer = account.with_id(id.clone()).execute(command, &body).await?;
    Ok(answer.created_at("/accounts/"))
}

/// Puts money in.
#[utoipa::path(post, path = "/accounts/{id}/credit", tag = "accounts",
    params(AggregateId, CommandHeaders), request_body = Amount, responses(Done, Accepted))]
pub(super) async fn credit(account: To, body: Body<Amount>) -> Answer {
    account.execute(AccountCommand::Credit { amount: body.amount }, &body).await
}

/// Takes money out: from the balance first, then from the credit limit.
#[utoipa::path(post, path = "/accounts/{id}/withdraw", tag = "accounts",
    params(AggregateId, CommandHeaders), request_body = Amount, responses(Done, Accepted))]
pub(super) async fn withdraw(account: To, body: Body<Amount>) -> Answer {
    account.execute(AccountCommand::Withdraw { amount: body.amount }, &body).await
}

/// Allows the balance to go down to `-limit`.
#[utoipa::path(put, path = "/accounts/{id}/credit-limit", tag = "accounts",
    params(AggregateId, CommandHeaders), request_body = Limit, responses(Done, Accepted))]
pub(super) async fn grant_credit_limit(account: To, body: Body<Limit>) -> Answer {
    account.execute(AccountCommand::GrantCreditLimit { limit: body.limit }, &body).await
}

/// Freezes the account: withdrawals are refused until it is unfrozen.
#[utoipa::path(post, path = "/accounts/{id}/freeze", tag = "accounts",
    params(AggregateId, CommandHeaders), request_body = NoMembers, responses(Done, Accepted))]
pub(super) async fn freeze(account: To, _: NoBody) -> Answer {
    account.execute(AccountCommand::Freeze, &()).await
}

/// Unfreezes the account: withdrawals are allowed again.
#[utoipa::path(post, path = "/accounts/{id}/unfreeze", tag = "accounts",
    params(AggregateId, CommandHeaders), request_body = NoMembers, responses(Done, Accepted))]
pub(super) async fn unfreeze(account: To, _: NoBody) -> Answer {
    account.execute(AccountCommand::Unfreeze, &()).await
}

/// Closes the account; its balance must be zero.
#[utoipa::path(post, path = "/accounts/{id}/close", tag = "accounts",
    params(AggregateId, CommandHeaders), request_body = NoMembers, responses(Done, Accepted))]
pub(super) async fn close(account: To, _: NoBody) -> Answer {
    account.execute(AccountCommand::Close, &()).await
}
