//! The bank's wire format: its routes, and who may take them.
//!
//! A handler reads its input, asks the application and answers; rules about money stand in
//! `account.rs`, and how errors look on the wire in `actum::web`. What operators ask is not among the
//! bank's routes: `operations.rs` has a table of its own.

mod callback;
mod commands;
mod docs;
mod documents;
mod events;
mod guard;
mod health;
mod history;
mod later;
pub(crate) mod openapi;
pub(crate) mod operations;
mod page;
mod policy;
mod reading;
mod same_origin;
mod statement;
mod users;

use actix_web::http::Method;
use actix_web::web::{Data, ServiceConfig};
use actum::web::{Problem, RefusalCode, Routes, strict_input};
use actum::{Application, ReadError};

use crate::access::Access;
use crate::account::Refusal;
pub use openapi::document;
pub use operations::{operations, table as operations_table};
pub use policy::Policy;

/// All routes of the bank but those for operators.
pub fn table() -> Routes<Policy> {
    use Policy::{Operate, Probe, Public, Read, Write};
    Routes::default()
        .post("/accounts", Write, commands::open)
        // Where the `Location` of a new account leads.
        .get("/accounts/{id}", Read, documents::account)
        .post("/accounts/{id}/credit", Write, commands::credit)
        .post("/accounts/{id}/withdraw", Write, commands::withdraw)
        .post("/accounts/{id}/freeze", Write, commands::freeze)
        .post("/accounts/{id}/unfreeze", Write, commands::unfreeze)
        .post("/accounts/{id}/close", Write, commands::close)
        // Nobody grants themselves a credit.
        .put("/accounts/{id}/credit-limit", Operate, commands::grant_credit_limit)
        .get("/accounts/{id}/credit-limit", Read, documents::credit_limit)
        .get("/accounts/{id}/balance", Read, documents::balance)
        .get("/accounts/{id}/history", Read, history::history)
        .get("/accounts/{id}/statement", Read, statement::statement)
        .get("/accounts/{id}/events", Read, events::events)
        .get("/commands/{id}", Read, later::status)
        .get("/commands/{id}/events", Read, later::events)
        .put("/callback", Write, callback::register)
        .get("/callback", Read, callback::registered)
        .route(Method::DELETE, "/callback", Write, callback::remove)
        .post("/users", Write, users::register)
        .put("/users/{id}/name", Write, users::rename)
        .get("/health/live", Probe, health::live)
        .get("/health/ready", Probe, health::ready)
        .get("/openapi.json", Public, openapi::openapi)
        .get("/docs", Public, docs::index)
        .get("/docs/{file}", Public, docs::file)
}

/// The bank's routes on this application, open to whom `access` knows; for `App::configure`.
pub fn routes(app: Application, access: Access) -> impl FnOnce(&mut ServiceConfig) + Clone {
    let app = Data::new(app);
    move |config| {
        config.configure(strict_input).app_data(app);
        config.service(guard::guarded(table(), access));
    }
}

type App = Data<Application>;

impl RefusalCode for Refusal {
    fn code(&self) -> &'static str {
        Refusal::code(self)
    }

    fn status(&self) -> u16 {
        match self {
            Self::UnknownAccount => 404,
            Self::NotForOthers => 403,
            _ => 422,
        }
    }
}

/// An account nobody opened is the same problem to whoever asks and to whoever commands.
fn unknown_account(error: ReadError) -> Problem {
    match error {
        ReadError::NotFound { .. } => Problem::refused(&Refusal::UnknownAccount),
        other => other.into(),
    }
}
