//! `/callback`: where whoever asks wants to be told what came of their commands.

use actix_web::HttpResponse;
use actix_web::web::{Data, Json};
use actum::Application;
use actum::web::{CommandHeaders, JsonBody, Principal, Problem};
use actum::webhook::ForbiddenAddress;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::App;
use super::openapi::InItsHeaders;
use crate::callback::{Callback, CallbackCommand, address_of, secret_of};
use crate::calling::Calling;

/// `Retry-After` while too many names are being looked up: name servers time out after seconds.
const LOOKUP_RETRY_S: u32 = 5;

/// Where to be told.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Registration {
    /// Of a public address, by https.
    url: String,
}

/// The address, and the secret that messages to it are signed with.
#[derive(Serialize, ToSchema)]
pub(super) struct Registered {
    url: String,
    secret: String,
}

/// The address.
#[derive(Serialize, ToSchema)]
pub(super) struct Address {
    url: String,
}

/// Registers where the caller wants to be told what came of commands. What may not be called is
/// refused, now and at each call.
#[utoipa::path(put, path = "/callback", tag = "callback", operation_id = "register_callback",
    params(InItsHeaders), request_body = Registration,
    responses((status = 200, description = "The address and its secret", body = Registered)))]
pub(super) async fn register(
    app: App,
    calling: Option<Data<Calling>>,
    who: Principal,
    headers: CommandHeaders,
    body: JsonBody<Registration>,
) -> Result<Json<Registered>, Problem> {
    let calling = calling.ok_or_else(off)?;
    let options = headers.options(&body)?;
    let client = calling.client.on_behalf_of(&who.id);
    let endpoint = client.check(&body.url).await.map_err(forbidden)?;
    let url = endpoint.as_str().to_owned();
    let secret = secret_of(&calling.key, &who.id, &url).reveal();
    let command = CallbackCommand::Register { url: url.clone() };
    app.execute_with::<Callback>(&who.id, command, options).await?;
    Ok(Json(Registered { url, secret }))
}

/// Where the caller is told.
#[utoipa::path(get, path = "/callback", tag = "callback", operation_id = "callback",
    responses((status = 200, description = "The address", body = Address)))]
pub(super) async fn registered(app: App, who: Principal) -> Result<Json<Address>, Problem> {
    match address_of(&app, &who.id).await? {
        Some(url) => Ok(Json(Address { url })),
        None => Err(Problem::new(404, "no_callback", "no callback is registered")),
    }
}

/// Tells the caller nothing more.
#[utoipa::path(delete, path = "/callback", tag = "callback", operation_id = "remove_callback",
    params(InItsHeaders), responses((status = 204, description = "There is no address any more")))]
pub(super) async fn remove(
    app: App,
    who: Principal,
    headers: CommandHeaders,
) -> Result<HttpResponse, Problem> {
    let (command, options) = (CallbackCommand::Remove, headers.options(&())?);
    app.execute_with::<Callback>(&who.id, command, options).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Where a command's outcome shall be told.
pub(super) async fn address(app: &Application, who: Option<&str>) -> Result<String, Problem> {
    let address = match who {
        Some(who) => address_of(app, who).await?,
        None => None,
    };
    address.ok_or_else(|| {
        Problem::new(422, "no_callback", "register where to be called first: PUT /callback")
    })
}

fn forbidden(address: ForbiddenAddress) -> Problem {
    match address {
        // The address was not judged, so it is not refused either.
        ForbiddenAddress::Busy => {
            Problem::new(503, "overloaded", address.to_string()).retry_after(LOOKUP_RETRY_S)
        }
        address => Problem::new(422, "forbidden_address", address.to_string()),
    }
}

fn off() -> Problem {
    Problem::new(409, "callbacks_off", "this bank calls nobody back")
}
