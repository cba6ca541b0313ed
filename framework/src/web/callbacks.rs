//! Callbacks of deferred commands: client, schedule and secrets, and the routes `/callback`, where
//! a client registers its URL.

use actix_web::HttpResponse;
use actix_web::web::{Data, Json};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

use super::body::JsonBody;
use super::callback_address::{Callback, CallbackCommand, address_of};
use super::command_headers::CommandHeaders;
use super::principal::Principal;
use super::problem::Problem;
use super::routes::Routes;
use super::server::Server;
use crate::application::{Application, ApplicationBuilder};
use crate::webhook::{ForbiddenAddress, RetrySchedule, Secret, WebhookClient};

/// `Retry-After` in seconds while too many DNS lookups are in progress, because name servers time
/// out after seconds.
const LOOKUP_RETRY_S: u32 = 5;

/// Webhook client, schedule and key for callbacks. Clones share the client's limits.
#[derive(Clone)]
pub struct Callbacks {
    client: WebhookClient,
    schedule: RetrySchedule,
    key: Secret,
}

impl Callbacks {
    /// Creates callbacks with this client and schedule. All secrets are derived from the key. It
    /// must be the same in all processes on one database, and must be kept.
    pub fn new(client: WebhookClient, schedule: RetrySchedule, key: Secret) -> Self {
        Self { client, schedule, key }
    }

    /// Adds callbacks to the application.
    pub fn by(&self, builder: ApplicationBuilder) -> ApplicationBuilder {
        let key = self.key.clone();
        builder.calls_back(self.client.clone(), self.schedule.clone(), move |who, url| {
            secret_of(&key, who.unwrap_or_default(), url)
        })
    }
}

impl Server {
    /// Lets clients register for these callbacks with the routes of [`callback_routes`]. Without
    /// this call those routes return 409 `callbacks_off`.
    #[must_use]
    pub fn callbacks(self, callbacks: Option<Callbacks>) -> Self {
        match callbacks {
            Some(callbacks) => self.data(callbacks),
            None => self,
        }
    }
}

/// Returns the secret that signs messages for this principal and URL. Another URL has another
/// secret, so the receiver at an old URL cannot forge messages to a new one.
fn secret_of(key: &Secret, principal: &str, url: &str) -> Secret {
    key.derive(format!("callback\n{principal}\n{url}").as_bytes())
}

#[derive(OpenApi)]
#[openapi(paths(register, registered, remove))]
struct Description;

/// Routes `PUT`, `GET` and `DELETE /callback`, with the scopes that they need. Register the
/// aggregate [`Callback`] with the application.
pub fn callback_routes(write: &'static str, read: &'static str) -> Routes {
    Routes::new()
        .put("/callback", register)
        .needs(write)
        .get("/callback", registered)
        .needs(read)
        .delete("/callback", remove)
        .needs(write)
        .described_by(Description::openapi)
}

/// Callback URL of the client.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Registration {
    /// URL with https and a public address.
    url: String,
}

/// The address, and the secret that messages to it are signed with.
#[derive(Serialize, ToSchema)]
struct Registered {
    url: String,
    secret: String,
}

/// The address.
#[derive(Serialize, ToSchema)]
struct Address {
    url: String,
}

/// Registers the callback URL of the caller, to which outcomes of commands are sent. A URL that is
/// not allowed is refused, now and at each call.
#[utoipa::path(put, path = "/callback", tag = "callback", operation_id = "register_callback",
    params(CommandHeaders), request_body = Registration,
    responses((status = 200, description = "The address and its secret", body = Registered)))]
async fn register(
    app: Data<Application>,
    callbacks: Option<Data<Callbacks>>,
    who: Principal,
    headers: CommandHeaders,
    body: JsonBody<Registration>,
) -> Result<Json<Registered>, Problem> {
    let callbacks = callbacks.ok_or_else(off)?;
    let options = headers.options(&body)?;
    let client = callbacks.client.on_behalf_of(&who.id);
    let endpoint = client.check(&body.url).await.map_err(forbidden)?;
    let url = endpoint.as_str().to_owned();
    let secret = secret_of(&callbacks.key, &who.id, &url).reveal();
    let command = CallbackCommand::Register { url: url.clone() };
    app.execute_with::<Callback>(&who.id, command, options).await?;
    Ok(Json(Registered { url, secret }))
}

/// Returns the callback URL of the caller.
#[utoipa::path(get, path = "/callback", tag = "callback", operation_id = "callback",
    responses((status = 200, description = "The address", body = Address)))]
async fn registered(app: Data<Application>, who: Principal) -> Result<Json<Address>, Problem> {
    match address_of(&app, &who.id).await? {
        Some(url) => Ok(Json(Address { url })),
        None => Err(Problem::new(404, "no_callback", "no callback is registered")),
    }
}

/// Removes the callback URL of the caller.
#[utoipa::path(delete, path = "/callback", tag = "callback", operation_id = "remove_callback",
    params(CommandHeaders), responses((status = 204, description = "There is no address any more")))]
async fn remove(
    app: Data<Application>,
    who: Principal,
    headers: CommandHeaders,
) -> Result<HttpResponse, Problem> {
    let (command, options) = (CallbackCommand::Remove, headers.options(&())?);
    app.execute_with::<Callback>(&who.id, command, options).await?;
    Ok(HttpResponse::NoContent().finish())
}

fn forbidden(address: ForbiddenAddress) -> Problem {
    match address {
        // The address was not checked, so it is not refused either.
        ForbiddenAddress::Busy => {
            Problem::new(503, "overloaded", address.to_string()).retry_after(LOOKUP_RETRY_S)
        }
        address => Problem::new(422, "forbidden_address", address.to_string()),
    }
}

fn off() -> Problem {
    Problem::new(409, "callbacks_off", "this server calls nobody back")
}
