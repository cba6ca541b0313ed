//! HTTP edge for actix-web: what every route of an application needs, so that a handler has few
//! lines.
//!
//! - [`Problem`] turns errors into RFC 9457 problem documents.
//! - [`JsonBody`] reads a body strictly, [`CommandHeaders`] reads the headers of a command, and
//!   [`CommandAnswer`] is the response.
//! - [`Freshness`] is the required freshness of a [`DocumentAnswer`]. [`ServerSentEvents`] is a
//!   live stream.
//! - [`Routes`] is a table of routes and their policies, [`Principal`] the authenticated client.
//! - The middlewares are [`deadlines`], [`in_pieces`], [`security_headers`] and [`request_log`].
//!   [`strict_input`] configures actix's own extractors.
//!
//! The application defines the bodies and their meaning.

mod answer;
mod body;
mod command_headers;
mod deadlines;
mod exchange;
mod freshness;
mod head;
mod input;
mod operation;
mod pieces;
mod precondition;
mod prefer;
mod principal;
mod problem;
mod refusal;
mod request_log;
mod resume;
mod routes;
mod security_headers;
mod sse;
mod strict;
mod trace_context;

pub use self::answer::{CommandAnswer, REPLAYED_HEADER};
pub use self::body::{JsonBody, NoBody};
pub use self::command_headers::{CommandHeaders, MAX_IDEMPOTENCY_KEY_BYTES};
pub use self::deadlines::{Deadlines, deadlines};
pub use self::freshness::{DocumentAnswer, Freshness, POSITION_HEADER};
pub use self::input::{MAX_BODY_BYTES, strict_input};
pub use self::pieces::in_pieces;
pub use self::prefer::{AcceptedAnswer, RespondAsync};
pub use self::principal::Principal;
pub use self::problem::Problem;
pub use self::request_log::request_log;
pub use self::resume::ResumeAfter;
pub use self::routes::Routes;
pub use self::security_headers::security_headers;
pub use self::sse::{ServerSentEvents, SseConfig, SseMessage};
pub use crate::command::RefusalCode;
