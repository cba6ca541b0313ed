//! `GET /openapi.json`: the bank's routes as an OpenAPI document, made from the code.
//!
//! A handler tells what is its own: its path, what it takes, what it answers when all is well. What
//! can go wrong is the same for all commands and for all reads, and who may is in the table of
//! routes: both are added here, and no handler can forget them.

mod answers;
mod later;
mod links;
mod parameters;
mod problems;
mod values;

use std::sync::LazyLock;

use actix_web::HttpResponse;
use actix_web::http::Method;
use actix_web::web::Bytes;
use actum::web::Problem;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Components, OpenApi};

use super::{
    Policy, callback, commands, documents, events, health, history, later as commands_later,
    statement, table, users,
};
pub(super) use answers::{Done, Message, Named, Nothing, Opened, Read};
pub(super) use later::{CommandId, Status};
pub(super) use parameters::{
    AccountId, AsFreshAs, InItsHeaders, ResumeHeaders, ResumeQuery, UnlessKnown, UserId,
};
pub(crate) use values::{
    account_number, account_status, amount, currency, limit, made_up_id, moment, owner, position,
    user_name, version,
};

/// What is read from the attributes of the handlers.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Bank",
        description = "Accounts, balances and credit limits. Amounts are \
        integers in the currency's minor unit, such as cents."
    ),
    components(schemas(answers::Committed, later::Accepted, later::CommandStatus)),
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
        history::history,
        statement::statement,
        events::events,
        commands_later::status,
        commands_later::events,
        callback::register,
        callback::registered,
        callback::remove,
        users::register,
        users::rename,
        health::live,
        health::ready,
        openapi,
    )
)]
struct FromHandlers;

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "about",
    responses((status = 200, description = "An OpenAPI 3.1 document", body = Object)))]
pub(super) async fn openapi() -> Result<HttpResponse, Problem> {
    // All answers share one copy: a client that does not read it costs no memory for it.
    static DOCUMENT: LazyLock<Result<Bytes, String>> = LazyLock::new(|| {
        let text = document().to_json();
        text.map(Bytes::from).map_err(|error| error.to_string())
    });
    match &*DOCUMENT {
        Ok(document) => {
            Ok(HttpResponse::Ok().content_type("application/json").body(document.clone()))
        }
        Err(error) => Err(Problem::internal(error)),
    }
}

/// The bank's routes, described.
pub fn document() -> OpenApi {
    let mut document = <FromHandlers as utoipa::OpenApi>::openapi();
    for (method, path, policy) in table().list() {
        let operation = document.paths.paths.get_mut(path).and_then(|item| of(item, method));
        let Some(operation) = operation else { continue };
        secure(operation, *policy);
        problems::add(operation, method, path, *policy);
        answers::allow_no_body(operation);
    }
    let components = document.components.get_or_insert_with(Components::new);
    problems::describe(components);
    answers::close_all(components);
    components.add_security_scheme("bearer", bearer());
    document
}

fn of<'d>(item: &'d mut PathItem, method: &Method) -> Option<&'d mut Operation> {
    match method.as_str() {
        "GET" => item.get.as_mut(),
        "POST" => item.post.as_mut(),
        "PUT" => item.put.as_mut(),
        "DELETE" => item.delete.as_mut(),
        _ => None, // A HEAD goes with its GET.
    }
}

/// Says which scope a route asks for, as its policy has it.
fn secure(operation: &mut Operation, policy: Policy) {
    let scope = policy.scope().map(|scope| SecurityRequirement::new("bearer", [scope]));
    operation.security = Some(Vec::from_iter(scope));
}

fn bearer() -> SecurityScheme {
    let told = "An API key of a machine, or a JWT of a person. Each route names the scope it asks \
                for; a bank that runs in dev mode asks nobody.";
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(told));
    SecurityScheme::Http(bearer.build())
}
