//! What can be asked of an account over HTTP: the bodies, and the command each becomes.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::web::{Json, Path};
use actix_web::{FromRequest, HttpRequest};
use actum::web::{CommandAnswer, IdempotencyKey, NoBody, Object, Principal, Problem};
use actum::{Application, CommandOptions};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::App;
use crate::account::{Account, AccountCommand};

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

/// Who commands, and under which key.
pub(super) struct Asked {
    key: IdempotencyKey,
    by: Principal,
}

impl Asked {
    fn options(&self, body: &impl Serialize) -> Result<CommandOptions, Problem> {
        let mut options = self.key.options(body)?;
        options.metadata.actor = Some(self.by.id.clone());
        Ok(options)
    }
}

impl FromRequest for Asked {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let key = IdempotencyKey::from_request(request, payload).into_inner();
        let by = Principal::from_request(request, payload).into_inner();
        ready(key.and_then(|key| Ok(Self { key, by: by? })))
    }
}

pub(super) async fn open(app: App, asked: Asked, opening: Body<Opening>) -> Answer {
    let options = asked.options(&opening)?;
    let Opening { id, owner, currency } = opening.into_inner().0;
    let id = id.unwrap_or_else(|| new_id(&asked.key));
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

pub(super) async fn credit(app: App, id: Path<String>, asked: Asked, body: Body<Amount>) -> Answer {
    let command = AccountCommand::Credit { amount: body.amount };
    carry_out(&app, id, command, &asked, &body.0).await
}

pub(super) async fn withdraw(
    app: App,
    id: Path<String>,
    asked: Asked,
    body: Body<Amount>,
) -> Answer {
    let command = AccountCommand::Withdraw { amount: body.amount };
    carry_out(&app, id, command, &asked, &body.0).await
}

pub(super) async fn grant_credit_limit(
    app: App,
    id: Path<String>,
    asked: Asked,
    body: Body<Limit>,
) -> Answer {
    let command = AccountCommand::GrantCreditLimit { limit: body.limit };
    carry_out(&app, id, command, &asked, &body.0).await
}

pub(super) async fn freeze(app: App, id: Path<String>, asked: Asked, _: NoBody) -> Answer {
    carry_out(&app, id, AccountCommand::Freeze, &asked, &()).await
}

pub(super) async fn unfreeze(app: App, id: Path<String>, asked: Asked, _: NoBody) -> Answer {
    carry_out(&app, id, AccountCommand::Unfreeze, &asked, &()).await
}

pub(super) async fn close(app: App, id: Path<String>, asked: Asked, _: NoBody) -> Answer {
    carry_out(&app, id, AccountCommand::Close, &asked, &()).await
}

async fn carry_out(
    app: &Application,
    id: Path<String>,
    command: AccountCommand,
    asked: &Asked,
    body: &impl Serialize,
) -> Answer {
    let committed = app.execute_with::<Account>(&id, command, asked.options(body)?).await?;
    Ok(CommandAnswer::done(id.into_inner(), committed))
}
