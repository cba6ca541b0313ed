//! The HTTP edge for actix-web: what every route of an application needs, so that a handler is
//! three lines.
//!
//! [`Problem`] turns errors into RFC 9457 documents, [`IdempotencyKey`] names a command,
//! [`CommandAnswer`] is what a command answers, and [`strict_input`] refuses what is malformed.
//! [`Freshness`] is how fresh a [`DocumentAnswer`] must be; [`ServerSentEvents`] is a live stream.
//! [`Routes`] is a table of routes and their policies, [`Principal`] who asks. [`deadlines`] bounds
//! how long a request may take. Bodies and their meaning are the application's own.

mod answer;
mod deadlines;
mod freshness;
mod idempotency_key;
mod input;
mod object;
mod operation;
mod principal;
mod problem;
mod refusal;
mod resume;
mod routes;
mod sse;

pub use answer::CommandAnswer;
pub use deadlines::{Deadlines, deadlines};
pub use freshness::{DocumentAnswer, Freshness, POSITION_HEADER};
pub use idempotency_key::IdempotencyKey;
pub use input::{MAX_BODY_BYTES, strict_input};
pub use object::{NoBody, Object};
pub use principal::Principal;
pub use problem::Problem;
pub use refusal::RefusalCode;
pub use resume::ResumeAfter;
pub use routes::Routes;
pub use sse::{ServerSentEvents, SseConfig, SseMessage};
