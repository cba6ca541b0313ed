//! The bank's wire format: its routes, the bodies it takes, the answers it gives.
//!
//! A handler reads its input, asks the application and answers; rules about money stand in
//! `account.rs`, and how errors look on the wire in `actum::web`.

use actix_web::web::{Data, Json, Path, ServiceConfig, get, post, put};
use actum::web::{
    CommandAnswer, DocumentAnswer, Freshness, IdempotencyKey, NoBody, Object, Problem, RefusalCode,
    resource, strict_input,
};
use actum::{Application, Document, ReadError};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::account::{Account, AccountCommand, Refusal};
use crate::balance::Balance;
use crate::credit_limit::CreditLimit;
use crate::{events, health, history, statement_page, status};

/// The bank's routes on this application, for `App::configure`.
pub fn routes(app: Application) -> impl FnOnce(&mut ServiceConfig) + Clone {
    move |config| {
        config.configure(strict_input).app_data(Data::new(app));
        config
            .service(resource("/accounts", "POST").route(post().to(open)))
            // Where the `Location` of a new account leads.
            .service(resource("/accounts/{id}", "GET").route(get().to(balance)))
            .service(resource("/accounts/{id}/credit", "POST").route(post().to(credit)))
            .service(resource("/accounts/{id}/withdraw", "POST").route(post().to(withdraw)))
            .service(resource("/accounts/{id}/freeze", "POST").route(post().to(freeze)))
            .service(resource("/accounts/{id}/unfreeze", "POST").route(post().to(unfreeze)))
            .service(resource("/accounts/{id}/close", "POST").route(post().to(close)))
            .service(
                resource("/accounts/{id}/credit-limit", "GET, PUT")
                    .route(put().to(grant_credit_limit))
                    .route(get().to(credit_limit)),
            )
            .service(resource("/accounts/{id}/balance", "GET").route(get().to(balance)))
            .service(resource("/accounts/{id}/history", "GET").route(get().to(history::history)))
            .service(
                resource("/accounts/{id}/statement", "GET")
                    .route(get().to(statement_page::statement)),
            )
            .service(resource("/accounts/{id}/events", "GET").route(get().to(events::events)))
            .service(resource("/status", "GET").route(get().to(status::status)))
            .service(resource("/health/live", "GET").route(get().to(health::live)))
            .service(resource("/health/ready", "GET").route(get().to(health::ready)));
    }
}

pub(crate) type App = Data<Application>;
type Body<T> = Json<Object<T>>;
type Answer = Result<CommandAnswer, Problem>;

impl RefusalCode for Refusal {
    fn code(&self) -> &'static str {
        Refusal::code(self)
    }

    fn status(&self) -> u16 {
        if *self == Self::UnknownAccount { 404 } else { 422 }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Opening {
    id: Option<String>,
    owner: String,
    currency: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Amount {
    amount: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Limit {
    limit: i64,
}

async fn open(app: App, key: IdempotencyKey, opening: Body<Opening>) -> Answer {
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

async fn credit(app: App, id: Path<String>, key: IdempotencyKey, body: Body<Amount>) -> Answer {
    let command = AccountCommand::Credit { amount: body.amount };
    carry_out(&app, id, command, &key, &body.0).await
}

async fn withdraw(app: App, id: Path<String>, key: IdempotencyKey, body: Body<Amount>) -> Answer {
    let command = AccountCommand::Withdraw { amount: body.amount };
    carry_out(&app, id, command, &key, &body.0).await
}

async fn grant_credit_limit(
    app: App,
    id: Path<String>,
    key: IdempotencyKey,
    body: Body<Limit>,
) -> Answer {
    let command = AccountCommand::GrantCreditLimit { limit: body.limit };
    carry_out(&app, id, command, &key, &body.0).await
}

async fn freeze(app: App, id: Path<String>, key: IdempotencyKey, _: NoBody) -> Answer {
    carry_out(&app, id, AccountCommand::Freeze, &key, &()).await
}

async fn unfreeze(app: App, id: Path<String>, key: IdempotencyKey, _: NoBody) -> Answer {
    carry_out(&app, id, AccountCommand::Unfreeze, &key, &()).await
}

async fn close(app: App, id: Path<String>, key: IdempotencyKey, _: NoBody) -> Answer {
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

#[derive(Serialize)]
struct Limits {
    granted: i64,
    used: i64,
    available: i64,
}

async fn balance(
    app: App,
    id: Path<String>,
    freshness: Freshness,
) -> Result<DocumentAnswer<Balance>, Problem> {
    let document = freshness.read(&app, &id).await.map_err(unknown_account)?;
    Ok(DocumentAnswer::of(id.into_inner(), document))
}

async fn credit_limit(
    app: App,
    id: Path<String>,
    freshness: Freshness,
) -> Result<DocumentAnswer<Limits>, Problem> {
    let limit = freshness.read::<CreditLimit>(&app, &id).await.map_err(unknown_account)?;
    let (granted, used, available) = (limit.granted, limit.used(), limit.available());
    let body = Limits { granted, used, available };
    Ok(DocumentAnswer::of(id.into_inner(), Document { body, position: limit.position }))
}

/// An account nobody opened is the same problem to whoever asks and to whoever commands.
pub(crate) fn unknown_account(error: ReadError) -> Problem {
    match error {
        ReadError::NotFound { .. } => Problem::refused(&Refusal::UnknownAccount),
        other => other.into(),
    }
}
