//! Any error of user code. Apart from `error`, because the codec of events needs it, and the errors of
//! the crate name events.

/// Any error of user code.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
