//! The error type of user code. In a module of its own because `event` needs it, and `error`
//! depends on `event`.

/// Any error of user code.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
