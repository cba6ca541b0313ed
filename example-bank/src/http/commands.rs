//! What can be asked of an account over HTTP: the bodies, and the command each becomes.

use actix_web::web::{Json, Path};
use actum::Application;
use actum::web::{CommandAnswer, CommandHeaders, NoBody, Object, Problem};
use serde::{Deserialize, Serialize};

use super::App;
use crate::account::{Account, AccountCommand};

type Id = Path<String>;
type Body<T> = Json<Object<T>>;
type Answer = Result<CommandAnswer, Problem>;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Opening {
    id: Option<String>,
    owner: String,
    currency: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Amount {
    amount: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limit {
    limit: i64,
}

pub(super) async fn open(app: App, headers: CommandHeaders, opening: Body<Opening>) -> Answer {
    let options = headers.options(&opening)?;
    let Opening { id, owner, currency } = opening.into_inner().0;
    let id = id.unwrap_or_else(|| headers.new_id());
    let command = AccountCommand::Open { owner, currency };
    let committed = app.execute_with::<Account>(&id, command, options).await?;
    let location = format!("/accounts/{id}");
    Ok(CommandAnswer::created(id, location, committed))
}

pub(super) async fn credit(
    app: App,
    id: Id,
    headers: CommandHeaders,
    body: Body<Amount>,
) -> Answer {
    let command = AccountCommand::Credit { amount: body.amount };
    carry_out(&app, id, command, &headers, &body.0).await
}

pub(super) async fn withdraw(
    app: App,
    id: Id,
    headers: CommandHeaders,
    body: Body<Amount>,
) -> Answer {
    let command = AccountCommand::Withdraw { amount: body.amount };
    carry_out(&app, id, command, &headers, &body.0).await
}

pub(super) async fn grant_credit_limit(
    app: App,
    id: Id,
    headers: CommandHeaders,
    body: Body<Limit>,
) -> Answer {
    let command = AccountCommand::GrantCreditLimit { limit: body.limit };
    carry_out(&app, id, command, &headers, &body.0).await
}

pub(super) async fn freeze(app: App, id: Id, headers: CommandHeaders, _: NoBody) -> Answer {
    carry_out(&app, id, AccountCommand::Freeze, &headers, &()).await
}

pub(super) async fn unfreeze(app: App, id: Id, headers: CommandHeaders, _: NoBody) -> Answer {
    carry_out(&app, id, AccountCommand::Unfreeze, &headers, &()).await
}

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
    let committed = app.execute_with::<Account>(&id, command, headers.options(body)?).await?;
    Ok(CommandAnswer::done(id.into_inner(), committed))
}
