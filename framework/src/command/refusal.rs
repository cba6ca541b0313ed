//! What programs recognise a refusal by.

use std::convert::Infallible;

/// A refusal that programs can recognise: implement it on an aggregate's `Error`.
pub trait RefusalCode: std::error::Error {
    /// The refusal's name for programs, such as `insufficient_funds`; never changes.
    fn code(&self) -> &'static str;

    /// The HTTP status; 422 unless the refusal means something else, such as 404.
    fn status(&self) -> u16 {
        422
    }
}

/// What refuses nothing.
impl RefusalCode for Infallible {
    fn code(&self) -> &'static str {
        match *self {}
    }
}
