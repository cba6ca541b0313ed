//! Refusals of an aggregate in a form that programs can recognise.

use std::convert::Infallible;

/// An error with a stable code for programs. Implement it for an aggregate's `Error`.
pub trait RefusalCode: std::error::Error {
    /// Name of the refusal for programs, such as `insufficient_funds`. Clients depend on it, so it
    /// must never change.
    fn code(&self) -> &'static str;

    /// HTTP status of the refusal. 422 by default; override it if another one fits better, such as
    /// 404.
    fn status(&self) -> u16 {
        422
    }
}

/// For aggregates that never refuse a command.
impl RefusalCode for Infallible {
    fn code(&self) -> &'static str {
        match *self {}
    }
}
