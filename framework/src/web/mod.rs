//! HTTP edge: extractors and responses, so that a handler has few lines, and the server around
//! them.
//!
//! Handlers are async functions of actix-web, so the application depends on `actix-web` too:
//! `actix-web = { version = "4", default-features = false, features = ["macros"] }`.
//!
//! ```
//! # mod tour { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/tour.txt")); }
//! # use tour::*;
//! use actix_web::web::{Data, Path};
//! use actum::web::{
//!     ApiKeys, CommandAnswer, CommandTo, DocumentAnswer, Freshness, JsonBody, Problem, Routes, Server,
//! };
//! use actum::{Application, RefusalCode};
//! use serde::{Deserialize, Serialize};
//!
//! impl RefusalCode for InsufficientFunds {} // 422 `insufficient_funds`
//!
//! #[derive(Serialize, Deserialize)]
//! struct Amount { cents: i64 }
//!
//! async fn credit(
//!     account: CommandTo<Account>, // the path's {id}, and the headers of a command
//!     body: JsonBody<Amount>,
//! ) -> Result<CommandAnswer, Problem> {
//!     account.execute(Command::Credit { cents: body.cents }, &body).await
//! }
//!
//! async fn balance(
//!     app: Data<Application>,
//!     id: Path<String>,
//!     freshness: Freshness, // ?after=<position>&within=<ms>
//! ) -> Result<DocumentAnswer<Balance>, Problem> {
//!     Ok(freshness.read(&app, &id).await?)
//! }
//!
//! fn routes() -> Routes {
//!     Routes::new()
//!         .post("/accounts/{id}/credit", credit)
//!         .needs("accounts:write")
//!         .get("/accounts/{id}", balance)
//!         .needs("accounts:read")
//! }
//!
//! async fn serve(app: Application) -> Result<(), actum::BoxError> {
//!     let keys = ApiKeys::file("keys.jsonl")?;
//!     Server::new(app).routes(routes()).auth(keys).serve("127.0.0.1:8080").run().await?;
//!     Ok(())
//! }
//!
//! // A test sends requests to the routes, without a socket.
//! # #[actix_web::main]
//! # async fn main() -> Result<(), actum::BoxError> {
//! use actix_web::test::{TestRequest, call_service, init_service};
//! use actum::web::Access;
//!
//! let app = Application::builder(actum::open("memory:").await?)
//!     .aggregate::<Account>()
//!     .read_model::<Balance>()
//!     .start()
//!     .await?;
//! let routes = routes().serve(app, Access::dev()); // every client may do everything
//! let service = init_service(actix_web::App::new().configure(routes)).await;
//! let request = TestRequest::post().uri("/accounts/42/credit").set_json(Amount { cents: 1250 });
//! let response = call_service(&service, request.to_request()).await;
//! assert_eq!(response.status(), 200);
//! # Ok(()) }
//! ```
//!
//! **Requests and responses.** [`Problem`] turns errors into RFC 9457 problem documents.
//! [`JsonBody`] reads a body strictly. [`CommandTo`] is the aggregate of a command, and
//! [`CommandAnswer`] the response. [`Freshness`] reads a document or the rows of a projection as
//! fresh as the client requests, [`HistoryRange`] reads a page of an aggregate's history, and
//! [`follow`] streams its events. [`Principal`] is the authenticated client.
//!
//! **Routes.** [`Routes`] is a table of routes and their policies, with the OpenAPI document that
//! describes it ([`openapi`]). [`health`], [`deferred_commands`], [`api_document`] and
//! `callback_routes` are ready-made tables.
//!
//! **Server.** [`Server`] serves a table and the operations API, with [`Limits`], deadlines,
//! security headers, a request log and a graceful stop. An [`Authenticator`], such as [`ApiKeys`]
//! or `Jwt`, authenticates its clients. [`guides::authentication`](crate::guides::authentication)
//! explains scopes and credentials.

mod access;
mod answer;
mod body;
mod callback_address;
#[cfg(feature = "webhooks")]
mod callbacks;
mod command_headers;
mod command_to;
mod deadlines;
mod deferred;
mod docs;
mod exchange;
mod freshness;
mod guard;
mod head;
mod health;
mod history;
mod http1;
mod input;
mod limits;
mod moment;
pub mod openapi;
mod operation;
mod operations;
mod page;
mod pieces;
mod policy;
mod precondition;
mod prefer;
mod principal;
mod problem;
mod refusal;
mod request_log;
mod resume;
mod routes;
mod same_origin;
mod security_headers;
mod server;
mod sse;
mod strict;
#[cfg(feature = "web-tls")]
mod tls_config;
#[cfg(not(feature = "web-tls"))]
#[path = "tls_config_off.rs"]
mod tls_config;
mod trace_context;

#[cfg(feature = "jwt")]
pub use self::access::Jwt;
pub use self::access::{Access, ApiKey, ApiKeyFormat, ApiKeys, Authenticator, HiddenText, NewKey};
pub use self::answer::{CommandAnswer, REPLAYED_HEADER};
pub use self::body::{JsonBody, NoBody};
pub use self::callback_address::{Callback, CallbackCommand, CallbackEvent, address_of};
#[cfg(feature = "webhooks")]
pub use self::callbacks::{Callbacks, callback_routes};
pub use self::command_headers::{CommandHeaders, MAX_IDEMPOTENCY_KEY_BYTES};
pub use self::command_to::CommandTo;
pub use self::deadlines::Deadlines;
pub use self::deferred::deferred_commands;
pub use self::docs::api_document;
pub use self::freshness::{DocumentAnswer, Freshness, POSITION_HEADER};
pub use self::health::health;
pub use self::history::{HistoryPage, HistoryRange, follow};
pub use self::input::MAX_BODY_BYTES;
pub use self::limits::{Limits, Rate};
pub use self::moment::moment;
#[cfg(feature = "prometheus")]
pub use self::operations::Prometheus;
pub use self::operations::operations;
pub use self::page::{cut_page, page_limit};
pub use self::policy::Policy;
pub use self::prefer::RespondAsync;
pub use self::principal::Principal;
pub use self::problem::Problem;
pub use self::resume::ResumeAfter;
pub use self::routes::Routes;
pub use self::server::{Listeners, RunningServer, Server, main};
pub use self::sse::{ServerSentEvents, SseConfig, SseMessage};
pub use self::tls_config::TlsConfig;
pub use crate::command::RefusalCode;
