//! The bank's routes and their policies.
//!
//! A handler reads its input, calls the application and returns the response. The rules about money
//! are in `account.rs`, and the form of errors in `actum::web`.

mod commands;
mod documents;
mod reading;
mod standing_orders;
mod statement;
mod transfers;
mod users;
pub(crate) mod values;

use actix_web::web::Data;
use actum::Application;
use actum::web::{Routes, api_document, callback_routes, deferred_commands, health};
use utoipa::OpenApi;

use crate::account::{ACCOUNT_NUMBER, Account};
use crate::standing_order::StandingOrder;
use crate::transfer::Transfer;
use crate::user::{USER_NAME, User};
use crate::{OPERATE, READ, WRITE};

/// All routes of the bank. The operations API is not among them.
pub fn routes() -> Routes {
    let reads = Routes::new()
        // Target of the `Location` header of a new account.
        .get("/accounts/{id}", documents::account)
        .get("/accounts/{id}/credit-limit", documents::credit_limit)
        .get("/accounts/{id}/balance", documents::balance)
        .get("/accounts/{id}/history", documents::history)
        .get("/accounts/{id}/statement", statement::statement)
        .get("/accounts/{id}/events", documents::events)
        .get("/transfers/{id}", transfers::status)
        .get("/transfers/{id}/events", transfers::events)
        .get("/standing-orders/{id}", standing_orders::standing_order);
    let commands = Routes::new()
        .post("/accounts", commands::open)
        .post("/accounts/{id}/credit", commands::credit)
        .post("/accounts/{id}/withdraw", commands::withdraw)
        .post("/accounts/{id}/freeze", commands::freeze)
        .post("/accounts/{id}/unfreeze", commands::unfreeze)
        .post("/accounts/{id}/close", commands::close)
        // An operator's route, because owners must not grant themselves a credit.
        .put("/accounts/{id}/credit-limit", commands::grant_credit_limit)
        .needs(OPERATE)
        .post("/transfers", transfers::request)
        // An operator's route too, because nobody approves what they requested.
        .post("/transfers/{id}/approve", transfers::approve)
        .needs(OPERATE)
        .post("/standing-orders", standing_orders::place)
        .post("/standing-orders/{id}/cancel", standing_orders::cancel)
        .post("/users", users::register)
        .put("/users/{id}/name", users::rename);
    commands
        .each_needs(WRITE)
        .merge(reads.each_needs(READ))
        .described_by(Description::openapi)
        .of_aggregate::<Account>("/accounts")
        .of_aggregate::<Transfer>("/transfers")
        .of_aggregate::<StandingOrder>("/standing-orders")
        .of_aggregate::<User>("/users")
        .claims(&[ACCOUNT_NUMBER, USER_NAME])
        .merge(deferred_commands(READ))
        .merge(callback_routes(WRITE, READ))
        .merge(health())
        .merge(api_document())
}

type App = Data<Application>;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Bank",
        description = "Accounts, balances, credit limits, transfers and standing orders. Amounts are \
        integers in the currency's minor unit, such as cents."
    ),
    paths(
        commands::open,
        commands::credit,
        commands::withdraw,
        commands::freeze,
        commands::unfreeze,
        commands::close,
        commands::grant_credit_limit,
        documents::account,
        documents::balance,
        documents::credit_limit,
        documents::history,
        documents::events,
        statement::statement,
        transfers::request,
        transfers::approve,
        transfers::status,
        transfers::events,
        standing_orders::place,
        standing_orders::cancel,
        standing_orders::standing_order,
        users::register,
        users::rename,
    )
)]
struct Description;
