//! The HTTP edge for actix-web: what every route of an application needs, so that a handler is
//! three lines.
//!
//! [`Problem`] turns errors into RFC 9457 documents, [`IdempotencyKey`] names a command,
//! [`CommandAnswer`] is what a command answers, and [`strict_input`] refuses what is malformed.
//! Routes, bodies and their meaning are the application's own.

mod answer;
mod idempotency_key;
mod input;
mod object;
mod problem;
mod refusal;

pub use answer::CommandAnswer;
pub use idempotency_key::IdempotencyKey;
pub use input::{MAX_BODY_BYTES, resource, strict_input};
pub use object::{NoBody, Object};
pub use problem::Problem;
pub use refusal::RefusalCode;
