//! The HTTP edge for actix-web: what every route of an application needs, so that a handler is
//! three lines.
//!
//! [`Problem`] turns errors into RFC 9457 documents, [`CommandHeaders`] is what a
//! request says of its command, [`CommandAnswer`] what it answers, and [`strict_input`] refuses what is malformed.
//! [`Freshness`] is how fresh a [`DocumentAnswer`] must be; [`ServerSentEvents`] is a live stream.
//! [`Routes`] is a table of routes and their policies, [`Principal`] who asks. [`deadlines`] bounds
//! how long a request may take, [`security_headers`] stand on every answer, [`request_log`] tells of
//! each. Bodies and their meaning are the application's own.

mod answer;
mod command_headers;
mod deadlines;
mod freshness;
mod input;
mod object;
mod operation;
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
mod trace_context;

pub use crate::refusal::RefusalCode;
pub use answer::{CommandAnswer, REPLAYED_HEADER};
pub use command_headers::{CommandHeaders, MAX_IDEMPOTENCY_KEY_BYTES};
pub use deadlines::{Deadlines, deadlines};
pub use freshness::{DocumentAnswer, Freshness, POSITION_HEADER};
pub use input::{MAX_BODY_BYTES, strict_input};
pub use object::{NoBody, Object};
pub use prefer::{AcceptedAnswer, RespondAsync};
pub use principal::Principal;
pub use problem::Problem;
pub use request_log::request_log;
pub use resume::ResumeAfter;
pub use routes::Routes;
pub use security_headers::security_headers;
pub use sse::{ServerSentEvents, SseConfig, SseMessage};
