//! Crash points (stand-in).
pub(crate) fn point(_: &str) {}
